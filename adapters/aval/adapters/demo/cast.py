"""Who plays in the demonstration, and the small acts of its episodes: each one is a call of the contract."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import TypeVar
from uuid import uuid4
from zoneinfo import ZoneInfo

from aval.adapters.clock import SystemClock
from aval.adapters.demo.building import (
    CELL,
    DESK_OF_A_HOUSE,
    REGULATOR,
    SECOND_REGULATOR,
    SOURCE_OF_A_HOUSE,
)
from aval.adapters.demo.processes import Territory
from aval.adapters.demo.watching import Screen
from aval.adapters.dial import Caller, Line, ask, every_unit, pages
from aval.adapters.figures import count
from aval.kernel.disciplines import Discipline
from aval.kernel.reasons import Reason, Refusal
from aval.v1 import (
    availability_pb2,
    census_pb2,
    request_pb2,
    reservation_pb2,
    terms_pb2,
)

ZONE = ZoneInfo("Europe/Paris")
DAY_BEGINS, DAY_ENDS = time(8), time(18)
"""A date means arrivals between these hours, there (CONTRACT 15)."""

PAGE = 1000

Found = TypeVar("Found")


class Cast:
    """Everyone's lines. `screen` is the first regulator's, `rival_screen` the second's."""

    def __init__(self, territory: Territory) -> None:
        self.territory = territory
        self._callers: dict[str, Caller] = {}
        self.screen = Screen(self.hub(REGULATOR))
        self.rival_screen = Screen(self.hub(SECOND_REGULATOR))

    def hub(self, person: str) -> Line:
        """Someone's line to the hub."""
        return self._caller(person).hub(self.territory.hub.address)

    def node(self, finess: str, person: str = DESK_OF_A_HOUSE) -> Line:
        """The line to a node of someone of that house."""
        return self._caller(f"{finess}-{person}").node(self.territory.node(finess).address, finess)

    async def open(self) -> None:
        """Both regulators open their screens."""
        await self.screen.open()
        await self.rival_screen.open()

    async def close(self) -> None:
        """Everyone leaves."""
        await self.screen.close()
        await self.rival_screen.close()
        for caller in self._callers.values():
            await caller.close()

    def _caller(self, person: str) -> Caller:
        caller = self._callers.get(person)
        if caller is None:
            caller = self._callers[person] = self.territory.caller(person)
        return caller

    # -------------------------------------------------------------------------------------------------- at the hub

    async def search(
        self, need: terms_pb2.Need, sites: Sequence[str] = (), person: str = REGULATOR, limit: int = 200
    ) -> request_pb2.SearchBedsResponse:
        """A search by a regulator."""
        request = request_pb2.SearchBedsRequest(
            need=need, urgency=terms_pb2.URGENCY_PLANNED, limit=limit, establishments=sites
        )
        return await ask(self.hub(person).requests.SearchBeds, request)

    async def create(
        self, need: terms_pb2.Need, asks: Sequence[request_pb2.AskTarget], person: str = REGULATOR
    ) -> request_pb2.Request:
        """A request with its asks, in one transaction."""
        request = request_pb2.CreateRequestRequest(
            request_id=str(uuid4()), need=need, urgency=terms_pb2.URGENCY_PLANNED, asks=asks
        )
        request.ready_since.FromDatetime(now() - timedelta(days=2))
        return await ask(self.hub(person).requests.CreateRequest, request)

    async def confirm(self, request: request_pb2.Request, one: request_pb2.Ask) -> request_pb2.Request:
        """The regulator confirms the offer that she read."""
        message = request_pb2.ConfirmRequestRequest(
            command_id=str(uuid4()),
            name=request.name,
            reservation=one.reservation,
            offer_tag=one.known.offer.offer_tag,
        )
        return await ask(self.hub(REGULATOR).requests.ConfirmRequest, message)

    async def cancel(self, request: request_pb2.Request, person: str = REGULATOR) -> request_pb2.Request:
        """A request of no more use: whatever it holds is released."""
        message = request_pb2.CancelRequestRequest(
            command_id=str(uuid4()), name=request.name, reason=reservation_pb2.RELEASE_REASON_OTHER
        )
        return await ask(self.hub(person).requests.CancelRequest, message)

    async def units(self, site: str = "-", person: str = CELL) -> list[availability_pb2.Unit]:
        """Units as the hub shows them."""
        return await every_unit(self.hub(person), f"establishments/{site}")

    async def unreachable(self) -> set[str]:
        """FINESS of the houses that the hub does not reach."""
        request = availability_pb2.ListUnitsRequest(parent="establishments/-", page_size=PAGE)
        page = await ask(self.hub(CELL).availability.ListUnits, request)
        return {finess_of(name) for name in page.unreachable}

    # ------------------------------------------------------------------------------------------------- in the houses

    async def own_units(self, finess: str) -> list[availability_pb2.Unit]:
        """Units as their own node says them to its staff."""
        return await every_unit(self.node(finess), f"establishments/{finess}")

    async def beds(self, unit: str) -> list[census_pb2.Bed]:
        """The beds of a unit, with who is in them, as its staff sees them."""
        call = partial(ask, self.node(finess_of(unit)).census.ListBeds)
        return [bed async for page in pages(call, census_pb2.ListBedsRequest(parent=unit)) for bed in page.beds]

    async def reservation(self, name: str) -> reservation_pb2.Reservation:
        """A reservation, asked of its own node by its own staff."""
        line = self.node(finess_of(name))
        return await ask(line.reservations.GetReservation, reservation_pb2.GetReservationRequest(name=name))

    async def reservations_of(self, finess: str, request: str) -> list[reservation_pb2.Reservation]:
        """All that a node holds of a request, whatever its state."""
        states = reservation_pb2.Reservation.State.values()
        message = reservation_pb2.ListReservationsRequest(
            parent=f"establishments/{finess}", request=request, page_size=PAGE, states=[one for one in states if one]
        )
        page = await ask(self.node(finess).reservations.ListReservations, message)
        return list(page.reservations)

    async def accept(self, name: str) -> bool:
        """The house says yes; False where its node answers that no bed is free."""
        message = reservation_pb2.AcceptReservationRequest(command_id=str(uuid4()), name=name)
        try:
            await ask(self.node(finess_of(name)).reservations.AcceptReservation, message)
        except Refusal as refusal:
            if refusal.reason is not Reason.NO_BED:
                raise
            return False
        return True

    async def move(self, finess: str, movement: census_pb2.Movement) -> census_pb2.ApplyMovementsResponse:
        """One movement told by the house's information system."""
        movement.movement_id = movement.movement_id or f"demo-{uuid4()}"
        movement.source_id = SOURCE_OF_A_HOUSE
        movement.event_time.FromDatetime(now())
        call = self.node(finess, SOURCE_OF_A_HOUSE).census.ApplyMovements()
        try:
            await call.write(census_pb2.ApplyMovementsRequest(movement=movement))
            await call.done_writing()
            async for answer in call:
                return answer
        finally:
            call.cancel()
        raise EOFError("the node answered nothing")

    async def alive(self, finess: str) -> None:
        """The house's system says that nothing changed."""
        request = census_pb2.ReportAliveRequest(source_id=SOURCE_OF_A_HOUSE)
        await ask(self.node(finess, SOURCE_OF_A_HOUSE).census.ReportAlive, request)

    def has_system(self, finess: str) -> bool:
        """Whether an information system speaks for the house, and not a person."""
        house = self.territory.file.assumptions.houses.get(finess)
        return house is not None and house.source.is_automatic

    def name_of(self, finess: str) -> str:
        """The house's name for people."""
        return self.territory.node(finess).name


def now() -> datetime:
    """The present instant."""
    return SystemClock().now()


def need_of(
    discipline: Discipline, days: int, origin: str, *, gender: str = "FEMALE", age_years: int = 84
) -> terms_pb2.Need:
    """A patient's need for a bed in so many days, open-ended, counted from a house."""
    day = (now().astimezone(ZONE) + timedelta(days=days)).date()
    need = terms_pb2.Need(
        discipline=terms_pb2.Discipline.Value(f"DISCIPLINE_{discipline.name}"),
        gender=terms_pb2.Gender.Value(f"GENDER_{gender}"),
        age_years=age_years,
        origin=f"establishments/{origin}",
    )
    need.arrival_earliest.FromDatetime(datetime.combine(day, DAY_BEGINS, ZONE).astimezone(UTC))
    need.arrival_latest.FromDatetime(datetime.combine(day, DAY_ENDS, ZONE).astimezone(UTC))
    return need


def target(unit: str, *, hold: bool) -> request_pb2.AskTarget:
    """Whom to ask, and how."""
    mode = terms_pb2.MODE_HOLD if hold else terms_pb2.MODE_ASK
    return request_pb2.AskTarget(reservation_id=str(uuid4()), unit=unit, mode=mode)


def finess_of(name: str) -> str:
    """The FINESS in a resource name."""
    return name.split("/")[1]


def available(unit: availability_pb2.Unit) -> int:
    """R330 02 now, all genders."""
    return count(unit, availability_pb2.CAPACITY_STATUS_AVAILABLE)


def heard(one: request_pb2.Ask) -> bool:
    """Whether its node has spoken of it, or will never."""
    return one.delivery in (request_pb2.Ask.DELIVERY_ANSWERED, request_pb2.Ask.DELIVERY_REFUSED)


def in_state(one: request_pb2.Ask, state: str) -> bool:
    """Whether its node last said that state."""
    return one.HasField("known") and one.known.state == reservation_pb2.Reservation.State.Value(f"STATE_{state}")


def settled_after(told: request_pb2.Request) -> Callable[[request_pb2.Request], bool]:
    """Whether a confirmation is answered, and nothing is live but the confirmed reservation."""

    def settled(request: request_pb2.Request) -> bool:
        if request.revision < told.revision or request.state == request_pb2.Request.STATE_CONFIRMING:
            return False
        return all(one.reservation == request.subject or in_state(one, "RELEASED") for one in request.asks)

    return settled
