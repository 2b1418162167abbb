"""LDAPv3 messages (RFC 4511) in BER, as a server reads and writes them.

Written by hand, about as long as the glue to a general ASN.1 package would be: the definitions that come with ldap3
cannot decode a nested filter, and a stand-in that shared its client's codec would share its mistakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.demo.ldap_filter import And, Compare, Extensible, Filter, Not, Or, Present, Substrings

MAX_MESSAGE = 1 << 20  # bytes; a search request is far smaller
MAX_FILTER_DEPTH = 100

# Result codes, RFC 4511 section 4.1.9.
SUCCESS, OPERATIONS_ERROR, PROTOCOL_ERROR, SIZE_LIMIT_EXCEEDED = 0, 1, 2, 4
COMPARE_FALSE, COMPARE_TRUE, AUTH_METHOD_NOT_SUPPORTED, STRONGER_AUTH_REQUIRED = 5, 6, 7, 8
REFERRAL, UNAVAILABLE_CRITICAL_EXTENSION, NO_SUCH_ATTRIBUTE = 10, 12, 16
NO_SUCH_OBJECT, INVALID_DN_SYNTAX, INVALID_CREDENTIALS, INSUFFICIENT_ACCESS = 32, 34, 49, 50
BUSY, UNAVAILABLE, UNWILLING_TO_PERFORM = 51, 52, 53

BIND_RESPONSE, SEARCH_DONE, COMPARE_RESPONSE, EXTENDED_RESPONSE = 0x61, 0x65, 0x6F, 0x78
_SEARCH_ENTRY, _SEARCH_REFERENCE = 0x64, 0x73
# What is refused as a whole: request tag to response tag (modify, add, delete, modify DN).
REFUSED_WRITES = {0x66: 0x67, 0x68: 0x69, 0x4A: 0x6B, 0x6C: 0x6D}


class WireError(ValueError):
    """The bytes are not an LDAP message that this server understands."""


@dataclass(frozen=True, slots=True)
class Control:
    """A request control; `value` is None when there is none."""

    oid: str
    critical: bool
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Bind:
    """`password` is None when the method is not the simple one."""

    version: int
    name: str
    password: bytes | None


@dataclass(frozen=True, slots=True)
class Search:
    """`scope`: 0 base, 1 one level, 2 subtree."""

    base: str
    scope: int
    size_limit: int
    types_only: bool
    filter: Filter
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CompareValue:
    """Does the entry hold this value?"""

    dn: str
    attribute: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Extended:
    """An extended operation, by OID."""

    oid: str


@dataclass(frozen=True, slots=True)
class Unbind:
    """The client says goodbye."""


@dataclass(frozen=True, slots=True)
class Abandon:
    """The client no longer wants an answer; there is none to this either."""


@dataclass(frozen=True, slots=True)
class Write:
    """A change, which this directory refuses; `answer` is the tag of the response."""

    answer: int


Request = Bind | Search | CompareValue | Extended | Unbind | Abandon | Write


@dataclass(frozen=True, slots=True)
class Message:
    """One request with its number and controls."""

    number: int
    request: Request
    controls: tuple[Control, ...]


class _Reader:
    """Walks the elements of one constructed value. Raises WireError when an element is missing or of another kind."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, start: int = 0, end: int | None = None) -> None:
        self.data, self.position, self.end = data, start, len(data) if end is None else end

    def more(self) -> bool:
        return self.position < self.end

    def peek(self) -> int:
        if not self.more():
            raise WireError("an element is missing")
        return self.data[self.position]

    def element(self) -> tuple[int, int, int]:
        """The next element: tag, and where its contents start and end."""
        tag = self.peek()
        start, size = _length(self.data, self.position + 1, self.end)
        if start + size > self.end:
            raise WireError("an element is longer than what holds it")
        self.position = start + size
        return tag, start, start + size

    def value(self, *tags: int) -> bytes:
        tag, start, end = self.element()
        if tag not in tags:
            raise WireError(f"found element 0x{tag:02x} where 0x{tags[0]:02x} belongs")
        return self.data[start:end]

    def inner(self, *tags: int) -> _Reader:
        tag, start, end = self.element()
        if tag not in tags:
            raise WireError(f"found element 0x{tag:02x} where 0x{tags[0]:02x} belongs")
        return _Reader(self.data, start, end)

    def number(self, tag: int = 0x02) -> int:
        raw = self.value(tag)
        if not 1 <= len(raw) <= 8:
            raise WireError("a number of this size does not belong here")
        return int.from_bytes(raw, "big", signed=True)

    def text(self, *tags: int) -> str:
        try:
            return self.value(*(tags or (0x04,))).decode("utf-8")
        except UnicodeDecodeError as error:
            raise WireError("a text is not UTF-8") from error


def _length(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Read a definite length: where the contents start, and their size."""
    if position >= end:
        raise WireError("a length is missing")
    first = data[position]
    if first < 0x80:
        return position + 1, first
    count = first & 0x7F
    if not 1 <= count <= 4 or position + 1 + count > end:
        raise WireError("a length is not definite or too large")
    return position + 1 + count, int.from_bytes(data[position + 1 : position + 1 + count], "big")


def message_size(head: bytes) -> int | None:
    """The whole size of the message that starts here, or None while too little has arrived.

    Raises WireError when this is no LDAP message or a larger one than `MAX_MESSAGE`.
    """
    if head and head[0] != 0x30:
        raise WireError("not an LDAP message")
    if len(head) < 2 or (head[1] >= 0x80 and len(head) < 2 + (head[1] & 0x7F)):
        return None
    start, size = _length(head, 1, len(head))
    if start + size > MAX_MESSAGE:
        raise WireError("the message is too long")
    return start + size


def read_message(data: bytes) -> Message:
    """Decode one whole message. Raises WireError."""
    outer = _Reader(data).inner(0x30)
    number = outer.number()
    tag, start, end = outer.element()
    request = _request(tag, _Reader(data, start, end), data[start:end])
    controls = []
    if outer.more():
        listed = outer.inner(0xA0)
        while listed.more():
            one = listed.inner(0x30)
            oid = one.text()
            critical = bool(one.value(0x01).strip(b"\x00")) if one.more() and one.peek() == 0x01 else False
            controls.append(Control(oid, critical, one.value(0x04) if one.more() else None))
    return Message(number, request, tuple(controls))


def _request(tag: int, body: _Reader, raw: bytes) -> Request:
    if tag in REFUSED_WRITES:
        return Write(REFUSED_WRITES[tag])
    match tag:
        case 0x60:
            version, name = body.number(), body.text()
            simple = body.peek() == 0x80
            return Bind(version, name, body.value(0x80) if simple else None)
        case 0x42:
            return Unbind()
        case 0x50:
            return Abandon()
        case 0x63:
            base, scope = body.text(), body.number(0x0A)
            body.number(0x0A)  # aliases: Active Directory has none
            size_limit = body.number()
            body.number()  # time limit: answers here take no time
            types_only = bool(body.value(0x01).strip(b"\x00"))
            if scope not in (0, 1, 2) or size_limit < 0:
                raise WireError("the search has an impossible scope or limit")
            wanted = _filter(body, MAX_FILTER_DEPTH)
            names, attributes = body.inner(0x30), []
            while names.more():
                attributes.append(names.text())
            return Search(base, scope, size_limit, types_only, wanted, tuple(attributes))
        case 0x6E:
            dn, pair = body.text(), body.inner(0x30)
            return CompareValue(dn, pair.text(), pair.value(0x04))
        case 0x77:
            return Extended(body.text(0x80))
        case _:
            raise WireError(f"operation 0x{tag:02x} with {len(raw)} bytes is not known")


def _filter(reader: _Reader, depth: int) -> Filter:
    if depth == 0:
        raise WireError("the filter is nested too deeply")
    tag = reader.peek()
    if tag == 0x87:
        return Present(reader.text(0x87))
    body = reader.inner(tag)
    match tag:
        case 0xA0 | 0xA1:
            parts = []
            while body.more():
                parts.append(_filter(body, depth - 1))
            return And(tuple(parts)) if tag == 0xA0 else Or(tuple(parts))
        case 0xA2:
            return Not(_filter(body, depth - 1))
        case 0xA3:
            return Compare("=", body.text(), body.value(0x04))
        case 0xA5:
            return Compare(">=", body.text(), body.value(0x04))
        case 0xA6:
            return Compare("<=", body.text(), body.value(0x04))
        case 0xA8:
            return Compare("~=", body.text(), body.value(0x04))
        case 0xA4:
            return _substrings(body)
        case 0xA9:
            rule = body.text(0x81) if body.peek() == 0x81 else None
            attribute = body.text(0x82) if body.peek() == 0x82 else None
            return Extensible(rule, attribute, body.value(0x83))
        case _:
            raise WireError(f"filter 0x{tag:02x} is not known")


def _substrings(body: _Reader) -> Substrings:
    attribute, pieces = body.text(), body.inner(0x30)
    initial, middle, final = b"", [], b""
    while pieces.more():
        tag = pieces.peek()
        piece = pieces.value(0x80, 0x81, 0x82)
        if tag == 0x80:
            initial = piece
        elif tag == 0x81:
            middle.append(piece)
        else:
            final = piece
    return Substrings(attribute, initial, tuple(middle), final)


def tlv(tag: int, *contents: bytes) -> bytes:
    """One element with a definite length."""
    body = b"".join(contents)
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    raw = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(raw))) + raw + body


def integer(value: int, tag: int = 0x02) -> bytes:
    """A whole number (or, with tag 0x0A, an enumerated one)."""
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _octets(value: str | bytes, tag: int = 0x04) -> bytes:
    return tlv(tag, value.encode() if isinstance(value, str) else value)


def result(
    number: int,
    tag: int,
    code: int,
    text: str = "",
    *,
    matched: str = "",
    referral: Sequence[str] = (),
    name: str | None = None,
    value: bytes | None = None,
    controls: bytes = b"",
) -> bytes:
    """An LDAPResult of any kind; `name` and `value` are those of an extended response."""
    parts = [integer(code, 0x0A), _octets(matched), _octets(text)]
    if referral:
        parts.append(tlv(0xA3, *(_octets(url) for url in referral)))
    if name is not None:
        parts.append(_octets(name, 0x8A))
    if value is not None:
        parts.append(_octets(value, 0x8B))
    return tlv(0x30, integer(number), tlv(tag, *parts), tlv(0xA0, controls) if controls else b"")


def search_entry(number: int, dn: str, attributes: Iterable[tuple[str, Sequence[bytes]]]) -> bytes:
    """One entry of a search."""
    listed = (tlv(0x30, _octets(name), tlv(0x31, *(_octets(held) for held in values))) for name, values in attributes)
    return tlv(0x30, integer(number), tlv(_SEARCH_ENTRY, _octets(dn), tlv(0x30, *listed)))


def search_reference(number: int, urls: Sequence[str]) -> bytes:
    """A continuation reference of a search: some of the answer is elsewhere."""
    return tlv(0x30, integer(number), tlv(_SEARCH_REFERENCE, *(_octets(url) for url in urls)))


PAGED_RESULTS = "1.2.840.113556.1.4.319"


def paged_request(value: bytes | None) -> tuple[int, bytes]:
    """Page size and cookie of a paged results control (RFC 2696). Raises WireError."""
    body = _Reader(value or b"").inner(0x30)
    size = body.number()
    return max(size, 0), body.value(0x04)


def paged_answer(cookie: bytes) -> bytes:
    """The paged results control of an answer; an empty cookie means that nothing follows. The total is not told."""
    return tlv(0x30, _octets(PAGED_RESULTS), _octets(tlv(0x30, integer(0), _octets(cookie))))


def sd_flags(value: bytes | None) -> int:
    """The flags of an SD-flags control (MS-ADTS 3.1.1.3.4.1.11): 1 owner, 2 group, 4 DACL, 8 SACL. Raises WireError."""
    return _Reader(value or b"").inner(0x30).number()
