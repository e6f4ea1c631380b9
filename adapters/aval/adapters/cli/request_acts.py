"""`aval request …`, the acts on a request that lives: telephone notes, details, another date, a colleague, a bell.

`root` loads the group `request` from here, so that these verbs stand beside those of `requests`. Whatever a house must
answer is waited for, as far as `--timeout` allows.
"""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import click

from aval.adapters.cli.command import Word
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.needs import arrival_window, need_message, need_options
from aval.adapters.cli.requests import FIELDS, ask_at, found_request, heard, request, show
from aval.adapters.cli.session import Session, connected
from aval.adapters.cli.terminal import Terminal
from aval.adapters.cli.words import nearest, now, say
from aval.adapters.french import PARIS
from aval.kernel.lifecycle import DeclineReason
from aval.v1 import request_pb2, reservation_pb2, terms_pb2

VERDICTS = {
    "yes": reservation_pb2.Note.VERDICT_YES, "oui": reservation_pb2.Note.VERDICT_YES,
    "no": reservation_pb2.Note.VERDICT_NO, "non": reservation_pb2.Note.VERDICT_NO,
    "wait": reservation_pb2.Note.VERDICT_WAIT, "attendre": reservation_pb2.Note.VERDICT_WAIT,
}  # fmt: skip
DECLINE_REASONS = {one.value.replace("_", "-"): one for one in DeclineReason}
QUESTIONS = {
    name.removeprefix("QUESTION_").lower().replace("_", "-"): value
    for name, value in reservation_pb2.Question.items()
    if value
}
YES_OR_NO = {"yes": True, "oui": True, "no": False, "non": False}

Act = Callable[[Session, request_pb2.Request], Awaitable[request_pb2.Request]]


class Answer(click.ParamType[reservation_pb2.Detail]):
    """`weight=92`, `wandering=non`: a coded question and its answer."""

    name = "answer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> reservation_pb2.Detail:
        """The detail that a person typed. Raises `Failure`."""
        if isinstance(value, reservation_pb2.Detail):
            return value
        question, equals, said = str(value).partition("=")
        slug = question.strip().lower().replace("_", "-")
        if slug not in QUESTIONS:
            why = nearest(slug, QUESTIONS) or say("choice.known", names=", ".join(QUESTIONS))
            raise Failure(say("choice.unknown", word=question), why, code=Exit.USAGE)
        word = said.strip().lower()
        if equals and word in YES_OR_NO:
            return reservation_pb2.Detail(question=QUESTIONS[slug], yes=YES_OR_NO[word])
        if equals and word.isdecimal():
            return reservation_pb2.Detail(question=QUESTIONS[slug], amount=int(word))
        raise Failure(say("answer.unread", word=value), say("answer.form"), code=Exit.USAGE)


def act(terminal: Terminal, reference: str, verb: Act, *, waited: bool = False) -> None:
    """Finds the request, acts on it unless it is a dry run, shows it; `waited`: once the houses have spoken."""

    async def work(session: Session) -> request_pb2.Request:
        known = await found_request(session, reference)
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            return known
        told = await verb(session, known)
        return await heard(session, told, nothing_pends) if waited else told

    show(terminal, connected(terminal, work))


def nothing_pends(one: request_pb2.Request) -> bool:
    """Whether no command of a request is on its way to a house."""
    return not any(ask.pending for ask in one.asks)


@request.verb(
    "note",
    examples=(
        "aval request note K7-3F9 540000296 --verdict oui --answered-by 'cadre de nuit'",
        "aval request note K7-3F9 540000296 --verdict non --reason no-place-on-that-date",
    ),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.argument("establishment")
@click.option("--verdict", type=Word(VERDICTS, "verdict"), required=True, help="opt.verdict")
@click.option("--reason", type=Word(DECLINE_REASONS, "reason"), help="opt.note-reason")
@click.option("--answered-by", metavar="FUNCTION", default="", help="opt.answered-by")
def note(
    terminal: Terminal,
    reference: str,
    establishment: str,
    verdict: reservation_pb2.Note.Verdict.ValueType,
    reason: DeclineReason | None,
    answered_by: str,
) -> None:
    """Writes down what a house said by telephone; its node applies it, or proposes it to its staff."""
    if verdict == reservation_pb2.Note.VERDICT_NO and reason is None:
        why = say("choice.known", names=", ".join(DECLINE_REASONS))
        raise Failure(say("note.reason.needed"), why, reason="REASON_REQUIRED", code=Exit.USAGE)

    async def verb(session: Session, known: request_pb2.Request) -> request_pb2.Request:
        written = reservation_pb2.Note(verdict=verdict, answered_by=answered_by)
        written.say_time.FromDatetime(now())
        if reason is not None:
            written.decline_reason = reservation_pb2.DeclineReason.Value(f"DECLINE_REASON_{reason.name}")
        message = request_pb2.NoteAnswerRequest(
            command_id=str(uuid4()),
            name=known.name,
            reservation=ask_at(known, establishment).reservation,
            note=written,
        )
        return await session.ask(session.hub().requests.NoteAnswer, message)

    act(terminal, reference, verb, waited=True)


@request.verb(
    "details",
    examples=(
        "aval request details K7-3F9 540000296 --answer weight=92",
        "aval request details K7-3F9 540000296 --answer autonomy=3 --answer wandering=non",
    ),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.argument("establishment")
@click.option("--answer", "answers", type=Answer(), multiple=True, required=True, help="opt.answer")
def details(
    terminal: Terminal, reference: str, establishment: str, answers: tuple[reservation_pb2.Detail, ...]
) -> None:
    """Answers the coded questions of a house."""

    async def verb(session: Session, known: request_pb2.Request) -> request_pb2.Request:
        message = request_pb2.SupplyDetailsRequest(
            command_id=str(uuid4()),
            name=known.name,
            reservation=ask_at(known, establishment).reservation,
            details=answers,
        )
        return await session.ask(session.hub().requests.SupplyDetails, message)

    act(terminal, reference, verb, waited=True)


@request.verb(
    "reschedule",
    examples=(
        "aval request reschedule K7-3F9 --date 2026-11-26",
        "aval request reschedule K7-3F9 --date 2026-11-26T14:30",
    ),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.option("--date", metavar="DATE", required=True, help="opt.date")
def reschedule(terminal: Terminal, reference: str, date: str) -> None:
    """Moves the arrival of the confirmed reservation, if the house agrees."""

    async def verb(session: Session, known: request_pb2.Request) -> request_pb2.Request:
        message = request_pb2.RescheduleRequestRequest(command_id=str(uuid4()), name=known.name)
        message.arrival.FromDatetime(arrival_window(date, now(), PARIS)[0])
        return await session.ask(session.hub().requests.RescheduleRequest, message)

    act(terminal, reference, verb, waited=True)


@request.verb(
    "update",
    examples=(
        "aval request update K7-3F9 --discipline smr-geriatrie --sex F --age 84 --date 2026-11-27",
        "aval request update K7-3F9 --discipline smr-polyvalent --sex F --age 84 --need o2",
    ),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@need_options
def update(terminal: Terminal, reference: str, **given: Any) -> None:
    """Says the whole need anew, while no house holds a bed for it or considers it."""

    async def verb(session: Session, known: request_pb2.Request) -> request_pb2.Request:
        message = request_pb2.UpdateNeedRequest(
            command_id=str(uuid4()),
            name=known.name,
            need=need_message(given, known.need.origin),
            urgency=terms_pb2.Urgency.Value(f"URGENCY_{given['urgency'].name}"),
            revision=known.revision,
        )
        return await session.ask(session.hub().requests.UpdateNeed, message)

    act(terminal, reference, verb)


@request.verb(
    "take-over",
    examples=("aval request take-over K7-3F9", "aval request take-over K7-3F9 --json handler"),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
def take_over(terminal: Terminal, reference: str) -> None:
    """Takes over a colleague's request; it is written down."""

    async def verb(session: Session, known: request_pb2.Request) -> request_pb2.Request:
        message = request_pb2.TakeOverRequest(command_id=str(uuid4()), name=known.name, revision=known.revision)
        return await session.ask(session.hub().requests.TakeOver, message)

    act(terminal, reference, verb)


@request.verb(
    "notify",
    examples=("aval request notify K7-3F9", "aval request notify K7-3F9 --stop"),
    reads=FIELDS,
    writes=True,
)
@click.argument("reference")
@click.option("--stop", is_flag=True, help="opt.stop")
def notify(terminal: Terminal, reference: str, stop: bool) -> None:
    """Asks to be told when a place that fits is freed: `request watch` then says so."""

    async def verb(session: Session, known: request_pb2.Request) -> request_pb2.Request:
        message = request_pb2.NotifyWhenFreeRequest(command_id=str(uuid4()), name=known.name, stop=stop)
        return await session.ask(session.hub().requests.NotifyWhenFree, message)

    act(terminal, reference, verb)
