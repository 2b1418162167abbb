"""How readings are written down: JSON, compressed; long lists of alike records column by column. Pure.

A directory's list of 50,000 people holds the same field names 50,000 times, and what is alike stands far apart: by
columns it takes a third of the room, and it is written piece by piece, so that it is never in memory as one text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import zstandard

from agent.conform import from_json
from agent.errors import StoreError
from agent.model import Partial, Unknown
from agent.store.engine import DAMAGED

LONG = 200
"""Records from which a list is written by columns."""
MAX_INFLATED = 512 << 20
"""Far above the largest list of a directory; a damaged store must not fill the memory."""
PIECE = 1 << 20
_COLUMNS, _ROWS = "$columns", "$rows"


def pack(value: Any) -> tuple[str, bytes]:
    """A reading's value, or any JSON value → (hash of the text, compressed text). Equal values have equal hashes."""
    digest, squeeze = hashlib.sha256(), zstandard.ZstdCompressor(level=3).compressobj()
    out = []
    for text in _texts(value):
        raw = text.encode()
        digest.update(raw)
        out.append(squeeze.compress(raw))
    out.append(squeeze.flush())
    return digest.hexdigest(), b"".join(out)


def unpack(body: bytes) -> Any:
    """The JSON value that `pack` wrote, columns and markers as they stand. Raises `StoreError` for anything else."""
    try:
        return json.loads(_inflated(body))
    except (zstandard.ZstdError, ValueError) as e:
        raise StoreError(*DAMAGED) from e


def value_of(written: Any) -> Any:
    """A reading's value from what `unpack` gives. Raises `StoreError` for columns that do not fit together."""
    if isinstance(written, dict):
        if _COLUMNS in written:
            return _rows(written)
        if "$partial" in written and isinstance(written["$partial"], dict):
            return Partial(tuple(_rows(written["$partial"])), from_json(written["$why"]))
    return from_json(written)


def _inflated(body: bytes) -> bytes:
    out, size = [], 0
    with zstandard.ZstdDecompressor().stream_reader(body) as reader:
        while piece := reader.read(PIECE):
            out.append(piece)
            size += len(piece)
            if size > MAX_INFLATED:
                raise ValueError("too large to be a reading")
    return b"".join(out)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), sort_keys=True, default=_marker)


def _marker(value: Any) -> Any:
    """What JSON has no word for; as `agent.conform.to_json` writes it."""
    if isinstance(value, Unknown):
        return {"$unknown": [value.reason.value, value.detail]}
    if isinstance(value, Partial):
        return {"$partial": value.items, "$why": value.why}
    raise TypeError(f"a {type(value).__name__} is no part of a reading")


def _texts(value: Any) -> Iterator[str]:
    items = value.items if isinstance(value, Partial) else value
    if not isinstance(items, list | tuple) or len(items) < LONG or not _alike(items):
        yield _dumps(value)
        return
    partial = isinstance(value, Partial)
    yield '{"$partial":' if partial else ""
    for number, name in enumerate(sorted(items[0])):
        yield f"{',' if number else '{' + json.dumps(_COLUMNS) + ':{'}{json.dumps(name)}:"
        yield _dumps([item[name] for item in items])
    yield f"}},{json.dumps(_ROWS)}:{len(items)}}}"
    if partial:
        yield f',"$why":{_dumps(value.why)}}}'


def _alike(items: Any) -> bool:
    """Whether all are records of the same fields; not one may be a marker, or look like one."""
    first = items[0]
    if not isinstance(first, dict) or not first or any(name.startswith("$") for name in first):
        return False
    keys = first.keys()
    return all([i.__class__ is dict and i.keys() == keys for i in items])


def _rows(written: Any) -> list[dict[str, Any]]:
    try:
        columns, size = written[_COLUMNS], written[_ROWS]
        if any(len(column) != size for column in columns.values()):
            raise ValueError("columns of different lengths")
        nested = {name: any(v.__class__ in (dict, list) for v in column) for name, column in columns.items()}
        parts = [[from_json(v) for v in c] if nested[name] else c for name, c in columns.items()]
        names = list(columns)
        return [dict(zip(names, row, strict=True)) for row in zip(*parts, strict=True)]
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise StoreError(*DAMAGED) from e
