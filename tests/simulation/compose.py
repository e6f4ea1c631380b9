"""The shipped node and hub, composed by their own roots over simulated ports.

Four things are swapped, and nothing else: clock, chance, disk, transport. (Who calls is the transport's to say, as TLS
does in the open.) `SWAPPED` names them as the roots do, and a test compares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import structlog

from aval.adapters.telemetry import Telemetry
from aval.adapters.wire import current_caller, refusal_of
from aval.adapters.wire.gate import Gate
from aval.adapters.wire.limits import PeerLimits
from aval.hub import bootstrap as hub_root
from aval.hub.links import GrpcNodeLink
from aval.hub.model import Member
from aval.hub.ports import NodeLink
from aval.hub.registry import Distance
from aval.hub.server import add_servicers
from aval.hub.settings import Role
from aval.hub.settings import Settings as HubSettings
from aval.kernel.access import Server as Kind
from aval.kernel.finess import FinessET
from aval.kernel.identity import HubReplica, Node
from aval.kernel.statuses import Audience
from aval.node import bootstrap as node_root
from aval.node.announcer import Announcer
from aval.node.server import add_services
from aval.node.settings import Settings as NodeSettings
from aval.node.translate.membership import Announcements
from tests.simulation.disks import HubStore, NodeStore
from tests.simulation.people import CELL, HOUSES, HUB, T, address_of
from tests.simulation.wire import Channel, Network, Peers, Server
from tests.simulation.world import Process, World

PROGRESS_SECONDS = 150.0
"""Between two heartbeats: rare, so that a simulated day is not made of them."""

LINK_LOST_SECONDS = 450.0

REVISIONS_RETAINED = 25
"""Few, so that a follower often comes back too late and gets a snapshot."""

LOOK_SECONDS = 45.0
"""How often the gate looks at open streams: their nine minutes end somewhere within."""

SWAPPED = {
    "node": {"clock": "Clock", "rng": "Rng", "store": "Disk"},
    "hub": {"clock": "Clock", "rng": "Rng", "store": "Disk", "connect": "Transport"},
}
"""Ports of the composition roots that are swapped, with what they are. (A node's transport is the server that its
services are added to, and the channel of its announcements.)"""

SHIPPED = {"node": {"meter", "current_peer"}, "hub": {"meters", "caller"}}
"""Ports that are given what ships: the telemetry, over the simulated clock; the caller that the gate has found."""


class _Parts:
    """What node and hub share: a server behind the shipped gate."""

    def __init__(
        self, network: Network, process: Process, kind: Kind, identity: Node | HubReplica, address: str
    ) -> None:
        self.network = network
        self.process = process
        self.telemetry = Telemetry(process.clock)
        finess = None if identity.establishment is None else str(identity.establishment)
        # As the generated code sees it, a server of grpc.aio.
        self.server: Any = Server(network, process, address, finess)
        self.gate = self.server.gate = Gate(
            kind, Peers(network, identity), process.clock, process.rng, self.telemetry, PeerLimits()
        )

    async def look(self) -> None:
        """Ends streams in time, as the wire's server does."""
        clock = self.process.clock
        while True:
            await clock.sleep_until(clock.monotonic() + LOOK_SECONDS)
            self.gate.look_again()


class NodeParts(_Parts):
    """A node's process."""

    def __init__(self, network: Network, process: Process, store: NodeStore, finess: str) -> None:
        identity = Node(T, FinessET(finess))
        super().__init__(network, process, Kind.NODE, identity, address_of(finess))
        self._identity = identity
        settings = NodeSettings(
            territory=T,
            finess=FinessET(finess),
            identity=Path("unused"),
            listen="unused:0",
            database=Path("unused"),
            metrics_port=0,
            announce_address=None,
            deny_list=None,
            progress_seconds=PROGRESS_SECONDS,
            hub_address=HUB,
        )
        self.node = node_root.compose(
            settings,
            clock=process.clock,
            rng=process.rng,
            store=store,
            meter=self.telemetry,
            current_peer=current_caller,
            retained=REVISIONS_RETAINED,
        )

    def now(self) -> datetime:
        """The node's time."""
        return self.node.writer.now()

    async def run(self) -> None:
        """What its root does, less the operating system."""
        await self.node.writer.start()
        writing = asyncio.create_task(self.node.writer.run())
        add_services(self.node.edge, self.server)
        self.server.listen()
        beside = (asyncio.create_task(self.look()), asyncio.create_task(self._announcer().run()))
        try:
            await writing
        finally:
            for task in (writing, *beside):
                task.cancel()

    def _announcer(self) -> Announcer:
        channel = Channel(self.network, self.process, self._identity, HUB)
        announcements = Announcements(channel, self.node.edge.names, self.server.address)

        async def announce() -> None:
            try:
                await announcements.send(self.node.writer.published.cursor)
            except grpc.aio.AioRpcError as error:
                raise refusal_of(error) from error

        async def lost() -> None:
            while (state := channel.get_state()) is grpc.ChannelConnectivity.READY:
                await channel.wait_for_state_change(state)

        return Announcer(announce, lost, self.process.clock, self.process.rng)


class HubParts(_Parts):
    """The hub's process."""

    def __init__(
        self, network: Network, process: Process, store: HubStore, *, replica: int = 0, address: str = HUB
    ) -> None:
        self._identity = HubReplica(T, replica)
        super().__init__(network, process, Kind.HUB, self._identity, address)
        self._store = store

    def _connect(self, finess: str, address: str) -> NodeLink:
        channel = Channel(self.network, self.process, self._identity, address)
        return GrpcNodeLink(channel, finess, T, self.process.clock, refusal_of)

    async def build(self) -> hub_root.Running:
        """The hub, put together by its root."""
        settings = HubSettings(
            territory_file=Path("unused"),
            identity=Path("unused"),
            database="unused",
            link_lost_seconds=LINK_LOST_SECONDS,
            progress_seconds=PROGRESS_SECONDS,
            roles={CELL.name: Role.CELL},
        )
        store: Any = self._store
        return await hub_root.build(
            settings,
            T,
            {
                finess: Member(
                    finess=finess,
                    display_name=finess,
                    audience=Audience.PARTNER if finess == HOUSES[-1] else Audience.GHT,
                    address=address_of(finess),
                )
                for finess in HOUSES
            },
            {(a, b): Distance(10.0, None) for a in HOUSES for b in HOUSES if a != b},
            store=store,
            connect=self._connect,
            caller=current_caller,
            clock=self.process.clock,
            rng=self.process.rng,
            meters=self.telemetry,
        )

    def serve(self, running: hub_root.Running) -> list[asyncio.Task[None]]:
        """Serves calls, and begins all that makes the hub run."""
        add_servicers(running.hub, self.server)
        self.server.listen()
        tasks = [asyncio.create_task(loop(), name=name) for name, loop in running.loops.items()]
        return [*tasks, asyncio.create_task(self.look())]

    async def run(self) -> None:
        """What its root does, less the operating system."""
        tasks = self.serve(await self.build())
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()


@contextmanager
def logs_in(world: World) -> Iterator[None]:
    """While it lasts, what the shipped code logs goes to the trace; an exception that it logs is a problem."""

    def keep(_logger: object, level: str, event: Any) -> Any:
        if level in ("warning", "error"):
            said = {key: value for key, value in event.items() if key != "event" and value is not None}
            world.note(world.running, f"logs {event['event']} {said}")
            if "exception" in event:
                world.problems.append(f"{world.running}: {event['event']} {said}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[keep], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
