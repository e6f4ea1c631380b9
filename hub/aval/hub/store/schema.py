"""The schema of the hub's store, and how a database of any earlier one is brought up to it, whichever engine holds it.

Migrations are Alembic's, inside the package, and run at start. A database of a newer schema is refused untouched: an
older program would not know what it must keep.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from aval.hub.store import sums

MIGRATIONS = Path(__file__).parent / "migrations"


class DatabaseUnusable(RuntimeError):
    """The database cannot be opened; the text says why and what to do."""


def is_current(connection: sa.Connection, database: str) -> bool:
    """Whether the schema is the newest. Raises `DatabaseUnusable` if it is newer still; `database` names it there."""
    known = ScriptDirectory.from_config(_config(connection))
    present = MigrationContext.configure(connection).get_current_revision()
    if present is not None and present not in {one.revision for one in known.walk_revisions()}:
        raise DatabaseUnusable(
            f"{database} was written by a newer version of Aval (schema {present}, this one knows up to"
            f" {known.get_current_head()}): install that version, or restore a backup made before"
        )
    return present == known.get_current_head()


def upgrade(connection: sa.Connection) -> None:
    """Brings the schema to the newest version, in the transaction that is open on the connection."""
    command.upgrade(_config(connection), "head")
    if connection.dialect.name == "sqlite":
        sums.make_anew(connection)


def _config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
