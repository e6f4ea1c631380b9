"""Good instances of the ROR's profiles, with every element that they demand or that must be supported. Made here."""

from __future__ import annotations

from typing import Any

from aval.adapters.fhir.capacity import capacities_of, extension_of
from aval.adapters.fhir.codes import PROFILES, concept, terminology
from tests.adapters.fhir.units import NOW, unit

Json = dict[str, Any]

LAST_UPDATED = "2026-11-24T09:30:00Z"
EJ_FINESS = "540023264"


def extension(name: str, **value: object) -> Json:
    return {"url": f"{PROFILES}{name}", **value}


def telecom() -> Json:
    table = terminology("TRE_R200-CanalCommunication")
    return {
        "extension": [
            extension("ror-telecom-communication-channel", valueCodeableConcept=concept(table, "2", "Téléphone fixe")),
            extension("ror-telecom-confidentiality-level", valueCodeableConcept=concept(table, "1", "Accès libre")),
            extension("ror-telecom-usage", valueString="secrétariat"),
        ],
        "system": "phone",
        "value": "0383000000",
    }


def meta(profile: str) -> Json:
    return {
        "lastUpdated": LAST_UPDATED,
        "profile": [f"{PROFILES}{profile}"],
        "tag": [{"system": terminology("TRE_R30-RegionOM"), "code": "44"}],
    }


def organization() -> Json:
    kinds = terminology("TRE_G07-TypeIdentifiantStructure")
    named = (
        "ror-organization-price", "ror-territorial-division", "ror-organization-financial-help-type",
        "ror-organization-accomodation-family", "ror-organization-nb-permanent-social-help-place",
        "ror-organization-nb-temporary-social-help-place", "ror-organization-accessibility-location",
        "ror-organization-level-recourse-orsan", "ror-organization-drop-zone", "ror-organization-reopening-date",
        "ror-organization-creation-date", "ror-organization-closing-type", "ror-meta-comment",
        "ror-organization-comment",
    )  # fmt: skip
    return {
        "resourceType": "Organization",
        "id": "540000023",
        "meta": meta("ror-organization"),
        "extension": [
            extension("ror-meta-creation-date", valueDateTime="2020-01-01T00:00:00Z"),
            *(extension(name, valueString="dit") for name in named),
        ],
        "identifier": [
            {"type": concept(kinds, code, code), "system": f"urn:{code}", "value": code} for code in ("40", "1", "3")
        ],
        "type": [concept(terminology("TRE_R66-CategorieEtablissement"), "101", "CHR")],
        "name": "CHRU de Nancy",
        "alias": ["Hôpital central"],
        "partOf": {"reference": f"Organization/ej-{EJ_FINESS}"},
        "telecom": [telecom()],
        "address": [{"city": "NANCY", "postalCode": "54000"}],
        "contact": [
            {
                "extension": [
                    extension(f"ror-contact-{name}", valueString="dit")
                    for name in ("function-contact", "description", "confidentiality-level")
                ],
                "purpose": concept(terminology("TRE_R287-NatureContact"), "06", "Standard"),
                "name": {"text": "Standard"},
                "telecom": [telecom()],
            }
        ],
    }


def healthcare_service() -> Json:
    def coded(table: str, name: str, code: str) -> Json:
        return concept(terminology(f"{table}-{name}"), code, code)

    return {
        "resourceType": "HealthcareService",
        "id": "540000023-U107",
        "meta": meta("ror-healthcareservice"),
        "extension": [
            extension("ror-healthcareservice-sensitive-unit", valueBoolean=False),
            extension("ror-healthcareservice-patient-type", extension=[{"url": "ageRange", "valueRange": {}}]),
            extension("ror-meta-creation-date", valueDateTime="2020-01-01T00:00:00Z"),
            extension("ror-territorial-division", valueString="54"),
            extension("ror-healthcareservice-no-consent-habilitation", valueBoolean=False),
            extension("ror-healthcareservice-psychiatric-sector", valueString="54G01"),
            extension("ror-healthcareservice-contact", extension=[{"url": "purposeContact", "valueString": "dit"}]),
        ],
        "identifier": [{"type": coded("TRE_R355", "TypeIdentifiantOffre", "35"), "value": "44/1"}],
        "providedBy": {"reference": "Organization/540000023"},
        "category": [coded("TRE_R244", "CategorieOrganisation", "157")],
        "type": [coded("TRE_R227", "ChampActivite", "02")],
        "specialty": [coded("TRE_R211", "ActiviteOperationnelle", "022")],
        "location": [{"reference": "Location/540000023-U107"}],
        "name": "Gériatrie A",
        "telecom": [telecom()],
        "characteristic": [
            coded("TRE_R213", "ModePriseEnCharge", "28"),
            coded("TRE_R240", "TemporaliteAccueil", "01"),
            coded("TRE_R338", "ModaliteAccueil", "01"),
            coded("TRE_R236", "ModeGestion", "02"),
            coded("TRE_R210", "ActeSpecifique", "0320"),
            coded("TRE_R245", "SpecialisationDePriseEnCharge", "24"),
            coded("TRE_R238", "OuvertureAnnuelle", "02"),
            coded("TRE_R243", "CompetenceSpecifique", "01"),
        ],
        "availableTime": [
            {
                "extension": [
                    extension("ror-available-time-number-days-of-week", valueInteger=1),
                    extension("ror-available-time-effective-opening-closing-date", valuePeriod={"start": "2025-04-08"}),
                    extension("ror-available-time-type-of-time", valueCodeableConcept={"text": "ouverture"}),
                ],
                "availableStartTime": "00:00:00",
                "availableEndTime": "23:59:00",
            }
        ],
        "notAvailable": [{"description": "Période de fermeture et de réouverture prévisionnelle"}],
    }


def location() -> Json:
    kinds = terminology("TRE_R354-TypeIdentifiantRessourceOperationnelle")
    return {
        "resourceType": "Location",
        "id": "540000023-U107",
        "meta": meta("ror-location"),
        "extension": [
            extension(
                "ror-commune-cog",
                valueCodeableConcept=concept(terminology("TRE_R13-CommuneOM"), "54395", "Nancy"),
            ),
            extension("ror-meta-creation-date", valueDateTime="2020-01-01T00:00:00Z"),
            extension("ror-location-equipment", extension=[{"url": "nbInService", "valueInteger": 2}]),
            extension("ror-location-residential-capacity", extension=[{"url": "nbHabitation", "valueInteger": 1}]),
            extension_of(capacities_of(unit(), NOW)[0]),
        ],
        "identifier": [
            {"type": concept(kinds, "26", "externe"), "value": "1540000023/U107"},
            {"type": concept(kinds, "25", "fonctionnel"), "value": "44/1073"},
        ],
        "status": "active",
        "operationalStatus": {"system": "urn:statut", "code": "O"},
        "name": "Gériatrie A",
        "alias": ["GER A"],
        "description": "2e étage",
        "type": [concept(terminology("TRE_R343-FonctionLieu"), "001", "Hébergement")],
        "telecom": [telecom()],
        "position": {
            "extension": [extension("ror-coordinate-reliability", valueBoolean=True)],
            "longitude": 6.184,
            "latitude": 48.684,
        },
        "managingOrganization": {"reference": "Organization/540000023"},
        "partOf": {"reference": "Location/540000023"},
    }


GOOD = {"Organization": organization, "HealthcareService": healthcare_service, "Location": location}
