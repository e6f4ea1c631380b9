"""Starts a hub or a node that can be told to die: the real one, which kills itself at a named point of its storage.

    python -m tests.scenarios.mortal node|hub SETTINGS

The server is composed by its own `serve`, and nothing in it knows of this. SQLAlchemy tells whoever asks of each
statement of the process before and after it runs; here one asks, and where the statement is the fated one the process
is killed as by `kill -9`, in the store's own thread, so that nothing after that point runs: no answer, no publication,
no clean-up. What is fated stands in a file beside the settings, and may be written while the server runs. The file is
renamed just before the death, so that a test knows that it died there and of nothing else.
"""

from __future__ import annotations

import os
import signal
import sys
from enum import StrEnum
from pathlib import Path

import msgspec
from sqlalchemy import Engine, event


class Moment(StrEnum):
    """Where in its storage a process dies. The transaction is the one that holds the fated statement."""

    IN_WRITE = "after the statement, its transaction open"
    BEFORE_COMMIT = "before COMMIT"
    AFTER_COMMIT = "after COMMIT"
    BEFORE_SEND = "after the outbox was read, before its row is sent"


class Fate(msgspec.Struct, frozen=True):
    """At which moment, of the transaction with a statement that has all `statement` says, and all of `about` in its
    values."""

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
        """From now on."""
        event.listen(Engine, "before_cursor_execute", self._before)
        event.listen(Engine, "after_cursor_execute", self._after)

    def _before(self, _c: object, _cursor: object, statement: str, values: object, _x: object, _many: bool) -> None:
        if statement.startswith("BEGIN"):
            self._fate = self._read()
            self._met = False
        if statement == "COMMIT" and self._met:
            self._die_if(Moment.BEFORE_COMMIT)

    def _after(self, _c: object, _cursor: object, statement: str, values: object, _x: object, _many: bool) -> None:
        fate = self._fate
        if fate is None:
            return
        if fate.statement in statement and all(word in repr(values) for word in fate.about):
            self._met = True
            self._die_if(Moment.IN_WRITE)
        if statement == "COMMIT" and self._met:
            self._committed = True
            self._die_if(Moment.AFTER_COMMIT)
        if self._committed and statement.lstrip().startswith("SELECT") and "FROM outbox WHERE establish" in statement:
            self._die_if(Moment.BEFORE_SEND)

    def _read(self) -> Fate | None:
        try:
            return msgspec.json.decode(self._fate_path.read_bytes(), type=Fate)
        except FileNotFoundError:
            self._committed = False
            return None

    def _die_if(self, moment: Moment) -> None:
        if self._fate is not None and self._fate.moment is moment:
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
