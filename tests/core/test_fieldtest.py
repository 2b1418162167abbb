"""What the report of a real Windows machine says, and what it never says."""

from __future__ import annotations

from typing import Any

import pytest

from agent import facts as facts  # declares the facts
from agent.baseline import load_policy
from agent.facttypes import BOOL, INT, STR, TIME, Enum, Field, ListOf, Record
from agent.fieldtest import _report, misfits, shape, windows_facts
from agent.model import Partial, Reason, Unknown

USER = Record(
    {
        "name": Field(STR),
        "sid": Field(STR),
        "enabled": Field(BOOL),
        "set": Field(TIME, may_be_absent=True),
        "kind": Field(Enum(("local", "domain"))),
    }
)
ANN = {"name": "Ann Other", "sid": "S-1-5-21-9-501", "enabled": True, "set": None, "kind": "local"}


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ([ANN], ListOf(USER), []),
        ([{**ANN, "enabled": "True"}], ListOf(USER), ["[].enabled is str, not bool"]),
        ([{**ANN, "kind": "odd"}], ListOf(USER), ["[].kind is str, not one of local, domain"]),
        ([{k: v for k, v in ANN.items() if k != "sid"}], ListOf(USER), ["[].sid is missing"]),
        ([{**ANN, "more": 1}], ListOf(USER), ["[].more is not declared"]),
        ([{**ANN, "name": None}], ListOf(USER), ["[].name is absent"]),
        (
            Partial((ANN, {**ANN, "enabled": 1}), Unknown(Reason.TRUNCATED)),
            ListOf(USER),
            ["[].enabled is int, not bool"],
        ),
        (True, INT, [" is bool, not int"]),
        (Unknown(Reason.PERMISSION, "administrator"), INT, []),
        (None, INT, [" is absent"]),
        ("x", ListOf(INT), [" is str, not list"]),
    ],
)
def test_what_is_not_of_its_type_is_named(value: Any, kind: Any, words: list[str]) -> None:
    assert misfits(value, kind, False) == words


def test_a_shape_names_nobody() -> None:
    text = shape(
        [ANN, {**ANN, "name": "Bob Other"}, {**ANN, "enabled": False, "set": "2026-01-01T00:00:00Z"}], ListOf(USER)
    )
    assert text == (
        "3 × [{name: text of 9, sid: text of 14, enabled: yes, set: absent, kind: local} | "
        "{name: text of 9, sid: text of 14, enabled: no, set: a time, kind: local}]"
    )
    assert shape("Ann", Enum(("local",))) == "text of 3"
    assert shape(Unknown(Reason.PERMISSION, "administrator"), STR) == "unknown (permission missing: administrator)"
    assert shape(["a"] * 9, ListOf(STR)) == "9 × [text of 1]"


def test_the_report_counts() -> None:
    wanted = windows_facts(load_policy().controls.values())
    assert len(wanted) >= 60
    assert "os" in wanted
    os: dict[str, Any] = {
        "build": 26100,
        "revision": 1,
        "edition": "Education",
        "release": "24H2",
        "product": "workstation",
        "core": "no",
        "extended": [],
    }
    result = _report({"way": "OpenSSH"}, {"os": os, "tpm": Unknown(Reason.PERMISSION, "administrator")})
    assert (result.facts, result.unknown, result.wrong) == (2, 1, ("os.core is str, not bool",))
    assert "NOT OF ITS TYPE: os.core is str, not bool" in result.text
    assert "Education" not in result.text
    assert "workstation" in result.text
