"""demo: the stand-in trust, scanned for real."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import click

from agent.cli.common import open_store, open_trust, say
from agent.errors import UsageError
from agent.plan import Selection

MARK = ".spiritlevel-demo"


@click.command("demo")
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--serve", is_flag=True, help="Keep the stand-in servers running until Ctrl-C, to scan and try more.")
@click.pass_context
def demo(ctx: click.Context, folder: Path | None, serve: bool) -> None:
    """Scan a stand-in trust of three schools on this machine, twice, and write its reports.

    Everything is real but the schools: servers on loopback speak SSH, LDAP and HTTPS with what real ones once said.
    """
    from agent.cli.looking import write_reports
    from agent.cli.scanning import of_run, print_summary, run_scan
    from agent.demo.stage import Stage
    from agent.scan import Options

    began = time.monotonic()
    where = _fresh(folder or Path("spiritlevel-demo"))
    with Stage(where) as stage:
        for text, change in (("First scan", False), ("A week goes by. Second scan", True)):
            if change:
                stage.change()
                time.sleep(1)  # runs are named by the second
            say(ctx, f"{text} …")
            planner = open_trust(ctx, folder=where)
            with open_store(planner, create=True) as store:
                outcome = run_scan(ctx, planner, store, Selection(), Options(workers=8))
        with open_store(planner) as store:
            print_summary(ctx, planner, outcome, of_run(planner, store, outcome, Selection()))
            paths = write_reports(planner, store, ("html", "csv", "ndjson", "junit"), None, stand_in=True)
        say(ctx, f"Done in {time.monotonic() - began:.0f} seconds.")
        click.echo(paths[0])
        program = _program()
        name = f"{program} -C {shown(where)}"
        for line in (
            "",
            "Open that page in a browser. Then try:",
            f"  {name} drift --since previous    what changed",
            f"  {name} explain ad.stale-users    why, with the evidence",
            f"  {name} remediate                 playbooks for what has drifted",
            f"  {name} plan                      what a scan asks, and with which rights",
            f"  {program} init my-trust          your own",
        ):
            say(ctx, line)
        if serve:
            say(ctx, f"The stand-in servers stay up until Ctrl-C: {name} scan")
            while True:
                time.sleep(3600)


def _program() -> str:
    """How this command can be called again from here."""
    if shutil.which("spiritlevel"):
        return "spiritlevel"
    beside = Path(sys.executable).parent / "spiritlevel"
    return str(shown(beside)) if beside.is_file() else "python -m agent"


def shown(path: Path) -> Path:
    """A path as a person here would write it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _fresh(folder: Path) -> Path:
    """An empty folder: a new one, or one that an earlier demo made. Raises `UsageError` for anybody else's."""
    folder = folder.resolve()
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).is_file():
            raise UsageError(f"{folder} holds something else.", "Name another folder: spiritlevel demo FOLDER.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("made by spiritlevel demo; the next demo replaces this folder\n", encoding="utf-8")
    return folder
