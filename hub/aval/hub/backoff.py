"""How long to wait before a node, or the store, is tried again: some seconds, longer each time, never in step.

One `Backoff` belongs to one loop. A node that returns says so (`Announce`), and then waiting on is pointless: `clear`
ends the present wait at once and begins again with the shortest one. A store that refuses for now never ends a loop of
the hub: what must be read before a loop begins goes through `until_stored`.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from aval.kernel.clock import Clock, Rng
from aval.kernel.reasons import Refusal

FIRST_SECONDS = 0.5
"""The first wait: a process that restarts is back within a second or two."""

LONGEST_SECONDS = 15.0
"""The longest wait: well under the two minutes after which a node counts as unreachable."""

GROWTH = 2.0
"""From each wait to the next."""

JITTER_SHARE = 0.5
"""A wait is drawn from this share of its length to the whole, so that a hub's nodes are not tried in step."""


async def until_set(event: asyncio.Event, clock: Clock, monotonic: float) -> bool:
    """Waits for the event, at most until that time of the clock; whether it is set."""
    if event.is_set():
        return True
    await first_of(event.wait(), clock.sleep_until(monotonic))
    return event.is_set()


async def first_of(*waits: Awaitable[object]) -> None:
    """Returns once one of the waits has ended; the others are cancelled. What the first raised is raised."""
    tasks = [asyncio.ensure_future(one) for one in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()


def wait_seconds(attempt: int, rng: Rng) -> float:
    """How long to wait after that many failures before this one, drawn anew."""
    # The exponent is bounded: a node may be away for weeks.
    longest = min(FIRST_SECONDS * GROWTH ** min(attempt, 16), LONGEST_SECONDS)
    return rng.uniform(longest * JITTER_SHARE, longest)


class Backoff:
    """The waits of one loop. `attempt` counts the failures since the last success."""

    def __init__(self, clock: Clock, rng: Rng) -> None:
        self._clock = clock
        self._rng = rng
        self._cleared = asyncio.Event()
        self.attempt = 0

    async def wait(self) -> None:
        """Waits after a failure, or until `clear`. What was cleared before the wait began counts as well."""
        until = self._clock.monotonic() + wait_seconds(self.attempt, self._rng)
        self.attempt += 1
        await until_set(self._cleared, self._clock, until)
        self._cleared.clear()

    def succeeded(self) -> None:
        """The node has answered: the next failure waits the shortest time."""
        self.attempt = 0
        self._cleared.clear()

    def clear(self) -> None:
        """The node has called: a wait under way ends now, and the next ones begin short."""
        self.attempt = 0
        self._cleared.set()


async def until_stored(work: Callable[[], Awaitable[None]], backoff: Backoff, what: str) -> None:
    """Does a work of the store, again and again while it is refused for now; `what` names it in the log.

    Raises `Refusal` that no later try cures.
    """
    while True:
        try:
            await work()
        except Refusal as error:
            if not error.reason.row.retryable:
                raise
            structlog.get_logger().warning(
                "store-awaited", cause=what, reason=error.reason.value, attempt=backoff.attempt
            )
            await backoff.wait()
        else:
            backoff.succeeded()
            return
