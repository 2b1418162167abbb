"""Evidence by content: each fact one compressed chunk named by its hash, each target one manifest of chunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select

from agent.model import Facts, Partial, Reading
from agent.store.columns import LONG, pack, unpack, value_of
from agent.store.tables import CHUNKS, DETAILS, MANIFESTS, RESULTS, SPANS


class Interner:
    """Hands out one `Reading` per content, so that judging recognises what it has seen. Bounded."""

    def __init__(self, limit: int = 200_000) -> None:
        self._known: dict[str, Reading] = {}
        self._limit = limit

    def get(self, digest: str) -> Reading | None:
        """The reading of that content, if it was met before."""
        return self._known.get(digest)

    def put(self, digest: str, reading: Reading) -> Reading:
        """Remember a reading; gives the one to use."""
        if len(self._known) >= self._limit:
            self._known.clear()
        return self._known.setdefault(digest, reading)


def put(db: Connection, facts: Facts) -> str:
    """Store facts; what is there already costs nothing. Gives the manifest's hash."""
    names: dict[str, str] = {}
    bodies: dict[str, bytes] = {}
    for name, reading in facts.items():
        digest, body = _packed(reading)
        names[name] = digest
        bodies[digest] = body
    _add(db, CHUNKS, bodies)
    digest, body = pack(names)
    _add(db, MANIFESTS, {digest: body})
    return digest


def _packed(reading: Reading) -> tuple[str, bytes]:
    """A reading as it is written down. What a fleet has in common is packed once."""
    items = reading.value.items if isinstance(reading.value, Partial) else reading.value
    if isinstance(items, list | tuple) and len(items) >= LONG:  # met once: nothing to hold on to
        return pack(reading.value)
    return _remembered(reading)


@lru_cache(maxsize=4096)
def _remembered(reading: Reading) -> tuple[str, bytes]:  # readings compare by identity, and never change
    return pack(reading.value)


def _add(db: Connection, table: Table, bodies: Mapping[str, bytes]) -> None:
    have = set(_among(db, table, bodies))
    rows = [{"hash": h, "body": b} for h, b in bodies.items() if h not in have]
    if rows:
        db.execute(insert(table), rows)


def _among(db: Connection, table: Table, hashes: Iterable[str]) -> list[str]:
    wanted = list(hashes)
    out: list[str] = []
    for i in range(0, len(wanted), 500):  # SQLite takes 999 variables at most in old builds
        out += db.execute(select(table.c.hash).where(table.c.hash.in_(wanted[i : i + 500]))).scalars().all()
    return out


def get(db: Connection, manifest: str, interner: Interner) -> dict[str, Reading]:
    """Facts of a manifest. A chunk that is gone (purged by hand) is simply not there: not collected."""
    body = db.execute(select(MANIFESTS.c.body).where(MANIFESTS.c.hash == manifest)).scalar()
    if body is None:
        return {}
    names: dict[str, str] = unpack(body)
    # Taken out of the interner at once: it may forget while the others are read.
    found = {h: reading for h in names.values() if (reading := interner.get(h)) is not None}
    missing = [h for h in dict.fromkeys(names.values()) if h not in found]
    for i in range(0, len(missing), 500):
        rows = db.execute(select(CHUNKS.c.hash, CHUNKS.c.body).where(CHUNKS.c.hash.in_(missing[i : i + 500])))
        for digest, chunk in rows:
            found[digest] = interner.put(digest, Reading(value_of(unpack(chunk))))
    return {name: found[digest] for name, digest in names.items() if digest in found}


def put_detail(db: Connection, value: Any) -> str:
    """Store a finding's details; gives their hash."""
    digest, body = pack(value)
    put_details(db, {digest: body})
    return digest


def put_details(db: Connection, packed: Mapping[str, bytes]) -> None:
    """Store the details of many findings at once, packed and by hash."""
    _add(db, DETAILS, packed)


def sweep(db: Connection) -> int:
    """Delete manifests and chunks that nothing names any more. Gives how many chunks went."""
    used = set(db.execute(select(RESULTS.c.manifest).where(RESULTS.c.manifest.is_not(None)).distinct()).scalars())
    named: set[str] = set()
    for digest, body in db.execute(select(MANIFESTS.c.hash, MANIFESTS.c.body)).all():
        if digest in used:
            named.update(unpack(body).values())
        else:
            db.execute(delete(MANIFESTS).where(MANIFESTS.c.hash == digest))
    gone = [h for h in db.execute(select(CHUNKS.c.hash)).scalars() if h not in named]
    for i in range(0, len(gone), 500):
        db.execute(delete(CHUNKS).where(CHUNKS.c.hash.in_(gone[i : i + 500])))
    kept = set(db.execute(select(SPANS.c.detail).distinct()).scalars())
    for digest in db.execute(select(DETAILS.c.hash)).scalars().all():
        if digest not in kept:
            db.execute(delete(DETAILS).where(DETAILS.c.hash == digest))
    return len(gone)
