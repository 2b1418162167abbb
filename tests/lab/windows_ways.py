"""A school of Windows stand-ins behind three ways in: OpenSSH, PowerShell remoting over HTTPS, and WinRM over HTTP.

Behind each way is the real PowerShell engine with the lab's machine; the wire is the real one, on a real socket.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from agent.connect.ansible import inventory
from agent.demo.certs import issue, make_ca
from agent.demo.psrp_server import PsrpServer, Reply
from tests.lab.windows import WindowsLab

WAYS = ("ssh", "psrp", "winrm")
USERS = {"scan": "geheim"}


def engine(lab: WindowsLab, machine: str) -> Callable[[str], Reply]:
    """What a script comes to on one machine of the lab."""
    return lambda script: Reply([lab.run(machine, script).decode()])


class Ways:
    """Each machine of a started lab behind one way in. `way` is machine → ssh, psrp or winrm; a context manager."""

    def __init__(self, lab: WindowsLab, way: Mapping[str, str], folder: Path) -> None:
        self.lab, self.way, self.folder = lab, dict(way), folder
        self.servers: dict[str, PsrpServer] = {}
        self.inventory = folder / "inventory.yml"
        self._stack = ExitStack()

    def __enter__(self) -> Ways:
        ca = make_ca(self.folder, "school")
        certs = issue(self.folder, ca, ["localhost"], ["127.0.0.1"])
        (self.folder / "password").write_text(USERS["scan"], encoding="utf-8")
        known = {h.name: h.variables for h in inventory([self.lab.inventory], self.folder)}
        hosts: dict[str, dict[str, Any]] = {}
        for name, way in self.way.items():
            if way == "ssh":
                hosts[name] = dict(known[name])
                continue
            trouble = "slow" if name == "hang-shell" else ""  # the lab hangs in its sshd, which is not in between here
            server = PsrpServer(certs if way == "psrp" else None, USERS, engine(self.lab, name), trouble=trouble)
            self.servers[name] = self._stack.enter_context(server)
            hosts[name] = {
                "ansible_connection": way,
                "ansible_host": "localhost",
                "ansible_port": server.port,
                "ansible_user": "scan",
                "ansible_password": f"file:{self.folder}/password",
                **({"ansible_psrp_ca_cert": str(ca.cert_path)} if way == "psrp" else {"ansible_winrm_scheme": "http"}),
            }
        self.inventory.write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def failures(self) -> list[BaseException]:
        """What went wrong in the stand-ins themselves."""
        return [f for s in self.servers.values() for f in s.failures]


def in_turn(machines: Sequence[str]) -> dict[str, str]:
    """The three ways dealt out."""
    return {name: WAYS[n % 3] for n, name in enumerate(machines)}
