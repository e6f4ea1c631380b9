"""A fault of ours ends the one thing that it is about: a poisoned command, fact or word leaves all others alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from msgspec.structs import replace as with_fields

from aval.kernel.reasons import Reason
from aval.kernel.statuses import ConflictCause
from aval.node.commands import DeclareUnit
from aval.node.history import chained
from aval.node.model import Change, Conflict, Fact, Kind, Reservation
from aval.node.ports import Batch, Revision, Touched
from aval.node.store.body import row_of
from aval.node.store.memory import MemoryStore
from aval.node.translate import census as inward
from aval.v1 import availability_pb2, census_pb2, link_pb2, reservation_pb2
from tests.node.shell.fakes import HOUSE, INCARNATION, MARIE, NO_CONTEXT, START, House, house
from tests.node.shell.words import command, create, declare_places, unit_name

TOMORROW = START + timedelta(days=1)
HELD = reservation_pb2.Reservation.STATE_HELD
TOO_MANY = 2**40
"""More than an int32 of the contract can bear: a fact that cannot be written as a message."""

NO_ZONE = Conflict("c", "bad", "t/r", ConflictCause.CLOSURE, START.replace(tzinfo=None), None, START)
"""A conflict from an instant without a time zone, which compares with no other: its unit has no figure."""


async def poisoned(kind: Kind) -> MemoryStore:
    """A store that holds a house with two units, of which one has a poisoned fact of that kind."""
    store = MemoryStore(INCARNATION)
    async with house(store) as at:
        for unit in ("good", "bad"):
            await at.declare(declare_places(unit, installed=5, occupied=0))
        for unit in ("good", "bad"):
            assert (await at.command(create(unit, TOMORROW))).reservation.state == HELD
    stored = await store.load()
    last = stored.recent[-1]
    row = row_of(_spoilt(kind, stored.facts[kind]))
    number = last.number + 1
    touched = Touched(frozenset({"bad"}))
    digest = chained(last.digest, number, last.as_of, [row])
    await store.commit(Batch(Revision(number, digest, last.as_of, touched), [row]))
    return store


def _spoilt(kind: Kind, known: Mapping[str, Fact]) -> Change:
    if kind is Kind.CONFLICT:
        return Change(kind, NO_ZONE.key, NO_ZONE)
    for key, fact in known.items():
        if isinstance(fact, Reservation) and fact.unit == "bad":
            return Change(kind, key, with_fields(fact, asked_count=TOO_MANY))
    raise AssertionError(kind)


async def units(at: House) -> list[str]:
    """The units that are told."""
    listing = availability_pb2.ListUnitsRequest(parent=f"establishments/{HOUSE}")
    return [unit.name for unit in (await at.availability.ListUnits(listing, NO_CONTEXT)).units]


async def test_a_unit_whose_figures_cannot_be_computed_is_not_shown_and_the_house_lives() -> None:
    """From its start on; what is asked of it is refused by name, what is asked of others is granted."""
    store = await poisoned(Kind.CONFLICT)
    async with house(store) as at:
        assert await units(at) == [unit_name("good")]
        bad, good = await at.commands(create("bad", TOMORROW), create("good", TOMORROW))
        assert bad.refusal.reason == "INTERNAL"
        assert good.reservation.state == HELD
        at.clock.advance(timedelta(hours=6))
        assert (await at.command(create("good", TOMORROW))).reservation.state == HELD
        assert await units(at) == [unit_name("good")]


async def test_a_reservation_that_cannot_be_written_is_left_out_and_ends_no_stream() -> None:
    """Neither a watch nor the hub's stream of commands: else nothing more could be said to this house."""
    store = await poisoned(Kind.RESERVATION)
    async with house(store) as at:
        found = [one for one in at.node.writer.published.reservations.values() if one.unit == "bad"]
        verb = reservation_pb2.ReleaseReservationRequest(
            name=f"establishments/{HOUSE}/reservations/{found[0].id}",
            reason=reservation_pb2.RELEASE_REASON_PATIENT_REFUSED,
        )
        verb.header.command_id = "0b0e8f3e-0000-4000-8000-000000000001"
        verb.header.number = 9

        async def send() -> AsyncIterator[link_pb2.ExchangeRequest]:
            yield link_pb2.ExchangeRequest(command=command(verb))
            yield link_pb2.ExchangeRequest(command=command(create("good", TOMORROW)))

        answers = [one.answer async for one in at.link.Exchange(send(), NO_CONTEXT)]
        by_id = {answer.command_id: answer for answer in answers}
        assert by_id.pop(verb.header.command_id).refusal.reason == "INTERNAL"
        (good,) = by_id.values()
        assert good.reservation.state == HELD
        request = availability_pb2.WatchAvailabilityRequest(include_reservations=True)
        watch = at.availability.WatchAvailability(request, NO_CONTEXT)
        first = await anext(watch)
        assert isinstance(watch, AsyncGenerator)
        await watch.aclose()
        assert {one.unit for one in first.snapshot.reservations} == {unit_name("good")}


async def test_a_command_that_cannot_be_stored_leaves_its_batch_alone() -> None:
    """It is decided and cannot be written: the others of its batch are stored all the same, and it says so."""
    async with house() as at:
        await at.declare(declare_places("smr", installed=5, occupied=0))
        caller, names = at.node.edge.caller(), at.node.edge.names
        good = inward.declare_unit(declare_places("good", installed=5, occupied=0), caller, names)
        odd = inward.declare_unit(declare_places("bad", installed=5, occupied=0), caller, names)
        bad = replace(odd, unit=with_fields(odd.unit, display_name="\ud800"))
        assert isinstance(bad, DeclareUnit)
        verdicts = await asyncio.gather(*(at.node.writer.submit(one) for one in (good, bad)))
        assert verdicts[0].refusal is None
        assert verdicts[1].refusal is not None
        assert verdicts[1].refusal.reason is Reason.INTERNAL
        assert await units(at) == [unit_name("good"), unit_name("smr")]
        assert (await at.command(create("good", TOMORROW))).reservation.state == HELD


async def test_a_movement_that_cannot_be_decided_does_not_hold_up_its_feed() -> None:
    """A poison that is sent again and again would stop all that comes after it."""
    store = await poisoned(Kind.CONFLICT)
    async with house(store) as at:
        at.calls_as(MARIE)

        async def send() -> AsyncIterator[census_pb2.ApplyMovementsRequest]:
            for number, unit in enumerate(("bad", "good")):
                movement = census_pb2.Movement(movement_id=f"m{number}", source_id="cadre", stay_key=f"s{number}")
                movement.admission.unit = unit_name(unit)
                yield census_pb2.ApplyMovementsRequest(movement=movement)

        told = [one async for one in at.census.ApplyMovements(send(), NO_CONTEXT)]
        assert [one.movement_id for one in told] == ["m0", "m1"]
        assert told[1].fate == census_pb2.ApplyMovementsResponse.FATE_APPLIED


@pytest.mark.parametrize("hours", [1, 30])
async def test_time_goes_on_beside_a_fault(hours: int) -> None:
    """Holds of the good unit expire at their time."""
    store = await poisoned(Kind.CONFLICT)
    async with house(store) as at:
        held = await at.command(create("good", TOMORROW))
        at.clock.advance(timedelta(hours=hours))
        (answer,) = await at.commands(create("good", TOMORROW + timedelta(days=2)))
        assert answer.reservation.state == HELD
        now = at.node.edge.moment().reservation(held.reservation.name.rpartition("/")[2])
        assert now is not None
        assert (now.state == HELD) is (hours < 4)
