"""What running servers say of themselves: each figure that was promised moves, a line a call, one id over the hops,
nothing of a patient, and a stop in good order. Real processes with mutual TLS, driven by the command line."""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aval.adapters.cli.exits import Exit
from aval.adapters.demo.building import HUB
from aval.adapters.telemetry import LOG_FIELDS
from aval.kernel.reasons import Reason
from tests.adapters.cli.pair import EHPAD, HOSPITAL, Shell, running_pair
from tests.waiting import until

NEED = ("--discipline", "smr-geriatrie", "--sex", "F", "--age", "97", "--gir", "2", "--date", "demain")
OWN = ("--context", EHPAD)
CANARY = "Zébulon Dupont-Canari"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell beside two running houses."""
    with running_pair(tmp_path_factory.mktemp("seen") / "territory") as pair:
        yield Shell(pair)


def config_of(shell: Shell, key: str) -> Path:
    return Path(shell.pair.record.servers[key].config)


def scraped(shell: Shell, key: str) -> dict[str, float]:
    """All samples of a server, `name{labels}` → value, as Prometheus reads them."""
    kind = "hub" if key == HUB else "node"
    port = shell.json(kind, "status", "--config", str(config_of(shell, key)))["metricsPort"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(r"^(aval_\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def total(samples: dict[str, float], name: str, *labels: str) -> float:
    """The sum over the samples of a name that bear these labels."""
    return sum(v for k, v in samples.items() if k.partition("{")[0] == name and all(one in k for one in labels))


def lines(shell: Shell, key: str) -> list[dict[str, Any]]:
    """What a server has logged."""
    text = shell.pair.log_path(shell.pair.record.servers[key]).read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]  # it may be writing one at this moment
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]


def rpcs(shell: Shell, key: str, method: str) -> list[dict[str, Any]]:
    return [one for one in lines(shell, key) if one["event"] == "rpc" and one["method"].endswith(f"/{method}")]


def test_each_figure_that_was_promised_moves(shell: Shell) -> None:
    unit = shell.declare(beds=2, answering="AUTOMATIC")
    hub, node = scraped(shell, HUB), scraped(shell, EHPAD)
    made = shell.json("request", "create", *NEED, "--ask", f"{unit}:hold")
    shell.run("request", "confirm", made["reference"], "--yes")
    shell.run("units", "set", unit, "--free", "1", *OWN, exit_code=Exit.CONFLICT)
    shell.run("report", exit_code=Exit.NOT_ALLOWED)
    after_hub, after_node = scraped(shell, HUB), scraped(shell, EHPAD)

    def moved(name: str, *labels: str, at: str = EHPAD) -> bool:
        before, after = (hub, after_hub) if at == HUB else (node, after_node)
        return total(after, name, *labels) > total(before, name, *labels)

    def unmoved() -> list[str]:
        """Those that are still where they were: a call is counted after its caller was answered."""
        nonlocal after_hub, after_node
        after_hub, after_node = scraped(shell, HUB), scraped(shell, EHPAD)
        create = 'method="/aval.v1.RequestService/CreateRequest"'
        found = {
            "RPC latencies, by method and status": moved("aval_rpc_seconds_count", create, 'code="OK"', at=HUB)
            and moved("aval_rpc_seconds_sum", create, at=HUB)
            and moved("aval_rpc_seconds_count", 'method="/aval.v1.AvailabilityService/', 'code="OK"'),
            "commits and batch sizes, on both sides": all(
                moved(name, at=at)
                for at in (HUB, EHPAD)
                for name in ("aval_commit_seconds_count", "aval_commit_batch_size_sum")
            ),
            "reservations by state, at the node that holds them": moved("aval_reservations", 'state="CONFIRMED"'),
            "refusals by reason: of a call, at the hub": moved(
                "aval_refusals_total", 'reason="METHOD_NOT_ALLOWED"', at=HUB
            ),
        }
        return [what for what, has in found.items() if not has]

    asyncio.run(until(lambda: not unmoved(), "each figure has moved"))
    # queue lengths, certificate days left, streams
    assert "aval_queue_length" in {name.partition("{")[0] for name in after_hub}
    assert "aval_queue_length" in {name.partition("{")[0] for name in after_node}
    for samples in (after_hub, after_node):
        assert 29 < samples["aval_certificate_days_left"] <= 30
        assert samples["aval_certificate_bundle_bad"] == 0
        assert samples["aval_streams_open"] >= 1
        assert samples["aval_log_fields_dropped_total"] == 0


def test_the_age_of_a_source_is_counted_in_seconds_and_falls_at_a_word(shell: Shell) -> None:
    unit = shell.declare(places=5)

    def age(key: str) -> float:
        samples = scraped(shell, key)
        ages = [v for k, v in samples.items() if k.startswith("aval_source_age_seconds") and 'source="equipe"' in k]
        return max(ages, default=-1.0)

    shell.run("units", "set", unit, "--free", "1", *OWN)
    first = age(EHPAD)
    assert 0 <= first < 30
    begun = time.monotonic()
    asyncio.run(until(lambda: time.monotonic() > begun + 1.5, "some time has passed"))
    later = age(EHPAD)
    assert later > first
    assert age(HUB) >= 0
    begun = time.monotonic()
    shell.run("units", "confirm", "--all", *OWN)
    assert age(EHPAD) <= time.monotonic() - begun, "it began anew with that word"


def test_a_call_is_one_line_and_its_id_crosses_the_hops(shell: Shell) -> None:
    """From the command line to the hub, and with the command to the node that decides it."""
    unit = shell.declare(beds=1, answering="AUTOMATIC")
    before = len(rpcs(shell, HUB, "CreateRequest"))
    made = shell.json("request", "create", *NEED, "--ask", f"{unit}:hold")
    told = rpcs(shell, HUB, "CreateRequest")[before:]
    assert len(told) == 1
    line = told[0]
    assert line["code"] == "OK"
    assert line["caller"].endswith(f"/establishment/{HOSPITAL}/operator/regulatrice")
    assert line["duration_ms"] > 0
    assert re.fullmatch(r"[0-9a-f-]{36}", line["request_id"])
    reservation = made["asks"][0]["reservation"]

    def decided() -> list[str]:
        said = [one for one in lines(shell, EHPAD) if one["event"] == "command"]
        return [one["request_id"] for one in said if one["reservation"] == reservation]

    asyncio.run(until(lambda: bool(decided()), "the node has said what it was asked"))
    assert set(decided()) == {line["request_id"]}


def test_no_log_holds_more_than_is_allowed_nor_anything_of_a_patient(shell: Shell) -> None:
    """Every line of every server has known fields only; a name typed where it does not belong is in none."""
    unit = shell.declare(beds=2)
    shell.run("units", "correct", unit, "--free", "0", "--reason", CANARY, *OWN)
    shell.run("request", "create", *NEED, "--ask", unit)
    for key in (HUB, *shell.pair.houses):
        written = shell.pair.log_path(shell.pair.record.servers[key]).read_text(encoding="utf-8")
        assert "Canari" not in written
        assert "GENDER_" not in written
        for line in lines(shell, key):
            assert set(line) <= LOG_FIELDS, line


def test_health_answers_and_a_stop_drains(shell: Shell) -> None:
    assert shell.json("node", "status", *OWN)["health"] == "SERVING"
    assert shell.json("hub", "status")["health"] == "SERVING"

    async def restart() -> int | None:
        status = await shell.pair.stop(EHPAD)
        await shell.pair.start([EHPAD])
        return status

    assert asyncio.run(restart()) == 0
    said = lines(shell, EHPAD)
    stopping = next(number for number, one in enumerate(said) if one["event"] == "stopping")
    streams = ("/WatchAvailability", "/Exchange")
    watches = [one for one in said[stopping:] if one["event"] == "rpc" and one["method"].endswith(streams)]
    # The hub dials again at once, and may be told that the node is about to stop.
    ended = [one for one in watches if one["reason"] != Reason.SHUTTING_DOWN.value]
    assert ended
    assert {one["code"] for one in ended} == {"OK"}, "streams ended in good order"
