"""Ports of Cisco IOS and IOS-XE. Sources: Catalyst 2960-X (15.2(7)E) and 9300 (17.9) command references."""

from __future__ import annotations

import re
from typing import Any

from agent.facts.switch.answer import redact
from agent.facts.switch.blocks import Block
from agent.facts.switch.ranges import natural
from agent.model import Reason, Unknown

KINDS = {
    "Ethernet": "Et",
    "FastEthernet": "Fa",
    "GigabitEthernet": "Gi",
    "TwoGigabitEthernet": "Tw",
    "FiveGigabitEthernet": "Fi",
    "TenGigabitEthernet": "Te",
    "TwentyFiveGigE": "Twe",
    "TwentyFiveGigabitEthernet": "Twe",
    "FortyGigabitEthernet": "Fo",
    "HundredGigE": "Hu",
    "HundredGigabitEthernet": "Hu",
    "Port-channel": "Po",
}
"""Interfaces that are ports, and how status tables call them."""
_NAME = re.compile(rf"interface ({'|'.join(KINDS)})(\d[\d/.]*)")


def long_name(short: str) -> str | None:
    """`Gi1/0/1` → `GigabitEthernet1/0/1`; None for what is no port."""
    match = re.fullmatch(r"([A-Za-z-]+)\s*(\d[\d/.]*)", short.strip())
    if match is None:
        return None
    word, number = match[1].lower(), match[2]
    for name, brief in KINDS.items():
        if word in (name.lower(), brief.lower()):
            return f"{name}{number}"
    found = [n for n in KINDS if n.lower().startswith(word)]
    return f"{found[0]}{number}" if len(found) == 1 else None


def ports(root: Block) -> list[dict[str, Any]]:
    """Every physical port and port-channel. What `interface range` left behind is no port."""
    templates = {m[1]: b for m, b in root.blocks(r"template (\S+)")}
    found: dict[str, dict[str, Any]] = {}
    for block in root.children:
        match = _NAME.fullmatch(block.line)
        if match is None or "." in match[2]:
            continue
        lines: list[Block] = []
        for source in block.each(r"source template (\S+)(?: .*)?"):
            lines += templates[source[1]].children if source[1] in templates else []
        whole = Block(block.line, [*lines, *block.children])
        found[match[1] + match[2]] = _port(match[1] + match[2], whole)
    return sorted(found.values(), key=lambda p: natural(str(p["name"])))


def _port(name: str, b: Block) -> dict[str, Any]:
    mode, vlan = _mode(b)
    bundle = b.last(r"channel-group (\d+)(?: .*)?")
    description = b.last(r"description (.*)")
    portfast, guard = None, None
    for line in b.children:
        if re.fullmatch(r"spanning-tree portfast(?: edge)?(?: trunk)?", line.line):
            portfast = True
        elif re.fullmatch(r"spanning-tree portfast (?:disable|network)|no spanning-tree portfast", line.line):
            portfast = False
        elif m := re.fullmatch(r"spanning-tree bpduguard (enable|disable)", line.line):
            guard = m[1] == "enable"
        elif line.line == "no spanning-tree bpduguard":
            guard = None
    control = b.has(r"(?:authentication|access-session) port-control auto")
    return {
        "name": name,
        "enabled": not b.switched("shutdown"),
        "mode": mode,
        "vlan": vlan,
        "bundle": f"Port-channel{bundle[1]}" if bundle else None,
        "is_bundle": name.startswith("Port-channel"),
        "description": redact(description[1]) if description else None,
        "portfast": portfast,
        "bpdu_guard": guard,
        "port_security": b.switched("switchport port-security") is True,
        "dot1x": (control and b.has(r"dot1x pae (?:authenticator|both)")) or b.has(r"dot1x port-control auto"),
        "mac_auth": control and b.has(r"mab(?: eap)?"),
        "storm_control": _storm(b),
        "dhcp_trust": b.has(r"ip dhcp snooping trust"),
        "arp_trust": b.has(r"ip arp inspection trust"),
    }


def _mode(b: Block) -> tuple[Any, Any]:
    """(mode, untagged VLAN). A port without a word about it takes part in VLAN 1, and in no trunk unless asked."""
    switchport = b.has(r"switchport(?: .*)?")
    if b.switched("switchport") is False or (
        not switchport and b.has(r"no ip address|ip address .*|ipv6 address .*|(?:ip )?vrf forwarding .*")
    ):
        return "routed", None
    mode = b.last(r"switchport mode (.*)")
    word = mode[1] if mode else ""
    if word == "trunk":
        return "trunk", _vlan(b, "trunk native")
    if word.startswith("dynamic"):
        return "dynamic", _vlan(b, "access")
    if word in ("", "access"):
        return "access", _vlan(b, "access")
    return "other", None


def _vlan(b: Block, kind: str) -> Any:
    match = b.last(rf"switchport {kind} vlan (\S+)")
    if match is None:
        return 1
    if not match[1].isdecimal():
        return Unknown(Reason.UNREADABLE, "a VLAN that is not a number")
    return int(match[1])


def _storm(b: Block) -> bool:
    """Whether broadcasts are limited: a level of 100 % lets everything through."""
    match = b.last(r"storm-control broadcast (?:include multicast )?level (pps|bps)?\s*([\d.]+)[kmg]?(?: .*)?")
    if match is None:
        return False
    try:
        return match[1] is not None or float(match[2]) < 100
    except ValueError:
        return False
