"""The schema of a node's database, and how it gets there from any earlier version.

One table a kind of fact, all of one shape: key, the revision that last wrote it, and the fact as JSON. Every query of a
node is answered from memory; the tables are read whole at start, so they need no other index. `revision` holds the
history, `source_proof` the ages of sources (which are no revisions), `meta` what the database is.

Alembic is loaded only when there is something to migrate: a database at `HEAD` does not pay for it at each start, nor
does a new one, which is made at once. A test holds that both ways give the same tables, and that `HEAD` is the last
migration.
"""

from pathlib import Path

from sqlalchemy import Column, Connection, Integer, LargeBinary, MetaData, Table, Text, inspect

from aval.node.model import Kind
from aval.node.ports import StorageRefused

HEAD = "0003"
"""The newest migration of this package."""

MIGRATIONS = Path(__file__).parent / "migrations"

METADATA = MetaData()

FACT_TABLES = {
    kind: Table(
        kind.value,
        METADATA,
        Column("key", Text, primary_key=True, nullable=False),
        Column("revision", Integer, nullable=False),
        Column("body", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    for kind in Kind
}
"""Without rowid: a write then touches one tree, not two."""

REVISION = Table(
    "revision",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, nullable=False),
    Column("as_of", Text, nullable=False),
    Column("touched", Text),
)

SOURCE_PROOF = Table(
    "source_proof",
    METADATA,
    Column("source", Text, primary_key=True, nullable=False),
    Column("at", Text, nullable=False),
)

META = Table(
    "meta",
    METADATA,
    Column("name", Text, primary_key=True, nullable=False),
    Column("value", Text, nullable=False),
)


INCARNATION = "incarnation"
"""The name in `meta` of the history's number."""

FORMER = "former"
"""The name in `meta` of the incarnation of the backup that this database was restored from."""


def prepare(connection: Connection, *, head: str = HEAD, migrations: Path = MIGRATIONS) -> None:
    """Makes the schema of a new database, or migrates an older one, in the connection's transaction.

    Raises `StorageRefused` for a database that a newer version wrote, or that is not a node's.
    """
    names = set(inspect(connection).get_table_names())
    if not names:
        METADATA.create_all(connection)
        connection.exec_driver_sql(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
            "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )
        connection.exec_driver_sql("INSERT INTO alembic_version (version_num) VALUES (?)", (HEAD,))
        return
    version = None
    if "alembic_version" in names:
        version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if version is None:
        raise StorageRefused("this file is a database, but not one of an Aval node: give another path as `database`")
    if version != head:
        migrate(connection, version, head, migrations)


def migrate(connection: Connection, version: str | None, head: str, migrations: Path) -> None:
    """Brings a database from `version` (None: empty) to `head`. Raises `StorageRefused` for an unknown version."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise StorageRefused(
            f"the database is at version {version}, which this program does not know (its newest is {head}): "
            "a newer Aval wrote it; install that version or a newer one"
        )
    command.upgrade(config, head)
