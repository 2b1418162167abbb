"""What a terminal shows, taken apart: prompts, pagers, erased text. Pure."""

from __future__ import annotations

import re

TAIL = 2000
"""Characters at the end in which prompts and pagers are looked for; a page's last line is far shorter."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[A-Za-z=>]|\([A-Z])")

# A name, perhaps in brackets, and the mark; it stands at the start of the last line, which nothing follows.
_MARK = r"(?:^|\n)[ \t]*([A-Za-z0-9][\w.\-()/:@~+ ]{0,62}?)([>#])[ \t]*$"
PROMPT = re.compile(_MARK)
PRESS_KEY = re.compile(r"(?i)press any key to continue[^\n]*$")
MORE = re.compile(r"(?i)-- ?more ?--[^\n]*$")
ENDS = re.compile(rf"(?i)(?:user ?name|login|password)\s*:\s*$|{_MARK}")


_MARKS = ("#", ">", ":", "-", "q", "C", "continue")
"""What prompts, questions, pagers and `Press any key to continue` end in."""


def may_end(text: str) -> bool:
    """Whether a text could end in any of those: a cheap look, before the whole tail is looked at."""
    return _ESCAPES.sub("", text[-120:]).rstrip(" \t\r\n").endswith(_MARKS)


def tail(text: str) -> str:
    """The last lines without escape codes, with plain line ends."""
    return settle(_ESCAPES.sub("", text[-TAIL:]))


def settle(text: str) -> str:
    """Line ends made plain, and what the terminal erased taken out."""
    text = re.sub(r"\r+\n", "\n", text)
    # A pager is wiped by backspaces, or by blanks between two returns; what follows keeps its indentation.
    text = re.sub(r"\x08+ *\x08*", "", text)
    text = re.sub(r"\r[ \t]+\r", "", text)
    text = text.replace("\n\r", "\n")
    return text.replace("\r", "").replace("\x00", "").replace("\x07", "")


def unpaged(text: str) -> str:
    """An answer so far without the pager at its end."""
    start = max(text.rfind("--More"), text.rfind("-- MORE"), text.rfind("-- More"), text.rfind("--MORE"))
    return text[:start].rstrip(" \t") if start >= 0 else text
