"""From the bytes of a file to a table, as French spreadsheets write them.

Excel saves "CSV UTF-8" with a byte order mark and "CSV" in Windows-1252, with `;` where the comma is the decimal
separator; others write UTF-8 without a mark, with `,` or tabs. A file that is valid UTF-8 is read as UTF-8 (text in
Windows-1252 with an accent in it hardly ever is), any other as Windows-1252. The separator is the one that the line of
heads holds most. Blank lines are passed over; lines keep the numbers that an editor shows.
"""

import csv
import io
from dataclasses import dataclass

BYTES_MAX = 1_048_576
"""Bytes of a file: the largest house has under 1,000 units, and a line is about 60 bytes."""

ROWS_MAX = 5_000
"""Rows of a file: 1,000 units by up to three genders, and room for blank lines."""

COLUMNS_MAX = 64
"""Columns of a file: a sheet with more is not a list of units."""

CELL_MAX = 500
"""Characters of a cell: names and figures; more is a comment, or no table at all."""

SEPARATORS = (";", ",", "\t")

_BOM = b"\xef\xbb\xbf"
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""The first bytes of .xlsx or .ods, and of .xls."""


class TableFault(ValueError):
    """A file that is no table: `line` is where (1 is the first), 0 for the whole file; `what` names it for programs."""

    def __init__(self, what: str, line: int = 0, **details: object) -> None:
        self.what = what
        self.line = line
        self.details = {name: str(value) for name, value in details.items()}
        super().__init__(what)


@dataclass(frozen=True, slots=True)
class Table:
    """Heads, and rows with the number of the line on which each begins. Every row is as long as the heads."""

    heads: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    encoding: str
    separator: str


def read_table(content: bytes) -> Table:
    """The table in a file's bytes. Raises `TableFault`: nothing of such a file can be believed."""
    if len(content) > BYTES_MAX:
        raise TableFault("too-large", bytes=len(content), bytes_max=BYTES_MAX)
    if content.startswith(_WORKBOOKS):
        raise TableFault("workbook")
    text, encoding = _decoded(content)
    if "\0" in text:
        raise TableFault("binary", line=text[: text.index("\0")].count("\n") + 1)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        raise TableFault("empty")
    separator = max(SEPARATORS, key=first.count)
    heads: tuple[str, ...] = ()
    rows: list[tuple[int, tuple[str, ...]]] = []
    # Line ends are left as they are: a bare CR within quotes is text, and line numbers stay the editor's.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        for cells in reader:
            begun, line = line, reader.line_num + 1
            trimmed = tuple(cell.strip(" \t\u00a0\u202f\r\n") for cell in cells)
            if not any(trimmed):
                continue
            _check_size(trimmed, begun)
            if not heads:
                heads = _heads(trimmed)
            elif len(rows) == ROWS_MAX:
                raise TableFault("too-many-rows", begun, rows_max=ROWS_MAX)
            else:
                rows.append((begun, _fitted(trimmed, len(heads), begun)))
    except csv.Error as error:
        raise TableFault("quotes", line, problem=error) from error
    return Table(heads, tuple(rows), encoding, separator)


def _decoded(content: bytes) -> tuple[str, str]:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise TableFault("utf-16")
    body = content.removeprefix(_BOM)
    try:
        return body.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        try:
            return body.decode("cp1252"), "windows-1252"
        except UnicodeDecodeError as error:
            raise TableFault("encoding", line=body[: error.start].count(b"\n") + 1, byte=error.start) from error


def _check_size(cells: tuple[str, ...], line: int) -> None:
    if len(cells) > COLUMNS_MAX:
        raise TableFault("too-many-columns", line, columns=len(cells), columns_max=COLUMNS_MAX)
    if any(len(cell) > CELL_MAX for cell in cells):
        raise TableFault("long-cell", line, characters_max=CELL_MAX)


def _heads(cells: tuple[str, ...]) -> tuple[str, ...]:
    while cells and not cells[-1]:
        cells = cells[:-1]
    return cells


def _fitted(cells: tuple[str, ...], length: int, line: int) -> tuple[str, ...]:
    if any(cells[length:]):
        raise TableFault("more-cells-than-heads", line, cells=len(cells), heads=length)
    return cells[:length] + ("",) * (length - len(cells))
