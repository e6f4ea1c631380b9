"""What time and the present figures bring to requests, without anyone asking.

One coroutine: it lapses, marks and archives requests when their time comes, looks for the next best unit when an ask
came to nothing, tells people who asked for it that a place has freed up, and forgets old records. What it does follows
from each file and the clock alone, so that a hub which starts does what one that stopped would have done.
"""

from collections import Counter
from datetime import datetime
from functools import partial

from aval.hub import brokerage
from aval.hub.backoff import Backoff, until_stored
from aval.hub.files import Decide, Files
from aval.hub.model import RequestFile
from aval.hub.picture import Seen, Viewpoint
from aval.hub.ports import Meters, RequestFilter, Store
from aval.hub.registry import Registry
from aval.hub.retention import Retention
from aval.hub.searching import Searching
from aval.kernel.clock import Clock
from aval.kernel.lifecycle import RequestState

LOOK_SECONDS_MAX = 30.0
"""Times are looked at again at least this often: the wall clock that they are told by may have been set."""

LOOK_SECONDS_MIN = 0.05
"""What is due at once is done at most so often: a time that does not pass must not keep the hub busy."""

COUNT_SECONDS = 5.0
"""How often reservations are counted for the meters."""

FREED_LOOK_SECONDS = 10.0
"""How often a place is looked for on behalf of those who asked to be told."""

ALTERNATIVES_MAX = 5
"""Units kept as alternatives of a lost ask: three are asked at once."""

READ_SECONDS = 600.0
"""How often all requests are read again: one whose commit seemed to fail, and did not, has been told to nobody."""

FORGET_SECONDS = 3600.0
"""How often old records are dropped."""


class Keeper:
    """Keeps the requests of a hub up to the time."""

    def __init__(
        self,
        files: Files,
        store: Store,
        searching: Searching,
        registry: Registry,
        clock: Clock,
        backoff: Backoff,
        meters: Meters,
    ) -> None:
        self._files = files
        self._retention = Retention(store)
        self._searching = searching
        self._registry = registry
        self._clock = clock
        self._backoff = backoff
        self._meters = meters
        self._present: dict[str, RequestFile] = {}
        self._due: dict[str, datetime] = {}
        self._lost: set[str] = set()
        self._freed_look_at = self._forget_at = self._count_at = clock.monotonic()
        self._read_at = self._freed_look_at + READ_SECONDS

    async def run(self) -> None:
        """For ever."""
        with self._files.bell.listen() as listener:
            await until_stored(self._load, self._backoff, "keeper")
            while True:
                await until_stored(self._keep, self._backoff, "keeper")
                changed = await listener.wait(self._clock, self._clock.monotonic() + self._wait_seconds())
                for file in changed.values():
                    self._take(file)

    async def _load(self) -> None:
        """Takes up all requests that are listed, and tells of those of which nothing was told as they are."""
        after = ""
        while files := await self._files.find(RequestFilter(after=after)):
            for file in files:
                known = self._present.get(file.request.name)
                if known is None or known.request.revision < file.request.revision:
                    self._files.tell((file,))
                self._take(file)
            after = files[-1].request.name

    def _take(self, file: RequestFile) -> None:
        """A file as it is now: when it is due, and whether an ask of it came to nothing."""
        name = file.request.name
        known = self._present.get(name)
        if known is not None and known.request.revision > file.request.revision:
            return  # two transactions ended in one order, and were told of in the other
        self._drop(name)
        if file.request.archived:
            return
        self._present[name] = file
        time = brokerage.next_tick(file, self._clock.now())
        if time is not None:
            self._due[name] = time
        if brokerage.unproposed(file):
            self._lost.add(name)

    def _wait_seconds(self) -> float:
        """How long to wait for a change before something is due."""
        now = self._clock.now()
        seconds = (min(self._due.values()) - now).total_seconds() if self._due else LOOK_SECONDS_MAX
        longest = FREED_LOOK_SECONDS if self._freed_wanted() else LOOK_SECONDS_MAX
        return min(max(seconds, LOOK_SECONDS_MIN), longest)

    async def _keep(self) -> None:
        now = self._clock.now()
        for name in [name for name, time in self._due.items() if time <= now]:
            await self._change(name, partial(brokerage.tick, now=now))
        for file in [self._present[name] for name in sorted(self._lost)]:
            name = file.request.name
            for reservation in brokerage.unproposed(file):
                units = await self._alternatives(file)
                await self._change(
                    name, partial(brokerage.propose, reservation=reservation, alternatives=units, now=now)
                )
        await self._tell_freed(now)
        await self._read_again()
        await self._forget(now)
        self._count()

    async def _change(self, name: str, decide: Decide) -> None:
        file = await self._files.change(name, decide)
        if file is not None:
            self._take(file)
        else:  # dropped meanwhile: nothing of it is due any more
            self._drop(name)

    def _drop(self, name: str) -> None:
        self._present.pop(name, None)
        self._due.pop(name, None)
        self._lost.discard(name)

    async def _fitting(self, file: RequestFile) -> list[Seen]:
        """What fits now, best first, as its people would find: with the eyes of the member in whose name it is."""
        member = self._registry.members.get(file.request.on_behalf_of)
        if member is None:
            return []
        viewpoint = Viewpoint(member.audience, member.finess)
        found = await self._searching.search(file.request.need, file.request.urgency, viewpoint)
        return [one.candidate.seen for one in found.ranked]

    async def _alternatives(self, file: RequestFile) -> tuple[str, ...]:
        """Units that would still fit, best first, of houses that are not asked already."""
        asked = {ask.establishment for ask in file.asks}
        units = [one.unit for one in await self._fitting(file)]
        return tuple(unit.name for unit in units if unit.establishment not in asked)[:ALTERNATIVES_MAX]

    def _freed_wanted(self) -> list[RequestFile]:
        return [
            file
            for file in self._present.values()
            if file.request.notify_when_free
            and not file.request.place_found
            and file.request.state is RequestState.OPEN
        ]

    async def _tell_freed(self, now: datetime) -> None:
        if self._clock.monotonic() < self._freed_look_at:
            return
        self._freed_look_at = self._clock.monotonic() + FREED_LOOK_SECONDS
        for file in self._freed_wanted():
            sure = next((one for one in await self._fitting(file) if one.freshness.is_sure), None)
            if sure is not None:
                found = partial(brokerage.place_found, unit=sure.unit.name, now=now)
                await self._change(file.request.name, found)

    async def _read_again(self) -> None:
        if self._clock.monotonic() < self._read_at:
            return
        await self._load()
        self._read_at = self._clock.monotonic() + READ_SECONDS

    async def _forget(self, now: datetime) -> None:
        if self._clock.monotonic() < self._forget_at:
            return
        await self._retention.sweep(now)
        self._forget_at = self._clock.monotonic() + FORGET_SECONDS

    def _count(self) -> None:
        if self._clock.monotonic() < self._count_at:
            return
        self._count_at = self._clock.monotonic() + COUNT_SECONDS
        states = Counter(ask.state.value for file in self._present.values() for ask in file.asks if ask.state)
        self._meters.reservations(states)
