"""The parts of a compiled condition. Each part decides fast (`test`) and explains itself slowly (`explain`).

Truth is Kleene's: True, False, None (unknown); plus `NA` for "nothing here to judge", which `all`, `any` and the
quantifiers pass over, and which `not` leaves alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.condition.operators import Operator, fold
from agent.condition.values import text
from agent.derive import View
from agent.facttypes import Record
from agent.model import MAX_OFFENDERS, Offender, Partial, Reason, Unknown


class _NotApplicable:
    def __repr__(self) -> str:
        return "NA"


NA = _NotApplicable()
Truth = bool | None | _NotApplicable
Get = Callable[[View, Any], Any]


@dataclass(slots=True)
class Account:
    """Why a condition came out as it did.

    `culprits` make the truth what it is (they fail it, or under `not` they hold it); `seen` are (text, volatile)
    readings; `unknowns` the reasons for None; `possible` counts items that could not be judged.
    """

    truth: Truth
    culprits: tuple[Offender, ...] = ()
    count: int = 0
    possible: int = 0
    seen: tuple[tuple[str, bool], ...] = ()
    unknowns: tuple[Unknown, ...] = ()


class Node(Protocol):
    """One part of a condition."""

    expected: str

    def test(self, view: View, item: Any) -> Truth:
        """The truth alone, fast."""

    def explain(self, view: View, item: Any) -> Account:
        """The truth with its reasons."""


def k_all(truths: Iterable[Truth]) -> Truth:
    """Kleene's and; NA is passed over, nothing but NA is NA."""
    out: Truth = NA
    for t in truths:
        if t is False:
            return False
        if t is None:
            out = None
        elif t is True and out is NA:
            out = True
    return out


def k_any(truths: Iterable[Truth]) -> Truth:
    """Kleene's or; NA is passed over, nothing but NA is NA."""
    out: Truth = NA
    for t in truths:
        if t is True:
            return True
        if t is None:
            out = None
        elif t is False and out is NA:
            out = False
    return out


def k_not(t: Truth) -> Truth:
    """Kleene's not; leaves unknown and NA alone."""
    return t if t is None or isinstance(t, _NotApplicable) else not t


def merge(truth: Truth, accounts: Sequence[Account], relevant: Truth) -> Account:
    """Join the accounts of parts: culprits come from the parts that have the deciding truth."""
    chosen = [a for a in accounts if a.truth is relevant] if truth is relevant else []
    culprits: dict[str, Offender] = {}
    for a in chosen:
        for c in a.culprits:
            culprits.setdefault(c.key, c)
    whole = sum(a.count for a in chosen)
    return Account(
        truth,
        tuple(list(culprits.values())[:MAX_OFFENDERS]),
        len(culprits) if all(a.count == len(a.culprits) for a in chosen) else whole,
        max((a.possible for a in accounts), default=0),
        tuple(s for a in accounts for s in a.seen),
        tuple(dict.fromkeys(u for a in ([a for a in accounts if a.truth is None] or accounts) for u in a.unknowns)),
    )


@dataclass(slots=True)
class All:
    """Every part holds."""

    parts: list[Node]
    expected: str

    def test(self, view: View, item: Any) -> Truth:
        out: Truth = NA
        for part in self.parts:  # k_all, written out: this runs once for every account
            t = part.test(view, item)
            if t is False:
                return False
            if t is None:
                out = None
            elif t is True and out is NA:
                out = True
        return out

    def explain(self, view: View, item: Any) -> Account:
        accounts = [p.explain(view, item) for p in self.parts]
        truth = k_all(a.truth for a in accounts)
        return merge(truth, accounts, truth)


@dataclass(slots=True)
class Any_:
    """At least one part holds."""

    parts: list[Node]
    expected: str

    def test(self, view: View, item: Any) -> Truth:
        out: Truth = NA
        for part in self.parts:  # k_any, written out
            t = part.test(view, item)
            if t is True:
                return True
            if t is None:
                out = None
            elif t is False and out is NA:
                out = False
        return out

    def explain(self, view: View, item: Any) -> Account:
        accounts = [p.explain(view, item) for p in self.parts]
        truth = k_any(a.truth for a in accounts)
        return merge(truth, accounts, truth)


@dataclass(slots=True)
class Not:
    """The part does not hold."""

    part: Node
    expected: str

    def test(self, view: View, item: Any) -> Truth:
        return k_not(self.part.test(view, item))

    def explain(self, view: View, item: Any) -> Account:
        account = self.part.explain(view, item)
        account.truth = k_not(account.truth)
        return account


@dataclass(slots=True)
class Leaf:
    """One reading held against one right side."""

    name: str
    get: Get
    operator: Operator
    right: Get | None
    constant: Any
    wanted: Any
    ignore_case: bool
    absent: Truth
    default: Any
    has_default: bool
    volatile: bool
    owner: tuple[Record, Get] | None
    expected: str
    plain: Any = None
    """The constant as it was written, before `ignore_case` folded it: what offenders are named by."""
    shape: Callable[[Any], Any] | None = None
    """Brings the left side to the form that the right side has: modes and times are compared by what they mean."""
    plainly: bool = field(init=False, default=False)
    """Neither side needs any preparing: nearly all leaves that look at the items of a long list."""

    def __post_init__(self) -> None:
        self.plainly = self.right is None and self.shape is None and not self.ignore_case

    def test(self, view: View, item: Any) -> Truth:
        value = self.get(view, item)
        if value.__class__ is Unknown:
            return None
        if value is None:
            if self.has_default:
                value = self.default
            elif self.operator.name not in ("is_set", "is_empty"):
                return self.absent
        try:
            if self.plainly:
                return self.operator.decide(value, self.constant, view.as_of)
            if self.right is None:
                expected = self.constant
            else:
                expected = self.right(view, item)
                if expected is None or expected.__class__ is Unknown or expected.__class__ is Partial:
                    return None
                expected = self.operator.prepare(
                    list(expected) if isinstance(expected, (list, tuple)) else expected, self.wanted
                )
                if self.ignore_case:
                    expected = fold(expected)
            if self.shape is not None:
                value = _each(self.shape, value)
            if self.ignore_case:
                value = _each(fold, value)
            return self.operator.decide(value, expected, view.as_of)
        except (TypeError, ValueError, OverflowError):
            return None  # a reading that is not of its kind (no version, no time): not understood, so unknown

    def explain(self, view: View, item: Any) -> Account:
        truth = self.test(view, item)
        value = self.get(view, item)
        seen = ((f"{self.name} = {text(value)}", self.volatile),)
        if truth is None:
            return Account(None, seen=seen, unknowns=(self._why(view, item, value),))
        culprits: tuple[Offender, ...] = ()
        whole = self.owner[1](view, item) if self.owner is not None else None
        if self.owner is not None and isinstance(whole, dict):
            culprits = (offender(self.owner[0], whole, "" if self.volatile else seen[0][0]),)
        elif truth is False:
            culprits = self._parts(view, item, value)
        return Account(truth, culprits, len(culprits), 0, seen)

    def _why(self, view: View, item: Any, value: Any) -> Unknown:
        if isinstance(value, Unknown):
            return value
        if isinstance(value, Partial):
            return value.why
        other = None if self.right is None else self.right(view, item)
        if isinstance(other, Unknown):
            return other
        if isinstance(other, Partial):
            return other.why
        if self.right is not None and other is None:
            return Unknown(Reason.UNREADABLE, f"{self.name}: what it is compared with is absent")
        for side in (value, other):
            if isinstance(side, list) and (odd := next((v for v in side if isinstance(v, Unknown)), None)):
                return odd
        return Unknown(Reason.UNREADABLE, f"{self.name} = {text(value, 60)}")

    def _parts(self, view: View, item: Any, value: Any) -> tuple[Offender, ...]:
        """For operators on lists of words: which word is missing, or too many."""
        name = self.operator.name
        if name not in ("contains", "contains_all", "only", "contains_none") or self.shape is not None:
            return ()
        if value is None and self.has_default:
            value = self.default
        right = self.plain if self.right is None else self.right(view, item)
        wanted = [right] if name == "contains" else list(right)
        have = [v for v in (value.items if isinstance(value, Partial) else value or ()) if not isinstance(v, Unknown)]
        probe, against = (wanted, have) if name in ("contains", "contains_all") else (have, wanted)
        known = {self._same(v) for v in against}
        inside = name == "contains_none"
        odd = [v for v in dict.fromkeys(probe) if (self._same(v) in known) is inside]
        return tuple(Offender(str(v), str(v)) for v in odd[:MAX_OFFENDERS])

    def _same(self, value: Any) -> Any:
        """What two words must share to be the same word here."""
        return fold(value) if self.ignore_case else value


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    """`change` applied to a value, or to each element of a list that is known."""
    if isinstance(value, Partial):
        return Partial(tuple(_each(change, v) for v in value.items), value.why)
    if isinstance(value, (list, tuple)):
        return [_each(change, v) for v in value]
    return value if isinstance(value, Unknown) else change(value)


def offender(record: Record | None, item: Any, value: str) -> Offender:
    """The offender that an item is: by its record's key and label, or itself when it is a plain word.

    What has neither a readable key nor a label is told by all that is known of it.
    """
    if record is None or not isinstance(item, dict):
        return Offender(str(item), str(item), value)
    label, key = (_word(item, name) for name in (record.label, record.key))
    shown = label or key or text(item)
    return Offender(key or shown, shown, value)


def _word(item: dict[str, Any], name: str) -> str:
    got = item.get(name) if name else None
    return "" if got is None or isinstance(got, (Unknown, Partial)) else str(got)
