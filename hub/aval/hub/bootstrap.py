"""The hub's composition root: the only module that knows which adapters its parts are given.

`serve` runs a hub from a settings file until it is told to stop. `build` puts the parts together over whatever ports it
is given; a simulation gives it others.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvloop

from aval.adapters import backups
from aval.adapters.clock import SystemClock, SystemRng
from aval.adapters.pki import write_atomically
from aval.adapters.telemetry import Telemetry, start_telemetry
from aval.adapters.territory import TerritoryFile, load
from aval.adapters.wire import (
    Credentials,
    FileDenyList,
    PeerChannel,
    WireServer,
    current_caller,
    refusal_of,
    stop_on_signals,
)
from aval.hub.backoff import Backoff, until_stored
from aval.hub.courier import Courier
from aval.hub.files import Files
from aval.hub.follower import Follower
from aval.hub.keeper import Keeper
from aval.hub.links import GrpcNodeLink
from aval.hub.model import Member
from aval.hub.parts import Hub
from aval.hub.pictures import Pictures
from aval.hub.ports import Connect, CurrentCaller, Meters, NodeLink, Origin, SharedStore, Store
from aval.hub.registry import Distance, Registry
from aval.hub.replicas import LeasedStore, Replicas
from aval.hub.routes import Route
from aval.hub.searching import Searching
from aval.hub.server import SERVICES, add_servicers
from aval.hub.setback import Setback
from aval.hub.settings import Settings, read_settings
from aval.hub.store.backup import Contents, begin_anew, check_restorable, contents
from aval.hub.store.schema import DatabaseUnusable
from aval.hub.store.sqlite import SqliteStore, lock
from aval.hub.translate.terms import signed_in
from aval.kernel.clock import Clock, Rng
from aval.kernel.declared import DeclaredFault
from aval.kernel.finess import FinessET
from aval.kernel.identity import HubReplica, Identity, Territory, node_dns_name

Loop = Callable[[], Coroutine[Any, Any, None]]
"""A coroutine that runs as long as the hub does, not begun yet."""


@dataclass(frozen=True)
class Running:
    """A hub's parts, and what makes it run: a follower and a courier for each node, and the keeper."""

    hub: Hub
    loops: Mapping[str, Loop]


async def build(
    settings: Settings,
    territory: str,
    members: Mapping[str, Member],
    distances: Mapping[tuple[str, str], Distance],
    *,
    store: Store,
    connect: Connect,
    caller: CurrentCaller,
    clock: Clock,
    rng: Rng,
    meters: Meters,
) -> Running:
    """Puts a hub together over these ports, and takes up what the store holds."""
    couriers: dict[str, Courier] = {}

    def wake(finess: str) -> None:
        if finess in couriers:
            couriers[finess].wake()

    everyone = frozenset(members)
    files = Files(store, clock, wake, members=everyone)
    setback = Setback(store, clock, members)
    lost_after = timedelta(seconds=settings.link_lost_seconds)
    shared = store if isinstance(store, SharedStore) else None
    leased = {finess: LeasedStore(shared) for finess in members} if shared is not None else {}
    pictures = Pictures(everyone, store, files, clock, meters, lost_after, through=leased, listed=setback.listed)
    registry = Registry(members, distances, settings.roles, store, clock)
    for load_from_store in (pictures.load, registry.load):
        await until_stored(load_from_store, Backoff(clock, rng), "start")
    await until_stored(setback.begin, Backoff(clock, rng), "origin")
    for finess in setback.waiting:
        pictures.list_anew(finess)
    searching = Searching(pictures, registry, store, clock)
    routes = {finess: Route(finess, registry, connect, clock) for finess in registry.members}
    loops: dict[str, Loop] = {}
    for finess, route in routes.items():
        own = leased.get(finess, store)
        own_files = Files(own, clock, wake, files.bell, members=everyone)
        couriers[finess] = Courier(route, own, own_files, pictures, clock, rng, meters)
        loops[f"courier {finess}"] = partial(_once_listed, setback, finess, couriers[finess].run)
        loops[f"follower {finess}"] = Follower(route, pictures, Backoff(clock, rng)).run
    if shared is not None:
        of_nodes = {finess: (loops[f"courier {finess}"], loops[f"follower {finess}"]) for finess in routes}
        replicas = Replicas(
            shared, leased, of_nodes, setback=setback, pictures=pictures, files=files, registry=registry,
            routes=routes, clock=clock,
        )  # fmt: skip
        loops = {"leases": replicas.follow, "other hubs": replicas.hear}
    loops["keeper"] = Keeper(files, store, searching, registry, clock, Backoff(clock, rng), meters).run
    hub = Hub(
        territory=territory,
        registry=registry,
        pictures=pictures,
        files=files,
        searching=searching,
        routes=routes,
        store=store,
        clock=clock,
        rng=rng,
        current_caller=caller,
        read_actor=signed_in,
        progress_seconds=settings.progress_seconds,
    )
    return Running(hub, loops)


async def _once_listed(setback: Setback, finess: str, loop: Loop) -> None:
    """Runs a courier, once nothing of its node may be unknown to a hub that was restored."""
    await setback.until_listed(finess)
    await loop()


def members_of(file: TerritoryFile) -> dict[str, Member]:
    """The registry of a territory file, by FINESS."""
    return {
        one.finess: Member(
            finess=one.finess,
            display_name=one.name,
            audience=one.membership,
            legal_entity=one.legal_entity,
            latitude=one.latitude,
            longitude=one.longitude,
            hosted=file.hosted(one.finess),
            address=one.address,
        )
        for one in file.establishments
    }


def distances_of(file: TerritoryFile) -> dict[tuple[str, str], Distance]:
    """Distances between the establishments of a territory file, both ways."""
    return {
        (str(origin), str(destination)): Distance(found.km, found.minutes)
        for (origin, destination), found in file.distances().items()
    }


INCARNATION_BYTES = 8
"""As a node's (DESIGN §5)."""


@dataclass(frozen=True)
class Kept:
    """A copy that was taken, or put back: what it holds, its bytes, and where what it replaced was moved, if any."""

    contents: Contents | None
    size_bytes: int
    aside: Path | None = None


def back_up(settings_path: Path, target: Path, *, replace: bool = False) -> Kept:
    """Copies the database of a hub, running or not; by pg_dump where it is PostgreSQL.

    Raises RuntimeError or ValueError, whose text says what to do.
    """
    settings = read_settings(settings_path)
    if settings.is_shared:
        return Kept(None, backups.dump(settings.database, target, replace=replace))
    size_bytes = backups.copy(Path(settings.database), target, replace=replace)
    return Kept(backups.read_file(target, contents), size_bytes)


def restore(settings_path: Path, backup: Path, *, discard_newer: bool = False) -> Kept:
    """Puts a copy in the place of the database of a stopped hub, which will know it (`aval.hub.setback`).

    Raises RuntimeError or ValueError, whose text says what to do: a hub runs on it, the copy is damaged or of a newer
    version, or what it would replace is newer.
    """
    settings, now = read_settings(settings_path), SystemClock().now()
    origin = Origin(int.from_bytes(SystemRng().token(INCARNATION_BYTES), "big"), restored_at=now)
    aside = f"before-{now:%Y%m%dT%H%M%SZ}"
    if settings.is_shared:
        # Only such a hub loads the driver of PostgreSQL.
        from aval.hub.store import backup_postgres

        moved = backup.with_name(f"{backup.name}.{aside}")
        present = backup_postgres.requests_there(settings.database)
        if present and not discard_newer:
            raise DatabaseUnusable(
                f"the database holds {present} requests: say --discard-newer to copy them beside the backup and replace"
                " them"
            )
        if present:
            backups.dump(settings.database, moved)
        backups.load(settings.database, backup)
        backup_postgres.begin_anew(settings.database, origin)
        return Kept(None, backup.stat().st_size, moved if present else None)
    database = Path(settings.database)
    held = backups.read_file(backup, contents)
    handle = lock(database)
    try:
        check_restorable(held, _present(database), discard_newer=discard_newer)
        put_aside = backups.put_back(backup, database, lambda copy: begin_anew(copy, origin), aside=aside)
    finally:
        os.close(handle)
    return Kept(held, database.stat().st_size, put_aside)


def _present(database: Path) -> Contents | None:
    """What lies in the place of a database; None for nothing that can be read: that is what restoring is for."""
    try:
        return backups.read_file(database, contents) if database.stat().st_size else None
    except (OSError, backups.BackupRefused, DatabaseUnusable):
        return None


def serve(settings_path: Path) -> None:
    """Runs a hub until SIGTERM or SIGINT. Raises `DeclaredFault`, `DatabaseUnusable`, `BundleUnusable`, and others
    whose text says what to do; OSError if the address cannot be had."""
    settings = read_settings(settings_path)
    uvloop.run(_serve(settings, settings_path.with_suffix(".ready.json")))


async def _serve(settings: Settings, ready_path: Path) -> None:
    clock, rng = SystemClock(), SystemRng()
    telemetry = start_telemetry(clock, "hub")
    _forget(ready_path)
    file = load(settings.territory_file)
    credentials = Credentials(settings.identity, clock, telemetry)
    territory = credentials.identity.territory
    if territory != file.territory:
        differing = {"said": file.territory, "certified": territory}
        raise DeclaredFault(settings.territory_file, "", "territory-differs", **differing)
    store = _open_store(settings, credentials.identity, telemetry)

    def connect(finess: str, address: str) -> NodeLink:
        channel = PeerChannel(credentials, rng, address, node_dns_name(Territory(territory), FinessET(finess)))
        return GrpcNodeLink(channel, finess, territory, clock, refusal_of)

    running = await build(
        settings,
        territory,
        members_of(file),
        distances_of(file),
        store=store,
        connect=connect,
        caller=current_caller,
        clock=clock,
        rng=rng,
        meters=telemetry,
    )
    deny_list = FileDenyList(settings.deny_list, clock, None) if settings.deny_list is not None else None
    wire = WireServer(credentials, clock, rng, telemetry, listen=settings.listen, deny_list=deny_list)
    add_servicers(running.hub, wire.server)
    exporter = telemetry.serve(settings.metrics_port)
    stop = stop_on_signals()
    log = structlog.get_logger()
    tasks = [asyncio.create_task(loop(), name=name) for name, loop in running.loops.items()]
    try:
        port = await wire.start(*SERVICES)
        ready = {
            "pid": os.getpid(),
            "port": port,
            "metrics_port": exporter.port,
            "certificate_serial": credentials.current.serial,
            "database": settings.database,
        }
        write_atomically(ready_path, msgspec.json.encode(ready), mode=0o644)
        log.info("hub-ready", port=port, pid=os.getpid(), territory=territory, count=len(running.hub.registry.members))
        await _until_stopped(stop, tasks)
    finally:
        _forget(ready_path)
        await wire.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for route in running.hub.routes.values():
            await route.close()
        store.close()
        exporter.close()
        log.info("hub-stopped", pid=os.getpid())


def _open_store(settings: Settings, identity: Identity, telemetry: Telemetry) -> Store:
    """The store that the settings name. Raises `DatabaseUnusable`, `DeclaredFault`."""
    if not settings.is_shared:
        return SqliteStore(Path(settings.database), telemetry)
    # Only such a hub loads the driver of PostgreSQL.
    from aval.hub.store.postgres import PostgresStore

    number = identity.number if isinstance(identity, HubReplica) else 0
    if settings.replica not in (None, number):
        raise DeclaredFault("", "replica", "replica-differs", said=settings.replica, certified=number)
    return PostgresStore(settings.database, telemetry, replica=number)


def _forget(ready_path: Path) -> None:
    """The hub is not ready any more."""
    ready_path.unlink(missing_ok=True)


async def _until_stopped(stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Until told to stop, or until a coroutine of the hub has died of a fault: then the whole hub stops, in sight."""
    waiting = asyncio.ensure_future(stop.wait())
    done, _ = await asyncio.wait((waiting, *tasks), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        for task in done:
            task.result()
