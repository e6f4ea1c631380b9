"""What a copy of a hub's database is, and what is written in one that is put back (see `aval.hub.setback`)."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from aval.hub.ports import Origin
from aval.hub.store import statements as sql
from aval.hub.store import sums
from aval.hub.store.schema import DatabaseUnusable, is_current, upgrade
from aval.hub.store.transaction import encoded

LATEST = """
SELECT max(instant) FROM (
  SELECT max(stored_at) AS instant FROM command UNION ALL SELECT max(asked_at) AS instant FROM ask) AS latest
"""
"""The last act that is stored: every act of a person is."""

COUNT = "SELECT count(*) FROM request"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a hub's database holds: how many requests, and when somebody last acted."""

    requests: int
    acted: datetime | None


def contents(connection: sqlite3.Connection) -> Contents:
    """Reads it. Raises `DatabaseUnusable` for another database than a hub's, one that a newer version wrote, and one
    with a row that is not as it was written."""
    try:
        with _alchemy(connection) as alchemy:
            is_current(alchemy, "the copy")
            found = sums.spoilt(alchemy)
        if found is not None:
            raise DatabaseUnusable(f"the copy is damaged ({found}): take an older copy")
        return read_contents(lambda statement: connection.execute(statement).fetchone()[0])
    except sqlite3.OperationalError as error:
        raise DatabaseUnusable("this file is not the database of an Aval hub") from error


def read_contents(one: Callable[[str], Any]) -> Contents:
    """The same, whatever the engine: `one` gives the one value of a statement."""
    latest = one(LATEST)
    return Contents(int(one(COUNT)), None if latest is None else _EPOCH + timedelta(milliseconds=int(latest)))


def begin_anew(connection: sqlite3.Connection, origin: Origin) -> None:
    """Makes a restored copy know what it is, in the newest schema."""
    with _alchemy(connection) as alchemy:
        if not is_current(alchemy, "the copy"):
            alchemy.exec_driver_sql("BEGIN IMMEDIATE")
            upgrade(alchemy)
            if connection.in_transaction:
                alchemy.exec_driver_sql("COMMIT")
    connection.execute(sql.SAVE_ORIGIN, {"body": encoded(origin)})


def check_restorable(backup: Contents, present: Contents | None, *, discard_newer: bool) -> None:
    """Raises `DatabaseUnusable` for a copy that is older than what lies in its place."""
    if present is None or discard_newer or present.acted is None:
        return
    if backup.acted is None or present.acted > backup.acted:
        raise DatabaseUnusable(
            f"the database in its place is newer (last act {present.acted:%Y-%m-%d %H:%M:%S} UTC): what was done since "
            "would be lost; say --discard-newer to move it aside all the same"
        )


def _alchemy(connection: sqlite3.Connection) -> sa.Connection:
    sums.teach(connection)
    engine = sa.create_engine(
        "sqlite://", creator=lambda: connection, poolclass=StaticPool, isolation_level="AUTOCOMMIT"
    )
    return engine.connect()
