"""What people write: YAML 1.2, errors that point at the place, secrets never repeated, policy that resolves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from agent import files, trust
from agent.baseline import Policy
from agent.controls import load_control
from agent.errors import ConfigError, SecretError
from agent.files import SiteParameter
from agent.model import Kind, School, Target
from agent.yamlfile import Document, model, parse, read
from tests.core.box import PLATFORM

# ---------------------------------------------------------------------------------------------------------------- YAML


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("Y", "Y"),
        ("true", True),
        ("True", True),
        ("'true'", "true"),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("''", ""),
        ("0640", 640),
        ("'0640'", "0640"),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.10", 1.1),
        ("'1.10'", "1.10"),
        ("1.2.3", "1.2.3"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2026-11-24", "2026-11-24"),
        ("2026-11-24T01:00:00Z", "2026-11-24T01:00:00Z"),
        ("-7", -7),
        ("+7", 7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("=", "="),
        ("9" * 5000, "9" * 5000),
        ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_plain_words_are_read_as_yaml_1_2(text: str, value: Any) -> None:
    got = parse(f"key: {text}\n").data["key"]
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "stands here twice"),
        ("a:\n  b: 1\n  b: 2\n", 3, "stands here twice"),
        ("a: [1, 2\n", 2, "not valid YAML"),
        ("a: 'x\n", 2, "not valid YAML"),
        ("a: b: c\n", 1, "not valid YAML"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML"),
        ("a: *nowhere\n", 1, "not valid YAML"),
        ("a: !!python/object/apply:os.system [id]\n", 1, "is not allowed"),
        ("a: !vault x\n", 1, "is not allowed"),
        ("a: 1\nb: !!set {x, y}\n", 2, "is not allowed"),
        ("? [a, b]\n: 1\n", 1, "a key must be a word"),
        ("a: &x [*x]\n", 1, "nested too deeply"),
        ("a: " + "[" * 70 + "]" * 70, 1, "nested too deeply"),
        ("a: \x07\n", 0, "not valid YAML"),
    ],
)
def test_what_is_refused_and_where(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        parse(text, "f.yml")
    assert caught.value.file == "f.yml"
    assert caught.value.line == line


@pytest.mark.parametrize("text", ["[" * 400_000, "- " * 200_000 + "x", "{a: " * 100_000], ids=["flow", "block", "map"])
def test_deep_nesting_does_not_take_the_process_down(text: str) -> None:
    with pytest.raises(ConfigError, match=r"nested too deeply|not valid YAML"):
        parse(text)


def test_a_bomb_of_anchors_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(ConfigError, match="too large"):
        parse("\n".join(lines))


def test_anchors_of_ordinary_size_are_fine() -> None:
    assert parse("a: &x {b: 1}\nc: *x\n").data == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(
    ("raw", "words"),
    [(b"a: \xff\xfe", "not UTF-8"), ("a: 1".encode("utf-16"), "not UTF-8"), (b"x" * (5 << 20), "larger than 4 MiB")],
)
def test_files_that_are_no_text(tmp_path: Path, raw: bytes, words: str) -> None:
    (tmp_path / "f.yml").write_bytes(raw)
    with pytest.raises(ConfigError, match=words):
        read(tmp_path / "f.yml", "f.yml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read(tmp_path / "f.yml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path)
    (tmp_path / "bom.yml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read(tmp_path / "bom.yml").data == {"a": 1}


@pytest.mark.parametrize("kind", [c for c in vars(files).values() if isinstance(c, type) and issubclass(c, files.File)])
def test_every_file_has_a_json_schema(kind: type[files.File]) -> None:
    schema = kind.model_json_schema()
    Draft202012Validator.check_schema(schema)
    if kind is not files.File:
        assert schema["additionalProperties"] is False


# ------------------------------------------------------------------------------------------------------------ controls

CONTROL = """\
id: testbox.word-is-good
version: 1
title: The word is good
theme: devices
severity: low
applies_to: {platform: testbox}
why: A bad word does harm to all who read it.
check: {fact: word, equals: good}
examples:
  - {name: good, expect: pass, facts: {word: good}}
"""
SITE = {
    "site_word": SiteParameter(type="str", why="x"),
    "site_list": SiteParameter(type="list", why="x"),
    "free": SiteParameter(type="str", why="x", default="y"),
}


def control(text: str = CONTROL) -> Any:
    return load_control(parse(text, "c.yml"), SITE)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("theme: devices", "them: devices", 4, "Did you mean 'theme'?"),
        ("theme: devices", "theme: gadgets", 4, "devices"),
        ("severity: low", "severity: info", 5, "critical"),
        ("version: 1", "version: '1'", 2, "integer"),
        ("version: 1", "version: 0", 2, "greater than or equal to 1"),
        ("platform: testbox", "platform: testbix", 6, "Did you mean 'testbox'?"),
        ("platform: testbox", "platform: testbox, need: [x]", 6, "Did you mean 'needs'?"),
        ("platform: testbox", "platform: testbox, needs: [entra_p1]", 6, "pattern"),
        ("id: testbox.word-is-good", "id: linux.word-is-good", 1, "starts with its platform"),
        ("id: testbox.word-is-good", "id: testbox.Word", 1, "pattern"),
        ("fact: word", "fact: wrod", 8, "Did you mean 'word'?"),
        ("equals: good", "equals: no good: x", 8, "not valid YAML"),
        ("equals: good", "equals: 1.10", 8, "put it in quotes"),
        ("equals: good", "equals: {param: site_wrod}", 8, "Did you mean 'site_word'?"),
        ("check: {fact: word, equals: good}", "check: {manual: a?, fact: word}", 8, "nothing else"),
        ("severity: low", "severity: low\nscope: items", 6, "for directories and tenants"),
        ("expect: pass", "expect: passed", 10, "not_applicable"),
        ("version: 1", "version: 1\nparameters: {x: {type: int, why: y, default: '3'}}", 3, "a number is wanted"),
        ("version: 1", "version: 1\nparameters: {x: {type: int, why: y, default: 3}}", 3, "never used"),
        ("version: 1", "version: 1\nparameters: {site_word: {type: str, why: y}}", 3, "a site's own parameter"),
        ("version: 1", "version: 1\nfix: {playbook: a.yml, manual: b}", 3, "either a playbook or a manual step"),
        ("fact: word, equals: good", "fact: twice, at_least: 1", 1, "factor"),
    ],
)
def test_a_wrong_control_is_told_with_its_line(old: str, new: str, line: int, words: str) -> None:
    assert old in CONTROL
    with pytest.raises(ConfigError) as caught:
        control(CONTROL.replace(old, new, 1))
    assert words in str(caught.value)
    assert (caught.value.file, caught.value.line) == ("c.yml", line)


# ------------------------------------------------------------------------------------------------------------ profiles

OTHER = CONTROL.replace("word-is-good", "word-is-set").replace("equals: good", "equals: {param: site_word}")
SIZED = CONTROL.replace("word-is-good", "number-is-small").replace(
    "check: {fact: word, equals: good}",
    "parameters: {small: {type: int, why: x, default: 3}}\ncheck: {fact: number, at_most: {param: small}}",
)
CODED = CONTROL.replace("word-is-good", "word-has-code").replace("equals: good", "matches: '^{code}-'")


def policy(**profiles: str) -> Policy:
    controls = {c.id: c for c in map(control, (CONTROL, OTHER, SIZED, CODED))}
    docs: dict[str, Document] = {n: parse(f"id: {n}\n{text}", f"profiles/{n}.yml") for n, text in profiles.items()}
    return Policy(controls, {n: (model(d, files.ProfileFile), d) for n, d in docs.items()}, SITE)


def box(*groups: str, school: str | None = "oak") -> Target:
    return Target("t", Kind.DEVICE, PLATFORM, school, groups=groups)


def resolve(p: Policy, *profiles: str, school: School | None = None, groups: tuple[str, ...] = ()) -> Any:
    school = school or School("oak", "Oak", "OAK")
    return p.baseline(box(*groups), profiles, school, {"code": school.code, "codes": ["OAK"]})


def value(p: Policy, *profiles: str, **more: Any) -> Any:
    [rule] = [r for r in resolve(p, *profiles, **more).rules if r.control.id == "testbox.number-is-small"]
    return rule.parameters["small"]


@pytest.mark.parametrize(
    ("profiles", "words"),
    [
        ({"a": "extends: [b]", "b": "extends: [a]"}, "in a circle: a → b → a"),
        ({"a": "extends: [a]"}, "in a circle"),
        ({"a": "extends: [bee]", "bees": ""}, "Did you mean 'bees'?"),
        ({"a": "controls: [testbox.word-is-god]"}, "Did you mean 'testbox.word-is-good'?"),
        ({"a": "controls: ['linux.*']"}, "there is no control 'linux.*'"),
        ({"a": "controls: ['-testbox.nope']"}, "there is no control 'testbox.nope'"),
        ({"a": "parameters: {site_wrod: x}"}, "Did you mean 'site_word'?"),
        ({"a": "parameters: {site_word: 3}"}, "text is wanted"),
        ({"a": "parameters: {site_list: x}"}, "is a list"),
        ({"a": "parameters: {small: '3'}"}, "a number is wanted"),
        ({"a": "groups: {g: {parameters: {smal: 3}}}"}, "Did you mean 'small'?"),
        ({"a": "groups: {g: {controls: [nope]}}"}, "there is no control 'nope'"),
    ],
)
def test_a_wrong_profile_is_told(profiles: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy(**profiles).profile("a")
    assert words in str(caught.value)
    assert caught.value.file == "profiles/a.yml" or "circle" in words


def test_unknown_profiles() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'trust'"):
        policy(trust="").profile("trsut")


def test_patterns_add_and_take_away_in_order() -> None:
    p = policy(
        a="controls: ['testbox.*', '-testbox.word-*', testbox.word-is-good]",
        b="extends: [a]\ncontrols: ['-testbox.n*']",
    )
    assert p.profile("a").controls == {"testbox.number-is-small", "testbox.word-is-good"}
    assert p.profile("b").controls == {"testbox.word-is-good"}


def test_an_unset_site_value_is_not_covered_and_never_judged() -> None:
    p = policy(a="controls: ['testbox.word-is-set']")
    got = resolve(p, "a")
    assert got.rules == ()
    assert [(n.control, n.missing) for n in got.not_covered] == [("testbox.word-is-set", ("site_word",))]
    got = resolve(p, "a", school=School("oak", "Oak", parameters={"site_word": "x"}))
    assert [r.parameters for r in got.rules] == [{"site_word": "x"}]


def test_who_wins() -> None:
    p = policy(
        low="controls: ['testbox.number-is-small']",
        base="extends: [low]\nparameters: {small: 4}\ngroups: {servers: {parameters: {small: 40}}}",
        top="extends: [base]\nparameters: {small: 5}",
        phase="parameters: {small: 6}",
    )
    school = School("oak", "Oak", parameters={"small": 7})
    assert value(p, "low") == 3, "the control's own default"
    assert value(p, "base") == 4
    assert value(p, "top") == 5, "what extends wins over what it extends"
    assert value(p, "top", "phase") == 6, "a later profile wins over an earlier one"
    assert value(p, "top", "phase", school=school) == 7, "the school wins over profiles"
    assert value(p, "top", "phase", school=school, groups=("servers",)) == 40, "what a machine is for wins over all"


def test_targets_alike_share_a_baseline_and_no_others_do() -> None:
    p = policy(
        a="controls: ['testbox.*']\nparameters: {site_word: w}\ngroups: {servers: {parameters: {small: 40}}}",
        b="extends: [a]\nparameters: {small: 5}",
    )
    oak = School("oak", "Oak", "OAK")
    first = resolve(p, "a", school=oak)
    assert resolve(p, "a", school=School("oak", "Oak", "OAK"), groups=("desks",)) is first, "no profile knows desks"
    others = [
        resolve(p, "a", school=oak, groups=("desks", "servers")),
        resolve(p, "b", school=oak),
        resolve(p, "a", school=School("oak", "Oak", "OAK", parameters={"small": 7})),
        resolve(p, "a", school=School("oak", "Oak", "ELM")),
        p.baseline(box(), ["a"], oak, {"code": "OAK", "codes": ["OAK"]}, "items"),
        p.baseline(box(school=None), ["a"], None, {"codes": ["OAK"]}),
    ]
    told = [[(r.control.id, dict(r.parameters), dict(r.fills)) for r in b.rules] for b in (first, *others)]
    assert all(mine not in told[:i] for i, mine in enumerate(told)), "each is what its own target gets"


def test_groups_bring_controls_of_their_own() -> None:
    p = policy(a="controls: []\ngroups: {servers: {controls: [testbox.word-is-good]}}")
    assert [r.control.id for r in resolve(p, "a", groups=("servers",)).rules] == ["testbox.word-is-good"]
    assert resolve(p, "a", groups=("desks",)).rules == ()


def test_a_school_without_a_code_is_not_covered_by_what_needs_one() -> None:
    p = policy(a="controls: [testbox.word-has-code]")
    assert len(resolve(p, "a").rules) == 1
    got = resolve(p, "a", school=School("elm", "Elm"))
    assert got.rules == ()
    assert [n.missing for n in got.not_covered] == [("code",)]
    trusts = p.baseline(box(school=None), ["a"], None, {"codes": ["OAK"]})
    assert (trusts.rules, trusts.not_covered) == ((), ())


def test_a_rule_changes_with_its_values_and_fills_and_with_nothing_else() -> None:
    p = policy(a="controls: ['testbox.*']\nparameters: {site_word: '{code}-x'}")

    def digests(**more: Any) -> dict[str, str]:
        return {r.control.id: r.digest for r in resolve(p, "a", **more).rules}

    oak, elm = digests(), digests(school=School("elm", "Elm", "ELM"))
    assert {i for i in oak if oak[i] != elm[i]} == {"testbox.word-has-code", "testbox.word-is-set"}
    small = digests(school=School("oak", "Oak", "OAK", parameters={"small": 9}))
    assert {i for i in oak if oak[i] != small[i]} == {"testbox.number-is-small"}


# ----------------------------------------------------------------------------------------------------------- trust.yml

TRUST = """\
name: Northfield
schools:
  oak:
    name: Oak
    code: OAK
    directory: {use: ad, ou: "OU=OAK,{base_dn}"}
    tenant: {use: m365, device_names: "^OAK-"}
  elm: {name: Elm}
directories:
  ad: {url: "ldaps://dc1", bind: svc, password: env:PW}
tenants:
  m365: {tenant_id: t, client_id: c, secret: env:S}
"""


def write(folder: Path, text: str = TRUST, **more: str) -> Path:
    (folder / "trust.yml").write_text(text)
    for name, body in more.items():
        (folder / f"{name}.yml").write_text(body)
    return folder


def test_a_trust_loads(tmp_path: Path) -> None:
    got = trust.load(write(tmp_path))
    assert list(got.schools) == ["oak", "elm"]
    assert [(t.id, t.kind, t.serves) for t in got.shared] == [
        ("ad", Kind.DIRECTORY, ("oak",)),
        ("m365", Kind.TENANT, ("oak",)),
    ]
    assert got.fills(got.schools["oak"])["code"] == "OAK"


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("name: Northfield", "nam: Northfield", 1, "Did you mean 'name'?"),
        ("    code: OAK", "    cod: OAK", 5, "Did you mean 'code'?"),
        ("    code: OAK", "    urn: '100'", 5, "integer"),
        ("    code: OAK", "    code: 'O K'", 5, "pattern"),
        ("    code: OAK", "    inventory: nope.yml", 5, "no inventory 'nope.yml'"),
        ("    code: OAK", "    not_scanned: {ipads: -1}", 5, "greater than or equal to 0"),
        ("use: ad", "use: adx", 6, "Did you mean 'ad'?"),
        ("use: m365", "use: m36", 7, "Did you mean 'm365'?"),
        ("^OAK-", "^OAK-(", 7, "no regular expression"),
        ("elm: {name: Elm}", "elm: {name: Elm, code: OAK}", 2, "given to two schools"),
        ("elm:", "oak:", 8, "stands here twice"),
        ("elm: {name: Elm}", "'elm tree': {name: Elm}", 8, "pattern"),
        ("name: Northfield", "name: Northfield\ntimezone: Europe/Lundon", 2, "no time zone"),
        ("secret: env:S", "secret: env:S, certificate: file:x.pem", 12, "either a secret or a certificate"),
        ('url: "ldaps://dc1"', 'url: "ldaps://dc1", ca_file: no.pem', 10, "no file 'no.pem'"),
        ("tenants:\n  m365:", "tenants:\n  ad:", 7, "no tenant 'm365'"),
    ],
)
def test_a_wrong_trust_is_told_with_its_line(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    assert old in TRUST
    with pytest.raises(ConfigError) as caught:
        trust.load(write(tmp_path, TRUST.replace(old, new, 1)))
    assert words in str(caught.value)
    assert (caught.value.file, caught.value.line) == ("trust.yml", line)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("password: env:PW", "password: hunter2"),
        ("password: env:PW", "password: 'env:'"),
        ("password: env:PW", "password: 'pw:hunter2'"),
        ("password: env:PW", "password: [hunter2]"),
        ("password: env:PW", "password: {x: hunter2}"),
        ("password: env:PW", "password: !!binary hunter2"),
        ("secret: env:S", "secret: hunter2"),
        ("secret: env:S", "certificate: hunter2"),
        ("name: Northfield", "name: Northfield\nnotify: {teams_webhook: 'https://x.example/hunter2'}"),
        ("bind: svc, password: env:PW", "bind: svc, pasword: hunter2"),
    ],
)
def test_a_written_secret_is_refused_and_never_repeated(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(ConfigError) as caught:
        trust.load(write(tmp_path, TRUST.replace(old, new, 1)))
    assert "hunter2" not in str(caught.value)
    assert caught.value.line


def test_a_bind_without_a_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="never written down"):
        trust.load(write(tmp_path, TRUST.replace(", password: env:PW", "", 1)))


EXCEPTION = "{control: testbox.word-is-good, reason: agreed with the head, owner: A. Head, expires: 2027-03-31}"
ANSWER = "{control: testbox.q, answer: 'yes', by: A. Head, on: 2026-09-01, expires: 2027-09-01, evidence: minutes}"


@pytest.mark.parametrize("form", ["- {}\n", "exceptions:\n  - {}\n"])
def test_exceptions_in_both_forms(tmp_path: Path, form: str) -> None:
    got = trust.load(write(tmp_path, exceptions=form.format(EXCEPTION)))
    assert got.exceptions[0].expires.isoformat() == "2027-03-31"
    trust.check_exceptions(got, ["testbox.word-is-good"])
    with pytest.raises(ConfigError, match="no control"):
        trust.check_exceptions(got, ["testbox.other"])


@pytest.mark.parametrize(
    ("name", "text", "line", "words"),
    [
        ("exceptions", "- " + EXCEPTION.replace("2027-03-31", "soon"), 1, "a date such as"),
        ("exceptions", "# why\n- " + EXCEPTION.replace("2027-03-31", "'2027-02-30'"), 2, "a date such as"),
        ("exceptions", "- " + EXCEPTION.replace(", expires: 2027-03-31", ""), 1, "required"),
        ("exceptions", "- " + EXCEPTION.replace("owner:", "ownr:"), 1, "Did you mean 'owner'?"),
        ("exceptions", "- " + EXCEPTION.replace("{", "{school: oka, "), 1, "Did you mean 'oak'?"),
        ("exceptions", "- " + EXCEPTION.replace("agreed with the head", "ok"), 1, "at least 8"),
        ("attestations", "- " + ANSWER.replace("'yes'", "maybe"), 1, "'yes' or 'no'"),
        ("attestations", "- " + ANSWER.replace("control: testbox.q, ", ""), 1, "either a control or a requirement"),
        ("attestations", "- " + ANSWER.replace("{", "{school: nope, "), 1, "no school 'nope'"),
        ("attestations", "attestation: []\n", 1, "Did you mean 'attestations'?"),
    ],
)
def test_wrong_exceptions_and_attestations(tmp_path: Path, name: str, text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        trust.load(write(tmp_path, **{name: text}))
    assert words in str(caught.value)
    assert (caught.value.file, caught.value.line) == (f"{name}.yml", line)


@pytest.mark.parametrize("answer", ["yes", "'yes'"])
def test_attestations_load(tmp_path: Path, answer: str) -> None:
    got = trust.load(write(tmp_path, attestations="- " + ANSWER.replace("'yes'", answer), exceptions="\n"))
    assert got.attestations[0].answer == "yes"
    assert got.exceptions == ()
