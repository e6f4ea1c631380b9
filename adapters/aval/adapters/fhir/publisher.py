"""Tells the ROR once what the house has told Aval: follows the node, keeps the outbox, sends, reads back.

The watch says *when* something changed, the list says *what*: at each change all units are read again, with their ages
as the node reckons them now, and stated to the outbox, which knows what differs. So a lost or repeated message of the
watch cannot matter, and a start is a change like any other.

Figures to be confirmed (stale) are not sent: the ROR would take them for news. A unit shown otherwise than exactly has
none to send. Both are said in `aval units show`, in the place of « envoyé au ROR ».

**When the ROR disagrees** (somebody typed there): settings say who wins. `aval`: ours is sent again. `ror`: its word
stands for 4 h, as long as a correction by hand in Aval, then ours is sent again. Both are shown.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from aval.adapters.dial import Line, every_unit, follow
from aval.adapters.fhir.capacity import Capacity, Indicator, capacities_of
from aval.adapters.fhir.outbox import Due, Outbox, back_off
from aval.adapters.fhir.reading import ReadLocation
from aval.adapters.fhir.resources import external_id, finess_of
from aval.adapters.fhir.ror import Step, Verdict
from aval.adapters.fhir.settings import PublisherSettings, Wins
from aval.adapters.figures import is_sure
from aval.adapters.wire import RemoteRefusal
from aval.kernel.clock import Clock
from aval.v1 import availability_pb2

GATHER_SECONDS = 2.0
"""After a change, so long for others: a movement changes two units within a second."""

RECONNECT_SECONDS = 5.0
"""After a watch that failed; one that ends by itself is opened again at once."""

PUSH_SECONDS = 5.0
"""How often the outbox is looked at for what is to be tried again; a change is sent at once."""

ROR_WORD_STANDS = timedelta(hours=4)
"""How long the ROR's figure stands where the settings let it win: as long as a correction by hand."""

STALE, NOT_EXACT, NEVER_HEARD, NOT_MAPPED = "STALE", "NOT_EXACT", "NEVER_HEARD", "NOT_MAPPED"
"""Why a unit's figures are withheld."""


class Register(Protocol):
    """The ROR, as the publisher uses it (`ror.Ror`)."""

    async def tell(self, external: str, capacity: Capacity) -> Verdict:
        """Tells one figure."""
        ...

    async def withdraw(self, external: str, indicator: Indicator) -> Verdict:
        """Takes one away."""
        ...

    async def read(self, external: str) -> ReadLocation | None:
        """Reads a place of care back; None if it cannot."""
        ...


class PublisherMeter:
    """What became of what was sent, as metrics."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self._sent = Counter("aval_ror_sent", "Figures sent.", ["outcome"], registry=registry)
        self._waiting = Gauge("aval_ror_waiting", "Figures that the ROR has not taken.", registry=registry)
        self._troubled = Gauge("aval_ror_units_troubled", "Units that wait for a person.", registry=registry)

    def stand(self, waiting: int, troubled: int) -> None:
        """How many figures wait, and how many units have a trouble."""
        self._waiting.set(waiting)
        self._troubled.set(troubled)

    def count(self, outcome: str) -> None:
        """One figure: `done`, `later`, `person`, `disputed`; or one place of care that could not be read back:
        `unread`."""
        self._sent.labels(outcome).inc()


class Publisher:
    """The publisher of one establishment. `line` is to its own node."""

    def __init__(
        self, settings: PublisherSettings, outbox: Outbox, line: Line, clock: Clock, meter: PublisherMeter | None = None
    ) -> None:
        self._settings = settings
        self.outbox = outbox
        self.line = line
        self._clock = clock
        self.meter = meter or PublisherMeter()
        self._changed = asyncio.Event()
        self._pushing = asyncio.Lock()
        self._failures = 0
        self._rests_until: datetime | None = None
        self._log = structlog.get_logger()

    async def read(self) -> int:
        """Reads all units and states them to the outbox; how many. Raises `RemoteRefusal`.

        A node that shows no unit at all is one that was just made or restored: what the ROR has is left as it is.
        """
        units = await every_unit(self.line)
        if not units:
            self._log.warning("node-shows-no-unit")
            return 0
        now = self._clock.now()
        for unit in units:
            capacities = self.chosen(unit)
            withheld = withheld_of(unit, self.external(unit.name))
            self.outbox.want(unit.name, capacities, now, self._settings.ror.repeat_every, withheld)
        self.outbox.forget((unit.name for unit in units), now)
        self._measure()
        return len(units)

    def external(self, unit: str) -> str:
        """The ROR's identifier of a unit; empty for one that is not sent."""
        code = unit.rpartition("/")[2]
        said = self._settings.units.get(code, code)
        return external_id(finess_of(unit), said) if said else ""

    def chosen(self, unit: availability_pb2.Unit) -> list[Capacity]:
        """The figures of a unit that the settings send."""
        ror = self._settings.ror
        return [
            one
            for one in capacities_of(unit, self._clock.now())
            if one.indicator.status in ror.statuses and one.indicator.horizon in ror.horizons
        ]

    async def push(self, register: Register) -> int:
        """Sends all that is due, one by one; how many were tried. A ROR that does not answer ends the round."""
        async with self._pushing:
            tried = await self._push(register)
        self._measure()
        return tried

    async def _push(self, register: Register) -> int:
        tried = 0
        if self._rests_until is not None and self._clock.now() < self._rests_until:
            return tried
        while rows := self.outbox.due(self._clock.now()):
            held: set[str] = set()
            for due in rows:
                if due.unit in held:
                    continue
                verdict = await self._tell(register, due)
                tried += 1
                if verdict.step is Step.LATER:
                    # It is the ROR that is away, not this figure: nothing of ours bothers it meanwhile.
                    pause = max(verdict.after or timedelta(0), back_off(self._failures))
                    self._failures += 1
                    self._rests_until = self._clock.now() + pause
                    return tried
                self._failures = 0
                if verdict.trouble.is_of_location:
                    held.add(due.unit)
        return tried

    async def compare(self, register: Register) -> int:
        """Reads the ROR back and finds where it says otherwise since; how many figures."""
        found = 0
        for told in self.outbox.all_told():
            ours = self.outbox.sent_of(told.unit)
            external = self.external(told.unit)
            if not ours or not external:
                continue
            theirs = await register.read(external)
            if theirs is None:
                self.meter.count("unread")
            for capacity in theirs.capacities if theirs is not None else ():
                mine = ours.get(capacity.indicator)
                if mine is None or mine[0] == capacity.count or capacity.update_time <= mine[1]:
                    continue
                now = self._clock.now()
                until = now + ROR_WORD_STANDS if self._settings.ror.wins is Wins.ROR else None
                said = capacity.update_time
                self.outbox.disputed(told.unit, capacity.indicator, capacity.count, said, until, now)
                self.meter.count("disputed")
                self._log.warning("ror-disagrees", unit=told.unit, count=capacity.count)
                found += 1
        return found

    async def run(self, register: Register) -> None:
        """Follows and sends for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._read_on_change(register))
            tasks.create_task(self._push_on(register))
            if self._settings.ror.reading is not None:
                tasks.create_task(self._compare_on(register, self._settings.ror.reading.every_minutes * 60))

    # --- inside

    def _measure(self) -> None:
        told = self.outbox.all_told()
        self.meter.stand(sum(one.waiting for one in told), sum(bool(one.trouble) for one in told))

    async def _tell(self, register: Register, due: Due) -> Verdict:
        external = self.external(due.unit)
        if due.capacity is None:
            verdict = await register.withdraw(external, due.indicator)
        else:
            verdict = await register.tell(external, due.capacity)
        now = self._clock.now()
        match verdict.step:
            case Step.DONE:
                self.outbox.done(due, now)
            case Step.LATER:
                self.outbox.later(due, verdict.trouble, verdict.text, now, verdict.after)
            case _:
                self.outbox.to_a_person(due, verdict.trouble, verdict.text, now)
                self._log.warning("ror-refuses", unit=due.unit, reason=verdict.trouble.value)
        self.meter.count(verdict.step.value)
        return verdict

    async def _follow(self) -> None:
        """Sets `_changed` at each word of the watch but its heartbeats, and at each new watch."""
        while True:
            self._changed.set()
            try:
                async for message in follow(
                    self.line.availability.WatchAvailability, availability_pb2.WatchAvailabilityRequest()
                ):
                    if message.WhichOneof("event") != "progress":
                        self._changed.set()
            except RemoteRefusal as refusal:
                self._log.warning("node-away", reason=refusal.reason_text or refusal.code)
                await self._sleep(RECONNECT_SECONDS)

    async def _read_on_change(self, register: Register) -> None:
        while True:
            await self._changed.wait()
            await self._sleep(GATHER_SECONDS)
            self._changed.clear()
            try:
                await self.read()
                await self.push(register)
            except RemoteRefusal as refusal:
                self._log.warning("node-away", reason=refusal.reason_text or refusal.code)
                self._changed.set()
                await self._sleep(RECONNECT_SECONDS)

    async def _push_on(self, register: Register) -> None:
        while True:
            await self.push(register)
            await self._sleep(PUSH_SECONDS)

    async def _compare_on(self, register: Register, every_seconds: float) -> None:
        while True:
            await self._sleep(every_seconds)
            await self.compare(register)

    async def _sleep(self, seconds: float) -> None:
        await self._clock.sleep_until(self._clock.monotonic() + seconds)


def withheld_of(unit: availability_pb2.Unit, external: str) -> str:
    """Why a unit's figures are not sent; empty if they are."""
    if not external:
        return NOT_MAPPED
    if unit.shown != availability_pb2.SHOWN_EXACT:
        return NOT_EXACT
    if not unit.HasField("age"):
        return NEVER_HEARD
    if not is_sure(unit):
        return STALE
    return ""
