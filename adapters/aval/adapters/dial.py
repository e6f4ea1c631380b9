"""Lines to the servers of a territory, for one caller: with this the command line, the demo and the tests call.

A `Caller` is an identity (its bundle) that dials; a `Line` is a channel to one server with the stubs of all services.
`ask` makes one unary call and raises the refusal that came back instead of gRPC's own error.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2_grpc

from aval.adapters.clock import SystemClock, SystemRng
from aval.adapters.telemetry import Telemetry
from aval.adapters.wire import Credentials, PeerChannel, hub_service_config, refusal_of
from aval.kernel.clock import Clock, Rng
from aval.kernel.finess import FinessET
from aval.kernel.identity import Identity, hub_dns_name, node_dns_name
from aval.v1 import (
    availability_pb2,
    availability_pb2_grpc,
    census_pb2_grpc,
    link_pb2_grpc,
    membership_pb2_grpc,
    request_pb2_grpc,
    reservation_pb2_grpc,
    territory_pb2_grpc,
)

CALL_SECONDS = 10.0
"""How long one call may take: a person waits no longer, and a busy hub answers in tenths."""

PAGE_SIZE = 1_000
"""Items of a page: the most that the contract gives at once (CONTRACT 28)."""

Asked = TypeVar("Asked", bound=Message)
Answered = TypeVar("Answered", bound=Message)


class _Listing(Protocol):
    page_size: int
    page_token: str


class _Page(Protocol):
    next_page_token: str


Listing = TypeVar("Listing", bound=_Listing)
Page = TypeVar("Page", bound=_Page)


class Line:
    """A channel to one server, with the stubs of the services that it may serve."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.availability = availability_pb2_grpc.AvailabilityServiceStub(channel)
        self.census = census_pb2_grpc.CensusServiceStub(channel)
        self.link = link_pb2_grpc.LinkServiceStub(channel)
        self.membership = membership_pb2_grpc.MembershipServiceStub(channel)
        self.requests = request_pb2_grpc.RequestServiceStub(channel)
        self.reservations = reservation_pb2_grpc.ReservationServiceStub(channel)
        self.territory = territory_pb2_grpc.TerritoryServiceStub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)


class Caller:
    """One identity that dials. Made and used within a running event loop; `close` closes all its lines."""

    def __init__(self, bundle: Path, clock: Clock | None = None, rng: Rng | None = None) -> None:
        """Reads the bundle. Raises `BundleUnusable`."""
        clock = clock if clock is not None else SystemClock()
        self._rng: Rng = rng if rng is not None else SystemRng()
        self.credentials = Credentials(bundle, clock, Telemetry(clock))
        self._lines: dict[tuple[str, str], Line] = {}

    @property
    def identity(self) -> Identity:
        """Who calls."""
        return self.credentials.identity

    def hub(self, address: str) -> Line:
        """The line to the hub of the caller's territory."""
        return self.line(address, hub_dns_name(self.identity.territory), hub_service_config())

    def node(self, address: str, finess: str) -> Line:
        """The line to the node of an establishment of the caller's territory."""
        return self.line(address, node_dns_name(self.identity.territory, FinessET(finess)))

    def line(self, address: str, authority: str, service_config: str | None = None) -> Line:
        """The line to any server, by the DNS name in its certificate; the same line for the same pair."""
        line = self._lines.get((address, authority))
        if line is None:
            channel = PeerChannel(self.credentials, self._rng, address, authority, service_config)
            line = self._lines[address, authority] = Line(channel)
        return line

    async def close(self) -> None:
        """Closes all lines."""
        for line in self._lines.values():
            await line.channel.close()
        self._lines.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def ask(
    method: "grpc.aio.UnaryUnaryMultiCallable[Asked, Answered]", request: Asked, seconds: float = CALL_SECONDS
) -> Answered:
    """The answer to one call. Raises `RemoteRefusal`."""
    try:
        return await method(request, timeout=seconds)
    except grpc.aio.AioRpcError as error:
        raise refusal_of(error) from error


async def pages(call: Callable[[Listing], Awaitable[Page]], request: Listing) -> AsyncIterator[Page]:
    """All pages of a list, each asked for by `call`, whose refusals it raises."""
    request.page_size = PAGE_SIZE
    while True:
        page = await call(request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def every_unit(line: Line, parent: str = "establishments/-") -> list[availability_pb2.Unit]:
    """All units that a server shows of an establishment, or of all. Raises `RemoteRefusal`."""
    listed = pages(partial(ask, line.availability.ListUnits), availability_pb2.ListUnitsRequest(parent=parent))
    return [unit async for page in listed for unit in page.units]


async def every_establishment(line: Line) -> list[availability_pb2.Establishment]:
    """All establishments that a server shows. Raises `RemoteRefusal`."""
    listed = pages(partial(ask, line.availability.ListEstablishments), availability_pb2.ListEstablishmentsRequest())
    return [one async for page in listed for one in page.establishments]


async def follow(
    method: "grpc.aio.UnaryStreamMultiCallable[Asked, Answered]", request: Asked
) -> AsyncIterator[Answered]:
    """The messages of one stream, until the server ends it; leaving it cancels it. Raises `RemoteRefusal`."""
    call = method(request)
    try:
        async for message in call:
            yield message
    except grpc.aio.AioRpcError as error:
        raise refusal_of(error) from error
    finally:
        call.cancel()
