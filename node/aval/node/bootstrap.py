"""The composition root of a node: the one module that knows which adapter stands behind each port.

`serve` runs a node from its settings until a signal; `compose` puts its parts together over ports given by the caller,
so that a simulation runs the very same node with another clock, store and transport.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from os import getpid
from pathlib import Path

import grpc
import msgspec
import structlog
import uvloop

from aval.adapters import backups
from aval.adapters.clock import SystemClock, SystemRng
from aval.adapters.pki import write_atomically
from aval.adapters.telemetry import MetricsExporter, Telemetry, start_telemetry
from aval.adapters.wire import (
    Credentials,
    FileDenyList,
    PeerChannel,
    WireServer,
    current_caller,
    hub_service_config,
    refusal_of,
    stop_on_signals,
)
from aval.kernel.clock import Clock, Rng
from aval.kernel.declared import DeclaredFault
from aval.kernel.identity import Node, hub_dns_name
from aval.node.announcer import Announcer
from aval.node.edge import Edge, Peer
from aval.node.history import REVISIONS_RETAINED
from aval.node.pages import Pages
from aval.node.ports import Meter, StorageRefused, Store
from aval.node.server import SERVICES, add_services
from aval.node.settings import Settings, read_settings
from aval.node.store.backup import Contents, begin_anew, check_restorable, contents
from aval.node.store.sqlite import SqliteStore, locked
from aval.node.translate.membership import Announcements
from aval.node.writer import Writer

INCARNATION_BYTES = 8
"""An incarnation is a 64-bit number (DESIGN §5)."""

DENY_LIST_AGE_MAX = None
"""Nobody renews the list by itself yet, so that its age says nothing."""

READY_MODE = 0o644
"""The ready file says nothing that is not known already."""


class _Ready(msgspec.Struct, frozen=True):
    """What the ready file holds: where the node is, once it serves."""

    pid: int
    port: int
    metrics_port: int
    certificate_serial: str
    database: str


@dataclass(frozen=True, slots=True)
class ComposedNode:
    """A node put together: its writer, to be started and run, and the door to it."""

    writer: Writer
    edge: Edge


def new_incarnation(rng: Rng) -> int:
    """The number of a history that begins."""
    return int.from_bytes(rng.token(INCARNATION_BYTES), "big")


def compose(
    settings: Settings,
    *,
    clock: Clock,
    rng: Rng,
    store: Store,
    meter: Meter,
    current_peer: Callable[[], Peer],
    retained: int = REVISIONS_RETAINED,
) -> ComposedNode:
    """A node over these ports. `current_peer` gives the caller of the RPC being served.

    `retained`: revisions from which a follower can resume; a simulation has less patience than a day.
    """
    writer = Writer(store, clock, meter, settings.finess, retained)
    pages = Pages(clock, rng)
    edge = Edge(
        settings.finess,
        writer,
        clock,
        pages,
        meter,
        current_peer,
        settings.progress_seconds,
        new_incarnation=lambda: new_incarnation(rng),
    )
    return ComposedNode(writer, edge)


@dataclass(frozen=True, slots=True)
class Kept:
    """A copy that was taken, or put back: what it holds, its bytes, and where what it replaced was moved, if any."""

    contents: Contents
    size_bytes: int
    aside: Path | None = None


def back_up(settings_path: Path, target: Path, *, replace: bool = False) -> Kept:
    """Copies the database of a node, running or not. Raises RuntimeError or ValueError, whose text says what to do."""
    settings = read_settings(settings_path)
    size_bytes = backups.copy(settings.database, target, replace=replace)
    return Kept(backups.read_file(target, contents), size_bytes)


def restore(settings_path: Path, backup: Path, *, discard_newer: bool = False) -> Kept:
    """Puts a copy in the place of the database of a stopped node, as another history (DESIGN §5, Restore).

    Raises RuntimeError or ValueError, whose text says what to do: a process serves the database, the copy is damaged,
    of another house or of a newer version, or what it would replace is newer.
    """
    settings = read_settings(settings_path)
    held = backups.read_file(backup, contents)
    with locked(settings.database):
        check_restorable(held, _present(settings.database), settings.finess, discard_newer=discard_newer)
        rng, now = SystemRng(), SystemClock().now()
        aside = backups.put_back(
            backup,
            settings.database,
            lambda connection: begin_anew(connection, new_incarnation(rng)),
            aside=f"before-{now:%Y%m%dT%H%M%SZ}",
        )
    return Kept(held, settings.database.stat().st_size, aside)


def _present(database: Path) -> Contents | None:
    """What lies in the place of a database; None for nothing that can be read: that is what restoring is for."""
    try:
        return backups.read_file(database, contents) if database.stat().st_size else None
    except (OSError, backups.BackupRefused, StorageRefused):
        return None


def serve(settings_path: Path) -> None:
    """Serves a node until SIGTERM or SIGINT, then drains.

    Raises ValueError, OSError or RuntimeError, whose text says what is wrong and what to do, when it cannot start:
    settings or certificate unusable, another process on the database, a newer database, the port taken.
    """
    settings = read_settings(settings_path)
    uvloop.run(_serve(settings, settings_path))


async def _serve(settings: Settings, settings_path: Path) -> None:
    stop = stop_on_signals()
    clock, rng = SystemClock(), SystemRng()
    telemetry = start_telemetry(clock, f"node {settings.finess}")
    log = structlog.get_logger()
    ready_path = settings_path.with_name(f"{settings_path.stem}.ready.json")
    ready_path.unlink(missing_ok=True)
    credentials = Credentials(settings.identity, clock, telemetry)
    if credentials.identity != (own := Node(settings.territory, settings.finess)):
        raise DeclaredFault(settings.identity, "", "identity-differs", identity=credentials.identity, wanted=own)
    async with AsyncExitStack() as closing:
        store = await SqliteStore.open(settings.database, settings.finess, lambda: new_incarnation(rng))
        closing.push_async_callback(store.close)
        node = compose(settings, clock=clock, rng=rng, store=store, meter=telemetry, current_peer=current_caller)
        await node.writer.start()
        writing = asyncio.create_task(node.writer.run())
        closing.push_async_callback(_drain, node.writer, writing)
        exporter = _export(telemetry, settings.metrics_port)
        closing.callback(exporter.close)
        port = await _listen(settings, credentials, clock, rng, telemetry, node, closing)
        if settings.hub_address is not None:
            await _announce(settings, credentials, clock, rng, node, port, closing)
        ready = _Ready(getpid(), port, exporter.port, credentials.current.serial, str(settings.database.resolve()))
        write_atomically(ready_path, msgspec.json.encode(ready), mode=READY_MODE)
        closing.callback(ready_path.unlink, missing_ok=True)
        at = node.writer.published.cursor
        log.info("ready", port=port, pid=ready.pid, revision=at.revision, incarnation=f"{at.incarnation:016x}")
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((stopping, writing), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if writing.done():
            writing.result()
        log.info("stopping", revision=node.writer.published.cursor.revision)


def _export(telemetry: Telemetry, port: int) -> MetricsExporter:
    try:
        return telemetry.serve(port)
    except OSError as error:
        raise OSError(f"metrics_port {port} cannot be had ({error.strerror}): give another, or 0 for any") from error


async def _listen(
    settings: Settings,
    credentials: Credentials,
    clock: Clock,
    rng: Rng,
    telemetry: Telemetry,
    node: ComposedNode,
    closing: AsyncExitStack,
) -> int:
    deny_list = FileDenyList(settings.deny_list, clock, DENY_LIST_AGE_MAX) if settings.deny_list is not None else None
    wire = WireServer(credentials, clock, rng, telemetry, listen=settings.listen, deny_list=deny_list)
    add_services(node.edge, wire.server)
    port = await wire.start(*SERVICES)
    closing.push_async_callback(wire.stop)
    return port


async def _announce(
    settings: Settings,
    credentials: Credentials,
    clock: Clock,
    rng: Rng,
    node: ComposedNode,
    port: int,
    closing: AsyncExitStack,
) -> None:
    """Starts telling the hub where this node is."""
    address = settings.announce_address or f"{settings.listen.rpartition(':')[0]}:{port}"
    name = hub_dns_name(settings.territory)
    channel = PeerChannel(credentials, rng, settings.hub_address or "", name, hub_service_config())
    closing.push_async_callback(channel.close)
    announcements = Announcements(channel, node.edge.names, address)

    async def announce() -> None:
        try:
            await announcements.send(node.writer.published.cursor)
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error) from error

    async def lost() -> None:
        while (state := channel.get_state()) is grpc.ChannelConnectivity.READY:
            await channel.wait_for_state_change(state)

    announcing = asyncio.create_task(Announcer(announce, lost, clock, rng).run())
    closing.push_async_callback(_end, announcing)


async def _drain(writer: Writer, writing: "asyncio.Task[None]") -> None:
    """Has the commands that wait answered, unless the writer itself has failed."""
    if not writing.done():
        await writer.stop()
    await _end(writing)


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait((task,))
