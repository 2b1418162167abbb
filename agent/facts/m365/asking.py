"""Asking a tenant for what its facts take: each request once, and what follows from an answer as soon as it can be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agent.errors import SpiritlevelError
from agent.facts.m365.protocol import Answer, Lookup, Request, Tenant
from agent.facts.m365.source import Answers, Ask, Source

ODD = (KeyError, TypeError, ValueError, AttributeError, SpiritlevelError)
"""What parsing an answer of a shape that nobody foresaw raises."""

ROUNDS = 12
"""Rounds of requests that follow from one another; the longest chain is a name's SPF record and where it sends on."""


@dataclass(slots=True)
class Asking:
    """What is still to be asked for some sources: each request once, and what follows as soon as it can be known."""

    connection: Tenant
    answers: dict[Ask, Answer] = field(default_factory=dict)
    todo: list[Ask] = field(default_factory=list)
    _waiting: list[tuple[Source, set[Ask], int]] = field(default_factory=list)
    """Sources, what they wait for, and the rounds that they have had."""

    def run(self, sources: Iterable[Source]) -> dict[Ask, Answer]:
        """Ask everything → the answers. Raises what the connection raises."""
        for source in sources:
            self._waiting.append((source, set(source.requests), 0))
            self.todo += source.requests
        while fresh := [ask for ask in dict.fromkeys(self.todo) if ask not in self.answers]:
            self.todo = []
            requests = [ask for ask in fresh if isinstance(ask, Request)]
            if requests:
                for request, answer in zip(requests, self.connection.get(requests, self.more), strict=True):
                    if request not in self.answers:  # a connection that asks for nothing by itself
                        self.todo += self.more(request, answer)
            lookups = [ask for ask in fresh if isinstance(ask, Lookup)]
            if lookups:
                for lookup, answer in zip(lookups, self.connection.resolve(lookups), strict=True):
                    self.todo += self.more(lookup, answer)
        return self.answers

    def more(self, ask: Ask, answer: Answer) -> list[Request]:
        """Take an answer → the requests that follow from it; names to be looked up wait for the next round."""
        self.answers[ask] = answer
        out: list[Request] = []
        still = []
        for source, wants, rounds in self._waiting:
            wants.discard(ask)
            if wants:
                still.append((source, wants, rounds))
            elif new := self._new(source) if rounds < ROUNDS else []:
                still.append((source, set(new), rounds + 1))
                out += [a for a in new if isinstance(a, Request)]
                self.todo += [a for a in new if isinstance(a, Lookup)]
        self._waiting = still
        return out

    def _new(self, source: Source) -> list[Ask]:
        return [ask for ask in dict.fromkeys(_follow(source, self.answers)) if ask not in self.answers]


def _follow(source: Source, answers: Answers) -> Sequence[Ask]:
    try:
        return source.follow(answers)
    except ODD:
        return []
