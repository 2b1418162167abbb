"""Reads `baselines/data/switch-defaults.yml` when `agent.derive.switch_defaults` first asks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from agent.derive import switch_defaults
from agent.errors import ConfigError
from agent.resources import data_dir
from agent.yamlfile import read

NAME = "switch-defaults.yml"


@lru_cache(maxsize=1)
def table() -> dict[str, list[dict[str, Any]]]:
    """Entries by platform, as the file says. Raises `ConfigError` when the file is damaged."""
    path = data_dir("baselines") / "data" / NAME
    data = read(path, f"baselines/data/{NAME}").data
    platforms = data.get("platforms") if isinstance(data, dict) else None
    if not isinstance(platforms, dict) or not platforms:
        raise ConfigError("holds no platforms.", file=str(path), key="platforms")
    return platforms


switch_defaults.provide(table)
