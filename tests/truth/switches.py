"""Switches without a network: a configuration and the answers to other commands, read and judged as a scan would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from agent.baseline import Policy, load_policy
from agent.collect import shape
from agent.controls import Rule, rule
from agent.demo.switch_device import Switch, SwitchFaults, SwitchScript
from agent.demo.switch_words import WORDS
from agent.evaluate import Case, judge
from agent.facts.protocol import Limits
from agent.facts.switch import collect
from agent.facts.switch.protocol import Reply
from agent.facts.switch.readers import READERS
from agent.model import Evidence, Finding, Kind, Reading, School, Target, TargetState

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "switch"

PARAMETERS: dict[str, Any] = {
    "time_servers": ["10.77.0.123", "10.77.0.124"],
    "log_servers": ["10.77.0.51"],
    "management_access_list": "MGMT",
    "vlans": {"staff": 10, "pupil": 20, "guest": 30, "cctv": 40, "voip": 50, "management": 99},
    "switch_firmware": {"C2960X": "15.2(7)E10", "CAT9K": "17.9.4", "FL": "10.13", "WC": "16.11.0020"},
}


@dataclass(frozen=True)
class Sheet:
    """One switch on paper: its configuration, and what it says to other commands."""

    platform: str
    config: str
    answers: Mapping[str, str] = field(default_factory=dict)
    startup: str | None = None
    faults: SwitchFaults = field(default_factory=SwitchFaults)


class Paper:
    """A terminal without a connection (`agent.facts.switch.protocol.Terminal`)."""

    privileged = True

    def __init__(self, sheet: Sheet, weak: Sequence[str] = ()) -> None:
        self.platform, self.weak, self.sheet = sheet.platform, weak, sheet
        self.asked: list[str] = []

    @cached_property
    def switch(self) -> Switch:
        """A stand-in that knows the other commands; made only where one is asked that the sheet does not answer."""
        s = self.sheet
        return Switch(SwitchScript(s.platform, s.config, s.answers, s.startup))

    def ask(self, command: str) -> Reply:
        """The answer, or the make's refusal."""
        self.asked.append(command)
        if command == "show running-config":  # as given: what a stand-in would print could hide what is being tested
            return Reply(self.sheet.config)
        if command == "show startup-config" and self.sheet.startup is None:
            return Reply(self.sheet.config)
        if command in self.sheet.answers:
            return Reply(self.sheet.answers[command])
        known = command.startswith(("show startup", "show config"))
        text = self.switch.show(command) if known else None
        return Reply(WORDS[self.platform].invalid.format(word=command) if text is None else text)


@lru_cache(maxsize=1)
def policy() -> Policy:
    """The shipped policy."""
    return load_policy()


@lru_cache(maxsize=32)
def _rules(values: str) -> tuple[Rule, ...]:
    """Every switch rule with the test's parameters."""
    out, given = [], dict(eval(values))  # noqa: S307 - the test's own literal
    for control in policy().controls.values():
        if control.platform != "switch":
            continue
        mine = {n: s.default for n, s in policy().site.items() if s.has_default}
        mine |= {n: p.default for n, p in control.file.parameters.items() if p.has_default}
        mine |= given
        out.append(rule(control, {n: mine[n] for n in control.uses}, {}, policy().site))
    return tuple(out)


def facts(sheet: Sheet, weak: Sequence[str] = ()) -> dict[str, Reading]:
    """All facts of a switch, held to their types."""
    names = sorted(READERS[sheet.platform])
    return shape("switch", names, collect(Paper(sheet, weak), names, Limits()))


def findings(sheet: Sheet, parameters: Mapping[str, Any] | None = None) -> dict[str, Finding]:
    """Control (without `switch.`) → finding."""
    target = Target("sw", Kind.DEVICE, sheet.platform, "oak")
    evidence = Evidence(target, TargetState.COLLECTED, datetime(2026, 11, 1, tzinfo=UTC), facts(sheet))
    rules = _rules(repr({**PARAMETERS, **(parameters or {})}))
    school = School("oak", "Oakfield", "OAK")
    return {f.control.removeprefix("switch."): f for f in judge(Case(evidence, (school,)), rules, school)}


def verdicts(sheet: Sheet, parameters: Mapping[str, Any] | None = None) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Control → (verdict, labels of offenders where it fails)."""
    return {
        c: (f.verdict.value, tuple(sorted(o.label for o in f.offenders)) if f.verdict.value == "fail" else ())
        for c, f in findings(sheet, parameters).items()
    }


@lru_cache(maxsize=16)
def clean_verdicts(name: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The verdicts of a fixture as it stands; not to be changed."""
    return verdicts(sheet(name))


VERSION = {
    "ios-2960x-15.2": """\
Cisco IOS Software, C2960X Software (C2960X-UNIVERSALK9-M), Version 15.2(7)E10, RELEASE SOFTWARE (fc1)
Technical Support: http://www.cisco.com/techsupport
Copyright (c) 1986-2024 by Cisco Systems, Inc.

ROM: Bootstrap program is C2960X boot loader
OAK-ACC-01 uptime is 20 weeks, 3 days, 2 hours, 11 minutes
System image file is "flash:/c2960x-universalk9-mz.152-7.E10.bin"

cisco WS-C2960X-48FPS-L (APM86XXX) processor (revision V05) with 524288K bytes of memory.
Processor board ID FOC1932W0AA
Model number                    : WS-C2960X-48FPS-L
System serial number            : FOC1932W0AA

Switch Ports Model                     SW Version            SW Image
------ ----- -----                     ----------            ----------
*    1 52    WS-C2960X-48FPS-L         15.2(7)E10            C2960X-UNIVERSALK9-M
     2 52    WS-C2960X-48FPS-L         15.2(7)E10            C2960X-UNIVERSALK9-M
     3 52    WS-C2960X-48FPS-L         15.2(7)E10            C2960X-UNIVERSALK9-M
     4 52    WS-C2960X-48FPS-L         15.2(7)E10            C2960X-UNIVERSALK9-M


Switch 02
---------
Switch Uptime                   : 20 weeks, 3 days, 2 hours, 12 minutes
Model number                    : WS-C2960X-48FPS-L
System serial number            : FOC1932W0BB

Configuration register is 0xF
""",
    "ios-9300-17.9": """\
Cisco IOS XE Software, Version 17.09.04
Cisco IOS Software [Cupertino], Catalyst L3 Switch Software (CAT9K_IOSXE), Version 17.9.4, RELEASE SOFTWARE (fc5)
cisco C9300-48P (X86) processor with 1331521K/6147K bytes of memory.
Processor board ID FCW2144L045
System Serial Number               : FCW2144L045

Switch Ports Model              SW Version        SW Image              Mode
------ ----- -----              ----------        ----------            ----
*    1 65    C9300-48P          17.09.04          CAT9K_IOSXE           INSTALL
""",
    "ios-3750-12.2": """\
Cisco IOS Software, C3750 Software (C3750-IPBASEK9-M), Version 12.2(55)SE12, RELEASE SOFTWARE (fc1)
cisco WS-C3750-48P (PowerPC405) processor (revision 01) with 131072K bytes of memory.
Processor board ID CAT0847Z1XY
""",
    "aoscx-6300-10.13": """\
-----------------------------------------------------------------------------
ArubaOS-CX
(c) Copyright 2017-2024 Hewlett Packard Enterprise Development LP
-----------------------------------------------------------------------------
Version      : FL.10.13.1040
Build Date   : 2024-09-13 05:31:18 UTC
Active Image : primary
""",
    "aoscx-6200-10.10": "ArubaOS-CX\nVersion      : ML.10.10.1020\n",
    "procurve-2930f-16.11": "Image stamp:    /ws/swbuildm/rel_yakima\n          Oct 21 2024\n         WC.16.11.0020\n",
    "procurve-5406zl-15.18": "Image stamp:    /sw/code/build/btm(K_15_18)\n                K.15.18.0013\n",
    "ios-ap-15.3": "Cisco IOS Software, C2700 Software (AP3G2-K9W7-M), Version 15.3(3)JF15, RELEASE SOFTWARE (fc1)\n",
    "aoscx-iap-8.10": "Aruba Operating System Software.\nArubaOS (MODEL: 515), Version 8.10.0.0-8.10.0\n",
}
SNMP_USERS = {
    "ios": """
User name: nms
Engine ID: 800000090300A0F849B1C2D3
storage-type: nonvolatile        active
Authentication Protocol: SHA
Privacy Protocol: AES128
Group-name: NMS
""",
    "procurve": """
 Status and Counters - SNMPv3 Global Configuration Information

  User Name                        Auth. Protocol   Privacy Protocol
  -------------------------------- ---------------- ----------------
  nms                              SHA              CFB AES-128
""",
}


def sheet(name: str, **more: str) -> Sheet:
    """A fixture with the usual answers; `more` replaces or adds some, by command with `_` for blanks."""
    platform = name.split("-")[0]
    answers = {"show version": VERSION[name]}
    if platform == "ios":
        answers["show snmp user"] = SNMP_USERS["ios"]
    if platform == "procurve":
        answers["show snmpv3 user"] = SNMP_USERS["procurve"]
    answers |= {k.replace("_", " "): v for k, v in more.items()}
    return Sheet(platform, (FIXTURES / f"{name}.cfg").read_text(encoding="utf-8"), answers)
