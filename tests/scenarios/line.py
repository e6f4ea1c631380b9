"""A line of the network that can be spoilt: a TCP proxy between two real peers, which carries their TLS unread.

Each direction is open, slow, frozen (the proxy stops reading, so that the sender's own buffers fill) or swallows what
comes. All connections can be reset at once, or each one after so many bytes; and one side can be closed while the other
is left believing that all is well. The proxy lives in a thread of its own, so that it outlasts the tests' event loops.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

CHUNK_BYTES = 65_536
"""Read at once: a TLS record is 16 kB at most."""

READY_SECONDS_MAX = 10.0
"""A listening socket takes milliseconds; a line that cannot be laid fails its test."""

_T = TypeVar("_T")


class Way(StrEnum):
    """A direction: `THERE` from who dials to who is dialled, `BACK` from the latter to the former."""

    THERE = "there"
    BACK = "back"


class Flow(StrEnum):
    """What a direction does with what comes."""

    OPEN = "open"
    FROZEN = "frozen"
    SWALLOWED = "swallowed"


@dataclass(eq=False)
class _Joined:
    """One connection through the proxy."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    over: asyncio.Event
    parted: bool = False


class Line:
    """Carries every connection to `target`, a `host:port`, from an `address` of its own."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.address = ""
        self.carried_bytes = dict.fromkeys(Way, 0)
        self.swallowed_bytes = dict.fromkeys(Way, 0)
        self.connections = 0
        """How many were made since the beginning."""
        self._flow = dict.fromkeys(Way, Flow.OPEN)
        self._delay_seconds = 0.0
        self._cut_after_bytes = 0
        self._joined: set[_Joined] = set()
        self._carrying: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._mended = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)
        self._thread.start()
        self._server = self._await(self._listen())

    # ---------------------------------------------------------------------------------------- what tests do to it

    def set(self, way: Way, flow: Flow) -> None:
        """From now on that direction does so."""
        self._call(lambda: self._set(way, flow))

    def slow(self, delay_seconds: float) -> None:
        """Each piece is held for so long, both ways, until the line is mended."""

        def slow() -> None:
            self._delay_seconds = delay_seconds
            self._mended.clear()

        self._call(slow)

    def cut_after(self, length_bytes: int) -> None:
        """Each connection is reset once so many bytes have come back on it; 0 for never."""
        self._cut_after_bytes = length_bytes

    def cut(self) -> None:
        """Resets all connections, both ends."""
        self._call(self._cut)

    def part(self) -> None:
        """Closes the far end of each connection and tells the near end nothing: it is half-open from now on."""
        self._call(self._part)

    def mend(self) -> None:
        """All is well again for new connections; what is frozen flows on, what was swallowed or parted is reset."""

        def mend() -> None:
            spoilt = any(flow is Flow.SWALLOWED for flow in self._flow.values())
            self._delay_seconds = self._cut_after_bytes = 0
            for way in Way:
                self._flow[way] = Flow.OPEN
            self._changed.set()
            self._mended.set()
            for one in list(self._joined):
                if spoilt or one.parted:
                    _reset(one)

        self._call(mend)

    def close(self) -> None:
        """Drops everything."""
        self._await(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # ------------------------------------------------------------------------------------------- in its own thread

    def _call(self, work: Callable[[], None]) -> None:
        async def run() -> None:
            work()

        self._await(run())

    def _await(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(READY_SECONDS_MAX)

    async def _listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _end(self) -> None:
        self._server.close()
        self._cut()
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    def _set(self, way: Way, flow: Flow) -> None:
        self._flow[way] = flow
        self._changed.set()

    def _cut(self) -> None:
        for one in list(self._joined):
            _reset(one)

    def _part(self) -> None:
        for one in self._joined:
            one.parted = True
            one.far.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        host, _, port = self.target.rpartition(":")
        try:
            far_reader, far = await asyncio.open_connection(host, int(port))
        except OSError:
            near.transport.abort()
            return
        one = _Joined(near, far, asyncio.Event())
        self._joined.add(one)
        self.connections += 1
        try:
            await asyncio.gather(self._pour(reader, far, one, Way.THERE), self._pour(far_reader, near, one, Way.BACK))
        finally:
            self._joined.discard(one)
            for end in (near, far):
                end.transport.abort()

    async def _pour(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, one: _Joined, way: Way) -> None:
        carried = 0
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                if self._delay_seconds:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._mended.wait(), self._delay_seconds)
                while self._flow[way] is Flow.FROZEN:
                    self._changed.clear()
                    await self._changed.wait()
                if self._flow[way] is Flow.SWALLOWED or one.parted:
                    self.swallowed_bytes[way] += len(chunk)
                    continue
                self.carried_bytes[way] += len(chunk)
                carried += len(chunk)
                writer.write(chunk)
                await writer.drain()
                if way is Way.BACK and 0 < self._cut_after_bytes <= carried:
                    _reset(one)
                    return
        if one.parted and way is Way.BACK:
            # The far end is gone and the near end must not learn it: this half stays until the line is mended.
            await one.over.wait()
        writer.close()


def _reset(one: _Joined) -> None:
    """Ends a connection by RST, as a router that forgot it does."""
    one.over.set()
    for end in (one.near, one.far):
        found = end.get_extra_info("socket")
        if found is not None and found.fileno() >= 0:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.transport.abort()
