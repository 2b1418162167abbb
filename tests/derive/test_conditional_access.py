"""Who is reached when policies combine: the cases in which other tools are wrong, and the ones that must be unknown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from agent.derive import View, load_all
from agent.derive.conditional_access import PRIVILEGED
from agent.derive.m365_grants import demands_mfa, demands_new_password, demands_phishing_resistant, is_strong
from agent.facts.m365.conditional_access import parse_policy
from agent.model import Partial, Reading, Reason, School, Unknown

load_all()

BG, STAFF, PUPILS, EXEMPT, ADMIN = "bg-1", "g-staff", "g-pupils", "g-exempt", "62e90394-69f5-4237-9190-012177145e10"
SYNC = "d29b2b05-8046-44ba-8758-1e26182fcf32"
GUESTS = (
    "internalGuest,b2bCollaborationGuest,b2bCollaborationMember,b2bDirectConnectUser,otherExternalUser,serviceProvider"
)
LEGACY = ["exchangeActiveSync", "other"]


def policy(name: str = "p", grant: Any = "mfa", state: str = "enabled", **conditions: Any) -> dict[str, Any]:
    """A policy as Graph sends it, made flat by the real parser. Bare words go to their place in the conditions."""
    users: dict[str, Any] = {"includeUsers": ["All"]}
    apps: dict[str, Any] = {"includeApplications": ["All"]}
    rest: dict[str, Any] = {"clientAppTypes": ["all"]}
    for key, value in conditions.items():
        if key in ("includeApplications", "excludeApplications", "includeUserActions", "applicationFilter"):
            apps[key] = value
        elif key.startswith(("include", "exclude")) and not key.endswith(("Platforms", "Locations")):
            users[key] = value
        elif key.endswith("Platforms"):
            rest.setdefault("platforms", {})[key] = value
        elif key.endswith("Locations"):
            rest.setdefault("locations", {})[key] = value
        else:
            rest[key] = value
    controls = grant if isinstance(grant, dict) else {"operator": "OR", "builtInControls": [grant]}
    return parse_policy(
        {
            "id": name,
            "displayName": name,
            "state": state,
            "grantControls": controls,
            "conditions": {**rest, "users": users, "applications": apps},
        }
    )


def grant(*controls: str, operator: str = "OR", **more: Any) -> dict[str, Any]:
    return {"operator": operator, "builtInControls": list(controls), **more}


def strength(*combinations: str, id: str = "custom") -> dict[str, Any]:
    return grant(authenticationStrength={"id": id, "allowedCombinations": list(combinations)})


def guests(types: str = GUESTS, kind: str = "all", *tenants: str) -> dict[str, Any]:
    return {"guestOrExternalUserTypes": types, "externalTenants": {"membershipKind": kind, "members": list(tenants)}}


def only(group: str, **more: Any) -> dict[str, Any]:
    return {"includeUsers": [], "includeGroups": [group], **more}


def person(key: str, **more: Any) -> dict[str, Any]:
    return {"id": key, "upn": f"{key}@x.example", "enabled": True, "guest": False, **more}


def ask(
    what: str,
    policies: Any,
    *,
    groups: dict[str, Any] | None = None,
    users: Any = (),
    holders: Any = (),
    schools: tuple[School, ...] = (),
    apps: tuple[str, ...] = (),
    emergency: tuple[str, ...] = (BG,),
) -> Any:
    named = [{"id": g, "name": g, "members": m, "groups": []} for g, m in (groups or {}).items()]
    facts = {
        "conditional_access.policies": policies,
        "conditional_access.groups": named,
        "users": users if isinstance(users, (Unknown, Partial)) else list(users),
        "role_holders": {"active": list(holders), "eligible": []} if not isinstance(holders, Unknown) else holders,
    }
    parameters = {"break_glass_accounts": list(emergency), "allowed_excluded_apps": list(apps)}
    view = View(
        "m365", {k: Reading(v) for k, v in facts.items()}, datetime(2026, 11, 1, tzinfo=UTC), parameters, schools
    )
    return view.get(f"conditional_access.{what}")


def reaches(*args: Any, **more: Any) -> Any:
    got = ask(*args, **more)
    return "unknown" if isinstance(got, Unknown) else got["reaches"]


BLOCK = policy("block", "block", clientAppTypes=LEGACY)
MFA = policy("mfa")

CASES: list[tuple[str, str, list[dict[str, Any]], str]] = [
    # legacy sign-in
    ("one policy for both clients", "legacy_auth_blocked", [BLOCK], "everyone"),
    ("no policy", "legacy_auth_blocked", [], "nobody"),
    (
        "report-only is not enforcement",
        "legacy_auth_blocked",
        [policy("r", "block", "enabledForReportingButNotEnforced", clientAppTypes=LEGACY)],
        "nobody",
    ),
    ("disabled", "legacy_auth_blocked", [policy("d", "block", "disabled", clientAppTypes=LEGACY)], "nobody"),
    (
        "two policies, one client each",
        "legacy_auth_blocked",
        [policy("a", "block", clientAppTypes=["exchangeActiveSync"]), policy("b", "block", clientAppTypes=["other"])],
        "everyone",
    ),
    ("one client only", "legacy_auth_blocked", [policy("a", "block", clientAppTypes=["other"])], "some"),
    ("modern clients only", "legacy_auth_blocked", [policy("a", "block", clientAppTypes=["browser"])], "nobody"),
    ("asks for MFA in place of blocking", "legacy_auth_blocked", [policy("a", clientAppTypes=LEGACY)], "nobody"),
    (
        "one app only",
        "legacy_auth_blocked",
        [policy("a", "block", clientAppTypes=LEGACY, includeApplications=["Office365"])],
        "some",
    ),
    (
        "emergency account left out",
        "legacy_auth_blocked",
        [policy("a", "block", clientAppTypes=LEGACY, excludeUsers=[BG])],
        "everyone",
    ),
    (
        "somebody else left out",
        "legacy_auth_blocked",
        [policy("a", "block", clientAppTypes=LEGACY, excludeUsers=["u9"])],
        "some",
    ),
    (
        "left out of one, caught by another",
        "legacy_auth_blocked",
        [
            policy("a", "block", clientAppTypes=LEGACY, excludeGroups=[EXEMPT]),
            policy("b", "block", clientAppTypes=LEGACY, **only(EXEMPT)),
        ],
        "everyone",
    ),
    (
        "left out of both",
        "legacy_auth_blocked",
        [
            policy("a", "block", clientAppTypes=LEGACY, excludeGroups=[EXEMPT]),
            policy("b", "block", clientAppTypes=LEGACY, excludeGroups=[EXEMPT]),
        ],
        "some",
    ),
    (
        "each leaves out another group",
        "legacy_auth_blocked",
        [
            policy("a", "block", clientAppTypes=LEGACY, excludeUsers=["u8"]),
            policy("b", "block", clientAppTypes=LEGACY, excludeUsers=["u9"]),
        ],
        "everyone",
    ),
    (
        "guests left out",
        "legacy_auth_blocked",
        [policy("a", "block", clientAppTypes=LEGACY, excludeGuestsOrExternalUsers=guests())],
        "some",
    ),
    (
        "guests left out in the old way",
        "legacy_auth_blocked",
        [policy("a", "block", clientAppTypes=LEGACY, excludeUsers=["GuestsOrExternalUsers"])],
        "some",
    ),
    (
        "guests left out, with a policy of their own",
        "legacy_auth_blocked",
        [
            policy("a", "block", clientAppTypes=LEGACY, excludeGuestsOrExternalUsers=guests()),
            policy("b", "block", clientAppTypes=LEGACY, includeUsers=[], includeGuestsOrExternalUsers=guests()),
        ],
        "everyone",
    ),
    (
        "only when risky",
        "legacy_auth_blocked",
        [policy("a", "block", clientAppTypes=LEGACY, signInRiskLevels=["high"])],
        "some",
    ),
    # everyone and MFA
    ("all users, all apps", "mfa_everyone", [MFA], "everyone"),
    ("MFA or a compliant device", "mfa_everyone", [policy("a", grant("mfa", "compliantDevice"))], "nobody"),
    (
        "MFA and a compliant device",
        "mfa_everyone",
        [policy("a", grant("mfa", "compliantDevice", operator="AND"))],
        "everyone",
    ),
    ("MFA or terms of use", "mfa_everyone", [policy("a", grant("mfa", termsOfUse=["t"]))], "nobody"),
    ("only a managed device", "mfa_everyone", [policy("a", "compliantDevice")], "nobody"),
    (
        "outside the office only",
        "mfa_everyone",
        [policy("a", includeLocations=["All"], excludeLocations=["AllTrusted"])],
        "some",
    ),
    (
        "outside, and inside by another",
        "mfa_everyone",
        [
            policy("a", includeLocations=["All"], excludeLocations=["AllTrusted"]),
            policy("b", includeLocations=["AllTrusted"]),
        ],
        "everyone",
    ),
    ("some platforms", "mfa_everyone", [policy("a", includePlatforms=["windows", "macOS"])], "some"),
    (
        "all platforms that have a name, and nothing for the rest",
        "mfa_everyone",
        [policy("a", includePlatforms=["android", "iOS", "windows", "windowsPhone", "macOS", "linux"])],
        "some",
    ),
    (
        "the rest blocked by another policy",
        "mfa_everyone",
        [
            policy("a", includePlatforms=["android", "iOS", "windows", "macOS"]),
            policy("b", "block", includePlatforms=["all"], excludePlatforms=["android", "iOS", "windows", "macOS"]),
        ],
        "everyone",
    ),
    (
        "not on filtered devices",
        "mfa_everyone",
        [policy("a", devices={"deviceFilter": {"mode": "exclude", "rule": "device.isCompliant -eq True"}})],
        "some",
    ),
    (
        "filtered devices by another policy",
        "mfa_everyone",
        [
            policy("a", devices={"deviceFilter": {"mode": "exclude", "rule": "device.isCompliant -eq True"}}),
            policy("b", devices={"deviceFilter": {"mode": "include", "rule": "device.isCompliant  -eq True"}}),
        ],
        "everyone",
    ),
    (
        "modern clients only",
        "mfa_everyone",
        [policy("a", clientAppTypes=["browser", "mobileAppsAndDesktopClients"])],
        "some",
    ),
    (
        "modern clients, legacy blocked",
        "mfa_everyone",
        [policy("a", clientAppTypes=["browser", "mobileAppsAndDesktopClients"]), BLOCK],
        "everyone",
    ),
    ("an app left out", "mfa_everyone", [policy("a", excludeApplications=["app-0001"])], "some"),
    (
        "a filter on apps",
        "mfa_everyone",
        [policy("a", applicationFilter={"mode": "exclude", "rule": "CustomSecurityAttribute.x -eq y"})],
        "some",
    ),
    (
        "only for an action",
        "mfa_everyone",
        [policy("a", includeApplications=[], includeUserActions=["urn:user:registersecurityinfo"])],
        "nobody",
    ),
    (
        "only by a code on another device",
        "mfa_everyone",
        [policy("a", authenticationFlows={"transferMethods": "deviceCodeFlow"})],
        "some",
    ),
    ("the sync role left out", "mfa_everyone", [policy("a", excludeRoles=[SYNC])], "everyone"),
    ("a condition of the future", "mfa_everyone", [policy("a", agents={"includeAgents": ["x"]})], "unknown"),
    ("a grant of the future, alone", "mfa_everyone", [policy("a", "unknownFutureValue")], "unknown"),
    (
        "a grant of the future beside a weaker one",
        "mfa_everyone",
        [policy("a", grant("unknownFutureValue", "compliantDevice"))],
        "nobody",
    ),
    (
        "something unknown does not spoil what is sure",
        "mfa_everyone",
        [MFA, policy("a", agents={"includeAgents": ["x"]})],
        "everyone",
    ),
    (
        "a policy for apps' own sign-ins",
        "mfa_everyone",
        [policy("a", "block", includeUsers=["None"], clientApplications={"includeServicePrincipals": ["sp-1"]})],
        "nobody",
    ),
    # guests
    ("all six kinds", "mfa_guests", [policy("a", includeUsers=[], includeGuestsOrExternalUsers=guests())], "everyone"),
    ("the old word for guests", "mfa_guests", [policy("a", includeUsers=["GuestsOrExternalUsers"])], "everyone"),
    (
        "five kinds",
        "mfa_guests",
        [policy("a", includeUsers=[], includeGuestsOrExternalUsers=guests(GUESTS.rpartition(",")[0]))],
        "some",
    ),
    (
        "guests of one partner",
        "mfa_guests",
        [policy("a", includeUsers=[], includeGuestsOrExternalUsers=guests(GUESTS, "enumerated", "t-1"))],
        "some",
    ),
    (
        "all users but one partner's guests",
        "mfa_guests",
        [policy("a", excludeGuestsOrExternalUsers=guests(GUESTS, "enumerated", "t-1"))],
        "some",
    ),
    # administrators
    ("every role named", "mfa_admins", [policy("a", includeUsers=[], includeRoles=list(PRIVILEGED))], "everyone"),
    ("all users", "mfa_admins", [MFA], "everyone"),
    ("one role forgotten", "mfa_admins", [policy("a", includeUsers=[], includeRoles=list(PRIVILEGED)[1:])], "some"),
    ("a role left out", "mfa_admins", [policy("a", excludeRoles=[ADMIN])], "some"),
    ("in the portals only", "mfa_admins", [policy("a", includeApplications=["MicrosoftAdminPortals"])], "some"),
    (
        "phishing-resistant for admins",
        "mfa_admins",
        [policy("a", strength("windowsHelloForBusiness", "fido2", "x509CertificateMultiFactor"))],
        "everyone",
    ),
    # device code flow
    (
        "blocked",
        "device_code_blocked",
        [policy("a", "block", authenticationFlows={"transferMethods": "deviceCodeFlow,authenticationTransfer"})],
        "everyone",
    ),
    (
        "only the transfer blocked",
        "device_code_blocked",
        [policy("a", "block", authenticationFlows={"transferMethods": "authenticationTransfer"})],
        "nobody",
    ),
    (
        "blocked away from school only",
        "device_code_blocked",
        [
            policy(
                "a",
                "block",
                authenticationFlows={"transferMethods": "deviceCodeFlow"},
                includeLocations=["All"],
                excludeLocations=["AllTrusted"],
            )
        ],
        "some",
    ),
]


@pytest.mark.parametrize(
    ("what", "policies", "expected"), [c[1:] for c in CASES], ids=[f"{c[1]}: {c[0]}" for c in CASES]
)
def test_reach(what: str, policies: list[dict[str, Any]], expected: str) -> None:
    assert reaches(what, policies) == expected


def test_refused_policies_are_unknown() -> None:
    refused = Unknown(Reason.PERMISSION, "Policy.Read.All")
    assert ask("mfa_everyone", refused) == refused


def test_a_missing_page_hides_no_hole_and_spoils_no_proof() -> None:
    why = Unknown(Reason.THROTTLED)
    assert ask("mfa_everyone", Partial((policy("a", includePlatforms=["iOS"]),), why)) == why
    assert reaches("mfa_everyone", Partial((MFA,), why)) == "everyone"


def test_what_is_left_out_is_named() -> None:
    got = ask(
        "mfa_everyone", [policy("a", excludeGroups=[EXEMPT], excludeApplications=["app-0001"])], groups={EXEMPT: ["u1"]}
    )
    assert got["excluded"] == ["app-0001", f"group {EXEMPT}"]
    assert got["policies"] == ["a"]


def test_a_declared_app_may_be_left_out() -> None:
    assert reaches("mfa_everyone", [policy("a", excludeApplications=["App-0001"])], apps=("App-0001",)) == "everyone"


def test_an_excluded_group_that_holds_only_emergency_accounts_is_as_good_as_declared() -> None:
    policies = [policy("a", excludeGroups=[EXEMPT])]
    assert reaches("mfa_everyone", policies, groups={EXEMPT: [BG]}) == "everyone"
    assert reaches("mfa_everyone", policies, groups={EXEMPT: [BG, "u1"]}) == "some"
    assert reaches("mfa_everyone", policies, groups={EXEMPT: []}) == "some"
    assert reaches("mfa_everyone", policies, groups={EXEMPT: Unknown(Reason.PERMISSION)}) == "some"


def test_without_emergency_accounts_every_exclusion_counts() -> None:
    assert reaches("mfa_everyone", [policy("a", excludeUsers=[BG])], emergency=()) == "some"


class TestGroups:
    """Policies that name groups reach everyone when everybody is in one of them."""

    policies = (
        policy("s", **only(STAFF)),
        policy("p", **only(PUPILS)),
        policy("g", includeUsers=["GuestsOrExternalUsers"]),
    )

    def test_everybody_is_in_one(self) -> None:
        got = reaches(
            "mfa_everyone",
            list(self.policies),
            groups={STAFF: ["u1"], PUPILS: ["u2"]},
            users=[person("u1"), person("u2"), person("u3", enabled=False), person(BG)],
        )
        assert got == "everyone"

    def test_somebody_is_in_none(self) -> None:
        groups = {STAFF: ["u1"], PUPILS: ["u2"]}
        got = reaches("mfa_everyone", list(self.policies), groups=groups, users=[person("u1"), person("u4")])
        assert got == "some"

    def test_members_may_not_be_read(self) -> None:
        refused = Unknown(Reason.PERMISSION, "GroupMember.Read.All")
        got = ask(
            "mfa_everyone",
            list(self.policies),
            groups={STAFF: ["u1"], PUPILS: refused},
            users=[person("u1"), person("u4")],
        )
        assert got == refused

    def test_accounts_may_not_be_read(self) -> None:
        refused = Unknown(Reason.PERMISSION, "User.Read.All")
        groups = {STAFF: ["u1"], PUPILS: ["u2"]}
        assert ask("mfa_everyone", list(self.policies), groups=groups, users=refused) == refused
        assert reaches("mfa_everyone", [MFA], groups=groups, users=refused) == "everyone"

    def test_holders_of_a_named_role_are_reached_through_groups(self) -> None:
        policies = [*self.policies, policy("r", includeUsers=[], includeRoles=[ADMIN])]
        holder = {"role": ADMIN, "scope": "/", "principal": "g-adm", "kind": "group", "members": ["u4"]}
        got = reaches(
            "mfa_everyone",
            policies,
            groups={STAFF: ["u1"], PUPILS: ["u2"]},
            users=[person("u1"), person("u4")],
            holders=[holder],
        )
        assert got == "everyone"


def school(**tenant: Any) -> School:
    return School("oak", "Oakfield", tenant=tenant)


class TestStaff:
    def test_every_staff_group(self) -> None:
        schools = (school(staff_groups=[STAFF]), school(staff_groups=["g-elm"]))
        both = [policy("a", includeUsers=[], includeGroups=[STAFF, "g-elm"])]
        assert reaches("mfa_staff", both, schools=schools) == "everyone"
        groups, users = {STAFF: ["u1"], "g-elm": ["u2"]}, [person("u1"), person("u2")]
        one = [policy("a", **only(STAFF))]
        assert reaches("mfa_staff", one, schools=schools, groups=groups, users=users) == "some"
        assert reaches("mfa_staff", one, schools=schools, groups={STAFF: ["u1"]}, users=users) == "unknown"

    def test_all_users_without_the_pupils(self) -> None:
        policies = [policy("a", excludeGroups=[PUPILS])]
        assert reaches("mfa_staff", policies, schools=(school(pupil_groups=[PUPILS]),)) == "everyone"
        assert reaches("mfa_staff", policies, schools=(school(staff_groups=[STAFF]),)) == "some"

    def test_groups_by_name(self) -> None:
        policies = [policy("a", **only(STAFF))]
        assert (
            reaches("mfa_staff", policies, schools=(school(staff_groups=["G-STAFF"]),), groups={STAFF: []})
            == "everyone"
        )

    def test_no_staff_groups_means_every_member(self) -> None:
        assert reaches("mfa_staff", [MFA], schools=(school(),)) == "everyone"
        got = reaches("mfa_staff", [policy("a", **only(STAFF))], groups={STAFF: []}, users=[person("u1")])
        assert got == "some"


@pytest.mark.parametrize(
    ("combinations", "strong"),
    [
        (["fido2"], True),
        (["password,sms"], True),
        (["password,microsoftAuthenticatorPush", "windowsHelloForBusiness"], True),
        (["password"], False),
        (["sms"], False),
        (["fido2", "password"], False),
        (["password,qrCodePin"], False),
        (["federatedMultiFactor"], True),
        (["federatedSingleFactor"], False),
        ([], False),
    ],
)
def test_strengths(combinations: list[str], strong: bool) -> None:
    assert is_strong(combinations) is strong


def test_built_in_strengths_are_known_by_their_id() -> None:
    assert demands_mfa(policy(grant=strength(id="00000000-0000-0000-0000-000000000002"))) is True
    assert demands_mfa(policy(grant=strength(id="something-new"))) is None


def test_many_narrow_policies_end_in_an_answer() -> None:
    policies = [policy(f"p{n}", **only(f"g{n}"), includeApplications=[f"app-{n}"]) for n in range(40)]
    assert reaches("mfa_everyone", policies, users=[person("u1")]) in ("some", "unknown")


def test_other_demands() -> None:
    resistant = strength("fido2", "windowsHelloForBusiness")
    assert demands_phishing_resistant(policy(grant=resistant)) is True
    assert demands_phishing_resistant(policy(grant=strength("fido2", "password,sms"))) is False
    assert demands_phishing_resistant(policy(grant="mfa")) is False
    assert demands_phishing_resistant(policy(grant=strength(id="00000000-0000-0000-0000-000000000004"))) is True
    assert demands_new_password(policy(grant=grant("mfa", "passwordChange", operator="AND"))) is True
    assert demands_new_password(policy(grant=grant("mfa", "passwordChange"))) is False


@pytest.mark.parametrize(
    ("what", "given", "expected"),
    [
        ("sign_in_risk", policy("a", "block", signInRiskLevels=["high"]), "everyone"),
        ("sign_in_risk", policy("a", signInRiskLevels=["medium", "high"]), "everyone"),
        ("sign_in_risk", policy("a", "block", signInRiskLevels=["medium"]), "nobody"),
        ("sign_in_risk", MFA, "everyone"),
        ("user_risk", policy("a", "passwordChange", userRiskLevels=["high"]), "everyone"),
        ("user_risk", MFA, "nobody"),
        ("mfa_azure_management", policy("a", includeApplications=["797F4846-ba00-4fd7-ba43-dac1f8f63013"]), "everyone"),
        ("mfa_azure_management", policy("a", excludeApplications=["797f4846-ba00-4fd7-ba43-dac1f8f63013"]), "nobody"),
        (
            "auth_transfer_blocked",
            policy("a", "block", authenticationFlows={"transferMethods": "authenticationTransfer"}),
            "everyone",
        ),
        (
            "unknown_platforms_blocked",
            policy("a", "block", includePlatforms=["all"], excludePlatforms=["android", "iOS", "windows"]),
            "everyone",
        ),
        ("managed_device_staff", policy("a", grant("compliantDevice", "domainJoinedDevice")), "everyone"),
        ("managed_device_staff", policy("a", grant("compliantDevice", "mfa")), "nobody"),
        ("phishing_resistant_everyone", policy("a", "mfa"), "nobody"),
    ],
)
def test_other_questions(what: str, given: dict[str, Any], expected: str) -> None:
    assert reaches(what, [given]) == expected
