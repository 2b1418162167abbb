"""Findings in the formats of other tools. Pure.

JUnit XML: a test suite a target, a test case a finding. fail → failure, unknown → error (it is never clean),
manual and not applicable → skipped with the reason, an accepted departure → skipped with its reason and true verdict.
"""

from __future__ import annotations

from collections import defaultdict
from xml.etree import ElementTree as ET

from agent.model import Verdict
from agent.render.snapshot import ControlInfo, Row, Snapshot, exchanged
from agent.render.summary import order
from agent.render.text import shorten, visible

_LISTED = 50
"""Offenders written out in a failure's text; the count is always whole."""


def junit_text(snapshot: Snapshot) -> str:
    """The run as one JUnit document, suites and cases in the order of all outputs.

    Characters that XML forbids are written out as `\\u0000`. Raises KeyError for a row whose control is unknown.
    """
    suites: dict[str, list[Row]] = defaultdict(list)
    targets = {t.id: t for t in snapshot.targets}
    for row in sorted(snapshot.rows, key=order):
        suites[row.finding.target].append(exchanged(row, targets.get(row.finding.target)))
    root = ET.Element("testsuites", {"name": visible(f"spiritlevel: {snapshot.trust_name}")})
    totals = [0, 0, 0, 0]
    for target in sorted(suites):
        suite = ET.SubElement(root, "testsuite", {"name": visible(target)})
        numbers = [0, 0, 0, 0]
        for row in suites[target]:
            kind = _case(suite, row, snapshot.controls[row.finding.control])
            numbers[0] += 1
            if kind:
                numbers[("failure", "error", "skipped").index(kind) + 1] += 1
        for name, n in zip(("tests", "failures", "errors", "skipped"), numbers, strict=True):
            suite.set(name, str(n))
        suite.set("time", "0")
        suite.set("timestamp", snapshot.run_started.strftime("%Y-%m-%dT%H:%M:%S"))
        totals = [a + b for a, b in zip(totals, numbers, strict=True)]
    for name, n in zip(("tests", "failures", "errors", "skipped"), totals, strict=True):
        root.set(name, str(n))
    root.set("time", "0")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(suite: ET.Element, row: Row, control: ControlInfo) -> str:
    """Add one test case; its outcome's element name, empty for a pass."""
    f = row.finding
    # A control that judges items has one finding a school on the same target: the school keeps their names apart.
    name = f"{f.control}: {control.title}" + (f" [{f.school}]" if control.scope == "items" and f.school else "")
    case = ET.SubElement(suite, "testcase", {"name": visible(name), "classname": visible(f.target), "time": "0"})
    if f.verdict is Verdict.PASS:
        return ""
    if row.exception is not None and f.verdict is not Verdict.NOT_APPLICABLE:
        until = f" until {row.exception_expires.isoformat()}" if row.exception_expires else ""
        ET.SubElement(case, "skipped", {"message": _short(f"accepted{until} ({f.verdict.value}): {row.exception}")})
        return "skipped"
    if f.verdict in (Verdict.MANUAL, Verdict.NOT_APPLICABLE):
        word = f.verdict.value.replace("_", " ")
        ET.SubElement(case, "skipped", {"message": _short(f"{word}: {f.reason}" if f.reason else word)})
        return "skipped"
    if f.verdict is Verdict.UNKNOWN:
        ET.SubElement(case, "error", {"message": _short(f"could not look: {f.reason}"), "type": "unknown"})
        return "error"
    element = ET.SubElement(
        case,
        "failure",
        {
            "message": _short(f"expected {f.expected}; observed {f.observed}"),
            "type": control.severity.value,
        },
    )
    lines = [f"expected: {f.expected}", f"observed: {f.observed}"]
    if f.offender_count:
        lines.append(f"offenders: {f.offender_count}")
        listed = f.offenders[:_LISTED]
        lines += [f"- {o.label}" for o in listed]
        if f.offender_count > len(listed):
            lines.append(f"- and {f.offender_count - len(listed)} more")
    element.text = visible("\n".join(lines))
    return "failure"


def _short(text: str) -> str:
    return shorten(visible(text), 300)
