"""list switches: make, release, serial numbers, ports in use against ports open. list links: the map of neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from agent.cli.common import open_store
from agent.model import Evidence, Partial, Unknown
from agent.plan import Planner

if TYPE_CHECKING:
    from agent.store import Store

Listing = tuple[Sequence[str], list[list[Any]]]


def _evidence(store: Store) -> Iterator[Evidence]:
    """The last evidence of every switch that was read."""
    for r in store.latest():
        if r.target.family == "switch" and r.manifest:
            yield store.evidence(r.target.id)


def _value(e: Evidence, name: str) -> Any:
    reading = e.facts.get(name)
    value = None if reading is None else reading.value
    return None if isinstance(value, Unknown) else value


def _items(e: Evidence, name: str) -> list[Any]:
    value = _value(e, name)
    found = value.items if isinstance(value, Partial) else value or []
    return [i for i in found if not isinstance(i, Unknown)]


def _word(value: Any) -> str:
    return "" if value is None or isinstance(value, Unknown) else str(value)


def switches(planner: Planner) -> Listing:
    """One line per switch; `?` where the ports' state could not be read."""
    rows = []
    with open_store(planner) as store:
        for e in _evidence(store):
            device = _value(e, "device") or {}
            members = device.get("members")
            units = members if isinstance(members, list) else []
            ports = _items(e, "port_status")
            open_ = sum(1 for p in ports if p["state"] != "shut")
            used = sum(1 for p in ports if p["state"] == "up")
            rows.append(
                [
                    e.target.id,
                    e.target.school or "",
                    e.target.platform,
                    _word(device.get("family")),
                    _word(device.get("release")),
                    ", ".join(w for m in units if (w := _word(m.get("model")))),
                    ", ".join(w for m in units if (w := _word(m.get("serial")))),
                    len(ports) if ports else "?",
                    open_ if ports else "?",
                    used if ports else "?",
                ]
            )
    return [
        "Switch",
        "School",
        "Make",
        "Family",
        "Release",
        "Models",
        "Serials",
        "Ports",
        "Open ports",
        "Ports in use",
    ], rows


def links(planner: Planner) -> Listing:
    """One line per neighbour that LLDP or CDP sees: the school's map of switches."""
    rows = []
    with open_store(planner) as store:
        for e in _evidence(store):
            for n in _items(e, "neighbours"):
                rows.append([e.target.id, e.target.school or "", n["port"], _word(n.get("name")), _word(n.get("kind"))])
    return ["Switch", "School", "Port", "Neighbour", "Is a"], rows
