"""scan, collect, evaluate."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.common import FAIL_ON, FORMAT, console, open_store, open_trust, plain, print_json, say, selection_options
from agent.cli.common import table as show_table
from agent.errors import UsageError
from agent.facts.protocol import Limits
from agent.plan import Planner, Selection

if TYPE_CHECKING:
    from agent.results import Standing
    from agent.scan import Event, Options, Outcome
    from agent.store import Store


TIMEOUT_HELP = "Seconds per target. Default: 120 for a device, 900 for a directory or tenant."


@click.command("scan")
@selection_options
@click.option(
    "--workers", type=click.IntRange(1, 200), default=None, help="Targets read at once. Default: trust.yml's."
)
@click.option(
    "--per-school",
    type=click.IntRange(1, 200),
    default=None,
    help="Devices of one school at once. Default: trust.yml's.",
)
@click.option("--timeout", type=click.FloatRange(5, 3600), default=None, help=TIMEOUT_HELP)
@click.option("--resume", is_flag=True, help="Finish the last scan, if it was interrupted.")
@FAIL_ON
@FORMAT
@click.pass_context
def scan(
    ctx: click.Context,
    selection: Selection,
    workers: int | None,
    per_school: int | None,
    timeout: float | None,
    resume: bool,
    fail_on: str,
    form: str,
) -> None:
    """Collect, judge and save. Then say what is wrong."""
    from agent.results import exit_code
    from agent.scan import Options

    planner = open_trust(ctx)
    with open_store(planner, create=True) as store:
        limits = Limits(timeout) if timeout else None
        options = Options(workers or planner.trust.file.workers, limits, resume, per_school)
        outcome = run_scan(ctx, planner, store, selection, options)
        findings = of_run(planner, store, outcome, selection)
        if form == "json":
            print_json(summary(outcome, findings))
        else:
            print_summary(ctx, planner, outcome, findings)
        if outcome.faults:
            write_faults(planner, outcome.faults)
            ctx.exit(2)
        ctx.exit(exit_code(findings, outcome.states.values(), fail_on))


def of_run(planner: Planner, store: Store, outcome: Outcome, selection: Selection) -> list[Standing]:
    """The findings of the targets that this scan was about (those that a resumed scan had done before, too)."""
    from agent.results import standing

    for result in store.results(outcome.run):
        outcome.states.setdefault(result.target.id, result.state)
        outcome.details.setdefault(result.target.id, result.detail)
    narrowed = Selection(controls=selection.controls, themes=selection.themes, severity=selection.severity)
    return [s for s in standing(planner, store, None, narrowed) if s.target.id in outcome.states]


def run_scan(ctx: click.Context, planner: Planner, store: Store, selection: Selection, options: Options) -> Outcome:
    """Scan with progress on stderr: a bar in a terminal, plain lines elsewhere."""
    from agent.cli.progress import Progress as ScanProgress
    from agent.scan import scan as run

    if ctx.obj["quiet"]:
        return run(planner, store, selection, options)
    names = {k: s.name for k, s in planner.trust.schools.items()}
    words = ScanProgress(names, verbose=ctx.obj["verbose"])
    if not sys.stderr.isatty():

        def write(e: Event) -> None:
            for line in words.lines(e):
                say(ctx, line)

        return run(planner, store, selection, options, write)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console(ctx, stderr=True),
        transient=True,
    ) as bar:
        tasks: dict[str, Any] = {}

        def tell(e: Event) -> None:
            if e.kind == "start":
                for key, total in e.schools.items():
                    tasks[key] = bar.add_task(names.get(key, "Shared"), total=total)
            elif e.kind == "done":
                bar.advance(tasks[e.school or ""])
            for line in words.lines(e):
                bar.console.print(plain(line), markup=False)

        return run(planner, store, selection, options, tell)


def summary(outcome: Outcome, findings: list[Standing]) -> dict[str, Any]:
    """A scan's outcome for programs."""
    from agent.results import counts

    return {
        "run": outcome.run.id,
        "targets": {
            k: {"state": v.value, "detail": outcome.details.get(k, "")} for k, v in sorted(outcome.states.items())
        },
        "findings": counts(findings),
    }


def print_summary(ctx: click.Context, planner: Planner, outcome: Outcome, findings: list[Standing]) -> None:
    """A row per school (and one for what the trust owns), then one sentence of what to do next."""
    from agent.model import TargetState
    from agent.results import counts

    names = {**{k: s.name for k, s in planner.trust.schools.items()}, "": "The trust (shared)"}
    rows = []
    for key, name in names.items():
        mine = [s for s in findings if (s.finding.school or "") == key]
        here = [v for k, v in outcome.states.items() if (k.split("/")[0] if "/" in k else "") == key]
        if not mine and not here:
            continue
        c = counts(mine)
        lost = sum(s is TargetState.UNREACHABLE for s in here)
        rows.append([name, len(here), lost or "", c["fail"] or "", c["unknown"] or "", c["excepted"] or "", c["pass"]])
    show_table(ctx, ["School", "Targets", "Not reached", "Drift", "Unknown", "Excepted", "Met"], rows)
    total = counts(findings)
    if unseen := sum(s is TargetState.NOT_SEEN for s in outcome.states.values()):
        word = "target was" if unseen == 1 else "targets were"
        say(ctx, f"{unseen} {word} not seen, within grace: what is known of them is of an earlier day.")
    if total["fail"]:
        say(
            ctx,
            f"{total['fail']} findings have drifted: `spiritlevel drift` lists them, `report` writes pages.",
        )
    elif total["unknown"]:
        say(ctx, f"No drift was seen, and {total['unknown']} things could not be read: `spiritlevel doctor` says why.")
    else:
        say(ctx, "Everything that is in the baseline was read and is met.")


def write_faults(planner: Planner, faults: list[str]) -> None:
    """Keep tracebacks of faults of our own where a maintainer finds them."""
    path = planner.trust.hidden / "faults.log"
    with path.open("a", encoding="utf-8") as f:
        f.write(f"--- {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n" + "\n".join(faults) + "\n")


@click.command("collect")
@selection_options
@click.option("--timeout", type=click.FloatRange(5, 3600), default=None, help=TIMEOUT_HELP)
@click.option("-o", "--output", default="-", help="File to write; - is stdout.")
@click.pass_context
def collect(ctx: click.Context, selection: Selection, timeout: float | None, output: str) -> None:
    """Collect evidence and write it as NDJSON, one target a line, without judging or saving."""
    import json
    import threading

    from agent.collect import Credentials, usual_limits
    from agent.collect import collect as read
    from agent.conform import to_json
    from agent.model import TargetState

    planner = open_trust(ctx)
    credentials, stop, bad = Credentials(), threading.Event(), False
    with click.open_file(output, "w", encoding="utf-8") as f:
        for job in planner.jobs(selection):
            e = read(
                job.target,
                job.wanted,
                planner.trust.folder,
                Limits(timeout) if timeout else usual_limits(job.target),
                credentials,
                stop,
            )
            bad = bad or e.state is not TargetState.COLLECTED
            body = {
                "target": e.target.id,
                "platform": e.target.platform,
                "state": e.state.value,
                "detail": e.detail,
                "as_of": e.as_of.isoformat(),
                "ids": dict(e.ids),
                "facts": {n: to_json(r.value) for n, r in e.facts.items()},
            }
            f.write(json.dumps(body, ensure_ascii=True) + "\n")
    ctx.exit(3 if bad else 0)


@click.command("evaluate")
@selection_options
@click.option(
    "--run", "run_name", default="last", show_default=True, help="Run whose evidence to judge: id, date, last."
)
@FAIL_ON
@FORMAT
@click.pass_context
def evaluate(ctx: click.Context, selection: Selection, run_name: str, fail_on: str, form: str) -> None:
    """Judge saved evidence again by today's baseline. Touches no target and changes no history."""
    from agent.exceptions import cover
    from agent.model import Change, Evidence
    from agent.results import Standing, chosen, exit_code
    from agent.scan import judge_job

    planner = open_trust(ctx)
    out: list[Standing] = []
    with open_store(planner) as store:
        run = store.run(run_name)
        results = store.latest(run)
        full = {t.id: t for t in planner.targets()}
        for result in results:
            kept = store.evidence(result.target.id, run, full=True)
            target = full.get(result.target.id, result.target)
            evidence = Evidence(target, kept.state, kept.as_of, kept.facts, kept.detail, kept.ids)
            for f in judge_job(planner, planner.job(target, selection, evidence), evidence):
                control = planner.policy.controls[f.control]
                if chosen(f, control, target, selection):
                    out.append(
                        Standing(
                            f,
                            control,
                            target,
                            Change.NONE,
                            (),
                            "",
                            cover(planner.trust.exceptions, f, target, kept.as_of.date()),
                        )
                    )
        if not out:
            raise UsageError("nothing is left to judge.", "See `spiritlevel list targets`.")
        from agent.cli.looking import print_findings

        print_findings(ctx, out, form, whole=False)
        ctx.exit(exit_code(out, (r.state for r in results), fail_on))


__all__ = ["Path", "collect", "evaluate", "scan"]
