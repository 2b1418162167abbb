"""A school of 30 Windows stand-ins scanned over three transports in one run; doctor, kit and bundle of them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import kit
from agent import trust as trusts
from agent.baseline import load_policy
from agent.facts.protocol import Limits
from agent.model import Reason, TargetState, Verdict
from agent.plan import Planner, Selection
from agent.remediate import BundleInfo, bundle
from agent.store import Store
from tests.lab import windows
from tests.lab.test_windows_truth import rows_of
from tests.lab.windows import WindowsLab
from tests.lab.windows_trust import World
from tests.lab.windows_ways import WAYS, Ways, in_turn
from tests.remediate.test_ansible import ansible, lint

pytestmark = [pytest.mark.lab, pytest.mark.slow]
LIMITS, SHORT = Limits(110.0, 8 << 20), Limits(8.0, 8 << 20)
# name: kind and what is planted; every third goes over each way
MACHINES: dict[str, tuple[str, list[str]]] = {
    "a-ssh": ("win11-24h2", []),
    "a-psrp": ("win11-24h2", []),
    "a-winrm": ("win11-24h2", []),
    "b-ssh": ("win11-25h2", ["av-off", "nla-policy", "admin-forged", "dns-second", "winrm-basic"]),
    "b-psrp": ("win11-25h2", ["av-off", "nla-policy", "admin-forged", "dns-second", "winrm-basic"]),
    "b-winrm": ("win11-25h2", ["av-off", "nla-policy", "admin-forged", "dns-second", "winrm-basic"]),
    "c1": ("win11-24h2", ["clm"]),
    "c2": ("win11-24h2", ["clm"]),
    "c3": ("win11-24h2", ["clm"]),
    "core1": ("core2022", ["smb1-on"]),
    "core2": ("core2022", ["smb1-on"]),
    "core3": ("core2022", []),
    "de1": ("win11-de", ["guest-renamed"]),
    "de2": ("win11-de", ["guest-renamed"]),
    "de3": ("win11-de", ["admin-orphan"]),
    "denied1": ("win11-24h2", ["denied"]),
    "denied2": ("win11-24h2", ["denied"]),
    "denied3": ("srv2019", ["denied"]),
    "nobl1": ("srv2022", ["no-bitlocker"]),
    "nobl2": ("srv2022", ["no-bitlocker"]),
    "nobl3": ("srv2022", ["no-bitlocker", "uac-off"]),
    "lie1": ("win11-24h2", ["lie"]),
    "lie2": ("win11-24h2", ["lie"]),
    "lie3": ("srv2016", ["lie"]),
    "dc1": ("dc2022", []),
    "old1": ("win10-22h2", ["screen-never", "tls10-all", "lockout-50"]),
    "entra1": ("win11-entra", ["cached-50"]),
    "hang1": ("win11-24h2", ["hang"]),
    "hang-shell": ("win11-24h2", ["hang-shell"]),
    "srv1": ("srv2025", ["fw-all-off", "log-small", "wuauserv-off"]),
}


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    ready, why = windows.available()
    if not ready:
        pytest.skip(f"{why}: stand-in Windows machines")
    known = {i.name for i in windows.items()}
    assert {i for _, there in MACHINES.values() for i in there} <= known
    with (
        WindowsLab(MACHINES, seed="7") as lab,
        Ways(lab.start(43601), in_turn(list(MACHINES)), tmp_path_factory.mktemp("ways")) as ways,
    ):
        yield ways
        assert ways.failures == []


@pytest.fixture(scope="module")
def world(school: Ways, tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(school.inventory, tmp_path_factory.mktemp("windows") / "trust")
    world.scan(Selection(limit="all:!hang-shell"), LIMITS)
    world.scan(Selection(limit="hang-shell"), SHORT)
    return world


def test_the_school_is_as_asked(school: Ways) -> None:
    assert len(MACHINES) == 30
    assert [list(school.way.values()).count(w) for w in WAYS] == [10, 10, 10]


def test_exactly_the_drift_that_was_put_there(world: World, school: Ways) -> None:
    truth, unknown = school.lab.truth, school.lab.unknown
    for name in MACHINES:
        never, perhaps = unknown.get(name, (set(), set()))
        if "*" in never | perhaps:
            continue
        fails, lost = rows_of(world.findings[name], Verdict.FAIL), rows_of(world.findings[name], Verdict.UNKNOWN)
        assert fails == truth.get(name, set()) - lost, (name, school.way[name])
        assert never <= lost <= never | perhaps, (name, school.way[name])


def test_one_machine_by_three_ways_is_one(world: World) -> None:
    """The same machine, made three times: what it says differs by nothing but its own names and numbers."""
    for letter in "ab":
        seen = [
            {c: (f.verdict, [o.label for o in f.offenders]) for c, f in world.findings[f"{letter}-{w}"].items()}
            for w in WAYS
        ]
        assert seen[0] == seen[1] == seen[2], letter


def test_one_that_never_answers_is_a_state_of_its_own(world: World, school: Ways) -> None:
    assert school.way["hang-shell"] == "psrp"
    evidence = world.evidence["hang-shell"]
    assert evidence.state is TargetState.UNREACHABLE
    assert "too long" in evidence.detail
    assert {f.verdict for f in world.findings["hang-shell"].values()} == {Verdict.UNKNOWN}
    finding = world.findings["hang1"]["windows.drive-encrypted"]
    assert (finding.verdict, Reason.TIMED_OUT.value in finding.reason) == (Verdict.UNKNOWN, True)


def command(world: World, *words: str) -> subprocess.CompletedProcess[str]:
    """The real command on the school's trust."""
    line = [sys.executable, "-m", "agent", "-C", str(world.folder), *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=180)


def test_explain_shows_three_findings(world: World) -> None:
    for control, machine, word in (
        ("windows.rdp-nla", "b-psrp", "fail"),
        ("windows.smb1-off", "core2", "fail"),
        ("windows.drive-encrypted", "denied2", "administrator"),
    ):
        done = command(world, "explain", control, "--target", f"lab/{machine}")
        assert done.returncode == 0, done.stderr
        assert word in done.stdout.lower()


def test_doctor_says_what_is_missing(world: World) -> None:
    done = command(world, "doctor", "--limit", "a-psrp:a-winrm:denied2:denied3", "--format", "json")
    assert done.returncode == 3, done.stderr
    rows = {m[0]: m[1] for m in re.findall(r'"target": "lab/([\w-]+)".*?"state": "(\w+)"', done.stdout, re.DOTALL)}
    assert rows == {"a-psrp": "well", "a-winrm": "well", "denied2": "missing", "denied3": "missing"}
    assert "the account is no administrator there" in done.stdout


@pytest.mark.parametrize("machine", ["b-psrp", "lie2"])
def test_the_field_test_names_nobody(world: World, school: Ways, machine: str) -> None:
    done = command(world, "doctor", "--windows", f"lab/{machine}")
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout
    assert "not of their type: 0" in text
    assert "PowerShell: 5.1." in text
    for word in ("RIVERSIDE", "riverside", "Admin", "p.hughes", "helpdesk", "S-1-5-21", machine, "geheim", "10.77."):
        # names of facts are ours: registry keys hold such words too
        assert word not in re.sub(r"(?m)^\w+(\[[^\]]*\])?: ", "", text), word
    assert text.isprintable() or set(text) - {"\n"} == {c for c in text if c.isprintable()}


def test_the_kit_is_for_windows_too(world: World, tmp_path: Path) -> None:
    planner = Planner(trusts.load(world.folder), load_policy(world.folder))
    written = {p.name for p in kit.write_kit(planner, planner.jobs(Selection()), tmp_path)}
    assert {"windows-access.ps1", "windows-endpoint.ps1", "README.md"} <= written
    assert "system_drive" in (tmp_path / "windows-access.ps1").read_text()
    for name in ("windows-access.ps1", "windows-endpoint.ps1"):
        for check in ("-Parse", "-Lint51"):
            done = subprocess.run([str(windows.engine()), check, str(tmp_path / name)], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def info(world: World, tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    planner = Planner(trusts.load(world.folder), load_policy(world.folder))
    ten = "b-ssh:b-psrp:b-winrm:core1:de1:de3:nobl3:old1:entra1:srv1"
    with Store.open(planner.trust.hidden) as store:
        (out,) = bundle(planner, store, Selection(limit=ten), tmp_path_factory.mktemp("out"))
    return out


def test_a_bundle_for_ten_of_them(info: BundleInfo, world: World) -> None:
    assert len(info.content.hosts) == 10
    assert len(info.content.steps) >= 12
    text = (info.folder / "inventory.yml").read_text()
    assert "ansible_connection: psrp" in text
    assert "geheim" not in text
    assert "become" not in text + (info.folder / "site.yml").read_text()
    wanted = (info.folder / "requirements.yml").read_text()
    assert "ansible.windows" in wanted
    readme = (info.folder / "README.md").read_text()
    assert "Group Policy" in readme
    forged = (info.folder / "host_vars" / "b-psrp.yml").read_text()
    assert "!unsafe" in forged
    done = ansible(info.folder, "--syntax-check")
    assert done.returncode == 0, done.stderr


def test_the_linter_is_content_with_it(info: BundleInfo) -> None:
    values = sorted(str(p.relative_to(info.folder)) for p in info.folder.glob("*_vars/*"))
    assert lint(info.folder, "site.yml", *values) == ""
