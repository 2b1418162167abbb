"""Rules of the house that no linter knows: what may be in the repository, and that the lock is whole."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import agent

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400
"""Of a module of agent/: past that nobody finds their way; split it along the architecture's lines."""

# Written in pieces, so that this file does not match itself.
REGISTRIES = re.compile(
    "|".join(
        rf"\b{name}\.{end}"
        for name, end in [
            ("py" + "pi", "org"),
            ("python" + "hosted", "org"),
            ("registry" + r"\.np" + "mjs", "org"),
            ("registry" + r"\.yarn" + "pkg", "com"),
            ("deb" + r"\.deb" + "ian", "org"),
            ("security" + r"\.deb" + "ian", "org"),
            ("archive" + r"\.ubu" + "ntu", "com"),
            ("galaxy" + r"\.ans" + "ible", "com"),
            ("crates", "io" + r"\b"),
            ("registry" + r"\.ter" + "raform", "io"),
        ]
    ),
    re.IGNORECASE,
)
# Where somebody happened to work: nothing may depend on such a place.
WORKPLACES = re.compile(r"(?<![\w./-])/(?:wo" + r"rk|fa" + r"rm|root/\.py" + r"env|opt/py" + r"pi)/")


def text_files() -> list[tuple[str, str]]:
    """(path, text) of every text file that is in the repository, or would be with the next commit."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    out = []
    for name in sorted(filter(None, listed.stdout.decode().split("\0"))):
        path = ROOT / name
        if not path.is_file() or path.is_symlink():
            continue
        try:
            out.append((name, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return out


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in text_files()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_package_registry() -> None:
    assert not lines_with(REGISTRIES)


def test_no_file_names_a_workplace() -> None:
    assert not lines_with(WORKPLACES)


@pytest.mark.parametrize(
    ("pattern", "bad"),
    [
        (REGISTRIES, "see https://" + "py" + "pi.org/simple"),
        (REGISTRIES, "files." + "python" + "hosted.org"),
        (WORKPLACES, "open('/" + "work/x')"),
        (WORKPLACES, "cd /" + "farm/one"),
    ],
)
def test_the_patterns_bite(pattern: re.Pattern[str], bad: str) -> None:
    assert pattern.search(bad)


@pytest.mark.parametrize("good", ["tests/work/x", "/var/work/x", "https://example.org/work/", "/workshop/x"])
def test_ordinary_paths_are_no_workplace(good: str) -> None:
    assert not WORKPLACES.search(good)


def test_the_lock_holds_packages_and_hashes_only() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert "file:" not in text
    assert "--index-url" not in text
    assert "--find-links" not in text
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[a-z0-9-]+==\S+", block), block
        assert "--hash=sha256:" in block, block


def test_the_lock_satisfies_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    for name, extra in project["project"]["optional-dependencies"].items():
        if name != "kerberos":  # comes as source and takes the system's headers: not everybody's to build
            wanted += extra
    wanted += project["build-system"]["requires"]
    locked: dict[str, str] = {}
    for name, version in re.findall(
        r"^([a-z0-9-]+)==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    ):
        locked[name] = version
    for requirement in map(Requirement, wanted):
        version = locked.get(canonicalize_name(requirement.name))
        assert version, f"{requirement} is not locked: run make lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} is locked at {version}"


def test_modules_stay_small() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in (ROOT / "agent").rglob("*.py")
        if (count := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert not long


def test_nothing_is_left_unfinished() -> None:
    marks = re.compile(r"#\s*(?:TO" + "DO|FIX" + "ME|XX" + "X|HA" + "CK)\\b|NotImpl" + "ementedError")
    assert not [line for line in lines_with(marks) if line.split(":")[0].endswith((".py", ".sh", ".yml", ".ps1"))]


def test_the_changelog_knows_the_version_or_what_comes_next() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in text or f"## [{agent.__version__}]" in text
