"""The simulated world itself: time, death, wires."""

from __future__ import annotations

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from tests.simulation.wire import Faults, Network
from tests.simulation.world import World


def test_time_passes_without_waiting_and_each_clock_runs_its_own_way() -> None:
    world = World(1)
    slow, fast = world.process("slow", rate=0.9), world.process("fast", rate=1.1)
    woken: dict[str, float] = {}

    async def sleep(name: str, seconds: float) -> None:
        process = {"slow": slow, "fast": fast}[name]
        await process.clock.sleep_until(process.monotonic() + seconds)
        woken[name] = world.time

    slow.spawn(sleep("slow", 99.0))
    fast.spawn(sleep("fast", 99.0))
    world.run_until(1000.0)
    assert woken["slow"] == pytest.approx(110.0)
    assert woken["fast"] == pytest.approx(90.0)
    world.close()


def test_a_killed_process_does_nothing_more_not_even_tidy_up() -> None:
    world = World(1)
    process = world.process("node")
    done: list[str] = []

    async def work() -> None:
        try:
            await process.clock.sleep_until(process.monotonic() + 10.0)
            done.append("worked")
        finally:
            if process.alive:
                done.append("tidied up")

    process.spawn(work())
    world.at(5.0, lambda: world.kill(process))
    world.run_until(100.0)
    world.close()
    assert done == []


def test_the_order_of_asyncio_holds_within_a_process() -> None:
    world = World(3)
    process = world.process("one")
    order: list[int] = []

    async def note(number: int) -> None:
        order.append(number)

    for number in range(20):
        process.spawn(note(number))
    world.run_until(1.0)
    assert order == list(range(20))
    world.close()


def test_an_error_that_nobody_caught_is_a_problem() -> None:
    world = World(1)
    process = world.process("one")

    async def fails() -> None:
        raise RuntimeError("a fault")

    process.spawn(fails())
    world.run_until(1.0)
    world.close()
    assert any("a fault" in problem for problem in world.problems)


def test_waiting_with_a_limit_counts_the_world_s_time() -> None:
    world = World(1)
    process = world.process("one")
    limits: list[float] = []

    async def wait() -> None:
        try:
            async with asyncio.timeout(30.0):
                await process.loop.create_future()
        except TimeoutError:
            limits.append(world.time)

    process.spawn(wait())
    world.run_until(100.0)
    world.close()
    assert limits == [pytest.approx(30.0)]


def test_what_a_partition_held_back_arrives_in_the_order_in_which_it_was_sent() -> None:
    """As TCP gives it; met in a run, where a hub heard of a later revision first and passed the earlier one over."""
    world = World(1)
    network, got = Network(world, Faults()), list[int]()
    call: Any = SimpleNamespace(
        client=SimpleNamespace(name="hub"),
        server=SimpleNamespace(process=SimpleNamespace(name="node")),
        free_at={True: 0.0, False: 0.0},
        method="",
        starve=lambda *_: None,
    )
    network.block("hub", "node")
    for number in range(20):
        network.carry(call, to_server=True, deliver=partial(got.append, number))
    network.heal("hub", "node")
    network.carry(call, to_server=True, deliver=partial(got.append, 20))
    world.run_until(1.0)
    assert got == list(range(21))
