"""Three years of a busy small hospital in a node's database, in simulated time: what it grows to, and how fast."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.node.shell.fakes import house
from tests.node.shell.stores import sqlite_store
from tests.node.shell.years import Years, sizes

YEARS = 3
PATIENTS, DEMANDS = 12, 6
"""A day: patients of one unit of 200 beds, and demands from the territory."""


@pytest.mark.timeout(3_600)
async def test_three_years_of_a_house(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "node.db"
    store = await sqlite_store(path)
    lines = []
    async with house(store) as at:
        years = Years(at, PATIENTS, DEMANDS)
        await years.open()
        for year in range(1, YEARS + 1):
            began = time.perf_counter()
            await years.pass_days(365)
            used, free = sizes(path)
            facts = sum(years.kept().values())
            seconds = time.perf_counter() - began
            lines.append(
                f"year {year}: {at.revision} revisions, {facts} facts, {used / 1e6:.1f} MB of which {free / 1e6:.1f} "
                f"free within, {seconds:.0f} s"
            )
        await store.close()
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *lines, ""]))
