"""The verbs of a reservation: what its requester, its house and the telephone may say to it (DESIGN §6).

Each verb takes the draft, the reservation as it stands and the command, and writes what follows; the one table of the
kernel says from which states. What the table lacks is refused by the name of the state found and changes nothing. The
same effect already there is no refusal.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from aval.kernel.lifecycle import (
    CANCEL_ADMISSION_HOURS_MAX,
    DeclineReason,
    NoteFate,
    NoteVerdict,
    ReservationInput,
    ReservationState,
    WaitlistReason,
    WithdrawReason,
    refusal_of,
    reservation_next,
)
from aval.kernel.need import VALID_AFTER_ARRIVAL, Feature, Need
from aval.kernel.reasons import Reason, Refusal, field_invalid
from aval.kernel.statuses import Answering, Counting
from aval.node.book import Draft
from aval.node.claims import Spot, ground, span
from aval.node.commands import (
    AcceptReservation,
    AskDetails,
    ConfirmReservation,
    CreateReservation,
    DeclineReservation,
    MarkSeen,
    MoveClaim,
    NoteAnswer,
    ReleaseReservation,
    RenewReservation,
    ReofferReservation,
    RescheduleReservation,
    SettleNote,
    SupplyDetails,
    TickStep,
    WaitlistReservation,
    WithdrawReservation,
)
from aval.node.conflicts import conflict_of, end_conflict, needed, place_claim
from aval.node.grants import arrivals_of, find_claim, hold, hold_by_policy, make_offer
from aval.node.model import Claim, Ending, Kind, Mandate, Note, Reservation, TickedStep, Unit
from aval.node.policy import answer_deadline, hold_deadline, hold_ttl

_S, _I = ReservationState, ReservationInput

ARRIVAL_DAYS_MAX = 400
"""A demand for a later date is a slip of the keyboard: nobody plans a bed so far ahead."""

PAST_MAX = timedelta(hours=1)
"""An arrival this far in the past is read as now: people round hours, and messages take time."""

ADMISSION_CLOSED_AFTER = timedelta(hours=CANCEL_ADMISSION_HOURS_MAX)
"""An admission older than this is closed: it can no more be cancelled."""

NOTES_MAX = 20
"""Notes kept on one reservation: more telephone calls than that about one demand say nothing new."""

POLICY = Mandate(actor="policy", display_name="policy", role="policy")
"""Who acts when a unit's policy answers by itself."""


def refused_in(state: ReservationState, given: ReservationInput) -> Refusal:
    """The refusal of a verb that the table does not hold for that state, by name."""
    return Refusal(Reason[refusal_of(state, given)], {"state": state.value})


def advance(reservation: Reservation, given: ReservationInput) -> ReservationState:
    """The state that follows; raises ALREADY_… or NOT_IN_THIS_STATE where the table holds none."""
    after = reservation_next(reservation.state, given)
    if after is None:
        raise refused_in(reservation.state, given)
    return after


def _live(reservation: Reservation) -> None:
    if reservation.state.is_final:
        raise Refusal(Reason[f"ALREADY_{reservation.state.value}"], {"state": reservation.state.value})


def unit_of(draft: Draft, unit_id: str) -> Unit:
    """The unit; raises UNIT_NOT_FOUND."""
    unit = draft.unit(unit_id)
    if unit is None:
        raise Refusal(Reason.UNIT_NOT_FOUND, {"unit": unit_id})
    return unit


# --- the requester's -------------------------------------------------------------------------------------------------


def create(draft: Draft, command: CreateReservation, now: datetime) -> Reservation:
    """A demand arrives: held by policy, asked, or declined where the unit is closed to the territory."""
    unit = unit_of(draft, command.unit)
    need = command.need
    _check_need(need, now)
    valid_until = command.valid_until or need.arrival_latest + VALID_AFTER_ARRIVAL
    if valid_until <= now:
        raise Refusal(Reason.TIME_OUT_OF_RANGE, {"field": "valid_until"})
    reservation = Reservation(
        id=command.reservation,
        territory=command.caller.territory,
        request=command.request,
        reference=command.reference,
        unit=unit.id,
        need=need,
        requester=command.caller.mandate,
        mode=command.mode,
        urgency=command.urgency,
        ready_since=command.ready_since,
        asked_count=command.asked_count,
        content=command.content,
        state=_S.ASKED,
        created=now,
        valid_until=valid_until,
        answer_by=min(answer_deadline(unit, command.urgency, now, draft.zone), valid_until),
        ttl_wished=command.ttl,
    )
    if unit.policy.answering is Answering.CLOSED:
        ending = Ending(POLICY, now, decline=DeclineReason.CLOSED_TO_TERRITORY)
        return end(draft, reservation, _S.DECLINED, ending, now)
    return hold_by_policy(draft, reservation, unit, now) or draft.put_reservation(reservation)


def _check_need(need: Need, now: datetime) -> None:
    problem = need.problem()
    if problem is not None:
        raise field_invalid(f"need.{problem[0]}", problem[1])
    if need.arrival_latest <= now:
        raise Refusal(Reason.TIME_OUT_OF_RANGE, {"field": "need.arrival_latest"})
    if need.arrival_earliest > now + timedelta(days=ARRIVAL_DAYS_MAX):
        raise Refusal(Reason.TIME_OUT_OF_RANGE, {"field": "need.arrival_earliest"})


def confirm(draft: Draft, reservation: Reservation, command: ConfirmReservation, _now: datetime) -> Reservation:
    """The requester takes the offer that it read.

    A hold that lost its bed cannot be confirmed: there is none behind it.
    """
    offer = reservation.offer
    same = offer is not None and offer.tag == command.offer_tag
    if reservation.state is _S.CONFIRMED and same:
        return reservation
    state = advance(reservation, _I.CONFIRM)
    if not same:
        raise Refusal(Reason.OFFER_CHANGED)
    conflict = conflict_of(draft, reservation)
    if conflict is not None:
        raise Refusal(Reason.CONFLICT_OPEN, {"unit": conflict.unit, "conflict": conflict.id})
    return draft.put_reservation(replace(reservation, state=state, expire_time=None))


def release(draft: Draft, reservation: Reservation, command: ReleaseReservation, now: datetime) -> Reservation:
    """The requester lets it go."""
    if reservation.state is _S.RELEASED:
        return reservation
    state = advance(reservation, _I.RELEASE)
    return end(draft, reservation, state, Ending(command.caller.mandate, now, release=command.reason), now)


def renew(draft: Draft, reservation: Reservation, command: RenewReservation, now: datetime) -> Reservation:
    """Prolongs a hold, as often as the policy says. It never shortens one."""
    state = advance(reservation, _I.RENEW)
    unit = unit_of(draft, reservation.claim.unit if reservation.claim else reservation.unit)
    if reservation.renewals >= unit.policy.renewals_max:
        raise Refusal(Reason.HOLD_NOT_RENEWABLE, {"renewals_max": str(unit.policy.renewals_max)})
    until = hold_deadline(unit, hold_ttl(unit, command.ttl), now, draft.zone)
    expire_time = until if reservation.expire_time is None else max(until, reservation.expire_time)
    renewed = replace(reservation, state=state, expire_time=expire_time, renewals=reservation.renewals + 1)
    return draft.put_reservation(renewed)


def reschedule(draft: Draft, reservation: Reservation, command: RescheduleReservation, now: datetime) -> Reservation:
    """Moves a confirmed arrival: on the same bed if it can, else on another that fits, else NO_BED."""
    state = advance(reservation, _I.RESCHEDULE)
    arrival = _arrival(command.arrival, now)
    claim = reservation.claim
    unit = unit_of(draft, claim.unit if claim else reservation.unit)
    found = _claim_at(draft, reservation, unit, arrival, now)
    end_conflict(draft, reservation)
    moved = replace(reservation, state=state, claim=found, overdue=False)
    ttl = reservation.offer.ttl if reservation.offer else timedelta(0)
    return draft.put_reservation(replace(moved, offer=make_offer(draft, moved, unit, found, ttl)))


def _claim_at(draft: Draft, reservation: Reservation, unit: Unit, arrival: datetime, now: datetime) -> Claim:
    """A claim of that unit at another arrival: its own bed first, then any that has what was offered."""
    need, key, claim = reservation.need, reservation.key, reservation.claim
    if claim is not None and claim.unit == unit.id and claim.bed is not None:
        try:
            return find_claim(draft, unit, need, [arrival], now, required=frozenset(), bed=claim.bed, without=key)
        except Refusal as refusal:
            if refusal.reason is not Reason.NO_BED:
                raise
    return find_claim(draft, unit, need, [arrival], now, required=needed(reservation), without=key)


def supply_details(draft: Draft, reservation: Reservation, command: SupplyDetails, _now: datetime) -> Reservation:
    """Answers questions; those answered are closed."""
    _live(reservation)
    answered = {detail.question for detail in command.details}
    details = tuple(d for d in reservation.details if d.question not in answered) + command.details
    questions = tuple(q for q in reservation.questions if q not in answered)
    return draft.put_reservation(replace(reservation, details=details, questions=questions))


def note_answer(draft: Draft, reservation: Reservation, command: NoteAnswer, now: datetime) -> Reservation:
    """An answer by telephone: the unit's policy applies it, or proposes it to staff."""
    _live(reservation)
    note = Note(
        command.command_id,
        command.verdict,
        command.answered_by,
        command.caller.mandate,
        command.said,
        command.decline,
    )
    noted = replace(reservation, notes=(*reservation.notes, note)[-NOTES_MAX:])
    policy = unit_of(draft, reservation.unit).policy.notes
    apply_yes = policy.apply_yes and draft.book(reservation.unit).reconciling is None
    wanted = {NoteVerdict.NO: policy.apply_no, NoteVerdict.YES: apply_yes, NoteVerdict.WAIT: False}
    if wanted[note.verdict] and reservation.state in (_S.ASKED, _S.WAITLISTED):
        try:
            return _apply_note(draft, noted, note, note.written_by, now)
        except Refusal:
            pass  # no bed for that yes: a person sees to it
    return draft.put_reservation(noted)


# --- the house's -----------------------------------------------------------------------------------------------------


def accept(draft: Draft, reservation: Reservation, command: AcceptReservation, now: datetime) -> Reservation:
    """A person grants a bed. A bed that the person chose may lack what the need requires: that is a counter-offer."""
    return _accept(draft, reservation, command.unit, command.bed, command.arrival, command.ttl, now)


def _accept(
    draft: Draft,
    reservation: Reservation,
    unit_id: str | None,
    bed: str | None,
    arrival: datetime | None,
    ttl: timedelta | None,
    now: datetime,
) -> Reservation:
    advance(reservation, _I.ACCEPT)
    unit = unit_of(draft, unit_id or reservation.unit)
    need = reservation.need
    if bed is not None and draft.bed(unit.id, bed) is None:
        raise Refusal(Reason.BED_NOT_FOUND, {"unit": unit.id, "bed": bed})
    if arrival is not None:
        arrivals = [_arrival(arrival, now)]
    else:
        # The person knows the house's hours better than its policy: what the window allows, then simply its start.
        arrivals = [*arrivals_of(draft, unit, need, now), max(need.arrival_earliest, now)]
    chosen = bed is not None or unit.counting is Counting.PLACES
    required: frozenset[Feature] = frozenset() if chosen else need.required
    claim = find_claim(draft, unit, need, arrivals, now, required=required, bed=bed)
    wished = reservation.ttl_wished if ttl is None else ttl
    return hold(
        draft,
        reservation,
        unit,
        claim,
        hold_ttl(unit, wished, by_staff=ttl is not None),
        now,
        automatic=False,
    )


def _arrival(arrival: datetime, now: datetime) -> datetime:
    """An arrival that somebody states, checked; one in the last hour is now."""
    if not now - PAST_MAX <= arrival <= now + timedelta(days=ARRIVAL_DAYS_MAX):
        raise Refusal(Reason.TIME_OUT_OF_RANGE, {"field": "arrival"})
    return max(arrival, now)


def reoffer(draft: Draft, reservation: Reservation, command: ReofferReservation, now: datetime) -> Reservation:
    """Changes the offer of a hold: new number, new tag, whole time again."""
    advance(reservation, _I.REOFFER)
    claim = reservation.claim
    if claim is None:
        raise refused_in(reservation.state, _I.REOFFER)
    unit = unit_of(draft, command.unit or claim.unit)
    if command.bed is not None and draft.bed(unit.id, command.bed) is None:
        raise Refusal(Reason.BED_NOT_FOUND, {"unit": unit.id, "bed": command.bed})
    arrival = max(claim.start, now) if command.arrival is None else _arrival(command.arrival, now)
    if command.bed is not None:
        found = find_claim(
            draft,
            unit,
            reservation.need,
            [arrival],
            now,
            required=frozenset(),
            bed=command.bed,
            without=reservation.key,
        )
    else:
        found = _claim_at(draft, reservation, unit, arrival, now)
    if found.unit != claim.unit:
        leave_doubts(draft, reservation, now)
    usual = reservation.offer.ttl if reservation.offer else None
    ttl = hold_ttl(unit, command.ttl or usual, by_staff=True)
    return hold(draft, reservation, unit, found, ttl, now, automatic=False)


def waitlist(draft: Draft, reservation: Reservation, command: WaitlistReservation, now: datetime) -> Reservation:
    """Puts it on the waiting list; who waits already keeps the rank."""
    return _waitlist(draft, reservation, command.reason, command.caller.mandate, now)


def _waitlist(
    draft: Draft, reservation: Reservation, reason: WaitlistReason, by: Mandate, now: datetime
) -> Reservation:
    state = advance(reservation, _I.WAITLIST)
    rank = reservation.waiting if reservation.waiting is not None else draft.mint()
    ending = Ending(by, now, waitlist=reason)
    waiting = replace(reservation, state=state, waiting=rank, ending=ending, late=False)
    return draft.put_reservation(waiting)


def decline(draft: Draft, reservation: Reservation, command: DeclineReservation, now: datetime) -> Reservation:
    """The house says no."""
    if reservation.state is _S.DECLINED:
        return reservation
    state = advance(reservation, _I.DECLINE)
    return end(draft, reservation, state, Ending(command.caller.mandate, now, decline=command.reason), now)


def withdraw(draft: Draft, reservation: Reservation, command: WithdrawReservation, now: datetime) -> Reservation:
    """The house takes back what it had granted."""
    return take_away(draft, reservation, command.reason, command.caller.mandate, now)


def take_away(
    draft: Draft, reservation: Reservation, reason: WithdrawReason, by: Mandate, now: datetime
) -> Reservation:
    """Withdraws a held or confirmed reservation."""
    if reservation.state is _S.RELEASED:
        return reservation
    state = advance(reservation, _I.WITHDRAW)
    return end(draft, reservation, state, Ending(by, now, withdraw=reason), now)


def ask_details(draft: Draft, reservation: Reservation, command: AskDetails, _now: datetime) -> Reservation:
    """Opens questions."""
    _live(reservation)
    fresh = tuple(dict.fromkeys((*reservation.questions, *command.questions)))
    return draft.put_reservation(replace(reservation, questions=fresh))


def tick_step(draft: Draft, reservation: Reservation, command: TickStep, now: datetime) -> Reservation:
    """Ticks a step, or unticks it; ticked twice, the first one stands."""
    _live(reservation)
    ticked = any(step.step is command.step for step in reservation.steps)
    if command.undo:
        steps = tuple(step for step in reservation.steps if step.step is not command.step)
    elif ticked:
        steps = reservation.steps
    else:
        steps = (*reservation.steps, TickedStep(command.step, command.caller.mandate, now))
    return draft.put_reservation(replace(reservation, steps=steps))


def mark_seen(draft: Draft, reservation: Reservation, command: MarkSeen, now: datetime) -> Reservation:
    """A person has opened it; the first one is kept."""
    if reservation.seen_time is not None:
        return reservation
    return draft.put_reservation(replace(reservation, seen_by=command.caller.mandate, seen_time=now))


def settle_note(draft: Draft, reservation: Reservation, command: SettleNote, now: datetime) -> Reservation:
    """A person applies a telephone note, or rejects it. Raises NOTE_NOT_FOUND, and as the verdict's own verb."""
    note = next((note for note in reservation.notes if note.id == command.note), None)
    if note is None or note.fate is not NoteFate.PROPOSED:
        raise Refusal(Reason.NOTE_NOT_FOUND, {"note": command.note})
    if command.apply:
        return _apply_note(draft, reservation, note, command.caller.mandate, now)
    return draft.put_reservation(_with_fate(reservation, note, NoteFate.REJECTED))


def _with_fate(reservation: Reservation, note: Note, fate: NoteFate) -> Reservation:
    notes = tuple(replace(n, fate=fate) if n.id == note.id else n for n in reservation.notes)
    return replace(reservation, notes=notes)


def _apply_note(draft: Draft, reservation: Reservation, note: Note, by: Mandate, now: datetime) -> Reservation:
    noted = _with_fate(reservation, note, NoteFate.APPLIED)
    if note.verdict is NoteVerdict.YES:
        return _accept(draft, noted, None, None, None, None, now)
    if note.verdict is NoteVerdict.WAIT:
        return _waitlist(draft, noted, WaitlistReason.OTHER, by, now)
    if noted.state.takes_claim:
        return take_away(draft, noted, WithdrawReason.OTHER, by, now)
    state = advance(noted, _I.DECLINE)
    ending = Ending(by, now, decline=note.decline or DeclineReason.OTHER)
    return end(draft, noted, state, ending, now)


def move_claim(draft: Draft, reservation: Reservation, command: MoveClaim, now: datetime) -> Reservation:
    """A person moves a claim to another bed of its unit, out of a conflict too."""
    claim = reservation.claim
    if claim is None or not reservation.state.takes_claim:
        raise Refusal(Reason.NOT_IN_THIS_STATE, {"state": reservation.state.value})
    if command.unit != claim.unit:
        raise Refusal(Reason.BED_NOT_FOUND, {"unit": claim.unit, "bed": f"{command.unit}/{command.bed}"})
    return move_to(draft, reservation, unit_of(draft, claim.unit), command.bed, now)


def move_to(draft: Draft, reservation: Reservation, unit: Unit, bed: str, now: datetime) -> Reservation:
    """Puts a claim on that bed of its unit. Raises BED_NOT_FOUND, NO_BED."""
    claim = reservation.claim
    if draft.bed(unit.id, bed) is None or claim is None:
        raise Refusal(Reason.BED_NOT_FOUND, {"unit": unit.id, "bed": bed})
    start, until = span(claim, unit, now)
    laid = ground(unit, draft.book(unit.id), now, without=reservation.key)
    spot = laid.spot(reservation.need.gender, frozenset(), frozenset(), start, until, bed=bed)
    if spot is None:
        raise Refusal(Reason.NO_BED, {"unit": unit.id, "bed": bed})
    return place_claim(draft, reservation, Spot(bed, None))


# --- the end ---------------------------------------------------------------------------------------------------------


def end(
    draft: Draft, reservation: Reservation, state: ReservationState, ending: Ending | None, now: datetime
) -> Reservation:
    """Ends a reservation: its conflict with it, and the doubts that named it."""
    end_conflict(draft, reservation)
    leave_doubts(draft, reservation, now)
    ended = replace(
        reservation,
        state=state,
        ending=ending if ending is not None else reservation.ending,
        expire_time=None,
        waiting=None,
        questions=(),
        late=False,
        overdue=False,
        ended=now,
    )
    return draft.put_reservation(ended)


def leave_doubts(draft: Draft, reservation: Reservation, now: datetime) -> None:
    """Takes a reservation out of the doubts that name it: it is over, has come, or leaves the unit that asks.

    One left without a candidate is answered: none of them.
    """
    unit = reservation.claim.unit if reservation.claim else reservation.unit
    for _, doubt in sorted(draft.book(unit).doubts.items()):
        if reservation.key in doubt.candidates:
            left = tuple(key for key in doubt.candidates if key != reservation.key)
            presumed = doubt.presumed if doubt.presumed in left else (left[0] if left else "")
            answered = None if left else now
            after = replace(doubt, candidates=left, presumed=presumed, answered=answered)
            draft.put(Kind.DOUBT, doubt.id, after)


Verb = Callable[[Draft, Reservation, Any, datetime], Reservation]

VERBS: dict[type, Verb] = {
    ConfirmReservation: confirm,
    ReleaseReservation: release,
    RenewReservation: renew,
    RescheduleReservation: reschedule,
    SupplyDetails: supply_details,
    NoteAnswer: note_answer,
    AcceptReservation: accept,
    ReofferReservation: reoffer,
    WaitlistReservation: waitlist,
    DeclineReservation: decline,
    WithdrawReservation: withdraw,
    AskDetails: ask_details,
    TickStep: tick_step,
    MarkSeen: mark_seen,
    SettleNote: settle_note,
    MoveClaim: move_claim,
}
"""What each command does to a reservation that exists. Admissions are with the census: `aval.node.arrivals`."""
