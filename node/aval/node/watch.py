"""One open watch: what a follower lacks, then what changes, then a heartbeat while nothing does.

A watch remembers where its follower stands and nothing else. When something was published since, it sends the *present*
state of all that was touched, in one change; while the follower's connection is slow nothing piles up, and what moved
ten times meanwhile is sent once. A follower that falls behind what the history remembers gets a snapshot again.
"""

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime

from aval.kernel.clock import Clock
from aval.node.history import Standing
from aval.node.translate import news
from aval.node.translate.outward import Reader
from aval.node.translate.shown import Moment
from aval.node.translate.words import Names
from aval.node.writer import Writer

ALL_AGES_SECONDS = 60.0
"""How often a heartbeat carries the age of each source, heard or not (CONTRACT 11)."""


class Watch:
    """Follows a node's published state for one reader."""

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        names: Names,
        reader: Reader,
        *,
        reservations: bool,
        progress_seconds: float,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._names = names
        self._reader = reader
        self._reservations = reservations
        self._progress_seconds = progress_seconds
        self._told: dict[str, datetime] = {}
        """The last proof of life of each source that the follower knows of."""

    async def messages(self, revision: int, standing: Standing | None) -> AsyncGenerator[news.News]:
        """What to send, for ever. `standing`: what the follower's cursor is (None: it gave none), at `revision`."""
        published = self._writer.published
        incarnation = published.cursor.incarnation
        if standing is not Standing.KNOWN:
            revision = published.cursor.revision
            for message in news.snapshot(self._moment(), standing, reservations=self._reservations):
                yield message
        now = self._clock.monotonic()
        progress_at, everything_at = now, now
        with published.listening() as moved:
            ringing: asyncio.Task[None] | None = None
            try:
                while True:
                    moved.clear()
                    now = self._clock.monotonic()
                    if published.cursor.incarnation != incarnation:
                        incarnation, revision = published.cursor.incarnation, published.cursor.revision
                        for message in news.snapshot(self._moment(), Standing.FOREIGN, reservations=self._reservations):
                            yield message
                    elif published.cursor.revision > revision:
                        since, revision = revision, published.cursor.revision
                        for message in self._since(since):
                            yield message
                    elif now >= progress_at:
                        progress_at = now + self._progress_seconds
                        message = self._progress(everything=now >= everything_at)
                        if now >= everything_at:
                            everything_at = now + ALL_AGES_SECONDS
                        ringing = asyncio.create_task(self._ring(moved, progress_at))
                        yield message
                    else:
                        await moved.wait()
            finally:
                if ringing is not None:
                    ringing.cancel()

    async def _ring(self, bell: asyncio.Event, at: float) -> None:
        await self._clock.sleep_until(at)
        bell.set()

    # What is sent is made at once, between two awaits: all of one message stands at one cursor.

    def _moment(self) -> Moment:
        return Moment(self._writer.published, self._names, self._reader, self._writer.now())

    def _since(self, revision: int) -> list[news.News]:
        history = self._writer.published.history
        if revision < history.floor:
            return news.snapshot(self._moment(), Standing.COMPACTED, reservations=self._reservations)
        return news.change(self._moment(), history.touched_since(revision), reservations=self._reservations)

    def _progress(self, *, everything: bool) -> news.News:
        proofs = self._writer.published.proofs
        heard = {source: at for source, at in proofs.items() if everything or self._told.get(source) != at}
        self._told.update(heard)
        return news.progress(self._moment(), sorted(heard))
