"""Every RPC of the contract, dialled with every identity: the table says who, and nobody else gets through.

The servers have every method of the contract that their table names a service of, found by reflection as a stranger
would. A handler that is reached answers with a refusal of its own, so "reached" and "refused before" cannot be
mistaken.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from aval.adapters.telemetry import Telemetry
from aval.adapters.wire import Credentials
from aval.kernel.access import ACCESS, Server
from aval.kernel.finess import FinessET
from aval.kernel.identity import (
    Adapter,
    CallerKind,
    EstablishmentDesk,
    HubDesk,
    HubOperator,
    HubReplica,
    Identity,
    Node,
    Staff,
    Territory,
)
from aval.kernel.reasons import Reason, Refusal
from aval.v1 import (
    availability_pb2,
    census_pb2,
    link_pb2,
    membership_pb2,
    request_pb2,
    reservation_pb2,
    territory_pb2,
)
from tests.adapters.wire.house import HERE, HOUR, HUB, LUNEVILLE, NANCY, NODE, THERE, Client, House, clock, refusal
from tests.waiting import PATIENCE_SECONDS

REACHED = Reason.NOTE_NOT_FOUND
"""What a handler answers that has been reached; the gate never does."""

FILES = (availability_pb2, census_pb2, link_pb2, membership_pb2, request_pb2, reservation_pb2, territory_pb2)

STANDARD = ("/grpc.health.", "/grpc.reflection.")
"""gRPC's own services, open to every identity."""


def services() -> Iterator[ServiceDescriptor]:
    """The contract's services."""
    for file in FILES:
        yield from file.DESCRIPTOR.services_by_name.values()


def path(method: MethodDescriptor) -> str:
    """The method as gRPC names it."""
    return f"/{method.containing_service.full_name}/{method.name}"


def served_by(server: Server) -> list[ServiceDescriptor]:
    """The services of which the table names a method at that server."""
    named = {method.split("/")[1] for method in ACCESS[server]}
    return [service for service in services() if service.full_name in named]


def test_the_table_has_every_method_of_the_contract_and_no_other() -> None:
    """An RPC that is added to the contract and not to the table fails here."""
    contract = {path(method) for service in services() for method in service.methods}
    table = {method for methods in ACCESS.values() for method in methods if not method.startswith(STANDARD)}
    assert contract == table


def everyone(territory: Territory, finess: FinessET) -> dict[CallerKind, Identity]:
    """One identity of each kind that has one."""
    found: list[Identity] = [
        HubReplica(territory, 2),
        HubOperator(territory, "lea"),
        HubDesk(territory),
        Node(territory, finess),
        Staff(territory, finess, "marie"),
        Adapter(territory, finess, "dpi"),
        EstablishmentDesk(territory, finess),
    ]
    return {identity.kind: identity for identity in found}


def reached(streams_in: bool, streams_out: bool) -> grpc.RpcMethodHandler[Any, Any]:
    """A handler of that shape."""

    async def one(_request: Any, _context: Any) -> bytes:
        raise Refusal(REACHED)

    async def many(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield await one(request, context)

    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[streams_in, streams_out]
    handler: grpc.RpcMethodHandler[Any, Any] = make(many if streams_out else one)
    return handler


@dataclass(frozen=True)
class Method:
    """A method as reflection tells it."""

    path: str
    streams_in: bool
    streams_out: bool

    async def call(self, client: Client) -> Reason:
        """What an empty call is refused with."""
        sides = ("unary", "stream")
        callable_ = getattr(client.channel, f"{sides[self.streams_in]}_{sides[self.streams_out]}")(self.path)
        if self.streams_in:
            call = callable_()
            with contextlib.suppress(grpc.aio.InternalError, asyncio.InvalidStateError):
                await call.done_writing()  # raises these where the connection is refused; the status tells
        elif self.streams_out:
            call = callable_(b"")
        else:
            call = callable_(b"", timeout=PATIENCE_SECONDS)
        return (await refusal(call.read() if self.streams_out else call)).reason


async def reflected(client: Client) -> list[Method]:
    """Every method that the server says it has, but for gRPC's own."""
    call = reflection_pb2_grpc.ServerReflectionStub(client.channel).ServerReflectionInfo()

    async def ask(**request: str) -> Any:
        await call.write(reflection_pb2.ServerReflectionRequest(**request))
        return await call.read()

    found = []
    for service in (await ask(list_services="")).list_services_response.service:
        if f"/{service.name}".startswith(STANDARD):
            continue
        answer = await ask(file_containing_symbol=service.name)
        for encoded in answer.file_descriptor_response.file_descriptor_proto:
            file = FileDescriptorProto.FromString(encoded)
            for described in file.service:
                if f"{file.package}.{described.name}" == service.name:
                    found += [
                        Method(f"/{service.name}/{one.name}", one.client_streaming, one.server_streaming)
                        for one in described.method
                    ]
    await call.done_writing()
    return found


@pytest.mark.parametrize("server", list(Server))
async def test_every_rpc_with_every_identity(
    house: House, tmp_path: Path, server: Server, figure: Callable[[str], None]
) -> None:
    """Right house, wrong house, declared other territory: each kind at each method."""
    stranger = House.of(tmp_path, THERE)
    trust = tmp_path / "trust-of-the-other.pem"
    trust.write_bytes(stranger.authority.trust_pem)
    identity = NODE if server is Server.NODE else HUB
    credentials = Credentials(house.bundle(identity), clock, Telemetry(clock), {THERE: trust})
    serving = await house.server(identity, credentials=credentials, services=handlers_of(server))
    methods = await reflected(house.channel(serving, HUB))
    assert {method.path for method in methods} == {
        path(method) for service in served_by(server) for method in service.methods
    }
    table = ACCESS[server]
    allowed = refused = 0
    for territory, finess in ((HERE, NANCY), (HERE, LUNEVILLE), (THERE, NANCY)):
        origin = house if territory == HERE else stranger
        for kind, caller in everyone(territory, finess).items():
            client = house.raw_channel(serving, origin.certificate(caller))
            for method in methods:
                if territory == THERE and kind is not CallerKind.HUB_REPLICA:
                    expected = Reason.OTHER_TERRITORY
                elif server is Server.NODE and caller.establishment not in (None, NANCY):
                    expected = Reason.NOT_YOUR_ESTABLISHMENT
                else:
                    seen_as = CallerKind.FOREIGN_HUB if territory == THERE else kind
                    may = seen_as in table.get(method.path, frozenset())
                    expected = REACHED if may else Reason.METHOD_NOT_ALLOWED
                assert await method.call(client) is expected, f"{caller} at {method.path}"
                allowed += expected is REACHED
                refused += expected is not REACHED
    figure(
        f"{server.value}: {len(methods)} RPCs with 21 identities: {allowed} reached as the table says, {refused} not"
    )


@pytest.mark.parametrize("server", list(Server))
async def test_no_rpc_without_a_good_certificate(house: House, tmp_path: Path, server: Server) -> None:
    """None, expired, of another territory that is not declared: not one method is reached."""
    identity = NODE if server is Server.NODE else HUB
    serving = await house.server(identity, services=handlers_of(server))
    methods = await reflected(house.channel(serving, HUB))
    now = clock.now()
    for kind, caller in everyone(HERE, NANCY).items():
        shown = [
            house.certificate(caller, first=now - HOUR, last=now - timedelta(seconds=1)),
            House.of(tmp_path / kind, THERE).certificate(everyone(THERE, NANCY)[kind]),
        ]
        for certificate in shown:
            client = house.raw_channel(serving, certificate)
            for method in methods:
                assert await method.call(client) is Reason.NODE_UNREACHABLE
    nobody = house.raw_channel(serving, None)
    for method in methods:
        assert await method.call(nobody) is Reason.NODE_UNREACHABLE
    assert serving.refused(REACHED) == 0


def handlers_of(server: Server) -> dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]]:
    """Service → method → a handler of its shape."""
    return {
        service.full_name: {
            method.name: reached(method.client_streaming, method.server_streaming) for method in service.methods
        }
        for service in served_by(server)
    }
