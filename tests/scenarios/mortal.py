"""Starts a hub or a node that can be told to die: the real one, which kills itself at a named point of its storage.

    python -m tests.scenarios.mortal node|hub SETTINGS

The server is composed by its own `serve`, and nothing in it knows of this. Python tells an audit hook of each database
that the process opens, and SQLite tells whoever asks of each statement, with its values, before it runs. Where the
statement is the fated one the process is killed as by `kill -9`, in the store's own thread, so that nothing after that
point runs: no answer, no publication, no clean-up. What is fated stands in a file beside the settings, and may be
written while the server runs. The file is renamed just before the death, so that a test knows that it died there and of
nothing else.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
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


class Fate(msgspec.Struct, frozen=True):
    """At which moment, of the transaction with a statement that has in it, values included, `statement` and each of
    `about`."""

    moment: Moment
    statement: str
    about: tuple[str, ...]


def fate_path(settings: Path) -> Path:
    """Where a server's fate is written."""
    return settings.with_suffix(".fate.json")


def died_path(settings: Path) -> Path:
    """What becomes of that file when the fate is met."""
    return settings.with_suffix(".died.json")


class Reaper:
    """Follows the statements of this process; all come from the one thread of its store."""

    def __init__(self, settings: Path) -> None:
        self._fate_path = fate_path(settings)
        self._died_path = died_path(settings)
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

        def opened(frame: FrameType, _event: str, _argument: object) -> None:
            """The first thing that this thread does once the connection is whole."""
            if frame.f_code.co_filename != __file__:
                sys.setprofile(None)
                connection.set_trace_callback(self._begins)

        sys.setprofile(opened)

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
                sys.setprofile(self._ran)
        reads = statement.lstrip().startswith("SELECT") and "FROM outbox WHERE establishment" in statement
        if self._committed and reads and fate.moment is Moment.BEFORE_SEND:
            sys.setprofile(self._ran)

    def _ran(self, frame: FrameType, _event: str, _argument: object) -> None:
        """The first thing that this thread does once the statement has run."""
        if frame.f_code.co_filename != __file__:
            self._die()

    def _read(self) -> Fate | None:
        try:
            return msgspec.json.decode(self._fate_path.read_bytes(), type=Fate)
        except FileNotFoundError:
            self._committed = False
            return None

    def _die(self) -> None:
        self._fate_path.rename(self._died_path)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    what, config = sys.argv[1], Path(sys.argv[2])
    Reaper(config).watch()
    if what == "hub":
        from aval.hub.bootstrap import serve
    else:
        from aval.node.bootstrap import serve
    serve(config)
