"""The hub's store in PostgreSQL, which several hubs may share: one transaction a work, on a few connections.

**Isolation.** A work runs at READ COMMITTED, and the row of each request that it loads is locked (`SELECT … FOR
UPDATE`) until it ends: all that changes a request, its asks or its rows of the outbox loads it first, so works on one
request stand in line, and each reads what the one before it left. An act's id is locked too (an advisory lock) before
its record is looked for: the same act sent twice at once finds the record, and not the request that its twin has just
made. So is the row of the origin: of hubs that begin together after a restore one marks the requests, and no act that
came in between is written over; houses that two hubs list at once are both listed. SERIALIZABLE would say the same and
abort works in droves, because its locks on an index of a small table are locks on pages that strangers share;
REPEATABLE READ would abort each that waited. What two works could both find free (an id, a spoken reference) is a
unique index. A work that only reads runs at REPEATABLE READ, READ ONLY: one moment, no lock, nothing to write to the
log. One count is not guarded: works at the same instant may pass the limit of live requests by as many as there are
connections.

**Running again**, `_settle`, is the one mechanism for all that may come right by itself, bounded, and counted by cause:
a serialisation failure (40001), a deadlock (40P01), an id that somebody else took between our look and our insert
(23505: the next run finds it there and decides by it), and a lost connection. If that was lost at COMMIT nobody knows
whether the work was stored. It is run again all the same, and that is safe, because every work of the hub is a function
of what is stored: an act finds the record of its id, kept in the very transaction that may have been stored, and gives
the first answer; an answer of a node finds its row struck; a word of a watch finds itself known; a picture is written
over with the same. A connection that cannot be had again is said (STORAGE_UNAVAILABLE), the caller asks again with its
same id, and nothing waits: for a quarter of a second all works are refused at once, then the next one tries.

**Durability.** `synchronous_commit` is `on`, whatever the server's default: what was answered is flushed here, and with
`synchronous_standby_names` set on a standby too, so that a promotion loses no CONFIRMED. `remote_apply` would add the
standby's replay to each commit for nothing: nobody reads there. A transaction that took locks and wrote nothing does
not wait for the disk.

**Time limits.** A hub that is stopped in mid-transaction holds its locks; the server ends its session after
`IDLE_MS_MAX`, half of a lease. Works never wait for anything but the database, so a healthy hub never meets it.

**Word to the others** is NOTIFY in the transaction, names only. (It makes commits stand in line on the server; at what
a territory writes, tens a second, that is not felt.) The database's URL bears no password: it comes from a pgpass file
or the environment, so that no settings, list of processes or ready file shows it.
"""

import asyncio
import itertools
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
import psycopg
import sqlalchemy as sa
from msgspec import Struct

from aval.hub.model import OutboxRow, RequestFile, Unit
from aval.hub.ports import (
    Announcement,
    CommandRecord,
    Lease,
    LeaseLost,
    Origin,
    PictureHead,
    Proofs,
    SharedMeters,
    SharedTransaction,
    Tenancy,
    Told,
)
from aval.hub.store import leasing
from aval.hub.store.schema import DatabaseUnusable, is_current, upgrade
from aval.hub.store.transaction import SqlTransaction, encoded
from aval.kernel.reasons import Reason, Refusal

T = TypeVar("T")

CONNECTIONS = 6
"""Works at once of one hub: more only wait for the processor; a territory's three hubs and their listeners take 21 of
the 100 connections that a server allows by default."""

WORKS_WAITING_MAX = 2000
"""Works that may wait: some seconds' worth; more is refused, to be tried again."""

RUNS_MAX = 8
"""Runs of one work. Works on a request stand in line, so two is rare and eight is something wrong."""

RERUN_WAIT_SECONDS_MAX = 0.05
"""Longest wait before a work is run again; drawn, and longer each time, so that two do not meet again."""

DOWN_SECONDS = 0.25
"""How long all works are refused after a connection could not be had: the queue must not fill behind tries."""

LEASE_SECONDS = 6.0
"""Life of a lease (DESIGN §12): with renewals each 2 s two may be lost; a dead hub's nodes move within 10 s."""

STATEMENT_MS_MAX = 10_000
LOCK_MS_MAX = 5_000
"""A statement takes milliseconds; what waits longer than a caller does is an error to be said."""

IDLE_MS_MAX = 3_000
"""A session that idles in a transaction is ended by the server: see the module, time limits."""

CHANNEL = "aval_hub"
LISTEN = b"LISTEN aval_hub"
PAYLOAD_BYTES_MAX = 7900
"""PostgreSQL takes less than 8,000. Longer lists are sent as none: anything may have changed."""

MIGRATION_LOCK = 0x4156_414C
"""Hubs that start together take this advisory lock in turn ("AVAL" in ASCII)."""

SESSION: dict[str, Any] = {
    "application_name": "aval-hub",
    "options": (
        "-c synchronous_commit=on -c default_transaction_isolation=read\\ committed"
        f" -c statement_timeout={STATEMENT_MS_MAX} -c lock_timeout={LOCK_MS_MAX}"
        f" -c idle_in_transaction_session_timeout={IDLE_MS_MAX} -c timezone=UTC"
    ),
    "connect_timeout": 2,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
    "target_session_attrs": "read-write",
}
"""Each session's settings. With several hosts in the URL, `read-write` finds the one that is primary now."""

CONFLICTS = {"40001": "serialization", "40P01": "deadlock", "23505": "taken"}
"""SQLSTATE of what another transaction did, by the name under which re-runs are counted."""

LOST_CLASSES = ("08", "57P0", "25006", "25P03")
"""SQLSTATE of a session that is over: connection, shut-down, a primary that has become a standby, idled too long."""


class _Proof(Struct, frozen=True):
    """Body of a row of proofs."""

    proofs: Proofs


_chance = secrets.SystemRandom()
_proof = msgspec.json.Decoder(_Proof)
_head = msgspec.json.Decoder(PictureHead)
_unit = msgspec.json.Decoder(Unit)


class PostgresTransaction(SqlTransaction):
    """`aval.hub.ports.SharedTransaction` over one connection. `changed` names what others must be told of."""

    put_row = leasing.PUT_ROW

    def __init__(self, connection: sa.Connection, replica: int, meters: SharedMeters) -> None:
        super().__init__(connection)
        self._replica = replica
        self._meters = meters
        self.reading = False
        self.locks = 0
        self.changed: set[str] = set()

    def begin(self, *, reading: bool) -> None:
        """A new transaction: forgets the last one."""
        self.reading, self.locks, self.writes, self.changed = reading, 0, 0, set()
        self._connection.exec_driver_sql(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if reading else "BEGIN ISOLATION LEVEL READ COMMITTED"
        )

    def commit(self) -> None:
        """Tells the others, and commits."""
        if self.changed:
            payload = "\n".join((str(self._replica), *sorted(self.changed)))
            if len(payload.encode()) > PAYLOAD_BYTES_MAX:
                payload = str(self._replica)
            self._read(leasing.NOTIFY, channel=CHANNEL, payload=payload)
        elif self.locks and not self.writes:
            self._connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
        self._connection.exec_driver_sql("COMMIT")

    # a restore of the hub

    def origin(self) -> Origin | None:
        """See the port; within a work that may write, it is locked until that ends."""
        if not self.reading:
            self.locks += 1
            self._read(leasing.LOCK_ORIGIN)
        return super().origin()

    # requests and rows

    def request(self, name: str) -> RequestFile | None:
        """See the port; within a work that may write, the request is locked until it ends."""
        if self.reading:
            return super().request(name)
        self.locks += 1
        found = self._read(leasing.REQUEST_LOCKED, name=name)
        return self._file(name, found[0][0]) if found else None

    def command(self, caller: str, command_id: str) -> CommandRecord | None:
        """See the port; within a work that may write, the same act waits until this one has ended."""
        if not self.reading:
            self.locks += 1
            self._read(leasing.LOCK_ACT, act=f"{caller} {command_id}")
        return super().command(caller, command_id)

    def save(self, file: RequestFile, before: RequestFile | None) -> None:
        """See the port."""
        super().save(file, before)
        self.changed.add(file.request.name)

    def outbox(self, establishment: str, limit: int) -> list[OutboxRow]:
        """See the port. Within a work that may write: each reservation's first row, locked, unless others lock it."""
        if self.reading:
            return super().outbox(establishment, limit)
        self.locks += 1
        return self._rows(self._read(leasing.OUTBOX_TAKEN, establishment=establishment, limit=limit))

    def save_picture(self, head: PictureHead, changed: Iterable[Unit], removed: Iterable[str], *, whole: bool) -> None:
        """See the port."""
        super().save_picture(head, changed, removed, whole=whole)
        self.changed.add(f"establishments/{head.cursor.establishment}")

    def save_announcement(self, announcement: Announcement) -> None:
        """See the port."""
        super().save_announcement(announcement)
        self.changed.add(f"announcements/{announcement.establishment}")

    # what is shared

    def hold(self, lease: Lease) -> None:
        """See the port."""
        self.locks += 1
        if not self._read(leasing.HOLD, establishment=lease.establishment, epoch=lease.epoch, holder=self._replica):
            raise LeaseLost(lease)

    def _arrays(self, leases: list[Lease]) -> dict[str, Any]:
        return {
            "establishments": [lease.establishment for lease in leases],
            "epochs": [lease.epoch for lease in leases],
            "holder": self._replica,
        }

    def tenancy(self, held: Iterable[Lease], wanted: Iterable[str]) -> Tenancy:
        """See the port."""
        self.writes += 1
        held, names = sorted(held, key=_establishment), sorted(wanted)
        self._write(leasing.ALIVE, number=self._replica, seconds=LEASE_SECONDS)
        self._write(leasing.OFFER, establishments=names)
        kept = {name for (name,) in self._read(leasing.RENEW, seconds=LEASE_SECONDS, **self._arrays(held))}
        mine = [lease for lease in held if lease.establishment in kept]
        for _ in range(len(held) - len(mine)):
            self._meters.stale_epoch()
        share = -(-len(names) // int(self._read(leasing.ALIVE_COUNT)[0][0]))
        if len(mine) < share:
            taken = self._read(
                leasing.TAKE,
                holder=self._replica,
                seconds=LEASE_SECONDS,
                establishments=names,
                limit=share - len(mine),
            )
            mine += [Lease(name, epoch) for name, epoch in taken]
        self._meters.leases(len(mine))
        (free_in,) = self._read(leasing.NEXT_FREE, holder=self._replica, establishments=names)[0]
        return Tenancy(
            held=tuple(mine),
            refused=tuple(lease for lease in held if lease.establishment not in kept),
            spare=tuple(mine[share:]),
            free_in=None if free_in is None else timedelta(seconds=max(0.0, free_in)),
        )

    def give_up(self, leases: Iterable[Lease]) -> None:
        """See the port."""
        self._write(leasing.GIVE_UP, **self._arrays(list(leases)))

    def leave(self) -> None:
        """See the port."""
        self._write(leasing.GONE, number=self._replica)

    def holders(self) -> dict[str, tuple[int, int]]:
        """Who follows which establishment now: number and epoch."""
        return {name: (holder, epoch) for name, holder, epoch in self._read(leasing.HOLDERS)}

    def save_proofs(self, proofs: Iterable[Proofs]) -> None:
        """See the port."""
        for one in proofs:
            seconds = one.silence.total_seconds()
            body = encoded(_Proof(one))
            self._write(leasing.SAVE_PROOF, establishment=one.establishment, seconds=seconds, body=body)

    def proofs(self, but: Iterable[str]) -> list[Proofs]:
        """See the port."""
        found = []
        for body, seconds in self._read(leasing.PROOFS, establishments=list(but)):
            kept = _proof.decode(body).proofs
            elapsed = timedelta(seconds=seconds) - kept.silence
            ages = tuple((source, unit, age + elapsed) for source, unit, age in kept.ages)
            found.append(Proofs(kept.establishment, timedelta(seconds=seconds), ages))
        return found

    def picture(self, establishment: str) -> tuple[PictureHead, tuple[Unit, ...]] | None:
        """See the port."""
        found = self._read(leasing.PICTURE, establishment=establishment)
        if not found:
            return None
        units = self._read(leasing.PICTURE_UNITS, establishment=establishment)
        return _head.decode(found[0][0]), tuple(_unit.decode(body) for (body,) in units)

    def heads(self) -> list[PictureHead]:
        """See the port."""
        return [_head.decode(body) for (body,) in self._read(leasing.HEADS)]

    def revisions(self) -> Mapping[str, int]:
        """See the port."""
        return dict(self._read(leasing.REVISIONS))


def _establishment(lease: Lease) -> str:
    return lease.establishment


class _Work:
    """A work that waits, and where its answer goes."""

    __slots__ = ("answer", "reading", "run")

    def __init__(self, run: Callable[[Any], Any], *, reading: bool) -> None:
        self.run = run
        self.reading = reading
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class PostgresStore:
    """`aval.hub.ports.Store` and `SharedStore` over one PostgreSQL database."""

    def __init__(self, url: str, meters: SharedMeters, *, replica: int = 0) -> None:
        """Connects, migrates, starts. `url` as libpq reads it. An event loop must be running.

        Raises `DatabaseUnusable`.
        """
        self._url = url
        self._meters = meters
        self._replica = replica
        self._loop = asyncio.get_running_loop()
        # AUTOCOMMIT: SQLAlchemy and psycopg leave transactions to us. NullPool: each thread keeps its own connection.
        self._engine = sa.create_engine(
            "postgresql+psycopg://", creator=self._connect, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool
        )
        self._migrate()
        self._works: queue.PriorityQueue[tuple[int, int, _Work | None]] = queue.PriorityQueue()
        self._order = itertools.count()
        self._waiting = 0
        self._down_until = 0.0
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._serve, name=f"hub-store-{number}", daemon=True)
            for number in range(CONNECTIONS)
        ]
        for thread in self._threads:
            thread.start()

    async def read(self, work: Callable[[SharedTransaction], T]) -> T:
        """See `aval.hub.ports.Store.read`."""
        return await self._ask(work, reading=True)

    async def run(self, work: Callable[[SharedTransaction], T]) -> T:
        """See `aval.hub.ports.Store.run`."""
        return await self._ask(work)

    async def look(self, work: Callable[[SharedTransaction], T]) -> T:
        """See `aval.hub.ports.SharedStore.look`."""
        return await self._ask(work, first=True)

    def listen(self, told: Told) -> None:
        """See `aval.hub.ports.SharedStore.listen`."""
        thread = threading.Thread(target=self._listen, args=(told,), name="hub-store-listener", daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """Finishes the works that wait, then closes the connections."""
        self._closing.set()
        for _ in range(CONNECTIONS):
            self._works.put((2, next(self._order), None))
        for thread in self._threads:
            thread.join()
        self._engine.dispose()

    async def _ask(self, work: Callable[[SharedTransaction], T], *, reading: bool = False, first: bool = False) -> T:
        if self._waiting >= WORKS_WAITING_MAX:
            raise Refusal(Reason.QUEUE_FULL, {"queue": "store"})
        waiting = _Work(work, reading=reading)
        self._waiting += 1
        self._works.put((0 if first else 1, next(self._order), waiting))
        try:
            answer: T = await waiting.answer
        finally:
            self._waiting -= 1
        return answer

    # the threads

    def _serve(self) -> None:
        """One thread with one connection, which it makes when it needs one."""
        session = _Session(self._engine, self._replica, self._meters)
        while (work := self._works.get()[2]) is not None:
            value, error = self._settled(session, work)
            with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                self._loop.call_soon_threadsafe(_answer, work, value, error)
        session.drop()

    def _settled(self, session: "_Session", work: _Work) -> tuple[Any, BaseException | None]:
        """As `_settle`; what the libraries raise beside the driver's own errors is refused too: the thread stays."""
        try:
            return self._settle(session, work)
        except (sa.exc.SQLAlchemyError, psycopg.Error) as fault:
            session.drop()
            self._meters.commit_failed()
            return None, Refusal(Reason.STORAGE_UNAVAILABLE, {"problem": type(fault).__name__})

    def _settle(self, session: "_Session", work: _Work) -> tuple[Any, BaseException | None]:
        """Runs a work until it is stored or refused: the only place where anything is run again. See the module."""
        lost = False
        for number in range(RUNS_MAX):
            if time.monotonic() < self._down_until:
                break
            begun = time.monotonic()
            try:
                value, failure = session.run(work)
            except sa.exc.DBAPIError as error:
                state = getattr(error.orig, "sqlstate", None)
                session.roll_back()
                cause = CONFLICTS.get(state or "")
                if cause is None and not _is_lost(error, state):
                    self._meters.commit_failed()
                    return None, Refusal(Reason.STORAGE_UNAVAILABLE, {"problem": type(error.orig).__name__})
                if cause is None:
                    session.drop()
                    if lost:  # the second in a row: there is no server to be had
                        self._down_until = time.monotonic() + DOWN_SECONDS
                        break
                    lost = True
                self._meters.rerun(cause or "connection")
                longest = RERUN_WAIT_SECONDS_MAX * (number + 1) / RUNS_MAX
                time.sleep(_chance.uniform(0.0, longest))
                continue
            if isinstance(failure, LeaseLost):
                self._meters.stale_epoch()
            elif failure is None and session.wrote:
                self._meters.committed(1, time.monotonic() - begun)
            return value, failure
        self._meters.commit_failed()
        return None, Refusal(
            Reason.STORAGE_UNAVAILABLE, {"problem": "no connection to the database, or no end of runs"}
        )

    def _listen(self, told: Told) -> None:
        """The listener's thread: tells what is notified, and after each new connection that anything may be."""
        while not self._closing.is_set():
            try:
                with self._connect() as connection:
                    connection.autocommit = True
                    connection.execute(LISTEN)
                    self._tell(told, frozenset())
                    while not self._closing.is_set():
                        for notify in connection.notifies(timeout=0.5, stop_after=1):
                            sender, *names = notify.payload.split("\n")
                            if sender != str(self._replica):
                                self._tell(told, frozenset(names))
            except psycopg.Error:
                self._closing.wait(DOWN_SECONDS)

    def _tell(self, told: Told, names: frozenset[str]) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(told, names)

    # connecting

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._url, **SESSION)

    def _migrate(self) -> None:
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql("BEGIN")
                # A migration takes as long as it takes, and so do hubs that wait for another's.
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
                if not is_current(connection, "the database"):
                    upgrade(connection)
                connection.exec_driver_sql("COMMIT")
        except sa.exc.DBAPIError as error:
            raise DatabaseUnusable(f"the PostgreSQL database cannot be used: {str(error.orig).strip()}") from error


class _Session:
    """One thread's connection, and the transaction over it."""

    def __init__(self, engine: sa.Engine, replica: int, meters: SharedMeters) -> None:
        self._engine = engine
        self._meters = meters
        self._replica = replica
        self._connection: sa.Connection | None = None
        self._transaction: PostgresTransaction | None = None

    @property
    def wrote(self) -> bool:
        """Whether the last transaction wrote anything."""
        return self._transaction is not None and self._transaction.writes > 0

    def run(self, work: _Work) -> tuple[Any, Exception | None]:
        """One transaction, from BEGIN to COMMIT: what the work gave, or what it raised. Raises `DBAPIError`."""
        if self._transaction is None:
            self._connection = self._engine.connect()
            self._transaction = PostgresTransaction(self._connection, self._replica, self._meters)
        self._transaction.begin(reading=work.reading)
        try:
            value = work.run(self._transaction)
        except Exception as error:
            if isinstance(error, sa.exc.DBAPIError):
                raise
            # Whatever else a work raises goes to whoever asked for it, and nothing of it is stored.
            self.roll_back()
            return None, error
        self._transaction.commit()
        return value, None

    def roll_back(self) -> None:
        """Ends a transaction that failed; a connection that cannot even do that is dropped."""
        if self._connection is None:
            return
        try:
            self._connection.exec_driver_sql("ROLLBACK")
        except sa.exc.SQLAlchemyError:
            self.drop()

    def drop(self) -> None:
        """Closes the connection; the next work makes a new one."""
        if self._connection is not None:
            with suppress(sa.exc.SQLAlchemyError):
                self._connection.invalidate()
                self._connection.close()
        self._connection = self._transaction = None


def _answer(work: _Work, value: Any, error: BaseException | None) -> None:
    """On the loop's thread. A caller that has gone is not answered; its work is done all the same."""
    if work.answer.done():
        return
    if error is None:
        work.answer.set_result(value)
    else:
        work.answer.set_exception(error)


def _is_lost(error: sa.exc.DBAPIError, state: str | None) -> bool:
    """Whether the session is over: the server said so, or it said nothing."""
    if state is not None:
        return state.startswith(LOST_CLASSES)
    return error.connection_invalidated or isinstance(error.orig, psycopg.OperationalError)
