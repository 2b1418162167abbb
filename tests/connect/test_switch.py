"""Switches over real SSH: prompts, enable, paging, banners, refusals, and everything that breaks off."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.collect import MAX_REFUSALS, Credentials, collect
from agent.connect import ssh_legacy, switch
from agent.connect.ssh import open_link
from agent.connect.ssh_options import login
from agent.connect.switch_text import settle, unpaged
from agent.demo.switch_device import SwitchFaults, SwitchScript
from agent.demo.switch_server import Switches
from agent.errors import Broken, Unreachable
from agent.facts.protocol import Limits
from agent.facts.switch.readers import READERS
from agent.model import Evidence, Kind, Reason, Target, TargetState, Unknown
from tests.connect.sshd import keygen, public, sshd
from tests.truth.switches import facts, sheet

IOS, CX, PV = "ios-2960x-15.2", "aoscx-6300-10.13", "procurve-2930f-16.11"
GREETING = "\n***** Oakfield *****\nUnauthorised use is an offence #\ncore>\n"


def script(name: str, **more: Any) -> SwitchScript:
    paper = sheet(name)
    return replace(SwitchScript(paper.platform, paper.config, paper.answers), **more)


def target(hosts: Switches, name: str, **settings: str) -> Target:
    found = hosts.inventory_vars(name)
    return Target(
        name, Kind.DEVICE, hosts.switch(name).platform, "oak", {**found, "ansible_password": "env:SWITCH", **settings}
    )


@pytest.fixture
def trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trust's folder, with the passwords where references say."""
    monkeypatch.setenv("SWITCH", "scan")
    monkeypatch.setenv("ENABLE", "0penSesame")
    return tmp_path


def read(
    hosts: Switches, folder: Path, name: str, seconds: float = 60, limit: int = 32 << 20, **settings: str
) -> Evidence:
    (folder / "known_hosts").write_text("\n".join(hosts.known_hosts_lines()) + "\n", encoding="utf-8")
    there = target(hosts, name, **settings)
    wanted = sorted(READERS[there.platform])
    return collect(there, wanted, folder, Limits(seconds, limit), Credentials(), threading.Event())


@pytest.fixture(scope="module")
def fleet() -> Iterator[Switches]:
    """One switch of each make, as they come: banners, pagers, slow greetings."""
    scripts = {
        "ios": script(IOS, greeting=GREETING, privileged=False, enable="0penSesame"),
        "cx": script(CX, greeting=GREETING),
        "pv": script(PV, greeting=GREETING, pause=0.3),
    }
    with Switches(scripts) as hosts:
        yield hosts


@pytest.mark.parametrize(("name", "fixture"), [("ios", IOS), ("cx", CX), ("pv", PV)])
def test_what_comes_over_ssh_is_what_stands_on_paper(fleet: Switches, trust: Path, name: str, fixture: str) -> None:
    """Thousands of lines, pages turned or switched off: the same facts as from the file."""
    got = read(fleet, trust, name, ansible_become="true", ansible_become_password="env:ENABLE")
    assert (got.state, got.detail) == (TargetState.COLLECTED, "")
    assert {n: r.value for n, r in got.facts.items()} == {n: r.value for n, r in facts(sheet(fixture)).items()}


@pytest.mark.parametrize("name", ["ios", "cx", "pv"])
def test_pages_are_turned_where_paging_cannot_be_switched_off(trust: Path, name: str) -> None:
    fixture = {"ios": IOS, "cx": CX, "pv": PV}[name]
    stubborn = SwitchFaults(lacks="terminal .*|no page")
    with Switches({name: script(fixture, faults=stubborn)}) as hosts:
        got = read(hosts, trust, name)
    assert {n: r.value for n, r in got.facts.items()} == {n: r.value for n, r in facts(sheet(fixture)).items()}


def test_without_the_right_the_configuration_is_unknown_by_name(trust: Path) -> None:
    with Switches({"ios": script(IOS, privileged=False)}) as hosts:
        got = read(hosts, trust, "ios")
    assert got.state is TargetState.PARTIAL
    for name in ("lines", "ports", "aaa", "vlans", "startup"):
        assert got.facts[name].value == Unknown(Reason.PERMISSION, "show running-config in full"), name
    assert got.facts["device"].value["release"] == "15.2(7)E10"


def test_a_refusal_in_the_makers_words_is_a_permission(trust: Path) -> None:
    for name in (IOS, CX, PV):
        with Switches({"sw": script(name, faults=SwitchFaults(denies="show running-config"))}) as hosts:
            got = read(hosts, trust, "sw")
        assert got.facts["ports"].value == Unknown(Reason.PERMISSION, "show running-config in full"), name
        assert got.facts["device"].value["family"] in ("C2960X", "FL", "WC")


def test_a_greeting_that_looks_like_a_prompt_and_a_prompt_that_comes_late(trust: Path) -> None:
    """Whatever was typed too early, each answer is that of its own command."""
    with Switches({"ios": script(IOS, greeting="Welcome to\ncore>", pause=0.8)}) as hosts:
        got = read(hosts, trust, "ios")
    assert {n: r.value for n, r in got.facts.items()} == {n: r.value for n, r in facts(sheet(IOS)).items()}


def test_a_wrong_enable_password_is_a_refused_credential(fleet: Switches, trust: Path) -> None:
    got = read(fleet, trust, "ios", ansible_become="true", ansible_become_password="env:SWITCH")
    assert got.state is TargetState.UNREACHABLE
    assert got.facts["ports"].value.reason is Reason.CREDENTIAL_REFUSED
    assert "did not take the enable password" in got.detail


def test_enable_without_a_password_leaves_the_account_as_it_is(fleet: Switches, trust: Path) -> None:
    before = fleet.switch("ios").enable_tries
    got = read(fleet, trust, "ios")
    assert got.facts["ports"].value.reason is Reason.PERMISSION
    assert fleet.switch("ios").enable_tries == before, "nothing wrong is ever tried"


def test_enable_without_a_password_is_enough_where_none_is_set(trust: Path) -> None:
    with Switches({"ios": script(IOS, privileged=False, enable="")}) as hosts:
        assert read(hosts, trust, "ios").state is TargetState.COLLECTED
        assert read(hosts, trust, "ios", ansible_become="false").facts["ports"].value.reason is Reason.PERMISSION


def test_a_wrong_password_is_tried_once(trust: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCH", "wrong")
    with Switches({"ios": script(IOS)}) as hosts:
        got = read(hosts, trust, "ios")
        assert hosts.logins("ios") == 1
    assert got.facts["ports"].value.reason is Reason.CREDENTIAL_REFUSED


def test_an_unknown_host_key_is_not_talked_to(trust: Path) -> None:
    with Switches({"ios": script(IOS)}) as hosts, Switches({"ios": script(IOS)}) as others:
        (trust / "known_hosts").write_text("", encoding="utf-8")
        there = target(hosts, "ios")
        got = collect(there, ["ports"], trust, Limits(20), Credentials(), threading.Event())
        assert got.facts["ports"].value.reason is Reason.IDENTITY
        line = others.known_hosts_lines()[0].split(" ", 1)[1]
        (trust / "known_hosts").write_text(f"[127.0.0.1]:{there.settings['ansible_port']} {line}\n", encoding="utf-8")
        got = collect(there, ["ports"], trust, Limits(20), Credentials(), threading.Event())
        assert got.facts["ports"].value.reason is Reason.IDENTITY
        assert hosts.logins("ios") == 0


def test_a_switch_that_is_off(trust: Path) -> None:
    with Switches({"ios": script(IOS, down=True)}) as hosts:
        got = read(hosts, trust, "ios")
    assert (got.state, got.no_answer) == (TargetState.UNREACHABLE, True)


def test_no_prompt_ever(trust: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch, "SILENCE", 0.5)
    with Switches({"ios": script(IOS, faults=SwitchFaults(silent=True))}) as hosts:
        got = read(hosts, trust, "ios")
    assert got.state is TargetState.UNREACHABLE
    assert got.facts["ports"].value.reason is Reason.TIMED_OUT


@pytest.mark.parametrize("name", [IOS, CX, PV])
def test_a_command_that_never_ends(trust: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What came before it counts; what would come after it is lost for the same reason."""
    monkeypatch.setattr(switch, "SILENCE", 0.5)
    with Switches({"sw": script(name, faults=SwitchFaults(hangs="show running-config"))}) as hosts:
        got = read(hosts, trust, "sw")
    assert got.facts["device"].value["release"]
    assert got.facts["ports"].value.reason is Reason.TIMED_OUT
    assert got.state is TargetState.PARTIAL


@pytest.mark.parametrize("name", [IOS, CX, PV])
def test_a_configuration_that_breaks_off_passes_nothing(trust: Path, name: str) -> None:
    with Switches({"sw": script(name, faults=SwitchFaults(cut_after=2500))}) as hosts:
        got = read(hosts, trust, "sw")
    for fact, reading in got.facts.items():
        if (
            fact in ("session", "device", "snmp_users", "port_status", "neighbours")
            or READERS[sheet(name).platform][fact].asks == ()
        ):
            continue
        assert reading.value.reason is Reason.TRUNCATED, fact


@pytest.mark.parametrize("name", [IOS, CX, PV])
def test_more_bytes_than_allowed(trust: Path, name: str) -> None:
    with Switches({"sw": script(name)}) as hosts:
        got = read(hosts, trust, "sw", limit=2500)
    assert got.facts["ports"].value.reason is Reason.TRUNCATED


def test_the_whole_time_is_bounded(trust: Path) -> None:
    with Switches({"ios": script(IOS, faults=SwitchFaults(delay=0.7))}) as hosts:
        got = read(hosts, trust, "ios", seconds=2)
    assert got.facts["ports"].value.reason is Reason.TIMED_OUT


def test_only_commands_that_show_are_asked(trust: Path) -> None:
    for name in (IOS, CX, PV):
        for fact, reader in READERS[sheet(name).platform].items():
            assert all(c.startswith("show ") for c in reader.asks), fact
    assert {c for commands in switch.PAGING.values() for c in commands} == {
        "terminal length 0",
        "terminal width 511",
        "no page",
    }


def test_nothing_secret_is_logged(fleet: Switches, trust: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        read(fleet, trust, "ios", ansible_become="true", ansible_become_password="env:ENABLE")
    assert "0penSesame" not in caplog.text
    assert "$9$" not in caplog.text


def test_text_as_terminals_show_it() -> None:
    assert settle("a\r\nb\r\r\nc\n\rd") == "a\nb\nc\nd"
    assert settle("x\x08\x08\x08   \x08\x08\x08y") == "xy"
    assert settle("\r         \rnext") == "next"
    assert settle("last\r\n\r          \r    indented") == "last\n    indented"
    assert unpaged("one\ntwo\n --More-- ") == "one\ntwo\n"


# ----------------------------------------------------------------------------------------------- old algorithms


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("-o KexAlgorithms=+diffie-hellman-group1-sha1", ssh_legacy.Legacy(("diffie-hellman-group1-sha1",))),
        (
            "-oHostKeyAlgorithms=+ssh-rsa -o Ciphers=aes128-cbc,aes256-ctr",
            ssh_legacy.Legacy((), ("ssh-rsa",), ("aes128-cbc",)),
        ),
        ("-o KexAlgorithms=curve25519-sha256 -p 22", ssh_legacy.NONE),
        ("", ssh_legacy.NONE),
    ],
)
def test_old_algorithms_are_asked_for_by_name(words: str, wanted: ssh_legacy.Legacy) -> None:
    assert ssh_legacy.asked({"ansible_ssh_common_args": words}) == wanted


def test_what_is_broken_beyond_use_is_not_spoken() -> None:
    with pytest.raises(Unreachable, match="ssh-dss"):
        ssh_legacy.asked({"ansible_ssh_common_args": "-o HostKeyAlgorithms=+ssh-dss"})


@pytest.mark.parametrize("kex", ["diffie-hellman-group14-sha1", "diffie-hellman-group1-sha1"])
def test_an_old_server_is_reached_only_where_the_inventory_says_so(tmp_path: Path, kex: str) -> None:
    """A real OpenSSH that speaks nothing but what old switches speak."""
    rsa = keygen(tmp_path / "rsa", "-t", "rsa", "-b", "2048")
    key = keygen(tmp_path / "key")
    old = (
        f"KexAlgorithms {kex}",
        "HostKeyAlgorithms ssh-rsa",
        "Ciphers aes128-cbc",
        f"HostKey {rsa}",
        "MACs hmac-sha1",
    )
    with sshd(tmp_path / "sshd", f"{public(key)}\n", *old) as server:
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{server.port} {public(rsa)}\n", encoding="utf-8")
        settings: Mapping[str, Any] = {
            "ansible_host": "127.0.0.1",
            "ansible_port": server.port,
            "ansible_ssh_private_key_file": str(key),
            "spiritlevel_folder": str(tmp_path),
        }
        with pytest.raises(Broken), open_link(login("sw", settings), str, Limits(10)):
            pass
        asks = f"-o KexAlgorithms=+{kex} -o HostKeyAlgorithms=+ssh-rsa -o Ciphers=+aes128-cbc"
        want = login("sw", {**settings, "ansible_ssh_common_args": asks})
        with open_link(want, str, Limits(10)) as link:
            assert ssh_legacy.used(link.transport) == [kex, "ssh-rsa", "aes128-cbc"]
        # a server that speaks better is spoken to in better words, whatever the inventory allows
    with sshd(tmp_path / "new", f"{public(key)}\n") as server:
        known.write_text(server.known, encoding="utf-8")
        want = login("sw", {**settings, "ansible_port": server.port, "ansible_ssh_common_args": asks})
        with open_link(want, str, Limits(10)) as link:
            assert ssh_legacy.used(link.transport) == []


def test_a_credential_is_good_once_it_is_taken_and_not_only_at_the_end() -> None:
    credentials, stop = Credentials(), threading.Event()
    with contextlib.ExitStack() as stack:
        first = [stack.enter_context(credentials.use("k", stop)) for _ in range(MAX_REFUSALS)]
        came = threading.Event()

        def fourth() -> None:
            with credentials.use("k", stop):
                came.set()

        thread = threading.Thread(target=fourth)
        thread.start()
        assert not came.wait(0.2)
        first[0]()
        assert came.wait(10)
        thread.join()
