"""What Aruba ProVision (AOS-S) says beside its configuration. Pure."""

from __future__ import annotations

import re
from typing import Any

from agent.facts.switch.answer import clean
from agent.facts.switch.kinds import from_words
from agent.facts.switch.procurve_ports import names
from agent.model import Reason, Unknown

_RELEASE = re.compile(r"\b([A-Z]{1,2})\.(\d\d\.\d\d(?:\.\d{4})?[A-Za-z]?)\b")


def device(version: str, system: str | None, header: str) -> dict[str, Any]:
    """`show version`, `show system` and the first line of the configuration → make, release, serial number."""
    match = _RELEASE.search(version)
    nothing = Unknown(Reason.UNREADABLE, "show version names no release")
    release = match[2] if match else nothing
    serial = re.search(r"Serial Number\s*:\s*(\S+)", system or "")
    model = re.search(r";\s*(?:hpStack_\w+ )?(J[A-Z0-9]+) Configuration Editor", header)
    member = {
        "name": "switch 1",
        "model": clean(model[1], 40) if model else None,
        "serial": clean(serial[1], 40) if serial else None,
        "release": release,
    }
    return {
        "platform": "procurve",
        "kind": "switch",
        "family": match[1] if match else nothing,
        "release": release,
        "members": [member],
    }


def saved(text: str) -> bool | None:
    """`show config status`; None where it says neither."""
    if re.search(r"(?i)running configuration (is|matches) the same|is the same as the startup", text):
        return True
    if re.search(r"(?i)(has been changed|needs to be saved|differs? from)", text):
        return False
    return None


def snmp_users(text: str) -> list[dict[str, Any]]:
    """`show snmpv3 user`: columns are told by the dashes under the heading."""
    out: list[dict[str, Any]] = []
    spans: list[tuple[int, int]] = []
    for line in text.split("\n"):
        if re.fullmatch(r"\s*-{4,}(\s+-{4,}){2,}\s*", line):
            spans = [m.span() for m in re.finditer(r"-+", line)]
        elif spans and line.strip():
            cells = [line[a:b].strip() for a, b in (*spans[:2], (spans[2][0], len(line)))]
            if cells[0]:
                out.append({"name": clean(cells[0]), "auth": _protocol(cells[1]), "privacy": _protocol(cells[2])})
    return out


def _protocol(word: str) -> str | None:
    return None if word.lower() in ("", "none") else clean(word.lower(), 20)


def config_users(lines: list[re.Match[str]]) -> list[dict[str, Any]]:
    """`snmpv3 user "nms" auth sha … priv aes …`; without credentials the line names the user only."""
    out = []
    for m in lines:
        rest = m[2] or ""
        auth, privacy = re.search(r"\bauth (\S+)", rest), re.search(r"\bpriv (\S+)", rest)
        hidden = Unknown(Reason.COMMAND_MISSING, "show snmpv3 user")
        out.append(
            {
                "name": clean(m[1].strip('"')),
                "auth": clean(auth[1].lower(), 20) if auth else None if rest else hidden,
                "privacy": clean(privacy[1].lower(), 20) if privacy else None if rest else hidden,
            }
        )
    return out


def port_status(text: str) -> list[dict[str, Any]]:
    """`show interfaces brief`: enabled and status; whether a port is a trunk stands in the VLANs."""
    out = []
    for line in text.split("\n"):
        match = re.match(r"\s*([A-Za-z0-9/]+)\*?(-Trk\d+)?\s.*\|\s*(Yes|No)\s+(Yes|No)\s+(Up|Down)\b", line)
        if match:
            state = "shut" if match[4] == "No" else match[5].lower()
            out.append({"name": match[1], "state": state, "trunk": False})
    return out


def lldp_ports(text: str) -> list[str]:
    """`show lldp info remote-device` → ports with a neighbour, in a form that may be asked about."""
    found: list[str] = []
    for line in text.split("\n"):
        match = re.match(r"\s*([A-Za-z]?\d{1,3}(?:/[A-Za-z]?\d{1,3})?)\s*\|", line)
        if match:
            found += names(match[1])
    return list(dict.fromkeys(found))


def lldp(text: str) -> list[dict[str, Any]]:
    """`show lldp info remote-device PORTS`: one part per neighbour."""
    out = []
    for part in re.split(r"(?m)^(?=\s*Local Port\s*:)", text):
        port = re.match(r"\s*Local Port\s*:\s*(\S+)", part)
        if port is None:
            continue
        name = re.search(r"(?m)^\s*SysName\s*:[ \t]*(\S.*)$", part)
        enabled = re.search(r"(?m)^\s*System Capabilities Enabled\s*:[ \t]*(.*)$", part)
        description = re.search(r"(?m)^\s*System Descr\s*:[ \t]*(.*)$", part)
        out.append(
            {
                "port": port[1],
                "name": clean(name[1], 60) if name else None,
                "kind": from_words(enabled[1] if enabled else "", description[1] if description else ""),
            }
        )
    return out
