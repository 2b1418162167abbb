"""What fact modules know of a connection, and what they give back. No transport is imported here or beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agent.model import Reading, TargetState


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for one target: seconds for the whole collection, bytes for its whole answer (inflated)."""

    seconds: float = 120.0
    bytes: int = 32 << 20


@dataclass(frozen=True, slots=True)
class Output:
    """Answer of one command. `rc` is None when the channel closed without one."""

    stdout: bytes
    stderr: bytes
    rc: int | None
    truncated: bool = False
    """The byte limit was reached and the rest thrown away."""
    timed_out: bool = False


class Shell(Protocol):
    """A remote command runner (SSH)."""

    def run(self, command: str, stdin: bytes, limits: Limits) -> Output:
        """Run one command with `stdin`; bounded in time and bytes. Raises `TargetError` when the connection dies."""


class PowerShell(Protocol):
    """A remote PowerShell, however it is reached (SSH, WinRM, PSRP)."""

    def script(self, text: str, limits: Limits) -> Output:
        """Run one script text → what it wrote, as UTF-8; what came before a limit stays. Raises `TargetError` when
        the connection dies."""


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One thing that a scan would ask: `what` in the platform's own words, `rights` beyond an ordinary account."""

    what: str
    rights: tuple[str, ...] = ()
    feeds: tuple[str, ...] = ()
    """Names of the facts that it answers."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a fact module read: every wanted fact is there, known or unknown."""

    facts: Mapping[str, Reading]
    state: TargetState
    detail: str = ""
    ids: Mapping[str, str] = field(default_factory=dict)
