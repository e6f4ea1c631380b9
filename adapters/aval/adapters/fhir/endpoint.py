"""The read-only FHIR endpoint: HTTP over mutual TLS, in front of one hub or node.

    GET /fhir/metadata
    GET /fhir/{Organization | HealthcareService | Location | MeasureReport}?_id=&identifier=&_lastUpdated=&_count=
    GET /fhir/{type}/{id}

Every answer is FHIR JSON; whatever is wrong is an OperationOutcome that says what. A parameter that is not served is
refused, for a filter that is ignored gives a wrong answer that looks right (`Prefer: handling=lenient` asks for that).
Pages follow ids: the `next` link bears the last id of its page, so that a page never shifts under its reader.

aiohttp serves: it gives the client's certificate on each request (uvicorn does not), and is the HTTP client of `ror`
too. Certificates are renewed without a restart: new handshakes are served the bundle on disk.
"""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter
from yarl import URL

from aval.adapters.fhir import resources
from aval.adapters.fhir.codes import FINESS_SYSTEM, STRUCTURE_SYSTEM, Json
from aval.adapters.fhir.picture import Pictures
from aval.adapters.fhir.readers import Readers
from aval.adapters.pki import CERTIFICATE_FILE, KEY_FILE
from aval.adapters.telemetry import describe_exception
from aval.adapters.wire.limits import Meters, PeerLimits
from aval.kernel.clock import Clock
from aval.kernel.reasons import Refusal

PAGE_SIZE = 50
"""Resources of a page, unless `_count` says otherwise: with 50 records each some 3.5 MB of Locations, 60 kB packed."""

PAGE_SIZE_MAX = 200
"""A larger `_count` is coerced: a page of Locations is one that `aval node import fhir` still reads."""

URL_LENGTH_MAX = 4_096
"""Longest request line."""

HEADERS_LENGTH_MAX = 8_190
"""Longest header."""

HANDSHAKE_SECONDS = 5.0
"""How long a TLS handshake may take: a stranger holds a connection no longer."""

SHUTDOWN_SECONDS = 5.0
"""How long a stop waits for answers under way."""

READER_LIMITS = PeerLimits(calls_per_second=50.0, calls_burst=200)
"""What one reader may ask for: a territory of 500 units is read in ten pages."""

RETRY_AFTER_SECONDS = 1
"""When to ask again after 429 and 503: a reader's allowance has come back by then, and a server may have."""

CONTENT_TYPE = "application/fhir+json"
JSON_WORDS = ("json", "application/json", "application/fhir+json", "text/json", "*/*", "application/*")

_TOKENS = {"_id": "token", "identifier": "token"}
PARAMETERS = {
    "Organization": {**_TOKENS, "_lastUpdated": "date"},
    "HealthcareService": {**_TOKENS, "organization": "reference", "_lastUpdated": "date"},
    "Location": {**_TOKENS, "organization": "reference", "_lastUpdated": "date"},
    "MeasureReport": {"_id": "token", "_lastUpdated": "date"},
}
"""By resource, its search parameters with their FHIR types. Searched in `meta.lastUpdated`, the identifiers, and
`providedBy` or `managingOrganization`."""

CONTROLS = ("_count", "_after", "_format", "_pretty")
"""Parameters that do not filter. `_after` is ours: it stands in `next` links."""

_DATE = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb|ap)?(\d{4}(?:-\d\d(?:-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:\d\d)?)?)?)?)")


class BadSearch(ValueError):
    """A search that cannot be made; the text says why, `code` is FHIR's issue type."""

    def __init__(self, text: str, code: str = "invalid", status: int = 400) -> None:
        super().__init__(text)
        self.code = code
        self.status = status


class _Fault(Exception):
    """What went wrong and is nobody's request."""

    def __init__(self, fault: Exception) -> None:
        super().__init__(type(fault).__name__)
        self.fault = fault


# --- searching -------------------------------------------------------------------------------------------------------


def interval_of(text: str) -> tuple[str, datetime, datetime]:
    """A FHIR date search value as its prefix and the first instants inside and outside of what it names. A date without
    a zone is UTC's. Raises `BadSearch`."""
    matched = _DATE.fullmatch(text.replace(" ", "+"))
    if matched is None:
        raise BadSearch(f"{text[:50]!r} is no date")
    prefix, date = matched[1] or "eq", matched[2]
    padded = {4: f"{date}-01-01", 7: f"{date}-01"}.get(len(date), date)
    try:
        start = datetime.fromisoformat(padded)
        if start.tzinfo is None:
            start = start.replace(tzinfo=UTC)
        match len(date):
            case 4:
                end = start.replace(year=start.year + 1)
            case 7:
                end = (start + timedelta(days=31)).replace(day=1)
            case 10:
                end = start + timedelta(days=1)
            case _:
                end = start + timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise BadSearch(f"{text[:50]!r} is no date") from None
    return prefix, start, end


def _dated(updated: datetime, text: str) -> bool:
    prefix, start, end = interval_of(text)
    match prefix:
        case "eq" | "ap":
            return start <= updated < end
        case "ne":
            return not start <= updated < end
        case "gt" | "sa":
            return updated >= end
        case "ge":
            return updated >= start
        case "lt" | "eb":
            return updated < start
        case _:
            return updated < end


def _identified(resource: Json, text: str) -> bool:
    """Whether an identifier is `value`, `|value` or `system|value`; FINESS numbers under any of their systems."""
    system, bar, value = text.rpartition("|")
    same = {f"http://{FINESS_SYSTEM.removeprefix('https://')}": FINESS_SYSTEM}
    wanted = same.get(system, system)
    for one in resource.get("identifier", ()):
        if one.get("value") == value and (not bar or one.get("system", "") == wanted):
            return True
    # The place of care of an establishment is found by that establishment's FINESS too.
    finess = value if wanted in (FINESS_SYSTEM, "") else value[1:] if wanted == STRUCTURE_SYSTEM else None
    return bool(finess) and resource["resourceType"] != "Organization" and resource["id"].startswith(f"{finess}-")


def _belongs(resource: Json, text: str) -> bool:
    held = resource.get("providedBy") or resource.get("managingOrganization") or {}
    return bool(held.get("reference") == f"Organization/{text.removeprefix('Organization/')}")


def matches(resource: Json, name: str, values: str) -> bool:
    """Whether a resource fits one parameter; values with commas are alternatives. Raises `BadSearch`."""
    alternatives = values.split(",")
    match name:
        case "_id":
            return resource["id"] in alternatives
        case "identifier":
            return any(_identified(resource, one) for one in alternatives)
        case "organization":
            return any(_belongs(resource, one) for one in alternatives)
        case _:
            updated = datetime.fromisoformat(resource["meta"]["lastUpdated"])
            found = [_dated(updated, one) for one in alternatives]
            return any(found)


# --- the server ------------------------------------------------------------------------------------------------------

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_STATUS = {
    "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "INVALID_ARGUMENT": 400,
    "RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 503, "UNIMPLEMENTED": 501,
}  # fmt: skip
_ISSUE = {401: "login", 403: "forbidden", 404: "not-found", 429: "throttled", 503: "transient", 400: "invalid"}


class Endpoint:
    """The application of one endpoint. `base` is the address that its links bear, from outside."""

    def __init__(
        self,
        readers: Readers,
        pictures: Pictures,
        clock: Clock,
        base: str,
        version: str,
        communes: dict[str, str] | None = None,
        registry: CollectorRegistry | None = None,
        limits: PeerLimits = READER_LIMITS,
    ) -> None:
        self._readers = readers
        self._pictures = pictures
        self._clock = clock
        self.base = base
        self._version = version
        self._communes = communes or {}
        self._since = clock.now()
        self._meters = Meters(limits)
        self._counter = Counter(
            "aval_fhir_requests", "Requests answered.", ["resource", "status"], registry=registry or CollectorRegistry()
        )
        self._log = structlog.get_logger()

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[self._guard], client_max_size=1)
        app.router.add_get("/fhir/metadata", self._metadata)
        app.router.add_get("/fhir/{kind}", self._search)
        app.router.add_get("/fhir/{kind}/{id}", self._read)
        return app

    # --- what every request goes through

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        kind = request.match_info.get("kind", "metadata" if request.path == "/fhir/metadata" else "")
        try:
            answer = await self._watched(request, handler)
        except Refusal as refusal:
            code = getattr(refusal, "code", refusal.reason.row.code)
            status = _STATUS.get(code, 500)
            reason = getattr(refusal, "reason_text", "") or refusal.reason.value
            problem = "; ".join(f"{key}={value}" for key, value in refusal.metadata.items())
            text = f"{reason}: {refusal.reason.row.text}" + (f" ({problem})" if problem else "")
            answer = _wrong(status, _ISSUE.get(status, "exception"), text)
        except BadSearch as error:
            answer = _wrong(error.status, error.code, str(error))
        except web.HTTPException as error:
            code = {404: "not-found", 405: "not-supported"}.get(error.status, "invalid")
            answer = _wrong(error.status, code, error.reason)
        except _Fault as fault:
            self._log.error("fhir-fault", path=request.path, **describe_exception(fault.fault))
            answer = _wrong(500, "exception", "an error of the endpoint, written to its log")
        self._counter.labels(kind if kind in (*PARAMETERS, "metadata") else "other", str(answer.status)).inc()
        return answer

    async def _watched(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """The answer; what is no refusal becomes a `_Fault`, of which the reader is told nothing more."""
        try:
            return await self._answer(request, handler)
        except (Refusal, BadSearch, web.HTTPException):
            raise
        except Exception as fault:
            raise _Fault(fault) from fault

    async def _answer(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        transport = request.transport
        tls = transport.get_extra_info("ssl_object") if transport is not None else None
        peer = self._readers.identify(tls.getpeercert(binary_form=True) if tls is not None else None)
        self._meters.begin(peer.identity, self._clock.monotonic())
        if request.method not in ("GET", "HEAD"):
            return _wrong(405, "not-supported", "this endpoint is read only")
        # A `+` that a client did not encode in `_format` arrives as a space.
        wanted = request.query.get("_format", "").replace(" ", "+") or request.headers.get("Accept") or "*/*"
        words = [word.split(";")[0].strip().lower() for word in wanted.split(",")]
        if not any(word in JSON_WORDS for word in words):
            return _wrong(406, "not-supported", "this endpoint speaks JSON: application/fhir+json")
        if request.path != "/fhir/metadata":
            self._readers.admit(peer, (await self._pictures.now()).ght)
        answer = await handler(request)
        self._log.info("fhir-read", caller=str(peer.identity), path=request.path, code=str(answer.status))
        return answer

    # --- what is served

    async def _metadata(self, request: web.Request) -> web.StreamResponse:
        return _said(resources.capability_statement(self.base, self._version, PARAMETERS, self._since))

    async def _read(self, request: web.Request) -> web.StreamResponse:
        kind, wanted = request.match_info["kind"], request.match_info["id"]
        for one in await self._all(kind):
            if one["id"] == wanted:
                return _said(one)
        return _wrong(404, "not-found", f"no {kind} has this id, or it is not shown to you")

    async def _search(self, request: web.Request) -> web.StreamResponse:
        kind = request.match_info["kind"]
        everything = await self._all(kind)
        lenient = "handling=lenient" in request.headers.get("Prefer", "")
        filters: list[tuple[str, str]] = []
        used: list[tuple[str, str]] = []
        for name, value in request.query.items():
            if name in PARAMETERS[kind]:
                filters.append((name, value))
            elif name not in CONTROLS:
                if lenient:
                    continue
                known = ", ".join((*PARAMETERS[kind], "_count"))
                raise BadSearch(f"{name[:50]!r} cannot be searched for in {kind}; known: {known}", "not-supported")
            used.append((name, value))
        found = [one for one in everything if all(matches(one, *filtered) for filtered in filters)]
        size = _page_size(request.query.get("_count"))
        after = request.query.get("_after", "")
        rest = [one for one in found if one["id"] > after]
        page = rest[:size]
        # Links say what was searched for: one that bears a filter which was ignored would promise what it does not do.
        links = {"self": self._link(kind, used)}
        if size and len(rest) > size:
            onward = [(name, value) for name, value in used if name != "_after"]
            links["next"] = self._link(kind, [*onward, ("_after", page[-1]["id"])])
        return _said(resources.bundle(self.base, page, len(found), links))

    async def _all(self, kind: str) -> list[Json]:
        if kind not in PARAMETERS:
            text = f"{kind[:50]!r} is not served here; known: {', '.join(PARAMETERS)}"
            raise BadSearch(text, "not-supported", status=404)
        return (await self._pictures.now()).resources(kind, self._communes)

    def _link(self, kind: str, query: list[tuple[str, str]]) -> str:
        return str(URL(f"{self.base}/{kind}").with_query(query))


def _page_size(text: str | None) -> int:
    if text is None:
        return PAGE_SIZE
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise BadSearch("_count is a whole number")
    return min(int(text), PAGE_SIZE_MAX)


def _said(resource: Json) -> web.Response:
    answer = web.json_response(resource, content_type=CONTENT_TYPE)
    answer.enable_compression()  # for readers that take it: records repeat each other, and pack sixtyfold
    return answer


def _wrong(status: int, code: str, text: str) -> web.Response:
    answer = web.json_response(resources.outcome(code, text), status=status, content_type=CONTENT_TYPE)
    if status == 405:
        answer.headers["Allow"] = "GET, HEAD"
    elif status in (429, 503):
        answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer


# --- TLS -------------------------------------------------------------------------------------------------------------


def tls_of(certificate: Path, trust: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer that shows the certificate in a folder, and demands a client's one under the roots in `trust`.

    The identity with which the endpoint reads is a client's certificate, which no HTTP client takes for a server's:
    hence a certificate of its own, the node's or the hub's, or the house's. Sessions are not resumed: a resumed one
    would bring back a client's certificate that no handshake looks at. Raises OSError, ssl.SSLError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.load_verify_locations(trust)
    renew(context, certificate)
    return context


def renew(context: ssl.SSLContext, certificate: Path) -> None:
    """Shows the certificate that is on disk now to new handshakes; the roots are those of the start."""
    context.load_cert_chain(certificate / CERTIFICATE_FILE, certificate / KEY_FILE)


class Listening:
    """An endpoint that listens. `start`, then `stop`."""

    def __init__(
        self, endpoint: Endpoint, context: ssl.SSLContext | None, handshake_seconds: float = HANDSHAKE_SECONDS
    ) -> None:
        self._runner = web.AppRunner(
            endpoint.application(),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=SHUTDOWN_SECONDS,
            max_line_size=URL_LENGTH_MAX,
            max_field_size=HEADERS_LENGTH_MAX,
        )
        self._context = context
        self._handshake_seconds = handshake_seconds if context is not None else None
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> int:
        """Listens; the port. Raises OSError. aiohttp's own site would leave a handshake a minute."""
        await self._runner.setup()
        protocol = self._runner.server
        if protocol is None:
            raise OSError("the server could not be set up")
        self._server = await asyncio.get_running_loop().create_server(
            protocol, host, port, ssl=self._context, ssl_handshake_timeout=self._handshake_seconds
        )
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self.port

    async def stop(self) -> None:
        """Closes it: no new connection, then the answers under way."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()
