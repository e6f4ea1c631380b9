"""The census that a stream of movements tells, by a reader who believes nothing that cannot be."""

from __future__ import annotations

from collections import Counter

from aval.adapters.demo.generator import Movement
from aval.adapters.territory import HousePlan, UnitPlan
from aval.kernel.statuses import Counting, Gender, RoomRule


class Census:
    """What a careful reader of the stream believes, and what it would not believe."""

    def __init__(self, plan: HousePlan) -> None:
        self.units: dict[str, UnitPlan] = {unit.code: unit for unit in plan.units}
        self.rooms = {(u.code, bed.code): room for u in plan.units for room in u.rooms for bed in room.beds}
        self.where: dict[str, tuple[str, str]] = {}
        self.gender: dict[str, Gender] = {}
        self.occupant: dict[tuple[str, str], str] = {}
        self.closed: set[tuple[str, str]] = set()
        self.dirty: set[tuple[str, str]] = set()
        self.places_closed: Counter[str] = Counter()
        self.expected: dict[int, str] = {}
        self.admitted: dict[int, str] = {}
        self.on_leave: set[str] = set()

    def free(self, unit: str) -> int:
        return self.units[unit].capacity - self.places_closed[unit] - sum(u == unit for u, _ in self.where.values())

    def enter(self, stay: str, unit: str, bed: str) -> None:
        plan, gender = self.units[unit], self.gender[stay]
        assert plan.gender in (Gender.ANY, gender)
        assert (plan.counting is Counting.BEDS) == bool(bed)
        if bed:
            key = (unit, bed)
            assert key in self.rooms, "a bed that the unit has"
            assert key not in self.occupant, "never two patients in one bed"
            assert key not in self.closed
            assert key not in self.dirty
            room = self.rooms[key]
            if room.rule is RoomRule.ONE_GENDER:
                others = {
                    self.gender[self.occupant[unit, b.code]] for b in room.beds if (unit, b.code) in self.occupant
                }
                assert others <= {gender}, "one gender at a time in the room"
            self.occupant[key] = stay
        else:
            assert self.free(unit) > 0, "never over capacity"
        self.where[stay] = (unit, bed)

    def quit(self, stay: str) -> tuple[str, str]:
        key = self.where.pop(stay)
        if key[1]:
            assert self.occupant.pop(key) == stay
        return key

    def apply(self, m: Movement) -> None:
        getattr(self, m.kind.value)(m, (m.unit, m.bed))

    def admission(self, m: Movement, key: tuple[str, str]) -> None:
        assert m.stay_key not in self.where
        self.gender[m.stay_key] = m.gender
        self.admitted[m.number] = m.stay_key
        self.enter(m.stay_key, *key)
        self.expected = {number: stay for number, stay in self.expected.items() if stay != m.stay_key}

    def transfer(self, m: Movement, key: tuple[str, str]) -> None:
        left = self.quit(m.stay_key)
        assert left[0] != m.unit
        if left[1]:
            self.dirty.add(left)
        self.enter(m.stay_key, *key)

    def discharge(self, m: Movement, key: tuple[str, str]) -> None:
        assert m.stay_key not in self.on_leave
        assert self.quit(m.stay_key) == key
        if m.to_clean:
            self.dirty.add(key)

    def leave(self, m: Movement, key: tuple[str, str]) -> None:
        assert self.where[m.stay_key] == key
        assert m.stay_key not in self.on_leave
        assert m.planned is not None
        self.on_leave.add(m.stay_key)

    def leave_return(self, m: Movement, key: tuple[str, str]) -> None:
        assert self.where[m.stay_key] == key
        self.on_leave.remove(m.stay_key)

    def cancellation(self, m: Movement, _: tuple[str, str]) -> None:
        if m.cancels in self.expected:
            assert self.expected.pop(m.cancels) == m.stay_key
        else:
            assert self.admitted[m.cancels] == m.stay_key
            self.quit(m.stay_key)

    def departure_announced(self, m: Movement, key: tuple[str, str]) -> None:
        assert self.where[m.stay_key] == key
        assert m.planned is not None
        assert m.planned > m.time

    def arrival_expected(self, m: Movement, _: tuple[str, str]) -> None:
        assert m.stay_key not in self.where
        assert m.planned is not None
        assert m.planned > m.time
        self.expected[m.number] = m.stay_key

    def bed_closed(self, m: Movement, key: tuple[str, str]) -> None:
        assert m.planned is not None
        assert m.closed_for is not None
        if m.bed:
            assert key not in self.occupant
            assert key not in self.closed
            self.closed.add(key)
        else:
            self.places_closed[m.unit] += m.places
            assert self.free(m.unit) >= 0

    def bed_opened(self, m: Movement, key: tuple[str, str]) -> None:
        if m.bed:
            self.closed.remove(key)
        else:
            self.places_closed[m.unit] -= m.places
            assert self.places_closed[m.unit] >= 0

    def bed_cleaned(self, _: Movement, key: tuple[str, str]) -> None:
        self.dirty.remove(key)
