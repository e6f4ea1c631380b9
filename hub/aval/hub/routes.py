"""The way to each node: one link to the address that it last announced, made anew when that changes.

Follower and courier of a node share it. Both learn here that the node has called: then nobody waits any longer.
"""

import asyncio
from collections import deque

from aval.hub.backoff import Backoff
from aval.hub.ports import Connect, NodeLink
from aval.hub.registry import Registry
from aval.kernel.clock import Clock

ERRORS_KEPT = 1000
"""Errors of a link remembered, to say how many there were in the last hour."""

HOUR_SECONDS = 3600.0


class Route:
    """The way to one node."""

    def __init__(self, finess: str, registry: Registry, connect: Connect, clock: Clock) -> None:
        self.finess = finess
        self._clock = clock
        self._registry = registry
        self._connect = connect
        self._address = ""
        self._link: NodeLink | None = None
        self._announced = asyncio.Event()
        self._backoffs: list[Backoff] = []
        self._broken = False
        self._failed_at: deque[float] = deque(maxlen=ERRORS_KEPT)

    def failed(self) -> None:
        """Counts an error of the link."""
        self._failed_at.append(self._clock.monotonic())
        self._broken = True

    def succeeded(self) -> None:
        """The link carries."""
        self._broken = False

    @property
    def errors_last_hour(self) -> int:
        """Errors in the last hour."""
        since = self._clock.monotonic() - HOUR_SECONDS
        return sum(at >= since for at in self._failed_at)

    def with_backoff(self, backoff: Backoff) -> Backoff:
        """Takes a back-off to clear when the node calls."""
        self._backoffs.append(backoff)
        return backoff

    def announced(self) -> None:
        """The node has called: every wait for it ends, that of a connection that failed too, by dialling anew."""
        if self._broken:
            self._address = ""
        self._announced.set()
        for backoff in self._backoffs:
            backoff.clear()

    async def link(self) -> NodeLink:
        """The link to the present address, once there is one."""
        while not (address := self._registry.address(self.finess)):
            self._announced.clear()
            await self._announced.wait()
        if self._link is None or address != self._address:
            old, self._link = self._link, self._connect(self.finess, address)
            self._address = address
            if old is not None:
                await old.close()
        return self._link

    async def close(self) -> None:
        """Closes the link."""
        if self._link is not None:
            await self._link.close()
            self._link = None
