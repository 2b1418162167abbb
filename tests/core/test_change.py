"""What became of a finding: every row of the table in docs, and what must hold whatever the history."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.change import Past, accepted, compare, fresh
from agent.model import Change, Finding, Offender, Verdict

PASS, FAIL, UNKNOWN, NA, MANUAL = (
    Verdict.PASS,
    Verdict.FAIL,
    Verdict.UNKNOWN,
    Verdict.NOT_APPLICABLE,
    Verdict.MANUAL,
)


def finding(verdict: Verdict, *keys: str, count: int | None = None, possible: int = 0) -> Finding:
    """A finding with these offenders."""
    names = tuple(Offender(k, k.upper()) for k in keys)
    return Finding(
        "testbox.c",
        1,
        "t",
        None,
        verdict,
        offenders=names,
        offender_count=len(keys) if count is None else count,
        possible=possible,
    )


def past(last: Finding, known: Finding | None = None, since: str = "r1") -> Past:
    """A past; what is known is the last finding itself where that is a real verdict."""
    return Past(last, last if known is None and last.verdict in (PASS, FAIL) else known, since)


@pytest.mark.parametrize(
    ("before", "now", "word", "since"),
    [
        (None, FAIL, Change.NEW, "now"),
        (None, PASS, Change.NONE, "now"),
        (None, UNKNOWN, Change.NONE, "now"),
        (None, NA, Change.NONE, "now"),
        (past(finding(PASS)), FAIL, Change.REGRESSED, "now"),
        (past(finding(FAIL)), FAIL, Change.PERSISTING, "r1"),
        (past(finding(FAIL)), UNKNOWN, Change.PERSISTING, "r1"),
        (past(finding(FAIL)), MANUAL, Change.PERSISTING, "r1"),
        (past(finding(FAIL)), PASS, Change.RESOLVED, "now"),
        (past(finding(PASS)), UNKNOWN, Change.LOST_SIGHT, "now"),
        (past(finding(PASS)), MANUAL, Change.LOST_SIGHT, "now"),
        (past(finding(PASS)), PASS, Change.NONE, "now"),
        (past(finding(PASS)), NA, Change.NONE, "now"),
        (past(finding(FAIL)), NA, Change.RETIRED, "now"),
        (past(finding(UNKNOWN)), FAIL, Change.NEW, "now"),
        (past(finding(UNKNOWN)), PASS, Change.NONE, "now"),
        (past(finding(UNKNOWN), finding(FAIL)), FAIL, Change.PERSISTING, "r1"),
        (past(finding(UNKNOWN), finding(FAIL)), PASS, Change.RESOLVED, "now"),
        (past(finding(UNKNOWN), finding(FAIL)), UNKNOWN, Change.PERSISTING, "r1"),
        (past(finding(UNKNOWN), finding(FAIL)), NA, Change.RETIRED, "now"),
        (past(finding(UNKNOWN), finding(PASS)), FAIL, Change.REGRESSED, "now"),
        (past(finding(UNKNOWN), finding(PASS)), PASS, Change.NONE, "now"),
        (past(finding(UNKNOWN), finding(PASS)), UNKNOWN, Change.LOST_SIGHT, "now"),
        (past(finding(NA), finding(FAIL)), FAIL, Change.NEW, "now"),
        (past(finding(NA), finding(FAIL)), PASS, Change.NONE, "now"),
        (past(finding(NA), finding(FAIL)), UNKNOWN, Change.NONE, "now"),
        (past(finding(NA), finding(PASS)), FAIL, Change.REGRESSED, "now"),
        (past(finding(NA), finding(PASS)), UNKNOWN, Change.NONE, "now"),
        (past(finding(NA)), FAIL, Change.NEW, "now"),
        (past(finding(NA)), NA, Change.NONE, "now"),
        (past(finding(MANUAL), finding(FAIL)), PASS, Change.RESOLVED, "now"),
    ],
)
def test_the_table(before: Past | None, now: Verdict, word: Change, since: str) -> None:
    got = compare(finding(now), before, "now")
    assert (got.change, got.since) == (word, since)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (None, finding(FAIL, "a"), {"a": Change.NEW}),
        (past(finding(PASS)), finding(FAIL, "a"), {"a": Change.REGRESSED}),
        (past(finding(FAIL, "a")), finding(FAIL, "a", "b"), {"a": Change.PERSISTING, "b": Change.NEW}),
        (past(finding(FAIL, "a", "b")), finding(FAIL, "b"), {"a": Change.RESOLVED, "b": Change.PERSISTING}),
        (past(finding(FAIL, "a")), finding(PASS), {"a": Change.RESOLVED}),
        (past(finding(FAIL, "a")), finding(UNKNOWN), {"a": Change.PERSISTING}),
        (past(finding(FAIL, "a")), finding(UNKNOWN, "b"), {"a": Change.PERSISTING, "b": Change.NEW}),
        (past(finding(FAIL, "a")), finding(NA), {"a": Change.RETIRED}),
        (past(finding(FAIL, "a")), finding(FAIL, "b", possible=1), {"a": Change.PERSISTING, "b": Change.NEW}),
        (past(finding(FAIL, "a")), finding(FAIL, "b", count=1200), {"a": Change.PERSISTING, "b": Change.NEW}),
        (past(finding(FAIL, "a", count=1200)), finding(FAIL, "b"), {"a": Change.RESOLVED, "b": Change.PERSISTING}),
        # told of when sight of the whole was lost: not new a second time
        (
            past(finding(UNKNOWN, "b"), finding(FAIL, "a")),
            finding(FAIL, "a", "b"),
            {"a": Change.PERSISTING, "b": Change.PERSISTING},
        ),
        (
            past(finding(UNKNOWN, "b"), finding(FAIL, "a")),
            finding(FAIL, "a"),
            {"a": Change.PERSISTING, "b": Change.RESOLVED},
        ),
    ],
)
def test_offenders(before: Past | None, now: Finding, expected: dict[str, Change]) -> None:
    assert compare(now, before, "now").offenders == expected


def test_what_is_fresh() -> None:
    assert fresh(compare(finding(FAIL, "a", "c", "b"), past(finding(FAIL, "a")), "now")) == ("b", "c")


@pytest.mark.parametrize(
    ("before", "rejudged", "now", "word", "news"),
    [
        # the rule alone made the difference
        (past(finding(PASS)), finding(FAIL, "a"), finding(FAIL, "a"), Change.REBASELINED, ()),
        (past(finding(FAIL, "a")), finding(PASS), finding(PASS), Change.REBASELINED, ()),
        (past(finding(FAIL, "a")), finding(FAIL, "a", "b"), finding(FAIL, "a", "b"), Change.REBASELINED, ()),
        (past(finding(FAIL, "a")), finding(NA), finding(NA), Change.REBASELINED, ()),
        # the rule made one, the target another
        (past(finding(PASS)), finding(FAIL, "a"), finding(FAIL, "a", "b"), Change.REBASELINED, ("b",)),
        (past(finding(PASS)), finding(FAIL, "a"), finding(PASS), Change.RESOLVED, ()),
        (past(finding(FAIL, "a")), finding(PASS), finding(FAIL, "a"), Change.REGRESSED, ("a",)),
        (past(finding(FAIL, "a")), finding(FAIL, "a", "b"), finding(FAIL, "a", "b", "c"), Change.PERSISTING, ("c",)),
        # the rule changed nothing
        (past(finding(FAIL, "a")), finding(FAIL, "a"), finding(FAIL, "a", "b"), Change.PERSISTING, ("b",)),
        (past(finding(PASS)), finding(PASS), finding(FAIL, "a"), Change.REGRESSED, ("a",)),
        (past(finding(FAIL, "a")), finding(FAIL, "a"), finding(PASS), Change.RESOLVED, ()),
        # the old evidence does not tell
        (past(finding(PASS)), finding(UNKNOWN), finding(FAIL, "a"), Change.REBASELINED, ()),
        (past(finding(FAIL, "a")), finding(UNKNOWN), finding(PASS), Change.REBASELINED, ()),
        (past(finding(FAIL, "a")), finding(UNKNOWN), finding(FAIL, "a"), Change.PERSISTING, ()),
        (past(finding(PASS)), finding(UNKNOWN), finding(PASS), Change.NONE, ()),
        (past(finding(PASS)), finding(UNKNOWN), finding(UNKNOWN), Change.REBASELINED, ()),
        # out of sight, and the rule changed meanwhile
        (past(finding(UNKNOWN), finding(FAIL, "a")), finding(UNKNOWN), finding(PASS), Change.REBASELINED, ()),
        (past(finding(UNKNOWN), finding(PASS)), finding(UNKNOWN), finding(FAIL, "a"), Change.REBASELINED, ()),
        (past(finding(UNKNOWN), finding(FAIL, "a")), finding(UNKNOWN), finding(UNKNOWN), Change.PERSISTING, ()),
        (past(finding(PASS)), finding(FAIL, "a"), finding(UNKNOWN), Change.LOST_SIGHT, ()),
        (past(finding(FAIL, "a")), finding(PASS), finding(UNKNOWN), Change.PERSISTING, ()),
    ],
)
def test_a_changed_rule_is_no_drift(
    before: Past, rejudged: Finding, now: Finding, word: Change, news: tuple[str, ...]
) -> None:
    got = compare(now, before, "now", rejudged)
    assert got.change is word
    assert fresh(got) == news


KEYS = st.sets(st.sampled_from("abcd"), max_size=3)


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    """Any finding that judging can give."""
    verdict = draw(st.sampled_from(list(Verdict)))
    keys = sorted(draw(KEYS)) if verdict in (FAIL, UNKNOWN) else []
    extra = draw(st.sampled_from([0, 0, 0, 5])) if verdict is FAIL else 0
    return finding(verdict, *keys, count=len(keys) + extra, possible=draw(st.sampled_from([0, 0, 1])))


def follow(history: list[Finding]) -> list[tuple[Finding, Any]]:
    """Each finding of a history with what became of it."""
    before: Past | None = None
    out = []
    for i, one in enumerate(history):
        got = compare(one, before, f"r{i}")
        out.append((one, got))
        known = one if one.verdict in (PASS, FAIL) else before.known if before else None
        if got.change is Change.RETIRED:
            known = None
        before = Past(one, known, got.since)
    return out


@given(st.lists(findings(), min_size=1, max_size=8))
def test_whatever_the_history(history: list[Finding]) -> None:
    failing: str | None = None
    for i, (one, got) in enumerate(follow(history)):
        assert (got.change is Change.RESOLVED) <= (one.verdict is PASS)
        assert (got.change is Change.RETIRED) <= (one.verdict is NA)
        assert (got.change in (Change.NEW, Change.REGRESSED)) <= (one.verdict is FAIL)
        assert (one.verdict is FAIL) <= (got.change in (Change.NEW, Change.REGRESSED, Change.PERSISTING))
        if one.verdict in (UNKNOWN, MANUAL):
            assert Change.RESOLVED not in got.offenders.values()
        assert {o.key for o in one.offenders} <= set(got.offenders)
        # failing lasts until a real pass, or until it does not apply
        assert (got.change is Change.PERSISTING) == (failing is not None and one.verdict not in (PASS, NA))
        if one.verdict in (PASS, NA):
            failing = None
        elif one.verdict is FAIL and failing is None:
            failing = f"r{i}"
        if failing:
            assert got.since == failing


@given(st.lists(st.sets(st.sampled_from("abcd"), max_size=4), min_size=2, max_size=6))
def test_each_offender_is_new_once_while_it_lasts(history: list[set[str]]) -> None:
    there: set[str] = set()
    for one, got in follow([finding(FAIL if k else PASS, *sorted(k)) for k in history]):
        keys = {o.key for o in one.offenders}
        assert set(fresh(got)) == keys - there
        assert {k for k, c in got.offenders.items() if c is Change.RESOLVED} == there - keys
        there = keys


def test_an_exception_line_names_an_offender_by_key_or_label_and_may_pin_the_value() -> None:
    one = Offender("S-1-5", "jbloggs", "enabled = yes")
    assert accepted(one, "S-1-5", None)
    assert accepted(one, "jbloggs", "enabled = yes")
    assert not accepted(one, "jbloggs", "enabled = no")
    assert not accepted(one, "someone", None)
