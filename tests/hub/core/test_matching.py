"""Search against brute force over whole hours, and the promises that it makes to people about reasons and order."""

from __future__ import annotations

import random
from dataclasses import replace as dataclass_replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aval.hub.matching import (
    EXCLUSIONS,
    FEW_PLACES,
    LIMIT_MAX,
    Candidate,
    Criterion,
    Excluded,
    ExclusionReason,
    Fit,
    Found,
    Misfit,
    RankReason,
    RelaxationKind,
    distance_km,
    judge,
    search,
    suits,
)
from aval.hub.model import AdmissionHours, Closure, Conflict, Count, Declared, FreeStep, PlaceClass, Policy, Unit
from aval.hub.picture import Seen
from aval.kernel.disciplines import Discipline
from aval.kernel.hours import WeekHours, zone_of
from aval.kernel.need import ANSWER_BY, Feature, Interval, Mode, Need, Urgency
from aval.kernel.statuses import Answering, Counting, Freshness, Gender, Horizon, Shown, Status
from tests.hub.core.worlds import (
    HORIZON_HOURS,
    NOW,
    any_need,
    candidates,
    closures,
    conflicts,
    hour,
    needs,
    territories,
)

URGENCY = Urgency.WITHIN_48_HOURS

OPEN_END = HORIZON_HOURS + 48 + 72 + 1
"""A stay without end is checked until nothing changes any more, after the latest arrival and the longest stay."""


def free_at(places: PlaceClass, instant: datetime) -> int:
    value = places.steps[0].free if places.steps else 0
    for step in places.steps:
        if step.time <= instant:
            value = step.free
    return value


def stay_hours(need: Need, arrival: int) -> range:
    if need.stay_max is None:
        return range(arrival, OPEN_END)
    return range(arrival, arrival + int(need.stay_max / timedelta(hours=1)))


def admits(unit: Unit, number: int, zone: str) -> bool:
    """Whether somebody may arrive at that hour."""
    said = unit.policy.admission_hours
    if said is None:
        opening = unit.policy.next_admission_time
        return opening is None or opening <= hour(number)
    local = hour(number).astimezone(zone_of(zone))
    minute = local.hour * 60 + local.minute
    within = (one.start_minute <= minute < one.end_minute for one in said.hours if one.day == local.isoweekday())
    return local.date() not in said.closed_days and (not said.hours or any(within))


def window(need: Need) -> range:
    """The hours at which the need would have somebody arrive."""
    first = max(0, int((need.arrival_earliest - NOW) / timedelta(hours=1)))
    return range(first, int((need.arrival_latest - NOW) / timedelta(hours=1)) + 1)


def arrivals(need: Need, candidate: Candidate) -> list[int]:
    hours_admitted = [number for number in window(need) if admits(candidate.seen.unit, number, candidate.time_zone)]
    return hours_admitted or list(window(need))


def closed_whole(need: Need, unit: Unit, arrival: int) -> bool:
    if not any(one.status is Status.INSTALLED for one in unit.declared):
        return False
    installed = sum(one.count for one in unit.counts if one.status is Status.INSTALLED)
    if unit.shown is Shown.YES_OR_NO:
        installed = min(installed, 1)
    for number in stay_hours(need, arrival):
        running = [one for one in unit.closures if one.interval.covers(hour(number))]
        beds = {bed for one in running for bed in one.beds}
        if running and installed and len(beds) + sum(one.places for one in running) >= installed:
            return True
    return False


def in_conflict(need: Need, unit: Unit, arrival: int) -> bool:
    return any(
        any(one.interval.covers(hour(number)) for one in unit.conflicts)
        or any(free_at(one, hour(number)) < 0 for one in unit.classes)
        for number in stay_hours(need, arrival)
    )


def expected(need: Need, candidate: Candidate) -> dict[ExclusionReason, bool] | int:
    """By brute force: which reasons are true, or how many places there are if none is."""
    unit, km, minutes = candidate.seen.unit, candidate.distance_km, candidate.minutes
    suited = [one for one in unit.classes if suits(one.gender, need.gender)]
    fitting = [one for one in suited if need.required <= one.features | unit.features]
    tried = arrivals(need, candidate)
    years = None if need.age_months is None else need.age_months // 12
    most = 0
    for arrival in tried:
        if closed_whole(need, unit, arrival) or in_conflict(need, unit, arrival):
            continue
        most = max(
            most,
            min(sum(max(0, free_at(one, hour(number))) for one in fitting) for number in stay_hours(need, arrival)),
        )
    too_far = need.distance_km_max is not None and km is not None and km > need.distance_km_max
    if need.minutes_max is not None:
        too_far |= minutes > need.minutes_max if minutes is not None else km is not None and km > need.minutes_max
    true = {
        ExclusionReason.UNREACHABLE: candidate.seen.freshness is Freshness.UNREACHABLE,
        ExclusionReason.CLOSED_TO_TERRITORY: unit.policy.answering is Answering.CLOSED,
        ExclusionReason.CLOSED: all(closed_whole(need, unit, arrival) for arrival in tried),
        ExclusionReason.AGE: unit.ages is not None
        and years is not None
        and not (unit.ages.min_years <= years <= (200 if unit.ages.max_years is None else unit.ages.max_years)),
        ExclusionReason.TOO_FAR: too_far,
        ExclusionReason.GENDER: bool(unit.classes) and not suited,
        ExclusionReason.FEATURE: bool(suited) and not fitting,
        ExclusionReason.ADMISSION_HOURS: not any(admits(unit, number, candidate.time_zone) for number in window(need)),
        ExclusionReason.CONFLICT: all(in_conflict(need, unit, arrival) for arrival in tried),
        ExclusionReason.FULL: bool(fitting) and most < 1,
        ExclusionReason.NOT_REPORTED: not unit.classes,
    }
    if any(true.values()):
        return true
    return min(most, 1) if unit.shown is Shown.YES_OR_NO else most


@given(needs(), candidates())
def test_a_unit_is_judged_as_brute_force_judges_it(need: Need, candidate: Candidate) -> None:
    verdict, wanted = judge(need, candidate, NOW), expected(need, candidate)
    if isinstance(wanted, int):
        assert isinstance(verdict, Fit)
        assert verdict.places == wanted
        assert need.arrival_earliest <= verdict.arrival <= need.arrival_latest
        number = int((verdict.arrival - NOW) / timedelta(hours=1))
        assert admits(candidate.seen.unit, number, candidate.time_zone)
    else:
        first = next(reason for reason in ExclusionReason if wanted[reason])
        assert isinstance(verdict, Misfit)
        assert verdict.reason is first


@settings(max_examples=50)
@given(needs(), territories())
def test_each_unit_of_the_discipline_is_ranked_or_excluded_once_and_no_other(
    need: Need, territory: list[Candidate]
) -> None:
    found = search(need, URGENCY, territory, NOW)
    told = [one.candidate.seen.unit.name for one in found.ranked]
    told += [one.candidate.seen.unit.name for one in found.excluded]
    wanted = [
        one.seen.unit.name
        for one in territory
        if one.seen.unit.discipline is need.discipline and need.discipline is not Discipline.DAY_CARE
    ]
    assert sorted(told) == sorted(wanted)
    assert [one.rank for one in found.ranked] == list(range(1, len(found.ranked) + 1))
    assert sum(found.exclusion_counts.values()) == len(found.excluded)


@settings(max_examples=50)
@given(needs(), territories())
def test_the_reason_of_an_exclusion_is_false_of_every_ranked_unit(need: Need, territory: list[Candidate]) -> None:
    found = search(need, URGENCY, territory, NOW)
    for ranked in found.ranked:
        assert isinstance(expected(need, ranked.candidate), int)


@settings(max_examples=50)
@given(needs(), territories(), st.randoms(use_true_random=False))
def test_the_order_is_total_and_does_not_depend_on_how_units_come(
    need: Need, territory: list[Candidate], chance: random.Random
) -> None:
    mixed = list(territory)
    chance.shuffle(mixed)
    assert search(need, URGENCY, mixed, NOW) == search(need, URGENCY, territory, NOW)


@settings(max_examples=50)
@given(needs(), territories())
def test_sure_places_are_counted_from_sure_units_only_and_exactly(need: Need, territory: list[Candidate]) -> None:
    found = search(need, URGENCY, territory, NOW)
    fitting = {
        one.seen.unit.name: places
        for one in territory
        if one.seen.unit.discipline is need.discipline
        and need.discipline is not Discipline.DAY_CARE
        and isinstance(places := expected(need, one), int)
    }
    sure = {one.seen.unit.name for one in territory if one.seen.freshness.is_sure}
    assert found.sure_places == sum(places for name, places in fitting.items() if name in sure)
    assert found.stale_units == len(fitting.keys() - sure)
    assert found.ranked_count == len(fitting)


# --- a fact named in a reason decides --------------------------------------------------------------------------------


def _free_everywhere(unit: Unit, **changes: object) -> Unit:
    anywhere = PlaceClass(Gender.ANY, frozenset(Feature), (FreeStep(hour(-9), 1),))
    return replace(unit, classes=(anywhere,), **changes)


def mended(need: Need, one: Excluded) -> Candidate:
    """The candidate with the one fact changed that its exclusion names."""
    candidate, unit = one.candidate, one.candidate.seen.unit
    match one.reason:
        case ExclusionReason.UNREACHABLE:
            return replace(candidate, seen=Seen(unit, Freshness.FRESH))
        case ExclusionReason.CLOSED_TO_TERRITORY:
            unit = replace(unit, policy=replace(unit.policy, answering=Answering.PERSON))
        case ExclusionReason.CLOSED:
            unit = replace(unit, closures=())
        case ExclusionReason.AGE:
            unit = replace(unit, ages=None)
        case ExclusionReason.TOO_FAR:
            return replace(candidate, distance_km=0.0, minutes=0.0)
        case ExclusionReason.GENDER:
            unit = replace(unit, classes=tuple(replace(places, gender=need.gender) for places in unit.classes))
        case ExclusionReason.FEATURE:
            unit = replace(unit, features=unit.features | need.required)
        case ExclusionReason.ADMISSION_HOURS:
            unit = replace(unit, policy=replace(unit.policy, next_admission_time=None, admission_hours=None))
        case ExclusionReason.CONFLICT:
            unit = _free_everywhere(unit, conflicts=())
        case ExclusionReason.FULL | ExclusionReason.NOT_REPORTED:
            unit = _free_everywhere(unit, conflicts=(), closures=())
    return replace(candidate, seen=Seen(unit, candidate.seen.freshness))


@given(needs(), candidates())
def test_changing_the_fact_that_an_exclusion_names_changes_the_verdict(need: Need, candidate: Candidate) -> None:
    need = dataclass_replace(need, discipline=Discipline.SMR_GERIATRIC)
    unit = replace(candidate.seen.unit, discipline=Discipline.SMR_GERIATRIC)
    found = search(need, URGENCY, [replace(candidate, seen=replace(candidate.seen, unit=unit))], NOW)
    for one in found.excluded:
        verdict = judge(need, mended(need, one), NOW)
        assert isinstance(verdict, Fit) or list(EXCLUSIONS).index(verdict.reason) > list(EXCLUSIONS).index(one.reason)


def worsened(need: Need, one: Candidate, other: Candidate, criterion: Criterion) -> Candidate:
    """The candidate with the deciding fact made as bad as, or worse than, the other's."""
    unit = one.seen.unit
    match criterion:
        case Criterion.SURE:
            return replace(one, seen=Seen(unit, Freshness.STALE))
        case Criterion.ANSWER:
            later = replace(unit.policy, answering=Answering.PERSON, next_answer_time=hour(24 * 365))
            return replace(one, seen=Seen(replace(unit, policy=later), one.seen.freshness))
        case Criterion.UNMET_WISHES:
            bare = tuple(replace(places, features=places.features - need.wished) for places in unit.classes)
            return replace(
                one, seen=Seen(replace(unit, classes=bare, features=unit.features - need.wished), one.seen.freshness)
            )
        case Criterion.DISTANCE:
            return replace(one, distance_km=None, minutes=None)
        case Criterion.FAIRNESS:
            return replace(one, requests_day=other.requests_day + 1)
        case Criterion.NAME:
            return replace(one, seen=Seen(replace(unit, name=other.seen.unit.name + "Z"), one.seen.freshness))


@settings(max_examples=50)
@given(needs(), territories())
def test_changing_a_fact_that_a_rank_names_changes_the_rank(need: Need, territory: list[Candidate]) -> None:
    need = dataclass_replace(need, distance_km_max=None, minutes_max=None)
    found = search(need, URGENCY, territory, NOW)
    for ranked, following in zip(found.ranked, found.ranked[1:], strict=False):
        assert [reason.criterion for reason in ranked.reasons] == list(Criterion)[: len(ranked.reasons)]
        for reason in ranked.reasons:  # the last decides; the others are ties, which a worse fact would end too
            worse = worsened(need, ranked.candidate, following.candidate, reason.criterion)
            again = search(need, URGENCY, [worse, following.candidate], NOW)
            (mine,) = (one for one in again.ranked if one.candidate == worse)
            if reason is ranked.reasons[-1]:
                assert mine.rank == 2 or mine.reasons != ranked.reasons
            elif reason not in mine.reasons:
                assert mine.rank == 2


def test_stale_units_come_after_sure_ones_even_when_nearer() -> None:
    near = free_unit("establishments/540000023/units/NEAR", Freshness.STALE, minutes=1)
    far = free_unit("establishments/540000049/units/FAR", Freshness.AGEING, minutes=50)
    found = search(any_need(), URGENCY, [near, far], NOW)
    assert [one.candidate.seen.unit.name[-3:] for one in found.ranked] == ["FAR", "EAR"]
    assert (found.sure_places, found.stale_units) == (1, 1)


def test_a_unit_that_admits_on_weekdays_is_not_found_for_a_saturday_nor_on_a_public_holiday() -> None:
    """NOW is Monday 23 November 2026, 9 h in Paris; the hours are known for the whole window, not the next one only."""
    christmas = frozenset({date(2026, 12, 25)})
    weekdays = AdmissionHours(tuple(WeekHours(day, 9 * 60, 17 * 60) for day in range(1, 6)), christmas)
    unit = free_unit("establishments/540000023/units/A", policy=Policy(admission_hours=weekdays))

    def on(day: date, until: date) -> Found:
        earliest, latest = (datetime.combine(one, time(hour), UTC) for one, hour in ((day, 8), (until, 18)))
        return search(any_need(arrival_earliest=earliest, arrival_latest=latest), URGENCY, [unit], NOW)

    assert on(date(2026, 11, 28), date(2026, 11, 29)).excluded[0].metadata == {
        "next_admission_time": "2026-11-30T08:00:00+00:00"
    }
    assert on(date(2026, 12, 25), date(2026, 12, 27)).excluded[0].reason is ExclusionReason.ADMISSION_HOURS
    assert on(date(2026, 11, 28), date(2026, 12, 1)).ranked[0].arrival == datetime(2026, 11, 30, 8, tzinfo=UTC)
    assert on(date(2026, 12, 24), date(2026, 12, 24)).ranked[0].arrival == datetime(2026, 12, 24, 8, tzinfo=UTC)
    elsewhere = replace(unit, time_zone="America/Martinique")  # where 9 h is 13 h in London
    need = any_need(arrival_earliest=hour(24), arrival_latest=hour(34))
    assert search(need, URGENCY, [elsewhere], NOW).ranked[0].arrival == datetime(2026, 11, 24, 13, tzinfo=UTC)


@pytest.mark.parametrize("urgency", Urgency)
def test_a_unit_that_answers_in_time_for_the_urgency_comes_before_a_nearer_one_that_does_not(urgency: Urgency) -> None:
    due = NOW + ANSWER_BY[urgency]

    def unit(code: str, minutes: int, answering: Answering, there: datetime | None) -> Candidate:
        policy = Policy(answering, (Mode.HOLD, Mode.ASK), next_answer_time=there)
        return free_unit(f"establishments/540000023/units/{code}", minutes=minutes, policy=policy)

    late = unit("LATE", 1, Answering.PERSON, due + timedelta(minutes=1))
    found = search(
        any_need(),
        urgency,
        [late, unit("ALONE", 40, Answering.AUTOMATIC, late.seen.unit.policy.next_answer_time),
         unit("THERE", 20, Answering.PERSON, due), unit("ALWAYS", 30, Answering.PERSON, None)],
        NOW,
    )  # fmt: skip
    assert [one.candidate.seen.unit.name.rpartition("/")[2] for one in found.ranked] == [
        "THERE", "ALWAYS", "ALONE", "LATE",
    ]  # fmt: skip
    assert found.ranked[2].reasons[-1] == RankReason(Criterion.ANSWER, "yes")
    assert found.ranked[3].reasons[-1] == RankReason(Criterion.ANSWER, (due + timedelta(minutes=1)).isoformat())


# --- looser needs ----------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(needs(), territories())
def test_each_relaxation_finds_what_its_need_finds(need: Need, territory: list[Candidate]) -> None:
    found = search(need, URGENCY, territory, NOW)
    assert not found.relaxations or found.sure_places < FEW_PLACES
    for loose in found.relaxations:
        assert loose.sure_places == search(loose.need, URGENCY, territory, NOW).sure_places > 0
        assert loose.need != need


def free_unit(
    name: str, freshness: Freshness = Freshness.FRESH, *, minutes: float = 10, **changes: object
) -> Candidate:
    """A unit with one place free from now on."""
    unit = Unit(name=name, display_name="U", discipline=Discipline.SMR_GERIATRIC, counting=Counting.PLACES, as_of=NOW)
    return Candidate(seen=Seen(_free_everywhere(unit, **changes), freshness), minutes=minutes, distance_km=minutes)


def test_the_four_ways_to_loosen_a_need() -> None:
    later = PlaceClass(Gender.ANY, frozenset(), (FreeStep(hour(0), 0), FreeStep(hour(50), 1)))
    territory = [
        free_unit("establishments/540000023/units/LATER"),
        free_unit("establishments/540000023/units/FAR", minutes=70),
        free_unit("establishments/540000023/units/POLY", discipline=Discipline.SMR_POLYVALENT),
        free_unit("establishments/540000023/units/BARE"),
    ]
    late, bare = territory[0], territory[3]
    territory[0] = replace(
        late, seen=Seen(replace(late.seen.unit, classes=(later,), features=frozenset(Feature)), Freshness.FRESH)
    )
    simple = PlaceClass(Gender.ANY, frozenset(), (FreeStep(hour(0), 1),))
    territory[3] = replace(bare, seen=Seen(replace(bare.seen.unit, classes=(simple,)), Freshness.FRESH))
    found = search(any_need(minutes_max=60.0, required=frozenset({Feature.OXYGEN})), URGENCY, territory, NOW)
    assert found.sure_places == 0
    assert {(one.kind, one.sure_places) for one in found.relaxations} == {
        (RelaxationKind.ARRIVAL_PLUS_1_DAY, 1),
        (RelaxationKind.DISTANCE_PLUS_HALF, 1),
        (RelaxationKind.WITHOUT_FEATURE, 1),
        (RelaxationKind.SMR_POLYVALENT, 1),
    }


# --- arrival, limits, distance, speed --------------------------------------------------------------------------------


def test_a_bed_announced_free_within_the_window_is_found_and_said() -> None:
    one = free_unit("establishments/540000023/units/A")
    leaves = PlaceClass(Gender.ANY, frozenset(), (FreeStep(hour(0), 0), FreeStep(hour(30), 1)))
    one = replace(one, seen=Seen(replace(one.seen.unit, classes=(leaves,)), Freshness.FRESH))
    (ranked,) = search(any_need(), URGENCY, [one], NOW).ranked
    assert (ranked.arrival, ranked.places, ranked.on_announced_departure) == (hour(30), 1, True)


@settings(max_examples=10)
@given(conflicts, closures)
def test_an_arrival_waits_for_the_end_of_what_blocks_the_unit(conflict: Conflict, closure: Closure) -> None:
    """Whatever the steps say: no grant in an open conflict, nor while all that is installed is closed."""
    blocked = Interval(hour(20), hour(28))
    ways: tuple[dict[str, Any], ...] = (
        {"conflicts": (replace(conflict, interval=blocked),)},
        {
            "closures": (replace(closure, interval=blocked, beds=(), places=4),),
            "declared": (Declared(Status.INSTALLED, (Horizon.NOW,)),),
            "counts": (Count(Status.INSTALLED, Horizon.NOW, Gender.ANY, 4),),
        },
    )
    for changes in ways:
        need = any_need(stay_max=timedelta(hours=9))
        (ranked,) = search(need, URGENCY, [free_unit("establishments/540000023/units/A", **changes)], NOW).ranked
        assert ranked.arrival == hour(28)
        within = dataclass_replace(need, arrival_latest=hour(27))
        (excluded,) = search(within, URGENCY, [free_unit("establishments/540000023/units/A", **changes)], NOW).excluded
        assert excluded.reason is (ExclusionReason.CLOSED if "closures" in changes else ExclusionReason.CONFLICT)


def test_at_most_two_hundred_are_told_and_all_are_counted() -> None:
    territory = [free_unit(f"establishments/540000023/units/U{number:03d}") for number in range(300)]
    found = search(any_need(), URGENCY, territory, NOW, limit=1000)
    assert (len(found.ranked), found.ranked_count, found.sure_places) == (LIMIT_MAX, 300, 300)
    assert len(search(any_need(), URGENCY, territory, NOW).ranked) == 50


def test_the_distance_between_nancy_and_metz() -> None:
    assert abs(distance_km(48.6921, 6.1844, 49.1193, 6.1757) - 47.5) < 0.1


def test_a_bed_that_changes_class_is_free_throughout_for_whom_both_suit() -> None:
    """Beside a woman who leaves at noon a bed is a woman's, then anybody's: no class has it throughout, it is free."""
    classes = (
        PlaceClass(Gender.FEMALE, frozenset(), (FreeStep(hour(0), 1), FreeStep(hour(36), 0))),
        PlaceClass(Gender.ANY, frozenset(), (FreeStep(hour(0), 0), FreeStep(hour(36), 1))),
    )
    one = free_unit("establishments/540000023/units/U1")
    one = replace(one, seen=Seen(replace(one.seen.unit, classes=classes), Freshness.FRESH))
    assert isinstance(judge(any_need(), one, NOW), Fit)
    man = judge(any_need(gender=Gender.MALE, arrival_latest=hour(30)), one, NOW)
    assert isinstance(man, Misfit)
    assert man.reason is ExclusionReason.FULL
