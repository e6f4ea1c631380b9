"""Certificates that are renewed on disk: served, dialled with, and refused when bad, without a restart."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509
from google.protobuf.wrappers_pb2 import StringValue

from aval.adapters.pki import CERTIFICATE_FILE, KEY_FILE, TRUST_FILE
from aval.adapters.telemetry import Telemetry
from aval.adapters.wire import BundleUnusable, Credentials, current_caller
from tests.adapters.wire.conftest import LogLines
from tests.adapters.wire.house import HERE, HOUR, HUB, MARIE, NODE, READ, House, clock
from tests.adapters.wire.raw_http2 import RawConnection, tls_context
from tests.waiting import until

HANDSHAKES = 300
"""Full handshakes, each with a call, while the certificate changes under them."""


def served_serial(port: int, authority: str, context: ssl.SSLContext) -> str:
    """The serial number that the server shows in a new handshake."""
    with RawConnection(port, context, authority) as connection:
        shown = connection.socket.getpeercert(binary_form=True)
        assert shown is not None
        connection.greet()
        assert connection.call(1, READ)
        return f"{x509.load_der_x509_certificate(shown).serial_number:x}"


async def test_a_server_serves_its_renewed_certificate_under_an_open_watch(house: House) -> None:
    serving = await house.server()
    client = house.channel(serving)
    exchange = client.exchange()
    context = tls_context(house.bundle(MARIE))
    port, authority = serving.wire.port, serving.authority
    before = await asyncio.to_thread(served_serial, port, authority, context)
    house.bundle(NODE)  # written again: a renewal
    await until(
        lambda: serving.telemetry.value("aval_certificate_served", {"serial": before}) is None, "the renewal is seen"
    )
    after = await asyncio.to_thread(served_serial, port, authority, context)
    assert after != before
    assert serving.telemetry.value("aval_certificate_served", {"serial": after}) == 1
    days = serving.telemetry.value("aval_certificate_days_left")
    assert days is not None
    assert 29.9 < days < 30.01
    await exchange.write(StringValue(value="still open"))
    assert (await exchange.read()).value == "still open"


async def test_a_client_dials_with_its_renewed_certificate_while_the_old_channel_finishes(house: House) -> None:
    serving = await house.server()
    folder = house.bundle(HUB)
    credentials = Credentials(folder, clock, Telemetry(clock))
    client = house.channel(serving, credentials=credentials)
    seen: list[str] = []

    async def serial() -> str:
        seen.append(current_caller().peer.serial)
        return ""

    serving.answers.behaviours["serial"] = serial
    watch = client.watch("before")
    await watch.read()
    await client.read("serial")
    house.bundle(HUB)
    assert credentials.refresh()
    await client.read("serial")
    assert seen[0] != seen[1] == credentials.current.serial
    assert serving.answers.watching == 1, "the watch begun before goes on over the old channel"
    again = client.watch("after")
    assert (await again.read()).value.startswith("after")
    watch.cancel()
    await until(lambda: serving.answers.watching == 1, "the old watch ended, the new one goes on")


async def test_a_process_without_a_server_follows_its_renewals(house: House) -> None:
    credentials = house.credentials(HUB)
    before = credentials.current.serial
    keeping = asyncio.ensure_future(credentials.keep())
    house.bundle(HUB)
    await until(lambda: credentials.current.serial != before, "the renewal is taken up")
    keeping.cancel()


async def test_many_handshakes_under_renewals_lose_none(house: House, figure: Callable[[str], None]) -> None:
    credentials = house.credentials(NODE)
    serving = await house.server(credentials=credentials)
    context = tls_context(house.bundle(MARIE))
    port, authority = serving.wire.port, serving.authority

    def handshakes() -> set[str]:
        return {served_serial(port, authority, context) for _ in range(HANDSHAKES)}

    begun = clock.monotonic()
    work = asyncio.ensure_future(asyncio.to_thread(handshakes))
    issued = {credentials.current.serial}
    while not work.done():
        house.bundle(NODE)
        assert credentials.refresh()
        issued.add(credentials.current.serial)
        await asyncio.wait((work,), timeout=0.1)
    served = work.result()
    assert served <= issued
    assert len(served) > 1
    assert len(serving.answers.asked) == HANDSHAKES
    figure(
        f"{HANDSHAKES} full handshakes, each with a call, under {len(issued)} renewals ({len(served)} of them met): "
        f"0 lost, {clock.monotonic() - begun:.1f} s"
    )


@pytest.mark.parametrize("spoil", ["other key", "half written", "gone", "expired", "another identity", "another root"])
async def test_a_bad_renewal_is_not_served_and_raises_an_alarm(house: House, spoil: str, log_lines: LogLines) -> None:
    telemetry = Telemetry(clock)
    folder = house.bundle(NODE)
    credentials = Credentials(folder, clock, telemetry)
    serving = await house.server(credentials=credentials)
    before = credentials.current.serial
    now = clock.now()
    match spoil:
        case "other key":
            (folder / KEY_FILE).write_bytes(house.certificate(NODE).key_pem)
        case "half written":
            (folder / CERTIFICATE_FILE).write_bytes(house.certificate(NODE).chain_pem[:300])
        case "gone":
            (folder / CERTIFICATE_FILE).unlink()
        case "expired":
            house.certificate(NODE, first=now - 2 * HOUR, last=now - HOUR).write(folder)
        case "another identity":
            house.certificate(HUB).write(folder)
        case _:
            (folder / TRUST_FILE).write_bytes(House.of(folder / "x", HERE).authority.trust_pem)
    assert not credentials.refresh()
    assert log_lines.of("certificate-unusable") == [], "seen once it may be half written"
    assert not credentials.refresh()
    assert telemetry.value("aval_certificate_bundle_bad") == 1
    (told,) = log_lines.of("certificate-unusable")
    assert told["problem"]
    assert credentials.current.serial == before
    assert await house.channel(serving).read(), "the old one goes on"
    house.bundle(NODE)
    assert credentials.refresh()
    assert telemetry.value("aval_certificate_bundle_bad") == 0
    assert credentials.current.serial != before


def test_a_bundle_that_cannot_be_used_is_refused_at_start_with_what_to_do(house: House) -> None:
    """Each sentence names the file and the way out."""
    now = clock.now()
    folder = house.bundle(NODE)
    telemetry = Telemetry(clock)

    def problem() -> str:
        with pytest.raises(BundleUnusable) as refused:
            Credentials(folder, clock, telemetry)
        return str(refused.value)

    (folder / KEY_FILE).write_bytes(house.certificate(NODE).key_pem)
    assert "not the key" in problem()
    house.certificate(NODE, first=now - 2 * HOUR, last=now - HOUR).write(folder)
    assert "renew it or set the clock" in problem()
    house.certificate(NODE, first=now + HOUR, last=now + timedelta(days=2)).write(folder)
    assert "renew it or set the clock" in problem()
    (folder / CERTIFICATE_FILE).unlink()
    assert "aval pki issue" in problem()
