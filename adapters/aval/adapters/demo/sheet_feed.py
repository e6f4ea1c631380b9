"""A house that keeps its beds in a sheet, and drops it in a folder each time that it changes. SIMULATION."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from aval.adapters.counts.folder import DONE
from aval.adapters.demo.coming import Coming, Counts
from aval.adapters.demo.feed import CONFIRM_EVERY
from aval.adapters.demo.generator import movements
from aval.adapters.territory import HousePlan
from aval.kernel.clock import Clock

NAME = "lits.csv"
LOOK_AFTER = timedelta(seconds=0.2)
"""Between two looks at whether the first sheet has been taken."""


class SheetFeed:
    """One house at work, as `Feed`. `folder` is looked at by another process, which tells the node."""

    def __init__(self, folder: Path, house: HousePlan, seed: int, start: datetime, clock: Clock) -> None:
        self._folder = folder
        self._house = house
        self._seed = seed
        self._start = start
        self._clock = clock
        self.caught_up = asyncio.Event()

    async def run(self, until: datetime) -> None:
        """Drops a sheet whenever counts change, and at times when they have not. Raises OSError."""
        coming = Coming(movements(self._house, self._seed, self._start, until), self._clock.now())
        counts = Counts(self._house)
        while True:
            for movement in coming.due(self._clock.now()):
                counts.apply(movement)
            self._drop(counts)
            if not self.caught_up.is_set():
                await self._taken()
                self.caught_up.set()
            now = self._clock.now()
            if now >= until:
                return
            following = [coming.next.time] if coming.next else []
            await self._pause(min(until, now + CONFIRM_EVERY, *following) - now)

    def _drop(self, counts: Counts) -> None:
        """Whole or not at all: under another name first, then renamed."""
        told = self._clock.now().astimezone(ZoneInfo(self._house.time_zone)).strftime("%d/%m/%Y %H:%M")
        rows = [
            f"{code};{plan.capacity - counts.closed[code]};{counts.occupied(code)};{told}"
            for code, plan in counts.plans.items()
        ]
        fresh = self._folder / f".{NAME}.tmp"
        fresh.write_text("\r\n".join(["Unité;Ouverts;Occupés;Relevé le", *rows, ""]), encoding="utf-8-sig")
        fresh.rename(self._folder / NAME)

    async def _taken(self) -> None:
        while not any((self._folder / DONE).glob(f"*{NAME}")):
            await self._pause(LOOK_AFTER)

    async def _pause(self, length: timedelta) -> None:
        await self._clock.sleep_until(self._clock.monotonic() + max(length.total_seconds(), 0.0))
