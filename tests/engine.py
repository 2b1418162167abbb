"""The PowerShell engine, where it is: named by SPIRITLEVEL_PWSH, or in the folder `shared` beside the checkout."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def beside(variable: str, *below: str) -> Path | None:
    """What an environment variable names, else what is beside the checkout (a worktree lies one deeper)."""
    named = os.environ.get(variable)
    places = [Path(named)] if named else [p / "shared" / Path(*below) for p in (ROOT.parent, ROOT.parent.parent)]
    return next((p for p in places if p.exists()), None)


def engine() -> Path:
    """The engine's program; skips the test where there is none."""
    found = beside("SPIRITLEVEL_PWSH", "tools", "pwsh", "bin", "pwsh-engine")
    if found is None:
        pytest.skip("no PowerShell engine: set SPIRITLEVEL_PWSH")
    return found


def run(*words: str, text: str | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the engine; standard input is `text`."""
    return subprocess.run([str(engine()), *words], input=text, capture_output=True, text=True, timeout=timeout)
