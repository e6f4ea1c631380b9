"""Who watches gets each thing in its latest form, in whichever order it is told."""

from __future__ import annotations

from aval.hub.bell import Bell


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


def test_without_revisions_what_is_told_last_is_the_latest() -> None:
    bell: Bell[str] = Bell()
    with bell.listen() as listener:
        bell.ring("house", "before")
        bell.ring("house", "after")
        assert listener.take() == {"house": "after"}
    bell.ring("house", "unheard")
    assert bell.listeners == 0
