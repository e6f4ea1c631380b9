"""A house's sheet, for the fuzz run: a good one with some faults, in the encodings and habits of spreadsheets.

Workbooks are packed or not: what is spoilt of one that is not is its XML, not the archive around it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

from aval.adapters.counts.rows import COUNT_MAX
from aval.adapters.csv import instants, mapping, sheet, table, workbook
from aval.adapters.csv.mapping import load_mapping
from tests.adapters.csv import workbooks
from tests.fuzz.campaign import Parser

NOW = datetime(2026, 11, 24, 7, 30, tzinfo=UTC)
PLAIN = load_mapping(None)
GENDERED = replace(
    PLAIN,
    columns={"female.free": "Femmes libres", "male.free": "Hommes libres"},
    named={"femmes libres": "female.free", "hommes libres": "male.free"},
)
"""A house whose sheet has columns of each gender."""

STRANGE = (
    "",
    "-1",
    "2,5",
    "12,0",
    "1 024",
    "9" * 400,
    "x",
    '"',
    "\u0663",
    "\u00a0",
    "=1+1",
    "U\n2",
    "F;H",
    "\u2028",
    "é",
)
HEADS = ("Unité", "Genre", "Ouverts", "Occupés", "Libres", "Relevé le")
OF_GENDERS = ("Femmes libres", "Hommes libres")
FREE_OF_FAULTS = 0.4
TITLED = 0.2
TITLES = ("EHPAD Les Tilleuls", "État au 24/11/2026 8h", "au 31/02/2026", "Mardi 3 novembre 2026", "Date;46350,3")
BY_GENDER = 0.3
WORKBOOKS = 0.2
OPEN_DOCUMENTS = 0.1


def structured(random: Random) -> bytes:
    """A sheet of some units, told by somebody in a hurry."""
    heads = [head for head in HEADS if head in ("Unité", "Occupés") or random.random() < 0.7]
    if random.random() < BY_GENDER:
        heads = [*(head for head in heads if head != "Genre"), *OF_GENDERS]
    random.shuffle(heads)
    rows = [heads, *(_row(random, number, heads) for number in range(random.randrange(1, 12)))]
    if random.random() >= FREE_OF_FAULTS:
        for _ in range(random.randrange(1, 4)):
            _spoil(random, rows)
    if random.random() < TITLED:
        rows.insert(0, random.choice(TITLES).split(";"))
    if random.random() < OPEN_DOCUMENTS:
        return workbooks.open_document({"Lits": rows})
    if random.random() < WORKBOOKS:
        return workbooks.workbook({"Lits": rows}, inline=random.random() < 0.5, deflated=random.random() < 0.2)
    separator = random.choice((";", ";", ",", "\t"))
    lines = [separator.join(_quoted(random, cell, separator) for cell in row) for row in rows]
    text = random.choice(("\r\n", "\n", "\n\n")).join([*lines, ""])
    encoding = random.choice(("utf-8-sig", "utf-8", "cp1252", "utf-16", "latin-1", "mac_roman"))
    return text.encode(encoding, "replace")


def _row(random: Random, number: int, heads: list[str]) -> list[str]:
    opened = random.randrange(30)
    occupied = random.randrange(opened + 1)
    told = NOW - timedelta(minutes=random.choice((5, 60, 600, 2000, -60)))
    cells = {
        "Unité": f"U{number}",
        "Genre": random.choice(("", "F", "H", "femmes", "X")) if random.random() < 0.2 else "",
        "Ouverts": str(opened),
        "Occupés": str(occupied),
        "Libres": str(opened - occupied),
        "Femmes libres": random.choice(("", "0", "1", str(opened - occupied))),
        "Hommes libres": random.choice(("", "0", "2")),
        "Relevé le": told.strftime(
            random.choice(("%d/%m/%Y %H:%M", "%Y-%m-%d %H:%M", "%d.%m.%Y", "%d/%m/%y à %Hh", "%j,%H", "%B"))
        ),
    }
    return [cells[head] for head in heads]


def _spoil(random: Random, rows: list[list[str]]) -> None:
    """One fault: a cell replaced, left out, said twice, a row cut or doubled."""
    row = random.choice(rows)
    match random.randrange(5):
        case 0 if row:
            row[random.randrange(len(row))] = random.choice(STRANGE)
        case 1 if row:
            del row[random.randrange(len(row))]
        case 2:
            row.append(random.choice(STRANGE))
        case 3:
            rows.append(list(row))
        case _:
            rows.insert(random.randrange(len(rows) + 1), [""] * len(row))


def _quoted(random: Random, cell: str, separator: str) -> str:
    if separator in cell or "\n" in cell or random.random() < 0.05:
        return '"' + cell.replace('"', '""') + '"' if random.random() < 0.95 else f'"{cell}'
    return cell


def feed(content: bytes) -> bool:
    """Reads it, as a house with and without columns of genders; whether figures were found in it."""
    return _read(content, PLAIN) | _read(content, GENDERED)


def _read(content: bytes, meant: mapping.Mapping) -> bool:
    rows, problems = sheet.read_sheet(content, meant, NOW)
    assert rows or problems
    assert not {row.line for row in rows} & {one.line for one in problems}
    assert len({(row.unit, row.gender) for row in rows}) == len(rows)
    for row in rows:
        assert (row.occupied, row.free) != (None, None)
        assert all(0 <= count <= COUNT_MAX for count in (row.open, row.occupied, row.free) if count is not None)
        assert row.told_at is None or NOW - timedelta(hours=24) <= row.told_at <= NOW + timedelta(minutes=10)
    return bool(rows)


PARSER = Parser("csv", structured, feed, (table, workbook, sheet, mapping, instants))
