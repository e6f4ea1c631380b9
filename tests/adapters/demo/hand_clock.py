"""A clock that a test moves."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta


class HandClock:
    """`aval.kernel.clock.Clock`; `advance` moves both of its times and wakes who has slept enough."""

    def __init__(self, now: datetime) -> None:
        self._begin = now
        self._elapsed = 0.0
        self._sleepers: dict[asyncio.Event, float] = {}

    def now(self) -> datetime:
        return self._begin + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep_until(self, monotonic: float) -> None:
        while self._elapsed < monotonic:
            moved = asyncio.Event()
            self._sleepers[moved] = monotonic
            try:
                await moved.wait()
            finally:
                del self._sleepers[moved]

    @property
    def is_slept(self) -> bool:
        """Whether anybody sleeps."""
        return bool(self._sleepers)

    def is_slept_for(self, length: timedelta) -> bool:
        """Whether somebody sleeps for just so long from now."""
        return self._elapsed + length.total_seconds() in self._sleepers.values()

    def advance(self, length: timedelta) -> None:
        self._elapsed += length.total_seconds()
        for sleeper in tuple(self._sleepers):
            sleeper.set()
