"""How long a whole reservation takes over two hops, beside a floor measured in the same run.

From the regulator's `CreateRequest` to the hold seen on its watch (client → hub → node → hub → client, three commits),
and from `ConfirmRequest` to CONFIRMED. The floor is one empty call over mutual TLS between two processes, and one raw
commit of SQLite with `synchronous=FULL`: what no implementation can go below once, and ours pays several times.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from aval.kernel.identity import HubReplica, hub_dns_name
from aval.v1 import request_pb2 as requests
from aval.v1 import reservation_pb2 as reservation
from aval.v1 import terms_pb2
from tests.bench.echo import METHOD
from tests.hub.shell.houses import (
    CELL,
    LUNEVILLE,
    REGULATOR,
    TERRITORY,
    TOUL,
    HubClient,
    Small,
    creation,
    declare_unit,
    need,
    running,
    sees_unit,
)
from tests.waiting import until

ROUNDS = 60
"""Reservations measured one after the other; the first tenth warms up and is not counted."""

AT_ONCE = (8, 24)
"""Reservations in flight for the rates: fewer than the 32 streams of one connection, of which the watch is one."""

RATIO_MAX = 25.0
"""Median hold over the floor. Two hops and three commits make 5; the rest is Python, and other work of the machine."""


def quantiles(seconds: list[float]) -> tuple[float, float]:
    """Median and 99th percentile, in ms."""
    ordered = sorted(seconds)
    return ordered[len(ordered) // 2] * 1000, ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000


def words(quantile: tuple[float, float]) -> str:
    """A median and a 99th percentile, in ms."""
    return f"p50 {quantile[0]:.2f} ms, p99 {quantile[1]:.2f} ms"


def say(line: str) -> None:
    """A line of the report."""
    sys.stdout.write(f"\n{line}")


async def timed(work: Callable[[], Awaitable[object]], rounds: int) -> list[float]:
    """How long each round took; the first tenth is not counted."""
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        await work()
        took.append(time.perf_counter() - begun)
    return took[rounds // 10 :]


@asynccontextmanager
async def echo(small: Small) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """An empty call to another process."""
    bundle, port_file = small.bundle(HubReplica(TERRITORY, 0)), small.folder / "echo.port"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.echo", str(bundle), str(port_file), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await until(port_file.exists, "the echo serves")
        channel = small.channel(REGULATOR, int(port_file.read_text()), hub_dns_name(TERRITORY))
        call = channel.unary_unary(METHOD)
        yield lambda: call(b"", timeout=5)
    finally:
        process.kill()
        await process.wait()


def raw_commit(folder: Path) -> Callable[[], Awaitable[object]]:
    """One insert and its commit, by sqlite3 itself."""
    connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE raw (body TEXT)")

    async def commit() -> None:
        connection.execute("INSERT INTO raw VALUES (?)", ("x" * 500,))

    return commit


class Regulator:
    """One client that follows its requests on a watch."""

    def __init__(self, client: HubClient) -> None:
        self._client = client
        self._waiting: dict[str, tuple[Callable[[requests.Request], bool], asyncio.Future[requests.Request]]] = {}
        self._last: dict[str, requests.Request] = {}

    async def follow(self) -> None:
        """Reads the watch, for ever."""
        async for message in self._client.requests.WatchRequests(requests.WatchRequestsRequest()):
            name = message.request.name
            self._last[name] = message.request
            if name in self._waiting and self._waiting[name][0](message.request):
                self._waiting.pop(name)[1].set_result(message.request)

    async def until(self, name: str, condition: Callable[[requests.Request], bool]) -> requests.Request:
        """The request as soon as the watch tells that the condition holds of it."""
        if name in self._last and condition(self._last[name]):
            return self._last[name]
        told: asyncio.Future[requests.Request] = asyncio.get_running_loop().create_future()
        self._waiting[name] = (condition, told)
        return await told

    async def hold(self, unit: str) -> requests.Request:
        """Asks a unit, and waits for the hold."""
        asked = await self._client.requests.CreateRequest(creation(unit), timeout=30)
        held = reservation.Reservation.STATE_HELD
        return await self.until(asked.name, lambda one: one.asks[0].known.state == held)

    async def confirm(self, held: requests.Request) -> None:
        """Confirms a hold, and waits for the node's word."""
        ask = held.asks[0]
        await self._client.requests.ConfirmRequest(
            requests.ConfirmRequestRequest(
                command_id=str(uuid4()),
                name=held.name,
                reservation=ask.reservation,
                offer_tag=ask.known.offer.offer_tag,
            ),
            timeout=30,
        )
        await self.until(held.name, lambda one: one.state == requests.Request.STATE_CONFIRMED)


async def holds_a_second(regulator: Regulator, unit: str, at_once: int, each: int = 5) -> float:
    """The rate with so many in flight; each asks one after the other."""

    async def asks() -> None:
        for _ in range(each):
            await regulator.hold(unit)

    begun = time.perf_counter()
    await asyncio.gather(*(asks() for _ in range(at_once)))
    return at_once * each / (time.perf_counter() - begun)


async def test_a_reservation_beside_its_floor(tmp_path: Path) -> None:
    async with running(tmp_path, LUNEVILLE) as small, echo(small) as empty_call:
        unit = await declare_unit(small, LUNEVILLE, places=900)
        client = small.to_hub(REGULATOR)
        await until(lambda: sees_unit(client, unit), "the unit is seen at the hub")
        call = quantiles(await timed(empty_call, 300))
        commit = quantiles(await timed(raw_commit(tmp_path), 300))
        floor = call[0] + commit[0]
        say(f"floor: empty call {words(call)}; commit {words(commit)}")

        regulator = Regulator(client)
        following = asyncio.create_task(regulator.follow())
        held: list[requests.Request] = []

        async def hold() -> None:
            held.append(await regulator.hold(unit))

        async def confirm() -> None:
            await regulator.confirm(held.pop())

        holds = quantiles(await timed(hold, ROUNDS))
        confirms = quantiles(await timed(confirm, ROUNDS))
        say(f"ask to hold: {words(holds)}; {holds[0] / floor:.1f} floors")
        say(f"confirm to confirmed: {words(confirms)}; {confirms[0] / floor:.1f} floors")
        for at_once in AT_ONCE:
            rate = await holds_a_second(regulator, unit, at_once)
            say(f"{at_once} in flight: {rate:.0f} holds a second")

        cell = small.to_hub(CELL)
        message = requests.SearchBedsRequest(need=need(TOUL), urgency=terms_pb2.URGENCY_PLANNED)
        searches = quantiles(await timed(lambda: cell.requests.SearchBeds(message, timeout=10), 100))
        say(f"search: {words(searches)}")
        following.cancel()
        assert holds[0] / floor < RATIO_MAX
        assert confirms[0] / floor < RATIO_MAX
