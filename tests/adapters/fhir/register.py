"""A ROR for tests: an HTTP server that takes PATCHes as the guide describes, and errs as the guide publishes.

It reads requests by itself, with regular expressions and plain dictionaries, so that a mistake in how we write them is
not made twice.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

CAPACITY = "https://interop.esante.gouv.fr/ig/fhir/ror/StructureDefinition/ror-location-supported-capacity"
ALL = f"Location.extension.where(url='{CAPACITY}')"
CLAUSE = re.compile(r"extension\.where\(url = '(\w+)' and valueCodeableConcept\.coding\.code = '(\w+)'\)")
NAMED = (
    "capacityStatus", "temporalityCapacity", "genderCapacityAvailable", "capacityClosingType", "additionalBedType",
    "crisisType", "temporaryAssignement",
)  # fmt: skip

Key = tuple[str, ...]
Record = dict[str, Any]


def outcome(code: str, diagnostics: str, expression: object) -> dict[str, Any]:
    issue = {"severity": "error", "code": code, "diagnostics": diagnostics, "expression": expression}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def key_of_path(path: str) -> Key:
    given = dict(CLAUSE.findall(path))
    return tuple(given.get(name, "") for name in NAMED)


def key_of_record(record: Record) -> Key:
    given = {
        part["url"]: part["valueCodeableConcept"]["coding"][0]["code"]
        for part in record["extension"]
        if "valueCodeableConcept" in part
    }
    return tuple(given.get(name, "") for name in NAMED)


def count_of(record: Record) -> int:
    return next(int(part["valueInteger"]) for part in record["extension"] if part["url"] == "nbCapacity")


@dataclass
class Register:
    """Its places of care by their external identifier, each with its records by indicator."""

    places: dict[str, dict[Key, Record]] = field(default_factory=dict)
    twins: set[str] = field(default_factory=set)
    rules_broken: set[str] = field(default_factory=set)
    busy: int = 0
    down: int = 0
    moved: bool = False
    retry_after: str = ""
    token: str = ""
    tokens_given: int = 0
    tokens_say: Any = None
    tokens_status: int = 200
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def counts(self, place: str) -> dict[str, int]:
        """The figures of a place by status, horizon and gender."""
        return {"/".join(key[:3]): count_of(record) for key, record in self.places[place].items()}

    async def patch(self, request: web.Request) -> web.Response:
        place = request.query["identifier"]
        body = await request.json()
        assert request.content_type == "application/fhir+json"
        assert body["resourceType"] == "Parameters"
        (one,) = body["parameter"]
        assert one["name"] == "operation"
        parts = {part["name"]: part for part in one["part"]}
        kind, path = parts["type"]["valueString"], parts["path"]["valueString"]
        self.calls.append((kind, place, "/".join(key_of_path(path)[:3])))
        self.headers.append(dict(request.headers))
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response(outcome("login", "jeton absent ou expiré", []), status=401)
        if self.moved:
            return web.Response(status=307, headers={"Location": str(request.url)})
        if self.busy:
            self.busy -= 1
            return web.Response(status=429, headers={"Retry-After": self.retry_after} if self.retry_after else {})
        if self.down:
            self.down -= 1
            return web.Response(status=503, text="<html>maintenance</html>")
        if place in self.twins:
            text = "La Location recherchée n'est pas unique, il y a '2' résultats"
            return web.json_response(outcome("multiple-matches", text, ["Location"]), status=412)
        if place not in self.places:
            text = (
                "La Location avec l'identifiant externe de synchro OU l'identifiant unique de saisie : "
                f"'{place}' n'a pas été trouvée."
            )
            return web.json_response(outcome("not-found", text, ["Location"]), status=404)
        return self._apply(kind, path, self.places[place], parts.get("value"))

    def _apply(self, kind: str, path: str, records: dict[Key, Record], value: Any) -> web.Response:
        if kind == "add":
            assert path == ALL
            (record,) = value["part"][0]["extension"]
            key = key_of_record(record)
            if key[0] in self.rules_broken:
                text = "Les valeurs du nouvel objet ne correspondent pas à un indicateur valide : capacityStatus: 02"
                return web.json_response(
                    outcome("business-rule", text, [f"Location.extension('{CAPACITY}')"]), status=400
                )
            assert key not in records
            records[key] = record
            return web.Response(status=200)
        key = key_of_path(path)
        if key not in records:
            text = (
                "Les données fournies ne permettent pas de déterminer l'indicateur à mettre à jour: "
                "Aucun indicateur présent en base ne correspond"
            )
            return web.json_response(outcome("not-found", text, ALL), status=404)
        if kind == "delete":
            del records[key]
        else:
            (record,) = value["part"][0]["extension"]
            assert key_of_record(record) == key
            records[key] = record
        return web.Response(status=200, headers={"ETag": 'W/"2"'})

    async def give_token(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["grant_type"] == "client_credentials"
        assert form["client_id"] == "aval-test"
        if self.tokens_say is not None:
            return web.json_response(self.tokens_say, status=self.tokens_status)
        self.tokens_given += 1
        self.token = f"jeton-{self.tokens_given}"
        return web.json_response({"access_token": self.token, "token_type": "Bearer", "expires_in": 300})

    async def read(self, request: web.Request) -> web.Response:
        place = request.query["identifier"]
        found = [{"resource": {"resourceType": "Location", "id": "1", "extension": list(self.places[place].values())}}]
        return web.json_response({"resourceType": "Bundle", "type": "searchset", "entry": found})

    def type_by_hand(self, place: str, short: str, count: int, when: str) -> None:
        """Somebody at the ROR's own screen changes a figure."""
        for key, record in self.places[place].items():
            if "/".join(key[:3]) == short:
                for part in record["extension"]:
                    if part["url"] == "nbCapacity":
                        part["valueInteger"] = count
                    if part["url"] == "capacityUpdateDate":
                        part["valueDateTime"] = when


@asynccontextmanager
async def serving(register: Register) -> AsyncIterator[str]:
    """Serves it on a free port of loopback; the address."""
    app = web.Application()
    app.router.add_patch("/sync/Location", register.patch)
    app.router.add_get("/fhir/Location", register.read)
    app.router.add_post("/token", register.give_token)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    register.url = f"http://127.0.0.1:{port}"
    try:
        yield register.url
    finally:
        await runner.cleanup()
