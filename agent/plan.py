"""What a scan would ask, of whom, with which rights: targets, the baselines they get, and the facts those need."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from agent.baseline import Baseline, NotCovered, Policy
from agent.claims import needs
from agent.condition.values import duration
from agent.connect import ansible
from agent.controls import Rule
from agent.derive import View
from agent.derive.places import base_dn
from agent.errors import ConfigError, UsageError, suggest
from agent.facttypes import REGISTRY
from agent.model import Evidence, Kind, School, Severity, Target
from agent.trust import Trust

GRACE = "spiritlevel_grace"
"""The inventory variable that says for how long a host may be switched off: `14 days`."""


def grace(target: Target) -> timedelta | None:
    """For how long a host may go unseen; None where the inventory says nothing. Raises `ConfigError`."""
    value = target.settings.get(GRACE)
    if value is None:
        return None
    try:
        return duration(value)
    except ValueError:
        raise ConfigError(
            f"{GRACE} of {target.id} is no duration.", "Write a number and a unit in the inventory, such as '14 days'."
        ) from None


@dataclass(frozen=True, slots=True)
class Selection:
    """What the command line narrowed. Everything empty: all."""

    schools: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    limit: str = ""
    controls: tuple[str, ...] = ()
    themes: tuple[str, ...] = ()
    severity: str = ""

    def words(self) -> dict[str, Any]:
        """As it is kept with a run."""
        out: dict[str, Any] = {
            "schools": list(self.schools),
            "targets": list(self.targets),
            "limit": self.limit,
            "controls": list(self.controls),
            "themes": list(self.themes),
            "severity": self.severity,
        }
        return {k: v for k, v in out.items() if v}

    @property
    def narrows_controls(self) -> bool:
        """Whether some controls are left out."""
        return bool(self.controls or self.themes or self.severity)


@dataclass(frozen=True, slots=True)
class Job:
    """One target that is due: its baselines (with the school each belongs to) and the raw facts that they read."""

    target: Target
    parts: tuple[tuple[Baseline, School | None], ...]
    wanted: tuple[str, ...]

    @property
    def not_covered(self) -> list[tuple[NotCovered, School | None]]:
        """Controls that wait for a value."""
        return [(n, school) for baseline, school in self.parts for n in baseline.not_covered]


@dataclass(slots=True)
class Planner:
    """Turns a trust and its policy into jobs."""

    trust: Trust
    policy: Policy
    _targets: list[Target] = field(default_factory=list)
    _narrowed: dict[tuple[Baseline, Selection], tuple[Baseline, frozenset[str]]] = field(default_factory=dict)

    def targets(self) -> list[Target]:
        """All targets of the trust: every host of every inventory, every directory and tenant that a school uses.

        Raises `ConfigError` for an inventory that cannot be read.
        """
        if not self._targets:
            out: list[Target] = []
            with ThreadPoolExecutor(8) as pool:  # each is a program of its own that mostly waits
                names = list(self.trust.inventories)
                hosts = pool.map(lambda k: ansible.inventory(self.trust.inventories[k], self.trust.folder), names)
                for school, found in zip(names, hosts, strict=True):
                    out += [
                        Target(h.name, Kind.DEVICE, ansible.platform(h.variables), school, h.variables, h.groups)
                        for h in found
                    ]
            for target in out:
                grace(target)  # a wrong one is told before anything is read
            out += [t for t in self.trust.shared if t.serves]
            self._targets = out
        return self._targets

    def select(self, selection: Selection) -> list[Target]:
        """The targets that a selection picks. Raises `UsageError` for one that matches nothing."""
        targets = self.targets()
        if not targets:
            raise UsageError(
                "the trust has no targets at all.", "Give a school an inventory, a directory or a tenant in trust.yml."
            )
        for key in selection.schools:
            if key not in self.trust.schools:
                raise UsageError(f"there is no school {key!r}.", suggest(key, sorted(self.trust.schools)))
        if selection.schools:
            targets = [t for t in targets if t.school in selection.schools or set(t.serves) & set(selection.schools)]
        for name in selection.targets:
            if not any(fnmatch.fnmatchcase(t.id, name) or t.name == name for t in self.targets()):
                raise UsageError(f"there is no target {name!r}.", suggest(name, [t.id for t in self.targets()]))
        if selection.targets:
            targets = [
                t for t in targets if any(fnmatch.fnmatchcase(t.id, n) or t.name == n for n in selection.targets)
            ]
        if selection.limit:
            # Two schools may have hosts of one name: a pattern picks both.
            groups = {t.id: (*(t.groups or ("ungrouped",)), t.name, t.school or t.name) for t in targets}
            chosen = set(ansible.select(selection.limit, groups))
            targets = [t for t in targets if t.id in chosen]
        if not targets:
            raise UsageError("the selection matches no target.", "See `spiritlevel list targets`.")
        return targets

    def unread(self, selection: Selection) -> dict[tuple[str | None, str], int]:
        """Number of targets that nothing here can read yet, by school and platform: shown, never passed over."""
        known = REGISTRY.platforms()
        return dict(Counter((t.school, t.platform) for t in self.select(selection) if t.family not in known))

    def job(self, target: Target, selection: Selection, evidence: Evidence | None = None) -> Job:
        """Resolve one target. With `evidence`, placeholders that only the target knows are filled from it."""
        trust, policy = self.trust, self.policy
        base: dict[str, Any] = {}
        if target.kind is Kind.DIRECTORY:
            found = target.settings.get("base_dn")
            if evidence is not None:
                found = base_dn(View("ad", evidence.facts, evidence.as_of, settings=target.settings)) or found
            if found:
                base["base_dn"] = found
        parts: list[tuple[Baseline, School | None]] = []
        if target.school is not None:
            school = trust.schools[target.school]
            fills = {**trust.fills(school), **base}
            parts.append((policy.baseline(target, self.profiles(school), school, fills), school))
        else:
            fills = {**trust.fills(None), **base}
            parts.append((policy.baseline(target, self.profiles(None), None, fills, "target"), None))
            parts.append((policy.baseline(target, self.profiles(None), None, fills, "items"), None))
            for school in trust.serving(target):
                fills = {**trust.fills(school), **base}
                parts.append((policy.baseline(target, self.profiles(school), school, fills, "items"), school))
        narrowed = [self._narrow(b, selection) for b, _ in parts]
        parts = [(b, school) for (b, _), (_, school) in zip(narrowed, parts, strict=True)]
        wanted = set().union(*(reads for _, reads in narrowed))
        if wanted:
            wanted |= needs(target.platform, trust.serving(target))
        return Job(target, tuple(parts), tuple(sorted(wanted)))

    def jobs(self, selection: Selection) -> list[Job]:
        """Jobs of a selection. Raises `UsageError` when it leaves no target or no control."""
        for pattern in selection.controls:
            if not fnmatch.filter(self.policy.controls, pattern):
                raise UsageError(f"there is no control {pattern!r}.", suggest(pattern, sorted(self.policy.controls)))
        jobs = [j for j in (self.job(t, selection) for t in self.select(selection)) if j.wanted]
        if not jobs:
            raise UsageError(
                "no control is left to judge.", "See `spiritlevel list controls` and `spiritlevel list targets`."
            )
        return jobs

    def profiles(self, school: School | None) -> list[str]:
        """Names of the profiles that hold for a school: the trust's, then the one named like its phase, if any."""
        names = [self.trust.file.profile]
        if school is not None and school.phase and self.policy.has_profile(school.phase) and school.phase not in names:
            names.append(school.phase)
        return names

    def check(self) -> None:
        """Everything that loading alone can't see: profiles named, parameters of schools. Raises `ConfigError`."""
        self.policy.profile(self.trust.file.profile)
        for key, school in self.trust.schools.items():
            for name, value in school.parameters.items():
                self.policy.check_value(name, value, self.trust.doc, ("schools", key, "parameters", name))
            fills = {**self.trust.fills(school), "base_dn": "DC=example"}
            for platform in sorted({c.platform for c in self.policy.controls.values()}):
                kind = {"ad": Kind.DIRECTORY, "m365": Kind.TENANT}.get(platform, Kind.DEVICE)
                target = Target("check", kind, platform, key)
                self.policy.baseline(target, self.profiles(school), school, fills)

    def _narrow(self, baseline: Baseline, selection: Selection) -> tuple[Baseline, frozenset[str]]:
        """What a selection leaves of a baseline, and the raw facts that this reads."""
        found = self._narrowed.get((baseline, selection))
        if found is None:
            rules = tuple(r for r in baseline.rules if self._wanted(r, selection))
            left = Baseline(rules, baseline.not_covered) if selection.narrows_controls else baseline
            found = self._narrowed[baseline, selection] = (left, frozenset(f for r in rules for f in r.reads))
        return found

    def _wanted(self, rule: Rule, selection: Selection) -> bool:
        file = rule.control.file
        if selection.controls and not any(fnmatch.fnmatchcase(file.id, p) for p in selection.controls):
            return False
        if selection.themes and file.theme not in selection.themes:
            return False
        return not selection.severity or file.level.rank >= Severity(selection.severity).rank


def describe(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """Jobs by platform and the same wants: what `plan` prints once instead of two hundred times."""
    out: dict[str, list[Job]] = {}
    for job in jobs:
        out.setdefault(f"{job.target.platform}\0{','.join(job.wanted)}", []).append(job)
    return out
