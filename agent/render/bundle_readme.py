"""A bundle's README: the steps in order, with risk, time, reboot and undo; then what people do, as a checklist.

Labels observed on a target are code spans without control characters; everything else is escaped prose.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agent.render.bundle_content import Content, Manual, Step

SHOWN = 200
"""Labels listed per manual step; the report has them all."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\ud800-\udfff]")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|!~&])")


def span(text: str, most: int = 300) -> str:
    """Text as an inert Markdown code span: no control character, no line break, no end of the span inside."""
    clean = _CONTROL.sub("�", text)
    clean = clean if len(clean) <= most else f"{clean[:most]}…"
    fence = "`" * (max((len(m) for m in re.findall(r"`+", clean)), default=0) + 1)
    pad = " " if not clean.strip() or clean[0] in "` " or clean[-1] in "` " else ""
    return f"{fence}{pad}{clean}{pad}{fence}"


def prose(text: str) -> str:
    """Text of the baseline as plain Markdown prose on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(_CONTROL.sub(" ", text).split()))


def readme(content: Content) -> str:
    """What the bundle does, in which order, with risk, time, reboot and undo of each step; then what people do."""
    out = [f"# Remediation: {prose(content.title)}", ""]
    minutes = sum(s.minutes for s in content.steps)
    if content.steps:
        out += [
            f"{_count(len(content.steps), 'step')} for {_count(len(content.hosts), 'host')}, about "
            f"{_count(minutes, 'minute')}; {_count(len(content.manual), 'thing')} to do by hand.",
            "",
        ]
    else:
        out += [f"Nothing here can be mended by a playbook; {_count(len(content.manual), 'thing')} to do by hand.", ""]
    for heading, lines in (("Left out", content.left_out), ("When changes may be made", content.windows)):
        if lines:
            out += [f"## {heading}", "", *(f"- {prose(line)}" for line in lines), ""]
    if content.steps:
        out += [*_how_to(content), "## Steps", ""]
        for number, step in enumerate(content.steps, 1):
            out += _step(number, step)
    if content.manual:
        out += ["## By hand", ""]
        for item in content.manual:
            out += _manual(item)
    return "\n".join(out).rstrip("\n") + "\n"


def _how_to(content: Content) -> list[str]:
    out = [
        "## How to run it",
        "",
        "Any machine with ansible-core 2.16 or newer that reaches the hosts will do. Look first, change nothing:",
        "",
        "```sh",
        "ansible-playbook -i inventory.yml site.yml --check --diff",
        "```",
        "",
        "In this preview a step may fail because a package that an earlier task of it would install is not there yet; "
        "the real run installs it. Then apply, one host or the group `pilot` first where there is one:",
        "",
        "```sh",
        f"ansible-playbook -i inventory.yml site.yml --diff --limit {content.hosts[0].name}",
        "ansible-playbook -i inventory.yml site.yml --diff",
        "```",
        "",
        "A second run changes nothing. One step alone: `--tags` with its name below; only the harmless ones: "
        "`--tags risk_low`. A step that fails on a host does not stop the others; the last play names what failed.",
        "",
    ]
    missing: dict[tuple[str, str], list[str]] = {}
    for host in content.hosts:
        for name, why in host.missing.items():
            missing.setdefault((name, why), []).append(host.name)
    if missing:
        out += [
            "No credential is written here. Supply these yourself, with `--ask-pass`, `--ask-become-pass`, a vault "
            "file or `-e`:",
            "",
        ]
        for (name, why), hosts in sorted(missing.items()):
            because = "a credential" if why == "credential" else "a template, which is not carried over"
            out.append(f"- {span(name)} ({because}): {_names(hosts)}")
        out.append("")
    return out


def _step(number: int, step: Step) -> list[str]:
    out = [
        f"### {number}. {prose(step.title)}",
        "",
        f"- Tag: {span(step.control)} (severity {step.severity}); task file {span('tasks/' + step.playbook)}",
        f"- Why: {prose(step.why)}",
        f"- Risk: {step.risk}; about {_count(step.minutes, 'minute')} a host; "
        + ("a reboot is needed before it holds." if step.reboot else "no reboot."),
        f"- Undo: {prose(step.undo) if step.undo else 'nothing is written down; take a backup first.'}",
    ]
    if step.note:
        out.append(f"- Note: {prose(step.note)}")
    out.append(f"- Hosts ({len(step.hosts)}): {_names(step.hosts)}")
    for host, count in sorted(step.cut.items()):
        out.append(
            f"- On {span(host)} the first {len(step.offenders[host])} of {count} items; scan and run again for more."
        )
    return [*out, ""]


def _manual(item: Manual) -> list[str]:
    out = [
        f"- [ ] **{prose(item.title)}** on {span(item.target)} ({span(item.control)})",
        f"  - Do: {prose(item.what)}",
        f"  - Why: {prose(item.why)}",
        f"  - Risk: {item.risk}; about {_count(item.minutes, 'minute')}; "
        + ("a reboot is needed." if item.reboot else "no reboot."),
    ]
    if item.undo:
        out.append(f"  - Undo: {prose(item.undo)}")
    if item.labels:
        out.append(f"  - Concerns ({item.count}):")
        out += [f"    - [ ] {span(label)}" for label in item.labels[:SHOWN]]
        if item.count > len(item.labels[:SHOWN]):
            out.append(f"    - and {item.count - len(item.labels[:SHOWN])} more: see the CSV report")
    elif item.observed:
        out.append(f"  - Found: {span(item.observed)}")
    return [*out, ""]


def _names(names: Sequence[str]) -> str:
    return ", ".join(span(n) for n in sorted(names))


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
