"""Every drift that the truth tests plant in a switch: what mends it passes when read again, and can be taken back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.demo.switch_device import Conversation, Hangup, Switch, SwitchScript
from agent.model import Evidence, Finding, Kind, Offender, Reading, Target, TargetState, Verdict
from agent.remediate import switches
from agent.remediate.switch_parts import LINE, PORTS, script, word
from tests.remediate import switch_world as world
from tests.truth import switches as paper
from tests.truth.switches import Sheet
from tests.truth.test_switches import CASES, Case

BY_PEOPLE = frozenset(
    "central-login firmware legacy-ssh native-vlan no-vlan-1 password-storage saved snmp-users vendor-accounts"
    " wireless".split()
)
"""They need a secret, a decision, or the other end of a cable."""
BY_PEOPLE_ON_IOS = frozenset(("snmp-version", "spanning-tree"))
"""What stands there is named by a password, or in lines that are not kept."""


def alike(value: Any) -> Any:
    """A fact without what a default that is said and one that is not have different: both switches do the same."""
    if not isinstance(value, dict):
        return value
    out = dict(value)
    if out.get("telnet") is True:  # ProVision's default
        out["telnet"] = None
    if out.get("timestamps") == "none":
        out["timestamps"] = None
    if "servers" in out:
        out["servers"] = sorted(out["servers"])
    return out


def typed(sheet: Sheet, text: str) -> Sheet:
    """A sheet after somebody has typed a text into the switch, comments left out."""
    switch = Switch(SwitchScript(sheet.platform, sheet.config, sheet.answers, sheet.startup))
    out: list[str] = []
    keys = iter(
        (" " if sheet.platform == "procurve" else "")
        + "".join(f"{ln.strip()}\r" for ln in text.splitlines() if not ln.strip().startswith(("!", ";")))
    )

    def read() -> str:
        try:
            return next(keys)
        except StopIteration:
            raise Hangup from None

    with pytest.raises(Hangup):
        Conversation(switch, read, out.append).run()
    said = "".join(out)
    assert "nvalid input" not in said, said
    return replace(sheet, config=switch.running.show(), startup=None)


def printed(sheet: Sheet) -> Sheet:
    """The same sheet as the stand-in prints it."""
    return typed(sheet, "")


MENDED = [c for c in CASES if any(c_ not in BY_PEOPLE for c_, v in c.expect.items() if isinstance(v, tuple))]


@pytest.mark.parametrize("case", MENDED, ids=lambda c: f"{c.on}: {c.what}")
def test_what_mends_it_passes_and_comes_back(case: Case) -> None:
    sheet = printed(_sheet(case))
    before = world.seen(sheet)
    whole = {n: p for n, p in before.parts.items() if p.changes}
    for _, finding, _ in before.failing:
        name = finding.control.removeprefix("switch.")
        part = before.parts.get(name)
        people = name in BY_PEOPLE or (sheet.platform == "ios" and name in BY_PEOPLE_ON_IOS)
        assert (part is None) == people, name
        assert part is None or part.changes or part.left, name
    if not whole:
        return
    sent = typed(sheet, script(sheet.platform, whole, saved=False))
    after = world.seen(sent)
    assert {n: after.verdicts[n] for n, p in whole.items() if not p.left and after.verdicts[n] != "pass"} == {}
    assert {n for n, v in after.verdicts.items() if v == "fail" and before.verdicts[n] != "fail"} == set()
    back = world.seen(typed(sent, script(sheet.platform, whole, saved=False, undo=True)))
    changed = {n: (v, back.facts[n]) for n, v in before.facts.items() if alike(back.facts[n]) != alike(v)}
    assert changed == {}


def _sheet(case: Case) -> Sheet:
    clean = paper.sheet(case.on)
    return replace(clean, config=case.edit(clean.config))


EVIL = ("{{ 1 }}", "1/1/3\nno aaa", "GigabitEthernet1/0/1 ! reload", "vty 0 4", "", "../x", "Gi1/0/1;reload")


@pytest.mark.parametrize("make", PORTS)
def test_no_pattern_takes_what_is_no_name(make: str) -> None:
    for text in EVIL:
        assert not any(p.fullmatch(text) for p in (PORTS[make], LINE)), text
    assert all(w is None for w in map(word, ("a b", "a\n", "a\nb", "{{x}}", "a;b", "-x", 7)))


def test_a_name_that_is_none_is_counted_and_never_sent() -> None:
    port, state = "1/1/3\nno aaa", TargetState.COLLECTED
    fake = {"name": port, "role": "edge", "bpdu_guard": False, "enabled": True}
    facts = {"port_use": Reading([fake]), "ports": Reading([])}
    target = Target("sw", Kind.DEVICE, "aoscx", "oak")
    evidence = Evidence(target, state, datetime(2026, 11, 1, tzinfo=UTC), facts)
    rule = next(r for r in paper._rules(repr(paper.PARAMETERS)) if r.control.id == "switch.bpdu-guard")
    offenders = (Offender(port, port),)
    finding = Finding(rule.control.id, 1, "oak/sw", "oak", Verdict.FAIL, offenders=offenders, offender_count=1)
    part = switches.parts(evidence, [(rule, finding, offenders)], {})["bpdu-guard"]
    assert part.changes == ()
    assert part.left == ("1 of what was found are named in a way that is not put into a command.",)
