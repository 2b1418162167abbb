"""What except and attest share: dates, picking an entry, and changing the two files without losing a comment."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click

from agent.cli.common import say
from agent.errors import StoreError, UsageError, suggest
from agent.plan import Planner

FAR = timedelta(days=400)
"""An end further away than this gets a warning: exceptions and answers are looked at once a year, with some slack."""


def day(_ctx: click.Context, _param: click.Parameter, value: str | None) -> date | None:
    """A date that a person types, such as 2027-03-31. Fails in click's own way."""
    if value is None:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no date; write one such as 2027-03-31.") from None


def today() -> date:
    """The day by which exceptions and answers end (UTC, as everywhere)."""
    return datetime.now(UTC).date()


def future(ctx: click.Context, end: date) -> None:
    """Refuse a day that is past, warn of one far off."""
    if end < today():
        raise UsageError(f"{end} is past; an end lies ahead.")
    if end - today() > FAR:
        say(ctx, f"Warning: {end} is more than {FAR.days} days away; who will look at it then?")


def write(planner: Planner, name: str, key: str, change: Callable[[list[Any]], None]) -> None:
    """Change one of the two files: in memory, checked as the loader does, then whole. Raises `ConfigError`."""
    from agent.trust import attestations_of, exceptions_of
    from agent.yamlfile import edited, parse, replace_file

    path = planner.trust.folder / name
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    new = edited(old, key, change)
    check = exceptions_of if key == "exceptions" else attestations_of
    check(parse(new, name), planner.trust.schools)
    replace_file(path, new)


def remember(planner: Planner, what: dict[str, Any]) -> None:
    """Note who changed what, when the trust has a store already."""
    import getpass

    from agent.cli.common import open_store

    try:
        with open_store(planner) as store:
            try:
                who = getpass.getuser()
            except (KeyError, OSError):
                who = "unknown"
            store.record(datetime.now(UTC), who, {k: str(v) if isinstance(v, date) else v for k, v in what.items()})
    except StoreError:
        return  # never scanned yet: there is no history to add to


def pick(entries: Sequence[Any], which: str, scope: dict[str, str | None], verb: str) -> int:
    """Index of the entry that a person means: its number in the list, or its control with a scope.

    Raises `UsageError` when it is none, or several."""
    if not entries:
        raise UsageError(f"there is nothing to {verb.split()[-1]}.")
    if which.isdecimal():
        number = int(which)
        if not 1 <= number <= len(entries):
            raise UsageError(f"there is no number {number}.", f"See `spiritlevel {verb.split()[0]} list`.")
        return number - 1
    names = [getattr(e, "control", None) or getattr(e, "requirement", None) or "" for e in entries]
    hits = [
        i
        for i, (e, n) in enumerate(zip(entries, names, strict=True))
        if n == which and all(v is None or getattr(e, k, None) == v for k, v in scope.items())
    ]
    if not hits:
        raise UsageError(f"there is none for {which!r} of that scope.", suggest(which, sorted(set(names))))
    if len(hits) > 1:
        numbers = ", ".join(str(i + 1) for i in hits)
        raise UsageError(f"several are for {which!r}: {numbers}.", "Name one by its number, or narrow it by its scope.")
    return hits[0]


def known_control(planner: Planner, control: str) -> None:
    """Raises `UsageError` for a control, or pattern, that fits none."""
    if not fnmatch.filter(planner.policy.controls, control):
        raise UsageError(f"there is no control {control!r}.", suggest(control, sorted(planner.policy.controls)))


def known_school(planner: Planner, school: str | None) -> None:
    """Raises `UsageError` for a school that is not in trust.yml."""
    if school is not None and school not in planner.trust.schools:
        raise UsageError(f"there is no school {school!r}.", suggest(school, sorted(planner.trust.schools)))
