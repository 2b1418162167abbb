"""The documentation is whole and true: every verb, option and operator, and every example in it works."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import agent.facts
from agent import files, yamlfile
from agent.baseline import Policy, load_policy
from agent.cli import VERBS, cli
from agent.condition import OPERATORS, QUANTIFIERS, Context, compile_condition
from agent.controls import load_control
from agent.examples import run_examples
from agent.model import Change, Verdict
from agent.resources import data_dir
from agent.standards import load_standards
from tests import docs_gen

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
REFERENCE = ROOT / "docs" / "reference"
FENCE = re.compile(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy()


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def fences(language: str) -> Iterator[tuple[str, str, str]]:
    """(where, words after the language, text) of fenced blocks."""
    for page in PAGES:
        for match in FENCE.finditer(page.read_text(encoding="utf-8")):
            if match[1] == language:
                yield f"{page.name}: {match[3].strip().splitlines()[0][:60]}", match[2], match[3]


def test_every_fence_says_what_it_is() -> None:
    for page in PAGES:
        for match in FENCE.finditer(page.read_text(encoding="utf-8")):
            assert match[1] in ("yaml", "console", "python", "text", "json", "sh"), f"{page.name}: {match[3][:60]}"


def test_the_reference_is_what_the_program_says() -> None:
    for name, text in docs_gen.pages().items():
        path = REFERENCE / name
        assert path.exists(), "run make docs"
        assert path.read_text(encoding="utf-8") == text, f"docs/reference/{name} is out of date: run make docs"


def test_every_verb_is_explained() -> None:
    text = text_of("docs/commands.md")
    for verb in VERBS:
        assert re.search(rf"spiritlevel {verb}\b", text), verb


def test_every_option_is_in_the_reference() -> None:
    text = (REFERENCE / "commands.md").read_text(encoding="utf-8")
    context = click.Context(cli, info_name="spiritlevel")

    def check(command: click.Command, path: str) -> None:
        assert f"`{path}" in text, path
        part = text.split(f"# {path}\n", 1)[1].split("\n#", 1)[0]
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert option in part, f"{path} {option}"
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                check(inner, f"{path} {name}")

    for verb in VERBS:
        command = cli.get_command(context, verb)
        assert command is not None
        check(command, f"spiritlevel {verb}")


def test_the_language_is_explained() -> None:
    text = text_of("docs/conditions.md")
    words = [
        *OPERATORS,
        *QUANTIFIERS,
        "all",
        "any",
        "not",
        "where",
        "empty",
        "default",
        "absent",
        "ignore_case",
        "manual",
    ]
    for word in [*words, "param", "item", "fact", "item: this"]:
        assert re.search(rf"`[^`\n]*\b{re.escape(word)}\b[^`\n]*`", text), word


def test_words_of_verdicts_changes_and_codes() -> None:
    for verdict in Verdict:
        assert f"`{verdict.value}`" in text_of("docs/controls.md")
    for change in Change:
        assert not change.value or f"`{change.value}`" in text_of("docs/changes.md")
    for code in range(4):
        for name in ("docs/commands.md", "README.md"):
            assert re.search(rf"^\| {code} \|", text_of(name), re.MULTILINE)


def test_every_fact_platform_and_parameter_is_documented(policy: Policy) -> None:
    assert agent.facts
    facts, controls = (REFERENCE / "facts.md").read_text(), (REFERENCE / "controls.md").read_text()
    for platform in sorted({c.platform for c in policy.controls.values()}):  # tests declare platforms of their own
        assert f"## {platform}\n" in facts
    for control in policy.controls.values():
        assert f"`{control.id}`" in controls
        for name in control.uses:
            assert f"| `{name}` |" in controls, f"{control.id}: {name}"


@pytest.mark.parametrize(
    ("kind", "page"),
    [
        (files.TrustFile, "trust"), (files.SchoolEntry, "trust"), (files.DirectoryEntry, "trust"),
        (files.SchoolTenant, "trust"), (files.SchoolDirectory, "trust"), (files.Notify, "trust"),
        (files.ExceptionEntry, "trust"), (files.AttestationEntry, "trust"), (files.ProfileFile, "trust"),
        (files.ControlFile, "controls"), (files.Fix, "controls"), (files.Example, "controls"),
        (files.AppliesTo, "controls"),
    ],
)  # fmt: skip
def test_every_key_that_people_write_is_named(kind: type[files.File], page: str) -> None:
    text = text_of(f"docs/{page}.md")
    for name, info in kind.model_fields.items():
        assert re.search(rf"\b{info.alias or name}\b", text), name


@pytest.mark.parametrize(("where", "words", "text"), list(fences("yaml")))
def test_yaml_in_the_docs_is_right(where: str, words: str, text: str, policy: Policy, tmp_path: Path) -> None:
    """`file=NAME` is a whole file of that kind, `check=PLATFORM` a condition; anything else must at least be YAML."""
    doc = yamlfile.parse(text, where)
    name, _, value = words.partition("=")
    if name == "check":
        compile_condition(doc.data, Context(value, declared=list(policy.site), checking=True))
    elif value == "trust.yml":
        yamlfile.model(doc, files.TrustFile)
    elif value == "exceptions.yml":
        for entry in yamlfile.model(doc, files.ExceptionsFile).exceptions:
            assert entry.control in policy.controls
    elif value == "attestations.yml":
        ids = {
            r.id
            for s in load_standards(data_dir("baselines") / "standards", list(policy.controls))
            for r in s.requirements
        }
        for answer in yamlfile.model(doc, files.AttestationsFile).attestations:
            assert answer.requirement in ids
    elif value.startswith("profiles/"):
        profile = yamlfile.model(doc, files.ProfileFile)
        policy.profiles["of-the-docs"] = (profile, doc)
        assert policy.profile("of-the-docs").controls
    elif value.startswith("controls/"):
        assert list(run_examples(policy, load_control(doc, policy.site))) == []
    elif value.startswith("inventories/"):
        assert isinstance(doc.data["all"], dict)


@pytest.mark.parametrize(("where", "words", "text"), list(fences("console")))
def test_commands_in_the_docs_exist(where: str, words: str, text: str, policy: Policy) -> None:
    assert not words
    for line in text.splitlines():
        assert line.startswith("$ "), f"{where}: {line}"
        for part in line[2:].split("&&"):
            arguments = shlex.split(part, comments=True)
            if arguments[0] == "make":
                assert re.search(rf"^{arguments[1]}:", text_of("Makefile"), re.MULTILINE)
            elif arguments[0].endswith("spiritlevel"):
                check_command(arguments[1:], policy)
            else:
                assert arguments[0] in ("pipx", "cd", "git", "ansible-playbook"), line


def check_command(arguments: list[str], policy: Policy) -> None:
    """Verbs and options parse, and ids exist; nothing is run."""
    while arguments[0] in ("-C",):
        arguments = arguments[2:]
    context = click.Context(cli, info_name="spiritlevel")
    command: click.Command | None = cli
    while isinstance(command, click.Group):
        command = command.get_command(context, arguments.pop(0))
    assert command is not None, arguments
    command.make_context("x", list(arguments), parent=context, resilient_parsing=False)
    for word in arguments:
        if re.fullmatch(r"(linux|ad|m365)\.[a-z0-9-]+", word):
            assert word in policy.controls, word


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_contributing_fits_one_page_and_starts_with_a_control() -> None:
    text = text_of("CONTRIBUTING.md")
    assert len(text.splitlines()) < 70
    assert text.split("## ")[1].startswith("Add a control in five minutes")
