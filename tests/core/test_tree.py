"""The verdict tree that `explain` prints."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import agent.facts
from agent.condition import Context, compile_condition
from agent.condition.tree import tree
from agent.derive import View
from agent.model import Reading, Reason, Unknown

NOW = datetime(2026, 11, 1, tzinfo=UTC)
CHECK = {
    "any": [
        {"all": [{"fact": "sshd.permitrootlogin", "equals": "no"}, {"fact": "sshd.x11forwarding", "equals": "no"}]},
        {
            "not": {
                "no_item": {
                    "of": "users",
                    "where": {"item": "uid", "equals": 0},
                    "check": {"item": "name", "equals": "x"},
                }
            }
        },
    ]
}


def lines(facts: dict[str, Any]) -> list[tuple[int, str, str]]:
    assert agent.facts
    node = compile_condition(CHECK, Context("linux"))
    view = View("linux", {n: Reading(v) for n, v in facts.items()}, NOW)
    out = list(tree(node, view))
    assert out[0].truth is node.test(view, None)
    return [(b.depth, b.wanted.split(" ")[0], b.word) for b in out]


def test_every_part_says_how_it_came_out() -> None:
    facts = {"sshd": {"permitrootlogin": "yes", "x11forwarding": "no"}, "users": [{"uid": 0, "name": "root"}]}
    assert lines(facts) == [
        (0, "any", "does not hold"),
        (1, "all", "does not hold"),
        (2, "sshd.permitrootlogin", "does not hold"),
        (2, "sshd.x11forwarding", "holds"),
        (1, "not", "does not hold"),
        (2, "none", "holds"),
    ]


def test_what_could_not_be_read_is_unknown_and_says_why() -> None:
    why = Unknown(Reason.PERMISSION, "sudo")
    view = View("linux", {"sshd": Reading(why), "users": Reading(why)}, NOW)
    out = list(tree(compile_condition(CHECK, Context("linux")), view))
    assert {b.word for b in out} == {"unknown"}
    assert all(b.seen == "permission missing: sudo" for b in out if b.wanted not in ("any of", "all of", "not"))
