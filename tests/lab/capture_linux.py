"""Records what lab hosts answer to the collector, for the stand-in trust (agent/demo/captures).

    python -m tests.lab.capture_linux          (root; makes a host lab, records four hosts, stops it)

Nothing of this machine stays: the kernel's name, machine ids, times and uptimes are replaced by plain values.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from agent.baseline import load_policy
from agent.connect.ssh import open_ssh
from agent.controls import expand
from agent.demo.replay_linux import MARK, YESTERDAY
from agent.facts.linux import sections_for
from agent.facts.linux.answer import COMMAND, new_nonce, payload
from agent.facts.protocol import Limits
from agent.model import Kind, Target
from tests.lab.hosts import HostLab

CAPTURES = Path(__file__).resolve().parents[2] / "agent" / "demo" / "captures"
DRIFT: dict[str, list[str]] = {
    "clean": [],
    "drifted": "ssh-root no-autoupdate ntp-wrong old-agent sysctl-file ufw-off listener shadow-perm minlen".split(),
    "worse": (
        "ssh-password ssh-dropin ssh-match ssh-emptypw sysctl-forward sysctl-runtime no-ufw no-chrony telnetd uid0"
        " empty-pw extra-sudoer nopasswd sudoers-perm suid-shell cron-writable tmp-exec dns-wrong no-remote-log os-old"
        " tz-wrong no-auditd"
    ).split(),
    "no-sudo": ["no-sudo", "ssh-x11"],
}


def wanted() -> set[str]:
    """Every raw Linux fact that some shipped control reads."""
    names: set[str] = set()
    for control in load_policy().controls.values():
        if control.file.applies_to.platform == "linux":
            names |= expand("linux", set(control.reads))[0]
    return names


def record(lab: HostLab, host: str) -> dict[str, dict[str, object]]:
    """One host's answer, section by section."""
    target = Target(
        host,
        Kind.DEVICE,
        "linux",
        "lab",
        {
            "ansible_host": lab.addresses[host],
            "ansible_user": "scan",
            "ansible_ssh_private_key_file": str(lab.key_file),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={lab.known_hosts}",
        },
    )
    nonce, limits = new_nonce(), Limits(120)
    sections = {**sections_for(sorted(wanted())), "ids": []}
    with open_ssh(target, str, limits) as shell:
        answer = shell.run(COMMAND, payload(sections, nonce, plain=True), limits).stdout.decode("utf-8", "replace")
    start = f"\n\x1e{nonce} "
    out: dict[str, dict[str, object]] = {}
    for name, text in re.findall(
        re.escape(start) + r"([a-z_]+)\n(.*?)(?=" + re.escape(start) + r"(?:[a-z_]+\n|END ))", answer, re.DOTALL
    ):
        body, _, tail = text.rpartition(f"{start}rc=")
        rc, _, note = tail.strip("\n").partition(" ")
        out[name] = {
            "rc": int(rc),
            "note": note.strip(),
            "asked": sections.get(name, []),
            "body": anonymous(name, body.replace(start, "\n" + MARK), lab, host),
        }
    return out


def anonymous(name: str, body: str, lab: HostLab, host: str) -> str:
    """The body without what belongs to the machine that recorded it."""
    body = body.replace(lab.addresses[host], "10.20.0.10")
    body = re.sub(r"\b[0-9a-f]{32}\b", "0123456789abcdef0123456789abcdef", body)
    if name == "meta":
        body = re.sub(r"(?m)^time=.*$", "time=0", body)
    if name == "os":
        body = re.sub(r"(?m)^X_KERNEL=.*$", "X_KERNEL=6.1.0-30-amd64", body)
    if name == "uptime":
        body = "86400.00 86400.00"
    if name == "shadow":
        # Days that depend on the day of recording become plain ones: set up on 2026-03-02, changed on 2026-09-01.
        today = (datetime.now(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days
        body = re.sub(rf":({today}|{today - 1}):", ":20514:", body)
        body = re.sub(rf":({today - 30}|{today - 31}):", ":20697:", body)
    if name == "reboot":
        body = re.sub(r"(?m)^(running|build)=.*$", r"\1=", body)
    if name == "updates":
        body = re.sub(r"(?m)^Date: .*$", f"Date: {YESTERDAY}", body)
    if name == "ids":
        body = ""
    return body


def main() -> int:
    """Record all. Prints one line per file."""
    usable, why = HostLab.available()
    if not usable:
        print(f"capture: {why}", file=sys.stderr)
        return 2
    CAPTURES.mkdir(exist_ok=True)
    names = list(DRIFT)
    with HostLab() as lab:
        lab.start(len(names), {f"h{i:03d}": DRIFT[n] for i, n in enumerate(names, 1)})
        for i, name in enumerate(names, 1):
            path = CAPTURES / f"{name}.json"
            text = json.dumps(record(lab, f"h{i:03d}"), indent=1, sort_keys=True, ensure_ascii=True) + "\n"
            path.write_text(text, encoding="utf-8")
            print(f"{path.name}: {len(text)} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
