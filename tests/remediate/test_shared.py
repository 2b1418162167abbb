"""Directories and tenants in a bundle: how they are reached, that no secret comes along, and how they are undone."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent import trust as trusts
from agent.baseline import load_policy
from agent.errors import ConfigError, SecretError
from agent.model import Finding, Offender, Verdict
from agent.plan import Planner, Selection
from agent.remediate import TRUST, BundleInfo, bundle, shared
from agent.remediate.gather import _with_parameters, collections
from agent.remediate.run import Line, Place, Seen, _late, credentials
from agent.resources import data_dir
from agent.store import Store
from tests.remediate import world

FILE = """\
name: Northfield Trust
profile: own
schools:
  oak:
    name: Oakfield
    code: OAK
    directory: {use: trust-ad, ou: "OU=OAK,DC=x", upn_suffix: oak.example}
    tenant: {use: cloud, domains: [oak.example]}
directories:
  trust-ad: {url: [ldaps://dc1.x, ldaps://dc2.x], bind: audit@x, password: env:READ_PW%(ad)s}
tenants:
  cloud: {tenant_id: t-1, client_id: reader, secret: env:READ_SECRET%(m365)s}
"""
PROFILE = "id: own\ncontrols: [ad.stale-users, ad.machine-account-quota, m365.app-registration]\n"
SID = "S-1-5-21-1-2-3-1104"


def planner(folder: Path, ad: str = "", m365: str = "") -> Planner:
    (folder / "profiles").mkdir(parents=True, exist_ok=True)
    (folder / "profiles/own.yml").write_text(PROFILE)
    (folder / "trust.yml").write_text(FILE % {"ad": ad, "m365": m365})
    return Planner(trusts.load(folder), load_policy(folder))


def fail(control: str, target: str, school: str | None, *keys: str) -> Finding:
    found = tuple(Offender(k, k) for k in keys)
    return Finding(control, 1, target, school, Verdict.FAIL, offenders=found, offender_count=len(found), digest="d")


FOUND = (
    fail("ad.stale-users", "trust-ad", "oak", SID, *world.HOSTILE),
    fail("ad.machine-account-quota", "trust-ad", None),
    fail("m365.app-registration", "cloud", None),
)


def built(folder: Path, ad: str = "", m365: str = "") -> dict[str | None, BundleInfo]:
    made = planner(folder, ad, m365)
    with Store.open(made.trust.hidden) as store:
        world.save(made, store, FOUND)
        return {i.school: i for i in bundle(made, store, Selection(), folder / "out", world.TODAY)}


def hosts(info: BundleInfo) -> Any:
    return yaml.safe_load((info.folder / "inventory.yml").read_text())["all"]["hosts"]


@pytest.fixture(scope="module")
def infos(tmp_path_factory: pytest.TempPathFactory) -> dict[str | None, BundleInfo]:
    return built(tmp_path_factory.mktemp("shared"))


def test_they_are_hosts_that_are_changed_from_here(infos: dict[str | None, BundleInfo]) -> None:
    assert infos[None].folder.name == TRUST
    reached = hosts(infos[None])
    assert reached["trust-ad"] == {
        "ansible_connection": "local",
        "ansible_pipelining": True,
        "ansible_python_interpreter": "/usr/bin/python3",
        "sl_ldap_bind": "audit@x",
        "sl_ldap_password": "{{ lookup('env', 'READ_PW') }}",
        "sl_ldap_starttls": False,
        "sl_ldap_url": "ldaps://dc1.x ldaps://dc2.x",
    }
    assert reached["cloud"] == {
        "ansible_connection": "local",
        "ansible_pipelining": True,
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "sl_graph_authority": "https://login.microsoftonline.com/t-1",
        "sl_graph_client": "reader",
        "sl_graph_secret": "{{ lookup('env', 'READ_SECRET') }}",
        "sl_graph_url": "https://graph.microsoft.com",
    }
    assert [s.control for s in infos["oak"].content.steps] == ["ad.stale-users"]


def test_plays(infos: dict[str | None, BundleInfo]) -> None:
    plays = yaml.safe_load((infos[None].folder / "site.yml").read_text())
    assert [p["hosts"] for p in plays] == [
        "sl_directories",
        "sl_tenants",
        "fix_ad_machine_account_quota",
        "fix_m365_app_registration",
        "all",
    ]
    assert not any(p.get("become") or p.get("gather_facts") for p in plays)
    assert plays[2]["module_defaults"]["community.general.ldap_attrs"]["referrals_chasing"] == "disabled"
    undo = yaml.safe_load((infos[None].folder / "undo.yml").read_text())
    assert [p["hosts"] for p in undo] == ["sl_directories", "sl_tenants"]
    for name in ("tasks/ad/undo.yml", "tasks/ad/roots.yml", "tasks/m365/undo.yml", "tasks/m365/token.yml"):
        assert (infos[None].folder / name).is_file()
    assert yaml.safe_load((infos["oak"].folder / "requirements.yml").read_text()) == {
        "collections": [{"name": "community.general", "version": "11.4.2"}]
    }


def test_offenders_are_filters_of_one_object_each(infos: dict[str | None, BundleInfo]) -> None:
    text = (infos["oak"].folder / "host_vars/trust-ad.yml").read_text()
    assert f'!unsafe "(objectSid={SID})"' in text
    assert "{{" not in text
    assert "lookup" in text, "the hostile name is there, as data"


@pytest.mark.parametrize("key", [*world.HOSTILE, "CN=a*)(objectClass=*", "CN=Müller\\, Jo,OU=x", "S-1-5-21-1)(cn=*"])
def test_a_clause_holds_whatever_the_key_holds(key: str) -> None:
    text = shared.clause(key)
    assert text.startswith("(distinguishedName=")
    assert text.count("(") == text.count(")") == 1
    assert not set(text[1:-1]) & set("*{}%\x00\n\"'`$;|&")
    raw = bytearray()
    value = text[len("(distinguishedName=") : -1]
    while value:
        step = 3 if value[0] == "\\" else 1
        raw += bytes.fromhex(value[1:3]) if step == 3 else value[0].encode()
        value = value[step:]
    assert raw.decode() == key


def test_clauses_of_identifiers() -> None:
    assert shared.clause(SID) == f"(objectSid={SID})"
    one = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
    assert shared.clause(str(one)) == "(objectGUID=" + "".join(f"\\{b:02x}" for b in one.bytes_le) + ")"


def test_a_login_of_its_own_for_fixes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = built(
        tmp_path / "t",
        ", fix: {bind: fixer@x, password: keyring:ad/fixer}",
        ", fix: {client_id: writer, certificate: file:secrets/fix.pem}",
    )
    reached = hosts(own[None])
    assert reached["trust-ad"]["sl_ldap_bind"] == "fixer@x"
    assert "sl_ldap_password" not in reached["trust-ad"]
    assert reached["cloud"]["sl_graph_client"] == "writer"
    assert reached["cloud"]["sl_graph_certificate"] == str(tmp_path / "t/secrets/fix.pem")
    assert "sl_graph_secret" not in reached["cloud"]
    readme = (own[None].folder / "README.md").read_text()
    assert "`sl_ldap_password` (a credential): `trust-ad`" in readme
    assert "- Needs: `Policy.ReadWrite.Authorization`" in readme
    everything = "".join(p.read_text() for f in own.values() for p in f.folder.rglob("*") if p.is_file())
    assert "keyring:" not in everything
    assert "READ_PW" not in everything
    with pytest.raises(SecretError):
        credentials(own["oak"], planner(tmp_path / "t", ", fix: {bind: fixer@x, password: env:NOT_SET_HERE}"))
    monkeypatch.setenv("FIX_PW", "geheim")
    made = built(tmp_path / "u", ", fix: {bind: fixer@x, password: env:FIX_PW}")
    assert credentials(made["oak"], planner(tmp_path / "u")) == {"trust-ad": {"sl_ldap_password": "geheim"}}


@pytest.mark.parametrize(
    "fix", [", fix: {bind: b, password: literal}", ", fix: {bind: b}", ", fix: {password: env:X}", ", fix: {}"]
)
def test_a_login_for_fixes_is_whole_and_a_reference(tmp_path: Path, fix: str) -> None:
    with pytest.raises((ConfigError, SecretError)):
        planner(tmp_path, fix)


def test_a_machine_with_the_directorys_name_is_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    (folder / "inventories").mkdir(parents=True)
    (folder / "inventories/oak.yml").write_text("all: {hosts: {trust-ad: {ansible_connection: local}}}\n")
    made = planner(folder)
    text = (folder / "trust.yml").read_text().replace("code: OAK", "code: OAK\n    inventory: inventories/oak.yml")
    (folder / "trust.yml").write_text(text)
    (folder / "profiles/own.yml").write_text("id: own\ncontrols: [ad.stale-users, linux.ip-forward]\n")
    made = Planner(trusts.load(folder), load_policy(folder))
    machine = Finding("linux.ip-forward", 1, "oak/trust-ad", "oak", Verdict.FAIL, digest="d")
    with Store.open(made.trust.hidden) as store:
        world.save(made, store, [machine, fail("ad.stale-users", "trust-ad", "oak", SID)])
        (info,) = bundle(made, store, Selection(), folder / "out", world.TODAY)
    assert len(info.content.steps) == 1
    assert "have this one name" in info.content.left_out[0]


def test_values_of_the_baseline_in_variables() -> None:
    values = {"days": "3 weeks", "n": 12, "words": ["a"]}
    assert _with_parameters({"a": [{"param": "n"}, "x"]}, values) == {"a": [12, "x"]}
    assert _with_parameters({"days": {"param": "days"}}, values) == 21
    assert _with_parameters({"join": ["(x>=", {"param": "n"}, ")"]}, values) == "(x>=12)"


def test_collections_that_a_task_file_names() -> None:
    assert collections(data_dir("playbooks") / "ad/find.yml") == {"community.general"}
    assert collections(data_dir("playbooks") / "m365/get.yml") == set()


def test_a_tenants_change_that_does_not_show_yet_is_looked_for_again(tmp_path: Path) -> None:
    made = planner(tmp_path)
    setting: Place = ("cloud", "m365.app-registration", None)
    policy: Place = ("cloud", "m365.mfa-admins", None)
    directory: Place = ("trust-ad", "ad.machine-account-quota", None)
    did = {p: Line(p[1], p[0], Seen.CHANGED) for p in (setting, policy, directory)}
    assert _late(made, did, dict.fromkeys(did, Verdict.FAIL)) == ("cloud",)
    staged = {**dict.fromkeys(did, Verdict.FAIL), setting: Verdict.PASS}
    assert _late(made, did, staged) == (), "a policy that only watches so far fails on, and a directory does not lag"
    assert _late(made, {setting: Line(setting[1], "cloud", Seen.RIGHT)}, {setting: Verdict.FAIL}) == ()
