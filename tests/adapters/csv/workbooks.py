"""Workbooks as Excel saves them, made by hand: the few parts that a table of beds is in."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from xml.sax.saxutils import escape, quoteattr

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"

Row = Sequence[str | float | None]


def workbook(
    sheets: Mapping[str, Sequence[Row]], *, hidden: Sequence[str] = (), inline: bool = False, deflated: bool = True
) -> bytes:
    """The file: texts shared between sheets as Excel does, or within their cells as other programs do."""
    shared: list[str] = []
    parts: dict[str, str] = {}
    for number, rows in enumerate(sheets.values(), 1):
        body = "".join(_row(line, row, None if inline else shared) for line, row in enumerate(rows, 1))
        parts[f"xl/worksheets/sheet{number}.xml"] = (
            f'<worksheet xmlns="{MAIN}"><sheetData>{body}</sheetData></worksheet>'
        )
    names = "".join(
        f'<sheet name={quoteattr(name)} sheetId="{number}" r:id="rId{number}"'
        f" state={quoteattr('hidden' if name in hidden else 'visible')}/>"
        for number, name in enumerate(sheets, 1)
    )
    parts["xl/workbook.xml"] = f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{names}</sheets></workbook>'
    links = "".join(
        f'<Relationship Id="rId{number}" Type="{OFFICE}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        for number in range(1, len(sheets) + 1)
    )
    if shared:
        links += f'<Relationship Id="rIdS" Type="{OFFICE}/sharedStrings" Target="sharedStrings.xml"/>'
        texts = "".join(f"<si>{one}</si>" for one in shared)
        parts["xl/sharedStrings.xml"] = f'<sst xmlns="{MAIN}">{texts}</sst>'
    parts["xl/_rels/workbook.xml.rels"] = f'<Relationships xmlns="{PACKAGE}">{links}</Relationships>'
    return archive(parts, deflated=deflated)


def archive(parts: Mapping[str, str], *, deflated: bool = True) -> bytes:
    """Parts by their paths, packed."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as packed:
        for path, text in parts.items():
            packed.writestr(path, text)
    return file.getvalue()


def _row(line: int, row: Row, shared: list[str] | None) -> str:
    cells = "".join(_cell(f"{chr(65 + column)}{line}", value, shared) for column, value in enumerate(row))
    return f'<row r="{line}">{cells}</row>'


def _cell(reference: str, value: str | float | None, shared: list[str] | None) -> str:
    if value is None:
        return f'<c r="{reference}" s="3"/>'  # a border and no value
    if isinstance(value, float | int):
        return f'<c r="{reference}"><v>{value!r}</v></c>'
    # A text of several looks comes in runs, with the spaces between them; how it is pronounced stands beside.
    head, space, rest = value.partition(" ")
    runs = f"<r><t>{escape(head)}</t></r><r><t xml:space='preserve'>{space}{escape(rest)}</t></r><rPh><t>?</t></rPh>"
    text = runs if space else f"<t>{escape(value)}</t>"
    if shared is None:
        return f'<c r="{reference}" t="inlineStr"><is>{text}</is></c>'
    if text not in shared:
        shared.append(text)
    return f'<c r="{reference}" t="s"><v>{shared.index(text)}</v></c>'


def open_document(
    sheets: Mapping[str, Sequence[Row]], *, hidden: Sequence[str] = (), blank_rows: int = 1_048_000
) -> bytes:
    """The same as LibreOffice saves it: rows and cells that repeat are told once, with how often."""
    namespace = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "style", "table", "text")
    )
    tables = "".join(
        f"<table:table table:name={quoteattr(name)} table:style-name={quoteattr('ta2' if name in hidden else 'ta1')}>"
        + "".join(map(_open_row, rows))
        + f'<table:table-row table:number-rows-repeated="{blank_rows}"><table:table-cell'
        ' table:number-columns-repeated="16384"/></table:table-row></table:table>'
        for name, rows in sheets.items()
    )
    styles = "".join(
        f'<style:style style:name="{name}"><style:table-properties table:display="{shown}"/></style:style>'
        for name, shown in (("ta1", "true"), ("ta2", "false"))
    )
    content = (
        f"<office:document-content {namespace}><office:automatic-styles>{styles}</office:automatic-styles>"
        f"<office:body><office:spreadsheet>{tables}</office:spreadsheet></office:body></office:document-content>"
    )
    return archive({"mimetype": "application/vnd.oasis.opendocument.spreadsheet", "content.xml": content})


def _open_row(row: Row) -> str:
    cells = "".join(f"<table:table-cell{_open_cell(value)}</table:table-cell>" for value in row)
    return f"<table:table-row>{cells}</table:table-row>"


def _open_cell(value: str | float | None) -> str:
    """From its attributes to what it shows: a number is shown in another way than it is kept."""
    note = "<office:annotation><text:p>note</text:p></office:annotation>"
    if value is None:
        return f">{note}"
    if isinstance(value, float | int):
        return f' office:value-type="float" office:value="{value!r}"><text:p>{value:.2f} lits</text:p>'
    if value.startswith("20"):
        return f' office:value-type="date" office:date-value="{value}"><text:p>hier</text:p>'
    return f' office:value-type="string">{note}<text:p><text:span>{escape(value)}</text:span></text:p>'
