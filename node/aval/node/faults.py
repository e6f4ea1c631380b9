"""Faults of ours: what one thing's handling raised that it must not, so that it ends that one thing only.

A node serves a whole house. A fact that an earlier version wrote wrongly, or a case that nobody thought of, must not
take the house off the territory: the one command, unit or reservation is refused or left out, the log names it, and
everything else goes on.
"""

from collections.abc import Callable
from typing import TypeVar

import structlog

_Made = TypeVar("_Made")


class Fault(Exception):
    """Something raised what it must not; the cause is what it raised."""

    @property
    def name(self) -> str:
        """The name of what was raised; its text may hold a message's content and is not told."""
        return type(self.__cause__).__name__


def guarded(work: Callable[[], _Made]) -> _Made:
    """Does something. Raises `Fault` for whatever it raises that is no programme's end."""
    try:
        return work()
    except Exception as cause:
        raise Fault from cause


def made_or_left_out(work: Callable[[], _Made], event: str, **names: str) -> _Made | None:
    """Makes one thing of many; None, and a line in the log that names it, where that fails."""
    try:
        return guarded(work)
    except Fault as fault:
        structlog.get_logger().error(event, exception=fault.name, **names)
        return None
