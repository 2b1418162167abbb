"""What must hold of every condition over every reading, tried on random typed ones."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.condition import NA, Context, compile_condition
from agent.condition.operators import DURATION, OPERATORS, REGEX
from agent.facttypes import BOOL, FLOAT, INT, MODE, REGISTRY, STR, TIME, Enum, FactType, ListOf, Record, Version
from agent.model import Partial, Reason, Unknown
from tests.core.box import PLATFORM, view

HOLE = Unknown(Reason.TIMED_OUT, "hole")
INTS, TEXTS = st.integers(0, 3), st.sampled_from(["", "a", "b", "A", "ab"])
TIMES = st.sampled_from(
    ["2026-11-24T01:00:00Z", "2026-11-23T01:00:00Z", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"]
)
MODES = st.sampled_from(["0600", "640", "0644", "4755"])
DURATIONS = st.sampled_from(["0 days", "1 day", "90 days", "3 hours"])
REGEXES = st.sampled_from(["a", "^b", "^$", "A"])
RELEASES = st.sampled_from(["1", "1.0", "1.10", "1.9", "2"])
FACTS = (
    "number share word flag state when mode release opt_word opt_number words opt_words box opt_box things kv[x]"
).split()
SLOW = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def values(t: FactType) -> st.SearchStrategy[Any]:
    """Known values of a type."""
    if isinstance(t, ListOf):
        return st.lists(values(t.item), max_size=3)
    if isinstance(t, Record):
        return st.fixed_dictionaries(
            {n: st.none() | values(f.type) if f.may_be_absent else values(f.type) for n, f in t.fields.items()}
        )
    if isinstance(t, Enum):
        return st.sampled_from(t.members)
    if isinstance(t, Version):
        return RELEASES
    plain: dict[Any, st.SearchStrategy[Any]] = {
        INT: INTS,
        FLOAT: st.sampled_from([0.0, 0.5, 2.0]),
        STR: TEXTS,
        BOOL: st.booleans(),
        TIME: TIMES,
        MODE: MODES,
        DURATION: DURATIONS,
        REGEX: REGEXES,
    }
    return plain[t]


@st.composite
def known_facts(draw: st.DrawFn) -> dict[str, Any]:
    """All facts of the testbox, known whole."""
    out = {}
    for name in FACTS:
        spec = REGISTRY.spec_of(PLATFORM, name)
        out[name] = draw(st.none() | values(spec.type) if spec.may_be_absent else values(spec.type))
    return out


def references(t: FactType, name: str, absent: bool) -> list[tuple[str, FactType, bool]]:
    """What can stand on the left side, from one fact or item down."""
    if isinstance(t, Record):
        below = [references(f.type, f"{name}.{n}".lstrip("."), absent or f.may_be_absent) for n, f in t.fields.items()]
        return ([(name, t, absent)] if name else []) + [r for rs in below for r in rs]
    return [(name or "this", t, absent)]


FACT_REFERENCES = [
    r
    for name in FACTS
    for r in references(REGISTRY.spec_of(PLATFORM, name).type, name, REGISTRY.spec_of(PLATFORM, name).may_be_absent)
]


@st.composite
def conditions(draw: st.DrawFn, item: FactType | None = None, depth: int = 3) -> dict[str, Any]:
    """A well-typed condition; `item` is the type of the items that it is about, inside a quantifier."""
    kinds = ["leaf", "leaf", "all", "any", "not", "every_item", "any_item", "no_item", "count_items"]
    kind = draw(st.sampled_from(kinds if depth else ["leaf"]))
    if kind == "leaf":
        return draw(leaves(item))
    if kind in ("all", "any"):
        return {kind: draw(st.lists(conditions(item, depth - 1), min_size=1, max_size=3))}
    if kind == "not":
        return {"not": draw(conditions(item, depth - 1))}
    lists = [({"fact": n}, t.item) for n, t, _ in FACT_REFERENCES if isinstance(t, ListOf)]
    if item is not None:
        lists += [({"item": n}, t.item) for n, t, _ in references(item, "", False) if isinstance(t, ListOf)] * 2
    of, inner = draw(st.sampled_from(lists))
    body: dict[str, Any] = {"of": of}
    if draw(st.booleans()):
        body["where"] = draw(conditions(inner, min(1, depth - 1)))
    if kind == "count_items":
        for bound in draw(st.sampled_from([["at_least"], ["at_most"], ["at_least", "at_most"]])):
            body[bound] = draw(INTS)
        return {kind: body}
    body["check"] = draw(conditions(inner, depth - 1))
    if kind == "every_item":
        body["empty"] = draw(st.sampled_from(["pass", "fail", "unknown", "not_applicable"]))
    return {kind: body}


@st.composite
def leaves(draw: st.DrawFn, item: FactType | None) -> dict[str, Any]:
    """One reading held against one right side."""
    choices = [("fact", *r) for r in FACT_REFERENCES]
    mine = [("item", *r) for r in references(item, "", False)] if item is not None else []
    where, name, t, absent = draw(
        st.sampled_from(mine) | st.sampled_from(choices) if mine else st.sampled_from(choices)
    )
    operator = draw(st.sampled_from([o for o in OPERATORS.values() if o.accepts(t) is not None]))
    wanted = operator.accepts(t)
    assert wanted is not None
    right: Any = draw(values(wanted))
    others = [{"fact": n} for n, u, _ in FACT_REFERENCES if u == wanted]
    others += [{"item": n} for _, n, u, _ in mine if u == wanted]
    if others and not operator.clock and operator.name not in ("matches", "is_set", "is_empty") and draw(st.booleans()):
        right = draw(st.sampled_from(others))
    out = {where: name, operator.name: right}
    if operator.folds and draw(st.booleans()):
        out["ignore_case"] = True
    if absent and (operator.name not in ("is_set", "is_empty") or draw(st.booleans())):
        if isinstance(t, Record) or draw(st.booleans()):
            out["absent"] = draw(st.sampled_from(["pass", "fail"]))
        else:
            out["default"] = draw(values(t))
    return out


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside facts."""
    out = [path] if path else []
    if isinstance(value, dict):
        out += [p for k, v in value.items() for p in places(v, (*path, k))]
    elif isinstance(value, list):
        out += [p for i, v in enumerate(value) for p in places(v, (*path, i))]
    return out


@st.composite
def holed(draw: st.DrawFn, facts: dict[str, Any]) -> dict[str, Any]:
    """The same facts with less known: places unknown or not collected, lists cut off."""
    out = copy.deepcopy(facts)
    for _ in range(draw(st.integers(1, 4))):
        *way, last = draw(st.sampled_from(places(facts)))
        at: Any = out
        for step in way:
            at = at.get(step) if isinstance(at, dict) else at[step] if isinstance(at, list) else None
        if not isinstance(at, dict | list):
            continue
        old = at.get(last) if isinstance(at, dict) else at[last]
        if isinstance(old, list) and draw(st.booleans()):
            at[last] = Partial(tuple(i for i in old if draw(st.booleans())), HOLE)
        elif isinstance(at, dict) and way and draw(st.booleans()):
            at.pop(last, None)
        else:
            at[last] = HOLE
    return out


def decide(source: Any, facts: dict[str, Any]) -> Any:
    return compile_condition(source, Context(PLATFORM)).test(view(facts), None)


@SLOW
@given(st.data())
def test_knowing_less_never_changes_the_answer(data: st.DataObject) -> None:
    facts, source = data.draw(known_facts()), data.draw(conditions())
    less = data.draw(holed(facts))
    whole, dim = decide(source, facts), decide(source, less)
    assert dim is None or dim is whole, (whole, dim)


@SLOW
@given(st.data())
def test_knowing_less_twice_is_no_better(data: st.DataObject) -> None:
    facts, source = data.draw(known_facts()), data.draw(conditions())
    once = data.draw(holed(facts))
    twice = {n: HOLE if data.draw(st.booleans()) else v for n, v in once.items()}
    assert decide(source, twice) in (None, decide(source, once))


@SLOW
@given(st.data())
def test_explanations_agree_and_give_reasons(data: st.DataObject) -> None:
    facts, source = data.draw(known_facts()), data.draw(conditions())
    if data.draw(st.booleans()):
        facts = data.draw(holed(facts))
    node = compile_condition(source, Context(PLATFORM))
    seen = view(facts)
    account = node.explain(seen, None)
    assert account.truth is node.test(seen, None)
    assert account.truth is not None or account.unknowns
    assert account.count >= len({c.key for c in account.culprits})
    again = compile_condition(copy.deepcopy(source), Context(PLATFORM)).explain(view(copy.deepcopy(facts)), None)
    assert (again.culprits, again.seen, again.unknowns) == (account.culprits, account.seen, account.unknowns)


@SLOW
@given(st.data())
def test_laws_of_logic(data: st.DataObject) -> None:
    facts = data.draw(known_facts())
    if data.draw(st.booleans()):
        facts = data.draw(holed(facts))
    parts = data.draw(st.lists(conditions(depth=1), min_size=1, max_size=3))
    c = parts[0]
    assert decide({"not": {"not": c}}, facts) is decide(c, facts)
    negated = [{"not": p} for p in parts]
    assert decide({"not": {"all": parts}}, facts) is decide({"any": negated}, facts)
    assert decide({"not": {"any": parts}}, facts) is decide({"all": negated}, facts)
    shuffled = data.draw(st.permutations(parts))
    for word in ("all", "any"):
        assert decide({word: parts}, facts) is decide({word: shuffled}, facts)


@SLOW
@given(st.data())
def test_quantifiers_agree_with_each_other(data: st.DataObject) -> None:
    facts = data.draw(known_facts())
    if data.draw(st.booleans()):
        facts = data.draw(holed(facts))
    item = REGISTRY.spec_of(PLATFORM, "things").type
    assert isinstance(item, ListOf)
    body: dict[str, Any] = {"of": "things", "check": data.draw(conditions(item.item, 1))}
    found = decide({"any_item": body}, facts)
    assert decide({"no_item": body}, facts) is (None if found is None else not found)
    assert decide({"count_items": {"of": "things", "where": body["check"], "at_least": 1}}, facts) is found
    assert decide({"not": {"count_items": {"of": "things", "where": body["check"], "at_most": 0}}}, facts) is found
    every = decide({"every_item": {**body, "empty": "pass"}}, facts)
    if every is not NA and "not_applicable" not in str(body):
        assert every is decide({"not": {"any_item": {**body, "check": {"not": body["check"]}}}}, facts)


@SLOW
@given(st.data())
def test_an_incomplete_list_is_one_with_an_unknown_item(data: st.DataObject) -> None:
    facts, source = data.draw(known_facts()), data.draw(conditions())
    name = data.draw(st.sampled_from(["things", "words"]))
    cut = {**facts, name: Partial(tuple(facts[name]), HOLE)}
    longer = {**facts, name: [*facts[name], HOLE]}
    assert decide(source, cut) is decide(source, longer)


@SLOW
@given(st.data())
def test_offenders_are_exactly_the_items_that_fail(data: st.DataObject) -> None:
    facts = data.draw(known_facts())
    # A list of its own, which no condition drawn below reads.
    facts["shared"] = [{**one, "id": f"{i}"} for i, one in enumerate(facts["things"])]
    item = REGISTRY.spec_of(PLATFORM, "things").type
    assert isinstance(item, ListOf)
    word = data.draw(st.sampled_from(["every_item", "no_item"]))
    body: dict[str, Any] = {"of": "shared", "check": data.draw(conditions(item.item, 1))}
    if data.draw(st.booleans()):
        body["where"] = data.draw(conditions(item.item, 1))
    if word == "every_item":
        body["empty"] = "pass"
    account = compile_condition({word: body}, Context(PLATFORM)).explain(view(facts), None)
    alone = {i["id"]: decide({word: body}, {**facts, "shared": [i]}) for i in facts["shared"]}
    if None not in alone.values():
        assert sorted(c.key for c in account.culprits) == sorted(k for k, t in alone.items() if t is False)
        assert account.count == len(account.culprits)


@pytest.mark.parametrize("bound", [0, 1, 5])
def test_an_incomplete_list_never_proves_at_most(bound: int) -> None:
    for items in ([], ["a"], ["a", "b"]):
        got = decide({"count_items": {"of": "words", "at_most": bound}}, {"words": Partial(tuple(items), HOLE)})
        assert got is (False if len(items) > bound else None)
