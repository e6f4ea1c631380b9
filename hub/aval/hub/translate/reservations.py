"""Commands to nodes, and what nodes say of reservations; and the same again for the people who asked."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple, assert_never

from google.protobuf.message import Message

from aval.hub import model
from aval.hub.model import Answer, Deadline, KnownReservation, OutboxRow, Refused, Request
from aval.hub.ports import NodeAnswer, NodeCommand
from aval.hub.translate.terms import (
    FEATURES,
    GENDERS,
    MODES,
    URGENCIES,
    Words,
    cursor,
    duration,
    instant,
    maybe_duration,
    maybe_instant,
    maybe_mandate,
    need,
    timestamp,
    wire_cursor,
    wire_mandate,
    wire_need,
)
from aval.kernel.lifecycle import (
    DeclineReason,
    NoteFate,
    NoteVerdict,
    Question,
    ReleaseReason,
    ReservationState,
    Step,
    WaitlistReason,
    WithdrawReason,
)
from aval.kernel.need import Mode
from aval.kernel.reasons import FINAL_CODES, Reason, Refusal
from aval.kernel.statuses import Gender
from aval.v1 import link_pb2, terms_pb2
from aval.v1 import reservation_pb2 as pb

STATES = Words(pb.Reservation.State, "STATE", ReservationState)
DECLINE_REASONS = Words(pb.DeclineReason, "DECLINE_REASON", DeclineReason)
RELEASE_REASONS = Words(pb.ReleaseReason, "RELEASE_REASON", ReleaseReason)
WITHDRAW_REASONS = Words(pb.WithdrawReason, "WITHDRAW_REASON", WithdrawReason)
WAITLIST_REASONS = Words(pb.WaitlistReason, "WAITLIST_REASON", WaitlistReason)
QUESTIONS = Words(pb.Question, "QUESTION", Question)
STEPS = Words(pb.AdmissionStep, "ADMISSION_STEP", Step)
VERDICTS = Words(pb.Note.Verdict, "VERDICT", NoteVerdict)
FATES = Words(pb.Note.Fate, "FATE", NoteFate)

CODE_NAMES = {
    1: "CANCELLED", 2: "UNKNOWN", 3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION", 10: "ABORTED", 11: "OUT_OF_RANGE",
    12: "UNIMPLEMENTED", 13: "INTERNAL", 14: "UNAVAILABLE", 15: "DATA_LOSS", 16: "UNAUTHENTICATED",
}  # fmt: skip
"""google.rpc.Code, by number: `Refusal.code` bears it for reasons that we do not know."""


class Here(NamedTuple):
    """Where and when a message of a node is read: its territory, and our wall clock."""

    territory: str
    now: datetime


# --- from nodes ------------------------------------------------------------------------------------------------------


def known_of(messages: Iterable[pb.Reservation], incarnation: int, here: Here) -> tuple[KnownReservation, ...]:
    """Reservations of our territory whose state we know."""
    return tuple(
        known(one, incarnation, here)
        for one in messages
        if one.territory == here.territory and STATES.read(one.state) is not None
    )


def known(message: pb.Reservation, incarnation: int, here: Here) -> KnownReservation:
    """What a node says of a reservation."""
    marks = message.marks
    return KnownReservation(
        name=message.name,
        state=STATES.required(message.state, "state"),
        incarnation=incarnation,
        revision=message.revision,
        request=message.request,
        unit=message.unit,
        arrival=instant(message.arrival),
        create_time=instant(message.create_time),
        end=maybe_instant(message, "end"),
        offer=_offer(message.offer) if message.HasField("offer") else None,
        answer_by=_deadline(message, "answer_by", here),
        valid_until=_deadline(message, "valid_until", here),
        expire=_deadline(message, "expire", here),
        ending=_ending(message.ending),
        marks=model.Marks(
            seen_by=maybe_mandate(marks, "seen_by"),
            seen_time=maybe_instant(marks, "seen_time"),
            open_questions=tuple(QUESTIONS.known(marks.open_questions)),
            details=tuple(_detail(one) for one in marks.details if QUESTIONS.read(one.question) is not None),
            late=marks.late,
            overdue=marks.overdue,
            conflicts=tuple(marks.conflicts),
        ),
        steps=tuple(
            model.TickedStep(step, maybe_mandate(one, "by"), instant(one.tick_time))
            for one in message.steps
            if (step := STEPS.read(one.step)) is not None
        ),
        notes=tuple(note(one) for one in message.notes if VERDICTS.read(one.verdict) is not None),
        last_command_number=message.last_command_number,
        renewals=message.renewals,
        waiting_rank=message.waiting_rank,
        unverified=message.unverified,
        told=_told(message),
    )


def _told(message: pb.Reservation) -> model.Told | None:
    """What a reservation bears of its request; None from what is left of an old one, or if we cannot read it."""
    requester = maybe_mandate(message, "requester")
    mode, urgency = MODES.read(message.mode), URGENCIES.read(message.urgency)
    if requester is None or mode is None or urgency is None:
        return None
    try:
        told_need = need(message.need)
    except Refusal:
        return None
    return model.Told(
        reference=message.reference,
        need=told_need,
        mode=mode,
        urgency=urgency,
        requester=requester,
        ready_since=maybe_instant(message, "ready_since"),
        asked_count=message.asked_count,
    )


def _deadline(message: Message, field: str, here: Here) -> Deadline | None:
    if not message.HasField(field):
        return None
    deadline: terms_pb2.Deadline = getattr(message, field)
    return Deadline(instant(deadline.expire_time), here.now + deadline.remaining.ToTimedelta())


def _offer(message: pb.Offer) -> model.Offer:
    return model.Offer(
        unit=message.unit,
        arrival=instant(message.arrival),
        tag=message.offer_tag,
        end=maybe_instant(message, "end"),
        gender=GENDERS.read(message.gender) or Gender.ANY,
        features=frozenset(FEATURES.known(message.features)),
        ttl=maybe_duration(message, "ttl"),
        counter_offer=message.counter_offer,
    )


def _ending(message: pb.Ending) -> model.Ending:
    return model.Ending(
        decline=DECLINE_REASONS.read(message.decline),
        release=RELEASE_REASONS.read(message.release),
        withdraw=WITHDRAW_REASONS.read(message.withdraw),
        waitlist=WAITLIST_REASONS.read(message.waitlist),
        by=maybe_mandate(message, "by"),
        end_time=maybe_instant(message, "end_time"),
    )


def _detail(message: pb.Detail) -> model.Detail:
    kind = message.WhichOneof("answer")
    return model.Detail(
        QUESTIONS.required(message.question, "details.question"),
        message.yes if kind == "yes" else None,
        message.amount if kind == "amount" else None,
    )


def details(messages: Iterable[pb.Detail]) -> tuple[model.Detail, ...]:
    """A caller's answers. Raises FIELD_INVALID."""
    return tuple(_detail(one) for one in messages)


def note(message: pb.Note) -> model.Note:
    """A telephone note, as a node tells it."""
    return model.Note(
        id=message.id,
        verdict=VERDICTS.required(message.verdict, "note.verdict"),
        answered_by=message.answered_by,
        written_by=maybe_mandate(message, "written_by"),
        say_time=instant(message.say_time),
        decline_reason=DECLINE_REASONS.read(message.decline_reason),
        fate=FATES.read(message.fate),
    )


def node_answer(message: link_pb2.Answer, here: Here) -> NodeAnswer:
    """A node's answer to a command."""
    at = cursor(message.cursor) if message.HasField("cursor") else None
    told = None
    if message.HasField("reservation") and STATES.read(message.reservation.state) is not None:
        told = known(message.reservation, at.incarnation if at else 0, here)
    refused = _refused(message.refusal) if message.HasField("refusal") else None
    return NodeAnswer(Answer(message.command_id, told, refused), at)


def _refused(message: link_pb2.Refusal) -> Refused:
    """A refusal. One whose name we do not know is final by its code (CONTRACT 22)."""
    try:
        retryable = Reason(message.reason).row.retryable
    except ValueError:
        retryable = CODE_NAMES.get(message.code) not in FINAL_CODES
    return Refused(message.reason, retryable, dict(message.metadata))


# --- to nodes --------------------------------------------------------------------------------------------------------


def wire_command(value: NodeCommand) -> link_pb2.Command:
    """A row as a command. Sent again it is the same bytes, but for age and cursor."""
    row, body = value.row, value.row.body
    header = pb.CommandHeader(
        command_id=row.id,
        number=row.number,
        age=duration(value.age),
        cursor=wire_cursor(value.cursor),
        mandate=wire_mandate(row.mandate),
        request_id=row.mandate.request_id,
    )
    name = row.reservation
    match body:
        case model.Create():
            return link_pb2.Command(create=_wire_create(row, body, header))
        case model.Confirm():
            confirm = pb.ConfirmReservationRequest(header=header, name=name, offer_tag=body.offer_tag)
            return link_pb2.Command(confirm=confirm)
        case model.Release():
            release = pb.ReleaseReservationRequest(
                header=header, name=name, reason=RELEASE_REASONS.to_wire[body.reason]
            )
            return link_pb2.Command(release=release)
        case model.Renew():
            return link_pb2.Command(renew=pb.RenewReservationRequest(header=header, name=name, ttl=duration(body.ttl)))
        case model.Reschedule():
            return link_pb2.Command(
                reschedule=pb.RescheduleReservationRequest(header=header, name=name, arrival=timestamp(body.arrival))
            )
        case model.SupplyDetails():
            supply = pb.SupplyReservationDetailsRequest(
                header=header, name=name, details=[_wire_detail(one) for one in body.details]
            )
            return link_pb2.Command(supply_details=supply)
        case model.NoteAnswer():
            return link_pb2.Command(
                note_answer=pb.NoteReservationAnswerRequest(header=header, name=name, note=wire_note(body.note))
            )
        case model.Reinstate():
            return link_pb2.Command(reinstate=_wire_reinstate(row, body, header))
        case _:
            assert_never(body)


def _wire_create(row: OutboxRow, body: model.Create, header: pb.CommandHeader) -> pb.CreateReservationRequest:
    return pb.CreateReservationRequest(
        header=header,
        parent=row.reservation.rpartition("/reservations/")[0],
        request=body.request,
        reference=body.reference,
        unit=body.unit,
        need=wire_need(body.need),
        mode=MODES.to_wire[body.mode],
        urgency=URGENCIES.to_wire[body.urgency],
        ready_since=timestamp(body.ready_since),
        asked_count=body.asked_count,
        ttl=duration(body.ttl),
        valid_until=timestamp(body.valid_until),
    )


def _wire_reinstate(row: OutboxRow, body: model.Reinstate, header: pb.CommandHeader) -> pb.ReinstateReservationRequest:
    """What was known, as of when the row was stored: sent again it is the same bytes."""
    create, known = body.create, body.known
    message = _wire_known(known, row.stored_at)
    message.reference = create.reference
    message.need.CopyFrom(wire_need(create.need))
    message.mode = MODES.to_wire[create.mode]
    message.urgency = URGENCIES.to_wire[create.urgency]
    message.ready_since.FromDatetime(create.ready_since)
    message.asked_count = create.asked_count
    requester = wire_mandate(body.requester)
    if requester is not None:
        message.requester.CopyFrom(requester)
    heard = terms_pb2.Cursor(
        establishment=f"establishments/{row.establishment}", incarnation=known.incarnation, revision=known.revision
    )
    return pb.ReinstateReservationRequest(header=header, known=message, heard=heard)


# --- to the people who asked -----------------------------------------------------------------------------------------


def _wire_detail(value: model.Detail) -> pb.Detail:
    question = QUESTIONS.to_wire[value.question]
    if value.yes is not None:
        return pb.Detail(question=question, yes=value.yes)
    if value.amount is not None:
        return pb.Detail(question=question, amount=value.amount)
    return pb.Detail(question=question)


def wire_note(value: model.Note) -> pb.Note:
    """A telephone note as a message."""
    return pb.Note(
        id=value.id,
        verdict=VERDICTS.to_wire[value.verdict],
        decline_reason=DECLINE_REASONS.to_wire[value.decline_reason]
        if value.decline_reason
        else pb.DECLINE_REASON_UNSPECIFIED,
        answered_by=value.answered_by,
        written_by=wire_mandate(value.written_by),
        say_time=timestamp(value.say_time),
        fate=FATES.to_wire[value.fate] if value.fate else pb.Note.FATE_UNSPECIFIED,
    )


def _wire_deadline(value: Deadline | None, now: datetime) -> terms_pb2.Deadline | None:
    if value is None:
        return None
    return terms_pb2.Deadline(expire_time=timestamp(value.expire_time), remaining=duration(value.here - now))


def _wire_ending(value: model.Ending) -> pb.Ending | None:
    if value == model.Ending():
        return None
    message = pb.Ending(by=wire_mandate(value.by), end_time=timestamp(value.end_time))
    if value.decline is not None:
        message.decline = DECLINE_REASONS.to_wire[value.decline]
    elif value.release is not None:
        message.release = RELEASE_REASONS.to_wire[value.release]
    elif value.withdraw is not None:
        message.withdraw = WITHDRAW_REASONS.to_wire[value.withdraw]
    elif value.waitlist is not None:
        message.waitlist = WAITLIST_REASONS.to_wire[value.waitlist]
    return message


def _wire_offer(value: model.Offer | None) -> pb.Offer | None:
    if value is None:
        return None
    return pb.Offer(
        unit=value.unit,
        arrival=timestamp(value.arrival),
        end=timestamp(value.end),
        gender=GENDERS.to_wire[value.gender],
        features=FEATURES.wire(value.features),
        ttl=duration(value.ttl),
        offer_tag=value.tag,
        counter_offer=value.counter_offer,
    )


def wire_reservation(
    value: KnownReservation, request: Request, mode: Mode, territory: str, asked_count: int, now: datetime
) -> pb.Reservation:
    """What a node last said of a reservation, with what its request says of it: as the node itself would tell it."""
    message = _wire_known(value, now)
    message.territory = territory
    message.reference = request.reference
    message.need.CopyFrom(wire_need(request.need))
    requester = wire_mandate(request.requester)
    if requester is not None:
        message.requester.CopyFrom(requester)
    message.mode = MODES.to_wire[mode]
    message.urgency = URGENCIES.to_wire[request.urgency]
    message.ready_since.FromDatetime(request.ready_since)
    message.asked_count = asked_count
    return message


def wire_orphan(value: KnownReservation, territory: str, now: datetime) -> pb.Reservation:
    """A reservation that no request holds, as its node told it."""
    message, told = _wire_known(value, now), value.told
    message.territory = territory
    if told is not None:
        message.reference = told.reference
        message.need.CopyFrom(wire_need(told.need))
        message.mode = MODES.to_wire[told.mode]
        message.urgency = URGENCIES.to_wire[told.urgency]
        message.asked_count = told.asked_count
        requester = wire_mandate(told.requester)
        if requester is not None:
            message.requester.CopyFrom(requester)
        if told.ready_since is not None:
            message.ready_since.FromDatetime(told.ready_since)
    return message


def _wire_known(value: KnownReservation, now: datetime) -> pb.Reservation:
    """What a node last said of a reservation."""
    marks = value.marks
    return pb.Reservation(
        name=value.name,
        request=value.request,
        unit=value.unit,
        state=STATES.to_wire[value.state],
        arrival=timestamp(value.arrival),
        end=timestamp(value.end),
        offer=_wire_offer(value.offer),
        answer_by=_wire_deadline(value.answer_by, now),
        valid_until=_wire_deadline(value.valid_until, now),
        expire=_wire_deadline(value.expire, now),
        ending=_wire_ending(value.ending),
        marks=pb.Marks(
            seen_by=wire_mandate(marks.seen_by),
            seen_time=timestamp(marks.seen_time),
            open_questions=QUESTIONS.wire(marks.open_questions),
            details=[_wire_detail(one) for one in marks.details],
            late=marks.late,
            overdue=marks.overdue,
            conflicts=marks.conflicts,
        ),
        steps=[
            pb.TickedStep(step=STEPS.to_wire[one.step], by=wire_mandate(one.by), tick_time=timestamp(one.tick_time))
            for one in value.steps
        ],
        notes=[wire_note(one) for one in value.notes],
        revision=value.revision,
        last_command_number=value.last_command_number,
        create_time=timestamp(value.create_time),
        renewals=value.renewals,
        waiting_rank=value.waiting_rank,
        unverified=value.unverified,
    )


def row_age(row: OutboxRow, now: datetime) -> timedelta:
    """How long ago a row was stored, by this clock; never negative."""
    return max(now - row.stored_at, timedelta(0))
