"""list controls, targets, facts, runs, exceptions, assets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import click

from agent.cli import listing_switches
from agent.cli.common import open_store, open_trust, print_json
from agent.cli.common import table as show_table
from agent.errors import StoreError
from agent.plan import Planner, Selection

KINDS = ["controls", "targets", "facts", "runs", "exceptions", "assets", "switches", "links"]


@click.command("list")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--format", "form", type=click.Choice(["text", "json", "csv"]), default="text", help="text, json or csv.")
@click.pass_context
def list_(ctx: click.Context, kind: str, form: str) -> None:
    """List what there is."""
    if kind == "facts":
        columns, rows = _facts()
    else:
        planner = open_trust(ctx)
        columns, rows = {
            "controls": _controls,
            "targets": _targets,
            "runs": _runs,
            "exceptions": _exceptions,
            "assets": _assets,
            "switches": listing_switches.switches,
            "links": listing_switches.links,
        }[kind](planner)
    if form == "json":
        print_json([dict(zip((c.lower().replace(" ", "_") for c in columns), row, strict=True)) for row in rows])
    elif form == "csv":
        from agent.render.tables import defuse

        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([defuse(str(c)) for c in row] for row in rows)
        click.echo(out.getvalue(), nl=False)
    else:
        show_table(ctx, columns, rows)


Listing = tuple[Sequence[str], list[list[Any]]]


def _controls(planner: Planner) -> Listing:
    chosen = planner.policy.profile(planner.trust.file.profile).controls
    rows = [
        [c.id, c.file.severity, c.file.theme, c.file.title, "yes" if c.id in chosen else "no", c.doc.file]
        for c in sorted(planner.policy.controls.values(), key=lambda c: c.id)
    ]
    return ["Control", "Severity", "Theme", "Good state", "In the trust's profile", "File"], rows


def _targets(planner: Planner) -> Listing:
    from agent.model import TargetState

    states: dict[str, Any] = {}
    away: dict[str, Any] = {}
    try:
        with open_store(planner) as store:
            states = {r.target.id: r for r in store.latest()}
            away = {k: store.last_read(k) for k, r in states.items() if r.state is TargetState.NOT_SEEN}
    except StoreError:
        pass  # not scanned yet: the list is of use all the same
    rows = []
    for t in planner.targets():
        last = states.get(t.id)
        covered = bool(planner.job(t, Selection()).wanted)
        rows.append(
            [
                t.id,
                t.kind.value,
                t.platform,
                t.school or ", ".join(t.serves),
                last.state.value if last else ("not scanned yet" if covered else "not covered: no controls"),
                _read(last, away.get(t.id)),
            ]
        )
    return ["Target", "Kind", "Platform", "School", "State", "Read (UTC)"], rows


def _read(last: Any, seen: Any) -> str:
    """When a target was read; of one that is not seen, when it last was."""
    from agent.model import TargetState

    when = None if last is None else seen if last.state is TargetState.NOT_SEEN else last.as_of
    return f"{when:%Y-%m-%d %H:%M}" if when else ""


def _facts() -> Listing:
    import agent.facts  # noqa: F401 - declares them
    from agent.condition import kind_name
    from agent.derive import load_all
    from agent.facttypes import REGISTRY

    load_all()
    rows = [
        [p, f"{n}[{s.key}]" if s.key else n, kind_name(s.type), "derived" if s.derive else s.source, s.doc]
        for (p, n), s in sorted(REGISTRY.specs.items())
    ]
    return ["Platform", "Fact", "Type", "Source", "What it is"], rows


def _runs(planner: Planner) -> Listing:
    with open_store(planner) as store:
        rows = [
            [r.id, f"{r.started:%Y-%m-%d %H:%M}", r.status, len(r.planned), "everything" if r.whole else "a part"]
            for r in store.runs()
        ]
    return ["Run", "Started (UTC)", "Status", "Targets", "Of"], rows


def _exceptions(planner: Planner) -> Listing:
    from datetime import UTC, datetime

    from agent.exceptions import state
    from agent.results import entry_text

    today = datetime.now(UTC).date()
    rows = [
        [e.control, entry_text(e), state(e, today), e.expires.isoformat(), e.owner, e.reason]
        for e in sorted(planner.trust.exceptions, key=lambda e: e.expires)
    ]
    return ["Control", "Scope", "State", "Expires", "Owner", "Reason"], rows


def _assets(planner: Planner) -> Listing:
    """One line per real machine, whoever sees it; see `agent/assets.py`."""
    from dataclasses import replace

    from agent.assets import assets

    targets = {t.id: t for t in planner.targets()}
    with open_store(planner) as store:
        kept = (r.target.id for r in store.latest() if r.manifest and r.target.id in targets)
        evidence = (replace(store.evidence(i), target=targets[i]) for i in kept)
        found = assets((e, planner.trust.serving(e.target)) for e in evidence)
    rows = []
    for a in found:
        os, said_by, _ = a.os
        others = dict.fromkeys(s.name for s in a.sights[1:] if s.name.casefold() != a.name.casefold())
        rows.append(
            [
                a.name,
                ", ".join(a.schools),
                f"{os} ({said_by})" if os else "",
                a.id("serial"),
                a.id("entra_device_id"),
                a.id("ad_sid"),
                ", ".join(dict.fromkeys(f"{s.source} {s.where}" for s in a.sights)),
                a.seen[:16].replace("T", " "),
                ", ".join(others),
            ]
        )
    ids = ["Serial", "Entra device id", "AD SID"]
    return ["Asset", "School", "System", *ids, "Seen by", "Last seen (UTC)", "Also known as"], rows
