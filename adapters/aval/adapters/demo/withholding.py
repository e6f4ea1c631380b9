"""A relay between a hub and one node that can keep the node's answers to itself.

To kill a node between its commit and its answer, one must hold the answer at that very moment. Nothing in the node
helps with it: the relay stands between the two as a bad network would, carries their TLS unread, and stops carrying in
one direction when told to.
"""

import asyncio
from contextlib import suppress

CHUNK_BYTES = 65_536
"""Read at once: a TLS record is 16 kB at most."""


class Relay:
    """Listens on loopback and carries every connection to `target`, a `host:port`."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._server: asyncio.Server | None = None
        self._carrying = asyncio.Event()
        self._carrying.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self.carried_bytes = 0
        self.withheld_bytes = 0
        """Of what the target said: what went through, and what did not."""

    @property
    def address(self) -> str:
        """Where to dial instead of the target."""
        if self._server is None:
            raise RuntimeError("the relay does not listen yet")
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        """Listens on a free port."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)

    def withhold(self) -> None:
        """From now on nothing that the target says gets through."""
        self._carrying.clear()

    async def close(self) -> None:
        """Drops what is withheld and all connections."""
        for end in self._ends:
            end.transport.abort()
        if self._server is not None:
            self._server.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 1.0)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.close()
            return
        self._ends |= {writer, target_writer}
        try:
            await asyncio.gather(
                self._pour(reader, target_writer, answers=False), self._pour(target_reader, writer, answers=True)
            )
        finally:
            for end in (writer, target_writer):
                self._ends.discard(end)
                end.close()

    async def _pour(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                if answers and not self._carrying.is_set():
                    self.withheld_bytes += len(chunk)
                    continue
                self.carried_bytes += len(chunk) if answers else 0
                writer.write(chunk)
                await writer.drain()
        writer.close()
