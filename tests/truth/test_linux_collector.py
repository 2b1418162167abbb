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
