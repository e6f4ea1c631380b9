"""A workbook as rows of text: .xlsx, which Excel saves unless it is asked for CSV, and LibreOffice's .ods.

A workbook is a ZIP archive of XML. What a table of beds needs of it is the names of its sheets, the texts that they
share, and their cells; `aval.adapters.markup` reads the XML within its bounds, and a part that would unpack to more is
not unpacked. Libraries were tried for files of strangers: python-calamine 0.9 asks for 512 GB and ends the process at a
file of 5 kB with one cell in the last corner; openpyxl builds styles, charts and formulas that nobody asked for, and
fails in as many ways as a file can be broken. A date is what the workbook keeps, a number or ISO 8601, which the
sheet's reading knows; a formula is its last value.
"""

import zipfile
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from io import BytesIO

from aval.adapters.markup import BYTES_MAX as PART_BYTES_MAX
from aval.adapters.markup import Element, MarkupFault, Unread, parse

BYTES_MAX = 1_048_576
"""Bytes of a file: the largest house has under 1,000 units, and a line is about 60 bytes."""

COLUMNS_MAX = 64
"""Columns of a file: a sheet with more is not a list of units."""

Cells = tuple[int, tuple[str, ...]]
"""The number of a row, and its cells."""

_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
"""The first bytes of .xlsx and .ods, and of .xls."""

_OTHERS = (b"<", b"%PDF", b"{", b"[")
"""And of what some systems call a sheet and is none: a web page or XML under the name .xls, PDF, JSON."""

_BOOK, _RELATIONS, _DOCUMENT = "xl/workbook.xml", "xl/_rels/workbook.xml.rels", "content.xml"
"""The parts that are read first, of .xlsx and of .ods."""

_OPEN = "{urn:oasis:names:tc:opendocument:xmlns:"
_OFFICE, _STYLE, _TABLE, _TEXT = (f"{_OPEN}{name}:1.0}}" for name in ("office", "style", "table", "text"))

_REPEATED_MAX = 10_000
"""Times that a row or cell of .ods may stand for: more than any bound below lets through, and no bomb."""


class TableFault(Unread):
    """A file that is no table."""


def is_workbook(content: bytes) -> bool:
    """Whether it begins as workbooks do, of whatever kind, or as another document that is no text of cells."""
    return content.startswith((_ZIP, _OLE)) or content[:100].removeprefix(BOM_UTF8).lstrip().startswith(_OTHERS)


def sheets_of(content: bytes) -> list[tuple[str, Iterator[Cells]]]:
    """The visible sheets, by name, with their rows. Raises `TableFault`, as do the rows when they are read."""
    if not content.startswith(_ZIP):
        raise TableFault("workbook")
    try:
        archive = zipfile.ZipFile(BytesIO(content))
    # NotImplementedError: a version or a compression of ZIP that Python does not read.
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise TableFault("workbook-broken") from error
    parts = _Parts(archive)
    if _BOOK in archive.namelist():
        return _of_excel(parts)
    if _DOCUMENT in archive.namelist():
        return _of_open_document(parts.read(_DOCUMENT))
    raise TableFault("workbook")


def _of_excel(parts: "_Parts") -> list[tuple[str, Iterator[Cells]]]:
    paths = {
        one.attributes.get("Id", ""): _path(one.attributes.get("Target", "")) for one in parts.read(_RELATIONS).children
    }
    shared = next((path for path in paths.values() if path.endswith("/sharedStrings.xml")), "")
    texts = [_text(one) for one in parts.read(shared).children] if shared else []
    found: list[tuple[str, Iterator[Cells]]] = []
    for sheet in _named(parts.read(_BOOK), "sheet"):
        relation = next((value for name, value in sheet.attributes.items() if name.endswith("}id")), "")
        if sheet.attributes.get("state", "visible") == "visible" and relation in paths:
            found.append((sheet.attributes.get("name", ""), _rows(parts, paths[relation], texts)))
    return found


class _Parts:
    """The parts of an archive, which together may unpack to so much and no more."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._left = PART_BYTES_MAX

    def read(self, path: str) -> Element:
        """A part. It unpacks to no more than it says, and one that says too much is not unpacked."""
        try:
            information = self._archive.getinfo(path)
        except KeyError as error:
            raise TableFault("workbook-broken") from error
        self._left -= information.file_size
        if self._left < 0:
            raise TableFault("workbook-large")
        try:
            return parse(self._unpacked(information))
        except MarkupFault as fault:
            raise TableFault("workbook-large" if fault.what == "xml-elements" else "workbook-broken") from fault

    def _unpacked(self, information: zipfile.ZipInfo) -> bytes:
        if information.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise TableFault("workbook-broken")
        try:
            return self._archive.read(information)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
            raise TableFault("workbook-broken") from error  # RuntimeError: under a password


def _path(target: str) -> str:
    """Where in the archive a part is: beside the book, or from the root."""
    return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"


def _rows(parts: _Parts, path: str, texts: list[str]) -> Iterator[Cells]:
    number = 0
    for row in _named(parts.read(path), "row"):
        told = row.attributes.get("r", "")
        number = int(told) if _is_number(told) else number + 1
        cells: dict[int, str] = {}
        for cell in _named(row, "c"):
            column = _column(cell.attributes.get("r", "")) or len(cells) + 1
            if text := _value(cell, texts):
                cells[column] = text
        if cells and max(cells) > COLUMNS_MAX:
            raise TableFault("too-many-columns", number, columns=max(cells), columns_max=COLUMNS_MAX)
        yield number, tuple(cells.get(column, "") for column in range(1, max(cells, default=0) + 1))


def _value(cell: Element, texts: list[str]) -> str:
    """What a cell holds, as one would write it in a CSV file."""
    kind = cell.attributes.get("t", "n")
    if kind == "inlineStr":
        return "".join(_text(one) for one in cell.children)
    told = next((one.text for one in _named(cell, "v")), "")
    if kind == "b":
        return "VRAI" if told == "1" else "FAUX"  # as it shows: yes is no count of one
    if kind == "s":
        return texts[int(told)] if _is_number(told) and int(told) < len(texts) else ""
    # A number is kept as a double: 2 may stand as 2.0 or 2E0.
    try:
        return f"{float(told):.15g}" if kind == "n" and told else told
    except ValueError:
        return told


def _text(holder: Element) -> str:
    """The text of a shared or inline string: whole, or in runs of several looks; how it is pronounced is left out."""
    runs = [holder, *(one for one in holder.children if _local(one) == "r")]
    return "".join(one.whole for run in runs for one in run.children if _local(one) == "t")


def _named(holder: Element, name: str) -> Iterator[Element]:
    """Elements of a name, of either namespace that workbooks have: of 2006, and of the strict standard."""
    return (one for one in holder.within() if _local(one) == name)


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def _column(reference: str) -> int:
    """The number of the column of a cell such as `AB12`, from 1; 0 for none. Bounded by its three letters."""
    number = 0
    for letter in reference.rstrip("0123456789")[:3]:
        if not "A" <= letter <= "Z":
            return 0
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


# --- .ods ------------------------------------------------------------------------------------------------------------


def _of_open_document(root: Element) -> list[tuple[str, Iterator[Cells]]]:
    book = root.first(f"{_OFFICE}body", f"{_OFFICE}spreadsheet")
    if book is None:
        raise TableFault("workbook")  # a text or a drawing is packed so too
    hidden = {
        style.attributes.get(f"{_STYLE}name", "")
        for styles in root.named(f"{_OFFICE}automatic-styles")
        for style in styles.children
        if any(one.attributes.get(f"{_TABLE}display") == "false" for one in style.children)
    }
    return [
        (sheet.attributes.get(f"{_TABLE}name", ""), _open_rows(sheet))
        for sheet in book.named(f"{_TABLE}table")
        if sheet.attributes.get(f"{_TABLE}style-name", "") not in hidden
    ]


def _open_rows(sheet: Element) -> Iterator[Cells]:
    number = 0
    for row in (one for one in sheet.within() if one.tag == f"{_TABLE}table-row"):
        cells: dict[int, str] = {}
        column = 0
        for cell in row.children:
            times = _repeated(cell, "columns")
            if text := _open_value(cell):
                cells |= dict.fromkeys(range(column, column + times), text)
            column += times
        if cells and max(cells) >= COLUMNS_MAX:
            raise TableFault("too-many-columns", number + 1, columns=max(cells) + 1, columns_max=COLUMNS_MAX)
        told = tuple(cells.get(at, "") for at in range(max(cells, default=-1) + 1))
        times = _repeated(row, "rows")
        yield from ((number + at, told) for at in range(1, (times if told else 0) + 1))
        number += times


def _repeated(element: Element, what: str) -> int:
    times = element.attributes.get(f"{_TABLE}number-{what}-repeated", "1")
    return min(int(times), _REPEATED_MAX) if _is_number(times) else 1


def _open_value(cell: Element) -> str:
    """What a cell holds: the number or date that it keeps, else the text that it shows (its notes left out)."""
    match cell.attributes.get(f"{_OFFICE}value-type"):
        case "float":
            return cell.attributes.get(f"{_OFFICE}value", "")
        case "date":
            return cell.attributes.get(f"{_OFFICE}date-value", "")
        case _:
            shown = ("".join(run.whole for run in text.within()) for text in cell.named(f"{_TEXT}p"))
            return " ".join(shown)
