"""The time of a node: max(wall clock, last committed time) when it starts, then monotonic (DESIGN §4).

A wall clock set back lengthens holds and never shortens them; the time during which the node was down counts.
"""

from datetime import datetime, timedelta


class NodeTime:
    """Turns a process's monotonic seconds into the node's instants. They never go back, in a process or across restarts."""

    def __init__(self, wall: datetime, committed: datetime | None, monotonic: float) -> None:
        """`wall` and `monotonic` read together at start; `committed` is the `as_of` of the store's last revision."""
        self._start = wall if committed is None else max(wall, committed)
        self._origin = monotonic

    def at(self, monotonic: float) -> datetime:
        """The node's instant at that monotonic reading."""
        return self._start + timedelta(seconds=max(0.0, monotonic - self._origin))

    def monotonic_of(self, instant: datetime) -> float:
        """The monotonic reading at which the node's time reaches `instant`; before the start, the start's."""
        return self._origin + max(0.0, (instant - self._start).total_seconds())
