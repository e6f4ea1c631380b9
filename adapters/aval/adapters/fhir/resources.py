"""Instances of the ROR's profiles, from what the contract says of establishments and units.

Ids: an establishment is `Organization/{FINESS}`, its legal entity `Organization/ej-{FINESS EJ}`; a unit is both
`HealthcareService/{FINESS}-{unit}` and `Location/{FINESS}-{unit}`.

What the profiles demand and Aval does not know (the day on which a record was made, the code of a commune, an
operational activity of R211) is given as absent with its reason: never guessed, never left out in silence.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from aval.adapters.fhir import codes
from aval.adapters.fhir.capacity import capacities_of, extension_of, instant
from aval.adapters.fhir.codes import PROFILES, Json, absent, concept
from aval.adapters.figures import known_discipline
from aval.kernel.disciplines import DISCIPLINES, Discipline, Field
from aval.v1 import availability_pb2

FHIR_VERSION = "4.0.1"

LEGAL_ENTITY_PREFIX = "ej-"
"""An establishment and a legal entity have numbers of the same form: their ids say which."""

AVAL_TAGS = "urn:aval:figures"
"""The system of our tags on a Location: `FRESH`, `AGEING`, `STALE`, `UNREACHABLE`; `YES_OR_NO`."""

AGE_MAX_YEARS = 150
"""What the ROR writes where no highest age is said."""


# --- names and ids ---------------------------------------------------------------------------------------------------


def finess_of(name: str) -> str:
    """The FINESS in a resource name of the contract."""
    return name.split("/")[1]


def id_of(unit: str) -> str:
    """The id of a unit's two resources, from its name in the contract."""
    _, finess, _, code = unit.split("/")
    return f"{finess}-{code}"


def external_id(finess: str, code: str) -> str:
    """The ROR's external identifier of a place of care: IdNat_Struct of the establishment, `/`, the unit's code."""
    return f"{codes.STRUCTURE_OF_FINESS}{finess}/{code}"


def _meta(profile: str, updated: datetime) -> Json:
    return {"lastUpdated": instant(updated), "profile": [f"{PROFILES}{profile}"]}


def _not_dated() -> Json:
    return {"url": f"{PROFILES}ror-meta-creation-date", **absent("unknown")}


# --- organizations ---------------------------------------------------------------------------------------------------


def _identifiers(finess: str) -> list[Json]:
    system = codes.STRUCTURE_TYPE_SYSTEM
    return [
        {
            "use": "official",
            "type": concept(system, "40", "Identifiant national de structure"),
            "system": codes.STRUCTURE_SYSTEM,
            "value": f"{codes.STRUCTURE_OF_FINESS}{finess}",
        },
        {"type": concept(system, "1", "FINESS"), "system": codes.FINESS_SYSTEM, "value": finess},
    ]


def organization(establishment: availability_pb2.Establishment, updated: datetime) -> Json:
    """An establishment (a geographic site, ET)."""
    finess = finess_of(establishment.name)
    made: Json = {
        "resourceType": "Organization",
        "id": finess,
        "meta": _meta("ror-organization", updated),
        "extension": [_not_dated()],
        "identifier": _identifiers(finess),
        "active": True,
        "name": establishment.display_name or finess,
    }
    if establishment.legal_entity:
        made["partOf"] = {"reference": f"Organization/{LEGAL_ENTITY_PREFIX}{establishment.legal_entity}"}
    return made


def legal_entity(finess: str, updated: datetime) -> Json:
    """A legal entity (EJ): of it Aval knows the number only."""
    return {
        "resourceType": "Organization",
        "id": f"{LEGAL_ENTITY_PREFIX}{finess}",
        "meta": _meta("ror-organization", updated),
        "extension": [_not_dated()],
        "identifier": _identifiers(finess),
        "active": True,
        "_name": absent("unknown"),
    }


# --- a unit ----------------------------------------------------------------------------------------------------------


def healthcare_service(unit: availability_pb2.Unit) -> Json:
    """What a unit does."""
    finess, code = finess_of(unit.name), unit.name.rpartition("/")[2]
    discipline = known_discipline(unit.discipline)
    label = DISCIPLINES[discipline].label if discipline else ""
    care = codes.care_of(discipline) if discipline else None
    mode = concept(codes.CARE_SYSTEM, care, codes.CARES[care]) if care else absent("unknown")
    return {
        "resourceType": "HealthcareService",
        "id": id_of(unit.name),
        "meta": _meta("ror-healthcareservice", unit.as_of.ToDatetime(tzinfo=UTC)),
        "extension": [
            {"url": f"{PROFILES}ror-healthcareservice-sensitive-unit", **absent("unknown")},
            {
                "url": f"{PROFILES}ror-healthcareservice-patient-type",
                "extension": [{"url": "ageRange", "valueRange": _age_range(unit)}],
            },
            _not_dated(),
        ],
        "identifier": [
            {
                "type": concept(
                    codes.OFFER_TYPE_SYSTEM, "35", "Identifiant fonctionnel de l'offre connu par l'instance ROR"
                ),
                "value": external_id(finess, code),
            }
        ],
        "active": True,
        "providedBy": {"reference": f"Organization/{finess}"},
        "type": [_field(discipline)],
        "specialty": [{**absent("unknown"), **({"text": label} if label else {})}],
        "location": [{"reference": f"Location/{id_of(unit.name)}"}],
        "name": unit.display_name or code,
        "characteristic": [mode],
    }


def _field(discipline: Discipline | None) -> Json:
    field = DISCIPLINES[discipline].field if discipline else None
    if field is None or field.r227 is None:
        return {**absent("not-applicable"), "text": field.value} if field else absent("unknown")
    return concept(codes.FIELD_SYSTEM, field.r227, codes.FIELDS[field.r227])


def _age_range(unit: availability_pb2.Unit) -> Json:
    if not unit.HasField("ages"):
        return absent("unknown")

    def years(value: int) -> Json:
        return {"value": value, "system": codes.AGE_UNIT_SYSTEM, "code": "a"}

    return {"low": years(unit.ages.min_years), "high": years(unit.ages.max_years or AGE_MAX_YEARS)}


def location(
    unit: availability_pb2.Unit,
    establishment: availability_pb2.Establishment | None,
    read_time: datetime,
    commune: str = "",
) -> Json:
    """Where a unit works, with its records of capacity. `commune` is its code in the official geographic list, if the
    settings say one."""
    finess, code = finess_of(unit.name), unit.name.rpartition("/")[2]
    discipline = known_discipline(unit.discipline)
    exact = unit.shown == availability_pb2.SHOWN_EXACT
    place = concept(codes.COMMUNE_SYSTEM, commune, commune) if commune else absent("unknown")
    extensions: list[Json] = [
        {"url": f"{PROFILES}ror-commune-cog", "valueCodeableConcept": place},
        _not_dated(),
        *(extension_of(one) for one in capacities_of(unit, read_time)),
    ]
    if not exact:
        extensions.append({"url": codes.ABSENT_URL, "valueCode": "masked"})
    meta = _meta("ror-location", unit.as_of.ToDatetime(tzinfo=UTC))
    tags = [availability_pb2.Freshness.Name(unit.freshness).removeprefix("FRESHNESS_")] if unit.freshness else []
    if unit.shown == availability_pb2.SHOWN_YES_OR_NO:
        tags.append("YES_OR_NO")
    if tags:
        meta["tag"] = [{"system": AVAL_TAGS, "code": tag} for tag in tags]
    made: Json = {
        "resourceType": "Location",
        "id": id_of(unit.name),
        "meta": meta,
        "extension": extensions,
        "identifier": [
            {
                "type": concept(codes.LOCATION_TYPE_SYSTEM, "26", "Identifiant externe de synchronisation"),
                "value": external_id(finess, code),
            }
        ],
        "status": "active",
        "name": unit.display_name or code,
        "managingOrganization": {"reference": f"Organization/{finess}"},
    }
    if discipline is not None and DISCIPLINES[discipline].is_bed and DISCIPLINES[discipline].field is not Field.HAD:
        made["type"] = [concept(codes.PLACE_SYSTEM, "001", "Hébergement")]
    if establishment is not None and (establishment.latitude or establishment.longitude):
        made["position"] = {"longitude": establishment.longitude, "latitude": establishment.latitude}
    return made


# --- what holds them, and what is wrong ------------------------------------------------------------------------------


def bundle(base: str, entries: Iterable[Json], total: int, links: Mapping[str, str]) -> Json:
    """A page of a search: `links` by relation, `self` and perhaps `next`."""
    made: Json = {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": total,
        "link": [{"relation": relation, "url": url} for relation, url in links.items()],
    }
    page = [
        {"fullUrl": f"{base}/{one['resourceType']}/{one['id']}", "resource": one, "search": {"mode": "match"}}
        for one in entries
    ]
    if page:  # FHIR knows no empty array
        made["entry"] = page
    return made


def outcome(code: str, text: str, expression: str = "", severity: str = "error") -> Json:
    """An OperationOutcome of one issue; `code` of FHIR's list issue-type."""
    issue: dict[str, Any] = {"severity": severity, "code": code, "diagnostics": text}
    if expression:
        issue["expression"] = [expression]
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def capability_statement(base: str, version: str, parameters: Mapping[str, Mapping[str, str]], since: datetime) -> Json:
    """What the endpoint serves: by resource, its search parameters with their FHIR types."""
    resources = [
        {
            "type": kind,
            "interaction": [{"code": "read"}, {"code": "search-type"}],
            "searchParam": [{"name": name, "type": of} for name, of in searched.items()],
            **({"profile": f"{PROFILES}{_PROFILE_OF[kind]}"} if kind in _PROFILE_OF else {}),
        }
        for kind, searched in parameters.items()
    ]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": instant(since),
        "kind": "instance",
        "software": {"name": "Aval", "version": version},
        "implementation": {"description": "Aval: beds of a territory, in the ROR’s form, read only", "url": base},
        "fhirVersion": FHIR_VERSION,
        "format": ["application/fhir+json", "json"],
        "rest": [
            {
                "mode": "server",
                "security": {"description": "Mutual TLS; the caller is known by the URI of its certificate."},
                "resource": resources,
            }
        ],
    }


_PROFILE_OF = {
    "Organization": "ror-organization",
    "HealthcareService": "ror-healthcareservice",
    "Location": "ror-location",
}
