"""One peer floods; the others are served. Rows 12 to 15b of the threat table, with their figures.

The flood comes from a valid member, which is the worst case: anyone else stops at the handshake. It runs in a thread of
this very process and takes its share of the same two cores, so the times are upper bounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import psutil
from google.protobuf.wrappers_pb2 import StringValue

from aval.adapters.wire.limits import STREAMS_MAX, UNARY_MAX, PeerLimits
from aval.kernel.identity import EstablishmentDesk
from aval.kernel.reasons import Reason
from tests.adapters.wire.house import HERE, HUB, MARIE, NANCY, READ, WATCH, Client, House, Serving, clock, refusal
from tests.adapters.wire.raw_http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HALF_A_HELLO,
    HEADERS,
    RST_STREAM,
    SETTINGS,
    RawConnection,
    frame,
    header,
    message,
    request_headers,
    tls_context,
)
from tests.waiting import PATIENCE_SECONDS, until

Figure = Callable[[str], None]

MEBIBYTE = 1 << 20


@dataclass
class Good:
    """The calls of another peer meanwhile."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def p99_ms(self) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)] * 1000


async def meanwhile(client: Client, work: asyncio.Future[Any], pace_seconds: float = 0, least: int = 20) -> Good:
    """Calls one after the other until the flood is over, and at least some."""
    good = Good()
    while not work.done() or len(good.seconds) + good.failed < least:
        await clock.sleep_until(clock.monotonic() + pace_seconds)
        begun = clock.monotonic()
        try:
            await client.read()
            good.seconds.append(clock.monotonic() - begun)
        except grpc.aio.AioRpcError:
            good.failed += 1
    return good


async def flooded(
    house: House, serving: Serving, flood: Callable[[RawConnection], int], pace_seconds: float = 0
) -> tuple[int, Good, float]:
    """What the flood counted, the good calls beside it, and how much memory it added, in MiB."""
    context = tls_context(house.bundle(HUB))
    client = house.channel(serving, MARIE)
    await client.read()

    def run() -> int:
        with RawConnection(serving.wire.port, context, serving.authority) as connection:
            connection.greet()
            connection.hear(0.1)
            return flood(connection)

    process = psutil.Process()
    before = process.memory_info().rss
    work = asyncio.ensure_future(asyncio.to_thread(run))
    good = await meanwhile(client, work, pace_seconds)
    return await work, good, (process.memory_info().rss - before) / MEBIBYTE


async def test_row_12_rapid_reset(house: House, figure: Figure) -> None:
    """Headers and their reset in one write, 20,000 times."""
    serving = await house.server()
    count = 20_000

    def flood(connection: RawConnection) -> int:
        block = request_headers(READ, connection.authority)
        sent = 0
        with contextlib.suppress(OSError):
            for sent in range(1, count + 1):
                stream = 2 * sent - 1
                reset = frame(RST_STREAM, 0, stream, struct.pack(">I", 8))
                connection.socket.sendall(frame(HEADERS, END_HEADERS, stream, block) + reset)
        return sent

    sent, good, mebibytes = await flooded(house, serving, flood)
    assert good.failed == 0
    assert all(word == "" for word in serving.answers.asked)
    assert len(serving.answers.asked) == len(good.seconds) + 1, "the flood started no handler"
    figure(
        f"row 12: {sent} rapid resets: 0 handlers started, {len(good.seconds)} good calls meanwhile, 0 failed, "
        f"p99 {good.p99_ms:.0f} ms, {mebibytes:+.0f} MiB"
    )


async def test_row_12_a_flood_of_whole_calls_is_bounded_by_peer(house: House, figure: Figure) -> None:
    """Calls that are not reset do start handlers: the rate of one peer is what bounds them."""
    rate, burst, count = 50.0, 100.0, 2000
    serving = await house.server(limits=PeerLimits(calls_per_second=rate, calls_burst=burst))

    def flood(connection: RawConnection) -> int:
        number = 0
        with contextlib.suppress(OSError):
            # A server that stands still meets few of them: so it goes on until one was one too many.
            while number < count or (number < 50 * count and not serving.refused(Reason.TOO_MANY_CALLS)):
                stream = 2 * number + 1
                connection.open(stream, READ)
                connection.send(DATA, END_STREAM, stream, message(StringValue(value="f").SerializeToString()))
                if number % 16 == 15:
                    connection.hear(0.001)
                number += 1
        return number

    begun = clock.monotonic()
    sent, good, mebibytes = await flooded(house, serving, flood, pace_seconds=2 / rate)
    seconds = clock.monotonic() - begun
    started, refused = serving.answers.asked.count("f"), serving.refused(Reason.TOO_MANY_CALLS)
    assert started <= burst + rate * seconds
    assert refused > 0
    assert good.failed == 0
    figure(
        f"row 12: {sent} whole calls of one peer without pause, its rate {rate:g}/s after {burst:g}: {started} "
        f"handlers started in {seconds:.1f} s, {refused} refused, other peer 0 failed, p99 {good.p99_ms:.0f} ms, "
        f"{mebibytes:+.0f} MiB"
    )


async def test_row_13_continuation_flood(house: House, figure: Figure) -> None:
    serving = await house.server()
    count = 8000
    filler = header("x-filler", "z" * 16_000)

    def flood(connection: RawConnection) -> int:
        sent = 0
        with contextlib.suppress(OSError):
            connection.send(HEADERS, 0, 1, request_headers(READ, connection.authority))
            while sent < count:
                connection.send(CONTINUATION, 0, 1, filler)
                sent += 1
        return sent

    sent, good, mebibytes = await flooded(house, serving, flood)
    assert good.failed == 0
    assert mebibytes < 64
    figure(
        f"row 13: {sent} CONTINUATION frames, {sent * len(filler) / MEBIBYTE:.0f} MiB: {len(good.seconds)} good calls "
        f"meanwhile, 0 failed, p99 {good.p99_ms:.0f} ms, {mebibytes:+.0f} MiB"
    )


async def test_row_14_settings_flood(house: House, figure: Figure) -> None:
    serving = await house.server()
    count = 200_000

    def flood(connection: RawConnection) -> int:
        some = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535)) * 100
        sent = 0
        with contextlib.suppress(OSError):
            while sent < count:
                connection.socket.sendall(some)
                sent += 100
        return sent

    sent, good, mebibytes = await flooded(house, serving, flood)
    assert good.failed == 0
    assert mebibytes < 64
    figure(
        f"row 14: {sent} SETTINGS frames: {len(good.seconds)} good calls meanwhile, 0 failed, "
        f"p99 {good.p99_ms:.0f} ms, {mebibytes:+.0f} MiB"
    )


async def test_row_15b_headers_without_a_message_starve_nobody(house: House, figure: Figure) -> None:
    """Two connections full of calls whose message never comes, of one peer; another peer is served, and so is the
    next."""
    serving = await house.server()
    context = tls_context(house.bundle(HUB))
    connections = [
        await asyncio.to_thread(RawConnection, serving.wire.port, context, serving.authority) for _ in range(4)
    ]
    for connection in connections:
        connection.greet()
        for number in range(32):
            connection.open(2 * number + 1, READ if number % 2 else WATCH, seconds=60)
    await until(
        lambda: serving.refused(Reason.TOO_MANY_STREAMS) > 0, "what is beyond the peer's share is refused at once"
    )
    client = house.channel(serving, MARIE)
    good = await meanwhile(client, asyncio.ensure_future(asyncio.to_thread(lambda: None)))
    assert good.failed == 0
    greedy = house.channel(serving, HUB)
    assert (await refusal(greedy.watch().read())).reason is Reason.TOO_MANY_STREAMS
    for connection in connections:
        connection.socket.close()

    async def served_again() -> bool:
        try:
            return bool(await greedy.watch().read())
        except grpc.aio.AioRpcError:
            return False

    await until(served_again, "its places are given back when its connections end")
    figure(
        f"row 15b: 4 connections x 32 headers without a message from one peer (share: {UNARY_MAX} calls): "
        f"{len(good.seconds)} calls of another peer, 0 refused, p99 {good.p99_ms:.0f} ms"
    )


async def test_thousands_of_streams_of_one_peer_do_not_refuse_another(house: House, figure: Figure) -> None:
    serving = await house.server()
    greedy = [house.channel(serving, HUB) for _ in range(4)]
    tried = 3000

    async def open_many(client: Client) -> int:
        refused = 0
        for _ in range(tried // len(greedy) // 10):
            watches = [client.watch() for _ in range(10)]
            for watch in watches:
                try:
                    await watch.read()
                except grpc.aio.AioRpcError:
                    refused += 1
        return refused

    work = asyncio.gather(*(open_many(client) for client in greedy))
    desk = house.channel(serving, EstablishmentDesk(HERE, NANCY))
    good = await meanwhile(desk, work)
    refused = sum(await work)
    assert good.failed == 0
    assert refused > tried * 0.9
    assert serving.answers.watching <= STREAMS_MAX
    figure(
        f"{tried} streams tried by one peer over 4 connections: {refused} refused by its share, "
        f"{len(good.seconds)} calls of another peer meanwhile, 0 refused, p99 {good.p99_ms:.0f} ms"
    )


async def test_a_client_that_does_not_read_holds_one_message_and_not_the_stop(house: House, figure: Figure) -> None:
    serving = await house.server()
    sent = 0

    async def pour(_request: Any, _context: Any) -> AsyncIterator[StringValue]:
        nonlocal sent
        while True:
            yield StringValue(value="x" * MEBIBYTE)
            sent += 1

    service, name = "aval.v1.RequestService", "WatchRequests"
    handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_stream_rpc_method_handler(
        pour, StringValue.FromString, StringValue.SerializeToString
    )
    hub = await house.server(HUB)
    hub.wire.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
    client = house.channel(hub, MARIE)
    process = psutil.Process()
    before = process.memory_info().rss
    call = client.channel.unary_stream(f"/{service}/{name}")(b"")
    assert await call.read()
    last = -1

    def settled() -> bool:
        nonlocal last
        last, was = sent, last
        return last == was

    await until(settled, "the server waits for the client to read")
    for _ in range(20):
        assert await client.read()
    mebibytes = (process.memory_info().rss - before) / MEBIBYTE
    assert sent < 16
    begun = clock.monotonic()
    await asyncio.wait_for(hub.wire.stop(2 * PATIENCE_SECONDS), PATIENCE_SECONDS)
    seconds = clock.monotonic() - begun
    assert serving.answers.watching == 0
    figure(
        f"a watch that nobody reads: {sent} MiB sent then waiting, {mebibytes:+.0f} MiB, the stop took {seconds:.2f} s"
    )


async def test_a_storm_of_handshakes_does_not_crash_the_server(house: House, figure: Figure) -> None:
    """Whoever can reach the port can send this; a whole territory that reconnects at once sends it too.

    A server whose configuration is made anew for each handshake dies of it within a few bursts (grpc 1.85: a count of
    references that two threads change at once), which is why ours is made anew for each certificate only.
    """
    serving = await house.server()
    bursts, at_once = 60, 100

    def storm() -> None:
        for _ in range(bursts):
            sockets = [socket.create_connection(("127.0.0.1", serving.wire.port)) for _ in range(at_once)]
            for one in sockets:
                with contextlib.suppress(OSError):  # a server that is behind has more than it takes, and hangs up
                    one.sendall(HALF_A_HELLO)
                one.close()

    client = house.channel(serving, MARIE)
    await client.read()
    good = await meanwhile(client, asyncio.ensure_future(asyncio.to_thread(storm)))
    assert good.failed == 0
    figure(
        f"{bursts} bursts of {at_once} handshakes at once: the server lives, {len(good.seconds)} good calls meanwhile, "
        f"0 failed, p99 {good.p99_ms:.0f} ms"
    )
