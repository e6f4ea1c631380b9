"""What several hubs on one PostgreSQL need; on SQLite, where a hub is alone, only the column that all share.

`revision` lets a hub find what has changed without reading every body. On PostgreSQL also: an index that keeps by
construction what a single writer keeps by being alone (a spoken reference has one live request); positions of commands
from a sequence, because two hubs that count rows would count the same number; and the tables of leases, of hubs and of
proofs of life, whose instants are the database's own clock.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

REVISIONS = {
    "sqlite": "UPDATE request SET revision = coalesce(json_extract(body, '$.request.revision'), 1)",
    "postgresql": "UPDATE request SET revision = coalesce((body::json -> 'request' ->> 'revision')::bigint, 1)",
}
"""Filled from the bodies of the requests that are there; a body leaves the first revision out."""


def upgrade() -> None:
    """Adds them."""
    engine = op.get_bind().dialect.name
    op.add_column("request", sa.Column("revision", sa.BigInteger, nullable=False, server_default="1"))
    op.execute(REVISIONS[engine])
    if engine == "postgresql":
        _share()


def _share() -> None:
    only_live = sa.text("over = 0")
    op.create_index("request_live_reference", "request", ["reference"], unique=True, postgresql_where=only_live)
    op.execute("CREATE SEQUENCE outbox_position OWNED BY outbox.position")
    op.execute("SELECT setval('outbox_position', (SELECT coalesce(max(position), 0) + 1 FROM outbox), false)")
    op.execute("ALTER TABLE outbox ALTER COLUMN position SET DEFAULT nextval('outbox_position')")
    # Names are sorted by their bytes, as everywhere else, whatever the locale of the database.
    for table, column in (
        ("request", "name"), ("outbox", "establishment"), ("picture", "establishment"), ("picture_unit", "name"),
        ("announcement", "establishment"), ("cursor_heard", "establishment"),
    ):  # fmt: skip
        op.alter_column(table, column, type_=sa.Text(collation="C"), existing_type=sa.Text, existing_nullable=False)
    op.create_table(
        "lease",
        sa.Column("establishment", sa.Text(collation="C"), primary_key=True),
        sa.Column("holder", sa.Integer, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("until", sa.TIMESTAMP(timezone=True), nullable=False),
    )
    op.create_table(
        "replica",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("until", sa.TIMESTAMP(timezone=True), nullable=False),
    )
    op.create_table(
        "proof",
        sa.Column("establishment", sa.Text(collation="C"), primary_key=True),
        sa.Column("heard_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
