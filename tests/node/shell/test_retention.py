"""What a node keeps, and for how long: after a simulated year its database is as large as after some months."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

from aval.node.history import COMPACT_EVERY
from aval.node.model import Kind
from aval.node.passing import DETAIL_DAYS, MEMORY_DAYS
from aval.node.ports import TAG_BYTES
from tests.node.shell.fakes import house
from tests.node.shell.stores import sqlite_store
from tests.node.shell.years import RETAINED, Years, sizes

PATIENTS, DEMANDS = 3, 3
"""A day: as an EHPAD has in a month, so that a year of it fits into seconds."""

SETTLED_DAYS = 60
"""By then all but the memory of reservations is full."""

A_REVISION_BYTES = 40
"""What is kept for ever, of each revision that is compacted: its number and its tag, in a B-tree."""


@pytest.mark.timeout(300)
async def test_a_year_of_a_house_is_bounded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "node.db"
    store = await sqlite_store(path)
    async with house(store, retained=RETAINED) as at:
        years = Years(at, PATIENTS, DEMANDS)
        await years.open()
        await years.pass_days(SETTLED_DAYS)
        settled, begun = years.kept(), sizes(path)
        await years.pass_days(MEMORY_DAYS + 20 - SETTLED_DAYS)
        full, size = years.kept(), sizes(path)
        await years.pass_days(60)
        later, end = years.kept(), sizes(path)
        revision = at.revision
        await store.close()
    # Nothing grows but what is kept 400 days, and that no more after them.
    memory = {Kind.TOMBSTONE, Kind.COMMAND}
    for kind in Kind:
        if kind in memory:
            assert later[kind] <= full[kind] * 1.05, kind
        elif kind is not Kind.SERIAL:
            assert later[kind] <= settled[kind] * 1.2 + 5, (kind, settled[kind], later[kind])
    assert settled[Kind.MOVEMENT] <= (DETAIL_DAYS + 2) * PATIENTS * 3 + 1
    assert full[Kind.TOMBSTONE] <= (MEMORY_DAYS + 2) * DEMANDS
    with sqlite3.connect(path) as raw:
        query = "SELECT count(*), max(length(digest)), max(length(as_of)) FROM revision WHERE touched IS NULL"
        compacted, longest, told = raw.execute(query).fetchone()
    raw.close()
    assert compacted >= revision - RETAINED - COMPACT_EVERY
    assert (longest, told) == (TAG_BYTES, 0)
    assert end[0] - size[0] < (later_revisions := 60 * 40) * A_REVISION_BYTES + 200_000, later_revisions
    again = await sqlite_store(path)
    stored = await again.load()
    await again.close()
    assert len(stored.recent) <= RETAINED + COMPACT_EVERY
    with capsys.disabled():
        told_sizes = [
            f"{days} days: {used / 1e6:.1f} MB ({free / 1e6:.1f} free within)"
            for days, (used, free) in ((SETTLED_DAYS, begun), (MEMORY_DAYS + 20, size), (MEMORY_DAYS + 80, end))
        ]
        sys.stdout.write(f"\n{revision} revisions; database after " + ", ".join(told_sizes) + "\n")
