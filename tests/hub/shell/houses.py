"""A small territory of real processes for the hub's tests: certificates, settings, a hub, nodes, clients.

Three houses of the demonstration's file: Toul and Lunéville of the GHT, and one partner.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import msgspec

from aval.adapters.clock import SystemClock, SystemRng
from aval.adapters.pki import Authority, init_authority, issue
from aval.adapters.telemetry import Telemetry
from aval.adapters.wire import Credentials, PeerChannel, refusal_of
from aval.kernel.finess import FinessET
from aval.kernel.identity import (
    HubOperator,
    HubReplica,
    Identity,
    Node,
    Staff,
    Territory,
    hub_dns_name,
    node_dns_name,
)
from aval.kernel.reasons import Refusal
from aval.v1 import availability_pb2 as availability
from aval.v1 import (
    availability_pb2_grpc,
    census_pb2_grpc,
    membership_pb2_grpc,
    request_pb2_grpc,
    reservation_pb2_grpc,
    terms_pb2,
    territory_pb2_grpc,
)
from aval.v1 import census_pb2 as census
from aval.v1 import request_pb2 as requests
from tests.waiting import PATIENCE_SECONDS, until

TERRITORY = Territory("ge-10.aval.internal")
TOUL, LUNEVILLE, PARTNER = FinessET("540000023"), FinessET("540000155"), FinessET("540002698")
HOUSES = (TOUL, LUNEVILLE, PARTNER)

FILE = """
format = 1
territory = "ge-10.aval.internal"
title = "Territoire d’essai"
simulated = true

[legal_entities]
"540000049" = "CH de Toul"
"540000080" = "CH de Lunéville"

[[establishments]]
finess = "540000023"
name = "CH de Toul"
legal_entity = "540000049"
membership = "ght"
latitude = 48.67571
longitude = 5.88684
installed = { smr = 20 }

[[establishments]]
finess = "540000155"
name = "CH de Lunéville"
legal_entity = "540000080"
membership = "ght"
latitude = 48.58903
longitude = 6.49269
installed = { smr = 20 }

[[establishments]]
finess = "540002698"
name = "SMR partenaire"
membership = "partner"
legal_entity_from = "absent"
latitude = 48.69
longitude = 6.18
installed = { smr = 20 }
"""


@dataclass
class Process:
    """A real process with its settings and its ready file."""

    arguments: list[str]
    settings: Path
    process: asyncio.subprocess.Process | None = None

    @property
    def ready_path(self) -> Path:
        """Written by the process once it serves."""
        return self.settings.with_suffix(".ready.json")

    async def start(self) -> None:
        """Starts it and waits until it says that it is ready."""
        self.ready_path.unlink(missing_ok=True)
        log = self.settings.with_suffix(".log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, *self.arguments, str(self.settings), stdout=log, stderr=log
        )
        log.close()
        await until(lambda: self.ready_path.exists() or self.process_has_ended, f"{self.settings} ready")
        assert not self.process_has_ended, self.settings.with_suffix(".log").read_text()[-2000:]

    @property
    def process_has_ended(self) -> bool:
        """Whether it is gone."""
        return self.process is None or self.process.returncode is not None

    @property
    def ready(self) -> dict[str, Any]:
        """What it said when it was ready."""
        said: dict[str, Any] = msgspec.json.decode(self.ready_path.read_bytes())
        return said

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.ready["port"])

    async def kill(self) -> int:
        """kill -9; the status."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        return await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM; the status."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


@dataclass
class Small:
    """The territory's folder, its processes, and channels to them."""

    folder: Path
    authority: Authority
    hub: Process
    nodes: dict[FinessET, Process]
    channels: list[PeerChannel] = field(default_factory=list)
    _clock: SystemClock = field(default_factory=SystemClock)

    def bundle(self, identity: Identity) -> Path:
        """The folder of a certificate, issued when first asked for."""
        folder = self.folder / str(identity).removeprefix("spiffe://").replace("/", "_")
        if not folder.exists():
            issue(self.authority, identity, datetime.now(UTC)).write(folder)
        return folder

    def channel(self, identity: Identity, port: int, authority: str) -> PeerChannel:
        """A channel of that caller."""
        credentials = Credentials(self.bundle(identity), self._clock, Telemetry(self._clock))
        channel = PeerChannel(credentials, SystemRng(), f"127.0.0.1:{port}", authority)
        self.channels.append(channel)
        return channel

    def to_hub(self, identity: Identity) -> HubClient:
        """A client of the hub."""
        return HubClient(self.channel(identity, self.hub.port, hub_dns_name(TERRITORY)))

    def to_node(self, identity: Identity, finess: FinessET) -> NodeClient:
        """A client of a node."""
        return NodeClient(self.channel(identity, self.nodes[finess].port, node_dns_name(TERRITORY, finess)))


class HubClient:
    """Stubs to the hub."""

    def __init__(self, channel: PeerChannel) -> None:
        self.requests = request_pb2_grpc.RequestServiceStub(channel)
        self.availability = availability_pb2_grpc.AvailabilityServiceStub(channel)
        self.members = membership_pb2_grpc.MembershipServiceStub(channel)
        self.territory = territory_pb2_grpc.TerritoryServiceStub(channel)

    async def get(self, name: str) -> requests.Request:
        """A request as it is now."""
        return await self.requests.GetRequest(requests.GetRequestRequest(name=name), timeout=PATIENCE_SECONDS)


class NodeClient:
    """Stubs to a node."""

    def __init__(self, channel: PeerChannel) -> None:
        self.census = census_pb2_grpc.CensusServiceStub(channel)
        self.reservations = reservation_pb2_grpc.ReservationServiceStub(channel)
        self.availability = availability_pb2_grpc.AvailabilityServiceStub(channel)


def make_small(folder: Path, *, hub_settings: str = "") -> Small:
    """The folder of a territory: authority, file, settings. Nothing runs yet."""
    authority = init_authority(folder / "authority", TERRITORY, datetime.now(UTC))
    (folder / "territory.toml").write_text(FILE)
    small = Small(folder, authority, Process(["-m", "tests.hub.shell.run", "hub"], folder / "hub.toml"), {})
    hub_bundle = small.bundle(HubReplica(TERRITORY, 0))
    (folder / "hub.toml").write_text(
        f'territory_file = "territory.toml"\nidentity = "{hub_bundle.name}"\ndatabase = "hub.db"\n{hub_settings}\n'
        '[roles]\nanne = "cell"\nmarc = "management"\n'
    )
    return small


def add_node(small: Small, finess: FinessET) -> Process:
    """Settings of a node that announces itself to the hub, which must be running."""
    folder = small.folder / f"node-{finess}"
    folder.mkdir(exist_ok=True)
    bundle = small.bundle(Node(TERRITORY, finess))
    (folder / "node.toml").write_text(
        f'territory = "{TERRITORY}"\nfiness = "{finess}"\nidentity = "{bundle}"\nlisten = "127.0.0.1:0"\n'
        f'database = "node.db"\nprogress_seconds = 1.0\n[hub]\naddress = "127.0.0.1:{small.hub.port}"\n'
    )
    small.nodes[finess] = Process(["-m", "tests.hub.shell.run", "node"], folder / "node.toml")
    return small.nodes[finess]


async def declare_unit(
    small: Small,
    finess: FinessET,
    *,
    code: str = "SMR1",
    places: int = 4,
    visibility: availability.VisibilityRule | None = None,
) -> str:
    """Declares a unit of counted places that holds at once, and confirms its figures. Returns its name."""
    staff = small.to_node(Staff(TERRITORY, finess, "lea"), finess)
    name = f"establishments/{finess}/units/{code}"
    await staff.census.DeclareUnit(
        census.DeclareUnitRequest(
            command_id=str(uuid4()),
            name=name,
            display_name="SMR gériatrique",
            discipline=terms_pb2.DISCIPLINE_SMR_GERIATRIC,
            counting=availability.COUNTING_PLACES,
            places=[census.PlaceCapacity(gender=terms_pb2.GENDER_ANY, installed=places, open=places)],
            sources=[census.SourceDeclaration(id="people", kind=availability.SOURCE_KIND_PERSON)],
            policy=census.UnitPolicy(
                unit=name,
                answering=availability.PolicySummary.ANSWERING_AUTOMATIC,
                automatic=census.AutomaticHold(),
            ),
            visibility=visibility,
        ),
        timeout=PATIENCE_SECONDS,
    )
    await staff.census.DeclareCounts(
        census.DeclareCountsRequest(
            command_id=str(uuid4()),
            unit=name,
            places=[census.PlaceCapacity(gender=terms_pb2.GENDER_ANY, open=places, occupied=0)],
        ),
        timeout=PATIENCE_SECONDS,
    )
    return name


def need(origin: FinessET | None = TOUL) -> terms_pb2.Need:
    """A geriatric SMR bed for tomorrow."""
    message = terms_pb2.Need(
        discipline=terms_pb2.DISCIPLINE_SMR_GERIATRIC,
        gender=terms_pb2.GENDER_FEMALE,
        age_years=82,
        origin=f"establishments/{origin}" if origin else "",
    )
    message.arrival_earliest.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    message.arrival_latest.FromDatetime(datetime.now(UTC) + timedelta(days=1))
    return message


def creation(*units: str, mode: terms_pb2.Mode.ValueType = terms_pb2.MODE_HOLD) -> requests.CreateRequestRequest:
    """A new request that asks these units."""
    return requests.CreateRequestRequest(
        request_id=str(uuid4()),
        need=need(),
        urgency=terms_pb2.URGENCY_PLANNED,
        asks=[requests.AskTarget(reservation_id=str(uuid4()), unit=unit, mode=mode) for unit in units],
    )


async def refused(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> Refusal:
    """The refusal of a call that must be refused."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)
    raise AssertionError(f"was answered: {answer}")


REGULATOR = Staff(TERRITORY, TOUL, "lea")
CELL = HubOperator(TERRITORY, "anne")
MANAGEMENT = HubOperator(TERRITORY, "marc")


@asynccontextmanager
async def running(folder: Path, *houses: FinessET, hub_settings: str = "") -> AsyncIterator[Small]:
    """A territory with its hub and these nodes; everything is stopped at the end, whatever happened."""
    small = make_small(folder, hub_settings=hub_settings)
    try:
        await small.hub.start()
        for finess in houses:
            await add_node(small, finess).start()
        yield small
    finally:
        for channel in small.channels:
            await channel.close()
        for process in (small.hub, *small.nodes.values()):
            if not process.process_has_ended:
                await process.kill()


async def sees_unit(client: HubClient, unit: str) -> bool:
    """Whether the hub shows a unit."""
    listed = await client.availability.ListUnits(
        availability.ListUnitsRequest(parent="establishments/-"), timeout=PATIENCE_SECONDS
    )
    return unit in {one.name for one in listed.units}


Condition = Callable[[requests.Request], bool]


async def until_request(
    client: HubClient, name: str, condition: Condition, within_seconds: float = PATIENCE_SECONDS
) -> requests.Request:
    """The request once the condition holds of it."""
    last = requests.Request()

    async def holds() -> bool:
        nonlocal last
        last = await client.get(name)
        return condition(last)

    await until(holds, f"{name} as wanted", within_seconds)
    return last
