"""Facts of the roster that School Data Sync keeps: schools, and the people in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.facts.m365.protocol import Request
from agent.facts.m365.source import SOURCES, Answers, Ask, Source
from agent.facts.m365.tenant import PLATFORM, simple
from agent.facts.m365.values import Json, at, guid, listed, maybe, need, objects
from agent.facttypes import BOOL, INT, STR, Enum, Field, ListOf, Record, fact
from agent.model import Unknown

_ROSTER = "EduRoster.Read.All"
_SCHOOLS = Request("/education/schools", _ROSTER, ("id", "displayName", "externalId", "schoolNumber"), top=999)

simple(
    "roster_schools",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR),
                "external_id": Field(STR, may_be_absent=True),
                "number": Field(STR, "URN or LAESTAB, as the school's records system gives it", may_be_absent=True),
            },
            key="id",
            label="name",
        )
    ),
    _SCHOOLS,
    lambda b: {
        "id": guid(need(b, "id")),
        "name": need(b, "displayName"),
        "external_id": maybe(b, "externalId") or None,
        "number": maybe(b, "schoolNumber") or None,
    },
    doc="Schools in the roster; none where School Data Sync is not used.",
)


def _unit_of(school: str) -> Request:
    return Request(f"/education/schools/{school}/administrativeUnit", _ROSTER, ("id", "displayName"), absent_ok=True)


def _units(answers: Answers) -> list[Ask]:
    return [_unit_of(b["id"]) for b in objects(answers[_SCHOOLS].value)[0] if isinstance(b.get("id"), str)]


def _with_unit(answers: Answers, _: Any) -> Any:
    def parse(body: Json) -> dict[str, Any]:
        answer = answers.get(_unit_of(str(body.get("id"))))
        held = answer.value if answer else None
        unit = held if isinstance(held, Unknown) else maybe(held, "displayName") if isinstance(held, Mapping) else None
        return {"id": guid(need(body, "id")), "name": need(body, "displayName"), "unit": unit}

    return listed(answers[_SCHOOLS], parse)


fact(
    "roster_units",
    ListOf(
        Record(
            {
                "id": Field(STR, "of the school"),
                "name": Field(STR, "of the school"),
                "unit": Field(STR, "name of its administrative unit", may_be_absent=True),
            },
            key="id",
            label="name",
        )
    ),
    PLATFORM,
    source=f"{_SCHOOLS}; GET /education/schools/{{id}}/administrativeUnit",
    rights=(_ROSTER,),
)
SOURCES["roster_units"] = Source(
    (_SCHOOLS,), _with_unit, _units, (("GET /education/schools/{id}/administrativeUnit, for each school", _ROSTER),)
)


def _schools(body: Json) -> Any:
    held, why = objects(at(body, "schools"))
    return why if why is not None else len(held)


def _person(body: Json) -> dict[str, Any]:
    role = maybe(body, "primaryRole")
    source = maybe(body, "externalSource")
    return {
        "id": guid(need(body, "id")),
        "upn": need(body, "userPrincipalName"),
        "enabled": maybe(body, "accountEnabled", kind=bool),
        "guest": str(at(body, "userType") or "").lower() == "guest",
        "role": role,
        "synced": source is not None or role in ("student", "teacher", "faculty"),
        "schools": _schools(body),
    }


simple(
    "roster_people",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "upn": Field(STR),
                "enabled": Field(BOOL, may_be_absent=True),
                "guest": Field(BOOL),
                "role": Field(Enum(("student", "teacher", "faculty", "none"), closed=False), may_be_absent=True),
                "synced": Field(BOOL, "comes from a roster: it has a source there, or a role in a school"),
                "schools": Field(INT, "how many schools it belongs to"),
            },
            key="id",
            label="upn",
        ),
        claims="user",
    ),
    Request(
        "/education/users",
        _ROSTER,
        ("id", "userPrincipalName", "primaryRole", "accountEnabled", "userType", "externalSource"),
        expand="schools($select=id)",
        top=100,
    ),
    _person,
    doc="People in the roster. Graph lists every account of the tenant here; those of no roster have no source.",
)
