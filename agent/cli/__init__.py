"""The command `spiritlevel`: verbs, options, exit codes; no logic. Verbs load when they are used."""

from __future__ import annotations

import importlib
import sys

import click

from agent import __version__
from agent.errors import SpiritlevelError

# verb: (module, what it does). Kept here as text so that --help imports nothing else.
VERBS: dict[str, tuple[str, str]] = {
    "demo": ("agent.cli.demo", "Scan a stand-in trust on this machine and show its reports."),
    "init": ("agent.cli.start", "Make a starter trust folder, commented."),
    "validate": ("agent.cli.policy", "Load everything and run every control's examples."),
    "doctor": ("agent.cli.start", "Check reachability, credentials and permissions; say what is missing."),
    "plan": ("agent.cli.policy", "Show what a scan would ask, of whom, with which rights."),
    "scan": ("agent.cli.scanning", "Collect, judge and save."),
    "collect": ("agent.cli.scanning", "Only collect evidence, into a file."),
    "evaluate": ("agent.cli.scanning", "Judge saved evidence again, offline."),
    "drift": ("agent.cli.looking", "Show what is wrong now, or what changed since a run or date."),
    "explain": ("agent.cli.looking", "Show a control's rule, evidence and verdict."),
    "report": ("agent.cli.looking", "Write HTML, CSV, NDJSON or JUnit."),
    "remediate": ("agent.cli.fix", "Write playbooks that mend drift; preview and apply them."),
    "except": ("agent.cli.accept", "Add, list, renew and end exceptions."),
    "attest": ("agent.cli.accept", "Answer what no machine can read."),
    "nightly": ("agent.cli.auto", "The unattended audit: scan, report, notify, tidy."),
    "schedule": ("agent.cli.auto", "Install the nightly audit as a systemd timer or cron line."),
    "list": ("agent.cli.listing", "List controls, targets, facts, runs, exceptions."),
    "schema": ("agent.cli.policy", "Print JSON Schemas of the files that people write."),
    "completion": ("agent.cli.policy", "Print shell completion for bash, zsh or fish."),
    "store": ("agent.cli.auto", "Purge old evidence, or one person, from the store."),
}


class Verbs(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs in the order of the day's work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb's module and give its command."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(VERBS[cmd_name][0])
        command: click.Command = getattr(module, {"list": "list_", "except": "except_"}.get(cmd_name, cmd_name))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in --help, without importing anything."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="spiritlevel")
@click.option(
    "-C", "folder", metavar="DIR", help="The trust's folder. Default: $SPIRITLEVEL_TRUST, else upward from here."
)
@click.option("-v", "--verbose", count=True, help="Say more.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but results and errors.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="Colour in the terminal.")
@click.pass_context
def cli(ctx: click.Context, folder: str | None, verbose: int, quiet: bool, color: str) -> None:
    """spiritlevel compares every school of a trust with one baseline: devices, directory and cloud tenant.

    Exit codes: 0 complete and no drift; 1 drift; 2 usage, configuration or internal error; 3 incomplete, as something
    could not be read.
    """
    ctx.obj = {"folder": folder, "verbose": verbose, "quiet": quiet, "color": color}


def main() -> None:
    """Run the command; every error becomes one sentence and an exit code, never a traceback."""
    try:
        code = cli.main(
            prog_name="spiritlevel", standalone_mode=False
        )  # click hands ctx.exit's code back, and None otherwise
    except click.UsageError as e:
        e.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("spiritlevel: stopped.", err=True)
        sys.exit(3)
    except SpiritlevelError as e:
        from agent.cli.common import plain

        click.echo(f"spiritlevel: {plain(str(e))}", err=True)
        sys.exit(2)
    except SystemExit:  # click's answer to a reader who has left (`| head`): its code 1 would say drift
        sys.exit(2)
    except OSError as e:
        name = f" {e.filename}" if e.filename else ""
        click.echo(f"spiritlevel: cannot read or write{name}: {e.strerror or e}.", err=True)
        sys.exit(2)
    except Exception as e:
        if "-v" in sys.argv or "--verbose" in sys.argv:
            raise
        click.echo(
            f"spiritlevel: an error inside spiritlevel ({type(e).__name__}: {e}). Run again with -v to see "
            "where, and report it.",
            err=True,
        )
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
