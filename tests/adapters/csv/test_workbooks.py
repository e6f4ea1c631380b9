"""Workbooks (.xlsx) read as the sheets that they hold, and what is said of those that cannot be."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest

from aval.adapters.counts.rows import UnitCounts
from aval.adapters.csv.mapping import load_mapping
from aval.adapters.csv.sheet import read_sheet
from aval.adapters.markup import BYTES_MAX as PART_BYTES_MAX
from aval.adapters.markup import ELEMENTS_MAX
from aval.kernel.statuses import Gender
from tests.adapters.csv.workbooks import MAIN, archive, open_document, workbook

NOW = datetime(2026, 11, 24, 7, 30, tzinfo=UTC)
HEADS = ("Unité", "Genre", "Lits ouverts", "Lits occupés", "Lits libres", "Relevé le")
TOLD = 46350 + 8.25 / 24
"""24 November 2026, 8 h 15, as a workbook keeps it."""


def faults(content: bytes) -> list[tuple[int, str, str]]:
    found, problems = read_sheet(content, load_mapping(None), NOW)
    assert not found
    return [(one.line, one.column, one.what) for one in problems]


@pytest.mark.parametrize("inline", [False, True], ids=["shared texts", "texts in their cells"])
@pytest.mark.parametrize("deflated", [True, False], ids=["packed", "as it is"])
def test_a_workbook_says_what_its_sheet_says(*, inline: bool, deflated: bool) -> None:
    rows = [
        ("EHPAD Les Tilleuls",),
        (),
        HEADS,
        ("U201", "F", 12, 10.0, 2e0, TOLD),
        ("U202", None, 12, None, 3, None),
        ("Total", None, 24, None, 5),
    ]
    content = workbook({"Lits": rows, "Légende": [("Unité", "service de soins")]}, inline=inline, deflated=deflated)
    found, problems = read_sheet(content, load_mapping(None), NOW)
    assert problems == []
    assert [row.told_at for row in found] == [
        pytest.approx(datetime(2026, 11, 24, 7, 15, tzinfo=UTC), abs=timedelta(seconds=1)),
        None,
    ]
    assert [(row.line, row.unit, row.gender, row.open, row.occupied, row.free) for row in found] == [
        (4, "U201", Gender.FEMALE, 12, 10, 2),
        (5, "U202", Gender.ANY, 12, None, 3),
    ]


def test_a_workbook_of_libreoffice_says_the_same() -> None:
    rows = [
        ("EHPAD Les Tilleuls",),
        (),
        HEADS,
        ("U201", "F", 12, 10.0, 2e0, "2026-11-24T08:15:00"),
        ("U202", None, 12, None, 3, None),
        ("Total", None, 24, None, 5),
    ]
    old = [HEADS, ("U201", None, 12, 11)]
    content = open_document({"Hier": old, "Lits": rows, "Légende": [("Unité",)]}, hidden=["Hier"])
    found, problems = read_sheet(content, load_mapping(None), NOW)
    assert problems == []
    assert found == [
        UnitCounts(4, "U201", Gender.FEMALE, 12, 10, 2, datetime(2026, 11, 24, 7, 15, tzinfo=UTC)),
        UnitCounts(5, "U202", Gender.ANY, 12, None, 3, None),
    ]
    assert faults(open_document({"Hier": old, "Lits": rows})) == [(0, "", "several-sheets")]


def test_a_bad_cell_is_named_by_the_row_that_the_spreadsheet_shows() -> None:
    content = workbook({"Lits": [(), HEADS, (), ("U201", "F", 12, 10.5, None, "hier")]})
    assert faults(content) == [(4, "Lits occupés", "not-whole"), (4, "Relevé le", "not-a-date")]


def test_yes_is_no_count_of_one() -> None:
    """A box that is ticked is kept as 1."""
    with zipfile.ZipFile(BytesIO(workbook({"Lits": [("UF", "Disponible"), ("U201", 1)]}))) as packed:
        parts = {name: packed.read(name).decode() for name in packed.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    parts[sheet] = parts[sheet].replace('<c r="B2">', '<c r="B2" t="b">')
    assert faults(archive(parts)) == [(2, "Disponible", "not-a-count")]


def test_of_several_sheets_with_heads_none_is_guessed() -> None:
    sheets = {"Lundi": [HEADS, ("U201", None, 12, 10)], "Mardi": [HEADS, ("U201", None, 12, 11)]}
    assert faults(workbook(sheets)) == [(0, "", "several-sheets")]
    found, problems = read_sheet(workbook(sheets, hidden=["Lundi"]), load_mapping(None), NOW)
    assert (found, problems) == ([UnitCounts(2, "U201", Gender.ANY, 12, 11, None, None)], [])


_CELL = "<text:p>x</text:p>"


def _repeated(what: str, cell: str) -> bytes:
    """A document of LibreOffice whose one row or cell stands for a billion."""
    spaces = "".join(f' xmlns:{n}="urn:oasis:names:tc:opendocument:xmlns:{n}:1.0"' for n in ("office", "table", "text"))
    often = {
        name: f' table:number-{name}-repeated="{999_999_999 if name == what else 1}"' for name in ("rows", "columns")
    }
    cells = f"<table:table-cell{often['columns']}>{cell}</table:table-cell>"
    row = f"<table:table-row{often['rows']}>{cells}</table:table-row>"
    body = f"<office:spreadsheet><table:table>{row}</table:table></office:spreadsheet>"
    return archive({"content.xml": f"<office:content{spaces}><office:body>{body}</office:body></office:content>"})


def _bomb(element: str) -> bytes:
    with zipfile.ZipFile(BytesIO(workbook({"Lits": [HEADS]}))) as packed:
        parts = {path: packed.read(path).decode() for path in packed.namelist()}
    parts["xl/worksheets/sheet1.xml"] = element
    return archive(parts)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 an .xls", "workbook"),
        (archive({"content.xml": "<office/>"}), "workbook"),
        (archive({"mimetype": "image/png"}), "workbook"),
        (_repeated("rows", _CELL), "too-many-rows"),
        (_repeated("columns", _CELL), "too-many-columns"),
        (_repeated("rows", ""), "empty"),
        (b"PK\x03\x04 not an archive", "workbook-broken"),
        (workbook({"Lits": [HEADS]})[:-40], "workbook-broken"),
        (archive({"xl/workbook.xml": "<workbook/>"}), "workbook-broken"),
        (workbook({"Lits": [HEADS, ("U1",)]}).replace(b"sheet1.xml", b"sheet2.xml", 1), "workbook-broken"),
        (workbook({}), "empty"),
        (workbook({"Lits": [(), (None, None)]}), "empty"),
        (_bomb("<worksheet>" + " " * PART_BYTES_MAX + "</worksheet>"), "workbook-large"),
        (_bomb("<row/>" * ELEMENTS_MAX), "workbook-broken"),
        (_bomb(f'<s xmlns="{MAIN}">' + "<row/>" * ELEMENTS_MAX + "</s>"), "workbook-large"),
        (_bomb('<!DOCTYPE a [<!ENTITY x "boom">]><a>&x;</a>'), "workbook-broken"),
        (_bomb(f'<s xmlns="{MAIN}"><row r="3"><c r="XFD3"><v>1</v></c></row></s>'), "too-many-columns"),
    ],
)
def test_what_is_no_workbook_is_refused_by_name(content: bytes, what: str) -> None:
    assert [found for _, _, found in faults(content)] == [what]


def test_a_part_that_unpacks_to_more_than_it_says_is_cut_there() -> None:
    content = bytearray(_bomb("<worksheet>" + " " * 100_000 + "</worksheet>"))
    for at in range(len(content)):
        if content[at : at + 4] == (100_000 + len("<worksheet></worksheet>")).to_bytes(4, "little"):
            content[at : at + 4] = (5_000).to_bytes(4, "little")
    assert [found for _, _, found in faults(bytes(content))] == ["workbook-broken"]
