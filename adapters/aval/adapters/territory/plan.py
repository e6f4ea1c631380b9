"""What a demonstration's file means once its assumptions are applied: what each node is to declare.

A unit's practice is settled line by line: the default, then its activity's, its discipline's, its own.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time

import msgspec

from aval.adapters.french import Speech, typeset
from aval.adapters.territory.model import (
    Assumptions,
    Establishment,
    HourShape,
    Practice,
    TerritoryFile,
    Unit,
    activity_of,
)
from aval.kernel.disciplines import DISCIPLINES, Discipline, Field, discipline_of
from aval.kernel.finess import FinessET
from aval.kernel.need import Feature
from aval.kernel.statuses import Counting, Gender, RoomRule, SourceKind

ALSACE_MOSELLE = ("57", "67", "68")
"""Départements with two public holidays more (Moselle, Bas-Rhin, Haut-Rhin)."""

GENDERS = {"any": Gender.ANY, "female": Gender.FEMALE, "male": Gender.MALE}
ANSWERING = ("automatic", "person", "closed")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"(\w{3})(?:-(\w{3}))? (\d\d):(\d\d)-(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class OpenHours:
    """Hours of the week, local time: the weekdays (0 = Monday), from when, until when (None: midnight)."""

    days: frozenset[int]
    opens: time
    closes: time | None


@dataclass(frozen=True, slots=True)
class BedPlan:
    """A bed with identity."""

    code: str
    features: frozenset[Feature]


@dataclass(frozen=True, slots=True)
class RoomPlan:
    """A room and its beds, in order."""

    code: str
    rule: RoomRule
    beds: tuple[BedPlan, ...]


@dataclass(frozen=True, slots=True)
class UnitPlan:
    """A unit with all its lines settled: what the file says of it, then of its discipline, activity, and by default.

    `rooms` is empty for counted places. `occupancy` (0 to 1) and `stay_days` are the establishment's own where the data
    has them, else the national mean.
    """

    code: str
    name: str
    discipline: Discipline
    counting: Counting
    capacity: int
    rooms: tuple[RoomPlan, ...]
    gender: Gender
    features: frozenset[Feature]
    age_min: int | None
    age_max: int | None
    answering: str
    answer_hours: OpenHours | None
    admission_hours: OpenHours | None
    occupancy: float
    stay_days: float
    practice: Practice


@dataclass(frozen=True, slots=True)
class HousePlan:
    """One establishment of a demonstration: what its node is to declare."""

    finess: FinessET
    name: str
    phone: str
    time_zone: str
    alsace_moselle: bool
    """Whether its public holidays are those of Alsace-Moselle too."""
    source: SourceKind
    hours: HourShape
    units: tuple[UnitPlan, ...]


def house_plan(file: TerritoryFile, finess: str) -> HousePlan:
    """What the node of an establishment is to declare. Raises KeyError if the file assumes nothing of it."""
    establishment, house = file.establishment(finess), file.assumptions.houses[finess]
    if file.hours is None:
        raise KeyError("hours")
    return HousePlan(
        finess=establishment.et,
        name=establishment.name,
        phone=establishment.phone or house.phone,
        time_zone=file.assumptions.time_zone,
        alsace_moselle=establishment.department in ALSACE_MOSELLE,
        source=house.source,
        hours=file.hours,
        units=tuple(_unit_plan(file, establishment, unit, index) for index, unit in enumerate(house.units, 1)),
    )


def _unit_plan(file: TerritoryFile, establishment: Establishment, unit: Unit, index: int) -> UnitPlan:
    discipline = discipline_of(unit.discipline)
    practice = practice_of(file.assumptions, discipline, unit.own)
    beds = unit.beds is not None
    return UnitPlan(
        code=unit.code,
        name=unit.name,
        discipline=discipline,
        counting=Counting.BEDS if beds else Counting.PLACES,
        capacity=unit.capacity,
        rooms=_rooms(unit, practice, index) if beds else (),
        gender=GENDERS[practice.gender],
        features=_everywhere(practice),
        age_min=practice.age_min,
        age_max=practice.age_max,
        answering=practice.answering,
        answer_hours=open_hours(practice.answer_hours) if practice.answer_hours else None,
        admission_hours=open_hours(practice.admission_hours) if practice.admission_hours else None,
        occupancy=_occupancy(file, establishment, discipline, practice),
        stay_days=_stay_days(file, establishment, discipline, practice),
        practice=practice,
    )


def _occupancy(file: TerritoryFile, establishment: Establishment, discipline: Discipline, practice: Practice) -> float:
    activity = activity_of(discipline)
    for known in (practice.occupancy, establishment.occupancy.of(activity), file.national.occupancy.of(activity)):
        if known is not None:
            return min(known, 1.0)
    return 1.0


def _stay_days(file: TerritoryFile, establishment: Establishment, discipline: Discipline, practice: Practice) -> float:
    """The establishment's mean for its activity, in the national proportion of the discipline to the activity."""
    activity, national = activity_of(discipline), file.national.stay_days
    mean = national.of(activity) or 1.0
    ours = mean
    if activity == "mco":
        named = {Discipline.SURGERY: national.surgery, Discipline.OBSTETRICS: national.obstetrics}
        ours = named.get(discipline, national.medicine) or mean
    if practice.stay_days is not None:
        return practice.stay_days
    return (establishment.stay_days.of(activity) or mean) * ours / mean


def assumed(file: TerritoryFile) -> list[str]:
    """What was assumed, in French, one phrase a line: to be printed wherever the figures are. Empty if nothing was."""
    assumptions = file.assumptions
    houses = list(assumptions.houses.values())
    if not houses:
        return []
    units = [unit for house in houses for unit in house.units]
    mentions = {d for u in units if DISCIPLINES[d := discipline_of(u.discipline)].field is Field.SMR}
    geriatric = sum(any(discipline_of(u.discipline) is Discipline.SMR_GERIATRIC for u in h.units) for h in houses)
    automatic = sum(
        practice_of(assumptions, discipline_of(u.discipline), u.own).answering == "automatic" for u in units
    )
    zone = assumptions.time_zone
    factor, speed = _number(assumptions.road_factor), _number(assumptions.speed_kmh)
    typed = sum(not house.source.is_automatic for house in houses)
    said = [
        f"le découpage de {_sites(len(houses))} en {_units(len(units))}, leurs noms et leurs codes",
        f"la mention SMR de chaque unité ({_mentions(len(mentions))} ; SMR gériatrique dans {_sites(geriatric)})",
        "les chambres, leur partage, les équipements, l’âge et le genre admis, ce que voient les partenaires",
        f"qui répond et quand ({_units(automatic)} par retenue automatique) ; le fuseau horaire {zone}",
        f"la source des chiffres ({_sites(typed)} par saisie, les autres par leur système d’information)",
        "les téléphones (série 03 53 01, réservée à la fiction), les nœuds hébergés",
        f"les minutes de route : vol d’oiseau × {factor}, à {speed} km/h",
        "les lits fermés, la part de femmes, la dispersion des séjours, les sorties annoncées, le ménage",
        "le séjour moyen en EHPAD, tiré de sa rotation ; l’heure des mouvements, d’un échantillon de MIMIC-III",
    ]
    return [typeset(phrase) for phrase in said]


def _sites(count: int) -> str:
    return Speech().count(count, "établissement", "établissements")


def _units(count: int) -> str:
    return Speech().count(count, "unité", "unités")


def _mentions(count: int) -> str:
    return Speech().count(count, "mention", "mentions")


def _number(value: float) -> str:
    """As French writes it."""
    return f"{value:g}".replace(".", ",")


def open_hours(text: str) -> OpenHours:
    """The hours written as `mon-fri 08:30-18:00`. Raises ValueError."""
    match = _HOURS.fullmatch(text)
    if match is None or match[1] not in _DAYS or (match[2] or match[1]) not in _DAYS:
        raise ValueError(f"{text!r} is not like 'mon-fri 08:30-18:00'")
    first, last = _DAYS.index(match[1]), _DAYS.index(match[2] or match[1])
    opens, closes = time(int(match[3]), int(match[4])), None
    if (match[5], match[6]) != ("24", "00"):
        closes = time(int(match[5]), int(match[6]))
    if first > last or (closes is not None and closes <= opens):
        raise ValueError(f"{text!r} goes backwards")
    return OpenHours(frozenset(range(first, last + 1)), opens, closes)


def practice_lines(assumptions: Assumptions, discipline: Discipline, own: Mapping[str, object]) -> dict[str, object]:
    """How a unit works, line by line: the default, then its activity's, then its discipline's, then its own."""
    lines: dict[str, object] = {}
    for name in ("default", activity_of(discipline), discipline.value):
        lines |= assumptions.practice.get(name, {})
    return lines | dict(own)


def practice_of(assumptions: Assumptions, discipline: Discipline, own: Mapping[str, object]) -> Practice:
    """How a unit works. Raises msgspec.ValidationError."""
    return msgspec.convert(practice_lines(assumptions, discipline, own), Practice)


def _rooms(unit: Unit, practice: Practice, index: int) -> tuple[RoomPlan, ...]:
    """The rooms written by a person, or singles then doubles in the assumed share. A feature that a share of the beds
    has is spread evenly over them, each feature from another bed on, so that they do not all meet in the first."""
    everywhere = _everywhere(practice)
    if unit.rooms:
        return tuple(
            RoomPlan(
                room.code,
                room.rule,
                tuple(BedPlan(bed, _bed_features(room.rule, everywhere | set(room.features))) for bed in room.beds),
            )
            for room in unit.rooms
        )
    beds = unit.beds or 0
    doubles = round(beds * (1 - practice.single_share)) // 2
    sizes = [1] * (beds - 2 * doubles) + [2] * doubles
    rooms: list[RoomPlan] = []
    rank = 0
    for number, size in enumerate(sizes, 1):
        code = f"{index}{number:02d}"
        rule = RoomRule.SINGLE if size == 1 else practice.shared_rooms
        plans = []
        for side in [""] if size == 1 else ["-P", "-F"]:  # « porte » and « fenêtre », as wards say
            spread = {
                Feature(name)
                for offset, (name, share) in enumerate(practice.features.items())
                if math.floor((rank + offset + 1) * share) > math.floor((rank + offset) * share)
            }
            plans.append(BedPlan(code + side, _bed_features(rule, everywhere | spread)))
            rank += 1
        rooms.append(RoomPlan(code, rule, tuple(plans)))
    return tuple(rooms)


def _everywhere(practice: Practice) -> frozenset[Feature]:
    return frozenset(Feature(name) for name, share in practice.features.items() if share == 1.0)


def _bed_features(rule: RoomRule, features: frozenset[Feature]) -> frozenset[Feature]:
    return features | {Feature.SINGLE_ROOM} if rule is RoomRule.SINGLE else features
