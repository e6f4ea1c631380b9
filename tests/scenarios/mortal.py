"""Starts a hub or a node that can be told to die: the real one, which kills itself at a named point of its storage.

Or that can be told that its disk fails: it lives on, and nothing that it commits is flushed.

    python -m tests.scenarios.mortal node|hub SETTINGS

The server is composed by its own `serve`, and nothing in it knows of this. Python tells an audit hook of each database
that the process opens, and SQLite tells whoever asks of each statement, with its values, before it runs. Where the
statement is the fated one the process is killed as by `kill -9`, in the store's own thread, so that nothing after that
point runs: no answer, no publication, no clean-up. What is fated stands in a file beside the settings, and may be
written while the server runs. A second file is written just before the death, so that a test knows that it died there
and of nothing else.

A disk fails as SQLite sees it (SQLITE_IOERR_FSYNC): while COMMIT runs, the descriptor of its journal is that of the
null device, which takes whatever is written and refuses to be flushed. That needs no privilege, and no other program.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from types import FrameType

import msgspec

VERB_LENGTH = 80
"""In its first characters a statement says what it does to which table, whose name may be quoted."""

OPENED = "sqlite3.connect/handle"
"""The audit event of a connection that is being opened, with the connection, not whole yet."""


class Moment(StrEnum):
    """Where in its storage a process dies. The transaction is the one that holds the fated statement."""

    IN_WRITE = "after the statement, before the next one of its transaction"
    BEFORE_COMMIT = "before COMMIT"
    AFTER_COMMIT = "after COMMIT"
    BEFORE_SEND = "when the outbox has been read after the commit, before its row is sent"
    UNFLUSHED = "at COMMIT, which the disk fails to flush; each time anew, as long as the fate stands, and no death"


class Fate(msgspec.Struct, frozen=True):
    """At which moment, of the transaction with a statement that has in it, values included, `statement` and each of
    `about`."""

    moment: Moment
    statement: str
    about: tuple[str, ...]


def fate_path(settings: Path) -> Path:
    """Where a server's fate is written."""
    return settings.with_suffix(".fate.json")


def met_path(settings: Path) -> Path:
    """What is there once the fate was met."""
    return settings.with_suffix(".met")


class Reaper:
    """Follows the statements of this process; all come from the one thread of its store."""

    def __init__(self, settings: Path, database: Path) -> None:
        self._fate_path = fate_path(settings)
        self._met_path = met_path(settings)
        self._journal = database.with_name(database.name + "-wal")
        self._fate: Fate | None = None
        self._met = False
        self._committed = False

    def watch(self) -> None:
        """From now on, every database that is opened."""
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if event != OPENED or not isinstance(arguments[0], sqlite3.Connection):
            return
        connection = arguments[0]
        next_in_this_thread(lambda: connection.set_trace_callback(self._begins))  # once it is whole

    def _begins(self, statement: str) -> None:
        """A statement is about to run."""
        if statement.startswith("BEGIN"):
            self._fate, self._met = self._read(), False
        fate = self._fate
        if fate is None:
            return
        if self._met and fate.moment is Moment.IN_WRITE:
            self._die()
        verb = statement[:VERB_LENGTH].replace('"', "")
        if fate.statement in verb and all(word in statement for word in fate.about):
            self._met = True
        if statement == "COMMIT" and self._met:
            self._committed = True
            if fate.moment is Moment.BEFORE_COMMIT:
                self._die()
            if fate.moment is Moment.AFTER_COMMIT:
                next_in_this_thread(self._die)
            if fate.moment is Moment.UNFLUSHED:
                self._met_path.touch()
                next_in_this_thread(disk_fails(self._journal))
        reads = statement.lstrip().startswith("SELECT") and "FROM outbox WHERE establishment" in statement
        if self._committed and reads and fate.moment is Moment.BEFORE_SEND:
            next_in_this_thread(self._die)

    def _read(self) -> Fate | None:
        try:
            return msgspec.json.decode(self._fate_path.read_bytes(), type=Fate)
        except FileNotFoundError:
            self._committed = False
            return None

    def _die(self) -> None:
        self._met_path.touch()
        self._fate_path.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def next_in_this_thread(act: Callable[[], None]) -> None:
    """Does something as the first thing that this thread does once the statement that begins has run."""

    def ran(frame: FrameType, _event: str, _argument: object) -> None:
        if frame.f_code.co_filename != __file__:
            sys.setprofile(None)
            act()

    sys.setprofile(ran)


def disk_fails(file: Path) -> Callable[[], None]:
    """From now on this process cannot flush a file that it has open; what is returned ends that."""
    known = file.stat()
    held = [number for number in (int(one.name) for one in Path("/dev/fd").iterdir()) if is_open(number, known)]
    assert held, f"{file} is not open"
    kept = {number: os.dup(number) for number in held}
    null = os.open(os.devnull, os.O_RDWR)
    for number in held:
        os.dup2(null, number, inheritable=False)
    os.close(null)

    def heal() -> None:
        for number, copy in kept.items():
            os.dup2(copy, number, inheritable=False)
            os.close(copy)

    return heal


def is_open(number: int, known: os.stat_result) -> bool:
    """Whether a descriptor of this process is that file's. One that listed them is closed by now."""
    try:
        return os.path.samestat(os.fstat(number), known)
    except OSError:
        return False


if __name__ == "__main__":
    what, config = sys.argv[1], Path(sys.argv[2])
    Reaper(config, config.with_name(f"{what}.db")).watch()
    if what == "hub":
        from aval.hub.bootstrap import serve
    else:
        from aval.node.bootstrap import serve
    serve(config)
