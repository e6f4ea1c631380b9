"""What a unit publishes: the ROR's meaning, grants that come true, steps that a count by hand finds again."""

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aval.kernel.hours import WeekHours
from aval.kernel.lifecycle import ReservationState
from aval.kernel.need import Feature, Mode
from aval.kernel.statuses import (
    Answering,
    ClosureKind,
    ClosureReason,
    Counting,
    Gender,
    Horizon,
    RoomRule,
    Status,
    SupplementaryKind,
)
from aval.node import commands as c
from aval.node import model as m
from aval.node.availability import STEPS_MAX, PlaceClass, UnitFigures, figures
from aval.node.ledger import Ledger
from tests.node.core import oracle
from tests.node.core.house import AUTOMATIC, BEDS, DAY, HOUR, PLACES, House, house
from tests.node.core.test_invariants import STEPS, Day

FAR = datetime.max.replace(tzinfo=UTC)


def count(shown: UnitFigures, status: Status, horizon: Horizon = Horizon.NOW) -> int:
    """A figure over all genders; absent is zero."""
    return sum(one.count for one in shown.counts if one.status is status and one.horizon is horizon)


def grantable(shown: UnitFigures, horizon: Horizon, gender: Gender) -> int:
    """A grantable figure; absent is zero."""
    return sum(one.count for one in shown.grantable if one.horizon is horizon and one.gender is gender)


def at(steps: tuple[tuple[datetime, int], ...], instant: datetime) -> int:
    """A published step function at an instant."""
    return [free for time, free in steps if time <= instant][-1]


def some_day(seed: int) -> House:
    """A house in the state that a random day left it in, with a policy that lets staff try what they like."""
    day = Day(seed)
    for _ in range(STEPS):
        day.step()
    for unit in (BEDS, PLACES):
        known = day.house.ledger.unit(unit)
        assert known is not None
        policy = replace(known.policy, answering=Answering.PERSON, grant_waiting_list=False)
        day.house.say(c.SetUnitPolicy, unit=unit, policy=policy)
    return day.house


SEEDS = st.integers(min_value=0, max_value=2**32)


@settings(max_examples=25)
@given(SEEDS, st.sampled_from([BEDS, PLACES]), st.sampled_from(list(Horizon)))
def test_grantable_is_what_is_then_granted(seed: int, unit: str, horizon: Horizon) -> None:
    """So many open-ended arrivals of that gender are accepted one after the other, and not one more."""
    found = some_day(seed)
    shown = found.figures(unit)
    for gender in (Gender.FEMALE, Gender.MALE, Gender.ANY):
        trial = House()
        trial.ledger, trial.now, trial.ids = Ledger(found.ledger.facts, 7), found.now, found.ids
        arrival, granted = found.now + horizon.delay, 0
        while True:
            name = f"trial-{gender.value}-{granted}"
            need = {"arrival_earliest": arrival, "arrival_latest": arrival + HOUR}
            trial.create(name, unit, mode=Mode.ASK, gender=gender, **need)
            if trial.say(c.AcceptReservation, reservation=name, arrival=arrival).refusal is not None:
                break
            granted += 1
        assert granted == grantable(shown, horizon, gender)


class Inside(NamedTuple):
    """Somebody, or a claim, and where: what a count by hand walks through."""

    what: str
    bed: str | None
    place: Gender | None
    start: datetime
    end: datetime


def everybody(ledger: Ledger, unit: m.Unit, now: datetime) -> list[Inside]:
    """Patients, expected ones and claims of a unit, each with its time there, turnover included."""
    pause = timedelta(minutes=unit.policy.turnover_minutes)
    book = ledger.book(unit.id)
    found: list[Inside] = []
    for stay in book.stays.values():
        span = oracle.stay_span(stay, unit, now)
        if span is None:
            continue
        start, end = span
        if end != FAR and stay.departure is not None and not unit.policy.promise_on_announced:
            end = FAR if stay.stay_end is None else max(stay.departure, stay.stay_end)
        end = FAR if end == FAR or end <= start else end + pause
        bed = None if stay.on_leave and not stay.keep_bed else stay.bed
        found.append(Inside("stay", bed, stay.place, start, end))
    for expected in book.expected.values():
        start, end = oracle.expected_span(expected)
        end = FAR if end == FAR else end + pause
        found.append(Inside("expected", expected.bed, expected.place, start, end))
    covered = {doubt.presumed for doubt in book.doubts.values()}
    for key, reservation in book.claims.items():
        claim = reservation.claim
        if claim is not None and key not in covered:
            end = FAR if claim.end is None else claim.end + pause
            found.append(Inside("claim", claim.bed, claim.place, claim.start, end))
    return found


def ready_at(since: datetime, pause: timedelta, now: datetime) -> datetime:
    """When a bed that waits for cleaning may be promised: after the turnover; once that is past, a day later, and so
    on.
    """
    if now < since + pause:
        return since + pause
    days = 1
    while since + days * DAY <= now:
        days += 1
    return since + days * DAY


def brute_force(ledger: Ledger, unit: m.Unit, now: datetime, instant: datetime) -> int:
    """Free places of a unit at an instant, counted by hand: open, less taken, less those whose place nobody knows."""
    book = ledger.book(unit.id)
    inside = [one for one in everybody(ledger, unit, now) if one.start <= instant < one.end]
    shut = [
        closure
        for closure in book.closures.values()
        if oracle.closure_span(closure, now)[0] <= instant < oracle.closure_span(closure, now)[1]
    ]
    correction = book.correction
    corrected = max(0, correction.taken) if correction and correction.made <= instant < correction.until else 0
    if unit.counting is Counting.PLACES:
        free = 0
        for places in book.places.values():
            here = [one.what for one in inside if one.place is places.gender]
            closed = sum(n for closure in shut for gender, n in closure.places if gender is places.gender)
            free += places.open - max(0, here.count("stay") + places.unnamed) - closed
            free -= here.count("expected") + here.count("claim")
        return free - sum(one.place is None or one.place.value not in book.places for one in inside) - corrected
    there = {
        bed.id: bed
        for bed in book.beds.values()
        if bed.supplementary in (None, SupplementaryKind.MOBILISED) and not bed.leaving
    }
    taken = {one.bed for one in inside} | {bed for closure in shut for bed in closure.beds}
    pause = timedelta(minutes=unit.policy.turnover_minutes)
    taken |= {b.id for b in there.values() if b.to_clean_since and instant < ready_at(b.to_clean_since, pause, now)}
    nowhere = sum(one.bed is None or one.bed not in book.beds for one in inside)
    for bed in there:
        nowhere += max(0, sum(one.bed == bed and one.what != "claim" for one in inside) - 1)
    return len(set(there) - taken) - nowhere - corrected


@settings(max_examples=40)
@given(SEEDS, st.sampled_from([BEDS, PLACES]))
def test_published_steps_are_what_a_count_by_hand_finds(seed: int, unit_id: str) -> None:
    """At each instant of the next 60 days the classes add up to the free places (none below zero unless in
    conflict).
    """
    found = some_day(seed)
    unit = found.ledger.unit(unit_id)
    assert unit is not None
    shown = found.figures(unit_id)
    instants = {found.now} | {time for kind in shown.classes for time, _ in kind.steps}
    instants |= {found.now + timedelta(hours=hours) for hours in range(0, 24 * 59, 7)}
    for instant in sorted(time for time in instants if time < found.now + 60 * DAY):
        free = brute_force(found.ledger, unit, found.now, instant)
        told = sum(at(kind.steps, instant) for kind in shown.classes)
        if shown.conflicts:
            assert told <= free, instant
        elif unit_id == BEDS:
            # Two genders in a room that allows one: a free bed there suits nobody, and is in no class.
            assert told <= max(0, free), instant
            alone = not any(room.rule is RoomRule.ONE_GENDER for room in found.book(unit_id).rooms.values())
            assert told == max(0, free) or not alone, instant
        else:
            assert told >= max(0, free), instant


@settings(max_examples=25)
@given(SEEDS, st.sampled_from([BEDS, PLACES]))
def test_what_is_grantable_never_exceeds_the_steps(seed: int, unit_id: str) -> None:
    """The published function, read over an open-ended stay, is an upper bound of `grantable` (CONTRACT 6).

    Over all classes: a patient whose bed nobody knows is taken from the plainest, which may be the wrong one.
    """
    found = some_day(seed)
    shown = found.figures(unit_id)
    for horizon in Horizon:
        arrival = found.now + horizon.delay
        times = [arrival, *(time for kind in shown.classes for time, _ in kind.steps if time > arrival)]
        least = min(sum(at(kind.steps, time) for kind in shown.classes) for time in times)
        for gender in (Gender.FEMALE, Gender.MALE):
            assert grantable(shown, horizon, gender) <= max(0, least)


@settings(max_examples=25)
@given(SEEDS, st.sampled_from([BEDS, PLACES]), st.lists(st.floats(min_value=0, max_value=0.999), max_size=5))
def test_figures_change_at_next_change_and_not_before(seed: int, unit_id: str, parts: list[float]) -> None:
    """Until `next_change` the same figures hold, as long as no fact's own timer rings."""
    found = some_day(seed)
    shown = found.figures(unit_id)
    timers = [time for time in (shown.next_change, found.ledger.next_timer()) if time is not None]
    until = min([*timers, found.now + 30 * DAY])
    for part in parts:
        instant = found.now + (until - found.now) * part
        assert figures(found.ledger, unit_id, instant).same_as(shown)


def test_an_empty_house() -> None:
    """All beds installed and available, at every horizon, for everybody that they suit."""
    shown = house().figures()
    assert count(shown, Status.INSTALLED) == 5
    assert count(shown, Status.SUPPLEMENTARY) == 1
    for horizon in Horizon:
        assert count(shown, Status.AVAILABLE, horizon) == 5
        assert grantable(shown, horizon, Gender.FEMALE) == 5
        assert grantable(shown, horizon, Gender.MALE) == 4
    assert count(shown, Status.OCCUPIED) == count(shown, Status.RESERVED) == count(shown, Status.CLOSED) == 0


def test_reserved_is_confirmed_and_expected_within_24_hours() -> None:
    """A hold takes a bed out of available and is not called reserved; confirmed, it is, from 24 h before."""
    made = house(m.Policy(answering=Answering.AUTOMATIC, ttl=10 * DAY))
    made.create("r", arrival_earliest=made.now + 30 * HOUR)
    shown = made.figures()
    assert count(shown, Status.AVAILABLE) == 5
    assert count(shown, Status.AVAILABLE, Horizon.ONE_DAY) == 4
    assert count(shown, Status.RESERVED, Horizon.ONE_DAY) == 0
    offer = made.reservation("r").offer
    assert offer is not None
    made.say(c.ConfirmReservation, reservation="r", offer_tag=offer.tag)
    shown = made.figures()
    assert count(shown, Status.RESERVED) == 0
    assert count(shown, Status.RESERVED, Horizon.ONE_DAY) == 1
    assert shown.next_change == made.now + 5 * HOUR  # seen from an hour before, in 5 h the arrival is 24 h away
    made.later(6 * HOUR)
    shown = made.figures()
    assert count(shown, Status.AVAILABLE) == 4
    assert count(shown, Status.RESERVED) == 1
    assert grantable(shown, Horizon.NOW, Gender.MALE) <= 4


def test_absent_is_not_zero() -> None:
    """A unit publishes what it declares, and nothing else."""
    made = house()
    unit = made.ledger.unit(PLACES)
    assert unit is not None
    declared = ((Status.AVAILABLE, (Horizon.NOW,)), (Status.OCCUPIED, (Horizon.NOW,)))
    places = (c.DeclaredPlaces(Gender.ANY, 3, 1, 4),)
    made.say(c.DeclareUnit, unit=replace(unit, declared=declared), places=places)
    shown = made.figures(PLACES)
    assert {(one.status, one.horizon) for one in shown.counts} == {
        (Status.AVAILABLE, Horizon.NOW),
        (Status.OCCUPIED, Horizon.NOW),
    }


def test_closed_counts_what_is_not_staffed() -> None:
    """Installed and not open is closed; a closure closes more, the indifferent places first."""
    made = house()
    unit = made.ledger.unit(PLACES)
    assert unit is not None
    made.say(c.DeclareUnit, unit=unit, places=(c.DeclaredPlaces(Gender.ANY, 3, 1, 4),))
    assert count(made.figures(PLACES), Status.CLOSED) == 1
    closed = m.BedClosed(PLACES, made.now, made.now + DAY, ClosureKind.REOPENABLE, ClosureReason.STAFF, places=2)
    made.move(closed, source="hand")
    shown = made.figures(PLACES)
    assert count(shown, Status.CLOSED) == 3
    assert count(shown, Status.AVAILABLE) == 0
    assert count(shown, Status.AVAILABLE, Horizon.TWO_DAYS) == 2


def test_a_room_of_one_gender_changes_class_with_who_is_in_it() -> None:
    """The free bed beside a woman is a woman's until she leaves."""
    made = house(m.Policy(answering=Answering.AUTOMATIC, turnover_minutes=0))
    made.move(m.Admission(BEDS, "b2", Gender.FEMALE, departure=made.now + 2 * DAY), "s1")
    shown = made.figures()
    classes = {(kind.gender, kind.features): kind for kind in shown.classes}
    women = classes[Gender.FEMALE, ()]
    assert at(women.steps, made.now) == 2  # b3 beside her, b5 by its own rule
    assert at(women.steps, made.now + 3 * DAY) == 1
    assert at(classes[Gender.ANY, ()].steps, made.now + 3 * DAY) == 3
    single = tuple(sorted((Feature.SINGLE_ROOM, Feature.OXYGEN)))
    assert at(classes[Gender.ANY, single].steps, made.now) == 1


def test_a_bed_that_changes_class_is_free_throughout_for_whom_both_suit() -> None:
    """Beside a woman who leaves in two days a bed is a woman's, then anybody's: for a woman it is free all along.

    No class has it throughout; the sum of those that suit her has, and the node grants it.
    """
    made = house(m.Policy(answering=Answering.AUTOMATIC, turnover_minutes=0))
    for bed in ("b1", "b4", "b5"):
        made.move(m.Admission(BEDS, bed, Gender.FEMALE), f"in-{bed}")
    made.move(m.Admission(BEDS, "b2", Gender.FEMALE, departure=made.now + 2 * DAY), "s1")
    shown = made.figures()
    suiting = [kind for kind in shown.classes if kind.gender in (Gender.FEMALE, Gender.ANY)]
    times = [made.now, *(time for kind in suiting for time, _ in kind.steps if time > made.now)]
    assert all(min(at(kind.steps, time) for time in times) == 0 for kind in suiting)
    assert min(sum(at(kind.steps, time) for kind in suiting) for time in times) == 1
    assert grantable(shown, Horizon.NOW, Gender.FEMALE) == 1
    assert grantable(shown, Horizon.NOW, Gender.MALE) == 0
    made.create("r1", arrival_earliest=made.now, gender=Gender.FEMALE)
    assert made.bed_of("r1") == "b3"


@settings(max_examples=25)
@given(SEEDS)
@example(215)  # the closure of a bed that the unit had no more took the place of another
def test_the_classes_that_suit_a_patient_bound_what_is_granted(seed: int) -> None:
    """Read so, for each gender, where every patient's bed is known and nobody's is another's too.

    Else the plainest class is told lower than it may be: which bed a patient in no known one takes, nobody can say.
    """
    found = some_day(seed)
    shown = found.figures(BEDS)
    stays = found.book(BEDS).stays.values()
    known = all(stay.takes_bed and stay.bed in found.book(BEDS).beds for stay in stays)
    book = found.book(BEDS)
    if not known or book.expected or book.conflicts or book.correction is not None:
        return
    for horizon in Horizon:
        arrival = found.now + horizon.delay
        for gender in (Gender.FEMALE, Gender.MALE):
            suiting = [kind for kind in shown.classes if kind.gender in (gender, Gender.ANY)]
            times = [arrival, *(time for kind in suiting for time, _ in kind.steps if time > arrival)]
            least = min(sum(at(kind.steps, time) for kind in suiting) for time in times)
            assert grantable(shown, horizon, gender) <= max(0, least)


def test_steps_are_bounded_and_never_promise_more() -> None:
    """With more changes than steps, what is cut off is told by its least value."""
    made = house(m.Policy(answering=Answering.PERSON, turnover_minutes=0))
    for index in range(80):
        start = made.now + (index + 1) * 12 * HOUR
        arrival = m.ArrivalExpected(BEDS, start, "b1", Gender.FEMALE, start + 6 * HOUR)
        made.move(arrival, f"s{index}")
    shown = made.figures()
    for kind in shown.classes:
        assert len(kind.steps) <= STEPS_MAX
    single = next(kind for kind in shown.classes if Feature.OXYGEN in kind.features)
    assert single.steps[-1][1] == 0
    assert isinstance(single, PlaceClass)


def test_policy_in_short_form() -> None:
    """Nobody's limits by number; a permanent place never shows as automatic; the next hours are instants that stand
    still.
    """
    made = house(replace(AUTOMATIC, answering=Answering.PERSON, answer_hours=(WeekHours(1, 9 * 60, 17 * 60),)))
    summary = made.figures().policy
    assert summary.answering is Answering.PERSON
    assert summary.modes == (Mode.ASK,)
    assert summary.next_answer == made.now  # Monday 9 h: just open
    assert made.figures().next_change == made.now + 8 * HOUR
    made.now += 9 * HOUR
    assert made.figures().policy.next_answer == made.now - 9 * HOUR + 7 * DAY


def test_admission_hours_are_published_with_the_closed_days_of_three_months() -> None:
    """As the house says them; a revision is due when the month turns in its time zone, and brings the next month's."""
    hours = (WeekHours(1, 9 * 60, 17 * 60), WeekHours(5, 9 * 60, 12 * 60))
    own = frozenset({"2027-01-15", "2027-02-02", "2026-10-01"})
    made = house(replace(AUTOMATIC, admission_hours=hours, closed_on_public_holidays=True, closed_days=own))
    shown = made.figures().policy
    assert shown.admission_hours == hours
    assert [day.isoformat() for day in shown.closed_days] == [
        "2026-11-01", "2026-11-11", "2026-12-25", "2027-01-01", "2027-01-15",
    ]  # fmt: skip
    turn = datetime(2026, 11, 30, 23, tzinfo=UTC)  # midnight in Paris
    while (due := made.figures().next_change) is not None and due < turn:
        made.now = due
        assert made.figures().policy.closed_days == shown.closed_days
    assert due == turn
    made.now = turn
    assert [day.isoformat() for day in made.figures().policy.closed_days][-1] == "2027-02-02"
    assert date(2026, 11, 11) not in made.figures().policy.closed_days
    assert house(AUTOMATIC).figures().policy.closed_days == ()


@pytest.mark.parametrize("state", [ReservationState.ASKED, ReservationState.HELD])
def test_an_unknown_unit_has_no_figures(state: ReservationState) -> None:
    """It is the caller's mistake: figures are asked of units that are there."""
    assert state.is_live
    with pytest.raises(KeyError):
        house().figures("nowhere")
