"""The interface as a process beside a real node: killed at the worst moments, and searched for names."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from aval.adapters.hl7v2.framing import framed
from aval.adapters.hl7v2.inbox import read_visits
from tests.adapters.hl7v2.messages import CANARIES, Adt, at
from tests.adapters.hl7v2.processes import Interface
from tests.adapters.hl7v2.supplier import Hospital, answering
from tests.scenarios.line import Flow, Way
from tests.waiting import PATIENCE_SECONDS, until

IN = Adt("A01", "V1", at(8), "M1", room="101", bed="1")
NEXT = Adt("A01", "V2", at(9), "M2", room="101", bed="2", gender="M")


@pytest.fixture
async def interface(tmp_path: Path) -> AsyncIterator[Interface]:
    made = Interface(tmp_path)
    try:
        await made.begin()
        yield made
    finally:
        await made.end()


async def open_and_send(interface: Interface, message: Adt) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    assert interface.served is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", interface.served.port)
    writer.write(framed(message.frame()))
    await writer.drain()
    return reader, writer


async def hung_up(reader: asyncio.StreamReader) -> bytes:
    """What a sender reads until its receiver is gone."""
    try:
        return await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    except ConnectionError:
        return b""


async def test_killed_at_the_worst_moments_it_loses_nothing_and_applies_nothing_twice(interface: Interface) -> None:
    """Three kills of one interface: before its own commit, before the node's, and between that and the answer."""
    await _killed_between_read_and_commit(interface, IN)
    await _killed_before_the_node_heard(interface, NEXT)
    third = IN.again(visit="V3", movement="M3", room="102")
    await _killed_between_the_nodes_commit_and_the_answer(interface, third)
    taken, before = await interface.census()
    assert set(taken) == {"101-1", "101-2", "102-1"}
    assert await interface.send(IN, NEXT, third) == ["AA", "AA", "AA"]
    assert await interface.census() == (taken, before)


async def _killed_between_read_and_commit(interface: Interface, message: Adt) -> None:
    with closing(sqlite3.connect(interface.folder / "hl7.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")  # the interface reads the message, and cannot commit it
        reader, writer = await open_and_send(interface, message)
        await until(lambda: _connections(interface) >= 1, "the message to be read")
        await interface.kill()
        other.execute("ROLLBACK")
    assert await hung_up(reader) == b""
    writer.close()
    assert read_visits(interface.folder / "hl7.db") == []
    await interface.start()
    assert (await interface.census())[0] == {}
    assert await interface.send(message) == ["AA"]
    assert len((await interface.census())[0]) == 1


async def _killed_before_the_node_heard(interface: Interface, message: Adt) -> None:
    assert interface.line is not None
    interface.line.set(Way.THERE, Flow.FROZEN)
    reader, writer = await open_and_send(interface, message)
    await until(lambda: len(read_visits(interface.folder / "hl7.db")) == 2, "the inbox to hold it")
    await interface.kill()
    assert await hung_up(reader) == b""
    writer.close()
    interface.line.mend()
    await interface.start()
    await until(lambda: _has(interface, 2), "the node to be told")
    _, before = await interface.census()
    assert await interface.send(message) == ["AA"]
    assert (await interface.census())[1] == before


async def _killed_between_the_nodes_commit_and_the_answer(interface: Interface, message: Adt) -> None:
    assert interface.line is not None
    interface.line.set(Way.BACK, Flow.FROZEN)
    reader, writer = await open_and_send(interface, message)
    await until(lambda: _has(interface, 3), "the node to commit")
    await interface.kill()
    assert await hung_up(reader) == b""
    writer.close()
    taken, before = await interface.census()
    interface.line.mend()
    await interface.start()
    assert await interface.send(message) == ["AA"]
    assert await interface.census() == (taken, before)


async def test_no_name_reaches_disk_log_metric_or_wire_in_a_run_that_changed_the_census(tmp_path: Path) -> None:
    interface = Interface(tmp_path)
    seen = bytearray()
    try:
        await interface.begin()
        moved = IN.again(event="A02", movement="M3", when=at(10), sent=at(10), bed="2")
        gone = IN.again(event="A03", movement="M4", when=at(11), sent=at(11))
        wrong = IN.again(event="A02", movement="M5", visit="").text().replace("NDA^^^CHU^AN", "")
        async with interface.sender() as line:
            for body in (IN.frame(), NEXT.frame(), wrong.encode(), moved.frame(), gone.frame(), b"QUETZAL ZZQUETZAL"):
                seen += await line.send(body)
        taken, cursor = await interface.census()
        assert len(taken) == 1
        assert cursor.revision > 1
        assert interface.served is not None
        assert interface.node.ready is not None
        for port in (interface.served.metrics_port, interface.node.ready.metrics_port):
            seen += await asyncio.to_thread(_metrics, port)
        assert b"aval_hl7_messages_total" in seen
    finally:
        await interface.end()
    written = _written(tmp_path)
    assert {"hl7.db", "hl7.log", "node.db", "node.log"} <= {path.name for path in written}
    for where, content in [("the wire", bytes(seen)), *((path.name, body) for path, body in written.items())]:
        for canary in (*CANARIES, "NDAV1", "IPPV1"):
            for encoding in ("utf-8", "iso8859-15"):
                assert canary.encode(encoding) not in content, f"{canary} in {where}"


async def test_a_census_is_reconciled_from_the_command_line_on_a_persons_word(interface: Interface) -> None:
    assert await interface.send(IN, NEXT) == ["AA", "AA"]
    before = await interface.census()
    assert await interface.stop() == 0
    await interface.start()
    assert await interface.send(IN) == ["AA"]
    assert await interface.census() == before
    assert interface.served is not None
    settings = interface.folder / "hl7.toml"
    settings.write_text(settings.read_text().replace("127.0.0.1:0", f"127.0.0.1:{interface.served.port}"))
    # In truth the first is gone, and the second lies in another bed.
    (interface.folder / "census.hl7").write_bytes(NEXT.again(room="103").frame())
    words = ("hl7", "reconcile", interface.folder / "census.hl7", "--config", settings)
    status, shown = await _aval(*words, "--dry-run")
    assert status == 0, shown
    assert len((await interface.census())[0]) == 2
    status, shown = await _aval(*words, "--yes")
    assert status == 0, shown
    assert set((await interface.census())[0]) == {"103-2"}
    assert not any(canary in shown for canary in CANARIES)
    # Then the hospital's system is asked: she lies elsewhere again. An empty answer moves nobody.
    by_query = ("hl7", "reconcile", "--config", settings, "--yes")
    hospital = Hospital([NEXT.again(room="104")])
    async with answering(hospital) as port:
        with settings.open("a") as more:
            more.write(f'[query]\naddress = "127.0.0.1:{port}"\napplication = "GAM"\n')
        status, shown = await _aval(*by_query)
        assert status == 0, shown
        assert set((await interface.census())[0]) == {"104-2"}
        hospital.patients = []
        status, shown = await _aval(*by_query)
        assert status == 3, shown
    status, shown = await _aval(*by_query)
    assert status == 6, shown
    assert set((await interface.census())[0]) == {"104-2"}
    assert not any(canary in shown for canary in CANARIES)


async def _aval(*words: str | Path) -> tuple[int | None, str]:
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aval.adapters.cli", *map(str, words),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    shown, _ = await running.communicate()
    return running.returncode, shown.decode()


def _written(folder: Path) -> dict[Path, bytes]:
    """All that the run left on disk."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _metrics(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_SECONDS) as answer:
        content: bytes = answer.read()
        return content


def _connections(interface: Interface) -> int:
    assert interface.served is not None
    return int(b"aval_hl7_connections 1.0" in _metrics(interface.served.metrics_port))


async def _has(interface: Interface, count: int) -> bool:
    return len((await interface.census())[0]) == count
