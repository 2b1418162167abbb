"""Where the files that ship with spiritlevel are: controls and profiles, fixes, page templates.

A checkout keeps them beside the package (`baselines/`, `playbooks/`, `reports/`), where people edit them;
a wheel carries them inside it, under `agent/_data/`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from agent.errors import SpiritlevelError

KINDS = ("baselines", "playbooks", "reports")


def data_dir(kind: str, package: Path | None = None) -> Path:
    """Folder of shipped files of `kind`: `baselines`, `playbooks` or `reports`. Absolute, and there.

    `package` is the folder of the `agent` package, for tests. Raises ValueError for another kind, and
    SpiritlevelError where the installation is damaged.
    """
    if kind not in KINDS:
        raise ValueError(f"no such kind of shipped files: {kind!r}; there are {', '.join(KINDS)}")
    package = (package or Path(__file__).parent).resolve()
    checkout = package.parent / kind
    # site-packages never holds a pyproject.toml, so a stray folder called `reports` there is not mistaken for ours.
    if (package.parent / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    installed = package / "_data" / kind
    if installed.is_dir():
        return installed
    raise SpiritlevelError(
        f"The files that ship with spiritlevel are not where they should be: {installed} is missing.",
        "Install spiritlevel again.",
    )


def tool(name: str) -> str:
    """Path of a program that comes with a library of ours (`ansible-vault`), the one beside this Python first."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.is_file() else name
