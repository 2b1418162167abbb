"""Summing runs up and applying them: what is left out, who goes first, what is looked at again and noted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from agent.connect.ansible_play import PlayResult, Task, _diff, _message, _tasks
from agent.errors import ConfigError, StoreError, UsageError
from agent.files import ChangeWindow
from agent.model import Verdict
from agent.plan import Planner, Selection
from agent.remediate import BundleInfo, bundle, run
from agent.remediate.run import Line, Seen, apply, credentials, lines, who
from agent.remediate.windows import is_open, sentences
from agent.scan import Options
from agent.store import Store
from tests.remediate import world

WORDS, FILES, REBOOT = "linux.own-words", "linux.own-files", "linux.own-reboot"


@dataclass
class World:
    """A trust with its usual bundle, and stand-ins for Ansible and the scan."""

    planner: Planner
    store: Store
    info: BundleInfo
    monkeypatch: pytest.MonkeyPatch
    plays: list[dict[str, Any]] = field(default_factory=list)
    scans: list[tuple[str, ...]] = field(default_factory=list)
    fails: set[tuple[str, str, bool]] = field(default_factory=set)
    away: set[str] = field(default_factory=set)
    after: list[Any] = field(default_factory=list)

    def play(
        self, folder: Path, *, check: bool, limit: str = "", skip_tags: Sequence[str] = (), **_: Any
    ) -> PlayResult:
        """As ansible-playbook would say it: everything changes but what is in `fails` and `away`."""
        self.plays.append({"check": check, "limit": limit, "skip": list(skip_tags)})
        out = []
        for host in limit.split(",") if limit else ["web1", "web2", "web3"]:
            if host in self.away:
                out.append(Task(host, "Read what the fixes need to know", "Facts", "g", "unreachable", "no route"))
                continue
            for step in self.info.content.steps:
                if host in step.hosts and step.control not in skip_tags:
                    outcome = "failed" if (host, step.control, check) in self.fails else "changed"
                    out.append(Task(host, step.play, "Do it", "ansible.builtin.copy", outcome, "why"))
        return PlayResult(2 if self.fails else 0, tuple(out))

    def scan(self, planner: Planner, store: Store, selection: Selection, options: Options) -> Any:
        """As a scan would: what `after` says is found."""
        self.scans.append(selection.targets)
        world.save(planner, store, self.after)

        class Outcome:
            run = store.run()

        return Outcome


@pytest.fixture
def it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("NOT_SET_ANYWHERE", "12345")
    planner = world.make(tmp_path / "t")
    with Store.open(planner.trust.hidden) as store:
        world.save(planner, store, world.USUAL)
        (info,) = bundle(planner, store, Selection(), tmp_path / "out", world.TODAY)
        out = World(planner, store, info, monkeypatch)
        monkeypatch.setattr(run, "play", out.play)
        monkeypatch.setattr(run, "scan", out.scan)
        yield out


def go(it: World, say: bool = True, **more: Any) -> run.Outcome:
    return apply(it.planner, it.store, [it.info], lambda _: say, **more)


def test_check_mode_first_and_nothing_without_a_yes(it: World) -> None:
    outcome = go(it, say=False)
    assert [p["check"] for p in it.plays] == [True]
    assert it.scans == []
    assert it.store.actions() == []
    assert outcome.stopped == "Nothing was changed."


def test_the_pilot_goes_first(it: World) -> None:
    it.after = [world.fail(REBOOT, "oak/web1")]
    outcome = go(it)
    assert [(p["check"], p["limit"]) for p in it.plays] == [(True, ""), (False, "web1"), (False, "web2,web3")]
    assert it.scans == [("oak/web1", "oak/web2", "oak/web3")]
    assert {a.did for a in outcome.applied} == {Seen.CHANGED}
    assert not outcome.good


def test_a_failing_pilot_spares_the_others(it: World) -> None:
    it.fails = {("web1", WORDS, False)}
    outcome = go(it)
    assert [p["limit"] for p in it.plays] == ["", "web1"]
    assert it.scans == [("oak/web1",)]
    did = {(a.target, a.control): a.did for a in outcome.applied}
    assert did["oak/web1", WORDS] is Seen.FAILED
    assert did["oak/web2", WORDS] is Seen.LEFT_OUT
    assert "failed on the pilot hosts" in outcome.stopped


def test_what_fails_in_check_mode_is_not_run(it: World) -> None:
    it.fails = {("web2", WORDS, True)}
    outcome = go(it)
    assert [p["skip"] for p in it.plays] == [[], [WORDS], [WORDS]]
    did = {(a.target, a.control): a.did for a in outcome.applied}
    assert did["oak/web1", WORDS] is Seen.LEFT_OUT
    assert did["oak/web1", FILES] is Seen.CHANGED


def test_only_what_answered_is_scanned_again(it: World) -> None:
    it.away = {"web2", "web3"}
    outcome = go(it)
    assert it.scans == [("oak/web1",)]
    mine = [a for a in outcome.applied if a.target == "oak/web2"]
    assert {(a.did, a.now, a.message) for a in mine} == {(Seen.UNREACHABLE, None, "no route")}


def test_it_is_noted_who_did_what_and_what_it_came_to(it: World) -> None:
    it.after = [world.fail(FILES, "oak/web1", "x"), world.fail("linux.own-manual", "oak/web3")]
    outcome = go(it)
    assert outcome.fresh == [("oak/web3", "linux.own-manual")]
    noted = {a["target"]: a for a in it.store.actions()}
    assert set(noted) == {"oak/web1", "oak/web2", "oak/web3"}
    assert noted["oak/web1"]["who"] == who()
    assert {"control": FILES, "did": "changed", "now": "fail"} in noted["oak/web1"]["controls"]
    assert noted["oak/web3"]["fresh"] == ["linux.own-manual"]
    assert noted["oak/web1"]["run"] == it.store.run().id


def test_a_scan_that_fails_does_not_hide_what_was_done(it: World) -> None:
    def busy(*_: Any) -> None:
        raise StoreError("another scan is running.")

    it.monkeypatch.setattr(run, "scan", busy)
    outcome = go(it)
    assert "another scan is running" in outcome.stopped
    assert {a.now for a in outcome.applied} == {None}
    assert len(it.store.actions()) == 3


def test_breaking_off_is_noted_and_looked_at(it: World) -> None:
    def stop(folder: Path, *, check: bool, **more: Any) -> PlayResult:
        if not check:
            raise KeyboardInterrupt
        return it.play(folder, check=check, **more)

    it.monkeypatch.setattr(run, "play", stop)
    with pytest.raises(KeyboardInterrupt):
        go(it)
    assert it.scans == [("oak/web1",)]
    (noted,) = it.store.actions()
    assert {c["did"] for c in noted["controls"]} == {"failed"}


def test_nothing_to_run(it: World) -> None:
    with pytest.raises(UsageError, match="nothing that a playbook could mend"):
        apply(it.planner, it.store, [], lambda _: True)


def test_outside_a_change_window(it: World) -> None:
    it.monkeypatch.setattr(run, "is_open", lambda *_: False)
    with pytest.raises(UsageError, match="the change window is not open: Oakfield"):
        go(it)
    assert it.plays == []
    go(it, outside_window=True)
    assert it.plays


def test_credentials_are_read_when_needed(it: World) -> None:
    assert credentials(it.info, it.planner)["web1"] == {"ansible_become_password": "12345"}
    it.monkeypatch.delenv("NOT_SET_ANYWHERE")
    with pytest.raises(ConfigError, match="NOT_SET_ANYWHERE is not set"):
        credentials(it.info, it.planner)


# ------------------------------------------------------------------------------------------------------ summing up


def summed(info: BundleInfo, *tasks: Task, check: bool = True) -> Line:
    return next(x for x in lines(info, PlayResult(0, tasks), check=check) if (x.control, x.host) == (WORDS, "web1"))


def test_a_package_that_is_not_there_yet_is_no_failure(it: World) -> None:
    name = next(s.play for s in it.info.content.steps if s.control == WORDS)
    install = Task("web1", name, "Install", "ansible.builtin.apt", "changed")
    start = Task("web1", name, "Start", "ansible.builtin.service", "failed", "no such service")
    assert summed(it.info, install, start).seen is Seen.WAITS
    assert summed(it.info, install, start, check=False).seen is Seen.FAILED
    assert summed(it.info, start).seen is Seen.FAILED
    there = Task("web1", name, "Install", "ansible.builtin.apt", "ok")
    assert summed(it.info, there, start).seen is Seen.FAILED
    other = Task("web1", name, "Write", "ansible.builtin.copy", "changed")
    assert summed(it.info, other, start).seen is Seen.FAILED


def test_a_host_that_is_in_no_play_has_failed(it: World) -> None:
    facts = Task("web1", "Read what the fixes need to know", "Gathering Facts", "g", "failed", "no Python")
    assert summed(it.info, facts) == Line(WORDS, "web1", Seen.FAILED, "no Python")
    assert summed(it.info).seen is Seen.FAILED


def test_a_host_that_is_lost_half_way(it: World) -> None:
    name = next(s.play for s in it.info.content.steps if s.control == WORDS)
    done = Task("web1", name, "Do", "x", "changed")
    gone = Task("web1", name, "Do more", "x", "unreachable", "timed out")
    assert summed(it.info, done, gone, check=False).seen is Seen.UNREACHABLE


def test_nothing_changed_is_right(it: World) -> None:
    name = next(s.play for s in it.info.content.steps if s.control == WORDS)
    assert summed(it.info, Task("web1", name, "Do", "x", "ok")).seen is Seen.RIGHT


def test_events() -> None:
    def task(event: str, **data: Any) -> list[Task]:
        body = {"host": "h", "play": "p", "task": "t", "task_action": "copy", **data}
        return list(_tasks({"event": event, "event_data": body}))

    assert task("playbook_on_start") == []
    assert task("runner_on_ok", res={"changed": True}) == [Task("h", "p", "t", "copy", "changed")]
    assert task("runner_on_failed", res={"msg": "a\x1b[31m\nb"}) == [Task("h", "p", "t", "copy", "failed", "a [31m b")]
    assert task("runner_on_failed", res={"msg": "a"}, ignore_errors=True)[0].outcome == "ok"
    assert task("runner_item_on_ok", res={"changed": True}) == []
    (item,) = task("runner_item_on_ok", res={"changed": True, "diff": {"before": "a\n", "after": "b\n"}})
    assert item.diff == "--- before\n+++ after\n@@ -1 +1 @@\n-a\n+b"


def test_messages_and_differences() -> None:
    looped = {"msg": "All items completed", "results": [{"failed": False}, {"failed": True, "msg": "the second"}]}
    assert _message(looped, "failed") == "the second"
    assert _message({}, "failed") == "it did not say why"
    modes = {"before": {"mode": "0644"}, "after": {"mode": "0600"}}
    assert _diff([{"prepared": "x"}, None, modes]).startswith("x\n--- before")
    assert _diff({"before": "", "after": "y" * 50_000}).endswith("(cut off)")


# --------------------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize(
    ("days", "hours", "when", "holds"),
    [
        ([], "", "2026-11-24T12:00", True),
        (["tue"], "", "2026-11-24T12:00", True),
        (["Wednesday"], "", "2026-11-24T12:00", False),
        ([], "18:00-22:30", "2026-11-24T18:00", True),
        ([], "18:00-22:30", "2026-11-24T22:30", False),
        ([], "8:00 - 24:00", "2026-11-24T23:59", True),
        (["tue"], "22:00-05:00", "2026-11-24T23:00", True),
        (["tue"], "22:00-05:00", "2026-11-25T04:59", True),
        (["tue"], "22:00-05:00", "2026-11-24T04:00", False),
        (["tue"], "22:00-05:00", "2026-11-25T05:00", False),
    ],
)
def test_windows(days: list[str], hours: str, when: str, holds: bool) -> None:
    assert is_open([ChangeWindow(days=days, hours=hours)], "oak", datetime.fromisoformat(when)) is holds


def test_a_schools_own_window_goes_before_the_trusts() -> None:
    windows = [ChangeWindow(days=["sat"]), ChangeWindow(days=["tue"], hours="18:00-20:00", school="oak")]
    noon, evening = datetime(2026, 11, 24, 12), datetime(2026, 11, 24, 19)
    assert not is_open(windows, "oak", noon)
    assert is_open(windows, "oak", evening)
    assert not is_open(windows, "elm", evening)
    assert is_open([], "oak", noon)
    assert sentences(windows, "oak", "Europe/London") == ["Tuesday, 18:00-20:00 (Europe/London)"]
    assert sentences(windows, None, "Europe/London") == ["Saturday, all day (Europe/London)"]


@pytest.mark.parametrize(("days", "hours"), [(["t"], ""), (["someday"], ""), ([], "25:00-26:00"), ([], "evening")])
def test_a_window_that_says_nothing(days: list[str], hours: str) -> None:
    with pytest.raises(ConfigError, match=r"trust.yml: change_windows: "):
        is_open([ChangeWindow(days=days, hours=hours)], "oak", datetime(2026, 11, 24, 12))


def test_unknown_now_is_not_good() -> None:
    outcome = run.Outcome([run.Applied("t", "c", Seen.CHANGED, Verdict.UNKNOWN)])
    assert not outcome.good
    assert run.Outcome([run.Applied("t", "c", Seen.CHANGED, Verdict.PASS)]).good
