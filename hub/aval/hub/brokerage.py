"""The life of a request (DESIGN §7): what people ask of it, and what the hub does by itself.

Everything here is a pure function from a `RequestFile` (a request, its asks with what their nodes last said, the
command rows not yet struck) to a new one. People's inputs go by the kernel's `REQUEST_TABLE`, and what that does not
hold is refused by name. What the hub does by itself is **a function of the present file, never of an event** (`react`),
and it is run at the end of every other function here: so a word lost, late or repeated cannot matter. A function may be
run again from its beginning on the same file (a store that retries its transaction does) and gives the same: even the
ids of the commands that it writes follow from the reservation and the command's number.

How a promise is taken back: a release, once written, is never called back, and it goes behind whatever command of its
reservation is still on its way. A reservation with a release behind it is let go: it counts for no limit and moves no
request, but its house is not asked again before its node has said that it is over.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import NAMESPACE_URL, uuid5

from msgspec.structs import replace

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
    Release,
    ReleaseRefusal,
    Renew,
    Request,
    RequestFile,
    Reschedule,
    SupplyDetails,
    establishment_of,
    id_of,
)
from aval.kernel.lifecycle import (
    REACTION_TABLE,
    REQUEST_TABLE,
    OutsideReason,
    Reaction,
    ReleaseReason,
    RequestInput,
    RequestState,
    ReservationInput,
    ReservationState,
    refusal_of,
    reservation_next,
)
from aval.kernel.need import VALID_AFTER_ARRIVAL, Mode, Need, PatientChoice, Urgency
from aval.kernel.reasons import Reason, Refusal, field_invalid

ASKS_MAX = 3
"""Houses asked at once for one patient: more would wait for answers that mostly come to nothing (DESIGN §7)."""

HOLDS_MAX = 1
"""Of these, asks that may hold a bed at once: a bed held in vain is a bed that nobody has."""

ASK_NEXT_MAX = 10
"""Units to ask next by itself; a longer list is a search, which people should look at again."""

REQUEST_LIFE_MAX = timedelta(days=30)
"""An open request that nobody ended is over by then (DESIGN §7)."""

ARRIVAL_AHEAD_MAX = timedelta(days=400)
"""An arrival farther off is a slip of the keyboard."""

UNANSWERED_AFTER = timedelta(minutes=1)
"""A confirmation that its node has not answered by then is shown so; it stays."""

ROW_LIFE_MAX = timedelta(days=7)
"""A node refuses older commands by name (CONTRACT 21), so the hub stops sending them."""

ADMITTED_ARCHIVED_AFTER = timedelta(hours=72)
"""An admission can be cancelled until then (DESIGN §6)."""

FINAL_ARCHIVED_AFTER = timedelta(hours=24)
"""A request that ended is listed among the others for a day."""

RELEASE_AGAIN_AFTER = timedelta(minutes=10)
"""After a node refused a release for good, of a reservation that lives all the same, the next one waits so long."""

EVENTS_MAX = 50
"""Things of note kept with a request; the journal has the rest."""

REACTIONS_MAX = 8
"""Moves of one reaction; the longest way through `REACTIONS` is three, more would be an endless loop."""

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


# --- changing a file -------------------------------------------------------------------------------------------------


def _with_ask(file: RequestFile, ask: Ask) -> RequestFile:
    return replace(file, asks=tuple(ask if one.reservation == ask.reservation else one for one in file.asks))


def _moved(file: RequestFile, state: RequestState, subject: str = "") -> RequestFile:
    reason = None if state is _S.OPEN else file.request.release_reason
    return replace(file, request=replace(file.request, state=state, subject=subject, release_reason=reason))


def _told(file: RequestFile, event: Event) -> RequestFile:
    if event == file.request.last_event:
        return file
    return replace(file, request=replace(file.request, events=(*file.request.events, event)[-EVENTS_MAX:]))


def _command_id(reservation: str, number: int) -> str:
    """A creation bears its reservation's id (CONTRACT 19); the others one that follows from it and their number."""
    return id_of(reservation) if number == 1 else str(uuid5(NAMESPACE_URL, f"{reservation}#{number}"))


def _with_row(file: RequestFile, ask: Ask, body: Body, mandate: Mandate, now: datetime) -> RequestFile:
    """The file with a command queued behind those of the same reservation."""
    told = ask.known.last_command_number if ask.known else 0
    number = max(ask.last_number, told) + 1
    row = OutboxRow(
        id=_command_id(ask.reservation, number),
        request=file.request.name,
        reservation=ask.reservation,
        number=number,
        body=body,
        mandate=mandate,
        stored_at=now,
    )
    return replace(_with_ask(file, replace(ask, last_number=number)), rows=(*file.rows, row))


def _wanted(file: RequestFile) -> tuple[Ask, ...]:
    """Asks that are live and not let go."""
    return tuple(ask for ask in file.asks if ask.is_live and not file.release_behind(ask.reservation))


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
    wanted = _wanted(file)
    if len(wanted) + len(targets) > ASKS_MAX:
        raise _refuse(file, Reason.TOO_MANY_ASKS, asked=str(len(wanted)), limit=str(ASKS_MAX))
    modes = [*(one.mode for one in wanted), *(target.mode for target in targets)]
    if targets and modes.count(Mode.HOLD) > HOLDS_MAX:
        raise _refuse(file, Reason.TOO_MANY_HOLDS, limit=str(HOLDS_MAX))


def _asked(file: RequestFile, targets: tuple[AskTarget, ...], mandate: Mandate, now: datetime) -> RequestFile:
    """The file with an intention and its creation's row for each target."""
    request = file.request
    asked_count = len(_wanted(file)) + len(targets)
    for target in targets:
        ask = Ask(reservation=target.reservation, unit=target.unit, mode=target.mode, mandate=mandate, asked_at=now)
        create = Create(
            request=request.name,
            reference=request.reference,
            unit=target.unit,
            need=request.need,
            mode=target.mode,
            urgency=request.urgency,
            ready_since=request.ready_since,
            asked_count=asked_count,
            valid_until=request.need.arrival_latest + VALID_AFTER_ARRIVAL,
            ttl=target.ttl,
        )
        file = _with_row(replace(file, asks=(*file.asks, ask)), ask, create, mandate, now)
    return replace(file, request=replace(file.request, proposed_next="", place_found="")) if targets else file


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
    return _asked(file, targets, mandate, now)


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
    return _settled(given, _asked(file, targets, mandate, now), now)


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
    return _settled(file, replace(file, request=request), now)


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
    after = _with_row(_moved(file, state, reservation), one, Confirm(offer_tag), mandate, now)
    return _settled(file, after, now)


def take_back(file: RequestFile, mandate: Mandate, now: datetime) -> RequestFile:
    """Takes the confirmation back while it is on its way: OPEN, an irrevocable release behind it. Refused by state."""
    state = _next(file, _P.TAKE_BACK)
    one = _ask_of(file, file.request.subject)
    after = _with_row(_moved(file, state), one, Release(ReleaseReason.TAKEN_BACK), mandate, now)
    after = _told(after, Event(EventKind.TAKEN_BACK, now, one.reservation, by=mandate))
    return _settled(file, after, now)


def reschedule(file: RequestFile, arrival: datetime, mandate: Mandate, now: datetime) -> RequestFile:
    """Asks the node to move the arrival of the confirmed reservation; only its word does.

    Raises `Refusal`: TIME_OUT_OF_RANGE, RELEASE_PENDING, or by state.
    """
    _next(file, _P.RESCHEDULE)
    _check_time("arrival", arrival, now)
    one = _ask_of(file, file.request.subject)
    _check_nothing_pending(file, one, Release)
    _check_reservation(file, one, ReservationInput.RESCHEDULE)
    return _settled(file, _with_row(file, one, Reschedule(arrival), mandate, now), now)


def release(file: RequestFile, reason: ReleaseReason, mandate: Mandate, now: datetime) -> RequestFile:
    """Releases the confirmed reservation: RELEASING until it is over. Refused by state."""
    state = _next(file, _P.RELEASE)
    request = replace(file.request, release_reason=reason, handler=mandate)
    return _settled(file, _moved(replace(file, request=request), state, request.subject), now)


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
    return _settled(file, _with_row(file, one, Release(reason), mandate, now), now)


def renew(file: RequestFile, reservation: str, ttl: timedelta | None, mandate: Mandate, now: datetime) -> RequestFile:
    """Asks the node to prolong a hold. Raises `Refusal`: RESERVATION_NOT_FOUND, RELEASE_PENDING, or by state."""
    _next(file, _P.RENEW)
    one = _ask_of(file, reservation)
    _check_nothing_pending(file, one, Confirm, Release)
    _check_reservation(file, one, ReservationInput.RENEW)
    return _settled(file, _with_row(file, one, Renew(ttl), mandate, now), now)


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
    return _settled(file, _with_row(file, one, SupplyDetails(details), mandate, now), now)


def note_answer(file: RequestFile, reservation: str, note: Note, mandate: Mandate, now: datetime) -> RequestFile:
    """Sends a telephone answer to the node; it moves nothing here. Refused RESERVATION_NOT_FOUND, or by state."""
    _next(file, _P.NOTE_ANSWER)
    one = _ask_of(file, reservation)
    _check_live(file, one)
    _check_not_let_go(file, one)
    return _settled(file, _with_row(file, one, NoteAnswer(replace(note, written_by=mandate)), mandate, now), now)


def _check_not_let_go(file: RequestFile, one: Ask) -> None:
    if file.release_behind(one.reservation):
        raise _refuse(file, Reason.NOT_IN_THIS_STATE, reservation=one.reservation, pending="release")


def place_outside(file: RequestFile, reason: OutsideReason, mandate: Mandate, now: datetime) -> RequestFile:
    """The patient was placed outside Aval: final, whatever is live is released. Refused by state."""
    state = _next(file, _P.PLACE_OUTSIDE)
    request = replace(file.request, handler=mandate, outside_reason=reason, release_reason=ReleaseReason.PLACED_OUTSIDE)
    after = _moved(replace(file, request=request), state)
    return _settled(file, _told(after, Event(EventKind.PLACED_OUTSIDE, now, reason=reason.value, by=mandate)), now)


def cancel(file: RequestFile, reason: ReleaseReason, mandate: Mandate, now: datetime) -> RequestFile:
    """Cancels: final, whatever is live is released, behind a confirm on its way too. Refused by state."""
    state = _next(file, _P.CANCEL)
    request = replace(file.request, handler=mandate, release_reason=reason)
    after = _moved(replace(file, request=request), state)
    return _settled(file, _told(after, Event(EventKind.CANCELLED, now, reason=reason.value, by=mandate)), now)


def notify_when_free(file: RequestFile, mandate: Mandate, now: datetime, *, stop: bool = False) -> RequestFile:
    """Asks to be told when a unit that fits frees up, or no more. An OPEN request only."""
    if file.request.state is not _S.OPEN:
        raise _refuse(file, request_refusal(file.request.state, _P.ASK))
    request = replace(file.request, notify_when_free=not stop, handler=mandate)
    return _settled(file, replace(file, request=replace(request, place_found="") if stop else request), now)


def take_over(file: RequestFile, mandate: Mandate, now: datetime, *, revision: int = 0) -> RequestFile:
    """A colleague handles it from now on. Raises `Refusal(REQUEST_CHANGED)`."""
    _check_revision(file, revision)
    return _settled(file, replace(file, request=replace(file.request, handler=mandate)), now)


# --- what nodes say --------------------------------------------------------------------------------------------------


def heard(file: RequestFile, known: KnownReservation, now: datetime) -> RequestFile:
    """What a node says of a reservation, on the watch; old news changes nothing. Of a stranger, neither."""
    return _settled(file, _heard(file, known, now), now)


def answered(file: RequestFile, answer: Answer, now: datetime) -> RequestFile:
    """A node's answer to a command: its row is struck, unless it was refused for now only.

    Of the reservation that it bears and of what was heard, the newer is kept. An answer to a row already struck is a
    word like those of the watch.
    """
    row = next((one for one in file.rows if one.id == answer.command_id), None)
    after = file if answer.known is None else _heard(file, answer.known, now)
    if row is None:
        return _settled(file, after, now)
    if answer.refused is not None and answer.refused.retryable:
        return _settled(file, _attempted(after, row, answer.refused.reason), now)
    return _settled(file, _struck(after, row, answer.refused, now, answer.known), now)


def attempted(file: RequestFile, command_id: str, now: datetime, *, reason: str = "") -> RequestFile:
    """A row was sent, or its sending failed for a `reason`: for people to see; it decides nothing."""
    row = next((one for one in file.rows if one.id == command_id), None)
    return file if row is None else _settled(file, _attempted(file, row, reason), now)


def _attempted(file: RequestFile, row: OutboxRow, reason: str) -> RequestFile:
    tried = replace(row, attempts=row.attempts + 1, last_reason=reason)
    return replace(file, rows=tuple(tried if one.id == row.id else one for one in file.rows))


def _heard(file: RequestFile, known: KnownReservation, now: datetime) -> RequestFile:
    one = file.ask(known.name)
    if one is None or known.incarnation in one.past_incarnations:
        return file
    before, past = one.known, one.past_incarnations
    if before is not None:
        if not known.is_newer_than(before):
            return file
        if known.incarnation != before.incarnation:
            past = (*past, before.incarnation)
    after = _with_ask(file, replace(one, known=known, refused_reason="", past_incarnations=past))
    event = _event_of(file.request, before, known, now)
    return after if event is None else _told(after, event)


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
    match row.body:
        case Create() if one.known is None:
            return _told(_with_ask(file, replace(one, refused_reason=refused.reason)), refusal)
        case Confirm() if refused.reason == Reason.OFFER_CHANGED:
            return _told(file, Event(EventKind.OFFER_CHANGED, now, row.reservation))
        case Confirm() | Reschedule() | Renew():
            return _told(file, refusal)
        case Release() if one.is_live and refused.reason != Reason.COMMAND_TOO_OLD:
            incarnation, revision = _stamp(told or one.known)
            final = ReleaseRefusal(reason=refused.reason, at=now, incarnation=incarnation, revision=revision)
            return _with_ask(file, replace(one, release_refusal=final))
    return file


def _stamp(known: KnownReservation | None) -> tuple[int, int]:
    return (0, 0) if known is None else (known.incarnation, known.revision)


def due(file: RequestFile) -> tuple[OutboxRow, ...]:
    """The rows that may be sent now: the first of each reservation, since one is in flight at a time, in order."""
    first: dict[str, OutboxRow] = {}
    for row in file.rows:
        first.setdefault(row.reservation, row)
    return tuple(first.values())


# --- what the hub does by itself -------------------------------------------------------------------------------------


def _admitted(file: RequestFile) -> str | None:
    """A reservation that is ADMITTED while the request does not say so of any that is."""
    names = [ask.reservation for ask in file.asks if ask.state is _V.ADMITTED]
    if not names or (file.request.state is _S.ADMITTED and file.request.subject in names):
        return None
    return file.request.subject if file.request.subject in names else names[0]


def _subject_in(*states: ReservationState) -> Callable[[RequestFile], str | None]:
    def found(file: RequestFile) -> str | None:
        ask = file.ask(file.request.subject)
        return ask.reservation if ask is not None and ask.state in states else None

    return found


def _confirm_failed(file: RequestFile) -> str | None:
    """The subject, once no confirm of it is left; CONFIRMED or ADMITTED, a rule above would have taken it."""
    subject = file.request.subject
    return None if file.has_pending(subject, Confirm) else subject


def _confirmed_by_itself(file: RequestFile) -> str | None:
    """A reservation CONFIRMED that nobody is letting go."""
    return next((ask.reservation for ask in _wanted(file) if ask.state is _V.CONFIRMED), None)


_FINAL = tuple(state for state in _V if state.is_final)


class Rule(NamedTuple):
    """A line of DESIGN §7's second table: in one of these states, if `given` names a reservation, this follows."""

    present: tuple[RequestState, ...]
    given: Callable[[RequestFile], str | None]
    then: Reaction
    event: EventKind | None


REACTIONS: tuple[Rule, ...] = (
    Rule((_S.OPEN, _S.CONFIRMING, _S.CONFIRMED, _S.RELEASING, _S.ADMITTED), _admitted,
         Reaction.ADMITTED, EventKind.ADMITTED),
    Rule((_S.CONFIRMING,), _subject_in(_V.CONFIRMED), Reaction.CONFIRMED, EventKind.CONFIRMED),
    Rule((_S.CONFIRMING,), _confirm_failed, Reaction.CONFIRM_FAILED, None),
    Rule((_S.OPEN,), _confirmed_by_itself, Reaction.CONFIRMED, EventKind.CONFIRMED),
    Rule((_S.CONFIRMED, _S.ADMITTED), _subject_in(*_FINAL), Reaction.PROMISE_LOST, EventKind.PROMISE_WITHDRAWN),
    Rule((_S.ADMITTED,), _subject_in(_V.CONFIRMED), Reaction.ADMISSION_CANCELLED, EventKind.ADMISSION_CANCELLED),
    Rule((_S.RELEASING,), _subject_in(*_FINAL), Reaction.RELEASED, EventKind.RELEASED),
)  # fmt: skip
"""What moves a request without its people, in the order tried: a function of the present state. Releases: `_let_go`."""

_KEEPS_SUBJECT = (_S.ADMITTED, _S.CONFIRMED)


def react(file: RequestFile, now: datetime) -> RequestFile:
    """The file after all that its present state asks for: moves, releases, the next ask, marks."""
    return _settled(file, file, now)


def _settled(before: RequestFile, after: RequestFile, now: datetime) -> RequestFile:
    """`after` with its reactions; if anything differs from `before`, with the next revision."""
    after = _marked(_asked_next(_let_go(_through_rules(after, now), now), now), now)
    if after == before:
        return before
    request = replace(after.request, revision=before.request.revision + 1)
    if (request.state, request.subject) != (before.request.state, before.request.subject):
        request = replace(request, change_time=now, proposed_next="", place_found="", archived=False)
    return replace(after, request=request)


def _through_rules(file: RequestFile, now: datetime) -> RequestFile:
    for _ in range(REACTIONS_MAX):
        state = file.request.state
        found = (
            (rule, subject) for rule in REACTIONS if state in rule.present and (subject := rule.given(file)) is not None
        )
        rule, subject = next(found, (None, ""))
        if rule is None:
            return file
        state = REACTION_TABLE[state, rule.then]
        file = _moved(file, state, subject if state in _KEEPS_SUBJECT else "")
        if rule.event is not None:
            file = _told(file, _event_of_rule(file, rule.event, subject, now))
    raise AssertionError("the reactions do not come to rest")


def _event_of_rule(file: RequestFile, kind: EventKind, subject: str, now: datetime) -> Event:
    ask = file.ask(subject)
    known = None if ask is None else ask.known
    reason = "" if known is None else known.ending.reason or (known.state.value if known.state.is_final else "")
    return Event(kind, now, subject, reason)


_RELEASE_REASONS = {
    _S.CONFIRMED: ReleaseReason.PLACED_AT_ANOTHER_MEMBER,
    _S.ADMITTED: ReleaseReason.PLACED_AT_ANOTHER_MEMBER,
    _S.CANCELLED: ReleaseReason.REQUEST_CANCELLED,
    _S.CLOSED_ELSEWHERE: ReleaseReason.PLACED_OUTSIDE,
    _S.EXPIRED: ReleaseReason.REQUEST_EXPIRED,
    _S.RELEASING: ReleaseReason.OTHER,
}


def _unwanted(file: RequestFile) -> Iterable[Ask]:
    """Live reservations that the request's state does not keep: all but its subject, and in a final one every one.

    One that is ADMITTED is not released, because its node refuses that: the patient is there. If the admission is
    cancelled, its node says CONFIRMED, and it is released then.
    """
    request = file.request
    if request.state.is_final:
        unwanted = file.asks
    elif request.state in _KEEPS_SUBJECT:
        unwanted = tuple(ask for ask in file.asks if ask.reservation != request.subject)
    elif request.state is _S.RELEASING:
        unwanted = tuple(ask for ask in file.asks if ask.reservation == request.subject)
    else:
        unwanted = ()
    return (ask for ask in unwanted if ask.is_live and ask.state is not _V.ADMITTED)


def _let_go(file: RequestFile, now: datetime) -> RequestFile:
    """A release behind each unwanted reservation that has none."""
    request = file.request
    for ask in tuple(_unwanted(file)):
        if file.release_behind(ask.reservation) or now < _release_again_time(ask, now):
            continue
        reason = _RELEASE_REASONS[request.state]
        if request.release_reason is not None and request.state not in _KEEPS_SUBJECT:
            reason = request.release_reason
        file = _with_row(file, ask, Release(reason), request.handler, now)
    return file


def _release_again_time(ask: Ask, now: datetime) -> datetime:
    """When a release may be written: now, unless its node has refused one for good and said nothing new since."""
    refusal = ask.release_refusal
    if refusal is None or (refusal.incarnation, refusal.revision) != _stamp(ask.known):
        return now
    return refusal.at + RELEASE_AGAIN_AFTER


def _is_refused(ask: Ask) -> bool:
    """Whether its house said no: refused, declined, or withdrawn."""
    if ask.known is None:
        return bool(ask.refused_reason)
    return ask.known.state is _V.DECLINED or ask.known.ending.withdraw is not None


def _asked_next(file: RequestFile, now: datetime) -> RequestFile:
    """OPEN, an ask refused, and people had said whom to ask next: that one is asked."""
    for refused in file.asks:
        if file.request.state is not _S.OPEN or refused.followed or not _is_refused(refused):
            continue
        if len(_wanted(file)) >= ASKS_MAX or file.request.need.arrival_latest < now:
            break
        unit, file = _take_next(file)
        if unit is None:
            break
        mode = refused.mode if all(ask.mode is not Mode.HOLD for ask in _wanted(file)) else Mode.ASK
        number = len(file.asks)
        target = AskTarget(str(uuid5(NAMESPACE_URL, f"{file.request.name}#{number}")), unit, mode)
        file = _with_ask(file, replace(refused, followed=True))
        file = _asked(file, (target,), file.request.handler, now)
    return file


def _take_next(file: RequestFile) -> tuple[str | None, RequestFile]:
    """The first unit to ask next whose house has no live reservation of this request; others are passed over."""
    houses = {ask.establishment for ask in file.asks if ask.is_live}
    left = file.request.ask_next
    while left and establishment_of(left[0]) in houses:
        left = left[1:]
    unit, left = (left[0], left[1:]) if left else (None, left)
    return unit, replace(file, request=replace(file.request, ask_next=left))


def _marked(file: RequestFile, now: datetime) -> RequestFile:
    """Marks that follow from the file and the time."""
    request = file.request
    double = sum(ask.state is _V.ADMITTED for ask in file.asks) > 1
    unanswered = any(
        row.reservation == request.subject and isinstance(row.body, Confirm) and now >= row.stored_at + UNANSWERED_AFTER
        for row in file.rows
    )
    marked = replace(request, double_admission=double, unanswered=request.state is _S.CONFIRMING and unanswered)
    if double and not request.double_admission:
        file = _told(replace(file, request=marked), Event(EventKind.DOUBLE_ADMISSION, now))
        marked = file.request
    return replace(file, request=marked)


# --- what shell and time bring ---------------------------------------------------------------------------------------


def unproposed(file: RequestFile) -> tuple[str, ...]:
    """Asks that came to nothing in an OPEN request, whose next best nobody has looked for: the shell searches."""
    if file.request.state is not _S.OPEN:
        return ()
    lost = (ask for ask in file.asks if not ask.followed and not ask.is_live)
    return tuple(ask.reservation for ask in lost if _is_refused(ask) or ask.state is _V.EXPIRED)


def propose(file: RequestFile, reservation: str, alternatives: tuple[str, ...], now: datetime) -> RequestFile:
    """Keeps, of a lost ask, the units that would still fit, best first; the best is proposed to people."""
    if reservation not in unproposed(file):
        return file
    houses = {ask.establishment for ask in file.asks if ask.is_live}
    asked = {ask.unit for ask in file.asks}
    others = tuple(unit for unit in alternatives if unit not in asked and establishment_of(unit) not in houses)
    after = _with_ask(file, replace(_ask_of(file, reservation), followed=True, alternatives=others))
    request = replace(after.request, proposed_next=others[0] if others else "")
    return _settled(file, replace(after, request=request), now)


def place_found(file: RequestFile, unit: str, now: datetime) -> RequestFile:
    """A unit that fits has freed up; told to people who asked for it."""
    if not file.request.notify_when_free or file.request.state is not _S.OPEN:
        return file
    return _settled(file, replace(file, request=replace(file.request, place_found=unit)), now)


def tick(file: RequestFile, now: datetime) -> RequestFile:
    """What time alone does: rows too old are struck, an open request lapses, marks rise, what is over is archived."""
    after = file
    for row in file.rows:
        if now >= row.stored_at + ROW_LIFE_MAX:
            after = _struck(after, row, Refused(reason=Reason.COMMAND_TOO_OLD.value, retryable=False), now)
    if (lapse := _lapse_time(after)) is not None and now >= lapse:
        after = _told(_moved(after, _next(after, _P.LAPSE)), Event(EventKind.EXPIRED, now))
    if (archive := _archive_time(after)) is not None and now >= archive:
        after = replace(after, request=replace(after.request, archived=True))
    return _settled(file, after, now)


def next_tick(file: RequestFile, now: datetime) -> datetime | None:
    """When `tick` next changes something, if nothing else does before; not after `now` if it would at once."""
    request = file.request
    times = [row.stored_at + ROW_LIFE_MAX for row in file.rows]
    times += [time for time in (_lapse_time(file), _archive_time(file)) if time is not None]
    if request.state is _S.CONFIRMING and not request.unanswered:
        times += [
            row.stored_at + UNANSWERED_AFTER for row in file.pending(request.subject) if isinstance(row.body, Confirm)
        ]
    times += [_release_again_time(ask, now) for ask in _unwanted(file) if not file.release_behind(ask.reservation)]
    return min(times, default=None)


def _lapse_time(file: RequestFile) -> datetime | None:
    """When an open request is over: its latest arrival, if nothing is live; 30 days at most."""
    if file.request.state is not _S.OPEN:
        return None
    end = file.request.create_time + REQUEST_LIFE_MAX
    return end if _wanted(file) else min(end, file.request.need.arrival_latest)


def _archive_time(file: RequestFile) -> datetime | None:
    """When it leaves the lists: an admission after 72 h, what ended a day after, with nothing on its way."""
    request = file.request
    if request.archived or file.rows:
        return None
    if request.state is _S.ADMITTED:
        return request.change_time + ADMITTED_ARCHIVED_AFTER
    return request.change_time + FINAL_ARCHIVED_AFTER if request.state.is_final else None
