"""Ways in which a verdict about a tenant could have come out wrong, each found by looking for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.baseline import load_policy
from agent.claims import asking, belongs
from agent.connect.graph_reader import Reader, Reply
from agent.controls import rule
from agent.derive import View, load_all
from agent.evaluate import decide
from agent.facts import m365
from agent.facts.m365.protocol import Answer, Lookup, Request
from agent.facts.protocol import Limits
from agent.model import (
    Change,
    Finding,
    Kind,
    Partial,
    Reading,
    Reason,
    School,
    Target,
    TargetState,
    Unknown,
    Verdict,
)
from agent.results import Standing, exit_code

load_all()
AS_OF = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)


def view(facts: dict[str, Any], **more: Any) -> View:
    return View("m365", {n: Reading(v) for n, v in facts.items()}, AS_OF, **more)


class Canned:
    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers

    def get(self, requests: Sequence[Request], more: object = None) -> list[Answer]:
        return [Answer(self.answers[r.path]) for r in requests]

    def resolve(self, lookups: Sequence[Lookup]) -> list[Answer]:
        raise AssertionError(lookups)


def read(fact: str, **answers: Any) -> Any:
    told = {path.replace("__", "/"): value for path, value in answers.items()}
    return m365.collect(Canned(told), [fact], Limits()).facts[fact].value


def verdict(control: str, facts: dict[str, Any], **parameters: Any) -> Verdict:
    policy = load_policy()
    return decide(rule(policy.controls[control], parameters, {}, policy.site), view(facts)).verdict


@pytest.mark.parametrize(
    ("state", "has"),
    [
        ("Success", True),
        ("PendingInput", True),
        ("PendingActivation", True),
        ("PendingProvisioning", True),
        ("Disabled", False),
    ],
)
def test_a_plan_that_is_still_being_set_up_is_not_a_missing_licence(state: str, has: bool) -> None:
    sku = {
        "capabilityStatus": "Enabled",
        "servicePlans": [{"servicePlanName": "INTUNE_A", "provisioningStatus": state}],
    }
    assert read("licences", __subscribedSkus=[sku]) == (["intune"] if has else [])


DEVICE = {
    "id": "D1",
    "deviceName": "OAK-1",
    "operatingSystem": "Windows",
    "complianceState": "compliant",
    "isEncrypted": True,
    "managedDeviceOwnerType": "company",
    "azureADDeviceId": "e",
    "userId": "",
    "userPrincipalName": "",
}


def test_what_intune_does_not_know_is_no_failure() -> None:
    odd = {**DEVICE, "complianceState": "unknown", "isEncrypted": None, "managedDeviceOwnerType": "unknown"}
    (found,) = read("managed_devices", __deviceManagement__managedDevices=[odd])
    for control in ("m365.devices-compliant", "m365.devices-encrypted", "m365.devices-owned"):
        assert verdict(control, {"licences": ["intune"], "managed_devices": [found]}) is Verdict.UNKNOWN, control


def test_a_word_newer_than_this_program_is_not_understood() -> None:
    (found,) = read(
        "managed_devices", __deviceManagement__managedDevices=[{**DEVICE, "complianceState": "unknownFutureValue"}]
    )
    assert isinstance(found["compliance"], Unknown)


@pytest.mark.parametrize(
    ("targets", "assigned"),
    [
        (["allDevicesAssignmentTarget"], True),
        (["exclusionGroupAssignmentTarget"], False),
        (["exclusionGroupAssignmentTarget", "groupAssignmentTarget"], True),
        ([], False),
    ],
)
def test_a_policy_that_only_leaves_people_out_is_assigned_to_nobody(targets: list[str], assigned: bool) -> None:
    held = [{"target": {"@odata.type": f"#microsoft.graph.{t}"}} for t in targets]
    policy = {
        "id": "p",
        "displayName": "P",
        "@odata.type": "#microsoft.graph.windows10CompliancePolicy",
        "assignments": held,
    }
    (found,) = read("compliance_policies", __deviceManagement__deviceCompliancePolicies=[policy])
    assert found["assigned"] is assigned


def test_emergency_accounts_count_however_their_ids_are_written() -> None:
    key = "AAAAAAAA-0000-4000-8000-000000000001"
    policy = {"id": "p", "name": "Block", "state": "enabled", "blocks": True, "excluded_accounts": [key.lower()]}
    facts = {"licences": ["entra_p1"], "conditional_access.policies": [policy]}
    assert verdict("m365.break-glass-excluded", facts, break_glass_accounts=[key]) is Verdict.PASS
    user = {
        "id": key.lower(),
        "upn": "bg@x.example",
        "enabled": True,
        "guest": False,
        "last_used": "2020-01-01T00:00:00Z",
    }
    facts = {"licences": ["entra_p1"], "users": [user]}
    assert verdict("m365.users-stale", facts, break_glass_accounts=[key], stale_user_age="90 days") is Verdict.PASS


def test_names_of_devices_are_the_same_in_small_letters() -> None:
    school = School("oak", "Oak", tenant={"use": "t", "device_names": "^OAK-"})
    assert belongs("device", {"id": "1", "name": "oak-lt12"}, school, view({})) is True
    assert belongs("device", {"id": "1", "name": "OAKWOOD-1"}, school, view({})) is False


def test_domains_that_end_alike_are_not_the_same() -> None:
    school = School("oak", "Oak", tenant={"use": "t", "domains": ["oakfield.example"]})
    for upn, mine in (
        ("a@oakfield.example", True),
        ("a@notoakfield.example", False),
        ("a@staff.oakfield.example", False),
        ("a_oakfield.example#EXT#@trust.onmicrosoft.com", False),
    ):
        assert belongs("user", {"id": "1", "upn": upn}, school, view({})) is mine


def accounts(**facts: Any) -> Any:
    schools = [School("oak", "Oak", tenant={"use": "t", "pupil_groups": ["Oak pupils"], "staff_groups": ["Oak staff"]})]
    users = [
        {"id": i, "upn": f"{i}@x", "enabled": True, "guest": False, "student": s}
        for i, s in (("p", False), ("t", False), ("b", True))
    ]
    whole = {"users": users, "mfa_registration": [], **facts}
    return {a["id"]: a["student"] for a in view(whole, schools=schools).items("mfa_accounts")[0]}


def test_pupils_are_told_by_their_groups_too_not_by_licences_alone() -> None:
    groups = {
        "group_members[Oak pupils]": {"people": ["p", "b"], "devices": []},
        "group_members[Oak staff]": {"people": ["b"], "devices": []},
    }
    assert accounts(**groups) == {"p": True, "t": False, "b": False}


def test_a_group_of_pupils_that_cannot_be_read_makes_no_staff() -> None:
    told = accounts(**{"group_members[Oak pupils]": None, "group_members[Oak staff]": {"people": ["t"], "devices": []}})
    assert isinstance(told["p"], Unknown)
    assert told["t"] is False


class Pages:
    """A wire that gives one page after another."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)

    def send(self, *_: Any) -> tuple[Reply, int]:
        return self.replies.pop(0), 1


def test_a_collection_that_vanishes_half_way_is_not_absent() -> None:
    first = Reply(200, {}, {"value": [{"id": "1"}], "@odata.nextLink": "https://g.example/v1.0/next"})
    reader = Reader(
        Pages(first, Reply(404, {}, {"error": {"code": "Request_ResourceNotFound"}})),
        "https://g.example/v1.0",
        lambda: "t",
        Limits(),
    )
    (answer,) = reader.get([Request("/groups/1/transitiveMembers", "GroupMember.Read.All", absent_ok=True)])
    assert isinstance(answer.value, Partial)
    assert [i["id"] for i in answer.value.items] == ["1"]


@pytest.mark.parametrize(
    ("reason", "unread"),
    [
        ("not asked for by choice: beta", False),
        ("not asked for by choice: beta; not asked for by choice: each_device", False),
        ("not asked for by choice: beta; permission missing: User.Read.All", True),
        ("permission missing: User.Read.All", True),
    ],
)
def test_only_what_was_chosen_not_to_be_asked_leaves_a_scan_complete(reason: str, unread: bool) -> None:
    control = load_policy().controls["m365.catalogue-assigned"]
    finding = Finding(control.id, 1, "t", None, Verdict.UNKNOWN, reason)
    held = Standing(finding, control, Target("t", Kind.TENANT, "m365", None), Change.NONE, (), "")
    assert held.unread is unread
    assert exit_code([held], [TargetState.COLLECTED], "low") == (3 if unread else 0)


SPO = Unknown(Reason.NOT_LICENSED, "SharePoint")


@pytest.mark.parametrize(
    ("plans", "expected"),
    [(["AAD_PREMIUM"], Verdict.NOT_APPLICABLE), (["SHAREPOINTSTANDARD_EDU"], Verdict.UNKNOWN), (None, Verdict.UNKNOWN)],
)
def test_a_refusal_for_want_of_a_licence_is_believed_when_the_licences_agree(
    plans: list[str] | None, expected: Verdict
) -> None:
    held = [{"servicePlanName": p, "provisioningStatus": "Success"} for p in plans or ()]
    skus: Any = [{"capabilityStatus": "Enabled", "servicePlans": held}]
    told = {"/subscribedSkus": Unknown(Reason.PERMISSION) if plans is None else skus, "/admin/sharepoint/settings": SPO}
    facts = m365.collect(Canned(told), ["sharepoint", "licences"], Limits()).facts
    assert verdict("m365.files-sharing", {n: r.value for n, r in facts.items()}) is expected
    assert verdict("m365.files-sharing-domains", {n: r.value for n, r in facts.items()}) is expected


def test_lists_of_the_same_people_are_dealt_out_by_the_same_answers() -> None:
    schools = (
        School("oak", "Oak", tenant={"use": "t", "domains": ["oak.example"]}),
        School("elm", "Elm", tenant={"use": "t", "staff_groups": ["Staff"]}),
    )
    held = view({"group_members[Staff]": {"people": ["u2"], "devices": []}}, schools=schools)
    ask = asking("user", held)
    assert ask({"id": "u1", "upn": "a@OAK.example"}) == ask({"id": "u1", "upn": "a@OAK.example"}) == (True, False)
    assert ask({"id": "u2", "upn": "b@x.example"}) == (False, True)
    assert ask({"id": "u2", "upn": Unknown(Reason.UNREADABLE)}) == (None, True)
