"""Derived facts of Windows: what a build's edition means, whose setting counts, who is approved, what has ended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import agent.facts  # noqa: F401 - declares the facts, and hands the tables in
from agent.derive import View, load_all, support
from agent.model import Partial, Reading, Reason, Unknown

load_all()
LATE = Unknown(Reason.TIMED_OUT)
DENIED = Unknown(Reason.PERMISSION, "administrator")


def derive(name: str, parameters: dict[str, Any] | None = None, **facts: Any) -> Any:
    readings = {n.replace("__", "."): Reading(v) for n, v in facts.items()}
    return View("windows", readings, datetime(2026, 11, 27, tzinfo=UTC), parameters or {}).get(name)


def os(build: int, edition: str = "Education", product: str = "workstation", extended: Any = ()) -> dict[str, Any]:
    return {"build": build, "edition": edition, "product": product, "extended": extended}


@pytest.mark.parametrize(
    ("system", "line", "ends"),
    [
        (os(26100), "education", "2027-10-12"),
        (os(26100, "Enterprise"), "education", "2027-10-12"),
        (os(26100, "Professional"), "pro", "2026-10-13"),
        (os(26100, "ProfessionalEducation"), "pro", "2026-10-13"),
        (os(26100, "CoreSingleLanguage"), "pro", "2026-10-13"),
        (os(26100, "EnterpriseS"), "ltsc", "2029-10-09"),
        (os(26100, "IoTEnterpriseS"), "iot-ltsc", "2034-10-10"),
        (os(26100, "ServerDatacenter", "server"), "server", "2034-10-10"),
        (os(19045), "education", "2025-10-14"),
        (os(19045, extended=[1]), "education", "2026-10-13"),
        (os(19045, extended=[1, 2]), "education", "2027-10-12"),
        (os(19045, extended=[9]), "education", "2025-10-14"),
        (os(19044, "EnterpriseSN"), "ltsc", "2027-01-12"),
        (os(22631), "education", "2026-11-10"),
        (os(20348, "ServerStandard", "domain controller"), "server", "2031-10-14"),
    ],
)
def test_support_ends_by_build_and_edition(system: dict[str, Any], line: str, ends: str) -> None:
    assert derive("os_support", os=system) == {"ends": f"{ends}T23:59:59Z", "line": line}


def test_licences_that_could_not_be_read_only_matter_where_there_are_any() -> None:
    assert derive("os_support", os=os(26100, extended=LATE))["ends"] == "2027-10-12T23:59:59Z"
    assert derive("os_support", os=os(19045, extended=LATE))["ends"] == LATE
    assert isinstance(derive("os_support", os=os(12345))["ends"], Unknown)


def laps(
    *places: tuple[int, int | None], old: int | None = None, build: int = 26100, domain: Any = True, entra: Any = True
) -> Any:
    named = zip(("intune", "group policy", "local"), [*places, *[(0, None)] * (3 - len(places))], strict=True)
    said = [{"source": s, "settings": n, "backup": b} for s, (n, b) in named]
    joined = {"domain_joined": domain, "entra_joined": entra}
    return derive("laps", os=os(build), laps_policies={"places": said, "old": old}, membership=joined)


def test_the_first_place_with_any_setting_decides_alone() -> None:
    assert laps((1, 1), (1, 0)) == {"backup": "entra", "source": "intune"}
    assert laps((1, None), (2, 2)) == {"backup": "off", "source": "intune"}
    assert laps((0, None), (1, 2)) == {"backup": "directory", "source": "group policy"}
    assert laps((0, None), (0, None), (1, 1)) == {"backup": "entra", "source": "local"}
    assert laps((0, None), (1, 7)) == {"backup": "off", "source": "group policy"}
    assert laps() == {"backup": "off", "source": "none"}
    assert laps(old=1) == {"backup": "old LAPS", "source": "group policy"}
    assert laps((0, None), (2, 0), old=1)["backup"] == "off", "a policy of the new one silences the old one"
    assert laps((0, None), (2, 2), build=14393)["backup"] == "off", "that build has no LAPS of its own"
    assert laps((0, None), (2, 2), old=1, build=14393)["backup"] == "old LAPS"


def test_a_password_goes_only_where_the_machine_is_a_member() -> None:
    assert laps((1, 1), entra=False)["backup"] == "off"
    assert laps((1, 2), domain=False)["backup"] == "off"
    assert laps((1, 1), domain=False)["backup"] == "entra"
    assert laps(old=1, domain=False)["backup"] == "off"
    assert laps((1, 1), entra=LATE)["backup"] == LATE
    assert laps((1, 0), entra=LATE)["backup"] == "off", "where it does not matter it is not asked"


def member(name: str, sid: str | None, local: bool) -> dict[str, Any]:
    return {"name": name, "sid": sid, "from": "machine" if local else "elsewhere"}


@pytest.mark.parametrize(
    ("who", "approved"),
    [
        (member("PC\\Administrator", "S-1-5-21-1-2-3-500", True), True),
        (member("PC\\Verwalter", "S-1-5-21-1-2-3-500", True), True),
        (member("PC\\Administrator", "S-1-5-21-1-2-3-1001", True), False),
        (member("Administrator", None, True), True),
        (member("TRUST\\Administrator", "S-1-5-21-9-9-9-500", False), False),
        (member("trust\\domain admins", "S-1-5-21-9-9-9-512", False), True),
        (member("OTHER\\Domain Admins", "S-1-5-21-8-8-8-512", False), False),
        (member("Domain Admins", "S-1-5-21-1-2-3-1002", True), False),
        (member("PC\\backup", "S-1-5-21-1-2-3-1003", True), True),
        (member("TRUST\\backup", "S-1-5-21-9-9-9-1103", False), False),
        (member("AzureAD\\x", "S-1-12-1-1-2-3-4", False), True),
        (member("S-1-5-21-1-1-1-1107", "S-1-5-21-1-1-1-1107", False), False),
    ],
)
def test_administrators_are_approved_by_name_domain_and_sid(who: dict[str, Any], approved: bool) -> None:
    wanted = {"local_administrators": ["Administrator", "TRUST\\Domain Admins", "backup", "s-1-12-1-1-2-3-4"]}
    assert [a["approved"] for a in derive("administrators", wanted, administrators_group=[who])] == [approved]


def test_a_list_that_was_cut_off_stays_one() -> None:
    group = Partial((member("PC\\x", None, True),), LATE)
    found = derive("administrators", {"local_administrators": []}, administrators_group=group)
    assert isinstance(found, Partial)
    assert found.items[0]["approved"] is False
    assert derive("administrators", {"local_administrators": []}, administrators_group=None) is None


def time(kind: str | None, servers: str | None, joined: Any = True) -> Any:
    source = None if kind is None else "local"
    return derive(
        "time_source",
        w32time={"type": kind, "servers": servers, "source": source},
        membership={"domain_joined": joined, "domain": None, "name": "PC"},
    )


def test_where_the_clock_is_set_from() -> None:
    assert time("NT5DS", "time.windows.com,0x8") == {"kind": "domain", "servers": [], "source": "local"}
    assert time("NT5DS", None, False)["kind"] == "none"
    assert time("NTP", "NTP1.example.org.,0x8  ntp2.example.org", False)["servers"] == [
        "ntp1.example.org",
        "ntp2.example.org",
    ]
    assert time("AllSync", "ntp1.example.org,0x8")["kind"] == "both"
    assert time("AllSync", "ntp1.example.org,0x8", False)["kind"] == "servers"
    assert time("NTP", "")["kind"] == "none"
    assert time("NoSync", "ntp1.example.org")["kind"] == "none"
    assert time(None, None)["kind"] == "none"
    assert time("NT5DS", None, LATE) == LATE
    assert time("NTP", "ntp1.example.org", LATE)["kind"] == "servers", "the domain does not matter then"


_PATH = "registry[HKLM:\\SYSTEM\\CurrentControlSet\\Services\\{}\\Parameters:{}]"


def signing(system: dict[str, Any], server: dict[str, Any], client: dict[str, Any]) -> Any:
    name = "RequireSecuritySignature"
    facts = {"os": system, _PATH.format("LanmanServer", name): server, _PATH.format("LanmanWorkstation", name): client}
    return derive("smb_signing", **facts)


def test_signing_has_a_default_of_its_own_from_24h2_on() -> None:
    unset, off, text = ({"state": s, "number": n} for s, n in (("no value", None), ("value", 0), ("value", None)))
    assert signing(os(22631), unset, unset) == {"server": False, "client": False}
    assert signing(os(26100), unset, unset) == {"server": True, "client": True}
    assert signing(os(26100, "ServerStandard", "server"), unset, unset) == {"server": False, "client": True}
    assert signing(os(26100, "Core"), unset, unset) == {"server": False, "client": False}
    assert signing(os(26100), off, text) == {"server": False, "client": False}


def test_smb1_is_judged_by_what_may_be_seen() -> None:
    feature, value = "feature[SMB1Protocol]", _PATH.format("LanmanServer", "SMB1")

    def on(server: Any, **facts: Any) -> Any:
        return derive("smb1", smb_server=server, **facts)["on"]

    assert on({"smb1": False}, **{feature: LATE}) is False
    assert on(DENIED, **{feature: None, value: LATE}) is False
    assert on(DENIED, **{feature: {"state": "removed"}}) is False
    assert on(DENIED, **{feature: {"state": "enabled"}, value: {"state": "no value", "number": None}}) is True
    assert on(DENIED, **{feature: {"state": "enabled"}, value: {"state": "value", "number": 0}}) is False
    assert on(DENIED, **{feature: {"state": "enabled"}, value: LATE}) == DENIED
    assert on(DENIED, **{feature: LATE, value: {"state": "value", "number": 0}}) == DENIED


def test_software_is_held_against_the_dated_table() -> None:
    names = [
        ("Microsoft Office Professional Plus 2019 - en-us", "16.0.10417.20064"),
        ("Microsoft 365 Apps for enterprise - en-us", "16.0.20326.20112"),
        ("Microsoft Office LTSC Professional Plus 2024 - en-us", "16.0.17932.20286"),
        ("Adobe Acrobat (64-bit)", "25.001.20982"),
        ("Adobe Acrobat Reader DC", "21.001.20135"),
        ("Adobe Acrobat XI Pro", "11.0.23"),
        ("Microsoft .NET Runtime - 6.0.36 (x64)", "48.144.23141"),
        ("Microsoft .NET Runtime - 10.0.1 (x64)", "80.1.1"),
        ("Python 3.9.13 (64-bit)", "3.9.13150.0"),
        ("Python 3.12.8 (64-bit)", "3.12.8150.0"),
    ]
    software = [{"name": n, "version": v, "publisher": None} for n, v in names]
    assert [s["name"] for s in derive("ended_software", software=software)] == [names[n][0] for n in (0, 5, 6, 8)]
    assert isinstance(derive("ended_software", software=Partial((), LATE)), Partial)
    assert support.program_ends("Something", "1.0") is None


def test_who_manages_a_machine_and_when_that_was_heard() -> None:
    def managed(joined: Any, group: Any, intune: Any) -> Any:
        return derive(
            "managed",
            membership={"domain_joined": joined, "domain": None, "name": "PC"},
            policy_refresh={"group_policy": group, "intune": intune},
        )

    early, later = "2026-11-01T00:00:00Z", "2026-11-20T00:00:00Z"
    assert managed(True, early, later) == {"by": "both", "refreshed": later}
    assert managed(True, None, None) == {"by": "domain", "refreshed": None}
    assert managed(False, early, None) == {"by": "nobody", "refreshed": None}, "from before it left the domain"
    assert managed(False, None, LATE) == {"by": "intune", "refreshed": LATE}
    assert managed(LATE, early, later) == LATE
