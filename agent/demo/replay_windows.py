"""Answers the Windows collector with what a machine once said, for any mark and any part of its questions.

A capture is the lines of one whole answer, and what was asked for then. Nothing here runs PowerShell: the script that
comes in is only read for its mark, its parts and the registry values that it asks for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from agent.demo.psrp_parts import Reply

NOTHING: Mapping[str, Any] = {"m": 1}
"""A registry key that the capture does not know of: not there."""


def replay(lines: Sequence[str], asked: Mapping[str, Any]) -> Callable[[str], Reply]:
    """A function from a script to its reply, as one machine. `asked` is what the capture was asked for."""
    parts: dict[str, str] = {}
    for head, body in pairwise(lines):
        if found := re.fullmatch(r"#[0-9a-f]+ (\w+) \d+", head):
            parts[found[1]] = body
    keys = dict(zip((str(q["p"]).lower() for q in asked["registry"]), _keys(parts["registry"]), strict=True))
    names = {str(q["p"]).lower(): [str(n).lower() for n in q["n"]] for q in asked["registry"]}

    def key(query: Mapping[str, Any]) -> Mapping[str, Any]:
        path = str(query["p"]).lower()
        known = keys.get(path, NOTHING)
        if "v" not in known:
            return known
        values = dict(zip(names[path], known["v"], strict=True))
        return {"c": known["c"], "v": [values.get(str(n).lower(), {"t": ""}) for n in query["n"]]}

    def answer(script: str) -> Reply:
        mark = re.search(r"(?m)^\$K = '([0-9a-f]+)'$", script)
        query = re.search(r"(?m)^\$A = ConvertFrom-Json '(.*)'$", script)
        if mark is None or query is None:
            return Reply(errors=["this is not the collector"], failed=True)
        wanted = json.loads(query[1].replace("''", "'"))
        out = []
        for name in re.findall(r"(?m)^Part '(\w+)'", script):
            body = parts.get(name, '{"e":{"t":"CommandNotFoundException","c":"","i":"","h":"0","w":"nothing"}}')
            if name == "registry":
                body = json.dumps({"v": {"keys": [key(q) for q in wanted.get("registry", [])]}}, separators=(",", ":"))
            out += [f"#{mark[1]} {name} {len(body)}", body]
        return Reply([*out, f"#{mark[1]} END"])

    return answer


def _keys(body: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = json.loads(body)["v"]["keys"]
    return found


__all__ = ["replay"]
