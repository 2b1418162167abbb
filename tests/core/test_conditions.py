"""The condition language, operator by operator, and every mistake that must not load."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from agent.condition import NA, ConditionError, fill
from agent.model import Partial, Reason, Unknown
from tests.core.box import HIDDEN, compiled, offenders, thing, truth, view

CUT = Partial(("a",), Unknown(Reason.TRUNCATED, "1 MiB"))
EMPTY_CUT = Partial((), Unknown(Reason.TRUNCATED, "1 MiB"))


@pytest.mark.parametrize(
    ("leaf", "value", "expected"),
    [
        ({"fact": "word", "equals": "no"}, "no", True),
        ({"fact": "word", "equals": "no"}, "No", False),
        ({"fact": "word", "equals": "NO", "ignore_case": True}, "no", True),
        ({"fact": "word", "equals": "STRASSE", "ignore_case": True}, "straße", True),
        ({"fact": "word", "equals": ""}, "", True),
        ({"fact": "word", "not_equals": "x"}, "y", True),
        ({"fact": "word", "not_equals": "X", "ignore_case": True}, "x", False),
        ({"fact": "number", "equals": 3}, 3, True),
        ({"fact": "flag", "equals": True}, True, True),
        ({"fact": "flag", "not_equals": True}, True, False),
        ({"fact": "number", "at_least": 3}, 3, True),
        ({"fact": "number", "at_least": 3}, 2, False),
        ({"fact": "number", "at_most": 3}, 3, True),
        ({"fact": "number", "at_most": 3}, 4, False),
        ({"fact": "share", "at_least": 0.5}, 0.5, True),
        ({"fact": "share", "at_least": 1}, 0.99, False),
        ({"fact": "word", "one_of": ["a", "b"]}, "b", True),
        ({"fact": "word", "one_of": ["A"], "ignore_case": True}, "a", True),
        ({"fact": "word", "one_of": []}, "a", False),
        ({"fact": "word", "not_one_of": ["a", "b"]}, "c", True),
        ({"fact": "number", "not_one_of": [1, 2]}, 2, False),
        ({"fact": "state", "one_of": ["up", "idle"]}, "idle", True),
        ({"fact": "words", "contains": "a"}, ["b", "a"], True),
        ({"fact": "words", "contains": "a"}, [], False),
        ({"fact": "words", "contains": "a"}, CUT, True),
        ({"fact": "words", "contains": "b"}, CUT, None),
        ({"fact": "words", "contains": "b"}, ["a", HIDDEN], None),
        ({"fact": "words", "contains": "A", "ignore_case": True}, CUT, True),
        ({"fact": "words", "contains_all": ["a", "b"]}, ["b", "a", "c"], True),
        ({"fact": "words", "contains_all": ["a", "b"]}, ["a"], False),
        ({"fact": "words", "contains_all": ["a", "b"]}, CUT, None),
        ({"fact": "words", "contains_all": []}, [], True),
        ({"fact": "words", "contains_any": ["x", "a"]}, ["a"], True),
        ({"fact": "words", "contains_any": ["x"]}, CUT, None),
        ({"fact": "words", "contains_any": ["x"]}, ["a"], False),
        ({"fact": "words", "contains_none": ["x"]}, ["a"], True),
        ({"fact": "words", "contains_none": ["x"]}, CUT, None),
        ({"fact": "words", "contains_none": ["a"]}, CUT, False),
        ({"fact": "words", "only": ["a", "b"]}, ["a", "a"], True),
        ({"fact": "words", "only": ["a"]}, ["a", "z"], False),
        ({"fact": "words", "only": ["a"]}, CUT, None),
        ({"fact": "words", "only": ["b"]}, CUT, False),
        ({"fact": "words", "only": ["A"], "ignore_case": True}, ["a"], True),
        ({"fact": "words", "only": []}, [], True),
        ({"fact": "word", "matches": "^GRP-"}, "GRP-OAK", True),
        ({"fact": "word", "matches": "^GRP-"}, "xGRP-OAK", False),
        ({"fact": "word", "matches": "^grp-", "ignore_case": True}, "GRP-OAK", True),
        ({"fact": "word", "matches": "a{2}"}, "caab", True),
        ({"fact": "mood", "matches": "^o"}, "odd", True),
        ({"fact": "opt_word", "is_set": True}, None, False),
        ({"fact": "opt_word", "is_set": False}, None, True),
        ({"fact": "opt_word", "is_set": True}, "", True),
        ({"fact": "opt_box", "is_set": True}, {}, True),
        ({"fact": "words", "is_set": True}, CUT, True),
        ({"fact": "opt_word", "is_empty": True}, None, True),
        ({"fact": "word", "is_empty": True}, "", True),
        ({"fact": "word", "is_empty": False}, "a", True),
        ({"fact": "words", "is_empty": True}, [], True),
        ({"fact": "words", "is_empty": False}, CUT, True),
        ({"fact": "words", "is_empty": True}, EMPTY_CUT, None),
        ({"fact": "opt_words", "is_empty": False}, None, False),
        ({"fact": "release", "version_at_least": "1.9"}, "1.10", True),
        ({"fact": "release", "version_at_least": "2.0"}, "2", True),
        ({"fact": "release", "version_at_least": "1.9"}, "unknown", None),
        ({"fact": "deb", "version_at_least": "1:1.0"}, "9.9", False),
        ({"fact": "deb", "version_at_least": "1.0~rc1"}, "1.0", True),
        ({"fact": "mode", "mode_at_most": "0640"}, "0640", True),
        ({"fact": "mode", "mode_at_most": "0640"}, "600", True),
        ({"fact": "mode", "mode_at_most": "0640"}, "0604", False),
        ({"fact": "mode", "mode_at_most": "0777"}, "4755", False),
        ({"fact": "mode", "mode_at_most": "0640"}, "rw-r-----", None),
        ({"fact": "mode", "equals": "0640"}, "640", True),
        ({"fact": "mode", "equals": "0640"}, "0600", False),
        ({"fact": "mode", "one_of": ["0600", "0640"]}, "0640", True),
        ({"fact": "mode", "not_one_of": ["0600", "0640"]}, "0640", False),
        ({"fact": "modes", "contains": "640"}, ["0640"], True),
        ({"fact": "modes", "only": ["640"]}, ["0640", "0600"], False),
        ({"fact": "when", "equals": "2026-11-24T01:00:00Z"}, "2026-11-24T02:00:00+01:00", True),
        ({"fact": "when", "not_equals": "2026-11-24T01:00:00Z"}, "2026-11-24T01:00:00Z", False),
        ({"fact": "when", "equals": "2026-11-24T01:00:00Z"}, "soon", None),
        ({"fact": "box.inner.deep", "equals": 4}, 4, True),
    ],
)
def test_operators(leaf: dict[str, Any], value: Any, expected: Any) -> None:
    name = leaf["fact"]
    facts: dict[str, Any] = {"box": {"inner": {"deep": value}}} if "." in name else {name: value}
    may_be_absent = name.startswith("opt_") and not set(leaf) & {"is_set", "is_empty"}
    assert truth({**leaf, "absent": "fail"} if may_be_absent else leaf, facts) is expected
    if expected is not None:
        assert truth({"not": leaf}, facts) is not expected


@pytest.mark.parametrize("operator", ["equals", "not_equals", "one_of", "not_one_of", "matches"])
def test_unknown_and_not_collected_stay_unknown(operator: str) -> None:
    leaf = {"fact": "word", operator: ["a"] if "one_of" in operator else "a"}
    assert truth(leaf, {"word": HIDDEN}) is None
    assert truth(leaf, {}) is None
    assert compiled(leaf).explain(view({"word": HIDDEN}), None).unknowns == (HIDDEN,)
    assert truth({"fact": "box.n", "equals": 1}, {"box": {}}) is None


@pytest.mark.parametrize(
    ("stamp", "older", "newer", "expiring"),
    [
        ("2026-10-25T01:00:00Z", False, False, True),  # to the second 30 days
        ("2026-10-25T00:59:59Z", True, False, True),
        ("2026-10-25T01:00:01Z", False, True, True),
        ("2026-10-25T02:00:00+01:00", False, False, True),  # the same moment; the clocks went back that night
        ("2026-12-24T01:00:00Z", False, True, True),
        ("2026-12-24T01:00:01Z", False, True, False),
        ("2026-10-25T01:00:00", False, False, True),  # no zone: UTC
        ("9999-12-31T23:59:59Z", False, True, False),
        ("0001-01-01T00:00:00Z", True, False, True),
        ("never", None, None, None),
        ("0001-01-01T00:00:00+14:00", None, None, None),  # before time begins, in UTC
    ],
)
def test_times_are_counted_in_utc_from_the_collection(stamp: str, older: Any, newer: Any, expiring: Any) -> None:
    facts = {"when": stamp}
    assert truth({"fact": "when", "older_than": "30 days"}, facts) is older
    assert truth({"fact": "when", "newer_than": "30 days"}, facts) is newer
    assert truth({"fact": "when", "expires_within": "30 days"}, facts) is expiring
    later = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
    if older is not None:
        assert truth({"fact": "when", "older_than": "721 hours"}, facts, as_of=later) is older


@pytest.mark.parametrize(
    ("leaf", "value", "expected"),
    [
        ({"equals": "a", "absent": "pass"}, None, True),
        ({"equals": "a", "absent": "fail"}, None, False),
        ({"equals": "a", "default": "a"}, None, True),
        ({"equals": "A", "default": "a", "ignore_case": True}, None, True),
        ({"equals": "a", "default": "b"}, None, False),
        ({"equals": "a", "default": "a"}, HIDDEN, None),
        ({"equals": "a", "absent": "pass"}, HIDDEN, None),
        ({"is_set": True, "default": "b"}, None, True),
    ],
)
def test_absent_means_what_the_leaf_says(leaf: dict[str, Any], value: Any, expected: Any) -> None:
    assert truth({"fact": "opt_word", **leaf}, {"opt_word": value}) is expected


def test_keyed_facts_and_paths_through_absent_records() -> None:
    leaf = {"fact": "kv[net.ipv4.ip_forward].boot", "equals": 0, "absent": "pass"}
    assert truth(leaf, {"kv[net.ipv4.ip_forward]": {"running": 1, "boot": 0}}) is True
    assert truth(leaf, {"kv[net.ipv4.ip_forward]": {"running": 1, "boot": None}}) is True
    assert truth(leaf, {"kv[net.ipv4.ip_forward]": None}) is True
    assert truth(leaf, {"kv[net.ipv4.ip_forward]": {"running": 1}}) is None
    assert truth(leaf, {"kv[other]": {"boot": 0}}) is None


def test_right_sides() -> None:
    facts = {"number": 2, "word": "x", "opt_word": None, "things": [thing("a", n=2, s="x"), thing("b", n=3, s="y")]}
    every = {"of": "things", "empty": "fail"}
    assert truth({"every_item": {**every, "check": {"item": "n", "at_least": {"fact": "number"}}}}, facts) is True
    assert truth({"every_item": {**every, "check": {"item": "s", "equals": {"item": "name"}}}}, facts) is False
    assert truth({"fact": "number", "at_most": {"param": "limit"}}, facts, parameters={"limit": 2}) is True
    assert truth({"fact": "word", "equals": {"fact": "opt_word"}}, facts) is None, "compared with what is absent"
    assert truth({"fact": "word", "equals": {"fact": "mood"}}, {**facts, "mood": HIDDEN}) is None
    node = compiled({"fact": "word", "equals": {"fact": "mood"}})
    assert node.explain(view({**facts, "mood": HIDDEN}), None).unknowns == (HIDDEN,)
    assert (
        truth(
            {
                "fact": "words",
                "only": {"fact": "opt_words"},
            },
            {"words": ["a"], "opt_words": ["a", HIDDEN]},
        )
        is None
    )
    assert truth({"fact": "number", "at_most": {"fact": "share"}}, {"number": 1, "share": 1.5}) is True


def test_not_applicable_is_passed_over() -> None:
    nothing = {"every_item": {"of": "things", "empty": "not_applicable", "check": {"item": "on", "equals": True}}}
    yes, no = {"fact": "flag", "equals": True}, {"fact": "flag", "equals": False}
    facts = {"things": [], "flag": True, "words": ["a"]}
    assert truth(nothing, facts) is NA
    assert truth({"not": nothing}, facts) is NA
    assert truth({"all": [nothing, yes]}, facts) is True
    assert truth({"all": [nothing, no]}, facts) is False
    assert truth({"any": [nothing, no]}, facts) is False
    assert truth({"any": [nothing, yes]}, facts) is True
    assert truth({"all": [nothing, nothing]}, facts) is NA
    assert truth({"all": [nothing, {"fact": "word", "equals": "a"}]}, facts) is None
    for word, expected in (("any_item", False), ("no_item", True)):
        assert truth({word: {"of": "words", "check": nothing}}, facts) is expected
        assert truth({word: {"of": "words", "where": yes, "check": nothing}}, facts) is expected
        assert truth({word: {"of": "words", "where": nothing, "check": yes}}, facts) is expected
    assert truth({"every_item": {"of": "words", "empty": "fail", "check": nothing}}, facts) is NA
    assert truth({"every_item": {"of": "words", "where": nothing, "empty": "fail", "check": yes}}, facts) is False
    assert truth({"count_items": {"of": "words", "where": nothing, "at_most": 0}}, facts) is True


@pytest.mark.parametrize(("empty", "expected"), [("pass", True), ("fail", False), ("unknown", None)])
def test_every_item_of_nothing(empty: str, expected: Any) -> None:
    check = {
        "of": "things",
        "where": {"item": "on", "equals": True},
        "empty": empty,
        "check": {"item": "n", "equals": 1},
    }
    assert truth({"every_item": check}, {"things": []}) is expected
    assert truth({"every_item": check}, {"things": [thing(on=False, n=9)]}) is expected
    assert truth({"every_item": check}, {"things": HIDDEN}) is None
    assert truth({"every_item": check}, {"things": Partial((), HIDDEN)}) is None
    assert truth({"every_item": check}, {"things": Partial((thing(n=2),), HIDDEN)}) is False
    # whether it is meant is not known, and it would pass: that settles nothing but a `pass`
    unsure = thing(on=HIDDEN)
    assert truth({"every_item": check}, {"things": [unsure]}) is (True if expected is True else None)
    assert truth({"every_item": check}, {"things": [unsure, thing("b")]}) is True
    assert truth({"every_item": check}, {"things": [thing(on=HIDDEN, n=2)]}) is (False if expected is False else None)


def test_count_items() -> None:
    on = {"of": "things", "where": {"item": "on", "equals": True}}
    two = [thing("a"), thing("b"), thing("c", on=False)]
    assert truth({"count_items": {**on, "at_least": 2, "at_most": 2}}, {"things": two}) is True
    assert truth({"count_items": {**on, "at_least": 3}}, {"things": two}) is False
    assert truth({"count_items": {**on, "at_least": 3}}, {"things": [*two, thing("d", on=HIDDEN)]}) is None
    assert truth({"count_items": {**on, "at_least": 4}}, {"things": [*two, thing("d", on=HIDDEN)]}) is False
    assert truth({"count_items": {**on, "at_least": 4}}, {"things": Partial(tuple(two), HIDDEN)}) is None
    assert truth({"count_items": {**on, "at_least": 2}}, {"things": Partial(tuple(two), HIDDEN)}) is True
    assert truth({"count_items": {**on, "at_most": 9}}, {"things": Partial(tuple(two), HIDDEN)}) is None
    assert truth({"count_items": {**on, "at_most": {"param": "n"}}}, {"things": two}, parameters={"n": 1}) is False


def test_nested_quantifiers_and_plain_items() -> None:
    nested = {
        "no_item": {
            "of": "things",
            "check": {"any_item": {"of": {"item": "parts"}, "check": {"item": "p", "at_least": 2}}},
        }
    }
    good, bad = thing("a", parts=[{"p": 1, "q": None}]), thing("b", parts=[{"p": 2, "q": "z"}])
    assert truth(nested, {"things": [good]}) is True
    assert truth(nested, {"things": [good, bad]}) is False
    assert offenders(nested, {"things": [good, bad]}) == ["b"]
    assert (
        truth({"no_item": {"of": "words", "check": {"item": "this", "matches": "^x"}}}, {"words": ["a", "xy"]}) is False
    )
    assert offenders({"no_item": {"of": "words", "check": {"item": "this", "matches": "^x"}}}, {"words": ["xy"]}) == [
        "xy"
    ]


@pytest.mark.parametrize(
    ("source", "facts", "labels"),
    [
        ({"fact": "words", "contains_all": ["a", "b"]}, {"words": ["a"]}, ["b"]),
        ({"fact": "words", "contains": "b"}, {"words": ["a"]}, ["b"]),
        ({"fact": "words", "contains_none": ["a"]}, {"words": ["a", "b"]}, ["a"]),
        ({"fact": "words", "only": ["a"]}, {"words": ["a", "b", "b", "c"]}, ["b", "c"]),
        ({"fact": "words", "contains_all": ["Admin"], "ignore_case": True}, {"words": ["x"]}, ["Admin"]),
        ({"fact": "words", "only": ["ADMIN"], "ignore_case": True}, {"words": ["admin", "Guest"]}, ["Guest"]),
        ({"fact": "opt_words", "contains_all": ["a", "b"], "default": ["a"]}, {"opt_words": None}, ["b"]),
        ({"fact": "opt_words", "contains_all": ["a"], "absent": "fail"}, {"opt_words": None}, ["a"]),
        ({"fact": "box.n", "at_most": 3}, {"box": {"id": "g1", "name": "north", "n": 4}}, ["north"]),
        ({"fact": "box.n", "at_most": 3}, {"box": {"id": "g1", "name": HIDDEN, "n": 4}}, ["g1"]),
        ({"fact": "opt_box.n", "at_most": 3, "absent": "fail"}, {"opt_box": None}, []),
        ({"count_items": {"of": "things", "at_most": 1}}, {"things": [thing("a"), thing("b")]}, ["a", "b"]),
        ({"count_items": {"of": "things", "at_least": 3}}, {"things": [thing("a")]}, []),
        ({"not": {"any_item": {"of": "things", "check": {"item": "n", "equals": 1}}}}, {"things": [thing("a")]}, ["a"]),
        (
            {"all": [{"no_item": {"of": "things", "check": {"item": "n", "equals": i}}} for i in (1, 2)]},
            {"things": [thing("a"), thing("b", n=2), thing("c", n=3)]},
            ["a", "b"],
        ),
        (
            {"no_item": {"of": "box.words", "check": {"item": "this", "equals": "a"}}},
            {"box": {"words": ["a", "b"]}},
            ["a"],
        ),
    ],
)
def test_offenders_come_out_by_themselves(source: dict[str, Any], facts: dict[str, Any], labels: list[str]) -> None:
    assert offenders(source, facts) == labels


def test_an_offender_keeps_what_was_wrong_without_volatile_numbers() -> None:
    check = {
        "no_item": {"of": "things", "check": {"all": [{"item": "uptime", "at_least": 1}, {"item": "n", "equals": 1}]}}
    }
    [one] = compiled(check).explain(view({"things": [thing("a", uptime=77)]}), None).culprits
    assert (one.key, one.label) == ("id-a", "a")
    assert "n = 1" in one.value
    assert "77" not in one.value


def test_an_item_that_cannot_be_named_is_not_called_none() -> None:
    [one] = (
        compiled({"no_item": {"of": "things", "check": {"item": "n", "equals": 1}}})
        .explain(view({"things": [{"id": HIDDEN, "name": HIDDEN, "n": 1}]}), None)
        .culprits
    )
    assert one.label != "None"
    assert one.key


def test_too_many_offenders_are_bounded_counted_and_always_the_same() -> None:
    items = [thing(f"t{i:05}") for i in range(1500)]
    node = compiled({"no_item": {"of": "things", "check": {"item": "n", "equals": 1}}})
    one, other = (node.explain(view({"things": list(i)}), None) for i in (items, reversed(items)))
    assert (len(one.culprits), one.count) == (1000, 1500)
    assert sorted(one.culprits) == sorted(other.culprits)


@pytest.mark.parametrize(
    ("source", "place", "words"),
    [
        ([], (), "mapping"),
        ({}, (), "mapping"),
        ("word", (), "mapping"),
        ({"fact": "wrod", "equals": "a"}, ("fact",), "Did you mean 'word'?"),
        ({"fact": "box.nmae", "equals": "a"}, ("fact",), "Did you mean 'name'?"),
        ({"fact": "box.inner.deeep", "equals": 1}, ("fact",), "Did you mean 'deep'?"),
        ({"fact": "word.x", "equals": "a"}, ("fact",), "no field 'x'"),
        ({"fact": "kv", "equals": 1}, ("fact",), "in brackets"),
        ({"fact": "word[x]", "equals": "a"}, ("fact",), "takes no key"),
        ({"fact": "kv[x.running", "equals": 1}, ("fact",), "is not a fact"),
        ({"fact": 7, "equals": 1}, ("fact",), "named by a word"),
        ({"facts": "word", "equals": "a"}, (), "Did you mean 'fact'?"),
        ({"fact": "word", "equal": "a"}, ("equal",), "Did you mean 'equals'?"),
        ({"fact": "word"}, (), "operator is missing"),
        ({"fact": "word", "equals": "a", "matches": "b"}, ("matches",), "one operator per leaf"),
        ({"fact": "word", "equals": "a", "ignorecase": True}, ("ignorecase",), "Did you mean 'ignore_case'?"),
        ({"fact": "word", "equals": "a", "ignore_case": "no"}, ("ignore_case",), "true or false"),
        ({"fact": "number", "at_least": 1, "ignore_case": True}, ("ignore_case",), "no meaning"),
        ({"fact": "word", "item": "n", "equals": "a"}, (), "name one reading"),
        ({"item": "n", "equals": 1}, ("item",), "only inside a quantifier"),
        ({"fact": "word", "at_least": 3}, ("at_least",), "does not fit word, which is str"),
        ({"fact": "words", "equals": "a"}, ("equals",), "a list of str"),
        ({"fact": "box", "equals": "a"}, ("equals",), "a record"),
        ({"fact": "things", "contains": "a"}, ("contains",), "does not fit"),
        ({"fact": "word", "older_than": "3 days"}, ("older_than",), "does not fit"),
        ({"fact": "word", "version_at_least": "1"}, ("version_at_least",), "does not fit"),
        ({"fact": "word", "mode_at_most": "0640"}, ("mode_at_most",), "does not fit"),
        ({"fact": "number", "matches": "1"}, ("matches",), "does not fit"),
        ({"fact": "word", "equals": False}, ("equals",), "put it in quotes"),
        ({"fact": "word", "equals": 640}, ("equals",), "put it in quotes"),
        ({"fact": "number", "equals": "3"}, ("equals",), "a number is wanted"),
        ({"fact": "number", "equals": True}, ("equals",), "a number is wanted"),
        ({"fact": "number", "equals": 1.5}, ("equals",), "a number is wanted"),
        ({"fact": "flag", "equals": "true"}, ("equals",), "true or false"),
        ({"fact": "word", "one_of": "a"}, ("one_of",), "a list is wanted"),
        ({"fact": "word", "one_of": ["a", 1]}, ("one_of",), "text is wanted"),
        ({"fact": "state", "equals": "UP"}, ("equals",), "it can be up, down, idle"),
        ({"fact": "state", "one_of": ["up", "sideways"]}, ("one_of",), "sideways"),
        ({"fact": "mode", "mode_at_most": 640}, ("mode_at_most",), "in quotes"),
        ({"fact": "mode", "mode_at_most": "0980"}, ("mode_at_most",), "no file mode"),
        ({"fact": "mode", "equals": "rw"}, ("equals",), "no file mode"),
        ({"fact": "when", "older_than": 35}, ("older_than",), "number and a unit"),
        ({"fact": "when", "older_than": "35"}, ("older_than",), "number and a unit"),
        ({"fact": "when", "older_than": "-3 days"}, ("older_than",), "number and a unit"),
        ({"fact": "when", "older_than": "99999999999 years"}, ("older_than",), "at most"),
        ({"fact": "when", "older_than": "9" * 5000 + " days"}, ("older_than",), "at most"),
        ({"fact": "when", "equals": "yesterday"}, ("equals",), "yesterday"),
        ({"fact": "release", "version_at_least": "v1"}, ("version_at_least",), "not a dotted version"),
        ({"fact": "release", "version_at_least": 1.1}, ("version_at_least",), "put it in quotes"),
        ({"fact": "word", "matches": "("}, ("matches",), "no regular expression"),
        ({"fact": "word", "matches": "a{99999999999}"}, ("matches",), "no regular expression"),
        ({"fact": "word", "matches": {"fact": "mood"}}, ("matches",), "a value or a parameter"),
        ({"fact": "when", "older_than": {"fact": "word"}}, ("older_than",), "a value or a parameter"),
        ({"fact": "word", "equals": {"fact": "number"}}, ("equals",), "str is wanted here"),
        ({"fact": "word", "equals": {"fact": "nope"}}, ("equals", "fact"), "no fact"),
        ({"fact": "word", "equals": {"param": "nope"}}, ("equals",), "no parameter"),
        ({"fact": "word", "equals": {"param": ["x"]}}, ("equals",), "no parameter"),
        ({"fact": "word", "equals": {"value": "x"}}, ("equals",), "the right side is"),
        ({"fact": "opt_word", "equals": "a"}, (), "say what that means"),
        ({"fact": "kv[x].running", "equals": 1}, (), "say what that means"),
        ({"fact": "opt_box.n", "equals": 1}, (), "say what that means"),
        ({"fact": "opt_word", "equals": "a", "absent": "unknown"}, ("absent",), "pass or fail"),
        ({"fact": "opt_word", "equals": "a", "absent": "pass", "default": "b"}, ("absent",), "not both"),
        ({"fact": "opt_word", "equals": "a", "default": 3}, ("default",), "text is wanted"),
        ({"fact": "word", "equals": "a", "absent": "pass"}, ("absent",), "never absent"),
        ({"fact": "word", "equals": "a", "default": "x"}, ("default",), "never absent"),
        ({"fact": "opt_box", "is_set": True, "default": {}}, ("default",), "no default"),
        ({"all": []}, ("all",), "a list of conditions"),
        ({"any": {"fact": "word", "equals": "a"}}, ("any",), "a list of conditions"),
        ({"all": [{"fact": "flag", "equals": True}], "any": []}, ("any",), "stands alone"),
        ({"not": [{"fact": "flag", "equals": True}]}, ("not",), "mapping"),
        ({"all": [{"fact": "flag", "equals": 1}]}, ("all", 0, "equals"), "true or false"),
        ({"manual": "why?"}, ("manual",), "stands alone"),
        ({"any_item": {"check": {"item": "n", "equals": 1}}}, ("any_item",), "needs 'of'"),
        ({"any_item": {"of": "things"}}, ("any_item",), "needs 'check'"),
        ({"any_item": {"of": "word", "check": {"item": "this", "equals": "a"}}}, ("any_item", "of"), "not a list"),
        ({"any_item": {"of": "thing", "check": {}}}, ("any_item", "of", "fact"), "Did you mean 'things'?"),
        ({"any_item": {"of": "words", "check": {"item": "n", "equals": 1}}}, ("any_item", "check", "item"), "no field"),
        ({"any_item": {"of": "things", "empty": "pass", "check": {}}}, ("any_item", "empty"), "does not belong"),
        (
            {"every_item": {"of": "words", "check": {"item": "this", "equals": "a"}}},
            ("every_item", "empty"),
            "needs 'empty'",
        ),
        (
            {"every_item": {"of": "words", "empty": "maybe", "check": {"item": "this", "equals": "a"}}},
            ("every_item", "empty"),
            "needs 'empty'",
        ),
        (
            {"every_item": {"of": "words", "empty": True, "check": {"item": "this", "equals": "a"}}},
            None,
            "needs 'empty'",
        ),
        ({"count_items": {"of": "words"}}, ("count_items",), "at_least"),
        ({"count_items": {"of": "words", "at_least": "2"}}, ("count_items", "at_least"), "whole number"),
        ({"count_items": {"of": "words", "at_least": True}}, ("count_items", "at_least"), "whole number"),
        ({"count_items": {"of": "words", "at_least": None}}, ("count_items", "at_least"), "whole number"),
        ({"count_items": {"of": "words", "check": {}}}, ("count_items", "check"), "does not belong"),
        ({"count_items": {"of": "words", "at_most": {"param": {}}}}, ("count_items", "at_most"), "no parameter"),
        ({"every_item": []}, ("every_item",), "takes a mapping"),
        ({"every_item": {"of": ["words"], "empty": "pass", "check": {}}}, None, ""),
        (
            {"every_item": {"of": "words", "empty": ["pass"], "check": {"item": "this", "equals": "a"}}},
            None,
            "needs 'empty'",
        ),
    ],
)
def test_what_does_not_load(source: Any, place: tuple[Any, ...] | None, words: str) -> None:
    with pytest.raises(ConditionError) as caught:
        compiled(source)
    assert words in str(caught.value)
    assert place is None or caught.value.path == place


def test_placeholders_are_filled_and_escaped_in_patterns() -> None:
    fills = {"code": "O.K", "codes": ["O.K", "ELM"], "base_dn": "DC=x", "upn_suffix": "oak.example"}
    leaf = {"fact": "word", "matches": "^{code}-(PC|LT)[0-9]{3}$"}
    assert truth(leaf, {"word": "O.K-PC101"}, fills=fills) is True
    assert truth(leaf, {"word": "OAK-PC101"}, fills=fills) is False
    any_code = {"fact": "word", "matches": "^{codes}-"}
    assert truth(any_code, {"word": "ELM-1"}, fills=fills) is True
    assert truth(any_code, {"word": "xELM-1"}, fills=fills) is False, "the alternatives stay together"
    assert truth(any_code, {"word": "OxK-1"}, fills=fills) is False
    assert truth({"fact": "word", "equals": "OU={code},{base_dn}"}, {"word": "OU=O.K,DC=x"}, fills=fills) is True
    assert truth({"fact": "word", "one_of": ["{upn_suffix}"]}, {"word": "oak.example"}, fills=fills) is True
    assert truth({"fact": "word", "equals": "{other}{2}"}, {"word": "{other}{2}"}, fills=fills) is True
    parameters = {"pattern": "^{code}$"}
    assert truth({"fact": "word", "matches": {"param": "pattern"}}, {"word": "O.K"}, fills=fills, parameters=parameters)


def test_what_a_filled_value_holds_is_not_filled_again() -> None:
    assert fill("{code}", {"code": "{base_dn}", "base_dn": "DC=x"}) == "{base_dn}"


@pytest.mark.parametrize("fills", [{}, {"code": ""}, {"code": None}])
def test_an_unfilled_placeholder_is_unknown_and_never_a_verdict(fills: dict[str, Any]) -> None:
    for leaf in ({"fact": "word", "matches": "^{code}-"}, {"fact": "word", "not_equals": "{code}"}):
        assert truth(leaf, {"word": "OAK-1"}, fills=fills) is None
        [why] = compiled(leaf, fills=fills).explain(view({"word": "OAK-1"}), None).unknowns
        assert "{code}" in str(why)


def test_expected_reads_as_a_sentence() -> None:
    source = {
        "all": [
            {"fact": "opt_word", "is_set": True},
            {"any": [{"fact": "when", "older_than": "90 days"}, {"fact": "release", "version_at_least": "1.2"}]},
            {"not": {"fact": "mode", "mode_at_most": "0640"}},
        ]
    }
    assert compiled(source).expected == (
        "opt word is set and (when is more than 90 days old or release is version 1.2 or later) and not (mode is mode "
        "0640 or tighter)"
    )
