"""A line to PostgreSQL that can be cut at a commit: before the server is told of it, or after it has done it.

Only then is a commit's fate unknown to its client. The line is a socket of its own before the server's.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from concurrent.futures import Future
from enum import Enum, auto
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

COMMIT = b"COMMIT\x00"
"""The end of the message by which a client commits."""


class Cut(Enum):
    """Where a line is cut."""

    BEFORE_COMMIT = auto()
    AFTER_COMMIT = auto()


class Cutter:
    """The line; `url` goes through it. `arm` lets the next commit meet the cut, once."""

    def __init__(self, url: str) -> None:
        """To the server of that URL."""
        known = conninfo_to_dict(url)
        self._host, self._port = str(known["host"]), int(known.get("port") or 5432)
        self._folder = Path(tempfile.mkdtemp(prefix="aval-cut-"))
        self._armed: Cut | None = None
        self._loop = asyncio.new_event_loop()
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run)
        self.cuts = 0
        self.url = make_conninfo(url, host=str(self._folder), port=5432)

    def arm(self, cut: Cut) -> None:
        """The next commit is cut there."""
        self._armed = cut

    def __enter__(self) -> Self:
        # In a thread of its own: a store that opens blocks its loop until the line has answered.
        self._thread.start()
        self._opened.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        shutil.rmtree(self._folder)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        opening = asyncio.start_unix_server(self._serve, self._folder / ".s.PGSQL.5432")
        server = self._loop.run_until_complete(opening)
        self._opened.set_result(None)
        self._loop.run_forever()
        server.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        if self._host.startswith("/"):
            far, on = await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        else:
            far, on = await asyncio.open_connection(self._host, self._port)
        cut: Cut | None = None

        async def outward() -> None:
            nonlocal cut
            while data := await near.read(65536):
                if COMMIT in data and self._armed is not None:
                    cut, self._armed = self._armed, None
                    self.cuts += 1
                    if cut is Cut.BEFORE_COMMIT:
                        return
                on.write(data)

        async def inward() -> None:
            while data := await far.read(65536):
                if cut is not None:
                    return
                back.write(data)

        ways = [asyncio.ensure_future(outward()), asyncio.ensure_future(inward())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for writer in (on, back):
                writer.transport.abort()
        await asyncio.gather(*ways, return_exceptions=True)
