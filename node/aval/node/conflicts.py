"""Reality wins: what becomes of the claims of a unit when beds are taken, closed or not left under them.

A claim that lost its bed moves to another fitting bed of its unit if there is one; else a *conflict* is recorded, which
blocks grants of the unit over its interval until the house settles it, or reality does: a claim in conflict is the
first to get a bed that becomes free. Claims are weighed in one order (confirmed before held, then the one granted
first), and a claim that can stay where it is does: nobody is moved for another.
"""

from datetime import datetime

from msgspec.structs import replace

from aval.kernel.need import Feature
from aval.kernel.statuses import ConflictCause
from aval.node.book import Draft
from aval.node.claims import BedGround, PlaceGround, Spot, Take, What, ground, precedence, span
from aval.node.model import Claim, Conflict, Kind, Reservation, Unit


def needed(reservation: Reservation) -> frozenset[Feature]:
    """The features that a claim must find again when it moves: what the need requires and the offer promised."""
    offer = reservation.offer
    required = reservation.need.required
    return required if offer is None else required & offer.features


def keep_promises(draft: Draft, unit_id: str, now: datetime, cause: ConflictCause) -> None:
    """Weighs the claims of a unit anew after reality changed there by `cause`.

    Writes moves, conflicts, and their ends.
    """
    unit, book = draft.unit(unit_id), draft.book(unit_id)
    if unit is None or not book.claims:
        return
    covered = {doubt.presumed for doubt in book.doubts.values()}
    kept = ground(unit, book, now, claims=False, keeping=True)
    staying: list[Take] = []
    displaced: list[Reservation] = []
    waiting: list[Reservation] = []
    for reservation in sorted(book.claims.values(), key=precedence):
        claim = reservation.claim
        if claim is None or reservation.key in covered:
            continue
        start, end = span(claim, unit, now, turnover=False)
        if start >= end:
            continue
        if not claim.is_placed:
            waiting.append(reservation)
        elif kept.keeps(claim, reservation.need.gender, start, end):
            kept.add(_take(reservation, claim, start, end))
            staying.append(_take(reservation, claim, *span(claim, unit, now)))
        else:
            displaced.append(reservation)
    if not displaced and not waiting:
        return
    free = ground(unit, book, now, claims=False)
    for take in staying:
        free.add(take)
    for reservation in displaced + waiting:
        spot = _other_spot(free, unit, reservation, now)
        if spot is not None:
            place_claim(draft, reservation, spot)
        elif reservation in displaced:
            _lose(draft, reservation, cause, now)


def _take(reservation: Reservation, claim: Claim, start: datetime, end: datetime) -> Take:
    return Take(start, end, What.CLAIM, reservation.key, claim.bed, claim.place, reservation.need.gender)


def _other_spot(free: BedGround | PlaceGround, unit: Unit, reservation: Reservation, now: datetime) -> Spot | None:
    claim = reservation.claim
    if claim is None:
        return None
    start, end = span(claim, unit, now)
    need = reservation.need
    spot = free.spot(need.gender, needed(reservation), need.wished, start, end)
    if spot is not None:
        free.add(Take(start, end, What.CLAIM, reservation.key, spot.bed, spot.place, need.gender))
    return spot


def place_claim(draft: Draft, reservation: Reservation, spot: Spot) -> Reservation:
    """Puts the claim of a reservation on a spot of its unit; its conflict, if any, is over. The offer's tag stays."""
    claim = reservation.claim
    if claim is None:
        return reservation
    end_conflict(draft, reservation)
    bed = None if spot.bed is None else draft.bed(claim.unit, spot.bed)
    offer = reservation.offer
    if offer is not None and bed is not None:
        offer = replace(offer, room=bed.room)
    moved = replace(reservation, claim=replace(claim, bed=spot.bed, place=spot.place), offer=offer)
    return draft.put_reservation(moved)


def _lose(draft: Draft, reservation: Reservation, cause: ConflictCause, now: datetime) -> None:
    claim = reservation.claim
    if claim is not None:
        draft.put_reservation(replace(reservation, claim=replace(claim, bed=None, place=None)))
        record_conflict(draft, reservation, claim, cause, now)


def record_conflict(draft: Draft, reservation: Reservation, claim: Claim, cause: ConflictCause, now: datetime) -> None:
    """Records that a claim has no bed."""
    conflict = Conflict(
        draft.mint_uuid("conflict"), claim.unit, reservation.key, cause, claim.start, claim.end, arisen=now
    )
    draft.put(Kind.CONFLICT, conflict.key, conflict)


def conflict_of(draft: Draft, reservation: Reservation) -> Conflict | None:
    """The open conflict of a reservation, if one."""
    claim = reservation.claim
    if claim is None:
        return None
    found = (c for c in draft.book(claim.unit).conflicts.values() if c.reservation == reservation.key)
    return next(found, None)


def end_conflict(draft: Draft, reservation: Reservation) -> None:
    """Ends the conflict of a reservation, if one."""
    conflict = conflict_of(draft, reservation)
    if conflict is not None:
        draft.put(Kind.CONFLICT, conflict.key, None)
