"""Reads LDAP search results at speed, and says so when they make no sense. Pure: bytes in, entries out.

ldap3's own decoder takes some 140 µs an entry; with 50,000 people that is most of a scan. Only what comes back from
a search is read here (RFC 4511 sections 4.1.1, 4.5.2 and 4.5.3, RFC 2696); ldap3 keeps the rest of the protocol.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

ENTRY, DONE, REFERENCE, EXTENDED = 0x64, 0x65, 0x73, 0x78
PAGED = b"1.2.840.113556.1.4.319"
MAX_NAMES, MAX_HEADS = 1000, 10_000
NEVER = 256
"""Octets of a length that fits nowhere: stands for BER's indefinite form, which LDAP forbids (RFC 4511 section 5.1)."""
_DESCRIPTION = re.compile(rb"[A-Za-z0-9.;=*-]{1,127}")

Sent = tuple[str, dict[str, tuple[bytes, ...]]]
"""An entry as it came: its DN, and values by attribute description (with options such as `;range=`) in lower case."""


class Garbled(ValueError):
    """These bytes are not what RFC 4511 says a search answer looks like."""


@dataclass(frozen=True, slots=True)
class Message:
    """One LDAP message: its id, the tag of its operation, the operation's contents and the controls' bytes."""

    id: int
    tag: int
    body: bytes
    controls: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """The end of a search: result code, the server's text (cleaned by whoever shows it) and the referrals given."""

    code: int
    text: str
    referrals: tuple[str, ...]


@dataclass(slots=True)
class Memory:
    """What one connection's answers have in common, bounded.

    `names`: attribute description as sent → in lower case. `heads`: the bytes from an attribute's beginning to its only
    value → (name, length of the value). `optioned`: names with options.
    """

    names: dict[bytes, str] = field(default_factory=dict)
    heads: dict[bytes, tuple[str, int]] = field(default_factory=dict)
    optioned: set[str] = field(default_factory=set)


def read(b: bytes, number: int, memory: Memory, found: list[Sent]) -> tuple[Message | None, int]:
    """Take whole messages off the front of `b`: entries that answer `number` go to `found`, and the first message of
    another kind ends the reading → (that message or None, bytes used). Raises `Garbled`.

    The hot loop: one pass, hardly a function call. Lengths are checked against the ends of what holds them, because
    slices of bytes never complain.
    """
    place, size, heads = 0, len(b), memory.heads
    mine = _number(number)
    head = len(mine)
    try:
        while size - place >= 2:
            # ------------------------------------------------------------ the message, whole or not yet
            if b[place] != 0x30:
                raise Garbled("a message does not begin with a sequence")
            n, p = b[place + 1], place + 2
            if n > 127:
                if not 0x80 < n < 0x85:
                    raise Garbled("a message has no sensible length")
                k = n & 127
                if size < p + k:
                    break
                n, p = int.from_bytes(b[p : p + k], "big"), p + k
            end = p + n
            if end > size:
                break
            if b[p : p + head] != mine or b[p + head] != ENTRY:
                message = _message(b, p, end)
                if message.tag != ENTRY:
                    return message, end
                if message.id != number:
                    raise Garbled("an answer belongs to another question")
                # its number is written in an unusual way, which is allowed
                found.append(entry(message.body, memory))
                place = end
                continue
            p += head + 1
            n, p = b[p], p + 1
            if n > 127:
                k = n & 127 or NEVER
                n, p = int.from_bytes(b[p : p + k], "big"), p + k
            place, end = end, p + n
            if end > place:
                raise Garbled("an entry is longer than its message")
            # ------------------------------------------------------------ the entry
            if b[p] != 4:
                raise Garbled("an entry has no name")
            n, p = b[p + 1], p + 2
            if n > 127:
                k = n & 127 or NEVER
                n, p = int.from_bytes(b[p : p + k], "big"), p + k
            q = p + n
            dn = b[p:q].decode("utf-8", "replace")
            if b[q] != 0x30:
                raise Garbled("an entry has no attributes")
            n, p = b[q + 1], q + 2
            if n > 127:
                k = n & 127 or NEVER
                n, p = int.from_bytes(b[p : p + k], "big"), p + k
            if p + n != end:
                raise Garbled("an entry has the wrong length")
            attributes: dict[str, tuple[bytes, ...]] = {}
            while p < end:
                # What comes before a single short value is the same bytes each time: name and length are remembered.
                n = b[p + 1]
                r = p + 8 + b[p + 3] if n < 128 else p + 16 + b[p + 7]
                hit = heads.get(b[p:r])
                if hit is None:
                    p = _attribute(b, p, end, memory, attributes)
                    continue
                name, n = hit
                if name in attributes:
                    raise Garbled("an attribute comes twice")
                p = r + n
                attributes[name] = (b[r:p],)
            if p != end:
                raise Garbled("an attribute is longer than its entry")
            found.append((dn, attributes))
    except IndexError as problem:
        raise Garbled("an entry is cut short") from problem
    return None, place


def _attribute(b: bytes, p: int, end: int, memory: Memory, attributes: dict[str, tuple[bytes, ...]]) -> int:
    """One attribute at `p`, SEQUENCE { description, SET OF value }, into `attributes`; gives the place behind it.

    Raises `Garbled`, `IndexError` for what is cut short.
    """
    start = p
    n, q = b[p + 1], p + 2
    if n > 127:
        k = n & 127 or NEVER
        n, q = int.from_bytes(b[q : q + k], "big"), q + k
    last = q + n
    if b[p] != 0x30 or last > end:
        raise Garbled("an attribute is no attribute, or longer than its entry")
    n, p = b[q + 1], q + 2
    if b[q] != 4 or n > 127:
        raise Garbled("an attribute has no sensible name")
    q = p + n
    name = memory.names.get(b[p:q]) or _describe(b[p:q], memory)
    n, p = b[q + 1], q + 2
    if n > 127:
        k = n & 127 or NEVER
        n, p = int.from_bytes(b[p : p + k], "big"), p + k
    if b[q] != 0x31 or p + n != last or name in attributes:
        raise Garbled("an attribute's values have the wrong length, or come twice")
    values: list[bytes] = []
    while p < last:
        n, q = b[p + 1], p + 2
        if n > 127:
            k = n & 127 or NEVER
            n, q = int.from_bytes(b[q : q + k], "big"), q + k
        if b[p] != 4:
            raise Garbled("a value is no value")
        p = q + n
        values.append(b[q:p])
    if p != last:  # names alone have no value, and p stands at the end already
        raise Garbled("a value is longer than its attribute")
    attributes[name] = tuple(values)
    if len(values) == 1 and n < 128 and len(memory.heads) < MAX_HEADS:
        # Only where `read` will look for it: all lengths short, or both outer ones in four octets, as AD writes them.
        head = b[start : last - n]
        if len(head) == (8 + head[3] if head[1] < 128 else 16 + head[7] if head[1] == 0x84 else 0):
            memory.heads[head] = (name, n)
    return p


def entry(body: bytes, memory: Memory) -> Sent:
    """One entry alone: the contents of a SearchResultEntry, see `read`. Raises `Garbled`."""
    whole = b"\x02\x01\x01" + bytes([ENTRY]) + _length(len(body)) + body
    found: list[Sent] = []
    message, used = read(b"\x30" + _length(len(whole)) + whole, 1, memory, found)
    if message is not None or len(found) != 1:
        raise Garbled(f"an entry is cut short after {used} bytes")
    return found[0]


def _length(n: int) -> bytes:
    return b"\x84" + n.to_bytes(4, "big")


def _number(number: int) -> bytes:
    """A message number as servers write it: an INTEGER in as few bytes as it takes."""
    size = number.bit_length() // 8 + 1
    return bytes([2, size]) + number.to_bytes(size, "big")


def _describe(sent: bytes, memory: Memory) -> str:
    """An attribute description in lower case. Raises `Garbled` for what can be none (RFC 4512 section 2.5)."""
    if not _DESCRIPTION.fullmatch(sent):
        raise Garbled("an attribute has no sensible name")
    name = sent.decode("ascii").lower()
    if ";" in name:
        memory.optioned.add(name)
    elif len(memory.names) < MAX_NAMES:
        memory.names[sent] = name
    return name


def _message(b: bytes, place: int, end: int) -> Message:
    tag, value, place = _read(b, place, end)
    if tag != 2 or not 0 < len(value) < 6:
        raise Garbled("a message has no number")
    operation, body, place = _read(b, place, end)
    return Message(int.from_bytes(value, "big"), operation, body, b[place:end])


def _read(b: bytes, place: int, end: int) -> tuple[int, bytes, int]:
    """One tag, length and value at `place` → (tag, value, place behind it)."""
    if place + 2 > end:
        raise Garbled("a value is cut short")
    tag, length = b[place], b[place + 1]
    place += 2
    if length > 127:
        octets = length & 127
        if not 0 < octets < 5 or place + octets > end:
            raise Garbled("a value has no sensible length")
        length = int.from_bytes(b[place : place + octets], "big")
        place += octets
    if place + length > end:
        raise Garbled("a value is longer than what holds it")
    return tag, b[place : place + length], place + length


def done(body: bytes) -> Done:
    """Contents of an LDAPResult. Raises `Garbled`."""
    end = len(body)
    tag, code, place = _read(body, 0, end)
    if tag != 10 or not 0 < len(code) < 5:
        raise Garbled("a result has no code")
    _, _, place = _read(body, place, end)
    _, text, place = _read(body, place, end)
    referrals: tuple[str, ...] = ()
    if place < end and body[place] == 0xA3:
        _, inner, place = _read(body, place, end)
        referrals = references(inner)
    return Done(int.from_bytes(code, "big"), text.decode("utf-8", "replace"), referrals)


def references(body: bytes) -> tuple[str, ...]:
    """Contents of a SearchResultReference: the addresses it names. Raises `Garbled`."""
    found, place = [], 0
    while place < len(body):
        _, value, place = _read(body, place, len(body))
        found.append(value.decode("utf-8", "replace"))
    return tuple(found)


def cookie(controls: bytes) -> bytes:
    """The paging cookie among a message's controls; empty when this was the last page. Raises `Garbled`."""
    if not controls:
        return b""
    tag, body, _ = _read(controls, 0, len(controls))
    if tag != 0xA0:
        raise Garbled("a message ends in something that is not its controls")
    place = 0
    while place < len(body):
        _, control, place = _read(body, place, len(body))
        _, kind, at = _read(control, 0, len(control))
        if kind != PAGED:
            continue
        tag, value, at = _read(control, at, len(control))
        if tag == 1:  # criticality may be given or not
            _, value, at = _read(control, at, len(control))
        _, inner, _ = _read(value, 0, len(value))
        _, _, at = _read(inner, 0, len(inner))
        _, found, _ = _read(inner, at, len(inner))
        return found
    return b""
