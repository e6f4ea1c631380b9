"""The code lists that the ROR's form uses, with their addresses: one place, so that a system is written once.

Sources: ANS, Nomenclatures des objets de santé (TRE_R213, R227, R329 to R337, R343, R354, R355, G07) and the value
sets JDV_J19 and JDV_J187 to J195 of the ROR; profile `ror-location` and the others of the ROR's implementation guide.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeAlias

from aval.kernel.disciplines import DISCIPLINES, Discipline, Field
from aval.kernel.statuses import ClosureKind, Gender, Horizon, Status, SupplementaryKind

Json: TypeAlias = dict[str, Any]
"""An object of a FHIR resource, as JSON has it."""

PROFILES = "https://interop.esante.gouv.fr/ig/fhir/ror/StructureDefinition/"
"""What the names of the ROR's profiles and extensions begin with."""

CAPACITY_URL = f"{PROFILES}ror-location-supported-capacity"
ABSENT_URL = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
"""FHIR's own extension for a value that is not given, with the reason (code list data-absent-reason)."""

NOS = "https://mos.esante.gouv.fr/NOS/"
FINESS_SYSTEM = "https://finess.esante.gouv.fr"
"""The system of a FINESS number in an identifier; `http:` in older instances, accepted when read."""

STRUCTURE_SYSTEM = "urn:oid:1.2.250.1.71.4.2.2"
"""The system of IdNat_Struct, the national identifier of a structure: `1` before a FINESS."""

STRUCTURE_OF_FINESS = "1"
"""The prefix of IdNat_Struct that says: what follows is a FINESS."""


def terminology(table: str) -> str:
    """The address of a table of codes: `TRE_R330-TypeStatutCapacite` gives its CodeSystem's."""
    return f"{NOS}{table}/FHIR/{table.replace('_', '-', 1)}"


STATUS_SYSTEM = terminology("TRE_R330-TypeStatutCapacite")
HORIZON_SYSTEM = terminology("TRE_R331-TemporaliteCapacite")
GENDER_SYSTEM = terminology("TRE_R332-GenreCapacite")
CLOSURE_SYSTEM = terminology("TRE_R333-TypeFermetureCapacite")
SUPPLEMENTARY_SYSTEM = terminology("TRE_R334-TypeLitSupplementaire")
SOURCE_SYSTEM = terminology("TRE_R335-TypeSourceCapacite")
CRISIS_SYSTEM = terminology("TRE_R336-TypeCrise")
ASSIGNMENT_SYSTEM = terminology("TRE_R337-AffectationTemporaire")
NATURE_SYSTEM = terminology("TRE_R329-NatureCapacite")
FIELD_SYSTEM = terminology("TRE_R227-ChampActivite")
CARE_SYSTEM = terminology("TRE_R213-ModePriseEnCharge")
PLACE_SYSTEM = terminology("TRE_R343-FonctionLieu")
STRUCTURE_TYPE_SYSTEM = terminology("TRE_G07-TypeIdentifiantStructure")
LOCATION_TYPE_SYSTEM = terminology("TRE_R354-TypeIdentifiantRessourceOperationnelle")
OFFER_TYPE_SYSTEM = terminology("TRE_R355-TypeIdentifiantOffre")
COMMUNE_SYSTEM = terminology("TRE_R13-CommuneOM")
AGE_UNIT_SYSTEM = terminology("TRE_R247-UcumUniteMesure")


class Nature(StrEnum):
    """R329: what is counted."""

    BED = "01"
    PLACE = "02"
    DWELLING = "03"


NO_ASSIGNMENT = "01"
"""R337 01, none: Aval knows of no temporary assignment of beds."""

NATURES = {Nature.BED: "Lit", Nature.PLACE: "Place", Nature.DWELLING: "Logement"}
STATUSES = {
    Status.INSTALLED: "Installé",
    Status.AVAILABLE: "Disponible",
    Status.OCCUPIED: "Occupé",
    Status.RESERVED: "Réservé",
    Status.CLOSED: "Fermé",
    Status.SUPPLEMENTARY: "Supplémentaire",
}
HORIZONS = {
    Horizon.NOW: "Courant",
    Horizon.ONE_HOUR: "Prévisionnel 1 heure",
    Horizon.ONE_DAY: "Prévisionnel 24 heures",
    Horizon.TWO_DAYS: "Prévisionnel 48 heures",
    Horizon.SEVEN_DAYS: "Prévisionnel 7 jours",
}
GENDERS = {
    Gender.FEMALE: "Femme",
    Gender.MALE: "Homme",
    Gender.ANY: "Indifférencié",
    Gender.UNDETERMINED: "Indéterminé",
}
CLOSURES = {
    ClosureKind.REOPENABLE: "Réactivable",
    ClosureKind.NOT_REOPENABLE: "Non réactivable",
    ClosureKind.UNDETERMINED: "Indéterminé",
}
SUPPLEMENTARIES = {
    SupplementaryKind.MOBILISED: "Mobilisé",
    SupplementaryKind.MOBILISABLE: "Mobilisable sans ressources humaines",
    SupplementaryKind.MOBILISABLE_WITH_STAFF: "Mobilisable avec ressources humaines",
}
SOURCES = {
    "01": "Saisie manuelle",
    "02": "Bed management",
    "03": "Gestion administrative du malade (GAM)",
    "04": "Dossier patient informatisé (DPI)",
}
CRISES = {"01": "PMIE 1", "02": "Situation sanitaire Exceptionnelle (SSE) (Plan blanc)"}
ASSIGNMENTS = {NO_ASSIGNMENT: "Aucune", "02": "Covid+", "03": "Covid-"}
FIELDS = {
    "01": "Médecine Chirurgie Obstétrique (MCO)",
    "02": "Soins Médicaux et de réadaptation (SMR)",
    "03": "Psychiatrie (PSY)",
    "04": "Médico-social (MS)",
}

CARES = {
    "13": "Hospitalisation courte durée (UHCD)",
    "28": "Hospitalisation complète (HC)",
    "31": "Hospitalisation à domicile (HAD)",
    "46": "Hébergement (accueil jour et nuit)",
    "47": "Accueil de jour",
}
"""R213, those that a discipline of Aval can have (JDV_J19, version of 29 June 2026)."""


def care_of(discipline: Discipline) -> str | None:
    """The R213 code of a discipline; None where the list has none that is certain (USLD)."""
    own = {Discipline.UHCD: "13", Discipline.DAY_CARE: "47", Discipline.HAD: "31"}.get(discipline)
    if own is not None:
        return own
    by_field = {Field.MCO: "28", Field.SMR: "28", Field.PSY: "28", Field.MEDICO_SOCIAL: "46"}
    return by_field.get(DISCIPLINES[discipline].field)


def concept(system: str, code: str, display: str) -> Json:
    """A CodeableConcept of one code."""
    return {"coding": [{"system": system, "code": code, "display": display}]}


def known(system: str, code: StrEnum | str, displays: Mapping[Any, str]) -> Json:
    """A CodeableConcept of a code of a table above."""
    return concept(system, str(code), displays[code])


def absent(reason: str) -> Json:
    """What stands in the place of a value that is not given: `unknown`, `masked`, `not-applicable`."""
    return {"extension": [{"url": ABSENT_URL, "valueCode": reason}]}
