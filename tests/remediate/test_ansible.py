"""Bundles under Ansible itself, here: hostile text stays text, failures stay apart, the linter is content."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from agent.baseline import load_policy
from agent.connect.ansible import tool
from agent.connect.ansible_play import play
from agent.errors import ConfigError
from agent.remediate import BundleInfo, gather, switches
from agent.remediate.gather import check_fixes, made
from agent.remediate.run import Seen, lines
from agent.resources import data_dir
from tests.remediate import world

ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "ANSIBLE_NOCOLOR": "1",
    "NO_COLOR": "1",
    "PYTHONWARNINGS": "ignore",
}


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """The usual bundle, of a trust that is gone: all that is left is the bundle."""
    folder = tmp_path_factory.mktemp("world")
    (out,) = world.built(folder / "t", out=folder / "out")
    shutil.rmtree(folder / "t")
    return out


def ansible(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Plain ansible-playbook, as on a machine that never saw this project."""
    return subprocess.run(
        [tool("ansible-playbook"), "-i", "inventory.yml", "site.yml", *words],
        cwd=folder,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def lint(folder: Path, *words: str) -> str:
    """What ansible-lint says against a folder, by the production profile; empty when it is content."""
    done = subprocess.run(
        [
            tool("ansible-lint"),
            "--offline",
            "--strict",
            "--profile",
            "production",
            "-q",
            "--nocolor",
            "--parseable",
            "--project-dir",
            ".",
            *words,
        ],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_syntax(info: BundleInfo) -> None:
    done = ansible(info.folder, "--syntax-check")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_linter_is_content(info: BundleInfo) -> None:
    values = sorted(str(p.relative_to(info.folder)) for p in info.folder.glob("*_vars/*"))
    assert lint(info.folder, "site.yml", *values) == ""


@pytest.mark.slow
def test_hostile_text_stays_text_and_a_failure_stays_alone(info: BundleInfo, tmp_path: Path) -> None:
    look = ansible(info.folder, "--check", "--diff", WORLD=str(tmp_path))
    assert "owned" not in look.stdout.replace("%}owned{%", "")
    assert "uid=" not in look.stdout
    assert not list(tmp_path.iterdir()), "check mode changed something"

    done = ansible(info.folder, WORLD=str(tmp_path))
    assert json.loads((tmp_path / "web1-offenders.json").read_text()) == list(world.HOSTILE)
    assert (tmp_path / "web1-words").read_text() == "OAK {{ x }} one two\n"
    assert (tmp_path / "web2-words").read_text() == "OAK {{ x }} three\n"
    # web1 fails in the last fix only; the end says so, by host and control
    assert not (tmp_path / "web1-last").exists()
    assert (tmp_path / "web2-last").exists()
    assert done.returncode == 2
    assert re.search(r"\[web1\]: FAILED! => .*These fixes failed here - linux\.own-reboot", done.stdout)
    assert "web2" not in [line.split("]")[0] for line in done.stdout.split("fatal: [")[1:]]

    again = ansible(info.folder, WORLD=str(tmp_path))
    assert re.findall(r"changed=(\d+)", again.stdout) == ["0", "0", "0"]


@pytest.mark.slow
def test_one_step_by_its_tag(info: BundleInfo, tmp_path: Path) -> None:
    secret = {"web2": {"ansible_password": "{{ lookup('pipe', 'id') }}"}}
    result = play(
        info.folder,
        check=False,
        tags=["linux.own-words"],
        limit="web2",
        credentials=secret,
        environment={"WORLD": str(tmp_path)},
    )
    assert result.code == 0, result
    assert [p.name for p in tmp_path.iterdir()] == ["web2-words"]
    (change,) = [t for t in result.tasks if t.outcome == "changed"]
    assert (change.host, change.name, change.action) == ("web2", "Write the words", "ansible.builtin.copy")
    assert "+OAK {{ x }} three" in change.diff


@pytest.mark.slow
def test_a_run_summed_up(info: BundleInfo, tmp_path: Path) -> None:
    result = play(info.folder, check=True, environment={"WORLD": str(tmp_path)})
    seen = {(x.control, x.host): x for x in lines(info, result, check=True)}
    assert seen["linux.own-words", "web3"].seen is Seen.WOULD_CHANGE
    assert "+OAK {{ x }} three" in "".join(seen["linux.own-words", "web3"].diffs)
    assert seen["linux.own-reboot", "web1"].seen is Seen.FAILED
    assert seen["linux.own-reboot", "web1"].message == "Fail on one host: It never works here."
    assert result.code == 2


def test_no_host_is_a_complaint(info: BundleInfo) -> None:
    result = play(info.folder, check=True, limit="nosuch")
    assert result.code
    assert not result.tasks
    assert "no hosts to target" in result.error


# ---------------------------------------------------------------------------------------- the shipped task files


def task_files() -> list[Path]:
    return sorted(data_dir("playbooks").rglob("*.yml"))


@pytest.mark.slow
def test_the_linter_is_content_with_the_shipped_task_files(tmp_path: Path) -> None:
    # A file alone does not say that it holds tasks; inside a bundle its folder does.
    shutil.copytree(data_dir("playbooks"), tmp_path / "tasks")
    assert lint(tmp_path, "tasks") == ""


def test_every_fix_fits_its_task_file() -> None:
    policy = load_policy()
    check_fixes(policy.controls.values(), data_dir("playbooks").parent)


def test_every_shipped_task_file_is_used() -> None:
    shipped = data_dir("playbooks")
    fixed = [c for c in load_policy().controls.values() if c.file.fix and c.file.fix.playbook]
    used = {path for control in fixed for path in gather.task_files(control, shipped.parent)}
    used |= {path for platform in ("ad", "m365") for path in gather.undo_files(platform)}
    used.add(shipped / switches.PLAYBOOK)  # which changes it makes is worked out for each switch
    assert set(task_files()) == used


def test_no_task_file_makes_what_another_is_given() -> None:
    # What a task registers stays with the host for the rest of the run, and wins over what an include is given.
    given = {
        f"sl_{n.removeprefix('sl_')}"
        for c in load_policy().controls.values()
        if c.file.fix
        for n in c.file.fix.variables
    } | {"sl_offenders", "sl_failed"}
    for path in task_files():
        text = path.read_text()
        makes = set(re.findall(r"(?m)^\s*register:\s*(sl_\w+)", text))
        makes |= {n for task in yaml.safe_load(text) for n in task.get("ansible.builtin.set_fact", {})}
        assert makes <= made(text)
        assert not makes & given, path


def test_task_files_bring_no_handlers_and_no_code_of_others() -> None:
    for path in task_files():
        tasks = yaml.safe_load(path.read_text())
        assert isinstance(tasks, list), path
        assert tasks, path
        for word in ("notify:", "include_tasks: {", "file: ../", "template:", "roles:"):
            assert word not in path.read_text(), (path, word)
        assert not re.search(r"(?m)^\s*(- )?(ansible\.builtin\.)?script: (?!\|$)", path.read_text()), path


def test_a_fix_that_does_not_fit(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    world.make(folder)
    path = folder / "controls/linux/own-words.yml"
    text = path.read_text()
    for old, new, word in (
        ("{param: motd_words}, sl_school", "{param: moted}, sl_school", "does not use parameter 'moted'"),
        ("sl_odd: ", "sl_even: ", "words.yml does not use sl_even"),
        ("sl_words: {param: motd_words}, ", "", "wants sl_words"),
        ("sl_odd: ", "Bad-Name: ", "is no name"),
    ):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(ConfigError, match=re.escape(word)):
            check_fixes([load_policy(folder).controls["linux.own-words"]], folder)
