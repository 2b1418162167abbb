"""Types of facts: what a reading holds, so that a control which names a wrong field or operator does not load.

A fact is declared once, by the module in `facts/` or `derive/` that fills it:

    fact("sshd", Record({"permitrootlogin": Field(STR, "effective value")}), "linux", source="sshd -T")
    fact("package", Record({"version": Field(Version("dpkg"))}), "linux", key="package name", may_be_absent=True)

Absence is part of the type: a control that reads what may be absent must say what absent means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from agent.errors import SpiritlevelError


class FactError(SpiritlevelError):
    """A reference to a fact, field or key that does not exist, or a declaration that clashes."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """`name`: str, int, float, bool, time (ISO 8601 string, UTC), mode (octal string such as '0640')."""

    name: str


STR, INT, FLOAT, BOOL, TIME, MODE = (Scalar(n) for n in ("str", "int", "float", "bool", "time", "mode"))


@dataclass(frozen=True, slots=True)
class Enum:
    """A string out of a known set. `closed=False` where the other side may add members."""

    members: tuple[str, ...]
    closed: bool = True


@dataclass(frozen=True, slots=True)
class Version:
    """A version string. `scheme`: `dpkg`, `rpm`, `dotted` (numbers between dots) or `switch`."""

    scheme: str


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record. `volatile` values (uptime, counters) never enter a finding's digest."""

    type: FactType
    doc: str = ""
    may_be_absent: bool = False
    volatile: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """Named fields. `key` and `label` name the fields that identify a record as an offender."""

    fields: Mapping[str, Field]
    key: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list. `claims` names the rule in `agent/claims.py` that says which school an item belongs to:
    `dn` (directory object, field `dn`), `user`, `group`, `device` (tenant objects); empty: the whole trust's.
    """

    item: FactType
    claims: str = ""


FactType = Scalar | Enum | Version | Record | ListOf


@dataclass(frozen=True, slots=True)
class FactSpec:
    """One declared fact.

    `key` is the word for what stands in brackets, empty for a plain fact. `source` says how it is read, in the
    words of the platform (a command, a search, a request). `rights` are what reading takes beyond an ordinary
    account. `derive`, for derived facts only, computes the value.
    """

    name: str
    type: FactType
    platform: str
    source: str = ""
    doc: str = ""
    key: str = ""
    may_be_absent: bool = False
    rights: tuple[str, ...] = ()
    derive: Derived | None = None


@dataclass(frozen=True, slots=True)
class Derived:
    """How a derived fact is computed: `compute(view)` is pure; `reads` are fact names, `parameters` are names
    of parameters it uses; `clock` says that it uses `as_of`; `schools` that it uses the list of schools."""

    compute: Callable[[Any], Any]
    reads: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    clock: bool = False
    schools: bool = False
    optional: tuple[str, ...] = ()
    """Those of `reads` that may be wholly unknown: `compute` runs all the same and weighs that itself."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A resolved reference `name[key].field.field`: what to fetch (`fact`) and the way into it (`path`)."""

    spec: FactSpec
    fact: str
    key: str
    path: tuple[str, ...]
    type: FactType
    may_be_absent: bool
    volatile: bool
    owner: Record | None
    """The record that directly holds the last field, if it names offenders itself."""
    owner_path: tuple[str, ...] = ()


@dataclass(slots=True)
class Registry:
    """All declared facts of all platforms. Names are unique within a platform."""

    specs: dict[tuple[str, str], FactSpec] = field(default_factory=dict)

    def add(self, spec: FactSpec) -> FactSpec:
        """Declare a fact. Raises `FactError` when the platform has one of that name."""
        if (spec.platform, spec.name) in self.specs:
            raise FactError(f"fact {spec.name} is declared twice for {spec.platform}.")
        self.specs[spec.platform, spec.name] = spec
        return spec

    def names(self, platform: str) -> list[str]:
        """Fact names of a platform, sorted."""
        return sorted(n for p, n in self.specs if p == platform)

    def platforms(self) -> list[str]:
        """Platforms that have facts, sorted."""
        return sorted({p for p, _ in self.specs})

    def resolve(self, platform: str, text: str) -> Ref:
        """Resolve a reference as a control writes it. Raises `FactError` with the nearest name."""
        base, key, rest = split_reference(text)
        spec = None
        if key is None:
            parts = base.split(".")
            for n in range(len(parts), 0, -1):
                spec = self.specs.get((platform, ".".join(parts[:n])))
                if spec is not None:
                    rest = tuple(parts[n:])
                    break
        else:
            spec = self.specs.get((platform, base))
        if spec is None:
            raise FactError(f"there is no fact {base!r} for platform {platform}.", _nearest(base, self.names(platform)))
        if spec.key and key is None:
            raise FactError(f"fact {spec.name} needs a {spec.key} in brackets: {spec.name}[…].")
        if key is not None and not spec.key:
            raise FactError(f"fact {spec.name} takes no key in brackets.")
        name = f"{spec.name}[{key}]" if key is not None else spec.name
        ftype, absent, volatile, owner, owner_path = walk(spec.type, rest, text)
        return Ref(spec, name, key or "", rest, ftype, absent or spec.may_be_absent, volatile, owner, owner_path)

    def spec_of(self, platform: str, fact: str) -> FactSpec:
        """The declaration behind a collected name such as `sysctl[net.ipv4.ip_forward]`."""
        base = fact.split("[", 1)[0]
        spec = self.specs.get((platform, base))
        if spec is None:
            raise FactError(f"there is no fact {base!r} for platform {platform}.", _nearest(base, self.names(platform)))
        return spec


def walk(
    ftype: FactType, path: Iterable[str], text: str
) -> tuple[FactType, bool, bool, Record | None, tuple[str, ...]]:
    """Follow field names into a type → (type, may be absent, volatile, labelled record around it, its path)."""
    absent = volatile = False
    owner: Record | None = None
    owner_path: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    for name in path:
        if not isinstance(ftype, Record):
            raise FactError(f"{text}: there is no field {name!r} here.")
        if name not in ftype.fields:
            raise FactError(f"{text}: there is no field {name!r} here.", _nearest(name, list(ftype.fields)))
        if ftype.label:
            owner, owner_path = ftype, seen
        item = ftype.fields[name]
        ftype, absent, volatile = item.type, absent or item.may_be_absent, volatile or item.volatile
        seen = (*seen, name)
    return ftype, absent, volatile, owner, owner_path


_KEYED = re.compile(r"^([a-z0-9_.]+)\[(.*)\]((?:\.[A-Za-z0-9_]+)*)$", re.DOTALL)
_PLAIN = re.compile(r"^[a-z0-9_]+(\.[A-Za-z0-9_]+)*$")


def split_reference(text: str) -> tuple[str, str | None, tuple[str, ...]]:
    """`name[key].field` → (name, key, fields); a plain name stays whole, as names may hold dots."""
    if match := _KEYED.match(text):
        return match[1], match[2], tuple(match[3].split(".")[1:])
    if not _PLAIN.match(text):
        raise FactError(f"{text!r} is not a fact: write name.field or name[key].field.")
    return text, None, ()


def grouped(wanted: Iterable[str]) -> dict[str, list[str]]:
    """Fact names by what stands before their brackets, with the keys asked for; in the order wanted, each key once.

    Raises `FactError` for what is no name of a fact.
    """
    groups: dict[str, list[str]] = {}
    for name in wanted:
        base, key, _ = split_reference(name)
        keys = groups.setdefault(base, [])
        if key is not None and key not in keys:
            keys.append(key)
    return groups


def _nearest(word: str, words: list[str]) -> str:
    close = get_close_matches(word, words, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else ""


REGISTRY = Registry()
"""The one registry, filled by importing `agent.facts` and `agent.derive`. Append-only after import."""


def fact(
    name: str,
    ftype: FactType,
    platform: str,
    *,
    source: str = "",
    doc: str = "",
    key: str = "",
    may_be_absent: bool = False,
    rights: tuple[str, ...] = (),
) -> FactSpec:
    """Declare a raw fact in the one registry. `key` (a word such as "package name") makes it a keyed fact."""
    return REGISTRY.add(FactSpec(name, ftype, platform, source, doc, key, may_be_absent, rights))


def derived(
    name: str,
    ftype: FactType,
    platform: str,
    *,
    reads: tuple[str, ...],
    parameters: tuple[str, ...] = (),
    clock: bool = False,
    schools: bool = False,
    doc: str = "",
    may_be_absent: bool = False,
    optional: tuple[str, ...] = (),
) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Decorator that declares a derived fact: `compute(view)` gets an `agent.derive.View`."""

    def declare(compute: Callable[[Any], Any]) -> Callable[[Any], Any]:
        spec = FactSpec(
            name,
            ftype,
            platform,
            "derived",
            doc or (compute.__doc__ or "").strip(),
            "",
            may_be_absent,
            (),
            Derived(compute, reads, parameters, clock, schools, optional),
        )
        REGISTRY.add(spec)
        return compute

    return declare
