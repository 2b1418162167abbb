"""Active Directory's ways of writing values, read strictly: anything odd raises `ValueError`. Pure."""

from __future__ import annotations

import re
import struct
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
NEVER = 0x7FFFFFFFFFFFFFFF
"""Both ends of a 64-bit number mean "never" or "no limit" where times and spans are kept (MS-ADTS 2.2.x, MS-SAMR)."""

CALENDAR = int((datetime.max.replace(tzinfo=UTC) - _EPOCH).total_seconds()) * 10_000_000
"""The last moment that has a date. Some tools write later ones for "never"."""

EVERYONE = "S-1-1-0"
DELETE, DELETE_TREE, INHERIT_ONLY, DENY = 0x10000, 0x40, 0x08, 1


def number(raw: bytes) -> int:
    """A decimal number."""
    if not 0 < len(raw) < 21:
        raise ValueError("no number")
    return int(raw)


def text(raw: bytes) -> str:
    """A string; bytes that are no UTF-8 raise `ValueError`, as a half-read name is not a name."""
    return raw.decode("utf-8")


def truth(raw: bytes) -> bool:
    """LDAP's TRUE and FALSE."""
    if raw not in (b"TRUE", b"FALSE"):
        raise ValueError("neither TRUE nor FALSE")
    return raw == b"TRUE"


def filetime(raw: bytes) -> str | None:
    """100 ns steps since 1601 → ISO 8601, UTC. None for 0 and for the largest number: never."""
    steps = number(raw)
    if steps in (0, NEVER):
        return None
    if steps < 0:
        raise ValueError("a time before 1601")
    day, second = divmod(steps // 10_000_000, 86400)
    return f"{_day(day)}{_MINUTES[second // 60]}{_SECONDS[second % 60]}"


@lru_cache(maxsize=8192)
def _day(number: int) -> str:
    """Days since 1601 → `2026-11-24T`."""
    try:
        return f"{(_EPOCH + timedelta(days=number)).date().isoformat()}T"
    except OverflowError:
        raise ValueError("a time that no calendar holds") from None


# A directory holds three times for each of 60,000 objects: putting them together from parts takes a third of the time.
_MINUTES = [f"{hour:02}:{minute:02}:" for hour in range(24) for minute in range(60)]
_SECONDS = [f"{second:02}Z" for second in range(60)]


def generalized(raw: bytes) -> str:
    """`20261124015140.0Z` → ISO 8601, UTC."""
    match = _GENERALIZED.fullmatch(raw)
    if not match:
        raise ValueError("no generalized time")
    year, month, day, hour, minute, second = map(int, match.groups())
    return f"{datetime(year, month, day, hour, minute, second).isoformat()}Z"


_GENERALIZED = re.compile(rb"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:\.\d+)?Z")


def minutes(raw: bytes) -> float | None:
    """A span, kept as a negative count of 100 ns → minutes. None for 0 and for the whole range: until somebody acts."""
    steps = number(raw)
    if steps in (0, -NEVER - 1):
        return None
    if steps > 0:
        raise ValueError("a span that is not negative")
    value = -steps / 600_000_000
    return int(value) if value == int(value) else value


def days(raw: bytes) -> float | None:
    """A span as days, see `minutes`."""
    value = minutes(raw)
    if value is None:
        return None
    value /= 1440
    return int(value) if value == int(value) else value


def sid(raw: bytes) -> str:
    """A binary SID → `S-1-5-…` (MS-DTYP 2.4.2.2)."""
    size = len(raw)
    if size < 8 or raw[0] != 1 or size != 8 + 4 * raw[1]:
        raise ValueError("no SID")
    if size == 8:
        return _authority(raw)
    return f"{_authority(raw[:-4])}-{int.from_bytes(raw[-4:], 'little')}"


@lru_cache(maxsize=1024)
def _authority(raw: bytes) -> str:
    """A SID without its last part, which a domain's accounts share; its count of parts is not looked at."""
    parts = struct.unpack_from(f"<{(len(raw) - 8) // 4}I", raw, 8)
    return "-".join(["S-1", str(int.from_bytes(raw[2:8], "big")), *map(str, parts)])


def rid(raw: bytes) -> int:
    """The last part of a SID: 500 is the built-in administrator whatever it is called."""
    if len(raw) < 12 or raw[0] != 1 or len(raw) != 8 + 4 * raw[1]:
        raise ValueError("no SID with a last part")
    return int.from_bytes(raw[-4:], "little")


def guid(raw: bytes) -> str:
    """A binary GUID in its usual spelling (MS-DTYP 2.3.4.2)."""
    if len(raw) != 16:
        raise ValueError("no GUID")
    a, b, c = struct.unpack_from("<IHH", raw)
    return f"{a:08x}-{b:04x}-{c:04x}-{raw[8:10].hex()}-{raw[10:].hex()}"


def deletion_denied(raw: bytes) -> bool:
    """Whether a security descriptor denies everyone to delete the object and its tree (MS-DTYP 2.4.6, 2.4.4).

    Only an entry that applies to the object itself counts. Raises `ValueError` for anything malformed.
    """
    try:
        if raw[0] != 1:
            raise ValueError("no security descriptor")
        control, offset = struct.unpack_from("<H", raw, 2)[0], struct.unpack_from("<I", raw, 16)[0]
        if not control & 4 or not offset:
            return False  # no DACL: nothing is denied
        size, count = struct.unpack_from("<HH", raw, offset + 2)
        place, denied = offset + 8, 0
        for _ in range(count):
            kind, flags, length = struct.unpack_from("<BBH", raw, place)
            if length < 8 or place + length > offset + size or offset + size > len(raw):
                raise ValueError("an access entry is cut short")
            if kind == DENY and not flags & INHERIT_ONLY and sid(bytes(raw[place + 8 : place + length])) == EVERYONE:
                denied |= struct.unpack_from("<I", raw, place + 4)[0]
            place += length
    except (struct.error, IndexError) as problem:
        raise ValueError("a security descriptor is cut short") from problem
    return bool(denied & DELETE) and bool(denied & DELETE_TREE)


_LINK = re.compile(r"\[LDAP://([^;\]]+);(\d+)\]", re.IGNORECASE)


def gpo_links(raw: bytes) -> list[dict[str, object]]:
    """`gPLink` → [{gpo, enabled, enforced}], in order (MS-GPOL 2.2.2: 1 switches a link off, 2 enforces it)."""
    whole = text(raw).strip()
    if re.sub(_LINK, "", whole).strip():
        raise ValueError("a link that cannot be read")
    return [{"gpo": dn, "enabled": not int(n) & 1, "enforced": bool(int(n) & 2)} for dn, n in _LINK.findall(whole)]
