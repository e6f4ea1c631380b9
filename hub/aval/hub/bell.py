"""Tells those who watch that something changed: which things, and each as it is now.

A listener holds the things that changed since it last looked, each once, in its latest form. So a slow one costs no
more than all the things that there are, and simply misses what was in between: nothing here queues. Where two
transactions may end in one order and be told of in the other, a thing's revision says which form is the later, and the
older one is told to nobody: neither to who has not read the later one yet, nor to who began to listen after it.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from aval.hub.backoff import until_set
from aval.kernel.clock import Clock

T = TypeVar("T")

THINGS_REMEMBERED = 4096
"""Things of which the bell knows what it rang last: an older form comes late by moments, not by so many others."""


class Listener(Generic[T]):
    """What one watcher has not looked at yet."""

    def __init__(self) -> None:
        self._changed: dict[str, T] = {}
        self._rung = asyncio.Event()

    def tell(self, name: str, thing: T) -> None:
        """`thing` is what `name` is now."""
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
        self._last: dict[str, int] = {}

    def ring(self, name: str, thing: T) -> None:
        """Tells everyone, unless a later form has been told."""
        last, revision = self._last.pop(name, 0), self._revision(thing)
        self._last[name] = max(last, revision)
        if len(self._last) > THINGS_REMEMBERED:
            del self._last[next(iter(self._last))]
        if revision < last:
            return
        for listener in self._listeners:
            listener.tell(name, thing)

    @contextmanager
    def listen(self) -> Iterator[Listener[T]]:
        """A listener, for as long as the context lasts."""
        listener = Listener[T]()
        self._listeners[listener] = None
        try:
            yield listener
        finally:
            self._listeners.pop(listener, None)

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)
