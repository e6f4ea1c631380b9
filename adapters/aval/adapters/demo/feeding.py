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
from aval.adapters.demo.building import DESK_OF_A_HOUSE, FEED, SOURCE_OF_A_HOUSE, WAY
from aval.adapters.demo.declaring import install
from aval.adapters.demo.feed import Feed
from aval.adapters.demo.hl7_feed import Hl7Feed
from aval.adapters.demo.processes import Ready, Territory
from aval.adapters.demo.sheet_feed import SheetFeed
from aval.adapters.demo.ways import Way
from aval.adapters.dial import Caller
from aval.adapters.territory import HousePlan
from aval.adapters.wire import stop_on_signals

DAYS = timedelta(days=7)
"""How long a territory left running is fed: longer than anybody looks at one demonstration."""

HOUSES_AT_ONCE = 6
"""Houses declared and caught up together: more would only wait for the same two cores."""


async def feed_all(folder: Path) -> None:
    """Feeds the territory in `folder` until SIGTERM."""
    territory = Territory.open(folder)
    stop = stop_on_signals()
    gate = asyncio.Semaphore(HOUSES_AT_ONCE)
    left = set(territory.houses)

    async def one(finess: str) -> None:
        plan = territory.plan(finess)
        address = territory.node(finess).address
        staff = territory.caller(f"{finess}-{DESK_OF_A_HOUSE}")
        speaker = territory.caller(f"{finess}-{SOURCE_OF_A_HOUSE}") if plan.source.is_automatic else staff
        async with staff, speaker:
            async with gate:
                await install(staff.node(address, finess).channel, plan)
                feed = _feed_of(territory, plan, staff, speaker)
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


def _feed_of(territory: Territory, plan: HousePlan, staff: Caller, speaker: Caller) -> Feed | Hl7Feed | SheetFeed:
    """The feed of a house, by its way."""
    finess, record, clock = str(plan.finess), territory.record, SystemClock()
    address = territory.node(finess).address
    match record.ways.get(finess):
        case Way.HL7:
            port = int(record.servers[f"{WAY}{finess}"].address.rpartition(":")[2])
            sender = territory.person(f"{finess}-{DESK_OF_A_HOUSE}")
            return Hl7Feed(port, sender, staff.node(address, finess).channel, plan, record.seed, record.started, clock)
        case Way.SHEET:
            return SheetFeed(Path(record.servers[f"{WAY}{finess}"].config), plan, record.seed, record.started, clock)
        case _:
            return Feed(speaker.node(address, finess).channel, plan, record.seed, record.started, clock)


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


def _say_ready(territory: Territory) -> None:
    path = territory.ready_path(territory.record.servers[FEED])
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(Ready(os.getpid(), 0, 0, "", "")))
    fresh.replace(path)
