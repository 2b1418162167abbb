"""The facts of a directory, what feeds each, and how they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agent.facts.ad import accounts, domain, lists, others, places, services
from agent.facts.ad.directory import Directory
from agent.facts.ad.reader import Reader
from agent.facts.ad.row import Shape
from agent.facts.ad.searches import SEARCHES
from agent.facts.protocol import Collected, Limits, PlanStep
from agent.facttypes import BOOL, STR, TIME, FactType, Field, ListOf, Record, fact
from agent.model import Partial, Reading, Reason, TargetState, Unknown

PLATFORM = "ad"
_LOST = (Reason.UNREACHABLE, Reason.TIMED_OUT, Reason.TRUNCATED, Reason.UNREADABLE, Reason.THROTTLED)


@dataclass(frozen=True, slots=True)
class Source:
    """A fact: its type, the searches that feed it, how it is read, and rights beyond an ordinary account."""

    type: FactType
    searches: tuple[str, ...]
    read: Callable[[Reader], Any]
    doc: str
    rights: tuple[str, ...] = ()


_ADDRESS = Record(
    {"address": Field(STR, "e-mail address, lower case"), "holders": Field(ListOf(STR), "distinguished names")},
    "address",
    "address",
)
_KEYS = Record(
    {
        "whole": Field(BOOL, "all keys are shown"),
        "computers": Field(ListOf(STR), "distinguished names of computers with a key"),
    }
)
_ROOT_KEY = Record(
    {"exists": Field(BOOL, "there is one"), "where": Field(STR, "distinguished name, or (none)")}, "where", "where"
)
_TRANSPORT = Record(
    {
        "server": Field(STR, "address of the server, as trust.yml writes it"),
        "ldaps": Field(BOOL, "it answers over TLS from the first byte, with a certificate that proves who it is"),
        "old_tls": Field(BOOL, "it accepts TLS 1.0 or 1.1"),
        "certificate_ends": Field(TIME, "when its certificate ends"),
        "plain_login": Field(BOOL, "it would take a password in clear"),
        "channel_binding": Field(BOOL, "it refuses an NTLM login over TLS that is not bound to the connection"),
    },
    "server",
    "server",
)
_ANONYMOUS = Record(
    {
        "server": Field(STR, "address of the server"),
        "readable": Field(BOOL, "it answers one"),
        "shown": Field(STR, "readable or refused"),
    },
    "server",
    "shown",
)


def _shape(shape: Shape, search: str, doc: str) -> Source:
    return Source(shape.record(), (search,), lists.single(search, shape), doc)


FACTS: dict[str, Source] = {
    "domain": _shape(domain.DOMAIN, "domain", "the domain object: password and lockout settings and more"),
    "forest": _shape(domain.FOREST, "partitions", "the forest"),
    "recycle_bin": _shape(domain.RECYCLE, "partitions", "the directory's recycle bin"),
    "upn_suffixes": Source(
        ListOf(STR), ("partitions",), lists.suffixes, "sign-in suffixes registered beside the domain's"
    ),
    "schema": _shape(domain.SCHEMA, "schema", "the schema"),
    "laps_schema": _shape(domain.LAPS_SCHEMA, "schema", "room for LAPS in the schema"),
    "directory_service": _shape(domain.DIRECTORY_SERVICE, "directory_service", "forest-wide switches"),
    "role_holders": Source(
        ListOf(domain.ROLES["schema"].record()),
        ("domain", "system", "places", "partitions", "schema"),
        lists.role_holders,
        "holders of the five roles that one server has at a time",
    ),
    "users": Source(ListOf(accounts.USERS.record(), "dn"), ("users",), lists.users, "accounts of people and services"),
    "computers": Source(
        ListOf(accounts.COMPUTERS.record(), "dn"), ("computers",), lists.computers, "computer accounts"
    ),
    "service_accounts": Source(
        ListOf(accounts.SERVICE_ACCOUNTS.record(), "dn"),
        ("computers",),
        lists.service_accounts,
        "managed service accounts",
    ),
    "domain_controllers": Source(
        ListOf(services.CONTROLLERS.record()),
        ("domain_controllers",),
        others.domain_controllers,
        "domain controllers and who owns them",
    ),
    "groups": Source(ListOf(accounts.GROUPS.record(), "dn"), ("groups",), lists.groups, "groups"),
    "ous": Source(ListOf(places.OUS.record(), "dn"), ("places",), lists.ous, "organisational units"),
    "containers": Source(
        ListOf(places.CONTAINERS.record()), ("places", "system"), lists.containers, "containers that are no OU"
    ),
    "admin_sd_holder": Source(
        places.ADMIN_SD_HOLDER.record(),
        ("places",),
        lists.admin_sd_holder,
        "the pattern that is copied to every administrator's account each hour",
    ),
    "gpos": Source(
        ListOf(places.GPOS.record()), ("gpos",), lists.gpos, "group policy objects (what LDAP shows of them)"
    ),
    "trusts": Source(ListOf(domain.TRUSTS.record()), ("system",), lists.trusts, "trusts with other domains"),
    "password_policies": Source(
        ListOf(domain.PASSWORD_POLICIES.record()),
        ("password_policies",),
        lists.password_policies,
        "fine-grained password policies",
        ("read CN=Password Settings Container,CN=System",),
    ),
    "unix_passwords": Source(
        ListOf(services.PASSWORD_HOLDERS.record(), "dn"),
        ("unix_passwords",),
        others.unix_passwords,
        "accounts with a password in a Unix attribute (that there is one, never which)",
        ("an administrator's login: that nobody has one is hidden from others",),
    ),
    "conflict_objects": Source(
        ListOf(services.CONFLICTS.record(), "dn"),
        ("conflicts",),
        others.conflict_objects,
        "duplicates that replication set aside",
    ),
    "shared_addresses": Source(
        ListOf(_ADDRESS),
        ("users", "groups", "addressed"),
        others.shared_addresses,
        "e-mail addresses that more than one object carries",
    ),
    "recovery_keys": Source(
        _KEYS,
        ("recovery_keys",),
        others.recovery_keys,
        "which computers have a BitLocker key in the directory (never the key)",
        ("list msFVE-RecoveryInformation objects below computers",),
    ),
    "subnets": Source(ListOf(places.SUBNETS.record()), ("configuration",), others.subnets, "network ranges"),
    "sites": Source(ListOf(places.SITES.record()), ("configuration",), others.sites, "sites"),
    "well_known": Source(
        ListOf(services.WELL_KNOWN.record()), ("configuration",), others.well_known, "identities that Windows knows"
    ),
    "root_key": Source(
        _ROOT_KEY,
        ("configuration",),
        others.root_key,
        "the root key for managed service accounts (that there is one)",
        ("read CN=Master Root Keys,CN=Group Key Distribution Service,CN=Services",),
    ),
    "certificate_templates": Source(
        ListOf(services.TEMPLATES.record()), ("pki",), others.certificate_templates, "certificate templates"
    ),
    "certificate_authorities": Source(
        ListOf(services.AUTHORITIES.record()), ("pki",), others.certificate_authorities, "certificate authorities"
    ),
    "dns_zones": Source(
        ListOf(services.ZONES.record()), ("dns_domain", "dns_forest"), others.dns_zones, "DNS zones of the directory"
    ),
    "old_dns_zones": Source(
        ListOf(services.ZONES.record()),
        ("dns_system",),
        others.old_dns_zones,
        "DNS zones kept where Windows 2000 kept them",
        ("read CN=MicrosoftDNS,CN=System",),
    ),
    "dns_names": Source(
        ListOf(services.NODES.record()),
        ("dns_domain", "dns_forest"),
        others.dns_names,
        "DNS records with a name that machines ask for by themselves",
    ),
    "deleted_accounts": Source(
        ListOf(services.DELETED.record()),
        ("deleted",),
        others.deleted_accounts,
        "accounts that were deleted",
        ("list and read CN=Deleted Objects",),
    ),
    "transport": Source(_TRANSPORT, (), others.transport, "how the server treats logins and TLS, by trying"),
    "anonymous_search": Source(
        _ANONYMOUS, (), others.anonymous_search, "what somebody sees without a login, by trying"
    ),
}

for _name, _source in FACTS.items():
    fact(
        _name,
        _source.type,
        PLATFORM,
        doc=_source.doc,
        rights=_source.rights,
        source="; ".join(f"{SEARCHES[s].scope} {SEARCHES[s].base} {SEARCHES[s].filter}" for s in _source.searches)
        or "trying, without a login",
    )


_SCOPES = {
    "base": "base",
    "one": "one-level",
    "sub": "subtree",
    "deleted": "subtree (deleted objects too)",
}
_TRIED = (
    "tries without a login: TLS versions, one anonymous search, and as nobody who exists a login in clear and by NTLM"
)


def plan(wanted: Sequence[str]) -> list[PlanStep]:
    """The searches that `wanted` facts take, in order."""
    feeds: dict[str, list[str]] = {}
    for name in wanted:
        for search in FACTS[name].searches:
            feeds.setdefault(search, []).append(name)
    tried = tuple(n for n in wanted if not FACTS[n].searches)
    if not feeds and not tried:
        return []
    steps = [
        PlanStep("LDAP base search of the server's own object (rootDSE)"),
        PlanStep("LDAP one-level search of the schema: which of the attributes below it has"),
    ]
    for search, names in feeds.items():
        s = SEARCHES[search]
        rights = tuple(dict.fromkeys(r for n in names for r in FACTS[n].rights))
        words = _SCOPES[s.scope]
        what = f"LDAP {words} search of {s.base} with {s.filter} for {', '.join(s.attributes())}"
        steps.append(PlanStep(what, rights, tuple(names)))
    if tried:
        steps.append(PlanStep(_TRIED, (), tried))
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
