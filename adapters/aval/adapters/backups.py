"""Copies of a server's SQLite database: taken while it runs, checked, and put back under another name or in its place.

Taken by SQLite's own online backup, in one step: one moment of the database, and nobody waits for it. A copy is one
file, whole or not there: it is written beside its place, checked by SQLite (`integrity_check`), flushed, and renamed.

Putting back never deletes: what lay in the place, damaged or not, stays under another name with its journal, and there
is no moment at which nothing lies in the place, for a server would begin anew there. What a copy means, whether it is
older than what it would replace, and what must be written in it so that its server knows, is the business of whoever
owns the schema; here it is only asked.
"""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

Read = TypeVar("Read")

FILE_MODE = 0o600
"""A census and a territory's requests are nobody else's business on the machine."""

ALL_PAGES = -1
"""All in one step: a copy in several would begin again whenever the server commits, and on a busy one never end."""

JOURNALS = ("-wal", "-shm")
"""What SQLite keeps beside a file in WAL mode; it must never meet another file of that name."""


class BackupRefused(RuntimeError):
    """A copy cannot be taken or put back; the sentence says why and what to do."""


def read_file(path: Path, read: Callable[[sqlite3.Connection], Read]) -> Read:
    """What `read` finds in a database, which is checked first. Raises `BackupRefused` if it is none, or damaged."""
    if not path.is_file():
        raise BackupRefused(f"{path} is not there")
    try:
        with closing(_opened(path)) as connection:
            _check(connection, path)
            return read(connection)
    except sqlite3.DatabaseError as error:
        raise BackupRefused(f"{path} cannot be read as a database ({error})") from error


def copy(source: Path, target: Path, *, replace: bool = False) -> int:
    """Copies a database that may be in use. The bytes of the copy. Raises `BackupRefused`."""
    if target.exists() and not replace:
        raise BackupRefused(f"{target} exists already: name another file, or say that it may be replaced")
    partial = _beside(target, "partial")
    try:
        _copy_into(source, partial)
        partial.replace(target)
        _flush_folder(target.parent)
    except OSError as error:
        raise BackupRefused(f"{target} cannot be written ({error.strerror})") from error
    finally:
        partial.unlink(missing_ok=True)
    return target.stat().st_size


def put_back(backup: Path, database: Path, mark: Callable[[sqlite3.Connection], None], *, aside: str) -> Path | None:
    """Puts a copy in the place of a database that nobody has open; `mark` writes into it before it stands there.

    What lay there is moved aside: its new name, ending in `aside`; None if nothing did. Whatever stops this, one of the
    two lies there whole. Raises `BackupRefused`.
    """
    partial = _beside(database, "restoring")
    moved = None
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        _copy_into(backup, partial, mark)
        if database.exists() and database.stat().st_size:
            moved = database.with_name(f"{database.name}.{aside}")
            _settle(database)
            _named_aside(database, moved)
        partial.replace(database)
        _flush_folder(database.parent)
    except FileExistsError as error:
        raise BackupRefused(f"{moved} exists already: try again") from error
    except OSError as error:
        raise BackupRefused(f"{database} cannot be written ({error.strerror})") from error
    finally:
        partial.unlink(missing_ok=True)
    return moved


def _settle(database: Path) -> None:
    """Has SQLite put into the file what a killed server left in its journal. Of a damaged file it cannot."""
    with suppress(sqlite3.DatabaseError), closing(_opened(database)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def _named_aside(database: Path, moved: Path) -> None:
    """Gives a file its second name, which stays when another takes its place; journals that are left go with it."""
    moved.hardlink_to(database)
    for journal in JOURNALS:
        left = database.with_name(database.name + journal)
        if left.exists():
            left.rename(moved.with_name(moved.name + journal))


def _copy_into(source: Path, target: Path, mark: Callable[[sqlite3.Connection], None] | None = None) -> None:
    if not source.is_file():
        raise BackupRefused(f"{source} is not there")
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
    try:
        with closing(_opened(source)) as read, closing(_opened(target)) as written:
            read.backup(written, pages=ALL_PAGES)
            # One file, without a journal beside it; its server sets the mode that it wants.
            written.execute("PRAGMA journal_mode = DELETE")
            _check(written, source)
            if mark is not None:
                mark(written)
                written.commit()
    except sqlite3.DatabaseError as error:
        raise BackupRefused(f"{source} cannot be copied ({error})") from error
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise BackupRefused(f"{path} is damaged ({found}): take an older copy")


def _beside(path: Path, word: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{word}")


def _flush_folder(folder: Path) -> None:
    """A name survives a power cut once its folder is flushed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- PostgreSQL, by its own programs ---------------------------------------------------------------------------------

PROGRAM_SECONDS_MAX = 3600.0
"""How long pg_dump or pg_restore may take: the database of a territory is read in seconds."""


def dump(url: str, target: Path, *, replace: bool = False) -> int:
    """A copy of a PostgreSQL database, by pg_dump: one moment of it, while it is used. Its bytes. Raises
    `BackupRefused`."""
    if target.exists() and not replace:
        raise BackupRefused(f"{target} exists already: name another file, or say that it may be replaced")
    partial = _beside(target, "partial")
    try:
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, FILE_MODE))
        _run("pg_dump", "--format=custom", "--no-owner", f"--file={partial}", f"--dbname={url}")
        partial.replace(target)
        _flush_folder(target.parent)
    except OSError as error:
        raise BackupRefused(f"{target} cannot be written ({error.strerror})") from error
    finally:
        partial.unlink(missing_ok=True)
    return target.stat().st_size


def load(url: str, backup: Path) -> None:
    """Puts such a copy in the place of what the database holds, whole or not at all. Raises `BackupRefused`."""
    _run(
        "pg_restore", "--clean", "--if-exists", "--no-owner", "--exit-on-error", "--single-transaction",
        f"--dbname={url}", str(backup),
    )  # fmt: skip


def _run(program: str, *arguments: str) -> None:
    path = shutil.which(program)
    if path is None:
        raise BackupRefused(f"{program} is not installed here: install PostgreSQL's client programs")
    try:
        done = subprocess.run(
            [path, *arguments], capture_output=True, text=True, timeout=PROGRAM_SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BackupRefused(f"{program} was not done after an hour") from error
    if done.returncode:
        raise BackupRefused(f"{program}: {done.stderr.strip() or done.returncode}")
