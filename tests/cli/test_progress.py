"""What a scan says on its way: schools by quarters with the time left, and a silent school without a line per host."""

from __future__ import annotations

from agent.cli.progress import Progress, span
from agent.model import TargetState
from agent.scan import Event


class Clock:
    """Ten seconds pass between two looks."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


def done(number: int, state: TargetState, school: str = "oak", total: int = 8) -> Event:
    text = "" if state is TargetState.COLLECTED else f"{number} does not answer."
    return Event("done", text, f"{school}/pc{number}", school, state, number, total, no_answer=bool(text))


def said(progress: Progress, *events: Event) -> list[str]:
    return [line for e in events for line in progress.lines(e)]


def test_a_school_is_told_of_by_quarters_with_the_time_left() -> None:
    progress = Progress({"oak": "Oakfield"}, clock=Clock())
    lines = said(
        progress,
        Event("start", total=8, schools={"oak": 8}),
        *(done(n, TargetState.COLLECTED) for n in range(1, 9)),
    )
    assert lines == [
        "Scanning 8 targets.",
        "Oakfield: 2 of 8 done, about 30 seconds left.",
        "Oakfield: 4 of 8 done, about 20 seconds left.",
        "Oakfield: 6 of 8 done, about 10 seconds left.",
        "Oakfield: all 8 done in 40 seconds.",
    ]


def test_a_silent_school_is_not_a_line_per_host() -> None:
    progress = Progress({"oak": "Oakfield"}, clock=Clock())
    start = Event("start", total=4, schools={"oak": 3, "elm": 1})
    away = [done(n, TargetState.UNREACHABLE, total=4) for n in (1, 2, 3)]
    assert said(progress, start, *away) == ["Scanning 4 targets."]
    lone = done(4, TargetState.UNREACHABLE, "elm", 4)  # one host is no school's silence
    assert said(progress, lone) == ["[4/4] elm/pc4: unreachable 4 does not answer."]
    assert said(progress, Event("note", "Oakfield: none of 3 devices answered.")) == [
        "Oakfield: none of 3 devices answered."
    ]


def test_the_first_answer_makes_the_others_silence_news() -> None:
    progress = Progress({"oak": "Oakfield"}, clock=Clock())
    lines = said(
        progress,
        Event("start", total=3, schools={"oak": 3}),
        done(1, TargetState.UNREACHABLE, total=3),
        done(2, TargetState.COLLECTED, total=3),
        done(3, TargetState.UNREACHABLE, total=3),
    )
    assert lines[1:] == [
        "[1/3] oak/pc1: unreachable 1 does not answer.",
        "[3/3] oak/pc3: unreachable 3 does not answer.",
    ]


def test_spans_as_people_say_them() -> None:
    assert [span(s) for s in (0, 1.4, 89, 90, 200, 5399, 5400, 9000)] == [
        "1 second", "1 second", "89 seconds", "2 minutes", "3 minutes", "90 minutes", "2 hours", "2 hours",
    ]  # fmt: skip
