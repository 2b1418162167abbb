"""Findings × history → changes. Pure. The table of docs/changes.md, row by row, per finding and per offender."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.model import Change, Finding, Offender, Verdict

KNOWN = (Verdict.PASS, Verdict.FAIL)
DEFINITE = (*KNOWN, Verdict.NOT_APPLICABLE)
BLIND = (Verdict.UNKNOWN, Verdict.MANUAL)
"""Nobody could look, or nobody has answered (an attestation that ran out): what was known last still counts."""


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered of one finding.

    `last` is the finding as it stood; `known` the last one that was a real pass or fail (maybe `last` itself);
    `since` the run in which the present failing began.
    """

    last: Finding
    known: Finding | None
    since: str


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of one finding: the word, the same per offender key, and since which run it fails."""

    change: Change
    offenders: Mapping[str, Change]
    since: str


def compare(now: Finding, past: Past | None, run: str, rejudged: Finding | None = None) -> Changed:
    """One finding against its past.

    `rejudged` is given when the control's version or parameters changed since the finding was last known: the previous
    evidence judged by the new rule. The step from the old verdict to that one is `rebaselined`; only what differs from
    it is drift. Where the previous evidence does not tell (the new rule reads what was not collected then), any
    difference is `rebaselined`.
    """
    if past is None:
        change = Change.NEW if now.verdict is Verdict.FAIL else Change.NONE
        return Changed(change, _offenders(now, None, None), run)
    known, last = past.known, past.last
    if known is not None and last.verdict is Verdict.NOT_APPLICABLE and known.verdict is Verdict.FAIL:
        known = None  # that failing was retired
    then = last if last.verdict in DEFINITE else known
    since = past.since if _failing(past) and now.verdict not in (Verdict.PASS, Verdict.NOT_APPLICABLE) else run
    before = known
    if rejudged is not None and rejudged.verdict in DEFINITE:
        if now.verdict in DEFINITE and (then is None or _differs(rejudged, then)):
            same = then is not None and then.verdict is now.verdict
            if now.verdict is rejudged.verdict and not (same and _differs(now, rejudged)):
                return Changed(Change.REBASELINED, _rebased(now, then, rejudged), since)
            before = rejudged
    elif rejudged is not None and then is not None and now.verdict is not last.verdict and _differs(now, then):
        return Changed(Change.REBASELINED, _rebased(now, then, now), since)
    change = _word(now.verdict, last.verdict, before.verdict if before else None)
    blind = last if last.verdict in BLIND else None
    return Changed(change, _offenders(now, before, blind), since if change is Change.PERSISTING else run)


def _differs(a: Finding, b: Finding) -> bool:
    return a.verdict is not b.verdict or {o.key for o in a.offenders} != {o.key for o in b.offenders}


def _failing(past: Past) -> bool:
    """Whether the finding still counts as failing: it fails, or was failing when it was last known."""
    if past.last.verdict in BLIND:
        return past.known is not None and past.known.verdict is Verdict.FAIL
    return past.last.verdict is Verdict.FAIL


def _word(now: Verdict, last: Verdict, known: Verdict | None) -> Change:
    if now is Verdict.FAIL:
        if known is Verdict.FAIL:
            return Change.PERSISTING
        return Change.REGRESSED if known is Verdict.PASS else Change.NEW
    if now is Verdict.PASS:
        return Change.RESOLVED if known is Verdict.FAIL else Change.NONE
    if now is Verdict.NOT_APPLICABLE:
        return Change.RETIRED if known is Verdict.FAIL else Change.NONE
    if last is Verdict.NOT_APPLICABLE:
        return Change.NONE
    if known is Verdict.FAIL:
        return Change.PERSISTING
    return Change.LOST_SIGHT if known is Verdict.PASS else Change.NONE


def _rebased(now: Finding, then: Finding | None, rejudged: Finding) -> dict[str, Change]:
    """Per offender, when the rule changed: what the new rule finds in old evidence is not drift."""
    was, by_rule = _keys(then), _keys(rejudged)
    return {
        o.key: Change.PERSISTING if o.key in was else Change.REBASELINED if o.key in by_rule else Change.NEW
        for o in now.offenders
    }


def _keys(finding: Finding | None) -> set[str]:
    return set() if finding is None else {o.key for o in finding.offenders}


def _offenders(now: Finding, before: Finding | None, blind: Finding | None) -> dict[str, Change]:
    """Per offender: those here now, and those that are gone after a real look.

    `before` is the last known finding, `blind` the unknown one since, whose sure offenders were told of already. An
    offender list that was cut off (more offenders than are kept, or names past their keep) proves nobody gone, and
    nobody new.
    """
    was = _keys(before) | _keys(blind)
    cut = before is not None and before.offender_count > len(before.offenders)
    other = Change.REGRESSED if before is not None and before.verdict is Verdict.PASS else Change.NEW
    if cut:
        other = Change.PERSISTING
    out = {o.key: Change.PERSISTING if o.key in was else other for o in now.offenders}
    gone = Change.PERSISTING
    if now.verdict is Verdict.NOT_APPLICABLE:
        gone = Change.RETIRED
    elif now.verdict is Verdict.PASS or (
        now.verdict is Verdict.FAIL and len(now.offenders) == now.offender_count and not now.possible
    ):
        gone = Change.RESOLVED
    out.update({k: gone for k in was if k not in out})
    return out


def fresh(changed: Changed) -> tuple[str, ...]:
    """Keys of offenders that were not there when the finding was last known."""
    return tuple(sorted(k for k, c in changed.offenders.items() if c in (Change.NEW, Change.REGRESSED)))


def accepted(offender: Offender, entry_offender: str, value: str | None) -> bool:
    """Whether an exception's line names this offender, with the value that was accepted."""
    return entry_offender in (offender.key, offender.label) and value in (None, offender.value)
