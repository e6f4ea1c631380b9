"""What a node's database does at the edges: owned by one process, migrated, refused by name, full, damaged."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from aval.kernel.statuses import Gender
from aval.node.model import SELF, Change, Establishment, Kind, MovementRecord, Stay
from aval.node.ports import StorageRefused, StorageUnavailable, Store, Stored, Touched
from aval.node.store import schema
from aval.node.store.body import touched_body
from aval.node.store.sqlite import SqliteStore
from aval.v1 import reservation_pb2
from tests.contract.damage import flipped
from tests.node.shell.fakes import NO_CONTEXT, START, house
from tests.node.shell.stores import HOUSE, INCARNATION, batch, named, sqlite_store
from tests.node.shell.words import create, declare_places

BITS_APART = 211
"""Bytes between two flipped bits: a prime, so that they lie everywhere in a page."""

EARLIER = sorted(path.stem[:4] for path in (schema.MIGRATIONS / "versions").glob("0*.py"))[:-1]
"""The versions before the present one."""

HOLDER = """
import asyncio, sys
from pathlib import Path
from aval.node.store.sqlite import SqliteStore

async def hold():
    held = await SqliteStore.open(Path(sys.argv[1]), "540000023", lambda: 1)
    print("held", flush=True)
    await asyncio.Event().wait()

asyncio.run(hold())
"""


def shape(path: Path) -> dict[str, str]:
    """The statements that made each table."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    return {name: " ".join(sql.split()) for name, sql in rows}


def columns(path: Path, table: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT * FROM pragma_table_info(?)", (table,)).fetchall()
    connection.close()
    return rows


async def test_what_was_committed_survives_being_reopened(tmp_path: Path) -> None:
    store = await sqlite_store(tmp_path / "node.db")
    await store.commit(batch(1, named("Centre hospitalier")))
    before = await store.load()
    await store.close()
    again = await SqliteStore.open(tmp_path / "node.db", HOUSE, lambda: 7)
    assert await again.load() == before
    assert before.incarnation == INCARNATION
    await again.close()


async def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDER, path, stdout=asyncio.subprocess.PIPE)
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    with pytest.raises(StorageRefused, match=rf"another process \(pid {holder.pid}\) already serves the database"):
        await sqlite_store(path)
    holder.kill()
    assert await holder.wait() == -signal.SIGKILL
    store = await sqlite_store(path)
    await store.close()


async def test_another_houses_database_is_refused(tmp_path: Path) -> None:
    store = await sqlite_store(tmp_path / "node.db")
    await store.close()
    with pytest.raises(StorageRefused, match="is of establishment 540000023, not 540000080"):
        await SqliteStore.open(tmp_path / "node.db", "540000080", lambda: 1)


async def test_a_newer_database_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    store = await sqlite_store(path)
    await store.commit(batch(1, named("Centre hospitalier")))
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageRefused, match=r"version 9999.*install that version or a newer one"):
        await sqlite_store(path)
    assert path.read_bytes() == before


async def test_what_is_no_database_of_a_node_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    with pytest.raises(StorageRefused, match="not one of an Aval node"):
        await sqlite_store(other)
    noise = tmp_path / "noise.db"
    noise.write_bytes(b"no database at all, but long enough to be read as a header of one" * 100)
    with pytest.raises(StorageRefused, match="is damaged"):
        await sqlite_store(noise)


async def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageRefused, match="cannot be opened"):
        await sqlite_store(tmp_path / "file" / "node.db")


async def test_damage_is_found_at_start(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    store = await sqlite_store(path)
    for number in range(1, 40):
        await store.commit(batch(number, named("x" * 3000)))
    await store.close()
    content = bytearray(path.read_bytes())
    page = 4096
    for start in range(page, len(content), page):
        content[start : start + 64] = b"\xff" * 64
    path.write_bytes(content)
    with pytest.raises(StorageRefused, match="is damaged"):
        await sqlite_store(path)


async def read(path: Path) -> Stored:
    """What a node that starts on that file reads. Raises `StorageRefused`."""
    store = await sqlite_store(path)
    try:
        return await store.load()
    finally:
        await store.close()


async def test_no_flipped_bit_is_read_as_another_truth(tmp_path: Path) -> None:
    """Wherever it lies: the start is refused in words, or what is read is what was written."""
    path = tmp_path / "node.db"
    async with house(await sqlite_store(path)) as at:
        await at.declare(declare_places("smr", installed=30, occupied=0))
        await at.commands(*(create("smr", START + timedelta(days=1)) for _ in range(10)))
        await at.store.close()
    before = await read(path)
    spoilt = tmp_path / "spoilt.db"
    refusals: list[str] = []
    for position, other in flipped(path.read_bytes(), BITS_APART):
        spoilt.write_bytes(other)
        try:
            after = await read(spoilt)
        except StorageRefused as error:
            refusals.append(str(error))
        else:
            # Another incarnation is another history, which the hub sees by its cursor, as it sees an older copy.
            assert replace(after, incarnation=before.incarnation) == before, position
    assert sum("is damaged" in words and "put back a backup" in words for words in refusals) >= 20


async def test_half_a_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    store = await sqlite_store(path)
    for number in range(1, 40):
        await store.commit(batch(number, named("x" * 3000)))
    await store.close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StorageRefused, match=r"is damaged .* put back a backup"):
        await sqlite_store(path)


def test_head_is_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


async def test_a_migrated_database_is_shaped_like_a_new_one(tmp_path: Path) -> None:
    new, migrated = tmp_path / "new.db", tmp_path / "migrated.db"
    await (await sqlite_store(new)).close()
    engine = create_engine(f"sqlite:///{migrated}", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        schema.migrate(connection, None, schema.HEAD, schema.MIGRATIONS)
    engine.dispose()
    assert shape(new).keys() == shape(migrated).keys()
    for table in shape(new):
        assert columns(new, table) == columns(migrated, table)
    for kind in Kind:
        assert shape(new)[kind.value].endswith("WITHOUT ROWID")
        assert shape(migrated)[kind.value].endswith("WITHOUT ROWID")


LATER = '''
"""A later version, which keeps the name of the house in capitals and counts beside it."""

import json
from alembic import op
import sqlalchemy as sa

revision = "later"
down_revision = "HEAD"


def upgrade():
    connection = op.get_bind()
    op.create_table("later", sa.Column("key", sa.Text, primary_key=True))
    for key, body in connection.exec_driver_sql("SELECT key, body FROM establishment").all():
        fact = json.loads(body)
        fact["display_name"] = fact["display_name"].upper()
        connection.exec_driver_sql("UPDATE establishment SET body = ? WHERE key = ?", (json.dumps(fact), key))
'''

BROKEN = LATER + '    raise RuntimeError("half way")\n'


def later_migrations(folder: Path, script: str) -> Path:
    """The package's migrations and one more."""
    (folder / "versions").mkdir(parents=True)
    for source in (schema.MIGRATIONS / "env.py", *(schema.MIGRATIONS / "versions").glob("0*.py")):
        target = folder / source.relative_to(schema.MIGRATIONS)
        target.write_text(source.read_text())
    (folder / "versions" / "later.py").write_text(script.replace("HEAD", schema.HEAD))
    return folder


async def test_an_earlier_version_is_migrated_with_its_data(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    store = await sqlite_store(path)
    await store.commit(batch(1, named("Centre hospitalier")))
    await store.close()
    migrations = later_migrations(tmp_path / "migrations", LATER)
    later = await SqliteStore.open(path, HOUSE, lambda: 7, head="later", migrations=migrations)
    stored = await later.load()
    assert stored.facts[Kind.ESTABLISHMENT] == {SELF: Establishment(display_name="CENTRE HOSPITALIER")}
    assert stored.incarnation == INCARNATION
    await later.close()
    assert "later" in shape(path)
    with pytest.raises(StorageRefused, match="version later"):
        await sqlite_store(path)


async def test_the_first_version_is_migrated_with_its_data(tmp_path: Path) -> None:
    """Its patients are still there, a movement said again is known, and what it had changed is no more kept."""
    path = tmp_path / "node.db"
    stay = Stay("s", "med", Gender.FEMALE, START, bed="1", source="sih", movement="sih/m1")
    record = {"content": "Yg==", "fate": "APPLIED", "taken": START.isoformat(), "stay": "s", "reason": "é"}
    undo = {"stays": [["s", None, False]], "beds": [["med/1", None]]}
    engine = create_engine(f"sqlite:///{path}", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        schema.migrate(connection, None, "0001", schema.MIGRATIONS)
        write = "INSERT INTO stay (key, revision, body) VALUES ('s', 1, ?)"
        connection.exec_driver_sql(write, (msgspec.json.encode(stay).decode(),))
        write = "INSERT INTO movement (key, revision, body) VALUES (?, 1, ?)"
        for key, body in {"sih/m1": record | {"undo": undo}, "sih/m2": record}.items():
            connection.exec_driver_sql(write, (key, json.dumps(body)))
        write = "INSERT INTO revision (number, digest, as_of, touched) VALUES (1, ?, ?, ?)"
        connection.exec_driver_sql(write, (b"d" * 32, START.isoformat(), touched_body(Touched()).decode()))
        write = "INSERT INTO meta (name, value) VALUES (?, ?)"
        for row in (("establishment", str(HOUSE)), ("incarnation", str(INCARNATION))):
            connection.exec_driver_sql(write, row)
    engine.dispose()
    store = await sqlite_store(path)
    stored = await store.load()
    await store.close()
    assert stored.facts[Kind.STAY] == {"s": stay}
    assert stored.facts[Kind.STORY] == {}
    known = stored.facts[Kind.MOVEMENT]
    assert {key: fact.content for key, fact in known.items() if isinstance(fact, MovementRecord)} == {
        "sih/m1": b"b",
        "sih/m2": b"b",
    }
    with sqlite3.connect(path) as raw:
        (body,) = raw.execute("SELECT body FROM movement WHERE key = 'sih/m1'").fetchone()
    raw.close()
    assert json.loads(body) == record | {"undo": {"beds": [["med/1", None]]}}
    assert "é" in body
    assert stored.incarnation == INCARNATION


@pytest.mark.parametrize("version", EARLIER)
async def test_a_database_of_each_earlier_version_is_brought_up_with_its_data(tmp_path: Path, version: str) -> None:
    path = tmp_path / "node.db"
    stay = Stay("s", "med", Gender.FEMALE, START, bed="1", source="sih", movement="sih/m1")
    heard_at = START + timedelta(minutes=3)
    engine = create_engine(f"sqlite:///{path}", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        schema.migrate(connection, None, version, schema.MIGRATIONS)
        for statement, row in (
            ("INSERT INTO stay (key, revision, body) VALUES ('s', 1, ?)", (msgspec.json.encode(stay).decode(),)),
            ("INSERT INTO source_proof (source, at) VALUES ('sih', ?)", (heard_at.isoformat(),)),
            (
                "INSERT INTO revision (number, digest, as_of, touched) VALUES (1, ?, ?, ?)",
                (b"d" * 32, START.isoformat(), touched_body(Touched()).decode()),
            ),
            ("INSERT INTO meta (name, value) VALUES ('establishment', ?)", (str(HOUSE),)),
            ("INSERT INTO meta (name, value) VALUES ('incarnation', ?)", (str(INCARNATION),)),
        ):
            connection.exec_driver_sql(statement, row)
    engine.dispose()
    stored = await read(path)
    assert stored.facts[Kind.STAY] == {"s": stay}
    assert stored.proofs == {"sih": heard_at}
    assert [(one.number, one.as_of) for one in stored.recent] == [(1, START)]
    assert stored.incarnation == INCARNATION


async def test_a_migration_that_fails_leaves_the_earlier_version(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    store = await sqlite_store(path)
    await store.commit(batch(1, named("Centre hospitalier")))
    before = await store.load()
    await store.close()
    migrations = later_migrations(tmp_path / "migrations", BROKEN)
    with pytest.raises(RuntimeError, match="half way"):
        await SqliteStore.open(path, HOUSE, lambda: 7, head="later", migrations=migrations)
    again = await sqlite_store(path)
    assert await again.load() == before
    await again.close()


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """No file of this process may grow: SQLite says « disk I/O error », as on some full disks."""
    held = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = max(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, held)


async def fill(store: Store, number: int) -> None:
    """Commits 3 kB more at each revision from `number` on, until the store refuses."""
    while True:
        page = Change(Kind.ESTABLISHMENT, f"page-{number}", Establishment(display_name="x" * 3000))
        await store.commit(batch(number, page))
        number += 1


async def test_a_disk_that_refuses_is_said_reads_go_on_and_space_heals(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    store = await sqlite_store(path)
    await store.commit(batch(1, named("Avant")))
    before = await store.load()
    with full_disk(path), pytest.raises(StorageUnavailable, match="disk"):
        await fill(store, 2)
    with full_disk(path):
        told = await store.load()
    assert told.recent[: len(before.recent)] == before.recent
    following = told.recent[-1].number + 1
    await store.commit(batch(following, named("Après")))
    assert (await store.load()).recent[-1].number == following
    await store.close()
    again = await sqlite_store(path)
    assert (await again.load()).recent[-1].number == following
    await again.close()


async def test_a_full_database_is_said_in_its_other_spelling(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "node.db", HOUSE, lambda: INCARNATION, pages_max=80)
    await store.commit(batch(1, named("Avant")))
    with pytest.raises(StorageUnavailable, match="full"):
        await fill(store, 2)
    stored = await store.load()
    assert stored.recent[-1].number == len(stored.facts[Kind.ESTABLISHMENT]) > 1
    await store.close()


async def test_a_node_on_a_full_disk_says_so_serves_reads_and_recovers(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    async with house(await sqlite_store(path)) as at:
        await at.declare(declare_places("smr", installed=300, occupied=0))
        tomorrow = at.clock.now() + timedelta(days=1)
        with full_disk(path):
            answers = [(await at.commands(*(create("smr", tomorrow) for _ in range(40)))) for _ in range(3)][-1]
            assert {answer.refusal.reason for answer in answers} == {"STORAGE_UNAVAILABLE"}
            assert "disk" in answers[0].refusal.metadata["problem"]
            assert at.counts.failed > 0
            listing = reservation_pb2.ListReservationsRequest(parent=f"establishments/{HOUSE}")
            told = await at.reservations.ListReservations(listing, NO_CONTEXT)
            assert told.cursor.revision == at.revision
        (healed,) = await at.commands(create("smr", tomorrow))
        assert healed.reservation.state == reservation_pb2.Reservation.STATE_HELD
        assert len((await at.store.inner.load()).facts[Kind.RESERVATION]) == at.counts.states["HELD"]
        await at.store.close()
