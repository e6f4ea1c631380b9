"""What a node asks of the outside: somewhere to keep its facts, and somewhere to count what it does.

The clock and chance are the kernel's ports. A store keeps rows of bytes and knows nothing of beds: what a row means is
`aval.node.store.body`'s, so that each store is small and they can be compared row by row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from aval.node.model import Facts, Kind

RESERVATION_KINDS = frozenset({Kind.RESERVATION, Kind.TOMBSTONE})
"""Both say of a reservation what is known of it; a key has one of the two."""


TAG_BYTES = 8
"""Length of a cursor's tag: the first bytes of the chained hash (DESIGN §5)."""


class StorageUnavailable(RuntimeError):
    """Nothing could be stored or read: disk full, I/O error, locked. `problem`: the store's own word, without data."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)


class StorageRefused(RuntimeError):
    """The database must not be used as it is; the sentence says why and what to do. Raised at opening only."""


@dataclass(frozen=True, slots=True)
class Row:
    """One fact as stored: `body` is its JSON, or None where the fact is no more."""

    kind: Kind
    key: str
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Touched:
    """What a revision changed of what others see: units and reservations by key, and the establishment itself."""

    units: frozenset[str] = frozenset()
    reservations: frozenset[str] = frozenset()
    establishment: bool = False


@dataclass(frozen=True, slots=True)
class Revision:
    """A committed batch: its number from 1, the chained hash (32 bytes), and the node's time of its figures.

    `touched` is None once the history is compacted; of the hash its first `TAG_BYTES` stay for ever, with the number.
    """

    number: int
    digest: bytes
    as_of: datetime
    touched: Touched | None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction writes, whole or not at all; each key once. `proofs`: of sources heard since the last.

    `incarnation`: the history that begins with it, where it is another one.
    """

    revision: Revision
    rows: Sequence[Row]
    proofs: Mapping[str, datetime] = field(default_factory=dict)
    incarnation: int | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """All that a store holds, as read at start and after a failed commit.

    `recent`: the newest revisions, oldest first, all with their `touched`; empty only for a new database.
    `reservation_revisions`: key of a reservation or tombstone → number of the revision that last wrote it. `former`:
    the incarnation of the backup that this was restored from, by our own command; None if it never was.
    """

    incarnation: int
    facts: Facts
    recent: Sequence[Revision]
    reservation_revisions: Mapping[str, int]
    proofs: Mapping[str, datetime]
    former: int | None = None


class Store(Protocol):
    """A node's memory, of which one process at a time is the owner. Every method may raise `StorageUnavailable`."""

    async def load(self) -> Stored:
        """Everything, as last committed."""
        ...

    async def commit(self, batch: Batch) -> None:
        """Writes the batch durably, or raises and has written nothing, or cannot say: then `load` tells."""
        ...

    async def save_proofs(self, proofs: Mapping[str, datetime]) -> None:
        """Writes proofs of life outside any revision."""
        ...

    async def digest_of(self, number: int) -> bytes | None:
        """The chained hash at a revision, its first `TAG_BYTES` at least, however old; None if there is none of that
        number.
        """
        ...

    async def compact(self, before: int) -> None:
        """Forgets what revisions below that number touched, and their times. The tags of their digests stay."""
        ...

    async def close(self) -> None:
        """Gives the store up; nothing may be called afterwards."""
        ...


class Meter(Protocol):
    """Counts of what the node does, for its operators. Nothing is decided from them."""

    def committed(self, commands: int, seconds: float) -> None:
        """One batch of so many commands is stored."""
        ...

    def commit_failed(self) -> None:
        """A commit failed; nothing was stored."""
        ...

    def queue_length(self, queue: str, length: int) -> None:
        """How many items wait in a named queue now."""
        ...

    def refused(self, reason: str) -> None:
        """A command was refused by name, inside a stream."""
        ...

    def reservations(self, count_by_state: Mapping[str, int]) -> None:
        """How many reservations stand in each state now."""
        ...

    def source_alive(self, establishment: str, source: str, age_seconds: float = 0.0) -> None:
        """A source gave its last proof of life that long ago."""
        ...

    def source_gone(self, establishment: str, source: str) -> None:
        """No unit lists that source any more: its age means nothing."""
        ...
