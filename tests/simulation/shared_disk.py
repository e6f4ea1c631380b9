"""The database that several hubs share in a simulation: the shipped memory store's tables, and the rows of leases.

`SharedDisk` is the database. It outlives the hubs; its clock is the world's. What each method of a shared transaction
does is written after the statements of `aval.hub.store.leasing` and their use in `aval.hub.store.postgres`, and
`tests/contract/test_shared_stores.py` compares the two. Each transaction happens in one instant, so no lock is ever
waited for: what locks do in the open is here a work that takes seconds (`slow`), and rows of the outbox that are left
out because another changes them (`skipped`).

`ReplicaStore` is one hub's connection to it, with what may go wrong there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from aval.hub.model import Cursor, OutboxRow, Unit, establishment_of
from aval.hub.ports import Lease, LeaseLost, Origin, PictureHead, Proofs, RequestFilter, Tenancy, Told
from aval.hub.store.memory import MemoryStore
from aval.hub.store.postgres import DOWN_SECONDS, LEASE_SECONDS
from aval.kernel.reasons import Reason, Refusal
from tests.simulation.disks import Device, DiskFaults, HubStore, begin_anew

T = TypeVar("T")

EVERYTHING = RequestFilter(limit=1_000_000)

ROWS_MAX = 1_000_000

LOOK_SHARE = 0.05
"""Looks at the leases come every two seconds: the same likelihood of a fault would leave nothing else."""

NOTIFY_SECONDS = (0.001, 0.05)
LATE_SECONDS = (0.5, 30.0)
"""How long a notification takes, and one that is late."""

SLOW_SECONDS = (0.2, 3.0)
"""How long a work waits for locks, at worst: a session that idles in a transaction is ended after three seconds."""

HANG_SECONDS = (2.0, 8.0)
"""How long a work waits for a database that does not answer, where nothing says that it is gone."""

AWAY_LOOK_SECONDS = 1.0
"""How often the listener's session is found lost."""


class LeaseRow(Struct, frozen=True):
    """A row of `lease`; `until` by the database's clock."""

    holder: int = -1
    epoch: int = 0
    until: float = -inf


@dataclass
class Rows:
    """What a shared database has beside the tables of one hub. Values are frozen, as in the memory store."""

    leases: dict[str, LeaseRow] = field(default_factory=dict)
    replicas: dict[int, float] = field(default_factory=dict)
    proofs: dict[str, tuple[float, Proofs]] = field(default_factory=dict)

    def copy(self) -> Rows:
        """As it is now."""
        return Rows(dict(self.leases), dict(self.replicas), dict(self.proofs))


class SharedWork:
    """`aval.hub.ports.SharedTransaction` over the tables of the memory store (`inner`) and those rows.

    `changed` names what others are to be told of. `words_of` are the houses whose nodes' words it writes, or whose
    commands it takes: whoever does that must hold their leases. `moved` are leases taken from another hub;
    `heads_saved` the cursors of pictures.
    """

    def __init__(self, inner: Any, rows: Rows, replica: int, now: float, *, reading: bool) -> None:
        self._inner = inner
        self._rows = rows
        self._replica = replica
        self._now = now
        self._reading = reading
        self.skips: Callable[[OutboxRow], bool] = lambda _: False
        self.changed: set[str] = set()
        self.words_of: set[str] = set()
        self.moved: list[str] = []
        self.heads_saved: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    # requests, rows and pictures

    def save(self, file: Any, before: Any) -> None:
        stored = self._inner.request(file.request.name)
        known = {ask.reservation: ask.known for ask in stored.asks} if stored is not None else {}
        self.words_of |= {
            establishment_of(ask.reservation) for ask in file.asks if ask.known != known.get(ask.reservation)
        }
        self._inner.save(file, before)
        self.changed.add(file.request.name)

    def outbox(self, establishment: str, limit: int) -> list[OutboxRow]:
        if self._reading:
            return list(self._inner.outbox(establishment, limit))
        self.words_of.add(establishment)
        first: dict[str, OutboxRow] = {}
        for row in self._inner.outbox(establishment, ROWS_MAX):
            first.setdefault(row.reservation, row)
        return [row for row in first.values() if not self.skips(row)][:limit]

    def save_picture(self, head: PictureHead, changed: Iterable[Unit], removed: Iterable[str], *, whole: bool) -> None:
        self.words_of.add(head.cursor.establishment)
        self.heads_saved[head.cursor.establishment] = head.cursor
        self._inner.save_picture(head, changed, removed, whole=whole)
        self.changed.add(f"establishments/{head.cursor.establishment}")

    def save_cursor_heard(self, cursor: Any) -> None:
        self.words_of.add(cursor.establishment)
        self._inner.save_cursor_heard(cursor)

    def save_announcement(self, announcement: Any) -> None:
        self._inner.save_announcement(announcement)
        self.changed.add(f"announcements/{announcement.establishment}")

    # what is shared

    def hold(self, lease: Lease) -> None:
        if not self._is_mine(lease):
            raise LeaseLost(lease)

    def tenancy(self, held: Iterable[Lease], wanted: Iterable[str]) -> Tenancy:
        held, names = sorted(held, key=lambda lease: lease.establishment), sorted(wanted)
        leases, until = self._rows.leases, self._now + LEASE_SECONDS
        self._rows.replicas[self._replica] = until
        for name in names:
            leases.setdefault(name, LeaseRow())
        mine = [lease for lease in held if self._is_mine(lease)]
        for lease in mine:
            leases[lease.establishment] = replace(leases[lease.establishment], until=until)
        share = -(-len(names) // sum(alive > self._now for alive in self._rows.replicas.values()))
        free = [name for name in names if leases[name].until < self._now]
        refused = tuple(lease for lease in held if lease not in mine)
        mine += [self._taken(name, until) for name in free[: max(0, share - len(mine))]]
        ends = [leases[name].until for name in names if leases[name].holder != self._replica]
        left = [end - self._now for end in ends if end > self._now]
        free_in = timedelta(seconds=max(0.0, min(left))) if left else None
        return Tenancy(tuple(mine), refused, tuple(mine[share:]), free_in)

    def _taken(self, name: str, until: float) -> Lease:
        row = self._rows.leases[name]
        if row.holder not in (-1, self._replica):
            self.moved.append(name)
        self._rows.leases[name] = LeaseRow(self._replica, row.epoch + 1, until)
        return Lease(name, row.epoch + 1)

    def give_up(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            if self._is_mine(lease):
                self._rows.leases[lease.establishment] = replace(self._lease(lease.establishment), until=-inf)

    def leave(self) -> None:
        if self._replica in self._rows.replicas:
            self._rows.replicas[self._replica] = -inf

    def holders(self) -> dict[str, tuple[int, int]]:
        """As `PostgresTransaction.holders`."""
        rows = sorted(self._rows.leases.items())
        return {name: (row.holder, row.epoch) for name, row in rows if row.until > self._now}

    def save_proofs(self, proofs: Iterable[Proofs]) -> None:
        for one in proofs:
            self._rows.proofs[one.establishment] = (self._now - one.silence.total_seconds(), one)

    def proofs(self, but: Iterable[str]) -> list[Proofs]:
        left_out, found = set(but), []
        for establishment, (heard_at, kept) in self._rows.proofs.items():
            if establishment not in left_out:
                silence = timedelta(seconds=self._now - heard_at)
                ages = tuple((source, unit, age + silence - kept.silence) for source, unit, age in kept.ages)
                found.append(Proofs(establishment, silence, ages))
        return found

    def picture(self, establishment: str) -> tuple[PictureHead, tuple[Unit, ...]] | None:
        return next((one for one in self._inner.pictures() if one[0].cursor.establishment == establishment), None)

    def heads(self) -> list[PictureHead]:
        return [head for head, _ in self._inner.pictures()]

    def revisions(self) -> Mapping[str, int]:
        return {file.request.name: file.request.revision for file in self._inner.requests(EVERYTHING)}

    def _lease(self, establishment: str) -> LeaseRow:
        return self._rows.leases.get(establishment, LeaseRow(epoch=-1))

    def _is_mine(self, lease: Lease) -> bool:
        row = self._lease(lease.establishment)
        return (row.holder, row.epoch) == (self._replica, lease.epoch)


class SharedDisk:
    """The database. `clock` gives its time, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.memory = MemoryStore()
        self.rows = Rows()
        self.clock = clock
        self.listeners: dict[int, Told] = {}
        """By the number of a hub: what is called with the names that others have changed."""
        self.committed: Callable[[int, SharedWork], None] = lambda _, __: None
        """Is told each transaction that was stored, and of which hub it was."""

    async def run(
        self,
        work: Callable[[Any], T],
        replica: int,
        *,
        reading: bool = False,
        skips: Callable[[OutboxRow], bool] = lambda _: False,
    ) -> T:
        """One transaction of a hub."""
        rows, made = self.rows.copy(), None

        def shared(inner: Any) -> T:
            nonlocal made
            made = SharedWork(inner, rows, replica, self.clock(), reading=reading)
            made.skips = skips
            return work(made)

        if reading:
            return await self.memory.read(shared)
        value = await self.memory.run(shared)
        self.rows = rows
        if made is not None:
            self.committed(replica, made)
            for number, told in self.listeners.items():
                if made.changed and number != replica:
                    told(frozenset(made.changed))
        return value

    def cursors(self) -> list[Cursor]:
        """Those of the pictures that it holds."""
        return [head.cursor for head in vars(self.memory)["_tables"].heads.values()]

    def put_back(self, backup: Mapping[str, Any]) -> None:
        """It holds what it held then (`disks.copied`): nobody is told."""
        self.memory, self.rows = copy(backup["memory"]), backup["rows"].copy()

    def begin_anew(self, origin: Origin) -> None:
        """As `aval.hub.store.backup_postgres.begin_anew` does, in what was put back."""
        begin_anew(self.memory, origin)
        instant = int(1000 * self.clock())
        leases = {
            name: replace(row, epoch=max(row.epoch + 1, instant), until=-inf) for name, row in self.rows.leases.items()
        }
        self.rows = Rows(leases, dict.fromkeys(self.rows.replicas, -inf), dict(self.rows.proofs))


class PlainStore:
    """`aval.hub.ports.SharedStore` of one hub over such a database, where nothing goes wrong."""

    def __init__(self, disk: SharedDisk, replica: int) -> None:
        self._disk = disk
        self._replica = replica

    async def read(self, work: Callable[[Any], T]) -> T:
        """See the port."""
        return await self._disk.run(work, self._replica, reading=True)

    async def run(self, work: Callable[[Any], T]) -> T:
        """See the port."""
        return await self._disk.run(work, self._replica)

    look = run

    def listen(self, told: Told) -> None:
        """See the port."""
        self._disk.listeners[self._replica] = told
        told(frozenset())

    def close(self) -> None:
        """Nothing to close."""


# --- one hub's connection ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class SharedFaults(DiskFaults):
    """What goes wrong between one hub and the database; `down`: it does not reach it, and `hangs`: is not told so."""

    hangs: bool = False
    slow: float = 0.0
    stored_again: float = 0.0
    skipped: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    lost: float = 0.0

    def stop(self) -> None:
        """All is sound."""
        DiskFaults.stop(self)
        self.hangs = False
        self.slow = self.stored_again = self.skipped = self.late = self.twice = self.lost = 0.0


class Connection(Device):
    """A hub's way to the database."""

    faults: SharedFaults

    async def spin(self) -> None:
        """A work takes its time; it may wait for locks, or for an answer that does not come."""
        await Device.spin(self)
        clock = self.process.clock
        if self.draws(self.faults.slow, "work waited in the database"):
            await clock.sleep_until(clock.monotonic() + self.uniform(*SLOW_SECONDS))
        until = clock.monotonic() + (self.uniform(*HANG_SECONDS) if self.faults.hangs else 0.0)
        while self.faults.hangs and clock.monotonic() < until:
            await clock.sleep_until(clock.monotonic() + DOWN_SECONDS)


class _Seen:
    """The database as the works of one hub find it, in the place of the disk of a hub that is alone."""

    def __init__(self, disk: SharedDisk, replica: int, connection: Connection) -> None:
        self._disk = disk
        self._replica = replica
        self._connection = connection

    async def run(self, work: Callable[[Any], T]) -> T:
        skipped = self._connection.faults.skipped
        return await self._disk.run(
            work,
            self._replica,
            skips=lambda _: self._connection.draws(skipped, "row of the outbox skipped"),
        )


class ReplicaStore(HubStore):
    """`aval.hub.ports.SharedStore` of one process over the shared database."""

    def __init__(self, disk: SharedDisk, replica: int, connection: Connection, committed: Callable[..., None]) -> None:
        seen: Any = _Seen(disk, replica, connection)
        # Whoever does not know that it has saved something learns it from the database, as of any other hub.
        super().__init__(seen, connection, committed, lambda _: None)
        self._shared = disk
        self._replica = replica
        self._connection = connection

    async def read(self, work: Callable[[Any], T]) -> T:
        """See the port: one moment, no lock, nothing to store."""
        connection = self._connection
        await connection.spin()
        if connection.faults.down:
            raise Refusal(Reason.STORAGE_UNAVAILABLE, {"problem": "no connection to the database"})
        if connection.gone:
            await connection.die()
        value = await self._shared.run(work, self._replica, reading=True)
        await connection.spin()
        return value

    async def run(self, work: Callable[[Any], T]) -> T:
        """See the port."""
        return await self._told(work, 1.0)

    async def look(self, work: Callable[[Any], T]) -> T:
        """See the port."""
        return await self._told(work, LOOK_SHARE)

    async def _told(self, work: Callable[[Any], T], share: float) -> T:
        """A connection may be lost at COMMIT: then the work is run again, and had been stored before."""
        try:
            if self._connection.draws(self._connection.faults.stored_again * share, "work run again once stored"):
                await self._run(work, 0.0)
            return await self._run(work, share)
        except LeaseLost:
            self._connection.counts["write of a hub without its lease refused"] += 1
            raise

    # notifications

    def listen(self, told: Told) -> None:
        """See the port."""
        self._connection.process.spawn(self._session(told))

    async def _session(self, told: Told) -> None:
        """A listener's session: what comes while it is lost is lost; after each connection anything may be new."""
        connection, clock = self._connection, self._connection.process.clock
        while True:
            await Device.spin(connection)
            if not connection.faults.down:
                self._shared.listeners[self._replica] = lambda names: self._notified(told, names)
                told(frozenset())
                while not connection.faults.down:
                    await clock.sleep_until(clock.monotonic() + AWAY_LOOK_SECONDS)
            await clock.sleep_until(clock.monotonic() + DOWN_SECONDS)

    def _notified(self, told: Told, names: frozenset[str]) -> None:
        """The database sends a notification; when it arrives, and whether, is chance's."""
        connection, faults = self._connection, self._connection.faults
        if connection.gone or faults.down or connection.draws(faults.lost, "notification lost"):
            return
        seconds = NOTIFY_SECONDS
        if connection.draws(faults.late, "notification late"):
            seconds = LATE_SECONDS
        times = 2 if connection.draws(faults.twice, "notification twice") else 1
        for _ in range(times):
            connection.process.world.after(connection.uniform(*seconds), lambda: self._arrived(told, names))

    def _arrived(self, told: Told, names: frozenset[str]) -> None:
        if not (self._connection.gone or self._connection.faults.down):
            self._connection.process.loop.call_soon(told, names)
