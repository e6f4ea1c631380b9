"""Sheets whose figures stand in columns of each gender: what a mapping declares of them, and what is said without."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from aval.adapters.counts.rows import LineProblem, UnitCounts
from aval.adapters.counts.sentences import problem_said
from aval.adapters.counts.telling import resolve
from aval.adapters.csv.mapping import Mapping, load_mapping
from aval.adapters.csv.sheet import read_sheet
from aval.adapters.french import Language
from aval.kernel.declared import DeclaredFault
from aval.kernel.statuses import Gender
from aval.v1 import availability_pb2, terms_pb2

NOW = datetime(2026, 11, 24, 7, 30, tzinfo=UTC)

COLUMNS = """
[columns.female]
occupied = "Femmes occupés"
free = "Femmes libres"
[columns.male]
occupied = "Hommes occupés"
free = "Hommes libres"
[columns.any]
free = "Indifférents"
"""
HEADS = "UF;Femmes occupés;Femmes libres;Hommes occupés;Hommes libres;Indifférents"


@pytest.fixture
def mapping(tmp_path: Path) -> Mapping:
    return declared(tmp_path, COLUMNS)


def declared(folder: Path, text: str) -> Mapping:
    (folder / "lits.toml").write_text(text, encoding="utf-8")
    return load_mapping(folder / "lits.toml")


def read(content: str, mapping: Mapping | None = None) -> tuple[list[UnitCounts], list[LineProblem]]:
    return read_sheet(content.encode(), mapping or load_mapping(None), NOW)


def faults(content: str, mapping: Mapping | None = None) -> list[tuple[int, str, str]]:
    return [(one.line, one.column, one.what) for one in read(content, mapping)[1]]


def test_columns_of_each_gender_are_counts_of_each(mapping: Mapping) -> None:
    assert read(f"{HEADS}\nU1;5;1;4;0;2\n", mapping) == (
        [
            UnitCounts(2, "U1", Gender.FEMALE, None, 5, 1, None),
            UnitCounts(2, "U1", Gender.MALE, None, 4, 0, None),
            UnitCounts(2, "U1", Gender.ANY, None, None, 2, None),
        ],
        [],
    )


def test_a_gender_whose_cells_are_empty_is_not_said_and_is_never_zero(mapping: Mapping) -> None:
    found, problems = read(f"{HEADS}\nU1;5;1;;;\nU2;;;;;\n", mapping)
    assert [(row.unit, row.gender) for row in found] == [("U1", Gender.FEMALE)]
    assert [(one.line, one.what) for one in problems] == [(3, "says-nothing")]


@pytest.mark.parametrize(
    ("upper", "lower"),
    [
        (";Femmes;;Hommes;", "UF;Occupés;Libres;Occupés;Libres"),
        ("UF;Femmes;;Hommes", ";Occupés;Libres;Occupés;Libres"),
        (";Femmes;Femmes;Hommes;Hommes", "UF;Occupés;Libres;Occupés;Libres"),
    ],
    ids=["cells joined", "the unit above", "each cell"],
)
def test_a_gender_may_stand_above_its_columns(upper: str, lower: str, tmp_path: Path) -> None:
    mapping = declared(tmp_path, COLUMNS.partition("[columns.any]")[0])
    found, problems = read(f"Lits du jour\n{upper}\n{lower}\nU1;5;1;4;0\n", mapping)
    assert problems == []
    assert [(row.gender, row.occupied, row.free) for row in found] == [(Gender.FEMALE, 5, 1), (Gender.MALE, 4, 0)]


def test_figures_without_a_gender_beside_them_are_their_sum_or_wrong(mapping: Mapping) -> None:
    heads = f"{HEADS};Libres"
    found, problems = read(f"{heads}\nU1;5;1;4;0;2;3\nU2;5;1;4;0;2;4\nU3;5;1;4;0;;9\n", mapping)
    assert {row.line for row in found} == {2, 4}  # of U3 not all is known: there is nothing to add up
    assert [(one.line, one.column, one.what) for one in problems] == [(3, "Libres", "total-differs")]
    assert problem_said(problems[0], Language.ENGLISH).startswith("line 3, column “Libres”: 4 in all, and 3 by gender")


def test_each_bad_cell_is_named_by_its_column(mapping: Mapping) -> None:
    assert faults(f"{HEADS}\nU1;5;x;4;-1;2\nU1;1;1\nU1;1;1\n", mapping) == [
        (2, "Femmes libres", "not-a-count"),
        (2, "Hommes libres", "negative"),
        (4, "UF", "twice"),
    ]


def test_without_a_mapping_columns_of_one_gender_are_named_and_not_guessed() -> None:
    found, (problem,) = read("UF;Lits libres femmes;Libres H\nU1;1;2\n")
    assert (found, problem.what, problem.line) == ([], "figures-by-gender", 1)
    said = problem_said(problem).replace("\u202f", " ").replace("\u00a0", " ")
    assert "[columns.female]" in said
    assert said.endswith("lus : Lits libres femmes, Libres H")


def test_a_gender_is_not_said_in_two_ways(mapping: Mapping, tmp_path: Path) -> None:
    assert faults(f"{HEADS};Sexe\nU1;5;1;4;0;2;F\n", mapping) == [(1, "Sexe", "gender-in-two-ways")]
    with pytest.raises(DeclaredFault, match="gender"):
        declared(tmp_path, f'[columns]\ngender = "Sexe"\n{COLUMNS}')


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[columns.dames]\nfree = 'x'", "columns.dames"),
        ("[columns.female]\nunit = 'x'", "columns.female.unit"),
        ("[columns.female]\nfree = 'L'\n[columns.male]\nfree = 'l'", "female.free"),
        ("[columns.female]\nfree = 2", "columns"),
    ],
)
def test_columns_that_cannot_be_meant_say_where(text: str, where: str, tmp_path: Path) -> None:
    with pytest.raises(DeclaredFault, match=where):
        declared(tmp_path, text)


def test_a_gender_that_the_unit_does_not_count_is_named(mapping: Mapping) -> None:
    unit = availability_pb2.Unit(name="establishments/540009479/units/U1", counting=availability_pb2.COUNTING_PLACES)
    unit.sources.add(id="feuille", kind=availability_pb2.SOURCE_KIND_FILE)
    for gender in (terms_pb2.GENDER_FEMALE, terms_pb2.GENDER_MALE):
        unit.counts.add(
            status=availability_pb2.CAPACITY_STATUS_INSTALLED,
            horizon=availability_pb2.HORIZON_NOW,
            gender=gender,
            count=6,
        )
    counts, _ = read(f"{HEADS}\nU1;5;1;4;0;2\n", mapping)
    found, (problem,) = resolve(counts, "540009479", {"U1": unit}, "")
    assert [(row.places.gender, row.places.open, row.places.occupied) for row in found] == [
        (terms_pb2.GENDER_FEMALE, 6, 5),
        (terms_pb2.GENDER_MALE, 4, 4),
    ]
    said = problem_said(problem, Language.ENGLISH)
    assert said == "line 2: unit U1 does not count that gender (I); it counts: F, H (I: either)"
