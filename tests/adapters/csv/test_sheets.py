"""Sheets as French spreadsheets write them: what is read, and what is said of each line that cannot be."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.adapters.counts.rows import LineProblem, UnitCounts
from aval.adapters.counts.sentences import problem_said
from aval.adapters.csv.mapping import Mapping, load_mapping
from aval.adapters.csv.sheet import read_sheet
from aval.adapters.csv.table import ROWS_MAX
from aval.adapters.csv.workbook import BYTES_MAX, COLUMNS_MAX
from aval.adapters.french import Language
from aval.kernel.declared import DeclaredFault
from aval.kernel.statuses import Gender

NOW = datetime(2026, 11, 24, 7, 30, tzinfo=UTC)
PLAIN = load_mapping(None)

SHEET = "Unité;Genre;Lits ouverts;Occupés;Libres;Relevé le\r\nU201;F;12;10;2;24/11/2026 08:15\r\nU202;;1 024,0;;3;\r\n"


def read(content: bytes | str, mapping: Mapping = PLAIN) -> tuple[list[UnitCounts], list[LineProblem]]:
    return read_sheet(content.encode() if isinstance(content, str) else content, mapping, NOW)


def faults(content: str, mapping: Mapping = PLAIN) -> list[tuple[int, str, str]]:
    found, problems = read(content, mapping)
    assert found == [] or problems == [] or all(one.line not in {row.line for row in found} for one in problems)
    return [(one.line, one.column, one.what) for one in problems]


@pytest.mark.parametrize(
    "content",
    [
        SHEET.encode("utf-8-sig"),
        SHEET.encode("utf-8"),
        SHEET.encode("cp1252"),
        SHEET.encode("mac_roman"),
        SHEET.replace(";", "\t").encode("utf-16"),
        b"\xfe\xff" + SHEET.encode("utf-16-be"),
        b"\xef\xbb\xbf" + SHEET.encode("utf-8-sig"),
        unicodedata.normalize("NFD", SHEET).encode(),
        SHEET.upper().encode("cp1252"),
        SHEET.replace("é", "e").encode("ascii"),
        SHEET.replace("\r\n", ";;;\r\n").encode(),
    ],
    ids=[
        "Excel « CSV UTF-8 »", "UTF-8 without a mark", "Excel « CSV »", "Excel on a Mac", "Excel « Texte Unicode »",
        "UTF-16, big end first", "two marks", "letters and accents apart", "capitals", "no accents", "blank columns",
    ],
)  # fmt: skip
def test_the_habits_of_french_spreadsheets_read_the_same(content: bytes) -> None:
    found, problems = read(content)
    assert problems == []
    told = datetime(2026, 11, 24, 7, 15, tzinfo=UTC)  # 8 h 15 in Paris, in winter
    assert found == [
        UnitCounts(2, "U201", Gender.FEMALE, 12, 10, 2, told),
        UnitCounts(3, "U202", Gender.ANY, 1024, None, 3, None),
    ]


@pytest.mark.parametrize(
    ("above", "line"),
    [
        ("EHPAD Les Tilleuls, Nancy;;;\r\nÉtat des lits\r\n;;;\r\n", 4),
        ("sep=;\r\n", 2),
        ("# exporté, d’un autre outil, à 8 h\r\n", 2),
        ("Service;Lits;;\r\n", 2),
    ],
    ids=["titles", "Excel’s own mark", "a comment with commas", "heads of two rows"],
)
def test_what_stands_above_the_heads_is_passed_over(above: str, line: int) -> None:
    heads = ";Ouverts;Occupés;Libres" if above.startswith("Service") else "Service;Ouverts;Occupés;Libres"
    found, problems = read(f"{above}{heads}\r\nU201;12;10;2\r\n")
    assert (found, problems) == ([UnitCounts(line + 1, "U201", Gender.ANY, 12, 10, 2, None)], [])


@pytest.mark.parametrize(
    "heads",
    [
        "Code UF;Nombre de lits ouverts;Nb lits occ.;Lits dispo",
        "Unité (code);Ouverts (nb);Présents;Places vacantes",
        "UNITÉ FONCTIONNELLE;Places ouvertes;Places occupées;LITS LIBRES",
        "Nom du service;Lits ouverts;Résidents présents;Places disponibles aujourd’hui",
    ],
)
def test_heads_are_known_by_the_words_that_tell(heads: str) -> None:
    assert read(f"{heads}\nU201;12;10;2\n") == ([UnitCounts(2, "U201", Gender.ANY, 12, 10, 2, None)], [])


def test_a_sheet_that_names_its_units_beside_their_codes_is_read_by_the_codes() -> None:
    assert read("Service;UF;Libres\nMédecine;U1;2\n")[0] == [UnitCounts(2, "U1", Gender.ANY, None, None, 2, None)]


def test_a_share_is_no_count() -> None:
    assert faults("Unité;Occupés (%)\nU1;85\n") == [(1, "", "no-figures")]
    found, problems = read("Unité;Occupés;Occupés (%);Taux d’occupation\nU1;17;85;85 %\n")
    assert (problems, [row.occupied for row in found]) == ([], [17])


def test_a_number_of_beds_beside_the_figures_is_what_may_be_held_against_the_nodes() -> None:
    for head in ("Lits", "Nb de lits", "Lits installés", "Places", "Capacité", "Capacité en lits", "Lits et places"):
        found, problems = read(f"Unité;{head};Occupés\nU1;18;17\n")
        assert (problems, [(row.open, row.capacity) for row in found]) == ([], [(None, 18)]), head
    # Where two of open, occupied and free are said, the third follows, and nothing is to be held against anything.
    for heads, cells in (("Lits;Occupés;Libres", "x;17;1"), ("Lits;Ouverts;Occupés", "22;18;17")):
        found, problems = read(f"Unité;{heads}\nU1;{cells}\n")
        assert (problems, [row.capacity for row in found]) == ([], [None])
    assert faults("Unité;Lits\nU1;18\n") == [(1, "", "no-figures")]


def test_a_row_of_another_house_is_never_taken_for_ours(tmp_path: Path) -> None:
    found, problems = read("FINESS;Unité;Libres\n540009479;U1;2\n540 000 023;U1;3\n;U2;1\n")
    assert problems == []
    assert [(row.unit, row.house) for row in found] == [("U1", "540009479"), ("U1", "540000023"), ("U2", "540000023")]
    assert faults("N° FINESS;Unité;Libres\n54000947;U1;2\n540009478;U2;2\n") == [
        (2, "N° FINESS", "not-a-finess"),
        (3, "N° FINESS", "not-a-finess"),
    ]
    merged = "Établissement;Unité;Libres\nCHRU 540000023;U1;2\n;U2;3\nEHPAD (540009479.0);U3;1\n;U4;1\n"
    assert [row.house for row in read(merged)[0]] == ["540000023", "540000023", "540009479", "540009479"]
    sites = "Site;Unité;Libres\nBrabois;U1;2\n;U2;2\nCentral;U3;2\n"
    assert faults(sites) == [(4, "Site", "several-houses")]
    assert read(sites.replace("Central", "BRABOIS"))[1] == [], "one name says nothing that the node does not know"
    path = tmp_path / "lits.toml"
    path.write_text('[houses]\nBrabois = "540009479"\n', encoding="utf-8")
    found, problems = read(sites, load_mapping(path))
    assert [(row.unit, row.house) for row in found] == [("U1", "540009479"), ("U2", "540009479")]
    assert [(one.line, one.what) for one in problems] == [(4, "house-unmapped")]


def test_heads_that_are_said_again_on_each_page_are_no_row() -> None:
    found, problems = read("Unité;Libres\nU1;2\nUnité;Libres\nU2;3\n")
    assert (problems, [(row.line, row.unit) for row in found]) == ([], [(2, "U1"), (4, "U2")])


@pytest.mark.parametrize(
    "head",
    [
        "Relevé le", "Date et heure", "Mise à jour", "Dernière mise à jour le", "MAJ", "Date MAJ", "Date de situation",
        "Saisi le", "Date d’extraction", "Édité le", "Jour", "Date du jour", "ACTUALISÉ LE",
    ],
)  # fmt: skip
def test_a_column_that_says_of_when_the_figures_are_is_never_passed_over(head: str) -> None:
    """Else the sheet of last week would be told as today's."""
    assert faults(f"Unité;Libres;{head}\nU1;2;17/11/2026\n") == [(2, head, "too-old")]


def test_a_total_is_no_unit_unless_the_mapping_says_so(tmp_path: Path) -> None:
    content = "Unité;Libres\nU1;2\nSous-total;2\nTOTAL GÉNÉRAL;2\n"
    assert ([row.unit for row in read(content)[0]], read(content)[1]) == (["U1"], [])
    path = tmp_path / "lits.toml"
    path.write_text('[units]\nU1 = "U1"\n"Total général" = "U2"\n', encoding="utf-8")
    assert [row.unit for row in read(content, load_mapping(path))[0]] == ["U1", "U2"]
    assert faults("Unité;Libres\nTotal;2\n") == [(0, "", "no-rows")]
    assert [row.unit for row in read("UF;Service;Libres\nU1;Médecine;2\n;TOTAL;2\n")[0]] == ["U1"]
    assert faults("UF;Service;Libres\nU1;Médecine;2\n;Urgences;2\n") == [(3, "UF", "unit-absent")]


@pytest.mark.parametrize(
    "date",
    [
        "24/11/2026 08:15", "24/11/26 8:15", "24/11/2026 08:15:00", "24/11/2026 08h15", "24/11/2026 à 8 h 15",
        "24-11-2026 08:15", "24.11.2026, 8H15", "2026-11-24T08:15", "2026-11-24 08:15:00", "2026-11-24T07:15:00Z",
        "mardi 24 novembre 2026 8h15", "Mar. 24 nov. 2026 à 8 h 15", "24 NOVEMBRE 2026, 08:15",
        "24-nov-26 08:15", "24-nov.-2026 8h15mn", "24/11/2026 8 h 15 min", "2026/11/24 08:15", "20261124T0815",
        "2026-11-24T08:15:00+01:00", "46350,34375", "46350.34375", "46350;0,34375", "24/11/2026;08:15",
        "24/11/2026;0,34375", "46350;8h15", "46350;8 h 15",
    ],
)  # fmt: skip
def test_an_instant_as_people_and_spreadsheets_write_it(date: str) -> None:
    day, _, hour = date.partition(";")
    found, problems = read(f"Unité;Libres;Date;Heure\nU1;2;{day};{hour}\n")
    assert (problems, [row.told_at for row in found]) == ([], [datetime(2026, 11, 24, 7, 15, tzinfo=UTC)])


@pytest.mark.parametrize(
    "date",
    [
        "24/11",
        "24/11 8h",
        "24 nov 08:15",
        "11/24/2026",
        "24/13/2026",
        "31/02/2026 08:00",
        "24/11-2026",
        "lundi",
        "24/11/2026 25:00",
    ],
)
def test_what_is_no_instant_is_not_guessed(date: str) -> None:
    assert faults(f"Unité;Libres;Date\nU1;2;{date}\n") == [(2, "Date", "not-a-date")]


def test_a_day_alone_is_the_middle_of_what_has_passed_of_it() -> None:
    content = "Unité;Libres;Date\nU1;2;20261124\nU2;2;23-nov-26\nU3;2;25/11/2026\n"
    found, problems = read(content)
    # 8 h 30 in Paris: half of it is 4 h 15, an hour less in UTC; yesterday has passed whole.
    assert [row.told_at for row in found] == [
        datetime(2026, 11, 24, 3, 15, tzinfo=UTC),
        datetime(2026, 11, 23, 11, tzinfo=UTC),
    ]
    assert [(one.line, one.what) for one in problems] == [(4, "in-the-future")]


@pytest.mark.parametrize("separator", [";", ",", "\t"])
@pytest.mark.parametrize("ending", ["\r\n", "\n"])
def test_separators_and_line_ends(separator: str, ending: str) -> None:
    content = ending.join([separator.join(("UNITÉ ", "libres")), separator.join(("U1", "2")), ""])
    found, problems = read(content)
    assert (found, problems) == ([UnitCounts(2, "U1", Gender.ANY, None, None, 2, None)], [])


@pytest.mark.parametrize("date", ["1er novembre 2026", "1 nov. 2026"])
def test_the_first_of_a_month_is_written_so(date: str) -> None:
    found, _ = read_sheet(f"Unité;Libres;Date\nU1;2;{date}\n".encode(), PLAIN, datetime(2026, 11, 2, 7, tzinfo=UTC))
    assert [row.told_at for row in found] == [datetime(2026, 11, 1, 11, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("title", "told_at"),
    [
        ("État des lits au 24/11/2026 à 8 h 15", datetime(2026, 11, 24, 7, 15, tzinfo=UTC)),
        ("Lits;Mardi 24 novembre 2026 08:15", datetime(2026, 11, 24, 7, 15, tzinfo=UTC)),
        ("Unité ouverte le 01/03/2021; au 24.11.26 8:15", datetime(2026, 11, 24, 7, 15, tzinfo=UTC)),
        ("Relevé le;46350,34375", datetime(2026, 11, 24, 7, 15, tzinfo=UTC)),
        ("Situation au;2026-11-24T08:15:00", datetime(2026, 11, 24, 7, 15, tzinfo=UTC)),
        ("Situation au 24/11 à 8h15", datetime(2026, 11, 24, 7, 15, tzinfo=UTC)),
        ("Lits du mardi 24 novembre, 8 h 15", datetime(2026, 11, 24, 7, 15, tzinfo=UTC)),
        ("Édité le 24/11/2026 08:25;Situation au 24/11/2026 08:15", datetime(2026, 11, 24, 7, 15, tzinfo=UTC)),
        ("Unité de 12 lits, 3 chambres 1/2, ouverte le 01/12", None),
        ("Tél. 24.11.26.30.10", None),
        ("Mairie;46350", None),
        ("Unité ouverte le 01/03/2021", None),
        ("Semaine du 23/11/2026 au 24/11/2026", None),
        ("Arrêté n° 31/02/2026", None),
        ("Ouverture le 01/12/2026", None),
        ("Lits", None),
    ],
)
def test_the_one_recent_date_above_the_heads_is_that_of_the_figures(title: str, told_at: datetime | None) -> None:
    found, problems = read(f"{title}\nUnité;Libres\nU1;2\n")
    assert (problems, [row.told_at for row in found]) == ([], [told_at])
    found, _ = read(f"{title}\nUnité;Libres;Date\nU1;2;24/11/2026 06:00\n")
    assert [row.told_at for row in found] == [datetime(2026, 11, 24, 5, tzinfo=UTC)], "a column says it better"


def test_a_sheet_that_says_above_its_heads_that_it_is_of_another_day_is_not_told_as_todays() -> None:
    content = "Modèle;\nau 20/11/2026 08:00;\nUnité;Libres\nU1;2\n"
    assert faults(content) == [(2, "", "title-too-old")]
    assert "title_date" in problem_said(read(content)[1][0])
    for title, what in (
        ("Édité le 24/11/2026;Situation au 20/11/2026", "title-too-old"),
        ("Situation au 20/09/2026", "title-too-old"),
        ("Situation au;20/09/2026", "title-too-old"),
        ("Situation au;46200", "title-too-old"),
        ("Lits au 20-nov-26", "title-too-old"),
        ("Lits du vendredi 20 novembre", "title-too-old"),
        ("au 20/11", "title-too-old"),
        ("2026-11-20", "title-too-old"),
        ("Semaine du 16/11/2026 au 20/11/2026", "title-too-old"),
        ("Situation prévue au 26/11/2026", "title-in-the-future"),
        ("Prévisions du 26/11/2026 au 01/12/2026", "title-in-the-future"),
    ):
        assert faults(f"{title}\nUnité;Libres\nU1;2\n") == [(1, "", what)], title
    # Of a form whose own date that is, a house can say so.
    assert [row.told_at for row in read(content, replace(PLAIN, title_date=False))[0]] == [None]


def test_an_hour_alone_in_its_column_is_whole() -> None:
    found, problems = read("Unité;Libres;Date;Heure\nU1;2;24/11/2026;8\nU2;2;46350;0\n")
    assert problems == []
    assert [row.told_at for row in found] == [
        datetime(2026, 11, 24, 7, tzinfo=UTC),
        datetime(2026, 11, 23, 23, tzinfo=UTC),
    ]


def test_an_hour_without_its_day_is_named_by_its_column() -> None:
    assert faults("Unité;Libres;Heure\nU1;2;08:00\nU2;1;\n") == [(2, "Heure", "hour-without-day")]


def test_an_empty_cell_says_nothing_and_is_never_zero() -> None:
    found, problems = read("unité;ouverts;occupés;libres\nU1;;4;\nU2;;;0\n")
    assert problems == []
    assert [(row.open, row.occupied, row.free) for row in found] == [(None, 4, None), (None, None, 0)]


def test_every_bad_line_is_named_at_once_with_its_number_and_its_column() -> None:
    content = (
        "unité;genre;ouverts;occupés;libres;relevé le\n"
        "U1;X;5;5;0;\n"  # 2: a gender
        "\n"  # 3: blank, passed over, and counted
        ";F;5;5;0;\n"  # 4: no unit
        "U2;F;cinq;5;0;\n"  # 5: not a number
        "U3;F;5;2,5;;\n"  # 6: half a patient
        "U4;F;5;-1;;\n"  # 7: negative
        "U5;F;5;4;3;\n"  # 8: does not add up
        "U6;F;5;;;\n"  # 9: says nothing
        "U7;F;99999;1;;\n"  # 10: absurd
        "U8;F;5;1;;23/11/2026 06:00\n"  # 11: too old
        "U8;H;5;1;;25/11/2026\n"  # 12: to come
        "U8;I;5;1;;24/11\n"  # 13: no date
        "U9;F;5;5;0;24/11/2026 08:00\n"  # 14: good
        "U9;femmes;5;5;0;\n"  # 15: the same again
        '"U\n10";F;5;5;0;31/02/2026\n'  # 16 and 17: a date that is not
        "U11;F;5;5;;\n"  # 18: good
        "U12;chambre 3; F;5;5;;voir\n"  # 19: a separator in a name
    )
    assert faults(content) == [
        (2, "genre", "gender-unknown"),
        (4, "unité", "unit-absent"),
        (5, "ouverts", "not-a-count"),
        (6, "occupés", "not-whole"),
        (7, "occupés", "negative"),
        (8, "libres", "does-not-add-up"),
        (9, "libres", "says-nothing"),
        (10, "ouverts", "absurd"),
        (11, "relevé le", "too-old"),
        (12, "relevé le", "in-the-future"),
        (13, "relevé le", "not-a-date"),
        (15, "unité", "twice"),
        (16, "relevé le", "not-a-date"),
        (19, "", "more-cells-than-heads"),
        (19, "genre", "gender-unknown"),
        (19, "ouverts", "not-a-count"),
    ]
    found, problems = read(content)
    assert [row.line for row in found] == [14, 18]
    assert problem_said(problems[3]) == "ligne 6, colonne « occupés » : « 2,5 » n’est pas un nombre entier".replace(
        "« ", "«\u202f"
    ).replace(" »", "\u202f»").replace(" :", "\u00a0:")
    assert problem_said(problems[11], Language.ENGLISH) == "line 15, column “unité”: said already on line 14"


@pytest.mark.parametrize(
    ("content", "what", "line"),
    [
        (b"", "empty", 0),
        (b"\xef\xbb\xbf\r\n \r\n", "empty", 0),
        (b"unit;free\nU1;\x81\n", "encoding", 2),
        ("unit;free\nU1;é\n".encode("utf-8-sig") + b"\xe9", "encoding", 3),
        (b"unit;free\nU1;\x00\n", "binary", 2),
        ("unit;free".encode("utf-16-le"), "binary", 1),
        (b'unit;free\nU1;"2\n', "quotes", 2),
        (b";".join([b"x"] * (COLUMNS_MAX + 1)), "too-many-columns", 1),
        (b"unit;free\n" + b"U1;1\n" * ROWS_MAX, "too-many-rows", ROWS_MAX + 1),
        (b"x" * (BYTES_MAX + 1), "too-large", 0),
        (b"\r\n <html><table><tr><td>UF</td><td>Libres</td></tr></table></html>", "workbook", 0),
        (b'\xef\xbb\xbf<?xml version="1.0"?><Workbook/>', "workbook", 0),
        (b"%PDF-1.7\n", "workbook", 0),
        (b'[{"UF": "U1"}]', "workbook", 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_table_is_refused_whole_by_name(content: bytes, what: str, line: int) -> None:
    found, problems = read(content)
    assert (found, [(one.what, one.line) for one in problems]) == ([], [(what, line)])


@pytest.mark.parametrize(
    ("heads", "problem"),
    [
        ("service;libres;disponibles", (1, "disponibles", "column-twice")),
        ("libres;occupés", (1, "", "no-unit")),
        ("unité;ouverts", (1, "", "no-figures")),
    ],
)
def test_heads_that_do_not_say_enough(heads: str, problem: tuple[int, str, str]) -> None:
    assert faults(f"{heads}\nU1;1;1\n".replace(";1;1", ";1" * heads.count(";"))) == [problem]


def test_of_two_tables_none_is_passed_over_in_silence() -> None:
    short, long = "Unité;Libres\nU1;2\n", "Unité;Ouverts;Occupés;Libres\nU2;12;10;2\n"
    assert faults(f"Femmes\n{short}\nHommes\n{long}") == [(2, "", "several-tables")]
    assert faults(f"Lits;;;\n{short}{long}") == [(2, "", "several-tables")]
    assert faults(f"{long}{short}") == [(3, "Ouverts", "not-a-count"), (4, "Libres", "says-nothing")]
    form = "Service;Médecine;Date;24/11/2026\n"
    assert [row.unit for row in read(f"{form}{long}")[0]] == ["U2"], "a form’s own heads are no table"


def test_heads_without_rows() -> None:
    assert faults("unité;libres\n") == [(0, "", "no-rows")]


def test_a_mapping_says_what_the_sheet_of_a_house_means(tmp_path: Path) -> None:
    path = tmp_path / "lits.toml"
    path.write_text(
        'source = "tableur"\n[columns]\nunit = "Aile"\nfree = "Places à donner"\n'
        '[units]\n"Rez-de-chaussée" = "U201"\n[genders]\n"Dames" = "female"\n'
        '[format]\ndates = ["%d.%m.%Y %Hh%M"]\nage_max_hours = 2\n',
        encoding="utf-8",
    )
    mapping = load_mapping(path)
    found, problems = read(
        "Aile;Genre;Places à donner;Date\nREZ-DE-CHAUSSÉE;dames;2;24.11.2026 08h00\nÉtage;F;1;\n", mapping
    )
    told = datetime(2026, 11, 24, 7, tzinfo=UTC)
    assert found == [UnitCounts(2, "U201", Gender.FEMALE, None, None, 2, told)]
    assert problems == [LineProblem(3, "Aile", "unit-unmapped", {"code": "Étage"})]
    assert faults("Unité;Libres\nU1;1\n", mapping) == [
        (1, "Aile", "column-absent"),
        (1, "Places à donner", "column-absent"),
    ]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("colums = {}", "colums"),
        ("[columns]\nbeds = 'x'", "columns.beds"),
        ("[genders]\nX = 'autre'", "genders.X"),
        ("[houses]\nBrabois = '54000'", "houses.Brabois"),
        ("[format]\ntime_zone = 'Mars/Olympus'", "format.time_zone"),
        ("[format]\nage_max_hours = 0", "format.age_max_hours"),
        ("[units", "lits.toml"),
        ("[units]\n'Étage' = 'U1'\n'ETAGE' = 'U2'", "units"),
        ("[columns]\nfree = 'Lits'\nopen = 'LITS'", "columns"),
    ],
)
def test_a_mapping_that_cannot_be_meant_says_where(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "lits.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DeclaredFault, match=where):
        load_mapping(path)


def test_the_change_to_winter_time_is_read_in_the_houses_zone() -> None:
    now = datetime(2026, 10, 25, 12, tzinfo=UTC)
    found, problems = read_sheet("unité;libres;date\nU1;1;25/10/2026 12:30\n".encode(), PLAIN, now)
    assert (problems, found[0].told_at) == ([], datetime(2026, 10, 25, 11, 30, tzinfo=UTC))


@given(st.binary(max_size=400))
def test_any_bytes_are_a_table_or_a_fault(content: bytes) -> None:
    found, problems = read(content)
    assert found or problems
    assert not {row.line for row in found} & {one.line for one in problems}


_CELL = st.sampled_from(
    ["", "0", "3", "12,0", "-1", "x", "F", "U1", "U2", "24/11/2026 08:00", '"', "\u00a0", "1e9", "٣"]
)


@given(st.lists(st.lists(_CELL, min_size=5, max_size=5), max_size=6))
def test_no_row_is_read_that_says_more_than_it_holds(rows: list[list[str]]) -> None:
    content = "\n".join(["unité;genre;ouverts;occupés;libres", *(";".join(row) for row in rows)])
    found, problems = read(content)
    for row in found:
        assert row.line not in {one.line for one in problems}
        assert row.told_at is None
        if None not in (row.open, row.occupied, row.free):
            assert row.open == (row.occupied or 0) + (row.free or 0)
        assert (row.occupied, row.free) != (None, None)
        assert all(0 <= count <= 12 for count in (row.open, row.occupied, row.free) if count is not None)


def test_a_figure_of_half_a_day_ago_is_taken_and_one_of_two_days_is_not() -> None:
    for age, expected in ((timedelta(hours=12), []), (timedelta(hours=48), ["too-old"])):
        stamp = (NOW - age + timedelta(hours=1)).strftime("%d/%m/%Y %H:%M")
        assert [what for _, _, what in faults(f"unité;libres;date\nU1;1;{stamp}\n")] == expected
