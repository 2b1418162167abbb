"""Windows over PowerShell remoting: what one host costs the scanner, and what Ansible would cost for the same.

The hosts are stand-ins that speak the real protocol over HTTPS in a process of their own and answer what was recorded
(tests/fixtures/windows), so that the CPU time of this process is the scanner's alone.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent import trust
from agent.baseline import load_policy
from agent.collect import Credentials, collect
from agent.connect.ansible import tool
from agent.demo.certs import issue, make_ca
from agent.demo.psrp_server import PsrpServer, Reply
from agent.demo.replay_windows import replay
from agent.facts import windows
from agent.facts.protocol import Limits
from agent.model import Kind, Target, TargetState
from agent.plan import Planner, Selection
from agent.scan import Options, scan
from agent.store import Store
from tests.bench.memory import peak
from tests.lab.windows import SITE_PARAMETERS

NUMBER = 500
SHOWN = (100, 250, 500)
PASSWORD = "geheim"
FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "windows"
TASKS = 20
"""Hosts of the comparison with Ansible, which takes long."""


def recorded(name: str) -> Callable[[str], Reply]:
    """A host of the fixtures."""
    wanted = (FIXTURES / "wanted.txt").read_text(encoding="utf-8").split("\n")[:-1]
    _, asked = windows.questions(wanted)
    return replay(json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))["answer"], asked)


def _serve(folder: str, ports: Any) -> None:
    certs = (Path(folder) / "localhost.pem", Path(folder) / "localhost.key")
    with (
        PsrpServer(certs, {"scan": PASSWORD}, recorded("drifted")) as first,
        PsrpServer(certs, {"scan": PASSWORD}, recorded("srv2022")) as second,
    ):
        ports.send((first.port, second.port))
        ports.recv()


@contextmanager
def hosts(folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Two stand-ins in a process of their own → the connection variables of each."""
    ca = make_ca(folder, "bench")
    issue(folder, ca, ["localhost"], ["127.0.0.1"])
    here, there = multiprocessing.get_context("spawn").Pipe()
    child = multiprocessing.get_context("spawn").Process(target=_serve, args=(str(folder), there), daemon=True)
    child.start()
    os.environ["SPIRITLEVEL_BENCH_PASSWORD"] = PASSWORD
    try:
        yield [
            {
                "ansible_connection": "psrp",
                "ansible_host": "localhost",
                "ansible_port": port,
                "ansible_user": "scan",
                "ansible_password": "env:SPIRITLEVEL_BENCH_PASSWORD",
                "ansible_psrp_ca_cert": str(ca.cert_path),
                "ansible_psrp_auth": "ntlm",
            }
            for port in here.recv()
        ]
    finally:
        here.send("end")
        child.join(5)
        child.kill()


def run() -> dict[str, Any]:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as text, hosts(Path(text)) as ways:
        folder = Path(text)
        planner = _planner(folder, ways)
        out = _fleet(planner, folder) | _alone(planner, folder) | _ansible(folder, ways[0])
    return out


def _planner(folder: Path, ways: list[dict[str, Any]]) -> Planner:
    (folder / "profiles").mkdir()
    profile = {"id": "bench", "extends": ["core"], "parameters": SITE_PARAMETERS}
    (folder / "profiles" / "bench.yml").write_text(json.dumps(profile), encoding="utf-8")
    schools = {f"s{i:02d}": {"name": f"School {i}"} for i in range(10)}
    (folder / "trust.yml").write_text(
        json.dumps({"name": "Bench", "profile": "bench", "schools": schools}), encoding="utf-8"
    )
    targets = [
        Target(f"pc{i:03d}", Kind.DEVICE, "windows", f"s{i % 10:02d}", ways[i % len(ways)]) for i in range(NUMBER)
    ]
    return Planner(trust.load(folder), load_policy(folder), targets)


def _fleet(planner: Planner, folder: Path) -> dict[str, Any]:
    """A scan of all: collect, judge, save. CPU of this process per host, and the peak of its memory on the way."""
    out: dict[str, Any] = {}
    print(f"a scan of {NUMBER} hosts over PSRP; before: {peak():.0f} MB")
    print(f"{'hosts':>8}{'own CPU ms a host':>20}{'ms a host':>12}{'peak MB':>10}")
    state = [time.process_time(), time.monotonic(), 0.0]

    def tell(event: Any) -> None:
        if event.kind == "done" and event.done in SHOWN:
            n = event.done - state[2]
            cpu, wall = (time.process_time() - state[0]) / n * 1e3, (time.monotonic() - state[1]) / n * 1e3
            print(f"{event.done:>8}{cpu:>20.1f}{wall:>12.1f}{peak():>10.0f}", flush=True)
            out[str(event.done)] = {"cpu_ms": round(cpu, 1), "ms": round(wall, 1), "peak_mb": round(peak(), 1)}
            state[:] = [time.process_time(), time.monotonic(), event.done]

    with Store.open(folder / "store") as store:
        state[:2] = [time.process_time(), time.monotonic()]
        states = scan(planner, store, Selection(), Options(), tell).states
    lost = sum(s is not TargetState.COLLECTED for s in states.values())
    if lost:
        print(f"{lost} of {NUMBER} hosts were not read whole, which makes the numbers worthless.")
    return {"fleet": out, "not_whole": lost}


def _alone(planner: Planner, folder: Path) -> dict[str, Any]:
    """Collecting alone, one host after the other: no judging, no store, no threads side by side."""
    jobs = [planner.job(t, Selection()) for t in planner.select(Selection())[:TASKS]]
    credentials, stop = Credentials(), threading.Event()
    began, wall = time.process_time(), time.monotonic()
    for job in jobs:
        collect(job.target, job.wanted, folder, Limits(), credentials, stop)
    cpu = (time.process_time() - began) / len(jobs) * 1e3
    each = (time.monotonic() - wall) / len(jobs) * 1e3
    print(f"collecting alone, one after the other: {cpu:.1f} ms of CPU, {each:.1f} ms a host")
    return {"collect": {"cpu_ms": round(cpu, 1), "ms": round(each, 1)}}


def _ansible(folder: Path, way: dict[str, Any]) -> dict[str, Any]:
    """One `raw` task by ansible-playbook over its own psrp connection, on as many hosts: no more than an echo."""
    variables = {**way, "ansible_password": PASSWORD, "ansible_shell_type": "powershell"}
    inventory = {"all": {"hosts": {f"pc{i:03d}": variables for i in range(TASKS)}}}
    play = [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.raw": "echo x"}]}]
    (folder / "inventory.json").write_text(json.dumps(inventory), encoding="utf-8")
    (folder / "play.json").write_text(json.dumps(play), encoding="utf-8")
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [tool("ansible-playbook"), "-f", "5", "-i", str(folder / "inventory.json"), str(folder / "play.json")],
        capture_output=True,
        text=True,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "PYTHONWARNINGS": "ignore", "REQUESTS_CA_BUNDLE": ""},
        timeout=600,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / TASKS * 1e3
    each = (time.monotonic() - began) / TASKS * 1e3
    # The stand-in answers only the collector, so the task fails there; login, session and script are done by then.
    reached = done.stdout.count("UNREACHABLE!")
    print(
        f"ansible-playbook, one raw task, {TASKS} hosts: {cpu:.0f} ms of CPU, {each:.0f} ms a host; {reached} unreached"
    )
    return {"ansible": {"cpu_ms": round(cpu), "ms": round(each), "unreached": reached, "code": done.returncode}}


if __name__ == "__main__":
    print(json.dumps(run()), file=sys.stdout)
