"""What goes wrong in a step: a crash, a partition, a disk, a clock, a certificate, a night with everything off."""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aval.hub.ports import Origin
from aval.kernel.finess import FinessET
from aval.kernel.identity import HubReplica, Node
from tests.simulation.books import Fact, House, when
from tests.simulation.disks import begin_anew, copied, put_back
from tests.simulation.people import CELL, HOUSES, HUB_NAME, T, on_file
from tests.simulation.world import EPOCH

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation


BACKUPS_KEPT = 3
"""Backups that a house keeps."""

UNHEARD_SHARE = 0.4
"""How often a node that was put back goes on for a while before its hub reaches it."""


BY_COMMAND_SHARE = 0.5
"""How often a hub that is put back knows it."""

CUT_OFF_SECONDS = 2_500.0
"""How long a house is cut off, about: long enough for its people to end what the hub believes live."""

AT_AN_END_SHARE = 0.6
"""How often a disk that goes down does so just before a hold ends there, if one does."""

END_SECONDS_MAX = 2400.0
"""A hold that ends within so long does so soon."""


@dataclass(frozen=True)
class Backup:
    """What a machine held at a time of the world; of a node, with its books as the checker had them then."""

    time: float
    disk: dict[str, Any]
    book: House | None
    files: dict[str, Fact] = field(default_factory=dict)


class Mishaps:
    """Befalls a simulation. Each counts itself where it changes the course."""

    def __init__(self, simulation: Simulation) -> None:
        self._on = simulation
        self._cut_until = 0.0

    def befall(self, chance: random.Random) -> None:
        """One of them, now."""
        kinds = (
            self._crash, self._partition, self._disk, self._jump, self._lapse, self._put_back, self._night,
            self._cut_off, self._put_hub_back,
        )  # fmt: skip
        chance.choices(kinds, (5, 5, 2, 2, 1.5, 2.5, 0.3, 1.5, 2.5))[0](chance)

    def _crash(self, chance: random.Random) -> None:
        on = self._on
        key = chance.choice(tuple(on.sites))
        if on.sites[key].up:
            on.network.counts[f"{'hub' if key in on.hubs else 'node'} killed"] += 1
            on.kill(key)

    def _partition(self, chance: random.Random) -> None:
        on = self._on
        one, other = chance.choice(self._wires())
        ways = chance.choice((((one, other), (other, one)), ((one, other),), ((other, one),)))
        on.network.counts["partition both ways" if len(ways) == 2 else "partition one way"] += 1
        on.world.note("wire", f"nothing passes: {ways}")
        for way in ways:
            on.network.block(*way)
        seconds = chance.choice((2.0, 30.0, 120.0, 1500.0)) * chance.uniform(0.5, 1.5)

        def heal() -> None:
            on.world.note("wire", f"heals: {ways}")
            for way in ways:
                on.network.heal(*way)

        on.world.after(seconds, heal)

    def _wires(self) -> list[tuple[str, str]]:
        """What may be cut, as often as it stands there."""
        pairs = [(HUB_NAME, f"node-{finess}") for finess in HOUSES] * 3
        return pairs + [("people", site.name) for site in self._on.sites.values()]

    def _disk(self, chance: random.Random) -> None:
        on = self._on
        ending = self._ending(chance) if chance.random() < AT_AN_END_SHARE else None
        key, seconds = ending or (chance.choice(tuple(on.sites)), chance.choice((1.0, 20.0, 300.0)))
        site = on.sites[key]
        on.network.counts["disk down"] += 1
        on.world.note(site.name, "disk down")
        site.faults.down = True

        def back() -> None:
            on.world.note(site.name, "disk back")
            site.faults.down = False
            site.sound_since = on.world.time

        on.world.after(seconds, back)

    def _ending(self, chance: random.Random) -> tuple[str, float] | None:
        """A node where a hold ends soon, and how long until a little after; its requester confirms it meanwhile."""
        on = self._on
        holds = [
            (key, (when(fact["expire_time"]) - on.people.now()).total_seconds(), fact)
            for key in HOUSES
            for fact in on.checker.house(key).of("reservation").values()
            if fact["state"] == "HELD"
        ]
        soon = [one for one in holds if 1.0 < one[1] < END_SECONDS_MAX]
        if not soon:
            return None
        key, left, fact = chance.choice(soon)
        on.network.counts["disk down over a hold's end"] += 1
        file = on.checker.files.get(f"requests/{fact['request']}")
        deed = None if file is None else on_file(on.people, chance, "ConfirmRequest", file)
        if deed is not None:
            on.people.process.spawn(deed)
        return key, left + chance.uniform(3.0, 30.0)

    def _jump(self, chance: random.Random) -> None:
        on = self._on
        site = on.sites[chance.choice(tuple(on.sites))]
        jump = timedelta(seconds=chance.uniform(-3600, 3600))
        on.network.counts["wall clock jumps"] += 1
        on.world.note(site.name, f"its wall clock jumps by {jump.total_seconds():.0f} s")
        site.wall += jump
        if site.process is not None:
            site.process.wall_offset = site.wall

    def _lapse(self, chance: random.Random) -> None:
        """A certificate is not renewed in time: its holder is refused everywhere until somebody sees to it."""
        on = self._on
        uri = chance.choice(self._holders())
        on.network.counts["certificate lapsed"] += 1
        on.world.note("pki", f"the certificate of {uri} lapses")
        on.network.lapsed.add(uri)

        def renewed() -> None:
            on.world.note("pki", f"the certificate of {uri} is renewed")
            on.network.lapsed.discard(uri)

        on.world.after(chance.choice((5.0, 120.0, 1800.0)) * chance.uniform(0.5, 1.5), renewed)

    def _holders(self) -> list[str]:
        """Whose certificate may lapse."""
        nodes = [str(Node(T, FinessET(finess))) for finess in HOUSES]
        return [*nodes, str(HubReplica(T, 0)), str(HubReplica(T, 0)), str(CELL)]

    def back_up(self) -> None:
        """Every machine is copied, as a good house does each night."""
        on = self._on
        for key, site in on.sites.items():
            book = None if key in on.hubs else deepcopy(on.checker.house(key))
            files = deepcopy(on.checker.files) if key == HUB_NAME else {}
            site.backups.append(Backup(on.world.time, copied(site.disk), book, files))
            del site.backups[:-BACKUPS_KEPT]

    def _put_back(self, chance: random.Random) -> None:
        """A node is put back to what it was: from a backup, by a file copied over, by a machine rolled back.

        It may have gone on for a while, unheard, before its hub speaks to it: then it holds another history.
        """
        on = self._on
        key = chance.choice(HOUSES)
        site = on.sites[key]
        backup = chance.choice(site.backups)
        if (
            backup.book is None
            or on.world.time < on.dark_until
            or backup.book.revision >= on.checker.house(key).revision
        ):
            return
        self.put_back(key, backup)
        if chance.random() < UNHEARD_SHARE:
            on.network.counts["node put back went on unheard"] += 1
            self._apart(HUB_NAME, site.name, chance.uniform(60.0, 900.0))

    def put_back(self, key: str, backup: Backup) -> None:
        """That node is killed and put back to that backup; it is started again after a while."""
        on, site = self._on, self._on.sites[key]
        on.network.counts["node put back to an older state"] += 1
        on.kill(key)
        on.world.note(site.name, f"is put back to what it was at {backup.time:.0f} s")
        put_back(site.disk, backup.disk)
        site.faults.left = None
        on.checker.put_back(key, deepcopy(backup.book or House(key)))
        site.forgotten.append((backup.time, on.world.time))

    def _put_hub_back(self, chance: random.Random) -> None:
        """The hub is put back to what it was: by our command, which says so, or as a machine that is rolled back."""
        on = self._on
        backup = chance.choice(on.sites[HUB_NAME].backups)
        if on.world.time >= on.dark_until and backup.files != on.checker.files:
            self.put_hub_back(backup, by_command=chance.random() < BY_COMMAND_SHARE)

    def put_hub_back(self, backup: Backup, *, by_command: bool) -> None:
        """The hub is killed and put back to that backup: by our command, which says so, or as a machine is."""
        on = self._on
        on.network.counts["hub put back by command" if by_command else "hub rolled back in silence"] += 1
        for key in on.hubs:
            on.kill(key)
        on.world.note(HUB_NAME, f"is put back to what it was at {backup.time:.0f} s")
        origin = Origin(1 + int(on.world.time), restored_at=EPOCH + timedelta(seconds=on.world.time))
        self._replace(backup, origin if by_command else None)
        on.checker.put_hub_back(deepcopy(backup.files), by_command=by_command)
        for key in on.hubs:
            on.sites[key].forgotten.append((backup.time, on.world.time))

    def _replace(self, backup: Backup, origin: Origin | None) -> None:
        """What the hub has stored is what it had then; `origin` is what our command writes in it."""
        disk = self._on.sites[HUB_NAME].disk
        put_back(disk, backup.disk)
        if origin is not None:
            begin_anew(disk, origin)

    def _apart(self, one: str, other: str, seconds: float) -> None:
        network, ways = self._on.network, ((one, other), (other, one))
        for way in ways:
            network.block(*way)

        def heal() -> None:
            for way in ways:
                network.heal(*way)

        self._on.world.after(seconds, heal)

    def _cut_off(self, chance: random.Random) -> None:
        """A house is cut off from its hub and goes on; the next time this befalls, days pass with everything off.

        What ended unheard meanwhile is past being told then: the hub has to ask after it.
        """
        on = self._on
        if on.world.time >= self._cut_until:
            seconds = CUT_OFF_SECONDS * chance.uniform(0.5, 1.5)
            self._cut_until = on.world.time + seconds
            self._apart(HUB_NAME, f"node-{chance.choice(HOUSES)}", seconds)
            return
        on.network.counts["house cut off, then off for days"] += 1
        self.dark(86_400.0 * chance.uniform(1.0, 1.5))

    def _night(self, chance: random.Random) -> None:
        """Everything is off for days."""
        self.dark(86_400.0 * chance.choice((0.5, 2.0, 8.0)))

    def dark(self, seconds: float) -> None:
        """Everything is off for so long."""
        on = self._on
        on.network.counts["everything off for days"] += 1
        on.dark_until = on.world.time + seconds
        for key in on.sites:
            on.kill(key)
            on.start(key)
        on.go(seconds)
