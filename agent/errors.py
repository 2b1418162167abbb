"""Every error that a user may meet. All carry one clear sentence, and a hint of what to do next.

SpiritlevelError                 exit code 2 unless said otherwise
├── UsageError                   a wrong command line: nothing matches, nothing to do
├── ConfigError                  a file that a person wrote; carries file, line and key
│   └── SecretError              a credential reference that is malformed or cannot be read
├── StoreError                   the store cannot be opened, read or written
│   ├── StoreBusy                another scan is running
│   └── StoreTooNew              written by a newer version
└── TargetError                  one target could not be read; never stops a scan
    ├── Unreachable              no connection: refused, no route, no name, timed out
    │   └── NoAnswer             nothing is there to talk to, as when a machine is switched off
    ├── IdentityError            host key or certificate is not the one we trust
    ├── CredentialRefused        the target refused the credential
    ├── NotAllowed               the credential is right, and may not do what a scan needs
    └── Broken                   the target answered, but not as its protocol says
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


class SpiritlevelError(Exception):
    """Root of the tree. `message` is one sentence; `hint` says what to do next, and may be empty."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class UsageError(SpiritlevelError):
    """The command line asks for something that is not there."""


class ConfigError(SpiritlevelError):
    """A file that a person wrote is wrong: `file:line: key: what is wrong`.

    `file` is the path as the user knows it, `line` counts from 1 (0: unknown), `key` is the dotted place.
    """

    def __init__(self, message: str, hint: str = "", *, file: str = "", line: int = 0, key: str = "") -> None:
        super().__init__(message, hint)
        self.file, self.line, self.key = file, line, key

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        key = f"{self.key}: " if self.key else ""
        return f"{place}{key}{self.message} {self.hint}".rstrip()


class SecretError(ConfigError):
    """A credential reference that is malformed, or that cannot be read."""


class StoreError(SpiritlevelError):
    """The store cannot be opened, read or written."""


class StoreBusy(StoreError):
    """Another scan holds the store."""


class StoreTooNew(StoreError):
    """The store was written by a newer version of spiritlevel."""


class TargetError(SpiritlevelError):
    """One target could not be read. Ends that target's part of the run, never the run."""


class Unreachable(TargetError):
    """No connection: refused, no route, unknown name, timed out."""


class NoAnswer(Unreachable):
    """No connection came about at all, as when the machine is switched off: grace may be given for that."""


class IdentityError(TargetError):
    """The host key or certificate shown is not the one that we trust. Nothing was sent."""


class CredentialRefused(TargetError):
    """The target refused the credential; it counts towards the limit of three per credential and run."""


class NotAllowed(TargetError):
    """The target took the credential, and does not let it do what a scan needs."""


class Broken(TargetError):
    """The target answered, but not as its protocol says (cut short, flooded, lied)."""


def suggest(word: str, words: Sequence[str]) -> str:
    """`Did you mean …?` for the nearest of `words`, else the list when it is short, else nothing."""
    close = get_close_matches(word, words, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known: {', '.join(sorted(words))}." if 0 < len(words) <= 25 else ""
