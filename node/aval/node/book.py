"""Facts in memory, filed by unit: what the ledger reads, and the draft in which a decision is worked out.

`View` is how the pure modules read. `Draft` lies over a `View` and takes writes: the base is never touched, and what
the draft changed comes out as `Change`s. Each unit has a `UnitBook` with all that figures and grants need of it, so
that a decision about one unit never walks through the others; a draft copies the books of the few units that it
touches.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from hashlib import sha256
from typing import cast
from uuid import UUID
from zoneinfo import ZoneInfo

from aval.kernel.lifecycle import ReservationState
from aval.node.model import (
    SELF,
    Bed,
    Change,
    Closure,
    CommandRecord,
    Conflict,
    Correction,
    Doubt,
    Establishment,
    Expected,
    Fact,
    Kind,
    MovementRecord,
    Parked,
    Places,
    Reconciling,
    Reinstated,
    Reservation,
    Restore,
    Room,
    Serial,
    Stay,
    Story,
    Tombstone,
    Unit,
    Word,
)


class UnitBook:
    """All facts of one unit, by their keys within it (beds and rooms by bare id, the rest by full key)."""

    __slots__ = (
        "automatic",
        "beds",
        "claims",
        "closures",
        "conflicts",
        "correction",
        "demands",
        "doubts",
        "expected",
        "places",
        "reconciling",
        "reinstated",
        "rooms",
        "stays",
        "words",
    )

    def __init__(self) -> None:
        self.rooms: dict[str, Room] = {}
        self.beds: dict[str, Bed] = {}
        self.places: dict[str, Places] = {}
        self.stays: dict[str, Stay] = {}
        self.expected: dict[str, Expected] = {}
        self.closures: dict[str, Closure] = {}
        self.claims: dict[str, Reservation] = {}
        """Held and confirmed reservations whose claim is on this unit."""
        self.demands: dict[str, Reservation] = {}
        """Reservations that ask this unit and have no answer yet: ASKED and WAITLISTED."""
        self.automatic: dict[str, datetime] = {}
        """When the policy held by itself, by reservation: for the limit of each day."""
        self.conflicts: dict[str, Conflict] = {}
        self.doubts: dict[str, Doubt] = {}
        """Open doubts only."""
        self.words: dict[str, Word] = {}
        self.correction: Correction | None = None
        self.reconciling: Reconciling | None = None
        self.reinstated: dict[str, Reinstated] = {}

    def copy(self) -> "UnitBook":
        """A book that can be written without this one changing."""
        other = UnitBook.__new__(UnitBook)
        for slot in UnitBook.__slots__:
            held = getattr(self, slot)
            setattr(other, slot, held.copy() if isinstance(held, dict) else held)
        return other


_SHELVES: dict[Kind, str] = {
    Kind.ROOM: "rooms",
    Kind.BED: "beds",
    Kind.PLACES: "places",
    Kind.STAY: "stays",
    Kind.EXPECTED: "expected",
    Kind.CLOSURE: "closures",
    Kind.CONFLICT: "conflicts",
    Kind.WORD: "words",
    Kind.REINSTATED: "reinstated",
}


_SINGLE = frozenset({"correction", "reconciling"})
"""Shelves that hold one fact."""

_GRANTED = frozenset({Kind.RESERVATION, Kind.CONFLICT, Kind.WORD, Kind.CORRECTION, Kind.RECONCILING, Kind.REINSTATED})
"""Kinds whose changes put nobody out of a bed."""


def _shelved(kind: Kind, key: str, fact: Fact) -> list[tuple[str, str, str, object]]:
    """Where a fact is filed: (unit, shelf, key on the shelf, what lies there)."""
    shelf = _SHELVES.get(kind)
    if shelf is not None:
        of_unit = cast("Stay", fact)  # each of these kinds has a unit
        short = key.partition("/")[2] if kind in (Kind.ROOM, Kind.BED, Kind.PLACES, Kind.WORD) else key
        return [(of_unit.unit, shelf, short, fact)]
    if kind is Kind.RESERVATION:
        reservation = cast("Reservation", fact)
        filed: list[tuple[str, str, str, object]] = []
        claim = reservation.claim
        if claim is not None:
            if reservation.state.takes_claim:
                filed.append((claim.unit, "claims", key, fact))
            if reservation.automatic and reservation.granted is not None:
                filed.append((claim.unit, "automatic", key, reservation.granted))
        if reservation.state in (ReservationState.ASKED, ReservationState.WAITLISTED):
            filed.append((reservation.unit, "demands", key, fact))
        return filed
    if kind is Kind.DOUBT:
        doubt = cast("Doubt", fact)
        return [(doubt.unit, "doubts", key, fact)] if doubt.answered is None else []
    if kind is Kind.CORRECTION:
        correction = cast("Correction", fact)
        return [(correction.unit, "correction", "", fact)]
    if kind is Kind.RECONCILING:
        return [(cast("Reconciling", fact).unit, "reconciling", "", fact)]
    return []


def _figures_differ(old: Fact | None, new: Fact | None) -> bool:
    """Whether two states of a reservation make different figures: a mark or a step does not."""
    one, other = cast("Reservation | None", old), cast("Reservation | None", new)
    return one is None or other is None or (one.claim, one.state) != (other.claim, other.state)


def refile(book_of: Callable[[str], UnitBook], kind: Kind, key: str, old: Fact | None, new: Fact | None) -> set[str]:
    """Takes a fact's former self off the shelves and files the new one. Gives the units whose figures may differ."""
    units: set[str] = set()
    before = [] if old is None else _shelved(kind, key, old)
    after = [] if new is None else _shelved(kind, key, new)
    kept = {(unit, shelf, short) for unit, shelf, short, _ in after}
    for unit, shelf, short, _ in before:
        if (unit, shelf, short) not in kept:
            book = book_of(unit)
            if shelf in _SINGLE:
                setattr(book, shelf, None)
            else:
                del getattr(book, shelf)[short]
            if shelf != "demands":
                units.add(unit)
    seen = kind is not Kind.RESERVATION or _figures_differ(old, new)
    for unit, shelf, short, what in after:
        book = book_of(unit)
        if shelf in _SINGLE:
            setattr(book, shelf, what)
        else:
            getattr(book, shelf)[short] = what
        if seen and shelf != "demands":
            units.add(unit)
    return units


EMPTY_BOOK = UnitBook()
"""The book of a unit of which nothing is filed. Never written."""

_ZONES: dict[str, ZoneInfo] = {}


class View:
    """How facts are read. Typed look-ups give None where there is nothing of that key."""

    incarnation: int

    def find(self, kind: Kind, key: str) -> Fact | None:
        """The fact of that kind and key."""
        raise NotImplementedError

    def book(self, unit: str) -> UnitBook:
        """The book of a unit, for reading only; an empty one where nothing is filed."""
        raise NotImplementedError

    def unit_ids(self) -> Iterable[str]:
        """The ids of all units."""
        raise NotImplementedError

    def named(self, word: str) -> str | None:
        """The key of the live reservation that has this spoken reference or uuid."""
        raise NotImplementedError

    def parked_count(self) -> int:
        """How many movements wait for a person."""
        raise NotImplementedError

    def all_parked(self) -> dict[str, Parked]:
        """The movements that wait for a person, by id: to be walked through once in a while."""
        raise NotImplementedError

    @property
    def establishment(self) -> Establishment:
        """The house's description."""
        return cast("Establishment | None", self.find(Kind.ESTABLISHMENT, SELF)) or Establishment()

    @property
    def zone(self) -> ZoneInfo:
        """The house's time zone."""
        name = self.establishment.time_zone
        zone = _ZONES.get(name)
        if zone is None:
            zone = _ZONES[name] = ZoneInfo(name)
        return zone

    @property
    def restore(self) -> Restore | None:
        """That this database was put back to an earlier state, if it was."""
        return cast("Restore | None", self.find(Kind.RESTORE, SELF))

    def unit(self, unit: str) -> Unit | None:
        """A unit."""
        return cast("Unit | None", self.find(Kind.UNIT, unit))

    def bed(self, unit: str, bed: str) -> Bed | None:
        """A bed, by bare ids."""
        return cast("Bed | None", self.find(Kind.BED, f"{unit}/{bed}"))

    def stay(self, key: str) -> Stay | None:
        """A stay in the census."""
        return cast("Stay | None", self.find(Kind.STAY, key))

    def expected(self, key: str) -> Expected | None:
        """A patient that the house expects."""
        return cast("Expected | None", self.find(Kind.EXPECTED, key))

    def reservation(self, key: str) -> Reservation | None:
        """A reservation, by `territory/uuid`."""
        return cast("Reservation | None", self.find(Kind.RESERVATION, key))

    def tombstone(self, key: str) -> Tombstone | None:
        """What is left of a reservation."""
        return cast("Tombstone | None", self.find(Kind.TOMBSTONE, key))

    def conflict(self, key: str) -> Conflict | None:
        """An open conflict, by `unit/uuid`."""
        return cast("Conflict | None", self.find(Kind.CONFLICT, key))

    def doubt(self, key: str) -> Doubt | None:
        """A doubt, open or answered."""
        return cast("Doubt | None", self.find(Kind.DOUBT, key))

    def parked(self, key: str) -> Parked | None:
        """A movement that waits for a person."""
        return cast("Parked | None", self.find(Kind.PARKED, key))

    def story(self, key: str) -> Story | None:
        """What was told of a stay lately."""
        return cast("Story | None", self.find(Kind.STORY, key))

    def movement(self, key: str) -> MovementRecord | None:
        """That a movement was taken, by `source/movement_id`."""
        return cast("MovementRecord | None", self.find(Kind.MOVEMENT, key))

    def command(self, key: str) -> CommandRecord | None:
        """That a command was decided, by `scope/command_id`."""
        return cast("CommandRecord | None", self.find(Kind.COMMAND, key))


class Draft(View):
    """A decision being worked out: reads through to its base, keeps its own writes."""

    def __init__(self, base: View) -> None:
        self._base = base
        self.incarnation = base.incarnation
        self._written: dict[tuple[Kind, str], Fact | None] = {}
        self._books: dict[str, UnitBook] = {}
        self.units: set[str] = set()
        """Units whose figures or descriptions this draft may have changed."""
        self.reality: set[str] = set()
        """Those of them where more than claims changed: census, beds, closures, doubts, policy."""

    def find(self, kind: Kind, key: str) -> Fact | None:
        """See `View`."""
        written = self._written
        return written[kind, key] if (kind, key) in written else self._base.find(kind, key)

    def book(self, unit: str) -> UnitBook:
        """See `View`."""
        book = self._books.get(unit)
        return book if book is not None else self._base.book(unit)

    def unit_ids(self) -> Iterable[str]:
        """See `View`. A unit is declared by a decision of its own: none is new here."""
        return self._base.unit_ids()

    def named(self, word: str) -> str | None:
        """See `View`. A reservation is created by a decision of its own: none is new here."""
        return self._base.named(word)

    def parked_count(self) -> int:
        """See `View`."""
        return self._base.parked_count()

    def all_parked(self) -> dict[str, Parked]:
        """See `View`."""
        found = self._base.all_parked()
        for (kind, key), fact in self._written.items():
            if kind is Kind.PARKED:
                found.pop(key, None)
                if fact is not None:
                    found[key] = cast("Parked", fact)
        return found

    def _own_book(self, unit: str) -> UnitBook:
        book = self._books.get(unit)
        if book is None:
            book = self._books[unit] = self._base.book(unit).copy()
        return book

    def put(self, kind: Kind, key: str, fact: Fact | None) -> None:
        """Writes a fact, or removes it with None."""
        old = self.find(kind, key)
        if old == fact:
            return
        self._written[kind, key] = fact
        touched = {key} if kind is Kind.UNIT else refile(self._own_book, kind, key, old, fact)
        self.units |= touched
        if kind not in _GRANTED:
            self.reality |= touched

    def put_reservation(self, reservation: Reservation) -> Reservation:
        """Writes a reservation and gives it back."""
        self.put(Kind.RESERVATION, reservation.key, reservation)
        return reservation

    def mint(self) -> int:
        """A number that never comes twice in this incarnation."""
        serial = cast("Serial | None", self.find(Kind.SERIAL, SELF)) or Serial()
        value = serial.value + 1
        self.put(Kind.SERIAL, SELF, Serial(value))
        return value

    def mint_uuid(self, purpose: str) -> str:
        """A UUID (version 8) that never comes twice: made from the incarnation and a minted number, not from chance."""
        seed = f"{self.incarnation}/{purpose}/{self.mint()}".encode()
        raw = bytearray(sha256(seed).digest()[:16])
        raw[6] = raw[6] & 0x0F | 0x80
        raw[8] = raw[8] & 0x3F | 0x80
        return str(UUID(bytes=bytes(raw)))

    def changes(self) -> tuple[Change, ...]:
        """What this draft changes of its base, in the order first written."""
        return tuple(
            Change(kind, key, fact) for (kind, key), fact in self._written.items() if self._base.find(kind, key) != fact
        )

    def fold_into(self, under: "Draft") -> None:
        """Writes what this draft changed into the draft that it lies over."""
        for change in self.changes():
            under.put(change.kind, change.key, change.fact)
        under.units |= self.units
        under.reality |= self.reality
