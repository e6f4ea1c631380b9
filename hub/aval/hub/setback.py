"""A hub that was put back to an earlier state, and how it knows (DESIGN §5, Restore).

- `aval hub restore` says so: the database that it puts back bears a new *origin* (a new incarnation, restored when, and
  nobody listed since). The hub then marks every request that is not over `set_back`, shows each node what it has heard
  of it (so that one that was put back too finds that out), then has it tell all in a whole snapshot, and carries no
  command to a node before that snapshot has listed the node's reservations.
- A machine that was rolled back, or a copy of the file, says nothing. The nodes do: a reservation whose last decided
  command bears a number that this hub never gave, or gave to another command (ID_REUSED), or a live reservation of this
  territory that no request here has asked for. That happens to no hub whose memory is whole, since each command and
  each ask is stored before it is sent. The request concerned is then `set_back` by that very word, in its transaction,
  before anything follows from it.
- One of several hubs that hung through all this, with the memory of before, ends as soon as it wakes.
- Two hubs started by mistake on copies of one database see each other in the same way: what the other asks for is an
  orphan here, what it commands bears numbers that were never given here. On one file the lock lets one of them start.

A request that is `set_back` lets nothing go by itself, asks nobody next and does not lapse: a person who acts on it has
looked at it, and then it is as any other. A reservation that no request here has asked for, but whose request is here
and open, is placed there, also where the request comes back only then. One whose request is unknown is an *orphan*,
shown to the cell, unless this hub was restored by command and its node has not been listed since: then the request is
made again from what the reservation bears. What cannot be placed (a request that is over, another need, a member that
is none any more) stays an orphan. No orphan is ever released by the hub: it is the house's to end, or a person's to
settle by telephone.
"""

import asyncio
from collections.abc import Iterable

import structlog

from aval.hub import restoring
from aval.hub.backoff import until_set
from aval.hub.ports import Origin, RequestFilter, Store, Transaction
from aval.kernel.clock import Clock
from aval.kernel.reasons import Refusal

NEVER_RESTORED = Origin(0)
"""What a database is that no restore has put in its place."""


class PutBack(RuntimeError):
    """The database was put back while this hub hung: what it has in memory is of another history, and it must end."""

    def __init__(self) -> None:
        super().__init__("the database was put back while this hub hung: start it anew, and it takes up what is there")


LOOK_SECONDS = 2.0
"""How often the store is asked whether another replica has listed a node."""


class Setback:
    """What this hub does about its own restore; one for all nodes."""

    def __init__(self, store: Store, clock: Clock, members: Iterable[str]) -> None:
        self._store = store
        self._clock = clock
        self._listed = {finess: asyncio.Event() for finess in members}
        self._incarnation = NEVER_RESTORED.incarnation
        self._log = structlog.get_logger()

    @property
    def waiting(self) -> tuple[str, ...]:
        """The houses that are to be listed before anything is sent to them."""
        return tuple(finess for finess, listed in self._listed.items() if not listed.is_set())

    async def begin(self) -> None:
        """At start: takes up the origin, and marks the requests of a hub that was restored.

        Raises `Refusal(STORAGE_UNAVAILABLE)`.
        """
        now = self._clock.now()

        def work(transaction: Transaction) -> Origin:
            origin = transaction.origin() or NEVER_RESTORED
            if origin.restored_at is not None and not origin.marked:
                after = ""
                while files := transaction.requests(RequestFilter(live=True, after=after)):
                    for file in files:
                        marked = restoring.set_back(file, now)
                        if marked is not file:
                            transaction.save(marked, file)
                    after = files[-1].request.name
                origin = origin.with_requests_marked()
                transaction.save_origin(origin)
            return origin

        origin = await self._store.run(work)
        self._incarnation = origin.incarnation
        for finess, listed in self._listed.items():
            if origin.has_listed(finess):
                listed.set()
        if self.waiting:
            self._log.warning("hub-restored", incarnation=f"{origin.incarnation:016x}", count=len(self.waiting))

    async def check(self) -> None:
        """Before this hub, one of several, takes a node that is free. Raises `PutBack`,
        `Refusal(STORAGE_UNAVAILABLE)`."""
        origin = await self._store.read(lambda transaction: transaction.origin()) or NEVER_RESTORED
        if origin.incarnation != self._incarnation:
            raise PutBack

    async def until_listed(self, finess: str) -> None:
        """Returns once that node's reservations have been listed since this hub was restored, by whichever replica."""
        while not self._listed[finess].is_set():
            try:
                origin = await self._store.read(lambda transaction: transaction.origin())
            except Refusal:
                await until_set(self._listed[finess], self._clock, self._clock.monotonic() + LOOK_SECONDS)
                continue
            if origin is None or origin.has_listed(finess):
                self._listed[finess].set()
                return
            await until_set(self._listed[finess], self._clock, self._clock.monotonic() + LOOK_SECONDS)

    def listed(self, finess: str) -> None:
        """A whole snapshot of that node is stored."""
        self._listed[finess].set()
