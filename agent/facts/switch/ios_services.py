"""SNMP, time, logging, guards and wireless networks of Cisco IOS and IOS-XE. Pure."""

from __future__ import annotations

import re
from typing import Any

from agent.facts.switch.answer import clean
from agent.facts.switch.blocks import Block
from agent.facts.switch.ranges import numbers

VRF = r"(?:vrf \S+ )?"


def snmp(root: Block) -> dict[str, Any]:
    """Communities are counted and not kept: their names are passwords."""
    groups = [
        {"name": m[1], "version": m[2].removeprefix("v"), "level": m[3]}
        for m in root.each(r"snmp-server group (\S+) (v1|v2c|v3)(?: (noauth|auth|priv))?(?: .*)?")
    ]
    hosts = []
    for m in root.each(rf"snmp-server host (\S+) {VRF}(?:traps |informs )?(?:version (1|2c|3) )?.*"):
        hosts.append({"name": m[1], "version": m[2] or "1"})
    communities = sum(1 for _ in root.each(r"snmp-server community .*"))
    users = root.has(r"snmp-server user .*")
    return {
        "agent": bool(communities or groups or hosts or users),
        "v3_only": False,
        "communities": communities,
        "groups": groups,
        "hosts": hosts,
    }


def snmp_users(text: str) -> list[dict[str, Any]]:
    """`show snmp user`: users of version 3 with their protocols."""
    out: list[dict[str, Any]] = []
    for line in text.split("\n"):
        name, colon, value = line.strip().partition(":")
        if not colon:
            continue
        word = value.strip()
        if name.lower() == "user name":
            out.append({"name": clean(word), "auth": None, "privacy": None})
        elif out and name.lower() == "authentication protocol":
            out[-1]["auth"] = _protocol(word)
        elif out and name.lower() == "privacy protocol":
            out[-1]["privacy"] = _protocol(word)
    return out


def _protocol(word: str) -> str | None:
    return None if word.lower() in ("none", "", "nopriv", "noauth") else clean(word.lower(), 20)


def time(root: Block) -> dict[str, Any]:
    """Servers and peers of NTP and SNTP; both set the clock."""
    servers = [
        m[1].lower() for m in root.each(rf"(?:ntp (?:server|peer)|sntp server) {VRF}(?:(?:ip|ipv6) )?(\S+)(?: .*)?")
    ]
    return {"on": bool(servers), "servers": list(dict.fromkeys(servers))}


def logging(root: Block) -> dict[str, Any]:
    """Log servers. `no logging trap` and `no logging on` silence the lines that name them."""
    hosts = [m[1].lower() for m in root.each(r"logging host (?:ipv6 )?(\S+)(?: .*)?")]
    # The old way to write it is the address alone.
    hosts += [m[1].lower() for m in root.each(r"logging (\d+\.\d+\.\d+\.\d+)(?: .*)?")]
    return {
        "hosts": list(dict.fromkeys(hosts)),
        "on": root.switched("logging on") is not False and _trap(root),
        "timestamps": _stamps(root),
    }


def _trap(root: Block) -> bool:
    match = root.last(r"(no )?logging trap(?: .*)?")
    return match is None or match[1] is None


def _stamps(root: Block) -> str | None:
    match = root.last(r"(no )?service timestamps log(?: (\S+))?(?: .*)?")
    if match is None:
        return None
    # Without a word it is the time since the start.
    return "none" if match[1] else "datetime" if match[2] == "datetime" else "uptime"


def vlan_list(root: Block, pattern: str) -> list[int]:
    """VLAN numbers of all lines that match, whose first group is a list of them."""
    found: set[int] = set()
    for match in root.each(pattern):
        found.update(numbers(match[1]))
    return sorted(found)


_LIST = r"([\d, -]+)"


def guards(root: Block) -> dict[str, Any]:
    """Protections for the whole switch. On IOS ARP inspection and MAC authentication have no switch of their own."""
    return {
        "dhcp_snooping": root.switched("ip dhcp snooping") is True,
        "dhcp_vlans": vlan_list(root, rf"ip dhcp snooping vlan {_LIST}"),
        "arp_inspection": True,
        "arp_vlans": vlan_list(root, rf"ip arp inspection vlan {_LIST}"),
        "spanning_tree": False if root.has(r"no spanning-tree vlan .*") else None,
        "portfast": root.has(r"spanning-tree portfast (?:edge )?default"),
        "bpdu_guard": root.has(r"spanning-tree portfast (?:edge )?bpduguard default"),
        "dot1x": root.switched("dot1x system-auth-control") is True,
        "mac_auth": True,
        "port_security": True,
        "storm_control": False,
    }


def wireless(root: Block) -> list[dict[str, Any]]:
    """Networks of a controller (`wlan`) or of one access point (`dot11 ssid`)."""
    out = []
    for match, b in root.blocks(r"wlan (?!shutdown)(\S+) \d+(?: (\S+))?"):
        open_ = b.has(r"no security wpa") or b.has(r"security wpa akm owe")
        sae = b.has(r"security wpa akm (?:ft )?sae(?: .*)?")
        # WPA3 keeps its password in the same line.
        key = b.has(r"security wpa psk set-key .*") and not sae
        personal = b.has(r"security wpa akm (?:ft )?psk(?: .*)?") or key
        out.append(
            {
                "name": clean(match[2] or match[1]),
                "enabled": b.switched("shutdown") is False,
                "security": _security(open_, personal, sae, not b.has(r"no security wpa akm dot1x")),
                "isolated": b.has(r"peer-blocking (?:drop|forward-upstream)"),
            }
        )
    radios = [c for c in root.children if re.match(r"interface Dot11Radio", c.line)]
    for match, b in root.blocks(r"dot11 ssid (.+)"):
        keys = b.last(r"authentication key-management (.*)")
        personal = b.has(r"wpa-psk .*")
        out.append(
            {
                "name": clean(match[1].strip('"')),
                "enabled": any(r.has(rf"ssid {re.escape(match[1])}") and not r.switched("shutdown") for r in radios),
                "security": _security(keys is None, personal, False, True),
                "isolated": any(
                    r.has(r"bridge-group \d+ port-protected") for r in radios if r.has(rf"ssid {re.escape(match[1])}")
                ),
            }
        )
    return out


def _security(open_: bool, personal: bool, sae: bool, enterprise: bool) -> str:
    if open_:
        return "open"
    if personal:
        return "wpa2-personal"
    if sae:
        return "wpa3-personal"
    return "enterprise" if enterprise else "open"
