"""The quantifiers of a condition: `any_item`, `every_item`, `no_item`, `count_items`.

A list that may lack items (`Partial`) counts as if it held one more, wholly unknown item, which may stand for none
or for many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agent.condition.nodes import NA, Account, Get, Node, Truth, k_all, k_not, offender
from agent.condition.values import text
from agent.derive import View
from agent.facttypes import Record
from agent.model import MAX_OFFENDERS, Offender, Partial, Reason, Unknown

MAX_EXPLAINED = 50
"""Items asked why they are unknown; what a finding shows is three reasons."""


Judged = tuple[Any, Truth, Truth]
"""An item, whether it is meant (True or None), and whether it passes the check."""


@dataclass(slots=True)
class Quantifier:
    """One quantifier over the items of a list. `check` is None for count_items only."""

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

    def _judged(self, view: View, items: Iterable[Any]) -> Iterator[Judged]:
        """Items that are, or may be, meant: (item, whether it is meant, whether it passes).

        An unknown item may not be there, so is never surely meant. Lazy: who has seen enough asks no further."""
        where, check = self.where, self.check
        for i in items:
            w: Truth = True
            if where is not None:
                w = where.test(view, i)
                if w is False or w is NA:  # in a `where`, "nothing to judge" means: not meant
                    continue
            if w is True and i.__class__ is Unknown:
                w = None
            yield i, w, True if check is None else check.test(view, i)

    def test(self, view: View, item: Any) -> Truth:
        """The truth alone, fast."""
        got = self._items(view, item)
        return None if got is None else self._truth(self._judged(view, got[0]))

    def _truth(self, judged: Iterable[Judged]) -> Truth:
        if self.word == "count_items":
            return self._count(judged)
        if self.word == "every_item":
            return self._every(judged)
        found = self._any(judged)
        return k_not(found) if self.word == "no_item" else found

    def _every(self, judged: Iterable[Judged]) -> Truth:
        """Kleene's and over the items that are meant. Items that may be meant change the answer, unless they agree
        with it."""
        out: Truth = NA
        certain = False
        perhaps: list[Truth] = []
        for _, w, t in judged:
            if w is None:
                perhaps.append(t)
                continue
            if t is False:
                return False
            certain = True
            if t is None:
                out = None
            elif t is True and out is NA:
                out = True
        if not certain:
            out = self.empty
        if all(t is out or (certain and t is NA) for t in perhaps):
            return out
        return None

    def _any(self, judged: Iterable[Judged]) -> Truth:
        found: Truth = False
        for _, w, t in judged:
            if t is False or t is NA:
                continue
            if t is True and w is True:
                return True
            found = None
        return found

    def _count(self, judged: Iterable[Judged]) -> Truth:
        low = high = 0
        unbounded = False
        for i, w, _ in judged:
            if w is True:
                low, high = low + 1, high + 1
            elif i.__class__ is Unknown:  # stands for any number of items that could not be seen
                unbounded = True
            else:
                high += 1
        truths: list[Truth] = []
        if self.at_least is not None:
            truths.append(True if low >= self.at_least else None if unbounded or high >= self.at_least else False)
        if self.at_most is not None:
            truths.append(False if low > self.at_most else None if unbounded or high > self.at_most else True)
        return k_all(truths)

    def explain(self, view: View, item: Any) -> Account:
        """The truth with its reasons."""
        got = self._items(view, item)
        if got is None:
            value = self.of(view, item)
            return Account(None, seen=((f"{self.name} = {text(value)}", False),), unknowns=(value,))
        items, why = got
        judged = list(self._judged(view, items))
        truth = self._truth(judged)
        chosen, unsure, meant = self._sort(judged)
        record = self.item_type if isinstance(self.item_type, Record) else None
        culprits: list[Offender] = []
        if self._blames(truth, len(chosen)):
            if len(chosen) > MAX_OFFENDERS:  # which ones are kept must not depend on the order of the list
                chosen = sorted(chosen, key=lambda i: offender(record, i, ""))
            culprits = [offender(record, i, self._value(view, i)) for i in chosen[:MAX_OFFENDERS]]
        unknowns: list[Unknown] = [why] if why else []
        if truth is None:
            unknowns += self._reasons(view, judged)
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

    def _reasons(self, view: View, judged: Sequence[Judged]) -> list[Unknown]:
        """Why items could not be judged: the reasons of the first few."""
        out: list[Unknown] = []
        asked = 0
        for i, w, t in judged:
            if isinstance(i, Unknown):
                out.append(i)
                continue
            for part, truth in ((self.where, w), (self.check, t)):
                if part is not None and truth is None:
                    out.extend(part.explain(view, i).unknowns)
                    asked += 1
            if asked >= MAX_EXPLAINED:
                break
        return out

    def _sort(self, judged: Sequence[Judged]) -> tuple[list[Any], list[Any], int]:
        """Items that decide (failing for every_item, else matching), items not judged, and how many are meant."""
        chosen, unsure, meant = [], [], 0
        for i, w, t in judged:
            if i.__class__ is Unknown:
                unsure.append(i)
                continue
            meant += 1
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
