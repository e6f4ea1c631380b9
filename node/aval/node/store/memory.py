"""A store in memory, with the same contract as the database: for tests and for the simulation.

Facts are kept as bytes and decoded at each load, so that what does not survive a restart does not survive here either.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from aval.node.model import Fact, Kind
from aval.node.ports import RESERVATION_KINDS, TAG_BYTES, Batch, Revision, Stored
from aval.node.store.body import fact_of, touched_body, touched_of


class MemoryStore:
    """See `aval.node.ports.Store`."""

    def __init__(self, incarnation: int) -> None:
        self._incarnation = incarnation
        self._rows: dict[tuple[Kind, str], tuple[int, bytes]] = {}
        self._revisions: dict[int, tuple[Revision, bytes | None]] = {}
        self._proofs: dict[str, datetime] = {}

    async def load(self) -> Stored:
        """See `Store.load`."""
        facts: dict[Kind, dict[str, Fact]] = {kind: {} for kind in Kind}
        revisions: dict[str, int] = {}
        for (kind, key), (number, body) in self._rows.items():
            facts[kind][key] = fact_of(kind, body)
            if kind in RESERVATION_KINDS:
                revisions[key] = number
        recent = [
            replace(revision, touched=touched_of(touched))
            for _, (revision, touched) in sorted(self._revisions.items())
            if touched is not None
        ]
        return Stored(self._incarnation, facts, recent, revisions, dict(self._proofs))

    async def commit(self, batch: Batch) -> None:
        """See `Store.commit`."""
        revision = batch.revision
        if revision.number in self._revisions or revision.touched is None:
            raise ValueError(f"revision {revision.number} is not a new one")
        for row in batch.rows:
            if row.body is None:
                self._rows.pop((row.kind, row.key), None)
            else:
                self._rows[row.kind, row.key] = (revision.number, row.body)
        self._revisions[revision.number] = (revision, touched_body(revision.touched))
        self._proofs.update(batch.proofs)
        if batch.incarnation is not None:
            self._incarnation = batch.incarnation

    async def save_proofs(self, proofs: Mapping[str, datetime]) -> None:
        """See `Store.save_proofs`."""
        self._proofs.update(proofs)

    async def digest_of(self, number: int) -> bytes | None:
        """See `Store.digest_of`."""
        found = self._revisions.get(number)
        return None if found is None else found[0].digest

    async def compact(self, before: int) -> None:
        """See `Store.compact`."""
        for number, (revision, _) in self._revisions.items():
            if number < before:
                self._revisions[number] = (replace(revision, digest=revision.digest[:TAG_BYTES]), None)

    async def close(self) -> None:
        """See `Store.close`."""
