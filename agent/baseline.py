"""Controls, profiles and parameters → the baseline of one target. Loading checks everything; resolving is cheap."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import agent.facts  # noqa: F401 - declares the raw facts
from agent.condition import fill
from agent.controls import Control, Rule, check_parameter, load_control, rule
from agent.derive import load_all
from agent.errors import ConfigError
from agent.files import ProfileFile, SiteParameter, SiteParametersFile
from agent.model import School, Target
from agent.resources import data_dir
from agent.yamlfile import Document, model, read, suggest

load_all()


@dataclass(frozen=True, slots=True)
class NotCovered:
    """A control that is not in a baseline for lack of a value: shown as not covered, by name."""

    control: str
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """What a profile resolves to for one target and (for shared targets) one school or the trust.

    Targets alike share one, and it compares by identity: what is made of it can be remembered by it.
    """

    rules: tuple[Rule, ...]
    not_covered: tuple[NotCovered, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """A resolved profile: control ids, parameter values and the groups' own, most general first."""

    id: str
    controls: frozenset[str]
    parameters: Mapping[str, Any]
    groups: tuple[tuple[str, frozenset[str], Mapping[str, Any]], ...]


@dataclass(slots=True)
class Policy:
    """Everything that was loaded: the shipped controls and profiles with the trust's own laid over them."""

    controls: dict[str, Control]
    profiles: dict[str, tuple[ProfileFile, Document]]
    site: Mapping[str, SiteParameter]
    _resolved: dict[str, Profile] = field(default_factory=dict)
    _rules: dict[Any, Rule] = field(default_factory=dict)
    _baselines: dict[Any, Baseline] = field(default_factory=dict)

    def profile(self, name: str) -> Profile:
        """Resolve a profile with all that it extends. Raises `ConfigError` for unknown names and circles."""
        if name not in self._resolved:
            self._resolved[name] = self._resolve(name, ())
        return self._resolved[name]

    def has_profile(self, name: str) -> bool:
        """Whether a profile of that name exists."""
        return name in self.profiles

    def _resolve(self, name: str, below: tuple[str, ...]) -> Profile:
        if name not in self.profiles:
            raise ConfigError(f"there is no profile {name!r}.", suggest(name, sorted(self.profiles)))
        file, doc = self.profiles[name]
        if name in below:
            raise doc.error(f"profiles extend each other in a circle: {' → '.join((*below, name))}.", ("extends",))
        chosen: set[str] = set()
        values: dict[str, Any] = {}
        groups: dict[str, tuple[frozenset[str], dict[str, Any]]] = {}
        for i, parent in enumerate(file.extends):
            if parent not in self.profiles:
                raise doc.error(
                    f"there is no profile {parent!r}.", ("extends", i), suggest(parent, sorted(self.profiles))
                )
            up = self._resolve(parent, (*below, name))
            chosen |= up.controls
            values.update(up.parameters)
            for key, more, own in up.groups:
                have = groups.get(key, (frozenset(), {}))
                groups[key] = (have[0] | more, {**have[1], **own})
        chosen = self._choose(chosen, file.controls, doc, ("controls",))
        for key, value in file.parameters.items():
            self.check_value(key, value, doc, ("parameters", key))
            values[key] = value
        for key, group in file.groups.items():
            for k, v in group.parameters.items():
                self.check_value(k, v, doc, ("groups", key, "parameters", k))
            have = groups.get(key, (frozenset(), {}))
            added = self._choose(set(), group.controls, doc, ("groups", key, "controls"))
            groups[key] = (have[0] | frozenset(added), {**have[1], **group.parameters})
        return Profile(name, frozenset(chosen), values, tuple((k, c, v) for k, (c, v) in groups.items()))

    def _choose(
        self, chosen: set[str], patterns: Sequence[str], doc: Document, path: tuple[str | int, ...]
    ) -> set[str]:
        out = set(chosen)
        for i, pattern in enumerate(patterns):
            bare = pattern.removeprefix("-")
            hits = (
                fnmatch.filter(self.controls, bare)
                if any(c in bare for c in "*?[")
                else ([bare] if bare in self.controls else [])
            )
            if not hits:
                raise doc.error(f"there is no control {bare!r}.", (*path, i), suggest(bare, sorted(self.controls)))
            out = out - set(hits) if pattern.startswith("-") else out | set(hits)
        return out

    def check_value(self, name: str, value: Any, doc: Document, path: tuple[str | int, ...]) -> None:
        """A parameter value set somewhere: the name must exist, the value fit. Raises `ConfigError`."""
        declared = self.declared(name)
        if declared is None:
            names = {*self.site, *(n for c in self.controls.values() for n in c.file.parameters)}
            raise doc.error(f"there is no parameter {name!r}.", path, suggest(name, sorted(names)))
        check_parameter(name, declared, value, doc, path)

    def declared(self, name: str) -> Any:
        """The declaration of a parameter: a site's own, or the first control's that has it; None when unknown."""
        if name in self.site:
            return self.site[name]
        return next((c.file.parameters[name] for c in self.controls.values() if name in c.file.parameters), None)

    def baseline(
        self,
        target: Target,
        profiles: Sequence[str],
        school: School | None,
        fills: Mapping[str, Any],
        scope: str | None = None,
    ) -> Baseline:
        """Resolve for one target. Later profiles win over earlier ones, the school over profiles, and an inventory
        group, which says what a machine is for, over the school.

        `scope` narrows to controls of that scope (a shared target is judged once for `target`, and per school
        for `items`).
        """
        met = tuple(key for name in profiles for key, _, _ in self.profile(name).groups if key in target.groups)
        own = (school.key, repr(sorted(school.parameters.items()))) if school else None
        key = (target.family, met, tuple(profiles), own, repr(sorted(fills.items())), scope)
        found = self._baselines.get(key)
        if found is None:
            found = self._baselines[key] = self._resolve_baseline(target.family, met, profiles, school, fills, scope)
        return found

    def _resolve_baseline(
        self,
        family: str,
        groups: Sequence[str],
        profiles: Sequence[str],
        school: School | None,
        fills: Mapping[str, Any],
        scope: str | None,
    ) -> Baseline:
        """As `baseline`, of what it depends on alone: nothing else of a target may decide what it gets."""
        chosen: set[str] = set()
        values: dict[str, Any] = {n: s.default for n, s in self.site.items() if s.has_default}
        grouped: dict[str, Any] = {}
        for name in profiles:
            profile = self.profile(name)
            chosen |= profile.controls
            values.update(profile.parameters)
            for key, more, own in profile.groups:
                if key in groups:
                    chosen |= more
                    grouped.update(own)
        if school is not None:
            values.update(school.parameters)
        values.update(grouped)
        rules, missing = [], []
        for cid in sorted(chosen):
            control = self.controls[cid]
            if control.platform != family or (scope and control.file.scope != scope):
                continue
            mine = {n: p.default for n, p in control.file.parameters.items() if p.has_default}
            mine.update({n: values[n] for n in control.uses if n in values})
            if unset := tuple(n for n in control.uses if n not in mine):
                missing.append(NotCovered(cid, unset))
                continue
            holds = set(control.placeholders)
            fill(list(mine.values()), {}, seen=holds)
            if school is None and holds & {"code", "upn_suffix"}:
                continue
            # What trust.yml should have said; the directory's base is the target's to tell.
            if unset := tuple(n for n in ("code", "codes", "upn_suffix") if n in holds and not fills.get(n)):
                missing.append(NotCovered(cid, unset))
                continue
            # Only what it holds is put in: schools whose values are the same share the rule and what it remembers.
            if control.file.fix is not None:
                fill(list(control.file.fix.variables.values()), {}, seen=holds)
            own = {n: fills[n] for n in sorted(holds) if n in fills}
            rules.append(self._rule(control, mine, own, school.key if school and scope == "items" else ""))
        return Baseline(tuple(rules), tuple(missing))

    def _rule(self, control: Control, values: Mapping[str, Any], fills: Mapping[str, Any], school: str) -> Rule:
        key = (control.id, school, repr(sorted(values.items())), repr(sorted(fills.items())))
        found = self._rules.get(key)
        if found is None:
            found = self._rules[key] = rule(control, values, fills, self.site)
        return found


def load_policy(own: Path | None = None) -> Policy:
    """Load the shipped baselines and, from a trust's folder, its own controls/ and profiles/.

    Raises `ConfigError` for the first thing that is wrong anywhere.
    """
    shipped = data_dir("baselines")
    doc = read(shipped / "site-parameters.yml", "baselines/site-parameters.yml")
    site = model(doc, SiteParametersFile).parameters
    controls: dict[str, Control] = {}
    for base, root in ((shipped, "baselines"), *(((own, ""),) if own else ())):
        for path in sorted((base / "controls").rglob("*.yml")):
            shown = f"{root}/{path.relative_to(base)}".lstrip("/")
            control = load_control(read(path, shown), site)
            if control.id in controls:
                raise control.doc.error(f"{control.id} exists already, in {controls[control.id].doc.file}.", ("id",))
            controls[control.id] = control
    profiles: dict[str, tuple[ProfileFile, Document]] = {}
    for base, root in ((shipped, "baselines"), *(((own, ""),) if own else ())):
        for path in sorted((base / "profiles").glob("*.yml")):
            doc = read(path, f"{root}/{path.relative_to(base)}".lstrip("/"))
            file = model(doc, ProfileFile)
            if file.id != path.stem:
                raise doc.error(f"the id is the file's name: {path.stem}.", ("id",))
            if file.id in profiles:
                raise doc.error(f"profile {file.id!r} is shipped already; choose another id and extend it.", ("id",))
            profiles[file.id] = (file, doc)
    if not controls:
        raise ConfigError("there are no controls at all.", "Reinstall spiritlevel, or check its baselines folder.")
    policy = Policy(controls, profiles, site)
    for name in profiles:
        policy.profile(name)
    return policy
