"""A made-up platform, `testbox`, whose facts have every shape there is. Declared once, in the one registry."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from agent.condition import Context, Node, compile_condition
from agent.derive import View
from agent.facttypes import (
    BOOL,
    FLOAT,
    INT,
    MODE,
    REGISTRY,
    STR,
    TIME,
    Enum,
    Field,
    ListOf,
    Record,
    Version,
    derived,
    fact,
)
from agent.model import Partial, Reading, Reason, Unknown

PLATFORM = "testbox"
AS_OF = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
HIDDEN = Unknown(Reason.PERMISSION, "Read.All")

PART = Record({"p": Field(INT), "q": Field(STR, may_be_absent=True)}, key="q", label="q")
THING = Record(
    {
        "id": Field(STR),
        "name": Field(STR),
        "n": Field(INT),
        "s": Field(STR),
        "on": Field(BOOL),
        "maybe": Field(STR, may_be_absent=True),
        "seen": Field(TIME, may_be_absent=True),
        "uptime": Field(INT, volatile=True),
        "tags": Field(ListOf(STR)),
        "parts": Field(ListOf(PART)),
        "owner": Field(STR, may_be_absent=True),
    },
    key="id",
    label="name",
)
BOX = Record(
    {
        "id": Field(STR),
        "name": Field(STR),
        "n": Field(INT),
        "s": Field(STR, may_be_absent=True),
        "words": Field(ListOf(STR)),
        "uptime": Field(INT, volatile=True),
        "inner": Field(Record({"deep": Field(INT)})),
    },
    key="id",
    label="name",
)


def _declare() -> None:
    fact("number", INT, PLATFORM)
    fact("share", FLOAT, PLATFORM)
    fact("word", STR, PLATFORM)
    fact("flag", BOOL, PLATFORM)
    fact("state", Enum(("up", "down", "idle")), PLATFORM)
    fact("mood", Enum(("good", "bad"), closed=False), PLATFORM)
    fact("when", TIME, PLATFORM)
    fact("mode", MODE, PLATFORM)
    fact("release", Version("dotted"), PLATFORM)
    fact("deb", Version("dpkg"), PLATFORM)
    fact("opt_word", STR, PLATFORM, may_be_absent=True)
    fact("opt_number", INT, PLATFORM, may_be_absent=True)
    fact("words", ListOf(STR), PLATFORM)
    fact("modes", ListOf(MODE), PLATFORM)
    fact("opt_words", ListOf(STR), PLATFORM, may_be_absent=True)
    fact("box", BOX, PLATFORM)
    fact("opt_box", BOX, PLATFORM, may_be_absent=True)
    fact("things", ListOf(THING), PLATFORM)
    fact("shared", ListOf(THING, claims="testbox"), PLATFORM)
    fact(
        "kv",
        Record({"running": Field(INT), "boot": Field(INT, may_be_absent=True)}),
        PLATFORM,
        key="setting",
        may_be_absent=True,
    )
    fact("licences", ListOf(STR), PLATFORM)

    @derived("twice", INT, PLATFORM, reads=("number",), parameters=("factor",))
    def twice(view: View) -> Any:
        """The number times the parameter `factor`."""
        value = view.get("number")
        return value * view.parameters["factor"]

    @derived("school_count", INT, PLATFORM, reads=("number",), schools=True)
    def school_count(view: View) -> Any:
        """How many schools there are."""
        return len(view.schools)

    @derived("age", INT, PLATFORM, reads=("when",), clock=True)
    def age(view: View) -> Any:
        """Days since `when`."""
        return (view.as_of - datetime.fromisoformat(view.get("when"))).days

    @derived("tagged", ListOf(THING, claims="testbox"), PLATFORM, reads=("shared",))
    def tagged(view: View) -> Any:
        """Things with a tag."""
        items, why = view.items("shared")
        mine = [i for i in items if isinstance(i, dict) and i.get("tags")]
        return Partial(tuple(mine), why) if why else mine


if (PLATFORM, "number") not in REGISTRY.specs:
    _declare()


def thing(name: str = "a", **more: Any) -> dict[str, Any]:
    """A whole item of `things`."""
    return {
        "id": f"id-{name}",
        "name": name,
        "n": 1,
        "s": "x",
        "on": True,
        "maybe": None,
        "seen": "2026-11-01T00:00:00Z",
        "uptime": 5,
        "tags": [],
        "parts": [],
        "owner": None,
        **more,
    }


def view(facts: Mapping[str, Any], **more: Any) -> View:
    """A view of plain values."""
    return View(PLATFORM, {n: Reading(v) for n, v in facts.items()}, more.pop("as_of", AS_OF), **more)


def compiled(source: Any, **more: Any) -> Node:
    """Compile a condition against the testbox."""
    return compile_condition(source, Context(PLATFORM, **more))


def truth(source: Any, facts: Mapping[str, Any], **more: Any) -> Any:
    """The truth of a condition; also sees to it that the explanation says the same."""
    node = compiled(source, **{k: v for k, v in more.items() if k in ("parameters", "fills", "declared")})
    seen = view(facts, **{k: v for k, v in more.items() if k == "as_of"})
    got = node.test(seen, None)
    account = node.explain(seen, None)
    assert account.truth is got
    if got is None:
        assert account.unknowns, "an unknown has a reason"
    return got


def offenders(source: Any, facts: Mapping[str, Any], **more: Any) -> list[str]:
    """Labels of the culprits, sorted."""
    return sorted(o.label for o in compiled(source, **more).explain(view(facts), None).culprits)
