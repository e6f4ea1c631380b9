"""A process of callers: programs of regulators that wait at a gate and then all ask at once.

    python -m tests.scenarios.callers BUNDLE HUB GATE

It connects, and then takes one line of orders at a time from its standard input: a `Round`, in JSON. For each it makes
ready what its callers will say, says so, and waits at the gate, a pipe that all processes read: the one write that
fills it lets them all go at once. It follows the hub's own stream for what becomes of each, and reports one line.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from uuid import uuid4

import msgspec

from aval.adapters.clock import SystemClock
from aval.adapters.demo.cast import in_state
from aval.adapters.demo.watching import Screen
from aval.adapters.dial import Caller, Line, ask
from aval.adapters.telemetry import start_telemetry
from aval.kernel.reasons import Refusal
from aval.v1 import request_pb2, reservation_pb2

ANSWERED_SECONDS_MAX = 30.0


class Round(msgspec.Struct, frozen=True):
    """What each caller of this process is to send, encoded; `alternatives`: losers are to be told of other units.
    Or, without the gate, the requests that are to be cancelled."""

    requests: list[bytes] = []
    alternatives: bool = True
    cancelled: list[str] = []


class Outcome(msgspec.Struct, frozen=True):
    """What became of one caller's request: when it was sent (the machine's monotonic seconds), the state of its
    reservation at the end, when its node created it, and the units that it was told of."""

    sent_at: float
    name: str = ""
    reservation: str = ""
    state: str = ""
    created_at: float = 0.0
    alternatives: list[str] = []
    refused: str = ""


class Report(msgspec.Struct, frozen=True):
    """Of one round; or, empty, that the process is ready, or waits at the gate."""

    outcomes: list[Outcome]


class Callers:
    """The callers of one process: one identity, one connection, one screen."""

    def __init__(self, line: Line, gate: int) -> None:
        self._line = line
        self._gate = gate
        self._screen = Screen(line)

    async def open(self) -> None:
        """Connects, and sees what there is."""
        await self._screen.open()

    async def close(self) -> None:
        """Leaves."""
        await self._screen.close()

    async def play(self, one: Round) -> Report:
        """One round: waits at the gate, asks and follows; or cancels, and waits until all is released."""
        if one.cancelled:
            await asyncio.gather(*(self._cancel(name) for name in one.cancelled))
            return Report([])
        messages = [request_pb2.CreateRequestRequest.FromString(each) for each in one.requests]
        say(Report([]))
        # The gate is waited for as a barrier is: with the whole thread, so that nothing stands between it and the call.
        os.read(self._gate, 1)
        return Report(list(await asyncio.gather(*(self._one(each, one) for each in messages))))

    async def _one(self, message: request_pb2.CreateRequestRequest, one: Round) -> Outcome:
        sent_at = time.monotonic()
        try:
            request = await ask(self._line.requests.CreateRequest, message, ANSWERED_SECONDS_MAX)
        except Refusal as refusal:
            return Outcome(sent_at, refused=refusal.reason.value)

        def settled(known: request_pb2.Request) -> bool:
            first = known.asks[0]
            if not first.HasField("known"):
                return False
            return in_state(first, "HELD") or not one.alternatives or bool(first.alternatives)

        known = await self._screen.until(request.name, settled, ANSWERED_SECONDS_MAX)
        first = known.asks[0]
        state = reservation_pb2.Reservation.State.Name(first.known.state).removeprefix("STATE_")
        created_at = first.known.create_time.ToNanoseconds() / 1e9
        return Outcome(sent_at, request.name, first.reservation, state, created_at, list(first.alternatives))

    async def _cancel(self, name: str) -> None:
        message = request_pb2.CancelRequestRequest(
            command_id=str(uuid4()), name=name, reason=reservation_pb2.RELEASE_REASON_OTHER
        )
        await ask(self._line.requests.CancelRequest, message, ANSWERED_SECONDS_MAX)
        await self._screen.until(name, lambda r: in_state(r.asks[0], "RELEASED"), ANSWERED_SECONDS_MAX)


def say(report: Report) -> None:
    """One line to who gives the orders."""
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    sys.stdout.flush()


async def serve(bundle: Path, hub: str, gate: int) -> None:
    """Until the orders end."""
    start_telemetry(SystemClock(), "callers")  # its lines go to the standard error; what is said here, to the output
    async with Caller(bundle) as caller:
        callers = Callers(caller.hub(hub), gate)
        await callers.open()
        say(Report([]))
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
            say(await callers.play(msgspec.json.decode(line, type=Round)))
        await callers.close()


if __name__ == "__main__":
    where, address, descriptor = sys.argv[1:]
    asyncio.run(serve(Path(where), address, int(descriptor)))
