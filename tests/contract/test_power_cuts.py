"""The power fails while a store writes: what it has answered is there, and the rest whole or not at all.

A killed process leaves what it wrote to the system; a machine without power leaves what its disk had taken. What was
flushed that is; of what was written since, any part, in any order, by sectors. So two real stores are driven, a node's
and a hub's, and their files are photographed after each answer. What differs between two photographs was written in
one transaction: first the log, flushed at COMMIT (`synchronous=FULL`; scenarios 54 and 55 hold the stores to it: a
flush that fails is refused); then, where the log is moved into the file, pages of that. A *cut* has the one, and any
sectors of the other. The shipped store opens each, and must find what was answered, or that and the next.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from aval.hub.model import RequestFile
from aval.hub.ports import Transaction
from aval.hub.store.schema import DatabaseUnusable
from aval.hub.store.sqlite import SqliteStore as HubStore
from aval.node.model import Change, Kind
from aval.node.ports import StorageRefused
from tests.contract.test_hub_store import SilentMeters, new_file
from tests.node.shell.stores import START, batch, named, sqlite_store
from tests.node.shell.test_store_contract import UNIT

SECTOR_BYTES = 512
"""What a disk takes whole; many take more, none less."""

TRANSACTIONS = 40
"""Of each store: the log is moved into the file several times meanwhile."""

CUTS_A_WRITE = 3
"""Cuts tried within what one transaction wrote to one file."""

ROW_BYTES_MAX = 5000
"""Of a node's row: a transaction of two dozen writes some pages, and SQLite moves its log every thousand."""

SEED = 20261129

Dump = tuple[str, ...]
"""A database in SQL."""


@dataclass(frozen=True)
class Photograph:
    """Both files of a database, byte by byte."""

    database: bytes
    log: bytes

    @classmethod
    def of(cls, path: Path) -> Photograph:
        log = _log(path)
        return cls(path.read_bytes(), log.read_bytes() if log.exists() else b"")

    def lay(self, path: Path) -> None:
        """A machine that starts again finds these; the index of the log was in memory only."""
        path.write_bytes(self.database)
        _log(path).write_bytes(self.log)
        path.with_name(path.name + "-shm").unlink(missing_ok=True)


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _torn(before: bytes, after: bytes, chance: random.Random) -> Iterator[bytes]:
    """Some of what a disk may hold of a file that was being written: so many sectors, or any."""
    length = max(len(before), len(after))
    starts = range(0, length, SECTOR_BYTES)
    differing = [at for at in starts if before[at : at + SECTOR_BYTES] != after[at : at + SECTOR_BYTES]]
    for number in range(CUTS_A_WRITE if differing else 0):
        taken = differing[: chance.randrange(len(differing))] if number == 0 else []
        taken = taken or [at for at in differing if chance.random() < chance.choice((0.1, 0.5, 0.9))]
        torn = bytearray(before.ljust(length, b"\0") if taken and taken[-1] >= len(before) else before)
        for at in taken:
            torn[at : at + SECTOR_BYTES] = after[at : at + SECTOR_BYTES]
        yield bytes(torn)


def cuts(before: Photograph, after: Photograph, chance: random.Random) -> Iterator[tuple[Photograph, bool]]:
    """Some of what may be left of a transaction, and whether its log had been flushed."""
    if not after.log:  # closed: all of the log is in the file before it is removed
        after = Photograph(after.database, before.log)
    for log in _torn(before.log, after.log, chance):
        yield Photograph(before.database, log), False
    for database in _torn(before.database, after.database, chance):
        yield Photograph(database, after.log), True


def dump(path: Path) -> Dump:
    """All that a database holds."""
    with sqlite3.connect(path) as connection:
        lines = tuple(connection.iterdump())
    connection.close()
    return lines


async def node_starts(path: Path) -> None:
    """A node on that file: it reads each row. Raises `StorageRefused` where one is not as it was written."""
    store = await sqlite_store(path)
    try:
        await store.load()
    finally:
        await store.close()


async def hub_starts(path: Path) -> None:
    """A hub on that file. Raises `DatabaseUnusable`."""
    HubStore(path, SilentMeters()).close()


async def node_writes(path: Path) -> AsyncGenerator[None, None]:
    """A node's life, answer by answer: facts that come, change and go, proofs, a history that is compacted."""
    chance = random.Random(SEED)
    store = await sqlite_store(path)
    digest = b""
    try:
        yield
        for number in range(1, TRANSACTIONS + 1):
            units = {
                f"u{chance.randrange(60)}": chance.choice("abc") * chance.randrange(ROW_BYTES_MAX) for _ in range(24)
            }
            changes = [
                Change(Kind.UNIT, code, replace(UNIT, id=code, display_name=name)) for code, name in units.items()
            ]
            changes += [Change(Kind.UNIT, code, None) for code in chance.sample(sorted(units), 4)]
            written = batch(number, named(f"Maison {number}"), *changes, before=digest)
            digest = written.revision.digest
            await store.commit(written)
            yield
            if number % 7 == 0:
                await store.save_proofs({"sih": START})
                yield
            if number % 20 == 0:
                await store.compact(number - 10)
                yield
    finally:
        await store.close()
    yield


def _saved(files: Sequence[RequestFile]) -> Callable[[Transaction], None]:
    """New requests, of which some are told at once that they go on."""

    def work(transaction: Transaction) -> None:
        for file in files:
            transaction.save(file, None)
        for file in files[:3]:
            transaction.save(replace(file, rows=()), file)

    return work


async def hub_writes(path: Path) -> AsyncGenerator[None, None]:
    """A hub's life, answer by answer: requests that are made, and change."""
    store = HubStore(path, SilentMeters())
    try:
        yield
        for _ in range(TRANSACTIONS):
            await store.run(_saved([new_file() for _ in range(12)]))
            yield
    finally:
        store.close()
    yield


Writes = Callable[[Path], AsyncGenerator[None, None]]
Starts = Callable[[Path], Awaitable[None]]


@dataclass
class Found:
    """What the cuts of a store have left."""

    cuts: int = 0
    as_before: int = 0
    moved: int = 0
    """Photographs between which the log was moved into the file."""

    lost: int = 0
    """Neither; or nothing that a store takes for its own."""


async def cut_often(folder: Path, writes: Writes, starts: Starts, unflushed: int) -> Found:
    """Drives a store and cuts it; `unflushed`: how many of the last transactions the disk may not have taken.

    With one, that is a store that flushes each commit, and nothing may be lost; the rest is for showing what would be.
    At a loss it ends.
    """
    chance, found = random.Random(SEED), Found()
    path, left = folder / "live.db", folder / "left.db"
    known: list[tuple[Photograph, Dump]] = []
    async with aclosing(writes(path)) as answers:
        async for _ in answers:
            photograph = Photograph.of(path)
            photograph.lay(left)
            known = [*known[-unflushed:], (photograph, dump(left))]
            if len(known) <= unflushed:
                continue
            before, after = known[0][0], photograph
            answered, next_one = known[-2][1], known[-1][1]
            found.moved += before.database != after.database
            for cut, was_flushed in cuts(before, after, chance):
                cut.lay(left)
                found.cuts += 1
                try:
                    await starts(left)
                except (StorageRefused, DatabaseUnusable):
                    found.lost += 1
                    continue
                got = dump(left)
                found.as_before += got == answered != next_one
                found.lost += got != next_one and (was_flushed or got != answered)
            if found.lost:
                break
    return found


STORES = pytest.mark.parametrize(
    ("writes", "starts"), [(node_writes, node_starts), (hub_writes, hub_starts)], ids=["node", "hub"]
)


@STORES
async def test_what_was_answered_survives_a_power_cut(
    tmp_path: Path, figure: Callable[[str], None], writes: Writes, starts: Starts
) -> None:
    found = await cut_often(tmp_path, writes, starts, unflushed=1)
    assert found.lost == 0
    assert found.moved >= 2
    assert 0 < found.as_before < found.cuts
    whose = starts.__name__.removesuffix("_starts")
    figure(
        f"power cuts, {whose}: {found.cuts} within {TRANSACTIONS} transactions, the log moved {found.moved} times:"
        f" nothing lost, {found.as_before} as before the one that was cut"
    )


@STORES
async def test_a_store_that_did_not_flush_would_lose(tmp_path: Path, writes: Writes, starts: Starts) -> None:
    """The same cuts over the last two transactions, as if the first had been answered before its flush."""
    assert (await cut_often(tmp_path, writes, starts, unflushed=2)).lost > 0
