"""Whether two configurations are the same one. Pure: nothing of either is kept."""

from __future__ import annotations

import re

# What differs between two printings of one configuration: sizes, dates, counters, and the certificate that the startup
# configuration keeps in a file of its own.
_NOISE = re.compile(
    r"(?i)^(building configuration|current configuration|running configuration|startup configuration|using \d+ out of"
    r"|ntp clock-period|!|;|# |show (running|startup)-config|version of |end$|exit$)"
)


def same(running: str, startup: str) -> bool:
    """Whether a switch would start with what it runs. Order counts, as it does where a switch prints both."""
    return _bare(running) == _bare(startup)


def _bare(text: str) -> list[str]:
    out: list[str] = []
    inside = False
    for raw in text.replace("\r", "").split("\n"):
        line = " ".join(raw.split())
        if re.match(r"\s+certificate ", raw):
            inside = True
            words = line.split()
            out.append(" ".join(words[:3]))
            continue
        if inside:
            # hexadecimal words follow until `quit`; in the startup configuration there are none
            if line.lower() == "quit":
                inside = False
                continue
            if re.fullmatch(r"[0-9A-Fa-f ]+", line):
                continue
            inside = False
        if line and not _NOISE.match(line):
            out.append(line)
    return out
