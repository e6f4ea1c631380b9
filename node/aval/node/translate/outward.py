"""Facts and figures turned into messages, for each kind of reader what it may see.

At a node figures are exact for all its callers. Some things go to some only: conflicts, closures, disagreements and
visibility to the house's people and the own hub (`inside`); an offer's room to the house's people (`staff`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from aval.kernel.hours import WeekHours
from aval.kernel.identity import CallerKind
from aval.kernel.lifecycle import ReservationState
from aval.kernel.need import Need
from aval.kernel.reasons import Refusal
from aval.node import model as m
from aval.node.grants import waiting_rank
from aval.node.history import Cursor
from aval.node.published import Published
from aval.node.translate.words import (
    DECLINE_REASONS,
    DISCIPLINES,
    FEATURES,
    GENDERS,
    MODES,
    NOTE_FATES,
    NOTE_VERDICTS,
    QUESTIONS,
    RELEASE_REASONS,
    STATES,
    STEPS,
    URGENCIES,
    WAITLIST_REASONS,
    WITHDRAW_REASONS,
    Names,
    duration,
    timestamp,
)
from aval.v1 import availability_pb2, link_pb2, reservation_pb2, terms_pb2


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads, at its own node: `territory` is its own. The house's people see those of every territory."""

    inside: bool
    staff: bool
    territory: str

    @classmethod
    def of(cls, kind: CallerKind, territory: str) -> "Reader":
        """The reader that a caller is."""
        staff = kind in (CallerKind.STAFF, CallerKind.ESTABLISHMENT_DESK)
        return cls(staff or kind is CallerKind.HUB_REPLICA, staff, territory)

    def shows(self, of: m.Reservation | m.Tombstone) -> bool:
        """Whether it may see a reservation: a hub those of its own territory, the house's people all, others none."""
        return self.staff or (self.inside and of.territory == self.territory)


def cursor(at: Cursor, names: Names) -> terms_pb2.Cursor:
    """A cursor."""
    return terms_pb2.Cursor(
        establishment=names.establishment, incarnation=at.incarnation, revision=at.revision, tag=at.tag
    )


def refusal(of: Refusal) -> link_pb2.Refusal:
    """A refusal inside a stream."""
    row = of.reason.row
    return link_pb2.Refusal(
        reason=of.reason.value, metadata=of.metadata, retryable=row.retryable, code=STATUS_NUMBERS[row.code]
    )


STATUS_NUMBERS = {
    "INVALID_ARGUMENT": 3,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}
"""google.rpc.Code by name, for the refusals of streams."""


def wire_hours(of: Iterable[WeekHours]) -> list[availability_pb2.WeekHours]:
    """Hours of the week as messages."""
    return [availability_pb2.WeekHours(day=h.day, start_minute=h.start_minute, end_minute=h.end_minute) for h in of]


def mandate(of: m.Mandate) -> terms_pb2.Mandate:
    """A mandate."""
    message = terms_pb2.Mandate(
        caller=of.caller, actor=of.actor, display_name=of.display_name, role=of.role, on_behalf_of=of.on_behalf_of
    )
    if of.act_time is not None:
        message.act_time.FromDatetime(of.act_time)
    return message


def interval(start: datetime, end: datetime | None) -> terms_pb2.Interval:
    """A half-open interval; without an end, none is said."""
    message = terms_pb2.Interval(start=timestamp(start))
    if end is not None:
        message.end.FromDatetime(end)
    return message


def deadline(at: datetime, now: datetime) -> terms_pb2.Deadline:
    """A deadline as a pair: the instant for people, what is left of it now for programs."""
    return terms_pb2.Deadline(expire_time=timestamp(at), remaining=duration(at - now))


def need(of: Need) -> terms_pb2.Need:
    """A need."""
    message = terms_pb2.Need(
        discipline=DISCIPLINES.wire(of.discipline),
        gender=GENDERS.wire(of.gender),
        arrival_earliest=timestamp(of.arrival_earliest),
        arrival_latest=timestamp(of.arrival_latest),
        required=sorted(FEATURES.wire(feature) for feature in of.required),
        wished=sorted(FEATURES.wire(feature) for feature in of.wished),
        gir=of.gir or 0,
        origin=f"establishments/{of.origin}" if of.origin else "",
        distance_km_max=of.distance_km_max or 0.0,
        minutes_max=of.minutes_max or 0.0,
    )
    if of.age_months is not None:
        if of.age_months % 12 == 0 and of.age_months >= 24:
            message.age_years = of.age_months // 12
        else:
            message.age_months = of.age_months
    if of.stay_max is not None:
        message.stay_max.FromTimedelta(of.stay_max)
    return message


class ReservationWriter:
    """Writes reservations for one reader, as they stand in what is published, at one instant of the node."""

    def __init__(self, published: Published, names: Names, reader: Reader, now: datetime) -> None:
        self._published = published
        self._names = names
        self._reader = reader
        self._now = now

    def message(self, of: m.Reservation | m.Tombstone) -> reservation_pb2.Reservation:
        """A reservation, or what is kept of one."""
        return self._tombstone(of) if isinstance(of, m.Tombstone) else self._reservation(of)

    def _tombstone(self, of: m.Tombstone) -> reservation_pb2.Reservation:
        return reservation_pb2.Reservation(
            name=self._names.reservation(of.id),
            territory=of.territory,
            state=STATES.wire(of.state),
            ending=self._ending(of.ending) if of.ending is not None else None,
            revision=self._published.reservation_revisions.get(of.key, 0),
            last_command_number=of.last_number,
        )

    def _reservation(self, of: m.Reservation) -> reservation_pb2.Reservation:
        names, now = self._names, self._now
        message = reservation_pb2.Reservation(
            name=names.reservation(of.id),
            territory=of.territory,
            request=f"requests/{of.request}",
            reference=of.reference,
            unit=names.unit(of.unit),
            need=need(of.need),
            requester=mandate(of.requester),
            mode=MODES.wire(of.mode),
            urgency=URGENCIES.wire(of.urgency),
            asked_count=of.asked_count,
            state=STATES.wire(of.state),
            arrival=timestamp(of.claim.start if of.claim is not None else of.need.arrival_earliest),
            answer_by=deadline(of.answer_by, now),
            valid_until=deadline(of.valid_until, now),
            marks=self._marks(of),
            steps=[self._step(step) for step in of.steps],
            notes=[self._note(note) for note in of.notes],
            revision=self._published.reservation_revisions.get(of.key, 0),
            last_command_number=of.last_number,
            create_time=timestamp(of.created),
            renewals=of.renewals,
            waiting_rank=waiting_rank(self._published.ledger, of) if of.state is ReservationState.WAITLISTED else 0,
        )
        message.unverified = self._is_unverified(of)
        if of.ready_since is not None:
            message.ready_since.FromDatetime(of.ready_since)
        if of.claim is not None and of.claim.end is not None:
            message.end.FromDatetime(of.claim.end)
        if of.offer is not None:
            message.offer.CopyFrom(self._offer(of.offer))
        if of.state is ReservationState.HELD and of.expire_time is not None:
            message.expire.CopyFrom(deadline(of.expire_time, now))
        if of.ending is not None:
            message.ending.CopyFrom(self._ending(of.ending))
        return message

    def _is_unverified(self, of: m.Reservation) -> bool:
        unit = of.claim.unit if of.claim is not None else of.unit
        return of.state.is_live and self._published.ledger.book(unit).reconciling is not None

    def _offer(self, of: m.Offer) -> reservation_pb2.Offer:
        message = reservation_pb2.Offer(
            unit=self._names.unit(of.unit),
            arrival=timestamp(of.arrival),
            gender=GENDERS.wire(of.gender),
            features=sorted(FEATURES.wire(feature) for feature in of.features),
            room_label=of.room if self._reader.staff else "",
            ttl=duration(of.ttl),
            offer_tag=of.tag,
            counter_offer=of.counter_offer,
        )
        if of.end is not None:
            message.end.FromDatetime(of.end)
        return message

    def _ending(self, of: m.Ending) -> reservation_pb2.Ending:
        message = reservation_pb2.Ending(by=mandate(of.by), end_time=timestamp(of.time))
        if of.decline is not None:
            message.decline = DECLINE_REASONS.wire(of.decline)
        elif of.release is not None:
            message.release = RELEASE_REASONS.wire(of.release)
        elif of.withdraw is not None:
            message.withdraw = WITHDRAW_REASONS.wire(of.withdraw)
        elif of.waitlist is not None:
            message.waitlist = WAITLIST_REASONS.wire(of.waitlist)
        return message

    def _marks(self, of: m.Reservation) -> reservation_pb2.Marks:
        message = reservation_pb2.Marks(
            open_questions=[QUESTIONS.wire(question) for question in of.questions],
            details=[self._detail(detail) for detail in of.details],
            late=of.late,
            overdue=of.overdue,
            conflicts=self._conflicts(of),
        )
        if of.seen_by is not None:
            message.seen_by.CopyFrom(mandate(of.seen_by))
        if of.seen_time is not None:
            message.seen_time.FromDatetime(of.seen_time)
        return message

    def _conflicts(self, of: m.Reservation) -> list[str]:
        if of.claim is None or of.claim.is_placed:
            return []
        conflicts = self._published.ledger.book(of.claim.unit).conflicts.values()
        return sorted(self._names.conflict(one.key) for one in conflicts if one.reservation == of.key)

    def _detail(self, of: m.Detail) -> reservation_pb2.Detail:
        message = reservation_pb2.Detail(question=QUESTIONS.wire(of.question))
        if of.yes is not None:
            message.yes = of.yes
        elif of.amount is not None:
            message.amount = of.amount
        return message

    def _step(self, of: m.TickedStep) -> reservation_pb2.TickedStep:
        return reservation_pb2.TickedStep(step=STEPS.wire(of.step), by=mandate(of.by), tick_time=timestamp(of.time))

    def _note(self, of: m.Note) -> reservation_pb2.Note:
        message = reservation_pb2.Note(
            id=of.id,
            verdict=NOTE_VERDICTS.wire(of.verdict),
            answered_by=of.answered_by,
            written_by=mandate(of.written_by),
            fate=NOTE_FATES.wire(of.fate),
        )
        if of.decline is not None:
            message.decline_reason = DECLINE_REASONS.wire(of.decline)
        if of.said is not None:
            message.say_time.FromDatetime(of.said)
        return message
