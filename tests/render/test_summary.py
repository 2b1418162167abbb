"""Roll-ups: the numbers that leaders read. Unknown is never met, the trust's findings count once, words fit numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from agent.model import Change, Finding, Kind, Offender, School, TargetState, Verdict
from agent.render.advice import actions, coverage_sentence, verdict_sentence
from agent.render.snapshot import AttestationInfo, ExceptionInfo, ExceptionState, NotCovered, Row, Snapshot, TargetInfo
from agent.render.standing import Judge
from agent.render.summary import Standing, Summary
from agent.standards import Requirement
from tests.render.check import NOON, tiny
from tests.render.sample import sample

ANSWER = AttestationInfo("r", None, "Is it so?", True, "A Person", date(2026, 1, 1), date(2026, 12, 31))


def snapshot(*rows: tuple[str, str | None, str], serves: tuple[str, ...] = ("oak", "ash")) -> Snapshot:
    """Rows of (target, school, verdict), all of one control; two schools, a device each, one shared directory."""
    base = tiny()
    targets = (
        *(
            TargetInfo(f"{s}/srv", "srv", s, Kind.DEVICE, "linux", TargetState.COLLECTED, "", NOON)
            for s in ("oak", "ash")
        ),
        TargetInfo("ad", "ad", None, Kind.DIRECTORY, "linux", TargetState.COLLECTED, "", NOON, serves),
    )
    made = tuple(
        Row(Finding("linux.a", 1, t, s, Verdict(v), "permission missing: sudo" if v == "unknown" else ""))
        for t, s, v in rows
    )
    return replace(base, schools=(School("oak", "Oakfield"), School("ash", "Ashgrove")), targets=targets, rows=made)


def test_unknown_is_counted_by_itself_and_never_met() -> None:
    snap = snapshot(("oak/srv", "oak", "pass"), ("ash/srv", "ash", "unknown"), ("ad", None, "fail"))
    tally = Summary(snap).tally(snap.rows)
    assert (tally.met, tally.judged, tally.due, tally.unread, tally.drift) == (1, 2, 3, 1, 1)
    assert coverage_sentence(Summary(snap)) == "Judged 2 of 3 checks; 1 could not be read. 1 of the 2 judged are met."


def test_not_applicable_is_not_due() -> None:
    snap = snapshot(("oak/srv", "oak", "not_applicable"), ("ash/srv", "ash", "pass"))
    assert Summary(snap).tally(snap.rows).due == 1


@pytest.mark.parametrize("verdict", ["fail", "unknown", "manual"])
def test_an_exception_accepts_but_does_not_meet(verdict: str) -> None:
    snap = tiny(Verdict(verdict))
    rows = (replace(snap.rows[0], exception="agreed"),)
    tally = Summary(replace(snap, rows=rows)).tally(rows)
    assert (tally.exception, tally.met) == (1, 0)
    assert tally.judged == (1 if verdict == "fail" else 0)
    assert tally.unread == (0 if verdict == "fail" else 1)


def test_tallies_of_the_sample_add_up() -> None:
    summary = Summary(sample())
    tally = summary.tally(summary.rows)
    assert tally.due + tally.not_applicable == len(summary.rows)
    assert tally.judged + tally.unread + tally.to_answer == tally.due
    cells = [t for themes in summary.matrix().values() for t in themes.values()]
    assert sum(t.due for t in cells) == tally.due
    assert sum(t.drift for t in cells) == tally.drift


def test_the_trusts_finding_counts_once_and_shows_to_those_it_serves() -> None:
    summary = Summary(snapshot(("ad", None, "fail"), serves=("oak",)))
    assert summary.tally(summary.rows).drift == 1
    assert len(summary.shared["oak"]) == 1
    assert not summary.shared["ash"]
    assert summary.schools_with_drift() == ["oak"]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "A Trust: no check applied in this run, so nothing can be said."),
        ([("oak/srv", "oak", "unknown")], "A Trust: none of the 1 check could be judged, so nothing can be said."),
        ([("oak/srv", "oak", "pass")], "All 1 check are met, in all 2 schools."),
        ([("oak/srv", "oak", "fail"), ("ash/srv", "ash", "pass")], "1 check has drifted across 1 of 2 schools."),
        (
            [("oak/srv", "oak", "pass"), ("ash/srv", "ash", "unknown")],
            "No check has drifted, but 1 check could not be read.",
        ),
        (
            [("oak/srv", "oak", "fail"), ("ash/srv", "ash", "fail"), ("ad", None, "unknown")],
            "2 checks have drifted across all 2 schools; 1 check could not be read.",
        ),
    ],
)
def test_the_sentence_is_never_better_than_the_truth(rows, sentence: str) -> None:
    assert verdict_sentence(Summary(snapshot(*rows))) == sentence


def test_failing_says_x_of_n_and_what_was_not_read() -> None:
    summary = Summary(snapshot(("oak/srv", "oak", "fail"), ("ash/srv", "ash", "unknown"), ("ad", None, "fail")))
    (failing,) = summary.failing()
    assert (failing.failing, failing.unknown, failing.concerned, len(failing.shared)) == (("oak",), ("ash",), 2, 1)
    first = actions(summary)[0]
    assert first.detail.startswith("Fails in 1 of 2 schools (1 could not be read) and in what schools share (ad).")
    assert first.owner == "Trust IT team"


def test_a_school_alone_owns_its_action_by_role() -> None:
    snap = snapshot(("oak/srv", "oak", "fail"))
    assert actions(Summary(snap))[0].owner == "IT lead, Oakfield"
    assert actions(Summary(replace(snap, owners={"oak": "Site technician"})))[0].owner == "Site technician"


def test_lost_sight_keeps_a_place_among_the_actions() -> None:
    found = actions(Summary(sample()))
    assert len(found) == 3
    assert found[2].control is None


def test_expired_exceptions_are_an_action() -> None:
    gone = ExceptionInfo("linux.a", None, None, None, "r", "o", date(2026, 1, 1), ExceptionState.EXPIRED)
    snap = replace(snapshot(("oak/srv", "oak", "pass")), exceptions=(gone,))
    assert [a.title for a in actions(Summary(snap))] == ["Decide on the exceptions that have expired"]


def test_an_unreachable_target_is_one_state_and_no_hundred_changes() -> None:
    snap = snapshot(("oak/srv", "oak", "unknown"), ("ash/srv", "ash", "unknown"))
    rows = tuple(replace(r, change=Change.LOST_SIGHT) for r in snap.rows)
    targets = (replace(snap.targets[0], state=TargetState.UNREACHABLE), *snap.targets[1:])
    summary = Summary(replace(snap, rows=rows, targets=targets))
    assert [(g.change, g.schools, g.count) for g in summary.changes()] == [(Change.LOST_SIGHT, ("ash",), 1)]
    assert [t.id for t in summary.gone()] == ["oak/srv"]
    assert summary.unread_reasons() == [("permission missing", 1), ("unreachable", 1)]


def test_settings_count_different_values() -> None:
    snap = snapshot(("oak/srv", "oak", "pass"), ("ash/srv", "ash", "fail"))
    rows = tuple(
        replace(r, finding=replace(r.finding, observed=o)) for r, o in zip(snap.rows, ("no", "yes"), strict=True)
    )
    (setting,) = Summary(replace(snap, rows=rows)).settings()
    assert (setting.schools, setting.values) == (2, 2)


# Requirements


def stands(req: Requirement, snap: Snapshot, school: str = "oak") -> Standing:
    return Judge(Summary(snap)).school(req, school).standing


def requirement(all_of: tuple[str, ...] = (), any_of: tuple[str, ...] = (), attest: str = "") -> Requirement:
    return Requirement("r", "T", "R", "must", all_of, any_of, attest)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("pass", "met"),
        ("fail", "drift"),
        ("unknown", "unknown"),
        ("not_applicable", "not_applicable"),
        ("manual", "to_answer"),
    ],
)
def test_a_requirement_stands_as_its_control(verdict: str, expected: str) -> None:
    assert stands(requirement(("linux.a",)), snapshot(("oak/srv", "oak", verdict))) == expected


def test_not_applicable_alone_is_not_met_but_does_not_hinder() -> None:
    snap = snapshot(("oak/srv", "oak", "pass"))
    assert stands(requirement(("linux.a", "windows.b")), snap) == Standing.MET
    assert stands(requirement(("windows.b",)), snap) == Standing.NOT_APPLICABLE


def test_a_control_left_out_where_its_platform_is_there_is_not_covered() -> None:
    assert stands(requirement(("linux.a", "linux.b")), snapshot(("oak/srv", "oak", "pass"))) == Standing.NOT_COVERED
    assert stands(requirement(), snapshot(("oak/srv", "oak", "pass"))) == Standing.NOT_COVERED


def test_what_schools_share_counts_for_each() -> None:
    snap = snapshot(("oak/srv", "oak", "pass"), ("ad", None, "fail"))
    assert stands(requirement(("linux.a",)), snap) == Standing.DRIFT
    assert Judge(Summary(snap)).requirement(requirement(("linux.a",))).standing == Standing.DRIFT


def test_an_exception_does_not_meet_a_requirement() -> None:
    snap = snapshot(("oak/srv", "oak", "fail"))
    snap = replace(snap, rows=(replace(snap.rows[0], exception="agreed"),))
    assert stands(requirement(("linux.a",)), snap) == Standing.EXCEPTION


def test_the_part_that_a_machine_reads_never_meets_the_whole() -> None:
    snap = snapshot(("oak/srv", "oak", "pass"))
    req = requirement(("linux.a",), attest="Is it so?")
    assert stands(req, snap) == Standing.TO_ANSWER
    assert stands(req, replace(snap, attestations=(ANSWER,))) == Standing.MET
    assert stands(req, replace(snap, attestations=(replace(ANSWER, met=False),))) == Standing.DRIFT
    failing = replace(snapshot(("oak/srv", "oak", "fail")), attestations=(ANSWER,))
    assert stands(req, failing) == Standing.DRIFT


def test_answers_count_in_their_dates_only() -> None:
    req, snap, today = requirement(attest="Is it so?"), snapshot(), NOON.date()
    for start, end, expected in (
        (today, today, Standing.MET),
        (today + timedelta(1), today + timedelta(9), Standing.TO_ANSWER),
        (today - timedelta(9), today - timedelta(1), Standing.TO_ANSWER),
    ):
        answer = replace(ANSWER, given=start, expires=end)
        assert stands(req, replace(snap, attestations=(answer,))) == expected


def test_a_schools_own_answer_outweighs_the_trusts() -> None:
    snap = replace(snapshot(), attestations=(ANSWER, replace(ANSWER, school="oak", met=False)))
    assert stands(requirement(attest="?"), snap) == Standing.DRIFT
    assert stands(requirement(attest="?"), snap, "ash") == Standing.MET


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (("fail", "pass"), "met"),
        (("fail", "unknown"), "unknown"),
        (("fail", "fail"), "drift"),
        (("fail", "not_applicable"), "drift"),
        (("not_applicable", "not_applicable"), "not_applicable"),
        (("fail",), "not_covered"),
    ],
)
def test_any_of(verdicts: tuple[str, ...], expected: str) -> None:
    base = snapshot(("oak/srv", "oak", "pass"))
    rows = tuple(
        Row(Finding(f"linux.{n}", 1, "oak/srv", "oak", Verdict(v))) for n, v in zip("ab", verdicts, strict=False)
    )
    controls = {f"linux.{n}": replace(base.controls["linux.a"], id=f"linux.{n}") for n in "ab"}
    assert stands(requirement(any_of=("linux.a", "linux.b")), replace(base, rows=rows, controls=controls)) == expected


def test_not_covered_lists_the_trusts_and_the_schools_own() -> None:
    snap = replace(snapshot(), not_covered=(NotCovered("a", "A", None, "set x"), NotCovered("b", "B", "oak", "set y")))
    assert [n[0] for n in Summary(snap).not_covered("oak")] == ["a", "b"]
    assert Summary(snap).waiting() == [("set x", ["A"], [None]), ("set y", ["B"], ["oak"])]


def test_offenders_of_shared_findings_are_counted() -> None:
    snap = snapshot(("ad", None, "fail"))
    finding = replace(snap.rows[0].finding, offenders=(Offender("k", "l"),), offender_count=7)
    (failing,) = Summary(replace(snap, rows=(Row(finding),))).failing()
    assert (failing.offenders, failing.concerned) == (7, 0)
