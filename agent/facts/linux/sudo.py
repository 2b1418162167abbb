"""sudoers: who may do what, and who needs no password for it. The text itself is never kept.

Grammar: sudoers(5). Rules count as *granted*: a later rule that takes a grant back is only seen when it is for the
same name and for everything (the last match wins), so a leftover NOPASSWD line is reported even where another hides it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from agent.facts.linux.answer import Answer, Section, clean
from agent.facts.linux.readers import listing, reads
from agent.facttypes import BOOL, MODE, STR, Enum, Field, ListOf, Record
from agent.model import Reason, Unknown

GRANT = Record(
    {
        "who": Field(STR, "user name, %group, #uid, +netgroup or ALL, aliases resolved"),
        "commands": Field(Enum(("ALL", "some")), "whether the grant is for everything"),
        "nopasswd": Field(BOOL, "whether at least one of its commands needs no password"),
        "source": Field(STR, "file that grants it"),
    },
    key="who",
    label="who",
)
FILE = Record(
    {
        "path": Field(STR),
        "mode": Field(MODE),
        "owner": Field(STR),
        "group": Field(STR),
    },
    key="path",
    label="path",
)
SUDO = Record(
    {
        "grants": Field(ListOf(GRANT), "one per name: the widest grant that it has"),
        "files": Field(ListOf(FILE), "sudoers and every file that it includes"),
        "use_pty": Field(BOOL, "Defaults use_pty (on by itself since sudo 1.9.14)"),
        "logfile": Field(STR, "Defaults logfile", may_be_absent=True),
    }
)
_ITEM = r'(?:"[^"]*"|\\.|[^,\\"])+'


@reads(
    "sudo",
    SUDO,
    asks=("sudoers",),
    what="/etc/sudoers and what it includes",
    rights=("sudo",),
    may_be_absent=True,
    doc="absent when there is no sudo",
)
def read_sudo(answer: Answer) -> Any:
    """Grants, files and defaults of sudo."""
    section = answer.need("sudoers", rc=(0, 3))
    if section.rc == 3:
        return None
    return parse(section)


def parse(section: Section) -> dict[str, Any]:
    """The sudoers section → the record. Rules kept elsewhere (sssd, LDAP) make the list of grants incomplete."""
    sources = section.file("sources")
    elsewhere = [w for w in (sources.text.split() if sources else []) if w not in {"files", "[SUCCESS=return]"}]
    why = Unknown(Reason.NOT_SUPPORTED, f"sudo rules from {clean(' '.join(elsewhere), 40)}") if elsewhere else None
    version = section.file("version")
    number = re.search(r"(\d+)\.(\d+)\.(\d+)", version.text if version else "")
    known: dict[str, Any] = {
        "use_pty": number is not None and tuple(map(int, number.groups())) >= (1, 9, 14),
        "logfile": None,
    }
    files, lines = [], []
    for file in section.files:
        if file.path in {"sources", "version"}:
            continue
        parts = file.state.split(":")
        if file.ok and len(parts) == 4 and re.fullmatch(r"[0-7]{1,4}", parts[1]):
            files.append(
                {
                    "path": clean(file.path),
                    "mode": f"{int(parts[1], 8):04o}",
                    "owner": clean(parts[2], 64),
                    "group": clean(parts[3], 64),
                }
            )
        lines += [(clean(file.path), line) for line in _logical(file.text)]
    lacking = Unknown(Reason.UNREADABLE, "/etc/sudoers") if not files else why
    return {
        "grants": listing(_grants(lines, known), lacking),
        "files": listing(files, lacking if not files else None),
        **known,
    }


def _logical(text: str) -> Iterator[str]:
    """Lines with their continuations joined and comments taken off (`#1000` is a uid, not a comment)."""
    for line in re.sub(r"\\\n[ \t]*", " ", text).splitlines():
        plain = re.sub(r"(?<!\\)(^|\s)#(?!\d).*$", "", line).strip()
        if plain and not re.match(r"[@#]include", plain):
            yield plain


def _grants(lines: list[tuple[str, str]], known: dict[str, Any]) -> list[dict[str, Any]]:
    aliases = _aliases(lines)
    found: dict[str, dict[str, Any]] = {}
    free: list[tuple[str, str]] = []  # whom `Defaults … !authenticate` frees, and where
    for source, line in lines:
        if re.match(r"(User|Runas|Host|Cmnd|Cmd)_Alias\b", line):
            continue
        if match := re.match(r"Defaults(?:([:@>!])\s*(\S+))?\s+(.*)", line):
            _defaults(match[1], match[2], match[3], source, known, free)
            continue
        who, rest = _split_who(line)
        if "=" not in rest:
            continue
        everything, nopasswd = _commands(rest)
        for name in _resolve(who, aliases, set()):
            _add(found, name, everything, nopasswd, source)
    for target, source in free:
        for name in [target] if target == "ALL" else _resolve(target, aliases, set()):
            _free(found, name, source)
    return [found[name] for name in sorted(found)]


def _add(found: dict[str, dict[str, Any]], name: str, everything: bool, nopasswd: bool, source: str) -> None:
    before = found.get(name)
    if everything or before is None:  # a later rule for everything stands alone: the last match wins
        wide = everything or (before is not None and before["commands"] == "ALL")
        found[name] = {"who": name, "commands": "ALL" if wide else "some", "nopasswd": nopasswd, "source": source}
    elif nopasswd and not before["nopasswd"]:
        before["nopasswd"], before["source"] = True, source


def _free(found: dict[str, dict[str, Any]], name: str, source: str) -> None:
    """`Defaults !authenticate`: for everybody, or for one name (which may have its rights through a group)."""
    if name == "ALL":
        for grant in found.values():
            if grant["who"] not in {"root", "#0"}:
                grant["nopasswd"] = True
    elif name in found:
        found[name]["nopasswd"] = True
    else:
        found[name] = {"who": name, "commands": "some", "nopasswd": True, "source": source}


def _defaults(
    kind: str | None, target: str | None, settings: str, source: str, known: dict[str, Any], free: list[tuple[str, str]]
) -> None:
    for setting in (s.strip() for s in re.findall(_ITEM, settings)):
        name, _, value = setting.partition("=")
        name = name.strip().rstrip("+-").strip()
        off = name.startswith("!")
        name = name.lstrip("! ")
        if name == "authenticate" and off and kind in {None, ":", "@", ">", "!"}:
            # For a host, a run-as user or a command the freedom is for everybody whom it meets.
            free.append((target if kind == ":" and target else "ALL", source))
        elif kind is None and name == "use_pty":
            known["use_pty"] = not off
        elif kind is None and name == "logfile":
            known["logfile"] = None if off else clean(value.strip().strip('"'))


def _aliases(lines: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for _, line in lines:
        if match := re.match(r"User_Alias\s+(.*)", line):
            for part in re.split(r"(?<!\\):", match[1]):
                name, equals, members = part.partition("=")
                if equals:
                    found[name.strip()] = [m.strip() for m in re.findall(_ITEM, members) if m.strip()]
    return found


def _split_who(line: str) -> tuple[str, str]:
    """The user list reaches to the first blank that no comma, backslash or quote covers."""
    quoted = False
    for at, char in enumerate(line):
        if char == '"':
            quoted = not quoted
        elif char in " \t" and not quoted and line[at - 1] != "\\":
            before, after = line[:at].rstrip(), line[at:].lstrip()
            if not before.endswith((",", "!")) and not after.startswith(","):
                return before, after
    return line, ""


def _resolve(who: str, aliases: dict[str, list[str]], seen: set[str]) -> list[str]:
    """Names of a user list. What is excluded with `!` is left out of the list itself."""
    names: list[str] = []
    minus: set[str] = set()
    for item in (i.strip() for i in re.findall(_ITEM, who)):
        no = item.startswith("!")
        word = item.lstrip("! ").strip('"').replace("\\", "")
        if not word:
            continue
        members = [clean(word, 64)]
        if word in aliases and word not in seen:
            members = _resolve(",".join(aliases[word]), aliases, seen | {word})
        if no:
            minus.update(members)
        else:
            names += members
    return [n for n in dict.fromkeys(names) if n not in minus]


def _commands(rest: str) -> tuple[bool, bool]:
    """`hosts = (runas) TAG: command, …` (several with `:` between) → (for everything?, any without password?)."""
    everything = nopasswd = False
    for spec in re.split(r"(?<!\\):\s*(?=[^:=]*=\s*(?:\(|[A-Z_]+:|/|ALL|!|[A-Z]))", rest):
        tag = False  # a tag holds for the commands after it, until its opposite
        for item in re.findall(r'(?:\([^)]*\)|"[^"]*"|\\.|[^,\\"])+', spec.partition("=")[2]):
            text = re.sub(r"^\s*(\([^)]*\)\s*)?", "", item).strip()
            text = re.sub(r"^((ROLE|TYPE|PRIVS|LIMITPRIVS|NOTBEFORE|NOTAFTER|TIMEOUT|CWD|CHROOT)=\S+\s*)+", "", text)
            while match := re.match(r"([A-Z_]+):\s*", text):
                tag = {"NOPASSWD": True, "PASSWD": False}.get(match[1], tag)
                text = text[match.end() :]
            if not text or text.startswith("!"):
                continue
            everything = everything or text == "ALL"
            nopasswd = nopasswd or tag
    return everything, nopasswd
