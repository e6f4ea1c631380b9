"""A small house for the tests of the ledger, and the shortest way to speak to it.

It has a unit of beds with every rule of rooms, and one of counted places. Commands get fresh ids and contents unless a
test gives them; the time is the house's own, moved by hand.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import msgspec

from aval.kernel.disciplines import Discipline
from aval.kernel.identity import CallerKind
from aval.kernel.need import Feature, Mode, Need, Urgency
from aval.kernel.statuses import Answering, Counting, Gender, RoomRule, SourceKind, SupplementaryKind
from aval.node import commands as c
from aval.node.availability import UnitFigures, figures
from aval.node.book import UnitBook
from aval.node.ledger import Ledger
from aval.node.model import (
    FACT_TYPES,
    Bed,
    Fact,
    Facts,
    Kind,
    Mandate,
    Movement,
    MovementChange,
    Policy,
    Reservation,
    Room,
    Source,
    Tombstone,
    Unit,
)

MONDAY = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
"""A Monday, 9 h in Paris."""

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

TERRITORY = "t.test"
STAFF = c.Caller(
    f"spiffe://{TERRITORY}/establishment/540000023/operator/anne",
    CallerKind.STAFF,
    TERRITORY,
    Mandate(actor="anne", display_name="Anne", role="operator"),
)
HUB = c.Caller(f"spiffe://{TERRITORY}/hub/replica/0", CallerKind.HUB_REPLICA, TERRITORY, Mandate(actor="regulator"))
OTHER_REPLICA = replace(HUB, uri=f"spiffe://{TERRITORY}/hub/replica/1")
ADAPTER = c.Caller(
    f"spiffe://{TERRITORY}/establishment/540000023/adapter/hl7", CallerKind.ADAPTER, TERRITORY, Mandate(actor="hl7")
)

HIS = Source("his", SourceKind.PATIENT_RECORD, timedelta(minutes=15), timedelta(minutes=60), "hl7")
HAND = Source("hand", SourceKind.PERSON, timedelta(hours=12), timedelta(hours=24))
AUTOMATIC = Policy(answering=Answering.AUTOMATIC, renewals_max=2)

BEDS, PLACES = "beds", "places"

ROOMS = (
    Room(BEDS, "single", RoomRule.SINGLE),
    Room(BEDS, "pair", RoomRule.ONE_GENDER),
    Room(BEDS, "mixed", RoomRule.MIXED),
)
BED_FACTS = (
    Bed(BEDS, "b1", "single", features=frozenset({Feature.OXYGEN})),
    Bed(BEDS, "b2", "pair"),
    Bed(BEDS, "b3", "pair"),
    Bed(BEDS, "b4", "mixed"),
    Bed(BEDS, "b5", "mixed", gender=Gender.FEMALE),
    Bed(BEDS, "b6", "mixed", supplementary=SupplementaryKind.MOBILISABLE),
)


class House:
    """A ledger, its time, and short words for what is said to it. `log` holds every command that was decided."""

    def __init__(self, incarnation: int = 7) -> None:
        self.ledger = Ledger({}, incarnation)
        self.now = MONDAY
        self.ids = count(1)
        self.log: list[c.AnyCommand] = []
        self.numbers: dict[str, int] = {}

    # Speaking

    def decide(self, command: c.AnyCommand) -> c.Decision:
        """Decides and applies."""
        decision = self.ledger.decide(command, self.now)
        self.ledger.apply(decision.changes)
        self.log.append(command)
        return decision

    def say(self, verb: type[c.Command], **fields: Any) -> c.Verdict:
        """A verb of staff (or, given `reservation` and a hub's verb, of the hub), with a fresh id and content."""
        number = next(self.ids)
        fields.setdefault("command_id", f"command-{number}")
        fields.setdefault("content", f"content-{number}".encode())
        if issubclass(verb, c.HubCommand):
            fields.setdefault("caller", HUB)
            fields.setdefault("number", self.number(fields["reservation"]))
        fields.setdefault("caller", STAFF)
        command = verb(**fields)
        assert isinstance(command, c.HubCommand | c.StaffCommand)
        return self.decide(command).verdict

    def number(self, reservation: str) -> int:
        """The next number of a reservation's commands."""
        self.numbers[reservation] = self.numbers.get(reservation, 0) + 1
        return self.numbers[reservation]

    def move(self, change: MovementChange, stay: str = "", *, source: str = "his", name: str = "") -> c.Verdict:
        """A movement of the information system."""
        number = next(self.ids)
        movement = Movement(source, name or f"m{number}", change, stay)
        return self.say(c.ApplyMovement, movement=movement, command_id="", content=repr(movement).encode())

    def create(self, reservation: str, unit: str = BEDS, *, mode: Mode = Mode.HOLD, **need: Any) -> c.Verdict:
        """A demand for tomorrow, held by policy unless `mode` says else."""
        special: dict[str, Any] = {
            key: need.pop(key) for key in ("urgency", "ttl", "valid_until", "caller", "content") if key in need
        }
        fields: dict[str, Any] = {
            "command_id": reservation,
            "content": reservation.encode(),
            "urgency": Urgency.WITHIN_48_HOURS,
            **special,
        }
        return self.say(
            c.CreateReservation,
            reservation=reservation,
            request=f"q-{reservation}",
            reference=reservation.upper(),
            unit=unit,
            need=self.need(unit, **need),
            mode=mode,
            **fields,
        )

    def need(self, unit: str, **fields: Any) -> Need:
        """A woman's need for tomorrow, of the unit's discipline."""
        known = self.ledger.unit(unit)
        fields.setdefault("discipline", known.discipline if known else Discipline.MEDICINE)
        fields.setdefault("gender", Gender.FEMALE)
        fields.setdefault("arrival_earliest", self.now + DAY)
        fields.setdefault("arrival_latest", fields["arrival_earliest"] + 12 * HOUR)
        return Need(**fields)

    def later(self, time: timedelta) -> c.Decision:
        """Lets time pass, and tells the ledger."""
        self.now += time
        return self.decide(c.Tick())

    # Reading

    def reservation(self, reservation: str) -> Reservation:
        """A reservation that is there."""
        found = self.ledger.reservation(f"{TERRITORY}/{reservation}")
        assert found is not None
        return found

    def tombstone(self, reservation: str) -> Tombstone:
        """A tombstone that is there."""
        found = self.ledger.tombstone(f"{TERRITORY}/{reservation}")
        assert found is not None
        return found

    def state(self, reservation: str) -> str:
        """Where a reservation stands."""
        return self.reservation(reservation).state.value

    def bed_of(self, reservation: str) -> str | None:
        """The bed of a reservation's claim."""
        claim = self.reservation(reservation).claim
        return None if claim is None else claim.bed

    def figures(self, unit: str = BEDS) -> UnitFigures:
        """The figures of a unit now."""
        return figures(self.ledger, unit, self.now)

    def book(self, unit: str = BEDS) -> UnitBook:
        """The book of a unit."""
        return self.ledger.book(unit)


def house(policy: Policy = AUTOMATIC, discipline: Discipline = Discipline.MEDICINE) -> House:
    """A house with its two units, under one policy."""
    made = House()
    made.say(
        c.DeclareUnit,
        unit=Unit(BEDS, "Médecine", discipline, Counting.BEDS, (HIS, HAND)),
        rooms=ROOMS,
        beds=BED_FACTS,
        policy=policy,
    )
    made.say(
        c.DeclareUnit,
        unit=Unit(PLACES, "Places", discipline, Counting.PLACES, (HIS, HAND)),
        places=(
            c.DeclaredPlaces(Gender.FEMALE, 2, 1, 2),
            c.DeclaredPlaces(Gender.MALE, 1, 0, 1),
            c.DeclaredPlaces(Gender.ANY, 2, 1, 2),
        ),
        policy=policy,
    )
    return made


def stored(facts: Facts) -> dict[Kind, dict[str, Fact]]:
    """Facts as they come back from a store: through bytes, in another order."""
    return {
        kind: {
            key: msgspec.json.decode(msgspec.json.encode(fact), type=FACT_TYPES[kind])
            for key, fact in sorted(table.items(), reverse=True)
        }
        for kind, table in facts.items()
    }
