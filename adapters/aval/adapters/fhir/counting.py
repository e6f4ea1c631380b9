"""Figures from Locations in the ROR's form: those of one house, told to its node as a file's word.

```toml
source = "ror"                            # the source of those units, as `DeclareUnit` names it
establishment = "540000023"               # the FINESS by which the ROR knows the house, where it is not the node's

[units]                                   # the ROR's external identifier = the unit's code at the node
"HEB38888" = "U107"                       # not needed where it is that code already
```

Only the records of now count; of a status the one of all, or else the sum of those by gender or by closure. Occupied is
03; open is installed (01) less closed (05), with what is mobilised of 06
(R334 01), where the file says both, else what the node knows. A Location that does not say how many are occupied says
nothing that a node can be told: available (02) leaves out what is reserved, and unknown is not zero.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec

from aval.adapters.counts.rows import COUNT_MAX, BadCell, LineProblem, UnitCounts, check_age, read_mapping
from aval.adapters.fhir.capacity import Capacity, instant
from aval.adapters.fhir.codes import STRUCTURE_OF_FINESS
from aval.adapters.fhir.reading import ReadLocation, RecordProblem, Unreadable, locations_of, next_page_of, resource_of
from aval.kernel.statuses import Gender, Horizon, Status, SupplementaryKind

REGION_LENGTH_MAX = 3
"""Of a region's code (R30), with which the ROR begins the numbers that it gives places itself: `24/1073`."""

RECORDS_COLUMN = "ror-location-supported-capacity"


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which unit each place of care of the ROR is."""

    source: str = ""
    establishment: str = ""
    units: dict[str, str] = {}


def load_mapping(path: Path | None) -> Mapping:
    """The mapping in a file; without one, external identifiers are our units' codes. Raises `DeclaredFault`."""
    return read_mapping(path, Mapping)


def read_fhir(content: bytes, mapping: Mapping, now: datetime) -> tuple[list[UnitCounts], list[LineProblem]]:
    """What a Bundle of Locations, or one, says of units, and all that is wrong with it. The `line` of each is the
    number of its Location in the file, from 1. `now`: aware UTC."""
    try:
        resource = resource_of(content)
        locations = locations_of(resource)
    except Unreadable as error:
        return [], [LineProblem(error.line, "", error.what, error.details, "line")]
    rows: list[UnitCounts] = []
    problems: list[LineProblem] = [LineProblem(0, "link", "fhir-page")] if next_page_of(resource) else []
    seen: dict[str, int] = {}
    for number, location in enumerate(locations, 1):
        wrong = [LineProblem(number, _element(one), one.what, dict(one.details)) for one in location.problems]
        row = _row(number, location, mapping, now)
        if isinstance(row, UnitCounts) and (first := seen.setdefault(row.unit, number)) != number:
            row = LineProblem(number, "identifier", "twice", {"first_line": str(first)})
        if isinstance(row, LineProblem):
            # Where a record is bad, what it does not say is no second fault.
            wrong += [row] if not wrong or row.what != "fhir-no-figures" else []
        elif not wrong:
            rows.append(row)
        problems += wrong
    return rows, problems


def _element(problem: RecordProblem) -> str:
    """An element of a record, `ror-location-supported-capacity(2).nbCapacity`."""
    return f"{RECORDS_COLUMN}({problem.record}).{problem.element}".removesuffix(".")


def _row(number: int, location: ReadLocation, mapping: Mapping, now: datetime) -> UnitCounts | LineProblem:
    structure, _, external = location.external.rpartition("/")
    if not external:
        return LineProblem(number, "identifier", "unit-absent")
    finess = structure.removeprefix(STRUCTURE_OF_FINESS) if len(structure) > len("540000023") else structure
    named = mapping.units.get(location.external)
    if named or len(structure) <= REGION_LENGTH_MAX or finess == mapping.establishment:
        finess = ""  # somebody has said that it is ours, or it says no house
    elif mapping.establishment:
        return LineProblem(number, "identifier", "other-house", {"finess": finess})
    if location.status not in ("", "active"):
        return LineProblem(number, "status", "fhir-inactive", {"word": location.status})
    here = [one for one in location.capacities if one.indicator.horizon is Horizon.NOW]
    told_at = min((one.update_time for one in here if one.indicator.status is Status.OCCUPIED), default=None)
    if told_at is None:
        return LineProblem(number, RECORDS_COLUMN, "fhir-no-figures")
    if (wrong := _wrong(number, here, now)) is not None:
        return wrong
    try:
        occupied, opened = _figure(here, Status.OCCUPIED), _open(here)
    except BadCell as bad:
        return LineProblem(number, RECORDS_COLUMN, bad.what, bad.details)
    unit = named or mapping.units.get(external) or external
    return UnitCounts(number, unit, Gender.ANY, opened, occupied, None, told_at, finess)


def _wrong(number: int, here: Iterable[Capacity], now: datetime) -> LineProblem | None:
    """A record whose date or count cannot be told as of today."""
    for one in here:
        try:
            check_age(one.update_time, instant(one.update_time), now)
        except BadCell as bad:
            return LineProblem(number, "capacityUpdateDate", bad.what, bad.details)
        if one.count > COUNT_MAX:
            return LineProblem(number, "nbCapacity", "absurd", {"word": str(one.count), "max": str(COUNT_MAX)})
    return None


def _figure(here: Iterable[Capacity], status: Status) -> int | None:
    """The count of a status: of the record of all, or else the sum of those of its parts; None where it has none.

    Raises `BadCell` for records that are not parts of one division: which of them are the whole, nobody says.
    """
    records = [one for one in here if one.indicator.status is status]
    indicators = [one.indicator for one in records]
    several = len({(one.crisis, one.assignment) for one in indicators}) > 1
    whole = [one.count for one in records if one.indicator.gender is None and one.indicator.closure is None]
    divisions = {(one.gender is None, one.closure is None) for one in indicators}
    if several or len(whole) > 1 or (not whole and len(divisions) > 1):
        raise BadCell("fhir-several", status=status, count=len(records))
    if whole:
        return whole[0]
    return sum(one.count for one in records) if records else None


def _open(here: Iterable[Capacity]) -> int | None:
    records = list(here)
    installed, closed = _figure(records, Status.INSTALLED), _figure(records, Status.CLOSED)
    mobilised = sum(
        one.count
        for one in records
        if one.indicator.status is Status.SUPPLEMENTARY and one.indicator.supplementary is SupplementaryKind.MOBILISED
    )
    return None if installed is None or closed is None else max(installed - closed, 0) + mobilised
