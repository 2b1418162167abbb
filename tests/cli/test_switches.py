"""A school of switches through the command itself: scan, drift, plan, doctor, assets; and what is kept of secrets."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from agent.demo.switch_device import SwitchScript
from agent.demo.switch_server import Switches
from tests.cli.conftest import Run
from tests.truth.switches import sheet

TRUST = """\
name: Northfield Trust
profile: trust
schools:
  oak:
    name: Oakfield School
    code: OAK
    inventory: inventories/oak.yml
"""
PROFILE = """\
id: trust
extends: [core]
parameters:
  time_servers: [10.77.0.123, 10.77.0.124]
  log_servers: [10.77.0.51]
  management_access_list: MGMT
  vlans: {staff: 10, pupil: 20, guest: 30, cctv: 40, voip: 50, management: 99}
  switch_firmware: {C2960X: 15.2(7)E10, FL: '10.13', WC: 16.11.0020, C3750: 12.2(55)SE12, ML: '10.10', K: 15.18.0013}
"""
NAMES = {
    "acc-01": "ios-2960x-15.2",
    "old-02": "ios-3750-12.2",
    "cx-01": "aoscx-6300-10.13",
    "cx-02": "aoscx-6200-10.10",
    "pv-01": "procurve-2930f-16.11",
    "core": "procurve-5406zl-15.18",
}
SECRETS = (
    # communities, hashes, keys and passwords of the fixtures
    "S3cretRW Tr0ubl3 M1ll mill2009 104D000A0618 0822455D0A16 Sup3rKey enc-key s3cr3t 0perator"
    " $9$nhEmQVczB7dqsO $8$dsYGNam3K1SIJO AQBapT6iLwUnGmnkQ0bN0P 8d969eef6ecad3c29a3a629280e686cf 3082022B"
).split()


SEEN = {
    "show interfaces status": (
        "Port      Name               Status       Vlan       Duplex  Speed Type\n"
        "Gi1/0/1   Room 101           connected    10         a-full a-1000 10/100/1000BaseTX\n"
        "Gi1/0/2   Room 102           notconnect   20           auto   auto 10/100/1000BaseTX\n"
        "Gi1/0/48  spare              disabled     1            auto   auto 10/100/1000BaseTX\n"
    ),
    "show lldp neighbors detail": (
        "------------------------------------------------\nLocal Intf: Gi1/0/49\nSystem Name: OAK-CORE\n"
        "System Capabilities: B,R\nEnabled Capabilities: B,R\n"
    ),
}


@pytest.fixture(scope="module")
def switches() -> Iterator[Switches]:
    scripts = {}
    for name, fixture in NAMES.items():
        paper = sheet(fixture)
        answers = {**paper.answers, **(SEEN if name == "acc-01" else {})}
        scripts[name] = SwitchScript(paper.platform, paper.config, answers)
    with Switches(scripts) as hosts:
        yield hosts


@pytest.fixture
def trust(tmp_path: Path, switches: Switches, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trust of one school whose devices are all switches."""
    monkeypatch.setenv("SWITCH", "scan")
    (tmp_path / "profiles").mkdir()
    (tmp_path / "inventories").mkdir()
    (tmp_path / "trust.yml").write_text(TRUST, encoding="utf-8")
    (tmp_path / "profiles" / "trust.yml").write_text(PROFILE, encoding="utf-8")
    hosts = {n: {**switches.inventory_vars(n), "ansible_password": "env:SWITCH"} for n in NAMES}
    (tmp_path / "inventories" / "oak.yml").write_text(
        json.dumps({"all": {"children": {"switches": {"hosts": hosts}}}}), encoding="utf-8"
    )
    (tmp_path / "known_hosts").write_text("\n".join(switches.known_hosts_lines()) + "\n", encoding="utf-8")
    return tmp_path


def texts(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below a folder, and what is packed inside the store."""
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        data = path.read_bytes()
        yield path, data
        start = 0
        while (start := data.find(b"\x28\xb5\x2f\xfd", start)) >= 0:  # RFC 8878: a Zstandard frame
            with contextlib.suppress(zstandard.ZstdError):
                yield path, zstandard.ZstdDecompressor().decompressobj().decompress(data[start:])
            start += 4


def test_a_school_of_switches(trust: Path, run: Run, switches: Switches) -> None:
    done = run("-C", trust, "scan", "--format", "json")
    assert done.code == 1, done.err
    found = json.loads(run("-C", trust, "drift", "--all", "--format", "json").out)
    assert {f["platform"] for f in found} == {"ios", "aoscx", "procurve"}
    assert len(found) == 27 * len(NAMES)
    bad = {n: {f["control"] for f in found if f["target"] == n and f["verdict"] == "fail"} for n in NAMES}
    assert {n for n, controls in bad.items() if controls} == {"old-02", "cx-02", "core"}
    lines = next(f for f in found if f["target"] == "old-02" and f["control"] == "switch.telnet")
    assert lines["offenders"] == ["line vty 0 4", "line vty 5 15"]

    out = json.loads(run("-C", trust, "report", "--format", "ndjson", "-o", "-").out.splitlines()[0])
    assert out["platform"] in ("ios", "aoscx", "procurve")
    run("-C", trust, "report")

    for secret in SECRETS:
        for path, data in texts(trust):
            assert secret.encode() not in data, f"{secret} is in {path.name}"

    rows = {r["switch"]: r for r in json.loads(run("-C", trust, "list", "switches", "--format", "json").out)}
    assert len(rows) == len(NAMES)
    one = rows["oak/acc-01"]
    assert (one["family"], one["release"], one["ports"], one["open_ports"], one["ports_in_use"]) == (
        "C2960X",
        "15.2(7)E10",
        3,
        2,
        1,
    )
    assert rows["oak/cx-01"]["ports"] == "?"
    (link,) = json.loads(run("-C", trust, "list", "links", "--format", "json").out)
    assert link == {
        "switch": "oak/acc-01",
        "school": "oak",
        "port": "GigabitEthernet1/0/49",
        "neighbour": "OAK-CORE",
        "is_a": "switch",
    }

    assets = json.loads(run("-C", trust, "list", "assets", "--format", "json").out)
    assert {a["serial"] for a in assets} >= {"FOC1932W0AA"}


def test_the_plan_shows_the_commands_of_each_make(trust: Path, run: Run) -> None:
    text = run("-C", trust, "plan").out
    for line in ("ios: ", "aoscx: ", "procurve: "):
        assert line in text
    for command in (
        "show running-config",
        "show interfaces status",
        "show snmpv3 user",
        "show lldp neighbor-info detail",
    ):
        assert f"  {command}" in text
    assert "needs: show running-config in full" in text
    assert "configure" not in text


def test_doctor_says_what_a_switch_does_not_show(trust: Path, run: Run, switches: Switches) -> None:
    done = run("-C", trust, "doctor", "--format", "json")
    assert {d["state"] for d in json.loads(done.out)} == {"well"}, done.out
    faults = switches.switch("pv-01").script.faults
    faults.denies = "show running-config"
    try:
        done = run("-C", trust, "doctor", "--format", "json", "--target", "oak/pv-01")
    finally:
        faults.denies = "$^"
    (one,) = json.loads(done.out)
    assert done.code == 3
    assert one["state"] == "missing"
    assert "show running-config in full" in one["missing"]


def test_the_kit_lists_every_command_and_nothing_that_changes_anything(trust: Path, run: Run) -> None:
    assert run("-C", trust, "doctor", "--kit", trust / "kit").code in (0, 3)
    text = (trust / "kit" / "switch-commands.txt").read_text(encoding="utf-8")
    commands = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(c.startswith(("show ", "terminal ", "no page", "exit")) for c in commands)
    assert {"show running-config", "show snmpv3 user", "show lldp neighbor-info detail", "no page"} <= set(commands)
    assert "privilege 15" in (trust / "kit" / "README.md").read_text(encoding="utf-8")


def test_host_keys_of_switches_can_be_learnt(trust: Path, run: Run) -> None:
    (trust / "known_hosts").write_text("", encoding="utf-8")
    done = run("-C", trust, "doctor", "--learn-host-keys", "--yes")
    assert done.code == 0, done.err
    assert len((trust / "known_hosts").read_text(encoding="utf-8").splitlines()) == len(NAMES)
