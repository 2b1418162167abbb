"""Looking after the store: what is in it, and taking one person out of it."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, select, text, update

from agent.errors import StoreError
from agent.model import Partial
from agent.store import Store, content
from agent.store.columns import unpack, value_of
from agent.store.tables import ACTIONS, CHUNKS, DETAILS, MANIFESTS, RESULTS, RUNS, SPANS, TARGETS

REMOVED = "(removed)"
"""Stands where a name was."""
SHORTEST = 3
"""Characters of a name that may be removed: a shorter one would match half of everything."""
OWN_NAMES = ("name", "upn", "sid", "dn", "id")
"""Fields in which accounts, of directory and tenant alike, say who they are."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was changed: findings whose details named the person, readings deleted, notes and actions rewritten."""

    findings: int
    readings: int
    notes: int

    @property
    def nothing(self) -> bool:
        """Whether the person was not in the store."""
        return not (self.findings or self.readings or self.notes)


def forget_person(store: Store, name: str) -> Forgotten:
    """Take a person out: offenders of that label or key, the name in texts, and evidence that holds it.

    What evidence knows the person by beside the name (SID, distinguished name, sign-in name) is taken out as well: a
    group lists its members by those. Upper and lower case count the same; a name counts only as a word of its own.
    Counts and verdicts stay. SQLite's file is rewritten, so that nothing stays behind in free pages. Raises
    `StoreError`, ValueError for a name of fewer than three characters.
    """
    wanted = name.strip().casefold()
    if len(wanted) < SHORTEST:
        raise ValueError("a name of fewer than three characters would match too much")
    with store._write() as db:
        keys = _keys(db, wanted)
        # the longest first: a sign-in name goes whole, not only the name that it begins with
        words = "|".join(re.escape(k) for k in sorted({name.strip(), *keys}, key=len, reverse=True))
        word = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
        findings = _details(db, keys, word)
        _fresh(db, keys)
        readings = _chunks(db, word)
        notes = _texts(db, word)
        content.sweep(db)
    _compact(store)
    return Forgotten(findings, readings, notes)


def _keys(db: Connection, wanted: str) -> set[str]:
    """All that the person is known by anywhere, in lower case: keys of offenders, and what evidence says of them."""
    keys = {wanted}
    for body in db.execute(select(CHUNKS.c.body)).scalars():
        value = unpack(body)
        if _holds(value, re.compile(re.escape(wanted), re.IGNORECASE)):
            keys |= {k for record in _records(value_of(value)) for k in _identity(record, wanted)}
    for body in db.execute(select(DETAILS.c.body)).scalars():
        keys |= {str(o[0]).casefold() for o in unpack(body)["offenders"] if str(o[1]).casefold() in keys}
    return {k for k in keys if len(k) >= SHORTEST}


def _records(value: Any) -> Iterator[dict[str, Any]]:
    """Every record inside a reading's value."""
    if isinstance(value, Partial):
        value = value.items
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        if isinstance(part, dict | list | tuple | Partial):
            yield from _records(part)


def _identity(record: dict[str, Any], wanted: str) -> set[str]:
    """What a record that goes by the wanted name calls itself, where it is somebody's own record."""
    own = {n: str(record[n]).casefold() for n in OWN_NAMES if isinstance(record.get(n), str)}
    return set(own.values()) if wanted in own.values() else set()


def _details(db: Connection, keys: set[str], word: re.Pattern[str]) -> int:
    changed = 0
    for digest, body in db.execute(select(DETAILS.c.hash, DETAILS.c.body)).all():
        old = unpack(body)
        new = {**old, "offenders": [_offender(o, keys, word) for o in old["offenders"]]}
        new.update({k: word.sub(REMOVED, new[k]) for k in ("reason", "expected", "observed")})
        if new == old:
            continue
        fresh = content.put_detail(db, new)
        changed += db.execute(update(SPANS).where(SPANS.c.detail == digest).values(detail=fresh)).rowcount
        db.execute(delete(DETAILS).where(DETAILS.c.hash == digest))
    return changed


def _offender(o: list[Any], keys: set[str], word: re.Pattern[str]) -> list[Any]:
    if str(o[1]).casefold() in keys or str(o[0]).casefold() in keys:
        return [REMOVED, REMOVED, ""]
    return [word.sub(REMOVED, str(part)) for part in o]


def _fresh(db: Connection, keys: set[str]) -> None:
    for row in db.execute(select(SPANS.c.id, SPANS.c.fresh).where(SPANS.c.fresh != "[]")).all():
        old = json.loads(row.fresh)
        new = [REMOVED if str(k).casefold() in keys else k for k in old]
        if new != old:
            db.execute(update(SPANS).where(SPANS.c.id == row.id).values(fresh=json.dumps(new)))


def _chunks(db: Connection, word: re.Pattern[str]) -> int:
    """Delete evidence that holds the name; what read it judges as not collected."""
    gone = [
        digest for digest, body in db.execute(select(CHUNKS.c.hash, CHUNKS.c.body)).all() if _holds(unpack(body), word)
    ]
    for digest in gone:
        db.execute(delete(CHUNKS).where(CHUNKS.c.hash == digest))
    return len(gone)


def _holds(value: Any, word: re.Pattern[str]) -> bool:
    if isinstance(value, str):
        return word.search(value) is not None
    if isinstance(value, list):
        return any(_holds(v, word) for v in value)
    if isinstance(value, dict):
        return any(_holds(v, word) for v in value.values())
    return False


def _texts(db: Connection, word: re.Pattern[str]) -> int:
    """The name in sentences about targets, and in what actions were about (who acted stays: that is the record)."""
    changed = 0
    for row in db.execute(
        select(RESULTS.c.run, RESULTS.c.target, RESULTS.c.detail).where(RESULTS.c.detail != "")
    ).all():
        new = word.sub(REMOVED, row.detail)
        if new != row.detail:
            db.execute(
                update(RESULTS).where(RESULTS.c.run == row.run, RESULTS.c.target == row.target).values(detail=new)
            )
            changed += 1
    for action in db.execute(select(ACTIONS.c.id, ACTIONS.c.what)).all():
        new = json.dumps(_scrub(json.loads(action.what), word))
        if new != action.what:
            db.execute(update(ACTIONS).where(ACTIONS.c.id == action.id).values(what=new))
            changed += 1
    return changed


def _scrub(value: Any, word: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return word.sub(REMOVED, value)
    if isinstance(value, list):
        return [_scrub(v, word) for v in value]
    if isinstance(value, dict):
        return {k: _scrub(v, word) for k, v in value.items()}
    return value


def info(store: Store) -> dict[str, Any]:
    """What the store holds: layout, where, bytes, and how many of each; `first` and `last` scan, or None."""
    with store._read() as db:
        count = {
            t.name: db.execute(select(func.count()).select_from(t)).scalar_one()
            for t in (RUNS, TARGETS, SPANS, MANIFESTS, CHUNKS, DETAILS, ACTIONS)
        }
        retired = db.execute(select(func.count()).select_from(TARGETS).where(TARGETS.c.retired_run.is_not(None)))
        oldest = db.execute(select(func.min(RESULTS.c.as_of)).where(RESULTS.c.manifest.is_not(None))).scalar()
        first, last = db.execute(select(func.min(RUNS.c.started), func.max(RUNS.c.started))).one()
        layout = db.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return {
            "place": _place(store),
            "layout": layout,
            "bytes": _size(store, db),
            "runs": count["runs"],
            "first": first,
            "last": last,
            "targets": count["targets"],
            "retired": retired.scalar_one(),
            "findings": count["spans"],
            "readings": count["chunks"],
            "oldest_evidence": oldest,
            "actions": count["actions"],
        }


def _place(store: Store) -> str:
    """Where it is; a URL's password is not shown."""
    url = store._engine.url
    return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def _size(store: Store, db: Connection) -> int:
    if store._engine.dialect.name == "sqlite":
        page = db.execute(text("PRAGMA page_size")).scalar_one()
        return int(page) * int(db.execute(text("PRAGMA page_count")).scalar_one())
    return int(db.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


def _compact(store: Store) -> None:
    """Rewrite SQLite's file and empty its log: deleted rows otherwise stay readable in both."""
    store._readings = content.Interner()
    if store._engine.dialect.name != "sqlite":
        return
    # Outside any transaction, which the engine begins by itself: hence the driver's own connection.
    connection = store._engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("VACUUM")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise StoreError(
            f"the name is gone from the store, but its file could not be rewritten: {error}.",
            "Free some disk space and run this again.",
        ) from None
    finally:
        connection.close()
