"""What a copy of a node's database is, and what is written in one that is put back.

A restored database is another history: it gets a new incarnation, and remembers the one that it had (`former`), so that
the node enters RECONCILING by itself when it starts, before anybody has spoken to it.
"""

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from aval.node.ports import StorageRefused
from aval.node.store.schema import FORMER, HEAD, INCARNATION


@dataclass(frozen=True, slots=True)
class Contents:
    """What a node's database holds: of which establishment (FINESS), up to which revision, committed when."""

    establishment: str
    incarnation: int
    revision: int
    as_of: datetime | None


def contents(connection: sqlite3.Connection) -> Contents:
    """Reads it. Raises `StorageRefused` for another database than a node's, or one that a newer version wrote."""
    try:
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
        meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        last = connection.execute("SELECT number, as_of FROM revision ORDER BY number DESC LIMIT 1").fetchone()
        establishment, incarnation = meta["establishment"], int(meta[INCARNATION])
    except (sqlite3.OperationalError, KeyError, ValueError) as error:
        raise StorageRefused("this file is not the database of an Aval node") from error
    if version > HEAD:
        raise StorageRefused(
            f"a newer Aval wrote it (version {version}, this program knows {HEAD}): install that version or a newer one"
        )
    number, as_of = last if last is not None else (0, None)
    return Contents(establishment, incarnation, number, datetime.fromisoformat(as_of) if as_of else None)


def begin_anew(connection: sqlite3.Connection, incarnation: int) -> None:
    """Makes a restored copy another history than the one that it was taken from."""
    (former,) = connection.execute("SELECT value FROM meta WHERE name = ?", (INCARNATION,)).fetchone()
    for name, value in ((INCARNATION, str(incarnation)), (FORMER, former)):
        connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, value))


def check_restorable(backup: Contents, present: Contents | None, establishment: str, *, discard_newer: bool) -> None:
    """Raises `StorageRefused` for a copy of another house, or one older than what lies in its place."""
    if backup.establishment != establishment:
        raise StorageRefused(f"the copy is of establishment {backup.establishment}, not {establishment}")
    if present is None or discard_newer:
        return
    newer = present.revision > backup.revision
    if present.as_of is not None and backup.as_of is not None:
        newer = newer or present.as_of > backup.as_of
    if newer:
        raise StorageRefused(
            f"the database in its place is newer (revision {present.revision}, the copy has {backup.revision}): what "
            "was committed since would be lost; say --discard-newer to move it aside all the same"
        )
