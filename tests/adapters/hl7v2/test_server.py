"""The MLLP server: answers in order, and each of its limits, over real sockets and real TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from aval.adapters.clock import SystemClock
from aval.adapters.hl7v2.framing import Deframer, framed
from aval.adapters.hl7v2.meters import Meters
from aval.adapters.hl7v2.sending import Sender, Unanswered, code_of
from aval.adapters.hl7v2.server import Limits, MllpServer
from aval.adapters.hl7v2.settings import read_settings, server_context
from aval.adapters.pki import issue, make_authority
from aval.kernel.declared import DeclaredFault
from aval.kernel.finess import FinessET
from aval.kernel.identity import Adapter, Node, Territory
from tests.waiting import PATIENCE_SECONDS, until

HERE = Territory("ge-10.aval.internal")
HOUSE = FinessET("540000023")


async def echo(frame: bytes) -> bytes:
    """Thanks for a message by its own words."""
    return b"MSH|^~\\&|\rMSA|AA|" + frame + b"\r"


@asynccontextmanager
async def served(
    limits: Limits,
    take: Callable[[bytes], Awaitable[bytes | None]] = echo,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[int, CollectorRegistry]]:
    registry = CollectorRegistry()
    server = MllpServer(take, limits, Meters(registry), tls)
    port = await server.start("127.0.0.1", 0)
    try:
        yield port, registry
    finally:
        await server.stop()


def closed(registry: CollectorRegistry, why: str) -> float:
    return registry.get_sample_value("aval_hl7_connections_closed_total", {"why": why}) or 0.0


async def read_frames(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    deframer, frames = Deframer(), list[bytes]()
    while len(frames) < count:
        received = await asyncio.wait_for(reader.read(65536), PATIENCE_SECONDS)
        if not received:
            break
        frames += deframer.feed(received)
    return frames


async def test_answers_come_in_the_order_of_the_messages() -> None:
    gate = asyncio.Event()

    async def slow_first(frame: bytes) -> bytes:
        if frame == b"first":
            await gate.wait()
        return frame

    async with served(Limits(), slow_first) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(b"first") + framed(b"second") + framed(b"third"))
        gate.set()
        assert await read_frames(reader, 3) == [b"first", b"second", b"third"]
        writer.close()


@pytest.mark.parametrize(
    ("limits", "sent", "why"),
    [
        (Limits(idle_seconds=0.2), b"", "idle"),
        (Limits(message_seconds=0.2), b"\x0bMSH|", "slow"),
        (Limits(message_seconds=0.2, message_bytes=100), b"\x0b" + bytes(1 << 16), "slow"),
    ],
)
async def test_a_connection_that_gives_no_message_is_closed(limits: Limits, sent: bytes, why: str) -> None:
    async with served(limits) as (port, registry):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), PATIENCE_SECONDS) == b""
        assert closed(registry, why) == 1
        writer.close()


async def test_a_byte_now_and_then_does_not_prolong_a_message() -> None:
    async with served(Limits(message_seconds=0.3)) as (port, registry):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x0b")

        async def drip() -> bool:
            writer.write(b"x")
            return closed(registry, "slow") == 1

        await until(drip, "the slow sender to be closed")
        writer.close()
        await reader.read()


async def test_a_message_that_the_node_does_not_take_gets_no_answer() -> None:
    async def never(frame: bytes) -> bytes:
        await asyncio.Event().wait()
        return frame

    async with served(Limits(answer_seconds=0.2), never) as (port, registry):
        async with Sender("127.0.0.1", port) as sender:
            with pytest.raises(Unanswered):
                await sender.send(b"MSH|")
        assert closed(registry, "no-answer") == 1


async def test_one_peer_does_not_take_all_connections() -> None:
    async with served(Limits(connections=4, connections_a_peer=2)) as (port, registry):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for _, writer in held:
            writer.write(framed(b"x"))
        for reader, _ in held:
            assert await read_frames(reader, 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), PATIENCE_SECONDS) == b""
        assert closed(registry, "too-many") == 1
        for _, one in [*held, (reader, writer)]:
            one.close()
        await until(lambda: registry.get_sample_value("aval_hl7_connections") == 0, "the first to be gone")
        async with Sender("127.0.0.1", port) as sender:
            assert code_of(await sender.send(b"x")) == "AA"


async def test_tls_asks_for_a_client_certificate(tmp_path: Path) -> None:
    now = SystemClock().now()
    authority, _ = make_authority(HERE, now - timedelta(minutes=5))
    other, _ = make_authority(HERE, now - timedelta(minutes=5))
    issue(authority, Node(HERE, HOUSE), now - timedelta(minutes=1)).write(tmp_path / "mllp")
    issue(authority, Adapter(HERE, HOUSE, "gam"), now - timedelta(minutes=1)).write(tmp_path / "gam")
    issue(other, Adapter(HERE, HOUSE, "gam"), now - timedelta(minutes=1)).write(tmp_path / "stranger")
    (tmp_path / "stranger" / "trust.pem").write_bytes((tmp_path / "gam" / "trust.pem").read_bytes())
    files = [tmp_path / "mllp" / name for name in ("cert.pem", "key.pem", "trust.pem")]
    async with served(
        Limits(handshake_seconds=PATIENCE_SECONDS), tls=server_context((files[0], files[1], files[2]))
    ) as (port, _):
        async with Sender("127.0.0.1", port, tmp_path / "gam") as sender:
            assert code_of(await sender.send(b"x")) == "AA"
        with pytest.raises((Unanswered, OSError)):
            async with Sender("127.0.0.1", port, tmp_path / "stranger") as sender:
                await sender.send(b"x")
        with pytest.raises(Unanswered):
            async with Sender("127.0.0.1", port) as sender:
                await sender.send(b"x")


GOOD = """finess = "540000023"
node = "127.0.0.1:5"
identity = "adapter"
source = "sih"
mapping = "m.toml"
"""


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ('listen = "127.0.0.1:2575"', "tls"),
        ('listen = "0.0.0.0:2575"\nclear_text = true', "clear-text"),
        ('listen = "hospital:2575"\nclear_text = true', "clear-text"),
        ('listen = "nowhere"\nclear_text = true', "listen: address"),
        ('listen = "127.0.0.1:1"\nclear_text = true\nvisit_fields = ["PID-5"]', "visit_fields"),
        ('listen = "127.0.0.1:1"\nclear_text = true\nreservation_field = "PID-5.1"', "reservation_field"),
        ('listen = "127.0.0.1:1"\nclear_text = true\n[limits]\nconnections = 0', "limits.connections: above-zero"),
        ('listen = "127.0.0.1:1"\nclear_text = true\nward_fields = ["PV1-11"]', "ward_fields"),
        ('listen = "127.0.0.1:1"\nclear_text = true\nfacility_field = "PV1-39"', "facility_field"),
        ('listen = "127.0.0.1:1"\nclear_text = true\ncolour = 1', "colour"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path, more: str, problem: str) -> None:
    path = tmp_path / "hl7.toml"
    path.write_text(GOOD + more)
    with pytest.raises(DeclaredFault, match=problem):
        read_settings(path)


def test_clear_text_is_for_the_loopback_address_and_said(tmp_path: Path) -> None:
    path = tmp_path / "hl7.toml"
    more = 'listen = "127.0.0.1:2575"\nclear_text = true\nward_fields = ["ZBE-8", "PV1-3.4"]'
    more += '\nfacility_field = "MSH-4"'
    path.write_text(f'{GOOD}{more}\noutpatient_classes = ["hdj"]')
    settings = read_settings(path)
    assert settings.ward_fields == (("ZBE", 8, 10), ("PV1", 3, 4))
    assert settings.customs(b"").facility == ("MSH", 4, 1)
    assert settings.outpatient_classes == {"HDJ"}
    assert settings.tls is None
    assert settings.limits == Limits()


async def test_many_slow_senders_and_much_noise_do_not_keep_a_good_one_waiting() -> None:
    random = Random(7)
    async with served(Limits(connections=200, connections_a_peer=200, message_seconds=1.0)) as (port, registry):
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
        for _, writer in slow:
            writer.write(b"\x0bM")
        async with Sender("127.0.0.1", port) as good:
            for _ in range(50):
                _, noise = await asyncio.open_connection("127.0.0.1", port)
                noise.write(random.randbytes(random.randrange(400)))
                noise.close()
                assert code_of(await asyncio.wait_for(good.send(b"x"), PATIENCE_SECONDS)) == "AA"
            await until(lambda: closed(registry, "slow") >= len(slow), "the slow ones to be closed")
            assert code_of(await good.send(b"x")) == "AA"
        for _, writer in slow:
            writer.close()
