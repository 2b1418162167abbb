"""The words of the project as types: frozen, slotted, no I/O.

Trust → School → Target → Evidence → Finding → Change. Values inside evidence are plain JSON values plus two
markers: `Unknown` (could not look, and why) and `Partial` (a list that may lack items).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What judging a control against a target said. The values are the exchange format's."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not_applicable"
    MANUAL = "manual"


class Severity(StrEnum):
    """How much a failure matters, in rising order."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 (low) to 3 (critical)."""
        return list(Severity).index(self)


class Kind(StrEnum):
    """What sort of thing a target is."""

    DEVICE = "device"
    DIRECTORY = "directory"
    TENANT = "tenant"


class Reason(StrEnum):
    """Why a fact is unknown. The words are what people read."""

    NOT_COLLECTED = "not collected"
    UNREACHABLE = "unreachable"
    IDENTITY = "identity not trusted"
    CREDENTIAL_REFUSED = "credential refused"
    CREDENTIAL_MISSING = "credential could not be read"
    PERMISSION = "permission missing"
    COMMAND_MISSING = "command not found"
    TIMED_OUT = "timed out"
    TRUNCATED = "cut off"
    UNREADABLE = "could not be understood"
    THROTTLED = "throttled"
    NOT_LICENSED = "not licensed"
    NOT_SUPPORTED = "not supported there"
    BY_CHOICE = "not asked for by choice"


@dataclass(frozen=True, slots=True)
class Unknown:
    """Could not look. `detail` names what was missing (a permission, a command), in a few words."""

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}" if self.detail else self.reason.value


@dataclass(frozen=True, slots=True)
class Partial:
    """A list that may lack items (cut off, a page missing, rows the account may not see).

    Judged as if it held one more, wholly unknown item.
    """

    items: tuple[Any, ...]
    why: Unknown


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One fact as read: its value, `None` for *known absent*, or `Unknown`.

    `value` is JSON-like (str, int, float, bool, None, list, dict with str keys) and may hold `Unknown` and
    `Partial` at any depth. Readings compare by identity: the store hands the same object out for the same
    content, which is what lets judging remember its answers.
    """

    value: Any

    @property
    def unknown(self) -> Unknown | None:
        """The reason, when the whole reading is unknown."""
        return self.value if isinstance(self.value, Unknown) else None


Facts = Mapping[str, Reading]
"""Readings of one target by fact name, keyed facts as `name[key]`."""

NOT_COLLECTED = Reading(Unknown(Reason.NOT_COLLECTED))


class TargetState(StrEnum):
    """How a target ended a run."""

    COLLECTED = "collected"
    PARTIAL = "partial"
    UNREACHABLE = "unreachable"
    NOT_SEEN = "not_seen_since"


@dataclass(frozen=True, slots=True)
class School:
    """One school, as trust.yml describes it.

    `directory` and `tenant` hold the selectors for shared targets: `use`, and for a directory `ou`,
    `upn_suffix`, `groups`; for a tenant `domains`, `staff_groups`, `pupil_groups`, `administrative_units`,
    `device_names`. An empty mapping (apart from `use`) means: this school sees everything of it.
    """

    key: str
    name: str
    code: str = ""
    urn: int | None = None
    phase: str = ""
    directory: Mapping[str, Any] = field(default_factory=dict)
    tenant: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    not_scanned: Mapping[str, int] = field(default_factory=dict)


FAMILIES: Mapping[str, str] = {"ios": "switch", "aoscx": "switch", "procurve": "switch"}
"""Platforms that are read as one: their facts and controls are declared for the family."""


def family(platform: str) -> str:
    """The name under which facts and controls of a platform are declared: its family's, else its own."""
    return FAMILIES.get(platform, platform)


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that is scanned. `school` is None for a directory or tenant (they may be shared).

    `settings` are the connection's (inventory variables for a device, the trust.yml entry for the others);
    secrets in them are references, never values. `groups` are inventory groups. `serves` names the schools
    that use a shared target.
    """

    name: str
    kind: Kind
    platform: str
    school: str | None
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)
    groups: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """`school/name` for a device, `name` for a shared target: unique in a trust."""
        return f"{self.school}/{self.name}" if self.school else self.name

    @property
    def family(self) -> str:
        """The name under which its facts and controls are declared."""
        return family(self.platform)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All facts of one target from one run. `as_of` (UTC) is when they were read: the only clock of judging."""

    target: Target
    state: TargetState
    as_of: datetime
    facts: Facts
    detail: str = ""
    """One sentence when the state is not `collected`: what could not be read, and why."""
    ids: Mapping[str, str] = field(default_factory=dict)
    """Ids that join one machine seen by several surfaces: serial, entra_device_id, ad_sid, machine_id."""
    no_answer: bool = False
    """Nothing was there to talk to, as when a machine is switched off. Not kept in the store."""


@dataclass(frozen=True, slots=True, order=True)
class Offender:
    """One item that fails. `key` is stable (SID, GUID, path); `label` is what a technician looks for.

    `value` is what was wrong with it, without volatile numbers: an exception pins it.
    """

    key: str
    label: str
    value: str = ""


MAX_OFFENDERS = 1000
"""Offenders kept per finding; `offender_count` is always whole. From the exchange format's definition."""


@dataclass(slots=True)
class Finding:
    """Control × target (× school where the control judges items) → verdict.

    Not frozen, though nobody changes one: a fleet's night makes millions, and frozen they take three times as long.
    """

    control: str
    version: int
    target: str
    school: str | None
    verdict: Verdict
    reason: str = ""
    """For unknown, not_applicable and manual: why."""
    expected: str = ""
    observed: str = ""
    offenders: tuple[Offender, ...] = ()
    offender_count: int = 0
    possible: int = 0
    """Items that could not be judged, beside the offenders."""
    digest: str = ""
    """Of verdict, reason, expected and offenders: equal digests mean nothing changed worth a word."""


class Change(StrEnum):
    """What became of a finding, or of one offender, since it was last known."""

    NEW = "new"
    REGRESSED = "regressed"
    PERSISTING = "persisting"
    RESOLVED = "resolved"
    LOST_SIGHT = "lost_sight"
    RETIRED = "retired"
    REBASELINED = "rebaselined"
    NONE = ""
