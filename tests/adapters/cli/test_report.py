"""The report as a spreadsheet: what French Excel opens by a double click, with the age of each line."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest

from aval.adapters.cli.report import CSV_HEADS, spreadsheet
from aval.v1 import terms_pb2, territory_pb2


def line(name: str = "CH de Toul", age: timedelta | None = timedelta(minutes=4.5)) -> territory_pb2.CapacityLine:
    made = territory_pb2.CapacityLine(
        establishment="establishments/540000023",
        establishment_display_name=name,
        discipline=terms_pb2.DISCIPLINE_SMR_GERIATRIC,
        installed=20,
        available_sure=2,
        occupied=15,
        closed=2,
    )
    if age is not None:
        made.age_max.FromTimedelta(age)
    return made


def rows(*lines: territory_pb2.CapacityLine) -> list[dict[str, str]]:
    text = spreadsheet(territory_pb2.GetCapacityResponse(lines=lines))
    assert text.startswith("\ufeff")
    assert text.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(text[1:], newline=""), delimiter=";"))


def test_a_line_for_each_house_and_discipline_with_its_age_and_decimal_commas() -> None:
    (found,) = rows(line())
    assert tuple(found) == CSV_HEADS
    assert (found["installes"], found["disponibles_surs"], found["occupes"]) == ("20", "2", "15")
    assert (found["taux_occupation"], found["fraicheur_min"]) == ("0,833", "4,5")
    assert rows(line(age=None))[0]["fraicheur_min"] == "", "unknown is not zero"


@pytest.mark.parametrize("name", ['=HYPERLINK("https://a.example")', "+1", "-1", "@SUM(A1)", "\t=1"])
def test_the_name_of_another_house_is_never_a_formula(name: str) -> None:
    (found,) = rows(line(name))
    assert found["etablissement"] == f"'{name}"
