"""Placeholders that literals and parameters may hold, filled in per directory and school. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PLACEHOLDER = re.compile(r"\{(base_dn|code|codes|upn_suffix)\}")


def fill(
    value: Any,
    fills: Mapping[str, Any],
    *,
    pattern: bool = False,
    seen: set[str] | None = None,
    missing: set[str] | None = None,
) -> Any:
    """Put placeholders in: `{base_dn} {code} {codes} {upn_suffix}`; other braces are literal.

    In a pattern each value is escaped, and `{codes}` becomes `(?:A|B|C)`. A placeholder without a value stays, and is
    noted in `missing`; all that were met are noted in `seen`.
    """
    if isinstance(value, str):

        def put(match: re.Match[str]) -> str:
            name = match[1]
            if seen is not None:
                seen.add(name)
            got = fills.get(name)
            words = [str(g or "") for g in got] if isinstance(got, (list, tuple)) else [str(got or "")]
            if not all(words) or not words:
                if missing is not None:
                    missing.add(name)
                return match[0]
            if not pattern:
                return ", ".join(words)
            joined = "|".join(re.escape(w) for w in words)
            return f"(?:{joined})" if isinstance(got, (list, tuple)) else joined

        return _PLACEHOLDER.sub(put, value)
    if isinstance(value, list):
        return [fill(v, fills, pattern=pattern, seen=seen, missing=missing) for v in value]
    if isinstance(value, dict):
        return {k: fill(v, fills, pattern=pattern, seen=seen, missing=missing) for k, v in value.items()}
    return value
