"""The tenant's facts (Microsoft 365: Entra, Intune): what would be asked, and what the answers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.facts.m365 import (
    apps,
    conditional_access,
    devices,
    education,
    groups,
    intune,
    mail,
    methods,
    people,
    records,
    roles,
    services,
    tenant,
)
from agent.facts.m365.asking import ODD, Asking
from agent.facts.m365.protocol import Answer, Graph, Request, Tenant
from agent.facts.m365.source import KEYED, SKUS, SOURCES, Answers, Source
from agent.facts.m365.tenant import PLATFORM, confirmed, licences_of
from agent.facts.protocol import Collected, Limits, PlanStep
from agent.facttypes import REGISTRY, FactError, split_reference
from agent.model import Partial, Reading, Reason, TargetState, Unknown

__all__ = ["PLATFORM", "Answer", "Graph", "Request", "collect", "plan"]
_MODULES = (
    apps,
    conditional_access,
    devices,
    education,
    groups,
    intune,
    mail,
    methods,
    people,
    records,
    roles,
    services,
    tenant,
)
"""Imported for what they declare."""


def source_of(name: str) -> Source:
    """How a fact is read, by its name or `name[key]`. Raises `FactError` for one that there is not."""
    if name in SOURCES:
        return SOURCES[name]
    base, key, _ = split_reference(name)
    if key is None or base not in KEYED:
        raise FactError(f"there is no fact {name!r} to read from a tenant.")
    return KEYED[base](key)


def plan(wanted: Sequence[str]) -> list[PlanStep]:
    """Every request that the wanted facts take, with its least permission, each once."""
    feeds: dict[tuple[str, str], list[str]] = {}
    for name in wanted:
        source = source_of(name)
        steps = [(_words(request), request.permission) for request in source.requests] + list(source.then)
        for step in steps:
            feeds.setdefault(step, []).append(name)
    return [
        PlanStep(what, (right,) if right else (), tuple(dict.fromkeys(names))) for (what, right), names in feeds.items()
    ]


def _words(request: Request) -> str:
    """A request as a plan says it."""
    return f"{request}, where {request.option} is on" if request.option else str(request)


def collect(connection: Tenant, wanted: Sequence[str], limits: Limits) -> Collected:
    """Read the wanted facts. `limits` are the connection's own and kept by it.

    Raises `TargetError` when the tenant as a whole cannot be read.
    """
    del limits
    sources = {name: source_of(name) for name in wanted}
    answers = Asking(connection).run(sources.values())
    licences = licences_of(answers) if SKUS in answers else Unknown(Reason.NOT_COLLECTED)
    answers = {ask: confirmed(answer, licences) for ask, answer in answers.items()}
    facts = {name: Reading(_parse(source, answers, licences)) for name, source in sources.items()}
    answers.clear()  # of a large tenant they are most of the memory, and shaping makes a copy of the facts
    missed = sorted(name for name, reading in facts.items() if _troubled(reading.value))
    if not missed:
        return Collected(facts, TargetState.COLLECTED)
    return Collected(facts, TargetState.PARTIAL, _sentence(missed, facts))


def _parse(source: Source, answers: Answers, licences: Any) -> Any:
    try:
        return source.parse(answers, licences)
    except ODD:
        # An answer of a shape that no parser foresaw: known to be not understood, which is no verdict.
        return Unknown(Reason.UNREADABLE, "an answer of an unexpected shape")


def _troubled(value: Any) -> bool:
    """Whether a fact is unknown or incomplete for another reason than a licence that the tenant does not have, or what
    the trust has chosen not to ask."""
    why = value.why if isinstance(value, Partial) else value
    return isinstance(why, Unknown) and why.reason not in (Reason.NOT_LICENSED, Reason.BY_CHOICE)


def _sentence(missed: Sequence[str], facts: Mapping[str, Reading]) -> str:
    first = facts[missed[0]].value
    more = f" and {len(missed) - 1} more" if len(missed) > 1 else ""
    why, whole = (first.why, " whole") if isinstance(first, Partial) else (first, "")
    return f"{missed[0]}{more} could not be read{whole} ({why})."


assert all((PLATFORM, name) in REGISTRY.specs for name in (*SOURCES, *KEYED))  # noqa: S101 - a slip of ours
