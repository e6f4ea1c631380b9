"""Movements one by one: what each does to the census, its cancellation, and what is parked, with its reason."""

from collections.abc import Callable

import pytest

from aval.kernel.reasons import Reason
from aval.kernel.statuses import ClosureKind, ClosureReason, Gender, SupplementaryKind
from aval.node import commands as c
from aval.node import model as m
from tests.node.core import oracle
from tests.node.core.house import BEDS, DAY, HOUR, MONDAY, PLACES, House, house

CLOSING = m.BedClosed(BEDS, MONDAY, MONDAY + 2 * DAY, ClosureKind.REOPENABLE, ClosureReason.STAFF, ("b3", "b4"))


def truth(made: House) -> dict[m.Kind, dict[str, m.Fact]]:
    """The census as it stands, without what only remembers messages and the last movement's name."""
    kinds = (m.Kind.STAY, m.Kind.EXPECTED, m.Kind.CLOSURE, m.Kind.BED, m.Kind.PLACES)
    return {kind: dict(made.ledger.all(kind)) for kind in kinds}


def admitted(made: House) -> None:
    """A patient in b2."""
    made.move(m.Admission(BEDS, "b2", Gender.FEMALE, to_clean_after=True), "s")


def on_leave(made: House) -> None:
    """That patient, away."""
    admitted(made)
    made.move(m.Leave(keep_bed=False), "s")


def shut(made: House) -> None:
    """b4 and b3 closed for two days."""
    made.move(CLOSING, source="hand")


def nothing(made: House) -> None:
    """An empty house."""


def left_to_clean(made: House) -> None:
    """That patient gone, the bed to be cleaned."""
    admitted(made)
    made.move(m.Discharge(), "s")


def full(made: House) -> None:
    """Every counted place taken."""
    for number in range(3):
        made.move(m.Admission(PLACES), f"in-{number}")


Told = tuple[Callable[[House], None], m.MovementChange, str]
"""What came before, what is told, and of which stay."""

MOVEMENTS: dict[str, Told] = {
    "admission": (nothing, m.Admission(BEDS, "b1", Gender.FEMALE), "s"),
    "admission without bed": (nothing, m.Admission(BEDS, None, Gender.MALE), "s"),
    "admission to a place": (nothing, m.Admission(PLACES, None, Gender.FEMALE), "s"),
    "admission to a bed that waits for cleaning": (nothing, m.Admission(BEDS, "b6"), "s"),
    "transfer": (admitted, m.Transfer(BEDS, "b4"), "s"),
    "transfer to another unit": (admitted, m.Transfer(PLACES), "s"),
    "discharge": (admitted, m.Discharge(to_clean=True), "s"),
    "leave": (admitted, m.Leave(keep_bed=False, return_time=MONDAY + DAY), "s"),
    "return": (on_leave, m.LeaveReturn("b4"), "s"),
    "departure announced": (admitted, m.DepartureAnnounced(MONDAY + DAY), "s"),
    "arrival expected": (nothing, m.ArrivalExpected(BEDS, MONDAY + DAY, "b1"), "s"),
    "closed": (nothing, CLOSING, ""),
    "opened": (shut, m.BedOpened(BEDS, ("b3",)), ""),
    "mobilised": (nothing, m.BedOpened(BEDS, ("b6",)), ""),
    "places opened": (nothing, m.BedOpened(PLACES, places=2), ""),
    "cleaned": (
        left_to_clean,
        m.BedCleaned(BEDS, "b2"),
        "",
    ),
}


@pytest.mark.parametrize("name", list(MOVEMENTS))
def test_a_cancellation_puts_back_what_was(name: str) -> None:
    """Each movement changes the census; its cancellation undoes exactly that; a second one is nothing new."""
    start, told, stay = MOVEMENTS[name]
    made = house()
    start(made)
    before = truth(made)
    verdict = made.move(told, stay, name="told")
    assert verdict.fate is m.Fate.APPLIED
    assert truth(made) != before
    oracle.check(made.ledger, made.now)
    assert made.move(told, stay, name="told").fate is m.Fate.ALREADY
    cancelled = made.move(m.Cancellation("told"), name="cancel")
    assert cancelled.fate is m.Fate.APPLIED
    assert truth(made) == before
    twice = made.move(m.Cancellation("told"), name="cancel again")
    assert (twice.fate, twice.reason) == (m.Fate.ALREADY, "CANCELLED")
    assert not made.ledger.all(m.Kind.PARKED)


CONTRADICTIONS: dict[str, Told] = {
    "UNIT_UNKNOWN": (nothing, m.Admission("nowhere", "b1"), "x"),
    "STAY_UNKNOWN": (nothing, m.Discharge(), "x"),
    "STAY_ALREADY_PRESENT": (admitted, m.Admission(PLACES), "s"),
    "CANCELLED_UNKNOWN": (nothing, m.Cancellation("never told"), ""),
    "LEAVE_MISMATCH": (admitted, m.LeaveReturn(), "s"),
    "CLOSURE_UNKNOWN": (nothing, m.BedOpened(BEDS, ("b3",)), ""),
}
"""What does not fit, and of which nothing can be applied yet."""

IN_NO_BED: dict[str, Told] = {
    "BED_UNKNOWN": (nothing, m.Admission(BEDS, "b99"), "x"),
    "BED_OCCUPIED": (admitted, m.Admission(BEDS, "b2"), "x"),
    "UNIT_FULL": (full, m.Admission(PLACES), "x"),
    "BED_CLOSED": (shut, m.Admission(BEDS, "b3"), "x"),
}
"""What is applied as far as truth allows: a patient is there, only where is in question."""


@pytest.mark.parametrize("reason", list(CONTRADICTIONS))
def test_a_contradiction_is_parked_and_settled(reason: str) -> None:
    """Nothing of it is applied, nothing of it is lost: a person reads it and discards it, or corrects it."""
    start, change, stay = CONTRADICTIONS[reason]
    made = house()
    start(made)
    before = truth(made)
    verdict = made.move(change, stay, name="odd")
    assert (verdict.fate, verdict.reason) == (m.Fate.PARKED, reason)
    assert truth(made) == before
    assert verdict.parked is not None
    without = made.say(c.SettleMovement, parked=verdict.parked.id)
    assert without.refusal is not None
    assert without.refusal.reason is Reason.REASON_REQUIRED
    corrected = m.Movement("his", "odd", m.Admission(BEDS, "b1", Gender.FEMALE), "corrected")
    settled = made.say(c.SettleMovement, parked=verdict.parked.id, corrected=corrected)
    assert settled.fate is m.Fate.APPLIED
    stays = made.book(BEDS).stays
    assert stays["corrected"].bed == "b1"
    assert not made.ledger.all(m.Kind.PARKED)
    assert made.move(change, stay, name="odd").fate is m.Fate.ALREADY
    gone = made.say(c.SettleMovement, parked=verdict.parked.id, corrected=corrected)
    assert gone.refusal is not None
    assert gone.refusal.reason is Reason.MOVEMENT_NOT_FOUND


@pytest.mark.parametrize("reason", list(IN_NO_BED))
def test_a_patient_whose_bed_is_in_question_counts_in_the_unit(reason: str) -> None:
    """Nothing is promised that may be taken; people read why, and may leave it at that, or correct it."""
    start, change, stay = IN_NO_BED[reason]
    assert isinstance(change, m.Admission)
    for corrected in (True, False):
        made = house()
        start(made)
        before = len(made.book(change.unit).stays)
        verdict = made.move(change, stay, name="odd")
        assert (verdict.fate, verdict.reason) == (m.Fate.PARKED, reason)
        assert len(made.book(change.unit).stays) == before + 1
        assert made.book(change.unit).stays[stay].bed is None
        oracle.check(made.ledger, made.now)
        assert verdict.parked is not None
        if corrected:
            right = m.Movement("his", "odd", m.Admission(BEDS, "b1", Gender.FEMALE), stay)
            settled = made.say(c.SettleMovement, parked=verdict.parked.id, corrected=right)
            assert settled.fate is m.Fate.APPLIED
            assert made.book().stays[stay].bed == "b1"
        else:
            made.say(c.SettleMovement, parked=verdict.parked.id, reason="on sait")
            assert stay in made.book(change.unit).stays
        assert not made.ledger.all(m.Kind.PARKED)
        made.move(m.DepartureAnnounced(made.now + DAY), stay)
        assert not made.ledger.all(m.Kind.PARKED)


def test_a_source_that_the_unit_does_not_list_is_parked() -> None:
    """A person may still say that it was right."""
    made = house()
    verdict = made.move(m.Admission(BEDS, "b1"), "s", source="stranger")
    assert (verdict.fate, verdict.reason) == (m.Fate.PARKED, "SOURCE_NOT_OF_UNIT")
    assert verdict.parked is not None
    settled = made.say(c.SettleMovement, parked=verdict.parked.id, corrected=verdict.parked.movement)
    assert settled.fate is m.Fate.APPLIED


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (m.Admission(BEDS, "b1"), "FIELD_INVALID"),
        (m.BedOpened(PLACES, places=0), "COUNT_OUT_OF_RANGE"),
    ],
)
def test_what_cannot_be_a_movement_is_refused(change: m.MovementChange, reason: str) -> None:
    """Not acceptable as a message: the census keeps nothing of it, and said again it is refused again."""
    made = house()
    before = truth(made)
    for _ in range(2):
        verdict = made.move(change, "", name="odd")
        assert (verdict.fate, verdict.reason) == (m.Fate.REFUSED, reason)
        assert truth(made) == before


def test_a_refused_movement_never_acts_later() -> None:
    """Too many places to close today; tomorrow there would be enough, and the same message is still refused."""
    made = house()
    closed = m.BedClosed(PLACES, MONDAY, MONDAY + DAY, ClosureKind.REOPENABLE, ClosureReason.STAFF, places=6)
    assert made.move(closed, source="hand", name="much").reason == "COUNT_OUT_OF_RANGE"
    made.move(m.BedOpened(PLACES, places=4), source="hand")
    again = made.move(closed, source="hand", name="much")
    assert (again.fate, again.replayed) == (m.Fate.REFUSED, True)
    assert not made.book(PLACES).closures


def test_a_past_movement_is_cancelled_and_what_came_after_stands() -> None:
    """An admission after which the patient was moved: the move says that the patient is there."""
    made = house()
    made.move(m.Admission(BEDS, "b1"), "s", name="first")
    made.move(m.Transfer(BEDS, "b4"), "s", name="second")
    assert made.move(m.Cancellation("first")).fate is m.Fate.APPLIED
    assert made.book().stays["s"].bed == "b4"
    assert made.move(m.Cancellation("second")).fate is m.Fate.APPLIED
    assert not made.book().stays


def test_a_discharge_cancelled_after_its_bed_was_taken() -> None:
    """Both are said to be in it: the first one has never left; the other is here, in no known bed, which is shown."""
    made = house()
    admitted(made)
    made.move(m.Discharge(), "s", name="gone")
    made.later(HOUR)
    made.move(m.Admission(BEDS, "b2", Gender.FEMALE), "next")
    assert made.move(m.Cancellation("gone")).fate is m.Fate.APPLIED
    assert [made.book().stays[key].bed for key in ("s", "next")] == ["b2", None]
    assert len(made.ledger.all(m.Kind.PARKED)) == 1
    oracle.check(made.ledger, made.now)


def test_an_expected_patient_arrives_or_is_forgotten() -> None:
    """Expected by the house itself: no doubt is raised; a day late, the place is free again."""
    made = house()
    made.move(m.ArrivalExpected(BEDS, made.now + HOUR, "b1", Gender.FEMALE), "s1")
    made.move(m.ArrivalExpected(BEDS, made.now + HOUR, "b4", Gender.FEMALE), "s2")
    assert made.move(m.Admission(BEDS, "b1", Gender.FEMALE), "s1").doubt is None
    assert list(made.book().expected) == ["s2"]
    made.later(26 * HOUR)
    assert not made.book().expected


def test_a_bed_that_is_left_out_goes_when_it_is_empty() -> None:
    """Declared no more, it takes nobody new, and is removed once its patient has left."""
    made = house()
    admitted(made)
    unit = made.ledger.unit(BEDS)
    assert unit is not None
    beds = tuple(bed for bed in made.book().beds.values() if bed.id != "b2")
    made.say(c.DeclareUnit, unit=unit, rooms=tuple(made.book().rooms.values()), beds=beds)
    assert made.book().beds["b2"].leaving
    made.move(m.Discharge(), "s")
    assert "b2" not in made.book().beds


def test_a_patient_in_a_supplementary_bed_mobilises_it() -> None:
    """Reality wins: somebody lies in it."""
    made = house()
    made.move(m.Admission(BEDS, "b6"), "s")
    assert made.book().beds["b6"].supplementary is SupplementaryKind.MOBILISED


def test_replays_of_movements_are_forgotten_after_30_days() -> None:
    """Their records go; the census stays."""
    made = house()
    admitted(made)
    made.later(31 * DAY)
    assert not made.ledger.all(m.Kind.MOVEMENT)
    assert "s" in made.book().stays
