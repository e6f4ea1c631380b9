"""What the tests of the stores share: both kinds of store, and a batch to write."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aval.node.history import chained
from aval.node.model import Change, Establishment, Fact, Kind
from aval.node.ports import Batch, Revision, Row, Store, Touched
from aval.node.store.body import row_of
from aval.node.store.memory import MemoryStore
from aval.node.store.sqlite import SqliteStore

HOUSE = "540000023"
START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
INCARNATION = 0xF00DFACECAFEBEEF


async def sqlite_store(path: Path) -> SqliteStore:
    """The database at `path`, made if it is not there."""
    return await SqliteStore.open(path, HOUSE, lambda: INCARNATION)


def named(name: str) -> Change:
    """A change that gives the house a name."""
    return Change(Kind.ESTABLISHMENT, "self", Establishment(display_name=name))


def batch(
    number: int,
    *changes: Change,
    units: frozenset[str] = frozenset(),
    proofs: Mapping[str, datetime] | None = None,
    before: bytes = b"",
) -> Batch:
    """The batch of a revision, a minute after the one before."""
    as_of = START + timedelta(minutes=number)
    rows: list[Row] = [row_of(change) for change in changes]
    revision = Revision(number, chained(before, number, as_of, rows), as_of, Touched(units))
    return Batch(revision, rows, proofs or {})


async def facts_of(store: Store, kind: Kind) -> Mapping[str, Fact]:
    """The facts of a kind that the store holds."""
    return (await store.load()).facts[kind]


__all__ = ["HOUSE", "INCARNATION", "START", "MemoryStore", "batch", "facts_of", "named", "sqlite_store"]
