"""When targets were read, and when they were first tried."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from agent.model import TargetState
from agent.store.tables import RESULTS, RUNS

READ = (TargetState.COLLECTED.value, TargetState.PARTIAL.value)
"""States in which something was really read."""


def last_read(db: Connection, target_id: str) -> datetime | None:
    """When a target was last really read, or None."""
    query = select(func.max(RESULTS.c.as_of)).where(RESULTS.c.target == target_id, RESULTS.c.state.in_(READ))
    when = db.execute(query).scalar()
    return datetime.fromisoformat(when) if when else None


def first_tried(db: Connection, target_id: str) -> datetime | None:
    """When a target was first tried, or None."""
    when = db.execute(select(func.min(RESULTS.c.as_of)).where(RESULTS.c.target == target_id)).scalar()
    return datetime.fromisoformat(when) if when else None


def all_controls() -> list[Any]:
    """Conditions that leave out runs which were narrowed to some controls."""
    return [RUNS.c.selection.not_like(f'%"{word}"%') for word in ("controls", "themes", "severity")]


def after(run_id: str) -> str:
    """The next possible id of a run."""
    head, _, tail = run_id.rpartition("-")
    return f"{head}-{int(tail, 16) + 1:04x}" if tail != "ffff" else f"{run_id}-0000"
