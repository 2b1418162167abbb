"""The sentence that a report opens with, and the few things to do first. Pure."""

from __future__ import annotations

from agent.model import Reason
from agent.render.snapshot import ExceptionState, FixInfo
from agent.render.summary import Action, Failing, Summary
from agent.render.text import count, listing

_SIGHT = {
    Reason.UNREACHABLE.value: "Bring back the targets that could not be reached",
    Reason.IDENTITY.value: "Confirm the host keys and certificates that are not trusted",
    Reason.CREDENTIAL_REFUSED.value: "Renew the credentials that were refused",
    Reason.PERMISSION.value: "Grant the read-only permissions that are missing",
    Reason.COMMAND_MISSING.value: "Look into the readings whose command is not there",
    Reason.TIMED_OUT.value: "Look into the readings that timed out",
    Reason.THROTTLED.value: "Look into the readings that were throttled",
    Reason.TRUNCATED.value: "Look into the readings that were cut off",
}


def verdict_sentence(summary: Summary) -> str:
    """One sentence that says how the trust stands, and never better than it is."""
    name = summary.snapshot.trust_name
    tally = summary.tally(summary.rows)
    if not tally.due:
        return f"{name}: no check applied in this run, so nothing can be said."
    if not tally.judged:
        return f"{name}: none of the {count(tally.due, 'check')} could be judged, so nothing can be said."
    unread = f"{count(tally.unread, 'check')} could not be read" if tally.unread else ""
    wait = "waits" if tally.to_answer == 1 else "wait"
    waiting = f"{count(tally.to_answer, 'question')} still {wait} for an answer" if tally.to_answer else ""
    if tally.drift:
        schools = summary.schools_with_drift()
        all_of = len(summary.names)
        where = (
            ""
            if not schools
            else f" across all {all_of} schools"
            if len(schools) == all_of > 1
            else f" across {len(schools)} of {count(all_of, 'school')}"
        )
        rest = f"; {unread}" if unread else ""
        return f"{count(tally.drift, 'check')} {'has' if tally.drift == 1 else 'have'} drifted{where}{rest}."
    rest = listing([w for w in (unread, waiting) if w])
    met = "No check has drifted" if tally.exception or rest else f"All {count(tally.due, 'check')} are met"
    if tally.exception and not rest:
        return f"{met}; {count(tally.exception, 'departure')} {'is' if tally.exception == 1 else 'are'} accepted."
    return f"{met}, but {rest}." if rest else f"{met}, in all {count(len(summary.names), 'school')}."


def coverage_sentence(summary: Summary) -> str:
    """How much was looked at, in numbers only: unknown is never among what is met."""
    tally = summary.tally(summary.rows)
    parts = [f"Judged {tally.judged:,} of {count(tally.due, 'check')}"]
    if tally.unread:
        parts.append(f"{tally.unread:,} could not be read")
    if tally.to_answer:
        parts.append(f"{tally.to_answer:,} {'waits' if tally.to_answer == 1 else 'wait'} for a person's answer")
    return f"{'; '.join(parts)}. {tally.met:,} of the {tally.judged:,} judged are met."


def actions(summary: Summary, limit: int = 3) -> list[Action]:
    """What to do first: the gravest drift, then sight that was lost, then exceptions that ran out."""
    drift = [_drift(summary, f) for f in summary.failing()]
    sight = [
        Action(
            _SIGHT.get(word, "Look into the readings that failed"),
            f"{count(n, 'check')} could not be judged for this reason.",
            summary.owner([None]),
        )
        for word, n in summary.unread_reasons()
    ]
    expired = [e for e in summary.snapshot.exceptions if e.state is ExceptionState.EXPIRED]
    over = (
        [
            Action(
                "Decide on the exceptions that have expired",
                f"{count(len(expired), 'exception')} no longer {'counts' if len(expired) == 1 else 'count'}.",
                summary.owner([None]),
            )
        ]
        if expired
        else []
    )
    # One place is kept for lost sight: what nobody sees cannot rank by its gravity.
    kept = drift[: limit - 1] + sight[:1] if sight else drift[:limit]
    rest = [a for a in (*drift, *over, *sight) if a not in kept]
    return (kept + rest)[:limit]


def where_it_fails(summary: Summary, failing: Failing) -> str:
    """`Fails in 2 of 3 schools (1 could not be read), and in what the schools share.`"""
    parts = []
    if failing.failing:
        text = f"in {len(failing.failing)} of {count(failing.concerned, 'school')}"
        parts.append(text + (f" ({len(failing.unknown)} could not be read)" if failing.unknown else ""))
    if failing.shared:
        names = sorted(
            {summary.targets[r.finding.target].name for r in failing.shared if r.finding.target in summary.targets}
        )
        parts.append(f"in what schools share ({listing(names)})" if names else "in what schools share")
    return f"Fails {' and '.join(parts)}."


def fix_sentence(fix: FixInfo | None) -> str:
    """What putting it right takes."""
    if fix is None:
        return "No fix is written down yet."
    if not fix.automatic:
        return "Put right by hand; the steps are written down."
    parts = [f"{fix.risk} risk"] if fix.risk else []
    if fix.minutes is not None:
        parts.append(f"about {count(fix.minutes, 'minute')} each")
    parts.append("needs a restart" if fix.reboot else "no restart")
    return f"A reviewed fix is ready: {', '.join(parts)}."


def _drift(summary: Summary, failing: Failing) -> Action:
    control = summary.control(failing.control)
    schools: list[str | None] = [*failing.failing, *(None for _ in failing.shared)]
    return Action(
        f"Put right: {control.title}",
        f"{where_it_fails(summary, failing)} {fix_sentence(control.fix)}",
        summary.owner(schools),
        control.id,
    )
