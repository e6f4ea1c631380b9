"""The territory's watch, as one viewpoint sees it: at a hub the unit of change is one establishment's picture.

A watcher holds, for each establishment, the picture that it was last sent; the next change is the difference between
that and the present one, as shown. So a slow watcher misses what was in between and costs nothing while it waits, and
what it may not see is never even compared aloud: a change that shows nothing new is not sent.

A cursor that a follower brings either is the present one of the same view, or it gets the establishment whole, with the
cause. One that is ahead of this replica is no fault: nothing is sent of that establishment until it is reached.
"""

from collections.abc import AsyncGenerator, Mapping
from datetime import timedelta

from msgspec import Struct
from msgspec.structs import replace

from aval.hub.model import Cursor, Description, SnapshotCause, SourceAge
from aval.hub.picture import Picture, Seen, Viewpoint, seen, shown, tells_more
from aval.hub.pictures import Pictures
from aval.kernel.clock import Clock


class Whole(Struct, frozen=True):
    """An establishment whole."""

    cursor: Cursor
    units: tuple[Seen, ...]
    description: Description | None
    cause: SnapshotCause


class Changed(Struct, frozen=True):
    """What changed of an establishment, as shown."""

    cursor: Cursor
    units: tuple[Seen, ...]
    removed: tuple[str, ...]
    description: Description | None


class Alive(Struct, frozen=True):
    """Where the follower stands with an establishment, and the ages of the sources that it is shown."""

    establishment: str
    cursor: Cursor | None
    ages: tuple[SourceAge, ...]


class TerritoryWatch:
    """One watch: `events` for as long as it is read."""

    def __init__(
        self,
        pictures: Pictures,
        clock: Clock,
        viewpoint: Viewpoint,
        view: bytes,
        establishments: frozenset[str],
        progress_seconds: float,
    ) -> None:
        """`establishments` (FINESS): only these; `view` goes into each cursor served."""
        self._pictures = pictures
        self._clock = clock
        self._viewpoint = viewpoint
        self._view = view
        self._establishments = establishments
        self._progress_seconds = progress_seconds
        self._sent: dict[str, Picture] = {}
        self._ahead: dict[str, Cursor] = {}

    async def events(self, cursors: Mapping[str, Cursor]) -> AsyncGenerator[Whole | Changed | Alive, None]:
        """What differs from `cursors` (by FINESS), then each change, and a heartbeat for each establishment."""
        with self._pictures.bell.listen() as listener:
            for finess in sorted(self._establishments):
                picture = self._pictures.of(finess)
                event = None if picture is None else self._first(picture, cursors.get(finess))
                if event is not None:
                    yield event
            beat_at = self._clock.monotonic()
            while True:
                if self._clock.monotonic() >= beat_at:
                    for alive in self._beat():
                        yield alive
                    beat_at = self._clock.monotonic() + self._progress_seconds
                for finess, picture in sorted((await listener.wait(self._clock, beat_at)).items()):
                    following = self._next(picture) if finess in self._establishments else None
                    if following is not None:
                        yield following

    def _first(self, picture: Picture, given: Cursor | None) -> Whole | None:
        at = picture.cursor
        if at is None:
            if given is not None and given.view == self._view:
                self._ahead[picture.establishment] = given
            return None
        if given is None:
            return self._whole(picture, at, SnapshotCause.FIRST)
        if given.view != self._view:
            return self._whole(picture, at, SnapshotCause.OTHER_VIEW)
        if given.incarnation != at.incarnation:
            return self._whole(picture, at, SnapshotCause.CURSOR_UNKNOWN)
        if given.revision > at.revision:
            self._ahead[picture.establishment] = given
            return None
        if given.revision < at.revision:
            return self._whole(picture, at, SnapshotCause.HISTORY_COMPACTED)
        if given.tag != at.tag:
            return self._whole(picture, at, SnapshotCause.CURSOR_UNKNOWN)
        self._sent[picture.establishment] = picture
        return None

    def _whole(self, picture: Picture, at: Cursor, cause: SnapshotCause) -> Whole:
        self._sent[picture.establishment] = picture
        return Whole(self._served(at), self._seen(picture), picture.description, cause)

    def _next(self, picture: Picture) -> Whole | Changed | None:
        """What a picture that may have changed brings to this watcher."""
        finess, at = picture.establishment, picture.cursor
        before, ahead = self._sent.get(finess), self._ahead.pop(finess, None)
        if at is None:
            return None
        if ahead is not None:
            return self._first(picture, ahead)
        if before is None or before.cursor is None:
            return self._whole(picture, at, SnapshotCause.FIRST)
        if before.cursor.incarnation != at.incarnation:
            return self._whole(picture, at, SnapshotCause.CURSOR_UNKNOWN)
        self._sent[finess] = picture
        if before.cursor == at:
            return None
        return self._difference(before, picture, at)

    def _difference(self, before: Picture, after: Picture, at: Cursor) -> Changed | None:
        changed: set[str] = set()
        removed: list[str] = []
        for name in before.units.keys() | after.units.keys():
            old, new = before.units.get(name), after.units.get(name)
            if old is new:
                continue
            was = shown(old, self._viewpoint) if old is not None else None
            now = shown(new, self._viewpoint) if new is not None else None
            if now is None:
                if was is not None:
                    removed.append(name)
            elif tells_more(was, now):
                changed.add(name)
        description = after.description if after.description != before.description else None
        if not changed and not removed and description is None:
            return None
        units = tuple(one for one in self._seen(after) if one.unit.name in changed)
        return Changed(self._served(at), units, tuple(sorted(removed)), description)

    def _beat(self) -> list[Alive]:
        beats = []
        for finess in sorted(self._establishments):
            picture = self._pictures.of(finess)
            sent = self._sent.get(finess)
            if picture is None or finess in self._ahead:
                continue
            at = self._served(sent.cursor) if sent is not None and sent.cursor is not None else None
            beats.append(Alive(finess, at, tuple(self._ages(picture)) if at else ()))
        return beats

    def _ages(self, picture: Picture) -> list[SourceAge]:
        """Ages of the sources of the units shown."""
        units: dict[tuple[str, float], list[str]] = {}
        for one in self._seen(picture):
            for source in one.unit.sources:
                if source.age is not None:
                    units.setdefault((source.id, round(source.age.total_seconds(), 3)), []).append(one.unit.name)
        return [SourceAge(source, timedelta(seconds=age), tuple(names)) for (source, age), names in units.items()]

    def _seen(self, picture: Picture) -> tuple[Seen, ...]:
        return seen(picture, self._viewpoint, self._clock.monotonic(), lost_after=self._pictures.lost_after)

    def _served(self, at: Cursor) -> Cursor:
        return replace(at, view=self._view)
