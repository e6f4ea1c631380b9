"""One hub among several on one database (DESIGN §12): which nodes it follows, and what the others have done meanwhile.

Each node is followed by the hub that holds its lease. `Replicas.follow` renews what it holds, takes what is free up to
its fair share, and starts and stops the follower and the courier of each node with its lease. Time only decides who may
*try*: a hub that was stopped for longer than its lease and wakes believes that it still holds it, and is refused by the
database, because each transaction of follower and courier holds the lease by its epoch (`LeasedStore`).

`Replicas.hear` brings the others' changes to those who watch here. A notification is only a reason to look; without any
it looks every few seconds at the cursors of pictures and the revisions of requests, and reads again what differs. Ages
are told through the database too, by its clock, so that every hub shows the same freshness.

What was sent twice around a change of hands (the old hub sent and died, the new one sends again) is one command with
one id and one number, and the node answers it as before.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import structlog

from aval.hub.backoff import first_of, until_set
from aval.hub.files import Files
from aval.hub.model import Cursor, RequestFile, Unit
from aval.hub.pictures import Pictures
from aval.hub.ports import (
    Announcement,
    Lease,
    LeaseLost,
    PictureHead,
    RequestFilter,
    SharedStore,
    SharedTransaction,
    Tenancy,
    Transaction,
)
from aval.hub.registry import Registry
from aval.hub.routes import Route
from aval.hub.setback import Setback
from aval.kernel.clock import Clock
from aval.kernel.reasons import Reason, Refusal

T = TypeVar("T")

RENEW_SECONDS = 2.0
"""How often leases are renewed: a third of their life."""

LEASE_SECONDS = 6.0
"""Life of a lease as counted here, from before the renewal was sent: never longer than the database counts it."""

LOOK_SECONDS = 5.0
"""How often everything is compared, whatever was notified: what a lost notification costs at most."""

RETRY_SECONDS = 0.5
"""Between two looks while the database is away."""

FREE_MARGIN_SECONDS = 0.05
"""A lease of another is looked at this long after it runs out."""


class LeasedStore:
    """The store as the follower and the courier of one node use it: each transaction holds the lease, or is refused."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self.lease: Lease | None = None

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See `aval.hub.ports.Store.read`: reading needs no lease."""
        return await self._store.read(work)

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """See `aval.hub.ports.Store.run`. Without the lease nothing is stored: STORAGE_UNAVAILABLE, for this hub."""
        lease = self.lease
        if lease is None:
            raise _not_ours()

        def held(transaction: SharedTransaction) -> T:
            transaction.hold(lease)
            return work(transaction)

        try:
            return await self._store.run(held)
        except LeaseLost:
            raise _not_ours() from None

    def close(self) -> None:
        """Nothing of its own."""


def _not_ours() -> Refusal:
    return Refusal(Reason.STORAGE_UNAVAILABLE, {"problem": "another hub follows this node now"})


Loop = Callable[[], Coroutine[Any, Any, None]]


class Replicas:
    """See the module. `loops` are what runs for a node (FINESS) while its lease is held here."""

    def __init__(
        self,
        store: SharedStore,
        leased: Mapping[str, LeasedStore],
        loops: Mapping[str, tuple[Loop, ...]],
        *,
        setback: Setback,
        pictures: Pictures,
        files: Files,
        registry: Registry,
        routes: Mapping[str, Route],
        clock: Clock,
    ) -> None:
        self._store = store
        self._leased = leased
        self._loops = loops
        self._setback = setback
        self._pictures = pictures
        self._files = files
        self._registry = registry
        self._routes = routes
        self._clock = clock
        self._running: dict[str, asyncio.Future[None]] = {}
        self._until: dict[str, float] = {}
        self._shared: dict[str, float | None] = {}
        self._told: set[str] = set()
        self._anything = True
        self._woken = asyncio.Event()
        self._revisions: dict[str, int] = {}
        self._log = structlog.get_logger()

    # which nodes are followed here

    async def follow(self) -> None:
        """For ever: holds leases, runs what belongs to them, and gives them up when cancelled. Raises `PutBack`."""
        try:
            while True:
                wait_seconds = await self._look()
                for finess, until in list(self._until.items()):
                    running = self._running[finess]
                    if running.done():
                        running.result()  # a fault of the hub's own: it stops, in sight
                    if until <= self._clock.monotonic():
                        await self._stop(finess, "not renewed")
                await self._clock.sleep_until(self._clock.monotonic() + wait_seconds)
        finally:
            await self._leave()

    async def _look(self) -> float:
        """Renews, takes, starts and stops; how long until the next look."""
        begun = self._clock.monotonic()
        names = frozenset(self._leased)
        held = [store.lease for store in self._leased.values() if store.lease is not None]
        try:
            await self._setback.check()
            tenancy: Tenancy = await self._store.look(lambda transaction: transaction.tenancy(held, names))
        except Refusal:
            return RETRY_SECONDS
        for lease in tenancy.refused:
            await self._stop(lease.establishment, "taken by another hub")
        spare = {lease.establishment for lease in tenancy.spare}
        for lease in tenancy.held:
            if lease.establishment not in spare:
                self._until[lease.establishment] = begun + LEASE_SECONDS
                if lease.establishment not in self._running:
                    self._start(lease)
        for finess in spare:
            await self._stop(finess, "left to another hub")
        try:
            if spare:
                await self._store.look(lambda transaction: transaction.give_up(tenancy.spare))
            await self._share_ages()
        except Refusal:
            return RETRY_SECONDS
        if tenancy.free_in is None:
            return RENEW_SECONDS
        return min(RENEW_SECONDS, tenancy.free_in.total_seconds() + FREE_MARGIN_SECONDS)

    def _start(self, lease: Lease) -> None:
        finess = lease.establishment
        self._leased[finess].lease = lease
        self._running[finess] = asyncio.ensure_future(self._follow(finess))
        self._log.info("lease-taken", establishment=finess, revision=lease.epoch)

    async def _stop(self, finess: str, cause: str) -> None:
        running = self._running.pop(finess, None)
        self._until.pop(finess, None)
        self._leased[finess].lease = None
        if running is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            self._log.info("lease-ended", establishment=finess, cause=cause)

    async def _follow(self, finess: str) -> None:
        """While the lease is held: from where the hub that held it before has left off."""
        while True:
            try:
                await self._read_picture(finess, anew=True)
                break
            except Refusal:
                await self._clock.sleep_until(self._clock.monotonic() + RETRY_SECONDS)
        tasks = [asyncio.ensure_future(loop()) for loop in self._loops[finess]]
        try:
            await first_of(*map(asyncio.shield, tasks))
        finally:
            # Gone for good before a later tenure begins: they share what they hold in memory.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _leave(self) -> None:
        """The others may take all of it at once."""
        held = [store.lease for store in self._leased.values() if store.lease is not None]
        for finess in list(self._running):
            await self._stop(finess, "this hub stops")

        def leaving(transaction: SharedTransaction) -> None:
            transaction.give_up(held)
            transaction.leave()

        try:
            await self._store.look(leaving)
        except Refusal:
            self._log.warning("leases-not-given-up", count=len(held))

    async def _share_ages(self) -> None:
        """Tells the others when the nodes followed here were heard, and learns it of theirs."""
        mine = sorted(self._running)
        heard = {finess: picture.heard_at for finess in mine if (picture := self._pictures.of(finess)) is not None}
        news = [
            proofs
            for finess, at in heard.items()
            if at != self._shared.get(finess) and (proofs := self._pictures.proofs_of(finess)) is not None
        ]
        if news:
            await self._store.run(lambda transaction: transaction.save_proofs(news))
            self._shared = heard
        for proofs in await self._store.read(lambda transaction: transaction.proofs(mine)):
            if proofs.establishment not in self._running:
                self._pictures.take_proofs(proofs)

    # what other hubs have changed

    async def hear(self) -> None:
        """For ever: takes up what others have changed, when told, and every few seconds all that differs."""
        self._store.listen(self._tell)
        look_at = self._clock.monotonic()
        with self._files.bell.listen() as own:
            while True:
                await until_set(self._woken, self._clock, look_at)
                self._woken.clear()
                names, self._told = self._told, set()
                anything, self._anything = self._anything, False
                try:
                    for name in sorted(names):
                        self._learn(own.take())
                        await self._read_again(name)
                    if anything or self._clock.monotonic() >= look_at:
                        await self._compare(own.take)
                        look_at = self._clock.monotonic() + LOOK_SECONDS
                except Refusal:
                    look_at = self._clock.monotonic() + RETRY_SECONDS
                    self._anything = True

    def _tell(self, names: frozenset[str]) -> None:
        self._told |= names
        self._anything = self._anything or not names
        self._woken.set()

    async def _read_again(self, name: str) -> None:
        collection, _, rest = name.partition("/")
        if collection == "requests":
            file = await self._files.read(name)
            if file is not None and file.request.revision > self._revisions.get(name, 0):
                self._files.tell((file,))
        elif rest not in self._leased:
            return
        elif collection == "announcements":
            await self._read_announcements(rest)
        elif rest not in self._running:
            await self._read_picture(rest, anew=False)

    async def _read_picture(self, finess: str, *, anew: bool) -> None:
        def work(
            transaction: SharedTransaction,
        ) -> tuple[tuple[PictureHead, tuple[Unit, ...]] | None, list[Cursor]]:
            return transaction.picture(finess), transaction.cursors_heard()

        found, heard = await self._store.read(work)
        if anew or finess not in self._running:
            self._pictures.take(finess, found, heard)

    async def _read_announcements(self, finess: str) -> None:
        def work(transaction: Transaction) -> list[Announcement]:
            return transaction.announcements()

        for announcement in await self._store.read(work):
            if announcement.establishment == finess:
                self._registry.take(announcement)
                self._routes[finess].announced()

    async def _compare(self, own: Callable[[], Mapping[str, RequestFile]]) -> None:
        """Reads again whatever stands elsewhere than it does here."""

        def work(
            transaction: SharedTransaction,
        ) -> tuple[list[PictureHead], Mapping[str, int], list[Announcement]]:
            return transaction.heads(), transaction.revisions(), transaction.announcements()

        heads, revisions, announcements = await self._store.read(work)
        self._learn(own())
        for announcement in announcements:
            if self._registry.announcement(announcement.establishment) != announcement:
                self._registry.take(announcement)
                if announcement.establishment in self._routes:
                    self._routes[announcement.establishment].announced()
        for head in heads:
            finess = head.cursor.establishment
            known = self._pictures.of(finess)
            if known is not None and known.cursor != head.cursor and finess not in self._running:
                await self._read_picture(finess, anew=False)
        differing = [name for name, revision in revisions.items() if revision > self._revisions.get(name, 0)]
        if len(differing) > len(self._revisions):
            await self._read_all()
        else:
            # Those that were archived since are in no list: each is read once more.
            for name in (*differing, *(self._revisions.keys() - revisions.keys())):
                await self._read_again(name)
        self._learn(own())

    async def _read_all(self) -> None:
        """At the start: a page at a time, not one by one."""
        after = ""
        while files := await self._files.find(RequestFilter(after=after)):
            known = self._revisions
            self._files.tell(file for file in files if file.request.revision > known.get(file.request.name, 0))
            after = files[-1].request.name

    def _learn(self, files: Mapping[str, RequestFile]) -> None:
        """What has been told here, by whomever. What is over may change: holds are let go, an admission undone."""
        for name, file in files.items():
            if file.request.archived:
                self._revisions.pop(name, None)
            else:
                self._revisions[name] = file.request.revision
