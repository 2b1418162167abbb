"""One real machine once, whoever sees it: a scanned host, a computer of the directory, a device of the tenant.

They are one where an id says so: the Entra device id (which of a machine joined to both is its objectGUID in the
directory), the SID in the directory, the machine id, or the serial number. A host name alone never joins: schools reuse
names. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.claims import asking
from agent.derive import View, as_items
from agent.model import Evidence, Kind, School, Unknown

STRONG = ("entra_device_id", "ad_sid", "machine_id")
"""Ids that belong to one installation. A serial number stands for hardware, and some makers write the same in many."""
LEADS = ("host", "intune", "directory", "entra")
"""Whose word goes before whose: the machine's own reading, then Intune's, then what others were told."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One surface's view of a machine. `seen` is when it last knew of it (ISO 8601, UTC; empty: it never says)."""

    source: str
    where: str
    name: str
    ids: Mapping[str, str]
    schools: tuple[str, ...] = ()
    os: str = ""
    seen: str = ""


@dataclass(slots=True)
class Asset:
    """One machine: its sights, the leading one first."""

    sights: list[Sight] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the leading surface calls it."""
        return self.sights[0].name

    @property
    def schools(self) -> tuple[str, ...]:
        """The schools it belongs to, as far as anybody says."""
        return next((s.schools for s in self.sights if s.schools), ())

    @property
    def seen(self) -> str:
        """When any surface last knew of it."""
        return max((s.seen for s in self.sights), default="")

    def id(self, kind: str) -> str:
        """One of its ids (`serial`, `entra_device_id`, `ad_sid`, `machine_id`); empty where nobody knows it."""
        return next((s.ids[kind] for s in self.sights if s.ids.get(kind)), "")

    @property
    def os(self) -> tuple[str, str, str]:
        """Its system, who says so and as of when."""
        return next(((s.os, s.source, s.seen) for s in self.sights if s.os), ("", "", ""))


def assets(evidence: Iterable[tuple[Evidence, Sequence[School]]]) -> list[Asset]:
    """All machines that evidence (each with the schools it serves) shows, by name."""
    sights = [s for e, schools in evidence for s in sights_of(e, schools)]
    return joined(sights)


def joined(sights: Sequence[Sight]) -> list[Asset]:
    """Sights put together by their ids."""
    groups: list[list[Sight] | None] = [[s] for s in sights]
    for kind in STRONG:
        _join(groups, kind, lambda a, b: True)
    _join(groups, "serial", _agree)
    out = [Asset(sorted(g, key=lambda s: (LEADS.index(s.source), s.where, s.name))) for g in groups if g]
    return sorted(out, key=lambda a: (a.name.casefold(), a.sights[0].where))


def _join(groups: list[list[Sight] | None], kind: str, may: Callable[[Sequence[Sight], Sequence[Sight]], bool]) -> None:
    """Merge groups that share an id of one kind, where `may` allows it."""
    places: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        for value in {s.ids[kind] for s in group or () if s.ids.get(kind)}:
            places.setdefault(value, []).append(number)
    moved: dict[int, int] = {}

    def home(number: int) -> int:
        while number in moved:
            number = moved[number]
        return number

    for members in places.values():
        for number in members[1:]:
            first, other = home(members[0]), home(number)
            mine, theirs = groups[first], groups[other]
            if first != other and mine and theirs and may(mine, theirs):
                mine += theirs
                groups[other] = None
                moved[other] = first


def _agree(one: Sequence[Sight], other: Sequence[Sight]) -> bool:
    """Whether nothing says that two groups of one serial number are different installations."""
    for kind in STRONG:
        mine, theirs = ({s.ids[kind] for s in group if s.ids.get(kind)} for group in (one, other))
        if mine and theirs and not mine & theirs:
            return False
    return True


# ------------------------------------------------------------------------------------------------------- what is seen
def sights_of(e: Evidence, schools: Sequence[School]) -> Iterator[Sight]:
    """The machines that one target's evidence shows."""
    if e.target.kind is Kind.DEVICE:
        yield _host(e)
        return
    view = View(e.target.platform, e.facts, e.as_of, schools=schools, settings=e.target.settings)
    if e.target.kind is Kind.DIRECTORY:
        yield from _listed(view, "computers", "dn", "directory", e.target.id, _computer)
    else:
        yield from _listed(view, "managed_devices", "device", "intune", e.target.id, _managed)
        yield from _listed(view, "entra_devices", "device", "entra", e.target.id, _registered)


def _host(e: Evidence) -> Sight:
    os = e.facts.get("os")
    value = os.value if os is not None else None
    words = [_text(value, n) for n in ("name", "product", "version")] if isinstance(value, dict) else []
    ids = {k: _id(k, v) for k, v in e.ids.items()}
    name = e.target.name
    school = (e.target.school,) if e.target.school else ()
    return Sight(
        "host", e.target.id, name, ids, school, " ".join(w for w in words if w), f"{e.as_of:%Y-%m-%dT%H:%M:%SZ}"
    )


Made = tuple[Mapping[str, str], str, str]


def _listed(
    view: View, fact: str, rule: str, source: str, where: str, make: Callable[[Mapping[str, Any]], Made]
) -> Iterator[Sight]:
    items, _ = as_items(view.get(fact))
    whose = asking(rule, view)
    for item in items:
        if not isinstance(item, dict) or not _text(item, "name"):
            continue
        ids, os, seen = make(item)
        answers = whose(item)
        schools = tuple(s.key for s, a in zip(view.schools, answers, strict=True) if a)
        yield Sight(source, where, _text(item, "name"), {k: v for k, v in ids.items() if v}, schools, os, seen)


def _computer(c: Mapping[str, Any]) -> Made:
    # A machine joined to both has its objectGUID for a device id; nobody else's id can be the same number.
    ids = {"ad_sid": _text(c, "sid"), "entra_device_id": _text(c, "guid").lower()}
    return ids, " ".join(w for w in (_text(c, "os"), _text(c, "os_version")) if w), _text(c, "last_logon")


def _managed(d: Mapping[str, Any]) -> Made:
    ids = {"entra_device_id": _text(d, "entra_device_id").lower(), "serial": _id("serial", _text(d, "serial"))}
    return ids, " ".join(w for w in (_text(d, "os"), _text(d, "os_version")) if w), _text(d, "last_sync")


def _registered(d: Mapping[str, Any]) -> Made:
    return {"entra_device_id": _text(d, "entra_device_id").lower()}, _text(d, "os"), _text(d, "last_sign_in")


def _id(kind: str, value: str) -> str:
    return value.strip().upper() if kind in ("serial", "ad_sid") else value.strip().lower()


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    return "" if value is None or isinstance(value, Unknown) else str(value)
