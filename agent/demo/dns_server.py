"""A stand-in for public DNS: TXT records and aliases over UDP and TCP, on loopback only.

with DnsServer({"school.example": ["v=spf1 -all"]}) as server:
    ...   # server.address is "127.0.0.1:PORT"
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any


class DnsServer:
    """The stand-in, as a context manager.

    `texts` are records by name (any other name does not exist, a name with an empty list has none of this type);
    `aliases` lead from one name to another; `trouble` says what is wrong with a name: `silent` (no answer ever),
    `SERVFAIL` or `REFUSED`. `authority`: answers claim the zone as the server's own, as an inside copy would.
    All may be changed while it runs. `asked` are the questions so far.
    """

    def __init__(
        self,
        texts: Mapping[str, Sequence[str]],
        aliases: Mapping[str, str] | None = None,
        trouble: Mapping[str, str] | None = None,
        *,
        authority: bool = False,
    ) -> None:
        self.texts, self.aliases, self.trouble = dict(texts), dict(aliases or {}), dict(trouble or {})
        self.authority = authority
        self.asked: list[str] = []
        self._servers: list[socketserver.BaseServer] = []
        self._port = 0

    @property
    def address(self) -> str:
        """Where it listens, as trust.yml writes it."""
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> DnsServer:
        udp = _Udp(("127.0.0.1", 0), _UdpHandler)
        udp.dns = self
        self._port = int(udp.server_address[1])
        tcp = _Tcp(("127.0.0.1", self._port), _TcpHandler)
        tcp.dns = self
        self._servers = [udp, tcp]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def answer(self, wire: bytes, *, udp: bool) -> bytes | None:
        """The reply to one message; None for silence."""
        import dns.exception
        import dns.flags
        import dns.message
        import dns.name
        import dns.rcode
        import dns.rrset

        try:
            query = dns.message.from_wire(wire)
            question = query.question[0]
        except (dns.exception.DNSException, IndexError):
            return None
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append(name)
        reply = dns.message.make_response(query)
        if self.authority:
            reply.flags |= dns.flags.AA
        trouble = self.trouble.get(name, "")
        if trouble == "silent":
            return None
        if trouble:
            reply.set_rcode(dns.rcode.from_text(trouble))
            return reply.to_wire()
        if name in self.aliases:
            target = self.aliases[name]
            reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", "CNAME", f"{target}."))
            name = target
        owner = dns.name.from_text(name)
        if name not in self.texts:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        elif self.texts[name]:
            reply.answer.append(dns.rrset.from_text(owner, 60, "IN", "TXT", *map(_quoted, self.texts[name])))
        try:
            return reply.to_wire(max_size=512 if udp else 65535)
        except dns.exception.TooBig:
            short = dns.message.make_response(query)
            short.flags |= dns.flags.TC
            return short.to_wire()


def _quoted(text: str) -> str:
    """A text as zone files write it: strings of 255 bytes at most."""
    parts = [text[i : i + 255] for i in range(0, len(text), 255)] or [""]
    return " ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in parts)


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    dns: DnsServer


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    dns: DnsServer


class _UdpHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        wire, sock = self.request
        server: Any = self.server
        reply = server.dns.answer(wire, udp=True)
        if reply is not None:
            sock.sendto(reply, self.client_address)


class _TcpHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        sock: socket.socket = self.request
        sock.settimeout(5.0)
        head = sock.recv(2, socket.MSG_WAITALL)
        if len(head) < 2:
            return
        wire = sock.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
        server: Any = self.server
        reply = server.dns.answer(wire, udp=False)
        if reply is not None:
            sock.sendall(len(reply).to_bytes(2, "big") + reply)
