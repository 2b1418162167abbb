"""Carries a search through to its end: pages, ranges, referrals, and what to say when it breaks off. No ldap3 here."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from agent.connect import ldap_wire as wire
from agent.facts.ad.directory import Entry, Found
from agent.model import Reason, Unknown

MAX_REFERRALS = 20
CHUNK = 1 << 18

Encode = Callable[[str, str, Sequence[str], str, bool, bytes], tuple[int, bytes]]
"""(base, filter, attributes, scope, security, cookie) → (number, the request's bytes)."""
Question = tuple[str, str, Sequence[str], str, bool]
Take = Callable[[Entry], Any]


class Line(Protocol):
    """What of a socket is used here."""

    def settimeout(self, seconds: float | None, /) -> None:
        """Bound each wait."""

    def sendall(self, data: bytes, /) -> None:
        """Send everything."""

    def recv(self, size: int, /) -> bytes:
        """What has come, at most `size` bytes; empty at the end."""


def clean(text: object) -> str:
    """A server's or a library's words, fit to show: printable, one line, at most 300 characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())[:300]


class _Ended(Exception):
    """The connection will give nothing more; `why` says for what reason."""

    def __init__(self, why: Unknown) -> None:
        super().__init__(str(why))
        self.why = why


class Searcher:
    """Searches over one bound connection, until `ends` (monotonic seconds) and for at most `left` bytes.

    Never raises for what a server does: an answer that breaks off keeps what was read, with the reason, and every
    search after it is unknown for that reason.
    """

    def __init__(self, sock: Line, server: str, ends: float, left: int, encode: Encode) -> None:
        self._sock, self._server, self._ends, self._left, self._encode = sock, server, ends, left, encode
        self._lost: Unknown | None = None
        self._memory = wire.Memory()

    def search(
        self, base: str, filter: str, attributes: Sequence[str], scope: str, security: bool, take: Take | None = None
    ) -> Found:
        """One whole search, see `Directory.search`."""
        kept: list[Any] = []
        ranged: list[tuple[int, wire.Sent]] = []

        optioned = self._memory.optioned
        optioned.clear()

        def keep(page: list[wire.Sent]) -> None:
            for dn, sent in page:
                entry = Entry(dn, sent)
                if optioned and not optioned.isdisjoint(sent):
                    ranged.append((len(kept), (dn, sent)))
                    kept.append(entry)
                else:
                    kept.append(entry if take is None else take(entry))

        why, absent, referrals = self._pages((base, filter, attributes, scope, security), keep)
        for place, (dn, sent) in ranged:  # once the pages are through: the line is free for more questions
            entry = self._whole(dn, sent)
            kept[place] = entry if take is None else take(entry)
        return Found(kept, why, absent, referrals)

    def _pages(
        self, question: Question, keep: Callable[[list[wire.Sent]], None]
    ) -> tuple[Unknown | None, bool, tuple[str, ...]]:
        """Ask for page after page; `keep` gets what comes as it comes, also of a page that breaks off."""
        referrals: list[str] = []
        cookie, why, absent = b"", self._lost, False
        while self._lost is None:
            try:
                end, cookie, seen = self._page((*question, cookie), keep, referrals)
            except wire.Garbled as problem:
                why = self._lost = Unknown(Reason.UNREADABLE, f"{self._server}: {problem}")
                break
            except _Ended as ended:
                why = self._lost = ended.why
                break
            if end.code == 32:  # noSuchObject
                absent = True
            elif end.code == 10:
                referrals.extend(clean(r) for r in end.referrals[:MAX_REFERRALS])
                why = Unknown(
                    Reason.NOT_SUPPORTED, f"it lives on another server ({', '.join(referrals)}), which is not asked"
                )
            elif end.code != 0:
                why = refusal(end, question[0])
            elif cookie and not seen:  # a page with nothing on it, and more promised
                why = Unknown(Reason.TRUNCATED, "the server promised more and sent none")
            elif cookie:
                continue
            break
        return why, absent, tuple(referrals)

    def _page(
        self,
        question: tuple[str, str, Sequence[str], str, bool, bytes],
        keep: Callable[[list[wire.Sent]], None],
        referrals: list[str],
    ) -> tuple[wire.Done, bytes, int]:
        """Ask, and read answers until the page's end → (result, next cookie, entries). Raises `Garbled` or `_Ended`.

        Entries are handed on as they come, so that what was read before a break is kept.
        """
        number, request = self._encode(*question)
        try:
            self._sock.settimeout(self._wait())
            self._sock.sendall(request)
        except OSError as failed:
            raise _Ended(self._late() or self._gone("broke the connection")) from failed
        buffer, seen = b"", 0
        while True:
            buffer += self._receive()
            while True:
                found: list[wire.Sent] = []
                try:
                    message, used = wire.read(buffer, number, self._memory, found)
                finally:
                    keep(found)
                seen += len(found)
                buffer = buffer[used:]
                if message is None:
                    break
                if message.tag == wire.EXTENDED and message.id == 0:  # notice of disconnection, RFC 4511 4.4.1
                    raise _Ended(self._gone("announced that it goes away"))
                if message.id != number:
                    raise wire.Garbled("an answer belongs to another question")
                if message.tag == wire.REFERENCE:
                    room = MAX_REFERRALS - len(referrals)
                    referrals.extend(clean(r) for r in wire.references(message.body)[:room])
                elif message.tag == wire.DONE:
                    return wire.done(message.body), wire.cookie(message.controls), seen
                else:
                    raise wire.Garbled("an answer is of another kind than the question")

    def _receive(self) -> bytes:
        try:
            self._sock.settimeout(self._wait())
            chunk = self._sock.recv(CHUNK)
        except TimeoutError as failed:
            raise _Ended(Unknown(Reason.TIMED_OUT, f"{self._server} was too slow")) from failed
        except OSError as failed:
            raise _Ended(self._late() or self._gone("broke the connection")) from failed
        if not chunk:
            raise _Ended(self._late() or self._gone("ended the connection early"))
        self._left -= len(chunk)
        if self._left < 0:
            raise _Ended(Unknown(Reason.TRUNCATED, f"{self._server} sent more than the limit"))
        return chunk

    def _wait(self) -> float:
        """Seconds left. Raises `_Ended` when there are none."""
        wait = self._ends - time.monotonic()
        if wait <= 0:
            raise _Ended(Unknown(Reason.TIMED_OUT, f"{self._server} was too slow"))
        return wait

    def _late(self) -> Unknown | None:
        late = time.monotonic() >= self._ends
        return Unknown(Reason.TIMED_OUT, f"{self._server} was too slow") if late else None

    def _gone(self, words: str) -> Unknown:
        return Unknown(Reason.UNREACHABLE, f"{self._server} {words}")

    def _whole(self, dn: str, sent: Mapping[str, Sequence[bytes]]) -> Entry:
        """Fold attribute descriptions to plain names, finishing what came in ranges (MS-ADTS 3.1.1.3.1.3.3)."""
        values: dict[str, Sequence[bytes]] = {}
        ranged: dict[str, str] = {}
        for description, got in sent.items():
            name, _, options = description.partition(";")
            values[name] = [*values.get(name, ()), *got]  # AD sends an empty `member` beside its range
            if options.startswith("range="):
                ranged[name] = options
        cut = set()
        for name, options in ranged.items():
            more = list(values[name])
            if not self._finish(dn, name, options, more):
                cut.add(name)
            values[name] = more
        return Entry(dn, values, frozenset(cut))

    def _finish(self, dn: str, name: str, options: str, values: list[bytes]) -> bool:
        """Fetch what lies behind `range=0-1499`; True when the server said that nothing is left."""
        while True:
            match = re.fullmatch(r"range=(\d+)-(\d+|\*)", options)
            if match is None:
                return False
            if match[2] == "*":
                return True
            start = int(match[2]) + 1
            if start != len(values):
                return False  # the server counts otherwise than it sends
            wanted = [f"{name};range={start}-*"]
            entries: list[wire.Sent] = []
            why, absent, _ = self._pages((dn, "(objectClass=*)", wanted, "base", False), entries.extend)
            if why is not None or absent or len(entries) != 1:
                return False
            more = {d: v for d, v in entries[0][1].items() if d.startswith(f"{name};range=")}
            if len(more) != 1:
                return False
            ((description, got),) = more.items()
            options = description.partition(";")[2]
            values.extend(got)
            if not got and not options.endswith("-*"):
                return False


def refusal(end: wire.Done, base: str) -> Unknown:
    """A search's result code as a reason (RFC 4511 appendix A; 1 is what AD says to people who have not logged in)."""
    match end.code:
        case 3:
            return Unknown(Reason.TIMED_OUT, "the server's own time limit was reached")
        case 4 | 11:
            return Unknown(Reason.TRUNCATED, "the server's size limit was reached")
        case 1 | 50:
            return Unknown(Reason.PERMISSION, f"read {base or 'the server itself'}")
        case 12 | 53:
            return Unknown(Reason.NOT_SUPPORTED, clean(end.text))
        case 51 | 52:
            return Unknown(Reason.THROTTLED, "the server is busy")
    return Unknown(Reason.UNREADABLE, f"the server answered with code {end.code}: {clean(end.text)}")
