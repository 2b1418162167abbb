"""Tries how a directory server treats strangers: TLS versions, a login in clear, a search without a login.

Nobody's credentials are sent: the login in clear is that of an account that cannot exist, with a password made up on
the spot, so no account can lock. What cannot be tried is `Unknown`. The few messages are written here by hand (BER of
RFC 4511), because a library would rather log in properly.
"""

from __future__ import annotations

import itertools
import secrets
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from agent.connect import ntlm_probe
from agent.facts.ad.directory import Behaviour
from agent.model import Reason, Unknown

SECONDS = 5.0
"""For each trial: a firewall that swallows packets must not hold up a scan."""
_MAX = 1 << 20

BIND_RESPONSE, ENTRY, DONE, REFERENCE = 0x61, 0x64, 0x65, 0x73
SUCCESS, OPERATIONS_ERROR, STRONGER, CONFIDENTIALITY, IN_PROGRESS = 0, 1, 8, 13, 14
ABSENT, NO_AUTH, INVALID, NO_RIGHT, UNWILLING = 32, 48, 49, 50, 53


class _Cut(Exception):
    """The server broke off, or said what no LDAP server says."""


def behaviour(url: str, context: ssl.SSLContext, base: str) -> Behaviour:
    """Try the server at `url`, as trust.yml has it. `context` checks certificates as the real connection does, and
    `base` is the domain's DN. Never raises for what the server does."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "ldaps"
    ldaps_port = (parts.port or 636) if secure else 636
    clear_port = 389 if secure else (parts.port or 389)
    ldaps, ends = _ldaps(host, ldaps_port, context)
    return Behaviour(
        ldaps=ldaps,
        old_tls=_old_tls(host, ldaps_port) if ldaps is True else Unknown(Reason.NOT_COLLECTED, "there is no LDAPS"),
        certificate_ends=ends,
        plain_login=_plain_login(host, clear_port, base),
        channel_binding=_channel_binding(host, ldaps_port, context)
        if ldaps is True
        else Unknown(Reason.NOT_COLLECTED, "there is no LDAPS"),
        anonymous=_anonymous(
            (lambda: _secured(host, ldaps_port, context)) if ldaps is True else lambda: _plain(host, clear_port), base
        ),
    )


@contextmanager
def _plain(host: str, port: int) -> Iterator[socket.socket]:
    with socket.create_connection((host, port), timeout=SECONDS) as sock:
        yield sock


@contextmanager
def _secured(host: str, port: int, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with _plain(host, port) as sock, context.wrap_socket(sock, server_hostname=host) as secured:
        yield secured


def _ldaps(host: str, port: int, context: ssl.SSLContext) -> tuple[bool | Unknown, str | Unknown]:
    """Whether TLS from the first byte works and proves who the server is, and when its certificate ends."""
    try:
        with _secured(host, port, context) as sock:
            ends = str((sock.getpeercert() or {}).get("notAfter", ""))
    except ConnectionRefusedError:
        return False, Unknown(Reason.NOT_COLLECTED, f"nothing answers on port {port}")
    except ssl.SSLCertVerificationError as failed:
        return False, Unknown(Reason.UNREADABLE, f"its certificate proves nothing: {failed.verify_message}")
    except (OSError, ValueError) as failed:
        why = Unknown(Reason.UNREACHABLE, f"port {port}: {_words(failed)}")
        return why, why
    try:
        moment = datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)
    except ValueError:
        return True, Unknown(Reason.UNREADABLE, "the end of the certificate")
    return True, moment.isoformat()[:19] + "Z"


# Said by our own side alone: nothing was learned of the server.
_OWN = ("NO_PROTOCOLS_AVAILABLE", "NO_CIPHERS_AVAILABLE", "UNSUPPORTED_SSL_VERSION")


def _old_tls(host: str, port: int) -> bool | Unknown:
    """Whether a connection that can do no better than TLS 1.1 is taken. Who the server is was checked before."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        context.set_ciphers("ALL:@SECLEVEL=0")  # else this side would refuse what is asked about
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    except (ssl.SSLError, ValueError):
        return Unknown(Reason.NOT_SUPPORTED, "TLS 1.1 cannot be tried from this machine")
    try:
        with _secured(host, port, context):
            return True
    except ssl.SSLError as failed:
        if failed.reason in _OWN:
            return Unknown(Reason.NOT_SUPPORTED, "TLS 1.1 cannot be tried from this machine")
        return False
    except ConnectionResetError:
        return False  # how Windows refuses a version
    except (OSError, ValueError) as failed:
        return Unknown(Reason.UNREACHABLE, f"port {port}: {_words(failed)}")


def _plain_login(host: str, port: int, base: str) -> bool | Unknown:
    """Whether a login in clear is weighed at all: the account cannot exist, so a server that says so would have
    taken a real one, and one that wants protection first says that."""
    name = f"CN=spiritlevel-probe-{secrets.token_hex(8)},{base}"
    try:
        with _plain(host, port) as sock:
            sock.sendall(_message(1, _bind(name, secrets.token_urlsafe(24))))
            code = next(a.code for a in _answers(sock) if a.tag == BIND_RESPONSE)
    except ConnectionRefusedError:
        return Unknown(Reason.NOT_SUPPORTED, f"nothing answers in clear on port {port} from here")
    except (OSError, _Cut, StopIteration) as failed:
        return Unknown(Reason.UNREACHABLE, f"port {port} in clear: {_words(failed)}")
    if code in (STRONGER, CONFIDENTIALITY):
        return False
    if code in (INVALID, SUCCESS, ABSENT):  # wrong password, taken as anonymous, no such object: it was weighed
        return True
    return Unknown(Reason.UNREADABLE, f"the server answered a login in clear with code {code}")


def _anonymous(connect: Callable[[], AbstractContextManager[socket.socket]], base: str) -> bool | Unknown:
    """Whether a search by somebody who has not signed in is answered at all. No attribute is asked for.

    Windows refuses with operationsError unless its switch says otherwise (MS-ADTS 5.1.1.1.1); whether the few objects
    that it then shows are accounts hangs on permissions that change.
    """
    try:
        with connect() as sock:
            sock.sendall(_message(1, _search(base)))
            for answer in _answers(sock):
                code = answer.code
                if answer.tag == ENTRY or (answer.tag == DONE and code == SUCCESS):
                    return True
                if answer.tag == DONE:
                    refused = code in (OPERATIONS_ERROR, STRONGER, CONFIDENTIALITY, NO_AUTH, NO_RIGHT, UNWILLING)
                    return False if refused else Unknown(Reason.UNREADABLE, f"the server answered with code {code}")
    except (OSError, _Cut, ValueError) as failed:
        return Unknown(Reason.UNREACHABLE, f"a search without a login: {_words(failed)}")
    return Unknown(Reason.UNREADABLE, "a search without a login")


def _channel_binding(host: str, port: int, context: ssl.SSLContext) -> bool | Unknown:
    """Whether Windows refuses an NTLM login over TLS because it is not bound to the connection.

    Samba looks at that after it looked at who is there, so from there a failed login says nothing.
    """
    try:
        with _secured(host, port, context) as sock:
            answers = _answers(sock)
            sock.sendall(_message(1, _search("", "vendorName")))
            if b"samba" in b"".join(a.body for a in itertools.takewhile(lambda a: a.tag != DONE, answers)).lower():
                return Unknown(Reason.NOT_SUPPORTED, "Samba shows it only to a login that succeeds")
            sock.sendall(_message(2, _sasl(ntlm_probe.negotiate())))
            first = next(a for a in answers if a.tag == BIND_RESPONSE)
            if first.code != IN_PROGRESS:
                return Unknown(Reason.NOT_SUPPORTED, f"the server takes no NTLM login (code {first.code})")
            sock.sendall(_message(3, _sasl(ntlm_probe.authenticate(first.credentials))))
            second = next(a for a in answers if a.tag == BIND_RESPONSE)
    except (OSError, _Cut, StopIteration, ValueError) as failed:
        return Unknown(Reason.UNREACHABLE, f"an NTLM login over TLS: {_words(failed)}")
    if ntlm_probe.MISSING_BINDING in second.text.lower():
        return True
    if second.code == INVALID and ntlm_probe.WRONG_NAME in second.text.lower():
        return False
    return Unknown(Reason.UNREADABLE, f"the server answered an NTLM login with code {second.code}")


def _words(failed: Exception) -> str:
    return "it broke off" if isinstance(failed, (_Cut, StopIteration)) else str(failed)[:120] or type(failed).__name__


def _part(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < 0x80:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def _message(number: int, operation: bytes) -> bytes:
    return _part(0x30, _part(0x02, bytes([number])) + operation)


def _bind(name: str, password: str) -> bytes:
    return _part(0x60, _part(0x02, b"\x03") + _part(0x04, name.encode()) + _part(0x80, password.encode()))


def _sasl(token: bytes) -> bytes:
    mechanism = _part(0xA3, _part(0x04, b"GSS-SPNEGO") + _part(0x04, token))
    return _part(0x60, _part(0x02, b"\x03") + _part(0x04, b"") + mechanism)


def _search(base: str, attribute: str = "1.1") -> bytes:
    """Accounts in the whole subtree, few entries, no attribute ("1.1"); with an empty base the server's own object.

    Samba counts referrals as entries, so one would be too few.
    """
    is_user = _part(0xA3, _part(0x04, b"objectClass") + _part(0x04, b"user")) if base else _part(0x87, b"objectClass")
    limits = _part(0x02, b"\x64") + _part(0x02, bytes([int(SECONDS)])) + _part(0x01, b"\0")
    fixed = _part(0x04, base.encode()) + _part(0x0A, b"\x02" if base else b"\0") + _part(0x0A, b"\0") + limits
    return _part(0x63, fixed + is_user + _part(0x30, _part(0x04, attribute.encode())))


@dataclass(frozen=True, slots=True)
class _Answer:
    """One message: the operation's tag, its result code (-1: none), the server's words and what it proves itself by."""

    tag: int
    code: int = -1
    text: str = ""
    credentials: bytes = b""
    body: bytes = b""


def _answers(sock: socket.socket) -> Iterator[_Answer]:
    """Each message as it comes. Raises `_Cut` at the end or at nonsense."""
    buffer = b""
    while len(buffer) < _MAX:
        whole = _whole(buffer)
        if whole is None:
            chunk = sock.recv(1 << 14)
            if not chunk:
                raise _Cut
            buffer += chunk
            continue
        message, buffer = whole
        tag, body, _ = _take(_take(message)[2])
        yield _result(tag, body) if tag in (BIND_RESPONSE, DONE) else _Answer(tag, body=body)
    raise _Cut


def _result(tag: int, body: bytes) -> _Answer:
    """LDAPResult of RFC 4511 4.1.9, with the server's SASL credentials where it has some (4.2.2)."""
    _, code, rest = _take(body)
    _, _, rest = _take(rest)
    _, text, rest = _take(rest)
    credentials = b""
    while rest:
        kind, value, rest = _take(rest)
        credentials = value if kind == 0x87 else credentials
    return _Answer(tag, int.from_bytes(code, "big"), text.decode("utf-8", "replace"), credentials)


def _whole(buffer: bytes) -> tuple[bytes, bytes] | None:
    """The first message's inside and what follows it; None until it is whole."""
    with suppress(IndexError):
        if buffer[0] != 0x30:
            raise _Cut
        head, size = _length(buffer)
        if len(buffer) >= head + size:
            return buffer[head : head + size], buffer[head + size :]
    return None


def _length(data: bytes) -> tuple[int, int]:
    """(size of tag and length, length of what follows). Raises IndexError when too little has come."""
    if data[1] < 0x80:
        return 2, data[1]
    count = data[1] & 0x7F
    if not 0 < count <= 4:
        raise _Cut
    if len(data) < 2 + count:
        raise IndexError
    return 2 + count, int.from_bytes(data[2 : 2 + count], "big")


def _take(data: bytes) -> tuple[int, bytes, bytes]:
    """(tag, content, rest) of the first part. Raises `_Cut`."""
    try:
        head, size = _length(data)
        if len(data) < head + size:
            raise _Cut
        return data[0], data[head : head + size], data[head + size :]
    except IndexError:
        raise _Cut from None
