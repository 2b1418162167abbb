"""Whose turn it is: hands out jobs so that no school's line is filled by us, while other schools go on."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence

from agent.model import Kind
from agent.plan import Job

STEP = 0.5
"""Seconds between looks at whether the scan was stopped."""


class Turns:
    """The jobs of a scan. `at_once` gives, for a school's key, how many of its devices are read at the same time.

    Directories and tenants go first, as they take longest and mostly wait; no school's limit holds them back. Then
    whoever has room and is reading the fewest is next.
    """

    def __init__(self, jobs: Sequence[Job], at_once: Callable[[str], int]) -> None:
        self._shared = deque(j for j in jobs if j.target.kind is not Kind.DEVICE)
        self._waiting: dict[str, deque[Job]] = {}
        for job in jobs:
            if job.target.kind is Kind.DEVICE:
                self._waiting.setdefault(job.target.school or "", deque()).append(job)
        self._room = {school: max(1, at_once(school)) for school in self._waiting}
        self._busy: Counter[str] = Counter()
        self._changed = threading.Condition()

    def take(self, stop: threading.Event) -> Job | None:
        """The next job, as soon as its school has room; None when none is left, or the scan was stopped."""
        with self._changed:
            while not stop.is_set():
                if self._shared:
                    return self._shared.popleft()
                if not self._waiting:
                    return None
                free = [s for s in self._waiting if self._busy[s] < self._room[s]]
                if free:
                    school = min(free, key=self._busy.__getitem__)
                    job = self._waiting[school].popleft()
                    if not self._waiting[school]:
                        del self._waiting[school]
                    self._busy[school] += 1
                    return job
                self._changed.wait(STEP)
        return None

    def give_back(self, job: Job) -> None:
        """A job that was taken is over: its school has room for one more."""
        if job.target.kind is Kind.DEVICE:
            with self._changed:
                self._busy[job.target.school or ""] -= 1
                self._changed.notify()
