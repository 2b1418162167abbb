"""What stands now, for people: findings with their controls, exceptions and changes; exit codes; report snapshots."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from agent import __version__
from agent.change import Past, compare
from agent.condition.tree import Branch
from agent.controls import Control
from agent.errors import UsageError
from agent.evaluate import Case, trace
from agent.exceptions import Cover, cover
from agent.files import ExceptionEntry
from agent.model import Change, Evidence, Finding, Offender, Reason, Severity, Target, TargetState, Verdict
from agent.plan import Planner, Selection
from agent.scan import judge_job
from agent.store import Result, Run, Store
from agent.store.spans import Kept


@dataclass(frozen=True, slots=True)
class Standing:
    """One finding as it stands: `change` is what became of it in the run that is looked at; `cover` the exception
    that accepts it (wholly or in part). `away`: its target is not seen, within its grace; `read` is then the time of
    its last reading, None where there was none."""

    finding: Finding
    control: Control
    target: Target
    change: Change
    fresh: tuple[Offender, ...]
    since: str
    cover: Cover | None = None
    away: bool = False
    read: datetime | None = None

    @property
    def excepted(self) -> bool:
        """Whether an exception in force accepts all of it."""
        return self.cover is not None and self.cover.whole

    @property
    def unread(self) -> bool:
        """Whether it is unknown, nothing accepts that, and not only because its target may be switched off or because
        the trust has chosen not to ask."""
        if self.finding.verdict is not Verdict.UNKNOWN or self.excepted:
            return False
        if all(part.startswith(Reason.BY_CHOICE.value) for part in self.finding.reason.split("; ")):
            return False
        return not (self.away and self.finding.reason.startswith(Reason.UNREACHABLE.value))

    @property
    def drift(self) -> bool:
        """Whether it fails and nothing accepts that."""
        return self.finding.verdict is Verdict.FAIL and not self.excepted


def standing(
    planner: Planner,
    store: Store,
    run: Run | None = None,
    selection: Selection | None = None,
    today: date | None = None,
) -> list[Standing]:
    """Findings as of a run (default: the last), narrowed by a selection, ordered by severity, control and target."""
    latest = {r.target.id: r for r in store.latest(run)}
    newest = run.id if run else max((r.run for r in latest.values()), default="")
    targets = _targets(planner, latest, selection)
    day = today or planner.trust.today()
    away = {k: store.last_read(k) for k, r in latest.items() if r.state is TargetState.NOT_SEEN}
    out = []
    for kept in store.findings(run):
        target = targets.get(kept.finding.target)
        control = planner.policy.controls.get(kept.finding.control)
        if target is None or control is None or not chosen(kept.finding, control, target, selection):
            continue
        change, fresh = _change(kept, newest)
        out.append(
            Standing(
                kept.finding,
                control,
                target,
                change,
                fresh,
                kept.since,
                cover(planner.trust.exceptions, kept.finding, target, day),
                target.id in away,
                away.get(target.id),
            )
        )
    out.sort(key=lambda s: (-s.control.file.level.rank, s.control.id, s.finding.school or "", s.target.id))
    return out


def _targets(planner: Planner, latest: Mapping[str, Result], selection: Selection | None) -> dict[str, Target]:
    """Targets by id. Inventories are read only where groups matter."""
    needs_groups = any(e.group for e in planner.trust.exceptions) or bool(selection and selection.limit)
    known = {t.id: t for t in planner.targets()} if needs_groups else {t.id: t for t in planner.trust.shared}
    out = {k: known.get(k, r.target) for k, r in latest.items()}
    if selection and selection.limit:
        picked = {t.id for t in planner.select(Selection(limit=selection.limit))}
        out = {k: t for k, t in out.items() if k in picked}
    return out


def chosen(finding: Finding, control: Control, target: Target, selection: Selection | None) -> bool:
    """Whether a selection takes a finding in. A school's selection includes the trust's findings that it shares."""
    if selection is None:
        return True
    if (
        selection.schools
        and finding.school not in selection.schools
        and not (finding.school is None and set(target.serves) & set(selection.schools))
    ):
        return False
    if selection.targets and not any(fnmatch.fnmatchcase(target.id, n) or target.name == n for n in selection.targets):
        return False
    if selection.controls and not any(fnmatch.fnmatchcase(control.id, p) for p in selection.controls):
        return False
    if selection.themes and control.file.theme not in selection.themes:
        return False
    return not selection.severity or control.file.level.rank >= Severity(selection.severity).rank


def _change(kept: Kept, newest: str) -> tuple[Change, tuple[Offender, ...]]:
    if kept.first_run == newest:
        return kept.change, tuple(o for o in kept.finding.offenders if o.key in kept.fresh)
    if kept.finding.verdict is Verdict.FAIL:
        return Change.PERSISTING, ()
    # compared with the last known verdict, an unknown stays what it was when sight was lost
    return (kept.change if kept.finding.verdict is Verdict.UNKNOWN else Change.NONE), ()


def since(
    planner: Planner, store: Store, before: Run, selection: Selection | None = None, today: date | None = None
) -> list[Standing]:
    """What changed between the end of a run and now. Findings that did not change are left out."""
    old = {(k.finding.target, k.finding.control, k.finding.school): k for k in store.findings(before)}
    rules = {(k.finding.target, k.finding.control, k.finding.school): k.rule for k in store.findings()}
    now = standing(planner, store, None, selection, today)
    rejudged: dict[str, dict[tuple[str, str | None], Finding]] = {}
    out = []
    for s in now:
        key = (s.finding.target, s.finding.control, s.finding.school)
        was = old.pop(key, None)
        again = None
        if was is not None and rules.get(key) != was.rule:
            if s.target.id not in rejudged:
                rejudged[s.target.id] = _rejudge(planner, store, s.target, before)
            again = rejudged[s.target.id].get((s.finding.control, s.finding.school))
        past = None if was is None else Past(was.finding, was.known, was.since)
        changed = compare(s.finding, past, "now", again)
        fresh = tuple(o for o in s.finding.offenders if changed.offenders.get(o.key) in (Change.NEW, Change.REGRESSED))
        if changed.change in (Change.NONE, Change.PERSISTING) and not (fresh and was is not None):
            continue
        out.append(replace(s, change=changed.change, fresh=fresh))
    for key, was in old.items():
        control = planner.policy.controls.get(key[1])
        if was.finding.verdict is Verdict.FAIL and control is not None and not any(s.target.id == key[0] for s in now):
            target = next((r.target for r in store.latest(before) if r.target.id == key[0]), None)
            if target is not None and chosen(was.finding, control, target, selection):
                out.append(Standing(was.finding, control, target, Change.RETIRED, (), was.since))
    return out


def traces(planner: Planner, store: Store, s: Standing) -> tuple[list[Branch], dict[str, Any]]:
    """How a finding came about, part by part, from the evidence that is kept, and the derived facts behind it; empty
    where no evidence is kept any more."""
    try:
        kept = store.evidence(s.target.id)
    except UsageError:
        return [], {}
    target = next((t for t in planner.targets() if t.id == s.target.id), s.target)
    evidence = Evidence(target, kept.state, kept.as_of, kept.facts, kept.detail, kept.ids)
    case = Case(evidence, planner.trust.serving(target), {k: v for k, v in target.settings.items() if k == "base_dn"})
    for baseline, school in planner.job(target, Selection(controls=(s.control.id,)), evidence).parts:
        for rule in baseline.rules:
            if (school.key if school else None) == s.finding.school:
                return trace(rule, case, school)
    return [], {}


def _rejudge(planner: Planner, store: Store, target: Target, run: Run) -> dict[tuple[str, str | None], Finding]:
    try:
        kept = store.evidence(target.id, run, full=True)
    except UsageError:  # past its keep
        return {}
    full = next((t for t in planner.targets() if t.id == target.id), target)
    evidence = Evidence(full, kept.state, kept.as_of, kept.facts, kept.detail, kept.ids)
    return {(f.control, f.school): f for f in judge_job(planner, planner.job(full, Selection(), evidence), evidence)}


def exit_code(standings: Iterable[Standing], states: Iterable[TargetState], fail_on: str) -> int:
    """0 complete and clean, 1 drift at or above `fail_on`, 3 incomplete. Incomplete never looks clean: 3 before 1."""
    findings = list(standings)
    floor = Severity(fail_on).rank
    if any(s is TargetState.UNREACHABLE for s in states):
        return 3
    if any(s.unread for s in findings):
        return 3
    return 1 if any(s.drift and s.control.file.level.rank >= floor for s in findings) else 0


def counts(findings: Sequence[Standing]) -> dict[str, int]:
    """Verdict word → findings, with `excepted` beside them."""
    out = dict.fromkeys(("fail", "unknown", "excepted", "pass", "not_applicable", "manual"), 0)
    for s in findings:
        out["excepted" if s.excepted else s.finding.verdict.value] += 1
    return out


def entry_text(entry: ExceptionEntry) -> str:
    """An exception's scope in a few words."""
    for word in ("school", "target", "group"):
        if value := getattr(entry, word):
            return f"{word} {value}"
    return "the whole trust"


VERSION = __version__
