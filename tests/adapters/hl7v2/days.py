"""A day of a hospital as its administration would tell it, drawn from a seed, and where everybody is at its end.

The truth is kept by the one who draws, by its own small book; messages are written beside it, mistakes with what takes
them back. Nothing here is of the adapter.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from random import Random
from typing import Any

from tests.adapters.hl7v2.core import BEDS_OF_A_UNIT
from tests.adapters.hl7v2.messages import Adt, at

UNITS = ("1050", "1120")
"""Codes of units with beds: U1 and U2 at the node."""
PLACES_UNIT = "2200"
"""A unit of counted places: U3."""
PLACES = 8

MAPPING = {
    "unknown_beds": ["ZGEN"],
    "unit": [
        {"codes": ["1050"], "unit": "U1", "bed": "{room}-{bed}"},
        {"codes": ["1120"], "unit": "U2", "bed": "{room}-{bed}"},
        {"codes": ["2200"], "unit": "U3"},
    ],
}
NODE_UNITS = {"1050": "U1", "1120": "U2", "2200": "U3"}


@dataclass
class Visit:
    """One stay, as it is in truth."""

    number: str
    unit: str = ""
    bed: str = ""
    on_leave: bool = False
    here: bool = False
    expected: bool = False
    moves: list[Adt] = field(default_factory=list)
    gender: str = "F"


@dataclass
class Day:
    """The messages in the order in which they were sent, and the truth at the end."""

    messages: list[Adt]
    visits: dict[str, Visit]
    told: Counter[str]


class _Drawing:
    """Draws a day, one act after the other."""

    def __init__(self, seed: int, begin: datetime) -> None:
        self.random = Random(seed)
        self.now = begin
        self.visits: dict[str, Visit] = {}
        self.messages: list[Adt] = []
        self.told: Counter[str] = Counter()
        self.movements = count(1)
        self.numbers = count(1)
        self.seed = seed

    def send(self, visit: Visit, event: str, share: str, **fields: Any) -> Adt:
        """Writes one message; what is not given is as in truth, now."""
        room, _, bed = str(fields.pop("bed", visit.bed)).partition("-")
        fields.setdefault("movement", f"M{self.seed}-{next(self.movements)}")
        fields.setdefault("when", self.now)
        message = Adt(event, visit.number, self.now, unit=visit.unit, room=room, bed=bed, sent=self.now)
        message = message.again(gender=visit.gender, **fields)
        self.messages.append(message)
        self.told[share] += 1
        self.now += timedelta(seconds=self.random.randrange(20, 200))
        return message

    def free(self, unit: str) -> str | None:
        """A bed nobody is in, in truth; "" in a unit of places that has room; None if there is none."""
        inside = [visit for visit in self.visits.values() if visit.here and visit.unit == unit]
        if unit == PLACES_UNIT:
            return "" if len(inside) < PLACES else None
        taken = {visit.bed for visit in inside}
        beds = [bed for n in range(BEDS_OF_A_UNIT) if (bed := f"{100 + n // 2}-{1 + n % 2}") not in taken]
        return self.random.choice(beds) if beds else None

    def those(self, *, on_leave: bool | None = None) -> list[Visit]:
        return [visit for visit in self.visits.values() if visit.here and on_leave in (None, visit.on_leave)]

    # Acts

    def admit(self) -> None:
        unit = self.random.choice((*UNITS, PLACES_UNIT))
        bed = self.free(unit)
        if bed is None:
            return
        expected = [visit for visit in self.visits.values() if visit.expected]
        if expected and self.random.random() < 0.5:
            visit = self.random.choice(expected)
            visit.expected = False
        else:
            visit = Visit(f"V{self.seed}{next(self.numbers):04d}", gender=self.random.choice("FM"))
            self.visits[visit.number] = visit
        visit.unit, visit.bed = unit, bed
        draw = self.random.random()
        if draw < 0.15:
            self.send(visit, "A04", "A04", patient_class="E", bed="", unit="7700")
            visit.here = True
            visit.moves = [self.send(visit, "A06", "A06")]
        elif draw < 0.22:
            self.send(visit, "A01", "newborn", admission_type="N")
            visit.here = False
        else:
            visit.here = True
            visit.moves = [self.send(visit, "A01", "A01")]
            if draw > 0.93:  # never was: taken back whole
                wrong = visit.moves.pop()
                visit.here = False
                if draw > 0.98:
                    self.send(visit, "A23", "A23", movement="", version="2.5")
                else:
                    self.send(visit, "A11", "A11", movement=wrong.movement, when=wrong.when)

    def expect(self) -> None:
        visit = Visit(f"V{self.seed}{next(self.numbers):04d}", unit=self.random.choice(UNITS), expected=True)
        self.visits[visit.number] = visit
        arrival = self.now + timedelta(hours=self.random.randrange(4, 20))
        plan = self.send(visit, self.random.choice(("A05", "A05", "A14")), "A05/A14", arrival=arrival)
        if self.random.random() < 0.3:
            visit.expected = False
            self.send(visit, "A38" if plan.event == "A05" else "A27", "A38/A27", movement=plan.movement, when=plan.when)

    def move(self) -> None:
        here = self.those(on_leave=False)
        if not here:
            return
        visit = self.random.choice(here)
        for _ in range(self.random.choice((1, 1, 2, 3))):  # a chain
            unit = self.random.choice((*UNITS, PLACES_UNIT))
            bed = self.free(unit)
            if bed is None:
                continue
            before = (visit.unit, visit.bed)
            visit.unit, visit.bed = unit, bed
            draw = self.random.random()
            if draw < 0.2:  # to the wrong place, and corrected
                other = self.random.choice(UNITS)
                wrong = self.send(visit, "A02", "A02", unit=other, bed=f"10{self.random.randrange(6)}-1")
                right = self.send(visit, "Z99", "Z99", movement=wrong.movement, when=wrong.when, original="A02")
                visit.moves.append(right)
            elif draw < 0.4:  # never happened, and taken back
                wrong = self.send(visit, "A02", "A02")
                visit.unit, visit.bed = before
                self.send(visit, "A12", "A12", movement=wrong.movement, when=wrong.when)
            else:
                visit.moves.append(self.send(visit, "A02", "A02"))

    def swap(self) -> None:
        """Two change places, in one message with a movement of each, of both, or none; or they did not after all."""
        here = self.those(on_leave=False)
        if len(here) < 2:
            return
        one, other = self.random.sample(here, 2)
        before = one.unit, one.bed, other.unit, other.bed
        one.unit, one.bed, other.unit, other.bed = other.unit, other.bed, one.unit, one.bed
        room, _, bed = other.bed.partition("-")
        ways = {"each": f"M{self.seed}-{next(self.movements)}", "one": "", "none": ""}
        way = self.random.choice([*ways])
        beside = Adt("A17", other.number, self.now, ways[way], other.unit, room, bed, gender=other.gender)
        bare = {"movement": ""} if way == "none" else {}
        told = self.send(one, "A17", "A17", beside=beside, **bare)
        if way == "none":  # no cancellation could name it
            return
        alone = beside.again(movement=beside.movement or told.movement, sent=told.sent)
        one.moves.append(told.again(event="A02", beside=None))
        other.moves.append(alone.again(event="A02"))
        if self.random.random() < 0.3:
            one.unit, one.bed, other.unit, other.bed = before
            for visit in (one, other):
                wrong = visit.moves.pop()
                self.send(visit, "A12", "A12 of a swap", movement=wrong.movement, when=wrong.when, original="A17")

    def leave(self) -> None:
        away, here = self.those(on_leave=True), self.those(on_leave=False)
        if away and self.random.random() < 0.6:
            visit = self.random.choice(away)
            visit.on_leave = False
            back = self.send(visit, "A22", "A21/A22")
            if self.random.random() < 0.15:
                visit.on_leave = True
                self.send(visit, "A53", "A52/A53", movement=back.movement, when=back.when)
        elif here:
            visit = self.random.choice(here)
            visit.on_leave = True
            gone = self.send(visit, "A21", "A21/A22", returns=self.now + timedelta(hours=20))
            if self.random.random() < 0.15:
                visit.on_leave = False
                self.send(visit, "A52", "A52/A53", movement=gone.movement, when=gone.when)

    def discharge(self) -> None:
        here = self.those(on_leave=False)
        if not here:
            return
        visit = self.random.choice(here)
        visit.here = False
        last = self.send(visit, "A03", "A03")
        draw = self.random.random()
        if draw < 0.12:  # did not leave after all: the bed is still the patient's, or another is
            visit.here = True
            other = self.free(visit.unit) if draw < 0.04 else None
            visit.bed = other or visit.bed
            self.send(visit, "A13", "A13 elsewhere" if other else "A13", movement=last.movement, when=last.when)
        elif draw < 0.4 and len(visit.moves) > 1:  # a move that never was, seen after the patient left
            wrong = visit.moves.pop()
            self.send(visit, "A12", "historic A12", movement=wrong.movement, when=wrong.when, historic=True)

    def to_outpatient(self) -> None:
        """Keeps coming, under another number, and leaves the bed."""
        here = self.those(on_leave=False)
        if here:
            visit = self.random.choice(here)
            visit.here = False
            after = Visit(f"V{self.seed}{next(self.numbers):04d}", visit.unit, visit.bed, gender=visit.gender)
            self.send(after, "A07", "A07", patient_class="O", absorbed=visit.number)

    def merge(self) -> None:
        """Registered twice: the same patient under another number, in the same bed; then one."""
        here = self.those(on_leave=False)
        if not here:
            return
        visit = self.random.choice(here)
        if self.random.random() < 0.5:
            self.send(visit, "A40", "A40", movement="", absorbed=f"V{self.seed}X")
            return
        double = Visit(f"V{self.seed}{next(self.numbers):04d}", visit.unit, visit.bed, gender=visit.gender)
        self.send(double, "A01", "A01")
        visit.moves.append(self.send(visit, "A02", "A02"))
        self.send(visit, "A42", "A42", movement="", absorbed=double.number)

    def plan(self) -> None:
        here = self.those()
        if here:
            visit = self.random.choice(here)
            self.send(visit, "A16", "A16", departure=self.now + timedelta(hours=20))

    def doctor(self) -> None:
        here = self.those()
        if here:
            self.send(self.random.choice(here), "A54", "A54")


def day(seed: int, acts: int = 60, begin: datetime | None = None) -> Day:
    """A day of so many acts."""
    drawing = _Drawing(seed, begin or at(5))
    choices = [drawing.admit] * 10 + [drawing.expect] * 2 + [drawing.move] * 6 + [drawing.leave] * 3
    choices += (
        [drawing.swap] * 2
        + [drawing.discharge] * 5
        + [drawing.merge, drawing.plan, drawing.doctor, drawing.to_outpatient]
    )
    for _ in range(acts):
        drawing.random.choice(choices)()
    messages = list(drawing.messages)
    for message in drawing.random.sample(messages, len(messages) // 10):
        messages.insert(drawing.random.randrange(len(messages)), message)
        drawing.told["duplicates"] += 1
    return Day(messages, drawing.visits, drawing.told)
