"""Groups that give power without saying so, and accounts that bear the mark of an administrator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.derive import View, as_items
from agent.derive.ad_privilege import PROTECTED_USERS, Web, reach, web_of
from agent.facttypes import BOOL, INT, STR, Enum, Field, ListOf, Record, derived
from agent.model import Partial, Reason, Unknown

# Well-known groups: MS-DTYP 2.4.2.4. Those that every domain has must be seen; the key groups came with 2016.
_ALWAYS: dict[str, str | int] = {
    "account_operators": "S-1-5-32-548",
    "server_operators": "S-1-5-32-549",
    "print_operators": "S-1-5-32-550",
    "backup_operators": "S-1-5-32-551",
    "pre_windows_2000": "S-1-5-32-554",
    "cert_publishers": 517,
}
_SOMETIMES: dict[str, str | int] = {"key_admins": 526, "enterprise_key_admins": 527}
DNS_ADMINS = "dnsadmins"
"""The one powerful group without a number of its own; its name is the same in every language."""
_EVERYBODY = frozenset({"S-1-1-0", "S-1-5-7", "S-1-5-11"})
"""Everyone, those who have not signed in, and everybody who has."""

GROUP = Record(
    {
        "sid": Field(STR, "security identifier"),
        "dn": Field(STR, "distinguished name"),
        "name": Field(STR, "login name"),
        "role": Field(Enum((*_ALWAYS, *_SOMETIMES, "dns_admins")), "which well-known group it is"),
        "has_members": Field(BOOL, "somebody is a direct member"),
        "has_others": Field(BOOL, "a direct member is no computer"),
        "open": Field(BOOL, "Everyone, Anonymous Logon or Authenticated Users is a direct member"),
    },
    "sid",
    "name",
)


def _identity(web: Web, place: str, known: Mapping[str, str]) -> str:
    """The SID behind a member's DN where it stands for somebody from elsewhere; empty for the domain's own."""
    low = place.lower()
    if low in known:
        return known[low]
    inside = ",cn=foreignsecurityprincipals," in low
    return low.partition(",")[0].removeprefix("cn=").upper() if inside else ""


def _group_record(
    web: Web, group: Mapping[str, Any], role: str, known: Mapping[str, str], unsure: Any
) -> dict[str, Any]:
    members, why = as_items(group.get("members", Unknown(Reason.NOT_COLLECTED, "members")))
    places = [m for m in members if isinstance(m, str)]
    kinds = [web.accounts.get(p.lower(), ("other", {}))[0] for p in places]
    identities = {_identity(web, p, known) for p in places}
    # In the configuration partition a well-known identity is only known by what stands there.
    blind = unsure if any(",cn=wellknown security principals," in p.lower() for p in places) else None
    opened: bool | Unknown = True if identities & _EVERYBODY else why or blind or False
    return {
        **{k: group[k] for k in ("sid", "dn", "name") if k in group},
        "role": role,
        "has_members": True if places else why or False,
        "has_others": True if any(k != "computer" for k in kinds) else why or False,
        "open": opened,
    }


@derived(
    "special_groups",
    ListOf(GROUP),
    "ad",
    reads=("groups", "users", "computers", "service_accounts", "domain", "well_known"),
    optional=("well_known",),
)
def special_groups(view: View) -> Any:
    """Groups outside the circle of administrators that come close to it, with who is in them."""
    web = web_of(view)
    principals, unsure = view.items("well_known")
    known = {p["dn"].lower(): p["sid"] for p in principals if isinstance(p.get("sid"), str)}
    why = view.items("groups")[1]
    out = []
    for role, number in {**_ALWAYS, **_SOMETIMES}.items():
        group = web.group(number)
        if group is not None:
            out.append(_group_record(web, group, role, known, unsure))
        elif role in _ALWAYS:
            why = why or Unknown(Reason.PERMISSION, f"see the group {role.replace('_', ' ')}")
    for group in web.groups.values():
        if str(group.get("name")).lower() == DNS_ADMINS:
            out.append(_group_record(web, group, "dns_admins", known, unsure))
    return Partial(tuple(out), why) if why is not None else out


# Whose members Windows marks and protects each hour: MS-ADTS 3.1.1.6.1.1.
_PROTECTED: dict[str, str | int] = {
    "domain admins": 512,
    "schema admins": 518,
    "enterprise admins": 519,
    "domain controllers": 516,
    "administrators": "S-1-5-32-544",
    "account operators": "S-1-5-32-548",
    "server operators": "S-1-5-32-549",
    "print operators": "S-1-5-32-550",
    "backup operators": "S-1-5-32-551",
    "replicators": "S-1-5-32-552",
}
_PROTECTED_SOMETIMES = (521, 526, 527)

MARKED = Record(
    {
        "sid": Field(STR, "security identifier"),
        "dn": Field(STR, "distinguished name"),
        "name": Field(STR, "login name"),
        "rid": Field(INT, "last part of the SID: 500 is the built-in administrator"),
        "enabled": Field(BOOL, "may sign in"),
        "not_delegated": Field(BOOL, "sensitive and cannot be delegated"),
        "entitled": Field(BOOL, "is in a protected group, direct or nested"),
        "protected": Field(BOOL, "member of Protected Users, direct or nested"),
    },
    "sid",
    "name",
)
_KEY_ACCOUNT = 502


def _inside(web: Web, numbers: list[str | int], missing: Unknown | None) -> tuple[set[str], Unknown | None]:
    """Everybody in any of the groups (lower-case DN), and why somebody may be missing."""
    own = Web(web.groups, web.accounts, web.primary, web.base, missing)
    found: set[str] = set()
    for number in numbers:
        top = web.group(number)
        if top is not None:
            found |= {place.lower() for place, _ in reach(own, top)}
    return found, own.why


@derived(
    "marked_admins",
    ListOf(MARKED, "dn"),
    "ad",
    reads=("users", "groups", "computers", "service_accounts", "domain"),
)
def marked_admins(view: View) -> Any:
    """Accounts that bear the mark of an administrator (adminCount), now or once; the key account aside."""
    web = web_of(view)
    gone = [w for w, n in _PROTECTED.items() if web.group(n) is None]
    missing = Unknown(Reason.PERMISSION, f"see the group {gone[0]}") if gone else None
    entitled, doubt = _inside(web, [*_PROTECTED.values(), *_PROTECTED_SOMETIMES], missing)
    none = None if web.group(PROTECTED_USERS) else Unknown(Reason.NOT_SUPPORTED, "there is no Protected Users group")
    protected, unsure = _inside(web, [PROTECTED_USERS], none)
    users, why = view.items("users")
    out: list[Any] = []
    for user in users:
        mark = user.get("admin_count")
        if mark is False or user.get("rid") == _KEY_ACCOUNT:
            continue
        if isinstance(mark, Unknown):
            out.append(mark)
            continue
        low = str(user.get("dn")).lower()
        out.append(
            {
                **{k: user[k] for k in ("sid", "dn", "name", "rid", "enabled", "not_delegated") if k in user},
                "entitled": low in entitled or doubt or False,
                "protected": low in protected or unsure or False,
            }
        )
    return Partial(tuple(out), why) if why is not None else out


OPEN_UNIT = Record(
    {
        "dn": Field(STR, "distinguished name of the OU"),
        "open": Field(BOOL, "more or less everybody, or a group with a pupil in it, may write there or below"),
    },
    "dn",
    "dn",
)


@derived(
    "open_units",
    ListOf(OPEN_UNIT, "dn"),
    "ad",
    reads=("ous", "groups", "users", "computers", "service_accounts", "domain"),
    parameters=("pupil_dn_regex",),
    optional=("groups", "users", "computers", "service_accounts"),
)
def open_units(view: View) -> Any:
    """Every OU, and whether its permissions let more or less everybody in, or pupils through a group of theirs."""
    web = web_of(view)
    by_sid = {g["sid"]: g for g in web.groups.values() if isinstance(g.get("sid"), str)}
    pattern = re.compile(str(view.parameters.get("pupil_dn_regex") or "(?!)"), re.IGNORECASE)
    known: dict[str, bool | Unknown] = {}

    def pupils(sid: str) -> bool | Unknown:
        if sid not in known:
            known[sid] = _holds(web, by_sid.get(sid), pattern)
        return known[sid]

    units, why = view.items("ous")
    out = []
    for unit in units:
        grants, unseen = as_items(unit.get("grants", Unknown(Reason.NOT_COLLECTED, "grants")))
        answer: bool | Unknown = unseen or False
        for grant in grants:
            if "write" not in (grant.get("powers") or ()):
                continue
            found = True if grant.get("broad") is True else pupils(str(grant.get("sid")))
            answer = True if found is True or answer is True else answer or found
        out.append({"dn": unit.get("dn"), "open": answer})
    return Partial(tuple(out), why) if why is not None else out


def _holds(web: Web, group: Mapping[str, Any] | None, pattern: re.Pattern[str]) -> bool | Unknown:
    """Whether somebody whose DN matches is in the group; a holder that is no group of the domain has no members."""
    if group is None:
        return False
    own = Web(web.groups, web.accounts, web.primary, web.base)
    if any(pattern.search(place) for place, _ in reach(own, group)):
        return True
    return own.why or False
