"""PAM: which modules the stacks for passwords and for signing in really call, following every include."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent.facts.linux.answer import Answer, Section, clean
from agent.facts.linux.readers import reads
from agent.facttypes import INT, STR, Field, Record
from agent.model import Reason, Unknown

PAM = Record(
    {
        "quality": Field(
            STR, "module that refuses short new passwords: pam_pwquality, or pam_unix with minlen", may_be_absent=True
        ),
        "minlen": Field(INT, "minlen among that module's arguments, which go before files", may_be_absent=True),
        "hash": Field(
            STR, "hash among pam_unix's arguments, upper case; without any it goes by login.defs", may_be_absent=True
        ),
        "lockout": Field(STR, "pam_faillock, where signing in calls it", may_be_absent=True),
        "deny": Field(INT, "deny among its arguments, which go before files", may_be_absent=True),
    }
)
_OTHERS = {"pam_passwdqc", "pam_cracklib"}
"""Modules with rules of their own, which nothing here reads."""


@reads(
    "pam",
    PAM,
    asks=("login",),
    what="/etc/pam.d: modules of passwd and sshd, with minlen, deny, conf and hashes of their arguments",
    doc="settings in pwquality.conf and faillock.conf count only where these stacks call the module",
)
def read_pam(answer: Answer) -> Any:
    """What changing a password (passwd) and signing in (sshd, else login) call."""
    section = answer.need("login")
    return _quality(section) | _hash(section) | _lockout(section)


class _Lost(Exception):
    def __init__(self, why: Unknown) -> None:
        super().__init__(str(why))
        self.why = why


def _stack(section: Section, service: str, kind: str, depth: int = 0) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(control, module, arguments) of one kind, includes followed. Raises `_Lost` for what cannot be read."""
    file = section.file(f"/etc/pam.d/{service}")
    if file is None or file.state == "absent":
        raise _Lost(Unknown(Reason.NOT_SUPPORTED, f"no /etc/pam.d/{clean(service, 40)}"))
    if not file.ok:
        raise _Lost(Unknown(Reason.PERMISSION, "sudo"))
    if depth > 8:
        raise _Lost(Unknown(Reason.UNREADABLE, "/etc/pam.d, which includes itself"))
    for line in file.text.splitlines():
        words = line.split()
        if words[-1:] == ["\\"]:
            raise _Lost(Unknown(Reason.UNREADABLE, f"a joined line of /etc/pam.d/{clean(service, 40)}"))
        if words[:1] == ["@include"] and len(words) > 1:
            yield from _stack(section, words[1].rpartition("/")[2], kind, depth + 1)
        elif len(words) > 2 and words[0] == kind:
            if words[1] in {"include", "substack"}:
                yield from _stack(section, words[2].rpartition("/")[2], kind, depth + 1)
            else:
                arguments = dict(w.partition("=")[::2] for w in words[3:])
                yield words[1], words[2].rpartition("/")[2].removesuffix(".so"), arguments


def _quality(section: Section) -> dict[str, Any]:
    out: dict[str, Any] = {"quality": None, "minlen": None}
    try:
        for control, module, arguments in _stack(section, "passwd", "password"):
            if module in _OTHERS:
                raise _Lost(Unknown(Reason.NOT_SUPPORTED, f"{module} has rules of its own"))
            binds = module == "pam_pwquality" or (module == "pam_unix" and "minlen" in arguments)
            if binds and control == "optional":
                raise _Lost(Unknown(Reason.NOT_SUPPORTED, f"{module} is optional in /etc/pam.d"))
            if binds and out["quality"] != "pam_pwquality":
                out = {"quality": module, "minlen": _number(arguments.get("minlen"))}
    except _Lost as error:
        return dict.fromkeys(out, error.why)
    return out


_HASHES = ("md5", "bigcrypt", "blowfish", "sha256", "sha512", "yescrypt", "gost_yescrypt")
"""Arguments of pam_unix that say how a new password is stored (pam_unix(8)); they go before login.defs."""


def _hash(section: Section) -> dict[str, Any]:
    found = None
    try:
        for _, module, arguments in _stack(section, "passwd", "password"):
            if module == "pam_unix":
                found = next((h.upper() for h in _HASHES if h in arguments), found)
    except _Lost as error:
        return {"hash": error.why}
    return {"hash": found}


def _lockout(section: Section) -> dict[str, Any]:
    out: dict[str, Any] = {"lockout": None, "deny": None}
    service = "sshd" if (f := section.file("/etc/pam.d/sshd")) is not None and f.state != "absent" else "login"
    try:
        for _, module, arguments in _stack(section, service, "auth"):
            if module == "pam_faillock":
                if "conf" in arguments:
                    raise _Lost(Unknown(Reason.NOT_SUPPORTED, "pam_faillock reads a file of its own"))
                out = {"lockout": module, "deny": _number(arguments["deny"]) if "deny" in arguments else out["deny"]}
    except _Lost as error:
        return dict.fromkeys(out, error.why)
    return out


def _number(text: str | None) -> Any:
    if text is None:
        return None
    return int(text) if text.isdecimal() else Unknown(Reason.UNREADABLE, "a number that is none")
