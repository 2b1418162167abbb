"""The labs themselves work: what the other tests scan is really there, and really wrong in the way it says."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.hosts import SCRIPT, HostLab, LabError, drift_items
from tests.lab.samba import SambaLab
from tests.lab.slots import RUN_ROOT

# item, host that has it, a command run there as root, what it must print there and must not print on a clean host
DRIFT = [
    ("ssh-root", "h002", "sshd -T", "permitrootlogin yes"),
    ("ssh-password", "h002", "sshd -T", "passwordauthentication yes"),
    ("sysctl-forward", "h002", "cat /proc/sys/net/ipv4/ip_forward /etc/sysctl.d/90-trust.conf", "ip_forward = 1"),
    ("sysctl-runtime", "h002", "echo rp=$(cat /proc/sys/net/ipv4/conf/all/rp_filter)", "rp=0"),
    ("sysctl-file", "h002", "cat /etc/sysctl.d/*", "net.ipv4.tcp_syncookies = 0"),
    ("no-auditd", "h002", "dpkg-query -W auditd || echo absent", "absent"),
    ("no-autoupdate", "h002", "apt-config dump APT::Periodic", 'APT::Periodic::Unattended-Upgrade "0"'),
    ("ufw-off", "h002", "ufw status", "inactive"),
    ("ntp-wrong", "h002", "cat /etc/chrony/chrony.conf", "0.pool.ntp.org"),
    ("old-agent", "h002", "dpkg-query -W trust-agent", "\t1.0"),
    ("telnetd", "h002", "dpkg-query -W inetutils-telnetd telnet 2>&1", "inetutils-telnetd\t"),
    ("uid0", "h002", "getent passwd toor || true", "toor:x:0:0"),
    ("empty-pw", "h002", "getent shadow kiosk || true", "kiosk::"),
    ("shadow-perm", "h002", "stat -c %a /etc/shadow", "644"),
    ("ssh-dropin", "h003", "sshd -T", "passwordauthentication yes"),
    ("ssh-match", "h003", "cat /etc/ssh/sshd_config", "Match Address"),
    ("extra-sudoer", "h003", "getent group sudo", "jsmith"),
    ("nopasswd", "h003", "cat /etc/sudoers.d/*", "jsmith ALL=(ALL) NOPASSWD: ALL"),
    ("tmp-exec", "h003", "cp /bin/true /tmp/x && { /tmp/x 2>/dev/null && echo runs; rm /tmp/x; }", "runs"),
    ("listener", "h003", "ss -Htln", ":8081"),
    ("dns-wrong", "h003", "cat /etc/resolv.conf", "8.8.8.8"),
    ("os-old", "h003", "cat /etc/os-release", 'VERSION_ID="10"'),
    ("tz-wrong", "h003", "readlink /etc/localtime", "New_York"),
    ("suid-shell", "h003", "find /usr/local -perm -4000", "/usr/local/bin/maint"),
    ("cron-writable", "h003", "find /etc/cron.d -perm -0002", "/etc/cron.d/backup"),
]


# ---------------------------------------------------------------------- without root
def test_every_item_can_be_planted() -> None:
    seed = (SCRIPT.parent / "seed.sh").read_text(encoding="utf-8")
    assert [name for name in drift_items() if f"  {name})" not in seed and f";; {name})" not in seed] == []


def test_every_item_says_what_it_breaks() -> None:
    assert [item.name for item in drift_items().values() if bool(item.rows) == bool(item.trouble)] == []


def test_wrong_names_are_refused_before_anything_starts() -> None:
    with pytest.raises(LabError, match="ssh-rot"):
        HostLab().start(1, {"h001": ["ssh-rot"]})
    with pytest.raises(LabError, match="h002"):
        HostLab().start(1, {"h002": ["ssh-root"]})


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert HostLab.available() == (False, "needs root")
    assert SambaLab.available() == (False, "needs root")


def test_nothing_runs_before_start() -> None:
    with pytest.raises(LabError, match="not running"):
        _ = HostLab().inventory
    with pytest.raises(LabError, match="not running"):
        _ = SambaLab().ca_file


# ---------------------------------------------------------------------- hosts
@pytest.mark.lab
def test_login_with_a_checked_host_key(host_lab: HostLab, tmp_path: Path) -> None:
    done = host_lab.ssh("h001", "id -un; hostname; sudo -n id -u")
    assert (done.returncode, done.stdout.split()) == (0, ["scan", "h001", "0"])
    stranger = tmp_path / "known_hosts"
    stranger.touch()
    refused = host_lab.ssh("h001", "true", options=["-o", f"UserKnownHostsFile={stranger}"])
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


@pytest.mark.lab
def test_every_host_is_a_machine_of_its_own(host_lab: HostLab) -> None:
    assert host_lab.exec("h001", "systemctl is-system-running").strip() == "running"
    host_lab.exec("h001", "touch /etc/only-here; sysctl -qw net.ipv4.ip_default_ttl=77")
    assert host_lab.exec("h003", "ls /etc/only-here 2>&1; cat /proc/sys/net/ipv4/ip_default_ttl", check=False) != "77\n"
    assert Path("/proc/sys/net/ipv4/ip_default_ttl").read_text(encoding="ascii") != "77\n"
    host_lab.exec("h001", "rm /etc/only-here; sysctl -qw net.ipv4.ip_default_ttl=64")


@pytest.mark.lab
@pytest.mark.parametrize(("item", "host", "command", "mark"), DRIFT, ids=[row[0] for row in DRIFT])
def test_drift_is_there_and_a_clean_host_lacks_it(
    host_lab: HostLab, item: str, host: str, command: str, mark: str
) -> None:
    assert item in host_lab.items[host]
    assert drift_items()[item].rows <= host_lab.truth[host]
    assert mark in host_lab.exec(host, command, check=False)
    assert mark not in host_lab.exec("h001", command, check=False)


@pytest.mark.lab
def test_hosts_that_resist(host_lab: HostLab) -> None:
    assert host_lab.trouble["h001"] == set()
    assert host_lab.trouble["h004"] == {"partial", "noise", "missing"}
    refused = host_lab.ssh("h004", "sudo -n true; command -v ss sysctl chronyc")
    assert refused.returncode != 0
    assert "password is required" in refused.stderr
    assert "Welcome" in refused.stdout
    assert "/" not in refused.stdout
    assert "Host key verification failed" in host_lab.ssh("h005", "true").stderr
    assert "Connection refused" in host_lab.ssh("h006", "true").stderr


@pytest.mark.lab
def test_sshd_goes_and_comes_back(host_lab: HostLab) -> None:
    host_lab.stop_host("h001")
    assert "refused" in host_lab.ssh("h001", "true").stderr
    host_lab.start_host("h001")
    assert host_lab.ssh("h001", "true").returncode == 0


@pytest.mark.lab
def test_cable_goes_and_comes_back(host_lab: HostLab) -> None:
    host_lab.unplug("h001")
    assert host_lab.ssh("h001", "true", options=["-o", "ConnectTimeout=1"]).returncode == 255
    host_lab.plug("h001")
    assert host_lab.ssh("h001", "true").returncode == 0


@pytest.mark.lab
def test_reset_gives_the_host_as_it_was(host_lab: HostLab) -> None:
    host_lab.exec(
        "h002", "touch /etc/changed; sed -i 's/^PermitRootLogin yes/PermitRootLogin no/' /etc/ssh/sshd_config"
    )
    host_lab.reset("h002")
    assert "permitrootlogin yes" in host_lab.exec("h002", "ls /etc/changed 2>/dev/null; sshd -T")
    assert host_lab.ssh("h002", "ls /etc/changed").returncode == 2  # same host key, and the change is gone


@pytest.mark.lab
def test_inventory_is_one_that_ansible_reads(host_lab: HostLab) -> None:
    ansible = Path(sys.executable).with_name("ansible-inventory")
    done = subprocess.run(
        [ansible, "-i", host_lab.inventory, "--host", "h002"], capture_output=True, text=True, check=True
    )
    assert host_lab.addresses["h002"] in done.stdout
    assert str(host_lab.key_file) in done.stdout


@pytest.mark.lab
def test_hosts_that_tie_a_client_up(make_host_lab: Callable[..., HostLab]) -> None:
    lab = make_host_lab(3, {"h001": ["hang"], "h002": ["flood"], "h003": ["slow"]})
    with pytest.raises(subprocess.TimeoutExpired):
        lab.ssh("h001", "echo answered", timeout=3)
    got = 0
    with subprocess.Popen(["ssh", "-F", lab.ssh_config, "h002", "true"], stdout=subprocess.PIPE) as flood:
        assert flood.stdout is not None
        while block := flood.stdout.read(1 << 20):
            got += len(block)
    assert got == 100_000_000
    begin = time.monotonic()
    assert lab.ssh("h003", "echo answered").stdout == "answered\n"
    assert time.monotonic() - begin > 7


@pytest.mark.lab
def test_labs_stand_side_by_side_and_leave_nothing(make_host_lab: Callable[..., HostLab], host_lab: HostLab) -> None:
    lab = make_host_lab(1, login="root")
    number, folder = lab.number, lab.run_dir
    assert number != host_lab.number
    assert lab.ssh("h001", "id -u").stdout == "0\n"
    assert host_lab.ssh("h001", "id -un").stdout == "scan\n"
    lab.stop()
    assert not folder.exists()
    assert not Path(f"/sys/class/net/sl{number}-br").exists()
    assert list(Path("/run/netns").glob(f"sl{number}-*")) == []


@pytest.mark.lab
def test_what_a_killed_run_left_is_cleared_away(make_host_lab: Callable[..., HostLab], host_lab: HostLab) -> None:
    assert host_lab.number >= 0  # the shared lab lives on through it
    code = (
        "import time; from tests.lab.hosts import HostLab as L; print(L().start(1).number, flush=True); time.sleep(600)"
    )
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        number = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
    assert (RUN_ROOT / f"hosts-{number}" / "hosts").exists()
    lab = make_host_lab(1)
    if lab.number != number:
        assert not (RUN_ROOT / f"hosts-{number}").exists()
    assert lab.ssh("h001", "hostname").stdout == "h001\n"
    assert host_lab.ssh("h001", "hostname").stdout == "h001\n"


# ---------------------------------------------------------------------- directory
def _ldapsearch(url: str, ca_file: Path, user: str, password: str, base: str, where: str) -> tuple[int, str]:
    """Exit code (the LDAP result code; 255 without a connection), and all that it said."""
    done = subprocess.run(
        ["ldapsearch", "-x", "-LLL", "-d", "1", "-H", url, "-D", user, "-w", password, "-b", base, where, "cn"],
        env={**os.environ, "LDAPTLS_CACERT": str(ca_file), "LDAPTLS_REQCERT": "demand", "LDAPRC": "/dev/null"},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.lab
def test_an_ordinary_account_binds_with_the_authority_checked(samba_lab: SambaLab) -> None:
    lab = samba_lab
    who = (lab.scan_upn, lab.scan_password, lab.base_dn)
    code, said = _ldapsearch(lab.ldaps_url, lab.ca_file, *who, "(&(adminCount=1)(objectClass=user))")
    assert code == 0
    assert "cn: adm-bob\n" in said
    assert "adm-bob" in lab.expected["DIR-ADM-002"]


@pytest.mark.lab
def test_another_authority_is_refused(samba_lab: SambaLab, tmp_path: Path) -> None:
    lab, other = samba_lab, tmp_path / "other.pem"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(tmp_path / "key")]
    words = ["openssl", "req", "-x509", *key, "-subj", "/O=Lab/CN=Lab-CA-RIVERSIDE", "-out", str(other)]
    subprocess.run(words, check=True, capture_output=True)
    code, _ = _ldapsearch(lab.ldaps_url, other, lab.scan_upn, lab.scan_password, lab.base_dn, "(cn=adm-bob)")
    assert code == 255
    for ca_file, name, right in (
        (lab.ca_file, lab.address, True),
        (lab.ca_file, lab.fqdn, True),
        (lab.ca_file, "dc2.elsewhere.example", False),
        (other, lab.address, False),
    ):
        context = ssl.create_default_context(cafile=ca_file)
        with socket.create_connection((lab.address, 636), timeout=10) as plain:
            if right:
                context.wrap_socket(plain, server_hostname=name).close()
            else:
                with pytest.raises(ssl.SSLCertVerificationError):
                    context.wrap_socket(plain, server_hostname=name)


@pytest.mark.lab
def test_a_password_in_clear_is_refused(samba_lab: SambaLab) -> None:
    lab = samba_lab
    code, _ = _ldapsearch(lab.ldap_url, lab.ca_file, "nobody@nowhere.example", "no-such", lab.base_dn, "(cn=adm-bob)")
    assert code == 8  # strongerAuthRequired


@pytest.mark.lab
def test_planted_faults_are_described(samba_lab: SambaLab) -> None:
    expected = samba_lab.expected
    assert len(expected) > 100
    assert all(labels == sorted(set(labels)) and labels for labels in expected.values())
    assert [school["code"] for school in samba_lab.schools][-1] == "WIL"
    assert "missing: WIL" in expected["DIR-STD-001"]


@pytest.mark.lab
def test_a_change_is_seen_and_taken_back(samba_lab: SambaLab) -> None:
    group = f"CN=GRP-TRUST-AllPupils,OU=Trust,{samba_lab.base_dn}"
    samba_lab.snapshot()
    samba_lab.modify(f"dn: {group}\nchangetype: modify\nreplace: description\ndescription: changed\n")
    assert "description: changed" in samba_lab.search(group, "base", "(objectClass=*)", "description")
    samba_lab.reset()
    assert "description" not in samba_lab.search(group, "base", "(objectClass=*)", "description")
    with pytest.raises(LabError, match="No such object"):
        samba_lab.modify(f"dn: CN=nobody,{samba_lab.base_dn}\nchangetype: delete\n")


@pytest.mark.lab
def test_what_a_killed_run_left_in_the_directory_is_cleared_away(samba_lab: SambaLab) -> None:
    code = (
        "from tests.lab.samba import SambaLab; import time\n"
        "lab = SambaLab().start(seed=False); print(lab.dir, flush=True); time.sleep(600)"
    )
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        left = Path(child.stdout.readline().strip())
        child.send_signal(signal.SIGKILL)
    assert (left / "smb.conf").exists()
    lab = SambaLab().start(seed=False)
    try:
        assert not left.exists()
        assert lab.expected == {}
        assert lab.address != samba_lab.address
    finally:
        lab.stop()
