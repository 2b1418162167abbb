"""The table of Windows facts: for each, the parts of the collector that it takes and the function that reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.facts.windows.answer import MAX_ITEMS, WORDS, Answer, Missing
from agent.facttypes import FactType, fact
from agent.model import Partial, Reason, Unknown

PLATFORM = "windows"
ADMIN = ("administrator",)
"""The right of whatever a member of Administrators alone may read."""

Read = Callable[[Answer], Any]
ReadKey = Callable[[Answer, str], Any]
Places = tuple[tuple[str, str], ...]
"""Registry values as (path, name); a name of "" asks for the key alone."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How one fact is read. `asks` names the parts; `registry` what of the registry; a keyed fact has `places` or
    `argument`, which turn a key into those, or None when it is no such key."""

    name: str
    asks: tuple[str, ...]
    what: str
    rights: tuple[str, ...]
    registry: Places = ()
    read: Read | None = None
    read_key: ReadKey | None = None
    places: Callable[[str], Places | None] | None = None
    argument: Callable[[str], str | None] | None = None

    def good(self, key: str) -> bool:
        """Whether a key is one of its kind."""
        return (self.places or self.argument or (lambda _: None))(key) is not None


READERS: dict[str, Reader] = {}


def reads(
    name: str,
    ftype: FactType,
    *,
    what: str,
    asks: tuple[str, ...] = (),
    registry: Places = (),
    doc: str = "",
    rights: tuple[str, ...] = (),
    may_be_absent: bool = False,
) -> Callable[[Read], Read]:
    """Declare a plain fact together with the function that reads it from an `Answer`."""

    def declare(function: Read) -> Read:
        fact(name, ftype, PLATFORM, source=what, doc=doc, may_be_absent=may_be_absent, rights=rights)
        READERS[name] = Reader(name, asks, what, rights, registry, read=function)
        for part in asks:
            WORDS.setdefault(part, what)
        return function

    return declare


def reads_keys(
    name: str,
    ftype: FactType,
    *,
    key: str,
    what: str,
    asks: tuple[str, ...] = (),
    doc: str = "",
    rights: tuple[str, ...] = (),
    may_be_absent: bool = False,
    places: Callable[[str], Places | None] | None = None,
    argument: Callable[[str], str | None] | None = None,
) -> Callable[[ReadKey], ReadKey]:
    """Declare a keyed fact, whose function reads one key at a time."""

    def declare(function: ReadKey) -> ReadKey:
        fact(name, ftype, PLATFORM, source=what, doc=doc, key=key, may_be_absent=may_be_absent, rights=rights)
        READERS[name] = Reader(name, asks, what, rights, read_key=function, places=places, argument=argument)
        return function

    return declare


def value(reader: Reader, answer: Answer, key: str | None) -> Any:
    """A fact's value; whatever cannot be read is `Unknown`."""
    try:
        if key is None:
            assert reader.read is not None  # noqa: S101 - for the type checker
            return reader.read(answer)
        assert reader.read_key is not None  # noqa: S101
        if not reader.good(key):
            return Unknown(Reason.NOT_SUPPORTED, f"{key!r} cannot be asked for")
        return reader.read_key(answer, key)
    except Missing as error:
        return error.why
    except (ValueError, IndexError, KeyError, TypeError, AttributeError):
        return Unknown(Reason.UNREADABLE, reader.what)


def listing(part: Mapping[str, Any], read: Callable[[Any], Any], why: Unknown | None = None) -> list[Any] | Partial:
    """The items of a part, each read; `Partial` when the script stopped counting, or for `why`."""
    raw: Sequence[Any] = part["items"]
    if not isinstance(raw, list):
        raise ValueError("no list")
    items = [read(x) for x in raw[:MAX_ITEMS]]
    if part.get("all") is False or len(raw) > MAX_ITEMS:
        why = why or Unknown(Reason.TRUNCATED, f"more than {MAX_ITEMS} items")
    return Partial(tuple(items), why) if why is not None else items


def truth(raw: Any) -> bool | Unknown:
    """A boolean as the machine gave it; anything else is no answer."""
    return raw if isinstance(raw, bool) else Unknown(Reason.UNREADABLE)


def whole(raw: Any) -> int | Unknown:
    """A whole number as the machine gave it."""
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else Unknown(Reason.UNREADABLE)


def moment(raw: Any) -> str | None:
    """A time as the script writes it, or None; ValueError for anything else."""
    if raw is None or raw == "":
        return None
    if isinstance(raw, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", raw):
        return raw
    raise ValueError("no time")
