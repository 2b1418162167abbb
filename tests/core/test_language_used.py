"""Every construct of the condition language is used by some shipped control: none exists for its own sake only."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from agent.baseline import Policy, load_policy
from agent.condition.operators import OPERATORS


@cache
def policy() -> Policy:
    return load_policy()


@cache
def words() -> frozenset[str]:
    """Words as controls themselves note them when they load: operators, quantifiers, `empty:…`, where, needs, …"""
    return frozenset(w for c in policy().controls.values() for w in c.words)


def leaves(condition: Any) -> Iterator[dict[str, Any]]:
    """All mappings inside a condition that read a fact or an item."""
    if isinstance(condition, list):
        for part in condition:
            yield from leaves(part)
    elif isinstance(condition, dict):
        if "fact" in condition or "item" in condition:
            yield condition
        for part in condition.values():
            yield from leaves(part)


@cache
def all_leaves() -> tuple[dict[str, Any], ...]:
    files = [c.file for c in policy().controls.values()]
    return tuple(leaf for f in files for leaf in leaves([f.check, f.applies_when or {}]))


def right_sides() -> Iterator[Any]:
    for leaf in all_leaves():
        yield from (v for k, v in leaf.items() if k in OPERATORS)


@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_operators(operator: str) -> None:
    assert operator in words()


@pytest.mark.parametrize(
    "word",
    [
        *("all", "any", "not", "any_item", "every_item", "no_item", "count_items", "where"),
        *(f"empty:{answer}" for answer in ("pass", "fail", "unknown", "not_applicable")),
        *("applies_when", "needs", "manual"),
    ],
)
def test_constructs(word: str) -> None:
    assert word in words()


@pytest.mark.parametrize("side", ["param", "item", "fact"])
def test_right_sides(side: str) -> None:
    assert any(isinstance(value, dict) and side in value for value in right_sides())


@pytest.mark.parametrize(("key", "value"), [("ignore_case", True), ("absent", "pass"), ("absent", "fail")])
def test_keys_of_leaves(key: str, value: Any) -> None:
    assert any(leaf.get(key) == value for leaf in all_leaves())


def test_defaults() -> None:
    assert any("default" in leaf for leaf in all_leaves())


def test_keyed_facts() -> None:
    assert any("[" in str(leaf.get("fact")) for leaf in all_leaves())


def test_items_that_are_plain_values() -> None:
    assert any(leaf.get("item") == "this" for leaf in all_leaves())


@pytest.mark.parametrize("bound", ["at_least", "at_most"])
def test_bounds_of_counts(bound: str) -> None:
    def counts(condition: Any) -> Iterator[dict[str, Any]]:
        if isinstance(condition, list):
            for part in condition:
                yield from counts(part)
        elif isinstance(condition, dict):
            if "count_items" in condition:
                yield condition["count_items"]
            for part in condition.values():
                yield from counts(part)

    assert any(bound in c for control in policy().controls.values() for c in counts(control.file.check))


@pytest.mark.parametrize("scope", ["target", "items"])
def test_scopes(scope: str) -> None:
    assert any(c.file.scope == scope for c in policy().controls.values())


def test_placeholders() -> None:
    assert any(c.placeholders for c in policy().controls.values())


def test_durations_of_a_parameter_and_written_out() -> None:
    clock = [v for leaf in all_leaves() for k, v in leaf.items() if k in OPERATORS and OPERATORS[k].clock]
    assert any(isinstance(v, dict) for v in clock)
    assert any(isinstance(v, str) for v in clock)
