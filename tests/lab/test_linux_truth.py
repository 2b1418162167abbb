"""Every drift item that the lab can plant, and every way in which a host can resist, in one scan of one lab.

What was planted fails, nothing else fails, nothing is unknown; a host that resists ends in a state of its own with a
reason of its own; and with fewer rights less is known, but nothing is said that full rights contradict.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from agent.baseline import load_policy
from agent.facts.protocol import Limits
from agent.model import Evidence, Finding, Partial, Reason, TargetState, Unknown, Verdict
from agent.plan import Selection
from tests.lab.hosts import HostLab, drift_items
from tests.lab.linux_trust import World

pytestmark = [pytest.mark.lab, pytest.mark.slow]
ROWS = Path(__file__).resolve().parent.parent / "coverage" / "rows.yml"

# Items that contradict each other, or that fail the same control, are on different hosts: none hides another.
PLANTED = {
    "h001": "",
    "h002": (
        "ssh-root ssh-password sshd-perm sysctl-redirects kptr no-ufw ntp-wrong old-agent extra-sudoer uid0 passmax"
        " suid-shell update-waits"
    ),
    "h003": (
        "ssh-dropin ssh-match ssh-x11 ssh-maxauth sysctl-forward sysctl-file aslr ufw-off no-chrony nopasswd empty-pw"
        " shadow-perm no-tmout"
    ),
    "h004": (
        "ssh-emptypw ssh-idle ssh-grace sysctl-runtime sysctl-source suid-dump ufw-accept tz-wrong sudoers-perm old-pw"
        " minlen no-remote-log"
    ),
    "h005": (
        "ssh-userenv ssh-loglevel ssh-banner ssh-cbc telnetd no-auditd no-autoupdate no-usepty umask cron-writable"
        " no-rsyslog"
    ),
    "h006": "tmp-exec listener dns-wrong os-old",
}
RESISTING = {
    "h007": "no-sudo",
    "h008": "noisy",
    "h009": "slow",
    "h010": "down",
    "h011": "keychange",
    "h012": "busybox-sh",
    "h013": "flood",
    "h014": "hang",
}
HANGS = "h014"
LIMITS = Limits(90.0, 4 << 20)  # a whole answer is about 40 kB; a flood need not be drunk to the end
SHORT = Limits(8.0, 4 << 20)
SETTLED = {Verdict.PASS, Verdict.FAIL, Verdict.NOT_APPLICABLE}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    ready, why = HostLab.available()
    if not ready:
        pytest.skip(f"{why}: hosts with their own sshd")
    drift = {host: items.split() for host, items in {**PLANTED, **RESISTING}.items()}
    with HostLab().start(len(drift), drift) as lab:
        print(f"\nlab of {len(drift)} hosts up in {lab.start_seconds:.1f} s")
        yield World(lab, tmp_path_factory.mktemp("truth") / "trust")


@pytest.fixture(scope="module")
def seen(world: World) -> tuple[dict[str, Evidence], dict[str, dict[str, Finding]]]:
    """The one scan that most tests look at: all hosts but the one that hangs, which gets little time of its own."""
    begin = time.monotonic()
    evidence = world.scan(Selection(limit=f"lab:!{HANGS}"), LIMITS)
    middle = time.monotonic()
    evidence |= world.scan(Selection(limit=HANGS), SHORT)
    print(f"scan {middle - begin:.1f} s, the host that hangs {time.monotonic() - middle:.1f} s")
    return evidence, world.findings()


def reasons(evidence: Evidence) -> set[Reason]:
    """Why facts of a target are unknown as a whole."""
    return {r.value.reason for r in evidence.facts.values() if isinstance(r.value, Unknown)}


def controls_of(rows: set[str]) -> set[str]:
    """The controls that cover these rows; what no row asks for is named by its control."""
    entries = YAML(typ="safe").load(ROWS.read_text(encoding="utf-8"))
    return {control for row in rows for control in entries.get(row, [row])}


def by_verdict(findings: Mapping[str, Finding], *verdicts: Verdict) -> set[str]:
    """The controls with one of these verdicts."""
    return {control for control, finding in findings.items() if finding.verdict in verdicts}


def test_every_drift_item_is_planted_once_or_more() -> None:
    placed = {item for items in (PLANTED | RESISTING).values() for item in items.split()}
    assert placed == set(drift_items())
    assert all(drift_items()[item].trouble is None for items in PLANTED.values() for item in items.split())
    assert all(drift_items()[item].trouble for item in RESISTING.values())


@pytest.mark.parametrize("host", PLANTED)
def test_what_was_planted_fails_and_nothing_else(world: World, seen: Any, host: str) -> None:
    evidence, findings = seen
    assert evidence[host].state is TargetState.COLLECTED, evidence[host].detail
    every = {c for c in load_policy().controls if c.startswith("linux.")}
    assert set(findings[host]) == every, "a control was not judged"
    unsettled = {c: str(f.reason) for c, f in findings[host].items() if f.verdict not in SETTLED}
    if "os-old" in world.lab.items[host]:  # its lists of security updates are another release's
        assert "no list of its release" in unsettled.pop("linux.security-updates")
    assert unsettled == {}
    assert by_verdict(findings[host], Verdict.FAIL) == controls_of(world.lab.truth[host])


def test_no_sudo_is_partial_and_only_less_is_known(seen: Any) -> None:
    evidence, findings = seen
    assert evidence["h007"].state is TargetState.PARTIAL
    assert "sudo was refused" in evidence["h007"].detail
    assert reasons(evidence["h007"]) == {Reason.PERMISSION}
    assert by_verdict(findings["h007"], Verdict.FAIL) == set()
    assert len(by_verdict(findings["h007"], Verdict.PASS)) > 30
    unknown = [f for f in findings["h007"].values() if f.verdict is Verdict.UNKNOWN]
    assert unknown
    assert all("permission" in f.reason or "sudo" in f.reason for f in unknown), [f.reason for f in unknown]


@pytest.mark.parametrize("host", ["h008", "h009"])
def test_noise_and_slowness_change_nothing(seen: Any, host: str) -> None:
    evidence, findings = seen
    assert (evidence[host].state, evidence[host].detail) == (TargetState.COLLECTED, "")
    assert by_verdict(findings[host], Verdict.FAIL, Verdict.UNKNOWN, Verdict.MANUAL) == set()


def test_without_its_programs_a_host_passes_nothing_that_was_not_seen(seen: Any) -> None:
    evidence, findings = seen
    assert evidence["h012"].state is TargetState.COLLECTED
    assert by_verdict(findings["h012"], Verdict.FAIL) == set()
    assert reasons(evidence["h012"]) <= {Reason.COMMAND_MISSING}


@pytest.mark.parametrize(
    ("host", "reason", "words"),
    [
        ("h010", Reason.UNREACHABLE, "refused"),
        ("h011", Reason.IDENTITY, "another host key"),
        ("h013", Reason.TRUNCATED, "longer than allowed"),
        ("h014", Reason.TIMED_OUT, "too long"),
    ],
)
def test_a_host_that_tells_nothing_is_one_state_with_its_reason(
    seen: Any, host: str, reason: Reason, words: str
) -> None:
    evidence, findings = seen
    assert evidence[host].state is TargetState.UNREACHABLE
    assert words in evidence[host].detail
    assert reasons(evidence[host]) == {reason}
    assert {f.verdict for f in findings[host].values()} == {Verdict.UNKNOWN}
    assert all(reason.value in f.reason for f in findings[host].values())


def test_a_login_as_root_and_sudo_see_the_same(world: World, seen: Any, tmp_path: Path) -> None:
    host = "h002"  # where root may log in
    inventory = tmp_path / "root.ini"
    text = world.lab.inventory.read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith(f"{host} "))
    shared = text.partition("[lab:vars]")[2].replace("ansible_user=scan", "ansible_user=root")
    inventory.write_text(f"[lab]\n{line}\n[lab:vars]{shared}", encoding="utf-8")
    twin = World(world.lab, tmp_path / "trust")
    assert twin.scan(Selection(), LIMITS, inventory)[host].state is TargetState.COLLECTED
    before, now = seen[1][host], twin.findings()[host]
    assert {c: f.verdict for c, f in now.items()} == {c: f.verdict for c, f in before.items()}
    assert {c: f.offenders for c, f in now.items()} == {c: f.offenders for c, f in before.items()}


def test_with_fewer_rights_less_is_known_and_nothing_flips(world: World, seen: Any, tmp_path: Path) -> None:
    for host in PLANTED:
        world.lab.exec(host, "mv /etc/sudoers.d/20-scan /root/")
    try:
        twin = World(world.lab, tmp_path / "trust")
        evidence = twin.scan(Selection(targets=tuple(PLANTED)), LIMITS)
        now = twin.findings()
    finally:
        for host in PLANTED:
            world.lab.exec(host, "mv /root/20-scan /etc/sudoers.d/")
    for host in PLANTED:
        assert evidence[host].state is TargetState.PARTIAL
        flipped = {
            c: (seen[1][host][c].verdict, f.verdict)
            for c, f in now[host].items()
            if f.verdict not in (seen[1][host][c].verdict, Verdict.UNKNOWN)
        }
        assert flipped == {}, host
        lost = [c for c, f in now[host].items() if f.verdict is Verdict.UNKNOWN]
        assert 0 < len(lost) < len(now[host]) / 2
        assert any(isinstance(r.value, Partial) for r in evidence[host].facts.values())
    print(
        f"unknown without sudo: {', '.join(sorted({c for h in now.values() for c in by_verdict(h, Verdict.UNKNOWN)}))}"
    )
