"""`remediate`: write bundles of playbooks, preview them, apply them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.common import FORMAT, open_store, open_trust, plain, print_json, say, selection_options, table
from agent.errors import UsageError
from agent.plan import Selection

if TYPE_CHECKING:
    from agent.connect.ansible_play import Task
    from agent.remediate import BundleInfo
    from agent.remediate.run import Outcome, Ran


@click.command("remediate")
@selection_options
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for bundles. Default: out/ in the trust's folder.",
)
@click.option("--preview", "look", is_flag=True, help="Run the bundles in check mode with differences; change nothing.")
@click.option("--apply", "do", is_flag=True, help="Preview, ask, run for real, and scan again what was touched.")
@click.option("--yes", is_flag=True, help="With --apply: do not ask.")
@click.option("--outside-window", is_flag=True, help="With --apply: outside the change windows of trust.yml as well.")
@FORMAT
@click.pass_context
def remediate(
    ctx: click.Context,
    selection: Selection,
    out: Path | None,
    look: bool,
    do: bool,
    yes: bool,
    outside_window: bool,
    form: str,
) -> None:
    """Write a bundle of playbooks for every school with drift.

    A bundle is a folder that plain ansible-playbook runs anywhere: out/remediation/SCHOOL. Nothing on any host is
    changed without --apply.
    """
    from agent.remediate import bundle

    if look and do:
        raise click.UsageError("--apply looks first by itself; say either --preview or --apply.")
    if (yes or outside_window) and not do:
        raise click.UsageError("--yes and --outside-window go with --apply.")
    if do and not yes and not sys.stdin.isatty():
        raise UsageError("there is nobody to ask whether to apply this.", "Say --yes if you mean it.")
    planner = open_trust(ctx)
    with open_store(planner) as store:
        infos = bundle(planner, store, selection, (out or planner.trust.folder / "out").resolve())
        if not infos:
            say(ctx, "There is nothing to mend.")
        if not (look or do) or not infos:
            _show(ctx, infos, form)
            return
        from agent.remediate import run

        if look:
            before = [run.preview(i, planner, _teller(ctx)) for i in infos]
            _show_runs(ctx, before, form)
            bad = any(r.error or r.count(run.Seen.FAILED) or r.count(run.Seen.UNREACHABLE) for r in before)
            ctx.exit(3 if bad else 0)

        def confirm(before: Sequence[Ran]) -> bool:
            if form == "text" or not yes:
                _show_runs(ctx, before, "text", to_stderr=form == "json")
            hosts = sum(len(r.info.content.hosts) for r in before)
            return yes or click.confirm(f"Apply this to {hosts} host{'' if hosts == 1 else 's'} now?", err=True)

        outcome = run.apply(planner, store, infos, confirm, outside_window=outside_window, tell=_teller(ctx))
        _show_outcome(ctx, outcome, form)
        ctx.exit(_code(outcome))


def _code(outcome: Outcome) -> int:
    """As a scan's: incomplete goes before drift."""
    from agent.model import Verdict

    if outcome.good:
        return 0
    if outcome.stopped or any(a.now in (None, Verdict.UNKNOWN) for a in outcome.applied):
        return 3
    return 1


def _show(ctx: click.Context, infos: Sequence[BundleInfo], form: str) -> None:
    if form == "json":
        print_json([_info(i) for i in infos])
        return
    rows = [
        (
            i.content.title,
            len(i.content.steps),
            len(i.content.hosts),
            sum(s.minutes for s in i.content.steps),
            len(i.content.manual),
            i.folder,
        )
        for i in infos
    ]
    if rows:
        table(ctx, ("School", "Steps", "Hosts", "Minutes", "By hand", "Folder"), rows)
        say(ctx, "Read the README.md of each folder; --preview shows what its playbooks would change.")


def _info(info: BundleInfo) -> dict[str, Any]:
    content = info.content
    return {
        "school": info.school,
        "folder": str(info.folder),
        "steps": [
            {
                "control": s.control,
                "title": s.title,
                "risk": s.risk,
                "minutes": s.minutes,
                "reboot": s.reboot,
                "hosts": list(s.hosts),
            }
            for s in content.steps
        ],
        "manual": [
            {
                "control": m.control,
                "target": m.target,
                "what": m.what,
                "offenders": list(m.labels),
                "offender_count": m.count,
            }
            for m in content.manual
        ],
        "left_out": list(content.left_out),
    }


def _show_runs(ctx: click.Context, runs: Sequence[Ran], form: str, *, to_stderr: bool = False) -> None:
    if form == "json":
        print_json(
            [
                {
                    "school": r.info.school,
                    "error": r.error,
                    "results": [
                        {
                            "control": x.control,
                            "host": x.host,
                            "result": x.seen.value,
                            "message": x.message,
                            "diffs": list(x.diffs),
                        }
                        for x in r.lines
                    ],
                }
                for r in runs
            ]
        )
        return
    for r in runs:
        if r.error:
            say(ctx, f"{r.info.content.title}: {r.error}")
        shown: set[str] = set()
        for line in r.lines:
            for diff in line.diffs:
                # Hosts of one kind differ alike: the same difference is shown once.
                if diff not in shown:
                    shown.add(diff)
                    click.echo(plain(f"# {line.control} on {line.host}\n{diff}\n", lines=True), err=to_stderr)
        rows = [(r.info.content.title, x.control, x.host, x.seen.value, x.message) for x in r.lines]
        if to_stderr:
            for row in rows:
                say(ctx, "  ".join(row))
        elif rows:
            table(ctx, ("School", "Control", "Host", "Result", "Why"), rows)


def _show_outcome(ctx: click.Context, outcome: Outcome, form: str) -> None:
    if form == "json":
        print_json(
            {
                "run": outcome.run,
                "stopped": outcome.stopped,
                "applied": [
                    {
                        "target": a.target,
                        "control": a.control,
                        "did": a.did.value,
                        "now": a.now.value if a.now else None,
                        "message": a.message,
                    }
                    for a in outcome.applied
                ],
                "fresh": [{"target": t, "control": c} for t, c in outcome.fresh],
            }
        )
        return
    rows = [
        (a.target, a.control, a.did.value, a.now.value if a.now else "not looked", a.message) for a in outcome.applied
    ]
    if rows:
        table(ctx, ("Target", "Control", "Fix", "Now", "Why"), rows)
    for target, control in outcome.fresh:
        say(ctx, f"{target}: {control} did not fail before and fails now; run remediate again.")
    if outcome.stopped:
        say(ctx, outcome.stopped)


def _teller(ctx: click.Context) -> Any:
    def tell(task: Task) -> None:
        if ctx.obj["verbose"]:
            say(ctx, f"{task.host}: {task.play}: {task.name}: {task.outcome}")

    return tell
