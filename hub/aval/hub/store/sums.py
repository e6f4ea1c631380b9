"""A checksum beside each row of a hub's SQLite file, made by the database itself whenever the row is written.

SQLite knows a page that cannot be one, and not a letter that has become another: without sums a request could be
confirmed because a bit has turned. Each table has a column `sum` (migration 0006), kept by two triggers over all its
other columns and compared at start. A migration may change any table and any row, so triggers and sums are made anew
after one. PostgreSQL has sums of its own pages (`data-checksums`, deploy/postgres).
"""

import sqlite3
import zlib
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

_FUNCTION = "aval_sum"
"""In SQL. A program that does not have it cannot change a row and leave its sum unnoticed: its write is refused."""


def sum_of(*values: Any) -> int:
    """The checksum of a row with these values (CRC-32, zlib's)."""
    return zlib.crc32(b"\x1f".join(str(value).encode() for value in values))


def teach(connection: sqlite3.Connection, _record: object = None) -> None:
    """Gives a connection the function; SQLAlchemy calls this for each that it opens (its event `connect`)."""
    connection.create_function(_FUNCTION, -1, sum_of, deterministic=True)


def make_anew(connection: sa.Connection) -> None:
    """Makes all triggers and sums, in the transaction that is open."""
    for table in _summed(connection):
        columns = ", ".join(column.name for column in _others(table))
        of_new_row: list[sa.ColumnElement[Any]] = [sa.literal_column(f"new.{column.name}") for column in _others(table)]
        is_new_row = [column == sa.literal_column(f"new.{column.name}") for column in table.primary_key]
        made = sa.update(table).values(sum=_sum(of_new_row)).where(*is_new_row).compile(connection)
        for name, event in ((f"{table.name}_put", "INSERT"), (f"{table.name}_changed", f"UPDATE OF {columns}")):
            dropped = f"DROP TRIGGER IF EXISTS {name}"
            created = f"CREATE TRIGGER {name} AFTER {event} ON {table.name} BEGIN {made}; END"
            connection.exec_driver_sql(dropped)
            connection.exec_driver_sql(created)
        connection.execute(sa.update(table).values(sum=_sum(_others(table))))


def spoilt(connection: sa.Connection) -> str | None:
    """What is wrong, if a row of any table is not as it was written."""
    for table in _summed(connection):
        if connection.execute(sa.select(1).where(table.c.sum.is_not(_sum(_others(table)))).limit(1)).first():
            return f"a row of {table.name} is not as it was written"
    return None


def _summed(connection: sa.Connection) -> list[sa.Table]:
    present = sa.MetaData()
    present.reflect(connection)
    return [table for table in present.sorted_tables if "sum" in table.c]


def _others(table: sa.Table) -> list[sa.Column[Any]]:
    return [column for column in table.c if column.name != "sum"]


def _sum(columns: Iterable[sa.ColumnElement[Any]]) -> sa.ColumnElement[int]:
    return sa.Function(_FUNCTION, *columns, type_=sa.Integer)
