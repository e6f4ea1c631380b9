"""Units and establishments as a server tells them, for these tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aval.v1 import availability_pb2, terms_pb2

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
FINESS = "540000023"
HOUSE = f"establishments/{FINESS}"
UNIT = f"{HOUSE}/units/U107"

A = availability_pb2
FIGURES: dict[A.CapacityStatus.ValueType, int] = {
    A.CAPACITY_STATUS_INSTALLED: 20,
    A.CAPACITY_STATUS_OCCUPIED: 15,
    A.CAPACITY_STATUS_RESERVED: 1,
    A.CAPACITY_STATUS_CLOSED: 2,
}
FREE = {terms_pb2.GENDER_FEMALE: 1, terms_pb2.GENDER_ANY: 1}


def establishment(name: str = HOUSE, display_name: str = "CHRU de Nancy") -> A.Establishment:
    return A.Establishment(
        name=name,
        display_name=display_name,
        legal_entity="540023264",
        membership=A.MEMBERSHIP_GHT,
        latitude=48.684,
        longitude=6.184,
        time_zone="Europe/Paris",
    )


def unit(
    name: str = UNIT,
    *,
    discipline: terms_pb2.Discipline.ValueType = terms_pb2.DISCIPLINE_SMR_GERIATRIC,
    counting: A.Counting.ValueType = A.COUNTING_BEDS,
    horizons: tuple[A.Horizon.ValueType, ...] = (A.HORIZON_NOW, A.HORIZON_ONE_DAY),
    age: timedelta | None = timedelta(minutes=6),
    figures: dict[A.CapacityStatus.ValueType, int] | None = None,
    free: dict[terms_pb2.Gender.ValueType, int] | None = None,
    as_of: datetime = NOW,
    freshness: A.Freshness.ValueType = A.FRESHNESS_FRESH,
) -> A.Unit:
    """A unit fed by bed management, heard six minutes ago, that declares all statuses at two horizons."""
    made = A.Unit(
        name=name,
        display_name="Gériatrie A",
        discipline=discipline,
        counting=counting,
        shown=A.SHOWN_EXACT,
        freshness=freshness,
        declared=[
            A.DeclaredFigures(status=status, horizons=horizons)
            for status in A.CapacityStatus.values()
            if status != A.CAPACITY_STATUS_UNSPECIFIED
        ],
    )
    made.as_of.FromDatetime(as_of)
    source = made.sources.add(id="sih", kind=A.SOURCE_KIND_BED_MANAGEMENT)
    source.fresh_max.FromTimedelta(timedelta(minutes=15))
    source.stale_min.FromTimedelta(timedelta(minutes=60))
    if age is not None:
        source.age.FromTimedelta(age)
        source.observe_time.FromDatetime(as_of - age)
        made.age.FromTimedelta(age)
    for horizon in horizons:
        for status, count in (figures if figures is not None else FIGURES).items():
            made.counts.add(status=status, horizon=horizon, gender=terms_pb2.GENDER_ANY, count=count)
        for gender, count in (free if free is not None else FREE).items():
            made.counts.add(status=A.CAPACITY_STATUS_AVAILABLE, horizon=horizon, gender=gender, count=count)
    return made
