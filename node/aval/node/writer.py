"""The single writer: the one coroutine that decides, stores and publishes (DESIGN §4).

It takes all commands that wait, decides each against the ledger in memory, stores what they change in one transaction,
and only then publishes and answers. While the disk works the next commands gather: the busier the node, the more of
them share a commit. A commit that fails refuses each command of its batch, by name, and the ledger is read again from
the store, which alone knows what was stored.

Time is a command too: one alarm is set to the next instant at which a fact or a published figure changes, and brings a
`Tick` through the same door.
"""

import asyncio
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from aval.kernel.clock import Clock
from aval.kernel.reasons import Reason, Refusal
from aval.node.availability import figures
from aval.node.commands import AnyCommand, CorrectFigures, Decision, DeclareCounts, Reconcile, Tick, Verdict
from aval.node.faults import Fault, guarded, made_or_left_out
from aval.node.history import COMPACT_EVERY, REVISIONS_RETAINED, Cursor, Standing, chained
from aval.node.ledger import Ledger
from aval.node.model import Change, Kind
from aval.node.ports import Batch, Meter, Revision, StorageUnavailable, Store, Touched
from aval.node.published import Published
from aval.node.store.body import row_of
from aval.node.time import NodeTime

QUEUE_COMMANDS_MAX = 1_024
"""Commands that wait: about a second of work. Beyond it QUEUE_FULL answers at once, which helps more than waiting."""

BATCH_COMMANDS_MAX = 128
"""Commands in one commit: it stays short enough for the others to wait (some 10 ms), and the gain is had by then."""

TICK_SECONDS_MIN = 0.05
"""Between two ticks: what falls due together shares a revision."""

FAULT_RETRY = timedelta(minutes=5)
"""How soon figures that could not be computed are looked at again."""

STORAGE_RETRY_SECONDS = 5.0
"""How soon time's own work is tried again after the disk refused; commands try at once."""

PROOF_SECONDS = 60.0
"""Proofs of life are stored with the next commit, or alone after this long: all that a crash may add to an age."""


@dataclass(slots=True)
class _Waiting:
    """A command on its way, and who waits for its verdict; nobody does for a tick.

    `seen`: the revision at which a person read the figures that the command changes. `everything`: all units are
    published anew, changed or not, as at start.
    """

    command: AnyCommand
    answer: asyncio.Future[Verdict] | None = None
    seen: int | None = None
    everything: bool = False

    @property
    def gone(self) -> bool:
        """Whether its caller gave up while it waited: it is then not decided at all."""
        return self.answer is not None and self.answer.done()

    def settle(self, verdict: Verdict) -> None:
        """Answers, if anybody still waits."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(verdict)


class Writer:
    """The owner of a node's ledger. `start`, then `run` as a task; `submit` from anywhere on the same event loop."""

    def __init__(
        self, store: Store, clock: Clock, meter: Meter, establishment: str, retained: int = REVISIONS_RETAINED
    ) -> None:
        """`retained`: revisions from which a follower can resume."""
        self._store = store
        self._clock = clock
        self._meter = meter
        self._establishment = establishment
        self._retained = retained
        self._log = structlog.get_logger()
        self._queue: deque[_Waiting] = deque()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._stopping = False
        self._lost = False
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at = math.inf
        self._unsaved: dict[str, datetime] = {}
        self._save_at = math.inf

    async def start(self) -> None:
        """Reads the store and commits the first tick: what time did meanwhile. Raises `StorageUnavailable`."""
        stored = await self._store.load()
        told = [revision.as_of for revision in stored.recent[-1:]] + list(stored.proofs.values())
        self.time = NodeTime(max([self._clock.now(), *told]), self._clock.monotonic())
        self._ledger = Ledger(stored.facts, stored.incarnation)
        self.published = Published(stored, self._retained)
        self.published.forget_sources()
        for source, at in self.published.proofs.items():
            self._meter.source_alive(self._establishment, source, (self.now() - at).total_seconds())
        begin = [_Waiting(Tick(), everything=True)]
        restore = self._ledger.restore
        if stored.former is not None and (restore is None or restore.incarnation != stored.incarnation):
            begin.insert(0, _Waiting(Reconcile(stored.former)))
        await self._settle(begin)
        if self.published.history.revision == (stored.recent[-1].number if stored.recent else 0):
            raise StorageUnavailable("the first revision could not be stored")

    def now(self) -> datetime:
        """The node's time."""
        return self.time.now(self._clock.monotonic())

    async def submit(self, command: AnyCommand, seen: int | None = None) -> Verdict:
        """Has a command decided, stored and published; then its verdict, a refusal by the ledger included.

        What is read from `published` afterwards contains its effect. `seen`: the revision at which a person read the
        figures that the command changes. Raises `Refusal`: QUEUE_FULL, SHUTTING_DOWN; nothing was done then.
        """
        if self._stopping:
            raise Refusal(Reason.SHUTTING_DOWN)
        if len(self._queue) >= QUEUE_COMMANDS_MAX:
            raise Refusal(Reason.QUEUE_FULL, {"queue": "writer"})
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(command, answer, seen))
        self._meter.queue_length("writer", len(self._queue))
        self._work.set()
        return await answer

    async def standing(self, cursor: Cursor) -> Standing:
        """What a cursor is to this history; the store is asked for old ones. Raises `Refusal(STORAGE_UNAVAILABLE)`."""
        found = self.published.history.standing(cursor)
        if found is not None:
            return found
        try:
            digest = await self._store.digest_of(cursor.revision)
        except StorageUnavailable as error:
            raise unavailable(error) from error
        return self.published.history.standing_by(cursor, digest)

    async def run(self) -> None:
        """Serves the queue until it is cancelled."""
        while True:
            await self._work.wait()
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_COMMANDS_MAX))]
            self._meter.queue_length("writer", len(self._queue))
            if batch:
                await self._settle(batch)
            if self._clock.monotonic() >= self._save_at:
                await self._save_proofs()
            if not self._queue:
                self._work.clear()
                if self._stopping:
                    self._idle.set()

    async def stop(self) -> None:
        """Takes no more commands, returns when those that wait are answered. The store is the caller's to close."""
        self._stopping = True
        self._work.set()
        await self._idle.wait()
        if self._alarm is not None:
            self._alarm.cancel()
        await self._save_proofs()

    # One batch

    async def _settle(self, batch: list[_Waiting]) -> None:
        """Settles a batch; one that a fault of ours ends is settled again, each command alone: the others go on."""
        try:
            await self._settle_or_fail(batch)
        except Fault as fault:
            self._lost = True
            self._log.error("batch-failed", count=len(batch), exception=fault.name)
            if len(batch) == 1:
                self._refuse(batch, Refusal(Reason.INTERNAL))
                self._set_alarm(self._clock.monotonic() + STORAGE_RETRY_SECONDS)
                return
            for waiting in batch:
                await self._settle([waiting])

    async def _settle_or_fail(self, batch: list[_Waiting]) -> None:
        try:
            await self._settle_together(batch)
        except Exception as cause:
            raise Fault from cause

    async def _settle_together(self, batch: list[_Waiting]) -> None:
        if self._lost and not await self._reload():
            self._refuse(batch, Refusal(Reason.STORAGE_UNAVAILABLE))
            return
        now = self.now()
        decided: list[tuple[_Waiting, Decision]] = []
        touched_before: set[str] = set()
        for waiting in batch:
            if not waiting.gone:
                decision = self._decide(self._as_seen(waiting, touched_before), now)
                touched_before |= decision.units
                decided.append((waiting, decision))
        decisions = [decision for _, decision in decided]
        changes = self._changes(decisions)
        touched = self._touched(decisions, now, everything=any(waiting.everything for waiting in batch))
        for decision in decisions:
            self._heard(decision.proofs, now - decision.proof_age)
        moved = bool(changes) or touched != Touched()
        begun = [decision.incarnation for decision in decisions if decision.incarnation is not None]
        if moved and not await self._commit(now, changes, touched, batch, begun[-1] if begun else None):
            return
        if any(change.kind is Kind.UNIT for change in changes):
            for source in self.published.forget_sources():
                self._unsaved.pop(source, None)
                self._meter.source_gone(self._establishment, source)
        for waiting, decision in decided:
            waiting.settle(decision.verdict)
        if moved and self.published.history.revision % COMPACT_EVERY == 0:
            await self._compact()
        self._set_alarm(self._due(now))

    def _as_seen(self, waiting: _Waiting, touched_before: set[str]) -> AnyCommand:
        """The command, told whether the figures moved since its author read them, by what waited before it too."""
        command = waiting.command
        if waiting.seen is None or not isinstance(command, DeclareCounts | CorrectFigures):
            return command
        history = self.published.history
        known = waiting.seen >= history.floor
        moved = command.unit in touched_before or not known or command.unit in history.touched_since(waiting.seen).units
        return replace(command, figures_moved=moved)

    def _decide(self, command: AnyCommand, now: datetime) -> Decision:
        try:
            decision = guarded(lambda: self._ledger.decide(command, now))
        except Fault as fault:
            self._log.error("decision-failed", command=type(command).__name__, exception=fault.name)
            return Decision(verdict=Verdict(refusal=Refusal(Reason.INTERNAL)))
        self._ledger.apply(decision.changes)
        if decision.incarnation is not None:
            self._ledger.incarnation = decision.incarnation
        return decision

    def _changes(self, decisions: Iterable[Decision]) -> list[Change]:
        """What the batch changes: of each fact its last state, in the order of the first change."""
        last = {(change.kind, change.key): change for decision in decisions for change in decision.changes}
        # A reservation whose waiting rank moved is news, though its fact is the same: it is written again, so that its
        # revision rises and followers take the word for newer.
        for decision in decisions:
            for key in sorted(decision.reservations):
                fact = self._ledger.reservation(key)
                if fact is not None and (Kind.RESERVATION, key) not in last:
                    last[Kind.RESERVATION, key] = Change(Kind.RESERVATION, key, fact)
        return list(last.values())

    def _touched(self, decisions: Iterable[Decision], now: datetime, *, everything: bool) -> Touched:
        # What ended while nobody was there is news as well: the first tick's reservations are told like any other's.
        reservations = frozenset().union(*(decision.reservations for decision in decisions))
        if everything:
            return Touched(frozenset(self._ledger.all(Kind.UNIT)), reservations, establishment=True)
        units = frozenset().union(*(decision.units for decision in decisions))
        return Touched(
            units | self._moved_by_time(now, units),
            reservations,
            any(decision.establishment for decision in decisions),
        )

    def _moved_by_time(self, now: datetime, but: frozenset[str]) -> frozenset[str]:
        """The units whose published figures are not what they would be now, though no fact changed."""
        moved = set()
        for unit, shown in self.published.figures.items():
            if unit in but or shown.next_change is None or shown.next_change > now or self._ledger.unit(unit) is None:
                continue
            present = made_or_left_out(partial(figures, self._ledger, unit, now), "figures-failed", unit=unit)
            if present is None:
                self.published.figures[unit] = replace(shown, next_change=now + FAULT_RETRY)
            elif present.same_as(shown):
                # What was published stands, as of its revision; only the next look is later.
                self.published.figures[unit] = replace(shown, next_change=present.next_change)
            else:
                moved.add(unit)
        return frozenset(moved)

    async def _commit(
        self,
        now: datetime,
        changes: list[Change],
        touched: Touched,
        batch: list[_Waiting],
        incarnation: int | None,
    ) -> bool:
        history = self.published.history
        number = history.revision + 1
        rows = [row_of(change) for change in changes]
        revision = Revision(number, chained(history.digest, number, now, rows), now, touched)
        began = self._clock.monotonic()
        try:
            await self._store.commit(Batch(revision, rows, self._unsaved, incarnation))
        except StorageUnavailable as error:
            self._meter.commit_failed()
            self._log.error("commit-failed", problem=error.problem, count=len(batch), revision=number)
            self._lost = True
            await self._reload()
            self._refuse(batch, unavailable(error))
            self._set_alarm(self._clock.monotonic() + STORAGE_RETRY_SECONDS)
            return False
        self._unsaved, self._save_at = {}, math.inf
        self._meter.committed(len(batch), self._clock.monotonic() - began)
        self.published.publish(revision, changes, incarnation)
        if incarnation is not None:
            self._log.warning("node-restored", incarnation=f"{incarnation:016x}", revision=number)
        self._meter.reservations(self.published.states)
        return True

    def _refuse(self, batch: Iterable[_Waiting], refusal: Refusal) -> None:
        for waiting in batch:
            waiting.settle(Verdict(refusal=refusal))

    async def _reload(self) -> bool:
        """Takes the store's word for what is committed: a commit that failed may have been stored all the same."""
        try:
            stored = await self._store.load()
        except StorageUnavailable as error:
            self._log.error("store-unreadable", problem=error.problem)
            self._set_alarm(self._clock.monotonic() + STORAGE_RETRY_SECONDS)
            return False
        self._ledger = Ledger(stored.facts, stored.incarnation)
        self.published.adopt(stored)
        # A source that spoke has spoken, whatever became of its word.
        self.published.proofs.update(self._unsaved)
        self._lost = False
        self._log.info("ledger-reloaded", revision=self.published.history.revision)
        return True

    # Time and proofs of life

    def _due(self, now: datetime) -> float:
        """When the alarm must ring, in monotonic seconds."""
        timers = [shown.next_change for shown in self.published.figures.values()]
        due = min((timer for timer in (self._ledger.next_timer(), *timers) if timer is not None), default=None)
        here = self._clock.monotonic()
        at = math.inf if due is None else here + max((due - now).total_seconds(), TICK_SECONDS_MIN)
        return min(at, self._save_at)

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            if at == self._alarm_at:
                return
            self._alarm.cancel()
            self._alarm = None
        self._alarm_at = at
        if at != math.inf and not self._stopping:
            self._alarm = asyncio.create_task(self._ring(at))

    async def _ring(self, at: float) -> None:
        await self._clock.sleep_until(at)
        self._alarm = None
        self._queue.appendleft(_Waiting(Tick()))
        self._work.set()

    def _heard(self, sources: Iterable[str], at: datetime) -> None:
        for source in sources:
            known = self.published.proofs.get(source)
            if known is not None and known >= at:
                continue  # a word that was old when it was sent is no proof beside a newer one
            self.published.proofs[source] = at
            self._unsaved[source] = at
            self._save_at = min(self._save_at, self._clock.monotonic() + PROOF_SECONDS)
            self._meter.source_alive(self._establishment, source, (self.now() - at).total_seconds())

    async def _save_proofs(self) -> None:
        if not self._unsaved:
            return
        proofs, self._unsaved, self._save_at = self._unsaved, {}, math.inf
        try:
            await self._store.save_proofs(proofs)
        except StorageUnavailable as error:
            # An age that a crash would lengthen by a minute is no reason to refuse anything: the next commit has them.
            self._unsaved = proofs | self._unsaved
            self._log.warning("proofs-not-saved", problem=error.problem)

    async def _compact(self) -> None:
        try:
            await self._store.compact(self.published.history.floor + 1)
        except StorageUnavailable as error:
            self._log.warning("not-compacted", problem=error.problem)


def unavailable(error: StorageUnavailable) -> Refusal:
    """The refusal that the store's failure makes: retryable, and nothing was done."""
    return Refusal(Reason.STORAGE_UNAVAILABLE, {"problem": error.problem})
