"""WinRM's HTTP: one connection, logged in once, on which messages go to and fro. pypsrp's own stays unused.

Its transport rides on requests, which takes CA bundles and proxies from the environment, follows redirects, opens a
new connection (and logs in again) behind our back, and bounds neither the time nor the size of an answer; and it takes
answers in clear where sealed ones were agreed. Here every answer is bounded, one clock ends the connection, the login
happens once, and what is not sealed as agreed is not read.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import http.client
import re
import socket
import ssl
import threading
import time
from typing import Any

from agent.connect.psrp_options import HTTP_PORT, Endpoint
from agent.connect.psrp_tls import bindings_of, tls_context
from agent.connect.ssh_options import clean, why
from agent.errors import (
    Broken,
    CredentialRefused,
    IdentityError,
    NoAnswer,
    TargetError,
    Unreachable,
)

CONNECT_SECONDS = 15.0
"""For the TCP connection and for TLS, each; the limit of the whole target ends both sooner."""
MUTUAL = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual"
"""What stands in the Authorization header of a login by certificate ([MS-WSMV] 2.2.9.1)."""
SOAP = "application/soap+xml"
_ABSENT = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EHOSTDOWN})
_TOKEN = re.compile(r"Negotiate\s+([A-Za-z0-9+/=]+)", re.IGNORECASE)
_PASSWORD = re.compile(r"preauth|password|revoked|expired|client not found|locked", re.IGNORECASE)
"""What Kerberos says of an account that it does not let in, as against a service that it cannot find."""


class Flood(Exception):
    """More bytes than were allowed for this host."""


class Http:
    """One connection to a host's WinRM, which stands in for pypsrp's transport.

    `deadline` is of `time.monotonic()`; `most` bounds the bytes that are read in all. Use as a context manager: it
    connects, checks the certificate and logs in. Raises `NoAnswer`, `Unreachable`, `IdentityError`,
    `CredentialRefused`, `Broken`, and `SecretError` for a client certificate that cannot be used.
    """

    def __init__(self, end: Endpoint, password: str | None, deadline: float, most: int) -> None:
        self.end, self.deadline, self.left_bytes = end, deadline, most
        self.expired = False
        self._password = password
        self._sock: socket.socket | None = None
        self._http = http.client.HTTPConnection(end.host, end.port)
        self._http.auto_open = 0  # a second connection would not be logged in
        self._sealed: Any = None
        self._clock = threading.Timer(max(deadline - time.monotonic(), 0.0), self._expire)
        self._clock.daemon = True
        host = f"[{end.host}]" if ":" in end.host else end.host
        self.endpoint = f"{'https' if end.https else 'http'}://{host}:{end.port}/{end.path}"
        """What pypsrp writes into its envelopes as the place they go to."""
        self._headers = {"Host": f"{host}:{end.port}", "User-Agent": "spiritlevel", "Connection": "Keep-Alive"}

    def __enter__(self) -> Http:
        self._clock.start()
        try:
            self._connect()
            self._log_in()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection. pypsrp calls it too."""
        self._clock.cancel()
        self._http.close()
        if self._sock is not None:
            self._sock.close()

    def left(self) -> float:
        """Seconds until the end, never quite none: a timeout of nought would mean something else."""
        return max(self.deadline - time.monotonic(), 0.01)

    def _expire(self) -> None:
        self.expired = True
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    # ------------------------------------------------------------------------------------------------- connection

    def _connect(self) -> None:
        end = self.end
        try:
            sock = socket.create_connection((end.host, end.port), min(CONNECT_SECONDS, self.left()))
        except OSError as error:
            absent = isinstance(error, TimeoutError | socket.gaierror) or error.errno in _ABSENT
            kind = NoAnswer if absent else Unreachable
            raise kind(f"{end.place} cannot be reached: {why(error)}.", _hint(error, end.https)) from error
        except UnicodeError as error:
            raise Unreachable(f"{end.place} is not a host name.", "Correct ansible_host in the inventory.") from error
        self._sock = sock
        if end.https:
            sock.settimeout(min(CONNECT_SECONDS, self.left()))
            self._sock = self._tls(sock)
        self._http.sock = self._sock

    def _tls(self, sock: socket.socket) -> ssl.SSLSocket:
        end = self.end
        context = tls_context(end.ca, end.certificate, end.key)
        try:
            return context.wrap_socket(sock, server_hostname=end.host)
        except ssl.SSLCertVerificationError as error:
            asked = " (Asking not to check it is not followed.)" if end.unchecked else ""
            raise IdentityError(
                f"{end.place} shows a certificate that is not trusted: {clean(error.verify_message)}.", TRUST + asked
            ) from error
        except (ssl.SSLError, OSError, ValueError) as error:
            if isinstance(error, TimeoutError):
                raise Unreachable(
                    f"{end.place} did not finish the TLS handshake in time.", "Is it overloaded?"
                ) from error
            raise Unreachable(
                f"{end.place} does not speak TLS as it should: {clean(getattr(error, 'reason', None) or error)}.",
                f"Is that the HTTPS port? HTTP is usually {HTTP_PORT}.",
            ) from error

    # ------------------------------------------------------------------------------------------------------ login

    def _log_in(self) -> None:
        end = self.end
        if end.auth == "certificate":
            self._headers["Authorization"] = MUTUAL
        elif end.auth == "basic":
            pair = base64.b64encode(f"{end.user}:{self._password or ''}".encode()).decode()
            self._headers["Authorization"] = f"Basic {pair}"
        else:
            self._negotiate()

    def _negotiate(self) -> None:
        """Log the connection in, by Kerberos where that is possible, else by NTLM. One password is tried once."""
        end, bindings = self.end, bindings_of(self._sock)
        kinds = ["kerberos", "ntlm"] if end.auth == "negotiate" else [end.auth]
        if end.auth == "negotiate" and not (has_kerberos() and ("@" in end.user or not self._password)):
            kinds = ["ntlm"]
        context, token = None, None
        for kind in kinds:
            try:
                context, token = self._begin(kind, bindings)
                break
            except Unreachable:
                if kind == kinds[-1]:
                    raise
        if context is None:
            raise Unreachable(f"{end.place}: there is no way to log in.")
        while token:
            said = f"Negotiate {base64.b64encode(token).decode()}"
            status, headers, body = self._exchange(b"", {"Authorization": said})
            offers = headers.get_all("WWW-Authenticate") or []
            answer = next((m[1] for o in offers if (m := _TOKEN.search(o))), None)
            if status == 401 and answer is None:
                raise self._refused(offers)
            if status not in (200, 401) or (status == 200 and body):
                raise self._odd(status, headers)
            token = self._step(context, answer) if answer else None
            if status == 200:
                break
        if not context.complete:
            raise Broken(f"{end.place} ended the login before it was done.", "Is that WinRM?")
        if end.seal:
            from pypsrp.encryption import WinRMEncryption

            self._sealed = WinRMEncryption(context, WinRMEncryption.SPNEGO)

    def _begin(self, kind: str, bindings: Any) -> tuple[Any, bytes | None]:
        import spnego
        from spnego.exceptions import SpnegoError

        end = self.end
        options = spnego.NegotiateOptions.wrapping_winrm if end.seal else spnego.NegotiateOptions.none
        try:
            context = spnego.client(
                end.user or None,
                self._password,
                hostname=end.spn_host,
                service=end.service,
                channel_bindings=bindings,
                protocol=kind,
                options=options,
            )
            return context, context.step()
        except (SpnegoError, ImportError, ValueError) as error:
            said = clean(error)
            if kind == "kerberos" and self._password and _PASSWORD.search(str(error)):
                raise CredentialRefused(f"{end.place}: Kerberos refuses {clean(end.user)}.", CHECK) from error
            without = (
                "" if kind != "kerberos" or has_kerberos() else " Kerberos needs the packages gssapi and krb5 here."
            )
            raise Unreachable(
                f"{end.place}: a login by {kind} cannot be begun: {said}.",
                f"{without or 'Check the realm, the time and the name servers here.'}".strip(),
            ) from error

    def _step(self, context: Any, answer: str) -> bytes | None:
        try:
            out: bytes | None = context.step(base64.b64decode(answer))
        except Exception as error:  # the library trusts the form of what came
            raise Broken(
                f"{self.end.place} answered the login with something that makes no sense: {clean(error)}.",
                "Somebody may be in between.",
            ) from error
        return out

    def _refused(self, offers: list[str]) -> TargetError:
        words = sorted({o.split()[0].strip(",") for o in offers if o.split()})
        asked = {"certificate": "", "basic": "Basic"}.get(self.end.auth, "Negotiate")
        if asked and words and asked.lower() not in (w.lower() for w in words):
            return Unreachable(
                f"{self.end.place} lets nobody log in by {self.end.auth}; it offers {clean(', '.join(words))}.",
                "Allow it there, or name another with ansible_psrp_auth.",
            )
        who = (
            "the certificate"
            if self.end.auth == "certificate"
            else f"the credential of {clean(self.end.user) or 'you'}"
        )
        return CredentialRefused(f"{self.end.place} refused {who}.", CHECK)

    # --------------------------------------------------------------------------------------------------- messages

    def send(self, message: bytes, *, retries_on_read_timeout: int = 0, timeout: Any = None) -> bytes:
        """One message and its answer, for pypsrp's WSMan. A SOAP fault is raised as its `WinRMTransportError`.

        Raises `Flood`, `Unreachable` when time ran out, and what `__enter__` does.
        """
        from pypsrp.exceptions import WinRMTransportError

        kind, body = f"{SOAP};charset=UTF-8", message
        if self._sealed is not None:
            multipart, body = self._sealed.wrap_message(message)
            kind = f'{multipart};protocol="{self._sealed.protocol}";boundary="Encrypted Boundary"'
        status, headers, answer = self._exchange(body, {"Content-Type": kind})
        if status == 401:
            raise self._refused(headers.get_all("WWW-Authenticate") or [])
        said = str(headers.get("Content-Type", "")).lower()
        if said.startswith(("multipart/encrypted", "multipart/x-multi-encrypted")) and self._sealed is not None:
            answer = self._open(answer, str(headers.get("Content-Type", "")))
        elif self._sealed is not None and status in (200, 500) and answer:
            raise IdentityError(
                f"{self.end.place} answered in clear where sealed messages were agreed; nothing of it was read.",
                "Somebody may be in between. Use HTTPS.",
            )
        elif not said.startswith(SOAP):
            raise self._odd(status, headers)
        if b"<!DOCTYPE" in answer or b"<!ENTITY" in answer:
            raise Broken(f"{self.end.place} sent XML that defines entities, which WinRM never does.", "Is that WinRM?")
        if status == 500:
            raise WinRMTransportError("http", status, answer.decode("utf-8", "replace"))
        if status != 200:
            raise self._odd(status, headers)
        return answer

    def _open(self, answer: bytes, kind: str) -> bytes:
        found = re.search(r'boundary="([^"]{1,70})"', kind)
        try:
            out: bytes = self._sealed.unwrap_message(answer, found[1] if found else "Encrypted Boundary")
        except Exception as error:  # the library trusts the form of what came
            raise IdentityError(
                f"{self.end.place} sent a sealed message that does not open: it was changed or cut on its way.",
                "Somebody may be in between. Use HTTPS.",
            ) from error
        return out

    def _exchange(self, body: bytes, headers: dict[str, str]) -> tuple[int, http.client.HTTPMessage, bytes]:
        """POST → (status, headers, whole body). Redirects are answers like any other: nothing is sent after them."""
        try:
            if self._sock is None or self.expired:
                raise TimeoutError
            self._sock.settimeout(self.left())
            self._http.request("POST", f"/{self.end.path}", body=body, headers={**self._headers, **headers})
            response = self._http.getresponse()
            data = response.read(max(self.left_bytes, 0) + 1)
            self.left_bytes -= len(data)
            if self.left_bytes < 0:
                raise Flood
            if response.length:  # read(n) does not complain about a body that ends early
                raise http.client.IncompleteRead(data, response.length)
            response.close()
            if self.expired:  # a connection that is shut down looks like the end of the headers
                raise TimeoutError
            return response.status, response.headers, data
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self.failure(error) from error

    def failure(self, error: Exception) -> TargetError:
        """What became of a connection that broke off, in words."""
        if self.expired or isinstance(error, TimeoutError):
            return Late(f"{self.end.place} did not answer in time.", "Is it overloaded, or hanging?")
        if isinstance(error, http.client.BadStatusLine | http.client.NotConnected | ConnectionError) or (
            isinstance(error, ssl.SSLError) and "EOF" in str(error)
        ):
            return Broken(f"{self.end.place} closed the connection in the middle.", "Is its WinRM service restarting?")
        if isinstance(error, http.client.IncompleteRead):
            return Broken(
                f"{self.end.place} broke an answer off in the middle.", "Try again; then look at the network."
            )
        return Broken(
            f"{self.end.place} answers, but not as HTTP says: {clean(error)}.", "Is WinRM what listens on that port?"
        )

    def _odd(self, status: int, headers: http.client.HTTPMessage) -> TargetError:
        """What an answer that is none of WinRM's means."""
        place = self.end.place
        if 300 <= status < 400:
            return Broken(
                f"{place} answers with a redirect to another place, which is not followed.",
                "Name that place in the inventory, if it is right.",
            )
        if status == 403:
            return CredentialRefused(f"{place} does not let this certificate or account in.", CHECK)
        if status == 404:
            return Broken(
                f"{place} has no WinRM at /{clean(self.end.path)}.", "Correct ansible_psrp_path, or the port."
            )
        if status == 503:
            return Unreachable(f"{place} is too busy to answer.", "Scan again later.")
        what = (
            f"HTTP status {status}"
            if status != 200
            else clean(headers.get("Content-Type") or "no type of content")[:60]
        )
        return Broken(f"{place} is not WinRM: it answers with {what}.", "Correct the port or the path.")


class Late(Unreachable):
    """Time ran out in the middle."""


CHECK = "Check ansible_user and its password, and whether the account is locked."
TRUST = (
    "If it is right, save the certificate of the authority that signed it (or its own, where it signed itself) and "
    "name that file with ansible_psrp_ca_cert; its names must hold ansible_host."
)


def has_kerberos() -> bool:
    """Whether this machine can speak Kerberos: the packages gssapi and krb5 are optional."""
    from importlib.util import find_spec

    return find_spec("gssapi") is not None and find_spec("krb5") is not None


def _hint(error: OSError, https: bool) -> str:
    if isinstance(error, socket.gaierror):
        return "Check ansible_host and the name servers here."
    if isinstance(error, ConnectionRefusedError):
        kind = " for HTTPS" if https else ""
        return f"Is WinRM listening there{kind}? `spiritlevel doctor --kit` writes how to set it up."
    return "Is the host switched on, and does its firewall let this machine in?"


__all__ = ["Flood", "Http", "Late", "has_kerberos"]
