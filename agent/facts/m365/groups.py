"""Facts of groups, and the members of the groups and administrative units by which schools select."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from agent.facts.m365.conditional_access import MEMBER, members_like, people
from agent.facts.m365.protocol import Request
from agent.facts.m365.source import KEYED, SOURCES, Answers, Source
from agent.facts.m365.tenant import PLATFORM
from agent.facts.m365.values import at, guid, listed, maybe, need, objects, words
from agent.facttypes import BOOL, STR, Field, ListOf, Record, fact
from agent.model import Reason, Unknown

_GROUPS = Request(
    "/groups",
    "Group.Read.All",
    ("id", "displayName", "mail", "visibility", "groupTypes", "isAssignableToRole", "onPremisesSyncEnabled"),
    top=999,
)

fact(
    "groups",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR),
                "mail_domain": Field(STR, may_be_absent=True),
                "visibility": Field(STR, "Public, Private, HiddenMembership", may_be_absent=True),
                "unified": Field(BOOL, "a Microsoft 365 group or team"),
                "role_assignable": Field(BOOL),
                "synced": Field(BOOL),
            },
            key="id",
            label="name",
        ),
        claims="group",
    ),
    PLATFORM,
    source=str(_GROUPS),
    rights=(_GROUPS.permission,),
)
SOURCES["groups"] = Source(
    (_GROUPS,),
    lambda a, _: listed(
        a[_GROUPS],
        lambda b: {
            "id": guid(need(b, "id")),
            "name": need(b, "displayName"),
            "mail_domain": m.rpartition("@")[2].lower() if isinstance(m := maybe(b, "mail"), str) else m,
            "visibility": maybe(b, "visibility"),
            "unified": "Unified" in t if isinstance(t := words(b, "groupTypes"), list) else t,
            "role_assignable": at(b, "isAssignableToRole") is True,
            "synced": at(b, "onPremisesSyncEnabled") is True,
        },
    ),
)

_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _membership(path: str, permission: str, inside: Callable[[str], Request]) -> Callable[[str], Source]:
    """Source of the members of one object that is named by its id or its display name."""

    def source(key: str) -> Source:
        if _GUID.fullmatch(key):
            direct = inside(key.lower())
            return Source((direct,), lambda a, _: _members(a[direct].value))
        quoted = key.replace("'", "''")
        lookup = Request(path, permission, ("id", "displayName"), filter=f"displayName eq '{quoted}'")

        def found(answers: Answers) -> Any:
            held, why = objects(answers[lookup].value)
            if why is not None:
                return why
            ids = [guid(need(i, "id")) for i in held]
            if len(ids) > 1:
                return Unknown(Reason.UNREADABLE, f"{len(ids)} objects are called {key!r}: name it by its id")
            return ids[0] if ids else None

        def parse(answers: Answers, _: Any) -> Any:
            name = found(answers)
            return _members(answers[inside(name)].value) if isinstance(name, str) else name

        return Source(
            (lookup,),
            parse,
            lambda a: [inside(name)] if isinstance(name := found(a), str) else [],
            ((f"GET {path}/{{id}} members", permission),),
        )

    return source


def _members(value: Any) -> Any:
    """{people, devices}: ids of users and of devices; None when the object is not there."""
    if value is None or isinstance(value, Unknown):
        return value
    return {"people": people(value), "devices": members_like(value, "device")}


_MEMBERS = Record(
    {"people": Field(ListOf(STR), "ids of users"), "devices": Field(ListOf(STR), "object ids of devices")}
)
_UNIT = "AdministrativeUnit.Read.All"

fact(
    "group_members",
    _MEMBERS,
    PLATFORM,
    key="group id or name",
    may_be_absent=True,
    rights=(MEMBER,),
    source="GET /groups/{id}/transitiveMembers",
    doc="People and devices of one group, through groups in it.",
)
KEYED["group_members"] = _membership(
    "/groups",
    MEMBER,
    lambda g: Request(f"/groups/{g}/transitiveMembers", MEMBER, ("id",), top=999, absent_ok=True),
)
fact(
    "unit_members",
    _MEMBERS,
    PLATFORM,
    key="administrative unit id or name",
    may_be_absent=True,
    rights=(_UNIT,),
    source="GET /directory/administrativeUnits/{id}/members",
    doc="People and devices of one administrative unit.",
)
KEYED["unit_members"] = _membership(
    "/directory/administrativeUnits",
    _UNIT,
    lambda u: Request(f"/directory/administrativeUnits/{u}/members", _UNIT, ("id",), top=999, absent_ok=True),
)
