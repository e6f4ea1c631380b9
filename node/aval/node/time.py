"""The time of a node: max(wall clock, last committed time) when it starts, then monotonic (DESIGN §4).

A wall clock set back lengthens holds and never shortens them; the time during which the node was down counts.
"""

from datetime import datetime, timedelta


class NodeTime:
    """Turns a process's monotonic seconds into the node's instants. They never go back, nor across restarts."""

    def __init__(self, start: datetime, monotonic: float) -> None:
        """`start`: the latest of the wall clock and of all instants ever committed; `monotonic` is read with it."""
        self._start = start
        self._origin = monotonic

    def now(self, monotonic: float) -> datetime:
        """The node's instant at that monotonic reading."""
        return self._start + timedelta(seconds=max(0.0, monotonic - self._origin))
