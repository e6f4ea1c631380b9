"""A server of AvailabilityService for these tests, without certificates: its units are what the test puts there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import grpc

from aval.adapters.dial import Line
from aval.v1 import availability_pb2, availability_pb2_grpc
from tests.adapters.fhir.units import NOW, establishment

A = availability_pb2
PAGE = 2
"""Small, so that pages are turned."""


@dataclass
class Clock:
    """Time that passes when a test says so."""

    at: datetime = NOW
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    async def sleep_until(self, monotonic: float) -> None:
        self.slept.append(monotonic - self.monotonic())
        await asyncio.Event().wait()

    def forward(self, by: timedelta) -> None:
        self.at += by


class Serving(availability_pb2_grpc.AvailabilityServiceServicer):
    """What it serves can be changed at any time; `tell` wakes those who watch."""

    def __init__(self) -> None:
        self.units: dict[str, A.Unit] = {}
        self.houses: dict[str, A.Establishment] = {}
        self.lists = 0
        self.broken = False
        self._changed = asyncio.Event()

    def put(self, *units: A.Unit) -> None:
        for one in units:
            self.units[one.name] = one
            house = "/".join(one.name.split("/")[:2])
            self.houses.setdefault(house, establishment(house))

    def tell(self) -> None:
        self._changed.set()

    async def ListUnits(self, request: A.ListUnitsRequest, context: Any) -> A.ListUnitsResponse:
        self.lists += 1
        if self.broken:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
        names = sorted(self.units)
        start = int(request.page_token or 0)
        token = str(start + PAGE) if start + PAGE < len(names) else ""
        return A.ListUnitsResponse(units=[self.units[n] for n in names[start : start + PAGE]], next_page_token=token)

    async def ListEstablishments(
        self, request: A.ListEstablishmentsRequest, context: Any
    ) -> A.ListEstablishmentsResponse:
        return A.ListEstablishmentsResponse(establishments=[self.houses[name] for name in sorted(self.houses)])

    async def GetEstablishment(self, request: A.GetEstablishmentRequest, context: Any) -> A.Establishment:
        return self.houses[request.name]

    async def WatchAvailability(
        self, request: A.WatchAvailabilityRequest, context: Any
    ) -> AsyncIterator[A.WatchAvailabilityResponse]:
        yield A.WatchAvailabilityResponse(snapshot=A.Snapshot(part=1, last_part=True))
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield A.WatchAvailabilityResponse(change=A.Change(part=1, last_part=True))


@asynccontextmanager
async def serving(served: Serving) -> AsyncIterator[Line]:
    """A line to it."""
    server = grpc.aio.server()
    availability_pb2_grpc.add_AvailabilityServiceServicer_to_server(served, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Line(channel)
    finally:
        await server.stop(0)
