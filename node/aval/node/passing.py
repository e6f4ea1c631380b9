"""Time passes: what each fact awaits, and what happens when it comes. `Tick` runs this, and so does every command
first.

One timer a fact, a pure function of it: once handled the fact is another, and so is its timer. So a node that was down
catches up by the very same steps, and no hold waits for anybody's help to end (invariant 4).
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from msgspec.structs import replace

from aval.kernel.lifecycle import ReservationInput, ReservationState
from aval.kernel.statuses import ConflictCause
from aval.node.book import Draft
from aval.node.claims import slips_at
from aval.node.conflicts import end_conflict
from aval.node.model import (
    Closure,
    CommandRecord,
    Correction,
    Doubt,
    Ending,
    Expected,
    Fact,
    Kind,
    Mandate,
    MovementRecord,
    Reservation,
    Stay,
    Story,
    Tombstone,
    Unit,
)
from aval.node.reservations import ADMISSION_CLOSED_AFTER, advance, end

TICK_TIMERS_MAX = 500
"""Timers handled at once: a night's worth, in a commit that still takes milliseconds.

The rest comes with the next tick.
"""

DETAIL_DAYS = 30
"""How long a final reservation is kept whole; movements, census commands and answered doubts, as long."""

MEMORY_DAYS = 400
"""How long (id, content hash, state, reason) of a reservation are kept: longer than any message can wander (DESIGN
§5).
"""

EXPECTED_WAITS = timedelta(hours=24)
"""A patient that the house expected and who is not there a day later is expected no more (R330 04: within 24 h)."""

TIME = Mandate(actor="time", display_name="time", role="policy")
"""Who acts when nobody did."""

_S = ReservationState
_DETAIL, _MEMORY = timedelta(days=DETAIL_DAYS), timedelta(days=MEMORY_DAYS)


def overdue_at(reservation: Reservation) -> datetime:
    """When a confirmed reservation is overdue: past its arrival, and past the latest one that the need allows."""
    latest = reservation.need.arrival_latest
    return latest if reservation.claim is None else max(reservation.claim.start, latest)


def _reservation_timer(reservation: Reservation) -> datetime | None:
    state = reservation.state
    if state is _S.ASKED and not reservation.late:
        return min(reservation.answer_by, reservation.valid_until)
    if state in (_S.ASKED, _S.WAITLISTED):
        return reservation.valid_until
    if state is _S.HELD:
        return reservation.expire_time
    if state is _S.CONFIRMED:
        return None if reservation.overdue else overdue_at(reservation)
    if state is _S.ADMITTED and reservation.closed is None:
        return (reservation.admitted or reservation.created) + ADMISSION_CLOSED_AFTER
    return (reservation.closed or reservation.ended or reservation.created) + _DETAIL


def timer_of(fact: Fact, unit_of: Callable[[str], Unit | None]) -> datetime | None:
    """The instant that a fact awaits; None: it awaits nothing."""
    match fact:
        case Reservation():
            return _reservation_timer(fact)
        case Tombstone():
            return fact.ended + _MEMORY
        case CommandRecord():
            return fact.decided + timedelta(days=fact.days)
        case MovementRecord():
            return fact.taken + _DETAIL
        case Story():
            return fact.last + _DETAIL
        case Doubt():
            return None if fact.answered is None else fact.answered + _DETAIL
        case Stay():
            unit = unit_of(fact.unit)
            return None if unit is None else slips_at(fact, unit)
        case Expected():
            return fact.arrival + EXPECTED_WAITS
        case Closure():
            return None if fact.reopening_asked else fact.end
        case Correction():
            return fact.until
        case _:
            return None


def pass_time(draft: Draft, due: Iterable[tuple[Kind, str]], now: datetime) -> dict[str, ConflictCause]:
    """Handles the facts whose instant has come. Gives, by unit, what may have taken beds."""
    causes: dict[str, ConflictCause] = {}
    for kind, key in due:
        fact = draft.find(kind, key)
        match fact:
            case Reservation():
                _reservation(draft, fact, now)
            case Stay():
                draft.put(kind, key, replace(fact, slipped=True))
                causes[fact.unit] = ConflictCause.DEPARTURE_SLIPPED
            case Closure():
                draft.put(kind, key, replace(fact, reopening_asked=True))
                causes.setdefault(fact.unit, ConflictCause.CLOSURE)
            case None:
                pass
            case _:
                draft.put(kind, key, None)
    return causes


def _reservation(draft: Draft, reservation: Reservation, now: datetime) -> None:
    state = reservation.state
    if state is _S.HELD or (state in (_S.ASKED, _S.WAITLISTED) and reservation.valid_until <= now):
        end(draft, reservation, advance(reservation, ReservationInput.LAPSE), Ending(TIME, now), now)
    elif state is _S.ASKED:
        draft.put_reservation(replace(reservation, late=True))
    elif state is _S.CONFIRMED:
        draft.put_reservation(replace(reservation, overdue=True))
    elif state is _S.ADMITTED and reservation.closed is None:
        draft.put_reservation(replace(reservation, closed=now))
    else:
        _bury(draft, reservation)


def _bury(draft: Draft, reservation: Reservation) -> None:
    """Keeps of a reservation what answers late messages: id, content, state, reason, last number.

    A patient who was put back where no bed was left, and whom nobody has placed since, is in no conflict any more.
    """
    end_conflict(draft, reservation)
    tombstone = Tombstone(
        reservation.id,
        reservation.territory,
        reservation.state,
        reservation.closed or reservation.ended or reservation.created,
        reservation.content,
        reservation.ending,
        reservation.last_number,
        reservation.last_verdict,
    )
    draft.put(Kind.RESERVATION, reservation.key, None)
    draft.put(Kind.TOMBSTONE, tombstone.key, tombstone)
