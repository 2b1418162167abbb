"""How the requirements of a standard stand, school by school. Pure.

The rule is strict: *met* only when all that a requirement names passes or is answered in date, and at least one of
these really looked. Not applicable alone is not met, and what nothing covers is not covered.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from agent.model import family
from agent.render.snapshot import Row
from agent.render.summary import Standing, Summary, worst
from agent.standards import Requirement, Standard

_ANY = (
    Standing.MET,
    Standing.UNKNOWN,
    Standing.NOT_COVERED,
    Standing.TO_ANSWER,
    Standing.EXCEPTION,
    Standing.DRIFT,
    Standing.NOT_APPLICABLE,
)
"""`any_of`, best first. One that nobody looked at may be the one that holds, so it outweighs one known to fail."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that a requirement names: a control, or (`control` empty) a person's answer."""

    control: str
    text: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class Judged:
    """One requirement for one school."""

    standing: Standing
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Overall:
    """One requirement for the trust: the worst of its schools, and the schools by standing."""

    requirement: Requirement
    standing: Standing
    schools: dict[str, Judged]

    def having(self, standing: Standing) -> list[str]:
        """Keys of the schools that stand so."""
        return [k for k, j in self.schools.items() if j.standing is standing]


class Judge:
    """Judges standards against one summary."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary
        self._rows: dict[tuple[str, str], list[Row]] = defaultdict(list)
        self._platforms: dict[str, set[str]] = {}
        for school in summary.names:
            for row in (*summary.own[school], *summary.shared[school]):
                self._rows[school, row.finding.control].append(row)
            self._platforms[school] = {
                family(t.platform) for t in summary.snapshot.targets if t.school == school or school in t.serves
            }

    def standard(self, standard: Standard) -> list[Overall]:
        """Every requirement of a standard, in its own order."""
        return [self.requirement(r) for r in standard.requirements]

    def requirement(self, req: Requirement) -> Overall:
        """One requirement for every school and for the trust."""
        schools = {key: self.school(req, key) for key in self.summary.names}
        return Overall(req, worst(j.standing for j in schools.values()), schools)

    def school(self, req: Requirement, school: str) -> Judged:
        """One requirement for one school (or for what that school shares)."""
        all_of = [self._part(c, school) for c in req.all_of]
        any_of = [self._part(c, school) for c in req.any_of]
        needed = [p.standing for p in all_of]
        if any_of:
            held = {p.standing for p in any_of}
            needed.append(next(s for s in _ANY if s in held))
        parts = [*all_of, *any_of]
        if req.attest:
            answer = self.summary.attested(req.id, school)
            parts.append(Part("", req.attest, answer))
            needed.append(answer)
        return Judged(worst(needed), tuple(parts))

    def _part(self, control: str, school: str) -> Part:
        info = self.summary.snapshot.controls.get(control)
        title = info.title if info else control
        rows = self._rows.get((school, control))
        if rows:
            return Part(control, title, worst(self.summary.standing(r) for r in rows))
        platform = info.platform if info else control.split(".", 1)[0]
        # A school without such a thing has nothing to check; one that has it, and no finding, was left out.
        there = platform in self._platforms[school]
        return Part(control, title, Standing.NOT_COVERED if there else Standing.NOT_APPLICABLE)


def counts(overall: Sequence[Overall]) -> Counter[Standing]:
    """Requirements by standing."""
    return Counter(o.standing for o in overall)
