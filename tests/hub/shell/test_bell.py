"""Who watches gets each thing in its latest form, in whichever order it is told."""

from __future__ import annotations

from aval.hub.bell import THINGS_REMEMBERED, Bell


def test_a_listener_holds_the_latest_form_whichever_was_told_last() -> None:
    """Two transactions may end in one order and be told of in the other while a slow watcher looks elsewhere."""
    bell: Bell[tuple[int, str]] = Bell(lambda form: form[0])
    with bell.listen() as listener:
        bell.ring("request", (3, "confirmed"))
        bell.ring("request", (2, "held"))
        bell.ring("other", (1, "open"))
        assert listener.take() == {"request": (3, "confirmed"), "other": (1, "open")}
        bell.ring("request", (4, "admitted"))
        assert listener.take() == {"request": (4, "admitted")}


def test_who_begins_to_listen_is_not_told_an_older_form_than_those_before() -> None:
    """Met in a run: a watch began after a request was cancelled, and took a form told late for what it is now."""
    bell: Bell[tuple[int, str]] = Bell(lambda form: form[0])
    bell.ring("request", (3, "cancelled"))
    with bell.listen() as listener:
        bell.ring("request", (2, "held"))
        assert listener.take() == {}
        bell.ring("request", (3, "cancelled"))
        assert listener.take() == {"request": (3, "cancelled")}


def test_a_bell_remembers_so_many_things_and_no_more() -> None:
    bell: Bell[tuple[int, str]] = Bell(lambda form: form[0])
    bell.ring("request", (3, "cancelled"))
    for number in range(THINGS_REMEMBERED):
        bell.ring(f"other {number}", (1, "open"))
    with bell.listen() as listener:
        bell.ring("request", (2, "held"))
        assert listener.take() == {"request": (2, "held")}


def test_without_revisions_what_is_told_last_is_the_latest() -> None:
    bell: Bell[str] = Bell()
    with bell.listen() as listener:
        bell.ring("house", "before")
        bell.ring("house", "after")
        assert listener.take() == {"house": "after"}
    bell.ring("house", "unheard")
    assert bell.listeners == 0
