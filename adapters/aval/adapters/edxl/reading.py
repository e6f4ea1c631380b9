"""Figures from a HAVE 1.0 document, bare or in any envelope (EDXL-DE, SOAP): those of one house, by a declared mapping.

```toml
source = "have"                           # the source of those units, as `DeclareUnit` names it

[hospital]
name = "Hospital 1"                       # OrganisationName, or its OrganisationID; needed when a document has several

[units]                                   # bed type, or bed type/sub-category = the unit's code at the node
"RehabLongTermCare/smr-geriatrie" = "U201"
"Burn" = "U110"
```

AvailableCount is how many are free; BaselineCount how many the house says there are at most, which is the node's own to
know. A capacity without a count says nothing, but for `NotAvailable`, which is none. A house that is evacuating or
closed (FacilityStatus) gives no bed away, whatever it counts. A bed type that no unit stands for
is a problem: nothing that a house says is passed over in silence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from aval.adapters.counts.rows import (
    BadCell,
    LineProblem,
    UnitCounts,
    check_age,
    read_mapping,
    whole_count,
)
from aval.adapters.edxl.have import CLOSED, EVACUATING, HAVE_2, KNOWN_BED_TYPES, have, xnl
from aval.adapters.markup import Element, MarkupFault, parse
from aval.kernel.declared import DeclaredFault
from aval.kernel.statuses import Gender

WORD_MAX = 40
"""Characters of what was written that a problem repeats."""

_STATUSES = {"vacant/available": False, "vacantavailable": False, "notavailable": True}
"""Whether none is free, by CapacityStatus without case and spaces."""


class _Hospital(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str = ""


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which hospital of a document is ours, and which unit each of its bed types is."""

    source: str = ""
    hospital: _Hospital = _Hospital()
    units: dict[str, str] = {}


def load_mapping(path: Path | None) -> Mapping:
    """The mapping in a file; without one, every bed type is a problem, as a dry run lists. Raises `DeclaredFault`."""
    mapping = read_mapping(path, Mapping)
    for bed_type in mapping.units:
        if bed_type.partition("/")[0] not in KNOWN_BED_TYPES:
            raise DeclaredFault(path, f"units.{bed_type}", "known", known=", ".join(sorted(KNOWN_BED_TYPES)))
    return mapping


def read_have(content: bytes, mapping: Mapping, now: datetime) -> tuple[list[UnitCounts], list[LineProblem]]:
    """What a document says of one house, and all that is wrong with it. `now`: aware UTC."""
    try:
        root = parse(content)
    except MarkupFault as fault:
        return [], [LineProblem(fault.line, "", fault.what, fault.details)]
    if (untrue := _untrue(root)) is not None:
        return [], [untrue]
    hospital = _hospital(root, mapping.hospital.name)
    if isinstance(hospital, LineProblem):
        return [], [hospital]
    facility = hospital.first(have("HospitalFacilityStatus"), have("FacilityStatus"))
    if facility is not None and facility.text in (EVACUATING, CLOSED):
        return [], [LineProblem(facility.line, "FacilityStatus", "have-shut", {"word": facility.text})]
    told_at = _told_at(hospital, now)
    if isinstance(told_at, LineProblem):
        return [], [told_at]
    rows: list[UnitCounts] = []
    problems: list[LineProblem] = []
    seen: dict[str, int] = {}
    for said in _said(hospital):
        found = _row(said, mapping, told_at)
        if isinstance(found, UnitCounts) and found.unit in seen:
            found = LineProblem(found.line, said.bed_type, "twice", {"first_line": str(seen[found.unit])})
        if isinstance(found, UnitCounts):
            seen[found.unit] = found.line
            rows.append(found)
        elif found is not None:
            problems.append(found)
    if not rows and not problems:
        problems.append(LineProblem(hospital.line, "HospitalBedCapacityStatus", "have-no-figures"))
    return rows, problems


def _untrue(root: Element) -> LineProblem | None:
    """What of an envelope (EDXL-DE 1.0, distributionStatus and distributionType) says that its content is for a test,
    an exercise or a system, or that it is taken back: such figures are nobody's."""
    for element in root.within():
        name = element.tag.rpartition("}")[2]
        if (name == "distributionStatus" and element.text != "Actual") or (
            name == "distributionType" and element.text in ("Cancel", "Error")
        ):
            return LineProblem(element.line, name, "have-not-actual", {"word": element.text[:WORD_MAX]})
    return None


def _hospital(root: Element, name: str) -> Element | LineProblem:
    hospitals = [one for one in root.within() if one.tag == have("Hospital")]
    if not hospitals:
        newer = any(one.tag.startswith(f"{{{HAVE_2}}}") for one in root.within())
        return LineProblem(root.line, root.tag.rpartition("}")[2], "have-2" if newer else "have-not")
    if not name:
        return hospitals[0] if len(hospitals) == 1 else LineProblem(root.line, "", "have-which", _names(hospitals))
    ours = [one for one in hospitals if name in _names_of(one)]
    if len(ours) != 1:
        return LineProblem(root.line, "", "have-hospital", {"name": name, "count": str(len(ours)), **_names(hospitals)})
    return ours[0]


def _names(hospitals: list[Element]) -> dict[str, str]:
    return {"names": ", ".join(next(iter(_names_of(one)), "—") for one in hospitals[:10])}


def _names_of(hospital: Element) -> list[str]:
    organisation = hospital.first(have("Organization"), have("OrganizationInformation"), xnl("OrganisationName"))
    if organisation is None:
        return []
    name = " ".join(element.text for element in organisation.named(xnl("NameElement")))
    return [word for word in (name, organisation.attributes.get(xnl("OrganisationID"), "")) if word]


def _told_at(hospital: Element, now: datetime) -> datetime | LineProblem:
    element = hospital.first(have("LastUpdateTime"))
    if element is None:
        return LineProblem(hospital.line, "LastUpdateTime", "have-no-time")
    try:
        instant = datetime.fromisoformat(element.text)
    except ValueError:
        return LineProblem(element.line, "LastUpdateTime", "have-no-instant", {"word": element.text[:WORD_MAX]})
    if instant.tzinfo is None:
        return LineProblem(element.line, "LastUpdateTime", "have-no-zone", {"word": element.text[:WORD_MAX]})
    try:
        check_age(instant, element.text[:WORD_MAX], now)
    except BadCell as bad:
        return LineProblem(element.line, "LastUpdateTime", bad.what, bad.details)
    return instant.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class _Said:
    """A capacity as told: of a bed type, or of a sub-category of one (`type/sub-category`)."""

    bed_type: str
    capacity: Element


def _said(hospital: Element) -> Iterator[_Said]:
    """Each capacity with what it is of: the names told since the last one (HAVE 1.0 tells them in one sequence)."""
    for status in hospital.named(have("HospitalBedCapacityStatus")):
        for group in status.named(have("BedCapacity")):
            parent, name = "", ""
            for element in group.children:
                if element.tag == have("BedType"):
                    parent = name = element.text
                elif element.tag == have("SubCategoryBedType"):
                    name = f"{parent}/{element.text}"
                elif element.tag == have("Capacity"):
                    yield _Said(name, element)


def _row(said: _Said, mapping: Mapping, told_at: datetime) -> UnitCounts | LineProblem | None:
    line = said.capacity.line
    unit = mapping.units.get(said.bed_type)
    if unit is None:
        return LineProblem(line, "BedType", "have-unmapped", {"code": said.bed_type or "—"})
    count = said.capacity.first(have("AvailableCount"))
    status = said.capacity.first(have("CapacityStatus"))
    none_is_free = status is not None and _STATUSES.get("".join(status.text.split()).casefold())
    if status is not None and none_is_free is None:
        return LineProblem(
            status.line, f"{said.bed_type}/CapacityStatus", "have-status", {"word": status.text[:WORD_MAX]}
        )
    if count is None or not count.text:
        return UnitCounts(line, unit, Gender.ANY, None, None, 0, told_at) if none_is_free else None
    try:
        free = whole_count(count.text.removeprefix("+"), count.text[:WORD_MAX])
    except BadCell as bad:
        return LineProblem(count.line, f"{said.bed_type}/AvailableCount", bad.what, bad.details)
    if none_is_free and free:
        return LineProblem(count.line, f"{said.bed_type}/AvailableCount", "have-contradiction", {"word": str(free)})
    return UnitCounts(line, unit, Gender.ANY, None, None, free, told_at)
