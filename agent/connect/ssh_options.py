"""What an Ansible inventory says of an SSH connection, as types. No connection is made here."""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from typing import Any

from agent.connect import known_hosts
from agent.errors import Unreachable

USUAL_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
_ARGUMENTS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
_TAKES_VALUE = frozenset("BbcDEeFIiJLlmOopQRSWw")
FOLDER = "spiritlevel_folder"
"""Setting that names the trust's folder: relative file names of the inventory start there, as does `known_hosts`."""
_DETOURS = {"proxyjump": "ProxyJump", "proxycommand": "ProxyCommand", "j": "ProxyJump"}


@dataclass(frozen=True, slots=True)
class Login:
    """How to log in. `password` and `passphrase` are references, never values; paths are absolute."""

    host: str
    port: int
    user: str
    key_name: str
    """The name under which known_hosts files the host."""
    key_files: tuple[Path, ...]
    identities_only: bool
    password: str
    passphrase: str
    known_hosts: tuple[Path, ...]
    learn_to: Path | None = None
    """Where a host key that a person has confirmed goes; None where the inventory says that there is no such file."""

    @property
    def usual_key_files(self) -> tuple[Path, ...]:
        """Keys tried where none is named, as OpenSSH does."""
        return tuple(Path(k).expanduser() for k in USUAL_KEYS)


def login(name: str, settings: Mapping[str, Any]) -> Login:
    """Read inventory variables and the `-o` options inside `ansible_ssh_*args`; the variables win.

    Host key checking is always strict, whatever the arguments say. Raises `Unreachable` where the inventory asks
    for a way there that this client does not know, as going another way would reach another machine.
    """
    options = _options(settings)
    for key, word in _DETOURS.items():
        if options.get(key, "none").lower() != "none":
            raise Unreachable(
                f"{name} is behind a {word}, which this client does not speak.",
                "Scan it from a machine that reaches it directly.",
            )
    host = _first(settings, "ansible_host", "ansible_ssh_host") or name
    port = _first(settings, "ansible_port", "ansible_ssh_port") or options.get("port") or "22"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise Unreachable(f"{name} has no usable port: {port[:20]!r}.", "Correct ansible_port in the inventory.")
    user = _first(settings, "ansible_user", "ansible_ssh_user") or options.get("user") or getuser()
    named = _first(settings, "ansible_ssh_private_key_file", "ansible_private_key_file")
    keys = [named] if named else []
    keys += [] if named else shlex.split(options.get("identityfile", ""))
    folder = Path(str(settings.get(FOLDER) or "."))
    own = tuple(_own_files(options, folder if settings.get(FOLDER) else None))
    return Login(
        host=host,
        port=int(port),
        user=user,
        key_name=options.get("hostkeyalias") or host,
        key_files=tuple(folder / Path(k).expanduser() for k in keys),
        identities_only=bool(named) or options.get("identitiesonly", "no").lower() == "yes",
        password=_first(settings, "ansible_ssh_pass", "ansible_ssh_password", "ansible_password"),
        passphrase=_first(settings, "ansible_ssh_private_key_passphrase", "ansible_private_key_passphrase"),
        known_hosts=(*own, *_global_files(options, folder)),
        learn_to=own[0] if own else None,
    )


def _own_files(options: Mapping[str, str], folder: Path | None) -> Iterator[Path]:
    """The user's known-hosts files: what the options name (`none` means none), else the trust's and the usual ones."""
    if "userknownhostsfile" in options:
        yield from _paths(options["userknownhostsfile"], folder or Path())
        return
    if folder is not None:
        yield folder / "known_hosts"
    yield from known_hosts.default_files()


def _global_files(options: Mapping[str, str], folder: Path) -> Iterator[Path]:
    """The machine's known-hosts files, or those that the options name."""
    if "globalknownhostsfile" in options:
        yield from _paths(options["globalknownhostsfile"], folder)
    else:
        yield from known_hosts.global_files()


def _paths(text: str, folder: Path) -> Iterator[Path]:
    for word in shlex.split(text):
        if word.lower() not in {"none", "/dev/null"}:
            yield folder / Path(word).expanduser()


def _first(settings: Mapping[str, Any], *names: str) -> str:
    for name in names:
        value = settings.get(name)
        if value not in (None, ""):
            return str(value)
    return ""


def _options(settings: Mapping[str, Any]) -> dict[str, str]:
    """`-o Name=value`, `-p`, `-l`, `-i`, `-J` of the three argument variables, names in lower case; the first wins."""
    found: dict[str, str] = {}
    for variable in _ARGUMENTS:
        text = settings.get(variable)
        if not text:
            continue
        try:
            words = shlex.split(str(text))
        except ValueError:
            raise Unreachable(f"{variable} has an unmatched quote.", "Correct it in the inventory.") from None
        for flag, value in _flags(words):
            if flag == "o":
                name, _, rest = value.replace("=", " ", 1).strip().partition(" ")
                found.setdefault(name.lower(), rest.strip())
            else:
                found.setdefault({"p": "port", "l": "user", "i": "identityfile"}.get(flag, flag.lower()), value)
    return found


def _flags(words: list[str]) -> Iterator[tuple[str, str]]:
    """ssh(1)'s own getopt: `-oA=b`, `-o A=b`, `-4A`, `-p22`."""
    todo = iter(words)
    for word in todo:
        if not word.startswith("-") or len(word) < 2:
            continue
        for at, flag in enumerate(word[1:], 1):
            if flag in _TAKES_VALUE:
                yield flag, word[at + 1 :] or next(todo, "")
                break


def place(host: str, port: int) -> str:
    """A host as sentences name it: with its port where that is not the usual one."""
    return clean(host if port == 22 else f"{host} port {port}")


def why(error: OSError) -> str:
    """Why a connection did not come about, in a few words."""
    if isinstance(error, socket.gaierror):
        return "no such name"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return clean(error.strerror or "the connection failed").lower()


def hint(error: OSError) -> str:
    """What to look at when a connection did not come about."""
    if isinstance(error, socket.gaierror):
        return "Check ansible_host and the name servers here."
    if isinstance(error, ConnectionRefusedError):
        return "Is the SSH server running there?"
    return "Is the host switched on, and the network between?"


def clean(error: object) -> str:
    """Text that may come from the other side, on one short line without control characters."""
    return re.sub(r"[^\x20-\x7e\xa0-\uffff]+", " ", str(error)).strip().rstrip(".")[:200] or type(error).__name__
