"""Windows machines to scan, where the stand-ins for them are: a folder with `winlab.py`, and the PowerShell engine.

Neither is part of this project. SPIRITLEVEL_WINDOWS_LAB names the folder; else it is looked for beside the checkout.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SITE_PARAMETERS: dict[str, Any] = {
    "dns_servers": ["10.77.0.53"],
    "time_servers": ["ntp1.trust.test", "ntp2.trust.test"],
    "local_administrators": ["Administrator", "RIVERSIDE\\Domain Admins", "RIVERSIDE\\School-IT"],
}
"""What the lab's clean machines agree with."""

_ITEMS = """
import json, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import items, machines
kinds = {k: machines.Machine("w001", k, "1") for k in machines.KINDS}
print(json.dumps([{"name": i["name"], "rows": i["rows"], "slot": i["slot"],
    "kinds": [k for k, m in kinds.items() if i["on"](m)]} for i in items.ITEMS.values()]))
"""


@dataclass(frozen=True, slots=True)
class Item:
    """Something that can be planted: the rows that fail then (`E:word` for trouble), and its `slot`, one item each."""

    name: str
    rows: frozenset[str]
    slot: str
    kinds: tuple[str, ...]

    @property
    def trouble(self) -> bool:
        """Whether it stands in the collector's way instead of being drift."""
        return any(row.startswith("E:") for row in self.rows)


def folder() -> Path | None:
    """The lab's folder, if there is one."""
    named = os.environ.get("SPIRITLEVEL_WINDOWS_LAB")
    places = [Path(named)] if named else [p / "shared/labs/windows" for p in ROOT.parents[:2]]
    return next((p for p in places if (p / "winlab.py").is_file()), None)


def engine() -> Path | None:
    """The PowerShell engine, if there is one."""
    named, lab = os.environ.get("SPIRITLEVEL_PWSH"), folder()
    found = Path(named) if named else lab.parents[1] / "tools/pwsh/bin/pwsh-engine" if lab else None
    return found if found and os.access(found, os.X_OK) else None


def available(*, sshd: bool = True) -> tuple[bool, str]:
    """Whether the lab can be used here, and what is missing."""
    if folder() is None:
        return False, "needs the Windows lab (SPIRITLEVEL_WINDOWS_LAB)"
    if engine() is None:
        return False, "needs the PowerShell engine (SPIRITLEVEL_PWSH)"
    if sshd and not shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        return False, "needs openssh-server"
    return True, ""


def items() -> list[Item]:
    """Everything that the lab can plant."""
    done = subprocess.run(
        [sys.executable, "-c", _ITEMS, str(folder())], capture_output=True, text=True, timeout=120, check=True
    )
    return [Item(i["name"], frozenset(i["rows"]), i["slot"], tuple(i["kinds"])) for i in json.loads(done.stdout)]


class WindowsLab:
    """Machines with what was planted on them. Use as a context manager, or `close` it."""

    def __init__(self, machines: Mapping[str, tuple[str, Sequence[str]]], seed: str = "1") -> None:
        """`machines`: name to (kind, items). They are made at once; `start` puts an sshd before each."""
        self.dir = Path(tempfile.mkdtemp(prefix="spiritlevel-windows-"))
        self.dir.chmod(0o755)
        self._up = False
        drift = self.dir / "wanted"
        drift.write_text("".join(f"{n} kind={k} {' '.join(i) or '-'}\n" for n, (k, i) in machines.items()))
        self._lab("make", str(len(machines)), "--drift", str(drift), "--seed", seed)

    def __enter__(self) -> WindowsLab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, port: int = 43201) -> WindowsLab:
        """Start every machine's sshd, on the first free ports from `port`."""
        self._lab("start", "--port", str(port))
        self._up = True
        return self

    def close(self) -> None:
        """Stop what was started, and remove the machines."""
        if self._up:
            self._lab("stop")
        shutil.rmtree(self.dir, ignore_errors=True)

    def run(self, machine: str, script: str, seconds: float = 120.0) -> bytes:
        """What a script writes on a machine's engine, without SSH."""
        done = subprocess.run(
            [*self._command(), "run", "--dir", str(self.dir), "--calls", str(self.calls(machine)), machine, "-"],
            input=script.encode("ascii"),
            capture_output=True,
            timeout=seconds,
        )
        return done.stdout

    def calls(self, machine: str) -> Path:
        """File with one line per cmdlet, class and program that scripts used on a machine."""
        return self.dir / f"calls-{machine}"

    @property
    def inventory(self) -> Path:
        """The inventory of a started lab."""
        return self.dir / "run" / "inventory.ini"

    @property
    def truth(self) -> dict[str, set[str]]:
        """Machine to the rows that must fail."""
        out: dict[str, set[str]] = {}
        for line in (self.dir / "truth.tsv").read_text().splitlines():
            name, _, rows = line.split("\t")
            out.setdefault(name, set()).update(r for r in rows.split() if not r.startswith("E:"))
        return out

    @property
    def unknown(self) -> dict[str, tuple[set[str], set[str]]]:
        """Machine to (rows that cannot be read there, rows that may be unknown); `*` is every row."""
        out: dict[str, tuple[set[str], set[str]]] = {}
        for line in (self.dir / "unknown.tsv").read_text().splitlines():
            name, _, never, perhaps = line.split("\t")
            out[name] = (set(never.split()), set(perhaps.split()))
        return out

    def _command(self) -> list[str]:
        return [sys.executable, str((folder() or Path()) / "winlab.py")]

    def _lab(self, verb: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._command(), verb, *arguments, "--dir", str(self.dir)], capture_output=True, text=True, timeout=120
        )
        if done.returncode:
            raise RuntimeError(f"winlab {verb}: {done.stdout.strip()} {done.stderr.strip()}")


def spread(found: Sequence[Item], kinds: Sequence[str]) -> dict[str, tuple[str, list[str]]]:
    """Drift items over one machine of each kind, and further ones where they do not fit: no two that touch the same
    thing or break the same row are together, so none hides another. Those of the fewest kinds are placed first."""
    machines: list[tuple[str, list[Item]]] = [(kind, []) for kind in kinds]
    for item in sorted(found, key=lambda i: (not i.name.startswith("os-"), len(i.kinds))):
        fits = [
            m
            for m in machines
            if m[0] in item.kinds and all(item.slot != x.slot and not item.rows & x.rows for x in m[1])
        ]
        if not fits:
            fits = [(item.kinds[0], [])]
            machines += fits
        min(fits, key=lambda m: len(m[1]))[1].append(item)
    return {f"d{n:03d}": (kind, [i.name for i in there]) for n, (kind, there) in enumerate(machines, 1)}
