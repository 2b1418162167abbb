"""Answers the Linux collector with what a real host once said, for any nonce and any part of its sections.

A capture is `{section: {"rc": int, "note": str, "asked": [arguments], "body": text}}`, made by
tests/lab/capture_linux.py. Inside a body, `MARK` stands where the mark of the run goes. Nothing here runs a shell: the
script that comes in is only read for the sections that it asks for.
"""

from __future__ import annotations

import gzip
import re
import shlex
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

MARK = "\x1e\x1f "
"""Where a capture has a mark inside a section."""
YESTERDAY = "\x1e\x1fyesterday"
"""Where a capture has the date of a list that the host fetched the day before: a demo must not age."""
_KEYED = {"sysctl", "package", "service", "file"}
"""Sections whose answer depends on their arguments, one line or block each, in their order."""

Capture = Mapping[str, Mapping[str, Any]]


def replay(capture: Capture) -> Callable[[str, bytes], tuple[bytes, bytes, int]]:
    """A function from (command, standard input) to (standard output, standard error, exit code), as one host."""

    def answer(command: str, stdin: bytes) -> tuple[bytes, bytes, int]:
        script = stdin.decode("utf-8", "replace")
        nonce = re.search(r"(?m)^K=([0-9a-f]{8,64})$", script)
        if nonce is None:
            return b"", b"sh: not found\n", 127
        start = f"\n\x1e{nonce[1]} "
        out, count = [], 0
        yesterday = format_datetime(datetime.now(UTC).replace(minute=0, second=0) - timedelta(days=1), usegmt=True)
        for name, words in re.findall(r"(?m)^sec ([a-z_]+) s_[a-z_]+(.*)$", script):
            text, rc, note = _section(capture, name, shlex.split(words))
            out.append(
                f"{start}{name}\n{text.replace(MARK, start[1:]).replace(YESTERDAY, yesterday)}{start}rc={rc} {note}\n"
            )
            count += 1
        whole = ("".join(out) + f"{start}END {count}\n").encode()
        if "gzip -1" in script:
            return f"{start}gz\n".encode() + gzip.compress(whole, 6, mtime=0), b"", 0
        return whole, b"", 0

    return answer


def _section(capture: Capture, name: str, asked: list[str]) -> tuple[str, int, str]:
    """(text, rc, note) of one section; what the capture does not know of is as if the host had no such command."""
    entry = capture.get(name)
    if entry is None:
        return "", 127, "not captured"
    body, rc, note = str(entry["body"]), int(entry["rc"]), str(entry["note"])
    if name not in _KEYED or rc != 0:
        return body, rc, note
    return _keyed(name, body, list(entry["asked"]), asked), rc, note


def _keyed(name: str, body: str, known: list[str], asked: list[str]) -> str:
    """The part of an answer that belongs to the arguments asked for, numbered anew. Others are not there."""
    if name == "package":
        lines = body.splitlines()
        found = {line.split("|")[1]: line for line in lines if line.count("|") == 2}
        return "\n".join(found.get(p, f"dpkg-query: no packages found matching {p}") for p in asked)
    if name == "service":
        blocks = dict(zip(known, re.split(r"\n\s*\n", body.strip()), strict=False))
        missing = "LoadState=not-found\nActiveState=inactive\nUnitFileState="
        return "\n\n".join(blocks.get(u, f"Id={u}\n{missing}") for u in asked)
    rows = dict(zip(known, (line.partition(" ")[2] for line in body.splitlines() if line.strip()), strict=False))
    return "\n".join(f"{i} {rows.get(k, 'absent')}" for i, k in enumerate(asked))
