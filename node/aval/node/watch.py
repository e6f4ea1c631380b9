"""One open watch: what a follower lacks, then what changes, then a heartbeat while nothing does.

A watch remembers where its follower stands and nothing else. When something was published since, it sends the *present*
state of all that was touched, in one change; while the follower's connection is slow nothing piles up, and what moved
ten times meanwhile is sent once. A follower that falls behind what the history remembers gets a snapshot again.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

from aval.kernel.clock import Clock
from aval.node.history import Standing
from aval.node.translate.outward import Reader
from aval.node.translate.shown import Moment
from aval.node.translate.words import Names
from aval.node.writer import Writer
from aval.v1 import availability_pb2 as pb
from aval.v1 import reservation_pb2

PART_BYTES_MAX = 512 * 1024
"""A snapshot or change is cut beyond this (CONTRACT 26): half of what a receiver accepts in one message."""

ALL_AGES_SECONDS = 60.0
"""How often a heartbeat carries the age of each source, heard or not (CONTRACT 11)."""

FIELD_BYTES_MAX = 6
"""What a message takes beside its own bytes inside another: its tag and length."""

_CAUSES = {
    None: pb.Snapshot.CAUSE_FIRST,
    Standing.COMPACTED: pb.Snapshot.CAUSE_HISTORY_COMPACTED,
    Standing.FOREIGN: pb.Snapshot.CAUSE_CURSOR_UNKNOWN,
}


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

    async def messages(self, revision: int, standing: Standing | None) -> AsyncGenerator[pb.WatchAvailabilityResponse]:
        """What to send, for ever. `standing`: what the follower's cursor is (None: it gave none), at `revision`."""
        published = self._writer.published
        if standing is not Standing.KNOWN:
            revision = published.cursor.revision
            for message in self._snapshot(_CAUSES[standing]):
                yield message
        now = self._clock.monotonic()
        progress_at, everything_at = now, now
        with published.listening() as moved:
            ringing: asyncio.Task[None] | None = None
            try:
                while True:
                    moved.clear()
                    now = self._clock.monotonic()
                    if published.cursor.revision > revision:
                        since, revision = revision, published.cursor.revision
                        for message in self._news(since):
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

    def _moment(self) -> Moment:
        return Moment(self._writer.published, self._names, self._reader, self._writer.now())

    # What is sent is made at once, between two awaits: all of one message stands at one cursor.

    def _snapshot(self, cause: pb.Snapshot.Cause.ValueType) -> list[pb.WatchAvailabilityResponse]:
        moment = self._moment()
        head = moment.establishment()
        parts = _parts(moment.units(), moment.reservations_followed() if self._reservations else ())
        return [
            pb.WatchAvailabilityResponse(
                snapshot=pb.Snapshot(
                    establishment=head,
                    units=units,
                    reservations=reservations,
                    cause=cause,
                    part=number,
                    last_part=number == len(parts),
                )
            )
            for number, (units, reservations) in enumerate(parts, 1)
        ]

    def _news(self, since: int) -> list[pb.WatchAvailabilityResponse]:
        history = self._writer.published.history
        if since < history.floor:
            return self._snapshot(pb.Snapshot.CAUSE_HISTORY_COMPACTED)
        touched = history.touched_since(since)
        moment = self._moment()
        units, removed = moment.units_of(touched.units)
        parts = _parts(units, moment.reservations_of(touched.reservations) if self._reservations else ())
        return [
            pb.WatchAvailabilityResponse(
                change=pb.Change(
                    cursor=moment.cursor(),
                    units=part_units,
                    removed_units=removed if number == 1 else (),
                    reservations=reservations,
                    establishment=moment.establishment() if touched.establishment and number == 1 else None,
                    part=number,
                    last_part=number == len(parts),
                )
            )
            for number, (part_units, reservations) in enumerate(parts, 1)
        ]

    def _progress(self, *, everything: bool) -> pb.WatchAvailabilityResponse:
        moment = self._moment()
        proofs = self._writer.published.proofs
        heard = {source: at for source, at in proofs.items() if everything or self._told.get(source) != at}
        self._told.update(heard)
        return pb.WatchAvailabilityResponse(
            progress=pb.Progress(cursor=moment.cursor(), ages=moment.ages(sorted(heard)))
        )


def _parts(
    units: Sequence[pb.Unit], reservations: Sequence[reservation_pb2.Reservation]
) -> list[tuple[list[pb.Unit], list[reservation_pb2.Reservation]]]:
    """Units and reservations cut into parts below the limit; one part at least."""
    parts: list[tuple[list[pb.Unit], list[reservation_pb2.Reservation]]] = [([], [])]
    size = 0

    def room_for(message: pb.Unit | reservation_pb2.Reservation) -> None:
        nonlocal size
        bytes_more = message.ByteSize() + FIELD_BYTES_MAX
        if size and size + bytes_more > PART_BYTES_MAX:
            parts.append(([], []))
            size = 0
        size += bytes_more

    for unit in units:
        room_for(unit)
        parts[-1][0].append(unit)
    for reservation in reservations:
        room_for(reservation)
        parts[-1][1].append(reservation)
    return parts
