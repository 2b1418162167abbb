"""What all tests share: the labs, the order of tests, golden files, and one line about what was skipped."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.hosts import HostLab
from tests.lab.samba import SambaLab

GOLDEN = Path(__file__).resolve().parent / "golden"

# What costs more runs later, so that a simple mistake shows within seconds.
ORDER = ("slow", "lab", "browser")

# One host without drift, two that share out the drift items, and three that resist.
# What ties a scan up (slow, hang, flood) is left to tests that ask for it with make_host_lab.
HOST_LAB_DRIFT = {
    "h001": (),
    "h002": (
        "ssh-root ssh-password sysctl-forward sysctl-runtime sysctl-file no-auditd no-autoupdate ufw-off ntp-wrong"
        " old-agent telnetd uid0 empty-pw shadow-perm"
    ).split(),
    "h003": (
        "ssh-dropin ssh-match extra-sudoer nopasswd tmp-exec listener dns-wrong os-old tz-wrong suid-shell"
        " cron-writable"
    ).split(),
    "h004": ["no-sudo", "noisy", "busybox-sh", "ssh-x11"],
    "h005": ["keychange"],
    "h006": ["down"],
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --update-golden."""
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden with what the tests made")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, then slow ones, labs and browsers; the order within each group stays."""

    def rank(item: pytest.Item) -> int:
        return max((place for place, name in enumerate(ORDER, 1) if item.get_closest_marker(name)), default=0)

    items.sort(key=rank)
    for item in items:  # tests that share a lab stay together, also where tests run side by side: one lab per run
        if item.get_closest_marker("lab"):
            item.add_marker(pytest.mark.xdist_group("labs"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line: how many lab tests did not run here, and why."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.getreports("skipped"):
        if "lab" in report.keywords and isinstance(report.longrepr, tuple):
            words = str(report.longrepr[2]).removeprefix("Skipped: ")
            reasons["needs root" if words.startswith("needs root") else words] += 1
    if reasons:
        parts = ", ".join(f"{count} {why}" for why, count in reasons.most_common())
        terminalreporter.write_line(f"lab tests skipped: {parts}", yellow=True)


@pytest.fixture(scope="session")
def host_lab() -> Iterator[HostLab]:
    """Six hosts with HOST_LAB_DRIFT, shared by all tests: leave them as you found them (`reset` helps)."""
    _need(HostLab.available(), "hosts with their own sshd")
    lab = HostLab().start(len(HOST_LAB_DRIFT), HOST_LAB_DRIFT)
    yield lab
    lab.stop()


@pytest.fixture
def make_host_lab() -> Iterator[Callable[..., HostLab]]:
    """Makes labs for one test alone: `make_host_lab(2, {"h001": ["hang"]})`, with the arguments of HostLab.start."""
    labs: list[HostLab] = []

    def make(
        n: int, drift: dict[str, list[str]] | None = None, *, init: str = "systemd", login: str = "scan"
    ) -> HostLab:
        _need(HostLab.available(), "hosts with their own sshd")
        labs.append(HostLab())
        return labs[-1].start(n, drift, init=init, login=login)

    yield make
    for lab in labs:
        lab.stop()


@pytest.fixture(scope="session")
def samba_lab() -> Iterator[SambaLab]:
    """One seeded domain controller, shared by all tests: undo what you change (`snapshot` and `reset` help)."""
    _need(SambaLab.available(), "a Samba domain controller")
    lab = SambaLab().start()
    yield lab
    lab.stop()


def _need(available: tuple[bool, str], what: str) -> None:
    there, why = available
    if not there:
        pytest.skip(f"{why}: {what}")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)` compares with tests/golden/name; with --update-golden it rewrites that file instead."""
    update = bool(request.config.getoption("--update-golden"))

    def compare(name: str, text: str) -> None:
        path = (GOLDEN / name).resolve()
        assert path.is_relative_to(GOLDEN), f"{name} is outside tests/golden"
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
            return
        if not path.exists():
            pytest.fail(f"tests/golden/{name} does not exist: run pytest --update-golden, then read what it wrote")
        wanted = path.read_bytes().decode()
        if text != wanted:
            lines = list(
                difflib.unified_diff(wanted.splitlines(), text.splitlines(), f"golden/{name}", "now", lineterm="")
            )
            shown = "\n".join(lines[:80]) or "(only line ends differ)"
            more = f"\n… {len(lines) - 80} more lines" if len(lines) > 80 else ""
            pytest.fail(f"{name} changed; if that is right, run pytest --update-golden\n{shown}{more}", pytrace=False)

    return compare
