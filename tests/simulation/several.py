"""A simulated territory with two hubs or more on one database, which share its nodes by leases.

Everything else is as in `simulation`. A run is shorter by the clock, because hubs look at their leases every two
seconds; and half of what goes wrong befalls what they have between them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from functools import partial
from typing import Any

from aval.hub.ports import Origin
from aval.kernel.finess import FinessET
from aval.kernel.identity import HubReplica, Node
from aval.v1 import availability_pb2 as av
from aval.v1 import availability_pb2_grpc
from tests.simulation.compose import HubParts
from tests.simulation.mishaps import Backup, Mishaps
from tests.simulation.people import CELL, HOUSES, HUB, HUB_NAME, T
from tests.simulation.replica import ReplicaParts, address_of_replica
from tests.simulation.screens import screen
from tests.simulation.shared_disk import Connection, ReplicaStore, SharedDisk, SharedFaults
from tests.simulation.simulation import QUIET_TURNS_MAX, Simulation, Site
from tests.simulation.together import Together
from tests.simulation.wire import KEEPALIVE_SECONDS, Call
from tests.simulation.world import Process

HUBS = (HUB_NAME, "hub-1", "hub-2")
"""The sites of the hubs, by the numbers of their certificates; a run has two of them, or all."""

SAID_SECONDS_MAX = 20.0
"""A change that one hub has stored so long ago is told on every watch of the other: a look each five seconds, some of
whose reads may wait three."""

SOUND_SECONDS = 12.0
"""A hub that has run so long on a database that it reaches has compared everything once."""

SCREEN_OFF_SECONDS_MAX = 60.0

OWN_SHARE = 0.6
"""How much of what goes wrong is of several hubs."""

KILLED_AGAIN_SHARE = 0.4
"""How often the first hub on a database that was put back is killed as it begins."""

BEGIN_SECONDS = (0.0, 3.0)
"""When: while it marks its requests, shows nodes what it has heard of them, or is told what they have."""

STOP_SECONDS_MAX = 20.0
"""A hub that is told to stop and has not by then is killed."""


def only(number: int) -> str:
    """The address of one hub alone; `HUB` is that of any."""
    return f"replica-{number}:5000"


class SharedMishaps(Mishaps):
    """What goes wrong where hubs share nodes."""

    _on: Several

    def befall(self, chance: random.Random) -> None:
        """One of them, now."""
        if chance.random() >= OWN_SHARE:
            super().befall(chance)
            return
        kinds = (self._suspend, self._away, self._kill, self._stop, self._put_hub_back)
        chance.choices(kinds, (4, 4, 3, 2, 2))[0](chance)

    def _a_hub(self, chance: random.Random) -> str | None:
        up = [key for key in self._on.hubs if self._on.sites[key].up]
        return chance.choice(up) if up else None

    def _suspend(self, chance: random.Random) -> None:
        """A hub stands still for longer than its lease, or nearly, and goes on as if nothing were."""
        key = self._a_hub(chance)
        if key is not None:
            self._on.suspend(key, chance.choice((3.0, 8.0, 20.0, 50.0)) * chance.uniform(0.8, 1.2))

    def _away(self, chance: random.Random) -> None:
        """A hub does not reach the database, and is told so at once or waits in vain; at times no hub does."""
        on = self._on
        keys = on.hubs if chance.random() < 0.15 else (chance.choice(on.hubs),)
        hangs = chance.random() < 0.5
        on.network.counts["database not reached by a hub" if len(keys) == 1 else "database down"] += 1
        seconds = chance.choice((1.0, 8.0, 30.0, 120.0)) * chance.uniform(0.5, 1.5)
        for key in keys:
            on.cut_from_database(key, seconds, hangs=hangs)

    def _kill(self, chance: random.Random) -> None:
        key = self._a_hub(chance)
        if key is not None:
            self._on.network.counts["hub killed"] += 1
            self._on.kill(key)

    def _stop(self, chance: random.Random) -> None:
        """A hub is told to stop: it gives up what it holds."""
        key = self._a_hub(chance)
        if key is not None:
            self._on.stop(key)

    def _wires(self) -> list[tuple[str, str]]:
        pairs = [(key, f"node-{finess}") for key in self._on.hubs for finess in HOUSES] * 2
        return pairs + [("people", site.name) for site in self._on.sites.values()]

    def _holders(self) -> list[str]:
        nodes = [str(Node(T, FinessET(finess))) for finess in HOUSES]
        return [*nodes, *(str(HubReplica(T, number)) for number in range(len(self._on.hubs))), str(CELL)]

    def _put_hub_back(self, chance: random.Random) -> None:
        """As one hub is; they are started again one after the other, and the first is killed at times as it begins."""
        on, often = self._on, len(self._on.sites[HUB_NAME].forgotten)
        super()._put_hub_back(chance)
        if len(on.sites[HUB_NAME].forgotten) > often and chance.random() < KILLED_AGAIN_SHARE:
            key = chance.choice(on.hubs)
            on.start(key)
            on.world.after(chance.uniform(*BEGIN_SECONDS), partial(self._kill_beginning, key, on.sites[key].process))

    def _kill_beginning(self, key: str, process: Process | None) -> None:
        on = self._on
        if on.sites[key].up and on.sites[key].process is process:
            on.network.counts["hub killed as it began on what was put back"] += 1
            on.kill(key)

    def _replace(self, backup: Backup, origin: Origin | None) -> None:
        """Their database, while none of them runs."""
        self._on.disk.put_back(backup.disk)
        if origin is not None:
            self._on.disk.begin_anew(origin)
        self._on.together.put_back(by_command=origin is not None)

    def _apart(self, one: str, other: str, seconds: float) -> None:
        for name in self._on.hubs if one == HUB_NAME else (one,):
            super()._apart(name, other, seconds)


def _ping(call: Call, process: Process) -> None:
    """The machine of a process that stands still takes what is sent there, but nothing answers a ping."""
    if process.stopped:
        call.sever(0.0, 0.0)


LEASES_TURNS_MAX = 40_000
"""Turns of hubs in the quiet that renew their leases and look at each other's rows, every few seconds."""


class Several(Simulation):
    """One run with so many hubs."""

    dark_share = 1.0
    away_seconds: tuple[float, ...] = (0.2, 5.0, 30.0, 120.0)
    quiet_turns_max = QUIET_TURNS_MAX + LEASES_TURNS_MAX

    def __init__(self, seed: int, *, faulty: bool = True, without: frozenset[int] = frozenset(), hubs: int = 2) -> None:
        self.hubs = HUBS[:hubs]
        super().__init__(seed, faulty=faulty, without=without)
        chance = self.world.chance("hubs")
        self.disk = SharedDisk(lambda: self.world.time)
        self.faults = {key: SharedFaults() for key in self.hubs}
        for key in self.hubs:
            site = self.sites.setdefault(key, Site(key, self.disk, chance))
            site.disk, site.faults = self.disk, self.faults[key]
        addresses = tuple(address_of_replica(number) for number in range(len(self.hubs)))
        self.network.one_of = dict.fromkeys(addresses, addresses)
        self.network.one_of |= {only(number): (one,) for number, one in enumerate(addresses)}
        self.mishaps = SharedMishaps(self)
        self.together = Together(self)
        self._looking = self.world.chance("looking")
        self.checker.said_seconds_max = SAID_SECONDS_MAX
        # What is in no list no hub compares: where its notification is lost, open screens keep it as it was.
        self.checker.archived_are_said = False

    # Processes

    def _hub(self, key: str, process: Process, _: Any) -> HubParts:
        number = self.hubs.index(key)
        connection = Connection(
            process, self.faults[key], self._disk_chance, self.network.counts, lambda: self.kill(key)
        )
        store = ReplicaStore(self.disk, number, connection, self.checker.hub_committed)
        return ReplicaParts(self.network, process, store, number)

    def _ended(self, key: str, process: Process, task: asyncio.Task[None]) -> None:
        parts = self.sites[key].parts
        stopped = isinstance(parts, ReplicaParts) and parts.process is process and parts.is_stopping
        if stopped and not task.cancelled() and task.exception() is None:
            self.network.counts["hub stopped in good order"] += 1
            self.kill(key)
        else:
            super()._ended(key, process, task)

    def stop(self, key: str) -> None:
        """A hub is told to stop, and killed if it does not."""
        site = self.sites[key]
        if isinstance(site.parts, ReplicaParts) and site.up:
            self.world.note(key, "is told to stop")
            site.parts.stop()
            self.world.after(STOP_SECONDS_MAX, partial(self._kill_if, key, site.process))

    def _kill_if(self, key: str, process: Process | None) -> None:
        if self.sites[key].process is process:
            self.kill(key)

    def suspend(self, key: str, seconds: float) -> None:
        """A hub's process stands still for so long (SIGSTOP, SIGCONT)."""
        process = self.sites[key].process
        if process is None or process.stopped:
            return
        self.network.counts["hub stood still"] += 1
        self.world.note(key, f"stands still for {seconds:.0f} s")
        self.world.stop(process)
        for call in self.network.calls:
            if process in (call.client, call.server.process):
                self.world.after(self._disk_chance.uniform(*KEEPALIVE_SECONDS), partial(_ping, call, process))
        self.world.after(seconds, partial(self._go_on, key, process))

    def _go_on(self, key: str, process: Process) -> None:
        if process.stopped and process.alive:
            self.world.note(key, "goes on")
            self.sites[key].sound_since = self.world.time
            self.world.go_on(process)

    def cut_from_database(self, key: str, seconds: float, *, hangs: bool) -> None:
        """A hub does not reach the database for so long."""
        faults = self.faults[key]
        self.world.note(key, f"does not reach the database for {seconds:.0f} s")
        faults.down, faults.hangs = True, hangs

        def back() -> None:
            self.world.note(key, "reaches the database")
            faults.down = faults.hangs = False
            self.sites[key].sound_since = self.world.time

        self.world.after(seconds, back)

    def is_sound(self, key: str) -> bool:
        """Whether a hub has had time to learn all that the others have changed."""
        site = self.sites[key]
        if not site.up or site.process is None or site.process.stopped:
            return False
        if self.faults[key].down or self.faults[key].hangs:  # one of two faults that overlap may have ended
            return False
        return self.world.time - site.sound_since > SOUND_SECONDS

    # A run

    def _worsen(self) -> None:
        super()._worsen()
        scale = self.world.chance("weather of hubs").choice((0.3, 1.0, 2.0))
        for faults in self.faults.values():
            faults.slow, faults.stored_again, faults.skipped = 0.002 * scale, 0.004 * scale, 0.01 * scale
            faults.late, faults.twice, faults.lost = 0.05 * scale, 0.05 * scale, 0.1 * scale

    def _open_screens(self) -> None:
        for address in (HUB, *(only(number) for number in range(len(self.hubs)))):
            chance = self.world.chance(f"screen at {address}")
            self.people.process.spawn(screen(self.people, chance, address, SCREEN_OFF_SECONDS_MAX))

    def _pause(self, chance: random.Random) -> float:
        draw = chance.random()
        for share, low, high in ((0.6, 0.01, 1.0), (0.28, 1.0, 15.0), (0.1, 15.0, 60.0)):
            if draw < share:
                return chance.uniform(low, high)
            draw -= share
        return chance.uniform(60.0, 400.0)

    def _act(self, chance: random.Random) -> None:
        super()._act(chance)
        self.people.process.spawn(self._look_at(HUB, chance.choice(HOUSES)))

    async def _look_at(self, address: str, finess: str) -> av.ListUnitsResponse | None:
        """Somebody reads a house's figures at a hub."""
        stub = self.people.stub(availability_pb2_grpc.AvailabilityServiceStub, CELL, address)
        request = av.ListUnitsRequest(parent=f"establishments/{finess}")
        about = f"{finess} at {address}"
        answer: av.ListUnitsResponse | None = await self.people.call(stub, "ListUnits", request, self._looking, about)
        return answer

    def _check_holds(self) -> None:
        super()._check_holds()
        self.world.problems.extend(self.together.unfollowed())
        if self.world.problems:
            raise self.violation()

    def _check_screens(self) -> None:
        sound = [self.sites[key].process for key in self.hubs if self.is_sound(key)]
        calls = [call for call in self.network.calls if call.server.process in sound]
        self.world.problems.extend(self.checker.unsaid(calls, self.world.time))
        if self.world.problems:
            raise self.violation()

    # The end

    def quieten(self) -> None:
        """As with one hub; and each node is followed by one hub, and shown alike by all."""
        for key in self.hubs:
            process = self.sites[key].process
            if process is not None:
                self._go_on(key, process)
        super().quieten()
        self._check_screens()
        revisions = {finess: self.checker.house(finess).revision for finess in HOUSES}
        looks = {
            (number, finess): self.people.process.spawn(self._look_at(only(number), finess))
            for number in range(len(self.hubs))
            for finess in HOUSES
        }
        self.go(SAID_SECONDS_MAX + 5.0)
        self._check_screens()
        for (number, finess), look in looks.items():
            self.world.problems.extend(
                f"in the quiet hub {number} {problem}"
                for problem in self.together.unlike(finess, revisions[finess], look.result())
            )
        if self.world.problems:
            raise self.violation()

    def _unquiet(self) -> Iterator[str]:
        yield from super()._unquiet()
        yield from self.together.unquiet()


def simulated(seed: int, hubs: int, without: frozenset[int] = frozenset()) -> Simulation:
    """A run with so many hubs: one to three."""
    return Several(seed, without=without, hubs=hubs) if hubs > 1 else Simulation(seed, without=without)
