"""The operators of a leaf: what they accept on either side, and how they decide. Pure.

Each answers True, False, or None when the value is known but holds unknown parts that could change the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent import versions
from agent.condition.values import duration, mode, moment, split_known
from agent.facttypes import BOOL, FLOAT, INT, MODE, STR, TIME, Enum, FactType, ListOf, Record, Scalar, Version

Decide = Callable[[Any, Any, datetime], "bool | None"]


@dataclass(frozen=True, slots=True)
class Operator:
    """`accepts(left type)` → the type wanted on the right, or None when it does not fit. `words` read between
    the two sides. `clock` operators use the time of collection."""

    name: str
    words: str
    accepts: Callable[[FactType], FactType | None]
    decide: Decide
    prepare: Callable[[Any, FactType], Any]
    clock: bool = False
    folds: bool = False
    """Whether `ignore_case: true` makes sense."""


DURATION, REGEX = Scalar("duration"), Scalar("regex")


def _same(t: FactType) -> FactType | None:
    return None if isinstance(t, (ListOf, Record)) else t


def _number(t: FactType) -> FactType | None:
    return t if t in (INT, FLOAT) else None


def _list_of_same(t: FactType) -> FactType | None:
    return None if isinstance(t, (ListOf, Record)) else ListOf(t)


def _element(t: FactType) -> FactType | None:
    return t.item if isinstance(t, ListOf) and not isinstance(t.item, (ListOf, Record)) else None


def _elements(t: FactType) -> FactType | None:
    element = _element(t)
    return None if element is None else ListOf(element)


def _text(t: FactType) -> FactType | None:
    return REGEX if t == STR or isinstance(t, (Enum, Version)) else None


def _any(_: FactType) -> FactType | None:
    return BOOL


def _list_or_text(t: FactType) -> FactType | None:
    return BOOL if isinstance(t, ListOf) or t == STR else None


def _exactly(wanted: FactType, right: FactType) -> Callable[[FactType], FactType | None]:
    return lambda t: right if t == wanted else None


def _version(t: FactType) -> FactType | None:
    return t if isinstance(t, Version) else None


def literal(value: Any, wanted: FactType) -> Any:
    """Check a right side against the type wanted and give it ready to use. Raises `ValueError` in plain words."""
    if isinstance(wanted, ListOf):
        if not isinstance(value, list):
            raise ValueError(f"a list is wanted here, not {value!r}")
        return tuple(literal(v, wanted.item) for v in value)
    if wanted == DURATION:
        return duration(value)
    if wanted == MODE:
        return mode(value)
    if wanted == TIME:
        return moment(value)
    if wanted == BOOL:
        if not isinstance(value, bool):
            raise ValueError(f"true or false is wanted here, not {value!r}")
        return value
    if wanted in (INT, FLOAT):
        if isinstance(value, bool) or not isinstance(value, (int, float) if wanted == FLOAT else int):
            raise ValueError(f"a number is wanted here, not {value!r}")
        return value
    if not isinstance(value, str):
        raise ValueError(f"text is wanted here, not {value!r}: put it in quotes")
    if wanted == REGEX:
        try:
            return re.compile(value)
        except (re.error, OverflowError, RecursionError) as e:
            raise ValueError(f"{value!r} is no regular expression: {e}") from None
    if isinstance(wanted, Enum) and wanted.closed and value not in wanted.members:
        raise ValueError(f"{value!r} never occurs here; it can be {', '.join(wanted.members)}")
    if isinstance(wanted, Version):
        versions.at_least(wanted.scheme, value, value)
    return value


def shape(wanted: FactType, operator: str) -> Callable[[Any], Any] | None:
    """What brings a left side to the form that `literal` gives a right side of the type `wanted`; None where both
    have it already. Operators that read modes and times themselves need none."""
    if operator in ("is_set", "is_empty", "mode_at_most"):
        return None
    wanted = wanted.item if isinstance(wanted, ListOf) else wanted
    return mode if wanted == MODE else moment if wanted == TIME else None


def _contains(value: Any, expected: Any, _: datetime) -> bool | None:
    known, why = split_known(value)
    return True if expected in known else None if why else False


def _contains_all(value: Any, expected: Any, _: datetime) -> bool | None:
    known, why = split_known(value)
    return True if set(expected) <= set(known) else None if why else False


def _contains_any(value: Any, expected: Any, _: datetime) -> bool | None:
    known, why = split_known(value)
    return True if not set(expected).isdisjoint(known) else None if why else False


def _contains_none(value: Any, expected: Any, _: datetime) -> bool | None:
    known, why = split_known(value)
    return False if not set(expected).isdisjoint(known) else None if why else True


def _only(value: Any, expected: Any, _: datetime) -> bool | None:
    known, why = split_known(value)
    return False if not set(known) <= set(expected) else None if why else True


def _is_empty(value: Any, expected: Any, _: datetime) -> bool | None:
    if value is None:
        return bool(expected)
    if isinstance(value, str):
        return (value == "") is expected
    known, why = split_known(value)
    return (not expected) if known else None if why else bool(expected)


def _plain(value: Any, wanted: FactType) -> Any:
    return literal(value, wanted)


def _op(
    name: str,
    words: str,
    accepts: Callable[[FactType], FactType | None],
    decide: Decide,
    *,
    clock: bool = False,
    folds: bool = False,
) -> Operator:
    return Operator(name, words, accepts, decide, _plain, clock, folds)


OPERATORS: dict[str, Operator] = {
    o.name: o
    for o in (
        _op("equals", "is", _same, lambda v, e, _: v == e, folds=True),
        _op("not_equals", "is not", _same, lambda v, e, _: v != e, folds=True),
        _op("at_least", "is at least", _number, lambda v, e, _: v >= e),
        _op("at_most", "is at most", _number, lambda v, e, _: v <= e),
        _op("one_of", "is one of", _list_of_same, lambda v, e, _: v in e, folds=True),
        _op("not_one_of", "is none of", _list_of_same, lambda v, e, _: v not in e, folds=True),
        _op("contains", "contains", _element, _contains, folds=True),
        _op("contains_all", "contains all of", _elements, _contains_all, folds=True),
        _op("contains_any", "contains any of", _elements, _contains_any, folds=True),
        _op("contains_none", "contains none of", _elements, _contains_none, folds=True),
        _op("only", "contains only", _elements, _only, folds=True),
        _op("matches", "matches", _text, lambda v, e, _: e.search(v) is not None, folds=True),
        _op("is_set", "is set", _any, lambda v, e, _: (v is not None) is e),
        _op("is_empty", "is empty", _list_or_text, _is_empty),
        Operator(
            "version_at_least",
            "is version",
            _version,
            lambda v, e, _: e(v),
            lambda value, wanted: _floor(literal(value, wanted), wanted),
        ),
        _op("mode_at_most", "is mode", _exactly(MODE, MODE), lambda v, e, _: not mode(v) & ~e),
        _op("older_than", "is more than", _exactly(TIME, DURATION), lambda v, e, now: now - moment(v) > e, clock=True),
        _op("newer_than", "is less than", _exactly(TIME, DURATION), lambda v, e, now: now - moment(v) < e, clock=True),
        _op(
            "expires_within",
            "expires within",
            _exactly(TIME, DURATION),
            lambda v, e, now: moment(v) - now <= e,
            clock=True,
        ),
    )
}


def _floor(wanted_version: str, wanted: FactType) -> Callable[[str], bool]:
    assert isinstance(wanted, Version)  # noqa: S101 - accepts() gave it
    scheme = wanted.scheme
    return lambda value: versions.at_least(scheme, value, wanted_version)


def fold(value: Any) -> Any:
    """Text without case, also inside lists; other values as they are."""
    if isinstance(value, str):
        return value.casefold()
    if isinstance(value, re.Pattern):
        return re.compile(value.pattern, value.flags | re.IGNORECASE)
    if isinstance(value, (list, tuple)):
        return [fold(v) for v in value]
    return value


def describe(name: str, right: str) -> str:
    """`("older_than", "90 days")` → `is more than 90 days old`: how a leaf reads."""
    words = OPERATORS[name].words
    if name == "is_set":
        return "is set" if right == "yes" else "is not set"
    if name == "is_empty":
        return "is empty" if right == "yes" else "is not empty"
    if name == "version_at_least":
        return f"is version {right} or later"
    if name == "mode_at_most":
        return f"is mode {right} or tighter"
    if name in ("older_than", "newer_than"):
        return f"{words} {right} old"
    return f"{words} {right}"
