"""Real SSH servers of the tests' own, on loopback."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")


def keygen(path: Path, *more: str) -> Path:
    """A new key without a passphrase, unless `more` says so."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", *more, "-f", str(path)], check=True, timeout=60)
    return path


def public(path: Path) -> str:
    """`type blob` of a private key's public half."""
    return " ".join(Path(f"{path}.pub").read_text(encoding="utf-8").split()[:2])


@dataclass(frozen=True, slots=True)
class Sshd:
    """A server: its port, the line for known_hosts, and its log."""

    port: int
    folder: Path

    @property
    def known(self) -> str:
        """The line of known_hosts."""
        return f"[127.0.0.1]:{self.port} {public(self.folder / 'host')}\n"

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "log").read_text(encoding="utf-8")


@contextlib.contextmanager
def sshd(folder: Path, authorized: str, *config: str) -> Iterator[Sshd]:
    """Run a server that lets in the keys of `authorized`; skips the test where there is no sshd."""
    if SSHD is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no sshd on this machine")
    folder.mkdir(parents=True, exist_ok=True)
    keygen(folder / "host")
    (folder / "authorized_keys").write_text(authorized, encoding="utf-8")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd wants it when it starts as root
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder}/host",
        f"AuthorizedKeysFile {folder}/authorized_keys",
        *("StrictModes no", "UsePAM no", "PasswordAuthentication no", "KbdInteractiveAuthentication no"),
        *("PermitRootLogin prohibit-password", "PidFile none", "LogLevel VERBOSE", *config),
    ]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
        try:
            for _ in range(100):
                with socket.socket() as probe:
                    probe.settimeout(1)
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if process.poll() is not None:
                    pytest.skip("sshd does not start here")
                time.sleep(0.05)
            yield Sshd(port, folder)
        finally:
            process.terminate()
            process.wait(10)


ME = getpass.getuser()
