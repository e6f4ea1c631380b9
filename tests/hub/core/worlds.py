"""Made-up territories for the tests of picture and matching: small, in whole hours, so that brute force can check."""

from __future__ import annotations

from dataclasses import replace as dataclass_replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from aval.hub.matching import Candidate
from aval.hub.model import (
    AdmissionHours,
    AgeRange,
    Closure,
    Conflict,
    Count,
    Cursor,
    Declared,
    Description,
    Disagreement,
    FreeStep,
    Grantable,
    Mandate,
    PlaceClass,
    Policy,
    SnapshotPart,
    Source,
    Unit,
    VisibilityRule,
)
from aval.hub.picture import Picture, Seen, Viewpoint, apply, shown
from aval.kernel.disciplines import Discipline
from aval.kernel.hours import WeekHours
from aval.kernel.need import Feature, Interval, Mode, Need
from aval.kernel.statuses import (
    Answering,
    Audience,
    ClosureKind,
    ClosureReason,
    ConflictCause,
    Counting,
    Freshness,
    Gender,
    Horizon,
    Shown,
    SourceKind,
    Status,
)

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
HORIZON_HOURS = 60
"""Beyond it nothing changes in these worlds."""

FEATURES = (Feature.OXYGEN, Feature.SINGLE_ROOM, Feature.DIALYSIS)
HOUSES = ("540000023", "540000049", "540000056")
MANDATE = Mandate("spiffe://t/hub/operator/a", "a", "A", "cell", HOUSES[0], NOW)

feature_sets = st.frozensets(st.sampled_from(FEATURES))
DISCIPLINES = (Discipline.SMR_GERIATRIC, Discipline.SMR_POLYVALENT, Discipline.DAY_CARE)


def hour(number: int) -> datetime:
    """So many hours after NOW."""
    return NOW + timedelta(hours=number)


hours = st.integers(-2, HORIZON_HOURS).map(hour)


@st.composite
def steps(draw: st.DrawFn) -> tuple[FreeStep, ...]:
    """A step function in order of time."""
    times = draw(st.lists(st.integers(0, HORIZON_HOURS - 1), max_size=4, unique=True))
    return tuple(FreeStep(hour(time), draw(st.sampled_from((1, 0, 1, 2, 3, 1, 2, -1)))) for time in sorted(times))


place_classes = st.builds(
    PlaceClass, gender=st.sampled_from((Gender.ANY, *Gender, Gender.ANY)), features=feature_sets, steps=steps()
)


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    """A closed interval of whole hours."""
    start = draw(st.integers(-2, HORIZON_HOURS - 2))
    return Interval(hour(start), hour(draw(st.integers(start + 1, HORIZON_HOURS - 1))))


closures = st.builds(
    Closure,
    id=st.sampled_from("abc"),
    interval=intervals(),
    kind=st.just(ClosureKind.REOPENABLE),
    beds=st.lists(st.sampled_from(("b1", "b2")), max_size=2, unique=True).map(tuple),
    places=st.integers(0, 2),
    reason=st.sampled_from(ClosureReason),
    by=st.just(MANDATE),
)
conflicts = st.builds(
    Conflict,
    name=st.just("conflicts/x"),
    reservation=st.just("reservations/x"),
    cause=st.sampled_from(ConflictCause),
    interval=intervals(),
    create_time=st.just(NOW),
)
counts = st.builds(
    Count,
    status=st.sampled_from(Status),
    horizon=st.just(Horizon.NOW),
    gender=st.sampled_from((Gender.FEMALE, Gender.MALE, Gender.ANY)),
    count=st.integers(0, 3),
)
admission_hours = st.builds(
    AdmissionHours,
    hours=st.lists(
        st.builds(
            lambda day, start, length: WeekHours(day, start * 60, min(start + length, 24) * 60),
            st.integers(1, 7), st.integers(0, 23), st.integers(1, 24),
        ),
        max_size=4,
    ).map(tuple),
    closed_days=st.frozensets(st.integers(0, 3).map(lambda days: (NOW + timedelta(days=days)).date()), max_size=2),
)  # fmt: skip
policies = st.builds(
    Policy,
    answering=st.sampled_from((Answering.AUTOMATIC, *[Answering.PERSON] * 4, Answering.CLOSED)),
    modes=st.sampled_from(((), (Mode.ASK,), (Mode.HOLD, Mode.ASK))),
    next_answer_time=st.none() | hours,
    next_admission_time=st.none() | hours,
    admission_hours=st.none() | admission_hours,
)


def source(age_minutes: int | None, *, by: str = "") -> Source:
    """An information system that was alive so long ago."""
    age = None if age_minutes is None else timedelta(minutes=age_minutes)
    return Source("his", SourceKind.ADMINISTRATIVE, timedelta(minutes=15), timedelta(minutes=60), age, by=by)


@st.composite
def units(draw: st.DrawFn, *, name: str = "") -> Unit:
    """Any unit."""
    code, house = draw(st.sampled_from("ABCDEF")), draw(st.sampled_from(HOUSES))
    return Unit(
        name=name or f"establishments/{house}/units/{code}",
        display_name="Unit",
        discipline=draw(st.sampled_from((*DISCIPLINES[:1] * 4, *DISCIPLINES))),
        counting=draw(st.sampled_from(Counting)),
        as_of=NOW,
        declared=tuple(Declared(status, (Horizon.NOW,)) for status in draw(st.frozensets(st.sampled_from(Status)))),
        counts=tuple(draw(st.lists(counts, max_size=4))),
        grantable=(Grantable(Horizon.NOW, Gender.ANY, draw(st.integers(0, 2))),),
        classes=tuple(draw(st.lists(place_classes, min_size=draw(st.sampled_from((1, 0, 1, 1))), max_size=3))),
        closures=tuple(draw(st.lists(closures, max_size=2))),
        conflicts=tuple(draw(st.lists(conflicts, max_size=1))) if draw(st.integers(0, 3)) == 3 else (),
        disagreements=tuple(
            draw(st.lists(st.builds(Disagreement, st.just("x"), st.integers(0, 9), st.just(1)), max_size=1))
        ),
        policy=draw(policies),
        sources=(source(draw(st.sampled_from((None, 1, 20, 70))), by=draw(st.sampled_from(("", "someone")))),),
        visibility=draw(st.none() | st.builds(VisibilityRule, *[st.sampled_from(Shown)] * 3)),
        ages=draw(st.none() | st.builds(AgeRange, st.integers(0, 70), st.none() | st.integers(60, 90))),
        features=draw(st.frozensets(st.sampled_from(FEATURES), max_size=1)),
    )


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    """A unit as someone sees it: its own house, or another that is told all, or yes or no."""
    unit = draw(units())
    audience = draw(st.none() | st.sampled_from(Audience))
    if audience is not None:
        unit = shown(replace(unit, visibility=None), Viewpoint(audience)) or unit
    return Candidate(
        seen=Seen(unit, draw(st.sampled_from((Freshness.FRESH, *Freshness, Freshness.FRESH, Freshness.STALE))), None),
        distance_km=draw(st.none() | st.integers(0, 60).map(float)),
        minutes=draw(st.none() | st.integers(0, 60).map(float)),
        requests_day=draw(st.integers(0, 2)),
    )


def territories(size_max: int = 4) -> st.SearchStrategy[list[Candidate]]:
    """Candidates with names of their own."""
    return st.lists(candidates(), max_size=size_max, unique_by=lambda one: one.seen.unit.name)


@st.composite
def needs(draw: st.DrawFn) -> Need:
    """Any sound need."""
    earliest = draw(st.integers(0, 40))
    wished, required = draw(feature_sets), draw(st.frozensets(st.sampled_from(FEATURES), max_size=1))
    return Need(
        discipline=draw(st.sampled_from((*DISCIPLINES[:1] * 4, *DISCIPLINES))),
        gender=draw(st.sampled_from((Gender.FEMALE, Gender.MALE, Gender.ANY))),
        arrival_earliest=hour(earliest),
        arrival_latest=hour(draw(st.integers(earliest, 48))),
        age_months=draw(st.none() | st.integers(0, 1200)),
        stay_max=draw(st.none() | st.integers(1, 72).map(lambda number: timedelta(hours=number))),
        required=required,
        wished=wished - required,
        origin="540000023",
        distance_km_max=draw(st.none() | st.integers(20, 60).map(float)),
        minutes_max=draw(st.none() | st.integers(20, 60).map(float)),
    )


def picture_of(house: str, own: list[Unit], monotonic: float = 1000.0) -> Picture:
    """An establishment's picture, heard at that instant."""
    snapshot = SnapshotPart(Cursor(house, 1, 1, b"tag"), Description("House"), tuple(own))
    return apply(Picture(house), snapshot, monotonic).picture


def any_need(**changes: Any) -> Need:
    """A woman, tomorrow, within the day."""
    need = Need(Discipline.SMR_GERIATRIC, Gender.FEMALE, hour(24), hour(34), origin="540000023")
    return dataclass_replace(need, **changes)
