"""Distinguished names: compare, climb, ask what lies below. Pure."""

from __future__ import annotations

import re
import sys
from functools import lru_cache

_PART = re.compile(r"((?:[^,\\]|\\.)+)(?:,|$)", re.DOTALL)


def parent(dn: str) -> str:
    """The DN above; empty for the topmost. Escaped commas belong to the name. Equal answers are one object."""
    if "\\" not in dn:
        return sys.intern(dn.partition(",")[2].lstrip())
    parts = re.match(r"(?:[^,\\]|\\.)*,(.*)", dn, re.DOTALL)
    return sys.intern(parts[1].lstrip()) if parts else ""


@lru_cache(maxsize=4096)
def normal(dn: str) -> str:
    """A DN for comparing: lower case, no blanks around commas and equal signs."""
    pieces = (p.partition("=") for p in _PART.findall(dn))
    return ",".join(f"{kind.strip()}={value.strip()}" for kind, _, value in pieces).lower()


def first(dn: str) -> str:
    """The value of the leftmost part, as it is spelled: `OAK` of `OU=OAK,OU=Schools,…`."""
    found = _PART.match(dn)
    return found[1].partition("=")[2].strip() if found else ""


def under(dn: str, top: str) -> bool:
    """Whether `dn` lies below `top` (normalised) or is it. A directory's own spelling holds no odd blanks."""
    lower = dn.lower()
    if not lower.endswith("," + top):
        return lower == top
    head = lower[: -len(top) - 1]  # a comma after an odd number of backslashes belongs to a name
    return (len(head) - len(head.rstrip("\\"))) % 2 == 0
