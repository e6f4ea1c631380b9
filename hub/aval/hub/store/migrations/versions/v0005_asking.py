"""On PostgreSQL, which request an ask is of is sorted by its bytes, as the requests' own names are since version 2.

Two columns of different collations share no index: to find what a house is asked now, all that it was ever asked was
read.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Changes it."""
    if op.get_bind().dialect.name == "postgresql":
        by_bytes = sa.Text(collation="C")
        op.alter_column("ask", "request", type_=by_bytes, existing_type=sa.Text, existing_nullable=False)
