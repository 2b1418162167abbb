"""What it costs to start the command: CPU of a child that prints its help, beside one that does nothing."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]
TIMES = 10
WORDS = {"floor": ["-c", "pass"], "help": ["-m", "agent", "--help"], "version": ["-m", "agent", "--version"]}


def run() -> dict[str, Any]:
    """Measure, print, and give the numbers. The children take turns, so that a busy moment meets all of them."""
    spent: dict[str, list[float]] = {name: [] for name in WORDS}
    for _ in range(TIMES):
        for name, words in WORDS.items():
            spent[name].append(_cpu([sys.executable, *words]))
    out: dict[str, Any] = {}
    print(f"{'python ' + '…':28}{'least CPU ms':>14}{'median':>10}")
    for name, words in WORDS.items():
        least, middle = min(spent[name]) * 1e3, statistics.median(spent[name]) * 1e3
        print(f"{' '.join(words):28}{least:14.0f}{middle:10.0f}")
        out[name] = {"min_ms": round(least, 1), "median_ms": round(middle, 1)}
    return out


def _cpu(words: list[str]) -> float:
    """User and system seconds of one child."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, cwd=HERE, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
