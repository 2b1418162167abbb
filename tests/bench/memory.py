"""Memory and time of a large fleet: one host's answers under 2,000 names, judged and saved as a scan does.

Nothing is connected: the answers are a capture of a real host, read by the collector's own parser, so that what is
measured is the scan itself. Evidence repeats, as in a fleet of one image.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent import collect as collecting
from agent import trust
from agent.baseline import load_policy
from agent.demo import replay_linux, stage
from agent.errors import SpiritlevelError
from agent.facts.protocol import Limits, Output
from agent.model import Kind, Target, TargetState
from agent.plan import Planner, Selection
from agent.scan import Options, scan
from agent.store import Store
from tests.lab.hosts import HostLab

NUMBER = 2000
SCHOOLS = 20
SHOWN = (500, 1000, 2000)
"""After how many targets time and memory are told."""


class Replay:
    """A shell that answers from a capture."""

    def __init__(self) -> None:
        text = (stage.HERE / "captures" / "clean.json").read_text(encoding="utf-8")
        self._answer = replay_linux.replay(json.loads(text))

    def run(self, command: str, stdin: bytes, limits: Limits) -> Output:
        """What the captured host said."""
        return Output(*self._answer(command, stdin))


def peak() -> float:
    """The most memory that this process has had so far, in MB (Linux counts in kB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run() -> dict[str, Any]:
    """Measure and print."""
    shell = Replay()

    @contextmanager
    def open_target(*_: Any) -> Any:
        yield shell

    real = collecting.open_target
    collecting.open_target = open_target  # type: ignore[assignment]
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _measure(_planner(Path(folder)), Path(folder))
    finally:
        collecting.open_target = real


def _planner(folder: Path) -> Planner:
    (folder / "profiles").mkdir()
    schools = {f"s{i:02d}": {"name": f"School {i}", "code": f"S{i:02d}"} for i in range(SCHOOLS)}
    text = {"name": "Bench", "profile": "bench", "schools": schools}
    (folder / "trust.yml").write_text(json.dumps(text), encoding="utf-8")
    profile = {"id": "bench", "extends": ["core"], "parameters": dict(HostLab.SITE_PARAMETERS)}
    (folder / "profiles" / "bench.yml").write_text(json.dumps(profile), encoding="utf-8")
    targets = [Target(f"h{i:04d}", Kind.DEVICE, "linux", f"s{i % SCHOOLS:02d}") for i in range(NUMBER)]
    return Planner(trust.load(folder), load_policy(folder), targets)


def _measure(planner: Planner, folder: Path) -> dict[str, Any]:
    out: dict[str, Any] = {"targets": NUMBER, "before_mb": round(peak(), 1)}
    print(f"before: {peak():.0f} MB\n{'targets':>8}{'ms a target':>14}{'peak MB':>10}")
    began, last = time.monotonic(), 0

    def tell(event: Any) -> None:
        nonlocal began, last
        if event.kind == "done" and event.done in SHOWN:
            each = (time.monotonic() - began) / (event.done - last) * 1e3
            print(f"{event.done:>8}{each:>14.1f}{peak():>10.0f}", flush=True)
            out[str(event.done)] = {"ms_per_target": round(each, 2), "peak_mb": round(peak(), 1)}
            began, last = time.monotonic(), event.done

    with Store.open(folder / "store") as store:
        began = time.monotonic()
        _whole(list(scan(planner, store, Selection(), Options(), tell).states.values()))
    return out


def _whole(states: Sequence[TargetState]) -> None:
    if lost := sum(s is TargetState.UNREACHABLE for s in states):
        raise SpiritlevelError(f"{lost} of {len(states)} replays could not be read, which makes the numbers worthless.")


if __name__ == "__main__":
    print(json.dumps(run()), file=sys.stdout)
