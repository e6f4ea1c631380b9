"""What a house says of itself, by hand: its units and beds, its policies, its counts, and how a conflict is settled."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from aval.kernel.hours import WeekHours
from aval.kernel.reasons import Reason, Refusal, field_invalid
from aval.kernel.statuses import Counting, Gender, RoomRule, SourceKind, SupplementaryKind
from aval.node.arrivals import remove_told_by_hand
from aval.node.book import Draft
from aval.node.claims import NEVER, Spot, ground
from aval.node.commands import (
    Caller,
    ConfirmUnit,
    CorrectFigures,
    DeclareCounts,
    DeclaredPlaces,
    DeclareUnit,
    SettleConflict,
    SetUnitPolicy,
    SetVisibility,
    UpdateBed,
    UpdateEstablishment,
)
from aval.node.conflicts import end_conflict, place_claim
from aval.node.grants import find_claim, make_offer
from aval.node.model import (
    SELF,
    Bed,
    Conflict,
    Correction,
    Kind,
    Places,
    Policy,
    Reservation,
    Room,
    Source,
    Unit,
    Word,
)
from aval.node.policy import default_policy
from aval.node.reservations import leave_doubts, move_to, take_away, unit_of

UNITS_MAX = 1_000
"""Units of an establishment (DESIGN §10): the largest French hospitals have some 200."""

BEDS_MAX = 1_000
"""Beds of a unit: no team looks after more."""

PLACES_MAX = 2_000
"""Counted places of one gender: the largest HAD has under 1,000."""

SOURCES_MAX = 8
"""Sources of a unit: one system a kind, and a person."""

CORRECTION_MAX = timedelta(hours=4)
"""How long a person's word stands against a source: a half shift; by then the source is put right."""

WORDS_MAX = 200
"""Characters of a reason typed by hand."""

_GENDERS = (Gender.FEMALE, Gender.MALE, Gender.ANY)


# --- units -----------------------------------------------------------------------------------------------------------


def declare_unit(draft: Draft, command: DeclareUnit) -> None:
    """Creates a unit, or replaces its description; census and claims stay."""
    told = command.unit
    known = draft.unit(told.id)
    if known is None and sum(1 for _ in draft.unit_ids()) >= UNITS_MAX:
        raise Refusal(Reason.UNIT_LIMIT, {"units_max": str(UNITS_MAX)})
    _check_sources(told.sources)
    book = draft.book(told.id)
    if known is not None and known.counting is not told.counting and (book.stays or book.claims or book.expected):
        raise field_invalid("counting", "cannot change while somebody is in the unit or expected there")
    policy = command.policy or (known.policy if known else default_policy(told.discipline))
    check_policy(policy)
    visibility = command.visibility or (known.visibility if known else told.visibility)
    draft.put(Kind.UNIT, told.id, replace(told, policy=policy, visibility=visibility))
    if told.counting is Counting.BEDS:
        _check_rooms(told.id, command.rooms, command.beds)
        _declare_beds(draft, told.id, command.rooms, command.beds)
    elif command.rooms or command.beds:
        raise field_invalid("rooms", "a unit with counted places has no rooms: leave them out")
    _declare_places(draft, told, command.places, replace_all=True)


def _check_sources(sources: tuple[Source, ...]) -> None:
    if not sources:
        raise field_invalid("sources", "a unit needs a source: a person, at least")
    if len(sources) > SOURCES_MAX or len({source.id for source in sources}) < len(sources):
        raise field_invalid("sources", f"at most {SOURCES_MAX}, each id once")
    if any(not timedelta(0) < source.fresh_max <= source.stale_min for source in sources):
        raise field_invalid("sources", "fresh_max is above 0 and at most stale_min")


def _check_rooms(unit: str, rooms: tuple[Room, ...], beds: tuple[Bed, ...]) -> None:
    rules = {room.id: room.rule for room in rooms}
    if len(rules) < len(rooms) or len({bed.id for bed in beds}) < len(beds):
        raise field_invalid("rooms", "each room and each bed has a code of its own in the unit")
    if len(beds) > BEDS_MAX:
        raise field_invalid("rooms", f"a unit has at most {BEDS_MAX} beds")
    inside: dict[str, int] = {}
    for bed in beds:
        if bed.unit != unit or bed.room not in rules:
            raise field_invalid("rooms", f"bed {bed.id} is in no room of the unit")
        inside[bed.room] = inside.get(bed.room, 0) + 1
        if rules[bed.room] is RoomRule.SINGLE and inside[bed.room] > 1:
            raise field_invalid("rooms", f"room {bed.room} is single and has more than one bed")
        if bed.gender not in _GENDERS:
            raise field_invalid("rooms", f"bed {bed.id}: say female, male or any")


def _declare_beds(draft: Draft, unit: str, rooms: tuple[Room, ...], beds: tuple[Bed, ...]) -> None:
    book = draft.book(unit)
    told = {bed.id for bed in beds}
    left_out = [bed for bed in book.beds.values() if bed.id not in told]
    kept_rooms = {room.id for room in rooms} | {bed.room for bed in left_out}
    for room_id in [room for room in book.rooms if room not in kept_rooms]:
        draft.put(Kind.ROOM, f"{unit}/{room_id}", None)
    for room in rooms:
        draft.put(Kind.ROOM, f"{unit}/{room.id}", room)
    for bed in beds:
        present = draft.bed(unit, bed.id)
        since, turns = (present.to_clean_since, present.turns) if present else (None, ())
        draft.put(Kind.BED, f"{unit}/{bed.id}", replace(bed, to_clean_since=since, turns=turns, leaving=False))
    for bed in left_out:
        draft.put(Kind.BED, f"{unit}/{bed.id}", replace(bed, leaving=True))


def remove_left_beds(draft: Draft, unit_id: str) -> None:
    """Removes the beds that their unit no more declares, once nobody is in them."""
    book = draft.book(unit_id)
    leaving = [bed for bed in book.beds.values() if bed.leaving]
    if not leaving:
        return
    taken = {stay.bed for stay in book.stays.values()} | {expected.bed for expected in book.expected.values()}
    taken |= {reservation.claim.bed for reservation in book.claims.values() if reservation.claim}
    for bed in leaving:
        if bed.id not in taken:
            draft.put(Kind.BED, f"{unit_id}/{bed.id}", None)
            if all(other.room != bed.room for other in draft.book(unit_id).beds.values()):
                draft.put(Kind.ROOM, f"{unit_id}/{bed.room}", None)


def _declare_places(draft: Draft, unit: Unit, told: tuple[DeclaredPlaces, ...], *, replace_all: bool) -> None:
    if told and unit.counting is Counting.BEDS:
        raise Refusal(Reason.UNIT_COUNTS_BEDS, {"unit": unit.id})
    book = draft.book(unit.id)
    seen: set[Gender] = set()
    for places in told:
        present = book.places.get(places.gender.value)
        if places.gender not in _GENDERS or places.gender in seen or (present is None and not replace_all):
            raise Refusal(Reason.COUNT_OUT_OF_RANGE, {"field": "places", "gender": places.gender.name.lower()})
        seen.add(places.gender)
        installed = places.installed
        if installed is None:
            installed = present.installed if present else places.open
        _check_count("installed", installed, PLACES_MAX)
        _check_count("open", places.open, PLACES_MAX)
        _check_count("occupied", places.occupied, max(places.open, installed))
        unnamed = places.occupied - _named_in(draft, unit.id, places.gender)
        draft.put(
            Kind.PLACES,
            f"{unit.id}/{places.gender.value}",
            Places(unit.id, places.gender, installed, places.open, unnamed),
        )
    if replace_all:
        for gender, present in list(book.places.items()):
            if present.gender not in seen:
                named = _named_in(draft, unit.id, present.gender)
                left = replace(present, installed=0, open=0, unnamed=0) if named else None
                draft.put(Kind.PLACES, f"{unit.id}/{gender}", left)


def add_places(draft: Draft, unit: Unit, count: int) -> None:
    """Mobilises counted places beyond those open: indifferent ones where the unit has such, else of its first
    gender.
    """
    book = draft.book(unit.id)
    gender = Gender.ANY.value if Gender.ANY.value in book.places else next(iter(sorted(book.places)), None)
    if gender is None:
        raise Refusal(Reason.COUNT_OUT_OF_RANGE, {"field": "places", "problem": "the unit declares no places"})
    places = book.places[gender]
    draft.put(Kind.PLACES, f"{unit.id}/{gender}", replace(places, open=places.open + count))


def _check_count(field: str, count: int, limit: int) -> None:
    if not 0 <= count <= limit:
        raise Refusal(Reason.COUNT_OUT_OF_RANGE, {"field": field, "count": str(count), "max": str(limit)})


def _named_in(draft: Draft, unit: str, gender: Gender) -> int:
    stays = draft.book(unit).stays.values()
    return sum(stay.place is gender and (not stay.on_leave or stay.keep_bed) for stay in stays)


def confirm_units(draft: Draft, command: ConfirmUnit, now: datetime) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """« Rien n'a changé »: the units confirmed, and the sources (people) of which that is a proof of life."""
    units = [unit_of(draft, unit) for unit in command.units]
    if not units:
        found = (draft.unit(unit) for unit in draft.unit_ids())
        units = [unit for unit in found if unit is not None and _person(unit) is not None]
    people = [person for unit in units if (person := _person(unit)) is not None]
    if len(people) < len(units):
        raise Refusal(Reason.SOURCE_NOT_FOUND, {"problem": "no person feeds one of these units"})
    for unit, person in zip(units, people, strict=True):
        _spoke(draft, unit, person, command.caller, now)
    return tuple(unit.id for unit in units), tuple(dict.fromkeys(person.id for person in people))


def _spoke(draft: Draft, unit: Unit, person: Source, caller: Caller, now: datetime) -> None:
    """Keeps who spoke for a unit, and when: its figures stand."""
    known = draft.book(unit.id).words.get(person.id) or Word(unit.id, person.id, 0, now, winning=True)
    draft.put(Kind.WORD, f"{unit.id}/{person.id}", replace(known, said=now, by=_named(caller)))


def _named(caller: Caller) -> str:
    return caller.mandate.display_name or caller.mandate.actor


def _person(unit: Unit) -> Source | None:
    return next((source for source in unit.sources if source.kind is SourceKind.PERSON), None)


# --- counts ----------------------------------------------------------------------------------------------------------


def declare_counts(draft: Draft, command: DeclareCounts, now: datetime) -> str:
    """Counts by hand; the source that spoke. Where another source stands above, the word is kept beside its figures."""
    unit = unit_of(draft, command.unit)
    if unit.counting is Counting.BEDS:
        raise Refusal(Reason.UNIT_COUNTS_BEDS, {"unit": unit.id})
    person = _person(unit)
    source_id = command.source or (person.id if person else "")
    rank = next((i for i, source in enumerate(unit.sources) if source.id == source_id), None)
    if rank is None:
        raise Refusal(Reason.SOURCE_NOT_FOUND, {"unit": unit.id, "source": source_id})
    if command.figures_moved:
        raise Refusal(Reason.FIGURES_MOVED, {"unit": unit.id})
    above = outranked_by(unit, rank, command.stale_sources)
    word = Word(unit.id, source_id, 0, now, winning=not above, by=_named(command.caller))
    tell_counts(draft, unit, word, command.places)
    return source_id


def outranked_by(unit: Unit, rank: int, stale_sources: frozenset[str]) -> str:
    """The source above that one which is not stale, or "": then the one of that rank is heard."""
    return next((source.id for source in unit.sources[:rank] if source.id not in stale_sources), "")


def tell_counts(draft: Draft, unit: Unit, word: Word, told: tuple[DeclaredPlaces, ...]) -> None:
    """Takes counts as the unit's, if the word is a winning one; else keeps it to be shown beside its figures.

    Raises COUNT_OUT_OF_RANGE, UNIT_COUNTS_BEDS, FIELD_INVALID.
    """
    if unit.counting is Counting.BEDS:
        raise Refusal(Reason.UNIT_COUNTS_BEDS, {"unit": unit.id})
    if not told:
        raise field_invalid("places", "say how many are open and occupied")
    word_key = f"{unit.id}/{word.source}"
    free = sum(places.open - places.occupied for places in told)
    if not word.winning:
        for places in told:
            _check_count("open", places.open, PLACES_MAX)
            _check_count("occupied", places.occupied, places.open)
        draft.put(Kind.WORD, word_key, replace(word, free=free))
        return
    for _, stay in sorted(draft.book(unit.id).stays.items()):
        # Admissions by hand, closed since, that no system will ever discharge: the person's count holds them now.
        reservation = draft.reservation(stay.reservation) if stay.reservation else None
        if not stay.source and (reservation is None or reservation.closed is not None):
            remove_told_by_hand(draft, stay)
    _declare_places(draft, unit, told, replace_all=False)
    draft.put(Kind.WORD, word_key, replace(word, free=free))
    draft.put(Kind.CORRECTION, unit.id, None)


def correct_figures(draft: Draft, command: CorrectFigures, now: datetime) -> None:
    """A person's word against a source: from now on so many places are free, whatever it says, for 4 h at most."""
    unit = unit_of(draft, command.unit)
    if not command.reason.strip():
        raise Refusal(Reason.REASON_REQUIRED)
    if len(command.reason) > WORDS_MAX:
        raise field_invalid("reason", f"has more than {WORDS_MAX} characters")
    if not timedelta(0) < command.ttl <= CORRECTION_MAX:
        raise Refusal(Reason.CORRECTION_TOO_LONG, {"ttl_max_hours": "4"})
    if command.figures_moved:
        raise Refusal(Reason.FIGURES_MOVED, {"unit": unit.id})
    book = draft.book(unit.id)
    capacity = len(book.beds) + sum(places.open for places in book.places.values())
    _check_count("free", command.free, capacity)
    draft.put(Kind.CORRECTION, unit.id, None)
    found = ground(unit, draft.book(unit.id), now, with_conflicts=True).levels.at(now)
    correction = Correction(
        unit.id,
        command.free,
        found - command.free,
        command.reason.strip(),
        command.caller.mandate,
        now,
        now + command.ttl,
    )
    draft.put(Kind.CORRECTION, unit.id, correction)
    person = _person(unit)
    if person is not None:
        _spoke(draft, unit, person, command.caller, now)


# --- policies and descriptions ---------------------------------------------------------------------------------------


def check_policy(policy: Policy) -> None:
    """Raises FIELD_INVALID for a policy that cannot be meant."""
    for name, hours in (
        ("answer_hours", policy.answer_hours),
        ("admission_hours", policy.admission_hours),
        ("automatic.hours", policy.automatic.hours),
    ):
        _check_hours(name, hours)
    for day in policy.closed_days:
        try:
            date.fromisoformat(day)
        except ValueError:
            raise field_invalid("closed_days", "must be dates as YYYY-MM-DD") from None
    for name, ttl in (("ttl", policy.ttl), ("ttl_max", policy.ttl_max)):
        if ttl is not None and not timedelta(0) < ttl <= timedelta(days=60):
            raise field_invalid(name, "must be above 0 and at most 60 days")
    if not 0 <= policy.turnover_minutes <= 24 * 60:
        raise field_invalid("turnover_minutes", "must be 0 to 1,440")
    if min(policy.renewals_max, policy.automatic.per_day_max, policy.automatic.keep_free) < 0:
        raise field_invalid("policy", "a limit is 0 or more")


def _check_hours(name: str, hours: tuple[WeekHours, ...]) -> None:
    for span in hours:
        if not (1 <= span.day <= 7 and 0 <= span.start_minute < span.end_minute <= 24 * 60):
            raise field_invalid(name, "days are 1 Monday to 7 Sunday, minutes 0 to 1,440 with the start before the end")


def set_policy(draft: Draft, command: SetUnitPolicy) -> None:
    """Changes a policy, whole. What was promised under the former one stays promised."""
    unit = unit_of(draft, command.unit)
    check_policy(command.policy)
    draft.put(Kind.UNIT, unit.id, replace(unit, policy=command.policy))


def set_visibility(draft: Draft, command: SetVisibility) -> None:
    """Changes what audiences see of units."""
    for unit in [unit_of(draft, unit) for unit in command.units]:
        draft.put(Kind.UNIT, unit.id, replace(unit, visibility=command.visibility))


def update_establishment(draft: Draft, command: UpdateEstablishment) -> None:
    """Name, telephones, time zone."""
    try:
        ZoneInfo(command.time_zone)
    except (ValueError, OSError):
        raise field_invalid("time_zone", "is no IANA time zone, such as Europe/Paris") from None
    if command.time_zone != draft.establishment.time_zone:
        draft.units.update(draft.unit_ids())  # hours and days are those of the house
    changed = replace(
        draft.establishment,
        display_name=command.display_name,
        phones=command.phones,
        time_zone=command.time_zone,
    )
    draft.put(Kind.ESTABLISHMENT, SELF, changed)


def update_bed(draft: Draft, command: UpdateBed) -> None:
    """Changes a bed's room, gender or features."""
    unit = unit_of(draft, command.unit)
    bed = draft.bed(unit.id, command.bed)
    if bed is None:
        raise Refusal(Reason.BED_NOT_FOUND, {"unit": unit.id, "bed": command.bed})
    book = draft.book(unit.id)
    room = book.rooms.get(command.room)
    if room is None:
        raise field_invalid("room", "is no room of the unit")
    others = [other for other in book.beds.values() if other.room == room.id and other.id != bed.id]
    if room.rule is RoomRule.SINGLE and others:
        raise field_invalid("room", "is single and has a bed already")
    if command.gender not in _GENDERS:
        raise field_invalid("gender", "say female, male or any")
    changed = replace(bed, room=room.id, gender=command.gender, features=command.features)
    draft.put(Kind.BED, f"{unit.id}/{bed.id}", changed)


# --- conflicts -------------------------------------------------------------------------------------------------------


def settle_conflict(draft: Draft, command: SettleConflict, now: datetime) -> Conflict:
    """Settles a conflict: another bed of the house, a withdrawal, or a supplementary bed."""
    conflict = draft.conflict(f"{command.unit}/{command.conflict}")
    reservation = draft.reservation(conflict.reservation) if conflict else None
    if conflict is None or reservation is None:
        raise Refusal(Reason.CONFLICT_NOT_FOUND, {"conflict": command.conflict})
    if [bool(command.bed), command.withdraw is not None, command.supplementary].count(True) != 1:
        raise field_invalid("settlement", "say one: another bed, a withdrawal, or a supplementary bed")
    unit = unit_of(draft, conflict.unit)
    if command.withdraw is not None:
        take_away(draft, reservation, command.withdraw, command.caller.mandate, now)
    elif command.supplementary:
        _mobilise_for(draft, reservation, unit, now)
    elif command.to_unit in ("", unit.id):
        move_to(draft, reservation, unit, command.bed, now)
    else:
        _move_away(draft, reservation, unit_of(draft, command.to_unit), command.bed, now)
    return conflict


def _mobilise_for(draft: Draft, reservation: Reservation, unit: Unit, now: datetime) -> None:
    if unit.counting is Counting.PLACES:
        add_places(draft, unit, 1)
        gender = Gender.ANY if Gender.ANY.value in draft.book(unit.id).places else reservation.need.gender
        fallback = next(iter(sorted(draft.book(unit.id).places)))
        place = gender if gender.value in draft.book(unit.id).places else Gender(fallback)
        place_claim(draft, reservation, Spot(None, place))
        return
    for bed in sorted(draft.book(unit.id).beds.values(), key=lambda bed: bed.id):
        if bed.supplementary in (SupplementaryKind.MOBILISABLE, SupplementaryKind.MOBILISABLE_WITH_STAFF):
            mobilised = replace(bed, supplementary=SupplementaryKind.MOBILISED)
            draft.put(Kind.BED, f"{unit.id}/{bed.id}", mobilised)
            try:
                move_to(draft, reservation, unit, bed.id, now)
            except Refusal:
                draft.put(Kind.BED, f"{unit.id}/{bed.id}", bed)
            else:
                return
    raise Refusal(Reason.NO_BED, {"unit": unit.id, "problem": "no supplementary bed can be mobilised"})


def _move_away(draft: Draft, reservation: Reservation, unit: Unit, bed: str, now: datetime) -> None:
    if draft.bed(unit.id, bed) is None:
        raise Refusal(Reason.BED_NOT_FOUND, {"unit": unit.id, "bed": bed})
    claim = reservation.claim
    arrival = now if claim is None else max(claim.start, now)
    found = find_claim(draft, unit, reservation.need, [arrival], now, required=frozenset(), bed=bed)
    if claim is not None and (claim.end or NEVER) < (found.end or NEVER):
        found = replace(found, end=claim.end)
    end_conflict(draft, reservation)
    leave_doubts(draft, reservation, now)
    moved = replace(reservation, claim=found)
    # Another unit is another offer: who has not confirmed yet must read it first, and both sides name one unit.
    ttl = reservation.offer.ttl if reservation.offer else timedelta(0)
    draft.put_reservation(replace(moved, offer=make_offer(draft, moved, unit, found, ttl)))
