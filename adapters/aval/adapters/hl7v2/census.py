"""The node, as the adapter sees it: movements go in, and each is waited for until the node has committed it."""

import asyncio
from datetime import timedelta
from functools import partial

import grpc

from aval.adapters.dial import pages
from aval.adapters.hl7v2.telling import Told
from aval.v1 import census_pb2, census_pb2_grpc

UNACKNOWLEDGED_MAX = 200
"""Movements sent and not acknowledged; the node allows 256."""

RETRY_AFTER = timedelta(seconds=1)
"""After a stream that ended: the server ends each after some minutes, and a node restarts in seconds."""

CALL_SECONDS = 10.0
"""Of a unary call."""

_DENIED = frozenset({grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED})


class NodeAway(RuntimeError):
    """The node did not answer in time; nothing is lost, and the same movements may be sent again."""


class NodeDenies(RuntimeError):
    """The node does not take this adapter's movements at all: a certificate, or a declaration, is missing."""


_Call = grpc.aio.StreamStreamCall[census_pb2.ApplyMovementsRequest, census_pb2.ApplyMovementsResponse]


class CensusStream:
    """One stream of movements at a time, opened anew when it ends."""

    def __init__(self, channel: grpc.aio.Channel, house: str, source: str) -> None:
        """`house`: the establishment's name."""
        self._stub = census_pb2_grpc.CensusServiceStub(channel)
        self._house = house
        self._source = source
        self._call: _Call | None = None

    async def apply(self, movements: list[Told]) -> dict[str, census_pb2.ApplyMovementsResponse]:
        """What became of each movement, by id; all are committed. Raises `NodeAway`, `NodeDenies`."""
        answers: dict[str, census_pb2.ApplyMovementsResponse] = {}
        for begin in range(0, len(movements), UNACKNOWLEDGED_MAX):
            part = movements[begin : begin + UNACKNOWLEDGED_MAX]
            try:
                await self._apply_part(part, answers)
            except grpc.aio.AioRpcError as error:
                self.drop()
                if error.code() in _DENIED:
                    raise NodeDenies(error.code().name) from error
                raise NodeAway(error.code().name) from error
            except asyncio.InvalidStateError as error:  # written to after the server ended it
                self.drop()
                raise NodeAway("stream ended") from error
            except BaseException:
                self.drop()  # answers still to come are of no call any more
                raise
        return answers

    async def _apply_part(self, part: list[Told], answers: dict[str, census_pb2.ApplyMovementsResponse]) -> None:
        call = self._call
        if call is None:
            call = self._call = self._stub.ApplyMovements()
        for told in part:
            await call.write(census_pb2.ApplyMovementsRequest(movement=census_pb2.Movement.FromString(told.body)))
        for _ in part:
            answer = await call.read()
            if not isinstance(answer, census_pb2.ApplyMovementsResponse):
                self.drop()
                raise NodeAway("the stream ended before its answers")
            answers[answer.movement_id] = answer

    def drop(self) -> None:
        """Ends the stream: the next movement opens another."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    async def alive(self) -> bool:
        """Says that the feed is open and answering; whether the node heard it."""
        try:
            request = census_pb2.ReportAliveRequest(source_id=self._source)
            await self._stub.ReportAlive(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError:
            return False
        return True

    async def stays(self) -> list[census_pb2.Stay]:
        """Whom the node has in its census of this source, and whom it expects. Raises `NodeAway`, `NodeDenies`."""
        call = partial(self._stub.ListStays, timeout=CALL_SECONDS)
        try:
            return [
                stay
                async for page in pages(call, census_pb2.ListStaysRequest(parent=self._house))
                for stay in page.stays
                if stay.source_id == self._source
            ]
        except grpc.aio.AioRpcError as error:
            raise (NodeDenies if error.code() in _DENIED else NodeAway)(error.code().name) from error
