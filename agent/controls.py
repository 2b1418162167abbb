"""One control: its file checked against the declared facts, and its examples run. See docs/controls.md."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.condition import ConditionError, Context, Node, compile_condition, fill
from agent.condition.operators import DURATION, literal
from agent.errors import ConfigError
from agent.facttypes import BOOL, INT, REGISTRY, STR
from agent.files import ControlFile, Parameter, SiteParameter
from agent.yamlfile import Document, model, suggest


@dataclass(frozen=True, slots=True)
class Control:
    """A control that loaded: its file, and what a check of it showed.

    `reads` are raw facts, keyed ones in full (`package[chrony]`); `uses` the parameters, those of derived facts
    included; `placeholders` those it fills; `clock` whether the time of collection matters.
    """

    file: ControlFile
    doc: Document
    reads: tuple[str, ...]
    uses: tuple[str, ...]
    placeholders: frozenset[str]
    words: frozenset[str]
    """Operators and constructs used (for the test that all are used somewhere)."""
    derived: tuple[str, ...] = ()
    """Derived facts that it names: what `explain` shows before the raw ones."""

    @property
    def id(self) -> str:
        """The control's id."""
        return self.file.id

    @property
    def platform(self) -> str:
        """The platform it is about."""
        return self.file.applies_to.platform

    @property
    def manual(self) -> str:
        """The question of a manual control, else empty."""
        return str(self.file.check["manual"]) if set(self.file.check) == {"manual"} else ""


@dataclass(slots=True)
class Rule:
    """A control with its parameters and placeholders put in: what judges. `check` is None for a manual one."""

    control: Control
    parameters: Mapping[str, Any]
    fills: Mapping[str, Any]
    check: Node | None
    applies_when: Node | None
    reads: tuple[str, ...]
    clock: bool
    digest: str
    """Of everything that decides: when it differs, the rule has changed, not the target."""


def load_control(doc: Document, site: Mapping[str, SiteParameter]) -> Control:
    """Check one control file. Raises `ConfigError` with file, line and place."""
    if not isinstance(doc.data, dict):
        raise doc.error("a control is a mapping that starts with id, version and title.")
    file = model(doc, ControlFile)
    if file.applies_to.platform not in REGISTRY.platforms():
        raise doc.error(
            f"there is no platform {file.applies_to.platform!r}.",
            ("applies_to", "platform"),
            suggest(file.applies_to.platform, REGISTRY.platforms()),
        )
    if not file.id.startswith(f"{file.applies_to.platform}."):
        raise doc.error(f"an id starts with its platform: {file.applies_to.platform}.…", ("id",))
    if file.scope == "items" and file.applies_to.platform not in ("ad", "m365"):
        raise doc.error("scope: items is for directories and tenants, which schools share.", ("scope",))
    for name, parameter in file.parameters.items():
        if parameter.has_default:
            check_parameter(name, parameter, parameter.default, doc, ("parameters", name, "default"))
        if name in site:
            raise doc.error("is a site's own parameter already; use it without declaring it.", ("parameters", name))
    ctx = _context(file, site, {}, {}, checking=True)
    manual = "manual" in file.check
    if manual and (set(file.check) != {"manual"} or not isinstance(file.check["manual"], str)):
        raise doc.error("a manual check is one question and nothing else.", ("check", "manual"))
    if not manual:
        _compile(file.check, ctx, doc, ("check",))
    if file.applies_when is not None:
        ctx.operators.add("applies_when")
        _compile(file.applies_when, ctx, doc, ("applies_when",))
    if file.applies_to.needs:
        ctx.operators.add("needs")
        ctx.reads.add("licences")
    reads, used = expand(file.applies_to.platform, ctx.reads)
    known = {*file.parameters, *site}
    for name in used - known:
        raise doc.error(
            f"its facts use parameter {name!r}, which nobody declares.",
            ("parameters",),
            "Declare it here with type, why and default.",
        )
    for name in file.parameters:
        if name not in ctx.uses | used:
            raise doc.error("is declared and never used.", ("parameters", name))
    placeholders = set(ctx.placeholders)
    words = ctx.operators | ({"manual"} if manual else set())
    derived = tuple(sorted(ctx.reads - reads))
    uses = tuple(sorted(ctx.uses | used))
    return Control(file, doc, tuple(sorted(reads)), uses, frozenset(placeholders), frozenset(words), derived)


def rule(
    control: Control, parameters: Mapping[str, Any], fills: Mapping[str, Any], declared: Mapping[str, SiteParameter]
) -> Rule:
    """Put values in. Raises `ConfigError` where a value does not fit the check it goes into."""
    file = control.file
    ctx = _context(file, declared, parameters, fills, checking=False)
    check = None if control.manual else _compile(file.check, ctx, control.doc, ("check",))
    when = None if file.applies_when is None else _compile(file.applies_when, ctx, control.doc, ("applies_when",))
    names = set(ctx.reads) | ({"licences"} if file.applies_to.needs else set())
    reads, _ = expand(control.platform, names)
    derived_clock = any(s.derive.clock for s in _derived(control.platform, names))
    values = {n: parameters[n] for n in control.uses if n in parameters}
    held = {*control.placeholders, *ctx.placeholders}
    fill(list(values.values()), {}, seen=held)
    # The directory's base is read from the target: it is no part of the rule, and may be out of sight for a night.
    filled = {n: fills.get(n) for n in sorted(held - {"base_dn"})}
    digest = rule_digest(control, values, filled)
    return Rule(control, values, fills, check, when, tuple(sorted(reads)), ctx.clock or derived_clock, digest)


def rule_digest(control: Control, values: Mapping[str, Any], fills: Mapping[str, Any]) -> str:
    file = control.file
    body = [file.version, file.check, file.applies_when, file.applies_to.model_dump(), dict(values), dict(fills)]
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()[:24]


def expand(platform: str, names: set[str]) -> tuple[set[str], set[str]]:
    """Fact names → (raw facts behind them, parameters that the derived ones among them use)."""
    raw: set[str] = set()
    parameters: set[str] = set()
    todo, done = list(names), set()
    while todo:
        name = todo.pop()
        if name in done:
            continue
        done.add(name)
        spec = REGISTRY.spec_of(platform, name)
        if spec.derive is None:
            raw.add(name)
        else:
            parameters.update(spec.derive.parameters)
            todo.extend(spec.derive.reads)
    return raw, parameters


def _derived(platform: str, names: set[str]) -> list[Any]:
    out, todo = [], list(names)
    while todo:
        spec = REGISTRY.spec_of(platform, todo.pop())
        if spec.derive is not None:
            out.append(spec)
            todo.extend(spec.derive.reads)
    return out


def _context(
    file: ControlFile,
    site: Mapping[str, SiteParameter],
    parameters: Mapping[str, Any],
    fills: Mapping[str, Any],
    *,
    checking: bool,
) -> Context:
    declared = (*file.parameters, *site)
    values = dict(parameters)
    if checking:
        values = {n: p.default for n, p in file.parameters.items() if p.has_default}
    return Context(file.applies_to.platform, declared, values, fills, checking=checking)


def _compile(source: Any, ctx: Context, doc: Document, path: tuple[str | int, ...]) -> Node:
    try:
        return compile_condition(source, ctx, path)
    except ConditionError as e:
        raise doc.error(e.message, e.path, e.hint) from None


_KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "str": (str,), "bool": (bool,), "list": (list,), "map": (dict,)}


def check_parameter(
    name: str, parameter: Parameter | SiteParameter, value: Any, doc: Document, path: tuple[str | int, ...]
) -> None:
    """Whether a value fits its parameter's type. Raises `ConfigError` at `path`."""
    try:
        if parameter.type == "duration":
            literal(value, DURATION)
            return
        if parameter.type in ("int", "bool", "str"):
            literal(value, {"int": INT, "bool": BOOL, "str": STR}[parameter.type])
            return
        if not isinstance(value, _KINDS[parameter.type]):
            raise ValueError(f"{name} is a {parameter.type}, not {value!r}")
    except ValueError as e:
        raise doc.error(f"{e}.", path) from None


__all__ = ["ConfigError", "Control", "Rule", "check_parameter", "expand", "load_control", "rule"]
