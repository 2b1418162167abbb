"""Derived facts of a directory beside who is an administrator: special groups, services, keys, policies."""

from __future__ import annotations

from typing import Any

import pytest

from agent.conform import conform
from agent.derive import View
from agent.facttypes import REGISTRY
from agent.model import Partial, Reason, School, Unknown
from tests.derive.test_ad import D, S, group, user, view

HIDDEN = Unknown(Reason.PERMISSION, "see it")
POLICIES = f"CN=Policies,CN=System,{D}"


def items(of: View, fact: str) -> list[dict[str, Any]]:
    value = of.get(fact)
    assert conform(value, REGISTRY.spec_of("ad", fact).type, False) == value
    return list(of.items(fact)[0])


def why(of: View, fact: str) -> Unknown | None:
    return of.items(fact)[1]


def special(name: str, sid: str, *members: str) -> dict[str, Any]:
    rid = int(sid.rpartition("-")[2])
    return {"sid": sid, "rid": rid, "dn": f"CN={name},{D}", "name": name, "members": list(members)}


ALWAYS = (
    special("Pre2000", "S-1-5-32-554"),
    special("Zertifikatherausgeber", f"{S}-517"),  # by number, in any language
)


def test_who_is_in_the_special_groups() -> None:
    pc = {"sid": f"{S}-1200", "dn": f"CN=CA1,{D}", "name": "CA1", "primary_group": 515}
    looked = view(
        group("Backup Operators", "anna"),
        special("Pre2000", "S-1-5-32-554", f"CN=S-1-5-11,CN=ForeignSecurityPrincipals,{D}"),
        special("Zertifikatherausgeber", f"{S}-517", f"CN=CA1,{D}"),
        special("DnsAdmins", f"{S}-1101", f"CN=S-1-5-21-9-9-9-1,CN=ForeignSecurityPrincipals,{D}"),
        users=[user("anna", 1101)],
        computers=[pc],
    )
    found = {g["role"]: (g["has_members"], g["has_others"], g["open"]) for g in items(looked, "special_groups")}
    assert found["backup_operators"] == (True, True, False)
    assert found["server_operators"] == (False, False, False)
    assert found["pre_windows_2000"] == (True, True, True)
    assert found["cert_publishers"] == (True, False, False)  # only the certificate server
    assert found["dns_admins"] == (True, True, False)  # somebody from elsewhere
    assert why(looked, "special_groups") is None


def test_everyone_by_the_name_that_the_forest_gives() -> None:
    place = "CN=Jeder,CN=WellKnown Security Principals,CN=Configuration,DC=x"
    opened = special("Pre2000", "S-1-5-32-554", place)
    known = [{"sid": "S-1-1-0", "dn": place.upper(), "name": "Jeder"}]

    def seen(**facts: Any) -> Any:
        looked = view(opened, ALWAYS[1], **facts)
        return next(g["open"] for g in items(looked, "special_groups") if g["role"] == "pre_windows_2000")

    assert seen(well_known=known) is True
    assert seen(well_known=[]) is False
    assert isinstance(seen(well_known=HIDDEN), Unknown)


def test_a_special_group_that_is_not_shown_is_missed() -> None:
    assert why(view(*ALWAYS), "special_groups") is None
    assert why(view(ALWAYS[0]), "special_groups") == Unknown(Reason.PERMISSION, "see the group cert publishers")
    cut = special("Pre2000", "S-1-5-32-554")
    cut["members"] = Partial((), HIDDEN)
    looked = view(cut, ALWAYS[1])
    assert next(g for g in items(looked, "special_groups") if g["role"] == "pre_windows_2000")["has_members"] == HIDDEN


def marked(looked: View) -> dict[str, tuple[Any, Any]]:
    return {m["name"]: (m["entitled"], m["protected"]) for m in items(looked, "marked_admins")}


PROTECTED = (special("Domain Controllers", f"{S}-516"), special("Replicator", "S-1-5-32-552"))


def test_marks_of_administrators_now_and_once() -> None:
    people = [
        user("anna", 1101, admin_count=True),
        user("bert", 1102, admin_count=True),
        user("cai", 1103, admin_count=False),
        user("krbtgt", 502, admin_count=True),
        user("deep", 1104, admin_count=True),
    ]
    looked = view(
        *PROTECTED,
        group("Domain Admins", "anna", "Tier0"),
        group("Tier0", "deep", "Domain Admins"),
        group("Protected Users", "deep"),
        users=people,
    )
    assert marked(looked) == {"anna": (True, False), "bert": (False, False), "deep": (True, True)}


def test_a_protected_group_that_is_hidden_leaves_the_others_in_doubt() -> None:
    looked = view(
        PROTECTED[0],
        group("Domain Admins", "anna"),
        users=[user("anna", 1101, admin_count=True), user("bert", 1102, admin_count=True)],
    )
    found = marked(looked)
    assert found["anna"][0] is True
    assert found["bert"][0] == Unknown(Reason.PERMISSION, "see the group replicators")


def test_a_service_name_that_two_carry() -> None:
    looked = view(
        users=[
            user("a", 1101, spns=["HTTP/Canteen.x", "HTTP/canteen.X"]),
            user("b", 1102, spns=["http/canteen.x", "HOST/b"]),
        ],
    )
    assert items(looked, "duplicate_services") == [{"name": "http/canteen.x", "holders": 2}]
    hidden = view(users=[user("a", 1101, spns=HIDDEN)])
    assert why(hidden, "duplicate_services") == HIDDEN


DC = {
    "sid": f"{S}-1000", "dn": f"CN=DC1,{D}", "name": "DC1", "dns_name": "dc1.x.example", "primary_group": 516,
    "domain_controller": True, "spns": ["ldap/alias.example"], "delegates_to": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("cifs/DC1.x.example", True),
        ("cifs/dc1", True),
        ("HOST/dc1.x.example:389/x.example", True),
        ("ldap/alias.example", True),
        ("ldap/x.example", True),  # the domain's own name leads to any of them
        ("cifs/files.x.example", False),
        ("cifs/dc10.x.example", False),
    ],
)
def test_delegation_towards_a_controller(target: str, expected: bool) -> None:
    looked = view(users=[user("svc", 1101, delegates_to=[target])], computers=[DC])
    assert [d["to_controller"] for d in items(looked, "delegations")] == [expected]


def test_delegation_when_controllers_are_hidden() -> None:
    looked = view(users=[user("svc", 1101, delegates_to=["cifs/files"])], computers=Partial((), HIDDEN))
    assert [d["to_controller"] for d in items(looked, "delegations")] == [HIDDEN]


def kept(keys: Any, *computers: str) -> dict[str, Any]:
    listed = [{"sid": f"{S}-{1200 + n}", "dn": dn, "name": dn[3:6]} for n, dn in enumerate(computers)]
    looked = view(computers=listed, recovery_keys=keys)
    return {k["name"]: k["kept"] for k in items(looked, "recovery_key_of")}


def test_keys_that_may_be_hidden_are_not_called_missing() -> None:
    one, two, far = f"CN=LT1,OU=A,{D}", f"CN=LT2,OU=A,{D}", f"CN=LT3,OU=B,{D}"
    assert kept({"whole": True, "computers": [one]}, one, two, far) == {"LT1": True, "LT2": False, "LT3": False}
    partly = kept({"whole": False, "computers": [one.lower()]}, one, two, far)
    assert (partly["LT1"], partly["LT2"]) == (True, False)  # the neighbour's key is shown, so this one's would be
    assert isinstance(partly["LT3"], Unknown)
    assert all(isinstance(x, Unknown) for x in kept({"whole": False, "computers": []}, one, two).values())


def test_who_copies_passwords_is_called_by_name() -> None:
    grants = [
        {"sid": f"{S}-1101", "broad": False, "powers": ["replicate"]},
        {"sid": f"{S}-4711", "broad": False, "powers": ["replicate"]},
        {"sid": f"{S}-1102", "broad": False, "powers": ["write"]},
    ]
    looked = view(users=[user("svc", 1101), user("other", 1102)], domain={"sid": S, "dn": D, "grants": grants})
    assert [c["name"] for c in items(looked, "password_copiers")] == ["svc", f"{S}-4711"]
    hidden = view(domain={"sid": S, "dn": D, "grants": HIDDEN})
    assert why(hidden, "password_copiers") == HIDDEN


def policy(name: str, rank: Any, length: int, *targets: str) -> dict[str, Any]:
    return {"guid": name, "name": name, "precedence": rank, "min_password_length": length, "applies_to": list(targets)}


def admins_policy(*policies: dict[str, Any], groups: Any = ()) -> Any:
    domain = {"sid": S, "dn": D, "min_password_length": 7}
    return view(*(groups or [group("Domain Admins")]), password_policies=list(policies), domain=domain).get(
        "admin_password_policy"
    )


def test_the_policy_that_wins_for_domain_admins() -> None:
    admins = f"cn=domain admins, {D}"
    assert admins_policy() == {"name": "(none)", "min_password_length": 7}
    assert admins_policy(policy("P", 10, 15, f"CN=Tier0,{D}")) == {"name": "(none)", "min_password_length": 7}
    assert admins_policy(policy("P", 10, 15, admins)) == {"name": "P", "min_password_length": 15}
    both = admins_policy(policy("weak", 5, 8, admins), policy("strong", 10, 15, admins))
    assert both == {"name": "weak", "min_password_length": 8}
    assert admins_policy(policy("P", HIDDEN, 15, admins)) == HIDDEN


def gpo(number: int, name: str, off: bool = False) -> dict[str, Any]:
    return {"guid": str(number), "dn": f"CN={{{number}}},{POLICIES}", "name": name, "off": off}


def link(number: int, enabled: bool = True, enforced: bool = False) -> dict[str, Any]:
    return {"gpo": f"cn={{{number}}},{POLICIES.lower()}", "enabled": enabled, "enforced": enforced}


def unit(dn: str, *links: dict[str, Any], block: bool = False) -> dict[str, Any]:
    return {"guid": dn, "dn": dn, "gpo_links": list(links), "blocks_inheritance": block}


def linked(*units: dict[str, Any], top: Any = (), gpos: Any = (), sites: Any = (), **more: Any) -> View:
    domain = {"sid": S, "dn": D, "gpo_links": list(top) if isinstance(top, tuple) else top}
    return view(
        ous=list(units),
        gpos=gpos if isinstance(gpos, Partial) else list(gpos),
        sites=list(sites),
        domain=domain,
        **more,
    )


def test_policies_that_nothing_links_to() -> None:
    all_gpos = [gpo(1, "Domain"), gpo(2, "Unit"), gpo(3, "Site"), gpo(4, "Nobody")]
    looked = linked(
        unit(f"OU=A,{D}", link(2, enabled=False)), top=(link(1),), gpos=all_gpos, sites=[{"gpo_links": [link(3)]}]
    )
    assert {p["name"]: p["linked"] for p in items(looked, "policy_links")} == {
        "Domain": True, "Unit": True, "Site": True, "Nobody": False,
    }  # fmt: skip
    blind = linked(unit(f"OU=A,{D}") | {"gpo_links": HIDDEN}, gpos=all_gpos)
    assert all(p["linked"] == HIDDEN for p in items(blind, "policy_links"))


def test_links_to_what_is_gone() -> None:
    looked = linked(
        unit(f"OU=A,{D}", link(1)), unit(f"OU=B,{D}", link(1), link(9)), unit(f"OU=C,{D}"),
        unit(f"OU=E,{D}", {"gpo": "cn={9},cn=policies,cn=system,DC=other", "enabled": True, "enforced": False}),
        gpos=[gpo(1, "One")],
    )  # fmt: skip
    found = {h["dn"][:4]: h["broken"] for h in items(looked, "link_holders")}
    assert (found["OU=A"], found["OU=B"], "OU=C" in found) == (False, True, False)
    assert isinstance(found["OU=E"], Unknown)  # another domain's policies are not seen from here
    hidden = linked(unit(f"OU=B,{D}", link(9)), gpos=Partial((gpo(1, "One"),), HIDDEN))
    assert [h["broken"] for h in items(hidden, "link_holders")] == [HIDDEN]


def schooled(*units: dict[str, Any], **more: Any) -> dict[str, Any]:
    school = School("oak", "Oak", "OAK", directory={"use": "d", "ou": f"OU=OAK,OU=Schools,{D}"})
    gone = School("wil", "Wil", "WIL", directory={"use": "d", "ou": f"OU=WIL,OU=Schools,{D}"})
    wanted = {"schools_ou": f"OU=Schools,{D}", "required_school_gpos": ["Base-{code}"]}
    looked = linked(*units, schools=[school, gone], parameters=wanted, **more)
    return {p["name"]: p["right"] for p in items(looked, "school_policies")}


OAK, SCHOOLS_OU = f"OU=OAK,OU=Schools,{D}", f"OU=Schools,{D}"
BASE_GPO = [gpo(1, "base-oak")]


@pytest.mark.parametrize(
    ("oak", "schools_ou", "top", "expected"),
    [
        (unit(OAK, link(1)), unit(SCHOOLS_OU), (), {"OAK: Base-OAK": True}),
        (unit(OAK), unit(SCHOOLS_OU), (), {"OAK: Base-OAK missing": False}),
        (unit(OAK, link(1, enabled=False)), unit(SCHOOLS_OU), (), {"OAK: Base-OAK disabled": False}),
        (unit(OAK), unit(SCHOOLS_OU, link(1)), (), {"OAK: Base-OAK": True}),
        (unit(OAK), unit(SCHOOLS_OU), (link(1),), {"OAK: Base-OAK": True}),
        (unit(OAK, block=True), unit(SCHOOLS_OU, link(1)), (), {"OAK: Base-OAK missing": False}),
        (unit(OAK, block=True), unit(SCHOOLS_OU, link(1, enforced=True)), (), {"OAK: Base-OAK": True}),
        (unit(OAK), unit(SCHOOLS_OU, block=True), (link(1),), {"OAK: Base-OAK missing": False}),
        (unit(OAK, link(1), block=True), unit(SCHOOLS_OU), (), {"OAK: Base-OAK": True}),  # its own link is not blocked
    ],
)  # fmt: skip
def test_a_school_gets_a_policy_by_its_own_link_or_from_above(
    oak: Any, schools_ou: Any, top: Any, expected: dict[str, Any]
) -> None:
    assert schooled(oak, schools_ou, top=top, gpos=BASE_GPO) == expected


def test_a_policy_that_is_switched_off_or_hidden() -> None:
    units = (unit(OAK, link(1)), unit(SCHOOLS_OU))
    assert schooled(*units, gpos=[gpo(1, "Base-OAK", off=True)]) == {"OAK: Base-OAK disabled": False}
    assert schooled(*units, gpos=[gpo(2, "Other")]) == {"OAK: Base-OAK missing": False}
    assert schooled(*units, gpos=Partial((gpo(2, "Other"),), HIDDEN)) == {"OAK: Base-OAK": HIDDEN}
    unread = unit(OAK) | {"gpo_links": HIDDEN}
    assert schooled(unread, units[1], gpos=BASE_GPO) == {"OAK: Base-OAK": HIDDEN}
