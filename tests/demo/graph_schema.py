"""Validate stand-in Graph objects against the extract of Microsoft's schema in tests/fixtures/graph-schema.json."""

from __future__ import annotations

import datetime
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

FIXTURE = Path(__file__).parents[1] / "fixtures" / "graph-schema.json"
PREFIX = "microsoft.graph."
# Types that Graph sends and the extract leaves out.
BEYOND = {
    "microsoft.graph.iPv4CidrRange": {"base": "microsoft.graph.ipRange", "props": {"cidrAddress": "Edm.String"}},
    "microsoft.graph.unifiedRoleDefinition": {
        "base": "microsoft.graph.entity",
        "props": {
            "displayName": "Edm.String",
            "isBuiltIn": "Edm.Boolean",
            "isEnabled": "Edm.Boolean",
            "templateId": "Edm.String",
        },
    },
}
# Navigation properties that are stored as ids of objects kept elsewhere.
BY_ID = {"members", "owners", "schools", "administrativeUnit"}
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
DURATION = re.compile(r"-?P(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?")


@cache
def schema() -> dict[str, Any]:
    """The extract."""
    loaded: dict[str, Any] = json.loads(FIXTURE.read_text(encoding="utf-8"))
    return loaded


@cache
def types() -> dict[str, Any]:
    """Every type, v1.0 before beta."""
    return {**schema()["beta"]["types"], **schema()["v1.0"]["types"], **BEYOND}


def ancestry(name: str) -> list[str]:
    """A type and its bases, nearest first."""
    found = []
    while name:
        found.append(name)
        name = types().get(name, {}).get("base") or ""
    return found


def properties(name: str) -> dict[str, str]:
    """Every property and navigation property of a type and its bases."""
    merged: dict[str, str] = {}
    for each in reversed(ancestry(name)):
        merged |= {**types().get(each, {}).get("props", {}), **types().get(each, {}).get("nav", {})}
    # The extract's `entity` is empty: `id` is its one property.
    return {"id": "Edm.String", **merged}


def faults(value: Any, declared: str, where: str) -> list[str]:
    """What is wrong with a value of a declared type; empty when nothing is."""
    if value is None:
        return []
    if declared.startswith("Collection("):
        inner = declared[len("Collection(") : -1]
        if isinstance(value, str) and "enum" in types().get(inner, {}):
            # The beta extract comes from an SDK, which turns flags into lists; on the wire they are one string.
            return [fault for part in value.split(",") for fault in faults(part, inner, where)]
        if not isinstance(value, list):
            return [f"{where}: {declared} is not a list"]
        name = where.rpartition(".")[2]
        if name in BY_ID and all(isinstance(item, str) for item in value):
            return [f"{where}: {item} is not an id" for item in value if not GUID.fullmatch(item)]
        return [fault for n, item in enumerate(value) for fault in faults(item, inner, f"{where}[{n}]")]
    if declared.startswith("Edm."):
        return [] if _primitive(value, declared) else [f"{where}: {value!r} is not {declared}"]
    if where.rpartition(".")[2] in BY_ID and isinstance(value, str):
        return [] if GUID.fullmatch(value) else [f"{where}: {value} is not an id"]
    known = types().get(declared)
    if known is None:
        return [f"{where}: the extract has no type {declared}"]
    if "enum" in known:
        parts = value.split(",") if known.get("flags") else [value]
        return [f"{where}: {part!r} is not a member of {declared}" for part in parts if part not in known["enum"]]
    if not isinstance(value, dict):
        return [f"{where}: {declared} is not an object"]
    return _object(value, declared, where)


def _object(value: dict[str, Any], declared: str, where: str) -> list[str]:
    actual = value.get("@odata.type", f"#{declared}").removeprefix("#")
    if actual not in types():
        return [f"{where}: the extract has no type {actual}"]
    found = [] if declared in ancestry(actual) else [f"{where}: {actual} is not a {declared}"]
    allowed = properties(actual)
    for key, item in value.items():
        if key.startswith("@odata."):
            continue
        if key not in allowed:
            found.append(f"{where}: {actual} has no property {key}")
        else:
            found += faults(item, allowed[key], f"{where}.{key}")
    return found


def _primitive(value: Any, declared: str) -> bool:
    match declared:
        case "Edm.Boolean":
            return isinstance(value, bool)
        case "Edm.Int32" | "Edm.Int64":
            return isinstance(value, int) and not isinstance(value, bool)
        case "Edm.Double":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "Edm.Guid":
            return isinstance(value, str) and GUID.fullmatch(value) is not None
        case "Edm.Duration":
            return isinstance(value, str) and DURATION.fullmatch(value) is not None
        case "Edm.DateTimeOffset":
            return isinstance(value, str) and value.endswith("Z") and bool(datetime.datetime.fromisoformat(value))
        case "Edm.Untyped":
            return True
        case _:
            return isinstance(value, str)
