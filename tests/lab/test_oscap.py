"""A second opinion, rule by rule: OpenSCAP and a scan look at the same two hosts, which are wrong in different ways.

Where they disagree, either there is a fault, or the control's notes say why ComplianceAsCode sees something else.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.baseline import load_policy
from agent.facts.protocol import Limits
from agent.model import TargetState, Verdict
from agent.plan import Selection
from tests.lab import oscap
from tests.lab.hosts import HostLab
from tests.lab.linux_trust import World

pytestmark = [pytest.mark.lab, pytest.mark.slow]

# Each row that an OpenSCAP rule can judge is broken on one host and, where two items break it, mended on the other.
DRIFT = {
    "h001": (
        "ssh-root ssh-emptypw ssh-x11 ssh-maxauth sysctl-forward sysctl-redirects kptr no-ufw telnetd umask shadow-perm"
        " uid0 no-usepty no-remote-log passmax"
    ).split(),
    "h002": (
        "ssh-grace ssh-userenv ssh-loglevel ssh-banner sshd-perm sysctl-source aslr suid-dump no-chrony no-auditd"
        " no-rsyslog empty-pw minlen no-tmout tmp-exec"
    ).split(),
}

# Values of ComplianceAsCode's variables that say what our controls ask for, as far as a variable can.
VALUES = {
    "rsyslog_remote_loghost_address": "log.trust.test",
    "sshd_max_auth_tries_value": "4",
    "sysctl_kernel_kptr_restrict_value": "2",
    "var_accounts_tmout": "900",
    "var_accounts_user_umask": "027",
    "var_password_hashing_algorithm": "YESCRYPT",
    "var_password_pam_minlen": "12",
    "var_sshd_set_login_grace_time": "60",
    "var_sudo_logfile": "/var/log/sudo.log",
}

# The rules for Debian 11 compare letter by letter, and a clean lab host has its name in quotes.
BY_LETTER = {"var_sudo_logfile": '"/var/log/sudo.log"'}

# Rules that judge something else than the control that names them.
NOT_COMPARED = {
    "sshd_disable_root_login": "reads Match blocks as if they were the main settings",
    "sshd_set_idle_timeout": "never runs",
    "service_ufw_enabled": "not applicable where ufw is absent, and judges the unit alone",
    "chronyd_specify_remote_server": "any server satisfies it",
    "service_auditd_enabled": "the audit daemon cannot run in a namespace",
    "auditd_data_retention_max_log_file_action": "wants one certain word",
    "sudo_remove_nopasswd": "knows no account that may",
    "accounts_passwords_pam_faillock_deny": "wants the module in PAM's own files",
    "file_permissions_unauthorized_world_writable": "looks at other places",
}


@pytest.fixture(scope="module")
def lab() -> Iterator[HostLab]:
    ready, why = HostLab.available()
    if not ready:
        pytest.skip(f"{why}: hosts with their own sshd")
    with HostLab().start(len(DRIFT), DRIFT) as hosts:
        yield hosts


def references() -> dict[str, tuple[str, ...]]:
    """Control → the rules of ComplianceAsCode that judge the same."""
    controls = load_policy().controls.items()
    return {c: tuple(rules) for c, control in controls if (rules := control.file.references.get("cac"))}


def together(words: list[str]) -> str:
    """One word for all rules of a control: fail if one fails, pass if all pass, else the first that gave neither."""
    if "fail" in words:
        return "fail"
    return next((word for word in words if word != "pass"), "pass")


def test_both_say_the_same_of_two_hosts(lab: HostLab, tmp_path: Path) -> None:
    names = references()
    begin = time.monotonic()
    try:
        stream = oscap.content(tmp_path)
        debs = oscap.packages(lab, "h001", tmp_path)
    except oscap.NotHere as error:
        pytest.skip(str(error))
    world = World(lab, tmp_path / "trust")
    evidence = world.scan(Selection(), Limits(90.0))
    assert {e.state for e in evidence.values()} == {TargetState.COLLECTED}
    ours = world.findings()
    scanned = time.monotonic()

    values = VALUES | (BY_LETTER if stream.debian == "11" else {})
    wanted = {r for rules in names.values() for r in rules if r in stream.rules}
    matrix: Counter[tuple[str, str]] = Counter()
    differ: list[tuple[str, str, Verdict, str]] = []
    compared: set[str] = set()
    for host in DRIFT:
        oscap.install(lab, host, debs, stream)
        theirs = oscap.evaluate(lab, host, stream, wanted, values, tmp_path)
        assert len(wanted - set(theirs) - set(NOT_COMPARED)) <= 3, "rules were left out without a word"
        for control, rules in sorted(names.items()):
            if set(rules) & set(NOT_COMPARED):
                continue
            word = together([theirs.get(r, "did not run" if r in wanted else "not in the content") for r in rules])
            verdict = ours[host][control].verdict
            matrix[verdict.value, word] += 1
            if verdict in (Verdict.PASS, Verdict.FAIL) and word in ("pass", "fail"):
                compared.add(control)
                if verdict.value != word:
                    differ.append((host, control, verdict, word))
    print(
        f"\nrules for Debian {stream.debian}, version {stream.version}: {len(wanted)} of those that controls name; "
        f"our scan {scanned - begin:.1f} s with downloads, OpenSCAP {time.monotonic() - scanned:.1f} s"
    )
    print(f"{'ours':>16} {'theirs':>20}")
    for (our, their), count in sorted(matrix.items()):
        print(f"{our:>16} {their:>20} {count:4}")
    for line in differ:
        print("differ:", *line)
    notes = {control: load_policy().controls[control].file.notes for _, control, _, _ in differ}
    assert {control for control, text in notes.items() if "ComplianceAsCode" not in text} == set()
    least = 40 if stream.debian == "12" else 25
    assert len(compared) >= least, "too few rules gave a verdict: the comparison says nothing"
    failing = {control for host in DRIFT for control in compared if ours[host][control].verdict is Verdict.FAIL}
    assert len(failing) >= len(compared) / 3, "what is compared must be broken often enough"
