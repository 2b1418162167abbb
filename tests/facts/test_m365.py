"""The tenant's facts: what each answer of Graph means, what is asked, and that odd answers become unknown."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.claims import belongs, needs
from agent.conform import conform, from_json, to_json
from agent.derive import View, load_all
from agent.facts import m365
from agent.facts.m365.protocol import Answer, Lookup, Request
from agent.facts.m365.source import SKUS, SOURCES
from agent.facts.protocol import Limits
from agent.facttypes import REGISTRY, FactError
from agent.model import Partial, Reading, Reason, School, TargetState, Unknown

load_all()
FIXTURES = Path(__file__).parent.parent / "fixtures" / "m365"
SCHEMA = json.loads((FIXTURES.parent / "graph-schema.json").read_text(encoding="utf-8"))
CASES = [(f.stem, case) for f in sorted(FIXTURES.glob("*.json")) for case in json.loads(f.read_text(encoding="utf-8"))]


class Canned:
    """Answers by path; where a path is asked in two ways, by path and permission."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers, self.asked = answers, list[Request]()

    def get(self, requests: Sequence[Request], more: object = None) -> list[Answer]:
        self.asked += requests
        return [Answer(self._one(request)) for request in requests]

    def _one(self, request: Request) -> Any:
        name = f"{request.path}#{request.permission}"
        return from_json(self.answers[name if name in self.answers else request.path])

    def resolve(self, lookups: Sequence[Lookup]) -> list[Answer]:
        return [Answer(from_json(self.answers.get(f"dns:{lookup.name}", []))) for lookup in lookups]


@pytest.mark.parametrize("case", [c for _, c in CASES], ids=[f"{stem}: {c['name']}" for stem, c in CASES])
def test_parsers(case: dict[str, Any]) -> None:
    got = m365.collect(Canned(case["answers"]), list(case["expected"]), Limits())
    for name, expected in case["expected"].items():
        value = got.facts[name].value
        assert to_json(value) == expected
        spec = REGISTRY.spec_of("m365", name)
        assert to_json(conform(value, spec.type, spec.may_be_absent, name)) == expected, "does not fit its declaration"


def test_one_request_answers_many_facts_once() -> None:
    graph = Canned({"/applications": [], "/subscribedSkus": []})
    m365.collect(graph, ["applications", "app_credentials", "licences"], Limits())
    assert sorted(r.path for r in graph.asked) == ["/applications", "/subscribedSkus"]


def test_the_plan_names_each_request_with_its_permission() -> None:
    steps = {s.what: s for s in m365.plan(["users", "conditional_access.groups", "group_members[Staff]", "licences"])}
    assert steps["GET /subscribedSkus"].feeds == ("conditional_access.groups", "licences")
    assert steps["GET /subscribedSkus"].rights == ("LicenseAssignment.Read.All",)
    assert steps["GET /users?$select=id,signInActivity"].rights == ("AuditLog.Read.All",)
    assert any("transitiveMembers" in what and s.rights == ("GroupMember.Read.All",) for what, s in steps.items())
    assert any("displayName eq 'Staff'" in what for what in steps)


def test_unknown_facts_are_refused() -> None:
    with pytest.raises(FactError):
        m365.plan(["nonsense"])


def test_the_sentence_of_a_partial_collection() -> None:
    refused = {"$unknown": ["permission missing", "Domain.Read.All"]}
    got = m365.collect(Canned({"/domains": refused, "/subscribedSkus": []}), ["domains", "licences"], Limits())
    assert got.state is TargetState.PARTIAL
    assert got.detail == "domains could not be read (permission missing: Domain.Read.All)."


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_requests_fit_microsofts_schema(name: str) -> None:
    for request in _every_request(name):
        schema = SCHEMA["beta" if request.option == "beta" else "v1.0"]
        path = re.sub(r"(?<=/)(ID|id)(?=/|$)", "{id}", request.path)
        if path in ("/groupSettingTemplates", "/groups/{id}/transitiveMembers"):
            continue  # not in the extract
        entry = schema["paths"][path]
        known = entry.get("app_permissions", {}).get("GET", {}).get("any") or [request.permission]
        if "signInActivity" not in request.select:  # which takes a permission of its own
            assert request.permission in known
        properties: set[str] = set()
        kind = entry["type"]
        while kind:
            held = schema["types"].get(kind, {})
            properties |= set(held.get("props", {})) | set(held.get("nav", {})) | {"id"}
            kind = held.get("base")
        assert set(request.select) <= properties, set(request.select) - properties
        expanded = request.expand.partition("(")[0]
        assert not expanded or expanded in properties, expanded


def _every_request(name: str) -> list[Request]:
    """The requests of a fact, those that follow from an answer with one object of id ID too."""
    source = SOURCES[name]
    one = {
        "id": "ID",
        "state": "enabled",
        "conditions": {"users": {"includeGroups": ["ID"]}},
        "principalId": "ID",
        "principal": {"@odata.type": "#microsoft.graph.group"},
        "operatingSystem": "Windows",
        "authenticationType": "Federated",
        "isVerified": True,
    }
    answers: dict[Any, Answer] = {r: Answer([one]) for r in source.requests}
    for ask in source.follow(answers):
        answers.setdefault(ask, Answer([one]))
    return [r for r in answers if isinstance(r, Request)]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "conditions",
                    "users",
                    "includeGroups",
                    "state",
                    "principal",
                    "values",
                    "templateId",
                    "signInActivity",
                    "assignedLicenses",
                    "passwordCredentials",
                    "servicePlans",
                    "web",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


class Junk:
    """Answers anything at all."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def get(self, requests: Sequence[Request], more: object = None) -> list[Answer]:
        return [Answer(self.value) for _ in requests]

    def resolve(self, lookups: Sequence[Lookup]) -> list[Answer]:
        return [Answer(self.value) for _ in lookups]


@settings(max_examples=150, deadline=None)
@given(value=JUNK)
def test_answers_of_any_shape_never_stop_a_scan(value: Any) -> None:
    wanted = [*SOURCES, "group_members[x]"]
    got = m365.collect(Junk(value), wanted, Limits())
    assert set(got.facts) == set(wanted)
    for name, reading in got.facts.items():
        spec = REGISTRY.spec_of("m365", name)
        to_json(conform(reading.value, spec.type, spec.may_be_absent, name))


def test_what_is_asked_quotes_what_people_wrote() -> None:
    lookup = m365.source_of("group_members[O'Hara & Sons]").requests[0]
    assert lookup.url() == "/groups?$select=id,displayName&$filter=displayName%20eq%20%27O%27%27Hara%20%26%20Sons%27"
    assert SKUS.url() == "/subscribedSkus"


# Whose item it is


def view(**facts: Any) -> View:
    held = {name.replace("__", "[", 1) + ("]" if "__" in name else ""): Reading(v) for name, v in facts.items()}
    return View("m365", held, datetime(2026, 11, 1, tzinfo=UTC))


def school(**tenant: Any) -> School:
    return School("oak", "Oakfield", tenant={"use": "t", **tenant})


MEMBERS = {"people": ["u1"], "devices": ["o1"]}


@pytest.mark.parametrize(
    ("rule", "item", "selectors", "expected"),
    [
        ("user", {"id": "u9", "upn": "a@elsewhere.example"}, {}, True),
        ("user", {"id": "u9", "upn": "A@Oakfield.example"}, {"domains": ["oakfield.example"]}, True),
        ("user", {"id": "u9", "upn": "a@not-oakfield.example"}, {"domains": ["oakfield.example"]}, False),
        ("user", {"id": "u1", "upn": "a@x.example"}, {"staff_groups": ["Staff"]}, True),
        ("user", {"id": "u2", "upn": "a@x.example"}, {"staff_groups": ["Staff"]}, False),
        ("user", {"id": "u2", "upn": "a@x.example"}, {"staff_groups": ["Refused"]}, None),
        ("user", {"id": "u2", "upn": "a@x.example"}, {"staff_groups": ["Gone"]}, None),
        ("user", {"id": "u1", "upn": Unknown(Reason.UNREADABLE)}, {"domains": ["x"], "staff_groups": ["Staff"]}, True),
        ("user", {"id": "u2", "upn": "a@x.example"}, {"device_names": "^OAK"}, False),
        ("group", {"id": "g1", "name": "GRP-OAK", "mail_domain": None}, {"staff_groups": ["grp-oak"]}, True),
        (
            "group",
            {"id": "g1", "name": "Club", "mail_domain": "oakfield.example"},
            {"domains": ["oakfield.example"]},
            True,
        ),
        ("group", {"id": "g1", "name": "Club", "mail_domain": None}, {"domains": ["oakfield.example"]}, False),
        ("device", {"id": "d1", "name": "OAK-1", "user": None}, {"device_names": "^OAK-"}, True),
        ("device", {"id": "d1", "name": "X", "user": "a@oakfield.example"}, {"domains": ["oakfield.example"]}, True),
        ("device", {"id": "d1", "name": "X", "user": "a@x", "user_id": "u1"}, {"pupil_groups": ["Staff"]}, True),
        (
            "device",
            {"id": "d1", "name": "X", "user": None, "entra_device_id": "e1"},
            {"administrative_units": ["Oak"]},
            True,
        ),
        ("device", {"id": "o1", "name": "X"}, {"administrative_units": ["Oak"]}, True),
        (
            "device",
            {"id": "d1", "name": "X", "user": None, "entra_device_id": None},
            {"administrative_units": ["Oak"]},
            False,
        ),
    ],
)
def test_claims(rule: str, item: dict[str, Any], selectors: dict[str, Any], expected: bool | None) -> None:
    held = view(
        group_members__Staff=MEMBERS,
        group_members__Refused=Unknown(Reason.PERMISSION),
        group_members__Gone=None,
        unit_members__Oak=MEMBERS,
        entra_devices=[{"id": "o1", "entra_device_id": "e1"}],
    )
    assert belongs(rule, item, school(**selectors), held) is expected


def test_members_that_were_cut_off() -> None:
    cut = Partial(("u1",), Unknown(Reason.THROTTLED))
    held = view(group_members__Staff={"people": cut, "devices": []})
    assert belongs("user", {"id": "u1", "upn": "a@x"}, school(staff_groups=["Staff"]), held) is True
    assert belongs("user", {"id": "u2", "upn": "a@x"}, school(staff_groups=["Staff"]), held) is None


def test_what_telling_schools_apart_takes() -> None:
    assert needs("m365", [school(domains=["x"])]) == set()
    assert needs("m365", [school(staff_groups=["A"], administrative_units=["B"])]) == {
        "group_members[A]",
        "unit_members[B]",
        "entra_devices",
    }
