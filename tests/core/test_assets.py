"""One real machine counts once, and a shared name joins nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.assets import Sight, assets, joined
from agent.model import Evidence, Kind, Partial, Reading, Reason, School, Target, TargetState, Unknown

NOW = datetime(2026, 11, 20, 6, 30, tzinfo=UTC)
GUID, SID = "0f8fad5b-d9cb-469f-a165-70867728950e", "S-1-5-21-1-2-3-1107"


def evidence(target: Target, ids: dict[str, str] | None = None, **facts: Any) -> Evidence:
    readings = {n: Reading(v) for n, v in facts.items()}
    return Evidence(target, TargetState.COLLECTED, NOW, readings, "", ids or {})


def host(name: str, school: str, **ids: str) -> Evidence:
    return evidence(Target(name, Kind.DEVICE, "windows", school), ids)


def computer(name: str, sid: str, unit: str, **more: Any) -> dict[str, Any]:
    place = f"CN={name},OU=Computers,OU={unit},OU=Schools,DC=x"
    return {"name": name, "sid": sid, "dn": place, "os": "Windows 11", "last_logon": "2026-11-01T00:00:00Z", **more}


OAK = School("oak", "Oakfield", "OAK", directory={"use": "ad", "ou": "OU=OAK,OU=Schools,DC=x"})
ASH = School("ash", "Ashby", "ASH", directory={"use": "ad", "ou": "OU=ASH,OU=Schools,DC=x"})
AD = Target("ad", Kind.DIRECTORY, "ad", None, {}, (), ("oak", "ash"))
TENANT = Target("m365", Kind.TENANT, "m365", None, {}, (), ("oak", "ash"))


def test_host_directory_and_intune_are_one_machine() -> None:
    seen = [
        (host("OAK-PC1", "oak", ad_sid=SID, serial="abc123"), ()),
        (evidence(AD, computers=[computer("OAK-PC1", SID, "OAK", guid=GUID)], domain={"dn": "DC=x"}), (OAK, ASH)),
        (
            evidence(
                TENANT,
                managed_devices=[
                    {
                        "id": "1",
                        "name": "DESKTOP-1",
                        "entra_device_id": GUID,
                        "serial": "ABC123",
                        "os": "windows",
                        "last_sync": "2026-11-19T00:00:00Z",
                    }
                ],
                entra_devices=[{"id": "2", "name": "OAK-PC1", "entra_device_id": GUID, "os": "Windows"}],
            ),
            (),
        ),
    ]
    (one,) = assets(seen)
    assert [s.source for s in one.sights] == ["host", "intune", "directory", "entra"]
    assert (one.name, one.schools, one.seen) == ("OAK-PC1", ("oak",), "2026-11-20T06:30:00Z")
    assert (one.id("serial"), one.id("ad_sid"), one.id("entra_device_id")) == ("ABC123", SID, GUID)
    assert one.os == ("windows", "intune", "2026-11-19T00:00:00Z")  # the host told no system of its own


def test_a_name_alone_joins_nothing() -> None:
    seen = [
        (host("PC1", "oak", serial="A1"), ()),
        (host("PC1", "ash", serial="A2"), ()),
        (evidence(AD, computers=[computer("PC1", SID, "OAK")], domain={"dn": "DC=x"}), (OAK, ASH)),
    ]
    assert [(a.name, a.sights[0].where, len(a.sights)) for a in assets(seen)] == [
        ("PC1", "ad", 1),
        ("PC1", "ash/PC1", 1),
        ("PC1", "oak/PC1", 1),
    ]


def test_one_serial_for_many_machines_does_not_join_what_their_ids_keep_apart() -> None:
    found = joined(
        [
            Sight("host", "oak/a", "a", {"serial": "DEFAULT", "ad_sid": "S-1"}),
            Sight("host", "oak/b", "b", {"serial": "DEFAULT", "ad_sid": "S-2"}),
            Sight("intune", "m365", "a", {"serial": "DEFAULT", "entra_device_id": "g"}),
        ]
    )
    assert [[s.where for s in a.sights] for a in found] == [["oak/a", "m365"], ["oak/b"]]


def test_the_schools_of_a_directory_computer_are_by_its_ou() -> None:
    listed = [computer("A", "S-1", "OAK"), computer("B", "S-2", "ASH"), computer("C", "S-3", "NOBODY")]
    found = assets([(evidence(AD, computers=listed, domain={"dn": "DC=x"}), (OAK, ASH))])
    assert [(a.name, a.schools) for a in found] == [("A", ("oak",)), ("B", ("ash",)), ("C", ())]


def test_what_could_not_be_read_gives_no_machine_and_no_crash() -> None:
    why = Unknown(Reason.PERMISSION, "see all computers")
    bent = {"name": why, "sid": "S-9", "dn": why}
    found = assets(
        [
            (evidence(AD, computers=Partial((computer("A", "S-1", "OAK", guid=why), bent), why)), (OAK, ASH)),
            (evidence(TENANT, managed_devices=why), ()),
        ]
    )
    assert [(a.name, a.id("entra_device_id")) for a in found] == [("A", "")]


ids = st.fixed_dictionaries({}, optional={k: st.sampled_from("abcd") for k in ("entra_device_id", "ad_sid", "serial")})
sights = st.lists(st.builds(Sight, st.sampled_from(["host", "intune", "directory"]), st.just("x"), st.just("n"), ids))


@given(sights)
def test_every_sight_is_in_one_asset_and_strong_ids_are_never_split(some: list[Sight]) -> None:
    found = joined(some)
    assert sum(len(a.sights) for a in found) == len(some)
    for kind in ("entra_device_id", "ad_sid"):
        owners = [{s.ids[kind] for s in a.sights if kind in s.ids} for a in found]
        every = [v for values in owners for v in values]
        assert len(every) == len(set(every))
