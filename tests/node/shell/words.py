"""What the tests of a node say to it: requests of the contract, short to write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

from aval.node.translate.inward import HubRequest
from aval.v1 import availability_pb2, census_pb2, link_pb2, reservation_pb2, terms_pb2
from tests.node.shell.processes import Caller

HOUSE = "establishments/540000023"
_numbers = count(1)


def new_id() -> str:
    """Another UUID at each call."""
    return str(UUID(int=next(_numbers), version=4))


def unit_name(unit: str) -> str:
    """Name of a unit of the house."""
    return f"{HOUSE}/units/{unit}"


def policy(answering: availability_pb2.PolicySummary.Answering.ValueType) -> census_pb2.UnitPolicy:
    """A policy that answers at all hours."""
    return census_pb2.UnitPolicy(answering=answering, promise_on_announced=True, renewals_max=1)


def declare_places(
    unit: str,
    installed: int,
    occupied: int,
    answering: availability_pb2.PolicySummary.Answering.ValueType = availability_pb2.PolicySummary.ANSWERING_AUTOMATIC,
) -> census_pb2.DeclareUnitRequest:
    """A unit of counted places, fed by a person."""
    return census_pb2.DeclareUnitRequest(
        command_id=new_id(),
        name=unit_name(unit),
        display_name=f"Unité {unit}",
        discipline=terms_pb2.DISCIPLINE_SMR_GERIATRIC,
        counting=availability_pb2.COUNTING_PLACES,
        places=[
            census_pb2.PlaceCapacity(
                gender=terms_pb2.GENDER_ANY, installed=installed, open=installed, occupied=occupied
            )
        ],
        sources=[census_pb2.SourceDeclaration(id="cadre", kind=availability_pb2.SOURCE_KIND_PERSON)],
        policy=policy(answering),
    )


def need(arrival: datetime | None = None) -> terms_pb2.Need:
    """A geriatric SMR bed for a woman of 82, in a day."""
    earliest = arrival or datetime.now(UTC) + timedelta(hours=1)
    message = terms_pb2.Need(
        discipline=terms_pb2.DISCIPLINE_SMR_GERIATRIC, gender=terms_pb2.GENDER_FEMALE, age_years=82
    )
    message.arrival_earliest.FromDatetime(earliest)
    message.arrival_latest.FromDatetime(earliest + timedelta(hours=10))
    return message


def header(command_id: str, number: int) -> reservation_pb2.CommandHeader:
    """A header of the hub, without a cursor."""
    return reservation_pb2.CommandHeader(
        command_id=command_id,
        number=number,
        mandate=terms_pb2.Mandate(
            caller="spiffe://ge-10.aval.internal/hub/operator/cellule",
            actor="cellule",
            display_name="Cellule de coordination",
            role="cell",
            on_behalf_of="establishments/540000080",
        ),
    )


def create(
    unit: str, arrival: datetime | None = None, mode: terms_pb2.Mode.ValueType = terms_pb2.MODE_HOLD
) -> reservation_pb2.CreateReservationRequest:
    """A demand."""
    identifier = new_id()
    return reservation_pb2.CreateReservationRequest(
        header=header(identifier, 1),
        parent=HOUSE,
        request=f"requests/{new_id()}",
        reference="K7-3F9",
        unit=unit_name(unit),
        need=need(arrival),
        mode=mode,
        urgency=terms_pb2.URGENCY_TODAY,
        asked_count=1,
    )


def confirm(reservation: reservation_pb2.Reservation, number: int) -> reservation_pb2.ConfirmReservationRequest:
    """A confirmation of what is offered."""
    return reservation_pb2.ConfirmReservationRequest(
        header=header(new_id(), number), name=reservation.name, offer_tag=reservation.offer.offer_tag
    )


def release(reservation: reservation_pb2.Reservation, number: int) -> reservation_pb2.ReleaseReservationRequest:
    """A release."""
    return reservation_pb2.ReleaseReservationRequest(
        header=header(new_id(), number), name=reservation.name, reason=reservation_pb2.RELEASE_REASON_PATIENT_REFUSED
    )


def command(request: HubRequest) -> link_pb2.Command:
    """A request as a command of the stream."""
    message = link_pb2.Command()
    for field in link_pb2.Command.DESCRIPTOR.fields:
        if field.message_type is request.DESCRIPTOR:
            getattr(message, field.name).CopyFrom(request)
    return message


async def exchange(hub: Caller, request: HubRequest) -> link_pb2.Answer:
    """Sends one command on a stream of its own, and gives the answer."""
    call = hub.link.Exchange()
    try:
        await call.write(link_pb2.ExchangeRequest(command=command(request)))
        answer = await call.read()
        assert isinstance(answer, link_pb2.ExchangeResponse)
        return answer.answer
    finally:
        call.cancel()
