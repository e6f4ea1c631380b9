"""A real node: its own process, started by the command line; and channels to it over mutual TLS."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import msgspec

from aval.adapters.clock import SystemClock, SystemRng
from aval.adapters.pki import Authority, issue, make_authority
from aval.adapters.telemetry import Telemetry
from aval.adapters.wire import Credentials, PeerChannel
from aval.kernel.finess import FinessET
from aval.kernel.identity import HubReplica, Identity, Node, Staff, Territory, node_dns_name
from aval.v1 import (
    availability_pb2_grpc,
    census_pb2_grpc,
    link_pb2_grpc,
    reservation_pb2_grpc,
)
from tests.waiting import until

HERE = Territory("ge-10.aval.internal")
HOUSE = FinessET("540000023")
NODE = Node(HERE, HOUSE)
HUB = HubReplica(HERE, 0)
MARIE = Staff(HERE, HOUSE, "marie")


class Ready(msgspec.Struct):
    """What a node writes when it serves."""

    pid: int
    port: int
    metrics_port: int
    certificate_serial: str
    database: str


class NodeProcess:
    """One node's folder, and its process while it runs."""

    def __init__(self, folder: Path, authority: Authority | None = None, more_settings: str = "") -> None:
        self.folder = folder
        self.clock = SystemClock()
        self.authority = authority or make_authority(HERE, self.clock.now() - timedelta(minutes=5))[0]
        self._issue(NODE, folder / "identity")
        self.settings = folder / "node.toml"
        self.settings.write_text(
            f'territory = "{HERE}"\nfiness = "{HOUSE}"\nidentity = "identity"\nlisten = "127.0.0.1:0"\n'
            f'database = "node.db"\nprogress_seconds = 0.2\n{more_settings}'
        )
        self.process: asyncio.subprocess.Process | None = None
        self.ready: Ready | None = None

    @property
    def database(self) -> Path:
        return self.folder / "node.db"

    def _issue(self, identity: Identity, folder: Path) -> Path:
        issue(self.authority, identity, self.clock.now() - timedelta(minutes=1)).write(folder)
        return folder

    async def start(self) -> Ready:
        """Starts it, and returns once it serves."""
        self.process = await self.launch()
        path = self.settings.with_name("node.ready.json")

        def is_ready() -> bool:
            assert self.process is not None
            if self.process.returncode is not None:
                raise AssertionError(f"the node ended with {self.process.returncode}: {self.log()}")
            return path.exists() and msgspec.json.decode(path.read_bytes(), type=Ready).pid == self.process.pid

        await until(is_ready, "the node to serve")
        self.ready = msgspec.json.decode(path.read_bytes(), type=Ready)
        return self.ready

    async def launch(self) -> asyncio.subprocess.Process:
        """Starts its process, ready or not."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
        with (self.folder / "node.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "aval.adapters.cli", "node", "serve", "--config", self.settings,
                stdout=log, stderr=log, env=environment,
            )  # fmt: skip

    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "node.log").read_text()

    async def kill(self) -> int:
        """Kills it, -9, and gives its exit status."""
        assert self.process is not None
        self.process.kill()
        return await self.process.wait()

    async def stop(self) -> int:
        """Tells it to stop, and gives its exit status."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()

    def caller(self, identity: Identity) -> Caller:
        """Stubs that call the running node as somebody."""
        assert self.ready is not None
        folder = self._issue(identity, self.folder / str(identity.path).replace("/", "-"))
        credentials = Credentials(folder, self.clock, Telemetry(self.clock))
        authority = node_dns_name(HERE, HOUSE)
        return Caller(PeerChannel(credentials, SystemRng(), f"127.0.0.1:{self.ready.port}", authority))


class Caller:
    """A channel and the stubs over it."""

    def __init__(self, channel: PeerChannel) -> None:
        self.channel = channel
        self.availability = availability_pb2_grpc.AvailabilityServiceStub(channel)
        self.census = census_pb2_grpc.CensusServiceStub(channel)
        self.link = link_pb2_grpc.LinkServiceStub(channel)
        self.reservations = reservation_pb2_grpc.ReservationServiceStub(channel)

    async def close(self) -> None:
        """Closes the channel."""
        await self.channel.close()
