"""What a file says of units, whatever its format: figures by unit and gender, and what is wrong with the rest."""

import unicodedata
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from aval.kernel.declared import declared
from aval.kernel.statuses import Gender

COUNT_MAX = 2_000
"""The node's own bound of counted places of one gender."""

AGE_MAX = timedelta(hours=24)
"""A person's figures are stale past a day (DESIGN §4): a file that is older says nothing of today."""

AHEAD_MAX = timedelta(minutes=10)
"""How far ahead of us the clock of who wrote a file may be."""


@dataclass(frozen=True, slots=True)
class UnitCounts:
    """What a file says of a unit's places of one gender; None where it says nothing. `line`: where it is said.

    `house` is the FINESS of the establishment whose unit it says it is; empty where the file says none. `capacity` is a
    number of places that may be those installed or those open.
    """

    line: int
    unit: str
    gender: Gender
    open: int | None
    occupied: int | None
    free: int | None
    told_at: datetime | None
    house: str = ""
    capacity: int | None = None


@dataclass(frozen=True, slots=True)
class LineProblem:
    """What is wrong, where: `line` as an editor shows it (0: the whole file), `column` (or element) as the file names
    it. `what` is a key of `sentences`. `place` says what `line` numbers, where it is not what the format numbers."""

    line: int
    column: str
    what: str
    details: dict[str, str] = field(default_factory=dict)
    place: str = ""


class BadCell(ValueError):
    """A value that cannot be taken: `what` is a key of `sentences`."""

    def __init__(self, what: str, **details: object) -> None:
        self.what = what
        self.details = {name: str(value) for name, value in details.items()}
        super().__init__(what)


def folded(word: str) -> str:
    """A word as heads, codes and names are compared: without case and accents, and with plain spaces."""
    letters = unicodedata.normalize("NFKD", word.casefold())
    return " ".join("".join(one for one in letters if not unicodedata.combining(one)).split())


def is_digits(text: str) -> bool:
    """Whether it is a number as computers write it: `isdigit` alone takes those of every script."""
    return text.isascii() and text.isdigit()


def whole_count(digits: str, word: str) -> int:
    """A count of places, from its digits; `word` is what was written. Raises `BadCell`."""
    unsigned = digits.removeprefix("-")
    if not is_digits(unsigned):
        raise BadCell("not-a-number", word=word)
    if digits != unsigned and unsigned.strip("0"):
        raise BadCell("negative", word=word)
    if len(unsigned) > len(str(COUNT_MAX)) or int(unsigned) > COUNT_MAX:
        raise BadCell("absurd", word=word, max=COUNT_MAX)
    return int(unsigned)


def check_age(told_at: datetime, word: str, now: datetime, age_max: timedelta = AGE_MAX) -> None:
    """Raises `BadCell` for figures that are too old to be told as today's, or of a time to come."""
    if told_at > now + AHEAD_MAX:
        raise BadCell("in-the-future", word=word)
    if told_at < now - age_max:
        raise BadCell("too-old", word=word, hours_max=f"{age_max / timedelta(hours=1):g}")


Told = TypeVar("Told")


def read_mapping(path: Path | None, form: type[Told]) -> Told:
    """A mapping as it stands in a TOML file; without one, what the form says by itself. Raises `DeclaredFault`."""
    return form() if path is None else declared(path, path.read_bytes(), form)
