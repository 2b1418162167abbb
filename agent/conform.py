"""Values at the border: readings are held to their declared types, written as JSON, and read back. Pure.

A reading that is not of its type becomes unknown ("could not be understood"): no later part meets a surprise, and
nothing that a target makes up can pass for another kind of value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.facttypes import BOOL, FLOAT, INT, MODE, STR, TIME, Enum, FactType, Field, ListOf, Record, Version
from agent.model import Partial, Reason, Unknown

MAX_TEXT = 4096
"""Longest string kept of a reading; no setting that is judged is longer."""


def conform(value: Any, ftype: FactType, may_be_absent: bool, place: str = "") -> Any:
    """`value` if it is of its type, else `Unknown`; inside records and lists, part by part.

    Unknown fields of a record are dropped; declared fields that are missing stay missing (not collected).
    """
    if value is None:
        return None if may_be_absent else Unknown(Reason.UNREADABLE, f"{place} is absent")
    if isinstance(value, Unknown) or _fits(ftype)(value):
        return value
    return _mended(value, ftype, place)


def _mended(value: Any, ftype: FactType, place: str) -> Any:
    """What is left of a value that does not fit as it is."""
    if isinstance(ftype, ListOf):
        if isinstance(value, Partial):
            return Partial(tuple(conform(v, ftype.item, False, place) for v in value.items), value.why)
        if isinstance(value, (list, tuple)):
            return [conform(v, ftype.item, False, place) for v in value]
        return Unknown(Reason.UNREADABLE, f"{place} is no list")
    if isinstance(ftype, Record):
        if not isinstance(value, dict):
            return Unknown(Reason.UNREADABLE, f"{place} is no record")
        fields: dict[str, Field] = dict(ftype.fields)
        return {n: conform(value[n], f.type, f.may_be_absent, n) for n, f in fields.items() if n in value}
    return value if _is(value, ftype) else Unknown(Reason.UNREADABLE, place)


Fits = Callable[[Any], bool]
_FITS: dict[int, tuple[FactType, Fits]] = {}
"""Tests by the identity of their type, which is kept beside them so that its id stays its own."""


def _fits(ftype: FactType) -> Fits:
    """A quick test whether a value is wholly as declared, with nothing to drop or mend: as nearly all are, and a
    directory has 60,000 of them."""
    made = _FITS.get(id(ftype))
    if made is None:
        if len(_FITS) > 4096:  # types are declared once; only tests make more
            _FITS.clear()
        made = _FITS[id(ftype)] = (ftype, _test(ftype))
    return made[1]


def _test(ftype: FactType) -> Fits:
    if isinstance(ftype, ListOf):
        inner = _fits(ftype.item)
        return lambda v: v.__class__ is list and all([i.__class__ is Unknown or inner(i) for i in v])
    if isinstance(ftype, Record):
        fields = {n: (_fits(f.type), f.may_be_absent) for n, f in ftype.fields.items()}

        def record(value: Any) -> bool:
            if value.__class__ is not dict:
                return False
            for name, v in value.items():
                field = fields.get(name)
                if field is None:
                    return False
                if v is None:
                    if not field[1]:
                        return False
                elif v.__class__ is not Unknown and not field[0](v):
                    return False
            return True

        return record
    if ftype == BOOL:
        return lambda v: v is True or v is False
    if ftype == INT:
        return lambda v: v.__class__ is int
    if ftype in (STR, TIME, MODE):
        return lambda v: v.__class__ is str and len(v) <= MAX_TEXT
    return lambda v: _is(v, ftype)


def _is(value: Any, ftype: FactType) -> bool:
    if ftype == BOOL:
        return isinstance(value, bool)
    if ftype == INT:
        return isinstance(value, int) and not isinstance(value, bool)
    if ftype == FLOAT:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        return False
    if isinstance(ftype, Enum):
        return not ftype.closed or value in ftype.members
    return ftype in (STR, TIME, MODE) or isinstance(ftype, Version)


def to_json(value: Any) -> Any:
    """A reading's value as plain JSON; `Unknown` and `Partial` become objects with the one key `$`-name.

    No declared field starts with `$`, so nothing that a target says can be read back as one of them.
    """
    if isinstance(value, Unknown):
        return {"$unknown": [value.reason.value, value.detail]}
    if isinstance(value, Partial):
        return {"$partial": [to_json(v) for v in value.items], "$why": to_json(value.why)}
    if isinstance(value, dict):
        return {k: to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    return value


def from_json(value: Any) -> Any:
    """The reverse of `to_json`. Raises `ValueError` for a marker that is malformed."""
    if isinstance(value, dict):
        if "$unknown" in value:
            reason, detail = value["$unknown"]
            return Unknown(Reason(reason), detail)
        if "$partial" in value:
            return Partial(tuple(from_json(v) for v in value["$partial"]), from_json(value["$why"]))
        return {k: from_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [from_json(v) for v in value]
    return value


def from_example(value: Any) -> Any:
    """Facts as people write them in a control's examples: `{unknown: permission missing, detail: sudo}` and
    `{partial: […], because: cut off}`. Raises `ValueError` for a reason that does not exist."""
    if isinstance(value, dict):
        if "unknown" in value and set(value) <= {"unknown", "detail"}:
            return Unknown(_reason(value["unknown"]), str(value.get("detail", "")))
        if "partial" in value and set(value) <= {"partial", "because", "detail"}:
            why = Unknown(_reason(value.get("because", Reason.TRUNCATED.value)), str(value.get("detail", "")))
            return Partial(tuple(from_example(v) for v in value["partial"]), why)
        return {k: from_example(v) for k, v in value.items()}
    if isinstance(value, list):
        return [from_example(v) for v in value]
    return value


def _reason(word: Any) -> Reason:
    try:
        return Reason(word)
    except ValueError:
        raise ValueError(f"{word!r} is no reason; known: {', '.join(r.value for r in Reason)}") from None
