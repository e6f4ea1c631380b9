"""What is there from the first day: the houses' units, and in each house a screen that shows them."""

from __future__ import annotations

import random
from typing import Any

import grpc

from aval.v1 import availability_pb2 as av
from aval.v1 import availability_pb2_grpc
from aval.v1 import census_pb2 as cs
from aval.v1 import terms_pb2 as tm
from tests.simulation.people import BEDS, UNITS, People, address_of, bed_name, unit_name

COMES_BACK_SECONDS = (0.5, 60.0)
"""How long a screen that was cut off waits before it looks again."""


def declare(finess: str) -> list[cs.DeclareUnitRequest]:
    """A house's units, as its staff declares them on the first day."""
    sources = [
        cs.SourceDeclaration(id="sih", kind=av.SOURCE_KIND_ADMINISTRATIVE, adapter="sih"),
        cs.SourceDeclaration(id="main", kind=av.SOURCE_KIND_PERSON),
    ]
    declared = []
    for number, unit in enumerate(UNITS[finess]):
        message = cs.DeclareUnitRequest(
            name=unit_name(finess, unit),
            display_name=unit,
            discipline=tm.DISCIPLINE_SMR_GERIATRIC,
            sources=sources,
            policy=cs.UnitPolicy(
                unit=unit_name(finess, unit),
                answering=av.PolicySummary.ANSWERING_PERSON if number else av.PolicySummary.ANSWERING_AUTOMATIC,
                renewals_max=2,
                promise_on_announced=True,
                turnover_minutes=30,
            ),
        )
        beds = BEDS.get((finess, unit))
        if beds:
            message.counting = av.COUNTING_BEDS
            message.rooms.add(id="r1", rule=cs.ROOM_RULE_SINGLE).beds.add(
                name=bed_name(finess, unit, "1"), room="r1", gender=tm.GENDER_ANY
            )
            room = message.rooms.add(id="r2", rule=cs.ROOM_RULE_ONE_GENDER)
            for bed in beds[1:]:
                room.beds.add(name=bed_name(finess, unit, bed), room="r2", gender=tm.GENDER_ANY)
        else:
            message.counting = av.COUNTING_PLACES
            message.places.add(gender=tm.GENDER_ANY, installed=2, open=2, occupied=0)
        declared.append(message)
    return declared


async def follow(people: People, chance: random.Random, finess: str) -> None:
    """A screen in the house: it follows its node for ever, and comes back with its cursor when it was cut off."""
    channel = people.channel(people.staff(finess), address_of(finess))
    stub: Any = availability_pb2_grpc.AvailabilityServiceStub(channel)
    request = av.WatchAvailabilityRequest(include_reservations=True)
    while True:
        await channel.channel_ready()
        try:
            async for message in stub.WatchAvailability(request):
                for told, cursor in (
                    (message.snapshot, message.snapshot.establishment.cursor),
                    (message.change, message.change.cursor),
                ):
                    if told.last_part:
                        del request.cursors[:]
                        request.cursors.append(cursor)
        except grpc.aio.AioRpcError:
            pass
        await people.process.clock.sleep_until(people.process.monotonic() + chance.uniform(*COMES_BACK_SECONDS))
