"""The way to a node over gRPC: the hub dials, watches and exchanges. One of the adapters of `ports.NodeLink`.

The channel is given (it knows certificates and renewals); so is the way to read a failed call as a refusal. Every
stream that is left is cancelled: grpc.aio neither collects nor ends an abandoned call. A channel that is closed while a
stream is open on it (its node has called from elsewhere) is a link lost like any other: grpc.aio would cancel who reads
and leave who writes waiting for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias

import grpc

from aval.hub.backoff import first_of
from aval.hub.model import Cursor
from aval.hub.ports import LinkLost, NodeAnswer, NodeCommand, NodeEvent
from aval.hub.translate import figures, reservations
from aval.hub.translate.reservations import Here
from aval.hub.translate.terms import wire_cursor
from aval.kernel.clock import Clock
from aval.kernel.reasons import Reason, Refusal
from aval.v1 import availability_pb2, availability_pb2_grpc, link_pb2, link_pb2_grpc

RefusalOf: TypeAlias = Callable[[grpc.aio.AioRpcError], Refusal]
"""Reads what a failed call brought back."""

_ExchangeCall: TypeAlias = "grpc.aio.StreamStreamCall[link_pb2.ExchangeRequest, link_pb2.ExchangeResponse]"


@contextmanager
def _misread() -> Iterator[None]:
    """What a node says and cannot be read (an instant outside of all calendars) ends its stream, and nothing else."""
    try:
        yield
    except (ValueError, OverflowError, Refusal) as error:
        raise LinkLost(Refusal(Reason.FIELD_INVALID, {"problem": type(error).__name__})) from error


def _closed() -> LinkLost:
    """What is raised in the place of a call's cancellation. Raises `CancelledError` if its task itself must end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return LinkLost(Refusal(Reason.NODE_UNREACHABLE, {"problem": "the channel was closed"}))


class GrpcExchange:
    """An open stream of commands and answers."""

    def __init__(self, call: _ExchangeCall, here: Callable[[], Here], refusal_of: RefusalOf) -> None:
        self._call = call
        self._here = here
        self._refusal_of = refusal_of
        self._ended = asyncio.Event()
        call.add_done_callback(lambda _: self._ended.set())

    async def send(self, command: NodeCommand) -> None:
        """See the port."""
        message = link_pb2.ExchangeRequest(command=reservations.wire_command(command))
        try:
            await first_of(self._call.write(message), self._ended.wait())
        except grpc.aio.AioRpcError as error:
            raise LinkLost(self._refusal_of(error)) from error
        except asyncio.InvalidStateError:
            # The stream has ended; how, `receive` says.
            return

    async def receive(self) -> NodeAnswer | None:
        """See the port."""
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise LinkLost(self._refusal_of(error)) from error
        except asyncio.CancelledError:
            raise _closed() from None
        if not isinstance(message, link_pb2.ExchangeResponse):
            return None
        with _misread():
            return reservations.node_answer(message.answer, self._here())


class GrpcNodeLink:
    """`aval.hub.ports.NodeLink` to one node."""

    def __init__(
        self, channel: grpc.aio.Channel, finess: str, territory: str, clock: Clock, refusal_of: RefusalOf
    ) -> None:
        self._channel = channel
        self._finess = finess
        self._territory = territory
        self._clock = clock
        self._refusal_of = refusal_of
        self._availability = availability_pb2_grpc.AvailabilityServiceStub(channel)
        self._link = link_pb2_grpc.LinkServiceStub(channel)

    def _here(self) -> Here:
        return Here(self._territory, self._clock.now())

    async def watch(self, cursor: Cursor | None, heard: Cursor | None = None) -> AsyncIterator[NodeEvent]:
        """See the port."""
        given = [at for at in (wire_cursor(cursor), wire_cursor(heard)) if at is not None]
        call = self._availability.WatchAvailability(
            availability_pb2.WatchAvailabilityRequest(cursors=given, include_reservations=True)
        )
        try:
            async for message in call:
                with _misread():
                    event = figures.node_event(message, self._here())
                if event is not None:
                    yield event
        except grpc.aio.AioRpcError as error:
            raise LinkLost(self._refusal_of(error)) from error
        except asyncio.CancelledError:
            raise _closed() from None
        finally:
            call.cancel()

    @asynccontextmanager
    async def exchange(self) -> AsyncIterator[GrpcExchange]:
        """See the port."""
        call = self._link.Exchange()
        try:
            yield GrpcExchange(call, self._here, self._refusal_of)
        finally:
            call.cancel()

    async def close(self) -> None:
        """See the port."""
        await self._channel.close()
