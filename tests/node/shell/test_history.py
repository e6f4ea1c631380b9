"""The history: what was touched since a cursor, whatever the order of touches, and which cursors are its own."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from aval.node.history import Cursor, History, Standing, chained
from aval.node.model import Kind
from aval.node.ports import TAG_BYTES, Revision, Row, Touched
from tests.node.shell.stores import START

NAMES = st.frozensets(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=3)
TOUCHES = st.lists(st.tuples(NAMES, NAMES, st.booleans()), min_size=1, max_size=30)
ROWS = st.lists(
    st.builds(Row, st.sampled_from(Kind), st.text(max_size=4), st.none() | st.binary(max_size=8)), max_size=4
)


def revisions(touches: list[tuple[frozenset[str], frozenset[str], bool]]) -> list[Revision]:
    made: list[Revision] = []
    for number, (units, reservations, establishment) in enumerate(touches, 1):
        digest = chained(made[-1].digest if made else b"", number, START, [])
        touched = Touched(units, reservations, establishment)
        made.append(Revision(number, digest, START + timedelta(minutes=number), touched))
    return made


@given(TOUCHES, st.integers(1, 40), st.data())
def test_what_was_touched_since_is_the_union_of_later_touches(
    touches: list[tuple[frozenset[str], frozenset[str], bool]], retained: int, data: st.DataObject
) -> None:
    made = revisions(touches)
    at_once, one_by_one = History(1, made, retained), History(1, [], retained)
    for revision in made:
        one_by_one.add(revision)
    for history in (at_once, one_by_one):
        assert history.cursor == Cursor(1, len(made), made[-1].digest[:TAG_BYTES])
        assert history.floor == max(0, len(made) - retained)
        since = data.draw(st.integers(history.floor, len(made)))
        later = touches[since:]
        assert history.touched_since(since) == Touched(
            frozenset().union(*(units for units, _, _ in later)),
            frozenset().union(*(reservations for _, reservations, _ in later)),
            any(establishment for _, _, establishment in later),
        )


@given(TOUCHES, st.integers(1, 40))
def test_each_cursor_is_known_compacted_or_foreign(
    touches: list[tuple[frozenset[str], frozenset[str], bool]], retained: int
) -> None:
    made = revisions(touches)
    history = History(7, made, retained)
    for revision in made:
        cursor = Cursor(7, revision.number, revision.digest[:TAG_BYTES])
        standing = history.standing(cursor) or history.standing_by(cursor, revision.digest)
        assert standing is (Standing.KNOWN if revision.number >= history.floor else Standing.COMPACTED)
        other = Cursor(7, revision.number, bytes(TAG_BYTES))
        assert (history.standing(other) or history.standing_by(other, revision.digest)) is Standing.FOREIGN
    for number in (0, -1, len(made) + 1):
        assert history.standing(Cursor(7, number, made[-1].digest[:TAG_BYTES])) is Standing.FOREIGN
    assert history.standing(Cursor(8, 1, made[0].digest[:TAG_BYTES])) is Standing.FOREIGN


@given(ROWS, ROWS, st.binary(max_size=32), st.binary(max_size=32))
def test_two_batches_have_one_hash_only_if_they_are_one(
    rows: list[Row], others: list[Row], before: bytes, other_before: bytes
) -> None:
    same = rows == others and before == other_before
    one = chained(before, 1, START, rows)
    other = chained(other_before, 1, START, others)
    if same:
        assert one == other
    elif len(before) == len(other_before):
        assert one != other
    assert one != chained(before, 2, START, rows)
    assert one != chained(before, 1, START + timedelta(microseconds=1), rows)
