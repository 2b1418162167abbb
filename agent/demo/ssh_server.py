"""Stand-in hosts on loopback that answer over real SSH with what a real host once said. They run no shell.

Each host has its own port and its own ed25519 host key, takes one public key and nothing else, and answers each `exec`
by a function of the command and of what came on standard input.
"""

from __future__ import annotations

import base64
import io
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType

import paramiko
import paramiko.common as codes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# What a host says: (command, standard input) to (standard output, standard error, exit code).
Answer = Callable[[str, bytes], tuple[bytes, bytes, int]]

_LOOPBACK = "127.0.0.1"
_CLOSE_SECONDS = 5.0
_LOGIN_SECONDS = 30.0
_SEND_SECONDS = 60.0  # for a client that stops reading
# A shell acts on each line as it comes, also for a client that never ends its input: after this much silence the
# input counts as whole.
_QUIET_SECONDS = 1.0
_MAX_INPUT = 4 << 20  # bytes; a collector's script is some tens of kilobytes
_CHUNK = 1 << 15
_NOISE = (b"All work and no play makes this host a dull one.\n" * (_CHUNK // 49 + 1))[:_CHUNK]

# paramiko reports each lost connection; without a handler of ours that would land on standard error.
_LOG = logging.getLogger(__name__)
_LOG.addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class HostFaults:
    """What a host does wrong. All off by default.

    `hang_after_auth`: takes the command and never answers; `flood_bytes`: sends that much noise before its answer;
    `refuse_auth`: takes no key; `wrong_host_key`: shows another key than the known-hosts line says;
    `cut_after_bytes`: the connection ends after that much of the answer; `delay`: seconds before the answer.
    """

    hang_after_auth: bool = False
    flood_bytes: int = 0
    refuse_auth: bool = False
    wrong_host_key: bool = False
    cut_after_bytes: int | None = None
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class HostScript:
    """How one host answers. `answer` is called from several threads at once; `down`: nothing listens on its port."""

    answer: Answer
    faults: HostFaults = field(default_factory=HostFaults)
    down: bool = False


class ReplayHosts:
    """Serve hosts by name; a context manager, listening from construction until `close`.

    `authorized_key` is the one public key that is let in, as a line of an authorized_keys file; any user name will do.
    Raises ValueError when that is no such line, OSError when no port is to be had.
    """

    def __init__(self, hosts: Mapping[str, HostScript], authorized_key: str) -> None:
        authorized = _public_key(authorized_key)
        self._hosts: dict[str, _Host] = {}
        try:
            for name, script in hosts.items():
                self._hosts[name] = _Host(name, script, authorized)
        except OSError:
            self.close()
            raise

    def __enter__(self) -> ReplayHosts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def set_faults(self, name: str, faults: HostFaults) -> None:
        """Change what a host does wrong, from its next connection or command on. Raises KeyError for no such host."""
        self._hosts[name].faults = faults

    def inventory_vars(self, name: str) -> dict[str, str | int]:
        """The host's Ansible connection variables. Raises KeyError for no such host."""
        return {"ansible_host": _LOOPBACK, "ansible_port": self._hosts[name].port}

    def known_hosts_lines(self) -> list[str]:
        """One line of a known_hosts file for each host, down or not."""
        return [f"[{_LOOPBACK}]:{host.port} {host.public_key}" for host in self._hosts.values()]

    def close(self) -> None:
        """Stop listening, end every connection and wait for all threads. May be called twice."""
        for host in self._hosts.values():
            host.stop()
        deadline = time.monotonic() + _CLOSE_SECONDS
        for host in self._hosts.values():
            host.join(deadline)


class _Host:
    """One listener and its connections."""

    def __init__(self, name: str, script: HostScript, authorized: paramiko.PKey) -> None:
        self.faults = script.faults
        self.authorized = authorized
        self.answer = script.answer
        self.closing = threading.Event()
        self._name = name
        self._key, self._other_key = _new_key(), _new_key()
        self.public_key = f"{self._key.get_name()} {self._key.get_base64()}"
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._transports: set[paramiko.Transport] = set()
        # A host that is down holds its port without listening, so that the port is refused and nobody else's.
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._listener.bind((_LOOPBACK, 0))
            if not script.down:
                self._listener.listen(64)
        except OSError:
            self._listener.close()
            raise
        self.port: int = self._listener.getsockname()[1]
        if not script.down:
            self.spawn(self._accept, "accept")

    def stop(self) -> None:
        """Close the listener and every connection."""
        self.closing.set()
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        except OSError:
            _LOG.debug("%s was not listening", self._name)
        self._listener.close()
        with self._lock:
            transports = list(self._transports)
        for transport in transports:
            transport.close()

    def join(self, deadline: float) -> None:
        """Wait for the host's threads until the deadline (monotonic seconds)."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def spawn(self, work: Callable[[], None], what: str) -> bool:
        """Do some work in a thread that `join` waits for; False, and no work, once the host closes."""

        def run() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=run, name=f"ssh-{self._name}-{what}", daemon=True)
        with self._lock:
            if self.closing.is_set():
                return False
            self._threads.add(thread)
            thread.start()
        return True

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport = paramiko.Transport(client)
            transport.set_log_channel(__name__)
            transport.name = f"ssh-{self._name}-transport"
            with self._lock:
                self._transports.add(transport)
            if not self.spawn(partial(self._serve, transport), "session"):
                client.close()
                return

    def _serve(self, transport: paramiko.Transport) -> None:
        """Let one connection live: log in within the time allowed, then until client or host ends it."""
        try:
            transport.add_server_key(self._other_key if self.faults.wrong_host_key else self._key)
            transport.start_server(event=threading.Event(), server=_Rules(self, transport))
            if self.closing.is_set():  # stop() could not close what had not begun
                return
            transport.join(_LOGIN_SECONDS)
            if transport.is_authenticated():
                transport.join()
        except (paramiko.SSHException, OSError, EOFError) as error:
            _LOG.debug("%s: a connection failed: %s", self._name, error)
        finally:
            transport.close()
            transport.sock.close()  # the transport closes it only once its own thread has begun
            with self._lock:
                self._transports.discard(transport)

    def execute(self, transport: paramiko.Transport, channel: paramiko.Channel, command: str) -> None:
        """Answer one command on its channel, with the faults of the moment."""
        faults = self.faults
        try:
            given = _read_input(channel)
            while faults.hang_after_auth and transport.is_active() and not channel.closed:
                if self.closing.wait(0.1):
                    return
            if faults.delay and self.closing.wait(faults.delay):
                return
            out, err, code = self.answer(command, given)
            channel.settimeout(_SEND_SECONDS)
            left = faults.flood_bytes
            while left > 0:
                channel.sendall(_NOISE[:left])
                left -= len(_NOISE)
            if faults.cut_after_bytes is not None:
                channel.sendall(out[: faults.cut_after_bytes])
                transport.close()
                return
            channel.sendall(out)
            channel.sendall_stderr(err)
            channel.send_exit_status(code)
        except (paramiko.SSHException, OSError, EOFError) as error:
            _LOG.debug("%s: a command was not answered: %s", self._name, error)
        finally:
            try:
                channel.close()
            except (OSError, EOFError):
                _LOG.debug("%s: the client had left", self._name)


class _Rules(paramiko.ServerInterface):
    """What a client may do: log in with the one key, run commands. No password, shell, terminal, file transfer."""

    def __init__(self, host: _Host, transport: paramiko.Transport) -> None:
        self._host, self._transport = host, transport

    def get_allowed_auths(self, username: str) -> str:
        """The one way in."""
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        """Let the authorized key in; paramiko checks its signature."""
        known = key.asbytes() == self._host.authorized.asbytes()
        return codes.AUTH_SUCCESSFUL if known and not self._host.faults.refuse_auth else codes.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        """Channels are for commands only."""
        return codes.OPEN_SUCCEEDED if kind == "session" else codes.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        """Take a command and answer it in a thread of its own."""
        text = command.decode("utf-8", "replace")
        return self._host.spawn(partial(self._host.execute, self._transport, channel, text), "command")


def _read_input(channel: paramiko.Channel) -> bytes:
    """What the client sends on standard input: until it ends, falls silent, or is more than any script."""
    given = bytearray()
    channel.settimeout(_QUIET_SECONDS)
    while len(given) < _MAX_INPUT:
        try:
            data = channel.recv(_CHUNK)
        except TimeoutError:
            break
        if not data:
            break
        given += data
    return bytes(given)


def _new_key() -> paramiko.PKey:
    """A new ed25519 key. paramiko reads such keys but makes none."""
    text = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return paramiko.Ed25519Key.from_private_key(io.StringIO(text.decode()))


def _public_key(line: str) -> paramiko.PKey:
    try:
        kind, blob = line.split()[:2]
        return paramiko.PKey.from_type_string(kind, base64.b64decode(blob, validate=True))
    except (ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
        raise ValueError("the authorized key is not a public key line such as 'ssh-ed25519 AAAA… name'") from error
