"""A large tenant whose Graph is busy and whose app lacks two permissions: the scan completes, and says what it missed.

The size here is small enough for every run; `python -m tests.bench tenant` takes 20,000 users and 6,000 machines.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab.big_tenant import ROOT, BigTenant

pytestmark = pytest.mark.slow
USERS, DEVICES = 1200, 400
LACKING = ("DeviceManagementConfiguration.Read.All", "AuditLog.Read.All")


def scan(folder: Path, *options: str) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """(exit code, findings, what the stand-in did)."""
    with BigTenant(folder, USERS, DEVICES, 0.0, *options) as tenant:
        command = [sys.executable, "-m", "agent", "-C", str(folder)]
        code = subprocess.run([*command, "scan"], cwd=ROOT, capture_output=True, text=True).returncode
        told = tenant.stop()
    out = subprocess.run(
        [*command, "report", "--format", "ndjson", "-o", "-"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return code, [json.loads(line) for line in out.stdout.splitlines()], told


def test_busy_and_two_permissions_missing(tmp_path: Path) -> None:
    _, whole, calm = scan(tmp_path / "whole")
    assert calm["errors"] == []
    assert calm["pages"]["/v1.0/users"] >= 4
    assert any(f["offender_count"] > 20 for f in whole if f["verdict"] == "fail")
    options = ["throttled", *(f"without:{p}" for p in LACKING)]
    code, poor, busy = scan(tmp_path / "poor", *options)
    assert busy["throttled"] > 5
    assert busy["errors"] == []
    assert code == 3

    def by_key(lines: list[dict[str, Any]]) -> dict[tuple[str, str | None], dict[str, Any]]:
        return {(f["control"], f["school"]): f for f in lines}

    full, lacking = by_key(whole), by_key(poor)
    assert set(full) == set(lacking)
    changed = {k for k in full if full[k]["verdict"] != lacking[k]["verdict"]}
    assert changed
    assert {lacking[k]["verdict"] for k in changed} == {"unknown"}
    named = {p for k in changed for p in LACKING if p in lacking[k]["reason"]}
    assert named == set(LACKING)
    assert all(any(p in lacking[k]["reason"] for p in LACKING) for k in changed), [lacking[k] for k in changed]
    same = [k for k in full if k not in changed and full[k]["verdict"] == "fail"]
    assert same
    assert all(full[k]["offender_count"] == lacking[k]["offender_count"] for k in same)
