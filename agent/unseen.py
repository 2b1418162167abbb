"""Machines that may be switched off: within their grace, what is known of them stands."""

from __future__ import annotations

from dataclasses import replace

from agent.errors import UsageError
from agent.model import Evidence, TargetState
from agent.plan import grace
from agent.store import Store


def settle(store: Store, evidence: Evidence) -> Evidence:
    """What a target that gave no answer counts as: not seen since its last reading, or out of its grace.

    Within the grace it comes back with its last evidence, as of the time of that. One that was never read is not seen
    since the first run that missed it. Everything else comes back as it is.
    """
    target = evidence.target
    allowed = grace(target) if evidence.no_answer else None
    if allowed is None:
        return evidence
    read = store.last_read(target.id)
    since = read or store.first_tried(target.id) or evidence.as_of
    words = f"{'not' if read else 'never'} seen since {since:%Y-%m-%d %H:%M} UTC"
    if evidence.as_of - since > allowed:
        return replace(evidence, detail=f"{words}, which is longer than its grace. {evidence.detail}")
    found = replace(evidence, state=TargetState.NOT_SEEN, detail=f"{words}: it may be switched off.")
    if read is None:
        return found
    last = _last(store, target.id)
    return (
        replace(found, as_of=read, facts={})
        if last is None
        else replace(found, as_of=last.as_of, facts=last.facts, ids=last.ids)
    )


def _last(store: Store, target_id: str) -> Evidence | None:
    """The last evidence that was really read, of all controls if there is such; None past its keep."""
    for full in (True, False):
        try:
            return store.evidence(target_id, full=full, read=True)
        except UsageError:
            continue
    return None
