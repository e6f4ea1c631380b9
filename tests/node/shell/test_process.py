"""A node as a process: started by the command line, asked over mutual TLS, killed, started again, refused, stopped."""

from __future__ import annotations

import signal
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from aval.adapters.wire import refusal_of
from aval.kernel.reasons import Reason
from aval.v1 import availability_pb2, reservation_pb2, terms_pb2
from tests.node.shell.processes import HERE, HOUSE, HUB, MARIE, Caller, NodeProcess
from tests.node.shell.words import confirm, create, declare_places, exchange, unit_name
from tests.waiting import PATIENCE_SECONDS

STATES = reservation_pb2.Reservation
ALL_UNITS = availability_pb2.ListUnitsRequest(parent="establishments/-")
ALL_RESERVATIONS = reservation_pb2.ListReservationsRequest(parent=f"establishments/{HOUSE}")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[NodeProcess]:
    made = NodeProcess(tmp_path)
    await made.start()
    yield made
    await made.stop()


async def seen_by(caller: Caller) -> tuple[dict[str, object], dict[str, object], terms_pb2.Cursor]:
    """Units and reservations, without what time alone changes; and where they stand."""
    units = await caller.availability.ListUnits(ALL_UNITS, timeout=PATIENCE_SECONDS)
    for unit in units.units:
        for field in ("as_of", "age", "freshness"):
            unit.ClearField(field)
        for source in unit.sources:
            source.ClearField("age")
        for place_class in unit.classes:
            place_class.steps[0].ClearField("time")
    reservations = await caller.reservations.ListReservations(ALL_RESERVATIONS, timeout=PATIENCE_SECONDS)
    for reservation in reservations.reservations:
        for deadline in (reservation.answer_by, reservation.valid_until, reservation.expire):
            deadline.ClearField("remaining")
    return (
        {unit.name: unit for unit in units.units},
        {reservation.name: reservation for reservation in reservations.reservations},
        reservations.cursor,
    )


def dump(database: Path) -> set[str]:
    """All that is on the disk, as statements that would make it again."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    with closing(connection):
        return set(connection.iterdump())


async def test_a_killed_node_comes_back_the_same_and_gives_the_same_answers(node: NodeProcess) -> None:
    marie, hub = node.caller(MARIE), node.caller(HUB)
    await marie.census.DeclareUnit(declare_places("smr", installed=10, occupied=8), timeout=PATIENCE_SECONDS)
    asking = create("smr")
    held = await exchange(hub, asking)
    assert held.reservation.state == STATES.STATE_HELD
    confirming = confirm(held.reservation, number=2)
    confirmed = await exchange(hub, confirming)
    assert confirmed.reservation.state == STATES.STATE_CONFIRMED
    assert confirmed.cursor.revision == held.cursor.revision + 1
    other = await exchange(hub, create("smr"))
    before = await seen_by(hub)
    await marie.close()
    await hub.close()

    assert await node.kill() == -signal.SIGKILL
    stored = dump(node.database)
    await node.start()
    again_stored = dump(node.database)
    assert stored < again_stored, "facts, digests, times: the same bytes"
    (tick,) = again_stored - stored
    assert tick.startswith('INSERT INTO "revision"'), "the tick at start"

    hub = node.caller(HUB)
    units, reservations, cursor = await seen_by(hub)
    assert units == before[0]
    assert reservations == before[1]
    assert cursor.incarnation == before[2].incarnation
    assert cursor.revision == before[2].revision + 1, "the tick at start"
    for request, first in ((asking, confirmed), (confirming, confirmed)):
        again = await exchange(hub, request)
        assert not again.HasField("refusal")
        assert again.reservation.state == STATES.STATE_CONFIRMED
        assert again.reservation.revision == first.reservation.revision
    watch = hub.availability.WatchAvailability(
        availability_pb2.WatchAvailabilityRequest(cursors=[before[2]], include_reservations=True)
    )
    first_message = await watch.read()
    assert isinstance(first_message, availability_pb2.WatchAvailabilityResponse)
    assert first_message.WhichOneof("event") == "change", "its tag is of this history: no snapshot"
    watch.cancel()
    assert other.reservation.name in reservations
    await hub.close()


async def test_a_second_process_on_the_same_database_is_refused_in_clear_words(node: NodeProcess) -> None:
    second = await node.launch()
    assert await second.wait() not in (0, -signal.SIGKILL)
    assert node.process is not None
    assert f"another process (pid {node.process.pid}) already serves the database" in node.log()
    caller = node.caller(MARIE)
    assert not (await caller.availability.ListUnits(ALL_UNITS, timeout=PATIENCE_SECONDS)).units
    await caller.close()


async def test_told_to_stop_it_ends_its_streams_and_leaves_no_ready_file(node: NodeProcess) -> None:
    hub = node.caller(HUB)
    watch = hub.availability.WatchAvailability(availability_pb2.WatchAvailabilityRequest())
    messages = aiter(watch)
    first = await anext(messages)
    assert first.snapshot.cause == availability_pb2.Snapshot.CAUSE_FIRST
    assert await node.stop() == 0
    assert all([message.HasField("progress") async for message in messages])
    assert await watch.code() is grpc.StatusCode.OK
    await hub.close()
    assert sorted(path.name for path in node.folder.glob("*.json")) == []
    assert '"event":"stopping"' in node.log()


async def test_bytes_that_are_no_text_are_refused(node: NodeProcess) -> None:
    marie = node.caller(MARIE)
    update = marie.channel.unary_unary("/aval.v1.CensusService/UpdateEstablishment")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await update(b"\x1a\x04\xff\xfe\xff\xfe", timeout=PATIENCE_SECONDS)
    assert refusal_of(failed.value).reason is Reason.FIELD_INVALID
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await marie.census.DeclareUnit(declare_places("smr", installed=-1, occupied=0), timeout=PATIENCE_SECONDS)
    assert refusal_of(failed.value).reason is Reason.COUNT_OUT_OF_RANGE
    assert (await marie.availability.ListUnits(ALL_UNITS, timeout=PATIENCE_SECONDS)).units == []
    await marie.census.DeclareUnit(declare_places("smr", installed=1, occupied=0), timeout=PATIENCE_SECONDS)
    (unit,) = (await marie.availability.ListUnits(ALL_UNITS, timeout=PATIENCE_SECONDS)).units
    assert unit.name == unit_name("smr")
    await marie.close()


@pytest.mark.parametrize("what", ["listen", "metrics_port"])
async def test_a_port_that_is_taken_is_told_by_name(tmp_path: Path, what: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = f"metrics_port = {port}" if what == "metrics_port" else f'listen = "127.0.0.1:{port}"'
        made = NodeProcess(tmp_path)
        with_line(made, line)
        process = await made.launch()
        assert await process.wait() != 0
    assert str(port) in made.log()
    assert "Traceback" not in made.log()


def with_line(node: NodeProcess, line: str) -> None:
    """Puts a line into a node's settings, in the place of its namesake."""
    name = line.partition(" ")[0]
    kept = [old for old in node.settings.read_text().splitlines() if not old.startswith(f"{name} ")]
    node.settings.write_text("\n".join([*kept, line]))


async def test_what_keeps_it_from_starting_is_told_in_a_sentence(tmp_path: Path) -> None:
    made = NodeProcess(tmp_path)
    with_line(made, 'finess = "540000080"')
    process = await made.launch()
    assert await process.wait() != 0
    house = f"spiffe://{HERE}/establishment"
    assert f"l’identité {house}/{HOUSE}, non celle de {house}/540000080" in made.log()
    assert "Traceback" not in made.log()
