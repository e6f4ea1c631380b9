"""What is published at one moment, as one reader may see it, in messages of the contract."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from aval.node import model as m
from aval.node.faults import made_or_left_out
from aval.node.published import Published
from aval.node.translate import outward
from aval.node.translate.outward import Reader, ReservationWriter
from aval.node.translate.units import UnitWriter
from aval.node.translate.words import Names, duration
from aval.v1 import availability_pb2, reservation_pb2, terms_pb2

_Thing = TypeVar("_Thing")
_Message = TypeVar("_Message")

FINAL_SHOWN = timedelta(hours=24)
"""Snapshots hold reservations that are final for less than this (CONTRACT 26)."""


class Moment:
    """Made and used between two awaits: all that it writes stands at one cursor."""

    def __init__(self, published: Published, names: Names, reader: Reader, now: datetime) -> None:
        self._published = published
        self._names = names
        self._reader = reader
        self._now = now
        self._units = UnitWriter(published, names, reader, now)
        self._reservations = ReservationWriter(published, names, reader, now)

    def cursor(self) -> terms_pb2.Cursor:
        """Where all this stands."""
        return outward.cursor(self._published.cursor, self._names)

    def establishment(self) -> availability_pb2.Establishment:
        """The house. What the hub's registry alone knows is left unsaid."""
        of = self._published.ledger.establishment
        return availability_pb2.Establishment(
            name=self._names.establishment,
            display_name=of.display_name,
            legal_entity=of.legal_entity,
            time_zone=of.time_zone,
            phones=[availability_pb2.Phone(hours=phone.hours, number=phone.number) for phone in of.phones],
            cursor=self.cursor(),
            unit_count=len(self._published.figures),
        )

    def unit(self, unit: str) -> availability_pb2.Unit:
        """One unit, which there is."""
        return self._units.message(unit)

    def units(self) -> list[availability_pb2.Unit]:
        """All units, in the order of their names."""
        return self._written_units(self._published.figures)

    def units_of(self, units: Iterable[str]) -> tuple[list[availability_pb2.Unit], list[str]]:
        """Those of some units that there are, and the names of those that are no more."""
        present = self._published.figures
        return (
            self._written_units(unit for unit in units if unit in present),
            [self._names.unit(unit) for unit in sorted(units) if unit not in present],
        )

    # One that cannot be written, by a fault of ours, is left out of a list: the others are told all the same.

    def _written_units(self, units: Iterable[str]) -> list[availability_pb2.Unit]:
        return _all(self._units.message, sorted(units), "unit-not-written", lambda unit: unit)

    def _written(self, facts: Iterable[m.Reservation | m.Tombstone]) -> list[reservation_pb2.Reservation]:
        return _all(self._reservations.message, facts, "reservation-not-written", lambda fact: fact.id)

    def reservations_shown(self) -> list[m.Reservation]:
        """All reservations that this reader may see."""
        return [fact for fact in self._published.reservations.values() if self._reader.shows(fact)]

    def reservations_followed(self) -> list[reservation_pb2.Reservation]:
        """Those of a snapshot: live, or final since less than a day."""
        return self._written(
            fact
            for fact in sorted(self.reservations_shown(), key=lambda one: one.key)
            if fact.state.is_live or (fact.ended is not None and self._now - fact.ended < FINAL_SHOWN)
        )

    def reservations_of(self, keys: Iterable[str]) -> list[reservation_pb2.Reservation]:
        """Those of some reservations that there are and that this reader may see, tombstones too."""
        found = (self._found(key) for key in sorted(keys))
        return self._written(fact for fact in found if fact is not None and self._reader.shows(fact))

    def reservation(self, identifier: str) -> reservation_pb2.Reservation | None:
        """The reservation of that uuid in the reader's own territory."""
        fact = self._found(f"{self._reader.territory}/{identifier}")
        return None if fact is None else self._reservations.message(fact)

    def present(self, of: m.Reservation | m.Tombstone | None) -> reservation_pb2.Reservation | None:
        """A verdict's reservation as it now stands."""
        fact = None if of is None else self._found(of.key)
        return None if fact is None else self._reservations.message(fact)

    def write(self, fact: m.Reservation) -> reservation_pb2.Reservation:
        """One reservation."""
        return self._reservations.message(fact)

    def ages(self, sources: Iterable[str]) -> list[availability_pb2.SourceAge]:
        """Ages of sources that were heard."""
        found = ((source, self._published.age(source, self._now)) for source in sources)
        return [
            availability_pb2.SourceAge(source=source, age=duration(age)) for source, age in found if age is not None
        ]

    def _found(self, key: str) -> m.Reservation | m.Tombstone | None:
        ledger = self._published.ledger
        return ledger.reservation(key) or ledger.tombstone(key)


def _all(
    write: Callable[[_Thing], _Message], things: Iterable[_Thing], event: str, name: Callable[[_Thing], str]
) -> list[_Message]:
    made = (made_or_left_out(partial(write, thing), event, cause=name(thing)) for thing in things)
    return [message for message in made if message is not None]
