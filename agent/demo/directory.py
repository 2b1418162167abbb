"""The stand-in Active Directory domain of a trust with three schools, as a pure function of the time.

About 80 people, 40 computers and their groups under `DC=ad,DC=northfield,DC=example`, with faults put in on purpose.
No person in it exists. Times are relative to `now`, so that what is stale today is stale next year.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.demo.descriptors import DELETE, DELETE_TREE, FULL_CONTROL, INHERIT, Ace
from agent.demo.directory_builder import EVERYONE, DomainBuilder, Values
from agent.demo.directory_forest import (
    BASELINE_GPO,
    GLOBAL,
    add_configuration,
    add_dns,
    add_domain,
    add_schema,
    add_system,
    gpo_link,
)
from agent.demo.ldap_entry import Entry

BASE_DN = "DC=ad,DC=northfield,DC=example"
DOMAIN_SID = "S-1-5-21-2406134285-1180273961-3520874113"
AUDITOR = "svc-audit@northfield.example"
DELEGATED_AUDITOR = "svc-audit-plus@northfield.example"
# The passwords open nothing but this stand-in.
ACCOUNTS: Mapping[str, str] = {AUDITOR: "Demo-Only-Audit-2026!", DELEGATED_AUDITOR: "Demo-Only-Audit-Plus-2026!"}


@dataclass(frozen=True, slots=True)
class School:
    """One school of the stand-in trust, as its names show it."""

    code: str
    name: str
    upn_suffix: str


SCHOOLS = (
    School("OAK", "Oakfield Primary School", "oakfield.example"),
    School("ELM", "Elm Grove Academy", "elmgrove.example"),
    School("ASH", "Ashdown High School", "ashdown.example"),
)
MISSING_OU, MISSING_GROUP = "OU=ASH: Groups", "GRP-ELM-Admins"
PUPILS, STAFF, COMPUTERS = 19, 7, 13  # for each school


@dataclass(frozen=True, slots=True)
class StandInDomain:
    """Entries for the server, and what was planted: a short word for the fault to the names it should show."""

    entries: list[Entry]
    planted: Mapping[str, tuple[str, ...]]


# userAccountControl, MS-ADTS 2.2.16.
_NORMAL, _DISABLED, _NO_PASSWORD, _WORKSTATION = 0x200, 0x2, 0x20, 0x1000
_NEVER_EXPIRES, _UNCONSTRAINED, _NO_DELEGATION, _NO_PREAUTH = 0x10000, 0x80000, 0x100000, 0x400000

_FIRST = (
    "Amelia Noah Olivia Arthur Isla George Ava Leo Freya Theo Zara Ibrahim Ayesha Kofi Priya Jakub Nia Rhys".split()
)
_LAST = "Smith Jones Taylor Brown Wilson Davies Patel Khan Wright Hughes Green Begum Evans Nowak Murphy Mensah".split()

_SCHOOLS_OU, _TRUST_OU = f"OU=Schools,{BASE_DN}", f"OU=Trust,{BASE_DN}"
_ADMINS_OU, _SERVICES_OU = f"OU=Admins,{_TRUST_OU}", f"OU=Service Accounts,{_TRUST_OU}"


def stand_in_domain(now: datetime | None = None) -> StandInDomain:
    """Build the domain as it stands at `now` (default: this moment). The same moment gives the same entries."""
    domain = DomainBuilder(BASE_DN, DOMAIN_SID, now or datetime.now(UTC))
    chance = random.Random(7)
    add_domain(domain)
    add_system(domain, AUDITOR)
    suffixes = ["northfield.example", *(school.upn_suffix for school in SCHOOLS if school.code != "ASH")]
    add_configuration(domain, suffixes)
    domain.plant("suffix-not-registered", "ashdown.example")
    add_dns(domain)
    add_schema(domain)
    _add_units(domain)
    _add_trust_accounts(domain)
    staff, pupils = _add_people(domain, chance)
    _spoil_people(domain, staff, pupils)
    _spoil_computers(domain, _add_computers(domain, chance))
    _add_administrators(domain, staff)
    return StandInDomain(domain.entries(), {what: tuple(labels) for what, labels in domain.planted.items()})


def _ago(days: int) -> str:
    return "{{filetime-" + str(days) + "d}}"


def _school_ou(school: School) -> str:
    return f"OU={school.code},{_SCHOOLS_OU}"


def _add_unit(domain: DomainBuilder, dn: str, *aces: Ace, protect: bool = True, **values: str) -> None:
    guard = (Ace(EVERYONE, DELETE | DELETE_TREE, deny=True),) if protect else ()
    domain.add(dn, "organizationalUnit", values, nTSecurityDescriptor=domain.protection(*guard, *aces))


def _add_units(domain: DomainBuilder) -> None:
    domain.plant("ou-not-protected", f"OU=Domain Controllers,{BASE_DN}")
    for dn in (_SCHOOLS_OU, _TRUST_OU, _ADMINS_OU, _SERVICES_OU, f"OU=Leavers,{_TRUST_OU}"):
        _add_unit(domain, dn)
    for school in SCHOOLS:
        _add_unit(domain, _school_ou(school), description=school.name)
        if school.code != "ELM":
            domain.set(_school_ou(school), gPLink=gpo_link(domain, BASELINE_GPO))
        for name in ("Staff", "Pupils", "Computers", "Groups"):
            if f"OU={school.code}: {name}" == MISSING_OU:
                domain.plant("missing-ou", MISSING_OU)
                continue
            dn = f"OU={name},{_school_ou(school)}"
            if (school.code, name) == ("ELM", "Pupils"):
                _add_unit(domain, dn, Ace(f"{DOMAIN_SID}-513", FULL_CONTROL, flags=INHERIT))
                domain.plant("ou-open-to-everybody", dn)
            elif (school.code, name) == ("OAK", "Computers"):
                _add_unit(domain, dn, protect=False)
                domain.plant("ou-not-protected", dn)
            else:
                _add_unit(domain, dn)
        groups = _school_ou(school) if school.code == "ASH" else f"OU=Groups,{_school_ou(school)}"
        for purpose in ("Staff", "Pupils", "Admins"):
            if f"GRP-{school.code}-{purpose}" == MISSING_GROUP:
                domain.plant("missing-group", MISSING_GROUP)
                continue
            _add_group(domain, f"GRP-{school.code}-{purpose}", groups)
    _add_group(domain, "wifi users old", f"OU=Groups,{_school_ou(SCHOOLS[0])}")
    domain.plant("group-name", "wifi users old")
    domain.plant("baseline-gpo-not-linked", "ELM: Trust-Baseline missing")


def _add_group(domain: DomainBuilder, name: str, ou: str) -> str:
    return domain.add(f"CN={name},{ou}", "group", sAMAccountName=name, groupType=GLOBAL)


def _add_account(domain: DomainBuilder, name: str, ou: str, control: int, **values: Values) -> str:
    """A user object; `values` override the usual ones. Every account is in Domain Users, by its primary group."""
    usual: dict[str, Values] = {
        "sAMAccountName": name,
        "userPrincipalName": f"{name}@northfield.example",
        "userAccountControl": control,
        "primaryGroupID": 513,
        "pwdLastSet": "{{filetime-100d}}",
        "lastLogonTimestamp": "{{filetime-3d}}",
        "accountExpires": "9223372036854775807",
    }
    return domain.add(f"CN={values.get('displayName', name)},{ou}", "user", usual | values)


def _add_trust_accounts(domain: DomainBuilder) -> None:
    """The accounts that come with a domain, the service accounts and the leavers."""
    users = f"CN=Users,{BASE_DN}"
    for name, rid, control, age in (
        ("Administrator", 500, _NORMAL | _NO_DELEGATION, 200),
        ("Guest", 501, _NORMAL | _NO_PASSWORD | _NEVER_EXPIRES | _DISABLED, 0),
        ("krbtgt", 502, _NORMAL | _DISABLED, 1200),
    ):
        domain.add(
            f"CN={name},{users}",
            "user",
            rid=rid,
            sAMAccountName=name,
            userAccountControl=control,
            primaryGroupID=514 if rid == 501 else 513,
            pwdLastSet=_ago(age) if age else "0",
            isCriticalSystemObject="TRUE",
        )
    administrator, ticket_key = f"CN=Administrator,{users}", f"CN=krbtgt,{users}"
    domain.set(administrator, adminCount=1, lastLogonTimestamp=_ago(60))
    domain.set(ticket_key, adminCount=1, servicePrincipalName="kadmin/changepw")
    domain.plant("krbtgt-password-old", "krbtgt")
    for group in ("Domain Admins", "Enterprise Admins", "Schema Admins", "Group Policy Creator Owners"):
        domain.append(f"CN={group},{users}", "member", administrator)
    domain.append(f"CN=Administrators,CN=Builtin,{BASE_DN}", "member", administrator)
    service = _NORMAL | _NEVER_EXPIRES
    for upn in ACCOUNTS:
        _add_account(domain, upn.partition("@")[0], _SERVICES_OU, service, description="Reads settings for the audit")
    _add_account(
        domain, "svc-library", _SERVICES_OU, service, servicePrincipalName="HTTP/library.ad.northfield.example",
        msDS_SupportedEncryptionTypes=24, pwdLastSet="{{filetime-1500d}}",
    )  # fmt: skip
    domain.plant("old-service-password", "svc-library")
    _add_account(
        domain, "svc-mis", _SERVICES_OU, service,
        servicePrincipalName="MSSQLSvc/mis.ad.northfield.example:1433", pwdLastSet="{{filetime-40d}}",
    )  # fmt: skip
    domain.plant("weak-service-encryption", "svc-mis")
    leavers = f"OU=Leavers,{_TRUST_OU}"
    _add_account(domain, "jleaver", leavers, _NORMAL, lastLogonTimestamp="{{filetime-1d}}")
    _add_account(domain, "pleaver", leavers, _NORMAL | _DISABLED)
    domain.plant("leaver-enabled", "jleaver")


def _add_people(domain: DomainBuilder, chance: random.Random) -> tuple[list[str], list[str]]:
    """Staff and pupils of each school; gives their names (DN) in the order of the schools."""
    staff: list[str] = []
    pupils: list[str] = []
    number = 0
    for school in SCHOOLS:
        groups = _school_ou(school) if school.code == "ASH" else f"OU=Groups,{_school_ou(school)}"
        for place, count, into in (("Staff", STAFF, staff), ("Pupils", PUPILS, pupils)):
            for _ in range(count):
                number += 1
                first, last = chance.choice(_FIRST), chance.choice(_LAST)
                sam = f"{'' if place == 'Staff' else '24'}{first[0]}{last}{number}".lower()
                address = f"{sam}@{school.upn_suffix}"
                dn = _add_account(
                    domain,
                    sam,
                    f"OU={place},{_school_ou(school)}",
                    _NORMAL,
                    userPrincipalName=address,
                    mail=address,
                    givenName=first,
                    sn=last,
                    displayName=f"{first} {last} {number}",
                    department="Pupils" if place == "Pupils" else chance.choice(["Teaching", "Office", "Site"]),
                    company=school.name,
                    pwdLastSet=_ago(chance.randint(5, 300)),
                    lastLogonTimestamp=_ago(chance.randint(0, 40)),
                )
                into.append(dn)
                domain.append(f"CN=GRP-{school.code}-{place},{groups}", "member", dn)
    return staff, pupils


def _spoil_people(domain: DomainBuilder, staff: list[str], pupils: list[str]) -> None:
    def plant(what: str, people: list[str], **values: str | int) -> None:
        for dn in people:
            domain.set(dn, **values)
            domain.plant(what, domain.get(dn, "sAMAccountName"))

    plant("stale-user", [pupils[0], pupils[20], pupils[40], staff[1]], lastLogonTimestamp="{{filetime-240d}}")
    plant("password-not-required", [pupils[1]], userAccountControl=_NORMAL | _NO_PASSWORD)
    plant("password-never-expires", [staff[2], staff[9]], userAccountControl=_NORMAL | _NEVER_EXPIRES)
    plant("no-preauthentication", [staff[3]], userAccountControl=_NORMAL | _NO_PREAUTH)
    plant("password-in-description", [staff[4]], description="Supply cover. Password is on the staffroom board")
    plant("wrong-suffix", [pupils[21]], userPrincipalName="old21@ad.northfield.example")
    plant("expired-but-enabled", [staff[10]], accountExpires="{{filetime-60d}}")
    domain.set(pupils[2], lastLogonTimestamp=[])
    domain.plant("never-used", domain.get(pupils[2], "sAMAccountName"))
    domain.set(staff[15], mail=[])
    domain.plant("no-mail", domain.get(staff[15], "sAMAccountName"))
    _add_account(
        domain, "supply1", f"OU=Staff,{_school_ou(SCHOOLS[0])}", _NORMAL,
        userPrincipalName="supply1@oakfield.example", mail="supply1@oakfield.example",
    )  # fmt: skip
    domain.plant("shared-account", "supply1")
    _add_account(domain, "printadmin", f"CN=Users,{BASE_DN}", _NORMAL)
    domain.plant("person-in-users-container", "printadmin")


def _add_computers(domain: DomainBuilder, chance: random.Random) -> dict[str, str]:
    """Desktops and laptops of each school; name to DN. BitLocker keys are there, and not the plain auditor's to see."""
    computers: dict[str, str] = {}
    for index, school in enumerate(SCHOOLS):
        for number in range(COMPUTERS):
            name = f"{school.code}-{'LT' if number % 3 else 'PC'}{101 + number}"
            host = f"{name.lower()}.ad.northfield.example"
            dn = domain.add(
                f"CN={name},OU=Computers,{_school_ou(school)}",
                "computer",
                sAMAccountName=f"{name}$",
                userAccountControl=_WORKSTATION,
                primaryGroupID=515,
                dNSHostName=host,
                operatingSystem="Windows 11 Enterprise",
                operatingSystemVersion="10.0 (26100)",
                servicePrincipalName=[f"HOST/{name}", f"HOST/{host}"],
                msLAPS_PasswordExpirationTime="{{filetime+20d}}",
                pwdLastSet="{{filetime-10d}}",
                lastLogonTimestamp=_ago(chance.randint(0, 30)),
            )
            computers[name] = dn
            if "-LT" in name:
                day = f"{domain.now:%Y}-01-{number + 1:02}T10:00:00-00:00"
                domain.add(
                    f"CN={day}{{{index:04x}{number:04x}-0000-4000-8000-000000000000}},{dn}",
                    "msFVE-RecoveryInformation",
                    hidden_from=[AUDITOR],
                    msFVE_RecoveryGuid=bytes([index, number]) * 8,
                )
    return computers


def _spoil_computers(domain: DomainBuilder, computers: Mapping[str, str]) -> None:
    def plant(what: str, name: str, **values: str | int | list[str]) -> None:
        domain.set(computers[name], **values)
        domain.plant(what, name)

    plant("stale-computer", "OAK-LT102", lastLogonTimestamp="{{filetime-200d}}")
    plant("stale-computer", "ELM-LT102", lastLogonTimestamp="{{filetime-150d}}")
    plant(
        "unsupported-system", "OAK-PC101", operatingSystem="Windows 7 Professional", operatingSystemVersion="6.1 (7601)"
    )
    plant("unsupported-build", "ELM-PC101", operatingSystem="Windows 10 Pro", operatingSystemVersion="10.0 (19041)")
    plant("no-laps", "ASH-LT102", msLAPS_PasswordExpirationTime=[])
    plant("laps-overdue", "ASH-LT103", msLAPS_PasswordExpirationTime="{{filetime-100d}}")
    plant("unconstrained-delegation", "ELM-PC104", userAccountControl=_WORKSTATION | _UNCONSTRAINED)
    domain.add(
        f"CN=DESKTOP-A1B2C3,CN=Computers,{BASE_DN}", "computer", sAMAccountName="DESKTOP-A1B2C3$",
        userAccountControl=_WORKSTATION, primaryGroupID=515, operatingSystem="Windows 11 Pro",
        operatingSystemVersion="10.0 (26100)", msLAPS_PasswordExpirationTime="{{filetime+9d}}",
        pwdLastSet="{{filetime-10d}}", lastLogonTimestamp="{{filetime-4d}}",
    )  # fmt: skip
    domain.plant("computer-in-computers-container", "DESKTOP-A1B2C3")


def _add_administrators(domain: DomainBuilder, staff: list[str]) -> None:
    """Six administrators, three of them only through groups in groups."""
    users = f"CN=Users,{BASE_DN}"
    admins = {
        name: _add_account(domain, name, _ADMINS_OU, control, adminCount=1, **values)
        for name, control, values in (
            ("adm-alice", _NORMAL | _NO_DELEGATION, {}),
            ("adm-bob", _NORMAL, {"pwdLastSet": "{{filetime-900d}}"}),
            ("adm-carol", _NORMAL | _NEVER_EXPIRES, {}),
            ("adm-dave", _NORMAL, {"servicePrincipalName": "HTTP/adm.ad.northfield.example"}),
            ("adm-eve", _NORMAL, {"lastLogonTimestamp": "{{filetime-300d}}"}),
            ("adm-frank", _NORMAL | _NO_DELEGATION, {}),
        )
    }
    tier, desk = (_add_group(domain, name, _ADMINS_OU) for name in ("GRP-TRUST-Tier0", "GRP-TRUST-HelpDesk"))
    direct = [admins[name] for name in ("adm-alice", "adm-bob", "adm-carol")]
    domain.append(f"CN=Domain Admins,{users}", "member", *direct, tier)
    domain.append(tier, "member", admins["adm-dave"], admins["adm-eve"], desk)
    domain.append(desk, "member", admins["adm-frank"])
    domain.append(f"CN=Protected Users,{users}", "member", admins["adm-alice"])
    domain.plant("domain-admin", "Administrator", *admins)
    domain.plant("group-in-domain-admins", "GRP-TRUST-Tier0", "GRP-TRUST-HelpDesk")
    domain.plant("kerberoastable-admin", "adm-dave")
    domain.plant("old-admin-password", "adm-bob")
    domain.plant("admin-password-never-expires", "adm-carol")
    domain.plant("stale-admin", "adm-eve")
    domain.plant("stale-user", "adm-eve")
    domain.append(f"CN=Backup Operators,CN=Builtin,{BASE_DN}", "member", staff[5])
    domain.set(staff[5], adminCount=1)
    domain.plant("operators-in-use", "Backup Operators")
    domain.plant("staff-account-with-rights", domain.get(staff[5], "sAMAccountName"))
