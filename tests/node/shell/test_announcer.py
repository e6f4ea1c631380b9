"""The announcer: at start, after each loss, patient and not in step with others."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from itertools import pairwise

from aval.kernel.reasons import Reason, Refusal
from aval.node.announcer import BACK_OFF_SECONDS, Announcer
from tests.node.shell.fakes import FakeClock, SeededRng
from tests.waiting import until


class Hub:
    """A hub that is away, then there, and lost again when told."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.away = False
        self.tried_at: list[float] = []
        self.heard = 0
        self.lost = asyncio.Event()

    async def announce(self) -> None:
        self.tried_at.append(self.clock.monotonic())
        if self.away:
            raise Refusal(Reason.NODE_UNREACHABLE)
        self.heard += 1

    def was_heard(self, times: int) -> bool:
        return self.heard == times

    async def is_lost(self) -> None:
        await self.lost.wait()
        self.lost.clear()


async def test_it_announces_at_start_and_after_each_loss() -> None:
    clock = FakeClock()
    hub = Hub(clock)
    running = asyncio.create_task(Announcer(hub.announce, hub.is_lost, clock, SeededRng()).run())
    await until(lambda: hub.heard == 1, "the first announcement")
    for times in (2, 3):
        hub.lost.set()
        await until(lambda: not hub.lost.is_set(), "the loss to be noticed")
        clock.advance(timedelta(seconds=1))
        await until(partial(hub.was_heard, times), "another announcement")
    running.cancel()


async def test_it_backs_off_up_to_half_a_minute_with_jitter_and_never_gives_up() -> None:
    clock = FakeClock()
    hub = Hub(clock)
    hub.away = True
    running = asyncio.create_task(Announcer(hub.announce, hub.is_lost, clock, SeededRng()).run())
    for _ in range(20):
        tries = len(hub.tried_at)
        while len(hub.tried_at) == tries:
            clock.advance(timedelta(seconds=0.05))
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    waits = [later - earlier for earlier, later in pairwise(hub.tried_at)]
    shortest, longest = BACK_OFF_SECONDS
    assert waits[0] <= shortest + 0.1
    assert all(longest / 2 - 0.1 <= wait <= longest + 0.1 for wait in waits[8:])
    assert len({round(wait, 1) for wait in waits[8:]}) > 3, "nodes that lost their hub together do not return together"
    hub.away = False
    tries = len(hub.tried_at)
    clock.advance(timedelta(seconds=longest))
    await until(lambda: hub.heard == 1, "the hub to hear")
    assert len(hub.tried_at) == tries + 1
    running.cancel()
