"""How many HL7 messages go from a socket to committed and acknowledged, beside parsing alone and one commit each.

The way is whole: MLLP over TCP, the interface's inbox, mutual TLS to a node in its own process, the node's commit, the
answer. The floors are measured in the same run: reading and understanding the same messages in this process, and one
commit of SQLite for each, both of which the way pays besides.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from aval.adapters.hl7v2.framing import Deframer, framed
from aval.adapters.hl7v2.meaning import understand
from aval.adapters.hl7v2.reading import messages_of, parse
from aval.adapters.hl7v2.telling import Told
from aval.v1 import availability_pb2, census_pb2
from tests.adapters.demo.hand_clock import HandClock
from tests.adapters.hl7v2.days import MAPPING
from tests.adapters.hl7v2.desks import desk_of
from tests.adapters.hl7v2.messages import CUSTOMS, Adt, at
from tests.adapters.hl7v2.processes import Interface, declare_unit
from tests.bench.test_node_rate import bare_commits
from tests.node.shell.processes import HUB

DAY_MESSAGES = 5_000
BEDS = 1_400
UNITS = 40
CONNECTIONS = 4
IN_HAND = 32
SHARE_OF_PARSING_MIN = 0.02
SHARE_OF_COMMITS_MIN = 0.02
"""Below either something is wrong, on any machine: a commit more for each message, a sleep, a poll."""

LATENCIES = 40
LATENCY_SECONDS_MAX = 2.0
"""A person looks away for longer; a loaded machine takes tenths."""

MEMORY_MESSAGES = int(os.environ.get("AVAL_BENCH_HL7_MESSAGES", "200000"))
"""For a million: AVAL_BENCH_HL7_MESSAGES=1000000 make bench."""
MEMORY_SECONDS_MAX = 120 + MEMORY_MESSAGES // 100
"""A tenth of the rate of two quiet cores: slower than that something waits."""
MEMORY_GROWTH_MAX = 40 << 20
"""Bytes that the process may have grown by between a tenth of the messages and the last."""
TOGETHER = 256
"""Messages given at once: as many as the interface takes from eight connections of `IN_HAND`."""
TOLD_OF = 20
"""How often the memory run says where it is."""


def hospital(count: int, begin: datetime, days: int = 1, seed: int = 1) -> Iterator[Adt]:
    """Admissions, moves and departures over the beds of a hospital, never two patients in one bed."""
    random = Random(seed)
    free = [(unit, bed) for unit in range(UNITS) for bed in range(BEDS // UNITS)]
    random.shuffle(free)
    here: list[tuple[str, tuple[int, int]]] = []
    for number in range(count):
        when = begin + timedelta(seconds=number * days * 86_400 // max(count, 1))
        draw = random.random()
        if (draw < 0.45 or not here) and free:
            where = free.pop()
            here.append((f"B{seed}-{number}", where))
            event, (visit, place) = "A01", here[-1]
        elif draw < 0.65 and free:
            index = random.randrange(len(here))
            visit, old = here[index]
            place = free.pop()
            free.insert(random.randrange(len(free) + 1), old)
            here[index] = (visit, place)
            event = "A02"
        else:
            visit, place = here.pop(random.randrange(len(here)))
            free.insert(random.randrange(len(free) + 1), place)
            event = "A03"
        unit, bed = place
        yield Adt(event, visit, when, f"M{seed}-{number}", unit=f"{1000 + unit}", room=f"{100 + bed // 2}",
                  bed=f"{1 + bed % 2}", sent=when)  # fmt: skip


async def pump(port: int, messages: list[bytes]) -> list[float]:
    """Sends frames on one connection, so many unanswered at a time; the seconds that each took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    room = asyncio.Semaphore(IN_HAND)
    sent: list[float] = []
    took: list[float] = []
    deframer = Deframer()

    async def send() -> None:
        for message in messages:
            await room.acquire()
            sent.append(time.perf_counter())
            writer.write(framed(message))
            await writer.drain()

    sending = asyncio.create_task(send())
    while len(took) < len(messages):
        received = await reader.read(1 << 16)
        assert received
        for answer in deframer.feed(received):
            assert b"MSA|AA" in answer, answer
            took.append(time.perf_counter() - sent[len(took)])
            room.release()
    await sending
    writer.close()
    return took


async def test_a_day_of_a_large_hospital_from_cold(tmp_path: Path) -> None:
    messages = [message.frame() for message in hospital(DAY_MESSAGES, datetime.now(UTC) - timedelta(days=1))]
    began = time.process_time()
    for message in messages[:1000]:
        understand(parse(messages_of(message)[0]), CUSTOMS)
    parsing = 1000 / (time.process_time() - began)
    commits = bare_commits(tmp_path / "floor.db")
    interface = Interface(tmp_path)
    try:
        await interface.begin()
        for unit in range(UNITS):
            await declare_unit(interface.node, f"B{unit}", BEDS // UNITS + BEDS // UNITS % 2)
        rows = [
            f'[[unit]]\ncodes = ["{1000 + unit}"]\nunit = "B{unit}"\nbed = "{{room}}-{{bed}}"\n'
            for unit in range(UNITS)
        ]
        (interface.folder / "map.toml").write_text("\n".join(rows))
        await interface.stop()
        await interface.start()
        assert interface.served is not None
        # Of one visit all messages go by one connection: each sender keeps the order of its own.
        visits = [message.visit for message in hospital(DAY_MESSAGES, at(0))]
        parts: list[list[bytes]] = [[] for _ in range(CONNECTIONS)]
        for visit, message in zip(visits, messages, strict=True):
            parts[hash(visit) % CONNECTIONS].append(message)
        began = time.perf_counter()
        took = [
            one for part in await asyncio.gather(*(pump(interface.served.port, part) for part in parts)) for one in part
        ]
        seconds = time.perf_counter() - began
        lone = await pump_alone(interface.served.port)
    finally:
        await interface.end()
    rate = len(messages) / seconds
    ordered = sorted(took)
    sys.stdout.write(
        f"\nHL7: a day of {DAY_MESSAGES} messages, {BEDS} beds, from cold: {seconds:.1f} s, {rate:.0f} messages/s;"
        f" {100 * rate / parsing:.0f} % of parsing alone ({parsing:.0f}/s of CPU),"
        f" {100 * rate / commits:.0f} % of one bare commit each ({commits:.0f}/s);"
        f" latency p50 {1000 * ordered[len(ordered) // 2]:.0f} ms p99 {1000 * ordered[len(ordered) * 99 // 100]:.0f} ms"
        f" with {CONNECTIONS * IN_HAND} in hand, {1000 * statistics.median(lone):.1f} ms alone\n"
    )
    assert rate > SHARE_OF_PARSING_MIN * parsing
    assert rate > SHARE_OF_COMMITS_MIN * commits


async def pump_alone(port: int) -> list[float]:
    """Seconds from a message to its answer, one at a time."""
    took = []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for message in hospital(60, datetime.now(UTC), seed=9):
        began = time.perf_counter()
        writer.write(framed(message.frame()))
        assert b"MSA|AA" in await reader.readuntil(b"\x1c\r")
        took.append(time.perf_counter() - began)
    writer.close()
    return took[6:]


async def test_from_the_socket_to_what_the_hub_hears(tmp_path: Path) -> None:
    interface = Interface(tmp_path)
    took: list[float] = []
    try:
        await interface.begin()
        hub = interface.node.caller(HUB)
        watch = hub.availability.WatchAvailability(availability_pb2.WatchAvailabilityRequest())
        begun: list[float] = []
        heard = asyncio.Semaphore(0)

        async def listen() -> None:
            async for message in watch:
                if begun and message.WhichOneof("event") == "change":
                    took.append(time.perf_counter() - begun[-1])
                    heard.release()

        listening = asyncio.create_task(listen())
        async with interface.sender() as line:
            for number in range(LATENCIES):
                inside = Adt("A01", f"L{number}", datetime.now(UTC), f"N{number}", room="101", bed="1")
                gone = inside.again(event="A03", movement=f"G{number}")
                for message in (inside, gone):
                    begun.append(time.perf_counter())
                    await line.send(message.frame())
                    await asyncio.wait_for(heard.acquire(), 20)
        watch.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await hub.close()
    finally:
        await interface.end()
    ordered = sorted(took)
    sys.stdout.write(
        f"\nHL7: from the socket to what the hub hears of the node: p50 {1000 * ordered[len(ordered) // 2]:.1f} ms,"
        f" p95 {1000 * ordered[len(ordered) * 95 // 100]:.1f} ms of {len(ordered)}\n"
    )
    assert ordered[len(ordered) // 2] < LATENCY_SECONDS_MAX


class _Applies:
    """A node that applies everything at once: what is measured is the interface's own memory."""

    async def apply(self, movements: list[Told]) -> dict[str, census_pb2.ApplyMovementsResponse]:
        fate = census_pb2.ApplyMovementsResponse.FATE_APPLIED
        return {one.id: census_pb2.ApplyMovementsResponse(movement_id=one.id, fate=fate) for one in movements}

    async def stays(self) -> list[census_pb2.Stay]:
        return []


@pytest.mark.timeout(MEMORY_SECONDS_MAX)
async def test_memory_and_inbox_are_bounded(tmp_path: Path) -> None:
    """Days pass with the messages, so that stays that are over are forgotten as in a hospital."""
    clock = HandClock(at(0))
    days = MEMORY_MESSAGES // DAY_MESSAGES
    stays = hospital(days * DAY_MESSAGES, clock.now(), days)
    pause = timedelta(days=1) * TOGETHER / DAY_MESSAGES
    begin, told, after_tenth, peak = time.perf_counter(), 0, 0, 0
    async with desk_of(tmp_path, _Applies(), clock, MAPPING) as desk:
        keeping = asyncio.create_task(desk.keep())
        while together := list(islice(stays, TOGETHER)):
            for answer in await asyncio.gather(*(desk.take(one.again(unit="1050").frame()) for one in together)):
                assert answer is not None
                assert b"MSA|AA" in answer
            clock.advance(pause)
            told, before = told + len(together), told
            peak = max(peak, _resident())
            if told <= MEMORY_MESSAGES // 10:
                after_tenth = peak
            if told * TOLD_OF // MEMORY_MESSAGES > before * TOLD_OF // MEMORY_MESSAGES:
                sys.stdout.write(
                    f"HL7: after {told} messages, {told // DAY_MESSAGES} days: {_resident() >> 20} MiB resident,"
                    f" inbox {_size(tmp_path) >> 20} MiB\n"
                )
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    sys.stdout.write(
        f"\nHL7: {told} messages in {time.perf_counter() - begin:.0f} s; resident at most"
        f" {after_tenth >> 20} MiB in the first tenth, {peak >> 20} MiB in all; inbox {_size(tmp_path) >> 20} MiB\n"
    )
    assert peak - after_tenth < MEMORY_GROWTH_MAX


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _resident() -> int:
    """Bytes of this process in memory now; at most, where the system does not say."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
