"""A restored node's side of the wire: what the hub knew, read back into a fact; what people must compare, as a list."""

from collections.abc import Iterable
from dataclasses import replace

from aval.kernel.lifecycle import ReservationState
from aval.kernel.reasons import field_invalid
from aval.node import commands as c
from aval.node import model as m
from aval.node.published import Published
from aval.node.translate import inward
from aval.node.translate.inward import HubRequest
from aval.node.translate.words import (
    GENDERS,
    MODES,
    NOTE_FATES,
    NOTE_VERDICTS,
    QUESTIONS,
    STATES,
    STEPS,
    URGENCIES,
    WAITLIST_REASONS,
    Names,
    instant,
    opaque,
    span,
    text,
    timestamp,
    uuid,
)
from aval.v1 import census_pb2
from aval.v1 import reservation_pb2 as pb

NOTES_MAX = 20
"""Notes read of one reservation: as many as the ledger keeps."""


def hub_command(request: HubRequest, caller: c.Caller, names: Names) -> c.HubCommand:
    """The command that a hub's request states, a reinstatement too. Raises `Refusal`."""
    if not isinstance(request, pb.ReinstateReservationRequest):
        return inward.hub_command(request, caller, names)
    header = request.header
    if header.number < 1:
        raise field_invalid("header.number", "must be that of the last command known decided, 1 or more")
    names.check_establishment(request.heard.establishment, "heard.establishment")
    known = _known(request.known, caller.territory, header.number, names)
    if known.state.is_final:
        raise field_invalid("known.state", "is final: only what is live is reinstated")
    return c.Reinstate(
        caller=replace(caller, mandate=inward.mandate(header.mandate)),
        command_id=uuid(header.command_id, "header.command_id"),
        content=inward.content(request),
        number=header.number,
        reservation=known.id,
        known=known,
        heard=request.heard.incarnation,
    )


def _known(message: pb.Reservation, territory: str, number: int, names: Names) -> m.Reservation:
    """A reservation as its hub last knew it. A bed of it is not known there; what its creation said neither."""
    state, unit = STATES.word(message.state, "known.state"), names.read_unit(message.unit, "known.unit")
    offer = _offer(message.offer, names) if message.HasField("offer") else None
    end = instant(message.end, "known.end") if message.HasField("end") else None
    claim = None
    if state.takes_claim or state is ReservationState.ADMITTED:
        claim = m.Claim(offer.unit if offer is not None else unit, instant(message.arrival, "known.arrival"), end)
    ending = None
    if state is ReservationState.WAITLISTED:
        waitlist = WAITLIST_REASONS.word_or_none(message.ending.waitlist, "known.ending")
        ended = instant(message.ending.end_time, "known.ending.end_time")
        ending = m.Ending(inward.mandate(message.ending.by), ended, waitlist=waitlist)
    if state is ReservationState.HELD and (offer is None or not message.HasField("expire")):
        raise field_invalid("known.expire", "what is held has an offer and a time until which it is held")
    marks = message.marks
    return m.Reservation(
        id=names.read_reservation(message.name, "known.name"),
        territory=territory,
        request=inward.request_id(message.request, "known.request"),
        reference=opaque(message.reference, "known.reference"),
        unit=unit,
        need=inward.need(message.need),
        requester=inward.mandate(message.requester),
        mode=MODES.word(message.mode, "known.mode"),
        urgency=URGENCIES.word(message.urgency, "known.urgency"),
        ready_since=instant(message.ready_since, "known.ready_since") if message.HasField("ready_since") else None,
        asked_count=message.asked_count,
        content=b"",
        state=state,
        created=instant(message.create_time, "known.create_time"),
        valid_until=instant(message.valid_until.expire_time, "known.valid_until"),
        answer_by=instant(message.answer_by.expire_time, "known.answer_by"),
        expire_time=instant(message.expire.expire_time, "known.expire") if message.HasField("expire") else None,
        claim=claim,
        offer=offer,
        ending=ending,
        seen_by=inward.mandate(marks.seen_by) if marks.HasField("seen_by") else None,
        seen_time=instant(marks.seen_time, "known.marks.seen_time") if marks.HasField("seen_time") else None,
        questions=tuple(QUESTIONS.word(one, "known.marks.open_questions") for one in marks.open_questions),
        details=tuple(inward.detail(one, "known.marks.details") for one in marks.details),
        late=marks.late,
        overdue=marks.overdue,
        steps=tuple(
            m.TickedStep(
                STEPS.word(one.step, "known.steps"), inward.mandate(one.by), instant(one.tick_time, "known.steps")
            )
            for one in message.steps
        ),
        notes=tuple(_note(one) for one in message.notes[:NOTES_MAX]),
        renewals=max(message.renewals, 0),
        last_number=number,
    )


def _offer(message: pb.Offer, names: Names) -> m.Offer:
    """An offer that the hub holds: its tag is what a confirmation gives back. Which number it had is not told."""
    return m.Offer(
        unit=names.read_unit(message.unit, "known.offer.unit"),
        arrival=instant(message.arrival, "known.offer.arrival"),
        end=instant(message.end, "known.offer.end") if message.HasField("end") else None,
        gender=GENDERS.word(message.gender, "known.offer.gender"),
        features=inward.features(message.features, "known.offer.features"),
        room="",
        ttl=span(message.ttl, "known.offer.ttl"),
        number=0,
        tag=message.offer_tag,
        counter_offer=message.counter_offer,
    )


def _note(message: pb.Note) -> m.Note:
    return m.Note(
        uuid(message.id, "known.notes.id"),
        NOTE_VERDICTS.word(message.verdict, "known.notes.verdict"),
        text(message.answered_by, "known.notes.answered_by"),
        inward.mandate(message.written_by),
        instant(message.say_time, "known.notes.say_time") if message.HasField("say_time") else None,
        fate=NOTE_FATES.word(message.fate, "known.notes.fate"),
    )


def verify_unit(request: census_pb2.VerifyUnitRequest, caller: c.Caller, names: Names) -> c.VerifyUnit:
    """A person has compared a unit with reality."""
    return c.VerifyUnit(
        caller=caller,
        command_id=uuid(request.command_id, "command_id"),
        content=inward.content(request),
        unit=names.read_unit(request.name, "name"),
    )


def unverified_unit(of: m.Reconciling, published: Published, names: Names) -> census_pb2.UnverifiedUnit:
    """A unit that nobody has compared yet, with what is to be looked at there."""
    reinstated = published.ledger.book(of.unit).reinstated
    live = (one for one in published.reservations.values() if one.state.is_live and _unit_of(one) == of.unit)
    return census_pb2.UnverifiedUnit(
        unit=names.unit(of.unit),
        since_time=timestamp(of.since),
        reservations=[
            _reinstated(one, published, names)
            for one in sorted(reinstated.values(), key=lambda one: (one.at, one.reservation))
        ],
        unheard=_unheard(live, reinstated, names),
    )


def _unheard(live: Iterable[m.Reservation], reinstated: dict[str, m.Reinstated], names: Names) -> list[str]:
    return sorted(names.reservation(one.key) for one in live if one.key not in reinstated)


def _unit_of(of: m.Reservation) -> str:
    return of.claim.unit if of.claim is not None else of.unit


def _reinstated(of: m.Reinstated, published: Published, names: Names) -> census_pb2.ReinstatedReservation:
    fact = published.reservations.get(of.reservation)
    return census_pb2.ReinstatedReservation(
        reservation=names.reservation(of.reservation),
        reference=fact.reference if fact is not None else "",
        found=STATES.wire(of.found) if of.found is not None else pb.Reservation.STATE_UNSPECIFIED,
        known=STATES.wire(of.known),
        taken=of.taken,
        conflict=of.conflict,
        reinstate_time=timestamp(of.at),
    )
