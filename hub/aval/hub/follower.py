"""Follows one node: watches it from the cursor kept, applies what it brings, and begins again when the stream ends.

One coroutine a node. A message is applied (and stored) before the next is read, so the queue is gRPC's window and no
more; what a stream brought is applied or dropped before the next stream sends its cursor (DESIGN §5). The end of a
stream is the normal case; an error waits a few seconds, jittered, or until the node announces itself.
"""

from collections.abc import Awaitable, Callable

import structlog

from aval.hub.backoff import Backoff
from aval.hub.pictures import Pictures
from aval.hub.ports import LinkLost
from aval.hub.routes import Route
from aval.kernel.reasons import Reason, Refusal

MESSAGES_BEFORE_RESUME_AT_ONCE = 1
"""A stream that brought something and then ended is resumed at once; one that brought nothing waits first."""


class Follower:
    """Follows the node of one route."""

    def __init__(self, route: Route, pictures: Pictures, backoff: Backoff) -> None:
        self._route = route
        self._pictures = pictures
        self._backoff = route.with_backoff(backoff)
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """For ever."""
        while True:
            link = await self._route.link()
            finess, messages = self._route.finess, 0
            events = link.watch(*self._pictures.begin(finess))
            try:
                async for event in events:
                    more = await self._pictures.hear(finess, event)
                    messages += 1
                    if messages == MESSAGES_BEFORE_RESUME_AT_ONCE:
                        self._backoff.succeeded()
                        self._route.succeeded()
                    if not more:
                        break
                if messages >= MESSAGES_BEFORE_RESUME_AT_ONCE:
                    continue
            except (LinkLost, Refusal) as error:
                refusal = error.refusal if isinstance(error, LinkLost) else error
                if refusal.reason is Reason.NODE_RESTORED:
                    self._log.warning("node-restored", establishment=finess)
                    self._pictures.restored(finess)
                    continue
                self._route.failed()
                self._log.warning(
                    "link-lost", establishment=finess, link="watch", reason=refusal.reason.value,
                    attempt=self._backoff.attempt,
                )  # fmt: skip
            finally:
                await _close(events)
            await self._backoff.wait()


async def _close(events: object) -> None:
    """Ends a watch that is left before its end."""
    close: Callable[[], Awaitable[None]] | None = getattr(events, "aclose", None)
    if close is not None:
        await close()
