"""What keeps a demonstration's day going: one process that feeds every house, as its systems and people would.

It declares each house to its node, then tells what happens there (`feed`). Once every node has answered for all that
was due when it began, it says that it is ready, like a server, and goes on until it is told to stop.
"""

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import msgspec

from aval.adapters.clock import SystemClock
from aval.adapters.demo.building import DESK_OF_A_HOUSE, FEED, SOURCE_OF_A_HOUSE
from aval.adapters.demo.feed import Feed, install
from aval.adapters.demo.processes import Ready, Territory
from aval.adapters.territory import house_plan
from aval.adapters.wire import stop_on_signals

DAYS = timedelta(days=7)
"""How long a territory left running is fed: longer than anybody looks at one demonstration."""

HOUSES_AT_ONCE = 6
"""Houses declared and caught up together: more would only wait for the same two cores."""


async def feed_all(folder: Path) -> None:
    """Feeds the territory in `folder` until SIGTERM."""
    territory = Territory.open(folder)
    clock = SystemClock()
    stop = stop_on_signals()
    gate = asyncio.Semaphore(HOUSES_AT_ONCE)
    left = set(territory.houses)

    async def one(finess: str) -> None:
        plan = house_plan(territory.file, finess)
        address = territory.node(finess).address
        staff = territory.caller(f"{finess}-{DESK_OF_A_HOUSE}")
        speaker = territory.caller(f"{finess}-{SOURCE_OF_A_HOUSE}") if plan.source.is_automatic else staff
        async with staff, speaker:
            async with gate:
                await install(staff.node(address, finess).channel, plan)
                channel = speaker.node(address, finess).channel
                feed = Feed(channel, plan, territory.record.seed, territory.record.started, clock)
                running = asyncio.ensure_future(feed.run(territory.record.started + DAYS))
                caught_up = asyncio.ensure_future(feed.caught_up.wait())
                await asyncio.wait((running, caught_up), return_when=asyncio.FIRST_COMPLETED)
            left.discard(finess)
            if not left:
                _say_ready(territory)
            await running

    at_work = [asyncio.ensure_future(one(finess)) for finess in territory.houses]
    stopping = asyncio.ensure_future(_wait(stop))
    waited = {*at_work, stopping}
    try:
        while not stopping.done() and len(waited) > 1:
            done, waited = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in waited:
            task.cancel()
        await asyncio.gather(*waited, return_exceptions=True)


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


def _say_ready(territory: Territory) -> None:
    path = territory.ready_path(territory.record.servers[FEED])
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(Ready(os.getpid(), 0, 0, "", "")))
    fresh.replace(path)
