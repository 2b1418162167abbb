"""drift, explain, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.common import FAIL_ON, FORMAT, open_store, open_trust, plain, print_json, say, selection_options
from agent.cli.common import table as show_table
from agent.errors import UsageError
from agent.plan import Selection

if TYPE_CHECKING:
    from agent.condition.tree import Branch
    from agent.results import Standing

SHOWN = 5
"""Offenders named on one line; `explain` and the reports name them all."""


@click.command("drift")
@selection_options
@click.option(
    "--since", "since_run", metavar="RUN|DATE", help="What changed since a run or date ('previous' works too)."
)
@click.option("--all", "everything", is_flag=True, help="Also what passes, does not apply or is excepted.")
@FAIL_ON
@FORMAT
@click.pass_context
def drift(
    ctx: click.Context, selection: Selection, since_run: str | None, everything: bool, fail_on: str, form: str
) -> None:
    """Show what is wrong now; with --since, what changed."""
    from agent.results import exit_code, since, standing

    planner = open_trust(ctx)
    with open_store(planner) as store:
        now = standing(planner, store, None, selection)
        if not now and not since_run:
            raise UsageError("the selection matches no finding.", "See `spiritlevel list targets` and `list controls`.")
        if since_run:
            before = store.run(since_run)
            changed = since(planner, store, before, selection)
            print_findings(ctx, changed, form, whole=True, lost=lost_targets(store))
            say(ctx, f"Compared with the scan of {before.started:%Y-%m-%d %H:%M} UTC ({before.id}).")
        else:
            show = now if everything else [s for s in now if s.drift or s.unread]
            print_findings(ctx, show, form, whole=False, lost=lost_targets(store))
        for target, sentence in unseen_targets(store).items():
            say(ctx, f"{target}: {sentence}")
        ids = {s.target.id for s in now}
        ctx.exit(exit_code(now, (r.state for r in store.latest() if r.target.id in ids), fail_on))


def record(s: Standing) -> dict[str, Any]:
    """One finding for programs."""
    f, c = s.finding, s.control.file
    return {
        "school": f.school,
        "target": s.target.name,
        "kind": s.target.kind.value,
        "platform": s.target.platform,
        "control": c.id,
        "version": c.version,
        "title": c.title,
        "theme": c.theme,
        "severity": c.severity,
        "verdict": f.verdict.value,
        "reason": f.reason,
        "expected": f.expected,
        "observed": f.observed,
        "offenders": [o.label for o in f.offenders],
        "offender_keys": [o.key for o in f.offenders],
        "offender_count": f.offender_count,
        "new_offenders": [o.label for o in s.fresh],
        "change": s.change.value,
        "not_seen_since": s.read.isoformat() if s.away and s.read else None,
        "exception": s.cover.entry.reason if s.cover and s.cover.whole else None,
    }


def print_findings(
    ctx: click.Context, findings: Sequence[Standing], form: str, *, whole: bool, lost: Mapping[str, str] | None = None
) -> None:
    """Findings as a table or JSON. `whole`: say what changed rather than what is. `lost`: targets that could not be
    read, with a sentence each; in the table they take one line, not one per control."""
    if form == "json":
        print_json([record(s) for s in findings])
        return
    rows = []
    findings, away = _one_line_each(findings, lost or {})
    for s in findings:
        f = s.finding
        word = s.change.value if whole else ("excepted" if s.excepted else f.verdict.value)
        who = f"{f.school or 'trust'}/{s.target.name}"
        rows.append([word, s.control.file.severity, who, s.control.id, s.control.file.title, detail(s)])
    rows += away
    if not rows:
        say(ctx, "Nothing changed." if whole else "No drift, and nothing unknown.")
        return
    show_table(
        ctx, ["Change" if whole else "Verdict", "Severity", "Where", "Control", "Good state", "What was seen"], rows
    )


def _one_line_each(findings: Sequence[Standing], lost: Mapping[str, str]) -> tuple[list[Standing], list[list[str]]]:
    """Findings of targets that were read, and one row for each target that was not."""
    kept = [s for s in findings if s.target.id not in lost]
    away = dict.fromkeys(s.target.id for s in findings if s.target.id in lost)
    rows = []
    for target in away:
        mine = [s for s in findings if s.target.id == target]
        rows.append(["unknown", "", target, f"{len(mine)} controls", "The target can be read", lost[target]])
    return kept, rows


def lost_targets(store: Any) -> dict[str, str]:
    """Targets that could not be read in their last run → why, and when they last could."""
    from agent.model import TargetState

    out = {}
    for r in store.latest():
        if r.state is TargetState.UNREACHABLE:
            seen = store.last_read(r.target.id)
            known = f"last known on {seen:%Y-%m-%d %H:%M} UTC" if seen else "never read so far"
            out[r.target.id] = f"{known}. {r.detail}"
    return out


def unseen_targets(store: Any) -> dict[str, str]:
    """Targets that may be switched off, within their grace → since when they were not seen."""
    from agent.model import TargetState

    return {r.target.id: r.detail for r in store.latest() if r.state is TargetState.NOT_SEEN}


def detail(s: Standing) -> str:
    """The last column: offenders, new ones marked with +, else what was read, else why it is unknown."""
    f = s.finding
    if f.offenders:
        new = {o.key for o in s.fresh}
        names = [("+" if o.key in new else "") + o.label for o in f.offenders[:SHOWN]]
        more = f" and {f.offender_count - SHOWN} more" if f.offender_count > SHOWN else ""
        return ", ".join(names) + more
    return f.reason or f.observed


MARKS = {"holds": "✓", "does not hold": "▲", "unknown": "?", "nothing to judge": "–"}
"""As on the pages: a shape beside the word."""


@click.command("explain")
@click.argument("control")
@click.option("--target", help="A target's name; default: every target with this control.")
@click.option("--school", help="A school's key.")
@FORMAT
@click.pass_context
def explain(ctx: click.Context, control: str, target: str | None, school: str | None, form: str) -> None:
    """Show a control's rule, the evidence behind each verdict, and how they meet."""
    from agent.conform import to_json
    from agent.errors import suggest
    from agent.results import standing, traces

    planner = open_trust(ctx)
    found = planner.policy.controls.get(control)
    if found is None:
        raise UsageError(f"there is no control {control!r}.", suggest(control, sorted(planner.policy.controls)))
    selection = Selection((school,) if school else (), (target,) if target else (), controls=(control,))
    with open_store(planner) as store:
        findings = standing(planner, store, None, selection)
        facts: dict[str, dict[str, Any]] = {}
        for s in findings:
            try:
                kept = store.evidence(s.target.id)
            except UsageError:
                continue
            facts[s.target.id] = {n: to_json(kept.facts[n].value) for n in found.reads if n in kept.facts}
        how = []
        for s in findings:
            tree, derived = traces(planner, store, s)
            how.append(tree)
            # what was worked out stands before what was read
            facts[s.target.id] = {n: to_json(v) for n, v in derived.items()} | facts.get(s.target.id, {})
    if form == "json":
        print_json(
            {
                "control": found.file.model_dump(exclude={"examples"}),
                "file": found.doc.file,
                "findings": [
                    {
                        **record(s),
                        "tree": [{"depth": b.depth, "wanted": b.wanted, "is": b.word, "seen": b.seen} for b in tree],
                        "facts": facts.get(s.target.id),
                    }
                    for s, tree in zip(findings, how, strict=True)
                ],
            }
        )
        return
    f = found.file
    click.echo(
        f"{f.id} (version {f.version}, {f.severity}, {f.theme})\n  {f.title}\n  Why: {f.why}\n  Rule: {found.doc.file}"
    )
    click.echo(f"  Reads: {', '.join(found.reads) or 'nothing; a person answers'}")
    if f.fix:
        click.echo(f"  Fix: {f.fix.playbook or f.fix.manual} (risk {f.fix.risk})")
    if not findings:
        missing = sorted(
            {
                m
                for j in planner.jobs(Selection(controls=(control,)))
                for n, _ in j.not_covered
                if n.control == control
                for m in n.missing
            }
        )
        click.echo(
            f"  Not covered: set {', '.join(missing)}" if missing else "  No finding yet: run `spiritlevel scan`."
        )
        return
    for s, tree in zip(findings, how, strict=True):
        _explain_one(s, tree, facts.get(s.target.id, {}))


def _explain_one(s: Standing, tree: Sequence[Branch], facts: dict[str, Any]) -> None:
    import json

    f = s.finding
    click.echo(
        f"\n{plain(f.school or 'the trust')}/{plain(s.target.name)}: {f.verdict.value.upper()}"
        + (" (excepted)" if s.excepted else "")
        + (f", {s.change.value}" if s.change.value else "")
    )
    for b in tree:
        click.echo(
            f"  {'  ' * b.depth}{MARKS[b.word]} {plain(b.wanted)}: {b.word}" + (f" ({plain(b.seen)})" if b.seen else "")
        )
    for word, value in (("because", f.reason), *(() if tree else (("expected", f.expected), ("observed", f.observed)))):
        if value:
            click.echo(f"  {word}: {plain(value)}")
    for o in f.offenders[:50]:
        click.echo(f"  - {plain(o.label)}" + (f"  [{plain(o.value)}]" if o.value else ""))
    if f.offender_count > 50:
        click.echo(f"  - and {f.offender_count - 50} more (see the reports)")
    for name, value in facts.items():
        text = json.dumps(value, ensure_ascii=False)
        click.echo(f"  {plain(name)} = {plain(text if len(text) <= 400 else text[:400] + '…')}")


@click.command("report")
@selection_options
@click.option(
    "--format",
    "forms",
    multiple=True,
    type=click.Choice(["html", "csv", "ndjson", "junit"]),
    help="What to write; may be given more than once. Default: html.",
)
@click.option(
    "-o", "--output", default=None, help="Folder (html), else file; - is stdout. Default: out/report in the trust."
)
@click.option("--run", "run_name", default=None, help="Report as of a run: id, date, 'previous'.")
@click.pass_context
def report(
    ctx: click.Context, selection: Selection, forms: tuple[str, ...], output: str | None, run_name: str | None
) -> None:
    """Write HTML pages for leaders, and CSV, NDJSON or JUnit for programs."""
    planner = open_trust(ctx)
    with open_store(planner) as store:
        run = store.run(run_name) if run_name else None
        paths = write_reports(planner, store, forms or ("html",), output, run, selection)
    for path in paths:
        say(ctx, f"Wrote {path}")


def write_reports(
    planner: Any,
    store: Any,
    forms: Sequence[str],
    output: str | None,
    run: Any = None,
    selection: Selection | None = None,
    stand_in: bool = False,
) -> list[Path]:
    """Write reports; gives the paths (none for stdout). Raises `UsageError` when several forms share one file."""
    from agent.render import exchange, html, tables
    from agent.snapshots import snapshot

    if len(forms) > 1 and output and output != "-" and not Path(output).is_dir() and Path(output).suffix:
        raise UsageError("several formats cannot share one file.", "Name a folder with -o.")
    shot = snapshot(planner, store, run, selection, stand_in=stand_in)
    base = planner.trust.folder / "out"
    out: list[Path] = []
    texts = {"csv": tables.csv_text, "ndjson": tables.ndjson_text, "junit": exchange.junit_text}
    names = {"csv": "findings.csv", "ndjson": "findings.ndjson", "junit": "findings.junit.xml"}
    for form in forms:
        if form == "html":
            if output == "-":
                raise UsageError("the HTML report is a folder of pages; it cannot go to stdout.")
            folder = Path(output) if output else base / "report"
            html.write_site(shot, folder)
            out.append(folder / "index.html")
            continue
        text = texts[form](shot)
        if output == "-":
            click.echo(text, nl=False)
            continue
        path = Path(output) if output else base / names[form]
        if path.is_dir():
            path = path / names[form]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        out.append(path)
    return out
