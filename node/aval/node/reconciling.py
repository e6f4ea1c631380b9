"""A node that was put back to an earlier state: what it then does, and what its hub and its people say to it (DESIGN
§5, Restore).

How it is noticed: the hub's cursor is one that the history here does not hold. An old backup lacks the revision; so
does a machine that was rolled back, and if it has gone on since, its revision of that number bears another tag; of two
nodes on copies of one file the hub has heard the other; a new file has another incarnation. Or our own command did it
and says so (`former`). Whichever it was: a new incarnation, so that nobody takes the two histories for one, and every
unit is *reconciling*, as committed facts: stale, nothing granted in it alone, until a person has compared it.

The hub knows what was promised meanwhile, and reinstates each live reservation that it knows. Which word stands is the
kernel's `reinstates`; a promise without a free bed is a conflict, named to both sides, never dropped. Time, staff and
old commands may have acted between the restore and the hub's first word: what people did stays.
"""

from datetime import datetime

from msgspec.structs import replace

from aval.kernel.lifecycle import ReservationState, reinstates
from aval.kernel.reasons import Reason, Refusal
from aval.kernel.statuses import ConflictCause
from aval.node.arrivals import link
from aval.node.book import Draft
from aval.node.claims import ground, span, spot_for_patient
from aval.node.commands import Reconcile, Reinstate, VerifyUnit
from aval.node.conflicts import end_conflict, needed, record_conflict
from aval.node.model import (
    SELF,
    Claim,
    Kind,
    Reconciling,
    Reinstated,
    Reservation,
    Restore,
    Stay,
    Tombstone,
)
from aval.node.reservations import unit_of

PAST_MAX = 64
"""Incarnations remembered as over: a house that restores its node more often than that has other troubles."""

_S = ReservationState


def begin(draft: Draft, command: Reconcile, now: datetime) -> int | None:
    """Enters RECONCILING, unless that history is known to be over already. The new incarnation, if one begins."""
    before = draft.restore
    past = before.past if before is not None else ()
    if command.heard in past:
        return None
    here = draft.incarnation if command.incarnation is None else command.incarnation
    over = dict.fromkeys((*past, draft.incarnation, command.heard))
    over.pop(here, None)
    draft.put(Kind.RESTORE, SELF, Restore(here, now, tuple(over)[-PAST_MAX:]))
    for unit in list(draft.unit_ids()):
        doubt(draft, unit, now)
    return command.incarnation


def doubt(draft: Draft, unit: str, now: datetime) -> None:
    """Nobody can vouch for that unit from now on; since when is kept where that is so already."""
    if draft.book(unit).reconciling is None:
        draft.put(Kind.RECONCILING, unit, Reconciling(unit, now))


def verify(draft: Draft, command: VerifyUnit) -> None:
    """A person has compared a unit with reality. Raises UNIT_NOT_FOUND.

    A patient reinstated into a unit that had no bed left is where people say: that conflict is over with it.
    """
    book = draft.book(command.unit)
    if book.reconciling is None:
        unit_of(draft, command.unit)
        return
    draft.put(Kind.RECONCILING, command.unit, None)
    for _, conflict in sorted(book.conflicts.items()):
        reservation = draft.reservation(conflict.reservation)
        if reservation is not None and reservation.state is _S.ADMITTED:
            draft.put(Kind.CONFLICT, conflict.key, None)
    for key in sorted(book.reinstated):
        draft.put(Kind.REINSTATED, key, None)


def reinstate(
    draft: Draft, command: Reinstate, found: Reservation | Tombstone | None, now: datetime
) -> tuple[Reservation | Tombstone, Refusal | None]:
    """What the hub knew of a live reservation; see the module. Gives what stands, and the refusal if that is not it.

    Raises NOT_RESTORED where the hub heard it in the present history: then nothing is to be put back.
    """
    if command.heard == draft.incarnation:
        raise Refusal(Reason.NOT_RESTORED, {"reservation": command.reservation})
    known = command.known
    if found is not None and found.last_number > known.last_number:
        known = replace(known, last_number=found.last_number, last_verdict=found.last_verdict)
    state = None if found is None else found.state
    taken = reinstates(state, known.state) and not _offered_since(draft, found, known)
    stands: Reservation | Tombstone = known
    if taken or found is None:
        stands = _put_back(draft, known, found if isinstance(found, Reservation) else None, now)
    else:
        stands = _kept(draft, found, known.last_number)
    unit = known.claim.unit if known.claim is not None else known.unit
    conflict = isinstance(stands, Reservation) and _conflict_named(draft, stands)
    doubt(draft, unit, now)
    draft.put(
        Kind.REINSTATED,
        known.key,
        Reinstated(known.key, unit, known.state, now, state, taken=taken, conflict=conflict),
    )
    same = taken or stands.state is known.state
    return stands, None if same else Refusal(Reason[f"ALREADY_{stands.state.value}"], {"state": stands.state.value})


def _kept(draft: Draft, found: Reservation | Tombstone, number: int) -> Reservation | Tombstone:
    """What was found stays, and counts its commands on from where the hub does."""
    kind = Kind.RESERVATION if isinstance(found, Reservation) else Kind.TOMBSTONE
    if found.last_number < number:
        found = replace(found, last_number=number, last_verdict="")
        draft.put(kind, found.key, found)
    return found


def _offered_since(draft: Draft, found: Reservation | Tombstone | None, known: Reservation) -> bool:
    """Whether people have granted it anew since the restore, in the very state that the hub knows."""
    restore = draft.restore
    return (
        isinstance(found, Reservation)
        and found.state is known.state
        and restore is not None
        and found.granted is not None
        and found.granted > restore.since
    )


def _conflict_named(draft: Draft, reservation: Reservation) -> bool:
    unit = reservation.claim.unit if reservation.claim is not None else reservation.unit
    return any(conflict.reservation == reservation.key for conflict in draft.book(unit).conflicts.values())


def _put_back(draft: Draft, known: Reservation, found: Reservation | None, now: datetime) -> Reservation:
    """Writes it as the hub knew it, on the bed that it had if that is free, else on another, else in conflict."""
    if found is not None:
        end_conflict(draft, found)
        known = replace(
            known,
            content=found.content,
            created=found.created,
            waiting=found.waiting,
            renewals=max(found.renewals, known.renewals),
        )
    draft.put(Kind.TOMBSTONE, known.key, None)
    if known.state is _S.WAITLISTED and known.waiting is None:
        known = replace(known, waiting=draft.mint())
    elif known.state is not _S.WAITLISTED:
        known = replace(known, waiting=None)
    if known.offer is not None:
        known = replace(known, offer=replace(known.offer, number=draft.mint()), granted=now)
    if known.state is _S.ADMITTED:
        return _put_in(draft, known, found, now)
    if known.claim is None or not known.state.takes_claim:
        return draft.put_reservation(replace(known, claim=None))
    draft.put_reservation(replace(known, claim=None))
    placed = _placed(draft, known, known.claim, found, now)
    known = draft.put_reservation(replace(known, claim=placed))
    if not placed.is_placed:
        record_conflict(draft, known, placed, ConflictCause.REINSTATED, now)
    return known


def _placed(draft: Draft, known: Reservation, claim: Claim, found: Reservation | None, now: datetime) -> Claim:
    """The claim on the bed that it had here, else on any that fits; on none if none is free, or its unit unknown."""
    unit = draft.unit(claim.unit)
    if unit is None:
        return claim
    start, until = span(claim, unit, now)
    if start >= until:
        return claim
    laid = ground(unit, draft.book(unit.id), now, without=known.key)
    had = found.claim.bed if found is not None and found.claim is not None and found.claim.unit == unit.id else None
    spot = None
    if had is not None:
        spot = laid.spot(known.need.gender, frozenset(), frozenset(), start, until, bed=had)
    if spot is None:
        spot = laid.spot(known.need.gender, needed(known), known.need.wished, start, until)
    return claim if spot is None else replace(claim, bed=spot.bed, place=spot.place)


def _put_in(draft: Draft, known: Reservation, found: Reservation | None, now: datetime) -> Reservation:
    """The patient had arrived: in the stay that the census holds for it, else in a stay of its own."""
    claim = known.claim if known.claim is not None else Claim(known.unit, now)
    # People may have said that it is the patient of a stay in another unit of the house.
    linked = draft.stay(found.stay) if found is not None else None
    held = draft.book(claim.unit).stays.values() if linked is None else (linked,)
    stay = next((one for one in held if one.reservation == known.key), None)
    if stay is not None:
        return draft.put_reservation(replace(known, claim=claim, stay=stay.key, admitted=known.admitted or now))
    unit = draft.unit(claim.unit)
    draft.put_reservation(replace(known, state=_S.CONFIRMED, claim=None))
    stay = Stay(f"reservation-{known.id}", claim.unit, known.need.gender, since=known.admitted or now)
    placed = claim
    if unit is not None:
        placed = _placed(draft, known, claim, found, now)
        spot = placed if placed.is_placed else spot_for_patient(unit, draft.book(unit.id), known.need.gender, now, None)
        stay = replace(stay, bed=spot.bed, place=spot.place)
    before = draft.put_reservation(replace(known, state=_S.CONFIRMED, claim=placed))
    admitted = link(draft, before, stay, now)
    admitted = draft.put_reservation(replace(admitted, admitted=known.admitted or now))
    if not placed.is_placed:
        record_conflict(draft, admitted, placed, ConflictCause.REINSTATED, now)
    return admitted
