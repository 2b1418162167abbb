"""except, attest: what people accept and answer for. Edits exceptions.yml and attestations.yml, keeping comments."""

from __future__ import annotations

from datetime import date
from typing import Any

import click

from agent.cli.common import FORMAT, open_trust, print_json, say
from agent.cli.common import table as show_table
from agent.cli.entries import day as read_day
from agent.cli.entries import future, known_control, known_school, pick, remember, today, write
from agent.errors import UsageError, suggest
from agent.plan import Planner

SCHOOL = click.option("--school", metavar="KEY", help="Only this school.")
TARGET = click.option("--target", metavar="NAME", help="Only this target.")
GROUP = click.option("--group", metavar="NAME", help="Only this inventory group.")
EXPIRES = click.option(
    "--expires", callback=read_day, required=True, metavar="DATE", help="Last day, such as 2027-03-31."
)


@click.group("except")
def except_() -> None:
    """Accept a departure for a while: a reason, an owner and an end. The control still runs."""


@except_.command("add")
@click.argument("control")
@SCHOOL
@TARGET
@GROUP
@click.option("--offender", multiple=True, metavar="NAME", help="Accept only this one; may be given more than once.")
@click.option("--value", metavar="TEXT", help="With one --offender: accept it only as long as it reads so.")
@click.option("--accept-unknown", is_flag=True, help="Accept that it cannot be read, by choice.")
@click.option("--reason", required=True, help="Why, in a sentence.")
@click.option("--owner", required=True, help="Who answers for it: a role or a name.")
@EXPIRES
@click.pass_context
def except_add(
    ctx: click.Context,
    control: str,
    school: str | None,
    target: str | None,
    group: str | None,
    offender: tuple[str, ...],
    value: str | None,
    accept_unknown: bool,
    reason: str,
    owner: str,
    expires: date,
) -> None:
    """Accept that CONTROL (an id or pattern) departs, until a day."""
    planner = open_trust(ctx)
    known_control(planner, control)
    known_school(planner, school)
    future(ctx, expires)
    if target is not None and not any(target in (t.name, t.id) for t in planner.targets()):
        raise UsageError(f"there is no target {target!r}.", suggest(target, [t.id for t in planner.targets()]))
    if group is not None and not any(group in t.groups for t in planner.targets()):
        raise UsageError(
            f"no target is in a group {group!r}.",
            suggest(group, sorted({g for t in planner.targets() for g in t.groups})),
        )
    entry: dict[str, Any] = {"control": control}
    entry.update({k: v for k, v in (("school", school), ("target", target), ("group", group)) if v})
    if value is not None and len(offender) != 1:
        raise UsageError("--value belongs to exactly one --offender.")
    if offender:
        entry["offenders"] = list(offender) if value is None else [{"offender": offender[0], "value": value}]
    if accept_unknown:
        entry["accept_unknown"] = True
    entry.update(reason=reason, owner=owner, expires=expires)
    write(planner, "exceptions.yml", "exceptions", lambda found: found.append(entry))
    remember(planner, {"verb": "except add", **entry})
    say(ctx, f"Accepted until {expires}: {control}. See `spiritlevel except list`.")


@except_.command("list")
@FORMAT
@click.pass_context
def except_list(ctx: click.Context, form: str) -> None:
    """Show exceptions with their numbers and states."""
    from agent.exceptions import state
    from agent.results import entry_text

    planner = open_trust(ctx)
    entries = planner.trust.exceptions
    if form == "json":
        print_json(
            [{"number": i, **e.model_dump(mode="json"), "state": state(e, today())} for i, e in enumerate(entries, 1)]
        )
        return
    if not entries:
        say(ctx, "There are no exceptions.")
        return
    show_table(
        ctx,
        ["No.", "Control", "Scope", "Offenders", "State", "Expires", "Owner", "Reason"],
        [
            [i, e.control, entry_text(e), len(e.offenders) or "all", state(e, today()), e.expires, e.owner, e.reason]
            for i, e in enumerate(entries, 1)
        ],
    )


@except_.command("renew")
@click.argument("which", metavar="CONTROL|NUMBER")
@SCHOOL
@TARGET
@GROUP
@EXPIRES
@click.option("--reason", help="A new reason; else the old one stays.")
@click.pass_context
def except_renew(
    ctx: click.Context,
    which: str,
    school: str | None,
    target: str | None,
    group: str | None,
    expires: date,
    reason: str | None,
) -> None:
    """Give an exception a new last day."""
    planner = open_trust(ctx)
    future(ctx, expires)
    index = pick(planner.trust.exceptions, which, {"school": school, "target": target, "group": group}, "except renew")

    def change(found: list[Any]) -> None:
        found[index]["expires"] = expires
        if reason:
            found[index]["reason"] = reason

    write(planner, "exceptions.yml", "exceptions", change)
    control = planner.trust.exceptions[index].control
    remember(planner, {"verb": "except renew", "control": control, "expires": expires})
    say(ctx, f"Accepted until {expires}: {control}.")


@except_.command("end")
@click.argument("which", metavar="CONTROL|NUMBER")
@SCHOOL
@TARGET
@GROUP
@click.pass_context
def except_end(ctx: click.Context, which: str, school: str | None, target: str | None, group: str | None) -> None:
    """Take an exception away: what it covered counts again at once."""
    planner = open_trust(ctx)
    index = pick(planner.trust.exceptions, which, {"school": school, "target": target, "group": group}, "except end")
    entry = planner.trust.exceptions[index]
    write(planner, "exceptions.yml", "exceptions", lambda found: found.__delitem__(index))
    remember(planner, {"verb": "except end", **entry.model_dump(mode="json", exclude_defaults=True)})
    say(ctx, f"No longer accepted: {entry.control}.")


@click.group("attest")
def attest() -> None:
    """Answer what no machine can read: dated, by a named person, with the evidence."""


@attest.command("add")
@click.option("--control", metavar="ID", help="The control that asks.")
@click.option("--requirement", metavar="ID", help="Or the requirement of a standard.")
@SCHOOL
@click.option("--answer", type=click.Choice(["yes", "no"]), required=True, help="Whether it is so.")
@click.option("--by", required=True, help="Who says so.")
@click.option(
    "--on", "day", callback=read_day, default=None, metavar="DATE", help="When it was looked at. Default: today."
)
@click.option("--evidence", required=True, help="What shows it, and where that is kept.")
@EXPIRES
@click.pass_context
def attest_add(
    ctx: click.Context,
    control: str | None,
    requirement: str | None,
    school: str | None,
    answer: str,
    by: str,
    day: date | None,
    evidence: str,
    expires: date,
) -> None:
    """Answer a control's question, or a requirement."""
    planner = open_trust(ctx)
    if (control is None) == (requirement is None):
        raise UsageError("an answer is for either a --control or a --requirement.")
    if control is not None:
        found = planner.policy.controls.get(control)
        if found is None:
            raise UsageError(f"there is no control {control!r}.", suggest(control, sorted(planner.policy.controls)))
        if not found.manual:
            raise UsageError(
                f"{control} asks no person; it is read from the systems.",
                "To accept a departure, use `spiritlevel except add`.",
            )
    else:
        _known_requirement(planner, requirement or "")
    known_school(planner, school)
    day = day or today()
    if day > today():
        raise UsageError(f"{day} is not yet; an answer is about what was seen.")
    future(ctx, expires)
    entry = {
        "control": control,
        "requirement": requirement,
        "school": school,
        "answer": answer,
        "by": by,
        "on": day,
        "expires": expires,
        "evidence": evidence,
    }
    kept = {k: v for k, v in entry.items() if v is not None}
    write(planner, "attestations.yml", "attestations", lambda found: found.append(kept))
    remember(planner, {"verb": "attest add", **kept})
    say(ctx, f"Noted until {expires}: {control or requirement}.")


def _known_requirement(planner: Planner, requirement: str) -> None:
    from agent.resources import data_dir
    from agent.standards import load_standards

    standards = load_standards(data_dir("baselines") / "standards", list(planner.policy.controls))
    ids = [r.id for s in standards for r in s.requirements]
    if requirement not in ids:
        raise UsageError(f"there is no requirement {requirement!r}.", suggest(requirement, ids))


@attest.command("list")
@FORMAT
@click.pass_context
def attest_list(ctx: click.Context, form: str) -> None:
    """Show answers with their numbers; those past their end count as unanswered."""
    planner = open_trust(ctx)
    entries = planner.trust.attestations
    if form == "json":
        print_json(
            [
                {"number": i, **a.model_dump(mode="json"), "in_date": a.expires >= today()}
                for i, a in enumerate(entries, 1)
            ]
        )
        return
    if not entries:
        say(ctx, "There are no answers yet.")
        return
    show_table(
        ctx,
        ["No.", "For", "School", "Answer", "By", "On", "Expires", "Evidence"],
        [
            [
                i,
                a.control or a.requirement,
                a.school or "all",
                a.answer,
                a.by,
                a.on,
                a.expires if a.expires >= today() else f"{a.expires} (past)",
                a.evidence,
            ]
            for i, a in enumerate(entries, 1)
        ],
    )


@attest.command("renew")
@click.argument("which", metavar="ID|NUMBER")
@SCHOOL
@click.option("--by", help="Who says so now; else as before.")
@click.option(
    "--on", "day", callback=read_day, default=None, metavar="DATE", help="When it was looked at. Default: today."
)
@click.option("--evidence", help="New evidence; else as before.")
@EXPIRES
@click.pass_context
def attest_renew(
    ctx: click.Context,
    which: str,
    school: str | None,
    by: str | None,
    day: date | None,
    evidence: str | None,
    expires: date,
) -> None:
    """Look again and give the same answer a new end."""
    planner = open_trust(ctx)
    future(ctx, expires)
    day = day or today()
    if day > today():
        raise UsageError(f"{day} is not yet; an answer is about what was seen.")
    index = pick(planner.trust.attestations, which, {"school": school}, "attest renew")
    news = {"by": by, "on": day, "evidence": evidence, "expires": expires}

    def change(found: list[Any]) -> None:
        found[index].update({k: v for k, v in news.items() if v is not None})

    write(planner, "attestations.yml", "attestations", change)
    entry = planner.trust.attestations[index]
    name = entry.control or entry.requirement
    remember(planner, {"verb": "attest renew", "for": name, "expires": expires})
    say(ctx, f"Noted until {expires}: {name}.")


__all__ = ["attest", "except_"]
