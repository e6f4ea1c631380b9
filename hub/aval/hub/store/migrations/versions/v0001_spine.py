"""The first schema: requests, the outbox, what callers asked, what nodes publish.

Each table holds the columns that something is found by, and a body in JSON. Instants are milliseconds since 1970.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "request",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("over", sa.SmallInteger, nullable=False),
        sa.Column("archived", sa.SmallInteger, nullable=False),
        sa.Column("on_behalf_of", sa.Text, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("request_reference", "request", ["reference"])
    op.create_index("request_archived", "request", ["archived", "name"])
    op.create_index("request_over", "request", ["over"])
    op.create_table(
        "ask",
        sa.Column("reservation", sa.Text, primary_key=True),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("establishment", sa.Text, nullable=False),
        sa.Column("asked_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ask_establishment", "ask", ["establishment", "request"])
    op.create_index("ask_asked_at", "ask", ["asked_at", "establishment"])
    op.create_table(
        "outbox",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False, unique=True),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("reservation", sa.Text, nullable=False),
        sa.Column("establishment", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("last_reason", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("outbox_establishment", "outbox", ["establishment", "position"])
    op.create_index("outbox_request", "outbox", ["request", "position"])
    op.create_table(
        "command",
        sa.Column("caller", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("stored_at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("command_stored_at", "command", ["stored_at"])
    op.create_table(
        "picture",
        sa.Column("establishment", sa.Text, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "picture_unit",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("establishment", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("picture_unit_establishment", "picture_unit", ["establishment"])
    op.create_table(
        "announcement",
        sa.Column("establishment", sa.Text, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "cursor_heard",
        sa.Column("establishment", sa.Text, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
