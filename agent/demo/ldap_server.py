"""A stand-in domain controller on loopback: LDAPS on one port, LDAP with StartTLS on another.

It speaks LDAPv3 as Active Directory does, to real clients over real TLS, and refuses every change.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from agent.demo.ldap_entry import Entry
from agent.demo.ldap_session import DirectoryFaults, Service, Session
from agent.demo.ldap_tree import DirectoryTree

__all__ = ["DirectoryFaults", "DirectoryServer"]

_LOOPBACK = "127.0.0.1"
_IDLE_SECONDS = 900.0  # what a Windows domain controller allows (MaxConnIdleTime)
_CLOSE_SECONDS = 5.0


class DirectoryServer:
    """Serve entries to accounts; a context manager, listening from construction until `close`.

    `accounts` maps a bind name (DN or user principal name) to a password; the other names of the same entry work too,
    and `hidden_from` in entries means the name as given here. `cert_path` and `key_path` are PEM files.
    `max_page` is the most entries in one answer, `range_size` the most values of one attribute in one answer.
    Raises ValueError for contents that make no directory, OSError when certificate or ports cannot be used.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        accounts: Mapping[str, str],
        cert_path: Path | str,
        key_path: Path | str,
        *,
        host_name: str = "",
        max_page: int = 1000,
        range_size: int = 1500,
        referrals: Mapping[str, str] | None = None,
        require_tls: bool = True,
        anonymous_search: bool = False,
        faults: DirectoryFaults | None = None,
    ) -> None:
        if max_page < 1 or range_size < 1:
            raise ValueError("max_page and range_size are at least 1")
        self._host_name = host_name
        self.tree = DirectoryTree(entries, referrals=referrals, host_name=host_name)
        self.faults = faults or DirectoryFaults()  # may be replaced at any time
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        tls.load_cert_chain(cert_path, key_path)
        self._closing = threading.Event()
        self._service = Service(
            self.tree,
            self._bind_names(accounts),
            tls,
            require_tls,
            anonymous_search,
            max_page,
            range_size,
            lambda: self.faults,
            self._closing,
        )
        self._lock = threading.Lock()
        self._sessions: dict[threading.Thread, Session] = {}
        self._listeners: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        try:
            for _ in range(2):
                self._listeners.append(socket.create_server((_LOOPBACK, 0), backlog=64))
        except OSError:
            self._close_listeners()
            raise
        self.ldaps_port: int = self._listeners[0].getsockname()[1]
        self.ldap_port: int = self._listeners[1].getsockname()[1]
        for listener, secure in zip(self._listeners, (True, False), strict=True):
            name = "directory-ldaps" if secure else "directory-ldap"
            thread = threading.Thread(target=self._accept, args=(listener, secure), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _bind_names(self, accounts: Mapping[str, str]) -> dict[str, tuple[str, bytes]]:
        names: dict[str, tuple[str, bytes]] = {}
        for given, password in accounts.items():
            known = (given.lower(), password.encode())
            names[given.lower()] = known
            entry = self.tree.by_account_name(given)
            if entry is not None:
                names.setdefault(entry.dn.lower(), known)
                if upn := entry.text("userPrincipalName"):
                    names.setdefault(upn.lower(), known)
                if sam := entry.text("sAMAccountName"):
                    names.setdefault(f"{self.tree.netbios_name()}\\{sam}".lower(), known)
        return names

    @property
    def ldaps_url(self) -> str:
        """Where LDAPS answers, by address; use the certificate's name with `ldaps_port` where names are checked."""
        return f"ldaps://{_LOOPBACK}:{self.ldaps_port}"

    @property
    def ldap_url(self) -> str:
        """Where LDAP with StartTLS answers, by address."""
        return f"ldap://{_LOOPBACK}:{self.ldap_port}"

    def replace(self, entries: Sequence[Entry]) -> None:
        """Serve other contents from the next search on; accounts stay. Raises ValueError as the constructor does."""
        self.tree = DirectoryTree(entries, host_name=self._host_name)
        self._service.tree = self.tree

    def __enter__(self) -> DirectoryServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, end every connection and wait for all threads. May be called twice."""
        self._closing.set()
        self._close_listeners()
        with self._lock:
            sessions = dict(self._sessions)
        for session in sessions.values():
            _hang_up(session.connection)
        for thread in [*self._threads, *sessions]:
            thread.join(_CLOSE_SECONDS)

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            _hang_up(listener)  # wakes the thread that waits in accept
            listener.close()

    def _accept(self, listener: socket.socket, secure: bool) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed
            connection.settimeout(_IDLE_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = Session(connection, self._service, secure=secure)
            thread = threading.Thread(target=self._serve, args=(session,), name="directory-session", daemon=True)
            with self._lock:
                if self._closing.is_set():
                    connection.close()
                    return
                self._sessions[thread] = session
                thread.start()

    def _serve(self, session: Session) -> None:
        try:
            session.serve()
        finally:
            with self._lock:
                self._sessions.pop(threading.current_thread(), None)


def _hang_up(connection: socket.socket) -> None:
    """End a connection from another thread. The base class's method: an SSL socket's own would drop its TLS state."""
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        return  # it had ended already
