"""Who holds power in a directory, through nested groups and primary groups, by SID so that every language works."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent import dn as names
from agent.derive import View
from agent.facttypes import BOOL, INT, STR, TIME, Enum, Field, ListOf, Record, derived
from agent.model import Partial, Reason, Unknown

# Well-known groups: MS-DTYP 2.4.2.4. A domain's own by their RID, built-in ones by their whole SID.
GROUPS: dict[str, str | int] = {
    "domain_admins": 512,
    "administrators": "S-1-5-32-544",
    "account_operators": "S-1-5-32-548",
    "server_operators": "S-1-5-32-549",
    "print_operators": "S-1-5-32-550",
    "backup_operators": "S-1-5-32-551",
    "group_policy_creators": 520,
}
FOREST_GROUPS: dict[str, str | int] = {"schema_admins": 518, "enterprise_admins": 519}
PROTECTED_USERS = 525
_NAMES = (*GROUPS, *FOREST_GROUPS)

MEMBER = Record(
    {
        "sid": Field(STR, "security identifier (for somebody from elsewhere: as the directory names them)"),
        "dn": Field(STR, "distinguished name"),
        "name": Field(STR, "login name"),
        "rid": Field(INT, "last part of the SID: 500 is the built-in administrator; absent: from elsewhere", True),
        "kind": Field(Enum(("user", "computer", "service", "foreign"))),
        "groups": Field(ListOf(Enum(_NAMES)), "the powerful groups, direct or nested"),
        "through": Field(ListOf(STR), "names of the groups that lead there, outermost first, one text for each way in"),
        "enabled": Field(BOOL, "may sign in"),
        "last_logon": Field(TIME, "last sign-in; absent: never", True),
        "created": Field(TIME, "when the account was made"),
        "password_last_set": Field(TIME, "when the password was set; absent: must be changed", True),
        "password_never_expires": Field(BOOL, "password never expires"),
        "preauth_not_required": Field(BOOL, "skips Kerberos pre-authentication"),
        "not_delegated": Field(BOOL, "sensitive and cannot be delegated"),
        "has_mail": Field(BOOL, "has an e-mail address"),
        "spns": Field(ListOf(STR), "service principal names"),
        "protected": Field(BOOL, "member of Protected Users, direct or nested"),
    },
    "sid",
    "name",
)
_COPIED = (
    "enabled",
    "last_logon",
    "created",
    "password_last_set",
    "password_never_expires",
    "preauth_not_required",
    "not_delegated",
    "has_mail",
    "spns",
)
_ELSEWHERE = Unknown(Reason.NOT_SUPPORTED, "the account belongs to another domain")


@dataclass(slots=True)
class Web:
    """Groups and accounts of one view, by DN, and whose primary group is which."""

    groups: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    accounts: dict[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    primary: dict[int, list[str]] = field(default_factory=dict)
    base: str = ""
    why: Unknown | None = None

    def group(self, wanted: str | int) -> Mapping[str, Any] | None:
        """A group by RID in the domain, or by SID."""
        for group in self.groups.values():
            sid = group.get("sid")
            if not isinstance(sid, str):
                continue
            own = isinstance(wanted, int) and sid.startswith("S-1-5-21-") and group.get("rid") == wanted
            if own or sid == wanted:
                return group
        return None

    def doubt(self, why: Unknown | None) -> None:
        """Remember the first reason why somebody may be missing."""
        self.why = self.why or why


def web_of(view: View) -> Web:
    """Groups and accounts of one view, with the first reason why somebody may be missing.

    Worked out once for a target; each caller gets a web that it may doubt by itself."""
    if _WEB not in view.shared:
        view.shared[_WEB] = _woven(view)
    known: Web = view.shared[_WEB]
    return replace(known)


_WEB = "ad_privilege.web"


def _woven(view: View) -> Web:
    web = Web()
    domain = view.get("domain")
    base = domain.get("dn") if isinstance(domain, dict) else None
    web.base = names.normal(base) if isinstance(base, str) else ""
    groups, why = view.items("groups")
    web.doubt(why)
    for group in groups:
        if isinstance(group.get("dn"), str):
            web.groups[group["dn"].lower()] = group
    for fact, kind in (("users", "user"), ("computers", "computer"), ("service_accounts", "service")):
        items, why = view.items(fact)
        web.doubt(why)
        for item in items:
            place, rid = item.get("dn"), item.get("primary_group")
            if isinstance(place, str):
                web.accounts[place.lower()] = (kind, item)
                if isinstance(rid, int):
                    web.primary.setdefault(rid, []).append(place)
                else:
                    web.doubt(rid if isinstance(rid, Unknown) else None)
    return web


def reach(web: Web, top: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Everybody in a group, nested ones too → (dn, names of the groups on the way). Circles end by themselves."""
    todo: deque[tuple[Mapping[str, Any], tuple[str, ...]]] = deque([(top, (str(top.get("name")),))])
    done = {str(top.get("dn")).lower()}
    while todo:
        group, way = todo.popleft()
        members = group.get("members", Unknown(Reason.NOT_COLLECTED))
        if isinstance(members, Unknown):
            web.doubt(members)
            members = []
        elif isinstance(members, Partial):
            web.doubt(members.why)
            members = members.items
        rid, sid = group.get("rid"), group.get("sid")
        own = web.primary.get(rid, []) if isinstance(rid, int) and str(sid).startswith("S-1-5-21-") else []
        for place in (*members, *own):
            if not isinstance(place, str):
                web.doubt(place if isinstance(place, Unknown) else None)
                continue
            low = place.lower()
            if low in done:
                continue
            done.add(low)
            nested = web.groups.get(low)
            if nested is not None:
                todo.append((nested, (*way, str(nested.get("name")))))
                yield place, way
            else:
                yield place, way


def _elsewhere(web: Web, place: str, holder: str) -> dict[str, Any] | None:
    """A member that is none of the domain's accounts: from elsewhere, or one that may not be seen (then None)."""
    low = place.lower()
    outside = not web.base or not names.under(low, web.base)
    if ",cn=foreignsecurityprincipals," not in low and ",cn=wellknown security principals," not in low and not outside:
        web.doubt(Unknown(Reason.PERMISSION, f"see {place}, a member of {holder}"))
        return None
    sid = names.first(place)
    return {
        "sid": place if outside else sid,
        "dn": place,
        "name": sid,
        "rid": None,
        "kind": "foreign",
        **dict.fromkeys(_COPIED, _ELSEWHERE),
        "protected": _ELSEWHERE,
    }


def _members(view: View, wanted: Mapping[str, str | int]) -> Any:
    """One record for each account that is in any of the `wanted` groups."""
    web = web_of(view)
    protectors = web.group(PROTECTED_USERS)
    protected: set[str] | Unknown
    if protectors is not None:
        own = Web(web.groups, web.accounts, web.primary, web.base)
        protected = {place.lower() for place, _ in reach(own, protectors)}
        if own.why is not None:
            protected = own.why
    else:  # the group came with Windows Server 2012 R2
        protected = Unknown(Reason.NOT_SUPPORTED, "there is no Protected Users group, or it may not be seen")
    found: dict[str, dict[str, Any]] = {}
    for word, number in wanted.items():
        top = web.group(number)
        if top is None:
            web.doubt(Unknown(Reason.PERMISSION, f"see the group {word.replace('_', ' ')}"))
            continue
        for place, way in reach(web, top):
            low = place.lower()
            if low in web.groups:
                continue
            if low not in found:
                made = _record(web, place, way[-1], protected)
                if made is None:
                    continue
                found[low] = {**made, "groups": [], "through": []}
            found[low]["groups"].append(word)
            found[low]["through"].append(" > ".join(way))
    if not found and "domain_admins" in wanted:  # somebody runs every domain: who is not shown is hidden
        web.doubt(Unknown(Reason.PERMISSION, "see the members of any powerful group"))
    return Partial(tuple(found.values()), web.why) if web.why is not None else list(found.values())


def _record(web: Web, place: str, holder: str, protected: set[str] | Unknown) -> dict[str, Any] | None:
    low = place.lower()
    if low not in web.accounts:
        return _elsewhere(web, place, holder)
    kind, item = web.accounts[low]
    sid = item.get("sid")
    rid = int(sid.rpartition("-")[2]) if isinstance(sid, str) else sid
    rest = {k: item.get(k, Unknown(Reason.NOT_SUPPORTED, f"not read of a {kind} account")) for k in _COPIED}
    inside: bool | Unknown = protected if isinstance(protected, Unknown) else low in protected
    return {"sid": sid, "dn": place, "name": item.get("name"), "rid": rid, "kind": kind, **rest, "protected": inside}


_READS = ("groups", "users", "computers", "service_accounts", "domain")


@derived("privileged_members", ListOf(MEMBER), "ad", reads=_READS)
def privileged_members(view: View) -> Any:
    """Everybody who holds power over the domain, through nested and primary groups too."""
    return _members(view, GROUPS)


@derived("forest_admins", ListOf(MEMBER), "ad", reads=_READS)
def forest_admins(view: View) -> Any:
    """Everybody in Enterprise Admins and Schema Admins, which only the forest's first domain has."""
    return _members(view, FOREST_GROUPS)


NESTED = Record(
    {
        "sid": Field(STR, "security identifier"),
        "dn": Field(STR, "distinguished name"),
        "name": Field(STR, "login name"),
        "through": Field(STR, "names of the groups on the way"),
    },
    "sid",
    "name",
)


@derived("groups_in_domain_admins", ListOf(NESTED), "ad", reads=_READS)
def groups_in_domain_admins(view: View) -> Any:
    """Groups that make their members Domain Admins."""
    web = web_of(view)
    top = web.group(GROUPS["domain_admins"])
    if top is None:
        return Unknown(Reason.PERMISSION, "see the group Domain Admins")
    out = []
    for place, way in reach(web, top):
        group = web.groups.get(place.lower())
        if group is not None:
            out.append({"sid": group.get("sid"), "dn": place, "name": group.get("name"), "through": " > ".join(way)})
        elif place.lower() not in web.accounts:
            _elsewhere(web, place, way[-1])
    return Partial(tuple(out), web.why) if web.why is not None else out
