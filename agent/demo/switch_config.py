"""The configuration of a stand-in switch: a tree of lines that commands change as a real one would. Not a grammar.

Any command of a known first word is taken. `no` takes away, a command that stands once replaces its like, what is on by
default shows as `no …` once it is off, and a ProVision port that becomes untagged somewhere leaves where it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.demo.switch_words import Words
from agent.facts.switch.procurve_ports import names as port_names

_BANNER = re.compile(r"banner (\S+) (.*)", re.DOTALL)


@dataclass(slots=True)
class Line:
    """One line with those below it. `raw`: printed as it stands (banners, certificates), its lines included."""

    text: str
    below: list[Line] = field(default_factory=list)
    raw: bool = False


class Configuration:
    """Lines as a tree."""

    def __init__(self, text: str, words: Words) -> None:
        self.words = words
        self.top = Line("", _read(text, words))

    def show(self) -> str:
        """The text as the switch prints it."""
        return "\n".join(self._lines(self.top, 0)) + "\n"

    def _lines(self, line: Line, depth: int) -> Iterator[str]:
        for below in line.below:
            if below.raw:
                yield from below.text.split("\n")
                continue
            yield self.words.indent * depth + below.text
            yield from self._lines(below, depth + 1)

    def value(self, start: str) -> str:
        """What follows `start` at the top, or an empty string."""
        return next((ln.text[len(start) :].strip('" ') for ln in self.top.below if ln.text.startswith(start)), "")

    def section(self, within: Line, text: str) -> Line:
        """The section of that name, made where there is none."""
        found = next((ln for ln in within.below if ln.text == text and not ln.raw), None)
        if found is None:
            found = Line(text)
            self._insert(within, found)
        return found

    def apply(self, within: Line, text: str) -> None:
        """Run one command in a section (or at the top)."""
        if text.startswith("default "):
            self._remove(within, text[8:], shown=False)
            within.below = [ln for ln in within.below if ln.raw or ln.text != f"no {text[8:]}"]
            return
        if match := _LISTED.fullmatch(text):
            self._listed(within, match[2], _items(match[3]), away=match[1] is not None)
            return
        if text.startswith("no "):
            self._remove(within, text[3:])
            return
        if start := self._single(text):
            within.below = [ln for ln in within.below if ln.raw or self._single(ln.text.removeprefix("no ")) != start]
        within.below = [ln for ln in within.below if ln.raw or ln.text not in (text, f"no {text}")]
        if match := re.fullmatch(r"(untagged|tagged) (\S+)", text):
            self._move(within, match[1], match[2])
            return
        if text in self.words.shown_off and self.words.comment == "!" and self.words.gap:
            self._insert(within, Line(text))  # AOS-CX shows both states of a port
            return
        if text in self.words.shown_off and text not in ("shutdown",) and within is self.top and self.words.gap:
            return  # the default again: nothing is shown
        self._insert(within, Line(text))

    def _single(self, text: str) -> str:
        """The beginning under which a command stands once: the first that fits, or an empty string."""
        return next((start for start in self.words.single if text.startswith(start)), "")

    def _listed(self, within: Line, head: str, given: set[str], away: bool) -> None:
        """A line that holds a list: what is named comes in or goes, the rest stays."""
        lines = [ln for ln in within.below if not ln.raw and ln.text.startswith(f"{head} ")]
        have = {i for ln in lines for i in _items(ln.text[len(head) :])}
        left = have - given if away else have | given
        if left == have:
            return
        at = within.below.index(lines[0]) if lines else None
        within.below = [ln for ln in within.below if ln not in lines]
        if left:
            made = Line(f"{head} {(',' if 'ip ' in head else ' ').join(sorted(left, key=_order))}")
            if at is None:
                self._insert(within, made)
            else:
                within.below.insert(at, made)

    def _remove(self, within: Line, body: str, shown: bool = True) -> None:
        if match := re.fullmatch(r"(untagged|tagged) (\S+)", body):
            self._leave(within, match[1], set(port_names(match[2])))
            return
        before = len(within.below)
        alone = body in _ALONE
        within.below = [
            ln
            for ln in within.below
            if ln.raw or not (ln.text == body or (not alone and ln.text.startswith(f"{body} ")))
        ]
        if len(within.below) == before:
            within.below = [ln for ln in within.below if not (ln.raw and ln.text.startswith(f"{body} "))]
        if shown and body in self.words.shown_off and not any(ln.text == f"no {body}" for ln in within.below):
            self._insert(within, Line(f"no {body}"))

    def _move(self, vlan: Line, kind: str, ports: str) -> None:
        """A port is untagged in one VLAN only."""
        chosen = set(port_names(ports))
        if kind == "untagged":
            for other in self.top.below:
                if other is not vlan and other.text.startswith("vlan "):
                    self._leave(other, "untagged", chosen)
        have = {p for ln in vlan.below if ln.text.startswith(f"{kind} ") for p in port_names(ln.text.split()[1])}
        self._set(vlan, kind, have | chosen)
        if kind == "untagged":
            self._leave(vlan, "no untagged", chosen)

    def _leave(self, vlan: Line, kind: str, ports: set[str]) -> None:
        lines = [ln for ln in vlan.below if ln.text.startswith(f"{kind} ")]
        have = {p for ln in lines for p in port_names(ln.text.rsplit(" ", 1)[1])}
        if lines and have & ports:
            self._set(vlan, kind, have - ports)

    @staticmethod
    def _set(vlan: Line, kind: str, ports: set[str]) -> None:
        at = next((i for i, ln in enumerate(vlan.below) if ln.text.startswith(f"{kind} ")), None)
        vlan.below = [ln for ln in vlan.below if not ln.text.startswith(f"{kind} ")]
        if ports:
            place = len(vlan.below) - (vlan.below[-1:] != [] and vlan.below[-1].text == "exit") if at is None else at
            vlan.below.insert(place, Line(f"{kind} {','.join(sorted(ports, key=_order))}"))

    def _insert(self, within: Line, line: Line) -> None:
        """At the end, before the word that closes the configuration or the section."""
        at = len(within.below)
        if at and within.below[-1].text in ("end", "exit") and not within.below[-1].raw:
            at -= 1
        within.below.insert(at, line)

    def banner(self, command: str, rest: list[str]) -> None:
        """Put a banner in place of the earlier one of its kind."""
        kind = command.split()[1]
        self.top.below = [ln for ln in self.top.below if not (ln.raw and ln.text.startswith(f"banner {kind} "))]
        self._insert(self.top, Line("\n".join([command, *rest]), raw=True))


_ALONE = frozenset(("ip dhcp snooping", "dhcpv4-snooping", "dhcp-snooping", "arp-protect", "spanning-tree"))
"""Switches whose `no` leaves the lines alone that only begin with the same words."""
_LISTED = re.compile(
    r"(no )?(ip dhcp snooping vlan|ip arp inspection vlan|dhcp-snooping vlan|arp-protect vlan|dhcp-snooping trust"
    r"|arp-protect trust) (\S.*)"
)


def _items(text: str) -> set[str]:
    """VLANs or ports of a list, each by itself."""
    return {port for part in text.replace(",", " ").split() for port in port_names(part)}


def _order(port: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.*?)(\d+)", port)
    return (match[1], int(match[2])) if match else (port, 0)


def _read(text: str, words: Words) -> list[Line]:
    """A configuration's text as lines; what is not configuration stays as it stands."""
    out: list[Line] = []
    stack: list[tuple[int, list[Line]]] = [(-1, out)]
    lines = text.replace("\r", "").split("\n")
    at = 0
    while at < len(lines):
        raw = lines[at]
        at += 1
        line = raw.strip()
        if not line:
            continue
        if line.startswith(words.comment):
            if len(raw) == len(line):
                del stack[1:]  # a comment at the margin closes every section
            stack[-1][1].append(Line(raw, raw=True))
            continue
        body = [raw]
        if (match := _BANNER.match(line)) and (end := _end(match[2])):
            while not _closed(body, match[2], end) and at < len(lines):
                body.append(lines[at])
                at += 1
            out.append(Line("\n".join(body), raw=True))
            continue
        if line.startswith("macro name "):
            while body[-1].strip() != "@" and at < len(lines):
                body.append(lines[at])
                at += 1
            out.append(Line("\n".join(body), raw=True))
            continue
        indent = len(raw) - len(raw.lstrip())
        while stack[-1][0] >= indent:
            stack.pop()
        made = Line(line)
        stack[-1][1].append(made)
        stack.append((indent, made.below))
    return out


def _end(rest: str) -> str:
    return "^C" if rest.startswith("^C") else '"' if rest.startswith('"') else rest[:1]


def _closed(body: list[str], rest: str, end: str) -> bool:
    text = "\n".join(body)
    after = text[text.index(rest.split("\n")[0]) + len(end) :]
    return end in after
