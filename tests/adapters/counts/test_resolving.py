"""Rows held against what a node declares: which unit is meant, of which house, said how often."""

from __future__ import annotations

import pytest

from aval.adapters.counts.rows import UnitCounts
from aval.adapters.counts.sentences import problem_said
from aval.adapters.counts.telling import resolve
from aval.kernel.statuses import Gender
from aval.v1 import availability_pb2, terms_pb2

A = availability_pb2
FINESS = "540009479"


def unit(code: str, name: str) -> A.Unit:
    made = A.Unit(name=f"establishments/{FINESS}/units/{code}", display_name=name, counting=A.COUNTING_PLACES)
    made.sources.add(id="feuille", kind=A.SOURCE_KIND_FILE)
    made.counts.add(status=A.CAPACITY_STATUS_INSTALLED, horizon=A.HORIZON_NOW, gender=terms_pb2.GENDER_ANY, count=12)
    return made


UNITS = {
    "U1": unit("U1", "Unité protégée"),
    "U2": unit("U2", "Rez-de-chaussée"),
    "U3": unit("U3", "Hébergement"),
    "U4": unit("U4", "HEBERGEMENT"),
    "u2": unit("u2", "U1"),
}


def row(word: str, line: int = 2) -> UnitCounts:
    return UnitCounts(line, word, Gender.ANY, None, None, 2, None)


@pytest.mark.parametrize(
    ("word", "code"),
    [("U1", "U1"), ("U2", "U2"), ("u2", "u2"), ("unite  PROTEGEE", "U1"), ("rez-de-chaussée", "U2"), ("u3", "U3")],
)
def test_a_unit_is_found_by_its_code_or_by_the_one_name_that_is_meant(word: str, code: str) -> None:
    (found,), problems = resolve([row(word)], FINESS, UNITS, "")
    assert (found.unit, found.source, problems) == (UNITS[code].name, "feuille", [])


@pytest.mark.parametrize("word", ["Hébergement", "u1", "U9", "Unité", ""])
def test_a_word_that_two_units_are_called_or_none_is_not_guessed(word: str) -> None:
    found, (problem,) = resolve([row(word)], FINESS, UNITS, "")
    assert (found, problem.what) == ([], "unit-unknown")
    assert problem.details["known"] == "U1, U2, U3, U4, u2"


@pytest.mark.parametrize(("beds", "free"), [(12, 3), (10, 1), (11, None), (14, None)])
def test_a_number_of_beds_is_those_installed_or_those_open_or_wrong(beds: int, free: int | None) -> None:
    """12 are installed and 10 open; a sheet that counts others means free ones that the node would get wrong."""
    made = unit("U5", "SMR")
    made.counts.add(status=A.CAPACITY_STATUS_CLOSED, horizon=A.HORIZON_NOW, gender=terms_pb2.GENDER_ANY, count=2)
    said = UnitCounts(2, "U5", Gender.ANY, None, 9 if beds != 12 else 7, None, None, capacity=beds)
    found, problems = resolve([said], FINESS, {"U5": made}, "")
    assert [one.places.open - one.places.occupied for one in found] == ([] if free is None else [free])
    assert [one.what for one in problems] == (["capacity-differs"] if free is None else [])
    assert all("installés, 10 ouverts" in problem_said(one) for one in problems)


def test_a_row_of_another_house_is_named() -> None:
    found, (problem,) = resolve([UnitCounts(2, "U1", Gender.ANY, None, None, 2, None, "540000023")], FINESS, UNITS, "")
    assert (found, problem.what, problem.details) == ([], "other-house", {"finess": "540000023"})


@pytest.mark.parametrize("line", [2, 3], ids=["on one line", "on two"])
def test_a_unit_said_by_its_code_and_by_its_name_is_said_twice(line: int) -> None:
    found, (problem,) = resolve([row("U1", 2), row("Unité protégée", line)], FINESS, UNITS, "")
    assert ([one.line for one in found], problem.line, problem.what) == ([2], line, "twice")
    assert problem.details["first_line"] == "2"
