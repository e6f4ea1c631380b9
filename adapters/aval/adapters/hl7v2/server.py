"""The MLLP server: connections, their limits, and answers in the order of the messages.

A sender may write several messages before it reads an answer; each connection has so many in hand at most, and is not
read from meanwhile. While the node is away a message gets no answer: after some time the connection is closed without
one, and the sender sends the message again, which every sender of HL7 does.
"""

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from aval.adapters.hl7v2.framing import MESSAGE_BYTES_MAX, Deframer, framed
from aval.adapters.hl7v2.meters import Meters

READ_BYTES = 1 << 16
"""Of one read: a few messages."""

log = structlog.get_logger()

Take = Callable[[bytes], Awaitable[bytes | None]]
"""What answers a frame; None: no answer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes (SECURITY, threat 22).

    `handshake_seconds`: TLS. `message_seconds`: from the first byte of a message to its last, so that a byte a second
    holds nothing for long. `idle_seconds`: without any message; senders open a connection anew when they need it.
    `answer_seconds`: how long a message waits for the node. `in_hand`: messages read and not answered, a connection.
    """

    connections: int = 64
    connections_a_peer: int = 16
    message_bytes: int = MESSAGE_BYTES_MAX
    handshake_seconds: float = 5.0
    message_seconds: float = 30.0
    idle_seconds: float = 3600.0
    answer_seconds: float = 60.0
    in_hand: int = 64


class MllpServer:
    """Listens on one address. `take` answers a frame."""

    def __init__(self, take: Take, limits: Limits, meters: Meters, tls: ssl.SSLContext | None) -> None:
        self._take = take
        self._limits = limits
        self._meters = meters
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._peers: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """How many are open."""
        return sum(self._peers.values())

    async def start(self, host: str, port: int) -> int:
        """Listens; the port really taken. Raises OSError."""
        tls = {} if self._tls is None else {"ssl_handshake_timeout": self._limits.handshake_seconds}
        self._server = await asyncio.start_server(
            self._connected, host, port, ssl=self._tls, limit=READ_BYTES, backlog=self._limits.connections, **tls
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Takes no more, and closes what is open: messages without an answer will be sent again."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._admit(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = str((writer.get_extra_info("peername") or ("?",))[0])
        try:
            if self.connections >= self._limits.connections or self._peers[peer] >= self._limits.connections_a_peer:
                self._meters.closed("too-many")
                return
            self._peers[peer] += 1
            self._meters.connections(self.connections)
            try:
                await _Connection(reader, writer, self._take, self._limits, self._meters).serve()
            finally:
                self._peers[peer] -= 1
                self._peers += Counter()  # forgets peers that have none left
                self._meters.connections(self.connections)
        except (OSError, EOFError):
            pass  # the sender went away: it knows what was answered
        finally:
            writer.close()
            with suppress(OSError, ssl.SSLError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), self._limits.handshake_seconds)


class _Connection:
    """One connection: a reader, and answers in the order of its frames."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, take: Take, limits: Limits, meters: Meters
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._take = take
        self._limits = limits
        self._meters = meters
        self._answers: asyncio.Queue[asyncio.Task[bytes | None] | None] = asyncio.Queue(limits.in_hand)

    async def serve(self) -> None:
        """Until the sender or a limit ends it."""
        answering = asyncio.ensure_future(self._answer())
        reading = asyncio.ensure_future(self._read())
        try:
            await asyncio.wait((answering, reading), return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and not answering.done():
                await self._answers.put(None)
                await answering
            for done in (answering, reading):
                if done.done() and not done.cancelled():
                    done.result()
        finally:
            for task in (answering, reading):
                task.cancel()
            while not self._answers.empty():
                left = self._answers.get_nowait()
                if left is not None:
                    left.cancel()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        deframer = Deframer(self._limits.message_bytes)
        deadline = loop.time() + self._limits.idle_seconds
        while True:
            try:
                received = await asyncio.wait_for(self._reader.read(READ_BYTES), max(deadline - loop.time(), 0.001))
            except TimeoutError:
                self._meters.closed("slow" if deframer.inside else "idle")
                return
            if not received:
                return
            was_inside = deframer.inside
            frames = deframer.feed(received)
            for frame in frames:
                task = asyncio.ensure_future(asyncio.wait_for(self._take(frame), self._limits.answer_seconds))
                try:
                    await self._answers.put(task)
                except asyncio.CancelledError:
                    task.cancel()
                    raise
            if deframer.inside and (frames or not was_inside):
                deadline = loop.time() + self._limits.message_seconds
            elif not deframer.inside and (frames or was_inside):
                deadline = loop.time() + self._limits.idle_seconds

    async def _answer(self) -> None:
        while (task := await self._answers.get()) is not None:
            try:
                answer = await task
            except TimeoutError:
                self._meters.closed("no-answer")
                return
            finally:
                task.cancel()
            if answer is not None:
                self._writer.write(framed(answer))
                await asyncio.wait_for(self._writer.drain(), self._limits.message_seconds)
