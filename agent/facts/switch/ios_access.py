"""Who may manage a Cisco IOS or IOS-XE switch, and how: lines, services, access lists, logins, passwords. Pure."""

from __future__ import annotations

import re
from typing import Any

from agent.facts.switch.answer import BANNER, redact
from agent.facts.switch.blocks import Block, Text
from agent.facts.switch.secrets import factory, reveal_type_7

_LINE = re.compile(r"line (con|console|aux|vty|tty)? ?\d+(?: \d+)?")
_KIND = {"con": "console", "console": "console", "vty": "vty"}


def lines(root: Block) -> list[dict[str, Any]]:
    """Console, aux and vty lines, block by block."""
    out = []
    for match, b in root.blocks(_LINE.pattern):
        transport = b.last(r"(no )?transport input(?: (.*))?")
        idle = b.last(r"(no )?exec-timeout(?: (\d+)(?: (\d+))?)?")
        access = b.last(r"access-class (\S+) in(?: .*)?")
        login = b.last(r"login authentication (\S+)")
        out.append(
            {
                "name": b.line,
                "kind": _KIND.get(match[1] or "", "aux"),
                "transport": None
                if transport is None
                else ["none"]
                if transport[1] or not transport[2]
                else transport[2].split(),
                "idle_seconds": None if idle is None else 0 if idle[1] else 60 * int(idle[2] or 0) + int(idle[3] or 0),
                "access_list": access[1] if access else None,
                "login_list": login[1] if login else None,
            }
        )
    return out


def remote(root: Block) -> dict[str, Any]:
    """Services for management, as stated."""
    version = root.last(r"ip ssh version (\S+)")
    return {
        "telnet": None,
        "ssh": None,
        "ssh_version": version[1] if version else None,
        "http": root.switched("ip http server"),
        "idle_seconds": None,
        "console_idle_seconds": None,
        "vrfs": [],
        "managers": [],
        "networks": [],
        "management_vlan": None,
    }


def banners(taken: Text) -> dict[str, Any]:
    """Texts at login; `exec` comes after it and is not among them. That there is one counts, not what it says."""
    return {kind: redact(taken.banners.get(kind, ""), BANNER) or None for kind in ("login", "motd")}


def access_lists(root: Block) -> list[dict[str, Any]]:
    """Numbered and named lists for IPv4, with the first rule that lets everybody in."""
    rules: dict[str, list[str]] = {}
    for match in root.each(r"access-list (\S+) (?!remark)(.*)"):
        rules.setdefault(match[1], []).append(match[2])
    for match, b in root.blocks(r"ip access-list (?:standard|extended) (\S+)"):
        rules.setdefault(match[1], []).extend(
            re.sub(r"^\d+ ", "", c.line) for c in b.children if re.match(r"(\d+ )?(permit|deny) ", c.line)
        )
    return [{"name": n, "entries": len(r), "open": _open(r)} for n, r in sorted(rules.items())]


_EVERYBODY = re.compile(
    r"permit (?:any|(?:ip|tcp) any (?:any|host .*|\d.*|object-group .*))(?: .*)?|permit 0\.0\.0\.0 255\.255\.255\.255"
)


def _open(rules: list[str]) -> bool:
    for rule in rules:
        if _EVERYBODY.fullmatch(rule):
            return True
        if re.fullmatch(r"deny (?:any|ip any any)(?: .*)?", rule):
            return False
    return False


def aaa(root: Block) -> dict[str, Any]:
    """Login methods with the server groups behind them."""
    return {
        "on": root.switched("aaa new-model") is True,
        "login": [{"name": m[1], "methods": methods(m[2])} for m in root.each(r"aaa authentication login (\S+) (.*)")],
        "groups": _groups(root),
    }


def methods(text: str) -> list[str]:
    """`group tacacs+ local` → [`group tacacs+`, `local`]."""
    out: list[str] = []
    for word in text.split():
        if out and out[-1] == "group":
            out[-1] = f"group {word}"
        else:
            out.append(word)
    return out


def _groups(root: Block) -> list[dict[str, Any]]:
    """Groups with the number of servers that have an address: one that is named and not there answers nobody."""
    named: dict[str, set[str]] = {"tacacs+": set(), "radius": set()}
    direct: dict[str, int] = {"tacacs+": 0, "radius": 0}
    for match, b in root.blocks(r"(tacacs|radius) server (\S+)"):
        if b.has(r"address (?:ipv4|ipv6) .*"):
            named["tacacs+" if match[1] == "tacacs" else "radius"].add(match[2])
    for match in root.each(r"(tacacs|radius)-server host (\S+)(?: .*)?"):
        direct["tacacs+" if match[1] == "tacacs" else "radius"] += 1
    out = [{"name": kind, "servers": len(named[kind]) + direct[kind]} for kind in named]
    for match, b in root.blocks(r"aaa group server (tacacs\+|radius) (\S+)"):
        count = sum(1 for m in b.each(r"server name (\S+)") if m[1] in named[match[1]])
        count += sum(1 for _ in b.each(r"server(?:-private)? (?!name )\S+(?: .*)?"))
        out.append({"name": match[2], "servers": count})
    return out


_SECRET = re.compile(r"(password|secret)(?: (\d))? (\S+)$")


def _kind(text: str) -> tuple[str, str] | None:
    """(type, what follows) of `password 7 …` or `secret 9 …` at the end of a line; `clear` where no type stands."""
    match = _SECRET.search(text)
    return (match[2] or "clear", match[3]) if match else None


def secrets(root: Block) -> list[dict[str, Any]]:
    """How login passwords are kept: accounts, enable, lines."""
    out = []
    for match in root.each(r"username (\S+) (.*)"):
        if found := _kind(match[2]):
            out.append({"name": match[1], "kind": found[0]})
    for match in root.each(r"enable ((?:password|secret) .*)"):
        if found := _kind(re.sub(r" level \d+", "", match[1])):
            out.append({"name": "enable", "kind": found[0]})
    for _, b in root.blocks(_LINE.pattern):
        for match in b.each(r"(?:password|secret) .*"):
            if found := _kind(match[0]):
                out.append({"name": b.line, "kind": found[0]})
    return out


def accounts(root: Block) -> list[dict[str, Any]]:
    """Local accounts. A readable password is compared with the words that vendors ship, and forgotten."""
    out: dict[str, dict[str, Any]] = {}
    for match in root.each(r"username (\S+)(?: (.*))?"):
        found = _kind(match[2] or "")
        have = out.setdefault(
            match[1], {"name": match[1], "builtin": False, "has_secret": False, "factory_secret": False}
        )
        if found:
            word = reveal_type_7(found[1]) if found[0] == "7" else found[1] if found[0] in ("clear", "0") else None
            have["has_secret"] = True
            have["factory_secret"] = word is not None and factory(word, match[1])
    return list(out.values())
