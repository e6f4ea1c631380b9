"""What a patient requires of a bed, with no identity in it; and what an establishment offers for it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from aval.kernel.disciplines import Discipline
from aval.kernel.statuses import Gender


class Feature(StrEnum):
    """What a bed may have and a need may require. A closed list; the value is the slug that people type."""

    SINGLE_ROOM = "chambre-seule"
    OXYGEN = "o2"
    CONTACT_ISOLATION = "isolement-contact"
    AIR_ISOLATION = "isolement-air"
    BARIATRIC = "bariatrique"
    DIALYSIS = "dialyse"
    PROTECTED_UNIT = "unite-protegee"
    WHEELCHAIR = "fauteuil"
    TRACHEOSTOMY = "tracheotomie"
    VENTILATION = "ventilation"
    PARENTERAL_NUTRITION = "nutrition-parenterale"
    TRANSFUSION = "transfusion"


class Urgency(StrEnum):
    """How soon an answer is needed; it sets `answer_by` (DESIGN §6)."""

    TODAY = "today"
    WITHIN_48_HOURS = "within_48_hours"
    PLANNED = "planned"


ANSWER_BY: dict[Urgency, timedelta] = {
    Urgency.TODAY: timedelta(minutes=30),
    Urgency.WITHIN_48_HOURS: timedelta(hours=4),
    Urgency.PLANNED: timedelta(days=1),
}
"""How long a house has to answer (DESIGN §6)."""


class Mode(StrEnum):
    """HOLD: the unit's policy may hold at once. ASK: a person answers."""

    HOLD = "hold"
    ASK = "ask"


class PatientChoice(StrEnum):
    """Whether the patient chose the house (code de la santé publique, free choice): asked, none, or named."""

    NOT_ASKED = "not_asked"
    ASKED = "asked"
    NONE = "none"
    NAMED = "named"


VALID_AFTER_ARRIVAL = timedelta(hours=24)
"""`valid_until` = `arrival_latest` + this, unless given (CONTRACT 15)."""

STAY_DAYS_MAX = 400
"""A longer stay is a permanent place: leave `stay_max` out."""


@dataclass(frozen=True, slots=True)
class Need:
    """One patient's need. Instants are aware UTC; `age_months` is completed months; `origin` is a FINESS ET.

    `stay_max` None means no stated end: the claim is then open-ended.
    """

    discipline: Discipline
    gender: Gender
    arrival_earliest: datetime
    arrival_latest: datetime
    age_months: int | None = None
    stay_max: timedelta | None = None
    required: frozenset[Feature] = field(default_factory=frozenset)
    wished: frozenset[Feature] = field(default_factory=frozenset)
    gir: int | None = None
    origin: str | None = None
    distance_km_max: float | None = None
    minutes_max: float | None = None

    def problem(self) -> tuple[str, str] | None:
        """The first fault, as (field, what is wrong and what to do); None for a sound need."""
        for fault, name, words in (
            (self.gender is Gender.UNDETERMINED, "gender", "say female, male or any"),
            (self.arrival_latest < self.arrival_earliest, "arrival_latest", "is before arrival_earliest"),
            (self.age_months is not None and not 0 <= self.age_months <= 130 * 12, "age", "must be 0 to 130 years"),
            (self.gir is not None and not 1 <= self.gir <= 6, "gir", "must be 1 to 6, or absent"),
            (
                self.stay_max is not None and not timedelta(0) < self.stay_max <= timedelta(days=STAY_DAYS_MAX),
                "stay_max",
                f"must be over 0 and at most {STAY_DAYS_MAX} days; leave it out for a permanent place",
            ),
            (self.required & self.wished, "wished", "a feature is either required or wished"),
            (self.distance_km_max is not None and self.distance_km_max <= 0, "distance_km_max", "must be above 0"),
            (self.minutes_max is not None and self.minutes_max <= 0, "minutes_max", "must be above 0"),
            (
                self.origin is None and (self.distance_km_max is not None or self.minutes_max is not None),
                "origin",
                "a distance needs the establishment that it is counted from",
            ),
        ):
            if fault:
                return name, words
        return None


@dataclass(frozen=True, slots=True)
class Interval:
    """Half-open [start, end); end None = no end."""

    start: datetime
    end: datetime | None = None

    def overlaps(self, other: "Interval") -> bool:
        """Whether the two share an instant."""
        return (other.end is None or self.start < other.end) and (self.end is None or other.start < self.end)

    def covers(self, instant: datetime) -> bool:
        """Whether the instant lies in it."""
        return self.start <= instant and (self.end is None or instant < self.end)
