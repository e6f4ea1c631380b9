"""What is found by its age, so that it can be dropped: when a request last changed, whether it bears a reference of
another system, and which acts are kept without their answers.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

FILLED = {
    "sqlite": """
        UPDATE request SET
          changed_at = 1000 * CAST(strftime('%s', json_extract(body, '$.request.change_time')) AS INTEGER),
          linked = json_extract(body, '$.request.external_reference') IS NOT NULL
    """,
    "postgresql": """
        UPDATE request SET
          changed_at = 1000 * extract(epoch FROM (body::json -> 'request' ->> 'change_time')::timestamptz)::bigint,
          linked = (body::json -> 'request' -> 'external_reference' IS NOT NULL)::int
    """,
}
"""From the bodies of the requests that are there, to the second."""


def upgrade() -> None:
    """Adds them."""
    number = sa.SmallInteger
    op.add_column("request", sa.Column("changed_at", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("request", sa.Column("linked", number, nullable=False, server_default="0"))
    op.execute(FILLED[op.get_bind().dialect.name])
    op.create_index("request_age", "request", ["archived", "linked", "changed_at"])
    op.add_column("command", sa.Column("bare", number, nullable=False, server_default="0"))
    op.create_index("command_answer", "command", ["bare", "stored_at"])
