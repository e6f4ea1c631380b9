"""A clock that a test moves, chance from a seed, counts that a test reads, and a node put together over them."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

from aval.kernel.finess import FinessET
from aval.kernel.identity import CallerKind, EstablishmentDesk, HubReplica, Identity, Staff, Territory, standing
from aval.kernel.identity import Node as NodeIdentity
from aval.node.bootstrap import ComposedNode, compose
from aval.node.history import REVISIONS_RETAINED
from aval.node.ports import Batch, StorageUnavailable, Store, Stored
from aval.node.server import AvailabilityService, CensusService, LinkService, ReservationService
from aval.node.settings import Settings
from aval.node.store.memory import MemoryStore
from aval.node.translate.inward import HubRequest
from aval.v1 import availability_pb2, census_pb2, link_pb2, terms_pb2
from tests.node.shell.words import command

HERE = Territory("ge-10.aval.internal")
HOUSE = FinessET("540000023")
NODE = NodeIdentity(HERE, HOUSE)
HUB = HubReplica(HERE, 0)
MARIE = Staff(HERE, HOUSE, "marie")
DESK = EstablishmentDesk(HERE, HOUSE)
START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
INCARNATION = 0xF00DFACECAFEBEEF


class FakeClock:
    """`aval.kernel.clock.Clock` whose time stands still until `advance`. The wall may be moved apart from it."""

    def __init__(self, now: datetime = START) -> None:
        self.wall = now
        self._monotonic = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = count()

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep_until(self, monotonic: float) -> None:
        if monotonic > self._monotonic:
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._sleepers, (monotonic, next(self._number), woken))
            await woken

    def advance(self, length: timedelta) -> None:
        """Lets time pass, on the wall too."""
        self.wall += length
        self._monotonic += length.total_seconds()
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)


class SeededRng:
    """`aval.kernel.clock.Rng` that draws the same again."""

    def __init__(self, seed: int = 7) -> None:
        self._random = random.Random(seed)

    def uuid(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)

    def token(self, length_bytes: int) -> bytes:
        return self._random.randbytes(length_bytes)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


@dataclass
class Counts:
    """`aval.node.ports.Meter` that a test reads."""

    commits: list[int] = field(default_factory=list)
    failed: int = 0
    queues: dict[str, int] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    states: dict[str, int] = field(default_factory=dict)
    ages: dict[str, float] = field(default_factory=dict)

    def committed(self, commands: int, seconds: float) -> None:
        self.commits.append(commands)

    def commit_failed(self) -> None:
        self.failed += 1

    def queue_length(self, queue: str, length: int) -> None:
        self.queues[queue] = length

    def refused(self, reason: str) -> None:
        self.refusals[reason] += 1

    def reservations(self, count_by_state: Mapping[str, int]) -> None:
        self.states = {state: number for state, number in count_by_state.items() if number}

    def source_alive(self, establishment: str, source: str, age_seconds: float = 0.0) -> None:
        self.ages[source] = age_seconds

    def source_gone(self, establishment: str, source: str) -> None:
        del self.ages[source]


class DiskStore:
    """A store whose disk a test fills, stops, or lets fail after it has written."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.full = False
        self.unreadable = False
        self.fail_after_writing = False
        self.gate: asyncio.Event | None = None
        self.waiting = asyncio.Event()
        self.loads = 0

    async def load(self) -> Stored:
        self.loads += 1
        if self.unreadable:
            raise StorageUnavailable("disk I/O error")
        return await self.inner.load()

    async def commit(self, batch: Batch) -> None:
        if self.gate is not None:
            self.waiting.set()
            await self.gate.wait()
        if self.full:
            raise StorageUnavailable("database or disk is full")
        await self.inner.commit(batch)
        if self.fail_after_writing:
            raise StorageUnavailable("disk I/O error")

    async def save_proofs(self, proofs: Mapping[str, datetime]) -> None:
        if self.full:
            raise StorageUnavailable("database or disk is full")
        await self.inner.save_proofs(proofs)

    async def digest_of(self, number: int) -> bytes | None:
        return await self.inner.digest_of(number)

    async def compact(self, before: int) -> None:
        await self.inner.compact(before)

    async def close(self) -> None:
        await self.inner.close()


@dataclass
class FakePeer:
    """Who calls, as the gate would have found."""

    identity: Identity
    actor: bytes | None = None

    @property
    def kind(self) -> CallerKind:
        return standing(self.identity, NODE)


@dataclass
class House:
    """A node over fakes. `peer` makes the calls; set it to call as somebody else."""

    node: ComposedNode
    clock: FakeClock
    counts: Counts
    store: DiskStore
    peer: FakePeer

    @property
    def revision(self) -> int:
        """The revision that is published."""
        return self.node.writer.published.cursor.revision

    @property
    def cursor(self) -> terms_pb2.Cursor:
        """Where what is published stands."""
        return self.node.edge.moment().cursor()

    @property
    def availability(self) -> AvailabilityService:
        """Its services, called without a wire."""
        return AvailabilityService(self.node.edge)

    @property
    def census(self) -> CensusService:
        """As `availability`."""
        return CensusService(self.node.edge)

    @property
    def link(self) -> LinkService:
        """As `availability`."""
        return LinkService(self.node.edge)

    @property
    def reservations(self) -> ReservationService:
        """As `availability`."""
        return ReservationService(self.node.edge)

    def calls_as(self, identity: Identity, actor: bytes | None = None) -> None:
        """Who makes the calls from now on."""
        self.peer = FakePeer(identity, actor)

    async def declare(self, request: census_pb2.DeclareUnitRequest) -> availability_pb2.Unit:
        """Has staff declare a unit; the hub calls again afterwards."""
        before, self.peer = self.peer, FakePeer(MARIE)
        unit = await self.census.DeclareUnit(request, NO_CONTEXT)
        self.peer = before
        return unit

    async def command(self, request: HubRequest) -> link_pb2.Answer:
        """One command of the hub on a stream of its own, and its answer."""
        (answer,) = await self.commands(request)
        return answer

    async def commands(self, *requests: HubRequest) -> list[link_pb2.Answer]:
        """Commands on one stream, and their answers, in any order."""

        async def send() -> AsyncIterator[link_pb2.ExchangeRequest]:
            for request in requests:
                yield link_pb2.ExchangeRequest(command=command(request))

        return [response.answer async for response in self.link.Exchange(send(), NO_CONTEXT)]


NO_CONTEXT: Any = None
"""The services never read the context: the gate has."""

SETTINGS = Settings(
    territory=HERE,
    finess=HOUSE,
    identity=Path("identity"),
    listen="127.0.0.1:0",
    database=Path("node.db"),
    metrics_port=0,
    announce_address=None,
    deny_list=None,
    progress_seconds=15.0,
    hub_address=None,
)


@asynccontextmanager
async def house(
    store: Store | None = None, clock: FakeClock | None = None, retained: int = REVISIONS_RETAINED
) -> AsyncIterator[House]:
    """A node that runs, with an empty database unless one is given."""
    disk = DiskStore(store if store is not None else MemoryStore(INCARNATION))
    clock = clock if clock is not None else FakeClock()
    counts = Counts()
    peer = FakePeer(HUB)
    node = compose(
        SETTINGS,
        clock=clock,
        rng=SeededRng(),
        store=disk,
        meter=counts,
        current_peer=lambda: opened.peer,
        retained=retained,
    )
    opened = House(node, clock, counts, disk, peer)
    await opened.node.writer.start()
    running = asyncio.create_task(opened.node.writer.run())
    try:
        yield opened
    finally:
        running.cancel()
        await asyncio.wait((running,))
        if not running.cancelled():
            running.result()
