"""Reads the dated tables of support ends, for systems and programs, when `agent.derive.support` first asks."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from agent.derive import support
from agent.errors import ConfigError
from agent.resources import data_dir
from agent.yamlfile import read


@lru_cache(maxsize=1)
def table() -> dict[str, Any]:
    """Systems by os-release ID, as the file says. Raises `ConfigError` when the file is damaged."""
    path = data_dir("baselines") / "data" / "os-support.yml"
    data = read(path, "baselines/data/os-support.yml").data
    systems = data.get("systems") if isinstance(data, dict) else None
    if not isinstance(systems, dict) or not systems:
        raise ConfigError("holds no systems.", file=str(path), key="systems")
    return systems


@lru_cache(maxsize=1)
def programs() -> list[tuple[re.Pattern[str], re.Pattern[str] | None, str]]:
    """Rules of `baselines/data/software-support.yml`, in order. Raises `ConfigError` when the file is damaged."""
    path = data_dir("baselines") / "data" / "software-support.yml"
    data = read(path, "baselines/data/software-support.yml").data
    entries = data.get("programs") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ConfigError("holds no programs.", file=str(path), key="programs")
    out = []
    for entry in entries:
        version = entry.get("version")
        out.append((re.compile(entry["name"], re.I), re.compile(version) if version else None, str(entry["ends"])))
    return out


support.provide(table)
support.provide_programs(programs)
