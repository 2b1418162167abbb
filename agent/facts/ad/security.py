"""Security descriptors: who holds which power over an object, and who owns it. Strict and pure.

Formats are those of MS-DTYP 2.4.4 to 2.4.6; rights and how entries are weighed are those of MS-ADTS 5.1.3. What is
kept is not the list of entries but what it comes to: for each identity the powers that a shape asks about. Those who
hold the domain anyway (`STRONG`) are left out: they are in every list, and no rule is about them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from agent.facts.ad import values as v
from agent.facttypes import BOOL, STR, Enum, Field, ListOf, Record

CREATE, SELF, WRITE_PROPERTY, CONTROL = 0x1, 0x8, 0x20, 0x100
DELETE, DELETE_TREE, READ_CONTROL, WRITE_DAC, WRITE_OWNER = 0x10000, 0x40, 0x20000, 0x40000, 0x80000
GENERIC_ALL, GENERIC_WRITE = 0x10000000, 0x40000000
FULL = 0xF01FF
INHERIT_ONLY, CONTAINER_INHERIT = 0x08, 0x02
_ALLOWS, _DENIES, _OBJECT = frozenset({0, 5, 9, 11}), frozenset({1, 6, 10, 12}), frozenset({5, 6, 11, 12})

ENROL = "0e10c968-78fb-11d2-90d4-00c04f79dc55"
REPLICATE_ALL = "1131f6ad-9c07-11d1-f79f-00c04fc2dcd2"
COMPUTER = "bf967a86-0de6-11d0-a285-00aa003049e2"

EVERYONE, ANONYMOUS, AUTHENTICATED = "S-1-1-0", "S-1-5-7", "S-1-5-11"
# Identities that more or less everybody has (MS-DTYP 2.4.2.4): by whole SID, and by RID within a domain.
_BROAD = frozenset(
    {EVERYONE, ANONYMOUS, AUTHENTICATED, "S-1-5-2", "S-1-5-4", "S-1-5-15", "S-1-5-32-545", "S-1-5-32-546"}
    | {"S-1-5-32-554"}
)
_BROAD_RIDS = frozenset({"513", "514", "515"})
_STRONG = frozenset({"S-1-5-18", "S-1-5-9", "S-1-5-10", "S-1-3-0", "S-1-3-1", "S-1-5-32-544"})
_STRONG_RIDS = frozenset({"512", "516", "518", "519"})
# What Windows itself lets others write in an administrator's account: certificates, and terminal server licences.
_USUAL = frozenset(
    {
        ("517", "bf967a7f-0de6-11d0-a285-00aa003049e2"),
        ("561", "5805bc62-bdc9-4428-a5e2-856a0f4c185e"),
        ("561", "6db69a1c-9422-11d1-aebd-0000f80367c1"),
    }
)

GRANT = Record(
    {
        "sid": Field(STR, "security identifier of who holds the powers"),
        "broad": Field(BOOL, "more or less everybody is it: Everyone, Authenticated Users, Domain Users and the like"),
        "powers": Field(
            ListOf(Enum(("write", "create", "create_managed", "replicate", "enrol", "local_passwords"))),
            "what they may do",
        ),
    },
    "sid",
    "sid",
)


def broad(sid: str) -> bool:
    """Whether more or less everybody carries this identity."""
    return sid in _BROAD or (sid.startswith("S-1-5-21-") and sid.rpartition("-")[2] in _BROAD_RIDS)


def strong(sid: str) -> bool:
    """Whether it holds the domain anyway: administrators, domain controllers, the system, an object's own owner."""
    return sid in _STRONG or (sid.startswith("S-1-5-21-") and sid.rpartition("-")[2] in _STRONG_RIDS)


def administers(sids: Sequence[str]) -> bool:
    """Whether a login with these identities sees everything that there is."""
    return any(s == "S-1-5-32-544" or (s.startswith("S-1-5-21-") and s.endswith(("-512", "-519"))) for s in sids)


@dataclass(frozen=True, slots=True)
class Ace:
    """One entry: `kind` (right or class that it is narrowed to) and `heir` (class below that it is for) are GUIDs."""

    allows: bool
    flags: int
    mask: int
    kind: str
    heir: str
    sid: str


def _sid_at(raw: bytes, place: int) -> str:
    return v.sid(raw[place : place + 8 + 4 * raw[place + 1]])


@lru_cache(maxsize=8192)
def _entries(raw: bytes) -> tuple[Ace, ...]:
    """The entries of an access list that allow or deny, in order. Cached: a directory has few distinct lists."""
    size, count = struct.unpack_from("<HH", raw, 2)
    if size > len(raw):
        raise ValueError("an access list is cut short")
    out, place = [], 8
    for _ in range(count):
        kind, flags, length = struct.unpack_from("<BBH", raw, place)
        if length < 8 or place + length > size:
            raise ValueError("an access entry is cut short")
        if kind in _ALLOWS or kind in _DENIES:
            (mask,) = struct.unpack_from("<I", raw, place + 4)
            at, guids = place + 8, ["", ""]
            if kind in _OBJECT:
                (present,) = struct.unpack_from("<I", raw, at)
                at += 4
                for bit in (0, 1):
                    if present & (1 << bit):
                        guids[bit] = v.guid(raw[at : at + 16])
                        at += 16
            if at + 8 + 4 * raw[at + 1] > place + length:
                raise ValueError("an identity runs past its entry")
            out.append(Ace(kind in _ALLOWS, flags, _specific(mask), guids[0], guids[1], _sid_at(raw, at)))
        place += length
    return tuple(out)


def _specific(mask: int) -> int:
    """Generic rights as what they mean on a directory object (MS-ADTS 5.1.3.2)."""
    if mask & GENERIC_ALL:
        mask |= FULL
    if mask & GENERIC_WRITE:
        mask |= READ_CONTROL | WRITE_PROPERTY | SELF
    return mask


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What was read of a security descriptor. `entries` None: there is no list, and everybody may do everything.

    `owner` is empty where none was sent.
    """

    owner: str
    entries: tuple[Ace, ...] | None


def parse(raw: bytes) -> Descriptor:
    """Raises `ValueError` for anything malformed."""
    return _parse(bytes(raw))


@lru_cache(maxsize=4096)
def _parse(raw: bytes) -> Descriptor:
    try:
        revision, _, control, owner, _, _, dacl = struct.unpack_from("<BBHIIII", raw)
        if revision != 1 or not control & 0x8000:
            raise ValueError("no security descriptor")
        entries = None
        if control & 4 and dacl:
            size = struct.unpack_from("<H", raw, dacl + 2)[0]
            entries = _entries(raw[dacl : dacl + size])
        return Descriptor(_sid_at(raw, owner) if owner else "", entries)
    except (struct.error, IndexError) as problem:
        raise ValueError("a security descriptor is cut short") from problem


@dataclass(frozen=True, slots=True)
class Power:
    """A word, and what earns it: any bit of `mask`, unnarrowed or narrowed to one of `kinds` (None: to anything).

    `below`: it counts when it passes down to what lies below, to objects of the class `heir`; else on the object
    itself, or with `both` in either place.
    """

    word: str
    mask: int
    kinds: frozenset[str] | None = frozenset()
    below: bool = False
    both: bool = False
    heir: str = ""
    spares: frozenset[str] = frozenset()
    """Numbers of a domain's groups (RIDs) that Windows itself gives this power."""


WRITE_MASK = WRITE_PROPERTY | WRITE_DAC | WRITE_OWNER
WRITE = Power("write", WRITE_MASK, None)
WRITE_TREE = Power("write", WRITE_MASK, None, both=True)
CREATE_ANY_KIND = Power("create", CREATE, None)
REPLICATE = Power("replicate", CONTROL, frozenset({REPLICATE_ALL}))
ENROLS = Power("enrol", CONTROL, frozenset({ENROL}))


def create_managed(guids: Mapping[str, str]) -> Power:
    """Making any kind of object, or a delegated managed service account (`guids` by the schema's names)."""
    kind = guids.get("msds-delegatedmanagedserviceaccount")
    # The key groups of Windows Server 2016 own CN=Keys; who is in them is a question of its own.
    return Power("create_managed", CREATE, frozenset({kind} if kind else ()), spares=frozenset({"526", "527"}))


def local_passwords(guids: Mapping[str, str]) -> Power:
    """Reading the local administrator passwords of computers below: confidential, so it takes a control right."""
    names = ("ms-mcs-admpwd", "mslaps-password", "mslaps-encryptedpassword")
    kinds = frozenset(guids[n] for n in names if n in guids)
    return Power("local_passwords", CONTROL, kinds, below=True, heir=guids.get("computer", COMPUTER))


def grants(raw: bytes, powers: Sequence[Power]) -> list[dict[str, Any]]:
    """Who holds which of `powers` → [{sid, broad, powers}], sorted; strong identities are left out.

    Raises `ValueError` for a malformed descriptor.
    """
    entries = parse(raw).entries
    if entries is None:
        return [{"sid": EVERYONE, "broad": True, "powers": sorted({p.word for p in powers})}]
    found: dict[str, set[str]] = {}
    for power in powers:
        for below in (False, True) if power.both else (power.below,):
            for sid in _holders(entries, power, below):
                found.setdefault(sid, set()).add(power.word)
    return [{"sid": s, "broad": broad(s), "powers": sorted(found[s])} for s in sorted(found)]


def _holders(entries: Sequence[Ace], power: Power, below: bool) -> Iterator[str]:
    for place, ace in enumerate(entries):
        if not ace.allows or strong(ace.sid) or not _reaches(ace, below, power.heir):
            continue
        if ace.kind and power.kinds is not None and ace.kind not in power.kinds:
            continue
        if ace.sid.startswith("S-1-5-21-") and ace.sid.rpartition("-")[2] in power.spares:
            continue
        if ace.kind and (ace.sid.rpartition("-")[2], ace.kind) in _USUAL and ace.mask & power.mask == WRITE_PROPERTY:
            continue
        left = ace.mask & power.mask
        for earlier in entries[:place]:
            if not earlier.allows and _covers(earlier, ace, below, power.heir):
                left &= ~earlier.mask
        if left:
            yield ace.sid


def _reaches(ace: Ace, below: bool, heir: str) -> bool:
    """Whether the entry counts on the object itself, or (`below`) on objects of the class `heir` ("": any) under it."""
    if not below:
        return not ace.flags & INHERIT_ONLY
    return bool(ace.flags & CONTAINER_INHERIT) and (not heir or ace.heir in ("", heir))


def _covers(denial: Ace, ace: Ace, below: bool, heir: str) -> bool:
    """Whether a denial that stands before an allowance takes from it: for the same people, right and place."""
    who = denial.sid == ace.sid or denial.sid == EVERYONE
    who = who or (denial.sid == AUTHENTICATED and ace.sid not in (EVERYONE, ANONYMOUS))
    if not who or (denial.kind and denial.kind != ace.kind) or not _reaches(denial, below, heir):
        return False
    return not below or denial.heir in ("", ace.heir)


def deletion_denied(raw: bytes) -> bool:
    """Whether everybody is denied to delete the object and its tree: protection against accidental deletion."""
    denied = 0
    for ace in parse(raw).entries or ():
        if not ace.allows and ace.sid == EVERYONE and not ace.flags & INHERIT_ONLY and not ace.kind:
            denied |= ace.mask
    return bool(denied & DELETE) and bool(denied & DELETE_TREE)


def allowed(raw: bytes) -> list[str]:
    """Everybody whom a descriptor allows anything, sorted: for attributes that hold one, such as who may read a
    managed password. Raises `ValueError` for a malformed one."""
    entries = parse(raw).entries
    return [EVERYONE] if entries is None else sorted({a.sid for a in entries if a.allows and a.mask})
