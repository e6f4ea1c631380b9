"""The link over gRPC, against a hand-written node: what is sent, what is read, and what a misbehaving node can do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest

from aval.adapters.wire import refusal_of
from aval.hub import model
from aval.hub.links import GrpcNodeLink
from aval.hub.model import Cursor, Mandate, NoteAnswer, OutboxRow, Progress, SnapshotPart
from aval.hub.ports import LinkLost, NodeAnswer, NodeCommand
from aval.hub.translate.reservations import CODE_NAMES
from aval.kernel.disciplines import Discipline
from aval.kernel.lifecycle import NoteVerdict, Question, ReleaseReason, ReservationState
from aval.kernel.need import Feature, Mode, Need, Urgency
from aval.kernel.reasons import FINAL_CODES, Reason
from aval.kernel.statuses import Gender
from aval.v1 import availability_pb2 as availability
from aval.v1 import availability_pb2_grpc, link_pb2, link_pb2_grpc, terms_pb2
from aval.v1 import reservation_pb2 as reservation
from tests.hub.shell.fakes import LUNEVILLE, START, TERRITORY, FakeClock
from tests.waiting import until

GIVEN_UP_SECONDS = 10.0
"""Short beside the 20 s after which gRPC itself gives up a server that takes a connection and says nothing."""

RESERVATION = f"establishments/{LUNEVILLE}/reservations/5d5ea9a8-1c2e-4f0e-8a4b-000000000001"
MANDATE = Mandate("spiffe://t/hub/operator/anne", "anne", "Anne", "cell", "540000023", START)
NEED = Need(
    Discipline.SMR_GERIATRIC,
    Gender.FEMALE,
    START,
    START + timedelta(days=2),
    age_months=18,
    stay_max=timedelta(days=21),
    required=frozenset({Feature.OXYGEN, Feature.SINGLE_ROOM}),
    wished=frozenset({Feature.WHEELCHAIR}),
    gir=3,
    origin="540000023",
    distance_km_max=40.0,
)
BODIES: dict[str, model.Body] = {
    "create": model.Create(
        "requests/1", "K7-3F9", f"establishments/{LUNEVILLE}/units/A", NEED, Mode.HOLD, Urgency.TODAY, START, 2,
        START + timedelta(days=3), timedelta(hours=4),
    ),
    "confirm": model.Confirm(b"tag"),
    "release": model.Release(ReleaseReason.TAKEN_BACK),
    "renew": model.Renew(timedelta(hours=2)),
    "reschedule": model.Reschedule(START + timedelta(days=1)),
    "supply_details": model.SupplyDetails(
        (model.Detail(Question.WEIGHT, amount=82), model.Detail(Question.WANDERING, yes=False))
    ),
    "note_answer": NoteAnswer(model.Note("n1", NoteVerdict.YES, "cadre de nuit", MANDATE, START)),
}  # fmt: skip


def command(body: model.Body, age: float = 3.0) -> NodeCommand:
    row = OutboxRow("c1", "requests/1", RESERVATION, 4, body, MANDATE, START)
    return NodeCommand(row, timedelta(seconds=age), Cursor(LUNEVILLE, 2**64 - 1, 8, b"\x00tag"))


class HandWrittenNode(link_pb2_grpc.LinkServiceServicer, availability_pb2_grpc.AvailabilityServiceServicer):
    """Answers what a test tells it to."""

    def __init__(self) -> None:
        self.commands: list[link_pb2.Command] = []
        self.watches: list[availability.WatchAvailabilityRequest] = []
        self.answer = link_pb2.Answer()
        self.events: list[availability.WatchAvailabilityResponse] = []

    async def Exchange(self, request_iterator: Any, context: Any) -> AsyncIterator[link_pb2.ExchangeResponse]:
        async for request in request_iterator:
            self.commands.append(request.command)
            yield link_pb2.ExchangeResponse(answer=self.answer)

    async def WatchAvailability(
        self, request: availability.WatchAvailabilityRequest, context: Any
    ) -> AsyncIterator[availability.WatchAvailabilityResponse]:
        self.watches.append(request)
        for event in self.events:
            yield event

    def GetEstablishment(self, request: Any, context: Any) -> Any:
        """Not called."""

    def ListEstablishments(self, request: Any, context: Any) -> Any:
        """Not called."""

    def ListUnits(self, request: Any, context: Any) -> Any:
        """Not called."""


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[HandWrittenNode, GrpcNodeLink]]:
    """A node and the hub's link to it, without TLS: what TLS does is the wire's to prove."""
    node, server = HandWrittenNode(), grpc.aio.server()
    link_pb2_grpc.add_LinkServiceServicer_to_server(node, server)
    availability_pb2_grpc.add_AvailabilityServiceServicer_to_server(node, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    link = GrpcNodeLink(grpc.aio.insecure_channel(f"127.0.0.1:{port}"), LUNEVILLE, TERRITORY, FakeClock(), refusal_of)
    try:
        yield node, link
    finally:
        await link.close()
        await server.stop(0)


async def exchanged(link: GrpcNodeLink, *commands: NodeCommand) -> list[NodeAnswer | None]:
    async with link.exchange() as stream:
        answers = []
        for one in commands:
            await stream.send(one)
            answers.append(await stream.receive())
        return answers


@pytest.mark.parametrize("verb", BODIES)
async def test_each_verb_is_sent_with_its_header_and_again_the_same_but_for_age_and_cursor(verb: str) -> None:
    async with linked() as (node, link):
        first = command(BODIES[verb])
        await exchanged(link, first, NodeCommand(first.row, timedelta(hours=5), None))
        assert node.commands[0].WhichOneof("verb") == verb
        sent = [getattr(one, verb) for one in node.commands]
        assert sent[0].header.command_id == "c1"
        assert sent[0].header.number == 4
        assert sent[0].header.age.ToTimedelta() == timedelta(seconds=3)
        assert sent[0].header.cursor.incarnation == 2**64 - 1
        assert sent[0].header.mandate.on_behalf_of == "establishments/540000023"
        for one in sent:
            one.header.ClearField("age")
            one.header.ClearField("cursor")
        assert sent[0].SerializeToString(deterministic=True) == sent[1].SerializeToString(deterministic=True)


async def test_a_creation_bears_all_that_the_node_needs() -> None:
    async with linked() as (node, link):
        await exchanged(link, command(BODIES["create"]))
        create = node.commands[0].create
        assert create.parent == f"establishments/{LUNEVILLE}"
        assert create.need.age_months == 18
        assert create.need.stay_max.ToTimedelta() == timedelta(days=21)
        assert set(create.need.required) == {terms_pb2.FEATURE_OXYGEN, terms_pb2.FEATURE_SINGLE_ROOM}
        assert create.ttl.ToTimedelta() == timedelta(hours=4)


def told(
    state: reservation.Reservation.State.ValueType = reservation.Reservation.STATE_HELD,
) -> reservation.Reservation:
    message = reservation.Reservation(
        name=RESERVATION, territory=TERRITORY, request="requests/1", state=state, revision=9,
        unit=f"establishments/{LUNEVILLE}/units/A",
        offer=reservation.Offer(unit=f"establishments/{LUNEVILLE}/units/A", offer_tag=b"t"),
    )  # fmt: skip
    message.arrival.FromDatetime(START)
    message.expire.expire_time.FromDatetime(START + timedelta(days=300))
    message.expire.remaining.FromTimedelta(timedelta(minutes=30))
    return message


async def test_an_answer_bears_the_reservation_and_the_cursor_and_deadlines_count_from_here() -> None:
    async with linked() as (node, link):
        at = terms_pb2.Cursor(establishment=f"establishments/{LUNEVILLE}", incarnation=7, revision=9, tag=b"x")
        node.answer = link_pb2.Answer(command_id="c1", reservation=told(), cursor=at)
        (answer,) = await exchanged(link, command(BODIES["confirm"]))
        assert answer is not None
        assert answer.cursor == Cursor(LUNEVILLE, 7, 9, b"x")
        known = answer.answer.known
        assert known is not None
        assert (known.state, known.incarnation, known.revision) == (ReservationState.HELD, 7, 9)
        assert known.expire is not None
        assert known.expire.here == START + timedelta(minutes=30)
        assert known.expire.expire_time == START + timedelta(days=300)


@pytest.mark.parametrize("code", CODE_NAMES)
async def test_a_refusal_of_a_newer_node_is_final_by_its_code(code: int) -> None:
    async with linked() as (node, link):
        node.answer = link_pb2.Answer(command_id="c1", refusal=link_pb2.Refusal(reason="NEWER", code=code))
        (answer,) = await exchanged(link, command(BODIES["confirm"]))
        assert answer is not None
        assert answer.answer.refused is not None
        assert answer.answer.refused.retryable is (CODE_NAMES[code] not in FINAL_CODES)


@pytest.mark.parametrize("reason", [Reason.STORAGE_UNAVAILABLE, Reason.OFFER_CHANGED])
async def test_a_refusal_that_we_know_is_what_the_table_says(reason: Reason) -> None:
    async with linked() as (node, link):
        node.answer = link_pb2.Answer(command_id="c1", refusal=link_pb2.Refusal(reason=reason.value, code=0))
        (answer,) = await exchanged(link, command(BODIES["confirm"]))
        assert answer is not None
        assert answer.answer.refused is not None
        assert answer.answer.refused.retryable is reason.row.retryable


async def watched(link: GrpcNodeLink) -> list[Any]:
    return [event async for event in link.watch(Cursor(LUNEVILLE, 7, 3, b"t"))]


async def test_a_watch_asks_from_its_cursor_with_reservations_and_knows_no_other_territorys() -> None:
    async with linked() as (node, link):
        foreign = told()
        foreign.territory = "autre.aval.internal"
        unknown = availability.Unit(name=f"establishments/{LUNEVILLE}/units/B")
        snapshot = availability.Snapshot(reservations=[told(), foreign], units=[unknown], part=1, last_part=True)
        snapshot.establishment.cursor.establishment = f"establishments/{LUNEVILLE}"
        node.events = [
            availability.WatchAvailabilityResponse(snapshot=snapshot),
            availability.WatchAvailabilityResponse(),
            availability.WatchAvailabilityResponse(progress=availability.Progress()),
        ]
        first, second = await watched(link)
        assert isinstance(first, SnapshotPart)
        assert isinstance(second, Progress)
        assert [one.name for one in first.reservations] == [RESERVATION]
        assert first.units == ()
        assert node.watches[0].include_reservations
        assert node.watches[0].cursors[0].revision == 3


def spoilt_instant(message: reservation.Reservation) -> None:
    message.arrival.seconds = 10**14


def spoilt_duration(message: reservation.Reservation) -> None:
    message.expire.remaining.seconds = 10**17


@pytest.mark.parametrize("spoil", [spoilt_instant, spoilt_duration])
async def test_what_cannot_be_read_ends_the_stream_and_nothing_else(
    spoil: Callable[[reservation.Reservation], None],
) -> None:
    bad = told()
    spoil(bad)
    async with linked() as (node, link):
        node.answer = link_pb2.Answer(command_id="c1", reservation=bad)
        node.events = [
            availability.WatchAvailabilityResponse(change=availability.Change(reservations=[bad], last_part=True))
        ]
        assert (await lost(exchanged(link, command(BODIES["confirm"])))).refusal.reason is Reason.FIELD_INVALID
        assert (await lost(watched(link))).refusal.reason is Reason.FIELD_INVALID


async def lost(work: Awaitable[object]) -> LinkLost:
    with pytest.raises(LinkLost) as error:
        await work
    return error.value


async def test_a_node_that_is_not_there_is_unreachable() -> None:
    async with linked() as (_, link):
        pass
    gone = GrpcNodeLink(grpc.aio.insecure_channel("127.0.0.1:1"), LUNEVILLE, TERRITORY, FakeClock(), refusal_of)
    assert (await lost(watched(gone))).refusal.reason is Reason.NODE_UNREACHABLE
    assert (await lost(exchanged(gone, command(BODIES["confirm"])))).refusal.reason is Reason.NODE_UNREACHABLE
    await gone.close()
    del link


async def test_the_end_of_a_stream_is_told_apart_from_its_loss() -> None:
    async with linked() as (node, link):
        assert node.events == []
        assert await watched(link) == []


@asynccontextmanager
async def silent() -> AsyncIterator[tuple[grpc.aio.Channel, GrpcNodeLink]]:
    """A link to an address that takes connections and says nothing: every call waits for its connection."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{nobody.getsockname()[1]}")
        yield channel, GrpcNodeLink(channel, LUNEVILLE, TERRITORY, FakeClock(), refusal_of)


async def test_a_link_closed_under_a_command_that_waits_to_be_sent_is_lost() -> None:
    """The node calls while the hub still dials its former address: nobody may wait for ever on what was closed."""
    async with silent() as (channel, link), link.exchange() as stream:
        sending = asyncio.ensure_future(stream.send(command(BODIES["confirm"])))
        reading = asyncio.ensure_future(stream.receive())
        await until(lambda: channel.get_state() is grpc.ChannelConnectivity.CONNECTING, "it dials")
        assert not sending.done()
        await link.close()
        await until(sending.done, "nobody waits to send", GIVEN_UP_SECONDS)
        with pytest.raises(LinkLost):
            await reading


async def test_a_link_closed_under_a_watch_is_lost_and_who_is_told_to_end_ends() -> None:
    async with silent() as (channel, link):
        following = asyncio.ensure_future(anext(link.watch(None)))
        await until(lambda: channel.get_state() is grpc.ChannelConnectivity.CONNECTING, "it dials")
        await link.close()
        with pytest.raises(LinkLost):
            await following
    async with silent() as (channel, link):
        following = asyncio.ensure_future(anext(link.watch(None)))
        await until(lambda: channel.get_state() is grpc.ChannelConnectivity.CONNECTING, "it dials")
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
        await link.close()
