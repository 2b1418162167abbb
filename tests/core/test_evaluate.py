"""Controls × facts → findings: whose items, which licences, what is remembered, what a digest sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

import pytest

from agent import claims
from agent.controls import Rule, load_control, rule
from agent.derive import View
from agent.evaluate import Case, judge
from agent.files import AttestationEntry
from agent.model import (
    Evidence,
    Finding,
    Kind,
    Partial,
    Reading,
    Reason,
    School,
    Target,
    TargetState,
    Unknown,
    Verdict,
)
from agent.yamlfile import Document
from tests.core.box import AS_OF, HIDDEN, PLATFORM, thing

OAK, ELM = School("oak", "Oak", "OAK", phase="primary"), School("elm", "Elm", "ELM", phase="secondary")
BASE: dict[str, Any] = {
    "id": "testbox.c",
    "version": 1,
    "title": "The state is good",
    "theme": "devices",
    "severity": "low",
    "applies_to": {"platform": PLATFORM},
    "why": "A bad state does harm to everybody.",
}
GOOD = {"fact": "word", "equals": "good"}


@pytest.fixture(autouse=True)
def owners() -> Iterator[None]:
    """A rule of the testbox: an item belongs to the school that its owner names; an unknown owner is unknown."""

    def owner(item: Mapping[str, Any], school: School, _view: View) -> bool | None:
        said = item.get("owner", HIDDEN)
        return None if isinstance(said, Unknown) else said == school.key

    claims.RULES["testbox"] = owner
    yield
    del claims.RULES["testbox"]


def made(check: Any, *, items: bool = False, parameters: Mapping[str, Any] | None = None, **more: Any) -> Rule:
    """A rule from a check and whatever else its control says."""
    applies = {**BASE["applies_to"], **more.pop("applies_to", {})}
    declares = {"parameters": more.pop("declares", {})}
    doc = Document({**BASE, **declares, **more, "applies_to": applies, "check": check}, "c.yml", {})
    control = load_control(doc, {})
    if items:  # such controls are for directories and tenants, which the testbox is none of
        file = control.file.model_copy(update={"scope": "items"})
        control = type(control)(file, doc, control.reads, control.uses, control.placeholders, control.words)
    return rule(control, parameters or {}, {}, {})


def case(facts: Mapping[str, Any], *, shared: bool = False, schools: Any = (OAK,), **more: Any) -> Case:
    """A case of plain values, or of readings."""
    target = Target(
        "t", Kind.DIRECTORY if shared else Kind.DEVICE, PLATFORM, None if shared else "oak", groups=("servers",)
    )
    readings = {n: v if isinstance(v, Reading) else Reading(v) for n, v in facts.items()}
    return Case(Evidence(target, TargetState.COLLECTED, more.pop("as_of", AS_OF), readings), schools)


def one(made_rule: Rule, facts: Mapping[str, Any], school: School | None = OAK, **more: Any) -> Finding:
    """The one finding of a rule."""
    attestations = more.pop("attestations", ())
    [found] = judge(case(facts, **more), [made_rule], school, attestations)
    return found


def test_the_verdicts() -> None:
    good = made(GOOD)
    passed, failed, unknown = (one(good, f) for f in ({"word": "good"}, {"word": "bad"}, {"word": HIDDEN}))
    assert (passed.verdict, passed.reason, passed.control, passed.school) == (Verdict.PASS, "", "testbox.c", "oak")
    assert (failed.verdict, failed.expected, failed.observed) == (Verdict.FAIL, "word is good", "word = bad")
    assert (unknown.verdict, unknown.reason) == (Verdict.UNKNOWN, "permission missing: Read.All")
    assert one(good, {}).verdict is Verdict.UNKNOWN
    nothing = made({"every_item": {"of": "things", "empty": "not_applicable", "check": {"item": "n", "equals": 1}}})
    assert one(nothing, {"things": []}).verdict is Verdict.NOT_APPLICABLE


def test_unreachable_evidence_is_all_unknown() -> None:
    rules = [
        made(GOOD),
        made({"not": GOOD}, id="testbox.d"),
        made({"no_item": {"of": "things", "check": {"item": "n", "equals": 1}}}, id="testbox.e"),
        made(GOOD, id="testbox.f", applies_when={"fact": "flag", "equals": True}),
        made(GOOD, id="testbox.g", applies_to={"needs": ["licence gold"]}),
        made({"fact": "age", "at_most": 3}, id="testbox.h"),
    ]
    lost = Reading(Unknown(Reason.UNREACHABLE))
    found = judge(case(dict.fromkeys(("word", "things", "flag", "licences", "when"), lost)), rules, OAK)
    assert {f.verdict for f in found} == {Verdict.UNKNOWN}
    assert all("unreachable" in f.reason for f in found)
    assert {f.verdict for f in judge(case({}), rules, OAK)} == {Verdict.UNKNOWN}


def test_an_unknown_finding_names_what_surely_fails() -> None:
    both = made({"all": [GOOD, {"fact": "mood", "equals": "good"}]})
    assert one(both, {"word": "bad", "mood": HIDDEN}).verdict is Verdict.FAIL
    found = one(both, {"word": "good", "mood": HIDDEN})
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "permission missing: Read.All")


def test_roles_and_phases() -> None:
    assert one(made(GOOD, applies_to={"roles": ["servers", "x"]}), {"word": "bad"}).verdict is Verdict.FAIL
    found = one(made(GOOD, applies_to={"roles": ["desks"]}), {"word": "bad"})
    assert (found.verdict, found.reason) == (Verdict.NOT_APPLICABLE, "only for desks")
    phase = made(GOOD, applies_to={"phase": ["secondary"]})
    assert one(phase, {"word": "bad"}).verdict is Verdict.NOT_APPLICABLE
    assert one(phase, {"word": "bad"}, ELM).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("licences", "verdict", "words"),
    [
        (["gold"], Verdict.FAIL, ""),
        (["tin"], Verdict.NOT_APPLICABLE, "not licensed: gold"),
        ([], Verdict.NOT_APPLICABLE, "not licensed: gold"),
        (HIDDEN, Verdict.UNKNOWN, "licences of the tenant"),
        (Partial(("tin",), HIDDEN), Verdict.UNKNOWN, "Read.All"),
        (Partial(("gold",), HIDDEN), Verdict.FAIL, ""),
        (["tin", HIDDEN], Verdict.UNKNOWN, "Read.All"),
    ],
)
def test_licences(licences: Any, verdict: Verdict, words: str) -> None:
    gold = made(GOOD, applies_to={"needs": ["licence gold"]})
    found = one(gold, {"word": "bad", "licences": licences})
    assert found.verdict is verdict
    assert words in found.reason
    assert "licences" in gold.reads


@pytest.mark.parametrize(
    ("flag", "verdict"), [(True, Verdict.FAIL), (False, Verdict.NOT_APPLICABLE), (HIDDEN, Verdict.UNKNOWN)]
)
def test_applies_when(flag: Any, verdict: Verdict) -> None:
    found = one(made(GOOD, applies_when={"fact": "flag", "equals": True}), {"word": "bad", "flag": flag})
    assert found.verdict is verdict


# --------------------------------------------------------------------------------------------------------- whose items

NONE_BAD = {"no_item": {"of": "shared", "check": {"item": "s", "equals": "bad"}}}


def owned(items: Any, check: Any = NONE_BAD) -> dict[str | None, Finding]:
    """Findings of the trust and of both schools over one shared list."""
    mine = made(check, items=True)
    whole = case({"shared": items}, shared=True, schools=(OAK, ELM))
    return {s.key if s else None: judge(whole, [mine], s)[0] for s in (None, OAK, ELM)}


def names(found: dict[str | None, Finding]) -> dict[str | None, list[str]]:
    return {k: [o.label for o in f.offenders] for k, f in found.items()}


def test_items_fall_to_schools_and_the_rest_to_the_trust() -> None:
    bad = [
        thing(n, s="bad", owner=o) for n, o in (("a", "oak"), ("b", "elm"), ("c", "oak"), ("d", None), ("e", "gone"))
    ]
    found = owned([*bad, thing("fine", owner="elm")])
    assert names(found) == {None: ["d", "e"], "oak": ["a", "c"], "elm": ["b"]}
    assert {f.verdict for f in found.values()} == {Verdict.FAIL}
    assert [f.school for f in found.values()] == [None, "oak", "elm"]


def test_an_item_whose_school_is_unknown_makes_every_list_incomplete() -> None:
    found = owned([thing("a", owner="oak"), thing("x", owner=HIDDEN)])
    assert {k: f.verdict for k, f in found.items()} == dict.fromkeys((None, "oak", "elm"), Verdict.UNKNOWN)
    found = owned([thing("a", owner="oak", s="bad"), thing("x", owner=HIDDEN, s="bad")])
    assert {k: f.verdict for k, f in found.items()} == {
        None: Verdict.UNKNOWN,
        "oak": Verdict.FAIL,
        "elm": Verdict.UNKNOWN,
    }
    assert names(found)["oak"] == ["a"], "an item that may be another's is nobody's offender"


def test_an_unknown_item_and_a_cut_list_make_every_list_incomplete() -> None:
    for items in ([thing("a", owner="oak"), HIDDEN], Partial((thing("a", owner="oak"),), HIDDEN), HIDDEN):
        found = owned(items)
        assert {f.verdict for f in found.values()} == {Verdict.UNKNOWN}
        assert all("Read.All" in f.reason for f in found.values())


def test_an_item_claimed_for_sure_is_not_the_trusts_though_another_school_is_unsure() -> None:
    def either(item: Mapping[str, Any], school: School, _view: View) -> bool | None:
        return True if school.key == "oak" else None

    claims.RULES["testbox"] = either
    found = owned([thing("a", s="bad")])
    assert {k: f.verdict for k, f in found.items()} == {None: Verdict.PASS, "oak": Verdict.FAIL, "elm": Verdict.UNKNOWN}


def test_derived_lists_are_narrowed_too() -> None:
    check = {"count_items": {"of": "tagged", "at_most": 0}}
    found = owned([thing("a", owner="oak", tags=["x"]), thing("b", owner="elm"), thing("c", tags=["y"])], check)
    assert names(found) == {None: ["c"], "oak": ["a"], "elm": []}


def test_a_list_without_a_claims_rule_is_everybodys() -> None:
    mine = made({"no_item": {"of": "things", "check": {"item": "s", "equals": "bad"}}}, items=True)
    assert one(mine, {"things": [thing("a", s="bad", owner="elm")]}, OAK, shared=True).verdict is Verdict.FAIL


# ------------------------------------------------------------------------------------------------------------- memory


def test_equal_readings_are_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import agent.evaluate

    asked: list[str] = []
    real = agent.evaluate.decide

    def decide(asked_rule: Rule, view: View) -> Any:
        asked.append(asked_rule.control.id)
        return real(asked_rule, view)

    monkeypatch.setattr(agent.evaluate, "decide", decide)
    rules = [made(GOOD), made({"fact": "when", "older_than": "3 days"}, id="testbox.old")]
    word, when = Reading("bad"), Reading("2026-11-22T00:00:00Z")
    facts = {"word": word, "when": when, "number": Reading(1)}
    first = judge(case(facts), rules, OAK)
    again = judge(case({**facts, "number": Reading(2)}), rules, OAK)
    assert asked == ["testbox.c", "testbox.old"]
    assert [f.digest for f in first] == [f.digest for f in again]
    later = judge(case(facts, as_of=datetime(2026, 11, 26, tzinfo=UTC)), rules, OAK)
    assert asked[2:] == ["testbox.old"], "only what has to do with time is judged again"
    assert [f.verdict for f in later] == [Verdict.FAIL, Verdict.PASS]
    assert judge(case({**facts, "word": Reading("good")}), rules, OAK)[0].verdict is Verdict.PASS


def test_a_derived_fact_with_a_clock_is_judged_at_each_time() -> None:
    young = made({"fact": "age", "at_most": 3})
    when = Reading("2026-11-22T00:00:00Z")
    assert young.clock
    assert one(young, {"when": when}).verdict is Verdict.PASS
    assert one(young, {"when": when}, as_of=datetime(2026, 12, 22, tzinfo=UTC)).verdict is Verdict.FAIL


def test_parameters_of_derived_facts_count() -> None:
    facts = {"number": Reading(2)}
    declares = {"factor": {"type": "int", "why": "it multiplies"}}
    for value, verdict in ((2, Verdict.PASS), (3, Verdict.FAIL), (2, Verdict.PASS)):
        twice = made({"fact": "twice", "at_most": 4}, parameters={"factor": value}, declares=declares)
        assert twice.control.uses == ("factor",)
        assert one(twice, facts).verdict is verdict


def test_schools_count_for_shared_targets() -> None:
    few = made({"fact": "school_count", "at_most": 1})
    number = Reading(1)
    assert one(few, {"number": number}, None, shared=True, schools=(OAK,)).verdict is Verdict.PASS
    assert one(few, {"number": number}, None, shared=True, schools=(OAK, ELM)).verdict is Verdict.FAIL


def test_rules_that_are_gone_leave_no_memory_behind() -> None:
    word = Reading("bad")
    for expected in ("bad", "good", "bad", "good"):  # each rule may get the place in memory of the one before
        found = one(made({"fact": "word", "equals": expected}), {"word": word})
        assert found.verdict is (Verdict.PASS if expected == "bad" else Verdict.FAIL)


# ------------------------------------------------------------------------------------------------------------ digests


def test_digests_ignore_volatile_numbers_and_see_the_rest() -> None:
    hot = made({"all": [{"fact": "box.uptime", "at_least": 100}, {"fact": "box.n", "at_most": 3}]})
    box = {"id": "g", "name": "north", "n": 9, "uptime": 5}

    def digest(**more: Any) -> str:
        return one(hot, {"box": {**box, **more}}).digest

    assert digest() == digest(uptime=6)
    assert digest() != digest(n=8)
    assert digest() != digest(uptime=100)
    busy = made(
        {
            "no_item": {
                "of": "things",
                "check": {"all": [{"item": "uptime", "at_least": 1}, {"item": "n", "at_least": 2}]},
            }
        }
    )

    def items(**more: Any) -> str:
        return one(busy, {"things": [thing("a", **{"n": 2, "uptime": 9, **more})]}).digest

    assert items() == items(uptime=10)
    assert items() != items(n=3)
    assert items() != items(id="other")


def test_a_not_applicable_reason_holds_no_volatile_number() -> None:
    idle = made(GOOD, applies_when={"fact": "box.uptime", "at_least": 100})
    found = [one(idle, {"word": "x", "box": {"uptime": n}}) for n in (1, 2)]
    assert found[0].verdict is Verdict.NOT_APPLICABLE
    assert found[0].digest == found[1].digest


def test_digests_do_not_depend_on_order() -> None:
    check = made({"no_item": {"of": "things", "check": {"item": "n", "equals": 1}}})
    items = [thing(n) for n in "abc"]
    assert one(check, {"things": items}).digest == one(check, {"things": items[::-1]}).digest


# ------------------------------------------------------------------------------------------------------------- people


def answer(word: str, on: str, expires: str, school: str | None = None) -> AttestationEntry:
    days = {"on": date.fromisoformat(on), "expires": date.fromisoformat(expires)}
    return AttestationEntry.model_validate(
        {"control": "testbox.c", "school": school, "answer": word, "by": "A. Head", "evidence": "minutes", **days}
    )


@pytest.mark.parametrize(
    ("answers", "verdict", "words"),
    [
        ([], Verdict.MANUAL, "nobody has answered"),
        ([answer("yes", "2026-09-01", "2027-09-01")], Verdict.PASS, ""),
        ([answer("no", "2026-09-01", "2027-09-01")], Verdict.FAIL, ""),
        ([answer("yes", "2026-09-01", "2026-11-24")], Verdict.PASS, ""),
        ([answer("yes", "2026-09-01", "2026-11-23")], Verdict.MANUAL, "expired on 2026-11-23"),
        ([answer("yes", "2026-11-25", "2027-11-23")], Verdict.MANUAL, "nobody has answered"),
        ([answer("yes", "2026-09-01", "2027-09-01", "elm")], Verdict.MANUAL, "nobody has answered"),
        (
            [answer("yes", "2026-09-01", "2027-09-01"), answer("no", "2026-08-01", "2027-09-01", "oak")],
            Verdict.FAIL,
            "",
        ),
        ([answer("yes", "2026-09-01", "2027-09-01"), answer("no", "2026-10-01", "2027-09-01")], Verdict.FAIL, ""),
        (
            [answer("yes", "2026-09-01", "2027-09-01"), answer("no", "2026-10-01", "2026-11-01")],
            Verdict.MANUAL,
            "expired",
        ),
    ],
)
def test_manual_controls(answers: list[AttestationEntry], verdict: Verdict, words: str) -> None:
    found = one(made({"manual": "Is it so?"}), {}, attestations=answers)
    assert found.verdict is verdict
    assert words in found.reason
    assert found.expected == "Is it so?"
