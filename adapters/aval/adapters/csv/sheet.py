"""From a table to the figures of units: every bad line is named at once, and no figure is guessed.

A row says of one unit (and gender) two of: how many places are open, occupied, free; or one of the last two, the rest
being the node's to know. A cell that is empty says nothing: it is never zero. Whole numbers may be written as French
spreadsheets do: `12`, `12,0`, `1 024`.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from aval.adapters.counts.rows import BadCell, LineProblem, UnitCounts, check_age, is_digits, whole_count
from aval.adapters.csv.mapping import COLUMNS, REQUIRED, Mapping, folded
from aval.adapters.csv.table import Table, TableFault, read_table
from aval.kernel.statuses import Gender

NOON = 12
"""The hour of figures that bear a date alone: half a day from both its ends."""

Value = TypeVar("Value")

_SPACES = {ord(space): None for space in " \u00a0\u202f"}


def read_sheet(content: bytes, mapping: Mapping, now: datetime) -> tuple[list[UnitCounts], list[LineProblem]]:
    """What the bytes of a sheet say, and all that is wrong with them. `now`: aware UTC."""
    try:
        return read_counts(read_table(content), mapping, now)
    except TableFault as fault:
        return [], [LineProblem(fault.line, "", fault.what, fault.details)]


def read_counts(table: Table, mapping: Mapping, now: datetime) -> tuple[list[UnitCounts], list[LineProblem]]:
    """The good rows, and a problem for each thing that is wrong with the others. `now`: aware UTC."""
    places, problems = _columns(table, mapping)
    if problems:
        return [], problems
    found: list[UnitCounts] = []
    seen: dict[tuple[str, Gender], int] = {}
    for line, cells in table.rows:
        row = _Row(line, {column: cells[index] for column, index in places.items()}, table, places)
        counts = _row_counts(row, mapping, now)
        if counts is not None:
            first = seen.setdefault((counts.unit, counts.gender), line)
            if first != line:
                row.wrong("unit", "twice", first_line=first)
        if row.problems:
            problems += row.problems
        elif counts is not None:
            found.append(counts)
    if not table.rows:
        problems.append(LineProblem(0, "", "no-rows"))
    return found, problems


class _Row:
    """A row while it is read, and what was wrong with it."""

    def __init__(self, line: int, cells: dict[str, str], table: Table, places: dict[str, int]) -> None:
        self.line = line
        self.cells = cells
        self.problems: list[LineProblem] = []
        self._heads = {column: table.heads[index] for column, index in places.items()}

    def wrong(self, column: str, what: str, **details: object) -> None:
        told = {name: str(value) for name, value in details.items()}
        self.problems.append(LineProblem(self.line, self._heads.get(column, ""), what, told))

    def read(self, column: str, meaning: Callable[[str], Value]) -> Value | None:
        try:
            return meaning(self.cells.get(column, ""))
        except BadCell as bad:
            self.wrong(column, bad.what, **bad.details)
            return None


def _columns(table: Table, mapping: Mapping) -> tuple[dict[str, int], list[LineProblem]]:
    heads = [folded(head) for head in table.heads]
    places: dict[str, int] = {}
    problems: list[LineProblem] = []
    for column, known in mapping.heads.items():
        here = [index for index, head in enumerate(heads) if head in {folded(one) for one in known}]
        if len(here) > 1:
            problems.append(LineProblem(1, table.heads[here[1]], "column-twice", {"column": column}))
        elif here:
            places[column] = here[0]
        elif column in REQUIRED or known != COLUMNS[column]:
            problems.append(LineProblem(1, known[0], "column-absent", {"heads": ", ".join(table.heads)}))
    if not problems and not {"occupied", "free"} & places.keys():
        problems.append(LineProblem(1, "", "no-figures", {"heads": ", ".join(table.heads)}))
    return places, problems


def _row_counts(row: _Row, mapping: Mapping, now: datetime) -> UnitCounts | None:
    unit = row.read("unit", lambda cell: _unit(cell, mapping))
    gender = row.read("gender", lambda cell: _gender(cell, mapping))
    opened, occupied, free = (row.read(column, _count) for column in ("open", "occupied", "free"))
    told_at = row.read("told_at", lambda cell: _instant(cell, mapping, now))
    if row.problems or unit is None or gender is None:
        return None
    if occupied is None and free is None:
        row.wrong("free", "says-nothing")
    if None not in (opened, occupied, free) and (opened or 0) != (occupied or 0) + (free or 0):
        row.wrong("free", "does-not-add-up", open=opened, occupied=occupied, free=free)
    return UnitCounts(row.line, unit, gender, opened, occupied, free, told_at)


def _unit(cell: str, mapping: Mapping) -> str:
    if not cell:
        raise BadCell("unit-absent")
    if not mapping.units:
        return cell
    try:
        return mapping.units[folded(cell)]
    except KeyError:
        raise BadCell("unit-unmapped", code=cell) from None


def _gender(cell: str, mapping: Mapping) -> Gender:
    try:
        return mapping.genders[folded(cell)]
    except KeyError:
        raise BadCell("gender-unknown", word=cell) from None


def _count(cell: str) -> int | None:
    if not cell:
        return None
    whole, _, decimals = cell.translate(_SPACES).replace(",", ".").partition(".")
    if not is_digits(whole.removeprefix("-")) or (decimals and not is_digits(decimals)):
        raise BadCell("not-a-number", word=cell)
    if decimals.strip("0"):
        raise BadCell("not-whole", word=cell)
    return whole_count(whole, cell)


def _instant(cell: str, mapping: Mapping, now: datetime) -> datetime | None:
    if not cell:
        return None
    for form in mapping.dates:
        try:
            local = datetime.strptime(cell, form).replace(tzinfo=mapping.zone)
        except ValueError:
            continue
        instant = (local if "%H" in form else local.replace(hour=NOON)).astimezone(UTC)
        check_age(instant, cell, now, mapping.age_max)
        return instant
    raise BadCell("not-a-date", word=cell)
