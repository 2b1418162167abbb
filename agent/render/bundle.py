"""A remediation bundle as text: inventory, plays, variables and README. Pure: what is in comes from `agent.remediate`.

Nothing observed on a target is ever markup, template or code here: offenders' keys are `!unsafe` data, their labels are
code spans without control characters, and what Ansible would template in a title is taken apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.yamlfile import Unsafe, dump

RISKS = ("low", "medium", "high", "disruptive")
SHOWN = 200
"""Labels listed per manual step; the report has them all."""
SECRET = re.compile(r"pass(wd|word|phrase)?$|secret|token|vault|(?<!public_)(?<!host_)key$", re.IGNORECASE)
"""Variables that hold a credential. A private key's file is a path, not a credential."""
_TEMPLATE = re.compile(r"\{[{%#]|[%#}]\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\ud800-\udfff]")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|!~&])")


@dataclass(frozen=True, slots=True)
class Host:
    """A host with failing controls. `variables` are the connection's, without credentials; `missing` says which of the
    inventory's variables were left out, and why (`credential` or `template`)."""

    name: str
    variables: Mapping[str, Any]
    groups: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One control that a reviewed task file mends on some hosts.

    `variables` are the task file's, by host, typed and from the baseline only; `offenders` the keys of what failed, by
    host, for a task file that mends those (else empty).
    """

    control: str
    title: str
    why: str
    severity: str
    risk: str
    minutes: int
    reboot: bool
    undo: str
    note: str
    playbook: str
    platform: str
    variables: Mapping[str, Mapping[str, Any]]
    offenders: Mapping[str, tuple[str, ...]]
    cut: Mapping[str, int] = field(default_factory=dict)
    """Hosts of which not all offenders were kept: how many there are."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the hosts that need it, sorted."""
        return tuple(sorted(self.variables))

    @property
    def slug(self) -> str:
        """The control's id as a variable or group name may hold it."""
        return re.sub(r"[^a-z0-9]", "_", self.control)

    @property
    def group(self) -> str:
        """The inventory group of the hosts that need it."""
        return f"fix_{self.slug}"

    @property
    def play(self) -> str:
        """The play's name."""
        return f"Fix {self.control} ({self.risk} risk)"


@dataclass(frozen=True, slots=True)
class Manual:
    """What a person does: one control on one target. `labels` are what to look for, of `count` in all."""

    control: str
    title: str
    why: str
    target: str
    what: str
    risk: str
    minutes: int
    reboot: bool
    undo: str
    labels: tuple[str, ...] = ()
    count: int = 0
    observed: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """All that one bundle says. `title` names the school, or the trust for what is shared."""

    title: str
    hosts: tuple[Host, ...]
    steps: tuple[Step, ...]
    manual: tuple[Manual, ...]
    left_out: tuple[str, ...] = ()
    """Sentences about targets that could not be taken in."""
    windows: tuple[str, ...] = ()
    """When changes may be made, as sentences."""


def in_order(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Low risk first, what needs a reboot last."""
    return tuple(sorted(steps, key=lambda s: (s.reboot, RISKS.index(s.risk), s.control)))


def files(content: Content) -> dict[str, str]:
    """Relative path → text of everything but the task files, which are copied as reviewed."""
    out = {"README.md": readme(content)}
    if content.steps:
        out["inventory.yml"] = inventory(content)
        out["site.yml"] = site(content)
        out.update(_variables(content))
    return out


# ------------------------------------------------------------------------------------------------------ for Ansible


def is_template(text: str) -> bool:
    """Whether Ansible would see a template in it."""
    return bool(_TEMPLATE.search(text))


def inert(value: Any) -> Any:
    """A value of the baseline for a variables file: text that looks like a template is tagged `!unsafe`."""
    if isinstance(value, str):
        return Unsafe(value) if is_template(value) else value
    if isinstance(value, Mapping):
        return {str(k): inert(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [inert(v) for v in value]
    return value


def inventory(content: Content) -> str:
    """The failing hosts with how to reach them; one group a fix, and the groups of the inventory they come from."""
    children: dict[str, Any] = {s.group: {"hosts": {h: {} for h in s.hosts}} for s in content.steps}
    known: dict[str, dict[str, Any]] = {}
    taken = {*children, *_RESERVED, *(h.name for h in content.hosts)}
    for host in content.hosts:
        for group in host.groups:
            if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", group) and group not in taken:
                known.setdefault(group, {})[host.name] = {}
    children.update({g: {"hosts": known[g]} for g in sorted(known)})
    return dump(
        {
            "all": {
                "hosts": {h.name: inert(dict(sorted(h.variables.items()))) for h in content.hosts},
                "children": children,
            }
        }
    )


_RESERVED = frozenset("all ungrouped localhost hosts vars children".split())


def site(content: Content) -> str:
    """The plays: read the hosts, one play per control, and at the end say what failed."""
    plays: list[dict[str, Any]] = [
        {
            "name": "Read what the fixes need to know",
            "hosts": "all",
            "gather_facts": True,
            "any_errors_fatal": False,
            "tags": ["always"],
        }
    ]
    plays += [_play(step) for step in content.steps]
    plays.append(
        {
            "name": "Say what failed",
            "hosts": "all",
            "gather_facts": False,
            "any_errors_fatal": False,
            "tags": ["always"],
            "tasks": [
                {
                    "name": "Every fix that was tried has worked",
                    "ansible.builtin.assert": {
                        "that": ["sl_failed | default([]) | length == 0"],
                        "fail_msg": "These fixes failed here - {{ sl_failed | default([]) | join(', ') }}",
                        "quiet": True,
                    },
                }
            ],
        }
    )
    return dump(plays)


def _play(step: Step) -> dict[str, Any]:
    include: dict[str, Any] = {
        "name": f"Mend {step.control}",
        "ansible.builtin.include_tasks": {"file": f"tasks/{step.playbook}"},
    }
    names = sorted({n for values in step.variables.values() for n in values})
    passed = {name: f"{{{{ {variable(step, name)} }}}}" for name in names}
    if step.offenders:
        passed["sl_offenders"] = f"{{{{ {variable(step, 'sl_offenders')} }}}}"
    if passed:
        include["vars"] = passed
    play: dict[str, Any] = {"name": step.play, "hosts": step.group, "gather_facts": False}
    if step.platform == "linux":
        play["become"] = True
    return {
        **play,
        "any_errors_fatal": False,
        "tags": [step.control, f"risk_{step.risk}"],
        "tasks": [
            {
                # A host that fails is out of all later plays; the rescue keeps it in, and the last play tells.
                "name": f"Mend {step.control}, and go on if that fails",
                "block": [include],
                "rescue": [
                    {
                        "name": "Note the failure",
                        "ansible.builtin.set_fact": {
                            "sl_failed": f"{{{{ sl_failed | default([]) + ['{step.control}'] }}}}"
                        },
                    }
                ],
            }
        ],
    }


def variable(step: Step, name: str) -> str:
    """The variable under which the bundle keeps a task file's `sl_name`: two controls may use one name."""
    return f"sl_{step.slug}_{name.removeprefix('sl_')}"


def _variables(content: Content) -> dict[str, str]:
    """group_vars for what is the same on all hosts of a fix, host_vars for the rest."""
    out: dict[str, str] = {}
    by_host: dict[str, dict[str, Any]] = {}
    for step in content.steps:
        shared: dict[str, Any] = {}
        for name in sorted({n for values in step.variables.values() for n in values}):
            values = {h: step.variables[h][name] for h in step.hosts}
            first = values[step.hosts[0]]
            if all(_same(v, first) for v in values.values()):
                shared[variable(step, name)] = inert(first)
            else:
                for host, value in values.items():
                    by_host.setdefault(host, {})[variable(step, name)] = inert(value)
        if shared:
            out[f"group_vars/{step.group}.yml"] = _HEAD + dump(shared)
        for host, keys in step.offenders.items():
            by_host.setdefault(host, {})[variable(step, "sl_offenders")] = [Unsafe(k) for k in keys]
    for host in sorted(by_host):
        out[f"host_vars/{host}.yml"] = _HEAD + dump(by_host[host])
    return out


_HEAD = "# yamllint disable rule:line-length\n"  # a path is as long as it is


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)  # True is not 1 in a variables file


# ------------------------------------------------------------------------------------------------------- for people


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
            out.append(
                f"    - and {item.count - len(item.labels[:SHOWN])} more: see the CSV report"
            )
    elif item.observed:
        out.append(f"  - Found: {span(item.observed)}")
    return [*out, ""]


def _names(names: Sequence[str]) -> str:
    return ", ".join(span(n) for n in sorted(names))


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
