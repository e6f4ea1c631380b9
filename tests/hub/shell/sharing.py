"""Several hubs as processes on one PostgreSQL, over the small territory of `houses`."""

from __future__ import annotations

import os
import signal
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg

from aval.adapters.clock import SystemClock, SystemRng
from aval.adapters.telemetry import Telemetry
from aval.adapters.wire import Credentials, PeerChannel, hub_service_config
from aval.kernel.finess import FinessET
from aval.kernel.identity import HubReplica, Identity, hub_dns_name
from tests.hub.shell.houses import TERRITORY, HubClient, Process, Small, add_node, make_small
from tests.waiting import PATIENCE_SECONDS


@dataclass
class Shared:
    """The territory, its hubs by number, and the database's URL."""

    small: Small
    hubs: list[Process]
    url: str

    def to(self, number: int, identity: Identity) -> HubClient:
        """A client of one hub."""
        return HubClient(self.small.channel(identity, self.hubs[number].port, hub_dns_name(TERRITORY)))

    def to_any(self, identity: Identity) -> HubClient:
        """A client of all of them, by gRPC's own ways: in turn, those that say that they serve."""
        credentials = Credentials(self.small.bundle(identity), SystemClock(), Telemetry(SystemClock()))
        target = "ipv4:" + ",".join(f"127.0.0.1:{hub.port}" for hub in self.hubs)
        channel = PeerChannel(credentials, SystemRng(), target, hub_dns_name(TERRITORY), hub_service_config())
        self.small.channels.append(channel)
        return HubClient(channel)

    def holders(self) -> dict[str, int]:
        """Who follows which node now, as the database knows it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute("SELECT establishment, holder FROM lease WHERE until > clock_timestamp()")
            return {str(name): int(holder) for name, holder in found}

    def alive(self) -> int:
        """How many hubs the database counts as running."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute("SELECT count(*) FROM replica WHERE until > clock_timestamp()").fetchone()
        assert found is not None
        return int(found[0])

    def longest_lease(self, number: int) -> timedelta:
        """How long the longest lease of a hub still lasts, by the database's clock; nothing if it has none."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            asked = "SELECT until - clock_timestamp() FROM lease WHERE holder = %s AND until > clock_timestamp()"
            return max((left for (left,) in connection.execute(asked, (number,))), default=timedelta())

    def metric(self, number: int, name: str) -> float:
        """A figure of one hub's own metrics; 0 where it has none."""
        port = self.hubs[number].ready["metrics_port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_SECONDS) as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition("{")[0].split(" ")[0] == name)

    def signal(self, number: int, which: signal.Signals) -> None:
        """Sends a signal to a hub's process."""
        process = self.hubs[number].process
        assert process is not None
        os.kill(process.pid, which)


@asynccontextmanager
async def shared(folder: Path, url: str, count: int, *houses: FinessET) -> AsyncIterator[Shared]:
    """So many hubs on one database, and these nodes; everything is stopped at the end, whatever happened."""
    small = make_small(folder)
    settings = (folder / "hub.toml").read_text()
    hubs = []
    for number in range(count):
        bundle = small.bundle(HubReplica(TERRITORY, number))
        own = settings.replace('database = "hub.db"', f'database = "{url}"\nreplica = {number}')
        own = own.replace(small.bundle(HubReplica(TERRITORY, 0)).name, bundle.name)
        path = folder / f"hub-{number}.toml"
        path.write_text(own)
        hubs.append(Process(["-m", "tests.hub.shell.run", "hub"], path))
    town = Shared(small, hubs, url)
    small.hub = hubs[0]
    try:
        for hub in hubs:
            await hub.start()
        for finess in houses:
            await add_node(small, finess).start()
        yield town
    finally:
        for channel in small.channels:
            await channel.close()
        for process in (*hubs, *small.nodes.values()):
            if not process.process_has_ended:
                await process.kill()
