"""The first store: runs, targets, evidence by content, findings as spans."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table of version 0.1.0."""
    text, string = sa.Text, sa.String
    op.create_table(
        "runs",
        sa.Column("id", string(40), primary_key=True),
        sa.Column("started", string(32), nullable=False),
        sa.Column("finished", string(32)),
        sa.Column("status", string(16), nullable=False),
        sa.Column("whole", sa.Integer, nullable=False),
        sa.Column("planned", text, nullable=False),
        sa.Column("selection", text, nullable=False),
        sa.Column("version", string(32), nullable=False),
    )
    op.create_table(
        "targets",
        sa.Column("id", string(255), primary_key=True),
        sa.Column("name", string(255), nullable=False),
        sa.Column("school", string(64)),
        sa.Column("kind", string(16), nullable=False),
        sa.Column("platform", string(32), nullable=False),
        sa.Column("serves", text, nullable=False),
        sa.Column("first_run", string(40), nullable=False),
        sa.Column("retired_run", string(40)),
    )
    op.create_table(
        "results",
        sa.Column("run", string(40), primary_key=True),
        sa.Column("target", string(255), primary_key=True),
        sa.Column("state", string(16), nullable=False),
        sa.Column("detail", text, nullable=False),
        sa.Column("as_of", string(32), nullable=False),
        sa.Column("manifest", string(64)),
        sa.Column("ids", text, nullable=False),
    )
    for name in ("manifests", "chunks", "details"):
        op.create_table(
            name,
            sa.Column("hash", string(64), primary_key=True),
            sa.Column("body", sa.LargeBinary, nullable=False),
        )
    op.create_table(
        "spans",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("target", string(255), nullable=False),
        sa.Column("school", string(64), nullable=False),
        sa.Column("control", string(128), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("rule", string(32), nullable=False),
        sa.Column("verdict", string(16), nullable=False),
        sa.Column("digest", string(32), nullable=False),
        sa.Column("detail", string(64), nullable=False),
        sa.Column("change", string(16), nullable=False),
        sa.Column("fresh", text, nullable=False),
        sa.Column("since", string(40), nullable=False),
        sa.Column("first_run", string(40), nullable=False),
        sa.Column("end_run", string(40)),
    )
    op.create_index("spans_open", "spans", ["target", "end_run"])
    op.create_index("spans_key", "spans", ["target", "control", "school", "first_run"])
    op.create_table(
        "actions",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", string(32), nullable=False),
        sa.Column("who", string(128), nullable=False),
        sa.Column("what", text, nullable=False),
    )
