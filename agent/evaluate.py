"""Controls × facts → findings. Pure: no clock but the evidence's, no input but what is handed in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from operator import itemgetter
from typing import Any

from agent.claims import Answers, asking, hidden
from agent.condition.nodes import NA
from agent.condition.tree import Branch, tree
from agent.condition.values import split_known
from agent.controls import Rule
from agent.derive import View, as_items
from agent.facttypes import REGISTRY, ListOf, Record
from agent.files import AttestationEntry
from agent.model import (
    MAX_OFFENDERS,
    NOT_COLLECTED,
    Evidence,
    Finding,
    Kind,
    Offender,
    Partial,
    Reading,
    Reason,
    School,
    Unknown,
    Verdict,
)

MEMO = 20_000
"""Answers remembered per block of rules: one per distinct set of readings, so a fleet of equals is judged once."""
MEMO_PLANS = 256
"""Baselines remembered: more than a trust has profiles and schools."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one rule says of one set of facts: a finding without names."""

    verdict: Verdict
    reason: str = ""
    expected: str = ""
    observed: str = ""
    offenders: tuple[Offender, ...] = ()
    count: int = 0
    possible: int = 0
    digest: str = ""


@dataclass(slots=True)
class Case:
    """The evidence of one target, made ready for judging by many rules.

    `schools` are all schools that use a shared target (for a device: its own).
    """

    evidence: Evidence
    schools: Sequence[School] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    shared: dict[Any, Any] = field(default_factory=dict)
    parts: dict[Any, Any] = field(default_factory=dict)

    def view(self, rule: Rule) -> View:
        """Everything that the rule may look at."""
        e = self.evidence
        return View(e.target.family, e.facts, e.as_of, rule.parameters, self.schools, self.settings, self.shared)


@dataclass(slots=True)
class Part(View):
    """A view of what falls to one school (None: what no school claims): lists with a claims rule are narrowed.

    Where an item's school cannot be told, the list may hold more than it shows: `Partial`.
    """

    case: Case | None = None
    school: School | None = None

    def get(self, name: str) -> Any:
        # Derived facts see everything and are narrowed afterwards: their answers are shared between schools.
        whole = View(self.platform, self.facts, self.as_of, self.parameters, self.schools, self.settings, self.shared)
        value = whole.get(name)
        spec = REGISTRY.specs.get((self.platform, name.split("[", 1)[0]))
        if spec is None or not isinstance(spec.type, ListOf) or not spec.type.claims:
            return value
        if value is None or isinstance(value, Unknown):
            return value
        assert self.case is not None  # noqa: S101 - set where it is made
        key = (id(value), self.school.key if self.school else None)
        if key not in self.case.parts:
            if id(value) not in self.case.parts:
                # the value itself is kept beside the answer, so that its id stays its own
                self.case.parts[id(value)] = (value, _split(value, spec.type.claims, whole))
            self.case.parts[key] = _narrow(self.case.parts[id(value)][1], spec.type, self.school, whole)
        return self.case.parts[key]


@dataclass(slots=True)
class _Split:
    """A list, dealt out: each school's items (None: what no school claims), and whose item cannot be told."""

    mine: dict[str | None, list[Any]]
    unsure: set[str | None]
    why: Unknown | None
    doubt: Unknown | None


def _split(value: Any, word: str, view: View) -> _Split:
    items, why = as_items(value)
    keys: list[str | None] = [s.key for s in view.schools]
    out = _Split({k: [] for k in (*keys, None)}, set(), why, None)
    ask = asking(word, view)
    plans: dict[Answers, tuple[list[list[Any]], list[str | None]]] = {}
    for item in items:
        if isinstance(item, Unknown):
            out.doubt = out.doubt or item
            continue
        answers = ask(item)
        plan = plans.get(answers)
        if plan is None:
            owners = [k for k, a in zip(keys, answers, strict=True) if a]
            unsure = [k for k, a in zip(keys, answers, strict=True) if a is None]
            if not owners:  # nobody's, or perhaps nobody's
                (unsure if unsure else owners).append(None)
            plan = plans[answers] = ([out.mine[k] for k in owners], unsure)
        for mine in plan[0]:
            mine.append(item)
        if plan[1]:
            out.unsure.update(plan[1])
    return out


def _narrow(split: _Split, kind: ListOf, school: School | None, view: View) -> Any:
    key, why = (school.key if school else None), split.why
    if school is not None:
        fields = kind.item.fields if isinstance(kind.item, Record) else ()
        why = why or hidden(kind.claims, school, view, fields)
    why = why or split.doubt
    if why is None and key in split.unsure:
        why = Unknown(Reason.NOT_COLLECTED, "whose item it is")
    mine = split.mine[key]
    return Partial(tuple(mine), why) if why else mine


def judge(
    case: Case, rules: Sequence[Rule], school: School | None, attestations: Sequence[AttestationEntry] = ()
) -> list[Finding]:
    """Findings of a target, in the order of the rules. `school` owns them (None: the trust); for rules with
    `scope: items` it also says whose items are looked at."""
    target, owner = case.evidence.target, school.key if school else None
    judgements: list[Judgement] = [_NONE] * len(rules)
    plan = _plan(rules)
    # Shared targets are few, unlike each other, and their derived facts look at schools and settings: no memory.
    others = plan.fill(case.evidence, judgements) if target.kind is Kind.DEVICE else range(len(rules))
    for i in others:
        judgements[i] = _judgement(rules[i], case, school, attestations)
    name, out = target.id, []
    for (control, version), j in zip(plan.names, judgements, strict=True):
        out.append(
            Finding(
                control,
                version,
                name,
                owner,
                j.verdict,
                j.reason,
                j.expected,
                j.observed,
                j.offenders,
                j.count,
                j.possible,
                j.digest,
            )
        )
    return out


_NONE = Judgement(Verdict.UNKNOWN)


class _Readings(dict[str, Reading]):
    """Facts of a target; what is not there was not collected."""

    def __missing__(self, name: str) -> Reading:
        return NOT_COLLECTED


@dataclass(slots=True)
class _Block:
    """Rules that read the same facts, by their places: they are looked up together.

    `memo` holds their judgements by readings, which compare by identity, and by the time where it matters.
    """

    reads: tuple[str, ...]
    clock: bool
    places: list[int] = field(default_factory=list)
    memo: dict[Any, tuple[Judgement, ...]] = field(default_factory=dict)


class _Plan:
    """How the devices of one baseline are judged: in blocks, and apart from them what depends on more than facts."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)  # held, so that their ids stay their own
        self.names = [(r.control.file.id, r.control.file.version) for r in rules]
        self.others: list[int] = []
        blocks: dict[tuple[tuple[str, ...], bool], _Block] = {}
        for i, rule in enumerate(rules):
            file = rule.control.file
            if file.applies_to.roles or file.applies_to.phase or rule.control.manual or file.scope == "items":
                self.others.append(i)
            else:
                key = (rule.reads, rule.clock)
                blocks.setdefault(key, _Block(*key)).places.append(i)
        self.blocks = [(b, itemgetter(*b.reads) if b.reads else lambda _: None) for b in blocks.values()]

    def fill(self, evidence: Evidence, judgements: list[Judgement]) -> Sequence[int]:
        """Put the judgements of all blocks in their places; gives the places of the others."""
        readings = _Readings(evidence.facts)
        for block, get in self.blocks:
            key = (get(readings), evidence.as_of) if block.clock else get(readings)
            found = block.memo.get(key)
            if found is None:
                if len(block.memo) >= MEMO:
                    block.memo.clear()
                found = block.memo[key] = self._decide(block, evidence)
            for i, j in zip(block.places, found, strict=True):
                judgements[i] = j
        return self.others

    def _decide(self, block: _Block, e: Evidence) -> tuple[Judgement, ...]:
        # Neither schools nor settings are shown: nothing that is remembered can depend on them.
        shared: dict[Any, Any] = {}
        rules = [self.rules[i] for i in block.places]
        return tuple([decide(r, View(e.target.family, e.facts, e.as_of, r.parameters, shared=shared)) for r in rules])


_PLANS: dict[tuple[int, ...], _Plan] = {}


def _plan(rules: Sequence[Rule]) -> _Plan:
    """The plan for these rules: made once. Bounded."""
    key = tuple(map(id, rules))
    plan = _PLANS.get(key)
    if plan is None:
        if len(_PLANS) >= MEMO_PLANS:
            _PLANS.clear()
        plan = _PLANS[key] = _Plan(rules)
    return plan


def _judgement(rule: Rule, case: Case, school: School | None, attestations: Sequence[AttestationEntry]) -> Judgement:
    """What one rule says, nothing remembered: for shared targets, and for rules that look at more than facts."""
    applies = rule.control.file.applies_to
    e = case.evidence
    if applies.roles and not set(applies.roles) & set(e.target.groups):
        return _seal(Judgement(Verdict.NOT_APPLICABLE, f"only for {', '.join(applies.roles)}"))
    if applies.phase and school is not None and school.phase not in applies.phase:
        return _seal(Judgement(Verdict.NOT_APPLICABLE, f"only for {', '.join(applies.phase)} schools"))
    if rule.control.manual:
        return _seal(attested(rule.control.id, rule.control.manual, school, e.as_of.date(), attestations))
    return decide(rule, _seen_by(rule, case, school))


def _seen_by(rule: Rule, case: Case, school: School | None) -> View:
    """What the rule looks at: for `scope: items` what falls to the school, else everything."""
    if rule.control.file.scope != "items":
        return case.view(rule)
    e = case.evidence
    return Part(
        e.target.family, e.facts, e.as_of, rule.parameters, case.schools, case.settings, case.shared, case, school
    )


def trace(rule: Rule, case: Case, school: School | None) -> tuple[list[Branch], dict[str, Any]]:
    """How a rule came to its verdict, part by part, and the derived facts that it used; empty for a question."""
    view = _seen_by(rule, case, school)
    out: list[Branch] = []
    if rule.applies_when is not None:
        out.append(Branch(0, "applies when", rule.applies_when.test(view, None)))
        out += tree(rule.applies_when, view, None, 1)
    if rule.check is not None:
        out += tree(rule.check, view)
    return out, {name: view.get(name) for name in rule.control.derived}


def decide(rule: Rule, view: View) -> Judgement:
    """One rule over one view: licences, `applies_when`, then the check."""
    for need in rule.control.file.applies_to.needs:
        licence = need.removeprefix("licence ")
        licences = view.get("licences")
        if isinstance(licences, Unknown):
            return _seal(Judgement(Verdict.UNKNOWN, f"{licences} (licences of the tenant)"))
        have, why = split_known([] if licences is None else licences)
        if licence not in have:
            if why:
                return _seal(Judgement(Verdict.UNKNOWN, f"{why} (licences of the tenant)"))
            return _seal(Judgement(Verdict.NOT_APPLICABLE, f"not licensed: {licence}"))
    if rule.applies_when is not None:
        truth = rule.applies_when.test(view, None)
        if truth is False or truth is NA:
            seen = "; ".join(t for t, volatile in rule.applies_when.explain(view, None).seen if not volatile)
            reason = f"applies when {rule.applies_when.expected}" + (f" ({seen})" if seen else "")
            return _seal(Judgement(Verdict.NOT_APPLICABLE, reason))
        if truth is None:
            unknowns = rule.applies_when.explain(view, None).unknowns
            if missing := _unlicensed(unknowns):
                return _seal(Judgement(Verdict.NOT_APPLICABLE, missing))
            return _seal(Judgement(Verdict.UNKNOWN, _reasons(unknowns)))
    assert rule.check is not None  # noqa: S101 - manual rules never come here
    account = rule.check.explain(view, None)
    observed = "; ".join(dict.fromkeys(t for t, _ in account.seen))[:600]
    pinned = "; ".join(dict.fromkeys(t for t, volatile in account.seen if not volatile))[:600]
    expected = rule.check.expected
    if account.truth is NA:
        return _seal(Judgement(Verdict.NOT_APPLICABLE, "nothing here to judge", expected, observed))
    if account.truth is None and (missing := _unlicensed(account.unknowns)):
        return _seal(Judgement(Verdict.NOT_APPLICABLE, missing, expected))
    if account.truth is None:
        # what surely fails is worth naming, though the whole is unknown
        return _seal(
            Judgement(
                Verdict.UNKNOWN,
                _reasons(account.unknowns),
                expected,
                observed,
                tuple(sorted(account.culprits)),
                account.count,
                account.possible,
            ),
            pinned,
        )
    if account.truth is True:
        return _seal(Judgement(Verdict.PASS, "", expected, observed, possible=account.possible), "")
    offenders = tuple(sorted(account.culprits)[:MAX_OFFENDERS])
    return _seal(
        Judgement(
            Verdict.FAIL, "", expected, observed, offenders, max(account.count, len(offenders)), account.possible
        ),
        pinned,
    )


def _unlicensed(unknowns: Sequence[Unknown]) -> str:
    """A reason when everything that could not be read is known not to be licensed; else empty."""
    if not unknowns or any(u.reason is not Reason.NOT_LICENSED for u in unknowns):
        return ""
    return f"not licensed: {', '.join(dict.fromkeys(u.detail for u in unknowns))}"


def _reasons(unknowns: Sequence[Unknown]) -> str:
    """Up to three distinct reasons, as one line."""
    words = list(dict.fromkeys(str(u) for u in unknowns))
    return "; ".join(words[:3]) + (f"; and {len(words) - 3} more" if len(words) > 3 else "")


def _seal(j: Judgement, pinned: str = "") -> Judgement:
    """Add the digest: equal digests mean that nothing changed worth a word. Volatile numbers are left out."""
    body = [j.verdict.value, j.reason, j.expected, pinned, [[o.key, o.value] for o in j.offenders], j.count]
    digest = hashlib.sha256(json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return Judgement(j.verdict, j.reason, j.expected, j.observed, j.offenders, j.count, j.possible, digest)


def attested(
    control: str, question: str, school: School | None, today: date, attestations: Sequence[AttestationEntry]
) -> Judgement:
    """A manual control: a dated human answer that is still in date, else `manual` with the question."""
    key = school.key if school else None
    mine = [a for a in attestations if a.control == control and a.school in (None, key) and a.on <= today]
    # The school's own answer goes before the trust's, and a newer one takes the place of an older.
    for scope in dict.fromkeys((key, None)):
        a = max((a for a in mine if a.school == scope), key=lambda a: a.on, default=None)
        if a is not None and a.expires >= today:
            verdict = Verdict.PASS if a.answer == "yes" else Verdict.FAIL
            return Judgement(verdict, "", question, f"{a.answer}, said by {a.by} on {a.on.isoformat()}: {a.evidence}")
    if mine:
        last = max(a.expires for a in mine)
        return Judgement(Verdict.MANUAL, f"the answer expired on {last.isoformat()}", question)
    return Judgement(Verdict.MANUAL, "nobody has answered this yet", question)
