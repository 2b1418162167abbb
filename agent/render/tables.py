"""Findings as lines: NDJSON (the exchange truth), CSV for spreadsheets, rows of plain text for terminals. Pure."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from agent.model import MAX_OFFENDERS
from agent.render.snapshot import Row, Snapshot, TargetInfo, exchanged
from agent.render.summary import order
from agent.render.text import one_line, stamp, visible

FIELDS = (
    "run",
    "run_started",
    "school",
    "target",
    "kind",
    "platform",
    "control",
    "version",
    "title",
    "theme",
    "severity",
    "verdict",
    "reason",
    "expected",
    "observed",
    "offenders",
    "offender_keys",
    "offender_count",
    "exception",
    "exception_expires",
    "change",
    "first_seen",
    "evidence",
)
"""Names and order of a finding's fields, in NDJSON and CSV alike. Stable: others read them."""

CELL = 32_000
"""Characters in one CSV cell; spreadsheets hold 32,767. NDJSON holds all."""

_FORMULA = re.compile(r"[\s\u00a0'\"]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")


def records(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    """One flat record a finding, fields as in `FIELDS`, sorted by school (the trust's first), target, control.

    `school`, `exception`, `exception_expires`, `change` and `first_seen` are None where there is none; `offenders` and
    `offender_keys` are parallel lists of at most 1,000, `offender_count` is whole. Raises KeyError for a row whose
    control or target the snapshot does not know.
    """
    targets = {t.id: t for t in snapshot.targets}
    for row in sorted(snapshot.rows, key=order):
        target = targets[row.finding.target]
        yield _record(snapshot, exchanged(row, target), target)


def ndjson(snapshot: Snapshot) -> Iterator[str]:
    """The same as JSON, one line each, newline included. ASCII only: what is invisible stays readable, and exact."""
    for record in records(snapshot):
        yield json.dumps({k: _whole(v) for k, v in record.items()}, ensure_ascii=True, separators=(",", ":")) + "\n"


def ndjson_text(snapshot: Snapshot) -> str:
    """All lines of `ndjson` as one text."""
    return "".join(ndjson(snapshot))


def csv_text(snapshot: Snapshot) -> str:
    """The same as CSV with a header: long form, a finding a line, CRLF, everything quoted.

    Lists are joined by " | ". No cell can act as a formula, and none is longer than `CELL`.
    """
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(FIELDS)
    for record in records(snapshot):
        writer.writerow([cell(record[f]) for f in FIELDS])
    return out.getvalue()


def defuse(text: str) -> str:
    """Text for one cell of a spreadsheet: nothing hidden in it, and an apostrophe before what would be a formula."""
    text = visible(text)
    return f"'{text}" if _FORMULA.match(text) else text


def plain_rows(snapshot: Snapshot, rows: Iterable[Row] | None = None) -> list[tuple[str, str, str, str, str, str]]:
    """(school, target, control, verdict, change, what is wrong) for a terminal: one line each, no control characters.

    `rows` narrows to some findings; they come out sorted. The last column is the reason of an unknown, else what was
    observed, else the offenders.
    """
    targets = {t.id: t for t in snapshot.targets}
    out = []
    for row in sorted(snapshot.rows if rows is None else rows, key=order):
        f = row.finding
        what = f.reason or f.observed or ", ".join(o.label for o in f.offenders[:5])
        if row.exception is not None:
            what = f"(accepted: {row.exception}) {what}"
        name = targets[f.target].name if f.target in targets else f.target
        out.append(
            (
                one_line(f.school or "(trust)"),
                one_line(name),
                one_line(f.control),
                f.verdict.value,
                row.change.value,
                one_line(what),
            )
        )
    return out


def _record(snapshot: Snapshot, row: Row, target: TargetInfo) -> dict[str, Any]:
    f = row.finding
    control = snapshot.controls[f.control]
    shown = f.offenders[:MAX_OFFENDERS]
    return {
        "run": snapshot.run_id,
        "run_started": stamp(snapshot.run_started),
        "school": f.school,
        "target": target.name,
        "kind": target.kind.value,
        "platform": target.platform,
        "control": f.control,
        "version": f.version,
        "title": control.title,
        "theme": control.theme,
        "severity": control.severity.value,
        "verdict": f.verdict.value,
        "reason": f.reason,
        "expected": f.expected,
        "observed": f.observed,
        "offenders": [o.label for o in shown],
        "offender_keys": [o.key for o in shown],
        "offender_count": f.offender_count,
        "exception": row.exception,
        "exception_expires": row.exception_expires.isoformat() if row.exception_expires else None,
        "change": row.change.value or None,
        "first_seen": stamp(row.first_seen) if row.first_seen else None,
        "evidence": row.evidence,
    }


def _whole(value: Any) -> Any:
    """Half a surrogate pair is no character: strict JSON readers refuse it."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return [_whole(v) for v in value] if isinstance(value, list) else value


def cell(value: Any) -> str:
    """A value as a CSV cell: no formula, no invisible character, not longer than `CELL`."""
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    text = visible(" | ".join(value) if isinstance(value, list) else str(value))
    if len(text) > CELL:
        text = f"{text[:CELL]}… (cut; NDJSON has the rest)"
    return defuse(text)
