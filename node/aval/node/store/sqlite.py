"""A node's database: one SQLite file, embedded, owned by one process.

WAL and `synchronous=FULL`: what `commit` has answered survives a power cut. One thread owns the one connection, since
SQLite would make two wait for each other anyway and the event loop must not wait for the disk. The statements are few
and fixed text, run by `sqlite3` itself: quicker than through SQLAlchemy, and a quarter less memory (see `schema`).

A lock file beside the database refuses a second process: two writers, each with its ledger in memory, would promise the
same bed twice. The lock is the operating system's, so a killed process leaves none behind.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, TypeVar

from aval.node.model import Fact, Kind
from aval.node.ports import RESERVATION_KINDS, TAG_BYTES, Batch, Revision, StorageRefused, StorageUnavailable, Stored
from aval.node.store.body import fact_of, touched_body, touched_of
from aval.node.store.schema import FORMER, HEAD, INCARNATION, MIGRATIONS, of_kind, prepare, sum_of

BUSY_SECONDS = 2.0
"""How long a statement waits for somebody else's lock (a backup); then the store is unavailable for this batch."""

PAGES_MAX = 1 << 30
"""Pages of 4 kB that the file may have: 4 TB, SQLite's own limit. A test has a smaller disk."""

DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
"""What SQLite says of a file that is not as it was written; all else is the disk's, and may be well again."""

PRIMARY_CODE = 0xFF
"""These bits of a code say what happened, those above it where."""

_T = TypeVar("_T")

_FACT = """
    INSERT INTO "?" (key, revision, body, sum) VALUES (?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, body = excluded.body, sum = excluded.sum
"""
_WRITE_FACT = {kind: of_kind(_FACT, kind) for kind in Kind}
_REMOVE_FACT = {kind: of_kind('DELETE FROM "?" WHERE key = ?', kind) for kind in Kind}
_READ_FACTS = {kind: of_kind('SELECT key, revision, body, sum FROM "?"', kind) for kind in Kind}
_WRITE_REVISION = "INSERT INTO revision (number, digest, as_of, touched, sum) VALUES (?, ?, ?, ?, ?)"
_READ_REVISIONS = "SELECT number, digest, as_of, touched, sum FROM revision ORDER BY number DESC"
_FORGET = """
    UPDATE revision SET touched = NULL, as_of = '', digest = substr(digest, 1, ?), sum = 0
    WHERE number BETWEEN ? AND ? AND touched IS NOT NULL
"""
_WRITE_PROOF = """
    INSERT INTO source_proof (source, at, sum) VALUES (?, ?, ?)
    ON CONFLICT (source) DO UPDATE SET at = excluded.at, sum = excluded.sum
"""
_READ_PROOFS = "SELECT source, at, sum FROM source_proof"
_WRITE_META = "INSERT INTO meta (name, value) VALUES (?, ?)"
_NEW_INCARNATION = "UPDATE meta SET value = ? WHERE name = ?"
_PRAGMAS = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL")


class SqliteStore:
    """See `aval.node.ports.Store`. Opened by `SqliteStore.open`."""

    def __init__(self, path: Path, lock: IO[str], pages_max: int) -> None:
        self._path = path
        self._lock = lock
        self._pages_max = pages_max
        self._compacted = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._connection: sqlite3.Connection | None = None

    @classmethod
    async def open(
        cls,
        path: Path,
        establishment: str,
        new_incarnation: Callable[[], int],
        *,
        head: str = HEAD,
        migrations: Path = MIGRATIONS,
        pages_max: int = PAGES_MAX,
    ) -> "SqliteStore":
        """Opens the database of `establishment` (FINESS), made or migrated first if needed, and checked.

        `new_incarnation` is called when the database is created; `head` and `migrations` are for tests. Raises
        `StorageRefused` with what to do when another process has it, a newer version wrote it, it is damaged, or it is
        another establishment's; `StorageUnavailable` when the disk refuses.
        """
        store = cls(path, locked(path), pages_max)
        try:
            opening = partial(store._open, establishment, new_incarnation, head, migrations)
            await store._in_thread(lambda: store._sound(opening))
        except BaseException:
            await store.close()
            raise
        return store

    async def load(self) -> Stored:
        """See `Store.load`. Raises `StorageRefused` where a row is not as it was written."""
        return await self._in_thread(lambda: self._sound(self._load))

    async def commit(self, batch: Batch) -> None:
        """See `Store.commit`."""
        await self._in_thread(lambda: self._commit(batch))

    async def save_proofs(self, proofs: Mapping[str, datetime]) -> None:
        """See `Store.save_proofs`."""
        rows = _proof_rows(proofs)
        await self._in_thread(lambda: self._transaction(lambda connection: connection.executemany(_WRITE_PROOF, rows)))

    async def digest_of(self, number: int) -> bytes | None:
        """See `Store.digest_of`."""

        def read() -> bytes | None:
            found = self._connected().execute("SELECT digest FROM revision WHERE number = ?", (number,)).fetchone()
            return None if found is None else bytes(found[0])

        return await self._in_thread(read)

    async def compact(self, before: int) -> None:
        """See `Store.compact`."""
        span = (TAG_BYTES, self._compacted, before - 1)
        await self._in_thread(lambda: self._transaction(lambda connection: connection.execute(_FORGET, span)))
        self._compacted = before

    async def close(self) -> None:
        """See `Store.close`. The WAL is moved into the file, if the disk lets it."""
        await self._in_thread(self._disconnect)
        self._thread.shutdown()
        self._lock.close()

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            # SQLite's own words: « database or disk is full », or « disk I/O error » under a limit of file size.
            raise StorageUnavailable(str(error)) from error

    # Below, all runs in the store's thread.

    def _open(self, establishment: str, new_incarnation: Callable[[], int], head: str, migrations: Path) -> None:
        (found,) = self._connected().execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise ValueError(found)
        prepare(self._connected(), head=head, migrations=migrations)
        self._transaction(lambda connection: self._identify(connection, establishment, new_incarnation))

    def _identify(self, connection: sqlite3.Connection, establishment: str, new_incarnation: Callable[[], int]) -> None:
        meta = _meta(connection)
        if not meta:
            meta = {"establishment": establishment, INCARNATION: str(new_incarnation())}
            connection.executemany(_WRITE_META, list(meta.items()))
        if meta["establishment"] != establishment:
            raise StorageRefused(
                f"the database {self._path} is of establishment {meta['establishment']}, not {establishment}: "
                "give this node a file of its own as `database`"
            )

    def _sound(self, work: Callable[[], _T]) -> _T:
        """Does something that finds damage where there is some, told by a ValueError or by SQLite."""
        try:
            return work()
        except (ValueError, sqlite3.DatabaseError) as error:
            # A text that is no UTF-8 has no code. A column that is missing is an error of SQL: its name was changed.
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & PRIMARY_CODE not in DAMAGED:
                raise
            raise StorageRefused(
                f"the database {self._path} is damaged ({error}): put back a backup, or move the file away and "
                "start anew"
            ) from error

    def _load(self) -> Stored:
        connection = self._connected()
        facts: dict[Kind, dict[str, Fact]] = {}
        revisions: dict[str, int] = {}
        for kind, statement in _READ_FACTS.items():
            rows = [_as_written(row) for row in connection.execute(statement)]
            facts[kind] = {key: fact_of(kind, body) for key, _, body in rows}
            if kind in RESERVATION_KINDS:
                revisions |= {key: number for key, number, _ in rows}
        recent = [
            Revision(number, digest, datetime.fromisoformat(as_of), touched_of(touched))
            for number, digest, as_of, touched in map(
                _as_written,
                takewhile(
                    lambda row: row[3] is not None,  # the rest is compacted: years of it, not to be read
                    connection.execute(_READ_REVISIONS),
                ),
            )
        ]
        proofs = {
            source: datetime.fromisoformat(at) for source, at in map(_as_written, connection.execute(_READ_PROOFS))
        }
        meta = _meta(connection)
        former = int(meta[FORMER]) if FORMER in meta else None
        return Stored(int(meta[INCARNATION]), facts, recent[::-1], revisions, proofs, former)

    def _commit(self, batch: Batch) -> None:
        revision = batch.revision
        if revision.touched is None:
            raise ValueError(f"revision {revision.number} is compacted before it is written")
        touched = touched_body(revision.touched).decode()
        written: dict[Kind, list[tuple[str, int, str, int]]] = {}
        removed: dict[Kind, list[tuple[str]]] = {}
        for row in batch.rows:
            if row.body is None:
                removed.setdefault(row.kind, []).append((row.key,))
            else:
                values = (row.key, revision.number, row.body.decode())
                written.setdefault(row.kind, []).append((*values, sum_of(*values)))
        head = (revision.number, revision.digest, revision.as_of.isoformat(), touched)
        proofs = _proof_rows(batch.proofs)

        def write(connection: sqlite3.Connection) -> None:
            for kind, keys in removed.items():
                connection.executemany(_REMOVE_FACT[kind], keys)
            for kind, rows in written.items():
                connection.executemany(_WRITE_FACT[kind], rows)
            connection.execute(_WRITE_REVISION, (*head, sum_of(*head)))
            connection.executemany(_WRITE_PROOF, proofs)
            if batch.incarnation is not None:
                connection.execute(_NEW_INCARNATION, (str(batch.incarnation), INCARNATION))

        self._transaction(write)

    def _transaction(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        connection = self._connected()
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            self._roll_back(connection)
            raise
        return result

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        # The connection is kept if it still answers: on a full disk a new one could not make its shared-memory file.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        try:
            connection.execute("SELECT count(*) FROM meta").fetchone()
        except sqlite3.Error:
            self._disconnect()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            # Transactions are ours to begin and end: the library begins none by itself.
            connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
            try:
                for pragma in _PRAGMAS:
                    connection.execute(pragma)
                # A pragma takes no bound value: the page count, an int, is put in beforehand.
                limit = f"PRAGMA max_page_count = {self._pages_max:d}"
                connection.execute(limit)
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def _as_written(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row without its sum, which it must have. Raises ValueError."""
    *values, told = row
    if sum_of(*values) != told:
        raise ValueError("a row is not as it was written")  # its key may be a patient's: it is not told
    return tuple(values)


def _proof_rows(proofs: Mapping[str, datetime]) -> list[tuple[str, str, int]]:
    rows = [(source, at.isoformat()) for source, at in proofs.items()]
    return [(*row, sum_of(*row)) for row in rows]


def _meta(connection: sqlite3.Connection) -> dict[str, str]:
    """What the database says that it is."""
    return dict(connection.execute("SELECT name, value FROM meta").fetchall())


def locked(path: Path) -> IO[str]:
    """The lock file of a database, held, in a folder made if needed. Raises `StorageRefused`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The census is the house's own: nobody else on the machine reads it. SQLite gives its other files the same
        # mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        lock = path.with_name(path.name + ".lock").open("a+")
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageRefused(
            f"the database {path} cannot be opened ({error.strerror}): check `database`, the folder's owner and "
            "the disk"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise StorageRefused(
            f"another process (pid {holder}) already serves the database {path}: stop it first, or give this node "
            "a file of its own as `database`"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _sync_folder(folder: Path) -> None:
    """Makes a file just created in it survive a power cut: its name rests in the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
