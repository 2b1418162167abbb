"""What switches say beside their configuration, and what the fixtures that are full of faults come to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.conform import to_json
from agent.facts.switch import plan
from agent.facts.switch.answer import missing, redact
from agent.facts.switch.protocol import Reply
from agent.facts.switch.readers import READERS
from agent.facts.switch.schema import CONFIG_FACTS
from agent.facts.switch.secrets import factory, reveal_type_7
from agent.facttypes import REGISTRY
from agent.model import Reason
from tests.truth.switches import FIXTURES, Sheet, facts, sheet, verdicts

CASES: list[dict[str, Any]] = json.loads((FIXTURES / "answers.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_answers_become_facts(case: dict[str, Any]) -> None:
    """Each with its make's way to print it; sources stand in the fixture."""
    config = sheet(
        {"ios": "ios-2960x-15.2", "aoscx": "aoscx-6300-10.13", "procurve": "procurve-2930f-16.11"}[case["platform"]]
    )
    answers = {c: "\n".join(lines) + "\n" for c, lines in case["answers"].items()}
    got = facts(Sheet(case["platform"], config.config, answers))[case["fact"]].value
    assert to_json(got) == case["value"]


@pytest.mark.parametrize("platform", ["ios", "aoscx", "procurve"])
def test_every_fact_has_a_reader_on_every_make(platform: str) -> None:
    raw = {n for (p, n), s in REGISTRY.specs.items() if p == "switch" and s.derive is None}
    assert set(READERS[platform]) == raw
    assert set(CONFIG_FACTS) <= raw


@pytest.mark.parametrize("platform", ["ios", "aoscx", "procurve"])
def test_the_plan_asks_each_command_once(platform: str) -> None:
    steps = plan(sorted(READERS[platform]), platform)
    assert len({s.what for s in steps}) == len(steps)
    assert {f for s in steps for f in s.feeds} >= {n for n, r in READERS[platform].items() if r.asks}
    assert plan(["session"], platform) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("                ^\n% Invalid input detected at '^' marker.\n", Reason.COMMAND_MISSING),
        ("% Incomplete command.\n", Reason.COMMAND_MISSING),
        ('% Ambiguous command:  "show lldp"\n', Reason.COMMAND_MISSING),
        ("Command authorization failed.\n", Reason.PERMISSION),
        ("% Authorization failed.\n", Reason.PERMISSION),
        ("Cannot execute command. Command not allowed.\n", Reason.PERMISSION),
        ("Invalid input: running-config\n", Reason.COMMAND_MISSING),
        ("Incomplete input: show\n", Reason.COMMAND_MISSING),
        ("Not authorized to run this command.\n", Reason.PERMISSION),
        ("", None),
        ("hostname x\nbanner motd ^\n% Invalid input detected\n^\n" + "vlan 1\n" * 20, None),
    ],
)
def test_refusals_in_the_makers_words(text: str, reason: Reason | None) -> None:
    why = missing(Reply(text), "show x")
    assert (why.reason if why else None) is reason


def test_lost_replies_say_how() -> None:
    assert str(missing(Reply("", timed_out=True), "show x")) == "timed out: show x"
    assert str(missing(Reply("half", cut_off=True), "show x")) == "cut off: show x"


def test_type_7_hides_nothing() -> None:
    assert reveal_type_7("104D000A0618") == "cisco"
    assert reveal_type_7("0822455D0A16") == "cisco"
    assert reveal_type_7("zz") is None
    assert factory("Cisco", "x")
    assert factory("jsmith", "JSmith")
    assert not factory("correct horse", "jsmith")


def test_passwords_in_descriptions_are_not_kept() -> None:
    assert redact("AP hall password: Winter2019 upstairs") == "AP hall password *** upstairs"
    assert redact("room\x1b[31m 12") == "room [31m 12"


EDGES = [f"FastEthernet1/0/{n}" for n in (*range(1, 14),)]
ROTTEN: dict[str, dict[str, Any]] = {
    "ios-3750-12.2": {
        "telnet": ["line vty 0 4", "line vty 5 15"],
        "ssh-version": [],
        "http": [],
        "management-access": ["line vty 0 4", "line vty 5 15"],
        "idle-timeout": ["line con 0", "line vty 5 15"],
        "login-banner": [],
        "central-login": ["line vty 0 4", "line vty 5 15"],
        "password-storage": ["admin", "enable", "jbrown", "line vty 0 4"],
        "vendor-accounts": ["admin", "jbrown"],
        "snmp-version": ["10.9.1.50", "snmp-server community"],
        "time-servers": ["130.88.200.4"],
        "log-server": [],
        "log-timestamps": [],
        "vlans": ["30", "40", "50"],
        "no-vlan-1": ["FastEthernet1/0/11", "FastEthernet1/0/12"],
        "native-vlan": ["GigabitEthernet1/0/1", "GigabitEthernet1/0/2"],
        "bpdu-guard": ["FastEthernet1/0/11", "FastEthernet1/0/12", "FastEthernet1/0/13"],
        "dhcp-snooping": ["10", "20"],
        "arp-inspection": ["10", "20"],
        "port-access": EDGES,
        "storm-control": EDGES,
    },
    "aoscx-6200-10.10": {
        "telnet": ["default"],
        "management-access": ["default"],
        "idle-timeout": ["cli-session"],
        "login-banner": [],
        "central-login": ["ssh"],
        "password-storage": ["admin"],
        "vendor-accounts": ["admin", "aruba"],
        "snmp-version": ["10.9.1.50", "snmp-server community", "snmp-server snmpv3-only"],
        "snmp-users": ["old"],
        "time-servers": ["pool.ntp.org"],
        "log-server": [],
        "vlans": ["30", "50", "99"],
        "no-vlan-1": ["1/1/1", "1/1/2"],
        "native-vlan": ["lag 2"],
        "bpdu-guard": ["1/1/1", "1/1/2"],
        "dhcp-snooping": ["10", "20"],
        "arp-inspection": ["10", "20"],
        "port-access": [f"1/1/{n}" for n in range(1, 9)],
        "storm-control": ["1/1/1", "1/1/2", "1/1/3"],
    },
    "procurve-5406zl-15.18": {
        "telnet": ["telnet-server"],
        "http": [],
        "management-access": ["10.0.0.0 255.0.0.0"],
        "idle-timeout": ["console idle-timeout"],
        "login-banner": [],
        "central-login": ["ssh"],
        "password-storage": ["admin", "operator"],
        "vendor-accounts": ["manager"],
        "snmp-version": ["10.9.1.50", "snmp-server community", "snmpv3 only"],
        "time-servers": ["130.88.200.4"],
        "log-server": [],
        "spanning-tree": [],
        "vlans": ["30", "40", "50"],
        # C1 is an uplink by its description, but its VLAN counts; C24 carries a tagged VLAN, B24 is shut
        "no-vlan-1": [f"B{n}" for n in range(3, 24)] + [f"C{n}" for n in range(1, 24)],
        "bpdu-guard": [f"A{n}" for n in range(1, 23)]
        + [f"B{n}" for n in range(1, 24)]
        + [f"C{n}" for n in range(2, 24)],
        "dhcp-snooping": ["10", "20"],
        "arp-inspection": ["10", "20"],
        # B2 learns with a limit, A5 and A6 ask by MAC; 802.1X on A1 to A4 is not active
        "port-access": [f"A{n}" for n in (1, 2, 3, 4, *range(7, 23))]
        + [f"B{n}" for n in (1, *range(3, 24))]
        + [f"C{n}" for n in range(2, 24)],
        # only A1 has a limit; A2's is 100 %
        "storm-control": [f"A{n}" for n in range(2, 23)]
        + [f"B{n}" for n in range(1, 24)]
        + [f"C{n}" for n in range(2, 24)],
    },
}


@pytest.mark.parametrize("name", list(ROTTEN))
def test_where_nearly_everything_is_wrong_each_item_is_named(name: str) -> None:
    got = {c: list(labels) for c, (v, labels) in verdicts(sheet(name)).items() if v == "fail"}
    assert got == {c: sorted(labels) for c, labels in ROTTEN[name].items()}


def test_no_fixture_names_a_real_place() -> None:
    assert all(
        "example" in p.read_text() or "MILL" in p.read_text() or "OAK" in p.read_text()
        for p in Path(FIXTURES).glob("*.cfg")
    )
