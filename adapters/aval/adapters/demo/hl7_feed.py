"""A house whose administration speaks HL7 v2: its day as PAM.FR messages, over MLLP and TLS, to its own interface.

Each message waits for its acknowledgement, and is sent again until it is accepted. Beds that close and open are no
matter of patients' administration: the house's staff tell them. Cleaning is not told at all, and the mapping says so.
SIMULATION: no patient of this module exists, and each is called so.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import grpc

from aval.adapters.demo.coming import Coming
from aval.adapters.demo.declaring import CALL_SECONDS, PERSON_SOURCE
from aval.adapters.demo.feed import wire
from aval.adapters.demo.generator import Kind, Movement, movements
from aval.adapters.hl7v2.sending import Sender, Unanswered, code_of
from aval.adapters.territory import HousePlan
from aval.kernel.clock import Clock
from aval.kernel.statuses import Counting, Gender
from aval.v1 import census_pb2, census_pb2_grpc

RETRY_AFTER = timedelta(seconds=0.5)
"""Between two tries to reach the interface: it starts while we do."""

PROCESSING = "T"
"""MSH-11: training. The interface of the demonstration takes it, one in service would refuse it."""

EVENTS = {
    Kind.ADMISSION: ("A01", "ADT_A01", "INSERT"),
    Kind.TRANSFER: ("A02", "ADT_A02", "INSERT"),
    Kind.DISCHARGE: ("A03", "ADT_A03", "INSERT"),
    Kind.LEAVE: ("A21", "ADT_A21", "INSERT"),
    Kind.LEAVE_RETURN: ("A22", "ADT_A21", "INSERT"),
    Kind.CANCELLATION: ("A11", "ADT_A09", "CANCEL"),
    Kind.DEPARTURE_ANNOUNCED: ("A16", "ADT_A16", "INSERT"),
    Kind.ARRIVAL_EXPECTED: ("A05", "ADT_A05", "INSERT"),
}
"""Movements that patients' administration tells: trigger event, structure, ZBE-4."""

_GENDERS = {Gender.FEMALE: "F", Gender.MALE: "M"}


class Hl7Feed:
    """One house at work, as `Feed`. `port`: of the interface on loopback; `tls`: the bundle of who sends."""

    def __init__(
        self, port: int, tls: Path, staff: grpc.aio.Channel, house: HousePlan, seed: int, start: datetime, clock: Clock
    ) -> None:
        self._port = port
        self._tls = tls
        self._census = census_pb2_grpc.CensusServiceStub(staff)
        self._house = house
        self._seed = seed
        self._start = start
        self._clock = clock
        self._sequence = 0
        self.fates: Counter[str] = Counter()
        self.caught_up = asyncio.Event()

    async def run(self, until: datetime) -> None:
        """Feeds the node up to an instant. An interface or a node that is away is tried again for ever."""
        coming = Coming(movements(self._house, self._seed, self._start, until), self._clock.now())
        while True:
            with suppress(OSError, Unanswered):
                async with Sender("127.0.0.1", self._port, self._tls) as line:
                    await self._speak(line, coming)
                    await self._reach(until)
                    return
            await self._pause(RETRY_AFTER)

    async def _speak(self, line: Sender, coming: Coming) -> None:
        """All that comes, on one connection: what was not acknowledged is said first on the next."""
        while (movement := coming.next) is not None:
            self._note_caught_up(coming)
            await self._reach(movement.time)
            if movement.kind in (Kind.BED_CLOSED, Kind.BED_OPENED):
                await self._by_staff(movement)
            elif movement.kind in EVENTS:
                code = code_of(await line.send(message_of(self._house, self._seed, movement)))
                if code == "AE":
                    await self._pause(RETRY_AFTER)
                    continue
                self.fates[code] += 1
            coming.advance()
        self._note_caught_up(coming)

    def _note_caught_up(self, coming: Coming) -> None:
        if coming.is_caught_up:
            self.caught_up.set()

    async def _by_staff(self, movement: Movement) -> None:
        self._sequence += 1
        told = wire(self._house, movement, f"{self._seed}-staff", self._sequence, PERSON_SOURCE)
        while True:
            call = self._census.ApplyMovements(timeout=CALL_SECONDS)
            try:
                await call.write(census_pb2.ApplyMovementsRequest(movement=told))
                answer = await call.read()
                if isinstance(answer, census_pb2.ApplyMovementsResponse):
                    return
            except grpc.aio.AioRpcError:
                pass  # the node is away; the same movement is said again
            finally:
                call.cancel()
            await self._pause(RETRY_AFTER)

    async def _pause(self, length: timedelta) -> None:
        await self._clock.sleep_until(self._clock.monotonic() + length.total_seconds())

    async def _reach(self, instant: datetime) -> None:
        if (left := instant - self._clock.now()) > timedelta(0):
            await self._pause(left)


def message_of(house: HousePlan, seed: int, movement: Movement) -> bytes:
    """A movement of `EVENTS` as a message."""

    def stamp(instant: datetime) -> str:
        return instant.astimezone(ZoneInfo(house.time_zone)).strftime("%Y%m%d%H%M%S%z")

    event, structure, action = EVENTS[movement.kind]
    at = stamp(movement.time)
    number = movement.cancels if movement.kind is Kind.CANCELLATION else movement.number
    original = "A01" if movement.kind is Kind.CANCELLATION else ""
    planned = "" if movement.planned is None else stamp(movement.planned)
    arrival = planned if movement.kind is Kind.ARRIVAL_EXPECTED else ""
    departure = planned if movement.kind is Kind.DEPARTURE_ANNOUNCED else ""
    returns = planned if movement.kind is Kind.LEAVE else ""
    place = f"{movement.unit}^^{movement.bed}".rstrip("^")
    visit = ["", "I", place, "R", *[""] * 14, f"{movement.stay_key}^^^SIM^VN"]
    planning = [*[""] * 7, arrival, departure, *[""] * 37, returns]
    control = f"{seed}-{movement.number}"
    version = f"{PROCESSING}|2.5^FRA^2.11|||||FRA|UNICODE UTF-8"
    segments = (
        f"MSH|^~\\&|SIMULATION|{house.finess}|AVAL|AVAL|{at}||ADT^{event}^{structure}|{control}|{version}",
        f"EVN||{at}||||{at}",
        f"PID|1||{movement.stay_key}^^^SIM^PI||SIMULATION^PATIENT^^^^^D|||{_GENDERS.get(movement.gender, 'U')}",
        f"PV1|{'|'.join(visit)}",
        f"PV2|{'|'.join(planning)}",
        f"ZBE|{number}^SIM|{at}||{action}|N|{original}|^^^^^SIM^UF^^^{movement.unit}||HMS",
    )
    return ("\r".join(segments) + "\r").encode()


def hl7_mapping(house: HousePlan) -> str:
    """The interface's mapping for such a house: its codes are the node's own."""
    rows = [
        f'[[unit]]\ncodes = ["{unit.code}"]\nunit = "{unit.code}"\n'
        + ('bed = "{bed}"\n' if unit.counting is Counting.BEDS else "")
        for unit in house.units
    ]
    return "clean_after_departure = false\n\n" + "\n".join(rows)
