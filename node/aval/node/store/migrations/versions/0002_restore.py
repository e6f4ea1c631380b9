"""What a node knows of having been restored from a backup: that it was, and what people have still to compare."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KINDS = ("restore", "reconciling", "reinstated")


def upgrade() -> None:
    """Makes their tables."""
    for kind in KINDS:
        op.create_table(
            kind,
            sa.Column("key", sa.Text, primary_key=True, nullable=False),
            sa.Column("revision", sa.Integer, nullable=False),
            sa.Column("body", sa.Text, nullable=False),
            sqlite_with_rowid=False,
        )
