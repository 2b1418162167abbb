"""What becomes of a program's memory when it crashes: the kernel's pattern, systemd-coredump, and limits at login."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from agent.facts.linux.answer import Answer, FileText, clean
from agent.facts.linux.readers import reads
from agent.facttypes import BOOL, STR, Enum, Field, Record
from agent.model import Reason, Unknown

CORES = Record(
    {
        "handler": Field(
            Enum(("none", "files", "systemd-coredump")),
            "who gets dumps: nobody, files where the program ran, or systemd-coredump",
        ),
        "storage": Field(
            STR, "where systemd-coredump keeps them: none, external, journal; absent without it", may_be_absent=True
        ),
        "limited": Field(BOOL, "whether limits.conf holds the size of dumps at 0 for everybody but root"),
    }
)
_FOLDERS = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
"""systemd.conf(5): of drop-ins with one name, the one in the first of these counts."""


@reads("core_dumps", CORES, asks=("cores",), what="kernel.core_pattern, coredump.conf, limits.conf")
def read_cores(answer: Answer) -> Any:
    """What becomes of core dumps."""
    section = answer.need("cores")
    pattern, installed = section.file("pattern"), section.file("systemd-coredump")
    handler: Any = Unknown(Reason.UNREADABLE, "/proc/sys/kernel/core_pattern")
    if pattern is not None and pattern.ok:
        handler = _handler(pattern.text.splitlines())
    files = [f for f in section.files if f.path not in {"pattern", "systemd-coredump"}]
    return {
        "handler": handler,
        "storage": _storage([f for f in files if "coredump.conf" in f.path]) if installed is not None else None,
        "limited": _limited([f for f in files if "/security/limits" in f.path]),
    }


def _handler(lines: Sequence[str]) -> Any:
    """core(5): a pipe gives it to a program; an empty pattern makes no file unless the process id is to be added.

    What a program that is not known does with dumps is not known either.
    """
    pattern, uses_pid = ([*lines, "", ""])[:2]
    words = pattern.removeprefix("|").split()
    if not pattern.startswith("|"):
        return "files" if pattern.strip() or uses_pid.strip() not in ("", "0") else "none"
    program = words[0].rpartition("/")[2] if words else ""
    if program in ("false", "true"):
        return "none"
    if program == "systemd-coredump":
        return program
    return Unknown(Reason.NOT_SUPPORTED, clean(f"{program or 'a program'} gets core dumps", 80))


def _denied(files: Iterable[FileText]) -> Unknown | None:
    hidden = next((f for f in files if f.state.startswith("denied")), None)
    return Unknown(Reason.PERMISSION, clean(hidden.path)) if hidden is not None else None


def _storage(files: Sequence[FileText]) -> Any:
    """coredump.conf(5): the main file, then drop-ins by name; what is not set is `external`.

    A size of 0 for what is kept outside the journal keeps nothing, whatever Storage says of it.
    """
    if (why := _denied(files)) is not None:
        return why
    chosen: dict[str, FileText] = {}
    for file in sorted(files, key=_rank):
        chosen.setdefault(file.path.rpartition("/")[2] if ".conf.d/" in file.path else "", file)
    settings: dict[str, str] = {}
    for _, file in sorted(chosen.items()):
        for line in file.text.splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.lstrip().startswith(("#", ";")):
                settings[name.strip()] = value.strip()
    storage = settings.get("Storage", "external")
    if storage not in ("none", "external", "journal"):
        return Unknown(Reason.UNREADABLE, "Storage in coredump.conf")
    if storage == "external" and re.fullmatch(r"0+[BKMGTPE]?", settings.get("ExternalSizeMax", "")):
        return "none"
    return storage


def _rank(file: FileText) -> int:
    return next((i for i, d in enumerate(_FOLDERS) if file.path.startswith(f"{d}/")), len(_FOLDERS))


def _limited(files: Sequence[FileText]) -> Any:
    """limits.conf(5): limits.conf, then limits.d by name, later lines over earlier ones; a name or a group over `*`.

    `*` never means root. Any line that lets somebody keep more than nothing counts as that.
    """
    if (why := _denied(files)) is not None:
        return why
    everybody, somebody = False, False
    for file in sorted(files, key=lambda f: (".d/" in f.path, f.path)):
        for line in file.text.splitlines():
            words = line.partition("#")[0].split()
            if len(words) != 4 or words[2] != "core" or words[1] not in ("hard", "-"):
                continue
            if words[0] == "*":
                everybody = words[3] == "0"
            elif words[0] not in ("root", ":0", "@root") and words[3] != "0":
                somebody = True
    return everybody and not somebody
