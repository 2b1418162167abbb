"""Entries of the stand-in directory: distinguished names, values, who may not see them, and how they are loaded."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

DnKey = tuple[str, ...]

_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)  # MS-DTYP 2.3.3: 100 ns steps since then
_PLACEHOLDER = re.compile(r"\{\{(filetime|generalized)(?:([+-])(\d+)([dhm]))?\}\}")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}
_ESCAPE = re.compile(r"\\([0-9A-Fa-f]{2}|.)", re.DOTALL)


@lru_cache(maxsize=65536)
def dn_key(dn: str) -> DnKey:
    """Bring a distinguished name into the form that compares: one `type=value` each, lower case, leaf first.

    Raises ValueError when a part is not of the form `type=value`.
    """
    if not dn.strip():
        return ()
    parts: list[str] = []
    start = position = 0
    while position < len(dn):
        if dn[position] == "\\":
            position += 2
            continue
        if dn[position] in ",;":
            parts.append(dn[start:position])
            start = position + 1
        position += 1
    parts.append(dn[start:])
    key = []
    for part in parts:
        kind, equals, value = part.partition("=")
        if not equals or not kind.strip():
            raise ValueError(f"{dn!r} is not a distinguished name")
        key.append(f"{kind.strip().lower()}={_unescape(value.strip()).casefold()}")
    return tuple(key)


def _unescape(value: str) -> str:
    if "\\" not in value:
        return value
    raw = bytearray()
    last = 0
    for found in _ESCAPE.finditer(value):
        raw += value[last : found.start()].encode()
        raw += bytes.fromhex(found[1]) if len(found[1]) == 2 else found[1].encode()
        last = found.end()
    return (raw + value[last:].encode()).decode("utf-8", "replace")


def is_under(key: DnKey, base: DnKey) -> bool:
    """Whether the name is the base or below it."""
    return len(key) >= len(base) and key[len(key) - len(base) :] == base


def sid_bytes(text: str) -> bytes:
    """The binary form of a SID such as `S-1-5-21-1-2-3-500` (MS-DTYP 2.4.2.2). Raises ValueError on anything else."""
    parts = text.strip().split("-")
    if len(parts) < 3 or parts[0].upper() != "S" or not all(part.isdigit() for part in parts[1:]):
        raise ValueError(f"{text!r} is not a SID")
    revision, authority, *subs = (int(part) for part in parts[1:])
    try:
        return struct.pack(f"<BB6s{len(subs)}I", revision, len(subs), authority.to_bytes(6, "big"), *subs)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{text!r} is not a SID") from error


def filetime(moment: datetime) -> str:
    """A moment as Windows counts it: 100 ns steps since 1601, in decimal digits."""
    gone = moment - _FILETIME_EPOCH
    return str((gone.days * 86400 + gone.seconds) * 10**7)


def generalized(moment: datetime) -> str:
    """A moment as generalized time the way Active Directory writes it, such as `20260101120000.0Z`."""
    return moment.astimezone(UTC).strftime("%Y%m%d%H%M%S.0Z")


@dataclass(frozen=True, slots=True)
class Entry:
    """One object: its name, its attributes (as written, values as bytes), and the accounts that may not see it.

    `hidden_from` holds account names in lower case (`*`: nobody sees it); `hidden_attributes` the same for single
    attributes, by lower-case attribute name (`*`: all of them, which leaves the bare name).
    """

    dn: str
    attributes: Mapping[str, tuple[bytes, ...]]
    hidden_from: frozenset[str] = frozenset()
    hidden_attributes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    key: DnKey = field(init=False)
    index: Mapping[str, tuple[str, tuple[bytes, ...]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        index = {name.lower(): (name, tuple(values)) for name, values in self.attributes.items() if values}
        if self.dn:
            index.setdefault("distinguishedname", ("distinguishedName", (self.dn.encode(),)))
        object.__setattr__(self, "key", dn_key(self.dn))
        object.__setattr__(self, "index", index)

    def values(self, name: str) -> tuple[bytes, ...]:
        """The values of an attribute, whoever asks; empty when there are none."""
        found = self.index.get(name.lower())
        return found[1] if found else ()

    def text(self, name: str) -> str | None:
        """The first value of an attribute as text, or None."""
        values = self.values(name)
        return values[0].decode("utf-8", "replace") if values else None

    def visible_to(self, account: str) -> bool:
        """Whether the account (lower case) may see that the entry exists."""
        return account not in self.hidden_from and "*" not in self.hidden_from

    def readable(self, name: str, account: str) -> bool:
        """Whether the account (lower case) may read the attribute."""
        for which in (name.lower(), "*"):
            hidden = self.hidden_attributes.get(which, frozenset())
            if account in hidden or "*" in hidden:
                return False
        return True


def make_entry(
    dn: str,
    attributes: Mapping[str, str | bytes | Sequence[str | bytes]],
    *,
    now: datetime,
    hidden_from: Iterable[str] = (),
    hidden_attributes: Mapping[str, Iterable[str]] | None = None,
) -> Entry:
    """Build an entry; text values may be `base64:…` or hold `{{filetime-93d}}` and `{{generalized-93d}}`.

    Units are d, h and m; times are relative to `now`. Raises ValueError when the name or a value cannot be read.
    """
    ready = {
        name: tuple(_value(value, now) for value in ([values] if isinstance(values, str | bytes) else values))
        for name, values in attributes.items()
    }
    hidden = {
        name.lower(): frozenset(who.lower() for who in names) for name, names in (hidden_attributes or {}).items()
    }
    return Entry(dn, ready, frozenset(who.lower() for who in hidden_from), hidden)


def load_entries(documents: Iterable[Mapping[str, Any]], now: datetime | None = None) -> list[Entry]:
    """Read entries from JSON objects `{"dn": …, "attributes": {name: [values]}}`.

    Optional keys: `hidden_from` (list of account names) and `hidden_attributes` (attribute to list of account names).
    Raises ValueError naming the entry that cannot be read.
    """
    moment = now or datetime.now(UTC)
    entries = []
    for number, document in enumerate(documents):
        try:
            entries.append(
                make_entry(
                    document["dn"],
                    document["attributes"],
                    now=moment,
                    hidden_from=document.get("hidden_from", ()),
                    hidden_attributes=document.get("hidden_attributes"),
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"directory entry {number} ({document.get('dn')!r}) cannot be read: {error}") from error
    return entries


def _value(value: str | bytes, now: datetime) -> bytes:
    if isinstance(value, bytes):
        return value
    if value.startswith("base64:"):
        try:
            return base64.b64decode(value.removeprefix("base64:"), validate=True)
        except binascii.Error as error:
            raise ValueError(f"{value[:40]!r} is not base64") from error

    def fill(found: re.Match[str]) -> str:
        moment = now
        if found[2]:
            shift = timedelta(**{_UNITS[found[4]]: int(found[3])})
            moment = now + shift if found[2] == "+" else now - shift
        return filetime(moment) if found[1] == "filetime" else generalized(moment)

    return _PLACEHOLDER.sub(fill, value).encode()
