"""On SQLite, a checksum beside each row, which the database makes and the hub compares at its start (`store.sums`)."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

TABLES = (
    "request", "ask", "outbox", "command", "picture", "picture_unit", "announcement", "cursor_heard", "origin",
    "orphan",
)  # fmt: skip


def upgrade() -> None:
    """Adds the column."""
    if op.get_bind().dialect.name == "sqlite":
        for table in TABLES:
            op.add_column(table, sa.Column("sum", sa.Integer, nullable=False, server_default=sa.text("0")))
