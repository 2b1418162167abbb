"""What Aruba AOS-CX says beside its configuration. Pure."""

from __future__ import annotations

import re
from typing import Any

from agent.facts.switch.answer import clean
from agent.facts.switch.kinds import from_words
from agent.model import Reason, Unknown

_RELEASE = re.compile(r"\b([A-Z]{2})\.(\d+\.\d+(?:\.\d+)?[A-Za-z0-9]*)")


def device(version: str, system: str | None) -> dict[str, Any]:
    """`show version` and `show system` → make, release, serial number."""
    match = _RELEASE.search(version)
    nothing = Unknown(Reason.UNREADABLE, "show version names no release")
    release = match[2] if match else nothing
    serial = re.search(r"(?m)^\s*(?:Chassis )?Serial N(?:br|umber)\s*:\s*(\S+)", system or "")
    model = re.search(r"(?m)^\s*Product Name\s*:\s*(\S+)", system or "")
    member = {
        "name": "switch 1",
        "model": clean(model[1], 40) if model else None,
        "serial": clean(serial[1], 40) if serial else None,
        "release": release,
    }
    return {
        "platform": "aoscx",
        "kind": "access point" if instant(version) else "switch",
        "family": match[1] if match else nothing,
        "release": release,
        "members": [member],
    }


def instant(version: str) -> bool:
    """Whether it is an Instant access point, whose configuration has other words: only its networks are read."""
    return re.search(r"ArubaOS \(MODEL", version) is not None


def port_status(text: str) -> list[dict[str, Any]]:
    """`show interface brief`: port, VLAN, mode, type, enabled, status."""
    out = []
    for line in text.split("\n"):
        match = re.match(
            r"\s*(\d+/\d+/\d+|lag ?\d+)\s+(\S+)\s+(access|trunk|routed|--)\s.*?\b(yes|no)\s+(up|down)\b", line
        )
        if match:
            name = re.sub(r"^lag ?", "lag ", match[1])
            state = "shut" if match[4] == "no" else match[5]
            out.append({"name": name, "state": state, "trunk": match[3] == "trunk"})
    return out


def lldp(text: str) -> list[dict[str, Any]]:
    """`show lldp neighbor-info detail`: one part per port."""
    out = []
    for part in re.split(r"(?m)^(?=Port\s+:)", text):
        port = re.match(r"Port\s+:\s*(\S+)", part)
        name = _value(part, "Neighbor (?:Chassis|System)-Name")
        capable = _value(part, "Chassis Capabilities Enabled") or _value(part, "Chassis Capabilities Available")
        entries = _value(part, "Neighbor Entries")
        if port is None or entries == "0" or (name is None and capable is None):
            continue
        description = _value(part, "Neighbor (?:Chassis|System)-Description") or ""
        out.append(
            {"port": port[1], "name": clean(name, 60) if name else None, "kind": from_words(capable or "", description)}
        )
    return out


def _value(text: str, name: str) -> str | None:
    match = re.search(rf"(?m)^\s*{name}\s*:[ \t]*(.*)$", text)
    return match[1].strip() or None if match else None
