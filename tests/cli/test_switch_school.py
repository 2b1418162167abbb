"""A school: a core stack, eight edge switches of three makes, two access points. Drift is found, mended and taken back.

Cisco switches are mended by the bundle's playbook under Ansible itself, the others by typing the bundle's files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.connect.ansible import tool
from agent.demo.switch_device import SwitchScript
from agent.demo.switch_server import Switches
from tests.cli.conftest import Run
from tests.cli.test_switches import PROFILE, TRUST
from tests.remediate.switch_world import Typist
from tests.remediate.test_ansible import lint
from tests.truth import switches as paper
from tests.truth.test_switches import CASES, CX, IOS, PV, XE, Edit, cut, put

pytestmark = pytest.mark.slow

AP, IAP = "ios-ap-15.3", "aoscx-iap-8.10"


def case(make: str, what: str) -> Edit:
    """The edit of a truth test."""
    return next(c.edit for c in CASES if (c.on, c.what) == (make, what))


PLANTED: dict[str, tuple[str, Edit | None, dict[str, list[str]]]] = {
    "core": (IOS, case(IOS, "telnet on the second block"), {"switch.telnet": ["line vty 5 15"]}),
    "acc-01": (XE, cut(r"^logging host .*\n"), {"switch.log-server": []}),
    "acc-02": (XE, None, {}),
    "acc-03": (
        XE,
        put("line vty 5 15\n", "line vty 5 15\n exec-timeout 30 0\n"),
        {"switch.idle-timeout": ["line vty 5 15"]},
    ),
    "cx-01": (CX, case(CX, "telnet in a VRF"), {"switch.telnet": ["default"]}),
    "cx-02": (CX, case(CX, "one is missing"), {"switch.vlans": ["40"]}),
    "cx-03": (CX, case(CX, "no guard"), {"switch.bpdu-guard": ["1/1/3"]}),
    "pv-01": (PV, case(PV, "one VLAN is left out"), {"switch.dhcp-snooping": ["20"]}),
    "pv-02": (PV, case(PV, "never by default"), {"switch.idle-timeout": ["console idle-timeout"]}),
}
"""Name → fixture, what is planted, and exactly what a scan has to say."""
WIRELESS = {"ap-lib": ["OAK-PUPIL"], "ap-hall": ["MILL Guest", "MILL-PUPIL"]}
SITE = PROFILE.replace("switch_firmware: {", "switch_firmware: {CAT9K: 17.9.4, ")


@pytest.fixture(scope="module")
def hosts() -> Iterator[Switches]:
    scripts = {}
    for name, (fixture, edit, _) in PLANTED.items():
        sheet = paper.sheet(fixture)
        config = edit(sheet.config) if edit else sheet.config
        scripts[name] = SwitchScript(sheet.platform, config, sheet.answers)
    for name, fixture in (("ap-lib", AP), ("ap-hall", IAP)):
        sheet = paper.sheet(fixture)
        scripts[name] = SwitchScript(sheet.platform, sheet.config, sheet.answers)
    with Switches(scripts) as found:
        yield found


def trust(folder: Path, hosts: Switches) -> Path:
    """A trust of one school with these switches; `folder` is also the home of who runs Ansible."""
    for sub in ("profiles", "inventories", ".ssh"):
        (folder / sub).mkdir()
    (folder / "trust.yml").write_text(TRUST, encoding="utf-8")
    (folder / "profiles" / "trust.yml").write_text(SITE, encoding="utf-8")
    names = [*PLANTED, *WIRELESS]
    listed = {n: {**hosts.inventory_vars(n), "ansible_password": "env:SWITCH"} for n in names}
    (folder / "inventories" / "oak.yml").write_text(
        json.dumps({"all": {"children": {"switches": {"hosts": listed}}}}), encoding="utf-8"
    )
    keys = "\n".join(hosts.known_hosts_lines()) + "\n"
    for path in (folder / "known_hosts", folder / ".ssh" / "known_hosts"):
        path.write_text(keys, encoding="utf-8")
    return folder


def failing(run: Run, folder: Path) -> dict[str, dict[str, list[str]]]:
    """Switch → control → offenders, of what fails after a scan."""
    done = run("-C", folder, "scan", "--format", "json")
    assert done.code in (0, 1, 3), done.err
    found = json.loads(run("-C", folder, "drift", "--all", "--format", "json").out)
    out: dict[str, dict[str, list[str]]] = {n: {} for n in (*PLANTED, *WIRELESS)}
    for f in found:
        if f["verdict"] == "fail":
            out[f["target"]][f["control"]] = f["offenders"]
    return out


def playbook(bundle: Path, home: Path, *words: str) -> str:
    """Plain ansible-playbook on the bundle."""
    env = {
        **os.environ,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_NOCOLOR": "1",
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [tool("ansible-playbook"), "-i", "inventory.yml", "site.yml", "-e", "ansible_password=scan", *words],
        cwd=bundle,
        env=env,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    return done.stdout


def test_a_school(tmp_path: Path, run: Run, hosts: Switches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCH", "scan")
    folder = trust(tmp_path, hosts)
    switches = {n: hosts.switch(n) for n in PLANTED}
    before = {n: s.running.show() for n, s in switches.items()}
    planted = {n: expected for n, (_, _, expected) in PLANTED.items()}

    found = failing(run, folder)
    assert {n: found[n] for n in PLANTED} == planted
    assert {n: found[n]["switch.wireless"] for n in WIRELESS} == WIRELESS

    done = run("-C", folder, "remediate")
    assert done.code == 0, done.err
    bundle = folder / "out" / "remediation" / "oak"
    readme = (bundle / "README.md").read_text(encoding="utf-8")
    assert "no telnet server vrf default" in readme
    assert lint(bundle, "site.yml") == ""

    playbook(bundle, folder, "--syntax-check")
    playbook(bundle, folder, "--check")
    assert {n: s.running.show() for n, s in switches.items()} == before
    playbook(bundle, folder)
    aruba = [n for n in PLANTED if n.startswith(("cx", "pv"))]
    for name in aruba:
        with Typist(hosts, name) as hands:
            hands.type((bundle / "switches" / f"{name}.txt").read_text(encoding="utf-8"))
    mended = failing(run, folder)
    assert {n: mended[n] for n in PLANTED} == {n: {} for n in PLANTED}
    assert {n: s.back for n, s in switches.items()} == dict.fromkeys(switches)

    playbook(bundle, folder, "-e", "sl_switch_undo=true")
    for name in aruba:
        with Typist(hosts, name) as hands:
            hands.type((bundle / "switches" / f"{name}-undo.txt").read_text(encoding="utf-8"))
    again = failing(run, folder)
    assert {n: again[n] for n in PLANTED} == planted


def test_who_is_cut_off_waits_for_the_way_back() -> None:
    for fixture in (IOS, CX, PV):
        sheet = paper.sheet(fixture)
        with Switches({"one": SwitchScript(sheet.platform, sheet.config, sheet.answers)}) as one:
            switch = one.switch("one")
            before = switch.running.show()
            guard = {"ios": "reload in 15", "aoscx": "checkpoint auto 15", "procurve": "reload after 15"}
            with Typist(one, "one") as hands:
                hands.type(f"{guard[sheet.platform]}\nconfigure terminal\nvlan 777\nexit\n")
            assert switch.running.show() != before
            assert switch.fall_back()
            assert switch.running.show() == before
