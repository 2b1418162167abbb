"""Switches and access points over a terminal: a few commands that only show, then pure parsers of each make's words.

Secrets are taken out while parsing: no community, hash, key or whole configuration leaves this package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.facts.protocol import Collected, Limits, PlanStep
from agent.facts.switch import defaults as defaults  # hands the table of defaults to the derived facts
from agent.facts.switch.look import Look, Missing
from agent.facts.switch.protocol import Terminal
from agent.facts.switch.readers import READERS
from agent.facts.switch.schema import CONFIG, FAMILY, PRIVILEGE
from agent.model import Reading, Reason, TargetState, Unknown

__all__ = ["FAMILY", "PRIVILEGE", "collect", "plan"]

_LOST = (Reason.PERMISSION, Reason.TIMED_OUT, Reason.TRUNCATED, Reason.UNREADABLE)


def plan(wanted: Sequence[str], platform: str) -> list[PlanStep]:
    """Commands that would run on a switch of this make, each once, with the facts that they feed."""
    feeds: dict[str, list[str]] = {}
    for name in wanted:
        reader = READERS[platform].get(name)
        for command in reader.asks if reader else ():
            feeds.setdefault(command, []).append(name)
    return [PlanStep(c, (PRIVILEGE,) if _privileged(c) else (), tuple(names)) for c, names in feeds.items()]


def _privileged(command: str) -> bool:
    return command == CONFIG or "startup" in command or command.startswith("show config")


def collect(connection: Terminal, wanted: Sequence[str], limits: Limits) -> Collected:
    """Read the wanted facts from one switch. `limits` are the connection's own affair."""
    del limits
    look = Look(connection)
    # The serial number is an asset's id, wanted or not; show version is asked in any case.
    device = _read(look, "device")
    facts = {name: Reading(device if name == "device" else _read(look, name)) for name in wanted}
    if why := look.silent:
        sentence = f"the login worked, and no command was answered: {why}."
        return Collected({n: Reading(why) for n in wanted}, TargetState.UNREACHABLE, sentence)
    lost = [r.value for r in facts.values() if isinstance(r.value, Unknown) and r.value.reason in _LOST]
    ids = _ids(device)
    if not lost:
        return Collected(facts, TargetState.COLLECTED, "", ids)
    return Collected(facts, TargetState.PARTIAL, f"{len(lost)} of {len(facts)} facts are unknown: {lost[0]}.", ids)


def _read(look: Look, name: str) -> Any:
    reader = READERS[look.platform].get(name)
    if reader is None:
        return Unknown(Reason.NOT_SUPPORTED, "no such fact of switches")
    try:
        return reader.read(look)
    except Missing as error:
        return error.why
    except ValueError:  # a list of ports or VLANs that is none
        return Unknown(Reason.UNREADABLE, name.replace("_", " "))


def _ids(device: Any) -> Mapping[str, str]:
    members = device.get("members") if isinstance(device, dict) else None
    serials = [m["serial"] for m in members if m.get("serial")] if isinstance(members, list) else []
    return {"serial": serials[0]} if serials else {}
