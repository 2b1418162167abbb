"""What the tests of pages share: a strict reading of HTML, a mini snapshot, hostile strings."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

from agent.model import Finding, Kind, Offender, School, Severity, TargetState, Verdict
from agent.render.snapshot import (
    AttestationInfo,
    ControlInfo,
    ExceptionInfo,
    ExceptionState,
    FixInfo,
    NotCovered,
    Row,
    Snapshot,
    TargetInfo,
)

VOID = frozenset({"meta", "link", "br", "hr", "img", "input"})
# A start tag of the key ends up inside an open tag of the value only by mistake.
NEVER_INSIDE = {"p": {"ul", "ol", "table", "div", "p", "section", "h1", "h2", "h3", "dl"}, "span": {"p", "div", "ul"}}
BLOCKS = frozenset("p div li td th dt dd h1 h2 h3 caption summary section".split())
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class Page(HTMLParser):
    """Reads a page as strictly as XML: every tag closed in order, attributes once, ids once. Problems are collected."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.problems: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        if self.stack:
            self.problems.append(f"never closed: {self.stack}")
        self.problems += [f"id twice: {i}" for i in sorted({i for i in self.ids if self.ids.count(i) > 1})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [a for a, _ in attrs]
        if len(set(names)) != len(names):
            self.problems.append(f"attribute twice: {tag} {names}")
        if self.stack and tag in NEVER_INSIDE.get(self.stack[-1], ()):
            self.problems.append(f"{tag} inside {self.stack[-1]} at line {self.getpos()[0]}")
        self.tags.append((tag, dict(attrs)))
        self.text += " " if tag in BLOCKS else ""
        self.ids += [v for a, v in attrs if a == "id" and v]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.stack or self.stack.pop() != tag:
            self.problems.append(f"</{tag}> closes something else at line {self.getpos()[0]}")

    def handle_data(self, data: str) -> None:
        if "style" not in self.stack:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every element of that name."""
        return [a for t, a in self.tags if t == tag]


def broken_links(site: dict[str, str]) -> list[str]:
    """Internal links that lead nowhere: a page that is not there, an anchor that is not on it."""
    parsed = {path: Page(text) for path, text in site.items()}
    out = []
    for path, page in parsed.items():
        for link in page.of("a"):
            href = link["href"] or ""
            if href.startswith("https://"):
                continue
            file, _, part = href.partition("#")
            where = posixpath.normpath(posixpath.join(posixpath.dirname(path), file)) if file else path
            if where not in parsed or (part and part not in parsed[where].ids):
                out.append(f"{path}: {href}")
    return out


def tiny(verdict: Verdict = Verdict.FAIL, **finding: object) -> Snapshot:
    """One school, one device, one control, one row."""
    school = School("oak", "Oakfield", "OAK")
    control = ControlInfo(
        "linux.a", 1, "A holds", "identity", Severity.HIGH, "It matters.", "target", "linux", FixInfo("Do it.")
    )
    target = TargetInfo("oak/srv", "srv", "oak", Kind.DEVICE, "linux", TargetState.COLLECTED, "", NOON)
    row = Row(replace(Finding("linux.a", 1, "oak/srv", "oak", verdict), **finding))  # type: ignore[arg-type]
    return Snapshot("A Trust", "run-1", NOON, NOON, (school,), {"linux.a": control}, (row,), (target,))


def hostile(text: str) -> Snapshot:
    """A snapshot that says `text` wherever text can stand."""
    school = School(text, text, text, None, text, not_scanned={text: 3})
    control = ControlInfo(
        text, 1, text, text, Severity.CRITICAL, text, "items", text, FixInfo(text, True, text, True, 3)
    )
    targets = (
        TargetInfo(f"t/{text}", text, text, Kind.DEVICE, text, TargetState.UNREACHABLE, text, NOON),
        TargetInfo(f"d/{text}", text, None, Kind.DIRECTORY, text, TargetState.PARTIAL, text, None, (text,)),
    )
    rows = []
    for target, school_key in ((targets[0], text), (targets[1], None)):
        for n, verdict in enumerate(Verdict):
            finding = Finding(
                text,
                1,
                target.id,
                school_key,
                verdict,
                text,
                text,
                text,
                (Offender(text, text, text), Offender(f"{text}2", text)),
                2,
                1,
                text,
            )
            rows.append(
                Row(finding, exception=text if n == 0 else None, new_offenders=finding.offenders, evidence=text)
            )
    exceptions = tuple(ExceptionInfo(text, text, text, text, text, text, NOON.date(), s) for s in ExceptionState)
    answers = (AttestationInfo(text, text, text, True, text, NOON.date(), NOON.date(), text),)
    return Snapshot(
        text,
        text,
        NOON,
        NOON,
        (school,),
        {text: control},
        tuple(rows),
        targets,
        (NotCovered(text, text, text, text),),
        exceptions,
        answers,
        owners={"": text, text: text},
        version=text,
    )
