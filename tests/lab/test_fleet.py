"""A fleet with the troubles of a night: hosts that are off, one that hangs, one that floods, one with another key.

The others are complete and on time, and the pages say of the rest what became of it.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from agent import trust as trusts
from agent.baseline import load_policy
from agent.facts.protocol import Limits
from agent.model import Evidence, Reason, TargetState, Unknown, Verdict
from agent.plan import Planner, Selection
from agent.render.html import pages
from agent.snapshots import snapshot
from agent.store import Store
from tests.lab.hosts import HostLab, drift_items
from tests.lab.linux_trust import World

pytestmark = [pytest.mark.lab, pytest.mark.slow]
HOSTS = int(os.environ.get("SPIRITLEVEL_FLEET", "24"))
"""200 is the demonstration: SPIRITLEVEL_FLEET=200 pytest tests/lab/test_fleet.py -s"""
SCALE = HOSTS / 200
LIMITS = Limits(12.0 if HOSTS < 100 else 60.0, 2 << 20)
ROWS = Path(__file__).resolve().parent.parent / "coverage" / "rows.yml"


def _trouble() -> dict[str, str]:
    """Of 200: 20 that are off, 5 that hang, 2 that flood, 1 with another key; at least one of each."""
    many = {"down": 20, "hang": 5, "flood": 2, "keychange": 1}
    items = [item for item, n in many.items() for _ in range(max(1, round(n * SCALE)))]
    step = max(1, HOSTS // len(items))
    return {f"h{1 + i * step:03d}": item for i, item in enumerate(items)}


def _drift() -> dict[str, list[str]]:
    """Known drift on half of the others: three items each, by turns, that do not touch one another."""
    items = [name for name, item in drift_items().items() if item.rows and name not in _CLASH]
    healthy = [f"h{n:03d}" for n in range(1, HOSTS + 1) if f"h{n:03d}" not in TROUBLE]
    return {host: [items[(3 * i + k) % len(items)] for k in range(3)] for i, host in enumerate(healthy[::2])}


# What contradicts a neighbour in the list, or what takes systemd to be there (these hosts have none).
_CLASH = {"ssh-dropin", "ufw-off", "ufw-accept", "no-ufw", "no-rsyslog", "no-chrony", "listener", "sshd-perm", "os-old"}
BARE = {"linux.firewall-default"}
"""What is so on every host of this lab: nothing has loaded the firewall's rules."""
TROUBLE = _trouble()
DRIFT = _drift()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    ready, why = HostLab.available()
    if not ready:
        pytest.skip(f"{why}: hosts with their own sshd")
    plan = {host: [item] for host, item in TROUBLE.items()} | DRIFT
    with HostLab().start(HOSTS, plan, init="lite") as lab:
        print(f"\nlab of {HOSTS} hosts up in {lab.start_seconds:.1f} s")
        yield World(lab, tmp_path_factory.mktemp("fleet") / "trust")


@pytest.fixture(scope="module")
def night(world: World) -> tuple[dict[str, Evidence], float]:
    """One scan of all, and the seconds that it took."""
    began = time.monotonic()
    evidence = world.scan(Selection(), LIMITS)
    took = time.monotonic() - began
    print(f"scan {took:.1f} s")
    return evidence, took


def test_the_others_are_complete_and_nobody_waits(night: tuple[dict[str, Evidence], float]) -> None:
    evidence, took = night
    assert len(evidence) == HOSTS
    for host in set(evidence) - set(TROUBLE):
        assert evidence[host].state is not TargetState.UNREACHABLE, evidence[host].detail
        lost = {r.value.reason for r in evidence[host].facts.values() if isinstance(r.value, Unknown)}
        # these hosts have no systemd to ask: everything else of them is known
        assert not lost & {Reason.UNREACHABLE, Reason.TIMED_OUT, Reason.TRUNCATED}, (host, lost)
        assert not isinstance(evidence[host].facts["sshd"].value, Unknown)
    print(f"{len(evidence) - len(TROUBLE)} hosts were read whole, {HOSTS / took:.1f} a second")


def test_the_drift_found_is_the_drift_made(world: World, night: tuple[dict[str, Evidence], float]) -> None:
    entries = YAML(typ="safe").load(ROWS.read_text(encoding="utf-8"))
    tally: Counter[str] = Counter()
    for host, findings in world.findings().items():
        made = {c for row in world.lab.truth[host] for c in entries.get(row, [row])}
        failed = {c for c, f in findings.items() if f.verdict is Verdict.FAIL}
        unknown = {c for c, f in findings.items() if f.verdict is Verdict.UNKNOWN}
        assert failed <= made | BARE, host
        assert made <= failed | unknown, host  # without systemd some things cannot be asked
        failed &= made
        tally.update(found=len(failed), unseen=len(made - failed), made=len(made))
        if host in TROUBLE and TROUBLE[host] != "flood":
            assert not failed
    assert tally["found"] > 0.8 * tally["made"] > 0
    print(dict(tally))


def test_each_of_the_rest_says_why(night: tuple[dict[str, Evidence], float]) -> None:
    evidence, _ = night
    for host, item in TROUBLE.items():
        found = evidence[host]
        assert found.state is not TargetState.COLLECTED, host
        assert found.detail
        if item != "flood":  # what came before the flood may be known
            assert found.state is TargetState.UNREACHABLE, (host, found.detail)
        assert found.no_answer is False  # that is not kept
    changed = next(host for host, item in TROUBLE.items() if item == "keychange")
    key = {r.value.reason for r in evidence[changed].facts.values() if isinstance(r.value, Unknown)}
    assert key == {Reason.IDENTITY}


def test_the_pages_say_it(world: World, night: tuple[dict[str, Evidence], float]) -> None:
    planner = Planner(trusts.load(world.folder), load_policy(world.folder))
    with Store.open(planner.trust.hidden) as store:
        made = pages(snapshot(planner, store))
    text = made["schools/lab.html"]
    section = text[text.index("Not reached this time") :]
    away = {h for h, e in night[0].items() if e.state is TargetState.UNREACHABLE}
    assert away >= {host for host, item in TROUBLE.items() if item != "flood"}
    assert all(f"<strong>{host}</strong>" in section for host in away)
