"""The system itself: release, packages, services, files, mounts, restarts, disks, and the ids that name the machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from agent.facts.linux.answer import Answer, Missing, Section, clean
from agent.facts.linux.readers import listing, numbered, reads, reads_keys
from agent.facttypes import BOOL, FLOAT, MODE, STR, Enum, Field, ListOf, Record, Version
from agent.model import Reason, Unknown

OS = Record(
    {
        "id": Field(STR, "ID of os-release, such as debian"),
        "like": Field(ListOf(STR), "ID_LIKE of os-release"),
        "version_id": Field(STR, "VERSION_ID; absent for rolling releases", may_be_absent=True),
        "codename": Field(STR, "VERSION_CODENAME", may_be_absent=True),
        "name": Field(STR, "PRETTY_NAME"),
        "kernel": Field(STR, "release of the running kernel"),
        "packages": Field(Enum(("dpkg", "rpm", "other")), "kind of packages"),
        "extended": Field(BOOL, "whether the vendor's paid security updates are switched on (Ubuntu Pro)"),
    }
)

_OS_WORDS = {"ID", "ID_LIKE", "VERSION_ID", "VERSION_CODENAME", "PRETTY_NAME", "X_KERNEL", "X_MACHINE", "X_EXTENDED"}


@reads("os", OS, asks=("os",), what="/etc/os-release, uname")
def read_os(answer: Answer) -> Any:
    """The release. `packages` says which package rules hold."""
    found: dict[str, str] = {}
    for line in answer.need("os").lines:
        name, equals, value = line.partition("=")
        if equals and name.strip() in _OS_WORDS:
            try:
                found[name.strip()] = clean(" ".join(shlex.split(value)), 120)
            except ValueError:
                continue
    if not found.get("ID"):
        return Unknown(Reason.UNREADABLE, "/etc/os-release")
    return {
        "id": found["ID"].lower(),
        "like": found.get("ID_LIKE", "").lower().split(),
        "version_id": found.get("VERSION_ID") or None,
        "codename": found.get("VERSION_CODENAME") or None,
        "name": found.get("PRETTY_NAME") or found["ID"],
        "kernel": found.get("X_KERNEL", ""),
        "packages": answer.meta.get("packages") or "other",
        "extended": found.get("X_EXTENDED") == "1",
    }


PACKAGE = Record(
    {
        "version": Field(Version("dpkg"), "installed version"),
        "scheme": Field(Enum(("dpkg", "rpm")), "whose rules compare its versions"),
    }
)


def _package_argument(key: str) -> str | None:
    return key if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9+._-]*", key) else None


def _installed(lines: Sequence[str]) -> dict[str, str]:
    """`state|name|version` lines → name to version, for what is unpacked or better (dpkg-query(1), Status-Abbrev)."""
    found: dict[str, str] = {}
    for line in lines:
        parts = line.split("|")
        if len(parts) == 3 and len(parts[0]) >= 2 and parts[0][1] in "iUFHWt":
            found[parts[1]] = clean(parts[2].removeprefix("(none):").strip(), 120)
    return found


@reads_keys(
    "package",
    PACKAGE,
    key="package name",
    asks=("package",),
    what="dpkg-query or rpm -q",
    may_be_absent=True,
    doc="absent when not installed",
    argument=_package_argument,
)
def read_package(answer: Answer, keys: Sequence[str]) -> Mapping[str, Any]:
    """Named packages. One that the package manager neither lists nor denies is unknown."""
    lines = answer.need("package").lines
    scheme = answer.meta.get("packages", "")
    found = _installed(lines)
    denied = {
        m[1]
        for line in lines
        if (m := re.search(r"(?:no packages found matching|^package) (\S+)(?: is not installed)?$", line))
    }
    denied |= {p[1] for line in lines if len(p := line.split("|")) == 3} - set(found)
    return {
        k: {"version": found[k], "scheme": scheme}
        if k in found
        else None
        if k in denied
        else Unknown(Reason.UNREADABLE, f"package {k}")
        for k in keys
    }


@reads(
    "packages",
    Record(
        {
            "scheme": Field(Enum(("dpkg", "rpm"))),
            "installed": Field(ListOf(Record({"name": Field(STR), "version": Field(STR)}, key="name", label="name"))),
        }
    ),
    asks=("packages",),
    what="dpkg-query -W or rpm -qa",
    doc="every installed package: only for lists that a site sets",
)
def read_packages(answer: Answer) -> Any:
    """All packages. An empty list is no answer: the package manager itself is a package."""
    found = _installed(answer.need("packages").lines)
    if not found:
        return Unknown(Reason.UNREADABLE, "the list of packages")
    return {
        "scheme": answer.meta.get("packages", ""),
        "installed": listing([{"name": clean(n, 120), "version": v} for n, v in sorted(found.items())]),
    }


SERVICE = Record(
    {
        "active": Field(STR, "ActiveState: active, inactive, failed, …"),
        "enabled": Field(STR, "UnitFileState: enabled, disabled, static, masked, …", may_be_absent=True),
        "load": Field(STR, "LoadState: loaded, masked, …"),
    }
)


def unit_argument(key: str) -> str | None:
    """A unit's full name; one without a suffix is a service."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]*", key):
        return None
    return key if re.search(r"\.(service|socket|timer|path|mount|target)$", key) else f"{key}.service"


@reads_keys(
    "service",
    SERVICE,
    key="unit name",
    asks=("service",),
    what="systemctl show",
    may_be_absent=True,
    doc="absent when there is no such unit",
    argument=unit_argument,
)
def read_service(answer: Answer, keys: Sequence[str]) -> Mapping[str, Any]:
    """Named units, in the order in which they were asked for."""
    return dict(zip(keys, units(answer.need("service").text, len(keys)), strict=True))


def units(text: str, count: int) -> list[dict[str, Any] | None]:
    """Blocks of `systemctl show` → one record each; None for units that do not exist. ValueError when some lack."""
    out: list[dict[str, Any] | None] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        found = dict(line.partition("=")[::2] for line in block.splitlines())
        if not {"LoadState", "ActiveState"} <= set(found):
            raise ValueError("not a unit")
        state = clean(found.get("UnitFileState", ""), 40) or None
        out.append(
            None
            if found["LoadState"] == "not-found"
            else {"active": clean(found["ActiveState"], 40), "enabled": state, "load": clean(found["LoadState"], 40)}
        )
    if len(out) != count:
        raise ValueError("units are missing")
    return out


FILE = Record(
    {
        "path": Field(STR),
        "mode": Field(MODE),
        "owner": Field(STR),
        "group": Field(STR),
        "type": Field(STR, "regular file, directory, …"),
    },
    key="path",
    label="path",
)


def _file_argument(key: str) -> str | None:
    return key if re.fullmatch(r"/[^\x00-\x1f\x7f]*", key) else None


@reads_keys(
    "file",
    FILE,
    key="path",
    asks=("file",),
    what="stat",
    may_be_absent=True,
    doc="what a path leads to, links followed; absent when it leads nowhere",
    argument=_file_argument,
)
def read_file(answer: Answer, keys: Sequence[str]) -> Mapping[str, Any]:
    """Named paths."""
    found = numbered(answer.need("file").lines, len(keys))
    out: dict[str, Any] = {}
    for number, key in enumerate(keys):
        state, *rest = found.get(number, ["none"])
        parts = (rest[0] if rest else "").split("|")
        if state == "absent":
            out[key] = None
        elif state == "ok" and len(parts) == 4 and re.fullmatch(r"[0-7]{1,4}", parts[0]):
            out[key] = {
                "path": key,
                "mode": f"{int(parts[0], 8):04o}",
                "owner": clean(parts[1], 64),
                "group": clean(parts[2], 64),
                "type": clean(parts[3], 40),
            }
        else:
            out[key] = Unknown(Reason.PERMISSION, "sudo") if state == "denied" else Unknown(Reason.UNREADABLE, "stat")
    return out


MOUNT = Record(
    {
        "type": Field(STR, "file system; absent when nothing is mounted there", may_be_absent=True),
        "options": Field(ListOf(STR), "options in force; absent when nothing is mounted there", may_be_absent=True),
        "boot_options": Field(
            ListOf(STR), "options after the next boot; absent when nothing would be mounted", may_be_absent=True
        ),
    }
)


def mount_argument(key: str) -> str | None:
    """A path to mount on: absolute, without a slash at its end."""
    return key if key == "/" or re.fullmatch(r"/[^\x00-\x1f\x7f]*[^/\x00-\x1f\x7f]", key) else None


@reads_keys(
    "mount",
    MOUNT,
    key="path",
    asks=("mount",),
    what="/proc/mounts, fstab and systemd's mount units",
    argument=mount_argument,
)
def read_mount(answer: Answer, keys: Sequence[str]) -> Mapping[str, Any]:
    """What is mounted on a path now and after the next boot."""
    section = answer.need("mount")
    now, fstab = section.file("now"), section.file("fstab")
    if now is None or fstab is None or not now.text.strip():
        raise Missing(Reason.UNREADABLE, "/proc/mounts")
    running, later = _table(now.text), _table(fstab.text)
    out: dict[str, Any] = {}
    for key in keys:
        kind, options = running.get(key, (None, None))
        planned = later[key][1] if key in later else _unit(section, key)
        if planned is not None and "noauto" in planned:
            planned = None
        out[key] = {
            "type": kind,
            "options": None if options is None else flags(options),
            "boot_options": None if planned is None else flags(planned),
        }
    return out


def _table(text: str) -> dict[str, tuple[str, list[str]]]:
    """`path type options` lines; the last mount on a path hides those before. Octal escapes as in fstab(5)."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3:
            path = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), words[0])
            found[path.rstrip("/") or "/"] = (clean(words[1], 40), words[2].split(","))
    return found


def _unit(section: Section, path: str) -> list[str] | None:
    """Options of a mount unit that the next boot starts (Debian 13's tmp.mount is one)."""
    file = section.file(path)
    if file is None or not file.state.startswith("unit:") or file.state[5:] in {"disabled", "masked", "bad", "invalid"}:
        return None
    options, inside = "", False
    for line in file.text.splitlines():
        if line.startswith("["):
            inside = line.strip() == "[Mount]"
        elif inside and line.startswith("Options="):
            options = line.partition("=")[2].strip()
    # The collector cuts values off options (mode=1777 becomes mode), so an assignment of nothing stays empty.
    return options.split(",") if options else []


def flags(options: Sequence[str]) -> list[str]:
    """Options in force, sorted: the later of two opposites wins, and `user` implies three (mount(8))."""
    found: set[str] = set()
    for option in options:
        word = clean(option, 40)
        if word in {"user", "users"}:
            found |= {"noexec", "nosuid", "nodev"}
        elif word in {"owner", "group"}:
            found |= {"nosuid", "nodev"}
        elif word in {"exec", "suid", "dev"}:
            found.discard(f"no{word}")
        elif word == "defaults":
            found -= {"noexec", "nosuid", "nodev"}
        elif word == "ro" or word == "rw":
            found -= {"ro", "rw"}
        if word:
            found.add(word)
    return sorted(found)


@reads(
    "uptime",
    Record({"seconds": Field(FLOAT, "since the last start", volatile=True)}),
    asks=("uptime",),
    what="/proc/uptime",
)
def read_uptime(answer: Answer) -> Any:
    """Seconds since the last start."""
    return {"seconds": float(answer.need("uptime").text.split()[0])}


@reads(
    "disks",
    Record({"encrypted": Field(BOOL, "whether an opened encrypted volume is in use")}),
    asks=("disks",),
    what="lsblk",
    may_be_absent=True,
    doc="absent in a container, whose disks are another machine's",
)
def read_disks(answer: Answer) -> Any:
    """Whether any block device is a `crypt` layer, swap apart. No block device at all is no answer."""
    section = answer.need("disks", rc=(0, 3))
    lines = section.lines
    if section.rc == 3:
        return None
    if not lines:
        return Unknown(Reason.NOT_SUPPORTED, "no disks of its own")
    # swap alone is often encrypted with a key made at each start, on disks that anybody can read
    return {
        "encrypted": any(
            w[0] == "crypt" and w[1:] != ["swap", "[SWAP]"] and w[1:] != ["swap"] for w in map(str.split, lines)
        )
    }


_NO_SERIAL = re.compile(
    r"(?i)^(0+|none|default string|system serial number|not (specified|applicable|available)|"
    r"to be filled by o\.?e\.?m\.?|x+|unknown|123456789|n/?a)?$"
)


def ids(answer: Answer) -> dict[str, str]:
    """machine_id and serial, where they are real. Never a fact: they only join one machine's surfaces."""
    try:
        lines = answer.need("ids").lines
    except Missing:
        return {}
    out = {}
    if lines and re.fullmatch(r"[0-9a-f]{32}", lines[0].strip()):
        out["machine_id"] = lines[0].strip()
        lines = lines[1:]
    if lines and not _NO_SERIAL.match(lines[0].strip()):
        out["serial"] = clean(lines[0].strip(), 64)
    return out
