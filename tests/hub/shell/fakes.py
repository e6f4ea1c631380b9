"""Hand-written fakes for the hub's ports: a clock that jumps from wait to wait, a node, a link that loses things.

The fake node keeps to what the contract says of one: it decides a command once, by its id and number, and gives the
same verdict again; its word bears a revision; its watch resumes from a cursor. That is all that the hub may rely on.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from uuid import UUID

from msgspec.structs import replace

from aval.hub import model
from aval.hub.bootstrap import Running, build
from aval.hub.model import (
    Answer,
    ChangePart,
    Cursor,
    Description,
    KnownReservation,
    Member,
    Offer,
    Progress,
    Refused,
    SnapshotPart,
    Unit,
    establishment_of,
)
from aval.hub.ports import LinkLost, NodeAnswer, NodeCommand, NodeEvent, Store
from aval.hub.registry import Distance
from aval.hub.settings import Role, Settings
from aval.hub.store.memory import MemoryStore
from aval.kernel.disciplines import Discipline
from aval.kernel.identity import CallerKind, Identity, Territory
from aval.kernel.lifecycle import ReservationState
from aval.kernel.need import Mode
from aval.kernel.reasons import Reason, Refusal
from aval.kernel.statuses import (
    Answering,
    Audience,
    Counting,
    Gender,
    Horizon,
    SourceKind,
    Status,
)

START = datetime(2026, 11, 24, 8, 30, tzinfo=UTC)
TERRITORY = Territory("ge-10.aval.internal")
TOUL, LUNEVILLE, PARTNER, OTHER_PARTNER = "540000023", "540000155", "540002698", "540000296"
TURNS = 40
"""Turns of the event loop given to coroutines before time moves: far more than any chain of them here takes."""


class FakeClock:
    """Time that stands still until a test lets it go on: then it jumps to the next instant that somebody waits for."""

    def __init__(self) -> None:
        self._monotonic = 1000.0
        self._wall = START
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> datetime:
        """The wall clock."""
        return self._wall

    def monotonic(self) -> float:
        """The monotonic clock."""
        return self._monotonic

    async def sleep_until(self, monotonic: float) -> None:
        """Sleeps until the test lets time pass."""
        if monotonic <= self._monotonic:
            return
        self._count += 1
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (monotonic, self._count, waiting))
        await waiting

    def set_wall(self, seconds: float) -> None:
        """Sets the wall clock forth or back; the monotonic one goes on."""
        self._wall += timedelta(seconds=seconds)

    async def settle(self) -> None:
        """Lets every coroutine run until all wait."""
        for _ in range(TURNS):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(turn.set_result, None)
            await turn

    async def advance(self, seconds: float) -> None:
        """Lets that much time pass, waking sleepers in their order."""
        end = self._monotonic + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._jump(self._sleepers[0][0])
            await self.settle()
        self._jump(end)
        await self.settle()

    async def run_until(self, condition: Callable[[], bool | Awaitable[bool]], seconds_max: float, what: str) -> None:
        """Lets time pass until the condition holds; fails the test after `seconds_max` of this clock."""
        end = self._monotonic + seconds_max
        while True:
            await self.settle()
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            assert self._monotonic < end, f"waited {seconds_max} s of the fake clock in vain: {what}"
            self._jump(min(end, self._sleepers[0][0]) if self._sleepers else end)

    def _jump(self, monotonic: float) -> None:
        self._wall += timedelta(seconds=max(0.0, monotonic - self._monotonic))
        self._monotonic = max(self._monotonic, monotonic)
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            waiting = heapq.heappop(self._sleepers)[2]
            if not waiting.done():
                waiting.set_result(None)


class FakeRng:
    """Seeded chance."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def uuid(self) -> UUID:
        """A UUID."""
        return UUID(bytes=self._random.randbytes(16), version=4)

    def token(self, length_bytes: int) -> bytes:
        """Bytes."""
        return self._random.randbytes(length_bytes)

    def uniform(self, low: float, high: float) -> float:
        """A number."""
        return self._random.uniform(low, high)


class FakeMeters:
    """Meters that remember."""

    def __init__(self) -> None:
        self.queues: dict[str, int] = {}
        self.refusals: Counter[str] = Counter()
        self.states: dict[str, int] = {}
        self.batches: list[int] = []
        self.failed_commits = 0
        self.ages: dict[tuple[str, str], float] = {}

    def queue_length(self, queue: str, length: int) -> None:
        """Remembers it."""
        self.queues[queue] = length

    def committed(self, commands: int, seconds: float) -> None:
        """Remembers it."""
        self.batches.append(commands)

    def commit_failed(self) -> None:
        """Counts it."""
        self.failed_commits += 1

    def refused(self, reason: str) -> None:
        """Counts it."""
        self.refusals[reason] += 1

    def source_alive(self, establishment: str, source: str, age_seconds: float = 0.0) -> None:
        """Remembers it."""
        self.ages[establishment, source] = age_seconds

    def source_gone(self, establishment: str, source: str) -> None:
        """Forgets it."""
        self.ages.pop((establishment, source), None)

    def reservations(self, count_by_state: Mapping[str, int]) -> None:
        """Remembers it."""
        self.states.update(count_by_state)


@dataclass(frozen=True)
class FakePeer:
    """A certificate."""

    not_after: datetime = START + timedelta(days=30)


@dataclass(frozen=True)
class FakeCaller:
    """Who calls a servicer that is called without a wire."""

    identity: Identity
    actor: bytes | None = None
    peer: FakePeer = FakePeer()
    request_id: str = "3f1c0a52-0000-4000-8000-000000000001"

    @property
    def kind(self) -> CallerKind:
        """As within its own territory."""
        return self.identity.kind if self.identity.territory == TERRITORY else CallerKind.FOREIGN_HUB


@dataclass
class Faults:
    """How often a link misbehaves, 0 to 1 each."""

    cut: float = 0.0
    lose: float = 0.0
    repeat: float = 0.0
    delay_seconds_max: float = 0.0
    down: bool = False
    fit: float = inf
    """Commands whose answers fit on the line together; with one more it is cut, and all are lost."""


LOST = LinkLost(Refusal(Reason.NODE_UNREACHABLE))


@dataclass
class FakeNode:
    """A node with one unit: holds what it is asked for, while places last."""

    finess: str
    places: int = 4
    incarnation: int = 11
    revision: int = 1
    held: dict[str, KnownReservation] = field(default_factory=dict)
    verdicts: dict[str, Refused | None] = field(default_factory=dict)
    decided: Counter[str] = field(default_factory=Counter)
    received: list[NodeCommand] = field(default_factory=list)
    watched_from: list[Cursor | None] = field(default_factory=list)
    answer_with: Refused | None = None
    silent: bool = False
    """Decides, and never answers."""
    deaf: bool = False
    """Takes commands, and decides nothing."""
    visibility: model.VisibilityRule = field(default_factory=model.VisibilityRule)
    _rung: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def unit_name(self) -> str:
        """Its one unit."""
        return f"establishments/{self.finess}/units/SMR1"

    @property
    def cursor(self) -> Cursor:
        """Where its history stands."""
        return Cursor(self.finess, self.incarnation, self.revision, self.revision.to_bytes(8, "big"))

    def free(self) -> int:
        """Places without a claim."""
        takes = (ReservationState.HELD, ReservationState.CONFIRMED, ReservationState.ADMITTED)
        return self.places - sum(one.state in takes for one in self.held.values())

    def unit(self) -> Unit:
        """Its unit with its figures."""
        free = self.free()
        return Unit(
            name=self.unit_name,
            display_name=f"SMR {self.finess}",
            discipline=Discipline.SMR_GERIATRIC,
            counting=Counting.PLACES,
            as_of=START,
            declared=tuple(model.Declared(status, tuple(Horizon)) for status in Status),
            counts=(
                model.Count(Status.INSTALLED, Horizon.NOW, Gender.ANY, self.places),
                model.Count(Status.AVAILABLE, Horizon.NOW, Gender.ANY, free),
            ),
            grantable=(model.Grantable(Horizon.NOW, Gender.FEMALE, free),),
            classes=(model.PlaceClass(Gender.ANY, frozenset(), (model.FreeStep(START, free),)),),
            policy=model.Policy(Answering.AUTOMATIC, (Mode.HOLD, Mode.ASK)),
            sources=(
                model.Source("people", SourceKind.PERSON, timedelta(hours=12), timedelta(hours=24), timedelta(0)),
            ),
            visibility=self.visibility,
        )

    def change(self, name: str, state: ReservationState) -> None:
        """Moves a reservation, as its staff or time would; the watch tells it."""
        self.revision += 1
        self.held[name] = replace(self.held[name], state=state, revision=self.revision)
        self.ring()

    def publish(self) -> None:
        """A new revision, of figures."""
        self.revision += 1
        self.ring()

    def ring(self) -> None:
        """Wakes watchers."""
        self._rung.set()

    def decide(self, command: NodeCommand) -> NodeAnswer:
        """The verdict of a command: decided once, given again."""
        self.received.append(command)
        row = command.row
        if self.answer_with is not None:
            return NodeAnswer(Answer(row.id, self.held.get(row.reservation), self.answer_with), self.cursor)
        known = self.held.get(row.reservation)
        if row.id not in self.verdicts and (known is None or row.number > known.last_command_number):
            self.verdicts[row.id] = self._act(command)
            self.decided[row.id] += 1
        return NodeAnswer(Answer(row.id, self.held.get(row.reservation), self.verdicts.get(row.id)), self.cursor)

    def _act(self, command: NodeCommand) -> Refused | None:
        row, body = command.row, command.row.body
        known = self.held.get(row.reservation)
        refusal: Refused | None = None
        state = known.state if known else ReservationState.RELEASED
        match body:
            case model.Create():
                state = ReservationState.HELD if self.free() > 0 and body.mode is Mode.HOLD else ReservationState.ASKED
            case model.Confirm():
                if state is ReservationState.HELD:
                    state = ReservationState.CONFIRMED
                elif state is not ReservationState.CONFIRMED:
                    refusal = Refused(f"ALREADY_{state.value}", False)
            case model.Release():
                if state is ReservationState.ADMITTED:
                    refusal = Refused("ALREADY_ADMITTED", False)
                elif not state.is_final:
                    state = ReservationState.RELEASED
        self.revision += 1
        self.held[row.reservation] = KnownReservation(
            name=row.reservation,
            state=state,
            incarnation=self.incarnation,
            revision=self.revision,
            request=row.request,
            unit=self.unit_name,
            arrival=START,
            create_time=START,
            offer=Offer(self.unit_name, START, b"tag-1") if state is ReservationState.HELD else None,
            last_command_number=row.number,
        )
        self.ring()
        return refusal

    async def watch(self, cursor: Cursor | None, heard: Cursor | None = None) -> AsyncIterator[NodeEvent]:
        """As a node's watch."""
        self.watched_from.append(cursor)
        sent = 0
        if cursor is not None and cursor.incarnation == self.incarnation and cursor.revision <= self.revision:
            sent = cursor.revision
            yield Progress(self.cursor if sent == self.revision else cursor)
        else:
            sent = self.revision
            yield SnapshotPart(
                self.cursor, Description(f"Maison {self.finess}"), (self.unit(),), tuple(self.held.values())
            )
        while True:
            if self.revision > sent:
                news = tuple(one for one in self.held.values() if one.revision > sent)
                sent = self.revision
                yield ChangePart(self.cursor, (self.unit(),), (), news)
            else:
                self._rung.clear()
                await self._rung.wait()


class FakeExchange:
    """A stream to a fake node over a bad line: commands and answers are lost, repeated, late, out of order."""

    def __init__(self, link: FakeLink) -> None:
        self._link = link
        self._answers: asyncio.Queue[NodeAnswer | LinkLost] = asyncio.Queue()
        self._unanswered = 0
        self._late: set[asyncio.Task[None]] = set()

    async def send(self, command: NodeCommand) -> None:
        """Carries a command, or not."""
        link, chance = self._link, self._link.chance
        self._unanswered += 1
        if chance.random() < link.faults.cut or self._unanswered > link.faults.fit:
            self._answers.put_nowait(LOST)
            return
        copies = 0 if chance.random() < link.faults.lose else 2 if chance.random() < link.faults.repeat else 1
        for _ in range(copies):
            self._later(self._decide(command))

    async def receive(self) -> NodeAnswer | None:
        """The next answer that got through."""
        got = await self._answers.get()
        if isinstance(got, LinkLost):
            raise got
        return got

    def close(self) -> None:
        """What is under way stays under way: a late command may still reach the node."""

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _decide(self, command: NodeCommand) -> None:
        link, chance = self._link, self._link.chance
        await link.delay()
        if link.faults.down:
            self._answers.put_nowait(LOST)
            return
        if link.node.deaf:
            link.node.received.append(command)
            return
        answer = link.node.decide(command)
        await link.delay()
        if link.node.silent:
            return
        if chance.random() < link.faults.lose:
            self._answers.put_nowait(LOST)
            return
        self._unanswered -= 1
        for _ in range(2 if chance.random() < link.faults.repeat else 1):
            self._answers.put_nowait(answer)


class FakeLink:
    """`NodeLink` to a fake node."""

    def __init__(self, node: FakeNode, clock: FakeClock, faults: Faults, chance: random.Random) -> None:
        self.node = node
        self.faults = faults
        self.chance = chance
        self._clock = clock
        self.closed = False
        self.exchanges = 0

    async def delay(self) -> None:
        """A while, different for each message: so they come out of order."""
        if self.faults.delay_seconds_max:
            until = self._clock.monotonic() + self.chance.uniform(0, self.faults.delay_seconds_max)
            await self._clock.sleep_until(until)

    def _breaks(self) -> bool:
        return self.faults.down or self.chance.random() < self.faults.cut

    async def watch(self, cursor: Cursor | None, heard: Cursor | None = None) -> AsyncIterator[NodeEvent]:
        """See the port."""
        if self.faults.down:
            raise LOST
        async for event in self.node.watch(cursor, heard):
            if self._breaks():
                raise LOST
            yield event

    @asynccontextmanager
    async def exchange(self) -> AsyncIterator[FakeExchange]:
        """See the port."""
        if self.faults.down:
            raise LOST
        self.exchanges += 1
        yield FakeExchange(self)

    async def close(self) -> None:
        """See the port."""
        self.closed = True


MEMBERS = {
    TOUL: Member(TOUL, "CH de Toul", Audience.GHT, "540000049", 48.67, 5.88, False, "toul:1"),
    LUNEVILLE: Member(LUNEVILLE, "CH de Lunéville", Audience.GHT, "540000080", 48.58, 6.49, False, "luneville:1"),
    PARTNER: Member(PARTNER, "SMR partenaire", Audience.PARTNER, "", 48.69, 6.18, False, "partner:1"),
    OTHER_PARTNER: Member(OTHER_PARTNER, "EHPAD voisin", Audience.PARTNER, "", 48.7, 6.2, False, "neighbour:1"),
}


@dataclass
class FakeHub:
    """A hub over fakes. `caller` is who makes the next calls of servicers."""

    clock: FakeClock
    store: Store
    nodes: dict[str, FakeNode]
    faults: dict[str, Faults]
    meters: FakeMeters
    running: Running
    caller: list[FakeCaller]
    dialled: list[tuple[str, str]]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Sets its coroutines going."""
        self.tasks = [asyncio.ensure_future(loop()) for loop in self.running.loops.values()]

    async def stop(self) -> None:
        """Stops them, as a crash would: in the middle."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def fake_hub(
    *, seed: int = 1, store: Store | None = None, like: FakeHub | None = None, faults: Faults | None = None
) -> FakeHub:
    """A hub over fake nodes, not started; `like`: the same nodes, clock and store as that one, which has died."""
    clock = like.clock if like else FakeClock()
    nodes = like.nodes if like else {finess: FakeNode(finess) for finess in MEMBERS}
    every = like.faults if like else {finess: replaced(faults) for finess in MEMBERS}
    chance = random.Random(seed)
    kept = store if store is not None else like.store if like else MemoryStore()
    meters, caller, dialled = FakeMeters(), list[FakeCaller](), list[tuple[str, str]]()

    def connect(finess: str, address: str) -> FakeLink:
        dialled.append((finess, address))
        return FakeLink(nodes[finess], clock, every[finess], chance)

    settings = Settings(
        territory_file=Path("none"),
        identity=Path("none"),
        database="none",
        roles={"anne": Role.CELL, "marc": Role.MANAGEMENT},
    )
    distances = {(a, b): Distance(10.0 if a != b else 0.0, 12.0) for a in MEMBERS for b in MEMBERS}
    running = await build(
        settings,
        TERRITORY,
        MEMBERS,
        distances,
        store=kept,
        connect=connect,
        caller=lambda: caller[-1],
        clock=clock,
        rng=FakeRng(seed),
        meters=meters,
    )
    return FakeHub(clock, kept, nodes, every, meters, running, caller, dialled)


def replaced(faults: Faults | None) -> Faults:
    """A copy of its own for each link."""
    return Faults(**vars(faults)) if faults else Faults()


def house_of(name: str) -> str:
    """The FINESS of a resource's house."""
    return establishment_of(name)
