"""What a quiet EHPAD's node takes: resident memory, and time from its start to its first answer."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from aval.v1 import terms_pb2
from tests.node.shell.processes import MARIE, NodeProcess
from tests.node.shell.words import declare_places

RESIDENT_MB_AIM = 80
READY_SECONDS_AIM = 1.5
"""What the design aims at. Time fails at twice the aim only: other work shares the machine."""

STARTS = 3


@pytest.mark.timeout(120)
async def test_a_quiet_node_is_small_and_soon_ready(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = NodeProcess(tmp_path)
    await node.start()
    marie = node.caller(MARIE)
    for unit, places, discipline in (
        ("permanent", 80, terms_pb2.DISCIPLINE_EHPAD_PERMANENT),
        ("temporaire", 6, terms_pb2.DISCIPLINE_EHPAD_TEMPORARY),
    ):
        request = declare_places(unit, installed=places, occupied=places - 1)
        request.discipline = discipline
        request.ClearField("policy")  # the default one: office hours, closed on public holidays
        await marie.census.DeclareUnit(request, timeout=10)
    await marie.close()
    await node.stop()
    lines, worst, quickest = [], 0.0, READY_SECONDS_AIM * 10
    for _ in range(STARTS):
        began = time.perf_counter()
        ready = await node.start()
        quickest = min(quickest, time.perf_counter() - began)
        memory = psutil.Process(ready.pid).memory_full_info()
        resident, shared, own = memory.rss / 2**20, memory.pss / 2**20, memory.uss / 2**20
        worst = max(worst, resident)
        lines.append(
            f"ready in {time.perf_counter() - began:.2f} s, {resident:.0f} MB resident, {shared:.0f} MB with its share "
            f"of what others use too, {own:.0f} MB of its own"
        )
        assert await node.stop() == 0
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *lines, ""]))
    assert worst < RESIDENT_MB_AIM
    assert quickest < 2 * READY_SECONDS_AIM
