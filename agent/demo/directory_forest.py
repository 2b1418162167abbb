"""The parts of the stand-in domain that every domain has: containers, built-in groups, configuration, schema, DNS."""

from __future__ import annotations

import struct
import uuid

from agent.demo.descriptors import CONTROL_ACCESS, INHERIT, Ace
from agent.demo.directory_builder import AUTHENTICATED, SYSTEM, DomainBuilder
from agent.demo.ldap_entry import sid_bytes
from agent.demo.ldap_schema import active_directory_schema

GLOBAL, LOCAL, UNIVERSAL = -2147483646, -2147483643, -2147483640  # security groups, MS-ADTS 2.2.12
NEVER = "-9223372036854775808"
MINUTE = 60 * 10**7  # a minute in 100 ns steps

_USERS_GUID, _COMPUTERS_GUID = "A9D1CA15768811D1ADED00C04FD8D5CD", "AA312825768811D1ADED00C04FD8D5CD"
_ENROL = uuid.UUID("0e10c968-78fb-11d2-90d4-00c04f79dc55")
_REPLICATION = ("1131f6aa-9c07-11d1-f79f-00c04fc2dcd2", "1131f6ad-9c07-11d1-f79f-00c04fc2dcd2")
_CLIENT_AUTH, _SERVER_AUTH = "1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"

BASELINE_GPO = "{3F2504E0-4F89-41D3-9A0C-0305E82C3301}"
_DOMAIN_GPO, _CONTROLLERS_GPO = "{31B2F340-016D-11D2-945F-00C04FB984F9}", "{6AC1786C-016F-11D2-945F-00C04FB984F9}"
_PRINTERS_GPO = "{3F2504E0-4F89-41D3-9A0C-0305E82C3302}"

_DOMAIN_GROUPS = {
    "Domain Admins": (512, GLOBAL),
    "Domain Users": (513, GLOBAL),
    "Domain Guests": (514, GLOBAL),
    "Domain Computers": (515, GLOBAL),
    "Domain Controllers": (516, GLOBAL),
    "Cert Publishers": (517, LOCAL),
    "Schema Admins": (518, UNIVERSAL),
    "Enterprise Admins": (519, UNIVERSAL),
    "Group Policy Creator Owners": (520, GLOBAL),
    "Read-only Domain Controllers": (521, GLOBAL),
    "Protected Users": (525, GLOBAL),
    "Key Admins": (526, GLOBAL),
    "Enterprise Key Admins": (527, UNIVERSAL),
    "DnsAdmins": (1101, LOCAL),
}
_BUILTIN_GROUPS = {
    "Administrators": 544,
    "Users": 545,
    "Guests": 546,
    "Account Operators": 548,
    "Server Operators": 549,
    "Print Operators": 550,
    "Backup Operators": 551,
    "Pre-Windows 2000 Compatible Access": 554,
}


def gpo_link(domain: DomainBuilder, guid: str, options: int = 0) -> str:
    """One entry of a gPLink attribute; options: 1 disabled, 2 enforced."""
    return f"[LDAP://cn={guid},cn=policies,cn=system,{domain.base};{options}]"


def role_holder(domain: DomainBuilder) -> str:
    """The one server that holds all five roles, as their objects name it."""
    return f"CN=NTDS Settings,CN=DC1,CN=Servers,CN=Northfield,CN=Sites,{domain.config}"


def add_domain(domain: DomainBuilder) -> None:
    """The domain object, its containers, built-in accounts and groups, and two domain controllers."""
    base = domain.base
    replicate = [
        Ace(sid, CONTROL_ACCESS, object_type=uuid.UUID(right))
        for right in _REPLICATION
        for sid in (f"{domain.sid}-516", "S-1-5-32-544", "S-1-5-9")
    ]
    backup = (
        "<DS_REPL_ATTR_META_DATA><pszAttributeName>dSASignature</pszAttributeName><dwVersion>41</dwVersion>"
        f"<ftimeLastOriginatingChange>{domain.now:%Y-%m-%d}T00:05:00Z</ftimeLastOriginatingChange>"
        "</DS_REPL_ATTR_META_DATA>"
    )
    # Seconds since 1601 in an entry of replication data, by MS-DRSR 5.165: dSASignature is written by every backup.
    signed = int(domain.now.timestamp()) + 11_644_473_600
    stamped = struct.pack("<IIII", 1, 0, 1, 0) + struct.pack("<IIQ16sQQ", 0x2004A, 41, signed, bytes(16), 1, 1)
    domain.add(
        base,
        "domainDNS",
        objectSid=sid_bytes(domain.sid),
        minPwdLength=7,
        pwdHistoryLength=24,
        pwdProperties=1,
        lockoutThreshold=0,
        lockoutDuration=-30 * MINUTE,
        lockOutObservationWindow=-30 * MINUTE,
        maxPwdAge=NEVER,
        minPwdAge=-24 * 60 * MINUTE,
        ms_DS_MachineAccountQuota=10,
        msDS_Behavior_Version=7,
        gPLink=gpo_link(domain, _DOMAIN_GPO),
        wellKnownObjects=[
            f"B:32:{_USERS_GUID}:CN=Users,{base}",
            f"B:32:{_COMPUTERS_GUID}:CN=Computers,{base}",
        ],
        msDS_ReplAttributeMetaData=backup,
        replPropertyMetaData=stamped,
        fSMORoleOwner=role_holder(domain),
        nTSecurityDescriptor=domain.protection(*replicate),
    )
    domain.plant("short-minimum-password", base)
    domain.plant("no-lockout", base)
    domain.plant("machine-account-quota", base)
    for name in ("Users", "Computers", "Builtin", "System", "ForeignSecurityPrincipals"):
        kind = "builtinDomain" if name == "Builtin" else "container"
        domain.add(f"CN={name},{base}", kind, nTSecurityDescriptor=domain.protection())
    for name, (rid, group_type) in _DOMAIN_GROUPS.items():
        domain.add(
            f"CN={name},CN=Users,{base}", "group", rid=rid, sAMAccountName=name, groupType=group_type,
            isCriticalSystemObject="TRUE",
        )  # fmt: skip
    for name, rid in _BUILTIN_GROUPS.items():
        domain.add(
            f"CN={name},CN=Builtin,{base}", "group", objectSid=sid_bytes(f"S-1-5-32-{rid}"), sAMAccountName=name,
            groupType=LOCAL, isCriticalSystemObject="TRUE",
        )  # fmt: skip
    for name in ("Domain Admins", "Enterprise Admins"):
        domain.append(f"CN=Administrators,CN=Builtin,{base}", "member", f"CN={name},CN=Users,{base}")
    domain.add(f"CN=Infrastructure,{base}", "infrastructureUpdate", fSMORoleOwner=role_holder(domain))
    members = domain.add(
        f"CN=S-1-5-11,CN=ForeignSecurityPrincipals,{base}", "foreignSecurityPrincipal",
        objectSid=sid_bytes(AUTHENTICATED),
    )  # fmt: skip
    domain.append(f"CN=Users,CN=Builtin,{base}", "member", members, f"CN=Domain Users,CN=Users,{base}")
    controllers = domain.add(
        f"OU=Domain Controllers,{base}", "organizationalUnit", gPLink=gpo_link(domain, _CONTROLLERS_GPO),
        nTSecurityDescriptor=domain.protection(),
    )  # fmt: skip
    for number in (1, 2):
        name = f"DC{number}"
        domain.add(
            f"CN={name},{controllers}",
            "computer",
            rid=1000 if number == 1 else 1102,
            sAMAccountName=f"{name}$",
            userAccountControl=532480,  # a domain controller, trusted for delegation
            primaryGroupID=516,
            dNSHostName=f"{name.lower()}.ad.northfield.example",
            operatingSystem="Windows Server 2022 Standard",
            operatingSystemVersion="10.0 (20348)",
            servicePrincipalName=[f"HOST/{name}", f"ldap/{name.lower()}.ad.northfield.example"],
            pwdLastSet="{{filetime-12d}}",
            lastLogonTimestamp="{{filetime-2d}}",
            isCriticalSystemObject="TRUE",
            nTSecurityDescriptor=domain.protection(),
        )


def add_system(domain: DomainBuilder, auditor: str) -> None:
    """What is under CN=System: AdminSDHolder, policies, password settings.

    As on a real domain, an ordinary account (`auditor`) sees that there is a place for password settings, and no more.
    """
    system = f"CN=System,{domain.base}"
    domain.add(f"CN=AdminSDHolder,{system}", "container", nTSecurityDescriptor=domain.protection(protected=True))
    domain.add(f"CN=Policies,{system}", "container", nTSecurityDescriptor=domain.protection())
    domain.add(f"CN=RID Manager$,{system}", "rIDManager", fSMORoleOwner=role_holder(domain))
    policies = {
        _DOMAIN_GPO: "Default Domain Policy",
        _CONTROLLERS_GPO: "Default Domain Controllers Policy",
        BASELINE_GPO: "Trust-Baseline",
        _PRINTERS_GPO: "Old-Printers",
    }
    for guid, title in policies.items():
        domain.add(
            f"CN={guid},CN=Policies,{system}", "groupPolicyContainer", displayName=title, versionNumber=65537, flags=0,
            gPCFileSysPath=rf"\\ad.northfield.example\sysvol\ad.northfield.example\Policies\{guid}",
            nTSecurityDescriptor=domain.protection(),
        )  # fmt: skip
    domain.plant("unlinked-gpo", "Old-Printers")
    settings = domain.add(
        f"CN=Password Settings Container,{system}", "msDS-PasswordSettingsContainer", bare_for=[auditor]
    )
    domain.add(
        f"CN=PSO-Admins,{settings}",
        "msDS-PasswordSettings",
        hidden_from=[auditor],
        msDS_PasswordSettingsPrecedence=10,
        msDS_PasswordReversibleEncryptionEnabled="FALSE",
        msDS_PasswordHistoryLength=24,
        msDS_PasswordComplexityEnabled="TRUE",
        msDS_MinimumPasswordLength=15,
        msDS_MinimumPasswordAge=0,
        msDS_MaximumPasswordAge=NEVER,
        msDS_LockoutThreshold=5,
        msDS_LockoutObservationWindow=-30 * MINUTE,
        msDS_LockoutDuration=-30 * MINUTE,
        msDS_PSOAppliesTo=f"CN=Domain Admins,CN=Users,{domain.base}",
    )


def add_configuration(domain: DomainBuilder, suffixes: list[str]) -> None:
    """The configuration partition: features, sites, certificate services, key distribution."""
    config = domain.config
    domain.add(config, "configuration")
    services = domain.add(f"CN=Services,{config}", "container")
    partitions = domain.add(
        f"CN=Partitions,{config}", "crossRefContainer", uPNSuffixes=suffixes, msDS_Behavior_Version=7,
        fSMORoleOwner=role_holder(domain),
        msDS_EnabledFeature=(
            f"CN=Recycle Bin Feature,CN=Optional Features,CN=Directory Service,CN=Windows NT,CN=Services,{config}"
        ),
    )  # fmt: skip
    domain.add(
        f"CN=NORTHFIELD,{partitions}", "crossRef", nETBIOSName="NORTHFIELD", nCName=domain.base,
        dnsRoot="ad.northfield.example",
    )  # fmt: skip
    windows = domain.add(f"CN=Windows NT,{services}", "container")
    domain.add(f"CN=Directory Service,{windows}", "nTDSService", tombstoneLifetime=180)
    sites = domain.add(f"CN=Sites,{config}", "sitesContainer")
    first = domain.add(f"CN=Northfield,{sites}", "site")
    subnets = domain.add(f"CN=Subnets,{sites}", "subnetContainer")
    for network in ("10.20.0.0/16", "10.30.0.0/16"):
        domain.add(f"CN={network},{subnets}", "subnet", siteObject=first)
    domain.add(f"CN=10.40.0.0/16,{subnets}", "subnet")
    domain.plant("subnet-without-site", "10.40.0.0/16")
    keys = domain.add(f"CN=Group Key Distribution Service,{services}", "container")
    domain.add(f"CN=Master Root Keys,{keys}", "container")
    domain.add(
        f"CN=7f2c4b1e-6a0d-4d5b-9c3e-1f2a3b4c5d6e,CN=Master Root Keys,{keys}", "msKds-ProvRootKey",
        msKds_UseStartTime="{{filetime-600d}}",
    )  # fmt: skip
    _add_pki(domain, services)


def _add_pki(domain: DomainBuilder, services: str) -> None:
    pki = domain.add(f"CN=Public Key Services,{services}", "container")
    templates = domain.add(f"CN=Certificate Templates,{pki}", "container")
    users, admins = f"{domain.sid}-513", f"{domain.sid}-512"
    for name, name_flag, usage, who in (
        ("WebServer", 1, _SERVER_AUTH, admins),
        ("SchoolWiFi", 1, _CLIENT_AUTH, users),  # anybody may ask for a certificate in any name
        ("User", 0x02000000, _CLIENT_AUTH, users),
    ):
        domain.add(
            f"CN={name},{templates}",
            "pKICertificateTemplate",
            displayName=name,
            revision=100,
            msPKI_RA_Signature=0,
            msPKI_Template_Schema_Version=2,
            msPKI_Certificate_Name_Flag=name_flag,
            msPKI_Enrollment_Flag=0,
            pKIExtendedKeyUsage=usage,
            nTSecurityDescriptor=domain.protection(Ace(who, CONTROL_ACCESS, object_type=_ENROL)),
        )
    domain.plant("certificate-template-in-any-name", "SchoolWiFi")
    enrolment = domain.add(f"CN=Enrollment Services,{pki}", "container")
    domain.add(
        f"CN=NORTHFIELD-CA,{enrolment}", "pKIEnrollmentService", dNSHostName="dc1.ad.northfield.example",
        certificateTemplates=["WebServer", "SchoolWiFi", "User"],
    )  # fmt: skip


def add_dns(domain: DomainBuilder) -> None:
    """The partitions of DNS zones, each with a zone of secure updates and ageing on, and the place before those."""
    for part, zone in (("Domain", "ad.northfield.example"), ("Forest", "_msdcs.ad.northfield.example")):
        zones = domain.add(f"DC={part}DnsZones,{domain.base}", "domainDNS")
        dns = domain.add(f"CN=MicrosoftDNS,{zones}", "container", nTSecurityDescriptor=domain.protection())
        domain.add(
            f"DC={zone},{dns}",
            "dnsZone",
            # MS-DNSP 2.3.2.1: type, allow updates (2 secure), ageing on
            dNSProperty=[
                _zone_property(0x01, b"\x01\0\0\0"),
                _zone_property(0x02, b"\x02"),
                _zone_property(0x40, b"\x01\0\0\0"),
            ],
            nTSecurityDescriptor=domain.protection(Ace(SYSTEM, CONTROL_ACCESS, flags=INHERIT)),
        )
    domain.add(f"CN=MicrosoftDNS,CN=System,{domain.base}", "container", nTSecurityDescriptor=domain.protection())


def _zone_property(number: int, data: bytes) -> bytes:
    return struct.pack("<IIIII", len(data), 1, 0, 1, number) + data + b"\0"


def _schema_guid(oid: str) -> bytes:
    """Made up, but always the same for the same attribute or class."""
    return uuid.uuid5(uuid.NAMESPACE_OID, oid).bytes_le


def add_schema(domain: DomainBuilder) -> None:
    """The schema partition: each attribute and class as an object, and all of them in CN=Aggregate."""
    schema = active_directory_schema()
    domain.add(domain.schema, "dMD", objectVersion=88, fSMORoleOwner=role_holder(domain))
    seen = set()
    for kind in schema.attributes.values():
        if kind.name in seen:
            continue
        seen.add(kind.name)
        domain.add(
            f"CN={kind.name},{domain.schema}", "attributeSchema", lDAPDisplayName=kind.name, attributeID=kind.oid,
            isSingleValued="TRUE" if kind.single else "FALSE", schemaIDGUID=_schema_guid(kind.oid),
        )  # fmt: skip
    for name, oid in schema.classes.values():
        if name not in seen:
            domain.add(
                f"CN={name},{domain.schema}",
                "classSchema",
                lDAPDisplayName=name,
                governsID=oid,
                schemaIDGUID=_schema_guid(oid),
            )
        else:  # an attribute has the same name, and so the same place
            domain.add(
                f"CN={name}-Class,{domain.schema}",
                "classSchema",
                lDAPDisplayName=name,
                governsID=oid,
                schemaIDGUID=_schema_guid(oid),
            )
    domain.add(f"CN=Aggregate,{domain.schema}", "subSchema", schema.definitions)
