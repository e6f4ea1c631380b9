"""Scenarios 1 to 5: what two houses and a hub do for one patient, over real mutual TLS and real databases."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from aval.adapters.demo.building import SECOND_REGULATOR
from aval.adapters.demo.cast import finess_of, in_state, settled_after, target
from aval.adapters.dial import ask
from aval.kernel.reasons import Reason, Refusal
from aval.v1 import request_pb2, reservation_pb2, terms_pb2
from tests.scenarios.town import PARTNER, PERSON, SMR, Play
from tests.waiting import PATIENCE_SECONDS, until

RESERVATION = reservation_pb2.Reservation


async def test_1_one_house_holds_and_is_confirmed_the_other_is_released(play: Play) -> None:
    """A regulator asks two houses. One holds at once, by policy; she confirms; the other is told that it is over."""
    quick = await play.declare(SMR, beds=1)
    slow = await play.declare(PARTNER, beds=1, answering=PERSON)
    await until(lambda: play.known_at_hub(slow), "the hub has heard of both units")
    known = await play.answered(await play.asked([quick, slow], hold=quick))
    held = next(one for one in known.asks if in_state(one, "HELD"))
    waiting = next(one for one in known.asks if one is not held)
    assert held.unit == quick
    assert in_state(waiting, "ASKED")
    told = await play.confirm(known, held)
    done = await play.screen.until(known.name, settled_after(told), PATIENCE_SECONDS)
    assert done.state == request_pb2.Request.STATE_CONFIRMED
    assert done.subject == held.reservation
    assert (await play.reservation(held.reservation)).state == RESERVATION.STATE_CONFIRMED
    released = await play.reservation(waiting.reservation)
    assert released.state == RESERVATION.STATE_RELEASED
    assert released.ending.release == reservation_pb2.RELEASE_REASON_PLACED_AT_ANOTHER_MEMBER
    assert [bed.claim for bed in await play.beds(quick)] == [held.reservation]


async def test_2_a_person_answers_and_the_regulator_hears_it(play: Play) -> None:
    """Nobody polls: the acceptance of a house reaches the screen of the one who asked."""
    unit = await play.declare(PARTNER, beds=1, answering=PERSON)
    await until(lambda: play.known_at_hub(unit), "the hub has heard of the unit")
    known = await play.answered(await play.asked([unit]))
    assert in_state(known.asks[0], "ASKED")
    assert await play.accept(known.asks[0].reservation)
    heard = await play.screen.until(known.name, lambda r: in_state(r.asks[0], "HELD"), PATIENCE_SECONDS)
    assert in_state(heard.asks[0], "HELD")
    assert heard.asks[0].known.offer.offer_tag


async def test_3_the_last_bed_asked_by_two_at_once_has_one_winner(play: Play) -> None:
    """Two regulators ask for the only bed in the same instant: one holds, the other does not, ten times over."""
    unit = await play.declare(SMR, beds=1)
    await until(lambda: play.known_at_hub(unit), "the hub has heard of the unit")
    for _ in range(10):
        first, second = await asyncio.gather(
            play.create(play.need(), [target(unit, hold=True)]),
            play.create(play.need(), [target(unit, hold=True)], SECOND_REGULATOR),
        )
        one, two = await asyncio.gather(
            play.screen.until(first.name, lambda r: r.asks[0].HasField("known"), PATIENCE_SECONDS),
            play.rival_screen.until(second.name, lambda r: r.asks[0].HasField("known"), PATIENCE_SECONDS),
        )
        winners = [request for request in (one, two) if in_state(request.asks[0], "HELD")]
        assert len(winners) == 1
        assert [bed.claim for bed in await play.beds(unit)] == [winners[0].asks[0].reservation]
        await play.cancel(first)
        await play.cancel(second, SECOND_REGULATOR)
        for screen, request in ((play.screen, first), (play.rival_screen, second)):
            gone = await screen.until(request.name, lambda r: in_state(r.asks[0], "RELEASED"), PATIENCE_SECONDS)
            assert in_state(gone.asks[0], "RELEASED")


async def test_4_the_same_id_gives_the_first_answer_and_other_content_its_own_error(play: Play) -> None:
    """A regulator's program repeats itself after a bad line: nothing happens twice."""
    unit = await play.declare(SMR, beds=2)
    await until(lambda: play.known_at_hub(unit), "the hub has heard of the unit")
    request = request_pb2.CreateRequestRequest(
        request_id=str(uuid4()), need=play.need(), urgency=terms_pb2.URGENCY_TODAY, asks=[target(unit, hold=True)]
    )
    requests = play.hub("regulatrice").requests
    first = await ask(requests.CreateRequest, request)
    again = await ask(requests.CreateRequest, request)
    assert again.name == first.name
    assert again.asks[0].reservation == first.asks[0].reservation
    other = request_pb2.CreateRequestRequest()
    other.CopyFrom(request)
    other.need.age_years = 30
    with pytest.raises(Refusal) as refused:
        await ask(requests.CreateRequest, other)
    assert refused.value.reason is Reason.ID_REUSED
    known = await play.answered(first)
    assert len(await play.reservations_of(finess_of(unit), known.name)) == 1


async def test_5_a_house_sees_no_request_of_another(play: Play) -> None:
    """The second regulator may not read, confirm or cancel what the first one asked."""
    unit = await play.declare(SMR, beds=1)
    await until(lambda: play.known_at_hub(unit), "the hub has heard of the unit")
    known = await play.held(unit)
    theirs = play.hub(SECOND_REGULATOR).requests
    with pytest.raises(Refusal) as refused:
        await ask(theirs.GetRequest, request_pb2.GetRequestRequest(name=known.name))
    assert refused.value.reason is Reason.REQUEST_NOT_FOUND
    with pytest.raises(Refusal) as refused:
        await play.cancel(known, SECOND_REGULATOR)
    assert refused.value.reason is Reason.REQUEST_NOT_FOUND
    assert play.rival_screen.now(known.name) is None
