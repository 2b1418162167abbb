"""Derived facts of switches: SNMP, firmware, log lines, ports in use."""

from __future__ import annotations

import re
from typing import Any

from agent.derive import View
from agent.derive.switch_defaults import platform, stated
from agent.facttypes import BOOL, INT, STR, Field, ListOf, Record, derived
from agent.model import Partial, Reason, Unknown
from agent.versions import at_least

OLD = Record({"name": Field(STR, "what speaks or asks for an old version"), "what": Field(STR)}, "name", "name")
STRONG = Record(
    {
        "name": Field(STR, "user or group"),
        "authentication": Field(BOOL, "it signs what it says"),
        "privacy": Field(BOOL, "it encrypts what it says"),
    },
    key="name",
    label="name",
)
FIRMWARE = Record(
    {
        "name": Field(STR, "unit of the stack"),
        "release": Field(STR, "that it runs"),
        "approved": Field(STR, "lowest that the site approves"),
        "fits": Field(BOOL, "whether it is that or later"),
    },
    key="name",
    label="name",
)
COUNTS = Record(
    {
        "enabled": Field(INT, "ports that are not shut"),
        "in_use": Field(INT, "of those, ports with a link", volatile=True),
    }
)
_ONLY = {"aoscx": "snmp-server snmpv3-only", "procurve": "snmpv3 only"}


@derived("snmp_old", ListOf(OLD), "switch", reads=("device", "snmp"))
def snmp_old(view: View) -> Any:
    """Everything that speaks SNMP version 1 or 2c; on Aruba also that nothing switches those versions off."""
    snmp, make = view.get("snmp"), platform(view)
    if make == "procurve" and not snmp["agent"]:
        return []
    out = []
    if snmp["communities"]:
        out.append({"name": "snmp-server community", "what": f"{snmp['communities']} of them"})
    out += [{"name": g["name"], "what": "group"} for g in snmp["groups"] if g["version"] != "3"]
    out += [{"name": h["name"], "what": "host"} for h in snmp["hosts"] if h["version"] != "3"]
    if make in _ONLY and not snmp["v3_only"]:
        out.append({"name": _ONLY[make], "what": "missing"})
    return out


@derived("snmp_in_use", BOOL, "switch", reads=("snmp",))
def snmp_in_use(view: View) -> Any:
    """Whether anything of SNMP answers: on IOS no user can be without a group, which the configuration shows."""
    return view.get("snmp")["agent"]


@derived("snmp_strength", ListOf(STRONG), "switch", reads=("device", "snmp", "snmp_users"))
def snmp_strength(view: View) -> Any:
    """Version 3 users, and on IOS the groups that say what they need, with what protects them."""
    users, why = view.items("snmp_users")
    strict = platform(view) == "aoscx"
    out: list[dict[str, Any]] = []
    for user in users:
        out.append(
            {
                "name": user["name"],
                "authentication": _strong(user["auth"], "sha" if strict else ""),
                "privacy": _strong(user["privacy"], "aes" if strict else ""),
            }
        )
    for group in view.get("snmp")["groups"]:
        if group["version"] == "3":
            level = group["level"] or "noauth"
            out.append({"name": group["name"], "authentication": level != "noauth", "privacy": level == "priv"})
    return Partial(tuple(out), why) if why else out


def _strong(word: Any, start: str) -> Any:
    if isinstance(word, Unknown):
        return word
    return word is not None and word.startswith(start)


@derived("firmware", ListOf(FIRMWARE), "switch", reads=("device",), parameters=("switch_firmware",))
def firmware(view: View) -> Any:
    """Every unit's release against the approved one of its family, or of its model where the site names that."""
    device = view.get("device")
    members, family = device["members"], device["family"]
    if isinstance(members, Unknown):
        return members
    given = view.parameters.get("switch_firmware") or {}
    table = {str(k).upper(): _written(v, platform(view)) for k, v in given.items()}
    out = []
    for member in members:
        record: dict[str, Any] = {"name": member["name"], "release": member["release"]}
        approved = _approved(table, family, member.get("model"))
        if approved is None:
            named = "this switch" if isinstance(family, Unknown) else family
            why = Unknown(Reason.NOT_SUPPORTED, f"switch_firmware names no release for {named}")
            out.append(record | {"approved": why, "fits": why})
            continue
        record["approved"] = approved
        if isinstance(approved, Unknown):
            out.append(record | {"fits": approved})
            continue
        release = member["release"]
        try:
            record["fits"] = release if isinstance(release, Unknown) else at_least("switch", release, approved)
        except ValueError:
            record["fits"] = Unknown(Reason.UNREADABLE, f"whether {release} is later than {approved}")
        out.append(record)
    return out


def _written(value: Any, make: str) -> str | Unknown:
    """A release as text. YAML reads 10.10 without quotes as the number 10.1: Aruba's second part has two digits, so
    there it can be told what was meant."""
    if not isinstance(value, float):
        # FL.10.13 is how the switch prints it; the family is the table's key already
        return re.sub(r"^[A-Z]{1,2}\.(?=\d)", "", str(value).strip())
    if make != "ios":
        return f"{value:.2f}"
    text = str(value)
    return Unknown(Reason.UNREADABLE, f"switch_firmware: write {text} in quotes") if text.endswith(".1") else text


def _approved(table: dict[str, str | Unknown], family: Any, model: Any) -> str | Unknown | None:
    """The release for a family, else for the longest beginning of a model's number."""
    if isinstance(family, str) and family.upper() in table:
        return table[family.upper()]
    word = str(model).upper().removeprefix("WS-") if isinstance(model, str) else ""
    names = [n for n in table if word.startswith(n.removeprefix("WS-"))]
    return table[max(names, key=len)] if word and names else None


@derived("log_timestamps", STR, "switch", reads=("device", "logging"))
def log_timestamps(view: View) -> Any:
    """What log lines carry: datetime, uptime or none."""
    return stated(view.get("logging")["timestamps"], view, "log_timestamps")


@derived("port_counts", COUNTS, "switch", reads=("port_status",))
def port_counts(view: View) -> Any:
    """Ports that are open and ports in use."""
    items, why = view.items("port_status")
    if why:
        return why
    return {
        "enabled": sum(1 for s in items if s["state"] != "shut"),
        "in_use": sum(1 for s in items if s["state"] == "up"),
    }


@derived("spanning_tree", BOOL, "switch", reads=("device", "guards"))
def spanning_tree(view: View) -> Any:
    """Whether spanning tree runs, in every VLAN."""
    return stated(view.get("guards")["spanning_tree"], view, "spanning_tree")
