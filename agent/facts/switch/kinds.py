"""What stands at the other end of a cable, from what it says of itself over LLDP. Pure."""

from __future__ import annotations

import re


def from_letters(letters: str, description: str = "") -> str:
    """`B, T` → phone. Letters are those of IEEE 802.1AB: B bridge, R router, W access point, T telephone.

    A phone passes a second cable on and calls itself a bridge for that; an access point often says both B and W.
    """
    have = {w[0] for w in re.split(r"[,\s]+", letters.strip().upper()) if w}
    return _kind(have, description)


WORDS = {"bridge": "B", "router": "R", "wlan-access-point": "W", "wlanaccesspoint": "W", "wlan": "W", "telephone": "T"}


def from_words(text: str, description: str = "") -> str:
    """`bridge, router` or `Bridge, WLAN` → kind."""
    words = re.split(r"[,\s]+", re.sub(r"wlan[ -]access[ -]point", "wlan", text.strip().lower()))
    return _kind({WORDS[w] for w in words if w in WORDS}, description)


def _kind(have: set[str], description: str) -> str:
    if "T" in have:
        return "phone"
    if "W" in have:
        return "access point"
    if have & {"B", "R"}:
        # Access points that say only that they are bridges tell it in their description.
        return (
            "access point" if re.search(r"(?i)\b(access point|AIR-\w+|IAP|ArubaOS \(MODEL)", description) else "switch"
        )
    return "host"
