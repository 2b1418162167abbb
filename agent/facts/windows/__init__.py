"""Windows by one PowerShell script, then pure readers. See `collect.ps1` for what runs on the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Importing the readers declares their facts.
from agent.facts.protocol import Collected, Limits, PlanStep, PowerShell
from agent.facts.windows import accounts, network, protection, registry, settings, system, upkeep
from agent.facts.windows.answer import Answer, new_nonce, parse, program
from agent.facts.windows.readers import PLATFORM, READERS, value
from agent.facttypes import grouped
from agent.model import Reading, Reason, TargetState, Unknown

__all__ = ["PLATFORM", "collect", "facts_from", "plan", "questions"]

_MODULES = (accounts, network, protection, registry, settings, system, upkeep)
_LOST = (Reason.PERMISSION, Reason.TIMED_OUT, Reason.TRUNCATED, Reason.UNREADABLE)


def questions(wanted: Sequence[str]) -> tuple[set[str], dict[str, Any]]:
    """Parts of the script that the wanted facts take, and what they are asked for: each registry key once."""
    sections: set[str] = set()
    keys: dict[str, tuple[str, dict[str, str]]] = {}
    services: dict[str, str] = {}
    for base, asked in grouped(wanted).items():
        reader = READERS.get(base)
        if reader is None:
            continue
        good = [k for k in asked if reader.good(k)]
        if asked and not good:
            continue
        sections |= set(reader.asks)
        found = list(reader.registry)
        for key in good:
            if reader.places is not None:
                found += reader.places(key) or ()
            elif reader.argument is not None:
                services.setdefault(key.lower(), key)
        for path, name in found:
            _, names = keys.setdefault(path.lower(), (path, {}))
            if name:
                names.setdefault(name.lower(), name)
    asking: dict[str, Any] = {}
    if "registry" in sections:
        asking["registry"] = [{"p": path, "n": list(names.values())} for path, names in keys.values()]
    if services:
        asking["services"] = list(services.values())
    return sections, asking


def plan(wanted: Sequence[str]) -> list[PlanStep]:
    """What would run on a machine, one step per fact, all inside one session."""
    steps = []
    for base, keys in grouped(wanted).items():
        reader = READERS.get(base)
        if reader is not None:
            what = f"{reader.what}: {', '.join(keys)}" if keys else reader.what
            steps.append(PlanStep(what, reader.rights, tuple(f"{base}[{k}]" for k in keys) or (base,)))
    return steps


def collect(connection: PowerShell, wanted: Sequence[str], limits: Limits) -> Collected:
    """Read the wanted facts from one machine. Raises what `connection.script` raises; everything else is an unknown
    fact."""
    nonce = new_nonce()
    sections, asking = questions(wanted)
    sections.add("ids")
    output = connection.script(program(sections, asking, nonce, limits.seconds), limits)
    answer = parse(output, nonce, asking)
    facts = facts_from(answer, wanted)
    state, detail = _state(answer, facts)
    return Collected(facts, state, detail, system.ids(answer))


def facts_from(answer: Answer, wanted: Sequence[str]) -> dict[str, Reading]:
    """Every wanted fact, known or unknown, from an answer."""
    out: dict[str, Reading] = {}
    for base, keys in grouped(wanted).items():
        reader = READERS.get(base)
        for key in keys or (None,):
            name = base if key is None else f"{base}[{key}]"
            out[name] = Reading(
                Unknown(Reason.NOT_SUPPORTED, "no such Windows fact") if reader is None else value(reader, answer, key)
            )
    return out


def _state(answer: Answer, facts: dict[str, Reading]) -> tuple[TargetState, str]:
    """Collected only when the whole answer came and no fact was refused, cut off or unreadable as a whole."""
    lost = [r.value for r in facts.values() if isinstance(r.value, Unknown) and r.value.reason in _LOST]
    if answer.lost is not None:
        return TargetState.PARTIAL, f"{len(lost)} of {len(facts)} facts are unknown: {answer.lost}."
    if not lost:
        return TargetState.COLLECTED, ""
    refused = any(u.reason is Reason.PERMISSION for u in lost)
    why = "the account is no administrator there" if refused and answer.admin is False else str(lost[0])
    return TargetState.PARTIAL, f"{len(lost)} of {len(facts)} facts are unknown: {why}."
