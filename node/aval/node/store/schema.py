"""The schema of a node's database, and how it gets there from any earlier version.

One table a kind of fact, all of one shape: key, the revision that last wrote it, and the fact as JSON. Every query of a
node is answered from memory; the tables are read whole at start, so they need no other index. `revision` holds the
history, `source_proof` the ages of sources (which are no revisions), `meta` what the database is.

SQLite knows a page that cannot be one, and not a letter that has become another. `sum` is the checksum of its row, made
with it and compared when it is read; a migration may change any row, so all sums are made anew after one.

The statements are a few fixed texts, run by `sqlite3` itself: SQLAlchemy and Alembic take 25 MB of memory, a quarter of
a quiet node, and are loaded only when there is something to migrate. A new database is made at once. A test holds that
both ways give the same tables, and that `HEAD` is the last migration.
"""

import sqlite3
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from aval.node.model import Kind
from aval.node.ports import StorageRefused

if TYPE_CHECKING:
    from sqlalchemy import Connection

HEAD = "0004"
"""The newest migration of this package."""

MIGRATIONS = Path(__file__).parent / "migrations"

INCARNATION = "incarnation"
"""The name in `meta` of the history's number."""

FORMER = "former"
"""The name in `meta` of the incarnation of the backup that this database was restored from."""

_FACT_TABLE = """
    CREATE TABLE "?" (
        key TEXT NOT NULL, revision INTEGER NOT NULL, body TEXT NOT NULL, sum INTEGER DEFAULT 0 NOT NULL,
        PRIMARY KEY (key)
    ) WITHOUT ROWID
"""
"""Without rowid: a write then touches one tree, not two."""


def of_kind(statement: str, kind: Kind) -> str:
    """A statement for the table of a kind of fact, written in it as "?"."""
    return statement.replace('"?"', f'"{kind.value}"')


TABLES = (
    *(of_kind(_FACT_TABLE, kind) for kind in Kind),
    """CREATE TABLE revision (
        number INTEGER NOT NULL, digest BLOB NOT NULL, as_of TEXT NOT NULL, touched TEXT,
        sum INTEGER DEFAULT 0 NOT NULL, PRIMARY KEY (number)
    )""",
    """CREATE TABLE source_proof (
        source TEXT NOT NULL, at TEXT NOT NULL, sum INTEGER DEFAULT 0 NOT NULL, PRIMARY KEY (source)
    )""",
    "CREATE TABLE meta (name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (name))",
    """CREATE TABLE alembic_version (
        version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
    )""",
)
"""What makes a new database."""


def sum_of(*values: str | int | bytes | None) -> int:
    """The checksum of a row with these values. What it is made of must be the same in every version of Python, which
    `repr` of a text is not."""
    parts = (value if isinstance(value, bytes) else str(value).encode() for value in values)
    return zlib.crc32(b"\x1f".join(parts))


_SUMMED = (
    *(
        (of_kind('SELECT key, revision, body FROM "?"', kind), of_kind('UPDATE "?" SET sum = ? WHERE key = ?', kind))
        for kind in Kind
    ),
    (
        "SELECT number, digest, as_of, touched FROM revision WHERE touched IS NOT NULL",
        "UPDATE revision SET sum = ? WHERE number = ?",
    ),
    ("SELECT source, at FROM source_proof", "UPDATE source_proof SET sum = ? WHERE source = ?"),
)
"""How the rows that have a sum are read, their key first, and how it is written."""


def sum_up(connection: sqlite3.Connection) -> None:
    """Makes all sums anew, in the transaction that is open."""
    for read, write in _SUMMED:
        rows = connection.execute(read).fetchall()
        connection.executemany(write, [(sum_of(*row), row[0]) for row in rows])


def prepare(connection: sqlite3.Connection, *, head: str = HEAD, migrations: Path = MIGRATIONS) -> None:
    """Makes the schema of a new database, or migrates an older one: whole or not at all.

    `connection` is in no transaction, and begins none by itself. Raises `StorageRefused` for a database that a newer
    version wrote, or that is not a node's.
    """
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not names:
        connection.execute("BEGIN IMMEDIATE")
        for statement in TABLES:
            connection.execute(statement)
        connection.execute("INSERT INTO alembic_version (version_num) VALUES (?)", (HEAD,))
        connection.execute("COMMIT")
        return
    found = None
    if "alembic_version" in names:
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if found is None:
        raise StorageRefused("this file is a database, but not one of an Aval node: give another path as `database`")
    if found[0] != head:
        _migrate_here(connection, found[0], head, migrations)


def _migrate_here(raw: sqlite3.Connection, version: str, head: str, migrations: Path) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            migrate(connection, version, head, migrations)
            sum_up(raw)
        except DBAPIError as error:
            raw.execute("ROLLBACK")
            raise (error.orig or error) from error
        except BaseException:
            raw.execute("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")


def migrate(connection: "Connection", version: str | None, head: str, migrations: Path) -> None:
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
