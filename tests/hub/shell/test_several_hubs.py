"""Several hubs on one PostgreSQL, as processes: what others see when one is killed, or stopped and woken."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import grpc
import msgspec
import pytest
from msgspec.structs import replace

from aval.hub.ports import Transaction
from aval.hub.store.postgres import LEASE_SECONDS, PostgresStore
from aval.kernel.finess import FinessET
from aval.v1 import request_pb2 as requests
from aval.v1 import reservation_pb2 as reservation
from tests.contract.servers import QUICK, Cluster, Databases
from tests.contract.test_hub_backup import aval
from tests.contract.test_hub_store import SilentMeters
from tests.hub.shell.houses import (
    HOUSES,
    PARTNER,
    REGULATOR,
    HubClient,
    creation,
    declare_unit,
    sees_unit,
    until_request,
)
from tests.hub.shell.sharing import Shared, shared
from tests.waiting import PATIENCE_SECONDS, until

HELD, CONFIRMED = reservation.Reservation.STATE_HELD, reservation.Reservation.STATE_CONFIRMED

STOPS_MAX = 4
"""How often a hub is stopped until a write of its was refused: the first time is enough, between two renewals."""


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    """A server of this module's own."""
    made = Databases()
    yield made
    made.close()


async def all_followed(town: Shared, by: set[int]) -> None:
    """Until each node is followed by one of these hubs, and each of these follows some."""

    def holds() -> bool:
        holders = town.holders()
        return set(holders) == set(HOUSES) and set(holders.values()) == by

    await until(holds, f"all nodes followed by {by}")


async def confirmed(client: HubClient, unit: str) -> str:
    """A request that has got its bed; its name."""
    asked = await client.requests.CreateRequest(creation(unit), timeout=PATIENCE_SECONDS)
    held = await until_request(client, asked.name, lambda one: one.asks[0].known.state == HELD)
    confirm = requests.ConfirmRequestRequest(
        command_id=str(uuid4()),
        name=asked.name,
        reservation=held.asks[0].reservation,
        offer_tag=held.asks[0].known.offer.offer_tag,
    )
    await client.requests.ConfirmRequest(confirm, timeout=PATIENCE_SECONDS)
    done = await until_request(client, asked.name, lambda one: one.state == requests.Request.STATE_CONFIRMED)
    assert done.asks[0].known.state == CONFIRMED
    return asked.name


async def test_every_hub_serves_what_another_follows(tmp_path: Path, databases: Databases) -> None:
    async with shared(tmp_path, databases.new(), 2, *HOUSES) as town:
        await all_followed(town, {0, 1})
        units = {finess: await declare_unit(town.small, finess) for finess in HOUSES}
        clients = [town.to(number, REGULATOR) for number in range(2)]
        for client in clients:
            for unit in units.values():
                await until(partial(sees_unit, client, unit), f"{unit} is seen")
        for client in clients:
            for unit in units.values():
                name = await confirmed(client, unit)
                for other in clients:
                    seen = await until_request(other, name, lambda one: one.state == requests.Request.STATE_CONFIRMED)
                    assert seen.asks[0].known.state == CONFIRMED


async def test_a_hub_killed_under_load_loses_nothing(
    tmp_path: Path, databases: Databases, figure: Callable[[str], None]
) -> None:
    """Its nodes are followed by the other when its leases end; every request sent comes to its end, each in one bed."""
    async with shared(tmp_path, databases.new(), 2, *HOUSES) as town:
        await all_followed(town, {0, 1})
        units = [await declare_unit(town.small, finess, places=40) for finess in HOUSES]
        both = [town.to(number, REGULATOR) for number in range(2)]
        for unit in units:
            for client in both:
                await until(partial(sees_unit, client, unit), f"{unit} is seen")
        sent = [creation(units[number % 3]) for number in range(30)]

        async def send(number: int) -> str:
            """A caller: sends, and sends the same again, to the other hub, until one of them has answered."""
            for attempt in range(200):
                client = both[(number + attempt) % 2]
                try:
                    return (await client.requests.CreateRequest(sent[number], timeout=2)).name
                except grpc.aio.AioRpcError as error:
                    if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                        raise
            raise AssertionError("was never answered")

        callers = [asyncio.ensure_future(send(number)) for number in range(30)]
        await until(lambda: sum(one.done() for one in callers) >= 5, "some are answered")
        killed_at = time.monotonic()
        await town.hubs[1].kill()
        assert town.longest_lease(1) <= timedelta(seconds=LEASE_SECONDS), "by the clock that ends it"
        await until(lambda: set(town.holders().values()) == {0} and len(town.holders()) == 3, "all moved")
        moved = time.monotonic() - killed_at
        figure(f"nodes of a killed hub were followed by the other after {moved:.1f} s")
        names = await asyncio.gather(*callers)
        assert len(set(names)) == 30
        for name in names:
            # What was sent by the one that died is sent again by the other, and answered as before.
            await until_request(both[0], name, lambda one: one.asks[0].known.state == HELD and not one.asks[0].pending)
        for finess in HOUSES:
            assert states_at(town, finess) == {"HELD": 10}


def states_at(town: Shared, finess: FinessET) -> Counter[str]:
    """How many reservations a node has in each state, as its own database says."""
    with closing(sqlite3.connect(town.small.nodes[finess].settings.parent / "node.db")) as connection:
        rows = connection.execute("SELECT body FROM reservation").fetchall()
    return Counter(str(msgspec.json.decode(body)["state"]).upper() for (body,) in rows)


def lasts(town: Shared, least: timedelta, most: timedelta) -> bool:
    """Whether the leases of the second hub last so long."""
    return least <= town.longest_lease(1) <= most


async def test_a_hub_stopped_for_longer_than_its_lease_is_refused_by_the_database(
    tmp_path: Path, databases: Databases, figure: Callable[[str], None]
) -> None:
    """Wherever it was stopped: one that wakes between a renewal and its answer sees by its own clock that it is late,
    and asks for nothing under the old lease. So it is stopped until one of its writes was refused."""
    async with shared(tmp_path, databases.new(), 2, *HOUSES) as town:
        refused = partial(town.metric, 1, "aval_stale_epochs_total")
        regulator, woken = town.to(0, REGULATOR), town.to(1, REGULATOR)
        for stopped in range(1, STOPS_MAX + 1):
            await all_followed(town, {0, 1})
            between = (timedelta(seconds=LEASE_SECONDS - 1.5), timedelta(seconds=LEASE_SECONDS - 0.5))
            await until(partial(lasts, town, *between), "it has renewed its leases, and does not yet again")
            town.signal(1, signal.SIGSTOP)
            await until(lambda: set(town.holders().values()) == {0} and len(town.holders()) == 3, "all moved")
            unit = await declare_unit(town.small, PARTNER, code=f"SMR{stopped}")
            await until(partial(sees_unit, regulator, unit), "the unit is seen")
            name = await confirmed(regulator, unit)
            town.signal(1, signal.SIGCONT)
            await until_request(woken, name, lambda one: one.state == requests.Request.STATE_CONFIRMED)
            await all_followed(town, {0, 1})
            if refused():
                break
        assert refused() >= 1, "the one that woke was refused"
        figure(f"writes refused to the hub that woke: {refused():.0f}, stopped {stopped} times")
        assert town.metric(0, "aval_stale_epochs_total") == 0


async def test_a_hub_that_is_told_to_stop_hands_its_nodes_over(
    tmp_path: Path, databases: Databases, figure: Callable[[str], None]
) -> None:
    async with shared(tmp_path, databases.new(), 2, *HOUSES) as town:
        await all_followed(town, {0, 1})
        stopped_at = time.monotonic()
        assert await town.hubs[1].stop() == 0
        await until(lambda: set(town.holders().values()) == {0} and len(town.holders()) == 3, "all moved")
        moved = time.monotonic() - stopped_at
        figure(f"nodes of a hub that stopped in order were followed by the other after {moved:.1f} s")


async def test_a_word_that_is_lost_is_made_up_for(tmp_path: Path, databases: Databases) -> None:
    """A change that nobody is told of reaches those who watch at a hub all the same, by its revision."""
    url = databases.new()
    async with shared(tmp_path, url, 1, PARTNER) as town:
        unit = await declare_unit(town.small, PARTNER)
        client = town.to(0, REGULATOR)
        await until(lambda: sees_unit(client, unit), "the unit is seen")
        name = await confirmed(client, unit)
        watch = client.requests.WatchRequests(requests.WatchRequestsRequest(names=[name]))
        has_begun = False
        changed: list[requests.Request] = []

        async def watching() -> None:
            nonlocal has_begun
            async for message in watch:
                has_begun = has_begun or message.caught_up
                if message.request.notify_when_free:
                    changed.append(message.request)

        watcher = asyncio.ensure_future(watching())
        # Not a count of revisions: the node's own word of the confirmation may be one more, at any time.
        await until(lambda: has_begun, "the watch has begun")
        assert not changed
        # A store with the hub's own number: the hub takes its notification for one of its own, and passes it over.
        beside = PostgresStore(url, SilentMeters(), replica=0)

        def work(transaction: Transaction) -> None:
            before = transaction.request(name)
            assert before is not None
            revision = before.request.revision + 1
            changed = replace(before.request, notify_when_free=True, revision=revision)
            transaction.save(replace(before, request=changed), before)

        await beside.run(work)
        beside.close()
        await until(lambda: bool(changed), "the change is heard of")
        watch.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


async def test_a_database_that_is_away_ends_no_hub(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Its figures are served meanwhile, acts are refused to be said again, and nobody starts a hub when it is back."""
    server = Cluster(**QUICK)
    server.make()
    server.start()
    try:
        async with shared(tmp_path, server.url(), 2, *HOUSES) as town:
            await all_followed(town, {0, 1})
            unit = await declare_unit(town.small, PARTNER)
            client = town.to(0, REGULATOR)
            await until(lambda: sees_unit(client, unit), "the unit is seen")
            await confirmed(client, unit)
            server.stop()
            act = creation(unit)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await client.requests.CreateRequest(act, timeout=PATIENCE_SECONDS)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            failed = partial(town.metric, name="aval_commits_failed_total")
            before = [failed(0), failed(1)]
            # Leases, watches, keeper: all meet the refusal, again and again.
            await until(lambda: min(failed(0) - before[0], failed(1) - before[1]) >= 10, "much is refused")
            assert await sees_unit(client, unit)
            server.start()
            back = time.monotonic()
            names: list[str] = []

            async def is_taken() -> bool:
                """The same act again, as its refusal says: the hub may yet have to notice that its database is back."""
                try:
                    names.append((await client.requests.CreateRequest(act, timeout=PATIENCE_SECONDS)).name)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                        raise
                return bool(names)

            await until(is_taken, "the act is taken")
            await until_request(client, names[0], lambda one: one.asks[0].known.state == HELD)
            figure(f"requests were held again {time.monotonic() - back:.1f} s after the database was back")
            await all_followed(town, {0, 1})
            assert not [hub for hub in town.hubs if hub.process_has_ended]
    finally:
        server.remove()


async def test_a_client_of_all_hubs_reads_on_while_one_dies(tmp_path: Path, databases: Databases) -> None:
    """By gRPC's own name resolution, balancing, health checks and retries of reads: no read fails, no loop is ours."""
    async with shared(tmp_path, databases.new(), 2, *HOUSES) as town:
        await all_followed(town, {0, 1})
        unit = await declare_unit(town.small, PARTNER)
        for number in range(2):
            await until(partial(sees_unit, town.to(number, REGULATOR), unit), "the unit is seen")
        client = town.to_any(REGULATOR)
        name = await confirmed(client, unit)
        calls = [town.metric(number, "aval_rpc_seconds_count") for number in range(2)]

        async def both_answer() -> bool:
            """One of them may be connected later, and calls are counted after they were answered."""
            await client.get(name)
            return all(town.metric(number, "aval_rpc_seconds_count") >= calls[number] + 5 for number in range(2))

        await until(both_answer, "both are called in turn")
        read = 0

        async def reading() -> None:
            nonlocal read
            while True:
                assert (await client.get(name)).state == requests.Request.STATE_CONFIRMED
                read += 1

        reader = asyncio.ensure_future(reading())
        await until(lambda: read >= 20, "it reads")
        await town.hubs[1].kill()
        at = read
        await until(lambda: reader.done() or read >= at + 100, "it reads on")
        await town.hubs[1].start()
        at = read
        await until(lambda: reader.done() or read >= at + 100, "and on")
        assert not reader.done(), reader.exception()
        reader.cancel()
        again = creation(unit)
        first = await client.requests.CreateRequest(again, timeout=PATIENCE_SECONDS)
        assert (await client.requests.CreateRequest(again, timeout=PATIENCE_SECONDS)).name == first.name


async def test_a_hub_that_hung_while_the_database_was_put_back_ends_when_it_wakes(
    tmp_path: Path, databases: Databases
) -> None:
    """It remembers what is no more, and would follow houses with it. Started anew, it takes up what is there."""
    async with shared(tmp_path, databases.new(), 1, HOUSES[0]) as town:
        await all_followed(town, {0})
        settings, copy = str(tmp_path / "hub-0.toml"), str(tmp_path / "night.dump")
        await asyncio.to_thread(aval, "hub", "backup", "--config", settings, "--to", copy)
        town.signal(0, signal.SIGSTOP)
        await until(lambda: town.alive() == 0, "nobody counts")
        words = ("hub", "restore", "--config", settings, "--from", copy, "--yes", "--discard-newer")
        await asyncio.to_thread(aval, *words)
        town.signal(0, signal.SIGCONT)
        await until(lambda: town.hubs[0].process_has_ended, "it ends")
        assert "the database was put back while this hub hung" in (tmp_path / "hub-0.log").read_text()
        assert town.holders() == {}
        await town.hubs[0].start()
        await all_followed(town, {0})
