"""A switch's configuration as a tree of lines, by indentation. Pure.

Text that is not configuration is taken out first: banners, certificates, macros, comments. What they hold can look like
any command, and must never be read as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

MAX_LINES = 60_000
MAX_DEPTH = 40


class CutOff(Exception):
    """The text ends inside something that has an end: it is not the whole configuration."""


@dataclass(slots=True)
class Block:
    """One line, stripped, and the lines below it."""

    line: str
    children: list[Block] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        """The line's words; quotes are kept."""
        return self.line.split()

    def find(self, pattern: str) -> re.Match[str] | None:
        """The first child that matches the whole pattern."""
        return next(self.each(pattern), None)

    def each(self, pattern: str) -> Iterator[re.Match[str]]:
        """All children that match the whole pattern."""
        compiled = re.compile(pattern)
        return (m for c in self.children if (m := compiled.fullmatch(c.line)))

    def has(self, pattern: str) -> bool:
        """Whether some child matches the whole pattern."""
        return self.find(pattern) is not None

    def blocks(self, pattern: str) -> Iterator[tuple[re.Match[str], Block]]:
        """Children that match the whole pattern, with what is below them."""
        compiled = re.compile(pattern)
        return ((m, c) for c in self.children if (m := compiled.fullmatch(c.line)))

    def switched(self, command: str) -> bool | None:
        """Whether `command` or `no command` stands here; None for neither. The later of the two counts."""
        found: bool | None = None
        for child in self.children:
            if child.line == command:
                found = True
            elif child.line == f"no {command}":
                found = False
        return found

    def last(self, pattern: str) -> re.Match[str] | None:
        """The last child that matches the whole pattern: where a line may stand once, a second one replaces it."""
        found = None
        for match in self.each(pattern):
            found = match
        return found


@dataclass(slots=True)
class Text:
    """Text that was taken out: banners by kind."""

    banners: dict[str, str] = field(default_factory=dict)


_BANNER = re.compile(r"banner\s+(motd|login|exec|incoming|prompt-timeout|slip-ppp|config-save)\s+(.*)", re.DOTALL)
_LABEL = re.compile(r"(description|name|remark|snmp-server (contact|location))\b")
_CONTROL_C = re.compile(r"\^C|\x03")
_PEM = re.compile(r"\s*-----BEGIN [A-Z0-9 ]+-----")
_PEM_END = re.compile(r"\s*-----END [A-Z0-9 ]+-----")


def tree(text: str, comment: str) -> tuple[Block, Text]:
    """A configuration → its root and what was taken out. `comment` is what a comment begins with.

    Raises `CutOff` where the text ends inside a banner, a macro or a certificate, and ValueError for a text that is
    longer or deeper than any configuration.
    """
    lines = text.replace("\r", "").split("\n")
    if len(lines) > MAX_LINES:
        raise ValueError("longer than any configuration")
    taken = Text()
    root = Block("")
    stack: list[tuple[int, Block]] = [(-1, root)]
    at = 0
    while at < len(lines):
        raw = lines[at].expandtabs(8).rstrip()
        at += 1
        line = raw.strip()
        if not line or line.startswith(comment):
            continue
        if (match := _BANNER.match(line)) and len(raw) == len(line):
            at = _banner(match, lines, at, taken)
            continue
        if len(_CONTROL_C.findall(line)) == 1 and not _LABEL.match(
            line
        ):  # text between two of them, as of a menu or a login page
            at = _until(lines, at, lambda ln: _CONTROL_C.search(ln) is not None)
            continue
        if _PEM.match(raw):
            at = _until(lines, at, lambda ln: _PEM_END.match(ln) is not None)
            continue
        if re.match(r"macro name \S", line):
            at = _until(lines, at, lambda ln: ln.strip() == "@")
            continue
        indent = len(raw) - len(raw.lstrip())
        while stack[-1][0] >= indent:
            stack.pop()
        if len(stack) > MAX_DEPTH:
            raise ValueError("deeper than any configuration")
        block = Block(" ".join(line.split()))
        stack[-1][1].children.append(block)
        stack.append((indent, block))
    return root, taken


def _banner(match: re.Match[str], lines: Sequence[str], at: int, taken: Text) -> int:
    """Take one banner out; gives the place after it."""
    kind, rest = match[1], match[2]
    if rest.startswith('"'):  # ProVision: a quoted string, which may go over lines
        body = rest[1:]
        while (end := _quote(body)) is None:
            if at >= len(lines):
                raise CutOff
            body, at = f"{body}\n{lines[at]}", at + 1
        taken.banners[kind] = body[:end].strip()
        return at
    delimiter = "^C" if rest.startswith("^C") else rest[0]
    body = rest[len(delimiter) :]
    while delimiter not in body:
        if at >= len(lines):
            raise CutOff
        body, at = f"{body}\n{lines[at]}", at + 1
    taken.banners[kind] = body.partition(delimiter)[0].strip()
    return at


def _quote(text: str) -> int | None:
    """Where the quoted string ends."""
    found = re.search(r'(?<!\\)"', text)
    return found.start() if found else None


def _until(lines: Sequence[str], at: int, ends: object) -> int:
    """The place after the line that ends a text."""
    assert callable(ends)  # noqa: S101 - for the type checker
    while at < len(lines):
        at += 1
        if ends(lines[at - 1]):
            return at
    raise CutOff
