"""A node that was put back to an earlier state: what the hub then says to it, and what it believes meanwhile (DESIGN
§5, Restore). Pure, as `brokerage` is.

A whole snapshot of another history than the one heard before shows it. What the hub knew of each live reservation of
that house is then *reinstated*: a command that goes ahead of all that is queued for it, stored in the transaction of
the snapshot, so that nothing can be sent in between. Until it is answered the hub's own knowledge stands, *unverified*;
what the node's watch says meanwhile of the same reservation is the restored past, or newer than the reinstatement: it
is kept aside, and the newer of the two words counts once the answer is there. So nobody reads of a promise withdrawn
that was only forgotten. What the hub knew to be over, and the restored node tells live, is `over`: it is released by
the reactions, and moves no request.

Words of a history that is over are dropped, and a word of one that no snapshot has brought yet too: an answer may
overtake the snapshot.
"""

from datetime import datetime
from uuid import NAMESPACE_URL, uuid5

from msgspec.structs import replace

from aval.hub.model import (
    Ask,
    KnownReservation,
    OutboxRow,
    Reinstate,
    Request,
    RequestFile,
    Told,
    establishment_of,
)
from aval.hub.reactions import creation, enquiry, settled, with_ask


def met(file: RequestFile, establishment: str, incarnation: int, over: frozenset[int], now: datetime) -> RequestFile:
    """The file once a house tells its history as `incarnation`; `over` are those that it has told before."""
    after = file
    for ask in file.asks:
        if ask.establishment == establishment and incarnation not in ask.past_incarnations:
            after = _met(after, ask, incarnation, over - {incarnation}, now)
    return settled(file, after, now)


def _met(file: RequestFile, ask: Ask, incarnation: int, over: frozenset[int], now: datetime) -> RequestFile:
    known = ask.known
    known_before = known if known is not None and known.incarnation != incarnation else None
    past = frozenset(ask.past_incarnations) | over
    if known_before is not None:
        past |= {known_before.incarnation}
    if past == frozenset(ask.past_incarnations):
        return file
    ask = replace(ask, past_incarnations=tuple(sorted(past)), deferred=None)
    if known_before is None or known_before.state.is_final:
        return with_ask(file, ask)
    file = with_ask(file, replace(ask, known=replace(known_before, unverified=True)))
    if file.has_pending(ask.reservation, Reinstate):
        return file
    return replace(file, rows=(reinstatement(file, ask, known_before, incarnation, now), *file.rows))


def reinstatement(file: RequestFile, ask: Ask, known: KnownReservation, incarnation: int, now: datetime) -> OutboxRow:
    """The command that puts back what was known. Its number is that of the last command known decided."""
    return OutboxRow(
        id=str(uuid5(NAMESPACE_URL, f"{ask.reservation}#reinstate#{incarnation}")),
        request=file.request.name,
        reservation=ask.reservation,
        number=max(known.last_command_number, 1),
        body=Reinstate(creation(file, ask), known, ask.mandate),
        mandate=ask.mandate,
        stored_at=now,
    )


def is_of_other_history(ask: Ask, known: KnownReservation) -> bool:
    """Whether a word is of a history that is over, or of one that no snapshot has brought yet."""
    if known.incarnation in ask.past_incarnations:
        return True
    before = ask.known
    return (
        before is not None
        and before.incarnation != known.incarnation
        and before.incarnation not in ask.past_incarnations
    )


def kept_aside(ask: Ask, known: KnownReservation) -> Ask:
    """The ask with the newest of what its node said while a reinstatement is on its way."""
    newer = ask.deferred is None or known.is_newer_than(ask.deferred)
    return replace(ask, deferred=known) if newer else ask


def newest(ask: Ask, told: KnownReservation | None) -> tuple[Ask, KnownReservation | None]:
    """Once it is answered: the ask with nothing kept aside, and the newer of the answer and of what was."""
    aside = ask.deferred
    if aside is not None and (told is None or (aside.incarnation == told.incarnation and aside.is_newer_than(told))):
        told = aside
    return replace(ask, deferred=None), told


# --- a hub that was put back -----------------------------------------------------------------------------------------


def set_back(file: RequestFile, now: datetime) -> RequestFile:
    """A request of which this hub may have forgotten something: nothing of it is let go before somebody looks at it."""
    if file.request.set_back or file.request.state.is_final:
        return file
    return settled(file, marked_set_back(file, now), now)


def marked_set_back(file: RequestFile, now: datetime) -> RequestFile:
    """As `set_back`, before anything follows from it."""
    if file.request.state.is_final or file.request.set_back:
        return file
    revision = max(file.request.revision, revision_anew(now))
    return replace(file, request=replace(file.request, set_back=True, revision=revision))


def revision_anew(now: datetime) -> int:
    """A revision above all that a request can have had before: screens still know the one that was forgotten here."""
    return int(now.timestamp())


def looked_at(file: RequestFile) -> RequestFile:
    """The file as the person who acts on it has seen it."""
    return replace(file, request=replace(file.request, set_back=False)) if file.request.set_back else file


def placed(file: RequestFile, known: KnownReservation, now: datetime) -> RequestFile | None:
    """The file with a live reservation of which only its node knows; None if it cannot be one of this request."""
    found = _with_found(file, known, now)
    return None if found is None else settled(file, found, now)


def recalled(file: RequestFile, orphan: KnownReservation, now: datetime) -> RequestFile:
    """A file that has just been made, with a reservation of it that was an orphan until now, if that can be its own.

    What was kept of the orphan may be old by now, and its house another hub's to follow: its node is asked after it.
    """
    found = _with_found(file, orphan, now)
    if found is None:
        return file
    ask = replace(found.asks[-1], known=None)
    return replace(with_ask(found, ask), rows=(*found.rows, enquiry(found, ask, now)))


def _with_found(file: RequestFile, known: KnownReservation, now: datetime) -> RequestFile | None:
    told = known.told
    if told is None or file.request.state.is_final or told.need != file.request.need:
        return None
    if any(ask.is_live and ask.establishment == establishment_of(known.name) for ask in file.asks):
        return None
    proposed = file.request.proposed_next
    if proposed and establishment_of(proposed) == establishment_of(known.name):
        proposed = ""  # that house is asked already
    request = replace(file.request, proposed_next=proposed)
    return marked_set_back(RequestFile(request, (*file.asks, _ask_of(known, told)), file.rows), now)


def rebuilt(known: KnownReservation, now: datetime) -> RequestFile | None:
    """A request made again from one reservation of it; None if that does not say enough."""
    told = known.told
    if told is None:
        return None
    request = Request(
        name=known.request,
        reference=told.reference,
        need=told.need,
        urgency=told.urgency,
        ready_since=told.ready_since or known.create_time,
        requester=told.requester,
        handler=told.requester,
        create_time=known.create_time,
        change_time=now,
        revision=revision_anew(now),
        set_back=True,
    )
    file = RequestFile(request)
    return settled(file, replace(file, asks=(_ask_of(known, told),)), now)


def _ask_of(known: KnownReservation, told: Told) -> Ask:
    return Ask(
        reservation=known.name,
        unit=known.unit,
        mode=told.mode,
        mandate=told.requester,
        asked_at=known.create_time,
        asked_count=told.asked_count,
        last_number=known.last_command_number,
        known=replace(known, told=None),
    )
