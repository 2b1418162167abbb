"""Every drift item of the Windows lab and every way in which a machine can resist, over a real sshd, in one scan.

What was planted fails, nothing else of the rows fails, nothing is unknown; a machine that resists ends in a state of
its own with a reason of its own; and nothing that a machine says gets anywhere as more than text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from agent.facts.protocol import Limits
from agent.model import Finding, Reason, TargetState, Unknown, Verdict
from agent.plan import Selection
from tests.lab import windows
from tests.lab.windows import WindowsLab
from tests.lab.windows_trust import World

pytestmark = [pytest.mark.lab, pytest.mark.slow]
ROWS = Path(__file__).resolve().parent.parent / "coverage" / "rows.yml"
LIMITS = Limits(110.0, 8 << 20)  # a whole answer is about 30 kB; a flood need not be drunk to the end
SHORT = Limits(12.0, 8 << 20)
CLEAN = ("win10-22h2", "win11-de", "win11-entra", "srv2016", "dc2022")
UNREACHABLE = {
    "flood": (Reason.TRUNCATED, "longer than allowed"),
    "hang-shell": (Reason.TIMED_OUT, "too long"),
    "unreachable": (Reason.UNREACHABLE, "refused"),
    "hostkey": (Reason.IDENTITY, "another host key"),
}
BOTH = {
    "denied": (
        "srv2019",
        "smb1-quiet psv2-server lockout-never admin-local guest-enabled ntlm-string nla-policy av-effective"
        " fw-policy-off laps-intune-off time-pool netbios-one",
    ),
    "no-accounts": ("win11-de", "admin-orphan guest-renamed lockout-never"),
    "clm": (
        "win10-22h2",
        "admin-forged guest-enabled smb1-on bitlocker-cbc asr-audit edge-doh-number cached-10 time-policy",
    ),
    "no-tpm-cmdlet": ("win11-24h2", "tpm-none"),
    "no-defender-module": ("win11-25h2", "av-sigs-never av-exclude-ext asr-missing pua-off"),
    "no-smb-cmdlets": ("srv2022", "smb1-on smb-sign-missing"),
}
"""Trouble with drift behind it: the other way has to find it as well."""
READABLE = (
    "noise noise-autorun clm slow ps-shell ps7 lie flood-fact no-accounts no-tpm-cmdlet no-defender-module".split()
)
"""Trouble that costs none of the rows."""


@pytest.fixture(scope="module")
def items() -> dict[str, windows.Item]:
    ready, why = windows.available()
    if not ready:
        pytest.skip(f"{why}: stand-in Windows machines")
    return {i.name: i for i in windows.items()}


@pytest.fixture(scope="module")
def planted(items: Mapping[str, windows.Item]) -> dict[str, tuple[str, list[str]]]:
    kinds = list(dict.fromkeys(k for i in items.values() for k in i.kinds))
    machines = windows.spread([i for i in items.values() if not i.trouble], kinds)
    machines |= {f"c{n:03d}": (kind, []) for n, kind in enumerate(CLEAN, 1)}
    # the trouble items over as many kinds as there are
    resisting = [i for i in items.values() if i.trouble]
    machines |= {i.name: (i.kinds[n % len(i.kinds)], [i.name]) for n, i in enumerate(resisting)}
    machines |= {f"{name}+": (kind, [name, *drift.split()]) for name, (kind, drift) in BOTH.items()}
    return machines


@pytest.fixture(scope="module")
def lab(planted: Mapping[str, tuple[str, list[str]]]) -> Iterator[WindowsLab]:
    with WindowsLab(planted) as made:
        yield made.start()


@pytest.fixture(scope="module")
def world(lab: WindowsLab, tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(lab.inventory, tmp_path_factory.mktemp("windows") / "trust")
    world.scan(Selection(limit="all:!hang-shell"), LIMITS)
    world.scan(Selection(limit="hang-shell"), SHORT)
    return world


def rows_of(findings: Mapping[str, Finding], *verdicts: Verdict) -> set[str]:
    """The rows whose controls have one of these verdicts."""
    entries = YAML(typ="safe").load(ROWS.read_text(encoding="utf-8"))
    control = {c: row for row, cs in entries.items() if row.startswith("WIN-") for c in cs}
    return {control[c] for c, f in findings.items() if f.verdict in verdicts and c in control}


def test_every_drift_item_is_planted_once(
    planted: Mapping[str, tuple[str, list[str]]], items: Mapping[str, windows.Item]
) -> None:
    placed = [i for name, (_, there) in planted.items() if not name.endswith("+") for i in there]
    assert sorted(placed) == sorted(items)


def test_what_was_planted_fails_and_nothing_else(
    world: World, lab: WindowsLab, planted: Mapping[str, tuple[str, list[str]]]
) -> None:
    truth = lab.truth
    seen = {
        name: (rows_of(world.findings[name], Verdict.FAIL), rows_of(world.findings[name], Verdict.UNKNOWN))
        for name, (_, there) in planted.items()
        if re.fullmatch(r"[cd]\d+", name)
    }
    assert seen == {name: (truth.get(name, set()), set()) for name in seen}


def test_clean_machines_pass_everything_beyond_the_rows_too(
    world: World, planted: Mapping[str, tuple[str, list[str]]]
) -> None:
    for name, (kind, there) in planted.items():
        if there == []:
            bad = {
                c for c, f in world.findings[name].items() if f.verdict not in (Verdict.PASS, Verdict.NOT_APPLICABLE)
            }
            assert bad == set(), kind
            assert world.evidence[name].state is TargetState.COLLECTED


def test_machines_that_resist_lose_what_they_refuse_and_nothing_more(world: World, lab: WindowsLab) -> None:
    truth, unknown = lab.truth, lab.unknown
    for name, (never, perhaps) in unknown.items():
        if "*" in never | perhaps:
            continue
        findings = world.findings[name]
        assert never <= rows_of(findings, Verdict.UNKNOWN) <= never | perhaps, name
        assert rows_of(findings, Verdict.FAIL) == truth.get(name, set()) & rows_of(findings, Verdict.FAIL), name
    assert rows_of(world.findings["denied"], Verdict.UNKNOWN) == unknown["denied"][0]


@pytest.mark.parametrize("name", BOTH)
def test_the_way_round_finds_what_the_usual_one_does(world: World, lab: WindowsLab, name: str) -> None:
    findings, never = world.findings[f"{name}+"], lab.unknown.get(f"{name}+", (set(), set()))[0]
    assert rows_of(findings, Verdict.FAIL) == lab.truth[f"{name}+"] - never
    assert rows_of(findings, Verdict.UNKNOWN) == never


@pytest.mark.parametrize("name", READABLE)
def test_trouble_that_there_is_a_way_round_costs_nothing(world: World, lab: WindowsLab, name: str) -> None:
    assert rows_of(world.findings[name], Verdict.UNKNOWN) == set()
    assert rows_of(world.findings[name], Verdict.FAIL) == lab.truth.get(name, set())


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("denied", "windows.drive-encrypted", "administrator"),
        ("denied", "windows.antivirus-exclusions", "administrator"),
        ("no-bitlocker", "windows.drive-encrypted", "no such namespace"),
        ("defender-absent", "windows.antivirus-real-time", "not running"),
        ("hang", "windows.drive-encrypted", "timed out"),
    ],
)
def test_each_trouble_has_its_own_reason(world: World, name: str, row: str, words: str) -> None:
    finding = world.findings[name][row]
    assert finding.verdict is Verdict.UNKNOWN
    assert words in finding.reason


@pytest.mark.parametrize("name", UNREACHABLE)
def test_a_machine_that_tells_nothing_is_one_state_with_its_reason(world: World, name: str) -> None:
    reason, words = UNREACHABLE[name]
    evidence = world.evidence[name]
    assert evidence.state is TargetState.UNREACHABLE
    assert words in evidence.detail
    assert {r.value.reason for r in evidence.facts.values() if isinstance(r.value, Unknown)} == {reason}
    assert {f.verdict for f in world.findings[name].values()} == {Verdict.UNKNOWN}


def test_what_a_lying_machine_says_stays_text(world: World) -> None:
    evidence = world.evidence["lie"]
    assert "serial" not in evidence.ids or "{{" in evidence.ids["serial"]
    text = repr([r.value for r in evidence.facts.values()])
    assert not any(c in text for c in ("\\x1b", "\\x1e", "\\u202e", "\\x00")), "control characters are kept"
    assert "A" * 5000 not in text


def test_offenders_are_what_a_technician_looks_for(world: World, planted: Mapping[str, tuple[str, list[str]]]) -> None:
    wanted = {
        "admin-pupil": ("windows.local-administrators", "RIVERSIDE\\p.hughes"),
        "admin-orphan": ("windows.local-administrators", "S-1-5-21-111-222-333-1107"),
        "guest-renamed": ("windows.guest-disabled", "visitor"),
        "av-exclude-path": ("windows.antivirus-exclusions", "C:\\"),
        "av-exclude-process": ("windows.antivirus-exclusions", "powershell.exe"),
        "fw-public-off": ("windows.firewall-on", "Public"),
        "dns-google": ("windows.name-servers", "8.8.8.8"),
    }
    for item, (control, label) in wanted.items():
        machine = next(name for name, (_, there) in planted.items() if item in there)
        assert [o.label for o in world.findings[machine][control].offenders] == [label], item


def test_machines_tell_who_they_are(world: World, planted: Mapping[str, tuple[str, list[str]]]) -> None:
    serials = [world.evidence[n].ids["serial"] for n, (_, there) in planted.items() if there == []]
    assert len(set(serials)) == len(serials)
    entra = next(n for n, (kind, there) in planted.items() if kind == "win11-entra" and there == [])
    assert len(world.evidence[entra].ids["entra_device_id"]) == 36
