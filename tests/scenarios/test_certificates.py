"""Scenarios 12 and 13: certificates change while people work; and `aval doctor` says why something does not work."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aval.adapters.cli.contexts import Context
from aval.adapters.cli.doctor import examine
from aval.adapters.demo.building import CELL, free_ports
from aval.adapters.demo.processes import Territory
from aval.adapters.dial import follow
from aval.adapters.pki import init_authority, issue, load_authority
from aval.kernel.finess import FinessET
from aval.kernel.identity import HubOperator, Node, node_dns_name
from aval.kernel.identity import Territory as Name
from aval.v1 import availability_pb2
from tests.scenarios.inquest import inquest
from tests.scenarios.outage import Fault, Party, outage
from tests.scenarios.town import SMR, Play, Town
from tests.waiting import PATIENCE_SECONDS, until


def served_serial(town: Territory, finess: str) -> int:
    """The serial number that a node shows to who connects now."""
    from cryptography import x509

    context = ssl.create_default_context(cafile=str(town.person(CELL) / "trust.pem"))
    context.load_cert_chain(town.person(CELL) / "cert.pem", town.person(CELL) / "key.pem")
    host, _, port = town.node(finess).address.rpartition(":")
    name = node_dns_name(Name(town.file.territory), FinessET(finess))
    with (
        socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=name) as encrypted,
    ):
        certificate = encrypted.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).serial_number


@outage(
    12, Fault.CERTIFICATE, "under an open watch", Party.NODE,
    "nothing: who watches goes on, who connects next gets the new certificate",
)  # fmt: skip
async def test_12_a_certificate_renewed_on_disk_is_served_under_an_open_watch(play: Play, town: Town) -> None:
    """The node's files are replaced; who connects next sees the new certificate; who was watching sees nothing."""
    messages: AsyncIterator[availability_pb2.WatchAvailabilityResponse] = follow(
        play.node(SMR).availability.WatchAvailability, availability_pb2.WatchAvailabilityRequest()
    )
    assert (await anext(messages)).HasField("snapshot")
    before = served_serial(town, SMR)
    identity = Node(Name(town.file.territory), FinessET(SMR))
    renewed = issue(load_authority(town.folder / "pki"), identity, datetime.now(UTC))
    renewed.write(town.folder / "nodes" / SMR / "identity")
    assert renewed.certificate.serial_number != before
    await until(lambda: served_serial(town, SMR) == renewed.certificate.serial_number, "the new one is served")
    unit = await play.declare(SMR, beds=1)
    async for message in messages:
        if any(one.name == unit for one in message.change.units):
            break
    assert unit in {one.name for one in message.change.units}
    await inquest(play, town, [unit])


class Bundles:
    """Bundles of the cell, good and seeded with one fault."""

    def __init__(self, town: Territory, folder: Path) -> None:
        self._town = town
        self._folder = folder
        self._authority = load_authority(town.folder / "pki")
        self._identity = HubOperator(self._authority.territory, CELL)

    def good(self) -> Path:
        """As the demonstration made it."""
        return self._town.person(CELL)

    def dated(self, first: timedelta, last: timedelta) -> Path:
        """Valid between two moments, counted from now."""
        now = datetime.now(UTC)
        issue(self._authority, self._identity, now, not_before=now + first, not_after=now + last).write(self._folder)
        return self._folder

    def of_another_authority(self) -> Path:
        """Whole and sound, of an authority with the same territory's name that nobody here knows."""
        now = datetime.now(UTC)
        other = init_authority(self._folder / "ca", self._authority.territory, now)
        issue(other, self._identity, now).write(self._folder / "id")
        return self._folder / "id"


@pytest.fixture
def bundles(town: Territory, tmp_path: Path) -> Bundles:
    """Made for one test."""
    return Bundles(town, tmp_path)


def cause(address: str, bundle: Path, ahead: timedelta = timedelta(0)) -> str | None:
    """The check at which `aval doctor` stops, on a machine whose clock is so much ahead; None if all is well."""
    found = examine(Context(identity="x", hub=address), bundle, lambda: datetime.now(UTC) + ahead)
    wrong = [one for one in found if one.well is False]
    assert len(wrong) <= 1, wrong
    assert all(one.remedy for one in wrong)
    return wrong[0].check if wrong else None


def test_13_doctor_names_each_of_six_seeded_faults(town: Territory, bundles: Bundles) -> None:
    """Clock, DNS, port, expired certificate, wrong authority, hub down: each by its own name."""
    asyncio.run(_give_the_hub_the_time(town))
    hub = town.hub.address
    port = hub.rpartition(":")[2]
    assert cause(hub, bundles.good()) is None
    assert cause(hub, bundles.good(), ahead=timedelta(hours=1)) == "clock"
    assert cause(hub, bundles.good(), ahead=-timedelta(minutes=4)) == "clock"
    assert cause(hub, bundles.dated(timedelta(hours=1), timedelta(days=1))) == "clock"
    assert cause(f"hub.invalid:{port}", bundles.good()) == "dns"
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert cause(f"127.0.0.1:{other.getsockname()[1]}", bundles.good()) == "port"
    assert cause(f"127.0.0.1:{free_ports(1)[0]}", bundles.good()) == "port"
    assert cause(hub, bundles.dated(-timedelta(days=3), -timedelta(days=1))) == "certificate"
    assert cause(hub, bundles.of_another_authority()) == "tls"


async def _give_the_hub_the_time(town: Territory) -> None:
    """A unit with a source: its instant and its age are the clock of the territory."""
    people = Play(town)
    unit = await people.declare(SMR, beds=1)
    await until(lambda: people.known_at_hub(unit), "the hub has heard of the unit")
    await people.close()
