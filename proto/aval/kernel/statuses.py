"""Figures and their qualifiers, by the ROR's code lists (ANS, Nomenclatures des objets de santé).

R330 type of capacity status, R331 horizon, R332 gender, R333 closure, R334 supplementary bed, R335 source. Codes 08 and
09 of R330 are FINESS's and are not a node's to say; 07 (operational) is a sum, deprecated on 2025-01-31, never emitted.
"""

from datetime import timedelta
from enum import StrEnum


class Status(StrEnum):
    """R330: what a count of beds counts. AVAILABLE means staffed and not reserved within 24 h."""

    INSTALLED = "01"
    AVAILABLE = "02"
    OCCUPIED = "03"
    RESERVED = "04"
    CLOSED = "05"
    SUPPLEMENTARY = "06"


class Horizon(StrEnum):
    """R331: the instant that a figure speaks of, counted from its `as_of`."""

    NOW = "01"
    ONE_HOUR = "02"
    ONE_DAY = "03"
    TWO_DAYS = "04"
    SEVEN_DAYS = "05"

    @property
    def delay(self) -> timedelta:
        """How long after `as_of`."""
        return _DELAYS[self]


_DELAYS = {
    Horizon.NOW: timedelta(0),
    Horizon.ONE_HOUR: timedelta(hours=1),
    Horizon.ONE_DAY: timedelta(hours=24),
    Horizon.TWO_DAYS: timedelta(hours=48),
    Horizon.SEVEN_DAYS: timedelta(days=7),
}


class Gender(StrEnum):
    """R332. For a bed or a count: who may be placed there; ANY = either, UNDETERMINED = not said."""

    FEMALE = "01"
    MALE = "02"
    ANY = "03"
    UNDETERMINED = "04"


class ClosureKind(StrEnum):
    """R333: whether a closed bed can be opened again."""

    REOPENABLE = "01"
    NOT_REOPENABLE = "02"
    UNDETERMINED = "03"


class SupplementaryKind(StrEnum):
    """R334: a bed beyond the installed capacity."""

    MOBILISED = "01"
    MOBILISABLE = "02"
    MOBILISABLE_WITH_STAFF = "03"


class SourceKind(StrEnum):
    """What feeds a unit's figures. Ours; `r335` gives the ROR's code (a file maps to its declared origin)."""

    PERSON = "person"
    BED_MANAGEMENT = "bed_management"
    ADMINISTRATIVE = "administrative"
    PATIENT_RECORD = "patient_record"
    FILE = "file"

    @property
    def r335(self) -> str:
        """The R335 code; a file without a declared origin counts as typed by a person (01)."""
        return _R335[self]

    @property
    def is_automatic(self) -> bool:
        """True for an information system, whose figures age in minutes."""
        return self not in (SourceKind.PERSON, SourceKind.FILE)

    @property
    def fresh_max(self) -> timedelta:
        """Age up to which the source is fresh (DESIGN §4)."""
        return timedelta(minutes=15) if self.is_automatic else timedelta(hours=12)

    @property
    def stale_min(self) -> timedelta:
        """Age beyond which the source is stale (DESIGN §4)."""
        return timedelta(minutes=60) if self.is_automatic else timedelta(hours=24)


_R335 = {
    SourceKind.PERSON: "01",
    SourceKind.BED_MANAGEMENT: "02",
    SourceKind.ADMINISTRATIVE: "03",
    SourceKind.PATIENT_RECORD: "04",
    SourceKind.FILE: "01",
}

LINK_LOST_MAX = timedelta(minutes=2)
"""A node unheard for longer is *unreachable* (DESIGN §4)."""


class Freshness(StrEnum):
    """What an age makes of a figure. Only FRESH and AGEING beds are *sure*."""

    FRESH = "fresh"
    AGEING = "ageing"
    STALE = "stale"
    UNREACHABLE = "unreachable"

    @property
    def is_sure(self) -> bool:
        """Whether beds of that freshness may be counted as sure."""
        return self in (Freshness.FRESH, Freshness.AGEING)


def freshness_of(age: timedelta | None, fresh_max: timedelta, stale_min: timedelta) -> Freshness:
    """The freshness of a figure whose source gave its last proof of life `age` ago; None = never heard: stale."""
    if age is None or age > stale_min:
        return Freshness.STALE
    return Freshness.FRESH if age <= fresh_max else Freshness.AGEING


class Shown(StrEnum):
    """How much of a unit an audience sees."""

    EXACT = "exact"
    YES_OR_NO = "yes_or_no"
    NOTHING = "nothing"


class Audience(StrEnum):
    """Who looks at a unit, as its establishment's visibility rule knows them."""

    GHT = "ght"
    PARTNER = "partner"
    EVERYONE = "everyone"


class Counting(StrEnum):
    """Whether a unit's capacity is beds with identity or counted places."""

    BEDS = "beds"
    PLACES = "places"


class RoomRule(StrEnum):
    """Who may share a room: one bed; one gender at a time (that of its occupants and claims, else either); mixed."""

    SINGLE = "single"
    ONE_GENDER = "one_gender"
    MIXED = "mixed"


class ClosureReason(StrEnum):
    """Why beds are closed."""

    WORKS = "works"
    EPIDEMIC = "epidemic"
    STAFF = "staff"
    HOLIDAYS = "holidays"
    DISINFECTION = "disinfection"
    EQUIPMENT = "equipment"
    OTHER = "other"


class ConflictCause(StrEnum):
    """What took the bed of a claim."""

    ADMISSION = "admission"
    DEPARTURE_SLIPPED = "departure_slipped"
    CLOSURE = "closure"
    COUNTS = "counts"
    ADMISSION_CANCELLED = "admission_cancelled"
    REINSTATED = "reinstated"


class Answering(StrEnum):
    """Who answers a demand, by a unit's policy."""

    AUTOMATIC = "automatic"
    PERSON = "person"
    CLOSED = "closed"
