"""Carries a search through to its end: pages, ranges, referrals, and what to say when it breaks off. No ldap3 here."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Sequence

from agent.connect import ldap_wire as wire
from agent.facts.ad.directory import Entry, Found
from agent.model import Reason, Unknown

MAX_REFERRALS = 20
CHUNK = 1 << 18

Encode = Callable[[str, str, Sequence[str], str, bool, bytes], tuple[int, bytes]]
"""(base, filter, attributes, scope, security, cookie) → (number, the request's bytes)."""
Sent = tuple[str, dict[str, list[bytes]]]
"""An entry as it came: its DN, values by attribute description."""


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

    def __init__(self, sock: socket.socket, server: str, ends: float, left: int, encode: Encode) -> None:
        self._sock, self._server, self._ends, self._left, self._encode = sock, server, ends, left, encode
        self._lost: Unknown | None = None

    def search(self, base: str, filter: str, attributes: Sequence[str], scope: str, security: bool) -> Found:
        """One whole search, see `Directory.search`."""
        sent, why, absent, referrals = self._pages(base, filter, attributes, scope, security)
        return Found([self._whole(dn, attrs) for dn, attrs in sent], why, absent, referrals)

    def _pages(
        self,
        base: str,
        filter: str,
        attributes: Sequence[str],
        scope: str,
        security: bool,
    ) -> tuple[list[Sent], Unknown | None, bool, tuple[str, ...]]:
        entries: list[Sent] = []
        referrals: list[str] = []
        cookie, seen, why, absent = b"", 0, self._lost, False
        while self._lost is None:
            try:
                end, cookie = self._page((base, filter, attributes, scope, security, cookie), entries, referrals)
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
                why = refusal(end, base)
            elif cookie and len(entries) == seen:  # a page with nothing on it, and more promised
                why = Unknown(Reason.TRUNCATED, "the server promised more and sent none")
            elif cookie:
                seen = len(entries)
                continue
            break
        return entries, why, absent, tuple(referrals)

    def _page(
        self, question: tuple[str, str, Sequence[str], str, bool, bytes], entries: list[Sent], referrals: list[str]
    ) -> tuple[wire.Done, bytes]:
        """Ask, and read answers until the page's end → (result, next cookie). Raises `Garbled` or `_Ended`.

        Entries go to `entries` as they come, so that what was read before a break is kept.
        """
        number, request = self._encode(*question)
        try:
            self._sock.settimeout(self._wait())
            self._sock.sendall(request)
        except OSError as failed:
            raise _Ended(self._late() or self._gone("broke the connection")) from failed
        buffer = b""
        while True:
            buffer += self._receive()
            messages, used = wire.split(buffer)
            buffer = buffer[used:]
            for message in messages:
                if message.tag == wire.EXTENDED and message.id == 0:  # notice of disconnection, RFC 4511 4.4.1
                    raise _Ended(self._gone("announced that it goes away"))
                if message.id != number:
                    raise wire.Garbled("an answer belongs to another question")
                if message.tag == wire.ENTRY:
                    entries.append(wire.entry(message.body))
                elif message.tag == wire.REFERENCE:
                    referrals.extend(clean(r) for r in wire.references(message.body)[: MAX_REFERRALS - len(referrals)])
                elif message.tag == wire.DONE:
                    return wire.done(message.body), wire.cookie(message.controls)
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

    def _whole(self, dn: str, sent: dict[str, list[bytes]]) -> Entry:
        """Fold attribute descriptions to plain names, finishing what came in ranges (MS-ADTS 3.1.1.3.1.3.3)."""
        values: dict[str, list[bytes]] = {}
        ranged: dict[str, str] = {}
        for description, got in sent.items():
            name, _, options = description.lower().partition(";")
            if name in values:  # AD sends an empty `member` beside its range
                got = values[name] + got
            values[name] = got
            if options.startswith("range="):
                ranged[name] = options
        if not ranged:
            return Entry(dn, values)
        return Entry(dn, values, frozenset(n for n, o in ranged.items() if not self._finish(dn, n, o, values[n])))

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
            entries, why, absent, _ = self._pages(dn, "(objectClass=*)", wanted, "base", False)
            if why is not None or absent or len(entries) != 1:
                return False
            more = {d.lower(): v for d, v in entries[0][1].items() if d.lower().startswith(f"{name};range=")}
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
