"""The world of a simulation: one time line, and on it processes that can be killed between any two of their steps.

Each process has an event loop of its own whose time is the world's; nothing sleeps, no socket is opened and no thread
started. The world runs whichever process has something to do (chance decides when several have), and moves time on when
none has. Within a process the order of asyncio holds, so the shipped code meets nothing here that it could not meet in
the open; between processes everything is chance, and all chance comes from one seed.

To kill a process is to run its loop no more: nothing is told to it, no `finally` runs. What it leaves behind is what
its disk had taken. (Its coroutines are put away only when the world ends, with every port of theirs cut off.)
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import sys
from asyncio import _set_running_loop
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context, copy_context
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, TypeVarTuple
from uuid import UUID

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EPOCH = datetime(2026, 3, 2, 7, 0, tzinfo=UTC)
"""When every simulation begins: a Monday, 8 h in Paris, with a change of hour within the month."""

PUT_AWAY_ROUNDS = 200
"""How often a dead process's loop is turned when the world ends, for its coroutines to end; far more than they need."""


class Handle(asyncio.TimerHandle):
    """Something that a loop is to do. asyncio's own class keeps what it calls to itself."""

    def __init__(
        self,
        at: float,
        callback: Callable[..., object],
        arguments: tuple[Any, ...],
        loop: Loop,
        context: Context | None,
    ) -> None:
        super().__init__(at, callback, arguments, loop, context)
        self.at = at
        self._do = callback
        self._with = arguments
        self._within = context

    def run(self) -> None:
        """Does it, unless it has been cancelled."""
        if not self.cancelled():
            if self._within is None:
                self._do(*self._with)
            else:
                self._within.run(self._do, *self._with)


class Loop(asyncio.AbstractEventLoop):
    """The event loop of one process. Its time is the process's monotonic clock."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.ready: deque[Handle] = deque()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.generators: set[AsyncGenerator[Any, Any]] = set()

    @property
    def alive(self) -> bool:
        """Whether its process lives."""
        return self._process.alive

    # What asyncio asks of a loop

    def time(self) -> float:
        return self._process.monotonic()

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> Handle:
        handle = Handle(0.0, callback, args, self, context if context is not None else copy_context())
        self.ready.append(handle)
        self._process.world.awake(self._process)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> Handle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Handle:
        handle = Handle(when, callback, args, self, context if context is not None else copy_context())
        self._process.world.at(self._process.world_time(when), lambda: self._due(handle))
        return handle

    def _due(self, handle: Handle) -> None:
        if self._process.alive and not handle.cancelled():
            self.ready.append(handle)
            self._process.world.awake(self._process)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """asyncio tells it; a cancelled handle is passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None, **_: object
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def get_task_factory(self) -> None:
        return None

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._process.alive:
            self._process.world.faulted(self._process, context)

    async def shutdown_asyncgens(self) -> None:
        return None

    # Turning it

    def turn(self) -> None:
        """Does what is ready now, as one iteration of an event loop would; stops where the process dies."""
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self.generators.add, finalizer=self._finalize)
        _set_running_loop(self)
        try:
            for _ in range(len(self.ready)):
                if not self.ready or not (self._process.alive or self._process.buried):
                    break
                self.ready.popleft().run()
        finally:
            _set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def _finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        if self._process.alive:
            self.create_task(generator.aclose())


class Process:
    """A running program: its loop, its clocks, its chance. A restart is a new one with the same name."""

    def __init__(self, world: World, name: str, number: int, rate: float, wall_offset: timedelta) -> None:
        self.world = world
        self.name = name
        self.number = number
        self.alive = True
        self.buried = False
        self.stopped = False
        """Whether its loop stands still, as under SIGSTOP: what happens to it waits until it goes on."""
        self.rate = rate
        self.wall_offset = wall_offset
        self._born = world.time
        self._origin = world.chance(f"{name}/{number}/origin").uniform(10.0, 1e6)
        # asyncio's own class of loops has sockets, signals and threads too: none of that is here, nor asked for.
        make: Any = Loop
        self.loop: Loop = make(self)
        self.clock = Clock(self)
        self.rng = Rng(world.chance(f"{name}/{number}/rng"))

    def monotonic(self) -> float:
        """Its monotonic clock: no other process can make anything of it, and it runs a little fast or slow."""
        return self._origin + (self.world.time - self._born) * self.rate

    def drift(self) -> float:
        """By how many seconds its clock has gone off since it started."""
        return (self.world.time - self._born) * (self.rate - 1.0)

    def world_time(self, monotonic: float) -> float:
        """When the world gets there: never a rounding too early, or who waits for it would find it still to come."""
        at = max(self.world.time, self._born + (monotonic - self._origin) / self.rate)
        while self._origin + (at - self._born) * self.rate < monotonic:
            at = math.nextafter(at, math.inf)
        return at

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Runs a coroutine in it, in a context of its own."""
        return self.loop.create_task(coroutine, context=Context())

    def __repr__(self) -> str:
        return f"{self.name}#{self.number}"


class Clock:
    """`aval.kernel.clock.Clock` of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def now(self) -> datetime:
        """The wall clock, jumps included."""
        elapsed = timedelta(seconds=self._process.world.time)
        return EPOCH + elapsed + self._process.wall_offset

    def monotonic(self) -> float:
        """See `Process.monotonic`."""
        return self._process.monotonic()

    async def sleep_until(self, monotonic: float) -> None:
        """Waits in the world's time."""
        loop = self._process.loop
        while self.monotonic() < monotonic:
            woken = loop.create_future()
            handle = loop.call_at(monotonic, _wake, woken)
            try:
                await woken
            finally:
                handle.cancel()


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


class Rng:
    """`aval.kernel.clock.Rng`, seeded."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def uuid(self) -> UUID:
        """A UUID of version 4."""
        return UUID(int=self._chance.getrandbits(128), version=4)

    def token(self, length_bytes: int) -> bytes:
        """Bytes."""
        return self._chance.randbytes(length_bytes)

    def uniform(self, low: float, high: float) -> float:
        """A number between the two."""
        return self._chance.uniform(low, high)


class World:
    """The time line. `trace` is what happened, for people: (time, who, what)."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.time = 0.0
        self.turns = 0
        self.running = ""
        """The name of the process whose turn it is."""
        self.trace: list[tuple[float, str, str]] = []
        self.problems: list[str] = []
        self._order = self.chance("order")
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0
        self._awake: list[Process] = []
        self.processes: list[Process] = []
        self._generations: dict[str, int] = {}

    def chance(self, purpose: str) -> random.Random:
        """A stream of chance of its own: what one part draws does not move what another draws."""
        return random.Random(f"{self.seed}/{purpose}")

    def process(self, name: str, *, rate: float = 1.0, wall_offset: timedelta = timedelta(0)) -> Process:
        """Starts a process; the one of that name before it must be dead."""
        number = self._generations[name] = self._generations.get(name, 0) + 1
        process = Process(self, name, number, rate, wall_offset)
        self.processes.append(process)
        return process

    def kill(self, process: Process) -> None:
        """Ends it, now, whatever it was doing."""
        process.alive = False
        if process in self._awake:
            self._awake.remove(process)

    def stop(self, process: Process) -> None:
        """Its loop stands still while time goes on, until `go_on`."""
        process.stopped = True
        if process in self._awake:
            self._awake.remove(process)

    def go_on(self, process: Process) -> None:
        """It does what waited, and knows nothing of the time between."""
        process.stopped = False
        if process.loop.ready:
            self.awake(process)

    def at(self, time: float, action: Callable[[], object]) -> None:
        """Does something at a time of the world, in no process."""
        self._number += 1
        heapq.heappush(self._events, (max(time, self.time), self._number, action))

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """As `at`, from now on."""
        self.at(self.time + seconds, action)

    def awake(self, process: Process) -> None:
        """A process has something to do."""
        if process.alive and not process.stopped and process not in self._awake:
            self._awake.append(process)

    def note(self, who: str, what: str) -> None:
        """A line of the trace."""
        self.trace.append((self.time, who, what))

    def faulted(self, process: Process, context: dict[str, Any]) -> None:
        """Something broke that nobody caught: that is a problem like a broken invariant."""
        error = context.get("exception")
        self.problems.append(f"{process}: {context.get('message')}: {error!r}")

    def run_until(self, time: float, stop: Callable[[], bool] = lambda: False) -> None:
        """Lets the world go on until that time, or until `stop` says so after a turn."""
        while not stop():
            if self._awake:
                process = self._awake.pop(self._order.randrange(len(self._awake)))
                self.turns += 1
                self.running = process.name
                process.loop.turn()
                if process.loop.ready:
                    self.awake(process)
            elif self._events and self._events[0][0] <= time:
                at, _, action = heapq.heappop(self._events)
                self.time = at
                action()
            else:
                self.time = max(self.time, time)
                return

    def close(self) -> None:
        """Puts every coroutine away, so that none is left to the garbage collector. Ports are cut off before."""
        for process in self.processes:
            process.alive = False
            process.buried = True
        self._awake.clear()
        for process in self.processes:
            for task in tuple(process.loop.tasks):
                task.cancel()
            for _ in range(PUT_AWAY_ROUNDS):
                if not process.loop.ready:
                    break
                process.loop.turn()
            process.loop.ready.clear()
