"""Requests turned into commands of the ledger, refused by field where they cannot be meant.

A command's `content` is the hash of what its caller said, by which a repetition is told from another command under the
same id. Age and cursor, which change at each sending, are left out of it.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import TypedDict

from google.protobuf.message import DecodeError, Message

from aval.kernel.finess import FinessET
from aval.kernel.identity import URI_LENGTH_MAX
from aval.kernel.lifecycle import NoteVerdict
from aval.kernel.need import Feature, Need
from aval.kernel.reasons import Reason, Refusal, field_invalid
from aval.node import commands as c
from aval.node.history import Cursor
from aval.node.model import Detail, Mandate
from aval.node.ports import TAG_BYTES
from aval.node.translate.words import (
    DECLINE_REASONS,
    DISCIPLINES,
    FEATURES,
    GENDERS,
    MODES,
    NOTE_VERDICTS,
    QUESTIONS,
    RELEASE_REASONS,
    STEPS,
    URGENCIES,
    WAITLIST_REASONS,
    WITHDRAW_REASONS,
    Names,
    instant,
    malformed,
    opaque,
    span,
    text,
    uuid,
)
from aval.v1 import link_pb2, reservation_pb2, terms_pb2

COMMAND_AGE_MAX = timedelta(days=7)
"""An older command is refused by name (CONTRACT 21): its people have long decided otherwise."""

ASKED_COUNT_MAX = 100
"""Establishments asked for one request: the hub allows three at once, and a request lives 30 days."""

FEATURES_MAX = 32
"""Features in one list: more than there are."""

NAMES_MAX = 1_000
"""Names in one list of a request: as many as an establishment has units."""

AMOUNT_MAX = 1_000
"""Highest amount in a coded answer: a weight in kilograms."""

MONTHS_A_YEAR = 12

_Later = (
    reservation_pb2.ConfirmReservationRequest
    | reservation_pb2.ReleaseReservationRequest
    | reservation_pb2.RenewReservationRequest
    | reservation_pb2.RescheduleReservationRequest
    | reservation_pb2.SupplyReservationDetailsRequest
    | reservation_pb2.NoteReservationAnswerRequest
)

HubRequest = reservation_pb2.CreateReservationRequest | _Later | reservation_pb2.ReinstateReservationRequest
"""The requester's verbs: each bears a header."""

StaffRequest = (
    reservation_pb2.AcceptReservationRequest
    | reservation_pb2.WaitlistReservationRequest
    | reservation_pb2.DeclineReservationRequest
    | reservation_pb2.AskReservationDetailsRequest
    | reservation_pb2.ReofferReservationRequest
    | reservation_pb2.WithdrawReservationRequest
    | reservation_pb2.TickReservationStepRequest
    | reservation_pb2.MarkReservationSeenRequest
    | reservation_pb2.AdmitReservationRequest
    | reservation_pb2.CancelReservationAdmissionRequest
    | reservation_pb2.SettleReservationNoteRequest
)
"""The house's verbs on a reservation."""


def content(message: Message) -> bytes:
    """The hash of a request, less what changes from one sending to the next."""
    if isinstance(message, HubRequest):
        message = deepcopy(message)
        message.header.ClearField("age")
        message.header.ClearField("cursor")
        message.header.ClearField("request_id")
    digest = sha256(message.DESCRIPTOR.full_name.encode())
    digest.update(message.SerializeToString(deterministic=True))
    return digest.digest()


def cursor(message: terms_pb2.Cursor, field: str, names: Names) -> Cursor:
    """A cursor of this house's node."""
    names.check_establishment(message.establishment, f"{field}.establishment")
    if len(message.tag) != TAG_BYTES or message.revision < 1:
        raise field_invalid(field, f"a revision from 1 and a tag of {TAG_BYTES} bytes, as they were given")
    return Cursor(message.incarnation, message.revision, message.tag)


def verb_of(command: link_pb2.Command) -> HubRequest:
    """The request in a command of the stream. Raises `Refusal(COMMAND_UNKNOWN)` for a verb of a newer contract."""
    verb = command.WhichOneof("verb")
    if verb is None:
        raise Refusal(Reason.COMMAND_UNKNOWN)
    request: HubRequest = getattr(command, verb)
    return request


def check_age(header: reservation_pb2.CommandHeader) -> None:
    """Raises `Refusal(COMMAND_TOO_OLD)`."""
    age = span(header.age, "header.age")
    if age > COMMAND_AGE_MAX:
        raise Refusal(Reason.COMMAND_TOO_OLD, {"age_seconds": str(int(age.total_seconds()))})


class _Hub(TypedDict):
    """What all commands of a hub share."""

    caller: c.Caller
    command_id: str
    content: bytes
    number: int
    reservation: str


class Staff(TypedDict):
    """What all commands of the house share."""

    caller: c.Caller
    command_id: str
    content: bytes


class _OnReservation(Staff):
    """What the house's commands on a reservation share."""

    reservation: str


def hub_command(
    request: reservation_pb2.CreateReservationRequest | _Later, caller: c.Caller, names: Names
) -> c.HubCommand:
    """The command that a hub's request states. Raises `Refusal`."""
    header = request.header
    if header.number < 1:
        raise field_invalid("header.number", "must be 1 or more, growing")
    shared = _Hub(
        caller=replace(caller, mandate=mandate(header.mandate)),
        command_id=uuid(header.command_id, "header.command_id"),
        content=content(request),
        number=header.number,
        reservation=header.command_id,
    )
    if isinstance(request, reservation_pb2.CreateReservationRequest):
        return _create(request, shared, names)
    shared["reservation"] = reservation_of(request, names)
    return _on_reservation(request, shared)


def reservation_of(request: HubRequest, names: Names) -> str:
    """The uuid of the reservation that a hub's request is about. Raises `Refusal`."""
    if isinstance(request, reservation_pb2.CreateReservationRequest):
        return uuid(request.header.command_id, "header.command_id")
    name = request.known.name if isinstance(request, reservation_pb2.ReinstateReservationRequest) else request.name
    return names.read_reservation(name, "name")


def _create(request: reservation_pb2.CreateReservationRequest, shared: _Hub, names: Names) -> c.CreateReservation:
    names.check_establishment(request.parent, "parent")
    if not 1 <= request.asked_count <= ASKED_COUNT_MAX:
        raise field_invalid("asked_count", f"must be 1 to {ASKED_COUNT_MAX}, this establishment included")
    return c.CreateReservation(
        **shared,
        request=request_id(request.request, "request"),
        reference=opaque(request.reference, "reference"),
        unit=names.read_unit(request.unit, "unit"),
        need=need(request.need),
        mode=MODES.word(request.mode, "mode"),
        urgency=URGENCIES.word(request.urgency, "urgency"),
        ready_since=instant(request.ready_since, "ready_since") if request.HasField("ready_since") else None,
        asked_count=request.asked_count,
        ttl=_ttl(request, "ttl"),
        valid_until=instant(request.valid_until, "valid_until") if request.HasField("valid_until") else None,
    )


def _on_reservation(request: _Later, shared: _Hub) -> c.HubCommand:
    match request:
        case reservation_pb2.ConfirmReservationRequest():
            if not request.offer_tag:
                raise field_invalid("offer_tag", "is missing: give back the tag of the offer that was agreed to")
            return c.ConfirmReservation(**shared, offer_tag=request.offer_tag)
        case reservation_pb2.ReleaseReservationRequest():
            return c.ReleaseReservation(**shared, reason=RELEASE_REASONS.word(request.reason, "reason"))
        case reservation_pb2.RenewReservationRequest():
            return c.RenewReservation(**shared, ttl=_ttl(request, "ttl"))
        case reservation_pb2.RescheduleReservationRequest():
            return c.RescheduleReservation(**shared, arrival=instant(request.arrival, "arrival"))
        case reservation_pb2.SupplyReservationDetailsRequest():
            if not request.details:
                raise field_invalid("details", "is empty: nothing would be supplied")
            details = enumerate(request.details)
            return c.SupplyDetails(**shared, details=tuple(detail(one, f"details[{at}]") for at, one in details))
        case reservation_pb2.NoteReservationAnswerRequest():
            note = request.note
            verdict = NOTE_VERDICTS.word(note.verdict, "note.verdict")
            decline = DECLINE_REASONS.word_or_none(note.decline_reason, "note.decline_reason")
            if verdict is NoteVerdict.NO and decline is None:
                raise Refusal(Reason.REASON_REQUIRED, {"field": "note.decline_reason"})
            return c.NoteAnswer(
                **shared,
                verdict=verdict,
                answered_by=text(note.answered_by, "note.answered_by"),
                decline=decline,
                said=instant(note.say_time, "note.say_time") if note.HasField("say_time") else None,
            )


def staff_reservation_command(request: StaffRequest, caller: c.Caller, names: Names) -> c.ReservationStaffCommand:
    """The command that a request of the house's staff on a reservation states. Raises `Refusal`."""
    shared = _OnReservation(
        caller=caller,
        command_id=uuid(request.command_id, "command_id"),
        content=content(request),
        reservation=names.read_reservation(request.name, "name"),
    )
    r = reservation_pb2
    match request:
        case r.AcceptReservationRequest() | r.ReofferReservationRequest():
            return _offering(request, shared, names)
        case r.WaitlistReservationRequest():
            return c.WaitlistReservation(**shared, reason=WAITLIST_REASONS.word(request.reason, "reason"))
        case r.DeclineReservationRequest():
            return c.DeclineReservation(**shared, reason=DECLINE_REASONS.word(request.reason, "reason"))
        case r.WithdrawReservationRequest():
            return c.WithdrawReservation(**shared, reason=WITHDRAW_REASONS.word(request.reason, "reason"))
        case r.AskReservationDetailsRequest():
            questions = tuple(QUESTIONS.word(one, "questions") for one in request.questions)
            if not questions:
                raise field_invalid("questions", "is empty: nothing would be asked")
            return c.AskDetails(**shared, questions=questions)
        case r.TickReservationStepRequest():
            return c.TickStep(**shared, step=STEPS.word(request.step, "step"), undo=request.undo)
        case r.MarkReservationSeenRequest():
            return c.MarkSeen(**shared)
        case r.AdmitReservationRequest():
            return c.AdmitReservation(
                **shared,
                bed=names.read_bed(request.bed, "bed")[1] if request.bed else None,
                stay=opaque(request.stay_key, "stay_key") if request.stay_key else "",
                arrived=instant(request.arrive_time, "arrive_time") if request.HasField("arrive_time") else None,
            )
        case r.CancelReservationAdmissionRequest():
            return c.CancelAdmission(**shared)
        case r.SettleReservationNoteRequest():
            return c.SettleNote(**shared, note=uuid(request.note_id, "note_id"), apply=request.apply)


def _offering(
    request: reservation_pb2.AcceptReservationRequest | reservation_pb2.ReofferReservationRequest,
    shared: _OnReservation,
    names: Names,
) -> c.AcceptReservation | c.ReofferReservation:
    unit = names.read_unit(request.unit, "unit") if request.unit else None
    bed = None
    if request.bed:
        of_unit, bed = names.read_bed(request.bed, "bed", unit)
        unit = of_unit
    accepting = isinstance(request, reservation_pb2.AcceptReservationRequest)
    return (c.AcceptReservation if accepting else c.ReofferReservation)(
        **shared,
        unit=unit,
        bed=bed,
        arrival=instant(request.arrival, "arrival") if request.HasField("arrival") else None,
        ttl=_ttl(request, "ttl"),
    )


def need(message: terms_pb2.Need) -> Need:
    """A patient's need. Raises `Refusal`, with fields under `need.`."""
    read = Need(
        discipline=DISCIPLINES.word(message.discipline, "need.discipline"),
        gender=GENDERS.word(message.gender, "need.gender"),
        arrival_earliest=instant(message.arrival_earliest, "need.arrival_earliest"),
        arrival_latest=instant(message.arrival_latest, "need.arrival_latest"),
        age_months=_age_months(message),
        stay_max=span(message.stay_max, "need.stay_max") if message.HasField("stay_max") else None,
        required=features(message.required, "need.required"),
        wished=features(message.wished, "need.wished"),
        gir=message.gir or None,
        origin=_origin(message.origin),
        distance_km_max=_distance(message.distance_km_max, "need.distance_km_max"),
        minutes_max=_distance(message.minutes_max, "need.minutes_max"),
    )
    problem = read.problem()
    if problem is not None:
        raise field_invalid(f"need.{problem[0]}", problem[1])
    return read


def _age_months(message: terms_pb2.Need) -> int | None:
    match message.WhichOneof("age"):
        case "age_years":
            return message.age_years * MONTHS_A_YEAR
        case "age_months":
            if not 0 <= message.age_months < 2 * MONTHS_A_YEAR:
                raise field_invalid("need.age_months", "months are for children below 2 years; else give age_years")
            return message.age_months
        case _:
            return None


def _origin(name: str) -> str | None:
    if not name:
        return None
    collection, _, finess = name.partition("/")
    if collection != "establishments":
        raise malformed(name, "need.origin", "expected establishments/{finess}")
    return str(FinessET(finess))  # plain text: it is stored as it is


def _distance(number: float, field: str) -> float | None:
    if not math.isfinite(number) or number < 0:
        raise field_invalid(field, "must be a number above 0, or 0 for no limit")
    return number or None


def features(numbers: Sequence[int], field: str) -> frozenset[Feature]:
    """A set of features. Raises FIELD_INVALID."""
    if len(numbers) > FEATURES_MAX:
        raise field_invalid(field, f"more than {FEATURES_MAX} features")
    return frozenset(FEATURES.word(number, field) for number in numbers)


def request_id(name: str, field: str) -> str:
    """The uuid in `requests/{uuid}`. Raises MALFORMED_NAME, FIELD_INVALID."""
    collection, _, identifier = name.partition("/")
    if collection != "requests":
        raise malformed(name, field, "expected requests/{uuid}")
    return uuid(identifier, field)


def mandate(message: terms_pb2.Mandate) -> Mandate:
    """A mandate, as the hub made it."""
    return Mandate(
        caller=text(message.caller, "header.mandate.caller", URI_LENGTH_MAX),
        actor=text(message.actor, "header.mandate.actor"),
        display_name=text(message.display_name, "header.mandate.display_name"),
        role=text(message.role, "header.mandate.role"),
        on_behalf_of=text(message.on_behalf_of, "header.mandate.on_behalf_of"),
        act_time=instant(message.act_time, "header.mandate.act_time") if message.HasField("act_time") else None,
    )


def actor(raw: bytes | None) -> terms_pb2.Actor | None:
    """The person that a desk names in `aval-actor-bin`. Raises FIELD_INVALID."""
    if raw is None:
        return None
    message = terms_pb2.Actor()
    try:
        message.ParseFromString(raw)
    except DecodeError:
        raise field_invalid("aval-actor-bin", "is not an Actor message") from None
    if not message.subject:
        raise field_invalid("aval-actor-bin", "names no subject")
    for field, words in (("subject", message.subject), ("display_name", message.display_name), ("role", message.role)):
        text(words, f"aval-actor-bin.{field}")
    return message


def detail(message: reservation_pb2.Detail, field: str) -> Detail:
    """A coded answer. Raises FIELD_INVALID."""
    question = QUESTIONS.word(message.question, f"{field}.question")
    match message.WhichOneof("answer"):
        case "yes":
            return Detail(question, yes=message.yes)
        case "amount":
            if not 0 <= message.amount <= AMOUNT_MAX:
                raise field_invalid(f"{field}.amount", f"must be 0 to {AMOUNT_MAX}")
            return Detail(question, amount=message.amount)
        case _:
            raise field_invalid(f"{field}.answer", "is missing: say yes, or an amount")


def _ttl(
    request: reservation_pb2.CreateReservationRequest
    | reservation_pb2.RenewReservationRequest
    | reservation_pb2.AcceptReservationRequest
    | reservation_pb2.ReofferReservationRequest,
    field: str,
) -> timedelta | None:
    if not request.HasField("ttl"):
        return None
    ttl = span(request.ttl, field)
    if not ttl:
        raise field_invalid(field, "must be above 0; leave it out for the unit's own")
    return ttl
