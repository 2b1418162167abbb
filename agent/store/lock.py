"""One scan at a time: a lock that the system drops by itself when the process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from agent.errors import StoreBusy, StoreError


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold `folder`/lock. Raises `StoreBusy`, naming the other scan's process and start."""
    path = folder / "lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise StoreError(f"the store cannot be written: {e.strerror}.", "Check who owns .spiritlevel/.") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.pread(handle, 200, 0).decode("utf-8", "replace").strip()
            raise StoreBusy(
                f"another scan is running ({who or 'it has just started'}).", "Wait for it to end, or stop it."
            ) from None
        note = f"process {os.getpid()}, started {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode()
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, note, 0)
        except OSError as e:
            raise StoreError(f"the store cannot be written: {e.strerror}.") from None
        yield
    finally:
        os.close(handle)
