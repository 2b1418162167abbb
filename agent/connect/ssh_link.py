"""One SSH connection by paramiko up to the host's key: direct, through a jump host, or through a program.

Whatever the way, one clock ends it, and the host at its end is the one whose key is asked for.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from agent.connect import ssh_legacy
from agent.connect.ssh_options import clean, hint, place, why
from agent.errors import Broken, NoAnswer, TargetError, Unreachable

if TYPE_CHECKING:
    import paramiko

CONNECT_SECONDS = 15.0
"""For the TCP connection and for the key exchange, each; the limit of the whole target ends both sooner."""

_FAST_KEX = ("curve25519-sha256@libssh.org", "mlkem768x25519-sha256")  # the first costs half of the second
_LOG = "spiritlevel.ssh"


_ABSENT = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EHOSTDOWN})
"""What the network says of a machine that is switched off; other errors are our own (no file handles left)."""


class NoCommonKey(Exception):
    """The host has no key of the types that we would believe."""


class Way(Protocol):
    """What carries bytes to the host: a socket, or a channel of the jump host's connection."""

    def close(self) -> None:
        """Break it off."""


class Link:
    """One connection with its transport, and the clock that ends both. Use as a context manager.

    `via` is a logged-in link to the jump host before it, `proxy` the words of a program that leads there, `legacy` the
    old algorithms that may be offered.
    """

    def __init__(
        self,
        host: str,
        port: int,
        deadline: float,
        via: Link | None = None,
        proxy: Sequence[str] = (),
        legacy: ssh_legacy.Legacy = ssh_legacy.NONE,
    ) -> None:
        self.legacy = legacy
        self.host, self.port, self.deadline = host, port, deadline
        self.place = place(host, port)
        self.expired = False
        self._via, self._proxy = via, tuple(proxy)
        self._way: Way | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: paramiko.Transport | None = None
        self._clock = threading.Timer(max(deadline - time.monotonic(), 0.0), self._expire)
        self._clock.daemon = True

    def __enter__(self) -> Link:
        self._clock.start()
        try:
            if self._via is not None:
                self._way = self._via.tunnel(self.host, self.port)
            elif self._proxy:
                self._way = self._through_program()
            else:
                self._way = self._direct()
        except BaseException:
            self._clock.cancel()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._clock.cancel()
        self._close()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
                return
            self._process.kill()
            self._process.wait()

    @property
    def transport(self) -> paramiko.Transport:
        """The transport; there is one after `handshake`."""
        assert self._transport is not None  # noqa: S101 - for the type checker
        return self._transport

    def left(self) -> float:
        """Seconds until this target's time is up; at least a moment, so that waits end by themselves."""
        return max(self.deadline - time.monotonic(), 0.01)

    def _direct(self) -> socket.socket:
        try:
            return socket.create_connection((self.host, self.port), min(CONNECT_SECONDS, self.left()))
        except OSError as error:
            absent = isinstance(error, TimeoutError | socket.gaierror) or error.errno in _ABSENT
            kind = NoAnswer if absent else Unreachable
            raise kind(f"{self.place} cannot be reached: {why(error)}.", hint(error)) from error
        except UnicodeError as error:
            raise Unreachable(f"{self.place} is not a host name.", "Correct ansible_host in the inventory.") from error

    def _through_program(self) -> socket.socket:
        """A ProxyCommand on one end of a socket pair: paramiko's own class spins for ever once its program ends."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    self._proxy,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # no terminal to ask people for passwords on
                )
        except OSError as error:
            ours.close()
            raise Unreachable(
                f"{self.place} is behind a ProxyCommand that does not start: {clean(self._proxy[0])}: {why(error)}.",
                "Install that program, or correct ProxyCommand.",
            ) from error
        return ours

    def tunnel(self, host: str, port: int) -> paramiko.Channel:
        """A channel from this logged-in jump host on to the next machine. Raises `Unreachable` where there is none."""
        import paramiko

        there = place(host, port)
        try:
            return self.transport.open_channel(
                "direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=min(CONNECT_SECONDS, self.left())
            )
        except paramiko.ChannelException as error:
            if error.code == 1:  # RFC 4254, 5.1
                raise Unreachable(
                    f"the jump host {self.place} does not forward to {there}.",
                    "Allow it there: AllowTcpForwarding and PermitOpen in sshd_config, and no restriction on the key.",
                ) from error
            raise NoAnswer(
                f"{there} cannot be reached from the jump host {self.place}: {clean(error.text)}.",
                "Is the host switched on, and does the jump host know its name?",
            ) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self.failure(error, f"did not lead on to {there}") from error

    @staticmethod
    def _ended(process: subprocess.Popen[bytes]) -> bool:
        """Whether a program is over; its socket closes a moment before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        return process.returncode is not None

    def _expire(self) -> None:
        # Closing under the feet of whatever waits is the only bound that a stalling or trickling host cannot stretch.
        self.expired = True
        self._close()

    def _close(self) -> None:
        if self._transport is not None:
            with contextlib.suppress(OSError, EOFError):
                self._transport.close()
        if isinstance(self._way, socket.socket):
            with contextlib.suppress(OSError):
                self._way.shutdown(socket.SHUT_RDWR)
        if self._way is not None:
            with contextlib.suppress(OSError, EOFError):
                self._way.close()
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def handshake(self, key_types: tuple[str, ...]) -> paramiko.PKey:
        """Key exchange → the host's key. Empty `key_types`: any safe type. Raises `NoCommonKey` or `TargetError`."""
        import paramiko

        log = logging.getLogger(_LOG)
        if not log.handlers:  # paramiko logs tracebacks of what a hostile host does to it; nobody should see them
            log.addHandler(logging.NullHandler())
            log.propagate = False
        assert self._way is not None  # noqa: S101 - for the type checker
        try:
            kind = ssh_legacy.transport_class() if self.legacy else paramiko.Transport
            transport = self._transport = kind(self._way)  # type: ignore[arg-type]  # a channel will do
            transport.set_log_channel(_LOG)
            transport.daemon = True
            transport.banner_timeout = transport.handshake_timeout = min(CONNECT_SECONDS, self.left())
            transport.auth_timeout = min(30.0, self.left())
            options = transport.get_security_options()
            known = set(options.kex)
            options.kex = tuple(k for k in _FAST_KEX if k in known) + tuple(
                k for k in options.kex if k not in _FAST_KEX
            )
            options.kex = (*options.kex, *self.legacy.kex)
            safe = [c for c in options.ciphers if "cbc" not in c and "3des" not in c]
            # AES-GCM needs no separate MAC, which paramiko would compare byte by byte in Python.
            options.ciphers = (*sorted(safe, key=lambda c: "gcm" not in c), *self.legacy.ciphers)
            options.key_types = (*options.key_types, *self.legacy.host_keys)
            if key_types:
                usable = tuple(t for t in key_types if t in options.key_types)
                if not usable:
                    raise NoCommonKey
                options.key_types = usable
            transport.start_client(timeout=min(CONNECT_SECONDS, self.left()))
            if not transport.initial_kex_done:
                raise Unreachable(f"{self.place} did not finish the key exchange in time.", "Is the host overloaded?")
            return transport.get_remote_server_key()
        except paramiko.ssh_exception.IncompatiblePeer as error:
            if key_types and "key" in str(error).lower():
                raise NoCommonKey from error
            raise Broken(
                f"{self.place} shares no safe SSH algorithm with us: {clean(error)}.", "Update the SSH server there."
            ) from error
        except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
            if self._process is not None and self._ended(self._process) and not self.expired:
                raise Unreachable(
                    f"{self.place} is behind a ProxyCommand that ended by itself: {clean(self._proxy[0])}.",
                    "Run it by hand to see why; it cannot ask questions here.",
                ) from error
            raise self.failure(error, "answered, but not with SSH") from error

    def failure(self, error: BaseException, sentence: str) -> TargetError:
        """What an exception of the library means, as one sentence."""
        if self.expired:
            return Unreachable(f"{self.place} used up its time.", "Raise the time limit, or look at the host.")
        if isinstance(error, TimeoutError):
            return Unreachable(f"{self.place} timed out.", "Is the host overloaded?")
        return Broken(f"{self.place} {sentence}: {clean(error)}.")
