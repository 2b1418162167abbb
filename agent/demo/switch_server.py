"""Stand-in switches on loopback: a terminal over real SSH with a password, each on its own port. They run no shell."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Mapping
from functools import partial
from types import TracebackType

import paramiko
import paramiko.common as codes

from agent.demo.ssh_server import _new_key
from agent.demo.switch_device import Conversation, Hangup, Switch, SwitchScript

_LOOPBACK = "127.0.0.1"
_LOG = logging.getLogger(__name__)
_LOG.addHandler(logging.NullHandler())


class Switches:
    """Serve switches by name; a context manager, listening from construction until `close`. Raises OSError."""

    def __init__(self, scripts: Mapping[str, SwitchScript]) -> None:
        self._hosts: dict[str, _Host] = {}
        try:
            for name, script in scripts.items():
                self._hosts[name] = _Host(name, Switch(script))
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Switches:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def switch(self, name: str) -> Switch:
        """A switch's state. Raises KeyError for no such switch."""
        return self._hosts[name].switch

    def inventory_vars(self, name: str) -> dict[str, str | int]:
        """The switch's Ansible connection variables, without credentials."""
        host = self._hosts[name]
        return {
            "ansible_host": _LOOPBACK,
            "ansible_port": host.port,
            "ansible_connection": "ansible.netcommon.network_cli",
            "ansible_network_os": _NETWORK_OS[host.switch.platform],
            "ansible_user": host.switch.script.user,
        }

    def known_hosts_lines(self) -> list[str]:
        """One line of a known_hosts file for each switch."""
        return [f"[{_LOOPBACK}]:{h.port} {h.key.get_name()} {h.key.get_base64()}" for h in self._hosts.values()]

    def logins(self, name: str) -> int:
        """Logins tried at a switch so far."""
        return self._hosts[name].logins

    def close(self) -> None:
        """Stop listening and end every connection. May be called twice."""
        for host in self._hosts.values():
            host.stop()


_NETWORK_OS = {"ios": "cisco.ios.ios", "aoscx": "arubanetworks.aoscx.aoscx", "procurve": "procurve"}


class _Host:
    """One listener and its connections."""

    def __init__(self, name: str, switch: Switch) -> None:
        self.switch, self.name, self.key = switch, name, _new_key()
        self.logins = 0
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._transports: set[paramiko.Transport] = set()
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._listener.bind((_LOOPBACK, 0))
            if not switch.script.down:
                self._listener.listen(64)
        except OSError:
            self._listener.close()
            raise
        self.port: int = self._listener.getsockname()[1]
        if not switch.script.down:
            threading.Thread(target=self._accept, name=f"switch-{name}", daemon=True).start()

    def stop(self) -> None:
        """Close the listener and every connection."""
        self._closing.set()
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            _LOG.debug("%s was not listening", self.name)
        self._listener.close()
        with self._lock:
            transports = list(self._transports)
        for transport in transports:
            transport.close()
        deadline = time.monotonic() + 5
        for transport in transports:
            transport.join(max(0.0, deadline - time.monotonic()))

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=partial(self._serve, client), name=f"switch-{self.name}-ssh", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        transport = paramiko.Transport(client)
        transport.set_log_channel(__name__)
        with self._lock:
            self._transports.add(transport)
        try:
            transport.add_server_key(self.key)
            transport.start_server(event=threading.Event(), server=_Rules(self))
            transport.join()
        except (paramiko.SSHException, OSError, EOFError) as error:
            _LOG.debug("%s: a connection failed: %s", self.name, error)
        finally:
            transport.close()
            transport.sock.close()
            with self._lock:
                self._transports.discard(transport)

    def talk(self, channel: paramiko.Channel) -> None:
        """One session on its channel."""

        def read() -> str:
            data = channel.recv(1)
            if not data:
                raise Hangup
            return data.decode("utf-8", "replace")

        def write(text: str) -> None:
            channel.sendall(text.encode())

        try:
            channel.settimeout(120)
            Conversation(self.switch, read, write).run()
        except (Hangup, paramiko.SSHException, OSError, EOFError) as error:
            _LOG.debug("%s: a session ended: %s", self.name, error)
        finally:
            with contextlib.suppress(paramiko.SSHException, OSError, EOFError):  # the client may be gone already
                channel.close()
                transport = channel.get_transport()
                if self.switch.script.faults.cut_after is not None and transport is not None:
                    transport.close()


class _Rules(paramiko.ServerInterface):
    """A login with the password, then one terminal. No commands, no forwarding."""

    def __init__(self, host: _Host) -> None:
        self._host = host

    def get_allowed_auths(self, username: str) -> str:
        """Switches take a password both ways."""
        return "password,keyboard-interactive"

    def check_auth_password(self, username: str, password: str) -> int:
        """The one account."""
        self._host.logins += 1
        script = self._host.switch.script
        good = (username, password) == (script.user, script.password)
        return codes.AUTH_SUCCESSFUL if good else codes.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        """Sessions only."""
        return codes.OPEN_SUCCEEDED if kind == "session" else codes.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_pty_request(
        self,
        channel: paramiko.Channel,
        term: bytes,
        width: int,
        height: int,
        pixelwidth: int,
        pixelheight: int,
        modes: bytes,
    ) -> bool:
        """A terminal of any size."""
        return True

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        """Begin to talk, in a thread of its own."""
        threading.Thread(target=self._host.talk, args=(channel,), name="switch-talk", daemon=True).start()
        return True
