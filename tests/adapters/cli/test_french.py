"""Ages, hours, dates and numbers as people read them, in French and in English."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.adapters.french import Language, Speech, language_of, parse_duration, typeset

NOW = datetime(2026, 11, 23, 14, 32, tzinfo=UTC)  # 15 h 32 in Paris
FRENCH, ENGLISH = Speech(), Speech(Language.ENGLISH)


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (timedelta(seconds=59), "à l’instant"),
        (timedelta(minutes=4, seconds=30), "il y a 4\u00a0min"),
        (timedelta(hours=2, minutes=10), "il y a 2\u00a0h\u00a010"),
        (timedelta(hours=23), "hier 16\u00a0h\u00a032"),
        (timedelta(days=2, minutes=-48), "sam.\u00a021\u00a0nov. 16\u00a0h\u00a020"),
        (None, "jamais"),
    ],
)
def test_ages(age: timedelta | None, said: str) -> None:
    assert FRENCH.age(age, NOW) == said


def test_dates_hours_and_numbers() -> None:
    assert FRENCH.date(NOW) == "lun.\u00a023\u00a0nov.\u00a02026"
    assert FRENCH.hour(NOW) == "15\u00a0h\u00a032"
    assert FRENCH.hour(datetime(2026, 7, 1, 7, 5, tzinfo=UTC)) == "9\u00a0h\u00a005"
    assert FRENCH.date(datetime(2026, 2, 1, 12, tzinfo=UTC)) == "dim.\u00a01er\u00a0févr.\u00a02026"
    assert FRENCH.number(1234.5, 1) == "1\u202f234,5"
    assert FRENCH.count(1, "lit", "lits") == "1\u00a0lit"
    assert FRENCH.count(0, "lit", "lits") == "0\u00a0lit"
    assert FRENCH.moment(NOW + timedelta(days=1), NOW) == "demain 15\u00a0h\u00a032"
    assert ENGLISH.hour(NOW) == "3:32\u00a0pm"
    assert ENGLISH.number(1234.5, 1) == "1,234.5"
    assert ENGLISH.count(0, "bed", "beds") == "0\u00a0beds"


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, Language.FRENCH),
        ({"LANG": "fr_FR.UTF-8"}, Language.FRENCH),
        ({"LANG": "en_US.UTF-8"}, Language.ENGLISH),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "fr_FR.UTF-8"}, Language.FRENCH),
        ({"LANG": "C"}, Language.FRENCH),
    ],
)
def test_the_language_is_that_of_the_environment(environment: dict[str, str], language: Language) -> None:
    assert language_of(environment) is language


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("30min", 1800), ("2h", 7200), ("14d", 1_209_600), ("10", 10)]
)
def test_durations_that_people_type(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "h", "-3h", "0", "2 lunes", "99999d"])
def test_durations_that_mean_nothing(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_duration(text)


@given(st.text(alphabet="a :;!?«»h12", max_size=40))
def test_setting_type_twice_changes_nothing(text: str) -> None:
    assert typeset(typeset(text)) == typeset(text)


@given(st.timedeltas(timedelta(0), timedelta(days=300)))
def test_an_age_never_says_the_future(age: timedelta) -> None:
    assert "demain" not in FRENCH.age(age, NOW)
