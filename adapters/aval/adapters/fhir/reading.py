"""Reads FHIR resources from bytes: bounded, and with an error that a person can act on.

What is read is somebody else's: no size, depth, type or number in it is trusted. Everything that cannot be taken ends
in `Unreadable` or in the problems of its own Location, and never in another exception.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from aval.adapters.counts.rows import BadCell
from aval.adapters.fhir.capacity import Capacity, RecordUnreadable, capacity_of
from aval.adapters.fhir.codes import CAPACITY_URL

FILE_BYTES_MAX = 16 * 1024 * 1024
"""Largest file: 500 Locations with 20 records each are 15 MB."""

LOCATIONS_MAX = 1_000
"""Locations of one file: an establishment has 1,000 units at most."""

TEXT_LENGTH_MAX = 200
"""Longest identifier or name that is kept of what was read."""


class Unreadable(BadCell):
    """Not a FHIR resource that can be taken: `what` says why, `line` where it is one of several lines."""

    def __init__(self, what: str, line: int = 0, **details: object) -> None:
        super().__init__(what, **{name: str(value)[:TEXT_LENGTH_MAX] for name, value in details.items()})
        self.line = line


@dataclass(frozen=True, slots=True)
class RecordProblem:
    """What is wrong with a record of a Location, the `record`-th from 1: in which element, if it is in one."""

    record: int
    element: str
    what: str
    details: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ReadLocation:
    """A Location as read. `external` is its identifier of type 26, else the first, else its id; `problems` name what of
    it cannot be taken; `status` is empty where none is said."""

    external: str
    name: str
    capacities: tuple[Capacity, ...]
    problems: tuple["RecordProblem", ...]
    status: str = ""


def resource_of(content: bytes) -> dict[str, Any]:
    """The resource in a file or a message; those of a file with one on each line (NDJSON) as a Bundle. Raises
    `Unreadable`."""
    if len(content) > FILE_BYTES_MAX:
        raise Unreadable("too-large", bytes=len(content), bytes_max=FILE_BYTES_MAX)
    body = content.removeprefix(b"\xef\xbb\xbf").strip()
    if body.startswith(b"<"):
        raise Unreadable("fhir-xml")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Unreadable("fhir-encoding", byte=error.start) from None
    if _LINES.search(body):
        lines = enumerate(body.split(b"\n"), 1)
        held = [_resource(one, number) for number, one in lines if one.strip()]
        return {"resourceType": "Bundle", "entry": [{"resource": one} for one in held]}
    return _resource(body)


_LINES = re.compile(rb"\}\s*\n\s*\{")
"""Where a resource ends and another begins on a line of its own."""

_BYTE = re.compile(r"\(byte (\d+)\)")
"""Where the decoder says that it could not go on."""


def _resource(content: bytes, line: int = 0) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(content)
    except RecursionError:
        raise Unreadable("fhir-depth", line) from None
    except msgspec.DecodeError as error:
        at = _BYTE.search(str(error))
        raise Unreadable("fhir-json", line, byte=at[1] if at else len(content)) from None
    if isinstance(decoded, list):
        raise Unreadable("fhir-list", line)
    if not isinstance(decoded, dict) or not isinstance(decoded.get("resourceType"), str):
        raise Unreadable("fhir-no-resource", line)
    return decoded


def locations_of(resource: Mapping[str, Any]) -> list[ReadLocation]:
    """The Locations of a Bundle, or the one that the resource is. Raises `Unreadable`."""
    found: list[ReadLocation] = []
    for one in _resources(resource):
        if one.get("resourceType") != "Location":
            continue
        if len(found) == LOCATIONS_MAX:
            raise Unreadable("fhir-locations", max=LOCATIONS_MAX)
        found.append(location_of(one))
    if not found:
        raise Unreadable("fhir-no-location", kind=resource["resourceType"])
    return found


def _resources(resource: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if resource["resourceType"] != "Bundle":
        yield resource
        return
    entries = resource.get("entry", [])
    if not isinstance(entries, list):
        raise Unreadable("fhir-entry")
    for number, entry in enumerate(entries):
        if isinstance(entry, dict) and "resource" not in entry:
            continue  # of a history: what was deleted
        held = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(held, dict):
            raise Unreadable("fhir-entry-empty", number=number)
        yield held


def next_page_of(resource: Mapping[str, Any]) -> bool:
    """Whether a Bundle says that there are further pages, which a file does not hold."""
    links = resource.get("link")
    return any(
        isinstance(link, dict) and link.get("relation") == "next" for link in (links if isinstance(links, list) else ())
    )


def location_of(resource: Mapping[str, Any]) -> ReadLocation:
    """A Location, with what of it cannot be taken. Never raises."""
    capacities: dict[str, Capacity] = {}
    problems: list[RecordProblem] = []
    extensions = resource.get("extension")
    number = 0
    for extension in extensions if isinstance(extensions, list) else ():
        if not isinstance(extension, dict) or extension.get("url") != CAPACITY_URL:
            continue
        number += 1
        try:
            capacity = capacity_of(extension)
        except RecordUnreadable as error:
            problems.append(RecordProblem(number, error.element, error.what, error.details))
            continue
        if capacity.indicator.key in capacities:
            problems.append(RecordProblem(number, "", "fhir-indicator-twice", {"key": capacity.indicator.key}))
        capacities[capacity.indicator.key] = capacity
    records, status = tuple(capacities.values()), _text(resource.get("status"))
    return ReadLocation(_external(resource), _text(resource.get("name")), records, tuple(problems), status)


def _text(value: object) -> str:
    return value[:TEXT_LENGTH_MAX] if isinstance(value, str) else ""


def _external(resource: Mapping[str, Any]) -> str:
    identifiers = resource.get("identifier")
    values: dict[str, str] = {}
    for one in identifiers if isinstance(identifiers, list) else ():
        if not isinstance(one, dict):
            continue
        kind = one.get("type")
        codings = kind.get("coding") if isinstance(kind, dict) else None
        code = next((c.get("code") for c in codings if isinstance(c, dict)), "") if isinstance(codings, list) else ""
        if value := _text(one.get("value")):
            values.setdefault(code if isinstance(code, str) else "", value)
    return values.get("26") or next(iter(values.values()), "") or _text(resource.get("id"))
