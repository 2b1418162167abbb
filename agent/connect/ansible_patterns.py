"""Ansible's host patterns, as `--limit` takes them: names, groups, wildcards, regular expressions, and, not, ranges.

Written after Ansible's own `inventory/manager.py`; the tests compare the two.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping

from agent.errors import UsageError
from agent.yamlfile import suggest

Hosts = Mapping[str, Iterable[str]]

_RANGE = re.compile(r"(?P<base>.+)\[(?:(?P<one>-?\d+)|(?P<start>\d+)[:-](?P<end>\d*))\]")
_TERM = re.compile(r"(?:[^\s:\[\]]|\[[^\]]*\])+")


def select(pattern: str, hosts: Hosts) -> list[str]:
    """Names that an Ansible pattern picks, in order. `hosts` maps names to their groups (and other names).

    Known: names, groups, wildcards, `~regex`, `a:b` or `a,b` (or), `:&b` (and), `:!b` (not), `web[0]`, `web[1:3]`,
    `all`. Raises `UsageError` for a pattern that matches nothing.
    """
    chosen: list[str] = []
    terms = _terms(pattern, hosts)
    if all(t[0] in "&!" for t in terms):
        terms = ["all", *terms]
    for term in sorted(terms, key=lambda t: "&!".find(t[0])):  # or first, then and, then not
        if term in hosts:
            chosen.append(term)
            continue
        hits = _match(term[1:] if term[0] in "&!" else term, hosts)
        if term[0] == "!":
            chosen = [h for h in chosen if h not in hits]
        elif term[0] == "&":
            chosen = [h for h in chosen if h in hits]
        else:
            chosen += hits
    if not chosen:
        words = sorted({*hosts, *(g for gs in hosts.values() for g in gs)})
        raise UsageError(f"--limit {pattern} matches nothing.", suggest(pattern, words))
    return [h for h in hosts if h in set(chosen)]


def _terms(pattern: str, hosts: Hosts) -> list[str]:
    """A comma parts; where there is none a colon does, unless the whole is one name, such as an IPv6 address."""
    names = {*hosts, *(g for gs in hosts.values() for g in gs)}
    if "," in pattern:
        found = pattern.split(",")
    elif pattern in names or pattern.lstrip("&!") in names or pattern.startswith("~"):
        found = [pattern]
    else:
        found = _TERM.findall(pattern)
    terms = [t.strip() for t in found if t.strip()]
    if not terms or any(t in ("&", "!") for t in terms):
        raise UsageError(f"--limit {pattern!r} is no pattern.", "Write a name, a group, or a:b, a:&b, a:!b.")
    return terms


def _match(term: str, hosts: Hosts) -> list[str]:
    if term.startswith("~"):
        try:
            regex = re.compile(term[1:])
        except re.error as e:
            raise UsageError(f"{term!r} is no regular expression: {e}.") from None
        return [h for h, groups in hosts.items() if regex.match(h) or any(regex.match(g) for g in groups)]
    part = _RANGE.fullmatch(term)
    hits = _plain(part["base"] if part else term, hosts)
    if part is None or not hits:
        return hits
    if part["one"]:
        at = int(part["one"])
        return [hits[at]] if -len(hits) <= at < len(hits) else []
    return hits[int(part["start"]) : (int(part["end"]) + 1 if part["end"] else None)]


def _plain(term: str, hosts: Hosts) -> list[str]:
    """Members of the groups that a term names, then hosts. A group of a plain name hides a host of that name."""
    if term == "all":
        return list(hosts)
    in_groups = [h for h, groups in hosts.items() if any(fnmatch.fnmatchcase(g, term) for g in groups)]
    if in_groups and not any(c in term for c in ".?*["):
        return in_groups
    return list(dict.fromkeys([*in_groups, *(h for h in hosts if fnmatch.fnmatchcase(h, term))]))
