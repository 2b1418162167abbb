"""Comparing version strings by the rules of the system that made them. Pure; returns sort keys.

Sources: deb-version(7) for `dpkg`, rpm's `rpmvercmp` for `rpm`. `dotted` is numbers between dots. `switch` is releases
of switches: Cisco's white paper on IOS release names, and numbers between dots with a letter behind the last.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import zip_longest


def at_least(scheme: str, value: str, floor: str) -> bool:
    """Whether `value` is `floor` or later. Raises `ValueError` for what is no version of that scheme."""
    return {"dpkg": _dpkg, "rpm": _rpm, "dotted": _dotted, "switch": _switch}[scheme](value, floor) >= 0


@lru_cache(maxsize=4096)
def _dotted(a: str, b: str) -> int:
    def key(text: str) -> list[int]:
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)*", text):
            raise ValueError(f"not a dotted version: {text!r}")
        numbers = [int(n) for n in text.split(".")]
        while numbers and numbers[-1] == 0:  # 10.0 equals 10
            numbers.pop()
        return numbers

    x, y = key(a), key(b)
    return (x > y) - (x < y)


_IOS = re.compile(r"(\d+)\.(\d+)\((\d+)([a-z]?)\)([A-Z]*)(\d*)([a-z]*)")
_DOTTED = re.compile(r"(\d+(?:\.\d+)*)([a-z]?)(?:[A-Z]+\d*)?")


@lru_cache(maxsize=4096)
def _switch(a: str, b: str) -> int:
    """`15.2(7)E10` is later than `15.2(7)E9a`; of two trains with the same numbers neither is the later."""
    x, y = _IOS.fullmatch(a), _IOS.fullmatch(b)
    if x and y:
        first, second = ([int(m[1]), int(m[2]), int(m[3]), m[4]] for m in (x, y))
        if first != second:
            return 1 if first > second else -1
        if x[5] != y[5]:
            raise ValueError(f"{a!r} and {b!r} are of two trains, which have no order")
        mine, theirs = ((int(m[6] or 0), m[7]) for m in (x, y))
        return (mine > theirs) - (mine < theirs)
    p, q = _DOTTED.fullmatch(a), _DOTTED.fullmatch(b)
    if not p or not q:
        # 17.9.4 against 15.2(7)E10: only the numbers in front can tell.
        heads = [re.match(r"(\d+)\.(\d+)", text) for text in (a, b)]
        if None in heads:
            raise ValueError(f"not a release: {a!r} or {b!r}")
        one, two = (tuple(map(int, h.groups())) for h in heads if h)
        if one == two:
            raise ValueError(f"{a!r} and {b!r} cannot be compared")
        return 1 if one > two else -1
    return _dotted(p[1], q[1]) or (p[2] > q[2]) - (p[2] < q[2])


def _epoch(text: str) -> tuple[int, str]:
    head, colon, rest = text.partition(":")
    if not colon:
        return 0, text
    if not head.isdecimal():
        raise ValueError(f"not a version: {text!r}")
    return int(head), rest


@lru_cache(maxsize=4096)
def _dpkg(a: str, b: str) -> int:
    for text in (a, b):
        if not re.fullmatch(r"([0-9]+:)?[A-Za-z0-9.+:~-]+", text):
            raise ValueError(f"not a Debian version: {text!r}")
    (ea, ra), (eb, rb) = _epoch(a), _epoch(b)
    if ea != eb:
        return (ea > eb) - (ea < eb)
    ua, _, da = ra.rpartition("-") if "-" in ra else (ra, "", "0")
    ub, _, db = rb.rpartition("-") if "-" in rb else (rb, "", "0")
    return _dpkg_part(ua, ub) or _dpkg_part(da, db)


def _order(char: str) -> int:
    """`~` sorts before the end of a part, letters before everything else."""
    return -1 if char == "~" else 0 if not char else ord(char) if char.isalpha() else ord(char) + 256


def _dpkg_part(a: str, b: str) -> int:
    pa, pb = re.split(r"([0-9]+)", a), re.split(r"([0-9]+)", b)
    for i, (x, y) in enumerate(zip_longest(pa, pb, fillvalue="")):
        if i % 2:
            nx, ny = int(x or 0), int(y or 0)
            if nx != ny:
                return (nx > ny) - (nx < ny)
            continue
        for cx, cy in zip_longest(x, y, fillvalue=""):
            if (ox := _order(cx)) != (oy := _order(cy)):
                return (ox > oy) - (ox < oy)
    return 0


@lru_cache(maxsize=4096)
def _rpm(a: str, b: str) -> int:
    for text in (a, b):
        if not re.fullmatch(r"([0-9]+:)?[A-Za-z0-9._+~^]+(-[A-Za-z0-9._+~^]+)?", text):
            raise ValueError(f"not an RPM version: {text!r}")
    (ea, ra), (eb, rb) = _epoch(a), _epoch(b)
    if ea != eb:
        return (ea > eb) - (ea < eb)
    va, _, sa = ra.partition("-")
    vb, _, sb = rb.partition("-")
    # A version without a release matches any release, as rpm's own dependencies do.
    return _rpmvercmp(va, vb) or (_rpmvercmp(sa, sb) if sa and sb else 0)


def _rpmvercmp(a: str, b: str) -> int:
    token = re.compile(r"[0-9]+|[A-Za-z]+|~|\^")
    xs, ys = token.findall(a), token.findall(b)
    for x, y in zip_longest(xs, ys, fillvalue=""):
        if x == y:
            continue
        if "~" in (x, y):
            return -1 if x == "~" else 1
        if "^" in (x, y):  # later than the end of the string, earlier than anything else
            return (1 if not y else -1) if x == "^" else (-1 if not x else 1)
        if not x or not y:
            return 1 if x else -1
        if x.isdecimal() != y.isdecimal():
            return 1 if x.isdecimal() else -1
        if x.isdecimal():
            if int(x) != int(y):
                return 1 if int(x) > int(y) else -1
            continue
        return 1 if x > y else -1
    return 0
