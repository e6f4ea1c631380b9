"""The stories of stays: what was told of each lately, from which it is told anew.

What a movement of a stay changed was kept with its record until now; the story of a stay begins with the stay as it
stands, so that this can be dropped. A cancellation of such a movement waits for a person. Why a movement waits names
the bed where it was one that was occupied, closed or unknown: these stay in the list, to be settled.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table, and takes out of the records of movements what is no more read."""
    op.create_table(
        "story",
        sa.Column("key", sa.Text, primary_key=True, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    write = sa.text("UPDATE movement SET body = :body WHERE key = :key")
    for key, body in connection.execute(sa.text("SELECT key, body FROM movement")).all():
        record = json.loads(body)
        undo = record.get("undo", {})
        if undo.pop("stays", None) or undo.pop("expected", None):
            # JSON as the node writes it: no spaces, letters as they are.
            text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
            connection.execute(write, {"key": key, "body": text})
