"""A house's life day after day in simulated time, through the real node and its database: what it keeps of it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

from aval.node.model import Kind
from aval.v1 import census_pb2, reservation_pb2
from tests.node.shell.fakes import MARIE, NO_CONTEXT, House
from tests.node.shell.words import confirm, create, declare_places, new_id, unit_name

RETAINED = 400
"""Revisions from which a follower can resume: so few that the history is compacted within the test."""

_FATES = census_pb2.ApplyMovementsResponse


class Years:
    """A house with one unit, in which patients come and go, reservations are made and end, and a person confirms."""

    def __init__(self, at: House, patients_a_day: int, demands_a_day: int) -> None:
        self.at = at
        self.patients_a_day = patients_a_day
        self.demands_a_day = demands_a_day
        self.days = 0
        self.staying: list[str] = []

    async def open(self) -> None:
        """Declares the unit."""
        await self.at.declare(declare_places("smr", installed=200, occupied=0))

    async def pass_days(self, days: int) -> None:
        """Lets days go by, with what happens in them."""
        for _ in range(days):
            self.days += 1
            await self._patients()
            await self._demands()
            self.at.calls_as(MARIE)
            confirmed = census_pb2.ConfirmUnitRequest(command_id=new_id())
            await self.at.census.ConfirmUnit(confirmed, NO_CONTEXT)
            self.at.clock.advance(timedelta(days=1))

    async def _patients(self) -> None:
        """They stay a week; each is moved, announced and discharged; one movement a day waits for a person."""
        coming = [f"stay-{self.days}-{number}" for number in range(self.patients_a_day)]
        leaving = self.staying[: -7 * self.patients_a_day] if len(self.staying) > 7 * self.patients_a_day else []
        self.staying = [*self.staying[len(leaving) :], *coming]
        at = self.at.clock.now()

        async def send() -> AsyncIterator[census_pb2.ApplyMovementsRequest]:
            for stay in coming:
                movement = self._movement(stay, "in")
                movement.admission.unit = unit_name("smr")
                yield census_pb2.ApplyMovementsRequest(movement=movement)
                movement = self._movement(stay, "announced")
                movement.departure_announced.departure_time.FromDatetime(at + timedelta(days=7))
                yield census_pb2.ApplyMovementsRequest(movement=movement)
            for stay in leaving:
                movement = self._movement(stay, "out")
                movement.discharge.to_clean = False
                yield census_pb2.ApplyMovementsRequest(movement=movement)

        self.at.calls_as(MARIE)
        fates = [one.fate async for one in self.at.census.ApplyMovements(send(), NO_CONTEXT)]
        assert set(fates) <= {_FATES.FATE_APPLIED, _FATES.FATE_APPLIED_WITH_CONFLICT}, fates

    def _movement(self, stay: str, what: str) -> census_pb2.Movement:
        movement = census_pb2.Movement(movement_id=f"{stay}-{what}", source_id="cadre", stay_key=stay)
        movement.event_time.FromDatetime(self.at.clock.now())
        return movement

    async def _demands(self) -> None:
        """One is confirmed and withdrawn by nobody coming; the others are released, or their holds expire."""
        self.at.calls_as(MARIE)  # the hub's verbs need no caller here: the services trust the gate
        tomorrow = self.at.clock.now() + timedelta(days=1)
        answers = await self.at.commands(*(create("smr", tomorrow) for _ in range(self.demands_a_day)))
        held = [answer.reservation for answer in answers]
        assert all(one.state == reservation_pb2.Reservation.STATE_HELD for one in held)
        await self.at.commands(confirm(held[0], 2))
        withdrawn = reservation_pb2.WithdrawReservationRequest(
            command_id=new_id(), name=held[0].name, reason=reservation_pb2.WITHDRAW_REASON_NO_SHOW
        )
        await self.at.reservations.WithdrawReservation(withdrawn, NO_CONTEXT)

    def kept(self) -> dict[Kind, int]:
        """Facts of each kind in memory."""
        ledger = self.at.node.writer.published.ledger
        return {kind: len(ledger.all(kind)) for kind in Kind}


def sizes(path: Path) -> tuple[int, int]:
    """Bytes of the database file, and of them those that hold nothing any more and are used again."""
    with sqlite3.connect(path) as raw:
        (pages,) = raw.execute("PRAGMA page_count").fetchone()
        (free,) = raw.execute("PRAGMA freelist_count").fetchone()
        (size,) = raw.execute("PRAGMA page_size").fetchone()
    raw.close()
    return pages * size, free * size
