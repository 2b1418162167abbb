"""The store: the same on SQLite and PostgreSQL; whole after a crash, a full disk, a second process."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select, text, update

from agent.conform import from_json, to_json
from agent.errors import StoreBusy, StoreError, StoreTooNew, UsageError
from agent.model import (
    Change,
    Evidence,
    Finding,
    Kind,
    Offender,
    Partial,
    Reading,
    Reason,
    Target,
    TargetState,
    Unknown,
    Verdict,
)
from agent.store import Run, Store
from agent.store.spans import Kept
from agent.store.tables import CHUNKS, DETAILS, METADATA, RESULTS, SPANS
from tests.core import postgres

START = datetime(2026, 9, 1, 1, 0, tzinfo=UTC)
FACTS = {
    "words": ["a", "b"],
    "things": Partial(({"id": "1", "name": Unknown(Reason.PERMISSION, "sudo")},), Unknown(Reason.TRUNCATED, "page 3")),
    "opt": None,
    "number": Unknown(Reason.TIMED_OUT),
    "odd": "\x00\udce4 é €",
}


@pytest.fixture(scope="session")
def socket_folder() -> Iterator[str]:
    """The socket folder of a PostgreSQL cluster that lasts for the session."""
    if os.geteuid() != 0 or postgres.programs() is None:
        pytest.skip("PostgreSQL's server programs are not here, or this is not root")
    with postgres.cluster() as folder:
        yield folder


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.lab)])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Opens the one store of this test, as often as it is called."""
    if request.param == "sqlite":
        return lambda: Store.open(tmp_path / ".spiritlevel")
    import psycopg

    folder = request.getfixturevalue("socket_folder")
    name = f"t{time.monotonic_ns()}"
    with psycopg.connect(f"host={folder} user=postgres", autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}")
    return lambda: Store.open(tmp_path / ".spiritlevel", f"postgresql://postgres@/{name}?host={folder}")


@pytest.fixture
def store(opener: Callable[[], Store]) -> Iterator[Store]:
    """An open store."""
    with opener() as opened:
        yield opened


def target(name: str = "h1", school: str | None = "oak") -> Target:
    return Target(name, Kind.DEVICE if school else Kind.DIRECTORY, "testbox", school, serves=() if school else ("oak",))


def evidence(night: int = 0, name: str = "h1", facts: dict[str, Any] | None = None, **more: Any) -> Evidence:
    state = more.pop("state", TargetState.COLLECTED)
    when = START + timedelta(days=night, seconds=7)
    return Evidence(target(name), state, when, {n: Reading(v) for n, v in (facts or FACTS).items()}, **more)


def finding(verdict: Verdict = Verdict.PASS, *keys: str, control: str = "testbox.c", name: str = "oak/h1") -> Finding:
    names = tuple(Offender(k, k.upper(), "v") for k in keys)
    digest = f"{verdict.value}{''.join(keys)}"[:32]
    return Finding(control, 1, name, "oak", verdict, "why", "expected", "observed", names, len(keys), 0, digest)


def night(store: Store, number: int, *findings: Finding, rule: str = "rule1", **more: Any) -> Run:
    """One whole run of one target."""
    run = store.begin(START + timedelta(days=number), ["oak/h1"], {})
    store.save(run, evidence(number, **more), [(f, rule) for f in findings], {})
    store.finish(run, START + timedelta(days=number, minutes=5))
    return run


def count(store: Store, table: Any) -> int:
    with store._read() as db:
        return db.execute(select(func.count()).select_from(table)).scalar_one()


def one(store: Store, run: Run | None = None) -> Kept:
    [kept] = store.findings(run)
    return kept


# ------------------------------------------------------------------------------------------------------------ evidence


def test_evidence_comes_back_as_it_went_in(store: Store) -> None:
    run = night(store, 0, finding(), ids={"serial": "X1"}, detail="one page is missing", state=TargetState.PARTIAL)
    back = store.evidence("oak/h1")
    assert {n: r.value for n, r in back.facts.items()} == FACTS
    assert (back.target, back.state, back.detail, back.ids) == (
        target(),
        TargetState.PARTIAL,
        "one page is missing",
        {"serial": "X1"},
    )
    assert back.as_of == START + timedelta(seconds=7)
    assert store.done(run) == {"oak/h1"}
    assert [r.state for r in store.results(run)] == [TargetState.PARTIAL]
    assert store.last_read("oak/h1") == back.as_of
    with pytest.raises(UsageError, match="no evidence"):
        store.evidence("oak/h2")


UNKNOWNS = st.builds(Unknown, st.sampled_from(list(Reason)), st.text(max_size=5))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | UNKNOWNS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3)
        | st.builds(Partial, st.lists(inner, max_size=3).map(tuple), UNKNOWNS)
    ),
    max_leaves=12,
)


@given(JSON)
@settings(deadline=None)
def test_every_reading_survives_json(value: Any) -> None:
    from agent.store.columns import pack, unpack

    assert from_json(unpack(pack(to_json(value))[1])) == value


def test_equal_facts_cost_nothing_and_are_the_same_object(store: Store) -> None:
    night(store, 0, finding())
    before = count(store, CHUNKS)
    run = night(store, 1, finding())
    store.save(run, evidence(1, "h2"), [], {})
    assert count(store, CHUNKS) == before
    one_, other = store.evidence("oak/h1"), store.evidence("oak/h2")
    assert all(one_.facts[n] is other.facts[n] for n in FACTS)


def test_reading_is_whole_though_the_memory_of_readings_overflows(store: Store) -> None:
    from agent.store.content import Interner

    store._readings = Interner(limit=3)
    night(store, 0, finding())
    for _ in range(3):
        assert {n: r.value for n, r in store.evidence("oak/h1").facts.items()} == FACTS


# ------------------------------------------------------------------------------------------------------------ findings


def test_a_quiet_night_adds_no_row(store: Store) -> None:
    night(store, 0, finding(Verdict.FAIL, "a"))
    rows = [count(store, t) for t in (SPANS, DETAILS)]
    for i in range(1, 5):
        night(store, i, finding(Verdict.FAIL, "a"))
    assert [count(store, t) for t in (SPANS, DETAILS)] == rows


def test_findings_as_of_older_runs(store: Store) -> None:
    runs = [night(store, i, finding(v)) for i, v in enumerate([Verdict.PASS, Verdict.PASS, Verdict.FAIL, Verdict.PASS])]
    assert [one(store, r).finding.verdict.value for r in runs] == ["pass", "pass", "fail", "pass"]
    assert [one(store, r).change for r in runs] == [Change.NONE, Change.NONE, Change.REGRESSED, Change.RESOLVED]
    assert one(store).first_run == runs[3].id


def test_a_run_that_did_not_touch_a_target_shows_it_as_it_stood(store: Store) -> None:
    first = night(store, 0, finding(Verdict.FAIL, "a"))
    between = store.begin(START + timedelta(days=1), ["oak/h2"], {"limit": "h2"})
    store.save(between, evidence(1, "h2"), [], {})
    night(store, 2, finding(Verdict.PASS))
    assert [one(store, r).finding.verdict for r in (first, between)] == [Verdict.FAIL, Verdict.FAIL]


def test_failing_out_of_sight_and_failing_still(store: Store) -> None:
    first = night(store, 0, finding(Verdict.FAIL, "a"))
    night(store, 1, finding(Verdict.UNKNOWN))
    assert (one(store).change, one(store).since) == (Change.PERSISTING, first.id)
    assert one(store).known == finding(Verdict.FAIL, "a")
    night(store, 2, finding(Verdict.FAIL, "a", "b"))
    assert (one(store).change, one(store).since, one(store).fresh) == (Change.PERSISTING, first.id, frozenset("b"))
    night(store, 3, finding(Verdict.UNKNOWN))
    night(store, 4, finding(Verdict.PASS))
    assert one(store).change is Change.RESOLVED


def test_passing_out_of_sight_and_failing(store: Store) -> None:
    night(store, 0, finding(Verdict.PASS))
    night(store, 1, finding(Verdict.UNKNOWN))
    assert one(store).change is Change.LOST_SIGHT
    last = night(store, 2, finding(Verdict.FAIL, "a"))
    assert (one(store).change, one(store).since) == (Change.REGRESSED, last.id)


def test_not_applicable_retires_what_failed(store: Store) -> None:
    night(store, 0, finding(Verdict.FAIL))
    night(store, 1, finding(Verdict.NOT_APPLICABLE))
    assert one(store).change is Change.RETIRED
    night(store, 2, finding(Verdict.UNKNOWN))
    assert one(store).change is Change.NONE
    night(store, 3, finding(Verdict.FAIL))
    assert one(store).change is Change.NEW


def test_a_target_that_leaves_is_retired_and_new_when_it_comes_back(store: Store) -> None:
    night(store, 0, finding(Verdict.FAIL, "a"), finding(Verdict.PASS, control="testbox.d"))
    gone = store.begin(START + timedelta(days=1), [], {})
    assert store.retire(gone, []) == ["oak/h1"]
    assert store.retire(gone, []) == []
    assert store.findings() == []
    assert store.latest() == []
    assert [(k.finding.control, k.change) for k in store.findings(gone)] == [("testbox.c", Change.RETIRED)]
    night(store, 2, finding(Verdict.UNKNOWN), finding(Verdict.PASS, control="testbox.d"))
    assert {k.change for k in store.findings()} == {Change.NONE}
    night(store, 3, finding(Verdict.FAIL, "a"), finding(Verdict.PASS, control="testbox.d"))
    assert [k.change for k in store.findings()] == [Change.NEW, Change.NONE]
    assert [r.target.id for r in store.latest()] == ["oak/h1"]


def test_what_failed_when_sight_was_lost_is_retired_too(store: Store) -> None:
    night(store, 0, finding(Verdict.FAIL, "a"))
    night(store, 1, finding(Verdict.UNKNOWN))
    gone = store.begin(START + timedelta(days=2), [], {})
    store.retire(gone, [])
    assert [k.change for k in store.findings(gone)] == [Change.RETIRED]
    night(store, 3, finding(Verdict.FAIL, "a"))
    assert one(store).change is Change.NEW


def test_a_control_that_leaves_the_baseline_ends_without_a_word(store: Store) -> None:
    first = night(store, 0, finding(Verdict.FAIL, "a"), finding(control="testbox.d"))
    night(store, 1, finding(control="testbox.d"))
    assert [k.finding.control for k in store.findings()] == ["testbox.d"]
    assert len(store.findings(first)) == 2
    narrowed = store.begin(START + timedelta(days=2), ["oak/h1"], {"controls": ["x"]})
    store.save(narrowed, evidence(2), [], {}, whole=False)
    assert [k.finding.control for k in store.findings()] == ["testbox.d"], "what was left out still stands"


def test_a_changed_rule_is_rebaselined(store: Store) -> None:
    night(store, 0, finding(Verdict.PASS))
    assert store.rules("oak/h1") == {("testbox.c", "oak"): "rule1"}
    run = store.begin(START + timedelta(days=1), ["oak/h1"], {})
    again = {("testbox.c", "oak"): finding(Verdict.FAIL, "a")}
    store.save(run, evidence(1), [(finding(Verdict.FAIL, "a", "b"), "rule2")], again)
    assert (one(store).change, one(store).fresh, one(store).rule) == (Change.REBASELINED, frozenset("b"), "rule2")


def test_a_rule_that_changes_while_a_target_is_away_is_remembered(store: Store) -> None:
    key = ("testbox.c", "oak")
    night(store, 0, finding(Verdict.FAIL, "a"))
    away = store.begin(START + timedelta(days=1), ["oak/h1"], {})
    store.save(away, evidence(1), [(finding(Verdict.UNKNOWN), "rule2")], {key: finding(Verdict.PASS)})
    assert one(store).change is Change.PERSISTING
    assert store.rules("oak/h1")[key] == "rule1", "nothing real was judged by the new rule yet"
    rows = count(store, SPANS)
    night(store, 2, finding(Verdict.UNKNOWN), rule="rule2")
    assert count(store, SPANS) == rows
    back = store.begin(START + timedelta(days=3), ["oak/h1"], {})
    store.save(back, evidence(3), [(finding(Verdict.PASS), "rule2")], {key: finding(Verdict.UNKNOWN)})
    assert one(store).change is Change.REBASELINED
    assert one(store).rule == "rule2"


def test_saving_a_target_twice_in_a_run(store: Store) -> None:
    night(store, 0, finding(Verdict.PASS))
    run = night(store, 1, finding(Verdict.FAIL, "a"))
    store.save(run, evidence(1), [(finding(Verdict.FAIL, "a"), "rule1")], {})
    assert one(store).change is Change.REGRESSED
    store.save(run, evidence(1), [(finding(Verdict.FAIL, "a", "b"), "rule1")], {})
    assert (one(store).change, one(store).fresh) == (Change.REGRESSED, frozenset("ab"))
    store.save(run, evidence(1), [(finding(Verdict.PASS), "rule1")], {})
    assert (one(store).change, one(store).finding.verdict) == (Change.NONE, Verdict.PASS)
    assert count(store, SPANS) == 1


# ---------------------------------------------------------------------------------------------------------------- runs


def test_runs_by_name_and_date(store: Store) -> None:
    with pytest.raises(UsageError, match="no scan yet"):
        store.run()
    runs = [night(store, i, finding()) for i in range(3)]
    assert store.run().id == runs[2].id
    assert store.run("previous").id == runs[1].id
    assert store.run(runs[0].id[:12]).id == runs[0].id
    assert store.run("2026-09-02").id == runs[1].id
    assert store.run("2026-09-02T00:30").id == runs[0].id
    assert store.run("2030-01-01").id == runs[2].id
    with pytest.raises(UsageError, match="the first was 2026-09-01"):
        store.run("2026-08-31")
    with pytest.raises(UsageError, match="no run 'nonsense'"):
        store.run("nonsense")


def test_runs_of_one_second_and_of_a_clock_put_back_keep_their_order(store: Store) -> None:
    runs = [store.begin(START, [], {}) for _ in range(30)]
    runs.append(store.begin(START - timedelta(hours=1), [], {}))
    assert [r.id for r in runs] == sorted({r.id for r in runs})
    assert store.run().id == runs[-1].id
    with store._write() as db:
        db.execute(text("UPDATE runs SET id = '20991231T000000Z-ffff' WHERE id = :id"), {"id": runs[-1].id})
    later = [store.begin(START, [], {}).id for _ in range(2)]
    assert ["20991231T000000Z-ffff", *later] == sorted(["20991231T000000Z-ffff", *later])


def test_an_interrupted_run_is_taken_up_again(store: Store) -> None:
    run = store.begin(START, ["oak/h1", "oak/h2"], {})
    store.save(run, evidence(), [(finding(), "r")], {})
    store.begin(START + timedelta(hours=1), [], {})
    assert [r.status for r in store.runs()] == ["interrupted", "running"]
    store.finish(store.reopen(run), START + timedelta(hours=2))
    assert store.runs()[0].status == "complete"
    assert set(run.planned) - store.done(run) == {"oak/h2"}


# ------------------------------------------------------------------------------------------------------ keeping little


def test_purge_keeps_counts_and_drops_evidence_and_names(store: Store) -> None:
    night(store, 0, finding(Verdict.FAIL, "jbloggs"))
    night(store, 1, finding(Verdict.PASS), facts={"words": ["later"]})
    assert store.purge(START + timedelta(days=35)) == 0
    assert store.purge(START + timedelta(days=35, minutes=1)) == len(FACTS)
    assert store.evidence("oak/h1").facts["words"].value == ["later"]
    store.purge(START + timedelta(days=89))
    first = store.runs()[0]
    assert one(store, first).finding.offenders[0].label == "JBLOGGS"
    store.purge(START + timedelta(days=92))
    kept = one(store, first)
    assert (kept.finding.offenders, kept.finding.offender_count, kept.finding.verdict) == ((), 1, Verdict.FAIL)
    with store._read() as db:
        bodies = [row.body for row in db.execute(select(DETAILS.c.body))]
    from agent.store.columns import unpack

    assert "JBLOGGS" not in str([unpack(b) for b in bodies])
    with pytest.raises(UsageError, match="past its keep"):
        store.evidence("oak/h1")


def test_offenders_that_still_fail_keep_their_names(store: Store) -> None:
    night(store, 0, finding(Verdict.FAIL, "a"))
    store.purge(START + timedelta(days=400))
    assert one(store).finding.offenders[0].label == "A"


def test_actions_are_recorded(store: Store) -> None:
    store.record(START, "tech1", {"verb": "apply", "target": "oak/h1"})
    assert store.actions() == [{"at": "2026-09-01T01:00:00Z", "who": "tech1", "verb": "apply", "target": "oak/h1"}]


# ------------------------------------------------------------------------------------------------- layout and opening


def test_migrations_make_exactly_the_tables(store: Store) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with store._engine.connect() as db:
        assert compare_metadata(MigrationContext.configure(db, opts={"compare_type": True}), METADATA) == []


def test_a_newer_layout_is_left_alone(opener: Callable[[], Store]) -> None:
    with opener() as store:
        night(store, 0, finding())
        with store._write() as db:
            db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreTooNew, match="newer version"):
        opener()


def test_opening_without_a_scan(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no scan yet"):
        Store.open(tmp_path / ".spiritlevel", create=False)
    assert not (tmp_path / ".spiritlevel").exists()
    with Store.open(tmp_path / ".spiritlevel"):
        pass
    assert (tmp_path / ".spiritlevel").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / ".spiritlevel/store.sqlite").stat().st_mode & 0o777 == 0o600
    Store.open(tmp_path / ".spiritlevel", create=False).close()


@pytest.mark.parametrize("url", ["nonsense", "postgresql://u:hunter2@[bad", "nosuchdb://u:hunter2@h/x"])
def test_a_wrong_url_is_told_without_its_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store.open(tmp_path / "s", url)
    assert "hunter2" not in str(caught.value)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        Store.open(tmp_path / "s", f"postgresql://u:hunter2@/x?host={tmp_path}")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("damage", ["start", "middle", "chunk"])
def test_a_damaged_file_is_told(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / ".spiritlevel"
    with Store.open(folder) as store:
        night(store, 0, finding(), facts={f"f{i}": "x" * 50 + str(i) for i in range(400)})
    file = folder / "store.sqlite"
    if damage == "chunk":
        with sqlite3.connect(file) as db:
            db.execute("UPDATE chunks SET body = x'00112233'")
        db.close()
    else:
        raw = bytearray(file.read_bytes())
        begin = 0 if damage == "start" else 4096
        raw[begin : len(raw) if damage == "middle" else 100] = b"\x55" * (
            (len(raw) if damage == "middle" else 100) - begin
        )
        file.write_bytes(raw)
    with pytest.raises(StoreError, match="damaged"), Store.open(folder) as store:  # noqa: PT012 - one of them finds it
        store.evidence("oak/h1")
        store.findings()


# ------------------------------------------------------------------------------------------------------------- trouble


CHILD = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from tests.core.test_store import evidence, finding
from agent.model import Verdict
from agent.store import Store
with Store.open(Path(sys.argv[1])) as store, store.lock():
    run = store.begin(datetime(2026, 9, 2, tzinfo=UTC), [f"oak/h{i}" for i in range(500)], {})
    for i in range(500):
        facts = {f"f{j}": f"{i} {j}" * 50 for j in range(20)}
        store.save(run, evidence(1, f"h{i}", facts), [(finding(Verdict.FAIL, "a", name=f"oak/h{i}"), "r")], {})
        print(i, flush=True)
"""


def child(folder: Path, program: str = CHILD) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
    )


@pytest.mark.parametrize("after", [0, 7, 23])
def test_kill_9_loses_at_most_the_target_in_flight(tmp_path: Path, after: int) -> None:
    folder = tmp_path / ".spiritlevel"
    with child(folder) as running:
        assert running.stdout is not None
        last = -1
        for line in running.stdout:
            last = int(line)
            if last >= after:
                break
        running.send_signal(signal.SIGKILL)
        more = [int(x) for x in running.stdout.read().split()]
        last = max([last, *more])
    with Store.open(folder) as store, store.lock():
        [run] = store.runs()
        assert run.status == "running"
        saved = {int(t.removeprefix("oak/h")) for t in store.done(run)}
        assert saved in ({*range(last + 1)}, {*range(last + 2)})
        assert len(store.findings()) == len(saved)
        for i in saved:
            assert len(store.evidence(f"oak/h{i}").facts) == 20
        store.save(store.reopen(run), evidence(1, "h999"), [(finding(name="oak/h999"), "r")], {})


@pytest.mark.slow
def test_kill_9_while_the_store_is_made_leaves_nothing_half_made(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from agent.store import Store; Store.open(Path(sys.argv[1]))"
    for delay in (0.35, 0.45, 0.55, 0.65, 0.75, 0.9):
        folder = tmp_path / f"s{delay}"
        with child(folder, program) as running:
            time.sleep(delay)
            running.send_signal(signal.SIGKILL)
        with Store.open(folder) as store:
            night(store, 0, finding())
            assert len(list(store.findings())) == 1


def test_a_migration_that_is_broken_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic.operations import Operations

    made = Operations.create_index
    monkeypatch.setattr(Operations, "create_index", lambda *_a, **_k: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        Store.open(tmp_path / "s")
    with sqlite3.connect(tmp_path / "s/store.sqlite") as db:
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    db.close()
    monkeypatch.setattr(Operations, "create_index", made)
    Store.open(tmp_path / "s").close()


def test_a_second_scan_is_refused_by_name_and_start(opener: Callable[[], Store]) -> None:
    with opener() as store, opener() as second, store.lock():
        with pytest.raises(StoreBusy, match=rf"process {os.getpid()}, started 20\d\d-"), second.lock():
            pass
        assert second.runs() == [], "reading goes on"
    with opener() as store, store.lock():
        pass


@pytest.mark.lab
def test_a_scan_from_another_machine_is_refused(socket_folder: str, tmp_path: Path) -> None:
    url = f"postgresql://postgres@/postgres?host={socket_folder}"
    with Store.open(tmp_path / "a", url) as here, Store.open(tmp_path / "b", url) as there:
        with here.lock():
            here.begin(START, [], {})
            with pytest.raises(StoreBusy, match="another machine, started 2026-09-01"), there.lock():
                pass
        with there.lock():
            pass


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    folder = tmp_path / ".spiritlevel"
    with child(folder) as running:
        assert running.stdout is not None
        running.stdout.readline()
        with Store.open(folder) as store, pytest.raises(StoreBusy, match=f"process {running.pid}"), store.lock():
            pass
        running.kill()
    with Store.open(folder) as store, store.lock():
        pass


def test_two_processes_write_by_turns(tmp_path: Path) -> None:
    folder = tmp_path / ".spiritlevel"
    with child(folder) as running, Store.open(folder) as store:
        assert running.stdout is not None
        running.stdout.readline()
        for i in range(20):
            store.record(START, "me", {"n": i})
        assert running.poll() in (None, 0)  # still at it, or done on a machine that was busy with other things
        running.kill()
    with Store.open(folder) as store:
        assert len(store.actions()) == 20


def test_a_full_disk_is_told_and_what_was_saved_is_whole(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        night(store, 0, finding(Verdict.FAIL, "a"))

        def small(connection: Any, _: Any) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count={pages + 2}")

        store._engine.dispose()
        event.listen(store._engine, "connect", small)
        run = store.begin(START + timedelta(days=1), ["oak/h1"], {})
        with pytest.raises(StoreError, match="disk is full"):
            store.save(run, evidence(1, facts={"word": os.urandom(200_000).hex()}), [(finding(), "rule1")], {})
        assert store.done(run) == set()
        assert one(store).finding.verdict is Verdict.FAIL
        assert store.evidence("oak/h1").facts["words"].value == ["a", "b"]


def mounted(options: list[str], at: Path) -> None:
    done = subprocess.run(["mount", *options, str(at)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


@pytest.mark.lab
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_a_really_full_disk(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounted(["-t", "tmpfs", "-o", "size=600k", "tmpfs"], place)
    try:
        with Store.open(place / "s") as store:
            night(store, 0, finding(Verdict.FAIL, "a"))
            saved = 0
            with pytest.raises(StoreError, match="full"):  # noqa: PT012 - it fills up somewhere on the way
                for i in range(1, 60):
                    night(store, i, finding(Verdict.FAIL, "a"), facts={"word": os.urandom(8000).hex()})
                    saved = i
            assert saved
        with Store.open(place / "s") as store:
            assert one(store).finding.verdict is Verdict.FAIL
            done = [r for r in store.runs() if store.done(r)]
            assert len(done) >= saved + 1
            assert store.evidence("oak/h1").facts
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.lab
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_a_read_only_disk(tmp_path: Path) -> None:
    place = tmp_path / "trust"
    place.mkdir()
    with Store.open(place / "s") as store:
        night(store, 0, finding())
    mounted(["--bind", str(place)], place)
    try:
        mounted(["-o", "remount,bind,ro"], place)
        with pytest.raises(StoreError, match=r"read-only|cannot be written"), Store.open(place / "s") as store:
            store.begin(START, [], {})
        with pytest.raises(StoreError, match=r"[Rr]ead-only"):
            Store.open(place / "fresh")
    finally:
        subprocess.run(["umount", str(place)], check=True)
    with Store.open(place / "s") as store:
        assert len(store.findings()) == 1


def test_a_target_is_saved_whole_or_not_at_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from agent.store import spans

    night(store, 0, finding(Verdict.FAIL, "a"))
    run = store.begin(START + timedelta(days=1), ["oak/h1"], {})

    def broken(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spans, "close_missing", broken)
    with pytest.raises(StoreError, match="No space left"):
        store.save(run, evidence(1), [(finding(Verdict.PASS), "rule1")], {})
    assert one(store).finding.verdict is Verdict.FAIL
    assert store.done(run) == set()


def test_a_result_without_its_chunks_is_not_collected(store: Store) -> None:
    night(store, 0, finding())
    with store._write() as db:
        db.execute(CHUNKS.delete())
        db.execute(update(RESULTS).values(detail=""))
    with (store_again := store):
        assert store_again.evidence("oak/h1").facts == {}
