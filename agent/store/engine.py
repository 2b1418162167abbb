"""The database under the store: opening, pragmas, and its errors in plain words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from agent.errors import StoreBusy, StoreError

DAMAGED = ("the store's file is damaged.", "Restore .spiritlevel/ from a backup, or move it away.")
_LOCK = 0x5350_4C56
"""Number of the advisory lock: any, as long as it is ours."""
WRITES = {"spiritlevel_writes": True}
"""Execution options of a connection that will write."""


def make(url: str) -> Engine:
    """An engine for a URL; `postgresql:` means psycopg 3. Raises `StoreError` where its driver is not installed."""
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        engine = create_engine(parsed)
    except ImportError as e:
        raise StoreError(
            f"the store's database needs the Python package {e.name}.", "Install spiritlevel[postgres]."
        ) from None
    except ArgumentError:  # its text may hold the URL, and that a password
        raise StoreError("the store's address is no database URL.", "Write postgresql://user@host/name.") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", sqlite_pragmas)
        event.listen(engine, "begin", _sqlite_begin)
    return engine


def _sqlite_begin(connection: Connection) -> None:
    # Whoever will write takes the lock at once: a lock asked for later may be refused instead of waited for.
    writes = connection.get_execution_options().get("spiritlevel_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def sqlite_pragmas(connection: Any, _record: Any) -> None:
    """Set up one SQLite connection."""
    # WAL lets reports read while a scan writes; a store that a crash left behind is whole after the next open.
    # Transactions are begun by hand (`_sqlite_begin`): left to itself, the driver commits between two CREATE TABLE, and
    # a migration that was killed would leave half a store.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA busy_timeout=15000")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
    finally:
        cursor.close()


@contextmanager
def plainly() -> Iterator[None]:
    """Database errors as one sentence each."""
    try:
        yield
    except DBAPIError as e:
        words = str(e.orig).lower()
        if "full" in words or "no space" in words:
            raise StoreError(
                "the disk is full: this was not saved; what was saved before is whole.",
                "Free some space and run `spiritlevel scan --resume`.",
            ) from None
        if "disk i/o" in words:  # also what SQLite says of a full disk on which its shared memory lies
            raise StoreError(
                "the disk is full or failing: this was not saved; what was saved before is whole.",
                "Free some space and run `spiritlevel scan --resume`.",
            ) from None
        if "readonly" in words or "read-only" in words or "unable to open" in words:
            raise StoreError(
                "the store cannot be written: its disk, folder or file is read-only.",
                "Check who owns .spiritlevel/ and where it lies.",
            ) from None
        if "not a database" in words or "malformed" in words:
            raise StoreError(*DAMAGED) from None
        raise StoreError(f"the store failed: {str(e.orig).splitlines()[0][:200]}.") from None
    except SQLAlchemyError as e:
        raise StoreError(f"the store failed: {str(e).splitlines()[0][:200]}.") from None
    except OSError as e:
        raise StoreError(f"the store cannot be used: {os.strerror(e.errno) if e.errno else e}.") from None


@contextmanager
def one_scanner(engine: Engine) -> Iterator[None]:
    """On PostgreSQL, which several machines may share: hold its advisory lock for a scan. Raises `StoreBusy`.

    The server drops it by itself when the connection ends, however it ends.
    """
    if engine.dialect.name != "postgresql":
        yield
        return
    with plainly():
        db = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        with plainly():
            got = db.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}).scalar()
            started = (
                None if got else db.execute(text("SELECT max(started) FROM runs WHERE status = 'running'")).scalar()
            )
        if not got:
            when = f", started {started}" if started else ""
            raise StoreBusy(f"another scan is running, on another machine{when}.", "Wait for it to end, or stop it.")
        yield
    finally:
        db.invalidate()  # closes it for good: the lock belongs to the connection
        db.close()
