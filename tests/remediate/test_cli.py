"""The verb `remediate`: what it writes, prints and exits with. Ansible and the scan are stood in for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent.cli import cli
from agent.connect.ansible_play import PlayResult, Task
from agent.errors import UsageError
from agent.remediate import run
from agent.store import Store
from tests.remediate import world


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A trust that was scanned."""
    planner = world.make(tmp_path / "t")
    with Store.open(planner.trust.hidden) as store:
        world.save(planner, store, world.USUAL)
    return tmp_path / "t"


def call(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["-C", str(folder), "remediate", *words])


def test_it_writes_bundles(folder: Path) -> None:
    done = call(folder)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("Oakfield *Primary*\t3\t3\t14\t2\t")
    assert (folder / "out/remediation/oak/site.yml").is_file()


def test_as_json_into_another_folder(folder: Path, tmp_path: Path) -> None:
    done = call(folder, "--format", "json", "--out", str(tmp_path / "o"), "--control", "linux.own-manual")
    (info,) = json.loads(done.stdout)
    assert info["steps"] == []
    assert info["manual"][0]["offenders"] == list(world.HOSTILE)
    assert Path(info["folder"]) == tmp_path / "o/remediation/oak"


def test_nothing_to_mend(folder: Path) -> None:
    done = call(folder, "--school", "elm")
    assert done.exit_code == 0
    assert done.stdout == ""
    assert "There is nothing to mend." in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--preview", "--apply"], "say either"), (["--yes"], "with --apply"), (["--outside-window"], "with --apply")],
)
def test_options_that_do_not_go_together(folder: Path, words: list[str], said: str) -> None:
    done = call(folder, *words)
    assert done.exit_code == 2
    assert said in done.output
    assert not (folder / "out").exists()


def test_nobody_to_ask(folder: Path) -> None:
    done = call(folder, "--apply")
    assert isinstance(done.exception, UsageError)
    assert "nobody to ask" in str(done.exception)


def stand_in(monkeypatch: pytest.MonkeyPatch, outcome: str) -> list[bool]:
    """Ansible that says one thing of every host; gives whether each run was in check mode."""
    runs: list[bool] = []
    monkeypatch.setenv("NOT_SET_ANYWHERE", "x")

    def play(folder: Path, *, check: bool, **_: Any) -> PlayResult:
        runs.append(check)
        plays = [
            ("Fix linux.own-words (medium risk)", "web1 web2 web3"),
            ("Fix linux.own-files (low risk)", "web1 web2"),
            ("Fix linux.own-reboot (low risk)", "web1 web2"),
        ]
        return PlayResult(
            0,
            tuple(
                Task(h, p, "Do", "x", outcome, "\x1b[31mbecause", "-old\x1b[2J\n+new")
                for p, hosts in plays
                for h in hosts.split()
            ),
        )

    class Scanned:
        class run:
            id = "r"

    monkeypatch.setattr(run, "play", play)
    monkeypatch.setattr(run, "scan", lambda *_: Scanned)
    return runs


def test_preview(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = stand_in(monkeypatch, "changed")
    done = call(folder, "--preview")
    assert done.exit_code == 0, done.output
    assert runs == [True]
    assert "would change" in done.stdout
    assert done.stdout.count("+new") == 1
    assert "\x1b" not in done.output


def test_preview_that_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "failed")
    done = call(folder, "--preview", "--format", "json")
    assert done.exit_code == 3
    assert {x["result"] for x in json.loads(done.stdout)[0]["results"]} == {"failed"}


def test_apply(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = stand_in(monkeypatch, "changed")
    done = call(folder, "--apply", "--yes", "--format", "json")
    assert runs == [True, False, False]
    body = json.loads(done.stdout)
    assert {x["did"] for x in body["applied"]} == {"changed"}
    assert {x["now"] for x in body["applied"]} == {"fail"}
    assert done.exit_code == 1
