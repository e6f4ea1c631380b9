"""FINESS numbers: what is one, what is not and why, and the measure behind Corsica's check digits."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.kernel.finess import FinessEJ, FinessET, check_digit, luhn_remainder
from aval.kernel.reasons import Reason, Refusal

FIRST_EIGHT = st.one_of(
    st.from_regex(r"[0-9]{8}", fullmatch=True).filter(str.isascii),
    st.from_regex(r"2[AB][0-9]{6}", fullmatch=True).filter(str.isascii),
)
NUMBERS = FIRST_EIGHT.map(lambda eight: eight + check_digit(eight))


@given(NUMBERS)
def test_a_number_is_read_and_written_alike(number: str) -> None:
    for kind in (FinessET, FinessEJ):
        parsed = kind.parse(number)
        assert str(parsed) == number
        assert type(parsed) is kind
        assert parsed.departement == number[:2]


@given(NUMBERS, st.integers(0, 8), st.integers(1, 9))
def test_one_wrong_digit_is_found(number: str, place: int, shift: int) -> None:
    if not number[place].isdigit():
        return
    wrong = number[:place] + str((int(number[place]) + shift) % 10) + number[place + 1 :]
    with pytest.raises(Refusal) as refused:
        FinessET(wrong)
    assert refused.value.reason is Reason.MALFORMED_FINESS


@given(NUMBERS, st.integers(0, 7))
def test_two_exchanged_digits_are_found_but_for_0_and_9(number: str, place: int) -> None:
    left, right = number[place], number[place + 1]
    if {left, right} == {"0", "9"} or left == right or not (left + right).isdigit():
        return
    with pytest.raises(Refusal):
        FinessET(number[:place] + right + left + number[place + 2 :])


@given(st.text(max_size=12))
def test_any_text_is_a_number_or_is_refused_by_name(text: str) -> None:
    try:
        number, refusal = FinessET(text), None
    except Refusal as refused:
        number, refusal = None, refused
    if refusal is None:
        assert re.fullmatch(r"[0-9][0-9AB][0-9]{7}", number or "")
    else:
        assert refusal.reason is Reason.MALFORMED_FINESS
        assert refusal.metadata["problem"]
        assert refusal.metadata["finess"].isascii()


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("10000024", "leading zero"),
        ("54000002", "leading zero"),
        ("5400000230", "10 characters"),
        ("", "0 characters"),
        ("540000024", "check digit"),
        ("2a0000012", "capitals"),
        ("54000002O", "9 digits"),
        ("54 000 02", "9 digits"),
        ("5400000２3", "9 digits"),
        ("2C0000014", "9 digits"),
    ],
)
def test_a_refusal_says_what_is_wrong(text: str, advice: str) -> None:
    with pytest.raises(Refusal) as refused:
        FinessEJ(text)
    assert advice in refused.value.metadata["problem"]
    assert refused.value.metadata["kind"] == "EJ"


def test_the_two_kinds_are_types_of_their_own() -> None:
    assert not issubclass(FinessET, FinessEJ)
    assert not issubclass(FinessEJ, FinessET)
    assert repr(FinessET("540000023")) == "FinessET('540000023')"


def test_the_rule_for_corsica_is_the_only_one_that_holds(shared_dir: Path) -> None:
    numbers: set[str] = set()
    for name in ("france_hospital_sites_sae2023.csv.gz", "france_ehpad_cnsa.csv.gz"):
        with gzip.open(shared_dir / "data" / name, "rt", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                numbers.update(row[column] for column in ("finess_et", "finess_ej") if row.get(column))
    corsican = sorted(number for number in numbers if number[1] in "AB")
    assert (len(numbers), len(corsican)) == (13_591, 93)
    assert all(luhn_remainder(number) == 0 for number in numbers)
    for number in numbers:
        FinessET(number)

    def holding(rule: Callable[[str], str]) -> int:
        return sum(luhn_remainder(rule(number)) == 0 for number in corsican)

    assert holding(lambda number: number.replace("2A", "19").replace("2B", "18")) == 0
    others = {
        (letter, digit): sum(
            luhn_remainder(number.replace(letter, digit)) == 0 for number in corsican if number[1] == letter
        )
        for letter in "AB"
        for digit in "0123456789"
    }
    assert {pair for pair, count in others.items() if count} == {("A", "1"), ("B", "2")}
