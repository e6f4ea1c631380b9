"""What was said and told, on disk: a small SQLite file beside the adapter, written by one thread.

One row a visit: the words said of it (`Said`, without identity), the steps told to the node, and the movements that the
node has not acknowledged yet. A message's words and the movements that follow from them are committed together, before
anything is sent, with what was there before the message: after a crash the same movements go again, under the same ids,
and the node knows them; and what it refuses in part can still be undone. The row after the acknowledgement is written
with the next commit, for nothing is lost if it is not.

Of a message that was refused the place of the fault is kept, and no more.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec

from aval.adapters.hl7v2.faults import Fault
from aval.adapters.hl7v2.meaning import Said
from aval.adapters.hl7v2.stays import Phase, is_over, presence
from aval.adapters.hl7v2.telling import Step, Told, standing_of

KEY_BYTES = 32
"""Of the key of hashes: as long as SHA-256's result."""

VISITS_MAX = 500_000
"""Visits kept: ten years of a 1,400-bed hospital's stays, or `KEPT` of a group's outpatients. Beyond, new ones are not
taken: the disk is not the place to find that out."""

REFUSALS_MAX = 10_000
"""Faults kept for the interface's engineer; the oldest go."""

KEPT = timedelta(days=30)
"""How long a stay is remembered after the last word of it: corrections of closed stays come within the month in which
they are billed, and the node keeps movements as long."""

BUSY_SECONDS = 5.0
"""How long a statement waits for another process (`aval hl7 reconcile` reads while the adapter writes)."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS visit (
    key TEXT PRIMARY KEY, body BLOB NOT NULL, pending INTEGER NOT NULL, said REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS visit_pending ON visit (pending) WHERE pending;
CREATE INDEX IF NOT EXISTS visit_said ON visit (said);
CREATE TABLE IF NOT EXISTS refusal (
    number INTEGER PRIMARY KEY, at REAL NOT NULL, event TEXT NOT NULL, place TEXT NOT NULL, code TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""

FORMAT = 1
"""Of the rows' bodies. A file of another is not opened."""

Done = TypeVar("Done")


class InboxUnusable(RuntimeError):
    """The file cannot be used; the sentence says what to do."""


class Visit(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row. `merged_into`: what is said of this visit is said of that one. Until the node has answered all that
    follows of a message, `before` is the visit without it, and `beside` are the other visits of that message."""

    key: str
    log: tuple[Said, ...] = ()
    steps: tuple[Step, ...] = ()
    pending: tuple[Told, ...] = ()
    merged_into: str = ""
    before: "Visit | None" = None
    beside: tuple[str, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Visit).decode


class Inbox:
    """The file, open. Its methods run in a thread of its own, one at a time, in the order of their calls."""

    def __init__(self, path: Path, first_number: int = 1) -> None:
        """Opens the file, or makes it, readable by its owner alone; a new one numbers movements from `first_number`,
        which is above all that an inbox lost before had given. Raises `InboxUnusable`."""
        self._thread = ThreadPoolExecutor(1, "inbox")
        self._path = path
        self._later: dict[str, Visit] = {}
        try:
            path.touch(mode=0o600)
            self._base = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            self._base.executescript(_SCHEMA)
            self._check_format()
        except (OSError, sqlite3.Error) as error:
            raise InboxUnusable(f"{path}: {error}") from error
        self.number = self._meta("number", first_number)
        """The next free number of a movement."""

    def _check_format(self) -> None:
        if self._meta("format", FORMAT) != FORMAT:
            raise InboxUnusable(f"{self._path} is of another version of Aval: put it aside; the node keeps the census")
        self._base.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?)", (FORMAT,))

    def _meta(self, name: str, default: int) -> int:
        row = self._base.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return default if row is None else int(row[0])

    async def _run(self, work: Callable[[], Done]) -> Done:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def visits(self, keys: Iterable[str]) -> dict[str, Visit]:
        """These visits; a new one for each that is not known."""
        wanted = list(dict.fromkeys(keys))
        return await self._run(lambda: {key: self._find(key) for key in wanted})

    def _find(self, key: str) -> Visit:
        if key in self._later:
            return self._later[key]
        row = self._base.execute("SELECT body FROM visit WHERE key = ?", (key,)).fetchone()
        return Visit(key) if row is None else _decode(row[0])

    async def commit(self, visits: Iterable[Visit], number: int) -> None:
        """Writes these visits, with those that were left for later, in one transaction. Raises `InboxUnusable`."""
        written = list(visits)

        def work() -> None:
            rows = {**self._later, **{visit.key: visit for visit in written}}
            try:
                self._base.execute("BEGIN IMMEDIATE")
                self._base.executemany(
                    "INSERT OR REPLACE INTO visit VALUES (?, ?, ?, ?)", [_row(visit) for visit in rows.values()]
                )
                self._base.execute("INSERT OR REPLACE INTO meta VALUES ('number', ?)", (number,))
                self._base.execute("COMMIT")
            except sqlite3.Error as error:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise InboxUnusable(f"{self._path}: {error}") from error
            self._later.clear()

        await self._run(work)
        self.number = number

    async def leave(self, visits: Iterable[Visit]) -> None:
        """Takes these visits with the next commit: what the node has acknowledged may be asked of it again."""
        left = {visit.key: visit for visit in visits}
        await self._run(lambda: self._later.update(left))

    async def pending(self) -> list[Visit]:
        """The visits of which the node has not acknowledged everything."""
        return await self._run(
            lambda: [_decode(row[0]) for row in self._base.execute("SELECT body FROM visit WHERE pending = 1")]
        )

    async def every(self, after: str, count: int) -> list[Visit]:
        """The next visits in the order of their keys."""
        found = "SELECT body FROM visit WHERE key > ? ORDER BY key LIMIT ?"
        return await self._run(
            lambda: [self._latest(_decode(row[0])) for row in self._base.execute(found, (after, count))]
        )

    def _latest(self, visit: Visit) -> Visit:
        return self._later.get(visit.key, visit)

    async def count(self) -> int:
        """How many visits are kept."""
        return await self._run(lambda: int(self._base.execute("SELECT count(*) FROM visit").fetchone()[0]))

    async def refused(self, event: str, fault: Fault, at: datetime) -> None:
        """Remembers where a message was wrong."""

        def work() -> None:
            self._base.execute(
                "INSERT INTO refusal (at, event, place, code) VALUES (?, ?, ?, ?)",
                (at.timestamp(), event[:8], fault.place, fault.code),
            )
            self._base.execute(
                "DELETE FROM refusal WHERE number <= (SELECT max(number) FROM refusal) - ?", (REFUSALS_MAX,)
            )

        await self._run(work)

    async def purge(self, now: datetime, kept: timedelta = KEPT, rows_max: int = 500) -> int:
        """Forgets stays that are over; looks at `rows_max` of those longest not spoken of. How many went."""

        def work() -> int:
            oldest = "SELECT body FROM visit WHERE said < ? AND pending = 0 ORDER BY said LIMIT ?"
            before = (now - kept).timestamp()
            visits = [_decode(row[0]) for row in self._base.execute(oldest, (before, rows_max))]
            over = [(visit.key,) for visit in visits if _is_over(visit, now, kept)]
            still = [(now.timestamp(), visit.key) for visit in visits if (visit.key,) not in set(over)]
            self._base.execute("BEGIN IMMEDIATE")
            self._base.executemany("DELETE FROM visit WHERE key = ?", over)
            self._base.executemany("UPDATE visit SET said = ? WHERE key = ?", still)
            self._base.execute("COMMIT")
            return len(over)

        return await self._run(work)

    async def close(self) -> None:
        """Writes what was left for later, and closes the file."""
        await self.commit((), self.number)
        await self._run(self._base.close)
        self._thread.shutdown()


def _is_over(visit: Visit, now: datetime, kept: timedelta) -> bool:
    """Whether a stay can be forgotten; never one that was taken up from the node, and of which nothing was said yet."""
    if not visit.log and standing_of(visit.steps).phase in (Phase.PRESENT, Phase.EXPECTED):
        return False
    return is_over(presence(visit.log), visit.log, now, kept)


def _row(visit: Visit) -> tuple[str, bytes, int, float]:
    said = max((word.sent.timestamp() for word in visit.log), default=0.0)
    return visit.key, _encode(visit), int(bool(visit.pending)), said


def read_visits(path: Path) -> list[Visit]:
    """All visits in a file that another process may be writing. Raises `InboxUnusable`."""
    try:
        base = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        try:
            return [_decode(row[0]) for row in base.execute("SELECT body FROM visit ORDER BY key")]
        finally:
            base.close()
    except sqlite3.Error as error:
        raise InboxUnusable(f"{path}: {error}") from error


def house_key(path: Path) -> bytes:
    """The key of this house's hashes; made at the first start. Whoever has it can try numbers of visits: it stays with
    the adapter, and a new one makes all stays new. Raises `InboxUnusable`."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_bytes()
        if len(key) != KEY_BYTES:
            raise InboxUnusable(f"{path} is no key of {KEY_BYTES} bytes: put back the one that was there") from None
        return key
    with os.fdopen(descriptor, "wb") as file:
        key = os.urandom(KEY_BYTES)
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key
