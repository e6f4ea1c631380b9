"""Movements: the census follows reality, told by sources (DESIGN §4, CONTRACT 29).

Each movement is known by (source, its id): the same again is ALREADY, the same id with other content is refused. One
that contradicts the census is never dropped: it is applied as far as truth allows, or *parked* with its reason, for a
person or until what it waits for is told.

What is told of a stay goes into its story (`aval.node.stories`), which is told anew with each word: late messages,
cancellations that come first, corrections and merges need nothing special there. What is told of beds and counts is
applied as it comes; what it changed is kept, so that its cancellation puts back exactly that.

A unit lists its sources in their order. A source below another is heard on patients only once all above it are
stale; on beds (closed, opened, cleaned) every source of the unit is heard.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from msgspec.structs import replace

from aval.kernel.identity import CallerKind
from aval.kernel.reasons import Reason, Refusal, field_invalid
from aval.kernel.statuses import Counting, Gender, SupplementaryKind
from aval.node.book import Draft
from aval.node.census import add_places, outranked_by, tell_counts
from aval.node.commands import Caller, DeclaredPlaces
from aval.node.model import (
    STAY_CHANGES,
    Admission,
    ArrivalExpected,
    Bed,
    BedCleaned,
    BedClosed,
    BedOpened,
    Cancellation,
    Closure,
    CountsReported,
    Fate,
    Kind,
    Mandate,
    Movement,
    MovementChange,
    MovementRecord,
    Parked,
    ParkReason,
    Places,
    StayMerged,
    Story,
    Told,
    Transfer,
    Turn,
    Undo,
    Unit,
    Word,
)
from aval.node.stays import park, put_turns, resolved, retell, seat, story_of, turn, without_bed
from aval.node.stories import course

BEDS_MAX = 1_000
"""Beds in one movement."""

TOLD_MAX = 500
"""Movements in the story of one stay: beyond that, the oldest are taken as settled. A long stay has some dozens."""

NOTHING = Undo()
"""How to undo what changed nothing."""

CANCELLED = "CANCELLED"
"""What the record of a cancelled movement says."""

CORRECTED = "CORRECTED"
"""What the record of a movement says whose correction came first."""

_OF_UNITS = frozenset(
    {ParkReason.UNIT_UNKNOWN, ParkReason.BED_UNKNOWN, ParkReason.SOURCE_NOT_OF_UNIT, ParkReason.SOURCE_OUTRANKED}
)
"""Why a movement waits that the declaration of its unit may let go on."""


class Contradiction(Exception):
    """A movement of beds that the census contradicts: it is parked."""

    def __init__(self, reason: ParkReason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason.value}: {detail}")


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a movement. No `fate`: applied, unless what followed says else (`fate_of`)."""

    fate: Fate | None = None
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    undo: Undo = NOTHING
    doubt: str = ""
    parked: str = ""


def take(
    draft: Draft,
    movement: Movement,
    caller: Caller,
    stale_sources: frozenset[str],
    now: datetime,
    *,
    settled: bool = False,
) -> Taken:
    """Takes a movement. `settled`: on a person's word, whatever its source's rank. Raises Refusal."""
    change = movement.change
    if isinstance(change, Cancellation):
        return _cancel(draft, movement, change, caller.mandate, now)
    _check(draft, movement, caller)
    first = draft.movement(movement.key)
    cancelled = first is not None and not first.content and first.reason == CANCELLED
    if first is not None and cancelled and first.parked:
        draft.put(Kind.PARKED, first.parked, None)  # what the cancellation waited for has come
    if isinstance(change, STAY_CHANGES):
        doubt = _tell(draft, movement, caller, stale_sources, now, settled=settled, cancelled=cancelled)
        return Taken(doubt=doubt, reason=CANCELLED if cancelled else "")
    if cancelled:
        return Taken(Fate.APPLIED, CANCELLED)
    trial = Draft(draft)
    try:
        taken = _apply(trial, movement, caller.mandate, stale_sources, now, settled=settled)
    except Contradiction as odd:
        parked = park(draft, movement, (odd.reason, odd.detail), caller.mandate, now)
        return Taken(Fate.PARKED, odd.reason.value, parked=parked)
    trial.fold_into(draft)
    if isinstance(change, BedClosed):
        _reopen(draft, movement, change, now)
    return taken


def fate_of(draft: Draft, movement: Movement, taken: Taken) -> tuple[Fate, str, str]:
    """Fate, reason and id under which it waits, of a movement that was taken, once all has followed from it."""
    if taken.fate is not None:
        return taken.fate, taken.reason, taken.parked
    if isinstance(movement.change, STAY_CHANGES):
        key = resolved(draft, movement.stay)
        story, stay = draft.story(key), draft.stay(key)
        told = next((one for one in story.told if one.movement.key == movement.key), None) if story else None
        notice = stay.notice if stay is not None and stay.movement == movement.key else ""
        parked = draft.parked(told.parked if told is not None and told.parked else notice)
        if parked is not None:
            return Fate.PARKED, parked.reason.value, parked.id
    return Fate.APPLIED, taken.reason, ""


def record_of(content: bytes, movement: Movement, fate: Fate, taken: Taken, now: datetime) -> MovementRecord:
    """What is remembered of a movement."""
    stay = movement.stay if isinstance(movement.change, STAY_CHANGES) else ""
    return MovementRecord(content, fate, now, taken.reason, (), taken.doubt, stay, taken.undo, taken.parked)


# --- who may tell ----------------------------------------------------------------------------------------------------


def _check(draft: Draft, movement: Movement, caller: Caller) -> None:
    """Raises FIELD_INVALID, TIME_OUT_OF_RANGE for what cannot be a movement; NOT_YOUR_UNIT (adapters)."""
    change = movement.change
    of_stay = isinstance(change, STAY_CHANGES)
    if of_stay and not movement.stay:
        raise field_invalid("stay_key", "is missing: say which stay moves, by its opaque key")
    if movement.corrects and (not of_stay or isinstance(change, StayMerged) or movement.corrects == movement.id):
        raise field_invalid("corrects_movement_id", "only what is told of a stay is corrected so: cancel it")
    if isinstance(change, StayMerged) and change.absorbed in ("", movement.stay):
        raise field_invalid("absorbed_stay_key", "names another stay than the one that remains")
    if isinstance(change, ArrivalExpected) and change.departure is not None and change.departure <= change.arrival:
        raise Refusal(Reason.TIME_OUT_OF_RANGE, {"field": "departure_time"})
    if caller.kind is not CallerKind.ADAPTER:
        return
    units = [unit for unit_id in _units_of(draft, movement) if (unit := draft.unit(unit_id)) is not None]
    name = _adapter(caller)
    if units and not any(s.id == movement.source and s.adapter == name for unit in units for s in unit.sources):
        raise Refusal(Reason.NOT_YOUR_UNIT, {"unit": units[0].id, "source": movement.source})


def _adapter(caller: Caller) -> str:
    return caller.uri.rpartition("/")[2] if caller.kind is CallerKind.ADAPTER else ""


def _units_of(draft: Draft, movement: Movement) -> list[str]:
    """The units that a movement is about: where it says, and where its stay is."""
    found = [unit] if (unit := _unit_said(movement)) else []
    if isinstance(movement.change, STAY_CHANGES) and not isinstance(movement.change, Admission | ArrivalExpected):
        key = resolved(draft, movement.stay)
        here = draft.stay(key) or draft.expected(key)
        found += [here.unit] if here is not None else []
    return found


def _unit_said(movement: Movement) -> str:
    change = movement.change
    if isinstance(change, Admission | Transfer | ArrivalExpected | BedOpened | BedClosed | BedCleaned | CountsReported):
        return change.unit
    return ""


# --- stays -----------------------------------------------------------------------------------------------------------


def _tell(
    draft: Draft,
    movement: Movement,
    caller: Caller,
    stale_sources: frozenset[str],
    now: datetime,
    *,
    settled: bool,
    cancelled: bool,
) -> str:
    """Adds a movement to the story of its stay and tells it anew; the id of the doubt that it raised, or ""."""
    key = resolved(draft, movement.stay)
    story = story_of(draft, key, now)
    unit = draft.unit(next(iter(_units_of(draft, movement)), ""))
    stale = stale_sources if unit is None else stale_sources & {source.id for source in unit.sources}
    first = f"{movement.source}/{movement.corrects}"
    corrected = draft.movement(first) if movement.corrects else None
    if movement.corrects and corrected is None:  # so that a cancellation of what is not told yet finds this
        draft.put(Kind.MOVEMENT, first, MovementRecord(b"", Fate.PARKED, now, CORRECTED, stay=movement.stay))
    told = Told(
        movement,
        now,
        caller.mandate,
        "" if settled else _adapter(caller),
        tuple(sorted(stale)),
        settled=settled,
        cancelled=cancelled or (corrected is not None and corrected.reason == CANCELLED),
    )
    was = course(draft, story)
    if len(story.told) >= TOLD_MAX:
        story = Story(key, now, (), draft.stay(key), draft.expected(key))
    story = replace(story, told=(*story.told, told), last=now)
    if isinstance(movement.change, StayMerged) and not cancelled:
        other = draft.story(resolved(draft, movement.change.absorbed))
        if other is not None:
            turn(draft, other.stay, course(draft, other).left, ())
        story = _merge(draft, story, movement.change.absorbed, now)
    return retell(draft, story, now, was)


def _merge(draft: Draft, story: Story, absorbed: str, now: datetime) -> Story:
    """Takes what was told of another stay into a story; what comes of it later finds its way by its story."""
    gone = resolved(draft, absorbed)
    if gone == story.stay:
        return story
    other, left, key = story_of(draft, gone, now), draft.stay(gone), story.stay
    draft.put(Kind.STORY, gone, Story(gone, now, (), other.before, other.expected_before, merged_into=key))
    if left is not None:
        draft.put(Kind.STAY, gone, None)
        if left.notice:
            draft.put(Kind.PARKED, left.notice, None)
        for _, doubt in sorted(draft.book(left.unit).doubts.items()):
            if doubt.stay == gone:
                draft.put(Kind.DOUBT, doubt.id, replace(doubt, stay=key))
        present = draft.stay(key)
        if present is None or (left.reservation and not present.reservation):
            base = replace(left, key=key, notice="") if present is None else present
            draft.put(Kind.STAY, key, replace(base, reservation=left.reservation, stay_end=left.stay_end))
            reservation = draft.reservation(left.reservation)
            if reservation is not None:
                draft.put_reservation(replace(reservation, stay=key))
        seat(draft, left.unit, now)
    if draft.expected(gone) is not None:
        draft.put(Kind.EXPECTED, gone, None)
    return replace(
        story,
        told=(*story.told, *other.told),
        before=story.before or (replace(other.before, key=key) if other.before else None),
        expected_before=story.expected_before
        or (replace(other.expected_before, key=key) if other.expected_before else None),
    )


def _part(draft: Draft, story: Story, absorbed: str, now: datetime) -> Story:
    """The inverse of `_merge`: each stay has its own story again. A reservation stays with the one that remained."""
    other = draft.story(absorbed)
    if other is None or other.merged_into != story.stay:
        return story
    theirs = tuple(one for one in story.told if one.movement.stay == absorbed)
    draft.put(Kind.STORY, absorbed, replace(other, merged_into="", told=theirs, last=now))
    ours = replace(story, told=tuple(one for one in story.told if one.movement.stay != absorbed))
    if other.before is not None and story.before == replace(other.before, key=story.stay):
        ours = replace(ours, before=None)
    if other.expected_before is not None and story.expected_before == replace(other.expected_before, key=story.stay):
        ours = replace(ours, expected_before=None)
    return ours


# --- waiting, and waiting no more ------------------------------------------------------------------------------------


def retry(draft: Draft, unit_id: str, now: datetime) -> None:
    """Takes up again what waits for that unit, now that it is declared: in the order of events."""
    waiting = [
        parked
        for parked in draft.all_parked().values()
        if parked.reason in _OF_UNITS and _unit_said(parked.movement) in ("", unit_id)
    ]
    stays = {resolved(draft, one.movement.stay) for one in waiting if isinstance(one.movement.change, STAY_CHANGES)}
    for key in sorted(stays):
        story = draft.story(key)
        if story is not None:
            retell(draft, story, now)
    for parked in sorted(waiting, key=_by_event):
        if not isinstance(parked.movement.change, STAY_CHANGES):
            _again(draft, parked, now)


def _by_event(parked: Parked) -> tuple[datetime, int, str]:
    return parked.movement.event_time or parked.parked, parked.movement.sequence, parked.movement.id


def _again(draft: Draft, parked: Parked, now: datetime) -> None:
    """Applies a movement of beds or counts that waits, if it can be by now."""
    trial = Draft(draft)
    try:
        taken = _apply(trial, parked.movement, parked.by, frozenset(), now, settled=False)
    except Contradiction as odd:
        draft.put(Kind.PARKED, parked.id, replace(parked, reason=odd.reason, detail=odd.detail))
        return
    except Refusal:
        return  # a person reads it
    trial.fold_into(draft)
    draft.put(Kind.PARKED, parked.id, None)
    record = draft.movement(parked.movement.key)
    if record is not None:
        fate = taken.fate or Fate.APPLIED
        draft.put(Kind.MOVEMENT, parked.movement.key, replace(record, fate=fate, undo=taken.undo, parked=""))


def _reopen(draft: Draft, closing: Movement, told: BedClosed, now: datetime) -> None:
    """Has an opening follow that was told before its closing, if the source's own order says that it came after."""
    for parked in sorted(draft.all_parked().values(), key=_by_event):
        opening = parked.movement
        if parked.reason is not ParkReason.CLOSURE_UNKNOWN or opening.source != closing.source:
            continue
        if not isinstance(opening.change, BedOpened) or opening.change.unit != told.unit:
            continue
        numbered = closing.sequence and opening.sequence
        after = opening.sequence > closing.sequence if numbered else _follows(opening.event_time, closing.event_time)
        if after:
            _again(draft, parked, now)


def _follows(later: datetime | None, earlier: datetime | None) -> bool:
    return later is not None and earlier is not None and later >= earlier


def settle(draft: Draft, parked: Parked, corrected: Movement | None, caller: Caller, now: datetime) -> Taken:
    """A person's word on a movement that waits: what it should have been, or (None) that it is to be left alone.

    Left alone, a movement is as if it had not been told; but a patient who is here, and only whose bed was in
    question, stays, in no known bed. Raises Refusal.
    """
    told = parked.movement
    story = draft.story(resolved(draft, told.stay)) if isinstance(told.change, STAY_CHANGES) else None
    entry = next((one for one in story.told if one.movement.key == told.key), None) if story is not None else None
    if story is None or entry is None:
        return _settle_alone(draft, parked, corrected, caller, now)
    stay = draft.stay(story.stay)
    same_story = (
        corrected is not None
        and isinstance(corrected.change, STAY_CHANGES)
        and resolved(draft, corrected.stay) == story.stay
    )
    if same_story and corrected is not None:
        event_time = corrected.event_time or entry.movement.event_time
        settled = replace(entry, movement=replace(corrected, event_time=event_time), by=caller.mandate, settled=True)
    elif corrected is None and stay is not None and stay.notice == parked.id:
        bare = entry.movement
        if parked.reason is not ParkReason.UNIT_FULL:
            bare = without_bed(bare, stay.unit)
        settled = replace(entry, movement=bare, by=caller.mandate, settled=True)
        draft.put(Kind.PARKED, parked.id, None)
        draft.put(Kind.STAY, stay.key, replace(stay, notice=""))
    else:
        settled = replace(entry, cancelled=True)
    was = course(draft, story)
    entries = tuple(settled if one is entry else one for one in story.told)
    doubt = retell(draft, replace(story, told=entries, last=now), now, was)
    if corrected is not None and not same_story:
        return take(draft, corrected, caller, frozenset(), now, settled=True)
    return Taken(doubt=doubt)


def _settle_alone(draft: Draft, parked: Parked, corrected: Movement | None, caller: Caller, now: datetime) -> Taken:
    told = parked.movement
    draft.put(Kind.PARKED, parked.id, None)
    if isinstance(told.change, Cancellation):
        early = draft.movement(f"{told.source}/{told.change.movement_id}")
        if early is not None and not early.content:
            draft.put(Kind.MOVEMENT, f"{told.source}/{told.change.movement_id}", None)
    return Taken() if corrected is None else take(draft, corrected, caller, frozenset(), now, settled=True)


# --- beds and counts -------------------------------------------------------------------------------------------------


def _apply(
    draft: Draft, movement: Movement, by: Mandate, stale_sources: frozenset[str], now: datetime, *, settled: bool
) -> Taken:
    """Applies a movement of beds or counts. Raises Contradiction, Refusal."""
    unit = _known_unit(draft, _unit_said(movement))
    if not settled and all(source.id != movement.source for source in unit.sources):
        raise Contradiction(ParkReason.SOURCE_NOT_OF_UNIT, movement.source)
    if isinstance(movement.change, CountsReported):
        fate, metadata = _count(draft, movement, movement.change, stale_sources, now)
        return Taken(fate, metadata=metadata)
    step = Draft(draft)
    _HANDLERS[type(movement.change)](step, movement, movement.change, now)
    for kind, key, fact in step.changes():
        if kind is Kind.CLOSURE and fact is not None and draft.find(Kind.CLOSURE, key) is None:
            step.put(Kind.CLOSURE, key, replace(cast("Closure", fact), by=by))
    undo = _undo_of(draft, step)
    step.fold_into(draft)
    return Taken(undo=undo)


def _undo_of(before: Draft, after: Draft) -> Undo:
    closures: list[tuple[str, Closure | None]] = []
    beds: list[tuple[str, Bed | None]] = []
    opened: list[tuple[str, int]] = []
    for kind, key, fact in after.changes():
        was = before.find(kind, key)
        if kind is Kind.CLOSURE:
            closures.append((key, cast("Closure | None", was)))
        elif kind is Kind.BED:
            beds.append((key, cast("Bed | None", was)))
        elif kind is Kind.PLACES:
            opened.append((key, cast("Places", fact).open - cast("Places", was).open))
    return Undo(tuple(closures), tuple(beds), tuple(opened))


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


def _bed_closed(draft: Draft, _movement: Movement, told: BedClosed, now: datetime) -> None:
    unit = _known_unit(draft, told.unit)
    if told.end <= told.start:
        raise Refusal(Reason.TIME_OUT_OF_RANGE, {"field": "interval", "problem": "the end comes after the start"})
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
    # Told late, its planned end passed: the beds are closed all the same until somebody opens them; that is asked.
    closure = Closure(
        unit.id,
        draft.mint_uuid("closure"),
        beds,
        places,
        told.start,
        told.end,
        told.kind,
        told.reason,
        reopening_asked=told.end <= now,
    )
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
        chosen = dict(sorted(closures.items(), key=lambda one: (one[1].start, one[0])))
    if unit.counting is Counting.PLACES:
        _open_places(draft, unit, chosen, told)
        return
    beds = set(told.beds)
    if not beds and told.closure:
        beds = {bed for closure in chosen.values() for bed in closure.beds}
    found = False
    for bed_id in sorted(beds):
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


def _bed_cleaned(draft: Draft, movement: Movement, told: BedCleaned, now: datetime) -> None:
    unit = _known_unit(draft, told.unit)
    bed = _known_bed(draft, unit, told.bed)
    last = max((one.at for one in bed.turns), default=now)
    cleaned = Turn(movement.key, movement.event_time or max(now, last), to_clean=False)
    put_turns(draft, bed, [*bed.turns, cleaned])
    present = draft.bed(unit.id, bed.id)
    if present is not None and present.turns[-1] == cleaned:
        draft.put(Kind.BED, f"{unit.id}/{bed.id}", replace(present, to_clean_since=None))


def _count(
    draft: Draft, movement: Movement, told: CountsReported, stale_sources: frozenset[str], now: datetime
) -> tuple[Fate, dict[str, str]]:
    """Takes counts that a source states: what became of them, and why.

    Counts older than those it last stated of the unit change nothing, so that files out of order do no harm. Raises
    COUNT_OUT_OF_RANGE, UNIT_COUNTS_BEDS.
    """
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


def _cancel(draft: Draft, movement: Movement, told: Cancellation, by: Mandate, now: datetime) -> Taken:
    """Takes a movement out of what was told, whichever of the two comes first."""
    key = f"{movement.source}/{told.movement_id}"
    record = draft.movement(key)
    if record is None:
        parked = park(draft, movement, (ParkReason.CANCELLED_UNKNOWN, told.movement_id), by, now)
        draft.put(Kind.MOVEMENT, key, MovementRecord(b"", Fate.PARKED, now, CANCELLED, parked=parked))
        if movement.stay:
            _drop(draft, resolved(draft, movement.stay), key, now)
        return Taken(Fate.PARKED, ParkReason.CANCELLED_UNKNOWN.value, parked=parked)
    if record.reason == CANCELLED:
        return Taken(Fate.ALREADY, CANCELLED)
    if record.stay:
        done = _drop(draft, resolved(draft, record.stay), key, now)
    elif record.parked and draft.parked(record.parked) is not None:
        draft.put(Kind.PARKED, record.parked, None)
        done = True
    else:
        done = record.undo != NOTHING
        _put_back(draft, key, record.undo)
    if not done:
        parked = park(draft, movement, (ParkReason.CANCELLED_UNKNOWN, told.movement_id), by, now)
        return Taken(Fate.PARKED, ParkReason.CANCELLED_UNKNOWN.value, parked=parked)
    draft.put(Kind.MOVEMENT, key, replace(record, undo=NOTHING, reason=CANCELLED))
    return Taken()


def _drop(draft: Draft, stay: str, key: str, now: datetime) -> bool:
    """Takes a movement, and what corrects it, out of the story of a stay. Whether it was there."""
    story = draft.story(stay)
    if story is None:
        return False
    source, _, movement_id = key.partition("/")
    dropped = [
        one
        for one in story.told
        if one.movement.key == key or (one.movement.source == source and one.movement.corrects == movement_id)
    ]
    if not dropped:
        return False
    was = course(draft, story)
    told = tuple(replace(one, cancelled=True) if one in dropped else one for one in story.told)
    story = replace(story, told=told, last=now)
    parted = [one.movement.change.absorbed for one in dropped if isinstance(one.movement.change, StayMerged)]
    for absorbed in parted:
        story = _part(draft, story, absorbed, now)
    retell(draft, story, now, was)
    for absorbed in parted:
        retell(draft, story_of(draft, absorbed, now), now)
    return True


def _put_back(draft: Draft, movement_key: str, undo: Undo) -> None:
    for closure_key, closure in undo.closures:
        draft.put(Kind.CLOSURE, closure_key, closure)
    for bed_key, bed in undo.beds:
        present = cast("Bed | None", draft.find(Kind.BED, bed_key))
        if bed is not None and present is not None:
            turns = tuple(one for one in present.turns if one.by != movement_key)
            supplementary, since = bed.supplementary, bed.to_clean_since
            draft.put(
                Kind.BED, bed_key, replace(present, to_clean_since=since, supplementary=supplementary, turns=turns)
            )
    for places_key, opened in undo.opened:
        places = cast("Places | None", draft.find(Kind.PLACES, places_key))
        if places is not None:
            draft.put(Kind.PLACES, places_key, replace(places, open=max(0, places.open - opened)))


_HANDLERS: dict[type[MovementChange], Callable[[Draft, Movement, Any, datetime], None]] = {
    BedOpened: _bed_opened,
    BedClosed: _bed_closed,
    BedCleaned: _bed_cleaned,
}
