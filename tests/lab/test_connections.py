"""Hosts over Ansible's other connections tell the same as over SSH: entered by namespaces, as a changed root, and
through a plugin of the trust's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.baseline import load_policy
from agent.collect import Credentials, collect
from agent.controls import expand
from agent.facts.protocol import Limits
from agent.model import Evidence, Kind, Reason, Target, TargetState, Unknown
from tests.lab.hosts import HostLab

pytestmark = [pytest.mark.lab, pytest.mark.slow]
LIMITS = Limits(120)
PASSWORD = "correct-horse-battery-1"
# What another way in shows otherwise, by its nature: it is no child of sshd, and time goes on.
MOVING = {"uptime", "sshd_options"}
# Files of the host; what its kernel and its network say is not to be seen from a changed root alone.
FILES = ["os", "users", "groups", "sudo", "timezone", "file[/etc/shadow]", "package[ufw]", "packages"]

PLUGIN = '''
"""A connection of a trust's own: into a lab host as one of its people, past SSH."""
DOCUMENTATION = """
name: lab
short_description: as a person of a lab host
extends_documentation_fragment: [connection_pipelining]
options:
  pid:
    description: the host's first process
    vars: [{name: ansible_lab_pid}]
  remote_user:
    description: who
    vars: [{name: ansible_user}]
  become_success_timeout: {description: as of local, type: int, default: 20}
  become_strip_preamble: {description: as of local, type: bool, default: true}
"""
import subprocess
from ansible.plugins.connection.local import Connection as Local

class Connection(Local):
    transport = "lab"

    def exec_command(self, cmd, in_data=None, sudoable=True):
        into = ["nsenter", "-t", str(self.get_option("pid")), "-m", "-u", "-i", "-n", "-p", "--"]
        into += ["runuser", "-u", self.get_option("remote_user"), "--", "/bin/sh", "-c"]
        cmd = cmd.decode() if isinstance(cmd, bytes) else cmd
        import shlex
        return super().exec_command(shlex.join([*into, cmd]), in_data=in_data, sudoable=sudoable)
'''


@pytest.fixture(scope="module")
def lab() -> Iterator[HostLab]:
    ready, why = HostLab.available()
    if not ready:
        pytest.skip(f"{why}: hosts with their own namespaces")
    with HostLab().start(2, {"h001": ["ssh-x11", "extra-sudoer"], "h002": ["no-sudo"]}) as lab:
        yield lab


@pytest.fixture(scope="module")
def folder(lab: HostLab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trust's folder with a connection plugin of its own."""
    folder = tmp_path_factory.mktemp("trust")
    folder.chmod(0o755)  # Ansible takes no ansible.cfg from a folder that others may write to
    (folder / "plugins").mkdir()
    (folder / "plugins" / "lab.py").write_text(PLUGIN, encoding="utf-8")
    (folder / "ansible.cfg").write_text("[defaults]\nconnection_plugins = ./plugins\n", encoding="utf-8")
    return folder


def wanted() -> list[str]:
    """Every raw fact that some Linux control reads."""
    names: set[str] = set()
    for control in load_policy().controls.values():
        if control.platform == "linux":
            names |= expand("linux", set(control.reads))[0]
    return sorted(names)


def asked(folder: Path, settings: Mapping[str, Any], names: list[str]) -> Evidence:
    import threading

    target = Target("host", Kind.DEVICE, "linux", "lab", settings)
    return collect(target, names, folder, LIMITS, Credentials(), threading.Event())


def over_ssh(lab: HostLab, folder: Path, host: str, names: list[str]) -> Evidence:
    settings = {
        "ansible_host": lab.addresses[host],
        "ansible_user": "scan",
        "ansible_ssh_private_key_file": str(lab.key_file),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={lab.known_hosts} -o GlobalKnownHostsFile=none",
    }
    return asked(folder, settings, names)


def alike(one: Evidence, other: Evidence) -> dict[str, tuple[Any, Any]]:
    """The facts in which they differ."""
    a, b = ({n: r.value for n, r in e.facts.items()} for e in (one, other))
    return {n: (a[n], b[n]) for n in a if a[n] != b[n] and n not in MOVING}


def test_entered_by_its_namespaces_a_host_tells_the_same(lab: HostLab, folder: Path) -> None:
    settings = {"ansible_connection": "community.docker.nsenter", "ansible_nsenter_pid": lab.pid("h001")}
    found = asked(folder, settings, wanted())
    assert found.state is TargetState.COLLECTED, found.detail
    assert alike(over_ssh(lab, folder, "h001", wanted()), found) == {}


def test_from_a_changed_root_its_files_tell_the_same(lab: HostLab, folder: Path) -> None:
    settings = {"ansible_connection": "community.general.chroot", "ansible_host": f"/proc/{lab.pid('h001')}/root"}
    found = asked(folder, settings, FILES)
    assert found.state is TargetState.COLLECTED, found.detail
    assert alike(over_ssh(lab, folder, "h001", FILES), found) == {}


def test_a_plugin_of_the_trusts_own_and_sudo(lab: HostLab, folder: Path) -> None:
    for become in ({}, {"ansible_become": True, "ansible_become_user": "tech1"}):
        settings = {"ansible_connection": "lab", "ansible_lab_pid": lab.pid("h001"), "ansible_user": "scan"}
        found = asked(folder, settings | become, wanted())
        assert found.state is TargetState.COLLECTED, found.detail
        assert alike(over_ssh(lab, folder, "h001", wanted()), found) == {}


def test_where_sudo_is_refused_the_rest_is_known(lab: HostLab, folder: Path) -> None:
    settings = {"ansible_connection": "lab", "ansible_lab_pid": lab.pid("h002"), "ansible_user": "scan"}
    found = asked(folder, settings | {"ansible_become": True}, wanted())
    assert found.state is TargetState.PARTIAL
    assert "sudo was refused" in found.detail
    assert alike(over_ssh(lab, folder, "h002", wanted()), found) == {}


def test_sudo_with_a_password_is_ansibles_to_do(lab: HostLab, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "ansible_connection": "lab",
        "ansible_lab_pid": lab.pid("h002"),
        "ansible_user": "tech1",
        "ansible_become_password": "env:LAB_SUDO",
    }
    monkeypatch.setenv("LAB_SUDO", PASSWORD)
    found = asked(folder, settings, wanted())
    assert found.state is TargetState.COLLECTED, found.detail
    monkeypatch.setenv("LAB_SUDO", "not it")
    found = asked(folder, settings, wanted())
    assert (found.state, "password" in found.detail) == (TargetState.UNREACHABLE, True), found.detail
    reasons = {r.value.reason for r in found.facts.values() if isinstance(r.value, Unknown)}
    assert reasons == {Reason.CREDENTIAL_REFUSED}, found.detail
    assert "not it" not in found.detail
