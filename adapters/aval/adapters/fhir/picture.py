"""What the endpoint serves: all establishments and units that its identity sees, read each few seconds at most.

Each request would otherwise be two or more calls to the hub, and a search over pages would see several moments. The
resources of a picture are made once (500 Locations take half a second).
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aval.adapters.dial import Line, every_establishment, every_unit
from aval.adapters.fhir import resources
from aval.adapters.fhir.codes import Json
from aval.adapters.fhir.saner import measure_report
from aval.kernel.clock import Clock
from aval.v1 import availability_pb2

READ_AGAIN_SECONDS = 5.0
"""How old a picture may be: figures are minutes old by themselves."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One reading."""

    read_time: datetime
    establishments: dict[str, availability_pb2.Establishment]
    units: dict[str, availability_pb2.Unit]
    _made: dict[str, list[Json]] = field(default_factory=dict)

    @property
    def ght(self) -> frozenset[str]:
        """The FINESS of the members of the GHT, as the hub says."""
        return frozenset(
            resources.finess_of(name)
            for name, one in self.establishments.items()
            if one.membership == availability_pb2.MEMBERSHIP_GHT
        )

    def resources(self, kind: str, communes: dict[str, str]) -> list[Json]:
        """All resources of a kind, in the order of their ids; not to be changed."""
        if kind not in self._made:
            self._made[kind] = sorted(self._make(kind, communes), key=lambda one: str(one["id"]))
        return self._made[kind]

    def _make(self, kind: str, communes: dict[str, str]) -> list[Json]:
        match kind:
            case "Organization":
                return self._organizations()
            case "HealthcareService":
                return [resources.healthcare_service(one) for one in self.units.values()]
            case "Location":
                return [self._location(one, communes) for one in self.units.values()]
            case _:
                return [
                    measure_report(house, self._units_of(name), self.read_time)
                    for name, house in self.establishments.items()
                ]

    def _units_of(self, establishment: str) -> list[availability_pb2.Unit]:
        return [one for name, one in self.units.items() if name.startswith(f"{establishment}/")]

    def _location(self, unit: availability_pb2.Unit, communes: dict[str, str]) -> Json:
        finess = resources.finess_of(unit.name)
        house = self.establishments.get(f"establishments/{finess}")
        return resources.location(unit, house, self.read_time, communes.get(finess, ""))

    def _organizations(self) -> list[Json]:
        made: list[Json] = []
        entities: dict[str, datetime] = {}
        for name, house in self.establishments.items():
            instants = [one.as_of.ToDatetime(tzinfo=UTC) for one in self._units_of(name)]
            updated = max(instants, default=self.read_time)
            made.append(resources.organization(house, updated))
            if house.legal_entity:
                entities[house.legal_entity] = max(updated, entities.get(house.legal_entity, updated))
        return made + [resources.legal_entity(finess, updated) for finess, updated in entities.items()]


class Pictures:
    """Keeps the last picture; several requests at once share one reading."""

    def __init__(self, line: Line, clock: Clock) -> None:
        self._line = line
        self._clock = clock
        self._last: Picture | None = None
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def now(self) -> Picture:
        """The picture, a few seconds old at most. Raises `RemoteRefusal`."""
        async with self._reading:
            begun = self._clock.monotonic()
            if self._last is not None and begun - self._read_at < READ_AGAIN_SECONDS:
                return self._last
            houses = {one.name: one for one in await every_establishment(self._line)}
            units = {one.name: one for one in await every_unit(self._line)}
            self._last, self._read_at = Picture(self._clock.now(), houses, units), begun
            return self._last
