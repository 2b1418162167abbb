"""The Linux facts: recorded answers (tests/fixtures/linux), bent answers, and captures of real hosts."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.conform import conform, from_example
from agent.demo.replay_linux import replay
from agent.facts import linux
from agent.facts.linux.answer import COMMAND, parse, payload, script
from agent.facts.linux.readers import READERS
from agent.facts.protocol import Limits, Output
from agent.facttypes import REGISTRY
from agent.model import Partial, Reason, TargetState, Unknown

FIXTURES = sorted((Path(__file__).resolve().parent.parent / "fixtures" / "linux").glob("*.json"))
CAPTURES = sorted((Path(linux.__file__).resolve().parents[2] / "demo" / "captures").glob("*.json"))
NONCE = "0123456789abcdef"
START = f"\n\x1e{NONCE} "
WANTED = [
    *(n for n, r in READERS.items() if r.read is not None),
    "sysctl[net.ipv4.ip_forward]",
    "package[ufw]",
    "service[ssh]",
    "file[/etc/shadow]",
    "mount[/tmp]",
]


def told(sections: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Sections of a fixture as the collector would print them."""
    out = []
    for name, entry in sections.items():
        text = "\n".join(entry["body"])
        for state, path, lines in entry.get("files", ()):
            text += f"{START}+ {state} {path}\n" + "\n".join(lines) + "\n"
        out.append(f"{START}{name}\n{text}{START}rc={entry['rc']} {entry['note']}\n")
    return ("".join(out) + f"{START}END {len(sections)}\n").encode()


def read(data: bytes, wanted: Sequence[str], **bent: Any) -> dict[str, Any]:
    answer = parse(Output(data, b"", 0, **bent), NONCE, Limits())
    return {n: r.value for n, r in linux.facts_from(answer, wanted).items()}


@pytest.mark.parametrize("path", FIXTURES, ids=lambda p: p.stem)
def test_recorded_answers_give_the_expected_facts(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    found = read(told(case["sections"]), list(case["facts"]))
    for name, value in case["facts"].items():
        assert found[name] == from_example(value), f"{name}: {case['about']}"


@pytest.mark.parametrize("path", FIXTURES, ids=lambda p: p.stem)
def test_what_is_read_is_of_its_declared_type(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    for name, value in read(told(case["sections"]), list(case["facts"])).items():
        spec = REGISTRY.spec_of("linux", name)
        assert conform(value, spec.type, spec.may_be_absent, name) == value


def capture(name: str) -> dict[str, Any]:
    return json.loads(next(p for p in CAPTURES if p.stem == name).read_text(encoding="utf-8"))


class Replayed:
    """A shell that answers from a capture; `bend` spoils the answer on its way."""

    def __init__(self, name: str, bend: Any = None) -> None:
        self.answer, self.bend = replay(capture(name)), bend

    def run(self, command: str, stdin: bytes, limits: Limits) -> Output:
        out, err, code = self.answer(command, stdin)
        return Output(self.bend(out) if self.bend else out, err, code)


def test_captures_of_real_hosts_are_read_whole() -> None:
    assert {p.stem for p in CAPTURES} >= {"clean", "drifted", "worse", "no-sudo"}
    clean = linux.collect(Replayed("clean"), WANTED, Limits())
    assert clean.state is TargetState.COLLECTED
    assert not [n for n, r in clean.facts.items() if isinstance(r.value, Unknown) and n not in {"uptime", "packages"}]
    assert clean.facts["sshd"].value["permitrootlogin"] == "no"
    drifted = linux.collect(Replayed("drifted"), WANTED, Limits())
    assert drifted.facts["sshd"].value["permitrootlogin"] == "yes"
    assert drifted.facts["file[/etc/shadow]"].value["mode"] == "0644"


def test_a_refused_sudo_leaves_partial_facts_that_say_so() -> None:
    found = linux.collect(Replayed("no-sudo"), WANTED, Limits())
    assert found.state is TargetState.PARTIAL
    assert "sudo was refused" in found.detail
    assert found.facts["sshd"].value == Unknown(Reason.PERMISSION, "sudo")
    assert found.facts["sudo"].value == Unknown(Reason.PERMISSION, "sudo")
    assert isinstance(found.facts["setuid_files"].value, Partial)
    assert found.facts["os"].value["id"] == "debian"


@pytest.mark.parametrize("name", [p.stem for p in CAPTURES])
def test_a_capture_answers_any_part_as_it_answers_the_whole(name: str) -> None:
    whole = linux.collect(Replayed(name), WANTED, Limits()).facts
    for fact in WANTED:
        assert linux.collect(Replayed(name), [fact], Limits()).facts[fact].value == whole[fact].value


@pytest.mark.parametrize("path", CAPTURES, ids=lambda p: p.stem)
def test_captures_hold_no_secret_and_nothing_of_the_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "$y$" not in text
    assert "$6$" not in text
    assert "198.18." not in text
    assert len(text) < 60_000


def test_every_wanted_fact_is_in_the_answer_even_without_one() -> None:
    found = read(b"", WANTED)
    assert set(found) == set(WANTED)
    assert all(v == Unknown(Reason.UNREADABLE, "the host did not run the collector") for v in found.values())
    late = read(b"", WANTED, timed_out=True)
    assert {v.reason for v in late.values()} == {Reason.TIMED_OUT}


def test_noise_before_the_answer_is_passed_over() -> None:
    noise = b"*** Welcome ***\r\n\x1b[31mred\x1b[0m \xff\xfe\n"
    found = linux.collect(Replayed("clean", lambda out: noise + out), ["os"], Limits())
    assert found.facts["os"].value["id"] == "debian"


def test_a_fact_that_nobody_declared_is_unknown() -> None:
    assert isinstance(read(b"", ["nonsense"])["nonsense"], Unknown)


# ---------------------------------------------------------------- answers that are bent
def plain(name: str = "clean") -> bytes:
    return replay(capture(name))(COMMAND, payload({**linux.sections_for(WANTED)}, NONCE, plain=True))[0]


PLAIN = plain()
WHOLE = read(PLAIN, WANTED)
PACKED = f"{START}gz\n".encode() + gzip.compress(PLAIN, 6, mtime=0)


def agrees(bent: Any, whole: Any) -> bool:
    """Whether `bent` says nothing else than `whole`: parts are unknown or the same, and a list knows what it lacks."""
    if isinstance(bent, Unknown):
        return True
    if isinstance(bent, Partial):
        items = whole.items if isinstance(whole, Partial) else whole
        return all(any(agrees(b, w) for w in items) for b in bent.items)
    if isinstance(bent, dict) and isinstance(whole, dict):
        return set(bent) <= set(whole) and all(agrees(bent[k], whole[k]) for k in bent)
    if isinstance(bent, list) and isinstance(whole, list):
        return len(bent) == len(whole) and all(map(agrees, bent, whole))
    return bool(bent == whole)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(PLAIN)))
def test_a_cut_answer_never_gives_another_value(length: int) -> None:
    found = read(PLAIN[:length], WANTED)
    assert all(agrees(found[n], WHOLE[n]) for n in WANTED)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(PACKED)))
def test_a_cut_packed_answer_never_gives_another_value(length: int) -> None:
    found = read(PACKED[:length], WANTED, truncated=True)
    assert all(agrees(found[n], WHOLE[n]) for n in WANTED)


@settings(max_examples=60, deadline=None)
@given(st.integers(40, len(PACKED) - 1), st.integers(1, 255))
def test_a_damaged_packed_answer_gives_nothing_or_the_truth(place: int, change: int) -> None:
    bent = bytearray(PACKED)
    bent[place] ^= change
    found = read(bytes(bent), WANTED)
    assert all(agrees(found[n], WHOLE[n]) for n in WANTED)


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=2000))
def test_garbage_never_crashes_and_is_never_known(data: bytes) -> None:
    assert all(isinstance(v, Unknown) for v in read(data, WANTED).values())


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["clean", "worse"]),
    st.text(alphabet="0123456789abcdef", min_size=16, max_size=16),
    st.sampled_from(["sshd", "users", "END 3", "rc=0 ", "+ ok /etc/sudoers", "gz"]),
    st.text(max_size=30),
)
def test_marks_forged_in_a_file_create_no_facts(name: str, guess: str, word: str, tail: str) -> None:
    if guess == NONCE:
        return
    entry = capture(name)
    forged = f"\n\x1e{guess} {word}\npermitrootlogin no\n{tail}\n\x1e{guess} rc=0 \n"
    entry["login"] = {**entry["login"], "body": entry["login"]["body"] + forged}
    out = replay(entry)(COMMAND, payload(linux.sections_for(WANTED), NONCE, plain=True))[0]
    whole = read(plain(name), WANTED)
    found = read(out, WANTED)
    assert {n for n in WANTED if found[n] != whole[n]} <= {"login_policy"}


def test_an_answer_larger_than_allowed_is_cut_and_not_believed_beyond() -> None:
    bomb = f"{START}gz\n".encode() + gzip.compress(PLAIN + b"x" * (4 << 20))
    answer = parse(Output(bomb, b"", 0), NONCE, Limits(bytes=1000))
    assert answer.lost is not None
    assert answer.lost.reason is Reason.TRUNCATED


def test_sections_that_never_ended_are_unknown_even_where_the_end_line_came() -> None:
    data = f"{START}timezone\n/usr/share/zoneinfo/UTC{START}END 1\n".encode()
    assert isinstance(read(data, ["timezone"])["timezone"], Unknown)


# ---------------------------------------------------------------- the script
def test_the_script_is_posix_shell_and_keys_are_quoted() -> None:
    keys = ["file[/tmp/it's; $(touch /tmp/owned) `x`]", "service[-ssh]", "package[--help]", "sysctl[../../etc/passwd]"]
    sections = linux.sections_for(keys)
    assert set(sections) == {"file"}
    text = payload(sections, NONCE)
    assert subprocess.run(["sh", "-n"], input=text, capture_output=True, timeout=20).returncode == 0
    assert b"sec file s_file '/tmp/it'\"'\"'s; $(touch /tmp/owned) `x`'" in text


def test_the_script_writes_nothing_on_the_host() -> None:
    code = "\n".join(line for line in script().splitlines() if not line.startswith("#"))
    targets = re.findall(r"(?:^|[ \d;])>{1,2}\s*([^&\s;)}]+)", code)
    assert set(targets) == {"/dev/null"}
    assert not re.search(r"\b(tee|touch|mktemp|mkdir|rm|cp|mv|dd) ", code)


def test_the_script_runs_here_as_whoever_runs_this() -> None:
    wanted = ["os", "users", "groups", "timezone", "uptime", "sockets", "file[/]", "sysctl[kernel.ostype]"]
    text = payload(linux.sections_for(wanted), NONCE)
    done = subprocess.run(["sh", "-s"], input=text, capture_output=True, timeout=60)
    answer = parse(Output(done.stdout, done.stderr, done.returncode), NONCE, Limits())
    assert answer.lost is None
    found = {n: r.value for n, r in linux.facts_from(answer, wanted).items()}
    assert found["file[/]"]["type"] == "directory"
    assert found["sysctl[kernel.ostype]"]["text"] == "Linux"
    assert "root" in {u["name"] for u in found["users"]}


def test_the_plan_names_what_runs_and_with_which_rights() -> None:
    steps = {s.feeds: s for s in linux.plan(["sshd", "file[/etc/shadow]", "file[/etc/passwd]"])}
    assert steps[("sshd",)].rights == ("sudo",)
    assert "/etc/shadow, /etc/passwd" in steps["file[/etc/shadow]", "file[/etc/passwd]"].what
