"""What a school of switches costs: wall time beside the slowest switch's own, and our CPU. See __main__.py."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agent import trust
from agent.baseline import load_policy
from agent.demo.switch_device import SwitchFaults, SwitchScript
from agent.demo.switch_server import Switches
from agent.errors import SpiritlevelError
from agent.model import TargetState
from agent.plan import Planner, Selection
from agent.scan import Options, scan
from agent.store import Store
from tests.truth.switches import PARAMETERS, sheet

NUMBER = 40
FIXTURES = ("ios-2960x-15.2", "ios-9300-17.9", "aoscx-6300-10.13", "procurve-2930f-16.11")
LOGIN = 4.6
"""Seconds that a ProVision switch lets one wait before `Press any key`."""
DELAY = 0.3
"""Seconds before each answer, as real ones take."""


def run() -> dict[str, Any]:
    """40 switches in a process of their own; all at once, then one of each make alone."""
    with tempfile.TemporaryDirectory(prefix="spiritlevel-bench-") as name:
        folder = Path(name)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.bench.switches"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            try:
                told = json.loads(server.stdout.readline())
                return _measure(folder, told)
            finally:
                server.terminate()


def _measure(folder: Path, told: dict[str, Any]) -> dict[str, Any]:
    os.environ["SPIRITLEVEL_BENCH_SWITCH"] = "scan"
    hosts = {n: {**v, "ansible_password": "env:SPIRITLEVEL_BENCH_SWITCH"} for n, v in told["hosts"].items()}
    (folder / "profiles").mkdir()
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    (folder / "known_hosts").write_text("\n".join(told["keys"]) + "\n", encoding="utf-8")
    school = {"name": "Oakfield", "code": "OAK", "inventory": "hosts.yml"}
    (folder / "trust.yml").write_text(
        json.dumps({"name": "Bench", "profile": "bench", "schools": {"oak": school}}), encoding="utf-8"
    )
    profile = {"id": "bench", "extends": ["core"], "parameters": PARAMETERS}
    (folder / "profiles" / "bench.yml").write_text(json.dumps(profile), encoding="utf-8")
    planner = Planner(trust.load(folder), load_policy(folder))
    alone = {}
    for number, fixture in enumerate(FIXTURES):  # also warms up: netmiko is imported once
        alone[fixture] = _scan(planner, folder, f"alone-{number}", (f"oak/sw{number:02}",))[0]
        print(f"{fixture} alone: {alone[fixture]:.2f} s", flush=True)
    walls, cpus = [], []
    for number in range(3):
        wall, cpu = _scan(planner, folder, f"all-{number}", ())
        walls.append(wall)
        cpus.append(cpu / NUMBER * 1e3)
        print(f"{NUMBER} at once: {wall:.2f} s, {wall / max(alone.values()):.2f} of the slowest; {cpus[-1]:.0f} ms CPU")
    slowest = max(alone.values())
    return {
        "switches": NUMBER,
        "slowest_alone_s": round(slowest, 2),
        "wall_s": [round(w, 2) for w in walls],
        "ratio": [round(w / slowest, 2) for w in walls],
        "own_cpu_ms_per_switch": [round(c) for c in cpus],
    }


def _scan(planner: Planner, folder: Path, name: str, targets: tuple[str, ...]) -> tuple[float, float]:
    """(wall seconds, own CPU seconds) of a whole scan into a new store."""
    start, cpu = time.perf_counter(), _cpu()
    with Store.open(folder / name) as store:
        done = scan(planner, store, Selection(targets=targets), Options(workers=NUMBER, per_school=NUMBER))
        bad = sum(s is not TargetState.COLLECTED for s in done.states.values())
    if bad:
        raise SpiritlevelError(f"{bad} switches were not read whole, which makes the numbers worthless.")
    return time.perf_counter() - start, _cpu() - cpu


def _cpu() -> float:
    """Seconds of this process; the switches are in another."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def serve() -> None:
    """The switches, until the parent ends them."""
    scripts = {}
    for number in range(NUMBER):
        paper = sheet(FIXTURES[number % len(FIXTURES)])
        scripts[f"sw{number:02}"] = SwitchScript(
            paper.platform,
            paper.config,
            paper.answers,
            pause=LOGIN if paper.platform == "procurve" else 0.0,
            faults=SwitchFaults(delay=DELAY),
        )
    with Switches(scripts) as hosts:
        told = {"hosts": {n: hosts.inventory_vars(n) for n in scripts}, "keys": hosts.known_hosts_lines()}
        print(json.dumps(told), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    serve()
