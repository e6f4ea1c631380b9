"""A need: what is sound, and the first fault of what is not; intervals."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.kernel.disciplines import Discipline
from aval.kernel.need import STAY_DAYS_MAX, Feature, Interval, Need
from aval.kernel.statuses import Freshness, Gender, SourceKind, freshness_of

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SOUND = Need(Discipline.SMR_GERIATRIC, Gender.FEMALE, NOON, NOON + HOUR, age_months=84 * 12)


def test_a_sound_need_has_no_fault() -> None:
    """Nor has one with all that may be said."""
    assert SOUND.problem() is None
    full = replace(
        SOUND,
        stay_max=timedelta(days=STAY_DAYS_MAX),
        required=frozenset({Feature.OXYGEN}),
        wished=frozenset({Feature.SINGLE_ROOM}),
        gir=6,
        origin="540000023",
        distance_km_max=0.1,
        minutes_max=1,
    )
    assert full.problem() is None


@pytest.mark.parametrize(
    ("field", "faulty"),
    [
        ("gender", replace(SOUND, gender=Gender.UNDETERMINED)),
        ("arrival_latest", replace(SOUND, arrival_latest=NOON - HOUR)),
        ("age", replace(SOUND, age_months=-1)),
        ("age", replace(SOUND, age_months=130 * 12 + 1)),
        ("gir", replace(SOUND, gir=0)),
        ("gir", replace(SOUND, gir=7)),
        ("stay_max", replace(SOUND, stay_max=timedelta(0))),
        ("stay_max", replace(SOUND, stay_max=timedelta(days=STAY_DAYS_MAX, seconds=1))),
        ("wished", replace(SOUND, required=frozenset({Feature.OXYGEN}), wished=frozenset({Feature.OXYGEN}))),
        ("distance_km_max", replace(SOUND, origin="540000023", distance_km_max=0.0)),
        ("minutes_max", replace(SOUND, origin="540000023", minutes_max=-1.0)),
        ("origin", replace(SOUND, minutes_max=30.0)),
    ],
)
def test_a_fault_is_named_by_its_field(field: str, faulty: Need) -> None:
    """The first one, with words on what to do."""
    problem = faulty.problem()
    assert problem is not None
    assert problem[0] == field
    assert problem[1]


INSTANTS = st.integers(min_value=0, max_value=20).map(lambda hours: NOON + hours * HOUR)
INTERVALS = st.builds(
    lambda start, hours: Interval(start, None if hours is None else start + hours * HOUR),
    INSTANTS,
    st.none() | st.integers(min_value=1, max_value=8),
)


@given(INTERVALS, INTERVALS)
def test_two_intervals_overlap_where_an_instant_is_in_both(one: Interval, other: Interval) -> None:
    """Half-open; the ends are whole hours here, so whole hours suffice as witnesses."""
    witnesses = [NOON + hour * HOUR for hour in range(40)]
    shared = any(one.covers(at) and other.covers(at) for at in witnesses)
    assert one.overlaps(other) is shared
    assert other.overlaps(one) is shared


@given(st.sampled_from(list(SourceKind)), st.none() | st.integers(min_value=0, max_value=3000))
def test_freshness_only_falls_with_age(kind: SourceKind, minutes: int | None) -> None:
    """Fresh, then ageing, then stale; a source never heard is stale; only the first two are sure."""
    order = [Freshness.FRESH, Freshness.AGEING, Freshness.STALE]
    age = None if minutes is None else timedelta(minutes=minutes)
    found = freshness_of(age, kind.fresh_max, kind.stale_min)
    assert found in order
    assert found.is_sure is (age is not None and age <= kind.stale_min)
    if age is not None:
        older = freshness_of(age + HOUR, kind.fresh_max, kind.stale_min)
        assert order.index(older) >= order.index(found)
