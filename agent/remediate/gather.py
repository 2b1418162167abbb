"""Failing findings → what a bundle says: steps that a task file mends, and what people do by hand."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from agent.condition import fill
from agent.condition.values import duration
from agent.controls import Control, Rule
from agent.errors import UsageError, suggest
from agent.exceptions import cover
from agent.files import Fix
from agent.model import Finding, Kind, Offender, Target, Verdict
from agent.plan import Planner, Selection
from agent.remediate import shared, switches
from agent.remediate.switch_parts import Part
from agent.remediate.windows import PATCHED_WITHIN, clash, frozen_days, sentences
from agent.render.bundle import SECRET, is_template
from agent.render.bundle_content import NETWORK, Content, Host, Manual, Snippet, Step, in_order
from agent.resources import data_dir
from agent.store import Store

HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Names that mean only themselves in an inventory, a pattern and a file name."""
PLAYBOOK = re.compile(r"[a-z0-9_]+/[a-z0-9_]+\.yml")
_INCLUDED = re.compile(r"(?m)^\s*(?:-\s+)?(?:ansible\.builtin\.)?(?:include|import)_tasks:\s+([a-z0-9_]+\.yml)\s*$")
GIVEN = {"sl_offenders", "sl_control", "sl_undo_folder"}
"""Variables that a bundle's plays give to every task file that asks for them (see docs/remediation.md)."""
VARIABLE = re.compile(r"[a-z][a-z0-9_]*")
_FILE = re.compile(r"(private_key_file|_pem|_ca_cert|_trust_path)$")
"""Connection variables that name a file on this machine."""
# How a host is reached. Everything else in an inventory is somebody else's business.
_CONNECTION = re.compile(
    r"ansible_(host|port|user|connection|private_key_file|python_interpreter|remote_tmp|timeout|pipelining|network_os"
    r"|become(_(method|user|exe|flags))?|shell_(type|executable)|ssh_\w+|winrm_\w+|psrp_\w+|paramiko_\w+|sftp_\w+"
    r"|scp_\w+)"
)


@dataclass(slots=True)
class Heap:
    """What belongs into one school's bundle, while it grows. The key is the school's; None for the trust's own."""

    school: str | None
    hosts: dict[str, Target] = field(default_factory=dict)
    steps: dict[str, dict[str, tuple[Rule, Finding, tuple[Offender, ...]]]] = field(default_factory=dict)
    manual: list[Manual] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    switches: dict[str, tuple[Target, list[switches.Failing]]] = field(default_factory=dict)
    """Of switches: what fails, by target; `deal` makes the following out of it."""
    ready: list[Step] = field(default_factory=list)
    snippets: list[Snippet] = field(default_factory=list)


def heaps(planner: Planner, store: Store, selection: Selection, today: date) -> dict[str | None, Heap]:
    """Failing findings of a selection that no exception covers, by school.

    A school that is selected and has nothing to mend is there too, with nothing in it. Raises `UsageError` for an
    empty selection, `ConfigError` for a fix that cannot be used.
    """
    out: dict[str | None, Heap] = {}
    rules: dict[tuple[str, str, str | None], tuple[Target, Rule]] = {}
    for pattern in selection.controls:
        if not fnmatch.filter(planner.policy.controls, pattern):
            raise UsageError(f"there is no control {pattern!r}.", suggest(pattern, sorted(planner.policy.controls)))
    for target in planner.select(selection):
        job = planner.job(target, selection)  # also where nothing is collected for it: a person's answer may fail
        for baseline, school in job.parts:
            key = school.key if school else None
            if selection.schools and key not in selection.schools and not (key is None and job.target.serves):
                continue
            out.setdefault(key, Heap(key))
            for rule in baseline.rules:
                rules[job.target.id, rule.control.id, key] = job.target, rule
    for kept in store.findings():
        finding = kept.finding
        found = rules.get((finding.target, finding.control, finding.school))
        if found is None or finding.verdict is not Verdict.FAIL:
            continue
        target, rule = found
        covered = cover(planner.trust.exceptions, finding, target, today)
        if covered is not None and covered.whole:
            continue
        offenders = covered.left if covered is not None else finding.offenders
        _add(out[finding.school], planner.trust.folder, target, rule, finding, offenders)
    for heap in out.values():
        _deal(heap, store)
    return out


def _deal(heap: Heap, store: Store) -> None:
    """What fails on switches → steps for those that a playbook mends, and written steps with exact lines."""
    steps: dict[str, tuple[Rule, dict[str, tuple[Part, bool]]]] = {}
    for target, failing in heap.switches.values():
        try:
            evidence = store.evidence(target.id, full=True, read=True)
        except UsageError:
            evidence = None  # past its keep: the written step remains
        found = switches.parts(evidence, failing, target.settings) if evidence is not None else {}
        kept = evidence is not None and switches.saved(evidence)
        plain = HOST_NAME.fullmatch(target.name) is not None
        for rule, finding, offenders in failing:
            name, fix = rule.control.id.removeprefix("switch."), rule.control.file.fix
            part = found.get(name)
            if part is not None and plain and switches.runs(target, name, part, fix.risk if fix else "high"):
                heap.hosts[target.name] = target
                steps.setdefault(rule.control.id, (rule, {}))[1][target.name] = part, kept
                continue
            item = _manual(rule.control, target, finding, offenders)
            heap.manual.append(item if part is None else switches.manual(item, part, target.platform))
        if plain and (snippet := switches.snippet(target, found, kept)):
            heap.snippets.append(snippet)
    heap.ready += [switches.step(rule, hosts) for rule, hosts in steps.values()]


def _add(
    heap: Heap, folder: Path, target: Target, rule: Rule, finding: Finding, offenders: tuple[Offender, ...]
) -> None:
    fix = rule.control.file.fix
    if target.family == "switch" and (fix is None or fix.playbook is None):
        heap.switches.setdefault(target.id, (target, []))[1].append((rule, finding, offenders))
        return
    if fix is not None and fix.playbook is not None:
        if heap.hosts.get(target.name, target).id != target.id:
            heap.left_out[target.id] = (
                f"{target.name}: a machine and a directory or tenant have this one name; give one of them another."
            )
            return
        if not HOST_NAME.fullmatch(target.name):
            heap.left_out[target.id] = (
                f"{target.name}: its inventory name cannot be written safely; "
                "use letters, digits, dots, dashes and underscores."
            )
            return
        task_file(rule.control, folder)
        heap.hosts[target.name] = target
        heap.steps.setdefault(rule.control.id, {})[target.name] = rule, finding, offenders
        return
    heap.manual.append(_manual(rule.control, target, finding, offenders))


def _manual(control: Control, target: Target, finding: Finding, offenders: tuple[Offender, ...]) -> Manual:
    file, fix = control.file, control.file.fix or Fix(manual="-")
    what = fix.manual or ""
    if file.fix is None:
        what = (
            f"There is no written step for this; what is expected: {finding.expected}"
            if finding.expected
            else ("There is no written step for this.")
        )
    accepted = len(finding.offenders) - len(offenders)
    return Manual(
        file.id,
        file.title,
        file.why,
        target.name,
        what,
        fix.risk,
        fix.minutes,
        fix.reboot,
        fix.undo,
        tuple(o.label for o in offenders),
        finding.offender_count - accepted,
        finding.observed,
    )


def content(planner: Planner, heap: Heap, today: date) -> Content:
    """One bundle's content, in its order. Raises `ConfigError` for a fix whose variables do not add up."""
    trust = planner.trust
    title = trust.schools[heap.school].name if heap.school else trust.name
    steps = in_order([*(_step(trust.folder, control, hosts) for control, hosts in heap.steps.items()), *heap.ready])
    hosts = tuple(_host(heap.hosts[name], trust.folder) for name in sorted(heap.hosts))
    manual = tuple(sorted(heap.manual, key=lambda m: (m.control, m.target)))
    return Content(
        title,
        hosts,
        steps,
        manual,
        tuple(heap.left_out[k] for k in sorted(heap.left_out)),
        (
            *sentences(trust.file.change_windows, heap.school, trust.file.timezone),
            *frozen_days(trust.file.freezes, heap.school, today),
        ),
        tuple(_clashes(planner, heap, today)),
        tuple(sorted(heap.snippets, key=lambda s: s.target)),
    )


def _clashes(planner: Planner, heap: Heap, today: date) -> list[str]:
    """Updates that are due within 14 days, all of them days on which nothing may be changed: people decide."""
    freeze = clash(planner.trust.file.freezes, heap.school, today)
    controls = {*heap.steps, *(s.control for s in heap.ready), *(m.control for m in heap.manual)}
    files = [planner.policy.controls[c].file for c in sorted(controls)]
    due = [f for f in files if f.theme == "updates" and f.severity in ("high", "critical")]
    return [
        f"{f.title} ({f.id}): high and critical updates are due within {PATCHED_WITHIN} days, and nothing may be "
        f"changed until {freeze.to:%d %B %Y} ({freeze.name}). Decide which gives way: run it with --outside-window, "
        "or accept it by an exception."
        for f in due
        if freeze is not None
    ]


def _step(folder: Path, control: str, hosts: Mapping[str, tuple[Rule, Finding, tuple[Offender, ...]]]) -> Step:
    rule = next(iter(hosts.values()))[0]
    file, fix = rule.control.file, rule.control.file.fix
    if fix is None or fix.playbook is None:
        raise ValueError(f"{control} has no task file")
    wants_offenders = "sl_offenders" in task_file(rule.control, folder).read_text(encoding="utf-8")
    key = shared.clause if rule.control.platform == "ad" else str
    offenders = {h: tuple(key(o.key) for o in off) for h, (_, _, off) in hosts.items()} if wants_offenders else {}
    cut = {
        h: f.offender_count for h, (_, f, _) in hosts.items() if wants_offenders and f.offender_count > len(f.offenders)
    }
    return Step(
        control,
        file.title,
        file.why,
        file.severity,
        fix.risk,
        fix.minutes,
        fix.reboot,
        fix.undo,
        fix.note,
        fix.playbook,
        rule.control.platform,
        {h: variables(r) for h, (r, _, _) in hosts.items()},
        offenders,
        cut,
        tuple(fix.rights),
        tuple(sorted({c for path in task_files(rule.control, folder) for c in collections(path)})),
    )


def variables(rule: Rule) -> dict[str, Any]:
    """A fix's variables with the values of one target's baseline, placeholders filled in. Names start with `sl_`."""
    fix = rule.control.file.fix
    out: dict[str, Any] = {}
    for name, value in (fix.variables if fix else {}).items():
        out[f"sl_{name.removeprefix('sl_')}"] = fill(_with_parameters(value, rule.parameters), rule.fills)
    return out


def _with_parameters(value: Any, parameters: Mapping[str, Any]) -> Any:
    """A variable's value with every `{param: name}` in it replaced by that parameter's value.

    `{days: x}` is a duration's whole days, `{join: [x, y]}` its parts as one text.
    """
    if isinstance(value, dict):
        if set(value) == {"param"}:
            return parameters[value["param"]]
        if set(value) == {"days"}:
            return duration(_with_parameters(value["days"], parameters)).days
        if set(value) == {"join"}:
            return "".join(str(_with_parameters(v, parameters)) for v in value["join"])
        return {k: _with_parameters(v, parameters) for k, v in value.items()}
    return [_with_parameters(v, parameters) for v in value] if isinstance(value, list) else value


def _parameters_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        if set(value) == {"param"}:
            return {str(value["param"])}
        value = list(value.values())
    return {n for v in value for n in _parameters_in(v)} if isinstance(value, list) else set()


def collections(path: Path) -> set[str]:
    """Names of the collections beside Ansible's own whose modules a task file names."""
    found = re.findall(r"(?m)^\s*(?:-\s+)?([a-z_]+\.[a-z_]+)\.[a-z_]+:\s*$", path.read_text(encoding="utf-8"))
    return set(found) - {"ansible.builtin"}


def task_file(control: Control, folder: Path) -> Path:
    """The reviewed task file of a control's fix: the trust's own `playbooks/` first, then the shipped ones.

    Raises `ConfigError` at the control's `fix` for a file that is not there.
    """
    fix = control.file.fix
    name = fix.playbook if fix else None
    if name is None or not PLAYBOOK.fullmatch(name):
        raise control.doc.error(f"a task file is named platform/name.yml, not {name!r}.", ("fix", "playbook"))
    for base in (folder / "playbooks", data_dir("playbooks")):
        if (base / name).is_file():
            return base / name
    raise control.doc.error(f"there is no task file playbooks/{name}.", ("fix", "playbook"))


def task_files(control: Control, folder: Path) -> list[Path]:
    """The task file of a control's fix and those of its own folder that it includes, directly or through others."""
    try:
        return with_included(task_file(control, folder))
    except FileNotFoundError as e:
        raise control.doc.error(f"its task file includes {e}, which is not beside it.", ("fix", "playbook")) from None


def undo_files(platform: str) -> list[Path]:
    """The task files that put former values back in a directory or tenant."""
    return with_included(data_dir("playbooks") / platform / "undo.yml")


def with_included(first: Path) -> list[Path]:
    """A task file and those beside it that it includes, directly or through others.

    Raises `FileNotFoundError` with the name of one that is not there.
    """
    found, todo = [first], [first]
    while todo:
        for name in _INCLUDED.findall(todo.pop().read_text(encoding="utf-8")):
            path = first.parent / name
            if not path.is_file():
                raise FileNotFoundError(name)
            if path not in found:
                found.append(path)
                todo.append(path)
    return found


def check_fixes(controls: Iterable[Control], folder: Path) -> None:
    """Every fix names a task file that is there, and variables that the control has. Raises `ConfigError`."""
    for control in controls:
        fix = control.file.fix
        if fix is None or fix.playbook is None:
            continue
        text = task_file(control, folder).read_text(encoding="utf-8")
        for name, value in fix.variables.items():
            place = ("fix", "variables", name)
            if not VARIABLE.fullmatch(name):
                raise control.doc.error(
                    f"{name!r} is no name for a variable.", place, "Use small letters, digits and _."
                )
            for parameter in sorted(_parameters_in(value) - set(control.uses)):
                raise control.doc.error(f"the check of this control does not use parameter {parameter!r}.", place)
            if f"sl_{name.removeprefix('sl_')}" not in text:
                raise control.doc.error(f"{fix.playbook} does not use sl_{name.removeprefix('sl_')}.", place)
        given = {f"sl_{n.removeprefix('sl_')}" for n in fix.variables} | GIVEN
        for path in task_files(control, folder)[1:]:
            given |= made(path.read_text(encoding="utf-8"))
        for name in sorted(n for n in asked(text) - given if not n.startswith(("sl_ldap_", "sl_graph_"))):
            raise control.doc.error(f"{fix.playbook} wants {name}, which is not given.", ("fix", "variables"))


def made(text: str) -> set[str]:
    """The `sl_` variables that a task file makes itself (by `register`, `set_fact`, `vars` …)."""
    return set(re.findall(r"(?m)^\s*(?:-\s+)?(?:register|loop_var|index_var):\s*(sl_\w+)", text)) | set(
        re.findall(r"(?m)^\s*(?:-\s+)?(sl_\w+):", text)
    )


def asked(text: str) -> set[str]:
    """The `sl_` variables that a task file must be given: it neither makes them nor has a `default` for them."""
    spared = set(re.findall(r"\b(sl_\w+) *\| *default\b", text))
    return set(re.findall(r"\bsl_\w+", _without_comments(text))) - made(text) - spared


def _without_comments(text: str) -> str:
    return re.sub(r"(?m)^\s*#.*$", "", text)


def _host(target: Target, folder: Path) -> Host:
    if target.kind is not Kind.DEVICE:
        return shared.host(target, folder)
    kept: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name, value in target.settings.items():
        if name.startswith("ansible_") and SECRET.search(name):
            missing[name] = "credential"
        elif not _CONNECTION.fullmatch(name) or not isinstance(value, (str, int, float, bool)):
            continue
        elif target.platform == "windows" and name.startswith("ansible_become"):
            continue  # a variable for all hosts: sudo is nothing that Windows has
        elif isinstance(value, str) and is_template(value):
            missing[name] = "template"
        else:
            kept[name] = _placed(name, value, folder)
    if target.platform == "ios":
        return Host(target.name, {**kept, **switches.terminal(kept)}, (*target.groups, NETWORK), missing)
    return Host(target.name, kept, target.groups, missing)


def _placed(name: str, value: Any, folder: Path) -> Any:
    """A key file beside the trust, by its full path: the bundle may be run from anywhere on this machine."""
    if _FILE.search(name) and isinstance(value, str) and not value.startswith(("/", "~")):
        return str(folder / value)
    return value


def names(steps: Sequence[Step]) -> list[str]:
    """Control ids of steps."""
    return [s.control for s in steps]
