"""What regulators say and are shown: requests, searches, sums."""

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256

from google.protobuf.message import Message

from aval.hub import model
from aval.hub.matching import Criterion, ExclusionReason, Found, Ranked, RankReason, Relaxation
from aval.hub.model import AskTarget, RequestFile
from aval.hub.picture import CapacityLine, Seen
from aval.hub.translate import figures
from aval.hub.translate.reservations import DECLINE_REASONS, RELEASE_REASONS, VERDICTS, wire_reservation
from aval.hub.translate.terms import (
    DISCIPLINES,
    FEATURES,
    MODES,
    URGENCIES,
    Words,
    duration,
    establishment_name,
    given_duration,
    given_instant,
    given_uuid,
    timestamp,
    unit_name,
    wire_mandate,
    wire_need,
)
from aval.kernel.lifecycle import AskState, NoteVerdict, OutsideReason, ReleaseReason, RequestState
from aval.kernel.need import PatientChoice
from aval.kernel.reasons import Reason, Refusal, field_invalid
from aval.kernel.statuses import Freshness
from aval.v1 import availability_pb2, reservation_pb2, territory_pb2
from aval.v1 import request_pb2 as pb

STATES = Words(pb.Request.State, "STATE", RequestState)
DELIVERIES = Words(pb.Ask.Delivery, "DELIVERY", AskState)
CHOICES = Words(pb.PatientChoice, "PATIENT_CHOICE", PatientChoice)
OUTSIDE_REASONS = Words(pb.OutsideReason, "OUTSIDE_REASON", OutsideReason)
EXCLUSION_REASONS = Words(pb.ExclusionReason, "EXCLUSION_REASON", ExclusionReason)
CRITERIA = Words(pb.RankReason.Criterion, "CRITERION", Criterion)

TARGETS_MAX = 20
"""Targets read of one message: `brokerage` allows three, this only bounds the work of refusing."""

TEXT_LENGTH_MAX = 64
"""Characters of an external number and of the function of who answered a telephone."""


def content_hash(message: Message) -> bytes:
    """What makes two acts of one id the same act: all that was said (CONTRACT 17: local to its receiver)."""
    return sha256(message.SerializeToString(deterministic=True)).digest()


def release_reason(value: reservation_pb2.ReleaseReason.ValueType) -> ReleaseReason:
    """A caller's reason. Raises REASON_REQUIRED."""
    found = RELEASE_REASONS.read(value)
    if found is None:
        raise Refusal(Reason.REASON_REQUIRED, {"field": "reason"})
    return found


def outside_reason(value: pb.OutsideReason.ValueType) -> OutsideReason:
    """A caller's reason. Raises REASON_REQUIRED."""
    found = OUTSIDE_REASONS.read(value)
    if found is None:
        raise Refusal(Reason.REASON_REQUIRED, {"field": "reason"})
    return found


def targets(messages: Iterable[pb.AskTarget]) -> tuple[AskTarget, ...]:
    """Units to ask. Raises FIELD_INVALID, MALFORMED_NAME, MALFORMED_FINESS."""
    listed = list(messages)
    if len(listed) > TARGETS_MAX:
        raise Refusal(Reason.TOO_MANY_ASKS, {"given": str(len(listed))})
    return tuple(
        AskTarget(
            reservation_id=given_uuid(one.reservation_id, "asks.reservation_id"),
            unit=unit_name(one.unit, "asks.unit"),
            mode=MODES.required(one.mode, "asks.mode"),
            ttl=given_duration(one, "ttl"),
        )
        for one in listed
    )


def external_reference(message: pb.CreateRequestRequest) -> model.ExternalReference | None:
    """A number in another system. Raises FIELD_INVALID."""
    if not message.HasField("external_reference"):
        return None
    given = message.external_reference
    for name, text in (("system", given.system), ("number", given.number)):
        if not 0 < len(text) <= TEXT_LENGTH_MAX:
            raise field_invalid(f"external_reference.{name}", f"1 to {TEXT_LENGTH_MAX} characters")
    return model.ExternalReference(given.system, given.number)


def given_note(message: reservation_pb2.Note, note_id: str, mandate: model.Mandate) -> model.Note:
    """A telephone answer as a caller writes it down. Raises FIELD_INVALID, TIME_OUT_OF_RANGE, REASON_REQUIRED."""
    verdict = VERDICTS.required(message.verdict, "note.verdict")
    reason = DECLINE_REASONS.read(message.decline_reason)
    if verdict is NoteVerdict.NO and reason is None:
        raise Refusal(Reason.REASON_REQUIRED, {"field": "note.decline_reason"})
    if len(message.answered_by) > TEXT_LENGTH_MAX:
        raise field_invalid("note.answered_by", f"at most {TEXT_LENGTH_MAX} characters")
    return model.Note(
        id=note_id,
        verdict=verdict,
        answered_by=message.answered_by,
        written_by=mandate,
        say_time=given_instant(message, "say_time"),
        decline_reason=reason,
    )


# --- as shown --------------------------------------------------------------------------------------------------------


def wire_request(file: RequestFile, territory: str, now: datetime) -> pb.Request:
    """A request whole, as its own people and the cell see it."""
    request = file.request
    message = pb.Request(
        name=request.name,
        reference=request.reference,
        need=wire_need(request.need),
        urgency=URGENCIES.to_wire[request.urgency],
        ready_since=timestamp(request.ready_since),
        choice=CHOICES.to_wire[request.choice],
        requester=wire_mandate(request.requester),
        handler=wire_mandate(request.handler),
        state=STATES.to_wire[request.state],
        subject=request.subject,
        unverified=file.unverified,
        double_admission=request.double_admission,
        unanswered=request.unanswered,
        asks=[_wire_ask(file, ask, territory, now) for ask in file.asks],
        revision=request.revision,
        create_time=timestamp(request.create_time),
        change_time=timestamp(request.change_time),
        last_event=_wire_event(request.last_event),
        notify_when_free=request.notify_when_free,
        place_found=request.place_found,
        ask_next=request.ask_next,
        proposed_next=request.proposed_next,
        set_back=request.set_back,
    )
    if request.external_reference is not None:
        message.external_reference.system = request.external_reference.system
        message.external_reference.number = request.external_reference.number
    return message


def _wire_ask(file: RequestFile, ask: model.Ask, territory: str, now: datetime) -> pb.Ask:
    known = None
    if ask.known is not None:
        known = wire_reservation(ask.known, file.request, ask.mode, territory, ask.asked_count, now)
    return pb.Ask(
        reservation=ask.reservation,
        unit=ask.unit,
        mode=MODES.to_wire[ask.mode],
        delivery=DELIVERIES.to_wire[file.delivery(ask)],
        known=known,
        refused_reason=ask.refused_reason,
        pending=[
            pb.PendingCommand(
                number=row.number,
                verb=row.verb,
                age=duration(now - row.stored_at),
                attempts=row.attempts,
                last_reason=row.last_reason,
            )
            for row in file.pending(ask.reservation)
        ],
        release_pending=file.release_behind(ask.reservation),
        alternatives=ask.alternatives,
    )


def _wire_event(value: model.Event | None) -> pb.RequestEvent | None:
    if value is None:
        return None
    return pb.RequestEvent(
        kind=value.kind.value,
        reservation=value.reservation,
        reason=value.reason,
        event_time=timestamp(value.at),
        by=wire_mandate(value.by),
    )


def wire_seen(value: Seen) -> availability_pb2.Unit:
    """A unit as its viewer sees it now."""
    return figures.wire_unit(value.unit, value.freshness, value.age)


def wire_found(found: Found, unreachable: Iterable[str]) -> pb.SearchBedsResponse:
    """What a search found; `unreachable` are FINESS of establishments."""
    return pb.SearchBedsResponse(
        ranked=[_wire_ranked(one) for one in found.ranked],
        excluded=[
            pb.ExcludedUnit(
                unit=one.candidate.seen.unit.name,
                display_name=one.candidate.seen.unit.display_name,
                establishment_display_name=one.candidate.establishment_display_name,
                reason=EXCLUSION_REASONS.to_wire[one.reason],
                metadata=one.metadata,
                age=duration(one.candidate.seen.age) if one.candidate.seen.freshness is Freshness.UNREACHABLE else None,
                phones=_phones(one.candidate.phones),
            )
            for one in found.excluded
        ],
        sure_places=found.sure_places,
        stale_units=found.stale_units,
        ranked_count=found.ranked_count,
        exclusion_counts=[
            pb.ExclusionCount(reason=EXCLUSION_REASONS.to_wire[reason], count=count)
            for reason, count in found.exclusion_counts.items()
        ],
        unreachable=[establishment_name(finess) for finess in unreachable],
        relaxations=[_wire_relaxation(one) for one in found.relaxations],
    )


def _wire_ranked(value: Ranked) -> pb.RankedUnit:
    candidate = value.candidate
    return pb.RankedUnit(
        rank=value.rank,
        unit=wire_seen(candidate.seen),
        establishment_display_name=candidate.establishment_display_name,
        places=value.places,
        unmet_wishes=FEATURES.wire(value.unmet_wishes),
        distance_km=candidate.distance_km or 0.0,
        minutes=candidate.minutes or 0.0,
        immediate=value.immediate,
        reasons=[_wire_rank_reason(one) for one in value.reasons],
        on_announced_departure=value.on_announced_departure,
        phones=_phones(candidate.phones),
    )


def _wire_rank_reason(value: RankReason) -> pb.RankReason:
    return pb.RankReason(criterion=CRITERIA.to_wire[value.criterion], value=value.value)


def _wire_relaxation(value: Relaxation) -> pb.Relaxation:
    return pb.Relaxation(
        kind=value.kind.value, value=value.value, sure_places=value.sure_places, need=wire_need(value.need)
    )


def _phones(values: Iterable[model.Phone]) -> list[availability_pb2.Phone]:
    return [availability_pb2.Phone(hours=one.hours, number=one.number) for one in values]


def wire_capacity_line(value: CapacityLine, display_name: str) -> territory_pb2.CapacityLine:
    """A line of sums."""
    return territory_pb2.CapacityLine(
        establishment=establishment_name(value.establishment),
        establishment_display_name=display_name,
        discipline=DISCIPLINES.to_wire[value.discipline],
        installed=value.installed,
        available_sure=value.available_sure,
        available_stale=value.available_stale,
        occupied=value.occupied,
        reserved=value.reserved,
        closed=value.closed,
        supplementary=value.supplementary,
        units=value.units,
        stale_units=value.stale_units,
        not_reported_units=value.not_reported_units,
        age_max=duration(value.age_max),
        sources=[figures.SOURCE_KINDS.to_wire[kind] for kind in value.sources],
    )
