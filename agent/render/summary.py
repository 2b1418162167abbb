"""Roll-ups of a snapshot: coverage, schools × themes, what changed, what fails where, what to do first.

Pure. One rule runs through all of it: what could not be read is counted by itself, and never among what is met.
A finding that the trust owns (`school` None) is counted once in the trust's totals, and shown to each school that its
target serves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from agent.model import Change, Reason, TargetState, Verdict
from agent.render.snapshot import AttestationInfo, ControlInfo, Row, Snapshot, TargetInfo


class Standing(StrEnum):
    """How a check, a cell or a requirement stands, as leaders read it."""

    MET = "met"
    DRIFT = "drift"
    UNKNOWN = "unknown"
    EXCEPTION = "exception"
    TO_ANSWER = "to_answer"
    NOT_APPLICABLE = "not_applicable"
    NOT_COVERED = "not_covered"


WORST_FIRST = (
    Standing.DRIFT,
    Standing.UNKNOWN,
    Standing.NOT_COVERED,
    Standing.TO_ANSWER,
    Standing.EXCEPTION,
    Standing.MET,
    Standing.NOT_APPLICABLE,
)
THEMES = ("identity", "devices", "network", "data", "updates", "logging", "backup")
"""The order in which themes are shown; others follow by name."""
GONE = frozenset({TargetState.UNREACHABLE, TargetState.NOT_SEEN})
"""States in which nothing was read from a target this time."""


def worst(standings: Iterable[Standing]) -> Standing:
    """The one that decides for several; nothing at all is not covered."""
    found = set(standings)
    return next((s for s in WORST_FIRST if s in found), Standing.NOT_COVERED)


@dataclass(frozen=True, slots=True)
class Tally:
    """Findings counted. The six standings add up to `all`; `unread` and `excused_unread` cut across them."""

    met: int = 0
    drift: int = 0
    unknown: int = 0
    exception: int = 0
    to_answer: int = 0
    not_applicable: int = 0
    excused_unread: int = 0
    """Of `exception`: those that accept that something is not read."""

    @property
    def due(self) -> int:
        """Checks that apply."""
        return self.met + self.drift + self.unknown + self.exception + self.to_answer

    @property
    def unread(self) -> int:
        """Checks that could not be read, accepted or not."""
        return self.unknown + self.excused_unread

    @property
    def judged(self) -> int:
        """Checks with a real answer, pass or fail."""
        return self.due - self.unread - self.to_answer

    @property
    def standing(self) -> Standing:
        """The worst standing among them."""
        return worst(s for s in WORST_FIRST if s != Standing.NOT_COVERED and getattr(self, s.value))


@dataclass(frozen=True, slots=True)
class ChangeGroup:
    """One kind of change of one control: how many findings, in which schools (None: the trust's own)."""

    change: Change
    control: str
    count: int
    schools: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Failing:
    """Where one control fails. Schools are keys; `shared` are rows that the trust owns and that drift."""

    control: str
    failing: tuple[str, ...]
    unknown: tuple[str, ...]
    excepted: tuple[str, ...]
    concerned: int
    """Schools in which the control applies (it has a finding that is not "not applicable")."""
    targets: int
    """Findings that drift, the trust's own included."""
    offenders: int
    shared: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do. `control` is None where it is about sight, not about a setting."""

    title: str
    detail: str
    owner: str
    control: str | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """How alike the schools are in one setting: `values` different readings in `schools` schools, best is 1."""

    control: str
    schools: int
    values: int


class Summary:
    """A snapshot with its rows sorted into the places where they are shown. Build once, ask often."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.today: date = snapshot.generated_at.date()
        self.targets: dict[str, TargetInfo] = {t.id: t for t in snapshot.targets}
        self.names: dict[str, str] = {s.key: s.name for s in snapshot.schools}
        self.rows: tuple[Row, ...] = tuple(sorted(snapshot.rows, key=order))
        self._answers: dict[tuple[str, str | None], AttestationInfo] = {}
        for answer in sorted(snapshot.attestations, key=lambda a: (a.given, a.expires, a.by, a.met)):
            if answer.given <= self.today:
                self._answers[answer.subject, answer.school] = answer
        self.own: dict[str | None, list[Row]] = defaultdict(list)
        self.shared: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            self.own[row.finding.school].append(row)
            if row.finding.school is None:
                target = self.targets.get(row.finding.target)
                for school in target.serves if target else ():
                    self.shared[school].append(row)

    def control(self, control_id: str) -> ControlInfo:
        """The control of that id. Raises KeyError for one that the snapshot does not know."""
        return self.snapshot.controls[control_id]

    def answer(self, subject: str, school: str | None) -> AttestationInfo | None:
        """The newest answer to a requirement or manual control: the school's own, else the trust's. May be past."""
        return self._answers.get((subject, school)) or self._answers.get((subject, None))

    def attested(self, subject: str, school: str | None) -> Standing:
        """MET or DRIFT by a person's answer that is in date; TO_ANSWER without one."""
        answer = self.answer(subject, school)
        if answer is None or answer.expires < self.today:
            return Standing.TO_ANSWER
        return Standing.MET if answer.met else Standing.DRIFT

    def standing(self, row: Row) -> Standing:
        """How one finding stands, its exception and answers considered."""
        verdict = row.finding.verdict
        if verdict is Verdict.PASS:
            return Standing.MET
        if verdict is Verdict.NOT_APPLICABLE:
            return Standing.NOT_APPLICABLE
        if verdict is Verdict.MANUAL:
            answered = self.attested(row.finding.control, row.finding.school)
            return Standing.EXCEPTION if row.exception is not None and answered is not Standing.MET else answered
        if row.exception is not None:
            return Standing.EXCEPTION
        return Standing.DRIFT if verdict is Verdict.FAIL else Standing.UNKNOWN

    def tally(self, rows: Iterable[Row]) -> Tally:
        """Count findings by standing."""
        counts: Counter[str] = Counter()
        for row in rows:
            standing = self.standing(row)
            counts[standing.value] += 1
            # An accepted manual question was not looked at either, by machine or person.
            if standing is Standing.EXCEPTION and row.finding.verdict is not Verdict.FAIL:
                counts["excused_unread"] += 1
        return Tally(**counts)

    def themes(self) -> list[str]:
        """Themes of the controls that were judged, in the order in which they are shown."""
        used = {self.control(r.finding.control).theme for r in self.rows}
        return [t for t in THEMES if t in used] + sorted(used.difference(THEMES))

    def matrix(self) -> dict[str | None, dict[str, Tally]]:
        """School (None: the trust's own) → theme → tally. A theme in which nothing was looked at is left out."""
        out: dict[str | None, dict[str, Tally]] = {}
        for school in (None, *self.names):
            themes: dict[str, list[Row]] = defaultdict(list)
            for row in self.own[school]:
                themes[self.control(row.finding.control).theme].append(row)
            out[school] = {theme: self.tally(rows) for theme, rows in themes.items()}
        return out

    def schools_with_drift(self) -> list[str]:
        """Keys of schools in which something drifts, of their own or in what they share."""
        return [
            s for s in self.names if any(self.standing(r) is Standing.DRIFT for r in (*self.own[s], *self.shared[s]))
        ]

    def unread_reasons(self) -> list[tuple[str, int]]:
        """Why findings could not be read: word → how many, most first. Details (names of hosts, accounts) stay out."""
        words = {r.value for r in Reason}
        counts: Counter[str] = Counter()
        for row in self.rows:
            if row.finding.verdict is Verdict.UNKNOWN:
                target = self.targets.get(row.finding.target)
                word = row.finding.reason.split(":", 1)[0].strip()
                if target is not None and target.state is TargetState.UNREACHABLE:
                    word = Reason.UNREACHABLE.value
                counts[word if word in words else "other reasons"] += 1
        return sorted(counts.items(), key=lambda c: (-c[1], c[0]))

    def changes(self) -> list[ChangeGroup]:
        """What changed since the previous run, grouped by kind and control, gravest kind first.

        Targets that were not reached are one state each, and bring no changes of their own.
        """
        kinds = (
            Change.REGRESSED,
            Change.NEW,
            Change.PERSISTING,
            Change.LOST_SIGHT,
            Change.RESOLVED,
            Change.REBASELINED,
            Change.RETIRED,
        )
        groups: dict[tuple[Change, str], list[Row]] = defaultdict(list)
        for row in self.rows:
            target = self.targets.get(row.finding.target)
            if row.change is Change.PERSISTING and not row.new_offenders:
                continue  # the same as before is no news
            if row.change in kinds and not (target is not None and target.state in GONE):
                groups[row.change, row.finding.control].append(row)
        found = [
            ChangeGroup(change, control, len(rows), self._schools(rows)) for (change, control), rows in groups.items()
        ]
        return sorted(
            found, key=lambda g: (kinds.index(g.change), -self.control(g.control).severity.rank, -g.count, g.control)
        )

    def failing(self) -> list[Failing]:
        """Controls that drift somewhere: gravest first, then by how many schools fail."""
        by_control: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            by_control[row.finding.control].append(row)
        found = []
        for control, rows in by_control.items():
            drift = [r for r in rows if self.standing(r) is Standing.DRIFT]
            if not drift:
                continue
            per_school: dict[str, list[Standing]] = defaultdict(list)
            for row in rows:
                if row.finding.school is not None:
                    per_school[row.finding.school].append(self.standing(row))
            state = {school: worst(standings) for school, standings in per_school.items()}
            found.append(
                Failing(
                    control,
                    self._having(state, Standing.DRIFT),
                    self._having(state, Standing.UNKNOWN),
                    self._having(state, Standing.EXCEPTION),
                    sum(s is not Standing.NOT_APPLICABLE for s in state.values()),
                    len(drift),
                    sum(r.finding.offender_count for r in drift),
                    tuple(r for r in drift if r.finding.school is None),
                )
            )
        return sorted(
            found,
            key=lambda f: (
                -self.control(f.control).severity.rank,
                -len(f.failing) - len(f.shared),
                -f.targets,
                f.control,
            ),
        )

    def gone(self, school: str | None = None) -> list[TargetInfo]:
        """Targets that were not read this time: all of the trust's, or those that a school has or shares."""
        return sorted(
            (
                t
                for t in self.snapshot.targets
                if t.state in GONE and (school is None or t.school == school or school in t.serves)
            ),
            key=lambda t: (t.school is not None, t.school or "", t.name, t.id),
        )

    def settings(self) -> list[Setting]:
        """For each setting read in two schools or more: how many different values they hold, most first.

        Only whole-target controls count: a list of offending items is not a setting.
        """
        values: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for row in self.rows:
            f = row.finding
            if (
                f.school is not None
                and f.verdict in (Verdict.PASS, Verdict.FAIL)
                and f.observed
                and not f.offender_count
                and self.control(f.control).scope == "target"
            ):
                values[f.control][f.school].add(f.observed)
        found = [Setting(c, len(s), len(set().union(*s.values()))) for c, s in values.items() if len(s) > 1]
        return sorted(found, key=lambda s: (-s.values, s.control))

    def not_covered(self, school: str) -> list[tuple[str, str, str]]:
        """(control, title, reason) that the baseline leaves out for a school, the trust's own included."""
        return sorted(
            {
                (n.control, n.title, n.reason)
                for n in self.snapshot.not_covered
                if n.school == school or n.school is None
            }
        )

    def waiting(self) -> list[tuple[str, list[str], list[str | None]]]:
        """(reason, titles, schools) of what the baseline leaves out anywhere; school None: of the trust's own."""
        titles: dict[str, set[str]] = defaultdict(set)
        schools: dict[str, set[str | None]] = defaultdict(set)
        for n in self.snapshot.not_covered:
            titles[n.reason].add(n.title)
            schools[n.reason].add(n.school)
        return [
            (reason, sorted(titles[reason]), [s for s in (None, *self.names) if s in schools[reason]])
            for reason in sorted(titles)
        ]

    def owner(self, schools: Iterable[str | None]) -> str:
        """Whose work it is, as a role: one school's own IT, or the trust's."""
        found = set(schools)
        if len(found) == 1 and (only := next(iter(found))) is not None:
            return self.snapshot.owners.get(only) or f"IT lead, {self.names.get(only, only)}"
        return self.snapshot.owners.get("") or "Trust IT team"

    def _schools(self, rows: Iterable[Row]) -> tuple[str | None, ...]:
        found = {r.finding.school for r in rows}
        return tuple(s for s in (None, *self.names) if s in found)

    def _having(self, state: Mapping[str, Standing], standing: Standing) -> tuple[str, ...]:
        return tuple(s for s in self.names if state.get(s) is standing)


def order(row: Row) -> tuple[str, str, str]:
    """The order of rows in every output: school (the trust's first), target, control. Unique within a run."""
    f = row.finding
    return (f.school or "", f.target, f.control)
