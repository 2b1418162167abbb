"""Derived facts of switches: what each port is for, and which protections really hold on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.derive import View
from agent.derive.switch_defaults import platform, stated
from agent.facttypes import BOOL, INT, STR, Field, ListOf, Record, derived
from agent.model import Partial, Reason, Unknown

DESCRIPTIONS = ("access_point_descriptions", "uplink_descriptions", "server_descriptions")
"""Parameters: regular expressions for what descriptions of such ports look like."""

PORT_USE = Record(
    {
        "name": Field(STR, "in full"),
        "role": Field(STR, "edge, uplink, access point, server, bundle, routed, other, shut"),
        "because": Field(STR, "what says so"),
        "enabled": Field(BOOL),
        "mode": Field(STR, "access, trunk, routed, other"),
        "vlan": Field(INT, "untagged VLAN", may_be_absent=True),
        "bpdu_guard": Field(BOOL, "a switch that is plugged in takes the port down"),
        "access_control": Field(BOOL, "port security or 802.1X, with the switch's own half"),
        "storm_control": Field(BOOL, "broadcasts are limited"),
    },
    key="name",
    label="name",
)


@derived(
    "port_use",
    ListOf(PORT_USE),
    "switch",
    reads=("device", "ports", "guards", "port_status", "neighbours"),
    parameters=DESCRIPTIONS,
    optional=("port_status", "neighbours"),
)
def port_use(view: View) -> Any:
    """Every port and bundle that stands for itself, with its role. Members of a bundle are the bundle's."""
    ports, why = view.items("ports")
    known = [p for p in ports if not isinstance(p, Unknown)]
    world = _World(view, known)
    out = [world.use(p) for p in known if p.get("bundle") is None]
    return Partial(tuple(out), why) if why else out


def _of(record: Mapping[str, Any], name: str) -> Any:
    """A field; what is missing was not collected."""
    return record.get(name, Unknown(Reason.NOT_COLLECTED, name))


def both(a: Any, b: Any) -> Any:
    """Whether both hold, of which each may be unknown."""
    if a is False or b is False:
        return False
    return a if isinstance(a, Unknown) else b


def either(values: list[Any]) -> Any:
    """Whether one holds, of which each may be unknown."""
    if any(v is True for v in values):
        return True
    return next((v for v in values if isinstance(v, Unknown)), False)


class _World:
    """What is known beside a port's own lines."""

    def __init__(self, view: View, ports: list[Mapping[str, Any]]) -> None:
        self.view, self.make, self.guards = view, platform(view), view.get("guards")
        status, self.status_why = view.items("port_status")
        self.status = {s["name"]: s for s in status if not isinstance(s, Unknown)}
        seen, self.neighbours_why = view.items("neighbours")
        self.neighbours: dict[str, list[Any]] = {}
        for n in seen:
            if not isinstance(n, Unknown):
                self.neighbours.setdefault(n["port"], []).append(n["kind"])
        self.members: dict[str, list[Mapping[str, Any]]] = {}
        for p in ports:
            if p.get("bundle") is not None:
                self.members.setdefault(str(p["bundle"]), []).append(p)
        self.patterns = {name: [re.compile(str(p)) for p in view.parameters.get(name) or ()] for name in DESCRIPTIONS}

    def use(self, port: Mapping[str, Any]) -> dict[str, Any]:
        enabled, mode = self.enabled(port), self.mode(port)
        role, because = self.role(port, enabled, mode)
        vlan = _of(port, "vlan")
        return {
            "name": port["name"],
            "role": role,
            "because": because,
            "enabled": enabled,
            "mode": mode,
            "vlan": 1 if vlan is None and mode == "access" else vlan,
            "bpdu_guard": self.bpdu_guard(port, mode),
            "access_control": either([both(_of(port, k), _of(self.guards, k)) for k in _CONTROLS]),
            "storm_control": either([_of(port, "storm_control"), _of(self.guards, "storm_control")]),
        }

    def enabled(self, port: Mapping[str, Any]) -> Any:
        members = self.members.get(port["name"], [])
        own = stated(_of(port, "enabled"), self.view, "port_enabled")
        if own is True and members and all(m.get("enabled") is False for m in members):
            return False  # every cable of the bundle is shut
        return own

    def mode(self, port: Mapping[str, Any]) -> Any:
        found = stated(_of(port, "mode"), self.view, "port_mode")
        if isinstance(found, Unknown) or found not in ("access", "dynamic"):
            return found
        now = self.status.get(port["name"])
        if now is not None:
            return "trunk" if now["trunk"] else "access"
        # A port that bargains about being a trunk is one or is none: only the switch can tell.
        return "access" if found == "access" else self.status_why or "access"

    def role(self, port: Mapping[str, Any], enabled: Any, mode: Any) -> tuple[Any, str]:
        """(role, what says so). The configuration comes first, then the neighbour, then the description."""
        if isinstance(enabled, Unknown) or isinstance(mode, Unknown):
            return (enabled if isinstance(enabled, Unknown) else mode), "not known"
        if not enabled:
            return "shut", "shut"
        kinds = self.neighbours.get(port["name"], [])
        if mode == "trunk":
            return ("access point" if "access point" in kinds else "uplink"), "a trunk"
        if mode != "access":
            return mode, "its mode"
        if port.get("is_bundle"):
            return "bundle", "a bundle"
        if "access point" in kinds:
            return "access point", "its neighbour"
        if "switch" in kinds:
            return "uplink", "its neighbour"
        if silent := next((k for k in kinds if isinstance(k, Unknown)), None):
            return silent, "not known"
        if kinds:
            return "edge", f"its neighbour, a {kinds[0]}"
        for name, role in zip(DESCRIPTIONS, ("access point", "uplink", "server"), strict=True):
            said = port.get("description")
            if isinstance(said, str) and any(p.search(said) for p in self.patterns[name]):
                return role, "its description"
        return (self.neighbours_why, "not known") if self.neighbours_why else ("edge", "an access port")

    def bpdu_guard(self, port: Mapping[str, Any], mode: Any) -> Any:
        own = _of(port, "bpdu_guard")
        if self.make != "ios":
            return both(own, stated(_of(self.guards, "spanning_tree"), self.view, "spanning_tree"))
        if own is not None:
            return own
        # The switch's default guards only ports that are portfast, by their own line or by the switch's default.
        fast = _of(port, "portfast")
        if fast is None:
            fast = both(_of(self.guards, "portfast"), mode == "access")
        return both(_of(self.guards, "bpdu_guard"), fast)


_CONTROLS = ("port_security", "dot1x", "mac_auth")

SITE_VLAN = Record(
    {
        "id": Field(INT, "number"),
        "name": Field(STR, "what the site calls it"),
        "there": Field(BOOL, "whether the switch has it"),
        "user": Field(BOOL, "whether people's machines are in it"),
        "snooping": Field(BOOL, "DHCP snooping, with the switch's own half"),
        "inspection": Field(BOOL, "ARP inspection, which rests on DHCP snooping"),
    },
    key="id",
    label="id",
)


@derived("site_vlans", ListOf(SITE_VLAN), "switch", reads=("vlans", "guards"), parameters=("vlans", "user_vlans"))
def site_vlans(view: View) -> Any:
    """The site's VLANs against the switch's, one item per VLAN that the site names."""
    items, why = view.items("vlans")
    have = {v["id"] for v in items if not isinstance(v, Unknown)}
    guards = view.get("guards")
    users = [str(w).lower() for w in view.parameters.get("user_vlans") or ()]
    out = []
    for name, number in sorted((view.parameters.get("vlans") or {}).items(), key=lambda pair: str(pair[1])):
        wanted = int(number)
        snooped = guards["dhcp_snooping"] and wanted in guards["dhcp_vlans"]
        out.append(
            {
                "id": wanted,
                "name": str(name),
                "there": True if wanted in have else why or False,
                "user": any(str(name).lower().startswith(w) for w in users),
                "snooping": snooped,
                "inspection": guards["dhcp_snooping"] and guards["arp_inspection"] and wanted in guards["arp_vlans"],
            }
        )
    return out
