"""Answer hours, deadlines and holidays: what a unit's policy makes of time."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aval.kernel.disciplines import DISCIPLINES, Discipline
from aval.kernel.hours import WeekHours
from aval.kernel.need import Urgency
from aval.kernel.reasons import Reason
from aval.kernel.statuses import Answering, Counting
from aval.node import commands as c
from aval.node.model import Policy, Unit
from aval.node.policy import (
    OFFICE_HOURS,
    after_open_time,
    answer_deadline,
    default_policy,
    default_ttl,
    hold_deadline,
    hold_ttl,
    open_since,
    public_holidays,
)
from aval.node.time import NodeTime
from tests.node.core.house import BEDS, DAY, HOUR, house

PARIS = ZoneInfo("Europe/Paris")
OFFICE = Policy(answer_hours=OFFICE_HOURS, closed_on_public_holidays=True)
UNIT = Unit("u", "SMR", Discipline.SMR_GERIATRIC, Counting.PLACES, policy=OFFICE)


def paris(year: int, month: int, day: int, hour: int, minute: int) -> datetime:
    """A local hour of Paris, as an instant."""
    return datetime(year, month, day, hour, minute, tzinfo=PARIS).astimezone(UTC)


INSTANTS = st.integers(min_value=0, max_value=3 * 366 * 24 * 12).map(
    lambda steps: datetime(2025, 1, 1, tzinfo=UTC) + steps * timedelta(minutes=5)
)


@given(st.integers(min_value=0, max_value=150), st.integers(min_value=0, max_value=7 * 60 - 1))
def test_friday_evening_planned_is_not_due_before_monday(week: int, minutes: int) -> None:
    """DESIGN §6: a planned demand of Friday 17 h, or later that night, waits for the next working day at least."""
    friday = date(2025, 1, 3) + timedelta(weeks=week)
    asked = datetime(friday.year, friday.month, friday.day, 17, tzinfo=PARIS).astimezone(UTC)
    asked += timedelta(minutes=minutes)
    monday = friday + timedelta(days=3)
    for urgency in (Urgency.PLANNED, Urgency.WITHIN_48_HOURS):
        due = answer_deadline(UNIT, urgency, asked, PARIS).astimezone(PARIS)
        assert due.date() >= monday
        assert due.isoweekday() <= 5
        assert due.date() not in public_holidays(due.year, False)
    assert answer_deadline(UNIT, Urgency.TODAY, asked, PARIS) == asked + timedelta(minutes=30)


@pytest.mark.parametrize(
    ("asked", "duration", "due"),
    [
        (paris(2026, 11, 27, 16, 0), DAY, paris(2026, 11, 30, 16, 0)),  # Friday afternoon, a day: Monday, same hour
        (paris(2026, 11, 27, 17, 0), DAY, paris(2026, 12, 1, 9, 0)),  # Friday 17 h is Monday 9 h, and a day
        (paris(2026, 11, 27, 16, 0), 4 * HOUR, paris(2026, 11, 30, 12, 0)),  # 1 h on Friday, 3 h on Monday
        (paris(2026, 11, 25, 10, 0), 4 * HOUR, paris(2026, 11, 25, 14, 0)),
        (paris(2026, 12, 24, 16, 0), DAY, paris(2026, 12, 28, 16, 0)),  # over Christmas and a week-end
        (paris(2026, 3, 27, 16, 0), DAY, paris(2026, 3, 30, 16, 0)),  # over the change to summer time
        (paris(2026, 10, 23, 16, 0), DAY, paris(2026, 10, 26, 16, 0)),  # and back
        (paris(2026, 11, 23, 10, 0), 30 * HOUR, paris(2026, 11, 24, 16, 0)),  # a day and 6 h
    ],
)
def test_open_time(asked: datetime, duration: timedelta, due: datetime) -> None:
    """Whole days are answering days at the same local hour; hours are hours during which somebody answers."""
    assert after_open_time(asked, duration, OFFICE_HOURS, OFFICE, PARIS) == due


@given(INSTANTS, st.integers(min_value=1, max_value=40), st.integers(min_value=1, max_value=40))
def test_deadlines_are_open_and_grow(asked: datetime, hours: int, more: int) -> None:
    """A deadline is never before real time, falls while somebody answers, and a longer one is never earlier."""
    due = after_open_time(asked, hours * HOUR, OFFICE_HOURS, OFFICE, PARIS)
    assert due >= asked + min(hours * HOUR, DAY) or due.astimezone(PARIS).date() > asked.astimezone(PARIS).date()
    local = due.astimezone(PARIS)
    assert local.isoweekday() <= 5
    assert 9 * 60 <= local.hour * 60 + local.minute <= 17 * 60
    days = more * DAY
    assert after_open_time(asked, days + DAY, OFFICE_HOURS, OFFICE, PARIS) > after_open_time(
        asked, days, OFFICE_HOURS, OFFICE, PARIS
    )


def test_without_hours_time_runs() -> None:
    """Round the clock, a duration is a duration."""
    asked = paris(2026, 11, 28, 3, 0)
    assert after_open_time(asked, 30 * HOUR, (), Policy(), PARIS) == asked + 30 * HOUR
    assert open_since(asked, (), Policy(), PARIS) is None


def test_a_calendar_that_never_opens_counts_real_time() -> None:
    """A house whose every day is closed has no calendar; nothing hangs."""
    policy = Policy(closed_days=frozenset((date(2026, 1, 1) + n * DAY).isoformat() for n in range(1000)))
    asked = paris(2026, 11, 23, 9, 0)
    assert after_open_time(asked, 4 * HOUR, (), policy, PARIS) == asked + 4 * HOUR


def test_public_holidays_and_those_of_alsace_moselle() -> None:
    """Eleven national ones; Good Friday and 26 December besides, where the law of Alsace-Moselle holds."""
    national, local = public_holidays(2026, False), public_holidays(2026, True)
    assert date(2026, 7, 14) in national
    assert local - national == {date(2026, 4, 3), date(2026, 12, 26)}


@pytest.mark.parametrize("discipline", list(Discipline))
def test_how_long_a_hold_lasts(discipline: Discipline) -> None:
    """DESIGN §6's table, for every discipline."""
    expected = {"01": HOUR, "02": 4 * HOUR, "03": HOUR, "04": 48 * HOUR, "USLD": 48 * HOUR, "HAD": 12 * HOUR}
    ttl = 14 * DAY if discipline is Discipline.EHPAD_PERMANENT else expected[DISCIPLINES[discipline].field.value]
    assert default_ttl(discipline) == ttl
    unit = Unit("u", "", discipline, Counting.PLACES, policy=default_policy(discipline))
    assert hold_ttl(unit, None) == ttl
    assert hold_ttl(unit, 90 * DAY) == ttl  # a wish shortens; only the policy, or staff, lengthens
    assert hold_ttl(unit, timedelta(minutes=10)) == timedelta(minutes=10)


def test_a_long_hold_counts_answer_hours() -> None:
    """48 h granted on Friday afternoon last until Tuesday; 4 h are 4 h."""
    asked = paris(2026, 11, 27, 16, 0)
    assert hold_deadline(UNIT, 48 * HOUR, asked, PARIS) == paris(2026, 12, 1, 16, 0)
    assert hold_deadline(UNIT, 4 * HOUR, asked, PARIS) == asked + 4 * HOUR


def test_a_permanent_place_is_never_automatic() -> None:
    """Whatever the policy says, the waiting list's included."""
    policy = Policy(answering=Answering.AUTOMATIC, grant_waiting_list=True)
    made = house(policy, Discipline.EHPAD_PERMANENT)
    made.create("r")
    assert made.state("r") == "ASKED"
    assert made.figures().policy.answering is Answering.PERSON


@pytest.mark.parametrize(
    "conditions",
    [
        {"per_day_max": 1},
        {"keep_free": 4},
    ],
)
def test_limits_of_the_automatic_hold(conditions: dict[str, int]) -> None:
    """One a day; or four kept for the house: the second demand is a person's. A new day begins anew."""
    base = Policy(answering=Answering.AUTOMATIC)
    made = house(replace(base, automatic=replace(base.automatic, **conditions)))
    made.create("r1")
    made.create("r2")
    assert (made.state("r1"), made.state("r2")) == ("HELD", "ASKED")
    made.later(DAY)
    made.create("r3")
    assert made.state("r3") == "HELD"


def test_closed_to_the_territory() -> None:
    """The policy declines at once, with its reason."""
    made = house(Policy(answering=Answering.CLOSED))
    made.create("r")
    assert made.state("r") == "DECLINED"


def test_a_demand_of_the_past_is_refused() -> None:
    """And so is one for a year that nobody plans."""
    made = house()
    for earliest in (made.now - 2 * DAY, made.now + 500 * DAY):
        verdict = made.create(f"r{earliest:%j}", arrival_earliest=earliest)
        assert verdict.refusal is not None
        assert verdict.refusal.reason is Reason.TIME_OUT_OF_RANGE


def test_hours_that_cannot_be_meant() -> None:
    """A policy is checked whole before anything changes."""
    made = house()
    verdict = made.say(c.SetUnitPolicy, unit=BEDS, policy=Policy(answer_hours=(WeekHours(8, 0, 60),)))
    assert verdict.refusal is not None
    assert verdict.refusal.metadata["field"] == "answer_hours"


def test_the_time_of_a_node_never_goes_back() -> None:
    """It starts at the latest of what is known, then runs with the monotonic clock."""
    start = paris(2026, 11, 23, 9, 0)
    time = NodeTime(start, 100.0)
    assert time.now(100.0) == start
    assert time.now(160.5) == start + timedelta(seconds=60.5)
    assert time.now(99.0) == start
