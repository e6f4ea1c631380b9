"""What a process says about itself: only what is allowed, and figures that are right."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from urllib.request import urlopen

import psutil
import pytest
import structlog

from aval.adapters.telemetry import LOOPBACK, Telemetry, TracingForbidden, configure_logs, refuse_tracing


class FakeClock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> datetime:
        return datetime(2026, 11, 23, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep_until(self, monotonic: float) -> None:
        self.seconds = max(self.seconds, monotonic)


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(FakeClock())


@pytest.fixture
def printed(telemetry: Telemetry) -> Iterator[StringIO]:
    """What is logged, as it would be printed."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = StringIO()
    configure_logs(telemetry, "node 540000023", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_line_holds_allowed_fields_only_and_the_rest_is_counted(telemetry: Telemetry, printed: StringIO) -> None:
    structlog.get_logger().info("admitted", unit="smr-1", patient="CANARI", need={"age": 87}, count=3, seconds=0.5)
    line = json.loads(printed.getvalue())
    assert {key: line[key] for key in ("event", "unit", "count", "seconds", "level", "process")} == {
        "event": "admitted",
        "unit": "smr-1",
        "count": 3,
        "seconds": 0.5,
        "level": "info",
        "process": "node 540000023",
    }
    assert "CANARI" not in printed.getvalue()
    assert "87" not in line.values()
    assert telemetry.value("aval_log_fields_dropped_total") == 2


def test_a_long_value_is_cut(printed: StringIO) -> None:
    structlog.get_logger().warning("x", problem="y" * 5000)
    assert len(json.loads(printed.getvalue())["problem"]) == 300


def test_what_libraries_log_is_printed_without_its_arguments(printed: StringIO) -> None:
    logger = logging.getLogger("some.library")
    try:
        raise ValueError("Mme CANARI")
    except ValueError:
        logger.exception("failed for %s", "Mme CANARI")
    logger.info("not worth a line")
    (line,) = [json.loads(text) for text in printed.getvalue().splitlines()]
    assert line["library"] == "some.library"
    assert line["problem"] == "failed for %s"
    assert line["exception"] == "ValueError"
    assert "test_telemetry.py" in line["frames"]
    assert "CANARI" not in printed.getvalue()


@pytest.mark.parametrize(
    ("environment", "forbidden"),
    [
        ({}, False),
        ({"GRPC_TRACE": ""}, False),
        ({"GRPC_TRACE": "all"}, True),
        ({"GRPC_TRACE": "tcp,-timer"}, True),
        ({"GRPC_VERBOSITY": "ERROR"}, False),
        ({"GRPC_VERBOSITY": " debug "}, True),
    ],
)
def test_grpc_may_not_print_what_it_carries(environment: dict[str, str], forbidden: bool) -> None:
    if forbidden:
        with pytest.raises(TracingForbidden, match="Unset it"):
            refuse_tracing(environment)
    else:
        refuse_tracing(environment)


def test_the_age_of_a_source_grows_by_itself() -> None:
    clock = FakeClock()
    telemetry = Telemetry(clock)
    where = {"establishment": "540000023", "source": "dpi"}
    telemetry.source_alive("540000023", "dpi", age_seconds=5)
    clock.seconds += 60
    assert telemetry.value("aval_source_age_seconds", where) == 65
    telemetry.source_alive("540000023", "dpi")
    assert telemetry.value("aval_source_age_seconds", where) == 0
    telemetry.source_gone("540000023", "dpi")
    assert telemetry.value("aval_source_age_seconds", where) is None


def test_each_figure_is_where_the_dashboards_look(telemetry: Telemetry) -> None:
    telemetry.rpc("/a/b", "OK", 0.02)
    telemetry.stream_opened()
    telemetry.refused("NO_BED")
    telemetry.queue_length("writer", 7)
    telemetry.reservations({"HELD": 2, "CONFIRMED": 1})
    telemetry.reservations({"HELD": 1})
    telemetry.committed(3, 0.004)
    telemetry.commit_failed()
    telemetry.certificate("ab12", 29.5)
    telemetry.certificate("cd34", 30.0)
    found = {
        name: telemetry.value(name, labels)
        for name, labels in (
            ("aval_rpc_seconds_sum", {"method": "/a/b", "code": "OK"}),
            ("aval_streams_open", {}),
            ("aval_refusals_total", {"reason": "NO_BED"}),
            ("aval_queue_length", {"queue": "writer"}),
            ("aval_reservations", {"state": "HELD"}),
            ("aval_commit_seconds_count", {}),
            ("aval_commit_batch_size_sum", {}),
            ("aval_commits_failed_total", {}),
            ("aval_certificate_days_left", {}),
            ("aval_certificate_served", {"serial": "cd34"}),
        )
    }
    assert found == {
        "aval_rpc_seconds_sum": 0.02,
        "aval_streams_open": 1,
        "aval_refusals_total": 1,
        "aval_queue_length": 7,
        "aval_reservations": 1,
        "aval_commit_seconds_count": 1,
        "aval_commit_batch_size_sum": 3,
        "aval_commits_failed_total": 1,
        "aval_certificate_days_left": 30.0,
        "aval_certificate_served": 1,
    }
    assert telemetry.value("aval_certificate_served", {"serial": "ab12"}) is None


def test_metrics_are_served_on_the_loopback_address_only(telemetry: Telemetry) -> None:
    exporter = telemetry.serve(0)
    try:
        listening = {
            connection.laddr.ip
            for connection in psutil.Process().net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == exporter.port
        }
        assert listening == {LOOPBACK}
        with urlopen(f"http://{LOOPBACK}:{exporter.port}/metrics") as answer:
            page = answer.read().decode()
        assert "# HELP aval_rpc_seconds" in page
        assert "process_resident_memory_bytes" in page
    finally:
        exporter.close()


class FullDisk(StringIO):
    """Takes nothing."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_line_that_cannot_be_written_is_lost_and_counted_and_nobody_fails(telemetry: Telemetry) -> None:
    configure_logs(telemetry, "essai", FullDisk())
    structlog.get_logger().error("commit-failed", problem="database or disk is full")
    logging.getLogger("grpc").warning("a library's word")
    assert telemetry.value("aval_log_lines_lost_total") == 2.0
