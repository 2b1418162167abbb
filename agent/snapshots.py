"""From the store to what reports are made of: the one bridge to `render`, which knows no store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from agent import __version__
from agent.controls import Control
from agent.exceptions import state
from agent.files import Fix
from agent.model import Target, TargetState
from agent.plan import Planner, Selection
from agent.render.snapshot import (
    AttestationInfo,
    ControlInfo,
    ExceptionInfo,
    ExceptionState,
    FixInfo,
    NotCovered,
    Row,
    RunInfo,
    Snapshot,
    TargetInfo,
)
from agent.resources import data_dir
from agent.results import Standing, standing
from agent.standards import load_standards
from agent.store import Result, Run, Store

TREND = 12
"""Runs shown in the trend; more would be a blur on one page."""


def snapshot(
    planner: Planner,
    store: Store,
    run: Run | None = None,
    selection: Selection | None = None,
    *,
    stand_in: bool = False,
    now: datetime | None = None,
) -> Snapshot:
    """Everything a report says, as of a run (default: the last). Raises `UsageError` when there is no scan yet."""
    trust, runs = planner.trust, store.runs()
    shown = run or store.run("last")
    clock = now or datetime.now(UTC)
    # as of an older run, exceptions are judged on its day; otherwise today
    zone = ZoneInfo(trust.file.timezone)
    today = (shown.started if run is not None else clock).astimezone(zone).date()
    results = {r.target.id: r for r in store.latest(run)}
    started = {r.id: r.started for r in runs}
    findings = standing(planner, store, run, selection, today)
    before = [r for r in runs if r.id < shown.id]
    infos = [RunInfo(r.id, r.started, store.verdict_counts(r)) for r in [*before, shown][-TREND:]]
    return Snapshot(
        trust_name=trust.name,
        run_id=shown.id,
        run_started=shown.started,
        generated_at=clock,
        schools=tuple(trust.schools.values()),
        controls={c.id: _control(c) for c in planner.policy.controls.values()},
        rows=tuple(_row(s, started, results) for s in findings),
        targets=tuple(_target(store, r) for r in results.values()),
        not_covered=_not_covered(planner, selection),
        exceptions=tuple(
            ExceptionInfo(
                e.control, e.school, e.target, e.group, e.reason, e.owner, e.expires, ExceptionState(state(e, today))
            )
            for e in trust.exceptions
        ),
        attestations=_attestations(planner),
        runs=tuple(infos),
        previous_run=infos[-2] if len(infos) > 1 else None,
        standards=load_standards(data_dir("baselines") / "standards", list(planner.policy.controls)),
        owners=_owners(planner),
        stand_in=stand_in,
        version=__version__,
    )


def _owners(planner: Planner) -> Mapping[str, str]:
    """Who acts, as a role: the central team, or whoever looks after a school's systems."""
    return {"": "Central IT team", **{k: f"IT support for {s.name}" for k, s in planner.trust.schools.items()}}


def _control(c: Control) -> ControlInfo:
    f = c.file
    return ControlInfo(f.id, f.version, f.title, f.theme, f.level, f.why, f.scope, c.platform, _fix(f.fix))


def _fix(fix: Fix | None) -> FixInfo | None:
    if fix is None:
        return None
    summary = fix.manual or fix.note or f"Run the reviewed playbook {fix.playbook}."
    return FixInfo(summary, fix.playbook is not None, fix.risk, fix.reboot, fix.minutes)


def _row(s: Standing, started: Mapping[str, datetime], results: Mapping[str, Result]) -> Row:
    whole = s.cover if s.cover and s.cover.whole else None
    return Row(
        s.finding,
        s.change,
        s.fresh,
        started.get(s.since),
        whole.entry.reason if whole else None,
        whole.entry.expires if whole else None,
        results[s.target.id].manifest or "",
    )


def _target(store: Store, r: Result) -> TargetInfo:
    away = (TargetState.UNREACHABLE, TargetState.NOT_SEEN)
    as_of = store.last_read(r.target.id) if r.state in away else r.as_of
    t: Target = r.target
    return TargetInfo(t.id, t.name, t.school, t.kind, t.platform, r.state, r.detail, as_of, t.serves)


def _not_covered(planner: Planner, selection: Selection | None) -> tuple[NotCovered, ...]:
    """Controls that wait for a value, and targets that nothing here can read yet."""
    seen: dict[tuple[str, str | None], NotCovered] = {}
    for target in planner.targets():
        for item, school in planner.job(target, selection or Selection()).not_covered:
            key = (item.control, school.key if school else None)
            title = planner.policy.controls[item.control].file.title
            seen.setdefault(key, NotCovered(item.control, title, key[1], f"set {', '.join(item.missing)}"))
    unread = [
        NotCovered(
            "", f"{number} {platform} {'target' if number == 1 else 'targets'}", school, f"cannot read {platform} yet"
        )
        for (school, platform), number in planner.unread(Selection(schools=(selection or Selection()).schools)).items()
    ]
    return (*unread, *sorted(seen.values(), key=lambda n: (n.control, n.school or "")))


def _attestations(planner: Planner) -> tuple[AttestationInfo, ...]:
    out = []
    for a in planner.trust.attestations:
        subject = a.control or a.requirement or ""
        control = planner.policy.controls.get(subject)
        out.append(
            AttestationInfo(
                subject,
                a.school,
                control.manual if control else "",
                a.answer == "yes",
                a.by,
                a.on,
                a.expires,
                a.evidence,
            )
        )
    return tuple(out)
