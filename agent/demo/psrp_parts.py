"""Parts of the stand-in for WinRM: its listener, and what it keeps of sessions and scripts."""

from __future__ import annotations

import contextlib
import http.server
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.demo import psrp_wire as wire

IDLE = 60.0
"""Seconds that a connection may stay silent before its thread gives up."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a script came to: its output strings, the texts of errors, and whether it failed as a whole."""

    output: Sequence[str] = ()
    errors: Sequence[str] = ()
    failed: bool = False


@dataclass(slots=True)
class Pipeline:
    """One script under way. `waiting` are answers to Receive that nobody has fetched yet."""

    waiting: list[bytes] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)
    ended: bool = False


@dataclass(slots=True)
class Shell:
    """One session. The pool's own answers wait in `waiting`."""

    waiting: list[bytes]
    joined: wire.Joined = field(default_factory=wire.Joined)
    numbered: wire.Numbered = field(default_factory=wire.Numbered)
    pipelines: dict[str, Pipeline] = field(default_factory=dict)


class Listener(http.server.ThreadingHTTPServer):
    """Listens on loopback; the TLS handshake happens in the connection's own thread."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: Any, owner: Any, context: Any) -> None:
        super().__init__(address, handler)
        self.owner, self.context = owner, context
        self.failures: list[BaseException] = []
        self._open: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        plain, address = self.socket.accept()
        if self.context is not None:
            plain = self.context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        plain.settimeout(IDLE)
        self._open.add(plain)
        return plain, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.failures.append(error)


__all__ = ["IDLE", "Listener", "Pipeline", "Reply", "Shell"]
