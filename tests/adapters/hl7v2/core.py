"""A real node's core behind the adapter: the same translation and ledger, without wire, disk or loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from aval.adapters.hl7v2.telling import Told
from aval.kernel.disciplines import Discipline
from aval.kernel.finess import FinessET
from aval.kernel.identity import CallerKind
from aval.kernel.reasons import Refusal
from aval.kernel.statuses import Counting, Gender, RoomRule, SourceKind
from aval.node import commands as c
from aval.node.ledger import Ledger
from aval.node.model import Bed, Mandate, Room, Source, Unit
from aval.node.translate import census, house
from aval.node.translate.words import Names
from aval.v1 import census_pb2, terms_pb2

HOUSE = "540000023"
TERRITORY = "t.test"
_ADAPTER = c.Caller(
    f"spiffe://{TERRITORY}/establishment/{HOUSE}/adapter/gam", CallerKind.ADAPTER, TERRITORY, Mandate(actor="gam")
)
_STAFF = c.Caller(
    f"spiffe://{TERRITORY}/establishment/{HOUSE}/operator/anne", CallerKind.STAFF, TERRITORY, Mandate(actor="anne")
)
_GAM = Source("gam", SourceKind.PATIENT_RECORD, timedelta(minutes=15), timedelta(minutes=60), "gam")

BEDS_OF_A_UNIT = 12


def rooms_and_beds(unit: str, count: int = BEDS_OF_A_UNIT) -> tuple[tuple[Room, ...], tuple[Bed, ...]]:
    """Rooms of two beds, 1 and 2."""
    rooms = tuple(Room(unit, f"{100 + n // 2}", RoomRule.MIXED) for n in range(0, count, 2))
    return rooms, tuple(Bed(unit, f"{100 + n // 2}-{1 + n % 2}", f"{100 + n // 2}") for n in range(count))


class CoreNode:
    """The ledger of one house. It is `desk.Census`, and says what is in it."""

    def __init__(
        self, now: datetime, units: Sequence[str] = ("U1", "U2"), places: Sequence[tuple[str, int]] = (("U3", 8),)
    ) -> None:
        self.ledger = Ledger({}, 7)
        self.now = now
        self.names = Names(FinessET(HOUSE))
        self.fates: Counter[str] = Counter()
        self.sent: list[bytes] = []
        for unit in units:
            rooms, beds = rooms_and_beds(unit)
            self._declare(Unit(unit, unit, Discipline.MEDICINE, Counting.BEDS, (_GAM,)), rooms, beds, ())
        for unit, count in places:
            told = (c.DeclaredPlaces(Gender.ANY, open=count, occupied=0, installed=count),)
            self._declare(Unit(unit, unit, Discipline.SMR_GERIATRIC, Counting.PLACES, (_GAM,)), (), (), told)

    def _declare(
        self, unit: Unit, rooms: tuple[Room, ...], beds: tuple[Bed, ...], places: tuple[c.DeclaredPlaces, ...]
    ) -> None:
        name = f"declare-{unit.id}"
        self._decide(
            c.DeclareUnit(
                caller=_STAFF, command_id=name, content=name.encode(), unit=unit, rooms=rooms, beds=beds, places=places
            )
        )

    def _decide(self, command: c.AnyCommand) -> c.Verdict:
        decision = self.ledger.decide(command, self.now)
        self.ledger.apply(decision.changes)
        return decision.verdict

    async def apply(self, movements: list[Told]) -> dict[str, census_pb2.ApplyMovementsResponse]:
        """As `census.CensusStream.apply`."""
        return {told.id: self._apply(told.body) for told in movements}

    def _apply(self, body: bytes) -> census_pb2.ApplyMovementsResponse:
        message = census_pb2.Movement.FromString(body)
        self.sent.append(body)
        try:
            verdict = self._decide(census.apply_movement(message, _ADAPTER, self.names, frozenset()))
            answer = house.movement_fate(
                message.source_id, message.movement_id, verdict, self.names, terms_pb2.Cursor()
            )
        except Refusal as refusal:
            answer = house.movement_refused(message.source_id, message.movement_id, refusal)
        name = census_pb2.ApplyMovementsResponse.Fate.Name(answer.fate).removeprefix("FATE_")
        self.fates[f"{name} {answer.reason}".strip()] += 1
        return answer

    async def stays(self) -> list[census_pb2.Stay]:
        """As `census.CensusStream.stays`."""
        return [
            census_pb2.Stay(
                stay_key=key,
                unit=self.names.unit(unit),
                bed=self.names.bed(unit, bed) if bed else "",
                on_leave=on_leave,
                source_id="gam",
            )
            for key, (unit, bed, on_leave) in self.census().items()
        ]

    def census(self) -> dict[str, tuple[str, str | None, bool]]:
        """Who is where: stay key → unit, bed, on leave."""
        return {
            stay.key: (unit, stay.bed, stay.on_leave)
            for unit in self.ledger.unit_ids()
            for stay in self.ledger.book(unit).stays.values()
        }

    def expected(self) -> dict[str, str]:
        """Whom the house expects: stay key → unit."""
        return {
            key: unit for unit in self.ledger.unit_ids() for key in self.ledger.book(unit).expected
        }  # fmt: skip


class Choosy:
    """A node that refuses movements of some kinds."""

    def __init__(self, node: CoreNode, *kinds: str) -> None:
        self.node = node
        self.kinds = kinds

    async def apply(self, movements: list[Told]) -> dict[str, census_pb2.ApplyMovementsResponse]:
        fate = census_pb2.ApplyMovementsResponse.FATE_REFUSED
        refused = [
            one for one in movements if census_pb2.Movement.FromString(one.body).WhichOneof("change") in self.kinds
        ]
        no = {one.id: census_pb2.ApplyMovementsResponse(fate=fate, reason="NOT_YOUR_UNIT") for one in refused}
        return {**await self.node.apply([one for one in movements if one not in refused]), **no}

    async def stays(self) -> list[census_pb2.Stay]:
        return await self.node.stays()
