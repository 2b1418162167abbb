"""What verbs share: options of selection, opening the trust and its store, printing."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.plan import Planner, Selection

if TYPE_CHECKING:
    from rich.console import Console

    from agent.store import Store

# As in render/text.py: what acts on a terminal or hides text instead of being seen.
_CONTROL = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)


def plain(text: object, *, lines: bool = False) -> str:
    """Text that may come from a target, safe for a terminal: no control characters, no direction overrides.

    On one line, so that nothing observed looks like a line of ours; `lines` keeps line ends, for differences.
    """
    text = _CONTROL.sub("�", str(text))
    return text if lines else text.replace("\n", " ")


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same options of selection for every verb; the command gets one `selection`."""

    def wrapped(
        *args: Any,
        school: tuple[str, ...],
        target: tuple[str, ...],
        limit: str,
        control: tuple[str, ...],
        theme: tuple[str, ...],
        severity: str,
        **kw: Any,
    ) -> Any:
        return command(*args, selection=Selection(school, target, limit, control, theme, severity), **kw)

    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    if hasattr(command, "__click_params__"):
        wrapped.__click_params__ = command.__click_params__  # type: ignore[attr-defined]
    from agent.files import THEMES

    for option in (
        click.option(
            "--severity",
            type=click.Choice(["low", "medium", "high", "critical"]),
            default=None,
            callback=lambda _c, _p, v: v or "",
            help="Controls of this severity and above.",
        ),
        click.option("--theme", multiple=True, type=click.Choice(list(THEMES)), help="Controls of this theme."),
        click.option(
            "-k", "--control", multiple=True, metavar="ID", help="Control id, or a pattern such as 'linux.*'."
        ),
        click.option(
            "--limit", default="", metavar="PATTERN", help="Targets by an Ansible pattern: hosts, groups, :&, :!."
        ),
        click.option("--target", multiple=True, metavar="NAME", help="One target by name, or a pattern."),
        click.option("--school", multiple=True, metavar="KEY", help="One school by its key in trust.yml."),
    ):
        wrapped = option(wrapped)
    return wrapped


def open_trust(ctx: click.Context, *, folder: Path | None = None) -> Planner:
    """Load the trust's files and the policy, and check them together. Raises `ConfigError`, `UsageError`."""
    from agent import trust as trusts
    from agent.baseline import load_policy

    where = folder or trusts.find(ctx.obj["folder"])
    trust = trusts.load(where)
    planner = Planner(trust, load_policy(where))
    planner.check()
    trusts.check_exceptions(trust, list(planner.policy.controls))
    return planner


def open_store(planner: Planner, *, create: bool = False) -> Store:
    """Open the trust's store; without `create`, a trust that was never scanned is an error."""
    import os

    from agent.store import Store

    return Store.open(planner.trust.hidden, os.environ.get("SPIRITLEVEL_STORE"), create=create)


def console(ctx: click.Context, *, stderr: bool = False) -> Console:
    """A rich console that honours --color, NO_COLOR and pipes; markup is off: nothing observed is ever markup."""
    from rich.console import Console

    color = ctx.obj["color"]
    return Console(
        stderr=stderr,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=not sys.stdout.isatty(),
        force_terminal=True if color == "always" else None,
        no_color=True if color == "never" else None,
    )


def table(ctx: click.Context, columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print rows as a table on stdout; plain tab-separated lines when stdout is no terminal."""
    if not sys.stdout.isatty() and ctx.obj["color"] != "always":
        for row in rows:
            click.echo("\t".join(plain(c).replace("\t", " ").replace("\n", " ") for c in row))
        return
    from rich.box import SIMPLE
    from rich.table import Table

    out = Table(*columns, title=title or None, box=SIMPLE, title_justify="left")
    for row in rows:
        out.add_row(*(plain(c) for c in row))
    console(ctx).print(out)


def print_json(value: Any) -> None:
    """Data for programs, on stdout."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    click.echo(_CONTROL.sub(lambda m: json.dumps(m[0])[1:-1], text))  # the same JSON, and safe to look at


def say(ctx: click.Context, text: str) -> None:
    """A message for people, on stderr; silent with -q."""
    if not ctx.obj["quiet"]:
        click.echo(plain(text), err=True)


FORMAT = click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="text or json.")
FAIL_ON = click.option(
    "--fail-on",
    type=click.Choice(["low", "medium", "high", "critical"]),
    default="low",
    show_default=True,
    help="Exit 1 for drift of this severity and above.",
)
