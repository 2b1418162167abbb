"""Which commands feed which fact, for each make, and how their answers become it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.facts.switch import (
    aoscx_config,
    aoscx_show,
    ios_access,
    ios_ports,
    ios_services,
    ios_show,
    procurve_config,
    procurve_ports,
    procurve_show,
)
from agent.facts.switch.blocks import Block
from agent.facts.switch.look import Look, Missing, parsed
from agent.facts.switch.ranges import numbers
from agent.facts.switch.schema import CONFIG
from agent.facts.switch.startup import same
from agent.model import Partial, Reason, Unknown

Read = Callable[[Look], Any]
STARTUP = "show startup-config"
LLDP = {"ios": "show lldp neighbors detail", "aoscx": "show lldp neighbor-info detail"}


@dataclass(frozen=True, slots=True)
class Reader:
    """How one fact of one make is read. `asks` are the commands, in the order in which they may run."""

    asks: tuple[str, ...]
    read: Read


def config(function: Callable[[Block], Any]) -> Reader:
    """A reader of the running configuration alone."""
    return Reader((CONFIG,), lambda look: function(look.config()))


def _session(look: Look) -> Any:
    return {"weak": list(look.terminal.weak)}


def _whole(look: Look, command: str) -> bool:
    """Whether what the switch starts with is what runs. Both are compared and neither is kept."""
    look.config()
    saved = look.text(command)
    if len(saved) < 200 and _UNSAVED.search(saved):
        return False
    parsed(saved, look.platform, command)  # a half of it would differ, and that would be no drift
    return same(look.text(CONFIG), saved)


_UNSAVED = re.compile(r"(?i)(not present|no (saved|startup)|is empty|does not exist)")


def _saved(look: Look) -> Any:
    return {"saved": _whole(look, STARTUP)}


def _saved_procurve(look: Look) -> Any:
    try:
        found = procurve_show.saved(look.text("show config status"))
    except Missing as error:
        if error.why.reason is not Reason.COMMAND_MISSING:
            raise
        found = None
    return {"saved": _whole(look, "show config") if found is None else found}


def _optional(look: Look, command: str) -> str | None:
    """An answer that only adds to another one."""
    try:
        return look.text(command)
    except Missing:
        return None


def _version(look: Look) -> str:
    """`show version`; where it is not known, what the configuration says of its release."""
    try:
        return look.text("show version")
    except Missing as error:
        if error.why.reason is not Reason.COMMAND_MISSING:
            raise
        return ""


def _head(look: Look, pattern: str) -> str | None:
    """What the head of the configuration says of the release: a comment, so it is looked for in the text."""
    text = _optional(look, CONFIG) or ""
    match = re.search(pattern, text[:4000])
    return match[1] if match else None


def _device(look: Look) -> Any:
    """Make, release and units. The make is known whatever is not."""
    version = _version(look)
    if look.platform == "ios":
        return ios_show.device(version, None if version else _head(look, r"(?m)^version (\d\S*)$"))
    system = _optional(look, "show system")
    if look.platform == "aoscx":
        version = version or _head(look, r"(?m)^!Version ArubaOS-CX (\S+)") or ""
        return aoscx_show.device(version, system)
    header = _head(look, r"(?m)^(; \S+ Configuration Editor.*)$") or ""
    return procurve_show.device(version or header, system, header)


def _device_always(look: Look) -> Any:
    try:
        return _device(look)
    except Missing as error:
        why = error.why
        return {"platform": look.platform, "kind": _kind(look), "family": why, "release": why, "members": why}


def _kind(look: Look) -> Any:
    """Switch or access point by the configuration alone, for an account that may not see the version."""
    try:
        root = look.config()
    except Missing as error:
        return error.why
    radio = root.has(r"interface Dot11Radio\S*") or root.has(r"virtual-controller-\S+ .*")
    return "access point" if radio else "switch"


def _vlans_ios(look: Look) -> Any:
    """VLANs from the table and from the configuration. While VTP serves them the configuration shows none."""
    root = look.config()
    found: dict[int, str | None] = {1: None}
    shown = False
    for match, b in root.blocks(r"vlan (\d[\d,-]*)"):
        name = b.last(r"name (.*)")
        for number in numbers(match[1]):
            found[number] = name[1] if name else None
            shown = True
    try:
        found.update(ios_show.vlans(look.text("show vlan brief")))
        why = None
    except Missing as error:
        why = error.why
    items = [{"id": n, "name": found[n]} for n in sorted(found)]
    local = shown or root.has(r"vtp mode (?:transparent|off)(?: .*)?")
    return items if why is None or (local and why.reason is Reason.COMMAND_MISSING) else Partial(tuple(items), why)


def _neighbours_ios(look: Look) -> Any:
    """What LLDP and CDP see. A switch that runs neither says nothing of its neighbours, and that is an answer."""
    items = _seen(look, LLDP["ios"], ios_show.lldp)
    known = {i["port"] for i in items}
    return items + [i for i in _seen(look, "show cdp neighbors detail", ios_show.cdp) if i["port"] not in known]


def _seen(look: Look, command: str, read: Callable[[str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    try:
        return read(look.text(command))
    except Missing as error:
        if error.why.reason is Reason.COMMAND_MISSING:
            look.config()  # an account that may read this may run the other: the switch really lacks it
            return []
        raise


def _neighbours_procurve(look: Look) -> Any:
    ports = _seen(look, "show lldp info remote-device", lambda t: [{"port": p} for p in procurve_show.lldp_ports(t)])
    if not ports:
        return []
    names = ",".join(p["port"] for p in ports)
    found = procurve_show.lldp(look.text(f"show lldp info remote-device {names}"))
    told = {i["port"] for i in found}
    silent = Unknown(Reason.UNREADABLE, "what its neighbour is")
    return found + [{"port": p["port"], "name": None, "kind": silent} for p in ports if p["port"] not in told]


def _snmp_users_procurve(look: Look) -> Any:
    try:
        return procurve_show.snmp_users(look.text("show snmpv3 user"))
    except Missing as error:
        if error.why.reason is not Reason.COMMAND_MISSING:
            raise
        lines = list(look.config().each(r'snmpv3 user ("[^"]*"|\S+)(?: (.*))?'))
        return procurve_show.config_users(lines)


def _nothing(_: Look) -> Any:
    return []


INSTANT = Unknown(Reason.NOT_SUPPORTED, "Aruba Instant: only its networks are read")


def _aoscx(function: Callable[[Block], Any]) -> Reader:
    """A reader of an AOS-CX configuration; that of an Instant access point has other words."""

    def read(look: Look) -> Any:
        root = look.config()
        if root.has(r"virtual-controller-\S+ .*") or aoscx_show.instant(_optional(look, "show version") or ""):
            return INSTANT
        return function(root)

    return Reader((CONFIG, "show version"), read)


def _banners_aoscx(look: Look) -> Any:
    if look.config().has(r"virtual-controller-\S+ .*"):
        return INSTANT
    return aoscx_config.banners(look.taken())


SESSION = Reader((), _session)
NONE = Reader((), _nothing)

READERS: Mapping[str, Mapping[str, Reader]] = {
    "ios": {
        "session": SESSION,
        "device": Reader(("show version",), _device_always),
        "startup": Reader((CONFIG, STARTUP), _saved),
        "snmp_users": Reader(("show snmp user",), lambda look: ios_services.snmp_users(look.text("show snmp user"))),
        "port_status": Reader(
            ("show interfaces status",), lambda look: ios_show.port_status(look.text("show interfaces status"))
        ),
        "neighbours": Reader((LLDP["ios"], "show cdp neighbors detail"), _neighbours_ios),
        "vlans": Reader((CONFIG, "show vlan brief"), _vlans_ios),
        "lines": config(ios_access.lines),
        "remote": config(ios_access.remote),
        "banners": Reader((CONFIG,), lambda look: ios_access.banners(look.taken())),
        "access_lists": config(ios_access.access_lists),
        "aaa": config(ios_access.aaa),
        "secrets": config(ios_access.secrets),
        "accounts": config(ios_access.accounts),
        "snmp": config(ios_services.snmp),
        "time": config(ios_services.time),
        "logging": config(ios_services.logging),
        "guards": config(ios_services.guards),
        "ports": config(ios_ports.ports),
        "wireless": config(ios_services.wireless),
    },
    "aoscx": {
        "session": SESSION,
        "device": Reader(("show version", "show system"), _device_always),
        "startup": Reader((CONFIG, STARTUP), _saved),
        "snmp_users": _aoscx(aoscx_config.snmp_users),
        "port_status": Reader(
            ("show interface brief",), lambda look: aoscx_show.port_status(look.text("show interface brief"))
        ),
        "neighbours": Reader((LLDP["aoscx"],), lambda look: _seen(look, LLDP["aoscx"], aoscx_show.lldp)),
        "vlans": _aoscx(aoscx_config.vlans),
        "lines": NONE,
        "remote": _aoscx(aoscx_config.remote),
        "banners": Reader((CONFIG,), _banners_aoscx),
        "access_lists": _aoscx(aoscx_config.access_lists),
        "aaa": _aoscx(aoscx_config.aaa),
        "secrets": _aoscx(aoscx_config.secrets),
        "accounts": _aoscx(aoscx_config.accounts),
        "snmp": _aoscx(aoscx_config.snmp),
        "time": _aoscx(aoscx_config.time),
        "logging": _aoscx(aoscx_config.logging),
        "guards": _aoscx(aoscx_config.guards),
        "ports": _aoscx(aoscx_config.ports),
        "wireless": config(aoscx_config.wireless),
    },
    "procurve": {
        "session": SESSION,
        "device": Reader(("show version", "show system"), _device_always),
        "startup": Reader(("show config status",), _saved_procurve),
        "snmp_users": Reader(("show snmpv3 user",), _snmp_users_procurve),
        "port_status": Reader(
            ("show interfaces brief",), lambda look: procurve_show.port_status(look.text("show interfaces brief"))
        ),
        "neighbours": Reader(("show lldp info remote-device",), _neighbours_procurve),
        "vlans": config(procurve_config.vlans),
        "lines": NONE,
        "remote": config(procurve_config.remote),
        "banners": Reader((CONFIG,), lambda look: procurve_config.banners(look.taken())),
        "access_lists": NONE,
        "aaa": config(procurve_config.aaa),
        "secrets": config(procurve_config.secrets),
        "accounts": config(procurve_config.accounts),
        "snmp": config(procurve_config.snmp),
        "time": config(procurve_config.time),
        "logging": config(procurve_config.logging),
        "guards": config(procurve_config.guards),
        "ports": config(procurve_ports.ports),
        "wireless": NONE,
    },
}
