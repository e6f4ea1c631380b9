"""Scenarios 18 to 23, and 49: a node killed at each point of what it stores gives the word that is in its file."""

from __future__ import annotations

from aval.adapters.demo.building import HUB
from aval.adapters.demo.cast import in_state, target
from aval.adapters.demo.outages import stored
from aval.adapters.dial import ask
from aval.v1 import request_pb2, reservation_pb2
from tests.scenarios.inquest import inquest
from tests.scenarios.mortal import Moment
from tests.scenarios.outage import Fault, Party, outage
from tests.scenarios.town import KILLED, SMR, Play, Town

WRITES = "INSERT INTO reservation"
Request = request_pb2.Request


def unanswered(request: Request, verb: str) -> bool:
    """Whether what a regulator sees last is a command on its way.

    An earlier one may still stand before it: its effect is heard on the watch, its answer strikes the row later.
    """
    return [one.verb for one in request.asks[0].pending][-1:] == [verb]


@outage(
    18, Fault.KILL, "before the commit of a hold", Party.NODE,
    "« envoyé », and no answer; once the house is back « retenu », as if nothing had been",
)  # fmt: skip
async def test_18_a_node_killed_before_the_commit_of_a_hold_has_promised_nothing(play: Play, town: Town) -> None:
    """The bed is chosen and the transaction full when the node dies: its file has nothing, and nobody was told."""
    unit = await play.ready(SMR, beds=1)
    wish = play.wish(target(unit, hold=True))
    await town.fated(SMR, Moment.BEFORE_COMMIT, WRITES, wish.asks[0].reservation_id, '"state":"HELD"')
    request = await play.insist(wish)
    await town.met_its_fate(SMR)
    assert stored(town.database(SMR), request.asks[0].reservation) is None
    await play.heard(request.name, lambda r: unanswered(r, "create"), "sent")
    await town.start([SMR])
    known = await play.answered(request)
    assert in_state(known.asks[0], "HELD")
    assert [bed.claim for bed in await play.beds(unit)] == [known.asks[0].reservation]
    await inquest(play, town, [unit])


@outage(
    19, Fault.KILL, "after the commit of a hold, nothing published nor answered", Party.NODE,
    "« envoyé », and no answer; then « retenu », with the offer that was in the file",
)  # fmt: skip
async def test_19_a_node_killed_after_the_commit_of_a_hold_keeps_its_word(play: Play, town: Town) -> None:
    """COMMIT has returned and the node dies in the same thread: its word is in the file and nowhere else."""
    unit = await play.ready(SMR, beds=1)
    wish = play.wish(target(unit, hold=True))
    await town.fated(SMR, Moment.AFTER_COMMIT, WRITES, wish.asks[0].reservation_id, '"state":"HELD"')
    request = await play.insist(wish)
    await town.met_its_fate(SMR)
    written = stored(town.database(SMR), request.asks[0].reservation)
    assert written is not None
    await play.heard(request.name, lambda r: unanswered(r, "create"), "sent")
    await town.start([SMR])
    known = await play.answered(request)
    assert in_state(known.asks[0], "HELD")
    assert stored(town.database(SMR), request.asks[0].reservation) == written
    await inquest(play, town, [unit])


@outage(
    20, Fault.KILL, "after the answer to a hold was heard", Party.NODE,
    "« retenu » stands; a confirmation is « en cours » while the house is away, then « réservé »",
)  # fmt: skip
async def test_20_a_hold_outlives_its_node_and_is_confirmed_when_it_is_back(play: Play, town: Town) -> None:
    """The regulator confirms what she holds at a house whose node is dead; nobody says « réservé » before it does."""
    unit = await play.ready(SMR, beds=1)
    held = await play.held(unit)
    assert await town.kill(SMR) == KILLED
    told = await play.confirm(held, held.asks[0])
    assert told.state == Request.STATE_CONFIRMING
    assert unanswered(told, "confirm")
    assert in_state(told.asks[0], "HELD")
    await town.start([SMR])
    done = await play.heard(held.name, lambda r: r.state == Request.STATE_CONFIRMED, "reserved")
    await inquest(play, town, [unit], [done.subject])


@outage(
    21, Fault.KILL, "before the commit of a confirmation", Party.NODE,
    "« confirmation en cours », never « réservé » before the node is back and says so",
)  # fmt: skip
async def test_21_a_node_killed_before_the_commit_of_a_confirmation_confirms_later(play: Play, town: Town) -> None:
    """Its file still says HELD; the confirmation is still in the hub's outbox, and comes again."""
    unit = await play.ready(SMR, beds=1)
    held = await play.held(unit)
    one = held.asks[0]
    await town.fated(SMR, Moment.BEFORE_COMMIT, WRITES, one.reservation.rsplit("/", 1)[1], '"state":"CONFIRMED"')
    await play.confirm(held, one)
    await town.met_its_fate(SMR)
    assert b'"state":"HELD"' in (stored(town.database(SMR), one.reservation) or b"")
    known = await play.heard(held.name, lambda r: r.state == Request.STATE_CONFIRMING, "being confirmed")
    assert in_state(known.asks[0], "HELD")
    await town.start([SMR])
    done = await play.heard(held.name, lambda r: r.state == Request.STATE_CONFIRMED, "reserved")
    await inquest(play, town, [unit], [done.subject])


@outage(
    22, Fault.KILL, "after the commit of a confirmation, taken back before the node returns", Party.NODE,
    "« confirmation en cours »; taken back: open at once, the release behind it shown; at the end the bed is free",
)  # fmt: skip
async def test_22_a_confirmation_taken_back_over_a_dead_node_leaves_no_bed_behind(play: Play, town: Town) -> None:
    """Committed at the node and unheard, then taken back: the release is behind the confirmation and cannot be lost."""
    unit = await play.ready(SMR, beds=1)
    held = await play.held(unit)
    one = held.asks[0]
    await town.fated(SMR, Moment.AFTER_COMMIT, WRITES, one.reservation.rsplit("/", 1)[1], '"state":"CONFIRMED"')
    await play.confirm(held, one)
    await town.met_its_fate(SMR)
    assert b'"state":"CONFIRMED"' in (stored(town.database(SMR), one.reservation) or b"")
    back = request_pb2.TakeBackConfirmRequest(command_id=play.id(), name=held.name)
    told = await ask(play.hub("regulatrice").requests.TakeBackConfirm, back)
    assert told.state == Request.STATE_OPEN
    assert told.asks[0].release_pending
    assert [each.verb for each in told.asks[0].pending] == ["confirm", "release"]
    await town.start([SMR])
    await play.heard(held.name, lambda r: in_state(r.asks[0], "RELEASED"), "released")
    released = await play.reservation(one.reservation)
    assert released.ending.release == reservation_pb2.RELEASE_REASON_TAKEN_BACK
    assert [bed.claim for bed in await play.beds(unit)] == [""]
    await inquest(play, town, [unit])


@outage(
    23, Fault.KILL, "in the middle of writing a batch of six demands", Party.NODE,
    "six times « envoyé »; then three are held and three wait for a person, as three beds allow",
)  # fmt: skip
async def test_23_a_batch_half_written_is_not_written_at_all(play: Play, town: Town) -> None:
    """Six demands for three beds come together. The node dies with some of their rows written, none committed."""
    unit = await play.ready(SMR, beds=3)
    wishes = [play.wish(target(unit, hold=True)) for _ in range(6)]
    await town.fated(SMR, Moment.IN_WRITE, WRITES, wishes[3].asks[0].reservation_id)
    town.pause(SMR)
    requests = [await play.insist(wish) for wish in wishes]
    town.wake(SMR)
    await town.met_its_fate(SMR)
    assert all(stored(town.database(SMR), one.asks[0].reservation) is None for one in requests[3:])
    await play.heard(requests[3].name, lambda r: unanswered(r, "create"), "sent")
    await town.start([SMR])
    known = [await play.answered(request) for request in requests]
    assert sum(in_state(one.asks[0], "HELD") for one in known) == 3
    assert sum(in_state(one.asks[0], "ASKED") for one in known) == 3
    await inquest(play, town, [unit])


@outage(
    49, Fault.KILL, "a confirmation committed at the node and unheard at the hub", Party.BOTH,
    "no answer from anybody; « confirmation en cours » when the hub is back, then « réservé »",
)  # fmt: skip
async def test_49_a_power_cut_of_the_whole_territory_loses_no_confirmation(play: Play, town: Town) -> None:
    """Node and hub die with a confirmation that only the node's file knows; the node is back first, and the hub asks
    again what it had asked."""
    unit = await play.ready(SMR, beds=1)
    held = await play.held(unit)
    one = held.asks[0]
    await town.fated(SMR, Moment.AFTER_COMMIT, WRITES, one.reservation.rsplit("/", 1)[1], '"state":"CONFIRMED"')
    told = await play.confirm(held, one)
    assert told.state == Request.STATE_CONFIRMING
    await town.met_its_fate(SMR)
    assert await town.kill(HUB) == KILLED
    await town.start([SMR])
    assert (await play.reservation(one.reservation)).state == reservation_pb2.Reservation.STATE_CONFIRMED
    await town.start([HUB])
    done = await play.heard(held.name, lambda r: r.state == Request.STATE_CONFIRMED, "reserved")
    await inquest(play, town, [unit], [done.subject])
