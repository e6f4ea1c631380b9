"""What a hub knows of having been restored: which history this is, and reservations of nodes that no request holds."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Makes their tables."""
    # Names are sorted by their bytes, whatever the locale of the database.
    name = sa.Text(collation="C") if op.get_bind().dialect.name == "postgresql" else sa.Text()
    op.create_table(
        "origin",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "orphan",
        sa.Column("reservation", name, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
