"""Who is let in: fresh handshakes, open connections, resumed sessions, revoked and foreign certificates."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from aval.adapters.pki import CERTIFICATE_FILE, IssuedCertificate
from aval.adapters.telemetry import Telemetry
from aval.adapters.wire import Credentials, FileDenyList
from aval.kernel.identity import HubReplica, Node, Staff
from aval.kernel.reasons import Reason
from tests.adapters.wire.house import (
    HERE,
    HOUR,
    HUB,
    LUNEVILLE,
    MARIE,
    NANCY,
    NODE,
    READ,
    THERE,
    Client,
    House,
    ShiftedClock,
    clock,
    refusal,
)
from tests.adapters.wire.raw_http2 import RawConnection, tls_context
from tests.waiting import PATIENCE_SECONDS, until

Figure = Callable[[str], None]
T = TypeVar("T")

LIVES_SECONDS = (2, 5, 15, 40)
"""A certificate's life in these tests, less up to a second: longer where a loaded machine did not use it in time."""

NOTICED_SECONDS_MAX = 10.0
"""Of what a server looks at twice a second; the rest is what a loaded machine adds."""

TIMES = 100
"""Calls of each kind that must all be refused."""


def is_past(end: datetime) -> bool:
    return clock.now() >= end


async def used_in_time(use: Callable[[datetime], Awaitable[T]]) -> tuple[datetime, T]:
    """When a certificate expired, and what was made of it by `use`, which is given that instant, while it was good."""
    for seconds in LIVES_SECONDS:
        end = (clock.now() + timedelta(seconds=seconds)).replace(microsecond=0)
        try:
            found = await use(end)
        except (OSError, AssertionError, grpc.aio.AioRpcError):
            if clock.now() < end:
                raise
            continue
        if clock.now() < end:
            await until(partial(is_past, end), "the certificate expires", seconds + PATIENCE_SECONDS)
            return end, found
    raise AssertionError("no certificate lived long enough to be used")


def forged(house: House, names: Sequence[x509.GeneralName]) -> IssuedCertificate:
    """A certificate with any names, signed by the house's issuing key: what a stolen key could make."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority = house.authority
    model = house.certificate(HUB)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.issuing.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(clock.now() - HOUR)
        .not_valid_after(clock.now() + HOUR)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    certificate = builder.sign(authority.issuing_key, hashes.SHA256())
    pem = certificate.public_bytes(Encoding.PEM)
    chain = pem + authority.issuing.public_bytes(Encoding.PEM)
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return replace(model, certificate=certificate, chain_pem=chain, key_pem=key_pem)


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


async def test_no_certificate_or_one_out_of_its_dates_or_of_another_authority_does_not_shake_hands(
    house: House, tmp_path: Path, figure: Figure
) -> None:
    serving = await house.server()
    now = clock.now()
    stranger, impostor = House.of(tmp_path, THERE), House.of(tmp_path / "impostor", HERE)
    shown: dict[str, IssuedCertificate | None] = {
        "none": None,
        "expired": house.certificate(HUB, first=now - HOUR, last=now - timedelta(seconds=1)),
        "not yet valid": house.certificate(HUB, first=now + HOUR, last=now + 2 * HOUR),
        "another territory": stranger.certificate(HubReplica(THERE, 1)),
        "another authority in our name": impostor.certificate(HUB),
    }
    for certificate in shown.values():
        client = house.raw_channel(serving, certificate)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.read()
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert serving.answers.asked == []
    assert await house.raw_channel(serving, house.certificate(HUB)).read()
    figure(f"fresh handshakes with {', '.join(shown)}: 0 of {len(shown)} accepted")


async def test_a_client_finds_out_a_server_that_is_not_the_one_meant(house: House) -> None:
    other = await house.server(Node(HERE, NANCY))
    other.authority = "hub.ge-10.aval.internal"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await house.channel(other).read()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_names_exactly_one_identity(house: House) -> None:
    serving = await house.server()
    for names in (
        [],
        [x509.DNSName(f"hub.{HERE}")],
        [uri(str(HUB)), uri(str(MARIE))],
        [uri(str(HUB)), uri(str(HUB))],
        [uri(f"spiffe://{HERE}/hub")],
        [uri(f"https://{HERE}/hub/replica/1")],
    ):
        client = house.raw_channel(serving, forged(house, names))
        assert (await refusal(client.read())).reason is Reason.IDENTITY_MALFORMED
    assert serving.answers.asked == []


async def test_a_stolen_issuing_key_makes_no_identity_of_another_territory(house: House) -> None:
    """The name constraints hold it, in the handshake."""
    serving = await house.server()
    client = house.raw_channel(serving, forged(house, [uri(str(HubReplica(THERE, 1)))]))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.read()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert serving.answers.asked == []


async def test_an_expired_certificate_is_refused_on_an_open_connection_and_its_stream_ends(
    house: House, figure: Figure
) -> None:
    serving = await house.server()

    async def use(end: datetime) -> tuple[Client, list[Any]]:
        client = house.raw_channel(serving, house.certificate(HUB, last=end))
        watch, idle = client.watch(), client.exchange()
        await watch.read()
        assert await client.read()
        return client, [watch, idle]

    end, (client, streams) = await used_in_time(use)
    ended = asyncio.gather(*(refusal(stream.read()) for stream in streams))
    answers = [(await refusal(client.read())).reason for _ in range(TIMES)]
    assert set(answers) == {Reason.CERTIFICATE_EXPIRED}
    assert {one.reason for one in await ended} == {Reason.CERTIFICATE_EXPIRED}
    seconds = (clock.now() - end).total_seconds()
    assert seconds < NOTICED_SECONDS_MAX
    await until(lambda: serving.answers.watching == 0, "the handler of the ended stream has stopped")
    figure(
        f"certificate expired under an open connection: 0 of {TIMES} calls accepted, streams over in {seconds:.2f} s"
    )


def resume(port: int, authority: str, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[bool, bool]:
    """Whether the session was resumed, and whether a call over it was answered."""
    try:
        with RawConnection(port, context, authority, session) as connection:
            connection.greet()
            return bool(connection.socket.session_reused), connection.call(1, READ)
    except OSError:
        return False, False


def session_of(port: int, authority: str, context: ssl.SSLContext) -> ssl.SSLSession | None:
    """A session saved after a call that was answered."""
    with RawConnection(port, context, authority) as connection:
        connection.greet()
        assert connection.call(1, READ)
        return connection.socket.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_an_expired_certificate_does_not_come_back_by_a_resumed_session(
    house: House, version: ssl.TLSVersion, figure: Figure
) -> None:
    """TLS lets the session in again without looking at the certificate; the gate does not."""
    serving = await house.server()
    port, authority = serving.wire.port, serving.authority

    async def use(end: datetime) -> tuple[ssl.SSLContext, ssl.SSLSession]:
        context = tls_context(house.bundle(HUB, last=end), version, version)
        saved = await asyncio.to_thread(session_of, port, authority, context)
        assert saved is not None
        return context, saved

    _, (context, saved) = await used_in_time(use)
    before = len(serving.answers.asked)
    found = [await asyncio.to_thread(resume, port, authority, context, saved) for _ in range(TIMES)]
    resumed = sum(session for session, _ in found)
    assert resumed, "nothing was resumed, so nothing was shown"
    assert not any(answered for _, answered in found)
    assert serving.refused(Reason.CERTIFICATE_EXPIRED) == resumed
    assert len(serving.answers.asked) == before
    figure(f"{version.name} sessions with an expired certificate: {resumed} of {TIMES} resumed, 0 calls accepted")


async def test_a_revoked_certificate_does_not_come_back_by_a_resumed_session(house: House, tmp_path: Path) -> None:
    path = tmp_path / "deny.json"
    write_deny_list(path)
    deny_list = FileDenyList(path, clock, age_max=None)
    serving = await house.server(deny_list=deny_list)
    port, authority = serving.wire.port, serving.authority
    context = tls_context(house.bundle(HUB))
    saved = await asyncio.to_thread(session_of, port, authority, context)
    shown = x509.load_pem_x509_certificate((house.bundle_folder(HUB) / CERTIFICATE_FILE).read_bytes())
    write_deny_list(path, f"{shown.serial_number:x}")
    deny_list.refresh()
    resumed, answered = await asyncio.to_thread(resume, port, authority, context, saved)
    assert resumed
    assert not answered


async def test_a_renewal_of_the_server_makes_saved_sessions_useless(house: House) -> None:
    credentials = house.credentials(NODE)
    serving = await house.server(credentials=credentials)
    port, authority = serving.wire.port, serving.authority
    context = tls_context(house.bundle(HUB))
    saved = await asyncio.to_thread(session_of, port, authority, context)
    assert await asyncio.to_thread(resume, port, authority, context, saved) == (True, True)
    house.bundle(NODE)
    assert credentials.refresh()
    assert await asyncio.to_thread(resume, port, authority, context, saved) == (False, True)


def write_deny_list(path: Path, *serials: str, spki: tuple[str, ...] = (), age: timedelta = timedelta()) -> None:
    """A list made `age` ago."""
    issued = (clock.now() - age).isoformat()
    path.write_text(json.dumps({"issue_time": issued, "serials": serials, "spki_sha256": spki}))


async def test_a_revoked_certificate_is_refused_on_open_and_new_connections_within_a_second(
    house: House, tmp_path: Path, figure: Figure
) -> None:
    path = tmp_path / "deny.json"
    write_deny_list(path)
    serving = await house.server(deny_list=FileDenyList(path, clock, age_max=None))
    certificate = house.certificate(HUB)
    client = house.raw_channel(serving, certificate)
    watch = client.watch()
    await watch.read()
    ended = asyncio.ensure_future(refusal(watch.read()))
    revoked_at = clock.monotonic()
    write_deny_list(path, f"{certificate.certificate.serial_number:x}")
    assert (await ended).reason is Reason.CERTIFICATE_REVOKED
    seconds = clock.monotonic() - revoked_at
    assert seconds < NOTICED_SECONDS_MAX
    fresh = house.raw_channel(serving, certificate)
    answers = [(await refusal(one.read())).reason for one in (client, fresh) for _ in range(TIMES)]
    assert set(answers) == {Reason.CERTIFICATE_REVOKED}
    assert await house.channel(serving, MARIE).read()
    figure(f"revoked: its stream ended after {seconds:.2f} s, 0 of {2 * TIMES} calls accepted afterwards")


async def test_a_revoked_key_is_refused_under_a_new_certificate(house: House, tmp_path: Path) -> None:
    path = tmp_path / "deny.json"
    certificate = house.certificate(HUB)
    deny_list = FileDenyList(path, clock, age_max=None)
    serving = await house.server(deny_list=deny_list)
    client = house.raw_channel(serving, certificate)
    assert await client.read()
    whole = certificate.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    write_deny_list(path, spki=(sha256(whole).hexdigest(),))
    deny_list.refresh()
    assert (await refusal(client.read())).reason is Reason.CERTIFICATE_REVOKED


@pytest.mark.parametrize("spoil", ["remove", "corrupt", "old", "forget"])
async def test_a_deny_list_that_is_not_kept_up_trusts_nobody(house: House, tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "deny.json"
    write_deny_list(path)
    hand = ShiftedClock()
    deny_list = FileDenyList(path, hand, age_max=timedelta(hours=1))
    serving = await house.server(deny_list=deny_list)
    client = house.channel(serving)
    assert await client.read()
    match spoil:
        case "remove":
            path.unlink()
        case "corrupt":
            path.write_text('{"issue_time": "soon"')
        case "old":
            write_deny_list(path, age=timedelta(hours=2))
        case _:
            pass
    deny_list.refresh()
    assert await client.read(), "the last good list is good for an hour"
    hand.ahead = timedelta(hours=1)
    assert (await refusal(client.read())).reason is Reason.DENY_LIST_STALE
    write_deny_list(path, age=-hand.ahead)
    deny_list.refresh()
    assert await client.read()


async def test_without_its_deny_list_a_server_trusts_nobody(house: House, tmp_path: Path) -> None:
    deny_list = FileDenyList(tmp_path / "never made.json", clock, age_max=timedelta(hours=1))
    serving = await house.server(deny_list=deny_list)
    assert (await refusal(house.channel(serving).read())).reason is Reason.DENY_LIST_STALE


async def with_foreign(house: House, stranger: House) -> Credentials:
    """The hub's credentials, with the stranger's trust bundle declared."""
    trust = stranger.folder / "trust-of-the-other.pem"
    trust.write_bytes(stranger.authority.trust_pem)
    return Credentials(house.bundle(HUB), clock, Telemetry(clock), {stranger.authority.territory: trust})


async def test_of_a_declared_territory_only_its_hub_reads_and_only_availability(house: House, tmp_path: Path) -> None:
    stranger = House.of(tmp_path, THERE)
    serving = await house.server(HUB, credentials=await with_foreign(house, stranger))
    their_hub = house.raw_channel(serving, stranger.certificate(HubReplica(THERE, 1)))
    assert await their_hub.read() == str(HubReplica(THERE, 1))
    assert (await refusal(their_hub.exchange().read())).reason is Reason.METHOD_NOT_ALLOWED
    for identity in (Staff(THERE, NANCY, "marie"), Node(THERE, NANCY)):
        client = house.raw_channel(serving, stranger.certificate(identity))
        assert (await refusal(client.read())).reason is Reason.OTHER_TERRITORY


async def test_a_declared_territory_cannot_speak_in_our_name(house: House, tmp_path: Path) -> None:
    """Its authority, were it not bound by constraints, could write our URIs: the chain is looked at for each
    territory."""
    stranger = House.of(tmp_path, THERE)
    unbound = House.of(tmp_path / "unbound", HERE)  # trusted below as THERE's: an authority that writes our names
    trust = tmp_path / "trust-of-the-other.pem"
    trust.write_bytes(stranger.authority.trust_pem + unbound.authority.trust_pem)
    credentials = Credentials(house.bundle(HUB), clock, Telemetry(clock), {THERE: trust})
    serving = await house.server(HUB, credentials=credentials)
    for identity in (HUB, NODE, MARIE):
        client = house.raw_channel(serving, unbound.certificate(identity))
        assert (await refusal(client.read())).reason is Reason.OTHER_TERRITORY
    assert serving.answers.asked == []


async def test_each_state_of_a_certificate_on_each_shape_of_method(
    house: House, tmp_path: Path, figure: Figure
) -> None:
    """Right, wrong house, other territory, revoked: of {unary, stream, both ways}."""
    path = tmp_path / "deny.json"
    revoked = house.certificate(HUB)
    write_deny_list(path, f"{revoked.certificate.serial_number:x}")
    stranger = House.of(tmp_path, THERE)
    trust = tmp_path / "trust.pem"
    trust.write_bytes(stranger.authority.trust_pem)
    credentials = Credentials(house.bundle(NODE), clock, Telemetry(clock), {THERE: trust})
    serving = await house.server(credentials=credentials, deny_list=FileDenyList(path, clock, None))
    wrong: dict[Reason, IssuedCertificate] = {
        Reason.CERTIFICATE_REVOKED: revoked,
        Reason.NOT_YOUR_ESTABLISHMENT: house.certificate(Node(HERE, LUNEVILLE)),
        Reason.OTHER_TERRITORY: stranger.certificate(Staff(THERE, NANCY, "marie")),
    }
    refused = 0
    for reason, certificate in wrong.items():
        client = house.raw_channel(serving, certificate)
        for _ in range(TIMES):
            for call in (client.read(), client.watch().read(), client.exchange().read()):
                assert (await refusal(call)).reason is reason
                refused += 1
    assert serving.answers.asked == []
    assert serving.answers.watching == 0
    figure(f"revoked, wrong house and other territory on open connections: 0 of {refused} calls accepted")
