"""The commands as people and services run them: real processes, a real node, mutual TLS, and a ROR that answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
import pytest_asyncio

from aval.adapters.cli.exits import Exit
from aval.adapters.cli.ror import told_of
from aval.adapters.cli.servers import read_ready
from aval.adapters.dial import Caller, ask
from aval.adapters.pki import init_authority, issue
from aval.kernel.finess import FinessET
from aval.kernel.identity import Adapter, Node, Staff, Territory, node_dns_name
from aval.v1 import availability_pb2, census_pb2, terms_pb2
from tests.adapters.fhir.good import location as good_location
from tests.adapters.fhir.register import Register, serving
from tests.waiting import PATIENCE_SECONDS, until

TERRITORY = Territory("essai.aval.internal")
FINESS = FinessET("540009479")
PLACE = f"1{FINESS}/U201"
UNIT = f"establishments/{FINESS}/units/U201"
Json = dict[str, Any]


class House:
    """An EHPAD with its node, its head nurse, and the adapters that publish."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: list[subprocess.Popen[bytes]] = []
        now = datetime.now(UTC)
        authority = init_authority(folder / "ca", TERRITORY, now)
        for name, identity in (
            ("node", Node(TERRITORY, FINESS)),
            ("cadre", Staff(TERRITORY, FINESS, "cadre")),
            ("ror", Adapter(TERRITORY, FINESS, "ror")),
            ("fhir", Adapter(TERRITORY, FINESS, "fhir")),
        ):
            issue(authority, identity, now).write(folder / name)
        self.write(
            "node.toml", f'territory = "{TERRITORY}"', f'finess = "{FINESS}"', 'identity = "node"',
            'listen = "127.0.0.1:0"', 'database = "node.db"',
        )  # fmt: skip
        self.address = ""

    def write(self, name: str, *lines: str) -> None:
        (self.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "aval.adapters.cli", *words],
                cwd=self.folder, stdout=log, stderr=log, env=self._environment(),
            )  # fmt: skip
        self.children.append(child)
        return child

    async def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "aval.adapters.cli", *words],
            cwd=self.folder, env=self._environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "AVAL_CONTEXTS": str(self.folder / "contexts.toml"),
            "LANG": "fr_FR.UTF-8",
        }

    async def open(self) -> None:
        self.start("node", "serve", "--config", "node.toml")
        await until(lambda: read_ready(self.folder / "node.toml") is not None, "the node is ready")
        ready = read_ready(self.folder / "node.toml")
        assert ready is not None
        self.address = f"127.0.0.1:{ready.port}"
        self.write(
            "contexts.toml", 'current = "cadre"', "[contexts.cadre]", 'identity = "cadre"', f'node = "{self.address}"',
            'ror = "ror.toml"',
        )  # fmt: skip
        request = census_pb2.DeclareUnitRequest(
            command_id=str(uuid4()),
            name=UNIT,
            display_name="Hébergement temporaire",
            discipline=terms_pb2.DISCIPLINE_EHPAD_TEMPORARY,
            counting=availability_pb2.COUNTING_PLACES,
        )
        request.places.add(gender=terms_pb2.GENDER_ANY, installed=12, open=12, occupied=12)
        request.sources.add(id="ror", kind=availability_pb2.SOURCE_KIND_FILE)
        request.sources.add(id="saisie", kind=availability_pb2.SOURCE_KIND_PERSON)
        async with Caller(self.folder / "cadre") as caller:
            await ask(caller.node(self.address, FINESS).census.DeclareUnit, request)
        await self.count(9)

    async def count(self, occupied: int) -> None:
        """The head nurse counts."""
        request = census_pb2.DeclareCountsRequest(
            command_id=str(uuid4()),
            unit=UNIT,
            source_id="ror",
            places=[census_pb2.PlaceCapacity(gender=terms_pb2.GENDER_ANY, open=12, occupied=occupied)],
        )
        async with Caller(self.folder / "cadre") as caller:
            await ask(caller.node(self.address, FINESS).census.DeclareCounts, request)

    def settings(self, url: str) -> None:
        self.write(
            "ror.toml", 'identity = "ror"', f'node = "{self.address}"', 'database = "ror.db"', "[ror]",
            f'url = "{url}/sync"', 'statuses = ["02", "03"]', 'wins = "ror"',
        )  # fmt: skip

    def close(self) -> list[int]:
        """Stops all; how each ended."""
        for child in self.children:
            child.send_signal(signal.SIGTERM)
        return [child.wait(PATIENCE_SECONDS) for child in self.children]


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    try:
        await made.open()
        yield made
    finally:
        made.close()


async def test_the_ror_is_told_once_and_units_show_says_so(house: House) -> None:
    register = Register()
    async with serving(register) as url:
        house.settings(url)
        (unknown,) = told_of(house.folder / "ror.toml", UNIT)
        assert "aucun envoi n’a encore eu lieu" in unknown

        rehearsed = await house.run("ror", "push", "--config", "ror.toml", "--dry-run", "--json", "all")
        rows = json.loads(rehearsed.stdout)
        assert {(one["operation"], one["place"]) for one in rows} == {("replace", PLACE)}
        assert {(one["indicator"], one["count"]) for one in rows} == {
            ("Disponible, Courant, Femme", 0),
            ("Disponible, Courant, Homme", 0),
            ("Disponible, Courant, Indifférencié", 3),
            ("Occupé, Courant", 9),
        }
        assert register.calls == []
        assert not (house.folder / "ror.db").exists()

        refused = await house.run("ror", "push", "--config", "ror.toml", "--once")
        assert refused.returncode == Exit.PARTIAL
        assert "le GRADeS doit l’attribuer" in refused.stdout
        stands = await house.run("ror", "status", "--config", "ror.toml")
        assert stands.returncode == Exit.PROBLEM_FOUND
        assert "n'a pas été trouvée" in stands.stdout
        assert "le ROR fait foi pendant" in stands.stdout + stands.stderr

        register.places[PLACE] = {}
        again = await house.run("ror", "retry", "--config", "ror.toml")
        assert "4" in again.stdout
        done = await house.run("ror", "push", "--config", "ror.toml", "--once")
        assert done.returncode == Exit.DONE, done.stderr
        assert register.counts(PLACE) == {"02/01/01": 0, "02/01/02": 0, "02/01/03": 3, "03/01/": 9}
        shown = await house.run("units", "show", "U201")
        assert "envoyé au ROR à l’instant" in shown.stdout


async def test_the_publisher_follows_the_node_until_it_is_stopped(house: House) -> None:
    register = Register(places={PLACE: {}})
    async with serving(register) as url:
        house.settings(url)
        publisher = house.start("ror", "push", "--config", "ror.toml")
        await until(lambda: register.counts(PLACE).get("03/01/") == 9, "the first figures")
        await house.count(11)
        await until(lambda: register.counts(PLACE).get("03/01/") == 11, "the figures of the change")
        publisher.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(publisher.wait, PATIENCE_SECONDS) == Exit.DONE


async def test_what_the_endpoint_serves_can_be_checked_and_told_back(house: House) -> None:
    house.write(
        "fhir.toml", 'identity = "fhir"', 'certificate = "node"', f'node = "{house.address}"', 'listen = "127.0.0.1:0"',
    )  # fmt: skip
    server = house.start("fhir", "serve", "--config", "fhir.toml")
    ready = house.folder / "fhir.ready.json"
    await until(ready.exists, "the endpoint is ready")
    base = f"https://127.0.0.1:{msgspec.json.decode(ready.read_bytes())['port']}/fhir"
    served = await get(house, f"{base}/Location?identifier={FINESS}")
    (entry,) = served["entry"]
    assert entry["resource"]["id"] == f"{FINESS}-U201"
    (house.folder / "lits.json").write_text(json.dumps(served))

    checked = await house.run("fhir", "check", "lits.json")
    assert checked.returncode == Exit.DONE, checked.stdout
    told = json.dumps(served).replace('"nbCapacity", "valueInteger": 9', '"nbCapacity", "valueInteger": 7')
    assert told != json.dumps(served)
    (house.folder / "lits.json").write_text(told)
    rehearsed = await house.run("node", "import", "fhir", "lits.json", "--dry-run")
    assert rehearsed.returncode == Exit.DONE, rehearsed.stderr
    imported = await house.run("node", "import", "fhir", "lits.json")
    assert imported.returncode == Exit.DONE, imported.stderr

    async def seven() -> bool:
        again = await get(house, f"{base}/MeasureReport/{FINESS}")
        return bool(again["group"][0]["population"][1]["count"] == 7)

    await until(seven, "the endpoint shows what was told")

    server.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.wait, PATIENCE_SECONDS) == Exit.DONE
    assert not ready.exists()


async def get(house: House, url: str) -> Json:
    context = ssl.create_default_context(cafile=str(house.folder / "cadre" / "trust.pem"))
    context.load_cert_chain(house.folder / "cadre" / "cert.pem", house.folder / "cadre" / "key.pem")
    name = node_dns_name(TERRITORY, FINESS)

    async def answered() -> bool:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.get(url, server_hostname=name) as answer,
        ):
            assert answer.status == 200, await answer.text()
            held.append(await answer.json(content_type="application/fhir+json"))
        return True

    held: list[Json] = []
    await until(answered, url)
    return held[0]


async def test_a_bad_file_is_checked_by_name(tmp_path: Path) -> None:
    def check(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "fr_FR.UTF-8"}
        return subprocess.run(
            [sys.executable, "-m", "aval.adapters.cli", "fhir", "check", *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    bad = good_location()
    bad["extension"] = bad["extension"][1:]
    (tmp_path / "bad.json").write_text(json.dumps(bad))
    done = await asyncio.to_thread(check, "bad.json", "--json", "path,severity")
    assert done.returncode == Exit.PROBLEM_FOUND
    assert json.loads(done.stdout) == [{"path": "Location.extension[ror-commune-cog]", "severity": "error"}]
    assert (await asyncio.to_thread(check, "absent.json")).returncode == Exit.NOT_FOUND
    (tmp_path / "none.json").write_text("[]")
    assert (await asyncio.to_thread(check, "none.json")).returncode == Exit.USAGE
