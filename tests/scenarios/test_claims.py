"""Head to head: what the same software of others gets wrong, asked of ours over the wire, between real processes.

A known peer, asked for its last bed by two at once, gave it to both, 100 times in 100; it approved 100 transfers into
35 free beds, and took every illegal step. Here the callers are programs in eight processes that wait at a gate and ask
at once. `make test` plays some rounds of each race; `make claims` plays a hundred.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aval.adapters.demo.building import HUB, REGULATOR, SOURCE_OF_A_HOUSE
from aval.adapters.demo.cast import in_state, now, target
from aval.adapters.dial import Caller, ask
from aval.adapters.pki import issue, load_authority
from aval.kernel.finess import FinessET
from aval.kernel.identity import Staff
from aval.kernel.identity import Territory as Name
from aval.kernel.lifecycle import (
    REQUEST_TABLE,
    RESERVATION_TABLE,
    RequestInput,
    RequestState,
    ReservationInput,
    ReservationState,
)
from aval.kernel.reasons import Refusal
from aval.v1 import census_pb2, request_pb2
from tests.scenarios.callers import Outcome, Report, Round
from tests.scenarios.inquest import rows
from tests.scenarios.steps import BECOMES, SAID_AGAIN, AtHub, AtNode, reason_at_hub, reason_at_node
from tests.scenarios.town import HOSPITAL, PARTNER, SMR, Play, Town, raise_town
from tests.waiting import PATIENCE_SECONDS, until

PROCESSES = 8
IDENTITIES = 4
"""Two processes share a regulator's certificate: one program, run twice."""

IN_HAND = 8
"""Movements that the house's system tells ahead of their answers."""

ALL_ROUNDS = os.environ.get("AVAL_CLAIMS_ROUNDS")
"""How many rounds of each race; `make claims` says 100."""

MORE_ROUNDS = 5
"""So many times the rounds, at most, until two have met in one commit."""

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
            assert process.wait(PATIENCE_SECONDS) == 0
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


def stored(town: Town, unit: str) -> list[dict[str, Any]]:
    """Every reservation ever made of a unit, from its node's file."""
    code = unit.rsplit("/", 1)[1]
    bodies = (json.loads(body) for (body,) in rows(town.database(SMR), "SELECT body FROM reservation"))
    return [one for one in bodies if one["unit"] == code]


def granted(town: Town, unit: str) -> dict[str, bool]:
    """Of each reservation ever made of a unit: whether its node ever granted it a bed."""
    return {one["id"]: one["granted"] is not None for one in stored(town, unit)}


@asynccontextmanager
async def at_work(play: Play, house: str) -> AsyncIterator[None]:
    """While it lasts the house's system tells of patients who come and go: its node is always about to commit.

    Else a node is done with the first of two callers before it hears the second, and never has to decide between them.
    """
    ward = await play.declare(house, beds=1)
    call = play.node(house, SOURCE_OF_A_HOUSE).census.ApplyMovements()
    in_hand = asyncio.Semaphore(IN_HAND)

    async def telling() -> None:
        for number in itertools.count():
            told = census_pb2.Movement(movement_id=f"{ward}-{number}", source_id=SOURCE_OF_A_HOUSE)
            told.stay_key = f"{ward}-{number // 2}"
            if number % 2:
                told.discharge.SetInParent()
            else:
                told.admission.unit, told.admission.bed = ward, f"{ward}/beds/1"
            told.event_time.FromDatetime(now())
            await in_hand.acquire()
            await call.write(census_pb2.ApplyMovementsRequest(movement=told))

    async def hearing() -> None:
        async for _ in call:
            in_hand.release()

    tasks = [asyncio.ensure_future(telling()), asyncio.ensure_future(hearing())]
    try:
        yield
        assert not any(task.done() for task in tasks), "the ward was at work all the time"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        call.cancel()


@pytest.mark.parametrize(("callers", "rounds"), [(2, 20), (8, 12), (64, 4)])
async def test_the_last_bed_has_one_winner_and_the_losers_are_told_what_is_left(
    play: Play, town: Town, arena: Arena, figure: Callable[[str], None], callers: int, rounds: int
) -> None:
    """Each round one bed, and so many programs that want it in the same instant, let go by one write into a pipe."""
    rounds = int(ALL_ROUNDS or rounds)
    unit, elsewhere = await play.declare(SMR, beds=1), await play.declare(PARTNER, beds=1)
    await until(lambda: play.known_at_hub(unit), "the hub has heard of the unit")
    await until(lambda: play.known_at_hub(elsewhere), "the hub has heard of the other unit")
    sent_ms: list[float] = []
    decided_ms: list[float] = []
    winners: list[str] = []

    async def play_round(number: int) -> None:
        wishes = [play.wish(target(unit, hold=True)) for _ in range(callers)]
        shares = await asyncio.to_thread(arena.play, shared_out(wishes, number))
        outcomes = [one for share in shares for one in share]
        assert len({one.reservation for one in outcomes}) == callers
        won = [one for one in outcomes if one.state == "HELD"]
        lost = [one for one in outcomes if one.state != "HELD"]
        assert len(won) == 1, f"{len(won)} winners of {callers}"
        assert {one.state for one in lost} <= {"ASKED"}
        assert all(elsewhere in one.alternatives for one in lost)
        assert [bed.claim for bed in await play.beds(unit)] == [one.reservation for one in won]
        await asyncio.to_thread(arena.cancel, shares)
        winners.extend(one.reservation.rsplit("/", 1)[1] for one in won)
        sent_ms.append(1e3 * (max(one.sent_at for one in outcomes) - min(one.sent_at for one in outcomes)))
        decided_ms.append(1e3 * (max(one.created_at for one in outcomes) - min(one.created_at for one in outcomes)))

    def met() -> tuple[int, int]:
        """Commits that held two of them or more, of all: one has one time of the node, and no other has it."""
        together = Counter(one["created"] for one in stored(town, unit))
        return sum(count > 1 for count in together.values()), len(together)

    async with at_work(play, SMR):
        played = 0
        # Where the machine lets them go one after the other, they are asked again until some have met.
        while played < rounds or (not met()[0] and played < MORE_ROUNDS * rounds):
            await play_round(played)
            played += 1
    ever = granted(town, unit)
    assert len(ever) == played * callers
    assert sorted(winners) == sorted(name for name, was in ever.items() if was), "what was told is what is stored"
    shared, commits = met()
    assert shared > 0, "some of them met in one commit"
    figure(
        f"last bed, {callers} callers in {min(callers, PROCESSES)} processes, {played} rounds: one winner each time;"
        f" sent within {statistics.median(sent_ms):.1f} ms (at most {max(sent_ms):.1f}), decided within"
        f" {statistics.median(decided_ms):.1f} ms; {shared} of {commits} commits held two of them or more"
    )


async def test_one_request_said_thirty_times_at_once_is_one_request(
    play: Play, town: Town, arena: Arena, figure: Callable[[str], None]
) -> None:
    """One program, run twice, says the same thirty times: one request, one reservation, one bed."""
    unit = await play.declare(SMR, beds=SAME_REQUEST)
    await until(lambda: play.known_at_hub(unit), "the hub has heard of the unit")
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
    await until(lambda: play.known_at_hub(unit), "the hub has heard of the unit")
    await until(lambda: play.known_at_hub(elsewhere), "the hub has heard of the other unit")
    shares = arena.play(shared_out([play.wish(target(unit, hold=True)) for _ in range(INTO_IT)], 0))
    outcomes = [one for share in shares for one in share]
    held = {one.reservation for one in outcomes if one.state == "HELD"}
    assert len(held) == UNIT_OF_MANY
    assert len({one.reservation for one in outcomes if one.state == "ASKED"}) == INTO_IT - UNIT_OF_MANY
    assert {bed.claim for bed in await play.beds(unit)} == held
    assert sum(granted(town, unit).values()) == UNIT_OF_MANY
    assert all(elsewhere in one.alternatives for one in outcomes if one.state == "ASKED")
    figure(f"{INTO_IT} requests at once into {UNIT_OF_MANY} beds: {len(held)} held")


async def test_every_step_that_the_table_of_reservations_does_not_hold_is_refused_by_name(
    play: Play, town: Town, figure: Callable[[str], None]
) -> None:
    """Each state with each input that somebody can say, at a real node: what is not in the table changes nothing."""
    unit = await play.declare(SMR, beds=8)
    refusals: Counter[str] = Counter()
    taken: set[tuple[ReservationState, ReservationInput]] = set()
    wrong: list[tuple[ReservationState, ReservationInput]] = []
    async with Caller(town.folder / "hub" / "identity") as hub:
        steps = AtNode(play, unit, hub.node(town.node(SMR).address, SMR))
        for state in ReservationState:
            one = await steps.bring(state)
            for given in (each for each in BECOMES if (state, each) not in RESERVATION_TABLE):
                try:
                    again = await steps.say(one, given)
                except Refusal as refusal:
                    refusals[refusal.reason.value] += 1
                    wrong += [(state, given)] if refusal.reason != reason_at_node(state, given) else []
                else:
                    taken.add((state, given))
                    assert (again.state, again.offer.offer_tag) == (one.state, one.offer.offer_tag)
                    assert again.ending == one.ending
            after = await play.reservation(one.name)
            assert (steps.state_of(after), after.offer) == (state, one.offer)
            assert after.expire.expire_time == one.expire.expire_time
    assert not wrong
    assert taken == SAID_AGAIN
    listed = ", ".join(f"{reason} {count}" for reason, count in sorted(refusals.items()))
    figure(
        f"illegal steps of a reservation: {refusals.total()} of {refusals.total()} refused by name: {listed};"
        f" {len(SAID_AGAIN)} said again of what is so, answered by what is"
    )


async def test_every_step_that_the_table_of_requests_does_not_hold_is_refused_by_name(
    play: Play, town: Town, figure: Callable[[str], None]
) -> None:
    """The same at the hub, with the node stopped where a word must stay on its way."""
    unit = await play.declare(SMR, beds=8)
    await until(lambda: play.known_at_hub(unit), "the hub has heard of the unit")
    refusals: Counter[str] = Counter()
    steps = AtHub(play, unit, lambda: town.pause(SMR))
    try:
        found = await steps.bring(list(RequestState))
        for state, one in found.items():
            inputs = (each for each in RequestInput if each is not RequestInput.LAPSE)
            for given in (each for each in inputs if (state, each) not in REQUEST_TABLE):
                with pytest.raises(Refusal) as refused:
                    await steps.say(one, given)
                assert refused.value.reason == reason_at_hub(state, given), (state, given)
                refusals[refused.value.reason.value] += 1
            get = request_pb2.GetRequestRequest(name=one.name)
            after = await ask(play.hub(REGULATOR).requests.GetRequest, get)
            assert steps.state_of(after) is state
            assert len(after.asks) == len(one.asks)
            if state in (RequestState.CONFIRMING, RequestState.RELEASING):
                assert [each.verb for each in after.asks[0].pending] == [each.verb for each in one.asks[0].pending]
    finally:
        town.wake(SMR)
    listed = ", ".join(f"{reason} {count}" for reason, count in sorted(refusals.items()))
    figure(f"illegal steps of a request: {refusals.total()} of {refusals.total()} refused by name: {listed}")


OVERLAPS = (
    ("the same days", 48, 48, False),
    ("begins before, ends within", 24, 48, False),
    ("begins within, ends after", 72, 48, False),
    ("around it", 24, 120, False),
    ("within it", 60, 12, False),
    ("begins before, without an end", 24, None, False),
    ("ends before it", 4, 24, True),
    ("begins after it, and its cleaning", 120, 24, True),
    ("begins long after it, without an end", 240, None, True),
)
"""Of one bed promised from the 48th hour to the 96th: arrival and stay in hours, and whether it may be had too."""


async def test_one_bed_is_never_promised_for_two_intervals_that_overlap(
    play: Play, figure: Callable[[str], None]
) -> None:
    """One bed, promised for two days. Each other interval is asked alone, and taken back before the next."""
    unit = await play.declare(SMR, beds=1)
    await until(lambda: play.known_at_hub(unit), "the hub has heard of the unit")
    begun = now()

    async def asked(arrival_hours: int, stay_hours: int | None) -> request_pb2.Request:
        wish = play.wish(target(unit, hold=True))
        wish.need.arrival_earliest.FromDatetime(begun + timedelta(hours=arrival_hours))
        wish.need.arrival_latest.FromDatetime(begun + timedelta(hours=arrival_hours, minutes=1))
        if stay_hours is not None:
            wish.need.stay_max.FromTimedelta(timedelta(hours=stay_hours))
        return await play.answered(await play.insist(wish))

    first = await asked(48, 48)
    await play.confirmed(first)
    for what, arrival_hours, stay_hours, may in OVERLAPS:
        other = await asked(arrival_hours, stay_hours)
        assert in_state(other.asks[0], "HELD" if may else "ASKED"), what
        await play.cancel(other)
        await play.heard(other.name, lambda one: in_state(one.asks[0], "RELEASED"), "released")
    refused = sum(not may for *_, may in OVERLAPS)
    figure(f"intervals over a promised one: {refused} of {refused} not held; beside it: {len(OVERLAPS) - refused} held")
