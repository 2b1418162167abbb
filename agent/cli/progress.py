"""Progress of a scan for people: what is said of each target, how far each school is, and what time is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.scan import Event

QUARTERS = 8
"""Schools of at least so many targets are told of at each quarter; smaller ones are over too soon."""


@dataclass(slots=True)
class _School:
    name: str
    total: int
    began: float
    done: int = 0
    answered: bool = False
    held: list[str] = field(default_factory=list)


class Progress:
    """Turns the events of a scan into lines.

    While nothing of a school has answered, what is wrong with each of its targets is held back: if that stays so, the
    scan ends with one sentence about the school, and two hundred lines that all say the same would hide it.
    """

    def __init__(
        self, names: Mapping[str, str], *, verbose: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._names, self._verbose, self._clock = names, verbose, clock
        self._schools: dict[str, _School] = {}

    def lines(self, e: Event) -> list[str]:
        """What to say after an event, in order."""
        if e.kind == "start":
            now = self._clock()
            self._schools = {k: _School(self._names.get(k, "Shared"), n, now) for k, n in e.schools.items()}
            return [f"Scanning {e.total} target{'' if e.total == 1 else 's'}."]
        school = self._schools.get(e.school or "")
        if e.kind != "done" or school is None:
            return [e.text] if e.text else []
        school.done += 1
        school.answered = school.answered or not e.no_answer
        if e.text or self._verbose:
            state = e.state.value if e.state else ""
            school.held.append(f"[{e.done}/{e.total}] {e.target}: {state} {e.text}".rstrip())
        out = []
        # One device that does not answer is told of; of several it takes one that does to make the others' news.
        if school.answered or school.total == 1 or not e.school:
            out, school.held = school.held, []
        if school.total >= QUARTERS and school.done * 4 // school.total > (school.done - 1) * 4 // school.total:
            out.append(self._standing(school))
        return out

    def _standing(self, school: _School) -> str:
        took = self._clock() - school.began
        if school.done == school.total:
            return f"{school.name}: all {school.total} done in {span(took)}."
        left = took / school.done * (school.total - school.done)
        return f"{school.name}: {school.done} of {school.total} done, about {span(left)} left."


def span(seconds: float) -> str:
    """Seconds as people say them: `40 seconds`, `3 minutes`, `2 hours`; never less than one second."""
    for size, word in ((5400, "hour"), (90, "minute")):
        if seconds >= size:
            number = round(seconds / (3600 if word == "hour" else 60))
            break
    else:
        number, word = max(1, round(seconds)), "second"
    return f"{number} {word}{'' if number == 1 else 's'}"
