"""A patient arrives: admissions of reservations, their cancellation, and doubts about who has come.

An admission told by an information system bears no reservation, as a rule. It is linked by the reservation's
reference if the site put one there, or by a person's word. Otherwise, in a unit that expects somebody that day, a
*doubt* is raised: « est-ce K7-3F9 ? ». Until it is answered the stay and the reservation presumed to be its own
count once, as the stay.
"""

from datetime import datetime

from msgspec.structs import replace

from aval.kernel.lifecycle import ReservationInput, ReservationState
from aval.kernel.reasons import Reason, Refusal
from aval.kernel.statuses import ConflictCause, Gender
from aval.node.book import Draft
from aval.node.claims import ground, precedence, same_gender, span, spot_for_patient
from aval.node.commands import AdmitReservation, AnswerArrivalDoubt, CancelAdmission
from aval.node.conflicts import end_conflict, place_claim, record_conflict
from aval.node.model import Claim, Doubt, Kind, Reservation, Stay, Unit
from aval.node.reservations import ADMISSION_CLOSED_AFTER, PAST_MAX, advance, leave_doubts, unit_of

CANDIDATES_MAX = 10
"""Names on the question « est-ce … ? »: nobody reads a longer one."""


def admit(draft: Draft, reservation: Reservation, command: AdmitReservation, now: datetime) -> Reservation:
    """A person says that the patient has arrived: into the stay that the census holds already, or into a bed."""
    if reservation.state is ReservationState.ADMITTED and command.stay in ("", reservation.stay):
        return reservation
    advance(reservation, ReservationInput.ADMIT)
    if command.arrived is not None and not command.arrived <= now + PAST_MAX:
        raise Refusal(Reason.TIME_OUT_OF_RANGE, {"field": "arrive_time"})
    claim = reservation.claim
    unit = unit_of(draft, claim.unit if claim else reservation.unit)
    stay = draft.stay(command.stay) if command.stay else None
    if stay is None:
        key = command.stay or f"reservation-{reservation.id}"
        stay = Stay(key, unit.id, reservation.need.gender, since=command.arrived or now)
        stay = _placed(draft, stay, reservation, unit, command.bed, now)
    elif command.bed is not None and stay.bed is None:
        stay = _placed(draft, stay, reservation, unit_of(draft, stay.unit), command.bed, now)
    if draft.expected(stay.key) is not None:
        draft.put(Kind.EXPECTED, stay.key, None)
    return link(draft, reservation, stay, now)


def _placed(draft: Draft, stay: Stay, reservation: Reservation, unit: Unit, bed: str | None, now: datetime) -> Stay:
    """The stay where the person said; else in the bed that was claimed, or another that is free; else it is not
    known where.
    """
    need, claim = reservation.need, reservation.claim
    if bed is not None:
        if draft.bed(unit.id, bed) is None:
            raise Refusal(Reason.BED_NOT_FOUND, {"unit": unit.id, "bed": bed})
        if occupant(draft, unit.id, bed) is not None:
            raise Refusal(Reason.NO_BED, {"unit": unit.id, "bed": bed})
        return replace(stay, bed=bed)
    if claim is not None and claim.unit == unit.id:
        if claim.place is not None:
            return replace(stay, place=claim.place)
        if claim.bed is not None and occupant(draft, unit.id, claim.bed) is None:
            return replace(stay, bed=claim.bed)
    laid = ground(unit, draft.book(unit.id), now, without=reservation.key)
    start, until = (now, span(claim, unit, now)[1]) if claim else span(Claim(unit.id, now), unit, now)
    spot = laid.spot(need.gender, frozenset(), need.required | need.wished, start, max(until, start))
    if spot is None:
        spot = spot_for_patient(unit, draft.book(unit.id), need.gender, now, None)
    return replace(stay, bed=spot.bed, place=spot.place)


def occupant(draft: Draft, unit: str, bed: str) -> Stay | None:
    """The stay in a bed, or on leave with its bed kept."""
    for stay in draft.book(unit).stays.values():
        if stay.bed == bed and (not stay.on_leave or stay.keep_bed):
            return stay
    return None


def link(draft: Draft, reservation: Reservation, stay: Stay, now: datetime) -> Reservation:
    """Makes a stay the arrival of a reservation: ADMITTED. The stay is written."""
    state = advance(reservation, ReservationInput.ADMIT)
    end_conflict(draft, reservation)
    for _, doubt in sorted(draft.book(stay.unit).doubts.items()):
        if doubt.stay == stay.key:
            draft.put(Kind.DOUBT, doubt.id, replace(doubt, answered=now, answer=reservation.key))
    leave_doubts(draft, reservation, now)
    claim, need = reservation.claim, reservation.need
    stay_end = None
    if claim is not None and claim.end is not None:
        stay_end = claim.end if claim.end > now else None
    elif claim is None and need.stay_max is not None:
        stay_end = now + need.stay_max
    draft.put(Kind.STAY, stay.key, replace(stay, reservation=reservation.key, stay_end=stay_end))
    admitted = replace(
        reservation,
        state=state,
        admitted=now,
        stay=stay.key,
        expire_time=None,
        waiting=None,
        questions=(),
        late=False,
        overdue=False,
    )
    return draft.put_reservation(admitted)


def cancel_admission(draft: Draft, reservation: Reservation, _command: CancelAdmission, now: datetime) -> Reservation:
    """The admission was a mistake: CONFIRMED again, in conflict if the bed is gone."""
    return undo_admission(draft, reservation, now)


def undo_admission(draft: Draft, reservation: Reservation, now: datetime) -> Reservation:
    """As `cancel_admission`.

    A stay that only this admission told is removed; one of a source stays, without reservation.
    """
    state = advance(reservation, ReservationInput.CANCEL_ADMISSION)
    too_late = reservation.admitted is None or now - reservation.admitted > ADMISSION_CLOSED_AFTER
    if reservation.closed is not None or too_late:
        raise Refusal(Reason.CANCEL_TOO_LATE)
    stay = draft.stay(reservation.stay)
    if stay is not None and stay.reservation == reservation.key:
        if stay.source:
            draft.put(Kind.STAY, stay.key, replace(stay, reservation="", stay_end=None))
        else:
            draft.put(Kind.STAY, stay.key, None)
    _begin_anew(draft, reservation.stay, reservation.key)
    claim = reservation.claim
    if claim is None:
        end = None if reservation.need.stay_max is None else now + reservation.need.stay_max
        claim = Claim(reservation.unit, now, end)
    bed = claim.bed
    bare = replace(claim, bed=None, place=None)
    confirmed = replace(
        reservation,
        state=state,
        claim=bare,
        admitted=None,
        stay="",
        granted=reservation.granted or now,
    )
    draft.put_reservation(confirmed)
    end_conflict(draft, confirmed)  # one that a reinstated admission had: a claim is in one conflict at most
    record_conflict(draft, confirmed, bare, ConflictCause.ADMISSION_CANCELLED, now)
    unit = unit_of(draft, bare.unit)
    start, until = span(bare, unit, now)
    if bed is not None and start < until:
        # Its own bed first; the ledger then looks for another as for any claim in conflict.
        laid = ground(unit, draft.book(unit.id), now, without=confirmed.key)
        spot = laid.spot(confirmed.need.gender, frozenset(), frozenset(), start, until, bed=bed)
        if spot is not None:
            return place_claim(draft, confirmed, spot)
    return confirmed


def remove_told_by_hand(draft: Draft, stay: Stay) -> None:
    """Removes a stay that a person's admission alone told: a story that began with it must not bring it back."""
    draft.put(Kind.STAY, stay.key, None)
    _begin_anew(draft, stay.key, stay.reservation)


def _begin_anew(draft: Draft, stay: str, reservation: str) -> None:
    """Has a stay's story begin with that admission no more; of one who is gone too: that may be taken back."""
    story = draft.story(stay)
    if story is not None and story.merged_into:
        story = draft.story(story.merged_into)
    before = None if story is None else story.before
    if story is not None and before is not None and before.reservation == reservation:
        begins = replace(before, reservation="", stay_end=None) if before.source else None
        draft.put(Kind.STORY, story.stay, replace(story, before=begins))


# --- doubts ----------------------------------------------------------------------------------------------------------


def raise_doubt(draft: Draft, stay: Stay, now: datetime) -> str:
    """Asks « est-ce … ? » of a stay that nothing links, if its unit expects somebody of that gender today.

    The doubt's id, or "".
    """
    book = draft.book(stay.unit)
    zone = draft.zone
    today = now.astimezone(zone).date()
    covered = {doubt.presumed for doubt in book.doubts.values()}
    expected = [
        reservation
        for reservation in book.claims.values()
        if reservation.key not in covered
        and reservation.claim is not None
        and reservation.claim.start.astimezone(zone).date() <= today
        and same_gender(reservation.need.gender, stay.gender)
    ]
    if not expected:
        return ""
    # The one whose bed was taken is the likeliest.
    expected.sort(key=lambda r: (stay.bed is None or r.claim is None or r.claim.bed != stay.bed, precedence(r)))
    keys = tuple(reservation.key for reservation in expected[:CANDIDATES_MAX])
    doubt = Doubt(draft.mint_uuid("doubt"), stay.key, stay.unit, keys, keys[0], raised=now)
    draft.put(Kind.DOUBT, doubt.id, doubt)
    return doubt.id


def answer_doubt(draft: Draft, command: AnswerArrivalDoubt, now: datetime) -> Doubt:
    """A person answers a doubt: one of the candidates or another reservation, or none.

    Then each claim stands alone again.
    """
    doubt = draft.doubt(command.doubt)
    if doubt is None or doubt.answered is not None:
        raise Refusal(Reason.DOUBT_NOT_FOUND, {"doubt": command.doubt})
    stay = draft.stay(doubt.stay)
    answer = ""
    if command.reservation:
        answer = f"{command.caller.territory}/{command.reservation}"
        reservation = draft.reservation(answer)
        if reservation is None or stay is None:
            raise Refusal(Reason.RESERVATION_NOT_FOUND, {"reservation": command.reservation})
        link(draft, reservation, stay, now)
    answered = replace(doubt, answered=now, answer=answer)
    draft.put(Kind.DOUBT, doubt.id, answered)
    return answered


def stay_gone(draft: Draft, stay: Stay, now: datetime) -> None:
    """Ends the doubts about a stay that is no more: nobody can answer them."""
    for _, doubt in sorted(draft.book(stay.unit).doubts.items()):
        if doubt.stay == stay.key:
            draft.put(Kind.DOUBT, doubt.id, replace(doubt, answered=now))


def gender_known(told: Gender, known: Gender) -> Gender:
    """The better word of two on a patient's gender."""
    return known if told is Gender.UNDETERMINED else told
