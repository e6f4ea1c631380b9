"""A node as a process: started, asked over mutual TLS, killed, started again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aval.v1 import reservation_pb2
from tests.node.shell.processes import HUB, MARIE, NodeProcess
from tests.node.shell.words import confirm, create, declare_places, exchange


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[NodeProcess]:
    made = NodeProcess(tmp_path)
    await made.start()
    yield made
    await made.stop()


async def test_a_reservation_goes_from_wire_to_row_and_back(node: NodeProcess) -> None:
    marie, hub = node.caller(MARIE), node.caller(HUB)
    await marie.census.DeclareUnit(declare_places("smr-1", installed=10, occupied=9), timeout=10)
    held = await exchange(hub, create("smr-1"))
    assert held.refusal.reason == ""
    confirmed = await exchange(hub, confirm(held.reservation, number=2))
    assert confirmed.reservation.state == reservation_pb2.Reservation.STATE_CONFIRMED
    assert confirmed.cursor.revision == held.cursor.revision + 1
    await marie.close()
    await hub.close()
