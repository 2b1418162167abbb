"""Filters: the evaluator against a naive reference, and the rules that are Active Directory's own."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyasn1.codec.ber import encoder

from agent.demo import ldap_wire as wire
from agent.demo.ldap_entry import Entry, dn_key, load_entries, make_entry, sid_bytes
from agent.demo.ldap_filter import And, Compare, Extensible, Filter, Not, Or, Present, Substrings, matches
from agent.demo.ldap_schema import active_directory_schema

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # ldap3 2.9.1 asks pyasn1 for names since changed
    from ldap3 import SUBTREE
    from ldap3.operation.search import search_operation
    from ldap3.protocol.convert import build_controls_list
    from ldap3.protocol.rfc4511 import LDAPMessage, MessageID, ProtocolOp

SCHEMA = active_directory_schema()
NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def sent(text: str, controls: Any = None) -> wire.Search:
    """What this server reads when ldap3 sends a search with the filter."""
    message = LDAPMessage()
    message["messageID"] = MessageID(7)
    operation = search_operation("dc=x", text, SUBTREE, 0, ["cn", "*"], 5, 9, True, False, True)
    message["protocolOp"] = ProtocolOp().setComponentByName("searchRequest", operation)
    listed = build_controls_list(controls)
    if listed is not None:
        message["controls"] = listed
    read = wire.read_message(encoder.encode(message))
    assert read.number == 7
    assert isinstance(read.request, wire.Search)
    return read.request


def fits(text: str, entry: Entry, account: str = "") -> bool | None:
    def lookup(name: str) -> tuple[bytes, ...] | None:
        return entry.values(name) if entry.readable(name, account) else None

    return matches(sent(text).filter, lookup, SCHEMA)


PERSON = make_entry(
    "CN=Ava O\\,Brien,OU=Staff,DC=ad,DC=example",
    {
        "objectClass": ["top", "person", "user"],
        "objectCategory": "CN=Person,CN=Schema,CN=Configuration,DC=ad,DC=example",
        "cn": "Ava O,Brien",
        "description": "The Password is on the desk",
        "userAccountControl": "66048",
        "groupType": "-2147483646",
        "lastLogonTimestamp": "{{filetime-93d}}",
        "whenCreated": "{{generalized-400d}}",
        "memberOf": "CN=Staff, OU=Groups,DC=ad,DC=example",
        "objectSid": "base64:AQUAAAAAAAUVAAAAAQAAAAIAAAADAAAA9AEAAA==",
        "isCriticalSystemObject": "TRUE",
        "mail": ["ava@example.org"],
    },
    now=NOW,
    hidden_attributes={"mail": ["svc@example.org"]},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(cn=AVA o\\2cbrien)", True),
        ("(cn=ava*)", True),
        ("(cn=*o,*en)", True),
        ("(cn=a*a*v*)", False),
        ("(cn=ava o,brien*brien)", False),
        ("(description=*password*)", True),
        ("(objectCategory=person)", True),
        ("(objectCategory=user)", True),
        ("(objectCategory=computer)", False),
        ("(objectCategory=CN=Person,CN=Schema,CN=Configuration,DC=AD,DC=example)", True),
        ("(userAccountControl=066048)", True),
        ("(userAccountControl>=100000)", False),
        ("(userAccountControl<=9999999)", True),
        ("(userAccountControl:1.2.840.113556.1.4.803:=65536)", True),
        ("(userAccountControl:1.2.840.113556.1.4.803:=65538)", False),
        ("(userAccountControl:1.2.840.113556.1.4.804:=65538)", True),
        ("(groupType:1.2.840.113556.1.4.803:=2147483648)", True),
        ("(!(userAccountControl:1.2.840.113556.1.4.803:=2))", True),
        ("(userAccountControl:1.2.3:=2)", None),
        ("(userAccountControl=many)", None),
        ("(lastLogonTimestamp<=134073792000000000)", True),
        ("(whenCreated<=20250101000000.0Z)", True),
        ("(whenCreated>=20250101000000.0Z)", False),
        ("(whenCreated>=yesterday)", None),
        ("(memberOf=cn=staff,ou=groups,dc=ad,dc=example)", True),
        ("(memberOf=cn=*)", None),
        ("(objectSid=S-1-5-21-1-2-3-500)", True),
        ("(objectSid=S-1-5-21-1-2-3-501)", False),
        ("(objectSid=S-x)", None),
        ("(isCriticalSystemObject=true)", True),
        ("(sn~=Brien)", False),
        ("(cn~=ava o,brien)", True),
        ("(telephoneNumber=*)", False),
        ("(!(telephoneNumber=*))", True),
        ("(noSuchAttribute=*)", None),
        ("(!(noSuchAttribute=*))", None),
        ("(|(noSuchAttribute=*)(cn=*))", True),
        ("(&(noSuchAttribute=*)(cn=nobody))", False),
        ("(:dn:2.5.13.5:=x)", None),
        ("(1.2.840.113556.1.4.8=66048)", True),
    ],
)
def test_active_directory_rules(text: str, expected: bool | None) -> None:
    assert fits(text, PERSON) is expected


def test_what_may_not_be_read_is_undefined() -> None:
    assert fits("(mail=*)", PERSON) is True
    assert fits("(mail=*)", PERSON, "svc@example.org") is None
    assert fits("(!(mail=*))", PERSON, "svc@example.org") is None


NAMES = st.sampled_from(["cn", "sn", "badPwdCount", "noSuchAttribute"])
WORDS = st.text(alphabet="abAB1*", max_size=4)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "cn": st.lists(WORDS.filter(bool), min_size=1, max_size=3),
        "sn": st.lists(WORDS.filter(bool), min_size=1, max_size=2),
        "badPwdCount": st.lists(st.integers(-5, 5).map(str), min_size=1, max_size=1),
    },
)
LEAVES: st.SearchStrategy[Filter] = st.one_of(
    NAMES.map(Present),
    st.builds(Compare, st.sampled_from(["=", ">=", "<=", "~="]), NAMES, WORDS.map(str.encode)),
    st.builds(Compare, st.sampled_from(["=", ">=", "<="]), NAMES, st.integers(-5, 5).map(lambda n: str(n).encode())),
    st.builds(
        Substrings, NAMES, WORDS.map(str.encode), st.lists(WORDS.map(str.encode), max_size=2).map(tuple),
        WORDS.map(str.encode),
    ),
    st.builds(
        Extensible, st.sampled_from([None, "1.2.840.113556.1.4.803", "1.2.840.113556.1.4.804", "1.2"]), NAMES,
        st.integers(0, 7).map(lambda n: str(n).encode()),
    ),
)  # fmt: skip
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: Or(tuple(parts))),
    ),
    max_leaves=8,
)


def naive(wanted: Filter, values: dict[str, list[str]]) -> bool | None:
    """The same rules said another way: truth as 1, 0.5 and 0, substrings by trying every cut, bits one by one."""

    def degree(part: Filter) -> float:
        if isinstance(part, Not):
            return 1 - degree(part.part)
        if isinstance(part, And):
            return min(degree(one) for one in part.parts)
        if isinstance(part, Or):
            return max(degree(one) for one in part.parts)
        name = part.attribute or ""
        if name == "noSuchAttribute":
            return 0.5
        held = values.get(name, [])
        if isinstance(part, Present):
            return float(len(held) > 0)
        if isinstance(part, Substrings):
            if name == "badPwdCount":
                return 0.5
            pieces = [piece.decode().lower() for piece in (part.initial, *part.middle, part.final)]
            return float(any(cut(one.lower(), pieces, first=True) for one in held))
        asked = part.value.decode()
        rule = part.rule if isinstance(part, Extensible) else None
        if name == "badPwdCount":
            if not asked.lstrip("-").isdigit():
                return 0.5
            numbers = [int(one) for one in held]
            if rule:
                bits = [1 << n for n in range(8) if int(asked) >> n & 1]
                if rule == "1.2":
                    return 0.5
                quantifier = all if rule.endswith("803") else any
                return float(any(quantifier(number & bit for bit in bits) for number in numbers))
            return float(any(ordered(getattr(part, "kind", "="), number, int(asked)) for number in numbers))
        if rule:
            return 0.5
        return float(any(ordered(getattr(part, "kind", "="), one.lower(), asked.lower()) for one in held))

    return {1.0: True, 0.0: False}.get(degree(wanted))


def ordered(kind: str, have: object, asked: object) -> bool:
    first, _ = sorted([have, asked])  # type: ignore[type-var]
    return have == asked if kind in ("=", "~=") else (have == asked or (first == asked) == (kind == ">="))


def cut(text: str, pieces: list[str], *, first: bool) -> bool:
    """Whether pieces fit in order: the first at the start, the last at the end, gaps between."""
    if len(pieces) == 1:
        return text.endswith(pieces[0])
    starts = [0] if first else range(len(text) + 1)
    return any(
        text[at:].startswith(pieces[0]) and cut(text[at + len(pieces[0]) :], pieces[1:], first=False) for at in starts
    )


@given(FILTERS, ENTRIES)
def test_evaluation_agrees_with_a_naive_reference(wanted: Filter, values: dict[str, list[str]]) -> None:
    entry = make_entry("CN=x,DC=ad,DC=example", values, now=NOW)
    assert matches(wanted, entry.values, SCHEMA) == naive(wanted, values)


def test_ldap3_requests_are_read_whole() -> None:
    read = sent(
        "(&(objectClass=user)(!(cn:=x))(|(cn=a*b*c)(cn>=3)(cn<=4)(x~=y)(mail=*)(:dn:2.5.13.2:=foo)(sn=*z)))",
        [("1.2.840.113556.1.4.801", True, b"0\x03\x02\x01\x07")],
    )
    assert (read.base, read.scope, read.size_limit, read.types_only) == ("dc=x", 2, 5, True)
    assert read.attributes == ("cn", "*")
    assert isinstance(read.filter, And)
    assert set(read.filter.parts) >= {Compare("=", "objectClass", b"user"), Not(Extensible(None, "cn", b"x"))}
    inner = next(part for part in read.filter.parts if isinstance(part, Or))
    assert set(inner.parts) == {
        Substrings("cn", b"a", (b"b",), b"c"),
        Compare(">=", "cn", b"3"),
        Compare("<=", "cn", b"4"),
        Compare("~=", "x", b"y"),
        Present("mail"),
        Extensible("2.5.13.2", None, b"foo"),
        Substrings("sn", b"", (), b"z"),
    }


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_raise_wire_error_only(data: bytes) -> None:
    for raw in (data, wire.tlv(0x30, wire.integer(1), wire.tlv(0x63, data))):
        try:
            wire.message_size(raw)
            wire.read_message(raw)
        except wire.WireError:
            continue


def test_a_filter_nested_too_deeply_is_refused() -> None:
    nested = wire.tlv(0x87, b"cn")
    for _ in range(wire.MAX_FILTER_DEPTH + 1):
        nested = wire.tlv(0xA2, nested)
    body = wire.tlv(0x04) + wire.integer(2, 0x0A) + wire.integer(0, 0x0A) + wire.integer(0) * 2 + wire.tlv(1, b"\0")
    with pytest.raises(wire.WireError, match="deeply"):
        wire.read_message(wire.tlv(0x30, wire.integer(1), wire.tlv(0x63, body, nested, wire.tlv(0x30))))


def test_names_compare_by_their_parts() -> None:
    assert (
        dn_key("CN=A\\,B, OU=Schools,DC=x") == dn_key("cn=a\\2cb,ou=SCHOOLS,dc=X") == ("cn=a,b", "ou=schools", "dc=x")
    )
    assert dn_key("") == ()
    with pytest.raises(ValueError, match="not a distinguished name"):
        dn_key("svc@example.org")


def test_entries_load_from_json_with_times_and_binaries() -> None:
    (entry,) = load_entries(
        [
            {
                "dn": "CN=x,DC=y",
                "attributes": {
                    "objectSid": ["base64:AQUAAAAAAAUVAAAAAQAAAAIAAAADAAAA9AEAAA=="],
                    "pwdLastSet": ["{{filetime-2d}}"],
                    "whenChanged": ["{{generalized+3h}}", "{{generalized}}"],
                },
                "hidden_from": ["SVC@example.org"],
            }
        ],
        NOW,
    )
    assert entry.values("objectsid") == (sid_bytes("S-1-5-21-1-2-3-500"),)
    assert entry.text("pwdLastSet") == "134141616000000000"
    assert entry.values("whenChanged") == (b"20260131150000.0Z", b"20260131120000.0Z")
    assert not entry.visible_to("svc@example.org")
    assert entry.visible_to("")


@pytest.mark.parametrize(
    "document",
    [
        {"dn": "CN=x", "attributes": {"a": ["base64:***"]}},
        {"dn": "x", "attributes": {}},
        {"dn": "CN=x"},
        {"dn": "CN=x", "attributes": {"a": 5}},
    ],
)
def test_an_entry_that_cannot_be_read_is_named(document: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="directory entry 0"):
        load_entries([document])
