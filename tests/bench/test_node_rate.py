"""How many reservations a node takes a second, over mutual TLS to its rows and back, beside bare commits on that disk.

The floor is what the disk gives to one writer: a row of the size of a reservation and a commit, WAL and FULL, by
sqlite3 alone, in this very run. The figure is the node's rate as a share of it: with one command in flight each pays
its own commit; with more, they share one.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from aval.v1 import link_pb2
from tests.node.shell.processes import HUB, MARIE, Caller, NodeProcess
from tests.node.shell.words import command, create, declare_places

COMMITS = 400
RESERVATIONS = 400
UNITS = 20
IN_FLIGHT = (1, 8, 32)
ROW_BYTES = 1_800
"""A reservation's row and its command's record, together."""

SHARE_MIN = 0.05
"""Below it something is wrong, on any machine: a commit a statement, a sleep, a poll."""


def bare_commits(path: Path) -> float:
    """Commits a second of one row each."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE fact (key TEXT PRIMARY KEY, body TEXT) WITHOUT ROWID")
    body = "x" * ROW_BYTES
    began = time.perf_counter()
    for number in range(COMMITS):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO fact VALUES (?, ?)", (f"{number:032}", body))
        connection.execute("COMMIT")
    seconds = time.perf_counter() - began
    connection.close()
    return COMMITS / seconds


async def reservations(hub: Caller, in_flight: int) -> tuple[float, list[float]]:
    """Reservations a second on one stream with so many in flight, and the seconds that each took."""
    call = hub.link.Exchange()
    sent: dict[str, float] = {}
    took: list[float] = []
    room = asyncio.Semaphore(in_flight)

    async def send() -> None:
        for number in range(RESERVATIONS):
            await room.acquire()
            request = create(f"smr-{number % UNITS}")
            sent[request.header.command_id] = time.perf_counter()
            await call.write(link_pb2.ExchangeRequest(command=command(request)))

    began = time.perf_counter()
    sending = asyncio.create_task(send())
    while len(took) < RESERVATIONS:
        response = await call.read()
        assert isinstance(response, link_pb2.ExchangeResponse)
        assert not response.answer.HasField("refusal"), response
        took.append(time.perf_counter() - sent[response.answer.command_id])
        room.release()
    seconds = time.perf_counter() - began
    await sending
    call.cancel()
    return RESERVATIONS / seconds, sorted(took)


@pytest.mark.timeout(300)
async def test_reservations_a_second_beside_bare_commits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = NodeProcess(tmp_path)
    await node.start()
    marie, hub = node.caller(MARIE), node.caller(HUB)
    for unit in range(UNITS):
        await marie.census.DeclareUnit(declare_places(f"smr-{unit}", installed=100, occupied=10), timeout=10)
    lines = []
    for in_flight in IN_FLIGHT:
        floor = bare_commits(tmp_path / f"floor-{in_flight}.db")
        rate, took = await reservations(hub, in_flight)
        middle, worst = took[len(took) // 2], took[int(len(took) * 0.99)]
        lines.append(
            f"{in_flight:3} in flight: {rate:6.0f} reservations/s, bare commits {floor:6.0f}/s, "
            f"share {rate / floor:.2f}, p50 {middle * 1000:.1f} ms, p99 {worst * 1000:.1f} ms"
        )
        assert rate / floor > SHARE_MIN
    await marie.close()
    await hub.close()
    assert await node.stop() == 0
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *lines, ""]))
