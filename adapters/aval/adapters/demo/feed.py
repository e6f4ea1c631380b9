"""Gives an establishment's simulated day to its node, by the contract and only so, as its systems and people would.

`install` is the house's staff on the first day: it declares the establishment, its units with their rooms and beds,
their policies, and what partners see. `Feed.run` is the house at work:

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
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias, TypeVar
from uuid import UUID, uuid5

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from aval.adapters.demo.generator import Kind, Movement, movements
from aval.adapters.territory import BedPlan, HousePlan, OpenHours, RoomPlan, UnitPlan
from aval.kernel.clock import Clock
from aval.kernel.statuses import Counting, Gender, SourceKind
from aval.v1 import availability_pb2, census_pb2, census_pb2_grpc, terms_pb2

SYSTEM_SOURCE = "sih"
"""The source and the adapter (`…/adapter/sih`) of a house whose information system speaks."""

PERSON_SOURCE = "equipe"
"""The source of those who type; in every house, for a system may fail."""

UNACKNOWLEDGED_MAX = 200
"""Movements sent and not acknowledged on one stream; the node allows 256."""

ALIVE_EVERY = timedelta(minutes=4)
"""How often an open feed says so: three times within the 15 minutes after which a system's figures age."""

CONFIRM_EVERY = timedelta(hours=4)
"""How often a person says that nothing has changed: a shift has two such moments."""

RETRY_AFTER = timedelta(seconds=1)
"""After a stream that ended: a node on the same machine is back within some seconds."""

CALL_SECONDS = 20.0
"""How long one call may take: forty houses are installed at once on two cores."""

_NAMESPACE = UUID("6f6a2c52-5f0b-5c0e-9d0e-3f5f0b6a7d10")
"""Of the ids made here (UUID version 5). Any constant does."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Ages at which a source's figures begin to age, and are stale; shortened where a demonstration cannot wait."""

    fresh_max: timedelta
    stale_min: timedelta


# ---------------------------------------------------------------------------------------------------- the first day


async def install(channel: grpc.aio.Channel, house: HousePlan, thresholds: Thresholds | None = None) -> None:
    """Declares a house to its own node; `channel` is of a member of its staff. Doing it again changes nothing.

    Raises grpc.aio.AioRpcError.
    """
    census = census_pb2_grpc.CensusServiceStub(channel)
    described = census_pb2.UpdateEstablishmentRequest(
        name=f"establishments/{house.finess}",
        display_name=house.name,
        phones=[availability_pb2.Phone(hours="jour", number=house.phone)] if house.phone else [],
        time_zone=house.time_zone,
    )
    described.command_id = _id_of(described)
    await census.UpdateEstablishment(described, timeout=CALL_SECONDS)
    for unit in house.units:
        declared = _declaration(house, unit, thresholds)
        declared.command_id = _id_of(declared)
        await census.DeclareUnit(declared, timeout=CALL_SECONDS)


def _id_of(message: Message, *about: object) -> str:
    """An id that stands for this content, and for the circumstances named."""
    content = message.SerializeToString(deterministic=True).hex()
    return str(uuid5(_NAMESPACE, "/".join([message.DESCRIPTOR.name, content, *(str(part) for part in about)])))


def _declaration(house: HousePlan, unit: UnitPlan, thresholds: Thresholds | None) -> census_pb2.DeclareUnitRequest:
    name = _unit_name(house, unit.code)
    request = census_pb2.DeclareUnitRequest(
        name=name,
        display_name=unit.name,
        discipline=terms_pb2.Discipline.Value(f"DISCIPLINE_{unit.discipline.name}"),
        counting=availability_pb2.Counting.Value(f"COUNTING_{unit.counting.name}"),
        rooms=[_room(name, unit, room) for room in unit.rooms],
        sources=list(_sources(house, thresholds)),
        features=[terms_pb2.Feature.Value(f"FEATURE_{feature.name}") for feature in sorted(unit.features)],
        policy=_policy(name, house, unit),
        visibility=availability_pb2.VisibilityRule(
            ght=availability_pb2.SHOWN_EXACT,
            partner=availability_pb2.Shown.Value(f"SHOWN_{unit.practice.shown_to_partners.name}"),
            everyone=availability_pb2.SHOWN_YES_OR_NO,
        ),
    )
    if unit.counting is Counting.PLACES:
        request.places.add(gender=_gender(unit.gender), installed=unit.capacity, open=unit.capacity)
    if unit.age_min is not None or unit.age_max is not None:
        request.ages.min_years, request.ages.max_years = unit.age_min or 0, unit.age_max or 0
    return request


def _room(unit_name: str, unit: UnitPlan, room: RoomPlan) -> census_pb2.Room:
    def bed_of(bed: BedPlan) -> census_pb2.Bed:
        return census_pb2.Bed(
            name=f"{unit_name}/beds/{bed.code}",
            room=room.code,
            gender=_gender(unit.gender),
            features=[terms_pb2.Feature.Value(f"FEATURE_{f.name}") for f in sorted(bed.features - unit.features)],
        )

    return census_pb2.Room(
        id=room.code,
        rule=census_pb2.RoomRule.Value(f"ROOM_RULE_{room.rule.name}"),
        beds=[bed_of(bed) for bed in room.beds],
    )


def _sources(house: HousePlan, thresholds: Thresholds | None) -> Iterator[census_pb2.SourceDeclaration]:
    sources = [(PERSON_SOURCE, SourceKind.PERSON, "")]
    if house.source.is_automatic:
        sources.insert(0, (SYSTEM_SOURCE, house.source, SYSTEM_SOURCE))
    for source, kind, adapter in sources:
        declared = census_pb2.SourceDeclaration(
            id=source, kind=availability_pb2.SourceKind.Value(f"SOURCE_KIND_{kind.name}"), adapter=adapter
        )
        if thresholds is not None:
            declared.fresh_max.FromTimedelta(thresholds.fresh_max)
            declared.stale_min.FromTimedelta(thresholds.stale_min)
        yield declared


def _policy(name: str, house: HousePlan, unit: UnitPlan) -> census_pb2.UnitPolicy:
    answering = availability_pb2.PolicySummary.Answering.Value(f"ANSWERING_{unit.answering.upper()}")
    whole_week = unit.answer_hours is None or len(unit.answer_hours.days) == len(range(7))
    return census_pb2.UnitPolicy(
        unit=name,
        answering=answering,
        renewals_max=2,
        answer_hours=list(_week(unit.answer_hours)),
        admission_hours=list(_week(unit.admission_hours)),
        closed_on_public_holidays=not whole_week,
        alsace_moselle=house.alsace_moselle,
        promise_on_announced=unit.practice.promise,
        turnover_minutes=round(unit.practice.cleaning_minutes),
        notes=census_pb2.NotePolicy(apply_no=True),
    )


def _week(hours: OpenHours | None) -> Iterator[availability_pb2.WeekHours]:
    if hours is None:
        return
    closes = 24 * 60 if hours.closes is None else hours.closes.hour * 60 + hours.closes.minute
    for day in sorted(hours.days):
        yield availability_pb2.WeekHours(
            day=day + 1, start_minute=hours.opens.hour * 60 + hours.opens.minute, end_minute=closes
        )


def _unit_name(house: HousePlan, unit: str) -> str:
    return f"establishments/{house.finess}/units/{unit}"


def _gender(gender: Gender) -> terms_pb2.Gender.ValueType:
    return terms_pb2.Gender.Value(f"GENDER_{gender.name}")


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
        coming = _Coming(movements(self._house, self._seed, self._start, until), self._clock.now())
        if self._house.source.is_automatic:
            alive = asyncio.ensure_future(self._stay_alive())
            try:
                await self._as_system(coming, until)
            finally:
                alive.cancel()
        else:
            await self._as_person(coming, until)

    async def _as_system(self, coming: "_Coming", until: datetime) -> None:
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

    async def _hear(self, call: "_MovementsCall", coming: "_Coming", window: "_Window") -> None:
        """Acknowledgements, until the node ends the stream. Raises grpc.aio.AioRpcError."""
        while isinstance(answer := await call.read(), census_pb2.ApplyMovementsResponse):
            window.acknowledge(answer.movement_id)
            self.fates[census_pb2.ApplyMovementsResponse.Fate.Name(answer.fate).removeprefix("FATE_")] += 1
            self._note_caught_up(coming, window)

    async def _tell(self, call: "_MovementsCall", coming: "_Coming", window: "_Window", until: datetime) -> None:
        """Writes each message of a stream, and its end. A stream that is over is left: `_hear` says how it ended."""
        try:
            async for request in self._said(coming, window, until):
                await call.write(request)
                await window.knocked()
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return

    async def _said(
        self, coming: "_Coming", window: "_Window", until: datetime
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

    def _note_caught_up(self, coming: "_Coming", window: "_Window") -> None:
        if coming.is_caught_up and window.is_empty:
            self.caught_up.set()

    async def _stay_alive(self) -> None:
        """Proof of life of an open feed on which nothing happens."""
        while True:
            await self._pause(self._alive_every)
            with suppress(grpc.aio.AioRpcError):  # said again later; the stream of movements knows what is wrong
                request = census_pb2.ReportAliveRequest(source_id=SYSTEM_SOURCE)
                await self._census.ReportAlive(request, timeout=CALL_SECONDS)

    async def _as_person(self, coming: "_Coming", until: datetime) -> None:
        """Counts whenever they change, and « nothing has changed » when they long have not."""
        counts = _Counts(self._house)
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
                confirmation.command_id = _id_of(confirmation, self._house.finess, now)
                await self._insist(self._census.ConfirmUnit, confirmation)
                confirm = now + CONFIRM_EVERY
            await self._reach(min(until, confirm, *([coming.next.time] if coming.next else [])))

    def _count(self, unit: str, counts: "_Counts") -> census_pb2.DeclareCountsRequest:
        plan = counts.plans[unit]
        request = census_pb2.DeclareCountsRequest(unit=_unit_name(self._house, unit), source_id=PERSON_SOURCE)
        request.places.add(
            gender=_gender(plan.gender), open=plan.capacity - counts.closed[unit], occupied=counts.occupied(unit)
        )
        request.command_id = _id_of(request, self._seed, counts.at)
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


class _Coming:
    """The movements that are still to be told, the next of them in view."""

    def __init__(self, stream: Iterator[Movement], began: datetime) -> None:
        self._stream = stream
        self._began = began
        self.next = next(stream, None)

    @property
    def is_over(self) -> bool:
        return self.next is None

    @property
    def is_caught_up(self) -> bool:
        """Whether all that was due at the beginning has been taken."""
        return self.next is None or self.next.time > self._began

    def advance(self) -> None:
        self.next = next(self._stream, None)

    def due(self, now: datetime) -> Iterator[Movement]:
        while self.next is not None and self.next.time <= now:
            yield self.next
            self.advance()


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
            movement=_wire(self._house, movement, self._prefix, sequence=self._told)
        )
        self._sent.append(request)
        return request

    def acknowledge(self, movement_id: str) -> None:
        if self._sent and self._sent[0].movement.movement_id == movement_id:
            self._sent.popleft()
        self._has_room.set()
        self._answered.set()


class _Counts:
    """What a person who counts would find."""

    def __init__(self, house: HousePlan) -> None:
        self.plans = {unit.code: unit for unit in house.units}
        self.changed = set(self.plans)
        self.closed: Counter[str] = Counter()
        self.at: datetime | None = None
        """When the last movement happened."""
        self._units: dict[str, str] = {}

    def occupied(self, unit: str) -> int:
        return sum(here == unit for here in self._units.values())

    def apply(self, movement: Movement) -> None:
        self.at = movement.time
        touched = {movement.unit}
        match movement.kind:
            case Kind.ADMISSION | Kind.TRANSFER:
                touched.add(self._units.get(movement.stay_key, movement.unit))
                self._units[movement.stay_key] = movement.unit
            case Kind.DISCHARGE | Kind.CANCELLATION:
                self._units.pop(movement.stay_key, None)
            case Kind.BED_CLOSED:
                self.closed[movement.unit] += movement.places
            case Kind.BED_OPENED:
                self.closed[movement.unit] -= movement.places
            case _:
                return
        self.changed |= touched


def _wire(house: HousePlan, movement: Movement, prefix: str, sequence: int) -> census_pb2.Movement:
    """A movement in the words of the contract."""
    unit = _unit_name(house, movement.unit)
    bed = f"{unit}/beds/{movement.bed}" if movement.bed else ""
    told = census_pb2.Movement(
        movement_id=f"{prefix}-{movement.number}",
        source_id=SYSTEM_SOURCE,
        source_sequence=sequence,
        event_time=_stamp(movement.time),
        stay_key=movement.stay_key,
    )
    planned = None if movement.planned is None else _stamp(movement.planned)
    match movement.kind:
        case Kind.ADMISSION:
            told.admission.CopyFrom(
                census_pb2.Admission(
                    unit=unit, bed=bed, gender=_gender(movement.gender), to_clean_after=movement.to_clean
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
                census_pb2.ArrivalExpected(unit=unit, arrival_time=planned, gender=_gender(movement.gender))
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
        interval=terms_pb2.Interval(start=_stamp(movement.time), end=_stamp(movement.planned)),
        kind=availability_pb2.CLOSURE_KIND_REOPENABLE,
        reason=availability_pb2.ClosureReason.Value(f"CLOSURE_REASON_{movement.closed_for.name}"),
    )


def _stamp(instant: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp
