"""One client's connection to the stand-in directory server: bind, StartTLS, paged searches, faults on demand."""

from __future__ import annotations

import hmac
import secrets
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.demo import ldap_wire as wire
from agent.demo.ldap_entry import Entry
from agent.demo.ldap_filter import Compare, Present
from agent.demo.ldap_tree import (
    CONTROLS,
    DOMAIN_SCOPE,
    SD_FLAGS,
    SHOW_DELETED,
    START_TLS,
    WHO_AM_I,
    DirectoryTree,
    Refusal,
    Selection,
    project,
)

_DISCONNECTION = "1.3.6.1.4.1.1466.20036"  # notice of disconnection, RFC 4511 section 4.4.1
_SEND_SIZE = 1 << 16
_MAX_OPEN_PAGES = 16
_LINGER_SECONDS, _LINGER_READS = 1.0, 64
# Texts as a Windows domain controller sends them: scanners tell the cases apart by what follows "data".
_BIND_REFUSED = "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data {data}, v4563"
_BIND_FIRST = (
    "000004DC: LdapErr: DSID-0C090A5C, comment: In order to perform this operation a successful bind must be "
    "completed on the connection., data 0, v4563"
)
_TLS_FIRST = (
    "00002028: LdapErr: DSID-0C090273, comment: The server requires binds to turn on integrity checking if SSL\\TLS "
    "are not already active on the connection, data 0, v4563"
)
_BAD_CONTROL = "00000057: LdapErr: DSID-0C09083F, comment: Error processing control, data 0, v4563"
_READ_ONLY = "00002098: SecErr: DSID-03150F94, problem 4003 (INSUFF_ACCESS_RIGHTS), data 0"


@dataclass(frozen=True, slots=True)
class DirectoryFaults:
    """What the directory server does wrong. All off by default.

    `refuse_bind`: every bind with a password fails with this Active Directory code (`533` disabled, `775` locked out);
    `bind_result`, `search_result`: an LDAP result code to answer with (51 busy, 52 unavailable), searches after
    `after_entries` entries; `cut_after_entries`: the connection ends inside the entry that follows that many (counted
    over all searches of one connection); `delay`: seconds before each answer. The root DSE stays readable.
    """

    refuse_bind: str | None = None
    bind_result: int | None = None
    search_result: int | None = None
    after_entries: int = 0
    cut_after_entries: int | None = None
    delay: float = 0.0


@dataclass(slots=True)
class Service:
    """What all connections share; `tree` may be replaced at any time.

    `accounts`: bind name, lower case, to (account, password).
    """

    tree: DirectoryTree
    accounts: Mapping[str, tuple[str, bytes]]
    tls: ssl.SSLContext
    require_tls: bool
    anonymous_search: bool
    max_page: int
    range_size: int
    faults: Callable[[], DirectoryFaults]
    closing: threading.Event


@dataclass(frozen=True, slots=True)
class _Pages:
    """The rest of a paged search."""

    request: wire.Search
    account: str
    entries: tuple[Entry, ...]
    references: tuple[str, ...]
    cut_short: bool


class Gone(Exception):
    """The connection is over."""


class Session:
    """Serves one connection until the client leaves, breaks the protocol, or the server closes."""

    def __init__(self, connection: socket.socket, service: Service, *, secure: bool) -> None:
        self.connection = connection
        self._service = service
        self._secure = secure
        self._account = ""  # anonymous
        self._sent_entries = 0
        self._pages: dict[bytes, _Pages] = {}

    def serve(self) -> None:
        """Answer until the connection ends. Never raises for what a client does."""
        try:
            if self._secure:
                self._start_tls()
            while True:
                self._one(self._receive())
        except Gone:
            pass
        except wire.WireError as error:
            self._last_words(str(error))
        except OSError:
            pass  # the client, or close(), ended the connection
        finally:
            self.connection.close()

    def _last_words(self, text: str) -> None:
        try:
            notice = wire.result(0, wire.EXTENDED_RESPONSE, wire.PROTOCOL_ERROR, text, name=_DISCONNECTION)
            self.connection.sendall(notice)
            if not self._secure:
                # What is unread would turn the close into a reset, and the client might never see the notice.
                self.connection.shutdown(socket.SHUT_WR)
                self.connection.settimeout(_LINGER_SECONDS)
                for _ in range(_LINGER_READS):
                    if not self.connection.recv(_SEND_SIZE):
                        break
        except OSError:
            pass  # nobody is left to hear it

    def _start_tls(self) -> None:
        # The wrapped socket takes the place first, so that close() reaches it during the handshake too.
        wrapped = self._service.tls.wrap_socket(self.connection, server_side=True, do_handshake_on_connect=False)
        self.connection = wrapped
        if self._service.closing.is_set():
            raise Gone
        wrapped.do_handshake()
        self._secure = True

    def _receive(self) -> wire.Message:
        data = bytearray()
        while (size := wire.message_size(bytes(data[:8]))) is None:
            data += self._read(2 - len(data) if len(data) < 2 else 2 + (data[1] & 0x7F) - len(data))
        while len(data) < size:
            data += self._read(size - len(data))
        return wire.read_message(bytes(data))

    def _read(self, size: int) -> bytes:
        data = self.connection.recv(size)
        if not data:
            raise Gone
        return data

    def _one(self, message: wire.Message) -> None:
        request = message.request
        if isinstance(request, wire.Unbind):
            raise Gone
        if isinstance(request, wire.Abandon):
            return  # answers are sent whole before the next request is read: nothing is left to abandon
        delay = self._service.faults().delay
        if delay and self._service.closing.wait(delay):
            raise Gone
        number = message.number
        match request:
            case wire.Bind():
                self.connection.sendall(self._bind(number, request))
            case wire.Search():
                self._search(number, request, message.controls)
            case wire.CompareValue():
                self.connection.sendall(self._compare(number, request))
            case wire.Extended():
                self._extended(number, request)
            case wire.Write(answer):
                self.connection.sendall(wire.result(number, answer, wire.INSUFFICIENT_ACCESS, _READ_ONLY))

    def _bind(self, number: int, request: wire.Bind) -> bytes:
        faults = self._service.faults()
        self._account = ""
        self._pages.clear()

        def answer(code: int, text: str = "") -> bytes:
            return wire.result(number, wire.BIND_RESPONSE, code, text)

        if request.version != 3:
            return answer(wire.PROTOCOL_ERROR, "only version 3 of LDAP is spoken here")
        if request.password is None:
            return answer(wire.AUTH_METHOD_NOT_SUPPORTED, "only the simple bind is spoken here")
        if faults.bind_result is not None:
            return answer(faults.bind_result, "00002024: LdapErr: DSID-0C060A06, comment: the server is not ready")
        if not request.password:
            return answer(wire.SUCCESS)  # anonymous, also with a name, as on Windows unless it is told otherwise
        if self._service.require_tls and not self._secure:
            return answer(wire.STRONGER_AUTH_REQUIRED, _TLS_FIRST)
        account, password = self._service.accounts.get(request.name.lower(), ("", b""))
        if not hmac.compare_digest(password, request.password) or not account:
            return answer(wire.INVALID_CREDENTIALS, _BIND_REFUSED.format(data="52e"))
        if faults.refuse_bind:
            return answer(wire.INVALID_CREDENTIALS, _BIND_REFUSED.format(data=faults.refuse_bind))
        self._account = account
        return answer(wire.SUCCESS)

    def _allowed(self) -> None:
        if not self._account and not self._service.anonymous_search:
            raise Refusal(wire.OPERATIONS_ERROR, _BIND_FIRST)

    def _compare(self, number: int, request: wire.CompareValue) -> bytes:
        tree = self._service.tree
        try:
            self._allowed()
            entry = tree.base(request.dn, self._account)
            if not entry.values(request.attribute) or not entry.readable(request.attribute, self._account):
                raise Refusal(wire.NO_SUCH_ATTRIBUTE, "00002080: AtrErr: DSID-03080155, #1")
            wanted = wire.Search(request.dn, 0, 0, False, Compare("=", request.attribute, request.value), ())
            code = wire.COMPARE_TRUE if tree.fits(entry, wanted, self._account) else wire.COMPARE_FALSE
            return wire.result(number, wire.COMPARE_RESPONSE, code)
        except Refusal as refusal:
            return _refused(number, wire.COMPARE_RESPONSE, refusal)

    def _extended(self, number: int, request: wire.Extended) -> None:
        def answer(code: int, text: str = "", value: bytes | None = None) -> None:
            name = request.oid if request.oid == START_TLS else None
            self.connection.sendall(wire.result(number, wire.EXTENDED_RESPONSE, code, text, name=name, value=value))

        if request.oid == START_TLS:
            if self._secure:
                answer(wire.OPERATIONS_ERROR, "TLS is already in place")
                return
            answer(wire.SUCCESS)
            self._account = ""
            self._pages.clear()
            self._start_tls()
        elif request.oid == WHO_AM_I:
            answer(wire.SUCCESS, value=self._who().encode())
        else:
            answer(wire.PROTOCOL_ERROR, "this extended operation is not known here")

    def _who(self) -> str:
        if not self._account:
            return ""
        entry = self._service.tree.by_account_name(self._account)
        name = entry.text("sAMAccountName") if entry else None
        return f"u:{self._service.tree.netbios_name()}\\{name}" if name else f"u:{self._account}"

    def _search(self, number: int, request: wire.Search, controls: tuple[wire.Control, ...]) -> None:
        try:
            self._found(number, request, {control.oid: control for control in controls})
        except Refusal as refusal:
            self.connection.sendall(_refused(number, wire.SEARCH_DONE, refusal))

    def _found(self, number: int, request: wire.Search, controls: Mapping[str, wire.Control]) -> None:
        unknown = [control.oid for control in controls.values() if control.critical and control.oid not in CONTROLS]
        if unknown:
            raise Refusal(wire.UNAVAILABLE_CRITICAL_EXTENSION, _BAD_CONTROL)
        service = self._service
        flags = wire.sd_flags(controls[SD_FLAGS].value) if SD_FLAGS in controls else None
        selection = Selection.of(request, flags, service.range_size)
        if not request.base and request.scope == 0:  # the root DSE is everybody's
            root = service.tree.root_dse
            if service.tree.fits(root, request, self._account) or _any_object(request):
                self.connection.sendall(wire.search_entry(number, "", project(root, selection, self._account)))
            self.connection.sendall(wire.result(number, wire.SEARCH_DONE, wire.SUCCESS))
            return
        self._allowed()
        if service.faults().search_result is not None and not service.faults().after_entries:
            raise Refusal(service.faults().search_result or 0, "00002024: LdapErr: the server is not ready")
        paged = controls.get(wire.PAGED_RESULTS)
        size, cookie = wire.paged_request(paged.value) if paged else (0, b"")
        todo = self._resume(cookie, request) if cookie else self._start(request, controls)
        page = min(size or service.max_page, service.max_page)
        if paged and cookie and size == 0:  # the client gives the rest up, RFC 2696 section 3
            todo = _Pages(request, self._account, (), (), False)
        now, rest = todo.entries[:page], todo.entries[page:]
        self._send_entries(number, now, selection)
        if paged is None:
            code = wire.SIZE_LIMIT_EXCEEDED if rest or todo.cut_short else wire.SUCCESS
            self._finish(number, todo.references, code, b"")
        elif rest:
            key = secrets.token_bytes(16)
            self._pages[key] = _Pages(request, self._account, rest, todo.references, todo.cut_short)
            while len(self._pages) > _MAX_OPEN_PAGES:
                self._pages.pop(next(iter(self._pages)))
            self._finish(number, (), wire.SUCCESS, wire.paged_answer(key))
        else:
            code = wire.SIZE_LIMIT_EXCEEDED if todo.cut_short else wire.SUCCESS
            self._finish(number, todo.references, code, wire.paged_answer(b""))

    def _start(self, request: wire.Search, controls: Mapping[str, wire.Control]) -> _Pages:
        found = self._service.tree.search(
            request, self._account, show_deleted=SHOW_DELETED in controls, refer=DOMAIN_SCOPE not in controls
        )
        limit = request.size_limit or len(found.entries)
        return _Pages(request, self._account, found.entries[:limit], found.references, len(found.entries) > limit)

    def _resume(self, cookie: bytes, request: wire.Search) -> _Pages:
        todo = self._pages.pop(cookie, None)
        if todo is None or todo.request != request or todo.account != self._account:
            raise Refusal(wire.UNWILLING_TO_PERFORM, _BAD_CONTROL)
        return todo

    def _send_entries(self, number: int, entries: tuple[Entry, ...], selection: Selection) -> None:
        faults = self._service.faults()
        waiting = bytearray()
        for entry in entries:
            data = wire.search_entry(number, entry.dn, project(entry, selection, self._account))
            if faults.cut_after_entries is not None and self._sent_entries >= faults.cut_after_entries:
                self.connection.sendall(waiting + data[: len(data) // 2])
                raise Gone
            if faults.search_result is not None and self._sent_entries >= faults.after_entries:
                self.connection.sendall(waiting)
                raise Refusal(faults.search_result, "00002024: LdapErr: the server is not ready")
            self._sent_entries += 1
            waiting += data
            if len(waiting) >= _SEND_SIZE:
                self.connection.sendall(waiting)
                waiting.clear()
        if waiting:
            self.connection.sendall(waiting)

    def _finish(self, number: int, references: tuple[str, ...], code: int, controls: bytes) -> None:
        out = b"".join(wire.search_reference(number, (url,)) for url in references)
        self.connection.sendall(out + wire.result(number, wire.SEARCH_DONE, code, controls=controls))


def _any_object(request: wire.Search) -> bool:
    """The root DSE has no object class, yet every client asks for it with `(objectClass=*)`."""
    return isinstance(request.filter, Present) and request.filter.attribute.lower() == "objectclass"


def _refused(number: int, tag: int, refusal: Refusal) -> bytes:
    return wire.result(number, tag, refusal.code, refusal.text, matched=refusal.matched, referral=refusal.referral)
