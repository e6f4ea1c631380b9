"""The one gate through which every RPC of a server passes, in this order, before its request is even read:

1. who calls (`peers`): certificate, dates, deny-list, identity, territory;
2. not too often (`limits`);
3. may this kind of caller call this method (`aval.kernel.access`; a method that the table lacks is refused);
4. an actor's name is believed from desks only;
5. the deadline: a unary call has one, of 60 s at most;
6. not too many at once (`limits`).

Then the request is read and decoded (bytes that are no message, or no UTF-8, are refused by name), the handler runs,
and what it raises becomes a status: a `Refusal` its own, anything else INTERNAL without a word of itself. One log line,
one observation of the histogram for each RPC.

For this every handler is offered to gRPC as one that reads a stream: gRPC then calls it when the headers arrive, so
that a peer which sends headers and no message is counted and bounded like any other. Handlers keep the shape that the
generated code gives them (async generators included); they take requests from their argument, never by
`context.read()`.

A stream's handler runs in its own task, beside which the gate waits for its end to be called: the peer's certificate
has expired or is denied (the status says so, within about a second), the stream has lasted `STREAM_SECONDS_MAX`, or the
server stops (a normal end: followers resume). A handler that reads a stream ends it itself then: its requests end, it
gives the answers that are under way, and only one that does not is cancelled.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError

from aval.adapters.telemetry import Telemetry, describe_exception
from aval.adapters.wire.errors import status_code, trailing_metadata
from aval.adapters.wire.limits import Meters, PeerLimits
from aval.adapters.wire.peers import Caller, Peer, Peers, set_current_caller
from aval.kernel.access import Server, may_call
from aval.kernel.clock import Clock, Rng
from aval.kernel.identity import CallerKind
from aval.kernel.reasons import Reason, Refusal, field_invalid

UNARY_SECONDS_MAX = 60.0
"""Longest deadline of a unary call: nothing here takes a second; a longer wait is a watch."""

DEADLINE_ALLOWANCE_SECONDS = 1.0
"""A deadline of 60 s that crosses the wire as "60000m" must not be found 60.0001 s away."""

STREAM_SECONDS_MAX = 540.0
"""A stream is ended after 9 minutes and resumed: before the connection's 10 (DESIGN §5), so that it ends in good
order."""

STREAM_GREETING_SECONDS_MAX = 20.0
"""The request of a method that answers by a stream comes at once; headers alone are not kept longer."""

WRITE_SECONDS_MAX = 1.0
"""How long the end of a stream waits for the message being written: microseconds, unless its client does not read."""

LAST_ANSWERS_SECONDS_MAX = 5.0
"""How long a handler whose requests have ended may take to give its last answers: a commit takes hundredths of a
second; half of the time that a server has to stop."""

REQUEST_ID_KEY = "aval-request-id"
"""Metadata that carries the request's id from hop to hop."""

ACTOR_KEY = "aval-actor-bin"
"""Metadata by which a desk says who is signed in (CONTRACT 4)."""

METHOD_UNKNOWN = "unknown"
"""What metrics and logs call a method that this server does not have: a caller must not choose our labels."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{8,64}", re.ASCII)
_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_DESKS = frozenset({CallerKind.HUB_DESK, CallerKind.ESTABLISHMENT_DESK})

# Messages, handlers and contexts are of whatever service is served: the gate treats all alike.
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class _Continuation(Protocol):
    def __call__(self, details: grpc.HandlerCallDetails, /) -> Awaitable[_Handler | None]: ...


class _OpenStream:
    """A stream being served. `ended` is what it is to end with: a refusal, or None for a normal end."""

    __slots__ = ("ended", "peer", "until")

    def __init__(self, peer: Peer, until: float) -> None:
        self.peer = peer
        self.until = until
        self.ended: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()

    def end(self, refusal: Refusal | None) -> None:
        if not self.ended.done():
            self.ended.set_result(refusal)


class _Fault(Refusal):
    """What a handler raised that is no refusal: the caller learns the request id, the log where it was."""

    def __init__(self, request_id: str, fault: Exception) -> None:
        super().__init__(Reason.INTERNAL, {"request_id": request_id})
        self.fault = fault


@dataclass(slots=True)
class _CallServed:
    """What is told of an RPC when it ends."""

    method: str
    address: str
    request_id: str
    begun: float
    peer: Peer | None = None
    code: str = "UNKNOWN"
    reason: str | None = None
    fault: dict[str, str] = field(default_factory=dict)
    ending: bool = False
    writing: asyncio.Future[None] | None = None


class Gate(grpc.aio.ServerInterceptor):
    """See the module. One for each server."""

    def __init__(
        self,
        server: Server,
        peers: Peers,
        clock: Clock,
        rng: Rng,
        telemetry: Telemetry,
        limits: PeerLimits,
        stream_seconds_max: float = STREAM_SECONDS_MAX,
    ) -> None:
        self._server = server
        self._peers = peers
        self._clock = clock
        self._rng = rng
        self._telemetry = telemetry
        self._meters = Meters(limits)
        self._stream_seconds_max = stream_seconds_max
        self._handlers: dict[str, _Handler] = {}
        # In the order of their opening, which a set would lose: a simulation must end them the same way each time.
        self._streams: dict[_OpenStream, None] = {}
        self._under_way = 0
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._log = structlog.get_logger()
        self._unknown = self._guarded(METHOD_UNKNOWN, None)

    async def intercept_service(
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> _Handler:
        """gRPC's own hook: gives each method's handler, guarded. It has no context, so it decides nothing itself."""
        method = str(handler_call_details.method)
        guarded = self._handlers.get(method)
        if guarded is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return self._unknown
            guarded = self._handlers[method] = self._guarded(method, handler)
        return guarded

    def look_again(self) -> None:
        """Ends the streams whose peers are no longer good or whose time is over. Called about twice a second."""
        now = self._clock.monotonic()
        self._meters.forget_idle(now)
        for stream in self._streams:
            if now >= stream.until:
                stream.end(None)
                continue
            try:
                self._peers.check(stream.peer)
            except Refusal as refusal:
                stream.end(refusal)

    async def drain(self) -> None:
        """Refuses new calls (`SHUTTING_DOWN`), ends the streams in good order, returns when no RPC is under way."""
        self._stopping = True
        for stream in self._streams:
            stream.end(None)
        await self._idle.wait()

    def _guarded(self, method: str, handler: _Handler | None) -> _Handler:
        async def behavior(requests: AsyncIterator[bytes], context: _Context) -> Any:
            return await self._serve(method, handler, requests, context)

        if handler is not None and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(behavior, None, handler.response_serializer)
        return grpc.stream_unary_rpc_method_handler(behavior, None, handler.response_serializer if handler else None)

    async def _serve(
        self, method: str, handler: _Handler | None, requests: AsyncIterator[bytes], context: _Context
    ) -> Any:
        """One RPC: its answer, or the status of what was raised; then its line and its figures."""
        metadata = dict(context.invocation_metadata() or ())
        request_id = self._request_id(metadata.get(REQUEST_ID_KEY))
        call = _CallServed(method, context.peer(), request_id, self._clock.monotonic())
        self._under_way += 1
        self._idle.clear()
        try:
            answer = await self._answer(call, handler, metadata.get(ACTOR_KEY), requests, context)
            call.code = _code_name(context)
        except Refusal as refusal:
            call.code, call.reason = refusal.reason.row.code, refusal.reason.value
            if isinstance(refusal, _Fault):
                call.fault = describe_exception(refusal.fault)
            self._telemetry.refused(call.reason)
            await context.abort(status_code(refusal.reason), refusal.reason.row.text, trailing_metadata(refusal))
        except asyncio.CancelledError:
            call.code = "CANCELLED"
            raise
        except grpc.aio.AbortError:
            # Of gRPC's own services (health, reflection); ours raise a Refusal.
            call.code = _code_name(context)
            raise
        else:
            return answer
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                self._idle.set()
            self._tell(call)

    async def _answer(
        self,
        call: _CallServed,
        handler: _Handler | None,
        actor: str | bytes | None,
        requests: AsyncIterator[bytes],
        context: _Context,
    ) -> Any:
        """The steps of the module's docstring, then the handler."""
        try:
            peer = call.peer = self._peers.identify(context.auth_context())
            self._meters.begin(peer.identity, call.begun)
            if handler is None:
                raise Refusal(Reason.NOT_SERVED)
            long_lived = handler.request_streaming or handler.response_streaming
            self._admit(call.method, peer, actor, None if long_lived else context)
            self._meters.take(peer.identity, stream=long_lived)
            try:
                set_current_caller(Caller(peer, call.request_id, actor if isinstance(actor, bytes) else None))
                if long_lived:
                    return await self._stream(handler, peer, call, requests, context)
                return await _behavior(handler)(await _only(handler, requests), context)
            finally:
                self._meters.give_back(peer.identity, stream=long_lived)
        except (Refusal, grpc.aio.AbortError):
            raise
        except Exception as fault:
            raise _Fault(call.request_id, fault) from fault

    def _admit(self, method: str, peer: Peer, actor: str | bytes | None, unary: _Context | None) -> None:
        """Whether the call may be made at all. `unary` is the context of a unary call, whose deadline is looked at."""
        if not may_call(self._server, method, peer.kind):
            raise Refusal(Reason.METHOD_NOT_ALLOWED, {"method": method, "caller": peer.kind.value})
        if self._stopping:
            raise Refusal(Reason.SHUTTING_DOWN)
        if actor is not None and peer.kind not in _DESKS:
            raise Refusal(Reason.ACTOR_NOT_ALLOWED, {"caller": peer.kind.value})
        if unary is not None:
            left: float | None = unary.time_remaining()
            if left is None:
                raise Refusal(Reason.DEADLINE_REQUIRED, {"seconds_max": f"{UNARY_SECONDS_MAX:g}"})
            if left > UNARY_SECONDS_MAX + DEADLINE_ALLOWANCE_SECONDS:
                raise Refusal(Reason.DEADLINE_TOO_LONG, {"seconds_max": f"{UNARY_SECONDS_MAX:g}"})

    def _tell(self, call: _CallServed) -> None:
        seconds = self._clock.monotonic() - call.begun
        self._telemetry.rpc(call.method, call.code, seconds)
        if call.peer and call.reason in _FLOODS and not self._meters.may_tell(call.peer.identity, call.begun):
            return
        (self._log.error if call.fault else self._log.info)(
            "rpc",
            method=call.method,
            caller=str(call.peer.identity) if call.peer is not None else None,
            code=call.code,
            reason=call.reason,
            duration_ms=round(seconds * 1000, 2),
            request_id=call.request_id,
            peer=call.address,
            **call.fault,
        )

    async def _stream(
        self, handler: _Handler, peer: Peer, call: _CallServed, requests: AsyncIterator[bytes], context: _Context
    ) -> Any:
        stream = _OpenStream(peer, call.begun + self._stream_seconds_max)
        self._streams[stream] = None
        self._telemetry.stream_opened()
        over = asyncio.get_running_loop().create_future()
        work = asyncio.ensure_future(self._pump(handler, requests, context, call, over))
        try:
            await asyncio.wait((work, stream.ended), return_when=asyncio.FIRST_COMPLETED)
            refusal = None if work.done() else stream.ended.result()
            if not work.done() and refusal is None and handler.request_streaming:
                over.set_result(None)
                await asyncio.wait((work,), timeout=LAST_ANSWERS_SECONDS_MAX)
            if work.done():
                return work.result()
        finally:
            self._streams.pop(stream, None)
            self._telemetry.stream_closed()
            await self._stopped(work, call)
        # The handler has stopped; what remains is to tell the client: cancelling alone would leave it hanging.
        if refusal is not None:
            raise refusal
        return None

    async def _stopped(self, work: asyncio.Future[Any], call: _CallServed) -> None:
        """Cancels what a stream's handler still does and waits for it; a fault of its tidying up is logged here."""
        if work.done():
            return
        call.ending = True
        if call.writing is not None:
            # gRPC refuses the status of a stream, and its client hangs, while a message of it is still being written.
            await asyncio.wait((call.writing,), timeout=WRITE_SECONDS_MAX)
        work.cancel()
        await asyncio.wait((work,))
        fault = None if work.cancelled() else work.exception()
        if fault is not None:
            described = describe_exception(fault)
            self._log.error("stream-ended-badly", method=call.method, request_id=call.request_id, **described)

    async def _pump(
        self,
        handler: _Handler,
        requests: AsyncIterator[bytes],
        context: _Context,
        call: _CallServed,
        over: asyncio.Future[None],
    ) -> Any:
        if handler.request_streaming:
            argument: Any = _decoded(handler, requests, over)
        else:
            argument = await _within(STREAM_GREETING_SECONDS_MAX, _only(handler, requests))
        answer = _behavior(handler)(argument, context)
        if not hasattr(answer, "__aiter__"):
            return await answer
        try:
            async for message in answer:
                call.writing = asyncio.get_running_loop().create_future()
                try:
                    await context.write(message)
                finally:
                    call.writing.set_result(None)
                    call.writing = None
                if call.ending:
                    break
        finally:
            await answer.aclose()
        return None

    def _request_id(self, given: str | bytes | None) -> str:
        if isinstance(given, str) and _REQUEST_ID.fullmatch(given):
            return given
        return str(self._rng.uuid())


_FLOODS = frozenset({Reason.TOO_MANY_CALLS.value, Reason.TOO_MANY_STREAMS.value})


def _behavior(handler: _Handler) -> Callable[[Any, _Context], Any]:
    """The method of the servicer: gRPC keeps it under the name of its shape, `unary_stream` for one."""
    sides = ("unary", "stream")
    behavior: Callable[[Any, _Context], Any] = getattr(
        handler, f"{sides[handler.request_streaming]}_{sides[handler.response_streaming]}"
    )
    return behavior


def _code_name(context: _Context) -> str:
    code: object = context.code()  # a number at run time, whatever the stub says; None while nobody has set one
    if isinstance(code, grpc.StatusCode):
        return code.name
    return _CODE_NAMES.get(code, "UNKNOWN") if isinstance(code, int) else "OK"


async def _within(seconds: float, arrival: Awaitable[Any]) -> Any:
    try:
        return await asyncio.wait_for(arrival, seconds)
    except TimeoutError:
        raise Refusal(Reason.REQUEST_NOT_RECEIVED, {"seconds_max": f"{seconds:g}"}) from None


async def _only(handler: _Handler, requests: AsyncIterator[bytes]) -> Any:
    """The request of a method that takes one."""
    async for encoded in requests:
        return _decode(handler, encoded)
    raise Refusal(Reason.REQUEST_NOT_RECEIVED)


async def _decoded(handler: _Handler, requests: AsyncIterator[bytes], over: asyncio.Future[None]) -> AsyncIterator[Any]:
    """The requests of a stream, until its client or `over` ends them."""
    source = aiter(requests)
    while not over.done():
        coming = asyncio.ensure_future(anext(source))
        try:
            await asyncio.wait((coming, over), return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                return
            encoded = coming.result()
        except StopAsyncIteration:
            return
        finally:
            coming.cancel()
        yield _decode(handler, encoded)


def _decode(handler: _Handler, encoded: bytes) -> Any:
    try:
        return handler.request_deserializer(encoded) if handler.request_deserializer is not None else encoded
    except (DecodeError, ValueError):
        raise field_invalid(
            "", "the bytes are not a message of this method: wrong encoding, or text that is not UTF-8"
        ) from None
