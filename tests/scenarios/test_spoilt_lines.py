"""Scenarios 44 to 46: the network between the hub and a house resets, slows, and forgets connections."""

from __future__ import annotations

import asyncio

from aval.adapters.demo.building import SECOND_REGULATOR
from aval.adapters.demo.cast import in_state, target
from aval.v1 import availability_pb2
from tests.scenarios.inquest import inquest
from tests.scenarios.outage import Fault, Party, outage
from tests.scenarios.town import KILLED, NEIGHBOUR, PARTNER, Play, Town
from tests.waiting import PATIENCE_SECONDS, until

DEMANDS = 12
ROUNDS_MAX = 5
"""Of demands: where a dozen are told in one word, one connection may do for all of them."""

CUT_AFTER_BYTES = 12_000
"""A handshake, the news of a dozen demands in one change (half a kilobyte each), and one or two answers: each
connection brings something, and none brings all. (On a line that is cut before one change has passed, a house is never
heard.)"""

DELAY_SECONDS = 0.4
"""Each way: a satellite's, or a bad mobile's."""


@outage(
    44, Fault.CUT, "every few kilobytes, a dozen demands under way", Party.LINK,
    "some answers late; every demand answered once, as many held as there are beds",
)  # fmt: skip
async def test_44_connections_that_never_live_long_lose_nothing(play: Play, town: Town) -> None:
    """A router resets each connection after some kilobytes. The outbox is the only road, and it is enough."""
    unit = await play.ready(NEIGHBOUR, beds=5)
    line = town.lines[NEIGHBOUR]
    before = line.connections
    line.cut_after(CUT_AFTER_BYTES)
    line.cut()
    known = []
    try:
        for _ in range(ROUNDS_MAX):
            requests = await asyncio.gather(*(play.asked([unit], hold=unit) for _ in range(DEMANDS)))
            known += await asyncio.gather(*(play.answered(one) for one in requests))
            if line.connections - before >= 2:
                break
    finally:
        line.mend()
    assert line.connections - before >= 2, "it was dialled again, and again"
    assert sum(in_state(one.asks[0], "HELD") for one in known) == 5
    assert sum(in_state(one.asks[0], "ASKED") for one in known) == len(known) - 5
    assert len({one.claim for one in await play.beds(unit)} - {""}) == 5
    await inquest(play, town, [unit])


@outage(
    45, Fault.DELAY, "two ask for the last bed at once", Party.LINK,
    "answers a second late; one « retenu », the other told that a person will answer",
)  # fmt: skip
async def test_45_a_slow_line_makes_no_second_winner(play: Play, town: Town) -> None:
    """Both demands wait on the same slow line; the node decides in the order in which they arrive, and once."""
    unit = await play.ready(PARTNER, beds=1)
    town.lines[PARTNER].slow(DELAY_SECONDS)
    try:
        first, second = await asyncio.gather(
            play.create(play.need(), [target(unit, hold=True)]),
            play.create(play.need(), [target(unit, hold=True)], SECOND_REGULATOR),
        )
        assert not first.asks[0].HasField("known")
        one, two = await asyncio.gather(
            play.screen.until(first.name, lambda r: r.asks[0].HasField("known"), PATIENCE_SECONDS),
            play.rival_screen.until(second.name, lambda r: r.asks[0].HasField("known"), PATIENCE_SECONDS),
        )
    finally:
        town.lines[PARTNER].mend()
    assert sorted(in_state(each.asks[0], "HELD") for each in (one, two)) == [False, True]
    assert sorted(in_state(each.asks[0], "ASKED") for each in (one, two)) == [False, True]
    await inquest(play, town, [unit])


@outage(
    46, Fault.HALF_OPEN, "the node killed and back, its old connection left open at the hub", Party.LINK,
    "the house silent for a moment; as soon as it announces itself it is heard, and new demands are answered",
)  # fmt: skip
async def test_46_a_connection_that_one_side_believes_in_is_left_for_a_new_one(play: Play, town: Town) -> None:
    """A firewall forgets the connection and tells the hub nothing: no reset, no end. The node dies, and comes back."""
    unit = await play.ready(PARTNER, beds=1)
    line = town.lines[PARTNER]
    line.part()
    assert await town.kill(PARTNER) == KILLED

    async def away() -> bool:
        return PARTNER in await play.unreachable()

    await until(away, "the hub misses the house, though its connection stands")
    request = await play.asked([unit], hold=unit)
    await town.start([PARTNER])
    try:
        known = await play.answered(request)
        assert in_state(known.asks[0], "HELD")

        async def fresh() -> bool:
            await play.alive(PARTNER)
            units = {one.name: one for one in await play.units(PARTNER)}
            return unit in units and units[unit].freshness == availability_pb2.FRESHNESS_FRESH

        await until(fresh, "the house is heard again")
    finally:
        line.mend()
    await inquest(play, town, [unit])
