"""sudoers: who may do what, and who needs no password for it. The text itself is never kept.

Grammar: sudoers(5). Rules count as *granted*: a later rule that takes a grant back is only seen when it is for the
same name and for everything (the last match wins), so a leftover NOPASSWD line is reported even where another hides it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
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
    known: dict[str, Any] = {"use_pty": _pty(version.text if version else ""), "logfile": None}
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


def _pty(version: str) -> bool | Unknown:
    """Whether this sudo uses a terminal of its own unless it is told otherwise; `version` is what `sudo -V` says."""
    if "sudo-rs" in version:
        return True
    number = re.search(r"(\d+)\.(\d+)\.(\d+)", version)
    if number is None:
        return Unknown(Reason.UNREADABLE, "sudo -V")
    return tuple(map(int, number.groups())) >= (1, 9, 14)


def _logical(text: str) -> Iterator[str]:
    """Lines with comments taken off (`#1000` is a uid, not a comment) and continuations joined: a comment has none."""
    bare = "\n".join(re.sub(r"(?<!\\)(^|\s)#(?!\d).*$", "", line) for line in text.splitlines())
    for line in re.sub(r"\\\n[ \t]*", " ", bare).splitlines():
        plain = line.strip()
        if plain and not re.match(r"[@#]include", plain):
            yield plain


@dataclass(frozen=True, slots=True)
class _Rule:
    """One command of a rule: where and as whom (user and group of the run-as list) it may be run, and how freely."""

    hosts: str
    user: str
    group: str
    everything: bool
    nopasswd: bool

    def covers(self, other: _Rule) -> bool:
        """Whether this rule, coming later, decides wherever the other would: the last match wins."""
        return (
            self.everything
            and self.hosts in ("ALL", other.hosts)
            and self.user in ("ALL", other.user)
            and (not other.group or self.group in ("ALL", other.group))
        )


@dataclass(slots=True)
class _Held:
    """What one name holds: rules that no later one covers, and whether `Defaults` free it from passwords."""

    rules: list[tuple[_Rule, str]] = field(default_factory=list)
    free: str = ""
    """The file that frees it."""

    def grant(self, who: str) -> dict[str, Any]:
        """As a record. The source is a file that spares the password, if there is one."""
        spared = [source for rule, source in self.rules if rule.nopasswd] or ([self.free] if self.free else [])
        wide = [source for rule, source in self.rules if rule.everything]
        source = (spared or wide or [source for _, source in self.rules])[-1]
        return {"who": who, "commands": "ALL" if wide else "some", "nopasswd": bool(spared), "source": source}


def _grants(lines: list[tuple[str, str]], known: dict[str, Any]) -> list[dict[str, Any]]:
    aliases = _aliases(lines)
    found: dict[str, _Held] = {}
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
        rules = list(_rules(rest))
        for name in _resolve(who, aliases, set()) if rules else ():
            held = found.setdefault(name, _Held())
            for rule in rules:
                held.rules = [*(r for r in held.rules if not rule.covers(r[0])), (rule, source)]
    for target, source in free:
        for name in [target] if target == "ALL" else _resolve(target, aliases, set()):
            _free(found, name, source)
    return [found[name].grant(name) for name in sorted(found)]


def _free(found: dict[str, _Held], name: str, source: str) -> None:
    """`Defaults !authenticate`: for everybody, or for one name (which may have its rights through a group)."""
    if name != "ALL":
        found.setdefault(name, _Held()).free = source
        return
    for who, held in found.items():
        if who not in {"root", "#0"}:
            held.free = source


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
        elif name == "exempt_group" and not off and value.strip(' "'):
            group = value.strip().strip('"').lstrip("%")
            free.append((f"%{group}", source))
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


_SPEC = re.compile(r"(?<!\\):\s*(?=(?:[^:=\\]|\\.)*=\s*(?:\(|[A-Z_]+:|/|ALL|!|[A-Z]))")
"""The colon between two `hosts = …` of one rule. In a command's arguments, equal signs carry a backslash."""


def _rules(rest: str) -> Iterator[_Rule]:
    """`hosts = (runas) TAG: command, …` (several with `:` between) → one rule for each command that is allowed."""
    for spec in re.split(_SPEC, rest):
        hosts, _, commands = spec.partition("=")
        user, group = "root", ""
        tag = False  # a tag holds for the commands after it, until its opposite; so does a run-as list
        for item in re.findall(r'(?:\([^)]*\)|"[^"]*"|\\.|[^,\\"])+', commands):
            text = item.strip()
            if match := re.match(r"\(([^)]*)\)\s*", text):
                user, _, group = (" ".join(part.split()) for part in match[1].partition(":"))
                text = text[match.end() :]
            text = re.sub(r"^((ROLE|TYPE|PRIVS|LIMITPRIVS|NOTBEFORE|NOTAFTER|TIMEOUT|CWD|CHROOT)=\S+\s*)+", "", text)
            while match := re.match(r"([A-Z_]+):\s*", text):
                tag = {"NOPASSWD": True, "PASSWD": False}.get(match[1], tag)
                text = text[match.end() :]
            if text and not text.startswith("!"):
                yield _Rule(" ".join(hosts.split()), user, group, text == "ALL", tag)
