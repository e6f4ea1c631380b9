"""Capacity of beds as a MeasureReport, in the form of the SANER guide (HL7, `uv/saner`): one for each establishment.

A population of the report is a sum over an establishment's units, and a sum that lacks a part is not known: where one
unit does not declare the figure, shows yes or no, or has figures to be confirmed, the count is absent with its reason,
as in all published samples, and never zero.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from aval.adapters.fhir import codes
from aval.adapters.fhir.capacity import instant
from aval.adapters.fhir.codes import Json, absent
from aval.adapters.fhir.resources import finess_of
from aval.adapters.figures import declares, is_sure, known_discipline
from aval.kernel.disciplines import DISCIPLINES, Discipline
from aval.v1 import availability_pb2

SANER = "http://hl7.org/fhir/uv/saner/"
MEASURE = f"{SANER}Measure/CDCPatientImpactAndHospitalCapacity"
PROFILE = f"{SANER}StructureDefinition/PublicHealthMeasureReport"
GROUPS = f"{SANER}CodeSystem/MeasureGroupSystem"
VALUES = f"{SANER}CodeSystem/MeasuredValues"
POPULATIONS = "http://terminology.hl7.org/CodeSystem/measure-population"

_INSTALLED = availability_pb2.CAPACITY_STATUS_INSTALLED
_SUPPLEMENTARY = availability_pb2.CAPACITY_STATUS_SUPPLEMENTARY
_OCCUPIED = availability_pb2.CAPACITY_STATUS_OCCUPIED
_AVAILABLE = availability_pb2.CAPACITY_STATUS_AVAILABLE


class Population(NamedTuple):
    """A line of the report: the sum of these statuses, now, over the units of these disciplines."""

    code: str
    display: str
    statuses: tuple[availability_pb2.CapacityStatus.ValueType, ...]
    counts: Callable[[Discipline], bool]
    role: str = "measure-population"


def _bed(discipline: Discipline) -> bool:
    return DISCIPLINES[discipline].is_bed and discipline is not Discipline.HAD


def _intensive(discipline: Discipline) -> bool:
    return discipline is Discipline.INTENSIVE_CARE


LINES = (
    Population("numTotBeds", "All Hospital Beds", (_INSTALLED, _SUPPLEMENTARY), _bed, "initial-population"),
    Population("numTotBedsOcc", "Hospital Beds Occupied", (_OCCUPIED,), _bed),
    Population("numTotBedsAvail", "Hospital Beds Available", (_AVAILABLE,), _bed),
    Population("numICUBeds", "ICU Beds", (_INSTALLED,), _intensive),
    Population("numICUBedsOcc", "ICU Bed Occupancy", (_OCCUPIED,), _intensive),
    Population("numICUBedsAvail", "ICU Bed Availability", (_AVAILABLE,), _intensive),
)
"""Codes of the guide's MeasuredValues. Intensive care is the discipline of that name only: intermediate care is not."""


def measure_report(
    establishment: availability_pb2.Establishment, units: Iterable[availability_pb2.Unit], read_time: datetime
) -> Json:
    """The report of one establishment, from its units as they are shown to us."""
    finess, shown = finess_of(establishment.name), list(units)
    day = instant(read_time)
    return {
        "resourceType": "MeasureReport",
        "id": finess,
        "meta": {"lastUpdated": day, "profile": [PROFILE]},
        "status": "complete",
        "type": "summary",
        "measure": MEASURE,
        "subject": {
            "type": "Location",
            "identifier": {"system": codes.FINESS_SYSTEM, "value": finess},
            "display": establishment.display_name or finess,
        },
        "date": day,
        "reporter": {"reference": f"Organization/{finess}"},
        "period": {"start": day, "end": day},
        "group": [
            {
                "code": {"coding": [{"system": GROUPS, "code": "Beds"}]},
                "population": [_population(line, shown) for line in LINES],
            }
        ],
    }


def _population(line: Population, units: list[availability_pb2.Unit]) -> Json:
    made: Json = {
        "code": {
            "coding": [
                {"system": VALUES, "code": line.code, "display": line.display},
                {"system": POPULATIONS, "code": line.role},
            ]
        }
    }
    counted = [one for one in units if (known := known_discipline(one.discipline)) is not None and line.counts(known)]
    count, reason = _sum(counted, line.statuses)
    if count is None:
        made["_count"] = absent(reason)
    else:
        made["count"] = count
    return made


def _sum(
    units: list[availability_pb2.Unit], statuses: tuple[availability_pb2.CapacityStatus.ValueType, ...]
) -> tuple[int | None, str]:
    """The sum, or None and why. No unit at all is unknown too: a unit may be one that we are not shown."""
    if not units:
        return None, "unknown"
    if any(one.shown != availability_pb2.SHOWN_EXACT for one in units):
        return None, "masked"
    total = 0
    for unit in units:
        if not is_sure(unit) or not all(declares(unit, status) for status in statuses):
            return None, "unknown"
        total += sum(
            max(one.count, 0)
            for one in unit.counts
            if one.status in statuses and one.horizon == availability_pb2.HORIZON_NOW
        )
    return total, ""
