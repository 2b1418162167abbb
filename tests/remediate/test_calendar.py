"""Days on which nothing is changed: who is frozen, what the bundle says, and the clash with updates that are due."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from agent import trust as trusts
from agent.errors import ConfigError
from agent.files import Freeze
from agent.plan import Selection
from agent.remediate import bundle
from agent.remediate.run import closed
from agent.remediate.windows import clash, frozen, frozen_days
from agent.store import Store
from tests.remediate import world


def freeze(name: str, begin: str, to: str, school: str | None = None) -> Freeze:
    return Freeze.model_validate({"name": name, "from": begin, "to": to, "school": school})


EXAMS = freeze("Exams", "2027-05-06", "2027-06-23", "oak")
AUDIT = freeze("Audit", "2027-06-20", "2027-07-10")
ALL = [EXAMS, AUDIT]


@pytest.mark.parametrize(
    ("school", "day", "name"),
    [
        ("oak", date(2027, 5, 5), None),
        ("oak", date(2027, 5, 6), "Exams"),
        ("oak", date(2027, 6, 19), "Exams"),
        ("oak", date(2027, 6, 20), "Audit"),
        ("oak", date(2027, 7, 10), "Audit"),
        ("oak", date(2027, 7, 11), None),
        ("elm", date(2027, 5, 6), None),
        ("elm", date(2027, 6, 20), "Audit"),
        (None, date(2027, 5, 6), "Exams"),
    ],
)
def test_first_and_last_day_count_and_what_is_shared_is_frozen_by_all(
    school: str | None, day: date, name: str | None
) -> None:
    found = frozen(ALL, school, day)
    assert (found.name if found else None) == name


def test_a_clash_takes_all_fourteen_days() -> None:
    assert clash([EXAMS], "oak", date(2027, 6, 9)) is EXAMS
    assert clash([EXAMS], "oak", date(2027, 6, 10)) is None, "the last day is within the 14 days"
    assert clash([EXAMS], "oak", date(2027, 5, 5)) is None, "there is a day left before it begins"
    assert clash([EXAMS], "elm", date(2027, 6, 9)) is None


def test_only_those_that_are_not_over_are_told() -> None:
    assert frozen_days(ALL, "elm", date(2027, 7, 10)) == [
        "Nothing is changed from 20 June 2027 to 10 July 2027: Audit."
    ]
    assert frozen_days(ALL, "oak", date(2027, 7, 11)) == []
    assert [t.rpartition(": ")[2] for t in frozen_days(ALL, "oak", date(2026, 1, 1))] == ["Exams.", "Audit."]


@pytest.mark.parametrize(
    "entry",
    [
        "{name: Exams, from: 2027-06-23, to: 2027-05-06}",
        "{name: Exams, from: soon, to: 2027-05-06}",
        "{name: Exams, to: 2027-05-06}",
        "{name: Exams, from: 2027-05-06, to: 2027-06-23, school: nowhere}",
    ],
)
def test_bad_ones_are_told(tmp_path: Path, entry: str) -> None:
    world.make(tmp_path / "t")
    (tmp_path / "t/trust.yml").write_text(f"{world.TRUST}freezes:\n  - {entry}\n")
    with pytest.raises(ConfigError, match=r"trust.yml"):
        trusts.load(tmp_path / "t")


def test_the_bundle_names_the_freeze_and_the_clash(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    world.make(folder)
    path = folder / "controls/linux/own-reboot.yml"
    path.write_text(path.read_text().replace("theme: devices", "theme: updates"))
    (folder / "trust.yml").write_text(
        f"{world.TRUST}freezes:\n  - {{name: Mocks, from: 2026-11-20, to: 2026-12-11, school: oak}}\n"
    )
    planner = world.load(folder)

    def built(today: date) -> Any:
        with Store.open(planner.trust.hidden) as store:
            (info,) = bundle(planner, store, Selection(), tmp_path / "out", today)
            return info, (info.folder / "README.md").read_text()

    with Store.open(planner.trust.hidden) as store:
        world.save(planner, store, world.USUAL)
    info, text = built(world.TODAY)
    assert "- Nothing is changed from 20 November 2026 to 11 December 2026: Mocks." in text
    assert "## Clashes\n\n- The kernel is the newest one (linux.own-reboot): high and critical updates are due" in text
    assert closed([info], planner, datetime(2026, 11, 24, 12, tzinfo=UTC)) == [
        "Oakfield *Primary* (Mocks, until 11 December 2026)"
    ]
    assert closed([info], planner, datetime(2026, 12, 12, 12, tzinfo=UTC)) == []
    _, later = built(date(2026, 12, 1))
    assert "## Clashes" not in later, "there are days left to do it in"
