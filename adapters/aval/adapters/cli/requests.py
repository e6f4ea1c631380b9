"""`aval request …`: a patient's request, from its creation to its confirmation."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import click

from aval.adapters.cli.command import Duration, Group, Word
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.needs import (
    enum_name,
    establishment_name,
    finess_of,
    need_message,
    need_options,
    reference_of,
    short_unit,
    unit_name,
    uuid_of,
)
from aval.adapters.cli.remarks import person, remarks
from aval.adapters.cli.session import Session, connected
from aval.adapters.cli.terminal import Cell, Terminal, fields_of, plain
from aval.adapters.cli.words import now, say, speech
from aval.adapters.dial import follow, pages
from aval.adapters.figures import known_discipline
from aval.kernel.lifecycle import ReleaseReason
from aval.kernel.need import Mode
from aval.kernel.reasons import Reason, Refusal
from aval.v1 import request_pb2, reservation_pb2, terms_pb2

BEST_MAX = 3
"""Three establishments at most are asked at once (DESIGN §7)."""

FIELDS = fields_of(request_pb2.Request.DESCRIPTOR)
MODES = {"hold": Mode.HOLD, "retenue": Mode.HOLD, "ask": Mode.ASK, "reponse": Mode.ASK}
RELEASE_REASONS = {one.value.replace("_", "-"): one for one in ReleaseReason}
OUTSIDE_REASONS = {
    name.removeprefix("OUTSIDE_REASON_").lower().replace("_", "-"): value
    for name, value in request_pb2.OutsideReason.items()
    if value
}

CHOICES = {
    name.removeprefix("PATIENT_CHOICE_").lower().replace("_", "-"): value
    for name, value in request_pb2.PatientChoice.items()
    if value
}

request = Group("request", "help.request")


@request.verb(
    "create",
    examples=(
        "aval request create --discipline smr-geriatrie --sex F --age 84 --date demain --best 3",
        "aval request create --discipline usld --sex M --age 91 --ask 540000023/U107:hold --ask 540000296/U103",
    ),
    reads=FIELDS,
    writes=True,
)
@need_options
@click.option("--ask", "asks", multiple=True, metavar="UNIT[:hold|:ask]", help="opt.ask")
@click.option("--best", type=click.IntRange(1, BEST_MAX), help="opt.best")
@click.option("--on-behalf-of", metavar="FINESS", help="opt.on-behalf-of")
@click.option("--external", metavar="SYSTEM:NUMBER", help="opt.external")
@click.option("--choice", type=Word(CHOICES, "choice"), help="opt.choice")
@click.option("--id", "request_id", metavar="UUID", help="opt.id")
def create(
    terminal: Terminal,
    asks: tuple[str, ...],
    best: int | None,
    on_behalf_of: str | None,
    external: str | None,
    choice: request_pb2.PatientChoice.ValueType | None,
    request_id: str | None,
    **given: Any,
) -> None:
    """Creates a request, and asks establishments in the same transaction."""

    async def work(session: Session) -> request_pb2.Request | None:
        own = str(session.caller.identity.establishment or "")
        need = need_message(given, on_behalf_of or own)
        urgency = terms_pb2.Urgency.Value(f"URGENCY_{given['urgency'].name}")
        targets = [ask_target(word) for word in asks]
        if best:
            search = request_pb2.SearchBedsRequest(need=need, urgency=urgency, limit=50)
            found = await session.ask(session.hub().requests.SearchBeds, search)
            targets += best_targets(found.ranked, best)
            if not targets:
                raise Failure(
                    say("request.nothing.found"),
                    say("request.nothing.found.why"),
                    "aval find …",
                    reason=Reason.NO_BED,
                    code=Exit.CONFLICT,
                )
        message = request_pb2.CreateRequestRequest(
            request_id=request_id or str(uuid4()),
            need=need,
            urgency=urgency,
            on_behalf_of=establishment_name(on_behalf_of) if on_behalf_of else "",
            asks=targets,
            choice=choice or request_pb2.PATIENT_CHOICE_UNSPECIFIED,
        )
        if external:
            system, _, number = external.partition(":")
            message.external_reference.CopyFrom(request_pb2.ExternalReference(system=system, number=number))
        message.ready_since.FromDatetime(now())
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            terminal.next_object(plain(message))
            return None
        created = await session.ask(session.hub().requests.CreateRequest, message)
        return await heard(session, created, lambda one: not any(unheard(ask) for ask in one.asks))

    if (created := connected(terminal, work)) is not None:
        show(terminal, created)


@request.verb("list", examples=("aval request list", "aval request list --json name,reference,state"), reads=FIELDS)
def list_requests(terminal: Terminal) -> None:
    """The requests that one may see, live ones and those closed lately."""

    async def work(session: Session) -> list[request_pb2.Request]:
        call = partial(session.ask, session.hub().requests.ListRequests)
        return [one async for page in pages(call, request_pb2.ListRequestsRequest()) for one in page.requests]

    found = connected(terminal, work)
    if terminal.is_json:
        terminal.objects([plain(one) for one in found])
        return
    heads = [say(f"col.{name}") for name in ("reference", "state", "profile", "for", "asked")]
    terminal.table(heads, (row(one) for one in found))


@request.verb("show", examples=("aval request show K7-3F9", "aval request show K7-3F9 --json state,asks"), reads=FIELDS)
@click.argument("reference")
def show_request(terminal: Terminal, reference: str) -> None:
    """One request: what was asked, what each house answered."""
    show(terminal, connected(terminal, lambda session: found_request(session, reference)))


@request.verb(
    "ask",
    examples=("aval request ask K7-3F9 --ask 540000023/U107", "aval request ask K7-3F9 --ask 540000296/U103:hold"),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.option("--ask", "asks", multiple=True, required=True, metavar="UNIT[:hold|:ask]", help="opt.ask")
def ask_more(terminal: Terminal, reference: str, asks: tuple[str, ...]) -> None:
    """Asks further establishments."""

    async def work(session: Session) -> request_pb2.Request:
        known = await found_request(session, reference)
        message = request_pb2.AskEstablishmentsRequest(
            command_id=str(uuid4()), name=known.name, asks=[ask_target(word) for word in asks]
        )
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            return known
        told = await session.ask(session.hub().requests.AskEstablishments, message)
        return await heard(session, told, lambda one: not any(unheard(ask) for ask in one.asks))

    show(terminal, connected(terminal, work))


@request.verb(
    "confirm",
    examples=("aval request confirm K7-3F9", "aval request confirm K7-3F9 540000023 --yes"),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.argument("establishment", required=False)
def confirm(terminal: Terminal, reference: str, establishment: str | None) -> None:
    """Confirms the bed that is held; the other asks are released. Waits for the house's word."""

    async def work(session: Session) -> request_pb2.Request:
        known = await found_request(session, reference)
        held = the_held(known, establishment)
        terminal.agree(say("request.confirm.question", unit=short_unit(held.known.offer.unit or held.unit)))
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            return known
        told = await session.ask(
            session.hub().requests.ConfirmRequest,
            request_pb2.ConfirmRequestRequest(
                command_id=str(uuid4()),
                name=known.name,
                reservation=held.reservation,
                offer_tag=held.known.offer.offer_tag,
            ),
        )
        return await heard(session, told, lambda one: one.state != request_pb2.Request.STATE_CONFIRMING)

    show(terminal, connected(terminal, work))


@request.verb(
    "take-back",
    examples=("aval request take-back K7-3F9", "aval request take-back K7-3F9 --json state"),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
def take_back(terminal: Terminal, reference: str) -> None:
    """Takes back a confirmation that no house has answered yet."""

    async def work(session: Session) -> request_pb2.Request:
        known = await found_request(session, reference)
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            return known
        message = request_pb2.TakeBackConfirmRequest(command_id=str(uuid4()), name=known.name)
        return await session.ask(session.hub().requests.TakeBackConfirm, message)

    show(terminal, connected(terminal, work))


@request.verb(
    "release",
    examples=(
        "aval request release K7-3F9 --reason patient-not-ready",
        "aval request release K7-3F9 540000296 --reason offer-not-suitable",
    ),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.argument("establishment", required=False)
@click.option("--reason", type=Word(RELEASE_REASONS, "reason"), required=True, help="opt.reason")
def release(terminal: Terminal, reference: str, establishment: str | None, reason: ReleaseReason) -> None:
    """Releases the confirmed reservation, or the ask at one establishment."""

    async def work(session: Session) -> request_pb2.Request:
        known = await found_request(session, reference)
        why = reservation_pb2.ReleaseReason.Value(f"RELEASE_REASON_{reason.name}")
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            return known
        requests = session.hub().requests
        if establishment is None:
            return await session.ask(
                requests.ReleaseConfirmed,
                request_pb2.ReleaseConfirmedRequest(command_id=str(uuid4()), name=known.name, reason=why),
            )
        return await session.ask(
            requests.ReleaseAsk,
            request_pb2.ReleaseAskRequest(
                command_id=str(uuid4()),
                name=known.name,
                reservation=ask_at(known, establishment).reservation,
                reason=why,
            ),
        )

    show(terminal, connected(terminal, work))


@request.verb(
    "renew",
    examples=("aval request renew K7-3F9", "aval request renew K7-3F9 540000296 --for 2h"),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.argument("establishment", required=False)
@click.option("--for", "ttl", type=Duration(), help="opt.ttl")
def renew(terminal: Terminal, reference: str, establishment: str | None, ttl: timedelta | None) -> None:
    """Prolongs a hold, as far as the house agrees."""

    async def work(session: Session) -> request_pb2.Request:
        known = await found_request(session, reference)
        held = the_held(known, establishment)
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            return known
        message = request_pb2.RenewHoldRequest(command_id=str(uuid4()), name=known.name, reservation=held.reservation)
        if ttl is not None:
            message.ttl.FromTimedelta(ttl)
        return await session.ask(session.hub().requests.RenewHold, message)

    show(terminal, connected(terminal, work))


@request.verb(
    "cancel",
    examples=("aval request cancel K7-3F9 --reason patient-refused", "aval request cancel K7-3F9 --reason other -y"),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.option("--reason", type=Word(RELEASE_REASONS, "reason"), required=True, help="opt.reason")
def cancel(terminal: Terminal, reference: str, reason: ReleaseReason) -> None:
    """Cancels a request: whatever is live at a house is released."""

    async def work(session: Session) -> request_pb2.Request:
        known = await found_request(session, reference)
        terminal.agree(say("request.cancel.question", reference=known.reference))
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            return known
        message = request_pb2.CancelRequestRequest(
            command_id=str(uuid4()),
            name=known.name,
            reason=reservation_pb2.ReleaseReason.Value(f"RELEASE_REASON_{reason.name}"),
        )
        return await session.ask(session.hub().requests.CancelRequest, message)

    show(terminal, connected(terminal, work))


@request.verb(
    "place-outside",
    examples=("aval request place-outside K7-3F9 --reason home", "aval request place-outside K7-3F9 --reason other"),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.option("--reason", type=Word(OUTSIDE_REASONS, "reason"), required=True, help="opt.reason")
def place_outside(terminal: Terminal, reference: str, reason: request_pb2.OutsideReason.ValueType) -> None:
    """Says that the patient was placed without Aval."""

    async def work(session: Session) -> request_pb2.Request:
        known = await found_request(session, reference)
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            return known
        message = request_pb2.PlaceOutsideRequest(command_id=str(uuid4()), name=known.name, reason=reason)
        return await session.ask(session.hub().requests.PlaceOutside, message)

    show(terminal, connected(terminal, work))


UNTIL = {
    "answered": "answered", "reponse": "answered", "held": "held", "accepted": "held", "accepte": "held",
    "confirmed": "confirmed", "closed": "closed",
}  # fmt: skip


@request.verb(
    "watch",
    examples=("aval request watch K7-3F9 --until accepted --timeout 30m", "aval request watch K7-3F9 --json all"),
    reads=FIELDS,
)
@click.argument("reference")
@click.option("--until", type=Word(UNTIL, "state"), default="closed", help="opt.until")
def watch(terminal: Terminal, reference: str, until: str) -> None:
    """Follows a request until it gets there; exit 9 if it does not within --timeout."""

    async def work(session: Session) -> None:
        known = await found_request(session, reference)
        last = known
        try:
            async with asyncio.timeout(terminal.timeout.total_seconds()):
                async for one in changes(session, known.name):
                    last = one
                    show(terminal, one, stream=True)
                    if reached(one, until):
                        return
        except TimeoutError:
            state = speech().state(state_name(last))
            length = speech().duration(terminal.timeout)
            raise Failure(
                say("watch.timed.out", state=state, duration=length), say("watch.timed.out.why"), code=Exit.TIMED_OUT
            ) from None

    connected(terminal, work)


async def changes(session: Session, name: str) -> AsyncIterator[request_pb2.Request]:
    """A request as it is, then each time it changes. The server ends a watch after 9 minutes: it is opened again."""
    while True:
        message = request_pb2.WatchRequestsRequest(names=[name])
        async for event in follow(session.hub().requests.WatchRequests, message):
            if event.HasField("request"):
                yield event.request


async def heard(session: Session, known: request_pb2.Request, enough: Any) -> request_pb2.Request:
    """The request once `enough` holds of it, or as it is when the command's time is over."""
    last = known
    if enough(known):
        return known
    try:
        async with asyncio.timeout(session.terminal.timeout.total_seconds()):
            async for one in changes(session, known.name):
                if one.revision >= last.revision:
                    last = one
                if enough(last):
                    break
    except TimeoutError:
        session.terminal.tell(say("watch.timed.out.why"))
    return last


def unheard(ask: request_pb2.Ask) -> bool:
    """Whether its node has not spoken of it yet."""
    return ask.delivery in (request_pb2.Ask.DELIVERY_QUEUED, request_pb2.Ask.DELIVERY_SENT)


def reached(one: request_pb2.Request, until: str) -> bool:
    """Whether a request has got where one waits for it."""
    states = request_pb2.Request
    final = one.state in (states.STATE_CANCELLED, states.STATE_CLOSED_ELSEWHERE, states.STATE_EXPIRED)
    confirmed = final or one.state in (states.STATE_CONFIRMED, states.STATE_ADMITTED)
    held = confirmed or any(ask.known.state == reservation_pb2.Reservation.STATE_HELD for ask in one.asks)
    settled = {reservation_pb2.Reservation.STATE_UNSPECIFIED, reservation_pb2.Reservation.STATE_ASKED}
    answered = held or any(ask.known.state not in settled for ask in one.asks)
    return {"answered": answered, "held": held, "confirmed": confirmed, "closed": final}[until]


async def found_request(session: Session, word: str) -> request_pb2.Request:
    """The request of a reference, a UUID or a name. Raises `Failure`, `Refusal`."""
    requests = session.hub().requests
    if uuid := uuid_of(word):
        return await session.ask(requests.GetRequest, request_pb2.GetRequestRequest(name=f"requests/{uuid}"))
    reference = reference_of(word)
    if reference is None:
        raise Failure(say("reference.unknown.request", word=word), say("reference.why"), code=Exit.USAGE)
    page = await session.ask(requests.ListRequests, request_pb2.ListRequestsRequest(reference=reference))
    if not page.requests:
        raise Refusal(Reason.REQUEST_NOT_FOUND, {"reference": reference})
    return page.requests[0]


def ask_target(word: str) -> request_pb2.AskTarget:
    """Whom to ask, from `540000023/U107:hold`."""
    unit, _, mode = word.partition(":")
    chosen: Mode = Word(MODES, "mode").convert(mode, None, None) if mode else Mode.ASK
    return request_pb2.AskTarget(
        reservation_id=str(uuid4()), unit=unit_name(unit), mode=terms_pb2.Mode.Value(f"MODE_{chosen.name}")
    )


def best_targets(ranked: Sequence[request_pb2.RankedUnit], count: int) -> list[request_pb2.AskTarget]:
    """The best units of so many establishments: the first that can hold at once is asked to, the others to answer."""
    targets: list[request_pb2.AskTarget] = []
    asked: set[str] = set()
    held = False
    for one in ranked:
        if finess_of(one.unit.name) in asked:
            continue
        mode = terms_pb2.MODE_HOLD if one.immediate and not held else terms_pb2.MODE_ASK
        held = held or one.immediate
        asked.add(finess_of(one.unit.name))
        targets.append(request_pb2.AskTarget(reservation_id=str(uuid4()), unit=one.unit.name, mode=mode))
        if len(targets) == count:
            break
    return targets


def ask_at(known: request_pb2.Request, word: str) -> request_pb2.Ask:
    """The latest ask at an establishment, by its FINESS, unit or reservation. Raises `Failure`."""
    wanted = word.removeprefix("establishments/")
    for one in reversed(known.asks):
        if wanted in (finess_of(one.unit), short_unit(one.unit), uuid_of(one.reservation), one.reservation):
            return one
    raise Failure(
        say("request.ask.unknown", reference=known.reference, word=word),
        say("choice.known", names=", ".join(short_unit(one.unit) for one in known.asks)),
        f"aval request show {known.reference}",
        reason=Reason.RESERVATION_NOT_FOUND,
        code=Exit.NOT_FOUND,
    )


def the_held(known: request_pb2.Request, establishment: str | None) -> request_pb2.Ask:
    """The ask that is held: the only one, or the one at that establishment. Raises `Failure`."""
    if establishment is not None:
        return ask_at(known, establishment)
    held = [one for one in known.asks if one.known.state == reservation_pb2.Reservation.STATE_HELD]
    if len(held) == 1:
        return held[0]
    following = f"aval request show {known.reference}"
    if known.state == request_pb2.Request.STATE_CONFIRMED:
        raise Failure(
            say("request.already", reference=known.reference),
            say("reason.ALREADY_CONFIRMED"),
            following,
            reason=Reason.ALREADY_CONFIRMED,
            code=Exit.CONFLICT,
        )
    if not held:
        raise Failure(
            say("request.no.held", reference=known.reference),
            say("request.no.held.why"),
            following,
            reason=Reason.NOT_IN_THIS_STATE,
            code=Exit.CONFLICT,
        )
    names = ", ".join(short_unit(one.unit) for one in held)
    what = say("request.several.held", reference=known.reference)
    raise Failure(what, say("request.several.held.why", names=names), following, code=Exit.USAGE)


MARKS = ("unanswered", "unverified", "double_admission", "set_back")
"""What of a request people must know beside its state, by the names of the contract."""


def show(terminal: Terminal, one: request_pb2.Request, *, stream: bool = False) -> None:
    """A request: its state, then each ask."""
    if terminal.is_json:
        (terminal.next_object if stream else terminal.one_object)(plain(one))
        return
    terminal.line(say("request.state", reference=one.reference, state=speech().state(state_name(one))))
    for mark in MARKS:
        if getattr(one, mark):
            terminal.line("  " + say(f"request.mark.{mark}"))
    if one.place_found:
        terminal.line("  " + say("request.place.found", unit=short_unit(one.place_found)))
    elif one.notify_when_free:
        terminal.line("  " + say("request.notify"))
    if one.handler.actor != one.requester.actor:
        terminal.line("  " + say("request.handler", who=person(one.handler)))
    for ask in one.asks:
        terminal.line(say("request.ask", unit=short_unit(ask.unit), state=ask_said(ask), more=more_said(ask, now())))
        for remark in remarks(ask.known, now()):
            terminal.line(f"    {remark}")
        if ask.alternatives:
            names = ", ".join(short_unit(name) for name in ask.alternatives)
            terminal.line("    " + say("request.alternatives", names=names))


def row(one: request_pb2.Request) -> list[Cell | str]:
    """A request, as a row."""
    name = state_name(one)
    asked = " ".join(f"{finess_of(ask.unit)} {ask_said(ask)}" for ask in one.asks)
    return [
        one.reference,
        Cell(speech().state(name), name),
        profile(one.need),
        speech().moment(one.need.arrival_latest.ToDatetime(tzinfo=now().tzinfo), now()),
        asked or "—",
    ]


def profile(need: terms_pb2.Need) -> str:
    """`femme, 84 ans, SMR gériatrie`."""
    discipline = known_discipline(need.discipline)
    parts = [speech().state(enum_name(terms_pb2.Gender, need.gender, "GENDER_"))]
    if need.WhichOneof("age") == "age_years":
        parts.append(f"{need.age_years} ans" if speech().french else str(need.age_years))
    parts.append(speech().discipline(discipline) if discipline is not None else str(need.discipline))
    return ", ".join(parts)


def state_name(one: request_pb2.Request) -> str:
    """The name of its state."""
    return enum_name(request_pb2.Request.State, one.state, "STATE_")


def ask_said(ask: request_pb2.Ask) -> str:
    """Where an ask stands: what its node said, or how far it got."""
    if ask.HasField("known"):
        return speech().state(enum_name(reservation_pb2.Reservation.State, ask.known.state, "STATE_"))
    return speech().state(enum_name(request_pb2.Ask.Delivery, ask.delivery, "DELIVERY_"))


def more_said(ask: request_pb2.Ask, instant: datetime) -> str:
    """What is worth knowing of an ask beside its state: until when, or why."""
    if ask.refused_reason:
        return f" ({ask.refused_reason})"
    if ask.known.HasField("expire") and ask.known.state == reservation_pb2.Reservation.STATE_HELD:
        until = ask.known.expire.expire_time.ToDatetime(tzinfo=instant.tzinfo)
        return " " + say("until", moment=speech().moment(until, instant))
    if ask.known.HasField("ending"):
        return f" ({ending_said(ask.known.ending)})"
    return ""


def ending_said(ending: reservation_pb2.Ending) -> str:
    """Why a reservation ended, or waits."""
    kinds = {
        "decline": (reservation_pb2.DeclineReason, "DECLINE_REASON_"),
        "release": (reservation_pb2.ReleaseReason, "RELEASE_REASON_"),
        "withdraw": (reservation_pb2.WithdrawReason, "WITHDRAW_REASON_"),
        "waitlist": (reservation_pb2.WaitlistReason, "WAITLIST_REASON_"),
    }
    which = ending.WhichOneof("reason")
    if which is None:
        return "—"
    enum, prefix = kinds[which]
    return speech().state(enum_name(enum, getattr(ending, which), prefix))
