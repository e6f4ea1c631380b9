"""The database of the simulation of several hubs is like PostgreSQL: of the same acts the same comes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from aval.hub.ports import Lease, LeaseLost, Origin, Proofs, SharedStore, SharedTransaction, Tenancy
from aval.hub.store.backup_postgres import begin_anew
from aval.hub.store.postgres import PostgresStore
from aval.kernel.lifecycle import RequestState
from tests.contract.servers import Databases, with_hand_clock
from tests.contract.test_hub_store import LUNEVILLE, NOW, TOUL, SilentMeters, head, new_file, saving, unit
from tests.simulation.disks import copied
from tests.simulation.shared_disk import PlainStore, SharedDisk
from tests.waiting import until

HOUSES = ("540000015", TOUL, LUNEVILLE, "540000049", "540000056")
HUBS = 3
STEPS = 250

NEARLY_SECONDS = 0.001
"""By how much two times may differ that are the same: each database rounds in its own way."""


class Both:
    """Several hubs on a PostgreSQL database, and as many on a simulated one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seconds = 0.0
        self.disk = SharedDisk(lambda: self.seconds)
        self.real: list[SharedStore] = [PostgresStore(url, SilentMeters(), replica=n) for n in range(HUBS)]
        self.simulated: list[SharedStore] = [PlainStore(self.disk, n) for n in range(HUBS)]

    def pass_time(self, seconds: float) -> None:
        """On both by as much, and by nothing else: a machine that stands still changes nothing."""
        self.seconds += seconds
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("UPDATE hand.clock SET at = at + make_interval(secs => %s)", (seconds,))

    async def done(self, hub: int, work: Callable[[Any], Any], *, reading: bool = False) -> tuple[Any, Any]:
        """What a work of a hub gives on each, or what it raises."""
        return (
            await _given(self.real[hub], work, reading=reading),
            await _given(self.simulated[hub], work, reading=reading),
        )


async def _given(store: SharedStore, work: Callable[[Any], Any], *, reading: bool) -> Any:
    try:
        return await (store.read(work) if reading else store.run(work))
    except LeaseLost as lost:
        return ("lost", lost.lease)


@asynccontextmanager
async def both(databases: Databases) -> AsyncIterator[Both]:
    """Both, empty."""
    made = Both(with_hand_clock(databases.new()))
    try:
        yield made
    finally:
        for store in made.real:
            store.close()


def nearly(one: timedelta | None, other: timedelta | None) -> bool:
    """Whether two spans are the same."""
    if one is None or other is None:
        return one is other
    return abs((one - other).total_seconds()) < NEARLY_SECONDS


def same_tenancy(one: Tenancy, other: Tenancy) -> bool:
    """Whether a look at the leases brought the same, in whichever order they were taken."""
    return (
        set(one.held) == set(other.held)
        and (one.refused, one.spare) == (other.refused, other.spare)
        and nearly(one.free_in, other.free_in)
    )


def same_proofs(one: list[Proofs], other: list[Proofs]) -> bool:
    """Whether the same is known of the nodes, and about as old."""
    one, other = (sorted(proofs, key=lambda each: each.establishment) for proofs in (one, other))
    return [each.establishment for each in one] == [each.establishment for each in other] and all(
        nearly(a.silence, b.silence)
        and [age[:2] for age in a.ages] == [age[:2] for age in b.ages]
        and all(nearly(x[2], y[2]) for x, y in zip(a.ages, b.ages, strict=True))
        for a, b in zip(one, other, strict=True)
    )


def holding(lease: Lease) -> Callable[[SharedTransaction], None]:
    return lambda t: t.hold(lease)


class Hubs:
    """Some hubs that act at random on both: `believed` is what each takes for its own, `met` what has happened."""

    def __init__(self, made: Both, chance: random.Random) -> None:
        self._made = made
        self._chance = chance
        self.believed: list[tuple[Lease, ...]] = [()] * HUBS
        self.met: set[str] = set()

    def _some(self, hub: int, share: float) -> tuple[Lease, ...]:
        return tuple(lease for lease in self.believed[hub] if self._chance.random() < share)

    async def look(self, hub: int) -> None:
        """It looks at the leases, having forgotten some of its own at times."""
        wanted = HOUSES if self._chance.random() < 0.9 else HOUSES[:3]
        held = self._some(hub, 1.0 if self._chance.random() < 0.8 else 0.5)
        real, simulated = await self._made.done(hub, lambda t: t.tenancy(held, wanted))
        assert same_tenancy(real, simulated), (real, simulated)
        self.believed[hub] = real.held
        happened = {
            "refused": real.refused,
            "spare": real.spare,
            "taken": set(real.held) - set(held),
            "free later": real.free_in,
        }
        self.met |= {what for what, some in happened.items() if some}

    async def give_up(self, hub: int) -> None:
        """It gives up some, and goes on believing that they are its own."""
        leases = self._some(hub, 0.5)
        await self._made.done(hub, lambda t: t.give_up(leases))

    async def hold(self, hub: int) -> None:
        """It writes under each of them."""

        for lease in self.believed[hub]:
            real, simulated = await self._made.done(hub, holding(lease))
            assert real == simulated
            self.met.add("held" if real is None else "lost")

    async def leave(self, hub: int) -> None:
        """It stops."""
        await self._made.done(hub, lambda t: t.leave())

    async def tell_proofs(self, hub: int) -> None:
        """It tells when a node was heard."""
        ages = (("his", "", timedelta(seconds=self._chance.randint(20, 90))),)
        told = Proofs(self._chance.choice(HOUSES), timedelta(seconds=self._chance.randint(0, 20)), ages)
        await self._made.done(hub, lambda t: t.save_proofs([told]))

    async def wait(self, _: int) -> None:
        """Time passes: by no sum that is about a lease's life, which would end before or after a look by chance."""
        self._made.pass_time(self._chance.choice((1.3, 1.3, 2.7, 13.0)))

    async def compare(self, hub: int) -> None:
        """Who holds what, and what is known of the nodes."""
        real, simulated = await self._made.done(hub, lambda t: t.holders(), reading=True)
        assert real == simulated
        but = HOUSES[: self._chance.randint(0, 2)]
        real, simulated = await self._made.done(hub, lambda t: t.proofs(but), reading=True)
        assert same_proofs(real, simulated), (real, simulated)


@pytest.mark.parametrize("seed", [1, 2])
async def test_leases_and_proofs_go_as_in_postgresql(databases: Databases, seed: int) -> None:
    """Hubs look, give up, leave, come back late and hold what they believe theirs; time passes between."""
    chance = random.Random(seed)
    async with both(databases) as made:
        hubs = Hubs(made, chance)
        acts = (hubs.look, hubs.give_up, hubs.hold, hubs.leave, hubs.tell_proofs, hubs.wait)
        for act in chance.choices(acts, (3, 1, 1, 1, 1, 2), k=STEPS):
            hub = chance.randrange(HUBS)
            await act(hub)
            await hubs.compare(hub)
        assert hubs.met == {"refused", "spare", "taken", "free later", "lost", "held"}


async def test_a_restore_leaves_the_leases_as_in_postgresql(databases: Databases) -> None:
    """Nobody holds one, nor is counted, and no epoch comes twice: not even where the same copy is put back again."""
    async with both(databases) as made:
        await made.done(1, lambda t: t.tenancy((), HOUSES))
        copy = copied(made.disk)
        held: list[set[Lease]] = [set(), set()]
        for number in range(1, 3):
            origin = Origin(number, restored_at=NOW)
            with psycopg.connect(made.url, autocommit=True) as connection:
                connection.execute("UPDATE lease SET holder = 1, epoch = 1")
            made.disk.put_back(copy)
            await asyncio.to_thread(begin_anew, made.url, origin)
            made.disk.begin_anew(origin)
            assert await made.done(0, lambda t: t.holders(), reading=True) == ({}, {})
            assert await made.done(0, lambda t: t.origin(), reading=True) == (origin, origin)
            taken = await made.done(0, lambda t: t.tenancy((), HOUSES))
            for before, tenancy in zip(held, taken, strict=True):
                assert len(tenancy.held) == len(HOUSES), "whoever was there counts no more"
                assert not before & set(tenancy.held)
                before.update(tenancy.held)
            made.pass_time(1.3)


async def test_an_epoch_that_two_hubs_were_given_is_the_holders(databases: Databases) -> None:
    """As where a database goes back under hubs that run: the later one holds it, and the other cannot give it up."""
    async with both(databases) as made:
        (tenancy, _) = await made.done(0, lambda t: t.tenancy((), HOUSES))
        with psycopg.connect(made.url, autocommit=True) as connection:
            connection.execute("UPDATE lease SET holder = 1")
        for name, row in made.disk.rows.leases.items():
            made.disk.rows.leases[name] = replace(row, holder=1)
        await made.done(0, lambda t: t.give_up(tenancy.held))
        real, simulated = await made.done(1, lambda t: t.holders(), reading=True)
        assert real == simulated
        assert set(real) == set(HOUSES)
        for lease in tenancy.held:
            assert await made.done(0, holding(lease)) == (("lost", lease), ("lost", lease))
            assert await made.done(1, holding(lease)) == (None, None)


async def test_what_others_read_is_as_in_postgresql(databases: Databases) -> None:
    """Pictures, their heads, the revisions of what is listed, rows that may be sent, names that are told to others."""
    async with both(databases) as made:
        told: list[list[frozenset[str]]] = [[], []]
        made.real[1].listen(told[0].append)
        made.simulated[1].listen(told[1].append)
        await until(lambda: len(told[0]) == 1, "it listens")
        live, over, archived = new_file(), new_file(houses=(LUNEVILLE, TOUL)), new_file()
        over = replace(over, request=replace(over.request, state=RequestState.CANCELLED, revision=4))
        archived = replace(archived, request=replace(archived.request, state=RequestState.ADMITTED, archived=True))
        second = replace(live.rows[0], id="later", number=2)
        live = replace(live, rows=(*live.rows, second))
        works: list[Callable[[Any], Any]] = [saving(file) for file in (live, over, archived)]
        works += [_saving_picture(finess, 3) for finess in (TOUL, LUNEVILLE)]
        for work in works:
            await made.done(0, work)

        def rows(transaction: SharedTransaction) -> list[str]:
            return [row.id for row in transaction.outbox(LUNEVILLE, 9)]

        reads: list[Callable[[Any], Any]] = [
            lambda t: t.revisions(),
            lambda t: t.heads(),
            lambda t: t.picture(TOUL),
            lambda t: t.picture("none"),
            rows,
        ]
        for read in reads:
            real, simulated = await made.done(1, read, reading=True)
            assert real == simulated
        real, simulated = await made.done(1, rows)
        assert real == simulated == [file.rows[0].id for file in (live, over, archived)]
        real, simulated = await made.done(1, lambda t: t.revisions(), reading=True)
        assert simulated == {file.request.name: file.request.revision for file in (live, over)}
        await until(lambda: len(told[0]) == len(told[1]), "the others are told")
        assert told[0] == told[1]


def _saving_picture(finess: str, revision: int) -> Callable[[SharedTransaction], None]:
    return lambda transaction: transaction.save_picture(
        head(finess, revision), [unit(finess, "A"), unit(finess, "B")], [], whole=True
    )
