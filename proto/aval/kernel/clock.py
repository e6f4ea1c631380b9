"""The ports of time and chance. Everything outside adapters takes these, so that a simulation runs the very same code.

Two clocks, never mixed: `now` is the wall clock, for dates that people read and that are stored; `monotonic` is for
durations, waits and ages, and means nothing in another process.
"""

from datetime import datetime
from typing import Protocol
from uuid import UUID


class Clock(Protocol):
    """Time, as a process sees it."""

    def now(self) -> datetime:
        """The wall clock, an aware UTC instant. It may jump in either direction."""
        ...

    def monotonic(self) -> float:
        """Seconds since an unspecified origin of this process. It never goes back."""
        ...

    async def sleep_until(self, monotonic: float) -> None:
        """Returns once `monotonic()` has reached that value, at once if it already has. It may be cancelled."""
        ...


class Rng(Protocol):
    """Chance: seeded in a simulation, the operating system's elsewhere."""

    def uuid(self) -> UUID:
        """A new random UUID (version 4)."""
        ...

    def token(self, length_bytes: int) -> bytes:
        """That many unpredictable bytes."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """A number of `[low, high]`, for jitter."""
        ...
