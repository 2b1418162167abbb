"""Accepted departures: which findings they cover today. Pure. The control still runs; its true verdict stays."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from agent.change import accepted
from agent.files import AcceptedOffender, ExceptionEntry
from agent.model import Finding, Offender, Target, Verdict

SOON = timedelta(days=30)
"""An exception that ends within this is shown as about to expire."""


@dataclass(frozen=True, slots=True)
class Cover:
    """How an exception meets a finding: `whole` when nothing of it counts any more, else `left` still does."""

    entry: ExceptionEntry
    whole: bool
    left: tuple[Offender, ...] = ()


def state(entry: ExceptionEntry, today: date) -> str:
    """`active`, `expiring` (within 30 days) or `expired`; the day of expiry itself still counts."""
    if entry.expires < today:
        return "expired"
    return "expiring" if entry.expires - today <= SOON else "active"


def matches(entry: ExceptionEntry, finding: Finding, target: Target) -> bool:
    """Whether an exception's scope holds this finding. A school's exception never covers the trust's own finding."""
    if not fnmatch.fnmatchcase(finding.control, entry.control):
        return False
    if entry.school is not None and finding.school != entry.school:
        return False
    if entry.target is not None and entry.target not in (target.name, target.id):
        return False
    return entry.group is None or entry.group in target.groups


def cover(entries: Sequence[ExceptionEntry], finding: Finding, target: Target, today: date) -> Cover | None:
    """The exception in force that meets a finding, the widest first; None where none does.

    Entries that list offenders are joined: what none of them lists, or lists with another value, still counts. An
    offender list that was cut off is never wholly covered by names.
    """
    live = [e for e in entries if state(e, today) != "expired" and matches(e, finding, target)]
    if finding.verdict is Verdict.UNKNOWN:
        willing = [e for e in live if e.accept_unknown]
        if not willing:
            return None
        if any(not e.offenders for e in willing):
            return Cover(next(e for e in willing if not e.offenders), True)
        # what surely fails although the whole is unknown was accepted by name, or not at all
        left = _unlisted(live, finding)
        return Cover(willing[0], not left and finding.offender_count == len(finding.offenders), left)
    if finding.verdict is not Verdict.FAIL:
        return None
    for entry in live:
        if not entry.offenders:
            return Cover(entry, True)
    lines = [(e, _line(o)) for e in live for o in e.offenders]
    left = _unlisted(live, finding)
    if not live or len(left) == len(finding.offenders):
        return None
    entry = next(e for e, (n, v) in lines if any(accepted(o, n, v) for o in finding.offenders))
    whole = not left and finding.offender_count == len(finding.offenders)
    return Cover(entry, whole, left)


def _unlisted(entries: Sequence[ExceptionEntry], finding: Finding) -> tuple[Offender, ...]:
    """Offenders that no entry lists, or lists with another value."""
    lines = [_line(o) for e in entries for o in e.offenders]
    return tuple(o for o in finding.offenders if not any(accepted(o, n, v) for n, v in lines))


def _line(line: str | AcceptedOffender) -> tuple[str, str | None]:
    return (line, None) if isinstance(line, str) else (line.offender, line.value)
