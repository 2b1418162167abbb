"""What a report is made of: one run's judged results, and the words around them, as plain frozen data.

The command line fills a `Snapshot` from the store and the loaded baseline; everything else in `render` is a pure
function of it. Equal snapshots give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum

from agent.model import Change, Finding, Kind, Offender, Reason, School, Severity, TargetState, Verdict
from agent.standards import Standard


@dataclass(frozen=True, slots=True)
class FixInfo:
    """How a failing control is put right.

    `summary` is one sentence: what the playbook does, or what a person does by hand. `automatic` says that a reviewed
    playbook exists. `risk` is `low`, `medium` or `disruptive`; `minutes` is per target, None where nobody said.
    """

    summary: str = ""
    automatic: bool = False
    risk: str = ""
    reboot: bool = False
    minutes: int | None = None


@dataclass(frozen=True, slots=True)
class ControlInfo:
    """One rule of the baseline, as people read it. `title` states the good state; `scope` is `target` or `items`."""

    id: str
    version: int
    title: str
    theme: str
    severity: Severity
    why: str
    scope: str
    platform: str
    fix: FixInfo | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One finding of this run, and what became of it since it was last known.

    `finding.target` is a `TargetInfo.id`; `finding.school` is None for what the trust owns. `new_offenders` are those
    offenders of the finding that were not there before. `first_seen` is the start of the run in which the present
    verdict was first seen (UTC), None where history has nothing. `exception` is the reason of the exception in force
    that accepts this finding *as it is now*: None where there is none, where it has expired, or where it accepts only
    a part (the rest still counts). `evidence` names the stored evidence that the verdict can be replayed from.
    """

    finding: Finding
    change: Change = Change.NONE
    new_offenders: tuple[Offender, ...] = ()
    first_seen: datetime | None = None
    exception: str | None = None
    exception_expires: date | None = None
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """One target of the trust and how it ended this run.

    `id` is unique (`school/name` for a device, `name` for a shared one). `as_of` is when its facts were last read
    (UTC): for a target that was not reached now, its last known date; None when it was never read. `detail` is one
    sentence where the state is not `collected`. `serves` are keys of the schools that use a shared target.
    """

    id: str
    name: str
    school: str | None
    kind: Kind
    platform: str
    state: TargetState
    detail: str = ""
    as_of: datetime | None = None
    serves: tuple[str, ...] = ()


def exchanged(row: Row, target: TargetInfo | None) -> Row:
    """A row as other programs are told of it: a verdict of a machine that was not read this time is not of today.

    So of a target that is not seen, within its grace, it is unknown, and the reason tells the last known verdict with
    its date. Pages for people show that verdict itself, beside the date. What a person answers stays as it is.
    """
    f = row.finding
    if target is None or target.state is not TargetState.NOT_SEEN or f.verdict in (Verdict.UNKNOWN, Verdict.MANUAL):
        return row
    day = f" on {target.as_of:%Y-%m-%d}" if target.as_of else ""
    reason = f"{Reason.UNREACHABLE.value}: not seen now; last known{day}: {f.verdict.value.replace('_', ' ')}"
    unknown = replace(f, verdict=Verdict.UNKNOWN, reason=reason, observed="", offenders=(), offender_count=0)
    return replace(row, finding=unknown, new_offenders=(), exception=None, exception_expires=None)


@dataclass(frozen=True, slots=True)
class NotCovered:
    """A control that is not in the baseline, of one school or (None) of the trust; `reason`: "set time_servers"."""

    control: str
    title: str
    school: str | None
    reason: str


class ExceptionState(StrEnum):
    """Where an exception stands on the day of the report; `expiring` is in force, but near its end."""

    ACTIVE = "active"
    EXPIRING = "expiring"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class ExceptionInfo:
    """One accepted departure, as exceptions.yml says it. `control` is an id or a pattern such as `linux.*`.

    At most one of `school`, `target` and `group` narrows it.
    """

    control: str
    school: str | None
    target: str | None
    group: str | None
    reason: str
    owner: str
    expires: date
    state: ExceptionState


@dataclass(frozen=True, slots=True)
class AttestationInfo:
    """A dated, named human answer. `subject` is the id of a requirement or of a manual control.

    `question` may be empty where the requirement holds it. `school` None answers for every school. `met` is the
    answer itself; it counts from `given` to `expires`, both included.
    """

    subject: str
    school: str | None
    question: str
    met: bool
    by: str
    given: date
    expires: date
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One run for the trend. `counts`: verdict word (`pass`, `fail`, …) → findings."""

    id: str
    started: datetime
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a report says.

    Times are UTC and aware; `generated_at` is also the report's "today" (attestations in date, age of readings).
    `controls` holds every control that a row names. `schools` are in the order in which they are shown. `previous_run`
    is the run that the changes compare with, None for the first. `owners` maps a school's key (or "" for the trust)
    to the *role* that acts there; a person's name does not belong in it. `stand_in` prints the demonstration's banner.
    """

    trust_name: str
    run_id: str
    run_started: datetime
    generated_at: datetime
    schools: tuple[School, ...]
    controls: Mapping[str, ControlInfo]
    rows: tuple[Row, ...]
    targets: tuple[TargetInfo, ...]
    not_covered: tuple[NotCovered, ...] = ()
    exceptions: tuple[ExceptionInfo, ...] = ()
    attestations: tuple[AttestationInfo, ...] = ()
    runs: tuple[RunInfo, ...] = ()
    previous_run: RunInfo | None = None
    standards: tuple[Standard, ...] = ()
    owners: Mapping[str, str] = field(default_factory=dict)
    stand_in: bool = False
    version: str = ""
    """Of spiritlevel, for the footer."""
