"""Names of EDXL-HAVE 1.0 (OASIS Standard, 1 November 2008) and the table between its bed types and our disciplines.

A bed type of HAVE is coarser than a discipline, so each discipline goes as a sub-category of its bed type, under the
slug by which it is known everywhere else (`SubCategoryBedType`, free text in the standard). HAD is care at home and day
care is no bed: neither is told.
"""

from aval.kernel.disciplines import Discipline

HAVE = "urn:oasis:names:tc:emergency:EDXL:HAVE:1.0"
HAVE_2 = "urn:oasis:names:tc:emergency:edxl:have:2.0"
XNL = "urn:oasis:names:tc:ciq:xnl:3"
GML = "http://www.opengis.net/gml"

AVAILABLE, NOT_AVAILABLE = "Vacant/Available", "NotAvailable"
"""CapacityStatus. Some writers say `VacantAvailable`, which is read too."""

EVACUATING, CLOSED = "Evacuating", "Closed"
"""FacilityStatus of a house that takes nobody in."""

BED_TYPES: dict[Discipline, str] = {
    Discipline.MEDICINE: "MedicalSurgical",
    Discipline.SURGERY: "MedicalSurgical",
    Discipline.OBSTETRICS: "MedicalSurgical",
    Discipline.PALLIATIVE_CARE: "MedicalSurgical",
    Discipline.INTENSIVE_CARE: "AdultICU",
    Discipline.INTERMEDIATE_CARE: "MedicalSurgical",
    Discipline.UHCD: "EmergencyDepartment",
    Discipline.PSYCHIATRY: "AdultPsychiatric",
    Discipline.SMR_POLYVALENT: "RehabLongTermCare",
    Discipline.SMR_GERIATRIC: "RehabLongTermCare",
    Discipline.SMR_LOCOMOTOR: "RehabLongTermCare",
    Discipline.SMR_NERVOUS_SYSTEM: "RehabLongTermCare",
    Discipline.SMR_CARDIOVASCULAR: "RehabLongTermCare",
    Discipline.SMR_PULMONARY: "RehabLongTermCare",
    Discipline.SMR_DIGESTIVE: "RehabLongTermCare",
    Discipline.SMR_BURNS: "RehabLongTermCare",
    Discipline.SMR_ADDICTION: "RehabLongTermCare",
    Discipline.SMR_ONCOLOGY: "RehabLongTermCare",
    Discipline.SMR_ONCOLOGY_HAEMATOLOGY: "RehabLongTermCare",
    Discipline.SMR_CHILDREN: "RehabLongTermCare",
    Discipline.SMR_YOUNG_CHILDREN: "RehabLongTermCare",
    Discipline.EHPAD_PERMANENT: "RehabLongTermCare",
    Discipline.EHPAD_TEMPORARY: "RehabLongTermCare",
    Discipline.EHPAD_AFTER_HOSPITAL: "RehabLongTermCare",
    Discipline.EHPAD_PROTECTED: "RehabLongTermCare",
    Discipline.USLD: "RehabLongTermCare",
}
"""HAVE's `Burn` is a burn ICU and its `AdultICU` has ventilators: burns' rehabilitation and intermediate care are
neither."""

KNOWN_BED_TYPES = frozenset(
    {
        "AdultICU", "PediatricICU", "NeonatalICU", "EmergencyDepartment", "NurseryBeds", "MedicalSurgical",
        "RehabLongTermCare", "Burn", "Pediatrics", "AdultPsychiatric", "PediatricPsychiatric", "NegativeFlowIsolation",
        "OtherIsolation", "OperatingRooms",
    }
)  # fmt: skip
"""HAVE 1.0, BedType."""


def have(name: str) -> str:
    """A name of HAVE 1.0, as `{namespace}name`."""
    return f"{{{HAVE}}}{name}"


def xnl(name: str) -> str:
    """A name of CIQ's xNL 3, as `{namespace}name`."""
    return f"{{{XNL}}}{name}"
