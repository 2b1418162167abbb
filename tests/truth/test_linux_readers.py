"""Ways in which a reading of a Linux host could have come out wrong, each found by looking for it."""

from __future__ import annotations

from typing import Any

import pytest

from agent.facts import linux
from agent.facts.linux.answer import Answer, FileText, Section
from agent.model import Partial, Reason, Unknown


def read(fact: str, *sections: Section, root: bool = True, packages: str = "dpkg") -> Any:
    """One fact from sections, as if they had come from a host."""
    meta = Section("meta", 0, "", f"uid={0 if root else 1000}\nsystemd=1\npackages={packages}")
    answer = Answer({s.name: s for s in (meta, *sections)})
    return linux.facts_from(answer, [fact])[fact].value


def sudo(text: str, version: str = "Sudo version 1.9.13p3") -> Any:
    files = (FileText("version", "ok", version), FileText("/etc/sudoers", "ok:440:root:root", text))
    return read("sudo", Section("sudoers", 0, "", "", files))


def free(text: str) -> list[str]:
    """Who needs no password."""
    return [g["who"] for g in sudo(text)["grants"] if g["nopasswd"]]


@pytest.mark.parametrize(
    "line",
    [
        r"tech1 ALL=(root) NOPASSWD: /usr/bin/env LANG\=C /bin/sh",
        r"tech1 ALL=(root) NOPASSWD: /usr/bin/rsync --rsync-path\=/bin/x, /bin/ls",
        "tech1 ALL=(root) NOPASSWD:SETENV: /bin/ls",
        "tech1 h1=(root) /bin/ls : ALL=(root) NOPASSWD: /bin/cat",
    ],
)
def test_free_passage_is_seen_whatever_the_command_looks_like(line: str) -> None:
    assert free(line) == ["tech1"]


@pytest.mark.parametrize(
    "later", ["tech1 ALL=(backup) ALL", "tech1 ALL=(%staff) ALL", "tech1 web1=(ALL) ALL", "tech1 ALL=ALL"]
)
def test_a_narrower_rule_takes_no_free_passage_back(later: str) -> None:
    """sudoers(5): the last rule that matches wins, and a rule for another user or host does not match."""
    assert free(f"tech1 ALL=(ALL) NOPASSWD: ALL\n{later}") == ["tech1"]


@pytest.mark.parametrize("later", ["tech1 ALL=(ALL) ALL", "tech1 ALL=(ALL:ALL) PASSWD: ALL"])
def test_a_rule_as_wide_takes_it_back(later: str) -> None:
    assert free(f"tech1 ALL=(ALL) NOPASSWD: ALL\n{later}") == []


def test_the_same_narrow_rule_takes_itself_back() -> None:
    assert free("tech1 ALL=(backup) NOPASSWD: ALL\ntech1 ALL=(backup) ALL") == []


def test_a_comment_that_ends_in_a_backslash_does_not_swallow_the_next_line() -> None:
    assert free("tech1 ALL=(ALL) ALL # a note \\\nkiosk ALL=(ALL) NOPASSWD: ALL") == ["kiosk"]


def test_a_group_that_is_exempt_needs_no_password() -> None:
    assert free("Defaults exempt_group=wheel\n%wheel ALL=(ALL) ALL") == ["%wheel"]
    assert free('Defaults env_reset, exempt_group = "site admins"') == ["%site admins"]


def test_the_terminal_of_sudo_in_rust() -> None:
    """sudo-rs, which Ubuntu ships since 25.10, always uses one; its version numbers start anew."""
    assert sudo("", "sudo-rs 0.2.8")["use_pty"] is True
    assert sudo("Defaults !use_pty", "sudo-rs 0.2.8")["use_pty"] is False
    assert sudo("", "Sudo version 1.9.13p3")["use_pty"] is False
    assert sudo("", "Sudo version 1.9.15p5")["use_pty"] is True
    assert isinstance(sudo("", "")["use_pty"], Unknown), "nobody knows what this sudo does by itself"
    assert sudo("Defaults use_pty", "")["use_pty"] is True


def test_modules_blocked_by_a_file_that_may_not_be_read_are_not_missing() -> None:
    files = (
        FileText("/etc/modprobe.d/a.conf", "ok", "install cramfs /bin/false"),
        FileText("/etc/modprobe.d/b.conf", "denied", ""),
    )
    found = read("modprobe_blocked", Section("modprobe", 0, "", "", files), root=False)
    assert isinstance(found, Partial)
    assert found.why.reason is Reason.PERMISSION


def test_modules_are_found_by_either_spelling() -> None:
    files = (FileText("/etc/modprobe.d/a.conf", "ok", "install usb_storage /bin/false"),)
    found = read("modprobe_blocked", Section("modprobe", 0, "", "", files))
    assert {"usb-storage", "usb_storage"} <= set(found)


@pytest.mark.parametrize(
    ("lines", "encrypted"),
    [
        ("disk\npart ext4 /\npart swap\ncrypt swap [SWAP]", False),
        ("disk\npart crypto_LUKS\ncrypt ext4 /", True),
        ("disk\npart crypto_LUKS\ncrypt LVM2_member\nlvm ext4 /", True),
        ("disk\npart ext4 /boot", False),
    ],
)
def test_swap_alone_is_no_encrypted_disk(lines: str, encrypted: bool) -> None:
    assert read("disks", Section("disks", 0, "", lines)) == {"encrypted": encrypted}


def apt(system: str, *origins: str) -> Any:
    os = Section("os", 0, "", f"ID={system}\nVERSION_CODENAME=virginia\nVERSION_ID=1")
    lines = [
        'APT::Periodic::Unattended-Upgrade "1";',
        *(f'Unattended-Upgrade::Origins-Pattern:: "{o}";' for o in origins),
    ]
    return read("apt", os, Section("apt", 0, "", "\n".join(lines)))["security"]


def test_origins_of_a_distribution_that_nobody_knows_are_not_judged() -> None:
    """Linux Mint and others name their origins as they like: neither yes nor no can be told from them."""
    assert isinstance(apt("linuxmint", "origin=linuxmint,codename=virginia"), Unknown)
    assert apt("debian", "origin=Debian,codename=virginia,label=Debian") is False
    assert apt("linuxmint") is False, "where nothing at all may upgrade, security updates may not either"


def test_where_login_defs_lies_elsewhere_its_settings_are_unknown() -> None:
    """openSUSE keeps the vendor's file in /usr/etc; the built-in values are not to be seen."""
    files = (FileText("/etc/login.defs", "absent", ""),)
    found = read("login_policy", Section("login", 0, "", "", files))
    assert isinstance(found["umask"], Unknown)
    assert isinstance(found["encrypt_method"], Unknown)
    assert found["minlen"] is None, "no file of pwquality is an answer: nothing asks for a length"


def test_patterns_of_every_kind_count_at_boot() -> None:
    files = (
        FileText(
            "/etc/sysctl.d/50.conf", "ok", "net.ipv4.conf.a[l]l.log_martians = 1\nnet.ipv4.conf.d?fault.log_martians=0"
        ),
    )
    sections = (Section("sysctl", 0, "", "0 ok 1"), Section("sysctl_files", 0, "", "", files))
    assert read("sysctl[net.ipv4.conf.all.log_martians]", *sections)["boot"] == 1
    assert read("sysctl[net.ipv4.conf.default.log_martians]", *sections)["boot"] == 0


DEB = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.112-1 (2024-09-30)"
NEW = "image=linux-image-6.1.0-26-amd64|6.1.112-1"
OLD = "image=linux-image-6.1.0-25-amd64|6.1.106-3"


@pytest.mark.parametrize(
    ("lines", "waits"),
    [
        (["running=6.1.0-26-amd64", f"build={DEB}", OLD, NEW], False),
        (["running=6.1.0-25-amd64", "build=#1 SMP Debian 6.1.106-3 (2024-08-26)", OLD, NEW], True),
        (["running=6.1.0-25-amd64", "build=#1 SMP Debian 6.1.106-3 (2024-08-26)", "writer=1", OLD, NEW], True),
        (["running=6.1.0-26-amd64", f"build={DEB}", "image=linux-image-6.1.0-26-amd64|6.1.115-1"], True),
        (["running=6.1.0-25-amd64", "build=x", "writer=1"], False),
        (["running=6.1.0-25-amd64", "build=x"], None),
        (["running=6.1.0-25-amd64", "build=x", NEW], None),
        (["boxed=1", "running=6.1.0-25-amd64", "build=x"], False),
        (["running=6.8.0-45-generic", "build=#45-Ubuntu SMP", "image=linux-image-6.8.0-45-generic|6.8.0-45.45"], False),
        (["running=6.6.31+rpt-rpi-v8", "image=linux-image-6.6.31+rpt-rpi-v8|1:6.6.31-1",
          "image=linux-image-6.12.1+rpt-rpi-2712|1:6.12.1-1"], False),
        ([], None),
    ],
)  # fmt: skip
def test_no_flag_is_no_answer_where_nothing_writes_one(lines: list[str], waits: bool | None) -> None:
    found = read("reboot", Section("reboot", 0, "", "\n".join(["no", *lines])))["required"]
    assert isinstance(found, Unknown) if waits is None else found is waits
    assert read("reboot", Section("reboot", 0, "", "\n".join(["yes", *lines])))["required"] is True
    assert read("reboot", Section("reboot", 0, "", "no"), packages="rpm")["required"] is False


def test_a_port_of_the_kernels_own_is_no_clients() -> None:
    """WireGuard holds its port in the kernel: no program shows. A name server's questions have one."""
    rows = ['users:(("named",pid=5,fd=3))', "", ""]
    ports = (40001, 51820, 52000)
    text = "\n".join(f"udp UNCONN 0 0 0.0.0.0:{p} 0.0.0.0:* {r}".rstrip() for p, r in zip(ports, rows, strict=True))
    mine, tunnel, nobody = read("sockets", Section("sockets", 0, "", text))
    assert mine["client"] is True
    assert tunnel["client"] is False
    assert isinstance(nobody["client"], Unknown)
    assert all(
        isinstance(i["client"], Unknown)
        for i in read("sockets", Section("sockets", 0, "", text.replace(rows[0], "")), root=False)
    )
