"""Runs, evidence and findings over time: SQLite beside the trust by default, PostgreSQL by URL.

Evidence is kept by content (one chunk per fact: most nights nothing changes), findings as spans. A run is committed
target by target.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, inspect, select, text, update

from agent import __version__
from agent.errors import StoreError, StoreTooNew, UsageError, suggest
from agent.model import Change, Evidence, Finding, Kind, Target, TargetState
from agent.store import content, sight, spans
from agent.store.engine import WRITES, make, one_scanner, plainly
from agent.store.lock import hold
from agent.store.tables import ACTIONS, RESULTS, RUNS, SPANS, TARGETS

KEEP_EVIDENCE = timedelta(days=35)
KEEP_NAMES = timedelta(days=90)
"""Defaults of retention, from the design: evidence 35 days, names of resolved offenders 90."""


@dataclass(frozen=True, slots=True)
class Run:
    """One scan. `planned` are ids of the targets that were due; `whole` says that nothing was narrowed."""

    id: str
    started: datetime
    finished: datetime | None
    status: str
    whole: bool
    planned: tuple[str, ...]
    selection: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """How one target ended one run."""

    run: str
    target: Target
    state: TargetState
    detail: str
    as_of: datetime
    manifest: str | None


class Store:
    """An open store. Use as a context manager. All methods raise `StoreError` in plain words."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._readings = content.Interner()

    # -------------------------------------------------------------------------------------------------- opening

    @classmethod
    def open(cls, folder: Path, url: str | None = None, *, create: bool = True) -> Store:
        """Open (and make or migrate) the store of a trust. `folder` is `.spiritlevel/`; `url` an SQLAlchemy URL.

        Raises `StoreTooNew` for a store of a newer version, `StoreError` for anything else.
        """
        file = folder / "store.sqlite"
        if url is None and not create and not file.exists():
            raise StoreError("there is no scan yet.", "Run `spiritlevel scan` first.")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # the lock lies here whatever the database
            if url is None and not file.exists():
                file.touch(mode=0o600)
        except OSError as e:
            raise StoreError(f"the store's folder {folder} cannot be written: {e.strerror}.") from None
        with plainly():
            engine = make(url or f"sqlite:///{file}")
            store = cls(engine, folder)
            try:
                store._migrate()
            except BaseException:
                engine.dispose()
                raise
        return store

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _migrate(self) -> None:
        from agent.store.migrations import HEAD, KNOWN

        with self._engine.connect() as db:
            tables = inspect(db).get_table_names()
            have = (
                db.execute(text("SELECT version_num FROM alembic_version")).scalar()
                if "alembic_version" in tables
                else None
            )
        if have == HEAD:
            return
        if have is not None and str(have) not in KNOWN:
            raise StoreTooNew(
                f"the store was written by a newer version of spiritlevel (its layout is {have}, "
                f"this version knows {HEAD}).",
                "Install that version; nothing was changed.",
            )
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.set_main_option("path_separator", "os")
        with self._write() as db:
            config.attributes["connection"] = db
            command.upgrade(config, "head")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store for a scan. Raises `StoreBusy`, naming when the other scan started."""
        with hold(self._folder), one_scanner(self._engine):
            yield

    # ----------------------------------------------------------------------------------------------------- runs

    def begin(self, started: datetime, planned: Sequence[str], selection: Mapping[str, Any]) -> Run:
        """Start a run; nothing of it counts until its targets are saved."""
        rid = f"{started.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        whole = not any(selection.values())
        with self._write() as db:
            # Runs are in the order of their ids, also two of one second, and when the clock was put back.
            newest = db.execute(select(func.max(RUNS.c.id))).scalar()
            if newest is not None and rid <= newest:
                rid = sight.after(newest)
            run = Run(rid, started, None, "running", whole, tuple(planned), dict(selection))
            db.execute(update(RUNS).where(RUNS.c.status == "running").values(status="interrupted"))
            db.execute(
                insert(RUNS).values(
                    id=rid,
                    started=_iso(started),
                    status="running",
                    whole=int(whole),
                    planned=json.dumps(list(planned)),
                    selection=json.dumps(dict(selection)),
                    version=__version__,
                )
            )
        return run

    def reopen(self, run: Run) -> Run:
        """Take an interrupted run up again."""
        with self._write() as db:
            db.execute(update(RUNS).where(RUNS.c.id == run.id).values(status="running", finished=None))
        return run

    def finish(self, run: Run, finished: datetime, status: str = "complete") -> None:
        """End a run: `complete` or `interrupted`."""
        with self._write() as db:
            db.execute(update(RUNS).where(RUNS.c.id == run.id).values(status=status, finished=_iso(finished)))

    def runs(self) -> list[Run]:
        """All runs, oldest first."""
        with self._read() as db:
            return [_run(r) for r in db.execute(select(RUNS).order_by(RUNS.c.id)).mappings()]

    def run(self, name: str = "last") -> Run:
        """A run by id, unique beginning of an id, ISO date (the last run that began by then), `last` or `previous`.

        Raises `UsageError`."""
        runs = self.runs()
        if not runs:
            raise UsageError("there is no scan yet.", "Run `spiritlevel scan` first.")
        if name in ("last", "previous"):
            if name == "previous" and len(runs) < 2:
                raise UsageError("there is only one scan so far.")
            return runs[-1] if name == "last" else runs[-2]
        hits = [r for r in runs if r.id == name or r.id.startswith(name)]
        if len(hits) == 1:
            return hits[0]
        try:
            day = datetime.fromisoformat(name)
        except ValueError:
            raise UsageError(f"there is no run {name!r}.", suggest(name, [r.id for r in runs])) from None
        limit = day.replace(tzinfo=day.tzinfo or UTC) + (timedelta(days=1) if len(name) <= 10 else timedelta())
        hits = [r for r in runs if r.started < limit]
        if not hits:
            raise UsageError(f"there was no scan by {name}; the first was {runs[0].started:%Y-%m-%d %H:%M} UTC.")
        return hits[-1]

    def done(self, run: Run) -> set[str]:
        """Ids of the targets that this run has saved."""
        with self._read() as db:
            return set(db.execute(select(RESULTS.c.target).where(RESULTS.c.run == run.id)).scalars())

    # ---------------------------------------------------------------------------------------- targets and evidence

    def save(
        self,
        run: Run,
        evidence: Evidence,
        findings: Sequence[tuple[Finding, str]],
        rejudged: Mapping[tuple[str, str], Finding],
        *,
        whole: bool = True,
        stands: Collection[tuple[str, str]] = (),
    ) -> None:
        """Save one target of a run, whole or not at all: evidence, and findings with their rules' digests.

        `rejudged` holds, by (control, school), previous evidence judged by a rule that has changed since. `whole` says
        that every control of the target's baseline was judged: findings of others end, but for those that `stands`
        names by (control, school), which nobody looked at and which stay as they are.
        """
        with self._write() as db:
            target = evidence.target
            spans.know_target(db, target, run.id)
            manifest = content.put(db, evidence.facts)
            db.execute(delete(RESULTS).where(RESULTS.c.run == run.id, RESULTS.c.target == target.id))
            db.execute(
                insert(RESULTS).values(
                    run=run.id,
                    target=target.id,
                    state=evidence.state.value,
                    detail=evidence.detail,
                    as_of=_iso(evidence.as_of),
                    manifest=manifest,
                    ids=json.dumps(dict(evidence.ids)),
                )
            )
            have = spans.held(db, target.id)
            spans.save(db, run.id, target.id, findings, rejudged, have)
            if whole:
                kept = {*stands, *((f.control, f.school or "") for f, _ in findings)}
                spans.close_missing(db, run.id, target, have, kept)

    def retire(self, run: Run, keep: Sequence[str]) -> list[str]:
        """Retire targets that are no longer in the trust; their findings end as `retired`. Gives their ids."""
        with self._write() as db:
            return spans.retire(db, run.id, set(keep))

    def results(self, run: Run) -> list[Result]:
        """How each target ended a run."""
        with self._read() as db:
            return [self._result(r) for r in self._latest(db, run, exact=True)]

    def latest(self, run: Run | None = None) -> list[Result]:
        """The last result of every target that is not retired, as of a run (or now)."""
        with self._read() as db:
            return [self._result(r) for r in self._latest(db, run, exact=False)]

    def _latest(
        self,
        db: Connection,
        run: Run | None,
        *,
        exact: bool,
        only: str | None = None,
        full: bool = False,
        read: bool = False,
    ) -> list[Any]:
        joined = select(RESULTS, TARGETS.c.name, TARGETS.c.school, TARGETS.c.kind, TARGETS.c.platform, TARGETS.c.serves)
        joined = joined.join(TARGETS, TARGETS.c.id == RESULTS.c.target)
        if only is not None:
            joined = joined.where(RESULTS.c.target == only)
        if exact and run is not None:
            joined = joined.where(RESULTS.c.run == run.id)
        else:
            newest = select(RESULTS.c.target, func.max(RESULTS.c.run).label("run")).group_by(RESULTS.c.target)
            if run is not None:
                newest = newest.where(RESULTS.c.run <= run.id)
            if only is not None:
                newest = newest.where(RESULTS.c.target == only)
            if read:
                newest = newest.where(RESULTS.c.state.in_(sight.READ))
            if full:  # a scan of a few controls read only what those need
                newest = newest.where(RESULTS.c.run.in_(select(RUNS.c.id).where(*sight.all_controls())))
            sub = newest.subquery()
            joined = joined.join(sub, (sub.c.target == RESULTS.c.target) & (sub.c.run == RESULTS.c.run))
            there = TARGETS.c.retired_run.is_(None)
            joined = joined.where(there if run is None else there | (TARGETS.c.retired_run > run.id))
        return list(db.execute(joined.order_by(RESULTS.c.target)).mappings())

    def _result(self, r: Any) -> Result:
        target = Target(r["name"], Kind(r["kind"]), r["platform"], r["school"], {}, (), tuple(json.loads(r["serves"])))
        return Result(r["run"], target, TargetState(r["state"]), r["detail"], _time(r["as_of"]), r["manifest"])

    def evidence(self, target_id: str, run: Run | None = None, *, full: bool = False, read: bool = False) -> Evidence:
        """Evidence of one target as of a run (or the last). Raises `UsageError` where none is kept.

        `full` leaves out scans that were narrowed to some controls: for judging all of them again. `read` leaves out
        runs in which the target could not be read.
        """
        with self._read() as db:
            row = next(iter(self._latest(db, run, exact=False, only=target_id, full=full, read=read)), None)
            if row is None:
                raise UsageError(f"there is no evidence of {target_id}.", "See `spiritlevel list targets`.")
            if row["manifest"] is None:
                raise UsageError(f"the evidence of {target_id} from run {row['run']} is past its keep of 35 days.")
            facts = content.get(db, row["manifest"], self._readings)
            result = self._result(row)
            return Evidence(result.target, result.state, result.as_of, facts, result.detail, json.loads(row["ids"]))

    def last_read(self, target_id: str) -> datetime | None:
        """When a target was last really read, or None."""
        with self._read() as db:
            return sight.last_read(db, target_id)

    def first_tried(self, target_id: str) -> datetime | None:
        """When a target was first tried, or None."""
        with self._read() as db:
            return sight.first_tried(db, target_id)

    # ------------------------------------------------------------------------------------------------- findings

    def findings(self, run: Run | None = None) -> list[spans.Kept]:
        """Findings that hold now, or that held as of a run."""
        with self._read() as db:
            return spans.standing(db, run.id if run else None)

    def verdict_counts(self, run: Run) -> dict[str, int]:
        """Verdict word → findings that stood at the end of a run."""
        held = SPANS.c.end_run.is_(None) | (SPANS.c.end_run >= run.id)
        query = select(SPANS.c.verdict, func.count()).where(
            SPANS.c.first_run <= run.id, held, SPANS.c.change != Change.RETIRED.value
        )
        with self._read() as db:
            return {verdict: number for verdict, number in db.execute(query.group_by(SPANS.c.verdict))}

    def rules(self, target_id: str) -> dict[tuple[str, str], str]:
        """Digests of the rules behind a target's present findings, by (control, school)."""
        with self._read() as db:
            rows = db.execute(
                select(SPANS.c.control, SPANS.c.school, SPANS.c.rule).where(
                    SPANS.c.target == target_id, SPANS.c.end_run.is_(None)
                )
            )
            return {(r.control, r.school): r.rule for r in rows}

    # -------------------------------------------------------------------------------------------- keeping little

    def purge(self, now: datetime) -> int:
        """Delete evidence that is past its keep and names of offenders resolved long ago. Gives chunks deleted."""
        with self._write() as db:
            limit = _iso(now - KEEP_EVIDENCE)
            db.execute(update(RESULTS).where(RESULTS.c.as_of < limit).values(manifest=None))
            spans.forget_names(db, f"{now - KEEP_NAMES:%Y%m%dT%H%M%SZ}")
            return content.sweep(db)  # last: it takes the details with the names away

    def record(self, at: datetime, who: str, what: Mapping[str, Any]) -> None:
        """Note an action (a fix applied, an exception added): who, when, what."""
        with self._write() as db:
            db.execute(insert(ACTIONS).values(at=_iso(at), who=who, what=json.dumps(dict(what))))

    def actions(self) -> list[dict[str, Any]]:
        """Actions, oldest first."""
        with self._read() as db:
            rows = db.execute(select(ACTIONS).order_by(ACTIONS.c.id)).mappings()
            return [{"at": r["at"], "who": r["who"], **json.loads(r["what"])} for r in rows]

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with plainly(), self._engine.connect().execution_options(**WRITES) as db, db.begin():
            yield db

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with plainly(), self._engine.connect() as db:
            yield db


def _run(r: Any) -> Run:
    return Run(
        r["id"],
        _time(r["started"]),
        _time(r["finished"]) if r["finished"] else None,
        r["status"],
        bool(r["whole"]),
        tuple(json.loads(r["planned"])),
        json.loads(r["selection"]),
    )


def _iso(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text_: str) -> datetime:
    return datetime.fromisoformat(text_)
