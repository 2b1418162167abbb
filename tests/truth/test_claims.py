"""Lists of which no item could ever be a school's: an empty part is then no clean school."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from agent.baseline import load_policy
from agent.derive import load_all
from agent.evaluate import Case, Part
from agent.model import Evidence, Kind, Partial, Reading, School, Target, TargetState

load_all()
AS_OF = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)


def part(platform: str, school: School | None, schools: tuple[School, ...], facts: dict[str, Any]) -> Part:
    kind = Kind.DIRECTORY if platform == "ad" else Kind.TENANT
    evidence = Evidence(Target("t", kind, platform, None), TargetState.COLLECTED, AS_OF, {})
    readings = {n: Reading(v) for n, v in facts.items()}
    return Part(platform, readings, AS_OF, {}, schools, {}, {}, Case(evidence, schools), school)


def test_a_sign_in_suffix_claims_no_computer() -> None:
    assert load_policy().controls, "the facts are declared"
    oak = School("oak", "Oak", directory={"use": "d", "upn_suffix": "oak.example"})
    pc = {"sid": "S-1-5-21-1-2-3-1200", "dn": "CN=PC1,DC=x", "name": "PC1", "enabled": True, "os": "Windows 7"}
    ann = {"sid": "S-1-5-21-1-2-3-1201", "dn": "CN=ann,DC=x", "name": "ann", "upn": "ann@oak.example"}
    facts = {"domain": {"dn": "DC=x"}, "computers": [pc], "users": [ann]}
    mine = part("ad", oak, (oak,), facts)
    assert mine.get("users") == [ann]
    held = mine.get("computers")
    assert isinstance(held, Partial)
    assert held.items == ()
    assert "whose item it is" in str(held.why)
    assert part("ad", None, (oak,), facts).get("computers") == [pc], "the trust's own part keeps judging them"
    assert part("ad", None, (oak,), facts).get("users") == []


@pytest.mark.parametrize(
    ("selectors", "lists"),
    [
        ({"domains": ["oak.example"]}, {"entra_devices"}),
        ({"staff_groups": ["Staff"]}, {"entra_devices"}),
        ({"device_names": "^OAK-"}, {"users", "groups"}),
        ({"administrative_units": ["Oak"]}, {"groups"}),
        ({"domains": ["oak.example"], "device_names": "^OAK-"}, set()),
        ({}, set()),
    ],
)
def test_what_a_schools_selectors_never_name_is_unknown(selectors: dict[str, Any], lists: set[str]) -> None:
    assert load_policy().controls
    oak = School("oak", "Oak", tenant={"use": "t", **selectors})
    facts: dict[str, Any] = {n: [] for n in ("entra_devices", "managed_devices", "users", "groups")}
    mine = part("m365", oak, (oak,), facts)
    assert {n for n in facts if isinstance(mine.get(n), Partial)} == lists
    rest = part("m365", None, (oak,), facts)
    assert not [n for n in facts if isinstance(rest.get(n), Partial)]
