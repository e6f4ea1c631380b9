"""Putting a copy back, whatever stops it: the old database or the new one lies there, and the old one is kept."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from aval.adapters.backups import BackupRefused, put_back

PUT_BACK = """
import os, signal, sys
from pathlib import Path
from aval.adapters.backups import put_back

copy, database, left = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def before(event, _):
    global left
    if event in ("os.link", "os.rename", "os.remove"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(before)
put_back(copy, database, lambda _: None, aside="before")
"""
"""A process that is killed before it changes a name in a folder for the last time that it may."""


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


def test_whatever_stops_it_the_old_or_the_new_is_in_the_place(tmp_path: Path) -> None:
    written(tmp_path / "copy.db", "new")
    for changes in count():
        folder = tmp_path / str(changes)
        folder.mkdir()
        database = folder / "node.db"
        killed(database, "old", "late")
        run = [sys.executable, "-c", PUT_BACK, str(tmp_path / "copy.db"), str(database), str(changes)]
        status = subprocess.run(run, check=False).returncode
        assert status in (0, -signal.SIGKILL)
        there = words_in(database)
        assert there in (["old", "late"], ["new"]), changes
        if there == ["new"]:
            assert words_in(folder / "node.db.before") == ["old", "late"]
        if status == 0:
            assert there == ["new"]
            break
    assert changes >= 2, "it was killed at each step"


def test_nothing_that_was_kept_is_written_over(tmp_path: Path) -> None:
    written(tmp_path / "copy.db", "new")
    database = tmp_path / "node.db"
    written(database, "old")
    written(tmp_path / "node.db.before", "older")
    with pytest.raises(BackupRefused, match="try again"):
        put_back(tmp_path / "copy.db", database, lambda _: None, aside="before")
    assert words_in(database) == ["old"]
    assert words_in(tmp_path / "node.db.before") == ["older"]
    assert not list(tmp_path.glob(".*"))
