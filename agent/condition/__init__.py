"""The condition language: structured, three-valued, compiled once, explaining itself. See docs/conditions.md.

`compile_condition` checks every fact, field, operator and literal against the declared types, so that a control
with a mistake in it does not load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.condition.nodes import NA, Account, All, Any_, Get, Leaf, Node, Not, Truth, k_all, k_any, k_not
from agent.condition.operators import OPERATORS, describe, fold, literal, shape
from agent.condition.placeholders import fill
from agent.condition.quantifiers import Quantifier
from agent.condition.values import dig, duration, mode, moment, text
from agent.errors import SpiritlevelError, suggest
from agent.facttypes import FLOAT, INT, REGISTRY, STR, Enum, FactError, FactType, ListOf, Record, Ref, Registry, walk
from agent.model import Reason, Unknown

__all__ = [
    "NA",
    "OPERATORS",
    "Account",
    "ConditionError",
    "Context",
    "Node",
    "Truth",
    "compile_condition",
    "duration",
    "fill",
    "fold",
    "k_all",
    "k_any",
    "k_not",
    "mode",
    "moment",
    "text",
]

QUANTIFIERS = ("any_item", "every_item", "no_item", "count_items")


class ConditionError(SpiritlevelError):
    """A condition that does not compile; `path` is the place inside it."""

    def __init__(self, message: str, path: tuple[str | int, ...], hint: str = "") -> None:
        super().__init__(message, hint)
        self.path = path


@dataclass(slots=True)
class Context:
    """What a condition is compiled against.

    `parameters` maps names to values; a name in `declared` without a value is accepted unfilled (checking only).
    `fills` are placeholder values. Compiling collects `reads` (raw and derived fact names), `uses` (parameters),
    `placeholders` and `clock`.
    """

    platform: str
    declared: Sequence[str] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    fills: Mapping[str, Any] = field(default_factory=dict)
    registry: Registry = field(default_factory=lambda: REGISTRY)
    reads: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)
    placeholders: set[str] = field(default_factory=set)
    operators: set[str] = field(default_factory=set)
    clock: bool = False
    checking: bool = False


def compile_condition(source: Any, context: Context, path: tuple[str | int, ...] = ()) -> Node:
    """Compile a condition. Raises `ConditionError`, with the place, for anything that does not fit."""
    return _node(source, context, path, None)


def _node(c: Any, ctx: Context, path: tuple[str | int, ...], item: FactType | None) -> Node:
    if not isinstance(c, dict) or not c:
        raise ConditionError("a condition is a mapping, such as {fact: sshd.permitrootlogin, equals: 'no'}.", path)
    words = [w for w in c if w in ("all", "any", "not", *QUANTIFIERS)]
    if words:
        word = words[0]
        if len(c) != 1:
            extra = next(k for k in c if k != word)
            raise ConditionError(f"{word!r} stands alone; {extra!r} does not belong beside it.", (*path, extra))
        ctx.operators.add(word)
        arg, here = c[word], (*path, word)
        if word in ("all", "any"):
            if not isinstance(arg, list) or not arg:
                raise ConditionError(f"{word!r} takes a list of conditions.", here)
            parts = [_node(x, ctx, (*here, i), item) for i, x in enumerate(arg)]
            joined = (" and " if word == "all" else " or ").join(
                f"({p.expected})" if isinstance(p, (All, Any_)) else p.expected for p in parts
            )
            return All(parts, joined) if word == "all" else Any_(parts, joined)
        if word == "not":
            part = _node(arg, ctx, here, item)
            return Not(part, f"not ({part.expected})")
        return _quantifier(word, arg, ctx, here, item)
    if "manual" in c:
        raise ConditionError("'manual' stands alone as a control's whole check.", (*path, "manual"))
    return _leaf(c, ctx, path, item)


def _reference(
    c: Mapping[str, Any], ctx: Context, path: tuple[str | int, ...], item: FactType | None
) -> tuple[str, Get, FactType, bool, bool, tuple[Record, Get] | None]:
    """`{fact: …}` or `{item: …}` → (name, getter, type, may be absent, volatile, record that names an offender)."""
    which = [k for k in ("fact", "item") if k in c]
    if len(which) != 1:
        raise ConditionError(
            "name one reading: 'fact: name' or, inside a quantifier, 'item: field'.",
            path,
            suggest(next(iter(c)), ["fact", "item", "all", "any", "not", *QUANTIFIERS]),
        )
    name = c[which[0]]
    if not isinstance(name, str):
        raise ConditionError("a fact or field is named by a word.", (*path, which[0]))
    if which[0] == "fact":
        name = fill(name, ctx.fills, seen=ctx.placeholders)
        try:
            ref = ctx.registry.resolve(ctx.platform, name)
        except FactError as e:
            raise ConditionError(e.message, (*path, "fact"), e.hint) from None
        ctx.reads.add(ref.fact)
        return name, _fact_getter(ref), ref.type, ref.may_be_absent, ref.volatile, _owner(ref)
    if item is None:
        raise ConditionError("'item' has a meaning only inside a quantifier.", (*path, "item"))
    if name == "this":
        return "it", lambda _view, i: i, item, False, False, None
    parts = tuple(name.split("."))
    try:
        ftype, absent, volatile, _, _ = walk(item, parts, name)
    except FactError as e:
        raise ConditionError(e.message, (*path, "item"), e.hint) from None
    if len(parts) == 1:
        return name, _field_getter(parts[0]), ftype, absent, volatile, None
    return name, lambda _view, i: dig(i, parts), ftype, absent, volatile, None


def _fact_getter(ref: Ref) -> Get:
    name, steps = ref.fact, ref.path
    return (lambda view, _: dig(view.get(name), steps)) if steps else (lambda view, _: view.get(name))


def _field_getter(field_name: str) -> Get:
    one = (field_name,)

    def get(_view: Any, item: Any) -> Any:
        try:
            return item[field_name]
        except (KeyError, TypeError):
            return dig(item, one)

    return get


def _owner(ref: Ref) -> tuple[Record, Get] | None:
    if ref.owner is None:
        return None
    name, steps = ref.fact, ref.owner_path
    return ref.owner, lambda view, _: dig(view.get(name), steps)


def _leaf(c: dict[str, Any], ctx: Context, path: tuple[str | int, ...], item: FactType | None) -> Leaf:
    name, get, ftype, may_be_absent, volatile, owner = _reference(c, ctx, path, item)
    extras = ("fact", "item", "ignore_case", "default", "absent")
    found = [k for k in c if k not in extras]
    if len(found) != 1:
        if len(found) > 1:
            wrong = next((k for k in found if k not in OPERATORS), None)
            if wrong is not None:
                raise ConditionError(
                    f"{wrong!r} does not belong in a leaf.", (*path, wrong), suggest(wrong, [*extras, *OPERATORS])
                )
            wrong = found[1]
            raise ConditionError("one operator per leaf.", (*path, wrong), "Join leaves with all or any.")
        raise ConditionError("an operator is missing.", path, f"Known: {', '.join(OPERATORS)}.")
    op_name = found[0]
    operator = OPERATORS.get(op_name)
    if operator is None:
        raise ConditionError(f"there is no operator {op_name!r}.", (*path, op_name), suggest(op_name, list(OPERATORS)))
    ctx.operators.add(op_name)
    ctx.clock = ctx.clock or operator.clock
    wanted = operator.accepts(ftype)
    if wanted is None:
        raise ConditionError(f"{op_name!r} does not fit {name}, which is {kind_name(ftype)}.", (*path, op_name))
    ignore_case = c.get("ignore_case", False)
    if not isinstance(ignore_case, bool):
        raise ConditionError("'ignore_case' is true or false.", (*path, "ignore_case"))
    if ignore_case and not operator.folds:
        raise ConditionError(f"'ignore_case' has no meaning for {op_name!r}.", (*path, "ignore_case"))
    absent, default, has_default = _absence(c, path, name, op_name, ftype, may_be_absent)
    right, constant, shown = _right(c[op_name], operator, wanted, ctx, (*path, op_name), item)
    expected = f"{_readable(name)} {describe(op_name, shown)}"
    return Leaf(
        name,
        get,
        operator,
        right,
        fold(constant) if ignore_case and constant is not None else constant,
        wanted if right is None else _loose(wanted),
        ignore_case,
        absent,
        default,
        has_default,
        volatile,
        owner,
        expected,
        constant,
        shape(wanted, op_name),
    )


def _absence(
    c: dict[str, Any], path: tuple[str | int, ...], name: str, op: str, ftype: FactType, may_be_absent: bool
) -> tuple[Truth, Any, bool]:
    if "absent" in c and "default" in c:
        raise ConditionError("say either 'default' or 'absent', not both.", (*path, "absent"))
    if not may_be_absent:
        for key in ("absent", "default"):
            if key in c:
                raise ConditionError(f"{name} is never absent, so {key!r} has no meaning.", (*path, key))
        return None, None, False
    if "default" in c:
        return None, _default(c["default"], ftype, path), True
    if "absent" in c:
        if c["absent"] not in ("pass", "fail"):
            raise ConditionError("'absent' is pass or fail.", (*path, "absent"))
        return c["absent"] == "pass", None, False
    if op not in ("is_set", "is_empty"):
        raise ConditionError(
            f"{name} may be absent: say what that means.",
            path,
            "Add 'absent: pass', 'absent: fail' or 'default: value'.",
        )
    return None, None, False


def _default(value: Any, ftype: FactType, path: tuple[str | int, ...]) -> Any:
    if isinstance(ftype, Record):
        raise ConditionError("a record has no default.", (*path, "default"))
    try:
        literal(value, ftype)
    except ValueError as e:
        raise ConditionError(f"{e}.", (*path, "default")) from None
    return value


def _right(
    value: Any,
    operator: Any,
    wanted: FactType,
    ctx: Context,
    path: tuple[str | int, ...],
    item: FactType | None,
) -> tuple[Get | None, Any, str]:
    """The right side → (getter or None, constant, text)."""
    pattern = operator.name == "matches"
    if isinstance(value, dict):
        if len(value) != 1 or next(iter(value)) not in ("param", "item", "fact"):
            raise ConditionError("the right side is a value, {param: name}, {item: field} or {fact: name}.", path)
        if "param" not in value:
            # A pattern is never taken from a target: what it says does not become code.
            if operator.clock or operator.name in ("is_set", "is_empty", "matches"):
                raise ConditionError(f"{operator.name!r} takes a value or a parameter here.", path)
            name, get, ftype, _, _, _ = _reference(value, ctx, path, item)
            if not _fits(ftype, wanted):
                raise ConditionError(f"{name} is {kind_name(ftype)}; {kind_name(wanted)} is wanted here.", path)
            return get, None, _readable(name)
        name = _parameter(value["param"], ctx, path)
        if name not in ctx.parameters:
            if not ctx.checking:
                raise ConditionError(f"parameter {name!r} has no value.", path, f"Set {name} in a profile or school.")
            return None, None, name
        value = ctx.parameters[name]
    missing: set[str] = set()
    value = fill(value, ctx.fills, pattern=pattern, seen=ctx.placeholders, missing=missing)
    try:
        constant = operator.prepare(value, wanted)
    except ValueError as e:
        raise ConditionError(f"{e}.", path) from None
    if missing and not ctx.checking:  # nobody can tell yet what is wanted here, and braces match nothing
        unset = Unknown(Reason.NOT_COLLECTED, f"no value for {', '.join('{' + m + '}' for m in sorted(missing))}")
        return lambda _view, _item: unset, None, text(value)
    return None, constant, text(value)


def _parameter(name: Any, ctx: Context, path: tuple[str | int, ...]) -> str:
    """A parameter's name, noted as used. Raises `ConditionError` for one that nobody declares."""
    if not isinstance(name, str) or (name not in ctx.declared and name not in ctx.parameters):
        raise ConditionError(f"there is no parameter {name!r}.", path, suggest(str(name), list(ctx.declared)))
    ctx.uses.add(name)
    return name


def _loose(wanted: FactType) -> FactType:
    """The type that a reading on the right side is held to: what `_fits` let in must not become unknown there."""
    if isinstance(wanted, ListOf):
        return ListOf(_loose(wanted.item))
    return FLOAT if wanted == INT else STR if isinstance(wanted, Enum) else wanted


def _fits(have: FactType, wanted: FactType) -> bool:
    if isinstance(have, ListOf) and isinstance(wanted, ListOf):
        return _fits(have.item, wanted.item)
    loose = {"str", "regex"}
    name = {type(t).__name__ if not hasattr(t, "name") else t.name for t in (have, wanted)}
    return have == wanted or name <= loose or {"Enum", "str"} >= name or name == {"int", "float"}


def _quantifier(word: str, arg: Any, ctx: Context, path: tuple[str | int, ...], item: FactType | None) -> Quantifier:
    allowed = {"of", "where", "at_least", "at_most"} if word == "count_items" else {"of", "where", "check", "empty"}
    if word in ("any_item", "no_item"):
        allowed.discard("empty")
    if not isinstance(arg, dict):
        raise ConditionError(f"{word!r} takes a mapping with 'of'.", path)
    for key in arg:
        if key not in allowed:
            raise ConditionError(f"{key!r} does not belong in {word}.", (*path, key), suggest(key, sorted(allowed)))
    of = arg.get("of")
    if of is None:
        raise ConditionError(f"{word!r} needs 'of': the list whose items are meant.", path)
    name, get, ftype, _, _, _ = _reference(of if isinstance(of, dict) else {"fact": of}, ctx, (*path, "of"), item)
    if not isinstance(ftype, ListOf):
        raise ConditionError(f"{name} is {kind_name(ftype)}, not a list.", (*path, "of"))
    where = _node(arg["where"], ctx, (*path, "where"), ftype.item) if "where" in arg else None
    meant = f"{_readable(name)}" + (f" where {where.expected}" if where else "")
    empty: Truth = None
    check: Node | None = None
    at_least = at_most = None
    if word == "count_items":
        at_least, at_most = (_number(arg[k], ctx, (*path, k)) if k in arg else None for k in ("at_least", "at_most"))
        if "at_least" not in arg and "at_most" not in arg:
            raise ConditionError("count_items needs 'at_least', 'at_most' or both.", path)
        bounds = [f"at least {_shown(arg['at_least'], at_least)}"] if "at_least" in arg else []
        bounds += [f"at most {_shown(arg['at_most'], at_most)}"] if "at_most" in arg else []
        expected = f"{' and '.join(bounds)} of {meant}"
    else:
        if "check" not in arg:
            raise ConditionError(f"{word!r} needs 'check'.", path)
        check = _node(arg["check"], ctx, (*path, "check"), ftype.item)
        expected = {"any_item": "at least one of", "every_item": "every one of", "no_item": "none of"}[word]
        expected = f"{expected} {meant}: {check.expected}"
    if word == "every_item":
        words: dict[Any, Truth] = {"pass": True, "fail": False, "unknown": None, "not_applicable": NA}
        if not isinstance(arg.get("empty"), str) or arg["empty"] not in words:
            raise ConditionError("every_item needs 'empty': pass, fail, unknown or not_applicable.", (*path, "empty"))
        empty = words[arg["empty"]]
        ctx.operators.add(f"empty:{arg['empty']}")
    if where is not None:
        ctx.operators.add("where")
    return Quantifier(word, _readable(name), get, ftype.item, where, check, empty, at_least, at_most, expected)


def _shown(source: Any, value: int | None) -> str:
    return str(source["param"]) if value is None and isinstance(source, dict) else str(value)


def _number(value: Any, ctx: Context, path: tuple[str | int, ...]) -> int | None:
    if isinstance(value, dict) and set(value) == {"param"}:
        name = _parameter(value["param"], ctx, path)
        if name not in ctx.parameters:
            return None
        value = ctx.parameters[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConditionError(f"a whole number is wanted here, not {value!r}.", path)
    return value


def _readable(name: str) -> str:
    return name.replace("_", " ") if "[" not in name else name


def kind_name(ftype: FactType) -> str:
    """A type in words: `a list of str`."""
    if isinstance(ftype, ListOf):
        return f"a list of {kind_name(ftype.item)}"
    if isinstance(ftype, Record):
        return f"a record ({', '.join(list(ftype.fields)[:6])}…)"
    return getattr(ftype, "name", type(ftype).__name__.lower())
