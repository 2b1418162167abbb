"""A small trust whose hosts, directory and tenant are stand-ins that misbehave on demand."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from agent.demo import ssh_server
from agent.demo.certs import issue, make_ca
from agent.demo.directory import ACCOUNTS, AUDITOR, BASE_DN, stand_in_domain
from agent.demo.folder import DEMO_APP, TENANT, write_inventory, write_secret
from agent.demo.graph_data import TenantData
from agent.demo.graph_server import GraphServer
from agent.demo.ldap_server import DirectoryFaults, DirectoryServer
from agent.demo.ssh_server import HostFaults, HostScript, ReplayHosts
from agent.demo.stage import _capture, _ssh_key
from tests.cli.conftest import CONTROL, Done, Run

Answer = Callable[[str, bytes], tuple[bytes, bytes, int]]

HOSTS = ("pc1", "pc2", "pc3", "pc4", "pc5")
DIRECTORY = """\
directories:
  dir:
    url: {url}
    bind: {bind}
    password: {password}
    ca_file: certs/{ldap_ca}
    base_dn: "{base_dn}"
"""
TENANT_ENTRY = """\
tenants:
  cloud:
    tenant_id: {tenant_id}
    client_id: {client_id}
    secret: {secret}
    authority: {authority}
    graph_url: {graph_url}
    ca_file: certs/{graph_ca}
"""
# Each would pass if it were judged on only the items that came: a cut list must make it unknown.
USERS = """\
id: {platform}.test-users
version: 1
title: Nobody is called ghost
theme: identity
severity: high
applies_to: {{platform: {platform}}}
why: A control for the tests of the command, of no other use.
check: {{no_item: {{of: users, check: {{item: {name}, equals: ghost}}}}}}
examples:
  - {{name: good, expect: pass, facts: {{users: [{{{key}: a, {name}: amy}}]}}}}
  - {{name: bad, expect: fail, facts: {{users: [{{{key}: a, {name}: ghost}}]}}}}
  - {{name: not read, expect: unknown, facts: {{}}}}
"""
_PYTHON = re.compile(
    r"Traceback|\b[A-Z]\w+(Error|Exception|Warning)\b|Errno|\bNone\b|\bTrue\b|\bFalse\b|<class|object at 0x|\bb'"
    r"|HTTPSConnectionPool|errno|\bkwargs\b|sqlalche|sqlite3\.|0x[0-9a-f]{8}"
)


def reads_well(text: str) -> None:
    """A message for people: sentences, one line, nothing of a programming language, nothing that acts."""
    assert text, "no message at all"
    assert text.strip() == text
    assert text.isprintable(), repr(text)
    assert text[-1] in ".?!", text
    assert len(text) < 500, text
    assert not (found := _PYTHON.search(text)), f"{found[0]!r} in {text!r}" if found else ""


@dataclass(frozen=True)
class Seen:
    """A scan as `scan --format json` tells it, and every finding as `drift` has it."""

    done: Done
    states: Mapping[str, str]
    details: Mapping[str, str]
    verdicts: Mapping[tuple[str, str], str]
    reasons: Mapping[tuple[str, str], str]
    records: list[dict[str, Any]] = field(default_factory=list)

    def of(self, target: str) -> set[str]:
        """The verdicts of one target."""
        return {v for (t, _), v in self.verdicts.items() if t == target}

    def told(self, target: str) -> str:
        """Why a target could not be read: the sentence of the scan, which stands on stderr too and reads well."""
        text = self.details[target]
        reads_well(text)
        assert any(text in line for line in self.done.err.splitlines()), self.done.err
        return text


class Scene:
    """Servers for a whole module; `trust(folder)` writes a trust that leads to them, and makes all well again."""

    def __init__(self, folder: Path) -> None:
        self.base = folder
        self._stack = ExitStack()
        self.tries: Counter[str] = Counter()

    def __enter__(self) -> Scene:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        (self.base / "certs").mkdir()
        self.ca = make_ca(self.base / "certs", "right")
        self.other_ca = make_ca(self.base / "certs", "wrong")
        certs = issue(self.base / "certs", self.ca, ["localhost"], ["127.0.0.1"])
        self.tenant = TenantData.load(TENANT)
        self.graph = self._stack.enter_context(GraphServer(self.tenant, certs, page_size=5))
        self.entries = stand_in_domain().entries
        self.ldap = self._stack.enter_context(DirectoryServer(self.entries, ACCOUNTS, *certs, host_name="dc1.example"))
        self.key, public = _ssh_key(self.base)
        self.clean = _capture("clean")
        self.playing: dict[str, Answer] = {}
        scripts = {n: HostScript(self._answer(n)) for n in HOSTS}
        self.ssh = self._stack.enter_context(ReplayHosts(scripts, public))
        self._count()

    def _answer(self, name: str) -> Answer:
        return lambda command, given: self.playing[name](command, given)

    def _count(self) -> None:
        """Count tries to log in, per host."""
        scene, real = self, ssh_server._Rules.check_auth_publickey
        names = {id(host): name for name, host in self.ssh._hosts.items()}

        def check(rules: Any, username: str, key: Any) -> int:
            if name := names.get(id(rules._host)):
                scene.tries[name] += 1
            return real(rules, username, key)

        ssh_server._Rules.check_auth_publickey = check  # type: ignore[method-assign,assignment]
        self._stack.callback(setattr, ssh_server._Rules, "check_auth_publickey", real)

    # ------------------------------------------------------------------------------------------------ for one test

    def heal(self) -> None:
        """No fault anywhere; nothing counted."""
        self.playing.update(dict.fromkeys(HOSTS, self.clean))
        for name in HOSTS:
            self.ssh.set_faults(name, HostFaults())
        self.ldap.faults = DirectoryFaults()
        self.graph.faults.clear()
        self.tenant.clients[DEMO_APP].secret_expired = False
        self.tries.clear()

    def fault(self, host: str, **faults: Any) -> None:
        """Let a host misbehave."""
        self.ssh.set_faults(host, HostFaults(**faults))

    def trust(self, folder: Path, hosts: tuple[str, ...] = HOSTS[:2], *, shared: bool = False, **entry: str) -> Path:
        """Write a trust with one school and these hosts; `shared`: a directory and a tenant too, with `entry`'s
        settings where they differ from the right ones."""
        self.heal()
        values = {
            "url": f"ldaps://localhost:{self.ldap.ldaps_port}",
            "bind": AUDITOR,
            "password": "file:secrets/ldap.txt",
            "ldap_ca": Path(self.ca.cert_path).name,
            "base_dn": BASE_DN,
            "tenant_id": self.tenant.tenant_id,
            "client_id": DEMO_APP,
            "secret": "file:secrets/m365.txt",
            "authority": self.graph.authority,
            "graph_url": self.graph.url,
            "graph_ca": Path(self.ca.cert_path).name,
            **entry,
        }
        lines = ["name: Test Trust", "profile: test", "schools:", "  oak:", "    name: Oak School"]
        lines += ["    inventory: inventories/oak.yml"] if hosts else []
        lines += ["    directory: {use: dir}", "    tenant: {use: cloud}"] if shared else []
        text = "\n".join(lines) + "\n" + ((DIRECTORY + TENANT_ENTRY).format(**values) if shared else "")
        files = {"trust.yml": text, "profiles/test.yml": "id: test\ncontrols: ['*.test-*']\n"}
        files["controls/test-kernel.yml"] = CONTROL
        files["controls/ad-test-users.yml"] = USERS.format(platform="ad", name="name", key="sid")
        files["controls/m365-test-users.yml"] = USERS.format(platform="m365", name="upn", key="id")
        for name, words in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(words)
        (folder / "certs").mkdir(exist_ok=True)
        for ca in (self.ca, self.other_ca):
            (folder / "certs" / Path(ca.cert_path).name).write_bytes(Path(ca.cert_path).read_bytes())
        write_secret(folder, "ldap.txt", ACCOUNTS[AUDITOR])
        write_secret(folder, "m365.txt", self.tenant.clients[DEMO_APP].secret)
        write_secret(folder, "id_ed25519", self.key.read_text())
        if hosts:
            self.inventory(folder, hosts)
        return folder

    def inventory(self, folder: Path, hosts: tuple[str, ...], school: str = "oak", known: str = "known_hosts") -> None:
        """The inventory of a school, and the known host keys."""
        lines = dict(zip(HOSTS, self.ssh.known_hosts_lines(), strict=True))
        (folder / known).write_text("".join(f"{lines[h]}\n" for h in HOSTS))
        found = [(h, self.ssh.inventory_vars(h)) for h in hosts]
        write_inventory(folder, school, found, folder / "secrets/id_ed25519", folder / known)


def look(run: Run, folder: Path, *arguments: str) -> Seen:
    """Scan, then read every finding back; what the two say must agree."""
    done = run("-C", folder, "scan", "--format", "json", *arguments)
    assert "Traceback" not in done.err
    assert done.out, done.err
    told = json.loads(done.out)
    again = run("-C", folder, "drift", "--all", "--format", "json")
    records = json.loads(again.out)
    where = [f"{r['school']}/{r['target']}" if r["kind"] == "device" else r["target"] for r in records]
    return Seen(
        done,
        {k: v["state"] for k, v in told["targets"].items()},
        {k: v["detail"] for k, v in told["targets"].items()},
        {(w, r["control"]): r["verdict"] for w, r in zip(where, records, strict=True)},
        {(w, r["control"]): r["reason"] for w, r in zip(where, records, strict=True)},
        records,
    )
