"""Which searches a directory is asked, and how their answers become facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agent.facts.ad import accounts, domain
from agent.facts.ad.directory import Directory
from agent.facts.ad.reader import Reader, Search
from agent.facts.ad.row import Row, Shape
from agent.facts.protocol import Collected, Limits, PlanStep
from agent.facttypes import STR, FactType, ListOf, fact
from agent.model import Partial, Reading, Reason, TargetState, Unknown

PLATFORM = "ad"
_LOST = (Reason.UNREACHABLE, Reason.TIMED_OUT, Reason.TRUNCATED, Reason.UNREADABLE, Reason.THROTTLED)


SEARCHES = {
    "domain": Search("{domain}", "(objectClass=*)", (domain.DOMAIN,)),
    "partitions": Search(
        "CN=Partitions,{config}", "(objectClass=*)", (domain.FOREST, domain.RECYCLE), extra=("uPNSuffixes",)
    ),
    "schema": Search("{schema}", "(objectClass=*)", (domain.SCHEMA,)),
    "directory_service": Search(
        "CN=Directory Service,CN=Windows NT,CN=Services,{config}", "(objectClass=*)", (domain.DIRECTORY_SERVICE,)
    ),
    "users": Search(
        "{domain}",
        "(&(objectCategory=person)(objectClass=user))",
        (accounts.USERS,),
        "sub",
        sort=lambda row: accounts.USERS if _is_person(row) else None,
    ),
    "computers": Search(
        "{domain}",
        "(objectClass=computer)",
        (accounts.COMPUTERS, accounts.SERVICE_ACCOUNTS),
        "sub",
        extra=("objectCategory",),
        sort=lambda row: accounts.COMPUTERS if _is_computer(row) else accounts.SERVICE_ACCOUNTS,
    ),
    "groups": Search("{domain}", "(objectClass=group)", (accounts.GROUPS,), "sub", sort=lambda row: accounts.GROUPS),
    "ous": Search("{domain}", "(objectClass=organizationalUnit)", (domain.OUS,), "sub", security=True),
    # Where other accounts may not look, an object still shows its name and nothing else: ask for every class.
    "gpos": Search("CN=Policies,CN=System,{domain}", "(objectClass=*)", (domain.GPOS,), "one"),
    "trusts": Search("CN=System,{domain}", "(objectClass=trustedDomain)", (domain.TRUSTS,), "one"),
    "password_container": Search(
        "CN=Password Settings Container,CN=System,{domain}", "(objectClass=*)", (), extra=("objectClass",)
    ),
    "password_policies": Search(
        "CN=Password Settings Container,CN=System,{domain}", "(objectClass=*)", (domain.PASSWORD_POLICIES,), "one"
    ),
}


def _single(name: str, shape: Shape) -> Callable[[Reader], Any]:
    """A fact that is one object."""

    def read(reader: Reader) -> Any:
        row = reader.one(name)
        return row if isinstance(row, Unknown) else shape.fill(row)

    return read


def _suffixes(reader: Reader) -> Any:
    row = reader.one("partitions")
    return row if isinstance(row, Unknown) else domain.suffixes(row)


def _list(items: list[dict[str, Any]], why: Unknown | None, what: str) -> Any:
    """A list that always has members somewhere: none at all means that none may be seen."""
    if not items:
        return why or Unknown(Reason.PERMISSION, f"list {what}")
    return Partial(tuple(items), why) if why is not None else items


def _with(items: list[dict[str, Any]], why: Unknown | None, what: str, rids: Sequence[int]) -> Any:
    """A list in which some members exist in every domain: where they are not shown, others may not be either."""
    known = {i["rid"] for i in items if not isinstance(i["rid"], Unknown)}
    if why is None and items and not known.issuperset(rids):
        why = Unknown(Reason.PERMISSION, f"see all {what}: even built-in ones are hidden")
    return _list(items, why, what)


def _is_person(row: Row) -> bool:
    """False for the account that Windows makes for every trust: nobody signs in with it, no password rule is for it."""
    raw = row.entry.attributes.get(accounts.UAC.lower(), (b"",))[0]
    return not (raw.isdigit() and int(raw) & accounts.TRUST_ACCOUNT)


def _users(reader: Reader) -> Any:
    items, why = reader.records("users", accounts.USERS)
    return _with(items, why, "users", (500, 502))  # administrator and krbtgt


def _groups(reader: Reader) -> Any:
    items, why = reader.records("groups", accounts.GROUPS)
    return _with(items, why, "groups", (512, 513))  # domain admins and users


def _is_computer(row: Row) -> bool:
    category = row.entry.attributes.get("objectcategory", (b"CN=Computer,",))[0]
    return category.lower().startswith(b"cn=computer,")


def _computers(reader: Reader) -> Any:
    items, why = reader.records("computers", accounts.COMPUTERS)
    if why is None and items and not any(i["domain_controller"] is True for i in items):
        why = Unknown(Reason.PERMISSION, "see all computers: no domain controller is shown")
    return _list(items, why, "computers")


def _service_accounts(reader: Reader) -> Any:
    items, why = reader.records("computers", accounts.SERVICE_ACCOUNTS)
    if why is None and not reader.ask("computers").entries:
        why = Unknown(Reason.PERMISSION, "list computers and service accounts")
    return Partial(tuple(items), why) if why is not None else items


def _ous(reader: Reader) -> Any:
    rows, why = reader.rows("ous")
    return _list([domain.OUS.fill(r) for r in rows], why, "organisational units")


def _classed(
    reader: Reader,
    name: str,
    shape: Shape,
    wanted: bytes,
    what: str,
) -> tuple[list[dict[str, Any]], Unknown | None]:
    """Objects of one class among all that a container shows; one that hides its class may be one of them."""
    rows, why = reader.rows(name)
    items = []
    for row in rows:
        classes = row.entry.attributes.get("objectclass")
        if classes is None:
            why = why or Unknown(Reason.PERMISSION, f"read {what}")
        elif wanted.lower() in (c.lower() for c in classes):
            items.append(shape.fill(row))
    return items, why


def _gpos(reader: Reader) -> Any:
    items, why = _classed(reader, "gpos", domain.GPOS, b"groupPolicyContainer", "every group policy object")
    return _list(items, why, "group policy objects")  # the two default policies are always there


def _trusts(reader: Reader) -> Any:
    rows, why = reader.rows("trusts")
    items = [domain.TRUSTS.fill(r) for r in rows]
    return Partial(tuple(items), why) if why is not None else items


def _password_policies(reader: Reader) -> Any:
    if "msds-minimumpasswordlength" in reader.lacks:
        return Unknown(Reason.NOT_SUPPORTED, "the directory's schema has no password settings objects")
    found = reader.ask("password_container")
    if found.why is not None:
        return found.why
    base = reader.base("password_container")
    if not found.entries or "objectclass" not in found.entries[0].attributes:
        return Unknown(Reason.PERMISSION, f"read {base}")
    items, why = _classed(
        reader, "password_policies", domain.PASSWORD_POLICIES, b"msDS-PasswordSettings", f"every object in {base}"
    )
    return Partial(tuple(items), why) if why is not None else items


@dataclass(frozen=True, slots=True)
class Source:
    """A fact: its type, the searches that feed it, how it is read, and rights beyond an ordinary account."""

    type: FactType
    searches: tuple[str, ...]
    read: Callable[[Reader], Any]
    doc: str
    rights: tuple[str, ...] = ()


FACTS: dict[str, Source] = {
    "domain": Source(
        domain.DOMAIN.record(),
        ("domain",),
        _single("domain", domain.DOMAIN),
        "the domain object: password and lockout settings and more",
    ),
    "forest": Source(domain.FOREST.record(), ("partitions",), _single("partitions", domain.FOREST), "the forest"),
    "recycle_bin": Source(
        domain.RECYCLE.record(), ("partitions",), _single("partitions", domain.RECYCLE), "the directory's recycle bin"
    ),
    "upn_suffixes": Source(ListOf(STR), ("partitions",), _suffixes, "sign-in suffixes registered beside the domain's"),
    "schema": Source(domain.SCHEMA.record(), ("schema",), _single("schema", domain.SCHEMA), "the schema"),
    "directory_service": Source(
        domain.DIRECTORY_SERVICE.record(),
        ("directory_service",),
        _single("directory_service", domain.DIRECTORY_SERVICE),
        "forest-wide switches",
    ),
    "users": Source(ListOf(accounts.USERS.record(), "dn"), ("users",), _users, "accounts of people and services"),
    "computers": Source(ListOf(accounts.COMPUTERS.record(), "dn"), ("computers",), _computers, "computer accounts"),
    "service_accounts": Source(
        ListOf(accounts.SERVICE_ACCOUNTS.record(), "dn"), ("computers",), _service_accounts, "managed service accounts"
    ),
    "groups": Source(ListOf(accounts.GROUPS.record(), "dn"), ("groups",), _groups, "groups"),
    "ous": Source(ListOf(domain.OUS.record(), "dn"), ("ous",), _ous, "organisational units"),
    "gpos": Source(ListOf(domain.GPOS.record()), ("gpos",), _gpos, "group policy objects (what LDAP shows of them)"),
    "trusts": Source(ListOf(domain.TRUSTS.record()), ("trusts",), _trusts, "trusts with other domains"),
    "password_policies": Source(
        ListOf(domain.PASSWORD_POLICIES.record()),
        ("password_container", "password_policies"),
        _password_policies,
        "fine-grained password policies",
        ("read CN=Password Settings Container,CN=System",),
    ),
}

for _name, _source in FACTS.items():
    fact(
        _name,
        _source.type,
        PLATFORM,
        doc=_source.doc,
        rights=_source.rights,
        source="; ".join(f"{SEARCHES[s].scope} {SEARCHES[s].base} {SEARCHES[s].filter}" for s in _source.searches),
    )


def plan(wanted: Sequence[str]) -> list[PlanStep]:
    """The searches that `wanted` facts take, in order."""
    feeds: dict[str, list[str]] = {}
    for name in wanted:
        for search in FACTS[name].searches:
            feeds.setdefault(search, []).append(name)
    if not feeds:
        return []
    steps = [
        PlanStep("LDAP base search of the server's own object (rootDSE)"),
        PlanStep("LDAP one-level search of the schema: which of the attributes below it has"),
    ]
    for search, names in feeds.items():
        s = SEARCHES[search]
        rights = tuple(dict.fromkeys(r for n in names for r in FACTS[n].rights))
        words = {"base": "base", "one": "one-level", "sub": "subtree"}[s.scope]
        what = f"LDAP {words} search of {s.base} with {s.filter} for {', '.join(s.attributes())}"
        steps.append(PlanStep(what, rights, tuple(names)))
    return steps


def collect(connection: Directory, wanted: Sequence[str], limits: Limits) -> Collected:
    """Read every wanted fact. The state is `partial` when the server, the time or the size cut the reading short."""
    reader = Reader(connection, SEARCHES)
    left = Counter(s for n in wanted for s in FACTS[n].searches)
    reader.start(list(left))
    facts: dict[str, Reading] = {}
    cut: Unknown | None = None
    for name in wanted:
        value = reader.failed if reader.failed is not None else FACTS[name].read(reader)
        why = value if isinstance(value, Unknown) else value.why if isinstance(value, Partial) else None
        if why is not None and why.reason in _LOST:
            cut = cut or why
        facts[name] = Reading(value)
        for search in FACTS[name].searches:
            left[search] -= 1
            if not left[search]:
                reader.forget(search)
    if (cut := cut or reader.failed) is not None:
        return Collected(facts, TargetState.PARTIAL, f"Not everything could be read: {cut}.")
    return Collected(facts, TargetState.COLLECTED)
