"""A small territory for the tests of the wire: real certificates, a real server with a few methods, real channels.

The methods bear names of the contract, so that the access table applies; their messages are plain strings, so that
these tests do not depend on what the contract says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue

from aval.adapters.clock import SystemClock, SystemRng
from aval.adapters.pki import Authority, IssuedCertificate, issue, make_authority
from aval.adapters.telemetry import Telemetry
from aval.adapters.wire import Credentials, PeerChannel, PeerLimits, WireServer, current_caller, refusal_of
from aval.adapters.wire.errors import RemoteRefusal
from aval.adapters.wire.options import CONNECTIONS_MAX
from aval.adapters.wire.peers import DenyList
from aval.kernel.clock import Clock
from aval.kernel.finess import FinessET
from aval.kernel.identity import HubReplica, Identity, Node, Staff, Territory
from aval.kernel.reasons import Reason, Refusal
from tests.waiting import PATIENCE_SECONDS

HERE = Territory("ge-10.aval.internal")
THERE = Territory("ge-11.aval.internal")
NANCY = FinessET("540000023")
LUNEVILLE = FinessET("540000080")

NODE = Node(HERE, NANCY)
HUB = HubReplica(HERE, 1)
MARIE = Staff(HERE, NANCY, "marie")

READ = "/aval.v1.AvailabilityService/ListUnits"
WATCH = "/aval.v1.AvailabilityService/WatchAvailability"
EXCHANGE = "/aval.v1.LinkService/Exchange"
FEED = "/aval.v1.CensusService/ApplyMovements"

clock = SystemClock()
rng = SystemRng()


class ShiftedClock(SystemClock):
    """The machine's clock, set forward by a test; `looks` counts those who have begun to sleep by it."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self.looks = 0

    def now(self) -> datetime:
        return super().now() + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead.total_seconds()

    async def sleep_until(self, monotonic: float) -> None:
        self.looks += 1
        await super().sleep_until(monotonic - self.ahead.total_seconds())


@dataclass
class Answers:
    """The servicer: what it was asked is kept, what it answers to a word is told beforehand."""

    asked: list[str] = field(default_factory=list)
    watching: int = 0
    behaviours: dict[str, Callable[[], Awaitable[str]]] = field(default_factory=dict)

    async def read(self, request: StringValue, _context: Any) -> StringValue:
        self.asked.append(request.value)
        behaviour = self.behaviours.get(request.value)
        return StringValue(value=await behaviour() if behaviour else str(current_caller().identity))

    async def watch(self, request: StringValue, _context: Any) -> AsyncIterator[StringValue]:
        self.watching += 1
        try:
            yield StringValue(value=f"{request.value} seen by {current_caller().identity}")
            await asyncio.Event().wait()
        finally:
            self.watching -= 1

    async def exchange(self, requests: AsyncIterator[StringValue], _context: Any) -> AsyncIterator[StringValue]:
        async for request in requests:
            self.asked.append(request.value)
            behaviour = self.behaviours.get(request.value)
            yield StringValue(value=await behaviour()) if behaviour else request

    async def feed(self, requests: AsyncIterator[StringValue], _context: Any) -> StringValue:
        words = []
        async for request in requests:
            self.asked.append(request.value)
            words.append(request.value)
        return StringValue(value=" ".join(words))

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """What a generated `add_…_to_server` would register."""
        methods: dict[str, dict[str, Any]] = {}
        for method, make, behaviour in (
            (READ, grpc.unary_unary_rpc_method_handler, self.read),
            (WATCH, grpc.unary_stream_rpc_method_handler, self.watch),
            (EXCHANGE, grpc.stream_stream_rpc_method_handler, self.exchange),
            (FEED, grpc.stream_unary_rpc_method_handler, self.feed),
        ):
            _, service, name = method.split("/")
            handler = make(behaviour, StringValue.FromString, StringValue.SerializeToString)
            methods.setdefault(service, {})[name] = handler
        return [grpc.method_handlers_generic_handler(service, of) for service, of in methods.items()]


@dataclass
class House:
    """A territory's authority, a folder for bundles, and what was opened, which `close` closes."""

    folder: Path
    authority: Authority
    closing: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, territory: Territory = HERE) -> House:
        """A new territory."""
        authority, _ = make_authority(territory, clock.now())
        return cls(folder, authority)

    def certificate(
        self, identity: Identity, *, first: datetime | None = None, last: datetime | None = None
    ) -> IssuedCertificate:
        """A certificate of this territory, of the usual life or between two dates."""
        return issue(self.authority, identity, clock.now(), not_before=first, not_after=last)

    def bundle_folder(self, identity: Identity) -> Path:
        """Where an identity's bundle lies."""
        return self.folder / f"{identity.territory}" / identity.path.replace("/", "-")

    def bundle(self, identity: Identity, **dates: datetime) -> Path:
        """The folder of an identity, with a new certificate in it."""
        folder = self.bundle_folder(identity)
        self.certificate(identity, **dates).write(folder)
        return folder

    def credentials(self, identity: Identity, telemetry: Telemetry | None = None, **dates: datetime) -> Credentials:
        """A process's credentials, newly issued."""
        return Credentials(self.bundle(identity, **dates), clock, telemetry or Telemetry(clock))

    async def server(
        self,
        identity: Identity = NODE,
        *,
        credentials: Credentials | None = None,
        deny_list: DenyList | None = None,
        limits: PeerLimits | None = None,
        connections_max: int = CONNECTIONS_MAX,
        stream_seconds_max: float = 540.0,
        clock: Clock = clock,
        services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] | None = None,
    ) -> Serving:
        """A server of `identity`, listening, with the methods above or other `services`: name → method → handler."""
        telemetry = Telemetry(clock)
        serving = Serving(
            self,
            WireServer(
                credentials or self.credentials(identity, telemetry),
                clock,
                rng,
                telemetry,
                deny_list=deny_list,
                limits=limits,
                connections_max=connections_max,
                stream_seconds_max=stream_seconds_max,
            ),
            telemetry,
            Answers(),
            identity.dns_name or "",
        )
        if services is None:
            serving.wire.server.add_generic_rpc_handlers(tuple(serving.answers.handlers()))
            await serving.wire.start("aval.v1.AvailabilityService")
        else:
            added = [grpc.method_handlers_generic_handler(service, of) for service, of in services.items()]
            serving.wire.server.add_generic_rpc_handlers(tuple(added))
            await serving.wire.start(*services)
        self.closing.append(lambda: serving.wire.stop(1.0))
        return serving

    def channel(self, serving: Serving, identity: Identity = HUB, *, credentials: Credentials | None = None) -> Client:
        """A channel of `identity` to the server."""
        own = credentials or self.credentials(identity)
        channel = PeerChannel(own, rng, f"127.0.0.1:{serving.wire.port}", serving.authority)
        self.closing.append(channel.close)
        return Client(channel)

    def raw_channel(self, serving: Serving, shown: IssuedCertificate | None, trust: bytes | None = None) -> Client:
        """A channel by gRPC's own means with any certificate, or none: what a stranger would dial with."""
        credentials = grpc.ssl_channel_credentials(
            trust or self.authority.trust_pem,
            shown.key_pem if shown else None,
            shown.chain_pem if shown else None,
        )
        options = (("grpc.default_authority", serving.authority), ("grpc.use_local_subchannel_pool", 1))
        channel = grpc.aio.secure_channel(f"127.0.0.1:{serving.wire.port}", credentials, options)
        self.closing.append(channel.close)
        return Client(channel)

    async def close(self) -> None:
        """Closes all that was opened, the last first."""
        while self.closing:
            await self.closing.pop()()


@dataclass
class Serving:
    """A server that listens, and what it has seen."""

    house: House
    wire: WireServer
    telemetry: Telemetry
    answers: Answers
    authority: str

    def refused(self, reason: Reason) -> int:
        """How many calls were refused so."""
        return int(self.telemetry.value("aval_refusals_total", {"reason": reason.value}) or 0)


class Client:
    """The test methods, called over a channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel: Any = channel
        write, parse = StringValue.SerializeToString, StringValue.FromString
        self._read: Any = channel.unary_unary(READ, write, parse)
        self._watch: Any = channel.unary_stream(WATCH, write, parse)
        self._exchange: Any = channel.stream_stream(EXCHANGE, write, parse)

    async def read(self, word: str = "", seconds: float | None = PATIENCE_SECONDS, **options: Any) -> str:
        """One unary call."""
        answer: StringValue = await self._read(StringValue(value=word), timeout=seconds, **options)
        return answer.value

    def watch(self, word: str = "") -> Any:
        """One stream of answers."""
        return self._watch(StringValue(value=word))

    def exchange(self) -> Any:
        """One stream both ways."""
        return self._exchange()


async def refusal(call: Awaitable[object]) -> RemoteRefusal:
    """What the awaited call is refused with; fails if it is not."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)
    raise AssertionError(f"answered {answer!r}")


def no_bed() -> Refusal:
    """A refusal as a handler raises it."""
    return Refusal(Reason.NO_BED, {"unit": "smr-1"}, StringValue(value="the state found"))


HOUR = timedelta(hours=1)
