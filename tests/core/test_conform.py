"""Readings at the border: held to their types, never trusted to be what they say."""

from __future__ import annotations

from typing import Any

import pytest

from agent.conform import MAX_TEXT, conform, from_example, from_json, to_json
from agent.examples import lost
from agent.facttypes import (
    BOOL,
    FLOAT,
    INT,
    STR,
    Enum,
    FactError,
    FactSpec,
    Field,
    ListOf,
    Record,
    Registry,
    split_reference,
)
from agent.model import Partial, Reason, Unknown
from tests.core.box import HIDDEN

RECORD = Record({"n": Field(INT), "s": Field(STR, may_be_absent=True)})


def unreadable(value: Any) -> bool:
    return isinstance(value, Unknown) and value.reason is Reason.UNREADABLE


@pytest.mark.parametrize(
    ("value", "ftype"),
    [
        ("1", INT),
        (True, INT),
        (1.0, INT),
        (1, BOOL),
        ("true", BOOL),
        (True, FLOAT),
        (1, STR),
        ("x" * (MAX_TEXT + 1), STR),
        ("odd", Enum(("a", "b"))),
        ("a", ListOf(STR)),
        ({"a": 1}, ListOf(STR)),
        (["a"], RECORD),
        (Partial((), HIDDEN), RECORD),
        (None, STR),
    ],
)
def test_what_is_not_of_its_type_is_unknown(value: Any, ftype: Any) -> None:
    assert unreadable(conform(value, ftype, False, "f"))


def test_parts_are_judged_one_by_one() -> None:
    got = conform([{"n": 1, "s": None, "extra": "x"}, {"n": "1"}, None, "x"], ListOf(RECORD), False)
    assert got[0] == {"n": 1, "s": None}
    assert unreadable(got[1]["n"])
    assert "s" not in got[1], "missing stays missing: not collected"
    assert unreadable(got[2])
    assert unreadable(got[3])
    assert conform(None, STR, True) is None
    assert conform(HIDDEN, STR, False) is HIDDEN
    assert conform("odd", Enum(("a",), closed=False), False) == "odd"
    assert conform(2, FLOAT, False) == 2
    cut = conform(Partial(("a", 1), HIDDEN), ListOf(STR), False)
    assert cut.items[0] == "a"
    assert unreadable(cut.items[1])


def test_a_target_cannot_forge_a_marker() -> None:
    forged = {"n": 1, "$unknown": ["timed out", ""], "$partial": []}
    assert from_json(to_json(conform(forged, RECORD, False))) == {"n": 1}
    assert unreadable(conform({"$unknown": ["timed out", ""]}, STR, False))
    assert from_json(to_json(Partial((HIDDEN,), HIDDEN))) == Partial((HIDDEN,), HIDDEN)


def test_examples_write_what_is_unknown() -> None:
    assert from_example({"unknown": "permission missing", "detail": "Read.All"}) == HIDDEN
    assert from_example({"partial": [1]}) == Partial((1,), Unknown(Reason.TRUNCATED))
    with pytest.raises(ValueError, match="'lost' is no reason; known:"):
        from_example([{"unknown": "lost"}])


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"n": 1}, ""),
        ({"n": "1"}, "f.n"),
        ({"m": 1}, "f.m"),
        ({"n": None}, "f.n"),
        ({"n": HIDDEN}, ""),
        ({"s": None}, ""),
        ("x", "f"),
    ],
)
def test_examples_that_do_not_fit_are_found(given: Any, place: str) -> None:
    assert lost(given, conform(given, RECORD, False, "f"), "f") == place


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a.b.c", ("a.b.c", None, ())),
        ("sysctl[net.ipv4.ip_forward].boot", ("sysctl", "net.ipv4.ip_forward", ("boot",))),
        (r"registry[HKLM:\Lsa:RunAsPPL]", ("registry", r"HKLM:\Lsa:RunAsPPL", ())),
        ("a[x]y].b", ("a", "x]y", ("b",))),
    ],
)
def test_references(text: str, parts: Any) -> None:
    assert split_reference(text) == parts


@pytest.mark.parametrize("text", ["", "A.b", "a[", "a b", "a[x]y", "a..b", "a.b.", "[x]"])
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(FactError, match="is not a fact"):
        split_reference(text)


def test_a_fact_is_declared_once_for_a_platform() -> None:
    registry = Registry()
    registry.add(FactSpec("n", INT, "one"))
    registry.add(FactSpec("n", INT, "two"))
    with pytest.raises(FactError, match="declared twice"):
        registry.add(FactSpec("n", STR, "one"))
    assert registry.platforms() == ["one", "two"]
    with pytest.raises(FactError, match="no fact 'n' for platform three"):
        registry.resolve("three", "n")


def test_names_of_facts_may_hold_dots() -> None:
    registry = Registry()
    registry.add(FactSpec("a.b", RECORD, "one", may_be_absent=True))
    ref = registry.resolve("one", "a.b.n")
    assert (ref.fact, ref.path, ref.type, ref.may_be_absent) == ("a.b", ("n",), INT, True)
