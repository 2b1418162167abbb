"""Running bundles: preview in check mode, apply, and a scan of what was touched."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from agent.connect import secrets
from agent.connect.ansible_play import PlayResult, Task, play
from agent.errors import SpiritlevelError, UsageError
from agent.model import Kind, Verdict
from agent.plan import Planner, Selection
from agent.remediate import BundleInfo, shared
from agent.remediate.windows import frozen, is_open
from agent.render.bundle import SECRET, is_template
from agent.scan import Options, scan
from agent.store import Store

SETTLE = (10, 20, 40)
"""Seconds to wait before a tenant is read once more where a change does not show (Graph is eventually consistent)."""
PILOT = "pilot"
"""The inventory group that goes first."""


class Seen(StrEnum):
    """What a fix did, or would do, on one host."""

    WOULD_CHANGE = "would change"
    CHANGED = "changed"
    RIGHT = "already right"
    WAITS = "waits for a package"
    """Check mode cannot go on: what an earlier task would install is not there yet."""
    FAILED = "failed"
    UNREACHABLE = "no answer"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class Line:
    """One control on one host. `message` says why it failed; `diffs` are unified diffs, one a task."""

    control: str
    host: str
    seen: Seen
    message: str = ""
    diffs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run of one bundle came to, in the order of its steps."""

    info: BundleInfo
    lines: tuple[Line, ...]
    error: str = ""

    def count(self, seen: Seen) -> int:
        """How many lines say that."""
        return sum(line.seen is seen for line in self.lines)


@dataclass(frozen=True, slots=True)
class Applied:
    """One control on one target after apply: what was done, and the verdict of the scan that followed.

    `now` is None where it was not scanned again, with the reason in `message`.
    """

    target: str
    control: str
    did: Seen
    now: Verdict | None
    message: str = ""


@dataclass(slots=True)
class Outcome:
    """What apply came to. `fresh` are (target, control) that began to fail: a fix may bring new work."""

    applied: list[Applied] = field(default_factory=list)
    fresh: list[tuple[str, str]] = field(default_factory=list)
    run: str = ""
    stopped: str = ""
    """Why not everything was run, as one sentence."""

    @property
    def good(self) -> bool:
        """Everything was applied, and passes now."""
        return not self.stopped and not self.fresh and all(a.now is Verdict.PASS for a in self.applied)


def preview(info: BundleInfo, planner: Planner, tell: Callable[[Task], None] = lambda _: None) -> Ran:
    """Run a bundle in check mode: nothing changes. Raises `SpiritlevelError` where Ansible cannot run."""
    if not info.content.steps:
        return Ran(info, ())
    result = play(info.folder, check=True, credentials=credentials(info, planner), tell=tell)
    return Ran(info, lines(info, result, check=True), result.error)


def lines(info: BundleInfo, result: PlayResult, *, check: bool, hosts: Iterable[str] | None = None) -> tuple[Line, ...]:
    """Task results summed up by control and host. `hosts` narrows to those that were due."""
    by_play: dict[tuple[str, str], list[Task]] = {}
    lost: dict[str, str] = {}
    due = None if hosts is None else set(hosts)
    for task in result.tasks:
        by_play.setdefault((task.play, task.host), []).append(task)
        if task.outcome == "unreachable":
            lost.setdefault(task.host, task.message)
    plays = {step.play for step in info.content.steps}
    # A host that fails outside the fixes (its facts cannot be read) is in none of them.
    broken = {
        t.host: t.message
        for t in result.tasks
        if t.outcome == "failed" and t.play not in plays and not any((p, t.host) in by_play for p in plays)
    }
    out = []
    for step in info.content.steps:
        for host in step.hosts:
            if due is not None and host not in due:
                continue
            mine = by_play.get((step.play, host), [])
            if mine and not any(t.outcome == "unreachable" for t in mine):
                out.append(_line(step.control, host, mine, check))
            elif host in lost:
                out.append(Line(step.control, host, Seen.UNREACHABLE, lost[host]))
            else:
                out.append(Line(step.control, host, Seen.FAILED, broken.get(host, result.error or "it was not run")))
    return tuple(out)


def _line(control: str, host: str, tasks: Sequence[Task], check: bool) -> Line:
    diffs = tuple(t.diff for t in tasks if t.diff)
    changed = any(t.outcome == "changed" for t in tasks)
    for at, task in enumerate(tasks):
        if task.outcome == "failed":
            waits = check and any(t.installs and t.outcome == "changed" for t in tasks[:at])
            return Line(control, host, Seen.WAITS if waits else Seen.FAILED, f"{task.name}: {task.message}", diffs)
    seen = (Seen.WOULD_CHANGE if check else Seen.CHANGED) if changed else Seen.RIGHT
    return Line(control, host, seen, "", diffs)


def credentials(info: BundleInfo, planner: Planner) -> dict[str, dict[str, str]]:
    """The credentials of a bundle's hosts, as the inventory names them: references are read now, kept nowhere.

    Templates are left out. Raises `SecretError` for a reference that cannot be read.
    """
    out: dict[str, dict[str, str]] = {}
    for target in info.targets:
        if target.kind is not Kind.DEVICE:
            out[target.name] = shared.credentials(target, lambda r: secrets.resolve(r, planner.trust.folder))
            continue
        found = {n: v for n, v in target.settings.items() if n.startswith("ansible_") and SECRET.search(n)}
        usable = {n: v for n, v in found.items() if isinstance(v, (str, int)) and not is_template(str(v))}
        values = {n: _value(v, planner) for n, v in usable.items()}
        if values:
            out[target.name] = values
    return out


def _value(value: str | int, planner: Planner) -> str:
    if secrets.is_reference(str(value)):
        return secrets.resolve(str(value), planner.trust.folder)
    return str(value)


def closed(infos: Sequence[BundleInfo], planner: Planner, now: datetime) -> list[str]:
    """Names of the schools whose change window is not open, or where nothing may be changed on this day."""
    trust = planner.trust
    local = now.astimezone(ZoneInfo(trust.file.timezone))
    out = []
    for i in infos:
        freeze = frozen(trust.file.freezes, i.school, local.date())
        if i.content.steps and freeze is not None:
            out.append(f"{i.content.title} ({freeze.name}, until {freeze.to:%d %B %Y})")
        elif i.content.steps and not is_open(trust.file.change_windows, i.school, local):
            out.append(i.content.title)
    return out


def apply(
    planner: Planner,
    store: Store,
    infos: Sequence[BundleInfo],
    confirm: Callable[[Sequence[Ran]], bool],
    *,
    options: Options | None = None,
    outside_window: bool = False,
    tell: Callable[[Task], None] = lambda _: None,
) -> Outcome:
    """Check mode first; then, if `confirm` says so, the real run, a scan of exactly the hosts that were reached, and a
    note in the store of who did what and what it came to.

    A control that fails in check mode on a host is not run anywhere. Hosts of the group `pilot` go first; if a fix
    fails there, the others are not touched. Raises `UsageError` outside a change window and where there is nothing to
    run, `SpiritlevelError` where Ansible cannot run.
    """
    infos = [i for i in infos if i.content.steps]
    if not infos:
        raise UsageError(
            "there is nothing that a playbook could mend.", "Read the README of each bundle for what people do."
        )
    if not outside_window and (shut := closed(infos, planner, datetime.now(UTC))):
        raise UsageError(
            f"the change window is not open: {', '.join(shut)}.",
            "Wait for it, or say --outside-window if this cannot wait.",
        )
    before = [preview(i, planner, tell) for i in infos]
    outcome = Outcome()
    if not confirm(before):
        outcome.stopped = "Nothing was changed."
        return outcome
    began = datetime.now(UTC)
    did: dict[Place, Line] = {}
    was = _verdicts(store)
    try:
        for seen in before:
            _run(seen, planner, outcome, did, tell)
    finally:
        _look_again(planner, store, options or Options(), outcome, did, was, began)
    return outcome


def _run(before: Ran, planner: Planner, outcome: Outcome, did: dict[Place, Line], tell: Callable[[Task], None]) -> None:
    """The real run of one bundle, the pilot hosts first. What becomes of each line goes into `did`."""
    info = before.info
    ids = {t.name: t.id for t in info.targets}

    def note(found: Iterable[Line]) -> None:
        did.update({(ids[line.host], line.control, info.school): line for line in found})

    bad = sorted({x.control for x in before.lines if x.seen is Seen.FAILED})
    note(
        Line(x.control, x.host, Seen.LEFT_OUT, x.message or "it fails elsewhere in check mode")
        for x in before.lines
        if x.control in bad
    )
    good = [s for s in info.content.steps if s.control not in bad]
    if before.error or not good:
        outcome.stopped = before.error or f"{info.content.title}: every fix fails in check mode."
        return
    names = {h for s in good for h in s.hosts}
    pilots = {h.name for h in info.content.hosts if PILOT in h.groups} & names
    waves = [sorted(w) for w in (pilots, names - pilots) if w]
    for number, wave in enumerate(waves):
        # Noted before it happens: who breaks this off still gets a scan and a note of what was under way.
        note(Line(s.control, h, Seen.FAILED, "broken off") for s in good for h in s.hosts if h in wave)
        result = play(
            info.folder,
            check=False,
            limit=",".join(wave),
            skip_tags=bad,
            credentials=credentials(info, planner),
            tell=tell,
        )
        mine = [x for x in lines(info, result, check=False, hosts=wave) if x.control not in bad]
        note(mine)
        failed = sorted({x.control for x in mine if x.seen is Seen.FAILED})
        if failed and number + 1 < len(waves):
            rest = {h for w in waves[number + 1 :] for h in w}
            note(Line(s.control, h, Seen.LEFT_OUT, "the pilot failed") for s in good for h in s.hosts if h in rest)
            outcome.stopped = (
                f"{info.content.title}: {', '.join(failed)} failed on the pilot hosts; the others were not touched."
            )
            return


Place = tuple[str, str, str | None]
"""Target, control and school: a directory or tenant has a finding for each school that shares it."""


def _verdicts(store: Store) -> dict[Place, Verdict]:
    return {(k.finding.target, k.finding.control, k.finding.school): k.finding.verdict for k in store.findings()}


def _late(planner: Planner, did: Mapping[Place, Line], now: Mapping[Place, Verdict]) -> tuple[str, ...]:
    """Tenants in which a change is not to be seen yet: what Graph reads lags what it wrote by seconds to minutes.

    Policies that are only watched at first fail on; nobody waits for those.
    """
    tenants = {t.name for t in planner.trust.shared if t.kind is Kind.TENANT}
    late = set()
    for place, line in did.items():
        fix = planner.policy.controls[place[1]].file.fix
        staged = fix is not None and fix.risk == "disruptive"
        if place[0] in tenants and line.seen is Seen.CHANGED and now.get(place) is Verdict.FAIL and not staged:
            late.add(place[0])
    return tuple(sorted(late))


def _look_again(
    planner: Planner,
    store: Store,
    options: Options,
    outcome: Outcome,
    did: Mapping[Place, Line],
    was: Mapping[Place, Verdict],
    began: datetime,
) -> None:
    """Scan what was touched, sum up, and note it: also when the run was broken off half-way."""
    away = (Seen.LEFT_OUT, Seen.UNREACHABLE)
    touched = sorted({target for (target, _, _), line in did.items() if line.seen not in away})
    now: dict[Place, Verdict] = {}
    why = "it was not reached"
    if touched:
        try:
            outcome.run = scan(planner, store, Selection(targets=tuple(touched)), options).run.id
            now = _verdicts(store)
            for pause in SETTLE:
                if not (late := _late(planner, did, now)):
                    break
                time.sleep(pause)
                outcome.run = scan(planner, store, Selection(targets=late), options).run.id
                now = _verdicts(store)
        except SpiritlevelError as e:  # the fixes are made: that is noted whatever becomes of the scan
            why = f"not scanned again: {e}"
            outcome.stopped = outcome.stopped or f"The fixes were run, but {why}"
    for (target, control, school), line in did.items():
        verdict = now.get((target, control, school)) if target in touched else None
        message = line.message or ("" if verdict is not None else why)
        outcome.applied.append(Applied(target, control, line.seen, verdict, message))
    outcome.fresh = sorted(
        {k[:2] for k, v in now.items() if k[0] in touched and v is Verdict.FAIL and was.get(k) is not Verdict.FAIL}
    )
    for target in sorted({t for t, _, _ in did}):
        mine = [a for a in outcome.applied if a.target == target]
        store.record(
            began,
            who(),
            {
                "verb": "remediate",
                "target": target,
                "run": outcome.run,
                "controls": [
                    {"control": a.control, "did": a.did.value, "now": a.now.value if a.now else None} for a in mine
                ],
                "fresh": [c for t, c in outcome.fresh if t == target],
            },
        )


def who() -> str:
    """The person at the keyboard, behind sudo too."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no name for this user id
        user = f"uid {os.getuid()}"
    behind = os.environ.get("SUDO_USER")
    return f"{behind} (as {user})" if behind and behind != user else user


__all__ = ["Applied", "Line", "Outcome", "Ran", "Seen", "apply", "closed", "credentials", "lines", "preview", "who"]
