"""Writes docs/reference/ from the program itself: commands, facts, controls. `make docs` calls it.

tests/test_docs.py fails when what is committed is not what this writes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

import agent.facts
from agent.baseline import Policy, load_policy
from agent.cli import VERBS, cli
from agent.condition import kind_name
from agent.derive import load_all
from agent.facttypes import REGISTRY, FactSpec, ListOf, Record

HEAD = "<!-- Written by `make docs`. Change what it describes, not this file. -->\n"
OUT = Path(__file__).resolve().parents[1] / "docs" / "reference"


def cell(text: object) -> str:
    """Text for a table's cell."""
    return " ".join(str(text).replace("|", "\\|").split())


def commands() -> str:
    """Every verb with its options."""
    out = [HEAD, "# Commands\n", "See [../commands.md](../commands.md) for how they are used together.\n"]
    top = click.Context(cli, info_name="spiritlevel")
    out += [*options(cli, top), ""]
    for verb in VERBS:
        command = cli.get_command(top, verb)
        assert command is not None
        out += section(command, click.Context(command, info_name=verb, parent=top), 2)
    return "\n".join(out)


def section(command: click.Command, context: click.Context, level: int) -> list[str]:
    """One verb, then its own verbs."""
    usage = " ".join(command.collect_usage_pieces(context))
    out = [f"{'#' * level} {context.command_path}\n", f"`{context.command_path} {usage}`\n"]
    out += [f"{' '.join((command.help or '').split())}\n", *options(command, context), ""]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            out += section(inner, click.Context(inner, info_name=name, parent=context), level + 1)
    return out


def options(command: click.Command, context: click.Context) -> list[str]:
    """A table of options; nothing where there are none but --help."""
    shown = [p for p in command.get_params(context) if isinstance(p, click.Option) and "--help" not in p.opts]
    rows = [r for p in shown if (r := p.get_help_record(context))]
    if not rows:
        return []
    return ["| Option | What it does |", "|---|---|", *(f"| `{cell(a)}` | {cell(b)} |" for a, b in rows)]


def facts() -> str:
    """Every fact of every platform, with its fields."""
    out = [HEAD, "# Facts\n", "What a control may read. *May be absent*: a control says what that means.\n"]
    for platform in sorted({c.platform for c in load_policy().controls.values()}):  # tests declare some of their own
        out.append(f"## {platform}\n")
        for name in REGISTRY.names(platform):
            out += one_fact(REGISTRY.specs[platform, name])
    return "\n".join(out)


def one_fact(spec: FactSpec) -> list[str]:
    """Name, type, source, and a table of fields."""
    name = f"{spec.name}[{spec.key}]" if spec.key else spec.name
    how = "derived from other facts" if spec.derive else f"read by: {cell(spec.source)}"
    rights = f"; takes: {', '.join(spec.rights)}" if spec.rights else ""
    absent = "; may be absent" if spec.may_be_absent else ""
    out = [f"### `{name}`\n", f"{cell(spec.doc)} ({kind_name(spec.type)}{absent}; {how}{rights})\n"]
    item: Any = spec.type.item if isinstance(spec.type, ListOf) else spec.type
    if isinstance(item, Record):
        out += ["| Field | Type | May be absent | What it is |", "|---|---|---|---|"]
        out += [
            f"| `{n}` | {kind_name(f.type)} | {'yes' if f.may_be_absent else ''} | {cell(f.doc)} |"
            for n, f in item.fields.items()
        ]
        out.append("")
    return out


def controls(policy: Policy) -> str:
    """Every shipped control with its parameters, and the values that are a site's own."""
    chosen = policy.profile("core").controls
    out = [HEAD, "# Controls that ship\n", "*core*: in the profile `core`. Risk is that of the fix.\n"]
    for platform in sorted({c.platform for c in policy.controls.values()}):
        out += [
            f"## {platform}\n",
            "| Control | Severity | Theme | Good state | core | Parameters |",
            "|---|---|---|---|---|---|",
        ]
        for c in sorted(policy.controls.values(), key=lambda c: c.id):
            if c.platform == platform:
                core = "yes" if c.id in chosen else ""
                names = ", ".join(f"`{n}`" for n in sorted(c.uses))
                f = c.file
                out.append(f"| `{c.id}` | {f.severity} | {f.theme} | {cell(f.title)} | {core} | {names} |")
        out.append("")
    out += ["## Parameters of controls\n", "| Parameter | Control | Type | Default | Why |", "|---|---|---|---|---|"]
    for c in sorted(policy.controls.values(), key=lambda c: c.id):
        for name, p in c.file.parameters.items():
            default = f"`{cell(p.default)}`" if p.has_default else "none: set it"
            out.append(f"| `{name}` | `{c.id}` | {p.type} | {default} | {cell(p.why)} |")
    out += ["\n## Values that are a site's own\n", "| Parameter | Type | Default | Why |", "|---|---|---|---|"]
    for name, s in policy.site.items():
        default = f"`{cell(s.default)}`" if s.has_default else "none: set it"
        out.append(f"| `{name}` | {s.type} | {default} | {cell(s.why)} |")
    return "\n".join(out) + "\n"


def pages() -> dict[str, str]:
    """File name in docs/reference → text."""
    assert agent.facts
    load_all()
    texts = {"commands.md": commands(), "facts.md": facts(), "controls.md": controls(load_policy())}
    return {name: text.rstrip() + "\n" for name, text in texts.items()}


def main() -> None:
    """Write them."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (OUT / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"Wrote docs/reference/{name}\n")


if __name__ == "__main__":
    main()
