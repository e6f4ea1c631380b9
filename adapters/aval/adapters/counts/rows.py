"""What a file says of units, whatever its format: figures by unit and gender, and what is wrong with the rest."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aval.kernel.statuses import Gender

COUNT_MAX = 2_000
"""The node's own bound of counted places of one gender."""

AGE_MAX = timedelta(hours=24)
"""A person's figures are stale past a day (DESIGN §4): a file that is older says nothing of today."""

AHEAD_MAX = timedelta(minutes=10)
"""How far ahead of us the clock of who wrote a file may be."""


@dataclass(frozen=True, slots=True)
class UnitCounts:
    """What a file says of a unit's places of one gender; None where it says nothing. `line`: where it is said."""

    line: int
    unit: str
    gender: Gender
    open: int | None
    occupied: int | None
    free: int | None
    told_at: datetime | None


@dataclass(frozen=True, slots=True)
class LineProblem:
    """What is wrong, where: `line` as an editor shows it (0: the whole file), `column` (or element) as the file names
    it. `what` is a key of `sentences`."""

    line: int
    column: str
    what: str
    details: dict[str, str] = field(default_factory=dict)
