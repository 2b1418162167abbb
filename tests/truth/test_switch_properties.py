"""What must hold of any configuration: order that does not matter changes nothing, and no text can break a parser."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.facts.switch.blocks import Block, CutOff, tree
from agent.facts.switch.look import COMMENTS, Missing, parsed
from agent.facts.switch.ranges import numbers, ports
from tests.truth.switches import Sheet, clean_verdicts, facts, sheet, verdicts

NAMES = (
    "ios-2960x-15.2",
    "ios-9300-17.9",
    "ios-3750-12.2",
    "aoscx-6300-10.13",
    "aoscx-6200-10.10",
    "procurve-2930f-16.11",
    "procurve-5406zl-15.18",
)
# Sections and lines whose order is part of what they say: rules of access lists, passwords that replace one another.
ORDERED = re.compile(r"ip access-list|access-list ip|banner|macro|crypto")


def pieces(text: str, comment: str) -> list[list[str]]:
    """A configuration as top-level pieces: a line with everything below it, or a text of several lines."""
    out: list[list[str]] = []
    lines = text.rstrip("\n").split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        body = [line]
        at += 1
        if re.match(r"banner \S+ ", line):
            rest = line.split(" ", 2)[2]
            end = "^C" if rest.startswith("^C") else rest[0]
            while end not in "\n".join(body).split(rest[: len(end)], 1)[1] and at < len(lines):
                body.append(lines[at])
                at += 1
        elif line.startswith("macro name"):
            while body[-1] != "@":
                body.append(lines[at])
                at += 1
        else:
            while at < len(lines) and lines[at][:1] in (" ", "\t"):
                body.append(lines[at])
                at += 1
        if not line.startswith(comment) and line.strip():
            out.append(body)
    return out


def shuffled(text: str, comment: str, dice: random.Random) -> str:
    """The same configuration with its pieces, and the lines inside most of them, in another order."""
    found = pieces(text, comment)
    last = [found.pop()] if found[-1] == ["end"] else []
    dice.shuffle(found)
    out: list[str] = []
    for body in found:
        head, below = body[0], body[1:]
        depth = min((len(b) - len(b.lstrip()) for b in below), default=0)
        if not ORDERED.match(head) and below and all(b.strip() for b in below):
            groups: list[list[str]] = []
            for line in below:
                if len(line) - len(line.lstrip()) > depth and groups:
                    groups[-1].append(line)
                else:
                    groups.append([line])
            dice.shuffle(groups)
            below = [line for group in groups for line in group]
        out += [head, *below]
    return "\n".join([*out, *(last[0] if last else [])]) + "\n"


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_order_that_does_not_matter_changes_no_verdict(name: str, seed: int) -> None:
    before = sheet(name)
    after = replace(before, config=shuffled(before.config, COMMENTS[before.platform], random.Random(seed)))
    after = replace(after, startup=after.config if before.platform != "procurve" else None)
    assert verdicts(after) == clean_verdicts(name)


@pytest.mark.parametrize("name", NAMES)
def test_trailing_blanks_line_ends_and_comments_change_nothing(name: str) -> None:
    before = sheet(name)
    comment = COMMENTS[before.platform]
    lines = []
    inside = False
    for line in before.config.split("\n"):
        inside = inside ^ (line.count("^C") % 2 == 1)
        lines.append(f"{line}  \r")
        if not inside and line.startswith(comment):
            lines.append(f"{comment} no ip http server, and the rest")
    after = replace(before, config="\n".join(lines))
    got, wanted = ({n: r.value for n, r in facts(s).items() if n != "banners"} for s in (after, before))
    assert got == wanted


@given(st.text(max_size=400), st.sampled_from(["!", ";"]))
@settings(max_examples=150, deadline=None)
def test_no_text_breaks_the_tree(text: str, comment: str) -> None:
    try:
        root, _ = tree(text, comment)
    except (CutOff, ValueError):
        return
    assert isinstance(root, Block)


VOCABULARY = """
    interface vlan line vty 0 4 GigabitEthernet1/0/1 1/1/1 lag 2 Trk1 no switchport access trunk native allowed 20 1-5 ,
    username password secret 7 group tacacs+ local banner motd ^C # " end exit ip ssh version snmp-server community host
    spanning-tree bpdu-protection untagged tagged name voice logging ntp server aaa authentication login
"""
WORDS = st.sampled_from(VOCABULARY.split())


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(WORDS, min_size=1, max_size=6)), max_size=30))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_lines_of_known_words_never_break_a_parser(lines: list[tuple[int, list[str]]]) -> None:
    """Nonsense is unknown or a reading of its type; it never raises, and every fact is answered."""
    text = (
        "hostname x\nvlan 1\nvlan 2\n" + "\n".join(" " * depth + " ".join(words) for depth, words in lines) + "\nend\n"
    )
    for platform in ("ios", "aoscx", "procurve"):
        got = facts(Sheet(platform, text, {"show version": "Version : FL.10.13.1040"}))
        assert all(reading is not None for reading in got.values())
        verdicts(Sheet(platform, text))


@given(st.lists(st.integers(1, 4094), min_size=1, max_size=40, unique=True))
def test_ranges_of_vlans_come_back(chosen: list[int]) -> None:
    wanted = sorted(chosen)
    parts: list[str] = []
    at = 0
    while at < len(wanted):
        end = at
        while end + 1 < len(wanted) and wanted[end + 1] == wanted[end] + 1:
            end += 1
        parts.append(str(wanted[at]) if at == end else f"{wanted[at]}-{wanted[end]}")
        at = end + 1
    assert numbers(",".join(parts)) == wanted
    assert numbers(" ".join(parts)) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1-4,7", ["1", "2", "3", "4", "7"]),
        ("A1-A3,B3", ["A1", "A2", "A3", "B3"]),
        ("1/1-1/3,2/A1", ["1/1", "1/2", "1/3", "2/A1"]),
        ("Trk1-Trk2", ["Trk1", "Trk2"]),
        ("A1-3", ["A1", "A2", "A3"]),
    ],
)
def test_ranges_of_ports(text: str, wanted: list[str]) -> None:
    assert ports(text) == wanted


@pytest.mark.parametrize("text", ["", "x", "1-", "-3", "5-2", "A1-B3", "1/1-2/4"])
def test_what_is_no_range_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        ports(text)


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_cut_inside_a_banner_or_macro_is_not_whole(name: str) -> None:
    before = sheet(name)
    for match in re.finditer(r"(?m)^(banner \S+ .*|macro name .*)\n(?=.+\n)", before.config):
        text = before.config[: match.end()]
        if before.config[match.start() : match.end()].count("^C") == 2 or match[0].count('"') == 2:
            continue  # closed on its own line
        with pytest.raises(Missing):
            parsed(text, before.platform)
