"""Lines: NDJSON, CSV, terminal rows, JUnit. What they say, in which order, and that nothing in them can act."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import date
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import Change, Offender, Verdict
from agent.render.exchange import junit_text
from agent.render.snapshot import Snapshot
from agent.render.tables import CELL, FIELDS, csv_text, ndjson, ndjson_text, plain_rows
from tests.render.check import hostile, tiny
from tests.render.sample import sample

XSD = Path(__file__).resolve().parent.parent / "fixtures" / "junit.xsd"
NASTY = (
    "<script>alert(1)</script>",
    "{{7*7}}",
    "{% raw %}",
    "=cmd()|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "a\x00b\x1b[31mred\x07",
    "\u202eevil\u2066",
    "x" * 10_000,
    "]]>",
    "&amp;'\"",
    "\ud800",
    "\ufffe",
    "",
    "\n\n",
    "\uff1d1",
)
texts = st.one_of(
    st.sampled_from(NASTY), st.text(max_size=30), st.text(alphabet="=+-@\t\r\n\"'<>&{}%\x00\x1b\u202e", max_size=12)
)


def parse(text: str) -> ET.Element:
    return ET.fromstring(text.encode())  # noqa: S314 - our own output


def lines(snapshot: Snapshot) -> list[dict]:
    return [json.loads(line) for line in ndjson(snapshot)]


def test_ndjson_fields_are_those_of_the_exchange_format() -> None:
    assert (
        tuple(
            "run run_started school target kind platform control version title theme severity verdict reason"
            " expected observed offenders offender_keys offender_count exception exception_expires change first_seen"
            " evidence".split()
        )
        == FIELDS
    )
    assert all(tuple(record) == FIELDS for record in lines(sample()))


def test_one_finding_reads_as_it_was_given() -> None:
    snap = tiny(expected="no", observed="yes", offenders=(Offender("k1", "root"),), offender_count=1)
    row = replace(
        snap.rows[0],
        change=Change.NEW,
        first_seen=snap.run_started,
        exception="until moved",
        exception_expires=date(2027, 1, 2),
        evidence="sha256:x",
    )
    assert lines(replace(snap, rows=(row,))) == [
        {
            "run": "run-1",
            "run_started": "2026-11-24T12:00:00Z",
            "school": "oak",
            "target": "srv",
            "kind": "device",
            "platform": "linux",
            "control": "linux.a",
            "version": 1,
            "title": "A holds",
            "theme": "identity",
            "severity": "high",
            "verdict": "fail",
            "reason": "",
            "expected": "no",
            "observed": "yes",
            "offenders": ["root"],
            "offender_keys": ["k1"],
            "offender_count": 1,
            "exception": "until moved",
            "exception_expires": "2027-01-02",
            "change": "new",
            "first_seen": "2026-11-24T12:00:00Z",
            "evidence": "sha256:x",
        }
    ]


def test_what_is_not_there_is_null() -> None:
    record = lines(tiny())[0]
    assert [record[f] for f in ("exception", "exception_expires", "change", "first_seen")] == [None] * 4


def test_order_does_not_depend_on_the_order_given() -> None:
    snap = sample()
    turned = replace(snap, rows=snap.rows[::-1])
    assert list(ndjson(snap)) == list(ndjson(turned))
    assert csv_text(snap) == csv_text(turned)
    assert junit_text(snap) == junit_text(turned)
    assert lines(snap)[0]["school"] is None


def test_offenders_are_at_most_a_thousand_and_counted_whole() -> None:
    many = tuple(Offender(f"k{n}", f"user{n}") for n in range(1500))
    record = lines(tiny(offenders=many, offender_count=4000))[0]
    assert (len(record["offenders"]), len(record["offender_keys"]), record["offender_count"]) == (1000, 1000, 4000)


def test_csv_has_the_same_columns_and_bounded_cells() -> None:
    many = tuple(Offender(f"k{n}", "CN=" + "x" * 90) for n in range(1000))
    rows = list(csv.reader(io.StringIO(csv_text(tiny(offenders=many, offender_count=1000)), newline="")))
    assert tuple(rows[0]) == FIELDS
    assert len(rows) == 2
    assert max(map(len, rows[1])) < CELL + 100


@pytest.mark.parametrize("text", NASTY)
def test_hostile_text_in_every_format(text: str) -> None:
    acts_nowhere(text)


@settings(max_examples=60, deadline=None)
@given(texts)
def test_hostile_text_in_every_format_generated(text: str) -> None:
    acts_nowhere(text)


def acts_nowhere(text: str) -> None:
    snap = hostile(text)
    for line in ndjson(snap):
        assert line.isascii()
        assert line.count("\n") == 1
        json.loads(line.encode())
    text_of = csv_text(snap)
    text_of.encode()
    for row in csv.reader(io.StringIO(text_of, newline="")):
        assert len(row) == len(FIELDS)
        for cell in row:
            assert not re.match(r"[\s'\"]*[=+\-@\uff1d]|[\t\r]", cell) or cell.startswith("'")
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", cell)
    for columns in plain_rows(snap):
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "".join(columns))
    root = parse(junit_text(snap))
    assert {e.tag for e in root.iter()} <= {"testsuites", "testsuite", "testcase", "failure", "error", "skipped"}


def test_ndjson_keeps_text_exactly() -> None:
    assert lines(tiny(observed="a\x00\u202e=1\n"))[0]["observed"] == "a\x00\u202e=1\n"


@pytest.mark.parametrize(
    ("verdict", "excused", "tag"),
    [
        ("pass", False, None),
        ("fail", False, "failure"),
        ("unknown", False, "error"),
        ("manual", False, "skipped"),
        ("not_applicable", False, "skipped"),
        ("fail", True, "skipped"),
        ("unknown", True, "skipped"),
        ("pass", True, None),
    ],
)
def test_junit_outcomes(verdict: str, excused: bool, tag: str | None) -> None:
    snap = tiny(Verdict(verdict), reason="because")
    if excused:
        snap = replace(snap, rows=(replace(snap.rows[0], exception="agreed", exception_expires=date(2027, 1, 2)),))
    case = parse(junit_text(snap)).find("testsuite/testcase")
    assert case is not None
    assert [e.tag for e in case] == ([tag] if tag else [])
    if excused and tag:
        assert case[0].get("message") == f"accepted until 2027-01-02 ({verdict}): agreed"


def test_junit_numbers_add_up() -> None:
    root = parse(junit_text(sample()))
    for element in (root, *root):
        cases = list(element.iter("testcase"))
        assert element.get("tests") == str(len(cases))
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert element.get(attribute) == str(sum(c.find(tag) is not None for c in cases))


@pytest.mark.skipif(not shutil.which("xmllint"), reason="xmllint is not here (Debian: libxml2-utils)")
def test_junit_fits_the_schema(tmp_path: Path) -> None:
    nasty = hostile("\x00<&\u202e")
    # One control has one finding on a target: the schema holds us to that.
    for name, snap in (("sample", sample()), ("hostile", replace(nasty, rows=nasty.rows[1::5]))):
        (tmp_path / f"{name}.xml").write_text(junit_text(snap))
        done = subprocess.run(
            ["xmllint", "--noout", "--schema", XSD, tmp_path / f"{name}.xml"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_plain_rows_say_what_is_wrong() -> None:
    assert plain_rows(tiny(observed="yes")) == [("oak", "srv", "linux.a", "fail", "", "yes")]
    snap = tiny(Verdict.UNKNOWN, reason="permission missing: sudo")
    assert (
        plain_rows(replace(snap, rows=(replace(snap.rows[0], exception="agreed"),)))[0][5]
        == "(accepted: agreed) permission missing: sudo"
    )


@pytest.mark.parametrize(
    ("name", "make"),
    [("findings.ndjson", ndjson_text), ("findings.csv", csv_text), ("findings.xml", junit_text)],
)
def test_golden(golden, name: str, make) -> None:
    snap = sample()
    few = replace(snap, rows=tuple(r for r in snap.rows if r.finding.target in ("millbrook/print", "trust-m365")))
    golden(f"render/{name}", make(few).replace("\r\n", "\n"))
