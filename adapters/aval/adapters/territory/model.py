"""The model of a territory file, as people write it: facts first, then what a demonstration assumes.

Values stay as written (a FINESS is text here): the checker wants to see all that is wrong, not the first of it.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from aval.kernel.disciplines import DISCIPLINES, Discipline, Field
from aval.kernel.finess import FinessEJ, FinessET
from aval.kernel.need import Feature
from aval.kernel.statuses import Audience, RoomRule, Shown, SourceKind

FORMAT = 1
"""The version of the file's form that this module reads."""

EARTH_RADIUS_KM = 6371.0088
"""Mean radius (IUGG 1980), for great circles."""


class Capacities(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Installed beds and places by activity, as SAE counts them. `mco` is the sum of the three before it;
    `critical_care` is a subset of `mco`. EHPAD places hold day care too, as the CNSA counts."""

    establishments: int = 0
    medicine: int = 0
    surgery: int = 0
    obstetrics: int = 0
    mco: int = 0
    critical_care: int = 0
    smr: int = 0
    usld: int = 0
    had: int = 0
    psy: int = 0
    ehpad: int = 0

    @property
    def total(self) -> int:
        """All of them, nothing counted twice."""
        return self.mco + self.smr + self.usld + self.had + self.psy + self.ehpad


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rate by activity: an occupancy (0 to 1) or a mean stay in days. None: not known."""

    mco: float | None = None
    medicine: float | None = None
    surgery: float | None = None
    obstetrics: float | None = None
    smr: float | None = None
    usld: float | None = None
    had: float | None = None
    psy: float | None = None
    ehpad: float | None = None

    def of(self, activity: str) -> float | None:
        """The rate of an activity, by its name in the file."""
        rate: float | None = getattr(self, activity)
        return rate


class EntityOrigin(StrEnum):
    """Where an establishment's legal entity comes from: its own row, the row of the hospital that runs it, nowhere."""

    SOURCE = "source"
    HOSPITAL_ROW = "hospital-row"
    ABSENT = "absent"


class PositionOrigin(StrEnum):
    """What the coordinates point at."""

    ADDRESS = "address"
    COMMUNE_CENTROID = "commune-centroid"


class Establishment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member of the territory: a geographic site. `official_name` is the source's own spelling, kept for search."""

    finess: str
    name: str
    membership: Audience
    latitude: float
    longitude: float
    official_name: str = ""
    legal_entity: str = ""
    legal_entity_from: EntityOrigin = EntityOrigin.SOURCE
    run_by: str = ""
    commune: str = ""
    department: str = ""
    position_from: PositionOrigin = PositionOrigin.ADDRESS
    source: str = ""
    phone: str = ""
    address: str = ""
    """`host:port` of its node before its first Announce; empty if only Announce says it."""
    hosted: bool = False
    installed: Capacities | None = None
    occupancy: Rates = Rates()
    stay_days: Rates = Rates()
    no_beds: str = ""
    """Why there is none, if there is none: then it is no oversight."""

    @property
    def et(self) -> FinessET:
        """Its FINESS, checked. Raises `Refusal(MALFORMED_FINESS)`."""
        return FinessET.parse(self.finess)

    @property
    def ej(self) -> FinessEJ | None:
        """Its legal entity's FINESS, checked; None if the source has none."""
        return FinessEJ.parse(self.legal_entity) if self.legal_entity else None


class HourShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts by hour of the day, 0 h to 23 h: only their proportions are used."""

    credit: str
    admissions: tuple[int, ...]
    discharges: tuple[int, ...]


class NationalRates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """National means, where an establishment's own are not known."""

    occupancy: Rates = Rates()
    stay_days: Rates = Rates()


class Room(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A room as a person wrote it, where the assumed share of single rooms is not good enough."""

    code: str
    beds: tuple[str, ...]
    rule: RoomRule = RoomRule.ONE_GENDER
    features: tuple[Feature, ...] = ()


class Practice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a unit works: assumed, each line of it. Shares are 0 to 1."""

    gender: str = "any"
    age_min: int | None = None
    age_max: int | None = None
    single_share: float
    shared_rooms: RoomRule
    features: dict[str, float]
    answering: str
    promise: bool
    shown_to_partners: Shown
    answer_hours: str = ""
    admission_hours: str = ""
    closed_share: float
    female_share: float
    stay_days: float | None = None
    stay_spread: float
    occupancy: float | None = None
    announced_share: float
    announced_hours: float
    expected_share: float
    leave_share: float
    cleaning_minutes: float


class Unit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A care unit: `beds` with identity, or `places` that are only counted. Its other lines are its own practice."""

    code: str
    name: str
    discipline: str
    beds: int | None = None
    places: int | None = None
    rooms: tuple[Room, ...] = ()
    own: dict[str, object] = {}

    @property
    def capacity(self) -> int:
        """Its beds or its places."""
        return (self.beds or 0) + (self.places or 0)


class House(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is assumed of one establishment."""

    source: SourceKind
    phone: str = ""
    hosted: bool = False
    units: tuple[Unit, ...] = ()


class Assumptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the data does not say."""

    time_zone: str = "Europe/Paris"
    road_factor: float = 1.3
    speed_kmh: float = 60.0
    practice: dict[str, dict[str, object]] = {}
    houses: dict[str, House] = {}


@dataclass(frozen=True, slots=True)
class Distance:
    """Great-circle kilometres, and minutes by road as assumed."""

    km: float
    minutes: float


class TerritoryFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole file. Its methods assume that `check` found no error in it."""

    format: int
    territory: str
    title: str
    simulated: bool = False
    credit: str = ""
    licence: str = ""
    totals: dict[str, Capacities] = {}
    national: NationalRates = NationalRates()
    hours: HourShape | None = None
    legal_entities: dict[str, str] = {}
    establishments: tuple[Establishment, ...] = ()
    assumptions: Assumptions = Assumptions()

    def establishment(self, finess: str) -> Establishment:
        """The establishment of that FINESS. Raises KeyError."""
        for establishment in self.establishments:
            if establishment.finess == finess:
                return establishment
        raise KeyError(finess)

    def without(self, *finess: str) -> "TerritoryFile":
        """The same territory without some of its establishments."""
        return msgspec.structs.replace(
            self,
            establishments=tuple(e for e in self.establishments if e.finess not in finess),
            assumptions=msgspec.structs.replace(
                self.assumptions, houses={f: h for f, h in self.assumptions.houses.items() if f not in finess}
            ),
        )

    def hosted(self, finess: str) -> bool:
        """Whether the establishment's node runs on somebody's host: said of it, or assumed."""
        house = self.assumptions.houses.get(finess)
        return self.establishment(finess).hosted or (house is not None and house.hosted)

    def distance(self, origin: str, destination: str) -> Distance:
        """From one establishment to another. Raises KeyError."""
        return self._distance(self.establishment(origin), self.establishment(destination))

    def distances(self) -> dict[tuple[FinessET, FinessET], Distance]:
        """Of every ordered pair, an establishment to itself included (0)."""
        found: dict[tuple[FinessET, FinessET], Distance] = {}
        for index, here in enumerate(self.establishments):
            for there in self.establishments[index:]:
                found[here.et, there.et] = found[there.et, here.et] = self._distance(here, there)
        return found

    def _distance(self, here: Establishment, there: Establishment) -> Distance:
        km = great_circle_km(here.latitude, here.longitude, there.latitude, there.longitude)
        return Distance(km, km * self.assumptions.road_factor / self.assumptions.speed_kmh * 60)


def activity_of(discipline: Discipline) -> str:
    """The activity that a discipline's beds are counted under in `Capacities`."""
    return _ACTIVITIES[DISCIPLINES[discipline].field]


_ACTIVITIES = {
    Field.MCO: "mco",
    Field.SMR: "smr",
    Field.PSY: "psy",
    Field.MEDICO_SOCIAL: "ehpad",
    Field.USLD: "usld",
    Field.HAD: "had",
}


def great_circle_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Kilometres between two points given in degrees (haversine formula)."""
    here, there = math.radians(latitude), math.radians(other_latitude)
    a = (
        math.sin((there - here) / 2) ** 2
        + math.cos(here) * math.cos(there) * math.sin(math.radians(other_longitude - longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(a)))
