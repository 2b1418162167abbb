"""What Cisco IOS and IOS-XE say beside their configuration: version, VLANs, port status, neighbours. Pure."""

from __future__ import annotations

import re
from typing import Any

from agent.facts.switch.answer import clean
from agent.facts.switch.ios_ports import long_name
from agent.facts.switch.kinds import from_letters
from agent.model import Reason, Unknown

_IMAGE = re.compile(r"\(([A-Z0-9_]+)[A-Za-z0-9_-]*\), (?:Experimental )?Version ([0-9][^\s,]*)")
_XE = re.compile(r"Cisco IOS[ -]XE Software, Version ([0-9][^\s,]*)")
_UNIT = re.compile(r"\*?\s*(\d+)\s+\d+\s+(\S+)\s+(\d\S*)\s+\S+.*")


def device(version: str, config_release: str | None) -> dict[str, Any]:
    """`show version` → make, release and units. `config_release` is the short one in the configuration."""
    image = _IMAGE.search(version)
    nothing = Unknown(Reason.UNREADABLE, "show version names no release")
    family = re.sub(r"_?IOSXE$", "", image[1]) if image else nothing
    release = image[2] if image else (m[1] if (m := _XE.search(version)) else config_release or nothing)
    # AP3G2-K9W7: images of autonomous access points
    kind = "access point" if image and re.match(r"AP\d", image[1]) else "switch"
    members = _members(version, release)
    return {"platform": "ios", "kind": kind, "family": family, "release": release, "members": members}


def _members(text: str, release: Any) -> list[dict[str, Any]]:
    """Units of the stack with their own releases; serial numbers follow unit by unit, the master's first."""
    serials: dict[str, str] = {}
    models: dict[str, str] = {}
    unit = ""
    for line in text.split("\n"):
        if m := re.match(r"Switch 0*(\d+)\s*$", line.strip()):
            unit = m[1]
        elif m := re.match(r"\s*(?:Top Assembly )?System serial number\s*:\s*(\S+)", line, re.IGNORECASE):
            serials.setdefault(unit, clean(m[1], 40))
        elif m := re.match(r"\s*Model number\s*:\s*(\S+)", line, re.IGNORECASE):
            models.setdefault(unit, clean(m[1], 40))
        elif (m := re.match(r"Processor board ID (\S+)", line)) and "" not in serials:
            serials[""] = clean(m[1], 40)
        elif (m := re.match(r"cisco (\S+) \(", line, re.IGNORECASE)) and "" not in models:
            models[""] = clean(m[1], 40)
    table = [m for line in text.split("\n") if (m := _UNIT.fullmatch(line.strip()))]
    if not table:
        return [{"name": "switch 1", "model": models.get(""), "serial": serials.get(""), "release": release}]
    master = next((m[1] for m in table if m[0].startswith("*")), table[0][1])
    return [
        {
            "name": f"switch {m[1]}",
            "model": clean(m[2], 40),
            "serial": serials.get("" if m[1] == master else m[1]),
            "release": m[3],
        }
        for m in table
    ]


def vlans(text: str) -> dict[int, str]:
    """`show vlan brief` → names by number."""
    found: dict[int, str] = {}
    for line in text.split("\n"):
        if m := re.match(r"(\d{1,4})\s+(\S.*?)\s+(active|act/lshut|sus/lshut|suspended|act/unsup)\b", line):
            found[int(m[1])] = clean(m[2], 40)
    return found


_STATES = {
    "connected": "up",
    "notconnect": "down",
    "disabled": "shut",
    "err-disabled": "blocked",
    "errdisabled": "blocked",
}


def port_status(text: str) -> list[dict[str, Any]]:
    """`show interfaces status`: columns are told by the heading, as a description may hold any word."""
    out: list[dict[str, Any]] = []
    start = -1
    for line in text.split("\n"):
        if re.match(r"Port\s+Name\s+Status\s+Vlan", line):
            start = line.index("Status")
        elif start > 0 and (m := re.match(r"(\S+)", line)) and (name := long_name(m[1])):
            words = line[start:].split()
            if words:
                state = _STATES.get(words[0].lower(), "down")
                out.append({"name": name, "state": state, "trunk": words[1:2] == ["trunk"]})
    return out


def lldp(text: str) -> list[dict[str, Any]]:
    """`show lldp neighbors detail`. Raises ValueError where a neighbour's port is not told, as by some old releases:
    a port with a switch behind it would pass for an edge port."""
    out = []
    for part in re.split(r"(?m)^-{20,}\s*$", text):
        port = _value(part, r"Local Intf")
        if port is None and _value(part, r"Chassis id") is not None:
            raise ValueError("a neighbour without a port")
        name = long_name(port) if port else None
        if name is None:
            continue
        letters = _value(part, "Enabled Capabilities") or _value(part, "System Capabilities") or ""
        out.append(
            {
                "port": name,
                "name": _none(_value(part, "System Name")),
                "kind": from_letters(letters, _value(part, "System Description(?: - |:)?") or part),
            }
        )
    return out


def cdp(text: str) -> list[dict[str, Any]]:
    """`show cdp neighbors detail`."""
    out = []
    for part in re.split(r"(?m)^-{20,}\s*$", text):
        port = re.search(r"(?m)^Interface: ([^,\s]+)", part)
        name = long_name(port[1]) if port else None
        if name is None:
            continue
        platform = re.search(r"Platform: ([^,]*)", part)
        words = re.search(r"Capabilities: ([^\n]*)", part)
        have = words[1].lower() if words else ""
        maker = platform[1].lower() if platform else ""
        if "phone" in have:
            kind = "phone"
        elif "air-" in maker or re.search(r"\bc91\d\d|\bap\d", maker) or "trans-bridge" in have:
            kind = "access point"
        elif "switch" in have or "router" in have or "bridge" in have:
            kind = "switch"
        else:
            kind = "host"
        out.append({"port": name, "name": _none(_value(part, "Device ID")), "kind": kind})
    return out


def _value(text: str, name: str) -> str | None:
    match = re.search(rf"(?m)^\s*{name}\s*:[ \t]*(.*)$", text)
    return match[1].strip() if match else None


def _none(word: str | None) -> str | None:
    """A name as kept; `- not advertised` is none."""
    return None if not word or "not advertised" in word.lower() else clean(word, 60)
