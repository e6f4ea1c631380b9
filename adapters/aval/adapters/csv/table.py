"""From the bytes of a file to a table, as French spreadsheets write them: CSV in its many forms, or a workbook.

Excel saves "CSV UTF-8" with a byte order mark, "CSV" in Windows-1252 (on a Mac in Mac Roman) with `;` where the comma
is the decimal separator, and "Unicode text" in UTF-16 with tabs; others write UTF-8 without a mark, with `,`. Above the
heads there may be titles, and the heads may take two rows. So nothing is taken for granted: the separator, the sheet of
a workbook and the row of heads are those with which most heads are known. Blank lines are passed over; lines keep the
numbers that an editor shows.
"""

import codecs
import csv
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise, zip_longest

from aval.adapters.csv.mapping import BESIDE, FIGURES
from aval.adapters.csv.workbook import BYTES_MAX, COLUMNS_MAX, Cells, TableFault, is_workbook, sheets_of

ROWS_MAX = 5_000
"""Rows of a file: 1,000 units by up to three genders, and room for titles."""

HEADS_WITHIN = 30
"""Rows among which the heads are: titles, dates and legends above them are a few."""

SEPARATORS = (";", ",", "\t", "|")

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_FRENCH = frozenset("éèêàçùÉ")
"""Letters of French whose bytes in Windows-1252 and in Mac Roman are no letters of French in the other."""

_BLANK = " \t\r\n\u00a0\u202f\u200b\ufeff"
"""Spaces, and byte order marks within a text: two files put together hold one in the middle."""

Known = Callable[[str], str]
"""The name of our column that a head is; empty for a head that is none."""


@dataclass(frozen=True, slots=True)
class Table:
    """Heads with their line, and the rows below with theirs. A row may be shorter than the heads, or longer. `titles`
    are the rows above."""

    line: int
    heads: tuple[str, ...]
    rows: tuple[Cells, ...]
    titles: tuple[Cells, ...] = ()


def read_table(content: bytes, known: Known) -> Table:
    """The table in a file's bytes. Raises `TableFault`: nothing of such a file can be believed."""
    if len(content) > BYTES_MAX:
        raise TableFault("too-large", bytes=len(content), bytes_max=BYTES_MAX)
    if is_workbook(content):
        found = _of_workbook(content, known)
    else:
        text = _decoded(content)
        separator = max(SEPARATORS, key=lambda one: _table(list(_begun(text, one)), known).score)
        found = _table(_whole(_rows(text, separator)), known)
    if not found.table.heads:
        raise TableFault("empty")
    if found.above:
        raise TableFault("several-tables", found.above, below=found.table.line)
    return found.table


@dataclass(frozen=True, slots=True)
class _Found:
    """A table, and how likely its heads are: how many of our columns they name, and how many cells they have. `above`
    is the line of a table that stands above it and would be passed over; 0 for none."""

    score: tuple[int, int]
    table: Table
    above: int = 0


def _of_workbook(content: bytes, known: Known) -> _Found:
    """The one sheet that has heads of ours. Two such sheets may be two days: nobody can tell which is meant."""
    sheets = [(name, _table(_whole(rows), known)) for name, rows in sheets_of(content)]
    best = max((found.score for _, found in sheets), default=(0, 0))
    likely = [name for name, found in sheets if found.score[0] == best[0] > 0]
    if len(likely) > 1:
        raise TableFault("several-sheets", names=", ".join(likely))
    return next((found for _, found in sheets if found.score == best), _Found(best, Table(0, (), ())))


def _table(rows: list[Cells], known: Known) -> _Found:
    """The likeliest heads, and the rows below them.

    Two rows together are heads where that makes more columns known: « Lits » above « Ouverts » and « Libres ». A cell
    of the upper one may stand above several of the lower: « Femmes » above « Occupés » and « Libres ».
    """

    def columns(heads: tuple[str, ...]) -> set[str]:
        return {known(head) for head in heads} - {"", *BESIDE}

    best = _Found((0, 0), Table(0, (), ()))
    first = rows[:HEADS_WITHIN]
    tables: list[int] = []
    for index, (line, heads) in enumerate(first):
        named = columns(heads)
        score = len(named), sum(map(bool, heads))
        if score > best.score:
            table = Table(line, heads, tuple(rows[index + 1 :]), tuple(rows[:index]))
            best = _Found(score, table, next(iter(tables), 0))
        if "unit" in named and {column.rpartition(".")[2] for column in named} & {*FIGURES}:
            tables.append(line)
    for index, ((above, upper), (line, lower)) in enumerate(pairwise(first), 1):
        for over in (upper, _spread(upper, len(lower))):
            heads = tuple(" ".join(filter(None, pair)) for pair in zip_longest(over, lower, fillvalue=""))
            score = len(columns(heads)), 0
            if score[0] > best.score[0]:
                before = next((one for one in tables if one < above), 0)
                best = _Found(score, Table(line, heads, tuple(rows[index + 1 :]), tuple(rows[: index - 1])), before)
    return best


def _spread(cells: tuple[str, ...], width: int) -> tuple[str, ...]:
    """A row in which each blank cell has what stands before it, as where cells were joined."""
    return tuple(accumulate((*cells, *[""] * (width - len(cells))), lambda before, cell: cell or before))


def _begun(text: str, separator: str) -> Iterator[Cells]:
    """The first rows, as far as they can be read with a separator that may not be the file's."""
    with suppress(TableFault):
        for line, cells in islice(_filled(_rows(text, separator)), HEADS_WITHIN):
            yield line, cells[:COLUMNS_MAX]


def _rows(text: str, separator: str) -> Iterator[Cells]:
    # Line ends are left as they are: a bare CR within quotes is text, and line numbers stay the editor's.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        for cells in reader:
            begun, line = line, reader.line_num + 1
            yield begun, tuple(cells)
    except csv.Error as error:
        raise TableFault("quotes", line) from error


def _filled(rows: Iterable[Cells]) -> Iterator[Cells]:
    """Rows that hold something, without the blank cells at their ends."""
    for line, cells in rows:
        trimmed = [cell.strip(_BLANK) for cell in cells]
        while trimmed and not trimmed[-1]:
            trimmed.pop()
        if trimmed:
            yield line, tuple(trimmed)


def _whole(rows: Iterable[Cells]) -> list[Cells]:
    """All rows that hold something, within the bounds. Raises `TableFault`."""
    found: list[Cells] = []
    for line, cells in _filled(rows):
        if len(cells) > COLUMNS_MAX:
            raise TableFault("too-many-columns", line, columns=len(cells), columns_max=COLUMNS_MAX)
        if len(found) == ROWS_MAX:
            raise TableFault("too-many-rows", line, rows_max=ROWS_MAX)
        found.append((line, cells))
    return found


def _decoded(content: bytes) -> str:
    """The text. A mark says its encoding; without one it is UTF-8 where it is valid, which hardly any other is."""
    mark, encoding = next(((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", ""))
    body = content.removeprefix(mark)
    try:
        text = body.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        if encoding:
            raise _undecodable(error, body) from error
        text = _of_one_byte(body)
    if "\0" in text:
        raise TableFault("binary", line=text[: text.index("\0")].count("\n") + 1)
    return text


def _of_one_byte(body: bytes) -> str:
    """Windows-1252, or Mac Roman where that makes more letters French."""
    windows, macintosh = body.decode("cp1252", "replace"), body.decode("mac_roman")
    if sum(letter in _FRENCH for letter in macintosh) > sum(letter in _FRENCH for letter in windows):
        return macintosh
    try:
        return body.decode("cp1252")
    except UnicodeDecodeError as error:
        raise _undecodable(error, body) from error


def _undecodable(error: UnicodeDecodeError, body: bytes) -> TableFault:
    return TableFault("encoding", line=body[: error.start].count(b"\n") + 1, byte=error.start)
