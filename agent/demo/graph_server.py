"""A stand-in for Microsoft Graph and its token endpoint, over TLS, in this process.

    ca = make_ca(folder, "Stand-in authority")
    with GraphServer(TenantData.load(path), issue(folder, ca, ["localhost"], ["127.0.0.1"])) as server:
        ...   # server.url, server.authority, ca.cert_path

It behaves as Graph is documented to (paging, batches, throttling, licences, refusals), on loopback only, and keeps a
log of what it was asked. `server.faults` makes requests go wrong; `server.settings` changes how it behaves.
"""

from __future__ import annotations

import email.utils
import http.server
import json
import socket
import ssl
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from agent.demo.graph_data import TenantData
from agent.demo.graph_faults import Faults
from agent.demo.graph_rules import GraphRefused
from agent.demo.graph_service import GraphService, LogEntry, Reply, Request, Settings
from agent.demo.graph_tokens import TokenRefused, TokenService

# A request body larger than this is refused: Graph's own limit is 4 MB.
MOST_BODY = 4 * 1024 * 1024
# Seconds that a connection may stay silent before its thread gives up.
IDLE = 30.0
_JSON = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"


class GraphServer:
    """The stand-in, as a context manager; one thread a connection, on a free port of 127.0.0.1.

    `certs` is (certificate, key), PEM, good for `localhost` and `127.0.0.1`.
    """

    def __init__(
        self,
        tenant: TenantData,
        certs: tuple[Path, Path],
        *,
        page_size: int = 2,
        slow_bucket: bool = False,
        settings: Settings | None = None,
    ) -> None:
        self.tenant = tenant
        self.settings = settings or Settings(page_size=page_size, slow_bucket=slow_bucket)
        self.faults = Faults()
        self.sent = 0
        """Bytes of all bodies sent so far."""
        self.tokens = TokenService(tenant)
        self.service = GraphService(tenant, self.faults, self.settings)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.load_cert_chain(*certs)
        self._http = _Listener(("127.0.0.1", 0), _Handler, self, self._context)
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """Base address of Graph, without version: `https://localhost:PORT`."""
        return f"https://localhost:{self.port}"

    @property
    def authority(self) -> str:
        """Address of the token authority: `https://localhost:PORT/TENANT`."""
        return f"{self.url}/{self.tenant.tenant_id}"

    @property
    def log(self) -> list[LogEntry]:
        """What was asked so far, in order of the answers (items of a batch before their envelope)."""
        return self.service.log

    @property
    def errors(self) -> list[BaseException]:
        """Exceptions inside the server; a test that finds one has found a bug of the stand-in."""
        return self._http.failures

    def __enter__(self) -> GraphServer:
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="graph", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        if self._thread:
            self._thread.join()


class _Listener(http.server.ThreadingHTTPServer):
    """Listens on loopback; the TLS handshake happens in the connection's own thread, so that none can stall all."""

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[http.server.BaseHTTPRequestHandler],
        owner: GraphServer,
        context: ssl.SSLContext,
    ) -> None:
        super().__init__(address, handler)
        self.owner, self.context = owner, context
        self.failures: list[BaseException] = []
        self._open: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        plain, address = self.socket.accept()
        wrapped = self.context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        wrapped.settimeout(IDLE)
        self._open.add(wrapped)
        return wrapped, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        # Clients keep connections alive; without this their threads would outlive the server.
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                # Already gone, which is what was wanted.
                self._open.discard(connection)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        # A client that goes away, or that does not trust the certificate, is no fault of the server.
        if error is not None and not isinstance(error, OSError):
            self.failures.append(error)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Speaks HTTP/1.1 with one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Listener

    def setup(self) -> None:
        super().setup()
        self.request.do_handshake()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on stderr: the log is `GraphServer.log`."""

    def do_GET(self) -> None:
        """Answer a GET."""
        self._serve()

    def do_POST(self) -> None:
        """Answer a POST."""
        self._serve()

    def do_PATCH(self) -> None:
        """Answer a PATCH."""
        self._serve()

    def do_PUT(self) -> None:
        """Answer a PUT."""
        self._serve()

    def do_DELETE(self) -> None:
        """Answer a DELETE."""
        self._serve()

    def _serve(self) -> None:
        raw_path, _, query = self.path.partition("?")
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MOST_BODY:
            self.close_connection = True
            refused = GraphRefused(413, "RequestEntityTooLarge", "The request is too large, or says no length.")
            self._send(Reply(413, refused.body("")))
            return
        body = self.rfile.read(int(length))
        request = Request(
            method=self.command,
            path=urllib.parse.unquote(raw_path),
            query=query,
            headers={key.lower(): value for key, value in self.headers.items()},
            body=None,
            base=self._base(),
        )
        owner = self.server.owner
        if request.path.startswith(("/v1.0", "/beta")):
            reply = self._graph(owner, request, body)
        else:
            reply = self._login(owner, request, body)
        if pause := reply.delay + owner.settings.latency:
            time.sleep(pause)
        self._send(reply)

    def _base(self) -> str:
        """The address under which the client called, so that next links lead to the same name."""
        host = self.headers.get("Host", "")
        port = self.server.owner.port
        return f"https://{host}" if host in (f"localhost:{port}", f"127.0.0.1:{port}") else self.server.owner.url

    def _graph(self, owner: GraphServer, request: Request, body: bytes) -> Reply:
        caller = owner.tokens.check(request.headers.get("authorization"))
        if caller is None:
            refused = GraphRefused(401, "InvalidAuthenticationToken", "Access token is missing, invalid or expired.")
            owner.service.note(request, 401)
            headers = {"WWW-Authenticate": 'Bearer realm="", authorization_uri="' + owner.authority + '"'}
            return Reply(401, refused.body(request.headers.get("client-request-id", "")), headers)
        request.client_id, request.roles = caller[0], tuple(caller[1])
        if body:
            try:
                request.body = json.loads(body)
            except ValueError:
                refused = GraphRefused(400, "BadRequest", "Unable to read JSON request payload.")
                owner.service.note(request, 400)
                return Reply(400, refused.body(request.headers.get("client-request-id", "")))
        return owner.service.answer(request)

    def _login(self, owner: GraphServer, request: Request, body: bytes) -> Reply:
        """Discovery and tokens; the tenant is the first part of the path. Faults apply here too."""
        fault = owner.faults.take(request.method, request.target)
        if fault and fault.replaces:
            reply = Reply(fault.status or 200, fault.body, dict(fault.headers), fault.cut, fault.delay)
        else:
            try:
                reply = Reply(200, self._token_answer(owner, request, body))
            except TokenRefused as refused:
                reply = Reply(refused.status, refused.body())
            if fault:
                reply.headers.update(fault.headers)
                reply.cut, reply.delay = fault.cut, fault.delay
        owner.service.note(request, reply.status)
        return reply

    def _token_answer(self, owner: GraphServer, request: Request, body: bytes) -> Mapping[str, Any]:
        tenant, _, rest = request.path.lstrip("/").partition("/")
        authority = f"{request.base}/{tenant}"
        if tenant != owner.tenant.tenant_id:
            raise TokenRefused(
                400, "invalid_tenant", 90002, f"Tenant '{tenant}' not found. Check that you have the correct tenant id."
            )
        if request.method == "GET" and rest.removeprefix("v2.0/") == ".well-known/openid-configuration":
            return owner.tokens.openid_configuration(authority)
        if request.method == "POST" and rest == "oauth2/v2.0/token":
            form = dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
            request.client_id = form.get("client_id", "")
            return owner.tokens.issue(form, authority, request.base)
        raise TokenRefused(404, "invalid_request", 900144, f"There is nothing at '{request.path}'.")

    def _send(self, reply: Reply) -> None:
        if isinstance(reply.body, str):
            content = reply.body.encode("utf-8")
        else:
            content = b"" if reply.body is None else json.dumps(reply.body, ensure_ascii=False).encode("utf-8")
        asked = self.headers.get("client-request-id", "")
        headers = {
            "Content-Type": _JSON,
            "request-id": str(uuid.uuid4()),
            "client-request-id": asked if asked.isprintable() else "",
            **reply.headers,
            "Content-Length": str(len(content)),
        }
        self.send_response_only(reply.status)
        self.send_header("Date", email.utils.formatdate(usegmt=True))
        for name, value in headers.items():
            self.send_header(name, value)
        if reply.cut is not None:
            content = content[: reply.cut]
            self.close_connection = True
        self.end_headers()
        self.server.owner.sent += len(content)
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()
