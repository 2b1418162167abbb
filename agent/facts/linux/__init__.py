"""Linux over SSH: one exec of one POSIX-sh script, then pure parsers. See `collect.sh` for what runs on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Importing the readers declares their facts.
from agent.facts.linux import accounts, cores, kernel, network, pam, restart, sshd, sudo, system, updates, upkeep
from agent.facts.linux.answer import COMMAND, Answer, new_nonce, parse, payload
from agent.facts.linux.readers import PLATFORM, READERS, value, values
from agent.facts.protocol import Collected, Limits, PlanStep, Shell
from agent.facttypes import grouped
from agent.model import Reading, Reason, TargetState, Unknown

__all__ = ["PLATFORM", "collect", "facts_from", "plan", "sections_for"]

_MODULES = (accounts, cores, kernel, network, pam, restart, sshd, sudo, system, updates, upkeep)
_LOST = (Reason.PERMISSION, Reason.TIMED_OUT, Reason.TRUNCATED, Reason.UNREADABLE)


def sections_for(wanted: Sequence[str]) -> dict[str, list[str]]:
    """Sections of the script that the wanted facts take, with their arguments."""
    sections: dict[str, list[str]] = {}
    for base, keys in grouped(wanted).items():
        reader = READERS.get(base)
        if reader is None:
            continue
        arguments = [a for k in keys if reader.argument is not None and (a := reader.argument(k)) is not None]
        if reader.argument is not None and not arguments:
            continue
        for number, section in enumerate(reader.asks):
            have = sections.setdefault(section, [])
            if number == 0 and not have:
                have.extend(arguments)
    return sections


def plan(wanted: Sequence[str]) -> list[PlanStep]:
    """What would run on a host, one step per fact, all inside one login."""
    steps = []
    for base, keys in grouped(wanted).items():
        reader = READERS.get(base)
        if reader is not None:
            what = f"{reader.what}: {', '.join(keys)}" if keys else reader.what
            steps.append(PlanStep(what, reader.rights, tuple(f"{base}[{k}]" for k in keys) or (base,)))
    return steps


def collect(connection: Shell, wanted: Sequence[str], limits: Limits) -> Collected:
    """Read the wanted facts from one host. Raises what `connection.run` raises; everything else is an unknown fact."""
    nonce = new_nonce()
    output = connection.run(COMMAND, payload({**sections_for(wanted), "ids": []}, nonce), limits)
    answer = parse(output, nonce, limits)
    facts = facts_from(answer, wanted)
    state, detail = _state(answer, facts)
    return Collected(facts, state, detail, system.ids(answer))


def facts_from(answer: Answer, wanted: Sequence[str]) -> dict[str, Reading]:
    """Every wanted fact, known or unknown, from an answer."""
    out: dict[str, Reading] = {}
    for base, keys in grouped(wanted).items():
        reader = READERS.get(base)
        if reader is None:
            found: dict[str, Any] = {
                n: Unknown(Reason.NOT_SUPPORTED, "no such Linux fact")
                for n in ([f"{base}[{k}]" for k in keys] or [base])
            }
        elif reader.read_keys is not None:
            found = {f"{base}[{k}]": v for k, v in values(reader, answer, keys).items()}
        else:
            found = {base: value(reader, answer)}
        out.update({name: Reading(v) for name, v in found.items()})
    return out


def _state(answer: Answer, facts: dict[str, Reading]) -> tuple[TargetState, str]:
    """Collected only when the whole answer came and no fact was refused, cut off or unreadable as a whole."""
    lost = [r.value for r in facts.values() if isinstance(r.value, Unknown) and r.value.reason in _LOST]
    if answer.lost is not None:
        return TargetState.PARTIAL, f"{len(lost)} of {len(facts)} facts are unknown: {answer.lost}."
    if not lost:
        return TargetState.COLLECTED, ""
    refused = any(u.reason is Reason.PERMISSION for u in lost)
    why = "sudo was refused" if refused and not answer.root else str(lost[0])
    return TargetState.PARTIAL, f"{len(lost)} of {len(facts)} facts are unknown: {why}."
