"""Gives an establishment's simulated day to its node, by the contract and only so, as its systems and people would.

`Feed.run` is the house at work:

- where the source is an information system, an adapter holds one stream open. Each movement is sent at its time, those
  of the past at once, and kept until the node has acknowledged it, so that a node that dies or ends the stream gets the
  rest again under the same ids. Between movements the feed says that it is alive.
- where people type, a person counts: open and occupied places of a unit each time that they change, and « nothing has
  changed » from time to time.

All ids are made from what they stand for: the same feed run twice says the same things once. SIMULATION: no patient of
this module exists.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from aval.adapters.demo.coming import Coming, Counts
from aval.adapters.demo.declaring import CALL_SECONDS, PERSON_SOURCE, SYSTEM_SOURCE, gender_number, id_of, unit_name
from aval.adapters.demo.generator import Kind, Movement, movements
from aval.adapters.territory import HousePlan
from aval.kernel.clock import Clock
from aval.v1 import availability_pb2, census_pb2, census_pb2_grpc, terms_pb2

UNACKNOWLEDGED_MAX = 200
"""Movements sent and not acknowledged on one stream; the node allows 256."""

ALIVE_EVERY = timedelta(minutes=4)
"""How often an open feed says so: three times within the 15 minutes after which a system's figures age."""

CONFIRM_EVERY = timedelta(hours=4)
"""How often a person says that nothing has changed: a shift has two such moments."""

RETRY_AFTER = timedelta(seconds=1)
"""After a stream that ended: a node on the same machine is back within some seconds."""


# -------------------------------------------------------------------------------------------------- the house at work


class Feed:
    """One house at work. `fates` counts what became of its movements (`APPLIED`, `PARKED`…) and of its counts
    (`DECLARED`); `caught_up` is set once the node has answered for all that was due when `run` began."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        house: HousePlan,
        seed: int,
        start: datetime,
        clock: Clock,
        alive_every: timedelta = ALIVE_EVERY,
    ) -> None:
        """`channel`: of the adapter `sih` where the house has a system, else of its staff. `start`: see `generator`."""
        self._census = census_pb2_grpc.CensusServiceStub(channel)
        self._house = house
        self._seed = seed
        self._start = start
        self._clock = clock
        self._alive_every = alive_every
        self.fates: Counter[str] = Counter()
        self.caught_up = asyncio.Event()

    async def run(self, until: datetime) -> None:
        """Feeds the node up to an instant, then returns with everything acknowledged. Run once; cancelled at any time.

        A node that is away is tried again for ever. Raises grpc.aio.AioRpcError for what another try cannot cure.
        """
        coming = Coming(movements(self._house, self._seed, self._start, until), self._clock.now())
        if self._house.source.is_automatic:
            alive = asyncio.ensure_future(self._stay_alive())
            try:
                await self._as_system(coming, until)
            finally:
                alive.cancel()
        else:
            await self._as_person(coming, until)

    async def _as_system(self, coming: "Coming", until: datetime) -> None:
        """One stream after the other, until all is acknowledged."""
        window = _Window(self._house, self._seed, self._start)
        while True:
            window.begin()
            call = self._census.ApplyMovements()
            hearing = asyncio.ensure_future(self._hear(call, coming, window))
            telling = asyncio.ensure_future(self._tell(call, coming, window, until))
            try:
                done, _ = await asyncio.wait((hearing, telling), return_when=asyncio.FIRST_COMPLETED)
                if telling in done:
                    telling.result()  # a fault of ours is raised, and no answer is waited for
                await hearing
            except grpc.aio.AioRpcError as error:
                if error.code() not in _AWAY and not _is_lost(error):
                    raise
            finally:
                for task in (hearing, telling):
                    task.cancel()
                await asyncio.gather(hearing, telling, return_exceptions=True)
                call.cancel()
            if coming.is_over and window.is_empty and self._clock.now() >= until:
                return
            await self._pause(RETRY_AFTER)

    async def _hear(self, call: "_MovementsCall", coming: "Coming", window: "_Window") -> None:
        """Acknowledgements, until the node ends the stream. Raises grpc.aio.AioRpcError."""
        while isinstance(answer := await call.read(), census_pb2.ApplyMovementsResponse):
            window.acknowledge(answer.movement_id)
            self.fates[census_pb2.ApplyMovementsResponse.Fate.Name(answer.fate).removeprefix("FATE_")] += 1
            self._note_caught_up(coming, window)

    async def _tell(self, call: "_MovementsCall", coming: "Coming", window: "_Window", until: datetime) -> None:
        """Writes each message of a stream, and its end. A stream that is over is left: `_hear` says how it ended."""
        try:
            async for request in self._said(coming, window, until):
                await call.write(request)
                await window.knocked()
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return

    async def _said(
        self, coming: "Coming", window: "_Window", until: datetime
    ) -> AsyncIterator[census_pb2.ApplyMovementsRequest]:
        """What one stream says: what is not acknowledged, then each movement at its time. It ends at `until`."""
        for request in window.unacknowledged():
            yield request
        self._note_caught_up(coming, window)
        while (movement := coming.next) is not None:
            await self._reach(movement.time)
            await window.room()
            coming.advance()
            yield window.enter(movement)
        await self._reach(until)

    def _note_caught_up(self, coming: "Coming", window: "_Window") -> None:
        if coming.is_caught_up and window.is_empty:
            self.caught_up.set()

    async def _stay_alive(self) -> None:
        """Proof of life of an open feed on which nothing happens."""
        while True:
            await self._pause(self._alive_every)
            with suppress(grpc.aio.AioRpcError):  # said again later; the stream of movements knows what is wrong
                request = census_pb2.ReportAliveRequest(source_id=SYSTEM_SOURCE)
                await self._census.ReportAlive(request, timeout=CALL_SECONDS)

    async def _as_person(self, coming: "Coming", until: datetime) -> None:
        """Counts whenever they change, and « nothing has changed » when they long have not."""
        counts = Counts(self._house)
        confirm = self._clock.now() + CONFIRM_EVERY
        while True:
            for movement in coming.due(self._clock.now()):
                counts.apply(movement)
            while counts.changed:
                unit = min(counts.changed)
                await self._insist(self._census.DeclareCounts, self._count(unit, counts))
                counts.changed.discard(unit)
                self.fates["DECLARED"] += 1
            self.caught_up.set()
            now = self._clock.now()
            if now >= until:
                return
            if now >= confirm:
                confirmation = census_pb2.ConfirmUnitRequest()
                confirmation.command_id = id_of(confirmation, self._house.finess, now)
                await self._insist(self._census.ConfirmUnit, confirmation)
                confirm = now + CONFIRM_EVERY
            await self._reach(min(until, confirm, *([coming.next.time] if coming.next else [])))

    def _count(self, unit: str, counts: "Counts") -> census_pb2.DeclareCountsRequest:
        plan = counts.plans[unit]
        request = census_pb2.DeclareCountsRequest(unit=unit_name(self._house, unit), source_id=PERSON_SOURCE)
        request.places.add(
            gender=gender_number(plan.gender), open=plan.capacity - counts.closed[unit], occupied=counts.occupied(unit)
        )
        request.command_id = id_of(request, self._seed, counts.at)
        return request

    async def _insist(self, method: "grpc.aio.UnaryUnaryMultiCallable[_Asked, _Answered]", request: "_Asked") -> None:
        """The same call until the node is there to answer it."""
        while True:
            try:
                await method(request, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _AWAY:
                    raise
                await self._pause(RETRY_AFTER)
            else:
                return

    async def _pause(self, length: timedelta) -> None:
        await self._clock.sleep_until(self._clock.monotonic() + length.total_seconds())

    async def _reach(self, instant: datetime) -> None:
        if (left := instant - self._clock.now()) > timedelta(0):
            await self._pause(left)


_MovementsCall: TypeAlias = (
    "grpc.aio.StreamStreamCall[census_pb2.ApplyMovementsRequest, census_pb2.ApplyMovementsResponse]"
)
_Asked = TypeVar("_Asked", bound=Message)
_Answered = TypeVar("_Answered", bound=Message)

_AWAY = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
)
"""What another try may cure."""


def _is_lost(error: grpc.aio.AioRpcError) -> bool:
    """Whether the stream ended while it was written to: gRPC then puts an error of its own in the place of the
    server's status (grpc/grpc#36066). The next stream, which knocks before it goes on, hears the status itself."""
    return error.code() is grpc.StatusCode.INTERNAL and "SendMessageOperation" in (error.debug_error_string() or "")


class _Window:
    """What was sent and is not acknowledged, in order, over all streams."""

    def __init__(self, house: HousePlan, seed: int, start: datetime) -> None:
        self._house = house
        self._prefix = f"{seed}-{start:%Y%m%dT%H%M}"
        self._sent: deque[census_pb2.ApplyMovementsRequest] = deque()
        self._told = 0
        self._has_room = asyncio.Event()
        self._answered = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        return not self._sent

    def unacknowledged(self) -> tuple[census_pb2.ApplyMovementsRequest, ...]:
        return tuple(self._sent)

    def begin(self) -> None:
        """A new stream: it has answered nothing yet."""
        self._answered.clear()

    async def room(self) -> None:
        while len(self._sent) >= UNACKNOWLEDGED_MAX:
            self._has_room.clear()
            await self._has_room.wait()

    async def knocked(self) -> None:
        """Waits until the stream has answered once: what refuses it does so at its first word."""
        await self._answered.wait()

    def enter(self, movement: Movement) -> census_pb2.ApplyMovementsRequest:
        self._told += 1
        request = census_pb2.ApplyMovementsRequest(
            movement=wire(self._house, movement, self._prefix, sequence=self._told)
        )
        self._sent.append(request)
        return request

    def acknowledge(self, movement_id: str) -> None:
        if self._sent and self._sent[0].movement.movement_id == movement_id:
            self._sent.popleft()
        self._has_room.set()
        self._answered.set()


def wire(
    house: HousePlan, movement: Movement, prefix: str, sequence: int, source: str = SYSTEM_SOURCE
) -> census_pb2.Movement:
    """A movement in the words of the contract, told by a source."""
    unit = unit_name(house, movement.unit)
    bed = f"{unit}/beds/{movement.bed}" if movement.bed else ""
    told = census_pb2.Movement(
        movement_id=f"{prefix}-{movement.number}",
        source_id=source,
        source_sequence=sequence,
        event_time=stamp(movement.time),
        stay_key=movement.stay_key,
    )
    planned = None if movement.planned is None else stamp(movement.planned)
    match movement.kind:
        case Kind.ADMISSION:
            told.admission.CopyFrom(
                census_pb2.Admission(
                    unit=unit, bed=bed, gender=gender_number(movement.gender), to_clean_after=movement.to_clean
                )
            )
        case Kind.TRANSFER:
            told.transfer.CopyFrom(census_pb2.Transfer(unit=unit, bed=bed))
        case Kind.DISCHARGE:
            told.discharge.CopyFrom(census_pb2.Discharge(to_clean=movement.to_clean))
        case Kind.LEAVE:
            told.leave.CopyFrom(census_pb2.Leave(return_time=planned, keep_bed=True))
        case Kind.LEAVE_RETURN:
            told.leave_return.CopyFrom(census_pb2.LeaveReturn(bed=bed))
        case Kind.CANCELLATION:
            told.cancellation.cancelled_movement_id = f"{prefix}-{movement.cancels}"
        case Kind.DEPARTURE_ANNOUNCED:
            told.departure_announced.CopyFrom(census_pb2.DepartureAnnounced(departure_time=planned))
        case Kind.ARRIVAL_EXPECTED:
            told.arrival_expected.CopyFrom(
                census_pb2.ArrivalExpected(unit=unit, arrival_time=planned, gender=gender_number(movement.gender))
            )
        case Kind.BED_CLOSED:
            told.bed_closed.CopyFrom(_closure(movement, unit, bed))
        case Kind.BED_OPENED:
            told.bed_opened.CopyFrom(census_pb2.BedOpened(beds=[bed] if bed else [], unit=unit, places=movement.places))
        case Kind.BED_CLEANED:
            told.bed_cleaned.bed = bed
    return told


def _closure(movement: Movement, unit: str, bed: str) -> census_pb2.BedClosed:
    if movement.planned is None or movement.closed_for is None:
        raise ValueError(f"a closure without end or reason: {movement}")
    return census_pb2.BedClosed(
        beds=[bed] if bed else [],
        unit=unit,
        places=movement.places,
        interval=terms_pb2.Interval(start=stamp(movement.time), end=stamp(movement.planned)),
        kind=availability_pb2.CLOSURE_KIND_REOPENABLE,
        reason=availability_pb2.ClosureReason.Value(f"CLOSURE_REASON_{movement.closed_for.name}"),
    )


def stamp(instant: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp
