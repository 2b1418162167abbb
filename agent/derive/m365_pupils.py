"""Derived facts about schools and pupils: who is a pupil, who they are not to be, and what the roster says of schools.

Who is a pupil is told by, in this order: the person's role in the roster (School Data Sync); the groups that schools
name, those of staff before those of pupils; licences for students. Where one of these could not be read and the others
do not tell, it is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.derive import View, as_items
from agent.derive.m365_people import group_names, members_of
from agent.facttypes import BOOL, INT, STR, Enum, Field, ListOf, Record, derived
from agent.model import Partial, Reason, School, Unknown


def _roster(view: View) -> tuple[dict[str, Any], Unknown | None]:
    """Roles in the roster by person, and why some may be missing."""
    items, why = view.items("roster_people")
    return {i["id"]: i.get("role") for i in items if isinstance(i, Mapping) and isinstance(i.get("id"), str)}, why


def _role_holders(view: View) -> tuple[set[str], Unknown | None]:
    """Ids of everybody who holds a role anywhere, or may switch one on, through groups too."""
    held = view.get("role_holders")
    if not isinstance(held, Mapping):
        return set(), held if isinstance(held, Unknown) else Unknown(Reason.NOT_COLLECTED)
    found: set[str] = set()
    doubt: Unknown | None = None
    for part in ("active", "eligible"):
        holders, why = as_items(held.get(part, Unknown(Reason.NOT_COLLECTED)))
        doubt = doubt or why
        for holder in holders:
            if isinstance(holder, Unknown):
                doubt = doubt or holder
                continue
            if isinstance(principal := holder.get("principal"), str):
                found.add(principal)
            members, why = as_items(holder.get("members", Unknown(Reason.NOT_COLLECTED)))
            found.update(m for m in members if isinstance(m, str))
            doubt = doubt or why
    return found, doubt


@derived(
    "school_people",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "upn": Field(STR),
                "enabled": Field(BOOL),
                "guest": Field(BOOL),
                "pupil": Field(BOOL, "by the roster, the groups that schools name, or its licences"),
                "holds_role": Field(BOOL, "holds a role in the tenant, or may switch one on"),
                "student_licence": Field(BOOL),
                "faculty_licence": Field(BOOL),
            },
            key="id",
            label="upn",
        ),
        claims="user",
    ),
    "m365",
    reads=("users", "roster_people", "role_holders"),
    optional=("roster_people", "role_holders"),
    schools=True,
)
def school_people(view: View) -> Any:
    """Accounts, with whether they are a pupil's and what a pupil's account should not have."""
    users, why = view.items("users")
    roles, roster_doubt = _roster(view)
    (staff, staff_doubt), (pupils, pupil_doubt) = (members_of(view, s) for s in ("staff_groups", "pupil_groups"))
    holders, holders_doubt = _role_holders(view)

    def pupil(user: Mapping[str, Any]) -> bool | Unknown:
        key = user.get("id")
        role = roles.get(str(key))
        if role in ("student", "teacher", "faculty"):
            return bool(role == "student")
        if key in staff:
            return False
        if key in pupils:
            return staff_doubt or True
        doubt = role if isinstance(role, Unknown) else roster_doubt if key not in roles else None
        licensed = user.get("student", Unknown(Reason.NOT_COLLECTED))
        if licensed is True:
            return staff_doubt or True
        return doubt or pupil_doubt or staff_doubt or licensed

    out: list[Any] = []
    for user in users:
        if isinstance(user, Unknown):
            why = why or user
            continue
        kept = {
            k: user[k] for k in ("id", "upn", "enabled", "guest", "student_licence", "faculty_licence") if k in user
        }
        holds = True if user.get("id") in holders else holders_doubt or False
        out.append({**kept, "pupil": pupil(user), "holds_role": holds})
    return Partial(tuple(out), why) if why else out


@derived(
    "school_roster",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR),
                "state": Field(
                    Enum(("known", "missing", "foreign")),
                    "known to both; missing: a school of the trust that is not in the roster; foreign: the other way",
                ),
            },
            key="id",
            label="name",
        )
    ),
    "m365",
    reads=("roster_schools",),
    schools=True,
)
def school_roster(view: View) -> Any:
    """Schools of the trust and of the roster, told together by URN (or another id that trust.yml uses as code).

    A school without a URN in trust.yml is told by its name too.
    """
    items, why = view.items("roster_schools")
    roster = [i for i in items if isinstance(i, Mapping)]
    taken: set[str] = set()
    out: list[Any] = []
    for school in view.schools:
        mine = [r for r in roster if _same(school, r)]
        taken.update(str(r.get("id")) for r in mine)
        if mine or why is None:
            out.append({"id": school.key, "name": school.name, "state": "known" if mine else "missing"})
        else:
            out.append({"id": school.key, "name": school.name, "state": why})
    for r in roster:
        if str(r.get("id")) in taken:
            continue
        doubt = next((v for k in ("external_id", "number") if isinstance(v := r.get(k), Unknown)), None)
        out.append({"id": r.get("id"), "name": r.get("name"), "state": doubt or "foreign"})
    return Partial(tuple(out), why) if why else out


def _same(school: School, entry: Mapping[str, Any]) -> bool:
    ids = {str(v).casefold() for k in ("external_id", "number") if isinstance(v := entry.get(k), str)}
    own = {school.code.casefold(), school.key.casefold()} | ({str(school.urn)} if school.urn else set())
    if ids & (own - {""}):
        return True
    return school.urn is None and str(entry.get("name")).casefold() == school.name.casefold()


@derived(
    "qr_sign_in",
    Record(
        {
            "on": Field(BOOL),
            "pin_length": Field(INT, may_be_absent=True),
            "others": Field(ListOf(STR), "groups that it is for and that no school names as pupils'"),
        }
    ),
    "m365",
    reads=("authentication_methods", "groups"),
    optional=("groups",),
    schools=True,
)
def qr_sign_in(view: View) -> Any:
    """Signing in with a QR code and a PIN: one factor alone, meant for young pupils."""
    methods, why = as_items(view.get("authentication_methods").get("methods", Unknown(Reason.NOT_COLLECTED)))
    mine = next((m for m in methods if isinstance(m, Mapping) and m.get("id") == "QRCodePin"), None)
    if mine is None:
        return why or {"on": False, "pin_length": None, "others": []}
    state = mine.get("state")
    on = state if isinstance(state, Unknown) else state == "enabled"
    targets, doubt = as_items(mine.get("targets", Unknown(Reason.NOT_COLLECTED)))
    groups, groups_why = view.items("groups")
    names = {g.get("id"): str(g.get("name")) for g in groups if isinstance(g, Mapping)}
    pupils = {name.casefold() for school in view.schools for name in group_names(school, "pupil_groups")}
    others: list[str] = []
    for target in targets:
        if isinstance(target, Unknown):
            doubt = doubt or target
        elif target == "all_users":
            others.append("everybody")
        elif target.casefold() in pupils or names.get(target, "").casefold() in pupils - {""}:
            continue
        elif target in names or groups_why is None or not pupils:
            others.append(names.get(target, target))
        else:
            doubt = doubt or groups_why
    return {
        "on": on,
        "pin_length": mine.get("pin_length"),
        "others": Partial(tuple(others), doubt) if doubt is not None else others,
    }
