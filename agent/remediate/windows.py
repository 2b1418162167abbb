"""When a school's systems may be changed: the change windows of trust.yml, and the days on which nothing is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from agent.errors import ConfigError
from agent.files import ChangeWindow, Freeze

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_HOURS = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*(?:([01]?\d|2[0-3]):([0-5]\d)|24:00)")


def sentences(windows: Sequence[ChangeWindow], school: str | None, zone: str) -> list[str]:
    """A school's windows in words; nothing where it has none."""
    return [
        f"{', '.join(d.capitalize() for d in _days(w)) if w.days else 'Every day'}, "
        f"{w.hours.replace(' ', '') or 'all day'} ({zone})"
        for w in _of(windows, school)
    ]


PATCHED_WITHIN = 14
"""Days that Cyber Essentials and the DfE standard give for high and critical updates."""


def frozen(freezes: Sequence[Freeze], school: str | None, day: date) -> Freeze | None:
    """The freeze that a day is in, for a school or (None) for what schools share; the longest where there are several.

    What schools share is frozen by every school's exams: a directory's change reaches them all.
    """
    mine = [f for f in freezes if school is None or f.school in (None, school)]
    return max((f for f in mine if f.begin <= day <= f.to), key=lambda f: f.to, default=None)


def frozen_days(freezes: Sequence[Freeze], school: str | None, today: date) -> list[str]:
    """The freezes of a school that are not over yet, in words."""
    mine = (f for f in freezes if (school is None or f.school in (None, school)) and f.to >= today)
    return [
        f"Nothing is changed from {f.begin:%d %B %Y} to {f.to:%d %B %Y}: {f.name}."
        for f in sorted(mine, key=lambda f: (f.begin, f.to, f.name))
    ]


def clash(freezes: Sequence[Freeze], school: str | None, today: date) -> Freeze | None:
    """The freeze that takes up all the days in which an update that is found missing today would have to be made."""
    now = frozen(freezes, school, today)
    return now if now is not None and now.to >= today + timedelta(days=PATCHED_WITHIN) else None


def is_open(windows: Sequence[ChangeWindow], school: str | None, now: datetime) -> bool:
    """Whether changes may be made at `now` (in the trust's time zone). Without any window they always may.

    Hours that end before they begin reach into the next day, and belong to the day on which they begin.
    Raises `ConfigError` for a window that says no day or time.
    """
    mine = _of(windows, school)
    return not mine or any(_holds(w, now) for w in mine)


def _of(windows: Sequence[ChangeWindow], school: str | None) -> list[ChangeWindow]:
    """A school's own windows; the trust's where it has none of its own."""
    own = [w for w in windows if school is not None and w.school == school]
    return own or [w for w in windows if w.school is None]


def _holds(window: ChangeWindow, now: datetime) -> bool:
    days = _days(window) or list(DAYS)
    start, end = _hours(window)
    minute = now.hour * 60 + now.minute
    today, yesterday = DAYS[now.weekday()], DAYS[(now - timedelta(days=1)).weekday()]
    if start < end:
        return today in days and start <= minute < end
    return (today in days and minute >= start) or (yesterday in days and minute < end)


def _days(window: ChangeWindow) -> list[str]:
    out = []
    for word in window.days:
        hits = [d for d in DAYS if len(word) >= 3 and d.startswith(word.lower())]
        if len(hits) != 1:
            raise ConfigError(
                f"there is no day {word!r}.",
                "Write mon to sun, or the days in full.",
                file="trust.yml",
                key="change_windows",
            )
        out.append(hits[0])
    return out


def _hours(window: ChangeWindow) -> tuple[int, int]:
    """Minutes of the day at which it begins and ends; the whole day where nothing is said."""
    if not window.hours:
        return 0, 24 * 60
    found = _HOURS.fullmatch(window.hours.strip())
    if found is None:
        raise ConfigError(
            f"{window.hours!r} are no hours.", "Write them so: 18:00-22:30.", file="trust.yml", key="change_windows"
        )
    start = int(found[1]) * 60 + int(found[2])
    return start, 24 * 60 if found[3] is None else int(found[3]) * 60 + int(found[4])
