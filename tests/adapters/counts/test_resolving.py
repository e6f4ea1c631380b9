"""Rows held against what a node declares: which unit is meant, of which house, said how often."""

from __future__ import annotations

import pytest

from aval.adapters.counts.rows import UnitCounts
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


@pytest.mark.parametrize("line", [2, 3], ids=["on one line", "on two"])
def test_a_unit_said_by_its_code_and_by_its_name_is_said_twice(line: int) -> None:
    found, (problem,) = resolve([row("U1", 2), row("Unité protégée", line)], FINESS, UNITS, "")
    assert ([one.line for one in found], problem.line, problem.what) == ([2], line, "twice")
    assert problem.details["first_line"] == "2"
