"""Head to head: what the same software of others gets wrong, asked of ours over the wire, between real processes.

A known peer, asked for its last bed by two at once, gave it to both, 100 times in 100; it approved 100 transfers into
35 free beds, and took every illegal step. Here the callers are programs in eight processes that wait at a gate and ask
at once. `make test` plays some rounds of each race; `make claims` plays a hundred.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from aval.adapters.demo.building import HUB
from aval.adapters.demo.cast import target
from aval.adapters.pki import issue, load_authority
from aval.kernel.finess import FinessET
from aval.kernel.identity import Staff
from aval.kernel.identity import Territory as Name
from aval.v1 import request_pb2
from tests.scenarios.callers import Outcome, Report, Round
from tests.scenarios.inquest import rows
from tests.scenarios.test_swapped_certificates import metric
from tests.scenarios.town import HOSPITAL, PARTNER, SMR, WITHIN_SECONDS, Play, Town, raise_town
from tests.waiting import until

PROCESSES = 8
IDENTITIES = 4
"""Two processes share a regulator's certificate: one program, run twice."""

ALL_ROUNDS = os.environ.get("AVAL_CLAIMS_ROUNDS")
"""How many rounds of each race; `make claims` says 100."""

UNIT_OF_MANY = 35
INTO_IT = 100
SAME_REQUEST = 30

Wish = request_pb2.CreateRequestRequest

pytestmark = pytest.mark.timeout(3600 if ALL_ROUNDS else 120)


class Arena:
    """Hub, two nodes, and eight processes of callers before a gate."""

    def __init__(self, town: Town, folder: Path) -> None:
        self.town = town
        authority, name = load_authority(town.folder / "pki"), Name(town.file.territory)
        gate, self._gate = os.pipe()
        self._processes = []
        for number in range(PROCESSES):
            bundle = folder / f"regulator-{number % IDENTITIES}"
            if not bundle.exists():
                identity = Staff(name, FinessET(HOSPITAL), bundle.name)
                issue(authority, identity, datetime.now(UTC)).write(bundle)
            words = [sys.executable, "-m", "tests.scenarios.callers", str(bundle), town.hub.address, str(gate)]
            log = (folder / f"callers-{number}.log").open("wb")
            with log:
                process = subprocess.Popen(
                    words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, pass_fds=[gate]
                )
            self._processes.append(process)
        os.close(gate)
        for process in self._processes:
            assert self._report(process) == Report([])

    def play(self, shares: Sequence[Sequence[Wish]], *, alternatives: bool = True) -> list[list[Outcome]]:
        """One round: each process gets its share; when all wait at the gate, it opens. What became of each share."""
        playing = [(one, share) for one, share in zip(self._processes, shares, strict=True) if share]
        for process, share in playing:
            self._order(process, Round([message.SerializeToString() for message in share], alternatives))
        for process, _ in playing:
            assert self._report(process) == Report([])
        os.write(self._gate, b"." * len(playing))
        return [self._report(one).outcomes if share else [] for one, share in zip(self._processes, shares, strict=True)]

    def cancel(self, outcomes: Sequence[Sequence[Outcome]]) -> None:
        """Each process takes back what it asked; all is released when this returns."""
        asked = [(one, share) for one, share in zip(self._processes, outcomes, strict=True) if share]
        for process, share in asked:
            self._order(process, Round(cancelled=[one.name for one in share]))
        for process, _ in asked:
            assert self._report(process) == Report([])

    def close(self) -> None:
        """Everybody leaves."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            assert process.wait(WITHIN_SECONDS) == 0
            assert process.stdout is not None
            process.stdout.close()
        os.close(self._gate)

    def _order(self, process: subprocess.Popen[bytes], order: Round) -> None:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        process.stdin.flush()

    def _report(self, process: subprocess.Popen[bytes]) -> Report:
        assert process.stdout is not None
        return msgspec.json.decode(process.stdout.readline(), type=Report)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A town of its own, since thousands of requests are made in it; only the houses that are asked run."""
    built = raise_town(tmp_path_factory.mktemp("claims") / "territory")
    try:
        for house in (SMR, PARTNER):
            built.move_node(house, built.node(house).address)
        asyncio.run(built.start([HUB]))
        asyncio.run(built.start([SMR, PARTNER]))
        yield built
    finally:
        asyncio.run(built.down())


@pytest.fixture(scope="module")
def arena(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """The callers, connected."""
    found = Arena(town, tmp_path_factory.mktemp("callers"))
    yield found
    found.close()


def shared_out(
    messages: Sequence[request_pb2.CreateRequestRequest], first: int
) -> list[list[request_pb2.CreateRequestRequest]]:
    """To each process its share, beginning with another one each round."""
    shares: list[list[request_pb2.CreateRequestRequest]] = [[] for _ in range(PROCESSES)]
    for number, message in enumerate(messages):
        shares[(first + number) % PROCESSES].append(message)
    return shares


def granted(town: Town, unit: str) -> dict[str, bool]:
    """Of each reservation ever made of a unit: whether its node ever granted it a bed, from its file."""
    code = unit.rsplit("/", 1)[1]
    bodies = (json.loads(body) for (body,) in rows(town.database(SMR), "SELECT body FROM reservation"))
    return {one["id"]: one["granted"] is not None for one in bodies if one["unit"] == code}


def batches(town: Town) -> tuple[float, float]:
    """Commits of the node so far: all, and those that held two commands or more."""
    count = metric(town, SMR, "aval_commit_batch_size_count")
    return count, count - metric(town, SMR, 'aval_commit_batch_size_bucket{le="1.0"}')


@pytest.mark.parametrize(("callers", "rounds"), [(2, 20), (8, 12), (64, 4)])
async def test_the_last_bed_has_one_winner_and_the_losers_are_told_what_is_left(
    play: Play, town: Town, arena: Arena, figure: Callable[[str], None], callers: int, rounds: int
) -> None:
    """Each round one bed, and so many programs that want it in the same instant, let go by one write into a pipe."""
    rounds = int(ALL_ROUNDS or rounds)
    unit, elsewhere = await play.declare(SMR, beds=1), await play.declare(PARTNER, beds=1)
    await until(lambda: play.known_at_hub(unit), WITHIN_SECONDS, "the hub has heard of the unit")
    await until(lambda: play.known_at_hub(elsewhere), WITHIN_SECONDS, "the hub has heard of the other unit")
    before = batches(town)
    sent_ms, decided_ms, winners = [], [], []
    for number in range(rounds):
        wishes = [play.wish(target(unit, hold=True)) for _ in range(callers)]
        shares = arena.play(shared_out(wishes, number))
        outcomes = [one for share in shares for one in share]
        assert len({one.reservation for one in outcomes}) == callers
        won = [one for one in outcomes if one.state == "HELD"]
        lost = [one for one in outcomes if one.state != "HELD"]
        assert len(won) == 1, f"{len(won)} winners of {callers}"
        assert {one.state for one in lost} <= {"ASKED"}
        assert all(elsewhere in one.alternatives for one in lost)
        assert [bed.claim for bed in await play.beds(unit)] == [one.reservation for one in won]
        arena.cancel(shares)
        winners += [one.reservation.rsplit("/", 1)[1] for one in won]
        sent_ms.append(1e3 * (max(one.sent_at for one in outcomes) - min(one.sent_at for one in outcomes)))
        decided_ms.append(1e3 * (max(one.created_at for one in outcomes) - min(one.created_at for one in outcomes)))
    ever = granted(town, unit)
    assert len(ever) == rounds * callers
    assert sorted(winners) == sorted(name for name, was in ever.items() if was), "what was told is what is stored"
    commits, shared = (now - then for now, then in zip(batches(town), before, strict=True))
    if callers > 2:
        assert shared > 0, "some of them met in one commit"
    figure(
        f"last bed, {callers} callers in {min(callers, PROCESSES)} processes, {rounds} rounds: one winner each time;"
        f" sent within {statistics.median(sent_ms):.1f} ms (at most {max(sent_ms):.1f}), decided within"
        f" {statistics.median(decided_ms):.1f} ms; {shared:.0f} of {commits:.0f} commits held two commands or more"
    )


async def test_one_request_said_thirty_times_at_once_is_one_request(
    play: Play, town: Town, arena: Arena, figure: Callable[[str], None]
) -> None:
    """One program, run twice, says the same thirty times: one request, one reservation, one bed."""
    unit = await play.declare(SMR, beds=SAME_REQUEST)
    await until(lambda: play.known_at_hub(unit), WITHIN_SECONDS, "the hub has heard of the unit")
    wish = play.wish(target(unit, hold=True))
    shares = [[wish] * (SAME_REQUEST // 2) if number % IDENTITIES == 0 else [] for number in range(PROCESSES)]
    outcomes = [one for share in arena.play(shares, alternatives=False) for one in share]
    assert len(outcomes) == SAME_REQUEST
    assert {(one.name, one.state) for one in outcomes} == {(f"requests/{wish.request_id}", "HELD")}
    assert len(granted(town, unit)) == 1
    assert sum(bool(bed.claim) for bed in await play.beds(unit)) == 1
    figure(f"one request said {SAME_REQUEST} times at once with one id: one request, one reservation")


async def test_a_hundred_requests_into_thirty_five_beds_hold_thirty_five(
    play: Play, town: Town, arena: Arena, figure: Callable[[str], None]
) -> None:
    """As many are held as there are beds, each another bed; the others are told where one is left."""
    unit, elsewhere = await play.declare(SMR, beds=UNIT_OF_MANY), await play.declare(PARTNER, beds=1)
    await until(lambda: play.known_at_hub(unit), WITHIN_SECONDS, "the hub has heard of the unit")
    await until(lambda: play.known_at_hub(elsewhere), WITHIN_SECONDS, "the hub has heard of the other unit")
    shares = arena.play(shared_out([play.wish(target(unit, hold=True)) for _ in range(INTO_IT)], 0))
    outcomes = [one for share in shares for one in share]
    held = {one.reservation for one in outcomes if one.state == "HELD"}
    assert len(held) == UNIT_OF_MANY
    assert len({one.reservation for one in outcomes if one.state == "ASKED"}) == INTO_IT - UNIT_OF_MANY
    assert {bed.claim for bed in await play.beds(unit)} == held
    assert sum(granted(town, unit).values()) == UNIT_OF_MANY
    assert all(elsewhere in one.alternatives for one in outcomes if one.state == "ASKED")
    figure(f"{INTO_IT} requests at once into {UNIT_OF_MANY} beds: {len(held)} held")
