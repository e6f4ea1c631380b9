"""The pictures of all establishments, in memory, kept in the store. What nodes bring goes through here.

A message of a node's watch becomes a new picture and words about reservations. Both are stored in one transaction
before anyone is shown either, so that a hub that dies in between hears the same again from the cursor that it had.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from math import inf

from msgspec.structs import replace

from aval.hub.bell import Bell
from aval.hub.files import Files
from aval.hub.model import Cursor, RequestFile, Unit, establishment_of
from aval.hub.picture import Applied, Picture, apply, is_behind, unit_age
from aval.hub.ports import Meters, NodeEvent, PictureHead, Proofs, Store, Transaction
from aval.kernel.clock import Clock

AGE_SLACK_SECONDS = 0.5
"""Ages told twice differ by the time that telling took: less than this is no news."""


class Pictures:
    """One picture for each member. `bell` tells of each that changed, progress included."""

    def __init__(
        self,
        members: frozenset[str],
        store: Store,
        files: Files,
        clock: Clock,
        meters: Meters,
        lost_after: timedelta,
        through: Mapping[str, Store] | None = None,
        listed: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`lost_after`: the silence after which a node counts as unreachable.

        `through`: by FINESS, the store that what a node says goes through, where it is not `store`.
        `listed` is told each house whose whole snapshot is stored.
        """
        self._store = store
        self._through = through or {}
        self._listed = listed
        self._files = files
        self._clock = clock
        self._meters = meters
        self.lost_after = lost_after
        self._pictures = {finess: Picture(finess) for finess in sorted(members)}
        self._heard: dict[str, Cursor] = {}
        self._restored: set[str] = set()
        self._unlisted: dict[str, bool] = {}
        self.bell: Bell[Picture] = Bell()

    async def load(self) -> None:
        """Takes up what the store holds, of members. Ages are unknown until the nodes speak."""

        def work(transaction: Transaction) -> tuple[list[tuple[PictureHead, tuple[Unit, ...]]], list[Cursor]]:
            return transaction.pictures(), transaction.cursors_heard()

        pictures, heard = await self._store.read(work)
        for head, units in pictures:
            finess = head.cursor.establishment
            if finess in self._pictures:
                self._pictures[finess] = _stored(Picture(finess), head, units)
        self._heard = {cursor.establishment: cursor for cursor in heard}

    # what other hubs have heard, on a store that several share

    def take(self, finess: str, stored: tuple[PictureHead, tuple[Unit, ...]] | None, heard: list[Cursor]) -> None:
        """The stored picture in place of the one here; ages stay, until they are told too."""
        self._heard.update((cursor.establishment, cursor) for cursor in heard if cursor.establishment == finess)
        if stored is None:
            return
        self._pictures[finess] = _stored(self._pictures[finess], *stored)
        self.bell.ring(finess, self._pictures[finess])

    def proofs_of(self, finess: str) -> Proofs | None:
        """When the node was heard and its sources proved to be alive, as ages of now; None if never."""
        picture, now = self._pictures[finess], self._clock.monotonic()
        if picture.heard_at is None:
            return None
        ages = tuple((source, unit, timedelta(seconds=now - at)) for (source, unit), at in picture.proofs.items())
        return Proofs(finess, timedelta(seconds=now - picture.heard_at), ages)

    def take_proofs(self, proofs: Proofs) -> None:
        """What another hub knows of it, if that is younger than what is known here."""
        picture, now = self._pictures.get(proofs.establishment), self._clock.monotonic()
        heard_at = now - proofs.silence.total_seconds()
        if picture is None or (picture.heard_at is not None and picture.heard_at >= heard_at - AGE_SLACK_SECONDS):
            return
        told = {(source, unit): now - age.total_seconds() for source, unit, age in proofs.ages}
        self._pictures[proofs.establishment] = replace(picture, heard_at=heard_at, proofs=told)
        self.bell.ring(proofs.establishment, self._pictures[proofs.establishment])

    def all(self) -> Mapping[str, Picture]:
        """All pictures by FINESS, in the order of FINESS."""
        return self._pictures

    def of(self, finess: str) -> Picture | None:
        """One picture; None for a house that is no member."""
        return self._pictures.get(finess)

    def unit(self, name: str) -> Unit | None:
        """A unit as its node published it, by its name."""
        picture = self._pictures.get(establishment_of(name))
        return None if picture is None else picture.units.get(name)

    def cursor_heard(self, finess: str) -> Cursor | None:
        """The highest cursor of a node heard by watch or answer (DESIGN §5)."""
        watched, answered = self._pictures[finess].cursor, self._heard.get(finess)
        if watched is None or answered is None:
            return watched or answered
        ahead = answered.incarnation == watched.incarnation and answered.revision > watched.revision
        return answered if ahead else watched

    def hear_answer(self, finess: str, cursor: Cursor | None) -> Cursor | None:
        """A cursor that an answer bore; given back if it is higher than any heard, to be stored with the answer."""
        if cursor is None or cursor.establishment != finess:
            return None
        highest = self.cursor_heard(finess)
        if highest is not None and highest.incarnation == cursor.incarnation and cursor.revision <= highest.revision:
            return None
        if cursor.incarnation in self._pictures[finess].past_incarnations:
            return None
        if highest is not None and highest.incarnation != cursor.incarnation:
            return None  # of another history only a whole snapshot tells: what was known is reinstated with it
        self._heard[finess] = cursor
        return cursor

    def begin(self, finess: str) -> tuple[Cursor | None, Cursor | None]:
        """A new watch begins: parts of the last one are dropped. The cursor to resume from, and a later one heard by
        an answer, if one was: only by it a node shows that it was restored to between the two.
        """
        picture = self._pictures[finess]
        if picture.parts:
            self._pictures[finess] = replace(picture, parts=())
        if picture.cursor is None or self._is_asked_for_all(finess):
            return None, None
        heard = self.cursor_heard(finess)
        return picture.cursor, heard if heard != picture.cursor else None

    def restored(self, finess: str) -> None:
        """The node does not know the cursor that it was given: the next watch begins with a whole snapshot."""
        self._restored.add(finess)

    def list_anew(self, finess: str) -> None:
        """This hub was restored: the node is to tell all that it has, once it has been shown what was heard of it.

        In this order: asked for all at once, a node that was put back too would never learn it.
        """
        self._unlisted[finess] = False

    def _is_asked_for_all(self, finess: str) -> bool:
        """Whether its watch begins without a cursor: it does not know the one heard, or has been shown it."""
        return finess in self._restored or self._unlisted.get(finess, False)

    async def hear(self, finess: str, event: NodeEvent) -> bool:
        """A message of a node's watch; whether to read on, or to begin the next watch.

        Raises `Refusal` if it could not be stored: then nothing of it was applied.
        """
        if event.cursor.establishment != finess:
            return True
        before = self._pictures[finess]
        if self._is_asked_for_all(finess) and is_behind(
            before, self.cursor_heard(finess), event, refused=finess in self._restored
        ):
            # Put back since it was last shown what was heard of it: it is shown that again.
            self._restored.discard(finess)
            self._unlisted = {one: shown and one != finess for one, shown in self._unlisted.items()}
            return False
        applied = apply(before, event, self._clock.monotonic())
        after = applied.picture
        if after.cursor != before.cursor or applied.units or applied.reservations:
            self._files.tell(
                await self._through.get(finess, self._store).run(
                    lambda transaction: self._store_applied(transaction, before, applied)
                )
            )
        self._pictures[finess] = after
        shown = finess in self._unlisted and not self._is_asked_for_all(finess)
        if applied.whole:
            self._restored.discard(finess)
            self._unlisted.pop(finess, None)
            self._listed(finess)
        elif shown:
            self._unlisted[finess] = True
        self._measure(before, after)
        self.bell.ring(finess, after)
        return applied.whole or not shown

    def _store_applied(self, transaction: Transaction, before: Picture, applied: Applied) -> list[RequestFile]:
        after = applied.picture
        if after.cursor is not None and after.description is not None:
            transaction.save_picture(
                PictureHead(after.cursor, after.description, after.past_incarnations),
                [after.units[name] for name in sorted(applied.units) if name in after.units],
                sorted(name for name in applied.units if name not in after.units),
                whole=applied.whole,
            )
        return self._files.hear(
            transaction,
            applied.reservations,
            all_of=after.cursor if applied.whole else None,
            over=after.past_incarnations,
        )

    def _measure(self, before: Picture, after: Picture) -> None:
        """Tells the meters how old each winning source is, by its youngest proof of life, and which are no more."""
        now = self._clock.monotonic()
        ages: dict[str, float] = {}
        for unit in after.units.values():
            age = unit_age(after, unit, now)
            if age is not None:
                source = unit.sources[0].id
                ages[source] = min(age.total_seconds(), ages.get(source, inf))
        for source, age_seconds in ages.items():
            self._meters.source_alive(after.establishment, source, age_seconds)
        for source in _winning(before) - _winning(after):
            self._meters.source_gone(after.establishment, source)


def _stored(picture: Picture, head: PictureHead, units: tuple[Unit, ...]) -> Picture:
    """The picture with what is stored of it; no part of a message waits any more."""
    return replace(
        picture,
        cursor=head.cursor,
        description=head.description,
        units={unit.name: unit for unit in units},
        past_incarnations=head.past_incarnations,
        parts=(),
    )


def _winning(picture: Picture) -> frozenset[str]:
    """The sources that win in a unit of the picture."""
    return frozenset(unit.sources[0].id for unit in picture.units.values() if unit.sources)
