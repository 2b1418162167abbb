"""Commands that fail on a host must come back as unknown, never as "none": the collector's own text, run for real."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent.facts import linux
from agent.facts.linux.answer import parse, script
from agent.facts.protocol import Limits, Output
from agent.model import Unknown

NONCE = "feedfacefeedface"
pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")


def run(setup: str, sections: str, fact: str, text: str | None = None) -> Any:
    """A fact, read by the collector with commands replaced by functions (`setup`)."""
    body = (
        f"K={NONCE}\n{text or script()}\nT=\nU=0\n{setup}\nsec meta s_meta\n{sections}\n"
        f'printf \'\\n%s%s END %s\\n\' "$RS" "$K" "$COUNT"\n'
    )
    done = subprocess.run(["sh"], input=body.encode(), capture_output=True, timeout=60, check=False)
    answer = parse(Output(done.stdout, b"", 0), NONCE, Limits())
    assert answer.lost is None, done.stdout[-300:]
    return linux.facts_from(answer, [fact])[fact].value


def test_a_listing_of_sockets_that_fails_is_not_a_quiet_host() -> None:
    assert isinstance(run("ss() { return 255; }", "sec sockets s_sockets", "sockets"), Unknown)
    assert isinstance(run("ss() { return 0; }", "sec sockets s_sockets", "sockets"), Unknown)


def test_a_listing_of_sockets_that_works_is_read() -> None:
    told = "Netid State Recv-Q Send-Q Local Peer\\ntcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\\n"
    found = run(f"ss() {{ printf '{told}'; }}", "sec sockets s_sockets", "sockets")
    assert [i["port"] for i in found] == ["tcp/22"]


def test_a_firewall_that_may_not_be_asked_is_not_an_open_one() -> None:
    setup = "have() { [ $1 = nft ]; }; nft() { return 1; }"
    assert isinstance(run(setup, "sec netfilter s_netfilter", "netfilter"), Unknown)
    setup = "have() { [ $1 = iptables ]; }; iptables() { return 3; }"
    assert isinstance(run(setup, "sec netfilter s_netfilter", "netfilter"), Unknown)


def test_one_tool_for_the_firewall_is_enough() -> None:
    setup = "have() { case $1 in nft|iptables) ;; *) return 1;; esac; }; nft() { return 1; }\n"
    setup += "iptables() { echo '-P INPUT DROP'; }"
    found = run(setup, "sec netfilter s_netfilter", "netfilter")
    assert found == {"ufw_loaded": False, "input_drops": True}


def test_no_tool_for_the_firewall_is_unknown() -> None:
    found = run("have() { return 1; }", "sec netfilter s_netfilter", "netfilter")
    assert str(found) == "command not found: nft or iptables"


def test_apt_that_cannot_say_what_it_does_is_not_apt_that_does_nothing() -> None:
    setup = "have() { [ $1 = apt-config ]; }\napt_config() { return 100; }"
    text = script().replace("$T apt-config dump", "apt_config")
    assert isinstance(run(setup, "sec os s_os\nsec apt s_apt", "apt", text), Unknown)


def test_settings_of_a_firewall_that_was_removed_do_not_come_at_boot(tmp_path: Path) -> None:
    (tmp_path / "ufw.conf").write_text("ENABLED=yes\n")
    (tmp_path / "sysctl.conf").write_text("net/ipv4/conf/all/log_martians=0\n")
    (tmp_path / "default").write_text(f"IPT_SYSCTL={tmp_path}/sysctl.conf\n")
    text = (
        script().replace("/etc/ufw/ufw.conf", f"{tmp_path}/ufw.conf").replace("/etc/default/ufw", f"{tmp_path}/default")
    )
    name = "sysctl[net.ipv4.conf.all.log_martians]"
    sections = "sec sysctl s_sysctl net/ipv4/conf/all/log_martians\nsec sysctl_files s_sysctl_files"
    gone = run("have() { [ $1 != ufw ]; }", sections, name, text)
    there = run("have() { return 0; }", sections, name, text)
    assert there["boot"] == 0, "ufw writes its own file when it starts"
    assert gone["boot"] != 0, "the package is gone, its settings lie about"


def test_what_chrony_is_told_in_capitals_counts(tmp_path: Path) -> None:
    (tmp_path / "chrony.conf").write_text("server ntp1.trust.test\nServer 0.pool.ntp.org\nPOOL 1.pool.ntp.org\n")
    text = script().replace("/etc/chrony/chrony.conf", f"{tmp_path}/chrony.conf")
    setup = "SD=1\nsystemctl() { for u in chrony.service chronyd.service a b c d e; do\n"
    setup += "case $u in chrony.service) s=loaded;; *) s=not-found;; esac\n"
    setup += "printf 'Id=%s\\nLoadState=%s\\nActiveState=active\\nUnitFileState=enabled\\n\\n' $u $s; done; }"
    found = run(setup, "sec time s_time", "time_sync", text)
    assert found["servers"] == ["ntp1.trust.test", "0.pool.ntp.org", "1.pool.ntp.org"]


def test_programs_are_not_foreign_because_dpkg_did_not_answer(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("x")
    (tmp_path / "tool").chmod(0o4755)
    text = script().replace("/usr /bin /sbin /lib /opt /srv /home /root /var/tmp /tmp /etc", str(tmp_path))
    setup = "PM=dpkg"
    text = text.replace("dpkg-query -S", "dpkg_search")
    assert isinstance(
        run(f"{setup}\ndpkg_search() {{ return 2; }}", "sec setuid s_setuid", "setuid_files", text), Unknown
    )
    found = run(
        f'{setup}\ndpkg_search() {{ echo "pkg: {tmp_path}/tool"; }}', "sec setuid s_setuid", "setuid_files", text
    )
    assert [i["packaged"] for i in found] == [True]
    (tmp_path / "tool").unlink()
    assert run(f"{setup}\ndpkg_search() {{ return 2; }}", "sec setuid s_setuid", "setuid_files", text) == []


def test_kernels_that_are_installed_are_told_and_those_that_were_removed_are_not() -> None:
    rows = "ii |image=linux-image-6.1.0-26-amd64|6.1.112-1\\nrc |image=linux-image-6.1.0-99-amd64|6.1.999-1\\n"
    rows += "ii |image=linux-image-6.1.0-98-amd64-dbg|6.1.998-1\\n"
    setup = f"PM=dpkg; boxed() {{ return 1; }}; dpkg-query() {{ printf '{rows}'; }}\n"
    setup += "uname() { [ $1 = -r ] && echo 6.1.0-26-amd64 || echo '#1 SMP Debian 6.1.112-1 (2024-09-30)'; }"
    text = script().replace("dpkg-query", "dpkg_query").replace("/run/reboot-required", "/nowhere/required")
    found = run(setup.replace("dpkg-query()", "dpkg_query()"), "sec reboot s_reboot", "reboot", text)
    assert found == {"required": False}
    found = run(
        setup.replace("dpkg-query()", "dpkg_query()").replace("rc |", "ii |"), "sec reboot s_reboot", "reboot", text
    )
    assert found == {"required": True}


def stacks(tmp_path: Path, files: dict[str, str]) -> Any:
    """The fact `pam` of a host with these files in /etc/pam.d."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    # the files are shown under the name that they have on a host
    text = script().replace("for p in /etc/pam.d/*", f"for p in {tmp_path}/*")
    text = text.replace('mark "$p" ok; awk', 'mark "/etc/pam.d/${p##*/}" ok; awk')
    return run("", "sec login s_login", "pam", text)


RHEL = {
    "passwd": "auth include system-auth\npassword substack system-auth\n-password optional pam_gnome_keyring.so\n",
    "sshd": "auth substack password-auth\n",
    "password-auth": "auth required pam_faillock.so preauth silent\nauth sufficient pam_unix.so\n",
    "system-auth": "password requisite pam_pwquality.so local_users_only\npassword sufficient pam_unix.so\n",
}
DEBIAN = {
    "passwd": "@include common-password\n",
    "common-password": "# a word\npassword\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt\n",
    "sshd": "@include common-auth\n",
    "common-auth": "auth [success=1 default=ignore] pam_unix.so\nauth required pam_radius_auth.so secret=hunter2\n",
}
NONE = {"quality": None, "minlen": None, "hash": None, "lockout": None, "deny": None}
BOTH = {"quality": "pam_pwquality", "minlen": None, "hash": None, "lockout": "pam_faillock", "deny": None}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (RHEL, BOTH),
        (DEBIAN, NONE | {"hash": "YESCRYPT"}),
        (RHEL | {"system-auth": "password requisite pam_pwquality.so minlen=8 retry=3\n"}, BOTH | {"minlen": 8}),
        (RHEL | {"password-auth": "auth required pam_faillock.so deny=0\n"}, BOTH | {"deny": 0}),
        (
            DEBIAN | {"common-password": "password [a=1 b=2] pam_unix.so minlen=14\n"},
            NONE | {"quality": "pam_unix", "minlen": 14},
        ),
    ],
)
def test_settings_count_where_the_stack_calls_their_module(
    tmp_path: Path, files: dict[str, str], expected: Any
) -> None:
    assert stacks(tmp_path, files) == expected


@pytest.mark.parametrize(
    "text",
    [
        "password include gone\n",
        "password required pam_passwdqc.so min=8\n",
        "password requisite \\\n pam_pwquality.so\n",
        "password optional pam_pwquality.so\n",
        "@include passwd\n",
    ],
)
def test_a_stack_that_cannot_be_followed_is_unknown(tmp_path: Path, text: str) -> None:
    found = stacks(tmp_path, DEBIAN | {"passwd": text})
    assert isinstance(found["quality"], Unknown)
    assert isinstance(found["minlen"], Unknown)
    assert found["lockout"] is None


def test_arguments_of_pam_stay_on_the_host(tmp_path: Path) -> None:
    (tmp_path / "sshd").write_text(DEBIAN["common-auth"])
    text = script().replace("for p in /etc/pam.d/*", f"for p in {tmp_path}/*")
    done = subprocess.run(["sh"], input=f"K=x\n{text}\nsec login s_login\n".encode(), capture_output=True, check=False)
    assert b"pam_radius_auth" in done.stdout
    assert b"hunter2" not in done.stdout


def test_asking_for_a_restart_that_fails_is_not_a_restart_that_waits() -> None:
    setup = "PM=rpm\nhave() { return 0; }\nneeds_restarting() { echo Error: no cache; return 1; }"
    text = script().replace("$T needs-restarting -r", "needs_restarting")
    assert isinstance(run(setup, "sec reboot s_reboot", "reboot", text), Unknown)


@pytest.mark.parametrize(
    ("words", "waits"),
    [
        ("Reboot is required to fully utilize these updates.", True),
        ("Reboot is required to ensure that your system benefits from these updates.", True),
        ("Reboot should not be necessary.", False),
        ("Reboot is probably not necessary.", False),
    ],
)
def test_red_hat_says_whether_a_restart_waits(words: str, waits: bool) -> None:
    setup = f"PM=rpm\nhave() {{ return 0; }}\nneeds_restarting() {{ echo '{words}'; return {int(waits)}; }}"
    text = script().replace("$T needs-restarting -r", "needs_restarting")
    assert run(setup, "sec reboot s_reboot", "reboot", text) == {"required": waits}


def test_a_list_of_packages_that_is_broken_does_not_disown_programs() -> None:
    setup = "PM=rpm\nscan() { echo '4755|root|root|/usr/bin/sudo'; }\nrpm() { return 1; }"
    assert isinstance(run(setup, "sec setuid s_setuid", "setuid_files"), Unknown)
    setup = "PM=rpm\nscan() { echo '4755|root|root|/usr/bin/sudo'; }\nrpm() { return 0; }"
    assert [i["packaged"] for i in run(setup, "sec setuid s_setuid", "setuid_files")] == [True]


def test_an_empty_list_of_dpkg_on_red_hat_is_not_debian(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("")
    text = script().replace("/var/lib/dpkg/status", f"{tmp_path}/status")
    text = text.replace(
        "SD=; [", "dpkg_query() { :; }; have() { case $1 in dpkg-query|rpm) ;; *) return 1;; esac; }\nSD=; ["
    )
    found = run("", "sec os s_os", "os", text)
    assert found["packages"] == "rpm"


def test_what_shells_and_pam_say_of_red_hat_is_sent(tmp_path: Path) -> None:
    (tmp_path / "bashrc").write_text("  # umask 000\n  umask 002\n  export X=secret\n")
    (tmp_path / "pam.d").mkdir()
    (tmp_path / "pam.d" / "passwd").write_text(
        "password sufficient pam_unix.so sha512 shadow nullok use_authtok x=secret\n"
    )
    text = script().replace("/etc/bashrc", f"{tmp_path}/bashrc").replace("/etc/profile ", "/nowhere/profile ")
    text = text.replace("/etc/profile.d/", "/nowhere/").replace("/etc/bash.bashrc", "/nowhere/b")
    found = run("", "sec login s_login", "login_policy", text)
    assert found["shell_umask_lets"] == "0775"
    body = subprocess.run(
        ["sh"],
        input=f"K={NONCE}\n{text.replace('/etc/pam.d/', f'{tmp_path}/pam.d/')}\nsec login s_login\n".encode(),
        capture_output=True,
        timeout=60,
        check=False,
    ).stdout.decode()
    assert "password sufficient pam_unix.so sha512\n" in body
    assert "secret" not in body


def test_a_folder_of_chrony_that_may_not_be_read_is_not_an_empty_one() -> None:
    text = script().replace("for p in /etc/chrony/chrony.conf /etc/chrony.conf", "for p in /nowhere")
    setup = "SD=1\nsystemctl() { for u in chrony.service chronyd.service a b c d e; do\n"
    setup += "case $u in chronyd.service) s=loaded;; *) s=not-found;; esac\n"
    setup += "printf 'Id=%s\\nLoadState=%s\\nActiveState=active\\nUnitFileState=enabled\\n\\n' $u $s; done; }\n"
    setup += (
        "s_denied() { s_time; mark /etc/chrony.conf ok; echo 'server ntp1.trust.test'; mark /run/chrony-dhcp denied; }"
    )
    assert isinstance(run(setup, "sec time s_denied", "time_sync", text)["servers"], Unknown)


def test_a_broken_database_of_packages_does_not_deny_every_package() -> None:
    lost = 'PM=rpm\nrpm() { for p; do :; done; echo "package $p is not installed"; return 1; }'
    assert isinstance(run(lost, "sec package s_package rsh", "package[rsh]"), Unknown)
    there = "PM=rpm\nrpm() { case $* in *rsh) echo 'package rsh is not installed'; return 1;; esac; }"
    assert run(there, "sec package s_package rsh", "package[rsh]") is None
