"""A made-up fleet for judging: the shipped Linux controls, and as many hosts as asked whose readings repeat.

The readings come from the controls' own examples: each record's fields are mixed from all examples of that fact, so
that passes, failures, absences and unknowns all occur.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.baseline import Policy, load_policy
from agent.conform import conform, from_example, to_json
from agent.controls import Control, Rule
from agent.facttypes import REGISTRY, Record
from agent.files import ProfileFile
from agent.model import Evidence, Kind, Partial, Reading, Reason, School, Target, TargetState, Unknown
from agent.yamlfile import Document

PLATFORM = "linux"
CONTROLS = 120
SCHOOLS = 90
"""Of the largest trust known; each has a share of the hosts."""
DISTINCT = 300
"""Different readings of one fact over the fleet, where its examples allow as many."""
BEGIN = datetime(2026, 1, 5, 1, tzinfo=UTC)


def policy(controls: int = CONTROLS) -> tuple[Policy, int]:
    """A policy with a profile `bench` of that many Linux controls, and how many of them are shipped ones.

    The rest are shipped ones again, under ids of their own.
    """
    loaded = load_policy()
    shipped = sorted((c for c in loaded.controls.values() if c.platform == PLATFORM), key=lambda c: c.id)[:controls]
    chosen = {c.id: c for c in shipped}
    for i in range(controls - len(shipped)):
        again = shipped[i % len(shipped)]
        file = again.file.model_copy(update={"id": f"{again.id}-again{i // len(shipped)}"})
        chosen[file.id] = replace(again, file=file)
    profile = ProfileFile.model_validate(
        {
            "id": "bench",
            "title": "bench",
            "controls": [f"{PLATFORM}.*"],
            "parameters": _parameters(chosen.values(), loaded),
        }
    )
    doc = Document({}, "bench", {})
    return Policy(chosen, {"bench": (profile, doc)}, loaded.site), len(shipped)


def _parameters(controls: Any, loaded: Policy) -> dict[str, Any]:
    """Values for what has no default, taken from the first example that sets one."""
    out: dict[str, Any] = {}
    for control in controls:
        for example in control.file.examples:
            for name, value in example.parameters.items():
                declared = control.file.parameters.get(name) or loaded.site.get(name)
                if declared is not None and not declared.has_default:
                    out.setdefault(name, value)
    return out


def schools(number: int = SCHOOLS) -> list[School]:
    """Schools with codes of their own."""
    return [
        School(f"s{i:02d}", f"School {i}", f"S{i:02d}", phase="primary" if i % 3 else "secondary")
        for i in range(number)
    ]


def rules(policy_: Policy, school: School) -> Sequence[Rule]:
    """What a host of that school is judged by."""
    target = Target("any", Kind.DEVICE, PLATFORM, school.key)
    return policy_.baseline(target, ["bench"], school, {"code": school.code, "codes": [school.code]}).rules


def readings(controls: Sequence[Control], distinct: int = DISTINCT, seed: int = 1) -> dict[str, list[Reading]]:
    """For each raw fact that the controls read, up to `distinct` different readings, one object per content."""
    rng = random.Random(seed)
    seen: dict[str, list[Any]] = {}
    for control in controls:
        for example in control.file.examples:
            for name, value in example.facts.items():
                ref = REGISTRY.resolve(PLATFORM, name)
                if ref.spec.derive is None:
                    held = conform(from_example(value), ref.spec.type, ref.spec.may_be_absent, name)
                    seen.setdefault(ref.fact, []).append(held)
    out: dict[str, list[Reading]] = {}
    for name in sorted({fact for control in controls for fact in control.reads}):
        given = seen.get(name) or [Unknown(Reason.NOT_COLLECTED)]
        spec = REGISTRY.spec_of(PLATFORM, name)
        found: dict[str, Reading] = {}
        for _ in range(distinct * 4):
            value = _mixed(given, spec.type, rng)
            found.setdefault(json.dumps(to_json(value), sort_keys=True), Reading(value))
            if len(found) == distinct:
                break
        out[name] = list(found.values())
    return out


def _mixed(given: Sequence[Any], ftype: Any, rng: random.Random) -> Any:
    """A reading as it might be: one of those given, or for records and lists a mixture of them."""
    value = rng.choice(given)
    if isinstance(value, (Unknown, Partial)) or value is None:
        return value
    if isinstance(ftype, Record):
        pool: dict[str, list[Any]] = {}
        for record in given:
            for field, v in record.items() if isinstance(record, dict) else ():
                pool.setdefault(field, []).append(v)
        return {field: rng.choice(values) for field, values in pool.items()}
    if isinstance(value, list):
        items = [item for v in given if isinstance(v, list) for item in v]
        return [item for item in items if rng.random() < 0.5][:20]
    return value


def hosts(
    number: int,
    pools: dict[str, list[Reading]],
    schools_: Sequence[School],
    *,
    seed: int = 2,
    alike: int = 0,
    apart: int = 1,
) -> Iterator[Evidence]:
    """Evidence of that many hosts, one after the other, read `apart` seconds from each other.

    A fact's more common readings are the first of its pool (half of the fleet has one of the first few). With
    `alike`, there are only that many different hosts: images that were rolled out.
    """
    rng = random.Random(seed)
    weights = {name: [1 / (i + 1) for i in range(len(pool))] for name, pool in pools.items()}
    columns = {name: rng.choices(pool, weights[name], k=alike or number) for name, pool in pools.items()}
    for i in range(number):
        row = rng.randrange(alike) if alike else i
        facts = {name: column[row] for name, column in columns.items()}
        target = Target(f"pc{i:05d}", Kind.DEVICE, PLATFORM, schools_[i % len(schools_)].key)
        yield Evidence(target, TargetState.COLLECTED, BEGIN + timedelta(seconds=i * apart), facts)
