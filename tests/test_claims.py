"""Whose item of a shared directory it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from agent.claims import belongs, hidden
from agent.derive import View
from agent.model import Partial, Reading, Reason, School, Unknown

NO_RIGHT = Unknown(Reason.PERMISSION, "list it")


def view(**facts: Any) -> View:
    base = {"domain": {"dn": "DC=x,DC=example"}}
    return View("ad", {n: Reading(v) for n, v in {**base, **facts}.items()}, datetime(2026, 11, 1, tzinfo=UTC))


def school(**directory: Any) -> School:
    return School("oak", "Oakfield", "OAK", directory=directory)


@pytest.mark.parametrize(
    ("dn", "expected"),
    [
        ("CN=a,OU=Staff,OU=OAK,OU=Schools,DC=x,DC=example", True),
        ("cn=a,ou=staff,ou=oak,ou=schools,dc=x,dc=example", True),
        ("OU=OAK,OU=Schools,DC=x,DC=example", True),
        ("CN=a,OU=ELM,OU=Schools,DC=x,DC=example", False),
        ("CN=a\\,OU=OAK,OU=Schools,OU=ELM,DC=x,DC=example", False),
        ("CN=a,OU=SOAK,OU=Schools,DC=x,DC=example", False),
        (NO_RIGHT, None),
    ],
)
def test_by_ou(dn: Any, expected: bool | None) -> None:
    mine = school(ou="OU={code}, OU=Schools, {base_dn}")
    assert belongs("dn", {"dn": dn}, mine, view()) is expected


def test_without_the_base_nobody_can_tell() -> None:
    mine = school(ou="OU=OAK,{base_dn}")
    assert belongs("dn", {"dn": "CN=a,OU=OAK,DC=x"}, mine, view(domain=NO_RIGHT)) is None
    assert hidden("dn", mine, view(domain=NO_RIGHT)) is not None


def test_by_groups() -> None:
    mine = school(groups=["grp-oak-staff"])
    groups = [{"name": "GRP-OAK-Staff", "members": ["CN=a"]}, {"name": "GRP-ELM-Staff", "members": ["CN=b"]}]
    assert belongs("dn", {"dn": "CN=a"}, mine, view(groups=groups)) is True
    assert belongs("dn", {"dn": "CN=b"}, mine, view(groups=groups)) is False
    cut = [{"name": "GRP-OAK-Staff", "members": Partial(("CN=a",), NO_RIGHT)}]
    assert belongs("dn", {"dn": "CN=a"}, mine, view(groups=cut)) is True
    assert belongs("dn", {"dn": "CN=b"}, mine, view(groups=cut)) is None
    assert belongs("dn", {"dn": "CN=b"}, mine, view(groups=NO_RIGHT)) is None


def test_by_suffix_and_by_nothing() -> None:
    mine = school(upn_suffix="oak.example")
    assert belongs("dn", {"dn": "CN=a", "upn": "a@OAK.example"}, mine, view()) is True
    assert belongs("dn", {"dn": "CN=a", "upn": None}, mine, view()) is False
    assert belongs("dn", {"dn": "CN=a", "upn": NO_RIGHT}, mine, view()) is None
    assert belongs("dn", {"dn": "CN=a"}, school(), view()) is True


def test_a_school_that_cannot_be_seen_is_not_whole() -> None:
    mine = school(ou="OU=OAK,DC=x,DC=example")
    seen = [{"dn": "OU=OAK,DC=x,DC=example"}]
    assert hidden("dn", mine, view(ous=seen)) is None
    why = hidden("dn", mine, view(ous=[]))
    assert why is not None
    assert why.reason is Reason.PERMISSION
    assert hidden("dn", mine, view(ous=Partial((), NO_RIGHT))) == NO_RIGHT
    assert hidden("dn", school(), view(ous=[])) is None
