"""A fleet with the troubles of a night: hosts that are off, one that hangs, one that floods, one with another key.

The others are complete and on time, and the pages say of the rest what became of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from agent import trust as trusts
from agent.baseline import load_policy
from agent.facts.protocol import Limits
from agent.model import Evidence, Reason, TargetState, Unknown
from agent.plan import Planner, Selection
from agent.render.html import pages
from agent.snapshots import snapshot
from agent.store import Store
from tests.lab.hosts import HostLab
from tests.lab.linux_trust import World

pytestmark = [pytest.mark.lab, pytest.mark.slow]
HOSTS = 24
TROUBLE = {"h003": "down", "h008": "down", "h013": "down", "h017": "hang", "h020": "flood", "h024": "keychange"}
LIMITS = Limits(12.0, 2 << 20)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    ready, why = HostLab.available()
    if not ready:
        pytest.skip(f"{why}: hosts with their own sshd")
    with HostLab().start(HOSTS, {host: [item] for host, item in TROUBLE.items()}, init="lite") as lab:
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
    assert took < LIMITS.seconds + 15


def test_each_of_the_rest_says_why(night: tuple[dict[str, Evidence], float]) -> None:
    evidence, _ = night
    for host, item in TROUBLE.items():
        found = evidence[host]
        assert found.state is not TargetState.COLLECTED, host
        assert found.detail
        if item != "flood":  # what came before the flood may be known
            assert found.state is TargetState.UNREACHABLE, (host, found.detail)
        assert found.no_answer is False  # that is not kept
    key = {r.value.reason for r in evidence["h024"].facts.values() if isinstance(r.value, Unknown)}
    assert key == {Reason.IDENTITY}


def test_the_pages_say_it(world: World, night: tuple[dict[str, Evidence], float]) -> None:
    planner = Planner(trusts.load(world.folder), load_policy(world.folder))
    with Store.open(planner.trust.hidden) as store:
        made = pages(snapshot(planner, store))
    text = made["schools/lab.html"]
    section = text[text.index("Not reached this time") :]
    away = {h for h, e in night[0].items() if e.state is TargetState.UNREACHABLE}
    assert away >= set(TROUBLE) - {"h020"}
    assert all(f"<strong>{host}</strong>" in section for host in away)
