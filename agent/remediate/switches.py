"""What mends the switches of a bundle: steps for Cisco IOS, written steps with exact lines for the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.derive import View
from agent.model import Evidence, Finding, Offender, Target
from agent.remediate.switch_aruba import AOSCX, PROCURVE
from agent.remediate.switch_ios import FIXES as IOS
from agent.remediate.switch_parts import Need, Part, blocks, commands, script
from agent.render.bundle_content import Manual, Snippet, Step

PLAYBOOK = "switch/ios_config.yml"
_FIXES: Mapping[str, Mapping[str, Callable[[Need], Part]]] = {"ios": IOS, "aoscx": AOSCX, "procurve": PROCURVE}
BY_HAND = frozenset({"login-banner"})
"""Fixes of IOS that no module sends as they are: a banner is no line."""
Failing = tuple[Any, Finding, tuple[Offender, ...]]
"""A rule, its finding, and the offenders that no exception covers."""


def parts(evidence: Evidence, failing: Sequence[Failing], settings: Mapping[str, Any]) -> dict[str, Part]:
    """Control (without `switch.`) → what mends it on this device. Pure."""
    out: dict[str, Part] = {}
    target, shared = evidence.target, dict[Any, Any]()
    for rule, finding, offenders in failing:
        name = str(finding.control).removeprefix("switch.")
        fix = _FIXES.get(target.platform, {}).get(name)
        if fix is None or not str(finding.control).startswith("switch."):
            continue
        view = View(target.family, evidence.facts, evidence.as_of, rule.parameters, (), settings, shared)
        need = Need(name, view, frozenset(str(o.key) for o in offenders), target.platform)
        part = fix(need)
        if need.strange:
            some = f"{len(set(need.strange))} of what was found are named in a way that is not put into a command."
            part = replace(part, left=(*part.left, some))
        if finding.offender_count > len(finding.offenders):
            part = replace(part, left=(*part.left, "These are the first; scan and look here again for more."))
        out[name] = part
    return out


def saved(evidence: Evidence) -> bool:
    """Whether what runs is known to be what the switch starts with."""
    reading = evidence.facts.get("startup")
    return reading is not None and isinstance(reading.value, Mapping) and reading.value.get("saved") is True


def runs(target: Target, name: str, part: Part, risk: str) -> bool:
    """Whether a playbook takes it: IOS, all of it, nothing that people feel at once, and nothing removed.

    `cisco.ios` compares lines: that a foreign line is gone already it cannot see, and would send its removal each time.
    """
    gone = any(line.startswith("no ") and line != "no ip http server" for c in part.changes for line in c.lines)
    plain = bool(part.changes) and not part.left and not gone
    return target.platform == "ios" and plain and risk != "disruptive" and name not in BY_HAND


def step(rule: Any, hosts: Mapping[str, tuple[Part, bool]]) -> Step:
    """One control that a playbook mends: by switch the part, and whether what runs there is saved."""
    file, fix = rule.control.file, rule.control.file.fix
    return Step(
        file.id,
        file.title,
        file.why,
        file.severity,
        fix.risk,
        fix.minutes,
        fix.reboot,
        "Run it again with `-e sl_switch_undo=true`, which sends the lines that undo it.",
        "",
        PLAYBOOK,
        "switch",
        {
            host: {
                "sl_blocks": blocks(part.changes),
                "sl_undo_blocks": blocks(part.changes, undo=True),
                "sl_guarded": kept and fix.risk != "low",
                "sl_save": kept,
            }
            for host, (part, kept) in hosts.items()
        },
        {},
        collections=("ansible.netcommon", "cisco.ios"),
    )


def manual(item: Manual, part: Part, platform: str) -> Manual:
    """A written step with the device's own lines."""
    return replace(
        item,
        lines=tuple(commands(part.changes, platform)),
        undo_lines=tuple(commands(part.changes, platform, undo=True)),
        left=part.left,
    )


def snippet(target: Target, found: Mapping[str, Part], kept: bool) -> Snippet | None:
    """All that one device takes, as text to paste; None where there is nothing."""
    whole = {n: p for n, p in found.items() if p.changes}
    if not whole:
        return None
    return Snippet(
        target.name,
        script(target.platform, whole, saved=kept),
        script(target.platform, whole, saved=kept, undo=True),
    )


def terminal(kept: Mapping[str, Any]) -> dict[str, Any]:
    """How Ansible reaches a Cisco switch; `enable` as in a scan, unless the inventory says not to."""
    become = str(kept.get("ansible_become", True)).lower() not in ("false", "no", "off", "0")
    return {
        "ansible_connection": "ansible.netcommon.network_cli",
        "ansible_network_os": "cisco.ios.ios",
        "ansible_become": become,
        "ansible_become_method": "ansible.netcommon.enable",
    }
