"""The single writer: what waits together is stored together; what is not stored never happened; time calls too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from aval.kernel.need import Need
from aval.kernel.reasons import Reason, Refusal
from aval.node.commands import AnyCommand, CreateReservation
from aval.node.history import COMPACT_EVERY, Standing
from aval.node.store.memory import MemoryStore
from aval.node.translate import inward
from aval.node.writer import PROOF_SECONDS, QUEUE_COMMANDS_MAX
from aval.v1 import availability_pb2, census_pb2, reservation_pb2, terms_pb2
from tests.node.shell.fakes import HOUSE, INCARNATION, MARIE, NO_CONTEXT, START, FakeClock, House, house
from tests.node.shell.words import confirm, create, declare_places, need, new_id, unit_name
from tests.waiting import until

HELD = reservation_pb2.Reservation.STATE_HELD
EXPIRED = reservation_pb2.Reservation.STATE_EXPIRED
TOMORROW = START + timedelta(days=1)
SOME_CLOSURE = (availability_pb2.CLOSURE_KIND_REOPENABLE, availability_pb2.CLOSURE_REASON_STAFF)
SMR_TTL = timedelta(hours=4)
"""Hold of an SMR unit (DESIGN §6)."""


async def settled() -> None:
    """Lets every coroutine that can run do so."""
    for _ in range(20):
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)


def demand(at: House, unit: str = "smr") -> AnyCommand:
    """A demand as the ledger takes it."""
    return inward.hub_command(create(unit, TOMORROW), at.node.edge.caller(), at.node.edge.names)


async def test_the_first_revision_is_a_tick_at_start() -> None:
    store = MemoryStore(INCARNATION)
    async with house(store) as first:
        assert first.revision == 1
    async with house(store) as second:
        assert second.revision == 2


async def test_what_waits_together_is_stored_together() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=40, occupied=0))
        at.counts.commits.clear()
        at.store.gate = asyncio.Event()
        first = asyncio.create_task(at.command(create("smr", TOMORROW)))
        await at.store.waiting.wait()
        others = [asyncio.create_task(at.command(create("smr", TOMORROW))) for _ in range(20)]
        await until(lambda: at.counts.queues.get("writer") == 20, "the commands to gather")
        at.store.gate.set()
        answers = await asyncio.gather(first, *others)
        assert [answer.reservation.state for answer in answers] == [HELD] * 21
        assert at.counts.commits == [1, 20]


async def test_nothing_is_shown_before_it_is_stored() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        before = await at.availability.ListUnits(
            availability_pb2.ListUnitsRequest(parent="establishments/-"), NO_CONTEXT
        )
        at.store.gate = asyncio.Event()
        asking = asyncio.create_task(at.command(create("smr", TOMORROW)))
        await at.store.waiting.wait()
        during = await at.availability.ListUnits(
            availability_pb2.ListUnitsRequest(parent="establishments/-"), NO_CONTEXT
        )
        listed = await at.reservations.ListReservations(
            reservation_pb2.ListReservationsRequest(parent="establishments/540000023"), NO_CONTEXT
        )
        assert during == before
        assert not listed.reservations
        at.store.gate.set()
        answer = await asking
        assert answer.reservation.state == HELD
        assert answer.cursor.revision == before.cursors[0].revision + 1


async def test_a_failed_commit_answers_each_and_reloads_and_space_heals() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        revision, loads = at.revision, at.store.loads
        requests = [create("smr", TOMORROW) for _ in range(5)]
        at.store.full = True
        answers = await at.commands(*requests)
        assert {answer.refusal.reason for answer in answers} == {"STORAGE_UNAVAILABLE"}
        assert all(answer.refusal.retryable for answer in answers)
        assert at.revision == revision
        assert at.store.loads > loads
        assert at.counts.failed > 0
        assert at.counts.refusals["STORAGE_UNAVAILABLE"] == 5
        units = await at.availability.ListUnits(
            availability_pb2.ListUnitsRequest(parent="establishments/-"), NO_CONTEXT
        )
        assert len(units.units) == 1
        at.store.full = False
        again = await at.commands(*requests)
        states = sorted(answer.reservation.state for answer in again)
        assert states.count(HELD) == 1, "one place was free, and the refused round promised nothing"


async def test_a_commit_that_failed_and_was_stored_all_the_same_is_answered_as_stored() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        revision = at.revision
        request = create("smr", TOMORROW)
        at.store.fail_after_writing = True
        assert (await at.command(request)).refusal.reason == "STORAGE_UNAVAILABLE"
        at.store.fail_after_writing = False
        assert at.revision == revision + 1
        again = await at.command(request)
        assert again.reservation.state == HELD
        assert again.cursor.revision == revision + 1


async def test_an_unreadable_store_refuses_until_it_can_be_read() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        at.store.full = at.store.unreadable = True
        assert (await at.command(create("smr", TOMORROW))).refusal.reason == "STORAGE_UNAVAILABLE"
        at.store.full = False
        assert (await at.command(create("smr", TOMORROW))).refusal.reason == "STORAGE_UNAVAILABLE"
        at.store.unreadable = False
        assert (await at.command(create("smr", TOMORROW))).reservation.state == HELD


async def test_time_itself_tries_again_after_the_disk_refused() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        held = await at.command(create("smr", TOMORROW))
        at.store.full = True
        at.clock.advance(SMR_TTL + timedelta(minutes=1))
        await until(lambda: at.counts.failed > 0, "the tick to fail")
        await settled()
        at.store.full = False
        revision = at.revision
        at.clock.advance(timedelta(seconds=6))
        await until(lambda: at.revision > revision, "the tick to be stored")
        now = await at.reservations.GetReservation(
            reservation_pb2.GetReservationRequest(name=held.reservation.name), NO_CONTEXT
        )
        assert now.state == EXPIRED


async def test_a_fault_in_one_decision_leaves_its_batch_alone() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=0))
        good = demand(at)
        assert isinstance(good, CreateReservation)
        faulty = replace(good, reservation=new_id(), command_id=new_id(), need=cast("Need", None))
        verdicts = await asyncio.gather(at.node.writer.submit(faulty), at.node.writer.submit(good))
        assert verdicts[0].refusal is not None
        assert verdicts[0].refusal.reason is Reason.INTERNAL
        assert verdicts[1].refusal is None


async def test_a_full_queue_says_so_at_once() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=0))
        at.store.gate = asyncio.Event()
        command = demand(at)
        waiting = [asyncio.create_task(at.node.writer.submit(command))]
        await at.store.waiting.wait()
        waiting += [asyncio.create_task(at.node.writer.submit(command)) for _ in range(QUEUE_COMMANDS_MAX)]
        await settled()
        with pytest.raises(Refusal) as refused:
            await at.node.writer.submit(command)
        assert refused.value.reason is Reason.QUEUE_FULL
        at.store.gate.set()
        await asyncio.gather(*waiting)


async def test_a_command_whose_caller_is_gone_is_not_decided() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=0))
        at.store.gate = asyncio.Event()
        first = asyncio.create_task(at.node.writer.submit(demand(at)))
        await at.store.waiting.wait()
        left = asyncio.create_task(at.node.writer.submit(demand(at)))
        await settled()
        left.cancel()
        await settled()
        at.store.gate.set()
        await first
        assert at.counts.states == {"HELD": 1}


async def test_stopping_answers_what_waits_and_takes_no_more() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=0))
        at.store.gate = asyncio.Event()
        asking = asyncio.create_task(at.node.writer.submit(demand(at)))
        await at.store.waiting.wait()
        stopping = asyncio.create_task(at.node.writer.stop())
        await settled()
        with pytest.raises(Refusal) as refused:
            await at.node.writer.submit(demand(at))
        assert refused.value.reason is Reason.SHUTTING_DOWN
        at.store.gate.set()
        await stopping
        assert (await asking).refusal is None


# --- time ------------------------------------------------------------------------------------------------------------


async def test_a_hold_ends_by_itself_at_its_time() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        held = await at.command(create("smr", TOMORROW))
        assert held.reservation.expire.remaining.ToTimedelta() == SMR_TTL
        at.clock.advance(SMR_TTL - timedelta(seconds=1))
        await settled()
        revision = at.revision
        get = reservation_pb2.GetReservationRequest(name=held.reservation.name)
        assert (await at.reservations.GetReservation(get, NO_CONTEXT)).state == HELD
        at.clock.advance(timedelta(seconds=2))
        await until(lambda: at.revision > revision, "the tick")
        assert (await at.reservations.GetReservation(get, NO_CONTEXT)).state == EXPIRED
        assert at.counts.states["EXPIRED"] == 1


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
async def test_a_wall_clock_that_jumps_moves_no_deadline(jump: timedelta) -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        held = await at.command(create("smr", TOMORROW))
        at.clock.wall += jump
        get = reservation_pb2.GetReservationRequest(name=held.reservation.name)
        now = await at.reservations.GetReservation(get, NO_CONTEXT)
        assert now.expire.remaining.ToTimedelta() == SMR_TTL
        at.clock.advance(SMR_TTL - timedelta(seconds=1))
        await settled()
        assert (await at.reservations.GetReservation(get, NO_CONTEXT)).state == HELD


async def test_a_wall_clock_set_back_while_down_lengthens_a_hold_and_never_shortens_it() -> None:
    store = MemoryStore(INCARNATION)
    async with house(store) as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        held = await at.command(create("smr", TOMORROW))
    get = reservation_pb2.GetReservationRequest(name=held.reservation.name)
    async with house(store, FakeClock(START - timedelta(hours=1))) as later:
        now = await later.reservations.GetReservation(get, NO_CONTEXT)
        assert now.expire.remaining.ToTimedelta() == SMR_TTL
    async with house(store, FakeClock(START + SMR_TTL)) as later:
        assert (await later.reservations.GetReservation(get, NO_CONTEXT)).state == EXPIRED


async def test_a_figure_that_time_alone_changes_spends_a_revision() -> None:
    """A confirmed arrival in 30 h becomes « réservé » (R330 04) within 24 h of it."""
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        held = await at.command(create("smr", START + timedelta(hours=30)))
        await at.command(confirm(held.reservation, 2))
        list_units = availability_pb2.ListUnitsRequest(parent="establishments/-")

        async def reserved_now() -> int:
            (unit,) = (await at.availability.ListUnits(list_units, NO_CONTEXT)).units
            return sum(
                one.count
                for one in unit.counts
                if one.status == availability_pb2.CAPACITY_STATUS_RESERVED
                and one.horizon == availability_pb2.HORIZON_NOW
            )

        assert await reserved_now() == 0
        revision = at.revision
        at.clock.advance(timedelta(hours=6, seconds=1))
        await until(lambda: at.revision > revision, "the tick")
        assert await reserved_now() == 1


# --- restart ---------------------------------------------------------------------------------------------------------


async def test_a_look_that_finds_nothing_new_changes_nothing_that_is_told() -> None:
    """Every read answers the last revision (CONTRACT 8): figures bear the time of the revision that touched them."""
    store = MemoryStore(INCARNATION)
    async with house(store) as at:
        await at.declare(declare_places("other", installed=5, occupied=0))
        beds = declare_places("smr", installed=0, occupied=0)
        beds.counting = availability_pb2.COUNTING_BEDS
        del beds.places[:]
        room = beds.rooms.add(id="r", rule=census_pb2.ROOM_RULE_MIXED)
        room.beds.add(name=f"{unit_name('smr')}/beds/1")
        await at.declare(beds)

        async def closures() -> AsyncIterator[census_pb2.ApplyMovementsRequest]:
            """Of one bed two: when the first one's end comes near, nothing changes."""
            for days in (3, 5):
                movement = census_pb2.Movement(movement_id=f"closure-{days}", source_id="cadre")
                closed = movement.bed_closed
                closed.beds.append(room.beds[0].name)
                closed.kind, closed.reason = SOME_CLOSURE
                closed.interval.start.FromDatetime(START)
                closed.interval.end.FromDatetime(START + timedelta(days=days))
                yield census_pb2.ApplyMovementsRequest(movement=movement)

        at.calls_as(MARIE)
        fates = [one.fate async for one in at.census.ApplyMovements(closures(), NO_CONTEXT)]
        assert set(fates) == {census_pb2.ApplyMovementsResponse.FATE_APPLIED}
        looks = 0
        for _ in range(60):
            before = {unit: shown.next_change for unit, shown in at.node.writer.published.figures.items()}
            revision = at.revision
            at.clock.advance(timedelta(hours=3))
            await settled()
            now = {unit: shown.next_change for unit, shown in at.node.writer.published.figures.items()}
            looks += at.revision == revision and now != before
            touched: dict[str, datetime] = {}
            for one in (await store.load()).recent:
                assert one.touched is not None
                touched |= dict.fromkeys(one.touched.units, one.as_of)
            listing = availability_pb2.ListUnitsRequest(parent=f"establishments/{HOUSE}")
            for unit in (await at.availability.ListUnits(listing, NO_CONTEXT)).units:
                assert unit.as_of.ToDatetime(UTC) == touched[unit.name.rpartition("/")[2]]
        assert looks, "a look that found nothing new is what this is about"


async def test_a_restart_rebuilds_the_same_state() -> None:
    store, clock = MemoryStore(INCARNATION), FakeClock()
    async with house(store, clock) as at:
        await at.declare(declare_places("smr", installed=5, occupied=1))
        await at.declare(declare_places("ssr-2", installed=5, occupied=1))
        held = [await at.command(create("smr", TOMORROW)) for _ in range(3)]
        await at.command(confirm(held[-1].reservation, 2))
        before = at.node.writer.published
        list_units = availability_pb2.ListUnitsRequest(parent="establishments/-")
        units = await at.availability.ListUnits(list_units, NO_CONTEXT)
        listing = reservation_pb2.ListReservationsRequest(parent="establishments/540000023")
        reservations = await at.reservations.ListReservations(listing, NO_CONTEXT)
    async with house(store, clock) as at:
        after = at.node.writer.published
        assert after.ledger.facts == before.ledger.facts
        assert after.history.incarnation == before.history.incarnation
        assert after.history.standing(before.cursor) is Standing.KNOWN
        assert after.history.touched_since(before.cursor.revision).units == {"smr", "ssr-2"}, "the tick at start"
        assert list((await at.availability.ListUnits(list_units, NO_CONTEXT)).units) == list(units.units)
        again = await at.reservations.ListReservations(listing, NO_CONTEXT)
        assert list(again.reservations) == list(reservations.reservations)


async def test_what_ended_while_the_node_was_down_is_told_with_its_first_tick() -> None:
    store = MemoryStore(INCARNATION)
    async with house(store) as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        held = await at.command(create("smr", TOMORROW))
    async with house(store, FakeClock(START + SMR_TTL)) as at:
        since = at.node.writer.published.history.touched_since(held.cursor.revision)
        assert since.reservations == {f"ge-10.aval.internal/{held.reservation.name.rpartition('/')[2]}"}
        get = reservation_pb2.GetReservationRequest(name=held.reservation.name)
        told = await at.reservations.GetReservation(get, NO_CONTEXT)
        assert (told.state, told.revision) == (EXPIRED, held.cursor.revision + 1)


async def test_a_repeated_command_gets_its_first_answer_after_a_restart() -> None:
    store = MemoryStore(INCARNATION)
    request = create("smr", TOMORROW)
    async with house(store) as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        first = await at.command(request)
    async with house(store) as at:
        revision = at.revision
        again = await at.command(request)
        assert again.reservation == first.reservation
        assert at.revision == revision, "a repetition is no revision"
        other = reservation_pb2.CreateReservationRequest()
        other.CopyFrom(request)
        other.asked_count = 2
        assert (await at.command(other)).refusal.reason == "ID_REUSED"


async def test_a_long_history_is_compacted_and_its_digests_stay() -> None:
    store = MemoryStore(INCARNATION)
    async with house(store, retained=10) as at:
        at.calls_as(MARIE)
        early = at.node.writer.published.cursor
        for number in range(2 * COMPACT_EVERY):
            name = census_pb2.UpdateEstablishmentRequest(
                command_id=new_id(), name="establishments/540000023", display_name=f"Maison {number}"
            )
            await at.census.UpdateEstablishment(name, NO_CONTEXT)
        assert len((await store.load()).recent) < COMPACT_EVERY + 10
        assert await at.node.writer.standing(early) is Standing.COMPACTED
    async with house(store, retained=10) as at:
        assert await at.node.writer.standing(early) is Standing.COMPACTED


# --- proofs of life --------------------------------------------------------------------------------------------------


async def test_ages_are_not_revisions_and_survive_a_restart() -> None:
    store, clock = MemoryStore(INCARNATION), FakeClock()
    async with house(store, clock) as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        clock.advance(timedelta(hours=1))
        await settled()
        revision = at.revision
        at.calls_as(MARIE)
        await at.census.ReportAlive(census_pb2.ReportAliveRequest(source_id="cadre"), NO_CONTEXT)
        assert at.revision == revision
        (unit,) = (
            await at.availability.ListUnits(availability_pb2.ListUnitsRequest(parent="establishments/-"), NO_CONTEXT)
        ).units
        assert unit.age.ToTimedelta() == timedelta(0)
        heard = at.node.writer.now()
        assert (await store.load()).proofs["cadre"] < heard
        clock.advance(timedelta(seconds=PROOF_SECONDS + 1))

        async def is_saved() -> bool:
            return (await store.load()).proofs["cadre"] == heard

        await until(is_saved, "the proof to be stored")
    async with house(store, FakeClock(heard + timedelta(minutes=5))) as at:
        (unit,) = (
            await at.availability.ListUnits(availability_pb2.ListUnitsRequest(parent="establishments/-"), NO_CONTEXT)
        ).units
        assert unit.age.ToTimedelta() == timedelta(minutes=5)
        assert unit.freshness == availability_pb2.FRESHNESS_FRESH


async def test_a_source_that_no_unit_lists_any_more_has_no_age() -> None:
    store, clock = MemoryStore(INCARNATION), FakeClock()
    async with house(store, clock) as at:
        await at.declare(declare_places("smr", installed=5, occupied=4))
        clock.advance(timedelta(minutes=3))
        assert at.counts.ages == {"cadre": 0.0}
        request = declare_places("smr", installed=5, occupied=4)
        request.sources[0].id = "faisant-fonction"
        await at.declare(request)
        assert at.counts.ages == {"faisant-fonction": 0.0}
    clock.advance(timedelta(minutes=3))
    async with house(store, clock) as at:
        assert at.counts.ages == {"faisant-fonction": 180.0}


# --- figures that moved ----------------------------------------------------------------------------------------------


def counts(seen: terms_pb2.Cursor | None, occupied: int) -> census_pb2.DeclareCountsRequest:
    """Places counted by a person who had read at a cursor."""
    return census_pb2.DeclareCountsRequest(
        command_id=new_id(),
        unit=unit_name("smr"),
        places=[census_pb2.PlaceCapacity(gender=terms_pb2.GENDER_ANY, open=5, occupied=occupied)],
        seen=seen,
    )


async def test_counts_read_before_another_change_of_the_unit_are_asked_again() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=2))
        seen = at.cursor
        at.calls_as(MARIE)
        unit = await at.census.DeclareCounts(counts(seen, 3), NO_CONTEXT)
        assert unit.name == unit_name("smr")
        with pytest.raises(Refusal) as refused:
            await at.census.DeclareCounts(counts(seen, 4), NO_CONTEXT)
        assert refused.value.reason is Reason.FIGURES_MOVED
        await at.census.DeclareCounts(counts(at.cursor, 4), NO_CONTEXT)


async def test_two_counts_of_one_batch_cannot_both_have_been_read_in_time() -> None:
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=2))
        at.calls_as(MARIE)
        seen = at.cursor
        answers = await asyncio.gather(
            *(at.census.DeclareCounts(counts(seen, number), NO_CONTEXT) for number in (3, 4)), return_exceptions=True
        )
        refusals = [answer for answer in answers if isinstance(answer, Refusal)]
        assert [refusal.reason for refusal in refusals] == [Reason.FIGURES_MOVED]


def test_a_need_of_the_tests_is_sound() -> None:
    assert inward.need(need()).problem() is None
