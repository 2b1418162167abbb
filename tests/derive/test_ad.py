"""Derived facts of a directory: who holds power, and the trust's own standard."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from agent.conform import conform
from agent.derive import View, load_all
from agent.facttypes import REGISTRY
from agent.model import Partial, Reading, Reason, School, Unknown

load_all()

D, S = "DC=x,DC=example", "S-1-5-21-1-2-3"
NO_RIGHT = Unknown(Reason.PERMISSION, "see it")
RIDS = {
    "Domain Admins": 512,
    "Group Policy Creator Owners": 520,
    "Protected Users": 525,
    "Schema Admins": 518,
    "Enterprise Admins": 519,
}
BUILTIN = {
    "Administrators": 544,
    "Account Operators": 548,
    "Server Operators": 549,
    "Print Operators": 550,
    "Backup Operators": 551,
}


def group(name: str, *members: str, sid: str = "") -> dict[str, Any]:
    number = RIDS.get(name) or BUILTIN.get(name) or sum(map(ord, name))
    sid = sid or (f"S-1-5-32-{number}" if name in BUILTIN else f"{S}-{number}")
    inside = [f"CN={m},{D}" for m in members]
    return {"sid": sid, "rid": number, "dn": f"CN={name},{D}", "name": name, "members": inside}


def user(name: str, rid: int, primary: int = 513, **more: Any) -> dict[str, Any]:
    return {
        "sid": f"{S}-{rid}",
        "rid": rid,
        "dn": f"CN={name},{D}",
        "name": name,
        "primary_group": primary,
        "enabled": True,
        **more,
    }


def view(*groups: dict[str, Any], users: Any = (), schools: Any = (), parameters: Any = None, **facts: Any) -> View:
    have = {g["name"] for g in groups}
    rest = [group(n) for n in (*RIDS, *BUILTIN) if n not in have]
    whole = {
        "domain": {"sid": S, "dn": D},
        "groups": [*groups, *rest],
        "users": list(users),
        "computers": [],
        "service_accounts": [],
        **facts,
    }
    readings = {n: Reading(v) for n, v in whole.items()}
    return View("ad", readings, datetime(2026, 11, 1, tzinfo=UTC), parameters or {}, schools)


def members(of: View, fact: str = "privileged_members") -> dict[str, list[str]]:
    value = of.get(fact)
    assert conform(value, REGISTRY.spec_of("ad", fact).type, False) == value
    return {m["name"]: sorted(m["groups"]) for m in of.items(fact)[0]}


def test_nested_groups_circles_and_primary_groups() -> None:
    looked = view(
        group("Domain Admins", "Tier0", "anna"), group("Tier0", "bert", "Circle"), group("Circle", "Tier0"),
        group("Administrators", "Domain Admins"),
        users=[user("anna", 1101), user("bert", 1102), user("hidden", 1103, primary=512), user("pupil", 1104)],
    )  # fmt: skip
    both = ["administrators", "domain_admins"]
    assert members(looked) == {"anna": both, "bert": both, "hidden": both}
    through = {m["name"]: m["through"] for m in looked.get("privileged_members")}
    assert through["bert"] == ["Domain Admins > Tier0", "Administrators > Domain Admins > Tier0"]
    assert [g["name"] for g in looked.get("groups_in_domain_admins")] == ["Tier0", "Circle"]


def test_a_built_in_groups_number_is_no_primary_group() -> None:
    """544 as a primary group would mean a domain group of that number, never the built-in Administrators."""
    assert members(view(users=[user("odd", 1101, primary=544)])) == {}


def test_protected_users_count_nested() -> None:
    looked = view(
        group("Domain Admins", "anna", "bert"),
        group("Protected Users", "Safe"),
        group("Safe", "anna"),
        users=[user("anna", 1101), user("bert", 1102)],
    )
    assert {m["name"]: m["protected"] for m in looked.get("privileged_members")} == {"anna": True, "bert": False}


def test_somebody_from_another_domain_is_a_member_of_whom_little_is_known() -> None:
    foreign = f"CN=S-1-5-21-9-9-9-1105,CN=ForeignSecurityPrincipals,{D}"
    administrators = {**group("Administrators"), "members": [foreign, "CN=eve,DC=other,DC=example"]}
    value = view(administrators).get("privileged_members")
    assert [(m["name"], m["kind"], m["rid"]) for m in value] == [
        ("S-1-5-21-9-9-9-1105", "foreign", None),
        ("eve", "foreign", None),
    ]
    assert all(isinstance(m["enabled"], Unknown) for m in value)


@pytest.mark.parametrize(
    "bent",
    [
        view(group("Domain Admins", "nobody")),  # a member that is not shown
        view({**group("Domain Admins"), "members": NO_RIGHT}),
        view({**group("Domain Admins"), "members": Partial((), NO_RIGHT)}),
        view({**group("Domain Admins"), "sid": NO_RIGHT}),
        view(users=[user("anna", 1101) | {"primary_group": NO_RIGHT}]),
        view(computers=Partial((), NO_RIGHT)),
        view(groups=Partial((), NO_RIGHT)),
    ],
)
def test_what_cannot_be_seen_is_not_left_out(bent: View) -> None:
    assert isinstance(bent.get("privileged_members"), Partial)


def test_the_forests_groups_of_another_domain_are_unknown() -> None:
    looked = view(groups=[group(n) for n in (*RIDS, *BUILTIN) if n not in ("Schema Admins", "Enterprise Admins")])
    assert members(looked) == {}
    assert isinstance(looked.get("forest_admins"), Partial)


def test_school_places_and_units() -> None:
    ous = [{"dn": f"OU={p},{D}"} for p in ("Schools", "OAK,OU=Schools", "Staff,OU=OAK,OU=Schools", "Old,OU=Schools")]
    willow = School("wil", "Willow", "WIL", directory={"ou": "OU=WIL,OU=Schools,{base_dn}"})
    trust = [School("oak", "Oakfield", "OAK"), willow]
    wanted = {"schools_ou": "OU=Schools, {base_dn}", "required_school_ous": ["Staff", "Groups"]}
    looked = view(ous=ous, schools=trust, parameters=wanted)
    assert {p["name"]: p["right"] for p in looked.get("school_places")} == {
        "OAK": True,
        "missing: WIL": False,
        "extra: Old": False,
    }
    units = {u["name"]: u["there"] for u in looked.get("school_units")}
    assert units == {"OU=OAK: Staff": True, "OU=OAK: Groups": False}


def test_a_place_that_is_not_seen_is_unknown_not_empty() -> None:
    places = {"schools_ou": "school_users", "leavers_ou": "leavers", "service_account_ou": "personal_accounts"}
    for parameter, fact in places.items():
        wanted = {parameter: "OU=There,{base_dn}"}
        value = view(users=[user("anna", 1101)], ous=[{"dn": f"OU=Other,{D}"}], parameters=wanted).get(fact)
        assert isinstance(value, Unknown)
        assert value.reason is Reason.PERMISSION


def test_counting_domain_controllers() -> None:
    dcs = [{"name": "DC1", "domain_controller": True}, {"name": "PC1", "domain_controller": False}]
    assert view(computers=dcs).get("domain_controller_count") == 1
    assert isinstance(view(computers=Partial(tuple(dcs), NO_RIGHT)).get("domain_controller_count"), Unknown)
    assert isinstance(view(computers=[{"domain_controller": NO_RIGHT}]).get("domain_controller_count"), Unknown)
