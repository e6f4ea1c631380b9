"""The ledger: all facts of an establishment in memory, and the one place where anything about its beds is decided.

`decide` is pure: it reads the ledger, never changes it, and gives the rows to write with the verdict. Whoever owns the
ledger stores those rows, then `apply`s them. So the ledger after a restart, read again from the rows, is the same.

A decision goes in this order: time first (what was due happens before anything else is heard); then idempotence (an
id or number seen before decides nothing); then the verb; then what follows of it in the units touched: claims that
lost their bed move or are in conflict, and the waiting list gets what is free. A refusal leaves nothing behind but
itself.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

from msgspec.structs import replace as with_fields

from aval.kernel.identity import CallerKind
from aval.kernel.lifecycle import ReservationState
from aval.kernel.reasons import Reason, Refusal, field_invalid
from aval.kernel.statuses import ConflictCause, SourceKind
from aval.node import arrivals, census, movements, reconciling, reservations
from aval.node.book import EMPTY_BOOK, Draft, UnitBook, View, refile
from aval.node.commands import (
    AdmitReservation,
    AnswerArrivalDoubt,
    AnyCommand,
    ApplyMovement,
    CancelAdmission,
    Command,
    ConfirmUnit,
    CorrectFigures,
    CreateReservation,
    Decision,
    DeclareCounts,
    DeclareUnit,
    HubCommand,
    Reconcile,
    Reinstate,
    ReleaseReservation,
    ReportAlive,
    ReservationStaffCommand,
    SettleConflict,
    SettleMovement,
    SetUnitPolicy,
    SetVisibility,
    StaffCommand,
    Tick,
    UpdateBed,
    UpdateEstablishment,
    Verdict,
    VerifyUnit,
)
from aval.node.conflicts import keep_promises
from aval.node.grants import grant_waiting_list, waiting_list
from aval.node.model import (
    BedClosed,
    BedOpened,
    Change,
    CommandRecord,
    CountsReported,
    DepartureAnnounced,
    Ending,
    Fact,
    Facts,
    Fate,
    Kind,
    Movement,
    MovementRecord,
    Parked,
    Reservation,
    Tombstone,
)
from aval.node.passing import DETAIL_DAYS, MEMORY_DAYS, TICK_TIMERS_MAX, pass_time, timer_of
from aval.node.reservations import VERBS
from aval.node.stays import seat

_NOT_KEPT = frozenset({"ABORTED", "ALREADY_EXISTS", "RESOURCE_EXHAUSTED"})
"""Refusals by these codes are not recorded: said again, the very same message gets them again, or may rightly pass."""

_REFUSED_BY_STATE = frozenset({Reason.COUNT_OUT_OF_RANGE, Reason.TIME_OUT_OF_RANGE})
"""Refusals of a movement that another day might not give: remembered, so that the same message never acts later."""

_Timer = tuple[datetime, Kind, str]


class Ledger(View):
    """All facts of an establishment, indexed.

    `incarnation` is the store's: offers' tags and minted ids are made from it.
    """

    def __init__(self, facts: Facts, incarnation: int = 0) -> None:
        self.incarnation = incarnation
        self._facts: dict[Kind, dict[str, Fact]] = {kind: {} for kind in Kind}
        self._books: dict[str, UnitBook] = {}
        self._timers: list[_Timer] = []
        self._named: dict[str, str] = {}
        # Units first: the timers of stays need them.
        for kind in sorted(facts, key=lambda kind: kind is not Kind.UNIT):
            for key, fact in facts[kind].items():
                self._put(kind, key, fact, sort=False)
        self._timers.sort()

    # Reading

    def find(self, kind: Kind, key: str) -> Fact | None:
        """See `View`."""
        return self._facts[kind].get(key)

    def book(self, unit: str) -> UnitBook:
        """See `View`."""
        return self._books.get(unit, EMPTY_BOOK)

    def unit_ids(self) -> Iterable[str]:
        """See `View`."""
        return self._facts[Kind.UNIT]

    def named(self, word: str) -> str | None:
        """See `View`."""
        return self._named.get(word)

    def parked_count(self) -> int:
        """See `View`."""
        return len(self._facts[Kind.PARKED])

    def all_parked(self) -> dict[str, Parked]:
        """See `View`."""
        return dict(cast("Mapping[str, Parked]", self._facts[Kind.PARKED]))

    def all(self, kind: Kind) -> Mapping[str, Fact]:
        """All facts of a kind, by key. For reading."""
        return self._facts[kind]

    @property
    def facts(self) -> Facts:
        """All facts. For reading."""
        return self._facts

    def next_timer(self) -> datetime | None:
        """The next instant at which a `Tick` changes a fact. (Figures have their own: `UnitFigures.next_change`.)"""
        return self._timers[0][0] if self._timers else None

    # Writing

    def apply(self, changes: Iterable[Change]) -> None:
        """Takes up what was decided."""
        for kind, key, fact in changes:
            self._put(kind, key, fact, sort=True)

    def _put(self, kind: Kind, key: str, fact: Fact | None, *, sort: bool) -> None:
        table = self._facts[kind]
        old = table.get(key)
        retimed = list(self.book(key).stays) if kind is Kind.UNIT and old is not None else []
        for stay in retimed:
            self._untime(Kind.STAY, stay, self._facts[Kind.STAY][stay])
        if old is not None:
            self._untime(kind, key, old)
        if fact is None:
            table.pop(key, None)
        else:
            table[key] = fact
            self._time(kind, key, fact, sort=sort)
        for stay in retimed:
            self._time(Kind.STAY, stay, self._facts[Kind.STAY][stay], sort=sort)
        refile(self._own_book, kind, key, old, fact)
        if kind is Kind.RESERVATION:
            self._name(cast("Reservation | None", old), cast("Reservation | None", fact))

    def _own_book(self, unit: str) -> UnitBook:
        book = self._books.get(unit)
        if book is None:
            book = self._books[unit] = UnitBook()
        return book

    def _name(self, old: Reservation | None, new: Reservation | None) -> None:
        for fact in (old, new):
            if fact is not None and fact.reference and self._named.get(fact.reference) == fact.key:
                del self._named[fact.reference]
            if fact is not None:
                self._named.pop(fact.id, None)
        if new is not None and new.state.is_live and new.closed is None:
            self._named[new.id] = new.key
            if new.reference:
                self._named[new.reference] = new.key

    def _time(self, kind: Kind, key: str, fact: Fact, *, sort: bool) -> None:
        when = timer_of(fact, self.unit)
        if when is not None:
            if sort:
                insort(self._timers, (when, kind, key))
            else:
                self._timers.append((when, kind, key))

    def _untime(self, kind: Kind, key: str, fact: Fact) -> None:
        when = timer_of(fact, self.unit)
        if when is not None:
            timer = (when, kind, key)
            at = bisect_left(self._timers, timer)
            if at < len(self._timers) and self._timers[at] == timer:
                del self._timers[at]

    # Deciding

    def decide(self, command: AnyCommand, now: datetime) -> Decision:
        """What a command makes of the ledger at the node's time `now` (aware UTC). Nothing is changed here."""
        if now.tzinfo is not UTC:
            raise ValueError("the ledger counts in UTC")
        draft = Draft(self)
        self._pass_time(draft, now)
        if isinstance(command, Tick):
            return _decision(self, draft, Verdict(), ())
        if isinstance(command, Reconcile):
            incarnation = reconciling.begin(draft, command, now)
            return replace(_decision(self, draft, Verdict(), ()), incarnation=incarnation)
        answer = _Answer(draft, now)
        if isinstance(command, HubCommand):
            verdict = answer.hub(command)
        elif isinstance(command, ApplyMovement):
            verdict = answer.movement(command)
        elif isinstance(command, ReportAlive):
            verdict = answer.alive(command)
        else:
            verdict = answer.staff(command)
        return replace(_decision(self, draft, verdict, answer.proofs), proof_age=answer.proof_age)

    def _pass_time(self, draft: Draft, now: datetime) -> None:
        timers = self._timers
        if not timers or timers[0][0] > now:
            return
        due = []
        for when, kind, key in timers[:TICK_TIMERS_MAX]:
            if when > now:
                break
            due.append((kind, key))
        causes = pass_time(draft, due, now)
        _follow(draft, now, causes, ConflictCause.DEPARTURE_SLIPPED)


def _follow(draft: Draft, now: datetime, causes: Mapping[str, ConflictCause], usual: ConflictCause) -> None:
    """What follows in the units that were touched: promises are kept or conflicts named, freed beds reach those who
    wait.
    """
    for unit in sorted(draft.units):
        if unit in draft.reality:
            seat(draft, unit, now)
        if unit in draft.reality or draft.book(unit).conflicts:
            keep_promises(draft, unit, now, causes.get(unit, usual))
        census.remove_left_beds(draft, unit)
        grant_waiting_list(draft, unit, now)


def _decision(ledger: Ledger, draft: Draft, verdict: Verdict, proofs: tuple[str, ...]) -> Decision:
    changes = draft.changes()
    touched: set[str] = set()
    lines: set[str] = set()
    establishment = False
    for kind, key, fact in changes:
        if kind is Kind.RESERVATION:
            old, new = ledger.reservation(key), cast("Reservation | None", fact)
            if new is not None:
                touched.add(key)
            if (old.waiting if old else None) != (new.waiting if new else None):
                lines.add((new or cast("Reservation", old)).unit)
        elif kind is Kind.TOMBSTONE:
            if ledger.reservation(key) is None and fact is not None:
                touched.add(key)
        elif kind is Kind.RECONCILING:
            touched |= _live_in(ledger, key)
        elif kind is Kind.ESTABLISHMENT:
            establishment = True
    for unit in lines:  # their ranks moved
        touched |= {reservation.key for reservation in waiting_list(draft, unit)}
    return Decision(changes, verdict, frozenset(draft.units), frozenset(touched), proofs, establishment=establishment)


def _live_in(ledger: Ledger, unit: str) -> set[str]:
    """Keys of the live reservations of a unit: whether they are verified is said with them."""
    found = cast("Iterable[Reservation]", ledger.all(Kind.RESERVATION).values())
    return {one.key for one in found if one.state.is_live and (one.claim.unit if one.claim else one.unit) == unit}


class _Answer:
    """One command being answered on a draft that time has passed over."""

    def __init__(self, draft: Draft, now: datetime) -> None:
        self._draft = draft
        self._now = now
        self.proofs: tuple[str, ...] = ()
        self.proof_age = timedelta(0)

    # The requester's hub

    def hub(self, command: HubCommand) -> Verdict:
        """A numbered verb: known ids and numbers decide nothing; a refusal is kept as any verdict is."""
        draft, key = self._draft, f"{command.caller.territory}/{command.reservation}"
        record_key = f"{command.caller.scope}/{command.command_id}"
        known = self._known(key)
        record = draft.command(record_key)
        if record is not None:
            return self._again(record, command, known)
        if isinstance(command, Reinstate):
            return self._reinstate(command, known, record_key)
        if isinstance(command, CreateReservation) and known is not None:
            return self._created_before(command, known)
        if known is not None and command.number <= known.last_number:
            return Verdict(_refusal_named(known.last_verdict, known), reservation=known, replayed=True)
        step = Draft(draft)
        refusal: Refusal | None = None
        try:
            self._hub_verb(step, command, known)
        except Refusal as raised:
            refusal = raised
        else:
            self._finish(step, ConflictCause.ADMISSION)
        self._number(key, command, refusal)
        after = self._known(key)
        if refusal is not None:
            refusal.subject = after
        if not isinstance(command, CreateReservation) or after is None:
            self._record(record_key, command, refusal, Verdict(reservation=after), MEMORY_DAYS)
        return Verdict(refusal, reservation=after)

    def _reinstate(self, command: Reinstate, known: Reservation | Tombstone | None, record_key: str) -> Verdict:
        """Not held against the numbers: it says where they stood."""
        step = Draft(self._draft)
        try:
            _, refusal = reconciling.reinstate(step, command, known, self._now)
        except Refusal as raised:
            refusal = raised
        else:
            self._finish(step, ConflictCause.REINSTATED)
        after = self._known(f"{command.caller.territory}/{command.reservation}")
        if refusal is not None:
            refusal.subject = after
        self._record(record_key, command, refusal, Verdict(reservation=after), MEMORY_DAYS)
        return Verdict(refusal, reservation=after)

    def _known(self, key: str) -> Reservation | Tombstone | None:
        return self._draft.reservation(key) or self._draft.tombstone(key)

    def _created_before(self, command: CreateReservation, known: Reservation | Tombstone) -> Verdict:
        if not known.content:
            # Its release came first (the creation is answered RELEASED), or it was reinstated: from now on it is known
            # by its content.
            met = with_fields(known, content=command.content, last_number=max(known.last_number, command.number))
            self._draft.put(Kind.TOMBSTONE if isinstance(met, Tombstone) else Kind.RESERVATION, met.key, met)
            return Verdict(reservation=met)
        if known.content != command.content:
            return Verdict(Refusal(Reason.ID_REUSED, {"id": command.reservation}), reservation=known)
        return Verdict(reservation=known, replayed=True)

    def _hub_verb(self, step: Draft, command: HubCommand, known: Reservation | Tombstone | None) -> None:
        if isinstance(command, CreateReservation):
            reservations.create(step, command, self._now)
        elif isinstance(known, Reservation):
            VERBS[type(command)](step, known, command, self._now)
        elif isinstance(command, ReleaseReservation):
            if known is None:
                self._release_unknown(step, command)
            elif known.state is not ReservationState.RELEASED:
                raise _refusal_of_state(known.state)
        elif known is None:
            raise Refusal(Reason.RESERVATION_NOT_FOUND, {"reservation": command.reservation})
        else:
            raise _refusal_of_state(known.state)

    def _release_unknown(self, step: Draft, command: ReleaseReservation) -> None:
        tombstone = Tombstone(
            command.reservation,
            command.caller.territory,
            ReservationState.RELEASED,
            self._now,
            ending=Ending(command.caller.mandate, self._now, release=command.reason),
        )
        step.put(Kind.TOMBSTONE, tombstone.key, tombstone)

    def _number(self, key: str, command: HubCommand, refusal: Refusal | None) -> None:
        verdict = "" if refusal is None else refusal.reason.value
        reservation, tombstone = self._draft.reservation(key), self._draft.tombstone(key)
        if reservation is not None:
            numbered = with_fields(reservation, last_number=command.number, last_verdict=verdict)
            self._draft.put(Kind.RESERVATION, key, numbered)
        elif tombstone is not None:
            met = with_fields(tombstone, last_number=command.number, last_verdict=verdict)
            self._draft.put(Kind.TOMBSTONE, key, met)

    # The house's own

    def staff(self, command: StaffCommand) -> Verdict:
        """A verb of the house's people, known by its id."""
        record_key = f"{command.caller.scope}/{command.command_id}"
        record = self._draft.command(record_key)
        if record is not None:
            return self._again(record, command, self._known(record.reservation) if record.reservation else None)
        step = Draft(self._draft)
        on_reservation = isinstance(command, ReservationStaffCommand)
        try:
            if isinstance(command, ReservationStaffCommand):
                verdict, cause = self._on_reservation(step, command)
            else:
                verdict, cause = self._staff_verb(step, command)
        except Refusal as refusal:
            self.proofs = ()
            known = None
            if isinstance(command, ReservationStaffCommand):
                known = self._known(f"{command.caller.territory}/{command.reservation}")
            refusal.subject = known
            verdict = Verdict(refusal, reservation=known)
        else:
            verdict = self._with_conflicts(verdict, self._finish(step, cause))
            if verdict.reservation is not None:
                verdict = replace(verdict, reservation=self._known(verdict.reservation.key))
        days = MEMORY_DAYS if on_reservation else DETAIL_DAYS
        self._record(record_key, command, verdict.refusal, verdict, days)
        return verdict

    def _on_reservation(self, step: Draft, command: ReservationStaffCommand) -> tuple[Verdict, ConflictCause]:
        key = f"{command.caller.territory}/{command.reservation}"
        reservation = step.reservation(key)
        if reservation is None:
            tombstone = step.tombstone(key)
            if tombstone is not None:
                raise _refusal_of_state(tombstone.state)
            raise Refusal(Reason.RESERVATION_NOT_FOUND, {"reservation": command.reservation})
        if isinstance(command, AdmitReservation):
            after = arrivals.admit(step, reservation, command, self._now)
        elif isinstance(command, CancelAdmission):
            after = arrivals.cancel_admission(step, reservation, command, self._now)
            return Verdict(reservation=after), ConflictCause.ADMISSION_CANCELLED
        else:
            after = VERBS[type(command)](step, reservation, command, self._now)
        return Verdict(reservation=after), ConflictCause.ADMISSION

    def _staff_verb(self, step: Draft, command: StaffCommand) -> tuple[Verdict, ConflictCause]:
        now = self._now
        match command:
            case DeclareUnit():
                census.declare_unit(step, command)
                movements.retry(step, command.unit.id, self._now)
                self.proofs = tuple(s.id for s in command.unit.sources if s.kind is SourceKind.PERSON)
                return Verdict(unit=command.unit.id), ConflictCause.CLOSURE
            case ConfirmUnit():
                units, self.proofs = census.confirm_units(step, command, now)
                return Verdict(units=units), ConflictCause.COUNTS
            case DeclareCounts():
                self.proofs = (census.declare_counts(step, command, now),)
                return Verdict(unit=command.unit), ConflictCause.COUNTS
            case CorrectFigures():
                census.correct_figures(step, command, now)
                return Verdict(unit=command.unit), ConflictCause.COUNTS
            case SetUnitPolicy():
                census.set_policy(step, command)
                return Verdict(unit=command.unit), ConflictCause.COUNTS
            case SetVisibility():
                census.set_visibility(step, command)
                return Verdict(units=command.units), ConflictCause.COUNTS
            case UpdateEstablishment():
                census.update_establishment(step, command)
                return Verdict(), ConflictCause.COUNTS
            case UpdateBed():
                census.update_bed(step, command)
                return Verdict(unit=command.unit, names=(command.bed,)), ConflictCause.CLOSURE
            case SettleMovement():
                return self._settle_movement(step, command)
            case AnswerArrivalDoubt():
                doubt = arrivals.answer_doubt(step, command, now)
                return Verdict(doubt=doubt, unit=doubt.unit), ConflictCause.ADMISSION
            case SettleConflict():
                conflict = census.settle_conflict(step, command, now)
                after = step.reservation(conflict.reservation)
                return Verdict(conflict=conflict, unit=conflict.unit, reservation=after), ConflictCause.ADMISSION
            case _:
                return self._rare_verb(step, command)

    def _rare_verb(self, step: Draft, command: StaffCommand) -> tuple[Verdict, ConflictCause]:
        if isinstance(command, VerifyUnit):
            reconciling.verify(step, command)
            return Verdict(unit=command.unit), ConflictCause.COUNTS
        raise Refusal(Reason.COMMAND_UNKNOWN, {"verb": type(command).__name__})

    # Movements

    def movement(self, command: ApplyMovement) -> Verdict:
        """A movement of a source, known by (source, its id)."""
        draft, movement = self._draft, command.movement
        if not movement.id or not movement.source:
            refusal = field_invalid("movement_id", "a movement bears its source and an id of it")
            return Verdict(refusal, fate=Fate.REFUSED, reason=refusal.reason.value)
        record = draft.movement(movement.key)
        if record is not None and record.content:
            if record.content != command.content:
                refusal = Refusal(Reason.ID_REUSED, {"movement_id": movement.id})
                return Verdict(refusal, fate=Fate.REFUSED, reason=refusal.reason.value)
            if record.fate is Fate.REFUSED:
                return Verdict(Refusal(Reason(record.reason)), fate=Fate.REFUSED, reason=record.reason, replayed=True)
            self._heard(movement, since=record.taken)
            return Verdict(
                fate=Fate.ALREADY,
                reason=record.reason,
                names=record.conflicts,
                doubt=draft.doubt(record.doubt) if record.doubt else None,
                replayed=True,
            )
        step = Draft(draft)
        try:
            taken = movements.take(step, movement, command.caller, command.stale_sources, self._now)
        except Refusal as refusal:
            if refusal.reason in _REFUSED_BY_STATE:
                kept = MovementRecord(command.content, Fate.REFUSED, self._now, refusal.reason.value)
                draft.put(Kind.MOVEMENT, movement.key, kept)
            return Verdict(refusal, fate=Fate.REFUSED, reason=refusal.reason.value)
        fate, reason, waits = movements.fate_of(step, movement, taken)
        kept = movements.record_of(command.content, movement, fate, taken, self._now)
        caused = self._finish(step, _cause_of(movement))
        if caused and fate is Fate.APPLIED:
            fate = Fate.APPLIED_WITH_CONFLICT
        draft.put(Kind.MOVEMENT, movement.key, with_fields(kept, fate=fate, reason=reason, conflicts=caused))
        self._heard(movement)
        doubt = draft.doubt(taken.doubt) if taken.doubt else None
        parked = draft.parked(waits) if waits else None
        return Verdict(fate=fate, reason=reason, names=caused, doubt=doubt, parked=parked, metadata=taken.metadata)

    def _settle_movement(self, step: Draft, command: SettleMovement) -> tuple[Verdict, ConflictCause]:
        parked = step.parked(command.parked)
        if parked is None:
            raise Refusal(Reason.MOVEMENT_NOT_FOUND, {"parked": command.parked})
        if command.corrected is None:
            if not command.reason.strip():
                raise Refusal(Reason.REASON_REQUIRED)
            movements.settle(step, parked, None, command.caller, self._now)
            return Verdict(fate=Fate.REFUSED, reason="DISCARDED", parked=parked), ConflictCause.ADMISSION
        # The source is the parked one's: a correction changes what happened, not who told it.
        corrected = with_fields(command.corrected, source=parked.movement.source, id=parked.movement.id)
        taken = movements.settle(step, parked, corrected, command.caller, self._now)
        fate, reason, waits = movements.fate_of(step, corrected, taken)
        record = step.movement(corrected.key)
        if record is not None:  # said again by its source, it is ALREADY: what was told is settled
            settled = movements.record_of(record.content, corrected, fate, taken, self._now)
            step.put(Kind.MOVEMENT, corrected.key, with_fields(settled, taken=record.taken))
        doubt = step.doubt(taken.doubt) if taken.doubt else None
        still = step.parked(waits) if waits else None
        return Verdict(fate=fate, reason=reason, parked=still or parked, doubt=doubt), _cause_of(corrected)

    def alive(self, command: ReportAlive) -> Verdict:
        """Proof of life: nothing is written."""
        for unit_id in self._draft.unit_ids():
            unit = self._draft.unit(unit_id)
            for source in unit.sources if unit else ():
                if source.id == command.source:
                    caller = command.caller
                    own = caller.kind is not CallerKind.ADAPTER or caller.uri.rpartition("/")[2] == source.adapter
                    if own:
                        self.proofs = (source.id,)
                        return Verdict()
        return Verdict(Refusal(Reason.SOURCE_NOT_FOUND, {"source": command.source}))

    def _heard(self, movement: Movement, since: datetime | None = None) -> None:
        """Counts are as old as they say, and older when they are said again."""
        self.proofs = (movement.source,)
        if isinstance(movement.change, CountsReported):
            self.proof_age = movement.change.age + (self._now - (since or self._now))

    # What all share

    def _finish(self, step: Draft, cause: ConflictCause) -> tuple[str, ...]:
        """Lets follow what follows, and takes the step into the draft. Names the conflicts that it caused."""
        _follow(step, self._now, {}, cause)
        caused = tuple(
            change.key
            for change in step.changes()
            if change.kind is Kind.CONFLICT and change.fact is not None and self._draft.conflict(change.key) is None
        )
        step.fold_into(self._draft)
        return caused

    def _with_conflicts(self, verdict: Verdict, conflicts: tuple[str, ...]) -> Verdict:
        if not conflicts:
            return verdict
        fate = Fate.APPLIED_WITH_CONFLICT if verdict.fate is Fate.APPLIED else verdict.fate
        return replace(verdict, names=conflicts, fate=fate)

    def _record(self, key: str, command: Command, refusal: Refusal | None, verdict: Verdict, days: int) -> None:
        if refusal is not None and refusal.reason.row.code in _NOT_KEPT:
            return
        record = CommandRecord(
            command.content,
            self._now,
            days,
            refusal.reason.value if refusal else verdict.reason,
            dict(refusal.metadata) if refusal else {},
            verdict.reservation.key if verdict.reservation else "",
            verdict.unit,
            verdict.units or verdict.names,
            verdict.fate,
            verdict.doubt.id if verdict.doubt else "",
            refused=refusal is not None,
        )
        self._draft.put(Kind.COMMAND, key, record)

    def _again(self, record: CommandRecord, command: Command, known: Reservation | Tombstone | None) -> Verdict:
        """The kept verdict, with the present state; or ID_REUSED."""
        if record.content != command.content:
            return Verdict(Refusal(Reason.ID_REUSED, {"id": command.command_id}), reservation=known)
        if record.refused:
            return Verdict(Refusal(Reason(record.reason), record.metadata, known), reservation=known, replayed=True)
        about_units = isinstance(command, ConfirmUnit | SetVisibility)
        return Verdict(
            reservation=known,
            unit=record.unit,
            units=record.names if about_units else (),
            names=() if about_units else record.names,
            fate=record.fate,
            reason=record.reason,
            doubt=self._draft.doubt(record.doubt) if record.doubt else None,
            replayed=True,
        )


def _refusal_named(reason: str, known: Reservation | Tombstone) -> Refusal | None:
    return Refusal(Reason(reason), {"state": known.state.value}, known) if reason else None


def _refusal_of_state(state: ReservationState) -> Refusal:
    return Refusal(Reason[f"ALREADY_{state.value}"], {"state": state.value})


def _cause_of(movement: Movement) -> ConflictCause:
    change = movement.change
    if isinstance(change, BedClosed | BedOpened):
        return ConflictCause.CLOSURE
    if isinstance(change, DepartureAnnounced):
        return ConflictCause.DEPARTURE_SLIPPED
    if isinstance(change, CountsReported):
        return ConflictCause.COUNTS
    return ConflictCause.ADMISSION
