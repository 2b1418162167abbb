"""Taking one person out of the store: by every name that evidence knows them by, in long lists and in short ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.model import Evidence, Finding, Kind, Offender, Reading, Target, TargetState, Verdict
from agent.store import KEEP_EVIDENCE, Store
from agent.store.upkeep import REMOVED, forget_person

NOW = datetime(2026, 11, 20, tzinfo=UTC)
TARGET = Target("trust-ad", Kind.DIRECTORY, "ad", None)
PLACE = "CN=Müller\\, Zoë,OU=Staff,OU=OAK,OU=Schools,DC=x"


def users(number: int) -> list[dict[str, Any]]:
    made = [
        {"sid": f"S-1-5-21-1-2-3-{n}", "dn": f"CN=u{n},DC=x", "name": f"user{n}", "upn": f"user{n}@oak.example"}
        for n in range(1000, 1000 + number)
    ]
    return [*made, {"sid": "S-1-5-21-1-2-3-999", "dn": PLACE, "name": "zmueller", "upn": "zoe.m@oak.example"}]


def keep(store: Store, facts: dict[str, Any], offenders: tuple[Offender, ...], when: datetime = NOW) -> None:
    run = store.begin(when, [TARGET.id], {})
    evidence = Evidence(TARGET, TargetState.COLLECTED, when, {n: Reading(v) for n, v in facts.items()})
    finding = Finding("ad.x", 1, TARGET.id, None, Verdict.FAIL, "", "e", "o", offenders, len(offenders), 0, "d")
    store.save(run, evidence, [(finding, "rule")], {})
    store.finish(run, when)


def test_every_trace_of_a_person_goes(tmp_path: Path) -> None:
    facts = {
        "users": users(300),  # written by columns
        "groups": [{"sid": "S-1-5-32-544", "name": "Administrators", "members": ["CN=u1,DC=x", PLACE]}],
        "service_accounts": [{"sid": "S-1-5-21-1-2-3-500", "name": "other", "dn": "CN=other,DC=x"}],
        "owners": ["S-1-5-21-1-2-3-999"],
        "domain": {"dn": "DC=x", "sid": "S-1-5-21-1-2-3"},
    }
    offenders = (
        Offender("S-1-5-21-1-2-3-1000", "user1000"),
        Offender("S-1-5-21-1-2-3-999", "zmueller", "through Administrators"),
        Offender("grant", "OU=OAK", "zoe.m@oak.example may write"),
    )
    with Store.open(tmp_path / "s") as store:
        keep(store, facts, offenders)
        done = forget_person(store, "ZMueller")
        assert (done.findings, done.readings) == (1, 3)
        left = store.evidence(TARGET.id).facts
        assert sorted(left) == ["domain", "service_accounts"]
        (finding,) = [k.finding for k in store.findings()]
        assert finding.offender_count == 3
        assert {(o.key, o.label) for o in finding.offenders} == {
            ("S-1-5-21-1-2-3-1000", "user1000"),
            (REMOVED, REMOVED),
            ("grant", "OU=OAK"),
        }
        assert [o.value for o in finding.offenders if o.key == "grant"] == [f"{REMOVED} may write"]
        assert forget_person(store, "ZMueller").nothing
    raw = b"".join(p.read_bytes() for p in (tmp_path / "s").iterdir())
    assert b"zmueller" not in raw


def test_a_neighbour_with_a_longer_name_stays(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        keep(store, {"users": users(3)}, (Offender("k", "user1001"),))
        assert forget_person(store, "user100").nothing
        assert len(store.evidence(TARGET.id).facts["users"].value) == 4


def test_evidence_is_gone_after_its_keep(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        keep(store, {"users": users(300)}, (), NOW - KEEP_EVIDENCE - timedelta(days=1))
        keep(store, {"users": users(301)}, (), NOW)
        before = sum(p.stat().st_size for p in (tmp_path / "s").iterdir())
        assert store.purge(NOW) == 1
        assert before > 0
        assert len(store.evidence(TARGET.id).facts["users"].value) == 302
