"""The directory connection on two real servers (Samba's domain controller, OpenLDAP): the same answers as ldap3's own
decoder gives, every page of them, and Kerberos."""

from __future__ import annotations

import importlib.util
import ssl
from collections.abc import Iterator, Sequence

import pytest

from agent.connect.ldap import _load, open_ldap
from agent.errors import CredentialRefused
from agent.facts import ad
from agent.facts.protocol import Limits
from agent.model import Kind, Target, TargetState
from tests.lab.samba import SambaLab
from tests.lab.slapd import SlapdLab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

Shown = dict[str, dict[str, list[bytes]]]
ATTRIBUTES = """objectClass cn name sAMAccountName objectSid objectGUID userAccountControl whenCreated member memberOf
  servicePrincipalName description nTSecurityDescriptor pwdLastSet wellKnownObjects attributeTypes""".split()


@pytest.fixture(scope="module")
def slapd() -> Iterator[SlapdLab]:
    ready, why = SlapdLab.available()
    if not ready:
        pytest.skip(why)
    with SlapdLab().start(3000, 500, 5) as lab:
        yield lab


@pytest.fixture(scope="module")
def samba() -> Iterator[SambaLab]:
    ready, why = SambaLab.available()
    if not ready:
        pytest.skip(why)
    with SambaLab().start(seed=False, strong_auth="allow_sasl_over_tls") as lab:
        yield lab


def target(lab: SambaLab | SlapdLab, **more: str) -> Target:
    url, bind = (lab.url, lab.bind) if isinstance(lab, SlapdLab) else (lab.ldaps_url, lab.bind_upn)
    settings = {"url": url, "bind": bind, "password": "env:LAB", "ca_file": str(lab.ca_file), **more}
    return Target("trust-ad", Kind.DIRECTORY, "ad", None, settings)


def secret(lab: SambaLab | SlapdLab) -> dict[str, str]:
    return {"env:LAB": lab.password if isinstance(lab, SlapdLab) else lab.bind_password}


def ours(lab: SambaLab | SlapdLab, base: str, where: str, attributes: Sequence[str]) -> Shown:
    with open_ldap(target(lab), secret(lab).__getitem__, Limits(60)) as directory:
        found = directory.search(base, where, attributes)
    assert found.why is None
    return {e.dn: {k: sorted(v) for k, v in e.attributes.items() if v} for e in found.entries}


def theirs(lab: SambaLab | SlapdLab, base: str, where: str, attributes: Sequence[str]) -> Shown:
    _load()
    from ldap3 import NONE, SUBTREE, Connection, Server, Tls

    whole = target(lab).settings
    server = Server(lab.address, 636, use_ssl=True, tls=Tls(validate=ssl.CERT_NONE), get_info=NONE)
    password = secret(lab)["env:LAB"]
    with Connection(server, whole["bind"], password, auto_referrals=False, check_names=False) as connection:
        found = connection.extend.standard.paged_search(
            base, where, SUBTREE, attributes=list(attributes), paged_size=1000, generator=False
        )
    return {
        e["raw_dn"].decode(): {k.lower(): sorted(v) for k, v in e["raw_attributes"].items() if v}
        for e in found
        if e["type"] == "searchResEntry"
    }


def test_openldap_is_read_as_ldap3_reads_it(slapd: SlapdLab) -> None:
    whole = ours(slapd, slapd.base_dn, "(objectClass=*)", ATTRIBUTES[:-1])
    assert len(whole) > 3500
    assert whole == theirs(slapd, slapd.base_dn, "(objectClass=*)", ATTRIBUTES[:-1])


def test_samba_is_read_as_ldap3_reads_it(samba: SambaLab) -> None:
    for base in (samba.base_dn, f"CN=Configuration,{samba.base_dn}"):
        whole = ours(samba, base, "(objectClass=*)", ATTRIBUTES)
        assert len(whole) > 100
        assert whole == theirs(samba, base, "(objectClass=*)", ATTRIBUTES)


def test_a_directory_of_several_pages_is_collected_whole(slapd: SlapdLab) -> None:
    with open_ldap(target(slapd), secret(slapd).__getitem__, Limits(60)) as directory:
        collected = ad.collect(directory, list(ad.FACTS), Limits(60))
    assert collected.state is TargetState.COLLECTED
    assert len(collected.facts["users"].value) == 3002  # with the administrator and krbtgt
    assert len(collected.facts["computers"].value) == 501
    assert len(ad.plan(list(ad.FACTS))) <= 25


@pytest.mark.skipif(importlib.util.find_spec("gssapi") is None, reason="gssapi is not installed (extra: kerberos)")
@pytest.mark.parametrize("start_tls", [False, True])
def test_kerberos(samba: SambaLab, monkeypatch: pytest.MonkeyPatch, start_tls: bool) -> None:
    monkeypatch.setenv("KRB5_CONFIG", str(samba.krb5_config))
    name = f"Administrator@{samba.dns_domain.upper()}"
    url = samba.ldap_url if start_tls else samba.ldaps_url
    with open_ldap(
        target(samba, auth="kerberos", bind=name, url=url), secret(samba).__getitem__, Limits(30)
    ) as directory:
        found = directory.search(samba.base_dn, "(objectClass=domainDNS)", ["minPwdLength"], scope="base")
    assert len(found.entries) == 1
    with (
        pytest.raises(CredentialRefused, match="Kerberos refused"),
        open_ldap(target(samba, auth="kerberos", bind=name, url=url), lambda _: "wrong", Limits(30)),
    ):
        pass
