"""Kernel settings: the running value, and the value that the files would give at the next boot.

Order of the files as in sysctl.d(5) (systemd-sysctl) and sysctl(8) (`--system`, where there is no systemd).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from agent.facts.linux.answer import Answer, FileText, Missing, clean
from agent.facts.linux.readers import listing, numbered, reads, reads_keys
from agent.facttypes import INT, STR, Field, ListOf, Record
from agent.model import Reason, Unknown

_DIRECTORIES = ("/etc/sysctl.d/", "/run/sysctl.d/", "/usr/local/lib/sysctl.d/", "/usr/lib/sysctl.d/", "/lib/sysctl.d/")
"""Rising distance: a file in an earlier one hides those of the same name in later ones."""

_BUILT_IN = {
    "kernel/dmesg_restrict": ("CONFIG_SECURITY_DMESG_RESTRICT", "1"),
    "kernel/unprivileged_bpf_disabled": ("CONFIG_BPF_UNPRIV_DEFAULT_OFF", "2"),
}
"""Settings whose first value each distribution chooses when it builds the kernel: the option, and the value with it."""

SYSCTL = Record(
    {
        "running": Field(INT, "the value in force now"),
        "boot": Field(
            INT,
            "the value that files (or the kernel's build) give at boot; absent when nothing sets it",
            may_be_absent=True,
        ),
        "text": Field(STR, "the value in force now as text, for settings that are no number"),
    }
)


def path_of(key: str) -> str | None:
    """`net.ipv4.ip_forward` or `net/ipv4/conf/eth0.1/rp_filter` → path below /proc/sys; None for what is no key.

    Whichever of dot and slash comes first separates, and the other stands for itself swapped (sysctl.d(5)).
    """
    if not re.fullmatch(r"[A-Za-z0-9_*?\[][A-Za-z0-9_./:@*?!\[\]-]*", key) or ".." in key or "//" in key:
        return None
    first = re.search(r"[./]", key)
    return key.translate(str.maketrans("./", "/.")) if first and first[0] == "." else key


_GLOB = re.compile(r"[*?\[]")


def _argument(key: str) -> str | None:
    path = path_of(key)
    return None if path is None or _GLOB.search(path) else path


@reads_keys(
    "sysctl",
    SYSCTL,
    key="kernel setting",
    asks=("sysctl", "sysctl_files"),
    may_be_absent=True,
    what="/proc/sys and sysctl.d",
    doc="absent when this kernel does not have the setting",
    argument=_argument,
)
def read_sysctl(answer: Answer, keys: Sequence[str]) -> Mapping[str, Any]:
    """Running and boot values of the keys that were asked for."""
    running = numbered(answer.need("sysctl").lines, len(keys))
    try:
        files = answer.need("sysctl_files").files
        boot = boot_values(files, systemd=answer.meta.get("systemd") == "1")
        hidden = next((f.path for f in files if f.state == "denied"), "")
        lost = Unknown(Reason.PERMISSION, f"sudo, to read {clean(hidden)}") if hidden else None
    except Missing as error:
        boot, lost = None, error.why
    out: dict[str, Any] = {}
    for number, key in enumerate(keys):
        state, *rest = running.get(number, ["none"])
        if state == "absent":
            out[key] = None
        elif state == "ok":
            text = clean(" ".join((rest[0] if rest else "").split()))
            late = lost if boot is None or lost else boot(path_of(key) or "")
            out[key] = {
                "running": _number(text),
                "text": text,
                "boot": late if late is None or isinstance(late, Unknown) else _number(late),
            }
        elif state == "denied":
            out[key] = Unknown(Reason.PERMISSION, "sudo")
        else:
            out[key] = Unknown(Reason.UNREADABLE, "/proc/sys")
    return out


def _number(text: str) -> int | Unknown:
    if re.fullmatch(r"-?[0-9]{1,19}", text):
        return int(text)
    return Unknown(Reason.NOT_SUPPORTED, "the value is no single number: read its text")


def boot_values(files: Sequence[FileText], *, systemd: bool) -> Any:
    """A function from path (`net/ipv4/ip_forward`) to the text that it is set to at boot, or None.

    An explicit line beats every pattern, whatever their order; `-key` without a value takes it out of patterns.
    """
    explicit: dict[str, str] = {}
    globs: list[tuple[str, str]] = []
    excluded: list[str] = []
    for file in _order(files, systemd):
        for line in file.text.splitlines():
            name, equals, value = line.strip().partition("=")
            name = name.strip()
            optional = name.startswith("-")
            path = path_of(name.lstrip("-").strip())
            if path is None:
                continue
            if not equals:
                if optional:
                    excluded.append(path)
            elif _GLOB.search(path):
                globs.append((path, " ".join(value.split())))
            else:
                explicit[path] = " ".join(value.split())
    late = dict(_ufw_lines(files))

    def boot(path: str) -> str | Unknown | None:
        if path in late:  # ufw writes its own file when it starts, which is after systemd-sysctl
            return late[path]
        if path in explicit:
            return explicit[path]
        if any(fnmatchcase(path, e) for e in excluded):
            return None
        # As in a shell, a star stops at a slash.
        hits = [v for g, v in globs if fnmatchcase(path, g) and g.count("/") == path.count("/")]
        return hits[-1] if hits else _built_in(path, files)

    return boot


def _built_in(path: str, files: Sequence[FileText]) -> str | Unknown | None:
    if path not in _BUILT_IN:
        return None
    option, value = _BUILT_IN[path]
    config = next((f.text for f in files if f.path == "kernel"), "")
    if f"{option}=y" in config:
        return value
    if f"# {option} is not set" in config:
        return "0"
    return Unknown(Reason.NOT_SUPPORTED, "no file sets it, and how the kernel was built is not to be seen")


def _order(files: Sequence[FileText], systemd: bool) -> list[FileText]:
    """Files in the order in which they are read: the kernel's command line, then by name, hidden ones left out."""
    chosen: dict[str, tuple[int, FileText]] = {}
    for file in files:
        for rank, directory in enumerate(_DIRECTORIES):
            if file.path.startswith(directory):
                name = file.path[len(directory) :]
                if name not in chosen or rank < chosen[name][0]:
                    chosen[name] = (rank, file)
    ordered = [f for _, (_, f) in sorted(chosen.items())]
    if not systemd:
        ordered += [f for f in files if f.path == "/etc/sysctl.conf"]
    first = [f for f in files if f.path == "cmdline"]
    return [_cmdline(f) for f in first] + [f for f in ordered if f.ok]


def _cmdline(file: FileText) -> FileText:
    lines = [re.sub(r"^sysctl[./]", "", line) for line in file.text.splitlines()]
    return FileText(file.path, "ok", "\n".join(lines))


def _ufw_lines(files: Sequence[FileText]) -> list[tuple[str, str]]:
    found = []
    for file in files:
        if file.path == "ufw":
            for line in file.text.splitlines():
                name, equals, value = line.partition("=")
                path = path_of(name.strip())
                if equals and path:
                    found.append((path, " ".join(value.split())))
    return found


@reads(
    "modprobe_blocked",
    ListOf(STR),
    asks=("modprobe",),
    what="install lines in modprobe.d",
    doc="kernel modules that cannot be loaded: `install NAME /bin/false` or /bin/true",
)
def read_modprobe(answer: Answer) -> Any:
    """Modules whose install line runs nothing; `blacklist` alone stops only automatic loading."""
    section = answer.need("modprobe")
    seen: dict[str, FileText] = {}
    for file in section.files:
        seen.setdefault(file.path.rsplit("/", 1)[-1], file)
    found = set()
    for file in seen.values():
        for line in file.text.splitlines():
            words = line.split()
            if (
                len(words) >= 3
                and words[0] == "install"
                and words[2] in {"/bin/false", "/bin/true", "/usr/bin/false", "/usr/bin/true"}
            ):
                # modprobe takes either spelling for the same module, and so do those who write lists of them
                found |= {clean(words[1].replace("_", "-"), 60), clean(words[1].replace("-", "_"), 60)}
    hidden = next((f.path for f in seen.values() if f.state == "denied"), "")
    return listing(sorted(found), Unknown(Reason.PERMISSION, f"sudo, to read {clean(hidden)}") if hidden else None)
