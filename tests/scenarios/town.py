"""A real hub and four real nodes for the outage scenarios, each a process with its certificate and its database.

Between the hub and each node lies a `Line` that a test can spoil, and one before the hub for whoever dials through it.
A server can be made `mortal`: the same one, that dies at a point of its storage that a test names.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import msgspec

from aval.adapters.demo.building import HUB, REGULATOR, Record, Server, Tempo, build
from aval.adapters.demo.cast import Cast, heard, in_state, need_of, settled_after, target
from aval.adapters.demo.declaring import SYSTEM_SOURCE
from aval.adapters.demo.processes import Territory
from aval.adapters.dial import ask
from aval.kernel.disciplines import Discipline
from aval.kernel.reasons import Refusal
from aval.v1 import availability_pb2, census_pb2, request_pb2, terms_pb2
from tests.scenarios.line import Line
from tests.scenarios.mortal import Fate, Moment, fate_path, met_path
from tests.waiting import PATIENCE_SECONDS, until

HOSPITAL, NEIGHBOUR, SMR, PARTNER = "540001138", "540000023", "540003043", "540000312"

TEMPO = Tempo(progress_seconds=0.5, link_lost_seconds=6.0)
"""Fast, so that an outage is told in seconds; and no house is given up that only waits for a processor."""


ANSWERED_SECONDS_MAX = 60.0
"""How long a call is made again: a server may have to start meanwhile."""

AUTOMATIC = availability_pb2.PolicySummary.ANSWERING_AUTOMATIC
PERSON = availability_pb2.PolicySummary.ANSWERING_PERSON

_codes = itertools.count(1)

Said = TypeVar("Said")


KILLED = -signal.SIGKILL
"""The status of a process that `kill -9` ended."""


class Town(Territory):
    """The processes, the lines between them, and ways to strike both."""

    def __init__(self, folder: Path, record: Record) -> None:
        super().__init__(folder, record)
        self.lines = {finess: Line(self.node(finess).address) for finess in self.houses}
        """From the hub to each node."""
        self.desk = Line(self.hub.address)
        """From whoever dials through it to the hub."""
        self._mortal: set[str] = set()
        for finess, line in self.lines.items():
            self.move_node(finess, self.node(finess).address, line.address)

    def command(self, server: Server) -> list[str]:
        """See `Territory.command`."""
        if server.key not in self._mortal:
            return super().command(server)
        what = "hub" if server.key == HUB else "node"
        return [sys.executable, "-m", "tests.scenarios.mortal", what, server.config]

    async def fated(self, key: str, moment: Moment, statement: str, *about: str) -> None:
        """A server meets its fate at that moment of its storage; it is restarted first if it was no mortal one."""
        if key not in self._mortal:
            self._mortal.add(key)
            assert await self.stop(key) == 0
            await self.start([key])
        settings = Path(self.record.servers[key].config)
        met_path(settings).unlink(missing_ok=True)
        path = fate_path(settings)
        path.with_suffix(".new").write_bytes(msgspec.json.encode(Fate(moment, statement, about)))
        path.with_suffix(".new").replace(path)

    async def met_its_fate(self, key: str) -> None:
        """Waits for that death, and holds it to the place where it was to be."""
        assert await self.ended(key, PATIENCE_SECONDS) == KILLED
        assert self.was_met(key), "it died elsewhere than where it was told to"

    def was_met(self, key: str) -> bool:
        """Whether a server has met the fate that it was given."""
        return met_path(Path(self.record.servers[key].config)).exists()

    @asynccontextmanager
    async def failing_disk(self, key: str) -> AsyncIterator[None]:
        """Nothing that a server commits is flushed; all is well again at the end."""
        await self.fated(key, Moment.UNFLUSHED, "")
        try:
            yield
        finally:
            fate_path(Path(self.record.servers[key].config)).unlink()

    def database(self, key: str) -> Path:
        """The database of a server."""
        return Path(self.record.servers[key].config).with_name("hub.db" if key == HUB else "node.db")

    def pause(self, key: str) -> None:
        """SIGSTOP."""
        os.kill(self.record.servers[key].pid, signal.SIGSTOP)

    def wake(self, key: str) -> None:
        """SIGCONT."""
        os.kill(self.record.servers[key].pid, signal.SIGCONT)

    async def down(self) -> None:
        """Stops all, removes the folder, drops the lines."""
        await super().down()
        for line in (*self.lines.values(), self.desk):
            line.close()


def raise_town(folder: Path) -> Town:
    """Builds the town in a folder; nothing runs yet."""
    text = Path(__file__).with_name("town.toml").read_text(encoding="utf-8")
    build(folder, text, 0, datetime.now(UTC), TEMPO, [HOSPITAL, NEIGHBOUR])
    return Town.open(folder)


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

    def id(self) -> str:
        """A new one for an act."""
        return str(uuid4())

    def wish(self, *targets: request_pb2.AskTarget) -> request_pb2.CreateRequestRequest:
        """A demand with its ids, to be said once or many times."""
        return request_pb2.CreateRequestRequest(
            request_id=str(uuid4()), need=self.need(), urgency=terms_pb2.URGENCY_PLANNED, asks=targets
        )

    async def insist(self, message: request_pb2.CreateRequestRequest, person: str = REGULATOR) -> request_pb2.Request:
        """Says the very same until the hub answers, as a person's program does after a bad line."""
        return await insisted(lambda: ask(self.hub(person).requests.CreateRequest, message))

    async def confirmed(self, request: request_pb2.Request) -> str:
        """Confirms the one ask of a held request, and waits until the node's word is heard; the reservation."""
        told = await self.confirm(request, request.asks[0])
        done = await self.screen.until(request.name, settled_after(told), PATIENCE_SECONDS)
        assert done.state == request_pb2.Request.STATE_CONFIRMED, done
        return request.asks[0].reservation

    async def ready(self, finess: str, beds: int) -> str:
        """A new unit that the hub has heard of."""
        unit = await self.declare(finess, beds)
        await until(lambda: self.known_at_hub(unit), "the hub has heard of the unit")
        return unit

    async def heard(self, name: str, enough: Callable[[request_pb2.Request], bool], what: str) -> request_pb2.Request:
        """A request on the regulator's screen, once it is so; fails the test otherwise."""
        known = await self.screen.until(name, enough, PATIENCE_SECONDS)
        assert enough(known), f"{what}: {known}"
        return known

    async def shown(self, name: str) -> request_pb2.Request:
        """A request as the regulator's screen shows it, which learns of her own acts a moment after she did them."""
        return await self.heard(name, lambda _: True, "on the screen")

    async def asked(self, units: Sequence[str], hold: str = "", person: str = REGULATOR) -> request_pb2.Request:
        """A request to units, one of them by an immediate hold."""
        return await self.create(self.need(), [target(unit, hold=unit == hold) for unit in units], person)

    async def answered(self, request: request_pb2.Request) -> request_pb2.Request:
        """The request once every house has spoken."""
        known = await self.screen.until(request.name, lambda r: all(heard(one) for one in r.asks), PATIENCE_SECONDS)
        assert all(heard(one) for one in known.asks), known
        return known

    async def held(self, unit: str) -> request_pb2.Request:
        """A request whose one ask is held."""
        known = await self.answered(await self.asked([unit], hold=unit))
        assert in_state(known.asks[0], "HELD"), known
        return known


async def insisted(call: Callable[[], Awaitable[Said]]) -> Said:
    """The first answer to a call that is made again while nobody answers it."""
    answers: list[Said] = []

    async def answered() -> bool:
        try:
            answers.append(await call())
        except Refusal as refusal:
            if not refusal.reason.row.retryable:
                raise
        return bool(answers)

    await until(answered, "an answer", ANSWERED_SECONDS_MAX)
    return answers[0]
