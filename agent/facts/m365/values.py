"""Reading values out of Graph's JSON: what is null is known absent, what has the wrong shape is unknown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from agent.facts.m365.protocol import Answer
from agent.model import Partial, Reason, Unknown

Json = Mapping[str, Any]
_NEVER = "0001-01-01"
"""Graph's Intune services write "never" as the first day of the calendar."""


def at(body: Any, *path: str) -> Any:
    """Follow names into nested objects; None where the way ends."""
    for name in path:
        # dict first: the general test costs four times as much, and a tenant has a million values
        if not isinstance(body, (dict, Mapping)):
            return None
        body = body.get(name)
    return body


def maybe(body: Json, *path: str, kind: type | tuple[type, ...] = str) -> Any:
    """A value that may be absent: None when null or not there, Unknown when it has another type."""
    value = at(body, *path)
    if value is None:
        return None
    if (isinstance(value, bool) and kind is int) or value == "unknownFutureValue":
        return _wrong(path)  # the latter stands for a word that is newer than the version of Graph that was asked
    return value if isinstance(value, kind) else _wrong(path)


def need(body: Json, *path: str, kind: type = str) -> Any:
    """A value that Graph always gives: Unknown when null, not there or of another type."""
    value = maybe(body, *path, kind=kind)
    return _wrong(path) if value is None else value


def words(body: Json, *path: str) -> Any:
    """A list of strings; null is an empty list; Unknown when it is something else."""
    value = at(body, *path)
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return list(value)
    return _wrong(path)


def flags(body: Json, *path: str) -> Any:
    """A flags enum, which Graph sends as one string split by commas (or as a list): its members."""
    value = at(body, *path)
    if isinstance(value, str):
        return [part for part in (p.strip() for p in value.split(",")) if part and part != "none"]
    return words(body, *path)


def moment(body: Json, *path: str) -> Any:
    """A time as ISO 8601 UTC to the second; None when null or "never"; Unknown when it is no time."""
    value = maybe(body, *path)
    if not isinstance(value, str):
        return value
    if value.startswith(_NEVER):
        return None
    try:
        read = datetime.fromisoformat(value)
    except ValueError:
        return _wrong(path)
    if len(value) == 20 and value[10] == "T" and value[19] == "Z":
        return value  # as it should be already, and nearly always is
    read = read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    return read.strftime("%Y-%m-%dT%H:%M:%SZ")


def guid(value: Any) -> Any:
    """Ids compare without case: lower case; other values as they are."""
    return value.lower() if isinstance(value, str) else value


def listed(answer: Answer, parse: Callable[[Json], Any]) -> Any:
    """A collection, item by item: a list, a `Partial` when pages were missing or an item is no object, or Unknown."""
    value = answer.value
    if isinstance(value, Unknown):
        return value
    why = value.why if isinstance(value, Partial) else None
    items = value.items if isinstance(value, Partial) else value
    if not isinstance(items, (list, tuple)):
        return Unknown(Reason.UNREADABLE, "no list came where a list was asked for")
    parsed = [parse(item) for item in items if isinstance(item, Mapping)]
    if len(parsed) < len(items) and why is None:
        why = Unknown(Reason.UNREADABLE, "an item of the list is no object")
    return Partial(tuple(parsed), why) if why else parsed


def objects(value: Any) -> tuple[list[Json], Unknown | None]:
    """A collection's objects, and why some or all may be missing; None (no such collection) holds none."""
    if isinstance(value, Unknown):
        return [], value
    why = value.why if isinstance(value, Partial) else None
    items = value.items if isinstance(value, Partial) else [] if value is None else value
    if not isinstance(items, (list, tuple)):
        return [], Unknown(Reason.UNREADABLE, "no list came where a list was asked for")
    held = [item for item in items if isinstance(item, Mapping)]
    if len(held) < len(items):
        why = why or Unknown(Reason.UNREADABLE, "an item of the list is no object")
    return held, why


def single(answer: Answer, parse: Callable[[Json], Any]) -> Any:
    """One object. A service that wraps it in a list of one is understood too."""
    value = answer.value
    if isinstance(value, Unknown):
        return value
    if isinstance(value, Partial):
        return value.why
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, Mapping):
        return Unknown(Reason.UNREADABLE, "no object came where one was asked for")
    return parse(value)


def _wrong(path: tuple[str, ...]) -> Unknown:
    return Unknown(Reason.UNREADABLE, ".".join(path))
