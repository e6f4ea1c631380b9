"""Scenario 11: who may call what, dialled. Every RPC that a server reflects, by every kind of caller of the table, each
with a right certificate, another house's, none, an expired one, and one of another territory. A method that the table
lacks, or that the table has and nobody serves, fails here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from aval.adapters.demo.building import CELL
from aval.adapters.demo.processes import Territory
from aval.adapters.dial import Caller, Line
from aval.adapters.pki import Authority, init_authority, issue, load_authority
from aval.adapters.wire import refusal_of
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
    hub_dns_name,
    node_dns_name,
)
from aval.kernel.identity import Territory as Name
from aval.kernel.reasons import Reason
from tests.scenarios.town import NEIGHBOUR, SMR

STRANGERS = {Reason.METHOD_NOT_ALLOWED, Reason.NOT_YOUR_ESTABLISHMENT, Reason.OTHER_TERRITORY}
"""What the gate answers to an identity that it knows and does not let in."""

CALL_SECONDS = 10.0

STANDARD_PREFIXES = ("/grpc.health.", "/grpc.reflection.")


@dataclass(frozen=True)
class Method:
    """An RPC as a server reflects it."""

    path: str
    streams_in: bool
    streams_out: bool


def callers(name: Name, house: FinessET) -> dict[CallerKind, Identity]:
    """One identity of each kind, those of establishments of that house."""
    return {
        CallerKind.HUB_REPLICA: HubReplica(name, 1),
        CallerKind.HUB_OPERATOR: HubOperator(name, CELL),
        CallerKind.HUB_DESK: HubDesk(name),
        CallerKind.NODE: Node(name, house),
        CallerKind.STAFF: Staff(name, house, "essai"),
        CallerKind.ADAPTER: Adapter(name, house, "essai"),
        CallerKind.ESTABLISHMENT_DESK: EstablishmentDesk(name, house),
    }


@pytest.fixture
def authority(town: Territory) -> Authority:
    """The town's own."""
    return load_authority(town.folder / "pki")


@pytest.fixture(params=list(Server))
def server(request: pytest.FixtureRequest) -> Server:
    """A node, then the hub."""
    found: Server = request.param
    return found


def place(town: Territory, server: Server) -> tuple[str, str]:
    """Where a server listens, and the DNS name in its certificate."""
    name = Name(town.file.territory)
    if server is Server.HUB:
        return town.hub.address, hub_dns_name(name)
    return town.node(SMR).address, node_dns_name(name, FinessET(SMR))


async def reflected(line: Line) -> list[Method]:
    """Every RPC of every service that a server names."""
    stub = reflection_pb2_grpc.ServerReflectionStub(line.channel)

    async def asks(*requests: reflection_pb2.ServerReflectionRequest) -> AsyncIterator[object]:
        for one in requests:
            yield one

    async def answer(one: reflection_pb2.ServerReflectionRequest) -> reflection_pb2.ServerReflectionResponse:
        call = stub.ServerReflectionInfo(asks(one))
        async for response in call:
            found: reflection_pb2.ServerReflectionResponse = response
            return found
        raise AssertionError("no answer")

    listed = await answer(reflection_pb2.ServerReflectionRequest(list_services=""))
    methods: list[Method] = []
    for service in listed.list_services_response.service:
        named = await answer(reflection_pb2.ServerReflectionRequest(file_containing_symbol=service.name))
        for encoded in named.file_descriptor_response.file_descriptor_proto:
            methods += _methods_in(FileDescriptorProto.FromString(encoded), service.name)
    return methods


def _methods_in(file: FileDescriptorProto, service_name: str) -> Iterator[Method]:
    for service in file.service:
        if f"{file.package}.{service.name}" == service_name:
            for method in service.method:
                path = f"/{service_name}/{method.name}"
                yield Method(path, method.client_streaming, method.server_streaming)


async def dialled(channel: Any, method: Method) -> Reason | str | None:
    """The reason of a call with an empty message; the status where there is none; None for an answer."""

    async def nothing() -> AsyncIterator[bytes]:
        for message in list[bytes]():
            yield message

    try:
        if method.streams_out:
            make = channel.stream_stream if method.streams_in else channel.unary_stream
            call = make(method.path)(nothing() if method.streams_in else b"", timeout=CALL_SECONDS)
            try:
                await call.read()
            finally:
                call.cancel()
        elif method.streams_in:
            await channel.stream_unary(method.path)(nothing(), timeout=CALL_SECONDS)
        else:
            await channel.unary_unary(method.path)(b"", timeout=CALL_SECONDS)
    except grpc.aio.AioRpcError as error:
        refusal = refusal_of(error)
        return refusal.reason if refusal.reason_text else refusal.code
    return None


async def test_11a_every_method_is_let_in_exactly_where_the_table_says(
    town: Territory, authority: Authority, server: Server, tmp_path: Path
) -> None:
    """Right certificates: each kind of caller gets past the gate of each method if, and only if, its line says so."""
    address, authority_name = place(town, server)
    identities = callers(authority.territory, FinessET(SMR))
    async with Caller(_bundle(tmp_path / "one", authority, identities[CallerKind.STAFF])) as one:
        methods = await reflected(one.line(address, authority_name))
    table = ACCESS[server]
    standard = {path for path in table if path.startswith(STANDARD_PREFIXES)}
    assert {method.path for method in methods} | standard == set(table) | standard, "table and servers differ"
    wrong = []
    for kind, identity in identities.items():
        async with Caller(_bundle(tmp_path / kind.value, authority, identity)) as caller:
            channel = caller.line(address, authority_name).channel
            for method in methods:
                if method.path.startswith("/grpc.reflection."):
                    continue
                answer = await dialled(channel, method)
                if (answer not in STRANGERS) != (kind in table[method.path]):
                    wrong.append(f"{kind.value} {method.path}: {answer}")
    assert not wrong, "\n".join(wrong)


async def test_11b_another_house_is_a_stranger_at_a_node(town: Territory, authority: Authority, tmp_path: Path) -> None:
    """What belongs to another establishment has no business at a node, whatever its kind."""
    address, authority_name = place(town, Server.NODE)
    for kind, identity in callers(authority.territory, FinessET(NEIGHBOUR)).items():
        if identity.establishment is None:
            continue
        async with Caller(_bundle(tmp_path / kind.value, authority, identity)) as caller:
            channel = caller.line(address, authority_name).channel
            for path in ACCESS[Server.NODE]:
                if path.startswith("/aval.") and path.rsplit("/", 1)[-1] in ("GetEstablishment", "ListBeds"):
                    answer = await dialled(channel, Method(path, streams_in=False, streams_out=False))
                    assert answer is Reason.NOT_YOUR_ESTABLISHMENT, (kind, path, answer)


async def test_11c_an_expired_certificate_and_another_territory_s_open_nothing(
    town: Territory, authority: Authority, server: Server, tmp_path: Path
) -> None:
    """TLS refuses them in the handshake: no RPC is reached."""
    address, authority_name = place(town, server)
    now = datetime.now(UTC)
    elsewhere = init_authority(tmp_path / "elsewhere", Name("ailleurs.aval.internal"), now)
    trust = authority.trust_pem
    for kind, identity in callers(authority.territory, FinessET(SMR)).items():
        old = issue(authority, identity, now, not_before=now - timedelta(days=2), not_after=now - timedelta(days=1))
        theirs = issue(elsewhere, type(identity)(elsewhere.territory, *_rest(identity)), now)
        for bundle in (old, theirs):
            credentials = grpc.ssl_channel_credentials(trust, bundle.key_pem, bundle.chain_pem)
            options = (("grpc.default_authority", authority_name),)
            async with grpc.aio.secure_channel(address, credentials, options) as channel:
                for path in ("/aval.v1.AvailabilityService/ListUnits", "/grpc.health.v1.Health/Check"):
                    answer = await dialled(channel, Method(path, streams_in=False, streams_out=False))
                    assert answer == "UNAVAILABLE", (kind, path, answer)


async def test_11d_without_a_certificate_nothing_opens(town: Territory, server: Server) -> None:
    """There is no anonymous caller, and no plain text."""
    address, authority_name = place(town, server)
    credentials = grpc.ssl_channel_credentials((town.person(CELL) / "trust.pem").read_bytes())
    options = (("grpc.default_authority", authority_name),)
    async with (
        grpc.aio.secure_channel(address, credentials, options) as nobody,
        grpc.aio.insecure_channel(address, options) as plain,
    ):
        for channel in (nobody, plain):
            for path in ("/aval.v1.AvailabilityService/ListUnits", "/grpc.health.v1.Health/Check"):
                assert await dialled(channel, Method(path, streams_in=False, streams_out=False)) == "UNAVAILABLE"


def _bundle(folder: Path, authority: Authority, identity: Identity) -> Path:
    issue(authority, identity, datetime.now(UTC)).write(folder)
    return folder


def _rest(identity: Identity) -> tuple[object, ...]:
    """What an identity holds beside its territory."""
    return tuple(getattr(identity, name) for name in type(identity).__dataclass_fields__ if name != "territory")
