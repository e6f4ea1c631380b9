"""Copies of a node's database: taken while it serves, put back as another history, refused where that would harm."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from aval.adapters import backups
from aval.node import bootstrap
from aval.node.ports import StorageRefused
from aval.node.store.sqlite import SqliteStore
from tests.node.shell.fakes import HOUSE, START, FakeClock, house
from tests.node.shell.stores import batch, named
from tests.node.shell.words import create, declare_places


def settings_of(folder: Path, finess: str = HOUSE) -> Path:
    """A node's settings; its identity is never read here."""
    path = folder / "node.toml"
    path.write_text(
        f'territory = "ge-10.aval.internal"\nfiness = "{finess}"\nidentity = "identity"\nlisten = "127.0.0.1:0"\n'
        'database = "node.db"\n'
    )
    return path


def left_over(folder: Path) -> list[Path]:
    """Files that a copy was written in before it had its name."""
    return [path for path in folder.iterdir() if "partial" in path.name or "restoring" in path.name]


async def opened(folder: Path, incarnation: int = 5) -> SqliteStore:
    """The node's store."""
    return await SqliteStore.open(folder / "node.db", HOUSE, lambda: incarnation)


async def test_a_copy_of_a_running_node_is_whole_and_begins_another_history(tmp_path: Path) -> None:
    settings, copy = settings_of(tmp_path), tmp_path / "copies.db"
    store = await opened(tmp_path)
    async with house(store, FakeClock()) as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        kept = bootstrap.back_up(settings, copy)
        assert (kept.contents.revision, kept.contents.incarnation) == (at.revision, 5)
        assert kept.size_bytes == copy.stat().st_size
        assert copy.stat().st_mode & 0o777 == 0o600
        await at.command(create("smr", START + timedelta(days=1)))
        lost = at.revision
        with pytest.raises(StorageRefused, match="already serves"):
            bootstrap.restore(settings, copy, discard_newer=True)
    await store.close()
    with pytest.raises(StorageRefused, match=f"is newer .revision {lost}"):
        bootstrap.restore(settings, copy)
    put = bootstrap.restore(settings, copy, discard_newer=True)
    assert put.aside is not None
    again = await opened(tmp_path)
    stored = await again.load()
    assert stored.former == 5
    assert stored.incarnation != 5
    assert not stored.reservation_revisions
    async with house(again, FakeClock()) as at:
        (unit,) = at.node.writer.published.reconciling
        assert unit.unit == "smr"
        assert at.cursor.incarnation == stored.incarnation
        restore = at.node.writer.published.ledger.restore
        assert restore is not None
        assert restore.past == (5,)
    await again.close()
    third = await opened(tmp_path)
    async with house(third, FakeClock()) as at:
        restore = at.node.writer.published.ledger.restore
        assert restore is not None
        assert restore.since == START, "one restore is noticed once"
    await third.close()


async def test_a_damaged_or_a_lost_database_is_replaced_and_kept(tmp_path: Path) -> None:
    settings, copy = settings_of(tmp_path), tmp_path / "copy.db"
    store = await opened(tmp_path)
    await store.commit(batch(1, named("Centre hospitalier")))
    await store.close()
    bootstrap.back_up(settings, copy)
    (tmp_path / "node.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
    put = bootstrap.restore(settings, copy)
    assert put.aside is not None
    assert put.aside.read_bytes().startswith(b"SQLite format 3\x00\xff")
    (tmp_path / "node.db").unlink()
    assert bootstrap.restore(settings, copy).aside is None
    again = await opened(tmp_path)
    assert (await again.load()).recent[-1].number == 1
    await again.close()


async def test_what_must_not_be_put_back_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    settings, copy = settings_of(tmp_path), tmp_path / "copy.db"
    store = await opened(tmp_path)
    await store.commit(batch(1, named("Centre hospitalier")))
    await store.close()
    bootstrap.back_up(settings, copy)
    before = (tmp_path / "node.db").read_bytes()
    with pytest.raises(backups.BackupRefused, match="exists already"):
        bootstrap.back_up(settings, copy)
    bootstrap.back_up(settings, copy, replace=True)
    (tmp_path / "other").mkdir()
    other = settings_of(tmp_path / "other", "540000080")
    with pytest.raises(StorageRefused, match="of establishment 540000023, not 540000080"):
        bootstrap.restore(other, copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(StorageRefused, match="a newer Aval wrote it"):
        bootstrap.restore(settings, copy)
    damaged = bytearray(copy.read_bytes())
    damaged[4096:8192] = b"\xff" * 4096
    copy.write_bytes(damaged)
    with pytest.raises(backups.BackupRefused):
        bootstrap.restore(settings, copy)
    copy.write_text("not a database, and longer than nothing at all" * 100)
    with pytest.raises(backups.BackupRefused, match="cannot be read as a database"):
        bootstrap.restore(settings, copy)
    with closing(sqlite3.connect(tmp_path / "another.db")) as connection:
        connection.execute("CREATE TABLE something (x)")
        connection.commit()
    with pytest.raises(StorageRefused, match="not the database of an Aval node"):
        bootstrap.restore(settings, tmp_path / "another.db")
    with pytest.raises(backups.BackupRefused, match="is not there"):
        bootstrap.restore(settings, tmp_path / "absent.db")
    assert (tmp_path / "node.db").read_bytes() == before
    assert not left_over(tmp_path)
