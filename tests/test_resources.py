"""The shipped files are found from a checkout and from an installed wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from agent.errors import SpiritlevelError
from agent.resources import KINDS, data_dir

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkout_uses_the_folders_beside_the_package(kind: str) -> None:
    assert data_dir(kind) == ROOT / kind


def test_an_installed_package_uses_its_own_copy(tmp_path: Path) -> None:
    package = tmp_path / "agent"
    (package / "_data" / "reports").mkdir(parents=True)
    (tmp_path / "reports").mkdir()  # a stranger's folder in site-packages
    assert data_dir("reports", package) == package / "_data" / "reports"


def test_a_checkout_goes_before_a_copy(tmp_path: Path) -> None:
    package = tmp_path / "agent"
    (package / "_data" / "reports").mkdir(parents=True)
    (tmp_path / "reports").mkdir()
    (tmp_path / "pyproject.toml").touch()
    assert data_dir("reports", package) == tmp_path / "reports"


def test_a_damaged_installation_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SpiritlevelError, match=r"missing.*Install spiritlevel again"):
        data_dir("playbooks", tmp_path / "agent")


def test_another_kind_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no such kind"):
        data_dir("secrets")


@pytest.mark.slow
def test_a_wheel_carries_the_files_and_finds_them(tmp_path: Path) -> None:
    # A copy, so that the build leaves nothing behind in the checkout.
    source, out, site = tmp_path / "source", tmp_path / "out", tmp_path / "site"
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("agent", *KINDS):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=source, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (wheel,) = out.glob("spiritlevel-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(site)

    expected = {
        f"agent/_data/{path.relative_to(source).as_posix()}"
        for kind in KINDS
        for path in (source / kind).rglob("*")
        if path.is_file()
    }
    expected |= {path.relative_to(source).as_posix() for path in (source / "agent").rglob("*") if path.is_file()}
    missing = {name for name in expected - names if not name.endswith((".pyc", "~", ".swp"))}
    assert not missing
    assert not any(name.startswith(("tests/", "baselines/", "playbooks/", "reports/")) for name in names)

    present = [kind for kind in KINDS if any((source / kind).iterdir())]
    found = subprocess.run(
        [sys.executable, "-c", f"from agent.resources import data_dir\nfor k in {present!r}: print(data_dir(k))"],
        cwd=tmp_path, env={"PYTHONPATH": str(site)}, check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert found.stdout.split() == [str(site / "agent" / "_data" / kind) for kind in present]
