"""Local accounts and groups. Passwords arrive as classes (locked, empty, yescrypt, …), never as hashes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.facts.linux.answer import Answer, FileText, Missing, clean
from agent.facts.linux.readers import listing, reads
from agent.facttypes import BOOL, INT, MODE, STR, TIME, Enum, Field, ListOf, Record
from agent.model import Reason, Unknown

CLASSES = (
    "locked",
    "empty",
    "none",
    "yescrypt",
    "gost-yescrypt",
    "scrypt",
    "bcrypt",
    "sha512",
    "sha256",
    "md5",
    "des",
    "other",
)

USER = Record(
    {
        "name": Field(STR, "login name"),
        "uid": Field(INT),
        "gid": Field(INT, "primary group"),
        "shell": Field(STR, "login shell; empty means /bin/sh"),
        "password": Field(Enum(CLASSES, closed=False), "locked, empty, none (no entry), or the kind of hash"),
        "usable_password": Field(BOOL, "whether any password lets the account in"),
        "shadowed": Field(BOOL, "whether the password is kept out of /etc/passwd"),
        "password_changed": Field(TIME, "last change; absent when not recorded", may_be_absent=True),
        "password_max_days": Field(INT, "maximum age in days; absent when unlimited", may_be_absent=True),
        "expires": Field(TIME, "when the account ends; absent when never", may_be_absent=True),
    },
    key="name",
    label="name",
)


@reads(
    "users",
    ListOf(USER),
    asks=("passwd", "shadow"),
    what="/etc/passwd, and classes and ages of /etc/shadow",
    rights=("sudo",),
    doc="accounts of the host itself (not of a directory it asks)",
)
def read_users(answer: Answer) -> Any:
    """Accounts; without root everything about their passwords is unknown."""
    passwd = answer.need("passwd")
    shadow: dict[str, list[str]] = {}
    why: Unknown | None = None
    try:
        shadow = {p[0]: p for p in (line.split(":") for line in answer.need("shadow", rc=(0, 3)).lines) if len(p) == 8}
    except Missing as error:
        why = error.why
    items, odd = [], False
    for line in passwd.lines:
        parts = line.split(":")
        if len(parts) != 6 or not (parts[2].isdecimal() and parts[3].isdecimal()):
            odd = odd or not line.startswith(("+", "-"))  # NIS lines name accounts that are not the host's own
            continue
        items.append(_user(parts, shadow.get(parts[0]), why))
    if not items:
        return Unknown(Reason.UNREADABLE, "/etc/passwd")
    return listing(items, Unknown(Reason.UNREADABLE, "a line of /etc/passwd") if odd else None)


def _user(parts: list[str], shadow: list[str] | None, why: Unknown | None) -> dict[str, Any]:
    user: dict[str, Any] = {
        "name": clean(parts[0], 64),
        "uid": int(parts[2]),
        "gid": int(parts[3]),
        "shell": clean(parts[5], 120),
        "shadowed": parts[1] in {"shadow", "locked", "empty"},
    }
    ages: dict[str, Any] = dict.fromkeys(("password_changed", "password_max_days", "expires"))
    kind: Any = parts[1]
    if kind == "shadow":
        if why is not None:
            return user | dict.fromkeys(("password", "usable_password", *ages), why)
        kind = shadow[1] if shadow else "none"
    if shadow:
        maximum = shadow[4]
        ages = {
            "password_changed": _day(shadow[2]),
            "expires": _day(shadow[7]),
            # 99999 is what every tool writes for "never".
            "password_max_days": int(maximum) if maximum.isdecimal() and int(maximum) < 99999 else None,
        }
    elif why is not None:
        ages = dict.fromkeys(ages, why)
    return user | {"password": kind, "usable_password": kind not in {"locked", "none"}} | ages


def _day(text: str) -> str | None:
    """Days since 1970 → ISO 8601; empty and 0 (must change at next login) are not recorded times."""
    if not text.isdecimal() or not 0 < int(text) < 2_000_000:
        return None
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=int(text))).strftime("%Y-%m-%dT%H:%M:%SZ")


GROUP = Record(
    {
        "name": Field(STR),
        "gid": Field(INT),
        "members": Field(ListOf(STR), "members by name, and accounts whose primary group it is; sorted"),
    },
    key="name",
    label="name",
)


@reads(
    "groups",
    ListOf(GROUP),
    asks=("group", "passwd"),
    what="/etc/group and /etc/passwd",
    doc="groups of the host itself",
)
def read_groups(answer: Answer) -> Any:
    """Groups with everybody in them, also those who are in by their primary group."""
    primary: dict[str, list[str]] = {}
    for line in answer.need("passwd").lines:
        parts = line.split(":")
        if len(parts) == 6:
            primary.setdefault(parts[3], []).append(parts[0])
    items, odd = [], False
    for line in answer.need("group").lines:
        parts = line.split(":")
        if len(parts) != 3 or not parts[1].isdecimal():
            odd = odd or not line.startswith(("+", "-"))
            continue
        names = {n for n in parts[2].split(",") if n} | set(primary.get(parts[1], ()))
        members = sorted(clean(n, 64) for n in names)
        items.append({"name": clean(parts[0], 64), "gid": int(parts[1]), "members": members})
    if not items:
        return Unknown(Reason.UNREADABLE, "/etc/group")
    return listing(items, Unknown(Reason.UNREADABLE, "a line of /etc/group") if odd else None)


LOGIN = Record(
    {
        "pass_max_days": Field(INT, "PASS_MAX_DAYS of login.defs", may_be_absent=True),
        "umask": Field(STR, "UMASK of login.defs, octal", may_be_absent=True),
        "umask_lets": Field(MODE, "what the umask leaves of 0777, as a mode", may_be_absent=True),
        "shell_umask_lets": Field(
            MODE, "what an umask in the shells' profiles leaves of 0777; absent when none sets one", may_be_absent=True
        ),
        "encrypt_method": Field(STR, "ENCRYPT_METHOD of login.defs, upper case", may_be_absent=True),
        "minlen": Field(INT, "minlen of pwquality.conf", may_be_absent=True),
        "deny": Field(INT, "deny of faillock.conf", may_be_absent=True),
        "tmout": Field(INT, "TMOUT that login shells get, seconds", may_be_absent=True),
    }
)


@reads(
    "login_policy",
    LOGIN,
    asks=("login",),
    doc="what new accounts, passwords and shells get",
    what="login.defs, pwquality.conf, faillock.conf, TMOUT and umask in the shells' profiles",
)
def read_login(answer: Answer) -> Any:
    """Settings by file; a file that cannot be read leaves its settings unknown."""
    section = answer.need("login")
    denied = Unknown(Reason.PERMISSION, "sudo")

    # openSUSE's own file lies in /usr/etc; without any, programs go by values that they were built with
    elsewhere = Unknown(Reason.NOT_SUPPORTED, "no /etc/login.defs")

    def of(path: str, name: str, separator: str | None) -> Any:
        found: Any = None
        files = [f for f in section.files if f.path == path or f.path.startswith(path + ".d/")]
        # pwquality reads its folder first and the main file last, and the last value counts (pwquality.conf(5))
        for file in sorted(files, key=lambda f: (f.path == path, f.path)):
            if file.state == "denied":
                return denied
            if file.state == "absent" and path == "/etc/login.defs":
                return elsewhere
            for line in file.text.splitlines():
                words = line.split(separator, 1)
                key, value = words[0], words[1] if len(words) > 1 else ""
                if key.strip() == name and value.split("#")[0].strip():
                    found = clean(value.split("#")[0].split()[0], 40)
        return found

    def whole(value: Any) -> Any:
        if value is None or isinstance(value, Unknown):
            return value
        return int(value) if value.isdecimal() else Unknown(Reason.UNREADABLE, "a number that is none")

    umask, method = of("/etc/login.defs", "UMASK", None), of("/etc/login.defs", "ENCRYPT_METHOD", None)
    return {
        "pass_max_days": whole(of("/etc/login.defs", "PASS_MAX_DAYS", None)),
        "umask": umask,
        "umask_lets": _lets(umask),
        "shell_umask_lets": _shell_umask(section.files),
        "encrypt_method": method.upper() if isinstance(method, str) else method,
        "minlen": whole(of("/etc/security/pwquality.conf", "minlen", "=")),
        "deny": whole(of("/etc/security/faillock.conf", "deny", "=")),
        "tmout": _tmout(
            [f.text for f in section.files if f.path.startswith("shell:") and f.ok],
            any(f.path.startswith("shell:") and not f.ok for f in section.files),
        ),
    }


def _lets(umask: Any) -> Any:
    if umask is None or isinstance(umask, Unknown):
        return umask
    try:
        return f"{0o777 & ~int(umask, 8):04o}"
    except ValueError:
        return Unknown(Reason.UNREADABLE, "UMASK")


_UMASK = re.compile(r"(?m)^(?![^\n]*-eq 0)(?:[^#\n]*[\s;&])?umask[ \t]+([0-7]{1,4})\b")
"""RHEL 9 and later set one only where none is set: ``[ `umask` -eq 0 ] && umask 022``."""


def _shell_umask(files: Sequence[FileText]) -> Any:
    """What shells get whatever login.defs says: the last of profile.d, which comes late, else the loosest of others.

    RHEL 8's /etc/profile and /etc/bashrc set 002 or 022, by the account's number.
    """
    shells = [f for f in files if f.path.startswith("shell:")]
    late = [m for f in shells if "/profile.d/" in f.path for m in _UMASK.findall(f.text)]
    early = [m for f in shells if "/profile.d/" not in f.path for m in _UMASK.findall(f.text)]
    if any(not f.ok for f in shells):
        return Unknown(Reason.PERMISSION, "sudo")
    if late:
        return _lets(late[-1])
    return max((_lets(m) for m in early), key=lambda mode: int(mode, 8), default=None)


def _tmout(texts: list[str], hidden: bool) -> Any:
    found = [int(n) for text in texts for n in re.findall(r"(?m)^[^#\n]*?\bTMOUT=[\"']?([0-9]{1,9})\b", text)]
    if hidden and not found:
        return Unknown(Reason.PERMISSION, "sudo")
    return found[-1] if found else None
