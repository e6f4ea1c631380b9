"""One sheet from its bytes to the node, by the steps of this room, for the command line and for the drop folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from aval.adapters.csv.counts import LineProblem, UnitCounts, read_counts
from aval.adapters.csv.mapping import Mapping
from aval.adapters.csv.table import TableFault, read_table
from aval.adapters.csv.telling import Outcome, Resolved, resolve, tell, units_of
from aval.adapters.dial import Line


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet read and held against its node: nothing is told yet."""

    rows: tuple[Resolved, ...]
    told_at: dict[int, datetime]
    problems: tuple[LineProblem, ...]


async def prepare(content: bytes, mapping: Mapping, line: Line, finess: str, now: datetime) -> Sheet:
    """Reads a sheet and names all that is wrong with it, at once. Raises `RemoteRefusal` when the node is away."""
    counts: Sequence[UnitCounts]
    try:
        counts, problems = read_counts(read_table(content), mapping, now)
    except TableFault as fault:
        return Sheet((), {}, (LineProblem(fault.line, "", fault.what, fault.details),))
    rows, unknown = resolve(counts, await units_of(line, finess), mapping.source) if counts else ([], [])
    problems = sorted([*problems, *unknown], key=lambda problem: problem.line)
    return Sheet(tuple(rows), {row.line: row.told_at or now for row in counts}, tuple(problems))


async def give(sheet: Sheet, line: Line, key: str) -> list[Outcome]:
    """Tells the good rows of a sheet. Raises `RemoteRefusal`; told again under the same key they change nothing."""
    return await tell(line, sheet.rows, key, sheet.told_at)
