"""Ansible as a library of facts about hosts: inventories and host patterns. Runs Ansible's own programs."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import ConfigError, UsageError
from agent.resources import tool as tool  # others take it from here
from agent.yamlfile import suggest

TIMEOUT = 120
"""Seconds for an inventory to load; dynamic ones ask other systems."""


@dataclass(frozen=True, slots=True)
class Host:
    """One host of an inventory: its variables (group variables merged in) and its groups, without `all`."""

    name: str
    variables: Mapping[str, Any]
    groups: tuple[str, ...]


def inventory(paths: Sequence[Path], folder: Path) -> list[Host]:
    """Hosts of an ordinary Ansible inventory, static or dynamic, with vault passwords as Ansible finds them.

    Raises `ConfigError` naming the inventory when Ansible cannot read it.
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
        return _hosts(json.loads(done.stdout))
    except (ValueError, AttributeError, KeyError, TypeError):
        raise ConfigError("ansible-inventory gave an answer that is no inventory.", file=shown) from None


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
    for host in sorted({*members, *variables}):
        groups: set[str] = set()
        for group in members.get(host, ()):
            up(group, groups)
        out.append(Host(host, variables.get(host, {}), tuple(sorted(groups - {"all", "ungrouped"}))))
    return out


def platform(variables: Mapping[str, Any]) -> str:
    """A host's platform: from ansible_network_os, else its connection, else Linux (see docs/inventory.md)."""
    network = str(variables.get("ansible_network_os", "")).rsplit(".", 1)[-1].lower()
    if network:
        return {"ios": "ios", "iosxe": "ios", "aoscx": "aoscx", "procurve": "procurve"}.get(network, network)
    if str(variables.get("ansible_connection", "")).lower() in ("winrm", "psrp"):
        return "windows"
    if str(variables.get("ansible_shell_type", "")).lower() in ("powershell", "cmd"):
        return "windows"
    return "linux"


def select(pattern: str, hosts: Mapping[str, Iterable[str]]) -> list[str]:
    """Names that an Ansible pattern picks, in order. `hosts` maps names to their groups.

    Known: names, groups, wildcards, `~regex`, `a:b` or `a,b` (or), `:&b` (and), `:!b` (not), `all`.
    Raises `UsageError` for a pattern that matches nothing.
    """
    terms = [t for t in re.split(r"[,:](?![^\[]*\])", pattern) if t]
    chosen: set[str] = set()
    started = False
    for term in sorted(terms, key=lambda t: "&!".find(t[0]) + 1):  # or first, then and, then not
        hits = _match(term.lstrip("&!"), hosts)
        if term[0] == "!":
            chosen = (chosen if started else set(hosts)) - hits
        elif term[0] == "&":
            chosen = (chosen if started else set(hosts)) & hits
        else:
            chosen |= hits
        started = True
    if not chosen:
        words = sorted({*hosts, *(g for gs in hosts.values() for g in gs)})
        raise UsageError(f"--limit {pattern} matches nothing.", suggest(pattern, words))
    return [h for h in hosts if h in chosen]


def _match(term: str, hosts: Mapping[str, Iterable[str]]) -> set[str]:
    if term in ("all", "*"):
        return set(hosts)
    if term.startswith("~"):
        try:
            regex = re.compile(term[1:])
        except re.error as e:
            raise UsageError(f"{term!r} is no regular expression: {e}.") from None
        return {h for h, groups in hosts.items() if regex.search(h) or any(regex.search(g) for g in groups)}
    return {
        h
        for h, groups in hosts.items()
        if fnmatch.fnmatchcase(h, term) or any(fnmatch.fnmatchcase(g, term) for g in groups)
    }
