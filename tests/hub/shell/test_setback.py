"""A hub's database copied while it is used and put back: what the hub then knows of itself, and what it waits for."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from aval.adapters import backups
from aval.hub import bootstrap
from aval.hub.files import ORPHANS_AT_ONCE, Files
from aval.hub.model import Cursor, KnownReservation, RequestFile, Told
from aval.hub.ports import Origin, RequestFilter, Transaction
from aval.hub.setback import Setback
from aval.hub.store.memory import MemoryStore
from aval.hub.store.schema import DatabaseUnusable
from aval.hub.store.sqlite import SqliteStore
from aval.kernel.lifecycle import ReservationState
from aval.kernel.need import Mode, Urgency
from tests.contract.test_hub_store import SilentMeters
from tests.hub.core.lossy import name_of, target
from tests.hub.core.test_brokerage import confirmed, held
from tests.hub.core.worlds import HOUSES, MANDATE, NOW, any_need
from tests.hub.shell.fakes import FakeClock
from tests.waiting import PATIENCE_SECONDS

MEMBERS = frozenset(HOUSES)
AT = Cursor(HOUSES[0], 1, 9, b"tag")


def settings_of(folder: Path) -> Path:
    """A hub's settings; neither its identity nor its territory is read here."""
    path = folder / "hub.toml"
    path.write_text('territory_file = "t.toml"\nidentity = "identity"\ndatabase = "hub.db"\n')
    return path


def known_of(file: RequestFile) -> KnownReservation:
    known = file.asks[0].known
    assert known is not None
    return known


def stranger(request: str, house: int = 0, **changes: object) -> KnownReservation:
    """A live reservation at the first house of which a hub knows nothing."""
    told = Told("ZZ-ZZZ", any_need(), Mode.ASK, Urgency.PLANNED, MANDATE)
    known = replace(
        known_of(held(0).file), name=name_of(house), unit=target(house).unit, request=request, told=told,
        last_command_number=2, state=ReservationState.CONFIRMED,
    )  # fmt: skip
    return replace(known, **changes)


def files_of(store: MemoryStore) -> Files:
    return Files(store, FakeClock(), lambda _: None, members=MEMBERS)


async def heard(store: MemoryStore, *told: KnownReservation, whole: bool = True) -> None:
    """What the first house's watch brought, stored."""
    files = files_of(store)
    await store.run(lambda transaction: files.hear(transaction, told, all_of=AT if whole else None))


async def orphans(store: MemoryStore) -> list[str]:
    return [one.name for one in await store.read(lambda transaction: transaction.orphans("", 10))]


async def restored(store: MemoryStore, listed: tuple[str, ...] = ()) -> None:
    origin = Origin(5, restored_at=NOW, listed=listed)
    await store.run(lambda transaction: transaction.save_origin(origin))


async def test_a_copy_of_a_hub_in_use_is_put_back_and_known_for_what_it_is(tmp_path: Path) -> None:
    settings, copy = settings_of(tmp_path), tmp_path / "night.db"
    store = SqliteStore(tmp_path / "hub.db", SilentMeters())
    file = confirmed().file
    await store.run(lambda transaction: transaction.save(file, None))
    kept = bootstrap.back_up(settings, copy)
    assert kept.contents is not None
    assert kept.contents.requests == 1
    with pytest.raises(DatabaseUnusable, match="in use by another hub"):
        bootstrap.restore(settings, copy)
    later = replace(held(1).file, request=replace(held(1).file.request, name="requests/later"))
    moved = tuple(replace(a, reservation=name_of(2), asked_at=NOW + timedelta(hours=1)) for a in later.asks)
    await store.run(lambda transaction: transaction.save(replace(later, asks=moved), None))
    store.close()
    with pytest.raises(DatabaseUnusable, match="is newer"):
        bootstrap.restore(settings, copy)
    put = bootstrap.restore(settings, copy, discard_newer=True)
    assert put.aside is not None
    assert put.aside.is_file()
    again = SqliteStore(tmp_path / "hub.db", SilentMeters())
    origin = await again.read(lambda transaction: transaction.origin())
    assert origin is not None
    assert origin.incarnation
    assert (origin.listed, origin.marked) == ((), False)
    assert [file.request.name for file in await again.read(lambda t: t.requests(RequestFilter()))] == [
        file.request.name
    ]
    again.close()


async def test_a_damaged_copy_is_refused(tmp_path: Path) -> None:
    settings, copy = settings_of(tmp_path), tmp_path / "night.db"
    SqliteStore(tmp_path / "hub.db", SilentMeters()).close()
    bootstrap.back_up(settings, copy)
    damaged = bytearray(copy.read_bytes())
    damaged[4096:12288] = b"\xff" * 8192
    copy.write_bytes(damaged)
    with pytest.raises(backups.BackupRefused):
        bootstrap.restore(settings, copy)
    with pytest.raises(backups.BackupRefused, match="is not there"):
        bootstrap.restore(settings, tmp_path / "absent.db")


async def test_a_hub_that_was_never_restored_waits_for_nobody() -> None:
    setback = Setback(MemoryStore(), FakeClock(), MEMBERS)
    await setback.begin()
    assert setback.waiting == ()
    await setback.until_listed(HOUSES[0])


async def test_a_restored_hub_marks_its_requests_once_and_waits_for_each_house() -> None:
    store = MemoryStore()
    file = confirmed().file
    await store.run(lambda transaction: transaction.save(file, None))
    await restored(store)
    clock = FakeClock()
    setback = Setback(store, clock, MEMBERS)
    await setback.begin()
    assert set(setback.waiting) == MEMBERS
    marked = await store.read(lambda transaction: transaction.request(file.request.name))
    assert marked is not None
    assert marked.request.set_back
    assert marked.rows == file.rows
    waiting = asyncio.create_task(setback.until_listed(HOUSES[0]))
    await clock.settle()
    assert not waiting.done()
    await heard(store)
    setback.listed(HOUSES[0])
    await asyncio.wait_for(waiting, PATIENCE_SECONDS)
    again = Setback(store, FakeClock(), MEMBERS)
    await again.begin()
    assert set(again.waiting) == MEMBERS - {HOUSES[0]}


async def test_what_another_replica_has_listed_is_listed() -> None:
    store, clock = MemoryStore(), FakeClock()
    await restored(store)
    setback = Setback(store, clock, MEMBERS)
    await setback.begin()
    waiting = asyncio.create_task(setback.until_listed(HOUSES[0]))
    await clock.settle()
    await heard(store)
    await clock.run_until(waiting.done, 10, "the other's word is found in the store")


async def test_a_restored_hub_makes_unknown_requests_again_until_the_house_is_listed() -> None:
    store = MemoryStore()
    await restored(store)
    await heard(store, stranger("requests/lost"))
    file = await store.read(lambda transaction: transaction.request("requests/lost"))
    assert file is not None
    assert file.request.set_back
    assert file.asks[0].reservation == name_of(0)
    assert await orphans(store) == []
    await heard(store, stranger("requests/other", name=name_of(0)[:-1] + "f"))
    assert await store.read(lambda transaction: transaction.request("requests/other")) is None
    assert await orphans(store) == [name_of(0)[:-1] + "f"]


async def test_what_was_told_of_a_request_is_found_among_any_number_of_orphans() -> None:
    store = MemoryStore()
    await restored(store)
    many = [stranger("requests/unknown", name=f"{name_of(0)[:-4]}{number:04}") for number in range(ORPHANS_AT_ONCE + 1)]
    last = stranger("requests/lost", house=1)
    assert last.name > max(one.name for one in many)

    def keep(transaction: Transaction) -> None:
        for known in (*many, last):
            transaction.save_orphan(known)

    await store.run(keep)
    await heard(store, stranger("requests/lost"), whole=False)
    file = await store.read(lambda transaction: transaction.request("requests/lost"))
    assert file is not None
    assert {ask.reservation for ask in file.asks} == {name_of(0), last.name}


async def test_what_cannot_be_placed_is_an_orphan_until_its_house_ends_it() -> None:
    store = MemoryStore()
    known = stranger("requests/unknown")
    await heard(store, known, whole=False)
    assert await orphans(store) == [known.name]
    await heard(store, replace(known, state=ReservationState.RELEASED, revision=99), whole=False)
    assert await orphans(store) == []
    await heard(store, known)
    assert await orphans(store) == [known.name]
    await heard(store)
    assert await orphans(store) == [], "a snapshot that does not name it"


async def test_of_a_stranger_to_the_territory_no_request_is_made() -> None:
    store = MemoryStore()
    await restored(store)
    known = stranger("requests/lost")
    assert known.told is not None
    elsewhere = replace(known.told, requester=replace(MANDATE, on_behalf_of="999999999"))
    await heard(store, replace(known, told=elsewhere))
    assert await orphans(store) == [known.name]
    await heard(store, replace(known, told=None))
    assert await orphans(store) == [known.name]


async def test_a_reservation_of_a_request_that_is_here_is_placed_there() -> None:
    store = MemoryStore()
    file = held(1).file
    await store.run(lambda transaction: transaction.save(file, None))
    await heard(store, stranger(file.request.name), whole=False)
    placed = await store.read(lambda transaction: transaction.request(file.request.name))
    assert placed is not None
    assert len(placed.asks) == 2
    assert placed.request.set_back
    assert placed.rows == file.rows
    assert await orphans(store) == []
