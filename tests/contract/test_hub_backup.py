"""A hub's PostgreSQL copied by pg_dump while it is used, and put back by pg_restore: by the command line."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from aval.adapters.cli.exits import Exit
from aval.hub.ports import RequestFilter
from aval.hub.store.postgres import PostgresStore
from tests.contract.servers import Databases, programs
from tests.contract.test_hub_store import SilentMeters
from tests.hub.core.test_brokerage import confirmed

COMMAND_SECONDS_MAX = 60


def aval(*words: str, path: str | None = None, exit_code: Exit = Exit.DONE) -> str:
    """The command line, with PostgreSQL's programs at hand; what it said."""
    environment = os.environ | {"PATH": f"{programs()}:{os.environ['PATH']}" if path is None else path}
    done = subprocess.run(
        [sys.executable, "-m", "aval.adapters.cli", *words],
        env=environment, capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False,
    )  # fmt: skip
    assert done.returncode == exit_code, (done.stdout, done.stderr)
    return done.stdout + done.stderr


def settings_of(folder: Path, url: str) -> str:
    """A hub's settings; neither its identity nor its territory is read here."""
    path = folder / "hub.toml"
    path.write_text(f'territory_file = "t.toml"\nidentity = "identity"\ndatabase = "{url}"\n')
    return str(path)


async def test_a_territory_is_dumped_while_it_is_used_and_put_back(databases: Databases, tmp_path: Path) -> None:
    url, copy = databases.new(), tmp_path / "night.dump"
    settings = settings_of(tmp_path, url)
    store = PostgresStore(url, SilentMeters())
    file = confirmed().file
    await store.run(lambda transaction: transaction.save(file, None))
    (epoch,) = await epochs(store)
    aval("hub", "backup", "--config", settings, "--to", str(copy))
    assert copy.stat().st_mode & 0o777 == 0o600
    await store.run(lambda transaction: transaction.forget_commands(file.request.create_time, 1))
    assert "stop them all first" in await said_while_it_runs(store, settings, copy)
    await store.look(lambda transaction: transaction.leave())
    store.close()
    said = aval("hub", "restore", "--config", settings, "--from", str(copy), "--yes", exit_code=Exit.CONFLICT)
    assert "--discard-newer" in said
    aval("hub", "restore", "--config", settings, "--from", str(copy), "--yes", "--discard-newer")
    assert kept(copy), "what it replaced is kept"
    again = PostgresStore(url, SilentMeters())
    found = await again.read(lambda transaction: transaction.requests(RequestFilter()))
    assert found == [file]
    origin = await again.read(lambda transaction: transaction.origin())
    assert origin is not None
    assert origin.restored_at is not None
    (anew,) = await epochs(again)
    assert anew > epoch + 1000, "no old holder writes by luck"
    again.close()


async def said_while_it_runs(store: PostgresStore, settings: str, copy: Path) -> str:
    """What a restore says while a hub looks at its leases, as one that runs does."""
    words = ("hub", "restore", "--config", settings, "--from", str(copy), "--yes")
    restoring = asyncio.ensure_future(asyncio.to_thread(aval, *words, exit_code=Exit.CONFLICT))
    while not restoring.done():
        await epochs(store)
        await asyncio.wait((restoring,), timeout=1.0)
    return restoring.result()


def kept(copy: Path) -> list[Path]:
    """The copies of what a restore has replaced."""
    return list(copy.parent.glob(f"{copy.name}.before-*"))


async def epochs(store: PostgresStore) -> list[int]:
    """Of the lease of one house, taken now."""
    tenancy = await store.look(lambda transaction: transaction.tenancy([], ["540000023"]))
    return [lease.epoch for lease in tenancy.held]


def test_without_postgresql_s_programs_it_says_what_to_install(databases: Databases, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, databases.new())
    words = ("hub", "backup", "--config", settings, "--to", str(tmp_path / "x"))
    assert "client programs" in aval(*words, path=str(tmp_path), exit_code=Exit.CONFLICT)


def test_a_dump_that_is_none_is_refused(databases: Databases, tmp_path: Path) -> None:
    settings, copy = settings_of(tmp_path, databases.new()), tmp_path / "not.dump"
    copy.write_text("no dump at all")
    said = aval("hub", "restore", "--config", settings, "--from", str(copy), "--yes", exit_code=Exit.CONFLICT)
    assert "pg_restore" in said
