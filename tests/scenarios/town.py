"""A real hub and four real nodes for the outage scenarios, each a process with its certificate and its database."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from aval.adapters.demo.building import HUB, REGULATOR, Tempo, build
from aval.adapters.demo.cast import Cast, heard, in_state, need_of, target
from aval.adapters.demo.feed import SYSTEM_SOURCE
from aval.adapters.demo.processes import Territory
from aval.adapters.dial import ask
from aval.kernel.disciplines import Discipline
from aval.v1 import availability_pb2, census_pb2, request_pb2, terms_pb2

HOSPITAL, NEIGHBOUR, SMR, PARTNER = "540001138", "540000023", "540003043", "540000312"

TEMPO = Tempo(progress_seconds=0.5, link_lost_seconds=3.0)
"""Fast, so that an outage is told in seconds."""

WITHIN_SECONDS = 30.0
"""How long anything may take on a machine that builds something else meanwhile."""

AUTOMATIC = availability_pb2.PolicySummary.ANSWERING_AUTOMATIC
PERSON = availability_pb2.PolicySummary.ANSWERING_PERSON

_codes = itertools.count(1)


def raise_town(folder: Path) -> Territory:
    """Builds the town in a folder; nothing runs yet."""
    text = Path(__file__).with_name("town.toml").read_text(encoding="utf-8")
    build(folder, text, 0, datetime.now(UTC), TEMPO, [HOSPITAL, NEIGHBOUR])
    return Territory.open(folder)


async def start_town(town: Territory) -> None:
    """Hub first, then the nodes."""
    await town.start([HUB])
    await town.start(town.houses)


class Play(Cast):
    """The people of the town, and what scenarios do often."""

    async def declare(
        self,
        finess: str,
        beds: int,
        answering: availability_pb2.PolicySummary.Answering.ValueType = AUTOMATIC,
        discipline: Discipline = Discipline.SMR_GERIATRIC,
        fresh: timedelta = timedelta(minutes=15),
        stale: timedelta = timedelta(hours=1),
    ) -> str:
        """A new unit with so many single rooms, fed by the house's system and alive; its name."""
        code = f"T{next(_codes)}"
        unit = f"establishments/{finess}/units/{code}"
        request = census_pb2.DeclareUnitRequest(
            command_id=str(uuid4()),
            name=unit,
            display_name=f"Unité {code}",
            discipline=terms_pb2.Discipline.Value(f"DISCIPLINE_{discipline.name}"),
            counting=availability_pb2.COUNTING_BEDS,
            policy=census_pb2.UnitPolicy(
                unit=unit, answering=answering, renewals_max=2, promise_on_announced=True, turnover_minutes=30
            ),
        )
        for number in range(1, beds + 1):
            bed = census_pb2.Bed(name=f"{unit}/beds/{number}", room=str(number), gender=terms_pb2.GENDER_ANY)
            request.rooms.add(id=str(number), rule=census_pb2.ROOM_RULE_SINGLE, beds=[bed])
        source = request.sources.add(
            id=SYSTEM_SOURCE, kind=availability_pb2.SOURCE_KIND_ADMINISTRATIVE, adapter=SYSTEM_SOURCE
        )
        source.fresh_max.FromTimedelta(fresh)
        source.stale_min.FromTimedelta(stale)
        await ask(self.node(finess).census.DeclareUnit, request)
        await self.alive(finess)
        return unit

    async def known_at_hub(self, unit: str) -> bool:
        """Whether the hub shows a unit as sure."""
        found = await self.search(self.need())
        return any(one.unit.name == unit for one in found.ranked)

    def need(self) -> terms_pb2.Need:
        """A woman of 84 for tomorrow."""
        return need_of(Discipline.SMR_GERIATRIC, 1, HOSPITAL)

    async def asked(self, units: Sequence[str], hold: str = "", person: str = REGULATOR) -> request_pb2.Request:
        """A request to units, one of them by an immediate hold."""
        return await self.create(self.need(), [target(unit, hold=unit == hold) for unit in units], person)

    async def answered(self, request: request_pb2.Request) -> request_pb2.Request:
        """The request once every house has spoken."""
        known = await self.screen.until(request.name, lambda r: all(heard(one) for one in r.asks), WITHIN_SECONDS)
        assert all(heard(one) for one in known.asks), known
        return known

    async def held(self, unit: str) -> request_pb2.Request:
        """A request whose one ask is held."""
        known = await self.answered(await self.asked([unit], hold=unit))
        assert in_state(known.asks[0], "HELD"), known
        return known
