"""From a raw entry to a record: each field says which attributes it needs, and absence is only believed when seen.

A domain controller leaves out what is not set, what the account may not read and what the schema does not know, all
in the same silence. So: an attribute that the schema lacks makes its fields unknown; an attribute that every such
object has, and that is not shown, may not be read; and an optional one counts as absent only where its `guard`, an
attribute with the same rights that is always there, was shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.facts.ad.directory import Entry
from agent.facts.ad.values import number
from agent.facttypes import FactType, Field, Record
from agent.model import Reason, Unknown


class NotSeen(Exception):
    """A field cannot be filled; `why` says for what reason."""

    def __init__(self, why: Unknown) -> None:
        super().__init__(str(why))
        self.why = why


@dataclass(slots=True)
class Row:
    """One entry with what is needed to believe it. `lacks` names (lower case) attributes the schema does not have."""

    entry: Entry
    lacks: frozenset[str]
    logons_shown: bool = False
    """Whether sign-in data of this object may be read, by what is shown of it or of its neighbours."""
    guids: Mapping[str, str] = field(default_factory=dict)
    """schemaIDGUID of attributes and classes, by lower-case name, of those that the searches name."""
    whole: bool = False
    """The login is an administrator's: what is not shown is not there."""
    _numbers: dict[str, int] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """The decimal number in an attribute that every such object has; read once, as many bits are asked of one.

        Raises `NotSeen`, `ValueError`."""
        found = self._numbers.get(name)
        if found is None:
            found = self._numbers[name] = number(self.must(name))
        return found

    def must(self, name: str) -> bytes:
        """The value of an attribute that every such object has. Raises `NotSeen`."""
        low = name.lower()
        found = self.entry.attributes.get(low)
        if found:
            return found[0]
        raise NotSeen(self._lacking(name) if low in self.lacks else Unknown(Reason.PERMISSION, f"read {name}"))

    def may(self, name: str, guard: str) -> bytes | None:
        """The value of an optional attribute; None when it is known not to be set. Raises `NotSeen`."""
        values = self.all(name, guard)
        return values[0] if values else None

    def all(self, name: str, guard: str) -> Sequence[bytes]:
        """All values of an optional attribute, see `may`."""
        low = name.lower()
        if low in self.lacks:
            raise NotSeen(self._lacking(name))
        found = self.entry.attributes.get(low)
        if found:
            return found
        if guard.lower() not in self.entry.attributes:
            raise NotSeen(Unknown(Reason.PERMISSION, f"read {name}"))
        return ()

    def hidden(self, name: str, rights: str = "") -> Sequence[bytes]:
        """All values of an attribute that ordinary accounts may not read even where they see its neighbours."""
        low = name.lower()
        if low in self.lacks:
            raise NotSeen(self._lacking(name))
        found = self.entry.attributes.get(low)
        if not found and not self.whole:
            raise NotSeen(Unknown(Reason.PERMISSION, rights or f"read {name}"))
        return found or ()

    def _lacking(self, name: str) -> Unknown:
        return Unknown(Reason.NOT_SUPPORTED, f"the directory's schema has no {name}")


Reader = Callable[[Row], Any]


@dataclass(frozen=True, slots=True)
class Take:
    """One field of a record: its declaration, the attributes to ask for, and how it is read from a row."""

    type: FactType
    doc: str
    attributes: tuple[str, ...]
    read: Reader
    may_be_absent: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """What one class of objects becomes."""

    takes: dict[str, Take]
    key: str
    label: str
    probes: tuple[str, ...] = ()
    """Attributes asked for only to learn whether their neighbours may be read."""
    _reads: tuple[tuple[str, Reader], ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_reads", tuple((name, take.read) for name, take in self.takes.items()))

    def record(self) -> Record:
        """The declared type."""
        fields = {n: Field(t.type, t.doc, t.may_be_absent) for n, t in self.takes.items()}
        return Record(fields, self.key, self.label)

    def attributes(self) -> list[str]:
        """Everything to ask for, once each."""
        return list(dict.fromkeys([a for t in self.takes.values() for a in t.attributes] + list(self.probes)))

    def fill(self, row: Row, only: Sequence[str] = ()) -> dict[str, Any]:
        """The record of one row (`only`: these fields of it); fields that cannot be known are `Unknown`."""
        out: dict[str, Any] = {}
        for name, read in self._reads:
            if only and name not in only:
                continue
            try:
                out[name] = read(row)
            except NotSeen as unseen:
                out[name] = unseen.why
            except ValueError:
                out[name] = Unknown(Reason.UNREADABLE, ", ".join(self.takes[name].attributes) or name)
        return out
