"""nightly, schedule, store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.common import FORMAT, open_store, open_trust, plain, print_json, say
from agent.errors import SpiritlevelError, UsageError
from agent.plan import Planner, Selection

if TYPE_CHECKING:
    from agent.results import Standing
    from agent.scan import Outcome
    from agent.schedule import Notice

FORMS = ("html", "csv", "ndjson")


@click.command("nightly")
@click.option("--timeout", type=click.FloatRange(5, 3600), default=120.0, show_default=True, help="Seconds per target.")
@click.pass_context
def nightly(ctx: click.Context, timeout: float) -> None:
    """The unattended audit: scan everything, write reports, tell whom trust.yml names, delete what is past its keep.

    Exits 0 when it ran and reported, whatever it found.
    """
    from agent.cli.looking import write_reports
    from agent.cli.scanning import of_run, run_scan, write_faults
    from agent.facts.protocol import Limits
    from agent.scan import Options
    from agent.schedule import notify

    planner = open_trust(ctx)
    with open_store(planner, create=True) as store:
        outcome = run_scan(ctx, planner, store, Selection(), Options(planner.trust.file.workers, Limits(timeout)))
        findings = of_run(planner, store, outcome, Selection())
        if outcome.faults:
            write_faults(planner, outcome.faults)
        for path in write_reports(planner, store, FORMS, None):
            say(ctx, f"Wrote {path}")
        told = notice(planner, outcome, findings)
        click.echo(plain(told.sentence))
        for problem in notify(planner.trust, told, mail_server()):
            click.echo(f"spiritlevel: {plain(problem)}", err=True)
        gone = store.purge(datetime.now(UTC))
        if gone:
            say(ctx, f"Deleted {gone} readings that were past their keep.")


def mail_server() -> tuple[str, int]:
    """$SPIRITLEVEL_SMTP as HOST or HOST:PORT, else this machine's own. Raises `UsageError`."""
    from agent.schedule import MAIL

    given = os.environ.get("SPIRITLEVEL_SMTP", "")
    if not given:
        return MAIL
    host, colon, port = given.rpartition(":")
    if not colon:
        return given, MAIL[1]
    if not port.isdecimal():
        raise UsageError(f"SPIRITLEVEL_SMTP has no usable port: {given!r}.", "Write HOST or HOST:PORT.")
    return host, int(port)


def notice(planner: Planner, outcome: Outcome, findings: Sequence[Standing]) -> Notice:
    """A night in a few lines: numbers per school, no names of people, machines or accounts."""
    from agent.model import Change, TargetState
    from agent.results import counts
    from agent.schedule import Notice

    total = counts(findings)
    new = sum(s.drift and s.change in (Change.NEW, Change.REGRESSED) for s in findings)
    lost = sum(s is TargetState.UNREACHABLE for s in outcome.states.values())
    sentence = (
        f"{total['fail']} findings have drifted ({new} new), {total['unknown']} are unknown, "
        f"{total['pass']} are met; {lost} of {len(outcome.states)} targets were not reached."
    )
    names: dict[str | None, str] = {k: s.name for k, s in planner.trust.schools.items()}
    names[None] = "The trust (shared)"
    lines = []
    for key, name in names.items():
        c = counts([s for s in findings if s.finding.school == key])
        if c["fail"] or c["unknown"]:
            lines.append(f"{name}: {c['fail']} drifted, {c['unknown']} unknown, {c['pass']} met")
    if outcome.faults:
        lines.append("Something inside spiritlevel failed; see .spiritlevel/faults.log.")
    trouble = "drift" if total["fail"] else "unknown" if total["unknown"] or lost else "all met"
    return Notice(f"{planner.trust.name}: {trouble}", sentence, tuple(lines))


@click.command("schedule")
@click.option("--time", "at", required=True, metavar="HH:MM", help="When: 02:30, by the trust's clock.")
@click.option("--cron", "kind", flag_value="cron", help="A cron line.")
@click.option("--systemd", "kind", flag_value="systemd", help="A systemd timer. Default where systemd runs.")
@click.option("--print", "show", is_flag=True, help="Only print it.")
@click.pass_context
def schedule(ctx: click.Context, at: str, kind: str | None, show: bool) -> None:
    """Install the nightly audit as a systemd timer or cron line; print it where that is not possible."""
    from agent.schedule import clock, cron, install, systemd

    planner = open_trust(ctx)
    trust, when = planner.trust, clock(at)
    kind = kind or ("systemd" if Path("/run/systemd/system").is_dir() else "cron")
    root = os.geteuid() == 0
    plan = systemd(trust, when, root=root, home=Path.home()) if kind == "systemd" else cron(trust, when)
    blocked = plan.why_not or _blocked(list(plan.files))
    if show or blocked:
        if not show:
            say(ctx, f"Not installed: {blocked} This is what to install by hand:")
        click.echo(plan.shown(), nl=False)
        return
    install(plan, trust)
    say(ctx, f"Installed: every night at {at}. Secrets named by env: come from secrets/nightly.env (NAME=value lines).")


def _blocked(paths: Sequence[Path]) -> str:
    """Why these files cannot be written; empty when they can."""
    for path in paths:
        there = next(p for p in path.parents if p.exists())
        if not os.access(there, os.W_OK):
            return f"{there} cannot be written."
    return ""


@click.group("store")
def store() -> None:
    """What is kept of earlier scans: see it, delete what is past its keep, take one person out."""


@store.command("purge")
@click.option("--person", metavar="NAME", help="Take this name out of findings and evidence. Counts stay.")
@click.option("--yes", is_flag=True, help="With --person: do not ask.")
@click.pass_context
def purge(ctx: click.Context, person: str | None, yes: bool) -> None:
    """Delete evidence and names that are past their keep (35 and 90 days), or one person."""
    planner = open_trust(ctx)
    with open_store(planner) as kept:
        if person is None:
            gone = kept.purge(datetime.now(UTC))
            say(ctx, f"Deleted {gone} readings that were past their keep.")
            return
        _forget(ctx, planner, kept, person, yes)


def _forget(ctx: click.Context, planner: Planner, kept: Any, person: str, yes: bool) -> None:
    from agent.store.upkeep import SHORTEST, forget_person

    if len(person.strip()) < SHORTEST:
        raise UsageError(f"a name of fewer than {SHORTEST} characters would match too much.")
    if not yes:
        try:
            sure = click.confirm(f"Take {person!r} out of findings and evidence for good", default=False)
        except click.Abort:
            raise SpiritlevelError("nobody answered, so nothing was changed.", "Run again with --yes.") from None
        if not sure:
            say(ctx, "Nothing was changed.")
            return
    with kept.lock():
        done = forget_person(kept, person)
    if done.nothing:
        say(ctx, f"The store does not hold {person!r}.")
    else:
        say(
            ctx, f"Taken out of {done.findings} findings and {done.notes} notes; {done.readings} readings were deleted."
        )
    left = mentions(planner.trust.folder, person)
    if left:
        say(ctx, f"The name still stands in {', '.join(left)}. Reports are made anew by `spiritlevel report`.")
    say(ctx, "The next scan reads the systems again: a name that is still there comes back.")


def mentions(folder: Path, person: str) -> list[str]:
    """Files that people keep (not the store) which hold the name: exceptions, answers, reports."""
    wanted = person.strip().casefold()
    out = []
    for path in [folder / "exceptions.yml", folder / "attestations.yml", *sorted((folder / "out").rglob("*"))]:
        if path.is_file() and wanted in path.read_text(encoding="utf-8", errors="replace").casefold():
            out.append(str(path.relative_to(folder)))
    return out


@store.command("info")
@FORMAT
@click.pass_context
def info(ctx: click.Context, form: str) -> None:
    """Show where the store is, how large, and what it holds."""
    from agent.store.upkeep import info as look

    with open_store(open_trust(ctx)) as kept:
        found = look(kept)
    if form == "json":
        print_json(found)
        return
    words = {
        "place": "Place",
        "layout": "Layout",
        "bytes": "Bytes",
        "runs": "Scans",
        "first": "First scan (UTC)",
        "last": "Last scan (UTC)",
        "targets": "Targets",
        "retired": "of which retired",
        "findings": "Finding spans",
        "readings": "Readings kept",
        "oldest_evidence": "Oldest evidence (UTC)",
        "actions": "Actions noted",
    }
    for key, word in words.items():
        click.echo(f"{word}: {plain('none' if found[key] is None else found[key])}")


__all__ = ["nightly", "schedule", "store"]
