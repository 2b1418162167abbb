"""A tenant read over Graph: exchanges, bytes, time beside the least that the network allows, CPU and memory.

The stand-in runs in a process of its own and adds 50 ms to every exchange. The bound is the longest chain of exchanges
that depend on one another: two to sign in, one batch, then the pages of the longest list one after another; or the
reads that the tenant allows only one a second. What the stand-in itself takes to make and send pages is not in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.lab.big_tenant import ROOT, BigTenant

LATENCY = 0.05
SLOW = 1.05
"""Seconds between two reads of conditional access or risk data (agent/connect/graph_reader.py)."""
SIZES = ((0, 0, "small"), (20_000, 6_000, "20,000 users, 6,000 devices"))


def run() -> dict[str, Any]:
    """Measure and print."""
    out: dict[str, Any] = {}
    for users, devices, name in SIZES:
        with tempfile.TemporaryDirectory(prefix="spiritlevel-bench-") as place:
            out[name] = one(Path(place) / "trust", users, devices)
        m = out[name]
        print(
            f"{name}: {m['exchanges']} exchanges ({m['slow']} of them one a second), {m['megabytes']} MB, "
            f"collecting {m['collect_seconds']} s beside a bound of {m['bound_seconds']} s ({m['ratio']}); "
            f"whole scan {m['scan_seconds']} s, its CPU {m['cpu_seconds']} s, memory {m['peak_mb']} MB"
        )
    return out


def one(folder: Path, users: int, devices: int) -> dict[str, Any]:
    """One tenant: collected once by itself for the time on the wire, then scanned whole."""
    with BigTenant(folder, users, devices, LATENCY) as tenant:
        command = [sys.executable, "-m", "tests.bench.tenant", str(folder)]
        seconds = float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        told = tenant.stop()
    with BigTenant(folder, users, devices, LATENCY) as tenant:
        began = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", "agent", "-C", str(folder), "scan"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(child.pid, 0)
        whole = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        tenant.stop()
    longest = max(told["pages"].values())
    bound = max((2 + 1 + longest - 1) * LATENCY, 2 * LATENCY + told["slow"] * SLOW - SLOW + LATENCY)
    return {
        "exchanges": told["exchanges"],
        "slow": told["slow"],
        "megabytes": round(told["bytes"] / 1e6, 1),
        "pages": told["pages"],
        "collect_seconds": round(seconds, 2),
        "bound_seconds": round(bound, 2),
        "ratio": round(seconds / bound, 2),
        "scan_seconds": round(whole, 2),
        "exit": child.returncode,
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


def collect(folder: Path) -> float:
    """Seconds to read a trust's one tenant, signing in and parsing included."""
    import threading

    from agent import collect as collecting
    from agent import trust
    from agent.baseline import load_policy
    from agent.model import Kind, TargetState
    from agent.plan import Planner, Selection

    planner = Planner(trust.load(folder), load_policy(folder))
    (target,) = [t for t in planner.select(Selection()) if t.kind is Kind.TENANT]
    wanted = planner.job(target, Selection()).wanted
    import httpx  # noqa: F401 - imported beforehand: starting the program is not what is timed
    import msal  # noqa: F401

    began = time.monotonic()
    got = collecting.collect(
        target, wanted, folder, collecting.usual_limits(target), collecting.Credentials(), threading.Event()
    )
    if got.state is TargetState.UNREACHABLE:
        raise SystemExit(f"the tenant could not be read: {got.detail}")
    return time.monotonic() - began


if __name__ == "__main__":
    print(collect(Path(sys.argv[1])))
