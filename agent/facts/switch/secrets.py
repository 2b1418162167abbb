"""Readable passwords in a configuration: looked at, compared with what vendors ship, and never kept. Pure."""

from __future__ import annotations

# The key of Cisco's type 7, which hides a password from a glance and from nothing else; published since 1995.
_KEY_7 = b"dsfd;kfoA,.iyewrkldJKDHSUBsgvca69834ncxv9873254k;fg87"

FACTORY = frozenset(
    "admin administrator aruba changeme cisco default guest hp hpe manager operator password procurve public root"
    " switch user".split()
)
"""Passwords that switches ship with, or that their manuals show."""


def factory(word: str, account: str) -> bool:
    """Whether a password is one that anybody would try first: a vendor's, the account's own name, or none."""
    return word.strip().strip('"').lower() in FACTORY | {account.lower(), ""}


def reveal_type_7(text: str) -> str | None:
    """What a password of type 7 hides; None where it is none."""
    if len(text) < 4 or len(text) % 2 or not text[:2].isdecimal():
        return None
    try:
        data = bytes.fromhex(text[2:])
    except ValueError:
        return None
    start = int(text[:2])
    return bytes(b ^ _KEY_7[(start + i) % len(_KEY_7)] for i, b in enumerate(data)).decode("utf-8", "replace")
