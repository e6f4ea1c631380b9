"""The endpoint over real mutual TLS: what it serves is FHIR, who may read is decided as everywhere, errors say what."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from fhir.resources.R4B import get_fhir_model_class
from prometheus_client import CollectorRegistry

from aval.adapters.clock import SystemClock
from aval.adapters.fhir.endpoint import READER_LIMITS, BadSearch, Endpoint, Listening, interval_of, renew, tls_of
from aval.adapters.fhir.picture import READ_AGAIN_SECONDS, Pictures
from aval.adapters.fhir.readers import Readers
from aval.adapters.pki import Authority, issue, make_authority
from aval.adapters.wire.limits import PeerLimits
from aval.adapters.wire.peers import FileDenyList
from aval.kernel.access import Server
from aval.kernel.finess import FinessET
from aval.kernel.identity import (
    Adapter,
    EstablishmentDesk,
    HubDesk,
    HubOperator,
    HubReplica,
    Identity,
    Node,
    Staff,
    Territory,
)
from aval.kernel.reasons import Reason, Refusal
from aval.v1 import availability_pb2
from tests.adapters.fhir import node
from tests.adapters.fhir.units import FINESS, HOUSE, NOW, establishment, unit
from tests.waiting import PATIENCE_SECONDS, until

HERE, THERE = Territory("ge-10.aval.internal"), Territory("ge-11.aval.internal")
NANCY, LUNEVILLE, PARTNER = FinessET(FINESS), FinessET("540000080"), FinessET("540000312")
Json = dict[str, Any]
clock = SystemClock()


class Stage:
    """An authority, a server of units, an endpoint of any identity, and readers."""

    def __init__(self, folder: Path, closing: AsyncExitStack) -> None:
        self.folder = folder
        self.closing = closing
        self.authority, _ = make_authority(HERE, clock.now())
        self.other, _ = make_authority(THERE, clock.now())
        self.registry = CollectorRegistry()
        self.served = node.Serving()
        self.served.put(unit(), unit(f"{HOUSE}/units/U108"), unit(f"establishments/{LUNEVILLE}/units/S1"))
        partner = establishment(f"establishments/{PARTNER}")
        partner.membership = availability_pb2.MEMBERSHIP_PARTNER
        self.served.houses[partner.name] = partner
        self.context: ssl.SSLContext | None = None
        self.endpoint: Endpoint | None = None

    def bundle(self, identity: Identity, authority: Authority | None = None, days: float = 30, back: float = 0) -> Path:
        folder = self.folder / str(identity.territory) / identity.path.replace("/", "-")
        first = clock.now() - timedelta(days=back, minutes=5)
        last = clock.now() + timedelta(days=days)
        issue(authority or self.authority, identity, clock.now(), not_before=first, not_after=last).write(folder)
        return folder

    async def open(
        self,
        own: Identity,
        beside: Server,
        *,
        operators: tuple[str, ...] = (),
        deny_list: FileDenyList | None = None,
        limits: PeerLimits = READER_LIMITS,
        handshake_seconds: float = PATIENCE_SECONDS,
    ) -> str:
        line = await self.closing.enter_async_context(node.serving(self.served))
        readers = Readers(own, beside, clock, operators, deny_list)
        self.endpoint = Endpoint(
            readers,
            Pictures(line, clock),
            clock,
            "https://aval.example/fhir",
            "0.1.0",
            {str(NANCY): "54395"},
            registry=self.registry,
            limits=limits,
        )
        self.shown: Identity = HubReplica(HERE, 0) if beside is Server.HUB else Node(HERE, NANCY)
        shown = self.bundle(self.shown)
        self.context = tls_of(shown, shown / "trust.pem")
        listening = Listening(self.endpoint, self.context, handshake_seconds=handshake_seconds)
        await listening.start("127.0.0.1", 0)
        self.closing.push_async_callback(listening.stop)
        return f"https://127.0.0.1:{listening.port}/fhir"

    def session(self, identity: Identity | None, bundle: Path | None = None) -> aiohttp.ClientSession:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust = self.folder / "trust.pem"
        trust.write_bytes(self.authority.trust_pem)
        context.load_verify_locations(trust)
        if identity is not None:
            folder = bundle or self.bundle(identity, self.other if identity.territory == THERE else None)
            context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))

    @property
    def name(self) -> str:
        """The name that the server's certificate bears."""
        return self.shown.dns_name or ""

    async def status(self, url: str, identity: Identity | None) -> tuple[int, Json]:
        async with self.session(identity) as session, session.get(url, server_hostname=self.name) as answer:
            return answer.status, await answer.json(content_type="application/fhir+json")


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as closing:
        yield Stage(tmp_path, closing)


MARIE = Staff(HERE, NANCY, "marie")
FHIR = HubOperator(HERE, "fhir")
CELL = HubOperator(HERE, "cellule")


@pytest_asyncio.fixture
async def at_hub(stage: Stage) -> str:
    return await stage.open(FHIR, Server.HUB, operators=("cellule",))


async def get(stage: Stage, url: str) -> Json:
    status, said = await stage.status(url, CELL)
    assert status == 200, said
    get_fhir_model_class(said["resourceType"]).model_validate_json(json.dumps(said))
    return said


# --- what is served --------------------------------------------------------------------------------------------------


async def test_metadata_says_what_is_served(stage: Stage, at_hub: str) -> None:
    said = await get(stage, f"{at_hub}/metadata")
    assert said["fhirVersion"] == "4.0.1"
    assert [one["type"] for one in said["rest"][0]["resource"]] == [
        "Organization", "HealthcareService", "Location", "MeasureReport",
    ]  # fmt: skip


async def test_an_establishment_is_found_by_its_finess(stage: Stage, at_hub: str) -> None:
    for identifier in (FINESS, f"https://finess.esante.gouv.fr|{FINESS}", f"http://finess.esante.gouv.fr|{FINESS}"):
        said = await get(stage, f"{at_hub}/Organization?identifier={identifier}")
        assert [one["resource"]["id"] for one in said["entry"]] == [FINESS]
    assert (await get(stage, f"{at_hub}/Organization?identifier=urn:other|{FINESS}"))["total"] == 0
    assert (await get(stage, f"{at_hub}/Organization/{FINESS}"))["name"] == "CHRU de Nancy"


async def test_a_place_is_found_by_its_own_identifier_and_by_its_houses(stage: Stage, at_hub: str) -> None:
    said = await get(stage, f"{at_hub}/Location?identifier=1{FINESS}/U107")
    (entry,) = said["entry"]
    records = [one for one in entry["resource"]["extension"] if "supported-capacity" in one["url"]]
    assert len(records) == 20
    assert entry["fullUrl"] == f"https://aval.example/fhir/Location/{FINESS}-U107"
    for query in (f"identifier={FINESS}", f"organization={FINESS}", f"organization=Organization/{FINESS}"):
        assert (await get(stage, f"{at_hub}/Location?{query}"))["total"] == 2
        assert (await get(stage, f"{at_hub}/HealthcareService?{query}"))["total"] == 2
    assert "54395" in json.dumps(entry)


async def test_pages_follow_each_other_and_hold_everything_once(stage: Stage, at_hub: str) -> None:
    url: str | None = f"{at_hub}/Location?_count=1"
    seen: list[str] = []
    while url is not None:
        said = await get(stage, url)
        assert said["total"] == 3
        seen += [one["resource"]["id"] for one in said["entry"]]
        following = [one["url"] for one in said["link"] if one["relation"] == "next"]
        url = following[0].replace("https://aval.example/fhir", at_hub) if following else None
    assert seen == [f"{FINESS}-U107", f"{FINESS}-U108", f"{LUNEVILLE}-S1"]


@pytest.mark.parametrize(
    ("date", "found"),
    [
        ("ge2026-11-24", 2), ("gt2026-11-24", 0), ("lt2026-11-24", 1), ("le2026-11-24", 3), ("2026-11", 2),
        ("ne2026-11", 1), ("2026", 3), ("gt2026-11-24T09:29:59Z", 2), ("eq2026-11-24T10:30:00%2B01:00", 2),
        ("sa2026-11-23", 2), ("eb2026-11-24", 1), ("2026-10-01,2026-11-24", 2),
    ],
)  # fmt: skip
async def test_what_changed_since_is_found(stage: Stage, at_hub: str, date: str, found: int) -> None:
    old = unit(f"establishments/{LUNEVILLE}/units/S1", as_of=NOW - timedelta(days=40))
    stage.served.put(old)
    assert (await get(stage, f"{at_hub}/Location?_lastUpdated={date}"))["total"] == found


async def test_beds_are_reported_in_saners_form(stage: Stage, at_hub: str) -> None:
    said = await get(stage, f"{at_hub}/MeasureReport/{FINESS}")
    assert said["group"][0]["population"][0]["count"] == 40


async def test_bursts_of_requests_are_one_reading(stage: Stage, at_hub: str) -> None:
    begun = clock.monotonic()
    for _ in range(5):
        await get(stage, f"{at_hub}/Organization")
    readings = 1 + (clock.monotonic() - begun) // READ_AGAIN_SECONDS
    assert stage.served.lists <= 2 * readings  # two pages each


# --- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("Location/540000023-U999", 404, "not-found"),
        ("Patient", 404, "not-supported"),
        ("Location?name=A", 400, "not-supported"),
        ("Location?_lastUpdated=yesterday", 400, "invalid"),
        ("Location?_lastUpdated=2026-13", 400, "invalid"),
        ("Location?_count=many", 400, "invalid"),
        ("Location?_format=xml", 406, "not-supported"),
        ("Location/a/b", 404, "not-found"),
        ("", 404, "not-found"),
    ],
)
async def test_what_is_wrong_is_an_operation_outcome(
    stage: Stage, at_hub: str, path: str, status: int, code: str
) -> None:
    answered, said = await stage.status(f"{at_hub}/{path}", CELL)
    assert (answered, said["resourceType"], said["issue"][0]["code"]) == (status, "OperationOutcome", code)


@pytest.mark.parametrize("words", ["json", "application/json", "application/fhir%2Bjson", "application/fhir+json"])
async def test_json_may_be_asked_for_in_any_of_its_names(stage: Stage, at_hub: str, words: str) -> None:
    assert (await stage.status(f"{at_hub}/metadata?_format={words}", CELL))[0] == 200


async def test_what_breaks_inside_is_told_as_such_and_no_more(stage: Stage, at_hub: str) -> None:
    stage.served.houses["spoilt"] = establishment("spoilt")
    status, said = await stage.status(f"{at_hub}/Organization", CELL)
    assert (status, said["issue"][0]["code"]) == (500, "exception")
    assert "spoilt" not in json.dumps(said)


async def test_answers_are_counted_by_resource_and_status(stage: Stage, at_hub: str) -> None:
    await stage.status(f"{at_hub}/Location", CELL)
    await stage.status(f"{at_hub}/Location?name=A", CELL)
    await stage.status(f"{at_hub}/Patient", CELL)

    def counted(resource: str, status: str) -> float | None:
        return stage.registry.get_sample_value("aval_fhir_requests_total", {"resource": resource, "status": status})

    assert (counted("Location", "200"), counted("Location", "400"), counted("other", "404")) == (1, 1, 1)


async def test_a_lenient_reader_may_ask_to_have_a_filter_ignored(stage: Stage, at_hub: str) -> None:
    async with (
        stage.session(CELL) as session,
        session.get(
            f"{at_hub}/Location?name=A&_count=1", headers={"Prefer": "handling=lenient"}, server_hostname=stage.name
        ) as answer,
    ):
        assert answer.status == 200
        links = {one["relation"]: one["url"] for one in (await answer.json(content_type=None))["link"]}
    assert links["self"] == "https://aval.example/fhir/Location?_count=1", "what was ignored is not said to be used"
    assert "name" not in links["next"]


@pytest.mark.parametrize("query", ["_count=0", "_lastUpdated=gt2100-01-01"])
async def test_a_page_that_holds_nothing_has_no_empty_list(stage: Stage, at_hub: str, query: str) -> None:
    status, said = await stage.status(f"{at_hub}/Location?{query}", CELL)
    assert status == 200
    assert "entry" not in said
    get_fhir_model_class("Bundle").model_validate(said)


async def test_answers_are_packed_for_those_who_take_it(stage: Stage, at_hub: str) -> None:
    url, packed = f"{at_hub}/Location", {"Accept-Encoding": "gzip"}
    async with stage.session(CELL) as session:
        async with session.get(url, server_hostname=stage.name, headers={"Accept-Encoding": "identity"}) as plain:
            whole = await plain.read()
        async with session.get(url, server_hostname=stage.name, headers=packed, auto_decompress=False) as answer:
            body = await answer.read()
            assert answer.headers["Content-Encoding"] == "gzip"
        async with session.head(url, server_hostname=stage.name, headers=packed) as head:
            assert (head.status, await head.read()) == (200, b"")
    assert gzip.decompress(body) == whole
    assert len(body) * 10 < len(whole)


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
async def test_nothing_can_be_written(stage: Stage, at_hub: str, method: str) -> None:
    async with (
        stage.session(CELL) as session,
        session.request(method, f"{at_hub}/Location/x", data=b"{}", server_hostname=stage.name) as answer,
    ):
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert (await answer.json(content_type=None))["resourceType"] == "OperationOutcome"


async def test_a_server_that_does_not_answer_is_said(stage: Stage, at_hub: str) -> None:
    stage.served.broken = True
    status, said = await stage.status(f"{at_hub}/Location", CELL)
    assert status in (500, 503)
    assert said["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize("text", ["", "2026-1", "20261124", "xx2026", "2026-11-24T", "9999", "2026-11-24T25:00:00Z"])
def test_dates_that_are_none(text: str) -> None:
    with pytest.raises(BadSearch):
        interval_of(text)


# --- who may read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reader", "status"),
    [
        (CELL, 200),
        (HubOperator(HERE, "inconnu"), 403),
        (HubDesk(HERE), 200),
        (Staff(HERE, NANCY, "marie"), 200),
        (Node(HERE, NANCY), 200),
        (EstablishmentDesk(HERE, NANCY), 200),
        (Adapter(HERE, NANCY, "sih"), 403),
        (Staff(HERE, PARTNER, "paul"), 403),
        (HubReplica(HERE, 1), 403),
    ],
    ids=str,
)
async def test_beside_a_hub_as_its_operator(stage: Stage, at_hub: str, reader: Identity, status: int) -> None:
    answered, said = await stage.status(f"{at_hub}/Location", reader)
    assert answered == status, said


@pytest.mark.parametrize(
    ("reader", "status"),
    [
        (MARIE, 200),
        (EstablishmentDesk(HERE, NANCY), 200),
        (Staff(HERE, LUNEVILLE, "luc"), 403),
        (CELL, 403),
        (HubDesk(HERE), 403),
    ],
    ids=str,
)
async def test_beside_a_hub_as_one_of_a_house(stage: Stage, reader: Identity, status: int) -> None:
    base = await stage.open(MARIE, Server.HUB)
    assert (await stage.status(f"{base}/Location", reader))[0] == status


@pytest.mark.parametrize(
    ("reader", "status"),
    [
        (MARIE, 200),
        (Adapter(HERE, NANCY, "sih"), 200),
        (Node(HERE, NANCY), 200),
        (HubReplica(HERE, 3), 200),
        (Staff(HERE, LUNEVILLE, "luc"), 403),
        (CELL, 403),
    ],
    ids=str,
)
async def test_beside_a_node(stage: Stage, reader: Identity, status: int) -> None:
    base = await stage.open(Adapter(HERE, NANCY, "fhir"), Server.NODE)
    assert (await stage.status(f"{base}/Location", reader))[0] == status


async def test_strangers_do_not_pass_the_handshake(stage: Stage, at_hub: str) -> None:
    for stranger in (None, Staff(THERE, NANCY, "marie")):
        async with stage.session(stranger) as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"{at_hub}/metadata", server_hostname=stage.name)


def test_a_certificate_of_another_territory_is_nobody_even_if_tls_took_it() -> None:
    authority, _ = make_authority(THERE, clock.now())
    made = issue(authority, Staff(THERE, NANCY, "marie"), clock.now())
    der = x509.load_pem_x509_certificate(made.chain_pem).public_bytes(serialization.Encoding.DER)
    with pytest.raises(Refusal) as refused:
        Readers(FHIR, Server.HUB, clock).identify(der)
    assert refused.value.reason is Reason.OTHER_TERRITORY
    for nothing in (None, b"", b"no certificate"):
        with pytest.raises(Refusal) as refused:
            Readers(FHIR, Server.HUB, clock).identify(nothing)
        assert refused.value.reason is Reason.PEER_UNIDENTIFIED


async def test_a_revoked_certificate_is_refused_on_an_open_connection(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "denied.json"
    path.write_text(json.dumps({"issue_time": clock.now().isoformat()}))
    deny_list = FileDenyList(path, clock, None)
    base = await stage.open(FHIR, Server.HUB, operators=("cellule",), deny_list=deny_list)
    async with stage.session(CELL) as session:
        async with session.get(f"{base}/metadata", server_hostname=stage.name) as answer:
            assert answer.status == 200
        certificate = issue_serial(stage, CELL)
        path.write_text(json.dumps({"issue_time": clock.now().isoformat(), "serials": [certificate]}))
        deny_list.refresh()
        async with session.get(f"{base}/metadata", server_hostname=stage.name) as answer:
            assert answer.status == 401
            assert "CERTIFICATE_REVOKED" in (await answer.json(content_type=None))["issue"][0]["diagnostics"]


def issue_serial(stage: Stage, identity: Identity) -> str:
    folder = stage.folder / str(identity.territory) / identity.path.replace("/", "-")
    return f"{x509.load_pem_x509_certificate((folder / 'cert.pem').read_bytes()).serial_number:x}"


async def test_a_renewed_certificate_is_served_to_new_handshakes(stage: Stage, at_hub: str) -> None:
    assert stage.context is not None
    folder = stage.bundle(stage.shown)
    renew(stage.context, folder)
    assert (await stage.status(f"{at_hub}/metadata", CELL))[0] == 200


async def test_a_stranger_that_never_ends_its_handshake_is_dropped(stage: Stage) -> None:
    base = await stage.open(FHIR, Server.HUB, operators=("cellule",), handshake_seconds=0.5)
    port = int(base.split(":")[2].partition("/")[0])
    lines = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
    lines[0][1].write(b"\x16\x03\x01\x02\x00\x01")

    async def is_served() -> bool:
        """Half a second is short for a handshake too: on a slow machine a reader tries again."""
        try:
            return (await stage.status(f"{base}/metadata", CELL))[0] == 200
        except aiohttp.ClientError:
            return False

    await until(is_served, "a reader is served meanwhile")
    for reader, writer in lines:
        assert await asyncio.wait_for(reader.read(), PATIENCE_SECONDS) in (b"", b"\x15\x03\x01\x00\x02\x02\x46")
        writer.close()


async def test_one_reader_cannot_ask_without_end(stage: Stage) -> None:
    few = PeerLimits(calls_per_second=0.001, calls_burst=5)
    base = await stage.open(FHIR, Server.HUB, operators=("cellule",), limits=few)
    async with stage.session(CELL) as session:
        answers = []
        for _ in range(7):
            async with session.get(f"{base}/metadata", server_hostname=stage.name) as answer:
                answers.append((answer.status, answer.headers.get("Retry-After")))
    assert answers == [(200, None)] * 5 + [(429, "1")] * 2
    assert (await stage.status(f"{base}/metadata", HubDesk(HERE)))[0] == 200
