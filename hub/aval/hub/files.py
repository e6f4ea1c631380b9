"""Every change to a request passes here: load its file, decide, save, in one transaction; then tell who watches.

Deciding is `brokerage`'s. Here is what surrounds it: the record of each caller's act (the same again gets the first
answer, DESIGN §8.5), the transaction, and after it the word to watchers and to the couriers of the houses concerned.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from aval.hub import brokerage, restoring
from aval.hub.bell import Bell
from aval.hub.model import Answer, Cursor, KnownReservation, RequestFile, establishment_of
from aval.hub.ports import CommandRecord, RequestFilter, Store, Transaction
from aval.kernel.clock import Clock
from aval.kernel.reasons import Reason, Refusal

LIVE_REQUESTS_MAX = 2000
"""Requests not over, of a territory: its cell watches them all (CONTRACT 27)."""

ORPHANS_AT_ONCE = 500
"""Orphans read at once; there are none where nothing has gone wrong."""

REFERENCES_TRIED = 16
"""Spoken references drawn for a new request: among 2,000 live ones of 33 million the first is taken once in 16,000."""


class Act(NamedTuple):
    """An act of a caller: who (a URI), the id that it gave, the hash of its content."""

    caller: str
    id: str
    content: bytes


class Done(NamedTuple):
    """What became of an act: its first answer, encoded; and the file, unless it had been answered before."""

    answer: bytes
    file: RequestFile | None = None


Decide = Callable[[RequestFile], RequestFile]
"""From a file to the file after an act; raises `Refusal`."""

Encode = Callable[[RequestFile], bytes]
"""A file as its caller is answered."""


class Files:
    """The files of all requests. `bell` tells of each that changed; `wake` is told the houses with new commands."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        wake: Callable[[str], None],
        bell: Bell[RequestFile] | None = None,
        members: frozenset[str] = frozenset(),
    ) -> None:
        """`bell`: that of the same files, changed through another store. `members` (FINESS): in whose name requests
        are."""
        self._members = members
        self._store = store
        self._clock = clock
        self._wake = wake
        self.bell: Bell[RequestFile] = bell if bell is not None else Bell(lambda file: file.request.revision)

    async def read(self, name: str) -> RequestFile | None:
        """A request's file."""
        return await self._store.read(lambda transaction: transaction.request(name))

    async def find(self, wanted: RequestFilter) -> list[RequestFile]:
        """The files that fit, in the order of names."""
        return await self._store.read(lambda transaction: transaction.requests(wanted))

    async def create(
        self, act: Act, make: Callable[[str], RequestFile], encode: Encode, references: list[str]
    ) -> bytes:
        """A new request; `make` is given a spoken reference that no live request bears, one of `references`.

        Raises `Refusal`: ID_REUSED, REQUEST_LIMIT, and what `make` raises.
        """

        def decide(transaction: Transaction) -> RequestFile:
            if transaction.live_count() >= LIVE_REQUESTS_MAX:
                raise Refusal(Reason.REQUEST_LIMIT, {"limit": str(LIVE_REQUESTS_MAX)})
            free = next((one for one in references if not transaction.reference_is_taken(one)), None)
            if free is None:
                raise Refusal(Reason.REQUEST_LIMIT, {"problem": "no free reference was drawn"})
            file = make(free)
            orphans = _orphans_of(transaction, file)
            known_as = _known_as(transaction, orphans)
            if known_as is not None:
                file = make(known_as)
            if transaction.request(file.request.name) is not None:
                raise Refusal(Reason.ID_REUSED, {"request": file.request.name})
            taken = next((ask.reservation for ask in file.asks if transaction.request_of(ask.reservation)), None)
            if taken is not None:
                raise Refusal(Reason.ID_REUSED, {"reservation": taken})
            return _with_orphans(file, orphans, self._clock.now())

        def work(transaction: Transaction) -> Done:
            first = _first_answer(transaction, act)
            if first is not None:
                return first
            file = decide(transaction)
            _save(transaction, file, None)
            return self._kept(transaction, act, encode(file), file)

        return await self._run(work)

    async def act(
        self, act: Act, name: str, may_see: Callable[[RequestFile], bool], decide: Decide, encode: Encode
    ) -> bytes:
        """An act on a request that its caller may see; the answer encoded.

        Raises `Refusal`: REQUEST_NOT_FOUND, ID_REUSED, and what `decide` raises: that too is kept as the first answer,
        if it is final, so that a late copy of a refused act cannot be done after all.
        """

        def work(transaction: Transaction) -> Done | Refusal:
            first = _first_answer(transaction, act)
            if first is not None:
                return first
            before = transaction.request(name)
            if before is None or not may_see(before):
                raise Refusal(Reason.REQUEST_NOT_FOUND, {"request": name})
            try:
                seen = restoring.looked_at(before)
                after = decide(seen)
                after = before if after is seen else after
                _check_new_ids(transaction, before, after)
            except Refusal as refusal:
                if refusal.reason.row.retryable:
                    raise
                kept = CommandRecord(
                    act.caller, act.id, act.content, self._clock.now(), b"", refusal.reason, refusal.metadata
                )
                transaction.keep_command(kept)
                return refusal
            if after is not before:
                _save(transaction, after, before)
            return self._kept(transaction, act, encode(after), after)

        return await self._run(work)

    async def change(self, name: str, decide: Decide) -> RequestFile | None:
        """What the hub does by itself to a request; None if there is none of that name."""

        def work(transaction: Transaction) -> RequestFile | None:
            before = transaction.request(name)
            if before is None:
                return None
            after = decide(before)
            if after is not before:
                _save(transaction, after, before)
            return after

        file = await self._store.run(work)
        if file is not None:
            self.tell((file,))
        return file

    async def answered(self, request: str, answer: Answer, cursor: Cursor | None) -> RequestFile | None:
        """A node's answer to a command of that request: row struck, state kept, reactions, the node's cursor.

        Returns the file as it is then; None if there is no such request.
        """
        now = self._clock.now()

        def work(transaction: Transaction) -> RequestFile | None:
            before = transaction.request(request)
            if cursor is not None:
                transaction.save_cursor_heard(cursor)
            if before is None:
                return None
            after = brokerage.answered(before, answer, now)
            if after is not before:
                _save(transaction, after, before)
            return after

        file = await self._store.run(work)
        if file is not None:
            self.tell((file,))
        return file

    def hear(
        self,
        transaction: Transaction,
        told: Sequence[KnownReservation],
        *,
        all_of: Cursor | None = None,
        over: frozenset[int] = frozenset(),
    ) -> list[RequestFile]:
        """Within a transaction: what a node's watch says of reservations. Returns the files that changed.

        `all_of`: the words are a whole snapshot of that house, at that cursor: what it leaves out is asked after, and
        if it is of another history than what was known, that is reinstated (`over`: its histories that are over).
        """
        now = self._clock.now()
        before: dict[str, RequestFile | None] = {}
        after: dict[str, RequestFile] = {}

        def take(name: str | None) -> str | None:
            """Loads a request's file, once; None if there is none."""
            file = transaction.request(name) if name is not None and name not in after else None
            if name is not None and file is not None:
                before[name] = after[name] = file
                if all_of is not None:
                    after[name] = restoring.met(file, all_of.establishment, all_of.incarnation, over, now)
            return name if name in after else None

        for known in told:
            name = take(transaction.request_of(known.name))
            if name is not None:
                after[name] = brokerage.heard(after[name], known, now)
            elif (found := self._found(transaction, known, take(known.request), after, now)) is not None:
                before.setdefault(found.request.name, None)
                after[found.request.name] = found
        if all_of is not None:
            names = frozenset(known.name for known in told)
            for asking in transaction.requests_asking(all_of.establishment):
                name = take(asking)
                if name is not None:
                    after[name] = brokerage.enquire(after[name], all_of.establishment, names, now)
            self._listed(transaction, all_of.establishment, names)
        changed = [file for name, file in after.items() if file is not before[name]]
        for file in changed:
            _save(transaction, file, before[file.request.name])
        return changed

    def _found(
        self,
        transaction: Transaction,
        known: KnownReservation,
        name: str | None,
        after: Mapping[str, RequestFile],
        now: datetime,
    ) -> RequestFile | None:
        """A reservation of this territory that no request here has asked for: its request's file, if it has a place.

        `name`: that of its request, if that is here. See `setback`.
        """
        if known.state.is_final:
            transaction.forget_orphan(known.name)
            return None
        file = None
        if name is not None:
            file = restoring.placed(after[name], known, now)
        elif known.told is not None and known.told.requester.on_behalf_of in self._members:
            origin = transaction.origin()
            restored = origin is not None and not origin.has_listed(establishment_of(known.name))
            free = restored and not transaction.reference_is_taken(known.told.reference)
            if free and (made := restoring.rebuilt(known, now)) is not None:
                file = _with_orphans(made, _orphans_of(transaction, made), now)
        if file is None:
            transaction.save_orphan(known)
        else:
            transaction.forget_orphan(known.name)
        return file

    def _listed(self, transaction: Transaction, establishment: str, names: frozenset[str]) -> None:
        """All reservations of a house have been heard: orphans of it that it does not name are over."""
        for orphan in _orphans(transaction):
            if establishment_of(orphan.name) == establishment and orphan.name not in names:
                transaction.forget_orphan(orphan.name)
        origin = transaction.origin()
        if origin is not None and not origin.has_listed(establishment):
            transaction.save_origin(origin.with_listed(establishment))

    def tell(self, files: Iterable[RequestFile]) -> None:
        """After a transaction: rings for each file, and wakes the couriers of the houses it has commands for."""
        for file in files:
            self.bell.ring(file.request.name, file)
            for establishment in sorted({row.establishment for row in file.rows}):
                self._wake(establishment)

    def _kept(self, transaction: Transaction, act: Act, answer: bytes, file: RequestFile) -> Done:
        transaction.keep_command(CommandRecord(act.caller, act.id, act.content, self._clock.now(), answer))
        return Done(answer, file)

    async def _run(self, work: Callable[[Transaction], Done | Refusal]) -> bytes:
        done = await self._store.run(work)
        if isinstance(done, Refusal):
            raise done
        if done.file is not None:
            self.tell((done.file,))
        return done.answer


def _first_answer(transaction: Transaction, act: Act) -> Done | None:
    record = transaction.command(act.caller, act.id)
    if record is None:
        return None
    if record.content != act.content:
        raise Refusal(Reason.ID_REUSED, {"command_id": act.id})
    if record.refused is not None:
        raise Refusal(record.refused, record.metadata)
    if not record.answer:
        raise Refusal(Reason.COMMAND_TOO_OLD, {"command_id": act.id, "problem": "it was answered weeks ago"})
    return Done(record.answer)


def _orphans(transaction: Transaction) -> Iterator[KnownReservation]:
    """All of them, some at once."""
    after = ""
    while found := transaction.orphans(after, ORPHANS_AT_ONCE):
        yield from found
        after = found[-1].name


def _orphans_of(transaction: Transaction, file: RequestFile) -> list[KnownReservation]:
    """Those of a request: this hub may have forgotten one that is said again."""
    return [orphan for orphan in _orphans(transaction) if orphan.request == file.request.name]


def _known_as(transaction: Transaction, orphans: Iterable[KnownReservation]) -> str | None:
    """The spoken reference by which a house knows their request."""
    told = next((one.told for one in orphans if one.told is not None), None)
    if told is None or transaction.reference_is_taken(told.reference):
        return None
    return told.reference


def _with_orphans(file: RequestFile, orphans: Iterable[KnownReservation], now: datetime) -> RequestFile:
    """A file that has just been made, with what was told of it before, and had no place until now."""
    for orphan in orphans:
        file = restoring.recalled(file, orphan, now)
    return file


def _save(transaction: Transaction, after: RequestFile, before: RequestFile | None) -> None:
    """Keeps a file. What it holds now is no orphan any more: a request that was forgotten here may be said again."""
    transaction.save(after, before)
    for reservation in _new_in(after, before):
        transaction.forget_orphan(reservation)


def _new_in(after: RequestFile, before: RequestFile | None) -> list[str]:
    """The reservations that a file has come to hold."""
    known = {ask.reservation for ask in before.asks} if before is not None else set()
    return [ask.reservation for ask in after.asks if ask.reservation not in known]


def _check_new_ids(transaction: Transaction, before: RequestFile, after: RequestFile) -> None:
    """Reservations that an act creates must be new in the whole territory, not in their request only."""
    for reservation in _new_in(after, before):
        if transaction.request_of(reservation) is not None:
            raise Refusal(Reason.ID_REUSED, {"reservation": reservation})
