"""What of a house's day is still to be told, and what somebody who counts would find by now."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from aval.adapters.demo.generator import Kind, Movement
from aval.adapters.territory import HousePlan


class Coming:
    """The movements that are still to be told, the next of them in view."""

    def __init__(self, stream: Iterator[Movement], began: datetime) -> None:
        self._stream = stream
        self._began = began
        self.next = next(stream, None)

    @property
    def is_over(self) -> bool:
        """Whether all has been taken."""
        return self.next is None

    @property
    def is_caught_up(self) -> bool:
        """Whether all that was due at the beginning has been taken."""
        return self.next is None or self.next.time > self._began

    def advance(self) -> None:
        """Takes the next one."""
        self.next = next(self._stream, None)

    def due(self, now: datetime) -> Iterator[Movement]:
        """Takes all that has happened by now."""
        while self.next is not None and self.next.time <= now:
            yield self.next
            self.advance()


class Counts:
    """What a person who counts would find. `changed`: the units that are to be told."""

    def __init__(self, house: HousePlan) -> None:
        self.plans = {unit.code: unit for unit in house.units}
        self.changed = set(self.plans)
        self.closed: Counter[str] = Counter()
        self.at: datetime | None = None
        """When the last movement happened."""
        self._units: dict[str, str] = {}

    def occupied(self, unit: str) -> int:
        """How many are in a unit."""
        return sum(here == unit for here in self._units.values())

    def apply(self, movement: Movement) -> None:
        """One more movement has happened."""
        self.at = movement.time
        touched = {movement.unit}
        match movement.kind:
            case Kind.ADMISSION | Kind.TRANSFER:
                touched.add(self._units.get(movement.stay_key, movement.unit))
                self._units[movement.stay_key] = movement.unit
            case Kind.DISCHARGE | Kind.CANCELLATION:
                self._units.pop(movement.stay_key, None)
            case Kind.BED_CLOSED:
                self.closed[movement.unit] += movement.places
            case Kind.BED_OPENED:
                self.closed[movement.unit] -= movement.places
            case _:
                return
        self.changed |= touched
