"""Whether an instance is a good one of the ROR's profiles: what it lacks, by name.

The rules are those that the implementation guide states for `ror-organization`, `ror-healthcareservice`, `ror-location`
and `ror-location-supported-capacity`: elements that must be there (minimum 1) and elements that must be supported.
One that must be there and is not is an error; one that is only must-support, or that is given as absent with its
reason, is told as information. Records of capacity are read too, so that a code outside its list (status 07 among
them), a count that is no integer or an indicator said twice is an error.

This is not FHIR's general validation: cardinalities and types of the base resources are the business of a library
(`tests/adapters/fhir` holds all that we emit against one).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aval.adapters.fhir.capacity import WORD_MAX, RecordUnreadable, capacity_of
from aval.adapters.fhir.codes import ABSENT_URL, CAPACITY_URL, FIELD_SYSTEM, FIELDS, PROFILES

PROBLEMS_MAX = 1_000
"""Problems told of one file: whoever sent it has enough to do with those."""


class Severity(StrEnum):
    """As in an OperationOutcome."""

    ERROR = "error"
    INFORMATION = "information"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where: `path` in the terms of the profile, `Location.extension[ror-commune-cog]`. `what` is a
    key of `counts.sentences`."""

    severity: Severity
    path: str
    what: str
    details: Mapping[str, str] = field(default_factory=dict)


_META = ("meta.lastUpdated!", "meta.tag[TRE_R30]")
_TELECOM = (
    "{}",
    "{}.value!",
    "{}.extension[ror-telecom-communication-channel]!",
    "{}.extension[ror-telecom-confidentiality-level]!",
    "{}.extension[ror-telecom-usage]",
)


def _telecom(path: str) -> tuple[str, ...]:
    return tuple(rule.format(path) for rule in _TELECOM)


ELEMENTS: Mapping[str, tuple[str, ...]] = {
    "Organization": (
        *_META,
        "name",
        "alias",
        "partOf",
        "identifier",
        "identifier[40]",
        "identifier[1]",
        "identifier[3]",
        "identifier.type!",
        "type",
        "contact.name",
        "contact.purpose",
        "contact.extension[ror-contact-function-contact]",
        "contact.extension[ror-contact-description]",
        "contact.extension[ror-contact-confidentiality-level]",
        *_telecom("contact.telecom"),
        "address",
        "address.postalCode",
        "address.city",
        *_telecom("telecom"),
        "extension[ror-meta-creation-date]!",
        *(
            f"extension[{name}]"
            for name in (
                "ror-organization-price", "ror-territorial-division", "ror-organization-financial-help-type",
                "ror-organization-accomodation-family", "ror-organization-nb-permanent-social-help-place",
                "ror-organization-nb-temporary-social-help-place", "ror-organization-accessibility-location",
                "ror-organization-level-recourse-orsan", "ror-organization-drop-zone",
                "ror-organization-reopening-date", "ror-organization-creation-date", "ror-organization-closing-type",
                "ror-meta-comment", "ror-organization-comment",
            )
        ),
    ),
    "HealthcareService": (
        *_META,
        "identifier!",
        "name",
        "providedBy",
        "location",
        "category",
        "type!",
        "availableTime",
        "availableTime.availableStartTime",
        "availableTime.availableEndTime",
        "availableTime.extension[ror-available-time-type-of-time]",
        "availableTime.extension[ror-available-time-effective-opening-closing-date]",
        "availableTime.extension[ror-available-time-number-days-of-week]",
        *_telecom("telecom"),
        "characteristic!",
        "characteristic[TRE_R213]!",
        *(
            f"characteristic[{table}]"
            for table in (
                "TRE_R240", "TRE_R338", "TRE_R236", "TRE_R210", "TRE_R245", "TRE_R238", "TRE_R243",
            )
        ),
        "specialty!",
        "specialty[TRE_R211]!",
        "notAvailable",
        "extension[ror-healthcareservice-sensitive-unit]!",
        "extension[ror-healthcareservice-patient-type]!",
        "extension[ror-meta-creation-date]!",
        "extension[ror-territorial-division]",
        "extension[ror-healthcareservice-no-consent-habilitation]",
        "extension[ror-healthcareservice-psychiatric-sector]",
        "extension[ror-healthcareservice-contact]",
    ),
    "Location": (
        *_META,
        "name",
        "description",
        "type",
        "managingOrganization",
        "operationalStatus",
        "partOf",
        "identifier",
        "identifier[26]",
        "identifier[25]",
        "identifier.type!",
        "alias",
        *_telecom("telecom"),
        "position.extension[ror-coordinate-reliability]",
        "extension[ror-commune-cog]!",
        "extension[ror-meta-creation-date]!",
        "extension[ror-location-equipment]",
        "extension[ror-location-residential-capacity]",
        "extension[ror-location-supported-capacity]",
        *(
            f"extension[ror-location-supported-capacity].extension[{name}]!"
            for name in (
                "capacityType", "capacityStatus", "temporalityCapacity", "nbCapacity", "capacitySourceType",
                "capacityUpdateDate", "temporaryAssignement",
            )
        ),
    ),
}  # fmt: skip
"""By resource, the elements of the guide's profiles; `!` marks those with a minimum of 1. An element below another is
looked for in each that is there. A name in brackets chooses among several: an extension by the end of its url, an
identifier by the code of its type, a concept by the table of its system."""

_SEGMENT = re.compile(r"([A-Za-z]+)(?:\[([\w-]+)\])?")


def problems_of(resource: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with an instance, or with each instance of a Bundle."""
    found: list[Problem] = []
    for problem in _problems(resource, ""):
        found.append(problem)
        if len(found) >= PROBLEMS_MAX:
            break
    return found


def _problems(resource: Mapping[str, Any], above: str) -> Iterator[Problem]:
    kind = resource.get("resourceType")
    if kind == "Bundle" and not above:
        entries = resource.get("entry", [])
        for number, entry in enumerate(entries if isinstance(entries, list) else []):
            held = entry.get("resource") if isinstance(entry, dict) else None
            if isinstance(held, dict):
                yield from _problems(held, f"Bundle.entry[{number}].resource ")
        return
    if not isinstance(kind, str) or kind not in ELEMENTS:
        details = {"kind": str(kind)[:WORD_MAX], "kinds": ", ".join(ELEMENTS)}
        yield Problem(Severity.ERROR, f"{above}resourceType", "fhir-kind", details)
        return
    profile = f"{PROFILES}ror-{kind.lower()}"
    meta = resource.get("meta")
    if not isinstance(meta, dict) or profile not in _list(meta.get("profile")):
        yield Problem(Severity.INFORMATION, f"{above}{kind}.meta.profile", "fhir-no-profile", {"profile": profile})
    for rule in ELEMENTS[kind]:
        path = rule.removesuffix("!")
        yield from _look(resource, path.split("."), f"{above}{kind}", required=rule.endswith("!"))
    if kind == "Location":
        yield from _records(resource, above)
    if kind == "HealthcareService":
        yield from _field(resource, above)


def _look(element: Mapping[str, Any], path: list[str], above: str, *, required: bool) -> Iterator[Problem]:
    """Whether the element of a path is there; below one that is not there nothing is said."""
    matched = _SEGMENT.fullmatch(path[0])
    name, choice = matched.groups() if matched else (path[0], None)
    found = _chosen(element, name, choice)
    if len(path) > 1:
        for number, one in enumerate(found):
            if isinstance(one, dict):
                where = f"{above}.{path[0]}" if len(found) == 1 else f"{above}.{path[0]}({number + 1})"
                yield from _look(one, path[1:], where, required=required)
        return
    if not found:
        severity = Severity.ERROR if required else Severity.INFORMATION
        yield Problem(severity, f"{above}.{path[0]}", "fhir-required" if required else "fhir-supported")
    elif (reason := _absent_reason(element, name, found)) is not None:
        what = "fhir-given-absent" if reason else "fhir-no-value"
        yield Problem(Severity.INFORMATION, f"{above}.{path[0]}", what, {"reason": reason})


def _list(value: object) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _chosen(element: Mapping[str, Any], name: str, choice: str | None) -> list[Any]:
    found = _list(element.get(name)) or _list(element.get(f"_{name}"))
    if choice is None:
        return found
    chosen = [one for one in found if isinstance(one, dict) and choice in _labels(one, name)]
    if chosen or name not in ("characteristic", "specialty", "identifier"):
        return chosen
    # A concept that is given as absent stands for the one that the profile demands, since it can have no system.
    return [one for one in found if isinstance(one, dict) and _reason(one) is not None]


def _labels(one: Mapping[str, Any], name: str) -> set[str]:
    """What an element can be chosen by."""
    if name == "extension":
        url = one.get("url")
        return {url.rpartition("/")[2]} if isinstance(url, str) else set()
    if name == "identifier":
        return {str(coding.get("code")) for coding in _codings(one.get("type"))}
    codings = [one] if name == "tag" else _codings(one)
    tables = (re.search(r"TRE_R\d+", str(coding.get("system"))) for coding in codings)
    return {table.group() for table in tables if table is not None}


def _codings(concept: object) -> list[Mapping[str, Any]]:
    codings = concept.get("coding") if isinstance(concept, dict) else None
    return [one for one in _list(codings) if isinstance(one, dict)]


def _reason(value: object) -> str | None:
    """Why a value is absent, if that is what it says."""
    if not isinstance(value, dict):
        return None
    for one in _list(value.get("extension")):
        if isinstance(one, dict) and one.get("url") == ABSENT_URL:
            return str(one.get("valueCode"))
    return None


def _absent_reason(element: Mapping[str, Any], name: str, found: list[Any]) -> str | None:
    """Why an element is absent; empty where nobody says, None where it is not."""
    if name not in element:
        return _reason(element.get(f"_{name}")) or ""
    one = found[0]
    if not isinstance(one, dict):
        return None
    if name == "extension":
        values = (one, *(value for key, value in one.items() if key.lstrip("_").startswith("value")))
        return next((reason for value in values if (reason := _reason(value)) is not None), None)
    return _reason(one)


def _records(resource: Mapping[str, Any], above: str) -> Iterator[Problem]:
    met: set[str] = set()
    number = 0
    for extension in _list(resource.get("extension")):
        if not isinstance(extension, dict) or extension.get("url") != CAPACITY_URL:
            continue
        number += 1
        path = f"{above}Location.extension[ror-location-supported-capacity]({number})"
        try:
            key = capacity_of(extension).indicator.key
        except RecordUnreadable as error:
            yield Problem(Severity.ERROR, f"{path}.{error.element}", error.what, error.details)
            continue
        if key in met:
            yield Problem(Severity.ERROR, path, "fhir-indicator-twice", {"key": key})
        met.add(key)


def _field(resource: Mapping[str, Any], above: str) -> Iterator[Problem]:
    for one in _list(resource.get("type")):
        for coding in _codings(one):
            if coding.get("system") == FIELD_SYSTEM and coding.get("code") not in {*FIELDS, "05", "06"}:
                word = str(coding.get("code"))[:WORD_MAX]
                yield Problem(Severity.ERROR, f"{above}HealthcareService.type", "fhir-field", {"word": word})
