"""How a fact is read: its requests, what follows from their answers, and the parser that makes the value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.facts.m365.protocol import Answer, Lookup, Request
from agent.model import Unknown

Ask = Request | Lookup
Answers = Mapping[Ask, Answer]
"""What was asked so far, by request."""


def _no_more(_: Answers) -> list[Ask]:
    return []


@dataclass(frozen=True, slots=True)
class Source:
    """`requests` are asked in the first round, what `follow` gives (ids learnt from what was read) in the next ones.

    `follow` is asked again after each round until it names nothing new. `parse(answers, licences)` makes the fact's
    value; `licences` are the tenant's plans, or `Unknown`. `then` says in a plan what the later rounds ask, and with
    which permission (empty: none).
    """

    requests: tuple[Request, ...]
    parse: Callable[[Answers, Any], Any]
    follow: Callable[[Answers], Sequence[Ask]] = _no_more
    then: tuple[tuple[str, str], ...] = ()
    licences: bool = False
    """Whether `parse` looks at the licences."""


SOURCES: dict[str, Source] = {}
"""By fact name; filled by the modules beside this one."""
KEYED: dict[str, Callable[[str], Source]] = {}
"""By fact name, for facts with a key: makes the source for one key."""

SKUS = Request("/subscribedSkus", "LicenseAssignment.Read.All")


def lacks(licences: Any, plan: str) -> bool:
    """Whether it is known that the tenant has no such plan."""
    return bool(plan) and isinstance(licences, list) and plan not in licences


@dataclass(frozen=True, slots=True)
class Unlicensed:
    """What a feature gives in a tenant that is known not to have its licence: `value` in place of the refusal."""

    plan: str
    value: Any = field(default_factory=list)

    def instead(self, read: Any, licences: Any) -> Any:
        """`read`, unless it is a refusal and the licence is known to be missing."""
        return self.value if isinstance(read, Unknown) and lacks(licences, self.plan) else read
