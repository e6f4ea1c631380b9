"""What the SQLite store promises beyond the port's suite: one process, one schema, one commit for many, a full disk."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from aval.hub.ports import CommandRecord, RequestFilter, Transaction
from aval.hub.store.schema import MIGRATIONS, DatabaseUnusable
from aval.hub.store.sqlite import WORKS_WAITING_MAX, SqliteStore
from aval.kernel.reasons import Reason, Refusal
from tests.contract.damage import flipped
from tests.contract.test_hub_store import NOW, SilentMeters, keeping, new_file, reading, saving

PAGE_BYTES = 4096
"""SQLite's own size of a page; the number of its cells stands three bytes after its beginning."""

BITS_APART = 499
"""Bytes between two flipped bits: a prime, so that they lie everywhere in a page."""

REVISIONS = sorted(path.stem[1:5] for path in (MIGRATIONS / "versions").glob("v*.py"))


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """No file of this process grows beyond that: what SQLite meets when a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_what_was_answered_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    file = new_file()
    store = SqliteStore(tmp_path / "hub.db", SilentMeters())
    await store.run(saving(file))
    store.close()
    again = SqliteStore(tmp_path / "hub.db", SilentMeters())
    assert await again.run(reading(file.request.name)) == file
    again.close()


async def test_a_second_process_is_refused_in_clear_words(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "hub.db", SilentMeters())
    opening = (
        "import asyncio, sys; from pathlib import Path; from aval.hub.store.sqlite import SqliteStore\n"
        "async def main(): SqliteStore(Path(sys.argv[1]), None)\n"
        "asyncio.run(main())"
    )
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-c", opening, str(tmp_path / "hub.db"), stderr=subprocess.PIPE
    )
    _, said = await run.communicate()
    assert run.returncode
    assert b"is in use by another hub (process" in said
    store.close()
    SqliteStore(tmp_path / "hub.db", SilentMeters()).close()


async def test_a_newer_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    SqliteStore(path, SilentMeters()).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(DatabaseUnusable, match="newer version of Aval") as refused:
        SqliteStore(path, SilentMeters())
    assert "9999" in str(refused.value)
    assert REVISIONS[-1] in str(refused.value)


async def test_a_file_that_is_no_database_is_refused_in_clear_words(tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_text("ce n’est pas une base\n" * 100)
    with pytest.raises(DatabaseUnusable, match="cannot be used"):
        SqliteStore(tmp_path / "hub.db", SilentMeters())


async def test_damage_is_found_at_start(tmp_path: Path) -> None:
    """A page that is noise, an index that has lost a row, half a file: each refused, with what to do."""
    path = tmp_path / "hub.db"
    store = SqliteStore(path, SilentMeters())
    for _ in range(40):
        await store.run(saving(new_file()))
    store.close()
    whole = path.read_bytes()
    with sqlite3.connect(path) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'request_over'").fetchone()
    connection.close()
    start = (page - 1) * PAGE_BYTES
    noise, poorer = bytearray(whole), bytearray(whole)
    noise[start : start + 64] = b"\xff" * 64
    cells = int.from_bytes(whole[start + 3 : start + 5], "big")
    poorer[start + 3 : start + 5] = (cells - 1).to_bytes(2, "big")
    for spoilt in (noise, poorer, whole[: len(whole) // 2]):
        path.write_bytes(spoilt)
        with pytest.raises(DatabaseUnusable, match="put back a backup"):
            SqliteStore(path, SilentMeters())
    path.write_bytes(whole)
    store = SqliteStore(path, SilentMeters())
    assert await store.run(lambda transaction: transaction.live_count()) == 40
    store.close()


def content(path: Path) -> list[str]:
    """All rows of all tables."""
    with closing(sqlite3.connect(path)) as connection:
        return [statement for statement in connection.iterdump() if statement.startswith("INSERT")]


async def test_no_flipped_bit_is_read_as_another_truth(tmp_path: Path) -> None:
    """Wherever it lies: the start is refused in words, or what is there is what was written."""
    path, spoilt = tmp_path / "hub.db", tmp_path / "spoilt.db"
    store = SqliteStore(path, SilentMeters())
    for number in range(10):
        await store.run(saving(new_file()))
        await store.run(keeping(CommandRecord("spiffe://t/marie", f"{number}", b"\0" * 32, NOW, b"answered")))
    store.close()
    before = content(path)
    refusals: list[str] = []
    for position, other in flipped(path.read_bytes(), BITS_APART):
        spoilt.write_bytes(other)
        try:
            SqliteStore(spoilt, SilentMeters()).close()
        except DatabaseUnusable as error:
            refusals.append(str(error))
        else:
            assert content(spoilt) == before, position
    assert sum("not as it was written" in words and "put back a backup" in words for words in refusals) >= 20


async def test_a_row_changed_by_another_program_is_refused_there_or_at_the_next_start(tmp_path: Path) -> None:
    """One that does not know of sums cannot write; one that takes them away is found out."""
    path = tmp_path / "hub.db"
    store = SqliteStore(path, SilentMeters())
    await store.run(saving(new_file()))
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="aval_sum"):
            connection.execute("UPDATE request SET reference = 'other'")
        connection.execute("DROP TRIGGER request_changed")
        connection.execute("UPDATE request SET reference = 'other'")
    with pytest.raises(DatabaseUnusable, match="a row of request is not as it was written"):
        SqliteStore(path, SilentMeters())


@pytest.mark.parametrize("revision", REVISIONS)
async def test_every_earlier_schema_is_brought_up_at_start(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "hub.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
    store = SqliteStore(path, SilentMeters())
    file = new_file()
    await store.run(saving(file))
    assert await store.run(reading(file.request.name)) == file
    store.close()


async def test_works_that_wait_share_one_commit(tmp_path: Path) -> None:
    meters = SilentMeters()
    store = SqliteStore(tmp_path / "hub.db", meters)
    await asyncio.gather(*(store.run(saving(new_file())) for _ in range(200)))
    assert sum(meters.batches) == 200
    assert len(meters.batches) < 50
    store.close()


async def test_reading_commits_nothing(tmp_path: Path) -> None:
    meters = SilentMeters()
    store = SqliteStore(tmp_path / "hub.db", meters)
    for _ in range(10):
        await store.run(lambda transaction: transaction.requests(RequestFilter()))
    assert meters.batches == []
    store.close()


async def test_a_full_disk_is_said_and_harms_nothing_and_ends(tmp_path: Path) -> None:
    meters = SilentMeters()
    store = SqliteStore(tmp_path / "hub.db", meters)
    before = new_file()
    await store.run(saving(before))
    lost = [new_file() for _ in range(5)]
    with full_disk(bytes_left=8192):
        results = await asyncio.gather(*(store.run(saving(file)) for file in lost), return_exceptions=True)
        assert [one.reason for one in results if isinstance(one, Refusal)] == [Reason.STORAGE_UNAVAILABLE] * 5
        assert await store.run(reading(before.request.name)) == before
    assert meters.failed >= 1
    assert [await store.run(reading(file.request.name)) for file in lost] == [None] * 5
    for file in lost:
        await store.run(saving(file))
    assert await store.run(lambda transaction: transaction.live_count()) == 6
    store.close()


async def test_too_many_works_are_refused_to_be_tried_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "hub.db", SilentMeters())
    waiting = [asyncio.ensure_future(store.run(saving(new_file()))) for _ in range(WORKS_WAITING_MAX + 10)]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    refused = [one for one in results if isinstance(one, Refusal)]
    assert [one.reason for one in refused] == [Reason.QUEUE_FULL] * 10
    assert await store.run(lambda transaction: transaction.live_count()) == WORKS_WAITING_MAX
    store.close()


async def test_a_work_whose_asker_has_gone_is_done_all_the_same(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "hub.db", SilentMeters())
    file = new_file()
    asking = asyncio.ensure_future(store.run(saving(file)))
    await store.run(lambda transaction: transaction.live_count())
    asking.cancel()
    assert await store.run(reading(file.request.name)) == file

    def work(_: Transaction) -> int:
        return 7

    assert await store.run(work) == 7
    store.close()
