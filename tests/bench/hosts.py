"""How fast real hosts are scanned, beside the least that ssh can do. See __main__.py for the method."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from agent import trust
from agent.baseline import load_policy
from agent.collect import Credentials, collect
from agent.errors import SpiritlevelError
from agent.facts import linux
from agent.facts.linux.answer import COMMAND, new_nonce, parse, payload
from agent.facts.protocol import Limits, Output
from agent.model import TargetState
from agent.plan import Job, Planner, Selection
from agent.scan import Options, scan
from agent.store import Store
from tests.lab.hosts import HostLab

AT_ONCE = 20
SECONDS = 90.0
"""Rounds are started while one more is likely to fit in here, but at least `ROUNDS` of them; also a host's limit."""
ROUNDS = 3
WAYS = {"A": "ssh client, nothing but the script", "B": "collect", "C": "scan: collect, judge, store"}


def run() -> dict[str, Any]:
    """Measure, print, and give the numbers; a sentence where there can be no hosts."""
    ready, why = HostLab.available()
    if not ready:
        print(f"skipped: {why}")
        return {"skipped": why}
    number = int(os.environ.get("SPIRITLEVEL_BENCH_HOSTS", "50"))
    init = "lite" if number > 60 else "systemd"
    with HostLab().start(number, init=init) as lab, tempfile.TemporaryDirectory(prefix="spiritlevel-bench-") as folder:
        print(f"{number} hosts ({init}), {AT_ONCE} at once, {os.cpu_count()} cores for them and for us together")
        return _rounds(lab, Path(folder), number)


def _rounds(lab: HostLab, folder: Path, number: int) -> dict[str, Any]:
    planner = planner_of(lab, folder)
    jobs = planner.jobs(Selection())
    ways: dict[str, Callable[[int], None]] = {
        "A": lambda _: _ssh(lab, jobs),
        "B": lambda _: _collect(jobs, folder),
        "C": lambda i: scan_all(planner, folder, i),
    }
    _ssh(lab, jobs[:AT_ONCE])  # warm: images in the page cache, sudo and sshd started once
    print(
        f"{'round':>6}{'A hosts/s':>12}{'B hosts/s':>12}{'C hosts/s':>12}{'B/A':>8}{'C/A':>8}"
        f"{'CPU ms a host: A':>19}{'B':>7}{'C':>7}"
    )
    pace: dict[str, list[float]] = {w: [] for w in ways}
    cost: dict[str, list[float]] = {w: [] for w in ways}
    began, done = time.monotonic(), 0
    while done < ROUNDS or time.monotonic() - began < SECONDS * done / (done + 1):
        done += 1
        for way, go in ways.items():
            cpu, start = _cpu(), time.perf_counter()
            go(done)
            pace[way].append(number / (time.perf_counter() - start))
            cost[way].append((_cpu() - cpu) / number * 1e3)
        a, b, c = (pace[w][-1] for w in "ABC")
        print(
            f"{done:>6}{a:>12.2f}{b:>12.2f}{c:>12.2f}{b / a:>8.2f}{c / a:>8.2f}"
            f"{cost['A'][-1]:>19.0f}{cost['B'][-1]:>7.0f}{cost['C'][-1]:>7.0f}",
            flush=True,
        )
    out: dict[str, Any] = {"hosts": number, "rounds": done}
    for way, words in WAYS.items():
        out[way] = {"hosts_per_second": _three(pace[way]), "own_cpu_ms_per_host": _three(cost[way])}
        print(f"{way} {words}: {_words(pace[way])} hosts/s")
    for way in "BC":
        ratios = [x / a for x, a in zip(pace[way], pace["A"], strict=True)]
        out[f"{way}/A"] = _three(ratios)
        print(f"{way}/A: {_words(ratios)}")
    return out


def _three(values: Sequence[float]) -> dict[str, float]:
    return {"min": round(min(values), 3), "median": round(statistics.median(values), 3), "max": round(max(values), 3)}


def _words(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} (from {min(values):.2f} to {max(values):.2f})"


def _cpu() -> float:
    """User and system seconds of this process and its finished children: the scanner's side, not the hosts'."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in both)


def planner_of(lab: HostLab, folder: Path) -> Planner:
    """A trust of one school with these hosts, loaded as the command loads it."""
    (folder / "profiles").mkdir()
    (folder / "hosts.ini").write_text(lab.inventory.read_text(encoding="utf-8"), encoding="utf-8")
    school = {"name": "Oakfield", "code": "OAK", "inventory": "hosts.ini"}
    (folder / "trust.yml").write_text(
        json.dumps({"name": "Bench", "profile": "bench", "schools": {"oak": school}}), encoding="utf-8"
    )
    profile = {"id": "bench", "extends": ["core"], "parameters": dict(HostLab.SITE_PARAMETERS)}
    (folder / "profiles" / "bench.yml").write_text(json.dumps(profile), encoding="utf-8")
    planner = Planner(trust.load(folder), load_policy(folder))
    planner.check()
    return planner


def _ssh(lab: HostLab, jobs: Sequence[Job]) -> None:
    """The floor: the same script on stdin of the plain client; answers are checked for their end, never read."""
    options = ["-F", str(lab.ssh_config), "-o", "KexAlgorithms=curve25519-sha256"]

    def one(job: Job) -> tuple[bytes, str]:
        nonce = new_nonce()
        script = payload({**linux.sections_for(job.wanted), "ids": []}, nonce)
        done = subprocess.run(
            ["ssh", *options, job.target.name, COMMAND], input=script, capture_output=True, timeout=SECONDS, check=False
        )
        return done.stdout, nonce

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(one, jobs))
    for stdout, nonce in answers[:1]:
        if (lost := parse(Output(stdout, b"", 0), nonce, Limits()).lost) is not None:
            raise SpiritlevelError(f"the plain client got no whole answer: {lost}.")


def _collect(jobs: Sequence[Job], folder: Path) -> None:
    credentials, stop = Credentials(), threading.Event()

    def one(job: Job) -> TargetState:
        return collect(job.target, job.wanted, folder, Limits(), credentials, stop).state

    with ThreadPoolExecutor(AT_ONCE) as pool:
        _whole(list(pool.map(one, jobs)))


def scan_all(planner: Planner, folder: Path, number: int) -> None:
    with Store.open(folder / f"store-{number}") as store:
        _whole(list(scan(planner, store, Selection(), Options(workers=AT_ONCE, per_school=AT_ONCE)).states.values()))


def _whole(states: Sequence[TargetState]) -> None:
    bad = sum(s is TargetState.UNREACHABLE for s in states)
    if bad:
        raise SpiritlevelError(f"{bad} of {len(states)} hosts could not be read, which makes the numbers worthless.")
