"""A checksum beside each row that a node reads at its start; the node makes them, now and when it writes."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = (
    "establishment", "unit", "room", "bed", "places", "stay", "expected", "closure", "correction", "word",
    "reservation", "tombstone", "conflict", "parked", "doubt", "movement", "command", "serial", "restore",
    "reconciling", "reinstated", "story", "revision", "source_proof",
)  # fmt: skip


def upgrade() -> None:
    """Adds the column."""
    for table in TABLES:
        op.add_column(table, sa.Column("sum", sa.Integer, nullable=False, server_default=sa.text("0")))
