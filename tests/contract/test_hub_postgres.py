"""What the PostgreSQL store promises beyond the port's suite: works run again, lost connections, leases, migrations."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from msgspec.structs import replace

from aval.hub.files import Act, Files
from aval.hub.model import Cursor, ExternalReference, RequestFile
from aval.hub.ports import CommandRecord, Lease, LeaseLost, Origin, Proofs, SharedTransaction, Transaction
from aval.hub.setback import Setback
from aval.hub.settings import read_settings
from aval.hub.store.postgres import CONNECTIONS, RUNS_MAX, PostgresStore
from aval.hub.store.schema import MIGRATIONS, DatabaseUnusable
from aval.hub.store.sqlite import SqliteStore
from aval.hub.store.statements import REQUESTS_ASKING
from aval.hub.store.transaction import encoded
from aval.kernel.declared import DeclaredFault
from aval.kernel.reasons import Reason, Refusal
from tests.conftest import CHECKOUT
from tests.contract.cutting import Cut, Cutter
from tests.contract.servers import QUICK, Cluster, Databases, with_hand_clock
from tests.contract.test_hub_store import LUNEVILLE, NOW, TOUL, SilentMeters, head, new_file, reading, saving, unit
from tests.waiting import PATIENCE_SECONDS, until

HOUSES = frozenset({TOUL, LUNEVILLE})
EARLIER = sorted(path.stem[1:5] for path in (MIGRATIONS / "versions").glob("v*.py"))[:-1]
"""The schemas before the present one."""


class FixedClock:
    """Always the same instant."""

    def now(self) -> datetime:
        """See `aval.kernel.clock.Clock`."""
        return NOW

    def monotonic(self) -> float:
        """See `aval.kernel.clock.Clock`."""
        return 0.0

    async def sleep_until(self, monotonic: float) -> None:
        """Nobody waits here."""


@asynccontextmanager
async def opened(url: str, *, replica: int = 0) -> AsyncIterator[tuple[PostgresStore, SilentMeters]]:
    """A store on that database, and what it counts."""
    meters = SilentMeters()
    store = PostgresStore(url, meters, replica=replica)
    try:
        yield store, meters
    finally:
        store.close()


def sql(url: str, statement: str) -> list[tuple[object, ...]]:
    """Asks the database beside the store."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(statement.encode())
        return found.fetchall() if found.description else []


def conflicts(meters: SilentMeters) -> list[str]:
    """Why works were run again, but for sessions that the server ends where this process stands still in one."""
    return [cause for cause in meters.reruns if cause != "connection"]


# --- running again ---------------------------------------------------------------------------------------------------


async def test_works_that_lock_each_other_are_both_done(databases: Databases) -> None:
    """Two works lock two requests in opposite orders, while each waits for the other: a deadlock, run again."""
    async with opened(databases.new()) as (store, meters):
        one, two = new_file(), new_file()
        await store.run(saving(one))
        await store.run(saving(two))
        runs: list[str] = []

        def locking(*files: RequestFile) -> Callable[[SharedTransaction], None]:
            def work(transaction: SharedTransaction) -> None:
                for file in files:
                    before = transaction.request(file.request.name)
                    assert before is not None
                    changed = replace(before.request, revision=before.request.revision + 1)
                    transaction.save(replace(before, request=changed), before)
                    runs.append(file.request.name)
                    # Until both have locked one, neither goes on: each then wants what the other holds.
                    while len(runs) < 2:
                        transaction.live_count()

            return work

        await asyncio.gather(store.run(locking(one, two)), store.run(locking(two, one)))
        assert conflicts(meters) == ["deadlock"]
        for file in (one, two):
            after = await store.read(reading(file.request.name))
            assert after is not None
            assert after.request.revision == file.request.revision + 2


@pytest.mark.parametrize(("failures", "stored"), [(2, True), (1000, False)])
async def test_a_serialisation_failure_is_run_again_so_often_and_then_said(
    databases: Databases, failures: int, stored: bool
) -> None:
    """The server's own, made by a trigger that fails so many times: a sequence counts beside transactions."""
    url = databases.new()
    async with opened(url) as (store, meters):
        sql(url, "CREATE SEQUENCE failed")
        sql(
            url,
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            "  IF nextval('failed') <= TG_ARGV[0]::bigint THEN"
            "    RAISE EXCEPTION 'made by a test' USING ERRCODE = 'serialization_failure';"
            "  END IF;"
            "  RETURN NEW; END $$",
        )
        made = {2: "fail(2)", 1000: "fail(1000)"}[failures]
        sql(url, "CREATE TRIGGER failing BEFORE INSERT ON request FOR EACH ROW EXECUTE FUNCTION " + made)
        file = new_file()
        if stored:
            await store.run(saving(file))
            assert conflicts(meters) == ["serialization"] * failures
            assert await store.read(reading(file.request.name)) == file
            return
        with pytest.raises(Refusal) as refused:
            await store.run(saving(file))
        assert refused.value.reason is Reason.STORAGE_UNAVAILABLE
        assert meters.reruns == ["serialization"] * RUNS_MAX
        assert meters.failed == 1
        assert await store.read(reading(file.request.name)) is None


async def test_one_request_sent_thirty_times_at_once_is_one_request(databases: Databases) -> None:
    async with opened(databases.new()) as (store, meters):
        file = new_file()
        files = Files(store, FixedClock(), lambda _: None)
        act = Act("spiffe://t/establishment/540000023/operator/lea", "same", b"content")

        def make(_: str) -> RequestFile:
            return file

        def encode(made: RequestFile) -> bytes:
            return made.request.name.encode()

        answers = await asyncio.gather(*(files.create(act, make, encode, ["K7-3F9"]) for _ in range(30)))
        assert set(answers) == {file.request.name.encode()}
        assert len(await store.read(lambda t: t.outbox(LUNEVILLE, 100))) == 1
        assert conflicts(meters) == []


async def test_two_callers_never_share_an_id_nor_a_reference(databases: Databases) -> None:
    async with opened(databases.new()) as (store, _):
        mine, theirs = new_file("3f1", reference="AA-222"), new_file("3f1", reference="AA-222")
        other = new_file(reference="AA-222")
        files = Files(store, FixedClock(), lambda _: None)

        async def create(caller: str, file: RequestFile) -> str:
            def make(reference: str) -> RequestFile:
                return replace(file, request=replace(file.request, reference=reference))

            answer = await files.create(
                Act(caller, caller, b""),
                make,
                lambda made: made.request.reference.encode(),
                ["AA-222", "BB-333", "CC-444"],
            )
            return answer.decode()

        results = await asyncio.gather(
            create("a", mine), create("b", theirs), create("c", other), return_exceptions=True
        )
        refused = [one.reason for one in results if isinstance(one, Refusal)]
        assert refused == [Reason.ID_REUSED]
        assert len({one for one in results if isinstance(one, str)}) == 2


# --- connections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [Cut.BEFORE_COMMIT, Cut.AFTER_COMMIT])
async def test_a_connection_lost_at_commit_is_settled_by_running_again(databases: Databases, cut: Cut) -> None:
    """Whether the work was stored or not, its caller is given the one answer, and it is done once."""
    url = databases.new()
    with Cutter(url) as cutter:
        await cut_at_commit(cutter, cut)


async def cut_at_commit(cutter: Cutter, cut: Cut) -> None:
    async with opened(cutter.url) as (store, meters):
        file = new_file()
        files = Files(store, FixedClock(), lambda _: None)
        cutter.arm(cut)
        answer = await files.create(
            Act("lea", "1", b"content"), lambda _: file, lambda made: made.request.name.encode(), ["K7-3F9"]
        )
        assert answer == file.request.name.encode()
        assert cutter.cuts == 1
        assert meters.reruns == ["connection"]
        assert await store.read(reading(file.request.name)) == file
        assert await store.read(lambda t: t.waiting()) == {LUNEVILLE: 1}


async def test_sessions_that_the_server_ends_are_made_anew(databases: Databases) -> None:
    url = databases.new()
    async with opened(url) as (store, meters):
        await asyncio.gather(*(store.run(saving(new_file())) for _ in range(3 * CONNECTIONS)))
        sql(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'aval-hub'")
        files = [new_file() for _ in range(3 * CONNECTIONS)]
        await asyncio.gather(*(store.run(saving(file)) for file in files))
        assert set(meters.reruns) == {"connection"}
        assert meters.failed == 0
        for file in files:
            assert await store.read(reading(file.request.name)) == file


async def test_locks_of_a_hub_that_stops_in_mid_transaction_are_given_back(databases: Databases) -> None:
    """The server ends a session that idles in a transaction: who waits goes on, and the first work is run again."""
    url = databases.new()
    async with opened(url, replica=0) as (stopped, meters), opened(url, replica=1) as (other, _):
        file = new_file()
        await other.run(saving(file))
        locked, woken = threading.Event(), threading.Event()

        def marking(revision: int, *, stops: bool) -> Callable[[Transaction], None]:
            def work(transaction: Transaction) -> None:
                before = transaction.request(file.request.name)
                assert before is not None
                if stops:
                    locked.set()
                    assert woken.wait(2 * PATIENCE_SECONDS)
                after = replace(before.request, revision=before.request.revision + revision)
                transaction.save(replace(before, request=after), before)

            return work

        first = asyncio.ensure_future(stopped.run(marking(10, stops=True)))
        await until(locked.is_set, "the first holds the lock")
        await asyncio.wait_for(other.run(marking(1, stops=False)), PATIENCE_SECONDS)
        woken.set()
        await first
        assert meters.reruns == ["connection"]
        after = await other.read(reading(file.request.name))
        assert after is not None
        assert after.request.revision == file.request.revision + 11


async def test_a_server_that_is_away_is_said_at_once_and_taken_up_again() -> None:
    cluster = Cluster(**QUICK)
    cluster.make()
    cluster.start()
    try:
        async with opened(cluster.url()) as (store, meters):
            before, lost = new_file(), new_file()
            await store.run(saving(before))
            cluster.stop("immediate")
            for file in (lost, lost):
                with pytest.raises(Refusal) as refused:
                    await asyncio.wait_for(store.run(saving(file)), PATIENCE_SECONDS)
                assert refused.value.reason is Reason.STORAGE_UNAVAILABLE
            assert meters.failed >= 2
            cluster.start()

            async def stored() -> bool:
                try:
                    return await store.read(reading(before.request.name)) == before
                except Refusal:
                    return False

            await until(stored, "the store goes on")
            assert await store.read(reading(lost.request.name)) is None
            await store.run(saving(lost))
    finally:
        cluster.remove()


def test_a_server_of_the_tests_that_cannot_start_fails_them() -> None:
    """They are not left out, and what the server said stands in the failure."""
    server = Cluster(max_connections="none")
    try:
        server.make()
        with pytest.raises(AssertionError, match="max_connections"):
            server.start()
    finally:
        server.remove()


async def test_a_server_that_is_not_there_is_said_in_clear_words() -> None:
    with pytest.raises(DatabaseUnusable, match="PostgreSQL database cannot be used"):
        PostgresStore("postgresql://aval@/none?host=/nowhere", SilentMeters())


# --- leases ----------------------------------------------------------------------------------------------------------


def looking(*held: Lease, wanted: frozenset[str] = HOUSES) -> Callable[[SharedTransaction], tuple[Lease, ...]]:
    return lambda transaction: transaction.tenancy(held, wanted).held


def saving_picture(lease: Lease, revision: int) -> Callable[[SharedTransaction], None]:
    def work(transaction: SharedTransaction) -> None:
        transaction.hold(lease)
        one = unit(lease.establishment, "A")
        transaction.save_picture(head(lease.establishment, revision), [one], [], whole=True)

    return work


async def test_each_node_is_followed_by_one_hub_and_shares_are_fair(databases: Databases) -> None:
    url = with_hand_clock(databases.new())
    async with opened(url, replica=0) as (first, _), opened(url, replica=1) as (second, _):
        mine = await first.look(looking())
        assert {lease.establishment for lease in mine} == HOUSES
        assert await second.look(looking()) == ()
        again = await first.look(lambda t: t.tenancy(mine, HOUSES))
        assert again.held == mine
        assert len(again.spare) == 1
        await first.look(lambda t: t.give_up(again.spare))
        theirs = await second.look(looking())
        assert [lease.establishment for lease in theirs] == [lease.establishment for lease in again.spare]
        assert theirs[0].epoch > again.spare[0].epoch
        assert (await first.look(lambda t: t.tenancy(mine[:1], HOUSES))).spare == ()


async def test_a_write_under_a_lease_that_another_has_taken_is_refused_and_counted(databases: Databases) -> None:
    url = with_hand_clock(databases.new())
    async with opened(url, replica=0) as (first, meters), opened(url, replica=1) as (second, _):
        old = next(lease for lease in await first.look(looking()) if lease.establishment == TOUL)
        await first.run(saving_picture(old, 4))
        await first.look(lambda t: t.give_up([old]))
        await first.look(lambda t: t.leave())
        new = next(lease for lease in await second.look(looking()) if lease.establishment == TOUL)
        await second.run(saving_picture(new, 5))
        with pytest.raises(LeaseLost):
            await first.run(saving_picture(old, 6))
        assert meters.stale_epochs == 1
        tenancy = await first.look(lambda t: t.tenancy([old], HOUSES))
        assert tenancy.refused == (old,)
        kept = await second.read(lambda t: t.picture(TOUL))
        assert kept is not None
        assert kept[0].cursor.revision == 5


async def test_rows_are_taken_in_order_and_not_while_another_changes_them(databases: Databases) -> None:
    url = databases.new()
    async with opened(url, replica=0) as (store, _):
        files = [new_file() for _ in range(3)]
        for file in files:
            await store.run(saving(file))
        second = replace(files[0].rows[0], id="later", number=2)
        await store.run(saving(replace(files[0], rows=(*files[0].rows, second)), files[0]))
        assert [row.id for row in await store.run(lambda t: t.outbox(LUNEVILLE, 9))] == [f.rows[0].id for f in files]
        with psycopg.connect(url) as other:
            other.execute("DELETE FROM outbox WHERE id = %s", (files[0].rows[0].id,))
            taken = await store.run(lambda t: t.outbox(LUNEVILLE, 9))
            assert [row.id for row in taken] == [file.rows[0].id for file in files[1:]]
            other.commit()
        assert (await store.run(lambda t: t.outbox(LUNEVILLE, 9)))[-1].id == "later"


async def test_proofs_age_by_the_database_s_clock(databases: Databases) -> None:
    url = with_hand_clock(databases.new())
    async with opened(url) as (store, _):
        told = Proofs(TOUL, timedelta(seconds=5), (("his", "", timedelta(seconds=60)),))
        await store.run(lambda t: t.save_proofs([told]))
        (found,) = await store.read(lambda t: t.proofs([LUNEVILLE]))
        assert found.silence == timedelta(seconds=5)
        assert found.ages[0][2] == timedelta(seconds=60)
        sql(url, "UPDATE hand.clock SET at = at + interval '7 s'")
        (found,) = await store.read(lambda t: t.proofs([LUNEVILLE]))
        assert found.silence == timedelta(seconds=12)
        assert found.ages[0][2] == timedelta(seconds=67)
        assert await store.read(lambda t: t.proofs([TOUL])) == []


async def test_other_hubs_are_told_the_names_of_what_changed(databases: Databases) -> None:
    url = databases.new()
    told: list[frozenset[str]] = []
    mine: list[frozenset[str]] = []
    async with opened(url, replica=0) as (first, _), opened(url, replica=1) as (second, _):
        first.listen(mine.append)
        second.listen(told.append)
        await until(lambda: len(told) == len(mine) == 1, "both listen")
        assert told == [frozenset()]
        file = new_file()
        await first.run(saving(file))
        await until(lambda: len(told) == 2, "the other is told")
        assert told[1] == {file.request.name}
        sql(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        await until(lambda: len(told) == 3, "after a lost connection anything may have changed")
        assert told[2] == frozenset()
        await until(lambda: mine == [frozenset(), frozenset()], "and its own names are not told to it")


# --- a restore -------------------------------------------------------------------------------------------------------


RESTORED = Origin(5, restored_at=NOW)


@asynccontextmanager
async def beside(url: str, origin: Origin) -> AsyncIterator[None]:
    """Another hub's transaction has written that origin, and ends once somebody waits for it."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with psycopg.connect(url) as other:
        other.execute("UPDATE origin SET body = %s", (encoded(origin),))
        yield
        await until(lambda: sql(url, waiting) == [(1,)], "a work waits for the other hub's")


async def test_hubs_that_begin_together_after_a_restore_mark_requests_once(databases: Databases) -> None:
    """The one that comes second finds them marked: what people have done since is not written over."""
    url, file = databases.new(), new_file()
    async with opened(url) as (store, _):
        await store.run(saving(file))
        await store.run(lambda transaction: transaction.save_origin(RESTORED))
        setback = Setback(store, FixedClock(), HOUSES)
        async with beside(url, RESTORED.with_requests_marked()):
            beginning = asyncio.create_task(setback.begin())
        await beginning
        assert await store.read(reading(file.request.name)) == file


async def test_houses_that_two_hubs_list_at_once_are_both_listed(databases: Databases) -> None:
    url = databases.new()
    async with opened(url) as (store, _):
        await store.run(lambda transaction: transaction.save_origin(RESTORED))
        files = Files(store, FixedClock(), lambda _: None, members=HOUSES)
        heard = Cursor(TOUL, 1, 9, b"tag")
        async with beside(url, RESTORED.with_listed(LUNEVILLE)):
            listing = asyncio.create_task(store.run(lambda transaction: files.hear(transaction, (), all_of=heard)))
        await listing
        origin = await store.read(lambda transaction: transaction.origin())
        assert origin is not None
        assert set(origin.listed) == HOUSES


# --- the schema ------------------------------------------------------------------------------------------------------


def at_schema(engine: sa.Engine, revision: str, file: RequestFile) -> None:
    """A database as that version left it, with a request of revision 7, its asks, its row and a command in it."""
    from aval.hub.store.transaction import RequestBody, encoded

    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        request, row = file.request, file.rows[0]
        connection.execute(
            sa.text(
                "INSERT INTO request (name, state, over, archived, on_behalf_of, reference, body)"
                " VALUES (:name, 'open', 0, 0, :house, :reference, :body)"
            ),
            {
                "name": request.name, "house": TOUL, "reference": request.reference,
                "body": encoded(RequestBody(request, file.asks)),
            },
        )  # fmt: skip
        if revision > "0001":
            connection.execute(sa.text("UPDATE request SET revision = 7"))
        if revision > "0002":
            changed_at = {"at": int(NOW.timestamp()) * 1000}
            connection.execute(sa.text("UPDATE request SET changed_at = :at, linked = 1"), changed_at)
        connection.execute(
            sa.text("INSERT INTO outbox VALUES (:id, 41, :request, :reservation, :house, 0, '', :body)"),
            {
                "id": row.id, "request": row.request, "reservation": row.reservation, "house": row.establishment,
                "body": encoded(row),
            },
        )  # fmt: skip
        for ask in file.asks:
            connection.execute(
                sa.text("INSERT INTO ask VALUES (:reservation, :request, :house, 1)"),
                {"reservation": ask.reservation, "request": request.name, "house": ask.establishment},
            )
        if revision > "0001" and engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT setval('outbox_position', 41)"))
        record = CommandRecord("lea", "1", b"content", NOW, b"answer")
        put_command = "INSERT INTO command (caller, id, stored_at, body) VALUES ('lea', '1', 1, :body)"
        connection.execute(sa.text(put_command), {"body": encoded(record)})


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
@pytest.mark.parametrize("revision", EARLIER)
async def test_a_database_of_each_earlier_version_is_brought_up_with_its_data(
    databases: Databases, tmp_path: Path, engine: str, revision: str
) -> None:
    file = new_file()
    link = ExternalReference("ViaTrajectoire", "VT-1")
    file = replace(file, request=replace(file.request, revision=7, external_reference=link))
    filled = "SELECT revision, changed_at, linked FROM request"
    wanted = [(7, int(NOW.timestamp()) * 1000, 1)]
    store: PostgresStore | SqliteStore
    if engine == "sqlite":
        path = tmp_path / "hub.db"
        made = sa.create_engine(f"sqlite:///{path}")
        at_schema(made, revision, file)
        made.dispose()
        store = SqliteStore(path, SilentMeters())
        with sqlite3.connect(path) as connection:
            assert connection.execute(filled).fetchall() == wanted
        connection.close()
    else:
        url = databases.new()
        made = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
        at_schema(made, revision, file)
        made.dispose()
        store = PostgresStore(url, SilentMeters())
        assert sql(url, filled) == wanted
    try:
        assert await store.read(reading(file.request.name)) == file
        assert await store.read(lambda t: t.requests_asking(LUNEVILLE)) == [file.request.name]
        later = new_file()
        await store.run(saving(later))
        rows = await store.read(lambda t: t.outbox(LUNEVILLE, 9))
        assert [row.id for row in rows] == [file.rows[0].id, later.rows[0].id]
        record = await store.read(lambda t: t.command("lea", "1"))
        assert record is not None
        assert record.answer == b"answer"
    finally:
        store.close()


async def test_hubs_that_start_together_migrate_once(databases: Databases) -> None:
    url = databases.new()
    starting = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c",
            "import asyncio, sys; from aval.hub.store.postgres import PostgresStore\n"
            "async def main(): PostgresStore(sys.argv[1], None).close()\n"
            "asyncio.run(main())",
            url, stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]  # fmt: skip
    for process in starting:
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
    assert len(sql(url, "SELECT version_num FROM alembic_version")) == 1


async def test_what_a_house_is_asked_now_is_looked_up_request_by_request(databases: Databases) -> None:
    """By an index, however much the house was ever asked: one whose columns are sorted otherwise could not serve."""
    url = databases.new()
    PostgresStore(url, SilentMeters()).close()
    others = ("hashjoin", "mergejoin", "material", "seqscan", "bitmapscan")
    with psycopg.connect(url, options=" ".join(f"-c enable_{way}=off" for way in others)) as connection:
        explaining = ("EXPLAIN " + REQUESTS_ASKING.replace(":establishment", "%s")).encode()
        plan = connection.execute(explaining, (LUNEVILLE,)).fetchall()
    looked_up = [line for (line,) in plan if "Index Cond" in line and "request.name" in line]
    assert len(looked_up) == 1, plan
    assert LUNEVILLE in looked_up[0]


async def test_a_newer_database_is_refused(databases: Databases) -> None:
    url = databases.new()
    PostgresStore(url, SilentMeters()).close()
    sql(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseUnusable, match="newer version of Aval"):
        PostgresStore(url, SilentMeters())


def test_the_settings_take_a_url_and_no_password(tmp_path: Path) -> None:
    shipped = read_settings(CHECKOUT / "deploy" / "postgres" / "hub.toml")
    assert shipped.is_shared
    assert shipped.database.startswith("postgresql://aval@10.0.0.11,10.0.0.12,10.0.0.13/aval?")
    rest = 'territory_file = "ge-10.toml"\nidentity = "identity"\n'
    for url in ("postgresql://aval:secret@db/aval", "postgresql://aval@db/aval?password=secret"):
        (tmp_path / "hub.toml").write_text(f'{rest}database = "{url}"\n')
        with pytest.raises(DeclaredFault, match="database: password") as refused:
            read_settings(tmp_path / "hub.toml")
        assert "secret" not in str(refused.value)
    (tmp_path / "hub.toml").write_text(f'{rest}database = "hub.db"\n')
    assert read_settings(tmp_path / "hub.toml").database == str(tmp_path / "hub.db")


def test_a_hub_over_sqlite_loads_no_driver_of_postgresql() -> None:
    program = "import sys, aval.hub.bootstrap, aval.hub.store.sqlite; sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
