"""Scenarios 50 and 51: certificates are replaced under load, by good ones and by one that cannot be used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPConnection

from aval.adapters.demo.building import HUB, LOOPBACK
from aval.adapters.demo.cast import in_state
from aval.adapters.demo.processes import Territory
from aval.adapters.pki import issue, load_authority
from aval.kernel.finess import FinessET
from aval.kernel.identity import HubReplica, Identity, Node
from aval.kernel.identity import Territory as Name
from aval.v1 import request_pb2
from tests.scenarios.inquest import inquest
from tests.scenarios.outage import Fault, Party, outage
from tests.scenarios.town import SMR, Play, Town
from tests.waiting import PATIENCE_SECONDS, until

SWAPS = 3
AT_ONCE = 4
"""Demands under way at any moment of the load."""


def metric(town: Territory, key: str, name: str) -> float:
    """A figure that a server shows to its own machine."""
    ready = town.ready(key)
    assert ready is not None
    connection = HTTPConnection(LOOPBACK, ready.metrics_port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def serves(town: Territory, key: str, serial: int) -> bool:
    """Whether a server says that it serves that certificate."""
    return metric(town, key, f'aval_certificate_served{{serial="{serial:x}"}}') == 1.0


def has_more(answered: list[request_pb2.Request], count: int) -> bool:
    """Whether more demands are answered than that."""
    return len(answered) > count


def renew(town: Territory, key: str) -> int:
    """Replaces the certificate of a server on its disk; the new serial number."""
    name = Name(town.file.territory)
    identity: Identity = HubReplica(name, 0) if key == HUB else Node(name, FinessET(key))
    renewed = issue(load_authority(town.folder / "pki"), identity, datetime.now(UTC))
    renewed.write(town.folder / ("hub" if key == HUB else f"nodes/{key}") / "identity")
    return renewed.certificate.serial_number


@asynccontextmanager
async def load(play: Play, unit: str) -> AsyncIterator[list[request_pb2.Request]]:
    """Demands, one after the other on each of a few lines, as long as the block runs; each call must be answered."""
    answered: list[request_pb2.Request] = []
    over = asyncio.Event()

    async def regulator() -> None:
        while not over.is_set():
            answered.append(await play.answered(await play.asked([unit], hold=unit)))

    working = [asyncio.ensure_future(regulator()) for _ in range(AT_ONCE)]
    try:
        yield answered
    finally:
        over.set()
        await asyncio.gather(*working)


@outage(
    50, Fault.CERTIFICATE, "under load", Party.BOTH,
    "nothing: no call fails, every demand is answered",
)  # fmt: skip
async def test_50_certificates_of_node_and_hub_swapped_under_load_cost_no_call(play: Play, town: Town) -> None:
    """Three times each, with demands under way on connections made with the certificates of before."""
    unit = await play.ready(SMR, beds=3)
    async with load(play, unit) as answered:
        for _ in range(SWAPS):
            more = len(answered) + AT_ONCE
            serials = {key: renew(town, key) for key in (SMR, HUB)}
            for key, serial in serials.items():
                await until(partial(serves, town, key, serial), "it is served")
            await until(partial(has_more, answered, more), "work goes on")
    assert sum(in_state(one.asks[0], "HELD") for one in answered) == 3
    assert sum(in_state(one.asks[0], "ASKED") for one in answered) == len(answered) - 3
    await inquest(play, town, [unit])


@outage(
    51, Fault.BAD_CERTIFICATE, "under load", Party.NODE,
    "nothing: the one of before is served on; its operators have an alarm",
)  # fmt: skip
async def test_51_a_certificate_that_cannot_be_used_is_not_served_and_is_told(play: Play, town: Town) -> None:
    """The key of one certificate beside another: what was served is served on, and the alarm ends with the fault."""
    unit = await play.ready(SMR, beds=2)
    folder = town.folder / "nodes" / SMR / "identity"
    key = (folder / "key.pem").read_bytes()
    async with load(play, unit) as answered:
        (folder / "key.pem").write_bytes((town.person("cellule") / "key.pem").read_bytes())
        await until(lambda: metric(town, SMR, "aval_certificate_bundle_bad ") == 1.0, "the alarm")
        await until(partial(has_more, answered, len(answered) + AT_ONCE), "work goes on")
        (folder / "key.pem").write_bytes(key)
        await until(lambda: metric(town, SMR, "aval_certificate_bundle_bad ") == 0.0, "its end")
    assert sum(in_state(one.asks[0], "HELD") for one in answered) == 2
    await inquest(play, town, [unit])
