"""N real, separate Linux hosts on this machine, each with its own root, namespaces, systemd, sshd and host key."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from tests.lab.slots import RUN_ROOT, Slot

HERE = Path(__file__).resolve().parent
SCRIPT = HERE / "host" / "host-lab.sh"
SLOTS = 16


class LabError(RuntimeError):
    """A lab could not be made or does not answer; the message says what to look at."""


@dataclass(frozen=True, slots=True)
class DriftItem:
    """One departure that can be planted: its name, what it does, the rows that must then fail, or its trouble word."""

    name: str
    what: str
    rows: frozenset[str]
    trouble: str | None


def drift_items() -> dict[str, DriftItem]:
    """Every item that `HostLab.start` knows, by name, in the order of host/drift.tsv."""
    items = {}
    for line in (HERE / "host" / "drift.tsv").read_text(encoding="utf-8").splitlines():
        name, what, words = line.split("\t")
        marks = words.split()
        trouble = next((mark[2:] for mark in marks if mark.startswith("E:")), None)
        items[name] = DriftItem(name, what, frozenset(mark for mark in marks if not mark.startswith("E:")), trouble)
    return items


def _script(
    *words: str, slot: int = 0, check: bool = True, timeout: float | None = 600
) -> subprocess.CompletedProcess[str]:
    """Run host-lab.sh; raises LabError with its own words when it fails."""
    done = subprocess.run(
        ["bash", str(SCRIPT), *words],
        env={**os.environ, "SLOT": str(slot), "SPIRITLEVEL_LAB_RUN": str(RUN_ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    if check and done.returncode != 0:
        raise LabError(f"host-lab.sh {' '.join(words)}: {(done.stderr or done.stdout).strip() or 'failed'}")
    return done


class HostLab:
    """A set of hosts `h001`, `h002`, … on a bridge of their own. Use as a context manager, or call `stop`.

    What a host is set up to be wrong is in `truth` (row ids of the Linux checks) and `trouble` (how it resists being
    read). A host without drift items is in the state that `SITE_PARAMETERS` describes.
    """

    # The site's own values that a host without drift agrees with (names as in the shipped parameters).
    SITE_PARAMETERS: ClassVar[Mapping[str, Any]] = {
        "time_servers": ["ntp1.trust.test", "ntp2.trust.test"],
        "dns_servers": ["10.77.0.53"],
        "log_servers": ["log.trust.test"],
        "linux_admins": ["tech1"],
        "passwordless_sudo_accounts": ["scan"],
        "required_packages": {"trust-agent": "2.0"},
    }

    def __init__(self) -> None:
        self._slot: Slot | None = None
        self.start_seconds = 0.0
        self.login = "scan"

    # ------------------------------------------------------------------ life
    @staticmethod
    def available() -> tuple[bool, str]:
        """Whether this machine can make hosts, and if not, why not in a few words."""
        if os.geteuid() != 0:
            return False, "needs root"
        probe = _script("probe", check=False)
        return probe.returncode == 0, probe.stdout.strip() or probe.stderr.strip()

    @staticmethod
    def build() -> None:
        """Make the golden image now if it is not in the cache (about half a minute, once)."""
        _script("build")

    def start(
        self,
        n: int,
        drift: Mapping[str, Iterable[str]] | None = None,
        *,
        init: str = "systemd",
        login: str = "scan",
    ) -> Self:
        """Start hosts h001 to hNNN and wait until every sshd greets.

        `drift` gives items by host name; a host without any is clean. `init` is "systemd", or "lite" for sshd only
        (then facts that come from systemctl cannot be read). `login` is "scan" (sudo without a password) or "root".
        Raises LabError.
        """
        if self._slot is not None:
            raise LabError("this lab is already running: stop it first")
        known = drift_items()
        lines = []
        for host, items in (drift or {}).items():
            names = list(items)
            unknown = [name for name in names if name not in known]
            if unknown or host not in {f"h{i:03d}" for i in range(1, n + 1)}:
                raise LabError(f"no such drift item or host: {host} {' '.join(unknown)}".strip())
            lines.append(f"{host} {' '.join(names) or '-'}\n")
        self._slot = self._take_slot()
        atexit.register(self.stop)
        self.login = login
        try:
            _script("build", slot=self._slot.number)
            begin = time.monotonic()
            self._slot.note = "started\n"
            plan = RUN_ROOT / f"drift-{self._slot.number}"
            plan.write_text("".join(lines), encoding="utf-8")
            words = ["start", str(n), "--drift", str(plan), "--init", init, "--login", login]
            try:
                _script(*words, slot=self._slot.number, timeout=None)
            finally:
                plan.unlink(missing_ok=True)
            self.start_seconds = time.monotonic() - begin
        except BaseException:
            self.stop()
            raise
        return self

    def _take_slot(self) -> Slot:
        """The first free slot; leftovers of dead owners are cleared away on the way, in every slot."""
        mine: Slot | None = None
        for number in range(SLOTS):
            slot = Slot.try_take("hosts", number)
            if slot is None:
                continue
            if slot.note:
                _script("stop", slot=number)
                slot.note = ""
            if mine is None:
                mine = slot
            else:
                slot.release()
        if mine is None:
            raise LabError(f"all {SLOTS} host labs are in use")
        return mine

    def stop(self) -> None:
        """Stop every host and remove every trace; does nothing when already stopped."""
        if self._slot is None:
            return
        slot, self._slot = self._slot, None
        atexit.unregister(self.stop)
        try:
            _script("stop", slot=slot.number)
            slot.note = ""
        finally:
            slot.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ------------------------------------------------------------------ what is there
    @property
    def number(self) -> int:
        """The slot this lab runs in. Raises LabError when it is not running."""
        if self._slot is None:
            raise LabError("the lab is not running")
        return self._slot.number

    @property
    def run_dir(self) -> Path:
        """Folder with the files that describe this lab."""
        return RUN_ROOT / f"hosts-{self.number}"

    @property
    def inventory(self) -> Path:
        """An Ansible inventory of the hosts."""
        return self.run_dir / "inventory.ini"

    @property
    def known_hosts(self) -> Path:
        """The true host keys (a host with `keychange` has another)."""
        return self.run_dir / "known_hosts"

    @property
    def key_file(self) -> Path:
        """Private key that `login` and root may log in with."""
        return self.run_dir / "id_ed25519"

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`: names, addresses, key and strict host keys."""
        return self.run_dir / "ssh_config"

    @property
    def addresses(self) -> dict[str, str]:
        """Host name to address, in order."""
        rows = (line.split() for line in (self.run_dir / "hosts").read_text(encoding="utf-8").splitlines())
        return {row[0]: row[1] for row in rows}

    @property
    def items(self) -> dict[str, tuple[str, ...]]:
        """Host name to its planted items, clean hosts included."""
        rows = (line.split() for line in (self.run_dir / "hosts").read_text(encoding="utf-8").splitlines())
        return {row[0]: tuple(item for item in row[3:] if item != "-") for row in rows}

    @property
    def truth(self) -> dict[str, set[str]]:
        """Host name to the row ids that must fail there (empty for a clean host)."""
        known = drift_items()
        return {host: {row for item in items for row in known[item].rows} for host, items in self.items.items()}

    @property
    def trouble(self) -> dict[str, set[str]]:
        """Host name to how it resists: partial noise slow unreachable hostkey missing hang flood."""
        known = drift_items()
        return {host: {word for item in items if (word := known[item].trouble)} for host, items in self.items.items()}

    # ------------------------------------------------------------------ doing things to a host
    def exec(self, host: str, command: str, *, check: bool = True, timeout: float = 60) -> str:
        """Run a shell command as root inside a host, past ssh; returns its output. Raises LabError when it fails."""
        done = _script("exec", host, "/bin/sh", "-c", command, slot=self.number, check=False, timeout=timeout)
        if check and done.returncode != 0:
            raise LabError(f"{host}: {command!r} gave {done.returncode}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def pid(self, host: str) -> int:
        """Process id, seen from here, of the host's first process. Raises LabError."""
        return int(_script("pid", host, slot=self.number).stdout)

    def ssh(
        self, host: str, command: str, *, options: Sequence[str] = (), timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with the system's ssh client: this lab's key, strict host keys, no questions."""
        return subprocess.run(
            ["ssh", "-F", str(self.ssh_config), *options, host, command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )

    def stop_host(self, host: str) -> None:
        """Take sshd away: new connections are refused at once (sessions that are open stay). `start_host` undoes it."""
        self.exec(host, "systemctl stop ssh.service ssh.socket 2>/dev/null; exit 0")
        self._await(host, listening=False)

    def start_host(self, host: str) -> None:
        """Bring sshd back and wait until it greets."""
        self.exec(host, "systemctl start ssh.service")
        self._await(host, listening=True)

    def unplug(self, host: str) -> None:
        """Pull the cable: packets vanish, nothing is refused. `plug` undoes it."""
        self._link(host, "down")

    def plug(self, host: str) -> None:
        """Put the cable back and wait until sshd greets."""
        self._link(host, "up")
        self._await(host, listening=True)

    def reset(self, *hosts: str) -> None:
        """A fresh copy of these hosts, with the same drift and host key, as just after `start`."""
        _script("reset", *hosts, slot=self.number)

    def _link(self, host: str, state: str) -> None:
        if host not in self.addresses:
            raise LabError(f"no such host: {host}")
        subprocess.run(["ip", "link", "set", f"sl{self.number}-{host}", state], check=True, capture_output=True)

    def _await(self, host: str, *, listening: bool, seconds: float = 15) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._greets(host) is listening:
                return
            time.sleep(0.05)
        raise LabError(f"{host}: sshd is still {'away' if listening else 'there'} after {seconds:g} s")

    def _greets(self, host: str) -> bool:
        try:
            with socket.create_connection((self.addresses[host], 22), timeout=2) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False
