"""Small helpers of the condition language: reaching into values, durations, times, text for people."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.model import Partial, Reason, Unknown

UNSEEN = Unknown(Reason.NOT_COLLECTED)
_DURATION = re.compile(r"^\s*([0-9]+)\s*(second|minute|hour|day|week|month|year)s?\s*$")
# A month is 30 days and a year 365: the words of policies ("stale after 12 months") mean no more than that.
_UNIT = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800, "month": 2592000, "year": 31536000}


def duration(text: object) -> timedelta:
    """`"35 days"` → timedelta. Raises `ValueError` for anything else (a bare number has no unit)."""
    match = _DURATION.match(text) if isinstance(text, str) else None
    if not match:
        raise ValueError(f"{text!r} is no duration: write a number and a unit, such as '35 days' or '3 hours'")
    try:
        return timedelta(seconds=int(match[1]) * _UNIT[match[2]])
    except (OverflowError, ValueError):  # int() itself refuses thousands of digits
        raise ValueError("a duration is at most a few thousand years") from None


def moment(text: object) -> datetime:
    """ISO 8601 → aware datetime in UTC. Raises `ValueError`."""
    if isinstance(text, datetime):
        value = text
    elif isinstance(text, str):
        value = datetime.fromisoformat(text)
    else:
        raise ValueError(f"{text!r} is no time")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def mode(text: object) -> int:
    """Octal mode string → bits. Raises `ValueError`; a YAML number is refused, as 0640 would be read as 640."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-7]{3,5}", text):
        raise ValueError(f"{text!r} is no file mode: write it in quotes, such as '0640'")
    return int(text, 8)


def dig(value: Any, path: tuple[str, ...]) -> Any:
    """Follow field names. Unknown and absent (None) end the way; a key that is not there was not collected."""
    for name in path:
        if value is None or value.__class__ is Unknown:
            return value
        if value.__class__ is not dict:
            return Unknown(Reason.UNREADABLE, name)
        value = value.get(name, UNSEEN)
    return value


def split_known(value: Any) -> tuple[list[Any], Unknown | None]:
    """A list's known elements, and why there may be more (a `Partial`, or elements that are unknown)."""
    why: Unknown | None = None
    if value.__class__ is Partial:
        value, why = value.items, value.why
    known = []
    for element in value:
        if element.__class__ is Unknown:
            why = why or element
        else:
            known.append(element)
    return known, why


def text(value: Any, limit: int = 200) -> str:
    """A value as people read it, on one line, bounded."""
    if value is None:
        return "(absent)"
    if value is True or value is False:
        return "yes" if value else "no"
    if isinstance(value, Unknown):
        return f"unknown ({value})"
    if isinstance(value, Partial):
        return f"{text(list(value.items), limit)} and perhaps more ({value.why})"
    if isinstance(value, (list, tuple)):
        out = ", ".join(text(v, limit) for v in value[:20]) + (
            f" and {len(value) - 20} more" if len(value) > 20 else ""
        )
        out = out or "(none)"
    elif isinstance(value, dict):
        out = ", ".join(f"{k} {text(v, limit)}" for k, v in value.items())
    else:
        out = str(value)
    return out if len(out) <= limit else f"{out[: limit - 1]}…"
