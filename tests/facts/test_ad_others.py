"""What stands beside people and computers, from answers in which something is hidden, odd, missing or far away."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from agent.demo.ldap_entry import sid_bytes
from agent.facts import ad
from agent.facts.ad import accounts, domain, services
from agent.facts.ad import values as v
from agent.facts.ad.directory import Entry, Found
from agent.facts.ad.row import NotSeen, Row
from agent.facts.protocol import Limits
from agent.model import Partial, Reason, Unknown
from tests.facts.test_ad import BASE, CONTEXTS, Recorded

CONFIG = CONTEXTS["config"]
ADMIN = [sid_bytes("S-1-5-21-1-2-3-500"), sid_bytes("S-1-5-32-544")]
GUID = "hex:00112233445566778899aabbccddeeff"


class AsAdministrator(Recorded):
    """The same answers, and a token that says that nothing is hidden from this login."""

    def search(self, base: str, *args: Any, **more: Any) -> Found:
        found = super().search(base, *args, **more)
        if base == "":
            found.entries[0].attributes["tokengroups"] = ADMIN
        return found


def read(name: str, answers: dict[str, Any], *, admin: bool = False, lacks: tuple[str, ...] = (), **more: Any) -> Any:
    case = {"lacks": lacks, "answers": answers, **more}
    return ad.collect((AsAdministrator if admin else Recorded)(case), [name], Limits()).facts[name].value


def entry(dn: str, *classes: str, **attributes: str | list[str]) -> dict[str, Any]:
    listed = {k.replace("__", "-"): [x] if isinstance(x, str) else x for k, x in attributes.items()}
    return {"dn": dn, "attributes": {"objectClass": list(classes), "objectGUID": [GUID], **listed}}


def row(**attributes: list[bytes]) -> Row:
    return Row(Entry("CN=x", {k.replace("__", "-").lower(): x for k, x in attributes.items()}), frozenset())


def test_no_root_key_is_only_believed_of_an_administrator() -> None:
    site = {"configuration": [entry(f"CN=S,CN=Sites,{CONFIG}", "top", "site")]}
    assert read("root_key", site, admin=True) == {"exists": False, "where": "(none)"}
    assert read("root_key", site)["exists"] == Unknown(Reason.PERMISSION, "read CN=Master Root Keys")
    key = f"CN=7f,CN=Master Root Keys,{CONFIG}"
    site["configuration"].append(entry(key, "top", "msKds-ProvRootKey"))
    assert read("root_key", site) == {"exists": True, "where": key}


def test_no_unix_password_is_only_believed_of_an_administrator() -> None:
    assert read("unix_passwords", {}, admin=True) == []
    assert isinstance(read("unix_passwords", {}), Partial)
    one = {"unix_passwords": [{"dn": f"CN=a,{BASE}", "attributes": {"sAMAccountName": ["a"]}}]}
    assert [i["name"] for i in read("unix_passwords", one).items] == ["a"]


def test_recovery_keys_are_the_computers_above_them() -> None:
    dn = f"CN=2026-01-01T10:00:00-00:00\\{{1\\}},CN=OAK\\, LT1,OU=Büro / 1,{BASE}"
    keys = {"recovery_keys": [{"dn": dn, "attributes": {}}]}
    assert read("recovery_keys", keys)["computers"] == [f"CN=OAK\\, LT1,OU=Büro / 1,{BASE}"]


def test_a_hidden_container_of_the_system_is_in_doubt_where_it_matters() -> None:
    answers = {
        "places": [entry(f"CN=Users,{BASE}", "top", "container")],
        "system": [
            {"dn": f"CN=MicrosoftDNS,CN=System,{BASE}", "attributes": {}},
            {"dn": f"CN=BCKUPKEY_P Secret,CN=System,{BASE}", "attributes": {}},
            {"dn": f"CN=Password Settings Container,CN=System,{BASE}", "attributes": {}},
        ],
    }
    assert isinstance(read("containers", answers), Partial)
    assert read("trusts", answers) == []  # none of these is a trust
    answers["system"].append({"dn": f"CN=old.example,CN=System,{BASE}", "attributes": {}})
    assert isinstance(read("trusts", answers), Partial)


def test_deleted_accounts_are_believed_when_their_container_is_shown() -> None:
    top = f"CN=Deleted Objects,{BASE}"
    gone = entry(
        f"CN=a\\0ADEL:1,{top}", "top", "person", "user", sAMAccountName="a", whenChanged="20261123200000.0Z",
        objectSid="sid:S-1-5-21-1-2-3-1104",
    )  # fmt: skip
    assert isinstance(read("deleted_accounts", {"deleted": [{"dn": top, "attributes": {}}]}), Unknown)
    shown = read("deleted_accounts", {"deleted": [entry(top, "top", "container"), gone]})
    assert shown == [{"sid": "S-1-5-21-1-2-3-1104", "name": "a", "changed": "2026-11-23T20:00:00Z"}]
    assert read("deleted_accounts", {"deleted": [entry(top, "top", "container")]}) == []


def zone(name: str, *properties: tuple[int, bytes], part: str = "DomainDnsZones") -> dict[str, Any]:
    packed = [struct.pack("<IIIII", len(d), 1, 0, 1, n) + d + b"\0" for n, d in properties]
    hexed = ["hex:" + p.hex() for p in packed]
    return entry(
        f"DC={name},CN=MicrosoftDNS,DC={part},{BASE}",
        "top",
        "dnsZone",
        dc=name,
        **({"dNSProperty": hexed} if hexed else {}),
    )


def test_zones_by_what_their_properties_say() -> None:
    zones = read(
        "dns_zones",
        {
            "dns_domain": [
                zone("x.example", (1, b"\1\0\0\0"), (2, b"\2"), (0x40, b"\1\0\0\0")),
                zone("open.example", (2, b"\1")),
                zone("RootDNSServers", (2, b"\1")),
                zone("..TrustAnchors", (2, b"\1")),
            ],
            "dns_forest": [zone("_msdcs.x.example", part="ForestDnsZones")],
        },
    )
    assert [(z["name"], z["partition"], z["updates"], z["ageing"]) for z in zones] == [
        ("x.example", "domain", "secure", True),
        ("open.example", "domain", "anybody", False),
        ("_msdcs.x.example", "forest", "none", False),
    ]
    assert isinstance(read("dns_zones", {"dns_domain": [zone("x.example")]}), Partial)  # the forest's part is hidden


def test_templates_and_authorities_are_told_apart_and_hidden_ones_are_missed() -> None:
    pki = f"CN=Public Key Services,CN=Services,{CONFIG}"
    folder = f"CN=Certificate Templates,{pki}"
    answers = {
        "pki": [
            entry(folder, "top", "container"),
            entry(f"CN=Enrollment Services,{pki}", "top", "container"),
            entry(
                f"CN=WiFi,{folder}", "top", "pKICertificateTemplate", cn="WiFi", msPKI__Certificate__Name__Flag="65536",
                msPKI__Enrollment__Flag="524288", pKIExtendedKeyUsage="1.3.6.1.5.5.7.3.2",
            ),
            entry(f"CN=Old,{folder}", "top", "pKICertificateTemplate", cn="Old"),
            entry(f"CN=CA,CN=Enrollment Services,{pki}", "top", "pKIEnrollmentService", cn="CA"),
        ]
    }  # fmt: skip
    wifi, old = read("certificate_templates", answers)
    assert (wifi["name_supplied"], wifi["approved"], wifi["unstamped"], wifi["login"]) == (True, False, True, True)
    assert (old["any_purpose"], old["login"], old["signatures"], old["name_supplied"]) == (True, True, 0, False)
    assert wifi["grants"] == Unknown(Reason.PERMISSION, "read nTSecurityDescriptor")
    assert [a["name"] for a in read("certificate_authorities", answers)] == ["CA"]
    answers["pki"].append({"dn": f"CN=Hidden,{folder}", "attributes": {}})
    assert isinstance(read("certificate_templates", answers), Partial)
    assert isinstance(read("certificate_authorities", answers), list)
    assert read("certificate_templates", {}, admin=True, absent=["pki"]) == []
    assert isinstance(read("certificate_templates", {}, absent=["pki"]), Partial)


def test_addresses_are_kept_only_where_two_carry_one() -> None:
    people = [
        entry(
            f"CN=a,{BASE}", "user", sAMAccountName="a", mail="Ann@oak.example", proxyAddresses=["SMTP:ann@OAK.example"]
        ),
        entry(f"CN=b,{BASE}", "user", sAMAccountName="b", proxyAddresses=["smtp:ann@oak.example", "x500:/o=1/cn=b"]),
        entry(f"CN=c,{BASE}", "user", sAMAccountName="c", mail="cai@oak.example"),
    ]
    assert read("shared_addresses", {"users": people}) == [
        {"address": "ann@oak.example", "holders": [f"CN=a,{BASE}", f"CN=b,{BASE}"]}
    ]
    hidden = [*people, {"dn": f"CN=d,{BASE}", "attributes": {}}]
    found = read("shared_addresses", {"users": hidden})
    assert isinstance(found, Partial)
    assert len(found.items) == 1


@pytest.mark.parametrize(
    ("values", "weak"),
    [
        ([], False),
        ([b"X509:<I>DC=x,CN=CA<SR>1200000000AC"], False),
        ([b"x509:<ski>12ab"], False),
        ([b"X509:<SHA1-PUKEY>12ab"], False),
        ([b"Kerberos:a@X.EXAMPLE"], False),
        ([b"X509:<S>CN=someone"], True),
        ([b"X509:<I>DC=x,CN=CA<S>CN=someone"], True),
        ([b"X509:<RFC822>a@oak.example", b"X509:<SKI>12ab"], True),  # the strong one does not mend the other
    ],
)
def test_weak_certificate_mappings(values: list[bytes], weak: bool) -> None:
    take = accounts.USERS.takes["weak_mapping"]
    assert take.read(row(userAccountControl=[b"512"], altSecurityIdentities=values)) is weak


def test_laps_is_due_by_whichever_generation_is_in_use() -> None:
    take = accounts.COMPUTERS.takes["laps_expires"]
    old, new = [b"132000000000000000"], [b"134399587000000000"]
    both = row(userAccountControl=[b"4096"], msLAPS__PasswordExpirationTime=new, ms__Mcs__AdmPwdExpirationTime=old)
    assert take.read(both) == "2026-11-24T01:51:40Z"  # what is left of the old one does not count
    assert take.read(row(userAccountControl=[b"4096"], ms__Mcs__AdmPwdExpirationTime=old)) == v.filetime(old[0])
    assert take.read(row(userAccountControl=[b"4096"])) is None
    neither = Row(row(userAccountControl=[b"4096"]).entry, frozenset(a.lower() for a in accounts.LAPS))
    with pytest.raises(NotSeen, match="schema"):
        take.read(neither)


def test_who_reads_laps_passwords_needs_the_schema() -> None:
    ous = {"places": [entry(f"OU=A,{BASE}", "organizationalUnit", ou="A", nTSecurityDescriptor="hex:" + "00" * 20)]}
    lacking = read("ous", ous, lacks=("msLAPS-Password", "ms-Mcs-AdmPwd"))[0]["password_readers"]
    assert lacking.reason is Reason.NOT_SUPPORTED
    hidden = read("ous", ous)[0]["password_readers"]  # the schema object shows no schemaIDGUID
    assert hidden == Unknown(Reason.PERMISSION, "read schemaIDGUID of msLAPS-Password")


def test_key_credentials_that_are_not_shown_may_be_hidden() -> None:
    take = accounts.USERS.takes["key_credentials"]
    bare = row(userAccountControl=[b"512"])
    with pytest.raises(NotSeen, match="msDS-KeyCredentialLink"):
        take.read(bare)
    bare.whole = True
    assert take.read(bare) is False
    assert take.read(row(msDS__KeyCredentialLink=[b"B:8:00:CN=x"])) is True


def test_backups_by_replication_data() -> None:
    take = domain.DOMAIN.takes["backup"]
    moment = 13_439_958_700  # seconds since 1601

    def data(*kinds: int) -> bytes:
        return struct.pack("<IIII", 1, 0, len(kinds), 0) + b"".join(
            struct.pack("<IIQ16sQQ", k, 1, moment, bytes(16), 1, 1) for k in kinds
        )

    assert take.read(row(replPropertyMetaData=[data(3, 0x2004A)])) == "2026-11-24T01:51:40Z"
    assert take.read(row(replPropertyMetaData=[data(3)])) is None
    with pytest.raises(ValueError, match=r"replication|cut short"):
        take.read(row(replPropertyMetaData=[data(3, 4)[:-1]]))
    with pytest.raises(NotSeen):
        take.read(row())


@pytest.mark.parametrize(
    ("text", "open_"),
    [
        ("", 0),
        ("0000002", 0),  # that one has a control of its own
        ("00000021", 1),
        ("0000000001000000", 0),
        ("0000000001000001", 1),
        ("000000000100000f000220000002200000", 4),
    ],
)
def test_safety_switches(text: str, open_: int) -> None:
    values = {"dSHeuristics": [text.encode()]} if text else {}
    take = domain.DIRECTORY_SERVICE.takes["unsafe_switches"]
    assert len(take.read(row(objectGUID=[b"x" * 16], **values))) == open_


def test_a_role_whose_holder_was_deleted() -> None:
    take = domain.ROLES["schema"].takes["gone"]
    assert take.read(row(fSMORoleOwner=[b"CN=NTDS Settings\\0ADEL:7f2c,CN=DC9\\0ADEL:1,CN=Servers"])) is True
    assert take.read(row(fSMORoleOwner=[b"CN=NTDS Settings,CN=DC1,CN=Servers"])) is False


@pytest.mark.parametrize("raw", [b"-1", b"0", b"9223372036854775807", b"94354848000000000"])
def test_times_before_every_calendar_are_no_recent_sign_in(raw: bytes) -> None:
    """Never, the largest number, a time before 1601, and one in 1900."""
    shown = row(lastLogonTimestamp=[raw], userAccountControl=[b"512"])
    take = accounts.USERS.takes["last_logon"]
    if raw == b"-1":
        with pytest.raises(ValueError, match="1601"):
            take.read(shown)
    else:
        assert take.read(shown) in (None, "1900-01-01T00:00:00Z")


def test_names_of_every_kind_are_read_as_they_are() -> None:
    place = f"CN=Ö\\, Иван \\\\ / 山田,OU=A\\+B,{BASE}"
    shown = Row(
        Entry(place, {"samaccountname": ["山田".encode()], "objectsid": [sid_bytes("S-1-5-21-1-2-3-9")]}), frozenset()
    )
    assert accounts.USERS.takes["name"].read(shown) == "山田"
    assert accounts.USERS.takes["parent"].read(shown) == f"OU=A\\+B,{BASE}"
    assert services.CONFLICTS.takes["name"].read(Row(Entry(place, {}), frozenset())) == place
