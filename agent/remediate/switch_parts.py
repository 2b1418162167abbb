"""Fixes of switches as lines of their own language: types, what may stand in a line, and a whole device's script. Pure.

Nothing observed becomes a command: of what a switch says only names of ports, lines, VRFs and addresses are used, and
only where they match the strict pattern of the platform; everything else is a constant or a value of the baseline.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.derive import View
from agent.model import Unknown

PORTS: Mapping[str, re.Pattern[str]] = {
    "ios": re.compile(
        r"(?:Ethernet|FastEthernet|GigabitEthernet|TwoGigabitEthernet|FiveGigabitEthernet|TenGigabitEthernet"
        r"|TwentyFiveGigE|TwentyFiveGigabitEthernet|FortyGigabitEthernet|HundredGigE|HundredGigabitEthernet"
        r"|Port-channel)\d{1,4}(?:/\d{1,3}){0,3}"
    ),
    "aoscx": re.compile(r"\d{1,2}/\d{1,2}/\d{1,3}(?::\d)?|lag \d{1,3}"),
    "procurve": re.compile(r"(?:\d{1,2}/)?[A-Z]?\d{1,3}|Trk\d{1,3}"),
}
"""Names of ports and bundles that may stand in a command, by platform."""
LINE = re.compile(r"line (?:vty|con|aux) \d{1,3}(?: \d{1,3})?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
"""Names of VLANs, VRFs and access lists, and addresses of servers."""
ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,252}")
BANNER = "Authorised users only. What is done here is recorded."
MINUTES = 15
"""After which a device goes back by itself, unless somebody says that all is well."""


@dataclass(frozen=True, slots=True)
class Change:
    """Commands in one section (empty: at the top), and those that take them back in the same section."""

    section: str
    lines: tuple[str, ...]
    undo: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What mends one control on one device: changes in their order, and sentences about what is left to people."""

    changes: tuple[Change, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Need:
    """One failing control on one device: what the device says, and the keys of the offenders that count."""

    control: str
    view: View
    keys: frozenset[str]
    platform: str
    strange: list[str] = field(default_factory=list)
    """Names that may not stand in a command; they are counted and not repeated."""

    @property
    def given(self) -> Mapping[str, Any]:
        """The baseline's parameters."""
        return self.view.parameters

    def items(self, fact: str) -> list[Mapping[str, Any]]:
        """A list fact's known items."""
        return [i for i in self.view.items(fact)[0] if not isinstance(i, Unknown)]

    def record(self, fact: str) -> Mapping[str, Any]:
        """A record fact; empty where it is not known."""
        value = self.view.get(fact)
        return value if isinstance(value, Mapping) else {}

    def chosen(self, fact: str, pattern: re.Pattern[str]) -> list[Mapping[str, Any]]:
        """The offenders' items of a list fact, without those whose name may not stand in a command."""
        out = []
        for item in self.items(fact):
            name = str(item["name"])
            if name in self.keys and pattern.fullmatch(name):
                out.append(item)
            elif name in self.keys:
                self.strange.append(name)
        return out

    def ports(self) -> list[str]:
        """Offending ports in the device's order."""
        return [str(p["name"]) for p in self.chosen("port_use", PORTS[self.platform])]

    def port(self, name: str) -> Mapping[str, Any]:
        """A port as configured."""
        return next((p for p in self.items("ports") if p.get("name") == name), {})


def word(value: Any, pattern: re.Pattern[str] = NAME) -> str | None:
    """A text that may stand in a command as it is, else None."""
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def words(values: Any, pattern: re.Pattern[str] = ADDRESS) -> list[str]:
    """Those of a list that may stand in a command."""
    return [str(v) for v in values or () if pattern.fullmatch(str(v))]


def number(value: Any) -> int | None:
    """A known whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def banner_fits(need: Need) -> str:
    """Why the text of a banner is left to people, or nothing."""
    said = need.record("banners")
    kept = [said.get(k) for k in ("login", "motd")]
    if not said or any(k is not None for k in kept):
        return "There is another text already: a person decides what it should say."
    if not re.search(str(need.given.get("login_banner", r"\S")), BANNER):
        return "The site asks for words of its own (login_banner): write the text that it wants."
    return ""


UPLINKS = "No uplink can be told from its configuration or neighbour: trust the port towards the DHCP server by hand."


def trusted(need: Need, what: str) -> tuple[list[str], bool]:
    """Uplinks to trust before a guard goes on, and whether there is a trusted port at all afterwards.

    Where somebody has named trusted ports already, these stay the only ones.
    """
    if any(p.get(what) is True for p in need.items("ports")):
        return [], True
    found = [str(p["name"]) for p in need.items("port_use") if p.get("role") == "uplink" and p.get("enabled") is True]
    names = [n for n in found if PORTS[need.platform].fullmatch(n)]
    return names, bool(names) and len(names) == len(found)


def user_vlans(need: Need) -> list[int]:
    """Offending VLANs, ascending."""
    return sorted(v["id"] for v in need.items("site_vlans") if str(v["id"]) in need.keys and number(v["id"]))


def new_vlans(need: Need, quote: str = "") -> Part:
    """VLANs that are missing, each with the site's name for it."""
    out = []
    for vlan in need.items("site_vlans"):
        if str(vlan["id"]) in need.keys and number(vlan["id"]):
            name = word(str(vlan["name"]))
            lines = (f"name {quote}{name}{quote}",) if name else ()
            out.append(Change(f"vlan {vlan['id']}", lines, ()))
            out.append(Change("", (), (f"no vlan {vlan['id']}",)))
    return Part(tuple(out))


# -------------------------------------------------------------------------------------------------- a device's script

ORDER = (
    "vlans spanning-tree log-timestamps time-servers log-server login-banner http ssh-version idle-timeout snmp-version"
    " bpdu-guard storm-control port-access dhcp-snooping arp-inspection telnet management-access"
).split()
"""New VLANs first, ways in last: an access list stands before anything asks it, SSH before telnet goes."""
_INDENT = {"ios": " ", "aoscx": "    ", "procurve": "   "}
_MARK = {"ios": "!", "aoscx": "!", "procurve": ";"}
_GUARD = {
    "ios": ((f"reload in {MINUTES}",), ("reload cancel", "write memory")),
    "aoscx": ((f"checkpoint auto {MINUTES}",), ("checkpoint auto confirm", "write memory")),
    "procurve": ((f"reload after {MINUTES}",), ("no reload", "write memory")),
}
"""How a device goes back by itself, and how it is told that all is well."""


def commands(changes: Sequence[Change], platform: str, *, undo: bool = False) -> list[str]:
    """Changes as they are typed in configuration mode; `undo` the other way round."""
    out: list[str] = []
    for change in reversed(changes) if undo else changes:
        lines = change.undo if undo else change.lines
        if not lines and (undo or not change.section):
            continue
        if not change.section:
            out += lines
            continue
        out += [change.section, *(f"{_INDENT[platform]}{line}" for line in lines), f"{_INDENT[platform]}exit"]
    return out


def blocks(changes: Sequence[Change], *, undo: bool = False) -> list[dict[str, list[str]]]:
    """Changes as `cisco.ios.ios_config` takes them: sections and lines."""
    out = []
    for change in reversed(changes) if undo else changes:
        lines = change.undo if undo else change.lines
        if lines:
            out.append({"parents": [change.section] if change.section else [], "lines": list(lines)})
        elif change.section and not undo:
            out.append({"parents": [], "lines": [change.section]})
    return out


def in_turn(parts: Mapping[str, Part]) -> list[tuple[str, Part]]:
    """Controls (without `switch.`) with their parts, in the order in which a device takes them."""
    return sorted(parts.items(), key=lambda p: (ORDER.index(p[0]) if p[0] in ORDER else len(ORDER), p[0]))


def script(platform: str, parts: Mapping[str, Part], *, saved: bool, undo: bool = False) -> str:
    """One device's whole snippet, to be pasted line by line.

    `saved`: what runs is what the device starts with. Where it is not, the timed way back would lose what somebody has
    not saved, and saving would keep it unseen: both are left out. AOS-CX takes a checkpoint and can go back either way.
    """
    mark = _MARK[platform]
    before, after = _GUARD[platform] if saved or platform == "aoscx" else ((), ())
    out = [f"{mark} {'Takes back what the other file does.' if undo else 'Each part names its rule.'}"]
    if before:
        out += [f"{mark} Unless it is told otherwise at the end, the switch goes back by itself in {MINUTES} minutes."]
        out += before
    else:
        out += [f"{mark} There are changes that nobody has saved: look at them first. No timed way back, no saving."]
    out.append("configure terminal")
    turns = in_turn(parts)
    for control, part in reversed(turns) if undo else turns:
        lines = commands(part.changes, platform, undo=undo)
        if lines:
            out += [f"{mark} switch.{control}", *lines]
    out.append("end")
    if after:
        out += [f"{mark} Log in a second time now. Only if that works:", *after]
    return "\n".join(out) + "\n"
