"""The history of a node's revisions, in memory: where it stands, and what was touched since a cursor.

A watcher that comes back gives its cursor and gets, in one change, the present state of all that was touched since. So
resuming, following and being too slow are one case, and what must be remembered of each unit and reservation is one
number: the revision that last touched it. Names whose last touch is older than the retained revisions are forgotten; a
cursor from before gets a snapshot (history compacted).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from hashlib import sha256

from aval.node.ports import TAG_BYTES, Revision, Row, Touched

REVISIONS_RETAINED = 10_000
"""Revisions whose touched names are kept: a day of a large hospital, months of a small house, under 3 MB of memory.

A follower resumes within seconds, or after an outage: beyond a day a snapshot is hardly larger than what changed."""

COMPACT_EVERY = 1_000
"""Revisions between two compactions of the store: one statement then, for a tenth more than is retained."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A point of this node's history, or of what a follower takes for it."""

    incarnation: int
    revision: int
    tag: bytes


class Standing(Enum):
    """What a given cursor is to this history."""

    KNOWN = "known"
    """Of this history, and what was touched since is known."""
    COMPACTED = "compacted"
    """Of this history, too long ago to say what was touched since."""
    FOREIGN = "foreign"
    """Not of this history: another incarnation, a revision to come, or another tag."""


def chained(before: bytes, number: int, as_of: datetime, rows: Iterable[Row]) -> bytes:
    """The hash of a revision, chained over its predecessor's (32 bytes, empty for the first).

    Each part is preceded by its length, so that no two different batches hash the same bytes.
    """
    digest = sha256(before)
    digest.update(number.to_bytes(8, "big"))
    for text in (as_of.isoformat(), *(part for row in rows for part in (row.kind.value, row.key, row.body))):
        if text is None:
            digest.update(b"\xff" * 4)
            continue
        data = text.encode() if isinstance(text, str) else text
        digest.update(len(data).to_bytes(4, "big"))
        digest.update(data)
    return digest.digest()


class History:
    """Revisions of one incarnation. Pure: the writer adds each one once it is stored."""

    def __init__(self, incarnation: int, recent: Sequence[Revision], retained: int = REVISIONS_RETAINED) -> None:
        """`recent`: the newest revisions, oldest first, without a gap, all with what they touched."""
        self.incarnation = incarnation
        self._retained = retained
        self.revision = 0
        self.digest = b""
        self.as_of: datetime | None = None
        # Of each name the last revision that touched it, in the order of those: the newest last.
        self._units: dict[str, int] = {}
        self._reservations: dict[str, int] = {}
        self._establishment = 0
        self._tags: dict[int, bytes] = {}
        self._first = recent[0].number if recent else 1
        for revision in recent:
            self.add(revision)

    @property
    def cursor(self) -> Cursor:
        """Where the history stands. Revision 0, without a tag, before the first one."""
        return Cursor(self.incarnation, self.revision, self.digest[:TAG_BYTES])

    @property
    def floor(self) -> int:
        """The oldest revision since which all that was touched is known."""
        return self._first - 1

    def add(self, revision: Revision) -> None:
        """Takes up the next revision, stored."""
        if revision.touched is None:
            raise ValueError(f"revision {revision.number} does not say what it touched")
        self.revision, self.digest, self.as_of = revision.number, revision.digest, revision.as_of
        self._tags[revision.number] = revision.digest[:TAG_BYTES]
        for names, known in (
            (revision.touched.units, self._units),
            (revision.touched.reservations, self._reservations),
        ):
            for name in names:
                known.pop(name, None)
                known[name] = revision.number
        if revision.touched.establishment:
            self._establishment = revision.number
        self._forget()

    def _forget(self) -> None:
        while self.revision - self._first >= self._retained:
            self._tags.pop(self._first, None)
            self._first += 1
        for known in (self._units, self._reservations):
            while known and (oldest := next(iter(known.items())))[1] < self._first:
                del known[oldest[0]]

    def touched_since(self, revision: int) -> Touched:
        """All that was touched after that revision, which must not be below `floor`."""
        return Touched(
            _since(self._units, revision), _since(self._reservations, revision), self._establishment > revision
        )

    def standing(self, cursor: Cursor) -> Standing | None:
        """What a cursor is to this history; None where only the store can tell (`standing_by` then)."""
        if cursor.incarnation != self.incarnation or not 0 < cursor.revision <= self.revision:
            return Standing.FOREIGN
        tag = self._tags.get(cursor.revision)
        if tag is None:
            return None
        return Standing.KNOWN if tag == cursor.tag else Standing.FOREIGN

    def standing_by(self, cursor: Cursor, digest: bytes | None) -> Standing:
        """As `standing`, with the hash that the store has of that revision. It may have been overtaken meanwhile."""
        if digest is None or digest[:TAG_BYTES] != cursor.tag:
            return Standing.FOREIGN
        return Standing.KNOWN if cursor.revision >= self.floor else Standing.COMPACTED


def _since(known: dict[str, int], revision: int) -> frozenset[str]:
    found = set()
    for name, last in reversed(known.items()):
        if last <= revision:
            break
        found.add(name)
    return frozenset(found)
