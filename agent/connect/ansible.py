"""Ansible as a library of facts about hosts: inventories and host patterns. Runs Ansible's own programs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.connect.ansible_patterns import select
from agent.connect.inventory_values import Files, connection
from agent.errors import ConfigError
from agent.resources import tool  # others take it from here

TIMEOUT = 120
"""Seconds for an inventory to load; dynamic ones ask other systems."""


@dataclass(frozen=True, slots=True)
class Host:
    """One host of an inventory: its `ansible_` variables (group variables merged in) and its groups, without `all`.

    Secrets among the variables are references.
    """

    name: str
    variables: Mapping[str, Any]
    groups: tuple[str, ...]


def inventory(paths: Sequence[Path], folder: Path) -> list[Host]:
    """Hosts of an ordinary Ansible inventory, static or dynamic, with vault passwords as Ansible finds them.

    Raises `ConfigError` naming the inventory when Ansible cannot read it, and for a password in plain text.
    """
    shown = ", ".join(str(p.relative_to(folder) if p.is_relative_to(folder) else p) for p in paths)
    command = [tool("ansible-inventory"), "--list"]
    for p in paths:
        command += ["-i", str(p)]
    env = {
        **os.environ,
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
        # One of several files that cannot be read is an error too: its hosts would be left out, and look clean.
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "PYTHONWARNINGS": "ignore",
    }
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env=env,
        )
    except FileNotFoundError:
        raise ConfigError(
            "ansible-inventory is not installed.", "Install ansible-core beside spiritlevel.", file=shown
        ) from None
    except subprocess.TimeoutExpired:
        raise ConfigError(f"did not load within {TIMEOUT} seconds.", file=shown) from None
    if done.returncode != 0:
        raise ConfigError(f"Ansible cannot read this inventory: {_last(done.stderr)}", file=shown)
    try:
        found = _hosts(json.loads(done.stdout))
    except (ValueError, AttributeError, KeyError, TypeError):
        raise ConfigError("ansible-inventory gave an answer that is no inventory.", file=shown) from None
    files = Files(paths, folder)
    return [replace(h, variables=connection(h.name, h.variables, files)) for h in found]


def _last(stderr: str) -> str:
    lines = [re.sub(r"[\x00-\x1f\x7f]", " ", ln).strip() for ln in stderr.splitlines() if ln.strip()]
    # Ansible tries one reader after the other; what the one for YAML or scripts said is nearest to the cause.
    tried = (re.search(r"Failed to parse inventory with '(?:yaml|script)' plugin: (.+)", ln) for ln in lines)
    cause = next((m[1] for m in tried if m), "")
    lines = [ln for ln in lines if re.match(r"(\[?ERROR|error|fatal)", ln, re.IGNORECASE)] or lines
    text = cause or (lines[0] if lines else "it said nothing")
    return text[:300] if text[-1] in ".?!" else f"{text[:299]}."


def _hosts(data: dict[str, Any]) -> list[Host]:
    variables = data["_meta"]["hostvars"]
    parents: dict[str, set[str]] = {}
    members: dict[str, set[str]] = {}
    for group, body in data.items():
        if group == "_meta":
            continue
        for host in body.get("hosts", []):
            members.setdefault(host, set()).add(group)
        for child in body.get("children", []):
            parents.setdefault(child, set()).add(group)

    def up(group: str, seen: set[str]) -> set[str]:
        if group not in seen:
            seen.add(group)
            for parent in parents.get(group, ()):
                up(parent, seen)
        return seen

    out = []
    for host in _in_order(data, [*members, *variables]):
        groups: set[str] = set()
        for group in members.get(host, ()):
            up(group, groups)
        out.append(Host(host, variables.get(host, {}), tuple(sorted(groups - {"all", "ungrouped"}))))
    return out


def _in_order(data: Mapping[str, Any], hosts: Sequence[str]) -> list[str]:
    """Hosts in the inventory's own order, as far as groups tell: `web[0]` counts by it."""
    out: dict[str, None] = {}
    seen: set[str] = set()

    def down(group: str) -> None:
        if group not in seen:
            seen.add(group)
            body = data.get(group, {})
            out.update(dict.fromkeys(body.get("hosts", [])))
            for child in body.get("children", []):
                down(child)

    down("all")
    return list(dict.fromkeys([*out, *sorted(hosts)]))


NETWORKS = {
    "iosxe": "ios",
    "ios_xe": "ios",
    "cisco_ios": "ios",
    "cisco_xe": "ios",
    "aruba_aoscx": "aoscx",
    "hp_procurve": "procurve",
    "provision": "procurve",
    "arubaoss": "procurve",
    "aruba_osswitch": "procurve",
    "aos_s": "procurve",
}
"""Other words for the platforms of switches: netmiko's, and those of collections."""


def platform(variables: Mapping[str, Any]) -> str:
    """A host's platform: from ansible_network_os, else its connection, else Linux (see docs/inventory.md)."""
    network = str(variables.get("ansible_network_os", "")).rsplit(".", 1)[-1].lower()
    if network:
        return NETWORKS.get(network, network)
    if remoting(variables):
        return "windows"
    if str(variables.get("ansible_shell_type", "")).lower() in ("powershell", "cmd"):
        return "windows"
    return "linux"


def remoting(variables: Mapping[str, Any]) -> bool:
    """Whether a host is reached by PowerShell remoting: its inventory says `psrp` or `winrm`."""
    word = str(variables.get("ansible_connection") or "").lower()
    return word.removeprefix("ansible.builtin.") in ("winrm", "psrp")


def own_connection(variables: Mapping[str, Any]) -> bool:
    """Whether a host is reached by the SSH client here; else its inventory names another of Ansible's connections."""
    word = str(variables.get("ansible_connection") or "ssh").lower()
    return word.removeprefix("ansible.builtin.") in ("ssh", "smart", "paramiko", "paramiko_ssh")


__all__ = ["Host", "inventory", "own_connection", "platform", "remoting", "select", "tool"]
