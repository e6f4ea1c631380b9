"""The house's own view of its census, as messages: beds, policies, parked movements, doubts. None goes to a hub."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from aval.kernel.reasons import Refusal
from aval.kernel.statuses import SupplementaryKind
from aval.node import model as m
from aval.node.commands import Verdict
from aval.node.published import Published
from aval.node.translate.outward import interval, mandate, wire_hours
from aval.node.translate.words import (
    ANSWERING,
    CLOSURE_KINDS,
    CLOSURE_REASONS,
    FATES,
    FEATURES,
    GENDERS,
    PARK_REASONS,
    SUPPLEMENTARY,
    Names,
    duration,
    timestamp,
)
from aval.v1 import census_pb2, terms_pb2


def _maybe(moment: datetime | None) -> Timestamp | None:
    return None if moment is None else timestamp(moment)


def policy(unit: m.Unit, names: Names) -> census_pb2.UnitPolicy:
    """A unit's policy, whole."""
    of = unit.policy
    return census_pb2.UnitPolicy(
        unit=names.unit(unit.id),
        answering=ANSWERING.wire(of.answering),
        automatic=census_pb2.AutomaticHold(
            per_day_max=of.automatic.per_day_max,
            genders=sorted(GENDERS.wire(gender) for gender in of.automatic.genders),
            hours=wire_hours(of.automatic.hours),
            keep_free=of.automatic.keep_free,
        ),
        ttl=duration(of.ttl) if of.ttl is not None else None,
        ttl_max=duration(of.ttl_max) if of.ttl_max is not None else None,
        renewals_max=of.renewals_max,
        answer_hours=wire_hours(of.answer_hours),
        admission_hours=wire_hours(of.admission_hours),
        closed_on_public_holidays=of.closed_on_public_holidays,
        alsace_moselle=of.alsace_moselle,
        closed_days=sorted(of.closed_days),
        promise_on_announced=of.promise_on_announced,
        turnover_minutes=of.turnover_minutes,
        notes=census_pb2.NotePolicy(apply_no=of.notes.apply_no, apply_yes=of.notes.apply_yes),
        grant_waiting_list=of.grant_waiting_list,
    )


def beds(published: Published, unit: str, names: Names, now: datetime) -> list[census_pb2.Bed]:
    """The beds of a unit, with who is in them and what is promised of them."""
    book = published.ledger.book(unit)
    occupants = {stay.bed: stay for stay in book.stays.values() if stay.bed is not None and _in_bed(stay)}
    closed = {bed for closure in book.closures.values() if closure.start <= now for bed in closure.beds}
    claims: dict[str, m.Reservation] = {}
    for reservation in sorted(book.claims.values(), key=_claim_start, reverse=True):
        if reservation.claim is not None and reservation.claim.bed is not None:
            claims[reservation.claim.bed] = reservation
    found = []
    for bed in book.beds.values():
        stay = occupants.get(bed.id)
        claim = claims.get(bed.id)
        found.append(
            census_pb2.Bed(
                name=names.bed(unit, bed.id),
                room=bed.room,
                gender=GENDERS.wire(bed.gender),
                features=sorted(FEATURES.wire(feature) for feature in bed.features),
                supplementary=_supplementary(bed.supplementary),
                stay_key=stay.key if stay is not None else "",
                claim=names.reservation(claim.id) if claim is not None else "",
                to_clean=bed.to_clean_since is not None,
                closed=bed.id in closed,
                departure_time=_maybe(stay.departure) if stay is not None else None,
            )
        )
    return found


def _supplementary(of: SupplementaryKind | None) -> census_pb2.SupplementaryKind.ValueType:
    return census_pb2.SUPPLEMENTARY_KIND_UNSPECIFIED if of is None else SUPPLEMENTARY.wire(of)


def _in_bed(stay: m.Stay) -> bool:
    return not stay.on_leave or stay.keep_bed


def stays(published: Published, unit: str | None, names: Names) -> list[census_pb2.Stay]:
    """Who is in a unit, or in the house, and whom it expects itself."""
    ledger = published.ledger
    found = []
    for code in ledger.unit_ids() if unit is None else (unit,):
        book = ledger.book(code)
        found += [_stay(stay, names) for stay in book.stays.values()]
        found += [_expected_stay(one, names) for one in book.expected.values()]
    return found


def _stay(of: m.Stay, names: Names) -> census_pb2.Stay:
    return census_pb2.Stay(
        stay_key=of.key,
        unit=names.unit(of.unit),
        bed=names.bed(of.unit, of.bed) if of.bed is not None else "",
        gender=GENDERS.wire(of.gender),
        on_leave=of.on_leave,
        departure_time=_maybe(of.departure),
        source_id=of.source,
        arrive_time=timestamp(of.since),
    )


def _expected_stay(of: m.Expected, names: Names) -> census_pb2.Stay:
    return census_pb2.Stay(
        stay_key=of.key,
        unit=names.unit(of.unit),
        bed=names.bed(of.unit, of.bed) if of.bed is not None else "",
        gender=GENDERS.wire(of.gender),
        departure_time=_maybe(of.departure),
        source_id=of.source,
        expected=True,
        arrive_time=timestamp(of.arrival),
    )


def _claim_start(of: m.Reservation) -> tuple[datetime, str]:
    return (of.claim.start if of.claim is not None else of.created, of.id)


def movement_fate(
    source: str, movement: str, verdict: Verdict, names: Names, at: terms_pb2.Cursor
) -> census_pb2.ApplyMovementsResponse:
    """What became of a movement."""
    return census_pb2.ApplyMovementsResponse(
        source_id=source,
        movement_id=movement,
        fate=FATES.wire(verdict.fate or m.Fate.APPLIED),
        reason=verdict.reason,
        metadata=verdict.metadata,
        cursor=at,
        conflicts=[names.conflict(key) for key in verdict.names],
        doubt=names.doubt(verdict.doubt.id) if verdict.doubt is not None else "",
    )


def movement_refused(source: str, movement: str, refusal: Refusal) -> census_pb2.ApplyMovementsResponse:
    """That a movement was not acceptable: nothing was kept of it."""
    return census_pb2.ApplyMovementsResponse(
        source_id=source,
        movement_id=movement,
        fate=FATES.wire(m.Fate.REFUSED),
        reason=refusal.reason.value,
        metadata=refusal.metadata,
    )


def doubt(of: m.Doubt, published: Published, names: Names) -> census_pb2.ArrivalDoubt:
    """A doubt about an arrival. A candidate that is gone has no reference any more."""
    candidates = [published.ledger.reservation(key) for key in of.candidates]
    return census_pb2.ArrivalDoubt(
        name=names.doubt(of.id),
        stay_key=of.stay,
        unit=names.unit(of.unit),
        candidates=[names.reservation(key) for key in of.candidates],
        references=[candidate.reference if candidate is not None else "" for candidate in candidates],
        create_time=timestamp(of.raised),
        answer=names.reservation(of.answer) if of.answer else "",
        answered=of.answered is not None,
    )


def parked_movement(of: m.Parked, published: Published, names: Names) -> census_pb2.ParkedMovement:
    """A movement that waits for a person."""
    return census_pb2.ParkedMovement(
        name=names.parked(of.id),
        movement=movement(of.movement, published, names),
        reason=PARK_REASONS.wire(of.reason),
        detail=of.detail,
        park_time=timestamp(of.parked),
        by=mandate(of.by),
    )


def movement(of: m.Movement, published: Published, names: Names) -> census_pb2.Movement:
    """A movement, as it was told."""
    message = census_pb2.Movement(
        movement_id=of.id,
        source_id=of.source,
        source_sequence=of.sequence,
        event_time=_maybe(of.event_time),
        stay_key=of.stay,
        corrects_movement_id=of.corrects,
    )
    match of.change:
        case m.Admission() as change:
            message.admission.CopyFrom(_admission(change, names))
        case m.Transfer(unit, bed, bed_unknown):
            name = names.bed(unit, bed) if bed else ""
            message.transfer.CopyFrom(census_pb2.Transfer(unit=names.unit(unit), bed=name, bed_unknown=bed_unknown))
        case m.Discharge(to_clean):
            message.discharge.CopyFrom(census_pb2.Discharge(to_clean=to_clean))
        case m.Leave(keep_bed, return_time):
            message.leave.CopyFrom(census_pb2.Leave(keep_bed=keep_bed, return_time=_maybe(return_time)))
        case m.LeaveReturn(bed):
            stay = published.ledger.stay(of.stay)
            name = names.bed(stay.unit, bed) if bed is not None and stay is not None else ""
            message.leave_return.CopyFrom(census_pb2.LeaveReturn(bed=name))
        case m.Cancellation(movement_id):
            message.cancellation.cancelled_movement_id = movement_id
        case m.DepartureAnnounced(departure):
            message.departure_announced.CopyFrom(census_pb2.DepartureAnnounced(departure_time=_maybe(departure)))
        case m.StayMerged(absorbed):
            message.stay_merged.absorbed_stay_key = absorbed
        case m.ArrivalExpected() as change:
            message.arrival_expected.CopyFrom(_expected(change, names))
        case change:
            _write_beds(change, message, names)
    return message


def _admission(of: m.Admission, names: Names) -> census_pb2.Admission:
    return census_pb2.Admission(
        unit=names.unit(of.unit),
        bed=names.bed(of.unit, of.bed) if of.bed else "",
        gender=GENDERS.wire(of.gender),
        reservation=of.reservation,
        departure_time=_maybe(of.departure),
        to_clean_after=of.to_clean_after,
    )


def _expected(of: m.ArrivalExpected, names: Names) -> census_pb2.ArrivalExpected:
    return census_pb2.ArrivalExpected(
        unit=names.unit(of.unit),
        bed=names.bed(of.unit, of.bed) if of.bed else "",
        arrival_time=timestamp(of.arrival),
        gender=GENDERS.wire(of.gender),
        departure_time=_maybe(of.departure),
    )


def _write_beds(
    of: m.BedOpened | m.BedClosed | m.BedCleaned | m.CountsReported, into: census_pb2.Movement, names: Names
) -> None:
    match of:
        case m.CountsReported():
            into.counts_reported.CopyFrom(
                census_pb2.CountsReported(
                    unit=names.unit(of.unit),
                    age=duration(of.age) if of.age else None,
                    places=[
                        census_pb2.PlaceCapacity(gender=GENDERS.wire(one.gender), open=one.open, occupied=one.occupied)
                        for one in of.places
                    ],
                )
            )
        case m.BedOpened():
            into.bed_opened.CopyFrom(
                census_pb2.BedOpened(
                    beds=[names.bed(of.unit, bed) for bed in of.beds],
                    unit=names.unit(of.unit),
                    places=of.places,
                    closure_id=of.closure,
                )
            )
        case m.BedClosed():
            into.bed_closed.CopyFrom(
                census_pb2.BedClosed(
                    beds=[names.bed(of.unit, bed) for bed in of.beds],
                    unit=names.unit(of.unit),
                    places=of.places,
                    interval=interval(of.start, of.end),
                    kind=CLOSURE_KINDS.wire(of.kind),
                    reason=CLOSURE_REASONS.wire(of.reason),
                )
            )
        case m.BedCleaned():
            into.bed_cleaned.bed = names.bed(of.unit, of.bed)
