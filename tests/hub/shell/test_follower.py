"""The follower: resumes from the cursor kept, applies or drops, waits seconds, and not at all once the node calls."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from aval.hub.backoff import LONGEST_SECONDS, Backoff
from aval.hub.model import ChangePart, Description, SnapshotPart
from aval.hub.picture import LinkState, freshness, link_state
from aval.hub.ports import Announcement
from aval.kernel.finess import FinessET
from aval.kernel.identity import Node
from aval.kernel.reasons import Reason, Refusal
from aval.kernel.statuses import Freshness
from tests.hub.shell.fakes import (
    LUNEVILLE,
    PARTNER,
    TERRITORY,
    TOUL,
    FakeCaller,
    FakeClock,
    FakeHub,
    FakeRng,
    Faults,
    fake_hub,
)

LUNEVILLE_NODE = FakeCaller(Node(TERRITORY, FinessET(LUNEVILLE)))


async def announce(hub: FakeHub, finess: str, address: str) -> None:
    """As the node's call does."""
    caller = FakeCaller(Node(TERRITORY, FinessET(finess)))
    await hub.running.hub.registry.announce(caller, Announcement(finess, address))
    hub.running.hub.routes[finess].announced()


async def test_every_node_is_followed_and_its_picture_is_kept() -> None:
    hub = await fake_hub()
    hub.start()
    await hub.clock.advance(1)
    pictures = hub.running.hub.pictures
    assert {finess for finess, one in pictures.all().items() if one.units} == set(hub.nodes)
    stored = await hub.store.run(lambda transaction: transaction.pictures())
    assert {head.cursor.establishment: head.cursor for head, _ in stored} == {
        finess: node.cursor for finess, node in hub.nodes.items()
    }
    await hub.stop()


async def test_a_hub_that_starts_again_resumes_from_its_cursor_and_knows_no_age_yet() -> None:
    hub = await fake_hub()
    hub.start()
    await hub.clock.advance(1)
    hub.nodes[LUNEVILLE].publish()
    await hub.clock.advance(1)
    at = hub.nodes[LUNEVILLE].cursor
    await hub.stop()
    again = await fake_hub(like=hub)
    picture = again.running.hub.pictures.all()[LUNEVILLE]
    assert picture.cursor == at
    unit = picture.units[hub.nodes[LUNEVILLE].unit_name]
    now = again.clock.monotonic()
    assert link_state(picture, now) is LinkState.UNHEARD
    assert freshness(picture, unit, now) is Freshness.UNREACHABLE
    again.start()
    await again.clock.advance(1)
    assert hub.nodes[LUNEVILLE].watched_from[-1] == at
    assert link_state(again.running.hub.pictures.all()[LUNEVILLE], again.clock.monotonic()) is LinkState.CONNECTED
    await again.stop()


async def test_a_lost_link_is_tried_again_within_seconds_and_no_faster_each_time() -> None:
    hub = await fake_hub(faults=Faults(down=True))
    hub.start()
    await hub.clock.advance(600)
    hub.faults[LUNEVILLE].down = False
    await hub.clock.advance(LONGEST_SECONDS)
    assert hub.nodes[LUNEVILLE].watched_from == [None]
    errors = hub.running.hub.routes[TOUL].errors_last_hour
    assert 600 / LONGEST_SECONDS <= errors <= 2 * 600 / LONGEST_SECONDS + 10
    await hub.stop()


async def test_waits_grow_are_jittered_and_bounded() -> None:
    clock, waits = FakeClock(), list[float]()
    backoff = Backoff(clock, FakeRng(3))
    for _ in range(12):
        begun = clock.monotonic()
        waiting = hub_task(backoff)
        await clock.run_until(waiting.done, 60, "the wait is over")
        waits.append(clock.monotonic() - begun)
    assert max(waits) <= LONGEST_SECONDS
    assert waits[0] <= 0.5
    assert sum(waits[6:]) > sum(waits[:6])
    assert len(set(waits[6:])) == 6


def hub_task(backoff: Backoff) -> asyncio.Task[None]:
    """A wait, as a task."""
    return asyncio.ensure_future(backoff.wait())


async def test_announce_ends_every_wait_at_once() -> None:
    hub = await fake_hub(faults=Faults(down=True))
    hub.start()
    await hub.clock.advance(600)
    hub.faults[LUNEVILLE].down = False
    before = hub.clock.monotonic()
    await announce(hub, LUNEVILLE, "luneville:1")
    await hub.clock.settle()
    assert hub.nodes[LUNEVILLE].watched_from == [None]
    assert hub.clock.monotonic() == before
    await hub.stop()


async def test_a_node_that_calls_after_a_failure_is_dialled_anew_and_one_that_is_heard_is_not() -> None:
    """A channel that failed has a back-off of its own, of up to half a minute: a new one has none."""
    hub = await fake_hub()
    hub.start()
    await hub.clock.advance(1)
    dialled = hub.dialled.count((LUNEVILLE, "luneville:1"))
    await announce(hub, LUNEVILLE, "luneville:1")
    await hub.clock.advance(60)
    assert hub.dialled.count((LUNEVILLE, "luneville:1")) == dialled
    hub.faults[LUNEVILLE].down = True
    hub.nodes[LUNEVILLE].publish()
    await hub.clock.advance(60)
    hub.faults[LUNEVILLE].down = False
    await announce(hub, LUNEVILLE, "luneville:1")
    await hub.clock.settle()
    assert hub.dialled.count((LUNEVILLE, "luneville:1")) == dialled + 1
    await hub.stop()


async def test_a_new_address_is_dialled_from_then_on_and_kept() -> None:
    hub = await fake_hub(faults=Faults(down=True))
    hub.start()
    await hub.clock.advance(1)
    hub.faults[LUNEVILLE].down = False
    await announce(hub, LUNEVILLE, "elsewhere:9")
    await hub.clock.settle()
    assert (LUNEVILLE, "elsewhere:9") in hub.dialled
    await hub.stop()
    again = await fake_hub(like=hub)
    assert again.running.hub.registry.address(LUNEVILLE) == "elsewhere:9"


@pytest.mark.parametrize(("finess", "reason"), [(TOUL, Reason.NOT_YOUR_ESTABLISHMENT), ("540000080", None)])
async def test_a_node_announces_itself_only(finess: str, reason: Reason | None) -> None:
    hub = await fake_hub()
    caller = LUNEVILLE_NODE if reason else FakeCaller(Node(TERRITORY, FinessET(finess)))
    with pytest.raises(Refusal) as refused:
        await hub.running.hub.registry.announce(caller, Announcement(finess, "somewhere:1"))
    assert refused.value.reason is (reason or Reason.NOT_A_MEMBER)


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:0", "host:70000", "host:x", "h" * 400 + ":1"])
async def test_an_address_is_host_and_port(address: str) -> None:
    hub = await fake_hub()
    with pytest.raises(Refusal) as refused:
        await hub.running.hub.registry.announce(LUNEVILLE_NODE, Announcement(LUNEVILLE, address))
    assert refused.value.reason is Reason.FIELD_INVALID


async def test_parts_of_a_broken_stream_are_dropped_before_the_next_cursor_is_sent() -> None:
    hub = await fake_hub()
    pictures, node = hub.running.hub.pictures, hub.nodes[LUNEVILLE]
    part = SnapshotPart(node.cursor, Description("Lunéville"), (node.unit(),), part=1, last_part=False)
    await pictures.hear(LUNEVILLE, part)
    assert pictures.begin(LUNEVILLE) == (None, None)
    rest = SnapshotPart(node.cursor, Description("Lunéville"), (), part=2, last_part=True)
    await pictures.hear(LUNEVILLE, rest)
    assert pictures.all()[LUNEVILLE].units == {}


async def test_what_was_heard_of_an_answer_counts_as_the_cursor_of_commands_after_a_crash_too() -> None:
    hub = await fake_hub()
    pictures = hub.running.hub.pictures
    hub.start()
    await hub.clock.advance(1)
    await hub.stop()
    higher = hub.nodes[PARTNER].cursor
    higher = type(higher)(PARTNER, higher.incarnation, higher.revision + 5, b"later")
    assert pictures.hear_answer(PARTNER, higher) == higher
    await hub.store.run(lambda transaction: transaction.save_cursor_heard(higher))
    again = await fake_hub(like=hub)
    assert again.running.hub.pictures.cursor_heard(PARTNER) == higher
    assert again.running.hub.pictures.begin(PARTNER)[0] == hub.nodes[PARTNER].cursor


async def test_old_news_never_takes_a_picture_back() -> None:
    hub = await fake_hub()
    hub.start()
    await hub.clock.advance(1)
    pictures, node = hub.running.hub.pictures, hub.nodes[LUNEVILLE]
    old = ChangePart(node.cursor, (node.unit(),))
    node.places = 9
    node.publish()
    await hub.clock.advance(1)
    unit = pictures.all()[LUNEVILLE].units[node.unit_name]
    await pictures.hear(LUNEVILLE, old)
    assert pictures.all()[LUNEVILLE].units[node.unit_name] is unit
    assert pictures.all()[LUNEVILLE].cursor == node.cursor
    await hub.stop()


async def test_a_silent_node_becomes_unreachable() -> None:
    hub = await fake_hub()
    hub.start()
    await hub.clock.advance(1)
    for faults in hub.faults.values():
        faults.down = True
    await hub.clock.advance(timedelta(minutes=2, seconds=5).total_seconds())
    assert hub.running.hub.searching.unreachable() == sorted(hub.nodes)
    await hub.stop()


async def test_the_meters_know_the_age_of_each_source_that_wins_and_of_no_other() -> None:
    hub = await fake_hub()
    hub.start()
    await hub.clock.advance(1)
    assert hub.meters.ages == {(finess, "people"): 0.0 for finess in hub.nodes}
    node, pictures = hub.nodes[LUNEVILLE], hub.running.hub.pictures
    node.revision += 1
    await pictures.hear(LUNEVILLE, ChangePart(node.cursor, (), (node.unit_name,)))
    assert (LUNEVILLE, "people") not in hub.meters.ages
    await hub.stop()
