"""Ports of Aruba ProVision (AOS-S): what a port is stands in the VLANs, and in lists of ports elsewhere. Pure."""

from __future__ import annotations

import re
from typing import Any

from agent.facts.switch.answer import redact
from agent.facts.switch.blocks import Block
from agent.facts.switch.procurve_config import vlan_blocks
from agent.facts.switch.ranges import in_order, numbers
from agent.facts.switch.ranges import ports as port_list

_LIST = r"([0-9A-Za-z/][0-9A-Za-z/,-]*)"


def names(text: str) -> list[str]:
    """Ports of a list; trunks are written `trk1` and `Trk1`."""
    return [re.sub(r"^trk", "Trk", p, flags=re.IGNORECASE) for p in port_list(text)]


def ports(root: Block) -> list[dict[str, Any]]:
    """Every port that the configuration names, and trunks. Raises ValueError for a list that is none."""
    untagged: dict[str, int] = {}
    tagged: dict[str, set[int]] = {}
    known: set[str] = set()
    voices = {n for n, b in vlan_blocks(root) if b.has("voice")}
    for number, b in vlan_blocks(root):
        voice = number in voices
        for match in b.each(rf"(no )?(untagged|tagged|forbid|auto) {_LIST}"):
            for port in names(match[3]):
                known.add(port)
                if match[1]:
                    continue
                if match[2] == "untagged":
                    untagged[port] = number
                elif match[2] == "tagged" and not voice:
                    tagged.setdefault(port, set()).add(number)
    bundles: dict[str, str] = {}
    for match in root.each(rf"trunk {_LIST} (trk\d+)(?: .*)?"):
        bundles.update(dict.fromkeys(names(match[1]), match[2].capitalize()))
    blocks: dict[str, Block] = {}
    for match, b in root.blocks(rf"interface {_LIST}"):
        for port in names(match[1]):
            have = blocks.setdefault(port, Block(port))
            have.children.extend(b.children)
    for port, b in blocks.items():  # some releases write a port's VLANs below the port
        for match in b.each(r"(untagged|tagged) vlan ([\d,-]+)"):
            for number in numbers(match[2]):
                if match[1] == "untagged":
                    untagged[port] = number
                elif number not in voices:
                    tagged.setdefault(port, set()).add(number)
    known |= {*bundles, *bundles.values(), *blocks}
    guard = _in(root, rf"spanning-tree {_LIST} bpdu-protection")
    secure = _in(
        root, rf"port-security {_LIST} learn-mode (?:static|configured|limited-continuous|port-access)(?: .*)?"
    )
    dot1x = _in(root, rf"aaa port-access authenticator {_LIST}")
    mac = _in(root, rf"aaa port-access mac-based {_LIST}")
    storm = _in(root, rf"fault-finder broadcast-storm (?:ethernet )?{_LIST} .*")
    dhcp = _trusted(root, "dhcp-snooping")
    arp = _trusted(root, "arp-protect")
    out = []
    for name in in_order(known):
        block = blocks.get(name, Block(name))
        description = block.last(r'name "?(.*?)"?')
        out.append(
            {
                "name": name,
                "enabled": not (block.has("disable") or block.switched("enable") is False),
                "mode": "trunk" if tagged.get(name) else "access" if name in untagged else "other",
                "vlan": untagged.get(name),
                "bundle": bundles.get(name),
                "is_bundle": name.startswith("Trk"),
                "description": redact(description[1]) if description else None,
                "portfast": None,
                "bpdu_guard": name in guard,
                "port_security": name in secure,
                "dot1x": name in dot1x,
                "mac_auth": name in mac,
                "storm_control": name in storm or _limit(block),
                "dhcp_trust": name in dhcp or block.has(r"dhcp-snooping trust"),
                "arp_trust": name in arp or block.has(r"arp-protect trust"),
            }
        )
    return out


_WORDS = frozenset("active sensitivity action all".split())


def _in(root: Block, pattern: str) -> set[str]:
    """Ports of all lines that match, whose first group is a list of them."""
    found: set[str] = set()
    for match in root.each(pattern):
        if match[1] not in _WORDS:
            found.update(names(match[1]))
    return found


def _trusted(root: Block, word: str) -> set[str]:
    """Ports of `dhcp-snooping trust 1-2 Trk1`: lists with blanks between them."""
    found: set[str] = set()
    for match in root.each(rf"{word} trust ([0-9A-Za-z/, -]+)"):
        for part in match[1].replace(",", " ").split():
            found.update(names(part))
    return found


def _limit(block: Block) -> bool:
    """Whether broadcasts are limited: 0 means no limit, and 100 % lets everything through."""
    match = block.last(r"broadcast-limit (\d+)")
    if match and 0 < int(match[1]) < 100:
        return True
    rate = block.last(r"rate-limit bcast in (percent|kbps) (\d+)")
    return rate is not None and int(rate[2]) > 0 and not (rate[1] == "percent" and int(rate[2]) >= 100)
