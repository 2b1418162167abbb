"""Machines that may be switched off: within their grace what is known stands, and nothing pretends to be of today."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent import scan, yamlfile
from agent.connect import ansible
from agent.model import Evidence
from tests.cli.conftest import Run
from tests.cli.scene import Scene, look

Switch = Callable[..., None]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("unseen")) as made:
        yield made


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Variables that pc1 has beside its own: set `ansible_port` to `closed` and it is off."""
    extra: dict[str, Any] = {"spiritlevel_grace": "14 days"}

    def inventory(paths: Sequence[Path], folder: Path) -> list[ansible.Host]:
        data = yamlfile.read(paths[0]).data["all"]
        return [
            ansible.Host(name, {**data["vars"], **variables, **(extra if name == "pc1" else {})}, ("servers",))
            for name, variables in data["children"]["servers"]["hosts"].items()
        ]

    monkeypatch.setattr(ansible, "inventory", inventory)
    return extra


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Move the clock of reading on by days."""
    passed = {"days": 0.0}
    from agent.collect import collect as real

    def collect(*given: Any) -> Evidence:
        found = real(*given)
        return replace(found, as_of=found.as_of + timedelta(days=passed["days"]))

    monkeypatch.setattr(scan, "collect", collect)
    return lambda days: passed.update(days=days)


@pytest.fixture
def folder(tmp_path: Path, few_controls: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SPIRITLEVEL_TRUST", "SPIRITLEVEL_STORE", "SSH_AUTH_SOCK"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "trust").mkdir()
    return tmp_path / "trust"


def closed() -> int:
    """A port where nobody listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def lines(run: Run, folder: Path) -> dict[str, dict[str, Any]]:
    """The exchange format's line of each host."""
    out = run("-C", folder, "report", "--format", "ndjson", "-o", "-").out
    return {r["target"]: r for r in map(json.loads, out.splitlines())}


def test_within_its_grace_what_is_known_stands(
    run: Run, scene: Scene, folder: Path, host: dict[str, Any], later: Callable[[float], None]
) -> None:
    scene.trust(folder)
    assert look(run, folder).done.code == 0
    before = lines(run, folder)["pc1"]
    host["ansible_port"] = closed()
    later(3)
    seen = look(run, folder)
    assert seen.done.code == 0, seen.done.err
    assert seen.states == {"oak/pc1": "not_seen_since", "oak/pc2": "collected"}
    assert re.fullmatch(r"not seen since \d{4}-\d\d-\d\d \d\d:\d\d UTC: it may be switched off\.", seen.told("oak/pc1"))
    assert seen.of("oak/pc1") == {"pass"}
    assert "not_seen_since" in run("-C", folder, "list", "targets").out
    assert "1 target was not seen" in run("-C", folder, "scan").err
    told = run("-C", folder, "drift")
    assert told.code == 0
    assert "oak/pc1: not seen since" in told.err
    # other programs are never given a verdict of an earlier day as one of today
    now = lines(run, folder)
    assert (now["pc1"]["verdict"], now["pc2"]["verdict"], before["verdict"]) == ("unknown", "pass", "pass")
    assert re.fullmatch(r"unreachable: not seen now; last known on \d{4}-\d\d-\d\d: pass", now["pc1"]["reason"])
    assert (now["pc1"]["change"], now["pc1"]["evidence"]) == (None, before["evidence"])
    assert run("-C", folder, "report", "--format", "html").code == 0
    page = (folder / "out/report/schools/oak.html").read_text()
    assert "Not seen" in page
    assert "its checks stand as they were then" in page
    # back again: as if nothing had been
    del host["ansible_port"]
    later(4)
    assert look(run, folder).of("oak/pc1") == {"pass"}
    assert lines(run, folder)["pc1"]["verdict"] == "pass"


def test_after_its_grace_it_is_unreachable(
    run: Run, scene: Scene, folder: Path, host: dict[str, Any], later: Callable[[float], None]
) -> None:
    scene.trust(folder)
    look(run, folder)
    host["ansible_port"] = closed()
    later(13.9)
    assert look(run, folder).done.code == 0
    later(14.1)
    seen = look(run, folder)
    assert (seen.done.code, seen.states["oak/pc1"], seen.of("oak/pc1")) == (3, "unreachable", {"unknown"})
    assert "longer than its grace" in seen.told("oak/pc1")


def test_one_never_seen_is_unknown_and_its_clock_runs(
    run: Run, scene: Scene, folder: Path, host: dict[str, Any], later: Callable[[float], None]
) -> None:
    scene.trust(folder)
    host["ansible_port"] = closed()
    for day, code, state in ((0, 0, "not_seen_since"), (10, 0, "not_seen_since"), (15, 3, "unreachable")):
        later(day)
        seen = look(run, folder)
        assert (seen.done.code, seen.states["oak/pc1"]) == (code, state)
        assert seen.of("oak/pc1") == {"unknown"}
        assert "never seen since" in seen.told("oak/pc1")
        assert lines(run, folder)["pc1"]["verdict"] == "unknown"


def test_a_host_that_is_there_gets_no_grace(
    run: Run, scene: Scene, folder: Path, host: dict[str, Any], later: Callable[[float], None]
) -> None:
    scene.trust(folder)
    look(run, folder)
    scene.inventory(folder, ("pc1", "pc2"))
    known = (folder / "known_hosts").read_text().splitlines()
    keys = [line.split(" ", 1)[1] for line in known]
    swapped = [f"{line.split(' ', 1)[0]} {key}" for line, key in zip(known, [*keys[1:], keys[0]], strict=True)]
    (folder / "known_hosts").write_text("\n".join(swapped) + "\n")
    seen = look(run, folder)
    assert (seen.done.code, seen.states["oak/pc1"]) == (3, "unreachable")


def test_a_changed_rule_judges_the_last_evidence(
    run: Run, scene: Scene, folder: Path, host: dict[str, Any], later: Callable[[float], None]
) -> None:
    scene.trust(folder)
    look(run, folder)
    host["ansible_port"] = closed()
    control = folder / "controls/test-kernel.yml"
    text = control.read_text()
    words = (("equals: debian", "equals: ubuntu"), ("version: 1", "version: 2"), ("id: debian", "id: X"))
    for old, new in (*words, ("id: ubuntu", "id: debian"), ("id: X", "id: ubuntu")):
        text = text.replace(old, new)
    control.write_text(text)
    seen = look(run, folder)
    assert seen.of("oak/pc1") == {"fail"}
    [mine] = [r for r in seen.records if r["target"] == "pc1"]
    assert mine["change"] == "rebaselined"
    assert mine["not_seen_since"]


def test_a_grace_without_a_unit_is_an_error(run: Run, scene: Scene, folder: Path, host: dict[str, Any]) -> None:
    scene.trust(folder)
    host["spiritlevel_grace"] = 14
    done = run("-C", folder, "scan")
    assert done.code == 2
    assert "spiritlevel_grace of oak/pc1 is no duration" in done.sentence
