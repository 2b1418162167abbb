"""What pages are put together from: links, bars, and the lists that stand on several of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agent.model import Reason, School, TargetState, Verdict
from agent.render.snapshot import Row, RunInfo
from agent.render.summary import GONE, Standing, Summary, Tally
from agent.render.text import day, listing, slug

TREND_POINTS = 12
"""Runs in the trend, the newest last."""
_BRANDS = {"chromebooks": "Chromebooks", "ipads": "iPads", "macs": "Macs"}
_REASON_WORDS = frozenset({"not reached", *(r.value for r in Reason)})


@dataclass(frozen=True, slots=True)
class Link:
    """One entry of the navigation: `path` from the site's root."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of the coverage bar, in per cent of its width."""

    standing: str
    x: float
    width: float


def school_path(key: str) -> str:
    """Where a school's page is."""
    return f"schools/{slug(key)}.html"


def standard_path(standard_id: str) -> str:
    """Where a standard's page is."""
    return f"standards/{slug(standard_id)}.html"


def anchor(control: str) -> str:
    """The annex's anchor of a control."""
    return f"c-{slug(control)}"


def bars(tally: Tally) -> list[Bar]:
    """The coverage bar: what applies, by standing, in per cent; rounded, so that bytes repeat."""
    out, x = [], 0.0
    for standing in (Standing.MET, Standing.EXCEPTION, Standing.DRIFT, Standing.TO_ANSWER, Standing.UNKNOWN):
        width = 100 * getattr(tally, standing.value) / tally.due if tally.due else 0
        if width:
            out.append(Bar(standing.value, round(x, 2), round(width, 2)))
            x += width
    return out


def trend(runs: Iterable[RunInfo]) -> list[dict[str, Any]]:
    """The last runs: failing and unknown findings, with bars in per cent of the greatest number."""
    shown = sorted(runs, key=lambda r: (r.started, r.id))[-TREND_POINTS:]
    if len(shown) < 2:
        return []
    top = max(1, *(r.counts.get(v, 0) for r in shown for v in (Verdict.FAIL.value, Verdict.UNKNOWN.value)))
    return [
        {
            "day": f"{r.started.day} {r.started:%b %Y}",
            "fail": (fail := r.counts.get(Verdict.FAIL.value, 0)),
            "unknown": (unread := r.counts.get(Verdict.UNKNOWN.value, 0)),
            "fail_width": round(100 * fail / top, 1),
            "unknown_width": round(100 * unread / top, 1),
        }
        for r in shown
    ]


def not_scanned(school: School) -> list[str]:
    """`320 Chromebooks`: what the school has and nothing here looks at."""
    return [f"{n:,} {_BRANDS.get(name, name.replace('_', ' '))}" for name, n in sorted(school.not_scanned.items())]


def reasons(summary: Summary, rows: Iterable[Row]) -> str:
    words = {r.finding.reason.split(":", 1)[0].strip() if not _is_gone(summary, r) else "not reached" for r in rows}
    known = {w for w in words if w in _REASON_WORDS}
    return listing(sorted(known | ({"other reasons"} if words - known else set())))


def _is_gone(summary: Summary, row: Row) -> bool:
    target = summary.targets.get(row.finding.target)
    return target is not None and target.state in GONE


def gone(summary: Summary, school: str | None) -> list[dict[str, Any]]:
    return [
        {
            "name": t.name,
            "kind": t.kind.value,
            "school": summary.names.get(t.school or "", "Shared by schools"),
            "last": f"Last known on {day(t.as_of)}" if t.as_of else "Never read yet",
            "word": "Not seen" if t.state is TargetState.NOT_SEEN else "Not reached",
            "more": " It may be switched off; its checks stand as they were then."
            if t.state is TargetState.NOT_SEEN and t.as_of
            else "",
        }
        for t in summary.gone(school)
    ]


def not_scanned_all(schools: Iterable[School]) -> list[tuple[str, str]]:
    return [(s.name, listing(not_scanned(s), 9)) for s in schools if s.not_scanned]


def names(summary: Summary, keys: Iterable[str]) -> str:
    return listing([summary.names[k] for k in keys], 100)
