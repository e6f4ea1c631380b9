"""The house's staff on the first day: it declares the establishment, its units with their rooms and beds, their
policies and sources, and what partners see. By the contract and only so; all ids are made from what they stand for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid5

import grpc
from google.protobuf.message import Message

from aval.adapters.territory import BedPlan, HousePlan, OpenHours, RoomPlan, UnitPlan
from aval.kernel.statuses import Counting, Gender, SourceKind
from aval.v1 import availability_pb2, census_pb2, census_pb2_grpc, terms_pb2

SYSTEM_SOURCE = "sih"
"""The source and the adapter (`…/adapter/sih`) of a house whose information system speaks."""

SHEET_SOURCE = "tableur"
"""The source and the adapter (`…/adapter/tableur`) of a house that drops a sheet."""

PERSON_SOURCE = "equipe"
"""The source of those who type; in every house, for a system may fail."""

CALL_SECONDS = 20.0
"""How long one call may take: forty houses are installed at once on two cores."""

_NAMESPACE = UUID("6f6a2c52-5f0b-5c0e-9d0e-3f5f0b6a7d10")
"""Of the ids made here (UUID version 5). Any constant does."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Ages at which a source's figures begin to age, and are stale; shortened where a demonstration cannot wait."""

    fresh_max: timedelta
    stale_min: timedelta


async def install(channel: grpc.aio.Channel, house: HousePlan, thresholds: Thresholds | None = None) -> None:
    """Declares a house to its own node; `channel` is of a member of its staff. Doing it again changes nothing.

    Raises grpc.aio.AioRpcError.
    """
    census = census_pb2_grpc.CensusServiceStub(channel)
    described = census_pb2.UpdateEstablishmentRequest(
        name=f"establishments/{house.finess}",
        display_name=house.name,
        phones=[availability_pb2.Phone(hours="jour", number=house.phone)] if house.phone else [],
        time_zone=house.time_zone,
    )
    described.command_id = id_of(described)
    await census.UpdateEstablishment(described, timeout=CALL_SECONDS)
    for unit in house.units:
        declared = _declaration(house, unit, thresholds)
        declared.command_id = id_of(declared)
        await census.DeclareUnit(declared, timeout=CALL_SECONDS)


def id_of(message: Message, *about: object) -> str:
    """An id that stands for this content, and for the circumstances named."""
    content = message.SerializeToString(deterministic=True).hex()
    return str(uuid5(_NAMESPACE, "/".join([message.DESCRIPTOR.name, content, *(str(part) for part in about)])))


def _declaration(house: HousePlan, unit: UnitPlan, thresholds: Thresholds | None) -> census_pb2.DeclareUnitRequest:
    name = unit_name(house, unit.code)
    request = census_pb2.DeclareUnitRequest(
        name=name,
        display_name=unit.name,
        discipline=terms_pb2.Discipline.Value(f"DISCIPLINE_{unit.discipline.name}"),
        counting=availability_pb2.Counting.Value(f"COUNTING_{unit.counting.name}"),
        rooms=[_room(name, unit, room) for room in unit.rooms],
        sources=list(_sources(house, thresholds)),
        features=[terms_pb2.Feature.Value(f"FEATURE_{feature.name}") for feature in sorted(unit.features)],
        policy=_policy(name, house, unit),
        visibility=availability_pb2.VisibilityRule(
            ght=availability_pb2.SHOWN_EXACT,
            partner=availability_pb2.Shown.Value(f"SHOWN_{unit.practice.shown_to_partners.name}"),
            everyone=availability_pb2.SHOWN_YES_OR_NO,
        ),
    )
    if unit.counting is Counting.PLACES:
        request.places.add(gender=gender_number(unit.gender), installed=unit.capacity, open=unit.capacity)
    if unit.age_min is not None or unit.age_max is not None:
        request.ages.min_years, request.ages.max_years = unit.age_min or 0, unit.age_max or 0
    return request


def _room(name: str, unit: UnitPlan, room: RoomPlan) -> census_pb2.Room:
    def bed_of(bed: BedPlan) -> census_pb2.Bed:
        return census_pb2.Bed(
            name=f"{name}/beds/{bed.code}",
            room=room.code,
            gender=gender_number(unit.gender),
            features=[terms_pb2.Feature.Value(f"FEATURE_{f.name}") for f in sorted(bed.features - unit.features)],
        )

    return census_pb2.Room(
        id=room.code,
        rule=census_pb2.RoomRule.Value(f"ROOM_RULE_{room.rule.name}"),
        beds=[bed_of(bed) for bed in room.beds],
    )


def _sources(house: HousePlan, thresholds: Thresholds | None) -> Iterator[census_pb2.SourceDeclaration]:
    sources = [(PERSON_SOURCE, SourceKind.PERSON, "")]
    if house.source.is_automatic:
        sources.insert(0, (SYSTEM_SOURCE, house.source, SYSTEM_SOURCE))
    elif house.source is SourceKind.FILE:
        sources.insert(0, (SHEET_SOURCE, house.source, SHEET_SOURCE))
    for source, kind, adapter in sources:
        declared = census_pb2.SourceDeclaration(
            id=source, kind=availability_pb2.SourceKind.Value(f"SOURCE_KIND_{kind.name}"), adapter=adapter
        )
        if thresholds is not None:
            declared.fresh_max.FromTimedelta(thresholds.fresh_max)
            declared.stale_min.FromTimedelta(thresholds.stale_min)
        yield declared


def _policy(name: str, house: HousePlan, unit: UnitPlan) -> census_pb2.UnitPolicy:
    answering = availability_pb2.PolicySummary.Answering.Value(f"ANSWERING_{unit.answering.upper()}")
    whole_week = unit.answer_hours is None or len(unit.answer_hours.days) == len(range(7))
    return census_pb2.UnitPolicy(
        unit=name,
        answering=answering,
        renewals_max=2,
        answer_hours=list(_week(unit.answer_hours)),
        admission_hours=list(_week(unit.admission_hours)),
        closed_on_public_holidays=not whole_week,
        alsace_moselle=house.alsace_moselle,
        promise_on_announced=unit.practice.promise,
        turnover_minutes=round(unit.practice.cleaning_minutes),
        notes=census_pb2.NotePolicy(apply_no=True),
    )


def _week(hours: OpenHours | None) -> Iterator[availability_pb2.WeekHours]:
    if hours is None:
        return
    closes = 24 * 60 if hours.closes is None else hours.closes.hour * 60 + hours.closes.minute
    for day in sorted(hours.days):
        yield availability_pb2.WeekHours(
            day=day + 1, start_minute=hours.opens.hour * 60 + hours.opens.minute, end_minute=closes
        )


def unit_name(house: HousePlan, unit: str) -> str:
    return f"establishments/{house.finess}/units/{unit}"


def gender_number(gender: Gender) -> terms_pb2.Gender.ValueType:
    return terms_pb2.Gender.Value(f"GENDER_{gender.name}")
