"""A territory's requests over months of simulated time, through the real store: what it holds, and how large it grows.

A month's requests live side by side, so that their transactions share commits. Each asks two houses, most get their bed
and come to be admitted, some are cancelled; then time archives them, and `Retention` drops what is due.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID, uuid5

from aval.hub import brokerage
from aval.hub.files import Act, Decide, Files
from aval.hub.model import AskTarget, ExternalReference, Mandate, RequestFile
from aval.hub.ports import Store
from aval.hub.retention import Retention
from aval.hub.translate.requests import wire_request
from aval.kernel.lifecycle import ReleaseReason, ReservationInput
from aval.kernel.need import Mode, Urgency
from tests.hub.core.lossy import House
from tests.hub.core.worlds import HOUSES, any_need
from tests.hub.shell.fakes import TERRITORY, FakeClock

MONTH = timedelta(days=30)
CALLER = f"spiffe://{TERRITORY}/establishment/{HOUSES[0]}/operator/lea"
CANCELLED_EACH = 4
"""One request in so many is cancelled."""

_IDS = UUID("6f0e3b9e-3c1f-4d0a-9a0e-5d6b1b0c4a11")


class Years:
    """Requests of a territory, month after month."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = FakeClock()
        self.files = Files(store, self.clock, lambda _: None)
        self.retention = Retention(store)
        self.houses = House()
        self.months = 0

    def id(self, *parts: object) -> str:
        """An id that follows from what it is for."""
        return str(uuid5(_IDS, repr(parts)))

    def encode(self, file: RequestFile) -> bytes:
        """As a caller is answered."""
        return wire_request(file, TERRITORY, self.clock.now()).SerializeToString()

    async def month(self, requests: int) -> None:
        """So many requests; a month later what is over is archived, and what is due is dropped."""
        names = await asyncio.gather(*(self._life(number) for number in range(requests)))
        self.clock.set_wall(MONTH.total_seconds())
        now = self.clock.now()
        await asyncio.gather(*(self.files.change(name, lambda file: brokerage.tick(file, now)) for name in names))
        await self.retention.sweep(now)
        self.months += 1

    async def _life(self, number: int) -> str:
        now = self.clock.now()
        by = Mandate(CALLER, "lea", "Léa", "operator", HOUSES[0], now)
        request_id = self.id(self.months, number)
        name, reference = f"requests/{request_id}", f"M{self.months}-{number}"
        targets = tuple(
            AskTarget(self.id(request_id, house), f"establishments/{house}/units/U", mode)
            for house, mode in zip(HOUSES[1:], (Mode.HOLD, Mode.ASK), strict=True)
        )
        need = any_need(arrival_earliest=now, arrival_latest=now + timedelta(days=2))
        await self.files.create(
            Act(CALLER, request_id, b"content"),
            lambda _: brokerage.create(
                name, reference, need, Urgency.PLANNED, now, by, now, targets=targets,
                external_reference=ExternalReference("ViaTrajectoire", f"VT-{number:06d}"),
            ),
            self.encode,
            [reference],
        )  # fmt: skip
        file = await self._answered(name)
        held = file.asks[0]
        if number % CANCELLED_EACH == CANCELLED_EACH - 1:
            await self._act(name, "cancel", lambda f: brokerage.cancel(f, ReleaseReason.OTHER, by, now))
            await self._answered(name)
            return name
        assert held.known is not None
        assert held.known.offer is not None
        tag = held.known.offer.tag
        await self._act(name, "confirm", lambda f: brokerage.confirm(f, held.reservation, tag, by, now))
        await self._answered(name)
        await self._answered(name)
        self.houses.staff(held.reservation, ReservationInput.ADMIT)
        admitted = self.houses.known[held.reservation]
        await self.files.change(name, lambda f: brokerage.heard(f, admitted, now))
        return name

    async def _act(self, name: str, verb: str, decide: Decide) -> None:
        act = Act(CALLER, self.id(name, verb), b"content")
        await self.files.act(act, name, lambda _: True, decide, self.encode)

    async def _answered(self, name: str) -> RequestFile:
        """Each command on its way is decided by its house, and the answer stored."""
        file = await self.files.read(name)
        assert file is not None
        for row in brokerage.due(file):
            await self.files.answered(name, self.houses.decide(row, self.clock.now()), None)
        after = await self.files.read(name)
        assert after is not None
        return after
