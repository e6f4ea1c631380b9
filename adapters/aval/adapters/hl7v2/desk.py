"""Where messages become movements: each is stored with what follows from it, told to the node, and answered then.

One coroutine works in rounds. A round takes what waits, one message of each visit, commits their words and the
movements that follow in one transaction, sends these, waits for the node's word on each, and answers. So a message is
answered AA only after the node's commit; a crash before the inbox's commit leaves nothing, one after it sends the same
movements again, which the node knows by their ids. While the node is away the round waits, and senders are not
answered.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from msgspec.structs import replace

from aval.adapters.hl7v2 import acknowledging
from aval.adapters.hl7v2.acknowledging import Header, header_of
from aval.adapters.hl7v2.census import RETRY_AFTER, NodeAway, NodeDenies
from aval.adapters.hl7v2.events import Action, Kind
from aval.adapters.hl7v2.faults import Fault, Severity, fault
from aval.adapters.hl7v2.framing import Overlong
from aval.adapters.hl7v2.inbox import KEPT, VISITS_MAX, Inbox, InboxUnusable, Visit
from aval.adapters.hl7v2.mapping import Mapping as Codes
from aval.adapters.hl7v2.mapping import Standing
from aval.adapters.hl7v2.meaning import Customs, Said, is_acknowledgement, understand
from aval.adapters.hl7v2.meters import Meters
from aval.adapters.hl7v2.reading import Habits, batch_fault, messages_of, parse
from aval.adapters.hl7v2.stays import added, joins, presence
from aval.adapters.hl7v2.telling import Fate, Teller, Told, adopted_step
from aval.kernel.clock import Clock
from aval.kernel.reasons import REASONS, Reason
from aval.v1 import census_pb2

ROUND_MAX = 64
"""Messages of one round: the node commits as many in one go."""

MERGES_MAX = 8
"""Visits that may have been merged one into the other in a row."""

_APPLIED = "applied"
"""The outcome of a message of which the node has been told something."""

_COUNTS_ANYWAY = frozenset({"BED_OCCUPIED", "BED_CLOSED", "BED_UNKNOWN", "UNIT_FULL"})
"""Reasons of a parked movement whose patient the node counts all the same."""

_BEGINS = frozenset({Kind.ADMIT, Kind.REGISTER, Kind.EXPECT, Kind.TO_INPATIENT, Kind.MERGE})

log = structlog.get_logger()


class Census(Protocol):
    """The node, as the desk needs it: `census.CensusStream` over the wire."""

    async def apply(self, movements: list[Told]) -> Mapping[str, census_pb2.ApplyMovementsResponse]:
        """What became of each movement, by id; all are committed. Raises `NodeAway`, `NodeDenies`."""
        ...

    async def stays(self) -> Sequence[census_pb2.Stay]:
        """Whom the node has in its census of this source. Raises `NodeAway`, `NodeDenies`."""
        ...


@dataclass(eq=False, slots=True)
class _Item:
    """Words of one message that stand or fall together, each of another visit, waiting for their round. `outcome` is
    set once the node has spoken; `found` and `refusal` are what became of them until then."""

    words: tuple[Said, ...]
    outcome: "asyncio.Future[str]"
    found: list[str] = field(default_factory=list)
    refusal: str = ""

    @property
    def keys(self) -> set[str]:
        """The visits that it is about."""
        return {key for word in self.words for key in (word.visit, word.absorbed) if key}

    @property
    def joins(self) -> bool:
        """Whether it may make one stay of two."""
        return any(word.absorbed for word in self.words)


@dataclass(slots=True)
class _Plan:
    """What a round does with one visit; of a merge `other` is the number that is no more, before and after."""

    item: _Item | None
    before: Visit
    after: Visit
    other: tuple[Visit, Visit] | None = None
    fates: dict[str, Fate] = field(default_factory=dict)

    @property
    def undone(self) -> bool:
        """Whether the message was refused, and its visits are to be as they were: not where the node has made one stay
        of two, and refused what follows of that."""
        if self.item is None or not self.item.refusal:
            return False
        return self.other is None or bool(self.before.steps) or set(self.fates.values()) == {Fate.REFUSED}

    @property
    def written(self) -> list[Visit]:
        """What is stored, in the order in which it is told."""
        return [self.after] if self.other is None else [self.other[1], self.after]


class Desk:
    """The desk of one house. `take` may be called by many connections; `run` is one task, started once."""

    def __init__(
        self,
        inbox: Inbox,
        census: Census,
        mapping: Codes,
        customs: Customs,
        teller: Teller,
        clock: Clock,
        meters: Meters,
    ) -> None:
        self._inbox = inbox
        self._census = census
        self._mapping = mapping
        self._customs = customs
        self._teller = teller
        self._clock = clock
        self._meters = meters
        self._waiting: deque[_Item] = deque()
        self._bell = asyncio.Event()
        self._visits = 0
        self.ready = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many messages wait for a round."""
        return len(self._waiting)

    # --- one message --------------------------------------------------------------------------------------------------

    async def take(self, frame: bytes) -> bytes | None:
        """The answer to a frame; None if it is none to answer. May wait for the node as long as it takes."""
        began = self._clock.monotonic()
        habits, header = Habits(), Header()
        try:
            texts = messages_of(frame, habits)
            self._meters.habits(habits)
            if not texts:
                raise fault("MSH", 0, Severity.REJECT, "100", "no message in the frame")
            if isinstance(frame, Overlong):
                header = header_of(parse(texts[0].partition("\r")[0]))
                raise fault("MSH", 0, Severity.REJECT, "207", "longer than is taken")
        except Fault as wrong:
            return await self._refuse(header, header.event, wrong, began)
        if (cut := batch_fault(frame, len(texts))) is not None:
            # What did come is true; what did not cannot be asked for again.
            log.warning("batch was cut off", problem=cut.place)
        answers = [answer for answer in await asyncio.gather(*(self._one(text, began) for text in texts)) if answer]
        if len(texts) == 1:
            return answers[0] if answers else None
        batch = b"".join(answers)
        return b"BHS|^~\\&\r" + batch + b"BTS|%d\r" % len(answers)

    async def _one(self, text: str, began: float) -> bytes | None:
        header, event = Header(), ""
        try:
            message = parse(text)
            header = header_of(message)
            event = header.event
            if is_acknowledgement(message):
                self._meters.message(event, "no-effect")
                return None
            heard = understand(message, self._customs)
            event = heard.event
            for one in heard.passed_over:
                self._meters.passed_over(one)
            del message, text
            outcome = await self._said(heard.said) if heard.said else "no-effect"
        except Fault as wrong:
            return await self._refuse(header, event, wrong, began)
        self._meters.message(event, outcome, self._clock.monotonic() - began)
        return acknowledging.accepted(header, self._clock.now(), heard.passed_over)

    async def _said(self, said: Sequence[Said]) -> str:
        loop = asyncio.get_running_loop()
        # Merges follow each other, each by itself; movements of one message are one matter (A17).
        together = [said] if said[0].kind is not Kind.MERGE else [[word] for word in said]
        items = [_Item(tuple(words), loop.create_future()) for words in together]
        for word in said:
            if word.place is not None and self._mapping.unmapped(word.place):
                self._meters.unmapped()
        self._waiting.extend(items)
        self._bell.set()
        try:
            await asyncio.wait([item.outcome for item in items])
        except asyncio.CancelledError:
            # Its sender has hung up without an answer, and sends it again: what waits is thus never more than what
            # is in hand on open connections, however long the node is away.
            for item in items:
                item.outcome.cancel()
                if item in self._waiting:
                    self._waiting.remove(item)
            raise
        # All have ended: each exception is looked at, and the first one raised.
        faults = [wrong for item in items if (wrong := item.outcome.exception()) is not None]
        if faults:
            raise faults[0]
        outcomes = [item.outcome.result() for item in items]
        return next((outcome for outcome in outcomes if outcome == _APPLIED), outcomes[0])

    async def _refuse(self, header: Header, event: str, wrong: Fault, began: float) -> bytes:
        self._meters.message(event, wrong.severity, self._clock.monotonic() - began)
        log.warning("message refused", reason=wrong.code, problem=wrong.place, code=wrong.severity.value)
        await self._inbox.refused(event, wrong, self._clock.now())
        return acknowledging.refused(header, (wrong,), self._clock.now())

    # --- the rounds ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tells the node what an earlier life left, then works until cancelled. Raises `InboxUnusable`."""
        left = await self._left()
        await self._told(left)
        await self._take_back(left)
        await self._adopt()
        await self._again()
        self._visits = await self._inbox.count()
        self.ready.set()
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._waiting:
                await self._round()

    async def _left(self) -> list[_Plan]:
        """The plans of an earlier life of which it has not written what the node answered."""
        rows = {visit.key: visit for visit in await self._inbox.pending()}
        rows |= await self._inbox.visits({key for visit in rows.values() for key in visit.beside} - set(rows))
        items: dict[frozenset[str], _Item] = {}
        plans: dict[str, _Plan] = {}
        for visit in rows.values():
            if visit.before is None:
                plans[visit.key] = _Plan(None, visit, visit)
                continue
            message = frozenset((visit.key, *visit.beside))
            item = items.setdefault(message, _Item((), asyncio.get_running_loop().create_future()))
            plans[visit.key] = _Plan(item, visit.before, visit)
        for plan in [plan for plan in plans.values() if plan.after.merged_into in plan.after.beside]:
            plans[plan.after.merged_into].other = plan.before, plan.after
            del plans[plan.after.key]
        return list(plans.values())

    async def keep(self, every: timedelta = timedelta(minutes=1)) -> None:
        """Forgets stays that are over, from time to time."""
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + every.total_seconds())
            if await self._inbox.purge(self._clock.now()):
                self._visits = await self._inbox.count()

    async def _adopt(self) -> None:
        """Takes up stays that the node was told by an inbox that is lost: else nobody could ever tell of them again."""
        attempt = 0
        stays: Sequence[census_pb2.Stay] | None = None
        while stays is None:
            try:
                stays = await self._census.stays()
            except (NodeAway, NodeDenies) as away:
                attempt = self._waited(away, attempt)
                await self._clock.sleep_until(self._clock.monotonic() + RETRY_AFTER.total_seconds())
        known = await self._inbox.visits(stay.stay_key for stay in stays)
        unknown = [stay for stay in stays if known[stay.stay_key] == Visit(stay.stay_key)]
        if unknown:
            log.warning("stays taken up from the node", count=len(unknown))
            adopted = [Visit(stay.stay_key, steps=(adopted_step(stay),)) for stay in unknown]
            await self._inbox.commit(adopted, self._inbox.number)

    def _waited(self, away: Exception, attempt: int) -> int:
        """Says that the node is away, ever more seldom: a long absence is no reason for a long log."""
        attempt += 1
        if attempt > 1 and attempt & (attempt - 1) == 0:
            log.warning("node does not answer", reason=type(away).__name__, cause=str(away), attempt=attempt)
        return attempt

    async def _again(self) -> None:
        """Looks at all stays anew: the mapping may be another than when they were told."""
        after = ""
        while page := await self._inbox.every(after, 500):
            after = page[-1].key
            plans = [
                _Plan(None, visit, self._planned(visit, visit.log))
                for visit in page
                if visit.log and not visit.merged_into
            ]
            plans = [plan for plan in plans if plan.after.pending]
            if plans:
                await self._inbox.commit([plan.after for plan in plans], self._inbox.number)
                await self._told(plans)

    async def _round(self) -> None:
        items = self._chosen()
        known = await self._known(items)
        items = self._apart(items, known)
        plans = [plan for item in items for plan in self._plans(item, known)]
        written = [visit for plan in plans for visit in plan.written]
        try:
            if written:
                await self._inbox.commit(written, self._inbox.number)
        except InboxUnusable:
            for item in items:
                _fail(item, "nothing could be stored: send it again")
            log.warning("inbox cannot be written", database="inbox")
            return
        await self._told(plans)
        await self._take_back(plans)
        for item in items:
            _answer(item)

    async def _take_back(self, plans: Sequence[_Plan]) -> None:
        """A message that the node refuses in part is refused whole: what was told of it is told back."""
        undone = [visit for plan in plans if plan.undone for visit in plan.written]
        back = [_Plan(None, visit, self._planned(visit, visit.log)) for visit in undone]
        back = [plan for plan in back if plan.after.pending]
        if not back:
            return
        try:
            await self._inbox.commit([plan.after for plan in back], self._inbox.number)
        except InboxUnusable:
            log.warning("inbox cannot be written", database="inbox")
            return
        await self._told(back)

    def _chosen(self) -> list[_Item]:
        """One message of each visit, in the order in which they came; the rest waits."""
        chosen: list[_Item] = []
        left: deque[_Item] = deque()
        taken: set[str] = set()
        while self._waiting and len(chosen) < ROUND_MAX:
            item = self._waiting.popleft()
            keys = item.keys
            if keys & taken or (item.joins and chosen):
                left.append(item)
                taken |= keys
                continue
            taken |= keys
            chosen.append(item)
            if item.joins:
                break
        self._waiting.extendleft(reversed(left))
        return chosen

    def _apart(self, items: Sequence[_Item], known: dict[str, Visit]) -> list[_Item]:
        """Those of other stays than all before them; the rest waits: two numbers may have become one stay."""
        apart: list[_Item] = []
        left: list[_Item] = []
        taken: set[str] = set()
        for item in items:
            stays = {_resolved(known[key], known).key for key in item.keys}
            (left if stays & taken else apart).append(item)
            taken |= stays
        self._waiting.extendleft(reversed(left))
        return apart

    async def _known(self, items: Sequence[_Item]) -> dict[str, Visit]:
        known = await self._inbox.visits({key for item in items for key in item.keys})
        for _ in range(MERGES_MAX):
            beyond = {visit.merged_into for visit in known.values() if visit.merged_into} - set(known)
            if not beyond:
                break
            known.update(await self._inbox.visits(beyond))
        return known

    def _plans(self, item: _Item, known: dict[str, Visit]) -> list[_Plan]:
        """What follows of a message: of all its words, or, where there is no room for one of them, of none."""
        if len({_resolved(known[word.visit], known).key for word in item.words}) < len(item.words):
            item.refusal = "the visits of the two patients were merged into one"
            return []
        before = dict(known)
        plans = [plan for word in item.words if (plan := self._plan(item, word, known)) is not None]
        if item.refusal:
            known.update(before)
            return []
        written = [visit.key for plan in plans for visit in plan.written]
        for plan in plans:
            plan.after = _of_message(plan.before, plan.after, written)
            plan.other = plan.other and (plan.other[0], _of_message(*plan.other, written))
        return plans

    def _plan(self, item: _Item, word: Said, known: dict[str, Visit]) -> _Plan | None:
        """What follows of one word; None if nothing does."""
        visit = _resolved(known[word.visit], known)
        now = self._clock.now()
        if not visit.log and not visit.steps:
            stale = word.time < now - KEPT and (word.kind not in _BEGINS or word.action is not Action.INSERT)
            if stale:
                item.found.append("too-old")
                return None
            if self._visits >= VISITS_MAX:
                item.refusal = "no room for another visit"
                return None
            self._visits += 1
        if word.absorbed and joins(word, known[word.absorbed].log):
            absorbed = _resolved(known[word.absorbed], known)
            if absorbed.key != visit.key:
                return self._merge(item, word, visit, absorbed)
        if word.kind is Kind.MERGE:
            item.found.append("already")
            return None
        grown = added(visit.log, word)
        if grown == visit.log and not visit.pending and all(step.fate is not Fate.REFUSED for step in visit.steps):
            item.found.append("already")
            return None
        after = self._planned(visit, grown, word.time)
        known[visit.key] = after
        return _Plan(item, visit, after)

    def _merge(self, item: _Item, word: Said, visit: Visit, absorbed: Visit) -> _Plan:
        """What follows of two numbers that are one stay.

        The row of the one that is no more holds the word that said so, and is thus remembered as long as any stay: what
        comes late under that number is said of the other.
        """
        union = visit.log
        for one in absorbed.log if word.kind is Kind.MERGE else (*absorbed.log, word):
            union = added(union, one)
        when, merged = word.time, (word,)
        if visit.steps:
            # The node has both: the other one is taken back as the double that it was.
            no_more, told = self._teller.tell(absorbed.key, absorbed.steps, Standing(), when, self._inbox.number)
            self._number(len(told))
            gone = Visit(absorbed.key, merged, no_more, tuple(told), visit.key)
            return _Plan(item, visit, self._planned(visit, union, when), (absorbed, gone))
        # The node has one at most: it is this one from now on, with the reservation that it may be.
        told = [self._teller.merge(visit.key, absorbed.key, when, self._number(1))] if absorbed.steps else []
        joined = Visit(visit.key, union, absorbed.steps, tuple(told))
        former = Visit(absorbed.key, merged, merged_into=visit.key)
        return _Plan(item, visit, self._planned(joined, union, when), (absorbed, former))

    def _planned(self, visit: Visit, words: tuple[Said, ...], at: datetime | None = None) -> Visit:
        """A visit with these words, and what is to be told of it."""
        desired = self._mapping.standing(presence(words))
        steps, told = self._teller.tell(visit.key, visit.steps, desired, at or self._clock.now(), self._inbox.number)
        self._number(len(told))
        return Visit(visit.key, words, steps, (*visit.pending, *told))

    def _number(self, count: int) -> int:
        first = self._inbox.number
        self._inbox.number = first + count
        return first

    # --- the node -----------------------------------------------------------------------------------------------------

    async def _told(self, plans: list[_Plan]) -> None:
        """Sends what the plans hold until the node has answered all of it, whose word is in `after` from then on."""
        waiting = [told for plan in plans for visit in plan.written for told in visit.pending]
        answers: dict[str, census_pb2.ApplyMovementsResponse] = {}
        attempt = 0
        while waiting:
            try:
                answers.update(await self._census.apply(waiting))
            except (NodeAway, NodeDenies) as away:
                attempt = self._waited(away, attempt)
            waiting = [told for told in waiting if told.id not in answers or _is_retryable(answers[told.id])]
            if waiting and attempt != 1:  # the first time the server may only have ended a stream, as it does
                await self._clock.sleep_until(self._clock.monotonic() + RETRY_AFTER.total_seconds())
        for plan in plans:
            self._hear(plan, answers)
        for plan in plans:
            taken = _undone if plan.undone else _answered
            plan.after = taken(plan.before, plan.after, plan.fates)
            plan.other = plan.other and (plan.other[0], taken(*plan.other, plan.fates))
        await self._inbox.leave([visit for plan in plans for visit in plan.written])

    def _hear(self, plan: _Plan, answers: dict[str, census_pb2.ApplyMovementsResponse]) -> None:
        """Takes the node's word on each step of a plan."""
        refusal = ""
        for told in (told for visit in plan.written for told in visit.pending):
            answer = answers[told.id]
            fate = _fate(answer)
            plan.fates[told.id] = fate
            self._meters.movement(
                census_pb2.ApplyMovementsResponse.Fate.Name(answer.fate).removeprefix("FATE_").lower()
            )
            if fate is Fate.REFUSED:
                refusal = refusal or answer.reason
                log.error("movement refused", reason=answer.reason, count=1)
        if plan.item is not None and refusal:
            plan.item.refusal = plan.item.refusal or f"refused by the node: {refusal}"
        elif plan.item is not None:
            plan.item.found.append(_APPLIED if plan.fates else "already")


def _answer(item: _Item) -> None:
    if item.refusal:
        _fail(item, item.refusal)
    elif not item.outcome.done():  # a connection that was closed waits no more
        item.outcome.set_result(_APPLIED if _APPLIED in item.found else item.found[0])


def _fail(item: _Item, problem: str) -> None:
    if not item.outcome.done():
        item.outcome.set_exception(fault("MSH", 0, Severity.ERROR, "207", problem))


def _resolved(visit: Visit, known: dict[str, Visit]) -> Visit:
    for _ in range(MERGES_MAX):
        if not visit.merged_into or visit.merged_into not in known:
            break
        visit = known[visit.merged_into]
    return visit


def _of_message(before: Visit, after: Visit, written: Sequence[str]) -> Visit:
    """A visit as it is stored until the node has answered: with what undoes the message, if there is anything to."""
    beside = tuple(key for key in written if key != after.key)
    return replace(after, before=before, beside=beside) if beside or after.pending else after


def _answered(_: Visit, after: Visit, fates: Mapping[str, Fate]) -> Visit:
    steps = (replace(step, fate=fates[step.id]) if step.id in fates else step for step in after.steps)
    return replace(after, steps=tuple(steps), pending=(), before=None, beside=())


def _undone(before: Visit, after: Visit, fates: Mapping[str, Fate]) -> Visit:
    """A visit without the words of a message that was refused, with the steps that the node knows all the same."""
    told = [fates[one.id] for one in after.pending]
    steps = _answered(before, after, fates).steps if any(fate is not Fate.REFUSED for fate in told) else before.steps
    return replace(before, steps=steps, pending=())


def _fate(answer: census_pb2.ApplyMovementsResponse) -> Fate:
    fates = census_pb2.ApplyMovementsResponse
    if answer.fate == fates.FATE_REFUSED:
        return Fate.REFUSED
    waits = answer.fate in (fates.FATE_PARKED, fates.FATE_ALREADY) and bool(answer.reason)
    return Fate.WAITING if waits and answer.reason not in _COUNTS_ANYWAY else Fate.STANDING


def _is_retryable(answer: census_pb2.ApplyMovementsResponse) -> bool:
    if answer.fate != census_pb2.ApplyMovementsResponse.FATE_REFUSED or answer.reason not in Reason.__members__:
        return False
    return REASONS[Reason[answer.reason]].retryable
