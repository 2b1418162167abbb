"""The stand-in hosts, asked by paramiko and by the system's own ssh."""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.demo.ssh_server import HostFaults, HostScript, ReplayHosts

COMMAND = "exec sh -s"
SCRIPT = b"K=0123456789abcdef\n" + b"# a long script\n" * 4000


def private_key() -> str:
    return (
        Ed25519PrivateKey.generate()
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
        .decode()
    )


def parse(text: str) -> paramiko.PKey:
    return paramiko.Ed25519Key.from_private_key(io.StringIO(text))


PEM = private_key()
KEY, STRANGER = parse(PEM), parse(private_key())
PUBLIC = f"{KEY.get_name()} {KEY.get_base64()} scanner"


def echo(command: str, given: bytes) -> tuple[bytes, bytes, int]:
    """Tell what was asked: its length, its first line, and the command."""
    return given.partition(b"\n")[0] + b"|%d|" % len(given) + command.encode(), b"a word of warning\n", 3


def ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ssh-")]


@pytest.fixture
def hosts() -> Iterator[ReplayHosts]:
    scripts = {f"pc{n}": HostScript(echo) for n in range(3)} | {"off": HostScript(echo, down=True)}
    with ReplayHosts(scripts, PUBLIC) as running:
        yield running
    assert ours() == []


def connect(hosts: ReplayHosts, name: str, key: paramiko.PKey = KEY) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    for line in hosts.known_hosts_lines():
        entry = paramiko.hostkeys.HostKeyEntry.from_line(line)
        assert entry is not None
        assert entry.key is not None
        client.get_host_keys().add(entry.hostnames[0], entry.key.get_name(), entry.key)
    where = hosts.inventory_vars(name)
    try:
        client.connect(
            str(where["ansible_host"]), int(where["ansible_port"]), "svc-audit", pkey=key,
            allow_agent=False, look_for_keys=False, timeout=10, banner_timeout=10, auth_timeout=10,
        )  # fmt: skip
    except Exception:
        client.close()
        raise
    return client


def run(hosts: ReplayHosts, name: str, given: bytes = SCRIPT, *, end: bool = True) -> tuple[bytes, bytes, int]:
    """One connection and one command, as the collector does it."""
    client = connect(hosts, name)
    try:
        transport = client.get_transport()
        assert transport is not None
        channel = transport.open_session(timeout=10)
        channel.settimeout(10)
        channel.exec_command(COMMAND)
        channel.sendall(given)
        if end:
            channel.shutdown_write()
        out = b"".join(iter(lambda: channel.recv(65536), b""))
        err = b"".join(iter(lambda: channel.recv_stderr(65536), b""))
        return out, err, channel.recv_exit_status()
    finally:
        client.close()


def test_a_host_answers_with_what_it_is_given(hosts: ReplayHosts) -> None:
    expected = (b"K=0123456789abcdef|%d|exec sh -s" % len(SCRIPT), b"a word of warning\n", 3)
    assert run(hosts, "pc0") == expected
    assert run(hosts, "pc0", end=False) == expected  # a client that never ends its input is answered after a second
    assert run(hosts, "pc1", b"")[0] == b"|0|exec sh -s"


def test_large_answers_arrive_whole() -> None:
    big = bytes(range(256)) * 20_000
    with ReplayHosts({"big": HostScript(lambda command, given: (big, b"", 0))}, PUBLIC) as hosts:
        assert run(hosts, "big") == (big, b"", 0)


def test_many_at_once(hosts: ReplayHosts) -> None:
    def one(number: int) -> bytes:
        return run(hosts, f"pc{number % 3}", b"%d\n" % number)[0]

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(one, range(18)))
    assert answers == [b"%d|%d|exec sh -s" % (n, len(str(n)) + 1) for n in range(18)]


def test_one_connection_runs_several_commands(hosts: ReplayHosts) -> None:
    client = connect(hosts, "pc0")
    for command in ("id -u", "uname"):
        stdin, stdout, _ = client.exec_command(command)
        stdin.channel.shutdown_write()
        assert stdout.read() == b"|0|" + command.encode()
    client.close()


def test_each_host_has_its_own_key_and_port(hosts: ReplayHosts) -> None:
    lines = hosts.known_hosts_lines()
    assert len({line.split()[2] for line in lines}) == len({line.split()[0] for line in lines}) == 4
    assert all(line.startswith("[127.0.0.1]:") and " ssh-ed25519 " in line for line in lines)
    with pytest.raises(KeyError):
        hosts.inventory_vars("nobody")


def test_only_the_one_key_comes_in(hosts: ReplayHosts) -> None:
    with pytest.raises(paramiko.AuthenticationException):
        connect(hosts, "pc0", STRANGER)
    where = hosts.inventory_vars("pc0")
    transport = paramiko.Transport((str(where["ansible_host"]), int(where["ansible_port"])))
    transport.start_client(timeout=10)
    with pytest.raises(paramiko.BadAuthenticationType) as refused:
        transport.auth_password("svc-audit", "guess")
    assert refused.value.allowed_types == ["publickey"]
    with pytest.raises(paramiko.SSHException):
        transport.open_session(timeout=5)
    transport.close()


def test_commands_are_all_there_is(hosts: ReplayHosts) -> None:
    client = connect(hosts, "pc0")
    transport = client.get_transport()
    assert transport is not None
    for asked, arguments in (("invoke_shell", ()), ("invoke_subsystem", ("sftp",)), ("get_pty", ())):
        channel = transport.open_session(timeout=5)
        with pytest.raises(paramiko.SSHException):
            getattr(channel, asked)(*arguments)
    with pytest.raises(paramiko.SSHException):
        transport.open_channel("direct-tcpip", ("127.0.0.1", 1), ("127.0.0.1", 2), timeout=5)
    client.close()


def test_faults_on_demand(hosts: ReplayHosts) -> None:
    hosts.set_faults("pc0", HostFaults(refuse_auth=True))
    with pytest.raises(paramiko.AuthenticationException):
        connect(hosts, "pc0")
    hosts.set_faults("pc0", HostFaults(wrong_host_key=True))
    with pytest.raises(paramiko.BadHostKeyException):
        connect(hosts, "pc0")
    hosts.set_faults("pc0", HostFaults(flood_bytes=3_000_000))
    flooded = run(hosts, "pc0")[0]
    assert len(flooded) > 3_000_000
    assert flooded.endswith(b"|exec sh -s")
    hosts.set_faults("pc0", HostFaults(delay=0.4))
    before = time.monotonic()
    run(hosts, "pc0")
    assert time.monotonic() - before >= 0.4
    hosts.set_faults("pc0", HostFaults())
    assert run(hosts, "pc0")[2] == 3
    with pytest.raises(KeyError):
        hosts.set_faults("nobody", HostFaults())


def test_a_connection_cut_in_the_middle(hosts: ReplayHosts) -> None:
    hosts.set_faults("pc1", HostFaults(cut_after_bytes=5))
    out, _, code = run(hosts, "pc1")
    assert out in (b"K=012", b"")
    assert code == -1  # paramiko's word for: none came


def test_a_flood_ends_when_the_client_leaves(hosts: ReplayHosts) -> None:
    hosts.set_faults("pc2", HostFaults(flood_bytes=1 << 40))
    client = connect(hosts, "pc2")
    stdin, stdout, _ = client.exec_command(COMMAND)
    stdin.channel.shutdown_write()
    assert len(stdout.read(100_000)) == 100_000
    client.close()
    deadline = time.monotonic() + 5
    while any(name.startswith("ssh-pc2-command") for name in ours()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(name.startswith("ssh-pc2-command") for name in ours())


def test_a_host_that_is_down_refuses(hosts: ReplayHosts) -> None:
    with pytest.raises(OSError, match="Unable to connect"):
        connect(hosts, "off")


def test_closing_ends_every_thread_whatever_clients_do() -> None:
    scripts = {"hung": HostScript(echo, HostFaults(hang_after_auth=True)), "pc": HostScript(echo)}
    hosts = ReplayHosts(scripts, PUBLIC)
    client = connect(hosts, "hung")
    stdin, _, _ = client.exec_command(COMMAND)
    stdin.channel.shutdown_write()
    silent = socket.create_connection(("127.0.0.1", int(hosts.inventory_vars("pc")["ansible_port"])))
    noisy = socket.create_connection(("127.0.0.1", int(hosts.inventory_vars("pc")["ansible_port"])))
    noisy.sendall(b"GET / HTTP/1.0\r\n\r\n")
    time.sleep(0.3)
    assert any(name == "ssh-hung-command" for name in ours())
    before = time.monotonic()
    hosts.close()
    hosts.close()
    assert time.monotonic() - before < 4
    client.close()
    silent.close()
    noisy.close()
    assert ours() == []


@pytest.mark.parametrize("line", ["", "ssh-ed25519", "ssh-ed25519 ***", "ssh-foo AAAA", "ssh-ed25519 AAAA"])
def test_a_wrong_authorized_key_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="authorized key"):
        ReplayHosts({}, line)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="the system has no ssh client")
def test_the_systems_own_ssh_is_served(hosts: ReplayHosts, tmp_path: Path) -> None:
    identity, known = tmp_path / "id", tmp_path / "known_hosts"
    identity.write_text(PEM)
    identity.chmod(0o600)
    known.write_text("".join(f"{line}\n" for line in hosts.known_hosts_lines()))
    options = [
        "BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={known}", f"IdentityFile={identity}",
        "IdentitiesOnly=yes", "GlobalKnownHostsFile=/dev/null",
    ]  # fmt: skip
    done = subprocess.run(
        [
            "ssh", "-F", "none", *(part for option in options for part in ("-o", option)),
            "-p", str(hosts.inventory_vars("pc0")["ansible_port"]), "svc-audit@127.0.0.1", COMMAND,
        ],
        input=SCRIPT, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert done.stdout == b"K=0123456789abcdef|%d|exec sh -s" % len(SCRIPT)
