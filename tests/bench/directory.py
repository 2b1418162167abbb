"""A big directory: reading, collecting, and a scan, beside what ldapsearch needs. See __main__.py for the method."""

from __future__ import annotations

import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent import trust
from agent.baseline import load_policy
from agent.collect import module
from agent.connect.ldap import open_ldap
from agent.errors import SpiritlevelError
from agent.facts.ad.directory import Behaviour, Directory
from agent.facts.ad.searches import SEARCHES
from agent.facts.protocol import Limits
from agent.model import Kind, Target, TargetState
from agent.plan import Planner, Selection
from agent.scan import Options, scan
from agent.store import Store
from tests.lab.slapd import SlapdLab

ROUNDS = 3
SIZES = ((50_000, 10_000), (100_000, 20_000))
SCHOOLS = 40
LIMITS = Limits(900.0, 1 << 30)
SIXTEEN = """sAMAccountName userPrincipalName mail userAccountControl pwdLastSet lastLogonTimestamp
  accountExpires primaryGroupID objectSid objectGUID whenCreated badPwdCount logonCount displayName description
  objectCategory""".split()


def run() -> dict[str, Any]:
    """Measure and print; a sentence where there can be no server."""
    ready, why = SlapdLab.available()
    if not ready:
        print(f"skipped: {why}")
        return {"skipped": why}
    out: dict[str, Any] = {}
    for users, computers in SIZES[: int(os.environ.get("SPIRITLEVEL_BENCH_SIZES", "2"))]:
        with SlapdLab().start(users, computers, SCHOOLS) as lab:
            print(f"\n{users:,} users, {computers:,} computers, {SCHOOLS} schools, over {lab.url}")
            out[str(users)] = _rounds(lab)
    return out


def _rounds(lab: SlapdLab) -> dict[str, Any]:
    objects = lab.users + lab.computers
    searches = _in_child("searches", lab)["searches"]
    whole = [SEARCHES["users"].base.format(domain=lab.base_dn), "sub", "(objectClass=user)", SIXTEEN]
    ways: dict[str, Callable[[], dict[str, float]]] = {
        "ldapsearch, people and computers, 16 attributes": lambda: _tool(lab, [whole, _computers(whole)]),
        "read: the same by our reader": lambda: _in_child("read", lab),
        f"ldapsearch, the {len(searches)} searches of a scan": lambda: _tool(lab, searches),
        "collect: those searches, as facts": lambda: _in_child("collect", lab),
        "scan: collect, judge, store": lambda: _in_child("scan", lab),
    }
    took: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            took[name].append(way())
    out: dict[str, Any] = {"searches": len(searches)}
    print(f"{'':58}{'s':>7}{'(range)':>14}{'CPU s':>7}{'µs CPU/object':>15}{'more MB':>9}{'peak MB':>9}")
    for name, results in took.items():
        wall, cpu = [r["wall"] for r in results], statistics.median(r["cpu"] for r in results)
        line: dict[str, Any] = {"seconds": round(statistics.median(wall), 2), "cpu": round(cpu, 2)}
        text = f"{name:58}{line['seconds']:7.2f}{f'({min(wall):.2f}-{max(wall):.2f})':>14}{cpu:7.2f}"
        text += f"{cpu / objects * 1e6:15.1f}"
        if "peak" in results[0]:
            line |= {"more_mb": max(r["more"] for r in results), "peak_mb": max(r["peak"] for r in results)}
            text += f"{line['more_mb']:9.0f}{line['peak_mb']:9.0f}"
        out[name.split(":")[0]] = line
        print(text)
        for key in ("stored", "controls", "findings"):
            if key in results[0]:
                out[key] = results[0][key]
    pairs = list(took.values())
    for name, mine, theirs in (("read", 1, 0), ("collect", 3, 2), ("scan", 4, 2)):
        ratios = [m["wall"] / t["wall"] for m, t in zip(pairs[mine], pairs[theirs], strict=True)]
        out[f"{name}_ratio"] = round(statistics.median(ratios), 2)
        print(
            f"{name} takes {out[f'{name}_ratio']:.2f} times as long as ldapsearch ({min(ratios):.2f}-{max(ratios):.2f})"
        )
    print(f"{out['controls']} controls, {out['findings']:,} findings; evidence on disk {out['stored'] / 1e6:.2f} MB")
    return out


def _computers(search: Sequence[Any]) -> list[Any]:
    return [search[0], search[1], "(objectClass=computer)", search[3]]


def _tool(lab: SlapdLab, searches: Sequence[Sequence[Any]]) -> dict[str, float]:
    """Wall and CPU seconds of the distribution's ldapsearch, one process a search."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    for base, scope, where, attributes in searches:
        lab.ldapsearch(base, scope, where, attributes)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def _in_child(step: str, lab: SlapdLab) -> dict[str, Any]:
    """One step in a process of its own, so that its peak of memory is its own."""
    told = {"step": step, "url": lab.url, "ca": str(lab.ca_file), "codes": lab.codes}
    words = [sys.executable, "-m", "tests.bench.directory", json.dumps(told)]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


# ------------------------------------------------------------------------------------------------ in the child
class Recorder:
    """Passes searches on and remembers them."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.server = directory.server
        self.asked: list[list[Any]] = []

    def search(self, base: str, filter: str, attributes: Sequence[str], *, scope: str = "sub", **more: Any) -> Any:
        """As the directory's own."""
        if scope != "deleted":  # slapd knows nothing of AD's deleted objects and refuses at once
            self.asked.append([base, scope, filter, list(attributes)])
        return self._directory.search(base, filter, attributes, scope=scope, **more)

    def behaviour(self, base: str) -> Behaviour:
        """As the directory's own."""
        return self._directory.behaviour(base)


def _child(told: dict[str, Any]) -> dict[str, Any]:
    settings = {"url": told["url"], "bind": SlapdLab.bind, "password": "env:LAB", "ca_file": told["ca"]}
    os.environ["LAB"] = SlapdLab.password
    target = Target("trust-ad", Kind.DIRECTORY, "ad", None, settings)
    facts: Any = module("ad")
    match told["step"]:
        case "searches":
            with _opened(target) as directory:
                recorder = Recorder(directory)
                facts.collect(recorder, list(facts.FACTS), LIMITS)
                return {"searches": recorder.asked}
        case "read":
            with _opened(target) as directory:
                return _timed(lambda: _read(directory))
        case "collect":
            _warm()
            return _timed(lambda: _collect(target, facts))
    return _scan(told, settings)


@contextmanager
def _opened(target: Target) -> Iterator[Directory]:
    with open_ldap(target, lambda _: SlapdLab.password, LIMITS) as directory:
        yield directory


def _read(directory: Directory) -> None:
    for where in ("(objectClass=user)", "(objectClass=computer)"):
        found = directory.search(SlapdLab.base_dn, where, SIXTEEN, take=lambda entry: None)
        if found.why is not None or not found.entries:
            raise SpiritlevelError(f"The directory could not be read: {found.why}.")


def _collect(target: Target, facts: Any) -> Any:
    with _opened(target) as directory:
        return facts.collect(directory, list(facts.FACTS), LIMITS)


def _warm() -> None:
    """Import what opening a directory imports, so that it is not timed."""
    import ldap3  # noqa: F401


def _timed(work: Callable[[], Any]) -> dict[str, Any]:
    gc.collect()
    before, began, ticks = _peak(), time.perf_counter(), time.process_time()
    work()
    wall, cpu, peak = time.perf_counter() - began, time.process_time() - ticks, _peak()
    return {"wall": wall, "cpu": cpu, "more": peak - before, "peak": peak}


def _peak() -> float:
    """The most memory that this process has had, in MB (Linux counts in kB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _scan(told: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="spiritlevel-bench-") as name:
        folder = Path(name)
        planner = _planner(folder, told["codes"], settings)
        jobs = planner.jobs(Selection())
        _warm()
        with Store.open(folder / "store") as store:
            out = _timed(lambda: _whole(scan(planner, store, Selection(), Options(limits=LIMITS)).states.values()))
            found = store.findings()
        out["stored"] = sum(f.stat().st_size for f in (folder / "store").iterdir())
        out["controls"] = len({r.control.id for j in jobs for b, _ in j.parts for r in b.rules})
        out["findings"] = len(found)
        return out


def _planner(folder: Path, codes: Sequence[str], settings: dict[str, Any]) -> Planner:
    (folder / "profiles").mkdir()
    schools = {
        code.lower(): {
            "name": f"School {code}",
            "code": code,
            "directory": {
                "use": "trust-ad",
                "ou": f"OU={code},OU=Schools,{{base_dn}}",
                "upn_suffix": f"{code.lower()}.scale-mat.example",
            },
        }
        for code in codes
    }
    text = {"name": "Bench", "profile": "bench", "schools": schools, "directories": {"trust-ad": settings}}
    (folder / "trust.yml").write_text(json.dumps(text), encoding="utf-8")
    profile = {"id": "bench", "controls": ["ad.*"], "parameters": dict(SlapdLab.SITE_PARAMETERS)}
    (folder / "profiles" / "bench.yml").write_text(json.dumps(profile), encoding="utf-8")
    return Planner(trust.load(folder), load_policy(folder))


def _whole(states: Any) -> None:
    if any(s is not TargetState.COLLECTED for s in states):
        raise SpiritlevelError(f"The directory was not read whole ({list(states)}), which makes the numbers worthless.")


if __name__ == "__main__":
    print(json.dumps(_child(json.loads(sys.argv[1]))))
