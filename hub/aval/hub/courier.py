"""Carries the commands for one node: rows of the outbox, sent on one stream, struck by their answers.

The row is the only road. The courier holds no command of its own: it reads rows from the store, sends the first of each
reservation (one in flight a reservation, in order; at most 64 unanswered, as the contract says), and an answer strikes
its row in the transaction that keeps the reservation's state. A cut stream leaves rows as they are; they are sent
again, the same but for age and cursor, and the node knows them by their ids: one at first, then twice as many with each
answer, for on a line that is cut soon the answers to all at once would be lost whole, each time. A refusal that a later
try may cure leaves the row, which then waits; one that no try cures is an answer.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from aval.hub import brokerage
from aval.hub.backoff import Backoff, until_set, wait_seconds
from aval.hub.files import Files
from aval.hub.model import OutboxRow
from aval.hub.pictures import Pictures
from aval.hub.ports import Exchange, LinkLost, Meters, NodeAnswer, NodeCommand, Store
from aval.hub.routes import Route
from aval.kernel.clock import Clock, Rng
from aval.kernel.reasons import Reason, Refusal

UNANSWERED_MAX = 64
"""Commands unanswered on a stream, as the contract says; the node refuses more."""

ROWS_READ_MAX = 256
"""Rows read at once: enough to find 64 reservations whose first row may be sent."""

SENT_SHOWN_AFTER_SECONDS = 2.0
"""A command that is answered sooner need not be shown as sent: that would cost a transaction each."""

ANSWER_SECONDS_MAX = 20.0
"""A command unanswered for longer, on a stream that is open: the stream is cut and its commands are sent again. A node
decides in milliseconds; whatever swallowed the command or the answer, waiting on would cure nothing."""

IDLE_SECONDS = 60.0
"""Without any event the courier looks at the outbox this often: a word that was lost costs a minute, not a patient."""


@dataclass(slots=True)
class _Flight:
    """A row that has been sent and not answered."""

    row: OutboxRow
    sent_at: float
    shown: bool = False


class Courier:
    """Carries the commands of one route."""

    def __init__(
        self,
        route: Route,
        store: Store,
        files: Files,
        pictures: Pictures,
        clock: Clock,
        rng: Rng,
        meters: Meters,
    ) -> None:
        self._route = route
        self._store = store
        self._files = files
        self._pictures = pictures
        self._clock = clock
        self._rng = rng
        self._meters = meters
        self._backoff = route.with_backoff(Backoff(clock, rng))
        self._woken = asyncio.Event()
        self._flights: dict[str, _Flight] = {}
        self._unanswered_max = UNANSWERED_MAX
        self._not_before: dict[str, float] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()

    def wake(self) -> None:
        """There may be a new row."""
        self._woken.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._woken.clear()
            try:
                if not await self._rows(1):
                    await until_set(self._woken, self._clock, self._clock.monotonic() + IDLE_SECONDS)
                    continue
                link = await self._route.link()
                async with link.exchange() as stream:
                    await self._talk(stream)
            except LinkLost as error:
                await self._lost(error.refusal)
            except Refusal as error:
                await self._lost(error)

    async def _lost(self, refusal: Refusal) -> None:
        self._unanswered_max = 1
        self._route.failed()
        self._log.warning(
            "link-lost", establishment=self._route.finess, link="exchange", reason=refusal.reason.value,
            attempt=self._backoff.attempt,
        )  # fmt: skip
        await self._backoff.wait()

    async def _rows(self, limit: int) -> list[OutboxRow]:
        finess = self._route.finess
        rows = await self._store.run(lambda transaction: transaction.outbox(finess, limit))
        self._meters.queue_length(f"outbox:{finess}", len(rows))
        return rows

    async def _talk(self, stream: Exchange) -> None:
        """Sends what is due and takes answers, until the stream ends. Raises `LinkLost`, `Refusal`."""
        reading = asyncio.ensure_future(self._read(stream))
        reading.add_done_callback(lambda _: self._woken.set())
        try:
            while not reading.done():
                self._woken.clear()
                self._check_answered()
                await self._show_sent()
                await self._send_due(stream)
                if not reading.done():
                    await until_set(self._woken, self._clock, self._next_look())
            reading.result()
        finally:
            reading.cancel()
            await asyncio.gather(reading, *self._answering, return_exceptions=True)
            self._flights.clear()

    def _next_look(self) -> float:
        """When something is due without a word from anyone: a row that waits, a flight to be shown."""
        times = [
            flight.sent_at + (ANSWER_SECONDS_MAX if flight.shown else SENT_SHOWN_AFTER_SECONDS)
            for flight in self._flights.values()
        ]
        times += self._not_before.values()
        return min(times, default=self._clock.monotonic() + IDLE_SECONDS)

    def _check_answered(self) -> None:
        """Raises `LinkLost` if a command has been unanswered for too long."""
        long_ago = self._clock.monotonic() - ANSWER_SECONDS_MAX
        if any(flight.sent_at <= long_ago for flight in self._flights.values()):
            raise LinkLost(Refusal(Reason.NODE_UNREACHABLE, {"problem": "a command was not answered"}))

    async def _send_due(self, stream: Exchange) -> None:
        now = self._clock.monotonic()
        self._not_before = {name: until for name, until in self._not_before.items() if until > now}
        met: set[str] = set()
        # Taken before the rows are read: where a node was restored, what must go ahead is stored before its new cursor.
        cursor = self._pictures.cursor_heard(self._route.finess)
        for row in await self._rows(ROWS_READ_MAX):
            first = row.reservation not in met
            met.add(row.reservation)
            if not first or row.reservation in self._flights or row.reservation in self._not_before:
                continue
            if len(self._flights) >= self._unanswered_max:
                return
            self._flights[row.reservation] = _Flight(row, now)
            age = max(self._clock.now() - row.stored_at, timedelta(0))
            await stream.send(NodeCommand(row, age, cursor))

    async def _show_sent(self) -> None:
        """Commands that take long are shown as sent; what the node makes of them is not known yet."""
        long_ago = self._clock.monotonic() - SENT_SHOWN_AFTER_SECONDS
        for flight in list(self._flights.values()):
            if not flight.shown and flight.sent_at <= long_ago:
                flight.shown = True
                shown = partial(brokerage.attempted, command_id=flight.row.id, now=self._clock.now())
                await self._files.change(flight.row.request, shown)

    async def _read(self, stream: Exchange) -> None:
        while (answer := await stream.receive()) is not None:
            said = answer.answer
            flight = next((one for one in self._flights.values() if one.row.id == said.command_id), None)
            if flight is None or (said.known is not None and said.known.name != flight.row.reservation):
                continue  # of no command on its way, or of another reservation than it is about
            self._unanswered_max = min(2 * self._unanswered_max, UNANSWERED_MAX)
            self._backoff.succeeded()
            self._route.succeeded()
            # Answers of different reservations are stored side by side: the store commits them together.
            answering = asyncio.ensure_future(self._answered(flight.row, answer))
            self._answering.add(answering)
            answering.add_done_callback(self._answering.discard)

    async def _answered(self, row: OutboxRow, answer: NodeAnswer) -> None:
        finess, refused = self._route.finess, answer.answer.refused
        if refused is not None:
            self._meters.refused(refused.reason)
            self._log.info(
                "command-refused", establishment=finess, reservation=row.reservation, command=row.verb,
                reason=refused.reason, attempt=row.attempts,
            )  # fmt: skip
        try:
            cursor = self._pictures.hear_answer(finess, answer.cursor)
            file = await self._files.answered(row.request, answer.answer, cursor)
            # Refused for now, or not to be taken: the row is there still, and waits.
            again = file is not None and any(one.id == row.id for one in file.rows)
        except Refusal as error:
            # The answer could not be stored: the row is still there, and the node will give the same answer again.
            self._log.warning("answer-not-stored", establishment=finess, reason=error.reason.value)
            again = True
        if again:
            self._not_before[row.reservation] = self._clock.monotonic() + wait_seconds(row.attempts, self._rng)
        self._flights.pop(row.reservation, None)
        self._woken.set()
