"""One hub of several in a simulation: its process, which can also be told to stop in good order."""

from __future__ import annotations

import asyncio

from tests.simulation.compose import HubParts
from tests.simulation.people import HUB
from tests.simulation.shared_disk import ReplicaStore
from tests.simulation.wire import Network
from tests.simulation.world import Process

GRACE_SECONDS = 0.2
"""How long calls are served on once a hub is told to stop."""


def address_of_replica(number: int) -> str:
    """Where a hub listens; the first one under the address that a hub alone has."""
    return HUB if number == 0 else f"hub-{number}:5000"


class ReplicaParts(HubParts):
    """A hub's process."""

    def __init__(self, network: Network, process: Process, store: ReplicaStore, number: int) -> None:
        super().__init__(network, process, store, replica=number, address=address_of_replica(number))
        self.is_stopping = False
        self._stop = process.loop.create_future()

    def stop(self) -> None:
        """As SIGTERM does."""
        self.is_stopping = True
        if not self._stop.done():
            self._stop.set_result(None)

    async def run(self) -> None:
        """What its root does, less the operating system: until it is told to stop, or a coroutine of it ends."""
        running = await self.build()
        tasks = self.serve(running)
        done, _ = await asyncio.wait((self._stop, *tasks), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        self.network.leaves(self.server)
        clock = self.process.clock
        await clock.sleep_until(clock.monotonic() + GRACE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for route in running.hub.routes.values():
            await route.close()
