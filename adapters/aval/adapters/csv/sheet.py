"""From a table to the figures of units: every bad line is named at once, and no figure is guessed.

A row says of one unit (and gender, or of each gender in columns of its own) two of: how many places are open,
occupied, free; or one of the last two, the rest being the node's to know, which is held against a number of beds that
the sheet says beside it. A cell that is empty says nothing: it is never zero. Whole numbers may be written as French
spreadsheets do: `12`, `12,0`, `1 024`.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from aval.adapters.counts.rows import (
    AHEAD_MAX,
    BadCell,
    LineProblem,
    UnitCounts,
    check_age,
    folded,
    is_digits,
    whole_count,
)
from aval.adapters.csv.instants import instant_of, instants_in
from aval.adapters.csv.mapping import FIGURES, GENDERS, RANKED, Mapping, is_of_one_gender
from aval.adapters.csv.table import Table, read_table
from aval.adapters.csv.workbook import TableFault
from aval.kernel.finess import FinessET
from aval.kernel.reasons import Refusal
from aval.kernel.statuses import Gender

HEADS_MAX = 300
"""Characters of the heads that a problem repeats."""

TOTALS = ("total", "totaux", "sous total", "sous-total")
"""What the name of a row begins with that sums others up."""

TITLE_AGE_MAX = timedelta(days=31)
"""How old a date above the heads may be to be that of the figures, and not of an opening or a decree."""

WORD_MAX = 60
"""Characters of what was written that a problem repeats."""

Value = TypeVar("Value")

_SPACES = {ord(space): None for space in " \u00a0\u202f"}


def read_sheet(content: bytes, mapping: Mapping, now: datetime) -> tuple[list[UnitCounts], list[LineProblem]]:
    """The good rows, and a problem for each thing that is wrong with the others. `now`: aware UTC."""
    try:
        table = read_table(content, mapping.column_of)
    except TableFault as fault:
        return [], [LineProblem(fault.line, "", fault.what, fault.details)]
    places, problems = _columns(table, mapping)
    if problems:
        return [], problems
    titled = _title_time(table, mapping, now) if mapping.title_date and "told_at" not in places else None
    if isinstance(titled, LineProblem):
        return [], [titled]
    found: list[UnitCounts] = []
    seen: dict[tuple[str, str, Gender], int] = {}
    houses: dict[str, int] = {}
    above = ""
    for line, cells in table.rows:
        if cells == table.heads:
            continue  # said again at the top of each page
        told = {column: cells[index] for column, index in places.items() if index < len(cells)}
        if _is_total(told.get("unit") or next(filter(None, cells), ""), mapping):
            continue
        row = _Row(line, told, {column: table.heads[index] for column, index in places.items()})
        if len(cells) > len(table.heads):
            row.wrong("", "more-cells-than-heads", cells=len(cells), heads=len(table.heads))
        above = row.cells.get("house", "") or above  # one cell may stand for all rows below it
        house = _house(row, above, mapping, houses)
        told_of = [replace(counts, house=house) for counts in _row_counts(row, mapping, now, titled)]
        for counts in told_of:
            first = seen.setdefault((counts.house, counts.unit, counts.gender), line)
            if first != line:
                row.wrong("unit", "twice", first_line=first)
                break
        if row.problems:
            problems += row.problems
        else:
            found += told_of
    if not found and not problems:
        problems.append(LineProblem(0, "", "no-rows"))
    return found, problems


class _Row:
    """A row while it is read, and what was wrong with it."""

    def __init__(self, line: int, cells: dict[str, str], heads: dict[str, str]) -> None:
        self.line = line
        self.cells = cells
        self.problems: list[LineProblem] = []
        self._heads = heads

    def wrong(self, column: str, what: str, **details: object) -> None:
        told = {name: str(value)[:WORD_MAX] for name, value in details.items()}
        self.problems.append(LineProblem(self.line, self._heads.get(column, ""), what, told))

    def read(self, column: str, meaning: Callable[[str], Value]) -> Value | None:
        try:
            return meaning(self.cells.get(column, ""))
        except BadCell as bad:
            self.wrong(column, bad.what, **bad.details)
            return None


def _columns(table: Table, mapping: Mapping) -> tuple[dict[str, int], list[LineProblem]]:
    """Where each of our columns is, or all that is wrong with the heads."""
    here: dict[str, list[int]] = {}
    for index, head in enumerate(table.heads):
        here.setdefault(mapping.column_of(head), []).append(index)
    here.pop("", None)
    told = {"heads": ", ".join(filter(None, table.heads))[:HEADS_MAX]}
    problems: list[LineProblem] = []
    for column, indexes in here.items():
        indexes.sort(key=lambda index: mapping.rank_of(table.heads[index]))
        first, *others = (table.heads[index] for index in indexes)
        if others and (column not in RANKED or mapping.rank_of(first) == mapping.rank_of(others[0])):
            problems.append(LineProblem(table.line, others[0], "column-twice", {"first": first, "column": column}))
    for column, head in mapping.columns.items():
        if column not in here:
            problems.append(LineProblem(table.line, head, "column-absent", told))
    if not {"unit"} & {*here, *mapping.columns}:
        problems.append(LineProblem(table.line, "", "no-unit", told))
    if mapping.by_gender and "gender" in here:
        problems.append(LineProblem(table.line, table.heads[here["gender"][0]], "gender-in-two-ways"))
    if not {"occupied", "free"} & {column.rpartition(".")[2] for column in (*here, *mapping.columns)}:
        gendered = [head for head in table.heads if is_of_one_gender(head)]
        more = {"gendered": ", ".join(gendered)[:HEADS_MAX]}
        problems.append(LineProblem(table.line, "", "figures-by-gender" if gendered else "no-figures", told | more))
    return {column: indexes[0] for column, indexes in here.items()}, problems


def _title_time(table: Table, mapping: Mapping, now: datetime) -> datetime | LineProblem | None:
    """The one instant above the heads that is said to be that of the figures, or else the one of the last month: the
    sheet of yesterday says nothing of today. Of several, none is told, but the latest must be of today."""
    named = [
        (instant, line, " ".join(filter(None, cells)), is_of_figures)
        for line, cells in table.titles
        for instant, is_of_figures in instants_in(cells, mapping.zone, now)
    ]
    recent = [one for one in named if now - TITLE_AGE_MAX < one[0] <= now + AHEAD_MAX]
    meant = [one for one in named if one[3]] or recent
    if not meant:
        return None
    instant, line, title, _ = max(meant)
    try:
        check_age(instant, title[:WORD_MAX], now, mapping.age_max)
    except BadCell as bad:
        return LineProblem(line, "", f"title-{bad.what}", bad.details)
    return instant if len({one[0] for one in meant}) == 1 else None


def _is_total(cell: str, mapping: Mapping) -> bool:
    """Whether a row sums others up: it is no unit, and adds nothing to what they say."""
    word = folded(cell)
    return word.startswith(TOTALS) and word not in mapping.units


def _house(row: _Row, cell: str, mapping: Mapping, named: dict[str, int]) -> str:
    """The FINESS of the establishment that a row is of, by the cell that says it; empty where it says none, or the one
    name of all rows.

    `named`: the names met, with their lines. Of two, one is not ours, and its units may be called as ours are.
    """
    word, number = folded(cell), cell.translate(_SPACES)
    if not word or word in mapping.houses:
        return mapping.houses.get(word, "")
    for one in (number, *re.findall(r"\w+", cell)):
        with suppress(Refusal):
            return FinessET(one)
    named.setdefault(word, row.line)
    first, first_line = next(iter(named.items()))
    if is_digits(number):
        row.wrong("house", "not-a-finess", word=cell)
    elif mapping.houses:
        row.wrong("house", "house-unmapped", word=cell)
    elif word != first:
        row.wrong("house", "several-houses", first_line=first_line)
    return ""


def _row_counts(row: _Row, mapping: Mapping, now: datetime, titled: datetime | None) -> list[UnitCounts]:
    """What a row says of its unit: of one gender, or of each that has columns of its own."""
    unit = row.read("unit", lambda cell: _unit(cell, mapping))
    gender = row.read("gender", lambda cell: _gender(cell, mapping))
    figures = {
        prefix: [row.read(prefix + column, _count) for column in FIGURES]
        for prefix in ("", *(f"{word}." for word in mapping.by_gender))
    }
    hour = row.cells.get("hour", "")
    told_at = row.read("told_at", lambda cell: _instant(cell, hour, mapping, now)) if "told_at" in row.cells else titled
    if hour and "told_at" not in row.cells:
        row.wrong("hour", "hour-without-day", word=hour)
    if row.problems or unit is None or gender is None:
        return []
    if len(figures) > 1:
        _check_totals(row, dict(zip(FIGURES, figures.pop(""), strict=True)), mapping)
        figures = {prefix: told for prefix, told in figures.items() if any(one is not None for one in told)}
    found: list[UnitCounts] = []
    for prefix, (opened, occupied, free) in figures.items():
        if occupied is None and free is None:
            row.wrong(f"{prefix}free", "says-nothing")
        if None not in (opened, occupied, free) and (opened or 0) != (occupied or 0) + (free or 0):
            row.wrong(f"{prefix}free", "does-not-add-up", open=opened, occupied=occupied, free=free)
        meant = GENDERS.get(prefix.removesuffix("."), gender)
        more = row.read("capacity", _count) if not prefix and opened is None and None in (occupied, free) else None
        found.append(UnitCounts(row.line, unit, meant, opened, occupied, free, told_at, capacity=more))
    if not found:
        row.wrong("", "says-nothing")
    return found


def _check_totals(row: _Row, totals: dict[str, int | None], mapping: Mapping) -> None:
    """A figure without a gender, beside those with one, is their sum: another one would be places that nobody tells."""
    for figure, total in totals.items():
        parts = [column for column in mapping.columns if column.endswith(f".{figure}")]
        counts = [row.read(column, _count) for column in parts]
        known = [count for count in counts if count is not None]
        if total is not None and parts and len(known) == len(parts) and sum(known) != total:
            row.wrong(figure, "total-differs", total=total, sum=sum(known))


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
        raise BadCell("not-a-count", word=cell)
    if decimals.strip("0"):
        raise BadCell("not-whole", word=cell)
    return whole_count(whole, cell)


def _instant(cell: str, hour: str, mapping: Mapping, now: datetime) -> datetime | None:
    word = f"{cell} {hour}{'h' * (is_digits(hour) and len(hour) < 3)}".strip()
    if not word:
        return None
    try:
        instant = instant_of(word, mapping.dates, mapping.zone, now)
    except (ValueError, OverflowError):
        raise BadCell("not-a-date", word=word) from None
    check_age(instant, word, now, mapping.age_max)
    return instant
