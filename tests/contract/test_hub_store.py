"""One suite over every store of the hub: what its port promises, whichever engine keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aval.hub.model import (
    Ask,
    Create,
    Cursor,
    Description,
    Mandate,
    OutboxRow,
    Release,
    Request,
    RequestFile,
    Unit,
)
from aval.hub.ports import Announcement, CommandRecord, PictureHead, RequestFilter, Store, Transaction
from aval.hub.store.memory import MemoryStore
from aval.hub.store.postgres import PostgresStore
from aval.hub.store.sqlite import SqliteStore
from aval.hub.store.transaction import RequestBody, encoded
from aval.kernel.disciplines import Discipline
from aval.kernel.lifecycle import ReleaseReason, RequestState
from aval.kernel.need import Feature, Mode, Need, Urgency
from aval.kernel.reasons import Reason, Refusal
from aval.kernel.statuses import Counting, Gender
from tests.contract.servers import Databases
from tests.simulation.shared_disk import PlainStore, SharedDisk

NOW = datetime(2026, 11, 24, 8, 30, tzinfo=UTC)
TOUL, LUNEVILLE = "540000023", "540000155"
_references = count()


class SilentMeters:
    """Meters that only remember what these tests look at."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.failed = 0
        self.reruns: list[str] = []
        self.stale_epochs = 0

    def queue_length(self, queue: str, length: int) -> None:
        """Not looked at."""

    def committed(self, commands: int, seconds: float) -> None:
        """One commit."""
        self.batches.append(commands)

    def commit_failed(self) -> None:
        """One failure."""
        self.failed += 1

    def refused(self, reason: str) -> None:
        """Not looked at."""

    def source_alive(self, establishment: str, source: str, age_seconds: float = 0.0) -> None:
        """Not looked at."""

    def source_gone(self, establishment: str, source: str) -> None:
        """Not looked at."""

    def reservations(self, count_by_state: object) -> None:
        """Not looked at."""

    def rerun(self, cause: str) -> None:
        """A transaction is run again."""
        self.reruns.append(cause)

    def stale_epoch(self) -> None:
        """A write under a lease that others have taken."""
        self.stale_epochs += 1

    def leases(self, held: int) -> None:
        """Not looked at."""


def make_postgres(request: pytest.FixtureRequest) -> PostgresStore:
    """A store in a new database."""
    databases: Databases = request.getfixturevalue("databases")
    return PostgresStore(databases.new(), SilentMeters())


@pytest.fixture(params=["memory", "sqlite", "postgresql", "simulated"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Each store in turn, empty."""
    made: Store
    match request.param:
        case "memory":
            made = MemoryStore()
        case "sqlite":
            made = SqliteStore(tmp_path / "hub.db", SilentMeters())
        case "simulated":
            made = PlainStore(SharedDisk(lambda: 0.0), 0)
        case _:
            made = make_postgres(request)
    yield made
    made.close()


def mandate(finess: str = TOUL) -> Mandate:
    return Mandate(f"spiffe://t/establishment/{finess}/operator/lea", "lea", "Léa", "operator", finess, NOW)


def need() -> Need:
    return Need(
        Discipline.SMR_GERIATRIC,
        Gender.FEMALE,
        NOW,
        NOW + timedelta(days=1),
        age_months=82 * 12,
        required=frozenset({Feature.OXYGEN}),
    )


def new_file(
    request_id: str = "", *, finess: str = TOUL, houses: tuple[str, ...] = (LUNEVILLE,), reference: str = ""
) -> RequestFile:
    """A request that asks these houses; no two live requests bear the same reference."""
    reference = reference or f"K7-{next(_references):03}"
    name = f"requests/{request_id or uuid4()}"
    act = mandate(finess)
    request = Request(name, reference, need(), Urgency.PLANNED, NOW, act, act, NOW, NOW)
    asks, rows = [], []
    for house in houses:
        reservation = f"establishments/{house}/reservations/{uuid4()}"
        unit = f"establishments/{house}/units/SMR1"
        asks.append(Ask(reservation, unit, Mode.HOLD, act, NOW, last_number=1))
        create = Create(name, reference, unit, need(), Mode.HOLD, Urgency.PLANNED, NOW, 1, NOW + timedelta(days=2))
        rows.append(OutboxRow(reservation[-36:], name, reservation, 1, create, act, NOW))
    return RequestFile(request, tuple(asks), tuple(rows))


def saving(file: RequestFile, before: RequestFile | None = None) -> Callable[[Transaction], None]:
    return lambda transaction: transaction.save(file, before)


def reading(name: str) -> Callable[[Transaction], RequestFile | None]:
    return lambda transaction: transaction.request(name)


def refusing(_: Transaction) -> None:
    raise Refusal(Reason.NOT_IN_THIS_STATE)


def keeping(record: CommandRecord) -> Callable[[Transaction], None]:
    return lambda transaction: transaction.keep_command(record)


async def test_a_file_is_read_as_it_was_saved(store: Store) -> None:
    file = new_file(houses=(LUNEVILLE, TOUL))
    await store.run(saving(file))
    assert await store.run(lambda t: t.request(file.request.name)) == file
    assert await store.run(lambda t: t.request_of(file.asks[0].reservation)) == file.request.name
    assert await store.run(lambda t: t.request_of("establishments/540000023/reservations/none")) is None
    assert await store.run(lambda t: t.request("requests/none")) is None


async def test_rows_are_put_noted_and_struck_with_their_file(store: Store) -> None:
    file = new_file()
    await store.run(saving(file))
    ask, row = file.asks[0], file.rows[0]
    tried = replace(row, attempts=2, last_reason="QUEUE_FULL")
    release = OutboxRow("r2", row.request, ask.reservation, 2, Release(ReleaseReason.OTHER), mandate(), NOW)
    after = replace(file, rows=(tried, release))
    await store.run(saving(after, file))
    assert await store.read(lambda t: t.outbox(LUNEVILLE, 10)) == [tried, release]
    await store.run(saving(replace(after, rows=(release,)), after))
    assert await store.read(lambda t: t.outbox(LUNEVILLE, 10)) == [release]
    assert await store.run(lambda t: t.waiting()) == {LUNEVILLE: 1}
    assert await store.read(lambda t: t.outbox(TOUL, 10)) == []


async def test_rows_keep_the_order_in_which_they_were_stored(store: Store) -> None:
    files = [new_file() for _ in range(20)]
    for file in files:
        await store.run(saving(file))
    found = await store.read(lambda t: t.outbox(LUNEVILLE, 15))
    assert [row.id for row in found] == [file.rows[0].id for file in files[:15]]


async def test_what_is_read_is_what_was_stored(store: Store) -> None:
    file = new_file()
    await store.run(saving(file))
    assert await store.read(reading(file.request.name)) == file
    assert await store.read(lambda t: t.requests(RequestFilter())) == [file]
    with pytest.raises(Refusal) as refused:
        await store.read(refusing)
    assert refused.value.reason is Reason.NOT_IN_THIS_STATE


async def test_works_on_one_request_stand_in_line(store: Store) -> None:
    """Each reads what the one before it has left, on whatever connection it runs: no change is lost."""
    file = new_file()
    await store.run(saving(file))

    def work(transaction: Transaction) -> None:
        before = transaction.request(file.request.name)
        assert before is not None
        revision = before.request.revision + 1
        transaction.save(replace(before, request=replace(before.request, revision=revision)), before)

    await asyncio.gather(*(store.run(work) for _ in range(60)))
    after = await store.read(reading(file.request.name))
    assert after is not None
    assert after.request.revision == file.request.revision + 60


async def test_a_work_that_fails_leaves_nothing_behind(store: Store) -> None:
    file = new_file()

    def work(transaction: Transaction) -> None:
        transaction.save(file, None)
        raise Refusal(Reason.NOT_IN_THIS_STATE)

    with pytest.raises(Refusal) as refused:
        await store.run(work)
    assert refused.value.reason is Reason.NOT_IN_THIS_STATE
    assert await store.run(lambda t: t.request(file.request.name)) is None
    assert await store.read(lambda t: t.outbox(LUNEVILLE, 10)) == []


async def test_a_work_that_fails_hurts_no_other_that_runs_beside_it(store: Store) -> None:
    files = [new_file() for _ in range(40)]

    def spoilt(file: RequestFile) -> Callable[[Transaction], None]:
        def work(transaction: Transaction) -> None:
            transaction.save(file, None)
            raise ValueError(file.request.name)

        return work

    works = [spoilt(file) if number % 4 == 1 else saving(file) for number, file in enumerate(files)]
    results = await asyncio.gather(*(store.run(work) for work in works), return_exceptions=True)
    assert [isinstance(result, ValueError) for result in results] == [number % 4 == 1 for number in range(40)]
    for number, file in enumerate(files):
        found = await store.run(reading(file.request.name))
        assert (found == file) is (number % 4 != 1)


async def test_lists_are_filtered_and_in_the_order_of_names(store: Store) -> None:
    mine = [new_file() for _ in range(5)]
    theirs = [new_file(finess=LUNEVILLE, reference="AA-222")]
    over = replace(mine[0], request=replace(mine[0].request, state=RequestState.CANCELLED))
    archived = replace(mine[1], request=replace(mine[1].request, state=RequestState.ADMITTED, archived=True))
    for file in (over, archived, *mine[2:], *theirs):
        await store.run(saving(file))

    async def names(wanted: RequestFilter) -> list[str]:
        return [file.request.name for file in await store.run(lambda t: t.requests(wanted))]

    def sorted_names(*files: RequestFile) -> list[str]:
        return sorted(file.request.name for file in files)

    assert await names(RequestFilter()) == sorted_names(over, *mine[2:], *theirs)
    assert await names(RequestFilter(archived=True)) == sorted_names(over, archived, *mine[2:], *theirs)
    assert await names(RequestFilter(on_behalf_of=LUNEVILLE)) == sorted_names(*theirs)
    assert await names(RequestFilter(live=True, on_behalf_of=TOUL)) == sorted_names(*mine[2:])
    assert await names(RequestFilter(states=frozenset({RequestState.CANCELLED}))) == sorted_names(over)
    assert await names(RequestFilter(reference="AA-222")) == sorted_names(*theirs)
    listed = sorted_names(over, *mine[2:], *theirs)
    assert await names(RequestFilter(after=listed[1], limit=2)) == listed[2:4]
    assert await store.run(lambda t: t.live_count()) == 4
    assert await store.run(lambda t: t.reference_is_taken("AA-222"))
    assert not await store.run(lambda t: t.reference_is_taken("ZZ-999"))


async def test_demand_is_counted_by_house_since_an_instant(store: Store) -> None:
    await store.run(saving(new_file(houses=(LUNEVILLE, TOUL))))
    await store.run(saving(new_file()))
    assert await store.run(lambda t: t.asks_since(NOW)) == {LUNEVILLE: 2, TOUL: 1}
    assert await store.run(lambda t: t.asks_since(NOW + timedelta(seconds=1))) == {}


async def test_the_requests_that_ask_a_house_are_found(store: Store) -> None:
    one, two, other = new_file(), new_file(houses=(LUNEVILLE, TOUL)), new_file(houses=(TOUL,))
    old = new_file()
    for file in (one, two, other, replace(old, request=replace(old.request, archived=True))):
        await store.run(saving(file))
    asking = sorted(file.request.name for file in (one, two))
    assert await store.run(lambda t: t.requests_asking(LUNEVILLE)) == asking


async def test_commands_are_kept_by_caller_and_forgotten_in_time(store: Store) -> None:
    done = CommandRecord("a", "1", b"content", NOW, b"answer")
    refused = CommandRecord("b", "1", b"other", NOW + timedelta(days=1), b"", Reason.NO_BED, {"unit": "SMR1"})
    for record in (done, refused):
        await store.run(keeping(record))
    assert await store.run(lambda t: t.command("a", "1")) == done
    assert await store.run(lambda t: t.command("b", "1")) == refused
    assert await store.run(lambda t: t.command("c", "1")) is None
    assert await store.run(lambda t: t.forget_commands(NOW + timedelta(hours=1), 10)) == 1
    assert await store.run(lambda t: t.command("a", "1")) is None
    assert await store.run(lambda t: t.command("b", "1")) == refused


def unit(finess: str, code: str, display_name: str = "SMR") -> Unit:
    return Unit(f"establishments/{finess}/units/{code}", display_name, Discipline.SMR_GERIATRIC, Counting.PLACES, NOW)


def head(finess: str, revision: int, incarnation: int = 2**64 - 1) -> PictureHead:
    cursor = Cursor(finess, incarnation, revision, b"\x00\xfftag")
    return PictureHead(cursor, Description("Toul"), frozenset({7}))


async def test_pictures_are_kept_unit_by_unit(store: Store) -> None:
    one, two, three = unit(TOUL, "A"), unit(TOUL, "B"), unit(TOUL, "C")
    await store.run(lambda t: t.save_picture(head(TOUL, 1), [one, two], [], whole=True))
    await store.run(lambda t: t.save_picture(head(LUNEVILLE, 4), [unit(LUNEVILLE, "A")], [], whole=True))
    changed = unit(TOUL, "B", "SMR 2")
    await store.run(lambda t: t.save_picture(head(TOUL, 2), [changed, three], [one.name], whole=False))
    assert await store.run(lambda t: t.pictures()) == [
        (head(TOUL, 2), (changed, three)),
        (head(LUNEVILLE, 4), (unit(LUNEVILLE, "A"),)),
    ]
    await store.run(lambda t: t.save_picture(head(TOUL, 3), [one], [], whole=True))
    assert (await store.run(lambda t: t.pictures()))[0] == (head(TOUL, 3), (one,))


async def test_what_nodes_say_of_themselves_is_kept(store: Store) -> None:
    first = Announcement(TOUL, "10.0.0.1:5000", "0.1", "1", ("create",))
    await store.run(lambda t: t.save_announcement(first))
    second = replace(first, address="10.0.0.2:5000")
    await store.run(lambda t: t.save_announcement(second))
    assert await store.run(lambda t: t.announcements()) == [second]
    await store.run(lambda t: t.save_cursor_heard(head(TOUL, 3).cursor))
    await store.run(lambda t: t.save_cursor_heard(head(TOUL, 9).cursor))
    assert await store.run(lambda t: t.cursors_heard()) == [head(TOUL, 9).cursor]


@given(
    age=st.none() | st.integers(0, 130 * 12),
    stay=st.none() | st.timedeltas(timedelta(microseconds=1), timedelta(days=400)),
    features=st.frozensets(st.sampled_from(Feature)),
    incarnation=st.integers(0, 2**64 - 1),
    tag=st.binary(max_size=8),
)
def test_bodies_survive_their_encoding(
    age: int | None, stay: timedelta | None, features: frozenset[Feature], incarnation: int, tag: bytes
) -> None:
    """The memory store keeps values as they are; what JSON would change must show too."""
    file = new_file()
    wanted = Need(Discipline.HAD, Gender.ANY, NOW, NOW, age_months=age, stay_max=stay, wished=features)
    body = RequestBody(replace(file.request, need=wanted), file.asks)
    assert msgspec.json.decode(encoded(body), type=RequestBody) == body
    kept = PictureHead(Cursor(TOUL, incarnation, 1, tag), Description("Toul"))
    assert msgspec.json.decode(encoded(kept), type=PictureHead) == kept
