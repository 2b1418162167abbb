"""The store's tables, as they are now. How they came to be is in `agent/store/migrations`."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

METADATA = MetaData()

RUNS = Table(
    "runs",
    METADATA,
    Column("id", String(40), primary_key=True),  # sorts by time: 20261124T014500Z-1a2b
    Column("started", String(32), nullable=False),
    Column("finished", String(32)),
    Column("status", String(16), nullable=False),  # running, complete, interrupted
    Column("whole", Integer, nullable=False),  # 1 when every target and control was due
    Column("planned", Text, nullable=False),  # JSON: ids of targets that were due
    Column("selection", Text, nullable=False),  # JSON: what the command line narrowed
    Column("version", String(32), nullable=False),
)
TARGETS = Table(
    "targets",
    METADATA,
    Column("id", String(255), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("school", String(64)),
    Column("kind", String(16), nullable=False),
    Column("platform", String(32), nullable=False),
    Column("serves", Text, nullable=False),  # JSON list of school keys
    Column("first_run", String(40), nullable=False),
    Column("retired_run", String(40)),
)
RESULTS = Table(
    "results",
    METADATA,
    Column("run", String(40), primary_key=True),
    Column("target", String(255), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Column("as_of", String(32), nullable=False),
    Column("manifest", String(64)),  # null once the evidence is past its keep
    Column("ids", Text, nullable=False),
)
MANIFESTS = Table(
    "manifests",
    METADATA,
    Column("hash", String(64), primary_key=True),
    Column("body", LargeBinary, nullable=False),  # zstd of JSON {fact: chunk hash}
)
CHUNKS = Table(
    "chunks",
    METADATA,
    Column("hash", String(64), primary_key=True),
    Column("body", LargeBinary, nullable=False),  # zstd of JSON, agent.conform.to_json
)
SPANS = Table(
    "spans",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("target", String(255), nullable=False),
    Column("school", String(64), nullable=False),  # empty: the trust's own
    Column("control", String(128), nullable=False),
    Column("version", Integer, nullable=False),
    Column("rule", String(32), nullable=False),  # digest of check and parameters
    Column("verdict", String(16), nullable=False),
    Column("digest", String(32), nullable=False),
    Column("detail", String(64), nullable=False),
    Column("change", String(16), nullable=False),  # as it was when the span began
    Column("fresh", Text, nullable=False),  # JSON: keys of offenders that were new when the span began
    Column("since", String(40), nullable=False),  # run in which the present failing began, else first_run
    Column("first_run", String(40), nullable=False),
    Column("end_run", String(40)),  # last run in which it held; null: still holds
    Index("spans_open", "target", "end_run"),
    Index("spans_key", "target", "control", "school", "first_run"),
)
DETAILS = Table(
    "details",
    METADATA,
    Column("hash", String(64), primary_key=True),
    Column("body", LargeBinary, nullable=False),  # zstd of JSON: reason, expected, observed, offenders, count, possible
)
ACTIONS = Table(
    "actions",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", String(32), nullable=False),
    Column("who", String(128), nullable=False),
    Column("what", Text, nullable=False),  # JSON: verb, target, controls, outcome
)
