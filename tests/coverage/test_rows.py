"""rows.yml says what covers each row of the lists of checks: nothing is left out, and nothing in it is made up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from agent.baseline import Policy, load_policy

HERE = Path(__file__).resolve().parent
# Lists with a control, or a lasting reason, for each row.
WHOLE = ("linux", "windows", "tenant", "directory", "switch")
SENTENCE = re.compile(r"\S+(?: \S+){3,}\.")


def read(name: str) -> Any:
    """A YAML file beside this one; a key that is there twice is an error."""
    return YAML(typ="safe").load((HERE / name).read_text(encoding="utf-8"))


LISTS: dict[str, list[str]] = read("lists.yml")
ROWS: dict[str, Any] = read("rows.yml")
WHY: dict[str, str] = {row: entry.get("why") or "" for row, entry in ROWS.items() if isinstance(entry, dict)}
CONTROLS: dict[str, list[str]] = {row: entry for row, entry in ROWS.items() if not isinstance(entry, dict)}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy()


def test_every_row_of_every_list_is_there_and_in_order() -> None:
    wanted = [row for rows in LISTS.values() for row in rows]
    assert len(set(wanted)) == len(wanted)
    assert sorted(ROWS) == sorted(wanted)
    assert list(ROWS) == wanted, "rows.yml keeps the order of lists.yml"


def test_a_row_names_controls_that_exist(policy: Policy) -> None:
    for row, controls in CONTROLS.items():
        assert isinstance(controls, list), row
        assert controls, f"{row}: a row without a control says why"
        assert len(set(controls)) == len(controls), row
        assert not set(controls) - set(policy.controls), row


def test_a_row_without_a_control_says_why_in_a_sentence() -> None:
    assert [row for row in ROWS if row not in CONTROLS and list(ROWS[row]) != ["why"]] == []
    assert {row: why for row, why in WHY.items() if not SENTENCE.fullmatch(why)} == {}


def test_lists_that_are_covered_in_full_put_nothing_off() -> None:
    assert [row for name in WHOLE for row in LISTS[name] if "not built" in WHY.get(row, "").lower()] == []


def test_every_linux_control_covers_a_row(policy: Policy) -> None:
    named = {control for controls in CONTROLS.values() for control in controls}
    beyond = {"linux.security-updates"}  # the 14 days of Cyber Essentials and DfE, which no row asks for
    assert {c for c in policy.controls if c.startswith("linux.")} - named == beyond
