"""Findings × history → changes. Pure. The table of docs/changes.md, row by row, per finding and per offender."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.model import Change, Finding, Offender, Verdict

KNOWN = (Verdict.PASS, Verdict.FAIL)


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

    `rejudged` is given when the control's version or parameters changed: the previous evidence judged by the new
    rule. The step from the old verdict to that one is `rebaselined`; only what differs from it is drift.
    """
    if past is None:
        change = Change.NEW if now.verdict is Verdict.FAIL else Change.NONE
        return Changed(change, _offenders(now, None), run)
    before = past.known
    since = past.since if _failing(past) else run
    if rejudged is not None and _differs(rejudged, past.last):
        if not _differs(now, rejudged) or rejudged.verdict not in KNOWN:
            return Changed(
                Change.REBASELINED,
                dict.fromkeys((o.key for o in now.offenders), Change.REBASELINED),
                since if now.verdict is Verdict.FAIL and _failing(past) else run,
            )
        before = rejudged
    change = _word(now.verdict, past.last.verdict, before.verdict if before else None)
    keeps = change in (Change.PERSISTING,)
    return Changed(change, _offenders(now, before), since if keeps else run)


def _differs(a: Finding, b: Finding) -> bool:
    return a.verdict is not b.verdict or {o.key for o in a.offenders} != {o.key for o in b.offenders}


def _failing(past: Past) -> bool:
    """Whether the finding still counts as failing: it fails, or was failing when it was last known."""
    if past.last.verdict is Verdict.UNKNOWN:
        return past.known is not None and past.known.verdict is Verdict.FAIL
    return past.last.verdict is Verdict.FAIL


def _word(now: Verdict, last: Verdict, known: Verdict | None) -> Change:
    if now is Verdict.FAIL:
        if known is Verdict.FAIL:
            return Change.PERSISTING
        return Change.REGRESSED if known is Verdict.PASS else Change.NEW
    if now is Verdict.PASS:
        return Change.RESOLVED if known is Verdict.FAIL and last is not Verdict.NOT_APPLICABLE else Change.NONE
    if now is Verdict.UNKNOWN:
        if last is Verdict.UNKNOWN or last in KNOWN:
            if known is Verdict.FAIL:
                return Change.PERSISTING
            return Change.LOST_SIGHT if known is Verdict.PASS else Change.NONE
        return Change.NONE
    if now is Verdict.NOT_APPLICABLE and known is Verdict.FAIL and last is not Verdict.NOT_APPLICABLE:
        return Change.RETIRED
    return Change.NONE


def _offenders(now: Finding, before: Finding | None) -> dict[str, Change]:
    """Per offender: those here now, and those that are gone after a real look.

    An offender list that was cut off (more offenders than are kept) proves nobody gone.
    """
    was = {o.key for o in before.offenders} if before is not None else set()
    known = before is not None and before.verdict in KNOWN
    out: dict[str, Change] = {}
    for o in now.offenders:
        out[o.key] = (
            Change.PERSISTING
            if o.key in was
            else Change.REGRESSED
            if known and before is not None and before.verdict is Verdict.PASS
            else Change.NEW
        )
    if now.verdict is Verdict.UNKNOWN:
        out.update({k: Change.PERSISTING for k in was})
        return out
    if now.verdict in KNOWN and len(now.offenders) == now.offender_count and not now.possible:
        out.update({k: Change.RESOLVED for k in was if k not in out})
    elif now.verdict is Verdict.NOT_APPLICABLE:
        out.update({k: Change.RETIRED for k in was})
    elif now.verdict in KNOWN:
        out.update({k: Change.PERSISTING for k in was if k not in out})
    return out


def fresh(changed: Changed) -> tuple[str, ...]:
    """Keys of offenders that were not there when the finding was last known."""
    return tuple(sorted(k for k, c in changed.offenders.items() if c in (Change.NEW, Change.REGRESSED)))


def accepted(offender: Offender, entry_offender: str, value: str | None) -> bool:
    """Whether an exception's line names this offender, with the value that was accepted."""
    return entry_offender in (offender.key, offender.label) and value in (None, offender.value)
