"""A HAVE 1.0 document of units as this caller sees them: a bare `HospitalStatus`, for the envelope of one's choice.

Only what is sure is counted: units whose figures are stale or unreachable are named in a comment and add to no count,
and a unit that shows yes or no makes its bed type a status without a count. AdditionalCapacityCount24Hr is what is
announced free in 24 h beyond now; the ROR's list has no horizon of 72 h, so that element is absent: unknown.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from xml.etree import ElementTree as ET

from aval.adapters.edxl.have import AVAILABLE, BED_TYPES, GML, HAVE, NOT_AVAILABLE, XNL, have, xnl
from aval.adapters.figures import count, declares, is_sure, known_discipline
from aval.kernel.disciplines import DISCIPLINES, Discipline
from aval.v1 import availability_pb2

_INSTALLED = availability_pb2.CAPACITY_STATUS_INSTALLED
_AVAILABLE = availability_pb2.CAPACITY_STATUS_AVAILABLE
_NOW, _ONE_DAY = availability_pb2.HORIZON_NOW, availability_pb2.HORIZON_ONE_DAY

_NOT_XML = re.compile("[^\\t\\n\\r\\u0020-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""Characters that no XML 1.0 document can hold (section 2.2)."""


@dataclass(frozen=True, slots=True)
class Hospital:
    """An establishment and its units, as `AvailabilityService` tells them."""

    establishment: availability_pb2.Establishment
    units: Sequence[availability_pb2.Unit]


def write_have(hospitals: Iterable[Hospital], now: datetime) -> tuple[bytes, list[str]]:
    """The document (UTF-8), and the names of establishments left out because no age is known of any of their figures.

    LastUpdateTime is mandatory there, and a time of our own making would be a lie. `now`: aware.
    """
    for prefix, namespace in (("have", HAVE), ("xnl", XNL), ("gml", GML)):
        ET.register_namespace(prefix, namespace)
    root = ET.Element(have("HospitalStatus"))
    left_out: list[str] = []
    for hospital in hospitals:
        ages = [unit.age.ToTimedelta() for unit in _told(hospital.units) if unit.HasField("age")]
        if not hospital.units:
            continue  # nothing of it is shown to this caller
        if not ages:
            left_out.append(hospital.establishment.display_name)
            continue
        element = ET.SubElement(root, have("Hospital"))
        _organization(element, hospital.establishment)
        _beds(element, hospital.units)
        _add(element, "LastUpdateTime", (now - max(ages)).isoformat(timespec="seconds"))
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True), left_out


def _told(units: Sequence[availability_pb2.Unit]) -> list[availability_pb2.Unit]:
    """The units whose figures count; all of them where none does, so that a document says how old it is."""
    return [unit for unit in units if is_sure(unit)] or list(units)


def _organization(hospital: ET.Element, establishment: availability_pb2.Establishment) -> None:
    organization = ET.SubElement(hospital, have("Organization"))
    information = ET.SubElement(organization, have("OrganizationInformation"))
    finess = establishment.name.partition("/")[2]
    name = ET.SubElement(information, xnl("OrganisationName"), {xnl("OrganisationID"): finess})
    ET.SubElement(name, xnl("NameElement")).text = _NOT_XML.sub("", establishment.display_name) or finess
    if establishment.latitude or establishment.longitude:
        location = ET.SubElement(organization, have("OrganizationGeoLocation"))
        point = ET.SubElement(location, f"{{{GML}}}Point")
        ET.SubElement(point, f"{{{GML}}}pos").text = f"{establishment.latitude:.6f} {establishment.longitude:.6f}"


def _beds(hospital: ET.Element, units: Sequence[availability_pb2.Unit]) -> None:
    groups: dict[Discipline, list[availability_pb2.Unit]] = {}
    for unit in units:
        discipline = known_discipline(unit.discipline)
        if discipline in BED_TYPES:
            groups.setdefault(discipline, []).append(unit)
    if not groups:
        return  # no block at all: unknown, never zero
    status = ET.SubElement(hospital, have("HospitalBedCapacityStatus"))
    for discipline in sorted(groups):
        group = ET.SubElement(status, have("BedCapacity"))
        _add(group, "BedType", BED_TYPES[discipline])
        _add(group, "SubCategoryBedType", discipline.value)
        _capacity(group, groups[discipline])
        _add(group, "CommentText", DISCIPLINES[discipline].label)


def _capacity(group: ET.Element, units: list[availability_pb2.Unit]) -> None:
    sure = [unit for unit in units if is_sure(unit) and declares(unit, _AVAILABLE, _NOW)]
    exact = all(unit.shown == availability_pb2.SHOWN_EXACT for unit in units)
    available = sum(count(unit, _AVAILABLE, _NOW) for unit in sure)
    if sure:
        capacity = ET.SubElement(group, have("Capacity"))
        # None is said only where all is known: some free is true whatever the others have, none is not.
        if available or len(sure) == len(units):
            _add(capacity, "CapacityStatus", AVAILABLE if available else NOT_AVAILABLE)
        if exact:
            _add(capacity, "AvailableCount", str(available))
        if exact and all(declares(unit, _INSTALLED, _NOW) for unit in units):
            _add(capacity, "BaselineCount", str(sum(count(unit, _INSTALLED, _NOW) for unit in units)))
        if exact and all(declares(unit, _AVAILABLE, _ONE_DAY) for unit in sure):
            tomorrow = sum(count(unit, _AVAILABLE, _ONE_DAY) for unit in sure)
            _add(capacity, "AdditionalCapacityCount24Hr", str(max(tomorrow - available, 0)))
    for unit in units:
        if unit not in sure:
            age = _age_said(unit.age.ToTimedelta()) if unit.HasField("age") else "unknown age"
            _add(group, "CommentText", f"{unit.display_name}: not counted, figures unconfirmed ({age})")


def _age_said(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60:02} min old"


def _add(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, have(name)).text = _NOT_XML.sub("", text)
