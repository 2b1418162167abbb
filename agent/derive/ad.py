"""What follows from a directory's facts: the trust's own standard, and lists narrowed by places parameters name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent import dn as names
from agent.derive import View, as_items
from agent.derive.places import base_dn, named, school_units, seen_units
from agent.facttypes import BOOL, INT, STR, TIME, Field, ListOf, Record, derived
from agent.model import Partial, Reason, School, Unknown

_SEEN = {
    "sid": Field(STR, "security identifier"),
    "dn": Field(STR, "distinguished name"),
    "name": Field(STR, "login name, without the $ of a computer"),
}
ACCOUNT = Record(
    {
        **_SEEN,
        "upn": Field(STR, "sign-in name", True),
        "enabled": Field(BOOL, "may sign in"),
        "password_never_expires": Field(BOOL, "password never expires"),
        "has_mail": Field(BOOL, "has an e-mail address"),
        "mail_is_login": Field(BOOL, "e-mail and sign-in name are the same; absent: one of them is missing", True),
        "admin_count": Field(BOOL, "marked as an administrator, now or once"),
        "last_logon": Field(TIME, "last sign-in; absent: never", True),
    },
    "sid",
    "name",
)
OBJECT = Record(_SEEN, "sid", "name")
GROUP = Record({**_SEEN, "empty": Field(BOOL, "nobody is a direct member, primary groups aside")}, "sid", "name")
DEFAULTS = Record({"users": Field(STR, "distinguished name"), "computers": Field(STR, "distinguished name")})


def _list(items: list[Any], why: Unknown | None) -> Any:
    return Partial(tuple(items), why) if why is not None else items


def _sift(view: View, fact: str, keep: Callable[[str], bool], record: Record) -> Any:
    """Items of a list by where they are, with the fields of `record`; one without a name is in doubt."""
    items, why = view.items(fact)
    out: list[Any] = []
    for item in items:
        place = item.get("dn")
        if isinstance(place, str):
            if keep(place):
                out.append({k: item[k] for k in record.fields if k in item})
        else:
            out.append(place)
    return _list(out, why)


def _below(view: View, fact: str, parameter: str, record: Record, *, inside: bool = True) -> Any:
    top = named(view, parameter)
    if isinstance(top, Unknown):
        return top
    return _sift(view, fact, lambda place: names.under(place, top) is inside, record)


@derived("school_users", ListOf(ACCOUNT, "dn"), "ad", reads=("users", "ous", "domain"), parameters=("schools_ou",))
def school_users(view: View) -> Any:
    """Accounts in the OUs of schools."""
    return _below(view, "users", "schools_ou", ACCOUNT)


@derived("school_groups", ListOf(GROUP, "dn"), "ad", reads=("groups", "ous", "domain"), parameters=("schools_ou",))
def school_groups(view: View) -> Any:
    """Groups in the OUs of schools."""
    found = _below(view, "groups", "schools_ou", Record({**_SEEN, "members": Field(ListOf(STR))}))
    items, why = as_items(found)
    if isinstance(found, Unknown):
        return found
    out = [g if isinstance(g, Unknown) else {**_without_members(g), "empty": _empty(g)} for g in items]
    return _list(out, why)


def _without_members(group: dict[str, Any]) -> dict[str, Any]:
    return {k: x for k, x in group.items() if k != "members"}


def _empty(group: dict[str, Any]) -> bool | Unknown:
    members, why = as_items(group.get("members", Unknown(Reason.NOT_COLLECTED, "members")))
    return False if members else why if why is not None else True


@derived(
    "school_computers", ListOf(OBJECT, "dn"), "ad", reads=("computers", "ous", "domain"), parameters=("schools_ou",)
)
def school_computers(view: View) -> Any:
    """Computers in the OUs of schools."""
    return _below(view, "computers", "schools_ou", OBJECT)


@derived("leavers", ListOf(ACCOUNT, "dn"), "ad", reads=("users", "ous", "domain"), parameters=("leavers_ou",))
def leavers(view: View) -> Any:
    """Accounts in the OU of leavers."""
    return _below(view, "users", "leavers_ou", ACCOUNT)


@derived(
    "personal_accounts",
    ListOf(ACCOUNT, "dn"),
    "ad",
    reads=("users", "ous", "domain"),
    parameters=("service_account_ou",),
)
def personal_accounts(view: View) -> Any:
    """Accounts outside the OU of service accounts."""
    return _below(view, "users", "service_account_ou", ACCOUNT, inside=False)


@derived("group_names", ListOf(STR), "ad", reads=("groups",))
def group_names(view: View) -> Any:
    """Names of all groups."""
    items, why = view.items("groups")
    return _list([g.get("name") for g in items], why)


@derived("default_containers", DEFAULTS, "ad", reads=("domain",))
def default_containers(view: View) -> Any:
    """Where Windows puts new people and computers unless it is told otherwise."""
    domain = view.get("domain")
    # The directory's own spelling goes before trust.yml's, which may hold blanks or name a part of the domain.
    own = domain.get("dn") if isinstance(domain, dict) else None
    base = own if isinstance(own, str) else base_dn(view)
    if base is None:
        unknown = Unknown(Reason.NOT_COLLECTED, "the directory's base name")
        return {"users": unknown, "computers": unknown}
    return {"users": f"CN=Users,{base}", "computers": f"CN=Computers,{base}"}


@derived("domain_controller_count", INT, "ad", reads=("computers",))
def domain_controller_count(view: View) -> Any:
    """How many domain controllers there are, read-only ones too."""
    items, why = view.items("computers")
    if why is not None:
        return why
    flags = [c.get("domain_controller") for c in items]
    return next((f for f in flags if isinstance(f, Unknown)), sum(f is True for f in flags))


def _directory_schools(view: View) -> list[tuple[School, list[str] | None]]:
    """Schools that use the directory, with their OUs."""
    return [(s, school_units(s, view)) for s in view.schools]


PLACE = Record(
    {
        "name": Field(STR, "`missing: CODE`, `extra: NAME`, or the school's code"),
        "right": Field(BOOL, "there, and meant to be there"),
    },
    "name",
    "name",
)


@derived("school_places", ListOf(PLACE), "ad", reads=("ous", "domain"), parameters=("schools_ou",), schools=True)
def school_places(view: View) -> Any:
    """Each school's OU, and OUs among the schools' that belong to none."""
    top = named(view, "schools_ou")
    if isinstance(top, Unknown):
        return top
    seen, why = seen_units(view)
    out: list[Any] = []
    claimed: set[str] = set()
    for school, units in _directory_schools(view):
        code = school.code or school.key
        places = units or [names.normal(f"OU={code}") + "," + top]
        claimed.update(places)
        gone = [p for p in places if p not in seen]
        out.append(
            {"name": f"missing: {code}" if gone else code, "right": why if gone and why is not None else not gone}
        )
    for unit in view.items("ous")[0]:
        place = unit.get("dn")
        if not isinstance(place, str):
            out.append({"name": place, "right": place})
        elif names.normal(names.parent(place)) == top and names.normal(place) not in claimed:
            out.append({"name": f"extra: {names.first(place)}", "right": False})
    return _list(out, why)


UNIT = Record(
    {
        "dn": Field(STR, "where it should be"),
        "name": Field(STR, "`OU=CODE: NAME`"),
        "there": Field(BOOL, "the OU exists"),
    },
    "dn",
    "name",
)


@derived(
    "school_units",
    ListOf(UNIT, "dn"),
    "ad",
    reads=("ous", "domain"),
    parameters=("schools_ou", "required_school_ous"),
    schools=True,
)
def school_units_required(view: View) -> Any:
    """The OUs that each school's OU should hold. A school without an OU has none of them: see `school_places`."""
    top = named(view, "schools_ou")
    if isinstance(top, Unknown):
        return top
    seen, why = seen_units(view)
    out: list[Any] = []
    for school, units in _directory_schools(view):
        code = school.code or school.key
        for unit in units or [names.normal(f"OU={code}") + "," + top]:
            if unit not in seen:
                continue
            for wanted in view.parameters.get("required_school_ous") or ():
                place = names.normal(f"OU={wanted}") + "," + unit
                there: Any = True if place in seen else why or False
                out.append({"dn": place, "name": f"OU={code}: {wanted}", "there": there})
    return _list(out, why)
