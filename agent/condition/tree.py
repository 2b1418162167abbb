"""A condition's verdict as a tree: every part with what it wants, how it came out, and what was read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agent.condition.nodes import NA, All, Any_, Node, Not, Truth
from agent.derive import View


@dataclass(frozen=True, slots=True)
class Branch:
    """One line of the tree: how deep it stands, what is wanted, how that came out, and the readings behind it."""

    depth: int
    wanted: str
    truth: Truth
    seen: str = ""

    @property
    def word(self) -> str:
        """How it came out, as people read it."""
        if self.truth is NA:
            return "nothing to judge"
        return "unknown" if self.truth is None else "holds" if self.truth is True else "does not hold"


def tree(node: Node, view: View, item: Any = None, depth: int = 0) -> Iterator[Branch]:
    """The parts of a compiled condition over one view, outermost first."""
    truth = node.test(view, item)
    if isinstance(node, (All, Any_)):
        yield Branch(depth, "all of" if isinstance(node, All) else "any of", truth)
        for part in node.parts:
            yield from tree(part, view, item, depth + 1)
    elif isinstance(node, Not):
        yield Branch(depth, "not", truth)
        yield from tree(node.part, view, item, depth + 1)
    else:
        account = node.explain(view, item)
        seen = "; ".join(text for text, _ in account.seen)
        if truth is None and account.unknowns:
            seen = "; ".join(dict.fromkeys(str(u) for u in account.unknowns[:3]))
        yield Branch(depth, node.expected, truth, seen)
