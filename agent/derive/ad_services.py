"""What follows for services and computers: names given twice, delegation to controllers, keys, who copies passwords."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent import dn as names
from agent.derive import View, as_items
from agent.facttypes import BOOL, INT, STR, Field, ListOf, Record, derived
from agent.model import Partial, Reason, Unknown

_ACCOUNTS = ("users", "computers", "service_accounts")
_SEEN = {
    "sid": Field(STR, "security identifier"),
    "dn": Field(STR, "distinguished name"),
    "name": Field(STR, "login name, without the $ of a computer"),
}


def _known(items: list[Any], why: Unknown | None) -> Any:
    return Partial(tuple(items), why) if why is not None else items


SPN = Record(
    {"name": Field(STR, "service principal name, lower case"), "holders": Field(INT, "accounts that carry it")},
    "name",
    "name",
)


@derived("duplicate_services", ListOf(SPN), "ad", reads=_ACCOUNTS)
def duplicate_services(view: View) -> Any:
    """Service principal names that more than one account carries; how they are spelled makes no difference."""
    holders: dict[str, int] = {}
    doubt: Unknown | None = None
    for fact in _ACCOUNTS:
        items, why = view.items(fact)
        doubt = doubt or why
        for item in items:
            spns, unseen = as_items(item.get("spns", Unknown(Reason.NOT_COLLECTED, "spns")))
            doubt = doubt or unseen
            for spn in {s.lower() for s in spns if isinstance(s, str)}:
                holders[spn] = holders.get(spn, 0) + 1
    return _known([{"name": n, "holders": h} for n, h in sorted(holders.items()) if h > 1], doubt)


DELEGATION = Record(
    {**_SEEN, "to_controller": Field(BOOL, "one of the services is a domain controller's")}, "sid", "name"
)


def _host(spn: str) -> str:
    """The host in `service/host:port/name`, lower case."""
    return spn.partition("/")[2].partition("/")[0].partition(":")[0].lower()


@derived("delegations", ListOf(DELEGATION), "ad", reads=("users", "computers", "domain"))
def delegations(view: View) -> Any:
    """Accounts that may act towards named services as somebody else."""
    computers, why = view.items("computers")
    domain = view.get("domain")
    base = domain.get("dn") if isinstance(domain, dict) else None
    hosts: set[str] = set()
    spns: set[str] = set()
    unsure = why
    if isinstance(base, str):  # the domain's own name leads to any of its controllers
        hosts.add(".".join(names.first(p) for p in base.split(",")).lower())
    for computer in computers:
        flag = computer.get("domain_controller")
        if isinstance(flag, Unknown):
            unsure = unsure or flag
        if flag is not True:
            continue
        hosts |= {str(computer[k]).lower() for k in ("name", "dns_name") if isinstance(computer.get(k), str)}
        spns |= {s.lower() for s in as_items(computer.get("spns"))[0] if isinstance(s, str)}
    out: list[Any] = []
    doubt: Unknown | None = None
    for fact in ("users", "computers"):
        items, missing = view.items(fact)
        doubt = doubt or missing
        for item in items:
            targets, unseen = as_items(item.get("delegates_to", Unknown(Reason.NOT_COLLECTED, "delegates_to")))
            if not targets and unseen is None:
                continue
            hit = any(t.lower() in spns or _host(t) in hosts for t in targets if isinstance(t, str))
            answer: bool | Unknown = True if hit else unseen or unsure or False
            out.append({**{k: item[k] for k in _SEEN if k in item}, "to_controller": answer})
    return _known(out, doubt)


KEYS = Record({**_SEEN, "kept": Field(BOOL, "the directory holds a BitLocker recovery key of it")}, "sid", "name")


@derived("recovery_key_of", ListOf(KEYS, "dn"), "ad", reads=("computers", "recovery_keys"))
def recovery_key_of(view: View) -> Any:
    """Each computer, and whether a recovery key of it is kept.

    Keys are hidden from ordinary accounts one by one. Where the login is no administrator's, a computer counts as
    without a key only if the key of a neighbour in the same container is shown.
    """
    keys = view.get("recovery_keys")
    kept, why = as_items(keys.get("computers"))
    holders = {names.normal(k) for k in kept if isinstance(k, str)}
    neighbours = {names.parent(k) for k in holders}
    whole = keys.get("whole")
    blind = why or (whole if isinstance(whole, Unknown) else None)
    blind = blind or (None if whole is True else Unknown(Reason.PERMISSION, "list recovery keys below computers"))
    computers, missing = view.items("computers")
    out: list[Any] = []
    for computer in computers:
        place = computer.get("dn")
        if not isinstance(place, str):
            out.append(place)
            continue
        low = names.normal(place)
        seen = why is None and names.parent(low) in neighbours
        answer: bool | Unknown = True if low in holders else False if seen else blind or False
        out.append({**{k: computer[k] for k in _SEEN if k in computer}, "kept": answer})
    return _known(out, missing)


COPIER = Record(
    {"sid": _SEEN["sid"], "name": Field(STR, "login name, or the identifier where none is known")}, "sid", "name"
)


def _names(view: View) -> Iterator[tuple[str, str]]:
    for fact in (*_ACCOUNTS, "groups", "well_known"):
        for item in view.items(fact)[0]:
            if isinstance(item.get("sid"), str) and isinstance(item.get("name"), str):
                yield item["sid"], item["name"]


@derived(
    "password_copiers",
    ListOf(COPIER),
    "ad",
    reads=("domain", *_ACCOUNTS, "groups", "well_known"),
    optional=(*_ACCOUNTS, "groups", "well_known"),
)
def password_copiers(view: View) -> Any:
    """Who, beyond administrators and domain controllers, holds the right to replicate passwords out of the domain."""
    domain = view.get("domain")
    grants, why = as_items(domain.get("grants", Unknown(Reason.NOT_COLLECTED, "grants")))
    holders = [g for g in grants if isinstance(g, Mapping) and "replicate" in (g.get("powers") or ())]
    known = dict(_names(view)) if holders else {}
    return _known([{"sid": g["sid"], "name": known.get(g["sid"], g["sid"])} for g in holders], why)
