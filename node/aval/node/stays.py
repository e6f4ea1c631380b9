"""Stays in the census: what a story comes to is written, and each patient gets the bed that was told, if it can be.

`retell` writes what the story of a stay comes to, with all that follows of it: an arrival is linked to its reservation
or asked about, a departure leaves a bed to be cleaned, what does not fit waits and is shown.

`seat` says who is counted where in a unit, from its facts alone, so that the order of messages does not matter: of two
patients told for one bed, the one who was put there first keeps it until leaving; the other counts in the unit, in no
known bed, and people are shown why. So nobody is lost, nothing is counted free that may be taken, and the day the
first one's departure is told, the other is in the bed without a word from anybody.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from msgspec.structs import replace

from aval.kernel.reasons import Reason, Refusal
from aval.kernel.statuses import Counting, Gender, SupplementaryKind
from aval.node.arrivals import (
    gender_known,
    link,
    occupant,
    raise_doubt,
    remove_told_by_hand,
    stay_gone,
    undo_admission,
)
from aval.node.book import Draft, UnitBook
from aval.node.claims import spot_for_patient
from aval.node.model import (
    Admission,
    Bed,
    Closure,
    Expected,
    Kind,
    Mandate,
    Movement,
    Parked,
    ParkReason,
    Reservation,
    Stay,
    Story,
    Told,
    Transfer,
    Turn,
    Unit,
)
from aval.node.passing import EXPECTED_WAITS
from aval.node.policy import is_wildcard
from aval.node.reservations import ADMISSION_CLOSED_AFTER
from aval.node.stories import Course, Left, Odd, course

PARKED_MAX = 10_000
"""Movements that wait for a person: beyond that a feed is misconfigured, and its movements are refused QUEUE_FULL."""

TURNS_MAX = 8
"""Departures remembered of one bed: some days of it, so that a late message finds its place among them."""

MERGES_MAX = 16
"""Stays merged one into the other: more is a loop of names."""


def resolved(draft: Draft, stay: str) -> str:
    """The stay that a key means: the one that it was merged into, if it was."""
    for _ in range(MERGES_MAX):
        story = draft.story(stay)
        if story is None or not story.merged_into:
            break
        stay = story.merged_into
    return stay


def story_of(draft: Draft, stay: str, now: datetime) -> Story:
    """The story of a stay; a new one begins with what is known of the stay."""
    return draft.story(stay) or Story(stay, now, (), draft.stay(stay), draft.expected(stay))


def park(draft: Draft, movement: Movement, odd: Odd, by: Mandate, now: datetime) -> str:
    """Keeps a movement for a person, and gives the id under which it waits. Raises QUEUE_FULL where too many wait."""
    if draft.parked_count() >= PARKED_MAX:
        raise Refusal(Reason.QUEUE_FULL, {"queue": "parked movements"})
    parked = Parked(draft.mint_uuid("parked"), movement, odd[0], odd[1], now, by)
    draft.put(Kind.PARKED, parked.id, parked)
    return parked.id


def retell(draft: Draft, story: Story, now: datetime, was: Course | None = None) -> str:
    """Writes what a story comes to; the id of the doubt that it raised, or "".

    `was`: what it came to before something was taken out of it.
    """
    told = course(draft, story)
    _note(draft, story, told, now)
    key, here = story.stay, told.here
    before, expected_before = draft.stay(key), draft.expected(key)
    after = here if isinstance(here, Stay) and draft.unit(here.unit) is not None else None
    doubt = ""
    if before is not None:
        _give_back(draft, before, after, told)
    turn(draft, key, was.left if was is not None else (), told.left)
    if after is not None:
        doubt = _present(draft, before, after, told, now)
    elif before is not None:
        _absent(draft, before, told, now)
    expected = here if isinstance(here, Expected) else None
    if expected is not None and draft.unit(expected.unit) is not None and now < expected.arrival + EXPECTED_WAITS:
        draft.put(Kind.EXPECTED, key, _with_place(draft, expected, expected_before))
    elif expected_before is not None:
        draft.put(Kind.EXPECTED, key, None)
    for unit in sorted({one.unit for one in (before, after) if one is not None}):
        seat(draft, unit, now)
    return doubt


def _note(draft: Draft, story: Story, told: Course, now: datetime) -> None:
    """Has what does not fit wait, and what fits by now wait no more; writes the story."""
    entries = []
    for one in story.told:
        odd = told.odd.get(one.movement.key)
        entry, parked = one, draft.parked(one.parked) if one.parked else None
        if odd is None:
            if parked is not None:
                draft.put(Kind.PARKED, parked.id, None)
            entry = replace(one, parked="")
        elif parked is None:
            entry = replace(one, parked=park(draft, one.movement, odd, one.by, now))
        else:
            draft.put(Kind.PARKED, parked.id, replace(parked, movement=one.movement, reason=odd[0], detail=odd[1]))
        entries.append(entry)
    draft.put(Kind.STORY, story.stay, replace(story, told=tuple(entries)))


def _with_place(draft: Draft, expected: Expected, before: Expected | None) -> Expected:
    unit = draft.unit(expected.unit)
    if unit is None or unit.counting is Counting.BEDS:
        return expected
    if before is not None and before.unit == expected.unit and before.gender is expected.gender:
        return replace(expected, place=before.place)
    book = draft.book(unit.id)
    spot = spot_for_patient(unit, book, expected.gender, expected.arrival, expected.departure)
    return replace(expected, place=spot.place)


# --- who is here -----------------------------------------------------------------------------------------------------


def _present(draft: Draft, before: Stay | None, after: Stay, told: Course, now: datetime) -> str:
    """Writes a patient who is in a unit of ours; the id of the doubt that the arrival raised, or ""."""
    unit = draft.unit(after.unit)
    if unit is None:
        return ""
    if unit.counting is Counting.PLACES:
        after = replace(after, told_bed=None, bed=None)
    moved = before is None or before.unit != after.unit
    known = before or _told_by_hand(draft, after, told.reference)
    if known is not None and known is not before:
        remove_told_by_hand(draft, known)
        reservation = draft.reservation(known.reservation)
        if reservation is not None:
            draft.put_reservation(replace(reservation, stay=after.key))
        if after.told_bed is None:
            after = replace(after, told_bed=known.bed)
    if known is not None:
        same_unit = known.unit == after.unit
        after = replace(
            after,
            gender=gender_known(after.gender, known.gender) if known.reservation else after.gender,
            bed=known.bed if same_unit and _still_in_bed(after, known) else None,
            place=known.place if same_unit else None,
            stay_end=known.stay_end,
            slipped=known.slipped and known.departure == after.departure,
            reservation=known.reservation,
            took=known.took if same_unit else None,
            notice=known.notice,
        )
    if before is not None and moved:
        stay_gone(draft, before, now)
    draft.put(Kind.STAY, after.key, after)
    seat(draft, unit.id, now)
    stay = draft.stay(after.key)
    if stay is None or stay.reservation or not moved:
        return ""
    reservation = _named(draft, told.reference)
    if reservation is not None and reservation.state.is_live and not reservation.stay:
        link(draft, reservation, stay, now)
        return ""
    return "" if told.was_expected else raise_doubt(draft, stay, now)


def _still_in_bed(after: Stay, known: Stay) -> bool:
    """Whether the bed that the patient is known in stands: told again, or put there by a person since."""
    if after.told_bed is not None:
        return after.told_bed == known.bed
    return after.bed == known.bed or (known.told_bed is None and known.movement == after.movement)


def _named(draft: Draft, reference: str) -> Reservation | None:
    key = draft.named(reference) if reference else None
    return draft.reservation(key) if key else None


def _told_by_hand(draft: Draft, stay: Stay, reference: str) -> Stay | None:
    """The stay that a person's admission of a reservation made, if this is the system's word on the same patient."""
    reservation = _named(draft, reference)
    if reservation is not None:
        known = draft.stay(reservation.stay)
    else:
        known = occupant(draft, stay.unit, stay.told_bed) if stay.told_bed else None
    return known if known is not None and known.reservation and not known.source and known.unit == stay.unit else None


def _absent(draft: Draft, before: Stay, told: Course, now: datetime) -> None:
    """Writes that a patient is no more in a unit of ours: gone, or never come."""
    stay_gone(draft, before, now)
    if before.notice:
        draft.put(Kind.PARKED, before.notice, None)
    reservation = draft.reservation(before.reservation) if before.reservation else None
    if told.here is None and not told.gone and reservation is not None and reservation.stay == before.key:
        admitted = reservation.admitted
        if reservation.closed is None and admitted is not None and now - admitted <= ADMISSION_CLOSED_AFTER:
            # Told by nobody any more, the stay goes with the admission.
            draft.put(Kind.STAY, before.key, replace(before, source="", notice=""))
            undo_admission(draft, reservation, now)
    draft.put(Kind.STAY, before.key, None)


# --- beds left -------------------------------------------------------------------------------------------------------


def _give_back(draft: Draft, before: Stay, after: Stay | None, told: Course) -> None:
    """Puts a supplementary bed back as it was before a patient took it who, as is said now, never did."""
    took, bed = before.took, before.bed
    if took is None or bed is None or (after is not None and after.unit == before.unit and after.told_bed == bed):
        return
    present = draft.bed(before.unit, bed)
    if present is not None and not any((left.unit, left.bed) == (before.unit, bed) for left in told.left):
        draft.put(Kind.BED, f"{before.unit}/{bed}", replace(present, supplementary=took))


def turn(draft: Draft, stay: str, before: Iterable[Left], now_left: Iterable[Left]) -> None:
    """Writes which beds a patient has left, instead of what was said of that before."""
    left = list(now_left)
    for unit, bed_id in sorted({(one.unit, one.bed) for one in (*before, *left)}):
        bed = draft.bed(unit, bed_id)
        if bed is not None:
            turns = [one for one in bed.turns if one.by != stay]
            turns += [Turn(stay, one.at, one.to_clean) for one in left if (one.unit, one.bed) == (unit, bed_id)]
            put_turns(draft, bed, turns)


def put_turns(draft: Draft, bed: Bed, turns: list[Turn]) -> None:
    """Writes who left a bed, and when it was cleaned."""
    kept = tuple(sorted(turns, key=lambda one: (one.at, one.by)))[-TURNS_MAX:]
    since = bed.to_clean_since if kept else None
    draft.put(Kind.BED, f"{bed.unit}/{bed.id}", replace(bed, turns=kept, to_clean_since=since))


# --- who is where ----------------------------------------------------------------------------------------------------


def seat(draft: Draft, unit_id: str, now: datetime) -> None:
    """Says anew who is in which bed or place of a unit."""
    unit, book = draft.unit(unit_id), draft.book(unit_id)
    if unit is None:
        return
    if unit.counting is Counting.BEDS:
        _seat_in_beds(draft, unit, book, now)
    else:
        _count_in(draft, unit, book, now)


def _seat_in_beds(draft: Draft, unit: Unit, book: UnitBook, now: datetime) -> None:
    taken: set[str] = set()
    closures = sorted(book.closures.values(), key=lambda one: (one.start, one.id), reverse=True)
    closed = {bed: closure for closure in closures for bed in closure.beds}  # of several, the one that began first
    for stay in sorted(book.stays.values(), key=_by_placing):
        bed = stay.told_bed or stay.bed
        if bed is None or not stay.takes_bed:
            if stay.notice or stay.bed != bed:
                _write(draft, stay, bed, None, now)
            continue
        odd = _why_not(book, stay, bed, taken, closed.get(bed))
        if odd is None:
            taken.add(bed)
            _mobilise(draft, unit, stay, bed)
        if odd is not None or stay.bed != bed or stay.notice:
            _write(draft, draft.stay(stay.key) or stay, None if odd else bed, odd, now)
    for _, known in sorted(draft.book(unit.id).beds.items()):
        if known.to_clean_since is not None or known.turns:
            _say_clean(draft, known, now, taken=known.id in taken)


def _say_clean(draft: Draft, bed: Bed, now: datetime, *, taken: bool) -> None:
    """Whether a bed waits for cleaning: not with a patient in it; else as was said when the last one left."""
    since = bed.to_clean_since
    if taken or (bed.turns and not bed.turns[-1].to_clean):
        since = None
    elif bed.turns and since is None:
        since = now
    if since != bed.to_clean_since:
        draft.put(Kind.BED, f"{bed.unit}/{bed.id}", replace(bed, to_clean_since=since))


def _by_placing(stay: Stay) -> tuple[bool, datetime, str]:
    """Whom a person put in a bed is there; then the one that was first."""
    return stay.told_bed is not None, stay.placed or stay.since, stay.key


def _why_not(book: UnitBook, stay: Stay, bed: str, taken: set[str], closure: Closure | None) -> Odd | None:
    if bed not in book.beds:
        return ParkReason.BED_UNKNOWN, bed
    if bed in taken:
        return ParkReason.BED_OCCUPIED, bed
    if closure is not None and stay.told_bed is not None and closure.start <= (stay.placed or stay.since):
        return ParkReason.BED_CLOSED, bed
    return None


def _mobilise(draft: Draft, unit: Unit, stay: Stay, bed_id: str) -> None:
    """A supplementary bed with a patient in it is mobilised."""
    bed = draft.bed(unit.id, bed_id)
    if bed is not None and bed.supplementary not in (None, SupplementaryKind.MOBILISED):
        mobilised = replace(bed, supplementary=SupplementaryKind.MOBILISED)
        draft.put(Kind.BED, f"{unit.id}/{bed_id}", mobilised)
        draft.put(Kind.STAY, stay.key, replace(stay, took=bed.supplementary))


def _count_in(draft: Draft, unit: Unit, book: UnitBook, now: datetime) -> None:
    """Counted places: of one's own gender first, then indifferent ones. Who is here counts, above capacity too."""
    room = {places.gender: places.open - places.unnamed for _, places in sorted(book.places.items())}
    capacity = sum(max(places.open, places.installed) - places.unnamed for places in book.places.values())
    for known in sorted(book.stays.values(), key=_by_placing):
        stay, here = known, known.takes_bed
        wanted = list(_suiting(stay.gender, room)) or list(room)
        place = next((gender for gender in wanted if room[gender] > 0 or not here), wanted[0] if wanted else None)
        if place is not None:
            room[place] -= here
        capacity -= here
        odd = (ParkReason.UNIT_FULL, unit.id) if capacity < 0 and here and stay.source else None
        if stay.place is not place:
            stay = replace(stay, place=place)
            draft.put(Kind.STAY, stay.key, stay)
        if odd is not None or stay.notice:
            _write(draft, stay, stay.bed, odd, now)


def _suiting(gender: Gender, room: dict[Gender, int]) -> Iterator[Gender]:
    order = (Gender.ANY, Gender.FEMALE, Gender.MALE) if is_wildcard(gender) else (gender, Gender.ANY)
    return (place for place in order if place in room)


def _write(draft: Draft, stay: Stay, bed: str | None, odd: Odd | None, now: datetime) -> None:
    """Puts a stay in its bed, or in none: people are then shown why, until it is settled or has settled itself."""
    notice, parked = "", draft.parked(stay.notice) if stay.notice else None
    if odd is None:
        if parked is not None:
            draft.put(Kind.PARKED, parked.id, None)
    elif parked is not None:
        notice, told = parked.id, placing(draft, stay)
        movement = parked.movement if told is None else told.movement
        draft.put(Kind.PARKED, notice, replace(parked, movement=movement, reason=odd[0], detail=odd[1]))
    else:
        told = placing(draft, stay)
        if told is not None and not (told.settled and odd[0] is ParkReason.UNIT_FULL):
            notice = park(draft, told.movement, odd, told.by, now)
    told_bed = stay.told_bed or (stay.bed if odd is not None else None)
    draft.put(Kind.STAY, stay.key, replace(stay, bed=bed, told_bed=told_bed, notice=notice))


def placing(draft: Draft, stay: Stay) -> Told | None:
    """The movement that put a patient where he is, if it is remembered."""
    story = draft.story(stay.key)
    return next((one for one in story.told if one.movement.key == stay.movement), None) if story is not None else None


def without_bed(movement: Movement, unit: str) -> Movement:
    """The movement that put a patient in that unit, as if its source had not said the bed."""
    change = movement.change
    bare = replace(change, bed=None) if isinstance(change, Admission) else Transfer(unit, None, bed_unknown=True)
    return replace(movement, change=bare)
