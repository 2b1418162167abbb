"""The truth test of Linux: real hosts with planted drift. What was planted fails, nothing else does, and what cannot be
seen is unknown."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from agent.baseline import load_policy
from agent.connect.ssh import fingerprints, open_ssh
from agent.controls import Rule, rule
from agent.errors import IdentityError, TargetError, Unreachable
from agent.evaluate import Case, judge
from agent.facts import linux
from agent.facts.protocol import Collected, Limits
from agent.model import Evidence, Finding, Kind, Partial, Reason, School, Target, TargetState, Unknown, Verdict
from tests.lab.hosts import HostLab, drift_items

ROWS = Path(__file__).resolve().parent.parent / "coverage" / "rows.yml"

pytestmark = [pytest.mark.lab, pytest.mark.slow]


def rules() -> list[Rule]:
    """Every Linux control with the values that a lab host without drift agrees with."""
    policy = load_policy()
    out = []
    for control in policy.controls.values():
        if control.file.applies_to.platform == "linux":
            given = HostLab.SITE_PARAMETERS
            values = {n: given[n] if n in given else control.file.parameters[n].default for n in control.uses}
            out.append(rule(control, values, {}, policy.site))
    return out


RULES = rules()
WANTED = sorted({name for r in RULES for name in r.reads})


def target(lab: HostLab, host: str) -> Target:
    return Target(
        host,
        Kind.DEVICE,
        "linux",
        "lab",
        {
            "ansible_host": lab.addresses[host],
            "ansible_user": lab.login,
            "ansible_ssh_private_key_file": str(lab.key_file),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={lab.known_hosts} -o GlobalKnownHostsFile=none",
        },
    )


def collect(lab: HostLab, host: str, seconds: float = 60) -> Collected:
    with open_ssh(target(lab, host), str, Limits(seconds)) as shell:
        return linux.collect(shell, WANTED, Limits(seconds))


def judged(lab: HostLab, host: str, found: Collected) -> dict[str, Finding]:
    evidence = Evidence(target(lab, host), found.state, datetime.now(UTC), found.facts)
    return {f.control: f for f in judge(Case(evidence, (), {}), RULES, School("lab", "Lab"))}


def rows() -> dict[str, list[str]]:
    """Row → the controls that cover it, for the rows that the lab can break; a control stands for itself."""
    known = {row for item in drift_items().values() for row in item.rows}
    own = {row: [row] for row in known & set(load_policy().controls)}
    return own | {r: c for r, c in YAML(typ="safe").load(ROWS.read_text(encoding="utf-8")).items() if r in known}


def test_every_row_that_the_lab_can_break_has_a_control() -> None:
    assert set(rows()) == {row for item in drift_items().values() for row in item.rows}


@pytest.mark.parametrize("host", ["h001", "h002", "h003"])
def test_what_was_planted_fails_and_nothing_else_does(host_lab: HostLab, host: str) -> None:
    found = collect(host_lab, host)
    assert found.state is TargetState.COLLECTED, found.detail
    findings = judged(host_lab, host, found)
    failed = {row for row, controls in rows().items() if any(findings[c].verdict is Verdict.FAIL for c in controls)}
    assert failed == host_lab.truth[host]
    covered = {c for controls in rows().values() for c in controls}
    assert not [c for c, f in findings.items() if f.verdict is Verdict.FAIL and c not in covered]
    unknown = {c for c, f in findings.items() if f.verdict is Verdict.UNKNOWN}
    # a host that says it is another release has no list of that release's security updates
    assert unknown == ({"linux.security-updates"} if "os-old" in host_lab.items[host] else set())


def test_planted_drift_is_read_as_it_is(host_lab: HostLab) -> None:
    facts: dict[str, Any] = {n: r.value for n, r in collect(host_lab, "h002").facts.items()}
    assert facts["sshd"]["permitrootlogin"] == "yes"
    assert (facts["sysctl[net.ipv4.ip_forward]"]["running"], facts["sysctl[net.ipv4.ip_forward]"]["boot"]) == (1, 1)
    rp_filter, cookies = facts["sysctl[net.ipv4.conf.all.rp_filter]"], facts["sysctl[net.ipv4.tcp_syncookies]"]
    assert (rp_filter["running"], rp_filter["boot"]) == (0, 1)
    assert (cookies["running"], cookies["boot"]) == (1, 0)
    assert facts["ufw"] == {"enabled": False, "default_input": "DROP"}
    assert facts["netfilter"]["ufw_loaded"] is False
    assert facts["time_sync"]["servers"] == ["0.pool.ntp.org"]
    assert {u["name"] for u in facts["users"] if u["uid"] == 0} == {"root", "toor"}
    assert {u["name"] for u in facts["users"] if u["password"] == "empty"} == {"kiosk"}


def test_offenders_are_named(host_lab: HostLab) -> None:
    findings = judged(host_lab, "h003", collect(host_lab, "h003"))
    named = {c: {o.label for o in f.offenders} for c, f in findings.items() if f.verdict is Verdict.FAIL}
    assert named["linux.sudo-members"] == {"jsmith"}
    assert named["linux.sudo-passwordless"] == {"jsmith"}
    assert named["linux.listening-ports"] == {"tcp/8081"}
    assert named["linux.no-odd-setuid"] == {"/usr/local/bin/maint"}
    assert named["linux.no-world-writable"] == {"/etc/cron.d/backup"}
    assert named["linux.name-servers"] == {"8.8.8.8"}
    assert named["linux.ssh-match"] == {"Address 10.77.99.0/24"}


def test_a_host_that_resists_is_unknown_where_it_cannot_be_seen_and_never_clean(host_lab: HostLab) -> None:
    found = collect(host_lab, "h004")
    assert found.state is TargetState.PARTIAL
    assert "sudo was refused" in found.detail
    assert found.facts["sshd"].value == Unknown(Reason.PERMISSION, "sudo")
    assert isinstance(found.facts["setuid_files"].value, Partial)
    sockets = found.facts["sockets"].value  # without ss, from the kernel's tables
    assert "tcp/22" in {s["port"] for s in sockets}
    # without the program sysctl, from /proc/sys
    assert found.facts["sysctl[net.ipv4.ip_forward]"].value["running"] == 0
    findings = judged(host_lab, "h004", found)
    assert findings["linux.ssh-x11-forwarding"].verdict is Verdict.UNKNOWN
    assert not [c for c, f in findings.items() if f.verdict is Verdict.FAIL]


def test_a_host_with_another_key_is_not_talked_to_and_one_that_is_down_is_unreachable(host_lab: HostLab) -> None:
    with pytest.raises(IdentityError, match="another host key"):
        collect(host_lab, "h005")
    with pytest.raises(Unreachable):
        collect(host_lab, "h006", 10)


def test_fingerprints_are_those_in_known_hosts(host_lab: HostLab) -> None:
    address = host_lab.addresses["h001"]
    shown = fingerprints(address)
    known = host_lab.known_hosts.read_text(encoding="utf-8")
    assert [k.type for k in shown] == ["ssh-ed25519"]
    assert shown[0].line.split()[2] in known


def test_ids_name_the_machine_and_never_the_one_below_it(host_lab: HostLab) -> None:
    ids = [collect(host_lab, h).ids for h in ("h001", "h002")]
    assert ids[0]["machine_id"] != ids[1]["machine_id"]
    assert not any("serial" in i for i in ids)


def test_hosts_that_stall_or_flood_cost_themselves_only(make_host_lab: Callable[..., HostLab]) -> None:
    lab = make_host_lab(3, {"h001": ["hang"], "h002": ["flood"], "h003": ["slow"]})
    begin = time.monotonic()
    try:
        hung = collect(lab, "h001", 6)
        assert all(isinstance(r.value, Unknown) for r in hung.facts.values())
    except TargetError:
        pass
    assert time.monotonic() - begin < 15
    with open_ssh(target(lab, "h002"), str, Limits(60, 1 << 20)) as shell:
        flooded = linux.collect(shell, WANTED, Limits(60, 1 << 20))
    assert flooded.state is TargetState.PARTIAL
    assert {r.value.reason for r in flooded.facts.values()} == {Reason.TRUNCATED}
    assert collect(lab, "h003", 60).state is TargetState.COLLECTED
