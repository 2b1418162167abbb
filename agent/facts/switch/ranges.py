"""Ranges as switches write them: VLANs `10,20-30`, ports `1-4,A1-A4`, `1/A1-1/A4`, `Trk1`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_ITEMS = 4096
"""More than any switch has of VLANs (4,094) or ports."""


def numbers(text: str) -> list[int]:
    """VLAN numbers of `10,20-30 40`, sorted. Raises ValueError for what is no such list."""
    found: set[int] = set()
    for part in re.split(r"[,\s]+", text.strip()):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        if match is None:
            raise ValueError("not a list of VLAN numbers")
        low, high = int(match[1]), int(match[2] or match[1])
        if low > high or high > 4095:
            raise ValueError("not a range of VLAN numbers")
        found.update(range(low, high + 1))
    return sorted(found)


_PORT = re.compile(r"(?P<head>(?:\d+/)*(?:[A-Za-z]+)?)(?P<number>\d+)")


def ports(text: str) -> list[str]:
    """Port names of `1-4,A1-A4,2/1-2/4,Trk1`, in the order given. Raises ValueError for what is no such list."""
    found: list[str] = []
    for part in re.split(r"[,\s]+", text.strip()):
        low, dash, high = part.partition("-")
        first, last = _PORT.fullmatch(low), _PORT.fullmatch(high) if dash else None
        if first is None or (dash and last is None):
            raise ValueError("not a list of ports")
        begin, end = int(first["number"]), int(last["number"]) if last else int(first["number"])
        if last is not None and last["head"] not in ("", first["head"]):
            raise ValueError("not a range of ports")
        if begin > end or end - begin > MAX_ITEMS:
            raise ValueError("not a range of ports")
        found += [f"{first['head']}{n}" for n in range(begin, end + 1)]
    return list(dict.fromkeys(found))


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key in which 1/0/2 comes before 1/0/10."""
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in re.findall(r"\d+|\D+", name))


def in_order(names: Iterable[str]) -> list[str]:
    """Names once each, in natural order."""
    return sorted(set(names), key=natural)
