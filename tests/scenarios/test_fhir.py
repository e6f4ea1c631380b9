"""The FHIR endpoint beside a real hub: it shows what its identity sees, and only to those who see as much."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec

from aval.adapters.demo.building import CELL, DESK_OF_A_HOUSE, HUB, MANAGEMENT, bundle_of
from aval.adapters.demo.processes import Territory
from aval.adapters.dial import ask
from aval.kernel.identity import Territory as Name
from aval.kernel.identity import hub_dns_name
from aval.v1 import availability_pb2, census_pb2
from tests.scenarios.town import HOSPITAL, PARTNER, SMR, Play
from tests.waiting import PATIENCE_SECONDS, until

Json = dict[str, Any]
BEDS = 3


class Endpoint:
    """A process that reads the hub as management does, and is dialled with anybody's certificate."""

    def __init__(self, town: Territory, folder: Path) -> None:
        self._town = town
        settings = folder / "fhir.toml"
        lines = (
            f'identity = "{bundle_of(town.folder, MANAGEMENT).resolve()}"',
            f'certificate = "{(town.folder / "hub" / "identity").resolve()}"',
            f'hub = "{town.record.servers[HUB].address}"',
            'listen = "127.0.0.1:0"',
            f'operators = ["{CELL}"]',
        )
        settings.write_text("\n".join(lines), encoding="utf-8")
        self._ready = folder / "fhir.ready.json"
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "fr_FR.UTF-8"}
        with (folder / "fhir.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "aval.adapters.cli", "fhir", "serve", "--config", str(settings)],
                stdout=log, stderr=log, env=environment,
            )  # fmt: skip

    async def get(self, path: str, person: str) -> tuple[int, Json]:
        await until(self._ready.exists, "the endpoint serves")
        port = msgspec.json.decode(self._ready.read_bytes())["port"]
        bundle = bundle_of(self._town.folder, person)
        context = ssl.create_default_context(cafile=str(bundle / "trust.pem"))
        context.load_cert_chain(bundle / "cert.pem", bundle / "key.pem")
        name = hub_dns_name(Name("essai.aval.internal"))
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.get(f"https://127.0.0.1:{port}/fhir/{path}", server_hostname=name) as answer,
        ):
            return answer.status, await answer.json(content_type="application/fhir+json")

    async def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(self._process.wait, PATIENCE_SECONDS) == 0


def free(resource: Json) -> int | None:
    """The sum of what a Location says is available now; None if it says nothing."""
    text = [json.dumps(one) for one in resource["extension"]]
    records = [
        one
        for one, said in zip(resource["extension"], text, strict=True)
        if '"Disponible"' in said and '"Courant"' in said
    ]
    counts = [part["valueInteger"] for one in records for part in one["extension"] if part["url"] == "nbCapacity"]
    return sum(counts) if counts else None


async def test_what_is_shown_there_is_what_the_hub_shows_and_to_nobody_more(
    play: Play, town: Territory, tmp_path: Path
) -> None:
    exact, masked = await play.declare(SMR, BEDS), await play.declare(PARTNER, BEDS)
    rule = availability_pb2.VisibilityRule(
        ght=availability_pb2.SHOWN_YES_OR_NO,
        partner=availability_pb2.SHOWN_NOTHING,
        everyone=availability_pb2.SHOWN_NOTHING,
    )
    hidden = census_pb2.SetVisibilityRequest(command_id=str(uuid4()), units=[masked], visibility=rule)
    await ask(play.node(PARTNER).census.SetVisibility, hidden)

    async def shown() -> bool:
        units = {one.name: one.shown for one in await play.units()}
        return (
            units.get(exact) == availability_pb2.SHOWN_EXACT and units.get(masked) == availability_pb2.SHOWN_YES_OR_NO
        )

    await until(shown, "the hub shows both units, each by its rule")
    endpoint = Endpoint(town, tmp_path)
    try:
        status, page = await endpoint.get("Location?_count=500", CELL)
        assert status == 200
        places = {one["resource"]["identifier"][0]["value"]: one["resource"] for one in page["entry"]}
        assert free(places[f"1{SMR}/{exact.rpartition('/')[2]}"]) == BEDS
        assert free(places[f"1{PARTNER}/{masked.rpartition('/')[2]}"]) is None

        status, found = await endpoint.get(f"Organization?identifier={SMR}", f"{HOSPITAL}-{DESK_OF_A_HOUSE}")
        assert (status, found["entry"][0]["resource"]["name"]) == (200, "SMR d’essai")
        status, report = await endpoint.get(f"MeasureReport/{PARTNER}", CELL)
        assert status == 200
        assert all("count" not in one for one in report["group"][0]["population"])

        status, refused = await endpoint.get("Location", f"{PARTNER}-{DESK_OF_A_HOUSE}")
        assert status == 403
        assert "NOT_YOUR_ESTABLISHMENT" in refused["issue"][0]["diagnostics"]
        assert (await endpoint.get("Location", MANAGEMENT))[0] == 403, "only the operators that the settings name"
    finally:
        await endpoint.stop()
