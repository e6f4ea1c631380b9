"""The first schema: a table for each kind of fact, the history of revisions, the ages of sources, what this is."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KINDS = (
    "establishment",
    "unit",
    "room",
    "bed",
    "places",
    "stay",
    "expected",
    "closure",
    "correction",
    "word",
    "reservation",
    "tombstone",
    "conflict",
    "parked",
    "doubt",
    "movement",
    "command",
    "serial",
)
"""Written out, not imported: a migration says what the schema was then."""


def upgrade() -> None:
    """Makes all tables."""
    for kind in KINDS:
        op.create_table(
            kind,
            sa.Column("key", sa.Text, primary_key=True, nullable=False),
            sa.Column("revision", sa.Integer, nullable=False),
            sa.Column("body", sa.Text, nullable=False),
            sqlite_with_rowid=False,
        )
    op.create_table(
        "revision",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("as_of", sa.Text, nullable=False),
        sa.Column("touched", sa.Text),
    )
    op.create_table(
        "source_proof",
        sa.Column("source", sa.Text, primary_key=True, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.Text, primary_key=True, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
    )
