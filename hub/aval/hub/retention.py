"""What a hub forgets, and when: its database is as large as its territory is busy, and not as it is old.

A request that is over leaves the lists (`archived`: an admission after 72 hours, anything else after a day). Thirty
days after it ended it loses its number in another system, the only thing at a hub that leads to a patient. What it
asked, whom, and how they answered stays for people who look back, until it is dropped with its asks at 400 days. Acts
lose their answers after the same thirty days and their ids after the same 400 (CONTRACT 19): in between, an act said
again is not done again, and is told that it is too old. Rows of the outbox are struck by their answers, or after seven
days; figures are one row a unit.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec.structs import replace

from aval.hub.ports import Store, Transaction

LINKS_KEPT = timedelta(days=30)
"""How long a request that is over keeps its number in another system (SECURITY: patient links, a short time)."""

ANSWERS_KEPT = timedelta(days=30)
"""How long an act can be said again and is answered as before: callers try again for days at most."""

KEPT = timedelta(days=400)
"""How long requests and ids of acts are kept (CONTRACT 19): a year, and the weeks in which it is looked back at."""

FORGOTTEN_AT_ONCE = 500
"""What one transaction drops: it delays others by some milliseconds."""


class Retention:
    """Drops what is old. Several hubs on one database may do so side by side."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def sweep(self, now: datetime) -> None:
        """Drops all that is due. Raises `Refusal` if the store refuses: the rest is due still."""
        await self._all(lambda transaction: _unlink(transaction, now - LINKS_KEPT))
        await self._all(lambda transaction: transaction.forget_answers(now - ANSWERS_KEPT, FORGOTTEN_AT_ONCE))
        await self._all(lambda transaction: _forget(transaction, now - KEPT))
        await self._all(lambda transaction: transaction.forget_commands(now - KEPT, FORGOTTEN_AT_ONCE))

    async def _all(self, some: Callable[[Transaction], int]) -> None:
        """Transaction after transaction, while there is a full one's worth."""
        while await self._store.run(some) == FORGOTTEN_AT_ONCE:
            pass


def _unlink(transaction: Transaction, before: datetime) -> int:
    names = transaction.old_requests(before, FORGOTTEN_AT_ONCE, linked=True)
    for name in names:
        file = transaction.request(name)
        # Loaded again, since another may have changed it: where several hubs share the store, loading locks.
        if file is not None and file.request.archived:
            request = replace(file.request, external_reference=None)
            transaction.save(replace(file, request=request), file)
    return len(names)


def _forget(transaction: Transaction, before: datetime) -> int:
    names = transaction.old_requests(before, FORGOTTEN_AT_ONCE, linked=False)
    for name in names:
        file = transaction.request(name)
        if file is not None and file.request.archived and not file.rows:
            transaction.forget_request(file)
    return len(names)
