"""Turns: no school reads more at once than its line takes, nobody starves, and a stop is heard at once."""

from __future__ import annotations

import threading
import time
from collections import Counter

from agent.model import Kind, Target
from agent.plan import Job
from agent.turns import Turns


def jobs(**numbers: int) -> list[Job]:
    made = [Job(Target(f"{s}{i}", Kind.DEVICE, "linux", s), (), ("os",)) for s, n in numbers.items() for i in range(n)]
    return [*made, Job(Target("ad", Kind.DIRECTORY, "ad", None), (), ("users",))]


def work(turns: Turns, workers: int, seconds: dict[str, float]) -> tuple[list[str], Counter[str], dict[str, float]]:
    """Let workers do all jobs → names as they ended, the most at once per school, when each school ended."""
    lock, busy, most, done, ended = threading.Lock(), Counter[str](), Counter[str](), list[str](), dict[str, float]()
    stop, began = threading.Event(), time.monotonic()

    def go() -> None:
        while (job := turns.take(stop)) is not None:
            school = job.target.school or ""
            with lock:
                busy[school] += 1
                most[school] = max(most[school], busy[school])
            time.sleep(seconds.get(school, 0.01))
            with lock:
                busy[school] -= 1
                done.append(job.target.name)
                ended[school] = time.monotonic() - began
            turns.give_back(job)

    threads = [threading.Thread(target=go, daemon=True) for _ in range(workers)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(20)
    assert not any(t.is_alive() for t in threads), "a worker waits for ever"
    return done, most, ended


def test_no_school_reads_more_at_once_than_it_may() -> None:
    all_of_them = jobs(a=30, b=10, c=1)
    done, most, _ = work(Turns(all_of_them, {"a": 3, "b": 1, "c": 8}.__getitem__), 12, {})
    assert sorted(done) == sorted(j.target.name for j in all_of_them)
    assert most == {"a": 3, "b": 1, "c": 1, "": 1}


def test_a_slow_school_holds_nobody_up() -> None:
    _, most, ended = work(Turns(jobs(slow=6, quick=20), {"slow": 2, "quick": 8}.__getitem__), 6, {"slow": 0.4})
    assert most["slow"] == 2
    assert ended["quick"] < 0.4 < 1.1 < ended["slow"]


def test_shared_targets_go_first_and_schools_take_turns() -> None:
    turns, stop = Turns(jobs(a=3, b=3), lambda _: 8), threading.Event()
    names = [job.target.school for _ in range(5) if (job := turns.take(stop)) is not None]
    assert names == [None, "a", "b", "a", "b"]


def test_a_stop_is_heard_while_waiting_for_room() -> None:
    turns, stop = Turns(jobs(a=2)[:2], lambda _: 1), threading.Event()
    assert turns.take(stop) is not None
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    assert turns.take(stop) is None
    assert time.monotonic() - began < 1
