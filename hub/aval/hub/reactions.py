"""What the hub does by itself to a request: **a function of its present file, never of an event** (DESIGN §7).

The file is the request, its asks with what their nodes last said, and the command rows not yet struck. `settled` runs
at the end of whatever changes one of them, within the same transaction: it moves the request by `REACTIONS`, writes the
releases that its state asks for, asks the next house if people had said so, and sets the marks. So a word that is lost,
late or repeated cannot matter: the next one finds the same file and asks for the same. An earlier protocol that
reacted to events leaked beds and stuck requests (its traces are directed tests now).

Beside it, what changes a file: asks, command rows with their numbers, events told.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import NAMESPACE_URL, uuid5

from msgspec.structs import replace

from aval.hub.model import (
    Ask,
    AskTarget,
    Body,
    Confirm,
    Create,
    Event,
    EventKind,
    KnownReservation,
    Mandate,
    OutboxRow,
    Release,
    RequestFile,
    establishment_of,
    id_of,
)
from aval.kernel.lifecycle import (
    REACTION_TABLE,
    Reaction,
    ReleaseReason,
    RequestState,
    ReservationState,
)
from aval.kernel.need import VALID_AFTER_ARRIVAL, Mode

ASKS_MAX = 3
"""Houses asked at once for one patient: more would wait for answers that mostly come to nothing (DESIGN §7)."""

ASKS_EVER_MAX = 60
"""Asks that a request keeps, those that came to nothing too: twenty rounds of three; its watchers get them all."""

HOLDS_MAX = 1
"""Of these, asks that may hold a bed at once: a bed held in vain is a bed that nobody has."""

UNANSWERED_AFTER = timedelta(minutes=1)
"""A confirmation that its node has not answered by then is shown so; it stays."""

RELEASE_AGAIN_AFTER = timedelta(minutes=10)
"""After a node refused a release for good, of a reservation that lives all the same, the next one waits so long."""

EVENTS_MAX = 50
"""Things of note kept with a request; the journal has the rest."""

REACTIONS_MAX = 8
"""Moves of one reaction; the longest way through `REACTIONS` is three, more would be an endless loop."""

_S, _V = RequestState, ReservationState


# --- changing a file -------------------------------------------------------------------------------------------------


def with_ask(file: RequestFile, ask: Ask) -> RequestFile:
    """The file with that ask in the place of the one of the same reservation."""
    return replace(file, asks=tuple(ask if one.reservation == ask.reservation else one for one in file.asks))


def moved(file: RequestFile, state: RequestState, subject: str = "") -> RequestFile:
    """The file in that state, about that reservation; open again, nobody lets go of anything.

    One that is over has nothing left for people to look at: what lives of it all the same is let go.
    """
    request = file.request
    reason = None if state is _S.OPEN else request.release_reason
    set_back = request.set_back and not state.is_final
    return replace(
        file, request=replace(request, state=state, subject=subject, release_reason=reason, set_back=set_back)
    )


def told(file: RequestFile, event: Event) -> RequestFile:
    """The file with something of note; what was just told is not told twice."""
    if event == file.request.last_event:
        return file
    return replace(file, request=replace(file.request, events=(*file.request.events, event)[-EVENTS_MAX:]))


def command_id(reservation: str, number: int) -> str:
    """A creation bears its reservation's id (CONTRACT 19); the others one that follows from it and their number."""
    return id_of(reservation) if number == 1 else str(uuid5(NAMESPACE_URL, f"{reservation}#{number}"))


def with_row(file: RequestFile, ask: Ask, body: Body, mandate: Mandate, now: datetime) -> RequestFile:
    """The file with a command queued behind those of the same reservation."""
    number = max(ask.last_number, ask.known.last_command_number if ask.known else 0) + 1
    row = OutboxRow(
        id=command_id(ask.reservation, number),
        request=file.request.name,
        reservation=ask.reservation,
        number=number,
        body=body,
        mandate=mandate,
        stored_at=now,
    )
    return replace(with_ask(file, replace(ask, last_number=number)), rows=(*file.rows, row))


def wanted(file: RequestFile) -> tuple[Ask, ...]:
    """Asks that are live and not let go."""
    return tuple(ask for ask in file.asks if ask.is_live and not ask.over and not file.release_behind(ask.reservation))


def asked(file: RequestFile, targets: tuple[AskTarget, ...], mandate: Mandate, now: datetime) -> RequestFile:
    """The file with an intention and its creation's row for each target."""
    asked_count = len(wanted(file)) + len(targets)
    for target in targets:
        ask = Ask(
            reservation=target.reservation,
            unit=target.unit,
            mode=target.mode,
            mandate=mandate,
            asked_at=now,
            asked_count=asked_count,
            ttl=target.ttl,
        )
        file = with_row(replace(file, asks=(*file.asks, ask)), ask, creation(file, ask), mandate, now)
    return replace(file, request=replace(file.request, proposed_next="", place_found="")) if targets else file


def creation(file: RequestFile, ask: Ask) -> Create:
    """The content of its creation: the same whenever it is made, since no need is edited while an ask is live."""
    request = file.request
    return Create(
        request=request.name,
        reference=request.reference,
        unit=ask.unit,
        need=request.need,
        mode=ask.mode,
        urgency=request.urgency,
        ready_since=request.ready_since,
        asked_count=ask.asked_count,
        valid_until=request.need.arrival_latest + VALID_AFTER_ARRIVAL,
        ttl=ask.ttl,
    )


def enquiry(file: RequestFile, ask: Ask, now: datetime) -> OutboxRow:
    """Its creation, sent again: the node knows its id, and answers how it stands."""
    return OutboxRow(
        id=command_id(ask.reservation, 1),
        request=file.request.name,
        reservation=ask.reservation,
        number=1,
        body=creation(file, ask),
        mandate=ask.mandate,
        stored_at=now,
    )


# --- what the hub does by itself -------------------------------------------------------------------------------------


def _admitted(file: RequestFile) -> str | None:
    """A reservation that is ADMITTED while the request does not say so of any that is."""
    names = [ask.reservation for ask in file.asks if ask.state is _V.ADMITTED and not _is_doubtful(ask)]
    if not names or (file.request.state is _S.ADMITTED and file.request.subject in names):
        return None
    return file.request.subject if file.request.subject in names else names[0]


def _is_doubtful(ask: Ask) -> bool:
    """Whether only a restored node that nobody has compared yet says that it is not over."""
    return ask.over and ask.known is not None and ask.known.unverified


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
    return next((ask.reservation for ask in wanted(file) if ask.state is _V.CONFIRMED), None)


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


def settled(before: RequestFile, after: RequestFile, now: datetime) -> RequestFile:
    """`after` with its reactions; if anything differs from `before`, with the next revision."""
    after = _marked(_asked_next(_let_go(_through_rules(after, now), now), now), now)
    if after == before:
        return before
    request = replace(after.request, revision=max(before.request.revision, after.request.revision) + 1)
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
        file = moved(file, state, subject if state in _KEEPS_SUBJECT else "")
        if rule.event is not None:
            file = told(file, _event_of_rule(file, rule.event, subject, now))
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


def unwanted(file: RequestFile) -> tuple[Ask, ...]:
    """Live reservations that the request's state does not keep: all but its subject, and in a final one every one.

    One that is ADMITTED is not released, because its node refuses that: the patient is there. If the admission is
    cancelled, its node says CONFIRMED, and it is released then.
    """
    request = file.request
    if request.state.is_final:
        found = file.asks
    elif request.state in _KEEPS_SUBJECT:
        found = tuple(ask for ask in file.asks if ask.reservation != request.subject)
    elif request.state is _S.RELEASING:
        found = tuple(ask for ask in file.asks if ask.reservation == request.subject)
    else:
        found = ()
    found = (*found, *(ask for ask in file.asks if ask.over and ask not in found))
    return tuple(ask for ask in found if ask.is_live and ask.state is not _V.ADMITTED)


def to_let_go(file: RequestFile) -> tuple[Ask, ...]:
    """Unwanted reservations without a release behind; none where this hub may have forgotten something."""
    if file.request.set_back:
        return ()
    return tuple(ask for ask in unwanted(file) if not file.release_behind(ask.reservation))


def _let_go(file: RequestFile, now: datetime) -> RequestFile:
    """A release behind each reservation that is to be let go, now or once its node may be asked again."""
    request = file.request
    for ask in to_let_go(file):
        if now < release_again_time(ask, now):
            continue
        reason = _RELEASE_REASONS.get(request.state, ReleaseReason.OTHER)
        if request.release_reason is not None and request.state not in _KEEPS_SUBJECT:
            reason = request.release_reason
        file = with_row(file, ask, Release(reason), request.handler, now)
    return file


def stamp(known: KnownReservation | None) -> tuple[int, int]:
    """Where in its node's history a word stands; (0, 0) before the first."""
    return (0, 0) if known is None else (known.incarnation, known.revision)


def release_again_time(ask: Ask, now: datetime) -> datetime:
    """When a release may be written: now, unless its node has refused one for good and said nothing new since."""
    refusal = ask.release_refusal
    if refusal is None or (refusal.incarnation, refusal.revision) != stamp(ask.known):
        return now
    return refusal.at + RELEASE_AGAIN_AFTER


def is_refused(ask: Ask) -> bool:
    """Whether its house said no: refused, declined, or withdrawn."""
    if ask.known is None:
        return bool(ask.refused_reason)
    return ask.known.state is _V.DECLINED or ask.known.ending.withdraw is not None


def _asked_next(file: RequestFile, now: datetime) -> RequestFile:
    """OPEN, an ask refused, and people had said whom to ask next: that one is asked."""
    for refused in file.asks:
        if file.request.set_back or file.request.state is not _S.OPEN or refused.followed or not is_refused(refused):
            continue
        if len(wanted(file)) >= ASKS_MAX or len(file.asks) >= ASKS_EVER_MAX or file.request.need.arrival_latest < now:
            break
        unit, file = _take_next(file)
        if unit is None:
            break
        mode = refused.mode if all(ask.mode is not Mode.HOLD for ask in wanted(file)) else Mode.ASK
        number = len(file.asks)
        # With the time: a hub that was put back has forgotten asks of that number, which its nodes know.
        target = AskTarget(str(uuid5(NAMESPACE_URL, f"{file.request.name}#{number}@{now.isoformat()}")), unit, mode)
        file = with_ask(file, replace(refused, followed=True))
        file = asked(file, (target,), file.request.handler, now)
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
    marked = replace(
        request,
        double_admission=double,
        unanswered=request.state is _S.CONFIRMING and unanswered,
        archived=request.archived and not file.rows,
    )
    if double and not request.double_admission:
        file = told(replace(file, request=marked), Event(EventKind.DOUBLE_ADMISSION, now))
        marked = file.request
    return replace(file, request=marked)
