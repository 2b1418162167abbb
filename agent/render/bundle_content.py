"""What a remediation bundle says, as types: hosts, steps that a task file mends, and what people do by hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SHARED = {"sl_directories": "ad", "sl_tenants": "m365"}
"""Inventory groups of what is no machine, and the folder of their task files."""
NETWORK = "sl_switches"
"""Inventory group of switches: Ansible runs nothing on them, and gathers nothing."""
COLLECTIONS = {
    "ansible.netcommon": "8.2.0",
    "ansible.windows": "3.3.0",
    "cisco.ios": "11.1.1",
    "community.general": "11.4.2",
    "community.windows": "3.1.0",
    "microsoft.ad": "1.10.0",
}
"""Collections that task files may name beside Ansible's own, in the version that they were tested with."""
RISKS = ("low", "medium", "high", "disruptive")


@dataclass(frozen=True, slots=True)
class Host:
    """A host with failing controls. `variables` are the connection's, without credentials; `missing` says which of the
    inventory's variables were left out, and why (`credential` or `template`). `environment` names variables that the
    playbook takes from the environment when it runs."""

    name: str
    variables: Mapping[str, Any]
    groups: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def shared(self) -> str:
        """The group of a directory or tenant, which is changed from the machine that runs the playbook; else empty."""
        return next((g for g in SHARED if g in self.groups), "")


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
    rights: tuple[str, ...] = ()
    """What the account that runs it must be allowed."""
    collections: tuple[str, ...] = ()
    """Collections beside Ansible's own that its task files name."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the hosts that need it, sorted."""
        return tuple(sorted(self.variables))

    @property
    def shared(self) -> bool:
        """Whether it is about a directory or tenant, and so runs on the machine with the playbook."""
        return self.platform in SHARED.values()

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
    lines: tuple[str, ...] = ()
    """Commands to type, for a switch; `undo_lines` take them back, `left` are sentences about what they do not do."""
    undo_lines: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snippet:
    """All commands that one switch takes, as text to paste, and the text that takes them back."""

    target: str
    text: str
    undo: str


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
    clashes: tuple[str, ...] = ()
    """Where two duties cannot both be met, as sentences."""
    snippets: tuple[Snippet, ...] = ()
    """Of switches, by target."""

    @property
    def collections(self) -> tuple[str, ...]:
        """Collections beside Ansible's own that the steps need, sorted."""
        return tuple(sorted({c for s in self.steps for c in s.collections}))


def in_order(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Low risk first, what needs a reboot last."""
    return tuple(sorted(steps, key=lambda s: (s.reboot, RISKS.index(s.risk), s.control)))
