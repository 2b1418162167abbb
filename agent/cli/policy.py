"""validate, plan, schema, completion."""

from __future__ import annotations

from typing import Any

import click

from agent.cli.common import FORMAT, open_trust, print_json, say, selection_options
from agent.cli.common import table as show_table
from agent.errors import SpiritlevelError, UsageError
from agent.plan import Selection


@click.command("validate")
@click.pass_context
def validate(ctx: click.Context) -> None:
    """Load everything and run every control's examples. Works inside a trust's folder and without one."""
    from agent import trust as trusts
    from agent.baseline import load_policy
    from agent.examples import run_examples
    from agent.remediate.gather import check_fixes
    from agent.resources import data_dir
    from agent.standards import load_standards

    try:
        trusts.find(ctx.obj["folder"])
        inside = True
    except UsageError:
        if ctx.obj["folder"]:
            raise
        inside = False
    policy = open_trust(ctx).policy if inside else load_policy()
    load_standards(data_dir("baselines") / "standards", list(policy.controls))
    problems = [p for c in policy.controls.values() for p in run_examples(policy, c)]
    check_fixes(policy.controls.values(), trusts.find(ctx.obj["folder"]) if inside else data_dir("playbooks").parent)
    for p in problems:
        click.echo(p, err=True)
    number = sum(len(c.file.examples) for c in policy.controls.values())
    if problems:
        raise SpiritlevelError(f"{len(problems)} problems in {len(policy.controls)} controls.")
    say(
        ctx,
        f"{len(policy.controls)} controls with {number} examples, {len(policy.profiles)} profiles"
        f"{', trust.yml' if inside else ''}: all well.",
    )


@click.command("plan")
@selection_options
@FORMAT
@click.pass_context
def plan(ctx: click.Context, selection: Selection, form: str) -> None:
    """Show what a scan would ask, of whom, with which rights. Touches no target."""
    from agent.collect import steps
    from agent.plan import describe

    planner = open_trust(ctx)
    jobs = planner.jobs(selection)
    out: list[dict[str, Any]] = []
    for group in describe(jobs).values():
        first = group[0]
        out.append(
            {
                "platform": first.target.platform,
                "targets": [j.target.id for j in group],
                "steps": [
                    {"what": s.what, "rights": list(s.rights), "feeds": list(s.feeds)}
                    for s in steps(first.target, first.wanted)
                ],
            }
        )
    waiting = sorted({(n.control, m) for j in jobs for n, _ in j.not_covered for m in n.missing})
    if form == "json":
        print_json({"asks": out, "not_covered": [{"control": c, "set": m} for c, m in waiting]})
        return
    for group_ in out:
        names = group_["targets"]
        click.echo(
            f"{group_['platform']}: {', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}"
        )
        for step in group_["steps"]:
            rights = f"   needs: {', '.join(step['rights'])}" if step["rights"] else ""
            click.echo(f"  {step['what']}{rights}")
    if waiting:
        click.echo("Not covered until a value is set:")
        show_table(ctx, ["Control", "Set"], waiting)


@click.command("schema")
@click.argument("kind", required=False)
@click.pass_context
def schema(ctx: click.Context, kind: str | None) -> None:
    """Print the JSON Schema of a file that people write: trust, control, profile, exceptions, attestations."""
    from agent import files
    from agent.errors import suggest

    kinds: dict[str, type[files.File]] = {
        "trust": files.TrustFile,
        "control": files.ControlFile,
        "profile": files.ProfileFile,
        "exceptions": files.ExceptionsFile,
        "attestations": files.AttestationsFile,
        "site-parameters": files.SiteParametersFile,
    }
    if kind is None:
        for name in kinds:
            click.echo(name)
        return
    if kind not in kinds:
        raise UsageError(f"there is no schema {kind!r}.", suggest(kind, list(kinds)))
    print_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **kinds[kind].model_json_schema()})


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print shell completion; put it where your shell looks, such as ~/.local/share/bash-completion/completions/."""
    from click.shell_completion import get_completion_class

    from agent.cli import cli

    found = get_completion_class(shell)
    if found is None:
        raise UsageError(f"there is no completion for {shell}.")
    click.echo(found(cli, {}, "spiritlevel", "_SPIRITLEVEL_COMPLETE").source())
