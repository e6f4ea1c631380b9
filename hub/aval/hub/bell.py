"""Tells those who watch that something changed: which things, and each as it is now.

A listener holds the things that changed since it last looked, each once, in its latest form. So a slow one costs no
more than all the things that there are, and simply misses what was in between: nothing here queues. Where two
transactions may end in one order and be told of in the other, a thing's revision says which form is the later.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from aval.hub.backoff import until_set
from aval.kernel.clock import Clock

T = TypeVar("T")


class Listener(Generic[T]):
    """What one watcher has not looked at yet."""

    def __init__(self, revision: Callable[[T], int]) -> None:
        self._revision = revision
        self._changed: dict[str, T] = {}
        self._rung = asyncio.Event()

    def tell(self, name: str, thing: T) -> None:
        """`thing` is what `name` is now, unless a later form of it waits already."""
        known = self._changed.get(name)
        if known is None or self._revision(known) <= self._revision(thing):
            self._changed[name] = thing
            self._rung.set()

    async def wait(self, clock: Clock, until: float) -> dict[str, T]:
        """What changed since the last look, as soon as there is something; nothing after `until` (monotonic)."""
        await until_set(self._rung, clock, until)
        return self.take()

    def take(self) -> dict[str, T]:
        """What changed since the last look."""
        changed, self._changed = self._changed, {}
        self._rung.clear()
        return changed


class Bell(Generic[T]):
    """All who listen to one kind of thing."""

    def __init__(self, revision: Callable[[T], int] = lambda _: 0) -> None:
        """`revision` of a thing's form; without one, what is told later is the later form."""
        self._revision = revision
        # In the order in which they came, so that the same run always rings them in the same one.
        self._listeners: dict[Listener[T], None] = {}

    def ring(self, name: str, thing: T) -> None:
        """Tells everyone."""
        for listener in self._listeners:
            listener.tell(name, thing)

    @contextmanager
    def listen(self) -> Iterator[Listener[T]]:
        """A listener, for as long as the context lasts."""
        listener = Listener[T](self._revision)
        self._listeners[listener] = None
        try:
            yield listener
        finally:
            self._listeners.pop(listener, None)

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)
