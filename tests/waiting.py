"""Waiting for a condition: the one place where a test sleeps.

Real processes and connections change at their own pace. A test says what it waits for; how often to look, and how long
a shared machine may stand still meanwhile, is not its business.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

LOOK_EVERY_SECONDS = 0.02
"""Short beside what is waited for (a process, a handshake), long beside one look."""

PATIENCE_SECONDS = 30.0
"""Long beside any pause of a loaded machine, short beside a test's limit: a test that passes never waits it out."""


async def until(
    condition: Callable[[], bool | Awaitable[bool]], what: str, within_seconds: float = PATIENCE_SECONDS
) -> None:
    """Returns once ``condition`` holds; fails the test, naming ``what`` was waited for, after ``within_seconds``."""
    end = time.monotonic() + within_seconds
    while True:
        is_over = time.monotonic() >= end  # looked at first: whoever stood still for long still has a last look
        answer = condition()
        if answer if isinstance(answer, bool) else await answer:
            return
        if is_over:
            raise AssertionError(f"waited {within_seconds} s in vain: {what}")
        await asyncio.sleep(LOOK_EVERY_SECONDS)
