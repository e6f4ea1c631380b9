"""The demonstration's feed and a real node: what the day tells is what the node shows, movement by movement."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import grpc
import pytest

from aval.adapters.demo import GE_10
from aval.adapters.demo.declaring import CALL_SECONDS, SYSTEM_SOURCE, install
from aval.adapters.demo.feed import Feed
from aval.adapters.demo.generator import movements
from aval.adapters.dial import Line
from aval.adapters.territory import HousePlan, house_plan, load
from aval.kernel.identity import Adapter, CallerKind, Staff, Territory
from aval.kernel.identity import Identity as AnyIdentity
from aval.kernel.statuses import Counting
from aval.node.bootstrap import compose
from aval.node.server import add_services
from aval.node.settings import Settings
from aval.node.store.memory import MemoryStore
from aval.v1 import availability_pb2, census_pb2
from tests.adapters.demo.believed import Census
from tests.adapters.demo.hand_clock import HandClock
from tests.waiting import until as wait_until

FILE = load(GE_10)
MIDNIGHT = datetime(2026, 11, 23, 23, 0, tzinfo=UTC)
TERRITORY = Territory("ge-10.aval.internal")


@dataclass(frozen=True)
class Known:
    """A caller that no gate had to identify."""

    identity: AnyIdentity
    kind: CallerKind
    actor: bytes | None = None


class Quiet:
    """A meter that nobody reads."""

    def committed(self, commands: int, seconds: float) -> None: ...
    def commit_failed(self) -> None: ...
    def queue_length(self, queue: str, length: int) -> None: ...
    def refused(self, reason: str) -> None: ...
    def reservations(self, count_by_state: Mapping[str, int]) -> None: ...
    def source_alive(self, establishment: str, source: str, age_seconds: float = 0.0) -> None: ...
    def source_gone(self, establishment: str, source: str) -> None: ...


@dataclass
class Chance:
    """Chance without any: page tokens are not what is tested here."""

    drawn: int = field(default=0)

    def uuid(self) -> UUID:
        self.drawn += 1
        return UUID(int=self.drawn)

    def token(self, length_bytes: int) -> bytes:
        return bytes(length_bytes)

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2


@asynccontextmanager
async def node_of(house: HousePlan, clock: HandClock) -> AsyncIterator[Line]:
    """A node in memory behind a plain port, called by the feed's own identities."""
    settings = Settings(
        TERRITORY, house.finess, Path(), "127.0.0.1:0", Path(), 0, None, None, progress_seconds=15.0, hub_address=None
    )
    staff = Known(Staff(TERRITORY, house.finess, "cadre"), CallerKind.STAFF)
    speaker = Known(Adapter(TERRITORY, house.finess, SYSTEM_SOURCE), CallerKind.ADAPTER)
    calling = [staff]
    node = compose(
        settings,
        clock=clock,
        rng=Chance(),
        store=MemoryStore(7),
        meter=Quiet(),
        current_peer=lambda: calling[0],
    )
    await node.writer.start()
    writing = asyncio.create_task(node.writer.run())
    server = grpc.aio.server()
    add_services(node.edge, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await install(channel, house)
            if house.source.is_automatic:
                calling[0] = speaker
            yield Line(channel)
    finally:
        await server.stop(0)
        await node.writer.stop()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def units_of(line: Line, house: HousePlan) -> list[availability_pb2.Unit]:
    request = availability_pb2.ListUnitsRequest(parent=f"establishments/{house.finess}", page_size=1000)
    return list((await line.availability.ListUnits(request, timeout=CALL_SECONDS)).units)


def figure(unit: availability_pb2.Unit, status: availability_pb2.CapacityStatus.ValueType) -> int:
    return sum(
        count.count for count in unit.counts if count.status == status and count.horizon == availability_pb2.HORIZON_NOW
    )


async def compare(line: Line, house: HousePlan, census: Census) -> None:
    """Each unit's figures, and who lies in which bed."""
    units = {unit.name.rpartition("/")[2]: unit for unit in await units_of(line, house)}
    assert set(units) == {plan.code for plan in house.units}
    for plan in house.units:
        unit = units[plan.code]
        present = sum(here == plan.code for here, _ in census.where.values())
        closed = sum(here == plan.code for here, _ in census.closed) + census.places_closed[plan.code]
        assert figure(unit, availability_pb2.CAPACITY_STATUS_INSTALLED) == plan.capacity, plan.name
        assert figure(unit, availability_pb2.CAPACITY_STATUS_OCCUPIED) == present, plan.name
        assert figure(unit, availability_pb2.CAPACITY_STATUS_CLOSED) >= closed, plan.name
        if plan.counting is Counting.BEDS:
            beds = census_pb2.ListBedsRequest(parent=unit.name, page_size=1000)
            shown = (await line.census.ListBeds(beds, timeout=CALL_SECONDS)).beds
            assert {(plan.code, bed.name.rpartition("/")[2]): bed.stay_key for bed in shown if bed.stay_key} == {
                key: stay for key, stay in census.occupant.items() if key[0] == plan.code
            }
            assert {bed.name.rpartition("/")[2] for bed in shown if bed.to_clean} == {
                bed for here, bed in census.dirty if here == plan.code
            }


async def test_every_house_of_the_territory_is_accepted_by_a_node() -> None:
    for finess in FILE.assumptions.houses:
        house = house_plan(FILE, finess)
        async with node_of(house, HandClock(MIDNIGHT)) as line:
            shown = await units_of(line, house)
            assert {unit.name.rpartition("/")[2] for unit in shown} == {unit.code for unit in house.units}


@pytest.mark.parametrize(
    ("finess", "seed"),
    [("540000155", 1), ("540000155", 2), ("540000296", 3), ("540013737", 1), ("540009479", 2), ("540020146", 1)],
)
async def test_a_node_shows_what_its_day_tells(finess: str, seed: int) -> None:
    house = house_plan(FILE, finess)
    clock = HandClock(MIDNIGHT + timedelta(hours=12))
    until = MIDNIGHT + timedelta(hours=40)
    async with node_of(house, clock) as line:
        feed = Feed(line.channel, house, seed, MIDNIGHT, clock)
        task = asyncio.create_task(feed.run(until))
        await asyncio.wait_for(feed.caught_up.wait(), 60)
        census = Census(house)
        for movement in movements(house, seed, MIDNIGHT, clock.now()):
            census.apply(movement)
        await compare(line, house, census)

        def ended() -> bool:
            clock.advance(timedelta(hours=1))
            return task.done()

        await wait_until(ended, "the feed to come to its end", 60)
        await task
        census = Census(house)
        for movement in movements(house, seed, MIDNIGHT, until):
            census.apply(movement)
        await compare(line, house, census)
        assert set(feed.fates) == {"APPLIED" if house.source.is_automatic else "DECLARED"}
