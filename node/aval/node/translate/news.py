"""The messages of a watch: snapshots and changes, cut into parts, and heartbeats."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from aval.node.history import Standing
from aval.node.ports import Touched
from aval.node.translate.shown import Moment
from aval.v1 import availability_pb2 as pb
from aval.v1 import reservation_pb2

PART_BYTES_MAX = 512 * 1024
"""A snapshot or change is cut beyond this (CONTRACT 26): half of what a receiver accepts in one message."""

FIELD_BYTES_MAX = 6
"""What a message takes beside its own bytes inside another: its tag and length."""

News: TypeAlias = pb.WatchAvailabilityResponse
"""One message of a watch."""

_CAUSES = {
    None: pb.Snapshot.CAUSE_FIRST,
    Standing.COMPACTED: pb.Snapshot.CAUSE_HISTORY_COMPACTED,
    Standing.FOREIGN: pb.Snapshot.CAUSE_CURSOR_UNKNOWN,
}


def snapshot(moment: Moment, standing: Standing | None, *, reservations: bool) -> list[News]:
    """The house whole. `standing`: what the follower's cursor is, which is why; None: it gave none."""
    parts = _parts(moment.units(), moment.reservations_followed() if reservations else ())
    head = moment.establishment()
    return [
        News(
            snapshot=pb.Snapshot(
                establishment=head,
                units=units,
                reservations=found,
                cause=_CAUSES[standing],
                part=number,
                last_part=number == len(parts),
            )
        )
        for number, (units, found) in enumerate(parts, 1)
    ]


def change(moment: Moment, touched: Touched, *, reservations: bool) -> list[News]:
    """What was touched, as it now stands."""
    present, removed = moment.units_of(touched.units)
    parts = _parts(present, moment.reservations_of(touched.reservations) if reservations else ())
    return [
        News(
            change=pb.Change(
                cursor=moment.cursor(),
                units=units,
                removed_units=removed if number == 1 else (),
                reservations=found,
                establishment=moment.establishment() if touched.establishment and number == 1 else None,
                part=number,
                last_part=number == len(parts),
            )
        )
        for number, (units, found) in enumerate(parts, 1)
    ]


def progress(moment: Moment, sources: Iterable[str]) -> News:
    """A heartbeat with the ages of some sources."""
    return News(progress=pb.Progress(cursor=moment.cursor(), ages=moment.ages(sources)))


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
