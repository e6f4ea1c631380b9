"""Whatever is said to a ledger, in any order: invariants 1, 4 and 5 of DESIGN §8, purity, restarts."""

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from aval.kernel.lifecycle import (
    DeclineReason,
    NoteVerdict,
    Question,
    ReleaseReason,
    ReservationState,
    WaitlistReason,
    WithdrawReason,
)
from aval.kernel.need import Feature, Mode, Urgency
from aval.kernel.statuses import Answering, ClosureKind, ClosureReason, Gender
from aval.node import commands as c
from aval.node import model as m
from aval.node.availability import figures
from aval.node.ledger import Ledger
from tests.node.core import oracle
from tests.node.core.house import BED_FACTS, BEDS, DAY, HOUR, PLACES, ROOMS, House, house, stored

GENDERS = (Gender.FEMALE, Gender.MALE, Gender.ANY)
STEPS = 80
"""Commands of one random day: enough for every cascade, few enough for many days."""


class Day:
    """A seeded sequence of commands of every kind, sensible and foolish, to one house."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        policy = m.Policy(
            answering=self.rng.choice([Answering.AUTOMATIC] * 4 + [Answering.PERSON]),
            ttl=2 * DAY,
            promise_on_announced=self.rng.random() < 0.7,
            turnover_minutes=self.rng.choice([0, 60]),
            grant_waiting_list=self.rng.random() < 0.5,
            notes=m.NotePolicy(apply_yes=self.rng.random() < 0.5),
        )
        self.house = house(policy)
        self.movements: list[m.Movement] = []

    def step(self) -> None:
        """One command, or time."""
        kinds = (
            [self.move] * 8 + [self.demand] * 5 + [self.hub] * 4 + [self.staff] * 4 + [self.home] * 3 + [self.wait] * 2
        )
        self.rng.choice(kinds)()

    # Choices

    def unit(self) -> str:
        return self.rng.choice([BEDS, BEDS, PLACES])

    def bed(self) -> str:
        return self.rng.choice(["b1", "b2", "b3", "b4", "b5", "b6"] * 4 + ["b9"])

    def stay(self) -> str:
        present = list(self.house.ledger.all(m.Kind.STAY)) + list(self.house.ledger.all(m.Kind.EXPECTED))
        fresh = f"s{next(self.house.ids)}"
        return self.rng.choice([*present * 3, fresh])

    def instant(self) -> Any:
        return self.house.now + timedelta(hours=self.rng.choice([-2, 1, 5, 26, 50, 100, 300]))

    def known(self) -> str:
        """A reservation: mostly one that lives, sometimes a final one, seldom nobody's."""
        found = [r for r in self.house.ledger.all(m.Kind.RESERVATION).values() if isinstance(r, m.Reservation)]
        live = [r.id for r in found if r.state.is_live]
        return self.rng.choice(live if live and self.rng.random() < 0.85 else [*(r.id for r in found), "nobody"])

    # Commands

    def move(self) -> None:
        rng, now = self.rng, self.house.now
        unit = self.unit()
        bed = self.bed() if unit == BEDS and rng.random() < 0.9 else None
        reference = rng.choice(["", "", "", self.known().upper()])
        gender = rng.choice([*GENDERS[:2], Gender.UNDETERMINED])
        later = rng.choice([None, self.instant()])
        start = now + timedelta(hours=rng.choice([-1, 0, 24]))
        changes: list[m.MovementChange] = [
            m.Admission(unit, bed, gender, reference, later, rng.random() < 0.2),
            m.Admission(unit, bed, gender, "", later),
            m.Admission(unit, bed, gender, "", later),
            m.Transfer(unit, bed),
            m.Discharge(rng.random() < 0.3),
            m.Discharge(),
            m.Leave(rng.random() < 0.5, rng.choice([None, self.instant()])),
            m.LeaveReturn(rng.choice([None, bed])),
            m.DepartureAnnounced(later),
            m.ArrivalExpected(unit, self.instant(), bed, gender, rng.choice([None, now + 500 * HOUR])),
            m.BedClosed(
                unit,
                start,
                start + timedelta(hours=rng.choice([2, 30, 400])),
                ClosureKind.REOPENABLE,
                ClosureReason.STAFF,
                () if unit == PLACES else (self.bed(), self.bed()),
                rng.randrange(0, 3),
            ),
            m.BedOpened(unit, () if unit == PLACES else (self.bed(),), rng.randrange(0, 2), self.closure(unit)),
            m.BedCleaned(unit, self.bed()),
            m.Cancellation(rng.choice([x.id for x in self.movements[-8:]] or ["m0"])),
        ]
        change = rng.choice(changes)
        keyed = not isinstance(change, m.BedClosed | m.BedOpened | m.BedCleaned | m.Cancellation)
        source = rng.choice(["his"] * 12 + ["hand", "stranger"])
        stay = self.stay() if keyed else ""
        if isinstance(change, m.Admission | m.ArrivalExpected) and rng.random() < 0.8:
            stay = f"s{next(self.house.ids)}"
        verdict = self.house.move(change, stay, source=source)
        assert verdict.fate is not None
        log = self.house.log[-1]
        assert isinstance(log, c.ApplyMovement)
        self.movements.append(log.movement)

    def closure(self, unit: str) -> str:
        ids = [closure.id for closure in self.house.book(unit).closures.values()]
        return self.rng.choice(["", "", *ids])

    def demand(self) -> None:
        rng, unit = self.rng, self.unit()
        earliest = self.house.now + timedelta(hours=rng.choice([0, 0, 2, 24, 40]))
        self.house.create(
            f"r{next(self.house.ids)}",
            unit,
            mode=rng.choice([Mode.HOLD, Mode.HOLD, Mode.ASK]),
            gender=rng.choice(GENDERS),
            arrival_earliest=earliest,
            arrival_latest=earliest + timedelta(hours=rng.choice([1, 10, 60])),
            stay_max=rng.choice([None, None, 20 * HOUR, 90 * HOUR]),
            required=frozenset(rng.sample([Feature.OXYGEN, Feature.SINGLE_ROOM], rng.choice([0, 0, 0, 1]))),
            wished=frozenset(rng.sample([Feature.DIALYSIS], rng.choice([0, 0, 1]))),
            urgency=rng.choice(list(Urgency)),
            ttl=rng.choice([None, HOUR, 40 * HOUR]),
        )

    def hub(self) -> None:
        rng, name = self.rng, self.known()
        found = self.house.ledger.reservation(f"t.test/{name}")
        tag = found.offer.tag if found and found.offer and rng.random() < 0.9 else b"other"
        choices: list[tuple[type[c.Command], dict[str, Any]]] = [
            (c.ConfirmReservation, {"offer_tag": tag}),
            (c.ConfirmReservation, {"offer_tag": tag}),
            (c.ConfirmReservation, {"offer_tag": tag}),
            (c.ConfirmReservation, {"offer_tag": tag}),
            (c.ReleaseReservation, {"reason": ReleaseReason.OTHER}),
            (c.RenewReservation, {"ttl": rng.choice([None, 3 * HOUR])}),
            (c.RescheduleReservation, {"arrival": self.instant()}),
            (c.SupplyDetails, {"details": (m.Detail(Question.WEIGHT, amount=80),)}),
            (c.NoteAnswer, {"verdict": rng.choice(list(NoteVerdict))}),
        ]
        verb, fields = rng.choice(choices)
        self.house.say(verb, reservation=name, **fields)

    def staff(self) -> None:
        rng, name = self.rng, self.known()
        found = self.house.ledger.reservation(f"t.test/{name}")
        note = found.notes[-1].id if found and found.notes else "none"
        bed = rng.choice([None, self.bed()])
        fields = {
            "unit": rng.choice([None, None, BEDS, PLACES]),
            "bed": bed,
            "arrival": rng.choice([None, self.instant()]),
            "ttl": rng.choice([None, 2 * HOUR]),
        }
        choices: list[tuple[type[c.Command], dict[str, Any]]] = [
            (c.AcceptReservation, fields),
            (c.AcceptReservation, fields),
            (c.ReofferReservation, fields),
            (c.WaitlistReservation, {"reason": WaitlistReason.NO_BED_YET}),
            (c.DeclineReservation, {"reason": DeclineReason.OTHER}),
            (c.WithdrawReservation, {"reason": WithdrawReason.NO_SHOW}),
            (c.AskDetails, {"questions": (Question.WEIGHT,)}),
            (c.MarkSeen, {}),
            (c.AdmitReservation, {"bed": bed, "stay": rng.choice(["", "", self.stay()])}),
            (c.AdmitReservation, {}),
            (c.CancelAdmission, {}),
            (c.SettleNote, {"note": note, "apply": rng.random() < 0.7}),
            (c.MoveClaim, {"unit": BEDS, "bed": self.bed()}),
        ]
        verb, given_fields = rng.choice(choices)
        self.house.say(verb, reservation=name, **given_fields)

    def home(self) -> None:
        rng, ledger = self.rng, self.house.ledger
        doubts = [d.id for d in ledger.all(m.Kind.DOUBT).values() if isinstance(d, m.Doubt) and d.answered is None]
        conflicts = [x for x in ledger.all(m.Kind.CONFLICT).values() if isinstance(x, m.Conflict)]
        parked = list(ledger.all(m.Kind.PARKED))
        rng.choice([self.counts, self.counts, self.correct, self.policy, self.redeclare, self.update])()
        if doubts:
            self.house.say(c.AnswerArrivalDoubt, doubt=rng.choice(doubts), reservation=rng.choice(["", self.known()]))
        if conflicts:
            conflict = rng.choice(conflicts)
            ways: list[dict[str, Any]] = [
                {"bed": self.bed()},
                {"bed": self.bed(), "to_unit": BEDS},
                {"withdraw": WithdrawReason.OTHER},
                {"supplementary": True},
            ]
            settled = rng.choice(ways)
            self.house.say(c.SettleConflict, unit=conflict.unit, conflict=conflict.id, **settled)
        if parked:
            found = ledger.parked(rng.choice(parked))
            if found is None:
                return  # what it waited for was just declared
            corrected = rng.choice([None, found.movement, replace_bed(found.movement, self.bed())])
            self.house.say(c.SettleMovement, parked=found.id, corrected=corrected, reason="faux")

    def counts(self) -> None:
        told = tuple(
            c.DeclaredPlaces(gender, self.rng.randrange(0, 4), self.rng.randrange(0, 3))
            for gender in self.rng.sample(GENDERS, 2)
        )
        stale = self.rng.choice([frozenset({"his"}), frozenset()])
        self.house.say(c.DeclareCounts, unit=PLACES, places=told, stale_sources=stale)

    def correct(self) -> None:
        self.house.say(c.CorrectFigures, unit=self.unit(), free=self.rng.randrange(0, 4), reason="vu", ttl=2 * HOUR)

    def policy(self) -> None:
        unit = self.unit()
        known = self.house.ledger.unit(unit)
        assert known is not None
        changed = replace_policy(known.policy, self.rng)
        self.house.say(c.SetUnitPolicy, unit=unit, policy=changed)

    def redeclare(self) -> None:
        left_out = self.rng.choice([(), (self.bed(),)])
        beds = tuple(bed for bed in BED_FACTS if bed.id not in left_out)
        known = self.house.ledger.unit(BEDS)
        assert known is not None
        self.house.say(c.DeclareUnit, unit=known, rooms=ROOMS, beds=beds)

    def update(self) -> None:
        self.house.say(
            c.UpdateBed,
            unit=BEDS,
            bed=self.bed(),
            room=self.rng.choice(["single", "pair", "mixed"]),
            gender=self.rng.choice(GENDERS),
            features=frozenset(),
        )

    def wait(self) -> None:
        self.house.later(timedelta(minutes=self.rng.choice([1, 20, 70, 70, 300, 300, 1500, 5000])))


def replace_bed(movement: m.Movement, bed: str) -> m.Movement:
    """The movement, to another bed where it has one."""
    change = movement.change
    if isinstance(change, m.Admission | m.Transfer):
        return m.Movement(movement.source, movement.id, type(change)(change.unit, bed), movement.stay)
    return movement


def replace_policy(policy: m.Policy, rng: random.Random) -> m.Policy:
    """The policy, with something else in it."""
    return m.Policy(
        answering=rng.choice([Answering.AUTOMATIC] * 5 + [Answering.PERSON, Answering.CLOSED]),
        ttl=policy.ttl,
        promise_on_announced=rng.random() < 0.5,
        turnover_minutes=rng.choice([0, 60, 240]),
        grant_waiting_list=rng.random() < 0.5,
        notes=policy.notes,
    )


def snapshot(ledger: Ledger) -> dict[m.Kind, dict[str, m.Fact]]:
    """All facts, by value (they are frozen)."""
    return {kind: dict(table) for kind, table in ledger.facts.items()}


@settings(max_examples=120)
@given(st.integers(min_value=0, max_value=2**32))
def test_no_grant_gives_what_is_not_free(seed: int) -> None:
    """Invariant 1, by an independent recomputation, after every command."""
    day = Day(seed)
    for _ in range(STEPS):
        day.step()
        oracle.check(day.house.ledger, day.house.now)


@settings(max_examples=30)
@given(st.integers(min_value=0, max_value=2**32))
@example(2441437)  # two doubts that end at once were written in the order in which they had been loaded
@example(946110060)  # who was to leave before the day of the arrival took a bed for less than no time
def test_a_restart_gives_the_same_state(seed: int) -> None:
    """Facts through bytes and back make the same figures, timers and decisions."""
    day = Day(seed)
    for _ in range(STEPS):
        day.step()
    ledger, now = day.house.ledger, day.house.now
    again = Ledger(stored(ledger.facts), ledger.incarnation)
    assert snapshot(again) == snapshot(ledger)
    assert again.next_timer() == ledger.next_timer()
    for unit in (BEDS, PLACES):
        assert figures(again, unit, now) == figures(ledger, unit, now)
    other = House()
    other.ledger, other.now = again, now
    for later in (HOUR, 30 * HOUR, 31 * DAY):
        tick = c.Tick()
        assert again.decide(tick, now + later) == ledger.decide(tick, now + later)


@settings(max_examples=40)
@given(st.integers(min_value=0, max_value=2**32))
def test_saying_again_changes_nothing(seed: int) -> None:
    """Invariant 5: each command again, in any order, any number of times, by any replica."""
    day = Day(seed)
    for _ in range(STEPS):
        day.step()
    house = day.house
    log = [x for x in house.log if not isinstance(x, c.Tick)]
    day.rng.shuffle(log)
    for command in log:
        quiet = house.ledger.decide(c.Tick(), house.now).changes
        again = house.ledger.decide(command, house.now)
        assert again.changes == quiet, command
        kept = again.verdict.replayed or again.verdict.fate is m.Fate.ALREADY
        assert kept or again.verdict.fate is m.Fate.REFUSED, command
        if isinstance(command, c.HubCommand):
            other = replace(command, caller=replace(command.caller, uri="spiffe://t.test/hub/replica/9"))
            assert house.ledger.decide(other, house.now).verdict == again.verdict or again.verdict.refusal


@settings(max_examples=30)
@given(st.integers(min_value=0, max_value=2**32))
def test_deciding_changes_nothing(seed: int) -> None:
    """`decide` is pure: the ledger is the same after it, and decides the same again."""
    day = Day(seed)
    for _ in range(STEPS // 2):
        before, now = snapshot(day.house.ledger), day.house.now
        shown = {unit: figures(day.house.ledger, unit, now) for unit in (BEDS, PLACES)}
        said = len(day.house.log)
        day.step()
        again = Ledger(before, day.house.ledger.incarnation)
        for command in day.house.log[said:]:
            facts = snapshot(again)
            decisions = [again.decide(command, day.house.now) for _ in range(2)]
            assert snapshot(again) == facts
            assert decisions[0].changes == decisions[1].changes
            again.apply(decisions[0].changes)
        assert snapshot(again) == snapshot(day.house.ledger)
        assert {unit: figures(Ledger(before, 7), unit, now) for unit in (BEDS, PLACES)} == shown


@settings(max_examples=30)
@given(st.integers(min_value=0, max_value=2**32))
def test_every_hold_ends_by_time_alone(seed: int) -> None:
    """Invariant 4: with nobody left, each HELD is resolved; what is CONFIRMED stays (invariant 3)."""
    day = Day(seed)
    for _ in range(STEPS):
        day.step()
    house = day.house
    policy = m.Policy(answering=Answering.PERSON)
    for unit in (BEDS, PLACES):
        house.say(c.SetUnitPolicy, unit=unit, policy=policy)
    confirmed = {
        key
        for key, r in house.ledger.all(m.Kind.RESERVATION).items()
        if isinstance(r, m.Reservation) and r.state is ReservationState.CONFIRMED
    }
    end = house.now + 70 * DAY
    while (timer := house.ledger.next_timer()) is not None and timer <= end:
        house.now = max(house.now, timer)
        assert house.decide(c.Tick()).changes, "a timer that does nothing would ring for ever"
        oracle.check(house.ledger, house.now)
    live = [r for r in house.ledger.all(m.Kind.RESERVATION).values() if isinstance(r, m.Reservation)]
    assert {r.key for r in live if r.state is ReservationState.CONFIRMED} == confirmed
    assert not [r.key for r in live if r.state in (ReservationState.HELD, ReservationState.ASKED)]
