"""A simulated territory: three houses, a hub and everyone around them, under faults, from one seed.

A run is so many *steps*. Each is an act of somebody or a fault, then some time; what it is follows from the seed, the
step's number and what is there then, so a step can be left out and the others stay what they were. After the steps
faults stop, everything is given time to arrive, and the territory must agree; then every message that was ever answered
is brought again, and must change nothing.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from aval.hub.store.memory import MemoryStore as HubMemory
from aval.node.ports import StorageUnavailable
from aval.node.store.memory import MemoryStore as NodeMemory
from tests.simulation.beginning import declare, follow
from tests.simulation.checker import Checker, request_of
from tests.simulation.compose import HubParts, NodeParts, logs_in
from tests.simulation.disks import Device, DiskFaults, HubStore, NodeStore
from tests.simulation.goals import directed, leap_seconds
from tests.simulation.mishaps import Backup, Mishaps
from tests.simulation.people import ACTS, HOUSES, HUB_NAME, WEIGHTS, Deed, People, on_file, read_orphans
from tests.simulation.report import Report
from tests.simulation.screens import screen
from tests.simulation.wire import EXCHANGE, Carried, Faults, Network
from tests.simulation.world import EPOCH, Process, World

QUIET_SECONDS = 1200.0
"""Time given to everything to arrive once faults have stopped: the hub tries a refused release again after ten minutes,
and what is bounded is bounded by that, two back-offs and a watch."""

QUIET_TURNS_MAX = 20_000
"""Turns of all processes in that time, with much to catch up on: whoever finds something due again and again, and does
nothing about it, takes ten times as many."""

SHOWN_SECONDS = 60.0
"""Time given to a list that people ask for once faults have stopped."""

ENDED_SECONDS = 32 * 86_400.0
"""After so long the last open request is over (30 days), and details are forgotten."""

FORGOTTEN_SECONDS = 401 * 86_400.0
"""After so long more a hub drops what was over then (400 days, by its hourly look)."""

ENDED_REST_SECONDS = 900.0
"""Time given to what is due then to be done, and told."""

LATE_COMMANDS_MAX = 120
"""Old commands brought again after that, creations first, and as many acts of regulators."""

SOUND_SECONDS = 30.0
"""A node that has run so long with a sound disk has resolved every hold that was due before."""

OF_RESERVATIONS = (EXCHANGE, "/aval.v1.ReservationService/")
"""How the methods begin by which hub and staff act on a reservation."""

NOT_DECIDED = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED", "DEADLINE_EXCEEDED", "UNAUTHENTICATED")
"""Answers that say: send the same again. Such a message has had no first answer yet."""

BY_TIME = ("late", "overdue", "reopening_asked", "slipped", "closed")
"""Fields of a house's facts that time alone may change."""

KINDS = ("reservation", "stay", "bed", "places", "unit", "closure", "parked")
"""Kinds of facts that a message brought again must leave as they are."""

FAULT_SHARE = 0.13
"""How many of the steps are faults."""

DIRECTED_SHARE = 0.5
"""How many of the acts look for what was not met yet."""

BACKUP_SHARE = 0.03
"""How many steps end with a backup of every machine."""

LEAP_SHARE = 0.02
"""How often people wait for a demand to lapse, while that has not been met."""

DARK_SHARE = 0.7
"""How often the days of such a wait are passed with everything off: what is due is then found at the next start."""

DRIFT_SECONDS_MIN = 1.0
"""A process whose clock has gone off by so much in its life has drifted."""


class Violation(Exception):
    """An invariant was broken, or something broke. `step` is the last step begun."""

    def __init__(self, seed: int, step: int, problems: Sequence[str], trace: Sequence[str]) -> None:
        self.seed = seed
        self.step = step
        self.problems = tuple(problems)
        self.trace = tuple(trace)
        super().__init__(f"seed {seed}, step {step}: {problems[0] if problems else '?'}")


class Site:
    """A machine: a disk that lasts, and the process that runs there now, if one does."""

    def __init__(self, name: str, disk: Any, chance: random.Random) -> None:
        self.name = name
        self.disk = disk
        self.faults = DiskFaults()
        self.rate = 1.0 + chance.uniform(-3e-4, 3e-4)
        self.wall = timedelta(seconds=chance.uniform(-3.0, 3.0))
        self.process: Process | None = None
        self.parts: NodeParts | HubParts | None = None
        self.sound_since = 0.0
        self.backups: list[Backup] = []
        self.forgotten: list[tuple[float, float]] = []
        """From when to when what was done there was lost, by going back to a backup."""

    @property
    def up(self) -> bool:
        """Whether a process runs there."""
        return self.process is not None and self.process.alive


class Simulation:
    """One run. `quiet_wire` runs without any fault."""

    hubs: tuple[str, ...] = (HUB_NAME,)
    """The sites where a hub runs."""

    dark_share = DARK_SHARE
    away_seconds: tuple[float, ...] = (0.2, 5.0, 60.0, 900.0)
    """How long it takes, about, until somebody starts a process again."""

    quiet_turns_max = QUIET_TURNS_MAX

    def __init__(self, seed: int, *, faulty: bool = True, without: frozenset[int] = frozenset()) -> None:
        self.seed = seed
        self.world = World(seed)
        self.faulty = faulty
        self._without = without
        self.network = Network(self.world, Faults())
        self.checker = Checker(self.world.problems.append)
        self.network.heard = self.checker.heard
        self.network.sent = self.checker.sent
        chance = self.world.chance("sites")
        self.sites = {finess: Site(f"node-{finess}", NodeMemory(chance.getrandbits(63)), chance) for finess in HOUSES}
        for finess in HOUSES:
            self.checker.house(finess).incarnation = vars(self.sites[finess].disk)["_incarnation"]
        self.sites[HUB_NAME] = Site(HUB_NAME, HubMemory(), chance)
        self.checker.hub_time = self._hub_time
        self.checker.time = lambda: self.world.time
        self._disk_chance = self.world.chance("disks")
        self.people = People(self.world, self.network, self.checker)
        self.mishaps = Mishaps(self)
        self.dark_until = 0.0
        self.step = -1
        self.report = Report(seed)

    # Processes

    def start(self, key: str) -> None:
        """Starts the process of a site, if none runs there."""
        site = self.sites[key]
        if site.up:
            return
        if self.world.time < self.dark_until:
            self.world.at(self.dark_until, lambda: self.start(key))
            return
        process = self.world.process(site.name, rate=site.rate, wall_offset=site.wall)
        site.process, site.sound_since = process, self.world.time
        device = Device(process, site.faults, self._disk_chance, self.network.counts, lambda: self.kill(key))
        self.world.note(site.name, "starts")
        if key not in self.hubs and process.clock.now() < self.checker.house(key).as_of:
            self.network.counts["started with a clock behind its last commit"] += 1
        if key in self.hubs:
            site.parts = self._hub(key, process, device)
        else:
            committed = partial(self.checker.node_committed, key)
            site.parts = NodeParts(self.network, process, NodeStore(site.disk, device, committed), key)
        process.spawn(site.parts.run()).add_done_callback(lambda task: self._ended(key, process, task))

    def _hub(self, key: str, process: Process, device: Device) -> HubParts:
        store = HubStore(self.sites[key].disk, device, self.checker.hub_committed, self.checker.unheard.update)
        return HubParts(self.network, process, store)

    def _ended(self, key: str, process: Process, task: asyncio.Task[None]) -> None:
        """A node ends where its store cannot be read at start, and is started again; else no program should."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, StorageUnavailable):
            self.world.note(process.name, "cannot start: its store is not to be read")
            self.kill(key)
        elif process.alive:
            where = traceback.extract_tb(error.__traceback__)[-1] if error is not None else None
            self.world.problems.append(f"{process} ended: {error!r} at {where}")

    def kill(self, key: str) -> None:
        """Kills the process of a site; it is started again after a while."""
        site = self.sites[key]
        if not site.up or site.process is None:
            return
        self.world.note(site.name, "is killed")
        if key in self.hubs and any(file["rows"] for file in self.checker.files.values()):
            self.network.counts["hub killed with unsent rows"] += 1
        self._count_drift(site.process)
        self.world.kill(site.process)
        self.network.died(site.process)
        away = self._disk_chance.choice(self.away_seconds) * self._disk_chance.uniform(0.5, 1.5)
        self.world.after(away, lambda: self.start(key))

    def _count_drift(self, process: Process) -> None:
        if abs(process.drift()) > DRIFT_SECONDS_MIN:
            self.network.counts["clock drift of over a second"] += 1

    # A run

    def begin(self) -> None:
        """The first day: everything starts, every house declares its units."""
        for key in self.sites:
            self.start(key)
        self._open_screens()
        self.go(2.0)
        chance = self.world.chance("first day")
        for finess in HOUSES:
            self.people.process.spawn(follow(self.people, self.world.chance(f"screen/{finess}"), finess))
            for message in declare(finess):
                message.command_id = self.people.uuid(chance)
                self.people.process.spawn(
                    self.people.call(self.people.census(finess), "DeclareUnit", message, chance, finess)
                )
        self.go(60.0)
        if self.faulty:
            self.mishaps.back_up()
            self._worsen()

    def _open_screens(self) -> None:
        self.people.process.spawn(screen(self.people, self.world.chance("screen")))

    def _worsen(self) -> None:
        chance = self.world.chance("weather")
        wire, scale = self.network.faults, chance.choice((0.3, 1.0, 2.0))
        wire.cut, wire.slow, wire.very_slow = 0.012 * scale, 0.03 * scale, 0.004 * scale
        wire.again, wire.half_open = 0.06 * scale, 0.3
        for site in self.sites.values():
            faults = site.faults
            faults.fail, faults.unknown = 0.01 * scale, 0.006 * scale
            faults.crash_before, faults.crash_after = 0.004 * scale, 0.008 * scale
            faults.rerun = 0.1 if site.name in self.hubs else 0.0

    def run(self, steps: int) -> Report:
        """Runs so many steps, then the quiet and the replay. Raises `Violation`."""
        with logs_in(self.world):
            return self._run(steps)

    def _run(self, steps: int) -> Report:
        try:
            self.begin()
            for number in range(steps):
                self.step = number
                if number not in self._without:
                    self._step(random.Random(f"{self.seed}/step/{number}"))
                self.report.steps += 1
            self.quieten()
            self.bring_everything_again()
            self.let_everything_end()
            self.let_everything_be_forgotten()
        finally:
            self._sum_up()
            self.world.close()
        return self.report

    def _sum_up(self) -> None:
        report = self.report
        report.hours = self.world.time / 3600
        report.acts.update(self.people.outcomes)
        report.coverage.update(self.checker.coverage)
        report.checks.update(self.checker.checks)
        report.turns = self.world.turns
        for site in self.sites.values():
            if site.process is not None and site.up:
                self._count_drift(site.process)
        report.faults.update(self.network.counts)
        for house in self.checker.houses.values():
            report.faults["policy changed under live reservations"] += house.policies_changed
            report.checks["bed histories followed"] += house.takings

    def violation(self) -> Violation:
        """What has been found, with its trace."""
        lines = [f"{time:12.3f}  {who:16} {what}" for time, who, what in self.world.trace[-120:]]
        return Violation(self.seed, self.step, self.world.problems, lines)

    def go(self, seconds: float) -> None:
        """Lets time pass. Raises `Violation` as soon as there is a problem."""
        self.world.run_until(self.world.time + seconds, lambda: bool(self.world.problems))
        if self.world.problems:
            raise self.violation()

    def _step(self, chance: random.Random) -> None:
        leap = leap_seconds(self.people) if self.faulty and chance.random() < LEAP_SHARE else None
        if self.faulty and chance.random() < FAULT_SHARE:
            self.mishaps.befall(chance)
        else:
            self._act(chance)
        if leap is not None and chance.random() < self.dark_share:
            self.mishaps.dark(leap)
            leap = None
        self.go(leap or self._pause(chance))
        self._check_holds()
        self._check_screens()
        if self.faulty and chance.random() < BACKUP_SHARE:
            self.mishaps.back_up()

    def _pause(self, chance: random.Random) -> float:
        return _pause(chance)

    def _act(self, chance: random.Random) -> None:
        deed = directed(self.people, chance) if chance.random() < DIRECTED_SHARE else None
        if deed is None:
            _, act = chance.choices(ACTS, WEIGHTS)[0]
            deed = act(self.people, chance)
        self._spawn(deed)

    def _spawn(self, deed: Deed | None) -> None:
        if deed is not None:
            self.people.process.spawn(deed)

    def _check_holds(self) -> None:
        """Every HELD of a running node resolves, whatever becomes of the hub."""
        for finess in HOUSES:
            site, house = self.sites[finess], self.checker.house(finess)
            if not site.up or site.process is None or site.faults.down:
                site.sound_since = self.world.time
                continue
            if self.world.time - site.sound_since < SOUND_SECONDS or not isinstance(site.parts, NodeParts):
                continue
            for problem in house.overdue(site.parts.now() - timedelta(seconds=SOUND_SECONDS / 2)):
                self.world.problems.append(f"{finess}: {problem}")
        if self.world.problems:
            raise self.violation()

    def _check_screens(self) -> None:
        self.world.problems.extend(self.checker.unsaid(self.network.calls, self.world.time))
        if self.world.problems:
            raise self.violation()

    # The end

    def quieten(self) -> None:
        """Faults stop; after a bounded time hub and nodes agree."""
        self.world.note("simulation", "faults stop")
        self.network.faults.stop()
        self.network.heal_all()
        self.network.lapsed.clear()
        for key, site in self.sites.items():
            site.faults.stop()
            self.start(key)
        self._agree()
        if self._looked_at():
            self._agree()

    def _agree(self) -> None:
        """After a bounded time all agree; people are shown what no request holds."""
        turns = self.world.turns
        self.go(QUIET_SECONDS)
        if self.world.turns - turns > self.quiet_turns_max:
            self.world.problems.append(f"nothing comes to rest: {self.world.turns - turns} turns in the quiet")
        self.people.process.spawn(read_orphans(self.people, self.world.chance("orphans")))
        self.go(SHOWN_SECONDS)
        self.world.problems.extend(self._unquiet())
        if self.world.problems:
            raise self.violation()

    def _looked_at(self) -> bool:
        """People look at each request of which a hub that was put back may have forgotten something, if there is one.

        From then on it is as any other.
        """
        chance = self.world.chance("set back")
        files = [file for file in self.checker.files.values() if file["request"].get("set_back")]
        for file in files:
            self._spawn(on_file(self.people, chance, "TakeOver", file))
        return bool(files)

    def _unquiet(self) -> Iterator[str]:
        """What does not agree though it had time to."""
        yield from self.checker.quiet(self._hub_time())

    def bring_everything_again(self) -> None:
        """Every message that was answered is brought again, in any order: nothing changes (DESIGN §8.5)."""
        answered = [one for one in self.network.carried if self._was_decided(one)]
        chance = self.world.chance("again")
        chance.shuffle(answered)
        before = self._stored()
        for one in answered:
            self.network.bring_again(one)
            self.go(0.2)
            after = self._stored()
            changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
            # Time goes on meanwhile: what lapses, and what follows from it, is nobody's message.
            if changed and not any("EXPIRED" in str(after.get(name)) for name in changed):
                told = "; ".join(f"{name}: {before.get(name)} → {after.get(name)}" for name in changed)
                self.world.problems.append(f"{one.method} (answered {one.fate}) brought again changed {told}")
                raise self.violation()
            before = after
        self.report.checks["messages brought again at the end"] += len(answered)

    def let_everything_end(self) -> None:
        """Nobody says anything for weeks, with everything off; then every request and every hold is over.

        Old commands and acts come once more: what was forgotten in detail must still be known by its id.
        """
        self.mishaps.dark(ENDED_SECONDS)
        self.go(ENDED_REST_SECONDS)
        self.world.problems.extend(self.checker.unended(self._hub_time()))
        decided = [one for one in self.network.carried if self._was_decided(one)]
        commands = [one for one in decided if one.method.startswith(OF_RESERVATIONS)]
        commands.sort(key=lambda one: not _creates(one))
        hubs = {f"{self.sites[key].name}:" for key in self.hubs}
        acts = [one for one in decided if one.address.startswith(tuple(hubs))]
        before = self._stored()
        for one in (*commands[:LATE_COMMANDS_MAX], *acts[:LATE_COMMANDS_MAX]):
            self.network.bring_again(one)
        self.go(2.0)
        changed = sorted(name for name, fact in self._stored().items() if before.get(name) != fact)
        if changed:
            self.world.problems.append(f"old commands and acts, weeks later, changed {changed}")
        if self.world.problems:
            raise self.violation()

    def let_everything_be_forgotten(self) -> None:
        """More than a year goes by: what is over has left the hub's store, and nothing else has."""
        self.mishaps.dark(FORGOTTEN_SECONDS)
        self.go(ENDED_REST_SECONDS)
        self.world.problems.extend(self.checker.unforgotten())
        if self.world.problems:
            raise self.violation()

    def _hub_time(self) -> datetime:
        """What the hub's clock says."""
        return EPOCH + timedelta(seconds=self.world.time) + max(self.sites[key].wall for key in self.hubs)

    def _was_decided(self, one: Carried) -> bool:
        """Whether a message had its first answer, and its receiver has not been put back to before that."""
        site = next(site for site in self.sites.values() if one.address.startswith(f"{site.name}:"))
        lost = _within(one.at, site) or (one.method == EXCHANGE and self._was_forgotten(one))
        if one.fate and one.fate[-1] == "NOT_FOUND" and site.name in self.hubs and site.forgotten:
            return False  # a hub that was put back learns again of what it did not find
        return bool(one.fate) and one.fate[-1] not in NOT_DECIDED and not lost

    def _was_forgotten(self, one: Carried) -> bool:
        """Whether a command was refused for the moment, and its hub put back before it was sent again."""
        if not _within(one.at, self.sites[HUB_NAME]):
            return False
        command = request_of(EXCHANGE, one.body).command
        row = getattr(command, command.WhichOneof("verb")).header.command_id
        return not any(key.endswith(row) for finess in HOUSES for key in self.checker.house(finess).of("command"))

    def _stored(self) -> dict[str, object]:
        """What all have stored, as far as the checker has seen it; time's own work does not count."""
        states: dict[str, object] = {}
        for finess in HOUSES:
            house = self.checker.house(finess)
            for kind in KINDS:
                for key, fact in house.of(kind).items():
                    states[f"{finess}/{kind}/{key}"] = {k: v for k, v in fact.items() if k not in BY_TIME}
        for name, file in self.checker.files.items():
            request = file["request"]
            state, subject = request.get("state", "OPEN"), request.get("subject")
            states[name] = (state, subject, len(file["asks"]), request.get("handler"))
        return states


def _within(at: float, site: Site) -> bool:
    """Whether what arrived then at that machine, or left it, may have been lost as it was put back."""
    return any(start - QUIET_SECONDS <= at <= end for start, end in site.forgotten)


def _creates(one: Carried) -> bool:
    return one.method == EXCHANGE and request_of(EXCHANGE, one.body).command.HasField("create")


def _pause(chance: random.Random) -> float:
    """How long until the next step: mostly a moment, at times hours."""
    draw = chance.random()
    for share, low, high in ((0.56, 0.01, 1.0), (0.29, 1.0, 30.0), (0.13, 30.0, 900.0), (0.018, 900.0, 10_000.0)):
        if draw < share:
            return chance.uniform(low, high)
        draw -= share
    return chance.uniform(10_000.0, 60_000.0)
