"""The town of the scenarios: started once for each worker, stopped and removed at the end, whatever happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from aval.adapters.demo.building import HUB
from tests.scenarios.town import Play, Town, raise_town, start_town


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A running hub with four nodes."""
    folder: Path = tmp_path_factory.mktemp("town") / "territory"
    built = raise_town(folder)
    try:
        asyncio.run(start_town(built))
        yield built
    finally:
        asyncio.run(built.down())
    assert not folder.exists()


@pytest_asyncio.fixture
async def play(town: Town) -> AsyncIterator[Play]:
    """The people of the town, their screens open."""
    gone = [key for key in (HUB, *town.houses) if not town.is_alive(key)]
    if gone:  # a scenario failed half way: those after it are told apart from it
        for line in (*town.lines.values(), town.desk):
            line.mend()
        await town.start(gone)
    people = Play(town)
    await people.open()
    yield people
    await people.close()
