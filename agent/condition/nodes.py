"""The parts of a compiled condition. Each part decides fast (`test`) and explains itself slowly (`explain`).

Truth is Kleene's: True, False, None (unknown); plus `NA` for "nothing here to judge", which `all`, `any` and the
quantifiers pass over, and which `not` leaves alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
        tuple(dict.fromkeys(u for a in accounts for u in a.unknowns)),
    )


@dataclass(slots=True)
class All:
    """Every part holds."""

    parts: list[Node]
    expected: str

    def test(self, view: View, item: Any) -> Truth:
        return k_all(p.test(view, item) for p in self.parts)

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
        return k_any(p.test(view, item) for p in self.parts)

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
            if self.ignore_case:
                value = Partial(tuple(fold(value.items)), value.why) if isinstance(value, Partial) else fold(value)
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
        if self.owner is not None:
            record, get = self.owner
            culprits = (offender(record, get(view, item), "" if self.volatile else seen[0][0]),)
        elif truth is False:
            culprits = self._parts(view, item, value)
        return Account(truth, culprits, len(culprits), 0, seen)

    def _why(self, view: View, item: Any, value: Any) -> Unknown:
        if isinstance(value, Unknown):
            return value
        if isinstance(value, Partial):
            return value.why
        if self.right is not None:
            other = self.right(view, item)
            if isinstance(other, Unknown):
                return other
            if isinstance(other, Partial):
                return other.why
            if other is None:
                return Unknown(Reason.UNREADABLE, f"{self.name}: what it is compared with is absent")
        if isinstance(value, list):
            return next((v for v in value if isinstance(v, Unknown)), Unknown(Reason.UNREADABLE, self.name))
        return Unknown(Reason.UNREADABLE, f"{self.name} = {text(value, 60)}")

    def _parts(self, view: View, item: Any, value: Any) -> tuple[Offender, ...]:
        """For operators on lists of words: which word is missing, or too many."""
        name = self.operator.name
        if name not in ("contains", "contains_all", "only", "contains_none"):
            return ()
        expected = self.plain if self.right is None else self.right(view, item)
        wanted = [expected] if name == "contains" else list(expected)
        have = [v for v in (value.items if isinstance(value, Partial) else value or ()) if not isinstance(v, Unknown)]
        probe, against = (wanted, have) if name in ("contains", "contains_all") else (have, wanted)
        known = {fold(v) for v in against} if self.ignore_case else set(against)
        inside = name == "contains_none"
        odd = [v for v in dict.fromkeys(probe) if ((fold(v) if self.ignore_case else v) in known) is inside]
        return tuple(Offender(str(v), str(v)) for v in odd)


def offender(record: Record | None, item: Any, value: str) -> Offender:
    """The offender that an item is: by its record's key and label, or itself when it is a plain word."""
    if record is None or not isinstance(item, dict):
        return Offender(str(item), str(item), value)
    label = item.get(record.label)
    key = item.get(record.key) if record.key else None
    shown = str(label) if label is not None and not isinstance(label, Unknown) else str(key)
    return Offender(shown if key is None or isinstance(key, Unknown) else str(key), shown, value)


@dataclass(slots=True)
class Quantifier:
    """`any_item`, `every_item`, `no_item`, `count_items`."""

    word: str
    name: str
    of: Get
    item_type: Any
    where: Node | None
    check: Node | None
    empty: Truth
    at_least: int | None
    at_most: int | None
    expected: str

    def _items(self, view: View, item: Any) -> tuple[Sequence[Any], Unknown | None] | None:
        """Items (with one unknown item for those that may be missing); None when there is no list."""
        value = self.of(view, item)
        if value.__class__ is Unknown:
            return None
        if value is None:
            return (), None
        if value.__class__ is Partial:
            return (*value.items, value.why), value.why
        return value, None

    def test(self, view: View, item: Any) -> Truth:
        got = self._items(view, item)
        if got is None:
            return None
        items = got[0]
        if self.word == "count_items":
            return self._count(view, items)
        where, check = self.where, self.check
        assert check is not None  # noqa: S101 - compile sees to it
        if self.word == "every_item":
            out: Truth = NA
            meant = maybe = False
            for i in items:
                w = True if where is None else where.test(view, i)
                if w is False or w is NA:
                    continue
                if i.__class__ is Unknown:  # it may not be there at all
                    w = None
                meant, maybe = meant or w is True, maybe or w is None
                t = check.test(view, i)
                if t is False and w is True:
                    return False
                if t is None or t is False:
                    out = None
                elif t is True and out is NA:
                    out = True
            if not meant:
                if not maybe:
                    return self.empty
                return out if out is self.empty else None
            return out
        found: Truth = False
        for i in items:
            t = check.test(view, i) if where is None else k_all((k_false(where.test(view, i)), check.test(view, i)))
            if t is True and i.__class__ is Unknown:  # it may not be there at all
                t = None
            if t is True:
                found = True
                break
            if t is None:
                found = None
        return k_not(found) if self.word == "no_item" else found

    def _count(self, view: View, items: Sequence[Any]) -> Truth:
        low = high = 0
        unbounded = False
        for i in items:
            t = True if self.where is None else self.where.test(view, i)
            if i.__class__ is Unknown:  # stands for any number of items that could not be seen
                unbounded = True
            elif t is True:
                low, high = low + 1, high + 1
            elif t is None:
                high += 1
        truths: list[Truth] = []
        if self.at_least is not None:
            truths.append(True if low >= self.at_least else None if unbounded or high >= self.at_least else False)
        if self.at_most is not None:
            truths.append(False if low > self.at_most else None if unbounded or high > self.at_most else True)
        return k_all(truths)

    def explain(self, view: View, item: Any) -> Account:
        truth = self.test(view, item)
        got = self._items(view, item)
        if got is None:
            value = self.of(view, item)
            return Account(None, seen=((f"{self.name} = {text(value)}", False),), unknowns=(value,))
        items, why = got
        chosen, unsure, meant = self._sort(view, items)
        record = self.item_type if isinstance(self.item_type, Record) else None
        culprits = []
        if self._blames(truth, len(chosen)):
            culprits = [offender(record, i, self._value(view, i)) for i in chosen[:MAX_OFFENDERS]]
        unknowns: list[Unknown] = [why] if why else []
        if truth is None:
            for i in unsure[:50]:
                part = self.where if self.check is None else self.check
                if isinstance(i, Unknown):
                    unknowns.append(i)
                elif part is not None:
                    unknowns.extend(part.explain(view, i).unknowns)
                    if self.where is not None and part is not self.where:
                        unknowns.extend(self.where.explain(view, i).unknowns)
            if not unknowns:
                unknowns.append(Unknown(Reason.NOT_COLLECTED, f"{self.name}: no items"))
        number = len(chosen)
        seen = f"{self.name}: {number} of {meant}" + (f", {len(unsure)} not known" if unsure else "")
        return Account(
            truth,
            tuple(culprits),
            number if culprits else 0,
            len(unsure),
            ((seen, True),),
            tuple(dict.fromkeys(unknowns)),
        )

    def _sort(self, view: View, items: Sequence[Any]) -> tuple[list[Any], list[Any], int]:
        """Items that decide (failing for every_item, else matching), items not judged, and how many are meant."""
        chosen, unsure, meant = [], [], 0
        for i in items:
            w: Truth = True if self.where is None else self.where.test(view, i)
            if i.__class__ is Unknown:
                unsure.append(i)
                continue
            if w is False or w is NA:
                continue
            meant += 1
            t: Truth = True if self.check is None else self.check.test(view, i)
            if self.word == "every_item":
                t = k_not(t)
            if t is True and w is True:
                chosen.append(i)
            elif t is None or (t is True and w is None):
                unsure.append(i)
        return chosen, unsure, meant

    def _blames(self, truth: Truth, number: int) -> bool:
        """Whether the chosen items are what decided: those that fail, those that are too many, or (under `not`)
        those that were found. A definite offender is worth naming even when the rest is unknown."""
        if self.word == "every_item":
            return True
        if self.word == "count_items":
            return self.at_most is not None and number > self.at_most
        return truth is not None or self.word == "no_item"

    def _value(self, view: View, item: Any) -> str:
        if not isinstance(item, dict):
            return ""
        seen: list[tuple[str, bool]] = []
        for part in (self.where, self.check):
            if part is not None:
                seen.extend(part.explain(view, item).seen)
        return "; ".join(dict.fromkeys(t for t, volatile in seen if not volatile))[:300]


def k_false(t: Truth) -> Truth:
    """In a `where`, "nothing to judge" means: not meant."""
    return False if isinstance(t, _NotApplicable) else t
