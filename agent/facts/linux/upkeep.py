"""Upkeep: automatic updates, logs that leave the host, the audit daemon, and files that should not be as they are."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from agent.facts.linux.answer import Answer, clean
from agent.facts.linux.readers import listing, reads
from agent.facts.linux.system import read_os
from agent.facttypes import BOOL, INT, MODE, STR, Field, ListOf, Record
from agent.model import Reason, Unknown

APT = Record(
    {
        "lists_days": Field(INT, "days between downloads of the package lists; absent when never", may_be_absent=True),
        "upgrade_days": Field(INT, "days between unattended upgrades; absent when never", may_be_absent=True),
        "security": Field(BOOL, "whether the origins that may upgrade by themselves include security updates"),
    }
)


@reads("apt", APT, asks=("apt", "os"), what="apt-config dump", may_be_absent=True, doc="absent where there is no apt")
def read_apt(answer: Answer) -> Any:
    """What apt does by itself, as the sum of all its files."""
    section = answer.need("apt", rc=(0, 3))
    if section.rc == 3:
        return None
    single: dict[str, str] = {}
    origins: list[tuple[str, str]] = []
    for line in section.lines:
        match = re.fullmatch(r'\s*([^\s"]+) "((?:[^"\\]|\\.)*)";', line)
        if not match:
            continue
        name, value = match[1].lower(), match[2]
        if name.startswith("unattended-upgrade::") and "::" in name[20:]:
            if value:
                origins.append((name.split("::")[1], value))
        else:
            single[name] = value
    on = single.get("apt::periodic::enable", "1") not in {"0", "false", "no", ""}

    def days(name: str) -> Any:
        return _days(single.get(f"apt::periodic::{name}", "0")) if on else None

    return {
        "lists_days": days("update-package-lists"),
        "upgrade_days": days("unattended-upgrade"),
        "security": _security(origins, answer),
    }


def _days(value: str) -> Any:
    """apt.systemd.daily: a number of days, or with s, m, h, d; `always` is at every run, which is daily."""
    if value == "always":
        return 1
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", value)
    if not match:
        return Unknown(Reason.UNREADABLE, "APT::Periodic")
    amount = int(match[1]) / {"s": 86400, "m": 1440, "h": 24, "d": 1, "": 1}[match[2]]
    return math.ceil(amount) or None


_KEYS = {
    "o": "origin",
    "l": "label",
    "a": "archive",
    "suite": "archive",
    "n": "codename",
    "c": "component",
    "site": "site",
}


def _security(origins: Sequence[tuple[str, str]], answer: Answer) -> Any:
    system = read_os(answer)
    if isinstance(system, Unknown):
        return system
    code, name = system["codename"] or "", system["id"].capitalize()
    target = (
        {"origin": name, "label": "Ubuntu", "archive": f"{code}-security", "codename": code}
        if system["id"] == "ubuntu"
        else {"origin": name, "label": "Debian-Security", "archive": "*-security", "codename": f"{code}-security"}
    )
    unsure = bool(origins) and system["id"] not in {"debian", "ubuntu"}  # others name their origins otherwise
    for kind, value in origins:
        text = value.replace("${distro_id}", name).replace("${distro_codename}", code)
        pairs = (
            {"origin": text.partition(":")[0], "archive": text.partition(":")[2]}
            if kind == "allowed-origins"
            else dict(p.partition("=")[::2] for p in text.split(","))
        )
        clear = {_KEYS.get(k.strip().lower(), k.strip().lower()): v.strip() for k, v in pairs.items()}
        if "site" in clear or "component" in clear:
            unsure = unsure or "security" in text.lower()
        elif clear and all(
            k in target and (fnmatchcase(target[k], v) or fnmatchcase(v, target[k])) for k, v in clear.items()
        ):
            return True
    return Unknown(Reason.UNREADABLE, "Unattended-Upgrade origins") if unsure else False


LOGS = Record(
    {
        "daemon": Field(
            STR,
            "rsyslog, or another program that may send logs; absent when only the journal keeps them",
            may_be_absent=True,
        ),
        "servers": Field(ListOf(STR), "hosts that rsyslog or the journal sends logs to"),
    }
)


@reads("log_forwarding", LOGS, asks=("log",), what="rsyslog's configuration, journal-upload.conf")
def read_log(answer: Answer) -> Any:
    """Where logs go. Other daemons than rsyslog have languages of their own, so their servers are unknown."""
    section = answer.need("log")
    daemons = section.file("daemons")
    names = daemons.text.split() if daemons else []
    upload = section.file("upload")
    servers = [m[1].lower() for m in re.finditer(r"(?m)^\s*URL=\s*\w+://\[?([^]/\s:]+)", upload.text if upload else "")]
    hidden: Unknown | None = None
    if "rsyslogd" in names:
        for file in section.files:
            if file.path in {"daemons", "upload"}:
                continue
            if not file.ok:
                hidden = Unknown(Reason.PERMISSION if file.state == "denied" else Reason.UNREADABLE, clean(file.path))
                continue
            servers += log_servers(file.text)
    others = [n for n in names if n != "rsyslogd"]
    if others:
        hidden = Unknown(Reason.NOT_SUPPORTED, f"{others[0]} may send logs too")
    return {
        "daemon": "rsyslog" if "rsyslogd" in names else others[0] if others else None,
        "servers": listing([clean(s, 253) for s in dict.fromkeys(servers)], hidden),
    }


def log_servers(text: str) -> list[str]:
    """Targets of rsyslog's `selector @host`, `@@(o)host:port` and `action(type="omfwd" target="host" …)`."""
    plain = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    plain = "\n".join(line for line in plain.splitlines() if not line.lstrip().startswith("#"))
    found = []
    for match in re.finditer(r"(?m)^[^\n\"]*?[\s&]@@?(?:\([^)]*\))?(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)", plain):
        found.append(match[1].strip("[]").lower())
    for match in re.finditer(r"action\s*\(([^)]*)\)", plain, flags=re.IGNORECASE):
        options = {k.lower(): v for k, v in re.findall(r"([A-Za-z.]+)\s*=\s*\"([^\"]*)\"", match[1])}
        if options.get("type", "").lower() == "omfwd" and options.get("target"):
            found.append(options["target"].lower())
    return found


AUDIT = Record({"max_log_file_action": Field(STR, "what becomes of a full log, lower case", may_be_absent=True)})


@reads(
    "audit",
    AUDIT,
    asks=("audit",),
    what="/etc/audit/auditd.conf",
    rights=("sudo",),
    may_be_absent=True,
    doc="absent where there is no audit daemon",
)
def read_audit(answer: Answer) -> Any:
    """The audit daemon's own settings."""
    section = answer.need("audit", rc=(0, 3))
    if section.rc == 3:
        return None
    lines = [line for f in section.files for line in f.text.splitlines() if "=" in line]
    values = [line.partition("=")[2].strip().lower() for line in lines]
    return {"max_log_file_action": clean(values[-1], 40) if values else None}


PROGRAM = Record(
    {
        "path": Field(STR),
        "mode": Field(MODE),
        "owner": Field(STR),
        "group": Field(STR),
        "packaged": Field(BOOL, "whether an installed package owns the file"),
    },
    key="path",
    label="path",
)
WRITABLE = Record(
    {"path": Field(STR), "mode": Field(MODE), "owner": Field(STR), "group": Field(STR)}, key="path", label="path"
)


def _found(lines: Sequence[str]) -> tuple[list[dict[str, Any]], Unknown | None]:
    """`mode|owner|group|path` lines, and why `find` may have missed some. A file that vanished meanwhile is none."""
    items, why = [], None
    for line in lines:
        parts = line.split("|", 3)
        if len(parts) == 4 and re.fullmatch(r"[0-7]{1,4}", parts[0]) and parts[3].startswith("/"):
            items.append(
                {
                    "path": clean(parts[3], 1000),
                    "mode": f"{int(parts[0], 8):04o}",
                    "owner": clean(parts[1], 64),
                    "group": clean(parts[2], 64),
                }
            )
        elif line.startswith(("find: ", "stat: ")) and "No such file" not in line:
            why = Unknown(Reason.PERMISSION, "sudo") if "denied" in line else Unknown(Reason.UNREADABLE, "find")
    return items, why


def _searched(answer: Answer, name: str) -> tuple[list[dict[str, Any]], Unknown | None]:
    section = answer.need(name, rc=(0, 1, 124, 143))
    items, why = _found(section.lines)
    if section.rc in (124, 143):
        why = Unknown(Reason.TIMED_OUT, "the search was stopped")
    elif not answer.root and why is None:
        why = Unknown(Reason.PERMISSION, "sudo")
    return items, why


@reads(
    "setuid_files",
    ListOf(PROGRAM),
    asks=("setuid",),
    what="find -perm /6000, and the packages' own lists",
    rights=("sudo",),
    doc="setuid and setgid programs below /usr, /opt, /srv, /home, /root, /etc, /tmp and /var/tmp",
)
def read_setuid(answer: Answer) -> Any:
    """Programs that run as somebody else, with whether a package brought them."""
    items, why = _searched(answer, "setuid")
    owned = answer.sections["setuid"].file("owned")
    names = set(owned.text.splitlines()) if owned else set()
    if answer.meta.get("packages") not in {"dpkg", "rpm"}:
        unsure: Any = Unknown(Reason.COMMAND_MISSING, "dpkg or rpm")
        return listing([i | {"packaged": unsure} for i in items], why)
    # Where /bin became /usr/bin, packages may still know a file by its old place.
    whole = [i | {"packaged": bool({i["path"], i["path"].removeprefix("/usr")} & names)} for i in items]
    return listing(whole, why)


@reads(
    "world_writable",
    ListOf(WRITABLE),
    asks=("world_writable",),
    what="find /etc /usr/local -perm -0002",
    rights=("sudo",),
    doc="files that everybody may change, in /etc and /usr/local",
)
def read_world_writable(answer: Answer) -> Any:
    """Files that every account may change."""
    items, why = _searched(answer, "world_writable")
    return listing(items, why)
