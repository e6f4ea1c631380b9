"""Figures of a file, told to the node as movements of a declared source: all of them, or none.

The node commits each movement by itself. So everything that it would refuse is looked for before the first is sent:
against the units, the places and the sources that it declares. What can still go wrong in between (the house changes a
unit at that very moment) comes back as an outcome by line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import grpc

from aval.adapters.counts.rows import LineProblem, UnitCounts, folded
from aval.adapters.dial import Line, every_unit
from aval.adapters.figures import count, genders_counted, open_places
from aval.adapters.wire import refusal_of
from aval.kernel.statuses import Gender
from aval.v1 import availability_pb2, census_pb2, terms_pb2

_GENDERS: dict[Gender, terms_pb2.Gender.ValueType] = {
    Gender.FEMALE: terms_pb2.GENDER_FEMALE,
    Gender.MALE: terms_pb2.GENDER_MALE,
    Gender.ANY: terms_pb2.GENDER_ANY,
}
_GENDER_WORDS = {Gender.FEMALE: "F", Gender.MALE: "H", Gender.ANY: "I"}
"""As a problem names them: a sheet may use these very letters."""

KNOWN_MAX = 20
"""Units that a problem lists: a small house has fewer, and who runs a large one knows its codes."""

_SOURCES = (availability_pb2.SOURCE_KIND_FILE, availability_pb2.SOURCE_KIND_PERSON)
"""The kinds of source that a file may be, the likelier first."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a row comes to once its unit is known: places of one gender, from a source of that unit."""

    line: int
    unit: str
    source: str
    places: census_pb2.PlaceCapacity
    told_at: datetime | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the node did with a row: `fate` as the contract names it; `reason` when it is not applied."""

    line: int
    unit: str
    fate: str
    reason: str
    details: dict[str, str]

    @property
    def is_good(self) -> bool:
        """Whether the figures stand, or were there already."""
        return self.fate in ("APPLIED", "APPLIED_WITH_CONFLICT", "ALREADY")


async def units_of(line: Line, finess: str) -> dict[str, availability_pb2.Unit]:
    """The units of a house by their codes, as its node tells them. Raises `RemoteRefusal`."""
    return {unit.name.rpartition("/")[2]: unit for unit in await every_unit(line, f"establishments/{finess}")}


def resolve(
    counts: Sequence[UnitCounts], finess: str, units: dict[str, availability_pb2.Unit], source: str
) -> tuple[list[Resolved], list[LineProblem]]:
    """Each row with what the node of a house knows of its unit. `source`: the mapping's, or empty to find the unit's
    own. Codes are a house's own: a row that says that it is of another one is never taken for ours. A unit is found by
    its code, or by its code or name however they are written where only one is called so."""
    names = _by_name(units)
    resolved: list[Resolved] = []
    problems: list[LineProblem] = []
    seen: dict[tuple[str, int], int] = {}
    for row in counts:
        found = (
            _problem(row, "other-house", finess=row.house)
            if row.house not in ("", finess)
            else _resolve_one(row, units, names, source)
        )
        if isinstance(found, Resolved):
            told = (found.unit, found.places.gender)
            if told in seen:
                found = _problem(row, "twice", first_line=seen[told])
            seen.setdefault(told, row.line)
        if isinstance(found, LineProblem):
            problems.append(found)
        else:
            resolved.append(found)
    return resolved, problems


def _by_name(units: dict[str, availability_pb2.Unit]) -> dict[str, availability_pb2.Unit]:
    """Units by their codes and names as people write them; none by a word that two of them are called."""
    found: dict[str, dict[str, availability_pb2.Unit]] = {}
    for code, unit in units.items():
        for word in (code, unit.display_name):
            found.setdefault(folded(word), {})[code] = unit
    return {word: next(iter(called.values())) for word, called in found.items() if word and len(called) == 1}


def _resolve_one(
    row: UnitCounts, units: dict[str, availability_pb2.Unit], names: dict[str, availability_pb2.Unit], source: str
) -> Resolved | LineProblem:
    unit = units.get(row.unit) or names.get(folded(row.unit))
    if unit is None:
        known = [*sorted(units)[:KNOWN_MAX], *("…" for _ in range(len(units) > KNOWN_MAX))]
        return _problem(row, "unit-unknown", unit=row.unit, known=", ".join(known))
    if unit.counting == availability_pb2.COUNTING_BEDS:
        return _problem(row, "unit-has-beds", unit=row.unit)
    known = [one.id for kind in _SOURCES for one in unit.sources if one.kind == kind]
    speaking = source or next(iter(known), "")
    if speaking not in {one.id for one in unit.sources}:
        return _problem(row, "source-unknown", unit=row.unit, source=speaking, known=", ".join(known))
    gender = _GENDERS[row.gender]
    counted = genders_counted(unit)
    if gender not in counted:
        words = (word for one, word in _GENDER_WORDS.items() if _GENDERS[one] in counted)
        gendered = _GENDER_WORDS[row.gender]
        return _problem(row, "gender-not-counted", unit=row.unit, gender=gendered, known=", ".join(words))
    opened = row.open
    if opened is None and row.occupied is not None and row.free is not None:
        opened = row.occupied + row.free
    installed = count(unit, availability_pb2.CAPACITY_STATUS_INSTALLED, gender=gender)
    if opened is None:
        opened = open_places(unit, gender)
        if row.capacity not in (None, installed, opened):
            differing = {"capacity": row.capacity, "installed": installed, "open": opened}
            return _problem(row, "capacity-differs", unit=row.unit, **differing)
    occupied = row.occupied if row.occupied is not None else opened - (row.free or 0)
    if occupied < 0:
        return _problem(row, "more-free-than-open", unit=row.unit, free=row.free, open=opened)
    most = max(opened, installed)
    if occupied > most:
        return _problem(row, "more-taken-than-places", unit=row.unit, occupied=occupied, places=most)
    places = census_pb2.PlaceCapacity(gender=gender, open=opened, occupied=occupied)
    return Resolved(row.line, unit.name, speaking, places, row.told_at)


def _problem(row: UnitCounts, what: str, **details: object) -> LineProblem:
    return LineProblem(row.line, "", what, {name: str(value) for name, value in details.items()})


async def tell(line: Line, rows: Sequence[Resolved], key: str, now: datetime) -> list[Outcome]:
    """Tells rows to the node and waits for each to be committed. The same `key` again changes nothing (CONTRACT 29).

    A row that does not say when its figures were true is of `now`; the node counts their age from then. Raises
    `RemoteRefusal` when the stream fails: rows told before stand.
    """
    call = line.census.ApplyMovements()
    outcomes: list[Outcome] = []
    try:
        for number, row in enumerate(rows):
            movement = _movement(row, f"{key}-{number}", now)
            await call.write(census_pb2.ApplyMovementsRequest(movement=movement))
            answer = await call.read()
            if not isinstance(answer, census_pb2.ApplyMovementsResponse):
                break
            fate = census_pb2.ApplyMovementsResponse.Fate.Name(answer.fate).removeprefix("FATE_")
            outcomes.append(Outcome(row.line, row.unit, fate, answer.reason, dict(answer.metadata)))
        else:
            await call.done_writing()
            return outcomes
        raise refusal_of(
            grpc.aio.AioRpcError(
                await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details()
            )
        )
    except grpc.aio.AioRpcError as error:
        raise refusal_of(error) from error
    finally:
        call.cancel()


def _movement(row: Resolved, movement_id: str, now: datetime) -> census_pb2.Movement:
    told_at = row.told_at or now
    movement = census_pb2.Movement(movement_id=movement_id, source_id=row.source)
    movement.event_time.FromDatetime(told_at)
    movement.counts_reported.unit = row.unit
    movement.counts_reported.places.append(row.places)
    movement.counts_reported.age.FromTimedelta(max(now - told_at, timedelta(0)))
    return movement
