"""What conditional access does beyond asking for MFA: cases in which one policy looks right and is not, or two are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from agent.derive import View, load_all
from agent.derive.conditional_access import EXCHANGE, SHAREPOINT, SYNC_ROLE
from agent.facts.m365.conditional_access import parse_policy
from agent.model import Partial, Reading, Reason, School, Unknown
from tests.derive.test_conditional_access import BG, GUESTS, PUPILS, STAFF, grant, guests, only, person, policy

load_all()
ADMIN = "62e90394-69f5-4237-9190-012177145e10"
READER = "f2ef992c-3afb-46b9-b7cf-a126ee74c451"
TRUSTED, ABROAD = "11111111-0000-4000-8000-000000000001", "11111111-0000-4000-8000-000000000002"
REGISTER, JOIN = "urn:user:registersecurityinfo", "urn:user:registerdevice"
SCHOOL = School("oak", "Oakfield", tenant={"use": "t", "staff_groups": [STAFF], "pupil_groups": [PUPILS]})
PEOPLE = [person("teacher"), person("pupil"), person("caretaker")]
MEMBERS = {STAFF: ["teacher", "caretaker"], PUPILS: ["pupil"]}


def look(name: str, policies: Any, *, schools: tuple[School, ...] = (), **facts: Any) -> Any:
    held: dict[str, Any] = {
        "conditional_access.policies": policies,
        "conditional_access.groups": [
            {"id": g, "name": g, "members": m, "groups": []} for g, m in {**MEMBERS, "g-other": ["caretaker"]}.items()
        ],
        "users": PEOPLE,
        "role_holders": {"active": [], "eligible": []},
        "named_locations": [{"id": TRUSTED, "trusted": True}, {"id": ABROAD, "trusted": False}],
        **facts,
    }
    parameters = {"break_glass_accounts": [BG], "allowed_excluded_apps": [], "admin_session_hours": 24}
    view = View(
        "m365", {k: Reading(v) for k, v in held.items()}, datetime(2026, 11, 1, tzinfo=UTC), parameters, schools
    )
    return view.get(f"conditional_access.{name}")


def reached(*args: Any, **more: Any) -> str:
    got = look(*args, **more)
    return "unknown" if isinstance(got, Unknown) else str(got["reaches"])


def session(name: str = "s", *, state: str = "enabled", hours: Any = None, browser: str = "", **more: Any) -> Any:
    """A policy with session controls and no grant."""
    body: dict[str, Any] = {
        "id": name,
        "displayName": name,
        "state": state,
        "grantControls": None,
        "conditions": {
            "users": more.pop("users", {"includeUsers": ["All"]}),
            "applications": {"includeApplications": more.pop("apps", ["All"])},
            "clientAppTypes": more.pop("clients", ["all"]),
        },
        "sessionControls": {
            "signInFrequency": hours,
            "persistentBrowser": {"isEnabled": True, "mode": browser} if browser else None,
            **more,
        },
    }
    return parse_policy(body)


def every(value: int, unit: str = "hours") -> dict[str, Any]:
    return {"isEnabled": True, "type": unit, "value": value, "frequencyInterval": "timeBased"}


MANAGED = grant("compliantDevice", "domainJoinedDevice")
PROTECTED = grant("compliantApplication")
PHONES: dict[str, Any] = {"includePlatforms": ["android", "iOS"], "includeApplications": ["Office365"]}
PORTALS: dict[str, Any] = {"includeApplications": ["MicrosoftAdminPortals"]}
ELSEWHERE: dict[str, Any] = {"includeLocations": ["All"]}
LIMIT: dict[str, Any] = {"applicationEnforcedRestrictions": {"isEnabled": True}}

CASES: list[tuple[str, str, list[dict[str, Any]], str]] = [
    # administration pages
    (
        "administrators left out",
        "admin_portals_blocked",
        [policy("p", "block", **PORTALS, excludeRoles=[ADMIN])],
        "everyone",
    ),
    (
        "a reader is an administrator too",
        "admin_portals_blocked",
        [policy("p", "block", **PORTALS, excludeRoles=[ADMIN, READER])],
        "everyone",
    ),
    ("a group left out", "admin_portals_blocked", [policy("p", "block", **PORTALS, excludeGroups=["g-other"])], "some"),
    ("asks for MFA in place of blocking", "admin_portals_blocked", [policy("p", "mfa", **PORTALS)], "nobody"),
    (
        "guests left out",
        "admin_portals_blocked",
        [policy("p", "block", **PORTALS, excludeGuestsOrExternalUsers=guests())],
        "some",
    ),
    (
        "only reports",
        "admin_portals_blocked",
        [policy("p", "block", "enabledForReportingButNotEnforced", **PORTALS)],
        "nobody",
    ),
    (
        "on Windows only",
        "admin_portals_blocked",
        [policy("p", "block", **PORTALS, includePlatforms=["windows"])],
        "some",
    ),
    ("pupils only", "admin_portals_blocked", [policy("p", "block", **PORTALS, **only(PUPILS))], "some"),
    # registering ways to sign in
    ("a managed device", "registration_guarded", [policy("r", MANAGED, includeUserActions=[REGISTER])], "everyone"),
    (
        "or a trusted place",
        "registration_guarded",
        [
            policy(
                "r", MANAGED, includeUserActions=[REGISTER], includeLocations=["All"], excludeLocations=["AllTrusted"]
            )
        ],
        "everyone",
    ),
    (
        "blocked but in a trusted place by name",
        "registration_guarded",
        [policy("r", "block", includeUserActions=[REGISTER], includeLocations=["All"], excludeLocations=[TRUSTED])],
        "everyone",
    ),
    (
        "blocked but in a place that is not trusted",
        "registration_guarded",
        [policy("r", "block", includeUserActions=[REGISTER], includeLocations=["All"], excludeLocations=[ABROAD])],
        "some",
    ),
    (
        "MFA says nothing of the device",
        "registration_guarded",
        [policy("r", "mfa", includeUserActions=[REGISTER])],
        "nobody",
    ),
    (
        "MFA or a managed device",
        "registration_guarded",
        [policy("r", grant("mfa", "compliantDevice"), includeUserActions=[REGISTER])],
        "nobody",
    ),
    ("a policy for all apps is not for this", "registration_guarded", [policy("r", MANAGED)], "nobody"),
    ("the other action", "registration_guarded", [policy("r", MANAGED, includeUserActions=[JOIN])], "nobody"),
    # joining devices
    ("MFA to join", "device_registration_mfa", [policy("j", "mfa", includeUserActions=[JOIN])], "everyone"),
    ("MFA for all apps is not for this", "device_registration_mfa", [policy("j", "mfa")], "nobody"),
    ("staff only", "device_registration_mfa", [policy("j", "mfa", includeUserActions=[JOIN], **only(STAFF))], "some"),
    (
        "both groups, one policy each",
        "device_registration_mfa",
        [
            policy("a", "mfa", includeUserActions=[JOIN], excludeGroups=[PUPILS]),
            policy("b", "mfa", includeUserActions=[JOIN], **only(PUPILS)),
        ],
        "everyone",
    ),
    # a policy for an action is none for apps
    ("an action is no app", "mfa_everyone", [policy("j", "mfa", includeUserActions=[JOIN])], "nobody"),
    # administrators' sessions
    ("four hours", "admin_sessions_short", [session(hours=every(4))], "everyone"),
    (
        "every time",
        "admin_sessions_short",
        [session(hours={"isEnabled": True, "frequencyInterval": "everyTime"})],
        "everyone",
    ),
    ("a day is as long as it may be", "admin_sessions_short", [session(hours=every(1, "days"))], "everyone"),
    ("two days", "admin_sessions_short", [session(hours=every(2, "days"))], "nobody"),
    ("switched off", "admin_sessions_short", [session(hours={**every(4), "isEnabled": False})], "nobody"),
    (
        "one role of fifteen",
        "admin_sessions_short",
        [session(hours=every(4), users={"includeUsers": [], "includeRoles": [ADMIN]})],
        "some",
    ),
    ("one app", "admin_sessions_short", [session(hours=every(4), apps=["MicrosoftAdminPortals"])], "some"),
    (
        "only reports, again",
        "admin_sessions_short",
        [session(hours=every(4), state="enabledForReportingButNotEnforced")],
        "nobody",
    ),
    ("a unit nobody knows", "admin_sessions_short", [session(hours=every(4, "weeks"))], "unknown"),
    ("never kept", "admin_browsers_forget", [session(browser="never")], "everyone"),
    ("always kept", "admin_browsers_forget", [session(browser="always")], "nobody"),
    # limited access from unmanaged devices
    ("Office 365", "unmanaged_limited", [session(apps=["Office365"], **LIMIT)], "everyone"),
    ("mail and files by name", "unmanaged_limited", [session(apps=[EXCHANGE, SHAREPOINT], **LIMIT)], "everyone"),
    (
        "one policy for each",
        "unmanaged_limited",
        [session("a", apps=[EXCHANGE], **LIMIT), session("b", apps=[SHAREPOINT], **LIMIT)],
        "everyone",
    ),
    ("files only", "unmanaged_limited", [session(apps=[SHAREPOINT], **LIMIT)], "some"),
    ("browsers only", "unmanaged_limited", [session(apps=["Office365"], clients=["browser"], **LIMIT)], "some"),
    (
        "both modern clients",
        "unmanaged_limited",
        [session(apps=["Office365"], clients=["browser", "mobileAppsAndDesktopClients"], **LIMIT)],
        "everyone",
    ),
    (
        "switched off, again",
        "unmanaged_limited",
        [session(apps=["Office365"], applicationEnforcedRestrictions={"isEnabled": False})],
        "nobody",
    ),
    # sign-ins from elsewhere
    (
        "but for the countries",
        "elsewhere_blocked",
        [policy("e", "block", **ELSEWHERE, excludeLocations=[ABROAD])],
        "everyone",
    ),
    (
        "for pupils only",
        "elsewhere_blocked",
        [policy("e", "block", **ELSEWHERE, excludeLocations=[ABROAD], **only(PUPILS))],
        "some",
    ),
    (
        "some countries are named, the rest is open",
        "elsewhere_blocked",
        [policy("e", "block", includeLocations=[ABROAD])],
        "some",
    ),
    (
        "guests from anywhere",
        "elsewhere_blocked",
        [policy("e", "block", **ELSEWHERE, excludeLocations=[ABROAD], excludeGuestsOrExternalUsers=guests())],
        "some",
    ),
    (
        "MFA from elsewhere is no block",
        "elsewhere_blocked",
        [policy("e", "mfa", **ELSEWHERE, excludeLocations=[ABROAD])],
        "nobody",
    ),
    (
        "emergency account left out",
        "elsewhere_blocked",
        [policy("e", "block", **ELSEWHERE, excludeLocations=[ABROAD], excludeUsers=[BG])],
        "everyone",
    ),
    ("off", "elsewhere_blocked", [policy("e", "block", "disabled", **ELSEWHERE, excludeLocations=[ABROAD])], "nobody"),
]


@pytest.mark.parametrize(("name", "fact", "policies", "expected"), CASES, ids=[f"{c[1]}: {c[0]}" for c in CASES])
def test_reach(name: str, fact: str, policies: list[dict[str, Any]], expected: str) -> None:
    assert reached(fact, policies) == expected


@pytest.mark.parametrize(
    ("grants", "conditions", "expected"),
    [
        (PROTECTED, PHONES, "everyone"),
        (grant("approvedApplication", "compliantApplication"), PHONES, "everyone"),
        (grant("compliantApplication", "compliantDevice"), PHONES, "nobody"),
        (grant("compliantApplication", "mfa", operator="AND"), PHONES, "everyone"),
        (PROTECTED, {**PHONES, "includePlatforms": ["all"]}, "everyone"),
        (PROTECTED, {**PHONES, "includePlatforms": ["all"], "excludePlatforms": ["iOS"]}, "some"),
        (PROTECTED, {**PHONES, "includePlatforms": ["iOS"]}, "some"),
        (PROTECTED, {**PHONES, "clientAppTypes": ["mobileAppsAndDesktopClients"]}, "some"),
        (PROTECTED, {**PHONES, "includeApplications": [EXCHANGE]}, "some"),
        (PROTECTED, {**PHONES, **only(STAFF)}, "everyone"),
        (PROTECTED, {**PHONES, **only("g-other")}, "some"),
        (PROTECTED, {**PHONES, "excludeGroups": [PUPILS]}, "everyone"),
        (PROTECTED, {**PHONES, "excludeGroups": ["g-other"]}, "some"),
        (PROTECTED, {**PHONES, "excludeGuestsOrExternalUsers": guests(GUESTS)}, "some"),
    ],
)
def test_phones_of_the_staff(grants: Any, conditions: dict[str, Any], expected: str) -> None:
    assert reached("phones_protected", [policy("p", grants, **conditions)], schools=(SCHOOL,)) == expected


def test_a_trusted_place_that_may_not_be_read_is_doubt() -> None:
    held = [policy("r", "block", includeUserActions=[REGISTER], includeLocations=["All"], excludeLocations=[TRUSTED])]
    lost = Unknown(Reason.PERMISSION, "Policy.Read.All")
    assert look("registration_guarded", held, named_locations=lost) == lost
    assert (
        reached("registration_guarded", [policy("r", MANAGED, includeUserActions=[REGISTER])], named_locations=lost)
        == "everyone"
    )


def test_policies_that_were_cut_off() -> None:
    cut = Partial((), Unknown(Reason.THROTTLED))
    for fact in ("admin_portals_blocked", "admin_sessions_short", "unmanaged_limited", "elsewhere_blocked"):
        assert reached(fact, cut) == "unknown"


# Upkeep


def gone(policies: Any, **facts: Any) -> Any:
    known = {"users": [{"id": "u1"}], "groups": [{"id": "g1"}], **facts}
    got = look("references", policies, **known)
    return {p["name"]: p["gone"] for p in got} if isinstance(got, list) else got


def test_references_that_are_gone_whatever_the_state() -> None:
    held = [
        policy("fine", includeUsers=["u1"], excludeGroups=["g1"]),
        policy("words", includeUsers=["All"], excludeUsers=["GuestsOrExternalUsers"]),
        policy("off", "block", "disabled", includeUsers=["gone-1"]),
        policy("reports", "block", "enabledForReportingButNotEnforced", excludeGroups=["gone-2", "g1"]),
    ]
    assert gone(held) == {"fine": [], "words": [], "off": ["gone-1"], "reports": ["gone-2"]}


def test_what_could_not_be_listed_is_not_gone() -> None:
    held = [policy("p", includeUsers=["u2"], excludeGroups=["g2"])]
    refused = Unknown(Reason.PERMISSION, "Group.Read.All")
    assert gone(held, groups=refused) == {"p": Partial(("u2",), refused)}
    cut = Partial(({"id": "u1"},), Unknown(Reason.THROTTLED))
    assert gone(held, users=cut, groups=[{"id": "g2"}]) == {"p": Partial((), Unknown(Reason.THROTTLED))}


def left_out(policies: Any, schools: tuple[School, ...] = (), **parameters: Any) -> Any:
    groups = [{"id": "g1", "name": "GRP-Copiers"}, {"id": "g-p", "name": "GRP-Pupils"}]
    held = {
        "conditional_access.policies": policies,
        "conditional_access.groups": groups,
        "users": [{"id": "u1", "upn": "svc@x"}],
    }
    view = View(
        "m365", {k: Reading(v) for k, v in held.items()}, datetime(2026, 11, 1, tzinfo=UTC), parameters, schools
    )
    return {p["name"]: p["undeclared"] for p in view.get("conditional_access.exclusions")}


def test_exclusions_that_nobody_declared() -> None:
    held = [
        policy("mfa", excludeUsers=["bg", "u1"], excludeGroups=["g1"]),
        policy("guests", excludeUsers=["GuestsOrExternalUsers"]),
        policy("some guests", excludeGuestsOrExternalUsers=guests("b2bCollaborationGuest")),
        policy("app", excludeApplications=["app-1"]),
        policy("role", excludeRoles=[SYNC_ROLE]),
        policy("off", "mfa", "disabled", excludeUsers=["u1"]),
    ]
    assert left_out(held, break_glass_accounts=["BG"]) == {
        "mfa": ["GRP-Copiers", "svc@x"],
        "guests": ["GuestsOrExternalUsers"],
        "some guests": ["b2bCollaborationGuest"],
        "app": ["app-1"],
        "role": [],
    }
    allowed: dict[str, Any] = {
        "allowed_excluded_accounts": ["grp-copiers", "u1", "b2bCollaborationGuest", "guestsorexternalusers"]
    }
    got = left_out(held, break_glass_accounts=["bg"], allowed_excluded_apps=["APP-1"], **allowed)
    assert set(map(tuple, got.values())) == {()}


def test_pupils_may_be_left_out_where_their_school_says_who_they_are() -> None:
    held = [policy("mfa", excludeGroups=["g-p"])]
    assert left_out(held) == {"mfa": ["GRP-Pupils"]}
    by_name = School("oak", "Oakfield", tenant={"use": "t", "pupil_groups": "GRP-Pupils"})
    by_id = School("oak", "Oakfield", tenant={"use": "t", "pupil_groups": ["G-P"]})
    assert left_out(held, (by_name,)) == left_out(held, (by_id,)) == {"mfa": []}
