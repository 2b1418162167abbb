"""What other tools reach on the same hosts: pyinfra with 20 facts, Ansible's own facts, and a check-mode playbook.

pyinfra is installed into a venv of its own, which is thrown away; where it cannot be had, that is said.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.hosts import HostLab

AT_ONCE = 20
SECONDS = 1800
FACTS = (
    "server.Hostname server.Kernel server.KernelVersion server.Os server.OsVersion server.Arch server.LinuxDistribution"
    " server.Mounts server.Groups server.Users server.Sysctl server.KernelModules server.Locales server.SecurityLimits"
    " server.LsbRelease server.LinuxName deb.DebPackages systemd.SystemdStatus systemd.SystemdEnabled"
    " hardware.Ipv4Addrs"
).split()
SETTINGS = {
    "PermitRootLogin": "no",
    "PasswordAuthentication": "no",
    "PermitEmptyPasswords": "no",
    "X11Forwarding": "no",
    "MaxAuthTries": "4",
    "LoginGraceTime": "60",
    "IgnoreRhosts": "yes",
    "HostbasedAuthentication": "no",
    "LogLevel": "VERBOSE",
    "Banner": "/etc/issue.net",
}
MODES = {"/etc/passwd": "0644", "/etc/group": "0644", "/etc/shadow": "0640", "/etc/gshadow": "0640"}
PRESENT = ("ufw", "chrony", "auditd", "rsyslog", "unattended-upgrades")


def ways(lab: HostLab, folder: Path) -> dict[str, Callable[[], float]]:
    """Name → a function that runs it over every host of the lab and gives the seconds it took. Raises RuntimeError."""
    out: dict[str, Callable[[], float]] = {
        "Ansible setup": lambda: _ansible(lab, ["ansible", "all", "-m", "ansible.builtin.setup", "--become"]),
        "Ansible check mode, 21 tasks": lambda: _ansible(
            lab, ["ansible-playbook", "--check", "--diff", str(_playbook(folder))]
        ),
    }
    if (program := _pyinfra(folder)) is not None:
        out["pyinfra, 20 facts"] = lambda: _facts(lab, program, folder)
    else:
        print("pyinfra: not installed, and it cannot be had here")
    return out


def _run(words: list[str], folder: Path) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise RuntimeError(f"{words[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-400:]}")
    return time.perf_counter() - began


def _ansible(lab: HostLab, words: list[str]) -> float:
    program = Path(sys.executable).parent / words[0]
    return _run([str(program), *words[1:], "-i", str(lab.inventory), "--forks", str(AT_ONCE)], lab.run_dir)


def _playbook(folder: Path) -> Path:
    """21 tasks that look at what the controls look at, with Ansible's own modules."""
    tasks: list[dict[str, object]] = [
        {"ansible.builtin.lineinfile": {"path": "/etc/ssh/sshd_config", "regexp": f"^{k} ", "line": f"{k} {v}"}}
        for k, v in SETTINGS.items()
    ]
    tasks += [{"ansible.builtin.file": {"path": p, "mode": m}} for p, m in MODES.items()]
    tasks += [{"ansible.builtin.apt": {"name": p, "state": "present"}} for p in PRESENT]
    tasks.append({"ansible.builtin.user": {"name": "tech1", "groups": ["sudo"], "append": True}})
    tasks.append({"ansible.builtin.copy": {"dest": "/etc/modprobe.d/x.conf", "content": "", "mode": "0644"}})
    path = folder / "check.yml"
    play = {"hosts": "all", "gather_facts": False, "become": True, "tasks": tasks}
    path.write_text(json.dumps([play]), encoding="utf-8")
    return path


def _pyinfra(folder: Path) -> Path | None:
    if (found := shutil.which("pyinfra")) is not None:
        return Path(found)
    venv = folder / "pyinfra"
    made = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, timeout=SECONDS, check=False)
    if made.returncode == 0:
        words = [str(venv / "bin/pip"), "install", "--quiet", "pyinfra"]
        made = subprocess.run(words, capture_output=True, timeout=SECONDS, check=False)
    return venv / "bin/pyinfra" if made.returncode == 0 else None


def _facts(lab: HostLab, program: Path, folder: Path) -> float:
    data = {
        "ssh_user": lab.login,
        "ssh_key": str(lab.key_file),
        "ssh_known_hosts_file": str(lab.known_hosts),
        "ssh_strict_host_key_checking": "yes",
    }
    hosts = [(address, data) for address in lab.addresses.values()]
    (folder / "inventory.py").write_text(f"hosts = {hosts!r}\n", encoding="utf-8")
    words = [str(program), "--parallel", str(AT_ONCE), "-y", "--sudo", "inventory.py", "fact", *FACTS]
    return _run(words, folder)


def run() -> dict[str, Any]:
    """Each once over the hosts, beside a whole scan; prints, and gives seconds and hosts a second."""
    import os

    from tests.bench.hosts import planner_of, scan_all

    ready, why = HostLab.available()
    if not ready:
        print(f"skipped: {why}")
        return {"skipped": why}
    number = int(os.environ.get("SPIRITLEVEL_BENCH_HOSTS", "20"))
    init = "lite" if number > 60 else "systemd"
    out: dict[str, Any] = {"hosts": number}
    with HostLab().start(number, init=init) as lab, tempfile.TemporaryDirectory(prefix="spiritlevel-bench-") as name:
        folder = Path(name)
        planner = planner_of(lab, folder)
        scan_all(planner, folder, 0)
        began = time.perf_counter()
        scan_all(planner, folder, 1)
        ours = time.perf_counter() - began
        out["scan"] = round(number / ours, 2)
        print(f"{'scan: collect, judge, store':32}{ours:8.1f} s {number / ours:8.2f} hosts/s")
        for way, go in ways(lab, folder).items():
            try:
                took = go()
            except RuntimeError as e:
                print(f"{way:32} failed: {e}")
                continue
            out[way] = round(number / took, 3)
            print(f"{way:32}{took:8.1f} s {number / took:8.2f} hosts/s, {took / ours:.1f} times as long as the scan")
    return out
