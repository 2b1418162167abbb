"""What each page says, as plain values for its template. Pure.

The privacy rule: a leaders' page shows counts, never what was observed, which item offends, or who decided. Those
stand in the annex and the register only (`annex.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from agent.model import Change, School, TargetState
from agent.render.advice import actions, coverage_sentence, fix_sentence, verdict_sentence, where_it_fails
from agent.render.parts import (
    Link,
    anchor,
    bars,
    gone,
    names,
    not_scanned,
    not_scanned_all,
    reasons,
    school_path,
    standard_path,
    trend,
)
from agent.render.snapshot import ExceptionState, Row
from agent.render.standing import Judge, Overall, counts
from agent.render.summary import GONE, ChangeGroup, Standing, Summary, Tally
from agent.render.text import count, day, listing, slug
from agent.standards import Standard

CHANGE_LINES = 6
SETTING_LINES = 8

_PHRASES = {
    Change.REGRESSED: ("drift", "Slipped", "held before, fails now"),
    Change.NEW: ("drift", "New", "fails, and was not known before"),
    Change.PERSISTING: ("drift", "Grew", "failed before, and more fails now"),
    Change.LOST_SIGHT: ("unknown", "Out of sight", "held before, cannot be read now"),
    Change.RESOLVED: ("met", "Put right", "failed before, holds now"),
    Change.REBASELINED: ("not_applicable", "Rule changed", "judged by a new rule"),
    Change.RETIRED: ("not_applicable", "Retired", "no longer applies"),
}


def common(summary: Summary) -> dict[str, Any]:
    """What every page needs."""
    snap = summary.snapshot
    return {
        "trust": snap.trust_name,
        "run_id": snap.run_id,
        "run_day": day(snap.run_started),
        "run_time": f"{snap.run_started:%H:%M} UTC",
        "generated": f"{day(snap.generated_at)}, {snap.generated_at:%H:%M} UTC",
        "stand_in": snap.stand_in,
        "version": snap.version,
        "nav": [
            Link("index.html", "Overview"),
            Link("fails.html", "What fails where"),
            *(Link(standard_path(s.id), s.short) for s in snap.standards),
            Link("exceptions.html", "Exceptions"),
            Link("annex.html", "Technical annex"),
        ],
    }


def overview(summary: Summary, judge: Judge) -> dict[str, Any]:
    """The trust's page."""
    snap = summary.snapshot
    tally = summary.tally(summary.rows)
    changes = summary.changes()
    expired = sum(e.state is ExceptionState.EXPIRED for e in snap.exceptions)
    expiring = sum(e.state is ExceptionState.EXPIRING for e in snap.exceptions)
    themes = summary.themes()
    matrix = summary.matrix()
    return {
        "sentence": verdict_sentence(summary),
        "coverage": coverage_sentence(summary),
        "tally": tally,
        "bars": bars(tally),
        "expired": expired,
        "expiring": expiring,
        "reasons": summary.unread_reasons(),
        "since": day(snap.previous_run.started) if snap.previous_run else "",
        "change_counts": _change_counts(changes),
        "changes": [_change(summary, g) for g in changes[:CHANGE_LINES]],
        "more_changes": len(changes[CHANGE_LINES:]),
        "actions": actions(summary),
        "themes": themes,
        "matrix": [
            _matrix_row(summary, school, matrix[school], themes)
            for school in (None, *summary.names)
            if school is not None or matrix[None]
        ],
        "gone": gone(summary, None),
        "blind": _blind(summary),
        "standards": [_standard_line(judge, s) for s in snap.standards],
        "settings": _settings(summary),
        "trend": trend(snap.runs),
        "not_scanned": not_scanned_all(snap.schools),
        "waiting": [
            (listing(titles, 3), reason, "" if None in schools else names(summary, [s for s in schools if s]))
            for reason, titles, schools in summary.waiting()
        ],
    }


def school_page(summary: Summary, school: School) -> dict[str, Any]:
    """One school's page: its own findings, and those of what it shares, kept apart."""
    own, shared = summary.own[school.key], summary.shared[school.key]
    tally, shared_tally = summary.tally(own), summary.tally(shared)
    both = summary.tally([*own, *shared])
    themes = []
    for theme in summary.themes():
        mine, ours = _of_theme(summary, own, theme), _of_theme(summary, shared, theme)
        if mine or ours:
            themes.append(
                {
                    "name": theme,
                    "id": slug(theme),
                    "own": summary.tally(mine),
                    "shared": summary.tally(ours),
                    "lines": _lines(summary, [*mine, *ours]),
                }
            )
    return {
        "school": school.name,
        "phase": school.phase,
        "urn": school.urn,
        "tally": tally,
        "shared": shared_tally,
        "both": both,
        "bars": bars(both),
        "sentence": _school_sentence(school.name, both),
        "themes": themes,
        "gone": gone(summary, school.key),
        "not_scanned": not_scanned(school),
        "waiting": summary.not_covered(school.key),
    }


def fails_page(summary: Summary) -> dict[str, Any]:
    """ "X of N schools fail Y", gravest first."""
    lines = []
    for f in summary.failing():
        control = summary.control(f.control)
        owners: list[str | None] = [*f.failing, *(None for _ in f.shared)]
        lines.append(
            {
                "title": control.title,
                "why": control.why,
                "severity": control.severity.value,
                "theme": control.theme,
                "anchor": anchor(f.control),
                "failing": len(f.failing),
                "concerned": f.concerned,
                "schools": [(school_path(k), summary.names[k]) for k in f.failing],
                "unknown": names(summary, f.unknown),
                "excepted": names(summary, f.excepted),
                "shared": len(f.shared),
                "where": where_it_fails(summary, f),
                "offenders": f.offenders,
                "targets": f.targets,
                "owner": summary.owner(owners),
                "fix": fix_sentence(control.fix),
            }
        )
    in_schools = [x for x in lines if x["failing"]]
    return {"lines": lines, "in_schools": len(in_schools), "schools": len(summary.names)}


def standard_page(summary: Summary, judge: Judge, standard: Standard) -> dict[str, Any]:
    """One standard, requirement by requirement."""
    overall = judge.standard(standard)
    themes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for o in overall:
        themes[o.requirement.theme].append(_requirement(summary, o))
    found = counts(overall)
    return {
        "standard": standard,
        "day": day(standard.source_date),
        "met": found[Standing.MET],
        "total": len(overall),
        "counts": [(s.value, found[s]) for s in Standing if found[s]],
        "themes": list(themes.items()),
        "schools": len(summary.names),
        "not_scanned": not_scanned_all(summary.snapshot.schools),
        "linked": standard.source.startswith("https://"),
    }


def _school_sentence(name: str, tally: Tally) -> str:
    if not tally.due:
        return f"{name}: no check applied, so nothing can be said."
    if not tally.judged:
        return f"{name}: none of the {count(tally.due, 'check')} could be judged."
    unread = f"{count(tally.unread, 'check')} could not be read" if tally.unread else ""
    if tally.drift:
        return f"{name}: {count(tally.drift, 'check')} {'has' if tally.drift == 1 else 'have'} drifted" + (
            f"; {unread}." if unread else "."
        )
    if unread:
        return f"{name}: no check has drifted, but {unread}."
    waiting = tally.exception or tally.to_answer
    return f"{name}: no check has drifted." if waiting else f"{name}: all {count(tally.due, 'check')} are met."


def _of_theme(summary: Summary, rows: Iterable[Row], theme: str) -> list[Row]:
    return [r for r in rows if summary.control(r.finding.control).theme == theme]


def _lines(summary: Summary, rows: Iterable[Row]) -> list[dict[str, Any]]:
    """What is not met, a line a control and standing; counts only."""
    groups: dict[tuple[Standing, str, bool], list[Row]] = defaultdict(list)
    for row in rows:
        standing = summary.standing(row)
        if standing not in (Standing.MET, Standing.NOT_APPLICABLE):
            groups[standing, row.finding.control, row.finding.school is None].append(row)
    out = []
    for (standing, control_id, shared), found in groups.items():
        control = summary.control(control_id)
        offenders = sum(r.finding.offender_count for r in found)
        out.append(
            {
                "standing": standing.value,
                "title": control.title,
                "why": control.why,
                "severity": control.severity.value,
                "shared": shared,
                "targets": count(len(found), "target") if not shared or len(found) > 1 else "",
                "offenders": count(offenders, "item") if offenders else "",
                "anchor": anchor(control_id),
                "reasons": reasons(summary, found) if standing is Standing.UNKNOWN else "",
                "fix": fix_sentence(control.fix) if standing is Standing.DRIFT else "",
                "rank": (list(Standing).index(standing), -control.severity.rank, control_id, shared),
            }
        )
    return sorted(out, key=lambda x: x["rank"])


def _change_counts(changes: Sequence[ChangeGroup]) -> list[tuple[str, str, int]]:
    totals: dict[Change, int] = defaultdict(int)
    for group in changes:
        totals[group.change] += group.count
    return [(style, word, totals[change]) for change, (style, word, _) in _PHRASES.items() if totals[change]]


def _change(summary: Summary, group: ChangeGroup) -> dict[str, Any]:
    style, word, phrase = _PHRASES[group.change]
    where = [summary.names.get(s, s) if s else "what the trust shares" for s in group.schools]
    return {
        "style": style,
        "word": word,
        "phrase": phrase,
        "title": summary.control(group.control).title,
        "where": _capital(listing(where)),
        "number": group.count,
    }


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _matrix_row(summary: Summary, school: str | None, cells: dict[str, Tally], themes: Sequence[str]) -> dict[str, Any]:
    return {
        "name": summary.names[school] if school else "Shared by schools",
        "path": school_path(school) if school else "",
        "cells": [
            _cell(
                cells.get(theme),
                school_path(school) + f"#{slug(theme)}" if school else "",
                school is not None and bool(_of_theme(summary, summary.shared[school], theme)),
            )
            for theme in themes
        ],
    }


def _cell(tally: Tally | None, path: str, shared: bool) -> dict[str, Any]:
    if tally is None and shared:
        return {
            "standing": Standing.NOT_APPLICABLE.value,
            "word": "As shared",
            "number": None,
            "rest": "",
            "path": path,
        }
    if tally is None:
        return {"standing": Standing.NOT_COVERED.value, "word": "", "number": None, "rest": "", "path": ""}
    standing = tally.standing
    rest = [] if not tally.due else [f"{tally.met} of {tally.due} met"]
    if standing is Standing.DRIFT and tally.unread:
        rest.append(f"{tally.unread} unknown")
    number = None if standing is Standing.NOT_APPLICABLE else getattr(tally, standing.value)
    if standing is Standing.MET:
        rest = [f"of {tally.due}"]
    return {"standing": standing.value, "word": "", "number": number, "rest": ", ".join(rest), "path": path}


def _blind(summary: Summary) -> list[str]:
    """Schools of which not one device of their own was read: one line, not a hundred."""
    out = []
    for key, name in summary.names.items():
        mine = [t for t in summary.snapshot.targets if t.school == key]
        lost = any(t.state is TargetState.UNREACHABLE for t in mine)  # machines that may be off are no dead line
        if len(mine) > 1 and lost and all(t.state in GONE for t in mine):
            out.append(name)
    return out


def _settings(summary: Summary) -> dict[str, Any]:
    found = summary.settings()
    return {
        "total": len(found),
        "alike": sum(s.values == 1 for s in found),
        "lines": [
            {
                "title": summary.control(s.control).title,
                "different": s.values,
                "schools": s.schools,
                "anchor": anchor(s.control),
            }
            for s in found
            if s.values > 1
        ][:SETTING_LINES],
    }


def _standard_line(judge: Judge, standard: Standard) -> dict[str, Any]:
    found = counts(judge.standard(standard))
    return {
        "path": standard_path(standard.id),
        "title": standard.title,
        "version": standard.version,
        "total": len(standard.requirements),
        "counts": {s.value: found[s] for s in Standing},
    }


def _requirement(summary: Summary, overall: Overall) -> dict[str, Any]:
    req = overall.requirement
    parts: dict[tuple[str, str], set[Standing]] = defaultdict(set)
    for judged in overall.schools.values():
        for part in judged.parts:
            parts[part.control, part.text].add(part.standing)
    return {
        "id": req.id,
        "anchor": slug(req.id),
        "title": req.title,
        "strength": req.strength,
        "core": req.core,
        "auto_fail": req.auto_fail,
        "ref": req.ref,
        "note": req.note,
        "source": req.source if req.source.startswith("https://") else "",
        "day": day(req.source_date) if req.source_date else "as read",
        "standing": overall.standing.value,
        "schools": [(s.value, len(h), names(summary, h)) for s in Standing if (h := overall.having(s))],
        "parts": [
            {
                "control": c,
                "text": t,
                "anchor": anchor(c) if c in summary.snapshot.controls else "",
                "standings": [s.value for s in Standing if s in found],
            }
            for (c, t), found in parts.items()
        ],
    }
