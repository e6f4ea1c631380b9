"""A model of houses and of a network that loses, delays, repeats and reorders, to drive the brokerage with.

Nothing that was ever said is forgotten: any command, answer or word of the watch may come again at any time. A house
decides by the kernel's table, keeps the number of the last command decided with its verdict, and its offer's tag may
come back to an earlier one, which is worse than what a node may do.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec.structs import replace

from aval.hub import brokerage, reactions
from aval.hub.model import (
    Answer,
    AskTarget,
    Confirm,
    Create,
    Ending,
    KnownReservation,
    Offer,
    OutboxRow,
    Refused,
    Release,
    Renew,
    RequestFile,
    Reschedule,
)
from aval.kernel.lifecycle import (
    DeclineReason,
    ReleaseReason,
    ReservationInput,
    ReservationState,
    WithdrawReason,
    refusal_of,
    reservation_next,
)
from aval.kernel.need import Mode, Urgency
from aval.kernel.reasons import Refusal
from tests.hub.core.worlds import HOUSES, MANDATE, NOW, any_need

S, G = ReservationState, ReservationInput
REQUEST = "requests/00000000-0000-4000-8000-000000000001"
TAGS = (b"A", b"B")

_INPUTS = {Confirm: G.CONFIRM, Release: G.RELEASE, Renew: G.RENEW, Reschedule: G.RESCHEDULE}


def name_of(number: int) -> str:
    """The reservation asked of the house of that number, at first."""
    return target(number).reservation


def target(number: int, *, mode: Mode = Mode.ASK, again: int = 0) -> AskTarget:
    """An ask of the house of that number; `again` makes another reservation of it."""
    ident = f"00000000-0000-4000-8000-00000{again:05d}{number + 10}"
    return AskTarget(ident, f"establishments/{HOUSES[number]}/units/U", mode)


class House:
    """Reservations of all houses; each decision is a revision."""

    def __init__(self) -> None:
        self.full = False
        """Whether no bed is left: a hold that is wished waits for a person."""
        self.revision = 0
        self.known: dict[str, KnownReservation] = {}
        self.decided: dict[str, tuple[int, Refused | None]] = {}
        self.said: list[KnownReservation] = []
        """Every word ever said on the watch."""

    def state(self, name: str) -> ReservationState | None:
        one = self.known.get(name)
        return None if one is None else one.state

    def _write(self, one: KnownReservation) -> KnownReservation:
        self.revision += 1
        one = replace(one, revision=self.revision)
        self.known[one.name] = one
        self.said.append(one)
        return one

    def decide(self, row: OutboxRow, now: datetime) -> Answer:
        """A command from the hub, for the first time or again."""
        name = row.reservation
        number, verdict = self.decided.get(name, (0, None))
        if row.number <= number:
            return Answer(row.id, self.known.get(name), verdict)
        if now >= row.stored_at + brokerage.ROW_LIFE_MAX:
            return Answer(row.id, self.known.get(name), Refused("COMMAND_TOO_OLD", False))
        verdict = self._verdict(row, now)
        self.decided[name] = (row.number, verdict)
        if name in self.known:
            self.known[name] = replace(self.known[name], last_command_number=row.number)
        return Answer(row.id, self.known.get(name), verdict)

    def _verdict(self, row: OutboxRow, now: datetime) -> Refused | None:
        one = self.known.get(row.reservation)
        match row.body:
            case Create() as body:
                if one is None:
                    state = S.HELD if body.mode is Mode.HOLD and not self.full else S.ASKED
                    fresh = KnownReservation(
                        row.reservation, state, 1, 0, row.request, body.unit, now, now, offer=_offer(body.unit, 0)
                    )
                    self._write(fresh if state is S.HELD else replace(fresh, offer=None))
                return None
            case Release(reason) if one is None:
                unit = f"{row.reservation}/unit"
                ending = Ending(release=reason)
                self._write(
                    KnownReservation(row.reservation, S.RELEASED, 1, 0, row.request, unit, now, now, ending=ending)
                )
                return None
        if one is None:
            return Refused("RESERVATION_NOT_FOUND", False)
        given = _INPUTS.get(type(row.body))
        after = None if given is None else reservation_next(one.state, given)
        if isinstance(row.body, Release) and one.state is S.RELEASED:
            return None
        if given is None or after is None:
            return Refused(refusal_of(one.state, given or G.RENEW), False)
        if isinstance(row.body, Confirm) and (one.offer is None or one.offer.tag != row.body.offer_tag):
            return Refused("OFFER_CHANGED", False)
        ending = Ending(release=row.body.reason) if isinstance(row.body, Release) else one.ending
        self._write(replace(one, state=after, ending=ending))
        return None

    def staff(self, name: str, given: ReservationInput, choice: int = 0) -> bool:
        """The house's own people, or time, say something of a reservation; whether it was possible."""
        one = self.known.get(name)
        after = None if one is None else reservation_next(one.state, given)
        if one is None or after is None:
            return False
        offer, ending = one.offer, one.ending
        if given in (G.ACCEPT, G.REOFFER):
            offer = _offer(one.unit, choice)
        elif given is G.DECLINE:
            ending = Ending(decline=DeclineReason.OTHER)
        elif given is G.WITHDRAW:
            ending = Ending(withdraw=WithdrawReason.OTHER)
        self._write(replace(one, state=after, offer=offer, ending=ending))
        return True


def _offer(unit: str, choice: int) -> Offer:
    return Offer(unit, NOW, TAGS[choice % len(TAGS)])


class Territory:
    """One request at the hub, its houses, and all messages ever sent."""

    def __init__(self, *targets: AskTarget, ask_next: tuple[str, ...] = ()) -> None:
        self.now = NOW
        self.houses = House()
        self.file = brokerage.create(
            REQUEST, "K7-3F9", any_need(), Urgency.TODAY, NOW, MANDATE, NOW, targets=targets, ask_next=ask_next
        )
        self.commands: list[OutboxRow] = []
        self.answers: list[Answer] = []
        self.again = 0

    # one message each

    def send(self, choice: int = 0) -> None:
        """The courier sends one of the rows that may be sent."""
        due = brokerage.due(self.file)
        if due:
            self.commands.append(due[choice % len(due)])

    def arrive(self, choice: int = -1) -> None:
        """A command, new or old, arrives at its house, which answers."""
        if self.commands:
            self.answers.append(self.houses.decide(self.commands[choice % len(self.commands)], self.now))

    def answer(self, choice: int = -1) -> None:
        """An answer, new or old, arrives at the hub."""
        if self.answers:
            self.file = brokerage.answered(self.file, self.answers[choice % len(self.answers)], self.now)

    def hear(self, choice: int = -1) -> None:
        """A word of the watch, new or old, arrives at the hub."""
        if self.houses.said:
            self.file = brokerage.heard(self.file, self.houses.said[choice % len(self.houses.said)], self.now)

    def run(self, number: int = 1) -> None:
        """So many commands go to their houses and are answered, none lost."""
        for _ in range(number):
            self.send()
            self.arrive()
            self.answer()

    # people

    def try_(self, act: Callable[[RequestFile], RequestFile]) -> Refusal | None:
        """Somebody asks something of the request; the refusal, if it is refused."""
        try:
            self.file = act(self.file)
        except Refusal as refusal:
            return refusal
        return None

    def confirm(self, name: str, tag: bytes = TAGS[0]) -> Refusal | None:
        return self.try_(lambda file: brokerage.confirm(file, name, tag, MANDATE, self.now))

    def take_back(self) -> Refusal | None:
        return self.try_(lambda file: brokerage.take_back(file, MANDATE, self.now))

    def cancel(self) -> Refusal | None:
        reason = ReleaseReason.REQUEST_CANCELLED
        return self.try_(lambda file: brokerage.cancel(file, reason, MANDATE, self.now))

    def release(self) -> Refusal | None:
        return self.try_(lambda file: brokerage.release(file, ReleaseReason.PATIENT_NOT_READY, MANDATE, self.now))

    def wait(self, delay: timedelta) -> None:
        """Time passes, and is noticed."""
        self.now += delay
        self.file = brokerage.tick(self.file, self.now)

    # quiet

    def drain(self, rounds: int = 60) -> None:
        """Faults and inputs stop; everything is delivered until nothing changes any more."""
        for _ in range(rounds):
            before = (self.file, dict(self.houses.known))
            for row in brokerage.due(self.file):
                self.commands.append(row)
                self.answers.append(self.houses.decide(row, self.now))
                self.answer()
            for one in tuple(self.houses.known.values()):
                self.file = brokerage.heard(self.file, one, self.now)
            self.wait(reactions.RELEASE_AGAIN_AFTER)
            if not self.file.rows and before == (self.file, self.houses.known):
                return
        raise AssertionError(f"not quiet after {rounds} rounds: {self.file}")
