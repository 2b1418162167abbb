"""The configuration of Aruba ProVision (AOS-S) as facts. Sources: ArubaOS-Switch 16.10 and 16.11 guides. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from agent.facts.switch.answer import BANNER, clean, redact
from agent.facts.switch.blocks import Block, Text
from agent.facts.switch.ranges import numbers
from agent.facts.switch.secrets import factory


def _bare(text: str) -> str:
    return text.strip().strip('"')


def vlan_blocks(root: Block) -> list[tuple[int, Block]]:
    """`vlan 10` → (number, block)."""
    return [(n, b) for m, b in root.blocks(r"vlan (\d[\d,-]*)") for n in numbers(m[1])]


def vlans(root: Block) -> list[dict[str, Any]]:
    """VLANs; number 1 is always there."""
    found: dict[int, str | None] = {1: None}
    for number, b in vlan_blocks(root):
        name = b.last(r"name (.*)")
        found[number] = clean(_bare(name[1]), 40) if name else None
    return [{"id": n, "name": found[n]} for n in sorted(found)]


def remote(root: Block) -> dict[str, Any]:
    """Services for management, as stated; the rest is the release's default."""
    idle, serial = root.last(r"console idle-timeout (\d+)"), root.last(r"console idle-timeout serial-usb (\d+)")
    old = root.last(r"console inactivity-timer (\d+)")
    managing = root.last(r"management-vlan (\d+)")
    return {
        "telnet": root.switched("telnet-server"),
        "ssh": root.switched("ip ssh"),
        "ssh_version": None,
        "http": _plain_http(root),
        "idle_seconds": int(idle[1]) if idle else 60 * int(old[1]) if old else None,
        "console_idle_seconds": int(serial[1]) if serial else None,
        "vrfs": [],
        "managers": _managers(root),
        "networks": _networks(root),
        "management_vlan": int(managing[1]) if managing else None,
    }


def _plain_http(root: Block) -> bool | None:
    if root.has(r"no web-management(?: plaintext)?"):
        return False
    return True if root.has(r"web-management(?: plaintext)?") else None


def _prefix(address: str, mask: str) -> str | None:
    try:
        return str(ipaddress.IPv4Network((address, mask), strict=False))
    except ValueError:
        return None


def _managers(root: Block) -> list[dict[str, Any]]:
    """Stations that may manage; a mask that is left out means the one address."""
    out = []
    for m in root.each(r"ip authorized-managers (\d+\.\d+\.\d+\.\d+)(?: (\d+\.\d+\.\d+\.\d+))?(?: .*)?"):
        mask = m[2] or "255.255.255.255"
        out.append({"name": f"{m[1]} {mask}", "network": _prefix(m[1], mask)})
    return out


def _networks(root: Block) -> list[dict[str, Any]]:
    """The switch's own addresses by VLAN."""
    out = []
    for number, b in vlan_blocks(root):
        name = b.last(r"name (.*)")
        for m in b.each(r"ip address (\d+\.\d+\.\d+\.\d+) (\d+\.\d+\.\d+\.\d+)"):
            if network := _prefix(m[1], m[2]):
                out.append({"vlan": number, "name": clean(_bare(name[1]), 40) if name else "", "network": network})
        for m in b.each(r"ip address (\d+\.\d+\.\d+\.\d+/\d+)"):
            address, _, length = m[1].partition("/")
            if network := _prefix(address, length):
                out.append({"vlan": number, "name": clean(_bare(name[1]), 40) if name else "", "network": network})
    return out


def banners(taken: Text) -> dict[str, Any]:
    """The message of the day; `exec` comes after the login."""
    return {"login": None, "motd": redact(taken.banners.get("motd", ""), BANNER) or None}


def aaa(root: Block) -> dict[str, Any]:
    """Login over SSH: first method, server group, second method. Without the line it is the local passwords."""
    login = []
    for match in root.each(r"aaa authentication (ssh|console|telnet|web) login (.*)"):
        words, methods = match[2].split(), list[str]()
        while words:
            word = words.pop(0)
            if word == "server-group" and words:
                methods[-1:] = [f"group {_bare(words.pop(0))}"]
            elif word in ("tacacs", "radius", "peap-mschapv2"):
                methods.append(f"group {'tacacs' if word == 'tacacs' else 'radius'}")
            else:
                methods.append(word)
        login.append({"name": match[1], "methods": methods})
    groups: dict[str, int] = {
        kind: sum(1 for _ in root.each(rf"{kind}-server host \S+(?: .*)?")) for kind in ("tacacs", "radius")
    }
    for match in root.each(r"aaa server-group radius (\S+) host \S+"):
        groups[_bare(match[1])] = groups.get(_bare(match[1]), 0) + 1
    return {"on": True, "login": login, "groups": [{"name": n, "servers": c} for n, c in groups.items()]}


_ROLE = r'password (manager|operator)(?: user-name ("[^"]*"|\S+))?(?: (plaintext|sha1|sha256|hash)\b.*)?'
_LOCAL = r'aaa authentication local-user ("[^"]*"|\S+)(?: (.*))?'


def secrets(root: Block) -> list[dict[str, Any]]:
    """How passwords are kept. Without include-credentials the line tells only that there is one."""
    out = []
    for m in root.each(_ROLE):
        name = _bare(m[2]) if m[2] else m[1]
        out.append({"name": name, "kind": "clear" if m[3] == "plaintext" else "hash"})
    for m in root.each(_LOCAL):
        if found := re.search(r"password (plaintext|sha1|sha256|hash)", m[2] or ""):
            out.append({"name": _bare(m[1]), "kind": "clear" if found[1] == "plaintext" else "hash"})
    return out


def accounts(root: Block) -> list[dict[str, Any]]:
    """The manager, who is always there, the operator where there is one, and local users."""
    out: dict[str, dict[str, Any]] = {
        "manager": {"name": "manager", "builtin": True, "has_secret": False, "factory_secret": False}
    }
    for m in root.each(_ROLE):
        word = re.search(r"plaintext (.*)$", m[0])
        out[m[1]] = {
            "name": m[1],
            "builtin": True,
            "has_secret": True,
            "factory_secret": word is not None and factory(word[1], _bare(m[2] or m[1])),
        }
    for m in root.each(_LOCAL):
        word = re.search(r"password plaintext (\S+)", m[2] or "")
        out.setdefault(
            _bare(m[1]),
            {
                "name": _bare(m[1]),
                "builtin": False,
                "has_secret": "password" in (m[2] or ""),
                "factory_secret": word is not None and factory(word[1], _bare(m[1])),
            },
        )
    return list(out.values())


def snmp(root: Block) -> dict[str, Any]:
    """SNMP, which answers from the factory on unless it is switched off."""
    hosts = []
    for m in root.each(r"snmp-server host (\S+)(?: (.*))?"):
        version = re.search(r"version (1|2c|3)", m[2] or "")
        hosts.append({"name": m[1], "version": version[1] if version else "2c"})
    return {
        "agent": root.switched("snmp-server enable") is not False,
        "v3_only": root.has("snmpv3 only"),
        "communities": sum(1 for _ in root.each(r"snmp-server community .*")),
        "groups": [],
        "hosts": hosts,
    }


def time(root: Block) -> dict[str, Any]:
    """The servers of the method that is switched on; those of another are leftovers that nobody asks."""
    method = root.last(r"(no )?timesync(?: (\S+))?")
    word = "" if method is None or method[1] else (method[2] or "")
    if word == "ntp":
        servers = [m[1].lower() for m in root.each(r"ntp server (?!oobm)(\S+)(?: .*)?")]
        return {"on": root.switched("ntp enable") is True, "servers": servers}
    if word in ("sntp", "timep-or-sntp"):
        servers = [m[1].lower() for m in root.each(r"sntp server (?:priority \d+ )?(?:oobm )?(\S+)(?: .*)?")]
        return {"on": root.has(r"sntp (?:unicast|broadcast|dhcp)"), "servers": servers}
    if word == "timep":
        servers = [m[1].lower() for m in root.each(r"ip timep manual (\S+)(?: .*)?")]
        return {"on": bool(servers), "servers": servers}
    return {"on": False, "servers": []}


_NO_HOST = "facility|severity|system-module|priority-descr|notify|filter|origin-id|command"


def logging(root: Block) -> dict[str, Any]:
    """Log servers. Lines always carry date and time here."""
    hosts = [m[1].lower() for m in root.each(rf"logging (?!(?:{_NO_HOST})\b)(\S+)(?: .*)?")]
    return {"hosts": hosts, "on": True, "timestamps": "datetime"}


def _named(root: Block, pattern: str) -> list[int]:
    found: set[int] = set()
    for m in root.each(pattern):
        found.update(numbers(m[1]))
    return sorted(found)


def guards(root: Block) -> dict[str, Any]:
    """Protections for the whole switch. MAC authentication and port security have no switch beside their ports."""
    return {
        "dhcp_snooping": root.switched("dhcp-snooping") is True,
        "dhcp_vlans": _named(root, r"dhcp-snooping vlan (\d[\d, -]*)"),
        "arp_inspection": root.switched("arp-protect") is True,
        "arp_vlans": _named(root, r"arp-protect vlan (\d[\d, -]*)"),
        "spanning_tree": root.switched("spanning-tree"),
        "portfast": False,
        "bpdu_guard": False,
        "dot1x": root.switched("aaa port-access authenticator active") is True,
        "mac_auth": True,
        "port_security": True,
        "storm_control": root.has(r"fault-finder broadcast-storm(?: sensitivity \S+)?(?: action \S+)?"),
    }
