"""The adapter as a process: what `aval hl7 serve` runs until it is told to stop."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from pathlib import Path

import msgspec
import structlog
import uvloop

from aval.adapters.clock import SystemClock
from aval.adapters.dial import Caller
from aval.adapters.hl7v2.census import CensusStream
from aval.adapters.hl7v2.desk import Desk
from aval.adapters.hl7v2.inbox import Inbox, house_key
from aval.adapters.hl7v2.mapping import read_mapping
from aval.adapters.hl7v2.meaning import Customs
from aval.adapters.hl7v2.meters import Meters
from aval.adapters.hl7v2.server import MllpServer
from aval.adapters.hl7v2.settings import Settings, read_settings, server_context
from aval.adapters.hl7v2.telling import Teller
from aval.adapters.pki import write_atomically
from aval.adapters.telemetry import start_telemetry
from aval.adapters.wire import stop_on_signals
from aval.kernel.clock import Clock
from aval.kernel.declared import DeclaredFault
from aval.kernel.identity import Adapter

ALIVE_EVERY = timedelta(minutes=4)
"""How often an open feed is told to be: three times within the 15 minutes after which a system's figures age."""


def customs_of(settings: Settings) -> Customs:
    """What the settings say of the feed. Raises `InboxUnusable`."""
    return settings.customs(house_key(settings.key))


def serve(settings_path: Path) -> None:
    """Serves until SIGTERM or SIGINT. Raises ValueError, OSError or RuntimeError, whose text says what is wrong."""
    settings = read_settings(settings_path)
    uvloop.run(_serve(settings, settings_path))


async def _serve(settings: Settings, settings_path: Path) -> None:
    stop = stop_on_signals()
    clock = SystemClock()
    telemetry = start_telemetry(clock, f"hl7 {settings.finess}")
    ready_path = settings_path.with_name(f"{settings_path.stem}.ready.json")
    ready_path.unlink(missing_ok=True)
    mapping, customs = read_mapping(settings.mapping), customs_of(settings)
    tls = None if settings.tls is None else server_context(settings.tls)
    async with AsyncExitStack() as closing:
        caller = await closing.enter_async_context(Caller(settings.identity, clock))
        if not isinstance(caller.identity, Adapter) or caller.identity.establishment != settings.finess:
            who = {"identity": caller.identity, "finess": settings.finess}
            raise DeclaredFault(settings.identity, "", "adapter-differs", **who)
        inbox = Inbox(settings.inbox, int(clock.now().timestamp() * 1000))
        closing.push_async_callback(inbox.close)
        meters = Meters(telemetry.registry)
        exporter = telemetry.serve(settings.metrics_port)
        closing.callback(exporter.close)
        line = caller.node(settings.node, settings.finess)
        census = CensusStream(line.channel, settings.house, settings.source)
        closing.callback(census.drop)
        desk = Desk(inbox, census, mapping, customs, Teller(settings.house, settings.source), clock, meters)
        server = MllpServer(desk.take, settings.limits, meters, tls)
        tasks = [
            asyncio.create_task(desk.run(), name="desk"),
            asyncio.create_task(desk.keep(), name="purge"),
            asyncio.create_task(stay_alive(lambda: server.connections, census.alive, clock), name="alive"),
            asyncio.create_task(caller.credentials.keep(), name="certificates"),
            asyncio.create_task(stop.wait(), name="signal"),
        ]
        try:
            port = await server.start(settings.host, settings.port)
            ready = {"pid": os.getpid(), "port": port, "metrics_port": exporter.port, "database": str(settings.inbox)}
            write_atomically(ready_path, msgspec.json.encode(ready), mode=0o644)
            structlog.get_logger().info(
                "serving", port=port, establishment=settings.finess, mode="tls" if tls else "clear"
            )
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready_path.unlink(missing_ok=True)
            await server.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in ended:
            with suppress(asyncio.CancelledError):
                task.result()


async def stay_alive(connections: Callable[[], int], alive: Callable[[], Awaitable[object]], clock: Clock) -> None:
    """Tells the node that the feed is open while somebody is connected: a quiet night is no silence, and a closed
    connection is one."""
    while True:
        if connections():
            await alive()
        await clock.sleep_until(clock.monotonic() + ALIVE_EVERY.total_seconds())
