"""A simulated territory for directed traces: each act is done when asked, and the wire is slowed where told."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import grpc

from aval.adapters.wire.errors import refusal_of
from aval.kernel.finess import FinessET
from aval.kernel.identity import Adapter
from aval.v1 import census_pb2 as cs
from aval.v1 import census_pb2_grpc
from aval.v1 import request_pb2 as rq
from aval.v1 import reservation_pb2 as rs
from aval.v1 import terms_pb2 as tm
from tests.simulation.books import Fact, when
from tests.simulation.checker import request_of
from tests.simulation.compose import NodeParts, logs_in
from tests.simulation.mishaps import Backup
from tests.simulation.people import HOUSES, People, T, address_of, bed_name, length, stamp, unit_name
from tests.simulation.simulation import Simulation
from tests.simulation.wire import EXCHANGE, Carried

A, B, C = HOUSES

WATCH = "/aval.v1.AvailabilityService/WatchAvailability"


class Refused(Exception):
    """A call was refused; `reason` is its name."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Stage:
    """A territory without faults but those that a trace makes."""

    def __init__(self, seed: int = 1, simulation: Simulation | None = None) -> None:
        self.simulation = simulation or Simulation(seed, faulty=False)
        self.people: People = self.simulation.people
        self.network = self.simulation.network
        self.checker = self.simulation.checker
        self._chance = random.Random(seed)

    def go(self, seconds: float = 1.0) -> None:
        """Lets time pass. Raises `Violation` where an invariant breaks."""
        self.simulation.go(seconds)

    def _call(self, stub: Any, method: str, message: Any) -> Any:
        async def one() -> Any:
            return await getattr(stub, method)(message, timeout=50.0)

        return self._done(one())

    def _done(self, deed: Coroutine[Any, Any, Any]) -> Any:
        task = self.people.process.spawn(deed)
        while not task.done():
            self.go(0.05)
        try:
            return task.result()
        except grpc.aio.AioRpcError as error:
            raise Refused(refusal_of(error).reason_text) from error

    # The requester

    def request(self, *asks: tuple[str, str, tm.Mode.ValueType], days: int = 10) -> tuple[str, list[str]]:
        """A request that asks (house, unit, mode); its name and those of its reservations."""
        ids = [self.people.uuid(self._chance) for _ in asks]
        need = tm.Need(
            discipline=tm.DISCIPLINE_SMR_GERIATRIC,
            gender=tm.GENDER_ANY,
            age_years=80,
            arrival_earliest=stamp(self.people.now() + timedelta(hours=1)),
            arrival_latest=stamp(self.people.now() + timedelta(hours=20)),
            stay_max=length(86_400 * days),
        )
        message = rq.CreateRequestRequest(
            request_id=self.people.uuid(self._chance),
            need=need,
            urgency=tm.URGENCY_TODAY,
            ready_since=stamp(self.people.now()),
            on_behalf_of=f"establishments/{A}",
            asks=[
                rq.AskTarget(reservation_id=one, unit=unit_name(house, unit), mode=mode)
                for one, (house, unit, mode) in zip(ids, asks, strict=True)
            ],
        )
        name = self._call(self.people.at_hub(), "CreateRequest", message).name
        return name, [
            f"establishments/{house}/reservations/{one}" for one, (house, _, _) in zip(ids, asks, strict=True)
        ]

    def ask(self, name: str, house: str, unit: str) -> str:
        """One more house is asked; the name of that reservation."""
        one = self.people.uuid(self._chance)
        target = rq.AskTarget(reservation_id=one, unit=unit_name(house, unit), mode=tm.MODE_ASK)
        self.regulator("AskEstablishments", name, rq.AskEstablishmentsRequest, asks=[target])
        return f"establishments/{house}/reservations/{one}"

    def regulator(self, method: str, name: str, kind: Any, **fields: Any) -> Any:
        """An act of the regulator on a request."""
        return self._call(
            self.people.at_hub(), method, kind(command_id=self.people.uuid(self._chance), name=name, **fields)
        )

    def census(self, method: str, house: str, message: Any) -> Any:
        """An act of a house's staff on its census."""
        message.command_id = self.people.uuid(self._chance)
        return self._call(self.people.census(house), method, message)

    def comes(self, house: str, unit: str, bed: str, *, reference: str = "") -> Any:
        """The house's system tells that a patient has come; `reference`: of which reservation, if it says so."""
        movement = cs.Movement(movement_id=self.people.uuid(self._chance), source_id="sih", stay_key="s1")
        movement.admission.unit, movement.admission.reservation = unit_name(house, unit), reference
        movement.admission.bed, movement.admission.gender = bed_name(house, unit, bed), tm.GENDER_ANY
        who = Adapter(T, FinessET(house), "sih")
        stub = self.people.stub(census_pb2_grpc.CensusServiceStub, who, address_of(house))

        async def tell() -> Any:
            call = stub.ApplyMovements()
            await call.write(cs.ApplyMovementsRequest(movement=movement))
            await call.done_writing()
            return [answer async for answer in call]

        return self._done(tell())

    def hours_from_now(self, hours: float) -> Any:
        """An instant on the wire."""
        return stamp(self.people.now() + timedelta(hours=hours))

    def confirm(self, name: str, reservation: str) -> Any:
        """Confirms what the hub knows to be offered."""
        tag = self.known(reservation)["offer"]["tag"]
        return self.regulator("ConfirmRequest", name, rq.ConfirmRequestRequest, reservation=reservation, offer_tag=tag)

    # The house

    def staff(self, method: str, reservation: str, kind: Any, **fields: Any) -> Any:
        """An act of the house's staff on a reservation."""
        stub = self.people.answers(reservation.split("/")[1])
        return self._call(stub, method, kind(command_id=self.people.uuid(self._chance), name=reservation, **fields))

    def accept(self, reservation: str) -> Any:
        """Grants a bed."""
        return self.staff("AcceptReservation", reservation, rs.AcceptReservationRequest, ttl=length(7200))

    def reoffer(self, reservation: str, hours: float) -> Any:
        """Offers another arrival."""
        arrival = self.hours_from_now(hours)
        return self.staff("ReofferReservation", reservation, rs.ReofferReservationRequest, arrival=arrival)

    def admit(self, reservation: str) -> Any:
        """The patient has come."""
        return self.staff("AdmitReservation", reservation, rs.AdmitReservationRequest)

    def cancel_admission(self, reservation: str) -> Any:
        """The patient has not come after all."""
        return self.staff("CancelReservationAdmission", reservation, rs.CancelReservationAdmissionRequest)

    # What is stored

    def file(self, name: str) -> Fact:
        """A request as the hub stored it."""
        return self.checker.files[name]

    def state(self, name: str) -> str:
        """A request's state."""
        return str(self.file(name)["request"].get("state", "OPEN"))

    def known(self, reservation: str) -> Fact:
        """A reservation as the hub knows it."""
        asks = (ask for file in self.checker.files.values() for ask in file["asks"])
        return next(ask.get("known") or {} for ask in asks if ask["reservation"] == reservation)

    def at_node(self, reservation: str) -> Fact:
        """A reservation as its node stored it; nothing if the node knows none."""
        _, house, _, one = reservation.split("/")
        facts = self.checker.house(house).of("reservation")
        return next((fact for key, fact in facts.items() if key.endswith(one)), {})

    def seconds_left(self, reservation: str) -> float:
        """Until a hold ends, by its node's time."""
        parts = self.simulation.sites[reservation.split("/")[1]].parts
        assert isinstance(parts, NodeParts)
        return (when(self.at_node(reservation)["expire_time"]) - parts.now()).total_seconds()

    # A node that is put back

    def back_up(self, house: str) -> Backup:
        """A copy of a node's machine, now."""
        self.simulation.mishaps.back_up()
        return self.simulation.sites[house].backups[-1]

    @contextmanager
    def put_back(self, house: str, backup: Backup) -> Iterator[None]:
        """A node runs again from that backup; while it lasts, its hub does not reach it."""
        with self.cut_off(house):
            self.simulation.mishaps.put_back(house, backup)
            while not self.simulation.sites[house].up:
                self.go(5.0)
            self.go(5.0)
            yield

    def put_hub_back(self, backup: Backup, *, by_command: bool) -> None:
        """The hub, or the hubs, run again from that backup."""
        self.simulation.mishaps.put_hub_back(backup, by_command=by_command)
        while not all(self.simulation.sites[key].up for key in self.simulation.hubs):
            self.go(5.0)
        self.go(200.0)

    # The wire

    @contextmanager
    def slow(self, method: str, seconds: float, *, to_server: bool) -> Iterator[None]:
        """While it lasts, messages of that method sent that way take so much longer."""
        self.network.lag[method, to_server] = seconds
        yield
        del self.network.lag[method, to_server]

    def slow_commands(self, seconds: float) -> Any:
        """Commands to nodes arrive late."""
        return self.slow(EXCHANGE, seconds, to_server=True)

    def slow_answers(self, seconds: float) -> Any:
        """Answers to commands arrive late, the watch does not."""
        return self.slow(EXCHANGE, seconds, to_server=False)

    def slow_watch(self, seconds: float) -> Any:
        """The hub hears late by the watch."""
        return self.slow(WATCH, seconds, to_server=False)

    @contextmanager
    def cut_off(self, house: str) -> Iterator[None]:
        """While it lasts, nothing passes between hub and house."""
        name = self.simulation.sites[house].name
        ways = (("hub", name), (name, "hub"))
        for way in ways:
            self.network.block(*way)
        yield
        for way in ways:
            self.network.heal(*way)

    def cut_watches(self) -> None:
        """The hub's watches of nodes end, and both sides know it soon."""
        for call in self.network.calls:
            if call.method == WATCH:
                call.sever(0.1, 0.1)

    def commands(self, verb: str) -> list[Carried]:
        """The commands of a verb that were carried to nodes, in order."""
        carried = (one for one in self.network.carried if one.method == EXCHANGE)
        return [one for one in carried if request_of(EXCHANGE, one.body).command.WhichOneof("verb") == verb]

    def again(self, carried: Carried) -> None:
        """The network brings a message a second time."""
        self.network.bring_again(carried)
        self.go(2.0)


@contextmanager
def stage(seed: int = 1, simulation: Simulation | None = None) -> Iterator[Stage]:
    """A stage that has begun; at the end everything is given time, and must agree."""
    made = Stage(seed, simulation)
    with logs_in(made.simulation.world):
        try:
            made.simulation.begin()
            yield made
            made.simulation.quieten()
            made.simulation.bring_everything_again()
        finally:
            made.simulation.world.close()
