"""The mapping files: what loads, what does not, and that the shipped ones are whole."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.resources import data_dir
from agent.standards import load_standard, load_standards

SHIPPED = data_dir("baselines") / "standards"
GOOD = """\
id: x
title: A standard
short: X
version: '1'
source: https://example.org/x
source_date: 2026-09-16
requirements:
  - id: x.one
    theme: T
    title: One
    strength: must
    all_of: [linux.a]
    attest: Is it so?
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "x.yml"
    path.write_text(text)
    return path


def test_a_good_one(tmp_path: Path) -> None:
    standard = load_standard(write(tmp_path, GOOD), {"linux.a"})
    (req,) = standard.requirements
    assert (req.controls, req.attest, req.source, str(req.source_date)) == (
        ("linux.a",),
        "Is it so?",
        "https://example.org/x",
        "2026-09-16",
    )


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        ("linux.a", "linux.b", "there is no control 'linux.b'. Did you mean 'linux.a'?", 12),
        ("attest:", "atest:", "there is no such key. Did you mean 'attest'?", 13),
        ("[linux.a]", "[]", "an empty list names no control", 12),
        ("[linux.a]", "[linux.a, linux.a]", "named twice", 12),
        ("id: x\n", "id: y\n", "is not the file's name", 1),
        ("https://example.org/x", "javascript:alert(1)", "pattern", 5),
        ("2026-09-16", "in September", "date", 6),
        ("strength: must", "strength: shall", "must", 11),
        (
            "requirements:\n",
            "requirements:\n  - {id: x.one, theme: T, title: O, strength: may}\n",
            "stands here twice",
            9,
        ),
    ],
)
def test_a_wrong_one_says_where(tmp_path: Path, old: str, new: str, message: str, line: int) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        load_standard(write(tmp_path, GOOD.replace(old, new, 1)), {"linux.a"})
    assert error.value.line == line


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no standards"):
        load_standards(tmp_path, set())


def shipped_controls() -> set[str]:
    return {f"{p.parent.name}.{p.stem}" for p in (data_dir("baselines") / "controls").glob("*/*.yml")}


def test_the_shipped_ones_load_and_are_whole() -> None:
    standards = {s.id: s for s in load_standards(SHIPPED, shipped_controls())}
    assert {i: len(s.requirements) for i, s in standards.items()} == {"cyber-essentials": 37, "dfe": 103, "rpa": 5}
    # Six of DfE's twelve categories are core: broadband, wireless, switching, leadership, filtering, cyber security.
    core = Counter(r.theme for r in standards["dfe"].requirements if r.core)
    assert core == {
        "Cyber security": 41,
        "Network switching": 14,
        "Wireless network": 10,
        "Filtering and monitoring": 7,
        "Broadband internet": 3,
        "Digital leadership and governance": 3,
    }
    assert {r.id for r in standards["cyber-essentials"].requirements if r.auto_fail} == {
        "ce.update.14d-os",
        "ce.update.14d-app",
        "ce.access.mfa-cloud-admin",
        "ce.access.mfa-cloud-users",
    }


def test_no_requirement_claims_a_guidance_that_contradicts_itself() -> None:
    for standard in load_standards(SHIPPED, shipped_controls()):
        for req in standard.requirements:
            assert req.attest == "" or req.attest.endswith("?"), req.id
            assert not req.title.endswith("."), req.id
