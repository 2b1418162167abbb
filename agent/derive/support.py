"""Until when an operating system gets security updates. The dated table is handed in: this module reads no file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.model import Reason, Unknown

Table = Mapping[str, Mapping[str, Any]]
Programs = Sequence[tuple[re.Pattern[str], re.Pattern[str] | None, str]]
"""Rules in order: a pattern for a program's name, one for its version (None: any), the last day."""


class _Source:
    provider: Callable[[], Table] | None = None
    programs: Callable[[], Programs] | None = None


def provide(provider: Callable[[], Table]) -> None:
    """Say where the table comes from: a function that returns systems by os-release ID. Called once, at import."""
    _Source.provider = provider


def provide_programs(provider: Callable[[], Programs]) -> None:
    """Say where the rules for programs come from. Called once, at import."""
    _Source.programs = provider


def program_ends(name: str, version: str) -> str | None:
    """Last moment of security updates (ISO 8601, UTC) of a program; None where the rules know none."""
    for names, versions, last in _Source.programs() if _Source.programs is not None else ():
        if names.search(name) and (versions is None or versions.search(version)):
            return f"{last}T23:59:59Z"
    return None


def extended(system: str, version: str) -> dict[int, str]:
    """Last moments of a vendor's paid programme that is bought year by year, by year; empty where there is none."""
    entry = _Source.provider().get(system) if _Source.provider is not None else None
    found = ((entry or {}).get("releases") or {}).get(version) or {}
    return {int(year): f"{last}T23:59:59Z" for year, last in (found.get("extended_years") or {}).items()}


def ends(system: str, version: str | None, *, extended: bool = False) -> str | Unknown | None:
    """Last moment of security updates (ISO 8601, UTC): None for releases without an end, Unknown where nobody knows.

    `system` and `version` are os-release's ID and VERSION_ID. `extended`: the vendor's paid programme is on.
    """
    entry = _Source.provider().get(system) if _Source.provider is not None else None
    if entry is None:
        return Unknown(Reason.NOT_SUPPORTED, f"{system} is not in the table of support dates")
    if entry.get("rolling") or (version is None and entry.get("rolling_without_version")):
        return None
    release = (version or "").partition(".")[0] if entry.get("by_major") else (version or "")
    found = (entry.get("releases") or {}).get(release)
    if found is None:
        named = f"{system} {version or 'without a version'}"
        return Unknown(Reason.NOT_SUPPORTED, f"{named} is not in the table of support dates")
    last = found.get("extended", found["ends"]) if extended else found["ends"]
    return f"{last}T23:59:59Z"
