"""The disciplines of care of a unit, in one declared table.

Sources: the field of activity is the ROR's nomenclature TRE_R227-ChampActivite (ANS); the SMR mentions are those of
décret n° 2022-24 of 11 January 2022. USLD and HAD have no R227 code. « SSR », the former name of SMR, is accepted as a
search word and never printed.
"""

from dataclasses import dataclass
from enum import StrEnum


class Field(StrEnum):
    """Field of activity: the R227 code, or a word of ours where R227 has none."""

    MCO = "01"
    SMR = "02"
    PSY = "03"
    MEDICO_SOCIAL = "04"
    USLD = "USLD"
    HAD = "HAD"

    @property
    def r227(self) -> str | None:
        """The R227 code (two digits), or None for USLD and HAD."""
        return self.value if self.value.isdigit() else None


class Discipline(StrEnum):
    """One discipline. The value is the slug that people type and files hold; the name is the wire's."""

    MEDICINE = "medecine"
    SURGERY = "chirurgie"
    OBSTETRICS = "obstetrique"
    INTENSIVE_CARE = "reanimation"
    INTERMEDIATE_CARE = "soins-intensifs"
    UHCD = "uhcd"
    PALLIATIVE_CARE = "soins-palliatifs"
    SMR_POLYVALENT = "smr-polyvalent"
    SMR_GERIATRIC = "smr-geriatrie"
    SMR_LOCOMOTOR = "smr-locomoteur"
    SMR_NERVOUS_SYSTEM = "smr-systeme-nerveux"
    SMR_CARDIOVASCULAR = "smr-cardio-vasculaire"
    SMR_PULMONARY = "smr-pneumologie"
    SMR_DIGESTIVE = "smr-digestif-nutrition"
    SMR_BURNS = "smr-brules"
    SMR_ADDICTION = "smr-addictions"
    SMR_ONCOLOGY = "smr-oncologie"
    SMR_ONCOLOGY_HAEMATOLOGY = "smr-onco-hematologie"
    SMR_CHILDREN = "smr-enfants-adolescents"
    SMR_YOUNG_CHILDREN = "smr-jeunes-enfants"
    PSYCHIATRY = "psychiatrie"
    EHPAD_PERMANENT = "ehpad-permanent"
    EHPAD_TEMPORARY = "ehpad-temporaire"
    EHPAD_AFTER_HOSPITAL = "ehpad-htsh"
    EHPAD_PROTECTED = "ehpad-unite-protegee"
    DAY_CARE = "accueil-de-jour"
    USLD = "usld"
    HAD = "had"


@dataclass(frozen=True, slots=True)
class DisciplineRow:
    """A line of the table. `label` is French, printed; `is_bed` is False for day care, never taken for a bed."""

    field: Field
    label: str
    is_bed: bool = True


DISCIPLINES: dict[Discipline, DisciplineRow] = {
    Discipline.MEDICINE: DisciplineRow(Field.MCO, "Médecine"),
    Discipline.SURGERY: DisciplineRow(Field.MCO, "Chirurgie"),
    Discipline.OBSTETRICS: DisciplineRow(Field.MCO, "Obstétrique"),
    Discipline.INTENSIVE_CARE: DisciplineRow(Field.MCO, "Réanimation"),
    Discipline.INTERMEDIATE_CARE: DisciplineRow(Field.MCO, "Soins intensifs"),
    Discipline.UHCD: DisciplineRow(Field.MCO, "UHCD"),
    Discipline.PALLIATIVE_CARE: DisciplineRow(Field.MCO, "Soins palliatifs"),
    Discipline.SMR_POLYVALENT: DisciplineRow(Field.SMR, "SMR polyvalent"),
    Discipline.SMR_GERIATRIC: DisciplineRow(Field.SMR, "SMR gériatrie"),
    Discipline.SMR_LOCOMOTOR: DisciplineRow(Field.SMR, "SMR locomoteur"),
    Discipline.SMR_NERVOUS_SYSTEM: DisciplineRow(Field.SMR, "SMR système nerveux"),
    Discipline.SMR_CARDIOVASCULAR: DisciplineRow(Field.SMR, "SMR cardio-vasculaire"),
    Discipline.SMR_PULMONARY: DisciplineRow(Field.SMR, "SMR pneumologie"),
    Discipline.SMR_DIGESTIVE: DisciplineRow(Field.SMR, "SMR digestif, endocrinologie, diabétologie, nutrition"),
    Discipline.SMR_BURNS: DisciplineRow(Field.SMR, "SMR brûlés"),
    Discipline.SMR_ADDICTION: DisciplineRow(Field.SMR, "SMR conduites addictives"),
    Discipline.SMR_ONCOLOGY: DisciplineRow(Field.SMR, "SMR oncologie"),
    Discipline.SMR_ONCOLOGY_HAEMATOLOGY: DisciplineRow(Field.SMR, "SMR oncologie et hématologie"),
    Discipline.SMR_CHILDREN: DisciplineRow(Field.SMR, "SMR enfants et adolescents"),
    Discipline.SMR_YOUNG_CHILDREN: DisciplineRow(Field.SMR, "SMR jeunes enfants"),
    Discipline.PSYCHIATRY: DisciplineRow(Field.PSY, "Psychiatrie"),
    Discipline.EHPAD_PERMANENT: DisciplineRow(Field.MEDICO_SOCIAL, "EHPAD permanent"),
    Discipline.EHPAD_TEMPORARY: DisciplineRow(Field.MEDICO_SOCIAL, "EHPAD temporaire"),
    Discipline.EHPAD_AFTER_HOSPITAL: DisciplineRow(Field.MEDICO_SOCIAL, "EHPAD temporaire, sortie d’hôpital (HTSH)"),
    Discipline.EHPAD_PROTECTED: DisciplineRow(Field.MEDICO_SOCIAL, "EHPAD unité protégée"),
    Discipline.DAY_CARE: DisciplineRow(Field.MEDICO_SOCIAL, "Accueil de jour", is_bed=False),
    Discipline.USLD: DisciplineRow(Field.USLD, "USLD"),
    Discipline.HAD: DisciplineRow(Field.HAD, "HAD"),
}


def discipline_of(word: str) -> Discipline:
    """The discipline that a typed word names: its slug, in any case, with « ssr » read as « smr ».

    Raises ValueError with the slugs that begin alike.
    """
    slug = word.strip().lower().replace("_", "-").replace(" ", "-")
    if slug.startswith("ssr"):
        slug = "smr" + slug[3:]
    try:
        return Discipline(slug)
    except ValueError:
        near = [d.value for d in Discipline if d.value.split("-")[0] == slug.split("-")[0]]
        known = ", ".join(near or [d.value for d in Discipline])
        raise ValueError(f"unknown discipline {word!r}; known: {known}") from None
