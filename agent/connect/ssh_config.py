"""OpenSSH client configuration, read as ssh_config(5) says: first value wins, `Host`, `Match`, `Include`, `%` tokens.

A file that cannot be followed to the letter is refused: going another way would reach another machine.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from getpass import getuser
from pathlib import Path

from agent.errors import Unreachable

SYSTEM = Path("/etc/ssh/ssh_config")
MAX_DEPTH = 16
"""Files that include one another: ssh's own limit."""
MEND = "Mend the ssh configuration, or name another with -F in ansible_ssh_common_args."

_ADDITIVE = frozenset({"identityfile", "certificatefile"})
_REST_OF_LINE = frozenset({"proxycommand", "localcommand", "remotecommand", "knownhostscommand"})
_REFUSED = {
    "revokedhostkeys": "names a list of revoked host keys, which is not read here",
    "knownhostscommand": "asks a command for host keys, which is not run here",
}
"""Passing over these would believe a host key that ssh would not."""

Options = dict[str, list[str]]
"""Keyword in lower case → its arguments; of the additive ones, one item per line."""
Line = tuple[int, str, tuple[str, ...]]


def usual_file() -> Path:
    """The user's own file; $HOME decides."""
    return Path("~/.ssh/config").expanduser()


@dataclass(slots=True)
class _Pass:
    """What is known while the files are read.

    `final` is the second pass, which `Match final` asks for; `host` is the alias, and in the second pass the real name.
    """

    alias: str
    host: str
    options: Options
    final: bool = False
    wants_final: bool = False


def lookup(alias: str, given: Mapping[str, Sequence[str]], file: str | None = None) -> Options:
    """What `ssh ALIAS` would use → options, with those `given` (the command line's) first.

    `file` is what `-F` named: then it alone is read, and `none` means no file at all. `hostname` is always there.
    Raises `Unreachable` for a file that cannot be read or followed.
    """
    state = _Pass(alias, alias, {k: list(v) for k, v in given.items()})
    if file is None:
        files = [p for p in (usual_file(), SYSTEM) if p.is_file()]
    elif file.lower() == "none":
        files = []
    else:
        files = [Path(file).expanduser()]
        if not files[0].is_file():
            raise Unreachable(f"the ssh configuration {file} is not there.", "Correct -F in the inventory.")
    for final in (False, True):
        if final and not state.wants_final:
            break
        state.final = final
        for path in files:
            _read(path, path != SYSTEM, file is None and path != SYSTEM, state, 0, True)
        if not final:
            state.host = _host(state).lower()
    for keyword, what in _REFUSED.items():
        if state.options.get(keyword, ["none"])[0].lower() != "none":
            raise Unreachable(f"the ssh configuration {what}.", f"Leave {keyword} out for this host.")
    state.options["hostname"] = [state.host]
    return state.options


def _host(state: _Pass) -> str:
    if "hostname" not in state.options:
        return state.alias
    return expand(state.options["hostname"][0], {"h": state.alias, "n": state.alias})


def _read(path: Path, users: bool, guarded: bool, state: _Pass, depth: int, outer: bool) -> None:
    """One file. `outer`: whether the block that includes it holds; its own blocks can only narrow that."""
    active = outer
    for number, keyword, words in _lines(path, guarded):
        place = f"{path}:{number}"
        if keyword == "host":
            active = outer and listed(words, state.host)
        elif keyword == "match":
            active = outer and _match(words, state, place)
        elif keyword == "include":
            if not active:
                continue
            if depth == MAX_DEPTH:
                raise Unreachable(f"{place}: too many files include one another.", MEND)
            for found in _included(words, users):
                _read(found, users, guarded, state, depth + 1, active)
        elif active:
            take(keyword, words, state.options)


def take(keyword: str, words: Sequence[str], options: Options) -> None:
    """Add a setting to `options` as ssh would: the first one wins, and key and certificate files add up."""
    if not words:
        return
    if keyword in _ADDITIVE:
        have = options.setdefault(keyword, [])
        if words[0] not in have:
            have.append(words[0])
    elif keyword in ("proxyjump", "proxycommand"):
        if not {"proxyjump", "proxycommand"} & options.keys():  # whichever comes first switches the other off
            options[keyword] = list(words)
    else:
        options.setdefault(keyword, list(words))


def _included(words: Sequence[str], users: bool) -> Iterator[Path]:
    base = usual_file().parent if users else SYSTEM.parent
    for word in words:
        pattern = os.path.expanduser(word)
        for found in sorted(glob.glob(pattern if os.path.isabs(pattern) else str(base / pattern))):
            if os.path.isfile(found):
                yield Path(found)


def _match(words: Sequence[str], state: _Pass, place: str) -> bool:
    """A Match line. What follows a criterion that fails is not looked at, so that nothing is refused in vain."""
    todo = iter(words)
    for word in todo:
        name, equals, attached = word.partition("=")
        negated, kind = name.startswith("!"), name.lstrip("!").lower()
        if kind == "all":
            hit = True
        elif kind == "final":
            state.wants_final = True
            hit = state.final
        elif kind == "canonical":
            hit = False  # host names are not made canonical here
        elif kind in ("host", "originalhost", "user", "localuser"):
            value = attached if equals else next(todo, "")
            me = {
                "host": state.host if state.final else _host(state),
                "originalhost": state.alias,
                "user": state.options.get("user", [getuser()])[0],
                "localuser": getuser(),
            }[kind]
            hit = listed([p for p in value.split(",") if p], me)
        else:
            raise Unreachable(f"{place}: 'Match {kind[:20]}' is not understood here.", MEND)
        if hit is negated:
            return False
    return True


def listed(patterns: Sequence[str], name: str) -> bool:
    """Whether a pattern list names `name`: `*` and `?` are wildcards, `!` excludes and wins."""
    hit = False
    for pattern in patterns:
        if pattern.startswith("!"):
            if _fits(pattern[1:], name):
                return False
        elif _fits(pattern, name):
            hit = True
    return hit


def _fits(pattern: str, name: str) -> bool:
    return re.match(translate(pattern.replace("[", "[[]")), name) is not None


def _lines(path: Path, guarded: bool) -> tuple[Line, ...]:
    try:
        found = path.stat()
        if guarded and (found.st_uid not in (0, os.getuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
            # It may name a command to run, so nobody else may have written it; ssh says no to it as well.
            raise Unreachable(f"{path} can be written by others, so it is not used.", f"chmod 600 {path}")
        return _parsed(path, found.st_mtime_ns, found.st_size)
    except OSError as error:
        raise Unreachable(f"{path} cannot be read: {(error.strerror or 'an error').lower()}.", MEND) from error


@lru_cache(64)
def _parsed(path: Path, _mtime: int, _size: int) -> tuple[Line, ...]:
    """A file's lines, taken apart once for all hosts."""
    out = []
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            keyword, words = setting(text)
        except ValueError:
            raise Unreachable(f"{path}:{number}: a quote is not closed.", MEND) from None
        if keyword:
            out.append((number, keyword, words))
    return tuple(out)


def setting(text: str) -> tuple[str, tuple[str, ...]]:
    """`Name value …` or `Name=value` → keyword in lower case and its arguments; "" for an empty line or a comment.

    Raises ValueError for a quote that is not closed.
    """
    match = re.match(r"\s*([^\s=#\"]+)(?:\s*=\s*|\s+|$)(.*)", text, re.DOTALL)
    if match is None:
        return "", ()
    keyword, rest = match[1].lower(), match[2].strip()
    if keyword in _REST_OF_LINE:
        return keyword, (rest,) if rest else ()
    return keyword, tuple(words_of(rest))


def words_of(text: str) -> Iterator[str]:
    """Arguments as ssh takes them apart: both quotes, a backslash before one or a blank, `#` ends the line."""
    word, inside, quote = "", False, ""
    at = 0
    while at < len(text):
        c, following = text[at], text[at + 1 : at + 2]
        if c == "\\" and following and (following in "\"'\\" or (not quote and following == " ")):
            word, inside, at = word + following, True, at + 1
        elif quote:
            if c == quote:
                quote = ""
            else:
                word += c
        elif c in "\"'":
            quote, inside = c, True
        elif c in " \t":
            if inside:
                yield word
            word, inside = "", False
        elif c == "#" and not inside:
            break
        else:
            word, inside = word + c, True
        at += 1
    if quote:
        raise ValueError("a quote is not closed")
    if inside:
        yield word


def expand(text: str, tokens: Mapping[str, str]) -> str:
    """Fill in `%` tokens; `%%` is a percent sign. Raises `Unreachable` for one that is not among them."""

    def one(match: re.Match[str]) -> str:
        if match[1] == "%":
            return "%"
        if match[1] not in tokens:
            raise Unreachable(f"the ssh configuration uses %{match[1]}, which is not understood there.", MEND)
        return tokens[match[1]]

    return re.sub(r"%(.?)", one, text)


__all__ = ["Options", "expand", "listed", "lookup", "setting", "take", "usual_file", "words_of"]
