"""Scenarios 40 to 43: silence longer than every timeout. A stopped process and a network that swallows look alike from
outside; three houses fall silent together, each in its own way, so that the longest timeout is waited for once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from aval.adapters.demo.building import HUB, REGULATOR
from aval.adapters.demo.cast import finess_of, heard, in_state
from aval.adapters.demo.outages import stored
from aval.adapters.dial import ask
from aval.kernel.reasons import Refusal
from aval.v1 import availability_pb2, request_pb2, reservation_pb2
from tests.scenarios.inquest import inquest
from tests.scenarios.line import Flow, Way
from tests.scenarios.outage import Fault, Party, outage
from tests.scenarios.town import NEIGHBOUR, PARTNER, PERSON, SMR, Play, Town
from tests.waiting import until

STOPPED, DEAF, MUTE = SMR, NEIGHBOUR, PARTNER
"""The house whose node is stopped; the one that the hub's words do not reach; the one whose words do not come back."""

GIVEN_UP_SECONDS_MAX = 60.0
"""gRPC gives a connection up 10 s after a ping without an answer; a courier gives a stream up after 20 s without an
answer on it, the longest of the hub's timeouts."""

PERSON_WAITS_SECONDS = 6.5
"""How long a regulator's program waits for a stopped hub here, longer than the link's 6 s."""

Request = request_pb2.Request


@dataclass(frozen=True)
class Silence:
    """A house that has fallen silent, and the demand that is on its way to it."""

    unit: str
    request: Request
    connections: int


@pytest.fixture(scope="module")
def silences(town: Town) -> Iterator[dict[str, Silence]]:
    """Each house with a demand under way, silent since before it was sent."""

    async def begin() -> dict[str, Silence]:
        people = Play(town)
        units = {house: await people.declare(house, beds=1) for house in (STOPPED, DEAF, MUTE)}
        for unit in units.values():
            await until(partial(people.known_at_hub, unit), "the hub has heard of the unit")
        town.lines[DEAF].set(Way.THERE, Flow.SWALLOWED)
        town.lines[MUTE].set(Way.BACK, Flow.SWALLOWED)
        town.pause(STOPPED)
        found = {
            house: Silence(unit, await people.asked([unit], hold=unit), town.lines[house].connections)
            for house, unit in units.items()
        }
        await people.close()
        return found

    yield asyncio.run(begin())
    town.wake(STOPPED)
    for line in town.lines.values():
        line.mend()


async def given_up(play: Play, town: Town, silence: Silence) -> None:
    """Waits until the hub has given the exchange up and tried another; the demand is unanswered all the while."""

    def again() -> bool:
        known = play.screen.now(silence.request.name)
        if known is None:
            return False  # the screen has just been opened
        assert not heard(known.asks[0])
        sent_twice = any(one.attempts >= 2 for one in known.asks[0].pending)
        return sent_twice or town.lines[finess_of(silence.unit)].connections > silence.connections

    await until(again, "the demand is sent again, or the house dialled anew", GIVEN_UP_SECONDS_MAX)


async def held_once(play: Play, silence: Silence) -> None:
    """The silence over: one reservation, one bed, and all agree."""
    known = await play.answered(silence.request)
    assert in_state(known.asks[0], "HELD"), known
    assert len(await play.reservations_of(finess_of(silence.unit), known.name)) == 1
    assert [bed.claim for bed in await play.beds(silence.unit)] == [known.asks[0].reservation]


async def is_away(play: Play, finess: str) -> bool:
    """Whether the hub says of a house that it does not reach it."""
    return finess in await play.unreachable()


@outage(
    40, Fault.BLACK_HOLE, "the house's words, a demand decided there, longer than every timeout", Party.LINK,
    "the house unreachable, its beds not counted, the demand « envoyé »; at the end « retenu », once",
)  # fmt: skip
async def test_40_a_house_that_is_heard_by_nobody_answers_once(
    play: Play, town: Town, silences: dict[str, Silence]
) -> None:
    """The node decides the demand, and decides nothing when it comes again: the answer is what was lost."""
    mute = silences[MUTE]
    name = mute.request.asks[0].reservation
    await until(lambda: stored(town.database(MUTE), name) is not None, "the node has decided")
    written = stored(town.database(MUTE), name)
    await until(lambda: is_away(play, MUTE), "the house is unreachable", GIVEN_UP_SECONDS_MAX)
    found = await play.search(play.need())
    reasons = {one.unit: one.reason for one in found.excluded}
    assert reasons[mute.unit] == request_pb2.EXCLUSION_REASON_UNREACHABLE
    await given_up(play, town, mute)
    town.lines[MUTE].mend()
    await held_once(play, mute)
    assert stored(town.database(MUTE), name) == written


@outage(
    41, Fault.BLACK_HOLE, "the hub's words, a demand on its way, longer than every timeout", Party.LINK,
    "the house unreachable, though it says all is well; the demand « envoyé »; at the end « retenu », once",
)  # fmt: skip
async def test_41_a_house_that_hears_nobody_is_asked_again(
    play: Play, town: Town, silences: dict[str, Silence]
) -> None:
    """What the house says still comes, and proves nothing: a line that carries one way is given up and dialled anew."""
    deaf = silences[DEAF]
    await until(lambda: is_away(play, DEAF), "the house is unreachable", GIVEN_UP_SECONDS_MAX)
    await given_up(play, town, deaf)
    assert stored(town.database(DEAF), deaf.request.asks[0].reservation) is None
    town.lines[DEAF].mend()
    await held_once(play, deaf)


@outage(
    42, Fault.STOP, "a demand under way, longer than every timeout", Party.NODE,
    "the house unreachable; the demand « envoyé »; at the end « retenu », once, though it was sent twice",
)  # fmt: skip
async def test_42_a_node_stopped_for_longer_than_every_timeout_wakes_to_one_demand(
    play: Play, town: Town, silences: dict[str, Silence]
) -> None:
    """It finds the same demand in two streams when it wakes, the first of them long given up: it decides once."""
    stopped = silences[STOPPED]
    await until(lambda: is_away(play, STOPPED), "the house is unreachable", GIVEN_UP_SECONDS_MAX)
    await given_up(play, town, stopped)
    town.wake(STOPPED)
    await held_once(play, stopped)
    await inquest(play, town, [one.unit for one in silences.values()])


@outage(
    43, Fault.STOP, "a demand waiting for a person, longer than link and deadline", Party.HUB,
    "no answer from the hub in time; the house answers on its own node meanwhile; then « retenu »",
)  # fmt: skip
async def test_43_a_hub_stopped_while_a_house_answers_hears_it_when_it_wakes(play: Play, town: Town) -> None:
    """Nodes need no hub to answer. The one that wakes hears what was said without it."""
    unit = await play.declare(PARTNER, beds=1, answering=PERSON)
    await until(lambda: play.known_at_hub(unit), "the hub has heard of the unit")
    known = await play.answered(await play.asked([unit]))
    assert in_state(known.asks[0], "ASKED")
    town.pause(HUB)
    try:
        wish = request_pb2.SearchBedsRequest(need=play.need())
        with pytest.raises(Refusal) as refused:
            await ask(play.hub(REGULATOR).requests.SearchBeds, wish, PERSON_WAITS_SECONDS)
        assert refused.value.reason.row.retryable
        assert await play.accept(known.asks[0].reservation)
        assert (await play.reservation(known.asks[0].reservation)).state == reservation_pb2.Reservation.STATE_HELD
        assert in_state((await play.shown(known.name)).asks[0], "ASKED")
    finally:
        town.wake(HUB)
    await play.heard(known.name, lambda r: in_state(r.asks[0], "HELD"), "held")

    async def connected() -> bool:
        units = {one.name: one for one in await play.units(PARTNER)}
        return unit in units and units[unit].freshness == availability_pb2.FRESHNESS_FRESH

    await until(connected, "the house is heard again")
    await inquest(play, town, [unit])
