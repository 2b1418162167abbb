"""Readings come back from the store as they were, written by columns or not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from agent.conform import to_json
from agent.errors import StoreError
from agent.model import Partial, Reason, Unknown
from agent.store.columns import LONG, pack, unpack, value_of

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
unknowns = st.builds(Unknown, st.sampled_from(Reason), st.text(max_size=5))
values = scalars | unknowns | st.lists(scalars, max_size=3) | st.builds(Partial, st.tuples(scalars), unknowns)
names = st.sampled_from(["sid", "name", "members", "enabled", "ünï"])


@given(st.lists(st.fixed_dictionaries({"sid": values, "name": values}), max_size=4), st.booleans(), unknowns)
def test_long_lists_of_records_come_back(some: list[dict[str, Any]], partial: bool, why: Unknown) -> None:
    rows = [dict(some[n % len(some)]) if some else {"sid": n, "name": "x"} for n in range(LONG + 3)]
    value: Any = Partial(tuple(rows), why) if partial else rows
    digest, body = pack(value)
    assert value_of(unpack(body)) == value
    assert pack(value_of(unpack(body)))[0] == digest
    assert "$columns" in str(unpack(body))


@given(st.lists(st.dictionaries(names, values, max_size=3) | scalars | unknowns, max_size=5), st.integers(0, 2))
def test_anything_else_comes_back(some: list[Any], often: int) -> None:
    value = some * (often * LONG)
    assert value_of(unpack(pack(value)[1])) == value


def test_one_unknown_item_among_records_comes_back() -> None:
    value = [{"sid": str(n)} for n in range(LONG)] + [Unknown(Reason.PERMISSION, "read it")]
    assert value_of(unpack(pack(value)[1])) == value


def test_what_earlier_versions_wrote_is_read() -> None:
    value = [{"sid": str(n), "last_logon": Unknown(Reason.PERMISSION, "x")} for n in range(LONG)]
    text = json.dumps(to_json(value), ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    assert value_of(unpack(zstandard.ZstdCompressor(level=3).compress(text.encode()))) == value
    short = {"a": Unknown(Reason.PERMISSION), "b": [1, Partial((2,), Unknown(Reason.TRUNCATED))]}
    text = json.dumps(to_json(short), ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    assert unpack(pack(short)[1]) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"$columns":{"a":[1,2],"b":[1]},"$rows":2}',
        '{"$columns":{"a":[1,2]},"$rows":3}',
        '{"$columns":[1],"$rows":1}',
        '{"$columns":{"a":[{"$unknown":["no such reason","x"]}]},"$rows":1}',
    ],
)
def test_columns_that_do_not_fit_are_damage(text: str) -> None:
    with pytest.raises(StoreError):
        value_of(unpack(zstandard.ZstdCompressor().compress(text.encode())))


def test_garbage_is_damage() -> None:
    for body in (b"", b"garbage", zstandard.ZstdCompressor().compress(b"{")):
        with pytest.raises(StoreError):
            unpack(body)
