"""What the switch facts know of a connection: a terminal that answers one command at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer of one command, without its echo and the prompt after it; lines end with a line feed."""

    text: str
    timed_out: bool = False
    """The prompt did not come back in time."""
    cut_off: bool = False
    """The byte limit was reached, or the connection broke off."""


class Terminal(Protocol):
    """A logged-in session with a switch. Nothing that changes a switch is ever asked."""

    @property
    def platform(self) -> str:
        """`ios`, `aoscx` or `procurve`."""

    @property
    def privileged(self) -> bool:
        """Whether the prompt is that of a privileged account (`#`)."""

    @property
    def weak(self) -> Sequence[str]:
        """Old SSH algorithms that the connection needed."""

    def ask(self, command: str) -> Reply:
        """Run one command; bounded in time and bytes. After a reply that was lost, later ones are lost too."""
