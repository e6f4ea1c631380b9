"""The composition roots of the two programs: the endpoint (`aval fhir serve`) and the publisher (`aval ror push`)."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version
from os import getpid
from pathlib import Path
from typing import Any

import msgspec
import structlog

from aval.adapters.clock import SystemClock, SystemRng
from aval.adapters.dial import Line
from aval.adapters.fhir.endpoint import Endpoint, Listening, renew, tls_of
from aval.adapters.fhir.outbox import Outbox
from aval.adapters.fhir.picture import Pictures
from aval.adapters.fhir.publisher import Publisher, PublisherMeter
from aval.adapters.fhir.readers import Readers
from aval.adapters.fhir.ror import Ror
from aval.adapters.fhir.settings import EndpointSettings, PublisherSettings
from aval.adapters.pki import CERTIFICATE_FILE, TRUST_FILE, write_atomically
from aval.adapters.telemetry import start_telemetry
from aval.adapters.wire import Credentials, FileDenyList, PeerChannel, hub_service_config, stop_on_signals
from aval.adapters.wire.credentials import POLL_SECONDS
from aval.kernel.access import Server
from aval.kernel.clock import Clock
from aval.kernel.declared import DeclaredFault
from aval.kernel.identity import Adapter, Identity, Staff, hub_dns_name, node_dns_name

READY_MODE = 0o644
"""The ready file says nothing that is not known already."""

PACKAGE = "aval-federation"


class _Ready(msgspec.Struct, frozen=True):
    pid: int
    port: int
    metrics_port: int


def serve_endpoint(settings: EndpointSettings, path: Path) -> None:
    """Serves until SIGTERM or SIGINT. Raises `DeclaredFault`, OSError, `BundleUnusable`, `TracingForbidden`."""
    asyncio.run(_serve(settings, path))


async def _serve(settings: EndpointSettings, path: Path) -> None:
    stop = stop_on_signals()
    clock, rng = SystemClock(), SystemRng()
    bundle = path.parent / settings.identity
    telemetry = start_telemetry(clock, "fhir")
    credentials = Credentials(bundle, clock, telemetry)
    host, _, port = settings.listen.rpartition(":")
    if not host or not port.isdigit():
        raise DeclaredFault(path, "listen", "address", word=settings.listen)
    deny_list = FileDenyList(path.parent / settings.deny_list, clock, None) if settings.deny_list else None
    own = credentials.identity
    beside = Server.HUB if settings.hub else Server.NODE
    if beside is Server.NODE and own.establishment is None:
        raise DeclaredFault(path, "identity", "of-no-house", identity=own)
    async with AsyncExitStack() as closing:
        line = _line(credentials, rng, settings.hub, settings.node, own, closing)
        readers = Readers(own, beside, clock, settings.operators, deny_list)
        pictures = Pictures(line, clock)
        endpoint = Endpoint(
            readers, pictures, clock, settings.base, version(PACKAGE), settings.communes, telemetry.registry
        )
        shown = path.parent / settings.certificate
        try:
            context = tls_of(shown, bundle / TRUST_FILE)
        except (OSError, ssl.SSLError) as error:
            raise DeclaredFault(path, "certificate", "certificate", folder=shown) from error
        listening = Listening(endpoint, context)
        closing.push_async_callback(listening.stop)
        taken = await listening.start(host, int(port))
        endpoint.base = settings.base or f"https://{host}:{taken}/fhir"
        exporter = telemetry.serve(settings.metrics_port)
        closing.callback(exporter.close)

        seen = _changed_at(shown)

        def renewed() -> None:
            nonlocal seen
            credentials.refresh()
            if (now := _changed_at(shown)) != seen:
                seen = now
                with suppress(OSError, ssl.SSLError):  # half written: the next look takes it
                    renew(context, shown)
            if deny_list is not None:
                deny_list.refresh()

        ready = path.with_name(f"{path.stem}.ready.json")
        write_atomically(ready, msgspec.json.encode(_Ready(getpid(), taken, exporter.port)), mode=READY_MODE)
        closing.callback(ready.unlink, missing_ok=True)
        structlog.get_logger().info("fhir-serves", address=f"{host}:{taken}", identity=str(own))
        await _until(stop, _each_second(clock, renewed))


def publish(settings: PublisherSettings, path: Path) -> None:
    """Publishes until SIGTERM or SIGINT. Raises as `serve_endpoint`, and `OutboxUnusable`."""
    asyncio.run(_publish(settings, path))


async def _publish(settings: PublisherSettings, path: Path) -> None:
    stop = stop_on_signals()
    clock = SystemClock()
    telemetry = start_telemetry(clock, "ror")
    async with AsyncExitStack() as closing:
        exporter = telemetry.serve(settings.metrics_port)
        closing.callback(exporter.close)
        credentials = Credentials(path.parent / settings.identity, clock, telemetry)
        meter = PublisherMeter(telemetry.registry)
        publisher, ror = await publisher_of(settings, path, credentials, clock, closing, meter=meter)

        def renewed() -> None:
            credentials.refresh()

        await _until(stop, publisher.run(ror), _each_second(clock, renewed))


async def publisher_of(
    settings: PublisherSettings,
    path: Path,
    credentials: Credentials,
    clock: Clock,
    closing: AsyncExitStack,
    *,
    dry_run: bool = False,
    meter: PublisherMeter | None = None,
) -> tuple[Publisher, Ror]:
    """A publisher with its line, outbox and ROR, closed by `closing`. In a dry run its outbox is a copy in memory.

    Raises `DeclaredFault` for an identity that is not of an establishment.
    """
    own = credentials.identity
    if not isinstance(own, Adapter | Staff):
        raise DeclaredFault(path, "identity", "of-no-house", identity=own)
    line = _line(credentials, SystemRng(), "", settings.node, own, closing)
    database = path.parent / settings.database
    outbox = Outbox.in_memory() if dry_run and not database.exists() else Outbox.open(database)
    closing.callback(outbox.close)
    if dry_run:
        outbox = outbox.copy()
        closing.callback(outbox.close)
    ror = await closing.enter_async_context(Ror(settings.ror, path.parent, clock))
    return Publisher(settings, outbox, line, clock, meter), ror


def _line(
    credentials: Credentials, rng: SystemRng, hub: str, node: str, own: Identity, closing: AsyncExitStack
) -> Line:
    if hub:
        channel = PeerChannel(credentials, rng, hub, hub_dns_name(own.territory), hub_service_config())
    elif own.establishment is not None:
        channel = PeerChannel(credentials, rng, node, node_dns_name(own.territory, own.establishment))
    else:
        raise DeclaredFault("", "identity", "of-no-house", identity=own)
    closing.push_async_callback(channel.close)
    return Line(channel)


def _changed_at(folder: Path) -> int:
    try:
        return (folder / CERTIFICATE_FILE).stat().st_mtime_ns
    except OSError:
        return 0


async def _each_second(clock: Clock, act: Callable[[], None]) -> None:
    while True:
        await clock.sleep_until(clock.monotonic() + POLL_SECONDS)
        act()


async def _until(stop: asyncio.Event, *keeping: Coroutine[Any, Any, None]) -> None:
    """Runs what keeps a program up until it is told to stop; what fails of it ends the program."""
    stopping = asyncio.ensure_future(stop.wait())
    tasks: list[asyncio.Future[Any]] = [stopping, *(asyncio.ensure_future(one) for one in keeping)]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        if task is not stopping:
            task.result()
