"""Running the examples that stand in each control: its own small test, by `validate` and by the tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent.baseline import Policy
from agent.condition import moment
from agent.conform import conform, from_example
from agent.controls import Control, check_parameter, rule
from agent.errors import ConfigError
from agent.evaluate import Case, Judgement, judge
from agent.facttypes import REGISTRY, FactError
from agent.files import Example
from agent.model import Evidence, Finding, Kind, Reading, School, Target, TargetState, Verdict

KINDS = {"ad": Kind.DIRECTORY, "m365": Kind.TENANT}


def run_examples(policy: Policy, control: Control) -> Iterator[str]:
    """Run a control's examples; yields one sentence per problem, with file and line. Missing kinds are problems."""
    wanted = {Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN}
    if control.manual:
        wanted = {Verdict.MANUAL}
    for i, example in enumerate(control.file.examples):
        wanted.discard(example.expect)
        place = ("examples", i)
        try:
            got = judge_example(policy, control, example, i)
        except ConfigError as e:
            yield str(e)
            continue
        problem = _compare(example, got)
        if problem:
            yield str(control.doc.error(f"example {example.name!r}: {problem}", place))
    for verdict in sorted(wanted):
        yield str(control.doc.error(f"an example that gives {verdict.value} is missing.", ("examples",)))


def _compare(example: Example, got: Finding | Judgement) -> str:
    if got.verdict is not example.expect:
        why = f" ({got.reason or got.observed})" if got.reason or got.observed else ""
        return f"expected {example.expect.value}, got {got.verdict.value}{why}."
    if example.offenders is not None and (labels := sorted(o.label for o in got.offenders)) != sorted(
        example.offenders
    ):
        return f"expected the offenders {sorted(example.offenders)}, got {labels}."
    if example.reason is not None and example.reason not in got.reason:
        return f"expected a reason with {example.reason!r}, got {got.reason!r}."
    return ""


def judge_example(policy: Policy, control: Control, example: Example, index: int) -> Finding:
    """Judge one example. Raises `ConfigError` for facts and parameters that do not exist or do not fit."""
    doc, place = control.doc, ("examples", index)
    facts: dict[str, Reading] = {}
    for name, value in example.facts.items():
        try:
            base = name
            ref = REGISTRY.resolve(control.platform, name)
            if ref.path:
                raise FactError(f"{name}: give the whole fact {ref.fact!r}, with the fields that matter.")
            given = from_example(value)
            held = conform(given, ref.spec.type, ref.spec.may_be_absent, base)
        except FactError as e:
            raise doc.error(e.message, (*place, "facts", name), e.hint) from None
        except ValueError as e:
            raise doc.error(f"{e}.", (*place, "facts", name)) from None
        if problem := lost(given, held, name):
            raise doc.error(f"{problem} does not fit the declared type.", (*place, "facts", name))
        facts[name] = Reading(held)
    values = {n: s.default for n, s in policy.site.items() if s.has_default}
    values.update({n: p.default for n, p in control.file.parameters.items() if p.has_default})
    for name, value in example.parameters.items():
        declared = control.file.parameters.get(name) or policy.site.get(name)
        if declared is None:
            raise doc.error("there is no such parameter.", (*place, "parameters", name))
        check_parameter(name, declared, value, doc, (*place, "parameters", name))
        values[name] = value
    missing = [n for n in control.uses if n not in values]
    if missing:
        raise doc.error(f"the example sets no value for {', '.join(missing)}.", (*place, "parameters"))
    schools = tuple(_school(s) for s in example.schools) or (School("example", "Example School", "EXA"),)
    mine = next((s for s in schools if s.key == example.school), schools[0])
    fills: dict[str, Any] = {**example.settings, "codes": [s.code for s in schools if s.code], "code": mine.code}
    if suffix := mine.directory.get("upn_suffix"):
        fills["upn_suffix"] = suffix
    made = rule(control, {n: values[n] for n in control.uses}, fills, policy.site)
    kind = KINDS.get(control.platform, Kind.DEVICE)
    groups = tuple(control.file.applies_to.roles[:1])
    target = Target("example", kind, control.platform, mine.key if kind is Kind.DEVICE else None, groups=groups)
    evidence = Evidence(target, TargetState.COLLECTED, moment(example.as_of), facts)
    owner = mine if control.file.scope == "items" or kind is Kind.DEVICE else None
    return judge(Case(evidence, schools, example.settings), [made], owner)[0]


def _school(data: dict[str, Any]) -> School:
    return School(
        str(data.get("key", data.get("code", "example")).lower()),
        str(data.get("name", "Example School")),
        str(data.get("code", "")),
        phase=str(data.get("phase", "")),
        directory=data.get("directory", {}),
        tenant=data.get("tenant", {}),
    )


def lost(given: Any, held: Any, place: str) -> str:
    """The place of the first value that did not survive `conform`, or an empty string."""
    from agent.model import Partial, Unknown

    if isinstance(held, Unknown):
        return "" if isinstance(given, Unknown) else place
    if isinstance(given, Partial) and isinstance(held, Partial):
        given, held = list(given.items), list(held.items)
    if isinstance(given, dict) and isinstance(held, dict):
        for key, value in given.items():
            if key not in held:
                return f"{place}.{key}"
            if found := lost(value, held[key], f"{place}.{key}"):
                return found
    if isinstance(given, (list, tuple)) and isinstance(held, (list, tuple)):
        for i, value in enumerate(given):
            if found := lost(value, held[i], f"{place}[{i}]"):
                return found
    return ""
