"""The reader of search answers: whatever was written is read, however it is cut up, and nothing bent passes for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.connect import ldap_wire as wire
from agent.connect.ldap import _load
from agent.connect.ldap_search import Searcher
from agent.facts.ad.directory import Entry
from agent.model import Reason

NUMBER = 7
Values = dict[str, list[bytes]]


def short(size: int) -> bytes:
    """A length in as few octets as it takes: OpenLDAP and Samba."""
    if size < 128:
        return bytes([size])
    octets = (size.bit_length() + 7) // 8
    return bytes([0x80 | octets]) + size.to_bytes(octets, "big")


def ber(tag: int, *parts: bytes, wide: bool = False) -> bytes:
    """`wide`: lengths of what holds others in four octets, as Windows writes them."""
    body = b"".join(parts)
    return bytes([tag]) + (b"\x84" + len(body).to_bytes(4, "big") if wide and tag & 0x20 else short(len(body))) + body


def entry(dn: str, values: Values, wide: bool = False, number: bytes = b"\2\1\7") -> bytes:
    attributes = [
        ber(0x30, ber(4, k.encode()), ber(0x31, *(ber(4, v) for v in vs), wide=wide), wide=wide)
        for k, vs in values.items()
    ]
    return ber(0x30, number, ber(0x64, ber(4, dn.encode()), ber(0x30, *attributes, wide=wide), wide=wide), wide=wide)


DONE = ber(0x30, b"\2\1\7", ber(0x65, ber(10, b"\0"), ber(4), ber(4)))

names = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}", fullmatch=True)
attributes = st.dictionaries(
    names, st.lists(st.binary(max_size=40) | st.binary(min_size=120, max_size=300), max_size=4), max_size=8
).filter(lambda d: len({k.lower() for k in d}) == len(d))
dns = st.text(st.characters(codec="utf-8"), max_size=60)
entries = st.lists(st.tuples(dns, attributes), max_size=6)


class Line:
    """A socket that gives prepared chunks."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.chunks = [c for c in chunks if c]

    def settimeout(self, seconds: float | None) -> None: ...

    def sendall(self, data: bytes) -> None: ...

    def recv(self, size: int) -> bytes:
        return self.chunks.pop(0) if self.chunks else b""


def search(chunks: Sequence[bytes], take: Any = None) -> Any:
    searcher = Searcher(Line(chunks), "dc", time.monotonic() + 30, 1 << 24, lambda *_: (NUMBER, b""))
    return searcher.search("", "", [], "sub", False, take)


def folded(values: Values) -> dict[str, tuple[bytes, ...]]:
    return {k.lower(): tuple(vs) for k, vs in values.items()}


@given(entries, st.booleans(), st.lists(st.integers(1, 400), max_size=30))
def test_what_was_written_is_read_however_it_is_cut(
    made: list[tuple[str, Values]], wide: bool, cuts: list[int]
) -> None:
    whole = b"".join(entry(dn, values, wide) for dn, values in made) + DONE
    chunks, place = [], 0
    for size in cuts:
        chunks.append(whole[place : place + size])
        place += size
    found = search([*chunks, whole[place:]])
    assert found.why is None
    assert [(e.dn, dict(e.attributes)) for e in found.entries] == [(dn, folded(values)) for dn, values in made]


@given(entries, st.booleans())
def test_it_agrees_with_the_decoder_of_ldap3(made: list[tuple[str, Values]], wide: bool) -> None:
    _load()
    from ldap3.operation.search import search_result_entry_response_to_dict_fast
    from ldap3.utils.asn1 import decode_message_fast

    memory = wire.Memory()
    for dn, values in made:
        message = entry(dn, values, wide)
        ours: list[wire.Sent] = []
        assert wire.read(message, NUMBER, memory, ours) == (None, len(message))
        theirs = search_result_entry_response_to_dict_fast(decode_message_fast(message)["payload"], None, None, False)
        assert theirs["raw_dn"].decode() == ours[0][0]
        assert {k.lower(): tuple(v or ()) for k, v in theirs["raw_attributes"].items()} == ours[0][1]


@given(entries, st.binary(min_size=1, max_size=200), st.integers(0, 6))
def test_any_noise_ends_in_an_answer(made: list[tuple[str, Values]], noise: bytes, after: int) -> None:
    head = b"".join(entry(dn, values) for dn, values in made[:after])
    found = search([head + noise])
    assert found.why is not None or b"\x65" in noise
    assert len(found.entries) >= len(made[:after])  # what came before the noise is kept


@given(st.data(), entries, st.booleans())
def test_a_bent_answer_is_never_a_crash_and_never_more_than_it_was(
    data: st.DataObject, made: list[tuple[str, Values]], wide: bool
) -> None:
    whole = bytearray(b"".join(entry(dn, values, wide) for dn, values in made) + DONE)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        match data.draw(st.sampled_from("set cut add")):
            case "set":
                whole[place] = data.draw(st.integers(0, 255))
            case "cut":
                del whole[place : place + data.draw(st.integers(1, 40))]
            case "add":
                whole[place:place] = data.draw(st.binary(min_size=1, max_size=20))
        if not whole:
            break
    found = search([bytes(whole)])
    size = sum(len(v) for e in found.entries for vs in e.attributes.values() for v in vs)
    assert size <= len(whole)
    if found.why is not None:
        assert found.why.reason in (Reason.UNREADABLE, Reason.UNREACHABLE, *_REFUSALS)


_REFUSALS = set(Reason)  # a bent result code may be any refusal


@given(entries, st.data())
def test_a_cut_answer_is_never_whole(made: list[tuple[str, Values]], data: st.DataObject) -> None:
    whole = b"".join(entry(dn, values) for dn, values in made) + DONE
    found = search([whole[: data.draw(st.integers(0, len(whole) - 1))]])
    assert found.why is not None
    assert found.why.reason is Reason.UNREACHABLE
    assert len(found.entries) <= len(made)


@pytest.mark.parametrize("number", [b"\2\1\7", b"\2\2\0\7", b"\2\4\0\0\0\7"])
def test_a_message_number_may_be_written_in_several_ways(number: bytes) -> None:
    found = search([entry("CN=a", {"cn": [b"a"]}, number=number) + DONE])
    assert found.why is None
    assert [e.dn for e in found.entries] == ["CN=a"]


@pytest.mark.parametrize(
    "bent",
    [
        entry("CN=a", {"cn": [b"a"]}, number=b"\2\1\x08"),
        entry("CN=a", {"c n": [b"a"]}),
        entry("CN=a", {"cn": [b"a"], "CN": [b"b"]}),
        entry("CN=a", {"cn": [b"a"]}).replace(b"\x31\x03\x04\x01a", b"\x31\x03\x04\x02a"),
        entry("CN=a", {"cn": [b"a"]}).replace(b"\x31\x03\x04\x01a", b"\x31\x03\x05\x01a"),
        entry("CN=a", {"cn": [b""]}).replace(b"\x31\x02\x04\x00", b"\x31\x02\x04\x80"),
        entry("CN=a", {"cn": [b"a"]}).replace(b"\x04\x02cn", b"\x05\x02cn"),
    ],
    ids=["other question", "name", "twice", "too long", "no value", "indefinite", "no name"],
)
def test_an_entry_that_breaks_the_rules_is_unreadable(bent: bytes) -> None:
    # The first entry teaches the reader what such an attribute looks like; the bent one comes after it.
    found = search([entry("CN=0", {"cn": [b"0"]}) + bent + DONE])
    assert found.why is not None
    assert found.why.reason is Reason.UNREADABLE
    assert [e.dn for e in found.entries] == ["CN=0"]


def test_what_is_taken_stands_for_the_entry() -> None:
    seen: list[Entry] = []

    def take(e: Entry) -> str:
        seen.append(e)
        return e.dn.lower()

    found = search([entry("CN=A", {"cn": [b"a"]}) + entry("CN=B", {}) + DONE], take)
    assert found.entries == ["cn=a", "cn=b"]
    assert [e.dn for e in seen] == ["CN=A", "CN=B"]


def test_memory_is_bounded() -> None:
    memory, found = wire.Memory(), []  # type: ignore[var-annotated]
    for n in range(3 * wire.MAX_NAMES):
        wire.read(entry("CN=a", {f"a{n}": [b"x" * (n % 100)]}), NUMBER, memory, found)
    assert len(found) == 3 * wire.MAX_NAMES
    assert len(memory.names) <= wire.MAX_NAMES
    assert len(memory.heads) <= wire.MAX_HEADS
