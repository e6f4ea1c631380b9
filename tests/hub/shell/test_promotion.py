"""A database that fails over: a standby is promoted under load of reservations, and no answered CONFIRMED is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import grpc
import psycopg
import pytest

from aval.v1 import request_pb2 as requests
from aval.v1 import reservation_pb2 as reservation
from tests.contract.servers import Cluster
from tests.hub.shell.houses import HOUSES, PARTNER, REGULATOR, HubClient, creation, declare_unit, sees_unit
from tests.hub.shell.sharing import shared
from tests.waiting import until

HELD = reservation.Reservation.STATE_HELD
CONFIRMED = requests.Request.STATE_CONFIRMED

REPLICATING = {"wal_level": "replica", "max_wal_senders": "4", "hot_standby": "on"}

STANDBY_NAME = "two"


class Pair:
    """A primary, and a standby that each commit waits for."""

    def __init__(self) -> None:
        self.primary = Cluster(synchronous_standby_names=STANDBY_NAME, **REPLICATING)
        self.standby = Cluster(**REPLICATING)

    def start(self) -> None:
        """Both, the second copied from the first. Raises AssertionError if one of them cannot start."""
        primary, standby = self.primary, self.standby
        primary.make()
        primary.start()
        source = f"host={primary.folder} user=aval application_name={STANDBY_NAME}"
        ways = ("-R", "-X", "stream", "-c", "fast", "--no-sync")
        standby.run("pg_basebackup", "-D", str(standby.data), "-d", source, *ways)
        standby.start()

    @property
    def is_in_step(self) -> bool:
        """Whether each commit of the primary waits for the standby now."""
        with psycopg.connect(self.primary.url()) as connection:
            found = connection.execute("SELECT sync_state FROM pg_stat_replication").fetchall()
        return found == [("sync",)]

    @property
    def url(self) -> str:
        """Both hosts: a client takes the one that accepts writes."""
        return f"postgresql://aval@/postgres?host={self.primary.folder},{self.standby.folder}"

    def fail_over(self) -> None:
        """kill -9 of the primary, then the standby is promoted, as Patroni would."""
        self.primary.kill()
        self.standby.run("pg_ctl", "-D", str(self.standby.data), "-w", "promote")

    def remove(self) -> None:
        """Stops both and removes everything."""
        self.standby.remove()
        self.primary.remove()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A running pair."""
    made = Pair()
    try:
        made.start()
        yield made
    finally:
        made.remove()


class Patient:
    """One regulator's work for one patient: asks, and confirms what is held; each act with one id until answered."""

    def __init__(self, client: HubClient, unit: str) -> None:
        self._client = client
        self._unit = unit

    async def place(self, answered: Callable[[], None]) -> str:
        """The request's name, once the hub has said CONFIRMED; `answered` is told of each write that was stored."""
        sent = creation(self._unit)
        name = (await self._told(lambda: self._client.requests.CreateRequest(sent, timeout=5))).name
        answered()
        held = await self._seen(name, lambda one: one.asks[0].known.state == HELD)
        confirm = requests.ConfirmRequestRequest(
            command_id=str(uuid4()),
            name=name,
            reservation=held.asks[0].reservation,
            offer_tag=held.asks[0].known.offer.offer_tag,
        )
        await self._told(lambda: self._client.requests.ConfirmRequest(confirm, timeout=5))
        answered()
        await self._seen(name, lambda one: one.state == CONFIRMED)
        return name

    async def _seen(self, name: str, condition: Callable[[requests.Request], bool]) -> requests.Request:
        last = requests.Request()

        async def holds() -> bool:
            nonlocal last
            last = await self._told(lambda: self._client.get(name))
            return condition(last)

        await until(holds, f"{name} as wanted", 60)
        return last

    async def _told(self, call: Callable[[], Awaitable[requests.Request]]) -> requests.Request:
        """The answer, however often the same call must be made."""
        last = requests.Request()

        async def answers() -> bool:
            nonlocal last
            try:
                last = await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                    raise
                return False
            return True

        await until(answers, "the hub answers", 60)
        return last


async def test_a_promotion_under_load_loses_no_answered_confirmation(
    tmp_path: Path, pair: Pair, figure: Callable[[str], None]
) -> None:
    await until(lambda: pair.is_in_step, "the standby is in step")
    async with shared(tmp_path, pair.url, 1, *HOUSES) as town:
        unit = await declare_unit(town.small, PARTNER, places=200)
        client = town.to(0, REGULATOR)
        await until(lambda: sees_unit(client, unit), "the unit is seen")
        stored_at: list[float] = []
        placed: list[str] = []
        stop = asyncio.Event()

        async def regulator() -> None:
            patient = Patient(client, unit)
            while not stop.is_set():
                placed.append(await patient.place(lambda: stored_at.append(time.monotonic())))

        people = [asyncio.ensure_future(regulator()) for _ in range(4)]
        await until(lambda: len(placed) >= 10, "reservations go on", 60)
        before = tuple(placed)
        await asyncio.to_thread(pair.fail_over)
        await until(lambda: len(placed) >= len(before) + 15, "they go on after the promotion", 60)
        stop.set()
        await asyncio.gather(*people)
        pause = max(later - earlier for earlier, later in pairwise(stored_at))
        figure(
            f"a standby promoted at once under load: writes paused for {pause:.1f} s (noticing is added to that);"
            f" {len(placed)} confirmed, none lost"
        )
        for name in placed:
            kept = await client.get(name)
            assert kept.state == CONFIRMED
            assert kept.asks[0].known.state == reservation.Reservation.STATE_CONFIRMED
