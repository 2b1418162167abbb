"""Remediation of real hosts: scan, bundle, preview, plain ansible-playbook, scan again; and a second time, nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent import trust as trusts
from agent.baseline import load_policy
from agent.connect.ansible import tool
from agent.facts.protocol import Limits
from agent.model import Verdict
from agent.plan import Planner, Selection
from agent.remediate import BundleInfo, bundle
from agent.remediate.run import Ran, Seen, apply, preview
from agent.scan import Options, scan
from agent.store import Store
from tests.lab.hosts import HostLab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

# Drift that can be mended without a package mirror: no host of the lab reaches one.
DRIFT = {
    "h001": (
        "ssh-root ssh-x11 sysctl-forward sysctl-runtime sysctl-file shadow-perm tz-wrong dns-wrong suid-shell"
    ).split(),
    "h002": "ssh-dropin extra-sudoer nopasswd cron-writable umask no-tmout minlen empty-pw tmp-exec".split(),
}
OPTIONS = Options(limits=Limits())


def trust(folder: Path, lab: HostLab) -> Planner:
    """A trust with the lab as its one school."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "profiles").mkdir(exist_ok=True)
    values = json.dumps(dict(lab.SITE_PARAMETERS))
    (folder / "profiles/lab.yml").write_text(f"id: lab\nextends: [core]\ncontrols: [linux.*]\nparameters: {values}\n")
    (folder / "trust.yml").write_text(
        f"name: Lab Trust\nprofile: lab\nschools:\n  lab: {{name: Lab School, inventory: {lab.inventory}}}\n"
    )
    return Planner(trusts.load(folder), load_policy(folder))


def verdicts(store: Store, host: str) -> dict[str, Verdict]:
    """Control → verdict now."""
    return {k.finding.control: k.finding.verdict for k in store.findings() if k.finding.target == f"lab/{host}"}


def playbook(info: BundleInfo, *words: str) -> subprocess.CompletedProcess[str]:
    """Plain ansible-playbook."""
    return subprocess.run(
        [tool("ansible-playbook"), "-i", "inventory.yml", "site.yml", *words],
        cwd=info.folder,
        capture_output=True,
        text=True,
        timeout=900,
        env={
            **os.environ,
            "ANSIBLE_NOCOLOR": "1",
            "PYTHONWARNINGS": "ignore",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
    )


def recap(stdout: str) -> dict[str, dict[str, int]]:
    """Host → counters of the recap."""
    lines = re.findall(r"^(h\d+)\s*: (.*)$", stdout, re.MULTILINE)
    return {host: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", rest)} for host, rest in lines}


def mend(planner: Planner, store: Store, out: Path) -> tuple[BundleInfo, set[tuple[str, str]]]:
    """Scan and bundle; with what the playbooks are to mend, as (host, control)."""
    scan(planner, store, Selection(), OPTIONS)
    infos = bundle(planner, store, Selection(), out)
    assert infos, "nothing fails"
    info = infos[0]
    return info, {(h, s.control) for s in info.content.steps for h in s.hosts}


def test_from_drift_to_pass_with_plain_ansible(make_host_lab: Callable[..., HostLab], tmp_path: Path) -> None:
    lab = make_host_lab(2, DRIFT)
    planner = trust(tmp_path / "t", lab)
    with Store.open(planner.trust.hidden) as store:
        info, due = mend(planner, store, tmp_path / "out")
        for host in DRIFT:
            failing = {c for c, v in verdicts(store, host).items() if v is Verdict.FAIL}
            by_hand = {m.control for m in info.content.manual if m.target == host}
            assert failing == {c for h, c in due if h == host} | by_hand

        looked = preview(info, planner)
        seen = {(x.host, x.control): x for x in looked.lines}
        assert set(seen) == due
        assert not [x for x in looked.lines if x.seen in (Seen.FAILED, Seen.UNREACHABLE)], looked.lines
        assert seen["h001", "linux.ssh-root-login"].seen is Seen.WOULD_CHANGE
        assert seen["h001", "linux.ssh-root-login"].diffs
        scan(planner, store, Selection(), OPTIONS)
        still = {(h, c) for h in DRIFT for c, v in verdicts(store, h).items() if v is Verdict.FAIL}
        assert still >= due, "the preview changed something"

        done = playbook(info)
        assert done.returncode == 0, done.stdout[-6000:]
        scan(planner, store, Selection(), OPTIONS)
        now = {(h, c): v for h in DRIFT for c, v in verdicts(store, h).items()}
        assert {k: now[k] for k in due if now[k] is not Verdict.PASS} == {}

        again = playbook(info)
        assert again.returncode == 0, again.stdout[-6000:]
        assert {h: r["changed"] for h, r in recap(again.stdout).items()} == dict.fromkeys(DRIFT, 0), again.stdout


def test_apply_asks_runs_and_looks_again(make_host_lab: Callable[..., HostLab], tmp_path: Path) -> None:
    lab = make_host_lab(2, {"h001": ["ssh-root"], "h002": ["sysctl-forward"]})
    planner = trust(tmp_path / "t", lab)
    asked: list[Ran] = []
    with Store.open(planner.trust.hidden) as store:
        info, due = mend(planner, store, tmp_path / "out")
        lab.stop_host("h002")
        runs = len(store.runs())

        def no(before: object) -> bool:
            return False

        refused = apply(planner, store, [info], no, options=OPTIONS)
        assert refused.stopped == "Nothing was changed."
        assert len(store.runs()) == runs
        assert "permitrootlogin yes" in lab.exec("h001", "sshd -T")

        def yes(before: object) -> bool:
            assert isinstance(before, list)
            asked.extend(before)
            return True

        outcome = apply(planner, store, [info], yes, options=OPTIONS)
        assert {x.seen for x in asked[0].lines if x.host == "h002"} == {Seen.UNREACHABLE}
        by = {(a.target, a.control): a for a in outcome.applied}
        assert by["lab/h001", "linux.ssh-root-login"].did is Seen.CHANGED
        assert by["lab/h001", "linux.ssh-root-login"].now is Verdict.PASS
        assert by["lab/h002", "linux.ip-forward"].did is Seen.UNREACHABLE
        assert by["lab/h002", "linux.ip-forward"].now is None
        assert not outcome.good
        assert store.run(outcome.run).planned == ("lab/h001",), "only what was touched is scanned again"
        assert "permitrootlogin no" in lab.exec("h001", "sshd -T")
        noted = [a for a in store.actions() if a["verb"] == "remediate"]
        assert {a["target"] for a in noted} == {"lab/h001", "lab/h002"}
        mine = next(a for a in noted if a["target"] == "lab/h001")
        assert {"control": "linux.ssh-root-login", "did": "changed", "now": "pass"} in mine["controls"]
        assert mine["who"]
        assert due
