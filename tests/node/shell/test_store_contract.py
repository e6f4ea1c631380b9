"""One contract for each store: what was committed is there, whole or not at all, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aval.kernel.disciplines import Discipline
from aval.kernel.lifecycle import ReservationState
from aval.kernel.need import Feature, Mode, Need, Urgency
from aval.kernel.statuses import Counting, Gender, Horizon, SourceKind, Status
from aval.node.model import (
    SELF,
    Admission,
    Bed,
    Change,
    Claim,
    Establishment,
    Kind,
    Mandate,
    Movement,
    Parked,
    ParkReason,
    Reservation,
    Source,
    Unit,
)
from aval.node.ports import TAG_BYTES, Store, Touched
from tests.node.shell.stores import INCARNATION, START, MemoryStore, batch, facts_of, named, sqlite_store

UNIT = Unit(
    "med-a",
    "Médecine « A »",
    Discipline.MEDICINE,
    Counting.BEDS,
    sources=(Source("sih", SourceKind.BED_MANAGEMENT, timedelta(minutes=15), timedelta(minutes=60), "hl7"),),
    features=frozenset({Feature.OXYGEN, Feature.WHEELCHAIR}),
    declared=((Status.AVAILABLE, (Horizon.NOW, Horizon.ONE_DAY)),),
)
RESERVATION = Reservation(
    id="7a0f6a2e-0000-4000-8000-000000000001",
    territory="ge-10.aval.internal",
    request="3b0f6a2e-0000-4000-8000-000000000001",
    reference="K7-3F9",
    unit="med-a",
    need=Need(
        Discipline.MEDICINE,
        Gender.FEMALE,
        START,
        START + timedelta(hours=10),
        age_months=984,
        stay_max=timedelta(days=12),
        required=frozenset({Feature.OXYGEN}),
    ),
    requester=Mandate("spiffe://ge-10.aval.internal/hub/replica/0", "cadre", "Cadre de nuit", "operator"),
    mode=Mode.HOLD,
    urgency=Urgency.TODAY,
    ready_since=START,
    asked_count=3,
    content=b"\x00\xff\x01",
    state=ReservationState.HELD,
    created=START,
    valid_until=START + timedelta(days=2),
    answer_by=START + timedelta(minutes=30),
    expire_time=START + timedelta(microseconds=1),
    claim=Claim("med-a", START, None, "12"),
)
PARKED = Parked(
    "p1",
    Movement("sih", "ADT-1", Admission("med-a", "12", Gender.MALE), "a" * 32, 7, START),
    ParkReason.BED_OCCUPIED,
    "le lit 12 est occupé",
    START,
    Mandate(),
)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore(INCARNATION) if request.param == "memory" else await sqlite_store(tmp_path / "node.db")
    yield made
    await made.close()


async def test_a_new_store_is_empty(store: Store) -> None:
    stored = await store.load()
    assert stored.incarnation == INCARNATION
    assert all(not stored.facts[kind] for kind in Kind)
    assert not stored.recent
    assert await store.digest_of(1) is None


async def test_facts_come_back_equal(store: Store) -> None:
    changes = (
        Change(Kind.UNIT, "med-a", UNIT),
        Change(Kind.BED, "med-a/12", Bed("med-a", "12", "112")),
        Change(Kind.RESERVATION, RESERVATION.key, RESERVATION),
        Change(Kind.PARKED, PARKED.id, PARKED),
    )
    written = batch(1, *changes, units=frozenset({"med-a"}), proofs={"sih": START})
    await store.commit(written)
    stored = await store.load()
    for change in changes:
        assert stored.facts[change.kind] == {change.key: change.fact}
    assert stored.recent == [written.revision]
    assert stored.reservation_revisions == {RESERVATION.key: 1}
    assert stored.proofs == {"sih": START}


async def test_the_last_word_stands_and_what_is_removed_is_gone(store: Store) -> None:
    await store.commit(batch(1, named("Ancien nom"), Change(Kind.UNIT, "med-a", UNIT)))
    await store.commit(batch(2, named("Nouveau nom"), Change(Kind.UNIT, "med-a", None)))
    assert await facts_of(store, Kind.ESTABLISHMENT) == {SELF: Establishment(display_name="Nouveau nom")}
    assert await facts_of(store, Kind.UNIT) == {}


async def test_a_reservation_bears_the_revision_that_last_wrote_it(store: Store) -> None:
    change = Change(Kind.RESERVATION, RESERVATION.key, RESERVATION)
    await store.commit(batch(1, change))
    await store.commit(batch(2, named("Autre chose")))
    assert (await store.load()).reservation_revisions == {RESERVATION.key: 1}
    await store.commit(batch(3, change))
    assert (await store.load()).reservation_revisions == {RESERVATION.key: 3}


async def test_a_revision_without_facts_is_kept(store: Store) -> None:
    tick = batch(1, units=frozenset({"med-a", "med-b"}))
    await store.commit(tick)
    (kept,) = (await store.load()).recent
    assert kept == tick.revision
    assert kept.touched == Touched(frozenset({"med-a", "med-b"}))


async def test_compaction_forgets_what_was_touched_and_never_a_tag(store: Store) -> None:
    digests = {}
    for number in range(1, 6):
        written = batch(number, named(f"Nom {number}"))
        digests[number] = written.revision.digest
        await store.commit(written)
    await store.compact(4)
    assert [revision.number for revision in (await store.load()).recent] == [4, 5]
    for number, digest in digests.items():
        kept = await store.digest_of(number)
        assert kept is not None
        assert digest.startswith(kept)
        assert len(kept) == (TAG_BYTES if number < 4 else len(digest))


async def test_a_refused_batch_leaves_nothing_behind(store: Store) -> None:
    await store.commit(batch(1, named("Nom")))
    before = await store.load()
    compacted = batch(2, named("Jamais écrit"), Change(Kind.UNIT, "med-a", UNIT), proofs={"sih": START})
    with pytest.raises(ValueError, match="revision 2"):
        await store.commit(replace(compacted, revision=replace(compacted.revision, touched=None)))
    assert await store.load() == before


async def test_proofs_of_life_are_no_revisions(store: Store) -> None:
    await store.commit(batch(1, named("Nom"), proofs={"sih": START, "cadre": START}))
    later = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    await store.save_proofs({"sih": later})
    stored = await store.load()
    assert stored.proofs == {"sih": later, "cadre": START}
    assert len(stored.recent) == 1
