"""Speaks to the ROR: one figure at a time by FHIR PATCH, and what its answers mean.

The guide's rule (« Patch capacitaire », RORLocation): always `replace` first; a 404 whose issue is `not-found` at the
expression of the capacity extension says that the indicator is not there, and asks for an `add`. A 404 at `Location`
says that no place of care bears our identifier, a 412 that several do, a 400 that a business rule is broken: no retry
cures these, and they go to a person, who sees them with the regional operator. All else that fails is tried again.

    PATCH {url}/Location?identifier=1{FINESS}/{unit}

with an access token where one is needed, had from the authorisation server over mutual TLS (RFC 6749, RFC 8705).
"""

import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from aval.adapters.fhir.capacity import ALL_RECORDS_PATH, Capacity, Indicator, extension_of, path_of
from aval.adapters.fhir.codes import CAPACITY_URL, Json
from aval.adapters.fhir.reading import ReadLocation, Unreadable, locations_of, resource_of
from aval.adapters.fhir.settings import AccessSettings, RorSettings
from aval.adapters.pki import CERTIFICATE_FILE, KEY_FILE
from aval.kernel.clock import Clock
from aval.kernel.declared import DeclaredFault

ANSWER_SECONDS_MAX = 20.0
"""How long one answer may take; the outbox waits for nothing else meanwhile."""

ANSWER_BYTES_MAX = 4 * 1024 * 1024
"""Largest answer that is read: one Location with its records is some tens of kB."""

CONNECTIONS_MAX = 2
"""Connections to the ROR at once: figures are sent one by one."""

TEXT_LENGTH_MAX = 500
"""What is kept of the ROR's own words, for the person who reads them."""

TOKEN_MARGIN = timedelta(seconds=30)
"""A token is renewed so long before its end: it must outlive the call that it is used in."""

TOKEN_LIFE_DEFAULT = timedelta(seconds=60)
"""Where the authorisation server says no `expires_in`."""

CONTENT_TYPE = "application/fhir+json"

_TOKEN = re.compile(r"[\x21-\x7e]+", re.ASCII)
"""What a header can bear, more than RFC 6750 allows."""


class Step(StrEnum):
    """What follows from an answer."""

    DONE = "done"
    ADD = "add"
    TOKEN = "token"
    LATER = "later"
    PERSON = "person"


class Trouble(StrEnum):
    """Why a figure has not been taken. `is_of_location`: it holds for every figure of that place of care."""

    NONE = ""
    LOCATION_UNKNOWN = "LOCATION_UNKNOWN"
    LOCATION_NOT_UNIQUE = "LOCATION_NOT_UNIQUE"
    RULE_BROKEN = "RULE_BROKEN"
    INDICATOR_UNKNOWN = "INDICATOR_UNKNOWN"
    NOT_ALLOWED = "NOT_ALLOWED"
    REFUSED = "REFUSED"
    UNREACHABLE = "UNREACHABLE"
    BUSY = "BUSY"

    @property
    def is_of_location(self) -> bool:
        """Whether no other figure of that place needs be tried."""
        return self in (Trouble.LOCATION_UNKNOWN, Trouble.LOCATION_NOT_UNIQUE, Trouble.NOT_ALLOWED)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer means. `text` is the ROR's own words; `after` how long it asks us to wait."""

    step: Step
    trouble: Trouble = Trouble.NONE
    text: str = ""
    after: timedelta | None = None


DONE = Verdict(Step.DONE)


def verdict_of(status: int, body: bytes, after: timedelta | None = None) -> Verdict:
    """What the answer to a PATCH means, by its status and its OperationOutcome. Never raises."""
    if 200 <= status < 300:
        return DONE
    issues = _issues(body)
    text = " ".join(words for issue in issues if (words := _words(issue)))[:TEXT_LENGTH_MAX]
    text = text or f"HTTP {status}"  # an answer without words may be of something on the way: so much a person sees
    match status:
        case 404 if any(_names_capacity(issue) for issue in issues):
            return Verdict(Step.ADD, Trouble.INDICATOR_UNKNOWN, text)
        case 404:
            return Verdict(Step.PERSON, Trouble.LOCATION_UNKNOWN, text)
        case 412:
            return Verdict(Step.PERSON, Trouble.LOCATION_NOT_UNIQUE, text)
        case 400 | 422:
            return Verdict(Step.PERSON, Trouble.RULE_BROKEN, text)
        case 401:
            return Verdict(Step.TOKEN, Trouble.NOT_ALLOWED, text)
        case 403:
            return Verdict(Step.PERSON, Trouble.NOT_ALLOWED, text)
        case 408 | 409 | 425 | 429:
            return Verdict(Step.LATER, Trouble.BUSY, text, after)
        case _ if status >= 500:
            return Verdict(Step.LATER, Trouble.UNREACHABLE, text, after)
        case _:
            return Verdict(Step.PERSON, Trouble.REFUSED, text)


def _issues(body: bytes) -> list[Mapping[str, Any]]:
    try:
        issues = resource_of(body[:ANSWER_BYTES_MAX]).get("issue")
    except Unreadable:
        return []
    return [issue for issue in issues if isinstance(issue, dict)] if isinstance(issues, list) else []


def _words(issue: Mapping[str, Any]) -> str:
    """What an issue says to people: its diagnostics, or else the text of its details."""
    details = issue.get("details")
    said = issue.get("diagnostics") or (details.get("text") if isinstance(details, dict) else "")
    return said if isinstance(said, str) else ""


def _names_capacity(issue: Mapping[str, Any]) -> bool:
    """Whether an issue says that the indicator is missing; its expression is published as a text and as a list."""
    expression = issue.get("expression")
    said = expression if isinstance(expression, list) else [expression]
    return issue.get("code") == "not-found" and any(isinstance(one, str) and CAPACITY_URL in one for one in said)


def _after(retry_after: str, now: datetime) -> timedelta | None:
    """How long we are asked to wait: seconds, or a date (RFC 9110, 10.2.3); a day at most, None where it is neither."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        asked = timedelta(seconds=int(text[:9]))
    else:
        try:
            asked = parsedate_to_datetime(text) - now
        except (ValueError, TypeError, OverflowError):
            return None
    return max(min(asked, timedelta(days=1)), timedelta(0))


# --- what is sent ----------------------------------------------------------------------------------------------------


def operation(kind: str, path: str, capacity: Capacity | None = None) -> Json:
    """The Parameters of one FHIRPath PATCH operation, shaped as the guide shows it: the value's part holds a list of
    extensions."""
    parts: list[Json] = [{"name": "type", "valueString": kind}, {"name": "path", "valueString": path}]
    if capacity is not None:
        parts.append({"name": "value", "part": [{"extension": [extension_of(capacity)]}]})
    return {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": parts}]}


def replace_operation(capacity: Capacity) -> Json:
    """Changes the record of the capacity's indicator."""
    return operation("replace", path_of(capacity.indicator), capacity)


def add_operation(capacity: Capacity) -> Json:
    """Adds a record."""
    return operation("add", ALL_RECORDS_PATH, capacity)


def delete_operation(indicator: Indicator) -> Json:
    """Takes away the record of an indicator that the unit no longer declares."""
    return operation("delete", path_of(indicator))


class TokenRefused(aiohttp.ClientError):
    """The authorisation server gives no token; the text holds its own words. It may yet, so it is asked again."""


class _Access:
    """A way in: connections under one certificate, and the token had with it."""

    def __init__(self, settings: AccessSettings, folder: Path, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._token = ""
        self._token_until: datetime | None = None
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=_tls(settings, folder), limit=CONNECTIONS_MAX),
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX),
        )

    @property
    def has_tokens(self) -> bool:
        """Whether calls bear a token."""
        return bool(self._settings.token_url)

    def forget_token(self) -> None:
        """The token was refused: the next call has a new one."""
        self._token_until = None

    async def headers(self) -> dict[str, str]:
        """The headers of a call. Raises `TokenRefused`, or another `aiohttp.ClientError`, if no token can be had."""
        headers = {"Content-Type": CONTENT_TYPE, "Accept": CONTENT_TYPE}
        if self.has_tokens:
            headers["Authorization"] = f"Bearer {await self._access_token()}"
        return headers

    async def _access_token(self) -> str:
        now = self._clock.now()
        if self._token_until is not None and now < self._token_until:
            return self._token
        form = {"grant_type": "client_credentials", "client_id": self._settings.client_id}
        async with self.session.post(self._settings.token_url, data=form, allow_redirects=False) as answer:
            content = await _content(answer)
            if answer.status != 200:
                words = content[:TEXT_LENGTH_MAX].decode(errors="replace")
                raise TokenRefused(f"no token: HTTP {answer.status} {words}".strip())
        try:
            said = json.loads(content)
            self._token = str(said["access_token"])
            if not _TOKEN.fullmatch(self._token):
                raise ValueError("not a token")
            life = timedelta(seconds=float(said["expires_in"])) if "expires_in" in said else TOKEN_LIFE_DEFAULT
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise TokenRefused("no token in the answer of the authorisation server") from error
        self._token_until = now + life - TOKEN_MARGIN
        return self._token


class Ror:
    """A line to the ROR. Made within a running event loop; `close` closes it."""

    def __init__(self, settings: RorSettings, folder: Path, clock: Clock) -> None:
        """`folder` is that of the settings. Raises `DeclaredFault` for a certificate that cannot be used."""
        self._settings = settings
        self._clock = clock
        self._writing = _Access(settings, folder, clock)
        reading = settings.reading
        own = reading is not None and (reading.certificate or reading.token_url)
        self._reading = _Access(reading, folder, clock) if reading is not None and own else self._writing

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._writing.session.close()
        await self._reading.session.close()

    async def tell(self, external: str, capacity: Capacity) -> Verdict:
        """Tells one figure: `replace`, and `add` where there was none."""
        verdict = await self._patch(external, replace_operation(capacity))
        if verdict.step is Step.ADD:
            verdict = await self._patch(external, add_operation(capacity))
            if verdict.step is Step.ADD:
                return Verdict(Step.PERSON, Trouble.INDICATOR_UNKNOWN, verdict.text)
        return verdict

    async def withdraw(self, external: str, indicator: Indicator) -> Verdict:
        """Takes a figure away; one that is not there is away already."""
        verdict = await self._patch(external, delete_operation(indicator))
        return DONE if verdict.step is Step.ADD else verdict

    async def read(self, external: str) -> ReadLocation | None:
        """The place of care as the ROR has it now; None if it has none, several, or does not answer."""
        reading = self._settings.reading
        if reading is None:
            return None
        try:
            headers = {**await self._reading.headers(), **reading.headers}
            url = _url(reading.url, external)
            async with self._reading.session.get(url, headers=headers, allow_redirects=False) as answer:
                if answer.status == 401:
                    self._reading.forget_token()
                if answer.status != 200:
                    return None
                locations = locations_of(resource_of(await _content(answer)))
        except (aiohttp.ClientError, TimeoutError, Unreadable):
            return None
        return locations[0] if len(locations) == 1 else None

    async def _patch(self, external: str, body: Json) -> Verdict:
        verdict = await self._patch_once(external, body)
        if verdict.step is Step.TOKEN and self._writing.has_tokens:
            self._writing.forget_token()
            verdict = await self._patch_once(external, body)
        if verdict.step is Step.TOKEN:
            return Verdict(Step.PERSON, Trouble.NOT_ALLOWED, verdict.text)
        return verdict

    async def _patch_once(self, external: str, body: Json) -> Verdict:
        # No redirection is followed: what we send is for the address in the settings.
        url, data = _url(self._settings.url, external), json.dumps(body, ensure_ascii=False).encode()
        try:
            headers = await self._writing.headers()
            async with self._writing.session.patch(url, data=data, headers=headers, allow_redirects=False) as answer:
                after = _after(answer.headers.get("Retry-After", ""), self._clock.now())
                return verdict_of(answer.status, await _content(answer), after)
        except TokenRefused as error:
            return Verdict(Step.LATER, Trouble.NOT_ALLOWED, str(error))
        except (aiohttp.ClientError, TimeoutError) as error:
            return Verdict(Step.LATER, Trouble.UNREACHABLE, f"{type(error).__name__} {error}".strip()[:TEXT_LENGTH_MAX])


async def _content(answer: aiohttp.ClientResponse) -> bytes:
    """The body, up to a bound; what lies beyond makes it no JSON."""
    content = bytearray()
    async for chunk in answer.content.iter_chunked(1 << 16):
        content += chunk
        if len(content) > ANSWER_BYTES_MAX:
            break
    return bytes(content)


def _url(base: str, external: str) -> URL:
    """The address of a place of care; yarl encodes the identifier, whose `/` the ROR's own examples leave plain."""
    return URL(base.rstrip("/")) / "Location" % {"identifier": external}


def _tls(settings: AccessSettings, folder: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer (CI-SIS), with our certificate if the ROR asks for one. Raises `DeclaredFault`."""
    try:
        context = ssl.create_default_context(cafile=str(folder / settings.trust) if settings.trust else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.certificate:
            bundle = folder / settings.certificate
            context.load_cert_chain(bundle / CERTIFICATE_FILE, bundle / KEY_FILE)
    except (OSError, ssl.SSLError) as error:
        folders = ", ".join(filter(None, (settings.certificate, settings.trust)))
        raise DeclaredFault(folder, "certificate", "certificate", folder=folders) from error
    return context
