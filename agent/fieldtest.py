"""`doctor --windows`: one real Windows machine looked at whole, and a report that may be sent on.

The stand-ins that the project is tested on are no Windows. The report says of every fact whether it was read, how it is
made up and whether that is as declared; of values only what names nobody: numbers, yes and no, words of a fixed list.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import __version__
from agent.collect import Credentials, at, credential_key, open_target
from agent.conform import conform
from agent.connect import ansible, secrets
from agent.controls import Control
from agent.facts.protocol import Limits
from agent.facttypes import INT, REGISTRY, TIME, Enum, FactType, ListOf, Record, Version
from agent.model import Partial, Target, Unknown

DIFFERENT = 3
"""Makes of items shown of one list; the rest is counted."""


@dataclass(frozen=True, slots=True)
class FieldTest:
    """What came of it. `wrong` are facts, or parts of them, that are not of their declared type."""

    text: str
    facts: int
    unknown: int
    wrong: tuple[str, ...]


def windows_facts(controls: Iterable[Control]) -> tuple[str, ...]:
    """All Windows facts that any control reads, and every one that takes no key."""
    wanted = {name for c in controls if c.platform == "windows" for name in c.reads}
    specs = (REGISTRY.specs["windows", n] for n in REGISTRY.names("windows"))
    wanted |= {s.name for s in specs if not s.key and s.derive is None}
    return tuple(sorted(wanted))


def look(target: Target, wanted: tuple[str, ...], folder: Path, limits: Limits) -> FieldTest:
    """Collect everything once and describe it. Raises `TargetError` and `SecretError`."""
    from agent.facts.windows import facts_from, questions
    from agent.facts.windows.answer import new_nonce, parse, program

    nonce = new_nonce()
    sections, asked = questions(wanted)
    began = time.monotonic()
    with (
        Credentials().use(credential_key(target), threading.Event()),
        open_target(at(target, folder), lambda r: secrets.resolve(r, folder), limits) as shell,
    ):
        opened = time.monotonic()
        output = shell.script(program(sections, asked, nonce, limits.seconds), limits)
    ended = time.monotonic()
    answer = parse(output, nonce, asked)
    facts = {name: reading.value for name, reading in facts_from(answer, wanted).items()}
    meta = answer.parts.get("meta")
    way = "PowerShell remoting" if ansible.remoting(target.settings) else "OpenSSH"
    if ansible.remoting(target.settings):
        from agent.connect.psrp_options import endpoint

        end = endpoint(target.name, target.settings)
        way += f", {'HTTPS' if end.https else 'HTTP, sealed'}, {end.auth}"
    head = {
        "spiritlevel": __version__,
        "way": way,
        "seconds": f"{opened - began:.1f} to log in, {ended - opened:.1f} for the script",
        "answer": f"{len(output.stdout)} bytes, {'whole' if answer.lost is None else answer.lost}",
        "parts": f"{sum(not isinstance(v, Unknown) for v in answer.parts.values())} of {len(answer.parts)} answered",
        **(_meta(meta) if isinstance(meta, Mapping) else {"PowerShell": "it did not say"}),
    }
    return _report(head, facts)


def _meta(meta: Mapping[str, Any]) -> dict[str, str]:
    rights = {True: "yes", False: "no"}.get(meta.get("admin") is True, "") if meta.get("asked") else "it did not say"
    version = str(meta.get("version", ""))
    return {
        "PowerShell": " ".join(
            w
            for w in (
                version if version.replace(".", "").isdigit() else "odd version",
                _word(meta.get("edition"), ("Desktop", "Core")),
                _word(meta.get("language"), ("FullLanguage", "ConstrainedLanguage", "RestrictedLanguage")),
                "32 bit" if meta.get("narrow") is True else "",
            )
            if w
        ),
        "administrator": rights,
    }


def _word(value: object, known: tuple[str, ...]) -> str:
    return str(value) if value in known else "" if value in (None, "") else "(another word)"


def _report(head: Mapping[str, str], facts: Mapping[str, Any]) -> FieldTest:
    lines = ["# Windows field test: nothing below names a machine, a person or a secret", ""]
    lines += [f"{name}: {value}" for name, value in head.items()]
    wrong: list[str] = []
    rows: list[str] = []
    unknown = 0
    for name in sorted(facts):
        spec, value = REGISTRY.spec_of("windows", name), facts[name]
        wrong += [f"{name}{place}" for place in misfits(value, spec.type, spec.may_be_absent)]
        unknown += isinstance(value, Unknown)
        rows.append(f"{name}: {shape(value, spec.type)}")
    lines += ["", f"facts: {len(facts)}, unknown: {unknown}, not of their type: {len(wrong)}"]
    lines += [f"  NOT OF ITS TYPE: {place}" for place in wrong]
    return FieldTest("\n".join([*lines, "", *rows]) + "\n", len(facts), unknown, tuple(wrong))


def misfits(value: Any, ftype: FactType, may_be_absent: bool, place: str = "") -> list[str]:
    """Places inside a reading that are not of their declared type, as paths; declared fields that are not there."""
    if isinstance(value, Unknown):
        return []
    if value is None:
        return [] if may_be_absent else [f"{place} is absent"]
    if isinstance(ftype, ListOf) and isinstance(value, (list, tuple, Partial)):
        items = value.items if isinstance(value, Partial) else value
        return sorted({p for item in items for p in misfits(item, ftype.item, False, f"{place}[]")})
    if isinstance(ftype, Record) and isinstance(value, Mapping):
        out = [f"{place}.{n} is not declared" for n in value if n not in ftype.fields]
        for name, field in ftype.fields.items():
            if name in value:
                out += misfits(value[name], field.type, field.may_be_absent, f"{place}.{name}")
            else:
                out.append(f"{place}.{name} is missing")
        return out
    fits = not isinstance(conform(value, ftype, may_be_absent), Unknown)
    return [] if fits else [f"{place} is {type(value).__name__}, not {_kind(ftype)}"]


def shape(value: Any, ftype: FactType) -> str:
    """How a value is made up: numbers, yes and no and fixed words as they are; of other text only how long it is."""
    if isinstance(value, Unknown):
        return f"unknown ({value})"
    if value is None:
        return "absent"
    if isinstance(value, Partial):
        return f"{shape(list(value.items), ftype)}, not all ({value.why})"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, Mapping):
        fields = ftype.fields if isinstance(ftype, Record) else {}
        return (
            "{" + ", ".join(f"{n}: {shape(v, fields[n].type) if n in fields else '?'}" for n, v in value.items()) + "}"
        )
    if isinstance(value, (list, tuple)):
        kind = ftype.item if isinstance(ftype, ListOf) else INT
        makes = list(dict.fromkeys(shape(v, kind) for v in value))
        more = f" and {len(makes) - DIFFERENT} more kinds" if len(makes) > DIFFERENT else ""
        return f"{len(value)} × [{' | '.join(makes[:DIFFERENT])}{more}]" if value else "none"
    if isinstance(ftype, Enum):
        return str(value) if value in ftype.members else f"text of {len(value)}"
    if ftype == TIME:
        return "a time" if value else "no time"
    return f"text of {len(str(value))}"


def _kind(ftype: FactType) -> str:
    if isinstance(ftype, ListOf):
        return "list"
    if isinstance(ftype, Record):
        return "record"
    if isinstance(ftype, Enum):
        return f"one of {', '.join(map(str, ftype.members))}"
    return "version" if isinstance(ftype, Version) else ftype.name


__all__ = ["FieldTest", "look", "misfits", "shape", "windows_facts"]
