"""What the node is to be told of a stay (pure): the movements from what it was told to what is true.

For each stay the steps told are kept, each with where it left the stay. A mistake is taken back as one: the admission
that never was, the departure that did not happen are *cancelled*, last step first, so that the node puts back what it
had (a reservation that waited, the place of the patient). All else is told forward. Each movement bears a rising
number in `source_sequence`, by which the node orders them; so what is told last stands.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec.structs import replace

from aval.adapters.hl7v2.mapping import Standing
from aval.adapters.hl7v2.stays import Phase
from aval.kernel.statuses import Gender
from aval.v1 import census_pb2, terms_pb2

STEPS_MAX = 60
"""Steps kept of one stay: beyond, those after the admission are forgotten, and can no more be taken back."""

MOVES_MAX = 200
"""Movements between two standings: cancelling all steps, and telling what follows."""


class Fate(StrEnum):
    """What became of a step at the node."""

    PENDING = "pending"
    STANDING = "standing"
    WAITING = "waiting"
    """Parked, and without effect until a person or another movement helps."""
    REFUSED = "refused"


class Step(msgspec.Struct, frozen=True):
    """One movement told: its id, and where it left the stay."""

    id: str
    after: Standing
    fate: Fate = Fate.PENDING


class Told(msgspec.Struct, frozen=True):
    """A movement to send, as its bytes, and the step that it adds or takes away."""

    id: str
    body: bytes


_NOWHERE = Standing()

_GENDERS = {terms_pb2.GENDER_FEMALE: Gender.FEMALE, terms_pb2.GENDER_MALE: Gender.MALE}

ADOPTED = ""
"""Id of a step that was told by an inbox that is lost: it cannot be taken back by its name."""


def adopted_step(stay: census_pb2.Stay) -> Step:
    """Where the node has a stay of which the inbox knows nothing."""
    departure = stay.departure_time.ToDatetime(UTC) if stay.HasField("departure_time") else None
    arrives = stay.arrive_time.ToDatetime(UTC) if stay.HasField("arrive_time") else None
    standing = Standing(
        phase=Phase.EXPECTED if stay.expected else Phase.PRESENT,
        unit=stay.unit.rpartition("/")[2],
        bed=stay.bed.rpartition("/")[2],
        gender=_GENDERS.get(stay.gender, Gender.UNDETERMINED),
        since=None if stay.expected else arrives,
        on_leave=stay.on_leave,
        departure=departure,
        arrival=arrives if stay.expected else None,
    )
    return Step(ADOPTED, standing, Fate.STANDING)


def standing_of(steps: Sequence[Step]) -> Standing:
    """Where the node has the stay, as far as it was told."""
    return steps[-1].after if steps else _NOWHERE


class Teller:
    """Makes the movements of one house (`establishments/{finess}`) and source."""

    def __init__(self, house: str, source: str) -> None:
        self._house = house
        self._source = source

    def tell(
        self, stay: str, steps: tuple[Step, ...], desired: Standing, at: datetime, number: int
    ) -> tuple[tuple[Step, ...], list[Told]]:
        """The steps as they will be, and the movements that make them so. `number` is the first that is free.

        `at`: when it happened, for people; `since` of an admission is its own.
        """
        told: list[Told] = []
        steps = tuple(step for step in steps if step.fate is not Fate.REFUSED)
        while len(told) < MOVES_MAX:
            move = self._next(steps, desired, at)
            if move is None:
                break
            movement, after = move
            if movement is None:
                steps = steps[:-1] if after is None else (*steps[:-1], replace(steps[-1], after=after))
                continue
            identifier = f"{stay}.{number}"
            movement.movement_id = identifier
            movement.source_id = self._source
            movement.source_sequence = number
            movement.stay_key = stay
            number += 1
            told.append(Told(identifier, movement.SerializeToString(deterministic=True)))
            steps = steps[:-1] if after is None else _kept((*steps, Step(identifier, after)))
        return steps, told

    def merge(self, stay: str, absorbed: str, at: datetime, number: int) -> Told:
        """That another stay was this one."""
        movement = _movement(at)
        movement.stay_merged.absorbed_stay_key = absorbed
        movement.movement_id = f"{stay}.{number}"
        movement.source_id, movement.source_sequence, movement.stay_key = self._source, number, stay
        return Told(movement.movement_id, movement.SerializeToString(deterministic=True))

    def _next(
        self, steps: tuple[Step, ...], desired: Standing, at: datetime
    ) -> tuple[census_pb2.Movement | None, Standing | None] | None:
        """One movement and where it leaves the stay: None for the last step taken back; or no movement at all.

        Without a movement: the last step is forgotten (None), or is known to stand elsewhere.
        """
        present = standing_of(steps)
        if _same(present, desired):
            return None
        if steps and steps[-1].fate is Fate.WAITING:
            return _cancel(steps[-1], at), None
        match desired.phase:
            case Phase.NONE:
                if present.phase is Phase.NONE:
                    return None
                return _cancel(steps[-1], at), None
            case Phase.GONE:
                return self._gone(steps, desired, at)
            case Phase.EXPECTED:
                if present.phase is Phase.PRESENT and len(steps) > 0:
                    return _cancel(steps[-1], at), None
                return self._expected(desired, at), desired
            case _:
                return self._present(steps, desired, at)

    def _gone(
        self, steps: tuple[Step, ...], desired: Standing, at: datetime
    ) -> tuple[census_pb2.Movement | None, Standing | None] | None:
        present = standing_of(steps)
        if present.phase is Phase.PRESENT:
            movement = _movement(at)
            movement.discharge.to_clean = desired.clean
            return movement, replace(_NOWHERE, phase=Phase.GONE, began=present.began)
        if present.phase is Phase.EXPECTED:
            return _cancel(steps[-1], at), None
        return None  # a stay of which the node never heard, and that is over: nothing to tell

    def _present(
        self, steps: tuple[Step, ...], desired: Standing, at: datetime
    ) -> tuple[census_pb2.Movement | None, Standing | None]:
        present = standing_of(steps)
        if present.phase is Phase.GONE and present.began == desired.began and len(steps) > 1:
            return _cancel(steps[-1], at), None
        if present.phase is not Phase.PRESENT:
            return self._admission(desired, at), replace(desired, on_leave=False, keep_bed=True, returns=None)
        if (present.unit, present.bed) != (desired.unit, desired.bed):
            movement = _movement(at)
            movement.transfer.unit = self._unit(desired.unit)
            if desired.bed:
                movement.transfer.bed = self._bed(desired)
            else:
                movement.transfer.bed_unknown = present.unit == desired.unit
            moved = replace(present, unit=desired.unit, bed=desired.bed, on_leave=False, keep_bed=True, returns=None)
            return movement, moved
        if present.on_leave and not desired.on_leave:
            movement = _movement(at)
            movement.leave_return.SetInParent()
            return movement, replace(present, on_leave=False, keep_bed=True, returns=None)
        if desired.on_leave and not present.on_leave:
            movement = _movement(at)
            movement.leave.keep_bed = desired.keep_bed
            if desired.returns is not None:
                movement.leave.return_time.CopyFrom(_stamp(desired.returns))
            return movement, replace(present, on_leave=True, keep_bed=desired.keep_bed, returns=desired.returns)
        if present.departure != desired.departure:
            movement = _movement(at)
            movement.departure_announced.SetInParent()
            if desired.departure is not None:
                movement.departure_announced.departure_time.CopyFrom(_stamp(desired.departure))
            return movement, replace(present, departure=desired.departure)
        # What is left is the gender: the admission again, into the same place, says it.
        movement = self._admission(desired, at)
        return movement, replace(present, gender=desired.gender)

    def _admission(self, desired: Standing, at: datetime) -> census_pb2.Movement:
        movement = _movement(desired.since or at)
        admission = movement.admission
        admission.unit = self._unit(desired.unit)
        admission.bed = self._bed(desired) if desired.bed else ""
        admission.gender = _gender(desired.gender)
        admission.reservation = desired.reservation
        admission.to_clean_after = desired.clean
        if desired.departure is not None:
            admission.departure_time.CopyFrom(_stamp(desired.departure))
        return movement

    def _expected(self, desired: Standing, at: datetime) -> census_pb2.Movement:
        movement = _movement(at)
        expected = movement.arrival_expected
        expected.unit = self._unit(desired.unit)
        expected.bed = self._bed(desired) if desired.bed else ""
        expected.gender = _gender(desired.gender)
        if desired.arrival is not None:
            expected.arrival_time.CopyFrom(_stamp(desired.arrival))
            if desired.departure is not None and desired.departure > desired.arrival:
                expected.departure_time.CopyFrom(_stamp(desired.departure))
        return movement

    def _unit(self, unit: str) -> str:
        return f"{self._house}/units/{unit}"

    def _bed(self, standing: Standing) -> str:
        return f"{self._house}/units/{standing.unit}/beds/{standing.bed}"


def _kept(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The first, which is the admission, and the last ones."""
    return steps if len(steps) <= STEPS_MAX else (steps[0], *steps[-(STEPS_MAX - 1) :])


def _same(present: Standing, desired: Standing) -> bool:
    """Whether nothing is left to tell."""
    if present.phase is not desired.phase:
        return {present.phase, desired.phase} <= {Phase.NONE, Phase.GONE} and present.phase is not Phase.GONE
    if desired.phase in (Phase.NONE, Phase.GONE):
        return True
    told = ("unit", "bed", "departure", "on_leave", "arrival")
    if any(getattr(present, name) != getattr(desired, name) for name in told):
        return False
    return desired.gender in (Gender.UNDETERMINED, present.gender)


def _cancel(step: Step, at: datetime) -> census_pb2.Movement:
    movement = _movement(at)
    if step.id == ADOPTED:
        movement.discharge.SetInParent()
    else:
        movement.cancellation.cancelled_movement_id = step.id
    return movement


def _movement(at: datetime) -> census_pb2.Movement:
    return census_pb2.Movement(event_time=_stamp(at))


def _gender(gender: Gender) -> terms_pb2.Gender.ValueType:
    return terms_pb2.Gender.Value(f"GENDER_{gender.name}")


def _stamp(instant: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp
