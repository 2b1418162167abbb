"""A stand-in for a Windows host's WinRM: HTTP or HTTPS, the login, SOAP and PowerShell remoting, in this process.

    with PsrpServer(issue(folder, ca, ["localhost"]), {"scan": "secret"}, lambda script: Reply(["text"])) as server:
        ...   # server.port; the client says ansible_connection: psrp

It answers a script with what `answer` makes of its text: what a recorded host said, or what a real engine says now.
`trouble` names one thing that goes wrong (`TROUBLES`). It listens on loopback only.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.demo import psrp_wire as wire
from agent.demo.psrp_parts import IDLE, Listener, Pipeline, Reply, Shell

MOST_BODY = 8 << 20
ENVELOPE = 350_000
"""Bytes of fragments in one answer: base64 makes 467 kB of it, under Windows' MaxEnvelopeSizekb of 500."""
SEALED = "application/HTTP-SPNEGO-session-encrypted"
TROUBLES = frozenset(
    "denied quota no-endpoint html redirect cut dies hangs slow floods clear garbled fragments entities busy"
    " no-scripts stopped warns chatter broken-pool silent-login odd-fault".split()
)


class PsrpServer:
    """The stand-in, as a context manager; one thread a connection, on a free port of 127.0.0.1.

    `certs` is (certificate, key), PEM, for HTTPS; None for HTTP. `users` are user → password; `clients` an authority
    whose client certificates are let in. `offers` are the logins that it has, as in WWW-Authenticate.
    """

    def __init__(
        self,
        certs: tuple[Path, Path] | None,
        users: Mapping[str, str],
        answer: Callable[[str], Reply],
        *,
        offers: Sequence[str] = ("Negotiate",),
        clients: Path | None = None,
        trouble: str = "",
    ) -> None:
        if trouble and trouble not in TROUBLES:
            raise ValueError(f"no trouble is called {trouble}")
        self.users, self.answer, self.offers, self.trouble = dict(users), answer, tuple(offers), trouble
        self.log: list[str] = []
        """Actions as they came, and logins as `login USER` or `refused`."""
        self.shells: dict[str, Shell] = {}
        context = None
        if certs is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certs)
            if clients is not None:
                context.verify_mode = ssl.CERT_OPTIONAL
                context.load_verify_locations(clients)
        self.certificate = _der(certs[0]) if certs else b""
        self._http = Listener(("127.0.0.1", 0), _Handler, self, context)
        self.port: int = self._http.server_address[1]
        self._thread: threading.Thread | None = None
        self._store: Path | None = None

    @property
    def failures(self) -> list[BaseException]:
        """What went wrong in the stand-in itself; tests assert that there is nothing."""
        return self._http.failures

    def __enter__(self) -> PsrpServer:
        # The accepting side of the library reads its accounts from this file, and from nowhere else.
        handle, store = tempfile.mkstemp(prefix="psrp-users-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            for user, password in self.users.items():
                domain, _, name = user.rpartition("\\")
                file.write(f"{domain}:{name}:{password}\n")
        self._store = Path(store)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="psrp", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        if self._thread:
            self._thread.join()
        if self._store:
            self._store.unlink(missing_ok=True)

    def step(self, context: Any, token: bytes) -> tuple[Any, bytes | None]:
        """One step of a login, which begins where `context` is None → (the login, what to answer)."""
        import spnego
        from spnego.channel_bindings import GssChannelBindings

        bindings = None
        if self.certificate:
            from cryptography.hazmat.primitives import hashes

            digest = hashes.Hash(hashes.SHA256())
            digest.update(self.certificate)
            bindings = GssChannelBindings(application_data=b"tls-server-end-point:" + digest.finalize())
        with _store_lock, _environment("NTLM_USER_FILE", str(self._store)):
            if context is None:
                kind = "ntlm" if token.startswith(b"NTLMSSP\0") else "negotiate"
                context = spnego.server(protocol=kind, channel_bindings=bindings)
            return context, context.step(token)


_store_lock = threading.Lock()


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection: logged in once, then SOAP, sealed or not."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Listener

    def setup(self) -> None:
        super().setup()
        self.user = ""
        self.context: Any = None
        self.sealed: Any = None
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on stderr: the log is `PsrpServer.log`."""

    def do_POST(self) -> None:
        """Answer a POST, the only method of WinRM."""
        owner = self.server.owner
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MOST_BODY:
            self.close_connection = True
            return self._send(413)
        body = self.rfile.read(int(length))
        if owner.trouble in ("html", "redirect", "busy"):
            status = {"html": 200, "redirect": 302, "busy": 503}[owner.trouble]
            page = b"<html><body>Sign in to the network</body></html>"
            return self._send(status, page, {"Content-Type": "text/html", "Location": "https://127.0.0.1:1/elsewhere"})
        if not self.user and not self._log_in():
            return None
        if not body:
            return self._send(200)
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/encrypted"):
            if self.sealed is None:
                from pypsrp.encryption import WinRMEncryption

                self.sealed = WinRMEncryption(self.context, SEALED)
            body = self.sealed.unwrap_message(body, "Encrypted Boundary")
        elif not isinstance(self.request, ssl.SSLSocket):
            return self._send(500, b"", {"Content-Type": "text/plain"})  # AllowUnencrypted is false
        return self._soap(wire.request(body))

    # ------------------------------------------------------------------------------------------------------ login

    def _log_in(self) -> bool:
        """Whether the request may go on; else it was answered."""
        owner = self.server.owner
        scheme, _, rest = self.headers.get("Authorization", "").partition(" ")
        if scheme.endswith("/https/mutual") and isinstance(self.request, ssl.SSLSocket):
            subject = dict(pair[0] for pair in (self.request.getpeercert() or {}).get("subject", ()))  # type: ignore[misc]
            self.user = str(subject.get("commonName", ""))
        elif scheme == "Basic" and "Basic" in owner.offers:
            user, _, password = base64.b64decode(rest).decode("utf-8", "replace").partition(":")
            self.user = user if owner.users.get(user) == password else ""
        elif scheme == "Negotiate" and "Negotiate" in owner.offers:
            return self._negotiate(base64.b64decode(rest))
        owner.log.append(f"login {self.user}" if self.user else "refused")
        if not self.user:
            self._refuse()
        return bool(self.user)

    def _negotiate(self, token: bytes) -> bool:
        from spnego.exceptions import SpnegoError

        owner = self.server.owner
        try:
            self.context, answer = owner.step(self.context, token)
        except (SpnegoError, ValueError):
            self.context = None
            owner.log.append("refused")
            self._refuse()
            return False
        if self.context.complete:
            self.user = str(self.context.client_principal or "somebody")
            owner.log.append(f"login {self.user}")
            return True
        if owner.trouble == "silent-login":
            answer = b"not a token"
        self._refuse(f"Negotiate {base64.b64encode(answer or b'').decode()}")
        return False

    def _refuse(self, *offers: str) -> None:
        self._send(401, b"", {}, offers or self.server.owner.offers)

    # ------------------------------------------------------------------------------------------------------- SOAP

    def _soap(self, asked: wire.Asked) -> None:
        owner = self.server.owner
        owner.log.append(asked.action)
        if asked.action == "Create":
            refusal = {
                "denied": (5, "Access is denied."),
                "quota": (2150859173, "This user is allowed a maximum number of 30 concurrent shells."),
                "no-endpoint": (2150858811, "The resource URI is missing or has an incorrect format."),
                "odd-fault": (1, "Something\x1b[31m is wrong"),
            }.get(owner.trouble)
            if refusal:
                return self._fault(asked, refusal[0], refusal[1].replace("\x1b", ""))
            shell = owner.shells[asked.shell.upper()] = Shell([])
            list(shell.joined.take(wire.contents(asked.body)))
            broken = owner.trouble == "broken-pool"
            parts = [
                *shell.numbered.cut(wire.SESSION_CAPABILITY, asked.shell, "", wire.capability()),
                *shell.numbered.cut(wire.PRIVATE_DATA, asked.shell, "", wire.private_data()),
                *(
                    shell.numbered.cut(wire.WARNING, asked.shell, "", wire.warning("mind the gap"))
                    if owner.trouble == "warns"
                    else ()
                ),
                *shell.numbered.cut(
                    wire.POOL_STATE, asked.shell, "", wire.state("RunspaceState", 5 if broken else wire.OPENED)
                ),
            ]
            shell.waiting = list(wire.batches(parts, ENVELOPE))
            return self._answer(asked, wire.created(asked))
        found = owner.shells.get(asked.shell.upper())
        if found is None:
            return self._fault(asked, 2150858843, "The shell was not found on the server.")
        if asked.action in ("Command", "Send"):
            return self._command(asked, found)
        if asked.action == "Receive":
            return self._receive(asked, found)
        if asked.action == "Delete":
            del owner.shells[asked.shell.upper()]
        return self._answer(asked, wire.envelope(asked, ""))

    def _command(self, asked: wire.Asked, shell: Shell) -> None:
        if asked.action == "Command":
            shell.pipelines[asked.command.upper()] = Pipeline()
        for kind, pipeline, xml in shell.joined.take(wire.contents(asked.body)):
            if kind == wire.CREATE_PIPELINE:
                script = wire.script_of(xml)
                threading.Thread(target=self._work, args=(asked.shell, shell, pipeline, script), daemon=True).start()
        self._answer(asked, wire.begun(asked))

    def _work(self, shell_id: str, shell: Shell, pipeline: str, script: str) -> None:
        """Run one script and lay its answers ready."""
        owner, mine = self.server.owner, shell.pipelines[pipeline]

        def cut(kind: int, xml: str) -> list[bytes]:
            return shell.numbered.cut(kind, shell_id, pipeline, xml)

        try:
            reply = owner.answer(script)
        except Exception as error:  # shown by the test
            self.server.failures.append(error)
            reply = Reply(failed=True)
        if owner.trouble == "no-scripts":
            refusal = wire.error_record("The syntax is not supported by this runspace.", "ScriptsNotAllowed")
            parts = cut(wire.PIPELINE_STATE, wire.state("PipelineState", wire.FAILED, refusal))
        else:
            parts = [f for text in reply.output for f in cut(wire.OUTPUT, wire.string(text))]
            parts += [f for text in reply.errors for f in cut(wire.ERROR, wire.error_record(text, "Stand,In"))]
            ended = 3 if owner.trouble == "stopped" else wire.FAILED if reply.failed else wire.COMPLETED
            parts += cut(wire.PIPELINE_STATE, wire.state("PipelineState", ended))
        if owner.trouble == "fragments":
            parts[0] = struct.pack(">QQBI", 7, 3, 0, 4) + b"oops"
        mine.waiting = list(wire.batches(parts, ENVELOPE))
        mine.done.set()

    def _receive(self, asked: wire.Asked, shell: Shell) -> None:
        owner = self.server.owner
        if not asked.command:
            if not shell.waiting:
                return self._fault(asked, wire.TIMED_OUT, "The operation timed out.")
            return self._answer(asked, wire.received(asked, shell.waiting.pop(0), done=False))
        mine = shell.pipelines[asked.command.upper()]
        if owner.trouble == "hangs":
            time.sleep(IDLE)
        if owner.trouble == "chatter":  # an answer each time, and never one that says anything
            return self._answer(asked, wire.received(asked, b"", done=False))
        if owner.trouble == "floods":
            text = wire.string("x" * 200_000)
            data = b"".join(shell.numbered.cut(wire.OUTPUT, asked.shell, asked.command, text))
            return self._answer(asked, wire.received(asked, data, done=False))
        if owner.trouble == "slow" or not mine.done.wait(asked.seconds):
            time.sleep(asked.seconds if owner.trouble == "slow" else 0)
            return self._fault(asked, wire.TIMED_OUT, "The operation timed out.")
        if owner.trouble == "dies":
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)
            return None
        data = mine.waiting.pop(0) if mine.waiting else b""
        return self._answer(asked, wire.received(asked, data, done=not mine.waiting))

    def _fault(self, asked: wire.Asked, code: int, text: str) -> None:
        self._answer(asked, wire.fault(asked, code, text), 500)

    def _answer(self, asked: wire.Asked, body: bytes, status: int = 200) -> None:
        owner, kind = self.server.owner, "application/soap+xml;charset=UTF-8"
        late = asked.action == "Receive" and bool(asked.command)
        if owner.trouble == "entities" and late:
            body = b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + body
        if self.sealed is not None and not (owner.trouble == "clear" and late):
            _, body = self.sealed.wrap_message(body)
            kind = f'multipart/encrypted;protocol="{SEALED}";boundary="Encrypted Boundary"'
            if owner.trouble == "garbled" and late:
                body = body[:-60] + b"\0" * 20 + body[-40:]
        self._send(status, body, {"Content-Type": kind}, cut=owner.trouble == "cut" and late)

    def _send(
        self,
        status: int,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        offers: Sequence[str] = (),
        cut: bool = False,
    ) -> None:
        self.send_response_only(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        for offer in offers:
            self.send_header("WWW-Authenticate", offer)
        self.send_header("Content-Length", str(len(body)))
        if cut:
            self.close_connection = True
            body = body[: len(body) // 2]
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def _der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text(encoding="ascii"))


__all__ = ["TROUBLES", "PsrpServer", "Reply"]
