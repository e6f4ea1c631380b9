"""What must hold between hubs that share a database: checked after every commit and message, and when all is quiet.

As the checker, it looks at what was stored and what was said, and asks no hub anything but by RPC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from aval.v1 import availability_pb2 as av
from tests.simulation.checker import answer_of, request_of
from tests.simulation.people import HOUSES
from tests.simulation.shared_disk import LeaseRow, SharedWork
from tests.simulation.wire import EXCHANGE, Call, Server

if TYPE_CHECKING:
    from tests.simulation.several import Several

WATCH = "/aval.v1.AvailabilityService/WatchAvailability"
OF_REQUESTS = "/aval.v1.RequestService/"
LIST_UNITS = "/aval.v1.AvailabilityService/ListUnits"

SHOWN_SECONDS_MAX = 20.0
"""A picture that one hub has stored so long ago is shown by the other; see `SAID_SECONDS_MAX`."""

FREE_SECONDS_MAX = 15.0
"""A lease that is free is taken by a hub that can: each looks every two seconds, or is refused and looks again."""

IDLE_SECONDS_MAX = 30.0
"""A hub that was not stopped knows when its lease is over, at most one work that waits in vain later."""

Head = tuple[float, int, int]
"""When a picture was stored, and at which incarnation and revision."""


class Together:
    """Watches the database, and what is said to nodes and to people."""

    def __init__(self, on: Several) -> None:
        self._on = on
        self._epochs: dict[str, int] = {}
        self._highest: dict[str, int] = defaultdict(int)
        """The highest epoch that a hub has ever held, of each house."""
        self._heads: dict[str, list[Head]] = defaultdict(list)
        self._hubs_of: dict[str, set[str]] = defaultdict(set)
        """By the id of a command or an act: the hubs that sent it, or were told it."""
        self._free_since: dict[tuple[str, int], float] = {}
        self._idle_since: dict[Call, float] = {}
        on.disk.committed = self.committed
        on.network.sent = self.sent
        on.network.heard = self.heard

    # What is stored

    def committed(self, replica: int, work: SharedWork) -> None:
        """A hub's transaction was stored: words of a node, and commands to it, under the lease of that hub alone."""
        on, leases = self._on, self._on.disk.rows.leases
        on.network.counts["lease moved"] += len(work.moved)
        for finess in sorted(work.words_of):
            on.checker.checks["works under a lease"] += 1
            row = leases.get(finess, LeaseRow())
            if row.holder != replica:
                on.world.problems.append(
                    f"hub {replica} stores words of {finess}, whose lease hub {row.holder} holds (epoch {row.epoch})"
                )
        for finess, row in leases.items():
            if row.epoch < self._epochs.get(finess, 0):
                on.world.problems.append(f"the epoch of {finess} goes back to {row.epoch}")
            self._epochs[finess] = row.epoch
            self._highest[finess] = max(row.epoch, self._highest[finess])
        for finess, cursor in work.heads_saved.items():
            heads = self._heads[finess]
            if heads and heads[-1][1] == cursor.incarnation and heads[-1][2] > cursor.revision:
                on.world.problems.append(
                    f"hub {replica} stores {finess} at revision {cursor.revision}, after {heads[-1][2]}"
                )
            heads.append((on.world.time, cursor.incarnation, cursor.revision))

    def put_back(self, *, by_command: bool) -> None:
        """The database holds what it held before: what counts as stored, and whose leases are which.

        Our command leaves no lease to a hub that still runs somewhere: no epoch after it is one that was before.
        """
        on, disk = self._on, self._on.disk
        for finess, row in disk.rows.leases.items():
            if by_command and row.epoch <= self._highest[finess]:
                on.world.problems.append(
                    f"{finess} is put back at epoch {row.epoch}, and a hub has held it at {self._highest[finess]}"
                )
        self._epochs = {finess: row.epoch for finess, row in disk.rows.leases.items()}
        self._heads.clear()
        for cursor in disk.cursors():
            self._heads[cursor.establishment].append((on.world.time, cursor.incarnation, cursor.revision))

    # What is said

    def sent(self, call: Call, body: bytes) -> None:
        """A client has sent a message: a command may be sent by two hubs, an act be said at both."""
        on = self._on
        on.checker.sent(call, body)
        if call.method == EXCHANGE and not call.ghost:
            command = request_of(call.method, body).command
            row = getattr(command, command.WhichOneof("verb")).header.command_id
            self._count_second(row, call.client.name, "command sent by two hubs")
        elif call.method.startswith(OF_REQUESTS):
            message = request_of(call.method, body)
            act = getattr(message, "command_id", "") or getattr(message, "request_id", "")
            self._count_second(act, call.server.process.name, "act said at both hubs")

    def _count_second(self, what: str, hub: str, kind: str) -> None:
        met = self._hubs_of[what]
        if what and met and hub not in met:
            self._on.network.counts[kind] += 1
        met.add(hub)

    def heard(self, server: Server, call: Call, body: bytes) -> None:
        """A server has sent a message."""
        on = self._on
        on.checker.heard(server, call, body)
        if call.method == LIST_UNITS and server.finess is None and on.is_sound(server.process.name):
            for cursor in answer_of(call.method, body).cursors:
                finess = cursor.establishment.rsplit("/", 1)[1]
                row = on.disk.rows.leases.get(finess, LeaseRow())
                if row.holder >= 0 and on.hubs[row.holder] == server.process.name:
                    continue  # what it stored without knowing so, its node tells it again
                if not self._is_young(finess, cursor.incarnation, cursor.revision):
                    on.world.problems.append(
                        f"{server.process.name} shows {finess} at revision {cursor.revision}, and another was stored"
                        f" more than {SHOWN_SECONDS_MAX} s ago: {self._heads[finess][-3:]}"
                    )

    def _is_young(self, finess: str, incarnation: int, revision: int) -> bool:
        """Whether no later picture had been stored for long."""
        self._on.checker.checks["pictures compared with what another hub stored"] += 1
        since = self._on.world.time - SHOWN_SECONDS_MAX
        heads = self._heads[finess]
        old = [head for head in heads if head[0] <= since]
        if not old or (incarnation, revision) == old[-1][1:]:
            return True
        return (incarnation, revision) in {head[1:] for head in heads[len(old) :]}

    # While time passes

    def unfollowed(self) -> Iterator[str]:
        """Looks at who follows each node: what is free is soon taken, and who has lost a lease soon follows no more."""
        on, now = self._on, self._on.world.time
        waiting, self._free_since = self._free_since, {}
        sound = [key for key in on.hubs if on.is_sound(key)]
        for finess in HOUSES:
            row = on.disk.rows.leases.get(finess, LeaseRow())
            if row.until <= now and sound:
                # Of that epoch: between two looks it may have been taken, and left again to a hub that has just begun.
                since = self._free_since[finess, row.epoch] = waiting.get((finess, row.epoch), now)
                if now - since > FREE_SECONDS_MAX:
                    yield f"{finess} is followed by nobody since {since:.0f} s, and {sound} could"
        lasting, self._idle_since = self._idle_since, {}
        for call in on.network.calls:
            if call.method != WATCH or call.server.finess is None or call.client.name not in on.hubs:
                continue
            row = on.disk.rows.leases.get(call.server.finess, LeaseRow())
            holds = row.holder >= 0 and on.hubs[row.holder] == call.client.name and row.until > now
            if holds or call.status is not None or not call.client.alive or call.client.stopped:
                continue
            since = self._idle_since[call] = lasting.get(call, now)
            if now - since > IDLE_SECONDS_MAX:
                yield f"{call.client.name} follows {call.server.finess} since {since:.0f} s without its lease"

    # When all is quiet

    def unquiet(self) -> Iterator[str]:
        """Each node is followed by one hub, that which holds its lease; each hub has a share; both show the same."""
        on, now = self._on, self._on.world.time
        holders = set()
        for finess in HOUSES:
            row = on.disk.rows.leases.get(finess, LeaseRow())
            holders.add(row.holder)
            if row.until <= now:
                yield f"nobody holds the lease of {finess}: {row}"
            followers = [call.client.name for call in on.network.calls if self._follows(call, WATCH, finess)]
            if followers != [on.hubs[row.holder]]:
                yield f"{finess} is followed by {followers}; hub {row.holder} holds its lease"
            carriers = {call.client.name for call in on.network.calls if self._follows(call, EXCHANGE, finess)}
            if not carriers <= {on.hubs[row.holder]}:
                yield f"commands to {finess} are carried by {carriers}; hub {row.holder} holds its lease"
        if holders != set(range(len(on.hubs))):
            yield f"the nodes are shared out to hubs {holders}"

    @staticmethod
    def unlike(finess: str, revision: int, answer: av.ListUnitsResponse | None) -> Iterator[str]:
        """What a hub shows of a house, and should not, where everybody has heard its node at that revision."""
        if answer is None or not answer.cursors:
            yield f"shows nothing of {finess}"
            return
        if answer.cursors[0].revision < revision:
            yield f"shows {finess} at revision {answer.cursors[0].revision}; it stands at {revision}"
        silent = [unit.name for unit in answer.units if unit.freshness == av.FRESHNESS_UNREACHABLE]
        if silent:
            yield f"shows {silent} as of a node that nobody hears"

    def _follows(self, call: Call, method: str, finess: str) -> bool:
        from_hub = call.client.name in self._on.hubs
        return from_hub and call.method == method and call.server.finess == finess and call.is_served
