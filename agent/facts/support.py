"""Reads `baselines/data/os-support.yml`, the dated table of support ends, when `agent.derive.support` first asks."""

from __future__ import annotations

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


support.provide(table)
