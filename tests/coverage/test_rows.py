"""rows.yml says what covers each row of the lists of checks: nothing is left out, and nothing in it is made up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from agent.baseline import load_policy

HERE = Path(__file__).resolve().parent
WHOLE = ("linux",)  # lists whose rows need a control each, or a lasting reason why none can be
SENTENCE = re.compile(r"\S+(?: \S+){3,}\.")


def read(name: str) -> Any:
    """A YAML file beside this one; a key that is there twice is an error."""
    return YAML(typ="safe").load((HERE / name).read_text(encoding="utf-8"))


LISTS: dict[str, list[str]] = read("lists.yml")
ROWS: dict[str, Any] = read("rows.yml")


def test_every_row_of_every_list_is_there_once_and_in_order() -> None:
    wanted = [row for rows in LISTS.values() for row in rows]
    assert len(set(wanted)) == len(wanted)
    assert list(ROWS) == wanted


@pytest.mark.parametrize("row", ROWS)
def test_a_row_names_controls_or_says_why_there_is_none(row: str) -> None:
    entry = ROWS[row]
    if isinstance(entry, dict):
        assert list(entry) == ["why"]
        assert SENTENCE.fullmatch(entry["why"]), "a sentence of four words or more, with a full stop"
    else:
        assert entry, "a row without a control says why"
        assert len(set(entry)) == len(entry)
        assert not set(entry) - set(load_policy().controls)


def test_lists_that_are_covered_in_full_put_nothing_off() -> None:
    put_off = [row for name in WHOLE for row in LISTS[name] if isinstance(ROWS[row], dict) and "not built" in
               ROWS[row]["why"].lower()]
    assert not put_off


def test_a_row_that_is_not_built_yet_has_no_control_of_its_platform_to_show() -> None:
    """The reason is true: a platform that has controls may not be said to lack its collector."""
    platforms = {c.file.applies_to.platform for c in load_policy().controls.values()}
    for row, entry in ROWS.items():
        for platform in ("windows", "switch"):
            if isinstance(entry, dict) and "needs the collector" in entry["why"] and row in LISTS[platform]:
                assert platform not in platforms, row


def test_every_linux_control_covers_a_row() -> None:
    named = {control for entry in ROWS.values() if not isinstance(entry, dict) for control in entry}
    assert not {c for c in load_policy().controls if c.startswith("linux.")} - named
