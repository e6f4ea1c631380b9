"""The generator of a day: what always holds, whatever the seed; and that the day is a plausible one."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aval.adapters.demo import GE_10
from aval.adapters.demo.chance import Dice
from aval.adapters.demo.generator import Kind, Movement, movements
from aval.adapters.territory import HousePlan, house_plan, load
from aval.kernel.disciplines import Discipline
from tests.adapters.demo.believed import Census

FILE = load(GE_10)
PLANS = {finess: house_plan(FILE, finess) for finess in FILE.assumptions.houses}
START = datetime(2026, 11, 23, 23, 0, tzinfo=UTC)
"""Midnight in Paris, a Tuesday."""

finess_numbers = st.sampled_from(sorted(PLANS))
seeds = st.integers(0, 10_000)


def of_days(plan: HousePlan, seed: int, days: float, start: datetime = START) -> list[Movement]:
    return list(movements(plan, seed, start, start + timedelta(days=days)))


def replayed(plan: HousePlan, stream: list[Movement]) -> Census:
    census = Census(plan)
    for movement in stream:
        census.apply(movement)
    return census


@settings(max_examples=60)
@given(finess=finess_numbers, seed=seeds, hour=st.integers(0, 23))
def test_the_stream_never_says_what_cannot_be(finess: str, seed: int, hour: int) -> None:
    plan = PLANS[finess]
    stream = of_days(plan, seed, 4, START + timedelta(hours=hour))
    assert all(a.time <= b.time for a, b in pairwise(stream))
    assert len({m.number for m in stream}) == len(stream)
    replayed(plan, stream)


def test_a_long_stream_of_the_largest_house_holds_too() -> None:
    stream = of_days(PLANS["540002698"], 7, 15)
    replayed(PLANS["540002698"], stream)
    assert {Kind.TRANSFER, Kind.CANCELLATION, Kind.BED_CLOSED, Kind.BED_OPENED} <= {m.kind for m in stream}


@settings(max_examples=20)
@given(finess=finess_numbers, seed=seeds)
def test_seed_establishment_and_start_decide_it_all(finess: str, seed: int) -> None:
    assert of_days(PLANS[finess], seed, 1.5) == of_days(PLANS[finess], seed, 1.5)
    assert of_days(PLANS[finess], seed, 1.5)[: len(of_days(PLANS[finess], seed, 1))] == of_days(PLANS[finess], seed, 1)


def test_it_does_not_depend_on_the_rest_of_the_territory() -> None:
    alone = FILE.without(*(f for f in PLANS if f != "540000312"))
    assert of_days(house_plan(alone, "540000312"), 3, 1) == of_days(PLANS["540000312"], 3, 1)


def test_seeds_and_establishments_differ() -> None:
    assert of_days(PLANS["540000312"], 1, 1) != of_days(PLANS["540000312"], 2, 1)
    keys = [m.stay_key for finess in PLANS for m in of_days(PLANS[finess], 1, 1) if m.kind is Kind.ADMISSION]
    assert len(keys) == len(set(keys)), "no stay key is met in two houses"


# ------------------------------------------------------------------------------------------------------ a plausible day


@pytest.mark.parametrize(("activity", "low", "high"), [("mco", 0.74, 0.86), ("smr", 0.6, 0.86), ("ehpad", 0.88, 0.97)])
def test_the_census_keeps_the_occupancy_of_the_data(activity: str, low: float, high: float) -> None:
    """At the start and after three days; what is short of the data's rate is beds closed, and nights."""
    for days in (0.0, 3.0):
        present = places = 0
        for finess, plan in PLANS.items():
            installed = FILE.establishment(finess).installed
            if installed is None or not getattr(installed, activity) or installed.total != getattr(installed, activity):
                continue
            present += len(replayed(plan, of_days(plan, 1, days)).where)
            places += sum(unit.capacity for unit in plan.units)
        if places:
            assert low <= present / places <= high, (activity, days, present / places)


def test_a_day_has_the_movements_that_its_stays_ask_for() -> None:
    plan = PLANS["540002698"]
    expected = sum(u.capacity * u.occupancy / u.stay_days for u in plan.units)
    counts = Counter(m.kind for m in of_days(plan, 5, 7) if m.time > START)
    assert counts[Kind.ADMISSION] / 7 == pytest.approx(expected, rel=0.2)
    assert counts[Kind.DISCHARGE] / 7 == pytest.approx(expected, rel=0.25)
    assert counts[Kind.ARRIVAL_EXPECTED] > 0
    assert counts[Kind.DEPARTURE_ANNOUNCED] > counts[Kind.DISCHARGE] / 3


def test_departures_are_of_the_afternoon_and_smr_admits_in_the_week() -> None:
    hours: Counter[int] = Counter()
    weekend = week = 0
    for finess in ("540000312", "540022837", "540000668", "540001138"):
        plan = PLANS[finess]
        smr = {u.code for u in plan.units if u.discipline.value.startswith("smr")}
        for m in of_days(plan, 2, 14):
            local = m.time + timedelta(hours=1)
            if m.time > START and m.kind is Kind.DISCHARGE:
                hours[local.hour] += 1
            if m.time > START and m.kind is Kind.ADMISSION and m.unit in smr:
                weekend, week = weekend + (local.weekday() >= 5), week + (local.weekday() < 5)
    assert sum(hours[h] for h in range(12, 20)) > 0.7 * sum(hours.values())
    assert week > 10 * weekend


def test_every_seed_leaves_geriatric_smr_beds_in_several_houses_tomorrow() -> None:
    """The demonstration's story asks at three: any one establishment may be missing."""
    for seed in range(1, 13):
        houses = announced = 0
        for plan in PLANS.values():
            geriatric = {u.code for u in plan.units if u.discipline is Discipline.SMR_GERIATRIC}
            if not geriatric:
                continue
            stream = of_days(plan, seed, 0.5)
            census = replayed(plan, stream)
            taken = Counter(unit for unit, _ in (*census.where.values(), *census.closed, *census.dirty))
            houses += any(taken[unit] < census.units[unit].capacity for unit in geriatric)
            announced += any(
                m.kind is Kind.DEPARTURE_ANNOUNCED and m.unit in geriatric and m.stay_key in census.where
                for m in stream
            )
        assert houses >= 6, seed
        assert announced >= 2, seed


# --------------------------------------------------------------------------------------------------------------- chance


def test_dice_are_decided_by_their_label() -> None:
    assert [Dice(1, "a").share() for _ in range(2)] == [Dice(1, "a").share()] * 2
    assert Dice(1, "a").share() != Dice(1, "b").share()
    assert Dice(1, "ab", "c").share() != Dice(1, "a", "bc").share()
    assert Dice(1).share() == 0.1739344671044255


def test_dice_have_the_means_that_they_promise() -> None:
    dice, n = Dice("means"), 8_000
    assert sum(dice.count(2.5) for _ in range(n)) / n == pytest.approx(2.5, rel=0.05)
    assert sum(dice.count(0.0) for _ in range(100)) == 0
    assert sum(dice.log_normal(34, 0.8) for _ in range(n)) / n == pytest.approx(34, rel=0.1)
    met = sum(dice.log_normal(34, 0.8, by_length=True) for _ in range(n)) / n
    assert met == pytest.approx(34 * 2.718281828 ** (0.8**2), rel=0.15)
    assert Counter(dice.weighted([0, 1, 3]) for _ in range(n))[2] / n == pytest.approx(0.75, rel=0.05)
    assert {dice.one_of("abc") for _ in range(100)} == {"a", "b", "c"}
    assert all(0 <= dice.share() < 1 for _ in range(n))
