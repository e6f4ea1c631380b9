"""The life of a request (DESIGN §7): what people ask of it, what nodes say of it, what time does to it.

Everything here is a pure function from a `RequestFile` (a request, its asks with what their nodes last said, the
command rows not yet struck) to a new one. People's inputs go by the kernel's `REQUEST_TABLE`, and what that does not
hold is refused by name. What the hub does by itself (`reactions`) is run at the end of every function here. A function
may be run again from its beginning on the same file (a store that retries its transaction does) and gives the same:
even the ids of the commands that it writes follow from the reservation and the command's number.

How a promise is taken back: a release, once written, is never called back, and it goes behind whatever command of its
reservation is still on its way. A reservation with a release behind it is let go: it counts for no limit and moves no
request, but its house is not asked again before its node has said that it is over.
"""

from datetime import datetime, timedelta

from msgspec.structs import replace

from aval.hub import reactions, restoring
from aval.hub.model import (
    Answer,
    Ask,
    AskTarget,
    Body,
    Confirm,
    Create,
    Detail,
    Event,
    EventKind,
    ExternalReference,
    KnownReservation,
    Mandate,
    Note,
    NoteAnswer,
    OutboxRow,
    Refused,
    Reinstate,
    Release,
    ReleaseRefusal,
    Renew,
    Request,
    RequestFile,
    Reschedule,
    SupplyDetails,
    establishment_of,
)
from aval.hub.reactions import is_refused, moved, settled, with_ask, with_row
from aval.kernel.lifecycle import (
    REQUEST_TABLE,
    OutsideReason,
    ReleaseReason,
    RequestInput,
    RequestState,
    ReservationInput,
    ReservationState,
    refusal_of,
    reservation_next,
)
from aval.kernel.need import Mode, Need, PatientChoice, Urgency
from aval.kernel.reasons import Reason, Refusal, field_invalid

ASK_NEXT_MAX = 10
"""Units to ask next by itself; a longer list is a search, which people should look at again."""

PENDING_MAX = 16
"""Commands of one reservation on their way; only to a node that is silent do people say more than that."""

REQUEST_LIFE_MAX = timedelta(days=30)
"""An open request that nobody ended is over by then (DESIGN §7)."""

ARRIVAL_AHEAD_MAX = timedelta(days=400)
"""An arrival farther off is a slip of the keyboard."""

ROW_LIFE_MAX = timedelta(days=7)
"""A node refuses older commands by name (CONTRACT 21), so the hub stops sending them."""

ADMITTED_ARCHIVED_AFTER = timedelta(hours=72)
"""An admission can be cancelled until then (DESIGN §6)."""

FINAL_ARCHIVED_AFTER = timedelta(hours=24)
"""A request that ended is listed among the others for a day."""

REFERENCE_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without O, I, 0 and 1, which are misheard or misread (CONTRACT 5): 32 symbols, five bits each."""

REFERENCE_LENGTH = 5
"""Symbols of a spoken reference: 33 million, for some thousands of live requests."""

_S, _P, _V = RequestState, RequestInput, ReservationState


def reference_of(random: bytes) -> str:
    """The spoken reference (`K7-3F9`) that 5 random bytes make; its caller checks that no live request has it."""
    if len(random) != REFERENCE_LENGTH:
        raise ValueError(f"a reference is made of {REFERENCE_LENGTH} bytes")
    symbols = "".join(REFERENCE_ALPHABET[byte % len(REFERENCE_ALPHABET)] for byte in random)
    return f"{symbols[:2]}-{symbols[2:]}"


# --- refusing by name ------------------------------------------------------------------------------------------------


def request_refusal(state: RequestState, given: RequestInput) -> Reason:
    """The reason of a pair that `REQUEST_TABLE` does not hold (DESIGN §7, CONTRACT 20)."""
    if state.is_final or state is _S.ADMITTED:
        return Reason[f"ALREADY_{state.value}"]
    if given is _P.CONFIRM and state is _S.CONFIRMING:
        return Reason.CONFIRM_IN_PROGRESS
    if given in (_P.CONFIRM, _P.TAKE_BACK) and state is _S.CONFIRMED:
        return Reason.ALREADY_CONFIRMED
    return Reason.NOT_IN_THIS_STATE


def _refuse(file: RequestFile, reason: Reason, **metadata: str) -> Refusal:
    return Refusal(reason, {"request": file.request.name, "state": file.request.state.value, **metadata}, file)


def _next(file: RequestFile, given: RequestInput) -> RequestState:
    state = REQUEST_TABLE.get((file.request.state, given))
    if state is None:
        raise _refuse(file, request_refusal(file.request.state, given))
    return state


def _ask_of(file: RequestFile, reservation: str) -> Ask:
    ask = file.ask(reservation)
    if ask is None:
        raise _refuse(file, Reason.RESERVATION_NOT_FOUND, reservation=reservation)
    return ask


def _check_reservation(file: RequestFile, ask: Ask, given: ReservationInput) -> KnownReservation:
    """What its node last said, if that allows the input; the node decides again."""
    if ask.known is None:
        raise _refuse(
            file, Reason.NOT_IN_THIS_STATE, reservation=ask.reservation, reservation_state=file.delivery(ask).value
        )
    if reservation_next(ask.known.state, given) is None:
        reason = Reason[refusal_of(ask.known.state, given)]
        raise _refuse(file, reason, reservation=ask.reservation, reservation_state=ask.known.state.value)
    return ask.known


def _check_live(file: RequestFile, ask: Ask) -> None:
    if ask.is_live:
        return
    reason = Reason[f"ALREADY_{ask.known.state.value}"] if ask.known else Reason.NOT_IN_THIS_STATE
    raise _refuse(file, reason, reservation=ask.reservation)


def _check_nothing_pending(file: RequestFile, ask: Ask, *bodies: type[Body]) -> None:
    if file.has_pending(ask.reservation, *bodies):
        raise _refuse(file, Reason.RELEASE_PENDING, reservation=ask.reservation)


def _check_room(file: RequestFile, ask: Ask) -> None:
    if len(file.pending(ask.reservation)) >= PENDING_MAX:
        raise _refuse(file, Reason.QUEUE_FULL, reservation=ask.reservation, limit=str(PENDING_MAX))


def _check_need(need: Need, now: datetime) -> None:
    problem = need.problem()
    if problem is not None:
        raise field_invalid(f"need.{problem[0]}", problem[1])
    _check_time("need.arrival_latest", need.arrival_latest, now)
    if need.arrival_earliest > now + ARRIVAL_AHEAD_MAX:
        raise Refusal(Reason.TIME_OUT_OF_RANGE, {"field": "need.arrival_earliest", "problem": "is over 400 days ahead"})


def _check_time(field: str, instant: datetime, now: datetime) -> None:
    if instant < now:
        raise Refusal(Reason.TIME_OUT_OF_RANGE, {"field": field, "problem": "has passed"})
    if instant > now + ARRIVAL_AHEAD_MAX:
        raise Refusal(Reason.TIME_OUT_OF_RANGE, {"field": field, "problem": "is over 400 days ahead"})


def _check_ask_next(ask_next: tuple[str, ...]) -> None:
    if len(ask_next) > ASK_NEXT_MAX:
        raise field_invalid("ask_next", f"at most {ASK_NEXT_MAX} units")


def _check_revision(file: RequestFile, revision: int) -> None:
    if revision and revision != file.request.revision:
        raise _refuse(file, Reason.REQUEST_CHANGED, revision=str(file.request.revision))


def _check_targets(file: RequestFile, targets: tuple[AskTarget, ...]) -> None:
    houses = {ask.establishment for ask in file.asks if ask.is_live}
    known = {ask.reservation for ask in file.asks}
    for target in targets:
        house = establishment_of(target.unit)
        if target.reservation in known:
            raise _refuse(file, Reason.ID_REUSED, reservation=target.reservation)
        if house in houses:
            raise _refuse(file, Reason.ALREADY_ASKED_THERE, establishment=house)
        houses.add(house)
        known.add(target.reservation)
    wanted = reactions.wanted(file)
    if len(wanted) + len(targets) > reactions.ASKS_MAX:
        raise _refuse(file, Reason.TOO_MANY_ASKS, asked=str(len(wanted)), limit=str(reactions.ASKS_MAX))
    if len(file.asks) + len(targets) > reactions.ASKS_EVER_MAX:
        raise _refuse(file, Reason.TOO_MANY_ASKS, asked=str(len(file.asks)), limit=str(reactions.ASKS_EVER_MAX))
    modes = [*(one.mode for one in wanted), *(target.mode for target in targets)]
    if targets and modes.count(Mode.HOLD) > reactions.HOLDS_MAX:
        raise _refuse(file, Reason.TOO_MANY_HOLDS, limit=str(reactions.HOLDS_MAX))


# --- what people ask -------------------------------------------------------------------------------------------------


def create(
    name: str,
    reference: str,
    need: Need,
    urgency: Urgency,
    ready_since: datetime,
    mandate: Mandate,
    now: datetime,
    *,
    targets: tuple[AskTarget, ...] = (),
    ask_next: tuple[str, ...] = (),
    choice: PatientChoice = PatientChoice.NOT_ASKED,
    external_reference: ExternalReference | None = None,
) -> RequestFile:
    """A new request, asking `targets` at once.

    Raises `Refusal`: FIELD_INVALID, TIME_OUT_OF_RANGE, TOO_MANY_ASKS, TOO_MANY_HOLDS, ALREADY_ASKED_THERE.
    """
    _check_need(need, now)
    _check_ask_next(ask_next)
    request = Request(
        name=name,
        reference=reference,
        need=need,
        urgency=urgency,
        ready_since=ready_since,
        requester=mandate,
        handler=mandate,
        create_time=now,
        change_time=now,
        choice=choice,
        external_reference=external_reference,
        ask_next=ask_next,
    )
    file = RequestFile(request)
    _check_targets(file, targets)
    return reactions.asked(file, targets, mandate, now)


def ask(
    file: RequestFile,
    targets: tuple[AskTarget, ...],
    mandate: Mandate,
    now: datetime,
    *,
    ask_next: tuple[str, ...] | None = None,
) -> RequestFile:
    """Asks further units; `ask_next`, if given, replaces the list of those to ask next by itself.

    Raises `Refusal`: TOO_MANY_ASKS, TOO_MANY_HOLDS, ALREADY_ASKED_THERE, ID_REUSED, TIME_OUT_OF_RANGE, FIELD_INVALID,
    or by state.
    """
    _next(file, _P.ASK)
    if not targets and ask_next is None:
        raise field_invalid("asks", "name a unit to ask")
    _check_time("need.arrival_latest", file.request.need.arrival_latest, now)
    _check_targets(file, targets)
    given = file
    if ask_next is not None:
        _check_ask_next(ask_next)
        file = replace(file, request=replace(file.request, ask_next=ask_next))
    return settled(given, reactions.asked(file, targets, mandate, now), now)


def edit(
    file: RequestFile,
    need: Need,
    mandate: Mandate,
    now: datetime,
    *,
    urgency: Urgency | None = None,
    revision: int = 0,
) -> RequestFile:
    """Replaces the need. Raises `Refusal`: LIVE_RESERVATION, REQUEST_CHANGED, FIELD_INVALID, or by state."""
    _next(file, _P.EDIT)
    _check_revision(file, revision)
    if any(one.is_live for one in file.asks):
        raise _refuse(file, Reason.LIVE_RESERVATION)
    _check_need(need, now)
    request = replace(
        file.request, need=need, urgency=urgency or file.request.urgency, handler=mandate, place_found="",
        proposed_next="",
    )  # fmt: skip
    return settled(file, replace(file, request=request), now)


def confirm(file: RequestFile, reservation: str, offer_tag: bytes, mandate: Mandate, now: datetime) -> RequestFile:
    """Confirms a held reservation as offered: CONFIRMING until its node answers.

    Raises `Refusal`: RESERVATION_NOT_FOUND, RELEASE_PENDING, OFFER_CHANGED, CONFIRM_IN_PROGRESS, or by state.
    """
    state = _next(file, _P.CONFIRM)
    one = _ask_of(file, reservation)
    _check_nothing_pending(file, one, Confirm, Release)
    known = _check_reservation(file, one, ReservationInput.CONFIRM)
    if known.offer is None or known.offer.tag != offer_tag:
        raise _refuse(file, Reason.OFFER_CHANGED, reservation=reservation)
    after = with_row(moved(file, state, reservation), one, Confirm(offer_tag), mandate, now)
    return settled(file, after, now)


def take_back(file: RequestFile, mandate: Mandate, now: datetime) -> RequestFile:
    """Takes the confirmation back while it is on its way: OPEN, an irrevocable release behind it. Refused by state."""
    state = _next(file, _P.TAKE_BACK)
    one = _ask_of(file, file.request.subject)
    after = with_row(moved(file, state), one, Release(ReleaseReason.TAKEN_BACK), mandate, now)
    after = reactions.told(after, Event(EventKind.TAKEN_BACK, now, one.reservation, by=mandate))
    return settled(file, after, now)


def reschedule(file: RequestFile, arrival: datetime, mandate: Mandate, now: datetime) -> RequestFile:
    """Asks the node to move the arrival of the confirmed reservation; only its word does.

    Raises `Refusal`: TIME_OUT_OF_RANGE, RELEASE_PENDING, or by state.
    """
    _next(file, _P.RESCHEDULE)
    _check_time("arrival", arrival, now)
    one = _ask_of(file, file.request.subject)
    _check_nothing_pending(file, one, Release)
    _check_reservation(file, one, ReservationInput.RESCHEDULE)
    _check_room(file, one)
    return settled(file, with_row(file, one, Reschedule(arrival), mandate, now), now)


def release(file: RequestFile, reason: ReleaseReason, mandate: Mandate, now: datetime) -> RequestFile:
    """Releases the confirmed reservation: RELEASING until it is over. Refused by state."""
    state = _next(file, _P.RELEASE)
    request = replace(file.request, release_reason=reason, handler=mandate)
    return settled(file, moved(replace(file, request=request), state, request.subject), now)


def release_ask(
    file: RequestFile, reservation: str, reason: ReleaseReason, mandate: Mandate, now: datetime
) -> RequestFile:
    """Drops one ask, or refuses a counter-offer.

    Raises `Refusal`: RESERVATION_NOT_FOUND, RELEASE_PENDING (take back a confirmation instead), or by state.
    """
    _next(file, _P.RELEASE_ASK)
    one = _ask_of(file, reservation)
    _check_nothing_pending(file, one, Confirm, Release)
    _check_live(file, one)
    return settled(file, with_row(file, one, Release(reason), mandate, now), now)


def renew(file: RequestFile, reservation: str, ttl: timedelta | None, mandate: Mandate, now: datetime) -> RequestFile:
    """Asks the node to prolong a hold. Raises `Refusal`: RESERVATION_NOT_FOUND, RELEASE_PENDING, or by state."""
    _next(file, _P.RENEW)
    one = _ask_of(file, reservation)
    _check_nothing_pending(file, one, Confirm, Release)
    _check_reservation(file, one, ReservationInput.RENEW)
    _check_room(file, one)
    return settled(file, with_row(file, one, Renew(ttl), mandate, now), now)


def supply_details(
    file: RequestFile, reservation: str, details: tuple[Detail, ...], mandate: Mandate, now: datetime
) -> RequestFile:
    """Answers a house's questions. Raises `Refusal`: RESERVATION_NOT_FOUND, FIELD_INVALID, or by state."""
    _next(file, _P.SUPPLY_DETAILS)
    one = _ask_of(file, reservation)
    if not details:
        raise field_invalid("details", "answer a question")
    _check_live(file, one)
    _check_not_let_go(file, one)
    _check_room(file, one)
    return settled(file, with_row(file, one, SupplyDetails(details), mandate, now), now)


def note_answer(file: RequestFile, reservation: str, note: Note, mandate: Mandate, now: datetime) -> RequestFile:
    """Sends a telephone answer to the node; it moves nothing here. Refused RESERVATION_NOT_FOUND, or by state."""
    _next(file, _P.NOTE_ANSWER)
    one = _ask_of(file, reservation)
    _check_live(file, one)
    _check_not_let_go(file, one)
    _check_room(file, one)
    return settled(file, with_row(file, one, NoteAnswer(replace(note, written_by=mandate)), mandate, now), now)


def _check_not_let_go(file: RequestFile, one: Ask) -> None:
    if file.release_behind(one.reservation):
        raise _refuse(file, Reason.NOT_IN_THIS_STATE, reservation=one.reservation, pending="release")


def place_outside(file: RequestFile, reason: OutsideReason, mandate: Mandate, now: datetime) -> RequestFile:
    """The patient was placed outside Aval: final, whatever is live is released. Refused by state."""
    state = _next(file, _P.PLACE_OUTSIDE)
    request = replace(file.request, handler=mandate, outside_reason=reason, release_reason=ReleaseReason.PLACED_OUTSIDE)
    after = moved(replace(file, request=request), state)
    return settled(
        file, reactions.told(after, Event(EventKind.PLACED_OUTSIDE, now, reason=reason.value, by=mandate)), now
    )


def cancel(file: RequestFile, reason: ReleaseReason, mandate: Mandate, now: datetime) -> RequestFile:
    """Cancels: final, whatever is live is released, behind a confirm on its way too. Refused by state."""
    state = _next(file, _P.CANCEL)
    request = replace(file.request, handler=mandate, release_reason=reason)
    after = moved(replace(file, request=request), state)
    return settled(file, reactions.told(after, Event(EventKind.CANCELLED, now, reason=reason.value, by=mandate)), now)


def notify_when_free(file: RequestFile, mandate: Mandate, now: datetime, *, stop: bool = False) -> RequestFile:
    """Asks to be told when a unit that fits frees up, or no more. An OPEN request only."""
    if file.request.state is not _S.OPEN:
        raise _refuse(file, request_refusal(file.request.state, _P.ASK))
    request = replace(file.request, notify_when_free=not stop, handler=mandate)
    return settled(file, replace(file, request=replace(request, place_found="") if stop else request), now)


def take_over(file: RequestFile, mandate: Mandate, now: datetime, *, revision: int = 0) -> RequestFile:
    """A colleague handles it from now on. Raises `Refusal(REQUEST_CHANGED)`."""
    _check_revision(file, revision)
    return settled(file, replace(file, request=replace(file.request, handler=mandate)), now)


# --- what nodes say --------------------------------------------------------------------------------------------------


def heard(file: RequestFile, known: KnownReservation, now: datetime) -> RequestFile:
    """What a node says of a reservation, on the watch; old news changes nothing. Of a stranger, neither."""
    return settled(file, _heard(file, known, now), now)


def answered(file: RequestFile, answer: Answer, now: datetime) -> RequestFile:
    """A node's answer to a command: its row is struck, unless it was refused for now only.

    Of the reservation that it bears and of what was heard, the newer is kept. An answer to a row already struck is a
    word like those of the watch.
    """
    row = next((one for one in file.rows if one.id == answer.command_id), None)
    if row is not None and _is_misplaced(file, row, answer):
        return settled(file, _attempted(file, row, Reason.NODE_RESTORED.value), now)
    if row is not None and isinstance(row.body, Reinstate) and not (answer.refused and answer.refused.retryable):
        return settled(file, _reinstated(file, row, answer, now), now)
    after = file if answer.known is None else _heard(file, answer.known, now)
    if row is None:
        return settled(file, after, now)
    if answer.refused is not None and answer.refused.retryable:
        return settled(file, _attempted(after, row, answer.refused.reason), now)
    return settled(file, _struck(after, row, answer.refused, now, answer.known), now)


def _is_misplaced(file: RequestFile, row: OutboxRow, answer: Answer) -> bool:
    """Whether an answer is none to be taken: given before the node was restored, or ahead of the reinstatement."""
    one = file.ask(row.reservation)
    if one is None or isinstance(row.body, Reinstate):
        return False
    if file.has_pending(row.reservation, Reinstate):
        return True
    return answer.known is not None and restoring.is_of_other_history(one, answer.known)


def _reinstated(file: RequestFile, row: OutboxRow, answer: Answer, now: datetime) -> RequestFile:
    """The row of a reinstatement is struck: what the node then says of it counts, whichever word is the newest."""
    one = file.ask(row.reservation)
    file = _struck(file, row, answer.refused, now, answer.known)
    if one is None:
        return file
    one, told = restoring.newest(one, answer.known)
    file = with_ask(file, one)
    return file if told is None else _heard(file, told, now)


def attempted(file: RequestFile, command_id: str, now: datetime, *, reason: str = "") -> RequestFile:
    """A row was sent, or its sending failed for a `reason`: for people to see; it decides nothing."""
    row = next((one for one in file.rows if one.id == command_id), None)
    return file if row is None else settled(file, _attempted(file, row, reason), now)


def _attempted(file: RequestFile, row: OutboxRow, reason: str) -> RequestFile:
    tried = replace(row, attempts=row.attempts + 1, last_reason=reason)
    return replace(file, rows=tuple(tried if one.id == row.id else one for one in file.rows))


def _heard(file: RequestFile, known: KnownReservation, now: datetime) -> RequestFile:
    one = file.ask(known.name)
    if one is None or restoring.is_of_other_history(one, known):
        return file
    if file.has_pending(known.name, Reinstate):
        return with_ask(file, restoring.kept_aside(one, known))
    before, over = one.known, one.over
    if before is not None:
        if not known.is_newer_than(before):
            return file
        over = over or (before.state.is_final and known.state.is_live)
    number = max(one.last_number, known.last_command_number)
    after = with_ask(
        file, replace(one, known=replace(known, told=None), refused_reason="", over=over, last_number=number)
    )
    if number > one.last_number:
        # Decided at the node, and never given here: this hub has forgotten it.
        after = restoring.marked_set_back(after, now)
    event = _event_of(file.request, before, known, now)
    return after if event is None else reactions.told(after, event)


def _event_of(
    request: Request, before: KnownReservation | None, known: KnownReservation, now: datetime
) -> Event | None:
    """What people should be told of this word. Of the request's own subject its reaction tells."""
    if request.state.is_final or (request.subject == known.name and request.state is not _S.CONFIRMING):
        return None
    was = None if before is None else before.state
    if known.state is _V.DECLINED and was is not _V.DECLINED:
        return Event(EventKind.REFUSED, now, known.name, known.ending.reason)
    if known.state is _V.EXPIRED and was is _V.HELD:
        return Event(EventKind.HOLD_EXPIRED, now, known.name)
    if known.state is _V.RELEASED and was is not _V.RELEASED and known.ending.withdraw is not None:
        return Event(EventKind.PROMISE_WITHDRAWN, now, known.name, known.ending.reason)
    if before is not None and before.offer is not None and known.offer is not None and known.state is _V.HELD:
        return Event(EventKind.OFFER_CHANGED, now, known.name) if before.offer.tag != known.offer.tag else None
    return None


def _struck(
    file: RequestFile, row: OutboxRow, refused: Refused | None, now: datetime, told: KnownReservation | None = None
) -> RequestFile:
    """The file without that row, decided or refused for good; `told` is the reservation that the answer bore."""
    file = replace(file, rows=tuple(one for one in file.rows if one.id != row.id))
    one = file.ask(row.reservation)
    if refused is None or one is None:
        return file
    refusal = Event(EventKind.REFUSED, now, row.reservation, refused.reason)
    elsewhere = refused.reason == Reason.ID_REUSED and row.number > 1
    if elsewhere:
        # The node has decided another command of that number: this hub has forgotten it, or another hub gave it.
        file = restoring.marked_set_back(file, now)
    match row.body:
        case Create() if one.known is None:
            return reactions.told(with_ask(file, replace(one, refused_reason=refused.reason)), refusal)
        case Confirm() if refused.reason == Reason.OFFER_CHANGED:
            return reactions.told(file, Event(EventKind.OFFER_CHANGED, now, row.reservation))
        case Confirm() | Reschedule() | Renew():
            return reactions.told(file, refusal)
        case Release() if one.is_live and not elsewhere and refused.reason != Reason.COMMAND_TOO_OLD:
            incarnation, revision = reactions.stamp(told or one.known)
            final = ReleaseRefusal(reason=refused.reason, at=now, incarnation=incarnation, revision=revision)
            return with_ask(file, replace(one, release_refusal=final))
    return file


def enquire(file: RequestFile, establishment: str, told: frozenset[str], now: datetime) -> RequestFile:
    """After a whole snapshot of a house, which named the reservations `told`: asks after those that it left out.

    A snapshot names what is live, or has been over for less than a day; so one that the hub believes live and that is
    not named ended meanwhile, unheard. Its creation is sent again: the node knows its id, and answers how it stands.
    """
    after = file
    for one in file.asks:
        believed = one.establishment == establishment and one.is_live and one.state is not None
        if believed and one.reservation not in told and not file.pending(one.reservation):
            after = replace(after, rows=(*after.rows, reactions.enquiry(file, one, now)))
    return settled(file, after, now)


def due(file: RequestFile) -> tuple[OutboxRow, ...]:
    """The rows that may be sent now: the first of each reservation, since one is in flight at a time, in order."""
    first: dict[str, OutboxRow] = {}
    for row in file.rows:
        first.setdefault(row.reservation, row)
    return tuple(first.values())


# --- what shell and time bring ---------------------------------------------------------------------------------------


def unproposed(file: RequestFile) -> tuple[str, ...]:
    """Asks without a bed in an OPEN request, whose next best nobody has looked for: the shell searches.

    They came to nothing; or they wished a hold at once, and wait for a person because no bed was left.
    """
    if file.request.state is not _S.OPEN:
        return ()
    return tuple(ask.reservation for ask in file.asks if _is_lost(ask) or _is_passed_over(ask))


def _is_lost(ask: Ask) -> bool:
    return not ask.followed and not ask.is_live and (is_refused(ask) or ask.state is _V.EXPIRED)


def _is_passed_over(ask: Ask) -> bool:
    return not ask.others_proposed and ask.mode is Mode.HOLD and ask.state in (_V.ASKED, _V.WAITLISTED)


def propose(file: RequestFile, reservation: str, alternatives: tuple[str, ...], now: datetime) -> RequestFile:
    """Keeps, of an ask without a bed, the units that would still fit, best first; the best is proposed to people."""
    if reservation not in unproposed(file):
        return file
    houses = {ask.establishment for ask in file.asks if ask.is_live}
    asked = {ask.unit for ask in file.asks}
    others = tuple(unit for unit in alternatives if unit not in asked and establishment_of(unit) not in houses)
    ask = _ask_of(file, reservation)
    told = replace(ask, followed=ask.followed or not ask.is_live, others_proposed=True, alternatives=others)
    request = replace(file.request, proposed_next=others[0] if others else "")
    return settled(file, replace(with_ask(file, told), request=request), now)


def place_found(file: RequestFile, unit: str, now: datetime) -> RequestFile:
    """A unit that fits has freed up; told to people who asked for it."""
    if not file.request.notify_when_free or file.request.state is not _S.OPEN:
        return file
    return settled(file, replace(file, request=replace(file.request, place_found=unit)), now)


def tick(file: RequestFile, now: datetime) -> RequestFile:
    """What time alone does: rows too old are struck, an open request lapses, marks rise, what is over is archived."""
    after = file
    for row in file.rows:
        if now >= row.stored_at + ROW_LIFE_MAX:
            late = Refused(reason=Reason.COMMAND_TOO_OLD.value, retryable=False)
            if isinstance(row.body, Reinstate):
                after = _reinstated(after, row, Answer(row.id, refused=late), now)
            else:
                after = _struck(after, row, late, now)
    if (lapse := _lapse_time(after)) is not None and now >= lapse:
        after = reactions.told(moved(after, _next(after, _P.LAPSE)), Event(EventKind.EXPIRED, now))
    if (archive := _archive_time(after)) is not None and now >= archive:
        after = replace(after, request=replace(after.request, archived=True))
    return settled(file, after, now)


def next_tick(file: RequestFile, now: datetime) -> datetime | None:
    """When `tick` next changes something, if nothing else does before; not after `now` if it would at once."""
    request = file.request
    times = [row.stored_at + ROW_LIFE_MAX for row in file.rows]
    times += [time for time in (_lapse_time(file), _archive_time(file)) if time is not None]
    if request.state is _S.CONFIRMING and not request.unanswered:
        confirms = (row for row in file.pending(request.subject) if isinstance(row.body, Confirm))
        times += [row.stored_at + reactions.UNANSWERED_AFTER for row in confirms]
    times += [reactions.release_again_time(ask, now) for ask in reactions.to_let_go(file)]
    return min(times, default=None)


def _lapse_time(file: RequestFile) -> datetime | None:
    """When an open request is over: its latest arrival, if nothing is live; 30 days at most."""
    if file.request.state is not _S.OPEN or (file.request.set_back and reactions.wanted(file)):
        return None
    end = file.request.create_time + REQUEST_LIFE_MAX
    return end if reactions.wanted(file) else min(end, file.request.need.arrival_latest)


def _archive_time(file: RequestFile) -> datetime | None:
    """When it leaves the lists: an admission after 72 h, what ended a day after, with nothing on its way.

    One that is over and has its patient in a house counts as an admission: the house may be put back to before it.
    """
    request = file.request
    if request.archived or file.rows or not (request.state.is_final or request.state is _S.ADMITTED):
        return None
    admitted = request.state is _S.ADMITTED or any(ask.state is _V.ADMITTED for ask in file.asks)
    return request.change_time + (ADMITTED_ARCHIVED_AFTER if admitted else FINAL_ARCHIVED_AFTER)
