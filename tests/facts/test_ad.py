"""The directory's facts, from recorded answers (tests/fixtures/ad) and from answers that are bent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.conform import conform, to_json
from agent.demo.ldap_entry import sid_bytes
from agent.facts import ad
from agent.facts.ad import security
from agent.facts.ad import values as v
from agent.facts.ad.directory import Behaviour, Entry, Found
from agent.facts.ad.searches import SEARCHES
from agent.facts.protocol import Limits
from agent.facttypes import REGISTRY
from agent.model import Partial, Reason, TargetState, Unknown

FIXTURES = sorted((Path(__file__).resolve().parent.parent / "fixtures" / "ad").glob("*.json"))
BASE = "DC=ad,DC=example"
CONTEXTS = {
    "domain": BASE,
    "root": BASE,
    "config": f"CN=Configuration,{BASE}",
    "schema": f"CN=Schema,CN=Configuration,{BASE}",
}
NOT_TRIED = Unknown(Reason.NOT_SUPPORTED, "a recorded answer")


def raw(value: str) -> bytes:
    if value.startswith("sid:"):
        return sid_bytes(value[4:])
    return bytes.fromhex(value[4:]) if value.startswith("hex:") else value.encode()


class Recorded:
    """A directory that gives recorded answers, and keeps to what was asked as a real one does."""

    server = "recorded"

    def __init__(self, case: Mapping[str, Any]) -> None:
        self.case = case
        self.asked: list[tuple[str, str, tuple[str, ...]]] = []

    def behaviour(self, base: str) -> Behaviour:
        return Behaviour(NOT_TRIED, NOT_TRIED, NOT_TRIED, NOT_TRIED, NOT_TRIED, NOT_TRIED)

    def search(
        self,
        base: str,
        filter: str,
        attributes: Sequence[str],
        *,
        scope: str = "sub",
        security: bool = False,
        take: Callable[[Entry], Any] | None = None,
    ) -> Found:
        self.asked.append((base, filter, tuple(attributes)))
        if base == "":
            names = {
                "defaultnamingcontext": "domain",
                "configurationnamingcontext": "config",
                "schemanamingcontext": "schema",
                "rootdomainnamingcontext": "domain",
            }
            return Found([Entry("", {a: [CONTEXTS[n].encode()] for a, n in names.items()})])
        if filter.startswith("(|(lDAPDisplayName="):
            have = [a.split("=")[1] for a in filter[2:-1].strip("()").split(")(")]
            have = [a for a in have if a not in self.case["lacks"]]
            return Found([Entry(a, {"ldapdisplayname": [a.encode()]}) for a in have])
        name = next(
            n for n, s in SEARCHES.items() if (s.base.format(**CONTEXTS), s.filter, s.scope) == (base, filter, scope)
        )
        why = self.case.get("why", {}).get(name)
        asked = {a.lower() for a in attributes}
        entries = [
            Entry(
                e["dn"],
                {k.lower(): [raw(x) for x in xs] for k, xs in e["attributes"].items() if k.lower() in asked},
                frozenset(e.get("cut", ())),
            )
            for e in self.case["answers"].get(name, ())
        ]
        kept = entries if take is None else [take(e) for e in entries]
        return Found(kept, Unknown(Reason(why[0]), why[1]) if why else None, name in self.case.get("absent", ()))


def collect(case: Mapping[str, Any], *names: str) -> dict[str, Any]:
    collected = ad.collect(Recorded(case), names or list(ad.FACTS), Limits())
    return {n: r.value for n, r in collected.facts.items()}


def narrowed(value: Any, like: Any) -> Any:
    """`value` with only the fields that `like` names, so that a fixture says just what it is about."""
    if isinstance(value, dict) and isinstance(like, dict):
        return {k: narrowed(value.get(k, "(missing)"), x) for k, x in like.items()}
    if isinstance(value, list) and isinstance(like, list) and len(value) == len(like):
        return [narrowed(a, b) for a, b in zip(value, like, strict=True)]
    return value


@pytest.mark.parametrize("path", FIXTURES, ids=lambda p: p.stem)
def test_recorded_answers(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    facts = collect(case)
    for name, expected in case["expected"].items():
        assert narrowed(to_json(facts[name]), expected) == expected, name


@pytest.mark.parametrize("path", FIXTURES, ids=lambda p: p.stem)
def test_every_reading_is_of_its_declared_type(path: Path) -> None:
    for name, value in collect(json.loads(path.read_text(encoding="utf-8"))).items():
        assert conform(value, REGISTRY.spec_of("ad", name).type, False, name) == value


def test_what_matched_is_kept_and_not_the_text() -> None:
    case = json.loads(next(p for p in FIXTURES if p.stem == "ordinary").read_text(encoding="utf-8"))
    assert "Passw0rd" in str(case["answers"])
    assert "Passw0rd" not in str(to_json(collect(case)))


# Numbers in a filter: rules of comparison, well-known groups, the mark of a duplicate, the star. None is a policy's.
FIXED = ("1.2.840.113556.1.4.803", "primaryGroupID=516", "primaryGroupID=521", r"\0aCNF", r"\2a")


def test_only_what_is_wanted_is_asked_and_no_policy_or_clock() -> None:
    directory = Recorded({"lacks": [], "answers": {}})
    ad.collect(directory, ["domain"], Limits())
    assert [base for base, _, _ in directory.asked] == ["", CONTEXTS["schema"], BASE]
    ad.collect(directory, list(ad.FACTS), Limits())
    assert len(directory.asked) == 3 + 2 + len(SEARCHES) <= 3 + 25  # each search once, after root and schema
    for _, filter, _ in directory.asked[5:]:
        for number in FIXED:
            filter = filter.replace(number, "")
        assert not any(char.isdigit() for char in filter), filter


# What nobody but the account itself and administrators should see, or nobody at all.
SECRETS = (
    (
        "unicodePwd dBCSPwd ntPwdHistory lmPwdHistory supplementalCredentials unixUserPassword userPassword "
        "ms-Mcs-AdmPwd msLAPS-Password msLAPS-EncryptedPassword msLAPS-EncryptedPasswordHistory "
        "msLAPS-EncryptedDSRMPassword msFVE-RecoveryPassword msFVE-KeyPackage msKds-RootKeyData "
        "msDS-ManagedPassword trustAuthIncoming trustAuthOutgoing initialAuthIncoming initialAuthOutgoing"
    )
    .lower()
    .split()
)


def test_no_search_asks_for_a_secret() -> None:
    directory = Recorded({"lacks": [], "answers": {}})
    ad.collect(directory, list(ad.FACTS), Limits())
    asked = {a.lower() for _, _, attributes in directory.asked for a in attributes}
    assert not asked & set(SECRETS)
    assert "*" not in asked
    for step in ad.plan(list(ad.FACTS)):
        told = step.what.rpartition(" for ")[2].lower().split(", ")
        assert not set(told) & set(SECRETS), step.what


def test_an_attribute_that_the_schema_lacks_is_not_asked_for() -> None:
    directory = Recorded({"lacks": ["msLAPS-PasswordExpirationTime"], "answers": {}})
    ad.collect(directory, ["computers"], Limits())
    assert "msLAPS-PasswordExpirationTime" not in directory.asked[-1][2]
    assert "ms-Mcs-AdmPwdExpirationTime" in directory.asked[-1][2]


def unsure(value: Any) -> bool:
    """Whether a reading says of itself that it may not be all."""
    return isinstance(value, Unknown | Partial) or (
        isinstance(value, dict) and any(isinstance(x, Unknown | Partial) for x in value.values())
    )


# Lists that may rightly be empty and of which nothing else is known to be there; that no key is seen says nothing.
MAY_BE_EMPTY = {"conflict_objects", "well_known", "recovery_keys"}


@pytest.mark.parametrize("name", [n for n in ad.FACTS if n not in MAY_BE_EMPTY])
def test_nothing_shown_is_never_nothing_there(name: str) -> None:
    assert unsure(collect({"lacks": [], "answers": {}}, name)[name])


def test_hidden_recovery_keys_are_not_missing_ones() -> None:
    assert collect({"lacks": [], "answers": {}}, "recovery_keys")["recovery_keys"]["whole"] is False


@pytest.mark.parametrize("name", [n for n in ad.FACTS if ad.FACTS[n].searches])
def test_a_search_that_breaks_off_marks_its_facts(name: str) -> None:
    whys = {s: ["unreachable", "the connection broke"] for s in SEARCHES}
    case = {"lacks": [], "answers": {}, "why": whys}
    collected = ad.collect(Recorded(case), [name], Limits())
    value = collected.facts[name].value
    assert isinstance(value, Unknown) or (isinstance(value, Partial) and value.why.reason is Reason.UNREACHABLE)
    assert collected.state is TargetState.PARTIAL
    assert "connection broke" in collected.detail


def test_a_server_that_is_no_active_directory() -> None:
    class Other(Recorded):
        def search(self, base: str, *args: Any, **more: Any) -> Found:
            return Found([Entry("", {"namingcontexts": [b"dc=x"]})])

    collected = ad.collect(Other({}), ["domain", "users"], Limits())
    assert collected.state is TargetState.PARTIAL
    for reading in collected.facts.values():
        assert reading.unknown is not None
        assert "no Active Directory" in reading.unknown.detail


def test_a_schema_that_cannot_be_searched_is_read_from_the_subschema() -> None:
    class Subschema(Recorded):
        def search(self, base: str, filter: str, attributes: Sequence[str], **more: Any) -> Found:
            if base == "":
                found = super().search(base, filter, attributes, **more)
                return Found([Entry("", {**found.entries[0].attributes, "subschemasubentry": [b"CN=Aggregate"]})])
            if base == "CN=Aggregate":
                return Found(
                    [
                        Entry(
                            base,
                            {
                                "attributetypes": [
                                    b"( 1.2.3 NAME 'minPwdLength' SYNTAX '1' )",
                                    b"( 1.2.4 NAME ( 'objectSid' 'sid' ) SYNTAX '1' )",
                                ]
                            },
                        )
                    ]
                )
            return Found([]) if base == CONTEXTS["schema"] else super().search(base, filter, attributes, **more)

    case = {
        "lacks": [],
        "answers": {
            "domain": [{"dn": BASE, "attributes": {"objectSid": ["sid:S-1-5-21-1-2-3"], "minPwdLength": ["9"]}}]
        },
    }
    domain = ad.collect(Subschema(case), ["domain"], Limits()).facts["domain"].value
    assert domain["min_password_length"] == 9
    assert domain["password_history"] == Unknown(Reason.NOT_SUPPORTED, "the directory's schema has no pwdHistoryLength")


@pytest.mark.parametrize(
    ("raw_value", "expected"),
    [
        (b"0", None),
        (b"9223372036854775807", None),
        (b"134399587000000000", "2026-11-24T01:51:40Z"),
        (b"1", "1601-01-01T00:00:00Z"),
    ],
)
def test_file_times(raw_value: bytes, expected: str | None) -> None:
    assert v.filetime(raw_value) == expected


@pytest.mark.parametrize("raw_value", [b"", b"-5", b"soon", b"9223372036854775806", b"9" * 30])
def test_file_times_that_are_none(raw_value: bytes) -> None:
    with pytest.raises(ValueError, match=r"number|1601|calendar|literal"):
        v.filetime(raw_value)


@pytest.mark.parametrize(
    ("raw_value", "expected"),
    [(b"0", None), (b"-9223372036854775808", None), (b"-18000000000", 30), (b"-300000000", 0.5)],
)
def test_spans(raw_value: bytes, expected: float | None) -> None:
    assert v.minutes(raw_value) == expected
    with pytest.raises(ValueError, match="negative"):
        v.minutes(b"18000000000")


@given(st.binary(max_size=120))
def test_bent_values_raise_value_error_and_nothing_else(noise: bytes) -> None:
    for read in (
        v.number,
        v.text,
        v.truth,
        v.filetime,
        v.generalized,
        v.minutes,
        v.days,
        v.sid,
        v.rid,
        v.guid,
        security.deletion_denied,
        v.gpo_links,
    ):
        try:
            read(noise)
        except ValueError:
            continue


def acl(*aces: tuple[int, int, int, str]) -> bytes:
    """A security descriptor with these (type, flags, mask, SID)."""
    parts = []
    for kind, flags, mask, sid in aces:
        body = mask.to_bytes(4, "little") + sid_bytes(sid)
        parts.append(bytes([kind, flags]) + (len(body) + 4).to_bytes(2, "little") + body)
    inner = b"".join(parts)
    head = bytes([2, 0]) + (len(inner) + 8).to_bytes(2, "little") + len(parts).to_bytes(2, "little") + b"\0\0"
    return bytes([1, 0]) + (0x8004).to_bytes(2, "little") + bytes(12) + (20).to_bytes(4, "little") + head + inner


BOTH = security.DELETE | security.DELETE_TREE


@pytest.mark.parametrize(
    ("aces", "expected"),
    [
        ([(1, 0, BOTH, security.EVERYONE)], True),
        ([(1, 0, security.DELETE, security.EVERYONE), (1, 0, security.DELETE_TREE, security.EVERYONE)], True),
        ([(1, 0, security.DELETE, security.EVERYONE)], False),
        ([(0, 0, BOTH, security.EVERYONE)], False),  # allowed, not denied
        ([(1, security.INHERIT_ONLY | 2, BOTH, security.EVERYONE)], False),  # only for what lies below
        ([(1, 0, BOTH, "S-1-5-21-1-2-3-1105")], False),  # only one account
        ([], False),
    ],
)
def test_protection_from_deletion(aces: list[tuple[int, int, int, str]], expected: bool) -> None:
    assert security.deletion_denied(acl(*aces)) is expected


def test_a_link_that_cannot_be_read_is_not_left_out() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        v.gpo_links(b"[LDAP://cn={1},cn=policies;0][broken")
    assert v.gpo_links(b" ") == []
