"""The network of a simulation: gRPC as the shipped code sees it, carrying real bytes, over wires that misbehave.

The generated stubs run over `Channel` and the shipped gate and servicers behind `Server`, so everything from a message
to its bytes and back is the real thing; only the wire between is not. A wire delays; holds messages back while it is
partitioned, one way or both; cuts calls, so that a request or an answer is lost and each side learns of it in its own
time, or much later; and brings again, minutes or hours afterwards, what it once carried. Within one call order holds,
as TCP gives it; between calls it does not.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import grpc

from aval.adapters.wire import peers
from aval.adapters.wire.gate import Gate
from aval.adapters.wire.peers import Peer
from aval.kernel.identity import Identity, parse_identity, standing
from aval.kernel.reasons import Reason, Refusal
from tests.simulation.world import EPOCH, Process, World

KEEPALIVE_SECONDS = (20.0, 45.0)
"""How long a side takes to notice that the other is gone when nothing tells it."""

EXCHANGE = "/aval.v1.LinkService/Exchange"

NEVER = float("inf")

READS = ("Get", "List", "Watch", "Search")
"""Methods that begin so change nothing: bringing them twice proves nothing."""


@dataclass(slots=True)
class Faults:
    """How likely what is, for each message or call. All zero once faults have stopped."""

    cut: float = 0.0
    slow: float = 0.0
    very_slow: float = 0.0
    again: float = 0.0
    half_open: float = 0.0

    def stop(self) -> None:
        """Nothing goes wrong any more."""
        self.cut = self.slow = self.very_slow = self.again = self.half_open = 0.0


@dataclass(frozen=True, slots=True)
class Carried:
    """A write that left for a server and can be brought to it again. `fate`: how its server answered, if it did."""

    address: str
    method: str
    identity: Identity
    body: bytes
    at: float
    fate: list[str] = field(default_factory=list)


class Network:
    """All wires. `heard` is told each message that a server sends, `sent` each that a client does, before any fault."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.world = world
        self.faults = faults
        self.counts: Counter[str] = Counter()
        self.servers: dict[str, Server] = {}
        self.one_of: dict[str, tuple[str, ...]] = {}
        """An address that stands for several → theirs: each call goes to one of those that listen."""
        self.waiting: list[asyncio.Future[None]] = []
        """Channels that wait for a server to come or go."""
        self.calls: list[Call] = []
        self.carried: list[Carried] = []
        self.heard: Callable[[Server, Call, bytes], None] = lambda _server, _call, _body: None
        self.sent: Callable[[Call, bytes], None] = lambda _call, _body: None
        self.lapsed: set[str] = set()
        """Identities (URIs) whose certificate has lapsed: nobody's gate lets them in."""
        self.lag: dict[tuple[str, bool], float] = {}
        """(method, towards the server) → seconds by which a directed test slows such messages."""
        self._chance = world.chance("network")
        self._turn = world.chance("whose turn it is")
        self._blocked: set[tuple[str, str]] = set()
        self._held: list[tuple[str, str, Callable[[], None]]] = []
        """(source, target, carrying on): in the order sent, which holds within a call."""

    def found(self, address: str) -> Server | None:
        """Who takes a call to that address now."""
        several = self.one_of.get(address)
        if several is None:
            return self.servers.get(address)
        listening = [self.servers[one] for one in several if one in self.servers]
        return self._turn.choice(listening) if listening else None

    # Partitions

    def block(self, source: str, target: str) -> None:
        """Nothing passes from one process (by name) to the other, until `heal`."""
        self._blocked.add((source, target))

    def heal(self, source: str, target: str) -> None:
        """What was held back passes."""
        self._blocked.discard((source, target))
        held, self._held = self._held, []
        for one in held:
            if one[:2] == (source, target):
                one[2]()
            else:
                self._held.append(one)

    def heal_all(self) -> None:
        """Every wire is whole."""
        for source, target in tuple(self._blocked):
            self.heal(source, target)

    @property
    def blocked(self) -> frozenset[tuple[str, str]]:
        """The pairs between which nothing passes, in that direction."""
        return frozenset(self._blocked)

    # Carrying

    def _latency(self) -> float:
        draw = self._chance.random()
        if draw < self.faults.very_slow:
            self.counts["message very late"] += 1
            return self._chance.uniform(30.0, 400.0)
        if draw < self.faults.very_slow + self.faults.slow:
            self.counts["message late"] += 1
            return self._chance.uniform(0.5, 15.0)
        return self._chance.uniform(0.001, 0.03)

    def reading_seconds(self) -> float:
        """How long the reader of a stream takes before it reads on."""
        if self._chance.random() >= self.faults.slow:
            return 0.0
        self.counts["stream read slowly"] += 1
        return self._chance.uniform(0.5, 15.0)

    def carry(self, call: Call, *, to_server: bool, deliver: Callable[[], None]) -> None:
        """Brings something to the other side of a call, after what was sent there before it."""
        source, target = call.client.name, call.server.process.name
        if not to_server:
            source, target = target, source
        if (source, target) in self._blocked:
            self.counts["message held by a partition"] += 1
            carry_on = partial(self.carry, call, to_server=to_server, deliver=deliver)
            self._held.append((source, target, carry_on))
            call.starve(self._chance.uniform(*KEEPALIVE_SECONDS), self._chance.uniform(*KEEPALIVE_SECONDS))
            return
        lag = self.lag.get((call.method, to_server), 0.0)
        at = max(self.world.time + self._latency() + lag, call.free_at[to_server])
        if at == NEVER:
            return
        call.free_at[to_server] = at
        self.world.at(at, deliver)

    def cuts(self, call: Call, *, to_server: bool) -> bool:
        """Whether this message is lost, and its call with it."""
        if self._chance.random() >= self.faults.cut:
            return False
        self.counts["request lost" if to_server else "answer lost"] += 1
        late = self._chance.random() < self.faults.half_open
        notice = [self._chance.uniform(*(KEEPALIVE_SECONDS if late else (0.001, 2.0))) for _ in range(2)]
        if late:
            self.counts["connection half open"] += 1
        call.sever(*notice)
        return True

    def remember(self, call: Call, body: bytes) -> Carried | None:
        """A write on its way; it may be brought again later, by the wire or by the end of a simulation."""
        if call.method.rsplit("/", 1)[1].startswith(READS) or call.ghost:
            return None
        carried = Carried(call.server.address, call.method, call.identity, body, self.world.time)
        self.carried.append(carried)
        if self._chance.random() < self.faults.again:
            delay = self._chance.choice((self._chance.uniform(0.01, 30.0), self._chance.uniform(30.0, 20_000.0)))
            self.world.after(delay, lambda: self.bring_again(carried))
        return carried

    def bring_again(self, carried: Carried) -> Call | None:
        """Brings a message a second time, on a call of its own; nobody waits for the answer."""
        server = self.found(carried.address)
        if server is None or not server.process.alive:
            return None
        self.counts["message again"] += 1
        self.world.note("wire", f"again {carried.method.rsplit('/', 1)[1]} to {server.process.name}")
        call = Call(self, server.process, server, carried.method, carried.identity, (), 50.0, ghost=True)
        call.open()
        call.client_sends(carried.body)
        call.client_done()
        return call

    def died(self, process: Process) -> None:
        """A process has died: the other sides of its calls learn it, soon or late."""
        for call in self.calls:
            if process in (call.client, call.server.process):
                late = self._chance.random() < self.faults.half_open
                call.sever(*(self._chance.uniform(*(KEEPALIVE_SECONDS if late else (0.001, 0.1))) for _ in range(2)))
        for address, server in tuple(self.servers.items()):
            if server.process is process:
                del self.servers[address]
        self.changed()

    def leaves(self, server: Server) -> None:
        """A server takes no new calls."""
        if self.servers.pop(server.address, None) is not None:
            self.changed()

    def changed(self) -> None:
        """A server came or went: channels look again, each in its own time."""
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            self.world.after(self._chance.uniform(0.01, 5.0), partial(_wake, one))

    def forget(self, call: Call) -> None:
        """The call is over at both sides."""
        if call in self.calls:
            self.calls.remove(call)


def _wake(one: asyncio.Future[None]) -> None:
    if not one.done() and getattr(one.get_loop(), "alive", True):
        one.set_result(None)


class Call:
    """One RPC: two ends, each with what it has received, and how it ended there."""

    def __init__(
        self,
        network: Network,
        client: Process,
        server: Server,
        method: str,
        identity: Identity,
        metadata: Iterable[tuple[str, str | bytes]],
        timeout: float | None,
        *,
        ghost: bool = False,
    ) -> None:
        self.network = network
        self.client = client
        self.server = server
        self.method = method
        self.identity = identity
        self.metadata = tuple(metadata)
        self.timeout = timeout
        self.ghost = ghost
        self.free_at = {True: 0.0, False: 0.0}
        self.status: tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]] | None = None
        self.carried: list[Carried] = []
        self.when_done: list[Callable[[Any], object]] = []
        self.base: Any = None
        self.is_full = False
        """Whether its server waits for a slow reader."""
        self.first = b""
        self._starving = False
        self._answered = 0
        self._inbox: deque[bytes] = deque()
        self._requests: deque[bytes | None] = deque()
        self._client_waits: asyncio.Future[None] | None = None
        self._server_waits: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._server_over = False
        self._until = network.world.time + timeout if timeout is not None else None

    # The client's end

    def open(self) -> None:
        """Dials."""
        self.network.calls.append(self)
        if self._until is not None:
            self.network.world.at(self._until, lambda: self._ended(grpc.StatusCode.DEADLINE_EXCEEDED, "deadline"))

    def client_sends(self, body: bytes) -> None:
        """A request message leaves."""
        if self.status is not None:
            return
        self.first = self.first or body
        self.network.sent(self, body)
        carried = self.network.remember(self, body)
        if self.network.cuts(self, to_server=True):
            return
        self.network.carry(self, to_server=True, deliver=lambda: self._arrived(body, carried))

    def client_done(self) -> None:
        """No more requests come."""
        if self.status is None:
            self.network.carry(self, to_server=True, deliver=lambda: self._arrived(None, None))

    def client_cancels(self) -> None:
        """The client turns away."""
        if self.status is None:
            self.network.carry(self, to_server=True, deliver=self._server_ends)
            self._ended(grpc.StatusCode.CANCELLED, "cancelled")

    async def client_reads(self) -> bytes | None:
        """The next answer, or None once the call has ended well. Raises the status otherwise."""
        while not self._inbox:
            if self.status is not None:
                code, details, trailing = self.status
                if code is grpc.StatusCode.OK:
                    return None
                if code is grpc.StatusCode.CANCELLED and not trailing:
                    # As grpc.aio does where the call was cancelled here, or its channel closed.
                    raise asyncio.CancelledError
                raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details)
            self._client_waits = self.client.loop.create_future()
            await self._client_waits
        return self._inbox.popleft()

    def _ended(self, code: grpc.StatusCode, details: str, trailing: tuple[tuple[str, bytes], ...] = ()) -> None:
        if self.status is not None:
            return
        self.status = (code, details, trailing)
        if self.client.alive:
            for told in self.when_done:
                self.client.loop.call_soon(told, self)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            self.network.world.after(0.01, self._server_ends)
        self._wake_client()
        if self._server_over:
            self.network.forget(self)

    def _wake_client(self) -> None:
        if self._client_waits is not None and not self._client_waits.done() and self.client.alive:
            self._client_waits.set_result(None)

    # The server's end

    @property
    def is_served(self) -> bool:
        """Whether its server is at it."""
        return self._task is not None and not self._server_over and self.server.process.alive

    def _arrived(self, body: bytes | None, carried: Carried | None) -> None:
        if self._server_over or not self.server.process.alive:
            return
        if self._task is None:
            self._task = self.server.process.spawn(self.server.serve(self))
            self._task.add_done_callback(self._served)
        if carried is not None:
            self.carried.append(carried)
        self._requests.append(body)
        if self._server_waits is not None and not self._server_waits.done():
            self._server_waits.set_result(None)

    def _served(self, task: asyncio.Task[None]) -> None:
        """The gate makes a status of whatever a handler raises: an error that comes this far is one of its own."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.network.world.problems.append(f"{self.server.process}: {self.method}: {error!r}")

    async def requests(self) -> AsyncIterator[bytes]:
        """Request messages, as the server gets them."""
        while True:
            while not self._requests:
                self._server_waits = self.server.process.loop.create_future()
                await self._server_waits
            body = self._requests.popleft()
            if body is None:
                return
            yield body

    def time_remaining(self) -> float | None:
        """Until the client's deadline."""
        return None if self._until is None else max(0.0, self._until - self.network.world.time)

    def server_sends(self, body: bytes) -> None:
        """An answer leaves."""
        if self._server_over or not self.server.process.alive:
            return
        if self._answered < len(self.carried):
            self.carried[self._answered].fate.append("OK")
            self._answered += 1
        self.network.heard(self.server, self, body)
        if self.network.cuts(self, to_server=False):
            return
        self.network.carry(self, to_server=False, deliver=lambda: self._received(body))

    async def taken(self) -> None:
        """Waits until the stream takes more: where its reader is slow, what comes next is older by then."""
        seconds = self.network.reading_seconds()
        if seconds:
            clock = self.server.process.clock
            self.is_full = True
            await clock.sleep_until(clock.monotonic() + seconds)
            self.is_full = False

    def server_closes(self, code: grpc.StatusCode, details: str, trailing: tuple[tuple[str, bytes], ...]) -> None:
        """The server has done with the call."""
        if self._server_over or not self.server.process.alive:
            return
        self._server_over = True
        for carried in self.carried[self._answered :]:
            carried.fate.append(code.name)
        if self.network.cuts(self, to_server=False):
            return
        self.network.carry(self, to_server=False, deliver=lambda: self._ended(code, details, trailing))

    def _received(self, body: bytes) -> None:
        if self.status is None and self.client.alive:
            self._inbox.append(body)
            self._wake_client()

    def _server_ends(self) -> None:
        """The server sees that its client is gone."""
        if self._server_over:
            return
        self._server_over = True
        if self._task is not None and not self._task.done() and self.server.process.alive:
            self._task.cancel()
        if self.status is not None:
            self.network.forget(self)

    # Both

    def sever(self, client_notices: float, server_notices: float) -> None:
        """The connection is gone; each side learns it after a while, and what it sends meanwhile is lost."""
        self.network.world.after(client_notices, lambda: self._ended(grpc.StatusCode.UNAVAILABLE, "connection lost"))
        self.network.world.after(server_notices, self._server_ends)
        self.free_at = {True: NEVER, False: NEVER}

    def starve(self, client_notices: float, server_notices: float) -> None:
        """Nothing passes: unless the wire heals first, each side gives the connection up."""
        if self._starving:
            return
        self._starving = True
        names = (self.client.name, self.server.process.name)

        given_up = False

        def give_up(end: Callable[[], None]) -> None:
            nonlocal given_up
            self._starving = False
            blocked = self.network.blocked
            # Once one side has gone, the other's next ping is answered by a reset, whole wire or not.
            if given_up or names in blocked or names[::-1] in blocked:
                given_up = True
                end()

        world = self.network.world
        world.after(
            client_notices, lambda: give_up(lambda: self._ended(grpc.StatusCode.UNAVAILABLE, "no answer to a ping"))
        )
        world.after(server_notices, lambda: give_up(self._server_ends))


class _Context:
    """`grpc.aio.ServicerContext` of one call, as far as the shipped code uses it."""

    def __init__(self, call: Call, serializer: Callable[[Any], bytes] | None) -> None:
        self._call = call
        self._serializer = serializer
        self._code: grpc.StatusCode | None = None
        self.trailing: tuple[tuple[str, bytes], ...] = ()
        self.details_text = ""
        self.is_stream = False

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._call.metadata

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return {"identity": (str(self._call.identity).encode(),)}

    def time_remaining(self) -> float | None:
        return self._call.time_remaining()

    def peer(self) -> str:
        return self._call.client.name

    def code(self) -> grpc.StatusCode | None:
        return self._code

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def details(self) -> str:
        return self.details_text

    def cancelled(self) -> bool:
        return False

    def done(self) -> bool:
        return False

    async def write(self, message: Any) -> None:
        self._call.server_sends(self._serializer(message) if self._serializer is not None else message)
        if self.is_stream:
            await self._call.taken()

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: tuple[tuple[str, bytes], ...] = ()
    ) -> None:
        self._code, self.details_text, self.trailing = code, details, tuple(trailing_metadata)
        raise grpc.aio.AbortError(details)


class Peers(peers.Peers):
    """Who calls, told by the wire: the one thing of the gate that TLS does in the open."""

    def __init__(self, network: Network, server_identity: Identity) -> None:
        self._network = network
        self._server = server_identity
        self._by_uri: dict[str, Peer] = {}

    def identify(self, auth_context: Mapping[str, Iterable[bytes]]) -> Peer:
        """See `aval.adapters.wire.peers.Peers`."""
        (uri,) = auth_context["identity"]
        text = uri.decode()
        if text not in self._by_uri:
            identity = parse_identity(text)
            self._by_uri[text] = Peer(
                identity, standing(identity, self._server, frozenset()), "0", "0", EPOCH, EPOCH.replace(year=2100)
            )
        self.check(self._by_uri[text])
        return self._by_uri[text]

    def check(self, peer: Peer) -> None:
        """A certificate is good, or has lapsed: then calls are refused, and open streams ended."""
        if str(peer.identity) in self._network.lapsed:
            self._network.counts["call refused for a lapsed certificate"] += 1
            raise Refusal(Reason.CERTIFICATE_EXPIRED, {"not_after": peer.not_after.isoformat()})


class Server:
    """`grpc.aio.Server` at an address: the generated code adds servicers to it, the shipped gate guards them."""

    def __init__(self, network: Network, process: Process, address: str, finess: str | None) -> None:
        """`finess` is None for a hub. `gate` is set before `listen`."""
        self.network = network
        self.process = process
        self.address = address
        self.finess = finess
        self.gate: Gate | None = None
        self._handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        """The generated code also registers each method by name; that is what is used here."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """A service with its methods."""
        for name, handler in handlers.items():
            self._handlers[f"/{service}/{name}"] = handler

    def listen(self) -> None:
        """From now on it can be dialled."""
        self.network.servers[self.address] = self
        self.network.changed()

    async def serve(self, call: Call) -> None:
        """Serves one call, as gRPC would: through the gate to the handler, and its end as a status."""

        async def continuation(_details: Any) -> Any:
            return self._handlers.get(call.method)

        code, details, trailing = grpc.StatusCode.OK, "", ()
        assert self.gate is not None
        handler: Any = await self.gate.intercept_service(
            continuation, SimpleNamespace(method=call.method, invocation_metadata=call.metadata)
        )
        context: Any = _Context(call, handler.response_serializer)
        try:
            if handler.response_streaming:
                context.is_stream = True
                await handler.stream_stream(call.requests(), context)
            else:
                await context.write(await handler.stream_unary(call.requests(), context))
        except grpc.aio.AbortError:
            code, details, trailing = context.code(), context.details(), context.trailing
        call.server_closes(code, details, trailing)


class _ClientCall:
    """What a stub's method returns: awaited for a unary answer, iterated or read for a stream."""

    def __init__(
        self, client: Process, call: Call | None, refused: Callable[[], Awaitable[None]], deserialize: Any
    ) -> None:
        self._client = client
        self._call = call
        self._refused = refused
        self._deserialize = deserialize

    def __await__(self) -> Generator[Any, None, Any]:
        return self._unary().__await__()

    async def _unary(self) -> Any:
        answer = await self._read()
        if answer is None:
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "ended without an answer"
            )
        await self._read()
        return answer

    async def _read(self) -> Any:
        if self._call is None:
            await self._refused()
            raise AssertionError("a refused call raises")
        try:
            body = await self._call.client_reads()
        except asyncio.CancelledError:
            self.cancel()
            raise
        return None if body is None else self._deserialize(body)

    async def read(self) -> Any:
        """The next message, or gRPC's EOF."""
        message = await self._read()
        return grpc.aio.EOF if message is None else message

    def __aiter__(self) -> _ClientCall:
        return self

    async def __anext__(self) -> Any:
        message = await self._read()
        if message is None:
            raise StopAsyncIteration
        return message

    async def write(self, message: Any) -> None:
        """Sends a request message of a stream."""
        if self._call is None:
            await self._refused()
            return
        if self._call.status is not None:
            raise asyncio.InvalidStateError("the RPC has ended")
        self._call.client_sends(message.SerializeToString())

    async def done_writing(self) -> None:
        """No more request messages."""
        if self._call is not None:
            self._call.client_done()

    def cancel(self) -> bool:
        """Turns away."""
        if self._call is None or self._call.status is not None:
            return False
        self._call.client_cancels()
        return True

    def add_done_callback(self, told: Callable[[Any], object]) -> None:
        """`told` is called once the call has ended for the client."""
        if self._call is None or self._call.status is not None:
            self._client.loop.call_soon(told, self)
        else:
            self._call.when_done.append(told)

    def done(self) -> bool:
        """Whether it has ended for the client."""
        return self._call is None or self._call.status is not None

    async def wait_for_connection(self) -> None:
        """Connected, or not."""
        if self._call is None:
            await self._refused()

    async def code(self) -> grpc.StatusCode:
        """The status, once it has ended."""
        return grpc.StatusCode.UNAVAILABLE if self._call is None or not self._call.status else self._call.status[0]


class Channel(grpc.aio.Channel):
    """A channel of one process, under one identity, to an address."""

    def __init__(self, network: Network, process: Process, identity: Identity, address: str) -> None:
        self._network = network
        self._process = process
        self._identity = identity
        self.address = address
        self._closed = False

    def _method(self, method: str, serialize: Any, deserialize: Any, *, unary_request: bool) -> Callable[..., Any]:
        def call(
            request: Any = None,
            *,
            timeout: float | None = None,
            metadata: Iterable[tuple[str, str | bytes]] | None = None,
            **_: Any,
        ) -> _ClientCall:
            server = self._network.found(self.address)
            if server is None:
                return _ClientCall(self._process, None, self._nobody, deserialize)
            made = Call(self._network, self._process, server, method, self._identity, metadata or (), timeout)
            made.open()
            if unary_request:
                made.client_sends(serialize(request))
                made.client_done()
            elif request is not None:
                self._process.spawn(self._feed(made, request, serialize))
            return _ClientCall(self._process, made, self._nobody, deserialize)

        return call

    async def _nobody(self) -> None:
        """Nobody listens at that address: a refusal, after a round trip."""
        await self._process.clock.sleep_until(self._process.monotonic() + 0.01)
        raise grpc.aio.AioRpcError(
            grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "connection refused"
        )

    async def _feed(self, call: Call, requests: Any, serialize: Any) -> None:
        async for request in requests:
            call.client_sends(serialize(request))
        call.client_done()

    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        """See `grpc.aio.Channel`."""
        return self._method(method, request_serializer, response_deserializer, unary_request=True)

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        """See `grpc.aio.Channel`."""
        return self._method(method, request_serializer, response_deserializer, unary_request=True)

    def stream_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        """See `grpc.aio.Channel`."""
        return self._method(method, request_serializer, response_deserializer, unary_request=False)

    def stream_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        """See `grpc.aio.Channel`."""
        return self._method(method, request_serializer, response_deserializer, unary_request=False)

    async def close(self, grace: float | None = None) -> None:
        """Ends its calls."""
        for call in tuple(self._network.calls):
            if call.client is self._process and call.server.address == self.address and not call.ghost:
                call.client_cancels()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Whether a call made now would find somebody."""
        found = self._network.found(self.address) is not None
        return grpc.ChannelConnectivity.READY if found else grpc.ChannelConnectivity.TRANSIENT_FAILURE

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Returns when the state differs."""
        while self.get_state() is last_observed_state:
            changed = self._process.loop.create_future()
            self._network.waiting.append(changed)
            await changed

    async def channel_ready(self) -> None:
        """Returns when it is connected."""
        while (state := self.get_state()) is not grpc.ChannelConnectivity.READY:
            await self.wait_for_state_change(state)

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
