"""LDAP search filters, three-valued as RFC 4511 section 4.5.1.7 and MS-ADTS 3.1.1.3.1.3 have them.

True, False, or None for Undefined: the schema does not know the attribute, the reader may not see it, or the value
asked for does not fit the attribute's syntax. An entry is returned on True only, so a negated Undefined finds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from agent.demo.ldap_entry import dn_key, sid_bytes
from agent.demo.ldap_schema import Schema, Syntax

BIT_AND = "1.2.840.113556.1.4.803"
BIT_OR = "1.2.840.113556.1.4.804"

# Octet strings that hold SIDs: Active Directory lets a filter name them as text.
_SID_ATTRIBUTES = frozenset({"objectsid", "sidhistory", "tokengroups", "securityidentifier", "ms-ds-creatorsid"})
_TIME = re.compile(r"^(\d{14})(?:\.\d+)?Z$")
# `user` and `inetOrgPerson` have Person as their default category; the other classes have their own name.
_CATEGORY_OF_CLASS = {"user": "person", "inetorgperson": "person", "contact": "person"}


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold; no parts: true (RFC 4526)."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds; no parts: false (RFC 4526)."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Filter


@dataclass(frozen=True, slots=True)
class Compare:
    """Equality, ordering or likeness with one value. Active Directory treats likeness as equality."""

    kind: Literal["=", ">=", "<=", "~="]
    attribute: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Present:
    """The attribute has a value."""

    attribute: str


@dataclass(frozen=True, slots=True)
class Substrings:
    """The pieces occur in this order, the first at the start and the last at the end (empty: anywhere)."""

    attribute: str
    initial: bytes
    middle: tuple[bytes, ...]
    final: bytes


@dataclass(frozen=True, slots=True)
class Extensible:
    """A named matching rule; without a rule, equality."""

    rule: str | None
    attribute: str | None
    value: bytes


Filter = And | Or | Not | Compare | Present | Substrings | Extensible
Lookup = Callable[[str], Sequence[bytes] | None]
Comparable = int | str | bytes | tuple[str, ...]


def matches(wanted: Filter, lookup: Lookup, schema: Schema) -> bool | None:
    """Whether an entry fits.

    `lookup` gives an attribute's values by its lower-case name: empty if absent, None if they may not be read.
    """
    match wanted:
        case And(parts):
            return _all(matches(part, lookup, schema) for part in parts)
        case Or(parts):
            return _any(matches(part, lookup, schema) for part in parts)
        case Not(part):
            inner = matches(part, lookup, schema)
            return None if inner is None else not inner
        case Present(attribute):
            known = schema.attribute(attribute)
            values = lookup(known.name.lower()) if known else None
            return None if values is None else bool(values)
        case Compare(kind, attribute, value):
            return _compare(kind, attribute, value, lookup, schema)
        case Substrings():
            return _substrings(wanted, lookup, schema)
        case Extensible(rule, attribute, value):
            return _extensible(rule, attribute, value, lookup, schema)


def _all(results: Iterable[bool | None]) -> bool | None:
    outcome: bool | None = True
    for result in results:
        if result is False:
            return False
        if result is None:
            outcome = None
    return outcome


def _any(results: Iterable[bool | None]) -> bool | None:
    outcome: bool | None = False
    for result in results:
        if result is True:
            return True
        if result is None:
            outcome = None
    return outcome


def comparable(syntax: Syntax, attribute: str, value: bytes) -> Comparable | None:
    """The value in the form in which its syntax compares; None when it is not a value of that syntax."""
    if syntax is Syntax.OCTETS:
        if attribute in _SID_ATTRIBUTES and value[:2].upper() == b"S-":
            try:
                return sid_bytes(value.decode("ascii"))
            except (ValueError, UnicodeDecodeError):
                return None
        return value
    if syntax is Syntax.OPAQUE:
        return None
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return None
    match syntax:
        case Syntax.INTEGER:
            return _integer(text)
        case Syntax.BOOLEAN:
            return text.upper() if text.upper() in ("TRUE", "FALSE") else None
        case Syntax.TIME:
            found = _TIME.match(text)
            return found[1] if found else None
        case Syntax.DN:
            try:
                return dn_key(text) or None
            except ValueError:
                return None
        case Syntax.EXACT:
            return text
        case _:
            return text.casefold()


def _integer(text: str) -> int | None:
    try:
        return int(text.strip())
    except ValueError:
        return None


def _compare(
    kind: Literal["=", ">=", "<=", "~="], attribute: str, value: bytes, lookup: Lookup, schema: Schema
) -> bool | None:
    known = schema.attribute(attribute)
    values = lookup(known.name.lower()) if known else None
    if known is None or values is None:
        return None
    name = known.name.lower()
    if name == "objectcategory" and b"=" not in value and kind in ("=", "~="):
        return _category(value, values)
    asked = comparable(known.syntax, name, value)
    if asked is None:
        return None
    if kind in (">=", "<=") and known.syntax in (Syntax.DN, Syntax.BOOLEAN):
        return None
    for held in values:
        have = comparable(known.syntax, name, held)
        if have is None:
            continue
        if kind in ("=", "~="):
            if have == asked:
                return True
        elif (have >= asked) if kind == ">=" else (have <= asked):  # type: ignore[operator]
            return True  # one syntax gives one type, so the two always compare
    return False


def _category(value: bytes, values: Sequence[bytes]) -> bool:
    """`(objectCategory=person)`: a class name stands for the category object of that class (MS-ADTS 3.1.1.3.1.3)."""
    asked = value.decode("utf-8", "replace").casefold()
    asked = _CATEGORY_OF_CLASS.get(asked, asked).replace("-", "")
    for held in values:
        leaf = dn_key(held.decode("utf-8", "replace"))[0]
        if leaf.partition("=")[2].replace("-", "") == asked:
            return True
    return False


def _substrings(wanted: Substrings, lookup: Lookup, schema: Schema) -> bool | None:
    known = schema.attribute(wanted.attribute)
    values = lookup(known.name.lower()) if known else None
    if known is None or values is None or known.syntax not in (Syntax.STRING, Syntax.EXACT, Syntax.OCTETS):
        return None  # numbers, times and names have no substrings rule

    fold = known.syntax is Syntax.STRING

    def form(value: bytes) -> bytes:
        return value.decode("utf-8", "replace").casefold().encode() if fold else value

    pieces = [form(piece) for piece in wanted.middle]
    return any(_pieces_fit(form(held), form(wanted.initial), pieces, form(wanted.final)) for held in values)


def _pieces_fit(held: bytes, initial: bytes, middle: Sequence[bytes], final: bytes) -> bool:
    if not held.startswith(initial):
        return False
    position = len(initial)
    for piece in middle:
        found = held.find(piece, position)
        if found < 0:
            return False
        position = found + len(piece)
    return held.endswith(final) and len(held) - len(final) >= position


def _extensible(rule: str | None, attribute: str | None, value: bytes, lookup: Lookup, schema: Schema) -> bool | None:
    if attribute is None:
        return None  # Active Directory does not search all attributes
    if rule is None:
        return _compare("=", attribute, value, lookup, schema)
    known = schema.attribute(attribute)
    values = lookup(known.name.lower()) if known else None
    if known is None or values is None or known.syntax is not Syntax.INTEGER or rule not in (BIT_AND, BIT_OR):
        return None
    mask = comparable(Syntax.INTEGER, "", value)
    if not isinstance(mask, int):
        return None
    numbers = [number for held in values if isinstance(number := comparable(Syntax.INTEGER, "", held), int)]
    if rule == BIT_AND:
        return any(number & mask == mask for number in numbers)
    return any(number & mask for number in numbers)
