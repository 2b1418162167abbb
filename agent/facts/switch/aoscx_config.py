"""The configuration of Aruba AOS-CX as facts. Sources: AOS-CX 10.10 to 10.13 guides. Pure."""

from __future__ import annotations

import re
from typing import Any

from agent.facts.switch.answer import BANNER, clean, redact
from agent.facts.switch.blocks import Block, Text
from agent.facts.switch.ranges import natural, numbers
from agent.facts.switch.secrets import factory
from agent.model import Reason, Unknown


def vlan_blocks(root: Block) -> list[tuple[list[int], Block]]:
    """`vlan 10,20-30` → (numbers, block)."""
    return [(numbers(m[1]), b) for m, b in root.blocks(r"vlan (\d[\d,-]*)")]


def vlans(root: Block) -> list[dict[str, Any]]:
    """VLANs; number 1 is always there."""
    found: dict[int, str | None] = {1: None}
    for ids, b in vlan_blocks(root):
        name = b.last(r"name (.*)")
        for number in ids:
            found[number] = clean(name[1].strip('"'), 40) if name else found.get(number)
    return [{"id": n, "name": found[n]} for n in sorted(found)]


def remote(root: Block) -> dict[str, Any]:
    """VRFs in which management is served, and the lists that guard them."""
    served: dict[str, dict[str, Any]] = {}

    def vrf(name: str) -> dict[str, Any]:
        blank = {"name": name, "telnet": False, "ssh": False, "https": False, "access_list": None}
        return served.setdefault(name, blank)

    for kind, pattern in (
        ("telnet", r"telnet server(?: vrf (\S+))?"),
        ("ssh", r"ssh server(?: vrf (\S+))?"),
        ("https", r"https-server(?: vrf (\S+))?"),
    ):
        for match in root.each(pattern):
            vrf(match[1] or "default")[kind] = True
    for match in root.each(r"apply access-list ip (\S+) control-plane(?: vrf (\S+))?"):
        if (match[2] or "default") in served:
            served[match[2] or "default"]["access_list"] = match[1]
    return {
        "telnet": None,
        "ssh": None,
        "ssh_version": None,
        "http": None,
        "idle_seconds": _idle(root),
        "console_idle_seconds": None,
        "vrfs": [served[n] for n in sorted(served)],
        "managers": [],
        "networks": [],
        "management_vlan": None,
    }


def _idle(root: Block) -> int | None:
    """Minutes after which a session ends, as seconds; `session-timeout` is what releases before 10.07 call it."""
    for _, b in root.blocks(r"cli-session"):
        if match := b.last(r"timeout (\d+)"):
            return 60 * int(match[1])
    match = root.last(r"session-timeout (\d+)")
    return 60 * int(match[1]) if match else None


def banners(taken: Text) -> dict[str, Any]:
    """Only the message of the day comes before the login; `exec` comes after it."""
    return {"login": None, "motd": redact(taken.banners.get("motd", ""), BANNER) or None}


def access_lists(root: Block) -> list[dict[str, Any]]:
    """Lists for IPv4."""
    out = []
    for match, b in root.blocks(r"access-list ip (\S+)"):
        rules = [re.sub(r"^\d+ ", "", c.line) for c in b.children if re.match(r"(\d+ )?(permit|deny) ", c.line)]
        open_ = False
        for rule in rules:
            if re.match(r"permit (any|tcp|ip) any ", f"{rule} "):
                open_ = True
                break
            if re.match(r"deny (any|ip) any any", rule):
                break
        out.append({"name": match[1], "entries": len(rules), "open": open_})
    return out


def aaa(root: Block) -> dict[str, Any]:
    """Login methods and servers. After `group` every word is a group, and `local` is one of them."""
    login = []
    for match in root.each(r"aaa authentication login (\S+) (.*)"):
        words = [w for w in match[2].split() if w != "group"]
        login.append({"name": match[1], "methods": [w if w in ("local", "none") else f"group {w}" for w in words]})
    groups = [
        {"name": kind, "servers": sum(1 for _ in root.each(rf"{kind}-server host \S+(?: .*)?"))}
        for kind in ("tacacs", "radius")
    ]
    known = {m[1] for m in root.each(r"(?:tacacs|radius)-server host (\S+)(?: .*)?")}
    for match, b in root.blocks(r"aaa group server (?:tacacs|radius) (\S+)"):
        groups.append({"name": match[1], "servers": sum(1 for m in b.each(r"server (\S+)(?: .*)?") if m[1] in known)})
    return {"on": True, "login": login, "groups": groups}


def secrets(root: Block) -> list[dict[str, Any]]:
    """How accounts' passwords are kept."""
    out = []
    for match in root.each(r"user (\S+) (?:.* )?password (plaintext|ciphertext) \S.*"):
        out.append({"name": match[1], "kind": "clear" if match[2] == "plaintext" else "hash"})
    return out


def accounts(root: Block) -> list[dict[str, Any]]:
    """Local accounts. `admin` is the platform's own and cannot be taken away."""
    out = []
    for match in root.each(r"user (\S+)(?: (.*))?"):
        word = re.search(r"password plaintext (\S+)", match[2] or "")
        out.append(
            {
                "name": match[1],
                "builtin": match[1] == "admin",
                "has_secret": "password" in (match[2] or ""),
                "factory_secret": word is not None and factory(word[1], match[1]),
            }
        )
    return out


def snmp(root: Block) -> dict[str, Any]:
    """SNMP; without `snmpv3-only` the community `public` is there by default."""
    hosts = [
        {"name": m[1], "version": (m[2] or "v2c").removeprefix("v")}
        for m in root.each(r"snmp-server host (\S+)(?: (?:trap|inform))?(?: version (v1|v2c|v3))?(?: .*)?")
    ]
    return {
        "agent": root.has(r"snmp-server (?:vrf|community|host) .*|snmpv3 user .*"),
        "v3_only": root.has(r"(?:snmp-server )?snmpv3-only"),
        "communities": sum(1 for _ in root.each(r"snmp-server community .*")),
        "groups": [],
        "hosts": hosts,
    }


def snmp_users(root: Block) -> list[dict[str, Any]]:
    """Users of version 3."""
    out = []
    for match in root.each(r"snmpv3 user (\S+)(?: (.*))?"):
        rest = match[2] or ""
        auth, privacy = re.search(r"\bauth (\S+)", rest), re.search(r"\bpriv (\S+)", rest)
        out.append(
            {
                "name": match[1].strip('"'),
                "auth": clean(auth[1].lower(), 20) if auth else None,
                "privacy": clean(privacy[1].lower(), 20) if privacy else None,
            }
        )
    return out


def time(root: Block) -> dict[str, Any]:
    """NTP servers; the client itself has a switch."""
    servers = [m[1].lower() for m in root.each(r"ntp server (\S+)(?: .*)?")]
    return {"on": root.switched("ntp enable") is True and not root.has("ntp disable"), "servers": servers}


_NO_HOST = "console|facility|filter|persistent-storage|threshold|source-interface|buffered|severity"


def logging(root: Block) -> dict[str, Any]:
    """Log servers. Lines always carry date and time here."""
    hosts = [m[1].lower() for m in root.each(rf"logging (?!(?:{_NO_HOST})\b)(\S+)(?: .*)?")]
    return {"hosts": hosts, "on": True, "timestamps": "datetime"}


def _enabled(b: Block, head: str) -> bool:
    """Whether a feature with a context of its own is on: `enable` in it or on the line, or nothing but the line."""
    return any(m[1] or not inner.children or inner.has("enable") for m, inner in b.blocks(rf"{head}( enable)?"))


_DOT1X = "aaa authentication port-access dot1x authenticator"
_MAC = "aaa authentication port-access mac-auth"
_SECURITY = "port-access port-security"


def guards(root: Block) -> dict[str, Any]:
    """Protections for the whole switch. ARP inspection has no switch beside its VLANs."""
    named: dict[str, set[int]] = {"dhcp": set(), "arp": set()}
    for ids, b in vlan_blocks(root):
        if b.switched("dhcpv4-snooping"):
            named["dhcp"].update(ids)
        if b.switched("arp inspection"):
            named["arp"].update(ids)
    return {
        "dhcp_snooping": root.switched("dhcpv4-snooping") is True,
        "dhcp_vlans": sorted(named["dhcp"]),
        "arp_inspection": True,
        "arp_vlans": sorted(named["arp"]),
        "spanning_tree": root.switched("spanning-tree"),
        "portfast": False,
        "bpdu_guard": False,
        "dot1x": _enabled(root, _DOT1X),
        "mac_auth": _enabled(root, _MAC),
        "port_security": _enabled(root, _SECURITY),
        "storm_control": False,
    }


def ports(root: Block) -> list[dict[str, Any]]:
    """Ports and link aggregations."""
    voice = {n for ids, b in vlan_blocks(root) if b.has("voice") for n in ids}
    found: dict[str, dict[str, Any]] = {}
    for match, b in root.blocks(r"interface (\d+/\d+/\d+(?::\d+)?|lag \d+)(?: multi-chassis(?: static)?)?"):
        name = match[1]
        mode, vlan = _mode(b, voice)
        bundle = b.last(r"lag (\d+)")
        description = b.last(r"description (.*)")
        shut = b.switched("shutdown")
        found[name] = {
            "name": name,
            "enabled": None if shut is None else not shut,
            "mode": mode,
            "vlan": vlan,
            "bundle": f"lag {bundle[1]}" if bundle else None,
            "is_bundle": name.startswith("lag "),
            "description": redact(description[1]) if description else None,
            "portfast": None,
            "bpdu_guard": b.has(r"spanning-tree bpdu-guard(?: timeout \d+)?"),
            "port_security": _enabled(b, _SECURITY),
            "dot1x": _enabled(b, _DOT1X),
            "mac_auth": _enabled(b, _MAC),
            "storm_control": _storm(b),
            "dhcp_trust": b.has(r"dhcpv4-snooping trust"),
            "arp_trust": b.has(r"arp inspection trust"),
        }
    return sorted(found.values(), key=lambda p: natural(str(p["name"])))


def _mode(b: Block, voice: set[int]) -> tuple[Any, Any]:
    """(mode, untagged VLAN); (None, None) where nothing is said, which the release's default decides.

    A phone's VLAN rides beside the port's own as a tagged one: with nothing else tagged, the port is no trunk.
    """
    if b.switched("routing") or b.has(r"ip address .*|ipv6 address .*|vrf attach .*"):
        return "routed", None
    access = b.last(r"vlan access (\d+)")
    native, allowed = b.last(r"vlan trunk native (\d+)( tag)?"), b.last(r"vlan trunk allowed (.*)")
    if access and not (native or allowed):
        return "access", int(access[1])
    if native or allowed:
        untagged = int(native[1]) if native else 1
        if allowed and allowed[1] != "all" and not (native and native[2]):
            try:
                tagged = set(numbers(allowed[1])) - {untagged}
            except ValueError:
                return Unknown(Reason.UNREADABLE, "VLANs of a trunk"), untagged
            if tagged <= voice:
                return "access", untagged
        return "trunk", untagged
    return ("access", 1) if b.switched("routing") is False else (None, None)


def _storm(b: Block) -> bool:
    """Whether broadcasts are limited at all."""
    match = b.last(r"rate-limit broadcast (\d+)(?: (kbps|pps|percent))?")
    return match is not None and not (match[2] == "percent" and int(match[1]) >= 100)


_PERSONAL = re.compile(r"wpa2?-psk|mpsk")


def wireless(root: Block) -> list[dict[str, Any]]:
    """Networks of Instant access points."""
    out = []
    for match, b in root.blocks(r"wlan ssid-profile (.+)"):
        essid, opmode = b.last(r"essid (.+)"), b.last(r"opmode (\S+)")
        word = opmode[1] if opmode else "opensystem"
        if _PERSONAL.search(word):
            security = "wpa2-personal"
        elif "sae" in word:
            security = "wpa3-personal"
        elif word.startswith(("wpa2", "wpa3", "wpa-")):
            security = "enterprise"
        else:
            security = "open"
        out.append(
            {
                "name": clean((essid[1] if essid else match[1]).strip('"')),
                "enabled": not b.has("disable"),
                "security": security,
                "isolated": b.has(r"deny-inter-user-bridging|deny-local-routing"),
            }
        )
    return out
