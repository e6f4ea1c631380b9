"""A clock that a test moves."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta


class HandClock:
    """`aval.kernel.clock.Clock`; `advance` moves both of its times and wakes who has slept enough."""

    def __init__(self, now: datetime) -> None:
        self._begin = now
        self._elapsed = 0.0
        self._sleepers: set[asyncio.Event] = set()

    def now(self) -> datetime:
        return self._begin + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep_until(self, monotonic: float) -> None:
        while self._elapsed < monotonic:
            moved = asyncio.Event()
            self._sleepers.add(moved)
            try:
                await moved.wait()
            finally:
                self._sleepers.discard(moved)

    def advance(self, length: timedelta) -> None:
        self._elapsed += length.total_seconds()
        for sleeper in tuple(self._sleepers):
            sleeper.set()
