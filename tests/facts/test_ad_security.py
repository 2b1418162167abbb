"""Permissions: who holds which power, by entries that allow, deny, pass down and stand in each other's way."""

from __future__ import annotations

import struct
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.demo.descriptors import Ace as Entry
from agent.demo.descriptors import descriptor
from agent.demo.ldap_entry import sid_bytes
from agent.facts.ad import security as s

DOMAIN = "S-1-5-21-1-2-3"
USERS, ADMINS, DESK = f"{DOMAIN}-513", f"{DOMAIN}-512", f"{DOMAIN}-1105"
WRITE_ALL = 0x20
LAPS = "11111111-2222-4333-8444-555555555555"
GUIDS = {
    "computer": s.COMPUTER,
    "mslaps-password": LAPS,
    "msds-delegatedmanagedserviceaccount": "0feb936f-47b3-49f2-9386-1dedc2c23765",
}


def raw(*entries: Entry | bytes, owner: str = ADMINS) -> bytes:
    """A descriptor with the entries in just this order (which `descriptor` would put right)."""
    packed = [e if isinstance(e, bytes) else e.encode() for e in entries]
    size = 8 + sum(map(len, packed))
    acl = struct.pack("<BBHHH", 4, 0, size, len(packed), 0) + b"".join(packed)
    own = sid_bytes(owner)
    head = struct.pack("<BBHIIII", 1, 0, 0x8004, 20 + len(acl), 20 + len(acl), 0, 20)
    return head + acl + own


def ace(sid: str, mask: int, *, kind: str = "", heir: str = "", deny: bool = False, flags: int = 0) -> bytes:
    """An object entry in binary (MS-DTYP 2.4.4.3)."""
    present = (1 if kind else 0) | (2 if heir else 0)
    body = struct.pack("<II", mask, present)
    body += b"".join(uuid.UUID(g).bytes_le for g in (kind, heir) if g) + sid_bytes(sid)
    return struct.pack("<BBH", 6 if deny else 5, flags, len(body) + 4) + body


def holders(data: bytes, *powers: s.Power) -> dict[str, list[str]]:
    return {g["sid"]: g["powers"] for g in s.grants(data, powers)}


@pytest.mark.parametrize("mask", [WRITE_ALL, s.WRITE_DAC, s.WRITE_OWNER, s.FULL, s.GENERIC_ALL, s.GENERIC_WRITE])
def test_every_way_to_write_is_a_way_to_write(mask: int) -> None:
    assert holders(raw(Entry(USERS, mask)), s.WRITE) == {USERS: ["write"]}


@pytest.mark.parametrize("mask", [0x94, s.CONTROL, s.CREATE, 0x80000000, s.SELF, s.READ_CONTROL])
def test_reading_and_the_like_is_no_writing(mask: int) -> None:
    assert holders(raw(Entry(USERS, mask)), s.WRITE) == {}


@pytest.mark.parametrize(
    "sid", [ADMINS, f"{DOMAIN}-519", f"{DOMAIN}-516", "S-1-5-18", "S-1-5-32-544", "S-1-5-10", "S-1-3-0"]
)
def test_those_who_hold_the_domain_anyway_are_left_out(sid: str) -> None:
    assert holders(raw(Entry(sid, s.FULL)), s.WRITE, s.REPLICATE) == {}


def test_everybody_is_told_from_a_few() -> None:
    found = s.grants(raw(Entry(USERS, s.FULL), Entry(DESK, s.FULL), Entry("S-1-5-11", s.FULL)), (s.WRITE,))
    assert {g["sid"]: g["broad"] for g in found} == {USERS: True, DESK: False, "S-1-5-11": True}
    assert s.broad(f"{DOMAIN}-515")
    assert not s.broad("S-1-5-32-513")  # the number alone is not a domain's group


def test_no_list_means_everybody_may_do_everything() -> None:
    open_to_all = struct.pack("<BBHIIII", 1, 0, 0x8000, 20, 20, 0, 0) + sid_bytes(ADMINS)
    assert holders(open_to_all, s.WRITE, s.REPLICATE) == {s.EVERYONE: ["replicate", "write"]}


def test_an_empty_list_lets_nobody_in() -> None:
    assert holders(raw(), s.WRITE, s.REPLICATE) == {}


def test_a_denial_before_takes_and_one_behind_does_not() -> None:
    deny, allow = Entry(USERS, s.FULL, deny=True), Entry(USERS, s.FULL)
    assert holders(raw(deny, allow), s.WRITE) == {}
    assert holders(raw(allow, deny), s.WRITE) == {USERS: ["write"]}


def test_a_denial_of_everybody_covers_each_and_one_of_a_few_does_not_cover_all() -> None:
    allow = Entry(USERS, WRITE_ALL)
    for who in ("S-1-1-0", "S-1-5-11"):
        assert holders(raw(Entry(who, WRITE_ALL, deny=True), allow), s.WRITE) == {}
    assert holders(raw(Entry(DESK, WRITE_ALL, deny=True), allow), s.WRITE) == {USERS: ["write"]}
    nobody = Entry("S-1-5-7", WRITE_ALL)
    assert holders(raw(Entry("S-1-5-11", WRITE_ALL, deny=True), nobody), s.WRITE) == {"S-1-5-7": ["write"]}


def test_a_denial_of_one_property_leaves_the_others() -> None:
    one = ace(USERS, WRITE_ALL, kind=LAPS, deny=True)
    assert holders(raw(one, Entry(USERS, WRITE_ALL)), s.WRITE) == {USERS: ["write"]}
    assert holders(raw(one, ace(USERS, WRITE_ALL, kind=LAPS)), s.WRITE) == {}


def test_protection_from_deletion_takes_no_other_right() -> None:
    protection = Entry(s.EVERYONE, s.DELETE | s.DELETE_TREE, deny=True)
    data = raw(protection, Entry(USERS, s.FULL))
    assert s.deletion_denied(data)
    assert holders(data, s.WRITE) == {USERS: ["write"]}


def test_what_only_passes_down_counts_below_and_not_here() -> None:
    down = Entry(USERS, s.FULL, flags=s.CONTAINER_INHERIT | s.INHERIT_ONLY)
    assert holders(raw(down), s.WRITE, s.create_managed(GUIDS)) == {}
    assert holders(raw(down), s.WRITE_TREE) == {USERS: ["write"]}
    assert holders(raw(Entry(USERS, s.FULL)), s.local_passwords(GUIDS)) == {}  # here and not below


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (ace(USERS, s.CONTROL, heir=s.COMPUTER, flags=2), True),  # every extended right on computers below
        (ace(USERS, s.CONTROL, kind=LAPS, heir=s.COMPUTER, flags=10), True),
        (ace(USERS, s.CONTROL, kind=LAPS, flags=2), True),
        (ace(USERS, s.CONTROL, kind="ab721a53-1e2f-11d0-9819-00aa0040529b", flags=2), False),  # change a password
        (ace(USERS, s.CONTROL, heir="bf967aba-0de6-11d0-a285-00aa003049e2", flags=2), False),  # on users alone
        (ace(USERS, 0x10, kind=LAPS, flags=2), False),  # reading the property alone opens nothing confidential
    ],
)
def test_who_reads_local_passwords(entry: bytes, expected: bool) -> None:
    assert (USERS in holders(raw(entry), s.local_passwords(GUIDS))) is expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("", True),
        (GUIDS["msds-delegatedmanagedserviceaccount"], True),
        ("bf967aba-0de6-11d0-a285-00aa003049e2", False),  # users: how a help desk should be let make accounts
    ],
)
def test_who_makes_accounts_of_the_dangerous_kind(kind: str, expected: bool) -> None:
    entry = ace(DESK, s.CREATE, kind=kind) if kind else Entry(DESK, s.CREATE)
    assert (DESK in holders(raw(entry), s.create_managed(GUIDS))) is expected


def test_the_key_groups_own_their_container() -> None:
    """Since Windows Server 2016 both have full control of CN=Keys, in every domain."""
    data = raw(Entry(f"{DOMAIN}-526", s.FULL), Entry("S-1-5-21-9-9-9-527", s.FULL), Entry(DESK, s.FULL))
    assert holders(data, s.create_managed(GUIDS)) == {DESK: ["create_managed"]}


def test_who_copies_passwords() -> None:
    changes, everything = "1131f6aa-9c07-11d1-f79f-00c04fc2dcd2", s.REPLICATE_ALL
    assert holders(raw(ace(DESK, s.CONTROL, kind=changes)), s.REPLICATE) == {}
    assert holders(raw(ace(DESK, s.CONTROL, kind=everything)), s.REPLICATE) == {DESK: ["replicate"]}
    assert holders(raw(Entry(DESK, s.CONTROL)), s.REPLICATE) == {DESK: ["replicate"]}


def test_what_windows_itself_lets_write_in_administrators_accounts() -> None:
    certificates = "bf967a7f-0de6-11d0-a285-00aa003049e2"
    publishers = f"{DOMAIN}-517"
    assert holders(raw(ace(publishers, WRITE_ALL, kind=certificates)), s.WRITE) == {}
    assert holders(raw(ace(publishers, WRITE_ALL)), s.WRITE) == {publishers: ["write"]}
    assert holders(raw(ace(DESK, WRITE_ALL, kind=certificates)), s.WRITE) == {DESK: ["write"]}


def test_the_owner_and_who_may_fetch_a_managed_password() -> None:
    data = descriptor(DESK, ADMINS, [Entry(USERS, 0xF01FF), Entry("S-1-5-11", 0x10, deny=True)])
    assert s.parse(data).owner == DESK
    assert s.allowed(data) == [USERS]


def test_whose_login_sees_everything() -> None:
    assert s.administers(["S-1-1-0", "S-1-5-32-544"])
    assert s.administers([f"{DOMAIN}-519"])
    assert not s.administers([USERS, "S-1-5-32-545", "S-1-5-32-512"])


@given(st.binary(max_size=160))
def test_noise_raises_value_error_and_nothing_else(noise: bytes) -> None:
    for data in (noise, b"\1\0\4\x80" + noise):
        try:
            s.grants(data, (s.WRITE_TREE, s.REPLICATE))
            s.deletion_denied(data)
            s.allowed(data)
        except ValueError:
            continue


@given(st.integers(0, 199), st.integers(0, 255))
def test_a_bent_descriptor_raises_value_error_and_nothing_else(place: int, value: int) -> None:
    whole = bytearray(raw(Entry(USERS, s.FULL), ace(DESK, s.CONTROL, kind=LAPS, heir=s.COMPUTER, flags=2)))
    whole[place % len(whole)] = value
    for data in (bytes(whole), bytes(whole)[:place]):
        try:
            s.grants(data, (s.WRITE_TREE, s.local_passwords(GUIDS)))
        except ValueError:
            continue
