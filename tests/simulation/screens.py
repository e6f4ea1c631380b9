"""A screen of the cell: its list of requests, on a watch. What is said on it is the checker's to judge."""

from __future__ import annotations

import random
from typing import Any

import grpc

from aval.adapters.wire.errors import refusal_of
from aval.v1 import request_pb2 as rq
from aval.v1 import request_pb2_grpc
from tests.simulation.people import CELL, HUB, People

SCREEN_OFF_SECONDS_MAX = 1800.0
"""For how long nobody looks at a screen."""


async def screen(
    people: People, chance: random.Random, address: str = HUB, off_seconds_max: float = SCREEN_OFF_SECONDS_MAX
) -> None:
    """The cell's list of requests on a screen, on a watch: somebody opens it again some time after it has ended."""
    channel, clock = people.channel(CELL, address), people.process.clock
    stub: Any = request_pb2_grpc.RequestServiceStub(channel)
    while True:
        await channel.channel_ready()
        try:
            async for _ in stub.WatchRequests(rq.WatchRequestsRequest()):
                pass
        except grpc.aio.AioRpcError as error:
            people.world.note("people", f"the screen is empty: {refusal_of(error).reason}")
        await clock.sleep_until(clock.monotonic() + chance.uniform(0.5, off_seconds_max))
