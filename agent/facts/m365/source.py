"""How a fact is read: its requests, what follows from their answers, and the parser that makes the value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.facts.m365.protocol import Answer, Request
from agent.model import Unknown

Answers = Mapping[Request, Answer]
"""What was asked so far, by request."""


def _no_more(_: Answers) -> list[Request]:
    return []


@dataclass(frozen=True, slots=True)
class Source:
    """`requests` are asked in the first round, what `follow` gives (ids learnt from the first) in a second.

    `parse(answers, licences)` makes the fact's value; `licences` are the tenant's plans, or `Unknown`. `then` says
    in a plan what the second round asks, and with which permission.
    """

    requests: tuple[Request, ...]
    parse: Callable[[Answers, Any], Any]
    follow: Callable[[Answers], Sequence[Request]] = _no_more
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
    return isinstance(licences, list) and plan not in licences


@dataclass(frozen=True, slots=True)
class Unlicensed:
    """What a feature gives in a tenant that is known not to have its licence: `value` in place of the refusal."""

    plan: str
    value: Any = field(default_factory=list)

    def instead(self, read: Any, licences: Any) -> Any:
        """`read`, unless it is a refusal and the licence is known to be missing."""
        return self.value if isinstance(read, Unknown) and lacks(licences, self.plan) else read
