"""The disks of a simulation: the shipped memory stores, on devices that may die, or take their owners along.

A disk outlives the process that writes to it and keeps what was committed, no more. Around each commit lie the points
at which a process can be killed: before the write, after it, and before anybody is told. A commit can fail with nothing
written; it can also fail with everything written, which the store's port allows (« cannot say: then `load` tells »);
and what a node could not flush may be there after all once it has been killed, unless it has written over it since.
The hub's works may be run twice, as a database that retries its transactions would.

Whoever checks sees each commit here, after it, as the rows that were written.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from aval.hub.ports import Origin, Transaction
from aval.hub.store.memory import MemoryStore as HubMemory
from aval.kernel.reasons import Reason, Refusal
from aval.node.ports import Batch, StorageUnavailable, Stored
from aval.node.store.memory import MemoryStore as NodeMemory
from tests.simulation.world import Process

T = TypeVar("T")

WRITE_SECONDS = (0.001, 0.02)
"""How long a commit takes: long enough for other commands to gather behind it."""


LEFT_SHARE = 0.7
"""How often what could not be flushed is written all the same, and its node killed soon after."""

SOON_SECONDS_MAX = 0.1
"""How soon: its caller has mostly been refused by then, and mostly nothing else written."""


@dataclass(slots=True)
class DiskFaults:
    """How likely what is, for each commit. `down` refuses everything while it is true; `left` is what lies written and
    unflushed at the end of a node's log, and by which process."""

    fail: float = 0.0
    unknown: float = 0.0
    crash_before: float = 0.0
    crash_after: float = 0.0
    rerun: float = 0.0
    down: bool = False
    left: tuple[Process, Batch] | None = None

    def stop(self) -> None:
        """The device is sound."""
        self.fail = self.unknown = self.crash_before = self.crash_after = self.rerun = 0.0
        self.down = False


class Device:
    """What one process's store stands on: its faults, and the way to die. `died` ends the process, for good."""

    def __init__(
        self,
        process: Process,
        faults: DiskFaults,
        chance: random.Random,
        counts: Counter[str],
        died: Callable[[], None],
    ) -> None:
        self.process = process
        self.faults = faults
        self.counts = counts
        self._chance = chance
        self._died = died

    async def spin(self) -> None:
        """Time passes while it writes."""
        clock = self.process.clock
        await clock.sleep_until(clock.monotonic() + self._chance.uniform(*WRITE_SECONDS))

    def uniform(self, low: float, high: float) -> float:
        """A number between the two."""
        return self._chance.uniform(low, high)

    def draws(self, likelihood: float, kind: str) -> bool:
        """Whether a fault of that likelihood happens now; it is counted."""
        if likelihood == 0.0 or self._chance.random() >= likelihood:
            return False
        self.counts[kind] += 1
        return True

    def happens(self, likelihood: float) -> bool:
        """Whether something as likely as that is so now."""
        return self._chance.random() < likelihood

    def die_soon(self) -> None:
        """The process is killed in a moment, if it still lives."""
        self.process.world.after(self._chance.uniform(0.0, SOON_SECONDS_MAX), lambda: self.gone or self._died())

    async def die(self) -> None:
        """The process is killed here and now; nothing after this line runs."""
        self._died()
        await self.process.loop.create_future()

    @property
    def gone(self) -> bool:
        """Whether the process that writes is dead: its hand reaches nothing."""
        return not self.process.alive


class NodeStore:
    """`aval.node.ports.Store` of one process over its establishment's disk."""

    def __init__(self, disk: NodeMemory, device: Device, committed: Callable[[Batch], None]) -> None:
        self._disk = disk
        self._device = device
        self._committed = committed

    async def load(self) -> Stored:
        """See the port. One that was just started reads its log to the end."""
        await self._device.spin()
        if self._device.faults.down:
            raise StorageUnavailable("disk I/O error")
        left = self._device.faults.left
        if left is not None and left[0] is not self._device.process:
            self._device.faults.left = None
            self._device.counts["node commit that failed, there after a crash"] += 1
            await self._disk.commit(left[1])
            self._committed(left[1])
        return await self._disk.load()

    async def commit(self, batch: Batch) -> None:
        """See the port."""
        device, faults = self._device, self._device.faults
        await device.spin()
        if device.draws(faults.crash_before, "node killed before a commit"):
            await device.die()
        if faults.down:
            raise StorageUnavailable("database or disk is full")
        if device.gone:
            return
        if device.draws(faults.fail, "node commit failed"):
            if device.happens(LEFT_SHARE):
                faults.left = (device.process, batch)
                device.die_soon()
            raise StorageUnavailable("disk I/O error")
        faults.left = None
        await self._disk.commit(batch)
        self._committed(batch)
        if device.draws(faults.crash_after, "node killed between commit and answer"):
            await device.die()
        if device.draws(faults.unknown, "node commit of unknown fate"):
            raise StorageUnavailable("disk I/O error")
        await device.spin()

    async def save_proofs(self, proofs: Mapping[str, datetime]) -> None:
        """See the port."""
        await self._device.spin()
        if self._device.faults.down:
            raise StorageUnavailable("database or disk is full")
        if not self._device.gone:
            self._device.faults.left = None
            await self._disk.save_proofs(proofs)

    async def digest_of(self, number: int) -> bytes | None:
        """See the port."""
        return await self._disk.digest_of(number)

    async def compact(self, before: int) -> None:
        """See the port."""
        if not self._device.gone:
            self._device.faults.left = None
            await self._disk.compact(before)

    async def close(self) -> None:
        """See the port."""


def copied(disk: object) -> dict[str, Any]:
    """All that a disk holds now: a backup. What it holds is replaced when it changes, never changed."""
    return {name: copy(value) for name, value in vars(disk).items()}


def put_back(disk: NodeMemory | HubMemory, backup: dict[str, Any]) -> None:
    """The disk holds what it held then: an older backup, a file copied over, a machine rolled back."""
    vars(disk).update({name: copy(value) for name, value in backup.items()})


def begin_anew(disk: HubMemory, origin: Origin) -> None:
    """What a restore by command writes in what it has put back."""
    tables = vars(disk)["_tables"].copy()
    tables.origin[""] = origin
    put_back(disk, {"_tables": tables})


class _Again(Exception):
    """A transaction that is to be run again: what it wrote is dropped."""


class _Dies(Exception):
    """A transaction whose process is killed before it is stored."""


WRITING = ("save_", "keep_", "forget_", "tenancy", "give_up", "leave")
"""How the methods of a transaction begin that write."""


class _Watched:
    """A transaction: whether it writes, the requests that it saves, as they were before it, and the houses of which
    it saves a whole snapshot."""

    def __init__(self, inner: Transaction) -> None:
        self._inner = inner
        self.before: dict[str, Any] = {}
        self.acts: list[str] = []
        self.listed: list[str] = []
        self.writes = False

    def save(self, file: Any, before: Any) -> None:
        self.writes = True
        name = file.request.name
        if name not in self.before:
            self.before[name] = self._inner.request(name)
        self._inner.save(file, before)

    def forget_request(self, file: Any) -> None:
        self.writes = True
        self.before.setdefault(file.request.name, file)
        self._inner.forget_request(file)

    def save_picture(self, head: Any, changed: Any, removed: Any, *, whole: bool) -> None:
        self.writes = True
        if whole:
            self.listed.append(head.cursor.establishment)
        self._inner.save_picture(head, changed, removed, whole=whole)

    def keep_command(self, record: Any) -> None:
        self.writes = True
        if record.refused is None:
            self.acts.append(record.id)
        self._inner.keep_command(record)

    def __getattr__(self, name: str) -> Any:
        self.writes = self.writes or name.startswith(WRITING)
        return getattr(self._inner, name)


class HubStore:
    """`aval.hub.ports.Store` of one process over the hub's disk."""

    def __init__(
        self,
        disk: HubMemory,
        device: Device,
        committed: Callable[[Sequence[tuple[Any, Any]], Sequence[str], Sequence[str]], None],
        unheard: Callable[[list[str]], None],
    ) -> None:
        """`committed` is told the files that a transaction saved, as (before, after), the acts done in it, and the
        houses of which it saved a whole snapshot. After is None for one that it dropped.

        `unheard` is told the names of those whose writer does not know that they were saved.
        """
        self._unheard = unheard
        self._disk = disk
        self._device = device
        self._committed = committed

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See the port: who reads meets the same device."""
        return await self.run(work)

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """See the port."""
        return await self._run(work, 1.0)

    async def _run(self, work: Callable[[Transaction], T], share: float) -> T:
        """`share`: of the likelihood of each fault, for works that come very often."""
        device, faults = self._device, self._device.faults
        await device.spin()
        if faults.down:
            raise Refusal(Reason.STORAGE_UNAVAILABLE, {"problem": "disk I/O error"})
        if device.gone:
            await device.die()
        if device.draws(faults.rerun * share, "hub transaction run again"):
            await self._rerun(work)
        saved: list[tuple[Any, Any]] = []
        acts: list[str] = []
        listed: list[str] = []
        wrote = False

        def watched(transaction: Transaction) -> T:
            nonlocal wrote
            seen: Any = _Watched(transaction)
            result = work(seen)
            wrote = seen.writes
            if wrote and device.draws(faults.crash_before * share, "hub killed before a commit"):
                raise _Dies
            if wrote and device.draws(faults.fail * share, "hub commit failed"):
                raise Refusal(Reason.STORAGE_UNAVAILABLE, {"problem": "database or disk is full"})
            saved.extend((file, transaction.request(name)) for name, file in seen.before.items())
            acts.extend(seen.acts)
            listed.extend(seen.listed)
            return result

        try:
            result = await self._disk.run(watched)
        except _Dies:
            await device.die()
            raise
        self._committed(saved, acts, listed)
        if wrote and device.draws(faults.crash_after * share, "hub killed between commit and answer"):
            await device.die()
        if wrote and device.draws(faults.unknown * share, "hub commit of unknown fate"):
            self._unheard([file.request.name for _, file in saved if file is not None])
            raise Refusal(Reason.STORAGE_UNAVAILABLE, {"problem": "disk I/O error"})
        # What was read may be old by the time that it is looked at.
        await device.spin()
        return result

    async def _rerun(self, work: Callable[[Transaction], T]) -> None:
        def dropped(transaction: Transaction) -> None:
            work(transaction)
            raise _Again

        try:
            await self._disk.run(dropped)
        except _Again:
            return
        except Refusal:
            return

    def close(self) -> None:
        """See the port."""
