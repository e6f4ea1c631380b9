"""How large a hub's database is once it forgets as much as it learns: both engines, with a busier territory's requests.

A request's price in bytes does not depend on how many there are, so a part of a territory's load tells the whole's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from aval.hub.ports import Store
from aval.hub.retention import KEPT
from aval.hub.store.postgres import PostgresStore
from aval.hub.store.sqlite import SqliteStore
from tests.contract.servers import Databases
from tests.contract.test_hub_store import SilentMeters
from tests.hub.shell.years import MONTH, Years

REQUESTS_A_MONTH = 100
MONTHS = KEPT // MONTH + 6
TERRITORY_A_DAY = 60
"""Requests of a group of forty houses: what the figures are reckoned up to."""


@pytest.fixture
def databases() -> Iterator[Databases]:
    """A server of its own."""
    made = Databases()
    yield made
    made.close()


def sqlite_bytes(path: Path) -> int:
    """Pages in use: a file keeps the room of the others and fills it again."""
    with closing(sqlite3.connect(path)) as reader:
        used = "SELECT (SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count)"
        return 4096 * int(reader.execute(used).fetchone()[0])


def postgres_bytes(url: str) -> int:
    """The database, after the VACUUM that its server does by itself while months go by."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM")
        found = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        assert found is not None
        return int(found[0])


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_a_hub_s_database_after_a_year_and_a_half(
    engine: str, tmp_path: Path, databases: Databases, figure: Callable[[str], None]
) -> None:
    path, url = tmp_path / "hub.db", databases.new()
    store: Store = SqliteStore(path, SilentMeters()) if engine == "sqlite" else PostgresStore(url, SilentMeters())
    empty = sqlite_bytes(path) if engine == "sqlite" else postgres_bytes(url)
    years, sizes = Years(store), list[int]()
    for _ in range(MONTHS):
        await years.month(REQUESTS_A_MONTH)
        sizes.append(sqlite_bytes(path) if engine == "sqlite" else postgres_bytes(url))
    store.close()
    full = KEPT // MONTH + 1
    each = (sizes[-1] - empty) / (REQUESTS_A_MONTH * KEPT / MONTH)
    whole = each * TERRITORY_A_DAY * KEPT.days / 1e6
    figure(
        f"hub on {engine}, {REQUESTS_A_MONTH} requests a month: {sizes[0] / 1e6:.1f} MB after a month,"
        f" {sizes[11] / 1e6:.1f} after a year, {sizes[full] / 1e6:.1f} after {full}, {sizes[-1] / 1e6:.1f} after"
        f" {MONTHS} ({each / 1000:.1f} kB a request held; {TERRITORY_A_DAY} a day would be {whole:.0f} MB)"
    )
    assert sizes[-1] <= 1.15 * sizes[full]
