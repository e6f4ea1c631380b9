"""A regulator's screen: all the requests of one caller, as its hub tells each change. Nothing is polled."""

import asyncio
from collections.abc import Callable

from aval.adapters.dial import Line, follow
from aval.kernel.reasons import Refusal
from aval.v1 import request_pb2

OPEN_SECONDS_MAX = 10.0
"""How long the hub may take to say what there is."""


class Screen:
    """Follows `WatchRequests`; opened once, re-read when the server ends the stream or was away."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._known: dict[str, request_pb2.Request] = {}
        self._changed = asyncio.Condition()
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Returns when all that is live has been heard. Raises TimeoutError."""
        self._task = asyncio.create_task(self._follow())
        await asyncio.wait_for(self._caught_up.wait(), OPEN_SECONDS_MAX)

    async def close(self) -> None:
        """Leaves the stream."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def now(self, name: str) -> request_pb2.Request | None:
        """What was last heard of a request."""
        return self._known.get(name)

    async def until(
        self, name: str, enough: Callable[[request_pb2.Request], bool], within_seconds: float
    ) -> request_pb2.Request:
        """The request as soon as `enough` holds of what was heard of it; what was last heard when the time is over.

        Raises TimeoutError if nothing was.
        """

        def holds() -> bool:
            known = self._known.get(name)
            return known is not None and enough(known)

        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(holds), within_seconds)
            except TimeoutError:
                if name not in self._known:
                    raise
        return self._known[name]

    async def _follow(self) -> None:
        while True:
            try:
                async for event in follow(self._line.requests.WatchRequests, request_pb2.WatchRequestsRequest()):
                    if event.HasField("request"):
                        await self._hear(event.request)
                    elif event.caught_up:
                        self._caught_up.set()
            except Refusal as refusal:
                if not refusal.reason.row.retryable:
                    raise
                await asyncio.sleep(0.2)

    async def _hear(self, request: request_pb2.Request) -> None:
        async with self._changed:
            known = self._known.get(request.name)
            if known is None or request.revision >= known.revision:
                self._known[request.name] = request
            self._changed.notify_all()
