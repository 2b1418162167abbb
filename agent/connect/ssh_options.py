"""What an Ansible inventory and the user's ssh configuration say of a connection, as types. Connects nowhere."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from getpass import getuser
from pathlib import Path
from typing import Any

from agent.connect import known_hosts, ssh_config, ssh_legacy
from agent.connect.inventory_values import is_template
from agent.connect.ssh_config import Options
from agent.errors import Unreachable

USUAL_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
_ARGUMENTS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
_READ = (
    *_ARGUMENTS,
    *(f"ansible_{n}" for n in "host ssh_host port ssh_port user ssh_user password ssh_pass ssh_password".split()),
    *("ansible_ssh_private_key_file", "ansible_private_key_file", "ansible_paramiko_proxy_command"),
    *("ansible_ssh_private_key_passphrase", "ansible_private_key_passphrase"),
)
_TAKES_VALUE = frozenset("BbcDEeFIiJLlmOopQRSWw")
_SHORT = {"p": "port", "l": "user", "i": "identityfile", "J": "proxyjump", "F": "configfile"}
FOLDER = "spiritlevel_folder"
"""Setting that names the trust's folder: relative file names of the inventory start there, as does `known_hosts`."""
MAX_HOPS = 8


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
    certificates: tuple[Path, ...] = ()
    via: Login | None = None
    """The jump host before this one, which may have one before it."""
    proxy: tuple[str, ...] = ()
    """The program whose standard input and output lead there, as words; only where `via` is None."""
    agent: bool = True
    alias: bool = False
    """`key_name` is a HostKeyAlias, which known_hosts files without a port."""
    legacy: ssh_legacy.Legacy = ssh_legacy.NONE
    """Old algorithms that the inventory allows for this host."""

    @property
    def usual_key_files(self) -> tuple[Path, ...]:
        """Keys tried where none is named, as OpenSSH does."""
        return tuple(Path(k).expanduser() for k in USUAL_KEYS)

    @property
    def key_port(self) -> int:
        """The port under which known_hosts files the host: an alias has none."""
        return 22 if self.alias else self.port


def login(name: str, settings: Mapping[str, Any]) -> Login:
    """Read inventory variables, the arguments inside `ansible_ssh_*args`, and the ssh configuration, in that order.

    Host key checking is always strict, whatever they say. Raises `Unreachable` where they ask for a way there that
    this client does not know, as going another way would reach another machine.
    """
    for key in _READ:
        if is_template(settings.get(key)):
            raise Unreachable(
                f"{key} of {clean(name)} is a template that is not filled in here.",
                "Write its value; plain {{ names }} of variables are filled in.",
            )
    given: Options = {}
    alias = _first(settings, "ansible_host", "ansible_ssh_host") or name
    named = _first(settings, "ansible_ssh_private_key_file", "ansible_private_key_file")
    for keyword, value in (
        ("port", _first(settings, "ansible_port", "ansible_ssh_port")),
        ("user", _first(settings, "ansible_user", "ansible_ssh_user")),
        ("identityfile", named),
    ):
        if value:
            given[keyword] = [value]
    if _first(settings, "ansible_connection").rpartition(".")[2] in ("paramiko", "paramiko_ssh"):
        command = _first(settings, "ansible_paramiko_proxy_command")
        ssh_config.take("proxycommand", [command] if command else [], given)
    _arguments(settings, given)
    folder = Path(str(settings[FOLDER])) if settings.get(FOLDER) else None
    want = _login(name, alias, given, folder, (), ())
    return replace(
        want,
        identities_only=want.identities_only or bool(named),
        password=_first(settings, "ansible_ssh_pass", "ansible_ssh_password", "ansible_password"),
        passphrase=_first(settings, "ansible_ssh_private_key_passphrase", "ansible_private_key_passphrase"),
        legacy=ssh_legacy.asked(settings),
    )


def _login(
    name: str, alias: str, given: Options, folder: Path | None, way: tuple[str, ...], known: tuple[Path, ...]
) -> Login:
    """One machine, and by recursion the jump hosts before it.

    `way` holds the aliases from the target to here, `known` the known-hosts files of the one behind this.
    """
    file = given.get("configfile", [None])[0]
    if file is not None and folder is not None and file.lower() != "none":
        file = str(folder / Path(file).expanduser())
    _sane(name, alias, "host name")
    options = ssh_config.lookup(alias, given, file)
    host, port = options["hostname"][0], options.get("port", ["22"])[0]
    _sane(name, host, "host name")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise Unreachable(
            f"{name} has no usable port: {port[:20]!r}.", "Correct it in the inventory or the ssh configuration."
        )
    user = options.get("user", [""])[0] or getuser()
    tokens = _tokens(alias, host, port, user)
    own = tuple(_own_files(options, folder, tokens))
    key_alias = options.get("hostkeyalias", [""])[0]
    # ssh tells its jump hosts nothing of the files that the inventory names; people expect them to count there too.
    own = tuple(dict.fromkeys((*own, *known)))
    via, proxy = _way(name, options, folder, (*way, alias), own, tokens)
    return Login(
        host=host,
        port=int(port),
        user=user,
        key_name=key_alias or host,
        key_files=tuple(_files(options.get("identityfile", []), folder, tokens)),
        identities_only=options.get("identitiesonly", ["no"])[0].lower() in ("yes", "true"),
        password="",
        passphrase="",
        known_hosts=(*own, *_global_files(options, folder, tokens)),
        learn_to=own[0] if own else None,
        certificates=tuple(_files(options.get("certificatefile", []), folder, tokens)),
        via=via,
        proxy=proxy,
        agent=options.get("identityagent", ["SSH_AUTH_SOCK"])[0].lower() != "none",
        alias=bool(key_alias),
    )


def _sane(name: str, word: str, what: str) -> None:
    """A name that another program could take for an option, or that no host has, goes nowhere."""
    if word.startswith("-") or re.search(r"[\s\x00-\x1f\x7f'\"`$\\;&<>|(){}]", word) or not word:
        raise Unreachable(
            f"{clean(name)} has no usable {what}: {clean(word)!r}.", "Correct ansible_host in the inventory."
        )


def _way(
    name: str,
    options: Options,
    folder: Path | None,
    way: tuple[str, ...],
    known: tuple[Path, ...],
    tokens: Mapping[str, str],
) -> tuple[Login | None, tuple[str, ...]]:
    """The jump host before this machine, or the program that leads to it."""
    jump, command = options.get("proxyjump", ["none"])[0], options.get("proxycommand", ["none"])[0]
    if command.lower() != "none":
        return None, _program(name, command, tokens)
    if jump.lower() == "none":
        return None, ()
    if len(way) > MAX_HOPS:
        raise Unreachable(
            f"{name} is behind more than {MAX_HOPS} jump hosts.", "Does the ssh configuration go in a circle?"
        )
    *before, last = [ssh_config.expand(w.strip(), tokens) for w in jump.split(",")]
    user, hop, port = _hop(name, last)
    given: Options = {k: options[k] for k in ("configfile",) if k in options}
    for keyword, value in (("user", user), ("port", port)):
        if value:
            given[keyword] = [value]
    if before:  # they lead to the last one, whatever the configuration says of it
        given["proxyjump"] = [",".join(before)]
    elif hop in way:
        raise Unreachable(f"{name} is behind a jump host that is behind itself: {clean(hop)}.", ssh_config.MEND)
    return _login(f"the jump host {clean(hop)}", hop, given, folder, way, known), ()


def _hop(name: str, text: str) -> tuple[str, str, str]:
    """`[user@]host[:port]` or `ssh://…` → user, host, port. Raises `Unreachable`."""
    match = re.fullmatch(
        r"(?:ssh://)?(?:(?P<user>[^@\s]+)@)?(?:\[(?P<six>[0-9a-fA-F:.%]+)\]|(?P<host>[^\s:@\[\]/]+))(?::(?P<port>\d+))?/?",
        text,
    )
    if match is None:
        raise Unreachable(f"{name} is behind {clean(text)!r}, which names no jump host.", "Write user@host:port.")
    return match["user"] or "", match["six"] or match["host"], match["port"] or ""


def _program(name: str, command: str, tokens: Mapping[str, str]) -> tuple[str, ...]:
    """A ProxyCommand as words. No shell sees it: tokens are filled in after it is taken apart."""
    try:
        words = shlex.split(command)
    except ValueError:
        raise Unreachable(f"{name} has a ProxyCommand with an unmatched quote.", "Correct it.") from None
    if words[:1] == ["exec"]:
        words = words[1:]
    if not words or any(re.search(r"^[|;&]+$|;$|^\d*[<>]|[`$]", w) for w in words):
        raise Unreachable(
            f"{name} has a ProxyCommand that needs a shell, and it gets none.",
            "Write a plain command, or put it into a script.",
        )
    return tuple(ssh_config.expand(os.path.expanduser(w) if w.startswith("~") else w, tokens) for w in words)


def _tokens(alias: str, host: str, port: str, user: str) -> dict[str, str]:
    """ssh_config(5), TOKENS; those that make sense without the user's terminal."""
    full = socket.gethostname()
    digest = hashlib.sha1(f"{full}{host}{port}{user}".encode(), usedforsecurity=False).hexdigest()
    return {
        "h": host,
        "n": alias,
        "p": port,
        "r": user,
        "u": getuser(),
        "d": os.path.expanduser("~"),
        "l": full,
        "L": full.partition(".")[0],
        "i": str(os.getuid()),
        "C": digest,
    }


def _own_files(options: Options, folder: Path | None, tokens: Mapping[str, str]) -> Iterator[Path]:
    """The user's known-hosts files: what the options name (`none` means none), else the trust's and the usual ones."""
    if "userknownhostsfile" in options:
        yield from _files(options["userknownhostsfile"], folder, tokens)
        return
    if folder is not None:
        yield folder / "known_hosts"
    yield from known_hosts.default_files()


def _global_files(options: Options, folder: Path | None, tokens: Mapping[str, str]) -> Iterator[Path]:
    """The machine's known-hosts files, or those that the options name."""
    if "globalknownhostsfile" in options:
        yield from _files(options["globalknownhostsfile"], folder, tokens)
    else:
        yield from known_hosts.global_files()


def _files(words: Sequence[str], folder: Path | None, tokens: Mapping[str, str]) -> Iterator[Path]:
    for word in words:
        if word.lower() not in {"none", "/dev/null"}:
            yield (folder or Path()) / Path(ssh_config.expand(word, tokens)).expanduser()


def _first(settings: Mapping[str, Any], *names: str) -> str:
    for name in names:
        value = settings.get(name)
        if value not in (None, ""):
            return str(value)
    return ""


def _arguments(settings: Mapping[str, Any], options: Options) -> None:
    """`-o Name=value`, `-p`, `-l`, `-i`, `-J`, `-F` of the three argument variables; the first of each wins."""
    for variable in _ARGUMENTS:
        text = settings.get(variable)
        if not text:
            continue
        try:
            for flag, value in _flags(shlex.split(str(text))):
                if flag == "o":
                    ssh_config.take(*ssh_config.setting(value), options)
                else:
                    ssh_config.take(_SHORT.get(flag, f"-{flag}"), [value], options)
        except ValueError:
            raise Unreachable(f"{variable} has an unmatched quote.", "Correct it in the inventory.") from None


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
