"""How fast evidence is judged: evaluations (one control on one target) a second on one core. See __main__.py."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from agent.controls import Rule
from agent.evaluate import Case, judge
from agent.model import Evidence, School
from tests.bench import fleet

HOSTS = 30_000
CHUNK = 100
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
    print(f"{len(policy.controls)} controls ({shipped} shipped, the rest shipped ones again under other ids), "
          f"{len(pools)} facts of {spread[0]} to {spread[-1]} different readings, {len(schools)} schools, "
          f"{len(made)} rules made for them")
    out: dict[str, Any] = {"hosts": hosts, "controls": len(policy.controls), "shipped": shipped}
    one = [schools[0]]
    print(f"\n{'':44}{'hosts':>8}{'CPU s':>8}{'wall s':>8}{'evaluations a CPU second':>26}")
    rows = (
        ("images", "300 images rolled out, one school", one, 300),
        ("one_school", "each fact on its own, one school", one, 0),
        ("schools", f"each fact on its own, {len(schools)} schools", schools, 0),
    )
    for name, words, where, alike in rows:
        cpu, wall, verdicts = _judge(fleet.hosts(hosts, pools, where, alike=alike), baselines,
                                     {s.key: s for s in where})
        number = sum(verdicts.values())
        print(f"{words:44}{hosts:8,}{cpu:8.2f}{wall:8.2f}{number / cpu:26,.0f}")
        out[name] = {"cpu_seconds": round(cpu, 2), "wall_seconds": round(wall, 2), "per_second": round(number / cpu)}
    print("verdicts of the last row: " + ", ".join(f"{n:,} {v}" for v, n in verdicts.most_common()))
    started = time.process_time()
    for i in range(1000):
        fleet.rules(policy, schools[i % len(schools)])
    resolve = (time.process_time() - started) / 1000
    print(f"finding out a host's rules (once a host, before judging): {resolve * 1e3:.2f} ms")
    out["resolve_ms"] = round(resolve * 1e3, 3)
    return out


def _judge(evidence: Any, baselines: dict[str, Sequence[Rule]], schools: dict[str, School]
           ) -> tuple[float, float, Counter[str]]:
    """Judge host after host as a scan does → (CPU seconds, wall seconds, how often each verdict)."""
    cpu = wall = 0.0
    verdicts: Counter[str] = Counter()
    part: list[Evidence] = []

    def flush() -> tuple[float, float]:
        gc.collect()
        began, ticks = time.perf_counter(), time.process_time()
        found = []
        for e in part:
            school = schools[str(e.target.school)]
            found.append(judge(Case(e, (school,)), baselines[school.key], school))
        spent = time.process_time() - ticks, time.perf_counter() - began
        for findings in found:
            verdicts.update(f.verdict.value for f in findings)
        part.clear()
        return spent

    for e in evidence:
        part.append(e)
        if len(part) == CHUNK:
            a, b = flush()
            cpu, wall = cpu + a, wall + b
    a, b = flush()
    return cpu + a, wall + b, verdicts
