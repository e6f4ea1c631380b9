"""Records of capacity: what the ROR counts of a Location, from a unit's published figures and back.

A record (`Capacity`) is a count with its indicator. In the ROR a Location has at most one record of an indicator, and a
PATCH finds it by the codes of its indicator; so the same figure sent twice is one figure.

**From a unit.** Only what the unit declares is said: within that an absent count is zero, outside it is unknown and has
no record. Only figures shown exactly make records: where an audience sees yes or no, a 1 would be a lie. Available
places are told by gender (all three, zeros too, as the ROR's own example does), closed ones by kind of closure where it
is known; the other statuses are sums. The date of a record is its source's last proof of life, not the time of sending:
a figure that nobody has confirmed since yesterday is shown as of yesterday, and one whose source was never heard has no
date, hence no record.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aval.adapters.counts.rows import BadCell
from aval.adapters.fhir import codes
from aval.adapters.fhir.codes import CAPACITY_URL, NO_ASSIGNMENT, Json, Nature
from aval.kernel.statuses import ClosureKind, Gender, Horizon, SourceKind, Status, SupplementaryKind
from aval.v1 import availability_pb2

WORD_MAX = 60
"""Characters of what was written that a problem repeats."""

COUNT_MAX = 99_999
"""More beds than that no place has: such a count is a mistake of its sender."""

TOLD_BY_GENDER = (Gender.FEMALE, Gender.MALE, Gender.ANY)
"""The genders for which available places are told, zeros too."""


@dataclass(frozen=True, slots=True, order=True)
class Indicator:
    """What a record counts. `crisis` is an R336 code or empty, `assignment` an R337 code."""

    status: Status
    horizon: Horizon
    gender: Gender | None = None
    closure: ClosureKind | None = None
    supplementary: SupplementaryKind | None = None
    crisis: str = ""
    assignment: str = NO_ASSIGNMENT

    @property
    def key(self) -> str:
        """Its codes, as one word: `02/01/03/-/-/-/01`."""
        parts = (self.status, self.horizon, self.gender, self.closure, self.supplementary, self.crisis, self.assignment)
        return "/".join(part or "-" for part in parts)

    @property
    def label(self) -> str:
        """Its codes in the ROR's own words: `Disponible, Courant, Femme`."""
        words = [codes.STATUSES[self.status], codes.HORIZONS[self.horizon]]
        words += [codes.GENDERS[self.gender]] if self.gender else []
        words += [codes.CLOSURES[self.closure]] if self.closure else []
        words += [codes.SUPPLEMENTARIES[self.supplementary]] if self.supplementary else []
        return ", ".join(words)

    @classmethod
    def of_key(cls, key: str) -> "Indicator":
        """The inverse of `key`. Raises ValueError."""
        status, horizon, gender, closure, supplementary, crisis, assignment = (
            "" if part == "-" else part for part in key.split("/")
        )
        return cls(
            Status(status),
            Horizon(horizon),
            Gender(gender) if gender else None,
            ClosureKind(closure) if closure else None,
            SupplementaryKind(supplementary) if supplementary else None,
            crisis,
            assignment,
        )


@dataclass(frozen=True, slots=True)
class Capacity:
    """A record. `update_time` is when its source last gave proof of life; `source` an R335 code."""

    indicator: Indicator
    nature: Nature
    count: int
    update_time: datetime
    source: str


# --- from a unit's figures -------------------------------------------------------------------------------------------


def capacities_of(unit: availability_pb2.Unit, read_time: datetime) -> list[Capacity]:
    """The records of a unit as it was read then, in the order of their indicators; none where its figures are not known
    exactly."""
    updated = update_time_of(unit, read_time)
    if unit.shown != availability_pb2.SHOWN_EXACT or updated is None:
        return []
    nature = Nature.BED if unit.counting == availability_pb2.COUNTING_BEDS else Nature.PLACE
    source = source_of(unit)
    declared = {(Status(f"{one.status:02d}"), Horizon(f"{at:02d}")) for one in unit.declared for at in one.horizons}
    return [
        Capacity(indicator, nature, count, updated, source)
        for status, horizon in sorted(declared)
        for indicator, count in _indicators(unit, status, horizon)
    ]


def update_time_of(unit: availability_pb2.Unit, read_time: datetime) -> datetime | None:
    """When the unit's winning source last gave proof of life; None if it was never heard.

    It is reckoned from the age, which servers add up, and not from the source's `observe_time`, which a hub only hears
    when the figures change.
    """
    source = winning_source(unit)
    if source is None:
        return None
    if source.HasField("age"):
        return read_time - source.age.ToTimedelta()
    return source.observe_time.ToDatetime(tzinfo=UTC) if source.HasField("observe_time") else None


def winning_source(unit: availability_pb2.Unit) -> availability_pb2.Source | None:
    """The source whose word stands: the first in precedence that is not stale, else the first."""
    alive = (
        one for one in unit.sources if one.HasField("age") and one.age.ToTimedelta() <= one.stale_min.ToTimedelta()
    )
    return next(alive, unit.sources[0] if unit.sources else None)


def source_of(unit: availability_pb2.Unit) -> str:
    """The R335 code of the unit's winning source; `01` where none is said, as the kernel has it for a file."""
    source = winning_source(unit)
    name = "PERSON" if source is None else availability_pb2.SourceKind.Name(source.kind).removeprefix("SOURCE_KIND_")
    return SourceKind.__members__.get(name, SourceKind.PERSON).r335


def _indicators(unit: availability_pb2.Unit, status: Status, horizon: Horizon) -> Iterator[tuple[Indicator, int]]:
    counts: dict[int, int] = {}
    for one in unit.counts:
        if one.status == int(status) and one.horizon == int(horizon):
            counts[one.gender] = counts.get(one.gender, 0) + one.count
    total = max(sum(counts.values()), 0)
    if status is Status.AVAILABLE:
        for gender in TOLD_BY_GENDER:
            yield Indicator(status, horizon, gender), max(counts.get(int(gender), 0), 0)
    elif status is Status.CLOSED:
        for kind, count in _closed(unit, horizon, total).items():
            yield Indicator(status, horizon, closure=kind), count
    else:
        yield Indicator(status, horizon), total


def _closed(unit: availability_pb2.Unit, horizon: Horizon, total: int) -> dict[ClosureKind, int]:
    """Closed places by kind. Where the closures that this caller sees do not add up to the figure, the rest is of no
    known kind: the figure is the node's word, the closures only divide it."""
    at = unit.as_of.ToDatetime(tzinfo=UTC) + horizon.delay
    found = dict.fromkeys(ClosureKind, 0)
    for closure in unit.closures:
        starts = closure.interval.start.ToDatetime(tzinfo=UTC)
        ends = closure.interval.end.ToDatetime(tzinfo=UTC) if closure.interval.HasField("end") else None
        if starts <= at and (ends is None or at < ends or closure.reopening_asked) and closure.kind:
            found[ClosureKind(f"{closure.kind:02d}")] += len(closure.beds) or closure.places
    told = sum(found.values())
    if told > total:
        return {ClosureKind.UNDETERMINED: total}
    found[ClosureKind.UNDETERMINED] += total - told
    return found


# --- as the ROR writes it --------------------------------------------------------------------------------------------


def instant(moment: datetime) -> str:
    """An instant as FHIR writes it: `2026-11-24T02:30:00Z`."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def extension_of(capacity: Capacity) -> Json:
    """The record as an extension of a Location."""
    indicator = capacity.indicator

    def coded(url: str, concept: Json) -> Json:
        return {"url": url, "valueCodeableConcept": concept}

    parts = [
        {"url": "nbCapacity", "valueInteger": capacity.count},
        {"url": "capacityUpdateDate", "valueDateTime": instant(capacity.update_time)},
        coded("capacityStatus", codes.known(codes.STATUS_SYSTEM, indicator.status, codes.STATUSES)),
        coded("capacityType", codes.known(codes.NATURE_SYSTEM, capacity.nature, codes.NATURES)),
        coded("temporalityCapacity", codes.known(codes.HORIZON_SYSTEM, indicator.horizon, codes.HORIZONS)),
        coded("capacitySourceType", codes.known(codes.SOURCE_SYSTEM, capacity.source, codes.SOURCES)),
        coded("temporaryAssignement", codes.known(codes.ASSIGNMENT_SYSTEM, indicator.assignment, codes.ASSIGNMENTS)),
    ]
    if indicator.gender is not None:
        gender = codes.known(codes.GENDER_SYSTEM, indicator.gender, codes.GENDERS)
        parts.append(coded("genderCapacityAvailable", gender))
    if indicator.closure is not None:
        closure = codes.known(codes.CLOSURE_SYSTEM, indicator.closure, codes.CLOSURES)
        parts.append(coded("capacityClosingType", closure))
    if indicator.supplementary is not None:
        bed = codes.known(codes.SUPPLEMENTARY_SYSTEM, indicator.supplementary, codes.SUPPLEMENTARIES)
        parts.append(coded("additionalBedType", bed))
    if indicator.crisis:
        parts.append(coded("crisisType", codes.known(codes.CRISIS_SYSTEM, indicator.crisis, codes.CRISES)))
    return {"url": CAPACITY_URL, "extension": parts}


def path_of(indicator: Indicator) -> str:
    """The FHIRPath by which a PATCH finds the record of an indicator, as the ROR's guide writes it (scenario 2 bis)."""
    named = (
        ("capacityStatus", indicator.status),
        ("temporalityCapacity", indicator.horizon),
        ("genderCapacityAvailable", indicator.gender),
        ("capacityClosingType", indicator.closure),
        ("additionalBedType", indicator.supplementary),
        ("crisisType", indicator.crisis),
        ("temporaryAssignement", indicator.assignment),
    )
    clauses = [
        f"extension.where(url = '{url}' and valueCodeableConcept.coding.code = '{code}')" for url, code in named if code
    ]
    return f"{ALL_RECORDS_PATH}.where({' and '.join(clauses)})"


ALL_RECORDS_PATH = f"Location.extension.where(url='{CAPACITY_URL}')"
"""The path of an `add`, and the expression of the error that says that an indicator is not there yet."""


# --- read back -------------------------------------------------------------------------------------------------------


class RecordUnreadable(BadCell):
    """A record of capacity that cannot be taken: `element` is the one that is wrong."""

    def __init__(self, what: str, element: str, **details: object) -> None:
        super().__init__(what, **{name: str(value)[:WORD_MAX] for name, value in details.items()})
        self.element = element[:WORD_MAX]


def capacity_of(extension: Mapping[str, Any]) -> Capacity:
    """The record in an extension. Codes are read by value, whatever system is said: published messages name tables
    (TRE) and value sets (JDV) for the same codes. Raises `RecordUnreadable`."""
    given = _parts(extension)
    status = _coded(given, "capacityStatus", Status)
    crisis = _code(given, "crisisType", codes.CRISES) or ""
    if crisis and crisis not in codes.CRISES:
        raise RecordUnreadable("fhir-code", "crisisType", word=crisis, table="R336")
    assignment = _required(given, "temporaryAssignement", codes.ASSIGNMENTS)
    if assignment not in codes.ASSIGNMENTS:
        raise RecordUnreadable("fhir-code", "temporaryAssignement", word=assignment, table="R337")
    source = _required(given, "capacitySourceType", codes.SOURCES)
    if source not in codes.SOURCES:
        raise RecordUnreadable("fhir-code", "capacitySourceType", word=source, table="R335")
    indicator = Indicator(
        status,
        _coded(given, "temporalityCapacity", Horizon),
        _coded(given, "genderCapacityAvailable", Gender) if "genderCapacityAvailable" in given else None,
        _coded(given, "capacityClosingType", ClosureKind) if "capacityClosingType" in given else None,
        _coded(given, "additionalBedType", SupplementaryKind) if "additionalBedType" in given else None,
        crisis,
        assignment,
    )
    return Capacity(indicator, _coded(given, "capacityType", Nature), _count(given), _updated(given), source)


def _parts(extension: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    parts = extension.get("extension")
    if not isinstance(parts, list):
        raise RecordUnreadable("fhir-no-parts", "extension")
    given: dict[str, Mapping[str, Any]] = {}
    for part in parts:
        if not isinstance(part, dict) or not isinstance(part.get("url"), str):
            raise RecordUnreadable("fhir-no-url", "extension")
        if part["url"] in given:
            raise RecordUnreadable("fhir-part-twice", part["url"])
        given[part["url"]] = part
    return given


def _code(given: Mapping[str, Mapping[str, Any]], url: str, known: Collection[str]) -> str | None:
    """The code of a concept: of several codings the first whose code is known, for a house may write its own beside."""
    concept = given.get(url, {}).get("valueCodeableConcept")
    codings = concept.get("coding") if isinstance(concept, dict) else None
    written = [one.get("code") for one in codings if isinstance(one, dict)] if isinstance(codings, list) else []
    said = [code for code in written if isinstance(code, str)]
    return next((code for code in said if code in known), said[0] if said else None)


def _required(given: Mapping[str, Mapping[str, Any]], url: str, known: Collection[str]) -> str:
    code = _code(given, url, known)
    if code is None:
        raise RecordUnreadable("fhir-no-code", url)
    return code


_TABLES: Mapping[str, str] = {
    "capacityStatus": "R330",
    "temporalityCapacity": "R331",
    "genderCapacityAvailable": "R332",
    "capacityClosingType": "R333",
    "additionalBedType": "R334",
    "capacityType": "R329",
}


def _coded(given: Mapping[str, Mapping[str, Any]], url: str, table: Any) -> Any:
    code = _required(given, url, [one.value for one in table])
    try:
        return table(code)
    except ValueError:
        raise RecordUnreadable("fhir-code", url, word=code, table=_TABLES[url]) from None


def _count(given: Mapping[str, Mapping[str, Any]]) -> int:
    count = given.get("nbCapacity", {}).get("valueInteger")
    if isinstance(count, bool) or not isinstance(count, int):
        raise RecordUnreadable("fhir-no-integer", "nbCapacity")
    if not 0 <= count <= COUNT_MAX:
        raise RecordUnreadable("fhir-count", "nbCapacity", word=count, max=COUNT_MAX)
    return count


def _updated(given: Mapping[str, Mapping[str, Any]]) -> datetime:
    text = given.get("capacityUpdateDate", {}).get("valueDateTime")
    if not isinstance(text, str):
        raise RecordUnreadable("fhir-absent", "capacityUpdateDate")
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise RecordUnreadable("fhir-no-instant", "capacityUpdateDate")
