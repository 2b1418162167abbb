"""Which school an item of a shared tenant belongs to: accounts, groups and devices.

A school selects by domains, groups, administrative units and device names; an item that any of them names is its own.
The members of groups and units are facts of their own: `needs` says which must be collected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.derive import View
from agent.model import Partial, School, Unknown

GROUPS, UNITS = ("staff_groups", "pupil_groups"), ("administrative_units",)


@dataclass(frozen=True, slots=True)
class _Selectors:
    """How trust.yml selects one school, made ready: names of facts for its groups and units."""

    everything: bool
    domains: frozenset[str]
    groups: tuple[str, ...]
    units: tuple[str, ...]
    names: re.Pattern[str] | None


def _selectors(school: School, view: View) -> _Selectors:
    """Worked out once a view: large tenants ask it a million times."""
    key = ("selectors", school.key)
    found: _Selectors | None = view.shared.get(key)
    if found is None:
        pattern = school.tenant.get("device_names")
        found = view.shared[key] = _Selectors(
            _sees_all(school),
            frozenset(d.casefold().lstrip("@") for d in _texts(school, ("domains",))),
            tuple(f"group_members[{g}]" for g in _texts(school, GROUPS)),
            tuple(f"unit_members[{u}]" for u in _texts(school, UNITS)),
            # Windows writes names of devices in either case
            re.compile(str(pattern), re.IGNORECASE) if pattern else None,
        )
    return found


def by_user(item: Mapping[str, Any], school: School, view: View) -> bool | None:
    """An account: by the domain of its UPN, by a group or by an administrative unit."""
    by = _selectors(school, view)
    if by.everything:
        return True
    held = _held_by(item.get("id"), "people", (*by.groups, *by.units), view)
    return _any([_in_domain(item.get("upn"), by), *held])


def by_group(item: Mapping[str, Any], school: School, view: View) -> bool | None:
    """A group: one that the school names, or whose mail address is in one of its domains."""
    if _sees_all(school):
        return True
    named = {g.casefold() for g in _texts(school, GROUPS)}
    answers: list[bool | None] = [_in_domain(item.get("mail_domain"), _selectors(school, view))]
    for key in ("id", "name"):
        value = item.get(key)
        answers.append(value.casefold() in named if isinstance(value, str) else None if named else False)
    return _any(answers)


def by_device(item: Mapping[str, Any], school: School, view: View) -> bool | None:
    """A device: by its name, by a unit that holds it, or by its main user."""
    by = _selectors(school, view)
    if by.everything:
        return True
    answers: list[bool | None] = []
    if by.names is not None:
        name = item.get("name")
        answers.append(by.names.search(name) is not None if isinstance(name, str) else None)
    answers += _held_by(_object_id(item, by, view), "devices", by.units, view)
    if "user" in item:
        user = item["user"]
        answers.append(False if user is None else _in_domain(user, by))
        answers += _held_by(item.get("user_id"), "people", (*by.groups, *by.units), view)
    return _any(answers)


def asking_users(view: View) -> Callable[[Mapping[str, Any]], tuple[bool | None, ...]]:
    """Whose an account is: one answer for each of the view's schools. Lists of the same people share the answers."""
    schools = view.schools
    known = view.shared.setdefault("whose account", {})

    def ask(item: Mapping[str, Any]) -> tuple[bool | None, ...]:
        person = (item.get("id"), item.get("upn"))
        if not all(isinstance(part, str) for part in person):
            return tuple([by_user(item, s, view) for s in schools])
        found: tuple[bool | None, ...] | None = known.get(person)
        if found is None:
            found = known[person] = tuple([by_user(item, s, view) for s in schools])
        return found

    return ask


RULES = {"user": by_user, "group": by_group, "device": by_device}
"""Rules by the word that facts use (`ListOf(claims=...)`)."""


def can_claim(word: str, school: School, fields: Collection[str]) -> bool:
    """Whether anything in a list (rule `word`, items with `fields`) could be the school's by its selectors."""
    if _sees_all(school):
        return True
    domains, groups, units = (bool(_texts(school, s)) for s in (("domains",), GROUPS, UNITS))
    if word == "group":
        return domains or groups
    if word == "device":
        return bool(school.tenant.get("device_names")) or units or ("user" in fields and (domains or groups))
    return domains or groups or units


def needs(schools: Iterable[School]) -> set[str]:
    """Names of the facts that the schools' selectors take: members of the groups and units that they name."""
    out: set[str] = set()
    for school in schools:
        out |= {f"group_members[{g}]" for g in _texts(school, GROUPS)}
        if units := _texts(school, UNITS):
            # Intune knows a device by another id than the units do; the list of Entra's devices holds both.
            out |= {f"unit_members[{u}]" for u in units} | {"entra_devices"}
    return out


def _object_id(item: Mapping[str, Any], by: _Selectors, view: View) -> Any:
    """The id by which units know a device; None when there is none, `Unknown` when it cannot be told."""
    if "user" not in item or not by.units:
        return item.get("id")
    wanted = item.get("entra_device_id")
    if wanted is None or isinstance(wanted, Unknown):
        return wanted
    known, why = _entra_ids(view)
    return known.get(wanted, why)


def _entra_ids(view: View) -> tuple[Mapping[str, Any], Unknown | None]:
    """Object ids of Entra's devices by device id, and why some may be missing. Worked out once a view."""
    if "entra ids" not in view.shared:
        devices, why = view.items("entra_devices")
        known = {d.get("entra_device_id"): d.get("id") for d in devices if isinstance(d, Mapping)}
        view.shared["entra ids"] = known, why
    found: tuple[Mapping[str, Any], Unknown | None] = view.shared["entra ids"]
    return found


def _texts(school: School, selectors: Sequence[str]) -> list[str]:
    found: list[str] = []
    for selector in selectors:
        value = school.tenant.get(selector) or ()
        found += [value] if isinstance(value, str) else [str(v) for v in value]
    return found


def _sees_all(school: School) -> bool:
    """A school that gives no selector sees everything."""
    return not (_texts(school, (*GROUPS, *UNITS, "domains")) or school.tenant.get("device_names"))


def _in_domain(value: Any, by: _Selectors) -> bool | None:
    """Whether a UPN, or a bare domain, is in one of the school's domains."""
    if not by.domains or value is None:
        return False
    return value.casefold().rpartition("@")[2] in by.domains if isinstance(value, str) else None


Held = tuple["frozenset[str] | None", bool]
"""Ids that a group or unit holds (None: cannot be told), and whether those are all."""


def _holds(name: str, kind: str, view: View) -> Held:
    """What one group or unit holds. Worked out once a view."""
    key = ("held", name, kind)
    found: Held | None = view.shared.get(key)
    if found is None:
        held = view.get(name)
        ids = held.get(kind) if isinstance(held, Mapping) else held
        # A group or unit that the tenant does not have: trust.yml is wrong, and nobody can tell what was meant.
        if ids is None or isinstance(ids, Unknown):
            found = None, False
        elif isinstance(ids, Partial):
            found = frozenset(i for i in ids.items if isinstance(i, str)), False
        else:
            found = frozenset(i for i in ids if isinstance(i, str)), True
        view.shared[key] = found
    return found


def _held_by(key: Any, kind: str, facts: Sequence[str], view: View) -> list[bool | None]:
    """For each of some groups and units (by their facts), whether it holds the person or device `key`."""
    if key is None:
        return [False for _ in facts]
    out: list[bool | None] = []
    for name in facts:
        ids, whole = _holds(name, kind, view)
        if isinstance(key, Unknown) or ids is None:
            out.append(None)
        else:
            out.append(True if key in ids else False if whole else None)
    return out


def _any(answers: Sequence[bool | None]) -> bool | None:
    return True if True in answers else None if None in answers else False
