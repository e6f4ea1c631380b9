"""`aval reservation …`: an establishment's answers to the requests that it receives, at its own node."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import click

from aval.adapters.cli.command import Duration, Group, Word
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.needs import arrival_window, enum_name, reference_of, short_unit, unit_name, uuid_of
from aval.adapters.cli.remarks import remarks
from aval.adapters.cli.requests import ending_said, profile
from aval.adapters.cli.session import Session, connected
from aval.adapters.cli.terminal import Cell, Terminal, fields_of, plain
from aval.adapters.cli.words import now, say, speech
from aval.adapters.dial import pages
from aval.adapters.french import PARIS
from aval.kernel.lifecycle import DeclineReason, Step, WaitlistReason, WithdrawReason
from aval.kernel.reasons import Reason
from aval.v1 import reservation_pb2

FIELDS = fields_of(reservation_pb2.Reservation.DESCRIPTOR)
STATES = {
    name.removeprefix("STATE_").lower(): value for name, value in reservation_pb2.Reservation.State.items() if value
}
QUESTIONS = {
    name.removeprefix("QUESTION_").lower().replace("_", "-"): value
    for name, value in reservation_pb2.Question.items()
    if value
}


def _words(reasons: Any) -> dict[str, Any]:
    return {one.value.replace("_", "-"): one for one in reasons}


reservation = Group("reservation", "help.reservation")


@reservation.verb(
    "list",
    examples=("aval reservation list", "aval reservation list --state asked --json reference,state,unit"),
    reads=FIELDS,
)
@click.option("--state", "states", type=Word(STATES, "state"), multiple=True, help="opt.state")
def list_reservations(terminal: Terminal, states: tuple[reservation_pb2.Reservation.State.ValueType, ...]) -> None:
    """What the house was asked; live ones, unless states are given."""
    found = connected(terminal, lambda session: every(session, states))
    if terminal.is_json:
        terminal.objects([plain(one) for one in found])
        return
    heads = [say(f"col.{name}") for name in ("reference", "state", "profile", "unit", "for", "until")]
    terminal.table(heads, (row(one, now()) for one in found))


@reservation.verb(
    "show", examples=("aval reservation show K7-3F9", "aval reservation show K7-3F9 --json state,offer"), reads=FIELDS
)
@click.argument("reference")
def show_reservation(terminal: Terminal, reference: str) -> None:
    """One reservation."""
    show(terminal, connected(terminal, lambda session: found(session, reference)))


Act = Callable[[Session, reservation_pb2.Reservation], Awaitable[reservation_pb2.Reservation]]


def act(terminal: Terminal, reference: str, verb: Act) -> None:
    """Finds the reservation, acts on it unless it is a dry run, shows what became of it."""

    async def work(session: Session) -> reservation_pb2.Reservation:
        known = await found(session, reference)
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            return known
        return await verb(session, known)

    show(terminal, connected(terminal, work))


@reservation.verb(
    "accept",
    examples=("aval reservation accept K7-3F9", "aval reservation accept K7-3F9 --unit U104 --for 4h"),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.option("--unit", metavar="UNIT", help="opt.offer-unit")
@click.option("--bed", metavar="BED", help="opt.bed")
@click.option("--date", metavar="DATE", help="opt.offer-date")
@click.option("--for", "ttl", type=Duration(), help="opt.ttl")
def accept(
    terminal: Terminal, reference: str, unit: str | None, bed: str | None, date: str | None, ttl: timedelta | None
) -> None:
    """Grants a bed: it is held for the requester until it confirms."""

    def verb(session: Session, known: reservation_pb2.Reservation) -> Awaitable[reservation_pb2.Reservation]:
        message = reservation_pb2.AcceptReservationRequest(command_id=str(uuid4()), name=known.name)
        _fill_offer(message, session, known, unit, bed, date, ttl)
        return session.ask(session.node().reservations.AcceptReservation, message)

    act(terminal, reference, verb)


@reservation.verb(
    "reoffer",
    examples=("aval reservation reoffer K7-3F9 --date 2026-11-26", "aval reservation reoffer K7-3F9 --unit U104"),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.option("--unit", metavar="UNIT", help="opt.offer-unit")
@click.option("--bed", metavar="BED", help="opt.bed")
@click.option("--date", metavar="DATE", help="opt.offer-date")
@click.option("--for", "ttl", type=Duration(), help="opt.ttl")
def reoffer(
    terminal: Terminal, reference: str, unit: str | None, bed: str | None, date: str | None, ttl: timedelta | None
) -> None:
    """Changes what is offered, while it is held."""

    def verb(session: Session, known: reservation_pb2.Reservation) -> Awaitable[reservation_pb2.Reservation]:
        message = reservation_pb2.ReofferReservationRequest(command_id=str(uuid4()), name=known.name)
        _fill_offer(message, session, known, unit, bed, date, ttl)
        return session.ask(session.node().reservations.ReofferReservation, message)

    act(terminal, reference, verb)


@reservation.verb(
    "decline",
    examples=(
        "aval reservation decline K7-3F9 --reason cannot-isolate",
        "aval reservation decline K7-3F9 --reason no-place-on-that-date",
    ),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.option("--reason", type=Word(_words(DeclineReason), "reason"), required=True, help="opt.reason")
def decline(terminal: Terminal, reference: str, reason: DeclineReason) -> None:
    """Says no, with the reason."""

    def verb(session: Session, known: reservation_pb2.Reservation) -> Awaitable[reservation_pb2.Reservation]:
        message = reservation_pb2.DeclineReservationRequest(
            command_id=str(uuid4()),
            name=known.name,
            reason=reservation_pb2.DeclineReason.Value(f"DECLINE_REASON_{reason.name}"),
        )
        return session.ask(session.node().reservations.DeclineReservation, message)

    act(terminal, reference, verb)


@reservation.verb(
    "waitlist",
    examples=(
        "aval reservation waitlist K7-3F9 --reason no-bed-yet",
        "aval reservation waitlist K7-3F9 --reason file-incomplete",
    ),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.option("--reason", type=Word(_words(WaitlistReason), "reason"), required=True, help="opt.reason")
def waitlist(terminal: Terminal, reference: str, reason: WaitlistReason) -> None:
    """Puts the demand on the unit's waiting list."""

    def verb(session: Session, known: reservation_pb2.Reservation) -> Awaitable[reservation_pb2.Reservation]:
        message = reservation_pb2.WaitlistReservationRequest(
            command_id=str(uuid4()),
            name=known.name,
            reason=reservation_pb2.WaitlistReason.Value(f"WAITLIST_REASON_{reason.name}"),
        )
        return session.ask(session.node().reservations.WaitlistReservation, message)

    act(terminal, reference, verb)


@reservation.verb(
    "withdraw",
    examples=(
        "aval reservation withdraw K7-3F9 --reason staff-missing",
        "aval reservation withdraw K7-3F9 --reason no-show --yes",
    ),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.option("--reason", type=Word(_words(WithdrawReason), "reason"), required=True, help="opt.reason")
def withdraw(terminal: Terminal, reference: str, reason: WithdrawReason) -> None:
    """Takes back what was granted; the requester is told at once."""

    def verb(session: Session, known: reservation_pb2.Reservation) -> Awaitable[reservation_pb2.Reservation]:
        message = reservation_pb2.WithdrawReservationRequest(
            command_id=str(uuid4()),
            name=known.name,
            reason=reservation_pb2.WithdrawReason.Value(f"WITHDRAW_REASON_{reason.name}"),
        )
        return session.ask(session.node().reservations.WithdrawReservation, message)

    act(terminal, reference, verb)


@reservation.verb(
    "ask-details",
    examples=(
        "aval reservation ask-details K7-3F9 --question weight",
        "aval reservation ask-details K7-3F9 --question autonomy --question wandering",
    ),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.option(
    "--question", "questions", type=Word(QUESTIONS, "question"), multiple=True, required=True, help="opt.question"
)
def ask_details(terminal: Terminal, reference: str, questions: tuple[reservation_pb2.Question.ValueType, ...]) -> None:
    """Asks the requester for details."""

    def verb(session: Session, known: reservation_pb2.Reservation) -> Awaitable[reservation_pb2.Reservation]:
        message = reservation_pb2.AskReservationDetailsRequest(
            command_id=str(uuid4()), name=known.name, questions=questions
        )
        return session.ask(session.node().reservations.AskReservationDetails, message)

    act(terminal, reference, verb)


@reservation.verb(
    "seen",
    examples=("aval reservation seen K7-3F9", "aval reservation seen K7-3F9 --json marks"),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
def seen(terminal: Terminal, reference: str) -> None:
    """Says that somebody of the house has read the demand."""

    def verb(session: Session, known: reservation_pb2.Reservation) -> Awaitable[reservation_pb2.Reservation]:
        message = reservation_pb2.MarkReservationSeenRequest(command_id=str(uuid4()), name=known.name)
        return session.ask(session.node().reservations.MarkReservationSeen, message)

    act(terminal, reference, verb)


@reservation.verb(
    "admit",
    examples=("aval reservation admit K7-3F9", "aval reservation admit K7-3F9 --bed 112-F"),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.option("--bed", metavar="BED", help="opt.bed")
def admit(terminal: Terminal, reference: str, bed: str | None) -> None:
    """Says that the patient has arrived."""

    def verb(session: Session, known: reservation_pb2.Reservation) -> Awaitable[reservation_pb2.Reservation]:
        unit = known.offer.unit or known.unit
        message = reservation_pb2.AdmitReservationRequest(
            command_id=str(uuid4()), name=known.name, bed=f"{unit}/beds/{bed}" if bed else ""
        )
        return session.ask(session.node().reservations.AdmitReservation, message)

    act(terminal, reference, verb)


@reservation.verb(
    "cancel-admission",
    examples=("aval reservation cancel-admission K7-3F9", "aval reservation cancel-admission K7-3F9 --yes"),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
def cancel_admission(terminal: Terminal, reference: str) -> None:
    """Says that the admission was a mistake, within 72 hours."""

    def verb(session: Session, known: reservation_pb2.Reservation) -> Awaitable[reservation_pb2.Reservation]:
        message = reservation_pb2.CancelReservationAdmissionRequest(command_id=str(uuid4()), name=known.name)
        return session.ask(session.node().reservations.CancelReservationAdmission, message)

    act(terminal, reference, verb)


@reservation.verb(
    "tick",
    examples=("aval reservation tick K7-3F9 visit", "aval reservation tick K7-3F9 contract --undo"),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.argument("step", type=Word(_words(Step), "step"))
@click.option("--undo", is_flag=True, help="opt.undo")
def tick(terminal: Terminal, reference: str, step: Step, undo: bool) -> None:
    """Ticks a step of an admission to an EHPAD."""

    def verb(session: Session, known: reservation_pb2.Reservation) -> Awaitable[reservation_pb2.Reservation]:
        message = reservation_pb2.TickReservationStepRequest(
            command_id=str(uuid4()),
            name=known.name,
            step=reservation_pb2.AdmissionStep.Value(f"ADMISSION_STEP_{step.name}"),
            undo=undo,
        )
        return session.ask(session.node().reservations.TickReservationStep, message)

    act(terminal, reference, verb)


@reservation.verb(
    "settle-note",
    examples=("aval reservation settle-note K7-3F9 --apply", "aval reservation settle-note K7-3F9 --reject"),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.argument("note", required=False)
@click.option("--apply/--reject", "applies", default=None, help="opt.settle")
def settle_note(terminal: Terminal, reference: str, note: str | None, applies: bool | None) -> None:
    """Applies or rejects what the requester noted of a telephone answer; the one that waits, unless it is named."""
    if applies is None:
        raise Failure(say("note.settle.needed"), say("note.settle.why"), code=Exit.USAGE)

    def verb(session: Session, known: reservation_pb2.Reservation) -> Awaitable[reservation_pb2.Reservation]:
        message = reservation_pb2.SettleReservationNoteRequest(
            command_id=str(uuid4()), name=known.name, note_id=note or the_note(known), apply=applies
        )
        return session.ask(session.node().reservations.SettleReservationNote, message)

    act(terminal, reference, verb)


def the_note(known: reservation_pb2.Reservation) -> str:
    """The one note that waits for the house. Raises `Failure`."""
    waiting = [one.id for one in known.notes if one.fate == reservation_pb2.Note.FATE_PROPOSED]
    if len(waiting) == 1:
        return waiting[0]
    if not waiting:
        raise Failure(
            say("note.none", reference=known.reference),
            say("reason.NOTE_NOT_FOUND"),
            f"aval reservation show {known.reference}",
            reason=Reason.NOTE_NOT_FOUND,
            code=Exit.NOT_FOUND,
        )
    why = say("choice.known", names=", ".join(waiting))
    raise Failure(say("note.several", reference=known.reference), why, code=Exit.USAGE)


async def every(
    session: Session, states: tuple[reservation_pb2.Reservation.State.ValueType, ...]
) -> list[reservation_pb2.Reservation]:
    """All reservations of the house in these states; the live ones if none is given."""
    request = reservation_pb2.ListReservationsRequest(parent=f"establishments/{session.finess}", states=states)
    call = partial(session.ask, session.node().reservations.ListReservations)
    return [one async for page in pages(call, request) for one in page.reservations]


async def found(session: Session, word: str) -> reservation_pb2.Reservation:
    """The reservation of a reference, a UUID or a name. Raises `Failure`, `Refusal`."""
    if uuid := uuid_of(word):
        name = f"establishments/{session.finess}/reservations/{uuid}"
        return await session.ask(
            session.node().reservations.GetReservation, reservation_pb2.GetReservationRequest(name=name)
        )
    reference = reference_of(word)
    if reference is None:
        raise Failure(say("reference.unknown", word=word), say("reference.why"), code=Exit.USAGE)
    matching = [one for one in await every(session, tuple(STATES.values())) if one.reference == reference]
    if not matching:
        raise Failure(
            say("reference.unknown", word=reference),
            say("reference.why"),
            "aval reservation list",
            reason=Reason.RESERVATION_NOT_FOUND,
            code=Exit.NOT_FOUND,
        )
    live = [one for one in matching if not one.HasField("ending")]
    return (live or matching)[-1]


def show(terminal: Terminal, one: reservation_pb2.Reservation) -> None:
    """A reservation, on a few lines."""
    if terminal.is_json:
        terminal.one_object(plain(one))
        return
    instant = now()
    terminal.line(say("reservation.state", reference=one.reference, state=_state(one)))
    terminal.line(f"  {short_unit(one.offer.unit or one.unit)}  {profile(one.need)}  {_due(one, instant)}".rstrip())
    if one.HasField("ending"):
        terminal.line(f"  {ending_said(one.ending)}")
    for remark in remarks(one, instant):
        terminal.line(f"  {remark}")


def row(one: reservation_pb2.Reservation, instant: datetime) -> list[Cell | str]:
    """A reservation, as a row."""
    arrival = one.arrival if one.HasField("arrival") else one.need.arrival_latest
    return [
        one.reference,
        Cell(_state(one), _name(one)),
        profile(one.need),
        short_unit(one.offer.unit or one.unit),
        speech().moment(arrival.ToDatetime(tzinfo=instant.tzinfo), instant),
        _due(one, instant),
    ]


def _due(one: reservation_pb2.Reservation, instant: datetime) -> str:
    states = reservation_pb2.Reservation
    due = {states.STATE_HELD: one.expire, states.STATE_ASKED: one.answer_by}.get(one.state)
    if due is None or not due.HasField("expire_time"):
        return ""
    return say("until", moment=speech().moment(due.expire_time.ToDatetime(tzinfo=instant.tzinfo), instant))


def _name(one: reservation_pb2.Reservation) -> str:
    return enum_name(reservation_pb2.Reservation.State, one.state, "STATE_")


def _state(one: reservation_pb2.Reservation) -> str:
    return speech().state(_name(one))


def _fill_offer(
    message: reservation_pb2.AcceptReservationRequest | reservation_pb2.ReofferReservationRequest,
    session: Session,
    known: reservation_pb2.Reservation,
    unit: str | None,
    bed: str | None,
    date: str | None,
    ttl: timedelta | None,
) -> None:
    if unit:
        message.unit = unit_name(unit, session.finess)
    if bed:
        message.bed = f"{message.unit or known.offer.unit or known.unit}/beds/{bed}"
    if date:
        message.arrival.FromDatetime(arrival_window(date, now(), PARIS)[0])
    if ttl is not None:
        message.ttl.FromTimedelta(ttl)
