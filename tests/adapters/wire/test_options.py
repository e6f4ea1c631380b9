"""gRPC's options: gRPC ignores in silence a name that it does not know, so each is shown to bite.

Sizes and counts are tried at their real values against the real server. Times of minutes are tried with the table's own
names and values of a second, against a bare server: what is shown is that the name works, and the real value stands in
the table.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import statistics
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import pairwise
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from aval.adapters.wire import options
from aval.adapters.wire.options import METADATA_BYTES_MAX, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, Options
from aval.kernel.reasons import Reason
from tests.adapters.wire.house import HUB, MARIE, NODE, READ, WATCH, House, Serving, clock
from tests.adapters.wire.raw_http2 import (
    DATA,
    END_STREAM,
    GOAWAY,
    PING,
    RST_STREAM,
    SETTINGS,
    Frame,
    RawConnection,
    message,
    tls_context,
)
from tests.waiting import PATIENCE_SECONDS, until

Figure = Callable[[str], None]

OVERHEAD = 4
"""Bytes that a StringValue of this size adds to its text: a tag and a length of three bytes."""

FOUND_OUT_SECONDS_MAX = 10.0
"""Long beside the seconds of the two options tried, short beside gRPC's own 20 s for an answer to a ping."""

TRIES = 6
"""Between a soft and a hard limit gRPC refuses by chance: one try would not tell them apart."""


def changed(table: Options, **values: int) -> Options:
    """The table with other values; the names are keywords with `_` for `.`."""
    named = {name.removeprefix("grpc.").replace(".", "_"): name for name, _ in table}
    assert values.keys() <= named.keys(), "the table no longer holds it"
    replaced = {named[keyword]: value for keyword, value in values.items()}
    return tuple((name, replaced.get(name, value)) for name, value in table)


@contextlib.asynccontextmanager
async def bare_server(
    house: House, table: Options = (), read: Callable[[bytes, Any], Awaitable[bytes]] | None = None
) -> AsyncIterator[int]:
    """A server without our gate, over TLS as ours, with any options; READ echoes unless told, WATCH never ends."""

    async def echo(request: bytes, _context: Any) -> bytes:
        return request

    async def watch(request: bytes, _context: Any) -> AsyncIterator[bytes]:
        yield request
        await asyncio.Event().wait()

    server = grpc.aio.server(options=table)
    service = READ.split("/")[1]
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        READ.split("/")[2]: grpc.unary_unary_rpc_method_handler(read or echo),
        WATCH.split("/")[2]: grpc.unary_stream_rpc_method_handler(watch),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_secure_port("127.0.0.1:0", house.credentials(NODE).server_credentials())
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


def bare_channel(house: House, port: int, table: Options) -> grpc.aio.Channel:
    """A channel with any options."""
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", house.credentials(HUB).channel_credentials(), table)


def ours(**values: int) -> Options:
    """Our server's table, with some values changed."""
    return changed(options.server_options(), **values)


def theirs(**values: int) -> Options:
    """Our client's table, with some values changed."""
    return changed(options.client_options(NODE.dns_name or ""), **values)


def text_of(size: int) -> bytes:
    """A message of exactly that many bytes."""
    encoded = StringValue(value="x" * (size - OVERHEAD)).SerializeToString()
    return encoded if len(encoded) == size else StringValue(value="x" * (size - OVERHEAD - 1)).SerializeToString()


def raw(serving: Serving, house: House) -> Callable[[], RawConnection]:
    """Connections frame by frame to the server."""
    context = tls_context(house.bundle(HUB))
    return lambda: RawConnection(serving.wire.port, context, serving.authority)


# --- sizes ----------------------------------------------------------------------------------------------------------


async def test_row_9_longer_messages_do_not_reach_a_handler(house: House, figure: Figure) -> None:
    serving = await house.server()
    client = house.raw_channel(serving, house.certificate(HUB))
    sizes = (REQUEST_BYTES_MAX - 1, REQUEST_BYTES_MAX, REQUEST_BYTES_MAX + 1, 64 << 20)
    for size in sizes:
        call = client.channel.unary_unary(READ)(text_of(size), timeout=PATIENCE_SECONDS)
        if size <= REQUEST_BYTES_MAX:
            await call
            continue
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(serving.answers.asked) == 2
    await until(lambda: serving.refused(Reason.REQUEST_NOT_RECEIVED) == 2, "both are counted")
    stream = client.channel.stream_stream("/aval.v1.LinkService/Exchange")()
    await stream.write(text_of(REQUEST_BYTES_MAX + 1))
    with pytest.raises(grpc.aio.AioRpcError):
        await stream.read()
    figure(f"row 9: messages of {', '.join(f'{size:,} B' for size in sizes)}: the last two never reached a handler")


async def test_our_client_and_our_server_do_not_send_what_the_other_would_refuse(house: House) -> None:
    serving = await house.server()

    async def long() -> str:
        return "x" * (RESPONSE_BYTES_MAX + 1)

    serving.answers.behaviours["long"] = long
    client = house.channel(serving)
    with pytest.raises(grpc.aio.AioRpcError) as sent:
        await client.read("x" * (REQUEST_BYTES_MAX + 1))
    assert sent.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "Sent message larger" in (sent.value.details() or "")
    patient = theirs(max_receive_message_length=2 * RESPONSE_BYTES_MAX)
    async with bare_channel(house, serving.wire.port, patient) as channel:
        call: Any = channel.unary_unary(READ)
        with pytest.raises(grpc.aio.AioRpcError) as answered:
            await call(StringValue(value="long").SerializeToString(), timeout=PATIENCE_SECONDS)
        assert answered.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_our_client_takes_no_longer_answer(house: House) -> None:
    big = 8 << 20
    async with (
        bare_server(house, (("grpc.max_receive_message_length", big),)) as port,
        bare_channel(house, port, theirs(max_send_message_length=big)) as channel,
    ):
        call: Any = channel.unary_unary(READ)
        assert len(await call(b"x" * RESPONSE_BYTES_MAX, timeout=PATIENCE_SECONDS)) == RESPONSE_BYTES_MAX
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"x" * (RESPONSE_BYTES_MAX + 1), timeout=PATIENCE_SECONDS)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_row_10_compressed_messages_are_not_unpacked(house: House, figure: Figure) -> None:
    serving = await house.server()
    options_of_client = (("grpc.default_authority", serving.authority),)
    credentials = house.credentials(HUB).channel_credentials()
    for compression, mebibytes in ((grpc.Compression.Gzip, 200), (grpc.Compression.Deflate, 8)):
        async with grpc.aio.secure_channel(
            f"127.0.0.1:{serving.wire.port}", credentials, options_of_client, compression
        ) as channel:
            call: Any = channel.unary_unary(READ)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(text_of(mebibytes << 20), timeout=PATIENCE_SECONDS)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert serving.answers.asked == []
    figure("row 10: 200 MiB of one letter in gzip, 8 in deflate: refused UNIMPLEMENTED, none reached a handler")


async def test_row_11_longer_metadata_is_refused(house: House, figure: Figure) -> None:
    serving = await house.server()
    client = house.raw_channel(serving, house.certificate(HUB))
    for _ in range(TRIES):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.read(metadata=(("x-long", "y" * 9000),))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for _ in range(4 * TRIES):
        assert await client.read(metadata=(("x-long", "y" * 7000),))
    connect = raw(serving, house)

    def announced() -> dict[int, int]:
        with connect() as connection:
            connection.greet()
            settings = next(frame for frame in connection.frames() if frame.kind == SETTINGS)
            return dict(struct.iter_unpack(">HI", settings.payload))

    assert (await asyncio.to_thread(announced))[6] == METADATA_BYTES_MAX
    figure(f"row 11: 9,000 B of metadata {TRIES} times: 0 accepted; 7,000 B pass")


async def test_our_client_takes_no_longer_metadata(house: House) -> None:
    async def answer(_request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("x-long", "y" * 9000),))
        return b""

    async with bare_server(house, read=answer) as port, bare_channel(house, port, theirs()) as channel:
        call: Any = channel.unary_unary(READ)
        for _ in range(TRIES):
            with pytest.raises(grpc.aio.AioRpcError):
                await call(b"", timeout=PATIENCE_SECONDS)


# --- counts ---------------------------------------------------------------------------------------------------------


async def test_a_connection_has_no_more_streams_than_told(house: House) -> None:
    opened = 40
    serving = await house.server()
    connect = raw(serving, house)

    def refused_streams() -> set[int]:
        with connect() as connection:
            connection.greet()
            for number in range(opened):
                connection.open(2 * number + 1, READ)
            resets = (frame.stream for frame in connection.frames() if frame.kind == RST_STREAM)
            first = set(itertools.islice(resets, opened - options.STREAMS_PER_CONNECTION))
            return first | {frame.stream for frame in connection.hear(0.5) if frame.kind == RST_STREAM}

    refused = await asyncio.to_thread(refused_streams)
    assert refused == {2 * number + 1 for number in range(options.STREAMS_PER_CONNECTION, opened)}


async def test_row_16_connections_are_bounded_and_the_open_ones_served(house: House, figure: Figure) -> None:
    most, tried = 20, 60
    serving = await house.server(connections_max=most)
    client = house.channel(serving)
    assert await client.read()
    context = tls_context(house.bundle(MARIE))

    def flood() -> tuple[int, list[RawConnection]]:
        kept = []
        for _ in range(tried):
            try:
                connection = RawConnection(serving.wire.port, context, serving.authority)
            except OSError:
                continue
            kept.append(connection)
            connection.greet()
        return len([one for one in kept if one.call(1, READ)]), kept

    served, kept = await asyncio.to_thread(flood)
    assert served < most
    assert await client.read()
    for connection in kept:
        connection.socket.close()
    figure(f"row 16: {tried} connections at a bound of {most}: {served} served beside the open one, which still was")


# --- times ----------------------------------------------------------------------------------------------------------


async def test_row_15_a_handshake_does_not_last(house: House, figure: Figure) -> None:
    serving = await house.server()
    count, begun = 100, clock.monotonic()
    sockets = [socket.create_connection(("127.0.0.1", serving.wire.port)) for _ in range(count)]
    for one in sockets:
        one.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
        one.setblocking(False)

    def closed(one: socket.socket) -> bool:
        try:
            return one.recv(100) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    over: set[socket.socket] = set()

    def all_closed() -> bool:
        over.update(one for one in sockets if one not in over and closed(one))
        return len(over) == count

    client = house.channel(serving)
    assert await client.read(), "served meanwhile"
    await until(all_closed, "half handshakes are closed")
    figure(f"row 15: {count} of {count} half handshakes closed after {clock.monotonic() - begun:.1f} s")
    for one in sockets:
        one.close()


@pytest.mark.parametrize(
    ("values", "with_stream", "least"),
    [
        ({"max_connection_idle_ms": 1000}, False, 0.7),
        ({"max_connection_age_ms": 1000, "max_connection_age_grace_ms": 60_000}, False, 0.7),
        ({"max_connection_age_ms": 1500, "max_connection_age_grace_ms": 1500}, True, 2.5),
        ({"keepalive_time_ms": 500, "http2_ping_timeout_ms": 500}, False, 0.8),
    ],
    ids=["idle", "age", "grace", "keepalive"],
)
async def test_a_connection_ends_when_the_table_says(
    house: House, values: dict[str, int], with_stream: bool, least: float
) -> None:
    """Idle; old; old with a stream that does not end; a client that no longer answers pings. Else it would not end."""
    context = tls_context(house.bundle(HUB))
    async with bare_server(house, ours(**values)) as port:

        def seconds() -> float:
            begun = clock.monotonic()
            with RawConnection(port, context, NODE.dns_name or "") as connection:
                connection.answers_pings = "keepalive_time_ms" not in values
                connection.greet()
                if with_stream:
                    connection.open(1, WATCH, seconds=60)
                    connection.send(DATA, END_STREAM, 1, message(b""))
                connection.hear(PATIENCE_SECONDS)
                assert connection.closed_by_peer
            return clock.monotonic() - begun

        assert await asyncio.to_thread(seconds) >= least


async def test_a_silent_client_is_asked_whether_it_lives(house: House) -> None:
    """Also without a call: `permit_without_calls`."""
    context = tls_context(house.bundle(HUB))

    async def is_asked(table: Options, times: int, within_seconds: float) -> bool:
        async with bare_server(house, table) as port:

            def heard() -> int:
                with RawConnection(port, context, NODE.dns_name or "") as connection:
                    connection.greet()
                    connection.socket.settimeout(within_seconds)
                    pings = (frame for frame in connection.frames() if frame.kind == PING)
                    return len(list(itertools.islice(pings, times)))

            return await asyncio.to_thread(heard) == times

    assert await is_asked(ours(keepalive_time_ms=300), 3, PATIENCE_SECONDS)
    assert not await is_asked(ours(keepalive_time_ms=300, keepalive_permit_without_calls=0), 1, 1.5)


async def test_row_14_a_client_that_pings_too_often_is_cut(house: House, figure: Figure) -> None:
    serving = await house.server()
    connect = raw(serving, house)

    def pinged() -> tuple[int, bool]:
        """How many were answered before the connection was cut, however slowly the server comes to read them."""
        answered = 0
        with connect() as connection, contextlib.suppress(OSError):
            connection.greet()
            connection.hear(0.2)
            for number in range(2000):
                connection.send(PING, 0, 0, struct.pack(">Q", number))
                for frame in connection.hear(0.01):
                    answered += frame.kind == PING
                    if frame.kind == GOAWAY:
                        return answered, True
                if connection.closed_by_peer:
                    return answered, True
            return answered, False
        return answered, True

    answered, cut = await asyncio.to_thread(pinged)
    assert cut
    assert answered <= 20
    async with bare_server(house, ours(http2_max_ping_strikes=0)) as port:
        context = tls_context(house.bundle(HUB))

        def unlimited() -> bool:
            with RawConnection(port, context, NODE.dns_name or "") as connection:
                connection.greet()
                for number in range(50):
                    connection.send(PING, 0, 0, struct.pack(">Q", number))
                return any(frame.kind == GOAWAY for frame in connection.hear(0.5))

        assert not await asyncio.to_thread(unlimited), "0 strikes means no limit: the option is what cuts"
    figure(f"row 14: a client that pings without pause is cut after {answered} answers")


def answer(connection: RawConnection) -> Iterator[Frame]:
    """What comes up to the answer to a ping, or the end."""
    for frame in connection.frames():
        yield frame
        if frame.kind in (PING, GOAWAY):
            return


async def test_our_own_keepalive_is_not_too_often_for_our_server(house: House) -> None:
    """gRPC's own interval is five minutes: without ours, our clients' pings would be strikes."""
    assert options.CLIENT_KEEPALIVE_MS > options.PING_INTERVAL_MS_MIN
    context = tls_context(house.bundle(HUB))
    async with bare_server(house, ours(http2_min_ping_interval_without_data_ms=100)) as port:

        def cut() -> bool:
            with RawConnection(port, context, NODE.dns_name or "") as connection:
                connection.greet()
                heard = []
                for number in range(8):
                    connection.send(PING, 0, 0, struct.pack(">Q", number))
                    # Each is answered before the next is sent: a server that stood still does not find two at once.
                    heard += list(answer(connection))
                    heard += connection.hear(0.2)
                return connection.closed_by_peer or any(frame.kind == GOAWAY for frame in heard)

        assert not await asyncio.to_thread(cut)


# --- the client's times ---------------------------------------------------------------------------------------------


class Relay:
    """Bytes passed to a port and back, until told to swallow them; without a port it hangs up, or keeps silent."""

    def __init__(self, port: int | None, *, hangs_up: bool = True) -> None:
        self._to = port
        self._hangs_up = hangs_up
        self.came: list[float] = []
        self.swallowing = False
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._meetings: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for meeting in self._meetings:
            meeting.cancel()
        await asyncio.gather(*self._meetings, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came.append(clock.monotonic())
        meeting = asyncio.current_task()
        assert meeting is not None
        self._meetings.add(meeting)
        self._writers.append(writer)
        if self._to is None:
            if self._hangs_up:
                writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers.append(far_writer)
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not self.swallowing:
                    writer.write(data)
                    await writer.drain()


@pytest.mark.parametrize("watching", [True, False])
async def test_a_client_finds_out_a_server_that_has_gone_silent(house: House, watching: bool) -> None:
    """With a stream open, and after a time without any call (`permit_without_calls`, `max_pings_without_data`)."""
    async with bare_server(house) as port, Relay(port) as relay:
        # Two seconds for an answer: this very process passes the pings on, and may stand still for a while.
        table = theirs(keepalive_time_ms=500, http2_ping_timeout_ms=2000)
        async with bare_channel(house, relay.port, table) as channel:
            call: Any = channel.unary_unary(READ)
            await call(b"x", timeout=PATIENCE_SECONDS)
            watches: Any = channel.unary_stream(WATCH)
            watch = watches(b"x") if watching else None
            if watch is not None:
                await watch.read()
            quiet = clock.monotonic() + (0 if watching else 2.5)
            await until(lambda: clock.monotonic() >= quiet, "some pings have been answered")
            relay.swallowing = True
            if watch is not None:
                with pytest.raises(grpc.aio.AioRpcError) as cut:
                    await asyncio.wait_for(watch.read(), FOUND_OUT_SECONDS_MAX)
                assert cut.value.code() is grpc.StatusCode.UNAVAILABLE
            else:
                ready = grpc.ChannelConnectivity.READY
                await until(
                    lambda: channel.get_state() is not ready, "the silent server is found out", FOUND_OUT_SECONDS_MAX
                )


@pytest.mark.parametrize(
    ("values", "pauses"),
    [
        # As in the table: the first pause is half a second (grpc's own is one), the next ones grow.
        ({"min_reconnect_backoff_ms": 100}, (0.35, 0.75)),
        # Grown to the longest: grpc's own is two minutes.
        ({"min_reconnect_backoff_ms": 100, "initial_reconnect_backoff_ms": 100, "max_reconnect_backoff_ms": 200}, None),
    ],
    ids=["first", "longest"],
)
async def test_a_client_tries_again_soon_and_not_in_bursts(
    house: House, values: dict[str, int], pauses: tuple[float, float] | None
) -> None:
    """A machine that is late notes some tries late; the middle of all pauses is the client's own."""

    async def came(tries: int) -> list[float]:
        async with Relay(None) as relay, bare_channel(house, relay.port, theirs(**values)) as channel:

            def dialled() -> bool:
                channel.get_state(try_to_connect=True)
                return len(relay.came) >= tries

            await until(dialled, f"{tries} tries")
        return [later - earlier for earlier, later in pairwise(relay.came)]

    if pauses:
        found = [one for first in await asyncio.gather(*(came(2) for _ in range(7))) for one in first[:1]]
        least, most = pauses
    else:
        found, (least, most) = await came(12), (0.05, 0.6)
    assert least <= statistics.median(found) <= most, found


async def test_a_try_of_a_connection_does_not_last(house: House) -> None:
    """A server that accepts and says nothing: `min_reconnect_backoff` is how long a try may take (grpc's own is 20
    s)."""
    async with Relay(None, hangs_up=False) as silent, bare_channel(house, silent.port, theirs()) as channel:
        call: Any = channel.unary_unary(READ)
        begun = clock.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"", timeout=PATIENCE_SECONDS)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert clock.monotonic() - begun < FOUND_OUT_SECONDS_MAX


async def test_grpc_retries_nothing_by_itself(house: House) -> None:
    """Even where a service config says so."""
    asked = 0

    async def fail(_request: bytes, context: Any) -> bytes:
        nonlocal asked
        asked += 1
        await context.abort(grpc.StatusCode.UNAVAILABLE)
        return b""

    policy = (
        '{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":4,"initialBackoff":"0.01s","maxBackoff":"0.02s",'
        '"backoffMultiplier":1,"retryableStatusCodes":["UNAVAILABLE"]}}]}'
    )
    async with bare_server(house, read=fail) as port:
        for table, again in ((theirs(), False), (theirs(enable_retries=1), True)):
            asked = 0
            async with bare_channel(house, port, (*table, ("grpc.service_config", policy))) as channel:
                call: Any = channel.unary_unary(READ)
                with pytest.raises(grpc.aio.AioRpcError):
                    await call(b"", timeout=PATIENCE_SECONDS)
            assert (asked > 1) == again


async def test_a_proxy_of_the_environment_is_not_taken(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Relay(None) as proxy, bare_server(house) as port:
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("no_grpc_proxy", raising=False)
        async with bare_channel(house, port, theirs()) as channel:
            call: Any = channel.unary_unary(READ)
            assert await call(b"x", timeout=PATIENCE_SECONDS) == b"x"
        assert proxy.came == []
        async with bare_channel(house, port, theirs(enable_http_proxy=1)) as channel:
            call = channel.unary_unary(READ)
            with pytest.raises(grpc.aio.AioRpcError):
                await call(b"x", timeout=PATIENCE_SECONDS)
        await until(lambda: bool(proxy.came), "the environment's proxy is taken")
