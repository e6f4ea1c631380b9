"""One file from its bytes to the node, whatever its format, for the command line and for the drop folder."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from aval.adapters.counts.rows import LineProblem, UnitCounts
from aval.adapters.counts.telling import Outcome, Resolved, resolve, tell, units_of
from aval.adapters.dial import Line

Reader = Callable[[bytes, datetime], tuple[list[UnitCounts], list[LineProblem]]]
"""(content, now) → what it says, and all that is wrong with it, at once. Raises nothing."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A file read and held against its node: nothing is told yet."""

    rows: tuple[Resolved, ...]
    problems: tuple[LineProblem, ...]


async def prepare(content: bytes, reader: Reader, source: str, line: Line, finess: str, now: datetime) -> Reading:
    """Reads a file and names all that is wrong with it. `source`: of the mapping, empty to take the units' own.

    Raises `RemoteRefusal` when the node is away.
    """
    counts, problems = reader(content, now)
    rows, unknown = resolve(counts, finess, await units_of(line, finess), source) if counts else ([], [])
    problems = sorted([*problems, *unknown], key=lambda problem: problem.line)
    return Reading(tuple(rows), tuple(problems))


async def give(reading: Reading, line: Line, key: str, now: datetime) -> list[Outcome]:
    """Tells the good rows of a file. Raises `RemoteRefusal`; told again under the same key they change nothing."""
    return await tell(line, reading.rows, key, now)
