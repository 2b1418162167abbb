"""Findings → bundles of playbooks, and running them: preview (check mode), apply, and a scan of what was touched."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from agent.errors import SpiritlevelError
from agent.model import Target
from agent.plan import Planner, Selection
from agent.remediate.gather import Heap, check_fixes, content, heaps, task_files, undo_files, with_included
from agent.render.bundle import files
from agent.render.bundle_content import SHARED, Content
from agent.resources import data_dir
from agent.store import Store

MARK = "bundle.json"
"""What says that a folder is ours to replace."""
TRUST = "_trust"
"""The folder of what belongs to no single school. No school's key begins with an underscore."""


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """One bundle that was written. `school` is None for the trust's own; `targets` are the hosts in it."""

    school: str | None
    folder: Path
    content: Content
    targets: tuple[Target, ...]


def bundle(
    planner: Planner, store: Store, selection: Selection, out: Path, today: date | None = None
) -> list[BundleInfo]:
    """Write `out/remediation/<school>/` for every selected school with failing findings that no exception covers.

    `today` (default: now, in the trust's time zone) decides which exceptions hold. A bundle of before is replaced as a
    whole, and taken away where nothing is left to mend. The same findings give the same bytes. Raises `UsageError`,
    `ConfigError`, and `SpiritlevelError` where a folder is in the way that is not ours.
    """
    day = today or datetime.now(ZoneInfo(planner.trust.file.timezone)).date()
    done = []
    for key, heap in heaps(planner, store, selection, day).items():
        folder = out / "remediation" / (key or TRUST)
        if not (heap.steps or heap.ready or heap.manual or heap.left_out):
            _take_away(folder)
            continue
        info = BundleInfo(key, folder, content(planner, heap, day), tuple(heap.hosts[h] for h in sorted(heap.hosts)))
        _write(info, heap, planner.trust.folder)
        done.append(info)
    return done


def _write(info: BundleInfo, heap: Heap, trust: Path) -> None:
    with _swapped_in(info.folder) as new:
        for name, text in {**files(info.content), MARK: _mark(info)}.items():
            _put(new / name, text.encode())
        for hosts in heap.steps.values():
            control = next(iter(hosts.values()))[0].control
            for source in task_files(control, trust):
                _put(new / "tasks" / source.parent.name / source.name, source.read_bytes())
        for playbook in sorted({s.playbook for s in heap.ready}):
            for source in with_included(data_dir("playbooks") / playbook):
                _put(new / "tasks" / source.parent.name / source.name, source.read_bytes())
        for platform in sorted({SHARED[h.shared] for h in info.content.hosts if h.shared}):
            for source in undo_files(platform):
                _put(new / "tasks" / platform / source.name, source.read_bytes())


def _mark(info: BundleInfo) -> str:
    """The bundle for programs: steps with their hosts, and what is left to people."""
    body = {
        "school": info.school,
        "steps": [
            {
                "control": s.control,
                "risk": s.risk,
                "minutes": s.minutes,
                "reboot": s.reboot,
                "group": s.group,
                "hosts": list(s.hosts),
            }
            for s in info.content.steps
        ],
        "manual": [{"control": m.control, "target": m.target, "count": m.count} for m in info.content.manual],
        "left_out": list(info.content.left_out),
    }
    return json.dumps(body, indent=2, ensure_ascii=True) + "\n"


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@contextmanager
def _swapped_in(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` that takes its place once it is whole; a failure leaves the old one as it was."""
    _ours(folder)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))  # 0700
    try:
        yield new
        for sub in new.rglob("*"):
            sub.chmod(0o700 if sub.is_dir() else 0o600)
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        if folder.exists():
            os.replace(folder, old)  # an empty folder may be replaced
        try:
            os.replace(new, folder)
        except OSError:
            os.replace(old, folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _take_away(folder: Path) -> None:
    if folder.exists():
        _ours(folder)
        shutil.rmtree(folder)


def _ours(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not (folder / MARK).is_file()):
        raise SpiritlevelError(f"{folder} is there already and is no bundle.", "Move it away, or name another --out.")


__all__ = ["MARK", "TRUST", "BundleInfo", "bundle", "check_fixes"]
