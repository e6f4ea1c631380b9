"""The feed against a node that forgets, ends streams and dies: everything is told, in order, once by id."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import grpc
import pytest
from google.protobuf.message import Message

from aval.adapters.demo import GE_10
from aval.adapters.demo.declaring import PERSON_SOURCE, SYSTEM_SOURCE, Thresholds, install
from aval.adapters.demo.feed import ALIVE_EVERY, CONFIRM_EVERY, Feed
from aval.adapters.demo.generator import Kind, Movement, movements
from aval.adapters.territory import HousePlan, house_plan, load
from aval.kernel.statuses import Counting
from aval.v1 import availability_pb2, census_pb2, terms_pb2
from tests.adapters.demo.hand_clock import HandClock
from tests.waiting import PATIENCE_SECONDS
from tests.waiting import until as wait_until

FILE = load(GE_10)
HOSPITAL = house_plan(FILE, "540000296")
EHPAD = house_plan(FILE, "540009479")
MIDNIGHT = datetime(2026, 11, 23, 23, 0, tzinfo=UTC)


_Asked = TypeVar("_Asked", bound=Message)
_Context = grpc.aio.ServicerContext[Message, Message]


class FakeNode:
    """Keeps what it is told. `breaks` says after how many movements of a stream it ends, and how: one a stream."""

    def __init__(self, *breaks: tuple[int, grpc.StatusCode | None]) -> None:
        self.breaks = list(breaks)
        self.kept: dict[str, census_pb2.Movement] = {}
        self.order: list[int] = []
        self.streams = 0
        self.alive: list[str] = []
        self.declared: dict[str, census_pb2.DeclareUnitRequest] = {}
        self.described: list[census_pb2.UpdateEstablishmentRequest] = []
        self.counts: list[census_pb2.DeclareCountsRequest] = []
        self.confirmed: list[str] = []
        self.away = 0

    async def apply_movements(
        self,
        request_iterator: AsyncIterator[census_pb2.ApplyMovementsRequest],
        context: _Context,
    ) -> AsyncIterator[census_pb2.ApplyMovementsResponse]:
        self.streams += 1
        after, status = self.breaks.pop(0) if self.breaks else (None, None)
        heard = 0
        async for request in request_iterator:
            movement = request.movement
            known = self.kept.get(movement.movement_id)
            assert known is None or known == movement, "the same id says the same thing"
            fate = census_pb2.ApplyMovementsResponse.FATE_ALREADY
            if known is None:
                fate = census_pb2.ApplyMovementsResponse.FATE_APPLIED
                self.kept[movement.movement_id] = movement
                self.order.append(movement.source_sequence)
            heard += 1
            if heard == after:  # kept, but not acknowledged: as a node that dies between commit and answer
                if status is not None:
                    await context.abort(status, "gone")
                return
            yield census_pb2.ApplyMovementsResponse(
                source_id=movement.source_id, movement_id=movement.movement_id, fate=fate
            )

    async def report_alive(
        self,
        request: census_pb2.ReportAliveRequest,
        context: _Context,
    ) -> census_pb2.ReportAliveResponse:
        self.alive.append(request.source_id)
        return census_pb2.ReportAliveResponse()

    async def update_establishment(
        self,
        request: census_pb2.UpdateEstablishmentRequest,
        context: _Context,
    ) -> availability_pb2.Establishment:
        self.described.append(request)
        return availability_pb2.Establishment(name=request.name)

    async def declare_unit(
        self,
        request: census_pb2.DeclareUnitRequest,
        context: _Context,
    ) -> availability_pb2.Unit:
        self.declared[request.command_id] = request
        return availability_pb2.Unit(name=request.name)

    async def declare_counts(
        self,
        request: census_pb2.DeclareCountsRequest,
        context: _Context,
    ) -> availability_pb2.Unit:
        if self.away:
            self.away -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        self.counts.append(request)
        return availability_pb2.Unit(name=request.unit)

    async def confirm_unit(
        self,
        request: census_pb2.ConfirmUnitRequest,
        context: _Context,
    ) -> census_pb2.ConfirmUnitResponse:
        self.confirmed.append(request.command_id)
        return census_pb2.ConfirmUnitResponse()


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()


def unary(
    method: Callable[[_Asked, _Context], Awaitable[Message]], kind: type[_Asked]
) -> grpc.RpcMethodHandler[_Asked, Message]:
    return grpc.unary_unary_rpc_method_handler(method, kind.FromString, _bytes)


def serving(node: FakeNode) -> grpc.aio.Server:
    """A server of a node, not started."""
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "ApplyMovements": grpc.stream_stream_rpc_method_handler(
            node.apply_movements, census_pb2.ApplyMovementsRequest.FromString, _bytes
        ),
        "ReportAlive": unary(node.report_alive, census_pb2.ReportAliveRequest),
        "UpdateEstablishment": unary(node.update_establishment, census_pb2.UpdateEstablishmentRequest),
        "DeclareUnit": unary(node.declare_unit, census_pb2.DeclareUnitRequest),
        "DeclareCounts": unary(node.declare_counts, census_pb2.DeclareCountsRequest),
        "ConfirmUnit": unary(node.confirm_unit, census_pb2.ConfirmUnitRequest),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("aval.v1.CensusService", handlers),))
    return server


@asynccontextmanager
async def served(node: FakeNode) -> AsyncIterator[grpc.aio.Channel]:
    server = serving(node)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(0)


@asynccontextmanager
async def running(feed: Feed, until: datetime) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(feed.run(until))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def moving(clock: HandClock, step: timedelta, task: asyncio.Task[None]) -> None:
    """Moves the clock until the task ends, and not while its words are on their way: days would pass meanwhile."""

    def ended() -> bool:
        if clock.is_slept:
            clock.advance(step)
        return task.done()

    await wait_until(ended, "the feed to come to its end")
    await task


def heard_since(node: FakeNode, before: int) -> bool:
    return len(node.alive) > before


def told(house: HousePlan, seed: int, until: datetime) -> list[Movement]:
    return list(movements(house, seed, MIDNIGHT, until))


# ---------------------------------------------------------------------------------------------------- the first day


async def test_a_house_is_declared_whole_and_once() -> None:
    node = FakeNode()
    async with served(node) as channel:
        await install(channel, HOSPITAL)
        await install(channel, HOSPITAL)
    assert len(node.declared) == len(HOSPITAL.units), "the same ids a second time"
    assert len({UUID(request.command_id) for request in node.described}) == 1
    assert node.described[0].phones[0].number.startswith("+33 3 53 01")
    by_name = {request.name.rpartition("/")[2]: request for request in node.declared.values()}
    for unit in HOSPITAL.units:
        request = by_name[unit.code]
        assert request.discipline == terms_pb2.Discipline.Value(f"DISCIPLINE_{unit.discipline.name}")
        beds = [bed for room in request.rooms for bed in room.beds]
        assert len({bed.name for bed in beds}) == unit.capacity
        assert all(bed.name.startswith(f"{request.name}/beds/") for bed in beds)
        assert [source.id for source in request.sources] == [SYSTEM_SOURCE, PERSON_SOURCE]
        assert request.sources[0].adapter == SYSTEM_SOURCE
        assert request.policy.unit == request.name
        assert request.ages.min_years == (unit.age_min or 0)
    geriatric = next(r for r in by_name.values() if r.discipline == terms_pb2.DISCIPLINE_SMR_GERIATRIC)
    assert [hours.day for hours in geriatric.policy.answer_hours] == [1, 2, 3, 4, 5]
    assert geriatric.policy.answer_hours[0].start_minute == 8 * 60 + 30
    assert geriatric.policy.closed_on_public_holidays


async def test_a_house_that_types_has_places_and_one_source() -> None:
    node = FakeNode()
    async with served(node) as channel:
        await install(channel, EHPAD, Thresholds(timedelta(seconds=20), timedelta(seconds=40)))
    for request in node.declared.values():
        assert [source.id for source in request.sources] == [PERSON_SOURCE]
        assert request.sources[0].fresh_max.seconds == 20
        assert request.sources[0].stale_min.seconds == 40
        assert len(request.places) == 1
        assert request.policy.answering == availability_pb2.PolicySummary.ANSWERING_PERSON
    assert sum(r.places[0].installed for r in node.declared.values()) == 176


async def test_what_partners_see_is_declared() -> None:
    node = FakeNode()
    async with served(node) as channel:
        await install(channel, house_plan(FILE, "540022837"))
    assert {r.visibility.partner for r in node.declared.values()} == {availability_pb2.SHOWN_YES_OR_NO}
    assert {r.visibility.ght for r in node.declared.values()} == {availability_pb2.SHOWN_EXACT}


def test_a_house_of_moselle_has_its_public_holidays() -> None:
    assert house_plan(FILE, "570000992").alsace_moselle
    assert not HOSPITAL.alsace_moselle


# -------------------------------------------------------------------------------------------- an information system


@pytest.mark.parametrize(
    "breaks",
    [
        (),
        ((3, None), (1, grpc.StatusCode.UNAVAILABLE), (40, grpc.StatusCode.UNAVAILABLE), (7, None)),
        tuple((n, grpc.StatusCode.UNAVAILABLE) for n in range(1, 12)),
    ],
)
async def test_every_movement_is_told_in_order_whatever_the_node_does(
    breaks: tuple[tuple[int, grpc.StatusCode | None], ...],
) -> None:
    clock, node, until = HandClock(MIDNIGHT), FakeNode(*breaks), MIDNIGHT + timedelta(hours=30)
    async with served(node) as channel:
        feed = Feed(channel, HOSPITAL, 4, MIDNIGHT, clock)
        async with running(feed, until) as task:
            await moving(clock, timedelta(minutes=30), task)
    expected = told(HOSPITAL, 4, until)
    assert len(expected) > 80
    assert node.order == list(range(1, len(expected) + 1))
    assert node.streams == len(breaks) + 1
    assert feed.fates["APPLIED"] + feed.fates["ALREADY"] == len(expected)
    # A stream that breaks after so many words may lose as many acknowledgements, sent and on their way.
    assert bool(breaks) <= feed.fates["ALREADY"] <= sum(after for after, _ in breaks)
    assert set(node.alive) == {SYSTEM_SOURCE}


async def test_a_connection_that_dies_is_only_an_interruption() -> None:
    """The node's process is gone, and another one listens at its address: the rest is told to that one."""
    clock, node, until = HandClock(MIDNIGHT), FakeNode(), MIDNIGHT + timedelta(hours=30)
    first = serving(node)
    port = first.add_insecure_port("127.0.0.1:0")
    await first.start()
    options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 50)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        feed = Feed(channel, HOSPITAL, 4, MIDNIGHT, clock)
        async with running(feed, until) as task:
            clock.advance(timedelta(hours=12))
            await wait_until(lambda: len(node.order) > 10, "the morning to be told")
            await first.stop(None)
            clock.advance(timedelta(hours=1))
            second = serving(node)
            assert second.add_insecure_port(f"127.0.0.1:{port}") == port
            await second.start()
            await moving(clock, timedelta(minutes=30), task)
            await second.stop(None)
    assert node.order == list(range(1, len(told(HOSPITAL, 4, until)) + 1))
    assert node.streams >= 2


async def test_what_is_past_is_told_at_once_and_the_rest_at_its_time() -> None:
    noon = MIDNIGHT + timedelta(hours=12)
    clock, node = HandClock(noon), FakeNode()
    async with served(node) as channel:
        feed = Feed(channel, HOSPITAL, 9, MIDNIGHT, clock)
        async with running(feed, MIDNIGHT + timedelta(days=1)):
            await asyncio.wait_for(feed.caught_up.wait(), PATIENCE_SECONDS)
            past = [movement for movement in told(HOSPITAL, 9, MIDNIGHT + timedelta(days=1)) if movement.time <= noon]
            assert len(node.order) == len(past)
            following = told(HOSPITAL, 9, MIDNIGHT + timedelta(days=1))[len(past)]
            clock.advance(following.time - noon)
            await wait_until(lambda: len(node.order) > len(past), "the next movement at its time")


async def test_a_quiet_feed_says_that_it_is_alive() -> None:
    quiet = house_plan(FILE, "540006459")
    clock, node = HandClock(MIDNIGHT), FakeNode()
    async with served(node) as channel:
        feed = Feed(channel, quiet, 1, MIDNIGHT, clock)
        async with running(feed, MIDNIGHT + timedelta(days=1)):
            await asyncio.wait_for(feed.caught_up.wait(), PATIENCE_SECONDS)
            for _ in range(3):
                before = len(node.alive)
                await wait_until(partial(clock.is_slept_for, ALIVE_EVERY), "the feed has nothing to say")
                clock.advance(ALIVE_EVERY)
                await wait_until(partial(heard_since, node, before), "a proof of life")


async def test_what_another_try_cannot_cure_is_raised() -> None:
    clock, node = HandClock(MIDNIGHT), FakeNode((1, grpc.StatusCode.PERMISSION_DENIED))
    async with served(node) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await asyncio.wait_for(Feed(channel, HOSPITAL, 4, MIDNIGHT, clock).run(MIDNIGHT), PATIENCE_SECONDS)
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_the_words_of_the_contract() -> None:
    """Each kind of movement as the wire has it; the census that they tell has the right beds."""
    clock, node, until = HandClock(MIDNIGHT), FakeNode(), MIDNIGHT + timedelta(days=6)
    brabois = house_plan(FILE, "540002698")
    clock.advance(timedelta(days=7))
    async with served(node) as channel:
        await asyncio.wait_for(Feed(channel, brabois, 2, MIDNIGHT, clock).run(until), 30)
    by_number = {m.number: m for m in told(brabois, 2, until)}
    kinds = Counter(movement.WhichOneof("change") for movement in node.kept.values())
    assert kinds == Counter(m.kind.value for m in by_number.values())
    assert set(kinds) == set(Kind)
    for name, movement in node.kept.items():
        plan = by_number[int(name.rpartition("-")[2])]
        unit = f"establishments/540002698/units/{plan.unit}"
        assert movement.event_time.ToDatetime(UTC) == plan.time
        if plan.kind is Kind.ADMISSION:
            assert movement.admission.bed == f"{unit}/beds/{plan.bed}"
            assert movement.admission.unit == unit
            assert movement.admission.gender in (terms_pb2.GENDER_FEMALE, terms_pb2.GENDER_MALE)
        elif plan.kind is Kind.BED_CLOSED:
            assert movement.bed_closed.interval.end.ToDatetime(UTC) == plan.planned
            assert movement.bed_closed.reason != availability_pb2.CLOSURE_REASON_UNSPECIFIED
            assert list(movement.bed_closed.beds) == [f"{unit}/beds/{plan.bed}"]
        elif plan.kind is Kind.DEPARTURE_ANNOUNCED:
            assert movement.departure_announced.departure_time.ToDatetime(UTC) == plan.planned
        elif plan.kind is Kind.CANCELLATION:
            assert movement.cancellation.cancelled_movement_id in node.kept


# ------------------------------------------------------------------------------------------------------ people who type


async def test_people_count_what_the_day_brings() -> None:
    clock, node, until = HandClock(MIDNIGHT), FakeNode(), MIDNIGHT + timedelta(days=6)
    node.away = 3
    async with served(node) as channel:
        feed = Feed(channel, EHPAD, 3, MIDNIGHT, clock)
        async with running(feed, until) as task:
            await moving(clock, timedelta(hours=2), task)
    assert {request.unit.rpartition("/")[2] for request in node.counts} == {unit.code for unit in EHPAD.units}
    assert len({request.command_id for request in node.counts}) == len(node.counts) == feed.fates["DECLARED"]
    assert len(node.counts) > len(EHPAD.units), "some unit changed during the days"
    assert len(node.confirmed) == len(set(node.confirmed))
    assert len(node.confirmed) >= timedelta(days=5) / CONFIRM_EVERY
    present: Counter[str] = Counter()
    closed: Counter[str] = Counter()
    for movement in told(EHPAD, 3, until):
        present[movement.unit] += {Kind.ADMISSION: 1, Kind.DISCHARGE: -1}.get(movement.kind, 0)
        closed[movement.unit] += {Kind.BED_CLOSED: 1, Kind.BED_OPENED: -1}.get(movement.kind, 0)
    last = {request.unit.rpartition("/")[2]: request.places[0] for request in node.counts}
    for unit in EHPAD.units:
        assert last[unit.code].occupied == present[unit.code]
        assert last[unit.code].open == unit.capacity - closed[unit.code]
        assert unit.counting is Counting.PLACES


async def test_the_first_count_comes_at_once() -> None:
    clock, node = HandClock(MIDNIGHT + timedelta(hours=9)), FakeNode()
    async with served(node) as channel:
        feed = Feed(channel, EHPAD, 3, MIDNIGHT, clock)
        async with running(feed, MIDNIGHT + timedelta(days=1)):
            await asyncio.wait_for(feed.caught_up.wait(), PATIENCE_SECONDS)
            assert len(node.counts) == len(EHPAD.units)
