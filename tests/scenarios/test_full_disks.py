"""Scenarios 47, 48, 54 and 55: the disk is full, or fails, under a server that runs, and is well again without a
restart.

A limit on the size of a running process's files is a full disk for it alone: what would make a file longer fails, and
what it has written stays. The logs of our servers are files too, and fall silent with the rest. How a disk fails is
told in `mortal`.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from aval.adapters.demo.building import HUB, REGULATOR
from aval.adapters.demo.cast import heard, in_state, target
from aval.adapters.demo.outages import stored
from aval.adapters.dial import ask
from aval.kernel.reasons import Reason, Refusal
from aval.v1 import request_pb2, reservation_pb2
from tests.scenarios.inquest import inquest, rows
from tests.scenarios.outage import Fault, Party, outage
from tests.scenarios.town import PARTNER, Play, Town, insisted
from tests.waiting import until

FULL_BYTES = 8_192
"""No file of the process may grow beyond: its database, its journal and its log are all longer already."""

Request = request_pb2.Request


@contextmanager
def full_disk(town: Town, key: str) -> Iterator[None]:
    """No room for that process; there is again at the end."""
    pid = town.record.servers[key].pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL_BYTES, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@outage(
    47, Fault.DISK_FULL, "demands under way", Party.NODE,
    "the demand « envoyé », tried again, with the reason; its own staff « enregistrement impossible », nothing done",
)  # fmt: skip
async def test_47_a_node_without_room_refuses_by_name_and_goes_on_when_there_is_room(play: Play, town: Town) -> None:
    """It refuses what it cannot store, keeps what it has promised, and needs no restart to go on."""
    unit = await play.ready(PARTNER, beds=2)
    before = await play.held(unit)
    pid = town.node(PARTNER).pid
    with full_disk(town, PARTNER):
        request = await play.asked([unit], hold=unit)

        def told() -> bool:
            known = play.screen.now(request.name)
            if known is None:
                return False  # her screen has not told her of her own demand yet
            assert not heard(known.asks[0])
            return any(one.last_reason == Reason.STORAGE_UNAVAILABLE for one in known.asks[0].pending)

        await until(told, "the regulator sees why the house does not answer")
        with pytest.raises(Refusal) as refused:
            await play.declare(PARTNER, beds=1)
        assert refused.value.reason is Reason.STORAGE_UNAVAILABLE
        assert stored(town.database(PARTNER), request.asks[0].reservation) is None
        kept = await play.reservation(before.asks[0].reservation)
        assert kept.offer.offer_tag == before.asks[0].known.offer.offer_tag
    known = await play.answered(request)
    assert in_state(known.asks[0], "HELD")
    confirmed = await play.confirmed(before)
    assert town.is_alive(PARTNER)
    assert town.node(PARTNER).pid == pid
    await inquest(play, town, [unit], [confirmed])


@outage(
    48, Fault.DISK_FULL, "a demand is made", Party.HUB,
    "« enregistrement impossible, réessayez »; what was there is still shown; said again, « retenu »",
)  # fmt: skip
async def test_48_a_hub_without_room_takes_nothing_that_it_cannot_keep(play: Play, town: Town) -> None:
    """No demand is half taken: refused by name, absent from the file, and the same demand is taken when there is
    room."""
    unit = await play.ready(PARTNER, beds=2)
    before = await play.held(unit)
    wish = play.wish(target(unit, hold=True))
    pid = town.hub.pid
    with full_disk(town, HUB):
        with pytest.raises(Refusal) as refused:
            await ask(play.hub(REGULATOR).requests.CreateRequest, wish)
        assert refused.value.reason is Reason.STORAGE_UNAVAILABLE
        assert refused.value.reason.row.retryable
        shown = await ask(play.hub(REGULATOR).requests.GetRequest, request_pb2.GetRequestRequest(name=before.name))
        assert in_state(shown.asks[0], "HELD")
        names = {name for (name,) in rows(town.database(HUB), "SELECT name FROM request")}
        assert not any(wish.request_id in name for name in names)
    known = await play.answered(await play.insist(wish))
    assert in_state(known.asks[0], "HELD")
    assert town.is_alive(HUB)
    assert town.hub.pid == pid
    await inquest(play, town, [unit])


@outage(
    54, Fault.DISK_FAILS, "a confirmation is committed", Party.NODE,
    "« confirmation en cours », with the reason, never « réservé »; its own staff « enregistrement impossible »",
)  # fmt: skip
async def test_54_a_node_whose_disk_does_not_flush_confirms_nothing_until_it_does(play: Play, town: Town) -> None:
    """What was not flushed was not promised: neither told nor kept in memory, and decided anew when the disk is
    well."""
    unit = await play.ready(PARTNER, beds=2)
    held = await play.held(unit)
    one = held.asks[0]
    async with town.failing_disk(PARTNER):
        pid = town.node(PARTNER).pid
        assert (await play.confirm(held, one)).state == Request.STATE_CONFIRMING

        def told() -> bool:
            known = play.screen.now(held.name)
            assert known is not None
            assert known.state != Request.STATE_CONFIRMED
            return any(each.last_reason == Reason.STORAGE_UNAVAILABLE for each in known.asks[0].pending)

        await until(told, "the regulator sees why the house does not answer")
        assert town.was_met(PARTNER)
        with pytest.raises(Refusal) as refused:
            await play.declare(PARTNER, beds=1)
        assert refused.value.reason is Reason.STORAGE_UNAVAILABLE
        assert b'"state":"HELD"' in (stored(town.database(PARTNER), one.reservation) or b"")
        assert (await play.reservation(one.reservation)).state == reservation_pb2.Reservation.STATE_HELD
    done = await play.heard(held.name, lambda r: r.state == Request.STATE_CONFIRMED, "reserved")
    after = await play.held(unit)
    assert town.node(PARTNER).pid == pid
    assert town.is_alive(PARTNER)
    assert {bed.claim for bed in await play.beds(unit)} == {one.reservation, after.asks[0].reservation}
    await inquest(play, town, [unit], [done.subject])


@outage(
    55, Fault.DISK_FAILS, "a demand is committed", Party.HUB,
    "« enregistrement impossible, réessayez »; what was there is still shown; said again, « retenu »",
)  # fmt: skip
async def test_55_a_hub_whose_disk_does_not_flush_takes_no_demand_until_it_does(play: Play, town: Town) -> None:
    """The demand is nowhere, and no house hears of it; the same one is taken when the disk is well."""
    unit = await play.ready(PARTNER, beds=2)
    before = await play.held(unit)
    wish = play.wish(target(unit, hold=True))
    async with town.failing_disk(HUB):
        pid = town.hub.pid
        await insisted(lambda: play.search(play.need()))  # the hub may have been started anew, and her line with it
        with pytest.raises(Refusal) as refused:
            await ask(play.hub(REGULATOR).requests.CreateRequest, wish)
        assert refused.value.reason is Reason.STORAGE_UNAVAILABLE
        assert refused.value.reason.row.retryable
        assert town.was_met(HUB)
        shown = await ask(play.hub(REGULATOR).requests.GetRequest, request_pb2.GetRequestRequest(name=before.name))
        assert in_state(shown.asks[0], "HELD")
        names = {name for (name,) in rows(town.database(HUB), "SELECT name FROM request")}
        assert not any(wish.request_id in name for name in names)
        assert not await play.reservations_of(PARTNER, f"requests/{wish.request_id}")
    known = await play.answered(await play.insist(wish))
    assert in_state(known.asks[0], "HELD")
    assert town.hub.pid == pid
    assert town.is_alive(HUB)
    await inquest(play, town, [unit])
