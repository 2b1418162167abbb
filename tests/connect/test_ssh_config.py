"""The ssh configuration against ssh's own reading of it, and the ways that it opens: jump hosts, programs,
certificates, the agent. Real sshds of this machine's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.connect import ssh_config
from agent.connect.ssh import fingerprints, open_ssh
from agent.connect.ssh_options import FOLDER, login
from agent.errors import CredentialRefused, IdentityError, SecretError, Unreachable
from agent.facts.protocol import Limits
from agent.model import Kind, Target
from tests.connect.sshd import ME, Sshd, keygen, public, sshd

CONFIG = """\
# people's own
Port 2200
Host oak-* !oak-print
    HostName %h.oak.example     # a comment
    User = scan
    IdentityFile ~/.ssh/oak
    IdentityFile "~/.ssh/o k"
    CertificateFile /c/one-cert.pub
    CertificateFile /c/two-cert.pub
    UserKnownHostsFile /k/one "/k/t wo"
host oak-print
    HostName=10.0.0.9
    ProxyJump ann@b1:2022,b2
    ProxyCommand nc %h %p
Host prog
    ProxyCommand exec nc -X "a b" %h %p # kept
    ProxyJump never
    identitiesonly yes
    HostKeyAlias printers
Match host *.oak.example user scan
    IdentityFile /k/match
Match originalhost deep* !user bob
    HostName deep.example
Match final host deep.example
    User deepuser
Include more.conf
Host incl
    Include only-*.conf
    User after
Host *
    User fallback
    ProxyJump none
"""
MORE = "Host inc*\n  IdentityFile /k/inc\nHost *\n  GlobalKnownHostsFile /g\n"
ONLY = "Host incl\n  HostName included\nHost other\n  HostName wrong\n"
KEYWORDS = (
    *("hostname", "port", "user", "identityfile", "certificatefile", "userknownhostsfile", "globalknownhostsfile"),
    *("proxyjump", "proxycommand", "identitiesonly", "hostkeyalias"),
)


def said_by_ssh(file: Path, alias: str) -> dict[str, list[str]]:
    done = subprocess.run(
        ["ssh", "-G", "-F", str(file), alias], capture_output=True, text=True, check=True, timeout=20
    ).stdout
    out: dict[str, list[str]] = {}
    for line in done.splitlines():
        keyword, _, value = line.partition(" ")
        out.setdefault(keyword, []).append(value)
    return out


@pytest.mark.parametrize(
    "alias", ["oak-files", "oak-print", "prog", "deep1", "deep2.x", "incl", "incx", "other", "10.0.0.1", "OAK-files"]
)
def test_it_is_read_as_ssh_reads_it(home: Path, alias: str) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("no ssh on this machine")
    file = home / ".ssh/config"
    # ssh takes the home of relative includes from the user database, never from $HOME.
    file.write_text(CONFIG.replace("Include ", f"Include {home}/.ssh/"), encoding="utf-8")
    (home / ".ssh/more.conf").write_text(MORE, encoding="utf-8")
    (home / ".ssh/only-1.conf").write_text(ONLY, encoding="utf-8")
    theirs = said_by_ssh(file, alias)
    ours = ssh_config.lookup(alias, {}, str(file))
    file.chmod(0o600)
    assert ssh_config.lookup(alias, {})["hostname"] == ours["hostname"]
    for keyword in KEYWORDS:
        if keyword not in ours:
            assert theirs.get(keyword, ["none"]) in (["none"], ["no"]) or keyword.endswith(("hostsfile", "tityfile"))
            continue
        got = ours[keyword]
        if keyword.endswith("hostsfile"):
            got = [" ".join(got)]
        if got == ["none"]:
            assert keyword not in theirs
        elif keyword == "proxycommand" or keyword.endswith(("tityfile", "icatefile")):
            assert theirs[keyword] == got
        else:
            assert [v.lower() for v in theirs[keyword]] == [g.lower() for g in got], keyword


def test_the_inventory_wins_over_the_configuration(home: Path) -> None:
    (home / ".ssh/config").write_text(CONFIG, encoding="utf-8")
    (home / ".ssh/config").chmod(0o600)
    want = login("oak-files", {})
    assert (want.host, want.port, want.user) == ("oak-files.oak.example", 2200, "scan")
    assert want.key_files == (home / ".ssh/oak", home / ".ssh/o k", Path("/k/match"))
    assert want.certificates == (Path("/c/one-cert.pub"), Path("/c/two-cert.pub"))
    assert want.known_hosts[:2] == (Path("/k/one"), Path("/k/t wo"))
    want = login(
        "h",
        {"ansible_host": "oak-files", "ansible_port": 22, "ansible_user": "bob", "ansible_private_key_file": "/mine"},
    )
    assert (want.host, want.port, want.user) == ("oak-files.oak.example", 22, "bob")
    assert want.key_files == (Path("/mine"), home / ".ssh/oak", home / ".ssh/o k")
    assert want.identities_only
    want = login("oak-files", {"ansible_ssh_common_args": "-F none"})
    assert (want.host, want.port, want.user) == ("oak-files", 22, ME)
    want = login("prog", {})
    assert (want.key_name, want.key_port, want.via) == ("printers", 22, None)
    with pytest.raises(Unreachable, match="needs a shell"):
        login("h", {"ansible_ssh_common_args": "-o ProxyCommand='nc %h %p | tee /x'"})


def test_jump_hosts_are_followed_in_their_order(home: Path) -> None:
    (home / ".ssh/config").write_text(
        "Host b1\n HostName b1.example\n User gate\n ProxyJump b0\nHost target\n ProxyJump b1,ann@[fe80::1]:99\n"
        "Host round\n ProxyJump about\nHost about\n ProxyJump round\n",
        encoding="utf-8",
    )
    (home / ".ssh/config").chmod(0o600)
    last = login("target", {}).via
    assert last is not None
    assert (last.host, last.port, last.user) == ("fe80::1", 99, "ann")
    assert last.via is not None
    assert (last.via.host, last.via.user) == ("b1.example", "gate")
    assert last.via.via is not None
    assert (last.via.via.host, last.via.via.via) == ("b0", None)
    with pytest.raises(Unreachable, match="behind itself"):
        login("round", {})
    assert login("target", {"ansible_ssh_common_args": "-o ProxyJump=none"}).via is None
    given = login("target", {"ansible_ssh_common_args": "-J x@other:2022"}).via
    assert given is not None
    assert (given.user, given.host, given.port, given.via) == ("x", "other", 2022, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Match exec true\n User x\n", "not understood"),
        ("Host x\n User 'open\n", "quote"),
        ("RevokedHostKeys /krl\n", "revoked"),
        ("Host *\n HostName %z\n", "%z"),
        ("Include config\n", "too many files"),
    ],
)
def test_what_cannot_be_followed_is_said(home: Path, text: str, words: str) -> None:
    file = home / ".ssh/config"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    with pytest.raises(Unreachable, match=words):
        login("x", {})


def test_a_configuration_that_others_may_write_is_not_used(home: Path) -> None:
    file = home / ".ssh/config"
    file.write_text("Host *\n ProxyCommand evil\n", encoding="utf-8")
    file.chmod(0o666)
    with pytest.raises(Unreachable, match="written by others"):
        login("x", {})


@pytest.mark.parametrize("name", ["-oProxyCommand=id", "a b", "a;b", "{{ x }}", "a\nb", "$(id)"])
def test_a_host_name_that_is_none_goes_nowhere(name: str) -> None:
    with pytest.raises(Unreachable):
        login("h", {"ansible_host": name})


# ---------------------------------------------------------------- real servers
@dataclass(frozen=True, slots=True)
class Yard:
    """A target behind a gate: each has its own key, and the folder knows both hosts."""

    folder: Path
    target: Sshd
    gate: Sshd

    def settings(self, arguments: str = "", **more: Any) -> dict[str, Any]:
        return {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.target.port,
            "ansible_user": ME,
            "ansible_ssh_private_key_file": str(self.folder / "inner"),
            "ansible_ssh_common_args": f"-o GlobalKnownHostsFile=none {arguments}",
            FOLDER: str(self.folder),
            **more,
        }

    def run(self, arguments: str = "", command: str = "echo $SSH_CONNECTION", **more: Any) -> str:
        with open_ssh(
            Target("t", Kind.DEVICE, "linux", "s", self.settings(arguments, **more)), no_secret, Limits(20)
        ) as shell:
            return shell.run(command, b"", Limits(20)).stdout.decode()


def no_secret(reference: str) -> str:
    raise SecretError(f"{reference} is not there.")


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    folder = tmp_path_factory.mktemp("yard")
    for name in ("inner", "outer", "stranger", "ca"):
        keygen(folder / name)
    ca = f"cert-authority {public(folder / 'ca')}\n"
    with (
        sshd(folder / "t", public(folder / "inner") + "\n" + ca) as target,
        sshd(folder / "g", public(folder / "outer") + "\n") as gate,
    ):
        (folder / "known_hosts").write_text(target.known + gate.known, encoding="utf-8")
        yield Yard(folder, target, gate)


@pytest.fixture
def config(home: Path, yard: Yard) -> Path:
    """The user's configuration: `gate` is the jump host, with a key of its own."""
    file = home / ".ssh/config"
    file.write_text(
        f"Host gate gate2\n HostName 127.0.0.1\n Port {yard.gate.port}\n User {ME}\n IdentityFile {yard.folder}/outer\n"
        f" IdentitiesOnly yes\n GlobalKnownHostsFile none\n",
        encoding="utf-8",
    )
    file.chmod(0o600)
    return file


def forwards(yard: Yard) -> int:
    return yard.gate.log.count("Accepted publickey")


def test_a_host_behind_one_and_two_jump_hosts_is_reached(yard: Yard, config: Path) -> None:
    before = forwards(yard)
    assert "127.0.0.1" in yard.run("-J gate")
    assert forwards(yard) == before + 1
    assert "127.0.0.1" in yard.run("-o ProxyJump=gate,gate2")
    assert forwards(yard) == before + 3
    config.write_text(config.read_text() + "Match host 127.0.0.1 !originalhost gate,gate2\n ProxyJump gate\n")
    assert "127.0.0.1" in yard.run()
    assert forwards(yard) == before + 4
    shown = fingerprints("127.0.0.1", yard.target.port, 10, yard.settings("-J gate"))
    assert [k.line + "\n" for k in shown] == [yard.target.known]


@pytest.mark.parametrize("lost", ["gate", "target"])
def test_every_host_on_the_way_must_be_known(yard: Yard, config: Path, tmp_path: Path, lost: str) -> None:
    (tmp_path / "known_hosts").write_text(yard.target.known if lost == "gate" else yard.gate.known, encoding="utf-8")
    sshd = yard.gate if lost == "gate" else yard.target
    with pytest.raises(IdentityError, match=f"127.0.0.1 port {sshd.port} is not in known_hosts") as caught:
        yard.run("-J gate", **{FOLDER: str(tmp_path)})
    assert ("the jump host on the way to" in str(caught.value)) is (lost == "gate")
    stranger = f"[127.0.0.1]:{sshd.port} {public(yard.folder / 'stranger')}\n"
    with (tmp_path / "known_hosts").open("a", encoding="utf-8") as f:
        f.write(stranger)
    with pytest.raises(IdentityError, match="another host key"):
        yard.run("-J gate", **{FOLDER: str(tmp_path)})


def test_a_jump_host_that_fails_is_named(yard: Yard, config: Path) -> None:
    with pytest.raises(Unreachable, match=r"the jump host on the way to 127.0.0.1 .* failed: no.such.host.invalid"):
        yard.run("-J no.such.host.invalid")
    with pytest.raises(Unreachable, match=r"port 1 cannot be reached from the jump host 127.0.0.1 port"):
        yard.run("-J gate", ansible_port=1)
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("outer", "stranger"), encoding="utf-8")
    with pytest.raises(CredentialRefused, match=r"the jump host on the way to .* refused to let"):
        yard.run("-J gate")


def test_a_program_leads_there_without_a_shell(yard: Yard, tmp_path: Path) -> None:
    script = tmp_path / "lead there"
    script.write_text(
        "#!/usr/bin/env python3\nimport os, socket, sys, threading\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n    while d := os.read(0, 65536): s.sendall(d)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while d := s.recv(65536): os.write(1, d)\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    assert "127.0.0.1" in yard.run(f"-o 'ProxyCommand=exec \"{script}\" %h %p'")
    with pytest.raises(Unreachable, match="ProxyCommand that ended by itself"):
        yard.run("-o ProxyCommand=/bin/false")
    with pytest.raises(Unreachable, match="does not start"):
        yard.run("-o 'ProxyCommand=/no/such/program %h'")


def test_certificates_beside_the_key_and_named(yard: Yard, tmp_path: Path) -> None:
    key = keygen(tmp_path / "mine")
    with pytest.raises(CredentialRefused):
        yard.run(ansible_ssh_private_key_file=str(key))
    sign = ["ssh-keygen", "-q", "-s", str(yard.folder / "ca"), "-I", "me", "-n", ME, "-V", "+1h", f"{key}.pub"]
    subprocess.run(sign, check=True, timeout=60)
    assert yard.run(ansible_ssh_private_key_file=str(key))
    os.rename(tmp_path / "mine-cert.pub", tmp_path / "elsewhere.pub")
    with pytest.raises(CredentialRefused):
        yard.run(ansible_ssh_private_key_file=str(key))
    assert yard.run(f"-o CertificateFile={tmp_path}/elsewhere.pub", ansible_ssh_private_key_file=str(key))
    # A certificate of another key is passed over, and a spoilt one too.
    assert yard.run(f"-o CertificateFile={tmp_path}/elsewhere.pub")
    shutil.copy(yard.folder / "inner", tmp_path / "inner")
    (tmp_path / "inner-cert.pub").write_text("rubbish\n", encoding="utf-8")
    assert yard.run(ansible_ssh_private_key_file=str(tmp_path / "inner"))


def test_a_locked_key_may_be_open_in_the_agent(yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("ssh-agent") is None:
        pytest.skip("no ssh-agent on this machine")
    for end in ("", ".pub"):
        shutil.copy(yard.folder / f"inner{end}", tmp_path / f"locked{end}")
    lock = ["ssh-keygen", "-q", "-p", "-N", "opensesame", "-f", str(tmp_path / "locked")]
    subprocess.run(lock, check=True, timeout=60)
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "sock")], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "sock"))
        for _ in range(50):
            if subprocess.run(["ssh-add", "-q", str(yard.folder / "inner")], check=False, timeout=20).returncode == 0:
                break
        locked = {"ansible_ssh_private_key_file": str(tmp_path / "locked")}
        assert yard.run(**locked)
        assert yard.run(ansible_ssh_private_key_file="")
        with pytest.raises(SecretError, match="cannot be used"):
            yard.run("-o IdentityAgent=none", **locked)
    finally:
        agent.terminate()
        agent.wait(10)
