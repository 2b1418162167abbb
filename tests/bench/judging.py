"""How fast evidence is judged: evaluations (one control on one target) a second on one core. See __main__.py."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from agent import evaluate
from agent.controls import Rule
from agent.evaluate import Case, judge
from agent.model import Evidence, Finding, School, Verdict
from tests.bench import fleet

HOSTS = 30_000
PIECE = 100
"""Hosts made at a time; making them is not timed. Few, as a scan keeps none of them in memory."""
GOAL = "a million evaluations a second and core over readings that repeat; 30,000 hosts by 120 controls under 20 s"


def run(hosts: int = HOSTS) -> dict[str, Any]:
    """Measure, print, and give the numbers."""
    policy, shipped = fleet.policy()
    schools = fleet.schools()
    pools = fleet.readings(list(policy.controls.values()))
    baselines = {s.key: fleet.rules(policy, s) for s in schools}
    made = {id(r) for rules in baselines.values() for r in rules}
    spread = sorted(len(p) for p in pools.values())
    print(f"goal: {GOAL}")
    print(
        f"{len(policy.controls)} controls ({shipped} shipped, the rest shipped ones again under other ids), "
        f"{len(pools)} facts of {spread[0]} to {spread[-1]} different readings, {len(schools)} schools, "
        f"{len(made)} rules made for them"
    )
    out: dict[str, Any] = {"hosts": hosts, "controls": len(policy.controls), "shipped": shipped}
    out["yardstick_us"] = round(_yardstick(), 2)
    print(f"yardstick: {out['yardstick_us']:.2f} µs\n")
    print(
        f"{'evaluations a CPU second':41}{'hosts':>7}{'CPU s':>7}{'wall s':>8}"
        f"{'all':>12}{'median':>12}{'fastest tenth':>15}"
    )
    rows = (
        ("at_once", "300 images, all read in one second", hosts // 3, schools[:1], 300, 0),
        ("images", "300 images, each host at its own second", hosts // 3, schools[:1], 300, 1),
        ("one_school", "each fact on its own", hosts, schools[:1], 0, 1),
        ("schools", f"each fact on its own, {len(schools)} schools", hosts // 3, schools, 0, 1),
    )
    for name, words, size, where, alike, apart in rows:
        clear()
        evidence = fleet.hosts(size, pools, where, alike=alike, apart=apart)
        pieces, wall, verdicts = _judge(evidence, baselines, {s.key: s for s in where})
        cpu, number = sum(pieces), sum(verdicts.values())
        one = number / len(pieces)
        paces = sorted((one / p for p in pieces), reverse=True)
        whole, median, fast = number / cpu, paces[len(paces) // 2], paces[len(paces) // 10]
        print(f"{words:41}{size:7,}{cpu:7.2f}{wall:8.2f}{whole:12,.0f}{median:12,.0f}{fast:15,.0f}", flush=True)
        out[name] = {
            "hosts": size,
            "cpu_seconds": round(cpu, 2),
            "wall_seconds": round(wall, 2),
            "per_second": round(whole),
            "per_second_median": round(median),
            "per_second_fastest_tenth": round(fast),
        }
    print("verdicts of the last row: " + ", ".join(f"{n:,} {v}" for v, n in verdicts.most_common()))
    started = time.process_time()
    for i in range(500):
        fleet.rules(policy, schools[i % len(schools)])
    resolve = (time.process_time() - started) / 500
    print(f"finding out a host's rules (once a host, before judging): {resolve * 1e3:.2f} ms")
    out["resolve_ms"] = round(resolve * 1e3, 3)
    return out


def clear() -> None:
    """Forget what was judged before: each fleet begins with nothing known."""
    evaluate._PLANS.clear()
    gc.collect()


def _yardstick() -> float:
    """Microseconds of CPU for one frozen dataclass: how fast this machine is just now."""
    began = time.process_time()
    for _ in range(200_000):
        Finding("a", 1, "b", None, Verdict.PASS, "", "c", "d", (), 0, 0, "e")
    return (time.process_time() - began) * 5


def _judge(
    evidence: Iterator[Evidence], baselines: dict[str, Sequence[Rule]], schools: dict[str, School]
) -> tuple[list[float], float, Counter[str]]:
    """Judge host after host as a scan does → (CPU seconds of each piece, wall seconds, how often each verdict)."""
    wall, pieces = 0.0, []
    verdicts: Counter[str] = Counter()
    while part := list(islice(evidence, PIECE)):
        began, ticks = time.perf_counter(), time.process_time()
        found = []
        for e in part:
            school = schools[str(e.target.school)]
            found.append(judge(Case(e, (school,)), baselines[school.key], school))
        pieces.append(time.process_time() - ticks)
        wall += time.perf_counter() - began
        for findings in found:
            verdicts.update(f.verdict.value for f in findings)
    return pieces, wall, verdicts
