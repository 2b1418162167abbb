"""init, doctor."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.cli.common import FORMAT, open_trust, plain, print_json, say, selection_options
from agent.cli.common import table as show_table
from agent.errors import SecretError, SpiritlevelError, TargetError, UsageError
from agent.plan import Planner, Selection

if TYPE_CHECKING:
    from agent.doctor import Shown

STARTER = Path(__file__).resolve().parent.parent / "starter"
# template → where it goes in the trust's folder
FILES = {
    "trust.yml": "trust.yml",
    "inventory.yml": "inventories/example.yml",
    "profile.yml": "profiles/trust.yml",
    "exceptions.yml": "exceptions.yml",
    "attestations.yml": "attestations.yml",
    "gitignore": ".gitignore",
    "README.md": "README.md",
    "": "controls/.gitkeep",
}


@click.command("init")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.pass_context
def init(ctx: click.Context, folder: Path) -> None:
    """Make a starter trust folder in DIR (default: here), commented. Never overwrites a file."""
    if (folder / "trust.yml").exists():
        raise UsageError(
            f"there is a trust.yml in {folder} already; nothing was changed.",
            "Name another folder: spiritlevel init DIR.",
        )
    made, kept = [], []
    for template, name in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = (STARTER / template).read_text(encoding="utf-8") if template else ""
        try:
            with path.open("x", encoding="utf-8") as f:
                f.write(text)
            made.append(name)
        except FileExistsError:
            kept.append(name)
    say(ctx, f"Made in {folder}: {', '.join(made)}.")
    if kept:
        say(ctx, f"Left as they were: {', '.join(kept)}.")
    say(ctx, "Next: put your schools into trust.yml, then run `spiritlevel validate` and `spiritlevel doctor` there.")


@click.command("doctor")
@selection_options
@click.option("--learn-host-keys", is_flag=True, help="Show the keys of hosts that are not known yet, and ask.")
@click.option("--yes", is_flag=True, help="With --learn-host-keys: believe them all without asking.")
@click.option(
    "--kit",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write what an administrator needs to grant read-only access. Touches no target.",
)
@click.option(
    "--windows",
    metavar="HOST",
    help="Look at one Windows machine whole, and print a report without names that you can send to the makers.",
)
@click.option("--timeout", type=click.FloatRange(2, 3600), default=60.0, show_default=True, help="Seconds per target.")
@FORMAT
@click.pass_context
def doctor(
    ctx: click.Context,
    selection: Selection,
    learn_host_keys: bool,
    yes: bool,
    kit: Path | None,
    windows: str | None,
    timeout: float,
    form: str,
) -> None:
    """Check reachability, credentials and permissions; say what is missing and how to grant it.

    Exit codes: 0 all well, 3 something is missing, 2 the files are wrong.
    """
    planner = open_trust(ctx)
    if yes and not learn_host_keys:
        raise UsageError("--yes belongs to --learn-host-keys.")
    if kit is not None:
        from agent.kit import write_kit

        for path in write_kit(planner, planner.jobs(selection), kit):
            say(ctx, f"Wrote {path}")
        return
    if windows is not None:
        ctx.exit(_field_test(ctx, planner, windows, timeout))
    if learn_host_keys:
        ctx.exit(_learn(ctx, planner, selection, yes, min(timeout, 15.0)))
    ctx.exit(_examine(ctx, planner, selection, timeout, form))


def _examine(ctx: click.Context, planner: Planner, selection: Selection, timeout: float, form: str) -> int:
    from agent.collect import Credentials
    from agent.doctor import Checkup, State, examine, parallel
    from agent.facts.protocol import Limits

    jobs = [planner.job(t, selection) for t in planner.select(selection)]
    credentials, stop = Credentials(), threading.Event()

    def work(index: int) -> Checkup:
        return examine(jobs[index], planner.trust.folder, Limits(timeout), credentials, stop)

    say(ctx, f"Looking at {len(jobs)} targets.")
    try:
        found = dict(parallel(range(len(jobs)), work, planner.trust.file.workers))
    finally:
        stop.set()
    checkups = [found[i] for i in range(len(jobs))]
    if form == "json":
        print_json(
            [
                {
                    "target": c.target.id,
                    "school": c.target.school,
                    "serves": list(c.target.serves),
                    "platform": c.target.platform,
                    "state": c.state.value,
                    "missing": c.missing,
                    "grant": c.grant,
                }
                for c in checkups
            ]
        )
    else:
        names = {k: s.name for k, s in planner.trust.schools.items()}
        rows = [
            (names[school] if school else "The trust", c.target.name, c.state.value, f"{c.missing} {c.grant}".strip())
            for c in checkups
            for school in (c.target.school or "",)
        ]
        show_table(ctx, ["School", "Target", "State", "What is missing, and how to grant it"], sorted(rows))
    bad = [c for c in checkups if c.state in (State.MISSING, State.NOT_REACHED)]
    if bad:
        say(ctx, f"{len(bad)} of {len(checkups)} targets need something.")
    elif all(c.state is State.NOT_COVERED for c in checkups):
        raise UsageError(
            "nothing was looked at: no control reads any of these targets.", "See `spiritlevel list controls`."
        )
    else:
        say(ctx, "All well.")
    return 3 if bad else 0


def _field_test(ctx: click.Context, planner: Planner, host: str, timeout: float) -> int:
    """Print the report of one machine. 3 where a reading is not of its type, or nothing could be read."""
    from agent.facts.protocol import Limits
    from agent.fieldtest import look, windows_facts

    found = planner.select(Selection(targets=(host,)))
    if len(found) != 1 or found[0].platform != "windows":
        raise UsageError(
            f"{host!r} is not one Windows machine of the inventories.", "Name it as school/name; see `list targets`."
        )
    wanted = windows_facts(planner.policy.controls.values())
    try:
        result = look(found[0], wanted, planner.trust.folder, Limits(timeout))
    except (TargetError, SecretError) as error:
        say(ctx, f"{found[0].id}: {error}")
        return 3
    click.echo(plain(result.text, lines=True), nl=False)
    say(ctx, f"{result.facts} facts, {result.unknown} unknown, {len(result.wrong)} not of their type.")
    say(ctx, "Please read it through, and send it to the makers: it tells what no stand-in can.")
    return 3 if result.wrong or result.unknown == result.facts else 0


def _learn(ctx: click.Context, planner: Planner, selection: Selection, yes: bool, seconds: float) -> int:
    """Show unknown host keys, ask, and append those that a person believes. 3 when some host stays unknown."""
    from agent.connect.ansible import remoting
    from agent.doctor import learn, parallel, unknown_keys

    ours = ("linux", "windows", "switch")
    targets = [t for t in planner.select(selection) if t.family in ours and not remoting(t.settings)]
    if not targets:
        raise UsageError("the selection holds no host that is read over SSH.")

    def work(index: int) -> Shown:
        return unknown_keys(targets[index], planner.trust.folder, seconds)

    found = dict(parallel(range(len(targets)), work, planner.trust.file.workers))
    left = learned = 0
    for shown in (found[i] for i in range(len(targets))):
        if shown.trouble:
            left += 1
            click.echo(f"{plain(shown.target.id)}: {plain(shown.trouble)}", err=True)
            for word in shown.fingerprints:
                click.echo(f"  {plain(word)}", err=True)
        elif shown.lines:
            click.echo(f"{plain(shown.target.id)} ({plain(shown.place)}) shows:")
            for word in shown.fingerprints:
                click.echo(f"  {plain(word)}")
            if yes or _asked(shown):
                learn(shown)
                learned += 1
            else:
                left += 1
    say(ctx, f"{learned} hosts were learnt, {len(targets) - learned - left} were known, {left} are left.")
    return 3 if left else 0


def _asked(shown: Shown) -> bool:
    """Ask a person. Raises `SpiritlevelError` where there is nobody to ask."""
    try:
        return click.confirm(f"Is that right? Add it to {shown.file}", default=False)
    except click.Abort:
        raise SpiritlevelError(
            "nobody answered, so no further key was learnt.",
            "Compare the fingerprints with the hosts', then run again with --yes.",
        ) from None


__all__ = ["doctor", "init"]
