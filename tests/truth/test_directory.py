"""Ways in which a verdict about a directory could have come out wrong, each found by looking for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from agent.claims import belongs
from agent.derive import View, load_all
from agent.derive.ad_privilege import GROUPS
from agent.facts.ad import accounts, collect, domain
from agent.facts.ad.directory import Behaviour, Entry, Found
from agent.facts.ad.row import Row
from agent.facts.protocol import Limits
from agent.model import Partial, Reading, Reason, School, Unknown

load_all()
AS_OF = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
BASE = "DC=trust,DC=test"


def view(facts: dict[str, Any], **more: Any) -> View:
    return View("ad", {n: Reading(v) for n, v in facts.items()}, AS_OF, **more)


@pytest.mark.parametrize(("raw", "minutes"), [(b"0", 0), (b"-18000000000", 30), (b"-9223372036854775808", None)])
def test_wrong_passwords_that_are_forgotten_at_once_are_not_remembered_for_ever(
    raw: bytes, minutes: float | None
) -> None:
    """A window of 0 resets the counter with every attempt, so nobody is ever locked out."""
    row = Row(Entry(BASE, {"lockoutobservationwindow": [raw]}), frozenset())
    assert domain.DOMAIN.takes["lockout_window_minutes"].read(row) == minutes


def test_a_lock_without_an_end_is_one_that_an_administrator_ends() -> None:
    for raw in (b"0", b"-9223372036854775808"):
        row = Row(Entry(BASE, {"lockoutduration": [raw]}), frozenset())
        assert domain.DOMAIN.takes["lockout_minutes"].read(row) is None


@pytest.mark.parametrize("base", ["DC=trust, DC=test", "dc=TRUST,dc=test", "OU=Schools,DC=trust,DC=test"])
def test_default_containers_are_the_domains_own_however_trust_yml_spells_the_base(base: str) -> None:
    v = view({"domain": {"dn": BASE}}, settings={"base_dn": base})
    assert v.get("default_containers")["computers"].lower() == f"cn=computers,{BASE}".lower()


def test_a_group_that_does_not_exist_claims_nobody_and_clears_nobody() -> None:
    """A slip in trust.yml, or a group out of sight, must not make a school look clean."""
    school = School("oak", "Oak", directory={"use": "d", "groups": ["GRP-Oak-Staf"]})
    v = view({"groups": [{"name": "GRP-Oak-Staff", "members": [f"CN=A,{BASE}"]}], "domain": {"dn": BASE}})
    assert belongs("dn", {"dn": f"CN=A,{BASE}"}, school, v) is None
    right = School("oak", "Oak", directory={"use": "d", "groups": ["grp-oak-staff"]})
    assert belongs("dn", {"dn": f"CN=A,{BASE}"}, right, v) is True
    assert belongs("dn", {"dn": f"CN=B,{BASE}"}, right, v) is False


def test_schools_whose_names_begin_alike_keep_their_own() -> None:
    v = view({"domain": {"dn": BASE}, "ous": [{"dn": f"OU=OAK,{BASE}"}, {"dn": f"OU=OAKWOOD,{BASE}"}]})
    oak, oakwood = (
        School(c, c, code=c, directory={"use": "d", "ou": "OU={code},{base_dn}"}) for c in ("OAK", "OAKWOOD")
    )
    for place, mine in (
        (f"CN=a,OU=OAK,{BASE}", (True, False)),
        (f"CN=a,OU=OAKWOOD,{BASE}", (False, True)),
        (f"CN=a,OU=Staff,OU=oak,{BASE}", (True, False)),
        (f"CN=a\\,OU=OAK,{BASE}", (False, False)),
    ):
        assert (belongs("dn", {"dn": place}, oak, v), belongs("dn", {"dn": place}, oakwood, v)) == mine


class Fake:
    """A directory that answers each search with entries by its filter."""

    server = "ldaps://dc.trust.test"

    def __init__(self, **by_filter: list[Entry]) -> None:
        self.by = by_filter

    def behaviour(self, base: str) -> Behaviour:
        none = Unknown(Reason.NOT_SUPPORTED, "it is only an example")
        return Behaviour(none, none, none, none, none, none)

    def search(self, base: str, filter: str, attributes: Any, **more: Any) -> Found:
        if base == "":
            names = ("default", "configuration", "schema", "rootDomain")
            return Found([Entry("", {f"{n}namingcontext".lower(): [BASE.encode()] for n in names})])
        if "lDAPDisplayName" in filter:
            told = [a.partition(")")[0] for a in filter.split("lDAPDisplayName=")[1:]]
            return Found([Entry("cn=x", {"ldapdisplayname": [a.encode()]}) for a in told])
        found = self.by.get("users", []) if "objectCategory=person" in filter else self.by.get("groups", [])
        return Found(found if (take := more.get("take")) is None else [take(e) for e in found])


def sid(rid: int) -> bytes:
    return bytes([1, 5, 0, 0, 0, 0, 0, 5]) + b"".join(n.to_bytes(4, "little") for n in (21, 1, 2, 3, rid))


def person(name: str, rid: int, uac: int) -> Entry:
    return Entry(
        f"CN={name},CN=Users,{BASE}",
        {"objectsid": [sid(rid)], "samaccountname": [name.encode()], "useraccountcontrol": [str(uac).encode()]},
    )


def test_the_account_of_a_trust_is_no_person() -> None:
    """Windows makes CHILD$ for every trust, without a password of its own by design (UAC 0x820)."""
    people = [
        person("Administrator", 500, 512),
        person("krbtgt", 502, 514),
        person("CHILD$", 1105, 0x820),
        person("ann", 1106, 0x220),
    ]
    found = collect(Fake(users=people), ["users"], Limits()).facts["users"].value
    assert [u["name"] for u in found] == ["Administrator", "krbtgt", "ann"]
    assert [u["name"] for u in found if u["password_not_required"] is True] == ["ann"]


def test_accounts_that_expire_beyond_every_calendar_do_not_expire() -> None:
    row = Row(Entry("CN=x", {"accountexpires": [b"9223372032400000000"]}), frozenset())
    assert accounts.USERS.takes["expires"].read(row) is None
    for raw in (b"0", b"9223372036854775807"):
        assert accounts.USERS.takes["expires"].read(Row(Entry("CN=x", {"accountexpires": [raw]}), frozenset())) is None


def powerful(members: Any) -> dict[str, Any]:
    """A domain with all its powerful groups, of which Domain Admins and Administrators hold `members`."""
    groups = []
    for word, number in GROUPS.items():
        named = f"S-1-5-21-1-2-3-{number}" if isinstance(number, int) else number
        held = members if word in ("domain_admins", "administrators") else []
        groups.append(
            {
                "sid": named,
                "rid": int(named.rpartition("-")[2]),
                "dn": f"CN={word},CN=Users,{BASE}",
                "name": word,
                "members": held,
            }
        )
    ann = {"sid": "S-1-5-21-1-2-3-1106", "dn": f"CN=ann,CN=Users,{BASE}", "name": "ann", "primary_group": 513}
    return {"domain": {"dn": BASE}, "users": [ann], "computers": [], "service_accounts": [], "groups": groups}


def test_a_domain_without_administrators_is_one_that_hides_them() -> None:
    assert isinstance(view(powerful([])).get("privileged_members"), Partial), "nobody at all cannot be believed"
    assert isinstance(view(powerful(Unknown(Reason.PERMISSION))).get("privileged_members"), Partial)
    assert [m["name"] for m in view(powerful([f"CN=ann,CN=Users,{BASE}"])).get("privileged_members")] == ["ann"]
