"""The scan: workers read targets, each is judged and saved as it comes in. Stops cleanly, resumes, tells progress."""

from __future__ import annotations

import gc
import queue
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from agent.collect import Credentials, collect, nothing, usual_limits
from agent.errors import SpiritlevelError, UsageError
from agent.evaluate import Case, judge
from agent.facts.protocol import Limits
from agent.model import Evidence, Finding, Reading, Reason, TargetState, Verdict
from agent.plan import Job, Planner, Selection
from agent.store import Run, Store
from agent.turns import Turns
from agent.unseen import settle


@dataclass(frozen=True, slots=True)
class Event:
    """Progress. `kind`: `start` (total known, and `schools`: targets by school, "" for shared ones), `done` (one target
    saved; `no_answer`: nothing was there to talk to), `note` (a sentence for people)."""

    kind: str
    text: str = ""
    target: str = ""
    school: str | None = None
    state: TargetState | None = None
    done: int = 0
    total: int = 0
    schools: Mapping[str, int] = field(default_factory=dict)
    no_answer: bool = False


@dataclass(slots=True)
class Options:
    """How to scan. `workers` at once; `limits` per target (default: by its kind); `resume`: finish the last run.

    `per_school` devices of one school at once (default: as trust.yml says of each school)."""

    workers: int = 20
    limits: Limits | None = None
    resume: bool = False
    per_school: int | None = None


@dataclass(slots=True)
class Outcome:
    """What a scan came to: its run, the state of each target, and whether something inside us went wrong."""

    run: Run
    states: dict[str, TargetState]
    details: dict[str, str]
    faults: list[str]
    no_answer: set[str] = field(default_factory=set)
    """Targets where nothing was there to talk to."""


def scan(
    planner: Planner,
    store: Store,
    selection: Selection,
    options: Options,
    tell: Callable[[Event], None] = lambda _: None,
) -> Outcome:
    """Scan what is selected. Raises `UsageError` for an empty selection, `StoreBusy`, `StoreError`;
    KeyboardInterrupt ends the run as `interrupted`, with everything saved that was finished."""
    jobs = planner.jobs(selection)
    # Readings by the million, and no circles among them: looking for some after each 700 costs a quarter of the time.
    gc.set_threshold(100_000, 20, 20)
    with store.lock():
        run, jobs = _begin(store, jobs, selection, options)
        tell(Event("start", total=len(jobs), schools=Counter(j.target.school or "" for j in jobs)))
        for (school, platform), number in planner.unread(selection).items():
            sentence = f"{school or 'Shared'}: {number} of platform {platform} cannot be read yet: not covered."
            tell(Event("note", sentence, "", school))
        for sentence in empty_inventories(planner):
            tell(Event("note", sentence))
        outcome = Outcome(run, {}, {}, [])
        stop = threading.Event()
        results = _work(planner, jobs, options, stop)
        try:
            for done in range(1, len(jobs) + 1):
                job, evidence, fault = _next(results)
                if fault:
                    outcome.faults.append(fault)
                try:
                    evidence = settle(store, evidence)
                    save(planner, store, run, job, evidence, selection)
                except SpiritlevelError:  # the store's trouble is everybody's
                    raise
                except Exception as e:  # a fault of ours: this target keeps its last findings, and it is told
                    outcome.faults.append(f"{job.target.id}: {type(e).__name__}: {e}\n{traceback.format_exc()}")
                outcome.states[job.target.id] = evidence.state
                outcome.details[job.target.id] = evidence.detail
                if evidence.no_answer:
                    outcome.no_answer.add(job.target.id)
                tell(_done(job, evidence, done, len(jobs)))
        except KeyboardInterrupt:
            stop.set()
            store.finish(run, datetime.now(UTC), "interrupted")
            raise
        finally:
            stop.set()
        if run.whole:
            for target in store.retire(run, [t.id for t in planner.targets()]):
                tell(Event("note", f"{target} is no longer in the trust: its findings are retired.", target))
        store.finish(run, datetime.now(UTC))
        for sentence in silent_schools(planner, outcome):
            tell(Event("note", sentence))
        store.purge(datetime.now(UTC))
    return outcome


def _done(job: Job, evidence: Evidence, done: int, total: int) -> Event:
    place = (job.target.id, job.target.school)
    return Event("done", evidence.detail, *place, evidence.state, done, total, no_answer=evidence.no_answer)


def _begin(store: Store, jobs: list[Job], selection: Selection, options: Options) -> tuple[Run, list[Job]]:
    if not options.resume:
        return store.begin(datetime.now(UTC), [j.target.id for j in jobs], selection.words()), jobs
    run = store.run("last")
    if run.status == "complete":
        raise UsageError("the last scan is complete; there is nothing to resume.", "Run `spiritlevel scan`.")
    left = set(run.planned) - store.done(run)
    return store.reopen(run), [j for j in jobs if j.target.id in left]


def _next(results: queue.Queue[tuple[Job, Evidence, str]]) -> tuple[Job, Evidence, str]:
    """The next result; waits in short steps, so that Ctrl-C is heard at once."""
    while True:
        try:
            return results.get(timeout=0.5)
        except queue.Empty:
            continue


def _put(
    results: queue.Queue[tuple[Job, Evidence, str]], result: tuple[Job, Evidence, str], stop: threading.Event
) -> None:
    """Hand a result over as soon as there is room; nobody takes it any more once the scan was stopped."""
    while not stop.is_set():
        try:
            results.put(result, timeout=0.5)
        except queue.Full:
            continue
        return


def _work(
    planner: Planner, jobs: Sequence[Job], options: Options, stop: threading.Event
) -> queue.Queue[tuple[Job, Evidence, str]]:
    """Start the workers. They are daemons: a target that hangs keeps nobody from leaving."""
    schools = planner.trust.file.schools
    turns = Turns(jobs, lambda key: options.per_school or schools[key].at_once)
    workers = max(1, min(options.workers, len(jobs)))
    # Bounded: where reading is faster than saving, evidence of a whole fleet would pile up in memory.
    results: queue.Queue[tuple[Job, Evidence, str]] = queue.Queue(2 * workers)
    credentials = Credentials()

    def work() -> None:
        while (job := turns.take(stop)) is not None:
            fault = ""
            try:
                evidence = collect(
                    job.target,
                    job.wanted,
                    planner.trust.folder,
                    options.limits or usual_limits(job.target),
                    credentials,
                    stop,
                )
            except Exception as e:  # a fault of ours: this target is unknown, the run goes on, and it is told
                fault = f"{job.target.id}: {type(e).__name__}: {e}\n{traceback.format_exc()}"
                evidence = nothing(
                    job.target,
                    job.wanted,
                    datetime.now(UTC),
                    Reason.UNREADABLE,
                    f"spiritlevel itself failed here ({type(e).__name__}); see .spiritlevel/faults.log.",
                )
            turns.give_back(job)
            _put(results, (job, evidence, fault), stop)

    for i in range(workers):
        threading.Thread(target=work, name=f"collect-{i}", daemon=True).start()
    return results


_READINGS: dict[str, Reading] = {}


def intern(facts: Mapping[str, Reading]) -> dict[str, Reading]:
    """The same readings with one object per content, so that a fleet of equals is judged once. Bounded."""
    if len(_READINGS) > 100_000:
        _READINGS.clear()
    out = {}
    for name, reading in facts.items():
        value = reading.value
        # A long list (the accounts of a directory) is never met twice, and costs more to compare than to judge.
        same = isinstance(value, list) and len(value) > 200
        out[name] = reading if same else _READINGS.setdefault(f"{name}\0{value!r}", reading)
    return out


def save(planner: Planner, store: Store, run: Run, job: Job, evidence: Evidence, selection: Selection) -> list[Finding]:
    """Judge one target's evidence and save both; what a changed rule makes of the evidence before goes along."""
    evidence = replace(evidence, facts=intern(evidence.facts))
    job = planner.job(job.target, selection, evidence)
    findings = judge_job(planner, job, evidence)
    digests = {(r.control.id, s.key if s else ""): r.digest for b, s in job.parts for r in b.rules}
    if evidence.state is TargetState.NOT_SEEN:
        return _save_unseen(planner, store, run, job, evidence, findings, digests, whole=not selection.narrows_controls)
    rejudged: dict[tuple[str, str], Finding] = {}
    have = store.rules(job.target.id)
    changed = {k for k, d in digests.items() if k in have and have[k] != d}
    if changed:
        try:
            before = store.evidence(job.target.id, full=True)
        except UsageError:  # past its keep: nothing to judge again
            before = None
        if before is not None:
            old = Evidence(job.target, before.state, before.as_of, before.facts, before.detail, before.ids)
            rejudged = {
                (f.control, f.school or ""): f
                for f in judge_job(planner, job, old)
                if (f.control, f.school or "") in changed
            }
    pairs = [(f, digests[f.control, f.school or ""]) for f in findings]
    store.save(run, evidence, pairs, rejudged, whole=not selection.narrows_controls)
    return findings


def _save_unseen(
    planner: Planner,
    store: Store,
    run: Run,
    job: Job,
    evidence: Evidence,
    findings: Sequence[Finding],
    digests: Mapping[tuple[str, str], str],
    *,
    whole: bool,
) -> list[Finding]:
    """Save a target that may be switched off. What is known of it stands.

    `findings` are its last evidence judged by today's rules; they count only where the rule is new or has changed
    since. What takes no reading (a person's answer, a role that it has not) is as of today.
    """
    have = store.rules(job.target.id)
    stands = {k for k, d in digests.items() if have.get(k) == d}
    again = {(f.control, f.school or ""): f for f in findings}
    blank = judge_job(planner, job, nothing(job.target, job.wanted, evidence.as_of, Reason.UNREACHABLE, ""))
    saved: list[Finding] = []
    rejudged: dict[tuple[str, str], Finding] = {}
    for finding in blank:
        key = (finding.control, finding.school or "")
        if finding.verdict is not Verdict.UNKNOWN:
            saved.append(finding)
        elif key not in stands and again[key].verdict is not Verdict.UNKNOWN:
            saved.append(again[key])
            rejudged[key] = again[key]
        elif key not in stands:
            saved.append(finding)
    pairs = [(f, digests[f.control, f.school or ""]) for f in saved]
    store.save(run, evidence, pairs, rejudged, whole=whole, stands=stands)
    return saved


def judge_job(planner: Planner, job: Job, evidence: Evidence) -> list[Finding]:
    """Findings of one target over all its baselines."""
    trust = planner.trust
    case = Case(evidence, trust.serving(job.target), {k: v for k, v in job.target.settings.items() if k == "base_dn"})
    out: list[Finding] = []
    for baseline, school in job.parts:
        out += judge(case, baseline.rules, school, trust.attestations)
    return out


def empty_inventories(planner: Planner) -> list[str]:
    """One sentence per school whose inventory gives no host: an inventory that asks another system may have failed."""
    have = {t.school for t in planner.targets()}
    names = [planner.trust.schools[key].name for key in planner.trust.inventories if key not in have]
    return [f"{name}: its inventory holds no hosts, so none was scanned." for name in names]


def silent_schools(planner: Planner, outcome: Outcome) -> list[str]:
    """One sentence per school of which nothing could be read (of two devices or more), with what the first said."""
    out = []
    for key, school in planner.trust.schools.items():
        mine = [t.id for t in planner.targets() if t.school == key and t.id in outcome.states]
        gone = [t for t in mine if outcome.states[t] is TargetState.UNREACHABLE]
        away = [t for t in mine if outcome.states[t] in (TargetState.UNREACHABLE, TargetState.NOT_SEEN)]
        if len(mine) > 1 and gone and away == mine:
            silent = outcome.no_answer >= set(mine)
            what = "answered. Is the link down?" if silent else "could be read."
            out.append(
                f"{school.name}: none of {len(mine)} devices {what} The first: {outcome.details[gone[0]]}".strip()
            )
    return out
