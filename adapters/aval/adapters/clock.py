"""The real clock and the real chance: the operating system's."""

import asyncio
import random
import secrets
import time
from datetime import UTC, datetime
from uuid import UUID, uuid4


class SystemClock:
    """`aval.kernel.clock.Clock` by the operating system and the running event loop."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """The monotonic clock, seconds."""
        return time.monotonic()

    async def sleep_until(self, monotonic: float) -> None:
        """Sleeps as long as needed; a loop, since an event loop may wake a little early."""
        while (left_seconds := monotonic - time.monotonic()) > 0:
            await asyncio.sleep(left_seconds)


class SystemRng:
    """`aval.kernel.clock.Rng` by the operating system's source of randomness."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def uuid(self) -> UUID:
        """A new random UUID (version 4)."""
        return uuid4()

    def token(self, length_bytes: int) -> bytes:
        """Unpredictable bytes."""
        return secrets.token_bytes(length_bytes)

    def uniform(self, low: float, high: float) -> float:
        """A number of `[low, high]`."""
        return self._random.uniform(low, high)
