"""Change words in odd orders of events: a control that was away, a narrowed scan in between, a clock at midnight."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from agent.baseline import load_policy
from agent.change import Past, compare
from agent.exceptions import cover, state
from agent.files import ExceptionEntry
from agent.model import Change, Evidence, Finding, Kind, Offender, Target, TargetState, Verdict
from agent.plan import Planner, Selection
from agent.results import exit_code
from agent.store import Store
from agent.trust import Trust

START = datetime(2026, 9, 1, 1, 0, tzinfo=UTC)
HOST = Target("srv1", Kind.DEVICE, "linux", "oak")
TWIN = Target("srv1", Kind.DEVICE, "linux", "ash")


def finding(verdict: Verdict, *names: str, target: Target = HOST, control: str = "linux.x") -> Finding:
    offenders = tuple(Offender(n, n) for n in names)
    digest = f"{verdict.value}{names}"
    return Finding(control, 1, target.id, target.school, verdict, "", "", "", offenders, len(offenders), 0, digest)


def night(
    store: Store, number: int, *found: Finding, rule: str = "r1", whole: bool = True, target: Target = HOST
) -> dict[str, Change]:
    """One run of one target; gives the change word of each control that it judged."""
    when = START + timedelta(days=number)
    run = store.begin(when, [target.id], {} if whole else {"controls": ["x"]})
    store.save(run, Evidence(target, TargetState.COLLECTED, when, {}), [(f, rule) for f in found], {}, whole=whole)
    store.finish(run, when)
    return {
        k.finding.control: k.change for k in store.findings() if k.finding.target == target.id and k.first_run == run.id
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / ".spiritlevel")


FAIL, PASS, UNKNOWN, NONE = Verdict.FAIL, Verdict.PASS, Verdict.UNKNOWN, Verdict.NOT_APPLICABLE


def test_a_control_that_was_away_for_a_while_goes_on_from_where_it_was(store: Store) -> None:
    night(store, 0, finding(PASS), finding(FAIL, "a", control="linux.y"))
    night(store, 1)  # both were taken out of the baseline
    assert night(store, 2, finding(FAIL, "b"), finding(FAIL, "a", control="linux.y")) == {
        "linux.x": Change.REGRESSED,
        "linux.y": Change.PERSISTING,
    }


def test_a_narrowed_scan_says_nothing_of_what_it_left_out(store: Store) -> None:
    night(store, 0, finding(FAIL, "a"), finding(PASS, control="linux.y"))
    night(store, 1, finding(PASS), whole=False)
    now = {k.finding.control: k.finding.verdict for k in store.findings()}
    assert now == {"linux.x": PASS, "linux.y": PASS}
    assert night(store, 2, finding(FAIL, "a"), finding(PASS, control="linux.y")) == {"linux.x": Change.REGRESSED}


def test_two_schools_with_hosts_of_one_name_do_not_meet(store: Store) -> None:
    night(store, 0, finding(FAIL, "a"))
    assert night(store, 1, finding(FAIL, "a", target=TWIN), target=TWIN) == {"linux.x": Change.NEW}
    assert night(store, 2, finding(PASS, target=TWIN), target=TWIN) == {"linux.x": Change.RESOLVED}
    assert {k.finding.target: k.finding.verdict for k in store.findings()} == {"oak/srv1": FAIL, "ash/srv1": PASS}


def test_a_host_with_a_new_name_is_another_host(store: Store) -> None:
    night(store, 0, finding(FAIL, "a"))
    renamed = Target("srv2", Kind.DEVICE, "linux", "oak")
    assert night(store, 1, finding(FAIL, "a", target=renamed), target=renamed) == {"linux.x": Change.NEW}
    run = store.run("last")
    assert store.retire(run, [renamed.id]) == ["oak/srv1"]
    assert [k.finding.target for k in store.findings()] == ["oak/srv2"]
    assert night(store, 2, finding(FAIL, "a")) == {"linux.x": Change.NEW}, "retired is retired: it is back as new"


@pytest.mark.parametrize("between", [UNKNOWN, Verdict.MANUAL])
def test_only_a_real_pass_resolves(store: Store, between: Verdict) -> None:
    night(store, 0, finding(FAIL, "a"))
    assert night(store, 1, finding(between)) == {"linux.x": Change.PERSISTING}
    assert night(store, 2, finding(FAIL, "a")) == {"linux.x": Change.PERSISTING}
    night(store, 3, finding(between))
    assert night(store, 4, finding(PASS)) == {"linux.x": Change.RESOLVED}
    assert night(store, 5, finding(between)) == {"linux.x": Change.LOST_SIGHT}
    assert night(store, 6, finding(PASS)) == {"linux.x": Change.NONE}


def test_what_became_not_applicable_while_out_of_sight_is_retired_once(store: Store) -> None:
    night(store, 0, finding(FAIL, "a"))
    night(store, 1, finding(UNKNOWN))
    assert night(store, 2, finding(NONE)) == {"linux.x": Change.RETIRED}
    assert night(store, 3, finding(UNKNOWN)) == {"linux.x": Change.NONE}
    assert night(store, 4, finding(FAIL, "a")) == {"linux.x": Change.NEW}


def test_an_offender_that_goes_out_of_sight_is_not_gone() -> None:
    before = finding(FAIL, "a", "b")
    now = finding(UNKNOWN, "b")
    words = compare(now, Past(before, before, "r0"), "r1").offenders
    assert words == {"a": Change.PERSISTING, "b": Change.PERSISTING}


def entry(**more: object) -> ExceptionEntry:
    whole = {"control": "linux.x", "reason": "long enough", "owner": "Ann", "expires": date(2026, 11, 24), **more}
    return ExceptionEntry.model_validate(whole)


def test_an_exception_holds_through_its_last_day() -> None:
    assert state(entry(), date(2026, 11, 24)) == "expiring"
    assert state(entry(), date(2026, 11, 25)) == "expired"
    assert cover([entry()], finding(FAIL, "a"), HOST, date(2026, 11, 24)) is not None
    assert cover([entry()], finding(FAIL, "a"), HOST, date(2026, 11, 25)) is None


def test_an_exception_for_one_school_says_nothing_of_the_other() -> None:
    assert cover([entry(school="oak")], finding(FAIL, "a"), HOST, date(2026, 11, 1)) is not None
    assert cover([entry(school="oak")], finding(FAIL, "a", target=TWIN), TWIN, date(2026, 11, 1)) is None
    assert cover([entry(target="oak/srv1")], finding(FAIL, "a", target=TWIN), TWIN, date(2026, 11, 1)) is None


def test_accepting_named_offenders_accepts_no_unknown() -> None:
    assert cover([entry(offenders=["a"])], finding(UNKNOWN), HOST, date(2026, 11, 1)) is None
    held = cover([entry(offenders=["a"])], finding(FAIL, "a", "b"), HOST, date(2026, 11, 1))
    assert held is not None
    assert not held.whole


def test_accepting_that_nobody_can_look_does_not_accept_what_is_seen_all_the_same() -> None:
    """An unknown finding may name offenders that surely fail: those were never part of the bargain."""
    held = cover([entry(offenders=["a"], accept_unknown=True)], finding(UNKNOWN, "a", "b"), HOST, date(2026, 11, 1))
    assert held is not None
    assert not held.whole
    assert [o.key for o in held.left] == ["b"]


def test_nothing_unread_looks_clean() -> None:
    assert exit_code([], [TargetState.COLLECTED], "low") == 0
    assert exit_code([], [TargetState.UNREACHABLE], "critical") == 3


def test_machines_that_nothing_here_can_read_are_told_of() -> None:
    routers = [Target(f"r{n}", Kind.DEVICE, "junos", "oak") for n in (1, 2)]
    planner = Planner(cast(Trust, None), load_policy(), [HOST, TWIN, *routers])
    assert planner.unread(Selection()) == {("oak", "junos"): 2}


def test_a_school_that_left_the_trust_takes_its_failing_along(store: Store) -> None:
    """The directory that it shared stays: what failed of the school's part ends as retired, not without a word."""

    def of(verdict: Verdict, school: str, control: str) -> Finding:
        return Finding(control, 1, "dir", school, verdict, "", "", "", (), 0, 0, f"{verdict.value}{school}")

    both = Target("dir", Kind.DIRECTORY, "ad", None, serves=("ash", "oak"))
    one = Target("dir", Kind.DIRECTORY, "ad", None, serves=("oak",))
    oak = of(FAIL, "oak", "ad.x")
    night(store, 0, of(FAIL, "ash", "ad.x"), of(PASS, "ash", "ad.y"), of(FAIL, "ash", "ad.z"), oak, target=both)
    night(store, 1, of(FAIL, "ash", "ad.x"), of(PASS, "ash", "ad.y"), of(UNKNOWN, "ash", "ad.z"), oak, target=both)
    night(store, 2, oak, target=one)
    told = {(k.finding.control, k.finding.school): k.change for k in store.findings(store.run("last"))}
    gone = Change.RETIRED
    assert told == {("ad.x", "ash"): gone, ("ad.z", "ash"): gone, ("ad.x", "oak"): Change.NEW}
    assert [k.finding.school for k in store.findings()] == ["oak"]
    night(store, 3, of(FAIL, "ash", "ad.x"), oak, target=both)
    back = {(k.finding.control, k.finding.school): k.change for k in store.findings()}
    assert back["ad.x", "ash"] is Change.NEW, "a school that is back begins anew"
