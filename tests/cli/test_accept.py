"""except and attest: files are changed as a person would change them, or not at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent import yamlfile
from tests.cli.conftest import Run

SOON = (datetime.now(UTC).date() + timedelta(days=60)).isoformat()
LATER = (datetime.now(UTC).date() + timedelta(days=90)).isoformat()
FAR = (datetime.now(UTC).date() + timedelta(days=500)).isoformat()
PAST = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
WHY = ["--reason", "New machines come in spring", "--owner", "Head of IT"]
FILE = f"""\
# Looked at each term.
exceptions:
  # the kiosk in the library
  - control: linux.test-kernel   # until Easter
    school: oak
    reason: 'The supplier: "no" for now'
    owner: Head of IT
    expires: {SOON}
  - control: linux.test-kernel
    target: pc1
    offenders: [a, {{offender: b, value: 'no'}}]
    reason: |
      Two lines
      of reason
    owner: Head of IT
    expires: {SOON}
# the end
"""


def test_add_keeps_every_comment(run: Run, trust: Path) -> None:
    path = trust / "exceptions.yml"
    path.write_text(FILE)
    path.chmod(0o640)
    done = run("-C", trust, "except", "add", "linux.test-kernel", "--offender", "x: y", *WHY, "--expires", SOON)
    assert done.code == 0, done.err
    text = path.read_text()
    for line in FILE.splitlines():
        assert line in text.splitlines()
    added = yamlfile.read(path).data["exceptions"][-1]
    assert added == {
        "control": "linux.test-kernel",
        "offenders": ["x: y"],
        "reason": "New machines come in spring",
        "owner": "Head of IT",
        "expires": SOON,
    }
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in trust.iterdir() if p.name.startswith(".exceptions")] == []
    assert run("-C", trust, "validate").code == 0


def test_renew_and_end_touch_one_entry(run: Run, trust: Path) -> None:
    path = trust / "exceptions.yml"
    path.write_text(FILE)
    done = run("-C", trust, "except", "renew", "linux.test-kernel", "--expires", LATER)
    assert done.code == 2
    assert "1, 2" in done.sentence
    assert run("-C", trust, "except", "renew", "linux.test-kernel", "--school", "oak", "--expires", LATER).code == 0
    assert path.read_text() == FILE.replace(f"    expires: {SOON}\n", f"    expires: {LATER}\n", 1)
    assert run("-C", trust, "except", "end", "2").code == 0
    data = yamlfile.read(path).data["exceptions"]
    assert [e.get("school") for e in data] == ["oak"]
    assert "# until Easter" in path.read_text()


@pytest.mark.parametrize(
    "start",
    [
        None,
        "",
        "# only words\n",
        "exceptions: []\n",
        "[]\n",
        f"- {{control: linux.test-kernel, reason: eight letters, owner: me, expires: {SOON}}}\n",
    ],
)
def test_add_to_any_beginning(run: Run, trust: Path, start: str | None) -> None:
    path = trust / "exceptions.yml"
    if start is not None:
        path.write_text(start)
    done = run("-C", trust, "except", "add", "linux.test-kernel", "--school", "oak", *WHY, "--expires", SOON)
    assert done.code == 0, done.err
    listed = json.loads(run("-C", trust, "except", "list", "--format", "json").out)
    assert listed[-1]["school"] == "oak"
    assert listed[-1]["state"] == "active"
    if start and start.startswith("#"):
        assert path.read_text().startswith(start)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["linux.test-kernel", *WHY, "--expires", PAST], "past"),
        (["linux.test-kernal", *WHY, "--expires", SOON], "'linux.test-kernel'"),
        (["linux.test-kernel", "--school", "elm", *WHY, "--expires", SOON], "no school"),
        (["linux.test-kernel", "--target", "pc9", *WHY, "--expires", SOON], "no target"),
        (["linux.test-kernel", "--group", "web", *WHY, "--expires", SOON], "group"),
        (["linux.test-kernel", "--reason", "short", "--owner", "x", "--expires", SOON], "reason"),
        (["linux.test-kernel", "--value", "no", *WHY, "--expires", SOON], "--offender"),
    ],
)
def test_what_is_refused_changes_nothing(run: Run, trust: Path, arguments: list[str], word: str) -> None:
    path = trust / "exceptions.yml"
    path.write_text(FILE)
    done = run("-C", trust, "except", "add", *arguments)
    assert done.code == 2
    assert word in done.sentence
    assert path.read_text() == FILE


def test_a_far_end_is_warned_of(run: Run, trust: Path) -> None:
    done = run("-C", trust, "except", "add", "linux.test-kernel", *WHY, "--expires", FAR)
    assert done.code == 0
    assert "more than 400 days" in done.err


def test_a_date_that_is_none(run: Run, trust: Path) -> None:
    done = run("-C", trust, "except", "add", "linux.test-kernel", *WHY, "--expires", "Easter")
    assert done.code == 2
    assert "2027-03-31" in done.err
    assert not (trust / "exceptions.yml").exists()


def test_answers(run: Run, trust: Path) -> None:
    add = [
        "attest",
        "add",
        "--requirement",
        "std.plan",
        "--answer",
        "no",
        "--by",
        "A. Person",
        "--evidence",
        "None yet",
    ]
    assert run("-C", trust, *add, "--expires", SOON).code == 0
    entry = yamlfile.read(trust / "attestations.yml").data["attestations"][0]
    assert entry["answer"] == "no"
    assert entry["on"] == datetime.now(UTC).date().isoformat()
    assert run("-C", trust, "attest", "renew", "std.plan", "--by", "B. Person", "--expires", LATER).code == 0
    listed = json.loads(run("-C", trust, "attest", "list", "--format", "json").out)
    assert [(a["by"], a["expires"], a["in_date"]) for a in listed] == [("B. Person", LATER, True)]
    assert "std.plan" in run("-C", trust, "attest", "list").out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--requirement", "std.plans"], "'std.plan'"),
        (["--control", "linux.test-kernel"], "asks no person"),
        ([], "either"),
        (["--requirement", "std.plan", "--on", FAR], "not yet"),
    ],
)
def test_answers_that_are_refused(run: Run, trust: Path, arguments: list[str], word: str) -> None:
    rest = ["--answer", "yes", "--by", "A. Person", "--evidence", "e", "--expires", SOON]
    done = run("-C", trust, "attest", "add", *arguments, *rest)
    assert done.code == 2
    assert word in done.sentence
    assert not (trust / "attestations.yml").exists()


def test_what_was_accepted_is_on_record(run: Run, trust: Path) -> None:
    from agent.store import Store

    run("-C", trust, "-q", "scan")
    run("-C", trust, "except", "add", "linux.test-kernel", *WHY, "--expires", SOON)
    with Store.open(trust / ".spiritlevel", create=False) as store:
        (action,) = store.actions()
    assert action["verb"] == "except add"
    assert action["expires"] == SOON
    assert action["who"]
