"""The database under the store: opening, pragmas, and its errors in plain words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from agent.errors import StoreError


def sqlite_pragmas(connection: Any, _record: Any) -> None:
    """Set up one SQLite connection."""
    # WAL lets reports read while a scan writes; a store that a crash left behind is whole after the next open.
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
        if "readonly" in words or "read-only" in words or "unable to open" in words:
            raise StoreError(
                "the store cannot be written: its disk, folder or file is read-only.",
                "Check who owns .spiritlevel/ and where it lies.",
            ) from None
        if "not a database" in words or "malformed" in words:
            raise StoreError(
                "the store's file is damaged.", "Restore .spiritlevel/ from a backup, or move it away."
            ) from None
        raise StoreError(f"the store failed: {str(e.orig).splitlines()[0][:200]}.") from None
    except SQLAlchemyError as e:
        raise StoreError(f"the store failed: {str(e).splitlines()[0][:200]}.") from None
    except OSError as e:
        raise StoreError(f"the store cannot be used: {os.strerror(e.errno) if e.errno else e}.") from None
