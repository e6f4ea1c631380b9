"""Messages that come late, twice, or out of order: whichever way a day's movements come, the census is the same."""

import random
from collections import Counter
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aval.kernel.statuses import ClosureKind, ClosureReason, Counting, Gender
from aval.node import commands as c
from aval.node import model as m
from aval.node.movements import TOLD_MAX
from tests.node.core import oracle
from tests.node.core.house import BED_FACTS, BEDS, DAY, HIS, HOUR, MONDAY, PLACES, ROOMS, House, house

MINUTE = timedelta(minutes=1)
WINDOW = 12 * HOUR
"""How late a message may come."""


def tell(made: House, movement: m.Movement) -> c.Verdict:
    """Tells a movement, as it is."""
    return made.say(c.ApplyMovement, movement=movement, command_id="", content=repr(movement).encode())


def census(made: House) -> dict[str, object]:
    """Who is where, which beds are to be cleaned, and what people are asked to settle."""
    stays = {
        stay.key: (stay.unit, stay.bed, stay.place, stay.gender, stay.on_leave, stay.departure, stay.since, stay.placed)
        for unit in (BEDS, PLACES)
        for stay in made.book(unit).stays.values()
    }
    expected = {
        one.key: (one.unit, one.bed, one.arrival, one.departure)
        for unit in (BEDS, PLACES)
        for one in made.book(unit).expected.values()
    }
    waiting = Counter((one.movement.key, one.reason) for one in made.ledger.all_parked().values())
    to_clean = {bed.id for bed in made.book(BEDS).beds.values() if bed.to_clean_since is not None}
    return {"stays": stays, "expected": expected, "waiting": waiting, "to clean": to_clean}


class Story:
    """One patient's movements of the day, in their true order, and the messages that tell them."""

    def __init__(
        self, rng: random.Random, stay: str, begins: datetime, shares: Counter[str], *, calm: bool = False
    ) -> None:
        self.rng, self.stay, self.at, self.shares, self.calm = rng, stay, begins, shares, calm
        self.messages: list[m.Movement] = []
        self.numbers = 0
        if rng.random() < 0.2:
            unit, bed = self.place()
            self.add(m.ArrivalExpected(unit, self.at + HOUR, bed, Gender.FEMALE))
        unit, bed = self.place()
        self.add(m.Admission(unit, bed, rng.choice([Gender.FEMALE, Gender.MALE]), to_clean_after=rng.random() < 0.3))
        for _ in range(rng.randrange(0, 5)):
            self.something()
        if rng.random() < 0.6:
            self.add(m.Discharge(rng.random() < 0.3))
            if rng.random() < 0.1 and not self.calm:
                self.cancel()

    def place(self) -> tuple[str, str | None]:
        """A unit, and often a bed of it: few, so that two patients are told for one."""
        unit = self.rng.choice([BEDS, BEDS, BEDS, PLACES])
        return unit, self.rng.choice(["b1", "b2", "b3", "b4", None]) if unit == BEDS else None

    def something(self) -> None:
        """One more event, or a correction of the last one."""
        rng = self.rng
        way = rng.random() * (0.7 if self.calm else 1)
        if way < 0.4:
            self.add(m.Transfer(*self.place()))
            if rng.random() < 0.3:
                self.add(m.Transfer(*self.place()))
        elif way < 0.6:
            self.add(m.Leave(rng.random() < 0.5))
            self.add(m.LeaveReturn())
        elif way < 0.7:
            self.add(m.DepartureAnnounced(self.at + rng.randrange(1, 50) * HOUR))
        elif way < 0.8:
            self.cancel()
        else:
            self.correct()

    def add(self, change: m.MovementChange, stay: str = "", at: datetime | None = None, corrects: str = "") -> None:
        """The next event, told by one message or two."""
        self.numbers += 1
        self.at += self.rng.randrange(1, 20) * MINUTE + timedelta(seconds=self.rng.randrange(60))
        of_stay = not isinstance(change, m.Cancellation)
        movement = m.Movement(
            "his",
            f"{self.stay}-{self.numbers}",
            change,
            (stay or self.stay) if of_stay else "",
            event_time=at or self.at,
            corrects=corrects,
        )
        self.messages.append(movement)
        self.shares[type(change).__name__ + (" corrected" if corrects else "")] += 1
        if self.rng.random() < 0.15:
            self.messages.append(movement)
            self.shares["told twice"] += 1

    def cancel(self) -> None:
        """Takes back one of the last movements: of long ago too, such as a transfer after the discharge."""
        told = [one for one in self.messages[-3:] if not isinstance(one.change, m.Cancellation)]
        if told:
            self.add(m.Cancellation(self.rng.choice(told).id))

    def correct(self) -> None:
        """Another bed, and another time, for a movement that was told."""
        again = {one.corrects for one in self.messages}  # of two corrections, only a number says which is the last
        told = [
            one
            for one in self.messages
            if isinstance(one.change, m.Admission | m.Transfer) and not one.corrects and one.id not in again
        ]
        if told:
            wrong = self.rng.choice(told)
            assert isinstance(wrong.change, m.Admission | m.Transfer)
            unit, bed = self.place()
            right: m.MovementChange = m.Transfer(unit, bed)
            if isinstance(wrong.change, m.Admission):
                right = m.Admission(unit, bed, wrong.change.gender)
            at = (wrong.event_time or self.at) + timedelta(seconds=self.rng.randrange(-60, 60))
            self.add(right, at=at, corrects=wrong.id)

    def merge(self) -> None:
        """The later half was told under another number."""
        half = self.numbers // 2
        other = f"{self.stay}x"
        later = {one.id for one in self.messages if int(one.id.rpartition("-")[2]) > half}
        self.messages = [m_replace(one, other) if one.stay and one.id in later else one for one in self.messages]
        self.add(m.StayMerged(other))


def m_replace(movement: m.Movement, stay: str) -> m.Movement:
    """The movement, of another stay."""
    return m.Movement(
        movement.source, movement.id, movement.change, stay, movement.sequence, movement.event_time, movement.corrects
    )


def day(rng: random.Random, shares: Counter[str]) -> list[m.Movement]:
    """The messages of a day, in the order of their events."""
    messages = []
    calm = rng.random() < 0.3  # nothing is taken back
    for number in range(8):
        begins = MONDAY + rng.randrange(0, 240) * MINUTE + timedelta(seconds=number)
        story = Story(rng, f"s{number}", begins, shares, calm=calm)
        if rng.random() < 0.25 and not calm:
            story.merge()
        messages += story.messages
    return sorted(messages, key=lambda one: one.event_time or MONDAY)


def told_in(messages: list[m.Movement]) -> House:
    """A house to which they are told in that order, a minute after one another."""
    made = house()
    made.now = MONDAY + WINDOW
    for movement in messages:
        made.now += timedelta(seconds=1)
        verdict = tell(made, movement)
        assert verdict.fate is not m.Fate.REFUSED, verdict
        oracle.check(made.ledger, made.now)
    return made


@settings(max_examples=60)
@given(st.integers(min_value=0, max_value=2**32))
def test_any_order_of_a_days_messages_gives_the_same_census(seed: int) -> None:
    """Cancellations before what they cancel, corrections first, chains of transfers, merges, doubles: all the same."""
    rng = random.Random(seed)
    messages = day(rng, Counter())
    there = census(told_in(messages))
    for _ in range(3):
        rng.shuffle(messages)
        assert census(told_in(messages)) == there


def test_a_generated_day_holds_what_makes_it_hard() -> None:
    """In shares that matter: else the property would prove little."""
    shares: Counter[str] = Counter()
    total = sum(len(day(random.Random(seed), shares)) for seed in range(50))
    for hard in ("Cancellation", "Admission corrected", "Transfer corrected", "StayMerged", "Leave", "told twice"):
        assert shares[hard] / total > 0.005, f"{hard}: {shares[hard]} of {total}"


# --- one story a test ------------------------------------------------------------------------------------------------


def at(minutes: int) -> datetime:
    """An instant of the morning."""
    return MONDAY + minutes * MINUTE


def said(
    name: str, change: m.MovementChange, minutes: int, stay: str = "s", sequence: int = 0, corrects: str = ""
) -> m.Movement:
    """A movement of the information system."""
    of_stay = not isinstance(change, m.Cancellation)
    return m.Movement("his", name, change, stay if of_stay else "", sequence, at(minutes), corrects)


@pytest.fixture
def made() -> House:
    """A house at noon."""
    ready = house()
    ready.now = MONDAY + 4 * HOUR
    return ready


def test_a_discharge_before_its_admission_waits_and_settles_itself(made: House) -> None:
    """In the list of what waits it is read; the admission comes; nobody is here and nothing waits."""
    assert tell(made, said("out", m.Discharge(), 60)).fate is m.Fate.PARKED
    assert [one.reason for one in made.ledger.all_parked().values()] == [m.ParkReason.STAY_UNKNOWN]
    assert tell(made, said("in", m.Admission(BEDS, "b1"), 0)).fate is m.Fate.APPLIED
    assert not made.book().stays
    assert not made.ledger.all_parked()


def test_a_transfer_before_its_admission_is_an_arrival(made: House) -> None:
    """The patient is there, whoever forgot to say so; the admission adds what it knows."""
    assert tell(made, said("move", m.Transfer(BEDS, "b4"), 60)).fate is m.Fate.APPLIED
    assert made.book().stays["s"].bed == "b4"
    tell(made, said("in", m.Admission(BEDS, "b1", Gender.MALE), 0))
    stay = made.book().stays["s"]
    assert (stay.bed, stay.gender, stay.since) == ("b4", Gender.MALE, at(0))


def test_a_cancellation_before_what_it_cancels(made: House) -> None:
    """It waits, and takes effect when that comes; what is cancelled is never seen in the census."""
    tell(made, said("in", m.Admission(BEDS, "b1"), 0))
    early = tell(made, said("undo", m.Cancellation("out"), 70))
    assert (early.fate, early.reason) == (m.Fate.PARKED, "CANCELLED_UNKNOWN")
    late = tell(made, said("out", m.Discharge(), 60))
    assert (late.fate, late.reason) == (m.Fate.APPLIED, "CANCELLED")
    assert made.book().stays["s"].bed == "b1"
    assert not made.ledger.all_parked()
    assert tell(made, said("out", m.Discharge(), 60)).fate is m.Fate.ALREADY


def test_what_is_parked_can_be_withdrawn_by_its_source(made: House) -> None:
    """A person need not read it any more."""
    tell(made, said("odd", m.Admission("nowhere"), 0))
    assert tell(made, said("undo", m.Cancellation("odd"), 1)).fate is m.Fate.APPLIED
    assert not made.ledger.all_parked()


def test_a_late_transfer_of_a_chain_changes_nothing_later(made: House) -> None:
    """Told last, it happened before the last."""
    tell(made, said("in", m.Admission(BEDS, "b1"), 0))
    tell(made, said("third", m.Transfer(BEDS, "b4"), 120))
    tell(made, said("second", m.Transfer(PLACES), 60))
    assert made.book().stays["s"].bed == "b4"
    assert not made.book(PLACES).stays


def test_a_historic_transfer_cancelled_after_the_discharge(made: House) -> None:
    """The patient left from the first bed: that one is to be cleaned, and the other never was."""
    tell(made, said("in", m.Admission(BEDS, "b1", to_clean_after=True), 0))
    tell(made, said("move", m.Transfer(BEDS, "b4"), 60))
    tell(made, said("out", m.Discharge(), 120))
    tell(made, said("undo", m.Cancellation("move"), 130))
    assert {bed.id for bed in made.book().beds.values() if bed.to_clean_since} == {"b1"}


def test_a_correction_moves_a_past_movement_in_place_and_time(made: House) -> None:
    """Of several the last of its source stands, whichever comes last; cancelling the correction puts the first back."""
    tell(made, said("right", m.Transfer(BEDS, "b2"), 30, corrects="wrong"))
    tell(made, said("in", m.Admission(BEDS, "b1"), 0))
    tell(made, said("wrong", m.Transfer(BEDS, "b4"), 60))
    assert made.book().stays["s"].bed == "b2"
    tell(made, said("undo", m.Cancellation("right"), 90))
    assert made.book().stays["s"].bed == "b4"
    tell(made, said("undo too", m.Cancellation("wrong"), 95))
    assert made.book().stays["s"].bed == "b1"


def test_a_source_that_numbers_its_movements_is_heard_in_that_order(made: House) -> None:
    """Whatever it says of the time."""
    tell(made, said("two", m.Transfer(BEDS, "b2"), 10, sequence=2))
    tell(made, said("three", m.Transfer(BEDS, "b4"), 5, sequence=3))
    tell(made, said("one", m.Admission(BEDS, "b1"), 20, sequence=1))
    assert made.book().stays["s"].bed == "b4"


def test_the_next_patient_gets_the_bed_when_the_first_ones_departure_is_told(made: House) -> None:
    """In between both count, and people are shown why one is in no bed."""
    tell(made, said("a", m.Admission(BEDS, "b1"), 0, "first"))
    second = tell(made, said("b", m.Admission(BEDS, "b1"), 60, "second"))
    assert (second.fate, second.reason) == (m.Fate.PARKED, "BED_OCCUPIED")
    assert made.book().stays["second"].bed is None
    tell(made, said("a out", m.Discharge(), 50, "first"))
    assert made.book().stays["second"].bed == "b1"
    assert not made.ledger.all_parked()


def test_two_patients_change_beds(made: House) -> None:
    """One at a time, as the messages must come; at the end each is where the other was."""
    tell(made, said("a", m.Admission(BEDS, "b1"), 0, "first"))
    tell(made, said("b", m.Admission(BEDS, "b4"), 1, "second"))
    tell(made, said("a moves", m.Transfer(BEDS, "b4"), 60, "first"))
    tell(made, said("b moves", m.Transfer(BEDS, "b1"), 60, "second"))
    assert [made.book().stays[key].bed for key in ("first", "second")] == ["b4", "b1"]
    assert not made.ledger.all_parked()


def test_a_bed_that_is_no_more_known_is_said_so(made: House) -> None:
    """Within the unit, an empty bed changes nothing; « unknown » does."""
    tell(made, said("in", m.Admission(BEDS, "b1"), 0))
    tell(made, said("same", m.Transfer(BEDS), 10))
    assert made.book().stays["s"].bed == "b1"
    tell(made, said("lost", m.Transfer(BEDS, None, bed_unknown=True), 20))
    assert made.book().stays["s"].bed is None
    tell(made, said("later", m.DepartureAnnounced(MONDAY + DAY), 30))
    assert made.book().stays["s"].bed is None


def test_a_patient_in_a_closed_bed_gets_it_when_it_opens(made: House) -> None:
    """Counted in the unit meanwhile."""
    closed = m.BedClosed(BEDS, MONDAY, MONDAY + DAY, ClosureKind.REOPENABLE, ClosureReason.STAFF, ("b4",))
    made.move(closed, source="hand")
    assert tell(made, said("in", m.Admission(BEDS, "b4"), 60)).reason == "BED_CLOSED"
    assert made.book().stays["s"].bed is None
    made.move(m.BedOpened(BEDS, ("b4",)), source="hand")
    assert made.book().stays["s"].bed == "b4"
    assert not made.ledger.all_parked()


def test_a_unit_that_is_declared_gets_what_waited_for_it(made: House) -> None:
    """In the order of events, all of it; a patient moved to an unknown unit has left the known one."""
    tell(made, said("a", m.Admission("later", "x1"), 0, "first"))
    tell(made, said("b", m.Admission(BEDS, "b1"), 0, "second"))
    tell(made, said("b moves", m.Transfer("later", "x2"), 10, "second"))
    tell(made, said("a out", m.Discharge(), 20, "first"))
    assert not made.book().stays
    assert len(made.ledger.all_parked()) == 1, "of the first nothing is asked any more"
    known = made.ledger.unit(BEDS)
    assert known is not None
    rooms = (m.Room("later", "r", ROOMS[2].rule),)
    beds = tuple(m.Bed("later", bed, "r") for bed in ("x1", "x2"))
    unit = m.Unit("later", "Plus tard", known.discipline, Counting.BEDS, (HIS,))
    made.say(c.DeclareUnit, unit=unit, rooms=rooms, beds=beds)
    assert {key: stay.bed for key, stay in made.book("later").stays.items()} == {"second": "x2"}
    assert not made.ledger.all_parked()


def test_a_bed_that_is_declared_gets_its_patient(made: House) -> None:
    """The house had forgotten it."""
    tell(made, said("in", m.Admission(BEDS, "b7"), 0))
    unit = made.ledger.unit(BEDS)
    assert unit is not None
    made.say(c.DeclareUnit, unit=unit, rooms=ROOMS, beds=(*BED_FACTS, m.Bed(BEDS, "b7", "mixed")))
    assert made.book().stays["s"].bed == "b7"
    assert not made.ledger.all_parked()


def test_an_opening_before_its_closing_reopens(made: House) -> None:
    """The source's clock says which came first; without it nothing is guessed."""
    closed = m.BedClosed(BEDS, at(0), MONDAY + DAY, ClosureKind.REOPENABLE, ClosureReason.STAFF, ("b4",))
    tell(made, said("open", m.BedOpened(BEDS, ("b4",)), 60, ""))
    tell(made, said("close", closed, 0, ""))
    assert not made.book().closures
    assert not made.ledger.all_parked()
    tell(made, m.Movement("his", "open2", m.BedOpened(BEDS, ("b2",))))
    tell(made, m.Movement("his", "close2", m.BedClosed(BEDS, at(0), MONDAY + DAY, closed.kind, closed.reason, ("b2",))))
    assert len(made.book().closures) == 1


def test_a_closure_told_late_is_applied_and_its_reopening_asked(made: House) -> None:
    """Its planned end has passed: the beds stay closed until somebody opens them."""
    late = m.BedClosed(BEDS, at(0), at(60), ClosureKind.REOPENABLE, ClosureReason.STAFF, ("b4",))
    assert tell(made, said("close", late, 0, "")).fate is m.Fate.APPLIED
    (closure,) = made.book().closures.values()
    assert closure.reopening_asked
    oracle.check(made.ledger, made.now)
    made.later(2 * DAY)
    assert made.book().closures
    backwards = m.BedClosed(BEDS, at(60), at(0), ClosureKind.REOPENABLE, ClosureReason.STAFF, ("b4",))
    assert tell(made, said("never", backwards, 0, "")).reason == "TIME_OUT_OF_RANGE"


def test_two_registrations_of_one_visit(made: House) -> None:
    """One patient, counted once; what comes under the old number later is of the new one; parted, each has its own."""
    tell(made, said("in", m.Admission(BEDS, "b1"), 0, "old"))
    tell(made, said("again", m.Admission(PLACES), 30, "new"))
    tell(made, said("merge", m.StayMerged("old"), 40, "new"))
    assert not made.book().stays
    assert list(made.book(PLACES).stays) == ["new"]
    tell(made, said("moves", m.Transfer(BEDS, "b4"), 50, "old"))
    assert made.book().stays["new"].bed == "b4"
    tell(made, said("part", m.Cancellation("merge"), 60))
    assert {key: stay.bed for key, stay in made.book().stays.items()} == {"old": "b4"}
    assert list(made.book(PLACES).stays) == ["new"]


def test_a_stay_that_gets_another_number_keeps_its_reservation(made: House) -> None:
    """The link follows."""
    made.create("r1")
    offer = made.reservation("r1").offer
    assert offer is not None
    made.say(c.ConfirmReservation, reservation="r1", offer_tag=offer.tag)
    tell(made, said("in", m.Admission(BEDS, "b4", reservation="R1"), 0, "old"))
    assert made.state("r1") == "ADMITTED"
    tell(made, said("merge", m.StayMerged("old"), 10, "new"))
    assert made.reservation("r1").stay == "new"
    assert made.book().stays["new"].reservation == made.reservation("r1").key
    oracle.check(made.ledger, made.now)


def test_a_transfer_back_keeps_what_a_person_has_linked(made: House) -> None:
    """A reservation linked by hand between a transfer and its cancellation stays linked."""
    made.create("r1")
    tell(made, said("in", m.Admission(BEDS, "b4"), 0))
    tell(made, said("move", m.Transfer(BEDS, "b2"), 10))
    made.say(c.AdmitReservation, reservation="r1", stay="s")
    tell(made, said("undo", m.Cancellation("move"), 20))
    stay = made.book().stays["s"]
    assert (stay.bed, stay.reservation) == ("b4", made.reservation("r1").key)


def test_a_transfer_asks_whether_it_is_the_one_expected(made: House) -> None:
    """Of a house's own ward: an arrival of a reservation may come as a transfer."""
    made.create("r1", arrival_earliest=made.now)
    tell(made, said("in", m.Admission(PLACES, None, Gender.FEMALE), 0))
    assert tell(made, said("move", m.Transfer(BEDS, "b4"), 10)).doubt is not None


def test_who_leaves_for_a_unit_of_another_source_has_left(made: House) -> None:
    """Where to is the other source's to say; the bed is free."""
    known = made.ledger.unit(PLACES)
    assert known is not None
    other = m.Source("other", HIS.kind, HIS.fresh_max, HIS.stale_min, "gam")
    unit = m.Unit("theirs", "À eux", known.discipline, Counting.PLACES, (other,))
    made.say(c.DeclareUnit, unit=unit, places=(c.DeclaredPlaces(Gender.ANY, 2, 0, 2),))
    tell(made, said("in", m.Admission(BEDS, "b1"), 0))
    moved = tell(made, said("move", m.Transfer("theirs"), 10))
    assert (moved.fate, moved.reason) == (m.Fate.PARKED, "SOURCE_NOT_OF_UNIT")
    assert not made.book().stays
    assert not made.book("theirs").stays


def test_a_story_is_bounded_and_forgotten(made: House) -> None:
    """Beyond the bound what was told is taken as settled; a month after the last word nothing but the stay is kept."""
    tell(made, said("in", m.Admission(BEDS, "b1"), 0))
    for number in range(TOLD_MAX + 10):
        tell(made, said(f"d{number}", m.DepartureAnnounced(MONDAY + 90 * DAY + number * HOUR), number))
    story = made.ledger.story("s")
    assert story is not None
    assert len(story.told) < 20
    stay = made.book().stays["s"]
    for _ in range(3):
        made.later(31 * DAY)
    assert made.ledger.story("s") is None
    assert made.book().stays["s"].bed == stay.bed
    tell(made, said("out", m.Discharge(), 60))
    assert not made.book().stays
