"""Tells the hub where this node is: at start, and again whenever the connection to the hub was lost.

The hub dials the node, so a hub that restarts, or that has given this node up for a while, learns by the next Announce
that it is worth trying now. Failing costs nothing but patience: the hub has the address of its territory file, and
dials by itself with a back-off of its own.
"""

from collections.abc import Awaitable, Callable

import structlog

from aval.kernel.clock import Clock, Rng
from aval.kernel.reasons import Refusal

BACK_OFF_SECONDS = (0.5, 30.0)
"""Shortest and longest wait between two attempts; forty nodes that lose their hub together must not return together."""


class Announcer:
    """One coroutine. `announce` sends it once and raises `Refusal`; `lost` returns when that connection is gone."""

    def __init__(
        self, announce: Callable[[], Awaitable[None]], lost: Callable[[], Awaitable[None]], clock: Clock, rng: Rng
    ) -> None:
        self._announce = announce
        self._lost = lost
        self._clock = clock
        self._rng = rng
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Announces for ever, until cancelled."""
        shortest, longest = BACK_OFF_SECONDS
        while True:
            attempt = 0
            while not await self._announced(attempt):
                ceiling = min(longest, shortest * 2**attempt)
                attempt += 1
                await self._rest(ceiling)
            await self._lost()
            await self._rest(shortest)

    async def _announced(self, attempt: int) -> bool:
        try:
            await self._announce()
        except Refusal as refusal:
            if attempt == 0:
                self._log.warning("announce-refused", reason=refusal.reason.value)
            return False
        self._log.info("announced", attempt=attempt)
        return True

    async def _rest(self, ceiling_seconds: float) -> None:
        wait_seconds = self._rng.uniform(ceiling_seconds / 2, ceiling_seconds)
        await self._clock.sleep_until(self._clock.monotonic() + wait_seconds)
