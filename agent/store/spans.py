"""Findings as spans: a row says from which run to which a finding stood as it was. Only change costs a row."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from agent.change import BLIND, KNOWN, Past, compare, fresh
from agent.model import Change, Finding, Offender, Target, Verdict
from agent.store import content
from agent.store.columns import LONG, pack, unpack
from agent.store.tables import DETAILS, RUNS, SPANS, TARGETS


@dataclass(frozen=True, slots=True)
class Kept:
    """A finding as the store holds it.

    `change` is what became of it in run `first_run`, when it took its present form; `fresh` are keys of the offenders
    that were new then; `since` the run in which the present failing began.
    """

    finding: Finding
    change: Change
    fresh: frozenset[str]
    since: str
    first_run: str
    rule: str
    known: Finding | None
    """The last real pass or fail: the finding itself, or what it was before sight of it was lost."""


def know_target(db: Connection, target: Target, run: str) -> None:
    """Make sure that a target is listed, with what is true of it now; one that was retired is back."""
    values = {
        "name": target.name,
        "school": target.school,
        "kind": target.kind.value,
        "platform": target.platform,
        "serves": json.dumps(list(target.serves)),
        "retired_run": None,
    }
    if db.execute(update(TARGETS).where(TARGETS.c.id == target.id).values(**values)).rowcount == 0:
        db.execute(insert(TARGETS).values(id=target.id, first_run=run, **values))


def held(db: Connection, target: str) -> dict[tuple[str, str], Any]:
    """A target's open spans, by (control, school)."""
    rows = db.execute(select(SPANS).where(SPANS.c.target == target, SPANS.c.end_run.is_(None))).mappings()
    return {(r["control"], r["school"]): r for r in rows}


def save(
    db: Connection,
    run: str,
    target: str,
    findings: Sequence[tuple[Finding, str]],
    rejudged: Mapping[tuple[str, str], Finding],
    have: Mapping[tuple[str, str], Any],
) -> None:
    """Lay a run's findings of one target over the spans that it has (`have`, see `held`).

    Saving the same run twice changes nothing the second time.
    """
    before = _previous_run(db, run)
    # A target's first night is a hundred new findings: read and written in a few statements, not in hundreds.
    standing_still = {key for key, row in have.items() if row["first_run"] != run}
    fresh_ones = any((f.control, f.school or "") not in standing_still for f, _ in findings)
    ended = _ended(db, target) if fresh_ones else {}
    rows: list[dict[str, Any]] = []
    details: dict[str, bytes] = {}
    for finding, rule in findings:
        key = (finding.control, finding.school or "")
        blind = finding.verdict in BLIND
        old = have.get(key)
        if old is not None and old["digest"] == finding.digest and (old["rule"] == rule or blind):
            continue
        if old is not None and old["first_run"] == run:  # this run has saved another word of it: take that back
            db.execute(SPANS.delete().where(SPANS.c.id == old["id"]))
            old = _reopened(db, target, key, before)
            if old is not None and old["digest"] == finding.digest and (old["rule"] == rule or blind):
                continue
        past = None
        if old is not None:
            last = _finding(db, old)
            past = Past(last, _known(db, old, last), old["since"])
        elif (earlier := ended.get(key)) is not None and earlier["rule"] == rule:
            last = _finding(db, earlier)
            past = Past(last, _known(db, earlier, last), earlier["since"])
        if old is not None and blind and past is not None and past.known is not None:
            rule = old["rule"]  # nothing was judged by the new rule yet: its step is told when something is
        changed = compare(finding, past, run, rejudged.get(key))
        if old is not None:
            db.execute(update(SPANS).where(SPANS.c.id == old["id"]).values(end_run=before or run))
        detail, body = _packed(finding)
        details[detail] = body
        rows.append(
            {
                "target": target,
                "school": key[1],
                "control": finding.control,
                "version": finding.version,
                "rule": rule,
                "verdict": finding.verdict.value,
                "digest": finding.digest,
                "detail": detail,
                "change": changed.change.value,
                "fresh": json.dumps(fresh(changed)),
                "since": changed.since,
                "first_run": run,
            }
        )
    if rows:
        content.put_details(db, details)
        db.execute(insert(SPANS), rows)


def _previous_run(db: Connection, run: str) -> str | None:
    """The run before this one, of whatever targets: a span that ends holds up to there."""
    return db.execute(select(func.max(RUNS.c.id)).where(RUNS.c.id < run)).scalar()


def _reopened(db: Connection, target: str, key: tuple[str, str], end: str | None) -> Any:
    """The span that this run had ended, taken up again; None where there is none."""
    row = _closed(db, target, key)
    if row is None or row["end_run"] != end:
        return None
    db.execute(update(SPANS).where(SPANS.c.id == row["id"]).values(end_run=None))
    return row


def close_missing(
    db: Connection, run: str, target: Target, have: Mapping[tuple[str, str], Any], kept: Collection[tuple[str, str]]
) -> None:
    """End the spans of controls that are no longer in the target's baseline: no word of drift, just not judged.

    `have` are its spans before this run's were laid over them. Of a school that a shared target serves no more, what
    failed gets a last word, `retired`.
    """
    missing = [row for key, row in have.items() if key not in kept]
    before = _previous_run(db, run) or run if missing else run
    for row in missing:
        left = target.school is None and row["school"] != "" and row["school"] not in target.serves
        _end(db, row, run, before, retired=left)


def retire(db: Connection, run: str, keep: set[str]) -> list[str]:
    """End every target that is not kept; failing findings of it get a last word, `retired`."""
    gone = [
        t for t in db.execute(select(TARGETS.c.id).where(TARGETS.c.retired_run.is_(None))).scalars() if t not in keep
    ]
    for target in gone:
        db.execute(update(TARGETS).where(TARGETS.c.id == target).values(retired_run=run))
        before = _previous_run(db, run) or run
        for row in (
            db.execute(select(SPANS).where(SPANS.c.target == target, SPANS.c.end_run.is_(None))).mappings().all()
        ):
            _end(db, row, run, before, retired=True)
    return gone


def _end(db: Connection, row: Any, run: str, before: str, *, retired: bool) -> None:
    """End an open span with run `before`; `retired` adds a span of this one run where it was failing."""
    db.execute(update(SPANS).where(SPANS.c.id == row["id"]).values(end_run=before))
    # what nobody could see any more, but failed when it was last seen, was failing
    if retired and (row["verdict"] == Verdict.FAIL.value or row["change"] == Change.PERSISTING.value):
        values = {k: v for k, v in row.items() if k not in ("id", "change", "first_run", "end_run", "fresh")}
        db.execute(insert(SPANS).values(**values, change=Change.RETIRED.value, fresh="[]", first_run=run, end_run=run))


def standing(db: Connection, run: str | None) -> list[Kept]:
    """Findings that hold now (retired targets excluded), or that held at the end of a run."""
    query = select(SPANS, DETAILS.c.body).join(DETAILS, DETAILS.c.hash == SPANS.c.detail)
    if run is None:
        query = query.where(SPANS.c.end_run.is_(None))
    else:
        query = query.where(SPANS.c.first_run <= run, SPANS.c.end_run.is_(None) | (SPANS.c.end_run >= run))
    rows = db.execute(query.order_by(SPANS.c.target, SPANS.c.control, SPANS.c.school, SPANS.c.id)).mappings()
    unpacked: dict[str, Any] = {}
    out: dict[tuple[str, str, str], Kept] = {}
    for r in rows:
        body = unpacked.get(r["detail"])
        if body is None:
            body = unpacked[r["detail"]] = unpack(r["body"])
        finding = _build(r, body)
        key = (r["target"], r["control"], r["school"])
        out[key] = Kept(
            finding,
            Change(r["change"]),
            frozenset(json.loads(r["fresh"])),
            r["since"],
            r["first_run"],
            r["rule"],
            _known(db, r, finding),
        )
    return list(out.values())


_TOLD = attrgetter("reason", "expected", "observed", "offender_count", "possible", "offenders")


def _detail(
    reason: str, expected: str, observed: str, count: int, possible: int, offenders: Sequence[Offender]
) -> dict[str, Any]:
    return {
        "reason": reason,
        "expected": expected,
        "observed": observed,
        "count": count,
        "possible": possible,
        "offenders": [[o.key, o.label, o.value] for o in offenders],
    }


def _packed(f: Finding) -> tuple[str, bytes]:
    """The details of a finding as they are written down. What a fleet has in common is packed once."""
    told = _TOLD(f)
    return pack(_detail(*told)) if len(f.offenders) >= LONG else _remembered(told)


@lru_cache(maxsize=4096)
def _remembered(told: tuple[Any, ...]) -> tuple[str, bytes]:
    return pack(_detail(*told))


def _finding(db: Connection, row: Any) -> Finding:
    body = db.execute(select(DETAILS.c.body).where(DETAILS.c.hash == row["detail"])).scalar_one()
    return _build(row, unpack(body))


def _build(row: Any, body: dict[str, Any]) -> Finding:
    return Finding(
        row["control"],
        row["version"],
        row["target"],
        row["school"] or None,
        Verdict(row["verdict"]),
        body["reason"],
        body["expected"],
        body["observed"],
        tuple(Offender(*o) for o in body["offenders"]),
        body["count"],
        body["possible"],
        row["digest"],
    )


def _known(db: Connection, row: Any, last: Finding) -> Finding | None:
    """The last real pass or fail of a finding, looking back from `row`, but not beyond a failing that was retired."""
    if last.verdict in KNOWN:
        return last
    if row["change"] == Change.RETIRED.value:
        return None
    earlier = (
        db.execute(
            select(SPANS)
            .where(
                SPANS.c.target == row["target"],
                SPANS.c.control == row["control"],
                SPANS.c.school == row["school"],
                SPANS.c.id < row["id"],
                SPANS.c.verdict.in_([v.value for v in KNOWN]) | (SPANS.c.change == Change.RETIRED.value),
            )
            .order_by(SPANS.c.id.desc())
            .limit(1)
        )
        .mappings()
        .first()
    )
    if earlier is None or earlier["change"] == Change.RETIRED.value:
        return None
    return _finding(db, earlier)


def _closed(db: Connection, target: str, key: tuple[str, str]) -> Any:
    """The last span of a finding that had ended (its target or control was away for a while)."""
    row = (
        db.execute(
            select(SPANS)
            .where(SPANS.c.target == target, SPANS.c.control == key[0], SPANS.c.school == key[1])
            .order_by(SPANS.c.id.desc())
            .limit(1)
        )
        .mappings()
        .first()
    )
    return None if row is None or row["change"] == Change.RETIRED.value else row


def _ended(db: Connection, target: str) -> dict[tuple[str, str], Any]:
    """By (control, school), the last of a target's spans that have ended, unless it ended as retired."""
    query = select(SPANS).where(SPANS.c.target == target, SPANS.c.end_run.is_not(None)).order_by(SPANS.c.id)
    last = {(r["control"], r["school"]): r for r in db.execute(query).mappings()}
    return {k: r for k, r in last.items() if r["change"] != Change.RETIRED.value}


def forget_names(db: Connection, before: str) -> None:
    """Take offenders' names out of spans that ended before a run id; their number stays."""
    named = [Verdict.FAIL.value, Verdict.UNKNOWN.value]  # the others have none
    query = select(SPANS).where(SPANS.c.end_run.is_not(None), SPANS.c.end_run < before, SPANS.c.verdict.in_(named))
    rows = db.execute(query).mappings().all()
    for row in rows:
        finding = _finding(db, row)
        if finding.offenders:
            bare = content.put_detail(db, _detail(*_TOLD(replace(finding, offenders=(), observed=""))))
            db.execute(update(SPANS).where(SPANS.c.id == row["id"]).values(detail=bare, fresh="[]"))
