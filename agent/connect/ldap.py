"""The one home of ldap3: opens a directory over TLS, proves who it is, binds, and searches.

Real credentials never travel in clear: `ldaps://` is TLS from the first byte, `ldap://` must accept StartTLS before
anything is said. Referrals are recorded and never followed, so that credentials go to nobody else.
"""

from __future__ import annotations

import re
import socket
import ssl
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent.connect.ldap_bind import login
from agent.connect.ldap_probe import behaviour
from agent.connect.ldap_search import Searcher, clean
from agent.connect.ldap_tls import TlsSocket
from agent.errors import Broken, CredentialRefused, IdentityError, TargetError, Unreachable
from agent.facts.ad.directory import Behaviour, Directory, Entry, Found
from agent.facts.protocol import Limits
from agent.model import Target

if TYPE_CHECKING:
    from ldap3 import Connection

LOGINS = ("simple", "ntlm", "kerberos")
PAGE = 1000
"""Entries a page: what Windows domain controllers allow (MaxPageSize)."""
CONNECT_SECONDS = 15.0
MIN_BYTES = 256 << 20
"""A directory's answer is bounded more widely than a host's: 50,000 people at 600 bytes are 30 MB."""

SD_FLAGS = ("1.2.840.113556.1.4.801", False, b"\x30\x03\x02\x01\x07")
"""LDAP_SERVER_SD_FLAGS_OID (MS-ADTS 3.1.1.3.4.1.11): owner, group and DACL, without the SACL, which takes a right.

Not critical: a server that does not know it shows no descriptor, which is unknown, instead of refusing the search."""

SHOW_DELETED = ("1.2.840.113556.1.4.417", True, None)
"""LDAP_SERVER_SHOW_DELETED_OID (MS-ADTS 3.1.1.3.4.1.14)."""

# Sub-codes of a refused bind (MS-ADTS 3.1.1.5.1.3 gives the form; the numbers are Windows' logon errors in hex).
REFUSALS = {
    "525": "there is no such account",
    "52e": "the password is wrong",
    "530": "the account may not log in at this hour",
    "531": "the account may not log in from here",
    "532": "the password has expired",
    "533": "the account is disabled",
    "568": "the account is in too many groups",
    "701": "the account has expired",
    "773": "the password must be changed first",
    "775": "the account is locked",
}
_SUBCODE = re.compile(r"\bdata ([0-9a-fA-F]{2,8})\b")


def _load() -> None:
    """Import ldap3 without its complaint that pyasn1 renamed two tables, which is not ours to mend."""
    if "ldap3" not in sys.modules:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import ldap3  # noqa: F401


@contextmanager
def open_ldap(target: Target, secret: Callable[[str], str], limits: Limits) -> Iterator[Directory]:
    """Open, secure and bind the directory of `target`; its settings are the entry of trust.yml.

    `url` may be a list: the next is tried when one cannot be reached or breaks off before the login. Raises
    `Unreachable`, `IdentityError`, `CredentialRefused` or `Broken`, `TargetError` for settings that cannot work here,
    and whatever `secret` raises.
    """
    settings = target.settings
    urls = settings.get("url") or ()
    urls = [urls] if isinstance(urls, str) else list(urls)
    if not urls:
        raise TargetError(f"{target.name} has no url.", "Give it one in trust.yml, such as ldaps://dc1.example.org.")
    kind, reference = str(settings.get("auth", "simple")), str(settings.get("password", ""))
    if kind not in LOGINS:
        raise TargetError(f"{target.name} asks for a {clean(kind)} login.", f"There are {', '.join(LOGINS)}.")
    from_cache = kind == "kerberos" and not reference
    password = "" if from_cache else secret(reference)
    if not password and not from_cache:
        raise CredentialRefused(
            f"The password for {target.name} is empty, which a directory would take as an anonymous login.",
            "Check what the password reference in trust.yml points to.",
        )
    ends = time.monotonic() + limits.seconds
    problem: TargetError | None = None
    for url in urls:
        try:
            link = _Link(str(url), settings, password, limits, ends)
        except (Unreachable, Broken) as failed:
            problem = problem or failed
            continue
        try:
            yield link
        finally:
            link.close()
        return
    assert problem is not None  # noqa: S101 - for the type checker: there was at least one url
    if len(urls) > 1:
        problem.message = f"None of the {len(urls)} servers of {target.name} could be read. {problem.message}"
    raise problem


class _Link:
    """A bound connection. What comes back after the login is read by `ldap_search`, bounded in time and bytes."""

    def __init__(self, url: str, settings: Mapping[str, Any], password: str, limits: Limits, ends: float) -> None:
        self.server = clean(url)
        self._url, self._ca_file = url, settings.get("ca_file")
        self._behaviour: Behaviour | None = None
        self._ends = ends
        self._timer = threading.Timer(max(0.1, ends - time.monotonic()), self._cut)
        self._timer.daemon = True
        self._sock: socket.socket | TlsSocket | None = None
        self._conn = self._open(url, settings, password)
        self._searcher = Searcher(self._conn.socket, self.server, ends, max(limits.bytes, MIN_BYTES), self._encode)

    def _cut(self) -> None:
        """The deadline passed while a library was waiting: end its wait."""
        if self._sock is not None:
            try:
                self._sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it was closed a moment before

    def _open(self, url: str, settings: Mapping[str, Any], password: str) -> Connection:
        _load()
        from ldap3 import NONE, SIMPLE, SYNC, Connection, Server, Tls
        from ldap3.core.exceptions import LDAPExceptionError

        parts = urlsplit(url)
        if parts.scheme not in ("ldap", "ldaps") or not parts.hostname:
            raise TargetError(f"{self.server} is not the address of a directory.", "Write ldaps://NAME or ldap://NAME.")
        host, secure = parts.hostname, parts.scheme == "ldaps"
        ca_file = settings.get("ca_file")
        context = self._context(ca_file)
        link = self

        class StrictTls(Tls):  # type: ignore[misc, unused-ignore]
            """ldap3's own TLS checks nothing by default, and its name check refuses addresses; Python's does both."""

            problem: Exception | None = None

            def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
                try:
                    connection.socket.settimeout(max(0.1, min(CONNECT_SECONDS, link._ends - time.monotonic())))
                    connection.socket = TlsSocket(connection.socket, context, host)
                    link._sock = connection.socket
                except (OSError, ValueError) as failed:
                    StrictTls.problem = failed
                    raise

        try:
            tls = StrictTls(validate=ssl.CERT_REQUIRED)
            port = parts.port or (636 if secure else 389)
        except ValueError as failed:
            raise TargetError(f"{self.server} has no sensible port.", "Leave it out, or give a number.") from failed
        wait = max(0.1, min(CONNECT_SECONDS, self._ends - time.monotonic()))
        server = Server(host, port, use_ssl=secure, tls=tls, get_info=NONE, connect_timeout=wait)
        conn = Connection(
            server,
            user=str(settings.get("bind", "")),
            password=password,
            authentication=SIMPLE,
            client_strategy=SYNC,
            auto_bind=False,
            auto_referrals=False,
            check_names=False,
            read_only=True,
            fast_decoder=True,
            raise_exceptions=False,
        )
        self._timer.start()
        stage = "reached"
        try:
            conn.open(read_server_info=False)
            conn.socket.settimeout(max(0.1, min(CONNECT_SECONDS, self._ends - time.monotonic())))
            self._sock = conn.socket
            stage = "asked for TLS"
            if not secure and not conn.start_tls(read_server_info=False):
                raise Broken(f"{self.server} did not start TLS.", "Use ldaps://, or give the server a certificate.")
            stage = "logged in to"
            if (kind := str(settings.get("auth", "simple"))) == "simple":
                conn.bind(read_server_info=False)
            else:
                self._tokens(conn, kind, host, str(settings.get("bind", "")), password)
        except (LDAPExceptionError, OSError, ValueError, TypeError, AttributeError, IndexError, KeyError) as failed:
            # ldap3 lets its decoder's own errors through when a server sends nonsense.
            self._close(conn)
            raise self._why(stage, failed, StrictTls.problem, ca_file, settings) from failed
        except TargetError:
            self._close(conn)
            raise
        self._check(conn, settings)
        return conn

    def _tokens(self, conn: Connection, kind: str, host: str, name: str, password: str) -> None:
        """Log in with NTLM or Kerberos; the outcome is in `conn.result`, as after a bind."""
        from ldap3.protocol.sasl.sasl import send_sasl_negotiation  # type: ignore[import-untyped, unused-ignore]

        def send(token: bytes) -> dict[str, Any]:
            return dict(send_sasl_negotiation(conn, None, token))  # type: ignore[no-untyped-call, unused-ignore]

        conn.sasl_mechanism = "GSS-SPNEGO"
        login(kind, name, password, host, conn.socket.binding(), send)

    def _context(self, ca_file: object) -> ssl.SSLContext:
        try:
            # Without a file of our own this takes the system's authorities; with one, only that file's.
            context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        except (OSError, ssl.SSLError) as failed:
            raise IdentityError(
                f"The certificate authority in {clean(ca_file)} cannot be read: {clean(failed)}.",
                "ca_file must be a PEM file that holds the authority's certificate.",
            ) from failed
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def _why(
        self, stage: str, failed: Exception, tls: Exception | None, ca_file: object, settings: Mapping[str, Any]
    ) -> TargetError:
        """What a failed opening was, in our own words."""
        trusted = f"the authority in {clean(ca_file)}" if ca_file else "the system's authorities (no ca_file is set)"
        if isinstance(tls, ssl.SSLCertVerificationError):
            return IdentityError(
                f"{self.server} did not prove who it is: {clean(tls.verify_message)}. Trusted: {trusted}.",
                "Nothing was sent. Check the name in url and the file in ca_file; never turn the check off.",
            )
        if time.monotonic() >= self._ends:
            return Unreachable(f"{self.server} was too slow to be {stage}.", "Try again, or raise the time limit.")
        if isinstance(tls, TimeoutError):
            return Unreachable(f"{self.server} took the connection and never finished TLS.", "Is it overloaded?")
        if isinstance(tls, ssl.SSLError | OSError):
            return Broken(
                f"{self.server} does not speak TLS as expected: {clean(tls)}.",
                "Port 636 needs a certificate on the domain controller; 389 needs ldap://.",
            )
        if stage == "reached":
            said = re.sub(r"^.*(?:\[Errno -?\d+\] |opening: )", "", clean(failed))  # ldap3 wraps the plain reason
            return Unreachable(
                f"{self.server} cannot be reached: {said}.",
                "Check the name, the port and the firewall between here and there.",
            )
        if stage == "asked for TLS":
            return Broken(
                f"{self.server} did not start TLS: {clean(failed)}.",
                "Use ldaps://, or give the server a certificate. Nothing was sent in clear.",
            )
        return Broken(
            f"{self.server} broke off while {clean(settings.get('bind', ''))} logged in.",
            "It answered, but not as LDAP says.",
        )

    def _check(self, conn: Connection, settings: Mapping[str, Any]) -> None:
        """Read the bind's result. Raises `CredentialRefused`, `Unreachable` or `Broken` unless it was a success."""
        result = conn.result if isinstance(conn.result, dict) else {}
        code, text = result.get("result"), clean(result.get("message", ""))
        if code == 0:
            return
        self._close(conn)
        name = clean(settings.get("bind", ""))
        if code in (49, 34, 32, 48):  # invalidCredentials, invalidDNSyntax, noSuchObject, inappropriateAuthentication
            found = _SUBCODE.search(text)
            why = REFUSALS.get(found[1].lower(), f"code {found[1]}") if found else "name or password is wrong"
            raise CredentialRefused(
                f"{self.server} refused {name}: {why}.",
                "Check bind and password in trust.yml before the account locks.",
            )
        if code in (51, 52):  # busy, unavailable
            raise Unreachable(f"{self.server} is not taking logins just now.", "Try later, or name a second server.")
        raise Broken(
            f"{self.server} did not answer the login of {name} as expected: "
            f"code {clean(code)} {clean(result.get('description', ''))} {text}".rstrip()
            + ".",
            "Is this the right server and port?",
        )

    def _close(self, conn: Connection) -> None:
        self._timer.cancel()
        if conn.socket is not None:
            try:
                conn.socket.close()
            except OSError:
                return  # nothing to close any more

    def close(self) -> None:
        """End the connection; never raises."""
        self._close(self._conn)

    def search(
        self,
        base: str,
        filter: str,
        attributes: Sequence[str],
        *,
        scope: str = "sub",
        security: bool = False,
        take: Callable[[Entry], Any] | None = None,
    ) -> Found:
        """One whole search, see `Directory.search`. After the connection is lost every search is unknown."""
        return self._searcher.search(base, filter, attributes, scope, security, take)

    def behaviour(self, base: str) -> Behaviour:
        """How the server treats strangers; tried once, over connections of its own."""
        if self._behaviour is None:
            self._behaviour = behaviour(self._url, self._context(self._ca_file), base)
        return self._behaviour

    def _encode(
        self, base: str, filter: str, attributes: Sequence[str], scope: str, security: bool, cookie: bytes
    ) -> tuple[int, bytes]:
        """One search request as it goes over the line, with its number."""
        from ldap3 import BASE, LEVEL, SUBTREE
        from ldap3.operation.search import search_operation
        from ldap3.protocol.convert import build_controls_list
        from ldap3.protocol.rfc2696 import paged_search_control
        from ldap3.protocol.rfc4511 import LDAPMessage, MessageID, ProtocolOp
        from ldap3.utils.asn1 import encode  # type: ignore[attr-defined, unused-ignore]

        reach = {"base": BASE, "one": LEVEL, "sub": SUBTREE, "deleted": SUBTREE}[scope]
        asked = list(attributes) or ["1.1"]
        request = search_operation(base, filter, reach, "NEVER", asked, 0, 0, False, False, True)
        number = int(self._conn.server.next_message_id())
        message = LDAPMessage()
        message["messageID"] = MessageID(number)
        message["protocolOp"] = ProtocolOp().setComponentByName("searchRequest", request)
        controls: list[tuple[str, bool, bytes | None]] = [SD_FLAGS] if security else []
        controls += [SHOW_DELETED] if scope == "deleted" else []
        message["controls"] = build_controls_list([*controls, paged_search_control(False, PAGE, cookie or None)])
        return number, encode(message)
