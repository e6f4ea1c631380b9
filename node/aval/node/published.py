"""What a node shows: its state at the last committed revision, and nothing later.

The writer's own ledger runs ahead while a batch is on its way to the disk; whoever reads, reads here. Both ledgers
share the same frozen facts, so the second one costs its indexes only. Reading is synchronous: between two awaits of a
reader the state cannot move, so what it reads together belongs together.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import cast

from aval.kernel.lifecycle import ReservationState
from aval.node.availability import UnitFigures, figures
from aval.node.faults import made_or_left_out
from aval.node.history import REVISIONS_RETAINED, Cursor, History
from aval.node.ledger import Ledger
from aval.node.model import Change, Doubt, Kind, Parked, Reconciling, Reservation, Unit
from aval.node.ports import RESERVATION_KINDS, Revision, Stored


class Published:
    """The committed state: facts, figures as of their revision, the history, and the sources' proofs of life."""

    def __init__(self, stored: Stored, retained: int = REVISIONS_RETAINED) -> None:
        """`retained`: revisions whose touched names the history remembers."""
        self._retained = retained
        # In the order in which they came, so that the same run always rings them in the same one.
        self._bells: dict[asyncio.Event, None] = {}
        self.figures: dict[str, UnitFigures] = {}
        """Of each unit, as of the revision that last touched it. At start the first tick makes them all."""
        self._take(stored)

    def adopt(self, stored: Stored) -> None:
        """Takes the store's word for everything, after a commit of which it is not known whether it was stored.

        What was published stands, save of units touched since: a revision's figures are never told in two ways.
        """
        since = self.history.revision
        self._take(stored)
        touched = self.history.touched_since(since).units
        stands = {unit: told for unit, told in self.figures.items() if unit not in touched}
        as_of = self.history.as_of
        if as_of is not None:
            self.figures = {}
            for unit in self.units:
                self._figure(unit, stands.get(unit), as_of)
        self._tell()

    def _take(self, stored: Stored) -> None:
        self.ledger = Ledger(stored.facts, stored.incarnation)
        self.history = History(stored.incarnation, stored.recent, self._retained)
        self.reservation_revisions = dict(stored.reservation_revisions)
        self.states = Counter({state.value: 0 for state in ReservationState})
        self.states.update(fact.state.value for fact in self.reservations.values())
        self.proofs = dict(stored.proofs)

    @property
    def units(self) -> Mapping[str, Unit]:
        """All units, by code."""
        return cast("Mapping[str, Unit]", self.ledger.all(Kind.UNIT))

    @property
    def reservations(self) -> Mapping[str, Reservation]:
        """All reservations that are not purged, by `territory/uuid`."""
        return cast("Mapping[str, Reservation]", self.ledger.all(Kind.RESERVATION))

    @property
    def parked(self) -> Mapping[str, Parked]:
        """Movements that wait for a person."""
        return cast("Mapping[str, Parked]", self.ledger.all(Kind.PARKED))

    @property
    def doubts(self) -> Mapping[str, Doubt]:
        """Doubts about arrivals, answered ones too."""
        return cast("Mapping[str, Doubt]", self.ledger.all(Kind.DOUBT))

    @property
    def reconciling(self) -> list[Reconciling]:
        """Units of a restored node that nobody has compared yet."""
        return list(cast("Mapping[str, Reconciling]", self.ledger.all(Kind.RECONCILING)).values())

    @property
    def cursor(self) -> Cursor:
        """Where all that is read here stands."""
        return self.history.cursor

    def publish(self, revision: Revision, changes: Sequence[Change], incarnation: int | None = None) -> None:
        """Takes up a stored revision: its changes, then the figures of the units that it touched, at its time.

        `incarnation`: the history that begins with it; whoever follows an earlier one gets everything again.
        """
        if incarnation is not None:
            self.history.incarnation = self.ledger.incarnation = incarnation
        self.history.add(revision)
        if revision.touched is None:
            raise ValueError("a new revision says what it touched")
        keys = {change.key for change in changes if change.kind in RESERVATION_KINDS}
        self._count(keys, -1)
        self.ledger.apply(changes)
        self._count(keys, 1)
        for key in keys:
            if self.ledger.reservation(key) is not None or self.ledger.tombstone(key) is not None:
                self.reservation_revisions[key] = revision.number
            else:
                self.reservation_revisions.pop(key, None)
        for unit in revision.touched.units:
            self._figure(unit, None, revision.as_of)
        self._tell()

    def _figure(self, unit: str, stands: UnitFigures | None, as_of: datetime) -> None:
        """Publishes a unit's figures; one that is no more, or whose figures a fault of ours hinders, is not shown."""
        told = stands
        if told is None and self.ledger.unit(unit) is not None:
            told = made_or_left_out(lambda: figures(self.ledger, unit, as_of), "figures-failed", unit=unit)
        if told is None:
            self.figures.pop(unit, None)
        else:
            self.figures[unit] = told

    def forget_sources(self) -> list[str]:
        """Forgets the ages of sources that no unit lists any more, and names them."""
        listed = {source.id for unit in self.units.values() for source in unit.sources}
        gone = [source for source in self.proofs if source not in listed]
        for source in gone:
            del self.proofs[source]
        return gone

    def age(self, source: str, now: datetime) -> timedelta | None:
        """Time since the last proof of life of a source; None if it was never heard."""
        at = self.proofs.get(source)
        return None if at is None else max(now - at, timedelta(0))

    def stale_sources(self, now: datetime) -> frozenset[str]:
        """The sources whose word is stale now, by the age that each unit's declaration sets."""
        stale = set()
        for unit in self.units.values():
            for source in unit.sources:
                age = self.age(source.id, now)
                if age is None or age > source.stale_min:
                    stale.add(source.id)
        return frozenset(stale)

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return len(self._bells)

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever something was published; the listener clears it."""
        bell = asyncio.Event()
        self._bells[bell] = None
        try:
            yield bell
        finally:
            self._bells.pop(bell, None)

    def _tell(self) -> None:
        for bell in self._bells:
            bell.set()

    def _count(self, keys: Iterable[str], by: int) -> None:
        for key in keys:
            fact = self.ledger.reservation(key)
            if fact is not None:
                self.states[fact.state.value] += by
