"""The Windows facts: recorded answers (tests/fixtures/windows), bent answers, and the script where it can run."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from agent.baseline import Policy, load_policy
from agent.conform import conform
from agent.connect.ssh_powershell import COMMAND, SshPowerShell
from agent.controls import rule
from agent.evaluate import Case, judge
from agent.facts import windows
from agent.facts.protocol import Limits, Output
from agent.facts.windows import registry, system
from agent.facts.windows.answer import Answer, failure, parse, parts, program
from agent.facts.windows.readers import READERS
from agent.facttypes import REGISTRY
from agent.model import Evidence, Finding, Kind, Partial, Reading, Reason, School, Target, TargetState, Unknown, Verdict
from tests.lab import windows as lab
from tests.lab.capture_windows import CASES, FOLDER, NONCE

FIXTURES = sorted(FOLDER.glob("*.json"))
WANTED = (FOLDER / "wanted.txt").read_text(encoding="utf-8").splitlines()
ROWS = Path(__file__).resolve().parent.parent / "coverage" / "rows.yml"
LSA = "registry[HKLM:\\SYSTEM\\CurrentControlSet\\Control\\Lsa:LmCompatibilityLevel]"


@cache
def fixture(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


@cache
def policy() -> Policy:
    return load_policy()


def answer_of(name: str) -> Answer:
    text = "\r\n".join(fixture(name)["answer"]) + "\r\n"
    return parse(Output(text.encode(), b"", 0), NONCE, windows.questions(WANTED)[1])


def facts_of(name: str) -> dict[str, Reading]:
    out = {}
    for fact, reading in windows.facts_from(answer_of(name), WANTED).items():
        spec = REGISTRY.spec_of("windows", fact)
        out[fact] = Reading(conform(reading.value, spec.type, spec.may_be_absent, fact))
    return out


def findings_of(name: str, facts: Mapping[str, Reading] | None = None) -> dict[str, Finding]:
    """What every Windows control says of a fixture."""
    values = {n: s.default for n, s in policy().site.items() if s.has_default} | lab.SITE_PARAMETERS
    rules = []
    for control in policy().controls.values():
        if control.platform == "windows":
            mine = {n: p.default for n, p in control.file.parameters.items() if p.has_default}
            rules.append(rule(control, {n: (values | mine)[n] for n in control.uses}, {}, policy().site))
    target = Target("one", Kind.DEVICE, "windows", "lab")
    as_of = datetime.fromisoformat(fixture(name)["as_of"])
    evidence = Evidence(target, TargetState.COLLECTED, as_of, facts or facts_of(name))
    school = School("lab", "Lab", "LAB")
    return {f.control: f for f in judge(Case(evidence, (school,), {}), rules, school)}


def rows_of(findings: Mapping[str, Finding], *verdicts: Verdict) -> set[str]:
    entries = YAML(typ="safe").load(ROWS.read_text(encoding="utf-8"))
    rows = {c: row for row, cs in entries.items() if row.startswith("WIN-") for c in cs}
    return {rows[c] for c, f in findings.items() if f.verdict in verdicts and c in rows}


def test_there_is_a_fixture_of_every_kind_and_it_says_where_it_comes_from() -> None:
    assert {p.stem for p in FIXTURES} == set(CASES)
    for path in FIXTURES:
        case = fixture(path.stem)
        assert "engine" in case["source"]
        assert "Never a real machine" in case["source"]


@pytest.mark.parametrize("name", CASES)
def test_recorded_answers_give_what_was_planted_and_nothing_else(name: str) -> None:
    found = findings_of(name)
    assert rows_of(found, Verdict.FAIL) == set(fixture(name)["fails"])
    assert rows_of(found, Verdict.UNKNOWN) == set(fixture(name)["unknown"])


@pytest.mark.parametrize("name", CASES)
def test_what_is_read_is_of_its_declared_type(name: str) -> None:
    for fact, reading in windows.facts_from(answer_of(name), WANTED).items():
        spec = REGISTRY.spec_of("windows", fact)
        assert conform(reading.value, spec.type, spec.may_be_absent, fact) == reading.value, fact


@pytest.mark.parametrize("name", CASES)
def test_recordings_hold_no_secret(name: str) -> None:
    text = "\n".join(fixture(name)["answer"])
    assert not re.search(r"\d{6}(-\d{6}){7}", text), "a BitLocker recovery password"
    assert "setup@" not in text


def test_the_german_machine_is_read_by_sids() -> None:
    facts = facts_of("win11-de")
    assert [a["name"] for a in facts["local_accounts"].value if a["guest"]] == ["Gast"]
    assert {m["name"] for m in facts["administrators_group"].value} >= {"RIVERSIDE\\Domain Admins"}
    assert facts["lockout"].value["threshold"] in (5, 10)


def test_an_account_that_no_longer_exists_is_listed_by_another_way() -> None:
    members = {m["name"]: m for m in facts_of("orphan")["administrators_group"].value}
    gone = members["S-1-5-21-111-222-333-1107"]
    assert (gone["sid"], gone["from"]) == ("S-1-5-21-111-222-333-1107", "elsewhere")
    assert members["Administrator"]["sid"].endswith("-500")
    assert [o.label for o in findings_of("orphan")["windows.local-administrators"].offenders] == [gone["sid"]]


def test_members_are_the_machines_own_by_their_sid_where_the_source_is_not_told() -> None:
    answer = answer_of("srv2016")
    for item in answer.parts["admins"]["items"]:
        item["source"] = ""
    members = windows.facts_from(answer, ["administrators_group"])["administrators_group"].value
    assert [m["from"] for m in members] == ["machine", "elsewhere", "elsewhere"]


def test_the_directory_id_counts_for_members_of_a_domain_alone() -> None:
    answer = answer_of("win11-24h2")
    answer.parts["ids"] |= {"sid": "S-1-5-21-1-2-3-1190", "state": ["AzureAdJoined : NO", "DomainJoined : YES"]}
    assert system.ids(answer)["ad_sid"] == "S-1-5-21-1-2-3-1190"
    answer.parts["ids"]["state"] = ["DomainJoined : NO"]
    assert set(system.ids(answer)) == {"serial"}
    answer.parts["ids"]["serial"] = "To be filled by O.E.M."
    assert system.ids(answer) == {}


def test_without_rights_the_reason_is_the_right_that_is_missing() -> None:
    found = findings_of("denied")
    for control in ("drive-encrypted", "recovery-password", "tpm-ready", "antivirus-exclusions"):
        assert "administrator" in found[f"windows.{control}"].reason
    assert found["windows.smb1-off"].verdict is Verdict.PASS


def test_where_defender_does_not_run_the_reason_names_what_does() -> None:
    answer = answer_of("no-defender")
    answer.parts["antivirus"] = {
        "items": [{"name": "Windows Defender", "state": 393472}, {"name": "Hillside Endpoint", "state": 266240}]
    }
    for fact in ("defender", "defender_settings"):
        why = windows.facts_from(answer, [fact])[fact].value
        assert why.reason is Reason.NOT_SUPPORTED
        assert why.detail.endswith("not running; registered as on: Hillside Endpoint")
    answer.parts["antivirus"] = {"items": [{"name": "Hillside Endpoint", "state": 262144}]}
    assert windows.facts_from(answer, ["defender"])["defender"].value.detail.endswith("not running")


def test_a_domain_controller_has_no_local_accounts() -> None:
    facts, found = facts_of("dc2022"), findings_of("dc2022")
    assert facts["local_accounts"].value is None
    for control in ("local-administrators", "guest-disabled", "lockout", "local-password-age"):
        assert found[f"windows.{control}"].verdict is Verdict.NOT_APPLICABLE


def test_values_of_the_wrong_type_and_missing_ones_are_told_apart() -> None:
    facts = facts_of("drifted")
    lsa = facts[LSA].value
    assert (lsa["state"], lsa["type"], lsa["number"], lsa["text"]) == ("value", "text", None, "5")
    doh = facts["registry[HKLM:\\SOFTWARE\\Policies\\Microsoft\\Edge:DnsOverHttpsMode]"].value
    assert (doh["type"], doh["text"], doh["number"], doh["source"]) == ("dword", None, 0, "policy")
    states = {r.value["state"] for n, r in facts.items() if n.startswith("registry[")}
    assert states == {"value", "no value", "no key"}


def test_the_policy_beats_the_local_value_and_is_named() -> None:
    found = [r.value for n, r in facts_of("drifted").items() if n.startswith("registry[") and "UserAuthentication" in n]
    assert [(v["number"], v["source"]) for v in found] == [(0, "policy")]
    assert "Terminal Services" in found[0]["place"]


# ---------------------------------------------------------------- the protocol


class Replayed:
    """A PowerShell that answers from a fixture, under the mark of the script that it gets."""

    def __init__(self, name: str, **bent: Any) -> None:
        self.name, self.bent, self.asked = name, bent, ""

    def script(self, text: str, limits: Limits) -> Output:
        self.asked = text
        mark = re.match(r"\$K = '([0-9a-f]+)'", text)
        assert mark is not None
        out = "\n".join(fixture(self.name)["answer"]).replace(NONCE, mark[1])
        return Output(out.encode(), b"", 0, **self.bent)


def test_a_whole_answer_is_collected_and_tells_who_the_machine_is() -> None:
    got = windows.collect(Replayed("win11-entra"), WANTED, Limits())
    assert (got.state, got.detail) == (TargetState.COLLECTED, "")
    assert set(got.facts) == set(WANTED)
    assert set(got.ids) == {"serial", "entra_device_id"}


def test_what_is_cut_off_is_unknown_and_the_rest_stays() -> None:
    lines = fixture("win11-24h2")["answer"]
    whole = "\n".join(lines)
    for cut in range(0, len(whole), 701):
        answer = parse(Output(whole[:cut].encode(), b"", None, timed_out=True), NONCE, windows.questions(WANTED)[1])
        assert answer.lost == Unknown(Reason.TIMED_OUT, "the machine took too long")
        facts = windows.facts_from(answer, WANTED)
        for name, reading in facts.items():
            if not isinstance(reading.value, Unknown):
                assert _same(reading.value, facts_of("win11-24h2")[name].value), name


def _same(part: Any, whole: Any) -> bool:
    """Whether a reading is that of the whole answer, apart from fields that became unknown."""
    if isinstance(part, Unknown):
        return True
    if isinstance(part, dict):
        return all(_same(v, whole[k]) for k, v in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(_same(a, b) for a, b in zip(part, whole, strict=True))
    return bool(part == whole)


@given(st.binary(max_size=400), st.integers(0, 8000), st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_a_damaged_answer_never_raises_and_never_gives_a_wrong_type(noise: bytes, place: int, gone: int) -> None:
    data = "\n".join(fixture("win11-24h2")["answer"]).encode()
    data = data[:place] + noise + data[place + gone :]
    facts = windows.facts_from(parse(Output(data, b"", 0), NONCE, windows.questions(WANTED)[1]), WANTED)
    assert set(facts) == set(WANTED)


@given(
    st.dictionaries(
        st.sampled_from(sorted(parts())),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda x: (
                st.lists(x, max_size=3)
                | st.dictionaries(
                    st.sampled_from("v e items keys all lines code name sid on set rights state".split()), x, max_size=4
                )
            ),
            max_leaves=12,
        ),
    )
)
@settings(max_examples=120, deadline=None)
def test_a_machine_that_makes_things_up_makes_nothing_pass_unlooked(told: dict[str, Any]) -> None:
    data = "".join(f"#{NONCE} {n} {len(t)}\n{t}\n" for n, v in told.items() for t in [json.dumps({"v": v})])
    answer = parse(Output(f"{data}#{NONCE} END\n".encode(), b"", 0), NONCE, windows.questions(WANTED)[1])
    facts = {}
    for name, reading in windows.facts_from(answer, WANTED).items():
        spec = REGISTRY.spec_of("windows", name)
        facts[name] = Reading(conform(reading.value, spec.type, spec.may_be_absent, name))
    for finding in findings_of("win11-24h2", facts).values():
        assert finding.verdict in (Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN, Verdict.NOT_APPLICABLE)


def test_lines_that_a_console_broke_are_joined() -> None:
    broken = []
    for line in fixture("win11-24h2")["answer"]:
        broken += [line[n : n + 80] for n in range(0, len(line), 80)] or [""]
    answer = parse(Output("\r\n".join(broken).encode(), b"", 0), NONCE, windows.questions(WANTED)[1])
    assert answer.lost is None
    assert windows.facts_from(answer, ["os"])["os"].value == facts_of("win11-24h2")["os"].value


def test_noise_and_forged_marks_are_passed_over() -> None:
    forged = f'*** Welcome ***\n#{"0" * 24} meta 9\n{{"v":"x"}}\n'
    text = forged + "\n".join(fixture("win11-24h2")["answer"]) + f"\n#{NONCE} os 2\n{{}}\n"
    answer = parse(Output(text.encode(), b"", 0), NONCE, windows.questions(WANTED)[1])
    assert answer.lost is None
    assert "os" not in answer.parts, "what comes after END does not count"


def test_no_answer_at_all_has_its_reason() -> None:
    for output, reason in (
        (Output(b"", b"", 0), Reason.UNREADABLE),
        (Output(b"'powershell.exe' is not recognized", b"", 1), Reason.UNREADABLE),
        (Output(b"x" * 100, b"", None, truncated=True), Reason.TRUNCATED),
        (Output(b"", b"", None, timed_out=True), Reason.TIMED_OUT),
    ):
        facts = windows.facts_from(parse(output, NONCE, windows.questions(WANTED)[1]), WANTED)
        assert {r.value.reason for r in facts.values() if isinstance(r.value, Unknown)} == {reason}
        assert all(isinstance(r.value, Unknown) for r in facts.values())


@pytest.mark.parametrize(
    ("raw", "reason", "words"),
    [
        ({"t": "CommandNotFoundException", "c": "ObjectNotFound", "w": "Get-Tpm"}, Reason.COMMAND_MISSING, "Get-Tpm"),
        ({"t": "CimException", "c": "PermissionDenied", "i": "HRESULT 0x80041003,x"}, Reason.PERMISSION, "administ"),
        ({"t": "COMException", "c": "NotSpecified", "h": "-2147024156"}, Reason.PERMISSION, "administrator"),
        ({"t": "SecurityException", "c": "PermissionDenied"}, Reason.PERMISSION, "administrator"),
        ({"t": "CimException", "c": "MetadataError", "i": "HRESULT 0x80041010,x"}, Reason.NOT_SUPPORTED, "class"),
        ({"t": "CimException", "c": "MetadataError", "i": "HRESULT 0x8004100e,x"}, Reason.NOT_SUPPORTED, "namespace"),
        ({"t": "CimException", "c": "OperationTimeout", "i": "HRESULT 0x80131505,x"}, Reason.TIMED_OUT, "Thing"),
        ({"t": "CimException", "c": "NotSpecified", "i": "HRESULT 0x800106ba,x"}, Reason.NOT_SUPPORTED, "not running"),
        ({"t": "PlatformNotSupportedException", "c": "NotImplemented"}, Reason.NOT_SUPPORTED, "Thing"),
        ({"t": "InvalidOperationException", "c": "NotSpecified"}, Reason.UNREADABLE, "InvalidOperationException"),
        ({"t": "TooLong"}, Reason.TRUNCATED, "longer"),
        ("nonsense", Reason.UNREADABLE, "Thing"),
    ],
)  # fmt: skip
def test_failures_are_typed(raw: Any, reason: Reason, words: str) -> None:
    found = failure(raw, "Thing")
    assert found.reason is reason
    assert words in found.detail


# ---------------------------------------------------------------- what is asked


@pytest.mark.parametrize(
    ("key", "good"),
    [
        ("HKLM:\\SOFTWARE\\X:Name", True),
        ("HKLM:\\SOFTWARE\\Policies\\X:Name > HKLM:\\SOFTWARE\\X:Name", True),
        ("HKLM:\\SOFTWARE\\X:C:\\folder", True),
        ("HKLM:\\SOFTWARE\\X", False),
        ("HKLM:\\SOFTWARE\\*:Name", False),
        ("HKCU:\\SOFTWARE\\X:Name", False),
        ("C:\\Windows:Name", False),
        ("HKLM:\\SOFTWARE\\X:Na\nme", False),
        ("HKLM:\\A:B > nonsense", False),
    ],
)
def test_only_values_of_the_machine_can_be_asked_for(key: str, good: bool) -> None:
    assert (registry.places(key) is not None) is good
    if not good:
        value = windows.facts_from(Answer(), [f"registry[{key}]"])[f"registry[{key}]"].value
        assert value == Unknown(Reason.NOT_SUPPORTED, f"{key!r} cannot be asked for")
        assert windows.questions([f"registry[{key}]"]) == (set(), {})


def test_a_key_is_read_once_whatever_is_asked_of_it() -> None:
    sections, asking = windows.questions(["os", LSA, LSA.replace("LmCompatibilityLevel", "RunAsPPL"), LSA.lower()])
    paths = [q["p"].lower() for q in asking["registry"]]
    assert len(paths) == len(set(paths))
    assert next(q["n"] for q in asking["registry"] if q["p"].endswith("Lsa")) == ["LmCompatibilityLevel", "RunAsPPL"]
    assert sections == {"registry", "licences"}


def test_what_is_asked_for_is_data_in_the_script() -> None:
    name = "registry[HKLM:\\SOFTWARE\\X:'); Remove-Item C:\\ -Recurse #\u2019\u00e9]"
    sections, asking = windows.questions([name])
    text = program(sections, asking, NONCE, 120)
    assert text.isascii()
    line = next(line for line in text.splitlines() if line.startswith("$A"))
    inside = re.fullmatch(r"\$A = ConvertFrom-Json '(.*)'", line)
    assert inside is not None
    assert "'" not in inside[1].replace("''", "")
    assert json.loads(inside[1].replace("''", "'")) == asking


def test_only_the_parts_that_are_needed_are_sent() -> None:
    few, all_ = (program(*windows.questions(w), NONCE, 120.0) for w in (["os"], WANTED))
    assert "Win32_EncryptableVolume" not in few
    assert len(few) < len(all_) / 2
    assert len(all_) < 32_000
    assert not re.search(r"^#", all_, re.MULTILINE), "comments are not sent"


def test_every_part_is_read_and_every_reader_has_its_parts() -> None:
    asked = {part for reader in READERS.values() for part in reader.asks}
    assert asked | {"head", "end", "meta", "ids"} == set(parts())


def test_a_plan_says_what_is_asked_and_with_which_rights() -> None:
    steps = {step.feeds[0]: step for step in windows.plan(WANTED)}
    assert steps["system_drive"].rights == ("administrator",)
    assert "Win32_EncryptableVolume" in steps["system_drive"].what
    assert any("LmCompatibilityLevel" in s.what for s in steps.values())


def test_the_command_line_fits_into_cmd_and_says_nothing_to_either_shell() -> None:
    assert len(COMMAND) < 1000
    assert re.fullmatch(r"powershell\.exe [-A-Za-z ]+ [A-Za-z0-9+/=]+", COMMAND)
    assert "ExecutionPolicy" not in COMMAND

    class Shell:
        def run(self, command: str, stdin: bytes, limits: Limits) -> Output:
            assert command == COMMAND
            return Output(stdin, b"", 0)

    assert SshPowerShell(Shell()).script("'x'", Limits()).stdout == b"'x'"
    with pytest.raises(UnicodeEncodeError):
        SshPowerShell(Shell()).script("é", Limits())


def test_lists_that_are_too_long_are_partial() -> None:
    items = [{"name": f"s{n}", "path": "D:\\", "x": 1} for n in range(5000)]
    part = {"all": False, "items": items, "rights": [], "everyone": [{"name": "Everyone", "sid": "S-1-1-0"}]}
    answer = Answer({"shares": part})
    found = windows.facts_from(answer, ["shares"])["shares"].value
    assert isinstance(found, Partial)
    assert found.why.reason is Reason.TRUNCATED


# ---------------------------------------------------------------- the script on the engine


@pytest.fixture(scope="module")
def machine() -> Iterator[lab.WindowsLab]:
    ready, why = lab.available(sshd=False)
    if not ready:
        pytest.skip(f"{why}: the PowerShell engine")
    with lab.WindowsLab({"m1": ("win11-24h2", []), "m2": ("win11-de", ["clm"])}) as made:
        yield made


@pytest.mark.lab
def test_the_script_is_windows_powershell_5_1(machine: lab.WindowsLab, tmp_path: Path) -> None:
    path = tmp_path / "script.ps1"
    path.write_text(program(*windows.questions(WANTED), NONCE, 120.0), encoding="ascii")
    for check in ("-Parse", "-Lint51"):
        done = subprocess.run([str(lab.engine()), check, str(path)], capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.lab
@pytest.mark.parametrize("name", ["m1", "m2"])
def test_nothing_is_called_twice_and_nothing_is_written(machine: lab.WindowsLab, name: str) -> None:
    machine.run(name, program(*windows.questions(WANTED), NONCE, 120.0))
    calls = Counter(machine.calls(name).read_text().split("\n"))
    calls.pop("", None)
    assert len(calls) > 20
    assert not [c for c in calls if c.startswith("wrote")]
    assert {c: n for c, n in calls.items() if n > 1 and c not in PROGRAMS} == {}


PROGRAMS = {"netsh", "net"}
"""Called once for each wireless network, and with different words; they are no cmdlets."""
