"""The story of a stay: where the patient is, told anew from all that was said of the stay, in the order of its events.

Messages of a hospital come late, twice, and out of order; what they say of one patient is a story with one right
order. So each movement of a stay is kept, and the stay is what the whole story comes to: whichever way its movements
came, the census is the same. A movement that does not fit into the story waits, and fits in by itself once what was
missing has been told: it is looked at again with each word on its stay.

Order: a source that numbers its movements is heard in that order. Others are ordered by the time of the event, by the
source's clock; what has neither, by the time at which it was taken. Pure, and without beds: who gets a bed that two
stories claim is `aval.node.stays`'s to say.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from msgspec.structs import replace

from aval.kernel.statuses import Counting, Gender
from aval.node.arrivals import gender_known
from aval.node.book import View
from aval.node.census import outranked_by
from aval.node.model import (
    Admission,
    ArrivalExpected,
    DepartureAnnounced,
    Discharge,
    Expected,
    Leave,
    LeaveReturn,
    Movement,
    ParkReason,
    Stay,
    StayMerged,
    Story,
    Told,
    Transfer,
)

ELSEWHERE = ""
"""No unit's code: where a patient is who has left the units that his source speaks for."""

Odd = tuple[ParkReason, str]
"""Why a movement does not fit, and a word more."""


class Left(NamedTuple):
    """A bed that the patient was in, and left."""

    unit: str
    bed: str
    at: datetime
    to_clean: bool


@dataclass(slots=True)
class Course:
    """What a story comes to.

    `here`: the patient, in a unit that may be unknown here, or expected; `gone`: discharged. `odd`: by key, the
    movements that do not fit. `reference`: the reservation that the admission names.
    """

    here: Stay | Expected | None
    lenient: bool = False
    gone: bool = False
    was_expected: bool = False
    reference: str = ""
    left: list[Left] = field(default_factory=list)
    odd: dict[str, Odd] = field(default_factory=dict)


def course(view: View, story: Story) -> Course:
    """Tells a story."""
    told = Course(story.before or story.expected_before)
    # Of two registrations of one visit each has its admission and its discharge: the second ones say nothing new.
    told.lenient = any(isinstance(one.movement.change, StayMerged) and not one.cancelled for one in story.told)
    for one in _ordered(_standing(story.told)):
        odd = _STEPS[type(one.movement.change)](_Telling(view, story.stay, told), one, one.movement.change)
        if odd is not None:
            told.odd[one.movement.key] = odd
    return told


def _standing(told: Iterable[Told]) -> list[tuple[Told, int]]:
    """What stands of a story, with its number in the source's order: neither cancelled nor corrected."""
    by_key = {one.movement.key: one for one in told}
    groups: dict[str, list[Told]] = {}
    for one in by_key.values():
        groups.setdefault(_root(one.movement, by_key), []).append(one)
    standing = []
    for key, group in groups.items():
        first = by_key.get(key)
        if first is not None and first.cancelled:
            continue
        corrections = [one for one in group if one is not first and not one.cancelled]
        last = max(corrections, key=_by_telling, default=first)
        if last is not None:
            standing.append((last, (first or last).movement.sequence))
    return standing


def _root(movement: Movement, by_key: dict[str, Told]) -> str:
    """The key of the movement that is corrected, by a correction of a correction too."""
    seen = set()
    while movement.corrects and movement.key not in seen:
        seen.add(movement.key)
        key = f"{movement.source}/{movement.corrects}"
        if key not in by_key:
            return key
        movement = by_key[key].movement
    return movement.key


def _by_telling(one: Told) -> tuple[int, datetime, str]:
    return one.movement.sequence, one.taken, one.movement.id


def _when(one: Told) -> datetime:
    return one.movement.event_time or one.taken


def _ordered(standing: list[tuple[Told, int]]) -> list[Told]:
    """In the order of events: of one source by its numbers, else by their times."""
    reached: dict[str, datetime] = {}
    keyed = []
    for one, number in sorted(standing, key=lambda pair: (pair[1], _when(pair[0]), pair[0].movement.id)):
        at, source = _when(one), one.movement.source
        if number:
            at = reached[source] = max(at, reached.get(source, at))
        keyed.append(((at, number, _RANKS[type(one.movement.change)], one.movement.id), one))
    return [one for _, one in sorted(keyed, key=lambda pair: pair[0])]


class _Telling(NamedTuple):
    """A story while it is told."""

    view: View
    stay: str
    so_far: Course


def _heard(view: View, one: Told, unit_id: str) -> Odd | None:
    """Why that source is not heard on that unit; None: it is."""
    unit = view.unit(unit_id)
    if unit is None:
        return ParkReason.UNIT_UNKNOWN, unit_id
    if one.settled:
        return None
    source = one.movement.source
    rank = next((i for i, known in enumerate(unit.sources) if known.id == source), None)
    if rank is None or (one.adapter and unit.sources[rank].adapter != one.adapter):
        return ParkReason.SOURCE_NOT_OF_UNIT, source
    above = outranked_by(unit, rank, frozenset(one.stale))
    return (ParkReason.SOURCE_OUTRANKED, above) if above else None


def _heard_here(view: View, one: Told, here: Stay | Expected) -> Odd | None:
    """As `_heard`, of a patient who is somewhere: in a unit that nobody knows here, whoever speaks is heard."""
    odd = _heard(view, one, here.unit)
    return None if odd is None or odd[0] is ParkReason.UNIT_UNKNOWN else odd


def _enter(telling: _Telling, one: Told, unit: str, bed: str | None, gender: Gender) -> Stay:
    """The patient comes in, having been expected or not."""
    expected = telling.so_far.here if isinstance(telling.so_far.here, Expected) else None
    telling.so_far.was_expected = expected is not None
    telling.so_far.gone = False
    return Stay(
        key=telling.stay,
        unit=unit,
        gender=gender_known(gender, expected.gender if expected else Gender.UNDETERMINED),
        since=_when(one),
        departure=expected.departure if expected else None,
        source=one.movement.source,
        movement=one.movement.key,
        told_bed=bed,
        placed=_when(one),
    )


def _admission(telling: _Telling, one: Told, told: Admission) -> Odd | None:
    so_far = telling.so_far
    here = so_far.here
    odd = _heard(telling.view, one, told.unit)
    if isinstance(here, Stay):
        bed = here.told_bed or here.bed
        same = here.unit == told.unit and (told.bed is None or bed in (None, told.bed))
        if not same and not so_far.lenient:
            return ParkReason.STAY_ALREADY_PRESENT, here.unit
    else:
        same = False
    if odd is not None and odd[0] is not ParkReason.UNIT_UNKNOWN:
        return odd
    if isinstance(here, Stay):
        # The same patient, whom a person or another message had told before: what is new is added.
        if not same:
            _leave_bed(so_far, here, one, to_clean=here.to_clean_after)
            here = replace(here, unit=told.unit, bed=None, told_bed=told.bed, placed=_when(one))
        elif told.bed is not None and here.told_bed != told.bed:
            here = replace(here, told_bed=told.bed, placed=_when(one))
        gender = gender_known(told.gender, here.gender)
        here = replace(here, gender=gender, source=one.movement.source, movement=one.movement.key)
    else:
        here = _enter(telling, one, told.unit, told.bed, told.gender)
    so_far.here = replace(
        here, departure=told.departure or here.departure, to_clean_after=told.to_clean_after or here.to_clean_after
    )
    so_far.reference = told.reservation or so_far.reference
    return odd


def _leave_bed(so_far: Course, here: Stay, one: Told, *, to_clean: bool) -> None:
    odd = so_far.odd.get(here.movement)
    if odd is not None and odd[0] is ParkReason.UNIT_UNKNOWN:
        del so_far.odd[here.movement]  # the patient has left it: nobody need know any more where that was
    bed = here.told_bed or here.bed
    if bed is not None:
        so_far.left.append(Left(here.unit, bed, _when(one), to_clean))


def _transfer(telling: _Telling, one: Told, told: Transfer) -> Odd | None:
    so_far = telling.so_far
    here = so_far.here
    if so_far.gone:
        return ParkReason.STAY_UNKNOWN, ""
    odd = _heard(telling.view, one, told.unit)
    if odd is not None and odd[0] is not ParkReason.UNIT_UNKNOWN:
        if isinstance(here, Stay) and _heard_here(telling.view, one, here) is None:
            # Where the patient went is another source's to say; that the bed was left is this one's.
            _leave_bed(so_far, here, one, to_clean=here.to_clean_after)
            so_far.here = replace(here, unit=ELSEWHERE, bed=None, told_bed=None, on_leave=False, keep_bed=True)
        return odd
    if not isinstance(here, Stay):
        # Its admission was not told, or not yet: the patient is there all the same.
        so_far.here = _enter(telling, one, told.unit, told.bed, Gender.UNDETERMINED)
        return odd
    bed = here.told_bed or here.bed
    to_bed = None if told.bed_unknown else told.bed or (bed if here.unit == told.unit else None)
    if here.unit == told.unit and to_bed == bed and not here.on_leave:
        return odd
    if (here.unit, bed) != (told.unit, to_bed):
        _leave_bed(so_far, here, one, to_clean=here.to_clean_after)
    so_far.here = replace(
        here,
        unit=told.unit,
        bed=None,
        told_bed=to_bed,
        placed=_when(one),
        on_leave=False,
        keep_bed=True,
        return_time=None,
        movement=one.movement.key,
    )
    return odd


def _discharge(telling: _Telling, one: Told, told: Discharge) -> Odd | None:
    so_far = telling.so_far
    here = so_far.here
    if not isinstance(here, Stay):
        return None if so_far.lenient and so_far.gone else (ParkReason.STAY_UNKNOWN, "")
    odd = _heard_here(telling.view, one, here)
    if odd is None:
        _leave_bed(so_far, here, one, to_clean=told.to_clean or here.to_clean_after)
        so_far.here, so_far.gone = None, True
    return odd


def _leave(telling: _Telling, one: Told, told: Leave) -> Odd | None:
    here = telling.so_far.here
    if not isinstance(here, Stay):
        return ParkReason.STAY_UNKNOWN, ""
    if here.on_leave:
        return ParkReason.LEAVE_MISMATCH, "already on leave"
    odd = _heard_here(telling.view, one, here)
    if odd is None:
        telling.so_far.here = replace(here, on_leave=True, keep_bed=told.keep_bed, return_time=told.return_time)
    return odd


def _leave_return(telling: _Telling, one: Told, told: LeaveReturn) -> Odd | None:
    here = telling.so_far.here
    if not isinstance(here, Stay):
        return ParkReason.STAY_UNKNOWN, ""
    if not here.on_leave:
        return ParkReason.LEAVE_MISMATCH, "not on leave"
    odd = _heard_here(telling.view, one, here)
    if odd is None:
        # A bed that was not kept is taken anew, as of now: somebody may be in it.
        bed, since = here.told_bed or here.bed, here.placed
        if not here.keep_bed or told.bed not in (None, bed):
            bed, since = told.bed or bed, _when(one)
        telling.so_far.here = replace(
            here,
            on_leave=False,
            keep_bed=True,
            return_time=None,
            bed=None,
            told_bed=bed,
            placed=since,
            movement=one.movement.key,
        )
    return odd


def _departure(telling: _Telling, one: Told, told: DepartureAnnounced) -> Odd | None:
    here = telling.so_far.here
    if here is None:
        return ParkReason.STAY_UNKNOWN, ""
    odd = _heard_here(telling.view, one, here)
    if odd is None:
        telling.so_far.here = replace(here, departure=told.departure)
    return odd


def _arrival_expected(telling: _Telling, one: Told, told: ArrivalExpected) -> Odd | None:
    so_far = telling.so_far
    if isinstance(so_far.here, Stay):
        return ParkReason.STAY_ALREADY_PRESENT, so_far.here.unit
    odd = _heard(telling.view, one, told.unit)
    if odd is not None and odd[0] is not ParkReason.UNIT_UNKNOWN:
        return odd
    bed, unit = told.bed, telling.view.unit(told.unit)
    if unit is not None and bed is not None:
        if unit.counting is Counting.PLACES:
            bed = None
        elif telling.view.bed(unit.id, bed) is None:
            odd, bed = (ParkReason.BED_UNKNOWN, bed), None
    so_far.here = Expected(
        telling.stay,
        told.unit,
        told.gender,
        told.arrival,
        told.departure,
        bed,
        None,
        one.movement.source,
        one.movement.key,
    )
    return odd


def _merged(_telling: _Telling, _one: Told, _told: StayMerged) -> Odd | None:
    """That two stories are one was done when it was told."""
    return None


_STEPS: dict[type, Callable[[_Telling, Told, Any], Odd | None]] = {
    ArrivalExpected: _arrival_expected,
    Admission: _admission,
    Transfer: _transfer,
    Leave: _leave,
    LeaveReturn: _leave_return,
    DepartureAnnounced: _departure,
    Discharge: _discharge,
    StayMerged: _merged,
}

_RANKS = {change: rank for rank, change in enumerate(_STEPS)}
"""What is first where nothing else tells: of the same minute, an admission comes before its transfer."""
