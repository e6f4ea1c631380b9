"""What may be found in a territory file: each thing with its place, what is wrong and what to do, in French."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from aval.adapters.french import typeset


class Severity(StrEnum):
    """An error makes a file unfit for use; a warning is something that a person should look at."""

    ERROR = "erreur"
    WARNING = "avertissement"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing found in a file, in French, for a person: `line` is 0 where it concerns the whole file."""

    line: int
    severity: Severity
    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        place = f"ligne {self.line}, {self.where}" if self.line else self.where
        return typeset(f"{self.severity} : {place} : {self.what}. {self.remedy}")


class TerritoryFault(Exception):
    """A file that cannot be used; `problems` holds all that was found, warnings too."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def error(line: int, where: str, what: str, remedy: str) -> Problem:
    """A problem that forbids the use of the file."""
    return Problem(line, Severity.ERROR, where, typeset(what), typeset(remedy))


def warning(line: int, where: str, what: str, remedy: str) -> Problem:
    """A problem that a person should look at."""
    return Problem(line, Severity.WARNING, where, typeset(what), typeset(remedy))


@dataclass(slots=True)
class Lines:
    """Where things stand in the text: TOML's reader forgets it, so the headers are found again. 0 where not found."""

    establishments: list[int] = field(default_factory=list)
    houses: dict[str, int] = field(default_factory=dict)
    units: dict[str, list[int]] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> "Lines":
        """The lines of the headers in `text`."""
        lines = cls()
        house = ""
        for number, line in enumerate(text.splitlines(), 1):
            if re.match(r"\s*\[\[\s*establishments\s*\]\]", line):
                lines.establishments.append(number)
                house = ""
            elif match := re.match(r"\s*\[\s*assumptions\.houses\.\"?(\w+)\"?\s*\]", line):
                house = match[1]
                lines.houses[house] = number
            elif match := re.match(r"\s*\[\s*([\w.\"-]+)\s*\]", line):
                house = ""
                lines.tables[match[1].replace('"', "")] = number
            elif house and re.search(r"\bcode\s*=.*\bdiscipline\s*=", line):
                lines.units.setdefault(house, []).append(number)
        return lines

    def establishment(self, index: int) -> int:
        """Of the header of the establishment of that rank, from 0."""
        return self.establishments[index] if index < len(self.establishments) else 0

    def house(self, finess: str) -> int:
        """Of the header of what is assumed of an establishment."""
        return self.houses.get(finess, 0)

    def unit(self, finess: str, index: int) -> int:
        """Of the unit of that rank in an establishment, or of the establishment's header."""
        lines = self.units.get(finess, [])
        return lines[index] if index < len(lines) else self.house(finess)
