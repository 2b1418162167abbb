"""The SSH connector against a real sshd of this machine's own, and against hosts that behave badly."""

from __future__ import annotations

import base64
import contextlib
import getpass
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.connect import known_hosts
from agent.connect.ssh import fingerprints, open_ssh
from agent.connect.ssh_options import login
from agent.errors import Broken, CredentialRefused, IdentityError, SecretError, Unreachable
from agent.facts import linux
from agent.facts.protocol import Limits, Output
from agent.model import Kind, Reason, Target, TargetState, Unknown

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
# What each key's owner gets instead of the command that was asked for. `$SSH_ORIGINAL_COMMAND` is what was asked for.
FORCED = {
    "hang": "sleep 600",
    "flood": "head -c 100000000 /dev/zero",
    "trickle": "while :; do echo x; sleep 0.2; done",
    "noise": "head -c 3000 /dev/urandom; printf 'motd\\n' >&2; eval \"$SSH_ORIGINAL_COMMAND\"",
    "errors": "head -c 5000000 /dev/zero >&2; echo done",
    "killed": "echo half; sleep 1; kill -9 $PPID",
}


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    folder: Path

    def target(self, key: str = "good", **settings: Any) -> Target:
        known = settings.pop("known_hosts", self.folder / "known_hosts")
        return Target(
            "host",
            Kind.DEVICE,
            "linux",
            "school",
            {
                "ansible_host": "127.0.0.1",
                "ansible_port": self.port,
                "ansible_user": getpass.getuser(),
                "ansible_ssh_private_key_file": str(self.folder / key),
                "ansible_ssh_common_args": f"-o UserKnownHostsFile={known} -o GlobalKnownHostsFile=none",
                **settings,
            },
        )

    def run(
        self,
        key: str = "good",
        command: str = "echo out; echo err >&2; exit 3",
        stdin: bytes = b"",
        limits: Limits | None = None,
        **settings: Any,
    ) -> Output:
        limits = limits or Limits(20)
        with open_ssh(self.target(key, **settings), no_secret, limits) as shell:
            return shell.run(command, stdin, limits)


def no_secret(reference: str) -> str:
    raise SecretError(f"{reference} is not there.")


def public(path: Path) -> tuple[str, str]:
    kind, blob, *_ = path.read_text(encoding="utf-8").split()
    return kind, blob


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if SSHD is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no sshd on this machine")
    folder = tmp_path_factory.mktemp("sshd")
    for name, kind in [
        ("host_ed25519", "ed25519"),
        ("host_rsa", "rsa"),
        ("good", "ed25519"),
        ("bad", "ed25519"),
        *((n, "ed25519") for n in FORCED),
    ]:
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(folder / name)], check=True, timeout=60)
    keys = [" ".join(public(folder / "good.pub"))]
    keys += [f'command="sh {folder / n}.sh" ' + " ".join(public(folder / f"{n}.pub")) for n in FORCED]
    for name, command in FORCED.items():
        (folder / f"{name}.sh").write_text(command + "\n", encoding="utf-8")
    (folder / "authorized_keys").write_text("\n".join(keys) + "\n", encoding="utf-8")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd wants it when it starts as root
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_ed25519\nHostKey {folder}/host_rsa\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\nMaxStartups 100\n",
        encoding="utf-8",
    )
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.PIPE)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None:
                assert process.stderr is not None
                pytest.skip(f"sshd does not start here: {process.stderr.read()[-200:].decode(errors='replace')}")
            time.sleep(0.05)
        kind, blob = public(folder / "host_ed25519.pub")
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {blob}\n", encoding="utf-8")
        yield Server(port, folder)
    finally:
        process.terminate()
        process.wait(10)
        if process.stderr is not None:
            process.stderr.close()


# ---------------------------------------------------------------- the good case
def test_a_command_gives_output_errors_and_code(server: Server) -> None:
    out = server.run()
    assert out == Output(b"out\n", b"err\n", 3)


def test_standard_input_arrives_whole(server: Server) -> None:
    data = bytes(range(256)) * 4000
    out = server.run(command="sha256sum", stdin=data)
    assert out.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_the_collector_runs_over_it_and_sees_that_this_server_reads_another_file(server: Server) -> None:
    wanted = ["os", "users", "sshd", "sshd_match"]
    with open_ssh(server.target(), no_secret, Limits(60)) as shell:
        found = linux.collect(shell, wanted, Limits(60))
    assert "root" in {u["name"] for u in found.facts["users"].value}
    sshd = found.facts["sshd"].value
    assert isinstance(sshd, Unknown)
    assert sshd.reason is (Reason.UNREADABLE if os.geteuid() == 0 else Reason.PERMISSION)
    assert found.state is TargetState.PARTIAL


def test_noise_of_the_login_shell_is_passed_over(server: Server) -> None:
    with open_ssh(server.target("noise"), no_secret, Limits(60)) as shell:
        found = linux.collect(shell, ["os", "timezone"], Limits(60))
    assert not isinstance(found.facts["os"].value, Unknown)


# ---------------------------------------------------------------- whom we talk to
def test_a_host_that_nobody_knows_is_not_talked_to(server: Server, tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"not in known_hosts; it shows ssh-ed25519 SHA256:") as caught:
        server.run(known_hosts=tmp_path / "none")
    assert "doctor --learn-host-keys" in caught.value.hint


def test_a_changed_host_key_names_both_fingerprints(server: Server, tmp_path: Path) -> None:
    kind, blob = public(server.folder / "bad.pub")
    (tmp_path / "kh").write_text(f"[127.0.0.1]:{server.port} {kind} {blob}\n", encoding="utf-8")
    with pytest.raises(IdentityError, match="another host key") as caught:
        server.run(known_hosts=tmp_path / "kh")
    assert known_hosts.fingerprint(base64.b64decode(blob)) in str(caught.value)
    assert f"{tmp_path}/kh:1" in str(caught.value)


def test_the_type_that_is_known_is_the_type_that_is_asked_for(server: Server, tmp_path: Path) -> None:
    kind, blob = public(server.folder / "host_rsa.pub")
    (tmp_path / "kh").write_text(f"[127.0.0.1]:{server.port} {kind} {blob}\n", encoding="utf-8")
    assert server.run(known_hosts=tmp_path / "kh").rc == 3


def test_a_type_that_the_host_has_not_is_an_identity_error(server: Server, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(tmp_path / "k")], check=True, timeout=60)
    kind, blob = public(tmp_path / "k.pub")
    (tmp_path / "kh").write_text(f"[127.0.0.1]:{server.port} {kind} {blob}\n", encoding="utf-8")
    with pytest.raises(IdentityError, match="none of the host keys that are known"):
        server.run(known_hosts=tmp_path / "kh")


def test_a_revoked_key_is_refused_even_where_it_is_known(server: Server, tmp_path: Path) -> None:
    kind, blob = public(server.folder / "host_ed25519.pub")
    name = f"[127.0.0.1]:{server.port}"
    (tmp_path / "kh").write_text(f"{name} {kind} {blob}\n@revoked * {kind} {blob}\n", encoding="utf-8")
    with pytest.raises(IdentityError, match="revoked"):
        server.run(known_hosts=tmp_path / "kh")


def test_hashed_names_and_aliases_are_found(server: Server, tmp_path: Path) -> None:
    kind, blob = public(server.folder / "host_ed25519.pub")
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, f"[alias]:{server.port}".encode(), hashlib.sha1).digest()
    hashed = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
    (tmp_path / "kh").write_text(f"# comment\n\nbroken\n{hashed} {kind} {blob}\n", encoding="utf-8")
    args = f"-o UserKnownHostsFile={tmp_path}/kh -o HostKeyAlias=alias"
    assert server.run(ansible_ssh_common_args=args).rc == 3


def test_fingerprints_are_those_of_ssh_keygen(server: Server) -> None:
    found = {k.type: k for k in fingerprints("127.0.0.1", server.port)}
    assert set(found) == {"ssh-ed25519", "ssh-rsa"}
    said = subprocess.run(
        ["ssh-keygen", "-lf", str(server.folder / "host_ed25519.pub")],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    ).stdout
    assert found["ssh-ed25519"].fingerprint in said
    assert found["ssh-ed25519"].line.startswith(f"[127.0.0.1]:{server.port} ssh-ed25519 ")


# ---------------------------------------------------------------- who we are
def test_a_refused_key_is_a_refused_credential(server: Server) -> None:
    with pytest.raises(CredentialRefused, match="refused to let"):
        server.run("bad")


def test_a_missing_key_file_is_named(server: Server) -> None:
    with pytest.raises(SecretError, match="nowhere is not there"):
        server.run("nowhere")


def test_a_key_with_a_passphrase_takes_it_by_reference(server: Server, tmp_path: Path) -> None:
    shutil.copy(server.folder / "good", tmp_path / "locked")
    lock = ["ssh-keygen", "-q", "-p", "-N", "opensesame", "-f", str(tmp_path / "locked")]
    subprocess.run(lock, check=True, timeout=60)
    with pytest.raises(SecretError, match="passphrase is missing or wrong"):
        server.run(ansible_ssh_private_key_file=str(tmp_path / "locked"))
    target = server.target(
        ansible_ssh_private_key_file=str(tmp_path / "locked"), ansible_ssh_private_key_passphrase="env:WORD"
    )
    with open_ssh(target, {"env:WORD": "opensesame"}.__getitem__, Limits(20)) as shell:
        assert shell.run("true", b"", Limits(20)).rc == 0


def test_a_password_that_is_not_taken_is_a_refused_credential(server: Server) -> None:
    target = server.target("bad", ansible_password="env:WORD")
    with pytest.raises(CredentialRefused), open_ssh(target, {"env:WORD": "guess"}.__getitem__, Limits(20)):
        pass


# ---------------------------------------------------------------- hosts that behave badly
def test_a_host_that_hangs_costs_its_own_time_only(server: Server) -> None:
    begin = time.monotonic()
    out = server.run("hang", limits=Limits(4))
    assert out.timed_out
    assert out.rc is None
    assert time.monotonic() - begin < 10


def test_a_host_that_trickles_ends_at_its_limit_and_keeps_what_came(server: Server) -> None:
    begin = time.monotonic()
    out = server.run("trickle", limits=Limits(4))
    assert out.timed_out
    assert out.stdout.startswith(b"x\n")
    assert time.monotonic() - begin < 10


def test_a_flood_is_cut_at_the_limit(server: Server) -> None:
    out = server.run("flood", limits=Limits(60, 1 << 20))
    assert out.truncated
    assert len(out.stdout) == 1 << 20
    assert out.rc is None


def test_a_flood_of_errors_neither_stalls_nor_stays(server: Server) -> None:
    out = server.run("errors")
    assert out.stdout == b"done\n"
    assert len(out.stderr) == 64 << 10


def test_a_connection_that_dies_keeps_what_came(server: Server) -> None:
    out = server.run("killed")
    assert out.stdout == b"half\n"
    assert out.rc is None


def serve(behave: Callable[[socket.socket], None]) -> tuple[int, socket.socket]:
    """A listener on loopback that treats each caller by `behave`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def loop() -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            with caller, contextlib.suppress(OSError):
                behave(caller)

    threading.Thread(target=loop, daemon=True).start()
    return listener.getsockname()[1], listener


def silent(caller: socket.socket) -> None:
    while caller.recv(1000):
        pass


def drip(caller: socket.socket) -> None:
    caller.sendall(b"SSH-2.0-drip\r\n")
    for _ in range(200):
        caller.sendall(b"\0")
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("behave", "kind"),
    [
        (silent, (Unreachable, Broken)),
        (drip, (Unreachable, Broken)),
        (lambda c: c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 50), Broken),
        (lambda c: c.sendall(os.urandom(50_000)), Broken),
        (lambda c: None, Broken),
    ],
    ids=["silent", "drip", "http", "garbage", "closes"],
)
def test_what_is_no_ssh_server_is_told_in_one_sentence(behave: Any, kind: Any) -> None:
    port, listener = serve(behave)
    begin = time.monotonic()
    target = Target("host", Kind.DEVICE, "linux", "s", {"ansible_host": "127.0.0.1", "ansible_port": port})
    try:
        with pytest.raises(kind) as caught, open_ssh(target, no_secret, Limits(3)):
            pass
    finally:
        listener.close()
    assert time.monotonic() - begin < 10
    assert "Traceback" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_closed_port_and_an_unknown_name_are_unreachable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for settings in ({"ansible_host": "127.0.0.1", "ansible_port": port}, {"ansible_host": "no.such.host.invalid"}):
        target = Target("h", Kind.DEVICE, "linux", "s", settings)
        with pytest.raises(Unreachable), open_ssh(target, no_secret, Limits(10)):
            pass


# ---------------------------------------------------------------- the inventory's words
def test_options_are_read_as_ssh_reads_them() -> None:
    want = login(
        "h1",
        {
            "ansible_ssh_common_args": "-C -oPort=2222 -o 'UserKnownHostsFile=/a /b' -l ann",
            "ansible_ssh_extra_args": "-o Port=9 -o IdentitiesOnly=yes -i /k1",
        },
    )
    assert (want.host, want.port, want.user) == ("h1", 2222, "ann")
    assert want.key_files == (Path("/k1"),)
    assert want.identities_only
    assert want.known_hosts[:2] == (Path("/a"), Path("/b"))


def test_variables_win_over_options_and_strictness_cannot_be_switched_off() -> None:
    want = login(
        "h1",
        {
            "ansible_host": "10.0.0.1",
            "ansible_port": 22,
            "ansible_user": "bob",
            "ansible_ssh_common_args": "-o Port=2222 -o User=ann -o StrictHostKeyChecking=no "
            "-o UserKnownHostsFile=/dev/null -o GlobalKnownHostsFile=none",
        },
    )
    assert (want.host, want.port, want.user) == ("10.0.0.1", 22, "bob")
    assert want.known_hosts == ()


@pytest.mark.parametrize(
    "arguments", ["-J a/b", "-o ProxyJump=,", "-o 'ProxyCommand=nc %h %p | tee log'", "-o 'unclosed"]
)
def test_a_way_there_that_is_not_spoken_is_said(arguments: str) -> None:
    with pytest.raises(Unreachable):
        login("h1", {"ansible_ssh_common_args": arguments})


@pytest.mark.parametrize(
    ("line", "hit"),
    [
        ("host.example ssh-x", True),
        ("*.example ssh-x", True),
        ("*.example,!host.example ssh-x", False),
        ("[host.example]:2222 ssh-x", False),
        ("HOST.example ssh-x", True),
        ("other ssh-x", False),
        ("host?example ssh-x", True),
    ],
)
def test_names_in_known_hosts(tmp_path: Path, line: str, hit: bool) -> None:
    blob = base64.b64encode(b"\0\0\0\5ssh-xrest").decode()
    (tmp_path / "kh").write_text(f"{line} {blob}\n", encoding="utf-8")
    assert bool(known_hosts.lookup([tmp_path / "kh"], "Host.example", 22).keys) is hit


def test_a_line_whose_key_is_of_another_type_is_void(tmp_path: Path) -> None:
    blob = base64.b64encode(b"\0\0\0\5ssh-xrest").decode()
    (tmp_path / "kh").write_text(f"h ssh-y {blob}\nh ssh-x ???\n", encoding="utf-8")
    assert not known_hosts.lookup([tmp_path / "kh"], "h", 22).keys
