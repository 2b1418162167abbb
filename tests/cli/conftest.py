"""A trust's folder with one control of its own, and the command run in this process."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent import baseline, resources, snapshots
from agent.cli import main
from agent.demo.ssh_server import HostFaults, HostScript, ReplayHosts
from agent.demo.stage import _capture, _ssh_key

CONTROL = """\
id: linux.test-kernel
version: 1
title: The kernel is the one that we want
theme: devices
severity: high
applies_to: {platform: linux}
why: A control for the tests of the command, of no other use.
check: {fact: os.id, equals: debian}
examples:
  - {name: debian, expect: pass, facts: {os: {id: debian}}}
  - {name: another, expect: fail, facts: {os: {id: ubuntu}}}
  - {name: not read, expect: unknown, facts: {}}
"""
TRUST = """\
name: Test Trust
profile: test
schools:
  oak:
    name: Oak School
    inventory: inventories/oak.yml
"""


STANDARD = """\
id: std
title: A standard for tests
short: STD
version: "1"
source: https://example.org/standard
source_date: "2026-11-01"
requirements:
  - {id: std.plan, theme: Plans, title: There is a plan, strength: must, attest: Is there a plan?}
"""


@dataclass(frozen=True)
class Done:
    """What a run of the command came to."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The error: exactly one line."""
        lines = [line for line in self.err.splitlines() if line]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("spiritlevel: ")
        assert "Traceback" not in self.err
        return lines[0]


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("-C", folder, "scan", given="y\\n")`: the command, as `main` runs it."""

    def call(*arguments: Any, given: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["spiritlevel", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as stop:
            main()
        code = stop.value.code
        assert isinstance(code, int)
        return Done(code, out.getvalue(), err.getvalue())

    return call


@pytest.fixture
def few_controls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One shipped control and a small standard in place of all that ships: what is tested here is the command."""
    shipped, small = resources.data_dir("baselines"), tmp_path / "baselines"
    for name in ("site-parameters.yml", "controls/linux/ssh-root-login.yml"):
        (small / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shipped / name, small / name)
    for name, text in {"profiles/core.yml": "id: core\n", "standards/std.yml": STANDARD}.items():
        (small / name).parent.mkdir(exist_ok=True)
        (small / name).write_text(text)
    original = resources.data_dir

    def data_dir(kind: str, package: Path | None = None) -> Path:
        return small if kind == "baselines" else original(kind, package)

    for module in (resources, baseline, snapshots):
        monkeypatch.setattr(module, "data_dir", data_dir)
    return small


@pytest.fixture
def trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_controls: Path) -> Path:
    """A trust with one school, one host that answers nobody, and one control."""
    monkeypatch.delenv("SPIRITLEVEL_TRUST", raising=False)
    monkeypatch.delenv("SPIRITLEVEL_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "trust"
    for name, text in {
        "trust.yml": TRUST,
        "inventories/oak.yml": "all: {hosts: {pc1: {ansible_host: 127.0.0.1, ansible_port: 1}}}\n",
        "profiles/test.yml": "id: test\ncontrols: [linux.test-kernel]\n",
        "controls/test-kernel.yml": CONTROL,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


class Hosts:
    """Stand-in hosts that the trust's inventory leads to."""

    def __init__(self, folder: Path, captures: dict[str, str]) -> None:
        self.folder = folder
        self.key, public = _ssh_key(folder)
        self.servers = ReplayHosts({n: HostScript(_capture(c)) for n, c in captures.items()}, public)
        self.write(known=True)

    def write(self, *, known: bool, options: str = "") -> None:
        """The inventory; `known`: the hosts' keys are in the trust's known_hosts."""
        lines = ["all:", "  vars:", "    ansible_user: scan", "    ansible_ssh_private_key_file: secrets/id_ed25519"]
        if options:
            lines.append(f"    ansible_ssh_common_args: {options!r}")
        lines.append("  hosts:")
        lines += [f"    {n}: {self.servers.inventory_vars(n)}" for n in self.servers._hosts]
        (self.folder / "inventories/oak.yml").write_text("\n".join(lines) + "\n")
        path = self.folder / "known_hosts"
        path.unlink(missing_ok=True)
        if known:
            path.write_text("\n".join(self.servers.known_hosts_lines()) + "\n")

    def fault(self, name: str, **faults: Any) -> None:
        """Let a host misbehave."""
        self.servers.set_faults(name, HostFaults(**faults))


@pytest.fixture
def hosts(trust: Path) -> Iterator[Hosts]:
    """Two hosts in the trust: `good` lets the scan become root, `plain` does not."""
    found = Hosts(trust, {"good": "clean", "plain": "no-sudo"})
    with found.servers:
        yield found
