"""Movements: the census follows reality, told by sources (DESIGN §4, CONTRACT 29).

Each movement is known by (source, its id): the same again is ALREADY, the same id with other content is refused. One
that contradicts the census is never dropped: it is applied as far as truth allows, or *parked* with its reason for a
person. What a movement changed is kept, so that its cancellation puts back exactly that.

A unit lists its sources in their order. A source below another is heard on patients only once all above it are
stale; on beds (closed, opened, cleaned) every source of the unit is heard.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

from msgspec.structs import replace

from aval.kernel.identity import CallerKind
from aval.kernel.reasons import Reason, Refusal, field_invalid
from aval.kernel.statuses import Counting, Gender, SupplementaryKind
from aval.node.arrivals import gender_known, link, occupant, raise_doubt, stay_gone, undo_admission
from aval.node.book import Draft
from aval.node.census import add_places, outranked_by, tell_counts
from aval.node.claims import spot_for_patient
from aval.node.commands import Caller, DeclaredPlaces
from aval.node.model import (
    Admission,
    ArrivalExpected,
    Bed,
    BedCleaned,
    BedClosed,
    BedOpened,
    Cancellation,
    Closure,
    CountsReported,
    DepartureAnnounced,
    Discharge,
    Expected,
    Fate,
    Kind,
    Leave,
    LeaveReturn,
    Mandate,
    Movement,
    MovementChange,
    Parked,
    ParkReason,
    Places,
    Stay,
    Transfer,
    Undo,
    Unit,
    Word,
)

PARKED_MAX = 10_000
"""Movements that wait for a person: beyond that a feed is misconfigured, and its movements are refused QUEUE_FULL."""

BEDS_MAX = 1_000
"""Beds in one movement."""


class Contradiction(Exception):
    """A movement that the census contradicts: it is parked."""

    def __init__(self, reason: ParkReason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason.value}: {detail}")


# --- who may tell ----------------------------------------------------------------------------------------------------


def check_source(
    draft: Draft, movement: Movement, caller: Caller, stale_sources: frozenset[str], *, settled: bool
) -> None:
    """Whether that source is heard on that unit. Raises NOT_YOUR_UNIT (adapters), or Contradiction."""
    unit_id = _unit_of(draft, movement)
    if unit_id is None:
        return
    unit = draft.unit(unit_id)
    if unit is None:
        raise Contradiction(ParkReason.UNIT_UNKNOWN, unit_id)
    rank = next((i for i, source in enumerate(unit.sources) if source.id == movement.source), None)
    if caller.kind is CallerKind.ADAPTER:
        name = caller.uri.rpartition("/")[2]
        if rank is None or unit.sources[rank].adapter != name:
            raise Refusal(Reason.NOT_YOUR_UNIT, {"unit": unit_id, "source": movement.source})
    if settled:
        return
    if rank is None:
        raise Contradiction(ParkReason.SOURCE_NOT_OF_UNIT, movement.source)
    if isinstance(movement.change, BedOpened | BedClosed | BedCleaned | CountsReported | Cancellation):
        return
    above = next((source for source in unit.sources[:rank] if source.id not in stale_sources), None)
    if above is not None:
        raise Contradiction(ParkReason.SOURCE_OUTRANKED, above.id)


def _unit_of(draft: Draft, movement: Movement) -> str | None:
    change = movement.change
    if isinstance(change, Admission | Transfer | ArrivalExpected | BedOpened | BedClosed | BedCleaned | CountsReported):
        return change.unit
    if isinstance(change, Cancellation):
        return None  # of the same source: what it cancels was heard
    here = draft.stay(movement.stay) or draft.expected(movement.stay)
    if here is None:
        raise Contradiction(ParkReason.STAY_UNKNOWN, "")
    return here.unit


def park(draft: Draft, movement: Movement, contradiction: Contradiction, by: Mandate, now: datetime) -> Parked:
    """Keeps a movement for a person. Raises QUEUE_FULL where too many wait."""
    if draft.parked_count() >= PARKED_MAX:
        raise Refusal(Reason.QUEUE_FULL, {"queue": "parked movements"})
    parked = Parked(draft.mint_uuid("parked"), movement, contradiction.reason, contradiction.detail, now, by)
    draft.put(Kind.PARKED, parked.id, parked)
    return parked


# --- what is told ----------------------------------------------------------------------------------------------------


def apply(draft: Draft, movement: Movement, by: Mandate, now: datetime) -> tuple[Undo, str]:
    """Applies a movement: how to undo it, and the id of the doubt that it raised (or "").

    Raises Contradiction, Refusal.
    """
    step = Draft(draft)
    doubt = _HANDLERS[type(movement.change)](step, movement, movement.change, now) or ""
    closures = [change for change in step.changes() if change.kind is Kind.CLOSURE]
    for _, key, fact in closures:
        if fact is not None and draft.find(Kind.CLOSURE, key) is None:
            step.put(Kind.CLOSURE, key, replace(cast("Closure", fact), by=by))
    undo = _undo_of(draft, step)
    step.fold_into(draft)
    return undo, doubt


def _undo_of(before: Draft, after: Draft) -> Undo:
    stays: list[tuple[str, Stay | None, bool]] = []
    expected: list[tuple[str, Expected | None]] = []
    closures: list[tuple[str, Closure | None]] = []
    beds: list[tuple[str, Bed | None]] = []
    opened: list[tuple[str, int]] = []
    for kind, key, fact in after.changes():
        was = before.find(kind, key)
        if kind is Kind.STAY:
            stays.append((key, cast("Stay | None", was), fact is None))
        elif kind is Kind.EXPECTED:
            expected.append((key, cast("Expected | None", was)))
        elif kind is Kind.CLOSURE:
            closures.append((key, cast("Closure | None", was)))
        elif kind is Kind.BED:
            beds.append((key, cast("Bed | None", was)))
        elif kind is Kind.PLACES:
            opened.append((key, cast("Places", fact).open - cast("Places", was).open))
    return Undo(tuple(stays), tuple(expected), tuple(closures), tuple(beds), tuple(opened))


def _known_unit(draft: Draft, unit_id: str) -> Unit:
    unit = draft.unit(unit_id)
    if unit is None:
        raise Contradiction(ParkReason.UNIT_UNKNOWN, unit_id)
    return unit


def _known_bed(draft: Draft, unit: Unit, bed: str) -> Bed:
    found = draft.bed(unit.id, bed)
    if found is None:
        raise Contradiction(ParkReason.BED_UNKNOWN, bed)
    return found


def _known_stay(draft: Draft, movement: Movement) -> Stay:
    stay = draft.stay(movement.stay)
    if stay is None:
        raise Contradiction(ParkReason.STAY_UNKNOWN, "")
    return stay


def _need_stay(movement: Movement) -> None:
    if not movement.stay:
        raise field_invalid("stay_key", "is missing: say which stay moves, by its opaque key")


def _take_bed(draft: Draft, unit: Unit, bed_id: str | None, stay: str, now: datetime) -> str | None:
    """Checks that a patient can be in that bed; a supplementary bed with a patient in it is mobilised."""
    if bed_id is None or unit.counting is Counting.PLACES:
        return None
    bed = _known_bed(draft, unit, bed_id)
    other = occupant(draft, unit.id, bed_id)
    if other is not None and other.key != stay:
        raise Contradiction(ParkReason.BED_OCCUPIED, bed_id)
    for closure in draft.book(unit.id).closures.values():
        if bed_id in closure.beds and closure.start <= now:
            raise Contradiction(ParkReason.BED_CLOSED, bed_id)
    if bed.supplementary not in (None, SupplementaryKind.MOBILISED) or bed.to_clean_since is not None:
        mobilised = None if bed.supplementary is None else SupplementaryKind.MOBILISED
        draft.put(Kind.BED, f"{unit.id}/{bed_id}", replace(bed, supplementary=mobilised, to_clean_since=None))
    return bed_id


def _take_place(draft: Draft, unit: Unit, gender: Gender, now: datetime) -> Gender | None:
    """A counted place for a patient who is here.

    Raises Contradiction UNIT_FULL where more are in than were ever installed.
    """
    if unit.counting is Counting.BEDS:
        return None
    book = draft.book(unit.id)
    capacity = sum(max(places.open, places.installed) for places in book.places.values())
    inside = sum(not stay.on_leave or stay.keep_bed for stay in book.stays.values())
    inside += sum(places.unnamed for places in book.places.values())
    if inside >= capacity:
        raise Contradiction(ParkReason.UNIT_FULL, str(capacity))
    return spot_for_patient(unit, book, gender, now, None).place


def _leave_bed(draft: Draft, stay: Stay, now: datetime, *, to_clean: bool) -> None:
    if stay.bed is None or not to_clean:
        return
    bed = draft.bed(stay.unit, stay.bed)
    if bed is not None:
        draft.put(Kind.BED, f"{stay.unit}/{stay.bed}", replace(bed, to_clean_since=now))


def _admission(draft: Draft, movement: Movement, told: Admission, now: datetime) -> str:
    _need_stay(movement)
    unit = _known_unit(draft, told.unit)
    here = draft.stay(movement.stay)
    if here is not None and not (here.unit == unit.id and (told.bed is None or here.bed in (None, told.bed))):
        raise Contradiction(ParkReason.STAY_ALREADY_PRESENT, here.unit)
    known = _told_by_hand(draft, unit, told) if here is None else here
    if known is not None:
        # The same patient, whom a person or another message had told before: what is new is added.
        bed = _take_bed(draft, unit, told.bed, known.key, now) or known.bed
        if known.key != movement.stay:
            draft.put(Kind.STAY, known.key, None)
            _follow_stay(draft, known, movement.stay)
        stay = replace(
            known,
            key=movement.stay,
            bed=bed,
            gender=gender_known(told.gender, known.gender),
            source=movement.source,
            movement=movement.key,
            departure=told.departure or known.departure,
            to_clean_after=told.to_clean_after or known.to_clean_after,
        )
        draft.put(Kind.STAY, stay.key, stay)
        return ""
    expected = draft.expected(movement.stay)
    bed = _take_bed(draft, unit, told.bed, movement.stay, now)
    gender = gender_known(told.gender, expected.gender if expected else Gender.UNDETERMINED)
    stay = Stay(
        key=movement.stay,
        unit=unit.id,
        gender=gender,
        since=movement.event_time or now,
        bed=bed,
        place=_take_place(draft, unit, gender, now),
        departure=told.departure or (expected.departure if expected else None),
        to_clean_after=told.to_clean_after,
        source=movement.source,
        movement=movement.key,
    )
    draft.put(Kind.STAY, stay.key, stay)
    reservation = None
    if told.reservation:
        key = draft.named(told.reservation)
        reservation = draft.reservation(key) if key else None
    if reservation is not None and reservation.state.is_live and not reservation.stay:
        link(draft, reservation, stay, now)
        return ""
    if expected is not None:
        draft.put(Kind.EXPECTED, movement.stay, None)
        return ""
    return raise_doubt(draft, stay, now)


def _told_by_hand(draft: Draft, unit: Unit, told: Admission) -> Stay | None:
    """The stay that a person's admission of a reservation made, if this is the system's word on the same patient."""
    key = draft.named(told.reservation) if told.reservation else None
    reservation = draft.reservation(key) if key else None
    if reservation is not None:
        stay = draft.stay(reservation.stay)
    else:
        stay = occupant(draft, unit.id, told.bed) if told.bed else None
    return stay if stay is not None and stay.reservation and not stay.source and stay.unit == unit.id else None


def _follow_stay(draft: Draft, stay: Stay, new_key: str) -> None:
    reservation = draft.reservation(stay.reservation)
    if reservation is not None:
        draft.put_reservation(replace(reservation, stay=new_key))


def _transfer(draft: Draft, movement: Movement, told: Transfer, now: datetime) -> None:
    stay = _known_stay(draft, movement)
    unit = _known_unit(draft, told.unit)
    if stay.unit == unit.id and told.bed in (None, stay.bed) and not stay.on_leave:
        return
    bed = _take_bed(draft, unit, told.bed, stay.key, now)
    place = stay.place if stay.unit == unit.id else _take_place(draft, unit, stay.gender, now)
    _leave_bed(draft, stay, now, to_clean=stay.to_clean_after and stay.bed != bed)
    if stay.unit != unit.id:
        stay_gone(draft, stay, now)
    moved = replace(stay, unit=unit.id, bed=bed, place=place, on_leave=False, return_time=None, movement=movement.key)
    draft.put(Kind.STAY, stay.key, moved)


def _discharge(draft: Draft, movement: Movement, told: Discharge, now: datetime) -> None:
    stay = _known_stay(draft, movement)
    _leave_bed(draft, stay, now, to_clean=told.to_clean or stay.to_clean_after)
    stay_gone(draft, stay, now)
    draft.put(Kind.STAY, stay.key, None)


def _leave(draft: Draft, movement: Movement, told: Leave, _now: datetime) -> None:
    stay = _known_stay(draft, movement)
    if stay.on_leave:
        raise Contradiction(ParkReason.LEAVE_MISMATCH, "already on leave")
    away = replace(stay, on_leave=True, keep_bed=told.keep_bed, return_time=told.return_time, movement=movement.key)
    draft.put(Kind.STAY, stay.key, away)


def _leave_return(draft: Draft, movement: Movement, told: LeaveReturn, now: datetime) -> None:
    stay = _known_stay(draft, movement)
    if not stay.on_leave:
        raise Contradiction(ParkReason.LEAVE_MISMATCH, "not on leave")
    unit = _known_unit(draft, stay.unit)
    bed = _take_bed(draft, unit, told.bed or stay.bed, stay.key, now)
    back = replace(stay, bed=bed, on_leave=False, keep_bed=True, return_time=None, movement=movement.key)
    draft.put(Kind.STAY, stay.key, back)


def _departure(draft: Draft, movement: Movement, told: DepartureAnnounced, _now: datetime) -> None:
    expected = draft.expected(movement.stay)
    if expected is not None and draft.stay(movement.stay) is None:
        later = replace(expected, departure=told.departure, movement=movement.key)
        draft.put(Kind.EXPECTED, expected.key, later)
        return
    stay = _known_stay(draft, movement)
    announced = replace(stay, departure=told.departure, slipped=False, movement=movement.key)
    draft.put(Kind.STAY, stay.key, announced)


def _arrival_expected(draft: Draft, movement: Movement, told: ArrivalExpected, _now: datetime) -> None:
    _need_stay(movement)
    unit = _known_unit(draft, told.unit)
    here = draft.stay(movement.stay)
    if here is not None:
        raise Contradiction(ParkReason.STAY_ALREADY_PRESENT, here.unit)
    if told.departure is not None and told.departure <= told.arrival:
        raise Refusal(Reason.TIME_OUT_OF_RANGE, {"field": "departure_time"})
    bed = None
    place = None
    if unit.counting is Counting.PLACES:
        place = spot_for_patient(unit, draft.book(unit.id), told.gender, told.arrival, told.departure).place
    elif told.bed is not None:
        bed = _known_bed(draft, unit, told.bed).id
    expected = Expected(
        movement.stay,
        unit.id,
        told.gender,
        told.arrival,
        told.departure,
        bed,
        place,
        movement.source,
        movement.key,
    )
    draft.put(Kind.EXPECTED, movement.stay, expected)


def _bed_closed(draft: Draft, _movement: Movement, told: BedClosed, now: datetime) -> None:
    unit = _known_unit(draft, told.unit)
    if told.end <= told.start or told.end <= now:
        raise Refusal(Reason.TIME_OUT_OF_RANGE, {"field": "interval", "problem": "the planned end is to come"})
    beds: tuple[str, ...] = ()
    places: tuple[tuple[Gender, int], ...] = ()
    if unit.counting is Counting.BEDS:
        if not told.beds:
            raise Refusal(Reason.UNIT_COUNTS_BEDS, {"unit": unit.id})
        if len(told.beds) > BEDS_MAX:
            raise field_invalid("beds", f"has more than {BEDS_MAX} entries")
        beds = tuple(dict.fromkeys(_known_bed(draft, unit, bed).id for bed in told.beds))
    else:
        if told.beds:
            raise Refusal(Reason.UNIT_COUNTS_PLACES, {"unit": unit.id})
        places = _closed_places(draft, unit, told.places)
    closure = Closure(unit.id, draft.mint_uuid("closure"), beds, places, told.start, told.end, told.kind, told.reason)
    draft.put(Kind.CLOSURE, f"{unit.id}/{closure.id}", closure)


def _closed_places(draft: Draft, unit: Unit, count: int) -> tuple[tuple[Gender, int], ...]:
    """Which places a closure takes: the indifferent ones first. Raises COUNT_OUT_OF_RANGE beyond what is open."""
    book = draft.book(unit.id)
    left, closed = count, []
    for gender in (Gender.ANY, Gender.FEMALE, Gender.MALE, Gender.UNDETERMINED):
        places = book.places.get(gender.value)
        if places is not None and left > 0:
            shut = sum(n for closure in book.closures.values() for g, n in closure.places if g is gender)
            here = min(left, max(0, places.open - shut))
            left -= here
            closed += [(gender, here)] if here else []
    if count <= 0 or left:
        raise Refusal(Reason.COUNT_OUT_OF_RANGE, {"field": "places", "problem": "1 to the number of open places"})
    return tuple(closed)


def _bed_opened(draft: Draft, _movement: Movement, told: BedOpened, _now: datetime) -> None:
    unit = _known_unit(draft, told.unit)
    closures = draft.book(unit.id).closures
    if told.closure:
        key = f"{unit.id}/{told.closure}"
        if key not in closures:
            raise Contradiction(ParkReason.CLOSURE_UNKNOWN, told.closure)
        chosen = {key: closures[key]}
    else:
        chosen = dict(closures)
    if unit.counting is Counting.PLACES:
        _open_places(draft, unit, chosen, told)
        return
    beds = set(told.beds)
    if not beds and told.closure:
        beds = {bed for closure in chosen.values() for bed in closure.beds}
    found = False
    for bed_id in beds:
        bed = _known_bed(draft, unit, bed_id)
        if bed.supplementary not in (None, SupplementaryKind.MOBILISED):
            mobilised = replace(bed, supplementary=SupplementaryKind.MOBILISED)
            draft.put(Kind.BED, f"{unit.id}/{bed_id}", mobilised)
            found = True
    for key, closure in chosen.items():
        left = tuple(bed for bed in closure.beds if bed not in beds)
        if left != closure.beds:
            draft.put(Kind.CLOSURE, key, replace(closure, beds=left) if left else None)
            found = True
    if not found:
        raise Contradiction(ParkReason.CLOSURE_UNKNOWN, ", ".join(sorted(beds))[:200])


def _open_places(draft: Draft, unit: Unit, chosen: dict[str, Closure], told: BedOpened) -> None:
    closed = sum(n for closure in chosen.values() for _, n in closure.places)
    left = told.places or (closed if told.closure else 0)
    if left <= 0:
        raise Refusal(Reason.COUNT_OUT_OF_RANGE, {"field": "places", "problem": "must be 1 or more"})
    for key, closure in chosen.items():
        kept = []
        for gender, count in closure.places:
            opened = min(count, left)
            left -= opened
            kept += [(gender, count - opened)] if count > opened else []
        draft.put(Kind.CLOSURE, key, replace(closure, places=tuple(kept)) if kept else None)
    if left and told.closure:
        raise Refusal(Reason.COUNT_OUT_OF_RANGE, {"field": "places", "problem": "more than the closure holds"})
    if left:
        add_places(draft, unit, left)


def _bed_cleaned(draft: Draft, _movement: Movement, told: BedCleaned, _now: datetime) -> None:
    unit = _known_unit(draft, told.unit)
    bed = _known_bed(draft, unit, told.bed)
    draft.put(Kind.BED, f"{unit.id}/{bed.id}", replace(bed, to_clean_since=None))


def count(
    draft: Draft, movement: Movement, stale_sources: frozenset[str], now: datetime
) -> tuple[Fate, dict[str, str]]:
    """Takes counts that a source states, once `check_source` let it speak: what became of them, and why.

    Counts older than those it last stated of the unit change nothing, so that files out of order do no harm. Raises
    COUNT_OUT_OF_RANGE, UNIT_COUNTS_BEDS.
    """
    told = cast("CountsReported", movement.change)
    unit = _known_unit(draft, told.unit)
    when = movement.event_time or now
    last = draft.book(unit.id).words.get(movement.source)
    if last is not None and last.counted is not None and last.counted > when:
        return Fate.ALREADY, {"newer": last.counted.isoformat()}
    rank = next((i for i, source in enumerate(unit.sources) if source.id == movement.source), 0)
    above = outranked_by(unit, rank, stale_sources)
    places = tuple(DeclaredPlaces(one.gender, one.open, one.occupied) for one in told.places)
    tell_counts(draft, unit, Word(unit.id, movement.source, 0, now, when, winning=not above), places)
    return Fate.APPLIED, {"outranked_by": above} if above else {}


# --- cancellations ---------------------------------------------------------------------------------------------------


def _cancellation(draft: Draft, movement: Movement, told: Cancellation, now: datetime) -> None:
    key = f"{movement.source}/{told.movement_id}"
    record = draft.movement(key)
    if record is None or record.undo == Undo():
        raise Contradiction(ParkReason.CANCELLED_UNKNOWN, told.movement_id)
    undo = record.undo
    _check_last(draft, key, undo)
    arrived = any(before is None for _, before, _ in undo.stays)
    for stay_key, before, removed in undo.stays:
        if not (arrived and removed):  # a stay told by hand, which the admission had taken over, goes with it
            _put_stay_back(draft, stay_key, before, now)
    for expected_key, expected in undo.expected:
        draft.put(Kind.EXPECTED, expected_key, expected)
    for closure_key, closure in undo.closures:
        draft.put(Kind.CLOSURE, closure_key, closure)
    for bed_key, bed in undo.beds:
        present = cast("Bed | None", draft.find(Kind.BED, bed_key))
        if bed is not None and present is not None:
            back = replace(present, to_clean_since=bed.to_clean_since, supplementary=bed.supplementary)
            draft.put(Kind.BED, bed_key, back)
    for places_key, opened in undo.opened:
        places = cast("Places | None", draft.find(Kind.PLACES, places_key))
        if places is not None:
            draft.put(Kind.PLACES, places_key, replace(places, open=max(0, places.open - opened)))
    draft.put(Kind.MOVEMENT, key, replace(record, undo=Undo(), reason="CANCELLED"))


def _check_last(draft: Draft, key: str, undo: Undo) -> None:
    for stay_key, _, removed in undo.stays:
        stay = draft.stay(stay_key)
        if stay is not None if removed else (stay is None or stay.movement != key):
            raise Contradiction(ParkReason.CANCELLED_UNKNOWN, key)
    for expected_key, before in undo.expected:
        expected = draft.expected(expected_key)
        # One that an admission took away comes back with it; one that this movement told must still be its word.
        if expected is not None and expected.movement != key and before is not expected:
            raise Contradiction(ParkReason.CANCELLED_UNKNOWN, key)


def _put_stay_back(draft: Draft, key: str, before: Stay | None, now: datetime) -> None:
    present = draft.stay(key)
    if before is None:
        if present is None:
            return
        stay_gone(draft, present, now)
        reservation = draft.reservation(present.reservation) if present.reservation else None
        if reservation is not None and reservation.stay == key and reservation.closed is None:
            draft.put(
                Kind.STAY, key, replace(present, source="")
            )  # told by nobody any more: it goes with the admission
            undo_admission(draft, reservation, now)
        draft.put(Kind.STAY, key, None)
        return
    if before.bed is not None:
        other = occupant(draft, before.unit, before.bed)
        if other is not None and other.key != key:
            before = replace(before, bed=None)  # the patient is there; the bed is now another's
    draft.put(Kind.STAY, key, before)


_HANDLERS: dict[type[MovementChange], Callable[[Draft, Movement, Any, datetime], str | None]] = {
    Admission: _admission,
    Transfer: _transfer,
    Discharge: _discharge,
    Leave: _leave,
    LeaveReturn: _leave_return,
    DepartureAnnounced: _departure,
    ArrivalExpected: _arrival_expected,
    BedOpened: _bed_opened,
    BedClosed: _bed_closed,
    BedCleaned: _bed_cleaned,
    Cancellation: _cancellation,
}
