"""Which searches a directory is asked: one for each class of objects, and a few single reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.facts.ad import accounts, domain, places, services
from agent.facts.ad.reader import Search
from agent.facts.ad.row import NotSeen, Row
from agent.model import Reason, Unknown

PEOPLE = "(&(objectCategory=person)(objectClass=user))"
_KNOWN_NODES = r"(|(dc=wpad)(dc=isatap)(dc=\2a))"
"""Names that other machines ask for by themselves; `\\2a` is the star of a record for every name."""
_DNS = f"(|(objectClass=container)(objectClass=dnsZone)(&(objectClass=dnsNode){_KNOWN_NODES}))"
_ADDRESSES = ("mail", "proxyAddresses")


def is_person(row: Row) -> bool:
    """False for the account that Windows makes for every trust: nobody signs in with it, no password rule is for it."""
    raw = row.entry.attributes.get(accounts.UAC.lower(), (b"",))[0]
    return not (raw.isdigit() and int(raw) & accounts.TRUST_ACCOUNT)


def is_computer(row: Row) -> bool:
    """False for the managed service accounts, which are computers to the schema."""
    category = row.entry.attributes.get("objectcategory", (b"CN=Computer,",))[0]
    return category.lower().startswith(b"cn=computer,")


def _addresses(guard: str) -> Callable[[Row], Any]:
    """Notes (dn, addresses) of an entry that has any, or why they cannot be known."""

    def note(row: Row) -> Any:
        try:
            found = services.addresses(row, guard)
        except NotSeen as unseen:
            return unseen.why
        except ValueError:
            return Unknown(Reason.UNREADABLE, "mail, proxyAddresses")
        return (row.entry.dn, found) if found else None

    return note


def _dns(base: str) -> Search:
    return Search(base, _DNS, (services.ZONES, services.NODES), "sub", True)


SEARCHES = {
    "domain": Search(
        "{domain}", "(objectClass=*)", (domain.DOMAIN, domain.ROLES["primary domain controller"]), security=True
    ),
    "partitions": Search(
        "CN=Partitions,{config}",
        "(objectClass=*)",
        (domain.FOREST, domain.RECYCLE, domain.ROLES["domain naming"]),
        extra=("uPNSuffixes",),
    ),
    "schema": Search(
        "{schema}",
        "(objectClass=*)",
        (domain.SCHEMA, domain.LAPS_SCHEMA, domain.ROLES["schema"]),
        names=(*domain.LAPS, domain.KEY_CREDENTIALS),
    ),
    "directory_service": Search(
        "CN=Directory Service,CN=Windows NT,CN=Services,{config}", "(objectClass=*)", (domain.DIRECTORY_SERVICE,)
    ),
    "users": Search(
        "{domain}",
        PEOPLE,
        (accounts.USERS,),
        "sub",
        extra=_ADDRESSES,
        sort=lambda row: accounts.USERS if is_person(row) else None,
        note=_addresses("sAMAccountName"),
    ),
    "computers": Search(
        "{domain}",
        "(objectClass=computer)",
        (accounts.COMPUTERS, accounts.SERVICE_ACCOUNTS),
        "sub",
        extra=("objectCategory",),
        sort=lambda row: accounts.COMPUTERS if is_computer(row) else accounts.SERVICE_ACCOUNTS,
    ),
    "groups": Search(
        "{domain}",
        "(objectClass=group)",
        (accounts.GROUPS,),
        "sub",
        extra=_ADDRESSES,
        sort=lambda row: accounts.GROUPS,
        note=_addresses("groupType"),
    ),
    "places": Search(
        "{domain}",
        "(|(objectClass=organizationalUnit)(objectClass=container)(objectClass=infrastructureUpdate))",
        (places.OUS, places.CONTAINERS, places.ADMIN_SD_HOLDER, domain.ROLES["infrastructure"]),
        "sub",
        security=True,
        names=places.SCHEMA_NAMES,
    ),
    # Where other accounts may not look, an object still shows its name and nothing else: ask for every class.
    "gpos": Search("CN=Policies,CN=System,{domain}", "(objectClass=*)", (places.GPOS,), "one", security=True),
    "system": Search(
        "CN=System,{domain}",
        "(objectClass=*)",
        (domain.TRUSTS, domain.ROLES["identifiers"]),
        "one",
        extra=("objectClass",),
    ),
    "password_policies": Search(
        "CN=Password Settings Container,CN=System,{domain}", "(objectClass=*)", (domain.PASSWORD_POLICIES,), "sub"
    ),
    "domain_controllers": Search(
        "{domain}",
        "(&(objectClass=computer)(|(primaryGroupID=516)(primaryGroupID=521)))",
        (services.CONTROLLERS,),
        "sub",
        security=True,
    ),
    # Whether there is one is all that is asked: the values stay where they are.
    "unix_passwords": Search(
        "{domain}",
        "(&(objectClass=user)(|(unixUserPassword=*)(userPassword=*)))",
        (services.PASSWORD_HOLDERS,),
        "sub",
    ),
    "conflicts": Search(
        "{domain}",
        r"(|(cn=*\0aCNF:*)(ou=*\0aCNF:*)(sAMAccountName=$DUPLICATE-*))",
        (services.CONFLICTS,),
        "sub",
    ),
    "addressed": Search(
        "{domain}",
        f"(&(|(mail=*)(proxyAddresses=*))(!{PEOPLE})(!(objectClass=group)))",
        (),
        "sub",
        extra=("objectGUID", *_ADDRESSES),
        sort=lambda row: None,
        note=_addresses("objectGUID"),
    ),
    # Their names alone: which computer each belongs to.
    "recovery_keys": Search("{domain}", "(objectClass=msFVE-RecoveryInformation)", (), "sub", extra=("objectGUID",)),
    "configuration": Search(
        "{config}",
        "(|(objectClass=site)(objectClass=subnet)(objectClass=subnetContainer)(objectClass=foreignSecurityPrincipal)"
        "(objectClass=msKds-ProvRootKey))",
        (places.SITES, places.SUBNETS, services.WELL_KNOWN),
        "sub",
        extra=("objectClass",),
    ),
    "pki": Search(
        "CN=Public Key Services,CN=Services,{config}",
        "(objectClass=*)",
        (services.TEMPLATES, services.AUTHORITIES),
        "sub",
        security=True,
    ),
    "dns_domain": _dns("DC=DomainDnsZones,{domain}"),
    "dns_forest": _dns("DC=ForestDnsZones,{root}"),
    "dns_system": _dns("CN=MicrosoftDNS,CN=System,{domain}"),
    "deleted": Search(
        "CN=Deleted Objects,{domain}",
        "(|(objectClass=container)(objectClass=user))",
        (services.DELETED,),
        "deleted",
    ),
}
