"""Putting a copy back, whatever stops it: the old database or the new one lies there, and the old one is kept."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from aval.adapters.backups import BackupRefused, put_back

STEPS = ("link", "rename", "replace", "unlink")
"""Of the operating system, by which names in a folder change."""


class Stopped(BaseException):
    """The process is killed: nothing of it runs any more."""


def written(path: Path, *words: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS word (said TEXT)")
        for word in words:
            connection.execute("INSERT INTO word VALUES (?)", (word,))


def killed(path: Path, *words: str) -> None:
    """A database as a killed server leaves it: its last commits are in the journal alone."""
    running = path.with_name("running.db")
    written(running)
    with closing(sqlite3.connect(running, isolation_level=None)) as connection:
        for word in words:
            connection.execute("INSERT INTO word VALUES (?)", (word,))
        for journal in ("", "-wal"):
            shutil.copy(f"{running}{journal}", f"{path}{journal}")


def words_in(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [word for (word,) in connection.execute("SELECT said FROM word")]


def said_on(_: sqlite3.Connection) -> None:
    """What the owner of the schema writes: nothing here."""


def stopping(monkeypatch: pytest.MonkeyPatch, after: int) -> Callable[[], bool]:
    """Kills at the first step behind so many; whether it came to that."""
    left = after

    def guarded(step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Stopped
            return step(*given, **more)

        return run

    for name in STEPS:
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))
    return lambda: left < 0


def test_whatever_stops_it_the_old_or_the_new_is_in_the_place(tmp_path: Path) -> None:
    written(tmp_path / "copy.db", "new")
    for after in count():
        folder = tmp_path / str(after)
        folder.mkdir()
        database, moved = folder / "node.db", folder / "node.db.before"
        killed(database, "old", "late")
        with pytest.MonkeyPatch.context() as monkeypatch:
            is_stopped = stopping(monkeypatch, after)
            try:
                assert put_back(tmp_path / "copy.db", database, said_on, aside="before") == moved
            except Stopped:
                assert is_stopped()
        there = words_in(database)
        assert there in (["old", "late"], ["new"]), after
        if there == ["new"]:
            assert words_in(moved) == ["old", "late"]
        if not is_stopped():
            assert there == ["new"]
            break
    assert after >= 3, "it was stopped at each step"


def test_nothing_that_was_kept_is_written_over(tmp_path: Path) -> None:
    written(tmp_path / "copy.db", "new")
    database = tmp_path / "node.db"
    written(database, "old")
    written(tmp_path / "node.db.before", "older")
    with pytest.raises(BackupRefused, match="try again"):
        put_back(tmp_path / "copy.db", database, said_on, aside="before")
    assert words_in(database) == ["old"]
    assert words_in(tmp_path / "node.db.before") == ["older"]
    assert not list(tmp_path.glob(".*"))
