"""A store that is away for a while ends no part of a hub: at its start, while it runs, at any single access."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest
from structlog.testing import capture_logs

from aval.hub.ports import Transaction
from aval.hub.store.memory import MemoryStore
from aval.kernel.lifecycle import RequestState
from aval.kernel.reasons import Reason, Refusal
from tests.hub.shell.fakes import LUNEVILLE, PARTNER, FakeHub, fake_hub
from tests.hub.shell.test_courier import confirm, create, read, until_answered, until_quiet, until_state

T = TypeVar("T")


class FailingStore(MemoryStore):
    """A store that refuses: all while `away`, and the accesses whose numbers `refused` names, counted from 0."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.refused: Callable[[int], bool] = lambda _: False
        self.accesses = 0
        self.refusals = 0

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """See the port."""
        self._refuse()
        return await super().run(work)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See the port."""
        self._refuse()
        return await super().read(work)

    def _refuse(self) -> None:
        number, self.accesses = self.accesses, self.accesses + 1
        if self.away or self.refused(number):
            self.refusals += 1
            raise Refusal(Reason.STORAGE_UNAVAILABLE, {"problem": "a test's"})


def ended(hub: FakeHub) -> list[str]:
    """The loops of a hub that are no more, each with what ended it."""
    return [f"{name}: {task}" for name, task in zip(hub.running.loops, hub.tasks, strict=True) if task.done()]


async def test_a_hub_whose_store_is_away_at_its_start_waits_for_it_and_takes_up_all_that_it_holds() -> None:
    store = FailingStore()
    before = await fake_hub(store=store)
    before.start()
    name = await create(before, LUNEVILLE)
    file = await until_answered(before, name)
    await before.stop()
    store.away = True
    starting = asyncio.ensure_future(fake_hub(like=before))
    with capture_logs() as said:
        await before.clock.advance(120)
    assert not starting.done()
    assert {(one["event"], one["reason"]) for one in said} == {("store-awaited", "STORAGE_UNAVAILABLE")}
    assert len(said) < 30  # it waits longer each time
    store.away = False
    await before.clock.run_until(starting.done, 15, "the hub has started")
    hub = starting.result()
    store.away = True  # and again, before any of its loops has begun
    hub.start()
    await hub.clock.advance(120)
    assert ended(hub) == []
    store.away = False
    await hub.clock.advance(30)
    await confirm(hub, name, file.asks[0].reservation)
    await until_state(hub, name, RequestState.CONFIRMED)
    assert ended(hub) == []
    await hub.stop()


async def test_a_store_that_goes_away_in_between_delays_and_loses_nothing() -> None:
    store = FailingStore()
    hub = await fake_hub(store=store)
    hub.start()
    name = await create(hub, LUNEVILLE, PARTNER)
    file = await until_answered(hub, name)
    store.away = True
    hub.nodes[LUNEVILLE].publish()  # the watch brings what cannot be stored
    with pytest.raises(Refusal, match="STORAGE_UNAVAILABLE"):
        await confirm(hub, name, file.asks[0].reservation)
    await hub.clock.advance(600)
    assert ended(hub) == []
    assert store.refusals > 10
    store.away = False
    await hub.clock.advance(30)
    assert hub.running.hub.pictures.all()[LUNEVILLE].cursor == hub.nodes[LUNEVILLE].cursor
    await confirm(hub, name, file.asks[0].reservation)
    await until_state(hub, name, RequestState.CONFIRMED)
    assert not (await until_quiet(hub, name)).rows
    await hub.stop()


@pytest.mark.parametrize("share", range(3))
async def test_no_single_access_that_is_refused_ends_a_hub(share: int) -> None:
    """Each third access is refused: over the three runs, each place of the code that reads or writes meets it."""
    store = FailingStore()
    hub = await fake_hub(store=store)
    store.refused = lambda number: number % 3 == share
    hub.start()

    async def in_the_end(work: Callable[[], asyncio.Future[T]]) -> T:
        while True:
            try:
                return await work()
            except Refusal:
                await hub.clock.advance(0.1)

    name = await in_the_end(lambda: asyncio.ensure_future(create(hub, LUNEVILLE, PARTNER)))
    await hub.clock.advance(120)
    reservation = (await in_the_end(lambda: asyncio.ensure_future(read(hub, name)))).asks[0].reservation
    await in_the_end(lambda: asyncio.ensure_future(confirm(hub, name, reservation)))
    await hub.clock.advance(120)
    file = await in_the_end(lambda: asyncio.ensure_future(read(hub, name)))
    assert file.request.state is RequestState.CONFIRMED
    assert file.rows == ()
    await hub.clock.advance(2 * 3600)  # marks, meters, records forgotten
    assert ended(hub) == []
    assert store.refusals > store.accesses / 4
    await hub.stop()
