"""OpenSSH client configuration, read as ssh_config(5) says: first value wins, `Host`, `Match`, `Include`, `%` tokens.

A file that cannot be followed to the letter is refused: going another way would reach another machine.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from getpass import getuser
from pathlib import Path

from agent.errors import Unreachable

SYSTEM = Path("/etc/ssh/ssh_config")
MAX_BYTES = 1 << 20
MAX_DEPTH = 16
"""Files that include one another; ssh's own limit."""

_ADDITIVE = frozenset({"identityfile", "certificatefile"})
_REST_OF_LINE = frozenset({"proxycommand", "localcommand", "remotecommand", "knownhostscommand"})
_REFUSED = {
    "revokedhostkeys": "names a list of revoked host keys, which is not read here",
    "knownhostscommand": "asks a command for host keys, which is not run here",
}
"""Passing over these would trust a key that ssh would not."""

Options = dict[str, list[str]]
"""Keyword in lower case → its arguments; for the additive ones, one item per line."""


def usual_file() -> Path:
    """The user's own file; $HOME decides."""
    return Path("~/.ssh/config").expanduser()


@dataclass(slots=True)
class _Reading:
    """State of one pass over the files."""

    alias: str
    host: str
    options: Options
    final: bool = False
    again: bool = False
    seen: set[str] = field(default_factory=set)


def lookup(alias: str, given: Mapping[str, Sequence[str]], file: str | None = None) -> Options:
    """What ssh would use for `ssh ALIAS` → options, those `given` (command line) first.

    `file` is what `-F` named: then it alone is read, and `none` means no file at all. Raises `Unreachable` for a file
    that cannot be read or followed.
    """
    options: Options = {k: list(v) for k, v in given.items()}
    files: list[tuple[Path, bool]] = []
    if file is None:
        files = [(usual_file(), True), (SYSTEM, False)]
    elif file != "none":
        path = Path(file).expanduser()
        if not path.is_file():
            raise Unreachable(f"the ssh configuration {file} is not there.", "Correct -F in the inventory.")
        files = [(path, False)]
    files = [(p, own) for p, own in files if p.is_file()]
    state = _Reading(alias, alias, options)
    for again in (False, True):
        if again:
            if not state.again:
                break
            state.final = True
        for path, own in files:
            _read(path, own, state, 0, True, user_file=own or file is not None)
        state.host = _host(state)
    for keyword, what in _REFUSED.items():
        if options.get(keyword, ["none"])[:1] != ["none"]:
            raise Unreachable(f"the ssh configuration {what} ({keyword}).", "Leave it out for this host.")
    options["hostname"] = [state.host]
    return options


def _host(state: _Reading) -> str:
    name = state.options.get("hostname", [state.alias])[0]
    return expand(name, {"h": state.alias, "n": state.alias})


def _read(path: Path, own: bool, state: _Reading, depth: int, active: bool, *, user_file: bool) -> None:
    for number, (keyword, words) in enumerate_lines(path, own):
        place = f"{path}:{number}"
        if keyword == "host":
            active_here = _host_line(words, state.alias)
            active = active_here and (depth == 0 or _outer(state))
        elif keyword == "match":
            active = (depth == 0 or _outer(state)) and _match_line(words, state, place)
        elif keyword == "include":
            if depth == MAX_DEPTH:
                raise Unreachable(f"{place}: too many files include one another.", "Look at the ssh configuration.")
            for found in _included(words, path, user_file):
                _OUTER.append(active)
                try:
                    _read(found, own, state, depth + 1, active, user_file=user_file)
                finally:
                    _OUTER.pop()
        elif active:
            _take(keyword, words, state.options)
