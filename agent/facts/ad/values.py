"""Active Directory's ways of writing values, read strictly: anything odd raises `ValueError`. Pure."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
NEVER = 0x7FFFFFFFFFFFFFFF
"""Both ends of a 64-bit number mean "never" or "no limit" where times and spans are kept (MS-ADTS 2.2.x, MS-SAMR)."""

CALENDAR = int((datetime.max.replace(tzinfo=UTC) - _EPOCH).total_seconds()) * 10_000_000
"""The last moment that has a date. Some tools write later ones for "never"."""


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


@lru_cache(maxsize=8192)
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


def changed(raw: bytes, attribute: int) -> str | None:
    """When an attribute was last written, by replPropertyMetaData (MS-DRSR 5.165); None when it never was.

    Entries of 48 bytes behind a head of 16: the attribute's number, a version, and the time in seconds since 1601.
    """
    version, _, count, _ = _unpack("<IIII", raw, 0)
    if version != 1 or len(raw) < 16 + 48 * count:
        raise ValueError("no replication data")
    for n in range(count):
        kind, _, seconds = _unpack("<IIQ", raw, 16 + 48 * n)
        if kind == attribute:
            return filetime(str(seconds * 10_000_000).encode())
    return None


def zone_properties(raws: Sequence[bytes]) -> dict[int, bytes]:
    """`dNSProperty` of a zone → data by number (MS-DNSP 2.3.2.1). An empty value is kept as empty."""
    out = {}
    for raw in raws:
        length, number_ = _unpack("<I", raw, 0)[0], _unpack("<I", raw, 16)[0]
        if len(raw) < 20 + length:
            raise ValueError("a property of a zone is cut short")
        out[number_] = raw[20 : 20 + length]
    return out


def _unpack(form: str, raw: bytes, place: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(form, raw, place)
    except struct.error as problem:
        raise ValueError("a binary value is cut short") from problem


_LINK = re.compile(r"\[LDAP://([^;\]]+);(\d+)\]", re.IGNORECASE)


def gpo_links(raw: bytes) -> list[dict[str, object]]:
    """`gPLink` → [{gpo, enabled, enforced}], in order (MS-GPOL 2.2.2: 1 switches a link off, 2 enforces it)."""
    whole = text(raw).strip()
    if re.sub(_LINK, "", whole).strip():
        raise ValueError("a link that cannot be read")
    return [{"gpo": dn, "enabled": not int(n) & 1, "enforced": bool(int(n) & 2)} for dn, n in _LINK.findall(whole)]
