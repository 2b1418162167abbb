"""What a Windows machine costs us over SSH, and what the script costs it. See __main__.py for the method."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from agent import trust as trusts
from agent.baseline import load_policy
from agent.facts import windows as facts
from agent.facts.protocol import Limits
from agent.facts.windows.answer import program
from agent.model import TargetState
from agent.plan import Planner, Selection
from agent.scan import Options, scan
from agent.store import Store
from tests.lab import windows as lab
from tests.lab.windows import WindowsLab
from tests.lab.windows_trust import World

MACHINES = 10
ROUNDS = 3
NONCE = "0123456789abcdef01234567"


def run() -> dict[str, Any]:
    """Measure, print, and give the numbers; a sentence where there can be no machines."""
    ready, why = lab.available()
    if not ready:
        print(f"skipped: {why}")
        return {"skipped": why}
    kinds = list(dict.fromkeys(k for i in lab.items() for k in i.kinds))[:MACHINES]
    with WindowsLab({f"b{n:03d}": (k, []) for n, k in enumerate(kinds, 1)}) as machines:
        machines.start(44201)
        with tempfile.TemporaryDirectory(prefix="spiritlevel-bench-") as folder:
            out = _scans(machines, Path(folder))
        return out | _script(machines)


def _scans(machines: WindowsLab, folder: Path) -> dict[str, Any]:
    world = World(machines.inventory, folder / "trust")
    planner = Planner(trusts.load(world.folder), load_policy(world.folder))
    costs, took = [], []
    for n in range(ROUNDS + 1):
        with Store.open(folder / f"store{n}") as store:
            began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
            outcome = scan(planner, store, Selection(), Options(limits=Limits(300.0, 8 << 20)))
            after = resource.getrusage(resource.RUSAGE_SELF)
            states = {store.evidence(name).state for name in outcome.states}
        if states != {TargetState.COLLECTED}:
            raise RuntimeError(f"not all machines were read: {states}")
        if n:  # the first round imports paramiko and fills caches
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            costs.append(spent * 1000 / len(outcome.states))
            took.append(time.monotonic() - began)
    print(
        f"scan of {MACHINES} machines over SSH: {statistics.median(costs):.1f} ms of our CPU a machine (least "
        f"{min(costs):.1f}), connect to store; {statistics.median(took):.1f} s, which is the engines' work"
    )
    return {"own_ms": round(statistics.median(costs), 1), "own_ms_least": round(min(costs), 1)}


def _script(machines: WindowsLab) -> dict[str, Any]:
    wanted = sorted({f for c in load_policy().controls.values() if c.platform == "windows" for f in c.reads})
    text = program(*facts.questions(wanted), NONCE, 120.0)
    registry = machines.dir / "m/b001/registry.json"
    with tempfile.TemporaryDirectory(prefix="spiritlevel-bench-") as folder:
        path = Path(folder) / "script.ps1"
        path.write_text(text, encoding="ascii")
        empty = Path(folder) / "empty.ps1"
        empty.write_text("'x'\n", encoding="ascii")
        costs = {p.stem: statistics.median(_cpu(p, registry) for _ in range(ROUNDS)) for p in (empty, path)}
    own = costs["script"] - costs["empty"]
    print(
        f"script: {len(text):,} characters; {own:.2f} s of CPU on the engine beyond its start, {costs['empty']:.2f} s; "
        "registry read, every cmdlet and class missing"
    )
    return {"script_seconds": round(own, 2), "script_characters": len(text)}


def _cpu(script: Path, registry: Path) -> float:
    """User and system time of one engine, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [str(lab.engine()), "-Registry", str(registry), "-File", str(script)],
        capture_output=True,
        timeout=300,
        env={"HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
