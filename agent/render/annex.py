"""What the working pages say: the technical annex and the register of exceptions and answers. Pure.

These two name items and people, and say so on the page; leaders' pages do not.
"""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from typing import Any

from agent.model import Change
from agent.render.advice import fix_sentence
from agent.render.parts import anchor
from agent.render.snapshot import ExceptionState, Row
from agent.render.summary import WORST_FIRST, Standing, Summary
from agent.render.text import day, shorten

OPEN_ROWS = 500
"""Findings that are not met written out for one control. The NDJSON and CSV files hold all of them."""
SETTLED_ROWS = 100
"""Findings that are met or do not apply, likewise."""
LABELS = 50
"""Offender labels written out for one finding."""
_TEXT = 400

_WORDS = {
    Change.NEW: "new",
    Change.REGRESSED: "slipped",
    Change.PERSISTING: "still so",
    Change.RESOLVED: "put right",
    Change.LOST_SIGHT: "out of sight",
    Change.RETIRED: "retired",
    Change.REBASELINED: "rule changed",
    Change.NONE: "",
}


def annex_page(summary: Summary) -> dict[str, Any]:
    """Every finding, by theme and control: what is not met first and in full, the rest folded away."""
    by_control: dict[str, list[Row]] = defaultdict(list)
    for row in summary.rows:
        by_control[row.finding.control].append(row)
    themes = []
    for theme in summary.themes():
        ids = sorted(
            (c for c in by_control if summary.control(c).theme == theme),
            key=lambda c: (-summary.control(c).severity.rank, c),
        )
        themes.append({"name": theme, "controls": [_control(summary, c, by_control[c]) for c in ids]})
    snap = summary.snapshot
    states = [
        {
            "as_of": f"{day(t.as_of)}, {t.as_of:%H:%M} UTC" if t.as_of else "never",
            "id": t.id,
            "kind": t.kind.value,
            "platform": t.platform,
            "state": t.state.value.replace("_", " "),
            "detail": shorten(t.detail, _TEXT),
        }
        for t in sorted(snap.targets, key=lambda t: (t.school or "", t.id))
    ]
    return {"themes": themes, "targets": states, "labels": LABELS}


def register_page(summary: Summary) -> dict[str, Any]:
    """Exceptions, expired first, with the true verdicts beside them; and the answers that people gave."""
    rank = list((ExceptionState.EXPIRED, ExceptionState.EXPIRING, ExceptionState.ACTIVE))
    exceptions = []
    for e in sorted(
        summary.snapshot.exceptions,
        key=lambda e: (rank.index(e.state), e.expires, e.control, e.school or "", e.target or ""),
    ):
        control = summary.snapshot.controls.get(e.control)
        exceptions.append(
            {
                "control": e.control,
                "title": control.title if control else e.control,
                "anchor": anchor(e.control) if control else "",
                "where": _scope(summary, e.school, e.target, e.group),
                "reason": e.reason,
                "owner": e.owner,
                "expires": day(e.expires),
                "state": e.state.value,
                "verdicts": _verdicts(summary, e.control, e.school, e.target, e.group),
            }
        )
    questions = {r.id: r.attest or r.title for s in summary.snapshot.standards for r in s.requirements}
    answers = [
        {
            "subject": a.subject,
            "question": a.question or questions.get(a.subject, ""),
            "school": summary.names.get(a.school, a.school) if a.school else "Every school",
            "met": a.met,
            "by": a.by,
            "date": day(a.given),
            "expires": day(a.expires),
            "current": a.given <= summary.today <= a.expires,
            "evidence": a.evidence,
        }
        for a in sorted(summary.snapshot.attestations, key=lambda a: (a.expires, a.subject, a.school or ""))
    ]
    return {
        "exceptions": exceptions,
        "answers": answers,
        "expired": sum(e["state"] == "expired" for e in exceptions),
        "expiring": sum(e["state"] == "expiring" for e in exceptions),
    }


def _control(summary: Summary, control_id: str, rows: list[Row]) -> dict[str, Any]:
    control = summary.control(control_id)
    standing = {id(r): summary.standing(r) for r in rows}
    settled = [r for r in rows if standing[id(r)] in (Standing.MET, Standing.NOT_APPLICABLE)]
    live = sorted(
        (r for r in rows if standing[id(r)] not in (Standing.MET, Standing.NOT_APPLICABLE)),
        key=lambda r: WORST_FIRST.index(standing[id(r)]),
    )
    met = sum(standing[id(r)] is Standing.MET for r in settled)
    return {
        "id": control.id,
        "version": control.version,
        "anchor": anchor(control.id),
        "title": control.title,
        "severity": control.severity.value,
        "why": control.why,
        "fix": fix_sentence(control.fix),
        "fix_text": control.fix.summary if control.fix else "",
        "met": met,
        "not_applicable": len(settled) - met,
        "live": [_row(summary, r, standing[id(r)]) for r in live[:OPEN_ROWS]],
        "live_more": len(live[OPEN_ROWS:]),
        "settled": [_row(summary, r, standing[id(r)]) for r in settled[:SETTLED_ROWS]],
        "settled_more": len(settled[SETTLED_ROWS:]),
    }


def _row(summary: Summary, row: Row, standing: Standing) -> dict[str, Any]:
    f = row.finding
    target = summary.targets.get(f.target)
    new = {o.key for o in row.new_offenders}
    return {
        "school": summary.names.get(f.school, f.school) if f.school else "Shared",
        "target": target.name if target else f.target,
        "standing": standing.value,
        "verdict": f.verdict.value,
        "expected": shorten(f.expected, _TEXT),
        "observed": shorten(f.observed, _TEXT),
        "reason": shorten(f.reason, _TEXT),
        "offenders": [(shorten(o.label, 200), o.key in new) for o in f.offenders[:LABELS]],
        "more": max(0, f.offender_count - len(f.offenders[:LABELS])),
        "items_all": f.offender_count,
        "possible": f.possible,
        "since": day(row.first_seen) if row.first_seen else "",
        "change": _WORDS[row.change],
        "exception": row.exception,
        "until": day(row.exception_expires) if row.exception_expires else "",
        "evidence": row.evidence,
    }


def _scope(summary: Summary, school: str | None, target: str | None, group: str | None) -> str:
    parts = [summary.names.get(school, school)] if school else []
    parts += [f"target {target}"] if target else []
    parts += [f"group {group}"] if group else []
    return ", ".join(parts) or "Whole trust"


def _verdicts(summary: Summary, control: str, school: str | None, target: str | None, group: str | None) -> str:
    """The true verdicts in the exception's scope, counted. A group's members are not known here: accepted rows are."""
    found: dict[str, int] = defaultdict(int)
    nothing = "no finding" if group is None else "see the annex"
    for row in summary.rows:
        f = row.finding
        shown = summary.targets.get(f.target)
        if (
            fnmatch.fnmatchcase(f.control, control)
            and (school is None or f.school == school)
            and (target is None or target in (f.target, shown.name if shown else ""))
            and (group is None or row.exception is not None)
        ):
            found[f.verdict.value.replace("_", " ")] += 1
    return ", ".join(f"{n} {word}" for word, n in sorted(found.items())) or nothing
