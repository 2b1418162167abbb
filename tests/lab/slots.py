"""Numbered slots, so that labs of several test runs stand side by side and what a killed run left behind is found.

A slot is a locked file. The kernel drops the lock when its owner dies, however it dies, so whoever gets the lock knows
that nobody uses what the slot's last owner may have left, and clears it away.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO, Self

RUN_ROOT = Path(os.environ.get("SPIRITLEVEL_LAB_RUN", "/run/spiritlevel-lab"))


class Slot:
    """One locked slot of a kind. `number` is free for this process alone until `release`."""

    def __init__(self, kind: str, number: int, handle: IO[str]) -> None:
        self.kind = kind
        self.number = number
        self._handle = handle

    @classmethod
    def try_take(cls, kind: str, number: int) -> Self | None:
        """The slot, or None when a living process holds it."""
        RUN_ROOT.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = (RUN_ROOT / f"{kind}-{number}.lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return None
        return cls(kind, number, handle)

    @property
    def note(self) -> str:
        """What the owner wrote down for whoever must clear up after it ("" when there is nothing to clear)."""
        self._handle.seek(0)
        return self._handle.read()

    @note.setter
    def note(self, text: str) -> None:
        self._handle.seek(0)
        self._handle.truncate()
        self._handle.write(text)
        self._handle.flush()

    def release(self) -> None:
        """Let others have it."""
        self._handle.close()
