"""How a published unit is read, by whoever shows it or passes it on: what is sure, what is declared, what is counted.

Nothing is computed here that a node has not published (DESIGN §4): these are sums over what stands in the message.
"""

from aval.kernel.disciplines import Discipline
from aval.v1 import availability_pb2, terms_pb2

SURE = frozenset({availability_pb2.FRESHNESS_FRESH, availability_pb2.FRESHNESS_AGEING})
"""Only such beds may be counted (DESIGN §4, Ages)."""


def is_sure(unit: availability_pb2.Unit) -> bool:
    """Whether its beds may be counted."""
    return unit.freshness in SURE


def declares(
    unit: availability_pb2.Unit,
    status: availability_pb2.CapacityStatus.ValueType,
    horizon: availability_pb2.Horizon.ValueType = availability_pb2.HORIZON_NOW,
) -> bool:
    """Whether it says that figure at all: what it does not declare is unknown, never zero (CONTRACT 9)."""
    return any(one.status == status and horizon in one.horizons for one in unit.declared)


def count(
    unit: availability_pb2.Unit,
    status: availability_pb2.CapacityStatus.ValueType,
    horizon: availability_pb2.Horizon.ValueType = availability_pb2.HORIZON_NOW,
    gender: terms_pb2.Gender.ValueType | None = None,
) -> int:
    """A count: of places of one gender, or of all; zero where nothing is counted."""
    return sum(
        one.count
        for one in unit.counts
        if one.status == status and one.horizon == horizon and gender in (None, one.gender)
    )


def genders_counted(unit: availability_pb2.Unit) -> set[terms_pb2.Gender.ValueType]:
    """The genders whose places are counted apart now: `GENDER_ANY` alone where none are."""
    return {one.gender for one in unit.counts if one.horizon == availability_pb2.HORIZON_NOW}


def open_places(unit: availability_pb2.Unit, gender: terms_pb2.Gender.ValueType) -> int:
    """Places of a gender that are open now: installed and supplementary ones, less those closed."""
    status = availability_pb2
    more = count(unit, status.CAPACITY_STATUS_INSTALLED, gender=gender)
    more += count(unit, status.CAPACITY_STATUS_SUPPLEMENTARY, gender=gender)
    return more - count(unit, status.CAPACITY_STATUS_CLOSED, gender=gender)


def known_discipline(number: terms_pb2.Discipline.ValueType) -> Discipline | None:
    """The discipline of a number of the wire; None for one of a newer contract."""
    name = terms_pb2.Discipline.Name(number) if number in terms_pb2.Discipline.values() else ""
    return Discipline.__members__.get(name.removeprefix("DISCIPLINE_"))
