"""Scenarios 24 to 29, 38 and 39: the hub is killed at each point of what it stores and sends, and goes on from its
file. What a person asked is said again with the same ids, and happens once."""

from __future__ import annotations

import asyncio

import pytest

from aval.adapters.demo.building import HUB, REGULATOR
from aval.adapters.demo.cast import heard, in_state, settled_after, target
from aval.adapters.demo.outages import stored
from aval.adapters.dial import ask
from aval.kernel.reasons import Refusal
from aval.v1 import request_pb2
from tests.scenarios.inquest import inquest, rows
from tests.scenarios.line import Flow, Way
from tests.scenarios.mortal import Moment
from tests.scenarios.outage import Fault, Party, outage
from tests.scenarios.town import KILLED, PARTNER, PERSON, SMR, Play, Town, insisted
from tests.waiting import until

ASKS = "INSERT INTO outbox"
STRIKES = "DELETE FROM outbox"
Request = request_pb2.Request


async def unanswered(play: Play, wish: request_pb2.CreateRequestRequest) -> None:
    """The regulator's program gets no answer, and cannot know what became of what it said."""
    await insisted(lambda: play.search(play.need()))  # the hub may have been started anew, and her line with it
    with pytest.raises(Refusal) as refused:
        await ask(play.hub(REGULATOR).requests.CreateRequest, wish)
    assert refused.value.reason.row.retryable


def stored_states(town: Town) -> dict[str, str]:
    """The requests in the hub's file, by name."""
    return dict(rows(town.database(HUB), "SELECT name, state FROM request"))


@outage(
    24, Fault.KILL, "before the commit of a demand", Party.HUB,
    "an error that may be tried again; said again with the same ids, « retenu »",
)  # fmt: skip
async def test_24_a_hub_killed_before_the_commit_of_a_demand_knows_nothing_of_it(play: Play, town: Town) -> None:
    """Neither request nor row of the outbox is in the file: both come with the second saying, once."""
    unit = await play.ready(SMR, beds=2)
    wish = play.wish(target(unit, hold=True))
    await town.fated(HUB, Moment.BEFORE_COMMIT, ASKS, wish.asks[0].reservation_id)
    before = stored_states(town)
    await unanswered(play, wish)
    await town.met_its_fate(HUB)
    assert stored_states(town) == before
    await town.start([HUB])
    known = await play.answered(await play.insist(wish))
    assert in_state(known.asks[0], "HELD")
    assert len(await play.reservations_of(SMR, known.name)) == 1
    await inquest(play, town, [unit])


@outage(
    25, Fault.KILL, "after the commit of a demand, nothing answered nor sent", Party.HUB,
    "an error that may be tried again; the demand stands, and the second saying gets its first answer",
)  # fmt: skip
async def test_25_a_hub_killed_after_the_commit_of_a_demand_sends_it_by_itself(play: Play, town: Town) -> None:
    """The row is in the outbox: it is sent before anybody says the demand again, which then makes no second one."""
    unit = await play.ready(SMR, beds=2)
    wish = play.wish(target(unit, hold=True))
    await town.fated(HUB, Moment.AFTER_COMMIT, ASKS, wish.asks[0].reservation_id)
    await unanswered(play, wish)
    await town.met_its_fate(HUB)
    name = f"requests/{wish.request_id}"
    await town.start([HUB])
    held = await play.heard(name, lambda r: in_state(r.asks[0], "HELD"), "held before it is said again")
    again = await play.insist(wish)
    assert (again.name, again.asks[0].reservation) == (name, held.asks[0].reservation)
    assert len(await play.reservations_of(SMR, name)) == 1
    await inquest(play, town, [unit])


@outage(
    26, Fault.KILL, "before a row read from the outbox is sent", Party.HUB,
    "« en attente d’envoi » or no answer at all; then « retenu »",
)  # fmt: skip
async def test_26_a_hub_killed_before_it_sends_a_row_sends_it_when_it_is_back(play: Play, town: Town) -> None:
    """The courier has the row in hand; the node never hears of it before the hub is back."""
    unit = await play.ready(SMR, beds=2)
    wish = play.wish(target(unit, hold=True))
    await town.fated(HUB, Moment.BEFORE_SEND, ASKS, wish.asks[0].reservation_id)
    saying = asyncio.ensure_future(play.insist(wish))
    await town.met_its_fate(HUB)
    reservation = f"establishments/{SMR}/reservations/{wish.asks[0].reservation_id}"
    assert stored(town.database(SMR), reservation) is None
    await town.start([HUB])
    known = await play.answered(await saying)
    assert in_state(known.asks[0], "HELD")
    assert [one.name for one in await play.reservations_of(SMR, known.name)] == [reservation]
    await inquest(play, town, [unit])


@outage(
    27, Fault.KILL, "after a demand was sent, its answer not heard", Party.HUB,
    "« envoyé »; the house holds the bed, and says so again to the hub that is back",
)  # fmt: skip
async def test_27_a_hub_killed_after_sending_hears_the_same_answer(play: Play, town: Town) -> None:
    """The node has decided and its answer is lost with the hub: the row is sent again, and the node repeats itself."""
    unit = await play.ready(PARTNER, beds=1)
    line = town.lines[PARTNER]
    line.set(Way.BACK, Flow.SWALLOWED)
    try:
        request = await play.asked([unit], hold=unit)
        name = request.asks[0].reservation
        await until(lambda: stored(town.database(PARTNER), name) is not None, "the node has decided")
        assert not heard((await play.shown(request.name)).asks[0])
        assert await town.kill(HUB) == KILLED
    finally:
        line.mend()
    written = stored(town.database(PARTNER), name)
    await town.start([HUB])
    known = await play.answered(request)
    assert in_state(known.asks[0], "HELD")
    assert stored(town.database(PARTNER), name) == written
    await inquest(play, town, [unit])


@outage(
    28, Fault.KILL, "before the commit of a node's answer", Party.HUB,
    "« envoyé » until the hub is back; then « retenu »",
)  # fmt: skip
async def test_28_a_hub_killed_before_it_stores_an_answer_asks_again(play: Play, town: Town) -> None:
    """Heard and not stored is not heard: the row is still there, and the node is asked the very same."""
    unit = await play.ready(SMR, beds=1)
    wish = play.wish(target(unit, hold=True))
    await town.fated(HUB, Moment.BEFORE_COMMIT, STRIKES, wish.asks[0].reservation_id)
    saying = asyncio.ensure_future(play.insist(wish))
    await town.met_its_fate(HUB)
    reservation = f"establishments/{SMR}/reservations/{wish.asks[0].reservation_id}"
    written = stored(town.database(SMR), reservation)
    assert written is not None
    waiting = rows(town.database(HUB), "SELECT reservation FROM outbox")
    assert waiting == [(reservation,)]
    await town.start([HUB])
    known = await play.answered(await saying)
    assert in_state(known.asks[0], "HELD")
    assert stored(town.database(SMR), reservation) == written
    await inquest(play, town, [unit])


@outage(
    29, Fault.KILL, "after the commit of a node's answer, nobody told", Party.HUB,
    "« envoyé » until the hub is back; then « retenu » at once, even while the house is silent",
)  # fmt: skip
async def test_29_a_hub_killed_after_it_stored_an_answer_tells_it_without_the_node(play: Play, town: Town) -> None:
    """The answer is in the hub's file: it is told as soon as the hub is back, the node being stopped meanwhile."""
    unit = await play.ready(SMR, beds=1)
    wish = play.wish(target(unit, hold=True))
    await town.fated(HUB, Moment.AFTER_COMMIT, STRIKES, wish.asks[0].reservation_id)
    saying = asyncio.ensure_future(play.insist(wish))
    await town.met_its_fate(HUB)
    town.pause(SMR)
    try:
        await town.start([HUB])
        known = await play.answered(await saying)
        assert in_state(known.asks[0], "HELD")
    finally:
        town.wake(SMR)
    await inquest(play, town, [unit])


@outage(
    38, Fault.KILL, "a confirmation stored, its answer to the person on the way", Party.HUB,
    "an error that may be tried again; said again with the same id, the first answer, and « réservé » once",
)  # fmt: skip
async def test_38_a_hub_killed_before_its_answer_to_a_person_gives_it_again(play: Play, town: Town) -> None:
    """The network keeps what the hub says to the regulator; the hub is killed; she repeats herself."""
    unit = await play.ready(SMR, beds=1)
    held = await play.held(unit)
    one = held.asks[0]
    message = request_pb2.ConfirmRequestRequest(
        command_id=play.id(), name=held.name, reservation=one.reservation, offer_tag=one.known.offer.offer_tag
    )
    async with town.caller(REGULATOR) as program:
        line = program.hub(town.desk.address)
        assert (await ask(line.requests.GetRequest, request_pb2.GetRequestRequest(name=held.name))).name == held.name
        town.desk.set(Way.BACK, Flow.SWALLOWED)
        try:
            saying = asyncio.ensure_future(ask(line.requests.ConfirmRequest, message))
            await until(lambda: stored_states(town)[held.name] != "OPEN", "it is stored")
            assert await town.kill(HUB) == KILLED
            with pytest.raises(Refusal) as refused:
                await saying
        finally:
            town.desk.mend()
        assert refused.value.reason.row.retryable
        await town.start([HUB])
        again = await insisted(lambda: ask(line.requests.ConfirmRequest, message))
    assert again.state in (Request.STATE_CONFIRMING, Request.STATE_CONFIRMED)
    done = await play.heard(held.name, lambda r: r.state == Request.STATE_CONFIRMED, "reserved")
    await inquest(play, town, [unit], [done.subject])


@outage(
    39, Fault.KILL, "after the commit that confirms one house and releases the other, the release not sent", Party.HUB,
    "« réservé » at one house; the other keeps its demand open until the hub is back, then « placé ailleurs »",
)  # fmt: skip
async def test_39_a_hub_killed_before_it_sends_the_releases_sends_them_later(play: Play, town: Town) -> None:
    """The same transaction confirms the request and writes the release of the house that was asked beside it."""
    quick = await play.declare(SMR, beds=1)
    slow = await play.declare(PARTNER, beds=1, answering=PERSON)
    await until(lambda: play.known_at_hub(slow), "the hub has heard of both units")
    known = await play.answered(await play.asked([quick, slow], hold=quick))
    held = next(one for one in known.asks if in_state(one, "HELD"))
    other = next(one for one in known.asks if one is not held)
    await town.fated(HUB, Moment.AFTER_COMMIT, ASKS, other.reservation.rsplit("/", 1)[1], '"type":"release"')
    told = await insisted(lambda: play.confirm(known, held))
    await town.met_its_fate(HUB)
    assert b'"state":"CONFIRMED"' in (stored(town.database(SMR), held.reservation) or b"")
    assert b'"state":"ASKED"' in (stored(town.database(PARTNER), other.reservation) or b"")
    await town.start([HUB])
    done = await play.heard(known.name, settled_after(told), "one reserved, the other released")
    assert done.subject == held.reservation
    await inquest(play, town, [quick, slow], [held.reservation])
