"""The hub's store in an SQLite file: one writer thread, group commit.

Works wait in a queue. The thread takes all that wait, runs each over one transaction, commits once, and only then
answers: one fdatasync for many works (PLATFORM measured twice the rate). A work that fails after it has written would
hurt its neighbours, so then all is rolled back and the others run again: works are re-runnable by the port's contract.
A work that fails before it has written hurts nobody.

WAL with `synchronous=FULL`: what was answered survives a power cut. A lock beside the file keeps a second process out;
a file that is damaged, or of a newer schema, is refused before anything is touched.
"""

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy as sa

from aval.hub.ports import Meters, Transaction
from aval.hub.store import sums
from aval.hub.store.schema import DatabaseUnusable, is_current, upgrade
from aval.hub.store.transaction import SqlTransaction
from aval.kernel.reasons import Reason, Refusal

T = TypeVar("T")

WORKS_PER_COMMIT_MAX = 128
"""Works in one commit: beyond that the last of them waits longer than another fdatasync takes."""

WORKS_WAITING_MAX = 2000
"""Works that may wait: at some 1,000 works a second this is two seconds' worth; more is refused, to be tried again."""


class _Work:
    """A work that waits, and where its answer goes."""

    __slots__ = ("answer", "run")

    def __init__(self, run: Callable[[Transaction], Any]) -> None:
        self.run = run
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class _Settled:
    """What became of a work: its value, or what it raised."""

    __slots__ = ("error", "value", "work")

    def __init__(self, work: _Work, value: Any = None, error: BaseException | None = None) -> None:
        self.work = work
        self.value = value
        self.error = error


class SqliteStore:
    """`aval.hub.ports.Store` over one file."""

    def __init__(self, path: Path, meters: Meters) -> None:
        """Opens, migrates, starts the writer. An event loop must be running. Raises `DatabaseUnusable`."""
        self._meters = meters
        self._loop = asyncio.get_running_loop()
        self._lock = lock(path)
        # AUTOCOMMIT: SQLAlchemy and sqlite3 leave transactions to us, so that one may hold many works.
        self._engine = sa.create_engine(f"sqlite:///{path}", isolation_level="AUTOCOMMIT")
        sa.event.listen(self._engine, "connect", sums.teach)
        with ExitStack() as undone:
            undone.callback(os.close, self._lock)
            undone.callback(self._engine.dispose)
            try:
                self._connection = undone.enter_context(self._engine.connect())
                self._connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                self._connection.exec_driver_sql("PRAGMA synchronous=FULL")
                check(self._connection, path)
                migrate(self._connection, path)
            except sa.exc.DatabaseError as error:
                raise DatabaseUnusable(
                    f"{path} cannot be used as a hub's database ({error.orig}): look at the folder and the disk, or "
                    "put back a backup"
                ) from error
            undone.pop_all()  # from here on `close` does all that
        self._transaction = SqlTransaction(self._connection)
        self._works: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._waiting = 0
        self._thread = threading.Thread(target=self._write, name="hub-store", daemon=True)
        self._thread.start()

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See `aval.hub.ports.Store.read`: the one writer's thread reads too."""
        return await self.run(work)

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """See `aval.hub.ports.Store.run`."""
        if self._waiting >= WORKS_WAITING_MAX:
            raise Refusal(Reason.QUEUE_FULL, {"queue": "store"})
        waiting = _Work(work)
        self._waiting += 1
        self._works.put(waiting)
        try:
            answer: T = await waiting.answer
        finally:
            self._waiting -= 1
        return answer

    def close(self) -> None:
        """Finishes the works that wait, then closes the file."""
        self._works.put(None)
        self._thread.join()
        self._connection.close()
        self._engine.dispose()
        os.close(self._lock)

    def _write(self) -> None:
        """The writer thread: all that waits, one commit, all answers."""
        closing = False
        while not closing:
            batch = [self._works.get()]
            while len(batch) < WORKS_PER_COMMIT_MAX and batch[-1] is not None:
                try:
                    batch.append(self._works.get_nowait())
                except queue.Empty:
                    break
            closing = batch[-1] is None
            settled = self._commit([work for work in batch if work is not None])
            if settled and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._settle, settled)

    def _settle(self, settled: list[_Settled]) -> None:
        """On the loop's thread. A caller that has gone is not answered; its work is done all the same."""
        self._meters.queue_length("store", self._works.qsize())
        for one in settled:
            if one.work.answer.done():
                continue
            if one.error is None:
                one.work.answer.set_result(one.value)
            else:
                one.work.answer.set_exception(one.error)

    def _commit(self, batch: list[_Work]) -> list[_Settled]:
        """Runs a batch in one transaction; what fails after it has written is left out of the next try."""
        failed: list[_Settled] = []
        while batch:
            settled: list[_Settled] = []
            begun = time.monotonic()
            try:
                self._connection.exec_driver_sql("BEGIN IMMEDIATE")
                spoilt = self._run_each(batch, settled)
                if spoilt is None:
                    self._connection.exec_driver_sql("COMMIT")
            except sa.exc.DBAPIError as error:
                self._roll_back()
                self._meters.commit_failed()
                refusal = Refusal(Reason.STORAGE_UNAVAILABLE, {"problem": type(error.orig).__name__})
                return failed + [_Settled(work, error=refusal) for work in batch]
            if spoilt is None:
                if self._transaction.take_written():
                    self._meters.committed(len(batch), time.monotonic() - begun)
                return failed + settled
            self._roll_back()
            failed.append(spoilt)
            batch = [work for work in batch if work is not spoilt.work]
        return failed

    def _run_each(self, batch: list[_Work], settled: list[_Settled]) -> _Settled | None:
        """Runs works in order; returns the one that failed after it had written, and then stops."""
        for work in batch:
            before = self._transaction.writes
            try:
                settled.append(_Settled(work, value=work.run(self._transaction)))
            except Exception as error:
                if isinstance(error, sa.exc.DBAPIError):
                    raise  # the store's own failure is that of the whole batch
                # Whatever else a work raises goes to whoever asked for it.
                failure = _Settled(work, error=error)
                if self._transaction.writes != before:
                    return failure
                settled.append(failure)
        return None

    def _roll_back(self) -> None:
        self._transaction.take_written()
        if _is_open(self._connection):
            # A disk that cannot even do that refuses the next works too, each with another try: the thread stays.
            with suppress(sa.exc.DBAPIError):
                self._connection.exec_driver_sql("ROLLBACK")


def _is_open(connection: sa.Connection) -> bool:
    """Whether a transaction is open, as the driver knows it: a full disk may have ended it already."""
    return cast(sqlite3.Connection, connection.connection.dbapi_connection).in_transaction


def lock(path: Path) -> int:
    """Takes the lock beside the database; its file stays, with the number of the process that had it last."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DatabaseUnusable(f"{path.parent} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(handle, 20).decode("ascii", "replace").strip() or "unknown"
        os.close(handle)
        raise DatabaseUnusable(
            f"{path} is in use by another hub (process {holder}): stop it first, or give this one another database"
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    return handle


def check(connection: sa.Connection, path: Path) -> None:
    """Looks through the whole file. Raises `DatabaseUnusable` for one that is damaged."""
    found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
    if found == "ok":
        found = sums.spoilt(connection)
    if found is not None:
        raise DatabaseUnusable(f"{path} is damaged ({found}): put back a backup, or move the file away and start anew")


def migrate(connection: sa.Connection, path: Path) -> None:
    """Brings the schema to the newest version, in one transaction. Raises `DatabaseUnusable` if it is newer still."""
    if is_current(connection, str(path)):
        return
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    upgrade(connection)
    if _is_open(connection):
        connection.exec_driver_sql("COMMIT")
