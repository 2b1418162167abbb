"""Derived facts of a tenant beyond conditional access: roles, applications, pupils, what Intune gives out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from agent.derive import View, load_all
from agent.model import Partial, Reading, Reason, School, Unknown

load_all()
GLOBAL, USERS_ADMIN = "62e90394-69f5-4237-9190-012177145e10", "fe930be7-5e62-47db-91af-98c3a49a38b1"
DIRECTORY_READERS = "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"
REFUSED, CUT = Unknown(Reason.PERMISSION, "Some.Permission"), Unknown(Reason.THROTTLED)


def derive(name: str, *schools: School, parameters: dict[str, Any] | None = None, **facts: Any) -> Any:
    held = {k.replace("__", "[", 1) + ("]" if "__" in k else ""): Reading(v) for k, v in facts.items()}
    return View("m365", held, datetime(2026, 11, 1, tzinfo=UTC), parameters or {}, schools).get(name)


def holder(principal: str, kind: str = "user", role: str = GLOBAL, **more: Any) -> dict[str, Any]:
    held = {"id": f"{principal}-{role}", "role": role, "scope": "/", "principal": principal, "kind": kind}
    return {**held, "name": f"{principal}@x", "members": [], "apps": [], **more}


def roles(*active: Any, eligible: Any = ()) -> dict[str, Any]:
    return {"active": list(active), "eligible": eligible if isinstance(eligible, Unknown) else list(eligible)}


# Roles


def instance(name: str, *, role: str = GLOBAL, on: Any = False, end: Any = None) -> dict[str, Any]:
    return {"id": name, "role": role, "scope": "/", "principal": name, "name": name, "switched_on": on, "end": end}


def test_standing_roles_are_those_without_an_end_that_nobody_switched_on() -> None:
    held = [
        instance("adm"),
        instance("short", end="2026-12-01T00:00:00Z"),
        instance("pim", on=True),
        instance("reader", role=DIRECTORY_READERS),
        instance("bg"),
        instance("bg-in-group"),
    ]
    groups = [{"id": "bg-group", "members": ["bg-in-group"]}]
    declared = {"break_glass_accounts": ["BG", "bg-group"]}
    found = derive("standing_roles", parameters=declared, role_schedule=held, conditional_access__groups=None)
    assert [(i["id"], i["break_glass"]) for i in found] == [("adm", False), ("bg", True), ("bg-in-group", False)]
    view = View(
        "m365",
        {"role_schedule": Reading(held), "conditional_access.groups": Reading(groups)},
        datetime(2026, 11, 1, tzinfo=UTC),
        declared,
    )
    assert [i["break_glass"] for i in view.get("standing_roles")] == [False, True, True]


def test_an_assignment_of_unknown_length_is_doubt() -> None:
    found = derive("standing_roles", role_schedule=[instance("adm", end=REFUSED)])
    assert found == Partial((), REFUSED)


def test_apps_are_found_alone_in_groups_and_eligible() -> None:
    held = roles(
        holder("s1", "service_principal", name="Sync"),
        holder("s2", "service_principal", role=USERS_ADMIN),
        holder("g1", "group", name="Tier 0", members=["u1"], apps=["s3"]),
        holder("u1"),
        eligible=[holder("s4", "service_principal", name="Odd")],
    )
    found = derive(
        "apps_with_global_administrator", role_holders=held, service_principals=[{"id": "s3", "name": "Backup"}]
    )
    assert [(a["name"], a["through"]) for a in found] == [("Sync", None), ("Backup", "Tier 0"), ("Odd", None)]


@pytest.mark.parametrize(
    "held",
    [
        roles(holder("g1", "group", apps=REFUSED)),
        roles(holder("x", kind=REFUSED)),  # type: ignore[arg-type]
        roles(eligible=REFUSED),
    ],
)
def test_what_may_hide_an_app_is_doubt(held: Any) -> None:
    assert derive("apps_with_global_administrator", role_holders=held) == Partial((), REFUSED)


def test_licences_of_administrators_go_by_their_part_numbers() -> None:
    facts: dict[str, Any] = {
        "role_holders": roles(holder("a1"), holder("a2"), holder("a3", role=DIRECTORY_READERS)),
        "users": [{"id": "a1", "upn": "adm", "products": ["k1", "gone"]}],
        "subscriptions": [{"id": "k1", "name": "M365EDU_A3_FACULTY"}],
    }
    first, second = derive("admin_licences", **facts)
    assert first["products"] == ["M365EDU_A3_FACULTY", "gone"]
    assert isinstance(second["products"], Unknown)
    cut = derive("admin_licences", **{**facts, "subscriptions": Partial(({"id": "k1", "name": "K"},), CUT)})
    assert cut[0]["products"] == CUT
    assert derive("admin_licences", **{**facts, "users": REFUSED})[0]["products"] == REFUSED


def test_methods_of_administrators_whose_accounts_are_on() -> None:
    report = [
        {"id": "a1", "upn": "adm", "admin": True, "methods": ["fido2SecurityKey"]},
        {"id": "a2", "upn": "old", "admin": True, "methods": []},
        {"id": "u1", "upn": "teacher", "admin": False, "methods": []},
    ]
    users = [{"id": "a1", "enabled": True}, {"id": "a2", "enabled": False}]
    found = derive("admin_methods", mfa_registration=report, users=users)
    assert [(a["upn"], a["enabled"]) for a in found] == [("adm", True), ("old", False)]
    assert derive("admin_methods", mfa_registration=report, users=REFUSED)[0]["enabled"] == REFUSED


# Applications

DIRECTORY_WRITE, USER_READ = "19dbc75e-c2e2-444c-a770-ec69d8559fc7", "df021288-bdef-4463-88db-98f22de89214"


def test_an_app_counts_once_with_all_that_is_dangerous() -> None:
    held = [
        {"id": "1", "app": "MIS", "principal": "s1", "role": DIRECTORY_WRITE},
        {"id": "2", "app": "MIS", "principal": "s1", "role": "741f803b-c850-494e-b5df-cde7c675a1ca"},
        {"id": "3", "app": "Quiz", "principal": "s2", "role": USER_READ},
    ]
    (found,) = derive("strong_apps", app_permissions=held, service_principals=[{"id": "s1", "app_id": "a1"}])
    assert found == {
        "id": "s1",
        "name": "MIS",
        "ids": ["s1", "a1"],
        "permissions": ["Directory.ReadWrite.All", "User.ReadWrite.All"],
    }
    (unsure,) = derive("strong_apps", app_permissions=held, service_principals=REFUSED)
    assert unsure["ids"] == Partial(("s1",), REFUSED)
    assert derive("strong_apps", app_permissions=Partial((), CUT)) == Partial((), CUT)


def test_grants_for_everyone_are_put_together() -> None:
    held = [
        {"id": "1", "client": "s1", "everyone": True, "scopes": ["Mail.Send"]},
        {"id": "2", "client": "s1", "everyone": True, "scopes": ["User.Read", "Mail.Send"]},
        {"id": "3", "client": "s2", "everyone": False, "scopes": ["Mail.ReadWrite"]},
    ]
    apps = [{"id": "s1", "app_id": "a1", "name": "Mailer"}]
    (found,) = derive("apps_for_everyone", delegated_grants=held, service_principals=apps)
    assert (found["name"], found["permissions"]) == ("Mailer", ["Mail.Send", "User.Read"])
    lost = [{"id": "1", "client": "s1", "everyone": REFUSED, "scopes": []}]
    assert derive("apps_for_everyone", delegated_grants=lost) == Partial((), REFUSED)


# Pupils

OAK = School(
    "oak",
    "Oakfield Primary School",
    "OAK",
    100001,
    tenant={"use": "t", "staff_groups": "Staff", "pupil_groups": ["Pupils"]},
)
PLAIN = School("elm", "Elm Grove", "ELM", 100002, tenant={"use": "t"})


def user(key: str, **more: Any) -> dict[str, Any]:
    known = {"enabled": True, "guest": False, "student": False, "student_licence": False, "faculty_licence": False}
    return {"id": key, "upn": f"{key}@x", **known, **more}


def pupil(person: dict[str, Any], *, roster: Any = (), staff: Any = (), pupils: Any = (), school: School = OAK) -> Any:
    groups: dict[str, Any] = {
        f"group_members__{name}": held if isinstance(held, Unknown) else {"people": list(held), "devices": []}
        for name, held in (("Staff", staff), ("Pupils", pupils))
    }
    (found,) = derive(
        "school_people",
        school,
        users=[person],
        roster_people=roster if isinstance(roster, Unknown) else list(roster),
        role_holders=roles(),
        **groups,
    )
    return found["pupil"]


def rostered(key: str, role: Any) -> dict[str, Any]:
    return {"id": key, "role": role}


def test_who_is_a_pupil() -> None:
    licensed = user("p", student=True, student_licence=True)
    assert pupil(user("p"), roster=[rostered("p", "student")]) is True
    assert pupil(licensed, roster=[rostered("p", "teacher")]) is False, "the roster goes before licences"
    assert pupil(user("p"), roster=[rostered("p", "none")], pupils=["p"]) is True
    assert pupil(user("p"), pupils=["p"], staff=["p"]) is False, "staff go before pupils"
    assert pupil(licensed) is True
    assert pupil(licensed, staff=["p"]) is False
    assert pupil(user("p")) is False
    assert pupil(user("p"), school=PLAIN) is False


def test_who_may_be_a_pupil_for_all_that_is_known() -> None:
    assert pupil(user("p"), roster=REFUSED) == REFUSED
    assert pupil(user("p"), roster=REFUSED, staff=["p"]) is False
    assert pupil(user("p"), roster=REFUSED, pupils=["p"]) is True
    assert pupil(user("p", student=True), roster=REFUSED, school=PLAIN) is True
    assert pupil(user("p"), pupils=REFUSED) == REFUSED
    assert pupil(user("p"), pupils=["p"], staff=REFUSED) == REFUSED


def holds(held: Any) -> Any:
    (found,) = derive("school_people", users=[user("p")], roster_people=[], role_holders=held)
    return found["holds_role"]


def test_a_role_counts_wherever_it_comes_from() -> None:
    assert holds(roles(holder("p", role=DIRECTORY_READERS, scope="/administrativeUnits/u1"))) is True
    assert holds(roles(holder("g", "group", members=["p"]))) is True
    assert holds(roles(eligible=[holder("p")])) is True
    assert holds(roles(holder("x"))) is False
    assert holds(roles(holder("g", "group", members=REFUSED))) == REFUSED
    assert holds(roles(holder("p"), eligible=REFUSED)) is True
    assert holds(REFUSED) == REFUSED


def entry(key: str, name: str, external: Any = None, number: Any = None) -> dict[str, Any]:
    return {"id": key, "name": name, "external_id": external, "number": number}


def match(*entries: Any, schools: tuple[School, ...] = (OAK, PLAIN)) -> Any:
    held = entries[0] if entries and isinstance(entries[0], Partial) else list(entries)
    found = derive("school_roster", *schools, roster_schools=held)
    return sorted((i["name"], i["state"]) for i in (found.items if isinstance(found, Partial) else found))


def test_schools_are_told_by_number_and_not_by_name() -> None:
    assert match(entry("1", "Oakfield", "100001"), entry("2", "Elm", None, "100002")) == [
        ("Elm Grove", "known"),
        ("Oakfield Primary School", "known"),
    ]
    assert match(entry("1", "Oakfield Primary School", "999"), entry("2", "Elm", None, "100002")) == [
        ("Elm Grove", "known"),
        ("Oakfield Primary School", "foreign"),
        ("Oakfield Primary School", "missing"),
    ]
    bare = School("ash", "Ashdown High", "ASH")
    assert match(entry("1", "ashdown high", "X"), schools=(bare,)) == [("Ashdown High", "known")]
    assert match(entry("1", "Else", "ash"), schools=(bare,)) == [("Ashdown High", "known")]


def test_a_roster_that_was_cut_off_misses_nobody() -> None:
    cut = Partial((entry("1", "Oakfield", "100001"),), CUT)
    assert match(cut) == [("Elm Grove", CUT), ("Oakfield Primary School", "known")]


def qr(*targets: str, state: str = "enabled", groups: Any = (), schools: tuple[School, ...] = (OAK,)) -> Any:
    method = {"id": "QRCodePin", "state": state, "targets": list(targets), "pin_length": 8}
    held = groups if isinstance(groups, Unknown) else list(groups)
    return derive("qr_sign_in", *schools, authentication_methods={"methods": [method]}, groups=held)


def test_qr_codes_are_for_the_pupil_groups_of_schools() -> None:
    named = [{"id": "g-1", "name": "Pupils"}, {"id": "g-2", "name": "Staff"}]
    assert qr("g-1", groups=named) == {"on": True, "pin_length": 8, "others": []}
    assert qr("g-1", "g-2", groups=named)["others"] == ["Staff"]
    assert qr("all_users", groups=named)["others"] == ["everybody"]
    assert qr("g-1", groups=named, schools=(PLAIN,))["others"] == ["Pupils"], "no school says that they are pupils"
    assert qr("g-9", groups=REFUSED)["others"] == Partial((), REFUSED)
    assert qr("g-9", groups=named)["others"] == ["g-9"]
    assert derive("qr_sign_in", OAK, authentication_methods={"methods": []})["on"] is False
    assert derive("qr_sign_in", OAK, authentication_methods={"methods": REFUSED}) == REFUSED


# Intune

BY_CHOICE = Unknown(Reason.BY_CHOICE, "beta")


def profile(kind: str = "protection", assigned: Any = True, **more: Any) -> dict[str, Any]:
    known = {"bitlocker": False, "firewall": False, "firewall_in_part": False, "paused": False, "fix_days": None}
    return {"id": "p", "name": "P", "kind": kind, "assigned": assigned, **known, **more}


def gives(field: str, profiles: Any, catalogue: Any = BY_CHOICE) -> Any:
    found = derive(
        "windows_profiles", parameters={"fix_days": 14}, device_profiles=profiles, settings_catalogue=catalogue
    )
    return found[field] if isinstance(found, dict) else found


def policy(**more: Any) -> dict[str, Any]:
    return {"id": "c", "name": "C", "platforms": "windows10", "family": "none", "assigned": True, **more}


@pytest.mark.parametrize(
    ("field", "profiles", "catalogue", "expected"),
    [
        ("bitlocker", [profile(bitlocker=True)], BY_CHOICE, True),
        ("bitlocker", [profile(bitlocker=True, assigned=False)], BY_CHOICE, BY_CHOICE),
        ("bitlocker", [profile()], BY_CHOICE, BY_CHOICE),
        ("bitlocker", [], [], False),
        ("bitlocker", [], [policy(platforms="iOS"), policy(assigned=False)], False),
        ("bitlocker", [], [policy(family="endpointSecurityAntivirus")], False),
        ("bitlocker", [profile(assigned=REFUSED, bitlocker=True)], [], REFUSED),
        ("bitlocker", Partial((), CUT), [], CUT),
        ("bitlocker", Partial((profile(bitlocker=True),), CUT), BY_CHOICE, True),
        ("firewall", [profile(firewall=True, firewall_in_part=True)], BY_CHOICE, True),
        ("firewall", [profile(firewall_in_part=True)], BY_CHOICE, False),
        ("firewall", [profile(firewall_in_part=True, assigned=False)], BY_CHOICE, BY_CHOICE),
        ("fixes_in_time", [profile("update_ring", fix_days=14)], BY_CHOICE, True),
        ("fixes_in_time", [profile("update_ring", fix_days=15)], BY_CHOICE, False),
        ("fixes_in_time", [profile("update_ring", fix_days=7, paused=True)], BY_CHOICE, False),
        ("fixes_in_time", [profile("update_ring")], BY_CHOICE, False),
        ("fixes_in_time", [profile("update_ring", fix_days=15), profile("update_ring", fix_days=3)], [], True),
        ("fixes_in_time", [profile("protection", fix_days=3)], BY_CHOICE, BY_CHOICE),
        ("fixes_in_time", [profile("update_ring", fix_days=REFUSED)], BY_CHOICE, REFUSED),
    ],
)
def test_profiles(field: str, profiles: Any, catalogue: Any, expected: Any) -> None:
    assert gives(field, profiles, catalogue) == expected


@pytest.mark.parametrize("family", [None, "none", "endpointSecurityDiskEncryption"])
def test_a_policy_that_cannot_be_looked_into_is_doubt(family: Any) -> None:
    found = gives("bitlocker", [], [policy(family=family)])
    assert isinstance(found, Unknown)
    assert "policy C" in found.detail


def test_local_passwords_and_the_devices_without_one() -> None:
    kept = [
        {"id": "e1", "name": "OAK-1", "backed_up": "2026-10-20T00:00:00Z"},
        {"id": "e9", "name": "OAK-9", "backed_up": None},
    ]
    known = {"os": "Windows", "joined": "AzureAd", "enabled": True}
    devices = [
        {"id": "o1", "name": "OAK-1", "entra_device_id": "e1", **known},
        {"id": "o2", "name": "OAK-2", "entra_device_id": "e2", **known},
        {"id": "o3", "name": "HYBRID", "entra_device_id": "e3", **known, "joined": "ServerAd"},
        {"id": "o4", "name": "IPAD", "entra_device_id": "e4", **known, "os": "iPad"},
        {"id": "o5", "name": "OFF", "entra_device_id": "e5", **known, "enabled": False},
        {"id": "o9", "name": "OAK-9", "entra_device_id": "e9", **known, "enabled": False},
    ]
    found = derive("laps_devices", local_passwords=kept, entra_devices=devices)
    assert [(d["id"], d["backed_up"]) for d in found] == [("o1", "2026-10-20T00:00:00Z"), ("o2", None)]
    unsure = derive("laps_devices", local_passwords=kept, entra_devices=REFUSED)
    assert [d["id"] for d in unsure.items] == ["e1", "e9"]
    assert unsure.why == REFUSED


def test_versions_of_systems_that_the_trust_sets_one_for() -> None:
    devices = [
        {"id": "1", "name": "A", "os": "windows", "os_version": "10.0.26100.1"},
        {"id": "2", "name": "B", "os": "windows", "os_version": "10.0.9200"},
        {"id": "3", "name": "C", "os": "chromeos", "os_version": "1"},
        {"id": "4", "name": "D", "os": "windows", "os_version": None},
        {"id": "5", "name": "E", "os": REFUSED, "os_version": "1"},
    ]
    found = derive(
        "device_versions", parameters={"lowest_versions": {"windows": "10.0.26100"}}, managed_devices=devices
    )
    supported = [d["supported"] for d in found]
    assert supported[:3] == [True, False, None]
    assert all(isinstance(s, Unknown) for s in supported[3:])
