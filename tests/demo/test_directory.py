"""The stand-in domain: that it hangs together, and that a real client finds what was planted and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.demo import directory
from agent.demo import ldap_wire as wire
from agent.demo.certs import issue, make_ca
from agent.demo.descriptors import Ace, descriptor
from agent.demo.directory import AUDITOR, BASE_DN, DELEGATED_AUDITOR, StandInDomain, stand_in_domain
from agent.demo.ldap_entry import Entry, dn_key, sid_bytes
from agent.demo.ldap_server import DirectoryServer
from agent.demo.ldap_tree import DirectoryTree, Selection, project
from tests.demo.test_ldap_filter import sent

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
PERSON = "(objectCategory=person)(objectClass=user)"
ENABLED = "(!(userAccountControl:1.2.840.113556.1.4.803:=2))"


@pytest.fixture(scope="module")
def domain() -> StandInDomain:
    return stand_in_domain(NOW)


@pytest.fixture(scope="module")
def tree(domain: StandInDomain) -> DirectoryTree:
    return DirectoryTree(domain.entries)


def search(tree: DirectoryTree, text: str, base: str = BASE_DN, account: str = AUDITOR) -> list[Entry]:
    request = wire.Search(base, 2, 0, False, sent(text).filter, ())
    return list(tree.search(request, account).entries)


def labels(entries: list[Entry]) -> set[str]:
    return {(entry.text("sAMAccountName") or entry.dn).rstrip("$") for entry in entries}


def before(days: int) -> str:
    seconds = (NOW - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds() - days * 86400
    return str(int(seconds) * 10**7)


def test_the_same_moment_gives_the_same_domain(domain: StandInDomain) -> None:
    again = stand_in_domain(NOW)
    assert again == domain
    assert [entry.attributes for entry in again.entries] == [entry.attributes for entry in domain.entries]


def test_names_sids_and_memberships_hang_together(domain: StandInDomain) -> None:
    by_key = {entry.key: entry for entry in domain.entries}
    roots = {dn_key(BASE_DN)}
    assert all(entry.key[1:] in by_key for entry in domain.entries if entry.key not in roots)
    sids = [entry.values("objectSid")[0] for entry in domain.entries if entry.values("objectSid")]
    assert len(sids) == len(set(sids))
    ours = sid_bytes(directory.DOMAIN_SID)[8:]
    for entry in domain.entries:
        kinds = entry.values("objectClass")
        sid = entry.values("objectSid")
        if b"user" in kinds:
            assert sid[0][8:-4] == ours
        for group in entry.values("memberOf"):
            assert entry.dn.encode() in by_key[dn_key(group.decode())].values("member")
    assert len({entry.values("objectGUID")[0] for entry in domain.entries}) == len(domain.entries)


def test_its_size(tree: DirectoryTree) -> None:
    assert 75 <= len(search(tree, f"(&{PERSON}{ENABLED})", directory._SCHOOLS_OU)) <= 85
    assert 38 <= len(search(tree, "(objectCategory=computer)")) <= 44


DOMAIN_ADMINS = f"CN=Domain Admins,CN=Users,{BASE_DN}"


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("stale-user", f"(&{PERSON}{ENABLED}(lastLogonTimestamp<={before(90)}))"),
        ("password-not-required", f"(&{PERSON}{ENABLED}(userAccountControl:1.2.840.113556.1.4.803:=32))"),
        ("no-preauthentication", f"(&{PERSON}{ENABLED}(userAccountControl:1.2.840.113556.1.4.803:=4194304))"),
        ("kerberoastable-admin", f"(&{PERSON}{ENABLED}(adminCount=1)(servicePrincipalName=*))"),
        (
            "weak-service-encryption",
            f"(&{PERSON}{ENABLED}(servicePrincipalName=*)(!(adminCount=1))"
            "(!(msDS-SupportedEncryptionTypes:1.2.840.113556.1.4.804:=24)))",
        ),
        (
            "unconstrained-delegation",
            "(&(userAccountControl:1.2.840.113556.1.4.803:=524288)(!(userAccountControl:1.2.840.113556.1.4.803:=8192)))",
        ),
        ("machine-account-quota", "(&(objectClass=domainDNS)(ms-DS-MachineAccountQuota>=1))"),
        ("short-minimum-password", "(&(objectClass=domainDNS)(minPwdLength<=11))"),
        ("no-lockout", "(&(objectClass=domainDNS)(lockoutThreshold=0))"),
        ("stale-computer", f"(&(objectCategory=computer)(lastLogonTimestamp<={before(90)}))"),
        ("unsupported-system", "(&(objectCategory=computer)(operatingSystem=Windows 7*))"),
        (
            "no-laps",
            "(&(objectCategory=computer)(primaryGroupID=515)(operatingSystem=Windows*)(!(msLAPS-PasswordExpirationTime=*)))",
        ),
        ("laps-overdue", f"(msLAPS-PasswordExpirationTime<={before(30)})"),
        ("password-in-description", "(&(objectClass=user)(description=*password*))"),
        ("expired-but-enabled", f"(&{PERSON}{ENABLED}(accountExpires>=1)(accountExpires<={before(0)}))"),
        ("never-used", f"(&{PERSON}{ENABLED}(!(lastLogonTimestamp=*))(whenCreated<=20261001000000.0Z))"),
        ("krbtgt-password-old", f"(&(sAMAccountName=krbtgt)(pwdLastSet<={before(180)}))"),
        ("wrong-suffix", "(&(objectClass=user)(userPrincipalName=*@ad.northfield.example))"),
    ],
)
def test_what_was_planted_is_found_and_nothing_else(
    domain: StandInDomain, tree: DirectoryTree, what: str, text: str
) -> None:
    assert labels(search(tree, text)) == set(domain.planted[what])


def test_what_the_plain_auditor_cannot_see(tree: DirectoryTree) -> None:
    for text in ("(objectClass=msDS-PasswordSettings)", "(objectClass=msFVE-RecoveryInformation)"):
        assert search(tree, text) == []
        assert search(tree, text, account=DELEGATED_AUDITOR) != []


def test_a_place_whose_inside_is_hidden_shows_its_name_only(domain: StandInDomain, tree: DirectoryTree) -> None:
    (place,) = search(tree, "(objectClass=*)", f"CN=Password Settings Container,CN=System,{BASE_DN}")
    wanted = Selection(True, (), False, True, 1500)
    assert project(place, wanted, AUDITOR) == []
    assert "objectClass" in dict(project(place, wanted, DELEGATED_AUDITOR))
    assert search(tree, "(cn=*)", place.dn) == []


def test_the_schema_can_be_read(tree: DirectoryTree) -> None:
    schema = f"CN=Schema,CN=Configuration,{BASE_DN}"
    names = {entry.text("lDAPDisplayName") for entry in search(tree, "(objectClass=attributeSchema)", schema)}
    assert names >= {"sAMAccountName", "msLAPS-PasswordExpirationTime", "msDS-KeyCredentialLink"}
    classes = {entry.text("lDAPDisplayName") for entry in search(tree, "(objectClass=classSchema)", schema)}
    assert classes >= {"user", "msDS-GroupManagedServiceAccount", "pKICertificateTemplate"}


def test_everything_in_it_is_known_to_its_schema(domain: StandInDomain, tree: DirectoryTree) -> None:
    used = {name for entry in domain.entries for name in entry.attributes}
    assert {name for name in used if tree.schema.attribute(name) is None} == set()
    classes = {held.decode() for entry in domain.entries for held in entry.values("objectClass")}
    assert {name for name in classes if name.lower() not in tree.schema.classes} == set()


def test_a_descriptor_byte_for_byte() -> None:
    made = descriptor("S-1-5-18", "S-1-5-32-544", [Ace("S-1-1-0", 0x20094), Ace("S-1-1-0", 0x10040, deny=True)])
    assert made.hex() == (
        "010004804400000050000000000000001400000004003000"
        "02000000010014004000010001010000000000010000000000001400"
        "94000200010100000000000100000000"
        "010100000000000512000000"
        "01020000000000052000000020020000"
    )


def test_it_can_be_served(domain: StandInDomain, tmp_path: Path) -> None:
    authority = make_ca(tmp_path, "ca")
    with DirectoryServer(domain.entries, directory.ACCOUNTS, *issue(tmp_path, authority, ["localhost"])) as server:
        assert server.tree.base_dn == BASE_DN
        assert server.tree.netbios_name() == "NORTHFIELD"
