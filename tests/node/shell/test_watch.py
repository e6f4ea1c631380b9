"""The watch: a snapshot with its cause, then what changed, collapsed; ages meanwhile; nothing piles up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta

import pytest

from aval.kernel.identity import Adapter
from aval.kernel.reasons import Reason, Refusal
from aval.node.ports import TAG_BYTES
from aval.node.store.memory import MemoryStore
from aval.node.translate.news import PART_BYTES_MAX
from aval.v1 import availability_pb2 as pb
from aval.v1 import census_pb2, reservation_pb2, terms_pb2
from tests.node.shell.fakes import (
    HERE,
    HOUSE,
    HUB,
    INCARNATION,
    MARIE,
    NO_CONTEXT,
    NODE,
    START,
    FakeClock,
    House,
    house,
)
from tests.node.shell.words import confirm, create, declare_places, new_id, unit_name
from tests.waiting import PATIENCE_SECONDS, until

TOMORROW = START + timedelta(days=1)
HL7 = Adapter(HERE, HOUSE, "hl7")


class Follower:
    """A watch being read."""

    def __init__(self, messages: AsyncIterator[pb.WatchAvailabilityResponse]) -> None:
        self._messages = messages

    async def next(self) -> pb.WatchAvailabilityResponse:
        """The next message, which must come without time passing."""
        return await asyncio.wait_for(anext(self._messages), PATIENCE_SECONDS)

    async def snapshot(self) -> pb.Snapshot:
        """A snapshot, in its parts put together."""
        whole = (await self.next()).snapshot
        assert whole.part == 1
        last = whole
        while not last.last_part:
            last = (await self.next()).snapshot
            whole.units.extend(last.units)
            whole.reservations.extend(last.reservations)
        return whole

    async def change(self) -> pb.Change:
        """The next change; heartbeats before it are passed over."""
        while True:
            message = await self.next()
            if message.WhichOneof("event") == "change":
                return message.change
            assert message.WhichOneof("event") == "progress", message

    async def progress(self) -> pb.Progress:
        """The next message, which must be a heartbeat."""
        message = await self.next()
        assert message.WhichOneof("event") == "progress", message
        return message.progress


@asynccontextmanager
async def following(at: House, *cursors: terms_pb2.Cursor, reservations: bool = False) -> AsyncIterator[Follower]:
    """A watch by whoever calls."""
    request = pb.WatchAvailabilityRequest(cursors=cursors, include_reservations=reservations)
    messages = at.availability.WatchAvailability(request, NO_CONTEXT)
    assert isinstance(messages, AsyncGenerator)
    async with aclosing(messages):
        yield Follower(messages)


async def test_a_new_follower_gets_the_whole_then_ages() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        held = await at.command(create("smr", TOMORROW))
        async with following(at, reservations=True) as follower:
            snapshot = await follower.snapshot()
            assert snapshot.cause == pb.Snapshot.CAUSE_FIRST
            assert [unit.name for unit in snapshot.units] == [unit_name("smr")]
            assert [one.name for one in snapshot.reservations] == [held.reservation.name]
            assert snapshot.establishment.cursor == held.cursor
            progress = await follower.progress()
            assert [(age.source, age.age.ToTimedelta()) for age in progress.ages] == [("cadre", timedelta(0))]
            assert progress.cursor == held.cursor


async def test_changes_come_whole_with_figures_and_reservations_together() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        await at.declare(declare_places("had", installed=5, occupied=4))
        async with following(at, reservations=True) as follower:
            await follower.snapshot()
            held = await at.command(create("smr", TOMORROW))
            change = await follower.change()
            assert change.cursor == held.cursor
            assert [unit.name for unit in change.units] == [unit_name("smr")]
            assert [one.state for one in change.reservations] == [reservation_pb2.Reservation.STATE_HELD]
            assert change.reservations[0].revision == held.cursor.revision
            assert (change.part, change.last_part) == (1, True)
            assert not change.HasField("establishment")


async def test_without_reservations_none_are_told() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        await at.command(create("smr", TOMORROW))
        async with following(at) as follower:
            assert not (await follower.snapshot()).reservations
            await at.command(create("smr", TOMORROW))
            assert not (await follower.change()).reservations


async def test_a_follower_resumes_with_what_it_missed_only() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=0))
        await at.declare(declare_places("had", installed=5, occupied=0))
        cursor = at.cursor
        held = [await at.command(create("smr", TOMORROW)) for _ in range(3)][-1]
        async with following(at, cursor, reservations=True) as follower:
            change = await follower.change()
            assert [unit.name for unit in change.units] == [unit_name("smr")]
            assert len(change.reservations) == 3
            assert change.cursor == held.cursor
        async with following(at, held.cursor, reservations=True) as follower:
            assert (await follower.progress()).cursor == held.cursor


async def test_a_resume_survives_a_restart_of_the_node() -> None:
    store, clock = MemoryStore(INCARNATION), FakeClock()
    async with house(store, clock) as at:
        await at.declare(declare_places("smr", installed=5, occupied=0))
        cursor = at.cursor
    async with house(store, clock) as at, following(at, cursor) as follower:
        change = await follower.change()
        assert [unit.name for unit in change.units] == [unit_name("smr")], "the tick at start touches every unit"
        assert change.cursor.incarnation == cursor.incarnation


async def test_a_slow_follower_gets_what_stands_once() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=50, occupied=0))
        async with following(at, reservations=True) as follower:
            await follower.snapshot()
            held = await at.command(create("smr", TOMORROW))
            for number in range(2, 5):
                await at.command(renewal(held.reservation, number))
            last = [await at.command(create("smr", TOMORROW)) for _ in range(30)][-1]
            change = await follower.change()
            assert change.cursor == last.cursor
            assert len(change.reservations) == 31
            assert len(change.units) == 1


def renewal(reservation: reservation_pb2.Reservation, number: int) -> reservation_pb2.RenewReservationRequest:
    request = reservation_pb2.RenewReservationRequest(name=reservation.name)
    request.header.CopyFrom(confirm(reservation, number).header)
    return request


async def test_a_cursor_older_than_the_history_gets_a_snapshot_that_says_so() -> None:
    async with house(retained=5) as at:
        await at.declare(declare_places("smr", installed=50, occupied=0))
        cursor = at.cursor
        for _ in range(4):
            await at.command(create("smr", TOMORROW))
        async with following(at, cursor, reservations=True) as follower:
            assert (await follower.next()).WhichOneof("event") == "change"
        for _ in range(4):
            await at.command(create("smr", TOMORROW))
        async with following(at, cursor, reservations=True) as follower:
            snapshot = await follower.snapshot()
            assert snapshot.cause == pb.Snapshot.CAUSE_HISTORY_COMPACTED
            assert len(snapshot.reservations) == 8


async def test_a_follower_that_falls_behind_the_history_reads_it_whole_again() -> None:
    async with house(retained=5) as at:
        await at.declare(declare_places("smr", installed=50, occupied=0))
        async with following(at, reservations=True) as follower:
            await follower.snapshot()
            await follower.progress()
            for _ in range(8):
                await at.command(create("smr", TOMORROW))
            snapshot = await follower.snapshot()
            assert snapshot.cause == pb.Snapshot.CAUSE_HISTORY_COMPACTED
            assert len(snapshot.reservations) == 8


FOREIGN = ["from the future", "with another tag", "of another incarnation"]


def foreign(cursor: terms_pb2.Cursor, how: str) -> terms_pb2.Cursor:
    """That cursor, made one that the history does not hold."""
    made = terms_pb2.Cursor()
    made.CopyFrom(cursor)
    if how == "from the future":
        made.revision += 1
    elif how == "with another tag":
        made.tag = b"\x00" * TAG_BYTES
    else:
        made.incarnation ^= 1
    return made


@pytest.mark.parametrize("how", FOREIGN)
async def test_the_hubs_cursor_of_another_history_is_refused_before_anything_is_sent(how: str) -> None:
    async with house() as at:
        async with following(at, foreign(at.cursor, how), reservations=True) as follower:
            with pytest.raises(Refusal) as refused:
                await follower.next()
        assert refused.value.reason is Reason.NODE_RESTORED


@pytest.mark.parametrize("how", FOREIGN)
@pytest.mark.parametrize("reservations", [False, True])
async def test_anyone_elses_gets_a_snapshot(how: str, reservations: bool) -> None:
    async with house() as at:
        at.calls_as(MARIE if reservations else NODE)
        async with following(at, foreign(at.cursor, how), reservations=reservations) as follower:
            assert (await follower.snapshot()).cause == pb.Snapshot.CAUSE_CURSOR_UNKNOWN


async def test_an_old_cursors_tag_is_checked_too() -> None:
    async with house(retained=3) as at:
        await at.declare(declare_places("smr", installed=50, occupied=0))
        cursor = at.cursor
        for _ in range(8):
            await at.command(create("smr", TOMORROW))
        async with following(at, foreign(cursor, "with another tag"), reservations=True) as follower:
            with pytest.raises(Refusal) as refused:
                await follower.next()
        assert refused.value.reason is Reason.NODE_RESTORED


async def test_ages_come_each_15_s_and_all_of_them_each_minute() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        async with following(at) as follower:
            await follower.snapshot()
            assert [age.source for age in (await follower.progress()).ages] == ["cadre"]
            told = []
            for _ in range(8):
                at.clock.advance(timedelta(seconds=15))
                progress = await follower.progress()
                told.append([(age.source, age.age.ToTimedelta().total_seconds()) for age in progress.ages])
            assert told == [[], [], [], [("cadre", 60.0)], [], [], [], [("cadre", 120.0)]]
            at.calls_as(MARIE)
            await at.census.ReportAlive(census_pb2.ReportAliveRequest(source_id="cadre"), NO_CONTEXT)
            at.clock.advance(timedelta(seconds=15))
            assert [age.age.ToTimedelta().total_seconds() for age in (await follower.progress()).ages] == [15.0]


async def test_a_large_snapshot_comes_in_parts_below_the_limit() -> None:
    async with house() as at:
        units = [f"u-{number:03}" for number in range(900)]
        declared = [declare_places(unit, installed=5, occupied=0) for unit in units]
        for request in declared:
            request.display_name = "é" * 200
        await asyncio.gather(*(at.declare(request) for request in declared))
        for unit in units[:30]:
            await at.command(create(unit, TOMORROW))
        async with following(at, reservations=True) as follower:
            parts = [(await follower.next()).snapshot]
            while not parts[-1].last_part:
                parts.append((await follower.next()).snapshot)
        assert len(parts) > 1
        assert [part.part for part in parts] == list(range(1, len(parts) + 1))
        assert all(part.ByteSize() <= PART_BYTES_MAX + 2048 for part in parts), "the house's own description beside"
        assert all(part.establishment.cursor == parts[0].establishment.cursor for part in parts)
        names = [one.name for part in parts for one in part.reservations]
        assert len(names) == len(set(names)) == 30
        assert [unit.name for part in parts for unit in part.units] == [unit_name(unit) for unit in units]


async def test_what_the_house_keeps_inside_goes_to_its_people_and_hub_only() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        closing = census_pb2.Movement(movement_id="1", source_id="cadre")
        closing.bed_closed.unit = unit_name("smr")
        closing.bed_closed.places = 1
        closing.bed_closed.interval.start.FromDatetime(START)
        closing.bed_closed.interval.end.FromDatetime(TOMORROW)
        closing.bed_closed.kind = pb.CLOSURE_KIND_REOPENABLE
        closing.bed_closed.reason = pb.CLOSURE_REASON_STAFF
        at.calls_as(MARIE)

        async def say() -> AsyncIterator[census_pb2.ApplyMovementsRequest]:
            yield census_pb2.ApplyMovementsRequest(movement=closing)

        (told,) = [answer async for answer in at.census.ApplyMovements(say(), NO_CONTEXT)]
        assert told.fate == census_pb2.ApplyMovementsResponse.FATE_APPLIED
        for caller, inside in ((MARIE, True), (HUB, True), (HL7, False), (NODE, False)):
            at.calls_as(caller)
            (unit,) = (
                await at.availability.ListUnits(pb.ListUnitsRequest(parent="establishments/-"), NO_CONTEXT)
            ).units
            assert bool(unit.closures) is inside, caller
            assert unit.HasField("visibility") is inside, caller
            assert unit.shown == pb.SHOWN_EXACT
            if not inside:
                async with following(at, reservations=True) as follower:
                    with pytest.raises(Refusal) as refused:
                        await follower.next()
                assert refused.value.reason is Reason.METHOD_NOT_ALLOWED


async def test_a_rooms_label_goes_to_the_house_only() -> None:
    async with house() as at:
        request = declare_places("smr", installed=0, occupied=0)
        request.counting = pb.COUNTING_BEDS
        del request.places[:]
        room = census_pb2.Room(id="112", rule=census_pb2.ROOM_RULE_SINGLE)
        room.beds.add(name=f"{unit_name('smr')}/beds/112-1", gender=terms_pb2.GENDER_ANY)
        request.rooms.append(room)
        await at.declare(request)
        held = await at.command(create("smr", TOMORROW))
        assert held.reservation.offer.room_label == ""
        at.calls_as(MARIE)
        get = reservation_pb2.GetReservationRequest(name=held.reservation.name)
        assert "112" in (await at.reservations.GetReservation(get, NO_CONTEXT)).offer.room_label


async def test_a_change_of_the_house_itself_is_told() -> None:
    async with house() as at, following(at) as follower:
        await follower.snapshot()
        at.calls_as(MARIE)
        await at.census.UpdateEstablishment(
            census_pb2.UpdateEstablishmentRequest(
                command_id=new_id(), name=f"establishments/{HOUSE}", display_name="Centre hospitalier"
            ),
            NO_CONTEXT,
        )
        assert (await follower.change()).establishment.display_name == "Centre hospitalier"


async def test_a_watch_that_is_left_leaves_nothing_behind() -> None:
    async with house() as at:
        tasks = len(asyncio.all_tasks())
        async with following(at) as follower:
            await follower.snapshot()
            await follower.progress()
        await until(lambda: len(asyncio.all_tasks()) <= tasks, "the watch's alarm to end")
        assert not at.node.writer.published.listeners
