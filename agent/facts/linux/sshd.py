"""The SSH server's effective settings (`sshd -T`) and the Match blocks, which `sshd -T` does not show."""

from __future__ import annotations

import shlex
from fnmatch import fnmatchcase
from typing import Any

from agent.facts.linux.answer import Answer, FileText, Missing, clean
from agent.facts.linux.readers import listing, reads
from agent.facttypes import INT, STR, Enum, Field, ListOf, Record
from agent.model import Reason, Unknown

_YES_NO = Enum(("yes", "no"))
ROOT_LOGIN = ("no", "forced-commands-only", "prohibit-password", "yes")
"""In rising order of what root may do; sshd_config(5)."""

WORDS: dict[str, Field] = {
    "permitrootlogin": Field(Enum(ROOT_LOGIN), "PermitRootLogin"),
    "passwordauthentication": Field(_YES_NO, "PasswordAuthentication"),
    "kbdinteractiveauthentication": Field(_YES_NO, "KbdInteractiveAuthentication (with PAM: passwords too)"),
    "permitemptypasswords": Field(_YES_NO, "PermitEmptyPasswords"),
    "pubkeyauthentication": Field(_YES_NO, "PubkeyAuthentication"),
    "usepam": Field(_YES_NO, "UsePAM; absent in a server built without it", may_be_absent=True),
    "x11forwarding": Field(_YES_NO, "X11Forwarding"),
    "ignorerhosts": Field(Enum(("yes", "no", "shosts-only")), "IgnoreRhosts"),
    "hostbasedauthentication": Field(_YES_NO, "HostbasedAuthentication"),
    "permituserenvironment": Field(STR, "PermitUserEnvironment: yes, no or a list of patterns"),
    "loglevel": Field(STR, "LogLevel, upper case"),
    "banner": Field(STR, "Banner: a path, or none"),
}
NUMBERS: dict[str, Field] = {
    "maxauthtries": Field(INT, "MaxAuthTries"),
    "clientaliveinterval": Field(INT, "ClientAliveInterval, seconds"),
    "clientalivecountmax": Field(INT, "ClientAliveCountMax"),
    "logingracetime": Field(INT, "LoginGraceTime, seconds; 0 is without end"),
}
LISTS: dict[str, Field] = {
    "ciphers": Field(ListOf(STR), "Ciphers, in order"),
    "macs": Field(ListOf(STR), "MACs, in order"),
    "kexalgorithms": Field(ListOf(STR), "KexAlgorithms, in order"),
    "authenticationmethods": Field(ListOf(STR), "AuthenticationMethods: alternatives; [any] when it limits nothing"),
}
_AT_START = {
    "ciphers",
    "macs",
    "kexalgorithms",
    "gssapikexalgorithms",
    "hostkeyalgorithms",
    "pubkeyacceptedkeytypes",
    "pubkeyacceptedalgorithms",
    "hostbasedacceptedkeytypes",
    "hostbasedacceptedalgorithms",
    "casignaturealgorithms",
    "permitrootlogin",
    "rsaminsize",
    "requiredrsasize",
}
"""Settings that distributions put on the server's command line; each takes one word (sshd_config(5))."""
SSHD = Record({**WORDS, **NUMBERS, **LISTS, "port": Field(ListOf(INT), "ports from the configuration")})


@reads(
    "sshd",
    SSHD,
    asks=("sshd", "sshd_run"),
    what="sshd -T",
    rights=("sudo",),
    doc="effective settings of the SSH server",
)
def read_sshd(answer: Answer) -> Any:
    """`sshd -T`, but only where the running server reads the files that `sshd -T` reads."""
    values = _effective(answer)
    if not values:
        return Unknown(Reason.UNREADABLE, "sshd -T")
    return values


def _effective(answer: Answer) -> dict[str, Any]:
    section = answer.need("sshd")
    own = _own_settings(answer)
    values = parse_sshd("\n".join([f"{name} {value}" for name, value in own.items()] + [section.text]))
    # + - ^ change the list that was compiled in, which is not what sshd -T shows of the files
    changed = {name for name in LISTS if own.get(name, "").startswith(("+", "-", "^"))}
    unsure = Unknown(Reason.UNREADABLE, "the SSH server was started with a change to its built-in list")
    return values | dict.fromkeys(changed, unsure) if values else values


def _own_settings(answer: Answer) -> dict[str, str]:
    """Settings of the running server's command line, which go before its files: name in lower case to value.

    RHEL 8 gives sshd its ciphers that way (crypto-policies(7), CRYPTO_POLICY). Raises `Missing` for other options
    that make the server differ from its files.
    """
    running = answer.need("sshd_run", rc=(0, 1))
    if running.rc == 1 and "crypto-policy=1" in running.lines:
        raise Missing(Reason.UNREADABLE, "the SSH server gets ciphers when it starts, and was not seen running")
    found: dict[str, str] = {}
    words = iter(running.text.split("[listener]")[0].split()[1:] if running.rc == 0 else ())
    for word in words:
        if not word.startswith("-"):
            continue
        for place, letter in enumerate(word[1:], 2):
            if letter == "o":
                name, equals, value = (word[place:] or next(words, "")).partition("=")
                if not equals or name.lower() not in _AT_START:
                    raise _elsewhere("-o")
                found.setdefault(name.lower(), value)
                break
            if letter in "fpg":
                raise _elsewhere(f"-{letter}")
            if letter in "CcEhub":
                break  # the rest of the word is its value
    return found


def _elsewhere(option: str) -> Missing:
    return Missing(Reason.UNREADABLE, f"the SSH server was started with {option}, so its files do not tell")


def parse_sshd(text: str) -> dict[str, Any]:
    """`sshd -T` → declared fields only. A line whose value is not of its kind is left out, so unknown."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.strip().partition(" ")
        if name and value:
            found.setdefault(name.lower(), []).append(clean(value.strip(), 4000))
    out: dict[str, Any] = {}
    for name in WORDS:
        if name in found:
            out[name] = _word(name, found[name][0])
    # OpenSSH before 8.7 lists the older name too, and either switches it on.
    if "challengeresponseauthentication" in found and found["challengeresponseauthentication"][0] == "yes":
        out["kbdinteractiveauthentication"] = "yes"
    for name in NUMBERS:
        if name in found and found[name][0].isdecimal():
            out[name] = int(found[name][0])
    for name in LISTS:
        if name in found:
            out[name] = found[name][0].split() if name == "authenticationmethods" else found[name][0].split(",")
    ports = [int(v) for v in found.get("port", []) if v.isdecimal()]
    if ports:
        out["port"] = ports
    if out and "usepam" not in out and "permitrootlogin" in out:
        out["usepam"] = None
    return out


def _word(name: str, value: str) -> Any:
    if name == "permitrootlogin" and value == "without-password":
        return "prohibit-password"  # the name it had until OpenSSH 7.0, which sshd -T still prints
    if name == "loglevel":
        return value.upper()
    kind = WORDS[name].type
    if isinstance(kind, Enum) and value not in kind.members:
        return Unknown(Reason.UNREADABLE, f"{name} {clean(value, 40)}")
    return value


MATCH = Record(
    {
        "criteria": Field(STR, "what stands after Match"),
        "place": Field(STR, "file and number of the block in it"),
        "loosens": Field(ListOf(STR), "settings in it that let root or passwords in, as `name value`"),
    },
    key="place",
    label="criteria",
)


@reads(
    "sshd_match",
    ListOf(MATCH),
    asks=("sshd_files", "sshd_run"),
    rights=("sudo",),
    what="Match blocks of /etc/ssh/sshd_config and what it includes",
    doc="Match blocks, which overrule everything outside of them for those whom they match",
)
def read_match(answer: Answer) -> Any:
    """Match blocks. One that allows what is allowed anyway is listed too: it stays when the rest is mended."""
    section = answer.need("sshd_files")
    _own_settings(answer)
    hidden = next((f.path for f in section.files if not f.ok), "")
    items = [
        {"criteria": clean(criteria), "place": clean(place), "loosens": _loosens(settings)}
        for criteria, place, settings in match_blocks({f.path: f for f in section.files if f.ok})
    ]
    return listing(items, Unknown(Reason.UNREADABLE, f"{clean(hidden)} could not be read") if hidden else None)


def match_blocks(files: dict[str, FileText]) -> list[tuple[str, str, dict[str, str]]]:
    """(criteria, place, settings) of every Match block. In a block the first value of a setting counts.

    A file included inside a block belongs to it; a block that begins in an included file ends with that file.
    """
    blocks: list[tuple[str, str, dict[str, str]]] = []

    def walk(path: str, inside: int | None, depth: int) -> None:
        if depth > 8 or path not in files:
            return
        current, number = inside, 0
        for line in files[path].text.splitlines():
            name, value = split_option(line)
            if name == "match":
                number += 1
                blocks.append((value, f"{path}#{number}", {}))
                current = len(blocks) - 1
            elif name == "include":
                for pattern in _words(value):
                    full = pattern if pattern.startswith("/") else f"/etc/ssh/{pattern}"
                    for other in sorted(p for p in files if fnmatchcase(p, full) and p.count("/") == full.count("/")):
                        walk(other, current, depth + 1)
            elif name and current is not None:
                blocks[current][2].setdefault(name, value)

    walk("/etc/ssh/sshd_config", None, 0)
    return blocks


def split_option(line: str) -> tuple[str, str]:
    """`Name value`, `Name=value`, `Name "value"  # comment` → (name in lower case, value)."""
    text = line.strip()
    if not text or text.startswith("#"):
        return "", ""
    head = text.replace("=", " ", 1) if "=" in text.split(None, 1)[0] or " =" in text else text
    name, _, rest = head.partition(" ") if " " in head else head.partition("\t")
    words = _words(rest)
    return name.strip().lower(), " ".join(words)


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text.strip().lstrip("=").strip(), posix=True)
    lexer.whitespace_split, lexer.commenters = True, "#"
    try:
        return list(lexer)
    except ValueError:  # an unmatched quote: sshd would not start, so the words as they stand will do
        return text.split()


_GUARDED = ("permitrootlogin", "passwordauthentication", "kbdinteractiveauthentication", "permitemptypasswords")
_ALIAS = {"challengeresponseauthentication": "kbdinteractiveauthentication"}


def _loosens(settings: dict[str, str]) -> list[str]:
    found = []
    for raw, value in settings.items():
        name, word = _ALIAS.get(raw, raw), value.lower()
        if name in _GUARDED and word != "no":
            found.append(f"{name} {clean(word, 60)}")
    return found
