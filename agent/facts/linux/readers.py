"""The table of Linux facts: for each, the sections of the collector that it takes and the function that reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.facts.linux.answer import MAX_ITEMS, Answer, Missing
from agent.facttypes import FactType, fact
from agent.model import Partial, Reason, Unknown

PLATFORM = "linux"

Read = Callable[[Answer], Any]
ReadKeys = Callable[[Answer, Sequence[str]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Reader:
    """How one fact is read. `asks` names the sections; for a keyed fact the first takes `argument(key)`."""

    name: str
    asks: tuple[str, ...]
    what: str
    rights: tuple[str, ...]
    read: Read | None = None
    read_keys: ReadKeys | None = None
    argument: Callable[[str], str | None] | None = None


READERS: dict[str, Reader] = {}


def reads(
    name: str,
    ftype: FactType,
    *,
    asks: tuple[str, ...],
    what: str,
    doc: str = "",
    rights: tuple[str, ...] = (),
    may_be_absent: bool = False,
) -> Callable[[Read], Read]:
    """Declare a plain fact together with the function that reads it from an `Answer`."""

    def declare(function: Read) -> Read:
        fact(name, ftype, PLATFORM, source=what, doc=doc, may_be_absent=may_be_absent, rights=rights)
        READERS[name] = Reader(name, asks, what, rights, read=function)
        return function

    return declare


def reads_keys(
    name: str,
    ftype: FactType,
    *,
    key: str,
    asks: tuple[str, ...],
    what: str,
    doc: str = "",
    rights: tuple[str, ...] = (),
    may_be_absent: bool = False,
    argument: Callable[[str], str | None],
) -> Callable[[ReadKeys], ReadKeys]:
    """Declare a keyed fact. `argument` turns a key into the section's argument, or None when it is no such key."""

    def declare(function: ReadKeys) -> ReadKeys:
        fact(name, ftype, PLATFORM, source=what, doc=doc, key=key, may_be_absent=may_be_absent, rights=rights)
        READERS[name] = Reader(name, asks, what, rights, read_keys=function, argument=argument)
        return function

    return declare


def value(reader: Reader, answer: Answer) -> Any:
    """A plain fact's value; whatever cannot be read is `Unknown`."""
    assert reader.read is not None  # noqa: S101 - for the type checker
    try:
        return reader.read(answer)
    except Missing as error:
        return error.why
    except (ValueError, IndexError, KeyError):
        return Unknown(Reason.UNREADABLE, reader.what)


def values(reader: Reader, answer: Answer, keys: Sequence[str]) -> dict[str, Any]:
    """Values of a keyed fact by key; a key that is none of its kind is unknown, saying so."""
    assert reader.read_keys is not None  # noqa: S101 - for the type checker
    assert reader.argument is not None  # noqa: S101
    good = [k for k in keys if reader.argument(k) is not None]
    out: dict[str, Any] = {k: Unknown(Reason.NOT_SUPPORTED, f"{k!r} cannot be asked for") for k in keys}
    try:
        found: Mapping[str, Any] = reader.read_keys(answer, good) if good else {}
    except Missing as error:
        found = dict.fromkeys(good, error.why)
    except (ValueError, IndexError, KeyError):
        found = dict.fromkeys(good, Unknown(Reason.UNREADABLE, reader.what))
    return out | dict(found)


def listing(items: Sequence[Any], why: Unknown | None = None) -> list[Any] | Partial:
    """A list fact: whole, or `Partial` for `why` or because it is longer than anybody can mean."""
    if len(items) > MAX_ITEMS:
        return Partial(tuple(items[:MAX_ITEMS]), why or Unknown(Reason.TRUNCATED, f"more than {MAX_ITEMS} items"))
    return Partial(tuple(items), why) if why is not None else list(items)


def numbered(lines: Sequence[str], count: int) -> dict[int, list[str]]:
    """Lines `N state rest` by N; a number that is out of range or comes twice raises ValueError."""
    found: dict[int, list[str]] = {}
    for line in lines:
        words = line.split(" ", 2)
        if not words[0].isdecimal() or len(words) < 2:
            continue
        number = int(words[0])
        if number >= count or number in found:
            raise ValueError("numbers do not fit")
        found[number] = words[1:]
    return found
